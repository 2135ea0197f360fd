//! Facts about index expressions: equality, signs, ranges.

use rooftile_artifact::{DType, Scalar};

use super::form::{Form, operands};
use crate::hir::ir::{AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Func, Function, TensorId, UnaryOp};

/// How deep expressions are looked into.
const DEPTH: u32 = 24;

/// Whether two expressions are written alike.
pub(crate) fn same(form: &Form, a: ExprId, b: ExprId) -> bool {
    same_in(&form.func, a, b)
}

/// Whether two expressions of a kernel or pipeline are written alike.
pub(crate) fn same_in(func: &Func, a: ExprId, b: ExprId) -> bool {
    same_within(func, a, b, &mut 400)
}

fn same_within(func: &Func, a: ExprId, b: ExprId, budget: &mut u32) -> bool {
    if a == b {
        return true;
    }
    if *budget == 0 {
        return false;
    }
    *budget -= 1;
    let (x, y) = (&func.exprs[a], &func.exprs[b]);
    if x.dtype != y.dtype {
        return false;
    }
    let (xs, ys) = (operands(&x.kind), operands(&y.kind));
    if xs.len() != ys.len() {
        return false;
    }
    let (mut p, mut q) = (x.kind.clone(), y.kind.clone());
    super::form::map_operands(&mut p, |_| a);
    super::form::map_operands(&mut q, |_| a);
    p == q && xs.iter().zip(&ys).all(|(x, y)| same_within(func, *x, *y, budget))
}

/// Whether the host can compute an expression: sizes, scalars and literals only.
pub(crate) fn is_host(form: &Form, e: ExprId) -> bool {
    let varies = |e: ExprId| {
        matches!(
            form.func.exprs[e].kind,
            ExprKind::Axis(_)
                | ExprKind::Value(_)
                | ExprKind::ValueAt(..)
                | ExprKind::Load { .. }
                | ExprKind::Table { .. }
                | ExprKind::Reduce { .. }
                | ExprKind::Scan { .. }
        )
    };
    !form.below(vec![e]).any(varies)
}

/// The value of an integer literal.
pub(crate) fn literal(form: &Form, e: ExprId) -> Option<i64> {
    match form.func.exprs[e].kind {
        ExprKind::Const(Scalar::Int(v)) => Some(v),
        _ => None,
    }
}

/// Whether an integer expression is never negative.
pub(crate) fn non_negative(form: &Form, e: ExprId) -> bool {
    non_negative_within(form, e, DEPTH)
}

fn non_negative_within(form: &Form, e: ExprId, depth: u32) -> bool {
    if depth == 0 {
        return false;
    }
    let go = |e: ExprId| non_negative_within(form, e, depth - 1);
    let expr = &form.func.exprs[e];
    if matches!(expr.dtype.int_range(), Some((0, hi)) if hi < (1 << 62)) {
        return true;
    }
    match &expr.kind {
        ExprKind::Const(Scalar::Int(v)) => *v >= 0,
        ExprKind::Size(_) => true,
        ExprKind::Axis(a) => match form.cuts.get(a) {
            Some(cut) => cut.wrapped.is_none() && go(cut.lo),
            None => go(form.func.axes[*a].lo),
        },
        ExprKind::Binary(op, a, b) => match op {
            BinaryOp::Add | BinaryOp::Mul | BinaryOp::Div => expr.dtype.is_int() && go(*a) && go(*b),
            BinaryOp::Rem => go(*b),
            BinaryOp::And => go(*a) || go(*b),
            BinaryOp::Or | BinaryOp::Xor => go(*a) && go(*b),
            BinaryOp::Shl | BinaryOp::Shr => go(*a),
            _ => false,
        },
        ExprKind::Call(Function::Min, args) => args.iter().all(|a| go(*a)),
        ExprKind::Call(Function::Max, args) => args.iter().any(|a| go(*a)),
        ExprKind::Call(Function::Popcount | Function::Ilog2 | Function::Bitrev, _) => true,
        ExprKind::Select(_, a, b) => go(*a) && go(*b),
        ExprKind::Cast(a) => {
            let from = form.func.exprs[*a].dtype;
            let widens = match (from.int_range(), expr.dtype.int_range()) {
                (Some((_, x)), Some((_, y))) => x <= y,
                _ => false,
            };
            widens && go(*a)
        }
        ExprKind::Load { tensor, .. } => form.func.tensors[*tensor].range.is_some_and(|(lo, _)| go(lo)),
        ExprKind::Table { .. } => numeric(form, e).is_some_and(|(lo, _)| lo >= 0),
        _ => false,
    }
}

/// Smallest and largest value of an integer expression, where both are numbers known now.
pub(crate) fn numeric(form: &Form, e: ExprId) -> Option<(i64, i64)> {
    numeric_within(form, e, DEPTH)
}

fn numeric_within(form: &Form, e: ExprId, depth: u32) -> Option<(i64, i64)> {
    let depth = depth.checked_sub(1)?;
    let go = |e: ExprId| numeric_within(form, e, depth);
    match &form.func.exprs[e].kind {
        ExprKind::Const(Scalar::Int(v)) => Some((*v, *v)),
        ExprKind::Axis(a) => {
            let axis = &form.func.axes[*a];
            let ((lo, _), (_, hi)) = (go(axis.lo)?, go(axis.hi)?);
            Some((lo, (hi - 1).max(lo)))
        }
        ExprKind::Table { table, .. } => {
            let data = &form.tables[*table].data;
            let ints: Vec<i64> = data.iter().map(|v| v.as_i64()).collect();
            Some((*ints.iter().min()?, *ints.iter().max()?))
        }
        ExprKind::Binary(op, a, b) => {
            let ((al, ah), (bl, bh)) = (go(*a)?, go(*b)?);
            match op {
                BinaryOp::Add => Some((al.checked_add(bl)?, ah.checked_add(bh)?)),
                BinaryOp::Sub => Some((al.checked_sub(bh)?, ah.checked_sub(bl)?)),
                BinaryOp::Mul => {
                    let all =
                        [al.checked_mul(bl)?, al.checked_mul(bh)?, ah.checked_mul(bl)?, ah.checked_mul(bh)?];
                    Some((*all.iter().min()?, *all.iter().max()?))
                }
                BinaryOp::Div if bl == bh && bl > 0 => Some((al.div_euclid(bl), ah.div_euclid(bl))),
                BinaryOp::Rem if bl == bh && bl > 0 => Some((0, bl - 1)),
                _ => None,
            }
        }
        ExprKind::Unary(UnaryOp::Neg, a) => go(*a).map(|(l, h)| (-h, -l)),
        ExprKind::Cast(a) => {
            let (range, to) = (go(*a)?, form.func.exprs[e].dtype.int_range()?);
            (i128::from(range.0) >= to.0 && i128::from(range.1) <= to.1).then_some(range)
        }
        _ => None,
    }
}

/// The distance of an index from the axis, `e = axis + d` with `d` between the two numbers.
pub(crate) fn offset(form: &Form, e: ExprId, axis: AxisId) -> Option<(i64, i64)> {
    strided(form, e, axis).filter(|(stride, _)| *stride == 1).map(|(_, distance)| distance)
}

/// The stride of an index along an axis, and its distance from its multiples: `e = stride * axis + d`, the stride positive and `d`
/// between the two numbers.
pub(crate) fn strided(form: &Form, e: ExprId, axis: AxisId) -> Option<(i64, (i64, i64))> {
    match &form.func.exprs[e].kind {
        ExprKind::Axis(a) if *a == axis => Some((1, (0, 0))),
        ExprKind::Binary(BinaryOp::Add, a, b) => {
            let ((stride, base), other) = match strided(form, *a, axis) {
                Some(o) => (o, *b),
                None => (strided(form, *b, axis)?, *a),
            };
            let (lo, hi) = numeric(form, other)?;
            Some((stride, (base.0.checked_add(lo)?, base.1.checked_add(hi)?)))
        }
        ExprKind::Binary(BinaryOp::Sub, a, b) => {
            let ((stride, base), (lo, hi)) = (strided(form, *a, axis)?, numeric(form, *b)?);
            Some((stride, (base.0.checked_sub(hi)?, base.1.checked_sub(lo)?)))
        }
        ExprKind::Binary(BinaryOp::Mul, a, b) => {
            let ((stride, base), factor) = match literal(form, *b) {
                Some(factor) => (strided(form, *a, axis)?, factor),
                None => (strided(form, *b, axis)?, literal(form, *a)?),
            };
            let times = |v: i64| v.checked_mul(factor);
            (factor > 0).then_some(())?;
            Some((times(stride)?, (times(base.0)?, times(base.1)?)))
        }
        // Indices fit the integer types that they are converted to.
        ExprKind::Cast(a) => {
            let signed = |e: ExprId| matches!(form.func.exprs[e].dtype, DType::Int { signed: true, bits } if bits >= 32);
            if signed(e) && signed(*a) { strided(form, *a, axis) } else { None }
        }
        _ => None,
    }
}

/// How far an expression is from an extent that it is written with.
pub(crate) fn distance(form: &Form, e: ExprId, extent: ExprId) -> Option<i64> {
    distance_from_multiple(form, e, 1, extent)
}

/// How far an expression is from a multiple of an extent, `e = stride * extent + d`.
pub(crate) fn distance_from_multiple(form: &Form, e: ExprId, stride: i64, extent: ExprId) -> Option<i64> {
    if stride == 1 && same(form, e, extent) {
        return Some(0);
    }
    let from = |a: ExprId| distance_from_multiple(form, a, stride, extent);
    match form.func.exprs[e].kind {
        ExprKind::Const(_) => literal(form, e)?.checked_sub(stride.checked_mul(literal(form, extent)?)?),
        ExprKind::Binary(BinaryOp::Mul, a, b) if stride != 1 => {
            let of = |a: ExprId, b: ExprId| literal(form, a) == Some(stride) && same(form, b, extent);
            (of(a, b) || of(b, a)).then_some(0)
        }
        ExprKind::Binary(BinaryOp::Add, a, b) => from(a)?.checked_add(literal(form, b)?),
        ExprKind::Binary(BinaryOp::Sub, a, b) => from(a)?.checked_sub(literal(form, b)?),
        _ => None,
    }
}

/// Whether an expression is `axis * c + d` with `c` a literal that is not zero and `d` free of axes.
pub(crate) fn is_affine_in(form: &Form, e: ExprId, axis: AxisId) -> bool {
    let expr = &form.func.exprs[e];
    if expr.axes != [axis] {
        return false;
    }
    match &expr.kind {
        ExprKind::Axis(_) => true,
        ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => {
            let free = |e: ExprId| form.func.exprs[e].axes.is_empty();
            (is_affine_in(form, *a, axis) && free(*b)) || (free(*a) && is_affine_in(form, *b, axis))
        }
        ExprKind::Binary(BinaryOp::Mul, a, b) => {
            let factor = |e: ExprId| literal(form, e).is_some_and(|v| v != 0);
            (is_affine_in(form, *a, axis) && factor(*b)) || (factor(*a) && is_affine_in(form, *b, axis))
        }
        _ => false,
    }
}

/// Whether an index along dimension `d` of a tensor is certainly inside, by its form alone.
pub(crate) fn is_inside(form: &Form, tensor: TensorId, d: usize, index: ExprId) -> bool {
    let extent = form.func.tensors[tensor].shape[d];
    match form.func.exprs[index].kind {
        ExprKind::Axis(a) if form.is_dimension(a) => {
            let axis = &form.func.axes[a];
            let (lo, hi) = form.cuts.get(&a).map_or((axis.lo, axis.hi), |cut| (cut.lo, cut.hi));
            non_negative(form, lo) && axis.parents.is_empty() && same(form, hi, extent)
        }
        _ => match (numeric(form, index), literal(form, extent)) {
            (Some((lo, hi)), Some(n)) => lo >= 0 && hi < n,
            _ => false,
        },
    }
}

/// Bounds of an axis over all values of the axes that it depends on: first value and one past the last, over sizes and
/// scalars. `None` where nothing bounds it.
pub(crate) fn hull(form: &mut Form, axis: AxisId) -> Option<(ExprId, ExprId)> {
    let (lo, hi) = (form.func.axes[axis].lo, form.func.axes[axis].hi);
    let low = range(form, lo, DEPTH)?.0;
    let high = range(form, hi, DEPTH)?.1;
    Some((low, high))
}

/// Smallest and largest value of an index expression, over sizes and scalars.
fn range(form: &mut Form, e: ExprId, depth: u32) -> Option<(ExprId, ExprId)> {
    let depth = depth.checked_sub(1)?;
    if is_host(form, e) {
        return Some((e, e));
    }
    let expr = form.func.exprs[e].clone();
    match expr.kind {
        ExprKind::Axis(a) => {
            let (lo, hi) = (form.func.axes[a].lo, form.func.axes[a].hi);
            let low = range(form, lo, depth)?.0;
            let high = range(form, hi, depth)?.1;
            let one = form.int(1, expr.span);
            Some((low, form.binary(BinaryOp::Sub, high, one)))
        }
        ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
            let ((al, ah), (bl, bh)) = (range(form, a, depth)?, range(form, b, depth)?);
            let (bl, bh) = if op == BinaryOp::Add { (bl, bh) } else { (bh, bl) };
            Some((form.binary(op, al, bl), form.binary(op, ah, bh)))
        }
        ExprKind::Binary(op @ (BinaryOp::Mul | BinaryOp::Div), a, b) => {
            let (a, b) =
                if op == BinaryOp::Mul && is_host(form, a) && !is_host(form, b) { (b, a) } else { (a, b) };
            if !is_host(form, b) || !non_negative(form, b) {
                return None;
            }
            let (al, ah) = range(form, a, depth)?;
            Some((form.binary(op, al, b), form.binary(op, ah, b)))
        }
        ExprKind::Binary(BinaryOp::Rem, _, b) if is_host(form, b) && non_negative(form, b) => {
            let (zero, one) = (form.int(0, expr.span), form.int(1, expr.span));
            Some((zero, form.binary(BinaryOp::Sub, b, one)))
        }
        ExprKind::Call(f @ (Function::Min | Function::Max), args) => {
            let ((al, ah), (bl, bh)) = (range(form, args[0], depth)?, range(form, args[1], depth)?);
            Some((form.call2(f, al, bl), form.call2(f, ah, bh)))
        }
        ExprKind::Select(_, a, b) => {
            let ((al, ah), (bl, bh)) = (range(form, a, depth)?, range(form, b, depth)?);
            Some((form.call2(Function::Min, al, bl), form.call2(Function::Max, ah, bh)))
        }
        ExprKind::Cast(a) if form.func.exprs[a].dtype.is_int() => {
            let (lo, hi) = range(form, a, depth)?;
            Some((
                form.expr(ExprKind::Cast(lo), expr.dtype, expr.span),
                form.expr(ExprKind::Cast(hi), expr.dtype, expr.span),
            ))
        }
        ExprKind::Load { tensor, .. } => {
            let (lo, hi) = form.func.tensors[tensor].range?;
            let one = form.int(1, expr.span);
            let last = form.binary(BinaryOp::Sub, hi, one);
            Some((
                form.expr(ExprKind::Cast(lo), expr.dtype, expr.span),
                form.expr(ExprKind::Cast(last), expr.dtype, expr.span),
            ))
        }
        _ => {
            let (lo, hi) = numeric(form, e)?;
            Some((form.int(lo, expr.span), form.int(hi, expr.span)))
        }
    }
}

/// The extent of an axis, if it is a number.
pub(crate) fn extent(form: &Form, axis: AxisId) -> Option<i64> {
    let a = &form.func.axes[axis];
    if matches!(a.kind, AxisKind::Seq | AxisKind::Repeat) {
        return None;
    }
    Some((literal(form, a.hi)? - literal(form, a.lo)?).max(0))
}

//! Reductions, scans and scatters in parts, so that several cores can work on them.
//!
//! ```text
//! split(k, n):          s += e over k            =>  p[part] += e over the part's k;  s += p[part] over part
//! scan(y, two_pass):    y[i] = run over i        =>  p[part] = sum of the part;  o[q] = running sum of p over q;
//!                                                    y[i] = run over the part's i from o[part - 1]
//! scatter(h, privatize): h[b] += e over i        =>  q[part,b] = 0;  q[part,b] += e over the part's i;
//!                                                    h[b] += q[part,b] over part
//! ```
//!
//! Part `p` of `n` of an axis `lo..hi` is `lo + p*c .. min(lo + (p+1)*c, hi)` with `c = ceil((hi - lo) / n)`. The
//! association of float sums changes: `allow reassoc` is needed for those.

use std::collections::BTreeMap;

use rooftile_artifact::DType;

use super::Allow;
use super::form::{Action, Form, Item, StmtId, reduction};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AssignOp, Axis, AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Function, ReduceOp, StoreKind, TensorId,
    ValueId,
};

/// The parts of an axis: the axis that counts them, and the axis that runs over one part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Counts the parts.
    pub(crate) part: AxisId,
    /// Runs over one part.
    pub(crate) inner: AxisId,
    /// The axis that was cut.
    pub(crate) whole: AxisId,
    /// Runs over the results of all parts, where they are scanned.
    pub(crate) over: Option<AxisId>,
    /// Elements of private copies that lie side by side.
    pub(crate) beside: Option<AxisId>,
}

/// What is added to a value's name for its parts.
pub(crate) const PART: &str = ".part";

fn refuse(span: Span, message: String) -> Diagnostic {
    Diagnostic::error(Code::Illegal, span, message)
}

/// Whether results of an operator may be combined in another order.
pub(super) fn reassociates(dtype: DType, op: ReduceOp, allow: Allow) -> bool {
    !(dtype.is_float() || dtype.is_complex())
        || matches!(op, ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All)
        || allow.reassoc
}

fn needs_reassoc(span: Span, what: &str) -> Diagnostic {
    refuse(span, format!("{what} in parts changes the order of a float sum"))
        .help("the task must `allow reassoc`")
}

/// Cuts an axis into `n` parts.
fn parts(form: &mut Form, axis: AxisId, n: i64) -> Parts {
    let a = form.func.axes[axis].clone();
    let span = a.span;
    let (zero, count) = (form.int(0, span), form.int(n, span));
    let part = form.func.axes.push(Axis {
        name: format!("{}.part", a.name),
        kind: AxisKind::With,
        lo: zero,
        hi: count,
        parents: Vec::new(),
        span,
    });
    let at = form.order.iter().position(|o| *o == axis).unwrap_or(form.order.len());
    form.order.insert(at, part);
    let length = if super::bounds::literal(form, a.lo) == Some(0) {
        a.hi
    } else {
        let length = form.binary(BinaryOp::Sub, a.hi, a.lo);
        form.call2(Function::Max, length, zero)
    };
    let up = form.int(n - 1, span);
    let padded = form.binary(BinaryOp::Add, length, up);
    let chunk = form.binary(BinaryOp::Div, padded, count);
    let p = form.expr(ExprKind::Axis(part), DType::I64, span);
    let one = form.int(1, span);
    let next = form.binary(BinaryOp::Add, p, one);
    let (from, to) = (form.binary(BinaryOp::Mul, p, chunk), form.binary(BinaryOp::Mul, next, chunk));
    let (lo, end) = (form.binary(BinaryOp::Add, a.lo, from), form.binary(BinaryOp::Add, a.lo, to));
    let hi = form.call2(Function::Min, end, a.hi);
    let mut parents = a.parents.clone();
    parents.push(part);
    let inner = form.func.axes.push(Axis { name: a.name, kind: a.kind, lo, hi, parents, span });
    form.order.insert(at + 1, inner);
    form.partitions.insert(inner, part);
    Parts { part, inner, whole: axis, over: None, beside: None }
}

/// An expression with one axis for another.
fn rename(form: &mut Form, e: ExprId, from: AxisId, to: AxisId) -> ExprId {
    let mut memo = BTreeMap::new();
    form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| match f.func.exprs[x].kind {
        ExprKind::Axis(a) if a == from => {
            let span = f.func.exprs[x].span;
            Some(f.expr(ExprKind::Axis(to), DType::I64, span))
        }
        _ => None,
    })
}

/// Whether an expression reads a value that varies along the axis: it cannot be renamed.
fn holds_values_along(form: &Form, e: ExprId, axis: AxisId) -> bool {
    form.below(vec![e]).any(|e| match &form.func.exprs[e].kind {
        ExprKind::Value(v) | ExprKind::ValueAt(v, _) => form.func.values[*v].axes.contains(&axis),
        _ => false,
    })
}

/// Values along the axis that are computed once from tensors are written into the expression instead.
fn inline_along(form: &mut Form, e: ExprId, axis: AxisId) -> ExprId {
    let mut e = e;
    for _ in 0..32 {
        if !holds_values_along(form, e, axis) {
            break;
        }
        let sets: BTreeMap<ValueId, Vec<ExprId>> = sets(form);
        let mut memo = BTreeMap::new();
        let next = form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| match f.func.exprs[x].kind {
            ExprKind::Value(v) if f.func.values[v].axes.contains(&axis) => {
                match sets.get(&v).map(Vec::as_slice) {
                    Some([one]) => Some(*one),
                    _ => None,
                }
            }
            _ => None,
        });
        if next == e {
            break;
        }
        e = next;
    }
    e
}

/// The expressions that each value is set to; accumulators count as set more than once.
fn sets(form: &Form) -> BTreeMap<ValueId, Vec<ExprId>> {
    let mut out: BTreeMap<ValueId, Vec<ExprId>> = BTreeMap::new();
    for (_, s) in form.stmts.iter() {
        match &s.action {
            Action::Set { value, index: None, expr } => out.entry(*value).or_default().push(*expr),
            other => {
                if let Some(v) = other.written_value() {
                    let any = other.exprs().first().copied();
                    out.entry(v).or_default().extend(any.into_iter().chain(any));
                }
            }
        }
    }
    out
}

/// Statements in place of another one.
fn replace(form: &mut Form, s: StmtId, new: &[StmtId]) {
    form.replace_stmts(&mut |_, x| (x == s).then(|| new.to_vec()));
}

fn is_top(form: &Form, s: StmtId) -> bool {
    form.items.iter().any(|i| matches!(i, Item::Stmt(x) if *x == s))
}

/// `split(k, n)`: every reduction over the axis in `n` parts. Gives the parts of each.
///
/// # Errors
/// E0504 where no reduction over the axis can be split.
pub(crate) fn split(form: &mut Form, axis: AxisId, n: i64, allow: Allow) -> Result<Vec<Parts>, Diagnostic> {
    let span = form.func.axes[axis].span;
    let name = form.func.axes[axis].name.clone();
    let mut made = Vec::new();
    for s in form.stmts.handles() {
        let stmt = form.stmts[s].clone();
        let Action::Accumulate { value, op, args, guard: None } = stmt.action else { continue };
        let v = form.func.values[value].clone();
        if !stmt.axes.contains(&axis) || v.axes.contains(&axis) || !is_top(form, s) {
            continue;
        }
        if !reassociates(v.dtype, op, allow) {
            return Err(needs_reassoc(span, &format!("reducing over `{name}`")));
        }
        let args: Vec<ExprId> = args.iter().map(|e| inline_along(form, *e, axis)).collect();
        if args.iter().any(|e| holds_values_along(form, *e, axis)) {
            return Err(refuse(span, format!("`{name}` cannot be split: what is reduced is kept along it")));
        }
        let p = parts(form, axis, n);
        let args: Vec<ExprId> = args.iter().map(|e| rename(form, *e, axis, p.inner)).collect();
        let mut axes = vec![p.part];
        axes.extend(&v.axes);
        let partial = form.value(&format!("{}{PART}", v.name), v.dtype, axes.clone(), span);
        let first = form.identity(op, v.dtype, span);
        let init =
            form.stmt(Action::Set { value: partial, index: None, expr: first }, axes.clone(), stmt.span);
        let mut all: Vec<AxisId> = stmt.axes.iter().copied().filter(|a| *a != axis).collect();
        all.extend([p.part, p.inner]);
        let add = form.stmt(Action::Accumulate { value: partial, op, args, guard: None }, all, stmt.span);
        let read = form.read(partial, span);
        let merge = if op == ReduceOp::Dot { ReduceOp::Sum } else { op };
        let merge = Action::Accumulate { value, op: merge, args: vec![read], guard: None };
        let merge = form.stmt(merge, axes, stmt.span);
        replace(form, s, &[init, add, merge]);
        made.push(p);
    }
    if made.is_empty() {
        return Err(refuse(span, format!("nothing is reduced over `{name}`, so it cannot be split")));
    }
    Ok(made)
}

/// `scan(y, via = two_pass)`: the running reduction whose result goes to a tensor or value, in `n` parts. Gives
/// the parts.
///
/// # Errors
/// E0504 where there is no such scan, or it cannot be taken apart.
pub(crate) fn scan(form: &mut Form, target: &str, n: i64, allow: Allow) -> Result<Parts, Diagnostic> {
    let whole = form.func.span;
    let found = scan_of(form, target);
    let Some((s, _)) = found else { return Err(refuse(whole, format!("no scan gives `{target}`"))) };
    let stmt = form.stmts[s].clone();
    let Action::Scan { value, run, op, axis, expr } = stmt.action else {
        return Err(refuse(whole, format!("no scan gives `{target}`")));
    };
    let dtype = form.func.values[run].dtype;
    if !reassociates(dtype, op, allow) {
        return Err(needs_reassoc(stmt.span, "scanning"));
    }
    let expr = inline_along(form, expr, axis);
    let users: Vec<StmtId> = form
        .stmts
        .handles()
        .filter(|u| *u != s && is_top(form, *u) && form.stmts[*u].axes.contains(&axis))
        .filter(|u| form.stmts[*u].action.exprs().iter().any(|e| uses(form, *e, value)))
        .collect();
    let mut elsewhere = form.stmts.handles().filter(|u| {
        *u != s && !users.contains(u) && form.stmts[*u].action.exprs().iter().any(|e| uses(form, *e, value))
    });
    // A value along the axis is read at the points of all parts.
    let keeps = |u: &StmtId| {
        let kept = form.stmts[*u].action.written_value();
        kept.is_some_and(|v| form.func.values[v].axes.contains(&axis))
    };
    if holds_values_along(form, expr, axis) || elsewhere.next().is_some() || users.iter().any(keeps) {
        return Err(refuse(stmt.span, "this scan cannot be taken apart: its values are kept".to_owned()));
    }
    let span = stmt.span;
    let outer = form.func.values[run].axes.clone();
    let mut p = parts(form, axis, n);
    let over = form.func.axes.push(form.func.axes[p.part].clone());
    form.order.insert(form.order.iter().position(|a| *a == p.part).map_or(0, |at| at + 1), over);
    p.over = Some(over);
    let with = |part: AxisId| -> Vec<AxisId> { [part].into_iter().chain(outer.iter().copied()).collect() };
    let (with_part, with_over) = (with(p.part), with(over));
    let all: Vec<AxisId> = with_part.iter().copied().chain([p.inner]).collect();
    let element = rename(form, expr, axis, p.inner);
    let first = form.identity(op, dtype, span);
    // Sums of parts.
    let total = form.value("part", dtype, with_part.clone(), span);
    let a = form.stmt(Action::Set { value: total, index: None, expr: first }, with_part.clone(), span);
    let b = Action::Accumulate { value: total, op, args: vec![element], guard: None };
    let b = form.stmt(b, all.clone(), span);
    // Running sums of the parts, and what each part starts from: the sum up to the part before.
    let upto = form.value("upto", dtype, with_over.clone(), span);
    let at = with_over.iter().map(|a| form.expr(ExprKind::Axis(*a), DType::I64, span)).collect();
    let read_total = form.expr(ExprKind::ValueAt(total, at), dtype, span);
    let c = Action::Scan { value: upto, run, op, axis: over, expr: read_total };
    let c = form.stmt(c, with_over, span);
    let own_run = form.value("run", dtype, with_part.clone(), span);
    let at = form.expr(ExprKind::Axis(p.part), DType::I64, span);
    let (zero, one) = (form.int(0, span), form.int(1, span));
    let is_first = form.expr(ExprKind::Binary(BinaryOp::Eq, at, zero), DType::Bool, span);
    let mut before = vec![form.binary(BinaryOp::Sub, at, one)];
    before.extend(outer.iter().map(|a| form.expr(ExprKind::Axis(*a), DType::I64, span)));
    let before = form.expr(ExprKind::ValueAt(upto, before), dtype, span);
    let start = form.expr(ExprKind::Select(is_first, first, before), dtype, span);
    let d = form.stmt(Action::Set { value: own_run, index: None, expr: start }, with_part, span);
    // Each part again, from its offset.
    let inner_value = {
        let v = form.func.values[value].clone();
        let axes = v.axes.iter().map(|x| if *x == axis { p.inner } else { *x }).collect();
        form.value(&v.name, v.dtype, axes, span)
    };
    let again = rename(form, expr, axis, p.inner);
    let e = Action::Scan { value: inner_value, run: own_run, op, axis: p.inner, expr: again };
    let e = form.stmt(e, all, span);
    replace(form, s, &[a, b, c, d, e]);
    for u in users {
        let mut action = form.stmts[u].action.clone();
        let axes: Vec<AxisId> =
            form.stmts[u].axes.iter().map(|x| if *x == axis { p.inner } else { *x }).collect();
        let read = form.read(inner_value, span);
        action.map_exprs(|x| {
            let mut memo = BTreeMap::new();
            let x = form.rewrite(x, &mut memo, &mut |g: &mut Form, y: ExprId| match g.func.exprs[y].kind {
                ExprKind::Value(v) if v == value => Some(read),
                _ => None,
            });
            let x = inline_along(form, x, axis);
            rename(form, x, axis, p.inner)
        });
        form.stmts[u].action = action;
        form.stmts[u].axes = form.sorted(axes);
    }
    Ok(p)
}

/// The first tensor or value that a scan's result goes to.
pub(crate) fn scan_target(form: &Form) -> Option<String> {
    let names = form.stmts.iter().filter_map(|(_, s)| match &s.action {
        Action::Store { tensor, .. } => Some(&form.func.tensors[*tensor].name),
        other => other.written_value().map(|v| &form.func.values[v].name),
    });
    names.into_iter().find(|name| scan_of(form, name).is_some()).cloned()
}

/// The scan that can be taken apart whose result goes to a tensor or value, and its axis.
pub(crate) fn scan_of(form: &Form, target: &str) -> Option<(StmtId, AxisId)> {
    form.stmts.iter().find_map(|(s, stmt)| match &stmt.action {
        Action::Scan { value, axis, .. } if is_top(form, s) && feeds(form, *value, target) => {
            Some((s, *axis))
        }
        _ => None,
    })
}

fn uses(form: &Form, e: ExprId, value: ValueId) -> bool {
    let is_value = |e: ExprId| matches!(&form.func.exprs[e].kind, ExprKind::Value(v) | ExprKind::ValueAt(v, _) if *v == value);
    form.below(vec![e]).any(is_value)
}

/// Whether a scan's value ends up in the named tensor or value.
fn feeds(form: &Form, value: ValueId, target: &str) -> bool {
    form.stmts.iter().any(|(_, s)| {
        let named = match &s.action {
            Action::Store { tensor, .. } => form.func.tensors[*tensor].name == target,
            other => other.written_value().is_some_and(|v| form.func.values[v].name == target),
        };
        named && s.action.exprs().iter().any(|e| uses(form, *e, value))
    })
}

/// `scatter(h, via = privatize)`: every scatter into the tensor goes to `n` private copies first. Gives the parts.
///
/// # Errors
/// E0504 where there is no such scatter, or it cannot be taken apart.
pub(crate) fn privatize(
    form: &mut Form,
    tensor: TensorId,
    n: i64,
    allow: Allow,
) -> Result<Parts, Diagnostic> {
    let t = form.func.tensors[tensor].clone();
    let found = form.stmts.handles().find(|s| {
        matches!(&form.stmts[*s].action, Action::Store { tensor: x, kind: StoreKind::Scatter, .. } if *x == tensor)
            && is_top(form, *s)
    });
    let none = || refuse(t.span, format!("nothing scatters into `{}`", t.name));
    let s = found.ok_or_else(none)?;
    let stmt = form.stmts[s].clone();
    let Action::Store { index, op, expr, .. } = stmt.action else { return Err(none()) };
    let monoid = reduction(op).ok_or_else(none)?;
    if !reassociates(t.dtype, monoid, allow) {
        return Err(needs_reassoc(stmt.span, "scattering"));
    }
    // The longest axis is the first that is not a small constant.
    let axis = stmt.axes.iter().copied().find(|a| super::bounds::extent(form, *a).is_none());
    let Some(axis) = axis.or(stmt.axes.first().copied()) else { return Err(none()) };
    let mut index: Vec<ExprId> = index;
    let mut expr = expr;
    for e in index.iter_mut().chain([&mut expr]) {
        *e = inline_along(form, *e, axis);
        if holds_values_along(form, *e, axis) {
            return Err(refuse(
                stmt.span,
                "this scatter cannot be taken apart: what it adds is kept".to_owned(),
            ));
        }
    }
    let span = stmt.span;
    let mut p = parts(form, axis, n);
    for e in index.iter_mut().chain([&mut expr]) {
        *e = rename(form, *e, axis, p.inner);
    }
    // One axis for each dimension of the tensor.
    let zero = form.int(0, span);
    let mut dims = Vec::new();
    for (d, extent) in t.shape.iter().enumerate() {
        let name = format!("{}.{d}", t.name);
        let kind = AxisKind::With;
        let dim = form.func.axes.push(Axis { name, kind, lo: zero, hi: *extent, parents: Vec::new(), span });
        form.order.push(dim);
        dims.push(dim);
    }
    p.beside = dims.last().copied();
    let mut axes = vec![p.part];
    axes.extend(&dims);
    let copies = form.value(&format!("{}.copy", t.name), t.dtype, axes.clone(), span);
    let first = form.identity(monoid, t.dtype, span);
    let init = form.stmt(Action::Set { value: copies, index: None, expr: first }, axes.clone(), span);
    let part = form.expr(ExprKind::Axis(p.part), DType::I64, span);
    let mut at = vec![part];
    at.extend(index);
    let mut all: Vec<AxisId> = stmt.axes.iter().copied().filter(|a| *a != axis).collect();
    all.extend([p.part, p.inner]);
    let scatter = form.stmt(Action::Scatter { value: copies, index: at, op, expr }, all, span);
    let read = form.read(copies, span);
    let index = dims.iter().map(|a| form.expr(ExprKind::Axis(*a), DType::I64, span)).collect();
    let op = if op == AssignOp::Sub { AssignOp::Add } else { op };
    let merge = Action::Store { tensor, index, op, expr: read, kind: StoreKind::Scatter };
    let merge = form.stmt(merge, axes, span);
    replace(form, s, &[init, scatter, merge]);
    Ok(p)
}

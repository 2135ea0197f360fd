//! Values that integer expressions take while some counters vary.

use rooftile_artifact::{DType, Scalar, host_expr};

use super::Content;
use crate::nest::eval;
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, Nest, Space, UnaryOp, VarId};

/// Expressions that are looked at for one value, at most.
const FUEL: usize = 4000;

/// `lo, lo + step, .., hi`, or some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) lo: i64,
    pub(super) hi: i64,
    /// 0 of a single value.
    pub(super) step: i64,
    /// Whether it is known; data are not.
    pub(super) known: bool,
    /// Whether it begins again and again while a counter goes on.
    pub(super) cyclic: bool,
    /// The counters that it depends on, a bit each.
    pub(super) deps: u64,
}

impl Range {
    pub(super) const DATA: Range =
        Range { lo: 0, hi: 0, step: 0, known: false, cyclic: false, deps: u64::MAX };

    pub(super) fn one(v: i64) -> Range {
        Range { lo: v, hi: v, step: 0, known: true, cyclic: false, deps: 0 }
    }

    /// From `lo` to `hi`, `step` apart.
    pub(super) fn new(lo: i64, hi: i64, step: i64) -> Range {
        Range { lo, hi, step: if lo == hi { 0 } else { step.max(1) }, ..Range::one(0) }
    }

    pub(super) fn single(self) -> Option<i64> {
        (self.known && self.lo == self.hi).then_some(self.lo)
    }

    fn with(self, of: &[Range]) -> Range {
        let deps = of.iter().fold(0, |all, r| all | r.deps);
        Range { deps, cyclic: self.cyclic || of.iter().any(|r| r.cyclic), ..self }
    }

    fn unknown(of: &[Range]) -> Range {
        Range::DATA.with(of)
    }
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A nest at given sizes, with what its variables are.
pub(super) struct Env<'a> {
    pub(super) nest: &'a Nest,
    sizes: &'a [i64],
    scalars: &'a [Scalar],
    content: &'a Content<'a>,
    pub(super) vars: Vec<Range>,
}

impl<'a> Env<'a> {
    pub(super) fn new(
        nest: &'a Nest,
        sizes: &'a [i64],
        scalars: &'a [Scalar],
        content: &'a Content<'a>,
    ) -> Option<Env<'a>> {
        let vars = vec![Range::DATA; nest.vars.len()];
        (sizes.len() >= nest.sizes.len()).then_some(Env { nest, sizes, scalars, content, vars })
    }

    pub(super) fn set(&mut self, var: VarId, range: Range) {
        self.vars[var.index()] = range;
    }

    pub(super) fn single(&self, e: ExprId) -> Option<i64> {
        self.range(e).single()
    }

    /// The values of an integer or truth value.
    pub(super) fn range(&self, e: ExprId) -> Range {
        self.value(e, &mut FUEL.clone())
    }

    fn value(&self, e: ExprId, fuel: &mut usize) -> Range {
        let expr = &self.nest.exprs[e];
        if *fuel == 0 {
            return Range::DATA;
        }
        *fuel -= 1;
        match &expr.kind {
            ExprKind::Const(v) => Range::one(v.as_i64()),
            ExprKind::Size(n) => self.sizes.get(*n).map_or(Range::DATA, |v| Range::one(*v)),
            ExprKind::Param(n) => match self.scalars.get(*n) {
                Some(v @ (Scalar::Int(_) | Scalar::Bool(_))) => Range::one(v.as_i64()),
                _ => Range::unknown(&[]),
            },
            ExprKind::Var(v) => self.vars[v.index()],
            ExprKind::Load { buffer, index } => {
                let index: Vec<Range> = index.iter().map(|i| self.value(*i, fuel)).collect();
                let found = self.element(*buffer, &index);
                found.map_or_else(|| Range::unknown(&index), |v| Range::one(v).with(&index))
            }
            ExprKind::Unary(op, a) => {
                let a = self.value(*a, fuel);
                match (op, a.single()) {
                    (_, Some(v)) => {
                        Range::one(eval::unary(*op, Scalar::Int(v), self.integer(e)).as_i64()).with(&[a])
                    }
                    (UnaryOp::Neg, None) if a.known => {
                        Range { lo: a.hi.saturating_neg(), hi: a.lo.saturating_neg(), ..a }
                    }
                    _ => Range::unknown(&[a]),
                }
            }
            ExprKind::Binary(op, a, b) => {
                let dtype = self.integer(*a);
                let (a, b) = (self.value(*a, fuel), self.value(*b, fuel));
                binary(*op, a, b, dtype).with(&[a, b])
            }
            ExprKind::Select(c, a, b) => {
                let (c, a, b) = (self.value(*c, fuel), self.value(*a, fuel), self.value(*b, fuel));
                match c.single() {
                    Some(0) => b.with(&[c, b]),
                    Some(_) => a.with(&[c, a]),
                    None if a.known && b.known => {
                        Range::new(a.lo.min(b.lo), a.hi.max(b.hi), 1).with(&[c, a, b])
                    }
                    None => Range::unknown(&[c, a, b]),
                }
            }
            ExprKind::Cast(a) => {
                let whole = |t: DType| t.is_int() || t == DType::Bool;
                let to = whole(expr.dtype) && whole(self.nest.exprs[*a].dtype);
                let a = self.value(*a, fuel);
                if to { a } else { Range::unknown(&[a]) }
            }
            ExprKind::Math(..) | ExprKind::Fma(..) => Range::DATA,
        }
    }

    /// The type that an operator on integers computes in.
    fn integer(&self, e: ExprId) -> DType {
        self.nest.exprs[e].dtype
    }

    fn element(&self, buffer: crate::nest::ir::BufferId, index: &[Range]) -> Option<i64> {
        let of = &self.nest.buffers[buffer];
        let Space::Global(slot) = of.space else { return None };
        if !of.dtype.is_int() {
            return None;
        }
        let mut at = 0i64;
        for (i, extent) in index.iter().zip(&of.shape) {
            at = at.checked_mul(self.single(*extent)?)?.checked_add(i.single()?)?;
        }
        (self.content)(slot, usize::try_from(at).ok()?)
    }
}

fn binary(op: BinaryOp, a: Range, b: Range, dtype: DType) -> Range {
    use BinaryOp as B;
    if let (Some(x), Some(y)) = (a.single(), b.single()) {
        let cyclic = matches!(op, B::Rem | B::RemNonNeg | B::And);
        let both = |v: i64| if dtype == DType::Bool { Scalar::Bool(v != 0) } else { Scalar::Int(v) };
        let value = dtype.is_int() || dtype == DType::Bool;
        return match eval::binary(op, both(x), both(y), dtype) {
            Some(v) if value => Range { cyclic, ..Range::one(v.as_i64()) },
            _ => Range::DATA,
        };
    }
    if op.is_comparison() || dtype == DType::Bool {
        return truth(op, a, b);
    }
    if !a.known || !b.known {
        return Range::DATA;
    }
    let by = b.single();
    match op {
        B::Add => Range::new(a.lo.saturating_add(b.lo), a.hi.saturating_add(b.hi), gcd(a.step, b.step)),
        B::Sub => Range::new(a.lo.saturating_sub(b.hi), a.hi.saturating_sub(b.lo), gcd(a.step, b.step)),
        B::Mul => {
            let corners = [(a.lo, b.lo), (a.lo, b.hi), (a.hi, b.lo), (a.hi, b.hi)];
            let products = corners.map(|(x, y)| x.saturating_mul(y));
            let step = match (a.single(), by) {
                (_, Some(v)) => a.step.saturating_mul(v.saturating_abs()),
                (Some(v), _) => b.step.saturating_mul(v.saturating_abs()),
                _ => 1,
            };
            let [x, rest @ ..] = products;
            let lo = rest.iter().fold(x, |m, v| m.min(*v));
            Range::new(lo, rest.iter().fold(x, |m, v| m.max(*v)), step)
        }
        B::Min => Range::new(a.lo.min(b.lo), a.hi.min(b.hi), 1),
        B::Max => Range::new(a.lo.max(b.lo), a.hi.max(b.hi), 1),
        B::Div | B::DivNonNeg => match by {
            Some(v) if v > 0 => {
                let step = if a.step % v == 0 { a.step / v } else { 1 };
                Range::new(host_expr::floor_div(a.lo, v), host_expr::floor_div(a.hi, v), step)
            }
            _ => Range::DATA,
        },
        B::Rem | B::RemNonNeg => match by {
            Some(v) if v > 0 && host_expr::floor_div(a.lo, v) == host_expr::floor_div(a.hi, v) => {
                let (lo, hi) = (host_expr::floor_rem(a.lo, v), host_expr::floor_rem(a.hi, v));
                Range { cyclic: true, ..Range::new(lo, hi, a.step) }
            }
            Some(v) if v > 0 => Range { cyclic: true, ..Range::new(0, v - 1, 1) },
            _ => Range::DATA,
        },
        B::And => match by.or(a.single()) {
            Some(v) if v >= 0 => Range { cyclic: true, ..Range::new(0, v, 1) },
            // Down to a multiple of a power of two.
            Some(v) => Range::new(a.lo & v, a.hi & v, 1),
            None => Range::DATA,
        },
        B::Shl => match by {
            Some(v @ 0..=62) => binary(B::Mul, a, Range::one(1 << v), dtype),
            _ => Range::DATA,
        },
        B::Shr => match by {
            Some(v @ 0..=62) => binary(B::Div, a, Range::one(1 << v), dtype),
            _ => Range::DATA,
        },
        _ => Range::DATA,
    }
}

/// A truth value: of what is decided for all values of the operands.
fn truth(op: BinaryOp, a: Range, b: Range) -> Range {
    use BinaryOp as B;
    let sure = |v: bool| Range::one(v.into());
    let open = Range { known: a.known && b.known, ..Range::new(0, 1, 1) };
    match op {
        B::And if a.single() == Some(0) || b.single() == Some(0) => sure(false),
        B::Or if [a, b].iter().any(|r| r.single().is_some_and(|v| v != 0)) => sure(true),
        B::And | B::Or | B::Xor => open,
        _ if !open.known => open,
        B::Lt if a.hi < b.lo => sure(true),
        B::Lt if a.lo >= b.hi => sure(false),
        B::Le if a.hi <= b.lo => sure(true),
        B::Le if a.lo > b.hi => sure(false),
        B::Eq if a.hi < b.lo || b.hi < a.lo => sure(false),
        B::Ne if a.hi < b.lo || b.hi < a.lo => sure(true),
        _ => open,
    }
}

//! Expressions.

use rooftile_artifact::{DType, Scalar};

use super::super::ssa::{Bin, Cmp, Lane, Ssa};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of, scalar_of};
use super::scope::{Binding, Dep};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, Space};

/// Bound on `|multiple of the lane counter|` and on the clamped rest in a comparison of indices in 32 bits.
const SMALL: i64 = 1 << 28;

impl<B: Ssa> Emitter<'_, B> {
    /// The value of an expression here.
    pub(super) fn eval(&mut self, e: ExprId) -> Val<B::Value> {
        self.eval_dep(e).0
    }

    /// The value of an expression here, and what it depends on.
    pub(super) fn eval_dep(&mut self, e: ExprId) -> (Val<B::Value>, Dep) {
        if let Some((v, dep)) = self.known[e.index()].as_ref().and_then(|k| self.scopes.recall(k)) {
            let v = v.clone();
            return self.in_mode(v, dep, e);
        }
        let (v, dep) = self.compute(e);
        self.known[e.index()] = Some(self.scopes.note(v.clone(), dep));
        self.in_mode(v, dep, e)
    }

    /// In a lane that is written out alone, the lane's scalar, which is good for that lane only.
    fn in_mode(&mut self, v: Val<B::Value>, dep: Dep, e: ExprId) -> (Val<B::Value>, Dep) {
        match (&v, self.lanes.as_ref().and_then(|l| l.only)) {
            (Val::Lanes(_), Some(l)) => {
                let scalar = self.extract(&v, self.nest.exprs[e].dtype, l);
                (Val::Uniform(scalar), dep.and(Dep { scope: self.lane_scope(), ..Dep::default() }))
            }
            _ => (v, dep),
        }
    }

    fn compute(&mut self, e: ExprId) -> (Val<B::Value>, Dep) {
        let nest = self.nest;
        let expr = &nest.exprs[e];
        let t = expr.dtype;
        if let Some(found) = self.looked_up(e) {
            return found;
        }
        match &expr.kind {
            ExprKind::Const(v) => (Val::Uniform(self.literal(*v, t)), Dep::default()),
            ExprKind::Size(n) => (Val::Uniform(self.size(*n)), Dep::default()),
            ExprKind::Param(n) => (Val::Uniform(self.param(*n)), Dep::default()),
            ExprKind::Var(v) => {
                let (binding, dep) = self.bindings[v.index()].clone();
                let value = match binding {
                    Binding::Value(v) => v,
                    Binding::Const(c) => Val::Uniform(self.int64(c)),
                    Binding::Lane => {
                        let values = self.lanes.as_ref().map(|l| l.values.clone()).unwrap_or_default();
                        let last = values.last().copied().unwrap_or(0);
                        let at = |l: usize| values.get(l).copied().unwrap_or(last);
                        Val::Lanes(self.iota(Lane::I64, values.len(), at))
                    }
                    // Verified nests bind before use.
                    Binding::Unbound => Val::Uniform(self.zero(scalar_of(t))),
                };
                (value, dep)
            }
            ExprKind::Load { buffer, index } => match nest.buffers[*buffer].space {
                Space::Register => self.load_register(*buffer, index),
                _ => self.load_memory(*buffer, index),
            },
            ExprKind::Unary(op, a) => {
                let (v, dep) = self.eval_dep(*a);
                (self.unary(*op, &v, t), dep)
            }
            ExprKind::Math(f, a) => {
                let (v, dep) = self.eval_dep(*a);
                (self.math(*f, &v, t), dep)
            }
            ExprKind::Binary(BinaryOp::DivNonNeg, ..)
                if let Some((v, dep)) = self.assumed.quotients.get(&e) =>
            {
                (Val::Uniform(*v), *dep)
            }
            ExprKind::Binary(BinaryOp::And | BinaryOp::Shr, ..)
                if let Some((lanes, dep)) = self.packed_lanes(e) =>
            {
                let n = self.lane_count().unwrap_or(1);
                (Val::Lanes(self.resize(&lanes, Lane::I8, false, n)), dep)
            }
            ExprKind::Binary(op, a, b) => {
                if let Some((mask, dep)) = self.compare_indices(*op, *a, *b) {
                    return (Val::Lanes(mask), dep);
                }
                let ((x, dx), (y, dy)) = (self.eval_dep(*a), self.eval_dep(*b));
                (self.binary(*op, &x, &y, nest.exprs[*a].dtype), dx.and(dy))
            }
            ExprKind::Fma(a, b, c) => {
                let ((x, dx), (y, dy)) = (self.eval_dep(*a), self.eval_dep(*b));
                let (z, dz) = self.eval_dep(*c);
                (self.fused(&x, &y, &z, t), dx.and(dy).and(dz))
            }
            ExprKind::Select(c, a, b) => {
                let ((x, dx), (y, dy)) = (self.eval_dep(*a), self.eval_dep(*b));
                let (m, dm) = self.eval_dep(*c);
                (self.select(&m, &x, &y, t), dx.and(dy).and(dm))
            }
            ExprKind::Cast(a) if let Some(found) = self.packed_cast(*a, t) => found,
            ExprKind::Cast(a) => {
                let (v, dep) = self.eval_dep(*a);
                (self.cast(&v, nest.exprs[*a].dtype, t), dep)
            }
        }
    }

    fn literal(&mut self, v: Scalar, t: DType) -> B::Value {
        let ty = scalar_of(t);
        match t {
            DType::F64 | DType::F32 => self.b.float(ty, v.as_f64()),
            DType::F16 => self.b.int(ty, half::f16::from_f64(v.as_f64()).to_bits().into()),
            DType::Bf16 => self.b.int(ty, half::bf16::from_f64(v.as_f64()).to_bits().into()),
            _ => self.b.int(ty, v.as_i64()),
        }
    }

    /// `Select(c, a, b)`.
    pub(super) fn select(
        &mut self,
        c: &Val<B::Value>,
        a: &Val<B::Value>,
        b: &Val<B::Value>,
        t: DType,
    ) -> Val<B::Value> {
        let ty = match (t, a, b) {
            (DType::Bool, Val::Lanes(l), _) | (DType::Bool, _, Val::Lanes(l)) => l.ty,
            (DType::Bool, ..) => Lane::I32,
            _ => lane_of(t),
        };
        match (c, a, b) {
            (Val::Uniform(c), Val::Uniform(a), Val::Uniform(b)) => Val::Uniform(self.b.select(*c, *a, *b)),
            (Val::Uniform(c), ..) => {
                let n = self.lane_count().unwrap_or(1);
                let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
                Val::Lanes(self.map2(&a, &b, ty, |e, a, b| e.b.select(*c, a, b)))
            }
            (Val::Lanes(mask), ..) => {
                let n = self.lane_count().unwrap_or(1);
                // Two truth values for all lanes: the mask itself decides the width.
                let ty = if t == DType::Bool && matches!((a, b), (Val::Uniform(_), Val::Uniform(_))) {
                    mask.ty
                } else {
                    ty
                };
                let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
                let mask = self.mask_to(mask, ty.as_int(), n);
                let chunks = (0..a.chunks.len())
                    .map(|i| self.b.blend(mask.chunks[i], a.chunks[i], b.chunks[i]))
                    .collect();
                Val::Lanes(Lanes { ty, chunks })
            }
        }
    }

    /// A comparison of indices that differ by a multiple of the lane counter, done in 32 bits: `c * lane` against
    /// the rest, which is clamped to a range that it need not leave.
    fn compare_indices(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> Option<(Lanes<B::Value>, Dep)> {
        let lanes = self.lanes.as_ref().filter(|l| l.only.is_none())?;
        if !op.is_comparison() || self.nest.exprs[a].dtype != DType::I64 {
            return None;
        }
        let values = lanes.values.clone();
        let difference = self.linear(a).plus(&self.linear(b), -1);
        let multiples: Option<Vec<i64>> =
            values.iter().map(|v| difference.lane.checked_mul(*v).filter(|m| m.abs() < SMALL)).collect();
        let multiples = multiples.filter(|_| difference.lane != 0 && self.is_index(a) && self.is_index(b))?;
        // lane part + rest < 0 is lane part < -rest.
        let mut dep = Dep { scope: self.lane_scope().max(difference.scope), ..Dep::default() };
        let mut rest = self.int64(difference.constant.wrapping_neg());
        for (e, c) in difference.terms {
            let (v, d) = self.eval_dep(e);
            dep = dep.and(d);
            let Val::Uniform(v) = v else { return None };
            let term = self.op_const(Bin::Mul, v, c.wrapping_neg());
            rest = self.b.binary(Bin::Add, rest, term);
        }
        let (low, high) = (self.int64(-SMALL), self.int64(SMALL));
        let rest = self.b.binary(Bin::SMax, rest, low);
        let rest = self.b.binary(Bin::SMin, rest, high);
        let rest = self.b.reduce(Lane::I32, rest);
        let rest = self.b.splat(rest);
        let last = multiples.last().copied().unwrap_or(0);
        let lane_part = self.iota(Lane::I32, values.len(), |l| multiples.get(l).copied().unwrap_or(last));
        let condition = match op {
            BinaryOp::Eq => Cmp::Eq,
            BinaryOp::Ne => Cmp::Ne,
            BinaryOp::Lt => Cmp::Lt,
            _ => Cmp::Le,
        };
        let mask = self.map1(&lane_part, Lane::I32, |e, v| e.b.compare(condition, v, rest));
        Some((mask, dep))
    }

    /// Whether an expression is made of sizes, counters and narrow integers only, so that it and its sums stay far
    /// from the ends of `i64`.
    fn is_index(&self, e: ExprId) -> bool {
        let expr = &self.nest.exprs[e];
        match &expr.kind {
            ExprKind::Const(v) => v.as_i64().abs() < 1 << 40,
            ExprKind::Size(_) => true,
            ExprKind::Var(v) => match &self.bindings[v.index()].0 {
                Binding::Const(_) | Binding::Lane => true,
                _ => match self.definitions[v.index()] {
                    Some(d) => self.is_index(d),
                    None => self.counters[v.index()],
                },
            },
            ExprKind::Cast(a) => {
                matches!(self.nest.exprs[*a].dtype, DType::Bool | DType::Int { bits: 8 | 16 | 32, .. })
            }
            ExprKind::Select(_, a, b)
            | ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b) => {
                self.is_index(*a) && self.is_index(*b)
            }
            ExprKind::Binary(BinaryOp::Mul, a, b) => {
                let small = |e| self.nest.const_int(e).is_some_and(|c| c.abs() < 1 << 12);
                (small(*a) && self.is_index(*b)) || (small(*b) && self.is_index(*a))
            }
            ExprKind::Binary(BinaryOp::DivNonNeg | BinaryOp::RemNonNeg, a, _) => self.is_index(*a),
            _ => false,
        }
    }
}

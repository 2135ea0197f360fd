//! Lanes of what is read at a quotient of their index: `S[k / G]`. Where a vector's lanes are in two groups at most, that is two
//! elements, and the lane from which on it is the second.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of};
use super::scope::Dep;
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind};

impl<B: Ssa> Emitter<'_, B> {
    /// Elements whose index has one part that differs between lanes, a quotient of neighbours; `None` for others.
    pub(super) fn load_steps(
        &mut self,
        buffer: BufferId,
        index: &[ExprId],
        n: usize,
    ) -> Option<Lanes<B::Value>> {
        let dtype = self.nest.buffers[buffer].dtype;
        if dtype == DType::Bool {
            return None;
        }
        let (quotient, a, g) = self.only_quotient(index)?;
        let x = self.linear(a);
        let values = self.lanes.as_ref()?.values.clone();
        if !matches!(x.lane, 1 | 2 | 4 | 8) || values.windows(2).any(|v| v[1] - v[0] != 1) {
            return None;
        }
        let per = self.per_chunk(lane_of(dtype));
        let Val::Uniform(divisor) = self.eval(g) else { return None };
        let ty = self.vector_of(lane_of(dtype));
        let chunks = (0..n).step_by(per).map(|first| {
            let lanes = first..(first + per).min(n);
            let ends = [lanes.start, lanes.end - 1].map(|l| self.in_lane(l, |e| e.uniform(quotient)));
            let apart = self.b.binary(Bin::Sub, ends[1], ends[0]);
            let near = self.compare_const(Cmp::Lt, apart, 2);
            let result = self.b.variable(ty);
            let (two, many, join) = (self.b.block(), self.b.block(), self.b.block());
            self.b.branch(near, (two, &[]), (many, &[]));
            self.arm(two, join, |e| {
                let [before, after] = ends.map(|q| {
                    let at =
                        e.at_quotient(quotient, q, |e| e.in_lane(lanes.start, |e| e.element(buffer, index)));
                    let v = e.b.load(Ty::scalar(ty.lane), at);
                    e.b.splat(v)
                });
                // The lane at which the second group begins; before the first one where there is no other.
                let begin = e.b.binary(Bin::Mul, ends[1], divisor);
                let start = e.in_lane(lanes.start, |e| e.uniform(a));
                let begin = e.b.binary(Bin::Sub, begin, start);
                let begin = e.op_const(Bin::Add, begin, x.lane - 1);
                let begin = e.shift_const(Bin::SShr, begin, x.lane.trailing_zeros());
                let least = e.int64(0);
                let begin = e.b.binary(Bin::SMax, begin, least);
                let begin = e.b.reduce(Lane::I32, begin);
                let begin = e.b.splat(begin);
                let count = lanes.len();
                let numbers = e.iota(Lane::I32, count, |l| l as i64);
                let mask = e.map1(&numbers, Lane::I32, |e, v| e.b.compare(Cmp::Le, begin, v));
                let mask = e.mask_to(&mask, ty.lane.as_int(), count);
                let v = e.b.blend(mask.chunks[0], after, before);
                e.b.def_var(result, v);
            });
            self.arm(many, join, |e| {
                let scalars = e.load_scattered(buffer, index, lanes.clone());
                let v = e.build(dtype, &scalars).chunks[0];
                e.b.def_var(result, v);
            });
            self.go_on(join);
            self.b.use_var(result)
        });
        Some(Lanes { ty: lane_of(dtype), chunks: chunks.collect() })
    }

    /// The quotient that is all that differs between lanes in an index, with its operands.
    fn only_quotient(&mut self, index: &[ExprId]) -> Option<(ExprId, ExprId, ExprId)> {
        let mut found: Option<(ExprId, ExprId, ExprId)> = None;
        for i in index {
            let linear = self.linear(*i);
            if linear.lane != 0 {
                return None;
            }
            for e in linear.terms.into_keys() {
                if matches!(self.eval(e), Val::Uniform(_)) {
                    continue;
                }
                match self.nest.exprs[e].kind {
                    ExprKind::Binary(BinaryOp::DivNonNeg, a, g) if found.is_none_or(|(q, ..)| q == e) => {
                        found = Some((e, a, g));
                    }
                    _ => return None,
                }
            }
        }
        found
    }

    /// What `f` gives where a quotient has a value.
    pub(super) fn at_quotient<R>(
        &mut self,
        quotient: ExprId,
        value: B::Value,
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        // What was computed of the quotient before is not of this value.
        self.scopes.push(true);
        let known = std::mem::replace(&mut self.known, vec![None; self.nest.exprs.len()]);
        let dep = Dep { scope: self.scopes.innermost(), level: self.scopes.level, ..Dep::default() };
        let before = self.assumed.quotients.insert(quotient, (value, dep));
        let result = f(self);
        match before {
            Some(before) => self.assumed.quotients.insert(quotient, before),
            None => self.assumed.quotients.remove(&quotient),
        };
        self.known = known;
        self.scopes.pop();
        result
    }
}

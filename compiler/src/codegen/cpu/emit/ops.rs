//! Short forms of what is written often.

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty};
use super::Emitter;

impl<B: Ssa> Emitter<'_, B> {
    /// The vector of a lane type.
    pub(super) fn vector_of(&self, lane: Lane) -> Ty {
        Ty::vector(lane, self.b.vector_bytes())
    }

    /// Lanes of one chunk.
    pub(super) fn per_chunk(&self, lane: Lane) -> usize {
        self.b.vector_bytes() / lane.bytes()
    }

    /// A constant to compute addresses and counters with.
    pub(super) fn int64(&mut self, v: i64) -> B::Value {
        self.b.int(Ty::scalar(Lane::I64), v)
    }

    /// `op(v, c)`.
    pub(super) fn op_const(&mut self, op: Bin, v: B::Value, c: i64) -> B::Value {
        let c = self.b.int(self.b.ty(v), c);
        self.b.binary(op, v, c)
    }

    /// `cmp(v, c)`.
    pub(super) fn compare_const(&mut self, cmp: Cmp, v: B::Value, c: i64) -> B::Value {
        let c = self.b.int(self.b.ty(v), c);
        self.b.compare(cmp, v, c)
    }

    /// `v > c`, with signs.
    pub(super) fn greater_const(&mut self, v: B::Value, c: i64) -> B::Value {
        let c = self.b.int(self.b.ty(v), c);
        self.b.compare(Cmp::Lt, c, v)
    }

    /// A bit cast.
    pub(super) fn cast_bits(&mut self, ty: Ty, v: B::Value) -> B::Value {
        if self.b.ty(v) == ty { v } else { self.b.bitcast(ty, v) }
    }

    /// A vector or scalar of zero bits.
    pub(super) fn zero(&mut self, ty: Ty) -> B::Value {
        if ty.lane.is_float() { self.b.float(ty, 0.0) } else { self.b.int(ty, 0) }
    }

    /// Scalar or vector shifted by a constant.
    pub(super) fn shift_const(&mut self, op: Bin, v: B::Value, count: u32) -> B::Value {
        let count = self.b.int(Ty::scalar(Lane::I32), i64::from(count));
        self.b.binary(op, v, count)
    }

    /// `a` where the condition holds: of scalars a truth value, of vectors a mask of their width.
    pub(super) fn choose(&mut self, condition: B::Value, a: B::Value, b: B::Value) -> B::Value {
        if self.b.ty(a).is_vector() { self.b.blend(condition, a, b) } else { self.b.select(condition, a, b) }
    }
}

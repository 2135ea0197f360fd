//! Values: one for all lanes, or one per lane in vectors.

use std::rc::Rc;

use rooftile_artifact::DType;

use super::super::ssa::{Cmp, Lane, Ssa, Ty};
use super::Emitter;

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Val<V> {
    /// The same for all lanes: a scalar. Truth values are `I8`, 0 or 1.
    Uniform(V),
    /// One per lane of the lane loop.
    Lanes(Lanes<V>),
}

/// Lane `l` is lane `l % per_chunk` of chunk `l / per_chunk`. Lanes of the last chunk past the loop's count hold
/// anything. Truth values are integer lanes, all bits set or none.
#[derive(Clone, Debug)]
pub(super) struct Lanes<V> {
    /// Type of one lane.
    pub(super) ty: Lane,
    /// Vectors.
    pub(super) chunks: Rc<[V]>,
}

/// The type that holds an element.
pub(super) fn lane_of(dtype: DType) -> Lane {
    match dtype {
        DType::F64 => Lane::F64,
        DType::F32 => Lane::F32,
        DType::F16 | DType::Bf16 => Lane::I16,
        DType::Int { bits: 16, .. } => Lane::I16,
        DType::Int { bits: 32, .. } => Lane::I32,
        DType::Int { bits: 64, .. } => Lane::I64,
        _ => Lane::I8,
    }
}

/// The scalar type that holds an element.
pub(super) fn scalar_of(dtype: DType) -> Ty {
    Ty::scalar(lane_of(dtype))
}

impl<B: Ssa> Emitter<'_, B> {
    /// An integer vector whose chunks hold `f(lane)`.
    pub(super) fn iota(&mut self, lane: Lane, n: usize, f: impl Fn(usize) -> i64) -> Lanes<B::Value> {
        let (vector, per) = (self.vector_of(lane), self.per_chunk(lane));
        let chunks = (0..n.div_ceil(per))
            .map(|c| {
                let of_lane = |l| f(c * per + l).to_le_bytes().into_iter().take(lane.bytes());
                let bytes: Vec<u8> = (0..per).flat_map(of_lane).collect();
                self.b.bytes(vector, &bytes)
            })
            .collect();
        Lanes { ty: lane, chunks }
    }

    /// The value as lanes of type `ty`. `bool` of one value for all lanes becomes a mask of that width.
    pub(super) fn per_lane(
        &mut self,
        v: &Val<B::Value>,
        dtype: DType,
        ty: Lane,
        n: usize,
    ) -> Lanes<B::Value> {
        match v {
            Val::Lanes(l) if dtype == DType::Bool => self.mask_to(l, ty, n),
            Val::Lanes(l) => l.clone(),
            Val::Uniform(v) => {
                let v = if dtype == DType::Bool { self.b.mask(ty, *v) } else { *v };
                let chunk = self.b.splat(v);
                Lanes { ty, chunks: std::iter::repeat_n(chunk, n.div_ceil(self.per_chunk(ty))).collect() }
            }
        }
    }

    /// Lane `l` as a scalar; a truth value as 0 or 1.
    pub(super) fn extract(&mut self, v: &Val<B::Value>, dtype: DType, l: usize) -> B::Value {
        match v {
            Val::Uniform(v) => *v,
            Val::Lanes(lanes) => {
                let per = self.per_chunk(lanes.ty);
                let lane = self.b.extract(lanes.chunks[l / per], l % per);
                if dtype == DType::Bool { self.compare_const(Cmp::Ne, lane, 0) } else { lane }
            }
        }
    }

    /// Scalars as lanes; truth values become masks of 32 bits.
    pub(super) fn build(&mut self, dtype: DType, scalars: &[B::Value]) -> Lanes<B::Value> {
        let ty = if dtype == DType::Bool { Lane::I32 } else { lane_of(dtype) };
        let per = self.per_chunk(ty);
        let chunks = scalars
            .chunks(per)
            .map(|group| {
                let lanes: Vec<B::Value> = match dtype {
                    DType::Bool => group.iter().map(|v| self.b.mask(ty, *v)).collect(),
                    _ => group.to_vec(),
                };
                self.b.build(&lanes)
            })
            .collect();
        Lanes { ty, chunks }
    }

    /// Does an operation lane by lane, for what has no vector form.
    pub(super) fn lane_by_lane(
        &mut self,
        operands: &[(&Val<B::Value>, DType)],
        result: DType,
        n: usize,
        mut f: impl FnMut(&mut Self, &[B::Value]) -> B::Value,
    ) -> Lanes<B::Value> {
        let mut results = Vec::with_capacity(n);
        for l in 0..n {
            let scalars: Vec<B::Value> = operands.iter().map(|(v, t)| self.extract(v, *t, l)).collect();
            results.push(f(self, &scalars));
        }
        self.build(result, &results)
    }

    /// A mask that is set in some lanes of a chunk.
    pub(super) fn lane_mask(&mut self, ty: Lane, set: impl Fn(usize) -> bool) -> B::Value {
        let byte = |i| if set(i / ty.bytes()) { 0xFF } else { 0 };
        let mask: Vec<u8> = (0..self.b.vector_bytes()).map(byte).collect();
        self.b.bytes(self.vector_of(ty.as_int()), &mask)
    }

    /// Does an operation chunk by chunk.
    pub(super) fn map1(
        &mut self,
        a: &Lanes<B::Value>,
        ty: Lane,
        mut f: impl FnMut(&mut Self, B::Value) -> B::Value,
    ) -> Lanes<B::Value> {
        Lanes { ty, chunks: a.chunks.iter().map(|&a| f(self, a)).collect() }
    }

    /// Does an operation chunk by chunk.
    pub(super) fn map2(
        &mut self,
        a: &Lanes<B::Value>,
        b: &Lanes<B::Value>,
        ty: Lane,
        mut f: impl FnMut(&mut Self, B::Value, B::Value) -> B::Value,
    ) -> Lanes<B::Value> {
        Lanes { ty, chunks: a.chunks.iter().zip(b.chunks.iter()).map(|(&a, &b)| f(self, a, b)).collect() }
    }

    /// A mask with lanes of another width.
    pub(super) fn mask_to(&mut self, mask: &Lanes<B::Value>, ty: Lane, n: usize) -> Lanes<B::Value> {
        self.resize(mask, ty, true, n)
    }

    /// Integer lanes widened (by sign or zero) or narrowed (wrapping) to the integer type `ty`.
    pub(super) fn resize(
        &mut self,
        v: &Lanes<B::Value>,
        ty: Lane,
        signed: bool,
        n: usize,
    ) -> Lanes<B::Value> {
        let mut v = v.clone();
        while v.ty.bytes() < ty.bytes() {
            let wider = Lane::int(2 * v.ty.bytes());
            v = self.in_halves(&v, wider, n, |e, chunk, upper| e.b.widen(chunk, signed, upper));
        }
        while v.ty.bytes() > ty.bytes() {
            let narrower = Lane::int(v.ty.bytes() / 2);
            let narrow = |pair: &[B::Value]| self.b.narrow(pair[0], pair[pair.len() - 1]);
            v = Lanes { ty: narrower, chunks: v.chunks.chunks(2).map(narrow).collect() };
        }
        v
    }

    /// Lanes of twice the width: `f` converts the lower half of a chunk, or the upper one where it is said so.
    pub(super) fn in_halves(
        &mut self,
        v: &Lanes<B::Value>,
        ty: Lane,
        n: usize,
        mut f: impl FnMut(&mut Self, B::Value, bool) -> B::Value,
    ) -> Lanes<B::Value> {
        let halves = self.halves(v, ty, n).into_iter();
        Lanes { ty, chunks: halves.map(|(chunk, upper)| f(self, chunk, upper)).collect() }
    }

    /// The halves of chunks that `n` lanes of the type `ty`, twice as wide, are made of; of each, whether it is the upper.
    pub(super) fn halves(&self, v: &Lanes<B::Value>, ty: Lane, n: usize) -> Vec<(B::Value, bool)> {
        let halves = v.chunks.iter().flat_map(|&chunk| [(chunk, false), (chunk, true)]);
        halves.take(n.div_ceil(self.per_chunk(ty))).collect()
    }
}

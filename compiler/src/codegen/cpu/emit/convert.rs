//! Conversions between types, as [`rooftile_artifact::Scalar::cast`] says.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of, scalar_of};

impl<B: Ssa> Emitter<'_, B> {
    /// `a` of type `from` as type `to`.
    pub(super) fn cast(&mut self, a: &Val<B::Value>, from: DType, to: DType) -> Val<B::Value> {
        match a {
            _ if from == to => a.clone(),
            Val::Uniform(v) => Val::Uniform(self.scalar_cast(*v, from, to)),
            Val::Lanes(lanes) => {
                let n = self.lane_count().unwrap_or(1);
                match self.vector_cast(lanes, from, to, n) {
                    Some(done) => Val::Lanes(done),
                    None => Val::Lanes(
                        self.lane_by_lane(&[(a, from)], to, n, |e, v| e.scalar_cast(v[0], from, to)),
                    ),
                }
            }
        }
    }

    /// Integer `v` widened to `lane`.
    pub(super) fn extend(&mut self, v: B::Value, lane: Lane, signed: bool) -> B::Value {
        if self.b.ty(v) == Ty::scalar(lane) { v } else { self.b.extend(lane, v, signed) }
    }

    /// One scalar.
    pub(super) fn scalar_cast(&mut self, v: B::Value, from: DType, to: DType) -> B::Value {
        if from == to {
            return v;
        }
        match (from, to) {
            (DType::F16 | DType::Bf16, _) => {
                let wide = self.widen_half(v, from);
                self.scalar_cast(wide, DType::F32, to)
            }
            (_, DType::Bool) => {
                if from.is_float() {
                    let zero = self.zero(scalar_of(from));
                    return self.b.compare(Cmp::Ne, v, zero);
                }
                self.compare_const(Cmp::Ne, v, 0)
            }
            (DType::F32, DType::F16 | DType::Bf16) => self.narrow_half(v, to),
            (DType::F64, DType::F16 | DType::Bf16) => {
                let odd = self.demote_to_odd(v);
                self.narrow_half(odd, to)
            }
            // Exact up to 53 bits; wider ones round to f64 first, as on the host.
            (_, DType::F16 | DType::Bf16) => {
                let wide = self.scalar_cast(v, from, DType::F64);
                self.scalar_cast(wide, DType::F64, to)
            }
            (DType::F32, DType::F64) => self.b.promote(v),
            (DType::F64, DType::F32) => self.b.demote(v),
            (DType::F32 | DType::F64, _) => self.float_to_int(v, to),
            (_, DType::F32 | DType::F64) => {
                let (v, signed) = self.at_least_32(v, from);
                self.b.from_int(lane_of(to), signed, v)
            }
            _ => {
                let (have, want) = (lane_of(from), lane_of(to));
                if have.bits() > want.bits() {
                    self.b.reduce(want, v)
                } else {
                    self.extend(v, want, from.is_signed_int())
                }
            }
        }
    }

    /// An integer or truth value in 32 bits or more, and whether it is signed.
    fn at_least_32(&mut self, v: B::Value, from: DType) -> (B::Value, bool) {
        let signed = from.is_signed_int();
        match lane_of(from).bits() {
            // Narrow unsigned values are positive in 32 bits.
            ..32 => (self.extend(v, Lane::I32, signed), true),
            _ => (v, signed),
        }
    }

    /// Truncated toward zero and clamped; NaN is 0.
    fn float_to_int(&mut self, v: B::Value, to: DType) -> B::Value {
        let ty = lane_of(to);
        let signed = to.is_signed_int();
        if ty.bits() >= 32 {
            return self.b.to_int(ty, signed, v);
        }
        let wide = self.b.to_int(Lane::I32, true, v);
        let clamped = self.clamp_to(wide, to);
        self.b.reduce(ty, clamped)
    }

    /// 32-bit integers, scalar or vector, clamped to the range of a narrower type.
    fn clamp_to(&mut self, v: B::Value, to: DType) -> B::Value {
        let ty = self.b.ty(v);
        let (lo, hi) = to.int_range().unwrap_or((0, 1));
        let (lo, hi) = (self.b.int(ty, lo as i64), self.b.int(ty, hi as i64));
        if ty.is_vector() {
            let v = self.b.binary(Bin::SMax, v, lo);
            return self.b.binary(Bin::SMin, v, hi);
        }
        let low = self.b.compare(Cmp::Lt, v, lo);
        let v = self.b.select(low, lo, v);
        let high = self.b.compare(Cmp::Lt, hi, v);
        self.b.select(high, hi, v)
    }

    /// A whole value per lane; `None` where only scalars have instructions.
    fn vector_cast(
        &mut self,
        v: &Lanes<B::Value>,
        from: DType,
        to: DType,
        n: usize,
    ) -> Option<Lanes<B::Value>> {
        Some(match (from, to) {
            (_, DType::Bool) => {
                if matches!(from, DType::F16 | DType::Bf16) {
                    let wide = self.vector_cast(v, from, DType::F32, n)?;
                    return self.vector_cast(&wide, DType::F32, DType::Bool, n);
                }
                self.map1(v, v.ty.as_int(), |e, x| {
                    let zero = e.zero(e.vector_of(v.ty));
                    e.b.compare(Cmp::Ne, x, zero)
                })
            }
            (DType::Bool, DType::Int { .. }) => {
                let ty = lane_of(to);
                let mask = self.mask_to(v, ty, n);
                self.map1(&mask, ty, |e, x| e.op_const(Bin::And, x, 1))
            }
            (DType::Bool, DType::F32 | DType::F64) => {
                let ty = lane_of(to);
                let mask = self.mask_to(v, ty.as_int(), n);
                self.map1(&mask, ty, |e, x| {
                    let one = e.b.float(e.vector_of(ty), 1.0);
                    let zero = e.zero(e.vector_of(ty));
                    e.b.blend(x, one, zero)
                })
            }
            (DType::Int { .. }, DType::Int { .. }) => self.resize(v, lane_of(to), from.is_signed_int(), n),
            (DType::Int { bits, .. }, DType::F32) if bits <= 32 => {
                let signed = from.is_signed_int() || bits < 32;
                let wide = self.resize(v, Lane::I32, from.is_signed_int(), n);
                self.map1(&wide, Lane::F32, |e, x| e.b.from_int(Lane::F32, signed, x))
            }
            (DType::Int { bits, .. }, DType::F64) if bits < 32 || (bits == 32 && from.is_signed_int()) => {
                let wide = self.resize(v, Lane::I32, from.is_signed_int(), n);
                self.promote(&wide, n)
            }
            (DType::F32, DType::Int { bits, signed }) if bits <= 32 => {
                // Narrow ones are clamped below.
                let wide_signed = bits < 32 || signed;
                let wide = self.map1(v, Lane::I32, |e, x| e.b.to_int(Lane::I32, wide_signed, x));
                if bits == 32 {
                    return Some(wide);
                }
                let clamped = self.map1(&wide, Lane::I32, |e, x| e.clamp_to(x, to));
                self.resize(&clamped, lane_of(to), signed, n)
            }
            (DType::F32, DType::F64) => self.promote(v, n),
            (DType::F64, DType::F32) => self.demote(v),
            (DType::F32, DType::F16 | DType::Bf16) => {
                if let (DType::F16, Some(done)) = (to, self.narrowed_f16(v)) {
                    return Some(done);
                }
                let bits = self.map1(v, Lane::I32, |e, x| e.narrow_half_bits(x, to));
                self.resize(&bits, Lane::I16, false, n)
            }
            (DType::F16 | DType::Bf16, DType::F32) => {
                if let (DType::F16, Some(done)) = (from, self.widened_f16(v, n)) {
                    return Some(done);
                }
                let bits = self.resize(v, Lane::I32, false, n);
                self.map1(&bits, Lane::F32, |e, x| e.widen_half_bits(x, from))
            }
            (DType::F16 | DType::Bf16, _) => {
                let wide = self.vector_cast(v, from, DType::F32, n)?;
                self.vector_cast(&wide, DType::F32, to, n)?
            }
            (DType::Int { bits, .. }, DType::F16 | DType::Bf16) if bits < 32 => {
                // At most 16 bits are exact in f32.
                let wide = self.vector_cast(v, from, DType::F32, n)?;
                self.vector_cast(&wide, DType::F32, to, n)?
            }
            _ => return None,
        })
    }

    /// Lanes of 32 bits, f32 or signed integers, as f64.
    fn promote(&mut self, v: &Lanes<B::Value>, n: usize) -> Lanes<B::Value> {
        self.in_halves(v, Lane::F64, n, |e, chunk, upper| e.b.widen_to_f64(chunk, upper))
    }

    /// f16 lanes as f32, where there is an instruction.
    fn widened_f16(&mut self, v: &Lanes<B::Value>, n: usize) -> Option<Lanes<B::Value>> {
        let halves = self.halves(v, Lane::F32, n).into_iter();
        let chunks: Option<_> = halves.map(|(v, upper)| self.b.widen_f16(v, upper)).collect();
        Some(Lanes { ty: Lane::F32, chunks: chunks? })
    }

    /// f32 lanes as f16, where there is an instruction.
    fn narrowed_f16(&mut self, v: &Lanes<B::Value>) -> Option<Lanes<B::Value>> {
        let narrow = |pair: &[B::Value]| self.b.narrow_f16(pair[0], pair.get(1).copied());
        let chunks: Option<_> = v.chunks.chunks(2).map(narrow).collect();
        Some(Lanes { ty: Lane::I16, chunks: chunks? })
    }

    /// f64 lanes as f32.
    fn demote(&mut self, v: &Lanes<B::Value>) -> Lanes<B::Value> {
        let narrow = |pair: &[B::Value]| self.b.narrow_f64(pair[0], pair.get(1).copied());
        Lanes { ty: Lane::F32, chunks: v.chunks.chunks(2).map(narrow).collect() }
    }
}

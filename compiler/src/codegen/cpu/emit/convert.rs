//! Conversions between types, as [`rooftile_artifact::Scalar::cast`] says.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use rooftile_artifact::DType;

use super::Emitter;
use super::lanes::{Lanes, Val, per_chunk, scalar_type, vector_of};

impl Emitter<'_> {
    /// `a` of type `from` as type `to`.
    pub(super) fn cast(&mut self, a: &Val, from: DType, to: DType) -> Val {
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

    /// Integer `v` widened to `ty`.
    pub(super) fn extend(&mut self, v: Value, ty: Type, signed: bool) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            v
        } else if signed {
            self.b.ins().sextend(ty, v)
        } else {
            self.b.ins().uextend(ty, v)
        }
    }

    /// One scalar.
    pub(super) fn scalar_cast(&mut self, v: Value, from: DType, to: DType) -> Value {
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
                    let zero = self.zero(scalar_type(from));
                    return self.b.ins().fcmp(FloatCC::NotEqual, v, zero);
                }
                self.b.ins().icmp_imm_s(IntCC::NotEqual, v, 0)
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
            (DType::F32, DType::F64) => self.b.ins().fpromote(types::F64, v),
            (DType::F64, DType::F32) => self.b.ins().fdemote(types::F32, v),
            (DType::F32 | DType::F64, _) => self.float_to_int(v, to),
            (_, DType::F32 | DType::F64) => {
                let (v, signed) = self.at_least_32(v, from);
                let ty = scalar_type(to);
                if signed { self.b.ins().fcvt_from_sint(ty, v) } else { self.b.ins().fcvt_from_uint(ty, v) }
            }
            _ => {
                let (have, want) = (scalar_type(from), scalar_type(to));
                if have.bits() > want.bits() {
                    self.b.ins().ireduce(want, v)
                } else {
                    self.extend(v, want, from.is_signed_int())
                }
            }
        }
    }

    /// An integer or truth value in 32 bits or more, and whether it is signed.
    fn at_least_32(&mut self, v: Value, from: DType) -> (Value, bool) {
        let signed = from.is_signed_int();
        match scalar_type(from).bits() {
            // Narrow unsigned values are positive in 32 bits.
            ..32 => (self.extend(v, types::I32, signed), true),
            _ => (v, signed),
        }
    }

    /// Truncated toward zero and clamped; NaN is 0.
    fn float_to_int(&mut self, v: Value, to: DType) -> Value {
        let ty = scalar_type(to);
        let signed = to.is_signed_int();
        if ty.bits() >= 32 {
            let ins = self.b.ins();
            return if signed { ins.fcvt_to_sint_sat(ty, v) } else { ins.fcvt_to_uint_sat(ty, v) };
        }
        let wide = self.b.ins().fcvt_to_sint_sat(types::I32, v);
        let clamped = self.clamp_to(wide, to);
        self.b.ins().ireduce(ty, clamped)
    }

    /// 32-bit integers, scalar or vector, clamped to the range of a narrower type.
    fn clamp_to(&mut self, v: Value, to: DType) -> Value {
        let ty = self.b.func.dfg.value_type(v);
        let (lo, hi) = to.int_range().unwrap_or((0, 1));
        let (lo, hi) = (self.int_const(ty, lo as i64), self.int_const(ty, hi as i64));
        if ty.is_vector() {
            let v = self.b.ins().smax(v, lo);
            return self.b.ins().smin(v, hi);
        }
        let low = self.b.ins().icmp(IntCC::SignedLessThan, v, lo);
        let v = self.b.ins().select(low, lo, v);
        let high = self.b.ins().icmp(IntCC::SignedGreaterThan, v, hi);
        self.b.ins().select(high, hi, v)
    }

    /// A whole value per lane; `None` where only scalars have instructions.
    fn vector_cast(&mut self, v: &Lanes, from: DType, to: DType, n: usize) -> Option<Lanes> {
        Some(match (from, to) {
            (_, DType::Bool) => {
                let float = from.is_float();
                if matches!(from, DType::F16 | DType::Bf16) {
                    let wide = self.vector_cast(v, from, DType::F32, n)?;
                    return self.vector_cast(&wide, DType::F32, DType::Bool, n);
                }
                self.map1(v, super::lanes::as_int(v.ty), |e, x| {
                    let zero = e.zero(vector_of(v.ty));
                    if float {
                        e.b.ins().fcmp(FloatCC::NotEqual, x, zero)
                    } else {
                        e.b.ins().icmp(IntCC::NotEqual, x, zero)
                    }
                })
            }
            (DType::Bool, DType::Int { .. }) => {
                let ty = scalar_type(to);
                let mask = self.mask_to(v, ty, n);
                self.map1(&mask, ty, |e, x| {
                    let one = e.int_const(vector_of(ty), 1);
                    e.b.ins().band(x, one)
                })
            }
            (DType::Bool, DType::F32 | DType::F64) => {
                let ty = scalar_type(to);
                let mask = self.mask_to(v, super::lanes::as_int(ty), n);
                self.map1(&mask, ty, |e, x| {
                    let one = e.float_const(vector_of(ty), 1.0);
                    let zero = e.zero(vector_of(ty));
                    e.blend(x, one, zero)
                })
            }
            (DType::Int { .. }, DType::Int { .. }) => {
                self.resize(v, scalar_type(to), from.is_signed_int(), n)
            }
            (DType::Int { bits, .. }, DType::F32) if bits <= 32 => {
                let signed = from.is_signed_int() || bits < 32;
                let wide = self.resize(v, types::I32, from.is_signed_int(), n);
                self.map1(&wide, types::F32, |e, x| {
                    let ins = e.b.ins();
                    if signed {
                        ins.fcvt_from_sint(types::F32X4, x)
                    } else {
                        ins.fcvt_from_uint(types::F32X4, x)
                    }
                })
            }
            (DType::Int { bits, .. }, DType::F64) if bits < 32 || (bits == 32 && from.is_signed_int()) => {
                let wide = self.resize(v, types::I32, from.is_signed_int(), n);
                self.promote_with(&wide, n, |e, x| {
                    let low = e.b.ins().swiden_low(x);
                    e.b.ins().fcvt_from_sint(types::F64X2, low)
                })
            }
            (DType::F32, DType::Int { bits, signed }) if bits <= 32 => {
                let to_unsigned = bits == 32 && !signed;
                let wide = self.map1(v, types::I32, |e, x| {
                    let ins = e.b.ins();
                    if to_unsigned {
                        ins.fcvt_to_uint_sat(types::I32X4, x)
                    } else {
                        ins.fcvt_to_sint_sat(types::I32X4, x)
                    }
                });
                if bits == 32 {
                    return Some(wide);
                }
                let clamped = self.map1(&wide, types::I32, |e, x| e.clamp_to(x, to));
                self.resize(&clamped, scalar_type(to), signed, n)
            }
            (DType::F32, DType::F64) => self.promote_with(v, n, |e, x| e.b.ins().fvpromote_low(x)),
            (DType::F64, DType::F32) => self.demote(v),
            (DType::F32, DType::F16 | DType::Bf16) => {
                let bits = self.map1(v, types::I32, |e, x| e.narrow_half_bits(x, to));
                self.resize(&bits, types::I16, false, n)
            }
            (DType::F16 | DType::Bf16, DType::F32) => {
                let bits = self.resize(v, types::I32, false, n);
                self.map1(&bits, types::F32, |e, x| e.widen_half_bits(x, from))
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

    /// 32-bit lanes to f64: `low` converts the lower half of a vector, and the upper half after moving it down.
    fn promote_with(&mut self, v: &Lanes, n: usize, mut low: impl FnMut(&mut Self, Value) -> Value) -> Lanes {
        let wanted = n.div_ceil(per_chunk(types::F64));
        let ty = vector_of(v.ty);
        let mut chunks = Vec::with_capacity(wanted);
        for &chunk in v.chunks.iter() {
            if chunks.len() < wanted {
                chunks.push(low(self, chunk));
            }
            if chunks.len() < wanted {
                let bytes = self.cast_bits(types::I8X16, chunk);
                let upper = self.shuffle(bytes, bytes, std::array::from_fn(|i| (8 + i % 8) as u8));
                let upper = self.cast_bits(ty, upper);
                chunks.push(low(self, upper));
            }
        }
        Lanes { ty: types::F64, chunks: chunks.into() }
    }

    fn demote(&mut self, v: &Lanes) -> Lanes {
        let chunks = v
            .chunks
            .chunks(2)
            .map(|pair| {
                let low = self.b.ins().fvdemote(pair[0]);
                let Some(&high) = pair.get(1) else { return low };
                let high = self.b.ins().fvdemote(high);
                let (low, high) = (self.cast_bits(types::I8X16, low), self.cast_bits(types::I8X16, high));
                let both =
                    self.shuffle(low, high, std::array::from_fn(|i| if i < 8 { i } else { i + 8 } as u8));
                self.cast_bits(types::F32X4, both)
            })
            .collect();
        Lanes { ty: types::F32, chunks }
    }
}

//! `f16` and `bf16` by integer arithmetic, on scalars and vectors alike.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::Emitter;

impl<B: Ssa> Emitter<'_, B> {
    /// A half in 16 bits as f32.
    pub(super) fn widen_half(&mut self, v: B::Value, from: DType) -> B::Value {
        if from == DType::F16
            && let Some(wide) = self.b.widen_f16(v, false)
        {
            return wide;
        }
        let bits = self.b.extend(Lane::I32, v, false);
        self.widen_half_bits(bits, from)
    }

    /// f32 as a half in 16 bits.
    pub(super) fn narrow_half(&mut self, v: B::Value, to: DType) -> B::Value {
        if to == DType::F16
            && let Some(half) = self.b.narrow_f16(v, None)
        {
            return half;
        }
        let bits = self.narrow_half_bits(v, to);
        self.b.reduce(Lane::I16, bits)
    }

    /// Halves in the low bits of 32-bit integers as f32; exact.
    pub(super) fn widen_half_bits(&mut self, bits: B::Value, from: DType) -> B::Value {
        let int = self.b.ty(bits);
        let float = Ty { lane: Lane::F32, ..int };
        if from == DType::Bf16 {
            let shifted = self.shift_const(Bin::Shl, bits, 16);
            return self.cast_bits(float, shifted);
        }
        let magnitude = self.op_const(Bin::And, bits, 0x7FFF);
        let shifted = self.shift_const(Bin::Shl, magnitude, 13);
        // The exponents' biases differ by 112. The product is exact: of subnormals too.
        let value = self.cast_bits(float, shifted);
        let scale = self.b.float(float, 112f64.exp2());
        let value = self.b.binary(Bin::Mul, value, scale);
        let value = self.cast_bits(int, value);
        // Infinity and NaN keep the largest exponent.
        let special = self.greater_const(magnitude, 0x7BFF);
        let exponent = self.b.int(int, 0x7F80_0000);
        let with_exponent = self.b.binary(Bin::Or, shifted, exponent);
        let value = self.choose(special, with_exponent, value);
        let sign = self.op_const(Bin::And, bits, 0x8000);
        let sign = self.shift_const(Bin::Shl, sign, 16);
        let value = self.b.binary(Bin::Or, value, sign);
        self.cast_bits(float, value)
    }

    /// f32 as halves in the low bits of 32-bit integers, rounded to nearest even.
    pub(super) fn narrow_half_bits(&mut self, v: B::Value, to: DType) -> B::Value {
        let ty = self.b.ty(v);
        let int = ty.as_int();
        let bits = self.cast_bits(int, v);
        let magnitude = self.op_const(Bin::And, bits, 0x7FFF_FFFF);
        let nan = self.greater_const(magnitude, 0x7F80_0000);
        if to == DType::Bf16 {
            let rounded = self.round_off(bits, int, 16);
            let upper = self.shift_const(Bin::UShr, bits, 16);
            let quiet = self.b.int(int, 0x40);
            let quiet = self.b.binary(Bin::Or, upper, quiet);
            return self.choose(nan, quiet, rounded);
        }
        // Normal results: move the bias, round off 13 bits. What becomes too large becomes infinity below.
        let rebias = self.b.int(int, -(112 << 23));
        let rebiased = self.b.binary(Bin::Add, magnitude, rebias);
        let normal = self.round_off(rebiased, int, 13);
        // Subnormal results: next to 0.5 an f32 has steps of 2^-24, as they have.
        let value = self.cast_bits(ty, magnitude);
        let half = self.b.float(ty, 0.5);
        let sum = self.b.binary(Bin::Add, value, half);
        let sum = self.cast_bits(int, sum);
        let half_bits = self.b.int(int, 0x3F00_0000);
        let subnormal = self.b.binary(Bin::Sub, sum, half_bits);
        let small = self.compare_const(Cmp::Lt, magnitude, 0x3880_0000);
        let result = self.choose(small, subnormal, normal);
        let large = self.greater_const(magnitude, 0x477F_EFFF);
        let infinity = self.b.int(int, 0x7C00);
        let result = self.choose(large, infinity, result);
        let quiet = self.b.int(int, 0x7E00);
        let result = self.choose(nan, quiet, result);
        let sign = self.shift_const(Bin::UShr, bits, 16);
        let sign = self.op_const(Bin::And, sign, 0x8000);
        self.b.binary(Bin::Or, result, sign)
    }

    /// Drops low bits, rounding to nearest even.
    fn round_off(&mut self, bits: B::Value, int: Ty, drop: u32) -> B::Value {
        let odd = self.shift_const(Bin::UShr, bits, drop);
        let odd = self.op_const(Bin::And, odd, 1);
        let half = self.b.int(int, (1 << (drop - 1)) - 1);
        let sum = self.b.binary(Bin::Add, bits, half);
        let sum = self.b.binary(Bin::Add, sum, odd);
        self.shift_const(Bin::UShr, sum, drop)
    }

    /// A scalar f64 as f32, inexact results made odd, so that rounding once more rounds correctly.
    pub(super) fn demote_to_odd(&mut self, v: B::Value) -> B::Value {
        let near = self.b.demote(v);
        let back = self.b.promote(near);
        let inexact = self.b.compare(Cmp::OrderedNe, back, v);
        let (size, wanted) = (self.b.unary(Un::Abs, back), self.b.unary(Un::Abs, v));
        let above = self.b.compare(Cmp::Lt, wanted, size);
        let bits = self.cast_bits(Ty::scalar(Lane::I32), near);
        let lower = self.op_const(Bin::Add, bits, -1);
        let truncated = self.b.select(above, lower, bits);
        let odd = self.op_const(Bin::Or, truncated, 1);
        let bits = self.b.select(inexact, odd, bits);
        self.cast_bits(Ty::scalar(Lane::F32), bits)
    }
}

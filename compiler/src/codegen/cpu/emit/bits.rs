//! `f16` and `bf16` by integer arithmetic, on scalars and vectors alike.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use rooftile_artifact::DType;

use super::Emitter;

impl Emitter<'_> {
    /// A half in 16 bits as f32.
    pub(super) fn widen_half(&mut self, v: Value, from: DType) -> Value {
        let bits = self.b.ins().uextend(types::I32, v);
        self.widen_half_bits(bits, from)
    }

    /// f32 as a half in 16 bits.
    pub(super) fn narrow_half(&mut self, v: Value, to: DType) -> Value {
        let bits = self.narrow_half_bits(v, to);
        self.b.ins().ireduce(types::I16, bits)
    }

    /// Halves in the low bits of 32-bit integers as f32; exact.
    pub(super) fn widen_half_bits(&mut self, bits: Value, from: DType) -> Value {
        let (int, float) = self.types_32(bits);
        if from == DType::Bf16 {
            let shifted = self.shift_left(bits, 16);
            return self.cast_bits(float, shifted);
        }
        let magnitude = self.and(bits, int, 0x7FFF);
        let shifted = self.shift_left(magnitude, 13);
        // The exponents' biases differ by 112. The product is exact: of subnormals too.
        let value = self.cast_bits(float, shifted);
        let scale = self.float_const(float, 112f64.exp2());
        let value = self.b.ins().fmul(value, scale);
        let value = self.cast_bits(int, value);
        // Infinity and NaN keep the largest exponent.
        let special = self.compare(IntCC::SignedGreaterThan, magnitude, int, 0x7BFF);
        let exponent = self.int_const(int, 0x7F80_0000);
        let with_exponent = self.b.ins().bor(shifted, exponent);
        let value = self.choose(special, with_exponent, value);
        let sign = self.and(bits, int, 0x8000);
        let sign = self.shift_left(sign, 16);
        let value = self.b.ins().bor(value, sign);
        self.cast_bits(float, value)
    }

    /// f32 as halves in the low bits of 32-bit integers, rounded to nearest even.
    pub(super) fn narrow_half_bits(&mut self, v: Value, to: DType) -> Value {
        let ty = self.b.func.dfg.value_type(v);
        let int = super::lanes::as_int(ty);
        let bits = self.cast_bits(int, v);
        let magnitude = self.and(bits, int, 0x7FFF_FFFF);
        let nan = self.compare(IntCC::SignedGreaterThan, magnitude, int, 0x7F80_0000);
        if to == DType::Bf16 {
            let rounded = self.round_off(bits, int, 16);
            let upper = self.shift_right(bits, 16);
            let quiet = self.int_const(int, 0x40);
            let quiet = self.b.ins().bor(upper, quiet);
            return self.choose(nan, quiet, rounded);
        }
        // Normal results: move the bias, round off 13 bits. What becomes too large becomes infinity below.
        let rebias = self.int_const(int, -(112 << 23));
        let rebiased = self.b.ins().iadd(magnitude, rebias);
        let normal = self.round_off(rebiased, int, 13);
        // Subnormal results: next to 0.5 an f32 has steps of 2^-24, as they have.
        let value = self.cast_bits(ty, magnitude);
        let half = self.float_const(ty, 0.5);
        let sum = self.b.ins().fadd(value, half);
        let sum = self.cast_bits(int, sum);
        let half_bits = self.int_const(int, 0x3F00_0000);
        let subnormal = self.b.ins().isub(sum, half_bits);
        let small = self.compare(IntCC::SignedLessThan, magnitude, int, 0x3880_0000);
        let result = self.choose(small, subnormal, normal);
        let large = self.compare(IntCC::SignedGreaterThan, magnitude, int, 0x477F_EFFF);
        let infinity = self.int_const(int, 0x7C00);
        let result = self.choose(large, infinity, result);
        let quiet = self.int_const(int, 0x7E00);
        let result = self.choose(nan, quiet, result);
        let sign = self.shift_right(bits, 16);
        let sign = self.and(sign, int, 0x8000);
        self.b.ins().bor(result, sign)
    }

    /// Drops low bits, rounding to nearest even.
    fn round_off(&mut self, bits: Value, int: Type, drop: u32) -> Value {
        let odd = self.shift_right(bits, drop);
        let odd = self.and(odd, int, 1);
        let half = self.int_const(int, (1 << (drop - 1)) - 1);
        let sum = self.b.ins().iadd(bits, half);
        let sum = self.b.ins().iadd(sum, odd);
        self.shift_right(sum, drop)
    }

    /// A scalar f64 as f32, inexact results made odd, so that rounding once more rounds correctly.
    pub(super) fn demote_to_odd(&mut self, v: Value) -> Value {
        let near = self.b.ins().fdemote(types::F32, v);
        let back = self.b.ins().fpromote(types::F64, near);
        let inexact = self.b.ins().fcmp(FloatCC::OrderedNotEqual, back, v);
        let (size, wanted) = (self.b.ins().fabs(back), self.b.ins().fabs(v));
        let above = self.b.ins().fcmp(FloatCC::GreaterThan, size, wanted);
        let bits = self.cast_bits(types::I32, near);
        let lower = self.b.ins().iadd_imm_s(bits, -1);
        let truncated = self.b.ins().select(above, lower, bits);
        let odd = self.b.ins().bor_imm_s(truncated, 1);
        let bits = self.b.ins().select(inexact, odd, bits);
        self.cast_bits(types::F32, bits)
    }

    fn types_32(&self, v: Value) -> (Type, Type) {
        match self.b.func.dfg.value_type(v).is_vector() {
            true => (types::I32X4, types::F32X4),
            false => (types::I32, types::F32),
        }
    }

    /// Scalar or vector shifted left by a constant.
    pub(super) fn shift_left(&mut self, v: Value, count: u32) -> Value {
        let count = self.b.ins().iconst(types::I32, i64::from(count));
        self.b.ins().ishl(v, count)
    }

    /// Scalar or vector shifted right by a constant, zeros coming in.
    pub(super) fn shift_right(&mut self, v: Value, count: u32) -> Value {
        let count = self.b.ins().iconst(types::I32, i64::from(count));
        self.b.ins().ushr(v, count)
    }

    fn and(&mut self, v: Value, int: Type, mask: i64) -> Value {
        let mask = self.int_const(int, mask);
        self.b.ins().band(v, mask)
    }

    fn compare(&mut self, cc: IntCC, v: Value, int: Type, constant: i64) -> Value {
        let constant = self.int_const(int, constant);
        self.b.ins().icmp(cc, v, constant)
    }

    /// `a` where the condition holds: of scalars a truth value, of vectors a mask of their width.
    pub(super) fn choose(&mut self, condition: Value, a: Value, b: Value) -> Value {
        if self.b.func.dfg.value_type(a).is_vector() {
            self.blend(condition, a, b)
        } else {
            self.b.ins().select(condition, a, b)
        }
    }
}

//! Conversions between types, as [`rooftile_artifact::Scalar::cast`] says.

use rooftile_artifact::DType;
use rspirv::spirv::{Capability, Op, Word};

use super::emit::Emitter;
use super::int::Int;
use super::types::{carrier_bits, float_bits};

/// `UnpackHalf2x16` of the GLSL set.
const UNPACK_HALF: u32 = 62;

impl Emitter<'_> {
    /// `v` of type `from` as type `to`.
    pub(super) fn cast(&mut self, v: Word, from: DType, to: DType) -> Word {
        let bool = self.code.module.bool();
        match (from, to) {
            _ if from == to => v,
            (DType::F16 | DType::Bf16, _) => {
                let wide = self.widen_half(v, from);
                self.cast(wide, DType::F32, to)
            }
            (DType::F32 | DType::F64, DType::Bool) => {
                let zero = self.code.module.float_const(float_bits(from), 0.0);
                self.code.value(Op::FUnordNotEqual, bool, &[v, zero])
            }
            (_, DType::Bool) => {
                let zero = self.code.module.int_const(carrier_bits(from), 0);
                self.code.value(Op::INotEqual, bool, &[v, zero])
            }
            (DType::Bool, _) if to.is_int() => {
                let [one, zero] = [1, 0].map(|n| self.code.module.int_const(carrier_bits(to), n));
                let ty = self.carrier(to);
                self.code.value(Op::Select, ty, &[v, one, zero])
            }
            (DType::Bool, _) => {
                let word = self.cast(v, DType::Bool, DType::U32);
                self.cast(word, DType::U32, to)
            }
            (DType::F32, DType::F16 | DType::Bf16) => self.narrow_half(v, to),
            (DType::F64, DType::F16 | DType::Bf16) => {
                let odd = self.demote_to_odd(v);
                self.narrow_half(odd, to)
            }
            // What binary32 does not hold exactly is infinite in f16 anyway.
            (_, DType::F16) => {
                let wide = self.cast(v, from, DType::F32);
                self.narrow_half(wide, to)
            }
            (DType::Int { bits: 8 | 16, .. }, DType::Bf16) => {
                let wide = self.cast(v, from, DType::F32);
                self.narrow_half(wide, to)
            }
            // Wider ones than 53 bits round to f64 first, as on the host.
            (_, DType::Bf16) => {
                let wide = self.cast(v, from, DType::F64);
                self.cast(wide, DType::F64, to)
            }
            (DType::F32 | DType::F64, DType::F32 | DType::F64) => {
                let ty = self.carrier(to);
                self.code.value(Op::FConvert, ty, &[v])
            }
            (DType::F32 | DType::F64, _) => self.float_to_int(v, float_bits(from), Int::of(to)),
            (_, DType::F32 | DType::F64) => {
                let ty = self.carrier(to);
                let op = if from.is_signed_int() { Op::ConvertSToF } else { Op::ConvertUToF };
                self.code.value(op, ty, &[v])
            }
            _ => self.resize(v, Int::of(from), Int::of(to)),
        }
    }

    /// An integer in another width, or with another meaning of its highest bit.
    fn resize(&mut self, v: Word, from: Int, to: Int) -> Word {
        let ty = self.code.module.int(to.word);
        if to.word > from.word {
            // Carried values are extended already.
            let op = if from.signed { Op::SConvert } else { Op::UConvert };
            return self.code.value(op, ty, &[v]);
        }
        let v = if to.word < from.word { self.code.value(Op::UConvert, ty, &[v]) } else { v };
        let kept = from.bits < to.bits || (from.bits == to.bits && from.signed == to.signed);
        // A narrow signed number may be negative where `to` has no sign.
        if kept && (to.signed || !from.signed) { v } else { self.wrap(v, to) }
    }

    /// Truncated toward zero and clamped; NaN is 0.
    fn float_to_int(&mut self, v: Word, bits: u32, to: Int) -> Word {
        let (ty, float, bool) =
            (self.code.module.int(to.word), self.code.module.float(bits), self.code.module.bool());
        // Powers of two, exact in either type: the first number below that stays, and the first above that does not.
        let (low, high) = if to.signed {
            let half = f64::from(to.bits - 1).exp2();
            (-half, half)
        } else {
            (0.0, f64::from(to.bits).exp2())
        };
        let (least, most) = if to.signed {
            (-(1i128 << (to.bits - 1)), (1i128 << (to.bits - 1)) - 1)
        } else {
            (0, (1i128 << to.bits) - 1)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bit patterns")]
        let [least, most, none] =
            [least as u64, most as u64, 0].map(|v| self.code.module.int_const(to.word, v));
        let [low, high, zero] = [low, high, 0.0].map(|v| self.code.module.float_const(bits, v));
        let above = self.code.value(Op::FOrdGreaterThanEqual, bool, &[v, high]);
        let below = self.code.value(Op::FOrdLessThan, bool, &[v, low]);
        let number = self.code.value(Op::FOrdEqual, bool, &[v, v]);
        // Conversion is defined inside the range only.
        let outside = self.code.value(Op::LogicalOr, bool, &[above, below]);
        let safe = self.code.value(Op::Select, float, &[outside, zero, v]);
        let safe = self.code.value(Op::Select, float, &[number, safe, zero]);
        let op = if to.signed { Op::ConvertFToS } else { Op::ConvertFToU };
        let inside = self.code.value(op, ty, &[safe]);
        let out = self.code.value(Op::Select, ty, &[above, most, inside]);
        let out = self.code.value(Op::Select, ty, &[below, least, out]);
        self.code.value(Op::Select, ty, &[number, out, none])
    }

    fn word_op(&mut self, op: Op, a: Word, b: u32) -> Word {
        let (ty, b) = (self.code.module.u32(), self.code.module.int_const(32, b.into()));
        self.code.value(op, ty, &[a, b])
    }

    fn word_test(&mut self, op: Op, a: Word, b: u32) -> Word {
        let (ty, b) = (self.code.module.bool(), self.code.module.int_const(32, b.into()));
        self.code.value(op, ty, &[a, b])
    }

    /// The bits of a half as f32; exact. No step has a subnormal number, which a device may take for zero.
    pub(super) fn widen_half(&mut self, bits: Word, from: DType) -> Word {
        let (word, float) = (self.code.module.u32(), self.code.module.float(32));
        if from == DType::Bf16 {
            let shifted = self.word_op(Op::ShiftLeftLogical, bits, 16);
            return self.code.value(Op::Bitcast, float, &[shifted]);
        }
        // Not all devices may be asked to keep subnormal numbers of one width only.
        if self.target.features.half_subnormals && self.target.features.subnormals {
            self.code.module.features.f16 = true;
            self.code.module.features.half_subnormals = true;
            self.code.module.capability(Capability::Float16);
            let pair = self.code.module.vector(float, 2);
            let both = self.code.ext(UNPACK_HALF, pair, &[bits]);
            return self.code.extract(float, both, 0);
        }
        let magnitude = self.word_op(Op::BitwiseAnd, bits, 0x7FFF);
        let shifted = self.word_op(Op::ShiftLeftLogical, magnitude, 13);
        // The exponents' biases differ by 112; infinity and NaN keep the largest exponent.
        let normal = self.word_op(Op::IAdd, shifted, 112 << 23);
        let special = self.word_test(Op::UGreaterThan, magnitude, 0x7BFF);
        let largest = self.word_op(Op::BitwiseOr, shifted, 0x7F80_0000);
        let value = self.code.value(Op::Select, word, &[special, largest, normal]);
        // Subnormal halves are multiples of 2^-24.
        let small = self.word_test(Op::ULessThan, magnitude, 0x0400);
        let unit = self.code.module.float_const(32, (-24f64).exp2());
        let count = self.code.value(Op::ConvertUToF, float, &[magnitude]);
        let subnormal = self.code.value(Op::FMul, float, &[count, unit]);
        let subnormal = self.code.value(Op::Bitcast, word, &[subnormal]);
        let value = self.code.value(Op::Select, word, &[small, subnormal, value]);
        let sign = self.word_op(Op::BitwiseAnd, bits, 0x8000);
        let sign = self.word_op(Op::ShiftLeftLogical, sign, 16);
        let value = self.code.value(Op::BitwiseOr, word, &[value, sign]);
        self.code.value(Op::Bitcast, float, &[value])
    }

    /// f32 as the bits of a half, rounded to nearest even.
    pub(super) fn narrow_half(&mut self, v: Word, to: DType) -> Word {
        let (word, float) = (self.code.module.u32(), self.code.module.float(32));
        let bits = self.code.value(Op::Bitcast, word, &[v]);
        let magnitude = self.word_op(Op::BitwiseAnd, bits, 0x7FFF_FFFF);
        let nan = self.word_test(Op::UGreaterThan, magnitude, 0x7F80_0000);
        if to == DType::Bf16 {
            let rounded = self.round_off(bits, 16);
            let upper = self.word_op(Op::ShiftRightLogical, bits, 16);
            let quiet = self.word_op(Op::BitwiseOr, upper, 0x40);
            return self.code.value(Op::Select, word, &[nan, quiet, rounded]);
        }
        // Normal results: move the bias, round off 13 bits. What becomes too large becomes infinity below.
        let rebiased = self.word_op(Op::ISub, magnitude, 112 << 23);
        let normal = self.round_off(rebiased, 13);
        // Subnormal results: next to 0.5 an f32 has steps of 2^-24, as they have.
        let half = self.code.module.float_const(32, 0.5);
        let value = self.code.value(Op::Bitcast, float, &[magnitude]);
        let sum = self.code.value(Op::FAdd, float, &[value, half]);
        let sum = self.code.value(Op::Bitcast, word, &[sum]);
        let subnormal = self.word_op(Op::ISub, sum, 0x3F00_0000);
        let small = self.word_test(Op::ULessThan, magnitude, 0x3880_0000);
        let result = self.code.value(Op::Select, word, &[small, subnormal, normal]);
        let large = self.word_test(Op::UGreaterThan, magnitude, 0x477F_EFFF);
        let [infinity, quiet] = [0x7C00, 0x7E00].map(|v| self.code.module.int_const(32, v));
        let result = self.code.value(Op::Select, word, &[large, infinity, result]);
        let result = self.code.value(Op::Select, word, &[nan, quiet, result]);
        let sign = self.word_op(Op::ShiftRightLogical, bits, 16);
        let sign = self.word_op(Op::BitwiseAnd, sign, 0x8000);
        self.code.value(Op::BitwiseOr, word, &[result, sign])
    }

    /// Drops low bits, rounding to nearest even.
    fn round_off(&mut self, bits: Word, drop: u32) -> Word {
        let word = self.code.module.u32();
        let odd = self.word_op(Op::ShiftRightLogical, bits, drop);
        let odd = self.word_op(Op::BitwiseAnd, odd, 1);
        let sum = self.word_op(Op::IAdd, bits, (1 << (drop - 1)) - 1);
        let sum = self.code.value(Op::IAdd, word, &[sum, odd]);
        self.word_op(Op::ShiftRightLogical, sum, drop)
    }

    /// f64 as f32, inexact results made odd, so that rounding once more rounds correctly.
    fn demote_to_odd(&mut self, v: Word) -> Word {
        /// `FAbs` of the GLSL set.
        const ABS: u32 = 4;
        let (word, float) = (self.code.module.u32(), self.code.module.float(32));
        let (double, bool) = (self.code.module.float(64), self.code.module.bool());
        let near = self.code.value(Op::FConvert, float, &[v]);
        let back = self.code.value(Op::FConvert, double, &[near]);
        let inexact = self.code.value(Op::FOrdNotEqual, bool, &[back, v]);
        let (size, wanted) = (self.code.ext(ABS, double, &[back]), self.code.ext(ABS, double, &[v]));
        let above = self.code.value(Op::FOrdGreaterThan, bool, &[size, wanted]);
        let bits = self.code.value(Op::Bitcast, word, &[near]);
        let lower = self.word_op(Op::ISub, bits, 1);
        let truncated = self.code.value(Op::Select, word, &[above, lower, bits]);
        let odd = self.word_op(Op::BitwiseOr, truncated, 1);
        let bits = self.code.value(Op::Select, word, &[inexact, odd, bits]);
        self.code.value(Op::Bitcast, float, &[bits])
    }
}

//! Floats, and functions of them.
//!
//! Vulkan rounds sums, differences and products correctly; quotients of binary32 it allows to be 2.5 ULP off, square
//! roots about as far, and it does not promise that `Fma` rounds once. `docs/math.md` says so to users. Decorations keep
//! products and sums apart.

use rspirv::spirv::{Op, Word};

use super::super::math::{self, Machine};
use super::emit::Emitter;
use crate::nest::ir::{BinaryOp, MathFn, UnaryOp};

/// Numbers of functions of the GLSL set.
mod glsl {
    pub(super) const ROUND_EVEN: u32 = 2;
    pub(super) const TRUNC: u32 = 3;
    pub(super) const ABS: u32 = 4;
    pub(super) const FLOOR: u32 = 8;
    pub(super) const CEIL: u32 = 9;
    pub(super) const SQRT: u32 = 31;
    pub(super) const FMA: u32 = 50;
}

impl Emitter<'_> {
    fn float_op(&mut self, op: Op, bits: u32, operands: &[Word]) -> Word {
        let ty = self.code.module.float(bits);
        self.code.value(op, ty, operands)
    }

    fn float_fn(&mut self, function: u32, bits: u32, operands: &[Word]) -> Word {
        let ty = self.code.module.float(bits);
        self.code.ext(function, ty, operands)
    }

    fn float_test(&mut self, op: Op, a: Word, b: Word) -> Word {
        let ty = self.code.module.bool();
        self.code.value(op, ty, &[a, b])
    }

    /// `op(v)`.
    pub(super) fn float_unary(&mut self, op: UnaryOp, v: Word, bits: u32) -> Word {
        let function = match op {
            UnaryOp::Abs => glsl::ABS,
            UnaryOp::Floor => glsl::FLOOR,
            UnaryOp::Ceil => glsl::CEIL,
            UnaryOp::Round => return self.round_even(v, bits),
            UnaryOp::Trunc => glsl::TRUNC,
            UnaryOp::Sqrt => glsl::SQRT,
            UnaryOp::Neg | UnaryOp::Not => return self.float_op(Op::FNegate, bits, &[v]),
            // Of integers only.
            UnaryOp::Popcount | UnaryOp::LeadingZeros | UnaryOp::ReverseBits => return v,
        };
        self.float_fn(function, bits, &[v])
    }

    /// To the nearest integer, halves to the even one.
    fn round_even(&mut self, v: Word, bits: u32) -> Word {
        if bits != 64 {
            return self.float_fn(glsl::ROUND_EVEN, bits, &[v]);
        }
        // Mesa's software driver, with vectors of 256 bits, gives 3 for 3.5 in binary64: what was cut off decides.
        let cut = self.float_fn(glsl::TRUNC, bits, &[v]);
        let off = self.float_op(Op::FSub, bits, &[v, cut]);
        let off = self.float_fn(glsl::ABS, bits, &[off]);
        let half = self.code.module.float_const(bits, 0.5);
        let halved = self.float_op(Op::FMul, bits, &[cut, half]);
        let even = self.float_fn(glsl::TRUNC, bits, &[halved]);
        let (more, just) =
            (self.float_test(Op::FOrdLessThan, half, off), self.float_test(Op::FOrdEqual, half, off));
        let odd = self.float_test(Op::FOrdNotEqual, even, halved);
        let truth = self.code.module.bool();
        let just = self.code.value(Op::LogicalAnd, truth, &[just, odd]);
        let away = self.code.value(Op::LogicalOr, truth, &[more, just]);
        let (zero, one, minus) = (
            self.code.module.float_const(bits, 0.0),
            self.code.module.float_const(bits, 1.0),
            self.code.module.float_const(bits, -1.0),
        );
        let negative = self.float_test(Op::FOrdLessThan, v, zero);
        let step = self.float_op(Op::Select, bits, &[negative, minus, one]);
        let next = self.float_op(Op::FAdd, bits, &[cut, step]);
        self.float_op(Op::Select, bits, &[away, next, cut])
    }

    /// `op(a, b)`.
    pub(super) fn float_binary(&mut self, op: BinaryOp, a: Word, b: Word, bits: u32) -> Word {
        use BinaryOp as B;
        match op {
            B::Add => self.float_op(Op::FAdd, bits, &[a, b]),
            B::Sub => self.float_op(Op::FSub, bits, &[a, b]),
            B::Mul => self.float_op(Op::FMul, bits, &[a, b]),
            B::Div => self.float_op(Op::FDiv, bits, &[a, b]),
            B::Min | B::Max => {
                let (x, y) = if op == B::Min { (b, a) } else { (a, b) };
                let less = self.float_test(Op::FOrdLessThan, x, y);
                // Min is b < a ? b : a, Max is a < b ? b : a, whatever is NaN.
                self.float_op(Op::Select, bits, &[less, b, a])
            }
            B::Pow => math::pow(&mut Ops { e: self, bits }, a, b),
            B::Eq => self.float_test(Op::FOrdEqual, a, b),
            B::Ne => self.float_test(Op::FUnordNotEqual, a, b),
            B::Lt => self.float_test(Op::FOrdLessThan, a, b),
            B::Le => self.float_test(Op::FOrdLessThanEqual, a, b),
            // Of integers only.
            B::Rem | B::DivNonNeg | B::RemNonNeg | B::And | B::Or | B::Xor | B::Shl | B::Shr => a,
        }
    }

    /// `a * b + c`.
    pub(super) fn fused(&mut self, a: Word, b: Word, c: Word, bits: u32) -> Word {
        self.float_fn(glsl::FMA, bits, &[a, b, c])
    }

    /// `f(v)`.
    pub(super) fn math(&mut self, f: MathFn, v: Word, bits: u32) -> Word {
        math::apply(&mut Ops { e: self, bits }, f, v)
    }
}

/// The machine that [`math`] writes functions for.
struct Ops<'e, 'a> {
    e: &'e mut Emitter<'a>,
    bits: u32,
}

impl Ops<'_, '_> {
    fn int_op(&mut self, op: Op, operands: &[Word]) -> Word {
        let ty = self.e.code.module.int(self.bits);
        self.e.code.value(op, ty, operands)
    }
}

impl Machine for Ops<'_, '_> {
    type F = Word;
    type I = Word;
    type M = Word;

    fn is_double(&self) -> bool {
        self.bits == 64
    }
    fn is_fused(&self) -> bool {
        // Vulkan does not promise it.
        false
    }
    fn float(&mut self, v: f64) -> Word {
        self.e.code.module.float_const(self.bits, v)
    }
    fn int(&mut self, v: i64) -> Word {
        self.e.code.module.int_const(self.bits, v.cast_unsigned())
    }
    fn add(&mut self, a: Word, b: Word) -> Word {
        self.e.float_op(Op::FAdd, self.bits, &[a, b])
    }
    fn sub(&mut self, a: Word, b: Word) -> Word {
        self.e.float_op(Op::FSub, self.bits, &[a, b])
    }
    fn mul(&mut self, a: Word, b: Word) -> Word {
        self.e.float_op(Op::FMul, self.bits, &[a, b])
    }
    fn div(&mut self, a: Word, b: Word) -> Word {
        self.e.float_op(Op::FDiv, self.bits, &[a, b])
    }
    fn mul_add(&mut self, a: Word, b: Word, c: Word) -> Word {
        let product = self.mul(a, b);
        self.add(product, c)
    }
    fn sqrt(&mut self, a: Word) -> Word {
        self.e.float_fn(glsl::SQRT, self.bits, &[a])
    }
    fn round(&mut self, a: Word) -> Word {
        self.e.round_even(a, self.bits)
    }
    fn trunc(&mut self, a: Word) -> Word {
        self.e.float_fn(glsl::TRUNC, self.bits, &[a])
    }
    fn lt(&mut self, a: Word, b: Word) -> Word {
        self.e.float_test(Op::FOrdLessThan, a, b)
    }
    fn le(&mut self, a: Word, b: Word) -> Word {
        self.e.float_test(Op::FOrdLessThanEqual, a, b)
    }
    fn eq(&mut self, a: Word, b: Word) -> Word {
        self.e.float_test(Op::FOrdEqual, a, b)
    }
    fn eq_int(&mut self, a: Word, b: Word) -> Word {
        self.e.float_test(Op::IEqual, a, b)
    }
    fn both(&mut self, a: Word, b: Word) -> Word {
        self.e.float_test(Op::LogicalAnd, a, b)
    }
    fn select(&mut self, m: Word, a: Word, b: Word) -> Word {
        self.e.float_op(Op::Select, self.bits, &[m, a, b])
    }
    fn bits(&mut self, a: Word) -> Word {
        self.int_op(Op::Bitcast, &[a])
    }
    fn of_bits(&mut self, a: Word) -> Word {
        self.e.float_op(Op::Bitcast, self.bits, &[a])
    }
    fn add_int(&mut self, a: Word, b: Word) -> Word {
        self.int_op(Op::IAdd, &[a, b])
    }
    fn sub_int(&mut self, a: Word, b: Word) -> Word {
        self.int_op(Op::ISub, &[a, b])
    }
    fn and_int(&mut self, a: Word, b: Word) -> Word {
        self.int_op(Op::BitwiseAnd, &[a, b])
    }
    fn or_int(&mut self, a: Word, b: Word) -> Word {
        self.int_op(Op::BitwiseOr, &[a, b])
    }
    fn xor_int(&mut self, a: Word, b: Word) -> Word {
        self.int_op(Op::BitwiseXor, &[a, b])
    }
    fn shl(&mut self, a: Word, count: u32) -> Word {
        let count = self.e.code.module.int_const(32, count.into());
        self.int_op(Op::ShiftLeftLogical, &[a, count])
    }
    fn shr(&mut self, a: Word, count: u32) -> Word {
        let count = self.e.code.module.int_const(32, count.into());
        self.int_op(Op::ShiftRightLogical, &[a, count])
    }
}

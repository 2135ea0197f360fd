//! Integers. Those of 8 and 16 bits are computed in 32 and brought back into range.

use rooftile_artifact::DType;
use rspirv::spirv::{Op, Word};

use super::super::gpu::range::Fit;
use super::emit::Emitter;
use super::types::carrier_bits;
use crate::nest::ir::{BinaryOp, UnaryOp};

/// `FindUMsb` of the GLSL set.
const FIND_U_MSB: u32 = 75;

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int {
    /// Bits of the word that carries it: 32 or 64.
    pub(super) word: u32,
    /// Bits of its values.
    pub(super) bits: u32,
    pub(super) signed: bool,
}

impl Int {
    pub(super) fn of(t: DType) -> Int {
        match t {
            DType::Int { signed, bits } => Int { word: carrier_bits(t), bits: u32::from(bits), signed },
            _ => Int { word: 32, bits: 32, signed: false },
        }
    }

    /// An index that fits in 32 bits.
    pub(super) fn index32(fit: Fit) -> Int {
        Int { word: 32, bits: 32, signed: fit == Fit::Signed }
    }

    fn is_narrow(self) -> bool {
        self.bits < self.word
    }
}

impl Emitter<'_> {
    fn int_const(&mut self, t: Int, v: i64) -> Word {
        self.code.module.int_const(t.word, v.cast_unsigned())
    }

    fn int_op(&mut self, op: Op, t: Int, operands: &[Word]) -> Word {
        let ty = self.code.module.int(t.word);
        self.code.value(op, ty, operands)
    }

    /// Brings a word whose low bits are right into the range of the type.
    pub(super) fn wrap(&mut self, v: Word, t: Int) -> Word {
        if !t.is_narrow() {
            return v;
        }
        if !t.signed {
            let mask = self.int_const(t, (1 << t.bits) - 1);
            return self.int_op(Op::BitwiseAnd, t, &[v, mask]);
        }
        let count = self.int_const(t, i64::from(t.word - t.bits));
        let up = self.int_op(Op::ShiftLeftLogical, t, &[v, count]);
        self.int_op(Op::ShiftRightArithmetic, t, &[up, count])
    }

    /// The bits of the type, zeros above.
    fn raw(&mut self, v: Word, t: Int) -> Word {
        self.wrap(v, Int { signed: false, ..t })
    }

    /// `op(v)`.
    pub(super) fn int_unary(&mut self, op: UnaryOp, v: Word, t: Int) -> Word {
        match op {
            UnaryOp::Neg => {
                let v = self.int_op(Op::SNegate, t, &[v]);
                self.wrap(v, t)
            }
            UnaryOp::Not => {
                let v = self.int_op(Op::Not, t, &[v]);
                self.wrap(v, t)
            }
            UnaryOp::Abs if t.signed => {
                let (zero, bool) = (self.int_const(t, 0), self.code.module.bool());
                let negative = self.code.value(Op::SLessThan, bool, &[v, zero]);
                let minus = self.int_op(Op::SNegate, t, &[v]);
                let v = self.int_op(Op::Select, t, &[negative, minus, v]);
                self.wrap(v, t)
            }
            UnaryOp::Popcount => {
                let raw = self.raw(v, t);
                self.popcount(raw, t)
            }
            UnaryOp::LeadingZeros => {
                let raw = self.raw(v, t);
                self.leading_zeros(raw, t)
            }
            UnaryOp::ReverseBits => self.reverse_bits(v, t),
            // Of unsigned numbers, and what takes floats only.
            _ => v,
        }
    }

    /// The low and the high half of 64 bits.
    fn halves(&mut self, v: Word) -> (Word, Word) {
        let (word, wide) = (self.code.module.u32(), self.code.module.u64());
        let count = self.code.module.int_const(32, 32);
        let low = self.code.value(Op::UConvert, word, &[v]);
        let high = self.code.value(Op::ShiftRightLogical, wide, &[v, count]);
        (low, self.code.value(Op::UConvert, word, &[high]))
    }

    fn popcount(&mut self, v: Word, t: Int) -> Word {
        let word = self.code.module.u32();
        if t.word == 32 {
            return self.code.value(Op::BitCount, word, &[v]);
        }
        let (low, high) = self.halves(v);
        let (low, high) =
            (self.code.value(Op::BitCount, word, &[low]), self.code.value(Op::BitCount, word, &[high]));
        let sum = self.code.value(Op::IAdd, word, &[low, high]);
        self.int_op(Op::UConvert, t, &[sum])
    }

    fn leading_zeros(&mut self, v: Word, t: Int) -> Word {
        let word = self.code.module.u32();
        if t.word == 64 {
            let (low, high) = self.halves(v);
            let half = Int { word: 32, bits: 32, signed: false };
            let (low, above) = (self.leading_zeros(low, half), self.leading_zeros(high, half));
            let (zero, count, bool) =
                (self.int_const(half, 0), self.int_const(half, 32), self.code.module.bool());
            let below = self.code.value(Op::IAdd, word, &[low, count]);
            let empty = self.code.value(Op::IEqual, bool, &[high, zero]);
            let zeros = self.code.value(Op::Select, word, &[empty, below, above]);
            return self.int_op(Op::UConvert, t, &[zeros]);
        }
        // The place of the highest bit; -1 of zero.
        let highest = self.code.ext(FIND_U_MSB, word, &[v]);
        let top = self.int_const(t, i64::from(t.bits) - 1);
        self.code.value(Op::ISub, word, &[top, highest])
    }

    fn reverse_bits(&mut self, v: Word, t: Int) -> Word {
        let word = self.code.module.u32();
        if t.word == 64 {
            let (low, high) = self.halves(v);
            let (low, high) = (
                self.code.value(Op::BitReverse, word, &[low]),
                self.code.value(Op::BitReverse, word, &[high]),
            );
            let count = self.code.module.int_const(32, 32);
            let (above, below) =
                (self.int_op(Op::UConvert, t, &[low]), self.int_op(Op::UConvert, t, &[high]));
            let above = self.int_op(Op::ShiftLeftLogical, t, &[above, count]);
            return self.int_op(Op::BitwiseOr, t, &[above, below]);
        }
        let reversed = self.code.value(Op::BitReverse, word, &[v]);
        let count = self.int_const(t, i64::from(t.word - t.bits));
        let shift = if t.signed { Op::ShiftRightArithmetic } else { Op::ShiftRightLogical };
        self.int_op(shift, t, &[reversed, count])
    }

    /// `op(a, b)`.
    pub(super) fn int_binary(&mut self, op: BinaryOp, a: Word, b: Word, t: Int) -> Word {
        use BinaryOp as B;
        let pick = |signed, unsigned| if t.signed { signed } else { unsigned };
        let simple = match op {
            B::Add => Op::IAdd,
            B::Sub => Op::ISub,
            B::Mul => Op::IMul,
            B::And => Op::BitwiseAnd,
            B::Or => Op::BitwiseOr,
            B::Xor => Op::BitwiseXor,
            B::Shl => Op::ShiftLeftLogical,
            B::Shr => pick(Op::ShiftRightArithmetic, Op::ShiftRightLogical),
            B::Eq | B::Ne | B::Lt | B::Le => {
                let (op, bool) = (comparison(op, t.signed), self.code.module.bool());
                return self.code.value(op, bool, &[a, b]);
            }
            B::Min | B::Max => {
                let bool = self.code.module.bool();
                let (x, y) = if op == B::Min { (b, a) } else { (a, b) };
                let less = self.code.value(comparison(B::Lt, t.signed), bool, &[x, y]);
                // Min is b < a ? b : a, Max is a < b ? b : a.
                return self.int_op(Op::Select, t, &[less, b, a]);
            }
            B::Div | B::Rem | B::DivNonNeg | B::RemNonNeg => return self.divide(op, a, b, t),
            // Of floats only.
            B::Pow => return a,
        };
        let v = self.int_op(simple, t, &[a, b]);
        if matches!(op, B::Add | B::Sub | B::Mul | B::Shl) { self.wrap(v, t) } else { v }
    }

    /// Quotients and remainders, rounded toward negative infinity.
    fn divide(&mut self, op: BinaryOp, a: Word, b: Word, t: Int) -> Word {
        let (ty, bool) = (self.code.module.int(t.word), self.code.module.bool());
        let quotient = matches!(op, BinaryOp::Div | BinaryOp::DivNonNeg);
        if !t.signed || matches!(op, BinaryOp::DivNonNeg | BinaryOp::RemNonNeg) {
            let op = if quotient { Op::UDiv } else { Op::UMod };
            return self.code.value_here(op, ty, &[a, b]);
        }
        // Divided by 1 instead of -1, so that the quotient of the least number is defined; negated at the end.
        let (one, minus_one, zero) = (self.int_const(t, 1), self.int_const(t, -1), self.int_const(t, 0));
        let by_minus_one = self.code.value(Op::IEqual, bool, &[b, minus_one]);
        let safe = self.code.value(Op::Select, ty, &[by_minus_one, one, b]);
        // Remainders of negative numbers are undefined in Vulkan; quotients are not.
        let q = self.code.value_here(Op::SDiv, ty, &[a, safe]);
        let product = self.code.value(Op::IMul, ty, &[q, safe]);
        let r = self.code.value(Op::ISub, ty, &[a, product]);
        // The remainder takes the divisor's sign.
        let signs = self.code.value(Op::BitwiseXor, ty, &[r, safe]);
        let differ = self.code.value(Op::SLessThan, bool, &[signs, zero]);
        let inexact = self.code.value(Op::INotEqual, bool, &[r, zero]);
        let adjust = self.code.value(Op::LogicalAnd, bool, &[differ, inexact]);
        if !quotient {
            let shifted = self.code.value(Op::IAdd, ty, &[r, safe]);
            return self.code.value(Op::Select, ty, &[adjust, shifted, r]);
        }
        let less = self.code.value(Op::IAdd, ty, &[q, minus_one]);
        let q = self.code.value(Op::Select, ty, &[adjust, less, q]);
        let negated = self.code.value(Op::SNegate, ty, &[a]);
        let q = self.code.value(Op::Select, ty, &[by_minus_one, negated, q]);
        self.wrap(q, t)
    }
}

fn comparison(op: BinaryOp, signed: bool) -> Op {
    match (op, signed) {
        (BinaryOp::Eq, _) => Op::IEqual,
        (BinaryOp::Ne, _) => Op::INotEqual,
        (BinaryOp::Lt, true) => Op::SLessThan,
        (BinaryOp::Lt, false) => Op::ULessThan,
        (_, true) => Op::SLessThanEqual,
        (_, false) => Op::ULessThanEqual,
    }
}

//! What has no instruction of its own, by others; arithmetic on constants.

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::build::Builder;
use super::ir::{Negated, Op, Value};
use super::isa::Isa;

impl Builder {
    pub(super) fn write_unary(&mut self, op: Un, a: Value) -> Value {
        let ty = self.f.ty(a);
        if let Some(c) = self.known_int(a) {
            let folded = match op {
                Un::Neg => Some(c.wrapping_neg()),
                Un::Not => Some(!c),
                _ => None,
            };
            if let Some(c) = folded {
                return self.int(ty, c);
            }
        }
        let float = ty.lane.is_float();
        if op == Un::Neg
            && let Some(before) = self.negation_of(a)
        {
            return before;
        }
        match op {
            Un::Neg if float && ty.is_vector() => self.with_bits(Bin::Xor, a, sign_bit(ty.lane)),
            Un::Abs if float && ty.is_vector() => self.with_bits(Bin::And, a, !sign_bit(ty.lane)),
            Un::Neg if ty.is_vector() => {
                let zero = self.int(ty, 0);
                self.write_binary(Bin::Sub, zero, a)
            }
            Un::Not if ty.is_vector() => {
                let ones = self.int(ty, -1);
                self.write_binary(Bin::Xor, a, ones)
            }
            Un::Abs if ty == Ty::vector(Lane::I64, self.vector_bytes()) && self.isa != Isa::Avx512 => {
                let zero = self.int(ty, 0);
                let sign = self.write_compare(Cmp::Lt, a, zero);
                let flipped = self.write_binary(Bin::Xor, a, sign);
                self.write_binary(Bin::Sub, flipped, sign)
            }
            Un::Abs if !ty.is_vector() && ty.lane.bits() < 32 => {
                let wide = self.extend(Lane::I32, a, true);
                let wide = self.inst(Op::Un(Un::Abs), Ty::scalar(Lane::I32), &[wide]);
                self.reduce(ty.lane, wide)
            }
            Un::Popcount | Un::LeadingZeros if ty.lane.bits() < 32 => {
                let wide = self.extend(Lane::I32, a, false);
                let count = self.inst(Op::Un(op), Ty::scalar(Lane::I32), &[wide]);
                let above = if op == Un::LeadingZeros { 32 - ty.lane.bits() } else { 0 };
                let above = self.int(Ty::scalar(Lane::I32), above.into());
                let count = self.write_binary(Bin::Sub, count, above);
                self.reduce(ty.lane, count)
            }
            Un::ReverseBits => self.reverse_bits(a),
            _ => self.inst(Op::Un(op), ty, &[a]),
        }
    }

    /// A float's bits with a constant.
    fn with_bits(&mut self, op: Bin, a: Value, bits: i64) -> Value {
        let ty = self.f.ty(a);
        let int = self.bitcast(ty.as_int(), a);
        let bits = self.int(ty.as_int(), bits);
        let done = self.write_binary(op, int, bits);
        self.bitcast(ty, done)
    }

    /// The bits of a float of the same magnitude, where `mask` takes the sign away.
    fn without_sign(&mut self, bits: Value, mask: Value) -> Value {
        let (inst, ty) = (*self.f.inst(bits), self.f.ty(bits));
        let takes = self.f.inst(mask).op == Op::Int(lane_max(ty.lane));
        match inst.op {
            Op::Bitcast if takes && self.f.ty(inst.args()[0]).lane.as_int() == ty.lane => {
                let (magnitude, _) = self.signs_apart(inst.args()[0]);
                self.bitcast(ty, magnitude)
            }
            _ => bits,
        }
    }

    /// The float that a float is the negation of.
    fn negation_of(&self, v: Value) -> Option<Value> {
        let inst = *self.f.inst(v);
        match inst.op {
            Op::Un(Un::Neg) if inst.ty.lane.is_float() => Some(inst.args()[0]),
            // Of a vector.
            Op::Bitcast => {
                let bits = *self.f.inst(inst.args()[0]);
                let (Op::Bin(Bin::Xor), &[flipped, sign]) = (bits.op, bits.args()) else { return None };
                let before = *self.f.inst(flipped);
                let negates = self.f.inst(sign).op == Op::Int(sign_bit(inst.ty.lane));
                let same = before.op == Op::Bitcast && self.f.ty(before.args()[0]) == inst.ty;
                (negates && same).then(|| before.args()[0])
            }
            _ => None,
        }
    }

    /// A float without its negations, and whether their number is odd.
    fn without_negation(&self, mut v: Value) -> (Value, bool) {
        let mut odd = false;
        while let Some(before) = self.negation_of(v) {
            (v, odd) = (before, !odd);
        }
        (v, odd)
    }

    /// A float without its negations and those of its factors, and whether their number is odd.
    pub(super) fn signs_apart(&mut self, v: Value) -> (Value, bool) {
        let (v, odd) = self.without_negation(v);
        let inst = *self.f.inst(v);
        match inst.op {
            Op::Float(bits) if bits & (1 << (inst.ty.lane.bits() - 1)) != 0 => {
                let magnitude = bits & !(u64::MAX << (inst.ty.lane.bits() - 1));
                (self.inst(Op::Float(magnitude), inst.ty, &[]), !odd)
            }
            Op::Bin(op @ (Bin::Mul | Bin::Div)) => {
                let (a, b) = (inst.args()[0], inst.args()[1]);
                let ((x, minus_x), (y, minus_y)) = (self.signs_apart(a), self.signs_apart(b));
                let same = (x, y) == (a, b);
                (if same { v } else { self.inst(Op::Bin(op), inst.ty, &[x, y]) }, odd ^ minus_x ^ minus_y)
            }
            _ => (v, odd),
        }
    }

    /// Two factors, without negations where those cancel out or a constant takes them.
    fn factors(&mut self, a: Value, b: Value) -> (Value, Value) {
        let ((x, minus_x), (y, minus_y)) = (self.without_negation(a), self.without_negation(b));
        if minus_x == minus_y {
            return (x, y);
        }
        match (self.negated_constant(x), self.negated_constant(y)) {
            (_, Some(y)) => (x, y),
            (Some(x), _) => (x, y),
            _ => (a, b),
        }
    }

    fn negated_constant(&mut self, v: Value) -> Option<Value> {
        let inst = *self.f.inst(v);
        let Op::Float(bits) = inst.op else { return None };
        let sign = 1 << (inst.ty.lane.bits() - 1);
        Some(self.inst(Op::Float(bits ^ sign), inst.ty, &[]))
    }

    /// `a * b + c` with one rounding; negations become part of the instruction.
    pub(super) fn write_fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        let ((a, minus_a), (b, minus_b)) = (self.without_negation(a), self.without_negation(b));
        let (c, sum) = self.without_negation(c);
        let negated = Negated { product: minus_a != minus_b, sum };
        self.inst(Op::Fma { negated }, self.f.ty(a), &[a, b, c])
    }

    /// Neighbouring groups of 1, 2, 4, .. bits exchanged.
    fn reverse_bits(&mut self, a: Value) -> Value {
        let ty = self.f.ty(a);
        // Narrow shifts to the right are done in 32 bits; what is above the width falls off at the end.
        let mut v = a;
        let mut group = 1;
        while group < ty.lane.bits() {
            let mask = u64::MAX / ((1u64 << group) + 1);
            let mask = self.int(ty, mask as i64);
            let count = self.int(Ty::scalar(Lane::I32), i64::from(group));
            let upper = self.write_binary(Bin::UShr, v, count);
            let upper = self.write_binary(Bin::And, upper, mask);
            let lower = self.write_binary(Bin::And, v, mask);
            let lower = self.write_binary(Bin::Shl, lower, count);
            v = self.write_binary(Bin::Or, upper, lower);
            group *= 2;
        }
        v
    }

    pub(super) fn write_binary(&mut self, op: Bin, a: Value, b: Value) -> Value {
        if let Some(v) = self.fold_binary(op, a, b) {
            return v;
        }
        if let Some(v) = self.of_masks(op, a, b) {
            return v;
        }
        let a = if op == Bin::And { self.without_sign(a, b) } else { a };
        let ty = self.f.ty(a);
        let (a, b) = if op == Bin::Mul && ty.lane.is_float() { self.factors(a, b) } else { (a, b) };
        match op {
            Bin::Shl | Bin::SShr | Bin::UShr => self.shift(op, a, b),
            Bin::Mul if ty.is_vector() && ty.lane == Lane::I64 && self.isa != Isa::Avx512 => {
                self.multiply_64(a, b)
            }
            Bin::SMin | Bin::SMax | Bin::UMin | Bin::UMax if !ty.is_vector() && ty.lane.bits() < 32 => {
                let signed = matches!(op, Bin::SMin | Bin::SMax);
                let (x, y) = (self.extend(Lane::I32, a, signed), self.extend(Lane::I32, b, signed));
                let wide = self.inst(Op::Bin(op), Ty::scalar(Lane::I32), &[x, y]);
                self.reduce(ty.lane, wide)
            }
            Bin::Mul if a == b && ty.lane.is_float() => {
                let known = self.f.insts.len();
                let (magnitude, _) = self.signs_apart(a);
                // Where it is at hand, what is made of the square is the same for both signs.
                let x = if self.f.insts.len() == known { magnitude } else { a };
                self.inst(Op::Bin(op), ty, &[x, x])
            }
            _ => {
                // Constants on the right, where they may be in memory or in the instruction.
                let swap = op.commutes() && self.f.inst(a).op.is_constant();
                let args = if swap { [b, a] } else { [a, b] };
                self.inst(Op::Bin(op), ty, &args)
            }
        }
    }

    /// What is known without an instruction.
    fn fold_binary(&mut self, op: Bin, a: Value, b: Value) -> Option<Value> {
        let ty = self.f.ty(a);
        if ty.lane.is_float() || ty.is_vector() {
            return None;
        }
        let (x, y) = (self.known_int(a), self.known_int(b));
        if let (Some(x), Some(y)) = (x, y) {
            let result = match op {
                Bin::Add => x.wrapping_add(y),
                Bin::Sub => x.wrapping_sub(y),
                Bin::Mul => x.wrapping_mul(y),
                Bin::And => x & y,
                Bin::Or => x | y,
                Bin::Xor => x ^ y,
                Bin::Shl => x.wrapping_shl(y as u32),
                Bin::SMin => x.min(y),
                Bin::SMax => x.max(y),
                _ => return None,
            };
            return Some(self.int(ty, result));
        }
        match (op, x, y) {
            (Bin::Add | Bin::Sub | Bin::Or | Bin::Xor | Bin::Shl | Bin::SShr | Bin::UShr, _, Some(0))
            | (Bin::Mul | Bin::UDiv | Bin::SDiv, _, Some(1))
            | (Bin::And, _, Some(-1)) => Some(a),
            (Bin::Add | Bin::Or | Bin::Xor, Some(0), _) | (Bin::Mul, Some(1), _) => Some(b),
            (Bin::Mul | Bin::And, _, Some(0)) => Some(self.int(ty, 0)),
            (Bin::Mul | Bin::And, Some(0), _) => Some(self.int(ty, 0)),
            (Bin::Mul, _, Some(c)) | (Bin::UDiv, _, Some(c)) if c > 0 && c.count_ones() == 1 => {
                let count = self.int(Ty::scalar(Lane::I32), c.trailing_zeros().into());
                let op = if op == Bin::Mul { Bin::Shl } else { Bin::UShr };
                Some(self.write_binary(op, a, count))
            }
            (Bin::Mul, Some(_), _) => Some(self.write_binary(op, b, a)),
            // A sum of a constant and a constant.
            (Bin::Add | Bin::Sub, _, Some(c)) => {
                let inner = *self.f.inst(a);
                let Op::Bin(Bin::Add) = inner.op else { return None };
                let first = self.known_int(inner.args()[1])?;
                let c = if op == Bin::Add { c } else { c.wrapping_neg() };
                let sum = self.int(ty, first.wrapping_add(c));
                Some(self.write_binary(Bin::Add, inner.args()[0], sum))
            }
            _ => None,
        }
    }

    fn shift(&mut self, op: Bin, v: Value, count: Value) -> Value {
        let ty = self.f.ty(v);
        let scalar = Ty::scalar(ty.lane);
        if !ty.is_vector() {
            if ty.lane.bits() >= 32 || op == Bin::Shl {
                return self.inst(Op::Bin(op), ty, &[v, count]);
            }
            let wide = self.extend(Lane::I32, v, op == Bin::SShr);
            let wide = self.inst(Op::Bin(op), Ty::scalar(Lane::I32), &[wide, count]);
            return self.reduce(ty.lane, wide);
        }
        match (op, ty.lane) {
            (Bin::SShr, Lane::I64) if self.isa == Isa::Avx512 => self.inst(Op::Bin(op), ty, &[v, count]),
            // Zeros came in instead of signs: with the sign's bit flipped and taken off again they become signs.
            (Bin::SShr, Lane::I8 | Lane::I64) => {
                let shifted = self.shift(Bin::UShr, v, count);
                let sign = self.int(scalar, 1 << (ty.lane.bits() - 1));
                let sign = self.write_binary(Bin::UShr, sign, count);
                let sign = self.splat(sign);
                let flipped = self.write_binary(Bin::Xor, shifted, sign);
                self.write_binary(Bin::Sub, flipped, sign)
            }
            // In lanes of 16 bits, less what came over from the neighbour.
            (_, Lane::I8) => {
                let pairs = self.bitcast(Ty::vector(Lane::I16, self.vector_bytes()), v);
                let pairs = self.shift(op, pairs, count);
                let shifted = self.bitcast(ty, pairs);
                let own = self.int(scalar, 0xFF);
                let own = self.write_binary(op, own, count);
                let own = self.splat(own);
                self.write_binary(Bin::And, shifted, own)
            }
            _ => self.inst(Op::Bin(op), ty, &[v, count]),
        }
    }

    /// From products of 32 bits.
    fn multiply_64(&mut self, a: Value, b: Value) -> Value {
        let ty = self.f.ty(a);
        let count = self.int(Ty::scalar(Lane::I32), 32);
        let (a_high, b_high) = (self.shift(Bin::UShr, a, count), self.shift(Bin::UShr, b, count));
        let low = self.inst(Op::MulEven, ty, &[a, b]);
        let (x, y) = (self.inst(Op::MulEven, ty, &[a_high, b]), self.inst(Op::MulEven, ty, &[a, b_high]));
        let cross = self.write_binary(Bin::Add, x, y);
        let cross = self.shift(Bin::Shl, cross, count);
        self.write_binary(Bin::Add, low, cross)
    }

    pub(super) fn write_compare(&mut self, cmp: Cmp, a: Value, b: Value) -> Value {
        let ty = self.f.ty(a);
        if !ty.is_vector() {
            return self.inst(Op::Cmp(cmp), Ty::scalar(Lane::I8), &[a, b]);
        }
        let mask = ty.as_int();
        if self.has_bits() {
            let bits = self.inst(Op::CmpBits(cmp), mask, &[a, b]);
            return self.spread(bits);
        }
        if ty.lane.is_float() {
            return self.inst(Op::Cmp(cmp), mask, &[a, b]);
        }
        match cmp {
            Cmp::Eq | Cmp::Lt => self.inst(Op::Cmp(cmp), mask, &[a, b]),
            Cmp::Ne | Cmp::OrderedNe => {
                let equal = self.inst(Op::Cmp(Cmp::Eq), mask, &[a, b]);
                self.write_unary(Un::Not, equal)
            }
            Cmp::Le => {
                let greater = self.inst(Op::Cmp(Cmp::Lt), mask, &[b, a]);
                self.write_unary(Un::Not, greater)
            }
            // Without sign: with it, after the sign's bit is flipped.
            Cmp::ULt | Cmp::ULe => {
                let sign = self.int(ty, sign_bit(ty.lane));
                let (x, y) = (self.write_binary(Bin::Xor, a, sign), self.write_binary(Bin::Xor, b, sign));
                let signed = if cmp == Cmp::ULt { Cmp::Lt } else { Cmp::Le };
                self.write_compare(signed, x, y)
            }
        }
    }

    /// A choice between what was compared, of floats: the instructions choose exactly so, of NaN and zeros too.
    pub(super) fn extreme(&mut self, cond: Value, a: Value, b: Value) -> Option<Value> {
        let mut compared = *self.f.inst(cond);
        if compared.op == Op::Spread {
            compared = *self.f.inst(compared.args()[0]);
        }
        let (Op::Cmp(Cmp::Lt) | Op::CmpBits(Cmp::Lt), &[x, y]) = (compared.op, compared.args()) else {
            return None;
        };
        let ty = self.f.ty(a);
        if !ty.lane.is_float() || self.f.ty(x) != ty {
            return None;
        }
        match (a == x && b == y, a == y && b == x) {
            (true, _) => Some(self.inst(Op::Lesser, ty, &[a, b])),
            (_, true) => Some(self.inst(Op::Greater, ty, &[a, b])),
            _ => None,
        }
    }

    /// The instruction gives the least integer for what is out of range.
    pub(super) fn write_to_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        let ty = self.f.ty(v);
        let to = Ty { lane, ..ty };
        let bits = lane.bits() as i32;
        if signed {
            let least = self.inst(Op::Truncate { signed: true }, to, &[v]);
            let end = self.float(ty, 2f64.powi(bits - 1));
            let large = self.write_compare(Cmp::Le, end, v);
            let number = self.write_compare(Cmp::Eq, v, v);
            return if ty.is_vector() {
                // All bits of the least integer flipped are the greatest one.
                let clamped = self.write_binary(Bin::Xor, least, large);
                self.write_binary(Bin::And, clamped, number)
            } else {
                let (greatest, zero) = (self.int(to, lane_max(lane)), self.int(to, 0));
                let clamped = self.select(large, greatest, least);
                self.select(number, clamped, zero)
            };
        }
        if ty.is_vector() && self.isa == Isa::Avx512 {
            // The instruction gives the greatest integer for what is out of range.
            let zero = self.float(ty, 0.0);
            let positive = self.write_compare(Cmp::Lt, zero, v);
            let clamped = self.inst(Op::Truncate { signed: false }, to, &[v]);
            return self.write_binary(Bin::And, clamped, positive);
        }
        // Positive ones only; then those with the upper bit set, moved down and up again.
        let zero = self.float(ty, 0.0);
        let positive = self.write_compare(Cmp::Lt, zero, v);
        let half = self.float(ty, 2f64.powi(bits - 1));
        let end = self.float(ty, 2f64.powi(bits));
        let upper = self.write_compare(Cmp::Le, half, v);
        let large = self.write_compare(Cmp::Le, end, v);
        let moved = self.inst(Op::Bin(Bin::Sub), ty, &[v, half]);
        let (low, high) = (
            self.inst(Op::Truncate { signed: true }, to, &[v]),
            self.inst(Op::Truncate { signed: true }, to, &[moved]),
        );
        let bit = self.int(to, sign_bit(lane));
        let high = self.write_binary(Bin::Xor, high, bit);
        let (ones, none) = (self.int(to, -1), self.int(to, 0));
        if ty.is_vector() {
            let value = self.blend(upper, high, low);
            let value = self.write_binary(Bin::Or, value, large);
            return self.write_binary(Bin::And, value, positive);
        }
        let value = self.select(upper, high, low);
        let value = self.select(large, ones, value);
        self.select(positive, value, none)
    }

    pub(super) fn write_from_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        let ty = self.f.ty(v);
        let to = Ty { lane, ..ty };
        if signed || ty.is_vector() && self.isa == Isa::Avx512 {
            return self.inst(Op::FromInt { signed }, to, &[v]);
        }
        if ty.is_vector() {
            // Both halves are exact, and so is the product; the sum rounds once.
            let count = self.int(Ty::scalar(Lane::I32), 16);
            let low = self.int(ty, 0xFFFF);
            let (high, low) = (self.shift(Bin::UShr, v, count), self.write_binary(Bin::And, v, low));
            let (high, low) = (
                self.inst(Op::FromInt { signed: true }, to, &[high]),
                self.inst(Op::FromInt { signed: true }, to, &[low]),
            );
            let scale = self.float(to, 65536.0);
            let high = self.inst(Op::Bin(Bin::Mul), to, &[high, scale]);
            return self.inst(Op::Bin(Bin::Add), to, &[high, low]);
        }
        if ty.lane == Lane::I32 {
            let wide = self.extend(Lane::I64, v, false);
            return self.inst(Op::FromInt { signed: true }, to, &[wide]);
        }
        // With the upper bit: half of it, the bit that falls off kept for the rounding, and twice the result.
        let one = self.int(ty, 1);
        let count = self.int(Ty::scalar(Lane::I32), 1);
        let (half, odd) = (self.shift(Bin::UShr, v, count), self.write_binary(Bin::And, v, one));
        let half = self.write_binary(Bin::Or, half, odd);
        let half = self.inst(Op::FromInt { signed: true }, to, &[half]);
        let twice = self.inst(Op::Bin(Bin::Add), to, &[half, half]);
        let plain = self.inst(Op::FromInt { signed: true }, to, &[v]);
        let zero = self.int(ty, 0);
        let large = self.write_compare(Cmp::Lt, v, zero);
        self.select(large, twice, plain)
    }
}

/// The upper bit of a lane, and all above it.
fn sign_bit(lane: Lane) -> i64 {
    i64::MIN >> (64 - lane.bits())
}

fn lane_max(lane: Lane) -> i64 {
    !sign_bit(lane)
}

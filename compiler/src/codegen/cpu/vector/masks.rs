//! Masks of a bit per lane. The writer's masks are vectors whose lanes are all ones or zeros; here each is a spread of
//! bits, and what is done with such vectors is done with their bits as far as it can be.

use super::super::ssa::{Bin, Ssa, Ty};
use super::build::Builder;
use super::ir::{Op, Value};
use super::isa::Isa;

impl Builder {
    /// Whether masks are bits.
    pub(super) fn has_bits(&self) -> bool {
        self.isa == Isa::Avx512
    }

    /// Bits as a vector, of the type that they stand for.
    pub(super) fn spread(&mut self, bits: Value) -> Value {
        self.inst(Op::Spread, self.f.ty(bits), &[bits])
    }

    /// Bits that are known, for vectors of a type.
    pub(super) fn known_bits(&mut self, ty: Ty, bits: u64) -> Value {
        self.inst(Op::Bits(bits), ty.as_int(), &[])
    }

    /// The bits of the first `n` lanes.
    pub(super) fn first_bits(&mut self, ty: Ty, n: usize) -> Value {
        self.known_bits(ty, first(n))
    }

    /// The bits of a mask.
    pub(super) fn bits(&mut self, mask: Value) -> Value {
        match self.bits_at_hand(mask) {
            Some(bits) => bits,
            None => self.inst(Op::BitsOf, self.f.ty(mask).as_int(), &[mask]),
        }
    }

    /// The bits of a mask that was made of such, or is known.
    fn bits_at_hand(&mut self, mask: Value) -> Option<Value> {
        let inst = *self.f.inst(mask);
        if inst.op == Op::Spread {
            return Some(inst.args()[0]);
        }
        let size = inst.ty.lane.bytes();
        let lanes: Vec<u8> = match inst.op {
            Op::Int(c @ (0 | -1)) => vec![c as u8; self.vector_bytes()],
            Op::Bytes(n) => self.f.pool[n as usize].clone(),
            _ => return None,
        };
        let mut bits = 0;
        for (l, lane) in lanes.chunks(size).enumerate() {
            match lane[0] {
                _ if lane.iter().any(|b| *b != lane[0]) => return None,
                0 => {}
                0xFF => bits |= 1 << l,
                _ => return None,
            }
        }
        Some(self.known_bits(inst.ty, bits))
    }

    fn is_spread(&self, v: Value) -> bool {
        self.f.inst(v).op == Op::Spread
    }

    /// `And`, `Or` and `Xor` where at least one operand is a mask; `None` where that is nothing special.
    pub(super) fn of_masks(&mut self, op: Bin, a: Value, b: Value) -> Option<Value> {
        let (left, right) = (self.is_spread(a), self.is_spread(b));
        if !matches!(op, Bin::And | Bin::Or | Bin::Xor) || !(left || right) {
            return None;
        }
        let (mask, other) = if left { (a, b) } else { (b, a) };
        let (ty, bits) = (self.f.ty(mask), self.bits(mask));
        let Some(others) = self.bits_at_hand(other) else {
            let zero = self.int(ty, 0);
            return (op == Bin::And).then(|| self.inst(Op::BlendBits, ty, &[bits, other, zero]));
        };
        let all = first(usize::from(ty.count));
        let result = match (op, self.f.inst(others).op) {
            (Bin::And, Op::Bits(0)) => others,
            (Bin::Or, Op::Bits(known)) if known == all => others,
            (Bin::And, Op::Bits(known)) if known == all => bits,
            (Bin::Or | Bin::Xor, Op::Bits(0)) => bits,
            (Bin::Xor, Op::Bits(known)) if known == all => self.inst(Op::NotBits, ty, &[bits]),
            _ => self.inst(Op::BinBits(op), ty, &[bits, others]),
        };
        Some(self.spread(result))
    }

    /// The lower or upper half of a mask's lanes at twice the width.
    pub(super) fn half_mask(&mut self, mask: Value, ty: Ty, upper: bool) -> Option<Value> {
        if !self.is_spread(mask) {
            return None;
        }
        let bits = self.bits(mask);
        let half = self.inst(Op::HalfBits { upper }, ty, &[bits]);
        Some(self.spread(half))
    }

    /// Two masks as one of lanes of half the width.
    pub(super) fn join_masks(&mut self, low: Value, high: Value, ty: Ty) -> Option<Value> {
        if !self.is_spread(low) || !self.is_spread(high) {
            return None;
        }
        let (low, high) = (self.bits(low), self.bits(high));
        let joined = self.inst(Op::JoinBits, ty, &[low, high]);
        Some(self.spread(joined))
    }
}

/// The lowest `n` bits.
fn first(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

//! Bits of lanes, in registers of their own.

use iced_x86::Code;
use regalloc2::VReg;

use super::super::super::ssa::{Bin, Cmp};
use super::super::codes;
use super::super::ir::{Negated, Op, Value};
use super::super::mach::Form;
use super::{Draft, Select, class};

impl Select<'_> {
    /// What makes or takes bits.
    pub(super) fn of_bits(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        let args = inst.args();
        match inst.op {
            Op::Bits(bits) => {
                let number = self.fresh_int();
                self.number(number, bits as i64, true);
                let to = self.moved_to_bits(number);
                self.registers[v.index()] = Some(to);
            }
            Op::BitsOf => {
                let from = self.register(args[0]);
                let to = self.define(v);
                let (_, code) = codes::spread(inst.ty.lane);
                self.push(Draft::new(code).def(to, Form::K).use_(from, Form::V));
            }
            Op::CmpBits(cmp) => self.compare_bits(cmp, v),
            Op::BinBits(op) => {
                let code = match op {
                    Bin::And => Code::VEX_Kandq_kr_kr_kr,
                    Bin::Or => Code::VEX_Korq_kr_kr_kr,
                    _ => Code::VEX_Kxorq_kr_kr_kr,
                };
                self.two_bits(v, code, args[0], args[1]);
            }
            Op::NotBits => {
                let from = self.register(args[0]);
                let to = self.define(v);
                self.push(Draft::new(Code::VEX_Knotq_kr_kr).def(to, Form::K).use_(from, Form::K));
            }
            Op::HalfBits { upper: false } => {
                let from = self.register(args[0]);
                self.registers[v.index()] = Some(from);
            }
            Op::HalfBits { upper: true } => {
                let from = self.register(args[0]);
                let to = self.define(v);
                let draft = Draft::new(Code::VEX_Kshiftrq_kr_kr_imm8).def(to, Form::K).use_(from, Form::K);
                self.push(draft.imm8(inst.ty.count));
            }
            Op::JoinBits => {
                let code = match inst.ty.count {
                    64 => Code::VEX_Kunpckdq_kr_kr_kr,
                    32 => Code::VEX_Kunpckwd_kr_kr_kr,
                    _ => Code::VEX_Kunpckbw_kr_kr_kr,
                };
                self.two_bits(v, code, args[1], args[0]);
            }
            Op::AllBits | Op::AnyBits => self.tested(v),
            Op::Spread => {
                let from = self.register(args[0]);
                let to = self.define(v);
                let (code, _) = codes::spread(inst.ty.lane);
                self.push(Draft::new(code).def(to, Form::V).use_(from, Form::K));
            }
            Op::BlendBits => {
                let bits = self.register(args[0]);
                self.blend_bits(v, bits, args[1], args[2]);
            }
            // No others are of bits.
            _ => {}
        }
    }

    /// A general register as bits.
    pub(super) fn moved_to_bits(&mut self, from: VReg) -> VReg {
        let to = self.fresh_bits();
        self.push(Draft::new(Code::VEX_Kmovq_kr_r64).def(to, Form::K).use_(from, Form::R64));
        to
    }

    fn two_bits(&mut self, v: Value, code: Code, a: Value, b: Value) {
        let (a, b) = (self.register(a), self.register(b));
        let to = self.define(v);
        self.push(Draft::new(code).def(to, Form::K).use_(a, Form::K).use_(b, Form::K));
    }

    fn compare_bits(&mut self, cmp: Cmp, v: Value) {
        let (a, b) = (self.f.inst(v).args()[0], self.f.inst(v).args()[1]);
        let (code, how) = codes::compare_bits(cmp, self.f.ty(a));
        let first = self.register(a);
        let to = self.define(v);
        let draft = Draft::new(code).def(to, Form::K).use_(first, Form::V);
        let draft = self.last(draft, b);
        self.push(draft.imm8(how));
    }

    pub(super) fn blend_bits(&mut self, v: Value, bits: VReg, a: Value, b: Value) {
        let ty = self.f.ty(v);
        let form = Self::form(ty);
        if self.needs.inside[a.index()] {
            match self.f.inst(a).op {
                Op::Bin(op) => return self.by_lane(v, op, bits, (a, b)),
                Op::Fma { negated } => return self.fma_by_lane(v, negated, bits, a),
                _ => {}
            }
        }
        if ty.is_vector() && self.is_zero(b) {
            let to = self.define(v);
            let draft = Draft::new(codes::moves_by_lane(ty.lane).0).def(to, form).masked(bits, true);
            let draft = self.last(draft, a);
            return self.push(draft);
        }
        let other = self.register(b);
        let to = self.define(v);
        let draft = Draft::new(codes::blend_bits(ty)).def(to, form).masked(bits, false).use_(other, form);
        let draft = self.last(draft, a);
        self.push(draft);
    }

    /// `a`, an operation, in the lanes whose bits are set; all others are left as they were in `other`.
    fn by_lane(&mut self, v: Value, op: Bin, bits: VReg, (a, other): (Value, Value)) {
        let ty = self.f.ty(v);
        let Some(code) = codes::binary(op, ty) else { return };
        let (mut x, mut y) = (self.f.inst(a).args()[0], self.f.inst(a).args()[1]);
        if op.commutes() && self.needs.inside[super::root(self.f, x).index()] {
            std::mem::swap(&mut x, &mut y);
        }
        let zero = self.is_zero(other);
        let x = self.register(x);
        let draft = if zero {
            let to = self.define(v);
            Draft::new(code).def(to, Form::V)
        } else {
            let other = self.register(other);
            let to = self.define(v);
            Draft::new(code).change(to, other, Form::V)
        };
        let draft = draft.masked(bits, zero).use_(x, Form::V);
        let draft = self.last(draft, y);
        self.push(draft);
    }

    /// A product that is added to a sum in the lanes whose bits are set.
    fn fma_by_lane(&mut self, v: Value, negated: Negated, bits: VReg, fma: Value) {
        let [sum, ..] = codes::fma(self.f.ty(v), negated);
        let (mut a, mut b, c) =
            (self.f.inst(fma).args()[0], self.f.inst(fma).args()[1], self.f.inst(fma).args()[2]);
        if self.needs.inside[super::root(self.f, a).index()] {
            std::mem::swap(&mut a, &mut b);
        }
        let (before, factor) = (self.register(c), self.register(a));
        let to = self.define(v);
        let draft = Draft::new(sum).change(to, before, Form::V).masked(bits, false).use_(factor, Form::V);
        let draft = self.last(draft, b);
        self.push(draft);
    }

    fn is_zero(&self, v: Value) -> bool {
        let v = super::root(self.f, v);
        self.f.inst(v).op.is_constant()
            && class(self.f.ty(v)) == regalloc2::RegClass::Float
            && self.constant_bytes(v).iter().all(|b| *b == 0)
    }
}

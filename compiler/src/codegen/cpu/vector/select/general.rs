//! Instructions on general registers.

use iced_x86::Code;
use regalloc2::{Operand, VReg};

use super::super::super::ssa::{Bin, Cmp, Lane, Un};
use super::super::codes::{self, Condition};
use super::super::ir::{Op, Value};
use super::super::isa::Isa;
use super::super::mach::{Base, Form, Kind, Mem, Part, RAX, RCX, RDX, general as general_register};
use super::{Draft, Select, fixed};

impl Select<'_> {
    /// A scalar integer of scalar integers.
    pub(super) fn general(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        let args = inst.args();
        let wide = inst.ty.lane == Lane::I64;
        let form = Self::form(inst.ty);
        match inst.op {
            Op::Un(op) => self.general_unary(op, v),
            Op::Bin(Bin::Add) => self.general_sum(v),
            Op::Bin(op @ (Bin::Sub | Bin::And | Bin::Or | Bin::Xor | Bin::Mul)) => {
                self.general_binary(op, v, wide);
            }
            Op::Bin(op @ (Bin::Shl | Bin::SShr | Bin::UShr)) => {
                let (by_constant, by_cl) = codes::general_shift(op, wide);
                let from = self.register(args[0]);
                if let Op::Int(c) = self.f.inst(args[1]).op {
                    let to = self.define(v);
                    self.push(Draft::new(by_constant).change(to, from, form).imm8(c as u8));
                } else if self.machine.isa == Isa::Avx512 {
                    let count = self.register(args[1]);
                    let to = self.define(v);
                    let draft = Draft::new(codes::general_shift_by(op, wide)).def(to, form);
                    self.push(draft.use_(from, form).use_(count, form));
                } else {
                    let count = self.register(args[1]);
                    let to = self.define(v);
                    let draft = Draft::new(by_cl).change(to, from, form);
                    self.push(draft.part(Part::Cl).hidden(fixed(count, RCX)));
                }
            }
            Op::Bin(op @ (Bin::SMin | Bin::SMax | Bin::UMin | Bin::UMax)) => {
                let (a, b) = (self.register(args[0]), self.register(args[1]));
                // The second one is taken where it is less, or greater.
                let less = if matches!(op, Bin::SMin | Bin::UMin) { [b, a] } else { [a, b] };
                let (compare, _) = codes::compare_general(inst.ty.lane);
                self.push(Draft::new(compare).use_(less[0], form).use_(less[1], form));
                let signed = matches!(op, Bin::SMin | Bin::SMax);
                let cc = if signed { Condition::L } else { Condition::B };
                let to = self.define(v);
                self.push(Draft::new(conditional_move(cc, wide)).change(to, a, form).use_(b, form));
            }
            Op::Bin(op @ (Bin::UDiv | Bin::URem | Bin::SDiv)) => self.divide(op, v, wide),
            Op::Cmp(_) => {
                let register = self.compared(v);
                self.registers[v.index()] = Some(register);
            }
            Op::Select => {
                let (a, b) = (self.register(args[1]), self.register(args[2]));
                let cc = self.flags_of(args[0]);
                let to = self.define(v);
                self.push(Draft::new(conditional_move(cc, wide)).change(to, b, form).use_(a, form));
            }
            Op::Extend { signed } => {
                let lane = self.f.ty(args[0]).lane;
                let (code, to_form, from_form) = extension(lane, wide, signed);
                if signed && lane == Lane::I32 {
                    let to = self.define(v);
                    let draft = self.last(Draft::new(code).def(to, to_form), args[0]);
                    self.push(draft);
                    return;
                }
                let from = self.register(args[0]);
                let to = self.define(v);
                self.push(Draft::new(code).def(to, to_form).use_(from, from_form));
            }
            Op::Mask => {
                let truth = self.register(args[0]);
                let mask = self.mask_of(truth, wide);
                self.registers[v.index()] = Some(mask);
            }
            // All others are of vectors, or other names of their operands.
            _ => {}
        }
    }

    /// All bits or none of a truth value.
    pub(super) fn mask_of(&mut self, truth: VReg, wide: bool) -> VReg {
        let (number, mask) = (self.fresh_int(), self.fresh_int());
        self.push(Draft::new(Code::Movzx_r32_rm8).def(number, Form::R32).use_(truth, Form::R8));
        let (code, form) = if wide { (Code::Neg_rm64, Form::R64) } else { (Code::Neg_rm32, Form::R32) };
        self.push(Draft::new(code).change(mask, number, form));
        mask
    }

    fn general_unary(&mut self, op: Un, v: Value) {
        let inst = *self.f.inst(v);
        let wide = inst.ty.lane == Lane::I64;
        let form = Self::form(inst.ty);
        let from = self.register(inst.args()[0]);
        let pick = |narrow, wide_code| if wide { wide_code } else { narrow };
        match op {
            Un::Abs => {
                let negated = self.fresh_int();
                self.push(Draft::new(pick(Code::Neg_rm32, Code::Neg_rm64)).change(negated, from, form));
                let to = self.define(v);
                let code = conditional_move(Condition::S, wide);
                self.push(Draft::new(code).change(to, negated, form).use_(from, form));
            }
            Un::Popcount => {
                let to = self.define(v);
                let code = pick(Code::Popcnt_r32_rm32, Code::Popcnt_r64_rm64);
                self.push(Draft::new(code).def(to, form).use_(from, form));
            }
            Un::LeadingZeros => {
                // The position of the highest bit, counted from the other end.
                let width = i64::from(inst.ty.lane.bits());
                let (none, highest, found) = (self.fresh_int(), self.fresh_int(), self.fresh_int());
                self.number(none, 2 * width - 1, wide);
                let code = pick(Code::Bsr_r32_rm32, Code::Bsr_r64_rm64);
                self.push(Draft::new(code).def(highest, form).use_(from, form));
                let code = conditional_move(Condition::E, wide);
                self.push(Draft::new(code).change(found, highest, form).use_(none, form));
                let to = self.define(v);
                let code = pick(Code::Xor_rm32_imm32, Code::Xor_rm64_imm32);
                let draft = Draft::new(code).change(to, found, form);
                self.push(draft.part(Part::Imm32(width as i32 - 1, form)));
            }
            _ => {
                let code = match op {
                    Un::Neg => pick(Code::Neg_rm32, Code::Neg_rm64),
                    _ => pick(Code::Not_rm32, Code::Not_rm64),
                };
                let to = self.define(v);
                self.push(Draft::new(code).change(to, from, form));
            }
        }
    }

    /// A sum, as an address.
    fn general_sum(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        let args = inst.args();
        let form = Self::form(inst.ty);
        let code = if form == Form::R64 { Code::Lea_r64_m } else { Code::Lea_r32_m };
        let constant = match self.f.inst(args[1]).op {
            Op::Int(c) => i32::try_from(c).ok(),
            _ => None,
        };
        let a = self.register(args[0]);
        let b = match constant {
            Some(_) => None,
            None => Some(self.register(args[1])),
        };
        let to = self.define(v);
        let mut draft = Draft::new(code).def(to, form);
        let base = Base::Operand(draft.operand(Operand::reg_use(a)));
        let index = b.map(|b| (draft.operand(Operand::reg_use(b)), 1));
        let displacement = constant.unwrap_or(0);
        self.push(draft.part(Part::Mem(Mem { base, index, by_lanes: false, displacement, bytes: 0 })));
    }

    fn general_binary(&mut self, op: Bin, v: Value, wide: bool) {
        let inst = *self.f.inst(v);
        let (a, b) = (inst.args()[0], inst.args()[1]);
        let form = Self::form(inst.ty);
        let Some((by_register, by_constant)) = codes::general(op, wide) else { return };
        let constant = match self.f.inst(b).op {
            Op::Int(c) => i32::try_from(c).ok(),
            _ => None,
        };
        let from = self.register(a);
        let draft = match constant {
            Some(c) if op == Bin::Mul => {
                let to = self.define(v);
                Draft::new(by_constant).def(to, form).use_(from, form).part(Part::Imm32(c, form))
            }
            Some(c) => {
                let to = self.define(v);
                Draft::new(by_constant).change(to, from, form).part(Part::Imm32(c, form))
            }
            None => {
                let other = self.register(b);
                let to = self.define(v);
                Draft::new(by_register).change(to, from, form).use_(other, form)
            }
        };
        self.push(draft);
    }

    fn divide(&mut self, op: Bin, v: Value, wide: bool) {
        let args = *self.f.inst(v);
        let (a, b) = (self.register(args.args()[0]), self.register(args.args()[1]));
        let result = self.define(v);
        let other = self.fresh_int();
        let (quotient, remainder) = if op == Bin::URem { (other, result) } else { (result, other) };
        let operands = [
            Operand::reg_fixed_def(quotient, general_register(RAX)),
            Operand::reg_fixed_def(remainder, general_register(RDX)),
            // Read after both results' registers were written.
            Operand::reg_use_at_end(b),
            fixed(a, RAX),
        ];
        self.machine.push(Kind::Divide { signed: op == Bin::SDiv, wide }, &operands);
    }

    /// Compares two integers: what the flags say where it holds.
    pub(super) fn compare_general(&mut self, cmp: Cmp, a: Value, b: Value) -> Condition {
        let lane = self.f.ty(a).lane;
        let form = match lane {
            Lane::I8 => Form::R8,
            Lane::I16 => Form::R16,
            Lane::I64 => Form::R64,
            _ => Form::R32,
        };
        let (by_register, by_constant) = codes::compare_general(lane);
        let left = self.register(a);
        let constant = match self.f.inst(b).op {
            Op::Int(c) if lane == Lane::I8 => Some(Part::Imm8(c as u8)),
            Op::Int(c) if lane != Lane::I16 => i32::try_from(c).ok().map(|c| Part::Imm32(c, form)),
            _ => None,
        };
        let draft = match constant {
            Some(c) => Draft::new(by_constant).use_(left, form).part(c),
            None => {
                let right = self.register(b);
                Draft::new(by_register).use_(left, form).use_(right, form)
            }
        };
        self.push(draft);
        codes::condition(cmp)
    }

    /// A comparison of scalars as a truth value in a new register.
    pub(super) fn compared(&mut self, v: Value) -> VReg {
        let inst = *self.f.inst(v);
        let Op::Cmp(cmp) = inst.op else { return self.fresh_int() };
        let to = self.fresh_int();
        match self.compare_flags(cmp, v) {
            Some(cc) => {
                let [set, ..] = codes::conditional(cc);
                self.push(Draft::new(set).def(to, Form::R8));
            }
            None if self.machine.isa == Isa::Avx512 => {
                let bit = self.float_mask(v);
                self.push(Draft::new(Code::VEX_Kmovd_r32_kr).def(to, Form::R32).use_(bit, Form::K));
            }
            None => {
                let mask = self.float_mask(v);
                let bits = self.fresh_int();
                self.push(Draft::new(Code::VEX_Vmovd_rm32_xmm).def(bits, Form::R32).use_(mask, Form::X));
                let draft = Draft::new(Code::And_rm32_imm32).change(to, bits, Form::R32);
                self.push(draft.part(Part::Imm32(1, Form::R32)));
            }
        }
        to
    }
}

fn conditional_move(cc: Condition, wide: bool) -> Code {
    let [_, narrow_move, wide_move, _] = codes::conditional(cc);
    if wide { wide_move } else { narrow_move }
}

/// The instruction that extends an integer, and how it names what it writes and reads.
fn extension(from: Lane, wide: bool, signed: bool) -> (Code, Form, Form) {
    match (from, wide, signed) {
        (Lane::I8, _, false) => (Code::Movzx_r32_rm8, Form::R32, Form::R8),
        (Lane::I8, false, true) => (Code::Movsx_r32_rm8, Form::R32, Form::R8),
        (Lane::I8, true, true) => (Code::Movsx_r64_rm8, Form::R64, Form::R8),
        (Lane::I16, _, false) => (Code::Movzx_r32_rm16, Form::R32, Form::R16),
        (Lane::I16, false, true) => (Code::Movsx_r32_rm16, Form::R32, Form::R16),
        (Lane::I16, true, true) => (Code::Movsx_r64_rm16, Form::R64, Form::R16),
        (_, _, false) => (Code::Mov_r32_rm32, Form::R32, Form::R32),
        (_, _, true) => (Code::Movsxd_r64_rm32, Form::R64, Form::R32),
    }
}

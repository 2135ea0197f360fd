//! Loads, stores and atomic operations.

use iced_x86::Code;
use regalloc2::{Operand, VReg};

use super::super::super::ssa::{AtomicOp, Lane};
use super::super::codes;
use super::super::ir::{Op, Value};
use super::super::mach::{Base, Exchange, Form, Kind, Mem, Part, RAX, general as general_register};
use super::super::needs::access;
use super::{Draft, Select};

impl Select<'_> {
    /// The place of an access; its registers become operands of the kind given.
    pub(super) fn place(&mut self, draft: &mut Draft, v: Value, operand: fn(VReg) -> Operand) -> Mem {
        let Some((address, _)) = access(self.f, self.block, v) else {
            return Mem { base: Base::Pool(0), index: None, by_lanes: false, displacement: 0, bytes: 0 };
        };
        let base = self.register(address.base);
        let base = Base::Operand(draft.operand(operand(base)));
        let index = address.index.map(|(index, scale)| {
            let index = self.register(index);
            (draft.operand(operand(index)), scale)
        });
        let inst = self.f.inst(v);
        let bytes = match inst.op {
            Op::LoadLow { bytes, .. } | Op::StoreLow { bytes, .. } => bytes,
            _ => inst.ty.bytes() as u8,
        };
        Mem { base, index, by_lanes: false, displacement: address.displacement, bytes }
    }

    /// Makes a load here, that was to be part of the instruction that uses it.
    pub(super) fn loaded(&mut self, v: Value) -> VReg {
        let ty = self.f.ty(v);
        let to = self.fresh(super::class(ty));
        let mut draft = Draft::new(codes::moves(ty).0).def(to, load_form(Self::form(ty)));
        let place = self.place(&mut draft, v, Operand::reg_use);
        self.push(draft.part(Part::Mem(place)));
        to
    }

    pub(super) fn memory(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        match inst.op {
            Op::Load { .. } => {
                let register = self.loaded(v);
                self.registers[v.index()] = Some(register);
            }
            Op::Prefetch { .. } => {
                let mut draft = Draft::new(Code::Prefetcht1_m8);
                let place = self.place(&mut draft, v, Operand::reg_use);
                self.push(draft.part(Part::Mem(place)));
            }
            Op::LoadLow { bytes, .. } => {
                let to = self.define(v);
                let (code, form) = match bytes {
                    16 => (Code::VEX_Vmovups_xmm_xmmm128, Form::X),
                    _ => (Code::EVEX_Vmovups_ymm_k1z_ymmm256, Form::H),
                };
                let mut draft = Draft::new(code).def(to, form);
                let place = self.place(&mut draft, v, Operand::reg_use);
                self.push(draft.part(Part::Mem(place)));
            }
            Op::LoadMasked { mask, .. } => {
                let bytes = self.pool[mask as usize].clone();
                let (at, mask) = (self.pool_place(bytes), self.fresh_vector());
                self.push(Draft::new(Code::VEX_Vmovups_ymm_ymmm256).def(mask, Form::V).part(at));
                let to = self.define(v);
                let code = Code::VEX_Vmaskmovps_ymm_ymm_m256;
                let mut draft = Draft::new(code).def(to, Form::V).use_(mask, Form::V);
                let place = self.place(&mut draft, v, Operand::reg_use);
                self.push(draft.part(Part::Mem(place)));
            }
            Op::LoadBits { .. } => {
                let bits = self.register(inst.args()[1]);
                let to = self.define(v);
                let (load, _) = codes::moves_by_lane(inst.ty.lane);
                let mut draft = Draft::new(load).def(to, Form::V).masked(bits, true);
                let place = self.place(&mut draft, v, Operand::reg_use);
                self.push(draft.part(Part::Mem(place)));
            }
            Op::Gather { scale, .. } => self.gather(v, scale),
            Op::StoreBits { .. } => {
                let (value, bits) = (self.register(inst.args()[1]), self.register(inst.args()[2]));
                let (_, store) = codes::moves_by_lane(inst.ty.lane);
                let mut draft = Draft::new(store).masked(bits, false);
                let place = self.place(&mut draft, v, Operand::reg_use);
                self.push(draft.part(Part::Mem(place)).use_(value, Form::V));
            }
            Op::Store { .. } | Op::StorePast { .. } => {
                let value = self.register(inst.args()[1]);
                let mut draft = Draft::new(match inst.op {
                    Op::StorePast { .. } => Code::VEX_Vmovntps_m256_ymm,
                    _ => codes::moves(inst.ty).1,
                });
                let place = self.place(&mut draft, v, Operand::reg_use);
                let form = match (inst.ty.is_vector(), inst.ty.lane) {
                    (false, Lane::I8) => Form::R8,
                    (false, Lane::I16) => Form::R16,
                    _ => Self::form(inst.ty),
                };
                self.push(draft.part(Part::Mem(place)).use_(value, form));
            }
            Op::StoreLow { bytes, .. } => {
                let (code, imm) = match bytes {
                    32 => (Code::EVEX_Vmovups_ymmm256_k1z_ymm, false),
                    16 => (Code::VEX_Vmovups_xmmm128_xmm, false),
                    8 => (Code::VEX_Vmovsd_m64_xmm, false),
                    4 => (Code::VEX_Vmovss_m32_xmm, false),
                    2 => (Code::VEX_Vpextrw_r32m16_xmm_imm8, true),
                    _ => (Code::VEX_Vpextrb_r32m8_xmm_imm8, true),
                };
                let value = self.register(inst.args()[1]);
                let mut draft = Draft::new(code);
                let place = self.place(&mut draft, v, Operand::reg_use);
                let form = if bytes == 32 { Form::H } else { Form::X };
                let draft = draft.part(Part::Mem(place)).use_(value, form);
                self.push(if imm { draft.imm8(0) } else { draft });
            }
            Op::Atomic { op, .. } => self.atomic(op, v),
            _ => {}
        }
    }

    /// The instruction clears the bits of lanes that it has loaded, and leaves the others of its result as they were.
    fn gather(&mut self, v: Value, scale: u8) {
        let inst = *self.f.inst(v);
        let Some((address, _)) = access(self.f, self.block, v) else { return };
        let wide = self.f.ty(inst.args()[1]).lane.bytes() == 8;
        let code = match (inst.ty.lane.bytes(), wide) {
            (4, false) => Code::EVEX_Vgatherdps_zmm_k1_vm32z,
            (4, true) => Code::EVEX_Vgatherqps_ymm_k1_vm64z,
            _ => Code::EVEX_Vgatherqpd_zmm_k1_vm64z,
        };
        let [index, bits] = [1, 2].map(|n| self.register(inst.args()[n]));
        let base = self.register(address.base);
        let (zero, cleared) = (self.fresh_vector(), self.fresh_bits());
        self.zero(zero);
        let to = self.define(v);
        let form = if code == Code::EVEX_Vgatherqps_ymm_k1_vm64z { Form::H } else { Form::V };
        let mut draft = Draft::new(code).change(to, zero, form);
        let mask = draft.operands.len() as u8;
        draft.operand(Operand::reg_reuse_def(cleared, usize::from(mask) + 1));
        draft.operand(Operand::reg_use(bits));
        let base = Base::Operand(draft.operand(Operand::reg_use(base)));
        let index = Some((draft.operand(Operand::reg_use(index)), scale));
        let bytes = inst.ty.lane.bytes() as u8;
        let at = Mem { base, index, by_lanes: true, displacement: address.displacement, bytes };
        self.push(draft.part(Part::Masked { operand: mask, zero: false }).part(Part::Mem(at)));
    }

    fn atomic(&mut self, op: AtomicOp, v: Value) {
        let inst = *self.f.inst(v);
        let wide = inst.ty.lane == Lane::I64;
        let form = Self::form(inst.ty);
        let value = self.register(inst.args()[1]);
        let to = self.define(v);
        if op == AtomicOp::Add {
            let code = if wide { Code::Xadd_rm64_r64 } else { Code::Xadd_rm32_r32 };
            let draft = Draft::new(code).change(to, value, form);
            let (register, mut draft) = (draft.parts[0], Draft { parts: Vec::new(), ..draft });
            let place = self.place(&mut draft, v, Operand::reg_use);
            self.push(draft.part(Part::Mem(place)).part(register));
            return;
        }
        let pick = |narrow, wide_code| if wide { wide_code } else { narrow };
        let compare = pick(Code::Cmp_r32_rm32, Code::Cmp_r64_rm64);
        // The operand is taken where it compares so with what was there.
        let (code, cmov) = match op {
            AtomicOp::And => (pick(Code::And_r32_rm32, Code::And_r64_rm64), None),
            AtomicOp::Or => (pick(Code::Or_r32_rm32, Code::Or_r64_rm64), None),
            AtomicOp::Xor | AtomicOp::Add => (pick(Code::Xor_r32_rm32, Code::Xor_r64_rm64), None),
            AtomicOp::SMin => (compare, Some(pick(Code::Cmovl_r32_rm32, Code::Cmovl_r64_rm64))),
            AtomicOp::SMax => (compare, Some(pick(Code::Cmovg_r32_rm32, Code::Cmovg_r64_rm64))),
            AtomicOp::UMin => (compare, Some(pick(Code::Cmovb_r32_rm32, Code::Cmovb_r64_rm64))),
            AtomicOp::UMax => (compare, Some(pick(Code::Cmova_r32_rm32, Code::Cmova_r64_rm64))),
        };
        let work = self.fresh_int();
        let mut draft = Draft::new(code);
        draft.operand(Operand::reg_fixed_def(to, general_register(RAX)));
        draft.operand(Operand::reg_temp(work));
        // Read after the result's register was written.
        draft.operand(Operand::reg_use_at_end(value));
        let at = self.place(&mut draft, v, Operand::reg_use_at_end);
        self.machine.push(Kind::Exchange(Exchange { op: code, cmov, wide, at }), &draft.operands);
    }
}

/// Loads of narrow integers write 32 bits.
fn load_form(form: Form) -> Form {
    match form {
        Form::R8 | Form::R16 => Form::R32,
        other => other,
    }
}

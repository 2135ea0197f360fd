//! Scalars and vectors, halves and pieces of vectors, lanes of other widths.

use iced_x86::Code;
use regalloc2::{RegClass, VReg};

use super::super::super::ssa::Lane;
use super::super::codes;
use super::super::ir::{Inst, Op, Value};
use super::super::isa::Isa;
use super::super::mach::{Form, Part};
use super::super::needs::root;
use super::{Draft, Select, class};

impl Select<'_> {
    /// A scalar in all lanes of a new register; with `memory`, from there if it is there.
    pub(super) fn splat(&mut self, v: Value, memory: bool) -> VReg {
        let ty = self.f.ty(v);
        let (from_register, from_memory) = codes::splat(ty.lane);
        let source = root(self.f, v);
        if memory && self.needs.inside[source.index()] && matches!(self.f.inst(source).op, Op::Load { .. }) {
            let to = self.fresh_vector();
            let mut draft = Draft::new(from_memory).def(to, Form::V);
            let place = self.place(&mut draft, source, regalloc2::Operand::reg_use);
            self.push(draft.part(Part::Mem(place)));
            return to;
        }
        let register = self.register(v);
        let to = self.fresh_vector();
        let low = match class(ty) {
            RegClass::Float => register,
            _ if self.machine.isa == Isa::Avx512 => {
                let (code, form) = codes::splat_general(ty.lane);
                self.push(Draft::new(code).def(to, Form::V).use_(register, form));
                return to;
            }
            _ => self.moved_to_vector(register, ty.lane == Lane::I64),
        };
        self.push(Draft::new(from_register).def(to, Form::V).use_(low, Form::X));
        to
    }

    /// The lower or upper half, in the low bits of a register.
    pub(super) fn half(&mut self, v: Value, upper: bool) -> VReg {
        let from = self.register(v);
        self.half_of(from, upper)
    }

    fn half_of(&mut self, from: VReg, upper: bool) -> VReg {
        if !upper {
            return from;
        }
        let to = self.fresh_vector();
        let draft = Draft::new(Code::VEX_Vextracti128_xmmm128_ymm_imm8).def(to, Form::H);
        self.push(draft.use_(from, Form::V).imm8(1));
        to
    }

    /// 128 bits of a vector, counted so, in the low bits of a register.
    pub(super) fn piece(&mut self, v: Value, n: u8) {
        let from = self.register(self.f.inst(v).args()[0]);
        let to = self.define(v);
        let code = match self.machine.isa {
            Isa::Avx2 { .. } => Code::VEX_Vextracti128_xmmm128_ymm_imm8,
            Isa::Avx512 => Code::EVEX_Vextracti32x4_xmmm128_k1z_zmm_imm8,
        };
        self.push(Draft::new(code).def(to, Form::X).use_(from, Form::V).imm8(n));
    }

    /// A vector with 128 bits, counted so, replaced.
    pub(super) fn put_piece(&mut self, v: Value, n: u8) {
        let inst = *self.f.inst(v);
        let (vector, piece) = (self.register(inst.args()[0]), self.register(inst.args()[1]));
        let to = self.define(v);
        let code = match self.machine.isa {
            Isa::Avx2 { .. } => Code::VEX_Vinserti128_ymm_ymm_xmmm128_imm8,
            Isa::Avx512 => Code::EVEX_Vinserti32x4_zmm_k1z_zmm_xmmm128_imm8,
        };
        self.push(Draft::new(code).def(to, Form::V).use_(vector, Form::V).use_(piece, Form::X).imm8(n));
    }

    /// A lane of the lower 128 bits.
    pub(super) fn extract(&mut self, v: Value, l: u8) {
        let inst = *self.f.inst(v);
        let from = self.register(inst.args()[0]);
        let to = self.define(v);
        let (code, form) = match (inst.ty.lane, l) {
            (Lane::I32, 0) => {
                let draft = Draft::new(Code::VEX_Vmovd_rm32_xmm).def(to, Form::R32);
                return self.push(draft.use_(from, Form::X));
            }
            (Lane::I64, 0) => {
                let draft = Draft::new(Code::VEX_Vmovq_rm64_xmm).def(to, Form::R64);
                return self.push(draft.use_(from, Form::X));
            }
            (Lane::F32, _) => (Code::VEX_Vpermilps_xmm_xmmm128_imm8, Form::X),
            (Lane::F64, _) => (Code::VEX_Vpermilpd_xmm_xmmm128_imm8, Form::X),
            (Lane::I8, _) => (Code::VEX_Vpextrb_r32m8_xmm_imm8, Form::R32),
            (Lane::I16, _) => (Code::VEX_Vpextrw_r32_xmm_imm8, Form::R32),
            (Lane::I32, _) => (Code::VEX_Vpextrd_rm32_xmm_imm8, Form::R32),
            (Lane::I64, _) => (Code::VEX_Vpextrq_rm64_xmm_imm8, Form::R64),
        };
        self.push(Draft::new(code).def(to, form).use_(from, Form::X).imm8(l));
    }

    pub(super) fn insert(&mut self, v: Value, l: u8) {
        let Inst { ty, .. } = *self.f.inst(v);
        let (vector, scalar) = (self.f.inst(v).args()[0], self.f.inst(v).args()[1]);
        let whole = self.register(vector);
        if ty.lane.bytes() >= 4 {
            let all = self.splat(scalar, true);
            let to = self.define(v);
            let code = match ty.lane.bytes() {
                4 => Code::VEX_Vblendps_ymm_ymm_ymmm256_imm8,
                _ => Code::VEX_Vblendpd_ymm_ymm_ymmm256_imm8,
            };
            let draft = Draft::new(code).def(to, Form::V).use_(whole, Form::V).use_(all, Form::V);
            return self.push(draft.imm8(1 << l));
        }
        let per = (16 / ty.lane.bytes()) as u8;
        let half = self.half_of(whole, l >= per);
        let number = self.register(scalar);
        let changed = self.fresh_vector();
        let code = match ty.lane {
            Lane::I8 => Code::VEX_Vpinsrb_xmm_xmm_r32m8_imm8,
            _ => Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8,
        };
        let draft = Draft::new(code).def(changed, Form::X).use_(half, Form::X);
        self.push(draft.use_(number, Form::R32).imm8(l % per));
        let to = self.define(v);
        let draft = Draft::new(Code::VEX_Vinserti128_ymm_ymm_xmmm128_imm8).def(to, Form::V);
        self.push(draft.use_(whole, Form::V).use_(changed, Form::X).imm8(l / per));
    }

    pub(super) fn insert_low(&mut self, v: Value, l: u8) {
        let inst = *self.f.inst(v);
        let (vector, scalar) = (self.register(inst.args()[0]), inst.args()[1]);
        let (code, form, how) = match inst.ty.lane {
            Lane::F32 => {
                let to = self.define(v);
                let draft = Draft::new(Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8).def(to, Form::X);
                let draft = self.last(draft.use_(vector, Form::X), scalar);
                return self.push(draft.imm8(l << 4));
            }
            Lane::F64 => (Code::VEX_Vunpcklpd_xmm_xmm_xmmm128, Form::X, None),
            Lane::I8 => (Code::VEX_Vpinsrb_xmm_xmm_r32m8_imm8, Form::R32, Some(l)),
            Lane::I16 => (Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8, Form::R32, Some(l)),
            Lane::I32 => (Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8, Form::R32, Some(l)),
            Lane::I64 => (Code::VEX_Vpinsrq_xmm_xmm_rm64_imm8, Form::R64, Some(l)),
        };
        let scalar = self.register(scalar);
        let to = self.define(v);
        let draft = Draft::new(code).def(to, Form::X).use_(vector, Form::X).use_(scalar, form);
        self.push(match how {
            Some(how) => draft.imm8(how),
            None => draft,
        });
    }

    /// Two halves.
    pub(super) fn join(&mut self, v: Value, low: VReg, high: VReg) {
        let to = self.define(v);
        let draft = Draft::new(Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8).def(to, Form::V);
        self.push(draft.use_(low, Form::V).use_(high, Form::H).imm8(1));
    }

    pub(super) fn narrow(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        if self.machine.isa == Isa::Avx512 {
            return self.narrowed(v, codes::narrow(inst.ty.lane), None);
        }
        let (low, high) = (self.register(inst.args()[0]), self.register(inst.args()[1]));
        let packed = self.fresh_vector();
        let (code, how) = match inst.ty.lane {
            Lane::I8 => (Code::VEX_Vpackuswb_ymm_ymm_ymmm256, None),
            Lane::I16 => (Code::VEX_Vpackusdw_ymm_ymm_ymmm256, None),
            // Lanes 0 and 2 of both.
            _ => (Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8, Some(0x88)),
        };
        let draft = Draft::new(code).def(packed, Form::V).use_(low, Form::V).use_(high, Form::V);
        self.push(match how {
            Some(how) => draft.imm8(how),
            None => draft,
        });
        // Each half of 128 bits was packed on its own.
        let to = self.define(v);
        let draft = Draft::new(Code::VEX_Vpermq_ymm_ymmm256_imm8).def(to, Form::V);
        self.push(draft.use_(packed, Form::V).imm8(0xD8));
    }

    pub(super) fn widen_f16(&mut self, v: Value, upper: bool) {
        let inst = *self.f.inst(v);
        if inst.ty.is_vector() {
            return self.widened(v, Code::VEX_Vcvtph2ps_ymm_xmmm128, upper);
        }
        let bits = self.register(inst.args()[0]);
        let bits = self.moved_to_vector(bits, false);
        let to = self.define(v);
        self.push(Draft::new(Code::VEX_Vcvtph2ps_xmm_xmmm64).def(to, Form::X).use_(bits, Form::X));
    }

    pub(super) fn narrow_f16(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        // To nearest, ties to even.
        let how = 0;
        if inst.ty.is_vector() {
            return self.narrowed(v, Code::VEX_Vcvtps2ph_xmmm128_ymm_imm8, Some(how));
        }
        let from = self.register(inst.args()[0]);
        let half = self.fresh_vector();
        let draft = Draft::new(Code::VEX_Vcvtps2ph_xmmm64_xmm_imm8).def(half, Form::X);
        self.push(draft.use_(from, Form::X).imm8(how));
        let to = self.define(v);
        self.push(Draft::new(Code::VEX_Vmovd_rm32_xmm).def(to, Form::R32).use_(half, Form::X));
    }

    /// Half of the lanes at twice the width.
    pub(super) fn widened(&mut self, v: Value, code: Code, upper: bool) {
        let from = self.half(self.f.inst(v).args()[0], upper);
        let to = self.define(v);
        self.push(Draft::new(code).def(to, Form::V).use_(from, Form::H));
    }

    /// The lanes of one vector or two at half the width.
    pub(super) fn narrowed(&mut self, v: Value, code: Code, how: Option<u8>) {
        let inst = *self.f.inst(v);
        let mut halves = Vec::new();
        for &arg in inst.args() {
            let (from, to) = (self.register(arg), self.fresh_vector());
            let draft = Draft::new(code).def(to, Form::H).use_(from, Form::V);
            self.push(match how {
                Some(how) => draft.imm8(how),
                None => draft,
            });
            halves.push(to);
        }
        match halves[..] {
            [low, high] => self.join(v, low, high),
            _ => self.registers[v.index()] = halves.first().copied(),
        }
    }
}

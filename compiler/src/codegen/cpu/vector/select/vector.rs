//! Instructions on vector registers: vectors and scalar floats.

use iced_x86::Code;
use regalloc2::{RegClass, VReg};

use super::super::super::ssa::{Bin, Cmp, Lane, Ty, Un};
use super::super::codes;
use super::super::ir::{Negated, Op, Value};
use super::super::isa::Isa;
use super::super::mach::{Form, Part};
use super::super::needs::root;
use super::{Draft, Select, class};

impl Select<'_> {
    /// A float or a vector, or an integer of such.
    pub(super) fn vector(&mut self, v: Value) {
        let inst = *self.f.inst(v);
        let (ty, args) = (inst.ty, inst.args());
        let form = Self::form(ty);
        match inst.op {
            Op::Un(op) => self.vector_unary(op, v),
            Op::Bin(op @ (Bin::Shl | Bin::SShr | Bin::UShr)) => self.vector_shift(op, v),
            Op::Bin(op) => self.vector_binary(op, v),
            Op::MulEven => self.two(v, Code::VEX_Vpmuludq_ymm_ymm_ymmm256, args[0], args[1]),
            Op::Fma { negated } => self.fma(v, negated),
            Op::Lesser | Op::Greater => {
                let code = codes::extreme(inst.op == Op::Greater, ty);
                self.two(v, code, args[0], args[1]);
            }
            Op::ShiftEach(op) => self.two(v, codes::shift_each(op), args[0], args[1]),
            Op::Multishift => {
                self.two(v, Code::EVEX_Vpmultishiftqb_zmm_k1z_zmm_zmmm512b64, args[0], args[1]);
            }
            Op::LookUp => self.two(v, Code::VEX_Vpermps_ymm_ymm_ymmm256, args[0], args[1]),
            Op::Scale => self.two(v, codes::scale(ty), args[0], args[1]),
            Op::Estimate { root } if ty.is_vector() => {
                let from = self.register(args[0]);
                let to = self.define(v);
                self.push(Draft::new(codes::estimate(root, true)).def(to, form).use_(from, form));
            }
            Op::Estimate { root } => self.two(v, codes::estimate(root, false), args[0], args[0]),
            Op::Within => self.within(v, args[0], args[1]),
            Op::Exponent | Op::Significand => self.float_part(v, inst.op == Op::Significand),
            Op::Cmp(cmp) if self.f.ty(args[0]).is_vector() => self.vector_compare(cmp, v),
            Op::Cmp(_) => {
                let truth = self.compared(v);
                self.registers[v.index()] = Some(truth);
            }
            Op::Select => {
                let mask = self.select_mask(args[0], ty);
                match self.machine.isa {
                    Isa::Avx2 { .. } => self.blend(v, mask, args[1], args[2]),
                    Isa::Avx512 => self.blend_bits(v, mask, args[1], args[2]),
                }
            }
            Op::Blend if self.blend_by_number(v) => {}
            Op::Blend => {
                let mask = self.register(args[0]);
                self.blend(v, mask, args[1], args[2]);
            }
            Op::Bitcast => self.cross(v, args[0]),
            Op::Truncate { signed } => self.truncate(v, signed),
            Op::FromInt { signed } => self.converted_int(v, signed),
            Op::Promote | Op::Demote => {
                let code = match inst.op {
                    Op::Promote => Code::VEX_Vcvtss2sd_xmm_xmm_xmmm32,
                    _ => Code::VEX_Vcvtsd2ss_xmm_xmm_xmmm64,
                };
                self.two(v, code, args[0], args[0]);
            }
            Op::Splat => {
                let register = self.splat(args[0], true);
                self.registers[v.index()] = Some(register);
            }
            Op::LaneZero => self.cross(v, args[0]),
            Op::Extract(l) => self.extract(v, l),
            Op::Insert(l) => self.insert(v, l),
            Op::InsertLow(l) => self.insert_low(v, l),
            Op::Join => {
                let (low, high) = (self.register(args[0]), self.register(args[1]));
                self.join(v, low, high);
            }
            Op::Widen { signed, upper } => {
                let code = codes::widen(self.f.ty(args[0]).lane, signed);
                self.widened(v, code, upper);
            }
            Op::WidenBytes { signed } => {
                let (from, to) = (self.register(args[0]), self.define(v));
                let draft = Draft::new(codes::widen_bytes(signed)).def(to, Form::V);
                self.push(draft.use_(from, Form::X));
            }
            Op::WidenToF64 { upper } => {
                let code = match self.f.ty(args[0]).lane.is_float() {
                    true => Code::VEX_Vcvtps2pd_ymm_xmmm128,
                    false => Code::VEX_Vcvtdq2pd_ymm_xmmm128,
                };
                self.widened(v, code, upper);
            }
            Op::WidenF16 { upper } => self.widen_f16(v, upper),
            Op::NarrowF16 => self.narrow_f16(v),
            Op::Narrow => self.narrow(v),
            Op::NarrowF64 => self.narrowed(v, Code::VEX_Vcvtpd2ps_xmm_ymmm256, None),
            Op::AllTrue => {
                let from = self.register(args[0]);
                let (bits, to) = (self.fresh_int(), self.define(v));
                let draft = Draft::new(Code::VEX_Vpmovmskb_r32_ymm).def(bits, Form::R32);
                self.push(draft.use_(from, Form::V));
                let draft = Draft::new(Code::Cmp_rm32_imm32).use_(bits, Form::R32);
                self.push(draft.part(Part::Imm32(-1, Form::R32)));
                self.push(Draft::new(Code::Sete_rm8).def(to, Form::R8));
            }
            Op::AnyTrue => self.tested(v),
            Op::BytesDown(n) => {
                let from = self.register(args[0]);
                let to = self.define(v);
                let draft = Draft::new(Code::VEX_Vpsrldq_ymm_ymm_imm8).def(to, form).use_(from, form);
                self.push(draft.imm8(n));
            }
            Op::Align(n) => {
                let (a, b) = (self.register(args[0]), self.register(args[1]));
                let to = self.define(v);
                let draft = Draft::new(Code::VEX_Vpalignr_ymm_ymm_ymmm256_imm8).def(to, Form::V);
                self.push(draft.use_(a, Form::V).use_(b, Form::V).imm8(n));
            }
            Op::Unpack { upper } => self.two(v, codes::unpack(ty.lane, upper), args[0], args[1]),
            Op::AlignLanes(n) => {
                let (a, b) = (self.register(args[0]), self.register(args[1]));
                let to = self.define(v);
                let draft = Draft::new(codes::align_lanes(ty.lane)).def(to, Form::V);
                self.push(draft.use_(b, Form::V).use_(a, Form::V).imm8(n));
            }
            Op::Permute | Op::Dot => {
                let (a, b) = (self.register(args[0]), self.register(args[1]));
                let to = self.define(v);
                let code = match inst.op {
                    Op::Permute => codes::permute(ty.lane),
                    _ => Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32,
                };
                let draft = Draft::new(code).change(to, a, Form::V).use_(b, Form::V);
                let draft = self.last(draft, args[2]);
                self.push(draft);
            }
            Op::Pieces(how) => {
                let (a, b) = (self.register(args[0]), self.register(args[1]));
                let to = self.define(v);
                let code = Code::EVEX_Vshuff64x2_zmm_k1z_zmm_zmmm512b64_imm8;
                self.push(Draft::new(code).def(to, Form::V).use_(a, Form::V).use_(b, Form::V).imm8(how));
            }
            Op::Piece(n) => self.piece(v, n),
            Op::PutPiece(n) => self.put_piece(v, n),
            // All others are of general registers, or constants.
            _ => {}
        }
    }

    /// One instruction of two operands, the second from memory if it is there.
    fn two(&mut self, v: Value, code: Code, a: Value, b: Value) {
        let form = Self::form(self.f.ty(a));
        let first = self.register(a);
        let to = self.define(v);
        let draft = Draft::new(code).def(to, form).use_(first, form);
        let draft = self.last(draft, b);
        self.push(draft);
    }

    /// A float no larger than a limit.
    fn within(&mut self, v: Value, a: Value, limit: Value) {
        let ty = self.f.ty(v);
        let form = Self::form(ty);
        let [a, limit] = [a, limit].map(|v| self.register(v));
        let to = self.define(v);
        let draft = Draft::new(codes::range(ty)).def(to, form).use_(a, form).use_(limit, form);
        // The one of smaller magnitude, with the first one's sign; a number rather than NaN.
        self.push(draft.imm8(0b0010));
    }

    /// An exponent or a significand.
    fn float_part(&mut self, v: Value, significand: bool) {
        let ty = self.f.ty(v);
        let form = Self::form(ty);
        let from = self.register(self.f.inst(v).args()[0]);
        let to = self.define(v);
        let draft = Draft::new(codes::part(significand, ty)).def(to, form).use_(from, form);
        let draft = if ty.is_vector() { draft } else { draft.use_(from, form) };
        // From 3/4 to 3/2, without sign; NaN of numbers less than zero.
        self.push(if significand { draft.imm8(0b1111) } else { draft });
    }

    fn vector_binary(&mut self, op: Bin, v: Value) {
        let inst = *self.f.inst(v);
        let (mut a, mut b) = (inst.args()[0], inst.args()[1]);
        let Some(code) = codes::binary(op, inst.ty) else { return };
        if op.commutes() && self.needs.inside[root(self.f, a).index()] {
            std::mem::swap(&mut a, &mut b);
        }
        self.two(v, code, a, b);
    }

    fn vector_unary(&mut self, op: Un, v: Value) {
        let inst = *self.f.inst(v);
        let (ty, a) = (inst.ty, inst.args()[0]);
        let form = Self::form(ty);
        if let Some((code, how)) = codes::round(op, ty) {
            let from = self.register(a);
            let to = self.define(v);
            let draft = Draft::new(code).def(to, form).use_(from, form);
            let draft = if ty.is_vector() { draft } else { draft.use_(from, form) };
            return self.push(draft.imm8(how));
        }
        match op {
            Un::Sqrt if ty.is_vector() => {
                let to = self.define(v);
                let draft = Draft::new(codes::sqrt(ty)).def(to, form);
                let draft = self.last(draft, a);
                self.push(draft);
            }
            Un::Sqrt => self.two(v, codes::sqrt(ty), a, a),
            // Scalar floats; those of vectors were written as operators on bits.
            Un::Neg | Un::Abs if ty.lane.is_float() => {
                let sign = 1u64 << (ty.lane.bits() - 1);
                let (code, bits) = match op {
                    Un::Neg => (Code::VEX_Vxorps_xmm_xmm_xmmm128, sign),
                    _ => (Code::VEX_Vandps_xmm_xmm_xmmm128, sign - 1),
                };
                let place = self.pool_place(self.repeated(bits, ty.lane.bytes()));
                let from = self.register(a);
                let to = self.define(v);
                self.push(Draft::new(code).def(to, form).use_(from, form).part(place));
            }
            _ => {
                let from = self.register(a);
                let to = self.define(v);
                self.push(Draft::new(codes::abs(ty.lane)).def(to, form).use_(from, form));
            }
        }
    }

    fn vector_shift(&mut self, op: Bin, v: Value) {
        let inst = *self.f.inst(v);
        let args = inst.args();
        let Some((by_constant, by_register)) = codes::shift(op, inst.ty.lane) else { return };
        let from = self.register(args[0]);
        if let Op::Int(c) = self.f.inst(args[1]).op {
            let to = self.define(v);
            return self.push(Draft::new(by_constant).def(to, Form::V).use_(from, Form::V).imm8(c as u8));
        }
        let (count, lane) = (self.register(args[1]), self.f.ty(args[1]).lane);
        // All 64 bits of the count are looked at.
        let count = match lane {
            Lane::I8 | Lane::I16 => {
                let (code, form) = match lane {
                    Lane::I8 => (Code::Movzx_r32_rm8, Form::R8),
                    _ => (Code::Movzx_r32_rm16, Form::R16),
                };
                let wide = self.fresh_int();
                self.push(Draft::new(code).def(wide, Form::R32).use_(count, form));
                wide
            }
            _ => count,
        };
        let moved = self.moved_to_vector(count, lane == Lane::I64);
        let to = self.define(v);
        self.push(Draft::new(by_register).def(to, Form::V).use_(from, Form::V).use_(moved, Form::X));
    }

    /// A general register in the low bits of a vector register; the others become zero.
    pub(super) fn moved_to_vector(&mut self, from: VReg, wide: bool) -> VReg {
        let to = self.fresh_vector();
        let (code, form) = match wide {
            true => (Code::VEX_Vmovq_xmm_rm64, Form::R64),
            false => (Code::VEX_Vmovd_xmm_rm32, Form::R32),
        };
        self.push(Draft::new(code).def(to, Form::X).use_(from, form));
        to
    }

    /// Scalars between both kinds of registers.
    fn cross(&mut self, v: Value, from: Value) {
        let wide = self.f.ty(from).lane.bytes() == 8;
        let source = self.register(from);
        if class(self.f.ty(v)) == RegClass::Float {
            let to = self.moved_to_vector(source, wide);
            self.registers[v.index()] = Some(to);
            return;
        }
        let to = self.define(v);
        let (code, form) = match wide {
            true => (Code::VEX_Vmovq_rm64_xmm, Form::R64),
            false => (Code::VEX_Vmovd_rm32_xmm, Form::R32),
        };
        self.push(Draft::new(code).def(to, form).use_(source, Form::X));
    }

    fn fma(&mut self, v: Value, negated: Negated) {
        let inst = *self.f.inst(v);
        let form = Self::form(inst.ty);
        let [sum, product_sum_last, product_factor_last] = codes::fma(inst.ty, negated);
        let (mut a, mut b, c) = (inst.args()[0], inst.args()[1], inst.args()[2]);
        let from_memory = |s: &Self, v: Value| {
            let v = root(s.f, v);
            s.f.inst(v).op.is_constant() || s.needs.inside[v.index()]
        };
        if from_memory(self, a) {
            std::mem::swap(&mut a, &mut b);
        }
        let once = |s: &Self, v: Value| s.needs.uses[v.index()] == 1;
        // The register that is written over is best one that nobody else reads.
        let (code, over, middle, last) = if from_memory(self, c) && !from_memory(self, b) {
            let (over, other) = if once(self, b) && !once(self, a) { (b, a) } else { (a, b) };
            (product_sum_last, over, other, c)
        } else if once(self, c) || from_memory(self, c) {
            (sum, c, a, b)
        } else if from_memory(self, b) {
            (product_factor_last, a, c, b)
        } else if once(self, a) {
            (product_sum_last, a, b, c)
        } else if once(self, b) {
            (product_sum_last, b, a, c)
        } else {
            (sum, c, a, b)
        };
        let (over, middle) = (self.register(over), self.register(middle));
        let to = self.define(v);
        let draft = Draft::new(code).change(to, over, form).use_(middle, form);
        let draft = self.last(draft, last);
        self.push(draft);
    }

    /// A comparison of scalar floats as a mask; with AVX-512, as a bit.
    pub(super) fn float_mask(&mut self, v: Value) -> VReg {
        let inst = *self.f.inst(v);
        let Op::Cmp(cmp) = inst.op else { return self.fresh_vector() };
        let (a, b) = (inst.args()[0], inst.args()[1]);
        let ty = self.f.ty(a);
        let (a, b) = (self.register(a), self.register(b));
        let ((code, how), to, form) = match self.machine.isa {
            Isa::Avx2 { .. } => (codes::compare_floats(cmp, ty), self.fresh_vector(), Form::X),
            Isa::Avx512 => (codes::compare_bits(cmp, ty), self.fresh_bits(), Form::K),
        };
        self.push(Draft::new(code).def(to, form).use_(a, Form::X).use_(b, Form::X).imm8(how));
        to
    }

    fn vector_compare(&mut self, cmp: Cmp, v: Value) {
        let inst = *self.f.inst(v);
        let (a, b) = (inst.args()[0], inst.args()[1]);
        let ty = self.f.ty(a);
        if ty.lane.is_float() {
            let (code, how) = codes::compare_floats(cmp, ty);
            let first = self.register(a);
            let to = self.define(v);
            let draft = Draft::new(code).def(to, Form::V).use_(first, Form::V);
            let draft = self.last(draft, b);
            return self.push(draft.imm8(how));
        }
        let (equal, greater) = codes::compare_lanes(ty.lane);
        match cmp {
            Cmp::Eq => self.two(v, equal, a, b),
            _ => {
                // Less is greater the other way around.
                let (left, right) = (self.register(b), self.register(a));
                let to = self.define(v);
                self.push(Draft::new(greater).def(to, Form::V).use_(left, Form::V).use_(right, Form::V));
            }
        }
    }

    /// A mask for a scalar float, from a truth value; with AVX-512, bits.
    fn select_mask(&mut self, cond: Value, ty: Ty) -> VReg {
        let compared = self.f.inst(cond);
        if self.needs.inside[cond.index()]
            && matches!(compared.op, Op::Cmp(_))
            && self.f.ty(compared.args()[0]) == ty
        {
            return self.float_mask(cond);
        }
        let truth = self.register(cond);
        let wide = ty.lane == Lane::F64 || self.machine.isa == Isa::Avx512;
        let mask = self.mask_of(truth, wide);
        match self.machine.isa {
            Isa::Avx2 { .. } => self.moved_to_vector(mask, wide),
            Isa::Avx512 => self.moved_to_bits(mask),
        }
    }

    /// Scalars are blended as the vectors that they are the first lanes of.
    fn blend(&mut self, v: Value, mask: VReg, a: Value, b: Value) {
        let code = codes::blend(self.f.ty(v).lane);
        let (a, b) = (self.register(a), self.register(b));
        let to = self.define(v);
        let draft = Draft::new(code).def(to, Form::V).use_(b, Form::V).use_(a, Form::V);
        self.push(draft.use_(mask, Form::V));
    }

    /// A blend of lanes of 32 or 64 bits by a mask that is known: by a number in the instruction.
    fn blend_by_number(&mut self, v: Value) -> bool {
        let inst = *self.f.inst(v);
        let (mask, a, b) = (root(self.f, inst.args()[0]), inst.args()[1], inst.args()[2]);
        let code = match inst.ty.lane.bytes() {
            4 => Code::VEX_Vblendps_ymm_ymm_ymmm256_imm8,
            8 => Code::VEX_Vblendpd_ymm_ymm_ymmm256_imm8,
            _ => return false,
        };
        if !self.f.inst(mask).op.is_constant() {
            return false;
        }
        let lanes = self.constant_bytes(mask);
        let lanes = lanes.chunks(inst.ty.lane.bytes()).enumerate();
        let number = lanes.map(|(n, lane)| u8::from(lane[0] != 0) << n).sum();
        let (a, b) = (self.register(a), self.register(b));
        let to = self.define(v);
        let draft = Draft::new(code).def(to, Form::V).use_(b, Form::V).use_(a, Form::V);
        self.push(draft.imm8(number));
        true
    }

    fn truncate(&mut self, v: Value, signed: bool) {
        let inst = *self.f.inst(v);
        let from = self.f.ty(inst.args()[0]);
        let source = self.register(inst.args()[0]);
        let to = self.define(v);
        let code = match (from.is_vector(), from.lane, inst.ty.lane) {
            (true, ..) if signed => Code::VEX_Vcvttps2dq_ymm_ymmm256,
            (true, ..) => Code::EVEX_Vcvttps2udq_zmm_k1z_zmmm512b32_sae,
            (_, Lane::F32, Lane::I32) => Code::VEX_Vcvttss2si_r32_xmmm32,
            (_, Lane::F32, _) => Code::VEX_Vcvttss2si_r64_xmmm32,
            (_, _, Lane::I32) => Code::VEX_Vcvttsd2si_r32_xmmm64,
            _ => Code::VEX_Vcvttsd2si_r64_xmmm64,
        };
        self.push(Draft::new(code).def(to, Self::form(inst.ty)).use_(source, Self::form(from)));
    }

    fn converted_int(&mut self, v: Value, signed: bool) {
        let inst = *self.f.inst(v);
        let from = self.f.ty(inst.args()[0]);
        let source = self.register(inst.args()[0]);
        if from.is_vector() {
            let to = self.define(v);
            let code = match signed {
                true => Code::VEX_Vcvtdq2ps_ymm_ymmm256,
                false => Code::EVEX_Vcvtudq2ps_zmm_k1z_zmmm512b32_er,
            };
            return self.push(Draft::new(code).def(to, Form::V).use_(source, Form::V));
        }
        let code = match (from.lane, inst.ty.lane) {
            (Lane::I64, Lane::F32) => Code::VEX_Vcvtsi2ss_xmm_xmm_rm64,
            (Lane::I64, _) => Code::VEX_Vcvtsi2sd_xmm_xmm_rm64,
            (_, Lane::F32) => Code::VEX_Vcvtsi2ss_xmm_xmm_rm32,
            _ => Code::VEX_Vcvtsi2sd_xmm_xmm_rm32,
        };
        // The upper lanes come from a register that nothing has to be waited for.
        let zero = self.fresh_vector();
        self.zero(zero);
        let to = self.define(v);
        let draft = Draft::new(code).def(to, Form::X).use_(zero, Form::X);
        self.push(draft.use_(source, Self::form(from)));
    }
}

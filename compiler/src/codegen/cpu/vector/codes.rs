//! Which instruction does what, on 256-bit vectors and on scalars in vector registers (AVX2 and FMA); and those that are
//! in AVX-512 only.

use iced_x86::Code;

use super::super::ssa::{Bin, Cmp, Lane, Ty, Un};
use super::ir::Negated;
use super::mach::Form;

/// What the flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    E,
    Ne,
    L,
    Ge,
    Le,
    G,
    B,
    Ae,
    Be,
    A,
    S,
    Ns,
}

/// An operator on floats, or on vectors of integers.
pub(super) fn binary(op: Bin, ty: Ty) -> Option<Code> {
    use Code as C;
    use Lane as L;
    Some(match (op, ty.lane, ty.is_vector()) {
        (Bin::Add, L::F32, true) => C::VEX_Vaddps_ymm_ymm_ymmm256,
        (Bin::Add, L::F64, true) => C::VEX_Vaddpd_ymm_ymm_ymmm256,
        (Bin::Add, L::F32, false) => C::VEX_Vaddss_xmm_xmm_xmmm32,
        (Bin::Add, L::F64, false) => C::VEX_Vaddsd_xmm_xmm_xmmm64,
        (Bin::Sub, L::F32, true) => C::VEX_Vsubps_ymm_ymm_ymmm256,
        (Bin::Sub, L::F64, true) => C::VEX_Vsubpd_ymm_ymm_ymmm256,
        (Bin::Sub, L::F32, false) => C::VEX_Vsubss_xmm_xmm_xmmm32,
        (Bin::Sub, L::F64, false) => C::VEX_Vsubsd_xmm_xmm_xmmm64,
        (Bin::Mul, L::F32, true) => C::VEX_Vmulps_ymm_ymm_ymmm256,
        (Bin::Mul, L::F64, true) => C::VEX_Vmulpd_ymm_ymm_ymmm256,
        (Bin::Mul, L::F32, false) => C::VEX_Vmulss_xmm_xmm_xmmm32,
        (Bin::Mul, L::F64, false) => C::VEX_Vmulsd_xmm_xmm_xmmm64,
        (Bin::Div, L::F32, true) => C::VEX_Vdivps_ymm_ymm_ymmm256,
        (Bin::Div, L::F64, true) => C::VEX_Vdivpd_ymm_ymm_ymmm256,
        (Bin::Div, L::F32, false) => C::VEX_Vdivss_xmm_xmm_xmmm32,
        (Bin::Div, L::F64, false) => C::VEX_Vdivsd_xmm_xmm_xmmm64,
        (_, _, false) => return None,
        (Bin::Add, L::I8, _) => C::VEX_Vpaddb_ymm_ymm_ymmm256,
        (Bin::Add, L::I16, _) => C::VEX_Vpaddw_ymm_ymm_ymmm256,
        (Bin::Add, L::I32, _) => C::VEX_Vpaddd_ymm_ymm_ymmm256,
        (Bin::Add, L::I64, _) => C::VEX_Vpaddq_ymm_ymm_ymmm256,
        (Bin::Sub, L::I8, _) => C::VEX_Vpsubb_ymm_ymm_ymmm256,
        (Bin::Sub, L::I16, _) => C::VEX_Vpsubw_ymm_ymm_ymmm256,
        (Bin::Sub, L::I32, _) => C::VEX_Vpsubd_ymm_ymm_ymmm256,
        (Bin::Sub, L::I64, _) => C::VEX_Vpsubq_ymm_ymm_ymmm256,
        (Bin::Mul, L::I16, _) => C::VEX_Vpmullw_ymm_ymm_ymmm256,
        (Bin::Mul, L::I32, _) => C::VEX_Vpmulld_ymm_ymm_ymmm256,
        (Bin::Mul, L::I64, _) => C::EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64,
        (Bin::And, ..) => C::VEX_Vpand_ymm_ymm_ymmm256,
        (Bin::Or, ..) => C::VEX_Vpor_ymm_ymm_ymmm256,
        (Bin::Xor, ..) => C::VEX_Vpxor_ymm_ymm_ymmm256,
        (Bin::SMin, L::I8, _) => C::VEX_Vpminsb_ymm_ymm_ymmm256,
        (Bin::SMin, L::I16, _) => C::VEX_Vpminsw_ymm_ymm_ymmm256,
        (Bin::SMin, L::I32, _) => C::VEX_Vpminsd_ymm_ymm_ymmm256,
        (Bin::SMax, L::I8, _) => C::VEX_Vpmaxsb_ymm_ymm_ymmm256,
        (Bin::SMax, L::I16, _) => C::VEX_Vpmaxsw_ymm_ymm_ymmm256,
        (Bin::SMax, L::I32, _) => C::VEX_Vpmaxsd_ymm_ymm_ymmm256,
        (Bin::UMin, L::I8, _) => C::VEX_Vpminub_ymm_ymm_ymmm256,
        (Bin::UMin, L::I16, _) => C::VEX_Vpminuw_ymm_ymm_ymmm256,
        (Bin::UMin, L::I32, _) => C::VEX_Vpminud_ymm_ymm_ymmm256,
        (Bin::UMax, L::I8, _) => C::VEX_Vpmaxub_ymm_ymm_ymmm256,
        (Bin::UMax, L::I16, _) => C::VEX_Vpmaxuw_ymm_ymm_ymmm256,
        (Bin::UMax, L::I32, _) => C::VEX_Vpmaxud_ymm_ymm_ymmm256,
        _ => return None,
    })
}

/// `a < b ? a : b`, and with `greater` `b < a ? a : b`.
pub(super) fn extreme(greater: bool, ty: Ty) -> Code {
    use Code as C;
    match (greater, ty.lane, ty.is_vector()) {
        (false, Lane::F32, true) => C::VEX_Vminps_ymm_ymm_ymmm256,
        (false, Lane::F32, false) => C::VEX_Vminss_xmm_xmm_xmmm32,
        (false, _, true) => C::VEX_Vminpd_ymm_ymm_ymmm256,
        (false, _, false) => C::VEX_Vminsd_xmm_xmm_xmmm64,
        (true, Lane::F32, true) => C::VEX_Vmaxps_ymm_ymm_ymmm256,
        (true, Lane::F32, false) => C::VEX_Vmaxss_xmm_xmm_xmmm32,
        (true, _, true) => C::VEX_Vmaxpd_ymm_ymm_ymmm256,
        (true, _, false) => C::VEX_Vmaxsd_xmm_xmm_xmmm64,
    }
}

/// An estimate of the reciprocal of an f32, or of its root; scalars take their operand twice.
pub(super) fn estimate(root: bool, vector: bool) -> Code {
    match (root, vector) {
        (false, true) => Code::EVEX_Vrcp14ps_zmm_k1z_zmmm512b32,
        (false, false) => Code::EVEX_Vrcp14ss_xmm_k1z_xmm_xmmm32,
        (true, true) => Code::EVEX_Vrsqrt14ps_zmm_k1z_zmmm512b32,
        (true, false) => Code::EVEX_Vrsqrt14ss_xmm_k1z_xmm_xmmm32,
    }
}

/// A product with a power of two.
pub(super) fn scale(ty: Ty) -> Code {
    match (ty.lane, ty.is_vector()) {
        (Lane::F32, true) => Code::EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er,
        (Lane::F32, false) => Code::EVEX_Vscalefss_xmm_k1z_xmm_xmmm32_er,
        (_, true) => Code::EVEX_Vscalefpd_zmm_k1z_zmm_zmmm512b64_er,
        (_, false) => Code::EVEX_Vscalefsd_xmm_k1z_xmm_xmmm64_er,
    }
}

/// The smaller or the greater of two, by value or by magnitude, with the sign of either.
pub(super) fn range(ty: Ty) -> Code {
    match (ty.lane, ty.is_vector()) {
        (Lane::F32, true) => Code::EVEX_Vrangeps_zmm_k1z_zmm_zmmm512b32_imm8_sae,
        (Lane::F32, false) => Code::EVEX_Vrangess_xmm_k1z_xmm_xmmm32_imm8_sae,
        (_, true) => Code::EVEX_Vrangepd_zmm_k1z_zmm_zmmm512b64_imm8_sae,
        (_, false) => Code::EVEX_Vrangesd_xmm_k1z_xmm_xmmm64_imm8_sae,
    }
}

/// The exponent as a float, or the significand.
pub(super) fn part(significand: bool, ty: Ty) -> Code {
    use Code as C;
    match (significand, ty.lane, ty.is_vector()) {
        (false, Lane::F32, true) => C::EVEX_Vgetexpps_zmm_k1z_zmmm512b32_sae,
        (false, Lane::F32, false) => C::EVEX_Vgetexpss_xmm_k1z_xmm_xmmm32_sae,
        (false, _, true) => C::EVEX_Vgetexppd_zmm_k1z_zmmm512b64_sae,
        (false, _, false) => C::EVEX_Vgetexpsd_xmm_k1z_xmm_xmmm64_sae,
        (true, Lane::F32, true) => C::EVEX_Vgetmantps_zmm_k1z_zmmm512b32_imm8_sae,
        (true, Lane::F32, false) => C::EVEX_Vgetmantss_xmm_k1z_xmm_xmmm32_imm8_sae,
        (true, _, true) => C::EVEX_Vgetmantpd_zmm_k1z_zmmm512b64_imm8_sae,
        (true, _, false) => C::EVEX_Vgetmantsd_xmm_k1z_xmm_xmmm64_imm8_sae,
    }
}

/// A shift of vector lanes: by a constant, and by the low 64 bits of a vector register.
pub(super) fn shift(op: Bin, lane: Lane) -> Option<(Code, Code)> {
    use Code as C;
    Some(match (op, lane) {
        (Bin::Shl, Lane::I16) => (C::VEX_Vpsllw_ymm_ymm_imm8, C::VEX_Vpsllw_ymm_ymm_xmmm128),
        (Bin::Shl, Lane::I32) => (C::VEX_Vpslld_ymm_ymm_imm8, C::VEX_Vpslld_ymm_ymm_xmmm128),
        (Bin::Shl, Lane::I64) => (C::VEX_Vpsllq_ymm_ymm_imm8, C::VEX_Vpsllq_ymm_ymm_xmmm128),
        (Bin::UShr, Lane::I16) => (C::VEX_Vpsrlw_ymm_ymm_imm8, C::VEX_Vpsrlw_ymm_ymm_xmmm128),
        (Bin::UShr, Lane::I32) => (C::VEX_Vpsrld_ymm_ymm_imm8, C::VEX_Vpsrld_ymm_ymm_xmmm128),
        (Bin::UShr, Lane::I64) => (C::VEX_Vpsrlq_ymm_ymm_imm8, C::VEX_Vpsrlq_ymm_ymm_xmmm128),
        (Bin::SShr, Lane::I16) => (C::VEX_Vpsraw_ymm_ymm_imm8, C::VEX_Vpsraw_ymm_ymm_xmmm128),
        (Bin::SShr, Lane::I32) => (C::VEX_Vpsrad_ymm_ymm_imm8, C::VEX_Vpsrad_ymm_ymm_xmmm128),
        (Bin::SShr, Lane::I64) => {
            (C::EVEX_Vpsraq_zmm_k1z_zmmm512b64_imm8, C::EVEX_Vpsraq_zmm_k1z_zmm_xmmm128)
        }
        _ => return None,
    })
}

/// Of so many bits, the flags: zero where none is set, carry where all are.
pub(super) fn test_bits(count: u8) -> Code {
    match count {
        64 => Code::VEX_Kortestq_kr_kr,
        32 => Code::VEX_Kortestd_kr_kr,
        16 => Code::VEX_Kortestw_kr_kr,
        _ => Code::VEX_Kortestb_kr_kr,
    }
}

/// A shift of 32-bit lanes, each by a count of its own.
pub(super) fn shift_each(op: Bin) -> Code {
    match op {
        Bin::Shl => Code::VEX_Vpsllvd_ymm_ymm_ymmm256,
        _ => Code::VEX_Vpsrlvd_ymm_ymm_ymmm256,
    }
}

/// An operator on general registers: on 32 and 64 bits with a register or memory, and with a constant.
pub(super) fn general(op: Bin, wide: bool) -> Option<(Code, Code)> {
    use Code as C;
    Some(match (op, wide) {
        (Bin::Add, false) => (C::Add_r32_rm32, C::Add_rm32_imm32),
        (Bin::Add, true) => (C::Add_r64_rm64, C::Add_rm64_imm32),
        (Bin::Sub, false) => (C::Sub_r32_rm32, C::Sub_rm32_imm32),
        (Bin::Sub, true) => (C::Sub_r64_rm64, C::Sub_rm64_imm32),
        (Bin::And, false) => (C::And_r32_rm32, C::And_rm32_imm32),
        (Bin::And, true) => (C::And_r64_rm64, C::And_rm64_imm32),
        (Bin::Or, false) => (C::Or_r32_rm32, C::Or_rm32_imm32),
        (Bin::Or, true) => (C::Or_r64_rm64, C::Or_rm64_imm32),
        (Bin::Xor, false) => (C::Xor_r32_rm32, C::Xor_rm32_imm32),
        (Bin::Xor, true) => (C::Xor_r64_rm64, C::Xor_rm64_imm32),
        (Bin::Mul, false) => (C::Imul_r32_rm32, C::Imul_r32_rm32_imm32),
        (Bin::Mul, true) => (C::Imul_r64_rm64, C::Imul_r64_rm64_imm32),
        _ => return None,
    })
}

/// A shift of a general register: by a constant and by `cl`.
pub(super) fn general_shift(op: Bin, wide: bool) -> (Code, Code) {
    use Code as C;
    match (op, wide) {
        (Bin::Shl, false) => (C::Shl_rm32_imm8, C::Shl_rm32_CL),
        (Bin::Shl, true) => (C::Shl_rm64_imm8, C::Shl_rm64_CL),
        (Bin::SShr, false) => (C::Sar_rm32_imm8, C::Sar_rm32_CL),
        (Bin::SShr, true) => (C::Sar_rm64_imm8, C::Sar_rm64_CL),
        (_, false) => (C::Shr_rm32_imm8, C::Shr_rm32_CL),
        (_, true) => (C::Shr_rm64_imm8, C::Shr_rm64_CL),
    }
}

/// A shift by a count in any register: BMI2.
pub(super) fn general_shift_by(op: Bin, wide: bool) -> Code {
    use Code as C;
    match (op, wide) {
        (Bin::Shl, false) => C::VEX_Shlx_r32_rm32_r32,
        (Bin::Shl, true) => C::VEX_Shlx_r64_rm64_r64,
        (Bin::SShr, false) => C::VEX_Sarx_r32_rm32_r32,
        (Bin::SShr, true) => C::VEX_Sarx_r64_rm64_r64,
        (_, false) => C::VEX_Shrx_r32_rm32_r32,
        (_, true) => C::VEX_Shrx_r64_rm64_r64,
    }
}

/// The forms of `Fma`: the sum in the first operand (231), a factor there and the sum last (213), a factor there and a
/// factor last (132).
pub(super) fn fma(ty: Ty, negated: Negated) -> [Code; 3] {
    use Code as C;
    match (ty.lane, ty.is_vector(), negated.product, negated.sum) {
        (Lane::F32, true, false, false) => [
            C::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
            C::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
            C::VEX_Vfmadd132ps_ymm_ymm_ymmm256,
        ],
        (Lane::F32, true, false, true) => [
            C::VEX_Vfmsub231ps_ymm_ymm_ymmm256,
            C::VEX_Vfmsub213ps_ymm_ymm_ymmm256,
            C::VEX_Vfmsub132ps_ymm_ymm_ymmm256,
        ],
        (Lane::F32, true, true, false) => [
            C::VEX_Vfnmadd231ps_ymm_ymm_ymmm256,
            C::VEX_Vfnmadd213ps_ymm_ymm_ymmm256,
            C::VEX_Vfnmadd132ps_ymm_ymm_ymmm256,
        ],
        (Lane::F32, true, true, true) => [
            C::VEX_Vfnmsub231ps_ymm_ymm_ymmm256,
            C::VEX_Vfnmsub213ps_ymm_ymm_ymmm256,
            C::VEX_Vfnmsub132ps_ymm_ymm_ymmm256,
        ],
        (Lane::F32, false, false, false) => [
            C::VEX_Vfmadd231ss_xmm_xmm_xmmm32,
            C::VEX_Vfmadd213ss_xmm_xmm_xmmm32,
            C::VEX_Vfmadd132ss_xmm_xmm_xmmm32,
        ],
        (Lane::F32, false, false, true) => [
            C::VEX_Vfmsub231ss_xmm_xmm_xmmm32,
            C::VEX_Vfmsub213ss_xmm_xmm_xmmm32,
            C::VEX_Vfmsub132ss_xmm_xmm_xmmm32,
        ],
        (Lane::F32, false, true, false) => [
            C::VEX_Vfnmadd231ss_xmm_xmm_xmmm32,
            C::VEX_Vfnmadd213ss_xmm_xmm_xmmm32,
            C::VEX_Vfnmadd132ss_xmm_xmm_xmmm32,
        ],
        (Lane::F32, false, true, true) => [
            C::VEX_Vfnmsub231ss_xmm_xmm_xmmm32,
            C::VEX_Vfnmsub213ss_xmm_xmm_xmmm32,
            C::VEX_Vfnmsub132ss_xmm_xmm_xmmm32,
        ],
        (_, true, false, false) => [
            C::VEX_Vfmadd231pd_ymm_ymm_ymmm256,
            C::VEX_Vfmadd213pd_ymm_ymm_ymmm256,
            C::VEX_Vfmadd132pd_ymm_ymm_ymmm256,
        ],
        (_, true, false, true) => [
            C::VEX_Vfmsub231pd_ymm_ymm_ymmm256,
            C::VEX_Vfmsub213pd_ymm_ymm_ymmm256,
            C::VEX_Vfmsub132pd_ymm_ymm_ymmm256,
        ],
        (_, true, true, false) => [
            C::VEX_Vfnmadd231pd_ymm_ymm_ymmm256,
            C::VEX_Vfnmadd213pd_ymm_ymm_ymmm256,
            C::VEX_Vfnmadd132pd_ymm_ymm_ymmm256,
        ],
        (_, true, true, true) => [
            C::VEX_Vfnmsub231pd_ymm_ymm_ymmm256,
            C::VEX_Vfnmsub213pd_ymm_ymm_ymmm256,
            C::VEX_Vfnmsub132pd_ymm_ymm_ymmm256,
        ],
        (_, false, false, false) => [
            C::VEX_Vfmadd231sd_xmm_xmm_xmmm64,
            C::VEX_Vfmadd213sd_xmm_xmm_xmmm64,
            C::VEX_Vfmadd132sd_xmm_xmm_xmmm64,
        ],
        (_, false, false, true) => [
            C::VEX_Vfmsub231sd_xmm_xmm_xmmm64,
            C::VEX_Vfmsub213sd_xmm_xmm_xmmm64,
            C::VEX_Vfmsub132sd_xmm_xmm_xmmm64,
        ],
        (_, false, true, false) => [
            C::VEX_Vfnmadd231sd_xmm_xmm_xmmm64,
            C::VEX_Vfnmadd213sd_xmm_xmm_xmmm64,
            C::VEX_Vfnmadd132sd_xmm_xmm_xmmm64,
        ],
        (_, false, true, true) => [
            C::VEX_Vfnmsub231sd_xmm_xmm_xmmm64,
            C::VEX_Vfnmsub213sd_xmm_xmm_xmmm64,
            C::VEX_Vfnmsub132sd_xmm_xmm_xmmm64,
        ],
    }
}

/// Rounding to integers, with the instruction's constant; scalars take their operand twice.
pub(super) fn round(op: Un, ty: Ty) -> Option<(Code, u8)> {
    use Code as C;
    let how = match op {
        Un::Nearest => 8,
        Un::Floor => 9,
        Un::Ceil => 10,
        Un::Trunc => 11,
        _ => return None,
    };
    let code = match (ty.lane, ty.is_vector()) {
        (Lane::F32, true) => C::VEX_Vroundps_ymm_ymmm256_imm8,
        (Lane::F32, false) => C::VEX_Vroundss_xmm_xmm_xmmm32_imm8,
        (_, true) => C::VEX_Vroundpd_ymm_ymmm256_imm8,
        (_, false) => C::VEX_Vroundsd_xmm_xmm_xmmm64_imm8,
    };
    Some((code, how))
}

pub(super) fn sqrt(ty: Ty) -> Code {
    match (ty.lane, ty.is_vector()) {
        (Lane::F32, true) => Code::VEX_Vsqrtps_ymm_ymmm256,
        (Lane::F32, false) => Code::VEX_Vsqrtss_xmm_xmm_xmmm32,
        (_, true) => Code::VEX_Vsqrtpd_ymm_ymmm256,
        (_, false) => Code::VEX_Vsqrtsd_xmm_xmm_xmmm64,
    }
}

/// Absolute values of integer lanes.
pub(super) fn abs(lane: Lane) -> Code {
    match lane {
        Lane::I8 => Code::VEX_Vpabsb_ymm_ymmm256,
        Lane::I16 => Code::VEX_Vpabsw_ymm_ymmm256,
        Lane::I64 => Code::EVEX_Vpabsq_zmm_k1z_zmmm512b64,
        _ => Code::VEX_Vpabsd_ymm_ymmm256,
    }
}

/// A comparison of floats as a mask, with the instruction's constant.
pub(super) fn compare_floats(cmp: Cmp, ty: Ty) -> (Code, u8) {
    use Code as C;
    let how = match cmp {
        Cmp::Eq => 0,
        Cmp::Ne => 4,
        Cmp::OrderedNe => 12,
        // Quiet, as the others.
        Cmp::Lt | Cmp::ULt => 17,
        Cmp::Le | Cmp::ULe => 18,
    };
    let code = match (ty.lane, ty.is_vector()) {
        (Lane::F32, true) => C::VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
        (Lane::F32, false) => C::VEX_Vcmpss_xmm_xmm_xmmm32_imm8,
        (_, true) => C::VEX_Vcmppd_ymm_ymm_ymmm256_imm8,
        (_, false) => C::VEX_Vcmpsd_xmm_xmm_xmmm64_imm8,
    };
    (code, how)
}

/// Equality, and greater with sign, of integer lanes.
pub(super) fn compare_lanes(lane: Lane) -> (Code, Code) {
    use Code as C;
    match lane {
        Lane::I8 => (C::VEX_Vpcmpeqb_ymm_ymm_ymmm256, C::VEX_Vpcmpgtb_ymm_ymm_ymmm256),
        Lane::I16 => (C::VEX_Vpcmpeqw_ymm_ymm_ymmm256, C::VEX_Vpcmpgtw_ymm_ymm_ymmm256),
        Lane::I64 => (C::VEX_Vpcmpeqq_ymm_ymm_ymmm256, C::VEX_Vpcmpgtq_ymm_ymm_ymmm256),
        _ => (C::VEX_Vpcmpeqd_ymm_ymm_ymmm256, C::VEX_Vpcmpgtd_ymm_ymm_ymmm256),
    }
}

/// A comparison of general registers: with a register, and with a constant of 8 bits or of up to 32.
pub(super) fn compare_general(lane: Lane) -> (Code, Code) {
    match lane {
        Lane::I8 => (Code::Cmp_r8_rm8, Code::Cmp_rm8_imm8),
        Lane::I16 => (Code::Cmp_r16_rm16, Code::Cmp_rm16_imm16),
        Lane::I64 => (Code::Cmp_r64_rm64, Code::Cmp_rm64_imm32),
        _ => (Code::Cmp_r32_rm32, Code::Cmp_rm32_imm32),
    }
}

/// What the flags say after integers were compared.
pub(super) fn condition(cmp: Cmp) -> Condition {
    match cmp {
        Cmp::Eq => Condition::E,
        Cmp::Ne | Cmp::OrderedNe => Condition::Ne,
        Cmp::Lt => Condition::L,
        Cmp::Le => Condition::Le,
        Cmp::ULt => Condition::B,
        Cmp::ULe => Condition::Be,
    }
}

/// Instructions that depend on the flags: byte, 32-bit move, 64-bit move, jump.
pub(super) fn conditional(cc: Condition) -> [Code; 4] {
    use Code as C;
    match cc {
        Condition::E => [C::Sete_rm8, C::Cmove_r32_rm32, C::Cmove_r64_rm64, C::Je_rel32_64],
        Condition::Ne => [C::Setne_rm8, C::Cmovne_r32_rm32, C::Cmovne_r64_rm64, C::Jne_rel32_64],
        Condition::L => [C::Setl_rm8, C::Cmovl_r32_rm32, C::Cmovl_r64_rm64, C::Jl_rel32_64],
        Condition::Le => [C::Setle_rm8, C::Cmovle_r32_rm32, C::Cmovle_r64_rm64, C::Jle_rel32_64],
        Condition::G => [C::Setg_rm8, C::Cmovg_r32_rm32, C::Cmovg_r64_rm64, C::Jg_rel32_64],
        Condition::Ge => [C::Setge_rm8, C::Cmovge_r32_rm32, C::Cmovge_r64_rm64, C::Jge_rel32_64],
        Condition::B => [C::Setb_rm8, C::Cmovb_r32_rm32, C::Cmovb_r64_rm64, C::Jb_rel32_64],
        Condition::Be => [C::Setbe_rm8, C::Cmovbe_r32_rm32, C::Cmovbe_r64_rm64, C::Jbe_rel32_64],
        Condition::A => [C::Seta_rm8, C::Cmova_r32_rm32, C::Cmova_r64_rm64, C::Ja_rel32_64],
        Condition::Ae => [C::Setae_rm8, C::Cmovae_r32_rm32, C::Cmovae_r64_rm64, C::Jae_rel32_64],
        Condition::Ns => [C::Setns_rm8, C::Cmovns_r32_rm32, C::Cmovns_r64_rm64, C::Jns_rel32_64],
        Condition::S => [C::Sets_rm8, C::Cmovs_r32_rm32, C::Cmovs_r64_rm64, C::Js_rel32_64],
    }
}

/// The opposite.
pub(super) fn opposite(cc: Condition) -> Condition {
    use Condition as C;
    match cc {
        C::E => C::Ne,
        C::Ne => C::E,
        C::L => C::Ge,
        C::Ge => C::L,
        C::Le => C::G,
        C::G => C::Le,
        C::B => C::Ae,
        C::Ae => C::B,
        C::Be => C::A,
        C::A => C::Be,
        C::S => C::Ns,
        C::Ns => C::S,
    }
}

/// A lane of a register or of memory in every lane; integers from a vector register.
pub(super) fn splat(lane: Lane) -> (Code, Code) {
    use Code as C;
    match lane {
        Lane::F32 => (C::VEX_Vbroadcastss_ymm_xmm, C::VEX_Vbroadcastss_ymm_m32),
        Lane::F64 => (C::VEX_Vbroadcastsd_ymm_xmm, C::VEX_Vbroadcastsd_ymm_m64),
        Lane::I8 => (C::VEX_Vpbroadcastb_ymm_xmmm8, C::VEX_Vpbroadcastb_ymm_xmmm8),
        Lane::I16 => (C::VEX_Vpbroadcastw_ymm_xmmm16, C::VEX_Vpbroadcastw_ymm_xmmm16),
        Lane::I32 => (C::VEX_Vpbroadcastd_ymm_xmmm32, C::VEX_Vpbroadcastd_ymm_xmmm32),
        Lane::I64 => (C::VEX_Vpbroadcastq_ymm_xmmm64, C::VEX_Vpbroadcastq_ymm_xmmm64),
    }
}

/// A general register in every lane, and how it is named.
pub(super) fn splat_general(lane: Lane) -> (Code, Form) {
    match lane.bytes() {
        1 => (Code::EVEX_Vpbroadcastb_zmm_k1z_r32, Form::R32),
        2 => (Code::EVEX_Vpbroadcastw_zmm_k1z_r32, Form::R32),
        4 => (Code::EVEX_Vpbroadcastd_zmm_k1z_r32, Form::R32),
        _ => (Code::EVEX_Vpbroadcastq_zmm_k1z_r64, Form::R64),
    }
}

/// Lanes of two vectors by number; the first one is written over.
pub(super) fn permute(lane: Lane) -> Code {
    match lane.bytes() {
        8 => Code::EVEX_Vpermt2pd_zmm_k1z_zmm_zmmm512b64,
        _ => Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32,
    }
}

/// Lanes of two vectors from a place on.
pub(super) fn align_lanes(lane: Lane) -> Code {
    match lane.bytes() {
        8 => Code::EVEX_Valignq_zmm_k1z_zmm_zmmm512b64_imm8,
        _ => Code::EVEX_Valignd_zmm_k1z_zmm_zmmm512b32_imm8,
    }
}

/// Integer lanes at half the width, wrapped; `lane` is the narrow one.
pub(super) fn narrow(lane: Lane) -> Code {
    match lane {
        Lane::I8 => Code::EVEX_Vpmovwb_ymmm256_k1z_zmm,
        Lane::I16 => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
        _ => Code::EVEX_Vpmovqd_ymmm256_k1z_zmm,
    }
}

/// A comparison of lanes as bits, with the instruction's constant.
pub(super) fn compare_bits(cmp: Cmp, ty: Ty) -> (Code, u8) {
    use Code as C;
    if ty.lane.is_float() {
        let (_, how) = compare_floats(cmp, ty);
        let code = match (ty.lane, ty.is_vector()) {
            (Lane::F32, true) => C::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae,
            (Lane::F32, false) => C::EVEX_Vcmpss_kr_k1_xmm_xmmm32_imm8_sae,
            (_, true) => C::EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae,
            (_, false) => C::EVEX_Vcmpsd_kr_k1_xmm_xmmm64_imm8_sae,
        };
        return (code, how);
    }
    let how = match cmp {
        Cmp::Eq => 0,
        Cmp::Lt | Cmp::ULt => 1,
        Cmp::Le | Cmp::ULe => 2,
        Cmp::Ne | Cmp::OrderedNe => 4,
    };
    let code = match (ty.lane.bytes(), matches!(cmp, Cmp::ULt | Cmp::ULe)) {
        (1, false) => C::EVEX_Vpcmpb_kr_k1_zmm_zmmm512_imm8,
        (1, true) => C::EVEX_Vpcmpub_kr_k1_zmm_zmmm512_imm8,
        (2, false) => C::EVEX_Vpcmpw_kr_k1_zmm_zmmm512_imm8,
        (2, true) => C::EVEX_Vpcmpuw_kr_k1_zmm_zmmm512_imm8,
        (4, false) => C::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8,
        (4, true) => C::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8,
        (_, false) => C::EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8,
        (_, true) => C::EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8,
    };
    (code, how)
}

/// Lanes of the last operand where bits are set, else of the one before.
pub(super) fn blend_bits(ty: Ty) -> Code {
    use Code as C;
    match (ty.lane, ty.is_vector()) {
        (Lane::F32, false) => C::EVEX_Vblendmps_xmm_k1z_xmm_xmmm128b32,
        (Lane::F64, false) => C::EVEX_Vblendmpd_xmm_k1z_xmm_xmmm128b64,
        (Lane::F32, _) => C::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32,
        (Lane::F64, _) => C::EVEX_Vblendmpd_zmm_k1z_zmm_zmmm512b64,
        (Lane::I8, _) => C::EVEX_Vpblendmb_zmm_k1z_zmm_zmmm512,
        (Lane::I16, _) => C::EVEX_Vpblendmw_zmm_k1z_zmm_zmmm512,
        (Lane::I32, _) => C::EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32,
        (Lane::I64, _) => C::EVEX_Vpblendmq_zmm_k1z_zmm_zmmm512b64,
    }
}

/// A load and a store by lanes, that bits may choose.
pub(super) fn moves_by_lane(lane: Lane) -> (Code, Code) {
    use Code as C;
    match lane.bytes() {
        1 => (C::EVEX_Vmovdqu8_zmm_k1z_zmmm512, C::EVEX_Vmovdqu8_zmmm512_k1z_zmm),
        2 => (C::EVEX_Vmovdqu16_zmm_k1z_zmmm512, C::EVEX_Vmovdqu16_zmmm512_k1z_zmm),
        4 => (C::EVEX_Vmovups_zmm_k1z_zmmm512, C::EVEX_Vmovups_zmmm512_k1z_zmm),
        _ => (C::EVEX_Vmovupd_zmm_k1z_zmmm512, C::EVEX_Vmovupd_zmmm512_k1z_zmm),
    }
}

/// All ones in lanes whose bits are set, and the bits of such lanes.
pub(super) fn spread(lane: Lane) -> (Code, Code) {
    use Code as C;
    match lane.bytes() {
        1 => (C::EVEX_Vpmovm2b_zmm_kr, C::EVEX_Vpmovb2m_kr_zmm),
        2 => (C::EVEX_Vpmovm2w_zmm_kr, C::EVEX_Vpmovw2m_kr_zmm),
        4 => (C::EVEX_Vpmovm2d_zmm_kr, C::EVEX_Vpmovd2m_kr_zmm),
        _ => (C::EVEX_Vpmovm2q_zmm_kr, C::EVEX_Vpmovq2m_kr_zmm),
    }
}

/// The lower half of integer lanes at twice the width; `lane` is the narrow one.
pub(super) fn widen(lane: Lane, signed: bool) -> Code {
    use Code as C;
    match (lane, signed) {
        (Lane::I8, true) => C::VEX_Vpmovsxbw_ymm_xmmm128,
        (Lane::I8, false) => C::VEX_Vpmovzxbw_ymm_xmmm128,
        (Lane::I16, true) => C::VEX_Vpmovsxwd_ymm_xmmm128,
        (Lane::I16, false) => C::VEX_Vpmovzxwd_ymm_xmmm128,
        (_, true) => C::VEX_Vpmovsxdq_ymm_xmmm128,
        (_, false) => C::VEX_Vpmovzxdq_ymm_xmmm128,
    }
}

/// The first quarter of a vector of bytes as 32 bits.
pub(super) fn widen_bytes(signed: bool) -> Code {
    if signed { Code::VEX_Vpmovsxbd_ymm_xmmm64 } else { Code::VEX_Vpmovzxbd_ymm_xmmm64 }
}

/// Lanes of 32 or 64 bits of two vectors in turn, from the lower or upper half of each 128 bits.
pub(super) fn unpack(lane: Lane, upper: bool) -> Code {
    match (lane.bytes(), upper) {
        (8, false) => Code::VEX_Vunpcklpd_ymm_ymm_ymmm256,
        (8, true) => Code::VEX_Vunpckhpd_ymm_ymm_ymmm256,
        (_, false) => Code::VEX_Vunpcklps_ymm_ymm_ymmm256,
        (_, true) => Code::VEX_Vunpckhps_ymm_ymm_ymmm256,
    }
}

/// Lanes of one vector where the mask's are set.
pub(super) fn blend(lane: Lane) -> Code {
    match lane {
        Lane::F32 | Lane::I32 => Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
        Lane::F64 | Lane::I64 => Code::VEX_Vblendvpd_ymm_ymm_ymmm256_ymm,
        Lane::I8 | Lane::I16 => Code::VEX_Vpblendvb_ymm_ymm_ymmm256_ymm,
    }
}

/// A load and a store of a value; integers of 8 and 16 bits are extended by zeros.
pub(super) fn moves(ty: Ty) -> (Code, Code) {
    use Code as C;
    match (ty.lane, ty.is_vector()) {
        (_, true) => (C::VEX_Vmovups_ymm_ymmm256, C::VEX_Vmovups_ymmm256_ymm),
        (Lane::F32, _) => (C::VEX_Vmovss_xmm_m32, C::VEX_Vmovss_m32_xmm),
        (Lane::F64, _) => (C::VEX_Vmovsd_xmm_m64, C::VEX_Vmovsd_m64_xmm),
        (Lane::I8, _) => (C::Movzx_r32_rm8, C::Mov_rm8_r8),
        (Lane::I16, _) => (C::Movzx_r32_rm16, C::Mov_rm16_r16),
        (Lane::I32, _) => (C::Mov_r32_rm32, C::Mov_rm32_r32),
        (Lane::I64, _) => (C::Mov_r64_rm64, C::Mov_rm64_r64),
    }
}

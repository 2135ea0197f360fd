//! One machine instruction in the encoder's form, after its registers were chosen.

use iced_x86::{Code, Instruction, OpKind, Register};
use regalloc2::Allocation;

use super::evex::evex;
use super::isa::Isa;
use super::mach::{Base, Form, Mem, Part};

/// The registers of an instruction's operands.
pub(super) type Allocs<'o> = &'o [Allocation];

/// An instruction of a set, and the constant that its address is to be filled in of.
pub(super) fn of(isa: Isa, code: Code, parts: &[Part], allocs: Allocs<'_>) -> (Instruction, Option<u32>) {
    let mut instruction = plain(encoded(isa, code, parts, allocs));
    let mut constant = None;
    let mut n = 0;
    for part in parts {
        let mut kind = |kind| instruction.set_op_kind(n, kind);
        match *part {
            Part::Reg(operand, form) => {
                kind(OpKind::Register);
                instruction.set_op_register(n, allocated(isa, allocs, operand, form));
            }
            Part::Masked { operand, zero } => {
                instruction.set_op_mask(allocated(isa, allocs, operand, Form::K));
                instruction.set_zeroing_masking(zero);
                continue;
            }
            Part::Cl => {
                kind(OpKind::Register);
                instruction.set_op_register(n, Register::CL);
            }
            Part::Imm8(v) => {
                kind(OpKind::Immediate8);
                instruction.set_immediate8(v);
            }
            Part::Imm32(v, Form::R64) => {
                kind(OpKind::Immediate32to64);
                instruction.set_immediate32to64(v.into());
            }
            Part::Imm32(v, _) => {
                kind(OpKind::Immediate32);
                instruction.set_immediate32(v as u32);
            }
            Part::Imm64(v) => {
                kind(OpKind::Immediate64);
                instruction.set_immediate64(v as u64);
            }
            Part::Mem(Mem { base: Base::Pool(pool), .. }) => {
                memory(&mut instruction, n, Register::RIP, None, 0);
                constant = Some(pool);
            }
            Part::Mem(Mem { base: Base::Operand(base), index, by_lanes, displacement, .. }) => {
                let base = allocated(isa, allocs, base, Form::R64);
                let form = if by_lanes { Form::V } else { Form::R64 };
                let index = index.map(|(i, scale)| (allocated(isa, allocs, i, form), u32::from(scale)));
                memory(&mut instruction, n, base, index, displacement.into());
            }
        }
        n += 1;
    }
    (instruction, constant)
}

/// How an instruction is encoded: of AVX-512 where it is on whole vectors, masked, or names a register that only such
/// ones have.
fn encoded(isa: Isa, code: Code, parts: &[Part], allocs: Allocs<'_>) -> Code {
    let wide = |part: &Part| match *part {
        Part::Reg(_, Form::V | Form::H) | Part::Masked { .. } => true,
        Part::Reg(operand, Form::X) => number(allocs, operand) >= 16,
        _ => false,
    };
    if isa == Isa::Avx512 && parts.iter().any(wide) { evex(code) } else { code }
}

/// An operand's register.
pub(super) fn allocated(isa: Isa, allocs: Allocs<'_>, operand: u8, form: Form) -> Register {
    register(isa, number(allocs, operand), form)
}

/// A register by its number in instructions.
pub(super) fn register(isa: Isa, n: usize, form: Form) -> Register {
    let n = n as u32;
    let wide = isa == Isa::Avx512;
    match form {
        Form::R8 if n < 4 => Register::AL + n,
        Form::R8 => Register::SPL + (n - 4),
        Form::R16 => Register::AX + n,
        Form::R32 => Register::EAX + n,
        Form::R64 => Register::RAX + n,
        Form::X => Register::XMM0 + n,
        Form::H if wide => Register::YMM0 + n,
        Form::H => Register::XMM0 + n,
        Form::V if wide => Register::ZMM0 + n,
        Form::V => Register::YMM0 + n,
        Form::K => Register::K0 + n,
    }
}

/// An instruction without operands.
pub(super) fn plain(code: Code) -> Instruction {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    instruction
}

/// Makes operand `n` an address.
pub(super) fn memory(
    instruction: &mut Instruction,
    n: u32,
    base: Register,
    index: Option<(Register, u32)>,
    displacement: i64,
) {
    instruction.set_op_kind(n, OpKind::Memory);
    instruction.set_memory_base(base);
    if let Some((index, scale)) = index {
        instruction.set_memory_index(index);
        instruction.set_memory_index_scale(scale);
    }
    instruction.set_memory_displacement64(displacement as u64);
    let size = match (base, displacement) {
        (Register::RIP, _) => 8,
        (_, 0) => 0,
        _ => 1,
    };
    instruction.set_memory_displ_size(size);
}

/// The number of an operand's register.
fn number(allocs: Allocs<'_>, operand: u8) -> usize {
    allocs.get(usize::from(operand)).and_then(|a| a.as_reg()).map_or(0, |r| r.hw_enc())
}

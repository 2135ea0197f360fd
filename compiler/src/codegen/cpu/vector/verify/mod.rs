//! Checks what each step of this generator hands to the next, in builds with assertions: the instructions in single
//! assignment ([`function`]), what of them became part of others ([`needs`]), the machine instructions on registers to be
//! chosen ([`machine`]) and the bytes ([`bytes`]). What the machine can do is taken from the encoder's description of the
//! instruction sets, not from the tables that selection uses.

mod bytes;
mod flags;
mod flow;
mod function;
mod instruction;
mod machine;
mod needs;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;

use iced_x86::CpuidFeature;

use super::isa::{Extras, Isa};
pub(super) use bytes::bytes;
pub(super) use function::function;
pub(super) use machine::machine;
pub(super) use needs::needs;

/// The instructions that a program may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) isa: Isa,
    pub(super) extras: Extras,
}

impl Set {
    /// Whether instructions of a feature are among them.
    fn has(self, feature: CpuidFeature) -> bool {
        use CpuidFeature as F;
        match feature {
            F::INTEL8086
            | F::INTEL186
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::CMOV
            | F::POPCNT
            | F::SSE => true,
            F::MULTIBYTENOP | F::AVX | F::AVX2 | F::FMA => true,
            F::F16C => self.isa.has_f16(),
            F::AVX512F | F::AVX512BW | F::AVX512DQ | F::AVX512VL | F::BMI2 => self.isa == Isa::Avx512,
            F::AVX512_VNNI => self.extras.dots,
            F::AVX512_VBMI => self.extras.multishift,
            _ => false,
        }
    }
}

/// What holds of every program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Blocks in the order of the code begin with the first one, stand there once, and end in one way.
    Blocks,
    /// What is recorded of ways, predecessors and dominators is what the jumps say.
    Ways,
    /// A value is defined once, and is where it is said to be.
    DefinedOnce,
    /// A value is defined before it is used, on all ways.
    DefinedBefore,
    /// A jump passes what the block's parameters take.
    Passed,
    /// An operation has as many operands as it takes.
    Count,
    /// Operands and values have the types that an operation takes and makes.
    Types,
    /// Bits of lanes are where bits are meant, and nowhere else; a register is of the kind that its name says.
    Class,
    /// The instruction set has it.
    Set,
    /// Numbers of lanes, pieces, shifts and constants are below what they count.
    Range,
    /// An access has an address, is of the bytes that are meant, and writes no constant memory.
    Memory,
    /// What is part of another instruction has one that takes it, and gives there what it would have given in its own place.
    Order,
    /// An instruction takes the operands that it is written with.
    Form,
    /// An instruction reads and writes what the allocator is told, and no other register.
    Access,
    /// Registers are fixed where an instruction wants them, and may be used.
    Fixed,
    /// Flags that are read are those of the comparison that was made for it.
    Flags,
    /// The bytes are instructions, and point to instructions and constants.
    Bytes,
}

impl Rule {
    fn text(self) -> &'static str {
        match self {
            Rule::Blocks => "blocks stand in the code once and end",
            Rule::Ways => "recorded ways are those of the jumps",
            Rule::DefinedOnce => "a value is defined once",
            Rule::DefinedBefore => "a value is defined before it is used, on all ways",
            Rule::Passed => "a jump passes what the block takes",
            Rule::Count => "an operation has as many operands as it takes",
            Rule::Types => "types are those that the operation takes and makes",
            Rule::Class => "registers are of the kind that is meant",
            Rule::Set => "the instruction set has it",
            Rule::Range => "numbers are in range",
            Rule::Memory => "an access is of the memory that is meant",
            Rule::Order => "what is part of another instruction is taken by it, and not moved past a write",
            Rule::Form => "an instruction takes the operands that it is written with",
            Rule::Access => "an instruction reads and writes what the allocator is told",
            Rule::Fixed => "registers are fixed where they must be",
            Rule::Flags => "flags are those of the comparison that is meant",
            Rule::Bytes => "bytes are instructions that point to instructions and constants",
        }
    }
}

/// A mistake of ours: which rule is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    /// The value or instruction, and what is wrong with it.
    pub(super) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; broken: {}", self.what, self.rule.text())
    }
}

/// Refuses what breaks a rule.
fn hold(holds: bool, rule: Rule, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { rule, what: what() }) }
}

//! The bytes of a function, read back.

use std::collections::HashSet;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::super::encode::Encoded;
use super::{Broken, Rule, Set, hold};

/// Checks what was encoded for an instruction set.
pub(in super::super) fn bytes(encoded: &Encoded, set: Set) -> Result<(), Broken> {
    hold(encoded.code <= encoded.bytes.len(), Rule::Bytes, || "code ends after its bytes".to_owned())?;
    let code = &encoded.bytes[..encoded.code];
    let all: Vec<Instruction> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().collect();
    let starts: HashSet<u64> = all.iter().map(Instruction::ip).collect();
    for instruction in &all {
        let what = || format!("at {:x}: {instruction}", instruction.ip());
        hold(!instruction.is_invalid(), Rule::Bytes, what)?;
        let lacking = instruction.cpuid_features().iter().find(|f| !set.has(**f));
        hold(lacking.is_none(), Rule::Set, || format!("{}, of {lacking:?}", what()))?;
        let near = matches!(instruction.op0_kind(), OpKind::NearBranch64) && instruction.op_count() > 0;
        hold(!near || starts.contains(&instruction.near_branch_target()), Rule::Bytes, what)?;
        if instruction.memory_base() == Register::RIP {
            let (at, size) = (instruction.ip_rel_memory_address(), instruction.memory_size().size() as u64);
            let fits = at >= encoded.code as u64 && at.saturating_add(size) <= encoded.bytes.len() as u64;
            hold(fits, Rule::Bytes, what)?;
        }
    }
    let ends = all.last().is_some_and(|i| i.flow_control() != iced_x86::FlowControl::Next);
    hold(ends, Rule::Bytes, || "the code runs on after its last instruction".to_owned())
}

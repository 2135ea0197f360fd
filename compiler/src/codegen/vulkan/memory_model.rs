//! The memory model of Vulkan, which modules with matrices must keep to. There accesses are a thread's private ones unless
//! they say that they are not, and barriers make visible only what is not private.

use std::collections::{HashMap, HashSet};

use rspirv::dr::{Instruction, Module, Operand};
use rspirv::spirv::{MemoryAccess, Op, StorageClass, Word};

/// Marks every access to memory that other threads see. What they never write loses nothing by it.
pub(super) fn share_accesses(module: &mut Module) {
    let shared = shared_pointers(module);
    let types: HashMap<Word, Word> =
        module.all_inst_iter().filter_map(|i| Some((i.result_id?, i.result_type?))).collect();
    let blocks = module.functions.iter_mut().flat_map(|f| &mut f.blocks);
    for instruction in blocks.flat_map(|b| &mut b.instructions) {
        let accesses = matches!(
            instruction.class.opcode,
            Op::Load | Op::Store | Op::CooperativeMatrixLoadKHR | Op::CooperativeMatrixStoreKHR
        );
        let Some(Operand::IdRef(pointer)) = instruction.operands.first() else { continue };
        if accesses && types.get(pointer).is_some_and(|ty| shared.contains(ty)) {
            not_private(instruction);
        }
    }
}

/// Types of pointers to memory that several threads have.
fn shared_pointers(module: &Module) -> HashSet<Word> {
    let classes = [StorageClass::Workgroup, StorageClass::PhysicalStorageBuffer].map(Operand::StorageClass);
    let pointers = module.types_global_values.iter().filter(|i| i.class.opcode == Op::TypePointer);
    let shared = pointers.filter(|i| i.operands.first().is_some_and(|class| classes.contains(class)));
    shared.filter_map(|i| i.result_id).collect()
}

fn not_private(instruction: &mut Instruction) {
    let mask = instruction.operands.iter_mut().find_map(|o| match o {
        Operand::MemoryAccess(mask) => Some(mask),
        _ => None,
    });
    match mask {
        Some(mask) => *mask |= MemoryAccess::NON_PRIVATE_POINTER,
        None => instruction.operands.push(Operand::MemoryAccess(MemoryAccess::NON_PRIVATE_POINTER)),
    }
}

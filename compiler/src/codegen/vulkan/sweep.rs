//! Takes away what nothing needs: integers that are computed and not used, and registers that are written twice in a row.
//! Drivers do so, too, but are handed less code.

use std::collections::{BTreeSet, HashMap, HashSet};

use rspirv::dr::{Block, Function, Instruction, Operand};
use rspirv::spirv::{Op, Word};

/// Sweeps a function.
pub(super) fn sweep(function: &mut Function) {
    let all = || function.blocks.iter().flat_map(|b| &b.instructions);
    let registers: HashSet<Word> =
        all().filter(|i| i.class.opcode == Op::Variable).filter_map(|i| i.result_id).collect();
    for block in &mut function.blocks {
        drop_lost_stores(block, &registers);
    }
    drop_unused(function);
}

/// Stores to a register that another one follows in the same block, without a read between.
fn drop_lost_stores(block: &mut Block, registers: &HashSet<Word>) {
    let (mut last, mut lost) = (HashMap::new(), BTreeSet::new());
    for (n, i) in block.instructions.iter().enumerate() {
        let mut operands = ids(i);
        if i.class.opcode == Op::Store
            && let Some(to) = operands.next().filter(|to| registers.contains(to))
        {
            lost.extend(last.insert(to, n));
        } else {
            ids(i).for_each(|id| {
                last.remove(&id);
            });
        }
    }
    let mut n = 0..;
    block.instructions.retain(|_| n.next().is_none_or(|n| !lost.contains(&n)));
}

/// Values without use, those that only such values use among them.
fn drop_unused(function: &mut Function) {
    let (mut uses, mut made) = (HashMap::<Word, u32>::new(), HashMap::new());
    for i in function.blocks.iter().flat_map(|b| &b.instructions) {
        ids(i).for_each(|id| *uses.entry(id).or_default() += 1);
        if let Some(id) = i.result_id.filter(|_| is_pure(i.class.opcode)) {
            made.insert(id, ids(i).collect::<Vec<Word>>());
        }
    }
    let unused = |uses: &HashMap<Word, u32>, id: Word| uses.get(&id).copied().unwrap_or(0) == 0;
    let mut work: Vec<Word> = made.keys().copied().filter(|&id| unused(&uses, id)).collect();
    let mut dropped = HashSet::new();
    while let Some(id) = work.pop() {
        dropped.insert(id);
        for &operand in made.get(&id).into_iter().flatten() {
            if let Some(n) = uses.get_mut(&operand) {
                *n -= 1;
            }
            if unused(&uses, operand) && made.contains_key(&operand) && !dropped.contains(&operand) {
                work.push(operand);
            }
        }
    }
    for block in &mut function.blocks {
        block.instructions.retain(|i| i.result_id.is_none_or(|id| !dropped.contains(&id)));
    }
}

fn ids(i: &Instruction) -> impl Iterator<Item = Word> {
    i.operands.iter().filter_map(|o| match o {
        Operand::IdRef(id) | Operand::IdScope(id) | Operand::IdMemorySemantics(id) => Some(*id),
        _ => None,
    })
}

/// Whether an instruction does nothing but give a value; of those without decorations that name it.
fn is_pure(op: Op) -> bool {
    matches!(
        op,
        Op::Load
            | Op::AccessChain
            | Op::ConvertUToPtr
            | Op::CompositeConstruct
            | Op::Bitcast
            | Op::UConvert
            | Op::SConvert
            | Op::IAdd
            | Op::ISub
            | Op::IMul
            | Op::BitwiseAnd
            | Op::ShiftLeftLogical
            | Op::ShiftRightLogical
            | Op::ShiftRightArithmetic
            | Op::SDot
            | Op::UDot
            | Op::SUDot
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(op: Op, id: Option<Word>, operands: &[Word]) -> Instruction {
        let operands = operands.iter().map(|&o| Operand::IdRef(o)).collect();
        Instruction::new(op, id.map(|_| 1), id, operands)
    }

    #[test]
    fn what_nothing_needs_goes() {
        // 10 and 11 are registers, 20 and 21 values from outside.
        let block = vec![
            make(Op::Variable, Some(10), &[]),
            make(Op::Variable, Some(11), &[]),
            make(Op::IMul, Some(30), &[20, 21]),
            make(Op::IAdd, Some(31), &[30, 20]),
            make(Op::Store, None, &[10, 31]),
            make(Op::IAdd, Some(32), &[20, 21]),
            make(Op::Store, None, &[11, 32]),
            make(Op::Store, None, &[10, 32]),
            make(Op::Load, Some(33), &[11]),
            make(Op::Store, None, &[11, 33]),
            make(Op::Load, Some(34), &[10]),
            make(Op::FAdd, Some(35), &[20, 20]),
            make(Op::Return, None, &[]),
        ];
        let mut f =
            Function { blocks: vec![Block { label: None, instructions: block }], ..Function::default() };
        sweep(&mut f);
        let left: Vec<Option<Word>> = f.blocks[0].instructions.iter().map(|i| i.result_id).collect();
        let want = [Some(10), Some(11), Some(32), None, None, Some(33), None, Some(35), None];
        assert_eq!(left, want);
    }
}

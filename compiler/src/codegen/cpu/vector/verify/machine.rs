//! Machine instructions on registers to be chosen, after selection: blocks, ways, and each register's one definition. What
//! an instruction takes is in [`super::instruction`], flags are in [`super::flags`].

use regalloc2::{
    Function as _, Inst, MachineEnv, Operand, OperandConstraint, OperandKind, OperandPos, RegClass, VReg,
};

use super::super::mach::{Kind, Machine, registers};
use super::super::select::Selected;
use super::flags::flags;
use super::flow::Dominators;
use super::instruction::Instructions;
use super::{Broken, Rule, Set, hold};

/// Checks selected instructions.
pub(in super::super) fn machine(selected: &Selected, set: Set) -> Result<(), Broken> {
    let machine = &selected.machine;
    blocks(machine)?;
    let succs: Vec<Vec<usize>> =
        machine.blocks.iter().map(|b| b.succs.iter().map(|s| s.index()).collect()).collect();
    let check = Check {
        machine,
        environment: registers(machine.isa),
        dominators: Dominators::of(&succs),
        places: definitions(machine)?,
    };
    let mut instructions = Instructions::new(selected, set);
    for n in 0..machine.blocks.len() {
        for i in insts(machine, n) {
            let operands = machine.inst_operands(Inst::new(i));
            check.operands(n, i, operands)?;
            instructions.check(&machine.insts[i].kind, operands).map_err(|e| place(machine, i, e))?;
        }
        check.passed(n)?;
        flags(machine, n, &mut instructions)?;
    }
    Ok(())
}

/// The instructions of a block.
pub(super) fn insts(machine: &Machine, block: usize) -> std::ops::Range<usize> {
    let (first, end) = machine.blocks[block].insts;
    first as usize..end as usize
}

/// An instruction, for messages.
pub(super) fn name(machine: &Machine, i: usize) -> String {
    let operands: Vec<String> = machine.inst_operands(Inst::new(i)).iter().map(ToString::to_string).collect();
    format!("instruction {i}, {:?} [{}]", machine.insts[i].kind, operands.join(", "))
}

fn place(machine: &Machine, i: usize, e: Broken) -> Broken {
    Broken { rule: e.rule, what: format!("{}: {}", name(machine, i), e.what) }
}

/// Blocks end as they say, and come from where they say.
fn blocks(machine: &Machine) -> Result<(), Broken> {
    let count = machine.blocks.len();
    hold(count > 0, Rule::Blocks, || "there is no block".to_owned())?;
    let mut preds = vec![Vec::new(); count];
    let mut written = 0;
    for (n, block) in machine.blocks.iter().enumerate() {
        let insts = insts(machine, n);
        hold(insts.start == written && insts.end <= machine.insts.len(), Rule::Blocks, || {
            format!("block {n} is of instructions {insts:?}, after {written}")
        })?;
        written = insts.end;
        for i in insts.clone() {
            let ways = match machine.insts[i].kind {
                Kind::Return => Some(0),
                Kind::Jump => Some(1),
                Kind::Branch(_) => Some(2),
                _ => None,
            };
            let last = i + 1 == insts.end;
            hold(ways.is_some() == last, Rule::Blocks, || format!("{} in block {n}", name(machine, i)))?;
            let taken = block.succs.len();
            hold(!last || ways == Some(taken) && block.args.len() == taken, Rule::Blocks, || {
                format!("{} ends block {n}, from which {taken} ways lead", name(machine, i))
            })?;
        }
        hold(!insts.is_empty(), Rule::Blocks, || format!("block {n} has no end"))?;
        for to in &block.succs {
            hold(to.index() < count, Rule::Blocks, || format!("block {n} jumps to {}", to.index()))?;
            preds[to.index()].push(n);
        }
    }
    for (n, block) in machine.blocks.iter().enumerate() {
        let mut recorded: Vec<usize> = block.preds.iter().map(|p| p.index()).collect();
        recorded.sort_unstable();
        hold(recorded == preds[n], Rule::Ways, || {
            format!("block {n} is come to from {:?}, not from {recorded:?}", preds[n])
        })?;
        let is_loop = preds[n].iter().any(|p| *p >= n);
        hold(block.is_loop == is_loop, Rule::Ways, || format!("whether block {n} is a loop"))?;
        // What is passed is moved at the end of the one or at the start of the other.
        let joined = |to: &regalloc2::Block| preds[to.index()].len() > 1;
        hold(block.succs.len() < 2 || !block.succs.iter().any(joined), Rule::Ways, || {
            format!("block {n} branches to one that is come to from elsewhere")
        })?;
    }
    let first = &machine.blocks[0];
    hold(first.params.is_empty() && first.preds.is_empty(), Rule::Blocks, || {
        "the first block is jumped to".to_owned()
    })
}

/// Where each register is defined: its block, and its instruction there; of parameters, `None`.
type Places = Vec<Option<(usize, Option<usize>, RegClass)>>;

fn definitions(machine: &Machine) -> Result<Places, Broken> {
    let mut places: Places = vec![None; machine.num_vregs()];
    let mut define = |v: VReg, block: usize, i: Option<usize>| {
        let known = v.vreg() < places.len();
        let again = known && places[v.vreg()].replace((block, i, v.class())).is_some();
        hold(known && !again, Rule::DefinedOnce, || match i {
            Some(i) => format!("{v} is defined by {}", name(machine, i)),
            None => format!("{v} is a parameter of block {block}"),
        })
    };
    for (n, block) in machine.blocks.iter().enumerate() {
        block.params.iter().try_for_each(|v| define(*v, n, None))?;
        for i in insts(machine, n) {
            let operands = machine.inst_operands(Inst::new(i)).iter();
            let mut defined = operands.filter(|o| o.kind() == OperandKind::Def);
            defined.try_for_each(|o| define(o.vreg(), n, Some(i)))?;
        }
    }
    Ok(places)
}

struct Check<'m> {
    machine: &'m Machine,
    environment: MachineEnv,
    dominators: Dominators,
    places: Places,
}

impl Check<'_> {
    /// A register that instruction `i` of a block uses.
    fn defined(&self, v: VReg, block: usize, i: usize) -> Result<(), Broken> {
        let found = self.places.get(v.vreg()).copied().flatten();
        let known = match found {
            None => false,
            Some((home, at, _)) if home == block => at.is_none_or(|at| at < i),
            Some((home, ..)) => !self.dominators.is_reached(block) || self.dominators.dominates(home, block),
        };
        hold(known, Rule::DefinedBefore, || format!("{} uses {v}", name(self.machine, i)))?;
        let class = found.map(|(.., class)| class);
        hold(class == Some(v.class()), Rule::Class, || {
            format!("{} uses {v}, which was defined as {class:?}", name(self.machine, i))
        })
    }

    fn operands(&self, block: usize, i: usize, operands: &[Operand]) -> Result<(), Broken> {
        let what = || name(self.machine, i);
        let env = &self.environment;
        let usable = |class: RegClass| {
            let sets = [&env.preferred_regs_by_class, &env.non_preferred_regs_by_class];
            sets.iter().any(|s| !s[class as usize].is_empty(class))
        };
        let mut reused = Vec::new();
        for operand in operands {
            let v = operand.vreg();
            hold(usable(v.class()), Rule::Set, || format!("{} of {v}", what()))?;
            if operand.kind() == OperandKind::Use {
                self.defined(v, block, i)?;
            }
            match operand.constraint() {
                OperandConstraint::Reg => {}
                OperandConstraint::FixedReg(fixed) => {
                    let class = fixed.class() as usize;
                    let free = env.preferred_regs_by_class[class].contains(fixed)
                        || env.non_preferred_regs_by_class[class].contains(fixed);
                    hold(free && fixed.class() == v.class(), Rule::Fixed, || {
                        format!("{} wants {fixed} for {v}", what())
                    })?;
                }
                OperandConstraint::Reuse(of) => {
                    let once = !reused.contains(&of);
                    reused.push(of);
                    let fits = operands.get(of).is_some_and(|o| {
                        o.kind() == OperandKind::Use
                            && o.pos() == OperandPos::Early
                            && o.constraint() == OperandConstraint::Reg
                            && o.class() == v.class()
                    });
                    hold(once && fits && operand.kind() == OperandKind::Def, Rule::Fixed, || {
                        format!("{}: {v} is in the register of operand {of}", what())
                    })?;
                }
                other => hold(false, Rule::Fixed, || format!("{}: {v} is {other}", what()))?,
            }
        }
        Ok(())
    }

    /// What a block passes to those after it.
    fn passed(&self, n: usize) -> Result<(), Broken> {
        let block = &self.machine.blocks[n];
        let last = insts(self.machine, n).end - 1;
        for (to, args) in block.succs.iter().zip(&block.args) {
            let params = &self.machine.blocks[to.index()].params;
            let fits = params.len() == args.len()
                && args.iter().zip(params).all(|(arg, param)| arg.class() == param.class());
            hold(fits, Rule::Passed, || {
                format!("block {n} passes {args:?} to block {}, which takes {params:?}", to.index())
            })?;
            args.iter().try_for_each(|v| self.defined(*v, n, last))?;
        }
        Ok(())
    }
}

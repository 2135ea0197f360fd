//! The body of a function: blocks, and values that are computed once.
//!
//! A *scope* is what one branch or loop encloses. A pure value is looked up before it is computed: what an enclosing
//! scope holds is good, since its block comes before. Integer arithmetic goes to the outermost scope that holds its
//! operands, so that addresses are computed outside the loops that do not change them.

use std::collections::HashMap;

use rspirv::dr::{self, Instruction, Operand};
use rspirv::spirv::{
    Decoration, FunctionControl, LoopControl, MemoryAccess, Op, SelectionControl, StorageClass, Word,
};

use super::module::{Key, Module};
use super::sweep::sweep;

/// Something in memory that does not overlap with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Region {
    /// A buffer slot of the launch.
    Slot(u32),
    /// The memory, or the registers, of a buffer.
    Buffer(usize),
    /// A register.
    Register(Word),
}

#[derive(Debug)]
struct Block {
    label: Word,
    instructions: Vec<Instruction>,
    /// A merge instruction and a branch.
    end: Vec<Instruction>,
}

#[derive(Debug, Default)]
struct Scope {
    values: HashMap<Key, Word>,
    /// What memory is known to hold: by pointer, with the time that it was read or written.
    memory: HashMap<Word, (Word, u64)>,
    /// The block in front of the scope, which is the last one so far of the enclosing scope.
    front: usize,
}

/// A loop in the making.
#[derive(Debug)]
pub(super) struct Loop {
    header: usize,
    next: Word,
    merge: Word,
    /// The counter's value in this pass.
    pub(super) counter: Word,
}

/// A branch in the making.
#[derive(Debug)]
pub(super) struct Branch {
    otherwise: Word,
    merge: Word,
}

/// A function in the making.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) module: Module,
    blocks: Vec<Block>,
    variables: Vec<Instruction>,
    scopes: Vec<Scope>,
    /// Number of the scope that holds each value; 0 for what is outside functions.
    homes: HashMap<Word, usize>,
    written: HashMap<Region, u64>,
    clock: u64,
    /// Loops around.
    loops: usize,
    /// Whether something better took the place of values.
    dead: bool,
}

impl Code {
    pub(super) fn new(module: Module) -> Code {
        Code {
            module,
            blocks: Vec::new(),
            variables: Vec::new(),
            scopes: Vec::new(),
            homes: HashMap::new(),
            written: HashMap::new(),
            clock: 0,
            loops: 0,
            dead: false,
        }
    }

    /// Starts a function.
    pub(super) fn begin(&mut self) {
        self.blocks.clear();
        self.variables.clear();
        self.homes.clear();
        self.written.clear();
        (self.loops, self.dead) = (0, false);
        self.scopes = vec![Scope::default()];
        let label = self.module.id();
        self.open_block(label);
    }

    /// Ends the function, an entry point.
    pub(super) fn finish(&mut self, name: &str, threads: u32) {
        self.end_block(vec![Instruction::new(Op::Return, None, None, Vec::new())]);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in self.blocks.drain(..) {
            let label = Instruction::new(Op::Label, None, Some(block.label), Vec::new());
            let mut instructions = std::mem::take(&mut self.variables);
            instructions.extend(block.instructions);
            instructions.extend(block.end);
            blocks.push(dr::Block { label: Some(label), instructions });
        }
        let (void, ty, id) = (self.module.void(), self.module.entry_type(), self.module.id());
        let def = vec![Operand::FunctionControl(FunctionControl::NONE), Operand::IdRef(ty)];
        let mut function = dr::Function {
            def: Some(Instruction::new(Op::Function, Some(void), Some(id), def)),
            end: Some(Instruction::new(Op::FunctionEnd, None, None, Vec::new())),
            parameters: Vec::new(),
            blocks,
        };
        if self.dead {
            sweep(&mut function);
        }
        self.module.entry(name, function, threads);
    }

    fn open_block(&mut self, label: Word) {
        self.blocks.push(Block { label, instructions: Vec::new(), end: Vec::new() });
    }

    fn end_block(&mut self, end: Vec<Instruction>) {
        if let Some(block) = self.blocks.last_mut() {
            block.end = end;
        }
    }

    fn innermost(&self) -> usize {
        self.scopes.len().saturating_sub(1)
    }

    fn home(&self, id: Word) -> usize {
        self.homes.get(&id).copied().unwrap_or(0)
    }

    /// How deep a value's scope is nested: what loops change is deeper.
    pub(super) fn depth(&self, id: Word) -> usize {
        self.home(id)
    }

    /// Writes an instruction with a result to a scope.
    fn emit(&mut self, scope: usize, op: Op, ty: Word, operands: Vec<Operand>) -> Word {
        let id = self.module.id();
        let at = match self.scopes.get(scope + 1) {
            Some(inner) => inner.front,
            None => self.blocks.len().saturating_sub(1),
        };
        let instruction = Instruction::new(op, Some(ty), Some(id), operands);
        if let Some(block) = self.blocks.get_mut(at) {
            block.instructions.push(instruction);
        }
        self.homes.insert(id, scope);
        id
    }

    fn known(&self, key: &Key) -> Option<Word> {
        self.scopes.iter().rev().find_map(|s| s.values.get(key).copied())
    }

    /// A pure value, in scope `scope` or wherever it is known already.
    fn value_in(&mut self, scope: usize, op: Op, ty: Word, operands: Vec<Operand>) -> Word {
        let key = (op, ty, operands);
        if let Some(id) = self.known(&key) {
            return id;
        }
        let id = self.emit(scope, op, ty, key.2.clone());
        if let Some(s) = self.scopes.get_mut(scope) {
            s.values.insert(key, id);
        }
        // Mesa's drivers take a conversion to a narrower type and back for none, too, unless they are told.
        if matches!(op, Op::FAdd | Op::FSub | Op::FMul | Op::FDiv | Op::FNegate | Op::FConvert) {
            self.module.decorate(id, Decoration::NoContraction, None);
        }
        id
    }

    /// A pure value of other values.
    pub(super) fn value(&mut self, op: Op, ty: Word, operands: &[Word]) -> Word {
        let scope = if moves(op) {
            operands.iter().map(|&o| self.home(o)).max().unwrap_or(0)
        } else {
            self.innermost()
        };
        let operands = operands.iter().map(|&o| Operand::IdRef(o)).collect();
        self.value_in(scope, op, ty, operands)
    }

    /// Where `op` is dangerous for some operands it stays in its scope.
    pub(super) fn value_here(&mut self, op: Op, ty: Word, operands: &[Word]) -> Word {
        let operands = operands.iter().map(|&o| Operand::IdRef(o)).collect();
        self.value_in(self.innermost(), op, ty, operands)
    }

    /// A value of other values and a literal.
    pub(super) fn value_with(&mut self, op: Op, ty: Word, operands: &[Word], literal: Operand) -> Word {
        let operands = operands.iter().map(|&o| Operand::IdRef(o)).chain([literal]).collect();
        self.value_in(self.innermost(), op, ty, operands)
    }

    /// A composite value, in the outermost scope that holds its parts.
    pub(super) fn composite(&mut self, ty: Word, parts: &[Word]) -> Word {
        let scope = parts.iter().map(|&p| self.home(p)).max().unwrap_or(0);
        let operands = parts.iter().map(|&p| Operand::IdRef(p)).collect();
        self.value_in(scope, Op::CompositeConstruct, ty, operands)
    }

    /// A part of a composite value.
    pub(super) fn extract(&mut self, ty: Word, from: Word, at: u32) -> Word {
        let operands = vec![Operand::IdRef(from), Operand::LiteralBit32(at)];
        self.value_in(self.home(from), Op::CompositeExtract, ty, operands)
    }

    /// A function of the GLSL set.
    pub(super) fn ext(&mut self, function: u32, ty: Word, operands: &[Word]) -> Word {
        let mut all = vec![Operand::IdRef(self.module.glsl()), Operand::LiteralExtInstInteger(function)];
        all.extend(operands.iter().map(|&o| Operand::IdRef(o)));
        self.value_in(self.innermost(), Op::ExtInst, ty, all)
    }

    /// A load of what does not change while the function runs, at its start.
    pub(super) fn load_constant(&mut self, ty: Word, pointer: Word, align: Option<u32>) -> Word {
        let operands = memory_operands(vec![Operand::IdRef(pointer)], align);
        self.value_in(self.home(pointer), Op::Load, ty, operands)
    }

    /// A load.
    pub(super) fn load(&mut self, ty: Word, pointer: Word, align: Option<u32>, regions: &[Region]) -> Word {
        let last = regions.iter().filter_map(|r| self.written.get(r)).max().copied().unwrap_or(0);
        let known = self.scopes.iter().rev().find_map(|s| s.memory.get(&pointer));
        if let Some((value, _)) = known.filter(|(_, time)| *time >= last) {
            return *value;
        }
        let operands = memory_operands(vec![Operand::IdRef(pointer)], align);
        let value = self.emit(self.innermost(), Op::Load, ty, operands);
        self.note(pointer, value);
        value
    }

    /// A store; the region that `own` names is written at this place only.
    pub(super) fn store(&mut self, pointer: Word, value: Word, align: Option<u32>, own: Region) {
        let operands = memory_operands(vec![Operand::IdRef(pointer), Operand::IdRef(value)], align);
        self.effect(Op::Store, operands);
        self.touch(own);
        self.note(pointer, value);
    }

    fn note(&mut self, pointer: Word, value: Word) {
        let time = self.clock;
        if let Some(s) = self.scopes.last_mut() {
            s.memory.insert(pointer, (value, time));
        }
    }

    /// A region may have been written.
    pub(super) fn touch(&mut self, region: Region) {
        self.clock += 1;
        self.written.insert(region, self.clock);
    }

    /// The time, which passes as memory is written.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// Whether nothing was written to a region since.
    pub(super) fn is_unchanged(&self, region: Region, since: u64) -> bool {
        self.written.get(&region).is_none_or(|&last| last <= since)
    }

    /// How many loops are around.
    pub(super) fn loops(&self) -> usize {
        self.loops
    }

    /// Values may be left that nothing needs.
    pub(super) fn leaves_dead_code(&mut self) {
        self.dead = true;
    }

    /// An instruction without a result.
    pub(super) fn effect(&mut self, op: Op, operands: Vec<Operand>) {
        if let Some(block) = self.blocks.last_mut() {
            block.instructions.push(Instruction::new(op, None, None, operands));
        }
    }

    /// An instruction whose result differs each time.
    pub(super) fn fresh(&mut self, op: Op, ty: Word, operands: Vec<Operand>) -> Word {
        self.emit(self.innermost(), op, ty, operands)
    }

    /// A variable of the function.
    pub(super) fn variable(&mut self, ty: Word) -> Word {
        let pointer = self.module.pointer(StorageClass::Function, ty);
        let id = self.module.id();
        let operands = vec![Operand::StorageClass(StorageClass::Function)];
        self.variables.push(Instruction::new(Op::Variable, Some(pointer), Some(id), operands));
        id
    }

    fn push_scope(&mut self) {
        let front = self.blocks.len().saturating_sub(1);
        self.scopes.push(Scope { front, ..Scope::default() });
    }

    /// Starts a loop with a counter, which makes at least one pass: some drivers run what follows a test at the start of a
    /// loop once more when no thread passes it, and read memory that is not there.
    pub(super) fn begin_loop(&mut self, ty: Word, first: Word) -> Loop {
        let (header, counter, next, merge) =
            (self.module.id(), self.module.id(), self.module.id(), self.module.id());
        let front = self.blocks.last().map_or(0, |b| b.label);
        self.push_scope();
        self.end_block(vec![branch(header)]);
        self.open_block(header);
        // Where the second value comes from is known when the loop ends.
        let phi = vec![Operand::IdRef(first), Operand::IdRef(front)];
        if let Some(block) = self.blocks.last_mut() {
            block.instructions.push(Instruction::new(Op::Phi, Some(ty), Some(counter), phi));
        }
        self.homes.insert(counter, self.innermost());
        let l = Loop { header: self.blocks.len() - 1, next, merge, counter };
        let body = self.module.id();
        let merge =
            vec![Operand::IdRef(l.merge), Operand::IdRef(l.next), Operand::LoopControl(LoopControl::NONE)];
        self.end_block(vec![Instruction::new(Op::LoopMerge, None, None, merge), branch(body)]);
        self.open_block(body);
        self.loops += 1;
        l
    }

    /// The end of a pass; what is computed from here on leads to the next one.
    pub(super) fn loop_continue(&mut self, l: &Loop) {
        self.end_block(vec![branch(l.next)]);
        self.open_block(l.next);
    }

    /// Ends the loop: where `again` holds there is another pass, with the counter `next`.
    pub(super) fn end_loop(&mut self, l: &Loop, next: Word, again: Word) {
        let header = self.blocks.get(l.header).map_or(0, |b| b.label);
        self.end_block(vec![branch_if(again, header, l.merge)]);
        if let Some(phi) = self.blocks.get_mut(l.header).and_then(|b| b.instructions.first_mut()) {
            phi.operands.extend([Operand::IdRef(next), Operand::IdRef(l.next)]);
        }
        self.scopes.pop();
        self.loops = self.loops.saturating_sub(1);
        self.open_block(l.merge);
    }

    /// Starts what runs where a condition holds.
    pub(super) fn begin_if(&mut self, condition: Word) -> Branch {
        let (then, otherwise, merge) = (self.module.id(), self.module.id(), self.module.id());
        self.push_scope();
        self.end_block(vec![
            Instruction::new(
                Op::SelectionMerge,
                None,
                None,
                vec![Operand::IdRef(merge), Operand::SelectionControl(SelectionControl::NONE)],
            ),
            branch_if(condition, then, otherwise),
        ]);
        self.open_block(then);
        Branch { otherwise, merge }
    }

    /// Starts what runs where it does not hold.
    pub(super) fn begin_else(&mut self, b: &Branch) {
        self.end_block(vec![branch(b.merge)]);
        let front = self.scopes.pop().map_or(0, |s| s.front);
        self.scopes.push(Scope { front, ..Scope::default() });
        self.open_block(b.otherwise);
    }

    /// Ends a branch that [`Code::begin_else`] divided.
    pub(super) fn end_if(&mut self, b: &Branch) {
        self.end_block(vec![branch(b.merge)]);
        self.scopes.pop();
        self.open_block(b.merge);
    }

    /// Ends a branch without an other side.
    pub(super) fn end_then(&mut self, b: &Branch) {
        self.begin_else(b);
        self.end_if(b);
    }
}

/// Whether an operator is computed where its operands are: cheap, and defined for all of them.
fn moves(op: Op) -> bool {
    matches!(
        op,
        Op::IAdd
            | Op::ISub
            | Op::IMul
            | Op::SNegate
            | Op::Not
            | Op::BitwiseAnd
            | Op::BitwiseOr
            | Op::BitwiseXor
            | Op::UConvert
            | Op::SConvert
            | Op::ConvertUToPtr
            | Op::ULessThan
            | Op::ULessThanEqual
            | Op::SLessThan
            | Op::SLessThanEqual
            | Op::IEqual
            | Op::INotEqual
            | Op::LogicalAnd
            | Op::LogicalOr
            | Op::LogicalNot
            | Op::LogicalEqual
            | Op::LogicalNotEqual
            | Op::ShiftLeftLogical
            | Op::ShiftRightLogical
            | Op::ShiftRightArithmetic
            | Op::Select
            | Op::AccessChain
            | Op::InBoundsAccessChain
            | Op::Bitcast
    )
}

fn memory_operands(mut operands: Vec<Operand>, align: Option<u32>) -> Vec<Operand> {
    if let Some(align) = align {
        operands.extend([Operand::MemoryAccess(MemoryAccess::ALIGNED), Operand::LiteralBit32(align)]);
    }
    operands
}

fn branch(to: Word) -> Instruction {
    Instruction::new(Op::Branch, None, None, vec![Operand::IdRef(to)])
}

fn branch_if(condition: Word, then: Word, otherwise: Word) -> Instruction {
    let operands = [condition, then, otherwise].map(Operand::IdRef).to_vec();
    Instruction::new(Op::BranchConditional, None, None, operands)
}

//! The order of instructions in a block, chosen anew after Cranelift's optimiser.
//!
//! The optimiser keeps loads and stores in their places and computes everything else as late as it can. In a block
//! that was written out (register blocks, lanes) that puts all loads first, and all operands of the first accumulator
//! before the second: more vectors are alive than there are registers. Here each block gets the better of two orders:
//!
//! * *late*: loads too wait for their first use, as long as nothing writes what they read. They become memory operands.
//! * *written*: as the nest was written, which is the order to have where many accumulators share operands.
//!
//! A vector that repeats one loaded scalar is then handed on to a block of its own as a parameter: Cranelift folds a
//! load into the broadcast only if the broadcast has a single use, and does not look through block parameters.

use cranelift_codegen::Context;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::{EntitySet, SecondaryMap};
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, Opcode, Type, Value, ValueDef, types,
};

/// Vectors that fit into registers, whatever the order: two less than there are.
const FEW: usize = 14;

/// What the writer of a function knows of its instructions.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The place in memory that a load or store touches; places of different numbers never overlap.
    places: SecondaryMap<Inst, Option<u32>>,
    /// The block that each instruction was written in.
    home: SecondaryMap<Inst, Option<Block>>,
}

impl Written {
    /// Notes which place a load or store touches.
    pub(super) fn touches(&mut self, inst: Inst, place: u32) {
        self.places[inst] = Some(place);
    }

    /// Notes where all instructions are, before they are optimised.
    pub(super) fn note_homes(&mut self, func: &Function) {
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                self.home[inst] = Some(block);
            }
        }
    }
}

/// Orders every block of an optimised function.
pub(super) fn arrange(context: &mut Context, written: &Written) {
    let func = &mut context.func;
    let uses = Uses::of(func);
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let mut scratch = Scratch::default();
    for &block in &blocks {
        let few = few_vectors(func, block);
        let is_load = |i| func.dfg.insts[i].opcode() == Opcode::Load;
        if few && !func.layout.block_insts(block).any(is_load) {
            continue;
        }
        let graph = Graph::of(func, block, written, &mut scratch);
        let mut order = graph.late();
        if !few {
            let first = graph.as_written(func, block, written);
            let mut pressure = |order: &[usize]| graph.pressure(func, &uses, block, order, &mut scratch);
            if pressure(&first) < pressure(&order) {
                order = first;
            }
        }
        place(func, block, &graph, &order);
    }
    if hand_on_broadcasts(func, &uses, &blocks) {
        context.compute_cfg();
        context.compute_domtree();
    }
}

/// Whether the vectors of a block fit into registers in any order.
fn few_vectors(func: &Function, block: Block) -> bool {
    let is_vector = |v: &&Value| is_vector(func.dfg.value_type(**v));
    let results = |inst| func.dfg.inst_results(inst).iter().filter(is_vector).count();
    let made: usize = func.layout.block_insts(block).map(results).sum();
    made + func.dfg.block_params(block).iter().filter(is_vector).count() <= FEW
}

/// Tables over the whole function, made once: each user leaves them as empty as they were.
#[derive(Default)]
struct Scratch {
    /// Positions in the block at hand.
    at: SecondaryMap<Inst, Option<usize>>,
    /// Uses that are still to come.
    left: SecondaryMap<Value, u32>,
}

/// How often, and where, values are used.
struct Uses {
    count: SecondaryMap<Value, u32>,
    /// Values that are used outside the block that they are defined in.
    escape: EntitySet<Value>,
}

impl Uses {
    fn of(func: &Function) -> Uses {
        let mut uses = Uses { count: SecondaryMap::new(), escape: EntitySet::new() };
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                for v in func.dfg.inst_values(inst) {
                    uses.count[v] += 1;
                    if home_of(func, v) != Some(block) {
                        uses.escape.insert(v);
                    }
                }
            }
        }
        uses
    }
}

/// The instructions of a block with what each has to follow. The last is the terminator.
struct Graph {
    insts: Vec<Inst>,
    /// Positions that come before: operands, and what orders memory. Those of all instructions, one after the other.
    before: Vec<usize>,
    /// Where those of each instruction end.
    ends: Vec<usize>,
    /// Whether an instruction keeps its place among its like: all with effects besides loads.
    fixed: Vec<bool>,
}

impl Graph {
    fn of(func: &Function, block: Block, written: &Written, scratch: &mut Scratch) -> Graph {
        let insts: Vec<Inst> = func.layout.block_insts(block).collect();
        let at = &mut scratch.at;
        for (n, inst) in insts.iter().enumerate() {
            at[*inst] = Some(n);
        }
        let mut graph = Graph { before: Vec::new(), ends: Vec::new(), fixed: Vec::new(), insts };
        let mut last_fixed: Option<usize> = None;
        // Loads since the start of the block, and what was written last, by place.
        let mut loads: Vec<(usize, Option<u32>)> = Vec::new();
        let mut writes: Vec<(usize, Option<u32>)> = Vec::new();
        for (n, &inst) in graph.insts.iter().enumerate() {
            let before = &mut graph.before;
            let operands = func.dfg.inst_values(inst).filter_map(|v| func.dfg.value_def(v).inst());
            before.extend(operands.filter_map(|i| at[i]));
            let op = func.dfg.insts[inst].opcode();
            let place = written.places[inst];
            let meet = |other: Option<u32>| place.is_none() || other.is_none() || place == other;
            let plain_load = op == Opcode::Load;
            if plain_load {
                before.extend(writes.iter().rev().find(|(_, p)| meet(*p)).map(|(w, _)| *w));
                loads.push((n, place));
            }
            let fixed = op.is_terminator()
                || (!plain_load
                    && (op.can_store() || op.can_load() || op.can_trap() || op.other_side_effects()));
            if fixed {
                before.extend(last_fixed);
                if op.can_store() || op.other_side_effects() {
                    before.extend(loads.iter().filter(|(_, p)| meet(*p)).map(|(l, _)| *l));
                    writes.push((n, place));
                }
                last_fixed = Some(n);
            }
            graph.ends.push(graph.before.len());
            graph.fixed.push(fixed);
        }
        for inst in &graph.insts {
            at[*inst] = None;
        }
        graph
    }

    /// What comes before an instruction.
    fn before(&self, n: usize) -> &[usize] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.before[start..self.ends[n]]
    }

    /// Appends an instruction after all that it has to follow.
    fn follow(&self, n: usize, done: &mut [bool], stack: &mut Vec<(usize, usize)>, out: &mut Vec<usize>) {
        stack.push((n, 0));
        while let Some((n, next)) = stack.pop() {
            if done[n] {
                continue;
            }
            match self.before(n).get(next) {
                Some(&b) => {
                    stack.push((n, next + 1));
                    stack.push((b, 0));
                }
                None => {
                    done[n] = true;
                    out.push(n);
                }
            }
        }
    }

    fn by_anchors(&self, anchors: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut done = vec![false; self.insts.len()];
        let mut out = Vec::with_capacity(self.insts.len());
        let mut stack = Vec::new();
        for n in anchors {
            self.follow(n, &mut done, &mut stack, &mut out);
        }
        // What only other blocks use; the terminator is last.
        for n in 0..self.insts.len() {
            self.follow(n, &mut done, &mut stack, &mut out);
        }
        out
    }

    /// Everything as late as possible, in the order in which stores, then the next pass, need it.
    fn late(&self) -> Vec<usize> {
        let last = self.insts.len() - 1;
        let fixed = (0..last).filter(|n| self.fixed[*n]);
        let carried = self.before(last).iter().copied().filter(|b| !self.fixed[*b]);
        self.by_anchors(fixed.chain(carried))
    }

    /// In the order of writing, but constants where they are needed.
    fn as_written(&self, func: &Function, block: Block, written: &Written) -> Vec<usize> {
        let last = self.insts.len() - 1;
        let mut constant = vec![false; self.insts.len()];
        for (n, &inst) in self.insts.iter().enumerate() {
            constant[n] = !self.fixed[n]
                && func.dfg.insts[inst].opcode() != Opcode::Load
                && func.dfg.inst_values(inst).count() == self.before(n).len()
                && self.before(n).iter().all(|b| constant[*b]);
        }
        let mut anchors: Vec<usize> =
            (0..last).filter(|n| !constant[*n] && written.home[self.insts[*n]] == Some(block)).collect();
        anchors.sort_by_key(|n| self.insts[*n].as_u32());
        self.by_anchors(anchors.into_iter())
    }

    /// The largest number of vectors alive at once, without those that live through the whole block.
    fn pressure(
        &self,
        func: &Function,
        uses: &Uses,
        block: Block,
        order: &[usize],
        scratch: &mut Scratch,
    ) -> usize {
        let is_vector = |v: Value| is_vector(func.dfg.value_type(v));
        let left = &mut scratch.left;
        for &n in order {
            for v in func.dfg.inst_values(self.insts[n]).filter(|v| is_vector(*v)) {
                left[v] += 1;
            }
        }
        let params = func.dfg.block_params(block).iter().filter(|v| is_vector(**v)).count();
        let (mut live, mut most) = (params, params);
        for &n in order {
            for v in func.dfg.inst_values(self.insts[n]).filter(|v| is_vector(*v)) {
                left[v] -= 1;
                if left[v] == 0 && home_of(func, v) == Some(block) && !uses.escape.contains(v) {
                    live -= 1;
                }
            }
            let results = func.dfg.inst_results(self.insts[n]);
            live += results.iter().filter(|v| is_vector(**v) && uses.count[**v] > 0).count();
            most = most.max(live);
        }
        most
    }
}

/// The block that defines a value.
fn home_of(func: &Function, v: Value) -> Option<Block> {
    match func.dfg.value_def(v) {
        ValueDef::Result(inst, _) => func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    }
}

fn is_vector(t: Type) -> bool {
    t.is_vector() || t.is_float()
}

/// Puts the instructions of a block in an order.
fn place(func: &mut Function, block: Block, graph: &Graph, order: &[usize]) {
    if order.iter().enumerate().all(|(n, o)| n == *o) {
        return;
    }
    for inst in &graph.insts {
        func.layout.remove_inst(*inst);
    }
    for n in order {
        func.layout.append_inst(graph.insts[*n], block);
    }
}

/// Makes a block parameter of each broadcast of a load that has several uses. Whether there was any.
fn hand_on_broadcasts(func: &mut Function, uses: &Uses, blocks: &[Block]) -> bool {
    let mut renamed: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
    let mut jumps: EntitySet<Inst> = EntitySet::new();
    for &block in blocks {
        let mut current = block;
        for inst in func.layout.block_insts(block).collect::<Vec<_>>() {
            let Some(load) = broadcast_load(func, uses, current, inst) else { continue };
            if func.layout.next_inst(load) != Some(inst)
                && let Some(after) = func.layout.next_inst(load)
            {
                func.layout.remove_inst(inst);
                func.layout.insert_inst(inst, after);
            }
            let Some(next) = func.layout.next_inst(inst) else { continue };
            let whole = func.dfg.first_result(inst);
            let rest = func.dfg.make_block();
            func.layout.split_block(rest, next);
            let ty = func.dfg.value_type(whole);
            let param = func.dfg.append_block_param(rest, ty);
            let mut cursor = FuncCursor::new(func).at_bottom(current);
            jumps.insert(cursor.ins().jump(rest, &[BlockArg::Value(whole)]));
            renamed[whole] = Some(param);
            current = rest;
        }
    }
    if jumps.is_empty() {
        return false;
    }
    for block in func.layout.blocks().collect::<Vec<_>>() {
        for inst in func.layout.block_insts(block).collect::<Vec<_>>() {
            if !jumps.contains(inst) {
                func.dfg.map_inst_values(inst, |v| renamed[v].unwrap_or(v));
            }
        }
    }
    true
}

/// The load that an instruction repeats in all lanes, if nothing else uses it and the whole has several uses.
fn broadcast_load(func: &Function, uses: &Uses, block: Block, inst: Inst) -> Option<Inst> {
    let data = &func.dfg.insts[inst];
    if data.opcode() != Opcode::Splat || uses.count[func.dfg.first_result(inst)] < 2 {
        return None;
    }
    let scalar = func.dfg.inst_args(inst)[0];
    let load = func.dfg.value_def(scalar).inst()?;
    let wide = matches!(func.dfg.value_type(scalar), types::F32 | types::I32 | types::F64 | types::I64);
    let alone = uses.count[scalar] == 1 && func.layout.inst_block(load) == Some(block);
    (wide && alone && func.dfg.insts[load].opcode() == Opcode::Load).then_some(load)
}

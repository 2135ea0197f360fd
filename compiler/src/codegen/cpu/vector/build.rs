//! Writes a [`Function`]: equal instructions once, each as far outside of loops as its operands allow.

use rooftile_artifact::scalar::wrap;
use rustc_hash::FxHashMap;

use super::super::ssa::{At, AtomicOp, Bin, Cmp, Lane, Region, Ssa, Stretch, Ty, Un};
use super::ir::{Block, BlockData, Edge, End, Function, Inst, Op, Value};
use super::isa::{Extras, Isa};

/// Something that is assigned several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Variable(u32);

/// The function so far and the place where writing goes on.
#[derive(Debug)]
pub(in super::super) struct Builder {
    pub(super) f: Function,
    pub(super) isa: Isa,
    /// Instructions beyond the set's.
    extras: Extras,
    current: Block,
    known: FxHashMap<Inst, Value>,
    /// Loads, with the state of their memory when they were made.
    loads: FxHashMap<Inst, (Value, u32)>,
    /// Counts changes of memory.
    changes: u32,
    /// When any memory may last have changed: by an atomic operation, or where a loop begins whose end is not known yet.
    changed_at: u32,
    /// When each region was last written, counted so.
    written_at: FxHashMap<Region, u32>,
    variables: Vec<Ty>,
    /// Last value of each variable at the end of each block, as far as known.
    values: FxHashMap<(Variable, Block), Value>,
    /// Parameters of blocks that are not sealed yet, for variables.
    open: FxHashMap<Block, Vec<(Variable, Value)>>,
    sealed: Vec<bool>,
    written: Vec<bool>,
    /// Loops around the blocks that loops are left to.
    outside: FxHashMap<Block, u32>,
}

impl Builder {
    /// Nothing is written yet.
    pub(super) fn new(isa: Isa, extras: Extras) -> Builder {
        Builder {
            f: Function::default(),
            isa,
            extras,
            current: Block(0),
            known: FxHashMap::default(),
            loads: FxHashMap::default(),
            changes: 0,
            changed_at: 0,
            written_at: FxHashMap::default(),
            variables: Vec::new(),
            values: FxHashMap::default(),
            open: FxHashMap::default(),
            sealed: Vec::new(),
            written: Vec::new(),
            outside: FxHashMap::default(),
        }
    }

    /// The function, without parameters of blocks that always have one value.
    pub(super) fn finish(mut self) -> Function {
        remove_trivial_params(&mut self.f);
        self.f
    }

    fn push_block(&mut self) -> Block {
        self.f.blocks.push(BlockData::default());
        self.sealed.push(false);
        self.written.push(false);
        Block((self.f.blocks.len() - 1) as u32)
    }

    fn push_value(&mut self, inst: Inst, home: Block) -> Value {
        self.f.insts.push(inst);
        self.f.home.push(home);
        Value((self.f.insts.len() - 1) as u32)
    }

    /// An instruction's value: that of an equal one that is known here, or a new one.
    pub(super) fn inst(&mut self, op: Op, ty: Ty, args: &[Value]) -> Value {
        let inst = Inst::new(op, ty, args);
        if !op.is_pure() {
            if let Some(v) = self.known_load(inst) {
                return v;
            }
            let v = self.push_value(inst, self.current);
            self.f.blocks[self.current.index()].insts.push(v);
            self.note_access(inst, v);
            return v;
        }
        if let Some(&v) = self.known.get(&inst)
            && (op.is_constant() || self.f.dominates(self.f.home[v.index()], self.current))
        {
            return v;
        }
        let home = if op.is_constant() { Block(0) } else { self.place(args) };
        let v = self.push_value(inst, home);
        if !op.is_constant() {
            self.f.blocks[home.index()].insts.push(v);
        }
        self.known.insert(inst, v);
        v
    }

    /// An equal load, since which its memory was not written.
    fn known_load(&self, inst: Inst) -> Option<Value> {
        let access = inst.op.memory().filter(|a| !a.writes)?;
        let &(v, at) = self.loads.get(&inst)?;
        let written = self.written_at.get(&access.region).copied().unwrap_or(0).max(self.changed_at);
        (at >= written && self.f.dominates(self.f.home[v.index()], self.current)).then_some(v)
    }

    fn note_access(&mut self, inst: Inst, v: Value) {
        let Some(access) = inst.op.memory() else { return };
        if !access.writes {
            self.loads.insert(inst, (v, self.changes));
            return;
        }
        self.changes += 1;
        self.written_at.insert(access.region, self.changes);
        if matches!(inst.op, Op::Atomic { .. }) {
            self.changed_at = self.changes;
        }
    }

    /// The block in the fewest loops, between the operands and here, and of those the nearest.
    fn place(&self, args: &[Value]) -> Block {
        let earliest = args
            .iter()
            .filter(|a| !self.f.inst(**a).op.is_constant())
            .map(|a| self.f.home[a.index()])
            .max_by_key(|b| self.f.block(*b).depth)
            .unwrap_or(Block(0));
        let (mut best, mut at) = (self.current, self.current);
        while at != earliest {
            let Some(up) = self.f.block(at).dominator else { break };
            at = up;
            if self.f.block(at).loops < self.f.block(best).loops {
                best = at;
            }
        }
        best
    }

    /// Goes on in a block, the head of `loops` loops.
    fn start(&mut self, block: Block, loops: u32) {
        let dominator = self.common_dominator(&self.f.block(block).preds);
        let around = dominator.map_or(0, |d| self.f.block(d).loops);
        let around = self.outside.get(&block).copied().unwrap_or(around);
        let depth = dominator.map_or(0, |d| self.f.block(d).depth + 1);
        if loops > 0 {
            self.changes += 1;
            self.changed_at = self.changes;
        }
        let data = &mut self.f.blocks[block.index()];
        (data.dominator, data.depth, data.loops) = (dominator, depth, around + loops);
        self.f.order.push(block);
        self.written[block.index()] = true;
        self.current = block;
    }

    fn edge(&mut self, to: Block, args: &[Value]) -> Edge {
        let from = self.current;
        self.f.blocks[to.index()].preds.push(from);
        Edge { to, args: args.to_vec() }
    }

    fn end(&mut self, end: End) {
        self.f.blocks[self.current.index()].end = end;
    }

    /// The nearest block that all ways through `blocks` go through.
    fn common_dominator(&self, blocks: &[Block]) -> Option<Block> {
        let (first, rest) = blocks.split_first()?;
        let mut at = *first;
        for &other in rest {
            while !self.f.dominates(at, other) {
                at = self.f.block(at).dominator?;
            }
        }
        Some(at)
    }

    fn value_in(&mut self, var: Variable, block: Block) -> Value {
        let mut passed = Vec::new();
        let mut at = block;
        let found = loop {
            if let Some(&v) = self.values.get(&(var, at)) {
                break v;
            }
            passed.push(at);
            let preds = &self.f.blocks[at.index()].preds;
            match (self.sealed[at.index()], preds.as_slice()) {
                (true, [one]) => at = *one,
                (true, []) => {
                    // Never assigned; the writer assigns before it reads.
                    let ty = self.variables[var.0 as usize];
                    break self.int(ty.as_int(), 0);
                }
                (sealed, _) => {
                    let param = self.block_param(at, self.variables[var.0 as usize]);
                    self.values.insert((var, at), param);
                    if sealed {
                        self.pass(var, at);
                    } else {
                        self.open.entry(at).or_default().push((var, param));
                    }
                    break param;
                }
            }
        };
        for b in passed {
            self.values.insert((var, b), found);
        }
        found
    }

    /// Passes a variable's value to the last parameter that was added to a sealed block, from all blocks before it.
    fn pass(&mut self, var: Variable, block: Block) {
        for pred in self.f.blocks[block.index()].preds.clone() {
            let v = self.value_in(var, pred);
            self.hand_over(pred, block, v);
        }
    }

    fn hand_over(&mut self, from: Block, to: Block, v: Value) {
        // A branch with both ways to one block is in its list of predecessors twice: each time one edge is short.
        let params = self.f.blocks[to.index()].params.len();
        let edges = self.f.blocks[from.index()].end.edges_mut();
        if let Some(edge) = edges.into_iter().find(|e| e.to == to && e.args.len() < params) {
            edge.args.push(v);
        }
    }
}

/// Parameters that get one value on all ways, but for themselves, are that value.
fn remove_trivial_params(f: &mut Function) {
    let mut alias: FxHashMap<Value, Value> = FxHashMap::default();
    let resolve = |alias: &FxHashMap<Value, Value>, mut v: Value| {
        while let Some(&to) = alias.get(&v) {
            v = to;
        }
        v
    };
    loop {
        let mut changed = false;
        for n in 0..f.blocks.len() {
            let block = Block(n as u32);
            let mut k = 0;
            while k < f.blocks[n].params.len() {
                let param = f.blocks[n].params[k];
                let edges = f.blocks[n].preds.iter().flat_map(|p| f.block(*p).end.edges());
                let mut values = edges
                    .filter(|e| e.to == block)
                    .map(|e| resolve(&alias, e.args[k]))
                    .filter(|v| *v != param);
                let only = values.next().filter(|first| values.all(|v| v == *first));
                drop(values);
                let Some(only) = only else {
                    k += 1;
                    continue;
                };
                alias.insert(param, only);
                remove_param(f, block, k);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    for inst in &mut f.insts {
        inst.args_mut().iter_mut().for_each(|a| *a = resolve(&alias, *a));
    }
    for block in &mut f.blocks {
        if let End::Branch(cond, ..) = &mut block.end {
            *cond = resolve(&alias, *cond);
        }
        for edge in block.end.edges_mut() {
            edge.args.iter_mut().for_each(|a| *a = resolve(&alias, *a));
        }
    }
}

/// Takes a parameter from a block, and its values from all jumps there.
fn remove_param(f: &mut Function, block: Block, k: usize) {
    f.blocks[block.index()].params.remove(k);
    let mut preds = f.blocks[block.index()].preds.clone();
    preds.sort();
    preds.dedup();
    for pred in preds {
        for edge in f.blocks[pred.index()].end.edges_mut().filter(|e| e.to == block) {
            edge.args.remove(k);
        }
    }
}

impl Ssa for Builder {
    type Value = Value;
    type Block = Block;
    type Variable = Variable;

    fn vector_bytes(&self) -> usize {
        self.isa.vector_bytes()
    }
    fn has_fma(&self) -> bool {
        true
    }
    fn ty(&self, v: Value) -> Ty {
        self.f.ty(v)
    }
    fn known_int(&self, v: Value) -> Option<i64> {
        match self.f.inst(v) {
            Inst { op: Op::Int(c), ty, .. } if !ty.is_vector() => Some(*c),
            _ => None,
        }
    }

    fn entry(&mut self) -> [Value; 4] {
        let entry = self.push_block();
        self.sealed[entry.index()] = true;
        self.start(entry, 0);
        std::array::from_fn(|n| self.inst(Op::Arg(n as u8), Ty::scalar(Lane::I64), &[]))
    }
    fn block(&mut self) -> Block {
        self.push_block()
    }
    fn block_param(&mut self, block: Block, ty: Ty) -> Value {
        let v = self.push_value(Inst::new(Op::Param(block), ty, &[]), block);
        self.f.blocks[block.index()].params.push(v);
        v
    }
    fn switch_to(&mut self, block: Block) {
        self.start(block, 0);
    }
    fn switch_to_loop(&mut self, block: Block) {
        self.start(block, 1);
    }
    fn seal(&mut self, block: Block) {
        self.sealed[block.index()] = true;
        for (var, _) in self.open.remove(&block).unwrap_or_default() {
            self.pass(var, block);
        }
    }
    fn jump(&mut self, to: Block, args: &[Value]) {
        let edge = self.edge(to, args);
        self.end(End::Jump(edge));
    }
    fn branch(&mut self, cond: Value, then: (Block, &[Value]), otherwise: (Block, &[Value])) {
        if self.written[then.0.index()] {
            // The end of a loop: the other way leads out of it.
            let around = self.f.block(then.0).loops.saturating_sub(1);
            self.outside.insert(otherwise.0, around);
        }
        let (a, b) = (self.edge(then.0, then.1), self.edge(otherwise.0, otherwise.1));
        self.end(End::Branch(cond, a, b));
    }
    fn ret(&mut self) {
        self.end(End::Return);
    }

    fn variable(&mut self, ty: Ty) -> Variable {
        self.variables.push(ty);
        Variable((self.variables.len() - 1) as u32)
    }
    fn def_var(&mut self, var: Variable, v: Value) {
        self.values.insert((var, self.current), v);
    }
    fn use_var(&mut self, var: Variable) -> Value {
        self.value_in(var, self.current)
    }

    fn int(&mut self, ty: Ty, v: i64) -> Value {
        self.inst(Op::Int(wrap(v, true, ty.lane.bits() as u8)), ty, &[])
    }
    fn float(&mut self, ty: Ty, v: f64) -> Value {
        let bits = if ty.lane == Lane::F32 { u64::from((v as f32).to_bits()) } else { v.to_bits() };
        self.inst(Op::Float(bits), ty, &[])
    }
    fn bytes(&mut self, ty: Ty, bytes: &[u8]) -> Value {
        let n = self.f.constant(bytes.to_vec());
        self.inst(Op::Bytes(n), ty, &[])
    }
    fn unary(&mut self, op: Un, a: Value) -> Value {
        self.write_unary(op, a)
    }
    fn binary(&mut self, op: Bin, a: Value, b: Value) -> Value {
        self.write_binary(op, a, b)
    }
    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.write_fma(a, b, c)
    }
    fn signs_apart(&mut self, a: Value) -> (Value, bool) {
        Builder::signs_apart(self, a)
    }
    fn scaled(&mut self, a: Value, k: Value) -> Option<Value> {
        (self.isa == Isa::Avx512).then(|| self.inst(Op::Scale, self.f.ty(a), &[a, k]))
    }
    fn has_within(&self) -> bool {
        self.isa == Isa::Avx512
    }
    fn within(&mut self, a: Value, limit: Value) -> Value {
        self.inst(Op::Within, self.f.ty(a), &[a, limit])
    }
    fn has_dots(&self) -> bool {
        self.extras.dots
    }
    fn dot(&mut self, sum: Value, unsigned: Value, signed: Value) -> Option<Value> {
        self.extras.dots.then(|| self.inst(Op::Dot, self.f.ty(sum), &[sum, unsigned, signed]))
    }
    fn estimate(&mut self, root: bool, a: Value) -> Option<Value> {
        let has = self.isa == Isa::Avx512 && self.f.ty(a).lane == Lane::F32;
        has.then(|| self.inst(Op::Estimate { root }, self.f.ty(a), &[a]))
    }
    fn parts(&mut self, a: Value) -> Option<(Value, Value)> {
        if self.isa != Isa::Avx512 {
            return None;
        }
        let ty = self.f.ty(a);
        let significand = self.inst(Op::Significand, ty, &[a]);
        // The significand's own exponent is 0, or -1 where it was taken to be below 1.
        let [whole, below] = [a, significand].map(|v| self.inst(Op::Exponent, ty, &[v]));
        Some((self.binary(Bin::Sub, whole, below), significand))
    }
    fn compare(&mut self, cmp: Cmp, a: Value, b: Value) -> Value {
        self.write_compare(cmp, a, b)
    }
    fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        match self.known_int(cond) {
            Some(0) => b,
            Some(_) => a,
            None if a == b => a,
            None if self.f.ty(a).is_vector() => {
                // A mask of all lanes, that loops in which the truth value stays as it is leave outside.
                let mask = self.mask(self.f.ty(a).lane.as_int(), cond);
                let mask = self.splat(mask);
                self.blend(mask, a, b)
            }
            None => match self.extreme(cond, a, b) {
                Some(v) => v,
                None => self.inst(Op::Select, self.f.ty(a), &[cond, a, b]),
            },
        }
    }
    fn blend(&mut self, mask: Value, a: Value, b: Value) -> Value {
        if a == b {
            return a;
        }
        if let Some(v) = self.extreme(mask, a, b) {
            return v;
        }
        if self.has_bits() {
            let bits = self.bits(mask);
            return self.inst(Op::BlendBits, self.f.ty(a), &[bits, a, b]);
        }
        self.inst(Op::Blend, self.f.ty(a), &[mask, a, b])
    }
    fn bitcast(&mut self, ty: Ty, v: Value) -> Value {
        if self.f.ty(v) == ty {
            return v;
        }
        match self.f.inst(v).op {
            // Back to what it was.
            Op::Bitcast => {
                let before = self.f.inst(v).args()[0];
                self.bitcast(ty, before)
            }
            Op::Bytes(n) => self.inst(Op::Bytes(n), ty, &[]),
            Op::Float(bits) if self.f.ty(v).lane.as_int() == ty.lane => self.int(ty, bits as i64),
            _ => self.inst(Op::Bitcast, ty, &[v]),
        }
    }
    fn extend(&mut self, lane: Lane, v: Value, signed: bool) -> Value {
        if let Some(c) = self.known_int(v) {
            let mask = (1i64 << self.f.ty(v).lane.bits().min(63)) - 1;
            let c = if signed || self.f.ty(v).lane == Lane::I64 { c } else { c & mask };
            return self.int(Ty::scalar(lane), c);
        }
        // What was extended without a sign is not negative.
        let inner = *self.f.inst(v);
        if inner.op == (Op::Extend { signed: false }) {
            return self.inst(inner.op, Ty::scalar(lane), inner.args());
        }
        self.inst(Op::Extend { signed }, Ty::scalar(lane), &[v])
    }
    fn reduce(&mut self, lane: Lane, v: Value) -> Value {
        if let Some(c) = self.known_int(v) {
            return self.int(Ty::scalar(lane), c);
        }
        self.inst(Op::Reduce, Ty::scalar(lane), &[v])
    }
    fn mask(&mut self, lane: Lane, v: Value) -> Value {
        if let Some(c) = self.known_int(v) {
            return self.int(Ty::scalar(lane), -i64::from(c != 0));
        }
        self.inst(Op::Mask, Ty::scalar(lane), &[v])
    }
    fn to_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        self.write_to_int(lane, signed, v)
    }
    fn from_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        self.write_from_int(lane, signed, v)
    }
    fn promote(&mut self, v: Value) -> Value {
        self.inst(Op::Promote, Ty::scalar(Lane::F64), &[v])
    }
    fn demote(&mut self, v: Value) -> Value {
        self.inst(Op::Demote, Ty::scalar(Lane::F32), &[v])
    }
    fn splat(&mut self, v: Value) -> Value {
        let ty = Ty::vector(self.f.ty(v).lane, self.vector_bytes());
        match self.f.inst(v).op {
            Op::Int(c) => self.int(ty, c),
            Op::Float(bits) => self.inst(Op::Float(bits), ty, &[]),
            _ => self.inst(Op::Splat, ty, &[v]),
        }
    }
    fn lane_zero(&mut self, v: Value) -> Value {
        let ty = Ty::vector(self.f.ty(v).lane, self.vector_bytes());
        self.inst(Op::LaneZero, ty, &[v])
    }
    fn extract(&mut self, v: Value, l: usize) -> Value {
        let ty = Ty::scalar(self.f.ty(v).lane);
        match self.f.inst(v).op {
            Op::Int(c) => self.int(ty, c),
            Op::Float(bits) => self.inst(Op::Float(bits), ty, &[]),
            Op::Splat => self.f.inst(v).args()[0],
            Op::LaneZero if l == 0 => self.f.inst(v).args()[0],
            Op::Bytes(n) => {
                let size = ty.lane.bytes();
                let mut word = [0u8; 8];
                word[..size].copy_from_slice(&self.f.pool[n as usize][l * size..][..size]);
                let bits = u64::from_le_bytes(word);
                match ty.lane.is_float() {
                    true => self.inst(Op::Float(bits), ty, &[]),
                    false => self.int(ty, bits as i64),
                }
            }
            _ => self.write_extract(v, l),
        }
    }
    fn build(&mut self, scalars: &[Value]) -> Value {
        self.write_build(scalars)
    }
    fn window(&mut self, low: Value, high: Option<Value>, from: usize, n: usize) -> Value {
        self.write_window(low, high, from, n)
    }
    fn can_transpose(&self, lane: Lane) -> bool {
        lane.bytes() >= 4
    }
    fn transpose(&mut self, rows: &[Value]) -> Vec<Value> {
        self.write_transpose(rows)
    }
    fn insert(&mut self, v: Value, s: Value, l: usize) -> Value {
        self.write_insert(v, s, l)
    }
    fn widen(&mut self, v: Value, signed: bool, upper: bool) -> Value {
        let lane = Lane::int(2 * self.f.ty(v).lane.bytes());
        let ty = Ty::vector(lane, self.vector_bytes());
        match self.half_mask(v, ty, upper) {
            Some(mask) if signed => mask,
            _ => match (self.f.inst(v).op, lane) {
                // Twice in one instruction; what is not negative stays so.
                (Op::Widen { signed: first, upper: false }, Lane::I32) if !upper && (signed || !first) => {
                    let bytes = self.f.inst(v).args()[0];
                    self.inst(Op::WidenBytes { signed: first }, ty, &[bytes])
                }
                _ => self.inst(Op::Widen { signed, upper }, ty, &[v]),
            },
        }
    }
    fn narrow(&mut self, low: Value, high: Value) -> Value {
        let lane = Lane::int(self.f.ty(low).lane.bytes() / 2);
        let ty = Ty::vector(lane, self.vector_bytes());
        if let Some(mask) = self.join_masks(low, high, ty) {
            return mask;
        }
        if lane == Lane::I32 || self.isa == Isa::Avx512 {
            return self.inst(Op::Narrow, ty, &[low, high]);
        }
        // The instructions saturate: without sign what fits stays.
        let bits = self.int(self.f.ty(low), (1 << lane.bits()) - 1);
        let (low, high) = (self.write_binary(Bin::And, low, bits), self.write_binary(Bin::And, high, bits));
        self.inst(Op::Narrow, ty, &[low, high])
    }
    fn widen_to_f64(&mut self, v: Value, upper: bool) -> Value {
        self.inst(Op::WidenToF64 { upper }, Ty::vector(Lane::F64, self.vector_bytes()), &[v])
    }
    fn narrow_f64(&mut self, low: Value, high: Option<Value>) -> Value {
        let ty = Ty::vector(Lane::F32, self.vector_bytes());
        match high {
            Some(high) => self.inst(Op::NarrowF64, ty, &[low, high]),
            None => self.inst(Op::NarrowF64, ty, &[low]),
        }
    }
    fn widen_f16(&mut self, v: Value, upper: bool) -> Option<Value> {
        let ty = match self.f.ty(v).is_vector() {
            true => Ty::vector(Lane::F32, self.vector_bytes()),
            false => Ty::scalar(Lane::F32),
        };
        self.isa.has_f16().then(|| self.inst(Op::WidenF16 { upper }, ty, &[v]))
    }
    fn narrow_f16(&mut self, low: Value, high: Option<Value>) -> Option<Value> {
        let ty = match self.f.ty(low).is_vector() {
            true => Ty::vector(Lane::I16, self.vector_bytes()),
            false => Ty::scalar(Lane::I16),
        };
        let args = [low, high.unwrap_or(low)];
        let count = if high.is_some() { 2 } else { 1 };
        self.isa.has_f16().then(|| self.inst(Op::NarrowF16, ty, &args[..count]))
    }
    fn shift_each(&mut self, op: Bin, v: Value, counts: &[u8]) -> Value {
        let ty = self.f.ty(v);
        if counts.iter().all(|c| *c == counts[0]) {
            let count = self.int(Ty::scalar(Lane::I32), counts[0].into());
            return self.binary(op, v, count);
        }
        let counts: Vec<u8> = counts.iter().flat_map(|c| u32::from(*c).to_le_bytes()).collect();
        let counts = self.bytes(ty, &counts);
        self.inst(Op::ShiftEach(op), ty, &[v, counts])
    }
    fn has_bytes_from_bits(&self) -> bool {
        self.extras.multishift
    }
    fn bytes_from_bits(&mut self, words: Value, from: &[u8]) -> Value {
        let ty = self.f.ty(words);
        let from = self.bytes(ty, from);
        self.inst(Op::Multishift, ty, &[from, words])
    }
    fn looked_up(&self) -> usize {
        self.vector_bytes() / 4
    }
    fn look_up(&mut self, table: Value, numbers: Value) -> Value {
        self.inst(Op::LookUp, self.f.ty(table), &[numbers, table])
    }
    fn all_true(&mut self, v: Value) -> Value {
        if self.has_bits() {
            let bits = self.bits(v);
            return self.inst(Op::AllBits, Ty::scalar(Lane::I8), &[bits]);
        }
        self.inst(Op::AllTrue, Ty::scalar(Lane::I8), &[v])
    }
    fn any_true(&mut self, v: Value) -> Value {
        if self.has_bits() {
            let bits = self.bits(v);
            return self.inst(Op::AnyBits, Ty::scalar(Lane::I8), &[bits]);
        }
        self.inst(Op::AnyTrue, Ty::scalar(Lane::I8), &[v])
    }

    fn load(&mut self, ty: Ty, at: At<Value>) -> Value {
        let At { base, displacement, region } = at;
        self.inst(Op::Load { displacement, region }, ty, &[base])
    }
    fn load_part(&mut self, ty: Ty, n: usize, at: At<Value>) -> Value {
        self.write_load_part(ty, n, at)
    }
    fn can_interleave(&self, lane: Lane) -> bool {
        lane.bytes() >= 4
    }
    fn interleave(&mut self, a: Value, b: Value) -> [Value; 2] {
        self.write_interleave(a, b)
    }
    fn every_other(&mut self, vectors: [Value; 2], odd: usize) -> Value {
        self.write_every_other(vectors, odd)
    }
    fn load_strided(&mut self, ty: Ty, n: usize, stretch: Stretch, at: At<Value>) -> Option<Value> {
        self.write_load_strided(ty, n, stretch, at)
    }
    fn store(&mut self, v: Value, at: At<Value>) {
        let At { base, displacement, region } = at;
        self.inst(Op::Store { displacement, region }, self.f.ty(v), &[base, v]);
    }
    fn store_part(&mut self, v: Value, n: usize, at: At<Value>) {
        self.write_store_part(v, n, at);
    }
    fn has_masks(&self) -> bool {
        self.has_bits()
    }
    fn load_masked(&mut self, ty: Ty, mask: Value, at: At<Value>) -> Value {
        let At { base, displacement, region } = at;
        let bits = self.bits(mask);
        self.inst(Op::LoadBits { displacement, region }, ty, &[base, bits])
    }
    fn gather(&mut self, ty: Ty, n: usize, numbers: &[Value], scale: u8, at: At<Value>) -> Option<Value> {
        self.write_gather(ty, n, numbers, scale, at)
    }
    fn store_masked(&mut self, v: Value, mask: Value, at: At<Value>) {
        let At { base, displacement, region } = at;
        let bits = self.bits(mask);
        self.inst(Op::StoreBits { displacement, region }, self.f.ty(v), &[base, v, bits]);
    }
    fn can_pass_caches(&self) -> bool {
        true
    }
    fn store_past_caches(&mut self, v: Value, at: At<Value>) {
        let At { base, displacement, region } = at;
        self.inst(Op::StorePast { displacement, region }, self.f.ty(v), &[base, v]);
    }
    fn can_prefetch(&self) -> bool {
        true
    }
    fn prefetch(&mut self, at: At<Value>) {
        let At { base, displacement, region } = at;
        self.inst(Op::Prefetch { displacement, region }, Ty::scalar(Lane::I8), &[base]);
    }
    fn fence(&mut self) {
        self.inst(Op::Fence, Ty::scalar(Lane::I64), &[]);
    }
    fn atomic(&mut self, op: AtomicOp, v: Value, at: At<Value>) -> Value {
        let At { base, displacement, region } = at;
        self.inst(Op::Atomic { op, displacement, region }, self.f.ty(v), &[base, v])
    }
}

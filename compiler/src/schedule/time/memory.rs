//! Where the stages of a block find their tensors: windows in memory of the chunk, and what the launch is given.

use std::collections::BTreeMap;

use super::compose::{Composer, SWEPT};
use super::versions::Version;
use crate::hir::ir::TensorId;
use crate::nest::inline::{Bound, inline_expr};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt};
use crate::schedule::emit::LARGE;
use rooftile_artifact::DType;

/// Elements of a row before a block that windows have room for are a number of these, so that elements which begin a line of
/// a tensor begin one of its windows.
pub(super) const ROW: i64 = 16;

/// Bytes of a line of a cache.
const LINE: i64 = 64;

/// Elements of a row that are copied at once.
const LANES: i64 = 16;

/// What a slot of the composed nest is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// A tensor of the pipeline, read.
    Read(TensorId),
    /// New content for a tensor of the pipeline, in memory of its own.
    Result(TensorId),
}

/// A window.
#[derive(Clone, Debug)]
struct Window {
    dtype: DType,
    shape: Vec<ExprId>,
    buffer: BufferId,
    /// The dimension of the axis that a wavefront goes along, and the rows that go round in it.
    ring: Option<(usize, i64)>,
}

/// A dimension along which a window is copied.
#[derive(Clone, Copy, Debug)]
struct CopiedDim {
    /// Indices of the tensor.
    range: (ExprId, ExprId),
    /// The index that the window's first element stands for.
    origin: ExprId,
    /// The extent in which the window's indices go round.
    ring: Option<i64>,
}

/// The buffers of a composed nest.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// What the slots hold.
    pub(super) slots: Vec<Slot>,
    /// Memory of the launch: each call sees a tensor in its own way.
    globals: BTreeMap<(Slot, usize, TensorId), BufferId>,
    /// Scratch of stages, which those of one kind share.
    locals: BTreeMap<(usize, BufferId), BufferId>,
    windows: Vec<Window>,
    /// The window that holds a version, by its number.
    held: BTreeMap<Version, usize>,
}

impl Memory {
    /// The dimension of a buffer whose indices go round, and its extent.
    pub(super) fn ring(&self, buffer: BufferId) -> Option<(usize, i64)> {
        self.windows.iter().find(|w| w.buffer == buffer).and_then(|w| w.ring)
    }

    /// Has later stages get scratch of their own.
    pub(super) fn forget_scratch(&mut self) {
        self.locals.clear();
    }
}

impl Composer<'_> {
    /// Finds windows for what a stage writes. What nobody reads any more is given up before.
    pub(super) fn make_room(&mut self, n: usize) {
        let stages = self.parts.stages;
        if self.parts.rows.is_none() {
            self.memory.held.retain(|v, _| stages.last.get(v).is_some_and(|last| *last >= n));
        }
        for version in &stages.all[n].writes {
            if stages.needs_window(*version) {
                let (dtype, shape, ring) = self.window(n, *version);
                let window = self.free(dtype, &shape, ring);
                self.memory.held.insert(*version, window);
            }
        }
    }

    /// A window of that form that holds nothing.
    fn free(&mut self, dtype: DType, shape: &[ExprId], ring: Option<(usize, i64)>) -> usize {
        let memory = &mut self.memory;
        let fits = |n: &usize| {
            let w = &memory.windows[*n];
            w.dtype == dtype && w.shape == shape && memory.held.values().all(|held| held != n)
        };
        if let Some(free) = (0..memory.windows.len()).find(fits) {
            return free;
        }
        let buffer = self.b.add_buffer("window", dtype, shape, Space::Local);
        memory.windows.push(Window { dtype, shape: shape.to_vec(), buffer, ring });
        memory.windows.len() - 1
    }

    /// The form of a window for what a stage writes to a tensor.
    fn window(&mut self, n: usize, version: Version) -> (DType, Vec<ExprId>, Option<(usize, i64)>) {
        let call = self.parts.stages.all[n].call;
        let Version::New(_, tensor) = version else { return (DType::F32, Vec::new(), None) };
        let Some(whole) = self.whole_buffer(call, tensor).cloned() else {
            return (DType::F32, Vec::new(), None);
        };
        let mut along = self.along(call, tensor);
        // The parts of complex elements.
        along.resize(whole.shape.len(), None);
        let blocks = self.parts.blocks.iter().zip(&self.halo);
        let mut points: Vec<Option<i64>> =
            blocks.map(|(block, (before, after))| block.points.map(|n| n + before + after)).collect();
        let rows = self.rows_kept(n, version);
        if rows.is_some() {
            points[SWEPT] = rows;
        }
        let element = i64::try_from(whole.dtype.size()).unwrap_or(8);
        let bytes = along.iter().flatten().try_fold(element, |n, a| n.checked_mul(points[*a]?));
        let large = bytes.is_none_or(|n| n > LARGE);
        let outermost = along.iter().position(Option::is_some);
        let contiguous = along.iter().rposition(Option::is_some);
        let mut shape = Vec::new();
        for (d, axis) in along.iter().enumerate() {
            let extent = match axis {
                None => self.host(call, n, whole.shape[d]),
                Some(SWEPT) if let Some(rows) = rows => self.b.int(rows),
                Some(axis) => {
                    let points = match points[*axis].filter(|_| !large && Some(d) != outermost) {
                        Some(n) => self.b.int(n),
                        None => self.most(*axis).1,
                    };
                    match Some(d) {
                        d if d == contiguous => self.odd(points, (LINE / element).max(1)),
                        d if d != outermost => self.odd(points, 1),
                        _ => points,
                    }
                }
            };
            shape.push(extent);
        }
        let swept = along.iter().position(|axis| *axis == Some(SWEPT));
        (whole.dtype, shape, swept.zip(rows))
    }

    /// At least so many elements as an odd number of pieces: rows that begin in like places of a cache would drive each other out.
    fn odd(&mut self, elements: ExprId, piece: i64) -> ExprId {
        let pieces = self.b.ceil_div(elements, piece);
        let one = self.b.int(1);
        let odd = self.b.binary(BinaryOp::Or, pieces, one);
        self.b.mul_int(odd, piece)
    }

    /// Rows of a window that a wavefront still needs, as a power of two: those of a strip, and back to the first that a later
    /// stage reads in it.
    fn rows_kept(&self, n: usize, version: Version) -> Option<i64> {
        let rows = self.parts.rows?;
        let stages = &self.parts.stages.all;
        let mut kept = rows;
        for reader in stages {
            let call = self.call(reader.call);
            for tensor in reader.reads.iter().filter(|(_, v)| **v == version).map(|(t, _)| t) {
                let own = call.axes.iter().position(|axis| *axis == SWEPT);
                let reach = call.stencil.state[tensor].reads.as_ref().zip(own);
                let before = reach.map_or(0, |(reach, own)| reach[own].0);
                kept = kept.max(rows + stages[n].growth[SWEPT].1 - reader.growth[SWEPT].1 + before);
            }
        }
        Some((1..62).map(|bit| 1 << bit).find(|power| *power >= kept).unwrap_or(kept))
    }

    /// The most points of an axis that a stage gives, counted from 0.
    pub(super) fn most(&mut self, axis: usize) -> (ExprId, ExprId) {
        let (before, after) = self.halo[axis];
        let (zero, extent) = (self.b.int(0), self.extents[axis]);
        if let (SWEPT, Some(rows)) = (axis, self.parts.rows) {
            return (zero, self.b.int(rows));
        }
        if self.parts.slopes.is_some() {
            // The last block may be almost twice as long, and others are cut along the first axis only.
            let points = self.parts.blocks[axis].points.filter(|_| axis == SWEPT);
            let most = points.map(|points| self.b.int(2 * points));
            return (zero, most.map_or(extent, |most| self.b.min(most, extent)));
        }
        let open = self.parts.step.wraps[axis];
        let most = match self.parts.blocks[axis].points {
            Some(points) if open => {
                let points = self.b.int(points);
                let block = self.b.min(points, extent);
                self.b.add_int(block, before + after)
            }
            Some(points) => {
                let points = self.b.int(points + before + after);
                self.b.min(points, extent)
            }
            None if open => self.b.add_int(extent, before + after),
            None => extent,
        };
        (zero, most)
    }

    /// The buffer that stands for one of a stage's loops. `most` bounds the extents of scratch.
    pub(super) fn buffer(&mut self, n: usize, id: BufferId, most: &Bound<'_>) -> BufferId {
        let made = self.parts.of_stage[n];
        let (stage, (_, _, part)) = (&self.parts.stages.all[n], &self.parts.made[made]);
        let from = &part.nest.buffers[id];
        let slot = match from.space {
            Space::Global(slot) => slot as usize,
            Space::Local => {
                if let Some(known) = self.memory.locals.get(&(made, id)) {
                    return *known;
                }
                let shape: Vec<ExprId> =
                    from.shape.iter().map(|e| inline_expr(&mut self.b, &part.nest, most, *e)).collect();
                let buffer = self.b.add_buffer(&from.name, from.dtype, &shape, Space::Local);
                self.memory.locals.insert((made, id), buffer);
                return buffer;
            }
            space => {
                let shape: Vec<ExprId> =
                    from.shape.iter().map(|e| inline_expr(&mut self.b, &part.nest, most, *e)).collect();
                return self.b.add_buffer(&from.name, from.dtype, &shape, space);
            }
        };
        if let Some(slopes) = self.parts.slopes {
            let (memory, tensor) = (slopes.memory[n][slot], TensorId::from_index(slot));
            return match self.call(stage.call).stencil.state.contains_key(&tensor) {
                true => self.of_tensor(memory, n, tensor),
                // It may be seen in parts.
                false => self.global(Slot::Read(memory), n, tensor),
            };
        }
        let call = self.call(stage.call);
        let own = call.tensors.len();
        let version = if slot < own {
            stage.reads.get(&TensorId::from_index(slot)).copied()
        } else {
            stage.writes.get(slot - own).copied()
        };
        if let Some(window) = version.and_then(|v| self.memory.held.get(&v)) {
            return self.memory.windows[*window].buffer;
        }
        let used = match version {
            None => Slot::Read(call.tensors[slot]),
            Some(Version::Old(tensor)) => Slot::Read(tensor),
            // What is in no window is a result.
            Some(version) => match self.parts.stages.results_of(version).next() {
                Some(tensor) => Slot::Result(tensor),
                None => Slot::Read(call.tensors[slot.min(own - 1)]),
            },
        };
        let tensor = match version {
            Some(Version::New(_, tensor)) => tensor,
            _ => TensorId::from_index(slot),
        };
        self.global(used, n, tensor)
    }

    /// The buffer that is all of a tensor's memory, for whichever stage; all of them see it in the same way.
    fn of_tensor(&mut self, memory: TensorId, n: usize, tensor: TensorId) -> BufferId {
        let slot = Slot::Read(memory);
        let known = self.memory.globals.iter().find(|((s, ..), _)| *s == slot).map(|(_, buffer)| *buffer);
        known.unwrap_or_else(|| self.global(slot, n, tensor))
    }

    /// The buffer of a kernel's tensor in memory of the launch.
    fn global(&mut self, slot: Slot, n: usize, tensor: TensorId) -> BufferId {
        let call = self.parts.stages.all[n].call;
        if let Some(known) = self.memory.globals.get(&(slot, call, tensor)) {
            return *known;
        }
        let (name, dtype, shape, past) = match self.whole_buffer(call, tensor) {
            Some(b) => (b.name.clone(), b.dtype, b.shape.clone(), b.past_caches),
            None => (String::new(), DType::F32, Vec::new(), None),
        };
        let prefetched = self.whole_buffer(call, tensor).is_some_and(|b| b.own_prefetch);
        let shape: Vec<ExprId> = shape.into_iter().map(|e| self.host(call, n, e)).collect();
        let number = u32::try_from(self.memory.slots.len()).unwrap_or(u32::MAX);
        let buffer = self.b.add_buffer(&name, dtype, &shape, Space::Global(number));
        // No stage of the launch reads a result.
        if let (Slot::Result(_), Some(bytes)) = (slot, past) {
            self.b.store_past_caches(buffer, bytes);
        }
        if prefetched {
            self.b.prefetch_as_said(buffer);
        }
        self.memory.slots.push(slot);
        self.memory.globals.insert((slot, call, tensor), buffer);
        buffer
    }

    /// Copies what a stage put into windows to the results that it is.
    pub(super) fn results(&mut self, n: usize, out: &mut Vec<Stmt>) {
        let stage = &self.parts.stages.all[n];
        for version in &stage.writes {
            let (Some(window), Version::New(_, tensor)) = (self.memory.held.get(version).copied(), *version)
            else {
                continue;
            };
            let results: Vec<TensorId> = self.parts.stages.results_of(*version).collect();
            for result in results {
                let to = self.global(Slot::Result(result), n, tensor);
                let mut along = self.along(stage.call, tensor);
                let shape = self.b.nest().buffers[to].shape.clone();
                along.resize(shape.len(), None);
                let zero = self.b.int(0);
                let dims: Vec<CopiedDim> = along
                    .into_iter()
                    .zip(shape)
                    .map(|(axis, extent)| match axis {
                        Some(axis) => {
                            let range = self.result_range(n, axis, out);
                            let ring = self.parts.rows.filter(|_| axis == SWEPT);
                            let ring = ring.and(self.memory.windows[window].ring).map(|(_, rows)| rows);
                            CopiedDim { range, origin: self.origins[axis], ring }
                        }
                        None => CopiedDim { range: (zero, extent), origin: zero, ring: None },
                    })
                    .collect();
                let from = self.memory.windows[window].buffer;
                let copy = self.copy(&dims, (from, to), &mut Vec::new());
                out.extend(copy);
            }
        }
    }

    /// Loops over the block, and over all of other dimensions, that copy a window.
    fn copy(
        &mut self,
        dims: &[CopiedDim],
        (from, to): (BufferId, BufferId),
        index: &mut Vec<(ExprId, ExprId)>,
    ) -> Vec<Stmt> {
        let Some((&CopiedDim { range, origin, ring }, rest)) = dims.split_first() else {
            let (source, target): (Vec<ExprId>, Vec<ExprId>) = index.iter().copied().unzip();
            let value = self.b.load(from, &source);
            return vec![self.b.store(to, &target, value)];
        };
        let source = |c: &mut Self, i: ExprId| {
            let at = c.b.sub(i, origin);
            ring.map_or(at, |rows| c.b.around(at, rows))
        };
        if !rest.is_empty() {
            return vec![self.serial((range, 1), |c, i| {
                index.push((source(c, i), i));
                let body = c.copy(rest, (from, to), index);
                index.pop();
                body
            })];
        }
        let length = self.b.sub(range.1, range.0);
        let lanes = self.b.int(LANES);
        let blocks = self.b.div(length, lanes);
        let whole = self.b.mul(blocks, lanes);
        let middle = self.b.add(range.0, whole);
        let element = |c: &mut Self, i: ExprId, index: &mut Vec<(ExprId, ExprId)>| {
            index.push((source(c, i), i));
            let body = c.copy(&[], (from, to), index);
            index.pop();
            body
        };
        let full = self.serial(((range.0, middle), LANES), |c, i| {
            let var = c.b.add_var("lane", DType::I64);
            let lane = c.b.var(var);
            let at = c.b.add(i, lane);
            let (lo, hi) = (c.b.int(0), c.b.int(LANES));
            let body = element(c, at, index);
            vec![Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Lanes, body }]
        });
        vec![full, self.serial(((middle, range.1), 1), |c, i| element(c, i, index))]
    }

    fn serial(
        &mut self,
        ((lo, hi), step): ((ExprId, ExprId), i64),
        body: impl FnOnce(&mut Self, ExprId) -> Vec<Stmt>,
    ) -> Stmt {
        let var = self.b.add_var("i", DType::I64);
        let counter = self.b.var(var);
        let body = body(self, counter);
        Stmt::Loop { var, lo, hi, step, kind: LoopKind::Serial, body }
    }
}

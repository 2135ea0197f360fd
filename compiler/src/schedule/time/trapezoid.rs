//! Blocks that draw in with the steps, then those between them, which grow: no point is computed twice, and no step needs
//! memory but that of the tensors themselves.
//!
//! ```text
//! for y.0 in 0..H step B {                                   blocks, over the cores where `parallel` says so
//!   for y in y.0     .. y.0 + B     { v[y] = f(u[y-1..y+1]) }     but not at the ends of the grid, where nothing draws in
//!   for y in y.0 + 1 .. y.0 + B - 1 { u[y] = f(v[y-1..y+1]) }
//!   for y in y.0 + 2 .. y.0 + B - 2 { v[y] = f(u[y-1..y+1]) }
//! }
//! for y.0 in B..H step B {                                   what lies between two blocks
//!   for y in y.0 - 1 .. y.0 + 1     { u[y] = f(v[y-1..y+1]) }
//!   for y in y.0 - 2 .. y.0 + 2     { v[y] = f(u[y-1..y+1]) }
//! }
//! ```
//!
//! After the blocks, the memory of a tensor holds at each point what the last step there left. [`Slopes`] makes sure that
//! this is what the steps between the blocks read:
//!
//! * What a stage reads, an earlier one gave in the same block: the later one draws in by as much as it reads beyond a point.
//! * What a stage reads between the blocks, no later one has written over in a block: that one draws in by as much more.
//! * What a stage writes between the blocks, no later one has written before in a block: that one draws in no less.
//!
//! The strips between blocks do not meet, with what they read, if blocks have [`Slopes::least`] points. Along an axis that wraps,
//! the grid's end and its beginning are such a strip too. Frumkin and Wijngaart describe such blocks ("Tight bounds on cache use
//! for stencil operations on rectangular grids", 2002); here they go along the outermost axis only.

use std::collections::BTreeMap;

use super::compose::{Composer, SWEPT};
use super::part::Block;
use super::stencil::refuse;
use super::step::Step;
use super::versions::{Stage, Stages};
use crate::diag::{Diagnostic, Span};
use crate::hir::ir::TensorId;
use crate::nest::ir::{CoreLoop, ExprId, LoopKind, Stmt};
use crate::schedule::kernel::ViewShape;

/// Where the stages of a block begin and end, and in whose memory they work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slopes {
    /// For each stage: the points by which it begins after a block's first, and ends before its last.
    pub(super) inward: Vec<(i64, i64)>,
    /// For each stage: the tensor of the pipeline whose memory each tensor of its kernel is at that time.
    pub(super) memory: Vec<Vec<TensorId>>,
    /// Least points of a block.
    pub(super) least: i64,
}

/// What a stage does to memory: how far it reads there, before and after a point, and whether it writes.
type Use = (Option<(i64, i64)>, bool);

impl Slopes {
    /// The slopes of several steps.
    pub(super) fn new(step: &Step, stages: &Stages) -> Slopes {
        let memory = memory(step, stages);
        let uses: Vec<BTreeMap<TensorId, Use>> =
            stages.all.iter().zip(&memory).map(|(stage, memory)| uses(step, stage.call, memory)).collect();
        let mut inward: Vec<(i64, i64)> = Vec::new();
        for later in &uses {
            let mut own = (0, 0);
            for (earlier, &(first, last)) in uses.iter().zip(&inward) {
                for (tensor, (reads, writes)) in later {
                    let Some((read_before, written_before)) = earlier.get(tensor) else { continue };
                    let mut least = |before: i64, after: i64| {
                        own = (own.0.max(first + before), own.1.max(last + after));
                    };
                    if let (Some((before, after)), true) = (reads, written_before) {
                        least(*before, *after);
                    }
                    if let (Some((before, after)), true) = (read_before, writes) {
                        // The other way round: it is the strip between blocks that reads into the block.
                        least(*after, *before);
                    }
                    if *written_before && *writes {
                        least(0, 0);
                    }
                }
            }
            inward.push(own);
        }
        let most = |of: fn(&(i64, i64)) -> i64| inward.iter().map(of).max().unwrap_or(0);
        let reach = uses.iter().flat_map(BTreeMap::values).filter_map(|(reads, _)| *reads);
        let reach = reach.map(|(before, after)| before.max(after)).max().unwrap_or(0);
        let least = (most(|s| s.0) + most(|s| s.1) + reach).max(1);
        Slopes { inward, memory, least }
    }

    /// Whether the blocks of an axis, whose name is given for what is said, are large enough, and each memory is seen in one way.
    ///
    /// # Errors
    /// E0504 where not.
    pub(super) fn fit(
        &self,
        span: Span,
        (step, stages): (&Step, &Stages),
        views: &[Vec<Option<ViewShape>>],
        (axis, block): (&str, Block),
    ) -> Result<(), Diagnostic> {
        let least = self.least;
        if let Some(points) = block.points.filter(|points| *points < least) {
            let message =
                format!("blocks of {points} along `{axis}` are too small for trapezoids of so many steps");
            return Err(refuse(span, &message).help(format!(
                "give them at least {least} points, as by tile({axis}, {least}), or take fewer steps"
            )));
        }
        let mut seen = BTreeMap::new();
        for (stage, memory) in stages.all.iter().zip(&self.memory) {
            for tensor in step.calls[stage.call].stencil.state.keys() {
                let view = &views[stage.call][tensor.index()];
                if *seen.entry(memory[tensor.index()]).or_insert(view) != view {
                    return Err(refuse(span, "kernels of a step see a tensor in different orders")
                        .help("give it one `layout` for all of them"));
                }
            }
        }
        Ok(())
    }
}

/// The memory behind each kernel's tensors. No tensor is exchanged for more than one other, so after two steps each has its
/// own again.
fn memory(step: &Step, stages: &Stages) -> Vec<Vec<TensorId>> {
    let other = |t: TensorId| {
        let pair = step.swaps.iter().find(|(a, b)| *a == t || *b == t);
        pair.map_or(t, |(a, b)| if *a == t { *b } else { *a })
    };
    let of_stage = |stage: &Stage| {
        let tensors = step.calls[stage.call].tensors.iter();
        tensors.map(|t| if stage.step % 2 == 1 { other(*t) } else { *t }).collect()
    };
    stages.all.iter().map(of_stage).collect()
}

/// What a call does to the state, by the memory that it is in.
fn uses(step: &Step, call: usize, memory: &[TensorId]) -> BTreeMap<TensorId, Use> {
    let call = &step.calls[call];
    // An axis that a kernel has not is whole for it, but every kernel of a step runs over the same grid.
    let own = call.axes.iter().position(|axis| *axis == SWEPT);
    let mut uses: BTreeMap<TensorId, Use> = BTreeMap::new();
    for (tensor, field) in &call.stencil.state {
        let reads = field.reads.as_ref().map(|reach| own.map_or((0, 0), |own| reach[own]));
        let (known, written) = uses.entry(memory[tensor.index()]).or_default();
        *known = match (*known, reads) {
            (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        *written |= field.written;
    }
    uses
}

impl Composer<'_> {
    /// The phase of the blocks, and that of what lies between them.
    pub(super) fn trapezoids(&mut self, slopes: &Slopes) {
        let block = self.parts.blocks[SWEPT];
        let wraps = self.parts.step.wraps[SWEPT];
        let extent = self.extents[SWEPT];
        let zero = self.b.int(0);
        self.origins = vec![zero; self.extents.len()];
        self.range = self.extents.iter().map(|extent| (zero, *extent)).collect();
        let Some(points) = block.points else {
            // One block, which nothing draws in but where it meets itself.
            let mut body = Vec::new();
            self.block(slopes, (zero, extent), &mut body);
            self.b.add_phase(Vec::new(), body);
            if wraps {
                let mut body = Vec::new();
                self.between(slopes, extent, &mut body);
                self.b.add_phase(Vec::new(), body);
            }
            return;
        };
        // The last block has what is left over, lest it be too short.
        let size = self.b.int(points);
        let blocks = self.b.div(extent, size);
        let whole = self.b.mul(blocks, size);
        let end = self.b.max(whole, size);
        self.phase(block.parallel, (zero, end, points), |c, first, body| {
            let hi = c.block_end(first, points);
            let hi = c.bind("end", hi, body);
            c.block(slopes, (first, hi), body);
        });
        // The end of each block but the last, which is the grid's.
        let last = self.b.add_int(end, -points);
        let last = if wraps { end } else { last };
        self.phase(block.parallel, (zero, last, points), |c, first, body| {
            let at = c.block_end(first, points);
            let at = c.bind("end", at, body);
            c.between(slopes, at, body);
        });
    }

    /// One past the last point of the block that begins at `first`.
    fn block_end(&mut self, first: ExprId, points: i64) -> ExprId {
        let extent = self.extents[SWEPT];
        let end = self.b.add_int(first, points);
        let next = self.b.add_int(first, 2 * points);
        let is_last = self.b.lt(extent, next);
        self.b.select(is_last, extent, end)
    }

    /// A phase of one loop, whose body gets the counter.
    fn phase(
        &mut self,
        parallel: bool,
        range: (ExprId, ExprId, i64),
        body: impl FnOnce(&mut Self, ExprId, &mut Vec<Stmt>),
    ) {
        // Scratch is a phase's own.
        self.memory.forget_scratch();
        let (core, counter) = self.b.core_loop(&format!("{}.0", self.parts.names[SWEPT]), range);
        let mut stmts = Vec::new();
        body(self, counter, &mut stmts);
        if parallel {
            self.b.add_phase(vec![core], stmts);
        } else {
            let CoreLoop { var, lo, hi, step } = core;
            let body = vec![Stmt::Loop { var, lo, hi, step, kind: LoopKind::Serial, body: stmts }];
            self.b.add_phase(Vec::new(), body);
        }
    }

    /// All stages of a block.
    fn block(&mut self, slopes: &Slopes, (lo, hi): (ExprId, ExprId), out: &mut Vec<Stmt>) {
        let (zero, extent) = (self.b.int(0), self.extents[SWEPT]);
        let wraps = self.parts.step.wraps[SWEPT];
        for (n, &(before, after)) in slopes.inward.iter().enumerate() {
            let (mut first, mut end) = (lo, hi);
            if before != 0 {
                first = self.b.add_int(lo, before);
                if !wraps {
                    let begins = self.b.eq(lo, zero);
                    first = self.b.select(begins, zero, first);
                }
                first = self.bind("lo", first, out);
            }
            if after != 0 {
                end = self.b.add_int(hi, -after);
                if !wraps {
                    let ends = self.b.eq(hi, extent);
                    end = self.b.select(ends, extent, end);
                }
                end = self.bind("hi", end, out);
            }
            self.stage_over(n, (first, end), out);
        }
    }

    /// All stages of what lies around the end of a block.
    fn between(&mut self, slopes: &Slopes, at: ExprId, out: &mut Vec<Stmt>) {
        let (zero, extent) = (self.b.int(0), self.extents[SWEPT]);
        let next = if self.parts.step.wraps[SWEPT] {
            let ends = self.b.eq(at, extent);
            let next = self.b.select(ends, zero, at);
            self.bind("next", next, out)
        } else {
            at
        };
        for (n, &(after, before)) in slopes.inward.iter().enumerate() {
            if (before, after) == (0, 0) {
                continue;
            }
            let first = self.b.add_int(at, -before);
            let end = self.b.add_int(next, after);
            if next == at {
                self.stage_over(n, (first, end), out);
            } else {
                self.stage_over(n, (first, at), out);
                self.stage_over(n, (next, end), out);
            }
        }
    }

    /// A stage over rows of the grid.
    fn stage_over(&mut self, n: usize, rows: (ExprId, ExprId), out: &mut Vec<Stmt>) {
        let mut region = self.range.clone();
        region[SWEPT] = rows;
        self.run(n, &region, out);
    }
}

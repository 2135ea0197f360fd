//! The stages of several steps as one nest: blocks of the grid, and in each block one stage after the other, from
//! window to window.
//!
//! ```text
//! for y.0 in 0..H step B {                         cores, or in order
//!   for y in y.0 - 2..y.0 + B + 2 { a[y] = f(u[y-1..y+1]) }
//!   for y in y.0 - 1..y.0 + B + 1 { b[y] = f(a[y-1..y+1]) }
//!   for y in y.0..y.0 + B         { v[y] = f(b[y-1..y+1]) }
//! }
//! ```
//!
//! As a wavefront, a block is swept in strips of `S` rows, of which each stage gives as many, as far ahead of the next
//! stage as that one reads; windows keep the rows that are still read:
//!
//! ```text
//! for y.0 in 0..H step B {
//!   for w in y.0 - 4..y.0 + B step S {
//!     for y in w + 2..w + S + 2 { a[y & 3] = f(u[y-1..y+1]) }     those of y.0 - 2..y.0 + B + 2
//!     for y in w + 1..w + S + 1 { b[y & 3] = f(a[y-1..y+1 & 3]) } those of y.0 - 1..y.0 + B + 1
//!     for y in w..w + S         { v[y] = f(b[y-1..y+1 & 3]) }     those of y.0..y.0 + B
//!   }
//! }
//! ```

use super::memory::{Memory, ROW, Slot};
use super::part::{Block, Places};
use super::stencil::Reach;
use super::step::{Call, Step};
use super::trapezoid::Slopes;
use super::versions::Stages;
use crate::hir::ir::TensorId;
use crate::nest::build::Builder;
use crate::nest::inline::{Bound, Place, inline, inline_expr};
use crate::nest::ir::{Buffer, CoreLoop, ExprId, LoopKind, Nest, Space, Stmt};
use crate::schedule::kernel::{KernelNest, ViewShape, ViewShapeDim};
use rooftile_artifact::DType;

/// The axis that a wavefront goes along.
pub(super) const SWEPT: usize = 0;

/// What the stages are made of.
pub(super) struct Parts<'a> {
    /// The step.
    pub(super) step: &'a Step,
    /// Its stages.
    pub(super) stages: &'a Stages,
    /// How the grid is cut, for each axis of the step.
    pub(super) blocks: &'a [Block],
    /// Rows of a strip, for a wavefront.
    pub(super) rows: Option<i64>,
    /// Where stages begin and end, for trapezoids.
    pub(super) slopes: Option<&'a Slopes>,
    /// The names of the axes.
    pub(super) names: &'a [String],
    /// The loops of each call over all of its grid.
    pub(super) whole: &'a [Nest],
    /// How the tensors of each call lie.
    pub(super) views: &'a [Vec<Option<ViewShape>>],
    /// Loops over parts of grids.
    pub(super) made: &'a [(usize, Places, KernelNest)],
    /// The loops of each stage, among `made`.
    pub(super) of_stage: &'a [usize],
    /// The parameter that holds each scalar of each stage's kernel.
    pub(super) scalars: &'a [Vec<usize>],
    /// Names and types of all parameters.
    pub(super) params: &'a [(String, DType)],
}

/// The composed nest and what its slots hold. Its sizes are those of all calls, one after the other.
pub(super) fn compose(name: &str, parts: &Parts<'_>) -> (Nest, Vec<Slot>) {
    let mut b = Builder::new(name);
    let mut sizes = Vec::new();
    for nest in parts.whole {
        sizes.push(nest.sizes.iter().map(|s| b.add_size(s)).collect::<Vec<_>>());
    }
    let params: Vec<ExprId> = parts.params.iter().map(|(name, dtype)| b.add_scalar(name, *dtype)).collect();
    let halo = parts.stages.halo();
    let mut c = Composer {
        parts,
        b,
        sizes,
        params,
        halo,
        memory: Memory::default(),
        extents: Vec::new(),
        origins: Vec::new(),
        range: Vec::new(),
        strip: None,
    };
    c.align();
    c.extents = (0..parts.step.axes).map(|n| c.extent(n)).collect();
    if let Some(slopes) = parts.slopes {
        c.trapezoids(slopes);
    } else {
        let (cores, body) = c.blocks();
        c.b.add_phase(cores, body);
    }
    (c.b.finish(), c.memory.slots)
}

/// Writes the composed nest.
pub(super) struct Composer<'a> {
    pub(super) parts: &'a Parts<'a>,
    pub(super) b: Builder,
    /// The sizes of each call's kernel.
    pub(super) sizes: Vec<Vec<ExprId>>,
    pub(super) params: Vec<ExprId>,
    /// What windows have room for around a block: the most that a stage goes beyond it, in whole lines before it.
    pub(super) halo: Reach,
    pub(super) memory: Memory,
    /// The extent of each axis of the grid.
    pub(super) extents: Vec<ExprId>,
    /// The index that each axis' first element of a window stands for.
    pub(super) origins: Vec<ExprId>,
    /// The block's first index and one past its last, for each axis.
    pub(super) range: Vec<(ExprId, ExprId)>,
    /// The same of the strip, along the axis that a wavefront goes along.
    strip: Option<(ExprId, ExprId)>,
}

impl Composer<'_> {
    pub(super) fn call(&self, n: usize) -> &Call {
        &self.parts.step.calls[n]
    }

    /// The buffer of a kernel's tensor in the loops over all of its grid.
    pub(super) fn whole_buffer(&self, call: usize, tensor: TensorId) -> Option<&Buffer> {
        let slot = u32::try_from(tensor.index()).unwrap_or(u32::MAX);
        let mut all = self.parts.whole[call].buffers.iter();
        all.find(|(_, b)| b.space == Space::Global(slot)).map(|(_, b)| b)
    }

    /// An extent of a call's kernel.
    pub(super) fn host(&mut self, call: usize, stage: usize, e: ExprId) -> ExprId {
        let params: Vec<ExprId> = self.parts.scalars[stage].iter().map(|n| self.params[*n]).collect();
        let bound = Bound { sizes: &self.sizes[call], params: &params };
        inline_expr(&mut self.b, &self.parts.whole[call], &bound, e)
    }

    /// For each dimension of a tensor of the state in memory: the axis of the step that it lies along.
    pub(super) fn along(&self, call: usize, tensor: TensorId) -> Vec<Option<usize>> {
        let c = self.call(call);
        let Some(field) = c.stencil.state.get(&tensor) else { return Vec::new() };
        let axis = |d: usize| field.dims.get(d).copied().flatten().map(|own| c.axes[own]);
        match self.parts.views[call].get(tensor.index()).and_then(Option::as_ref) {
            None => (0..field.dims.len()).map(axis).collect(),
            Some(view) => view
                .dims
                .iter()
                .map(|d| match d {
                    ViewShapeDim::Whole(d) | ViewShapeDim::Part(d) => axis(*d),
                    ViewShapeDim::Fixed | ViewShapeDim::Panel(..) | ViewShapeDim::InPanel(..) => None,
                })
                .collect(),
        }
    }

    /// Rounds the halo up where elements lie side by side.
    fn align(&mut self) {
        for (n, call) in self.parts.step.calls.iter().enumerate() {
            for &tensor in call.stencil.state.keys() {
                if let Some(axis) = self.along(n, tensor).last().copied().flatten() {
                    let before = &mut self.halo[axis].0;
                    *before = (*before + ROW - 1) / ROW * ROW;
                }
            }
        }
    }

    /// The extent of an axis of the grid.
    fn extent(&mut self, axis: usize) -> ExprId {
        for (call, c) in self.parts.step.calls.iter().enumerate() {
            for &tensor in c.stencil.state.keys() {
                let dim = self.along(call, tensor).iter().position(|a| *a == Some(axis));
                let shape = self.whole_buffer(call, tensor).map(|b| b.shape.clone());
                let stage = self.parts.stages.all.iter().position(|s| s.call == call);
                if let (Some(dim), Some(shape), Some(stage)) = (dim, shape, stage) {
                    return self.host(call, stage, shape[dim]);
                }
            }
        }
        // Every axis of a stencil is one of its state's.
        self.b.int(0)
    }

    /// The loops over blocks around the stages: those that are shared out, and the rest as statements.
    fn blocks(&mut self) -> (Vec<CoreLoop>, Vec<Stmt>) {
        let zero = self.b.int(0);
        let axes: Vec<usize> = (0..self.parts.step.axes).collect();
        let block = |n: &usize| self.parts.blocks[*n];
        let (cores, serial): (Vec<usize>, Vec<usize>) =
            axes.iter().filter(|n| block(n).points.is_some()).partition(|n| block(n).parallel);
        let name = |n: usize| format!("{}.0", self.parts.names[n]);
        let mut loops = Vec::new();
        let mut first = vec![zero; axes.len()];
        for n in cores {
            let range = (zero, self.extents[n], self.parts.blocks[n].points.unwrap_or(1));
            let (core, var) = self.b.core_loop(&name(n), range);
            loops.push(core);
            first[n] = var;
        }
        let mut vars = Vec::new();
        for &n in &serial {
            let var = self.b.add_var(&name(n), DType::I64);
            first[n] = self.b.var(var);
            vars.push(var);
        }
        let mut body = self.stages(&first);
        for (&n, &var) in serial.iter().zip(&vars).rev() {
            let (hi, step) = (self.extents[n], self.parts.blocks[n].points.unwrap_or(1));
            body = vec![Stmt::Loop { var, lo: zero, hi, step, kind: LoopKind::Serial, body }];
        }
        (loops, body)
    }

    pub(super) fn bind(&mut self, name: &str, e: ExprId, out: &mut Vec<Stmt>) -> ExprId {
        let (stmt, var) = self.b.bind(name, e);
        out.push(stmt);
        var
    }

    /// All stages of the block that begins at `first`.
    fn stages(&mut self, first: &[ExprId]) -> Vec<Stmt> {
        let mut out = Vec::new();
        let zero = self.b.int(0);
        for (n, &lo) in first.iter().enumerate() {
            let extent = self.extents[n];
            let hi = match self.parts.blocks[n].points {
                Some(points) => {
                    let end = self.b.add_int(lo, points);
                    let end = self.b.min(end, extent);
                    self.bind("end", end, &mut out)
                }
                None => extent,
            };
            self.range.push((lo, hi));
            let before = self.halo[n].0;
            let origin = self.b.add_int(lo, -before);
            let origin = if n == SWEPT && self.parts.rows.is_some() {
                // Rows go round.
                zero
            } else if before == 0 || self.parts.step.wraps[n] {
                origin
            } else {
                let origin = self.b.max(origin, zero);
                self.bind("origin", origin, &mut out)
            };
            self.origins.push(origin);
        }
        match self.parts.rows {
            Some(rows) => {
                let sweep = self.sweep(rows);
                out.push(sweep);
            }
            None => (0..self.parts.stages.all.len()).for_each(|n| self.stage(n, &mut out)),
        }
        out
    }

    /// The loop over the strips of a block.
    fn sweep(&mut self, rows: i64) -> Stmt {
        let (lo, hi) = self.range[SWEPT];
        let furthest = self.parts.stages.all.iter().map(|s| s.growth[SWEPT].0 + s.growth[SWEPT].1).max();
        // The first strips give what lies before the block.
        let ahead = (furthest.unwrap_or(0) + rows - 1) / rows * rows;
        let first = self.b.add_int(lo, -ahead);
        let name = format!("{}.w", self.parts.names[SWEPT]);
        let var = self.b.add_var(&name, DType::I64);
        let begin = self.b.var(var);
        let mut body = Vec::new();
        let end = self.b.add_int(begin, rows);
        let end = self.b.min(end, hi);
        let end = self.bind("end", end, &mut body);
        self.strip = Some((begin, end));
        for n in 0..self.parts.stages.all.len() {
            self.stage(n, &mut body);
        }
        self.strip = None;
        Stmt::Loop { var, lo: first, hi, step: rows, kind: LoopKind::Serial, body }
    }

    /// The rows that a stage gives in the strip, of those that it gives in the block.
    fn in_strip(&mut self, after: i64, (lo, hi): (ExprId, ExprId), out: &mut Vec<Stmt>) -> (ExprId, ExprId) {
        let Some((first, end)) = self.strip else { return (lo, hi) };
        let (first, end) = (self.b.add_int(first, after), self.b.add_int(end, after));
        let first = self.b.max(first, lo);
        let first = self.bind("first", first, out);
        let end = self.b.min(end, hi);
        let end = self.b.max(end, first);
        (first, self.bind("end", end, out))
    }

    /// The part of the block that a stage's results are taken from.
    pub(super) fn result_range(&mut self, n: usize, axis: usize, out: &mut Vec<Stmt>) -> (ExprId, ExprId) {
        let range = self.range[axis];
        match axis {
            SWEPT => self.in_strip(self.parts.stages.all[n].growth[axis].1, range, out),
            _ => range,
        }
    }

    /// The part of the grid that a stage gives.
    fn region(&mut self, growth: &Reach, out: &mut Vec<Stmt>) -> Vec<(ExprId, ExprId)> {
        let zero = self.b.int(0);
        let mut region = Vec::new();
        for (n, &(before, after)) in growth.iter().enumerate() {
            let (mut first, mut end) = self.range[n];
            let open = self.parts.step.wraps[n];
            if before != 0 {
                first = self.b.add_int(first, -before);
                first = if open { first } else { self.b.max(first, zero) };
                first = self.bind("lo", first, out);
            }
            if after != 0 {
                end = self.b.add_int(end, after);
                end = if open { end } else { self.b.min(end, self.extents[n]) };
                end = self.bind("hi", end, out);
            }
            if n == SWEPT {
                (first, end) = self.in_strip(after, (first, end), out);
            }
            region.push((first, end));
        }
        region
    }

    fn stage(&mut self, n: usize, out: &mut Vec<Stmt>) {
        self.make_room(n);
        let region = self.region(&self.parts.stages.all[n].growth, out);
        self.run(n, &region, out);
        self.results(n, out);
    }

    /// The loops of a stage over a part of the grid.
    pub(super) fn run(&mut self, n: usize, region: &[(ExprId, ExprId)], out: &mut Vec<Stmt>) {
        let (_, _, part) = &self.parts.made[self.parts.of_stage[n]];
        let sizes = self.part_sizes(n, region);
        let most: Vec<(ExprId, ExprId)> = (0..region.len()).map(|n| self.most(n)).collect();
        let most = self.part_sizes(n, &most);
        let params = self.stage_params(n);
        let bound = Bound { sizes: &sizes, params: &params };
        // The builder and the memory are changed in turn.
        let mut b = std::mem::take(&mut self.b);
        let body = &part.nest.phases[0].body;
        out.extend(inline(&mut b, &part.nest, &bound, body, &mut |b, id| {
            std::mem::swap(&mut self.b, b);
            let buffer = self.buffer(n, id, &Bound { sizes: &most, params: &params });
            std::mem::swap(&mut self.b, b);
            Place { buffer, ring: self.memory.ring(buffer) }
        }));
        self.b = b;
    }

    /// What the scalars of a stage's kernel are.
    pub(super) fn stage_params(&self, stage: usize) -> Vec<ExprId> {
        self.parts.scalars[stage].iter().map(|n| self.params[*n]).collect()
    }

    /// The sizes of a stage's loops over a region of the grid: the kernel's own, the bounds, then those of views.
    fn part_sizes(&mut self, n: usize, region: &[(ExprId, ExprId)]) -> Vec<ExprId> {
        let call = self.parts.stages.all[n].call;
        let (_, places, _) = &self.parts.made[self.parts.of_stage[n]];
        let (c, views) = (&self.parts.step.calls[call], &self.parts.views[call]);
        let of_view =
            |v: &Option<ViewShape>| v.as_ref().map_or(0, |v| v.dims.iter().map(|d| d.sizes()).sum::<usize>());
        let own = self.sizes[call].len() - views.iter().map(of_view).sum::<usize>();
        let (mut sizes, mut rest) = (self.sizes[call][..own].to_vec(), self.sizes[call][own..].to_vec());
        sizes.extend(c.axes.iter().flat_map(|axis| [region[*axis].0, region[*axis].1]));
        for (t, view) in views.iter().enumerate() {
            let tensor = TensorId::from_index(t);
            if places.read_windows.contains(&tensor) {
                sizes.extend(self.window_sizes(call, tensor));
            } else {
                sizes.extend(rest.drain(..of_view(view)));
            }
        }
        for tensor in &places.written_windows {
            sizes.extend(self.window_sizes(call, *tensor));
        }
        sizes
    }

    /// Where a window lies in its tensor. Its extents are those of the buffer that stands for it.
    fn window_sizes(&mut self, call: usize, tensor: TensorId) -> Vec<ExprId> {
        let zero = self.b.int(0);
        let axes = self.along(call, tensor).into_iter().flatten();
        axes.flat_map(|axis| [self.b.sub(zero, self.origins[axis]), zero]).collect()
    }
}

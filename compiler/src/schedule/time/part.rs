//! A kernel over a part of its grid: the loops of one stage.
//!
//! ```text
//! for y in 0..H, x in 0..W { v[y,x] = f(u[y-1,x], c[y,x], y) }
//!   =>  for y in y.lo..y.hi, x in x.lo..x.hi { v'[y,x] = f(u[y-1,x], c[y,x], y) }
//! ```
//!
//! Bounds become sizes. What is written is a tensor of its own beside what is read. Either may be a window, of which only
//! the elements near the part are in memory. Along an axis that wraps, bounds and the state's indices count on beyond the
//! grid, and elsewhere `y` is `y % H`.

use std::collections::BTreeMap;

use super::compose::SWEPT;
use super::stencil::refuse;
use super::step::{Call, Step};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, BinaryOp, Edge, ExprId, ExprKind, Size, TensorId};
use crate::schedule::form::{Action, Cut, Form};
use crate::schedule::kernel::{self, KernelNest, Setup, ViewShape, ViewShapeDim};
use crate::schedule::levels::AxisSpec;
use crate::schedule::plan::AxisRef;
use rooftile_artifact::DType;

/// Points of a block along an axis that is shared out and has no tile.
const POINTS: i64 = 64;

/// How the grid of a kernel is cut into blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Points; `None` for the whole axis.
    pub(super) points: Option<i64>,
    /// Whether blocks are shared out over the cores.
    pub(super) parallel: bool,
}

/// The blocks that a setup asks for along an axis.
pub(super) fn block(spec: &AxisSpec) -> Block {
    let points = spec.steps().first().copied();
    let unit = spec.lanes.unwrap_or(1) * spec.unroll.unwrap_or(1);
    let default = spec.parallel.then_some(POINTS.max(unit));
    Block { points: points.or(default), parallel: spec.parallel }
}

/// Points of an axis that a stage is ahead of the next one by, beside what that one reads: those of an inner tile, else of
/// what is written out.
pub(super) fn rows(spec: &AxisSpec) -> i64 {
    let unit = spec.lanes.unwrap_or(1) * spec.unroll.unwrap_or(1);
    spec.steps().get(1).copied().unwrap_or(unit).max(1)
}

/// Where a stage finds the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Tensors of the state whose windows are read.
    pub(super) read_windows: Vec<TensorId>,
    /// Written tensors that go to windows.
    pub(super) written_windows: Vec<TensorId>,
    /// Whether what is written stays in the kernel's own tensors, in place of what they held.
    pub(super) in_place: bool,
}

/// The loops of a stage, whose sizes are the kernel's, then two for each axis of the grid, then those of views. Written
/// tensors come after the kernel's own, in their order, unless they stay what they are.
///
/// # Errors
/// What lowering reports, and E0504 where one phase does not do.
pub(super) fn part(
    (mut form, mut setup): (Form, Setup),
    (step, call): (&Step, &Call),
    places: &Places,
    views: &[Option<ViewShape>],
) -> Result<KernelNest, Diagnostic> {
    let span = form.func.span;
    let mut views = views.to_vec();
    let mut in_blocks = Vec::new();
    for (n, &axis) in call.stencil.axes.iter().enumerate() {
        cut(&mut form, axis, step.wraps[call.axes[n]]);
        let spec = &mut setup.specs[axis.index()];
        let blocked = !places.in_place || call.axes[n] == SWEPT;
        if blocked && block(spec).points.is_some() {
            in_blocks.push(form.func.axes[axis].name.clone());
        }
        *spec = if blocked { inner(spec) } else { AxisSpec { shift: true, ..spec.clone() } };
    }
    setup.specs.iter_mut().for_each(|s| s.parallel = false);
    setup.order = setup.order.iter().filter_map(|r| inside(&in_blocks, r)).collect();
    for stage in &mut setup.stages {
        let tensor = &form.func.tensors[stage.tensor];
        stage.at = inside(&in_blocks, &stage.at).ok_or_else(|| {
            let message = format!("`{}` cannot be staged for all steps of a block", tensor.name);
            Diagnostic::error(Code::Illegal, tensor.span, message)
                .help(format!("stage it at `{}.1`, or leave it where it is", stage.at.name))
        })?;
    }
    for (&tensor, field) in &call.stencil.state {
        if field.reads.is_some() {
            periodic(&mut form, (step, call), tensor, places.read_windows.contains(&tensor));
        }
    }
    wrapped_indices(&mut form, (step, call));
    for (&tensor, field) in call.stencil.state.iter().filter(|(_, f)| f.written && !places.in_place) {
        let mut target = form.func.tensors[tensor].clone();
        target.name.push('\'');
        let target = form.func.tensors.push(target);
        for s in form.stmts.handles() {
            if let Action::Store { tensor: t, .. } = &mut form.stmts[s].action
                && *t == tensor
            {
                *t = target;
            }
        }
        views.push(views[tensor.index()].clone());
        if places.written_windows.contains(&tensor) {
            let last = views.len() - 1;
            views[last] = Some(window(&field.dims, views[last].as_ref()));
        }
    }
    for tensor in &places.read_windows {
        let dims = &call.stencil.state[tensor].dims;
        let axes = dims.iter().map(|d| d.map(|n| call.stencil.axes[n])).collect();
        form.windows.insert(*tensor, axes);
        views[tensor.index()] = Some(window(dims, views[tensor.index()].as_ref()));
    }
    if places.in_place {
        // What is read for nothing has to be a block's own as well.
        for (&tensor, field) in call.stencil.state.iter().filter(|(_, f)| f.reads.is_some()) {
            let swept = |n: usize| (call.axes[n] == SWEPT).then(|| call.stencil.axes[n]);
            let axes = field.dims.iter().map(|d| d.and_then(swept)).collect();
            form.windows.insert(tensor, axes);
        }
    }
    let nest = kernel::lower_form(form, &setup, &views)?;
    let single = matches!(&nest.nest.phases[..], [phase] if phase.cores.is_empty());
    if !single || !nest.scratch.is_empty() {
        return Err(refuse(span, "a step needs several phases")
            .help("leave out `split`, `scan` and `scatter`, whose parts meet in memory that all cores see"));
    }
    Ok(nest)
}

/// What is left of an axis' loops inside a block.
fn inner(spec: &AxisSpec) -> AxisSpec {
    // Parts are as long as they come, and rarely a number of blocks.
    AxisSpec { tiles: spec.steps().into_iter().skip(1).collect(), shift: true, ..spec.clone() }
}

/// A loop as a stage knows it: the loops over blocks, of the axes that have such, are outside.
fn inside(in_blocks: &[String], at: &AxisRef) -> Option<AxisRef> {
    match at.level {
        Some(0) if in_blocks.contains(&at.name) => None,
        Some(n) if in_blocks.contains(&at.name) => {
            Some(AxisRef { name: at.name.clone(), level: Some(n - 1) })
        }
        _ => Some(at.clone()),
    }
}

/// Lets an axis run from one size to another.
fn cut(form: &mut Form, axis: AxisId, wraps: bool) {
    let (name, span) = (form.func.axes[axis].name.clone(), form.func.axes[axis].span);
    let (lo, hi) = (form.func.axes[axis].lo, form.func.axes[axis].hi);
    let mut size = |end: &str| {
        let size = form.func.sizes.push(Size { name: format!("{name}.{end}"), span });
        form.expr(ExprKind::Size(size), DType::I64, span)
    };
    let (first, end) = (size("lo"), size("hi"));
    form.func.axes[axis].lo = first;
    form.func.axes[axis].hi = end;
    let index = form.expr(ExprKind::Axis(axis), DType::I64, span);
    let wrapped = wraps.then(|| form.binary(BinaryOp::Rem, index, hi));
    form.cuts.insert(axis, Cut { lo, hi, wrapped });
}

/// Along axes that wrap, every read of the state may leave the grid: in memory it comes back at the other end, a window
/// goes on.
fn periodic(form: &mut Form, (step, call): (&Step, &Call), tensor: TensorId, window: bool) {
    let wraps: Vec<bool> = call.stencil.state[&tensor]
        .dims
        .iter()
        .map(|d| d.is_some_and(|n| step.wraps[call.axes[n]]))
        .collect();
    for (d, _) in wraps.iter().enumerate().filter(|(_, w)| **w) {
        form.func.tensors[tensor].edges[d] = Some(Edge::Wrap);
    }
    for e in form.func.exprs.handles() {
        if let ExprKind::Load { tensor: t, leaves, .. } = &mut form.func.exprs[e].kind
            && *t == tensor
        {
            for (leaves, _) in leaves.iter_mut().zip(&wraps).filter(|(_, w)| **w) {
                *leaves = !window;
            }
        }
    }
}

/// Where the index of an axis that wraps is used otherwise than for the state, it is that of the grid.
fn wrapped_indices(form: &mut Form, (step, call): (&Step, &Call)) {
    if call.axes.iter().all(|n| !step.wraps[*n]) {
        return;
    }
    let mut memo = BTreeMap::new();
    for s in form.stmts.handles() {
        let mut action = form.stmts[s].action.clone();
        match &mut action {
            // A point gives its own elements, which windows and values have.
            Action::Store { expr, .. } | Action::Set { expr, .. } | Action::Scatter { expr, .. } => {
                *expr = wrapped(form, call, *expr, &mut memo);
            }
            other => other.map_exprs(|e| wrapped(form, call, e, &mut memo)),
        }
        form.stmts[s].action = action;
    }
}

fn wrapped(form: &mut Form, call: &Call, e: ExprId, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
    form.rewrite(e, memo, &mut |f: &mut Form, x: ExprId| match f.func.exprs[x].kind.clone() {
        ExprKind::Axis(a) => f.cuts.get(&a).and_then(|c| c.wrapped),
        // The state is periodic by itself.
        ExprKind::Load { tensor, .. } if call.stencil.state.contains_key(&tensor) => Some(x),
        // A value has the points of the part.
        ExprKind::ValueAt(v, mut index) => {
            let axes = f.func.values[v].axes.clone();
            for (ix, axis) in index.iter_mut().zip(axes) {
                if !matches!(f.func.exprs[*ix].kind, ExprKind::Axis(a) if a == axis) {
                    *ix = wrapped(f, call, *ix, &mut BTreeMap::new());
                }
            }
            let (dtype, span) = (f.func.exprs[x].dtype, f.func.exprs[x].span);
            Some(f.expr(ExprKind::ValueAt(v, index), dtype, span))
        }
        _ => None,
    })
}

/// A view of which only a window is in memory along the axes of the grid.
fn window(dims: &[Option<usize>], view: Option<&ViewShape>) -> ViewShape {
    let of = |d: usize| match dims[d] {
        Some(_) => ViewShapeDim::Part(d),
        None => ViewShapeDim::Whole(d),
    };
    let dims = match view {
        None => (0..dims.len()).map(of).collect(),
        Some(view) => view
            .dims
            .iter()
            .map(|d| match d {
                ViewShapeDim::Whole(d) => of(*d),
                other => *other,
            })
            .collect(),
    };
    ViewShape { dims }
}

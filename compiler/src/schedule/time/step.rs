//! One pass of a repeat as a list of stencils over common axes.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::HostExpr;

use super::stencil::{self, Stencil, refuse};
use crate::diag::{Diagnostic, Span};
use crate::hir::ir::{
    AxisId, CallArg, ExprKind, File, Func, FuncId, ParamRef, Role, Stmt, StmtKind, TensorId, View,
};
use crate::hir::walk;
use crate::schedule::{host, normal};

/// A call of a step. Numbers of tensors are those of the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The kernel.
    pub(super) callee: FuncId,
    /// What it does to the state.
    pub(super) stencil: Stencil,
    /// The pipeline's tensor behind each of the kernel's.
    pub(super) tensors: Vec<TensorId>,
    /// The step's number of each axis of the grid.
    pub(super) axes: Vec<usize>,
}

/// What is done in one pass of a repeat.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The launches.
    pub(super) calls: Vec<Call>,
    /// Tensors that take each other's place afterwards.
    pub(super) swaps: Vec<(TensorId, TensorId)>,
    /// Number of axes of the grid.
    pub(super) axes: usize,
    /// Whether the state is periodic along an axis.
    pub(super) wraps: Vec<bool>,
    /// Tensors of the state that are seen after the repeat.
    pub(super) seen: BTreeSet<TensorId>,
}

/// The body of a repeat over `axis` as a step.
///
/// # Errors
/// E0504 with the place that is in the way.
pub(super) fn step(
    file: &File,
    func: &Func,
    (axis, span): (AxisId, Span),
    swaps: &[(TensorId, TensorId)],
    body: &[Stmt],
) -> Result<Step, Diagnostic> {
    let mut state: BTreeSet<TensorId> = swaps.iter().flat_map(|(a, b)| [*a, *b]).collect();
    for stmt in body {
        let StmtKind::Call { callee, args, sizes } = &stmt.kind else {
            return Err(refuse(stmt.span, "a step is a list of calls of kernels")
                .help("move this out of the repeat, or into a kernel"));
        };
        let target = &file.funcs[*callee];
        for (param, arg) in target.params.iter().zip(args) {
            match (param, arg) {
                (ParamRef::Tensor(t), CallArg::Tensor(view)) if target.tensors[*t].role != Role::In => {
                    state.insert(view.tensor);
                }
                _ => {}
            }
        }
        let views = args.iter().flat_map(|a| match a {
            CallArg::Tensor(v) => {
                let parts = v.dims.iter().flat_map(|d| d.lo.iter().chain(&d.extent));
                parts.chain(v.fixed.iter().map(|(_, at)| at)).copied().collect()
            }
            CallArg::Scalar(_) => Vec::new(),
        });
        if let Some(e) =
            sizes.iter().copied().chain(views).find(|e| walk::mentions(func, *e, &ExprKind::Axis(axis)))
        {
            let message = format!("a size changes with `{}`", func.axes[axis].name);
            let span = if func.exprs[e].span == Span::default() { stmt.span } else { func.exprs[e].span };
            return Err(refuse(span, &message).help("steps that are taken together have the same sizes"));
        }
    }
    let mut step = Step {
        calls: Vec::new(),
        swaps: swaps.to_vec(),
        axes: 0,
        wraps: Vec::new(),
        seen: seen(func, &state, body),
    };
    let counters = func.axes.handles().map(|a| (a, a.index())).collect();
    let mut extents: Vec<HostExpr> = Vec::new();
    let mut along: BTreeMap<TensorId, Vec<Option<usize>>> = BTreeMap::new();
    for stmt in body {
        let StmtKind::Call { callee, args, sizes } = &stmt.kind else { continue };
        let call = call(file, func, (*callee, args, stmt.span), &state, &mut along)?;
        let target = &file.funcs[*callee];
        for (own, n) in call.stencil.axes.iter().zip(&call.axes) {
            let sizes: Vec<HostExpr> =
                sizes.iter().map(|e| host::of_hir(func, *e, &counters)).collect::<Result<_, _>>()?;
            let extent = host::of_hir(target, target.axes[*own].hi, &BTreeMap::new())?;
            let extent = host::substitute(extent, &sizes, &[])
                .ok_or_else(|| refuse(target.axes[*own].span, "the extent of the grid is not a size"))?;
            match extents.get(*n) {
                Some(known) if *known != extent => {
                    let message = format!(
                        "`{}` has not the extent that the kernels before it gave",
                        target.axes[*own].name
                    );
                    return Err(refuse(target.axes[*own].span, &message)
                        .help("all kernels of a step run over the same grid"));
                }
                Some(_) => {}
                None => extents.push(extent),
            }
        }
        step.axes = call.axes.len();
        step.wraps.resize(step.axes, false);
        for (wraps, n) in call.stencil.wraps.iter().zip(&call.axes) {
            step.wraps[*n] |= wraps;
        }
        step.calls.push(call);
    }
    if step.calls.is_empty() {
        return Err(refuse(span, "a step launches nothing"));
    }
    for call in &step.calls {
        for (own, n) in call.axes.iter().enumerate() {
            let fixed = step.wraps[*n] && !call.stencil.wraps[own];
            if fixed && call.stencil.leaves[own] {
                let axis = &file.funcs[call.callee].axes[call.stencil.axes[own]];
                return Err(refuse(
                    axis.span,
                    &format!("one kernel of a step wraps along `{}`, another does not", axis.name),
                )
                .help("give all of them the same `edge`"));
            }
        }
    }
    Ok(step)
}

/// Tensors of the state that are the caller's, or that something other than the repeat's body uses.
fn seen(func: &Func, state: &BTreeSet<TensorId>, body: &[Stmt]) -> BTreeSet<TensorId> {
    let mut out: BTreeSet<TensorId> =
        state.iter().copied().filter(|t| func.tensors[*t].role != Role::Buf).collect();
    used(&func.body, body, &mut out);
    out.retain(|t| state.contains(t));
    out
}

/// Tensors that the statements of a pipeline use, but for those of the list `except`.
fn used(stmts: &[Stmt], except: &[Stmt], out: &mut BTreeSet<TensorId>) {
    if std::ptr::eq(stmts, except) {
        return;
    }
    for stmt in stmts {
        out.extend(walk::tensors_named(stmt));
        match &stmt.kind {
            StmtKind::Repeat { body, .. } => used(body, except, out),
            StmtKind::If { then, otherwise, .. } => {
                used(then, except, out);
                used(otherwise, except, out);
            }
            _ => {}
        }
    }
}

fn call(
    file: &File,
    func: &Func,
    (callee, args, span): (FuncId, &[CallArg], Span),
    state: &BTreeSet<TensorId>,
    along: &mut BTreeMap<TensorId, Vec<Option<usize>>>,
) -> Result<Call, Diagnostic> {
    let target = &file.funcs[callee];
    let mut views: Vec<(TensorId, &View)> = Vec::new();
    for (param, arg) in target.params.iter().zip(args) {
        if let (ParamRef::Tensor(t), CallArg::Tensor(view)) = (param, arg) {
            views.push((*t, view));
        }
    }
    views.sort_by_key(|(t, _)| *t);
    let tensors: Vec<TensorId> = views.iter().map(|(_, v)| v.tensor).collect();
    for (t, view) in views.iter().filter(|(_, v)| state.contains(&v.tensor)) {
        if !view.is_whole(func.tensors[view.tensor].shape.len()) {
            let message =
                format!("`{}` is a part of `{}`", target.tensors[*t].name, func.tensors[view.tensor].name);
            return Err(refuse(span, &message).help("kernels of a step take whole tensors of the state"));
        }
    }
    let form = normal::normalise(target, &file.tables)?;
    let stencil = stencil::stencil(&form, &|t| tensors.get(t.index()).is_some_and(|t| state.contains(t)))?;
    let mut axes: Vec<Option<usize>> = vec![None; stencil.axes.len()];
    let first = along.is_empty();
    if first {
        axes = (0..axes.len()).map(Some).collect();
    }
    for (t, field) in &stencil.state {
        let Some(known) = along.get(&tensors[t.index()]) else { continue };
        for (own, n) in field.dims.iter().zip(known) {
            match (own, n) {
                (Some(own), Some(n)) if axes[*own].is_none_or(|a| a == *n) => axes[*own] = Some(*n),
                (None, None) => {}
                _ => {
                    let message = format!(
                        "`{}` lies along other axes than in the kernels before",
                        target.tensors[*t].name
                    );
                    return Err(refuse(span, &message).help("kernels of a step index the state in one order"));
                }
            }
        }
    }
    let axes: Option<Vec<usize>> = axes.into_iter().collect();
    let Some(axes) = axes else {
        return Err(refuse(
            span,
            "nothing says how the grid of this kernel lies to that of the kernels before",
        )
        .help("kernels of a step share tensors of the state"));
    };
    for (t, field) in &stencil.state {
        let dims = field.dims.iter().map(|d| d.map(|n| axes[n])).collect();
        along.insert(tensors[t.index()], dims);
    }
    Ok(Call { callee, stencil, tensors, axes })
}

//! `stage(T, at = k, layout = panel(n))`: the part of a tensor that one pass of a loop reads is copied first.
//!
//! ```text
//! for k.0 { .. acc[i,j] += A[i,k] * B[k,j] .. }
//!   =>  for k.0 { for k, j { b[k,j] = B[k,j] }  .. acc[i,j] += A[i,k] * b[k,j] .. }
//! ```
//!
//! With `panel(n)` the axis that has lanes (or the one with the most points at once, or the last) is cut into panels of
//! `n`, each contiguous: `b[j / n][k][j % n]`.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{Accesses, Object, bounded_by_data};
use super::bounds;
use super::form::{Action, Form, Item, Panel, StmtId};
use super::fuse::{Fuser, Policy};
use super::kernel::levels_of;
use super::levels::{LevelId, Levels};
use super::slant;
use super::window::Window;
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ExprId, ExprKind, TensorId};
use crate::schedule::plan::{AxisRef, Place};
use rooftile_artifact::DType;

/// A copy that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The tensor.
    pub(crate) tensor: TensorId,
    /// The loop inside which the copy is made.
    pub(crate) at: AxisRef,
    /// Where the copy lives.
    pub(crate) place: Place,
    /// Panels of so many elements.
    pub(crate) panel: Option<i64>,
    /// So many neighbours along the axis of `at` side by side for each element of a panel.
    pub(crate) deep: Option<i64>,
    /// The windows of reads that are not plain; those are copied then.
    pub(crate) window: Option<Window>,
}

/// Makes the copy and lets the reads use it: one copy for all of them, or one for `each` statement that reads.
///
/// # Errors
/// E0504 when the tensor is written, or is not read by plain axes inside that loop.
pub(crate) fn stage(form: &mut Form, levels: &Levels, stage: &Stage, each: bool) -> Result<(), Diagnostic> {
    let tensor = form.func.tensors[stage.tensor].clone();
    let refuse = |why: String| {
        Diagnostic::error(Code::Illegal, tensor.span, format!("`{}` cannot be staged: {why}", tensor.name))
    };
    let accesses = Accesses::new(form);
    let object = Object::Tensor(stage.tensor);
    if form.stmts.handles().any(|s| accesses.of(s).iter().any(|a| a.write && a.object == object)) {
        return Err(refuse("the kernel writes it".to_owned()));
    }
    let stmts: Vec<StmtId> = form.items.iter().flat_map(Item::stmts).collect();
    let mut found: Vec<(StmtId, LevelId, ExprId)> = Vec::new();
    let mut copied = false;
    for s in &stmts {
        // Matrix units have copies of their own.
        if matches!(form.stmts[*s].action, Action::Matrix { .. }) {
            copied |= plain_reads(form, stage, *s).next().is_some();
            continue;
        }
        let Some(level) = level_of(form, levels, *s, &stage.at) else { continue };
        let loads: Vec<ExprId> = match &stage.window {
            Some(window) => window_read(form, stage.tensor, window, *s).into_iter().collect(),
            None => plain_reads(form, stage, *s).collect(),
        };
        for load in loads {
            if let Some(ragged) = axes_of(form, stage, load).into_iter().find(|a| bounded_by_data(form, *a)) {
                let name = &form.func.axes[ragged].name;
                return Err(refuse(format!("it is read along `{name}`, whose bounds are data")));
            }
            // Reads along other axes stay as they are.
            let first = found.first().map_or(load, |(.., first)| *first);
            let known = !each && found.iter().any(|(.., l)| reads_alike(form, stage, *l, load));
            if (each || axes_of(form, stage, first) == axes_of(form, stage, load)) && !known {
                found.push((*s, level, load));
            }
        }
    }
    if found.is_empty() && !copied {
        return Err(refuse(format!("no loop `{}` reads it by plain axes", stage.at.name)));
    }
    for (s, level, load) in found {
        let users = if each { vec![s] } else { stmts.clone() };
        copy(form, levels, stage, (s, level, load), &users).map_err(refuse)?;
    }
    Ok(())
}

/// Whether one copy stands for two reads.
fn reads_alike(form: &Form, stage: &Stage, a: ExprId, b: ExprId) -> bool {
    stage.window.is_some() || same_load(form, &form.func.exprs[a].kind, b)
}

/// Copies what `user` reads by `load` inside the loop `at`, for those of `users` that run inside the same loops.
fn copy(
    form: &mut Form,
    levels: &Levels,
    stage: &Stage,
    (user, at, load): (StmtId, LevelId, ExprId),
    users: &[StmtId],
) -> Result<(), String> {
    let tensor = form.func.tensors[stage.tensor].clone();
    let axes = axes_of(form, stage, load);
    let mut outer: Vec<LevelId> = levels_of(form, levels, user)
        .into_iter()
        .filter(|l| levels.position(*l) <= levels.position(at) && !levels.all[*l].kind.is_block())
        .collect();
    outer.sort_by_key(|l| levels.position(*l));
    // A copy has blocks of its axes, which the passes of such a loop, of one point each, would make over and over.
    if let Some(a) = axes.iter().find(|a| levels.points(**a).is_some_and(|l| outer.contains(&l))) {
        let name = &form.func.axes[*a].name;
        return Err(format!("it would be copied inside the loop over the single points of `{name}`"));
    }
    // With the loops of axes that bound those: a part of a split axis is copied by the loops of all its parts. What all points
    // of such an axis ask for is copied once, where that is a range.
    let followed: Vec<AxisId> =
        axes.iter().filter_map(|a| slant::of(form, *a)).flat_map(|s| s.axes().collect::<Vec<_>>()).collect();
    let needs = form.sorted(axes.clone()).into_iter().filter(|a| axes.contains(a) || !followed.contains(a));
    let own: Vec<LevelId> = needs.flat_map(|a| levels.chain(a).to_vec()).collect();
    // Half precision that is only read as f32 is converted by the copy, once.
    let half = matches!(tensor.dtype, DType::F16 | DType::Bf16);
    let wanted = form.func.exprs[load].kind.clone();
    // Where a read finds its element in the copy, if it takes the copy: at the copy's own point, or at an index.
    let place = |f: &Form, x: ExprId| match &stage.window {
        Some(window) => window.index(f, stage.tensor, x).map(Some),
        None => same_load(f, &wanted, x).then_some(None),
    };
    let widened = |f: &Form, x: ExprId| match f.func.exprs[x].kind {
        ExprKind::Cast(inner) => f.func.exprs[x].dtype == DType::F32 && place(f, inner).is_some(),
        _ => false,
    };
    let wide = half && form.stmts[user].action.exprs().iter().any(|e| widened(form, *e));
    let element = match &stage.window {
        Some(window) => window.content(form, load),
        None => load,
    };
    let (dtype, content) = if wide {
        (DType::F32, form.expr(ExprKind::Cast(element), DType::F32, tensor.span))
    } else {
        (tensor.dtype, element)
    };
    let value = form.value(&tensor.name.to_lowercase(), dtype, axes.clone(), tensor.span);
    let info = &mut form.info[value.index()];
    // Each pass of the loops around has a copy of its own, those included that bound the loops of the copy.
    let around = outer.iter().chain(&own).map(|l| levels.all[*l].axis);
    info.private = around.filter(|a| !axes.contains(a)).collect::<BTreeSet<_>>().into_iter().collect();
    info.place = Some(stage.place);
    // The points that are worked on at once lie side by side.
    let lanes = axes.iter().copied().find(|a| levels.has_lanes(*a));
    let widest = axes.iter().copied().max_by_key(|a| levels.block_count(*a));
    let at_once = lanes.or(widest);
    let along =
        axes.iter().copied().find(|a| form.func.axes[*a].name == stage.at.name && at_once != Some(*a));
    for (elements, axis, deep) in [(stage.panel, at_once, false), (stage.deep, along, true)] {
        let (Some(elements), Some(axis)) = (elements, axis) else { continue };
        let count = levels.block_count(axis);
        if elements % count != 0 {
            let what = match deep {
                true => format!("{elements} neighbours along `{}` are", stage.at.name),
                false => format!("a panel of {elements} elements is"),
            };
            return Err(format!("{what} not a multiple of {count} points at once"));
        }
        info.panels.insert(axis, Panel { elements, deep });
    }
    let sequence = sequence_around(form, levels, user, (&outer, &axes));
    let mut set_levels = outer.clone();
    set_levels.extend(own.into_iter().filter(|l| !outer.contains(l)));
    let outside: Vec<AxisId> = outer.iter().map(|l| levels.all[*l].axis).collect();
    let set = form.copy(value, content, set_levels, &outside);
    // Every read at the same point, in statements that run inside the same loops, takes the copy.
    let read = form.read(value, tensor.span);
    let mut memo = BTreeMap::new();
    for s in users {
        if !outer.iter().all(|l| levels_of(form, levels, *s).contains(l)) {
            continue;
        }
        let mut action = form.stmts[*s].action.clone();
        action.map_exprs(|e| {
            form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| match place(f, x)? {
                None => Some(read),
                Some(index) => Some(f.expr(ExprKind::ValueAt(value, index), dtype, tensor.span)),
            })
        });
        form.stmts[*s].action = action;
    }
    let inside = |fold: AxisId| levels.steps(fold).any(|l| outer.contains(&l));
    match sequence {
        Some(at) => form.items.insert(at, Item::Stmt(set)),
        None => {
            let items = std::mem::take(&mut form.items);
            form.items = put_before(items, user, set, &inside);
        }
    }
    Ok(())
}

/// The place of a `seq` around a statement that runs inside all loops in which a copy is made, so that one copy serves all its
/// steps.
fn sequence_around(
    form: &Form,
    levels: &Levels,
    user: StmtId,
    (outer, axes): (&[LevelId], &[AxisId]),
) -> Option<usize> {
    let is_around = |i: &Item| matches!(i, Item::Seq { fold: false, .. }) && i.stmts().contains(&user);
    let at = form.items.iter().position(is_around)?;
    let known = |a: &AxisId| {
        bounds::is_host(form, form.func.axes[*a].lo) && bounds::is_host(form, form.func.axes[*a].hi)
    };
    let accesses = Accesses::new(form);
    let stmt_levels: Vec<Vec<LevelId>> = form.stmts.handles().map(|s| levels_of(form, levels, s)).collect();
    let fuser = Fuser::new(form, levels, &accesses, &stmt_levels, Policy::Greedy);
    let wraps = |(n, level): (usize, &LevelId)| fuser.wraps(&form.items[at], *level, &outer[..n]);
    (axes.iter().all(known) && outer.iter().enumerate().all(wraps)).then_some(at)
}

/// Puts a copy before the statement that uses it, and before the folds around it that it is not made `inside` of.
fn put_before(items: Vec<Item>, user: StmtId, copy: StmtId, inside: &dyn Fn(AxisId) -> bool) -> Vec<Item> {
    let mut out = Vec::new();
    for item in items {
        if !item.stmts().contains(&user) {
            out.push(item);
            continue;
        }
        match item {
            Item::Seq { axis, fold, body } if !fold || inside(axis) => {
                out.push(Item::Seq { axis, fold, body: put_before(body, user, copy, inside) });
            }
            Item::If { cond, then, otherwise } => out.push(Item::If {
                cond,
                then: put_before(then, user, copy, inside),
                otherwise: put_before(otherwise, user, copy, inside),
            }),
            item => out.extend([Item::Stmt(copy), item]),
        }
    }
    out
}

fn same_load(form: &Form, wanted: &ExprKind, e: ExprId) -> bool {
    let (ExprKind::Load { tensor: a, index: p, .. }, ExprKind::Load { tensor: b, index: q, .. }) =
        (wanted, &form.func.exprs[e].kind)
    else {
        return false;
    };
    a == b && p.iter().zip(q).all(|(x, y)| bounds::same(form, *x, *y))
}

/// The reads of the tensor by plain axes in a statement: one of them, by the axis of the loop if there is such a one, and
/// those that differ from it in nothing but numbers.
fn plain_reads(form: &Form, stage: &Stage, s: StmtId) -> impl Iterator<Item = ExprId> {
    let mut all: Vec<(bool, ExprId, Vec<AxisId>)> = Vec::new();
    for e in form.below(form.stmts[s].action.exprs()) {
        if matches!(form.func.exprs[e].kind, ExprKind::Load { tensor, .. } if tensor == stage.tensor)
            && let Some(axes) = plain_axes(form, e)
        {
            let near = axes.iter().any(|a| form.func.axes[*a].name == stage.at.name);
            let known = |(_, other, _): &(bool, ExprId, Vec<AxisId>)| {
                same_load(form, &form.func.exprs[*other].kind, e)
            };
            if !all.iter().any(known) {
                all.push((near, e, axes));
            }
        }
    }
    let best = all.iter().position(|(near, ..)| *near).unwrap_or(0);
    let axes = all.get(best).map(|(.., axes)| axes.clone()).unwrap_or_default();
    all.into_iter().filter(move |(.., own)| *own == axes).map(|(_, e, _)| e)
}

/// A read of a statement that a copy with windows stands for; of several, one that may leave the tensor where any may.
pub(crate) fn window_read(form: &Form, tensor: TensorId, window: &Window, s: StmtId) -> Option<ExprId> {
    form.below(form.stmts[s].action.exprs()).find(|e| window.index(form, tensor, *e).is_some())
}

/// The axes of the copy that stands for a read.
fn axes_of(form: &Form, stage: &Stage, load: ExprId) -> Vec<AxisId> {
    match &stage.window {
        Some(window) => window.axes(),
        None => plain_axes(form, load).unwrap_or_default(),
    }
}

/// The axes of a read whose index is a list of different axes and numbers, and stays inside the tensor.
pub(crate) fn plain_axes(form: &Form, load: ExprId) -> Option<Vec<AxisId>> {
    let ExprKind::Load { index, leaves, .. } = &form.func.exprs[load].kind else { return None };
    if leaves.contains(&true) {
        return None;
    }
    let mut axes = Vec::new();
    for e in index {
        match form.func.exprs[*e].kind {
            ExprKind::Axis(a) if form.is_dimension(a) && !axes.contains(&a) => axes.push(a),
            ExprKind::Const(_) => {}
            _ => return None,
        }
    }
    (!axes.is_empty()).then_some(axes)
}

fn level_of(form: &Form, levels: &Levels, stmt: StmtId, at: &AxisRef) -> Option<LevelId> {
    let own = levels_of(form, levels, stmt);
    let axis = form.stmts[stmt].axes.iter().copied().find(|a| form.func.axes[*a].name == at.name)?;
    let steps: Vec<LevelId> = levels.steps(axis).collect();
    let level = steps.get(at.level.unwrap_or(0) as usize).copied()?;
    own.contains(&level).then_some(level)
}

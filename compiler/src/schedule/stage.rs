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
use super::form::{Action, Form, Item, Panel, StmtId, operands};
use super::kernel::levels_of;
use super::levels::{LevelId, Levels};
use super::slant;
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
    let mut first = None;
    let mut copied = false;
    for s in &stmts {
        // Matrix units have copies of their own.
        if matches!(form.stmts[*s].action, Action::Matrix { .. }) {
            copied |= plain_read(form, stage, *s).is_some();
            continue;
        }
        let Some(level) = level_of(form, levels, *s, &stage.at) else { continue };
        let Some(load) = plain_read(form, stage, *s) else { continue };
        if let Some(ragged) = plain_axes(form, load).into_iter().flatten().find(|a| bounded_by_data(form, *a))
        {
            let name = &form.func.axes[ragged].name;
            return Err(refuse(format!("it is read along `{name}`, whose bounds are data")));
        }
        first.get_or_insert((*s, level, load));
        if each {
            copy(form, levels, stage, (*s, level, load), &[*s]).map_err(refuse)?;
        }
    }
    match first {
        None if copied => Ok(()),
        None => Err(refuse(format!("no loop `{}` reads it by plain axes", stage.at.name))),
        Some(_) if each => Ok(()),
        Some(first) => copy(form, levels, stage, first, &stmts).map_err(refuse),
    }
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
    let axes = plain_axes(form, load).unwrap_or_default();
    let outer: Vec<LevelId> = levels_of(form, levels, user)
        .into_iter()
        .filter(|l| levels.position(*l) <= levels.position(at) && !levels.all[*l].kind.is_block())
        .collect();
    // With the loops of axes that bound those: a part of a split axis is copied by the loops of all its parts. What all points
    // of such an axis ask for is copied once, where that is a range.
    let followed: Vec<AxisId> =
        axes.iter().filter_map(|a| slant::of(form, *a)).flat_map(|s| s.axes().collect::<Vec<_>>()).collect();
    let needs = form.sorted(axes.clone()).into_iter().filter(|a| axes.contains(a) || !followed.contains(a));
    let own: Vec<LevelId> = needs.flat_map(|a| levels.chain(a).to_vec()).collect();
    // Half precision that is only read as f32 is converted by the copy, once.
    let half = matches!(tensor.dtype, DType::F16 | DType::Bf16);
    let wanted = form.func.exprs[load].kind.clone();
    let widened = |f: &Form, x: ExprId| match f.func.exprs[x].kind {
        ExprKind::Cast(inner) => f.func.exprs[x].dtype == DType::F32 && same_load(f, &wanted, inner),
        _ => false,
    };
    let wide = half && form.stmts[user].action.exprs().iter().any(|e| widened(form, *e));
    let (dtype, content) = if wide {
        (DType::F32, form.expr(ExprKind::Cast(load), DType::F32, tensor.span))
    } else {
        (tensor.dtype, load)
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
            form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| {
                same_load(f, &wanted, x).then_some(read)
            })
        });
        form.stmts[*s].action = action;
    }
    let items = std::mem::take(&mut form.items);
    form.items = put_before(items, user, set, &|fold| levels.steps(fold).any(|l| outer.contains(&l)));
    Ok(())
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
    a == b && p.iter().zip(q).all(|(x, y)| super::bounds::same(form, *x, *y))
}

/// A read of the tensor by plain axes in a statement, by the axis of the loop if there is one.
fn plain_read(form: &Form, stage: &Stage, s: StmtId) -> Option<ExprId> {
    let mut best: Option<(bool, ExprId)> = None;
    let mut work = form.stmts[s].action.exprs();
    let mut seen = BTreeSet::new();
    while let Some(e) = work.pop() {
        if !seen.insert(e) {
            continue;
        }
        if matches!(form.func.exprs[e].kind, ExprKind::Load { tensor, .. } if tensor == stage.tensor)
            && let Some(axes) = plain_axes(form, e)
        {
            let near = axes.iter().any(|a| form.func.axes[*a].name == stage.at.name);
            if best.is_none_or(|(b, _)| near && !b) {
                best = Some((near, e));
            }
        }
        work.extend(operands(&form.func.exprs[e].kind));
    }
    best.map(|(_, e)| e)
}

/// The axes of a read whose index is a list of different axes and stays inside the tensor.
pub(crate) fn plain_axes(form: &Form, load: ExprId) -> Option<Vec<AxisId>> {
    let ExprKind::Load { index, leaves, .. } = &form.func.exprs[load].kind else { return None };
    if leaves.contains(&true) {
        return None;
    }
    let mut axes = Vec::new();
    for e in index {
        match form.func.exprs[*e].kind {
            ExprKind::Axis(a) if form.is_dimension(a) && !axes.contains(&a) => axes.push(a),
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

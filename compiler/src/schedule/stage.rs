//! `stage(T, at = k, layout = panel(n))`: the part of a tensor that one pass of a loop reads is copied first.
//!
//! ```text
//! for k.0 { .. acc[i,j] += A[i,k] * B[k,j] .. }
//!   =>  for k.0 { for k, j { b[k,j] = B[k,j] }  .. acc[i,j] += A[i,k] * b[k,j] .. }
//! ```
//!
//! With `panel(n)` the axis that has lanes (or the last) is cut into panels of `n`, each contiguous:
//! `b[j / n][k][j % n]`.

use std::collections::BTreeMap;

use super::access::{Accesses, Object};
use super::form::{Action, Form, Item, StmtId};
use super::kernel::levels_of;
use super::levels::{LevelId, Levels};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ExprId, ExprKind, TensorId};
use crate::hir::walk;
use crate::schedule::plan::{AxisRef, Place};
use rooftile_artifact::DType;

/// A copy that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The tensor.
    pub(crate) tensor: TensorId,
    /// The loop inside which the copy is made.
    pub(crate) at: AxisRef,
    /// Panels of so many elements.
    pub(crate) panel: Option<i64>,
}

/// Makes the copy and lets the reads use it.
///
/// # Errors
/// E0504 when the tensor is written, or is not read by plain axes inside that loop.
pub(crate) fn stage(form: &mut Form, levels: &Levels, stage: &Stage) -> Result<(), Diagnostic> {
    let tensor = form.func.tensors[stage.tensor].clone();
    let refuse = |why: String| {
        Diagnostic::error(Code::Illegal, tensor.span, format!("`{}` cannot be staged: {why}", tensor.name))
    };
    let accesses = Accesses::new(form);
    let object = Object::Tensor(stage.tensor);
    if form.stmts.handles().any(|s| accesses.of(s).iter().any(|a| a.write && a.object == object)) {
        return Err(refuse("the kernel writes it".to_owned()));
    }
    let items = form.items.clone();
    let Some((user, load, axes)) = first_use(form, levels, stage, &items) else {
        return Err(refuse(format!("no loop `{}` reads it by plain axes", stage.at.name)));
    };
    let by_data = |a: &&AxisId| {
        let axis = &form.func.axes[**a];
        let reads = |e| {
            let mut found = false;
            walk::for_each_expr(&form.func, e, |_, x| {
                found |= matches!(x.kind, ExprKind::Load { .. } | ExprKind::Value(_) | ExprKind::ValueAt(..));
            });
            found
        };
        reads(axis.lo) || reads(axis.hi)
    };
    if let Some(&ragged) = axes.iter().find(by_data) {
        let name = &form.func.axes[ragged].name;
        return Err(refuse(format!("it is read along `{name}`, whose bounds are data")));
    }
    let at = level_of(form, levels, user, &stage.at)
        .ok_or_else(|| refuse(format!("there is no such level of `{}`", stage.at.name)))?;
    let own: Vec<LevelId> = axes.iter().flat_map(|a| levels.chain(*a).to_vec()).collect();
    let outer: Vec<LevelId> = levels_of(form, levels, user)
        .into_iter()
        .filter(|l| levels.position(*l) <= levels.position(at) && !levels.all[*l].kind.is_block())
        .collect();
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
    info.private = outer.iter().map(|l| levels.all[*l].axis).filter(|a| !axes.contains(a)).collect();
    info.place = Some(Place::Local);
    let lanes = axes.iter().copied().find(|a| levels.has_lanes(*a)).or(axes.last().copied());
    info.panel = stage.panel.zip(lanes).map(|(n, a)| (a, n));
    if let Some((axis, n)) = info.panel
        && n % levels.block_count(axis) != 0
    {
        let count = levels.block_count(axis);
        return Err(refuse(format!("a panel of {n} elements is not a multiple of {count} points at once")));
    }
    let set = form.stmt(Action::Set { value, index: None, expr: content }, axes.clone(), tensor.span);
    let mut set_levels = outer.clone();
    set_levels.extend(own.into_iter().filter(|l| !outer.contains(l)));
    form.stmts[set].levels = Some(set_levels);
    // Every read at the same point, in statements that run inside the same loops, takes the copy.
    let read = form.read(value, tensor.span);
    let mut memo = BTreeMap::new();
    let users: Vec<StmtId> = form
        .stmts
        .handles()
        .filter(|s| *s != set && outer.iter().all(|l| levels_of(form, levels, *s).contains(l)))
        .collect();
    for s in users {
        let mut action = form.stmts[s].action.clone();
        action.map_exprs(|e| {
            form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| {
                same_load(f, &wanted, x).then_some(read)
            })
        });
        form.stmts[s].action = action;
    }
    let items = std::mem::take(&mut form.items);
    form.items = insert(items, user, set);
    Ok(())
}

fn same_load(form: &Form, wanted: &ExprKind, e: ExprId) -> bool {
    let (ExprKind::Load { tensor: a, index: p, .. }, ExprKind::Load { tensor: b, index: q, .. }) =
        (wanted, &form.func.exprs[e].kind)
    else {
        return false;
    };
    a == b && p.iter().zip(q).all(|(x, y)| super::bounds::same(form, *x, *y))
}

/// The first statement inside the loop that reads the tensor by plain axes, the read, and its axes.
fn first_use(
    form: &Form,
    levels: &Levels,
    stage: &Stage,
    items: &[Item],
) -> Option<(StmtId, ExprId, Vec<AxisId>)> {
    for s in items.iter().flat_map(Item::stmts) {
        if level_of(form, levels, s, &stage.at).is_none() {
            continue;
        }
        let mut best: Option<(bool, ExprId, Vec<AxisId>)> = None;
        let mut work = form.stmts[s].action.exprs();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(e) = work.pop() {
            if !seen.insert(e) {
                continue;
            }
            if let ExprKind::Load { tensor, index, leaves } = &form.func.exprs[e].kind
                && *tensor == stage.tensor
                && !leaves.contains(&true)
                && let Some(axes) = plain_axes(form, index)
            {
                let near = axes.iter().any(|a| form.func.axes[*a].name == stage.at.name);
                if best.as_ref().is_none_or(|(b, ..)| near && !b) {
                    best = Some((near, e, axes));
                }
            }
            work.extend(super::form::operands(&form.func.exprs[e].kind));
        }
        if let Some((_, e, axes)) = best {
            return Some((s, e, axes));
        }
    }
    None
}

/// The axes of an index that is a list of different axes.
fn plain_axes(form: &Form, index: &[ExprId]) -> Option<Vec<AxisId>> {
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

fn insert(items: Vec<Item>, before: StmtId, new: StmtId) -> Vec<Item> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Item::Stmt(s) => {
                if s == before {
                    out.push(Item::Stmt(new));
                }
                out.push(Item::Stmt(s));
            }
            Item::Seq { axis, fold, body } => {
                out.push(Item::Seq { axis, fold, body: insert(body, before, new) });
            }
            Item::If { cond, then, otherwise } => out.push(Item::If {
                cond,
                then: insert(then, before, new),
                otherwise: insert(otherwise, before, new),
            }),
        }
    }
    out
}

//! Reads that do not vary along a block or an inner loop are made once, before it.
//!
//! ```text
//! for k { for u unrolled { for l lanes { acc[u,l] += A[u,k] * B[k,l] } } }
//!   =>  for k { for l lanes { b[l] = B[k,l] }  for u unrolled { a = A[u,k];  for l lanes { acc[u,l] += a * b[l] } } }
//! ```
//!
//! A read leaves a loop only where its result then needs no memory: every loop further inside that it depends on must
//! be a block.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{Accesses, Object};
use super::form::{Action, Form, StmtId, operands};
use super::kernel::levels_of;
use super::levels::{LevelId, Levels};
use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, TensorId};

/// Hoists reads of every statement.
pub(crate) fn hoist(form: &mut Form, levels: &Levels) {
    let accesses = Accesses::new(form);
    let written: BTreeSet<TensorId> = form
        .stmts
        .handles()
        .flat_map(|s| accesses.of(s).to_vec())
        .filter(|a| a.write)
        .filter_map(|a| match a.object {
            Object::Tensor(t) => Some(t),
            Object::Value(_) => None,
        })
        .collect();
    form.replace_stmts(&mut |form, s| {
        let mut with = stmt(form, levels, &written, s);
        with.push(s);
        Some(with)
    });
}

/// The statements that read before a statement what left it.
fn stmt(form: &mut Form, levels: &Levels, written: &BTreeSet<TensorId>, s: StmtId) -> Vec<StmtId> {
    // A copy that is asked for stays where it is.
    if form.stmts[s].copies {
        return Vec::new();
    }
    let s_levels = levels_of(form, levels, s);
    let action = form.stmts[s].action.clone();
    let roots: Vec<ExprId> = match &action {
        Action::Set { index: None, expr, .. } => vec![*expr],
        Action::Accumulate { args, guard: None, .. } => args.clone(),
        Action::Store { expr, .. } => vec![*expr],
        _ => return Vec::new(),
    };
    let mut found = BTreeMap::new();
    for root in &roots {
        find(form, levels, written, &s_levels, *root, &mut found);
    }
    if found.is_empty() {
        return Vec::new();
    }
    let span = form.stmts[s].span;
    let mut before = Vec::new();
    let mut memo: BTreeMap<ExprId, ExprId> = BTreeMap::new();
    for (e, kept) in found {
        let expr = form.func.exprs[e].clone();
        let name = match &expr.kind {
            ExprKind::Load { tensor, .. } => form.func.tensors[*tensor].name.to_lowercase(),
            _ => "read".to_owned(),
        };
        let value = form.value(&name, expr.dtype, expr.axes.clone(), span);
        let outside: Vec<AxisId> = kept.iter().map(|l| levels.all[*l].axis).collect();
        let mut private = outside.clone();
        private.extend(form.sorted(expr.axes.clone()));
        private.retain(|a| !expr.axes.contains(a));
        form.info[value.index()].private = private;
        let set = form.copy(value, e, kept, &outside);
        memo.insert(e, form.read(value, span));
        before.push(set);
    }
    let mut action = action;
    action.map_exprs(|e| form.rewrite(e, &mut memo, &mut |_, _| None));
    form.stmts[s].action = action;
    before
}

/// Largest subexpressions that are worth a place of their own, with the loops that each keeps.
fn find(
    form: &Form,
    levels: &Levels,
    written: &BTreeSet<TensorId>,
    s_levels: &[LevelId],
    e: ExprId,
    found: &mut BTreeMap<ExprId, Vec<LevelId>>,
) {
    let expr = &form.func.exprs[e];
    if reads_only(form, written, e)
        && let Some(kept) = kept_levels(form, levels, s_levels, &expr.axes)
    {
        found.insert(e, kept);
        return;
    }
    let inside = match &expr.kind {
        // Only what is evaluated in any case.
        ExprKind::Select(c, ..) => vec![*c],
        ExprKind::Binary(BinaryOp::And | BinaryOp::Or, a, _) => vec![*a],
        // Indices stay with their access.
        ExprKind::Load { .. } | ExprKind::ValueAt(..) | ExprKind::Table { .. } => Vec::new(),
        kind => operands(kind),
    };
    for x in inside {
        find(form, levels, written, s_levels, x, found);
    }
}

/// Whether an expression reads tensors that nothing writes, and nothing else that varies.
fn reads_only(form: &Form, written: &BTreeSet<TensorId>, e: ExprId) -> bool {
    let mut loads = false;
    for e in form.below(vec![e]) {
        match &form.func.exprs[e].kind {
            ExprKind::Load { tensor, leaves, .. } => {
                loads = true;
                if written.contains(tensor) || leaves.contains(&true) {
                    return false;
                }
            }
            ExprKind::Value(_) | ExprKind::ValueAt(..) | ExprKind::Table { .. } => return false,
            ExprKind::Reduce { .. } | ExprKind::Scan { .. } => return false,
            _ => {}
        }
    }
    loads
}

/// The loops that an expression of these axes needs, if it can leave some of the statement's.
fn kept_levels(form: &Form, levels: &Levels, s_levels: &[LevelId], axes: &[AxisId]) -> Option<Vec<LevelId>> {
    let needs = form.sorted(axes.to_vec());
    let mut ordered: Vec<LevelId> = s_levels.to_vec();
    ordered.sort_by_key(|l| levels.position(*l));
    let mut kept = Vec::new();
    let mut inner_are_blocks = true;
    for l in ordered.iter().rev() {
        if needs.contains(&levels.all[*l].axis) {
            inner_are_blocks &= levels.all[*l].kind.is_block();
            kept.push(*l);
        } else if !inner_are_blocks {
            kept.push(*l);
        }
    }
    kept.reverse();
    (kept.len() < ordered.len()).then_some(kept)
}

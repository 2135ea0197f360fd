//! Lanes of a sum along elements of which several share a byte: neighbours are dealt to the same lane of as many vectors.
//!
//! ```text
//! for k step 32 { lanes l of 32: p[l] += w[k + l] }
//!   =>  for k step 32 { unrolled h in 0..2 { lanes l of 16: p[16 * h + l] += w[k + 2 * l + h] } }
//! ```
//!
//! Each lane then has a byte of its own, and what is done to find an element in it is the same for all lanes. Which terms a
//! lane adds changes, as in any sum with lanes (`partial`); nothing but such sums, and what they read, may run along the axis.

use super::bounds;
use super::form::{Action, Form, Stmt};
use super::kernel::Setup;
use super::levels::Levels;
use crate::hir::ir::{AxisId, BinaryOp, Expr, ExprId, ExprKind};

/// Deals the lanes of every axis for which it pays.
pub(super) fn deal(form: &Form, levels: &mut Levels, setup: &Setup) {
    if setup.group.threads > 0 {
        return;
    }
    for axis in form.func.axes.handles().filter(|a| levels.has_lanes(*a)).collect::<Vec<_>>() {
        let whole = |per: &i64| {
            let count = levels.unit_count(axis);
            // Vectors of the sum stay full.
            count % per == 0 && count / per >= i64::try_from(setup.vector_lanes).unwrap_or(i64::MAX)
        };
        if let Some(per) = elements_of_a_byte(form, axis).filter(whole) {
            levels.deal(axis, per);
        }
    }
}

/// How many elements share a byte of what is read along an axis, where all else that runs along it does not mind.
fn elements_of_a_byte(form: &Form, axis: AxisId) -> Option<i64> {
    let along = || form.stmts.iter().map(|(_, s)| s).filter(|s| s.axes.contains(&axis));
    if !along().all(|s| only_sums(form, s, axis)) {
        return None;
    }
    let roots: Vec<ExprId> = along().flat_map(|s| s.action.exprs()).collect();
    let mut found = None;
    for e in form.below(roots) {
        let expr = &form.func.exprs[e];
        if !matches!(expr.kind, ExprKind::Load { .. }) || !expr.axes.contains(&axis) {
            continue;
        }
        let per = per_byte(form, expr, axis)?;
        if per > 1 && *found.get_or_insert(per) != per {
            return None;
        }
    }
    found
}

/// Whether a statement that runs along an axis adds to one partial result a lane, or adds those up, or sets what it reads.
fn only_sums(form: &Form, stmt: &Stmt, axis: AxisId) -> bool {
    match &stmt.action {
        Action::Set { index: None, .. } => true,
        Action::Accumulate { value, .. } => {
            form.info[value.index()].lanes_of == Some(axis) || stmt.pairs.is_some()
        }
        _ => false,
    }
}

/// How many elements share a byte of a tensor that is read side by side along an axis: 1 of one whose elements have four
/// bytes, or that is read at quotients; `None` where elements far apart would cost more than is won.
fn per_byte(form: &Form, load: &Expr, axis: AxisId) -> Option<i64> {
    let ExprKind::Load { tensor, index, leaves } = &load.kind else { return None };
    let t = &form.func.tensors[*tensor];
    if leaves.contains(&true) {
        return None;
    }
    let mut per = 1;
    for (d, e) in index.iter().enumerate().filter(|(_, e)| form.func.exprs[**e].axes.contains(&axis)) {
        let last = d + 1 == index.len();
        match &form.func.exprs[*e].kind {
            ExprKind::Axis(_) if last && t.packed == Some(d) => {
                per = i64::try_from(t.dtype.per_byte()).ok()?
            }
            _ if t.packed.is_some() || t.dtype.is_complex() || t.dtype.size() != 4 => return None,
            ExprKind::Binary(BinaryOp::Div, _, by) if !form.func.exprs[*by].axes.contains(&axis) => {}
            _ if last && bounds::offset(form, *e, axis).is_some() => {}
            _ => return None,
        }
    }
    Some(per)
}

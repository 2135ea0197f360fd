//! Sums over pairs in the default schedule, as of the forces between bodies.
//!
//! ```text
//! for i { for j step 16 { 16 lanes j { a[i] += f(P[i], P[j]) } } }
//!   =>  for i step 16 { for j { 16 lanes i { a[i] += f(P[i], P[j]) } } }
//! ```
//!
//! What is read at `j` is then the same in all lanes, and what is read at `i` is read once for all `j`.

use std::collections::BTreeSet;

use super::access::bounded_by_data;
use super::bounds;
use super::default::Model;
use super::form::{Action, Stmt};
use crate::hir::ir::{AxisId, Expr, ExprKind, ReduceOp};

impl Model<'_> {
    /// An axis with lanes along which is summed what is far apart in memory, or what must be added in order, and the axis of
    /// the sums that shall have them instead: nothing is read that depends on both.
    pub(super) fn pairwise(&self, lanes: &BTreeSet<AxisId>) -> Option<(AxisId, AxisId)> {
        let deepest: Vec<&Stmt> = self.deepest().into_iter().map(|s| &self.form.stmts[s]).collect();
        let loads = self.loads(&deepest);
        deepest.iter().find_map(|stmt| {
            let Action::Accumulate { value, op, .. } = &stmt.action else { return None };
            let sum = &self.form.func.values[*value];
            let summed = *stmt.axes.iter().find(|a| lanes.contains(a) && !sum.axes.contains(a))?;
            let in_order =
                sum.dtype.is_float() && !matches!(op, ReduceOp::Max | ReduceOp::Min) && !self.allow.reassoc;
            let far = |e: &&Expr| match &e.kind {
                ExprKind::Load { index, .. } => e.axes.contains(&summed) && self.along(index) != Some(summed),
                _ => false,
            };
            if !in_order && !loads.iter().any(far) {
                return None;
            }
            let fits = |a: &AxisId| {
                sum.axes.contains(a)
                    && !lanes.contains(a)
                    && self.blockable(*a)
                    && bounds::extent(self.form, *a).is_none()
                    && !bounded_by_data(self.form, *a)
                    && deepest.iter().all(|s| s.axes.contains(a) && s.axes.contains(&summed))
                    && !loads.iter().any(|e| e.axes.contains(a) && e.axes.contains(&summed))
            };
            Some((summed, self.apart().into_iter().rfind(fits)?))
        })
    }

    /// What the statements read from tensors.
    pub(super) fn loads(&self, stmts: &[&Stmt]) -> Vec<&Expr> {
        let all = self.form.below(stmts.iter().flat_map(|s| s.action.exprs()).collect());
        let is_load = |e: &&Expr| matches!(e.kind, ExprKind::Load { .. });
        all.map(|e| &self.form.func.exprs[e]).filter(is_load).collect()
    }
}

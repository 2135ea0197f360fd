//! In the default schedule: sums of products in the steps of a `seq`, as in a recurrent layer.
//!
//! ```text
//! for n { seq t { for d { for p { i[n,d] += h[n,p] * R[0,p,d];  f[n,d] += h[n,p] * R[1,p,d] } .. } } }
//!   =>  for n.0 { r = R;  seq t { for d { for n.1 { for p { .. r .. } .. } } } }
//! ```

use super::default::Model;
use super::form::{Action, Item, StmtId};
use crate::hir::ir::{AxisId, ExprId, ExprKind, ReduceOp, Role, TensorId};

impl Model<'_> {
    /// Of a sum of products in the steps of a `seq`: how many sums like it there are in a step, and the factor that is the same
    /// in all steps, if it has the columns and not the rows, and is one tensor for all of the sums.
    pub(super) fn in_steps(
        &self,
        sum: StmtId,
        rows: AxisId,
        (columns, reduced): (AxisId, AxisId),
    ) -> (i64, Option<TensorId>) {
        let step = self.form.items.iter().find_map(|item| match item {
            Item::Seq { fold: false, body, .. } if item.stmts().contains(&sum) => Some(body),
            _ => None,
        });
        let Some(step) = step else { return (1, None) };
        let factor = |s: StmtId| {
            let stmt = &self.form.stmts[s];
            let Action::Accumulate { op: ReduceOp::Dot | ReduceOp::Sum, args, guard: None, .. } =
                &stmt.action
            else {
                return None;
            };
            self.factors(args)?.into_iter().find_map(|e| {
                let e = self.without_casts(e);
                let ExprKind::Load { tensor, index, leaves } = &e.kind else { return None };
                let plain = |i: &ExprId| match self.form.func.exprs[*i].kind {
                    ExprKind::Axis(a) => self.form.is_dimension(a),
                    ExprKind::Const(_) => true,
                    _ => false,
                };
                let has = |a: AxisId| e.axes.contains(&a);
                let constant = index.iter().all(plain) && !leaves.contains(&true);
                let read = self.form.func.tensors[*tensor].role == Role::In;
                (constant && read && has(columns) && has(reduced) && !has(rows)).then_some(*tensor)
            })
        };
        let Some(tensor) = factor(sum) else { return (1, None) };
        let axes = &self.form.stmts[sum].axes;
        let alike = step.iter().flat_map(Item::stmts).filter(|s| {
            matches!(self.form.stmts[*s].action, Action::Accumulate { .. })
                && self.form.stmts[*s].axes == *axes
        });
        let alike: Vec<StmtId> = alike.collect();
        let one = alike.iter().all(|s| factor(*s) == Some(tensor));
        (i64::try_from(alike.len()).unwrap_or(1), one.then_some(tensor))
    }
}

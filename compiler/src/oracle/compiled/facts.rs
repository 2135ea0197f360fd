//! What a body does with axes and tensors: why a `with` axis must stay whole.

use super::plan::{Axes, bit, is_axis, reduces, set, walk};
use crate::hir::ir::{AxisId, ExprId, ExprKind, Func, NextItem, Stmt, StmtKind, TensorId};

/// What a body does with axes and tensors.
pub(super) struct Facts<'a> {
    pub(super) func: &'a Func,
    /// Axes that must stay whole.
    pub(super) blocked: Axes,
    pub(super) loads: Vec<(TensorId, &'a [ExprId])>,
    pub(super) stores: Vec<(TensorId, &'a [ExprId])>,
}

impl<'a> Facts<'a> {
    /// Axes that some expressions vary along.
    fn axes(&self, exprs: impl IntoIterator<Item = ExprId>) -> Axes {
        exprs.into_iter().fold(0, |s, e| s | set(&self.func.exprs[e].axes))
    }

    pub(super) fn body(&mut self, body: &'a [Stmt], candidates: Axes) {
        for stmt in body {
            self.stmt(stmt, candidates);
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt, candidates: Axes) {
        let func = self.func;
        match &stmt.kind {
            StmtKind::Define { value, init } => {
                self.define(set(&func.values[*value].axes), *init, candidates);
            }
            StmtKind::Update { value, op: _, expr } => {
                self.expr(*expr);
                // Done once for each point of the value, not once for each point of the loop.
                self.blocked |= candidates & !set(&func.values[*value].axes);
            }
            StmtKind::Store { tensor, index, op: _, expr, kind: _ } => {
                index.iter().chain([expr]).for_each(|&e| self.expr(e));
                self.blocked |= candidates & !self.axes(index.iter().copied().chain([*expr]));
                self.stores.push((*tensor, index));
            }
            StmtKind::Append { list, count, key, value, pred } => {
                let all = || key.iter().copied().chain([*value]).chain(*pred);
                all().for_each(|e| self.expr(e));
                self.blocked |= candidates & !self.axes(all());
                self.stores.extend([(*list, &[][..]), (*count, &[][..])]);
            }
            StmtKind::For { axes, with, body } => {
                axes.iter().chain(with).for_each(|&a| self.bounds(a));
                self.body(body, candidates);
            }
            StmtKind::Seq { axis, carry, body } | StmtKind::Fold { axis, carry, body } => {
                self.bounds(*axis);
                for (value, init) in carry {
                    self.define(set(&func.values[*value].axes), *init, candidates);
                }
                self.body(body, candidates);
            }
            StmtKind::Next(items) => items.iter().for_each(|i| self.next(i, candidates)),
            StmtKind::If { cond, then, otherwise } => {
                self.expr(*cond);
                self.body(then, candidates);
                self.body(otherwise, candidates);
            }
            // Not in kernels.
            StmtKind::Call { .. }
            | StmtKind::Repeat { .. }
            | StmtKind::Fill { .. }
            | StmtKind::Copy { .. } => {
                self.blocked = Axes::MAX;
            }
        }
    }

    /// A definition that an axis does not concern would be made again at each of its points: only if it is cheap.
    fn define(&mut self, axes: Axes, init: ExprId, candidates: Axes) {
        self.expr(init);
        if reduces(self.func, init) {
            self.blocked |= candidates & !axes;
        }
    }

    fn next(&mut self, item: &NextItem, candidates: Axes) {
        self.expr(item.expr);
        let value = &self.func.values[item.value];
        match &item.index {
            None => self.blocked |= candidates & !set(&value.axes),
            Some(index) => {
                index.iter().for_each(|&e| self.expr(e));
                let own = self.own_axes(&value.axes, index);
                let all = self.axes(index.iter().copied().chain([item.expr])) | set(&value.axes);
                self.blocked |= (all | candidates) & !own;
            }
        }
    }

    /// Axes whose index is the axis itself.
    fn own_axes(&self, axes: &[AxisId], index: &[ExprId]) -> Axes {
        let own = |(&a, &e): (&AxisId, &ExprId)| is_axis(self.func, e, a);
        axes.iter().zip(index).filter(|&p| own(p)).fold(0, |s, (&a, _)| s | bit(a))
    }

    fn bounds(&mut self, axis: AxisId) {
        let a = &self.func.axes[axis];
        self.expr(a.lo);
        self.expr(a.hi);
    }

    fn expr(&mut self, id: ExprId) {
        let func = self.func;
        walk(func, id, &mut |_, kind| match kind {
            ExprKind::Reduce { axes, .. } => self.blocked |= set(axes),
            ExprKind::Scan { axis, .. } => self.blocked |= bit(*axis),
            ExprKind::ValueAt(v, index) => {
                let axes = &func.values[*v].axes;
                self.blocked |= set(axes) & !self.own_axes(axes, index);
            }
            ExprKind::Load { tensor, index, .. } => self.loads.push((*tensor, index)),
            _ => {}
        });
    }
}

//! Statements that only some lanes run, in all lanes at once: those that are off access no memory, and what they find in
//! registers stays.

use std::rc::Rc;

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Lane, Ssa, Un};
use super::Emitter;
use super::address::Linear;
use super::lanes::{Lanes, Val};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, Stmt};
use crate::nest::masks::{Maskable, maskable};
use crate::nest::walk::for_each_stmt;

/// Statements that are done in no lane rather than asked whether any wants them.
const FEW: usize = 4;

impl<B: Ssa> Emitter<'_, B> {
    /// A condition of its own per lane: both lists under masks. `false`, and nothing is written, where that cannot be.
    pub(super) fn masked(
        &mut self,
        cond: ExprId,
        mask: &Lanes<B::Value>,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> bool {
        let (Some(n), Some(lanes)) = (self.lane_count(), &self.lanes) else { return false };
        if !self.b.has_masks() || lanes.values.windows(2).any(|v| v[1] - v[0] != 1) {
            return false;
        }
        let lane = lanes.var;
        let (Some(first), Some(second)) =
            (maskable(self.nest, lane, then), maskable(self.nest, lane, otherwise))
        else {
            return false;
        };
        let some = self.running.is_none() && self.holds_in_first(cond);
        self.in_some(mask, n, (then, first), some);
        if !otherwise.is_empty() {
            let others = self.map1(mask, mask.ty, |e, v| e.b.unary(Un::Not, v));
            self.in_some(&others, n, (otherwise, second), false);
        }
        true
    }

    /// Statements in the lanes of a mask; `some` says that there are such lanes.
    fn in_some(
        &mut self,
        mask: &Lanes<B::Value>,
        n: usize,
        (body, Maskable { needs_a_lane, .. }): (&[Stmt], Maskable),
        some: bool,
    ) {
        let mask = match self.running_lanes(mask.ty, n) {
            Some(outer) => {
                let outer = Lanes { ty: mask.ty, chunks: outer };
                self.map2(mask, &outer, mask.ty, |e, a, b| e.b.binary(Bin::And, a, b))
            }
            None => self.first_lanes(mask, n),
        };
        let outer = self.running.replace(mask.clone());
        let mut statements = 0;
        for_each_stmt(body, &mut |_| statements += 1);
        if some || !needs_a_lane && statements <= FEW {
            // What is read under the mask is not what is read without it.
            self.scopes.push(true);
            self.block(body);
            self.scopes.pop();
        } else if let Some(any) = mask.chunks.iter().copied().reduce(|a, b| self.b.binary(Bin::Or, a, b)) {
            let any = self.b.any_true(any);
            self.branch(any, body, &[]);
        }
        self.running = outer;
    }

    /// The masks of the lanes that run, for lanes of a width, where not all do. No lane from the `n`th on runs.
    pub(super) fn running_lanes(&mut self, lane: Lane, n: usize) -> Option<Rc<[B::Value]>> {
        let running = self.running.clone()?;
        let running = self.mask_to(&running, lane.as_int(), n);
        Some(self.first_lanes(&running, n).chunks)
    }

    /// A mask that is set in none but the first `n` lanes.
    fn first_lanes(&mut self, mask: &Lanes<B::Value>, n: usize) -> Lanes<B::Value> {
        let per = self.per_chunk(mask.ty);
        let chunks = mask.chunks.iter().enumerate().map(|(c, &chunk)| match n - c * per {
            used if used < per => {
                let those = self.lane_mask(mask.ty, |l| l < used);
                self.b.binary(Bin::And, chunk, those)
            }
            _ => chunk,
        });
        Lanes { ty: mask.ty, chunks: chunks.collect() }
    }

    /// A value in the lanes that run, and in the others what `before` gives.
    pub(super) fn in_running(
        &mut self,
        value: &Val<B::Value>,
        dtype: DType,
        before: impl FnOnce(&mut Self) -> Val<B::Value>,
    ) -> Val<B::Value> {
        let Some(running) = self.running.clone() else { return value.clone() };
        let before = before(self);
        self.select(&Val::Lanes(running), value, &before, dtype)
    }

    /// Whether a condition must hold in the first lane: it asks that the first lane's point, or one before it, lies below
    /// the end of a loop around whose counter is there.
    fn holds_in_first(&self, cond: ExprId) -> bool {
        let ExprKind::Binary(BinaryOp::Lt, a, b) = self.nest.exprs[cond].kind else { return false };
        let first = self.lanes.as_ref().and_then(|l| l.values.first().copied()).unwrap_or(0);
        let distance = self.linear(a).plus(&self.linear(b), -1);
        let counter = |e: &ExprId| match self.nest.exprs[*e].kind {
            ExprKind::Var(v) => {
                self.loops_around.iter().find(|(var, _)| *var == v).map(|(_, end)| (*e, *end))
            }
            _ => None,
        };
        distance.terms.keys().filter_map(counter).any(|(counter, end)| {
            let below = self.linear(counter).plus(&self.linear(end), -1);
            let Linear { constant, lane, terms, .. } = distance.clone().plus(&below, -1);
            terms.is_empty() && lane.wrapping_mul(first).checked_add(constant).is_some_and(|c| c <= 0)
        })
    }
}

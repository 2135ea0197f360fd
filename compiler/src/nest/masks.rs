//! Statements that some lanes of a loop can run while the others do nothing, all at once: what they access by lanes lies side
//! by side, and what the lanes that are off compute from whatever they find cannot be seen, nor can it fail.
//!
//! ```text
//! lanes v in 0..16 { if x + v < n { y[x + v] = f(u[x + v]) } }
//! ```

use std::collections::BTreeSet;

use super::affine::Affine;
use super::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Nest, Space, Stmt, VarId};

/// What statements in the lanes of a loop are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maskable {
    /// They read an element that is the same for all lanes, or divide integers, which is safe only where a lane runs.
    pub needs_a_lane: bool,
    /// Accesses to memory by lanes.
    pub by_lanes: usize,
}

/// Whether statements in a `Lanes` loop, whose counter `lane` takes steps of one, can run in some of its lanes only.
#[must_use]
pub fn maskable(nest: &Nest, lane: VarId, body: &[Stmt]) -> Option<Maskable> {
    let mut check = Check {
        nest,
        lane,
        varying: BTreeSet::from([lane]),
        seen: BTreeSet::new(),
        found: Maskable::default(),
    };
    check.block(body)?;
    Some(check.found)
}

struct Check<'a> {
    nest: &'a Nest,
    lane: VarId,
    /// What differs from lane to lane.
    varying: BTreeSet<VarId>,
    /// Expressions that were looked at.
    seen: BTreeSet<ExprId>,
    found: Maskable,
}

impl Check<'_> {
    fn block(&mut self, block: &[Stmt]) -> Option<()> {
        block.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Option<()> {
        let mut exprs = Vec::new();
        stmt.for_each_expr(|e| exprs.push(e));
        exprs.into_iter().try_for_each(|e| self.expr(e))?;
        match stmt {
            Stmt::Let { var, value } => {
                if self.varies(*value) {
                    self.varying.insert(*var);
                }
                Some(())
            }
            // One element that all lanes write has the last one's value, which may be off.
            Stmt::Store { buffer, index, .. } => self.access(*buffer, index)?.then_some(()),
            Stmt::If { then, otherwise, .. } => {
                self.block(then)?;
                self.block(otherwise)
            }
            Stmt::Loop { kind: LoopKind::Unrolled, body, .. } => self.block(body),
            Stmt::Loop { .. }
            | Stmt::Atomic { .. }
            | Stmt::Prefetch { .. }
            | Stmt::SetStatus(_)
            | Stmt::Matrix(_) => None,
        }
    }

    fn varies(&self, e: ExprId) -> bool {
        self.nest.mentions(e, &self.varying)
    }

    fn expr(&mut self, e: ExprId) -> Option<()> {
        if !self.seen.insert(e) {
            return Some(());
        }
        let expr = &self.nest.exprs[e];
        let mut operands = Vec::new();
        expr.for_each_operand(|o| operands.push(o));
        operands.into_iter().try_for_each(|o| self.expr(o))?;
        match &expr.kind {
            ExprKind::Load { buffer, index } => {
                let by_lanes = self.access(*buffer, index)?;
                self.found.needs_a_lane |= !by_lanes && !self.is_register(*buffer);
            }
            ExprKind::Binary(op, a, b) if divides(*op) && expr.dtype.is_int() => {
                // A lane that is off may hold a zero.
                let harmless = self.nest.const_int(*b).is_some_and(|n| n > 0);
                if !harmless && (self.varies(*a) || self.varies(*b)) {
                    return None;
                }
                self.found.needs_a_lane |= !harmless;
            }
            _ => {}
        }
        Some(())
    }

    fn is_register(&self, buffer: BufferId) -> bool {
        self.nest.buffers[buffer].space == Space::Register
    }

    /// Whether lanes access neighbours; else all of them one element. `None` where it is neither.
    fn access(&mut self, buffer: BufferId, index: &[ExprId]) -> Option<bool> {
        let Some((last, others)) = index.split_last() else { return Some(false) };
        if others.iter().any(|i| self.varies(*i)) {
            return None;
        }
        if !self.varies(*last) {
            return Some(false);
        }
        self.found.by_lanes += usize::from(!self.is_register(buffer));
        self.steps(*last, 1).then_some(true)
    }

    /// Whether an index is `factor` times the counter, and what is the same for all lanes.
    fn steps(&self, e: ExprId, factor: i64) -> bool {
        use BinaryOp as B;
        match self.nest.exprs[e].kind {
            ExprKind::Var(v) => v == self.lane && factor == 1,
            ExprKind::Binary(op @ (B::Add | B::Sub), a, b) => match (self.varies(a), self.varies(b)) {
                (true, false) => self.steps(a, factor),
                (false, true) => self.steps(b, if op == B::Add { factor } else { -factor }),
                // Terms may cancel.
                _ => Affine::of(self.nest, e).is_some_and(|a| {
                    let others = a.terms.keys().filter(|v| self.varying.contains(v)).count();
                    others == 1 && a.terms.get(&self.lane) == Some(&factor)
                }),
            },
            _ => false,
        }
    }
}

fn divides(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Div | BinaryOp::Rem | BinaryOp::DivNonNeg | BinaryOp::RemNonNeg)
}

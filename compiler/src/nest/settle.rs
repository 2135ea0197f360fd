//! Loops that may be left before their end: those in which nothing changes any more once some conditions fail.
//!
//! ```text
//! for t in lo..hi { let on = f(x); x = select(on, g(x, t), x); n = select(on, n + 1, n) }
//! ```
//! Where `on` is false, a pass leaves `x` and `n` as they are, so that `on` is false in the next one too, and so on. The
//! same holds for all points of loops that are written out inside, taken together: if none of the conditions of a pass
//! held, each of its stores, one after the other, found what the pass began with and left it so.

use std::collections::{BTreeMap, BTreeSet};

use super::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Nest, Space, Stmt, UnaryOp, VarId};

/// Conditions, each with what it must be: where none is so, a store writes what was there.
pub type Changes = BTreeSet<(ExprId, bool)>;

/// Of each value that the loop `for var { body }` stores, when it may be another than the one that was there. Once a pass
/// found none of these conditions at any store, all later passes change nothing. `None` for a loop that does more than
/// change registers, and for one whose conditions may come back.
#[must_use]
pub fn settling(nest: &Nest, var: VarId, body: &[Stmt]) -> Option<BTreeMap<ExprId, Changes>> {
    let mut settling = Settling { nest, var, lets: BTreeMap::new(), stores: Vec::new() };
    settling.block(body)?;
    let mut all: BTreeMap<ExprId, Changes> = BTreeMap::new();
    for (buffer, index, value) in &settling.stores {
        let changes = settling.changes(*value, *buffer, index)?;
        all.entry(*value).or_default().extend(changes);
    }
    let mut seen = BTreeSet::new();
    let lasts = |(condition, _): &(ExprId, bool)| settling.is_of_state(*condition, &mut seen);
    (all.values().any(|c| !c.is_empty()) && all.values().flatten().all(lasts)).then_some(all)
}

struct Settling<'a> {
    nest: &'a Nest,
    /// The loop's counter.
    var: VarId,
    /// What the body binds.
    lets: BTreeMap<VarId, ExprId>,
    /// Elements of registers and what is stored there.
    stores: Vec<(BufferId, &'a [ExprId], ExprId)>,
}

impl<'a> Settling<'a> {
    /// Takes in statements; `None` where one does more than change registers.
    fn block(&mut self, body: &'a [Stmt]) -> Option<()> {
        for stmt in body {
            match stmt {
                Stmt::Let { var, value } => {
                    self.lets.insert(*var, *value);
                }
                Stmt::Store { buffer, index, value } => {
                    if self.nest.buffers[*buffer].space != Space::Register {
                        return None;
                    }
                    self.stores.push((*buffer, index, *value));
                }
                Stmt::Loop { kind: LoopKind::Unrolled | LoopKind::Lanes, body, .. } => self.block(body)?,
                _ => return None,
            }
        }
        Some(())
    }

    /// What a name of the body stands for.
    fn resolve(&self, mut e: ExprId) -> ExprId {
        while let ExprKind::Var(v) = self.nest.exprs[e].kind
            && let Some(value) = self.lets.get(&v)
        {
            e = *value;
        }
        e
    }

    /// When a value may be another than the element; `None` where that cannot be told.
    fn changes(&self, value: ExprId, buffer: BufferId, index: &[ExprId]) -> Option<Changes> {
        let same = |e: ExprId| self.changes(e, buffer, index);
        let is_element = |e: ExprId| {
            let kind = &self.nest.exprs[self.resolve(e)].kind;
            matches!(kind, ExprKind::Load { buffer: b, index: i } if *b == buffer && i == index)
        };
        if is_element(value) {
            return Some(Changes::new());
        }
        let expr = &self.nest.exprs[self.resolve(value)];
        match expr.kind {
            ExprKind::Select(condition, a, b) => match (same(a), same(b)) {
                (Some(a), Some(b)) => Some(a.into_iter().chain(b).collect()),
                (Some(changes), None) => Some(self.with(changes, condition, false)),
                (None, Some(changes)) => Some(self.with(changes, condition, true)),
                (None, None) => None,
            },
            // A truth value that stays as it is.
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) if !expr.dtype.is_int() => {
                let element = [a, b].into_iter().find(|e| is_element(*e))?;
                Some(self.with(Changes::new(), element, op == BinaryOp::And))
            }
            ExprKind::Binary(BinaryOp::Add, a, b) if expr.dtype.is_int() => {
                let step = if is_element(a) { b } else { a };
                if !is_element(a) && !is_element(b) {
                    return None;
                }
                self.not_zero(step)
            }
            _ => None,
        }
    }

    /// When an integer may be another than zero.
    fn not_zero(&self, e: ExprId) -> Option<Changes> {
        let zero = |e: ExprId| self.nest.const_int(self.resolve(e)) == Some(0);
        match self.nest.exprs[self.resolve(e)].kind {
            ExprKind::Cast(a) if self.nest.exprs[a].dtype == rooftile_artifact::DType::Bool => {
                Some(self.with(Changes::new(), a, true))
            }
            ExprKind::Cast(a) if self.nest.exprs[a].dtype.is_int() => self.not_zero(a),
            ExprKind::Select(condition, _, b) if zero(b) => Some(self.with(Changes::new(), condition, true)),
            ExprKind::Select(condition, a, _) if zero(a) => Some(self.with(Changes::new(), condition, false)),
            _ => None,
        }
    }

    /// One condition more, without negations of its own.
    fn with(&self, mut changes: Changes, condition: ExprId, holds: bool) -> Changes {
        let (mut condition, mut holds) = (condition, holds);
        while let ExprKind::Unary(UnaryOp::Not, inner) = self.nest.exprs[condition].kind {
            (condition, holds) = (inner, !holds);
        }
        changes.insert((condition, holds));
        changes
    }

    /// Whether an expression depends on registers, and on what the loop does not change, alone: no pass differs from
    /// another by itself, and memory is not written.
    fn is_of_state(&self, e: ExprId, seen: &mut BTreeSet<ExprId>) -> bool {
        if !seen.insert(e) {
            return true;
        }
        if let ExprKind::Var(v) = self.nest.exprs[e].kind {
            return v != self.var && self.lets.get(&v).is_none_or(|value| self.is_of_state(*value, seen));
        }
        let mut alone = true;
        self.nest.exprs[e].for_each_operand(|o| alone &= self.is_of_state(o, seen));
        alone
    }
}

#[cfg(test)]
mod tests {
    use rooftile_artifact::{DType, Scalar};

    use super::*;
    use crate::nest::Builder;

    /// A pass over one point: `x` doubles while `condition` says so, of it and the counter; `y` too where `both`.
    fn leaves(condition: impl FnOnce(&mut Builder, ExprId, ExprId, ExprId) -> ExprId, both: bool) -> bool {
        let mut b = Builder::new("t");
        let (zero, one, nine) = (b.int(0), b.int(1), b.int(9));
        let buffers = ["x", "y"].map(|n| b.add_buffer(n, DType::F32, &[one], Space::Register));
        let [x, y] = buffers.map(|r| b.load(r, &[zero]));
        let var = b.add_var("t", DType::I64);
        let t = b.var(var);
        let on = condition(&mut b, x, y, t);
        let (bound, on) = b.bind("on", on);
        let [twice, more] = [b.add(x, x), b.add(y, x)];
        let kept = b.select(on, twice, x);
        let other = if both { b.select(on, more, y) } else { more };
        let body = vec![bound, b.store(buffers[0], &[zero], kept), b.store(buffers[1], &[zero], other)];
        let loops = Stmt::Loop { var, lo: zero, hi: nine, step: 1, kind: LoopKind::Serial, body };
        let nest = b.finish();
        let Stmt::Loop { body, .. } = &loops else { return false };
        settling(&nest, var, body).is_some()
    }

    fn below(b: &mut Builder, v: ExprId) -> ExprId {
        let most = b.constant(Scalar::Float(100.0), DType::F32);
        b.lt(v, most)
    }

    #[test]
    fn conditions_of_what_is_carried_last() {
        assert!(leaves(|b, x, _, _| below(b, x), true));
        assert!(leaves(|b, _, y, _| below(b, y), true));
    }

    #[test]
    fn conditions_that_may_come_back_do_not() {
        // The next pass differs by itself.
        let of_counter = |b: &mut Builder, x: ExprId, _: ExprId, t: ExprId| {
            let five = b.int(5);
            let (early, small) = (b.lt(t, five), below(b, x));
            b.and(early, small)
        };
        assert!(!leaves(of_counter, true));
        // `y` changes in any case, and with it the condition.
        assert!(!leaves(|b, _, y, _| below(b, y), false));
    }
}

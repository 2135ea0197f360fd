//! Loops that are written out, in two forms: one where something holds that makes lanes simple, and the plain one.
//!
//! What is asked at run time, once for all points: whether a quotient is the same for all of them (`S[k / G]` is one element
//! while `k` stays within a group), and whether elements that share bytes begin at the first bit of one.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Ssa};
use super::address::Linear;
use super::lanes::Val;
use super::packed::{Packed, power_of_two};
use super::scope::{Binding, Dep};
use super::{Emitter, scope::Life};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, LoopKind, Stmt, VarId};
use crate::nest::walk::for_each_stmt;

/// What holds at the current position.
#[derive(Clone, Debug)]
pub(super) struct Assumed<V> {
    /// Quotients that are the same for all points that are written out.
    pub(super) quotients: BTreeMap<ExprId, (V, Dep)>,
    /// Indices that are those of a byte's first element, at the first lane.
    pub(super) begin_bytes: BTreeSet<ExprId>,
    /// Whether this was asked for already.
    pub(super) asked: bool,
}

impl<V> Default for Assumed<V> {
    fn default() -> Assumed<V> {
        Assumed { quotients: BTreeMap::new(), begin_bytes: BTreeSet::new(), asked: false }
    }
}

/// First and last value of a counter, and the distance of neighbours.
type Range = (i64, i64, i64);

/// A counter with its range, and what it is taken times.
type Term = (VarId, Range, i64);

/// Loops that are written out.
struct Written {
    counters: BTreeMap<VarId, Range>,
    /// The counters of lanes.
    lanes: BTreeSet<VarId>,
    /// All that is bound inside.
    bound: BTreeSet<VarId>,
}

/// An index at the points that are written out.
struct Span {
    /// At the point where it is least.
    least: Linear,
    /// How much more it is at the others, at most.
    length: i64,
}

impl<B: Ssa> Emitter<'_, B> {
    /// Writes a loop that is written out, as `f` does, in two forms where that is worth it.
    pub(super) fn in_forms(&mut self, stmt: &Stmt, f: impl Fn(&mut Self)) {
        if self.assumed.asked || self.lanes.is_some() || !self.passes_around.is_empty() {
            return f(self);
        }
        let Some((condition, assumed)) = self.conditions(stmt) else { return f(self) };
        let before = std::mem::replace(&mut self.assumed, Assumed { asked: true, ..Assumed::default() });
        let (simple, plain, join) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch(condition, (simple, &[]), (plain, &[]));
        self.arm(simple, join, |e| {
            let plain = std::mem::replace(&mut e.assumed, assumed);
            let here = Dep { scope: e.scopes.innermost(), level: e.scopes.level, life: Life::Scope };
            e.assumed.quotients.values_mut().for_each(|(_, dep)| *dep = here);
            f(e);
            e.assumed = plain;
        });
        self.arm(plain, join, |e| f(e));
        self.go_on(join);
        self.assumed = before;
    }

    /// What makes lanes of a statement simple, and a truth value that says whether it is so.
    fn conditions(&mut self, stmt: &Stmt) -> Option<(B::Value, Assumed<B::Value>)> {
        let written = self.written(stmt)?;
        let mut conditions = Vec::new();
        let mut assumed = Assumed { asked: true, ..Assumed::default() };
        for e in self.all_exprs(stmt) {
            if let Some(packed) = Packed::of(self.nest, e) {
                if assumed.begin_bytes.contains(&packed.x) {
                    continue;
                }
                let across = packed.index.iter().any(|i| self.has_lanes(*i, &written));
                if let Some(condition) = self.begins_bytes(packed.x, packed.per, &written, across) {
                    assumed.begin_bytes.insert(packed.x);
                    conditions.extend(condition);
                }
            } else if let ExprKind::Binary(BinaryOp::DivNonNeg, a, g) = self.nest.exprs[e].kind
                && let Some((quotient, condition)) = self.same_quotient(a, g, &written)
            {
                assumed.quotients.insert(e, (quotient, Dep::default()));
                conditions.push(condition);
            }
        }
        let all = conditions.into_iter().reduce(|a, b| self.b.binary(Bin::And, a, b))?;
        Some((all, assumed))
    }

    /// The loops of a statement; `None` where none is of lanes.
    fn written(&mut self, stmt: &Stmt) -> Option<Written> {
        let mut written =
            Written { counters: BTreeMap::new(), lanes: BTreeSet::new(), bound: BTreeSet::new() };
        for_each_stmt(std::slice::from_ref(stmt), &mut |s| match s {
            Stmt::Loop { var, lo, hi, step, kind: LoopKind::Unrolled | LoopKind::Lanes, .. } => {
                let passes = self.constant_passes((*lo, *hi, *step)).unwrap_or_default();
                if let (Some(first), Some(last)) = (passes.first(), passes.last()) {
                    written.counters.insert(*var, (*first, *last, *step));
                }
                if matches!(s, Stmt::Loop { kind: LoopKind::Lanes, .. }) && passes.len() > 1 {
                    written.lanes.insert(*var);
                }
            }
            Stmt::Loop { var, .. } | Stmt::Let { var, .. } | Stmt::Atomic { old: Some(var), .. } => {
                written.bound.insert(*var);
            }
            _ => {}
        });
        for var in written.counters.keys() {
            self.bindings[var.index()] = (Binding::Unbound, Dep::default());
        }
        (!written.lanes.is_empty()).then_some(written)
    }

    /// All expressions in a statement.
    fn all_exprs(&self, stmt: &Stmt) -> BTreeSet<ExprId> {
        let (mut seen, mut work) = (BTreeSet::new(), Vec::new());
        for_each_stmt(std::slice::from_ref(stmt), &mut |s| s.for_each_expr(|e| work.push(e)));
        while let Some(e) = work.pop() {
            if seen.insert(e) {
                self.nest.exprs[e].for_each_operand(|o| work.push(o));
            }
        }
        seen
    }

    /// An index that is a sum of counters of the loops, each with its range and what it is taken times, and of what they do
    /// not change.
    fn parts(&self, e: ExprId, written: &Written) -> Option<(Linear, Vec<Term>)> {
        let mut rest = self.linear(e);
        let mut counters = Vec::new();
        for (e, c) in std::mem::take(&mut rest.terms) {
            let counter = match self.nest.exprs[e].kind {
                ExprKind::Var(v) => written.counters.get(&v).map(|range| (v, *range, c)),
                _ => None,
            };
            match counter {
                Some(counter) => counters.push(counter),
                None if self.is_inside(e, written) => return None,
                None => {
                    rest.terms.insert(e, c);
                }
            }
        }
        Some((rest, counters))
    }

    /// An index that is a sum of counters of the loops, the lanes' among them, and of what they do not change.
    fn span(&self, e: ExprId, written: &Written) -> Option<Span> {
        let (mut least, counters) = self.parts(e, written)?;
        let (mut length, mut of_lanes) = (0i64, false);
        for (var, (first, last, _), c) in counters {
            of_lanes |= written.lanes.contains(&var);
            let (a, b) = (c.checked_mul(first)?, c.checked_mul(last)?);
            least.constant = least.constant.checked_add(a.min(b))?;
            length = length.checked_add(a.abs_diff(b).try_into().ok()?)?;
        }
        (of_lanes && length > 0).then_some(Span { least, length })
    }

    /// Whether an expression depends on what the loops bind, or on what memory holds.
    fn is_inside(&self, e: ExprId, written: &Written) -> bool {
        self.nest.any(e, |kind| match kind {
            ExprKind::Var(v) => written.counters.contains_key(v) || written.bound.contains(v),
            ExprKind::Load { .. } => true,
            _ => false,
        })
    }

    /// Whether an expression depends on the counters of lanes.
    fn has_lanes(&self, e: ExprId, written: &Written) -> bool {
        self.nest.any(e, |kind| matches!(kind, ExprKind::Var(v) if written.lanes.contains(v)))
    }

    /// The value of a sum.
    pub(super) fn sum(&mut self, sum: &Linear) -> Option<B::Value> {
        let mut total = self.int64(sum.constant);
        for (&e, &c) in &sum.terms {
            let Val::Uniform(v) = self.eval(e) else { return None };
            let term = self.op_const(Bin::Mul, v, c);
            total = self.b.binary(Bin::Add, term, total);
        }
        Some(total)
    }

    /// The quotient at all points, and whether it is the same for them.
    fn same_quotient(
        &mut self,
        a: ExprId,
        divisor: ExprId,
        written: &Written,
    ) -> Option<(B::Value, B::Value)> {
        let span = self.span(a, written)?;
        let few = self.nest.const_int(divisor).is_some_and(|d| d <= span.length);
        if few || self.is_inside(divisor, written) {
            return None;
        }
        let (least, divisor) = (self.sum(&span.least)?, self.uniform(divisor));
        let (a, b) = (Val::Uniform(least), Val::Uniform(divisor));
        let Val::Uniform(quotient) = self.binary(BinaryOp::DivNonNeg, &a, &b, DType::I64) else {
            return None;
        };
        let product = self.b.binary(Bin::Mul, quotient, divisor);
        let rest = self.b.binary(Bin::Sub, least, product);
        let last = self.op_const(Bin::Add, rest, span.length);
        let same = self.b.compare(Cmp::Lt, last, divisor);
        Some((quotient, same))
    }

    /// Whether an index is that of a byte's first element at the first lane of all points: a truth value where that is to
    /// be asked. `across`: lanes are in bytes of their own, maybe along another dimension.
    fn begins_bytes(
        &mut self,
        x: ExprId,
        per: i64,
        written: &Written,
        across: bool,
    ) -> Option<Option<B::Value>> {
        let (mut base, counters) = self.parts(x, written)?;
        // Lanes a byte apart find their elements at the same place, which the other counters say.
        let of_bytes = |(var, _, c): &Term| written.lanes.contains(var) && *c == per;
        let same = across && !counters.iter().any(|(var, ..)| written.lanes.contains(var));
        let apart = (same || counters.iter().any(of_bytes)) && base.constant % per == 0;
        let counters = if apart { Vec::new() } else { counters };
        let mut of_lanes = apart;
        for (var, (first, _, step), c) in counters {
            let lanes = written.lanes.contains(&var);
            if lanes && c != 1 || !lanes && power_of_two(c.saturating_mul(step)) < per {
                return None;
            }
            of_lanes |= lanes;
            base.constant = base.constant.checked_add(c.checked_mul(first)?)?;
        }
        if !of_lanes {
            return None;
        }
        if self.multiple_of_sum(&base, 0) >= per {
            return Some(None);
        }
        let first = self.sum(&base)?;
        let within = self.op_const(Bin::And, first, per - 1);
        Some(Some(self.compare_const(Cmp::Eq, within, 0)))
    }
}

//! The interior of an axis: reads there need no edge rule, and comparisons of the axis with a place near one of its ends have one
//! result.
//!
//! ```text
//! for x in 0..W { v[x] = select(0 < x && x < W - 1, e, f) }  =>  for x in 1..W - 1 { v[x] = e }, and the ends as before
//! ```

use super::Emitter;
use crate::diag::Diagnostic;
use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind};
use crate::nest::ir as nest;
use crate::schedule::bounds;
use crate::schedule::form::{Form, ValueInfo};
use crate::schedule::fuse::Tree;

/// Points at an end of an axis that are worth loops of their own.
const MARGIN: i64 = 8;

/// What a comparison gives between the ends of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    /// The result.
    pub(super) value: bool,
    /// Whether it is the opposite beyond the bound.
    pub(super) turns: bool,
    /// From where, or up to where.
    pub(super) between: Between,
}

/// The points of an axis between its ends.
pub(super) struct Interior {
    /// The first.
    pub(super) first: nest::ExprId,
    /// The first after them.
    pub(super) last: nest::ExprId,
    /// The bounds that all points before them, and all after them, lie beyond.
    pub(super) beyond: [Option<Between>; 2],
}

/// One bound of the points where a comparison is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// From this index on.
    From(i64),
    /// Below an extent plus a number.
    Below(ExprId, i64),
}

impl Between {
    fn number(self) -> i64 {
        match self {
            Between::From(at) => at,
            Between::Below(_, distance) => distance,
        }
    }
}

/// The result of a comparison of an axis with what is near one of its ends.
pub(super) fn decided(form: &Form, e: ExprId, axis: AxisId) -> Option<Decided> {
    use BinaryOp as B;
    let ExprKind::Binary(op, a, b) = form.func.exprs[e].kind else { return None };
    let exact = |e: ExprId| bounds::offset(form, e, axis).filter(|(lo, hi)| lo == hi).map(|(lo, _)| lo);
    let (op, offset, place) = match (exact(a), exact(b)) {
        (Some(offset), None) => (op, offset, b),
        (None, Some(offset)) => {
            let mirrored = match op {
                B::Lt => B::Gt,
                B::Le => B::Ge,
                B::Gt => B::Lt,
                B::Ge => B::Le,
                other => other,
            };
            (mirrored, offset, a)
        }
        _ => return None,
    };
    // The axis is above `place - offset` near its start, and below it near its end.
    let (value, beyond) = match op {
        B::Lt => (false, 0),
        B::Le => (false, 1),
        B::Gt => (true, 1),
        B::Ge => (true, 0),
        B::Eq => (false, 1),
        B::Ne => (true, 1),
        _ => return None,
    };
    let turns = !matches!(op, B::Eq | B::Ne);
    let (lo, hi) = match form.cuts.get(&axis) {
        Some(cut) => (cut.lo, cut.hi),
        None => (form.func.axes[axis].lo, form.func.axes[axis].hi),
    };
    let near = |distance: i64| (-MARGIN..=MARGIN).contains(&distance);
    if let Some(at) = bounds::literal(form, place).and_then(|at| at.checked_sub(offset))
        && bounds::literal(form, lo).and_then(|lo| at.checked_sub(lo)).is_some_and(near)
    {
        return Some(Decided { value, turns, between: Between::From(at.checked_add(beyond)?) });
    }
    let from_end = bounds::distance(form, place, hi)?.checked_sub(offset).filter(|d| near(*d))?;
    let (value, beyond) = match op {
        B::Lt | B::Ge => (!value, 0),
        B::Le | B::Gt => (!value, 1),
        _ => (value, 0),
    };
    Some(Decided { value, turns, between: Between::Below(hi, from_end + beyond) })
}

impl Emitter<'_> {
    /// The part of a range where no read below leaves its tensor along the axis, and comparisons of lanes with its ends are
    /// decided; `None` if it is all of the range.
    pub(super) fn interior(
        &mut self,
        axis: AxisId,
        body: &[Tree],
        (lo, hi): (nest::ExprId, nest::ExprId),
    ) -> Result<Option<Interior>, Diagnostic> {
        let stmts = Tree::stmts(body);
        let mut edges: Vec<(i64, i64, ExprId)> = Vec::new();
        let mut roots: Vec<ExprId> = stmts.iter().flat_map(|s| self.form.stmts[*s].action.exprs()).collect();
        roots.extend(Tree::conditions(body));
        let mut compared = Vec::new();
        for e in self.form.below(roots) {
            if self.levels.has_lanes(axis) {
                compared.extend(decided(self.form, e, axis).map(|d| d.between));
            }
            let kind = &self.form.func.exprs[e].kind;
            if let ExprKind::Load { tensor, index, leaves } = kind {
                for (d, (ix, leaves)) in index.iter().zip(leaves).enumerate() {
                    if *leaves && let Some((a, z)) = bounds::offset(self.form, *ix, axis) {
                        edges.push((a, z, self.form.func.tensors[*tensor].shape[d]));
                    }
                }
            }
            if let Some(cut) = self.form.cuts.get(&axis)
                && cut.wrapped == Some(e)
            {
                edges.push((0, 0, cut.hi));
            }
        }
        let cut = |i: &ValueInfo| i.panels.contains_key(&axis);
        if (edges.is_empty() && compared.is_empty()) || self.form.info.iter().any(cut) {
            return Ok(None);
        }
        let mut bounds: Vec<Between> = Vec::new();
        for (a, z, extent) in edges {
            bounds.extend([Between::From(-a), Between::Below(extent, -z)]);
        }
        bounds.extend(compared);
        let (mut first, mut last) = (lo, hi);
        for bound in &bounds {
            match *bound {
                Between::From(at) => {
                    let at = self.b.int(at);
                    first = self.b.max(first, at);
                }
                Between::Below(extent, distance) => {
                    let extent = self.pure(extent)?;
                    let end = self.b.add_int(extent, distance);
                    last = self.b.min(last, end);
                }
            }
        }
        let from =
            bounds.iter().filter(|b| matches!(b, Between::From(_))).copied().max_by_key(|b| b.number());
        let below = bounds.iter().filter(|b| matches!(b, Between::Below(..))).copied();
        let below = below.min_by_key(|b| b.number()).filter(|least| {
            let Between::Below(extent, _) = least else { return false };
            let same =
                |b: &Between| !matches!(b, Between::Below(e, _) if !bounds::same(self.form, *e, *extent));
            bounds.iter().all(same)
        });
        Ok(Some(Interior { first, last, beyond: [from, below] }))
    }

    /// The result of a comparison where all points lie beyond a bound.
    pub(super) fn decided_beyond(&self, e: ExprId, axis: AxisId) -> Option<bool> {
        let (beyond, found) = (self.axes[axis.index()].beyond?, decided(self.form, e, axis)?);
        let same = match (beyond, found.between) {
            (Between::From(a), Between::From(b)) => a == b,
            (Between::Below(x, a), Between::Below(y, b)) => a == b && bounds::same(self.form, x, y),
            _ => false,
        };
        (same && found.turns).then_some(!found.value)
    }
}

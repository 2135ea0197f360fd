//! Axes whose bounds follow other axes, as the keys `j in 0..i+1` of a causal row: where several points of `i` run at once,
//! or none is fixed yet, loops over `j` take in all that any of them asks for.
//!
//! ```text
//! for i step 4 { for j in 0..i+1 { 4 points: s[i] += e } }
//!   =>  for i step 4 { for j in 0..i+1 { 4 points: s[i] += e }
//!                      for j in i+1..i+4 { 4 points: if j < i + 1 { s[i] += e } } }
//! ```
//!
//! What only fills elements of its own at such a point needs no condition: nobody looks at them.

use std::collections::BTreeSet;

use super::bounds;
use super::form::{Action, Form, Item, Stmt, StmtId};
use super::levels::Levels;
use crate::hir::ir::{AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Function, UnaryOp, ValueKind};

/// Which way a bound goes as an axis counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// It never falls.
    Up,
    /// It never rises.
    Down,
}

impl Direction {
    fn reversed(self) -> Direction {
        match self {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        }
    }
}

/// How the bounds of an axis follow others. One of the two bounds is the same for all their points: so whatever lies between
/// the lowest and the highest bound is a point of the axis for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slant {
    /// The axes that the lower bound follows.
    pub(crate) lo: Vec<(AxisId, Direction)>,
    /// The axes that the upper bound follows.
    pub(crate) hi: Vec<(AxisId, Direction)>,
}

impl Slant {
    /// The axes that a bound follows.
    pub(crate) fn axes(&self) -> impl Iterator<Item = AxisId> {
        self.lo.iter().chain(&self.hi).map(|(a, _)| *a)
    }
}

/// How the bounds of an axis follow other dimensions; `None` where they follow none, or not in one direction.
pub(crate) fn of(form: &Form, axis: AxisId) -> Option<Slant> {
    let a = &form.func.axes[axis];
    let mut slant = Slant::default();
    for p in a.parents.iter().copied().filter(|p| form.is_dimension(*p)) {
        if form.func.axes[p].parents.iter().any(|q| form.is_dimension(*q)) {
            return None;
        }
        slant.lo.extend(direction(form, a.lo, p)?.map(|d| (p, d)));
        slant.hi.extend(direction(form, a.hi, p)?.map(|d| (p, d)));
    }
    // The tiles of a fold begin where its axis does.
    let begins = slant.lo.is_empty() || !matches!(a.kind, AxisKind::Fold(_));
    let one_sided = slant.lo.is_empty() != slant.hi.is_empty();
    (begins && one_sided).then_some(slant)
}

/// Which way an expression goes, `Some(None)` where it does not depend on the axis, `None` where that is not known.
fn direction(form: &Form, e: ExprId, axis: AxisId) -> Option<Option<Direction>> {
    let expr = &form.func.exprs[e];
    if !expr.axes.contains(&axis) {
        return Some(None);
    }
    let of = |e: ExprId| direction(form, e, axis);
    let both = |a: Option<Direction>, b: Option<Direction>| match (a, b) {
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
        (a, b) => Some(a.or(b)),
    };
    match &expr.kind {
        ExprKind::Axis(_) => Some(Some(Direction::Up)),
        ExprKind::Unary(UnaryOp::Neg, a) => Some(of(*a)?.map(Direction::reversed)),
        ExprKind::Binary(BinaryOp::Add, a, b) => both(of(*a)?, of(*b)?),
        ExprKind::Binary(BinaryOp::Sub, a, b) => both(of(*a)?, of(*b)?.map(Direction::reversed)),
        ExprKind::Binary(BinaryOp::Mul, a, b) => {
            let (a, b) = if of(*b)?.is_none() { (*a, *b) } else { (*b, *a) };
            let factor = of(b)?.is_none() && bounds::non_negative(form, b);
            if factor { of(a) } else { None }
        }
        ExprKind::Binary(BinaryOp::Div, a, b) => {
            if bounds::literal(form, *b).is_some_and(|n| n > 0) {
                of(*a)
            } else {
                None
            }
        }
        ExprKind::Call(Function::Min | Function::Max, args) => {
            args.iter().try_fold(None, |all, a| both(all, of(*a)?))
        }
        ExprKind::Cast(a) => {
            // Indices fit the integer types that they are converted to.
            let index =
                |e: ExprId| form.func.exprs[e].dtype.int_range().is_some_and(|(lo, _)| lo < -(1 << 30));
            if index(e) && index(*a) { of(*a) } else { None }
        }
        _ => None,
    }
}

/// Whether a statement must not run at points beyond the bounds of an axis that it runs over.
pub(crate) fn minds(form: &Form, stmt: &Stmt, axis: AxisId) -> bool {
    stmt.axes.contains(&axis)
        && match &stmt.action {
            Action::Accumulate { value, .. } => {
                !form.func.values[*value].axes.contains(&axis)
                    || form.info[value.index()].lanes_of == Some(axis)
            }
            Action::Set { .. } => false,
            _ => true,
        }
}

/// Whether loops over an axis may take in points beyond its bounds: all that runs along it keeps what it gives there to
/// itself or can be left out, and reads nothing outside of a tensor.
pub(crate) fn may_exceed(form: &Form, levels: &Levels, axis: AxisId) -> bool {
    let Some(slant) = of(form, axis) else { return false };
    let by_threads = slant.axes().chain([axis]).any(|a| levels.threads(a) > 1);
    let bounds_others = form.func.axes.iter().any(|(_, a)| a.parents.contains(&axis));
    if by_threads || bounds_others || form.cuts.contains_key(&axis) {
        return false;
    }
    let mut folded = BTreeSet::new();
    folds(&form.items, axis, false, &mut folded);
    form.stmts.handles().all(|s| {
        let stmt = &form.stmts[s];
        let along = stmt.axes.contains(&axis);
        let action = match &stmt.action {
            Action::Set { value, index: None, .. } => !along || form.func.values[*value].axes.contains(&axis),
            Action::Accumulate { value, guard: None, .. } => {
                !stmt.atomic && (along || form.func.values[*value].kind == ValueKind::Let)
            }
            Action::Store { .. } => !stmt.atomic && !folded.contains(&s),
            _ => false,
        };
        let concerned = along || folded.contains(&s);
        !concerned || action && stmt.action.exprs().into_iter().all(|e| is_safe(form, e, axis, &slant))
    })
}

/// The statements inside the fold over an axis.
fn folds(items: &[Item], axis: AxisId, inside: bool, out: &mut BTreeSet<StmtId>) {
    for item in items {
        match item {
            Item::Stmt(s) => out.extend(inside.then_some(*s)),
            Item::Seq { axis: a, body, .. } => folds(body, axis, inside || *a == axis, out),
            Item::If { then, otherwise, .. } => {
                folds(then, axis, inside, out);
                folds(otherwise, axis, inside, out);
            }
        }
    }
}

/// Whether an expression may be computed where the axis is beyond its bounds, since those follow other axes: no index leaves
/// a tensor there, and nothing is divided by what may then be 0.
fn is_safe(form: &Form, e: ExprId, axis: AxisId, slant: &Slant) -> bool {
    let moves = |e: ExprId| {
        let axes = &form.func.exprs[e].axes;
        axes.contains(&axis) || slant.axes().any(|a| axes.contains(&a))
    };
    form.below(vec![e]).all(|e| {
        let expr = &form.func.exprs[e];
        match &expr.kind {
            ExprKind::Load { tensor, index, leaves } => {
                index.iter().zip(leaves).enumerate().all(|(d, (ix, leaves))| {
                    let plain = matches!(form.func.exprs[*ix].kind, ExprKind::Axis(a) if a == axis);
                    *leaves || plain || !moves(*ix) || bounds::is_inside(form, *tensor, d, *ix)
                })
            }
            ExprKind::ValueAt(..) | ExprKind::Table { .. } => !moves(e),
            ExprKind::Binary(BinaryOp::Div | BinaryOp::Rem, _, b) => {
                !expr.dtype.is_int() || bounds::literal(form, *b).is_some_and(|n| n > 0)
            }
            _ => true,
        }
    })
}

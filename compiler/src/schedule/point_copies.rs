//! Updates of private copies, of whose axis points are written out: each of these points has a copy of its own.
//!
//! ```text
//! for i step n { u of n, written out: q[b] += e }   =>   p[u,b] = 0;  for i step n { u of n: p[u,b] += e };  q[b] += p[u,b] over u
//! ```
//!
//! An update reads what the last one of the same element has stored, and waits for it. Points that are next to each other
//! do not meet any more. Only tables that stay in the first-level cache, with all their copies, are taken.
//!
//! This changes the association of the reduction, as in [`super::split`].

use rooftile_artifact::DType;

use super::form::{Action, Form, StmtId, reduction};
use super::kernel::{Setup, levels_of};
use super::levels::{LevelId, LevelKind, Levels};
use super::split::reassociates;
use super::{Allow, bounds};
use crate::hir::ir::{AxisId, ExprKind};

/// Most bytes of all copies together: half of a small first-level cache.
const BYTES: i64 = 16 << 10;

/// Gives each written-out point of an update of private copies a copy of its own, where that is allowed.
pub(crate) fn point_copies(form: &mut Form, levels: &Levels, setup: &Setup) {
    // Threads of a group do not wait for each other's stores.
    if setup.group.threads > 0 {
        return;
    }
    form.replace_stmts(&mut |form, s| {
        let axis = candidate(form, levels, setup.allow, s)?;
        split(form, levels, s, axis)
    });
}

/// Whether so many copies of a table with these extents stay in the first-level cache.
pub(super) fn fit(dtype: DType, extents: &[i64], copies: i64) -> bool {
    let each = i64::try_from(dtype.size()).ok();
    let elements = extents.iter().try_fold(copies, |n, extent| n.checked_mul(*extent));
    let bytes = elements.zip(each).and_then(|(n, each)| n.checked_mul(each));
    bytes.is_some_and(|bytes| bytes <= BYTES)
}

/// The axis of which points are written out in an update of private copies.
fn candidate(form: &Form, levels: &Levels, allow: Allow, s: StmtId) -> Option<AxisId> {
    let stmt = &form.stmts[s];
    let Action::Scatter { value, op, .. } = &stmt.action else { return None };
    let v = &form.func.values[*value];
    if !reassociates(v.dtype, reduction(*op)?, allow) {
        return None;
    }
    // The first axis counts the parts, and each has its own.
    let (_, dims) = v.axes.split_first()?;
    let extents: Vec<i64> = dims.iter().map(|a| bounds::extent(form, *a)).collect::<Option<_>>()?;
    let written_out = |b: LevelId| matches!(levels.all[b].kind, LevelKind::Block { lanes: false, .. });
    stmt.axes.iter().copied().find(|a| {
        let mut blocks = levels.blocks(*a).peekable();
        blocks.peek().is_some()
            && blocks.all(written_out)
            && !v.axes.contains(a)
            && levels.steps(*a).next().is_some()
            && fit(v.dtype, &extents, levels.block_count(*a))
    })
}

fn split(form: &mut Form, levels: &Levels, s: StmtId, axis: AxisId) -> Option<Vec<StmtId>> {
    let stmt = form.stmts[s].clone();
    let Action::Scatter { value, mut index, op, expr } = stmt.action else { return None };
    let (v, span) = (form.func.values[value].clone(), stmt.span);
    let monoid = reduction(op)?;
    let mut axes = vec![axis];
    axes.extend(&v.axes);
    let copies = form.value(&format!("{}.points", v.name), v.dtype, axes.clone(), v.span);
    form.info[copies.index()].private = form.info[value.index()].private.clone();
    form.info[copies.index()].lanes_of = Some(axis);

    let first = form.identity(monoid, v.dtype, span);
    let init = form.stmt(Action::Set { value: copies, index: None, expr: first }, axes.clone(), span);
    // The loops of the copies' own dimensions, and the points.
    let around: Vec<LevelId> = levels_of(form, levels, init)
        .into_iter()
        .filter(|l| levels.all[*l].axis != axis || levels.all[*l].kind.is_block())
        .collect();
    form.stmts[init].levels = Some(around.clone());

    index.insert(0, form.expr(ExprKind::Axis(axis), DType::I64, span));
    form.stmts[s].action = Action::Scatter { value: copies, index, op, expr };

    let read = form.read(copies, span);
    let merge = Action::Accumulate { value, op: monoid, args: vec![read], guard: None };
    let merge = form.stmt(merge, axes, span);
    form.stmts[merge].levels = Some(around);
    Some(vec![init, s, merge])
}

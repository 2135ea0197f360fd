//! Reductions over an axis that has lanes: one partial result a lane, combined after the loop.
//!
//! ```text
//! for j { s += e }   =>   p[0..n] = 0;  for j step n { lanes l: p[l] += e };
//!                         lanes l of n/2: p1[l] = p[l] + p[l + n/2];  lanes l of n/4: p2[l] = p1[l] + p1[l + n/4];  ..  s += p
//! ```
//!
//! Threads do not see each other's registers: what each has summed goes by way of near memory. Those of a subgroup can ask
//! each other: they add pairwise first (`w` is 1 where they cannot).
//!
//! ```text
//! for j by threads { s += e }  =>  p = 0;  for j { p += e };
//!                                  threads t: p1 = p + p of thread t ^ 1;  threads t: p2 = p1 + p1 of thread t ^ 2; ..
//!                                  threads t: q[t] = p of w;  for t step w { s += q[t] }
//! ```
//!
//! A scan runs in the same way: each lane adds that one lane before, two, four, ..; then the carry (`emit/pairs.rs`).
//!
//! This changes the association of the reduction. Maxima, minima and integers do not mind; float sums and products need
//! `allow reassoc`. Without it the lanes of the elements are computed together and added one after the other.

use super::Allow;
use super::form::{Action, Form, StmtId};
use super::kernel::{Setup, levels_of};
use super::levels::{LevelId, LevelKind, Levels};
use super::split::reassociates;
use crate::hir::ir::{AxisId, ReduceOp, ValueId};

/// Gives every reduction over lanes its partial results, where that is allowed.
pub(crate) fn lane_partials(form: &mut Form, levels: &Levels, setup: &Setup) {
    for s in form.stmts.handles().collect::<Vec<_>>() {
        if let Action::Scan { value, run, op, axis, .. } = form.stmts[s].action
            && levels.has_lanes(axis)
            && reassociates(form.func.values[run].dtype, op, setup.allow)
        {
            form.stmts[s].pairs = Some(value);
        }
    }
    form.replace_stmts(&mut |form, s| {
        let axis = candidate(form, levels, setup.allow, s)?;
        Some(split(form, levels, setup.group.exchange, s, axis))
    });
}

fn candidate(form: &Form, levels: &Levels, allow: Allow, s: StmtId) -> Option<AxisId> {
    let stmt = &form.stmts[s];
    let Action::Accumulate { value, op, guard: None, .. } = &stmt.action else { return None };
    let v = &form.func.values[*value];
    if !reassociates(v.dtype, *op, allow) {
        return None;
    }
    let open = |a: &AxisId| !v.axes.contains(a) && levels.steps(*a).next().is_some();
    let by_threads = stmt.axes.iter().copied().find(|a| open(a) && levels.threads(*a) > 1);
    if by_threads.is_some() || v.axes.iter().any(|a| levels.has_lanes(*a)) {
        return by_threads;
    }
    let mut reduced = stmt.axes.iter().copied().filter(|a| !v.axes.contains(a) && levels.has_lanes(*a));
    reduced.next_back().filter(open)
}

fn split(form: &mut Form, levels: &Levels, exchange: i64, s: StmtId, axis: AxisId) -> Vec<StmtId> {
    let stmt = form.stmts[s].clone();
    let Action::Accumulate { value, op, args, guard } = stmt.action.clone() else {
        return vec![s];
    };
    let blocks: Vec<LevelId> = levels.blocks(axis).collect();
    let partial = partial_value(form, value, axis, "lanes");
    let v_axes = form.sorted(form.func.values[value].axes.clone());
    // The loops of the value's own points, and the lanes.
    let own: Vec<LevelId> = levels_of(form, levels, s)
        .into_iter()
        .filter(|l| v_axes.contains(&levels.all[*l].axis))
        .chain(blocks)
        .collect();
    let dtype = form.func.values[value].dtype;
    let first = form.identity(op, dtype, stmt.span);
    let mut axes = v_axes;
    axes.push(axis);
    let init = form.stmt(Action::Set { value: partial, index: None, expr: first }, axes.clone(), stmt.span);
    form.stmts[init].levels = Some(own.clone());
    form.stmts[s].action = Action::Accumulate { value: partial, op, args, guard };
    let mut all = vec![init, s];
    let merge = if op == ReduceOp::Dot { ReduceOp::Sum } else { op };
    let mut read = form.read(partial, stmt.span);
    let mut every = 1;
    if levels.threads(axis) > 1 {
        let (mut from, most) = (partial, within(levels, &own, axis, exchange));
        while every < most {
            let value = partial_value(form, value, axis, &format!("pairs{every}"));
            let pairs = Action::Exchange { value, from, op: merge, axis, bit: every, upto: None };
            let pairs = form.stmt(pairs, axes.clone(), stmt.span);
            form.stmts[pairs].levels = Some(own.clone());
            all.push(pairs);
            from = value;
            every *= 2;
        }
        read = form.read(from, stmt.span);
        let near = partial_value(form, value, axis, "threads");
        let set = Action::Set { value: near, index: None, expr: read };
        let set = form.stmt(set, axes.clone(), stmt.span);
        form.stmts[set].levels = Some(own.clone());
        all.push(set);
        read = form.read(near, stmt.span);
    }
    let combine = Action::Accumulate { value, op: merge, args: vec![read], guard: None };
    let combine = form.stmt(combine, axes, stmt.span);
    form.stmts[combine].levels = Some(own);
    // Partial results are a chunk's own.
    form.stmts[combine].atomic = std::mem::take(&mut form.stmts[s].atomic);
    form.stmts[combine].every = (every > 1).then_some((axis, every));
    form.stmts[combine].pairs = (levels.threads(axis) == 1).then_some(partial);
    all.push(combine);
    all
}

/// How many neighbours along an axis lie within `exchange` threads that can see each other's registers: a power of two.
pub(super) fn within(levels: &Levels, own: &[LevelId], axis: AxisId, exchange: i64) -> i64 {
    let threads = |l: &LevelId| match levels.all[*l].kind {
        LevelKind::Threads { count } => Some((levels.position(*l), levels.all[*l].axis, count)),
        _ => None,
    };
    let all: Vec<_> = own.iter().filter_map(threads).collect();
    let Some(&(place, _, count)) = all.iter().find(|(_, a, _)| *a == axis) else { return 1 };
    // Threads from one neighbour to the next.
    let stride: i64 = all.iter().filter(|(p, ..)| *p > place).map(|(_, _, n)| n).product();
    let mut n = 1;
    while stride.count_ones() == 1 && count % (2 * n) == 0 && 2 * n * stride <= exchange {
        n *= 2;
    }
    n
}

/// A value with an element for each point of a block of an axis.
pub(super) fn partial_value(form: &mut Form, value: ValueId, axis: AxisId, what: &str) -> ValueId {
    let v = form.func.values[value].clone();
    let mut axes = v.axes.clone();
    axes.push(axis);
    let partial = form.value(&format!("{}.{what}", v.name), v.dtype, axes, v.span);
    form.info[partial.index()].private = form.info[value.index()].private.clone();
    form.info[partial.index()].lanes_of = Some(axis);
    partial
}

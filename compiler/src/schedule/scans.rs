//! Scans along an axis whose points run by threads: all threads of a step at once.
//!
//! ```text
//! for i by n threads { run = run + e;  v = run }
//!   =>  c = run
//!       for i step n {
//!         threads t: s = e, or 0 beyond the end;  u = s
//!         threads t: if t has bit 1 { u = s of thread t ^ 1 + u };  s1 = s + s of thread t ^ 1
//!         threads t: if t has bit 2 { u = s1 of thread t ^ 2 + u };  s2 = s1 + s1 of thread t ^ 2; ..
//!         threads t: b = c + s of every group of w threads before;  v = b + u;  c = c + s of every group
//!       }
//! ```
//!
//! After the exchange of bit `w / 2` a thread has in `s` the sum of `w` neighbours, in `u` that up to itself. Threads of a
//! subgroup ask each other for registers, all others by way of near memory, in which the groups' sums lie. Every thread has
//! the carry `c`, so nobody waits for it.
//!
//! This changes the association, as reductions by threads do; points that a thread has besides (`unroll`) follow each
//! other.

use super::form::{Action, Form, StmtId};
use super::kernel::{Setup, levels_of};
use super::levels::{LevelId, Levels};
use super::partial::{partial_value, within};
use super::split::reassociates;
use crate::hir::ir::{AxisId, ValueId};
use crate::schedule::plan::Place;

/// Most groups whose sums each thread adds up itself.
const GROUPS: i64 = 8;

/// Gives every scan along an axis with threads to all of them at once, where that is allowed.
pub(crate) fn by_threads(form: &mut Form, levels: &Levels, setup: &Setup) {
    form.replace_stmts(&mut |form, s| {
        let Action::Scan { run, op, axis, .. } = form.stmts[s].action else { return None };
        let dtype = form.func.values[run].dtype;
        let apart = levels.threads(axis) > 1 && reassociates(dtype, op, setup.allow);
        apart.then(|| take_apart(form, levels, setup.group.exchange, s))
    });
}

/// The results of more and more neighbours, by their number.
struct Totals {
    run: ValueId,
    axis: AxisId,
    /// Threads that can see each other's registers.
    near: i64,
    /// Threads of a group at last.
    width: i64,
    groups: i64,
    /// In memory two are enough: one is read while the other one is written.
    memory: Vec<ValueId>,
}

impl Totals {
    /// A value for the results of `width` neighbours.
    fn value(&mut self, form: &mut Form, width: i64) -> ValueId {
        let asked = if width < self.width { width >= self.near } else { self.groups > 1 };
        if asked && self.memory.len() > 1 {
            self.memory.swap(0, 1);
            return self.memory[1];
        }
        let value = private(form, self.run, self.axis, &format!("of{width}"));
        if asked {
            form.info[value.index()].place = Some(Place::Local);
            self.memory.push(value);
        }
        value
    }
}

fn take_apart(form: &mut Form, levels: &Levels, exchange: i64, s: StmtId) -> Vec<StmtId> {
    let stmt = form.stmts[s].clone();
    let Action::Scan { value, run, op, axis, expr } = stmt.action else { return vec![s] };
    let (dtype, span) = (form.func.values[run].dtype, stmt.span);
    let threads = levels.threads(axis);
    let near = within(levels, &levels_of(form, levels, s), axis, exchange);
    let width = widest(threads, near);
    let groups = threads / width;
    let carry = partial_value(form, run, axis, "carry");
    let start = form.read(run, span);
    let mut all = vec![first(form, levels, carry, Action::Set { value: carry, index: None, expr: start }, s)];
    let mut add = |form: &mut Form, action: Action| {
        let new = form.stmt(action, stmt.axes.clone(), span);
        form.stmts[new].levels.clone_from(&stmt.levels);
        form.stmts[new].whole = Some(axis);
        all.push(new);
    };
    let mut totals = Totals { run, axis, near, width, groups, memory: Vec::new() };
    let mut total = totals.value(form, 1);
    let none = form.identity(op, dtype, span);
    add(form, Action::Element { value: total, expr, none, run, axis });
    let (mut upto, mut bit) = (total, 1);
    while bit < width {
        let (from, of) = (total, upto);
        total = totals.value(form, 2 * bit);
        upto = private(form, run, axis, &format!("upto{bit}"));
        add(form, Action::Exchange { value: total, from, op, axis, bit, upto: Some((upto, of)) });
        bit *= 2;
    }
    let before = private(form, run, axis, "before");
    add(form, Action::Carry { value, carry, before, upto, total, op, axis, width, groups });
    all
}

/// How many neighbours exchange their results: those that see each other's registers, and more until the groups are few.
fn widest(threads: i64, near: i64) -> i64 {
    let mut width = near;
    while threads % (2 * width) == 0 && threads / width > GROUPS {
        width *= 2;
    }
    width
}

/// A statement that sets a value for all threads along its axis before the loops over the steps of a scan.
fn first(form: &mut Form, levels: &Levels, carry: ValueId, action: Action, scan: StmtId) -> StmtId {
    let v = &form.func.values[carry];
    let (axes, span) = (form.sorted(v.axes.clone()), v.span);
    let Some(axis) = form.info[carry.index()].lanes_of else { return form.stmt(action, axes, span) };
    let outside = |l: &LevelId| {
        let a = levels.all[*l].axis;
        if a == axis { levels.all[*l].kind.is_block() } else { axes.contains(&a) }
    };
    let own: Vec<LevelId> = levels_of(form, levels, scan).into_iter().filter(outside).collect();
    let new = form.stmt(action, axes, span);
    form.stmts[new].levels = Some(own);
    new
}

/// A value that each thread along an axis has for one step.
fn private(form: &mut Form, run: ValueId, axis: AxisId, what: &str) -> ValueId {
    let value = partial_value(form, run, axis, what);
    form.info[value.index()].lanes_of = None;
    value
}

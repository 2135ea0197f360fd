//! Where the threads of a group must wait for each other.
//!
//! A nest says what happens one after the other; the threads of a group do it at once. A *segment* is a statement that
//! they run without waiting: loops over threads or subgroups, or a statement outside those, which is the same for all and
//! whose stores one thread makes. Two accesses of different segments (or of one in different passes of a loop around it) to
//! one buffer need a barrier in between when one of them writes, unless one thread makes both wherever they meet.
//!
//! Barriers are found by walking the statements with the accesses since the last barrier; around loops until nothing
//! changes. A barrier that a loop would need only for what came before it stands in front of the loop.

use std::collections::{BTreeSet, HashSet};

use super::same_thread::{Inside, Owner};
use super::threads::Chain;
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, MatrixOp, Nest, Space, Stmt, VarId};
use crate::nest::verify::matrices;
use crate::nest::walk::for_each_stmt;

/// A part of a phase as a group of threads runs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// All threads wait for each other, and then see what any of them wrote before.
    Barrier,
    /// A segment.
    Stmt(&'a Stmt),
    /// A loop or a condition, the same for all threads, with what it encloses.
    Block {
        /// The statement.
        stmt: &'a Stmt,
        /// Its body; of a condition both.
        bodies: Vec<Vec<Step<'a>>>,
    },
}

/// The statements of a chunk with the barriers that they need. Chunks of a group follow each other.
#[must_use]
pub fn plan<'a>(nest: &'a Nest, body: &'a [Stmt]) -> Vec<Step<'a>> {
    let mut analysis = Analysis { nest, before: HashSet::new() };
    // No two chunks write to what another one touches but in memory that they use one after the other.
    analysis.around(body, None, &[], |a| !matches!(a.place, Place::Slot(_)));
    analysis.steps(body)
}

/// What does not overlap with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Slot(u32),
    Buffer(BufferId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// With the operator; `None` where the order can be told.
    Atomic(Option<BinaryOp>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    All,
    /// The one that makes the stores outside loops over threads.
    One,
    /// Threads of a chain, as the element tells if it does.
    Threads(Option<Owner>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Access {
    place: Place,
    kind: Kind,
    who: Who,
    /// Of an earlier pass of a loop: its counter, and how far the element moves from pass to pass, by dimension.
    strides: Option<(VarId, Vec<Option<i64>>)>,
}

impl Access {
    fn conflicts(&self, other: &Access) -> bool {
        if self.place != other.place {
            return false;
        }
        match (self.kind, other.kind) {
            (Kind::Read, Kind::Read) => return false,
            (Kind::Atomic(Some(a)), Kind::Atomic(Some(b))) if a == b => return false,
            _ => {}
        }
        match (&self.who, &other.who) {
            (Who::One, Who::One) => false,
            (Who::Threads(Some(a)), Who::Threads(Some(b))) => match &self.strides {
                Some((_, strides)) => !a.apart(b, strides),
                None => !a.agrees(b),
            },
            _ => true,
        }
    }
}

/// Accesses since the last barrier.
type Pending = Vec<Access>;

fn add(pending: &mut Pending, access: Access) {
    if !pending.contains(&access) {
        pending.push(access);
    }
}

struct Analysis<'a> {
    nest: &'a Nest,
    /// Statements that a barrier stands in front of. For lookup only.
    before: HashSet<*const Stmt>,
}

impl<'a> Analysis<'a> {
    fn block(&mut self, block: &'a [Stmt], pending: &mut Pending) {
        for stmt in block {
            self.stmt(stmt, pending);
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt, pending: &mut Pending) {
        let accesses = self.accesses(stmt);
        if self.before.contains(&std::ptr::from_ref(stmt))
            || accesses.iter().any(|a| pending.iter().any(|p| p.conflicts(a)))
        {
            self.before.insert(std::ptr::from_ref(stmt));
            pending.clear();
        }
        accesses.into_iter().for_each(|a| add(pending, a));
        match stmt {
            Stmt::Loop { kind, .. } if kind.is_by_threads() => {}
            Stmt::Loop { var, step, body, .. } => self.loop_(stmt, (*var, *step), body, pending),
            Stmt::If { then, otherwise, .. } => {
                let mut other = pending.clone();
                self.block(then, pending);
                self.block(otherwise, &mut other);
                other.into_iter().for_each(|a| add(pending, a));
            }
            _ => {}
        }
    }

    fn loop_(&mut self, stmt: &'a Stmt, var: (VarId, i64), body: &'a [Stmt], pending: &mut Pending) {
        // What the passes need among themselves, then what they need for what came before.
        self.around(body, Some(var), &[], |_| true);
        let inside = self.before.clone();
        let mut after = self.around(body, Some(var), pending, |_| true);
        if self.before != inside {
            self.before = inside;
            self.before.insert(std::ptr::from_ref(stmt));
            let own = self.accesses(stmt);
            after = self.around(body, Some(var), &own, |_| true);
            *pending = own;
        }
        after.into_iter().for_each(|a| add(pending, a));
    }

    /// The access as a later pass of a loop sees it: there the same formula is another element.
    fn earlier(&self, mut access: Access, var: Option<(VarId, i64)>, changing: &BTreeSet<VarId>) -> Access {
        let Who::Threads(Some(owner)) = &access.who else { return access };
        if !owner.mentions(self.nest, changing) {
            return access;
        }
        let strides = match (var, &access.strides) {
            // All earlier passes are alike.
            (Some((var, _)), Some((same, _))) if var == *same => return access,
            (Some((var, step)), None) => Some((var, owner.strides(self.nest, var, step, changing))),
            _ => None,
        };
        access.strides = strides.filter(|(_, s)| s.iter().any(Option::is_some));
        if access.strides.is_none() {
            access.who = Who::Threads(None);
        }
        access
    }

    /// Goes around a loop until nothing changes; gives what is pending after a pass. `carried` says what stays so
    /// from one pass to the next.
    fn around(
        &mut self,
        body: &'a [Stmt],
        var: Option<(VarId, i64)>,
        entry: &[Access],
        carried: impl Fn(&Access) -> bool,
    ) -> Pending {
        // In another chunk every counter is another one.
        let mut changing: BTreeSet<VarId> = match var {
            Some((var, _)) => BTreeSet::from([var]),
            None => self.nest.vars.handles().collect(),
        };
        for_each_stmt(body, &mut |s| changing.extend(bound(s)));
        let mut back: Pending = Vec::new();
        loop {
            let (barriers, known) = (self.before.len(), back.len());
            let mut pending = entry.to_vec();
            back.iter().for_each(|a| add(&mut pending, a.clone()));
            self.block(body, &mut pending);
            for access in pending {
                let access = self.earlier(access, var, &changing);
                if carried(&access) {
                    add(&mut back, access);
                }
            }
            if self.before.len() == barriers && back.len() == known {
                return back;
            }
        }
    }

    /// What a statement itself accesses: all of a loop over threads or subgroups, of others not what they enclose.
    fn accesses(&self, stmt: &'a Stmt) -> Vec<Access> {
        let mut out = Vec::new();
        if let Some(chain) = Chain::of(stmt) {
            for l in &chain.loops {
                self.reads(l.hi, &mut |_, _| Who::All, &mut out);
            }
            let mut inside = Inside::default();
            inside.varying.extend(chain.loops.iter().map(|l| l.var));
            self.segment(&chain, chain.body, &mut inside, &mut out);
            return out;
        }
        if matrices::count(stmt).is_some() {
            self.by_subgroups(stmt, &mut out);
            return out;
        }
        let to_memory = match stmt {
            Stmt::Store { buffer, .. } | Stmt::Atomic { buffer, .. } => self.place(*buffer).is_some(),
            _ => false,
        };
        // What the one that stores reads for it does not matter to the others.
        stmt.for_each_expr(|e| {
            self.reads(e, &mut |_, _| if to_memory { Who::One } else { Who::All }, &mut out);
        });
        self.write(stmt, &mut |_, _| Who::One, &mut out);
        out
    }

    fn segment(&self, chain: &Chain<'a>, block: &'a [Stmt], inside: &mut Inside, out: &mut Vec<Access>) {
        let nest = self.nest;
        for stmt in block {
            let mut who = |buffer: BufferId, index: &[ExprId]| {
                Who::Threads(Some(Owner::of(nest, chain, inside, buffer, index)))
            };
            stmt.for_each_expr(|e| self.reads(e, &mut who, out));
            self.write(stmt, &mut who, out);
            inside.varying.extend(bound(stmt));
            match stmt {
                Stmt::Loop { var, lo, hi, .. } => {
                    if let (Some(lo), Some(hi)) = (nest.const_int(*lo), nest.const_int(*hi)) {
                        inside.spans.insert(*var, (lo, hi.saturating_sub(1).max(lo)));
                    }
                }
                Stmt::Let { var, value } => {
                    inside.lets.insert(*var, *value);
                }
                _ => {}
            }
            for inner in stmt.blocks() {
                self.segment(chain, inner, inside, out);
            }
        }
    }

    /// What a loop over subgroups accesses: of the elements of a matrix nobody knows which thread has them.
    fn by_subgroups(&self, stmt: &'a Stmt, out: &mut Vec<Access>) {
        for_each_stmt(std::slice::from_ref(stmt), &mut |s| {
            s.for_each_expr(|e| self.reads(e, &mut |_, _| Who::Threads(None), out));
            let Stmt::Matrix(op) = s else { return };
            if let Some(place) = op.block().and_then(|b| self.place(b.buffer)) {
                let kind = if matches!(op, MatrixOp::Store { .. }) { Kind::Write } else { Kind::Read };
                out.push(Access { place, kind, who: Who::Threads(None), strides: None });
            }
        });
    }

    fn place(&self, buffer: BufferId) -> Option<Place> {
        match self.nest.buffers[buffer].space {
            Space::Global(slot) => Some(Place::Slot(slot)),
            Space::Local | Space::Shared => Some(Place::Buffer(buffer)),
            Space::Register | Space::Matrix => None,
        }
    }

    fn write(&self, stmt: &Stmt, who: &mut dyn FnMut(BufferId, &[ExprId]) -> Who, out: &mut Vec<Access>) {
        let (buffer, index, kind) = match stmt {
            Stmt::Store { buffer, index, .. } => (*buffer, index, Kind::Write),
            Stmt::Atomic { buffer, index, op, old, .. } => {
                (*buffer, index, Kind::Atomic(old.is_none().then_some(*op)))
            }
            _ => return,
        };
        if let Some(place) = self.place(buffer) {
            out.push(Access { place, kind, who: who(buffer, index), strides: None });
        }
    }

    fn reads(&self, e: ExprId, who: &mut dyn FnMut(BufferId, &[ExprId]) -> Who, out: &mut Vec<Access>) {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![e]);
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            if let ExprKind::Load { buffer, index } = &self.nest.exprs[e].kind
                && let Some(place) = self.place(*buffer)
            {
                out.push(Access { place, kind: Kind::Read, who: who(*buffer, index), strides: None });
            }
            self.nest.exprs[e].for_each_operand(|o| stack.push(o));
        }
    }

    fn steps(&self, block: &'a [Stmt]) -> Vec<Step<'a>> {
        let mut out = Vec::with_capacity(block.len());
        for stmt in block {
            if self.before.contains(&std::ptr::from_ref(stmt)) {
                out.push(Step::Barrier);
            }
            let segment = matches!(stmt, Stmt::Loop { kind, .. } if kind.is_by_threads());
            let bodies: Vec<Vec<Step<'a>>> =
                if segment { Vec::new() } else { stmt.blocks().map(|b| self.steps(b)).collect() };
            out.push(if bodies.is_empty() { Step::Stmt(stmt) } else { Step::Block { stmt, bodies } });
        }
        out
    }
}

fn bound(stmt: &Stmt) -> Option<VarId> {
    match stmt {
        Stmt::Loop { var, .. } | Stmt::Let { var, .. } | Stmt::Atomic { old: Some(var), .. } => Some(*var),
        _ => None,
    }
}

#[cfg(test)]
#[path = "barrier_tests.rs"]
mod tests;

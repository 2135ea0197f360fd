//! Ragged ends as blocks of which some lanes are off, where the processor has masks.
//!
//! ```text
//! for j in mid..hi { 1 point }  =>  for j in mid..hi step 16 { lanes v in 0..16 { if j + v < hi { .. } } }
//! ```
//!
//! Rows that are written and do not begin with a tensor's, go on at a line of a cache:
//!
//! ```text
//! for j in lo..mid step 16  =>  if lo % 16 != 0 && lo + 16 <= hi { lanes v: if lo <= j + v { .. } at j = lo & -16 }
//!                               for j in (lo + 15) & -16..
//! ```

use std::collections::BTreeSet;

use super::Emitter;
use super::tails::ALIGNED;
use crate::diag::Diagnostic;
use crate::hir::ir::AxisId;
use crate::nest::ir::{self as nest, BufferId, LoopKind, Nest, Space, Stmt, VarId};
use crate::nest::masks::maskable;
use crate::nest::settle::settling;
use crate::nest::walk::for_each_stmt;
use crate::schedule::access::{self, Ix, Object};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::{LevelId, LevelKind};

/// Which points of a block run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mask {
    /// Those from one on.
    From(nest::ExprId),
    /// Those below one.
    Below(nest::ExprId),
}

/// Blocks under masks.
pub(super) struct Ends {
    /// Their points.
    pub(super) points: i64,
    /// Whether they take one pass over what they read: then accesses that lie in two lines are most of what is done.
    streams: bool,
    /// Registers that each writes before it reads them, so that nobody sees what lies beyond a mask.
    begun: BTreeSet<BufferId>,
}

impl Emitter<'_> {
    /// What masks serve for the ends of an axis whose full blocks, of `step` points, are `full`; `None` where they do not.
    pub(super) fn masked_ends(&self, axis: AxisId, step: i64, body: &[Tree], full: &[Stmt]) -> Option<Ends> {
        let deep = self.form.func.values.handles().any(|v| self.is_deep(v, axis));
        let usable = self.masked_bytes > 0 && self.group == 0 && self.levels.has_lanes(axis) && !deep;
        if !usable || !self.runs_as_lanes(axis, body) || !serves(self.b.nest(), full, false) {
            return None;
        }
        let widest = Tree::stmts(body).into_iter().flat_map(|s| access::of_stmt(self.form, s)).map(|a| {
            let dtype = match a.object {
                Object::Tensor(t) => self.form.func.tensors[t].dtype,
                Object::Value(v) => self.form.func.values[v].dtype,
            };
            dtype.real().size() as i64
        });
        let points = step.min(self.masked_bytes / widest.max().unwrap_or(1).max(1));
        let mut streams = true;
        for_each_stmt(full, &mut |s| streams &= !matches!(s, Stmt::Loop { kind: LoopKind::Serial, .. }));
        Some(Ends { points, streams, begun: begun(self.b.nest(), full) })
    }

    /// Whether all blocks of an axis are lanes.
    fn runs_as_lanes(&self, axis: AxisId, body: &[Tree]) -> bool {
        body.iter().all(|t| match t {
            Tree::Leaf(_) => true,
            Tree::Loop { level, lanes, body, .. } => {
                let level = &self.levels.all[*level];
                let block = level.axis == axis && matches!(level.kind, LevelKind::Block { .. });
                (!block || *lanes) && self.runs_as_lanes(axis, body)
            }
            Tree::Seq { body, .. } => self.runs_as_lanes(axis, body),
            Tree::If { then, otherwise, .. } => {
                self.runs_as_lanes(axis, then) && self.runs_as_lanes(axis, otherwise)
            }
        })
    }

    /// Whether statements write neighbours along an axis to memory that begins a line with its rows.
    fn writes_rows(&self, axis: AxisId, body: &[Tree]) -> bool {
        let accesses = Tree::stmts(body).into_iter().flat_map(|s| access::of_stmt(self.form, s));
        let tensor = |a: &access::Access| matches!(a.object, Object::Tensor(_));
        accesses.filter(tensor).any(|a| a.write && a.index.last() == Some(&Ix::Axis(axis)))
    }

    /// The points before the first that is a multiple of the elements of a line, where there are such and a block fits; gives
    /// where others begin.
    pub(super) fn masked_first(
        &mut self,
        level: LevelId,
        (first, last): (nest::ExprId, nest::ExprId),
        ends: &Ends,
        body: &[Tree],
    ) -> Result<nest::ExprId, Diagnostic> {
        let begins = self.b.const_int(first).is_some_and(|n| n % ALIGNED == 0);
        let fits = ends.points == ALIGNED && ends.streams;
        if begins || !fits || !self.writes_rows(self.levels.all[level].axis, body) {
            return Ok(first);
        }
        let first = self.named(first);
        let (mask, fitting) = (self.b.int(-ALIGNED), self.b.add_int(first, ALIGNED));
        let begin = self.b.and(first, mask);
        let (ragged, fits) = (self.b.lt(begin, first), self.b.le(fitting, last));
        let runs = self.b.and(ragged, fits);
        let beyond = self.b.add_int(begin, 1);
        let end = self.b.select(runs, beyond, begin);
        let (begin, end) = (self.named(begin), self.named(end));
        self.under_mask(level, (begin, end), Mask::From(first), ends, body)?;
        let next = self.b.add_int(begin, ALIGNED);
        let next = self.b.select(runs, next, first);
        Ok(self.named(next))
    }

    /// The points of `first..last`.
    pub(super) fn masked_last(
        &mut self,
        level: LevelId,
        (first, last): (nest::ExprId, nest::ExprId),
        ends: &Ends,
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        self.under_mask(level, (first, last), Mask::Below(last), ends, body)
    }

    fn under_mask(
        &mut self,
        level: LevelId,
        (lo, hi): (nest::ExprId, nest::ExprId),
        mask: Mask,
        ends: &Ends,
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let begun = std::mem::replace(&mut self.begun, ends.begun.clone());
        self.axes[axis.index()].narrow = Some(ends.points);
        self.axes[axis.index()].mask = Some(mask);
        self.serial(level, (lo, hi, ends.points), body)?;
        self.axes[axis.index()] = saved;
        self.begun = begun;
        Ok(())
    }

    /// The body of a block's loop, at those of its points that run.
    pub(super) fn guarded(
        &mut self,
        axis: AxisId,
        point: VarId,
        body: Vec<Stmt>,
    ) -> Result<Vec<Stmt>, Diagnostic> {
        let Some(mask) = self.axes[axis.index()].mask else { return Ok(body) };
        let own = |s: &Stmt| match s {
            Stmt::Store { buffer, .. } => self.begun.contains(buffer),
            Stmt::Let { .. } | Stmt::Loop { .. } | Stmt::If { .. } => true,
            _ => false,
        };
        let mut unseen = true;
        for_each_stmt(&body, &mut |s| unseen &= own(s));
        if unseen && maskable(self.b.nest(), point, &body).is_some_and(|m| m.by_lanes == 0) {
            return Ok(body);
        }
        let at = self.axis(axis)?;
        let cond = match mask {
            Mask::From(first) => self.b.le(first, at),
            Mask::Below(end) => self.b.lt(at, end),
        };
        Ok(vec![Stmt::If { cond, then: body, otherwise: Vec::new() }])
    }
}

/// Whether blocks do well under masks: all lanes at once, but for stores to places far apart `beside` a loop over lanes, which
/// run one after the other and are few against it. Loops that are left early are not, where only some lanes run.
fn serves(nest: &Nest, block: &[Stmt], beside: bool) -> bool {
    let beside = beside || block.iter().any(is_long);
    block.iter().all(|s| match s {
        Stmt::Loop { var, step, kind: LoopKind::Lanes, body, .. } => {
            *step == 1 && (maskable(nest, *var, body).is_some() || beside && stores_registers(nest, body))
        }
        Stmt::Loop { var, kind: LoopKind::Serial, body, .. } => {
            settling(nest, *var, body).is_none() && serves(nest, body, false)
        }
        _ => s.blocks().all(|b| serves(nest, b, beside)),
    })
}

/// Whether a statement is a loop that runs lanes again and again.
fn is_long(stmt: &Stmt) -> bool {
    let Stmt::Loop { kind: LoopKind::Serial, body, .. } = stmt else { return false };
    let mut lanes = false;
    for_each_stmt(body, &mut |s| lanes |= matches!(s, Stmt::Loop { kind: LoopKind::Lanes, .. }));
    lanes
}

/// Whether statements do nothing but store what is in registers.
fn stores_registers(nest: &Nest, body: &[Stmt]) -> bool {
    body.iter().all(|s| {
        let mut reads = false;
        s.for_each_expr(|e| reads |= nest.loads_from(e, |b| nest.buffers[b].space != Space::Register));
        matches!(s, Stmt::Store { .. }) && !reads
    })
}

/// Registers that a block writes before it reads them, wherever it does.
fn begun(nest: &Nest, block: &[Stmt]) -> BTreeSet<BufferId> {
    let (mut seen, mut begun) = (BTreeSet::new(), BTreeSet::new());
    begin(nest, block, true, &mut seen, &mut begun);
    begun
}

/// Takes in statements; `always` says that they run in any case.
fn begin(
    nest: &Nest,
    block: &[Stmt],
    always: bool,
    seen: &mut BTreeSet<BufferId>,
    begun: &mut BTreeSet<BufferId>,
) {
    for stmt in block {
        let mut read = BTreeSet::new();
        stmt.for_each_expr(|e| {
            nest.for_each_load(e, &mut BTreeSet::new(), &mut |b, _| {
                read.insert(b);
            });
        });
        seen.extend(read);
        if let Some(buffer) = stmt.written()
            && seen.insert(buffer)
            && always
            && nest.buffers[buffer].space == Space::Register
        {
            begun.insert(buffer);
        }
        let inside = always && matches!(stmt, Stmt::Loop { kind: LoopKind::Lanes | LoopKind::Unrolled, .. });
        for inner in stmt.blocks() {
            begin(nest, inner, inside, seen, begun);
        }
    }
}

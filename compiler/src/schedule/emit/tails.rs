//! Ragged ends by a last full block that overlaps its neighbour.
//!
//! ```text
//! for j in lo..mid step 16 { 16 points }  for j in mid..hi { 1 point }
//!   =>  for j in lo..mid step 16 { 16 points }  if mid < hi && lo + 16 <= hi { 16 points from hi - 16 }  else ..
//! ```
//!
//! Where rows of a tensor begin a line of a cache, other blocks than the first and the last begin one too:
//!
//! ```text
//! for j in lo..mid step 16  =>  if lo % 16 != 0 && lo + 16 <= hi { 16 points from lo }  for j in (lo + 15) / 16 * 16..
//! ```
//!
//! Points that run twice give what they gave before.

use std::collections::BTreeSet;

use super::Emitter;
use crate::diag::Diagnostic;
use crate::hir::ir::{AssignOp, AxisId};
use crate::nest::ir as nest;
use crate::schedule::access::{self, Object};
use crate::schedule::form::{Action, StmtId};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::LevelId;

/// Elements after which rows begin a line: those of 4 bytes in one, and those of two lines where they have 8.
pub(super) const ALIGNED: i64 = 16;

impl Emitter<'_> {
    /// A block at `first` where that is no multiple of the elements of a line and a block fits; gives where the others begin.
    pub(super) fn first_block(
        &mut self,
        level: LevelId,
        (first, last): (nest::ExprId, nest::ExprId),
        step: i64,
        body: &[Tree],
    ) -> Result<nest::ExprId, Diagnostic> {
        let aligned = |n: i64| n % ALIGNED == 0;
        if step % ALIGNED != 0 || self.b.const_int(first).is_some_and(aligned) {
            return Ok(first);
        }
        let up = self.b.add_int(first, ALIGNED - 1);
        let mask = self.b.int(-ALIGNED);
        let up = self.b.and(up, mask);
        let end = self.b.add_int(first, step);
        let (ragged, fits) = (self.b.lt(first, up), self.b.le(end, last));
        let runs = self.b.and(ragged, fits);
        let beyond = self.b.add_int(first, 1);
        let end = self.b.select(runs, beyond, first);
        let end = self.named(end);
        self.serial(level, (first, end, step), body)?;
        let begin = self.b.select(runs, up, first);
        Ok(self.named(begin))
    }

    /// One more block where `middle..last` is not empty and a block fits `first..last`; gives where single points begin.
    pub(super) fn last_block(
        &mut self,
        level: LevelId,
        (first, middle, last): (nest::ExprId, nest::ExprId, nest::ExprId),
        step: i64,
        body: &[Tree],
    ) -> Result<nest::ExprId, Diagnostic> {
        let from = self.b.add_int(last, -step);
        let (ragged, fits) = (self.b.lt(middle, last), self.b.le(first, from));
        let runs = self.b.and(ragged, fits);
        let beyond = self.b.add_int(from, 1);
        let end = self.b.select(runs, beyond, from);
        let (from, end) = (self.named(from), self.named(end));
        self.serial(level, (from, end, step), body)?;
        let rest = self.b.select(runs, last, middle);
        Ok(self.named(rest))
    }

    /// Whether points of an axis with lanes may run twice: what statements write does not depend on what they, or those
    /// after them, wrote before.
    pub(super) fn may_run_twice(&self, axis: AxisId, body: &[Tree]) -> bool {
        if !self.levels.shifts(axis) || !self.levels.has_lanes(axis) {
            return false;
        }
        let stmts = Tree::stmts(body);
        let plain = |s: &StmtId| match &self.form.stmts[*s].action {
            Action::Set { .. } | Action::Accumulate { .. } => true,
            Action::Store { op, .. } => *op == AssignOp::Set,
            _ => false,
        };
        let accesses: Vec<(StmtId, access::Access)> =
            stmts.iter().flat_map(|s| access::of_stmt(self.form, *s).into_iter().map(|a| (*s, a))).collect();
        let written: BTreeSet<Object> =
            accesses.iter().filter(|(_, a)| a.write).map(|(_, a)| a.object).collect();
        let reads = |a: &access::Access| !a.write || a.combines.is_some();
        // What is read and written begins with a value that is set.
        let begins = |object: &Object| {
            let Some((first, _)) = accesses.iter().find(|(_, a)| a.object == *object) else { return true };
            let own = accesses.iter().filter(|(s, a)| s == first && a.object == *object);
            let set = matches!(self.form.stmts[*first].action, Action::Set { index: None, .. });
            matches!(object, Object::Value(_)) && set && own.clone().all(|(_, a)| !reads(a))
        };
        let read = |object: &&Object| accesses.iter().any(|(_, a)| a.object == **object && reads(a));
        stmts.iter().all(plain) && written.iter().filter(read).all(begins)
    }
}

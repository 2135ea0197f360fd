//! Loops over axes whose bounds follow an axis of which several points run at once, or none is fixed yet: see
//! [`slant`](crate::schedule::slant). The part that all those points have in common runs as any other; what lies before and
//! after it asks at each point.

use super::Emitter;
use super::loops::{FEWEST_LANES, QUARTERS};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ValueKind};
use crate::nest::ir::{self as nest, BinaryOp};
use crate::schedule::form::{Action, Stmt};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::{LevelId, LevelKind};
use crate::schedule::slant::{self, Direction};

/// A bound of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lo,
    Hi,
}

/// Of which points a bound is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The range of any point that runs here.
    Any,
    /// The range that all points that run here have.
    All,
    /// The range of any point of the kernel.
    Anywhere,
}

impl Emitter<'_> {
    /// Whether the bounds of an axis differ between points that run here.
    pub(super) fn is_slanted(&self, axis: AxisId) -> bool {
        slant::of(self.form, axis).is_some_and(|s| s.axes().any(|p| !self.is_fixed(p)))
    }

    /// Whether what stands here runs at one point of an axis.
    fn is_fixed(&self, axis: AxisId) -> bool {
        let open = |l: LevelId| self.level_base.contains_key(&l);
        let state = self.axes[axis.index()];
        if self.levels.points(axis).is_some_and(open) {
            return true;
        }
        let in_block = state.unit.is_some() || state.single || !self.levels.is_blocked(axis);
        in_block && self.levels.steps(axis).all(open)
    }

    /// The first and the last point of an axis that run here, or anywhere.
    fn points_here(
        &mut self,
        axis: AxisId,
        anywhere: bool,
    ) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let state = self.axes[axis.index()];
        let (lo, hi) = (self.form.func.axes[axis].lo, self.form.func.axes[axis].hi);
        let steps: Vec<LevelId> = self.levels.steps(axis).collect();
        let open: Vec<LevelId> = steps.iter().copied().filter(|l| self.level_base.contains_key(l)).collect();
        if open.len() == steps.len() && !anywhere {
            let first = match state.base {
                Some(base) => base,
                None => self.pure(lo)?,
            };
            let count = state.narrow.unwrap_or_else(|| self.levels.unit_count(axis));
            return Ok((first, self.b.add_int(first, count - 1)));
        }
        let mut end = self.pure(hi)?;
        let first = match state.base {
            Some(base) if !open.is_empty() && !anywhere => base,
            _ => self.pure(lo)?,
        };
        for level in open.into_iter().filter(|_| !anywhere) {
            let LevelKind::Step(step) = self.levels.all[level].kind else { continue };
            let tile = self.b.add_int(self.level_base[&level], step);
            end = self.b.min(tile, end);
        }
        Ok((first, self.b.add_int(end, -1)))
    }

    fn bound(&mut self, axis: AxisId, end: End, reach: Reach) -> Result<nest::ExprId, Diagnostic> {
        let a = &self.form.func.axes[axis];
        let (lo, hi) = (a.lo, a.hi);
        let slant = slant::of(self.form, axis).unwrap_or_default();
        let (e, follows) = match end {
            End::Lo => (lo, slant.lo),
            End::Hi => (hi, slant.hi),
        };
        let saved = self.axes.clone();
        let (mut points, mut some) = (Vec::new(), None);
        for (p, direction) in follows {
            if reach != Reach::Anywhere && self.is_fixed(p) {
                continue;
            }
            let (first, last) = self.points_here(p, reach == Reach::Anywhere)?;
            let most = (end == End::Hi) == (reach != Reach::All);
            points.push((p, if (direction == Direction::Up) == most { last } else { first }));
            if !self.levels.steps(p).any(|l| self.level_base.contains_key(&l)) {
                // Where the other axis has no point, this one has none.
                let has = self.b.le(first, last);
                some = Some(some.map_or(has, |s| self.b.and(s, has)));
            }
        }
        for (p, point) in points {
            let state = &mut self.axes[p.index()];
            (state.base, state.unit, state.thread) = (Some(point), None, None);
        }
        let value = self.pure(e);
        self.axes = saved;
        let value = value?;
        match some {
            Some(some) if end == End::Hi => {
                let lo = self.bound(axis, End::Lo, reach)?;
                Ok(self.b.select(some, value, lo))
            }
            _ => Ok(value),
        }
    }

    /// The range of an axis at any of the points that run here.
    pub(super) fn hull(&mut self, axis: AxisId) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        Ok((self.bound(axis, End::Lo, Reach::Any)?, self.bound(axis, End::Hi, Reach::Any)?))
    }

    /// Whether statements of a level's innermost loop must not run beyond the bounds of its axis, and it takes in such points.
    pub(super) fn exceeds(&self, level: LevelId, body: &[Tree]) -> bool {
        let axis = self.levels.all[level].axis;
        let last = self.levels.steps(axis).last() == Some(level) || self.levels.points(axis) == Some(level);
        last && self.is_slanted(axis)
            && Tree::stmts(body).iter().any(|s| slant::minds(self.form, &self.form.stmts[*s], axis))
    }

    /// The innermost loop of such an axis over `lo..hi`.
    ///
    /// ```text
    /// for j in lo..hi step 16 { b }  =>  for j in lo..m { b, 16 points, those of the axis }
    ///     for j in m..n { b, 16 points }  for j in n..hi { b, 16 points, those of the axis }
    /// ```
    pub(super) fn exceeding(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        blocked: bool,
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let step = if blocked { step } else { 1 };
        let hi = self.b.max(lo, hi);
        let hi = self.named(hi);
        // Where the lower bound is the same for all, nothing lies before them.
        let head = slant::of(self.form, axis).is_some_and(|s| !s.lo.is_empty());
        // The first point that all have, and the first after those.
        let low = self.bound(axis, End::Lo, Reach::All)?;
        let low = self.clamped(low, lo, hi);
        let high = self.bound(axis, End::Hi, Reach::All)?;
        let high = self.clamped(high, low, hi);
        let begin = if head { self.next_block(lo, low, step) } else { lo };
        let begin = self.named(begin);
        let full = self.b.max(begin, high);
        let full = self.sub_blocks(lo, full, step);
        let end = self.b.max(begin, full);
        let end = self.named(end);
        self.axes[axis.index()].single = false;
        self.axes[axis.index()].interior = false;
        if !blocked {
            let in_block = self.levels.is_blocked(axis) && self.levels.points(axis) != Some(level);
            let run = |e: &mut Self, lo, hi| match in_block {
                true => e.points(level, (lo, hi), body),
                false => e.serial(level, (lo, hi, 1), body),
            };
            if head {
                self.asking(axis, |e| run(e, lo, begin))?;
            }
            run(self, begin, end)?;
            self.asking(axis, |e| run(e, end, hi))?;
            self.axes[axis.index()] = saved;
            return Ok(());
        }
        // Lanes cannot leave out a store.
        let stores = |s: &_| matches!(self.form.stmts[*s].action, Action::Store { .. });
        if Tree::stmts(body).iter().any(stores) {
            let first = self.b.min(begin, hi);
            if head {
                self.asking(axis, |e| e.points(level, (lo, first), body))?;
            }
            self.serial(level, (begin, end, step), body)?;
            let tail = if head { self.b.max(first, end) } else { end };
            self.asking(axis, |e| e.points(level, (tail, hi), body))?;
            self.axes[axis.index()] = saved;
            return Ok(());
        }
        // Whole blocks, as long as they lie inside what some point of the kernel has.
        let limit = self.limit(level)?;
        let limit = self.sub_blocks(lo, limit, step);
        let limit = self.named(limit);
        let begin = self.b.min(begin, limit);
        let begin = self.named(begin);
        let end = self.clamped(end, begin, limit);
        let last = self.next_block(lo, hi, step);
        let last = self.b.min(last, limit);
        let last = self.b.max(end, last);
        let last = self.named(last);
        if head {
            self.asking(axis, |e| e.serial(level, (lo, begin, step), body))?;
        }
        self.serial(level, (begin, end, step), body)?;
        self.asking(axis, |e| {
            e.serial(level, (end, last, step), body)?;
            let stop = e.b.max(last, hi);
            let rest = e.narrower(level, (last, stop, step), (QUARTERS, FEWEST_LANES), body)?;
            e.axes[axis.index()].narrow = None;
            e.points(level, (rest, hi), body)
        })?;
        self.axes[axis.index()] = saved;
        Ok(())
    }

    /// One past the last point that whole blocks of a level may take in: the tiles around, and the range of any point of the
    /// kernel.
    fn limit(&mut self, level: LevelId) -> Result<nest::ExprId, Diagnostic> {
        let axis = self.levels.all[level].axis;
        let mut end = self.bound(axis, End::Hi, Reach::Anywhere)?;
        for outer in self.levels.outside(level) {
            let LevelKind::Step(step) = self.levels.all[outer].kind else { continue };
            let tile = self.b.add_int(self.level_base[&outer], step);
            end = self.b.min(tile, end);
        }
        Ok(end)
    }

    /// What `f` writes, which asks at each point whether the axis has it.
    fn asking(
        &mut self,
        axis: AxisId,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let saved = self.axes[axis.index()];
        self.axes[axis.index()].asks = true;
        let result = f(self);
        self.axes[axis.index()] = saved;
        result
    }

    fn clamped(&mut self, x: nest::ExprId, lo: nest::ExprId, hi: nest::ExprId) -> nest::ExprId {
        let x = self.b.min(x, hi);
        let x = self.b.max(x, lo);
        self.named(x)
    }

    /// Where the last whole block before `to` ends, of those from `from` on.
    fn sub_blocks(&mut self, from: nest::ExprId, to: nest::ExprId, step: i64) -> nest::ExprId {
        let to = self.b.max(from, to);
        let length = self.b.sub(to, from);
        let n = self.b.int(step);
        let blocks = self.b.binary(BinaryOp::DivNonNeg, length, n);
        let whole = self.b.mul(blocks, n);
        self.b.add(from, whole)
    }

    /// Where the first block at or after `to` begins, of those from `from` on.
    fn next_block(&mut self, from: nest::ExprId, to: nest::ExprId, step: i64) -> nest::ExprId {
        let to = self.b.add_int(to, step - 1);
        self.sub_blocks(from, to, step)
    }

    /// The loop of a fold whose last tiles not all points have: those keep what they carry. A tile asks once, whatever its
    /// length, so that there is code for one kind of tile only.
    pub(super) fn fold_beyond(
        &mut self,
        level: LevelId,
        range: (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = std::mem::replace(&mut self.axes[axis.index()].late, true);
        let result = self.serial(level, range, body);
        self.axes[axis.index()].late = saved;
        result
    }

    /// Whether a statement is to run at this point, where loops take in more points than their axes have.
    pub(in crate::schedule) fn only_where(
        &mut self,
        stmt: &Stmt,
    ) -> Result<Option<nest::ExprId>, Diagnostic> {
        let mut cond = None;
        for axis in self.form.func.axes.handles() {
            let state = self.axes[axis.index()];
            let carries = |v| self.form.func.values[v].kind == ValueKind::Carry;
            let late = state.late && stmt.action.written_value().is_some_and(carries);
            let beyond = state.asks && slant::minds(self.form, stmt, axis);
            if !late && !beyond {
                continue;
            }
            let slant = slant::of(self.form, axis).unwrap_or_default();
            if slant.axes().any(|p| !self.is_fixed(p)) {
                let name = &self.form.func.axes[axis].name;
                let message = format!("the bounds of `{name}` depend on points that run at once");
                return Err(Diagnostic::error(Code::Illegal, stmt.span, message));
            }
            let point = match self.levels.steps(axis).next() {
                Some(tile) if !beyond => self.level_base[&tile],
                _ => self.axis(axis)?,
            };
            if !slant.lo.is_empty() {
                let lo = self.pure(self.form.func.axes[axis].lo)?;
                let after = self.b.le(lo, point);
                cond = Some(cond.map_or(after, |c| self.b.and(c, after)));
            }
            if !slant.hi.is_empty() {
                let hi = self.pure(self.form.func.axes[axis].hi)?;
                let before = self.b.lt(point, hi);
                cond = Some(cond.map_or(before, |c| self.b.and(c, before)));
            }
        }
        Ok(cond)
    }
}

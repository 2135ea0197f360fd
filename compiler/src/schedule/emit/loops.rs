//! Loops over the levels of an axis: ranges, full blocks and the single points after them, interiors, blocks.

use std::collections::BTreeSet;

use rooftile_artifact::DType;

use super::ends::Between;
use super::{AxisState, Emitter};
use crate::diag::Diagnostic;
use crate::hir::ir::{AxisId, ExprKind, ValueId};
use crate::nest::ir::{self as nest, BinaryOp, LoopKind};
use crate::schedule::access::{self, Ix};
use crate::schedule::form::{Action, StmtId};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::{LevelId, LevelKind, is_reduced};
use crate::schedule::window::{self, Halo};

/// Rows of a block at the end of a range: as many sums of two vectors as hide how long an addition takes.
const FEW_ROWS: i64 = 4;

/// Lanes of the narrowest blocks at the end of a range.
pub(super) const FEWEST_LANES: i64 = 4;

/// Blocks at the end of a range have a fourth of the points of those before: each runs at most three times, and blocks of half
/// as many would be code that is compiled for one pass.
pub(super) const QUARTERS: i64 = 4;

impl Emitter<'_> {
    /// The range of a step level where it stands.
    pub(super) fn bounds(&mut self, level: LevelId) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let outer = self.levels.outside(level);
        match self.form.halos.get(&axis) {
            Some(halo) => self.around(*halo),
            None => self.inside(axis, &outer),
        }
    }

    /// What an axis with a halo runs over: the points that the open loops of the other axis stand for, and those around.
    fn around(&mut self, halo: Halo) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let open = window::innermost(self.levels, halo.of, |l| self.level_base.contains_key(&l));
        let outer: Vec<LevelId> =
            self.levels.steps(halo.of).filter(|l| self.level_base.contains_key(l)).collect();
        let (first, end) = self.inside(halo.of, &outer)?;
        let [lo, hi] = [(first, halo.before), (end, halo.end())].map(|(end, distance)| {
            let end = self.b.mul_int(end, halo.stride);
            self.b.add_int(end, distance)
        });
        if open.is_some() {
            return Ok((lo, hi));
        }
        // Nothing is around no points.
        let any = self.b.lt(first, end);
        Ok((lo, self.b.select(any, hi, lo)))
    }

    /// The points of an axis in a pass of its `outer` loops, or all.
    fn inside(
        &mut self,
        axis: AxisId,
        outer: &[LevelId],
    ) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let (lo, hi) = (self.form.func.axes[axis].lo, self.form.func.axes[axis].hi);
        let (lo, hi) = if self.is_slanted(axis) {
            self.hull(axis)?
        } else {
            self.begin(&[lo, hi]);
            let hi = self.real(hi)?;
            let lo = if outer.is_empty() { self.real(lo)? } else { hi };
            (lo, hi)
        };
        let Some(nearest) = outer.last() else { return Ok((lo, hi)) };
        let base = self.level_base[nearest];
        let (mut end, mut inner) = (hi, 0);
        for level in outer.iter().rev() {
            let LevelKind::Step(step) = self.levels.all[*level].kind else { break };
            // A tile that its inner tiles do not divide cuts the last of them short.
            if inner == 0 || step % inner != 0 {
                let tile = self.b.add_int(self.level_base[level], step);
                end = self.b.min(tile, end);
            }
            inner = step;
        }
        Ok((base, end))
    }

    /// A loop of `f`'s statements over `lo..hi`.
    pub(super) fn serial(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        if let (Some(a), Some(b)) = (self.b.const_int(lo), self.b.const_int(hi))
            && a >= b
        {
            return Ok(());
        }
        let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
        let counter = self.b.var(var);
        let body = self.collect(|e| e.pass(level, counter, body))?;
        self.out.push(nest::Stmt::Loop { var, lo, hi, step, kind: LoopKind::Serial, body });
        Ok(())
    }

    /// One pass of a step level, which starts at `base`.
    fn pass(&mut self, level: LevelId, base: nest::ExprId, body: &[Tree]) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let outer = self.axes[axis.index()].base;
        self.enter(level, base);
        self.trees(body)?;
        self.axes[axis.index()].base = outer;
        self.level_base.remove(&level);
        Ok(())
    }

    /// What `f` writes where blocks of a level's axis have one point, or one for each thread, below `end`.
    fn single(
        &mut self,
        level: LevelId,
        end: nest::ExprId,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        self.axes[axis.index()].single = true;
        self.axes[axis.index()].end = Some(end);
        f(self)?;
        self.axes[axis.index()] = saved;
        Ok(())
    }

    pub(super) fn step(&mut self, level: LevelId, step: i64, body: &[Tree]) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let (lo, hi) = self.bounds(level)?;
        let lo = self.named(lo);
        let hi = self.named(hi);
        let promoted = self.promote(level, body)?;
        let innermost = self.levels.steps(axis).last() == Some(level);
        let blocked = step > 1 && innermost && self.levels.is_blocked(axis);
        let few =
            || self.levels.threads(axis) == 1 && (self.streams(axis, body) || self.sums_at_an_end(axis));
        let result = if self.exceeds(level, body) {
            let blocked = blocked && !few();
            self.exceeding(level, (lo, hi, step), blocked, body)
        } else if blocked && few() {
            self.points(level, (lo, hi), body)
        } else if blocked && self.levels.threads(axis) > 1 && self.fills(level, step) {
            if self.levels.unit_count(axis) == 1 {
                // Each thread has one point, below the end.
                self.single(level, hi, |e| e.pass(level, lo, body))
            } else {
                self.filled(level, (lo, hi, step), body)
            }
        } else if blocked {
            self.peeled(level, (lo, hi, step), body)
        } else {
            self.serial(level, (lo, hi, step), body)
        };
        result?;
        self.demote(promoted)
    }

    /// Binds an expression to a name unless it is a literal or a name already.
    pub(super) fn named(&mut self, e: nest::ExprId) -> nest::ExprId {
        use nest::ExprKind as K;
        if matches!(self.b.nest().exprs[e].kind, K::Const(_) | K::Var(_) | K::Size(_) | K::Param(_)) {
            return e;
        }
        let (stmt, var) = self.b.bind("t", e);
        self.out.push(stmt);
        var
    }

    /// A step that fills the pass of the level around it, full or not.
    ///
    /// ```text
    /// if hi - lo >= step { b, all points }  else  { for j in lo..hi { b, 1 point a thread } }
    /// ```
    fn filled(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let whole = self.b.int(step);
        let length = self.b.sub(hi, lo);
        let cond = self.b.le(whole, length);
        self.axes[axis.index()].single = false;
        let then = self.collect(|e| e.pass(level, lo, body))?;
        self.axes[axis.index()] = saved;
        let otherwise = self.collect(|e| e.points(level, (lo, hi), body))?;
        self.out.push(nest::Stmt::If { cond, then, otherwise });
        Ok(())
    }

    /// Whether the level around makes passes as long as the steps of this one.
    fn fills(&self, level: LevelId, step: i64) -> bool {
        let axis = self.levels.all[level].axis;
        let outer = self.levels.steps(axis).take_while(|l| *l != level).last();
        outer.is_some_and(|o| self.levels.all[o].kind == LevelKind::Step(step))
    }

    fn peeled(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        // Threads do not mind an edge rule, and less code is compiled sooner.
        let inner = if self.group > 0 { None } else { self.interior(axis, body, (lo, hi))? };
        let (first, last) = match &inner {
            Some(inner) => {
                let a = self.named(inner.first);
                let head = self.b.min(a, hi);
                self.beyond(level, (lo, head), inner.beyond[0], body)?;
                let z = self.b.max(a, inner.last);
                (a, z)
            }
            None => (lo, self.b.max(lo, hi)),
        };
        self.axes[axis.index()].single = false;
        self.axes[axis.index()].interior = inner.is_some();
        // What full blocks do says how their ends may run.
        let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
        let counter = self.b.var(var);
        let full = self.collect(|e| e.pass(level, counter, body))?;
        let masked = self.masked_ends(axis, step, body, &full);
        let twice = masked.is_none() && self.may_run_twice(axis, body);
        let (start, last) = (first, if masked.is_some() { self.named(last) } else { last });
        let first = match &masked {
            Some(ends) if inner.is_some() || self.levels.shifts(axis) => {
                self.masked_first(level, (first, last), ends, body)?
            }
            None if twice => self.first_block(level, (first, last), step, body)?,
            _ => first,
        };
        let length = self.b.sub(last, first);
        let whole = {
            let n = self.b.int(step);
            let blocks = self.b.binary(BinaryOp::DivNonNeg, length, n);
            self.b.mul(blocks, n)
        };
        let middle = self.b.add(first, whole);
        let middle = self.named(middle);
        self.full_blocks((var, first, middle, step), full);
        let rest = match &masked {
            Some(ends) => {
                // Sums keep more adders busy in two vectors than in one.
                let by = if self.adds(body) { 2 } else { QUARTERS };
                let rest = self.narrower(level, (middle, last, step), (by, 2 * ends.points), body)?;
                self.masked_last(level, (rest, last), ends, body)?;
                last
            }
            None if twice => self.last_block(level, (start, middle, last), step, body)?,
            None => self.narrower(level, (middle, last, step), (QUARTERS, FEWEST_LANES), body)?,
        };
        self.axes[axis.index()] = saved;
        match (masked, inner) {
            (Some(_), None) => Ok(()),
            (Some(_), Some(inner)) => self.beyond(level, (rest, hi), inner.beyond[1], body),
            _ => self.points(level, (rest, hi), body),
        }
    }

    fn full_blocks(
        &mut self,
        (var, lo, hi, step): (nest::VarId, nest::ExprId, nest::ExprId, i64),
        body: Vec<nest::Stmt>,
    ) {
        let none = self.b.const_int(lo).zip(self.b.const_int(hi)).is_some_and(|(lo, hi)| lo >= hi);
        if !none {
            self.out.push(nest::Stmt::Loop { var, lo, hi, step, kind: LoopKind::Serial, body });
        }
    }

    /// Blocks after the last full one of `step` points, as long as what is left is worth code of its own: at the end of
    /// another axis it is not. Of lanes, each has a `by`-th of those of the one before, and at least `fewest`; of rows that
    /// are written out and add up, there is one of few, which keep an adder busy where one would wait for it. Where they end.
    pub(super) fn narrower(
        &mut self,
        level: LevelId,
        (first, last, step): (nest::ExprId, nest::ExprId, i64),
        (by, fewest): (i64, i64),
        body: &[Tree],
    ) -> Result<nest::ExprId, Diagnostic> {
        let axis = self.levels.all[level].axis;
        let mut rest = first;
        if self.group > 0 || self.axes.iter().any(|a| a.single) {
            return Ok(rest);
        }
        let narrow: Vec<i64> = if self.levels.has_lanes(axis) && self.axes[axis.index()].asks {
            // At the end of an axis that seldom has one: the code is that of all statements once more.
            vec![step / QUARTERS].into_iter().filter(|n| *n >= FEWEST_LANES).collect()
        } else if self.levels.has_lanes(axis) {
            let ever_fewer = std::iter::successors(Some(step / by), |n| Some(n / by));
            ever_fewer.take_while(|n| *n >= fewest).collect()
        } else if self.levels.unit_count(axis) > FEW_ROWS && self.adds(body) {
            vec![FEW_ROWS]
        } else {
            Vec::new()
        };
        for points in narrow {
            let n = self.b.int(points);
            let length = self.b.sub(last, rest);
            let blocks = self.b.binary(BinaryOp::DivNonNeg, length, n);
            let whole = self.b.mul(blocks, n);
            let end = self.b.add(rest, whole);
            let end = self.named(end);
            self.axes[axis.index()].narrow = Some(points);
            self.serial(level, (rest, end, points), body)?;
            rest = end;
        }
        Ok(rest)
    }

    /// Whether statements add up.
    fn adds(&self, body: &[Tree]) -> bool {
        let adds = |s: &StmtId| matches!(self.form.stmts[*s].action, Action::Accumulate { .. });
        Tree::stmts(body).iter().any(adds)
    }

    /// A loop over `lo..hi` whose blocks have one point, or one for each thread.
    pub(super) fn points(
        &mut self,
        level: LevelId,
        (lo, hi): (nest::ExprId, nest::ExprId),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let threads = self.levels.threads(self.levels.all[level].axis);
        self.single(level, hi, |e| e.serial(level, (lo, hi, threads), body))
    }

    /// As [`Emitter::points`], where all points lie beyond a bound of the interior.
    fn beyond(
        &mut self,
        level: LevelId,
        range: (nest::ExprId, nest::ExprId),
        bound: Option<Between>,
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let before = std::mem::replace(&mut self.axes[axis.index()].beyond, bound);
        self.points(level, range, body)?;
        self.axes[axis.index()].beyond = before;
        Ok(())
    }

    pub(super) fn block(
        &mut self,
        level: LevelId,
        count: i64,
        lanes: bool,
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        if !self.axes[axis.index()].single && !lanes && self.selects_table(axis, body) {
            let saved = self.axes[axis.index()];
            for n in 0..saved.narrow.unwrap_or(count) {
                self.axes[axis.index()].unit = Some(self.b.int(n));
                self.trees(body)?;
            }
            self.axes[axis.index()] = saved;
            return Ok(());
        }
        self.in_units(level, count, lanes, |e| e.trees(body))
    }

    /// What `f` writes, for each point of a block.
    pub(super) fn in_units(
        &mut self,
        level: LevelId,
        count: i64,
        lanes: bool,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        if saved.single {
            self.axes[axis.index()].unit = Some(self.b.int(0));
            f(self)?;
        } else if lanes && saved.narrow.is_none() && saved.mask.is_none() && self.levels.dealt(axis) > 1 {
            self.in_dealt_lanes(level, count, f)?;
        } else {
            let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
            self.axes[axis.index()].unit = Some(self.b.var(var));
            let body = self.collect(f)?;
            let body = self.guarded(axis, var, body)?;
            let count = saved.narrow.unwrap_or(count);
            let (lo, hi) = (self.b.int(0), self.b.int(count));
            let kind = if lanes { LoopKind::Lanes } else { LoopKind::Unrolled };
            self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind, body });
        }
        self.axes[axis.index()] = saved;
        Ok(())
    }

    /// What `f` writes, for each point of a block whose lanes are dealt.
    fn in_dealt_lanes(
        &mut self,
        level: LevelId,
        count: i64,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let per = self.levels.dealt(axis);
        let name = &self.levels.all[level].name;
        let (vector, lane) = (self.b.add_var(name, DType::I64), self.b.add_var(name, DType::I64));
        let (v, l) = (self.b.var(vector), self.b.var(lane));
        let first = self.b.mul_int(v, count / per);
        self.axes[axis.index()].unit = Some(self.b.add(first, l));
        let byte = self.b.mul_int(l, per);
        self.axes[axis.index()].dealt = Some(self.b.add(byte, v));
        let body = self.collect(f)?;
        let (lo, lanes, vectors) = (self.b.int(0), self.b.int(count / per), self.b.int(per));
        let body = vec![nest::Stmt::Loop { var: lane, lo, hi: lanes, step: 1, kind: LoopKind::Lanes, body }];
        let kind = LoopKind::Unrolled;
        self.out.push(nest::Stmt::Loop { var: vector, lo, hi: vectors, step: 1, kind, body });
        Ok(())
    }

    /// How many threads along a level are taken together by all that runs below it.
    pub(super) fn every(&self, level: LevelId, body: &[Tree]) -> i64 {
        let axis = self.levels.all[level].axis;
        let stmts = Tree::stmts(body);
        let of = |s: &StmtId| self.form.stmts[*s].every.filter(|(a, _)| *a == axis).map_or(1, |(_, n)| n);
        stmts.iter().map(of).min().unwrap_or(1)
    }

    /// Whether all threads of a level run what is below it, also those beyond the end.
    pub(super) fn whole(&self, level: LevelId, body: &[Tree]) -> bool {
        let axis = self.levels.all[level].axis;
        let stmts = Tree::stmts(body);
        stmts.iter().any(|s| self.form.stmts[*s].whole == Some(axis))
    }

    /// Whether the point of a thread is below the end of an axis; `None` where it is in any case.
    pub(super) fn has_point(&mut self, axis: AxisId) -> Result<Option<nest::ExprId>, Diagnostic> {
        let AxisState { single: true, end: Some(end), .. } = self.axes[axis.index()] else { return Ok(None) };
        let point = self.axis(axis)?;
        Ok(Some(self.b.lt(point, end)))
    }

    /// The number of the thread along an axis.
    pub(super) fn thread(&mut self, axis: AxisId) -> nest::ExprId {
        self.axes[axis.index()].thread.unwrap_or_else(|| self.b.int(0))
    }

    /// Whether a thread along an axis is the first of `n`; `None` where only those run.
    pub(in crate::schedule) fn is_first_of(&mut self, axis: AxisId, n: i64) -> Option<nest::ExprId> {
        let AxisState { thread: Some(thread), every, .. } = self.axes[axis.index()] else { return None };
        if every == n {
            return None;
        }
        let (n, zero) = (self.b.int(n), self.b.int(0));
        let place = self.b.binary(BinaryOp::RemNonNeg, thread, n);
        Some(self.b.eq(place, zero))
    }

    /// What `f` reads, at the point of the thread whose number differs in a bit.
    pub(super) fn of_other_thread<T>(
        &mut self,
        axis: AxisId,
        bit: i64,
        f: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        let Some(mine) = self.axes[axis.index()].thread else { return f(self) };
        let bit = self.b.int(bit);
        let other = self.b.binary(BinaryOp::Xor, mine, bit);
        self.of_thread(axis, other, f)
    }

    /// What `f` reads, at the point of a thread.
    pub(super) fn of_thread<T>(
        &mut self,
        axis: AxisId,
        thread: nest::ExprId,
        f: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        let mine = self.axes[axis.index()].thread.replace(thread);
        let result = f(self);
        self.axes[axis.index()].thread = mine;
        result
    }

    /// What `f` reads or writes, at the first of the points that a thread has in a block.
    pub(super) fn at_first_unit<T>(
        &mut self,
        axis: AxisId,
        f: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        let zero = self.b.int(0);
        let unit = self.axes[axis.index()].unit.map(|_| zero);
        self.at_unit(axis, unit, f)
    }

    /// What `f` reads or writes, at a point of the block of an axis.
    pub(super) fn at_unit<T>(
        &mut self,
        axis: AxisId,
        unit: Option<nest::ExprId>,
        f: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        let state = &mut self.axes[axis.index()];
        let before = (std::mem::replace(&mut state.unit, unit), state.dealt.take());
        let result = f(self);
        let state = &mut self.axes[axis.index()];
        (state.unit, state.dealt) = before;
        result
    }

    /// What `f` writes, for each thread along an axis that has a point or the `whole` of them, or the first of each `every`;
    /// one after the other where they are not independent.
    pub(super) fn in_threads(
        &mut self,
        level: LevelId,
        count: i64,
        at_once: bool,
        (every, whole): (i64, bool),
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let hi = if whole { self.b.int(count) } else { self.reached(axis, count) };
        let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
        self.axes[axis.index()].thread = Some(self.b.var(var));
        let step = if at_once { 1 } else { every };
        self.axes[axis.index()].every = step;
        let body = self.collect(f)?;
        let kind = match at_once {
            true => LoopKind::Threads { count: u32::try_from(count).unwrap_or(u32::MAX) },
            false => LoopKind::Serial,
        };
        let lo = self.b.int(0);
        self.out.push(nest::Stmt::Loop { var, lo, hi, step, kind, body });
        self.axes[axis.index()] = saved;
        Ok(())
    }

    /// How many of `count` threads along an axis have a point here.
    pub(super) fn reached(&mut self, axis: AxisId, count: i64) -> nest::ExprId {
        let threads = self.b.int(count);
        match self.axes[axis.index()] {
            AxisState { single: true, end: Some(end), base: Some(base), .. } => {
                let left = self.b.sub(end, base);
                self.b.min(left, threads)
            }
            _ => threads,
        }
    }

    /// Whether points of an axis that are written out side by side would share nothing: every statement runs as lanes of
    /// another axis and takes each element once, from memory where lanes lie side by side. Writing them out would only
    /// make more code, of the full blocks and of the points after them.
    fn streams(&self, axis: AxisId, body: &[Tree]) -> bool {
        let stmts = Tree::stmts(body);
        stmts.iter().all(|s| {
            let stmt = &self.form.stmts[*s];
            // Neighbours that lie side by side in the copy are put there together.
            if stmt.action.written_value().is_some_and(|v| self.is_deep(v, axis)) {
                return false;
            }
            let lane = stmt.axes.iter().find(|a| **a != axis && self.levels.has_lanes(**a));
            let Some(lane) =
                lane.filter(|_| matches!(stmt.action, Action::Set { .. } | Action::Store { .. }))
            else {
                return false;
            };
            let mut read = BTreeSet::new();
            access::of_stmt(self.form, *s).iter().all(|a| {
                let once = a.write || read.insert(a.object);
                let apart = a.index.contains(&Ix::Axis(axis)) && a.index.last() == Some(&Ix::Axis(*lane));
                once && (apart || a.index.is_empty())
            })
        })
    }

    /// Whether neighbours along an axis lie side by side in a value's storage for each element of its panels.
    pub(super) fn is_deep(&self, value: ValueId, axis: AxisId) -> bool {
        self.form.info[value.index()].panels.get(&axis).is_some_and(|p| p.deep)
    }

    /// Whether an axis is summed over at the ragged end of another: few points run there, and the sums next to each
    /// other, not the terms of one sum, are what keeps a processor busy. Terms that lie side by side are taken together
    /// everywhere.
    fn sums_at_an_end(&self, axis: AxisId) -> bool {
        let deep = self.form.func.values.handles().any(|v| self.is_deep(v, axis));
        !deep
            && !self.levels.has_lanes(axis)
            && is_reduced(self.form, axis)
            && self.axes.iter().any(|a| a.single)
    }

    /// Whether an axis picks elements of constant tables, so that writing its points out makes them literals.
    fn selects_table(&self, axis: AxisId, body: &[Tree]) -> bool {
        let stmts = Tree::stmts(body);
        let roots = stmts.iter().flat_map(|s| self.form.stmts[*s].action.exprs()).collect();
        self.form.below(roots).any(|e| {
            let expr = &self.form.func.exprs[e];
            matches!(expr.kind, ExprKind::Table { .. }) && expr.axes.contains(&axis)
        })
    }
}

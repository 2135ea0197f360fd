//! The lanes of partial results, added up two at a time: half of them to the other half, as lanes, until one is left. Scans
//! of lanes.

use rooftile_artifact::DType;

use super::{Emitter, Val, ValueBuffer, machine_type, monoid};
use crate::diag::Diagnostic;
use crate::nest::ir::{self as nest, BufferId, LoopKind, Space};
use crate::schedule::form::{Action, StmtId, identity};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::LevelId;

/// Most lanes of a scan at once: each step of more of them costs more than the sum that it saves.
pub(in crate::schedule) const MOST_SCANNED: i64 = 16;

/// Where the lanes are that are left.
enum Lanes {
    /// Those of a value's block.
    Value(ValueBuffer),
    /// Registers; two for complex values.
    Registers(Vec<BufferId>),
}

impl Emitter<'_> {
    /// Whether all statements of a block add up lanes.
    pub(super) fn adds_pairs(&self, body: &[Tree]) -> bool {
        let adds = |s: &StmtId| {
            let stmt = &self.form.stmts[*s];
            stmt.pairs.is_some() && matches!(stmt.action, Action::Accumulate { .. })
        };
        body.iter().all(|t| matches!(t, Tree::Leaf(s) if adds(s)))
    }

    /// Adds up the `count` lanes of a block of a level's axis.
    pub(super) fn pairs(&mut self, level: LevelId, count: i64, tree: &Tree) -> Result<(), Diagnostic> {
        let Tree::Leaf(id) = tree else { return Ok(()) };
        let stmt = self.form.stmts[*id].clone();
        let (Action::Accumulate { value, op, .. }, Some(partial)) = (stmt.action, stmt.pairs) else {
            return Ok(());
        };
        let dtype = self.form.func.values[value].dtype;
        let element = machine_type(dtype.real(), stmt.span)?;
        let mut from = Lanes::Value(self.value_buffer(partial)?);
        let mut left = count;
        while left > 2 && left % 2 == 0 {
            left /= 2;
            let extent = [self.b.int(left)];
            let parts = if dtype.is_complex() { 2 } else { 1 };
            let to: Vec<BufferId> =
                (0..parts).map(|_| self.b.add_buffer("pairs", element, &extent, Space::Register)).collect();
            self.lanes(left, |e, lane| {
                let other = e.b.add_int(lane, left);
                let (a, b) = (e.lane_of(level, &from, lane)?, e.lane_of(level, &from, other)?);
                let sum = e.combine(monoid(op), a, b, dtype);
                e.write_parts(&to, &[lane], sum);
                Ok(())
            })?;
            from = Lanes::Registers(to);
        }
        let first = self.b.int(0);
        let mut sum = self.lane_of(level, &from, first)?;
        for n in 1..left {
            let lane = self.b.int(n);
            let next = self.lane_of(level, &from, lane)?;
            sum = self.combine(monoid(op), sum, next, dtype);
        }
        self.add_to(value, op, sum, stmt.atomic)
    }

    /// Whether a block is a scan of `count` lanes, of a type whose lanes can be moved.
    pub(super) fn scans_lanes(&self, level: LevelId, count: i64, body: &[Tree]) -> bool {
        let state = self.axes[self.levels.all[level].axis.index()];
        let count = state.narrow.unwrap_or(count);
        let [Tree::Leaf(s)] = body else { return false };
        let stmt = &self.form.stmts[*s];
        let (Action::Scan { value, run, .. }, Some(_)) = (&stmt.action, stmt.pairs) else { return false };
        let dtype = self.form.func.values[*run].dtype;
        let plain = matches!(dtype, DType::F32 | DType::F64 | DType::Int { bits: 32 | 64, .. });
        let of_lanes = self.form.func.values[*value].dtype == dtype;
        plain && of_lanes && !state.single && count.count_ones() == 1 && (4..=MOST_SCANNED).contains(&count)
    }

    /// A scan of the lanes of a block.
    ///
    /// ```text
    /// lanes: s = e;  lanes l: s1[l] = s[l - 1] + s[l];  lanes l: s2[l] = s1[l - 2] + s1[l];  ..
    /// lanes: value = run + s;  run = run + s[last]
    /// ```
    ///
    /// What lies before the first lane adds nothing: it stands in as many elements before them.
    pub(super) fn scanned(&mut self, level: LevelId, count: i64, body: &[Tree]) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let n = self.axes[axis.index()].narrow.unwrap_or(count);
        let [Tree::Leaf(id)] = body else { return Ok(()) };
        let Action::Scan { value, run, op, expr, .. } = self.form.stmts[*id].action.clone() else {
            return Ok(());
        };
        let dtype = self.form.func.values[run].dtype;
        let none = self.b.constant(identity(op, dtype), dtype);
        let extent = [self.b.int(2 * n)];
        let mut from: Option<BufferId> = None;
        let mut near = 0;
        while near < n {
            let to = self.b.add_buffer("upto", dtype, &extent, Space::Register);
            self.lanes(n, |e, lane| {
                e.write_parts(&[to], &[lane], Val::Real(none));
                Ok(())
            })?;
            self.lanes(n, |e, lane| {
                let at = e.b.add_int(lane, n);
                let v = match from {
                    None => e.at_unit(axis, Some(lane), |e| {
                        e.begin(&[expr]);
                        e.lower(expr)
                    })?,
                    Some(from) => {
                        let before = e.b.add_int(lane, n - near);
                        let (a, b) = (e.b.load(from, &[before]), e.b.load(from, &[at]));
                        e.combine(monoid(op), Val::Real(a), Val::Real(b), dtype)
                    }
                };
                e.write_parts(&[to], &[at], v);
                Ok(())
            })?;
            near = if from.is_none() { 1 } else { 2 * near };
            from = Some(to);
        }
        let Some(from) = from else { return Ok(()) };
        let start = self.read_value(run, None)?;
        let start = self.bind("start", start);
        self.lanes(n, |e, lane| {
            let at = e.b.add_int(lane, n);
            let upto = Val::Real(e.b.load(from, &[at]));
            let new = e.combine(monoid(op), start, upto, dtype);
            e.at_unit(axis, Some(lane), |e| e.write_value(value, None, new))
        })?;
        let last = self.b.int(2 * n - 1);
        let total = Val::Real(self.b.load(from, &[last]));
        let next = self.combine(monoid(op), start, total, dtype);
        self.write_value(run, None, next)
    }

    /// A loop of lanes.
    fn lanes(
        &mut self,
        count: i64,
        f: impl FnOnce(&mut Self, nest::ExprId) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let var = self.b.add_var("lane", DType::I64);
        let lane = self.b.var(var);
        let body = self.collect(|e| f(e, lane))?;
        let (lo, hi) = (self.b.int(0), self.b.int(count));
        self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Lanes, body });
        Ok(())
    }

    fn lane_of(&mut self, level: LevelId, from: &Lanes, lane: nest::ExprId) -> Result<Val, Diagnostic> {
        let axis = self.levels.all[level].axis;
        Ok(match from {
            Lanes::Registers(parts) => self.read_parts(parts, &[lane]),
            Lanes::Value(buffer) => {
                let index = self.at_unit(axis, Some(lane), |e| e.value_index(buffer, None))?;
                self.read_parts(&buffer.parts, &index)
            }
        })
    }
}

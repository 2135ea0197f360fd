//! Copies into near memory, made by all threads of a group together, whatever threads the loops around them have.
//!
//! ```text
//! for k in lo..hi { for j by 16 threads { b[k,j] = B[k,j] } }
//!   =>  for q in 0..16*(hi-lo) step 128 { threads t below 128: b[(q+t) / 16, (q+t) % 16] = .. }
//! ```
//!
//! The tensor's last dimension varies fastest, so that neighbouring threads read neighbours.

use std::collections::BTreeMap;

use rooftile_artifact::DType;

use super::{AxisState, Emitter};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::AxisId;
use crate::nest::ir::{self as nest, BinaryOp, LoopKind};
use crate::schedule::form::{Action, StmtId};
use crate::schedule::fuse::Tree;
use crate::schedule::levels::{LevelId, LevelKind};
use crate::schedule::storage::{Home, HomeSpace};

/// The loops of one copy: its axes, those with a step level with that.
struct Copy {
    stmt: StmtId,
    axes: BTreeMap<AxisId, Option<LevelId>>,
}

impl Emitter<'_> {
    /// Writes a loop that does nothing but copy; `false` if it is none, or its loops depend on each other.
    pub(super) fn cooperative(&mut self, tree: &Tree) -> Result<bool, Diagnostic> {
        if self.group == 0 {
            return Ok(false);
        }
        let Some(copy) = self.copy_of(tree) else { return Ok(false) };
        let Action::Set { value, .. } = self.form.stmts[copy.stmt].action else { return Ok(false) };
        if let Some(around) = self.axes.iter().position(|a| a.thread.is_some()) {
            let value = &self.form.func.values[value];
            let axis = self.form.func.axes.iter().nth(around).map_or("", |(_, a)| &a.name);
            let message = format!("the copy `{}` would lie inside the threads along `{axis}`", value.name);
            return Err(Diagnostic::error(Code::Illegal, value.span, message)
                .help("copy at a loop outside of the threads, or give the axis none"));
        }
        let mut order: Vec<AxisId> = copy.axes.keys().copied().collect();
        let dims = &self.form.func.values[value].axes;
        order.sort_by_key(|a| dims.iter().position(|d| d == a));
        let mut ranges = Vec::new();
        for axis in order {
            ranges.push((axis, self.range(axis, copy.axes[&axis])?));
        }
        let mut total = self.b.int(1);
        for (_, (_, extent)) in &ranges {
            total = self.b.mul(total, *extent);
        }
        let total = self.named(total);
        let bases = self.level_base.clone();
        self.by_all_threads(total, self.group, |e, element| {
            let mut rest = element;
            for (n, (axis, (lo, extent))) in ranges.iter().enumerate().rev() {
                let point = if n == 0 { rest } else { e.b.binary(BinaryOp::RemNonNeg, rest, *extent) };
                let point = e.named(point);
                if n > 0 {
                    rest = e.b.binary(BinaryOp::DivNonNeg, rest, *extent);
                }
                match (copy.axes[axis], lo) {
                    (Some(level), Some(lo)) => {
                        let base = e.b.add(*lo, point);
                        e.axes[axis.index()] = AxisState { single: true, ..AxisState::default() };
                        e.enter(level, base);
                    }
                    _ => {
                        e.axes[axis.index()].unit = None;
                        e.axes[axis.index()].thread = Some(point);
                    }
                }
            }
            e.leaf(copy.stmt)
        })?;
        self.level_base = bases;
        Ok(true)
    }

    /// What `f` writes for each of `total` elements, by `threads` of a group, neighbours by neighbours.
    pub(super) fn by_all_threads(
        &mut self,
        total: nest::ExprId,
        threads: i64,
        f: impl FnOnce(&mut Self, nest::ExprId) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let [first, thread] = ["q", "t"].map(|name| self.b.add_var(name, DType::I64));
        let (first_value, thread_value) = (self.b.var(first), self.b.var(thread));
        let saved = self.axes.clone();
        let body = self.collect(|e| {
            let element = e.b.add(first_value, thread_value);
            f(e, element)
        })?;
        self.axes = saved;
        let (zero, all) = (self.b.int(0), self.b.int(threads));
        let hi = match self.b.const_int(total) {
            Some(n) if n % threads == 0 => all,
            _ => {
                let left = self.b.sub(total, first_value);
                self.b.min(left, all)
            }
        };
        let kind = LoopKind::Threads { count: u32::try_from(threads).unwrap_or(u32::MAX) };
        let by_threads = nest::Stmt::Loop { var: thread, lo: zero, hi, step: 1, kind, body };
        self.out.push(nest::Stmt::Loop {
            var: first,
            lo: zero,
            hi: total,
            step: threads,
            kind: LoopKind::Serial,
            body: vec![by_threads],
        });
        Ok(())
    }

    /// The first point of an axis, where its step level belongs to the copy, and how many points there are.
    fn range(
        &mut self,
        axis: AxisId,
        step: Option<LevelId>,
    ) -> Result<(Option<nest::ExprId>, nest::ExprId), Diagnostic> {
        if let Some(level) = step {
            let (lo, hi) = self.bounds(level)?;
            let (lo, zero) = (self.named(lo), self.b.int(0));
            let extent = self.b.sub(hi, lo);
            let extent = self.b.max(extent, zero);
            return Ok((Some(lo), self.named(extent)));
        }
        let points = if self.axes[axis.index()].single {
            self.reached(axis, self.levels.threads(axis))
        } else {
            let whole = self.levels.block_count(axis);
            self.b.int(self.axes[axis.index()].narrow.unwrap_or(whole))
        };
        Ok((None, self.named(points)))
    }

    /// The copy that a tree makes, if it makes one alone, into memory that the group shares.
    fn copy_of(&self, tree: &Tree) -> Option<Copy> {
        let mut axes: BTreeMap<AxisId, Option<LevelId>> = BTreeMap::new();
        let mut tree = tree;
        let stmt = loop {
            match tree {
                Tree::Leaf(s) => break *s,
                Tree::Loop { level, body, .. } => {
                    let axis = self.levels.all[*level].axis;
                    match self.levels.all[*level].kind {
                        // A second tile level depends on the first; what its ends depend on must not be inside.
                        LevelKind::Step(_) if axes.contains_key(&axis) => return None,
                        LevelKind::Step(_) => {
                            axes.insert(axis, Some(*level));
                        }
                        _ => {
                            axes.entry(axis).or_default();
                        }
                    }
                    match &body[..] {
                        [only] => tree = only,
                        _ => return None,
                    }
                }
                Tree::Seq { .. } | Tree::If { .. } => return None,
            }
        };
        let s = &self.form.stmts[stmt];
        let Action::Set { value, index: None, .. } = s.action else { return None };
        let near = matches!(
            &self.homes[value.index()],
            Some(Home::Buffer { space: HomeSpace::Shared | HomeSpace::Local, .. })
        );
        let dims = &self.form.func.values[value].axes;
        let own = axes.keys().all(|a| dims.contains(a));
        let apart =
            axes.keys().all(|a| self.form.func.axes[*a].parents.iter().all(|p| !axes.contains_key(p)));
        (s.copies && near && own && apart && !axes.is_empty()).then_some(Copy { stmt, axes })
    }
}

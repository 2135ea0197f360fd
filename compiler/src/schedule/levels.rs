//! The loops that an axis becomes, and their order.
//!
//! An axis has one or more *step* levels, from the outside in, each a loop over the range of the level above it, and
//! at most one *block*: the points of one step of the innermost step level, by threads, written out, or as lanes.
//!
//! ```text
//! tile(i, 64), unroll(i, 4):   for i.0 in lo..hi step 64
//!                                for i.1 in i.0..min(i.0 + 64, hi) step 4
//!                                  for u in 0..4 unrolled          i = i.1 + u
//! thread(i, 16), unroll(i, 4):  for i in lo..hi step 64
//!                                 for t in 0..16 by threads
//!                                   for u in 0..4 unrolled          i = i + 16 * u + t
//! ```
//!
//! Points of neighbouring threads are neighbours, so that they touch memory side by side.

use std::collections::BTreeMap;

use super::bounds;
use super::form::{Action, Form};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, AxisKind};
use crate::schedule::plan::AxisRef;

/// Number of a level.
pub(crate) type LevelId = usize;

/// A loop of an axis.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// The axis.
    pub(crate) axis: AxisId,
    /// What loop it is.
    pub(crate) kind: LevelKind,
    /// `i.0`.
    pub(crate) name: String,
}

/// What loop a level is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LevelKind {
    /// A loop with this step.
    Step(i64),
    /// The points of one step of the level above, or a part of them, by as many threads.
    Threads {
        /// How many.
        count: i64,
    },
    /// The points of one step of the level above; with threads, those of one thread.
    Block {
        /// How many.
        count: i64,
        /// As lanes, not written out.
        lanes: bool,
    },
}

impl LevelKind {
    /// Whether this is a block.
    pub(crate) fn is_block(self) -> bool {
        matches!(self, LevelKind::Block { .. } | LevelKind::Threads { .. })
    }
}

/// What is asked for an axis.
#[derive(Clone, Debug, Default)]
pub(crate) struct AxisSpec {
    /// Tile sizes from the outside in.
    pub(crate) tiles: Vec<i64>,
    /// Lanes.
    pub(crate) lanes: Option<i64>,
    /// Points written out.
    pub(crate) unroll: Option<i64>,
    /// Threads of a group.
    pub(crate) threads: Option<i64>,
    /// Whether the outermost level is shared out over the cores.
    pub(crate) parallel: bool,
    /// Whether the last block may overlap its neighbour.
    pub(crate) shift: bool,
}

impl AxisSpec {
    /// Tile sizes that make loops: each smaller than the one around it.
    pub(crate) fn steps(&self) -> Vec<i64> {
        let mut steps: Vec<i64> = Vec::new();
        for t in &self.tiles {
            let inner = steps.last().is_none_or(|last| t < last);
            if inner && *t > 1 {
                steps.push(*t);
            }
        }
        steps
    }

    /// Points of the innermost tile, if there is one.
    pub(crate) fn last_tile(&self) -> Option<i64> {
        self.steps().last().copied()
    }
}

/// All levels of a kernel, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    /// Every level.
    pub(crate) all: Vec<Level>,
    /// The levels of each axis from the outside in, by the axis' position in its arena.
    chains: Vec<Vec<LevelId>>,
    /// Loops from the outside in; blocks last.
    pub(crate) order: Vec<LevelId>,
    /// Levels whose loops are shared out over the cores.
    pub(crate) parallel: Vec<LevelId>,
    /// Levels whose place in the order was asked for.
    asked: Vec<LevelId>,
    /// Axes whose last block may overlap its neighbour.
    shifted: Vec<AxisId>,
    /// For each axis with lanes, by its position in the arena: its points one by one.
    points: Vec<Option<LevelId>>,
    /// How many neighbours along an axis are dealt to the same lane of as many vectors (`deal`).
    dealt: BTreeMap<AxisId, i64>,
}

impl Levels {
    /// Deals `per` neighbours along an axis to the same lane of as many vectors.
    pub(super) fn deal(&mut self, axis: AxisId, per: i64) {
        self.dealt.insert(axis, per);
    }

    /// How many neighbours along an axis are dealt to the same lane; 1 where neighbours are lanes side by side.
    pub(crate) fn dealt(&self, axis: AxisId) -> i64 {
        self.dealt.get(&axis).copied().unwrap_or(1)
    }

    /// The levels of an axis, from the outside in.
    pub(crate) fn chain(&self, axis: AxisId) -> &[LevelId] {
        self.chains.get(axis.index()).map_or(&[], Vec::as_slice)
    }

    /// The points of an axis one by one, in place of its innermost step and its lanes: where another axis has the lanes.
    pub(crate) fn points(&self, axis: AxisId) -> Option<LevelId> {
        self.points.get(axis.index()).copied().flatten()
    }

    /// The levels of a level's axis that its loop stands in.
    pub(crate) fn outside(&self, level: LevelId) -> Vec<LevelId> {
        let axis = self.all[level].axis;
        if self.points(axis) == Some(level) {
            let mut steps: Vec<LevelId> = self.steps(axis).collect();
            steps.pop();
            return steps;
        }
        self.chain(axis).iter().copied().take_while(|l| *l != level).collect()
    }

    /// The step levels of an axis.
    pub(crate) fn steps(&self, axis: AxisId) -> impl Iterator<Item = LevelId> {
        self.chain(axis).iter().copied().filter(|l| !self.all[*l].kind.is_block())
    }

    /// The levels of the points of an axis: threads, then what each of them runs.
    pub(crate) fn blocks(&self, axis: AxisId) -> impl Iterator<Item = LevelId> {
        self.chain(axis).iter().copied().filter(|l| self.all[*l].kind.is_block())
    }

    /// Whether several points of an axis run in one step.
    pub(crate) fn is_blocked(&self, axis: AxisId) -> bool {
        self.blocks(axis).next().is_some()
    }

    /// Points of an axis that run in one step.
    pub(crate) fn block_count(&self, axis: AxisId) -> i64 {
        self.threads(axis) * self.unit_count(axis)
    }

    /// Points of an axis that one thread runs in one step.
    pub(crate) fn unit_count(&self, axis: AxisId) -> i64 {
        let count = |l: LevelId| match self.all[l].kind {
            LevelKind::Block { count, .. } => Some(count),
            _ => None,
        };
        self.blocks(axis).find_map(count).unwrap_or(1)
    }

    /// Threads along an axis, 1 without any.
    pub(crate) fn threads(&self, axis: AxisId) -> i64 {
        let count = |l: LevelId| match self.all[l].kind {
            LevelKind::Threads { count } => Some(count),
            _ => None,
        };
        self.blocks(axis).find_map(count).unwrap_or(1)
    }

    /// Whether the last block of an axis may overlap its neighbour.
    pub(crate) fn shifts(&self, axis: AxisId) -> bool {
        self.shifted.contains(&axis)
    }

    /// Whether a level runs by threads.
    pub(crate) fn is_threads(&self, level: LevelId) -> bool {
        matches!(self.all[level].kind, LevelKind::Threads { .. })
    }

    /// Whether the block of an axis is lanes.
    pub(crate) fn has_lanes(&self, axis: AxisId) -> bool {
        self.blocks(axis).any(|b| matches!(self.all[b].kind, LevelKind::Block { lanes: true, .. }))
    }

    /// A level's place in the order.
    pub(crate) fn position(&self, level: LevelId) -> usize {
        self.order.iter().position(|l| *l == level).unwrap_or(usize::MAX)
    }

    /// Levels that were asked to be outside another one, which was asked for too.
    pub(crate) fn asked_outside(&self, level: LevelId) -> impl Iterator<Item = LevelId> {
        let inside = self.asked.contains(&level);
        let outer = self.order.iter().copied().take_while(move |l| *l != level);
        outer.filter(move |l| inside && self.asked.contains(l))
    }

    /// Cuts every axis of the kernel into levels and orders them.
    ///
    /// # Errors
    /// E0504 when the wanted order contradicts the levels or the domains.
    pub(crate) fn new(
        form: &Form,
        specs: &[AxisSpec],
        wanted: &[AxisRef],
        span: Span,
    ) -> Result<Levels, Diagnostic> {
        let axes = form.func.axes.len();
        let mut levels =
            Levels { chains: vec![Vec::new(); axes], points: vec![None; axes], ..Levels::default() };
        for axis in form.func.axes.handles() {
            if form.is_dimension(axis) {
                let spec = specs.get(axis.index()).cloned().unwrap_or_default();
                levels.cut(form, axis, &spec);
                levels.shifted.extend(spec.shift.then_some(axis));
            }
        }
        levels.order_by(form, wanted, span)?;
        Ok(levels)
    }

    fn add(&mut self, axis: AxisId, name: String, kind: LevelKind) -> LevelId {
        self.all.push(Level { axis, kind, name });
        self.chains[axis.index()].push(self.all.len() - 1);
        self.all.len() - 1
    }

    fn cut(&mut self, form: &Form, axis: AxisId, spec: &AxisSpec) {
        let name = &form.func.axes[axis].name;
        let extent = bounds::extent(form, axis);
        let lanes = spec.lanes.filter(|n| *n > 1);
        let threads = spec.threads.unwrap_or(1).max(1);
        let unit = (lanes.unwrap_or(1) * spec.unroll.unwrap_or(1).max(1)).clamp(1, 64);
        let count = threads * unit;
        let fold = matches!(form.func.axes[axis].kind, AxisKind::Fold(_));
        let halo = form.halos.contains_key(&axis);
        let whole =
            !fold && !halo && spec.tiles.is_empty() && !spec.parallel && extent == Some(count) && count > 1;
        let mut steps = spec.steps();
        if fold && steps.is_empty() {
            steps.push(1);
        }
        if spec.parallel && steps.is_empty() && lanes.is_some() {
            steps.push(count * 16);
        } else if spec.parallel && steps.is_empty() && count > 1 {
            steps.push(count);
        }
        let last = steps.last().copied();
        let by_points = fold && last == Some(1);
        if !(whole || by_points) && (last != Some(1) || count > 1) {
            steps.push(count);
        }
        let several = steps.len() > 1;
        for (n, step) in steps.iter().enumerate() {
            let name = if several { format!("{name}.{n}") } else { name.clone() };
            let id = self.add(axis, name, LevelKind::Step(*step));
            if n == 0 && spec.parallel {
                self.parallel.push(id);
            }
        }
        if threads > 1 && !by_points {
            self.add(axis, format!("{name}.t"), LevelKind::Threads { count: threads });
        }
        if unit > 1 && !by_points {
            let kind = LevelKind::Block { count: unit, lanes: lanes.is_some() };
            self.add(axis, format!("{name}.b"), kind);
        }
        if lanes.is_some() && threads == 1 && !(whole || by_points) {
            self.all.push(Level { axis, kind: LevelKind::Step(1), name: name.clone() });
            self.points[axis.index()] = Some(self.all.len() - 1);
        }
    }

    /// Sorts the levels: those asked for as asked, the rest by the default, threads and blocks last, lanes last of all.
    fn order_by(&mut self, form: &Form, wanted: &[AxisRef], span: Span) -> Result<(), Diagnostic> {
        let mut ranked: Vec<(Rank, LevelId)> = Vec::new();
        let mut explicit = 0;
        for r in wanted {
            for axis in form.func.axes.handles().filter(|a| form.func.axes[*a].name == r.name) {
                let steps: Vec<LevelId> = self.steps(axis).collect();
                let picked: Vec<LevelId> = match r.level {
                    None => steps,
                    Some(n) => steps.get(n as usize).copied().into_iter().collect(),
                };
                // The loop over the parts of a cut axis has no name of its own: it goes with the first of the axis.
                let parts = form.partitions.get(&axis).map(|part| self.steps(*part).collect::<Vec<_>>());
                let last = picked.iter().any(|l| self.steps(axis).last() == Some(*l));
                let points = self.points(axis).filter(|_| last);
                for l in parts.into_iter().flatten().chain(picked).chain(points) {
                    if !ranked.iter().any(|(_, x)| *x == l) {
                        ranked.push((Rank(0, explicit, 0), l));
                        explicit += 1;
                    }
                }
            }
        }
        for l in 0..self.all.len() {
            if !ranked.iter().any(|(_, x)| *x == l) {
                ranked.push((self.default_rank(form, l), l));
            }
        }
        self.asked = ranked.iter().filter(|(rank, _)| rank.0 == 0).map(|(_, l)| *l).collect();
        ranked.sort();
        let mut left: Vec<(Rank, LevelId)> = ranked;
        while !left.is_empty() {
            let Some(at) = left.iter().position(|(_, l)| self.may_follow(form, *l)) else {
                return Err(Diagnostic::error(Code::Illegal, span, "this order of loops cannot be made")
                    .help("place an axis inside the axes that its bounds depend on, and inner levels inside outer ones"));
            };
            let (rank, level) = left.remove(at);
            // Something asked for earlier could not be placed before this one.
            if at > 0 && left.first().is_some_and(|(r, _)| r.0 == 0) && rank.0 == 0 {
                let name = &self.all[left[0].1].name;
                return Err(Diagnostic::error(Code::Illegal, span, format!("`{name}` cannot stand so far outside"))
                    .help("an axis goes inside the axes that its bounds depend on, an inner level inside the outer ones"));
            }
            self.order.push(level);
        }
        Ok(())
    }

    fn may_follow(&self, form: &Form, level: LevelId) -> bool {
        let axis = self.all[level].axis;
        let placed = |l: &LevelId| self.order.contains(l);
        let outer = self.outside(level).iter().all(placed);
        let block = self.all[level].kind.is_block();
        let parents = &form.func.axes[axis].parents;
        outer && (block || parents.iter().all(|p| self.steps(*p).all(|l| placed(&l))))
    }

    fn default_rank(&self, form: &Form, level: LevelId) -> Rank {
        let axis = self.all[level].axis;
        let nest = form.order.iter().position(|a| *a == axis).unwrap_or(form.order.len());
        let depth = self.outside(level).len();
        let last = self.steps(axis).last() == Some(level) || self.points(axis) == Some(level);
        match self.all[level].kind {
            // Reduced points go outside the rest of a register block: each reads its operands once, for all sums.
            LevelKind::Block { lanes, .. } => {
                Rank(6 + usize::from(lanes), usize::from(!is_reduced(form, axis)), nest)
            }
            LevelKind::Threads { .. } => Rank(5, nest, 0),
            LevelKind::Step(_) if self.parallel.contains(&level) => Rank(1, nest, 0),
            LevelKind::Step(_) => match form.func.axes[axis].kind {
                AxisKind::For(_) if !last => Rank(2, depth, nest),
                AxisKind::For(_) => Rank(3, nest, 0),
                _ => Rank(4, nest, depth),
            },
        }
    }
}

/// Whether something is reduced along an axis.
pub(crate) fn is_reduced(form: &Form, axis: AxisId) -> bool {
    form.stmts.iter().any(|(_, s)| match &s.action {
        Action::Accumulate { value, .. } => {
            s.axes.contains(&axis) && !form.func.values[*value].axes.contains(&axis)
        }
        _ => false,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(usize, usize, usize);

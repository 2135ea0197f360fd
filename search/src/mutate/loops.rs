//! Moves of loops: tiles, order, cores, lanes, register blocks, ends.

use std::collections::BTreeMap;

use rooftile_compiler::schedule::plan::{Amount, AxisRef, Plan, TailStyle, Verb};

use super::Mutator;
use super::tune::SIZES;
use crate::candidate::Class;
use crate::rng::Rng;

/// Lanes.
const LANES: [i64; 6] = [2, 4, 8, 16, 32, 64];
/// Threads of a group along one axis.
const THREADS: [i64; 6] = [8, 16, 32, 64, 128, 256];
/// Points written out.
pub(super) const BLOCKS: [i64; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
/// Points of a register block that are worth a try: more does not fit any machine's registers.
const MOST_POINTS: i64 = 256;

impl Mutator {
    /// Sets, deepens or removes the tile sizes of an axis.
    pub(super) fn tile(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = (*rng.pick(&self.anchors.axes_where(|a| a.tiled || a.whole))?).to_owned();
        let class = self.cut(&axis);
        let at = plan.verbs.iter().position(|v| matches!(v, Verb::Tile { axis: a, .. } if *a == axis));
        let mut sizes = match at.map(|at| plan.verbs.remove(at)) {
            Some(Verb::Tile { sizes, .. }) => sizes,
            _ => Vec::new(),
        };
        let size = *rng.pick(&SIZES)?;
        match rng.below(4) {
            0 if !sizes.is_empty() => sizes.clear(),
            1 if !sizes.is_empty() && sizes.len() < 3 => sizes.push(Amount::Int(size)),
            2 if sizes.len() > 1 => {
                sizes.remove(rng.below(sizes.len()));
            }
            _ if sizes.is_empty() => sizes.push(Amount::Int(size)),
            _ => {
                let at = rng.below(sizes.len());
                sizes[at] = Amount::Int(size);
            }
        }
        // Sizes shrink from the outside in; literals can be sorted, names stay where they are.
        if sizes.iter().all(|s| matches!(s, Amount::Int(_))) {
            sizes.sort_by(|a, b| b.cmp(a));
            sizes.dedup();
        }
        if !sizes.is_empty() {
            plan.verbs.push(Verb::Tile { axis, sizes });
        }
        Some(class)
    }

    /// Every loop level that a plan makes, outer levels first.
    fn levels(&self, plan: &Plan) -> Vec<AxisRef> {
        let mut out: Vec<(u32, usize, AxisRef)> = Vec::new();
        for (n, axis) in self.anchors.axes.iter().enumerate() {
            if !(axis.tiled || axis.whole || axis.reduced) {
                continue;
            }
            let tiles = plan.verbs.iter().find_map(|v| match v {
                Verb::Tile { axis: a, sizes } if *a == axis.name => Some(sizes.len()),
                _ => None,
            });
            let levels = tiles.unwrap_or_else(|| usize::from(axis.tile.is_some()));
            if levels == 0 {
                out.push((0, n, AxisRef { name: axis.name.clone(), level: None }));
            } else {
                for level in 0..=u32::try_from(levels).unwrap_or(0) {
                    out.push((level, n, AxisRef { name: axis.name.clone(), level: Some(level) }));
                }
            }
        }
        out.sort_by_key(|(level, n, _)| (*level, *n));
        out.into_iter().map(|(_, _, r)| r).collect()
    }

    /// Drops levels that a change of tiles removed from the order.
    pub(super) fn trim_order(&self, plan: &mut Plan) {
        let levels = self.levels(plan);
        for verb in &mut plan.verbs {
            if let Verb::Order(order) = verb {
                order.retain(|r| levels.contains(r));
            }
        }
    }

    /// Moves one loop of the order, or writes one down, or removes it.
    pub(super) fn order(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let at = plan.verbs.iter().position(|v| matches!(v, Verb::Order(_)));
        let mut order = match at.map(|at| plan.verbs.remove(at)) {
            Some(Verb::Order(order)) => order,
            _ => Vec::new(),
        };
        if !order.is_empty() && rng.chance(0.1) {
            return Some(Class::X);
        }
        let levels = self.levels(plan);
        if levels.len() < 2 {
            return None;
        }
        let fresh = order.is_empty();
        order.retain(|r| levels.contains(r));
        for level in &levels {
            if !order.contains(level) {
                order.push(level.clone());
            }
        }
        if fresh || rng.chance(0.4) {
            let moved = order.remove(rng.below(order.len()));
            order.insert(rng.below(order.len() + 1), moved);
        } else {
            let at = rng.below(order.len() - 1);
            order.swap(at, at + 1);
        }
        // Levels of one axis stay in their order: their places are kept, their numbers sorted into them.
        for axis in &self.anchors.axes {
            let places: Vec<usize> = (0..order.len()).filter(|&i| order[i].name == axis.name).collect();
            let mut own: Vec<Option<u32>> = places.iter().map(|&i| order[i].level).collect();
            own.sort_unstable();
            for (place, level) in places.into_iter().zip(own) {
                order[place].level = level;
            }
        }
        let reduced = order.iter().any(|r| self.cut(&r.name) == Class::R && r.level.is_some());
        plan.verbs.push(Verb::Order(order));
        let class = if reduced { Class::R } else { Class::X };
        self.allowed.permits(class).then_some(class)
    }

    /// Adds or removes a parallel axis.
    pub(super) fn parallel(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let choices = self.anchors.axes_where(|a| a.unordered() && !a.ragged);
        let axis = (*rng.pick(&choices)?).to_owned();
        let at = plan.verbs.iter().position(|v| matches!(v, Verb::Parallel { .. }));
        let (mut axes, balance) = match at.map(|at| plan.verbs.remove(at)) {
            Some(Verb::Parallel { axes, balance }) => (axes, balance),
            _ => (Vec::new(), None),
        };
        match axes.iter().position(|a| *a == axis) {
            Some(at) => {
                axes.remove(at);
            }
            None if axes.is_empty() || rng.chance(0.5) => axes.push(axis),
            None => axes = vec![axis],
        }
        if !axes.is_empty() {
            plan.verbs.push(Verb::Parallel { axes, balance });
        }
        Some(Class::X)
    }

    /// How many lanes are worth a try.
    pub(super) fn lane_counts(&self) -> &'static [i64] {
        if self.gpu() { &THREADS } else { &LANES }
    }

    fn lane_axis(&self, rng: &mut Rng) -> Option<String> {
        let inner = self.anchors.axes_where(|a| a.inner && a.unordered());
        let any = self.anchors.axes_where(|a| a.unordered() || a.reduced);
        let list = if !inner.is_empty() && rng.chance(0.7) { inner } else { any };
        rng.pick(&list).map(|a| (*a).to_owned())
    }

    /// Sets the width along an axis, moves the lanes to another, or drops them.
    pub(super) fn vector(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = self.lane_axis(rng)?;
        let class = self.cut(&axis);
        let lanes = Amount::Int(*rng.pick(self.lane_counts())?);
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Vector { axis: a, .. } if *a == axis));
        match rng.below(4) {
            0 if had => plan.verbs.retain(|v| !matches!(v, Verb::Vector { axis: a, .. } if *a == axis)),
            1 => {
                plan.verbs.retain(|v| !matches!(v, Verb::Vector { .. }));
                plan.verbs.push(Verb::Vector { axis, lanes });
            }
            _ => plan.verbs.push(Verb::Vector { axis, lanes }),
        }
        self.allowed.permits(class).then_some(class)
    }

    /// Sets or drops the register block along an axis.
    pub(super) fn unroll(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = (*rng.pick(&self.anchors.axes_where(|a| a.tiled || a.whole || a.reduced))?).to_owned();
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Unroll { axis: a, .. } if *a == axis));
        if had && rng.chance(0.25) {
            plan.verbs.retain(|v| !matches!(v, Verb::Unroll { axis: a, .. } if *a == axis));
        } else {
            let count = Some(Amount::Int(*rng.pick(&BLOCKS)?));
            plan.verbs.push(Verb::Unroll { axis, count });
        }
        Some(Class::X)
    }

    /// Moves lanes and the register block of another axis at once: one alone soon leaves the registers.
    pub(super) fn block(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let vectors: Vec<(String, i64)> = plan
            .verbs
            .iter()
            .filter_map(|v| match v {
                Verb::Vector { axis, lanes: Amount::Int(n) } => Some((axis.clone(), *n)),
                _ => None,
            })
            .collect();
        let (lane_axis, old) = rng.pick(&vectors)?.clone();
        let blocked = plan.verbs.iter().find_map(|v| match v {
            Verb::Unroll { axis, .. } if *axis != lane_axis => Some(axis.clone()),
            _ => None,
        });
        let others = self.anchors.axes_where(|a| a.unordered() && a.name != lane_axis && !a.ragged);
        let axis = match blocked {
            Some(axis) if rng.chance(0.8) => axis,
            _ => (*rng.pick(&others)?).to_owned(),
        };
        let lanes = if rng.chance(0.4) { old } else { *rng.pick(self.lane_counts())? };
        // The lanes of a GPU have registers of their own.
        let beside = if self.gpu() { 16 } else { lanes };
        let fits: Vec<i64> = BLOCKS.into_iter().filter(|n| n * beside <= MOST_POINTS).collect();
        let points = *rng.pick(&fits)?;
        let class = self.cut(&lane_axis);
        plan.verbs.retain(|v| !matches!(v, Verb::Vector { axis: a, .. } if *a == lane_axis));
        plan.verbs.retain(|v| !matches!(v, Verb::Unroll { axis: a, .. } if *a == axis));
        plan.verbs.push(Verb::Vector { axis: lane_axis, lanes: Amount::Int(lanes) });
        if points > 1 {
            plan.verbs.push(Verb::Unroll { axis, count: Some(Amount::Int(points)) });
        }
        for verb in &mut plan.verbs {
            if let Verb::Stage { panel: Some(Amount::Int(panel)), .. } = verb
                && *panel % lanes != 0
            {
                *panel = lanes;
            }
        }
        Mutator::fit_tiles(plan);
        self.allowed.permits(class).then_some(class)
    }

    /// Rounds tiles to whole blocks, so that only the last tile of an axis has a ragged end.
    pub(super) fn fit_tiles(plan: &mut Plan) {
        let mut blocks: BTreeMap<String, i64> = BTreeMap::new();
        for verb in &plan.verbs {
            if let Verb::Vector { axis, lanes: Amount::Int(n) }
            | Verb::Unroll { axis, count: Some(Amount::Int(n)) } = verb
            {
                let block = blocks.entry(axis.clone()).or_insert(1);
                *block = block.saturating_mul((*n).max(1));
            }
        }
        for verb in &mut plan.verbs {
            let Verb::Tile { axis, sizes } = verb else { continue };
            let Some(&block) = blocks.get(axis) else { continue };
            for size in sizes.iter_mut() {
                if let Amount::Int(n) = size
                    && *n > 1
                {
                    *n = ((*n + block / 2) / block).max(1) * block;
                }
            }
            sizes.dedup();
        }
    }

    /// Sets or drops how ragged ends run.
    pub(super) fn tail(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let blocked: Vec<String> = self
            .anchors
            .axes_where(|a| a.tiled || a.whole)
            .into_iter()
            .filter(|a| rng.chance(0.7) || self.anchors.axis(a).is_some_and(|a| a.inner))
            .map(str::to_owned)
            .collect();
        plan.verbs.retain(|v| !matches!(v, Verb::Tail { .. }));
        let styles = [TailStyle::Predicate, TailStyle::Peel, TailStyle::Pad, TailStyle::Shift];
        if !blocked.is_empty() && rng.chance(0.85) {
            plan.verbs.push(Verb::Tail { axes: blocked, style: *rng.pick(&styles)? });
        }
        Some(Class::X)
    }

    /// Sets or drops the rolling of a whole axis.
    pub(super) fn roll(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = (*rng.pick(&self.anchors.axes_where(|a| a.whole))?).to_owned();
        let class = self.cut(&axis);
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Roll { axis: a, .. } if *a == axis));
        if had && rng.chance(0.3) {
            plan.verbs.retain(|v| !matches!(v, Verb::Roll { axis: a, .. } if *a == axis));
        } else {
            plan.verbs.push(Verb::Roll { axis, tile: Amount::Int(*rng.pick(&SIZES)?), passes: None });
        }
        self.allowed.permits(class).then_some(class)
    }

    /// Lanes along an axis that is contiguous in memory, a register block along another, cores along an outer one:
    /// steps that pay off only together.
    pub(super) fn template(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let lane_axis = self.lane_axis(rng)?;
        let class = self.cut(&lane_axis);
        if !self.allowed.permits(class) {
            return None;
        }
        plan.verbs.retain(|v| !matches!(v, Verb::Vector { .. } | Verb::Unroll { .. }));
        plan.verbs.push(Verb::Vector {
            axis: lane_axis.clone(),
            lanes: Amount::Int(*rng.pick(self.lane_counts())?),
        });
        let others = self.anchors.axes_where(|a| a.unordered() && a.name != lane_axis && !a.ragged);
        if let Some(axis) = rng.pick(&others) {
            if rng.chance(0.8) {
                let count = Some(Amount::Int(*rng.pick(&BLOCKS)?));
                plan.verbs.push(Verb::Unroll { axis: (*axis).to_owned(), count });
            }
            if rng.chance(0.5) {
                let outer = rng.pick(&others).map_or_else(|| (*axis).to_owned(), |a| (*a).to_owned());
                plan.verbs.retain(|v| !matches!(v, Verb::Parallel { .. }));
                plan.verbs.push(Verb::Parallel { axes: vec![outer], balance: None });
            }
        }
        Some(class)
    }
}

//! Moves of values: tunables, free tile sizes, and amounts written in verbs.

use rooftile_compiler::schedule::plan::{Amount, Plan, Verb};

use super::Mutator;
use super::anchors::AxisAnchor;
use super::irregular::{PARTS, SHARES};
use super::loops::BLOCKS;
use super::time::STEPS;
use crate::candidate::{Class, Recipe, amounts_mut};
use crate::rng::Rng;

/// Sizes tried for tiles that no `tune` declares.
pub(super) const SIZES: [i64; 22] =
    [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192];

/// Panels of copies.
pub(super) const PANELS: [i64; 5] = [4, 8, 16, 32, 64];

/// Passes that something is fetched ahead.
pub(super) const AHEAD: [i64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];

/// A step up or down a ladder, mostly to the next rung.
fn step(ladder: &[i64], value: i64, rng: &mut Rng) -> i64 {
    let above = ladder.iter().position(|x| *x >= value).unwrap_or(ladder.len() - 1);
    let far = match rng.below(10) {
        0..7 => 1,
        7 | 8 => 2,
        _ => 3,
    };
    // Between two rungs the way up begins at the upper one.
    let up = if ladder[above] > value { above + far - 1 } else { above + far };
    let down = above.checked_sub(far);
    let at = match (rng.chance(0.5), down) {
        (true, _) | (_, None) if up < ladder.len() => up,
        (_, Some(down)) => down,
        _ => ladder.len() - 1,
    };
    ladder[at]
}

impl Mutator {
    /// The values among which the amounts of a verb are moved.
    fn ladder(&self, verb: &Verb) -> &'static [i64] {
        match verb {
            Verb::Vector { .. } => self.lane_counts(),
            Verb::Unroll { .. } => &BLOCKS,
            Verb::Split { .. } => &PARTS,
            Verb::Scan { .. } | Verb::Scatter { .. } => &SHARES,
            Verb::Stage { .. } | Verb::Prepack { .. } => &PANELS,
            Verb::TimeTile { .. } => &STEPS,
            Verb::Prefetch { .. } => &AHEAD,
            _ => &SIZES,
        }
    }

    /// Tunables that can matter: named by the plan, or by a loop of the algorithm.
    fn relevant(&self, recipe: &Recipe) -> Vec<String> {
        let mut names: Vec<String> = recipe.plan_names().iter().map(|n| (*n).to_owned()).collect();
        let cut: Vec<&str> = recipe
            .plan
            .verbs
            .iter()
            .filter_map(|v| if let Verb::Tile { axis, .. } = v { Some(axis.as_str()) } else { None })
            .collect();
        for axis in self.anchors.axes.iter().filter(|a| !cut.contains(&a.name.as_str())) {
            names.extend(axis.tile.clone());
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A tunable that cuts a reduced axis changes the order of summation.
    pub(super) fn class_of(&self, name: &str) -> Class {
        let reduced = self.anchors.tile_names().get(name).copied().unwrap_or(false);
        let named = |a: &&AxisAnchor| a.tile.as_deref() == Some(name);
        let scanned = self.anchors.axes.iter().filter(named).any(|a| self.scans_by_threads(a));
        if reduced || scanned { Class::R } else { Class::X }
    }

    /// Whether threads along an axis combine what a scan adds up.
    fn scans_by_threads(&self, axis: &AxisAnchor) -> bool {
        axis.scanned && self.gpu() && self.allowed.reassoc
    }

    fn values_of(&self, name: &str) -> Vec<i64> {
        let declared = self.space.values(name);
        if declared.is_empty() { SIZES.to_vec() } else { declared }
    }

    fn pick_name(&self, recipe: &Recipe, rng: &mut Rng) -> Option<String> {
        let mut names = self.relevant(recipe);
        names.retain(|n| self.allowed.permits(self.class_of(n)) && self.values_of(n).len() > 1);
        rng.pick(&names).cloned()
    }

    pub(super) fn tune_step(&self, child: &mut Recipe, rng: &mut Rng) -> Option<Class> {
        let name = self.pick_name(child, rng)?;
        let values = self.values_of(&name);
        let at = match child.assignment.get(&name) {
            Some(v) => values.iter().position(|x| x >= v).unwrap_or(values.len() - 1),
            None => rng.below(values.len()),
        };
        let next = if rng.chance(0.5) { at.checked_sub(1).unwrap_or(1) } else { at + 1 };
        let next = if next >= values.len() { at.checked_sub(1)? } else { next };
        child.assignment.insert(name.clone(), values[next]);
        Some(self.class_of(&name))
    }

    pub(super) fn tune_any(&self, child: &mut Recipe, rng: &mut Rng) -> Option<Class> {
        let name = self.pick_name(child, rng)?;
        let value = *rng.pick(&self.values_of(&name))?;
        child.assignment.insert(name.clone(), value);
        Some(self.class_of(&name))
    }

    pub(super) fn tune_sample(&self, child: &mut Recipe, rng: &mut Rng) -> Option<Class> {
        let names = self.relevant(child);
        let drawn = self.space.sample(rng)?;
        for (name, value) in drawn {
            if self.allowed.permits(self.class_of(&name)) {
                child.assignment.insert(name, value);
            }
        }
        names.iter().map(|n| self.class_of(n)).filter(|c| self.allowed.permits(*c)).max()
    }

    /// One literal of the plan a step up or down; tiles and panels follow lanes and register blocks.
    pub(super) fn amount(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (v, verb) in plan.verbs.iter_mut().enumerate() {
            for (a, amount) in amounts_mut(verb).into_iter().enumerate() {
                if matches!(amount, Amount::Int(_)) {
                    places.push((v, a));
                }
            }
        }
        let &(v, a) = rng.pick(&places)?;
        let verb = &mut plan.verbs[v];
        let class = match &*verb {
            Verb::Split { .. } | Verb::Scan { .. } | Verb::Scatter { .. } => Class::R,
            Verb::Tile { axis, .. } | Verb::Roll { axis, .. } | Verb::Vector { axis, .. } => self.cut(axis),
            _ => Class::X,
        };
        let ladder = self.ladder(verb);
        let blocks = matches!(verb, Verb::Vector { .. } | Verb::Unroll { .. });
        let mut amounts = amounts_mut(verb);
        let Amount::Int(value) = &mut *amounts[a] else { return None };
        *value = step(ladder, *value, rng);
        if let Verb::Tile { sizes, .. } = verb {
            sizes.sort_by(|a, b| b.cmp(a));
            sizes.dedup();
        }
        if blocks {
            Mutator::fit_tiles(plan);
        }
        Some(class)
    }

    /// The class of cutting an axis.
    pub(super) fn cut(&self, axis: &str) -> Class {
        // Without leave to reassociate, lowering keeps the order of what is reduced, or refuses.
        let regroups =
            |a: &AxisAnchor| a.ordered || a.reduced && self.allowed.reassoc || self.scans_by_threads(a);
        if self.anchors.axis(axis).is_some_and(regroups) { Class::R } else { Class::X }
    }
}

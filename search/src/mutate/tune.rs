//! Moves of values: tunables, free tile sizes, and amounts written in verbs.

use rooftile_compiler::schedule::plan::{Amount, Plan, Verb};

use super::Mutator;
use crate::candidate::{Class, Recipe, amounts_mut};
use crate::rng::Rng;

/// Sizes tried for tiles that no `tune` declares.
pub(super) const SIZES: [i64; 20] =
    [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096];

impl Mutator {
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
    fn class_of(&self, name: &str) -> Class {
        if self.anchors.tile_names().get(name).copied().unwrap_or(false) { Class::R } else { Class::X }
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

    /// One literal of the plan doubled, halved, or moved by one step of the usual values.
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
        let lanes = matches!(verb, Verb::Vector { .. });
        let class = match &*verb {
            Verb::Split { .. } | Verb::Scan { .. } | Verb::Scatter { .. } => Class::R,
            Verb::Tile { axis, .. } | Verb::Roll { axis, .. } | Verb::Vector { axis, .. } => self.cut(axis),
            _ => Class::X,
        };
        let mut amounts = amounts_mut(verb);
        let Amount::Int(value) = &mut *amounts[a] else { return None };
        *value = match (lanes, rng.below(4)) {
            (true, 0 | 1) | (false, 0) => (*value * 2).min(4096),
            (true, _) | (false, 1) => (*value / 2).max(1),
            (_, 2) => *value + 1,
            _ => (*value - 1).max(1),
        };
        Some(class)
    }

    /// The class of cutting an axis.
    pub(super) fn cut(&self, axis: &str) -> Class {
        if self.anchors.axis(axis).is_some_and(|a| a.reduced) { Class::R } else { Class::X }
    }
}

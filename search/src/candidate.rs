//! What the search varies: a recipe (algorithm text, plan, tunable values), and where it came from.

use std::fmt;

use rooftile_compiler::schedule::plan::{Amount, Assignment, Plan, Verb};
use serde::{Deserialize, Serialize};

/// Number of a candidate within its run, in order of proposal.
pub type CandidateId = u64;

/// From which schedule a recipe starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The recipe's plan.
    #[default]
    Planned,
    /// The compiler's choice; the plan is empty.
    Default,
    /// The fixed plain loops; the plan is empty.
    Naive,
}

/// A way to compute the task: everything that a worker needs to make code, besides the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipe {
    /// Which algorithm text: 0 is the file's own.
    pub algorithm: u32,
    /// From which schedule it starts.
    #[serde(default)]
    pub base: Base,
    /// The schedule.
    pub plan: Plan,
    /// Values of tunables.
    pub assignment: Assignment,
}

impl Recipe {
    /// A hash that two recipes share only if they are written the same. Tunables that neither the plan nor the
    /// algorithm's loops name still count: which of them matter is for lowering to say.
    #[must_use]
    pub fn key(&self) -> String {
        let mut hash = blake3::Hasher::new();
        // Serialising plain data to memory cannot fail; a failure would show as equal keys in the tests.
        hash.update(&serde_json::to_vec(self).unwrap_or_default());
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// How much there is to read: verbs, and the amounts in them. Ties go to the smaller.
    #[must_use]
    pub fn complexity(&self) -> usize {
        self.plan.verbs.iter().map(|v| 2 + amounts(v).len()).sum()
    }

    /// Names of the tunables that the plan mentions.
    #[must_use]
    pub fn plan_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .plan
            .verbs
            .iter()
            .flat_map(amounts)
            .filter_map(|a| match a {
                Amount::Name(name) => Some(name.as_str()),
                Amount::Int(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The amounts in a verb, in order of writing.
#[must_use]
pub fn amounts(verb: &Verb) -> Vec<&Amount> {
    match verb {
        Verb::Tile { sizes, .. } => sizes.iter().collect(),
        Verb::Vector { lanes: amount, .. }
        | Verb::Split { parts: amount, .. }
        | Verb::Math { ulp: amount, .. }
        | Verb::TimeTile { steps: amount, .. }
        | Verb::Prefetch { passes: amount, .. }
        | Verb::Warps(amount) => vec![amount],
        Verb::Unroll { count: amount, .. }
        | Verb::Thread { count: amount, .. }
        | Verb::Grid { group: amount, .. }
        | Verb::Stage { panel: amount, .. }
        | Verb::Prepack { panel: amount, .. }
        | Verb::Scan { items: amount, .. }
        | Verb::Scatter { copies: amount, .. } => amount.iter().collect(),
        Verb::Roll { tile, passes, .. } => std::iter::once(tile).chain(passes).collect(),
        _ => Vec::new(),
    }
}

/// The amounts in a verb, to be changed.
#[must_use]
pub fn amounts_mut(verb: &mut Verb) -> Vec<&mut Amount> {
    match verb {
        Verb::Tile { sizes, .. } => sizes.iter_mut().collect(),
        Verb::Vector { lanes: amount, .. }
        | Verb::Split { parts: amount, .. }
        | Verb::Math { ulp: amount, .. }
        | Verb::TimeTile { steps: amount, .. }
        | Verb::Prefetch { passes: amount, .. }
        | Verb::Warps(amount) => vec![amount],
        Verb::Unroll { count: amount, .. }
        | Verb::Thread { count: amount, .. }
        | Verb::Grid { group: amount, .. }
        | Verb::Stage { panel: amount, .. }
        | Verb::Prepack { panel: amount, .. }
        | Verb::Scan { items: amount, .. }
        | Verb::Scatter { copies: amount, .. } => amount.iter_mut().collect(),
        Verb::Roll { tile, passes, .. } => std::iter::once(tile).chain(passes).collect(),
        _ => Vec::new(),
    }
}

/// What a move may do to the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// The same bits are expected.
    X,
    /// Only the association of floating-point operations differs.
    R,
    /// As `R`, and not repeatable.
    N,
    /// The meaning may change.
    V,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::X => "X",
            Class::R => "R",
            Class::N => "N",
            Class::V => "V",
        })
    }
}

/// What a task allows beyond the written order and precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Moves of class `R`.
    pub reassoc: bool,
    /// Online rescaling.
    pub online: bool,
    /// Moves of class `N`.
    pub atomics: bool,
}

impl Allowed {
    /// Whether a move of that class may be proposed.
    #[must_use]
    pub fn permits(self, class: Class) -> bool {
        match class {
            Class::X => true,
            Class::R => self.reassoc,
            Class::N => self.reassoc && self.atomics,
            Class::V => false,
        }
    }
}

/// A recipe with its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The recipe.
    pub recipe: Recipe,
    /// What it was made from; empty for seeds and fresh samples.
    pub parents: Vec<CandidateId>,
    /// The operator that made it.
    pub operator: String,
    /// The worst class among the moves since its parents.
    pub class: Class,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_recipes_apart() {
        let a = Recipe {
            plan: Plan { verbs: vec![Verb::Vector { axis: "j".into(), lanes: Amount::Int(8) }] },
            ..Recipe::default()
        };
        let mut b = a.clone();
        assert_eq!(a.key(), b.key());
        b.assignment.insert("bm".into(), 4);
        assert_ne!(a.key(), b.key());
        assert_ne!(a.key(), Recipe::default().key());
        assert!(a.complexity() > Recipe::default().complexity());
    }
}

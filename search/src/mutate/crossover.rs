//! Crossover of recipes with the same anchors.

use rooftile_compiler::schedule::plan::{Plan, Verb};

use super::normal::subject;
use crate::candidate::{Base, Recipe};
use crate::rng::Rng;

/// Verbs about loops belong together (an order names levels that tiles make), so they all come from one parent; of
/// the other subjects, and of the tunables, each comes from either.
pub(super) fn cross(a: &Recipe, b: &Recipe, rng: &mut Rng) -> Recipe {
    let loops = if rng.chance(0.5) { a } else { b };
    let mut verbs: Vec<Verb> = loops.plan.verbs.iter().filter(|v| shapes_loops(v)).cloned().collect();
    for (from, other) in [(a, b), (b, a)] {
        for verb in from.plan.verbs.iter().filter(|v| !shapes_loops(v)) {
            let shared = other.plan.verbs.iter().any(|v| subject(v) == subject(verb));
            let taken = verbs.iter().any(|v| subject(v) == subject(verb));
            // A subject of both parents is taken exactly once, one of a single parent every other time.
            let take =
                if shared { !taken && (std::ptr::eq(from, b) || rng.chance(0.5)) } else { rng.chance(0.5) };
            if take {
                verbs.push(verb.clone());
            }
        }
    }
    let mut assignment = a.assignment.clone();
    for (name, value) in &b.assignment {
        if !assignment.contains_key(name) || rng.chance(0.5) {
            assignment.insert(name.clone(), *value);
        }
    }
    Recipe { algorithm: a.algorithm, base: Base::Planned, plan: Plan { verbs }, assignment }
}

fn shapes_loops(verb: &Verb) -> bool {
    matches!(verb, Verb::Tile { .. } | Verb::Order(_) | Verb::Roll { .. } | Verb::Stage { .. })
}

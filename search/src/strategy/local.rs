//! Local searches: one parent, and steps away from it.

use super::{Context, Strategy, best, mutate};
use crate::candidate::{CandidateId, Class, Proposal, Recipe, amounts_mut};
use crate::rng::Rng;
use rooftile_compiler::schedule::plan::Amount;

/// (1+1): a child of the best takes its place if it is better.
#[derive(Debug)]
pub(super) struct OnePlusOne;

impl Strategy for OnePlusOne {
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal> {
        let (parent, recipe) = best(cx)?;
        let mut moves = 1;
        while moves < 6 && rng.chance(0.4) {
            moves += 1;
        }
        let operators = cx.mutator.operators();
        let (recipe, class, operator) =
            mutate(cx.mutator, recipe, moves, rng, |rng| rng.pick(operators).copied())?;
        Some(Proposal { recipe, parents: vec![parent], operator, class })
    }

    fn learn(&mut self, _cx: Context<'_>) {}
}

/// Pattern search: every neighbour of the current point in turn (tunables by one step, written amounts doubled and
/// halved); moves to the first that is better, and restarts from a random point when none is.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    current: Option<(CandidateId, f64)>,
    queue: Vec<Recipe>,
    restarts: u32,
}

fn neighbours(cx: Context<'_>, recipe: &Recipe) -> Vec<Recipe> {
    let mut out = Vec::new();
    for assignment in cx.mutator.space().neighbours(&recipe.assignment) {
        out.push(Recipe { assignment, ..recipe.clone() });
    }
    for v in 0..recipe.plan.verbs.len() {
        let count = crate::candidate::amounts(&recipe.plan.verbs[v]).len();
        for a in 0..count {
            for double in [true, false] {
                let mut other = recipe.clone();
                if let Amount::Int(n) = &mut *amounts_mut(&mut other.plan.verbs[v])[a] {
                    *n = if double { *n * 2 } else { (*n / 2).max(1) };
                }
                if other != *recipe {
                    out.push(other);
                }
            }
        }
    }
    out
}

impl Strategy for Pattern {
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal> {
        if self.current.is_none() {
            let (id, recipe) = best(cx)?;
            self.current = Some((id, cx.state.record(id).and_then(|r| r.score).unwrap_or(0.0)));
            self.queue = neighbours(cx, recipe);
        }
        while let Some(recipe) = self.queue.pop() {
            if !cx.state.seen(&recipe) {
                let parents = self.current.iter().map(|c| c.0).collect();
                return Some(Proposal { recipe, parents, operator: "step".to_owned(), class: Class::R });
            }
        }
        // No neighbour is better: start again from the best with several random moves.
        self.restarts += 1;
        let (parent, recipe) = best(cx)?;
        let operators = cx.mutator.operators();
        let moves = 2 + rng.below(6);
        let (recipe, class, _) = mutate(cx.mutator, recipe, moves, rng, |rng| rng.pick(operators).copied())?;
        self.current = Some((parent, 0.0));
        Some(Proposal { recipe, parents: vec![parent], operator: "restart".to_owned(), class })
    }

    fn learn(&mut self, cx: Context<'_>) {
        let Some(record) = cx.state.records.last() else { return };
        if let (Some(score), Some((_, old))) = (record.score, self.current)
            && score > old
        {
            self.current = Some((record.id, score));
            self.queue = neighbours(cx, &record.proposal.recipe);
        }
    }
}

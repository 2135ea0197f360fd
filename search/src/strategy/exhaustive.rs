//! Every point of a small space: all assignments of the tunables, for the plan of each seed.

use std::collections::VecDeque;

use super::{BATCH, Context, Strategy};
use crate::candidate::{Class, Proposal, Recipe};
use crate::rng::Rng;

/// Spaces larger than this are cut to so many random points.
const LIMIT: usize = 100_000;

/// Points that are left to try.
#[derive(Debug, Default)]
pub(super) struct Exhaustive {
    queue: Option<VecDeque<(u64, Recipe)>>,
}

impl Strategy for Exhaustive {
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal> {
        let queue = self.queue.get_or_insert_with(|| {
            let points = cx
                .mutator
                .space()
                .enumerate(LIMIT)
                .unwrap_or_else(|| (0..LIMIT).filter_map(|_| cx.mutator.space().sample(rng)).collect());
            // The last seed is the one that the file wrote, or the compiler's default.
            let seeds =
                cx.state.records.iter().take_while(|r| r.proposal.parents.is_empty()).collect::<Vec<_>>();
            let mut queue = VecDeque::new();
            for seed in seeds.into_iter().rev() {
                for assignment in &points {
                    let mut recipe = seed.proposal.recipe.clone();
                    recipe.assignment.extend(assignment.clone());
                    queue.push_back((seed.id, recipe));
                }
            }
            queue
        });
        while let Some((seed, recipe)) = queue.pop_front() {
            if !cx.state.seen(&recipe) {
                let (parents, operator) = (vec![seed], "enumerate".to_owned());
                return Some(Proposal { recipe, parents, operator, class: Class::R });
            }
        }
        None
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn learn(&mut self, _cx: Context<'_>) {}
}

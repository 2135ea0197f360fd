//! Random schedules: the baseline that every other strategy must beat.

use super::{BATCH, Context, Strategy, mutate};
use crate::candidate::Proposal;
use crate::rng::Rng;

/// Random walks of random length from a random seed; nothing is learnt.
#[derive(Debug)]
pub(super) struct Random;

impl Strategy for Random {
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal> {
        let seeds: Vec<_> = cx.state.records.iter().take_while(|r| r.proposal.parents.is_empty()).collect();
        let seed = rng.pick(&seeds)?;
        let moves = 1 + rng.below(12);
        let operators = cx.mutator.operators();
        let (recipe, class, operator) =
            mutate(cx.mutator, &seed.proposal.recipe, moves, rng, |rng| rng.pick(operators).copied())?;
        Some(Proposal { recipe, parents: vec![seed.id], operator, class })
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn learn(&mut self, _cx: Context<'_>) {}
}

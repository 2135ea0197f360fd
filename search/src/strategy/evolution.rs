//! Evolution over the archive: parents from the map of elites, a few typed moves or a crossover, and operators chosen
//! by what they gained lately.

use super::{BATCH, Context, Strategy, best, mutate};
use crate::archive::Offer;
use crate::bandit::Bandit;
use crate::candidate::{Class, Proposal};
use crate::mutate::{Mutator, Operator};
use crate::rng::Rng;

const CROSSOVER: &str = "crossover";

/// The strategy's own memory.
#[derive(Debug)]
pub(super) struct Evolution {
    operators: Vec<Operator>,
    bandit: Bandit,
}

impl Evolution {
    pub(super) fn new(mutator: &Mutator) -> Evolution {
        let operators = mutator.operators().to_vec();
        // The last arm is crossover.
        let bandit = Bandit::new(operators.iter().map(|o| Mutator::prior(*o)).chain([0.35]).collect());
        Evolution { operators, bandit }
    }

    fn parent<'a>(cx: Context<'a>, rng: &mut Rng) -> Option<(u64, &'a crate::candidate::Recipe)> {
        let ranked = cx.state.archive.ranked();
        if ranked.is_empty() {
            return best(cx);
        }
        let at = match rng.below(10) {
            // The incumbent, which has been measured best.
            0..3 => {
                if let Some(r) = cx.state.incumbent() {
                    return Some((r.id, &r.proposal.recipe));
                }
                0
            }
            // A tournament over the map.
            3..8 => (0..3).map(|_| rng.below(ranked.len())).min().unwrap_or(0),
            // Any elite.
            _ => rng.below(ranked.len()),
        };
        ranked.get(at).map(|e| (e.id, &e.recipe))
    }
}

impl Strategy for Evolution {
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal> {
        // A move may find nothing to do; that is no reason to stop.
        for _ in 0..32 {
            let (parent, recipe) = Evolution::parent(cx, rng)?;
            let first = self.bandit.choose(rng);
            if first == self.operators.len() {
                let (other, with) = Evolution::parent(cx, rng)?;
                if let Some((recipe, class)) = cx.mutator.cross(recipe, with, rng) {
                    let parents = vec![parent, other];
                    return Some(Proposal { recipe, parents, operator: CROSSOVER.to_owned(), class });
                }
                continue;
            }
            let mut moves = 1;
            while moves < 4 && rng.chance(0.35) {
                moves += 1;
            }
            let mut next = Some(first);
            let child = mutate(cx.mutator, recipe, moves, rng, |rng| {
                let arm = next.take().unwrap_or_else(|| self.bandit.choose(rng));
                self.operators.get(arm).or_else(|| self.operators.first()).copied()
            });
            if let Some((recipe, class, operator)) = child {
                return Some(Proposal { recipe, parents: vec![parent], operator, class });
            }
        }
        // Every operator found nothing: draw the tunables anew.
        let (parent, recipe) = best(cx)?;
        let (recipe, class) = cx.mutator.apply(Operator::Sample, recipe, rng)?;
        let operator = Operator::Sample.name().to_owned();
        Some(Proposal { recipe, parents: vec![parent], operator, class: class.max(Class::X) })
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn learn(&mut self, cx: Context<'_>) {
        let Some(record) = cx.state.records.last() else { return };
        let best = cx.state.best_score().unwrap_or(0.0);
        let near = record.score.is_some_and(|s| s >= 0.8 * best);
        let worth = match cx.state.last_offer {
            _ if record.promoted() => 1.0,
            Some(Offer::Better | Offer::NewCell) if near => 0.6,
            Some(Offer::Better | Offer::NewCell) => 0.3,
            _ if near => 0.1,
            _ => 0.0,
        };
        for name in record.proposal.operator.split('+') {
            let arm = if name == CROSSOVER {
                Some(self.operators.len())
            } else {
                self.operators.iter().position(|o| o.name() == name)
            };
            if let Some(arm) = arm {
                self.bandit.reward(arm, worth);
            }
        }
    }
}

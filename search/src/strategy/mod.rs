//! Strategies: what to try next. All see the same state, use the same moves, and pay the same evaluation.

mod evolution;
mod exhaustive;
mod local;
mod random;

use std::fmt;
use std::str::FromStr;

use crate::candidate::{Class, Proposal, Recipe};
use crate::mutate::{Mutator, Operator};
use crate::rng::Rng;
use crate::state::State;

/// Candidates that strategies choose at once where what one shows matters little to the next: a fixed number, so that a
/// run does not depend on how many evaluators share them.
const BATCH: usize = 8;

/// What a strategy sees.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Moves.
    pub mutator: &'a Mutator,
    /// Everything tried so far; the first records are the seeds.
    pub state: &'a State,
}

/// A way to choose candidates. It must depend on nothing but what it is given: a resumed run asks and tells it the
/// same things again.
pub trait Strategy {
    /// The next candidate. `None` when the strategy has nothing left to propose.
    fn propose(&mut self, cx: Context<'_>, rng: &mut Rng) -> Option<Proposal>;

    /// How many candidates are chosen before the first of them is evaluated.
    fn batch(&self) -> usize {
        1
    }

    /// Tells how the last candidate went; it is the last record of the state.
    fn learn(&mut self, cx: Context<'_>);
}

/// The strategies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StrategyKind {
    /// Archive, typed mutation and crossover, adaptive choice of operators.
    Evolution,
    /// Independent random schedules.
    Random,
    /// One parent, one child.
    OnePlusOne,
    /// Coordinate steps from the best, restarts when none helps.
    Pattern,
    /// Every assignment of the tunables.
    Exhaustive,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: [StrategyKind; 5] = [
        StrategyKind::Evolution,
        StrategyKind::Random,
        StrategyKind::OnePlusOne,
        StrategyKind::Pattern,
        StrategyKind::Exhaustive,
    ];

    /// A fresh strategy of the kind.
    #[must_use]
    pub fn start(self, mutator: &Mutator) -> Box<dyn Strategy> {
        match self {
            StrategyKind::Evolution => Box::new(evolution::Evolution::new(mutator)),
            StrategyKind::Random => Box::new(random::Random),
            StrategyKind::OnePlusOne => Box::new(local::OnePlusOne),
            StrategyKind::Pattern => Box::new(local::Pattern::default()),
            StrategyKind::Exhaustive => Box::new(exhaustive::Exhaustive::default()),
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StrategyKind::Evolution => "evolution",
            StrategyKind::Random => "random",
            StrategyKind::OnePlusOne => "one-plus-one",
            StrategyKind::Pattern => "pattern",
            StrategyKind::Exhaustive => "exhaustive",
        })
    }
}

/// No strategy has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a strategy; there are evolution, random, one-plus-one, pattern and exhaustive")]
pub struct UnknownStrategy(pub String);

impl FromStr for StrategyKind {
    type Err = UnknownStrategy;

    fn from_str(s: &str) -> Result<StrategyKind, UnknownStrategy> {
        StrategyKind::ALL
            .into_iter()
            .find(|k| k.to_string() == s)
            .ok_or_else(|| UnknownStrategy(s.to_owned()))
    }
}

/// Applies moves one after the other until `moves` have taken hold; tries again where they undid each other or found
/// nothing to do.
fn mutate(
    mutator: &Mutator,
    parent: &Recipe,
    moves: usize,
    rng: &mut Rng,
    mut choose: impl FnMut(&mut Rng) -> Option<Operator>,
) -> Option<(Recipe, Class, String)> {
    for _ in 0..16 {
        let (mut recipe, mut class, mut names) = (parent.clone(), Class::X, Vec::new());
        for _ in 0..moves * 8 {
            let operator = choose(rng)?;
            if let Some((child, c)) = mutator.apply(operator, &recipe, rng) {
                recipe = child;
                class = class.max(c);
                names.push(operator.name());
                if names.len() == moves {
                    break;
                }
            }
        }
        if !names.is_empty() && recipe != *parent {
            return Some((recipe, class, names.join("+")));
        }
    }
    None
}

/// The best right candidate so far, else the first seed.
fn best<'a>(cx: Context<'a>) -> Option<(u64, &'a Recipe)> {
    let ranked = cx.state.archive.ranked();
    ranked
        .first()
        .map(|e| (e.id, &e.recipe))
        .or_else(|| cx.state.records.first().map(|r| (r.id, &r.proposal.recipe)))
}

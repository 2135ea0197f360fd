//! Selection: who is tried on the held-out sizes, who may not win, and who does.

use serde::{Deserialize, Serialize};

use super::ONCE_S;
use super::by_size::{Spell, Variant};
use crate::bench::{Bench, Effort, Failure, Reason, SizeInfo, Sizes, size_text};
use crate::candidate::{Base, CandidateId, Recipe};
use crate::fitness;
use crate::promote::{median, median_limits};
use crate::state::State;

/// Elites that are tried on held-out sizes, besides seed, default and incumbent.
const FINALISTS: usize = 6;
/// Pairs of two finalists at each held-out size.
const ROUNDS: usize = 8;
/// Pairs at each held-out size that have to show that a winner is ahead of the default.
pub(super) const PROOF: usize = 24;
/// Seconds that this proof may take.
pub(super) const PROOF_S: f64 = 20.0;
/// The fewest pairs that can prove anything.
const LEAST: usize = 6;
/// Seconds that all pairs of a selection may take; when they are spent, medians are compared instead.
const SELECTION_S: f64 = 60.0;
/// By how much (in log time) one median must exceed another to count as slower without pairs.
const ROUGH: f64 = 0.05;
/// Finalists this close (in log fitness) to the best are paired with it.
const CLOSE: f64 = 0.05;

/// How a finalist did on the held-out sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// The candidate.
    pub id: CandidateId,
    /// Median seconds at each held-out size.
    pub times: Vec<f64>,
    /// Geometric mean of its fractions of the roof.
    pub fitness: Option<f64>,
    /// Why it cannot win: it failed somewhere, or lost to the seed or the default.
    pub veto: Option<String>,
}

/// Those that a winner may not lose to, and what else the file says. All of them are always finalists.
#[derive(Clone, Copy, Debug)]
pub struct Rivals<'a> {
    /// What the search started from.
    pub seed: CandidateId,
    /// The compiler's choice, if it was right.
    pub default: Option<CandidateId>,
    /// The file's schedules for other sizes.
    pub others: &'a [CandidateId],
}

/// What a selection says.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The winner.
    pub winner: Option<CandidateId>,
    /// Who is better where.
    pub variants: Vec<Variant>,
    /// Who was tried.
    pub finalists: Vec<Finalist>,
}

/// The sizes that candidates are tried at.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// Those that drove the search.
    pub search: &'a [Sizes],
    /// Those that select the winner.
    pub heldout: &'a [(Sizes, SizeInfo)],
}

/// Chooses the winner: the best among finalists that are right at every held-out size and lose to neither the default
/// nor the seed at any of them. Those two are always among them, so there is a winner if the seed is right. With it
/// goes whoever is better than it on one side of a size.
#[must_use]
pub fn select(
    bench: &mut dyn Bench,
    state: &State,
    rivals: Rivals<'_>,
    grounds: Grounds<'_>,
    noise: f64,
    spell: Spell<'_>,
) -> Selected {
    let heldout = grounds.heldout;
    let mut ids: Vec<CandidateId> = vec![rivals.seed];
    ids.extend(rivals.default);
    ids.extend(rivals.others);
    ids.extend(state.incumbent);
    ids.extend(state.archive.ranked().into_iter().filter(|e| e.full).take(FINALISTS).map(|e| e.id));
    ids.extend(specialists(state, grounds.search.len()));
    let mut selection = Selection { bench, heldout, noise, left_s: SELECTION_S, contestants: Vec::new() };
    for id in ids {
        if selection.contestants.iter().any(|c| c.finalist.id == id) {
            continue;
        }
        let Some(record) = state.record(id) else { continue };
        let recipe = &record.proposal.recipe;
        // No schedule that a file can hold says "plain loops", so they win only as a file's only way to run.
        if recipe.base == Base::Naive && id != rivals.seed {
            continue;
        }
        let finalist = selection.try_out(id, recipe);
        let score = finalist.fitness.or(record.score);
        selection.contestants.push(Contestant { finalist, recipe, score, search_s: record.times.clone() });
    }
    selection.veto(rivals);
    let best = selection.winner(rivals.default);
    let winner = selection.proven(best, rivals.default);
    let variants = winner.map(|w| selection.by_size(w, grounds.search, spell)).unwrap_or_default();
    Selected { winner, variants, finalists: selection.contestants.into_iter().map(|c| c.finalist).collect() }
}

/// Whoever was fastest at each search size, of those that were tried at all of them.
fn specialists(state: &State, sizes: usize) -> Vec<CandidateId> {
    (0..sizes)
        .filter_map(|s| {
            let full = state.records.iter().filter(|r| r.full());
            let timed = full.filter_map(|r| Some((r.id, r.times.get(s).copied().flatten()?)));
            timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id)
        })
        .collect()
}

pub(super) struct Contestant<'a> {
    pub(super) finalist: Finalist,
    pub(super) recipe: &'a Recipe,
    /// On held-out sizes; without any, on the search sizes.
    score: Option<f64>,
    /// Median seconds at the search sizes.
    pub(super) search_s: Vec<Option<f64>>,
}

impl Contestant<'_> {
    fn alive(&self) -> bool {
        self.finalist.veto.is_none() && self.score.is_some()
    }
}

pub(super) struct Selection<'a> {
    bench: &'a mut dyn Bench,
    pub(super) heldout: &'a [(Sizes, SizeInfo)],
    pub(super) noise: f64,
    /// Seconds left for pairs.
    pub(super) left_s: f64,
    pub(super) contestants: Vec<Contestant<'a>>,
}

/// log(t_a / t_b) at one size: positive where `b` is faster.
pub(super) struct Gain {
    pub(super) median: f64,
    /// Its limits.
    pub(super) least: f64,
    pub(super) most: f64,
    /// How many pairs said so; none where medians did.
    pub(super) pairs: usize,
}

impl Selection<'_> {
    /// Compares and times a candidate at every held-out size.
    fn try_out(&mut self, id: CandidateId, recipe: &Recipe) -> Finalist {
        let mut finalist = Finalist { id, times: Vec::new(), fitness: None, veto: None };
        let mut fractions = Vec::new();
        for (sizes, info) in self.heldout {
            let effort = Effort { budget_s: 0.2, ..Effort::full() };
            let time = self.bench.measure(recipe, sizes, effort).and_then(|measured| {
                median(&measured.samples)
                    .ok_or_else(|| Failure::new(Reason::Internal, "a measurement without samples"))
            });
            match time {
                Ok(time) => {
                    finalist.times.push(time);
                    fractions.push(fitness::fraction(info.roof_s, time));
                }
                Err(failure) => {
                    finalist.veto = Some(failure.to_string());
                    return finalist;
                }
            }
        }
        finalist.fitness = fitness::geometric_mean(&fractions);
        finalist
    }

    /// Pairs two contestants at one held-out size.
    fn pair(&mut self, a: usize, b: usize, size: usize, wanted: usize) -> Result<Gain, Failure> {
        let time = |c: usize| self.contestants[c].finalist.times.get(size).copied().unwrap_or(f64::NAN);
        let times = (time(a), time(b));
        let heldout = self.heldout;
        self.compare(a, b, times, &heldout[size].0, wanted)
    }

    /// Pairs two contestants that take so many seconds at a size. Where pairs take too long, these medians must do.
    pub(super) fn compare(
        &mut self,
        a: usize,
        b: usize,
        times: (f64, f64),
        sizes: &Sizes,
        wanted: usize,
    ) -> Result<Gain, Failure> {
        let both = times.0 + times.1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as wanted"
        )]
        let rounds = (self.left_s / both.max(1e-9)).clamp(0.0, wanted as f64) as usize;
        if both > ONCE_S || rounds < LEAST {
            let median = (times.0 / times.1).ln();
            return Ok(Gain { median, least: median - ROUGH, most: median + ROUGH, pairs: 0 });
        }
        let (a, b) = (self.contestants[a].recipe, self.contestants[b].recipe);
        let pairs = self.bench.pair(a, b, sizes, rounds)?;
        self.left_s -= pairs.iter().map(|(a, b)| a + b).sum::<f64>();
        let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a / b).ln()).collect();
        let middle = median(&logs).ok_or_else(|| Failure::new(Reason::Internal, "no pairs"))?;
        let (least, most) = median_limits(&logs, 0.025);
        Ok(Gain { median: middle, least, most, pairs: pairs.len() })
    }

    pub(super) fn at(&self, id: CandidateId) -> Option<usize> {
        self.contestants.iter().position(|c| c.finalist.id == id)
    }

    /// Excludes whoever loses to a rival: at some size it is slower beyond doubt and noise.
    fn veto(&mut self, rivals: Rivals<'_>) {
        let seed = self.at(rivals.seed);
        let default = rivals.default.and_then(|id| self.at(id));
        let mut order: Vec<usize> = (0..self.contestants.len()).collect();
        // The best first, in case the time runs out; but before them the rivals, of which at most one loses.
        let score = |c: &Contestant<'_>| c.score.unwrap_or(0.0);
        order.sort_by(|a, b| score(&self.contestants[*b]).total_cmp(&score(&self.contestants[*a])));
        order.sort_by_key(|c| match *c {
            c if Some(c) == seed => 0,
            c if Some(c) == default => 1,
            _ => 2,
        });
        for own in order {
            for (rival, name) in [(default, "default"), (seed, "seed")] {
                let Some(rival) = rival.filter(|r| *r != own) else { continue };
                let spared = Some(own) == default && !self.contestants[rival].alive();
                if self.contestants[own].alive() && !spared {
                    self.contestants[own].finalist.veto = self.loses(rival, own, name);
                }
            }
        }
    }

    fn loses(&mut self, rival: usize, own: usize, name: &str) -> Option<String> {
        // A rival that failed at a size has no time there.
        let sizes = self.contestants[rival].finalist.times.len();
        for size in 0..sizes.min(self.heldout.len()) {
            match self.pair(rival, own, size, ROUNDS) {
                Ok(gain) if gain.most < -self.noise => {
                    let text = size_text(&self.heldout[size].0);
                    return Some(format!("slower than the {name} at {text}"));
                }
                Ok(_) => {}
                Err(failure) => return Some(failure.to_string()),
            }
        }
        None
    }

    /// The best of those that may win: whoever is close to the best is paired with it, and within the noise of the best
    /// pairs the default is taken, else the simplest.
    fn winner(&mut self, default: Option<CandidateId>) -> Option<CandidateId> {
        let alive: Vec<(usize, f64)> = self
            .contestants
            .iter()
            .enumerate()
            .filter(|(_, c)| c.alive())
            .filter_map(|(n, c)| Some((n, c.score?)))
            .collect();
        let &(top, best) = alive.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let mut gains = Vec::new();
        for (n, score) in alive {
            let behind = (best / score).ln();
            if behind <= CLOSE {
                let paired = if n == top { Some(0.0) } else { self.gain(top, n) };
                gains.push((n, paired.unwrap_or(-behind)));
            }
        }
        let most = gains.iter().map(|g| g.1).fold(0.0, f64::max);
        gains
            .iter()
            .filter(|(_, gain)| most - gain <= self.noise.min(0.01))
            .map(|(n, _)| &self.contestants[*n])
            .min_by_key(|c| (Some(c.finalist.id) != default, c.recipe.complexity(), c.finalist.id))
            .map(|c| c.finalist.id)
    }

    /// The best, if it is ahead of the default beyond doubt: the lower limit of the mean log ratio over the held-out sizes
    /// clears zero, the limits of the sizes combined as independent. Otherwise the default, if it may win. What was found
    /// best of several is flattered by the pairs that found it, so these are fresh ones.
    fn proven(&mut self, best: Option<CandidateId>, default: Option<CandidateId>) -> Option<CandidateId> {
        let (own, rival) = (self.at(best?)?, default.and_then(|id| self.at(id)));
        let Some(rival) = rival.filter(|r| *r != own && self.contestants[*r].alive()) else { return best };
        self.left_s = PROOF_S;
        let (mut sum, mut square) = (0.0, 0.0);
        for size in 0..self.heldout.len() {
            let Ok(gain) = self.pair(rival, own, size, PROOF) else { return default };
            sum += gain.median;
            square += (gain.median - gain.least).powi(2);
        }
        let ahead = self.heldout.is_empty() || sum > square.sqrt();
        if ahead { best } else { default }
    }

    /// The mean over the sizes of log(t_a / t_b); `None` without sizes.
    fn gain(&mut self, a: usize, b: usize) -> Option<f64> {
        let sizes = self.heldout.len();
        let gains: Option<Vec<f64>> =
            (0..sizes).map(|size| self.pair(a, b, size, ROUNDS).ok().map(|g| g.median)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
        let count = sizes as f64;
        gains.map(|g| g.iter().sum::<f64>() / count).filter(|g| g.is_finite())
    }
}

#[cfg(test)]
mod tests;

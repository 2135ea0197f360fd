//! Winners by size. Where another candidate is ahead of the winner on one side of a size, both go into the file: the
//! other under `schedule .. when N >= 512`, the winner for the rest.
//!
//! What is believed of such a candidate is what is believed of a winner: it is right at every search and held-out size,
//! and ahead of the winner in fresh pairs at all of them that the condition holds for, which are some of either kind.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::select::{PROOF, PROOF_S, Selection};
use crate::bench::Sizes;
use crate::candidate::{CandidateId, Recipe};
use crate::fitness::geometric_mean;
use crate::promote::{Ratio, combine};

/// Most schedules besides the winner's.
const MOST: usize = 2;
/// Pairs of candidate and condition that are put to the proof, for each schedule.
const TRIED: usize = 3;
/// A gain (as a ratio) below which a second schedule is not worth reading.
const LEAST_GAIN: f64 = 1.02;

/// One side of a size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    /// The size.
    pub size: String,
    /// Whether the condition is `size >= than`, else `size < than`.
    pub from: bool,
    /// Where the sides meet.
    pub than: i64,
}

impl Condition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, sizes: &Sizes) -> bool {
        sizes.get(&self.size).is_some_and(|n| (*n >= self.than) == self.from)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.size, if self.from { ">=" } else { "<" }, self.than)
    }
}

/// The schedule of one side of a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Where it runs, unless an earlier one does.
    pub when: Condition,
    /// The candidate.
    pub candidate: CandidateId,
    /// Its recipe with every number written out, as the file holds it.
    pub recipe: Recipe,
    /// How many times as fast as the winner there: the geometric mean over the sizes of the proof.
    pub over_winner: Ratio,
}

/// The schedule that runs at a size: the first variant whose condition holds, else the winner.
#[must_use]
pub fn choose<'a>(variants: &'a [Variant], winner: &'a Recipe, sizes: &Sizes) -> &'a Recipe {
    variants.iter().find(|v| v.when.holds(sizes)).map_or(winner, |v| &v.recipe)
}

/// Writes a recipe as a schedule that stands alone, where there is one.
pub type Spell<'a> = &'a dyn Fn(&Recipe) -> Option<Recipe>;

/// A size that candidates were timed at.
struct Point<'a> {
    sizes: &'a Sizes,
    heldout: bool,
    /// Its place among the held-out sizes, or among the search sizes.
    at: usize,
}

/// A candidate on one side of a size.
struct Promise {
    when: Condition,
    contestant: usize,
    /// The sum over the sizes of log(t_winner / t), by medians.
    gain: f64,
}

impl Selection<'_> {
    /// The variants of a winner.
    pub(super) fn by_size(
        &mut self,
        winner: CandidateId,
        search: &[Sizes],
        spell: Spell<'_>,
    ) -> Vec<Variant> {
        let Some(base) = self.at(winner) else { return Vec::new() };
        let point = |heldout| move |(at, sizes)| Point { sizes, heldout, at };
        let heldout = self.heldout.iter().map(|(sizes, _)| sizes);
        let mut points: Vec<Point<'_>> = search.iter().enumerate().map(point(false)).collect();
        points.extend(heldout.enumerate().map(point(true)));
        self.left_s = 2.0 * PROOF_S;
        let mut variants = Vec::new();
        while variants.len() < MOST {
            let Some(variant) = self.variant(base, &points, spell) else { break };
            points.retain(|p| !variant.when.holds(p.sizes));
            variants.push(variant);
        }
        variants
    }

    /// The first of the most promising candidates that keeps its promise.
    fn variant(&mut self, base: usize, points: &[Point<'_>], spell: Spell<'_>) -> Option<Variant> {
        let mut promises: Vec<Promise> = Vec::new();
        for when in conditions(points) {
            for contestant in (0..self.contestants.len()).filter(|c| *c != base) {
                if let Some(gain) = self.promised(&when, base, contestant, points) {
                    promises.push(Promise { when: when.clone(), contestant, gain });
                }
            }
        }
        promises.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        for Promise { when, contestant, .. } in promises.into_iter().take(TRIED) {
            let Some(recipe) = spell(self.contestants[contestant].recipe) else { continue };
            if let Some(over_winner) = self.kept(&when, base, contestant, points) {
                let candidate = self.contestants[contestant].finalist.id;
                return Some(Variant { when, candidate, recipe, over_winner });
            }
        }
        None
    }

    /// What the medians say of a candidate where a condition holds, if that is worth a proof.
    fn promised(&self, when: &Condition, base: usize, other: usize, points: &[Point<'_>]) -> Option<f64> {
        let logs: Option<Vec<f64>> = points
            .iter()
            .filter(|p| when.holds(p.sizes))
            .map(|p| Some((self.time(base, p)? / self.time(other, p)?).ln()))
            .collect();
        let gain: f64 = logs.as_ref()?.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
        let mean = gain / logs?.len().max(1) as f64;
        (mean >= LEAST_GAIN.ln()).then_some(gain)
    }

    /// Seconds at a size; `None` for a candidate that is not known to be right at all sizes.
    fn time(&self, contestant: usize, point: &Point<'_>) -> Option<f64> {
        let c = &self.contestants[contestant];
        let right = c.finalist.times.len() == self.heldout.len();
        let time = if point.heldout {
            c.finalist.times.get(point.at).copied()
        } else {
            c.search_s.get(point.at).copied().flatten()
        };
        time.filter(|_| right)
    }

    /// The proof: fresh pairs at every size that the condition holds for. Nowhere slower beyond doubt and noise, and
    /// ahead on the whole.
    fn kept(&mut self, when: &Condition, base: usize, other: usize, points: &[Point<'_>]) -> Option<Ratio> {
        let mut ratios = Vec::new();
        for point in points.iter().filter(|p| when.holds(p.sizes)) {
            let times = (self.time(base, point)?, self.time(other, point)?);
            let gain = self.compare(base, other, times, point.sizes, PROOF).ok()?;
            // Medians that were looked at before prove nothing.
            if gain.pairs == 0 || gain.most < -self.noise {
                return None;
            }
            let (lo, hi) = (gain.least.exp(), gain.most.exp());
            ratios.push(Ratio { median: gain.median.exp(), lo: Some(lo), hi: Some(hi), pairs: gain.pairs });
        }
        let whole = combine(&ratios)?;
        (whole.median >= LEAST_GAIN && whole.lo.is_some_and(|lo| lo > 1.0)).then_some(whole)
    }
}

/// Conditions that can be proven: sizes of either kind lie on their side, and some on the other.
fn conditions(points: &[Point<'_>]) -> Vec<Condition> {
    let names: BTreeSet<&String> = points.iter().flat_map(|p| p.sizes.keys()).collect();
    let mut out = Vec::new();
    for name in names {
        let values: Option<BTreeSet<i64>> = points.iter().map(|p| p.sizes.get(name).copied()).collect();
        let values: Vec<i64> = values.into_iter().flatten().collect();
        for pair in values.windows(2) {
            for from in [false, true] {
                out.push(Condition { size: name.clone(), from, than: between(pair[0], pair[1]) });
            }
        }
    }
    out.retain(|c| {
        let on = |p: &&Point<'_>| c.holds(p.sizes);
        let of = |heldout: bool| points.iter().filter(on).any(|p| p.heldout == heldout);
        of(true) && of(false) && !points.iter().all(|p| c.holds(p.sizes))
    });
    out
}

/// A number in `a+1..=b`: a power of two near their geometric mean, or the mean itself.
fn between(a: i64, b: i64) -> i64 {
    #[expect(clippy::cast_precision_loss, reason = "a place to cut, not a count")]
    let mean = geometric_mean(&[a.max(1) as f64, b.max(1) as f64]).unwrap_or(1.0);
    let power = |e: f64| 2f64.powf(e);
    let (below, above) = (power(mean.log2().floor()), power(mean.log2().ceil()));
    #[expect(clippy::cast_possible_truncation, reason = "between two sizes")]
    let candidates = [below, above, mean.ceil()].map(|v| v as i64);
    candidates.into_iter().find(|v| (a + 1..=b).contains(v)).unwrap_or(b)
}

#[cfg(test)]
mod tests;

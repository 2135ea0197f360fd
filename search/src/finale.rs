//! The end of a search: the winner is chosen on held-out sizes, then reported on sealed ones, each read once.

mod by_size;
#[cfg(test)]
mod made_up;
mod select;

use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Effort, SizeInfo, Sizes};
use crate::candidate::Recipe;
use crate::fitness;
use crate::promote::{Ratio, median, median_limits, ratio};

pub use by_size::{Condition, Spell, Variant, choose};
pub use select::{Finalist, Grounds, Rivals, Selected, select};

/// Seconds that the pairs of one baseline may take at one size; at least three are made.
const PAIRS_S: f64 = 4.0;
/// A baseline that takes longer is run once, for its check, and that one run is all that is compared.
const ONCE_S: f64 = 2.0;

/// To which set a size belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// Drives the search.
    Search,
    /// Selects the winner and can veto it.
    Heldout,
    /// Read once, for the report.
    Sealed,
}

impl Set {
    /// `search`, `heldout` or `sealed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Set::Search => "search",
            Set::Heldout => "heldout",
            Set::Sealed => "sealed",
        }
    }
}

/// The winner at one size, beside the baselines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeResult {
    /// Which set.
    pub set: Set,
    /// The size.
    pub sizes: Sizes,
    /// Roof and work.
    pub info: SizeInfo,
    /// Whether every element agreed with the oracle; if not, why.
    pub failure: Option<String>,
    /// Largest relative error of the winner.
    pub max_rel_err: f64,
    /// The winner's samples, seconds.
    pub samples: Vec<f64>,
    /// Their median and its 95 % limits.
    pub time_s: Option<(f64, f64, f64)>,
    /// Fraction of the roof.
    pub fraction: Option<f64>,
    /// How many times as fast as the naive schedule.
    pub over_naive: Option<Ratio>,
    /// How many times as fast as the default schedule.
    pub over_default: Option<Ratio>,
    /// How many times as fast as the seed of the file.
    pub over_seed: Option<Ratio>,
    /// Median seconds of the naive schedule.
    pub naive_s: Option<f64>,
    /// Median seconds of the default schedule.
    pub default_s: Option<f64>,
    /// Median seconds of the seed.
    pub seed_s: Option<f64>,
}

/// The baselines that a winner is compared with.
#[derive(Clone, Debug, Default)]
pub struct Baselines {
    /// The fixed, plain schedule.
    pub naive: Option<Recipe>,
    /// The compiler's choice.
    pub default: Option<Recipe>,
    /// What the file wrote.
    pub seed: Option<Recipe>,
}

/// A median with its 95 % limits; with too few samples for those, with the smallest and the largest.
fn limits(samples: &[f64], median: f64) -> (f64, f64, f64) {
    let (lo, hi) = median_limits(samples, 0.025);
    let least = samples.iter().copied().fold(median, f64::min);
    let most = samples.iter().copied().fold(median, f64::max);
    (median, if lo.is_finite() { lo } else { least }, if hi.is_finite() { hi } else { most })
}

/// Compares the winner whole at one size, times it, and pairs it with each baseline.
#[must_use]
pub fn report_size(
    bench: &mut dyn Bench,
    winner: &Recipe,
    baselines: &Baselines,
    set: Set,
    sizes: &Sizes,
    info: SizeInfo,
) -> SizeResult {
    let mut result = SizeResult {
        set,
        sizes: sizes.clone(),
        info,
        failure: None,
        max_rel_err: 0.0,
        samples: Vec::new(),
        time_s: None,
        fraction: None,
        over_naive: None,
        over_default: None,
        over_seed: None,
        naive_s: None,
        default_s: None,
        seed_s: None,
    };
    match bench.measure(winner, sizes, Effort::full()) {
        Err(failure) => {
            result.failure = Some(failure.to_string());
            return result;
        }
        Ok(measured) => {
            result.time_s = median(&measured.samples).map(|m| limits(&measured.samples, m));
            result.fraction = result.time_s.map(|t| fitness::fraction(result.info.roof_s, t.0));
            result.max_rel_err = measured.max_rel_err;
            result.samples = measured.samples;
        }
    }
    let mut against = |rival: &Option<Recipe>| -> Option<(Ratio, f64)> {
        let rival = rival.as_ref()?;
        if rival == winner {
            let one = Ratio { median: 1.0, lo: Some(1.0), hi: Some(1.0), pairs: 0 };
            return Some((one, result.time_s?.0));
        }
        // The rival is checked too, and its first run says how many pairs are affordable.
        let effort =
            Effort { cut_s: Some(0.0), beyond_s: None, min_samples: 1, max_samples: 1, budget_s: 0.0 };
        let once = *bench.measure(rival, sizes, effort).ok()?.samples.first()?;
        if once > ONCE_S {
            return Some((ratio(&[(once, result.time_s?.0)])?, once));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 3..=16")]
        let rounds = (PAIRS_S / once.max(1e-9)).clamp(3.0, 16.0) as usize;
        let pairs = bench.pair(rival, winner, sizes, rounds).ok()?;
        let times: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        Some((ratio(&pairs)?, median(&times)?))
    };
    if let Some((r, t)) = against(&baselines.naive) {
        (result.over_naive, result.naive_s) = (Some(r), Some(t));
    }
    if let Some((r, t)) = against(&baselines.default) {
        (result.over_default, result.default_s) = (Some(r), Some(t));
    }
    if let Some((r, t)) = against(&baselines.seed) {
        (result.over_seed, result.seed_s) = (Some(r), Some(t));
    }
    result
}

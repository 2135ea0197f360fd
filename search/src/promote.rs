//! The statistics of comparisons: distribution-free limits of a median, and the sequential paired test that decides
//! promotions.
//!
//! Timings have heavy tails and drift, so candidate and incumbent are timed in interleaved pairs and only the logs of
//! the ratios of neighbours are looked at. The limits of their median are order statistics: the number of
//! observations below the true median is binomial whatever the distribution, hence no assumption of normality.

use serde::{Deserialize, Serialize};

/// Numbers of pairs at which the test looks, and the error that each look may spend. They sum to less than 5 %, the
/// probability of promoting a candidate that is no faster, so looking more than once stays honest. The first look
/// decides when all six pairs agree: 1 in 64 by chance.
pub const LOOKS: [(usize, f64); 4] = [(6, 0.0157), (12, 0.0114), (24, 0.0114), (48, 0.0114)];

/// Pairs after which a challenger may be sent away, but not be promoted.
const GLANCE: usize = 3;

/// The middle of a list, the mean of the middle two for an even count; `None` of nothing or where a value is not
/// a number.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sort(values)?;
    let n = sorted.len();
    Some(if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) })
}

fn sort(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// Confidence limits of a median, each missed with probability at most `alpha`. With too few values for that, the
/// limits are infinite.
#[must_use]
pub fn median_limits(values: &[f64], alpha: f64) -> (f64, f64) {
    let Some(sorted) = sort(values) else { return (f64::NEG_INFINITY, f64::INFINITY) };
    let n = sorted.len();
    // The largest k with P(fewer than k of n below the median) <= alpha, for a fair coin.
    let mut term = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let (mut tail, mut k) = (0.0, 0);
    while k < n {
        tail += term;
        if tail > alpha {
            break;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
        let next = (n - k) as f64 / (k + 1) as f64;
        term *= next;
        k += 1;
    }
    if k == 0 {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    (sorted[k - 1], sorted[n - k])
}

/// A ratio with its 95 % confidence limits; limits are absent with fewer than six pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median.
    pub median: f64,
    /// Lower limit.
    pub lo: Option<f64>,
    /// Upper limit.
    pub hi: Option<f64>,
    /// Pairs.
    pub pairs: usize,
}

/// The ratio of paired times (first over second).
#[must_use]
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a / b).ln()).collect();
    let (lo, hi) = median_limits(&logs, 0.025);
    let finite = |v: f64| Some(v.exp()).filter(|v| v.is_finite() && *v > 0.0);
    Some(Ratio { median: median(&logs)?.exp(), lo: finite(lo), hi: finite(hi), pairs: pairs.len() })
}

/// The geometric mean of ratios at several sizes; its limits combine theirs as independent.
#[must_use]
pub fn combine(ratios: &[Ratio]) -> Option<Ratio> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
    let n = ratios.len() as f64;
    let medians: Vec<f64> = ratios.iter().map(|r| r.median).collect();
    let median = crate::fitness::geometric_mean(&medians)?;
    let side = |limit: fn(&Ratio) -> Option<f64>| -> Option<f64> {
        let squares: Option<Vec<f64>> =
            ratios.iter().map(|r| limit(r).map(|l| (l / r.median).ln().powi(2))).collect();
        Some(squares?.iter().sum::<f64>().sqrt() / n)
    };
    Some(Ratio {
        median,
        lo: side(|r| r.lo).map(|d| median * (-d).exp()),
        hi: side(|r| r.hi).map(|d| median * d.exp()),
        pairs: ratios.iter().map(|r| r.pairs).min().unwrap_or(0),
    })
}

/// What the test has found so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// The lower limit of the log ratio clears the threshold.
    Faster,
    /// It cannot any more: the upper limit is below the threshold, or the pairs are used up.
    NotFaster,
    /// More pairs are needed.
    Undecided,
}

/// The sequential paired test of "the challenger is faster than the incumbent by more than the noise".
#[derive(Clone, Debug)]
pub struct PairedTest {
    threshold: f64,
    logs: Vec<f64>,
    verdict: Verdict,
}

impl PairedTest {
    /// A test whose lower limit must clear `threshold` (and zero).
    #[must_use]
    pub fn new(threshold: f64) -> PairedTest {
        PairedTest { threshold: threshold.max(0.0), logs: Vec::new(), verdict: Verdict::Undecided }
    }

    /// Takes log(t_incumbent / t_challenger) of one pair; later values than the verdict's are kept but not judged.
    pub fn push(&mut self, log_ratio: f64) -> Verdict {
        self.logs.push(log_ratio);
        let glance = (self.logs.len() == GLANCE).then_some(0.0);
        let look = LOOKS.iter().find(|(n, _)| *n == self.logs.len()).map(|(_, alpha)| *alpha).or(glance);
        if self.verdict == Verdict::Undecided
            && let Some(alpha) = look
        {
            // At the glance the limits are infinite.
            let (lo, hi) = median_limits(&self.logs, alpha);
            // A challenger whose middle pair is no faster than asked for is not worth more pairs: that gives up some power,
            // but promotes nobody who would not have been, and most challengers are level with the incumbent.
            let hopeless = hi <= self.threshold || median(&self.logs).is_some_and(|m| m <= self.threshold);
            if lo > self.threshold {
                self.verdict = Verdict::Faster;
            } else if hopeless || self.logs.len() >= LOOKS[LOOKS.len() - 1].0 {
                self.verdict = Verdict::NotFaster;
            }
        }
        self.verdict
    }

    /// Pairs until the next look; 0 when decided.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.verdict != Verdict::Undecided {
            return 0;
        }
        let looks = [GLANCE].into_iter().chain(LOOKS.iter().map(|(n, _)| *n));
        looks.into_iter().find(|n| *n > self.logs.len()).map_or(0, |n| n - self.logs.len())
    }

    /// The verdict so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The log ratios so far.
    #[must_use]
    pub fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// Ends an undecided test: the incumbent stays.
    pub fn give_up(&mut self) {
        if self.verdict == Verdict::Undecided {
            self.verdict = Verdict::NotFaster;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn limits_are_the_binomial_ones() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        // P(X <= 1 of 10) = 0.0107, P(X <= 2 of 10) = 0.0547: the second smallest and largest at 2.5 %.
        assert_eq!(median_limits(&values, 0.025), (2.0, 9.0));
        assert_eq!(median_limits(&values[..3], 0.025).0, f64::NEG_INFINITY);
        assert_eq!(median(&values), Some(5.5));
    }

    /// Under the null hypothesis the test promotes at most as often as it says, heavy tails and all.
    #[test]
    fn equal_candidates_are_seldom_promoted() {
        let mut rng = Rng::for_step(1, 0);
        let mut promoted = 0;
        for _ in 0..1000 {
            let mut test = PairedTest::new(0.0);
            while test.verdict() == Verdict::Undecided {
                let spike = if rng.chance(0.1) { 1.0 } else { 0.02 };
                test.push((rng.unit() - 0.5) * spike);
            }
            promoted += usize::from(test.verdict() == Verdict::Faster);
        }
        assert!(promoted <= 60, "{promoted} of 1000");
    }

    #[test]
    fn a_clear_gain_is_promoted_and_a_loss_is_not() {
        let mut rng = Rng::for_step(2, 0);
        for (gain, want) in [(0.1, Verdict::Faster), (-0.1, Verdict::NotFaster), (0.005, Verdict::NotFaster)]
        {
            let mut test = PairedTest::new(0.01);
            while test.verdict() == Verdict::Undecided {
                test.push(gain + (rng.unit() - 0.5) * 0.01);
            }
            assert_eq!(test.verdict(), want, "{gain}");
            assert!(want == Verdict::Faster || test.logs().len() <= 12, "{gain}: {}", test.logs().len());
            assert_eq!(test.wanted(), 0);
        }
    }

    #[test]
    fn combined_ratios() {
        let pairs: Vec<(f64, f64)> = (0..12).map(|n| (4.0 + 0.01 * f64::from(n), 2.0)).collect();
        let r = ratio(&pairs).expect("pairs");
        assert!(r.lo.expect("enough") > 1.9 && r.hi.expect("enough") < 2.2);
        let both = combine(&[r, r]).expect("two");
        assert!((both.median - r.median).abs() < 1e-12);
        assert!(both.lo.expect("there") > r.lo.expect("there"));
        assert_eq!(ratio(&pairs[..3]).expect("pairs").lo, None);
    }
}

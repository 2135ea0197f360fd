//! Statistics of timings, as pure functions: order statistics, since timings are skewed and have outliers.

/// The `q`-quantile of ascending values, interpolated linearly between neighbours; NaN when there are none.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_precision_loss, reason = "sample counts are far below 2^52")]
    let position = q.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=last")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

/// The values in ascending order.
#[must_use]
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The median; NaN when there are no values.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// Confidence limits of the median of the distribution that ascending values were drawn from, by order statistics:
/// no shape is assumed. With too few values for the confidence (fewer than 6 for 0.95), the extremes. NaN when there
/// are no values.
#[must_use]
pub fn median_limits(sorted: &[f64], confidence: f64) -> (f64, f64) {
    let n = sorted.len();
    if n == 0 {
        return (f64::NAN, f64::NAN);
    }
    // The interval from the k-th smallest to the k-th largest misses the median with probability
    // 2 P(B < k), B binomial with n trials of one half: take the largest k that keeps this within 1 - confidence.
    #[expect(clippy::cast_precision_loss, reason = "sample counts are far below 2^52")]
    let count = n as f64;
    let mut log_mass = -count * std::f64::consts::LN_2;
    let (mut below, mut k) = (0.0, 0usize);
    let mut trials = 0.0;
    while k < n / 2 {
        below += log_mass.exp();
        if 2.0 * below > 1.0 - confidence {
            break;
        }
        k += 1;
        trials += 1.0;
        log_mass += ((count - trials + 1.0) / trials).ln();
    }
    let k = k.max(1);
    (sorted[k - 1], sorted[n - k])
}

/// The geometric mean of positive values; NaN when there are none or one is not positive.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan() || *v <= 0.0) {
        return f64::NAN;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = values.len() as f64;
    (values.iter().map(|v| v.ln()).sum::<f64>() / count).exp()
}

/// Half the width of the central 95 % of the values, relative to their median; NaN when there are none.
#[must_use]
pub fn relative_spread(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    (quantile(&sorted, 0.975) - quantile(&sorted, 0.025)) / 2.0 / quantile(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[1.0], 0.9), 1.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(&[3.0, 1.0]), 2.0);
    }

    /// The tabulated ranks of the 95 % limits: 6 => 1, 10 => 2, 20 => 6, 50 => 18, 100 => 40.
    #[test]
    fn limits_of_the_median_are_the_tabulated_ranks() {
        for (n, rank) in [(1, 1), (5, 1), (6, 1), (10, 2), (20, 6), (50, 18), (100, 40)] {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let mirrored = f64::from(n + 1 - rank);
            assert_eq!(median_limits(&values, 0.95), (f64::from(rank), mirrored), "{n}");
        }
        let (lo, hi) = median_limits(&(0..5000).map(f64::from).collect::<Vec<_>>(), 0.95);
        assert!(lo > 2400.0 && hi < 2600.0 && lo < hi, "{lo} {hi}");
    }

    #[test]
    fn limits_cover_the_median_as_often_as_they_say() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        let rounds = 4000;
        let hits = (0..rounds)
            .filter(|_| {
                // Skewed, with median ln 2.
                let draws: Vec<f64> = (0..25).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
                let (lo, hi) = median_limits(&sorted(&draws), 0.95);
                (lo..=hi).contains(&std::f64::consts::LN_2)
            })
            .count();
        assert!((3760..=3960).contains(&hits), "{hits} of {rounds}");
    }

    #[test]
    fn means_and_spreads() {
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
        assert!(geometric_mean(&[1.0, 0.0]).is_nan());
        assert!(geometric_mean(&[]).is_nan());
        let values: Vec<f64> = (0..=1000).map(|v| 100.0 + f64::from(v) / 100.0).collect();
        assert!((relative_spread(&values) - 4.75 / 105.0).abs() < 1e-9);
    }
}

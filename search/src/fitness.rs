//! Fitness: the fraction of the roof that a candidate reaches, and what is said of several sizes together.

/// `t_roof / t`: 1 at the roof. Not a number when a time is not positive.
#[must_use]
pub fn fraction(roof_s: f64, time_s: f64) -> f64 {
    if roof_s > 0.0 && time_s > 0.0 { roof_s / time_s } else { f64::NAN }
}

/// The geometric mean of positive values; `None` of nothing, or when a value is not positive and finite.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
    let n = values.len() as f64;
    Some((values.iter().map(|v| v.ln()).sum::<f64>() / n).exp())
}

/// The harmonic mean of positive values, as performance portability is scored; `None` as above.
#[must_use]
pub fn harmonic_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of devices")]
    let n = values.len() as f64;
    Some(n / values.iter().map(|v| 1.0 / v).sum::<f64>())
}

/// A score for a candidate measured on some of the sizes only: the mean over those, carried over to all sizes by
/// how the incumbent does on all of them against those. `times` and `roofs` run over all sizes.
#[must_use]
pub fn score(times: &[Option<f64>], roofs: &[f64], incumbent: &[Option<f64>]) -> Option<f64> {
    let all = |t: &[Option<f64>]| -> Option<Vec<f64>> {
        t.iter().zip(roofs).map(|(t, &r)| t.map(|t| fraction(r, t))).collect()
    };
    if let Some(fs) = all(times) {
        return geometric_mean(&fs);
    }
    let own: Vec<f64> = times.iter().zip(roofs).filter_map(|(t, &r)| t.map(|t| fraction(r, t))).collect();
    let own = geometric_mean(&own)?;
    let Some(whole) = all(incumbent).and_then(|fs| geometric_mean(&fs)) else { return Some(own) };
    let there: Vec<f64> = times
        .iter()
        .zip(incumbent.iter().zip(roofs))
        .filter_map(|(t, (i, &r))| t.and_then(|_| i.map(|i| fraction(r, i))))
        .collect();
    let carried = geometric_mean(&there).map_or(own, |there| own * whole / there);
    Some(carried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means() {
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, f64::NAN]), None);
        assert!((geometric_mean(&[0.25, 1.0]).expect("positive") - 0.5).abs() < 1e-12);
        assert!((harmonic_mean(&[0.5, 1.0]).expect("positive") - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_partial_score_is_carried_over_by_the_incumbent() {
        let roofs = [1.0, 1.0];
        let incumbent = [Some(2.0), Some(8.0)];
        let whole = score(&incumbent, &roofs, &incumbent).expect("measured");
        assert!((whole - 0.25).abs() < 1e-12);
        // Twice as fast where it was measured: taken to be twice as fast everywhere.
        let partial = score(&[Some(1.0), None], &roofs, &incumbent).expect("measured");
        assert!((partial - 0.5).abs() < 1e-12);
        assert_eq!(score(&[None, None], &roofs, &incumbent), None);
    }
}

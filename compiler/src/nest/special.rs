//! The error function in f64, which the standard library lacks; for the interpreter and as a reference in tests.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// Terms of the series; enough up to 1.
const TERMS: usize = 20;

/// The error function, within a few units in the last place.
#[must_use]
pub fn erf(x: f64) -> f64 {
    match x.abs() {
        a if a.is_nan() => x,
        a if a < 0.5 => series(x),
        a if a > 6.0 => 1f64.copysign(x),
        a => (1.0 - tail(a)).copysign(x),
    }
}

/// 1 less the error function, accurate in relative terms down to the subnormals.
#[must_use]
pub fn erfc(x: f64) -> f64 {
    match x {
        x if x.is_nan() => x,
        x if x < 0.5 => 1.0 - erf(x),
        x if x < 28.0 => tail(x),
        _ => 0.0,
    }
}

/// `1 / (n! (2n+1))` from `n = 0` up.
const FACTORS: [f64; TERMS] = {
    let (mut factors, mut n, mut factorial) = ([1.0; TERMS], 1, 1.0);
    while n < TERMS {
        factorial *= n as f64;
        factors[n] = 1.0 / (factorial * (2.0 * n as f64 + 1.0));
        n += 1;
    }
    factors
};

/// The Taylor series `2 / sqrt(pi) * sum of (-1)^n x^(2n+1) / (n! (2n+1))`, the smallest terms first.
fn series(x: f64) -> f64 {
    let square = x * x;
    FRAC_2_SQRT_PI * x * FACTORS.iter().rev().fold(0.0, |sum, c| c - square * sum)
}

/// erfc for `x >= 0.5` by its continued fraction, evaluated from the far end; more terms the smaller `x` is.
fn tail(x: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 20 and 1000")]
    let terms = (20.0 + 250.0 / (x * x)) as u32;
    let mut fraction = x;
    for k in (1..=terms).rev() {
        fraction = x + f64::from(k) * 0.5 / fraction;
    }
    exp_minus_square(x) / (PI.sqrt() * fraction)
}

/// `exp(-x^2)` with the rounding error of the square put back, which the exponential would magnify.
fn exp_minus_square(x: f64) -> f64 {
    let square = x * x;
    let lost = x.mul_add(x, -square);
    (-square).exp() * (1.0 - lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // From tables of the function to 17 digits.
        let close = |got: f64, want: f64| assert!(((got - want) / want).abs() < 2e-15, "{got} {want}");
        close(erf(0.5), 0.520_499_877_813_046_5);
        close(erf(-1.0), -0.842_700_792_949_714_9);
        close(erf(2.0), 0.995_322_265_018_952_7);
        close(erf(3.0), 0.999_977_909_503_001_4);
        close(erfc(0.5), 0.479_500_122_186_953_5);
        close(erfc(1.0), 0.157_299_207_050_285_13);
        close(erfc(2.0), 0.004_677_734_981_047_266);
        close(erfc(10.0), 2.088_487_583_762_545e-45);
        assert_eq!((erf(0.0), erf(f64::INFINITY), erfc(f64::INFINITY)), (0.0, 1.0, 0.0));
        assert_eq!(erfc(f64::NEG_INFINITY), 2.0);
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn the_two_methods_meet() {
        for i in 0..40 {
            let x = 0.5 + f64::from(i) * 0.0125;
            assert!((series(x) + tail(x) - 1.0).abs() < 1e-15, "{x}");
        }
    }
}

//! Functions that the standard library lacks.

use std::f64::consts::PI;

/// Above this, `erfc` comes from its continued fraction, below from the series of `erf`.
const SWITCH: f64 = 1.0;

/// The error function: `exp(-x^2) * 2 / sqrt(pi) * sum of 2^n x^(2n+1) / (2n+1)!!`, whose terms have one sign.
pub(crate) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > SWITCH {
        return (1.0 - upper(x.abs())).copysign(x);
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-18 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / PI.sqrt()
}

/// `1 - erf(x)`, precise where it is small.
pub(crate) fn erfc(x: f64) -> f64 {
    match x {
        x if x.is_nan() => x,
        x if x > SWITCH => upper(x),
        x if x < -SWITCH => 2.0 - upper(-x),
        x => 1.0 - erf(x),
    }
}

/// `erfc(x)` for `x` above [`SWITCH`]: `exp(-x^2) / sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ..))))`.
fn upper(x: f64) -> f64 {
    if x > 30.0 {
        return 0.0;
    }
    let mut fraction = x;
    for n in (1..=300).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    // The square is split so that its rounding does not reach the exponential.
    let high = f64::from_bits(x.to_bits() & !0xFFFF_FFFF);
    let low = x - high;
    (-high * high).exp() * (-(x + high) * low).exp() / (PI.sqrt() * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Abramowitz and Stegun, table 7.1, and the asymptotic tail.
        let cases = [
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
        ];
        for (x, want) in cases {
            assert!((erf(x) - want).abs() < 2e-15, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        let tails = [
            (2.0, 4.677_734_981_047_266e-3),
            (5.0, 1.537_459_794_428_035e-12),
            (10.0, 2.088_487_583_762_545e-45),
        ];
        for (x, want) in tails {
            assert!((erfc(x) / want - 1.0).abs() < 1e-13, "erfc({x}) = {}", erfc(x));
        }
        assert_eq!((erfc(40.0), erfc(-40.0)), (0.0, 2.0));
    }
}

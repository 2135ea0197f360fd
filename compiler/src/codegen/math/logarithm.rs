//! Logarithms: with `x = 2^k (1 + f)` and `1 + f` between `sqrt(1/2)` and `sqrt(2)`, `log x = k ln 2 + log(1 + f)`,
//! and with `s = f / (2 + f)`, `log(1 + f) = 2 atanh(s) = 2s + 2s^3/3 + 2s^5/5 + ..`.

use std::f64::consts::{LN_2, LOG2_E};

use super::{Machine, abs, format, polynomial, quotient, two_product};

/// `2/(2n+3)` from `n = 0` up.
pub(super) const ODD: [f64; 11] = [
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
    2.0 / 17.0,
    2.0 / 19.0,
    2.0 / 21.0,
    2.0 / 23.0,
];

/// `(log(1 + f) - f) / f^2` in powers of `f`, for `f` from -1/4 to 1/2.
const LOG_32: [f64; 9] = [
    -0.5,
    0.333_334_505_558_013_9,
    -0.250_001_043_081_283_57,
    0.199_908_196_926_116_94,
    -0.166_469_991_207_122_8,
    0.144_783_213_734_626_77,
    -0.131_638_735_532_760_62,
    0.104_688_785_970_211_03,
    -0.045_112_054_795_026_78,
];

fn odd<M: Machine>(m: &M) -> &'static [f64] {
    if m.is_double() { &ODD } else { &ODD[..4] }
}

/// `k` as a float and `f` of a positive, finite number.
pub(super) fn decompose<M: Machine>(m: &mut M, x: M::F) -> (M::F, M::F) {
    decompose_from(m, x, std::f64::consts::FRAC_1_SQRT_2)
}

/// As [`decompose`], with `1 + f` from `low` to twice as much.
fn decompose_from<M: Machine>(m: &mut M, x: M::F, low: f64) -> (M::F, M::F) {
    let f = format(m);
    // Subnormal numbers are scaled up first.
    let (smallest, grow, shrink) = if m.is_double() {
        (f64::MIN_POSITIVE, 54f64.exp2(), -54.0)
    } else {
        (f64::from(f32::MIN_POSITIVE), 25f64.exp2(), -25.0)
    };
    let (smallest, grow, shrink, zero) = (m.float(smallest), m.float(grow), m.float(shrink), m.float(0.0));
    let tiny = m.lt(x, smallest);
    let grown = m.mul(x, grow);
    let x = m.select(tiny, grown, x);
    let extra = m.select(tiny, shrink, zero);
    // With the bits of the lowest taken away, the exponent field is k, and what is below it belongs to 1 + f.
    let low = m.float(low);
    let (bits, low) = (m.bits(x), m.bits(low));
    let moved = m.sub_int(bits, low);
    let mask = m.int((1 << f.mantissa) - 1);
    let part = m.and_int(moved, mask);
    let part = m.add_int(part, low);
    let one_plus = m.of_bits(part);
    let one = m.float(1.0);
    let fraction = m.sub(one_plus, one);
    // k, which may be negative, through the low bits of a float: magic + (k + 2 * bias).
    let offset = m.int((2 * f.bias) << f.mantissa);
    let exponent = m.add_int(moved, offset);
    let exponent = m.shr(exponent, f.mantissa);
    let field = m.int((1 << (if m.is_double() { 12 } else { 9 })) - 1);
    let exponent = m.and_int(exponent, field);
    let magic = m.float(f.magic);
    let magic_bits = m.bits(magic);
    let carrier = m.add_int(magic_bits, exponent);
    let carrier = m.of_bits(carrier);
    let back = m.float(f.magic + 2.0 * f.bias as f64);
    let k = m.sub(carrier, back);
    (m.add(k, extra), fraction)
}

/// `t` of `log(1 + f) = f - t`, and `f^2 / 2`.
fn correction<M: Machine>(m: &mut M, f: M::F) -> M::F {
    let two = m.float(2.0);
    let below = m.add(f, two);
    let s = quotient(m, f, below);
    let z = m.mul(s, s);
    let r = polynomial(m, z, odd(m));
    let r = m.mul(r, z);
    let half = m.float(0.5);
    let half_square = m.mul(f, half);
    let half_square = m.mul(half_square, f);
    // log(1 + f) = f - (f^2/2 - s (f^2/2 + r))
    let inner = m.add(half_square, r);
    let inner = m.mul(s, inner);
    m.sub(half_square, inner)
}

/// `value` where `x` is a positive finite number; the logarithms of all others.
pub(super) fn special<M: Machine>(m: &mut M, x: M::F, value: M::F) -> M::F {
    let (zero, infinity, nan) = (m.float(0.0), m.float(f64::INFINITY), m.float(f64::NAN));
    let minus_infinity = m.float(f64::NEG_INFINITY);
    let top = m.eq(x, infinity);
    let value = m.select(top, infinity, value);
    let bottom = m.eq(x, zero);
    let value = m.select(bottom, minus_infinity, value);
    let valid = m.le(zero, x);
    m.select(valid, value, nan)
}

pub(super) fn log<M: Machine>(m: &mut M, x: M::F) -> M::F {
    if m.is_double() {
        let value = log_positive_64(m, x);
        return special(m, x, value);
    }
    let Some((k, part)) = m.parts(x) else {
        let (k, f) = decompose_from(m, x, 0.75);
        let value = log_32(m, k, f);
        return special(m, x, value);
    };
    // Where k is infinite so is the result, with its sign, and where `part` is NaN.
    let one = m.float(1.0);
    let f = m.sub(part, one);
    log_32(m, k, f)
}

/// `k ln 2 + log(1 + f)` for `f` from -1/4 to 1/2.
fn log_32<M: Machine>(m: &mut M, k: M::F, f: M::F) -> M::F {
    // The first part of ln 2 ends in zeros: its multiples by k are exact. The second is positive.
    let high = 0.693_145_751_953_125;
    let (high, low) = (m.float(high), m.float(LN_2 - high));
    let square = m.mul(f, f);
    let q = polynomial(m, f, &LOG_32);
    let small = m.mul(k, low);
    let small = m.mul_add(square, q, small);
    let inner = m.add(f, small);
    m.mul_add(k, high, inner)
}

fn log_positive_64<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (k, f) = decompose(m, x);
    let t = correction(m, f);
    // The first part of ln 2 ends in zeros: its multiples by k are exact.
    let high = 0.693_147_180_560_117_7;
    let (high, low) = (m.float(high), m.float(LN_2 - high));
    let small = m.mul(k, low);
    let t = m.sub(t, small);
    let inner = m.sub(f, t);
    // Where k = 0 nothing is added twice: k * high + (f - t).
    let large = m.mul(k, high);
    m.add(large, inner)
}

pub(super) fn log2<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (k, f) = decompose(m, x);
    let t = correction(m, f);
    // log(1 + f) in two parts, times 1/ln 2 in two parts.
    let high = m.sub(f, t);
    let lost = m.sub(f, high);
    let low = m.sub(lost, t);
    let scale_high = if m.is_double() { LOG2_E } else { f64::from(LOG2_E as f32) };
    let scale_low = if m.is_double() { 2.035_527_374_093_103_3e-17 } else { LOG2_E - scale_high };
    let (scale_high, scale_low) = (m.float(scale_high), m.float(scale_low));
    let (product, rest) = two_product(m, high, scale_high);
    let rest = m.mul_add(low, scale_high, rest);
    let rest = m.mul_add(high, scale_low, rest);
    let (sum, sum_rest) = super::two_sum(m, k, product);
    let rest = m.add(sum_rest, rest);
    let value = m.add(sum, rest);
    special(m, x, value)
}

pub(super) fn log1p<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let one = m.float(1.0);
    let u = m.add(x, one);
    // What rounding 1 + x took away, relative to u.
    let back = m.sub(u, one);
    let lost = m.sub(x, back);
    let relative = m.div(lost, u);
    let value = log(m, u);
    // The correction is no number where u is 0 or infinite, and nothing where x is large.
    let (size, large) = (abs(m, x), m.float(if m.is_double() { 60f64.exp2() } else { 30f64.exp2() }));
    let zero = m.float(0.0);
    let usable = m.lt(size, large);
    let relative = m.select(usable, relative, zero);
    let gone = m.eq(u, zero);
    let relative = m.select(gone, zero, relative);
    let value = m.add(value, relative);
    let is_zero = m.eq(x, zero);
    m.select(is_zero, x, value)
}

//! Exponentials and what is made of them: with `x = k ln 2 + r` and `|r| <= ln 2 / 2`, `exp(x) = 2^k exp(r)`.

use std::f64::consts::{LN_2, LOG2_E};

use super::{Machine, abs, at_most, clamp, copy_sign, format, neg, polynomial, quotient, two_product};

/// `1/n!` from `n = 2` up.
const FACTORIALS: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// `exp(r)` in powers of `r`, for `|r| <= ln 2 / 2`: of least error where it is largest.
const EXP_32: [f64; 7] = [
    1.0,
    1.0,
    0.499_999_940_395_355_2,
    0.166_665_166_616_439_82,
    0.041_668_280_959_129_333,
    0.008_369_248_360_395_432,
    0.001_382_074_202_410_876_8,
];

/// No rest of an argument in range is as large.
const LARGEST_REST: f64 = 0.5625;

fn factorials<M: Machine>(m: &M) -> &'static [f64] {
    if m.is_double() { &FACTORIALS } else { &FACTORIALS[..6] }
}

/// `ln 2` in two parts, the first with zeros at its end so that its multiples by `k` are exact.
fn ln2_parts<M: Machine>(m: &M) -> (f64, f64) {
    if m.is_double() {
        (0.693_147_180_560_117_7, -1.723_944_452_561_483_5e-13)
    } else {
        (0.693_145_751_953_125, 1.428_606_765_330_187e-6)
    }
}

/// The integer nearest to a float, as an integer and as a float. `|x|` is below 2^21.
pub(super) fn nearest<M: Machine>(m: &mut M, x: M::F) -> (M::I, M::F) {
    let (bits, k) = nearest_low(m, x);
    let magic = format(m).magic;
    let magic = m.float(magic);
    let zero = m.bits(magic);
    (m.sub_int(bits, zero), k)
}

/// As [`nearest`], of the integer the low bits, as many as [`scale`] looks at; those of the magic number are zero.
pub(super) fn nearest_low<M: Machine>(m: &mut M, x: M::F) -> (M::I, M::F) {
    let magic = format(m).magic;
    let magic = m.float(magic);
    let shifted = m.add(x, magic);
    let k = m.sub(shifted, magic);
    (m.bits(shifted), k)
}

/// As [`nearest_low`], of a product.
fn nearest_multiple<M: Machine>(m: &mut M, x: M::F, factor: M::F) -> (M::I, M::F) {
    let magic = format(m).magic;
    let magic = m.float(magic);
    let shifted = m.mul_add(x, factor, magic);
    let k = m.sub(shifted, magic);
    (m.bits(shifted), k)
}

/// `k`, its low bits and as a float, and `r`, of an argument within bounds.
fn reduce<M: Machine>(m: &mut M, x: M::F) -> ((M::I, M::F), M::F) {
    let (high, low) = ln2_parts(m);
    let scale = m.float(LOG2_E);
    let (k, kf) = nearest_multiple(m, x, scale);
    let (high, low) = (m.float(-high), m.float(-low));
    let r = m.mul_add(kf, high, x);
    ((k, kf), m.mul_add(kf, low, r))
}

/// `exp(r) - 1` of a reduced argument.
fn small_expm1<M: Machine>(m: &mut M, r: M::F) -> M::F {
    let tail = polynomial(m, r, factorials(m));
    let square = m.mul(r, r);
    m.mul_add(tail, square, r)
}

/// `v * 2^k` with one rounding, for `|k|` up to twice the largest exponent. Only as many low bits of `k` count as such a
/// number has, with its sign; `kf` is the same as a float.
pub(super) fn scale<M: Machine>(m: &mut M, v: M::F, (k, kf): (M::I, M::F)) -> M::F {
    if let Some(scaled) = m.scaled(v, kf) {
        return scaled;
    }
    let f = format(m);
    // Two factors, since 2^k itself may be out of range: half of k, rounded down, and the rest.
    let exponent = m.int(!((1 << f.mantissa) - 1));
    let half = m.shl(k, f.mantissa - 1);
    let half = m.and_int(half, exponent);
    let whole = m.shl(k, f.mantissa);
    let rest = m.sub_int(whole, half);
    let one = m.int(f.bias << f.mantissa);
    let (first, second) = (m.add_int(half, one), m.add_int(rest, one));
    let (first, second) = (m.of_bits(first), m.of_bits(second));
    let v = m.mul(v, first);
    m.mul(v, second)
}

/// `2^k` of an exponent in range, of which the low bits will do.
fn power_of_two<M: Machine>(m: &mut M, k: M::I) -> M::F {
    let f = format(m);
    let bias = m.int(f.bias);
    let biased = m.add_int(k, bias);
    let bits = m.shl(biased, f.mantissa);
    m.of_bits(bits)
}

/// Arguments outside give infinity and zero as their ends do.
fn exp_range<M: Machine>(m: &M) -> (f64, f64) {
    if m.is_double() { (-746.0, 710.0) } else { (-104.0, 89.0) }
}

/// An argument between bounds; any argument where [`bounded_rest`] bounds the rest instead.
fn bounded<M: Machine>(m: &mut M, x: M::F, lo: f64, hi: f64) -> M::F {
    if m.has_within() { x } else { clamp(m, x, lo, hi) }
}

/// The rest of any argument. Of one out of range `k`, a float that may be infinite, says it all, and the rest may be anything
/// small; NaN is NaN in `k`.
fn bounded_rest<M: Machine>(m: &mut M, r: M::F) -> M::F {
    if !m.has_within() {
        return r;
    }
    let limit = m.float(LARGEST_REST);
    m.within(r, limit)
}

pub(super) fn exp<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (lo, hi) = exp_range(m);
    let x = bounded(m, x, lo, hi);
    let (k, r) = reduce(m, x);
    let r = bounded_rest(m, r);
    let p = small_exp(m, r);
    scale(m, p, k)
}

/// `exp(-x)` of an `x` that is not negative.
pub(super) fn exp_of_negative<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (lo, _) = exp_range(m);
    let x = at_most(m, x, -lo);
    let x = neg(m, x);
    let (k, r) = reduce(m, x);
    let p = small_exp(m, r);
    scale(m, p, k)
}

/// `exp(r)` of a reduced argument.
fn small_exp<M: Machine>(m: &mut M, r: M::F) -> M::F {
    if m.is_fused() && !m.is_double() {
        return polynomial(m, r, &EXP_32);
    }
    // Where products are rounded the sum with 1 comes last.
    let (p, one) = (small_expm1(m, r), m.float(1.0));
    m.add(p, one)
}

/// `p` and `k` of `exp(-x^2) = 2^k p`, of an `x` whose square is within the range; what rounding the square would take away is
/// in it.
pub(super) fn exp_of_minus_square<M: Machine>(m: &mut M, x: M::F) -> (M::F, (M::I, M::F)) {
    let (high, low) = ln2_parts(m);
    let (high, low, scale) = (m.float(high), m.float(low), m.float(-LOG2_E));
    let (square, lost) = two_product(m, x, x);
    let (k, kf) = nearest_multiple(m, square, scale);
    // x^2 + k ln 2, the reduced argument with its sign changed.
    let r = if m.is_fused() {
        let multiple = m.mul(kf, high);
        m.mul_add(x, x, multiple)
    } else {
        let r = m.mul_add(kf, high, square);
        m.add(r, lost)
    };
    let r = m.mul_add(kf, low, r);
    let r = neg(m, r);
    (small_exp(m, r), (k, kf))
}

pub(super) fn exp2<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (lo, hi) = if m.is_double() { (-1080.0, 1025.0) } else { (-152.0, 129.0) };
    let x = bounded(m, x, lo, hi);
    let (k, kf) = nearest_low(m, x);
    let r = m.sub(x, kf);
    let r = bounded_rest(m, r);
    let p = small_exp2(m, r);
    scale(m, p, (k, kf))
}

/// `2^r` for `|r| <= 0.5` and a little more.
pub(super) fn small_exp2<M: Machine>(m: &mut M, r: M::F) -> M::F {
    // (ln 2)^n / n!, the first in two parts.
    let mut coefficients = Vec::with_capacity(FACTORIALS.len());
    let mut power = LN_2;
    for f in factorials(m) {
        power *= LN_2;
        coefficients.push(power * f);
    }
    let tail = polynomial(m, r, &coefficients);
    let square = m.mul(r, r);
    let ln2 = m.float(LN_2);
    let tail = m.mul(tail, square);
    let p = m.mul_add(r, ln2, tail);
    let one = m.float(1.0);
    m.add(p, one)
}

pub(super) fn expm1<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let (lo, hi) = if m.is_double() { (-40.0, 710.0) } else { (-20.0, 89.0) };
    let clamped = clamp(m, x, lo, hi);
    let value = expm1_within(m, clamped);
    // Keeps the sign of zero.
    let zero = m.float(0.0);
    let is_zero = m.eq(x, zero);
    m.select(is_zero, x, value)
}

/// `exp(x) - 1` within the range, but for the sign of zero.
fn expm1_within<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let ((k, _), r) = reduce(m, x);
    let p = small_expm1(m, r);
    // 2 * (2^(k-1) p + (2^(k-1) - 1/2)): 2^k itself may be out of range.
    let one = m.int(1);
    let less = m.sub_int(k, one);
    let factor = power_of_two(m, less);
    let (half, two) = (m.float(0.5), m.float(2.0));
    let constant = m.sub(factor, half);
    let sum = m.mul_add(p, factor, constant);
    m.mul(sum, two)
}

pub(super) fn tanh<M: Machine>(m: &mut M, x: M::F) -> M::F {
    // With t = expm1(-2|x|), tanh |x| = -t / (t + 2).
    let a = abs(m, x);
    // Beyond, it is 1.
    let a = at_most(m, a, if m.is_double() { 20.0 } else { 10.0 });
    let minus_two = m.float(-2.0);
    let argument = m.mul(a, minus_two);
    let t = expm1_within(m, argument);
    let two = m.float(2.0);
    let below = m.add(t, two);
    let above = neg(m, t);
    let value = quotient(m, above, below);
    copy_sign(m, value, x)
}

pub(super) fn sigmoid<M: Machine>(m: &mut M, x: M::F) -> M::F {
    // With e = exp(-|x|): 1 / (1 + e), and e / (1 + e) for negative x, which keeps small results exact.
    let a = abs(m, x);
    let e = exp_of_negative(m, a);
    let (one, zero) = (m.float(1.0), m.float(0.0));
    let below = m.add(one, e);
    let negative = m.lt(x, zero);
    let above = m.select(negative, e, one);
    quotient(m, above, below)
}

//! Sine, cosine, tangent: with `x = k pi/2 + r` and `|r| <= pi/4`, `k mod 4` says which of `sin r` and `cos r` it is.
//!
//! The domain is `|x| <= 2^20` in f32 and `2^30` in f64; beyond it, and for infinities, the result is NaN.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use super::exponential::nearest;
use super::{Machine, abs, neg, polynomial, two_product, two_sum};

/// `(-1)^n/(2n+1)!` from `n = 1` up.
const SINE: [f64; 8] = [
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
    1.0 / 355_687_428_096_000.0,
];

/// `(-1)^n/(2n)!` from `n = 2` up.
const COSINE: [f64; 7] = [
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
];

struct Reduced<M: Machine> {
    /// `k`, of which the low two bits matter.
    k: M::I,
    sin: M::F,
    cos: M::F,
}

/// `pi/2` in three parts of full width.
fn parts<M: Machine>(m: &M) -> [f64; 3] {
    if m.is_double() {
        [FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33]
    } else {
        let first = f64::from(FRAC_PI_2 as f32);
        let second = f64::from((FRAC_PI_2 - first) as f32);
        [first, second, -1.715_124_510_005_881_9e-15]
    }
}

fn reduce<M: Machine>(m: &mut M, x: M::F) -> Reduced<M> {
    // Arguments outside the domain become NaN here, whatever else would come out.
    let limit = m.float(if m.is_double() { 30f64.exp2() } else { 20f64.exp2() });
    let (size, nan) = (abs(m, x), m.float(f64::NAN));
    let inside = m.le(size, limit);
    let x = m.select(inside, x, nan);
    let scale = m.float(FRAC_2_PI);
    let scaled = m.mul(x, scale);
    let (k, kf) = nearest(m, scaled);
    let [a, b, c] = parts(m).map(|v| m.float(v));
    let (r, tail) = if m.is_fused() {
        // x - k a is exact, since it is a multiple of the last bit of `a` and below 1.
        let minus = neg(m, kf);
        let first = m.mul_add(minus, a, x);
        let (product, product_rest) = two_product(m, minus, b);
        let (r, lost) = two_sum(m, first, product);
        let lost = m.add(lost, product_rest);
        (r, m.mul_add(minus, c, lost))
    } else {
        let (p, p_rest) = two_product(m, kf, a);
        let (q, q_rest) = two_product(m, kf, b);
        let first = m.sub(x, p);
        let p_rest = neg(m, p_rest);
        let (second, lost_2) = two_sum(m, first, p_rest);
        let q = neg(m, q);
        let (r, lost_3) = two_sum(m, second, q);
        let tail = m.add(lost_2, lost_3);
        let tail = m.sub(tail, q_rest);
        let last = m.mul(kf, c);
        (r, m.sub(tail, last))
    };
    let (r, tail) = {
        let sum = m.add(r, tail);
        let lost = m.sub(r, sum);
        (sum, m.add(lost, tail))
    };
    let z = m.mul(r, r);
    // sin(r + tail) = sin r + tail cos r, near enough r + (r^3 S(z) + tail).
    let s = polynomial(m, z, if m.is_double() { &SINE } else { &SINE[..4] });
    let cube = m.mul(z, r);
    let s = m.mul_add(s, cube, tail);
    let sin = m.add(r, s);
    // cos(r + tail) = cos r - tail sin r; 1 - z/2 with what its rounding loses.
    let c = polynomial(m, z, if m.is_double() { &COSINE } else { &COSINE[..4] });
    let (one, half) = (m.float(1.0), m.float(0.5));
    let half_z = m.mul(z, half);
    let main = m.sub(one, half_z);
    let lost = m.sub(one, main);
    let lost = m.sub(lost, half_z);
    let square = m.mul(z, z);
    let c = m.mul_add(c, square, lost);
    let cross = m.mul(r, tail);
    let c = m.sub(c, cross);
    let cos = m.add(main, c);
    Reduced { k, sin, cos }
}

/// `cos r` where the lowest bit of `k` is set, else `sin r`; negated where the second bit is.
fn pick<M: Machine>(m: &mut M, k: M::I, sin: M::F, cos: M::F) -> M::F {
    let (zero, one, two) = (m.int(0), m.int(1), m.int(2));
    let low = m.and_int(k, one);
    let even = m.eq_int(low, zero);
    let value = m.select(even, sin, cos);
    let high = m.and_int(k, two);
    let sign = m.shl(high, if m.is_double() { 62 } else { 30 });
    let bits = m.bits(value);
    let bits = m.xor_int(bits, sign);
    m.of_bits(bits)
}

pub(super) fn sin<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let r = reduce(m, x);
    let value = pick(m, r.k, r.sin, r.cos);
    let zero = m.float(0.0);
    let is_zero = m.eq(x, zero);
    m.select(is_zero, x, value)
}

pub(super) fn cos<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let r = reduce(m, x);
    let one = m.int(1);
    let k = m.add_int(r.k, one);
    pick(m, k, r.sin, r.cos)
}

pub(super) fn tan<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let r = reduce(m, x);
    let (zero, one) = (m.int(0), m.int(1));
    let low = m.and_int(r.k, one);
    let even = m.eq_int(low, zero);
    let minus = neg(m, r.cos);
    let above = m.select(even, r.sin, minus);
    let below = m.select(even, r.cos, r.sin);
    let value = m.div(above, below);
    let zero = m.float(0.0);
    let is_zero = m.eq(x, zero);
    m.select(is_zero, x, value)
}

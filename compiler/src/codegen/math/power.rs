//! Powers: `x^y = 2^(y log2 |x|)`, the logarithm in two parts.

use std::f64::consts::LOG2_E;

use super::exponential::{nearest_low, scale, small_exp2};
use super::logarithm::{ODD, decompose};
use super::{Machine, abs, clamp, copy_sign, polynomial, two_product, two_sum};

/// `x` to the power `y`, with the special values of IEEE 754 `pow`.
pub fn pow<M: Machine>(m: &mut M, x: M::F, y: M::F) -> M::F {
    let size = abs(m, x);
    let (high, low) = log2_parts(m, size);
    // y times the logarithm, in two parts; past the bounds the low part has no say.
    let bound = if m.is_double() { 1100.0 } else { 160.0 };
    let (product, rest) = two_product(m, y, high);
    let rest = m.mul_add(y, low, rest);
    let clamped = clamp(m, product, -bound, bound);
    let inside = m.eq(clamped, product);
    let zero = m.float(0.0);
    let rest = m.select(inside, rest, zero);
    let (k, kf) = nearest_low(m, clamped);
    let r = m.sub(clamped, kf);
    let r = m.add(r, rest);
    let p = small_exp2(m, r);
    let magnitude = scale(m, p, (k, kf));
    special(m, x, y, size, magnitude)
}

/// `log2` of a positive finite number, to half as many bits again as the type has.
fn log2_parts<M: Machine>(m: &mut M, x: M::F) -> (M::F, M::F) {
    let (k, f) = decompose(m, x);
    let two = m.float(2.0);
    // s = f / (2 + f) in two parts.
    let (below, below_low) = two_sum(m, two, f);
    let s = m.div(f, below);
    let (product, product_rest) = two_product(m, s, below);
    let left = m.sub(f, product);
    let left = m.sub(left, product_rest);
    let missing = m.mul(s, below_low);
    let left = m.sub(left, missing);
    let s_low = m.div(left, below);
    // log(1 + f) = 2s + 2 (1 + z) s_low + s z (2/3 + 2z/5 + ..), the first term of the series in two parts as well: the
    // exponent is up to as large as the type's, and so much larger are the errors.
    let (z, z_low) = two_product(m, s, s);
    let (cube, cube_low) = two_product(m, s, z);
    let cube_low = m.mul_add(s, z_low, cube_low);
    let (third, third_low) = two_thirds(m);
    let (first, first_low) = two_product(m, cube, third);
    let small = m.mul_add(cube_low, third, first_low);
    let small = m.mul_add(cube, third_low, small);
    let series = polynomial(m, z, if m.is_double() { &ODD[1..] } else { &ODD[1..5] });
    let series = m.mul(series, z);
    let small = m.mul_add(cube, series, small);
    let slope = m.mul_add(z, two, two);
    let small = m.mul_add(s_low, slope, small);
    let twice = m.add(s, s);
    let (high, low) = two_sum(m, twice, first);
    let low = m.add(low, small);
    let (high, low) = two_sum(m, high, low);
    // Times 1/ln 2 in two parts, plus k.
    let scale_high = if m.is_double() { LOG2_E } else { f64::from(LOG2_E as f32) };
    let scale_low = if m.is_double() { 2.035_527_374_093_103_3e-17 } else { LOG2_E - scale_high };
    let (scale_high, scale_low) = (m.float(scale_high), m.float(scale_low));
    let (product, rest) = two_product(m, high, scale_high);
    let rest = m.mul_add(low, scale_high, rest);
    let rest = m.mul_add(high, scale_low, rest);
    let (sum, lost) = two_sum(m, k, product);
    let low = m.add(lost, rest);
    two_sum(m, sum, low)
}

/// 2/3 in two parts.
fn two_thirds<M: Machine>(m: &mut M) -> (M::F, M::F) {
    let (high, low) = match m.is_double() {
        true => (2.0 / 3.0, 3.700_743_415_417_189e-17),
        false => (f64::from(2f32 / 3.0), 2.0 / 3.0 - f64::from(2f32 / 3.0)),
    };
    (m.float(high), m.float(low))
}

fn special<M: Machine>(m: &mut M, x: M::F, y: M::F, size: M::F, value: M::F) -> M::F {
    let (zero, one) = (m.float(0.0), m.float(1.0));
    let (infinity, nan) = (m.float(f64::INFINITY), m.float(f64::NAN));
    // Zero and infinity to any power.
    let rising = m.lt(zero, y);
    let of_zero = m.select(rising, zero, infinity);
    let of_infinity = m.select(rising, infinity, zero);
    let is_zero = m.eq(size, zero);
    let value = m.select(is_zero, of_zero, value);
    let is_infinite = m.eq(size, infinity);
    let value = m.select(is_infinite, of_infinity, value);
    // Any number to an infinite power.
    let y_size = abs(m, y);
    let endless = m.eq(y_size, infinity);
    let small = m.lt(size, one);
    let shrinks = m.select(small, one, zero);
    let rises = m.select(rising, one, zero);
    let differ = m.eq(shrinks, rises);
    let to_endless = m.select(differ, zero, infinity);
    let value = m.select(endless, to_endless, value);
    let is_one = m.eq(size, one);
    let value = m.select(is_one, one, value);
    // NaN operands, but for the cases below.
    let x_number = m.eq(x, x);
    let value = m.select(x_number, value, nan);
    let y_number = m.eq(y, y);
    let value = m.select(y_number, value, nan);
    // A negative base: the sign of odd powers, no number for powers that are not integers.
    let whole = m.trunc(y);
    let is_whole = m.eq(whole, y);
    let half = m.float(0.5);
    let halved = m.mul(y, half);
    let halved_whole = m.trunc(halved);
    let is_even = m.eq(halved, halved_whole);
    let signed = copy_sign(m, value, x);
    let odd_value = m.select(is_even, value, signed);
    let negative = m.lt(x, zero);
    let whole_value = m.select(is_whole, odd_value, value);
    let negative_finite = m.lt(zero, size);
    let negative_finite = m.both(negative, negative_finite);
    let finite = m.lt(size, infinity);
    let negative_finite = m.both(negative_finite, finite);
    let refused = m.select(is_whole, whole_value, nan);
    let value = m.select(negative_finite, refused, whole_value);
    // Always 1.
    let no_power = m.eq(y, zero);
    let value = m.select(no_power, one, value);
    let of_one = m.eq(x, one);
    m.select(of_one, one, value)
}

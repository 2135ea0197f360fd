//! Functions of one float as sequences of arithmetic on an abstract machine, so that every generator writes the same
//! ones out and the tests run them on plain numbers. Errors are measured in `docs/math.md`.
//!
//! Nothing here branches: special values are selected at the end. Subnormal numbers are exact like all others.

mod error_function;
mod exponential;
mod logarithm;
mod power;
#[cfg(test)]
mod tests;
mod trigonometric;

use crate::nest::ir::MathFn;

/// What the functions are computed with: floats of one width (32 or 64 bits), integers of the same width, truth
/// values. An implementation may hold one of each or a vector of them.
pub trait Machine {
    /// A float.
    type F: Copy;
    /// An integer of the float's width.
    type I: Copy;
    /// A truth value.
    type M: Copy;

    /// Whether floats are binary64; binary32 otherwise.
    fn is_double(&self) -> bool;
    /// Whether [`Machine::mul_add`] rounds once.
    fn is_fused(&self) -> bool;
    /// A constant, rounded to the width.
    fn float(&mut self, v: f64) -> Self::F;
    /// A constant.
    fn int(&mut self, v: i64) -> Self::I;

    /// Sum.
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// Difference.
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// Product.
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// Quotient.
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    fn mul_add(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(&mut self, a: Self::F) -> Self::F;
    /// `a * 2^k` of an integer `k`, rounded once, where that is an instruction.
    fn scaled(&mut self, _a: Self::F, _k: Self::F) -> Option<Self::F> {
        None
    }
    /// Whether [`Machine::scaled`] and [`Machine::within`] are instructions.
    fn has_within(&self) -> bool {
        false
    }
    /// `a` where its magnitude is at most `limit`, else `limit` with the sign of `a`, also where `a` is NaN. Asked for where
    /// there [is](Machine::has_within) such an instruction.
    fn within(&mut self, a: Self::F, _limit: Self::F) -> Self::F {
        a
    }
    /// `1 / a`, or with `root` `1 / sqrt(a)`, to 14 bits, exact at zero and infinity, where that is an instruction.
    fn estimate(&mut self, _root: bool, _a: Self::F) -> Option<Self::F> {
        None
    }
    /// `k` and `m` of `a = 2^k m` with `m` from 3/4 to 3/2, where that is an instruction; of zero and infinity `m` is 1 and `k`
    /// infinite, of what has no logarithm `m` is NaN.
    fn parts(&mut self, _a: Self::F) -> Option<(Self::F, Self::F)> {
        None
    }
    /// A float of the same magnitude, and whether it has the other sign: the same one for a float and its negation, where that
    /// is known.
    fn signs_apart(&mut self, a: Self::F) -> (Self::F, bool) {
        (a, false)
    }
    /// Nearest integer, ties to even.
    fn round(&mut self, a: Self::F) -> Self::F;
    /// Integer part.
    fn trunc(&mut self, a: Self::F) -> Self::F;

    /// `a < b`.
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a <= b`.
    fn le(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`.
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b` of integers.
    fn eq_int(&mut self, a: Self::I, b: Self::I) -> Self::M;
    /// Both.
    fn both(&mut self, a: Self::M, b: Self::M) -> Self::M;
    /// `a` where `m` holds, else `b`.
    fn select(&mut self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The bits of a float.
    fn bits(&mut self, a: Self::F) -> Self::I;
    /// The float of the bits.
    fn of_bits(&mut self, a: Self::I) -> Self::F;
    /// Sum, wrapping.
    fn add_int(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Difference, wrapping.
    fn sub_int(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and_int(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or_int(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise exclusive or.
    fn xor_int(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Shift left.
    fn shl(&mut self, a: Self::I, count: u32) -> Self::I;
    /// Shift right, zeros coming in.
    fn shr(&mut self, a: Self::I, count: u32) -> Self::I;
}

/// `f(x)`.
pub fn apply<M: Machine>(m: &mut M, f: MathFn, x: M::F) -> M::F {
    match f {
        MathFn::Exp => exponential::exp(m, x),
        MathFn::Exp2 => exponential::exp2(m, x),
        MathFn::Expm1 => exponential::expm1(m, x),
        MathFn::Tanh => exponential::tanh(m, x),
        MathFn::Sigmoid => exponential::sigmoid(m, x),
        MathFn::Log => logarithm::log(m, x),
        MathFn::Log2 => logarithm::log2(m, x),
        MathFn::Log1p => logarithm::log1p(m, x),
        MathFn::Sin => trigonometric::sin(m, x),
        MathFn::Cos => trigonometric::cos(m, x),
        MathFn::Tan => trigonometric::tan(m, x),
        MathFn::Erf => error_function::erf(m, x),
        MathFn::Erfc => error_function::erfc(m, x),
        MathFn::Rsqrt => rsqrt(m, x),
    }
}

pub use power::pow;

/// `1 / sqrt(x)`; from an estimate `y`, by the series of `y / sqrt(1 - e)` with `e = 1 - x y^2`.
fn rsqrt<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let one = m.float(1.0);
    let Some(y) = m.estimate(true, x) else {
        let root = m.sqrt(x);
        return m.div(one, root);
    };
    let product = m.mul(x, y);
    let minus = neg(m, product);
    let e = m.mul_add(minus, y, one);
    let (second, first) = (m.float(0.375), m.float(0.5));
    let series = m.mul_add(e, second, first);
    let step = m.mul(y, e);
    let better = m.mul_add(series, step, y);
    // At zero and infinity `e` is no number, and the estimate is right.
    let usable = m.eq(e, e);
    m.select(usable, better, y)
}

/// `a / b`, where `b` is of moderate size and positive, with an error of hardly more than half a unit in the last place: an
/// estimate to 14 bits and one step leave 28; of a zero the sign may be lost.
fn quotient<M: Machine>(m: &mut M, a: M::F, b: M::F) -> M::F {
    let Some(r) = m.estimate(false, b) else { return m.div(a, b) };
    let minus = neg(m, b);
    let q = m.mul(a, r);
    let rest = m.mul_add(minus, q, a);
    m.mul_add(rest, r, q)
}

/// `1 / b`, as [`quotient`].
fn reciprocal<M: Machine>(m: &mut M, b: M::F) -> M::F {
    let one = m.float(1.0);
    let Some(r) = m.estimate(false, b) else { return m.div(one, b) };
    let minus = neg(m, b);
    let rest = m.mul_add(minus, r, one);
    m.mul_add(rest, r, r)
}

/// Shape of a float: stored mantissa bits, exponent bias, sign bit.
struct Format {
    mantissa: u32,
    bias: i64,
    /// All bits but the sign.
    magnitude: i64,
    sign: i64,
    /// Adding and subtracting it rounds to an integer, which appears in the low bits in between.
    magic: f64,
}

fn format<M: Machine>(m: &M) -> Format {
    if m.is_double() {
        let magic = 6_755_399_441_055_744.0; // 1.5 * 2^52
        Format { mantissa: 52, bias: 1023, magnitude: i64::MAX, sign: i64::MIN, magic }
    } else {
        let magic = 12_582_912.0; // 1.5 * 2^23
        Format { mantissa: 23, bias: 127, magnitude: 0x7FFF_FFFF, sign: 0x8000_0000, magic }
    }
}

/// The polynomial with the given coefficients, of `x^0` first.
fn polynomial<M: Machine>(m: &mut M, x: M::F, coefficients: &[f64]) -> M::F {
    let (last, rest) = match coefficients.split_last() {
        Some((last, rest)) => (*last, rest),
        None => (0.0, coefficients),
    };
    let mut sum = m.float(last);
    for &c in rest.iter().rev() {
        let c = m.float(c);
        sum = m.mul_add(sum, x, c);
    }
    sum
}

fn neg<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let sign = format(m).sign;
    let (bits, sign) = (m.bits(x), m.int(sign));
    let flipped = m.xor_int(bits, sign);
    m.of_bits(flipped)
}

fn abs<M: Machine>(m: &mut M, x: M::F) -> M::F {
    let magnitude = format(m).magnitude;
    let (bits, mask) = (m.bits(x), m.int(magnitude));
    let cleared = m.and_int(bits, mask);
    m.of_bits(cleared)
}

/// The magnitude of `x`, which is not negative, with the sign of `y`.
fn copy_sign<M: Machine>(m: &mut M, x: M::F, y: M::F) -> M::F {
    let sign = format(m).sign;
    let (sign, y, x) = (m.int(sign), m.bits(y), m.bits(x));
    let sign = m.and_int(y, sign);
    let signed = m.or_int(x, sign);
    m.of_bits(signed)
}

/// `x` kept within bounds; NaN stays NaN.
fn clamp<M: Machine>(m: &mut M, x: M::F, lo: f64, hi: f64) -> M::F {
    let lo = m.float(lo);
    let below = m.lt(x, lo);
    let x = m.select(below, lo, x);
    at_most(m, x, hi)
}

/// `x` where it is less than a bound, else the bound; NaN stays NaN.
fn at_most<M: Machine>(m: &mut M, x: M::F, hi: f64) -> M::F {
    let hi = m.float(hi);
    let above = m.lt(hi, x);
    m.select(above, hi, x)
}

/// `a * b` and what rounding took from it.
fn two_product<M: Machine>(m: &mut M, a: M::F, b: M::F) -> (M::F, M::F) {
    let product = m.mul(a, b);
    if m.is_fused() {
        let minus = neg(m, product);
        return (product, m.mul_add(a, b, minus));
    }
    let ((ah, al), (bh, bl)) = (split(m, a), split(m, b));
    let hh = m.mul(ah, bh);
    let rest = m.sub(hh, product);
    let hl = m.mul(ah, bl);
    let rest = m.add(rest, hl);
    let lh = m.mul(al, bh);
    let rest = m.add(rest, lh);
    let ll = m.mul(al, bl);
    (product, m.add(rest, ll))
}

/// Halves of a mantissa.
fn split<M: Machine>(m: &mut M, a: M::F) -> (M::F, M::F) {
    let factor = m.float(if m.is_double() { 134_217_729.0 } else { 4097.0 });
    let scaled = m.mul(a, factor);
    let rest = m.sub(scaled, a);
    let high = m.sub(scaled, rest);
    (high, m.sub(a, high))
}

/// `a + b` and what rounding took from it.
fn two_sum<M: Machine>(m: &mut M, a: M::F, b: M::F) -> (M::F, M::F) {
    let sum = m.add(a, b);
    let b_part = m.sub(sum, a);
    let a_part = m.sub(sum, b_part);
    let (a_lost, b_lost) = (m.sub(a, a_part), m.sub(b, b_part));
    (sum, m.add(a_lost, b_lost))
}

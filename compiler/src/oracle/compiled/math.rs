//! Special functions in `f64`, written out in instructions: argument reduction, then a series.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::emit::Emitter;
use crate::hir::ir::Function;

/// `ln 2` in two parts; the first has trailing zeros, so that its product with a small integer is exact.
const LN2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);

/// `pi / 2` in four parts of 33 bits.
const HALF_PI: [f64; 4] = [
    1.570_796_326_734_125_6,
    6.077_100_506_303_966e-11,
    2.022_266_248_711_166_5e-21,
    8.478_427_660_368_9e-32,
];

/// Where the error functions pass from their series to their continued fraction: above it `1 - erf` would lose digits,
/// below it the fraction converges slowly.
const ERF_SWITCH: f64 = 1.25;

/// Factors `1 / n!` for `n` in `0..count`.
fn inverse_factorials(count: u32) -> Vec<f64> {
    (0..count).map(|n| 1.0 / (1..=n).map(f64::from).product::<f64>()).collect()
}

impl Emitter<'_, '_> {
    fn f(&mut self, v: f64) -> Value {
        self.b.ins().f64const(v)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fdiv(a, b)
    }

    fn scale(&mut self, a: Value, k: f64) -> Value {
        let k = self.f(k);
        self.b.ins().fmul(a, k)
    }

    fn plus(&mut self, a: Value, k: f64) -> Value {
        let k = self.f(k);
        self.b.ins().fadd(a, k)
    }

    /// `c ? a : b`.
    fn pick(&mut self, c: Value, a: Value, b: Value) -> Value {
        self.b.ins().select(c, a, b)
    }

    fn compare(&mut self, code: FloatCC, a: Value, k: f64) -> Value {
        let k = self.f(k);
        self.b.ins().fcmp(code, a, k)
    }

    /// `c[0] + c[1] x + c[2] x^2 + ..`
    fn polynomial(&mut self, x: Value, c: &[f64]) -> Value {
        let mut sum = self.f(c.last().copied().unwrap_or(0.0));
        for &c in c.iter().rev().skip(1) {
            let product = self.mul(sum, x);
            sum = self.plus(product, c);
        }
        sum
    }

    fn bits(&mut self, x: Value) -> Value {
        self.b.ins().bitcast(types::I64, MemFlagsData::new(), x)
    }

    fn float(&mut self, bits: Value) -> Value {
        self.b.ins().bitcast(types::F64, MemFlagsData::new(), bits)
    }

    /// `2^k` for `k` in the range of normal numbers.
    fn power_of_two(&mut self, k: Value) -> Value {
        let biased = self.b.ins().iadd_imm_s(k, 1023);
        let bits = self.b.ins().ishl_imm_s(biased, 52);
        self.float(bits)
    }

    /// `e^r 2^k` for `|r|` up to 0.35 and an integral `k`.
    fn exp_of(&mut self, r: Value, k: Value) -> Value {
        let p = self.polynomial(r, &inverse_factorials(15));
        let k = self.b.ins().fcvt_to_sint_sat(types::I64, k);
        // In two steps, so that results below the normal range are reached.
        let half = self.b.ins().sshr_imm_s(k, 1);
        let rest = self.b.ins().isub(k, half);
        let (a, b) = (self.power_of_two(half), self.power_of_two(rest));
        let p = self.mul(p, a);
        self.mul(p, b)
    }

    /// `x` kept inside `-limit..limit`; NaN stays.
    fn limited(&mut self, x: Value, limit: f64) -> Value {
        let (hi, lo) = (self.f(limit), self.f(-limit));
        let above = self.b.ins().fcmp(FloatCC::GreaterThan, x, hi);
        let x = self.pick(above, hi, x);
        let below = self.b.ins().fcmp(FloatCC::LessThan, x, lo);
        self.pick(below, lo, x)
    }

    fn exp(&mut self, x: Value) -> Value {
        let x = self.limited(x, 800.0);
        let t = self.scale(x, std::f64::consts::LOG2_E);
        let k = self.b.ins().nearest(t);
        let (hi, lo) = (self.scale(k, LN2.0), self.scale(k, LN2.1));
        let r = self.sub(x, hi);
        let r = self.sub(r, lo);
        self.exp_of(r, k)
    }

    fn exp2(&mut self, x: Value) -> Value {
        let x = self.limited(x, 1200.0);
        let k = self.b.ins().nearest(x);
        let fraction = self.sub(x, k);
        let r = self.scale(fraction, std::f64::consts::LN_2);
        self.exp_of(r, k)
    }

    /// `(e, log m)` with `x = m 2^e`, `m` between the square roots of 1/2 and 2; for positive finite `x`.
    fn log_parts(&mut self, x: Value) -> (Value, Value) {
        let tiny = self.compare(FloatCC::LessThan, x, f64::MIN_POSITIVE);
        let scaled = self.scale(x, (54f64).exp2());
        let x = self.pick(tiny, scaled, x);
        let bits = self.bits(x);
        // The exponent of x / sqrt(1/2), in whole numbers.
        let root = i64::from_ne_bytes(std::f64::consts::FRAC_1_SQRT_2.to_bits().to_ne_bytes());
        let above = self.b.ins().iadd_imm_s(bits, -root);
        let e = self.b.ins().sshr_imm_s(above, 52);
        let shift = self.b.ins().ishl_imm_s(e, 52);
        let m = self.b.ins().isub(bits, shift);
        let m = self.float(m);
        let e = self.b.ins().fcvt_from_sint(types::F64, e);
        let less = self.plus(e, -54.0);
        let e = self.pick(tiny, less, e);
        // log m = 2 atanh s = 2 (s + s^3/3 + s^5/5 + ..) with s = (m - 1) / (m + 1).
        let (num, den) = (self.plus(m, -1.0), self.plus(m, 1.0));
        let s = self.div(num, den);
        let z = self.mul(s, s);
        let series: Vec<f64> = (0..12).map(|n| 2.0 / f64::from(2 * n + 1)).collect();
        let p = self.polynomial(z, &series);
        (e, self.mul(s, p))
    }

    /// `v`, or what a logarithm is where `x` is not positive and finite.
    fn log_ends(&mut self, x: Value, v: Value) -> Value {
        let (infinite, nan) = (self.f(f64::INFINITY), self.f(f64::NAN));
        let top = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, x, infinite);
        let v = self.pick(top, x, v);
        // Also where x is NaN.
        let bad = self.compare(FloatCC::UnorderedOrLessThan, x, 0.0);
        let v = self.pick(bad, nan, v);
        let zero = self.compare(FloatCC::Equal, x, 0.0);
        let lowest = self.f(f64::NEG_INFINITY);
        self.pick(zero, lowest, v)
    }

    fn log(&mut self, x: Value) -> Value {
        let (e, m) = self.log_parts(x);
        let (hi, lo) = (self.scale(e, LN2.0), self.scale(e, LN2.1));
        let low = self.add(m, lo);
        let v = self.add(hi, low);
        self.log_ends(x, v)
    }

    fn log2(&mut self, x: Value) -> Value {
        let (e, m) = self.log_parts(x);
        let m = self.scale(m, std::f64::consts::LOG2_E);
        let v = self.add(e, m);
        self.log_ends(x, v)
    }

    /// `log(u) x / (u - 1)` with `u = 1 + x` rounded: the errors of both factors cancel.
    fn log1p(&mut self, x: Value) -> Value {
        let u = self.plus(x, 1.0);
        let l = self.log(u);
        let d = self.plus(u, -1.0);
        let q = self.div(x, d);
        let v = self.mul(l, q);
        let small = self.compare(FloatCC::Equal, d, 0.0);
        let v = self.pick(small, x, v);
        let large = self.compare(FloatCC::GreaterThan, x, 1e300);
        self.pick(large, l, v)
    }

    fn expm1(&mut self, x: Value) -> Value {
        let e = self.exp(x);
        let far = self.plus(e, -1.0);
        let series = &inverse_factorials(19)[1..];
        let p = self.polynomial(x, series);
        let near = self.mul(x, p);
        let size = self.b.ins().fabs(x);
        let is_near = self.compare(FloatCC::LessThan, size, 0.5);
        self.pick(is_near, near, far)
    }

    fn tanh(&mut self, x: Value) -> Value {
        let size = self.b.ins().fabs(x);
        let size = self.limited(size, 22.0);
        let twice = self.add(size, size);
        let t = self.expm1(twice);
        let den = self.plus(t, 2.0);
        let v = self.div(t, den);
        self.b.ins().fcopysign(v, x)
    }

    fn sigmoid(&mut self, x: Value) -> Value {
        let negated = self.b.ins().fneg(x);
        let e = self.exp(negated);
        let den = self.plus(e, 1.0);
        let one = self.f(1.0);
        self.div(one, den)
    }

    /// Sine and cosine.
    pub(super) fn sin_cos(&mut self, x: Value) -> (Value, Value) {
        let t = self.scale(x, std::f64::consts::FRAC_2_PI);
        let k = self.b.ins().nearest(t);
        let mut r = x;
        for part in HALF_PI {
            let step = self.scale(k, part);
            r = self.sub(r, step);
        }
        let z = self.mul(r, r);
        let factors = inverse_factorials(20);
        let alternating = |from: usize| -> Vec<f64> {
            let terms = factors.iter().skip(from).step_by(2).zip([1.0, -1.0].into_iter().cycle());
            terms.map(|(f, s)| f * s).collect()
        };
        let odd = self.polynomial(z, &alternating(1));
        let sin = self.mul(r, odd);
        let cos = self.polynomial(z, &alternating(0));
        let q = self.b.ins().fcvt_to_sint_sat(types::I64, k);
        let turned = self.b.ins().band_imm_s(q, 1);
        let turned = self.b.ins().icmp_imm_s(IntCC::NotEqual, turned, 0);
        let (s, c) = (self.pick(turned, cos, sin), self.pick(turned, sin, cos));
        let negated = |e: &mut Self, v: Value, q: Value| {
            let bit = e.b.ins().band_imm_s(q, 2);
            let flip = e.b.ins().icmp_imm_s(IntCC::NotEqual, bit, 0);
            let other = e.b.ins().fneg(v);
            e.pick(flip, other, v)
        };
        let after = self.b.ins().iadd_imm_s(q, 1);
        (negated(self, s, q), negated(self, c, after))
    }

    /// `e^(b ln a)`, with the sign of a negative `a` to an odd power.
    pub(super) fn pow(&mut self, a: Value, b: Value) -> Value {
        let size = self.b.ins().fabs(a);
        // b (e + m) with e whole: the product with the upper half of b is exact.
        let (e, m) = self.log_parts(size);
        let m = self.scale(m, std::f64::consts::LOG2_E);
        let upper = self.bits(b);
        let upper = self.b.ins().band_imm_s(upper, !0x7FF_FFFF);
        let upper = self.float(upper);
        let lower = self.sub(b, upper);
        let (big, small) = (self.mul(upper, e), self.mul(lower, e));
        let fine = self.mul(b, m);
        let fine = self.add(fine, small);
        let total = self.add(big, fine);
        let total = self.limited(total, 1200.0);
        let k = self.b.ins().nearest(total);
        let rest = self.sub(big, k);
        let rest = self.add(rest, fine);
        // Beyond the range of results the difference means nothing.
        let rest = self.limited(rest, 1.0);
        let r = self.scale(rest, std::f64::consts::LN_2);
        let v = self.exp_of(r, k);
        let v = self.pow_ends(size, b, v);
        let whole = self.b.ins().nearest(b);
        let is_whole = self.b.ins().fcmp(FloatCC::Equal, whole, b);
        let half = self.scale(b, 0.5);
        let half_whole = self.b.ins().nearest(half);
        let is_odd = self.b.ins().fcmp(FloatCC::NotEqual, half, half_whole);
        let is_odd = self.b.ins().band(is_odd, is_whole);
        let negated = self.b.ins().fneg(v);
        let signed = self.pick(is_odd, negated, v);
        let nan = self.f(f64::NAN);
        let signed = self.pick(is_whole, signed, nan);
        let negative = self.compare(FloatCC::LessThan, a, 0.0);
        let v = self.pick(negative, signed, v);
        let none = self.compare(FloatCC::Equal, b, 0.0);
        let one = self.f(1.0);
        self.pick(none, one, v)
    }

    /// `v`, or the power of zero, infinity and NaN.
    fn pow_ends(&mut self, size: Value, b: Value, v: Value) -> Value {
        let (zero, infinite) = (self.f(0.0), self.f(f64::INFINITY));
        let falling = self.compare(FloatCC::LessThan, b, 0.0);
        let at_zero = self.pick(falling, infinite, zero);
        let is_zero = self.compare(FloatCC::Equal, size, 0.0);
        let v = self.pick(is_zero, at_zero, v);
        let at_infinity = self.pick(falling, zero, infinite);
        let is_infinite = self.b.ins().fcmp(FloatCC::Equal, size, infinite);
        let v = self.pick(is_infinite, at_infinity, v);
        let sum = self.add(size, b);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, sum, sum);
        self.pick(nan, sum, v)
    }

    /// `(erf x, erfc x)`.
    fn erf_pair(&mut self, x: Value) -> (Value, Value) {
        let one = self.f(1.0);
        let size = self.b.ins().fabs(x);
        // Near: x exp(-x^2) 2/sqrt(pi) (1 + y/3 (1 + y/5 (1 + ..))) with y = 2 x^2.
        let near = self.limited(size, ERF_SWITCH);
        let square = self.mul(near, near);
        let y = self.add(square, square);
        let mut sum = one;
        for n in (1..=36).rev() {
            let t = self.scale(sum, 1.0 / f64::from(2 * n + 1));
            let t = self.mul(t, y);
            sum = self.plus(t, 1.0);
        }
        let down = self.b.ins().fneg(square);
        let e = self.exp(down);
        let p = self.mul(near, e);
        let p = self.mul(p, sum);
        let erf_near = self.scale(p, std::f64::consts::FRAC_2_SQRT_PI);
        // Far: exp(-x^2) / sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ..)))).
        let switch = self.f(ERF_SWITCH);
        let is_far = self.b.ins().fcmp(FloatCC::GreaterThan, size, switch);
        let far = self.pick(is_far, size, switch);
        let far = self.limited(far, 40.0);
        let mut fraction = far;
        for n in (1..=110).rev() {
            let k = self.f(f64::from(n) / 2.0);
            let t = self.div(k, fraction);
            fraction = self.add(far, t);
        }
        let bits = self.bits(far);
        let high = self.b.ins().band_imm_s(bits, !0xFFFF_FFFF);
        let high = self.float(high);
        let low = self.sub(far, high);
        let square = self.mul(high, high);
        let down = self.b.ins().fneg(square);
        let a = self.exp(down);
        let both = self.add(far, high);
        let cross = self.mul(both, low);
        let down = self.b.ins().fneg(cross);
        let b = self.exp(down);
        let e = self.mul(a, b);
        let den = self.scale(fraction, std::f64::consts::PI.sqrt());
        let tail = self.div(e, den);
        let erf_far = self.sub(one, tail);
        let erf = self.pick(is_far, erf_far, erf_near);
        let erf = self.b.ins().fcopysign(erf, x);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        let erf = self.pick(nan, x, erf);
        let rest = self.sub(one, erf);
        let up = self.compare(FloatCC::GreaterThan, x, ERF_SWITCH);
        let erfc = self.pick(up, tail, rest);
        (erf, erfc)
    }

    /// A function of one float; `None` if it is not one.
    pub(super) fn real_function(&mut self, f: Function, x: Value) -> Option<Value> {
        Some(match f {
            Function::Abs => self.b.ins().fabs(x),
            Function::Floor => self.b.ins().floor(x),
            Function::Ceil => self.b.ins().ceil(x),
            Function::Round => self.b.ins().nearest(x),
            Function::Trunc => self.b.ins().trunc(x),
            Function::Sqrt => self.b.ins().sqrt(x),
            Function::Rsqrt => {
                let (one, root) = (self.f(1.0), self.b.ins().sqrt(x));
                self.div(one, root)
            }
            Function::Exp => self.exp(x),
            Function::Exp2 => self.exp2(x),
            Function::Log => self.log(x),
            Function::Log2 => self.log2(x),
            Function::Log1p => self.log1p(x),
            Function::Expm1 => self.expm1(x),
            Function::Sin => self.sin_cos(x).0,
            Function::Cos => self.sin_cos(x).1,
            Function::Tan => {
                let (sin, cos) = self.sin_cos(x);
                self.div(sin, cos)
            }
            Function::Tanh => self.tanh(x),
            Function::Sigmoid => self.sigmoid(x),
            Function::Erf => self.erf_pair(x).0,
            Function::Erfc => self.erf_pair(x).1,
            Function::Sign => {
                let (one, less) = (self.f(1.0), self.f(-1.0));
                let up = self.compare(FloatCC::GreaterThan, x, 0.0);
                let down = self.compare(FloatCC::LessThan, x, 0.0);
                let v = self.pick(down, less, x);
                self.pick(up, one, v)
            }
            _ => return None,
        })
    }
}

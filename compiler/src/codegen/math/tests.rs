//! The functions on plain numbers, against f64 (for f32) and against sums in higher precision (for f64).

use rooftile_artifact::{DType, Scalar};

use super::{Machine, apply, pow};
use crate::nest::eval;
use crate::nest::ir::MathFn;

/// Plain numbers. `fused` decides how products are added.
struct Single {
    fused: bool,
}

struct Double {
    fused: bool,
}

macro_rules! machine {
    ($name:ident, $float:ty, $int:ty, $double:expr) => {
        impl Machine for $name {
            type F = $float;
            type I = $int;
            type M = bool;
            fn is_double(&self) -> bool {
                $double
            }
            fn is_fused(&self) -> bool {
                self.fused
            }
            fn float(&mut self, v: f64) -> $float {
                v as $float
            }
            fn int(&mut self, v: i64) -> $int {
                v as $int
            }
            fn add(&mut self, a: $float, b: $float) -> $float {
                a + b
            }
            fn sub(&mut self, a: $float, b: $float) -> $float {
                a - b
            }
            fn mul(&mut self, a: $float, b: $float) -> $float {
                a * b
            }
            fn div(&mut self, a: $float, b: $float) -> $float {
                a / b
            }
            fn mul_add(&mut self, a: $float, b: $float, c: $float) -> $float {
                if self.fused { a.mul_add(b, c) } else { a * b + c }
            }
            fn sqrt(&mut self, a: $float) -> $float {
                a.sqrt()
            }
            fn round(&mut self, a: $float) -> $float {
                a.round_ties_even()
            }
            fn trunc(&mut self, a: $float) -> $float {
                a.trunc()
            }
            fn lt(&mut self, a: $float, b: $float) -> bool {
                a < b
            }
            fn le(&mut self, a: $float, b: $float) -> bool {
                a <= b
            }
            fn eq(&mut self, a: $float, b: $float) -> bool {
                a == b
            }
            fn eq_int(&mut self, a: $int, b: $int) -> bool {
                a == b
            }
            fn both(&mut self, a: bool, b: bool) -> bool {
                a && b
            }
            fn select(&mut self, m: bool, a: $float, b: $float) -> $float {
                if m { a } else { b }
            }
            fn bits(&mut self, a: $float) -> $int {
                a.to_bits()
            }
            fn of_bits(&mut self, a: $int) -> $float {
                <$float>::from_bits(a)
            }
            fn add_int(&mut self, a: $int, b: $int) -> $int {
                a.wrapping_add(b)
            }
            fn sub_int(&mut self, a: $int, b: $int) -> $int {
                a.wrapping_sub(b)
            }
            fn and_int(&mut self, a: $int, b: $int) -> $int {
                a & b
            }
            fn or_int(&mut self, a: $int, b: $int) -> $int {
                a | b
            }
            fn xor_int(&mut self, a: $int, b: $int) -> $int {
                a ^ b
            }
            fn shl(&mut self, a: $int, count: u32) -> $int {
                a << count
            }
            fn shr(&mut self, a: $int, count: u32) -> $int {
                a >> count
            }
        }
    };
}

machine!(Single, f32, u32, false);
machine!(Double, f64, u64, true);

/// The function in f64 arithmetic.
fn reference(f: MathFn, x: f64) -> f64 {
    eval::math(f, Scalar::Float(x), DType::F64).as_f64()
}

/// Distance in units of the last place of an f32 near `want`.
fn ulps_32(got: f32, want: f64) -> f64 {
    let near = want as f32;
    if got == near || (got.is_nan() && want.is_nan()) {
        return if near.is_finite() { (f64::from(got) - want).abs() / unit_32(want) } else { 0.0 };
    }
    (f64::from(got) - want).abs() / unit_32(want)
}

fn unit_32(v: f64) -> f64 {
    let exponent = ((v.abs().to_bits() >> 52) as i32 - 1023).clamp(-126, 127);
    f64::from(exponent - 23).exp2()
}

fn ulps_64(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    let exponent = ((want.abs().to_bits() >> 52) as i32 - 1023).max(-1022);
    // A power of two that may be subnormal.
    let unit = f64::from_bits(match exponent - 52 {
        e if e >= -1022 => ((e + 1023) as u64) << 52,
        e => 1 << (e + 1074),
    });
    (got - want).abs() / unit
}

/// What is promised: function, argument range, units in the last place for f32 and f64.
const PROMISED: [(MathFn, f64, f64, f64, f64); 14] = [
    (MathFn::Exp, -110.0, 90.0, 1.25, 1.5),
    (MathFn::Exp2, -152.0, 129.0, 1.5, 1.5),
    (MathFn::Expm1, -20.0, 89.0, 2.0, 2.5),
    (MathFn::Log, 0.0, 1e30, 1.0, 1.5),
    (MathFn::Log2, 0.0, 1e30, 1.0, 1.5),
    (MathFn::Log1p, -1.0, 1e30, 2.0, 2.5),
    (MathFn::Sin, -1048576.0, 1048576.0, 1.5, 2.0),
    (MathFn::Cos, -1048576.0, 1048576.0, 1.5, 2.0),
    (MathFn::Tan, -1048576.0, 1048576.0, 3.0, 3.5),
    (MathFn::Tanh, -10.0, 10.0, 3.0, 3.5),
    (MathFn::Sigmoid, -105.0, 90.0, 2.5, 3.0),
    (MathFn::Erf, -4.5, 4.5, 2.75, 3.0),
    (MathFn::Erfc, -4.0, 10.2, 4.5, 6.0),
    (MathFn::Rsqrt, 0.0, 1e38, 1.5, 1.5),
];

/// Arguments: evenly over the range, over all magnitudes inside it, and near zero.
fn arguments(lo: f64, hi: f64, count: u32) -> impl Iterator<Item = f64> {
    (0..count).flat_map(move |i| {
        let t = (f64::from(i) + 0.37) / f64::from(count);
        let magnitude = (t * 290.0 - 149.0).exp2();
        [lo + (hi - lo) * t, magnitude, -magnitude, (t - 0.5) * 4.0]
            .into_iter()
            .filter(move |x| (lo..=hi).contains(x))
    })
}

/// Largest error over the range, and where it is.
fn worst(f: MathFn, lo: f64, hi: f64, count: u32, double: bool, fused: bool) -> (f64, f64) {
    let mut found = (0.0, 0.0);
    for x in arguments(lo, hi, count) {
        let error = if double {
            ulps_64(apply(&mut Double { fused }, f, x), reference(f, x))
        } else {
            let x = x as f32;
            ulps_32(apply(&mut Single { fused }, f, x), reference(f, x.into()))
        };
        if error > found.0 || error.is_nan() {
            found = (error, x);
        }
    }
    found
}

#[test]
fn errors_stay_within_the_promise() {
    let mut broken = Vec::new();
    for (f, lo, hi, single, double) in PROMISED {
        for fused in [true, false] {
            for (is_double, promise) in [(false, single), (true, double)] {
                let (error, x) = worst(f, lo, hi, 60_000, is_double, fused);
                println!("{f:8} f{} fused {fused:5}: {error:.2} at {x:e}", if is_double { 64 } else { 32 });
                if error.is_nan() || error > promise {
                    broken.push(format!("{f} double {is_double} fused {fused}: {error} at {x:e}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn special_values() {
    use MathFn as F;
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases = [
        (F::Exp, -inf, 0.0),
        (F::Exp, inf, inf),
        (F::Exp, 0.0, 1.0),
        (F::Exp2, -inf, 0.0),
        (F::Exp2, 10.0, 1024.0),
        (F::Exp2, inf, inf),
        (F::Expm1, -inf, -1.0),
        (F::Expm1, inf, inf),
        (F::Expm1, -0.0, -0.0),
        (F::Log, 0.0, -inf),
        (F::Log, -0.0, -inf),
        (F::Log, -1.0, nan),
        (F::Log, inf, inf),
        (F::Log, 1.0, 0.0),
        (F::Log2, 8.0, 3.0),
        (F::Log2, 0.0, -inf),
        (F::Log1p, -1.0, -inf),
        (F::Log1p, -0.0, -0.0),
        (F::Log1p, inf, inf),
        (F::Log1p, -2.0, nan),
        (F::Sin, -0.0, -0.0),
        (F::Sin, inf, nan),
        (F::Cos, 0.0, 1.0),
        (F::Cos, -inf, nan),
        (F::Tan, -0.0, -0.0),
        (F::Tanh, inf, 1.0),
        (F::Tanh, -inf, -1.0),
        (F::Tanh, -0.0, -0.0),
        (F::Sigmoid, inf, 1.0),
        (F::Sigmoid, -inf, 0.0),
        (F::Sigmoid, 0.0, 0.5),
        (F::Erf, inf, 1.0),
        (F::Erf, -inf, -1.0),
        (F::Erf, -0.0, -0.0),
        (F::Erfc, inf, 0.0),
        (F::Erfc, -inf, 2.0),
        (F::Erfc, 0.0, 1.0),
        (F::Rsqrt, 0.0, inf),
        (F::Rsqrt, inf, 0.0),
        (F::Rsqrt, -1.0, nan),
        (F::Rsqrt, 4.0, 0.5),
    ];
    let same = |got: f64, want: f64| {
        got == want && got.is_sign_negative() == want.is_sign_negative() || got.is_nan() && want.is_nan()
    };
    for fused in [true, false] {
        for (f, x, want) in cases {
            let (single, double) =
                (apply(&mut Single { fused }, f, x as f32), apply(&mut Double { fused }, f, x));
            assert!(same(single.into(), want), "{f}({x}) f32: {single}, not {want}");
            assert!(same(double, want), "{f}({x}) f64: {double}, not {want}");
        }
        for f in PROMISED.map(|p| p.0) {
            assert!(apply(&mut Single { fused }, f, f32::NAN).is_nan(), "{f}");
            assert!(apply(&mut Double { fused }, f, nan).is_nan(), "{f}");
        }
    }
}

#[test]
fn powers() {
    let mut worst_single = (0.0, 0.0, 0.0);
    let mut worst_double = (0.0, 0.0, 0.0);
    for i in 0..400 {
        for j in 0..60 {
            let x = (f64::from(i) * 0.171 - 33.0).exp2() * 1.2345;
            let y = (f64::from(j) - 30.0) * 0.737;
            for fused in [true, false] {
                let (xs, ys) = (x as f32, y as f32);
                let want = f64::from(xs).powf(ys.into());
                if want > 1e-37 && want < 3e38 {
                    let error = ulps_32(pow(&mut Single { fused }, xs, ys), want);
                    if error > worst_single.0 {
                        worst_single = (error, x, y);
                    }
                }
                let error = ulps_64(pow(&mut Double { fused }, x, y), x.powf(y));
                if error > worst_double.0 {
                    worst_double = (error, x, y);
                }
            }
        }
    }
    // Results of all magnitudes, also of numbers whose logarithm is far from 0 for their exponent.
    for i in 0..60_000u32 {
        let t = (f64::from(i) + 0.5) / 60_000.0;
        let x = 0.7 + 0.72 * (f64::from(i) * 0.618_033_988_749_895).fract();
        for fused in [true, false] {
            let (xs, ys) = (x as f32, ((t * 250.0 - 125.0) / x.log2()) as f32);
            let error = ulps_32(pow(&mut Single { fused }, xs, ys), f64::from(xs).powf(ys.into()));
            if error > worst_single.0 {
                worst_single = (error, xs.into(), ys.into());
            }
            let y = (t * 2040.0 - 1020.0) / x.log2();
            let error = ulps_64(pow(&mut Double { fused }, x, y), x.powf(y));
            if error > worst_double.0 {
                worst_double = (error, x, y);
            }
        }
    }
    println!("pow f32 {worst_single:?} f64 {worst_double:?}");
    assert!(worst_single.0 <= 2.0 && worst_double.0 <= 3.0, "{worst_single:?} {worst_double:?}");
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 2.5, inf, -inf, nan, 1e30, -1e30];
    for x in values {
        for y in values {
            for fused in [true, false] {
                let got = [
                    f64::from(pow(&mut Single { fused }, x as f32, y as f32)),
                    pow(&mut Double { fused }, x, y),
                ];
                let want = [f64::from((x as f32).powf(y as f32)), x.powf(y)];
                for (got, want) in got.into_iter().zip(want) {
                    let same = (got - want).abs() <= want.abs() * 3e-7
                        || got == want
                        || got.is_nan() && want.is_nan();
                    let signs = want.is_nan() || got.is_sign_negative() == want.is_sign_negative();
                    assert!(same && signs, "{x} ^ {y}: {got}, not {want}");
                }
            }
        }
    }
}

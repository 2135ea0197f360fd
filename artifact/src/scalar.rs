//! One value of any element type.

use serde::{Deserialize, Serialize};

use crate::DType;

/// A value outside any tensor. Integers of every width share `Int`, floats of every width `Float`; the element
/// type that it takes on is said by where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// Any integer type; `u64` above `i64::MAX` is kept as its two's complement bits.
    Int(i64),
    /// Any real floating-point type.
    Float(f64),
    /// A complex value: real, imaginary.
    Complex(f64, f64),
    /// A truth value.
    Bool(bool),
}

impl Scalar {
    /// The value as a float; truth values are 0 and 1, a complex value's imaginary part is dropped.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "rounding to the nearest f64 is what is asked")]
            Scalar::Int(v) => v as f64,
            Scalar::Float(v) | Scalar::Complex(v, _) => v,
            Scalar::Bool(v) => f64::from(u8::from(v)),
        }
    }

    /// The value as an integer; floats are truncated toward zero and saturate.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Int(v) => v,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturating truncation is the documented meaning"
            )]
            Scalar::Float(v) | Scalar::Complex(v, _) => v as i64,
            Scalar::Bool(v) => i64::from(v),
        }
    }

    /// Whether the value is neither zero nor false.
    #[must_use]
    pub fn is_true(self) -> bool {
        match self {
            Scalar::Int(v) => v != 0,
            Scalar::Float(v) => v != 0.0,
            Scalar::Complex(re, im) => re != 0.0 || im != 0.0,
            Scalar::Bool(v) => v,
        }
    }

    /// The value as an element of type `dtype` holds it: floats rounded to nearest even, integers wrapped to the
    /// width, floats to integers truncated toward zero and saturated, anything to `bool` by comparison with zero.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Scalar {
        match dtype {
            DType::Bool => Scalar::Bool(self.is_true()),
            DType::C64 | DType::C128 => {
                let (re, im) = match self {
                    Scalar::Complex(re, im) => (re, im),
                    other => (other.as_f64(), 0.0),
                };
                Scalar::Complex(round_float(re, dtype.real()), round_float(im, dtype.real()))
            }
            DType::Int { signed, bits } => {
                let wide = match self {
                    Scalar::Float(v) | Scalar::Complex(v, _) => saturate(v, dtype),
                    other => other.as_i64(),
                };
                Scalar::Int(wrap(wide, signed, bits))
            }
            float => Scalar::Float(match self {
                Scalar::Int(v) => round_int(v, float),
                other => round_float(other.as_f64(), float),
            }),
        }
    }
}

/// `v` truncated toward zero and clamped to the range of the integer type; NaN is 0 (as Rust's `as` and the CPU
/// generators agree to do).
fn saturate(v: f64, dtype: DType) -> i64 {
    let (lo, hi) = dtype.int_range().unwrap_or((i128::from(i64::MIN), i128::from(i64::MAX)));
    #[expect(clippy::cast_possible_truncation, reason = "saturating truncation is the documented meaning")]
    let wide = (v as i128).clamp(lo, hi);
    #[expect(clippy::cast_possible_truncation, reason = "u64 keeps its two's complement bits")]
    let bits = wide as i64;
    bits
}

/// `v` reduced to `bits` bits, sign-extended when `signed`.
#[must_use]
pub fn wrap(v: i64, signed: bool, bits: u8) -> i64 {
    let shift = 64 - u32::from(bits);
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_wrap, reason = "bit patterns")]
    if signed { (v << shift) >> shift } else { ((v as u64) << shift >> shift) as i64 }
}

fn round_int(v: i64, dtype: DType) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "rounding is what is asked")]
    match dtype {
        // One rounding, not two: i64 to f32 by way of f64 can differ in the last bit.
        DType::F32 => f64::from(v as f32),
        _ => round_float(v as f64, dtype),
    }
}

/// `v` rounded to the nearest value of a floating-point type, ties to even. The 8-bit and 4-bit types saturate
/// nowhere: values outside their range become infinities where the type has them, NaN otherwise.
#[must_use]
pub fn round_float(v: f64, dtype: DType) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked")]
    match dtype {
        DType::F32 => f64::from(v as f32),
        // Not by way of `half`, which rounds f64 twice on some machines.
        DType::F16 => round_small(v, 10, -14, 65504.0, f64::INFINITY),
        DType::Bf16 => round_small(v, 7, -126, f64::from(half::bf16::MAX), f64::INFINITY),
        DType::Tf32 => round_mantissa(v, 10),
        DType::E4m3 => round_small(v, 3, -6, 448.0, f64::NAN),
        DType::E5m2 => round_small(v, 2, -14, 57344.0, f64::INFINITY),
        DType::E2m1 => round_small(v, 1, 0, 6.0, f64::NAN),
        _ => v,
    }
}

fn round_mantissa(v: f64, mantissa_bits: u32) -> f64 {
    if !v.is_finite() {
        return v;
    }
    let drop = 52 - mantissa_bits;
    let bits = v.to_bits();
    let half = 1u64 << (drop - 1);
    let odd = (bits >> drop) & 1;
    f64::from_bits((bits + half - 1 + odd) >> drop << drop)
}

fn round_small(v: f64, mantissa_bits: i32, min_exponent: i32, max: f64, overflow: f64) -> f64 {
    if !v.is_finite() || v == 0.0 {
        return v;
    }
    let biased = v.to_bits() >> 52 & 0x7FF;
    let exponent = (i32::try_from(biased).unwrap_or(0) - 1023).max(min_exponent);
    let ulp = f64::from(exponent - mantissa_bits).exp2();
    let rounded = (v / ulp).round_ties_even() * ulp;
    if rounded.abs() > max { overflow.copysign(v) } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_follow_the_element_type() {
        assert_eq!(Scalar::Float(300.7).cast(DType::U8), Scalar::Int(255));
        assert_eq!(Scalar::Int(300).cast(DType::U8), Scalar::Int(44));
        assert_eq!(Scalar::Int(200).cast(DType::I8), Scalar::Int(-56));
        assert_eq!(Scalar::Float(f64::NAN).cast(DType::I32), Scalar::Int(0));
        assert_eq!(Scalar::Float(1.0 / 3.0).cast(DType::F32), Scalar::Float(f64::from(1.0f32 / 3.0)));
        assert_eq!(Scalar::Float(449.0).cast(DType::E4m3), Scalar::Float(448.0));
        assert_eq!(Scalar::Int(-1).cast(DType::U32), Scalar::Int(0xFFFF_FFFF));
    }

    #[test]
    fn half_types_round_once() {
        // Just above the middle of two neighbours: by way of f32 this would be a tie.
        let just_above = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(round_float(just_above, DType::F16), 1.0 + 2f64.powi(-10));
        assert_eq!(round_float(1.0 + 2f64.powi(-11), DType::F16), 1.0);
        assert_eq!(round_float(65519.9, DType::F16), 65504.0);
        assert_eq!(round_float(65520.0, DType::F16), f64::INFINITY);
        assert_eq!(round_float(2f64.powi(-25) * 1.5, DType::F16), 2f64.powi(-24));
        assert_eq!(round_float(f64::from(half::bf16::MAX) * 1.01, DType::Bf16), f64::INFINITY);
        for bits in 0..=u16::MAX {
            let v = half::f16::from_bits(bits).to_f64();
            assert!(v.is_nan() || round_float(v, DType::F16) == v);
            let v = half::bf16::from_bits(bits).to_f64();
            assert!(v.is_nan() || round_float(v, DType::Bf16) == v);
        }
    }
}

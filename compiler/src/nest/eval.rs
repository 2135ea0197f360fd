//! What the operators of a nest mean on single values, in the declared machine types. The interpreter, the folding
//! of constants and the tests of generated code all rest on this.

use rooftile_artifact::{DType, Scalar, host_expr, scalar};

use super::ir::{BinaryOp, MathFn, UnaryOp};
use super::special;

/// `op(a)` in type `dtype`.
#[must_use]
pub fn unary(op: UnaryOp, a: Scalar, dtype: DType) -> Scalar {
    match dtype {
        DType::Bool => Scalar::Bool(match op {
            UnaryOp::Not => !a.is_true(),
            _ => a.is_true(),
        }),
        DType::Int { signed, bits } => int_unary(op, a.as_i64(), signed, bits),
        _ => {
            let v = a.as_f64();
            Scalar::Float(match op {
                UnaryOp::Neg | UnaryOp::Not => -v,
                UnaryOp::Abs => v.abs(),
                UnaryOp::Floor => v.floor(),
                UnaryOp::Ceil => v.ceil(),
                UnaryOp::Round => v.round_ties_even(),
                UnaryOp::Trunc => v.trunc(),
                // The f64 root of an f32, rounded to f32, is the correctly rounded root.
                UnaryOp::Sqrt => scalar::round_float(v.sqrt(), dtype),
                UnaryOp::Popcount | UnaryOp::LeadingZeros | UnaryOp::ReverseBits => v,
            })
        }
    }
}

fn int_unary(op: UnaryOp, v: i64, signed: bool, bits: u8) -> Scalar {
    #[expect(clippy::cast_sign_loss, reason = "bit patterns")]
    let raw = scalar::wrap(v, false, bits) as u64;
    #[expect(clippy::cast_possible_wrap, reason = "bit patterns")]
    let out = match op {
        UnaryOp::Neg => v.wrapping_neg(),
        UnaryOp::Not => !v,
        UnaryOp::Abs if signed => v.wrapping_abs(),
        UnaryOp::Popcount => i64::from(raw.count_ones()),
        UnaryOp::LeadingZeros => i64::from(raw.leading_zeros()) - (64 - i64::from(bits)),
        UnaryOp::ReverseBits => (raw.reverse_bits() >> (64 - u32::from(bits))) as i64,
        _ => v,
    };
    Scalar::Int(scalar::wrap(out, signed, bits))
}

/// `op(a, b)` of operands of type `dtype`. `None` when the operator has no result: a divisor of zero, a shift count
/// out of range.
#[must_use]
pub fn binary(op: BinaryOp, a: Scalar, b: Scalar, dtype: DType) -> Option<Scalar> {
    match dtype {
        DType::Bool => Some(Scalar::Bool(bool_binary(op, a.is_true(), b.is_true()))),
        DType::Int { signed, bits } => int_binary(op, a.as_i64(), b.as_i64(), signed, bits),
        _ => Some(float_binary(op, a.as_f64(), b.as_f64(), dtype)),
    }
}

fn bool_binary(op: BinaryOp, a: bool, b: bool) -> bool {
    match op {
        BinaryOp::And | BinaryOp::Mul | BinaryOp::Min => a & b,
        BinaryOp::Or | BinaryOp::Add | BinaryOp::Max => a | b,
        BinaryOp::Eq => a == b,
        BinaryOp::Lt => !a & b,
        BinaryOp::Le => !a | b,
        _ => a ^ b,
    }
}

fn int_binary(op: BinaryOp, a: i64, b: i64, signed: bool, bits: u8) -> Option<Scalar> {
    use BinaryOp as B;
    // Values of an unsigned type are compared and divided as unsigned; only u64 has negative patterns here.
    #[expect(clippy::cast_sign_loss, reason = "bit patterns")]
    let (ua, ub) = (a as u64, b as u64);
    let less = if signed { a < b } else { ua < ub };
    let count = || u32::try_from(b).ok().filter(|&s| s < u32::from(bits));
    #[expect(clippy::cast_possible_wrap, reason = "bit patterns")]
    let out = match op {
        B::Add => a.wrapping_add(b),
        B::Sub => a.wrapping_sub(b),
        B::Mul => a.wrapping_mul(b),
        B::Div | B::Rem | B::DivNonNeg | B::RemNonNeg if b == 0 => return None,
        B::Div | B::DivNonNeg if signed => host_expr::floor_div(a, b),
        B::Rem | B::RemNonNeg if signed => host_expr::floor_rem(a, b),
        B::Div | B::DivNonNeg => (ua / ub) as i64,
        B::Rem | B::RemNonNeg => (ua % ub) as i64,
        B::Min => {
            if less {
                a
            } else {
                b
            }
        }
        B::Max => {
            if less {
                b
            } else {
                a
            }
        }
        B::Pow => return None,
        B::And => a & b,
        B::Or => a | b,
        B::Xor => a ^ b,
        B::Shl => a.wrapping_shl(count()?),
        B::Shr if signed => a >> count()?,
        B::Shr => (ua >> count()?) as i64,
        B::Eq => return Some(Scalar::Bool(a == b)),
        B::Ne => return Some(Scalar::Bool(a != b)),
        B::Lt => return Some(Scalar::Bool(less)),
        B::Le => return Some(Scalar::Bool(less || a == b)),
    };
    Some(Scalar::Int(scalar::wrap(out, signed, bits)))
}

fn float_binary(op: BinaryOp, a: f64, b: f64, dtype: DType) -> Scalar {
    use BinaryOp as B;
    // One f32 operation rounded from its f64 result is the f32 result: 53 >= 2 * 24 + 2.
    let round = |v| Scalar::Float(scalar::round_float(v, dtype));
    match op {
        B::Add => round(a + b),
        B::Sub => round(a - b),
        B::Mul => round(a * b),
        B::Div | B::DivNonNeg => round(a / b),
        B::Rem | B::RemNonNeg => round(a - b * (a / b).floor()),
        B::Min => Scalar::Float(if b < a { b } else { a }),
        B::Max => Scalar::Float(if a < b { b } else { a }),
        B::Pow => round(a.powf(b)),
        B::Eq => Scalar::Bool(a == b),
        B::Ne => Scalar::Bool(a != b),
        B::Lt => Scalar::Bool(a < b),
        B::Le => Scalar::Bool(a <= b),
        B::And | B::Or | B::Xor | B::Shl | B::Shr => Scalar::Float(f64::NAN),
    }
}

/// `a * b + c` with one rounding.
#[must_use]
pub fn fma(a: Scalar, b: Scalar, c: Scalar, dtype: DType) -> Scalar {
    let (a, b, c) = (a.as_f64(), b.as_f64(), c.as_f64());
    if dtype == DType::F32 {
        #[expect(clippy::cast_possible_truncation, reason = "the values are f32 already")]
        return Scalar::Float(f64::from((a as f32).mul_add(b as f32, c as f32)));
    }
    Scalar::Float(a.mul_add(b, c))
}

/// `f(a)` evaluated in f64, then rounded to `dtype`.
#[must_use]
pub fn math(f: MathFn, a: Scalar, dtype: DType) -> Scalar {
    let x = a.as_f64();
    let y = match f {
        MathFn::Exp => x.exp(),
        MathFn::Exp2 => x.exp2(),
        MathFn::Expm1 => x.exp_m1(),
        MathFn::Log => x.ln(),
        MathFn::Log2 => x.log2(),
        MathFn::Log1p => x.ln_1p(),
        MathFn::Sin => x.sin(),
        MathFn::Cos => x.cos(),
        MathFn::Tan => x.tan(),
        MathFn::Tanh => x.tanh(),
        // Of a negative operand, as e / (1 + e): small results stay exact.
        MathFn::Sigmoid => {
            let e = (-x.abs()).exp();
            if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
        }
        MathFn::Erf => special::erf(x),
        MathFn::Erfc => special::erfc(x),
        MathFn::Rsqrt => 1.0 / x.sqrt(),
    };
    Scalar::Float(scalar::round_float(y, dtype))
}

/// `a`, of type `from`, converted to type `to` as [`Scalar::cast`] says; values of `u64` above the range of `i64`
/// keep their magnitude.
#[must_use]
pub fn cast(a: Scalar, from: DType, to: DType) -> Scalar {
    match a {
        Scalar::Int(v) if from == DType::U64 && v < 0 && to.is_float() => {
            #[expect(clippy::cast_sign_loss, reason = "bit pattern")]
            let v = v as u64;
            #[expect(clippy::cast_precision_loss, reason = "rounding is what is asked")]
            match to {
                DType::F32 => Scalar::Float(f64::from(v as f32)),
                _ => Scalar::Float(v as f64).cast(to),
            }
        }
        _ => a.cast(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_width() {
        let u8_ = |op, a, b| binary(op, Scalar::Int(a), Scalar::Int(b), DType::U8);
        assert_eq!(u8_(BinaryOp::Sub, 1, 2), Some(Scalar::Int(255)));
        assert_eq!(u8_(BinaryOp::Shl, 1, 8), None);
        assert_eq!(binary(BinaryOp::Div, Scalar::Int(-7), Scalar::Int(2), DType::I32), Some(Scalar::Int(-4)));
        assert_eq!(
            binary(BinaryOp::Div, Scalar::Int(-1), Scalar::Int(2), DType::U64),
            Some(Scalar::Int(i64::MAX))
        );
        assert_eq!(unary(UnaryOp::LeadingZeros, Scalar::Int(1), DType::I16), Scalar::Int(15));
        assert_eq!(unary(UnaryOp::ReverseBits, Scalar::Int(1), DType::I8), Scalar::Int(-128));
        assert_eq!(unary(UnaryOp::Abs, Scalar::Int(-128), DType::I8), Scalar::Int(-128));
    }

    #[test]
    fn floats_round_to_their_type() {
        let third = binary(BinaryOp::Div, Scalar::Float(1.0), Scalar::Float(3.0), DType::F32);
        assert_eq!(third, Some(Scalar::Float(f64::from(1.0f32 / 3.0))));
        assert_eq!(
            cast(Scalar::Int(-1), DType::U64, DType::F64),
            Scalar::Float(18_446_744_073_709_551_615.0)
        );
        let nan = binary(BinaryOp::Max, Scalar::Float(f64::NAN), Scalar::Float(1.0), DType::F32);
        assert!(matches!(nan, Some(Scalar::Float(v)) if v.is_nan()));
    }
}

//! Operations on single elements.

use rooftile_artifact::host_expr::{floor_div, floor_rem};
use rooftile_artifact::scalar::{round_float, wrap};
use rooftile_artifact::{DType, Scalar};

use super::special;
use crate::hir::ir::{AssignOp, BinaryOp, Function, ReduceOp, UnaryOp};

/// An operation without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undefined {
    /// By the language.
    Operation(&'static str),
    /// By the types: the checker lets no such operation through.
    Types,
}

use Undefined::{Operation, Types};

type R = Result<Scalar, Undefined>;

/// How results of operations are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arith {
    /// Whether floats are rounded to their types after every operation.
    pub rounded: bool,
}

#[expect(clippy::cast_sign_loss, reason = "two's complement bits of a u64")]
fn bits(v: i64) -> u64 {
    v as u64
}

#[expect(clippy::cast_possible_wrap, reason = "two's complement bits of a u64")]
fn from_bits(v: u64) -> i64 {
    v as i64
}

fn is_u64(dtype: DType) -> bool {
    dtype == DType::U64
}

impl Arith {
    /// `v`, an exact result, as an element of `dtype` keeps it.
    pub(crate) fn fit(self, v: Scalar, dtype: DType) -> Scalar {
        match (v, dtype) {
            (Scalar::Int(v), DType::Int { signed, bits }) => Scalar::Int(wrap(v, signed, bits)),
            (Scalar::Float(v), d) if self.rounded && d.is_float() => Scalar::Float(round_float(v, d)),
            (Scalar::Complex(re, im), d) if self.rounded && d.is_complex() => {
                Scalar::Complex(round_float(re, d.real()), round_float(im, d.real()))
            }
            (v, _) => v,
        }
    }

    /// Conversion of a `from` element to `to`.
    pub(crate) fn cast(self, v: Scalar, from: DType, to: DType) -> Scalar {
        #[expect(clippy::cast_precision_loss, reason = "rounding is what a conversion does")]
        let v = match v {
            // A u64 at or above 2^63 looks negative here; its value is what becomes a float.
            Scalar::Int(i) if is_u64(from) && i < 0 && (to.is_float() || to.is_complex()) => {
                if self.rounded && to == DType::F32 {
                    Scalar::Float(f64::from(bits(i) as f32))
                } else {
                    Scalar::Float(bits(i) as f64)
                }
            }
            other => other,
        };
        let exact_float = !self.rounded && (to.is_float() || to.is_complex());
        v.cast(match (exact_float, to.is_complex()) {
            (true, true) => DType::C128,
            (true, false) => DType::F64,
            _ => to,
        })
    }

    /// The identity of a reduction over elements of `dtype`.
    pub(crate) fn identity(op: ReduceOp, dtype: DType) -> R {
        let number = |i: i64| {
            if dtype.is_float() || dtype.is_complex() {
                Scalar::Float(if i == 0 { 0.0 } else { 1.0 }).cast(dtype)
            } else {
                Scalar::Int(i)
            }
        };
        let limit = |infinity: f64, pick: fn((i128, i128)) -> i128| match dtype.int_range() {
            Some(range) => {
                #[expect(clippy::cast_possible_truncation, reason = "u64 keeps its two's complement bits")]
                let v = pick(range) as i64;
                Ok(Scalar::Int(v))
            }
            None if dtype.is_float() => Ok(Scalar::Float(infinity)),
            None => Err(Types),
        };
        match op {
            ReduceOp::Sum | ReduceOp::Dot => Ok(number(0)),
            ReduceOp::Prod => Ok(number(1)),
            ReduceOp::Max => limit(f64::NEG_INFINITY, |r| r.0),
            ReduceOp::Min => limit(f64::INFINITY, |r| r.1),
            ReduceOp::Any => Ok(Scalar::Bool(false)),
            ReduceOp::All => Ok(Scalar::Bool(true)),
            ReduceOp::Argmax | ReduceOp::Argmin => Err(Types),
        }
    }

    /// One step of a reduction.
    pub(crate) fn combine(self, op: ReduceOp, acc: Scalar, v: Scalar, dtype: DType) -> R {
        match op {
            ReduceOp::Sum | ReduceOp::Dot => self.binary(BinaryOp::Add, acc, v, dtype),
            ReduceOp::Prod => self.binary(BinaryOp::Mul, acc, v, dtype),
            ReduceOp::Max => self.larger(acc, v, dtype),
            ReduceOp::Min => self.smaller(acc, v, dtype),
            ReduceOp::Any => Ok(Scalar::Bool(acc.is_true() || v.is_true())),
            ReduceOp::All => Ok(Scalar::Bool(acc.is_true() && v.is_true())),
            ReduceOp::Argmax | ReduceOp::Argmin => Err(Types),
        }
    }

    /// `old op= v`.
    pub(crate) fn assign(self, op: AssignOp, old: Scalar, v: Scalar, dtype: DType) -> R {
        match op {
            AssignOp::Set => Ok(v),
            AssignOp::Add => self.binary(BinaryOp::Add, old, v, dtype),
            AssignOp::Sub => self.binary(BinaryOp::Sub, old, v, dtype),
            AssignOp::Mul => self.binary(BinaryOp::Mul, old, v, dtype),
            AssignOp::Max => self.larger(old, v, dtype),
            AssignOp::Min => self.smaller(old, v, dtype),
        }
    }

    /// `max(a, b)`: `b` where `a < b`, else `a`.
    fn larger(self, a: Scalar, b: Scalar, dtype: DType) -> R {
        Ok(if self.binary(BinaryOp::Lt, a, b, dtype)?.is_true() { b } else { a })
    }

    /// `min(a, b)`: `b` where `b < a`, else `a`.
    fn smaller(self, a: Scalar, b: Scalar, dtype: DType) -> R {
        Ok(if self.binary(BinaryOp::Lt, b, a, dtype)?.is_true() { b } else { a })
    }

    /// One operand of `dtype`.
    pub(crate) fn unary(self, op: UnaryOp, v: Scalar, dtype: DType) -> R {
        Ok(match (op, v) {
            (UnaryOp::Neg, Scalar::Int(v)) => self.fit(Scalar::Int(v.wrapping_neg()), dtype),
            (UnaryOp::Neg, Scalar::Float(v)) => Scalar::Float(-v),
            (UnaryOp::Neg, Scalar::Complex(re, im)) => Scalar::Complex(-re, -im),
            (UnaryOp::Not, v) => Scalar::Bool(!v.is_true()),
            (UnaryOp::BitNot, Scalar::Int(v)) => self.fit(Scalar::Int(!v), dtype),
            _ => return Err(Types),
        })
    }

    /// Two operands of `dtype`.
    pub(crate) fn binary(self, op: BinaryOp, a: Scalar, b: Scalar, dtype: DType) -> R {
        Ok(match (a, b) {
            (Scalar::Int(a), Scalar::Int(b)) => self.ints(op, a, b, dtype)?,
            (Scalar::Float(a), Scalar::Float(b)) => self.floats(op, a, b, dtype)?,
            (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(match op {
                BinaryOp::And => a & b,
                BinaryOp::Or => a | b,
                BinaryOp::Xor | BinaryOp::Ne => a ^ b,
                BinaryOp::Eq => a == b,
                _ => return Err(Types),
            }),
            (Scalar::Complex(..), _) | (_, Scalar::Complex(..)) => {
                let part = |v| match v {
                    Scalar::Complex(re, im) => (re, im),
                    other => (other.as_f64(), 0.0),
                };
                self.complexes(op, part(a), part(b), dtype)?
            }
            _ => return Err(Types),
        })
    }

    fn ints(self, op: BinaryOp, a: i64, b: i64, dtype: DType) -> R {
        let width = match dtype {
            DType::Int { bits, .. } => u32::from(bits),
            _ => return Err(Types),
        };
        let unsigned = is_u64(dtype);
        let order = if unsigned { bits(a).cmp(&bits(b)) } else { a.cmp(&b) };
        let shift = || {
            let out = Operation("a shift by a negative count or by the width or more");
            u32::try_from(b).ok().filter(|&s| s < width).ok_or(out)
        };
        let zero = Operation("an integer division by zero");
        let exact = match op {
            BinaryOp::Add => a.wrapping_add(b),
            BinaryOp::Sub => a.wrapping_sub(b),
            BinaryOp::Mul => a.wrapping_mul(b),
            BinaryOp::Div | BinaryOp::Rem if b == 0 => return Err(zero),
            BinaryOp::Div if unsigned => from_bits(bits(a) / bits(b)),
            BinaryOp::Rem if unsigned => from_bits(bits(a) % bits(b)),
            BinaryOp::Div => floor_div(a, b),
            BinaryOp::Rem => floor_rem(a, b),
            BinaryOp::And => a & b,
            BinaryOp::Or => a | b,
            BinaryOp::Xor => a ^ b,
            BinaryOp::Shl => a << shift()?,
            BinaryOp::Shr if unsigned => from_bits(bits(a) >> shift()?),
            BinaryOp::Shr => a >> shift()?,
            BinaryOp::Eq => return Ok(Scalar::Bool(order.is_eq())),
            BinaryOp::Ne => return Ok(Scalar::Bool(order.is_ne())),
            BinaryOp::Lt => return Ok(Scalar::Bool(order.is_lt())),
            BinaryOp::Le => return Ok(Scalar::Bool(order.is_le())),
            BinaryOp::Gt => return Ok(Scalar::Bool(order.is_gt())),
            BinaryOp::Ge => return Ok(Scalar::Bool(order.is_ge())),
        };
        Ok(self.fit(Scalar::Int(exact), dtype))
    }

    /// Sums, products and quotients of types of at most 24 significant bits are rounded right by way of `f64`.
    fn floats(self, op: BinaryOp, a: f64, b: f64, dtype: DType) -> R {
        let exact = match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Eq => return Ok(Scalar::Bool(a == b)),
            BinaryOp::Ne => return Ok(Scalar::Bool(a != b)),
            BinaryOp::Lt => return Ok(Scalar::Bool(a < b)),
            BinaryOp::Le => return Ok(Scalar::Bool(a <= b)),
            BinaryOp::Gt => return Ok(Scalar::Bool(a > b)),
            BinaryOp::Ge => return Ok(Scalar::Bool(a >= b)),
            _ => return Err(Types),
        };
        Ok(self.fit(Scalar::Float(exact), dtype))
    }

    fn complexes(self, op: BinaryOp, a: (f64, f64), b: (f64, f64), dtype: DType) -> R {
        let real = dtype.real();
        let f = |op, x, y| self.floats(op, x, y, real).map(Scalar::as_f64);
        let (re, im) = match op {
            BinaryOp::Add | BinaryOp::Sub => (f(op, a.0, b.0)?, f(op, a.1, b.1)?),
            BinaryOp::Mul => {
                let m = BinaryOp::Mul;
                (
                    f(BinaryOp::Sub, f(m, a.0, b.0)?, f(m, a.1, b.1)?)?,
                    f(BinaryOp::Add, f(m, a.0, b.1)?, f(m, a.1, b.0)?)?,
                )
            }
            BinaryOp::Div => {
                let m = BinaryOp::Mul;
                let norm = f(BinaryOp::Add, f(m, b.0, b.0)?, f(m, b.1, b.1)?)?;
                let re = f(BinaryOp::Add, f(m, a.0, b.0)?, f(m, a.1, b.1)?)?;
                let im = f(BinaryOp::Sub, f(m, a.1, b.0)?, f(m, a.0, b.1)?)?;
                (f(BinaryOp::Div, re, norm)?, f(BinaryOp::Div, im, norm)?)
            }
            BinaryOp::Eq => return Ok(Scalar::Bool(a == b)),
            BinaryOp::Ne => return Ok(Scalar::Bool(a != b)),
            _ => return Err(Types),
        };
        Ok(Scalar::Complex(re, im))
    }

    /// A function of the vocabulary with operands of type `of` and a result of type `dtype`.
    pub(crate) fn call(self, f: Function, args: &[Scalar], of: DType, dtype: DType) -> R {
        let v = match (f, args) {
            (Function::Min, &[a, b]) => self.smaller(a, b, of)?,
            (Function::Max, &[a, b]) => self.larger(a, b, of)?,
            (Function::Clamp, &[x, lo, hi]) => self.smaller(self.larger(x, lo, of)?, hi, of)?,
            (Function::Complex, &[a, b]) => Scalar::Complex(a.as_f64(), b.as_f64()),
            (Function::Re, &[Scalar::Complex(re, _)]) => Scalar::Float(re),
            (Function::Im, &[Scalar::Complex(_, im)]) => Scalar::Float(im),
            (Function::Conj, &[Scalar::Complex(re, im)]) => Scalar::Complex(re, -im),
            (Function::Abs, &[Scalar::Complex(re, im)]) => Scalar::Float(re.hypot(im)),
            (Function::Cis, &[x]) => Scalar::Complex(x.as_f64().cos(), x.as_f64().sin()),
            (Function::Fma, &[Scalar::Float(a), Scalar::Float(b), Scalar::Float(c)]) => {
                Scalar::Float(self.fma(a, b, c, dtype))
            }
            (Function::Fma, &[a, b, c]) => {
                self.binary(BinaryOp::Add, self.binary(BinaryOp::Mul, a, b, dtype)?, c, dtype)?
            }
            (Function::Pow, &[Scalar::Float(a), Scalar::Float(b)]) => Scalar::Float(a.powf(b)),
            (Function::Pow, &[Scalar::Int(a), Scalar::Int(b)]) => {
                let exponent =
                    u32::try_from(b).map_err(|_| Operation("an integer power with a negative exponent"))?;
                Scalar::Int(a.wrapping_pow(exponent))
            }
            (Function::Bitrev, &[Scalar::Int(x), Scalar::Int(n)]) => Scalar::Int(bit_reverse(x, n)?),
            (_, &[Scalar::Int(x)]) => integer_function(f, x, of)?,
            (_, &[Scalar::Float(x)]) => Scalar::Float(real_function(f, x)?),
            _ => return Err(Types),
        };
        Ok(self.fit(v, dtype))
    }

    fn fma(self, a: f64, b: f64, c: f64, dtype: DType) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "operands are binary32 values")]
        if self.rounded && dtype == DType::F32 {
            f64::from((a as f32).mul_add(b as f32, c as f32))
        } else {
            a.mul_add(b, c)
        }
    }
}

fn bit_reverse(x: i64, n: i64) -> Result<i64, Undefined> {
    let n = u32::try_from(n).ok().filter(|&n| n <= 64).ok_or(Operation("bitrev of a bad number of bits"))?;
    Ok(if n == 0 { 0 } else { from_bits(bits(x).reverse_bits() >> (64 - n)) })
}

fn integer_function(f: Function, x: i64, of: DType) -> R {
    let width = match of {
        DType::Int { bits, .. } => u32::from(bits),
        _ => return Err(Types),
    };
    let negative = x < 0 && !is_u64(of);
    Ok(Scalar::Int(match f {
        Function::Abs => {
            if negative {
                x.wrapping_neg()
            } else {
                x
            }
        }
        Function::Sign if is_u64(of) => i64::from(x != 0),
        Function::Sign => x.signum(),
        Function::Popcount => i64::from((bits(x) << (64 - width)).count_ones()),
        Function::Ilog2 if negative || x == 0 => return Err(Operation("ilog2 of a number below 1")),
        Function::Ilog2 => i64::from(bits(x).ilog2()),
        Function::IsPow2 => return Ok(Scalar::Bool(!negative && bits(x).is_power_of_two())),
        Function::Floor | Function::Ceil | Function::Round | Function::Trunc => x,
        _ => return Err(Types),
    }))
}

fn real_function(f: Function, x: f64) -> Result<f64, Undefined> {
    Ok(match f {
        Function::Abs => x.abs(),
        Function::Floor => x.floor(),
        Function::Ceil => x.ceil(),
        Function::Round => x.round_ties_even(),
        Function::Trunc => x.trunc(),
        Function::Sqrt => x.sqrt(),
        Function::Rsqrt => 1.0 / x.sqrt(),
        Function::Exp => x.exp(),
        Function::Exp2 => x.exp2(),
        Function::Log => x.ln(),
        Function::Log2 => x.log2(),
        Function::Log1p => x.ln_1p(),
        Function::Expm1 => x.exp_m1(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.tan(),
        Function::Tanh => x.tanh(),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Erf => special::erf(x),
        Function::Erfc => special::erfc(x),
        Function::Sign if x > 0.0 => 1.0,
        Function::Sign if x < 0.0 => -1.0,
        // A zero, and NaN.
        Function::Sign => x,
        _ => return Err(Types),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Arith = Arith { rounded: false };
    const ROUNDED: Arith = Arith { rounded: true };

    #[test]
    fn integers_wrap_and_round_down() {
        let int = |op, a, b, d| EXACT.binary(op, Scalar::Int(a), Scalar::Int(b), d);
        assert_eq!(int(BinaryOp::Add, 127, 1, DType::I8), Ok(Scalar::Int(-128)));
        assert_eq!(int(BinaryOp::Sub, 0, 1, DType::U32), Ok(Scalar::Int(0xFFFF_FFFF)));
        assert_eq!(int(BinaryOp::Div, -7, 2, DType::I32), Ok(Scalar::Int(-4)));
        assert_eq!(int(BinaryOp::Rem, -7, 2, DType::I32), Ok(Scalar::Int(1)));
        assert_eq!(int(BinaryOp::Lt, 1, -1, DType::U64), Ok(Scalar::Bool(true)));
        assert_eq!(int(BinaryOp::Shr, -1, 63, DType::U64), Ok(Scalar::Int(1)));
        assert!(matches!(int(BinaryOp::Div, 1, 0, DType::I32), Err(Operation(_))));
        assert!(matches!(int(BinaryOp::Shl, 1, 32, DType::U32), Err(Operation(_))));
        assert_eq!(EXACT.cast(Scalar::Int(-1), DType::U64, DType::F64), Scalar::Float(2f64.powi(64)));
        let popcount = EXACT.call(Function::Popcount, &[Scalar::Int(-1)], DType::I8, DType::I8);
        assert_eq!(popcount, Ok(Scalar::Int(8)));
        let reversed =
            EXACT.call(Function::Bitrev, &[Scalar::Int(6), Scalar::Int(4)], DType::I64, DType::I64);
        assert_eq!(reversed, Ok(Scalar::Int(6)));
    }

    #[test]
    fn rounding_follows_the_declared_type() {
        let third = |a: Arith| a.binary(BinaryOp::Div, Scalar::Float(1.0), Scalar::Float(3.0), DType::F32);
        assert_eq!(third(EXACT), Ok(Scalar::Float(1.0 / 3.0)));
        assert_eq!(third(ROUNDED), Ok(Scalar::Float(f64::from(1.0f32 / 3.0))));
        assert_eq!(ROUNDED.cast(Scalar::Float(2049.0), DType::F32, DType::F16), Scalar::Float(2048.0));
        assert_eq!(EXACT.cast(Scalar::Float(2049.0), DType::F32, DType::F16), Scalar::Float(2049.0));
        assert_eq!(EXACT.cast(Scalar::Float(300.0), DType::F32, DType::U8), Scalar::Int(255));
    }

    #[test]
    fn maximum_is_the_documented_select() {
        let max =
            |a, b| EXACT.call(Function::Max, &[Scalar::Float(a), Scalar::Float(b)], DType::F64, DType::F64);
        assert_eq!(max(1.0, 2.0), Ok(Scalar::Float(2.0)));
        assert_eq!(max(1.0, f64::NAN), Ok(Scalar::Float(1.0)));
        assert!(max(f64::NAN, 1.0).is_ok_and(|v| v.as_f64().is_nan()));
    }
}

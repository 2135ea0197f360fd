//! What the host computes before and between launches: extents, chunk counts, scalar arguments, conditions.

use serde::{Deserialize, Serialize};

use crate::{DType, Scalar};

/// An expression over size names, scalar arguments and the counters of enclosing `repeat` steps. Indices refer to
/// the tables of the [`crate::Program`] (or, inside a [`crate::program::Kernel`], to the kernel's own).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HostExpr {
    /// A literal.
    Const(Scalar),
    /// The value of size number `n`, an integer.
    Size(usize),
    /// The value of scalar argument number `n`.
    Scalar(usize),
    /// The counter of the `repeat` whose step variable is number `n`, an integer.
    Step(usize),
    /// The number of threads that the launch may use, an integer.
    Threads,
    /// The value converted to an element type.
    Cast(DType, Box<HostExpr>),
    /// One operand.
    Unary(HostUnary, Box<HostExpr>),
    /// Two operands; integers stay integers, anything with a float is a float.
    Binary(HostBinary, Box<HostExpr>, Box<HostExpr>),
    /// `Select(c, a, b)` is `a` where `c` is true, else `b`; only the chosen arm is evaluated.
    Select(Box<HostExpr>, Box<HostExpr>, Box<HostExpr>),
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostUnary {
    /// Negation.
    Neg,
    /// Logical not, of a truth value.
    Not,
    /// Floor of the base-2 logarithm of a positive integer.
    Ilog2,
    /// Square root.
    Sqrt,
    /// e to the operand.
    Exp,
    /// Natural logarithm.
    Log,
    /// Largest integer not above the operand (stays a float).
    Floor,
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostBinary {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers wrap.
    Mul,
    /// Quotient; integers round toward negative infinity.
    Div,
    /// Remainder; of integers, has the divisor's sign.
    Rem,
    /// Smaller operand.
    Min,
    /// Larger operand.
    Max,
    /// Shift left of integers.
    Shl,
    /// Arithmetic shift right of integers.
    Shr,
    /// Bitwise and of integers, logical and of truth values.
    And,
    /// Bitwise or of integers, logical or of truth values.
    Or,
    /// Exclusive or.
    Xor,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

/// Why a host expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostExprError {
    /// A division or remainder by zero.
    #[error("division by zero in a size expression")]
    DivisionByZero,
    /// The logarithm of a number below 1.
    #[error("ilog2 of {0} in a size expression")]
    Logarithm(i64),
    /// A shift by a negative count or by more than 63.
    #[error("shift by {0} in a size expression")]
    Shift(i64),
    /// An index outside the given tables: a bug in the compiler.
    #[error("size expression refers to {0}, which is not there")]
    Missing(&'static str),
}

/// The values that an expression may refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEnv<'a> {
    /// Values of the size names.
    pub sizes: &'a [i64],
    /// Values of the scalar arguments.
    pub scalars: &'a [Scalar],
    /// Values of the step variables.
    pub steps: &'a [i64],
    /// Threads that the launch may use.
    pub threads: usize,
}

impl From<i64> for HostExpr {
    fn from(v: i64) -> HostExpr {
        HostExpr::Const(Scalar::Int(v))
    }
}

impl HostExpr {
    /// `op(a, b)`, folded when both are integer literals.
    #[must_use]
    pub fn binary(op: HostBinary, a: HostExpr, b: HostExpr) -> HostExpr {
        if let (HostExpr::Const(Scalar::Int(_)), HostExpr::Const(Scalar::Int(_))) = (&a, &b)
            && let Ok(Scalar::Int(v)) =
                HostExpr::Binary(op, Box::new(a.clone()), Box::new(b.clone())).eval(&HostEnv::default())
        {
            return v.into();
        }
        HostExpr::Binary(op, Box::new(a), Box::new(b))
    }

    /// `ceil(a / b)` for a positive `b`.
    #[must_use]
    pub fn ceil_div(a: HostExpr, b: HostExpr) -> HostExpr {
        let less_one = HostExpr::binary(HostBinary::Sub, b.clone(), 1.into());
        HostExpr::binary(HostBinary::Div, HostExpr::binary(HostBinary::Add, a, less_one), b)
    }

    /// The expression's value.
    ///
    /// # Errors
    /// [`HostExprError`] when an operation has no result.
    pub fn eval(&self, env: &HostEnv<'_>) -> Result<Scalar, HostExprError> {
        Ok(match self {
            HostExpr::Const(v) => *v,
            HostExpr::Size(n) => Scalar::Int(*env.sizes.get(*n).ok_or(HostExprError::Missing("a size"))?),
            HostExpr::Scalar(n) => *env.scalars.get(*n).ok_or(HostExprError::Missing("a scalar"))?,
            HostExpr::Step(n) => Scalar::Int(*env.steps.get(*n).ok_or(HostExprError::Missing("a step"))?),
            HostExpr::Threads => Scalar::Int(i64::try_from(env.threads.max(1)).unwrap_or(i64::MAX)),
            HostExpr::Cast(dtype, e) => e.eval(env)?.cast(*dtype),
            HostExpr::Unary(op, e) => unary(*op, e.eval(env)?)?,
            HostExpr::Binary(op, a, b) => binary(*op, a.eval(env)?, b.eval(env)?)?,
            HostExpr::Select(c, a, b) => {
                if c.eval(env)?.is_true() {
                    a.eval(env)?
                } else {
                    b.eval(env)?
                }
            }
        })
    }

    /// The expression's value as an integer.
    ///
    /// # Errors
    /// As [`HostExpr::eval`].
    pub fn eval_int(&self, env: &HostEnv<'_>) -> Result<i64, HostExprError> {
        self.eval(env).map(Scalar::as_i64)
    }
}

fn unary(op: HostUnary, v: Scalar) -> Result<Scalar, HostExprError> {
    Ok(match (op, v) {
        (HostUnary::Neg, Scalar::Int(v)) => Scalar::Int(v.wrapping_neg()),
        (HostUnary::Neg, v) => Scalar::Float(-v.as_f64()),
        (HostUnary::Not, Scalar::Int(v)) => Scalar::Int(!v),
        (HostUnary::Not, v) => Scalar::Bool(!v.is_true()),
        (HostUnary::Ilog2, v) => {
            let v = v.as_i64();
            Scalar::Int(v.checked_ilog2().ok_or(HostExprError::Logarithm(v))?.into())
        }
        (HostUnary::Sqrt, v) => Scalar::Float(v.as_f64().sqrt()),
        (HostUnary::Exp, v) => Scalar::Float(v.as_f64().exp()),
        (HostUnary::Log, v) => Scalar::Float(v.as_f64().ln()),
        (HostUnary::Floor, Scalar::Int(v)) => Scalar::Int(v),
        (HostUnary::Floor, v) => Scalar::Float(v.as_f64().floor()),
    })
}

fn binary(op: HostBinary, a: Scalar, b: Scalar) -> Result<Scalar, HostExprError> {
    use HostBinary as B;
    if let (Scalar::Bool(a), Scalar::Bool(b)) = (a, b)
        && let Some(v) = match op {
            B::And => Some(a & b),
            B::Or => Some(a | b),
            B::Xor => Some(a ^ b),
            _ => None,
        }
    {
        return Ok(Scalar::Bool(v));
    }
    if matches!(a, Scalar::Float(_)) || matches!(b, Scalar::Float(_)) {
        return Ok(float_binary(op, a.as_f64(), b.as_f64()));
    }
    let (a, b) = (a.as_i64(), b.as_i64());
    let shift = || u32::try_from(b).ok().filter(|&s| s < 64).ok_or(HostExprError::Shift(b));
    Ok(Scalar::Int(match op {
        B::Add => a.wrapping_add(b),
        B::Sub => a.wrapping_sub(b),
        B::Mul => a.wrapping_mul(b),
        B::Div | B::Rem if b == 0 => return Err(HostExprError::DivisionByZero),
        B::Div => floor_div(a, b),
        B::Rem => floor_rem(a, b),
        B::Min => a.min(b),
        B::Max => a.max(b),
        B::Shl => a.wrapping_shl(shift()?),
        B::Shr => a >> shift()?,
        B::And => a & b,
        B::Or => a | b,
        B::Xor => a ^ b,
        B::Eq => return Ok(Scalar::Bool(a == b)),
        B::Ne => return Ok(Scalar::Bool(a != b)),
        B::Lt => return Ok(Scalar::Bool(a < b)),
        B::Le => return Ok(Scalar::Bool(a <= b)),
    }))
}

fn float_binary(op: HostBinary, a: f64, b: f64) -> Scalar {
    use HostBinary as B;
    match op {
        B::Add => Scalar::Float(a + b),
        B::Sub => Scalar::Float(a - b),
        B::Mul => Scalar::Float(a * b),
        B::Div => Scalar::Float(a / b),
        B::Rem => Scalar::Float(a - b * (a / b).floor()),
        B::Min => Scalar::Float(a.min(b)),
        B::Max => Scalar::Float(a.max(b)),
        B::Eq => Scalar::Bool(a == b),
        B::Ne => Scalar::Bool(a != b),
        B::Lt => Scalar::Bool(a < b),
        B::Le => Scalar::Bool(a <= b),
        B::Shl | B::Shr | B::And | B::Or | B::Xor => Scalar::Float(f64::NAN),
    }
}

/// The quotient rounded toward negative infinity, as the language's `/` on integers means it. `b` is not zero.
#[must_use]
pub fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// The remainder that goes with [`floor_div`]: it has the sign of `b`. `b` is not zero.
#[must_use]
pub fn floor_rem(a: i64, b: i64) -> i64 {
    let r = a.wrapping_rem(b);
    if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents() {
        let env = HostEnv { sizes: &[10, 4], scalars: &[Scalar::Float(0.5)], steps: &[3], threads: 2 };
        let chunks = HostExpr::ceil_div(HostExpr::Size(0), HostExpr::Size(1));
        assert_eq!(chunks.eval_int(&env), Ok(3));
        let odd = HostExpr::binary(HostBinary::Rem, HostExpr::Step(0), 2.into());
        assert_eq!(odd.eval_int(&env), Ok(1));
        assert_eq!((floor_div(-7, 2), floor_rem(-7, 2), floor_rem(7, -2)), (-4, 1, -1));
        let bad = HostExpr::binary(HostBinary::Div, HostExpr::Size(0), 0.into());
        assert_eq!(bad.eval(&env), Err(HostExprError::DivisionByZero));
        assert_eq!(HostExpr::ceil_div(7.into(), 2.into()), 4.into());
    }
}

//! Operations on values in registers: integers that wrap, floats, complex numbers, conversions.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use rooftile_artifact::DType;

use super::emit::{Emitter, V};
use super::{R, internal};
use crate::hir::ir::{BinaryOp, ReduceOp, UnaryOp};

impl Emitter<'_, '_> {
    /// An integer reduced to the width of its type.
    pub(super) fn wrap(&mut self, v: Value, dtype: DType) -> Value {
        match dtype {
            DType::Int { bits: 64, .. } => v,
            DType::Int { signed: true, bits } => {
                let up = self.b.ins().ishl_imm_s(v, 64 - i64::from(bits));
                self.b.ins().sshr_imm_s(up, 64 - i64::from(bits))
            }
            DType::Int { signed: false, bits } => self.b.ins().band_imm_s(v, (1i64 << bits) - 1),
            _ => v,
        }
    }

    /// Quotient and remainder, rounded toward negative infinity; no trap, whatever the divisor.
    pub(super) fn floor_div(&mut self, a: Value, b: Value) -> (Value, Value) {
        // The divisors 0 and -1 are kept from the instruction, which may trap on them.
        let above = self.b.ins().iadd_imm_s(b, 1);
        let odd = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, above, 2);
        let one = self.b.ins().iconst(types::I64, 1);
        let safe = self.b.ins().select(odd, one, b);
        let q = self.b.ins().sdiv(a, safe);
        let back = self.b.ins().imul(q, safe);
        let r = self.b.ins().isub(a, back);
        let signs = self.b.ins().bxor(r, safe);
        let signs_differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
        let inexact = self.b.ins().icmp_imm_s(IntCC::NotEqual, r, 0);
        let down = self.b.ins().band(signs_differ, inexact);
        let wide = self.b.ins().uextend(types::I64, down);
        let q = self.b.ins().isub(q, wide);
        let zero = self.b.ins().iconst(types::I64, 0);
        let add = self.b.ins().select(down, safe, zero);
        let r = self.b.ins().iadd(r, add);
        let negated = self.b.ins().ineg(a);
        (self.b.ins().select(odd, negated, q), self.b.ins().select(odd, zero, r))
    }

    /// Quotient or remainder by a positive literal.
    pub(super) fn constant_div(&mut self, a: Value, d: i64, op: BinaryOp, dtype: DType) -> Value {
        let unsigned = matches!(dtype, DType::Int { signed: false, .. });
        let power = u64::try_from(d).is_ok_and(u64::is_power_of_two);
        let quotient = match (power, unsigned) {
            (true, false) => self.b.ins().sshr_imm_s(a, i64::from(d.trailing_zeros())),
            (true, true) => self.b.ins().ushr_imm_s(a, i64::from(d.trailing_zeros())),
            (false, true) => self.b.ins().udiv_imm_u(a, d),
            (false, false) => {
                let q = self.b.ins().sdiv_imm_s(a, d);
                let back = self.b.ins().imul_imm_s(q, d);
                let r = self.b.ins().isub(a, back);
                let down = self.b.ins().sshr_imm_s(r, 63);
                self.b.ins().iadd(q, down)
            }
        };
        if op == BinaryOp::Div {
            return quotient;
        }
        let back = self.b.ins().imul_imm_s(quotient, d);
        self.b.ins().isub(a, back)
    }

    pub(super) fn unary(&mut self, op: UnaryOp, v: V, dtype: DType) -> R<V> {
        Ok(match (op, v) {
            (UnaryOp::Neg, V::I(v)) => {
                let v = self.b.ins().ineg(v);
                V::I(self.wrap(v, dtype))
            }
            (UnaryOp::Neg, V::F(v)) => V::F(self.b.ins().fneg(v)),
            (UnaryOp::Neg, V::C(re, im)) => V::C(self.b.ins().fneg(re), self.b.ins().fneg(im)),
            (UnaryOp::Not, V::B(v)) => V::B(self.b.ins().bxor_imm_s(v, 1)),
            (UnaryOp::BitNot, V::I(v)) => {
                let v = self.b.ins().bnot(v);
                V::I(self.wrap(v, dtype))
            }
            _ => return Err(internal("an operator of the wrong kind")),
        })
    }

    /// Two operands of `dtype`.
    pub(super) fn binary(&mut self, op: BinaryOp, a: V, b: V, dtype: DType) -> R<V> {
        match (a, b) {
            (V::I(a), V::I(b)) => Ok(self.ints(op, a, b, dtype)),
            (V::F(a), V::F(b)) => self.floats(op, a, b),
            (V::B(a), V::B(b)) => Ok(V::B(match op {
                BinaryOp::And => self.b.ins().band(a, b),
                BinaryOp::Or => self.b.ins().bor(a, b),
                BinaryOp::Xor | BinaryOp::Ne => self.b.ins().bxor(a, b),
                BinaryOp::Eq => {
                    let differ = self.b.ins().bxor(a, b);
                    self.b.ins().bxor_imm_s(differ, 1)
                }
                _ => return Err(internal("an operator of truth values")),
            })),
            (V::C(..), V::C(..)) => self.complexes(op, a.parts()?, b.parts()?),
            _ => Err(internal("operands of two kinds")),
        }
    }

    fn ints(&mut self, op: BinaryOp, a: Value, b: Value, dtype: DType) -> V {
        let unsigned = dtype == DType::U64;
        let compare = |s: &mut Self, signed: IntCC| {
            let code = if unsigned { signed.unsigned() } else { signed };
            V::B(s.b.ins().icmp(code, a, b))
        };
        let v = match op {
            BinaryOp::Add => self.b.ins().iadd(a, b),
            BinaryOp::Sub => self.b.ins().isub(a, b),
            BinaryOp::Mul => self.b.ins().imul(a, b),
            BinaryOp::Div | BinaryOp::Rem if unsigned => {
                let one = self.b.ins().iconst(types::I64, 1);
                let safe = self.b.ins().umax(b, one);
                if op == BinaryOp::Div { self.b.ins().udiv(a, safe) } else { self.b.ins().urem(a, safe) }
            }
            BinaryOp::Div => self.floor_div(a, b).0,
            BinaryOp::Rem => self.floor_div(a, b).1,
            BinaryOp::And => self.b.ins().band(a, b),
            BinaryOp::Or => self.b.ins().bor(a, b),
            BinaryOp::Xor => self.b.ins().bxor(a, b),
            BinaryOp::Shl => self.b.ins().ishl(a, b),
            BinaryOp::Shr if unsigned => self.b.ins().ushr(a, b),
            BinaryOp::Shr => self.b.ins().sshr(a, b),
            BinaryOp::Eq => return compare(self, IntCC::Equal),
            BinaryOp::Ne => return compare(self, IntCC::NotEqual),
            BinaryOp::Lt => return compare(self, IntCC::SignedLessThan),
            BinaryOp::Le => return compare(self, IntCC::SignedLessThanOrEqual),
            BinaryOp::Gt => return compare(self, IntCC::SignedGreaterThan),
            BinaryOp::Ge => return compare(self, IntCC::SignedGreaterThanOrEqual),
        };
        V::I(self.wrap(v, dtype))
    }

    fn floats(&mut self, op: BinaryOp, a: Value, b: Value) -> R<V> {
        let code = match op {
            BinaryOp::Add => return Ok(V::F(self.b.ins().fadd(a, b))),
            BinaryOp::Sub => return Ok(V::F(self.b.ins().fsub(a, b))),
            BinaryOp::Mul => return Ok(V::F(self.b.ins().fmul(a, b))),
            BinaryOp::Div => return Ok(V::F(self.b.ins().fdiv(a, b))),
            BinaryOp::Eq => FloatCC::Equal,
            BinaryOp::Ne => FloatCC::NotEqual,
            BinaryOp::Lt => FloatCC::LessThan,
            BinaryOp::Le => FloatCC::LessThanOrEqual,
            BinaryOp::Gt => FloatCC::GreaterThan,
            BinaryOp::Ge => FloatCC::GreaterThanOrEqual,
            _ => return Err(internal("an operator of floats")),
        };
        Ok(V::B(self.b.ins().fcmp(code, a, b)))
    }

    fn complexes(&mut self, op: BinaryOp, a: (Value, Value), b: (Value, Value)) -> R<V> {
        let i = &mut self.b;
        Ok(match op {
            BinaryOp::Add => V::C(i.ins().fadd(a.0, b.0), i.ins().fadd(a.1, b.1)),
            BinaryOp::Sub => V::C(i.ins().fsub(a.0, b.0), i.ins().fsub(a.1, b.1)),
            BinaryOp::Mul => {
                let (rr, ii) = (i.ins().fmul(a.0, b.0), i.ins().fmul(a.1, b.1));
                let (ri, ir) = (i.ins().fmul(a.0, b.1), i.ins().fmul(a.1, b.0));
                V::C(i.ins().fsub(rr, ii), i.ins().fadd(ri, ir))
            }
            BinaryOp::Div => {
                let (cc, dd) = (i.ins().fmul(b.0, b.0), i.ins().fmul(b.1, b.1));
                let norm = i.ins().fadd(cc, dd);
                let (rr, ii) = (i.ins().fmul(a.0, b.0), i.ins().fmul(a.1, b.1));
                let (ir, ri) = (i.ins().fmul(a.1, b.0), i.ins().fmul(a.0, b.1));
                let (re, im) = (i.ins().fadd(rr, ii), i.ins().fsub(ir, ri));
                V::C(i.ins().fdiv(re, norm), i.ins().fdiv(im, norm))
            }
            BinaryOp::Eq | BinaryOp::Ne => {
                let re = i.ins().fcmp(FloatCC::Equal, a.0, b.0);
                let im = i.ins().fcmp(FloatCC::Equal, a.1, b.1);
                let both = i.ins().band(re, im);
                V::B(if op == BinaryOp::Eq { both } else { i.ins().bxor_imm_s(both, 1) })
            }
            _ => return Err(internal("an operator of complex values")),
        })
    }

    /// Conversion between types; floats keep their `f64` value.
    pub(super) fn cast(&mut self, v: V, from: DType, to: DType) -> R<V> {
        let float = |s: &mut Self, v: V| -> R<Value> {
            Ok(match v {
                V::I(v) if from == DType::U64 => s.b.ins().fcvt_from_uint(types::F64, v),
                V::I(v) => s.b.ins().fcvt_from_sint(types::F64, v),
                V::B(v) => {
                    let wide = s.b.ins().uextend(types::I64, v);
                    s.b.ins().fcvt_from_sint(types::F64, wide)
                }
                V::F(v) | V::C(v, _) => v,
            })
        };
        Ok(match (v, to) {
            (V::C(..), DType::C64 | DType::C128) => v,
            (v, DType::C64 | DType::C128) => V::C(float(self, v)?, self.b.ins().f64const(0.0)),
            (V::B(_), DType::Bool) => v,
            (V::I(v), DType::Bool) => V::B(self.b.ins().icmp_imm_s(IntCC::NotEqual, v, 0)),
            (V::F(v), DType::Bool) => {
                let zero = self.b.ins().f64const(0.0);
                V::B(self.b.ins().fcmp(FloatCC::NotEqual, v, zero))
            }
            (V::I(v), DType::Int { .. }) => V::I(self.wrap(v, to)),
            (V::B(v), DType::Int { .. }) => V::I(self.b.ins().uextend(types::I64, v)),
            (V::F(v) | V::C(v, _), DType::Int { .. }) => V::I(self.truncate(v, to)?),
            (V::C(..), DType::Bool) => return Err(internal("a truth value of a complex one")),
            (v, _) => V::F(float(self, v)?),
        })
    }

    /// A float truncated toward zero, saturated to the integer type; NaN is 0.
    fn truncate(&mut self, v: Value, to: DType) -> R<Value> {
        if to == DType::U64 {
            return Ok(self.b.ins().fcvt_to_uint_sat(types::I64, v));
        }
        let (lo, hi) = to.int_range().ok_or_else(|| internal("an integer type"))?;
        let v = self.b.ins().fcvt_to_sint_sat(types::I64, v);
        let lo = self.b.ins().iconst(types::I64, i64::try_from(lo).map_err(internal)?);
        let hi = self.b.ins().iconst(types::I64, i64::try_from(hi).map_err(internal)?);
        let v = self.b.ins().smax(v, lo);
        Ok(self.b.ins().smin(v, hi))
    }

    /// `b` where `a < b`, else `a`.
    pub(super) fn larger(&mut self, a: V, b: V, dtype: DType) -> R<V> {
        let less = self.binary(BinaryOp::Lt, a, b, dtype)?.truth()?;
        self.choose(less, b, a)
    }

    /// `b` where `b < a`, else `a`.
    pub(super) fn smaller(&mut self, a: V, b: V, dtype: DType) -> R<V> {
        let less = self.binary(BinaryOp::Lt, b, a, dtype)?.truth()?;
        self.choose(less, b, a)
    }

    /// One step of a reduction.
    pub(super) fn combine(&mut self, op: ReduceOp, acc: V, v: V, dtype: DType) -> R<V> {
        match op {
            ReduceOp::Sum | ReduceOp::Dot => self.binary(BinaryOp::Add, acc, v, dtype),
            ReduceOp::Prod => self.binary(BinaryOp::Mul, acc, v, dtype),
            ReduceOp::Max => self.larger(acc, v, dtype),
            ReduceOp::Min => self.smaller(acc, v, dtype),
            ReduceOp::Any => self.binary(BinaryOp::Or, acc, v, dtype),
            ReduceOp::All => self.binary(BinaryOp::And, acc, v, dtype),
            ReduceOp::Argmax | ReduceOp::Argmin => Err(internal("a reduction by steps")),
        }
    }
}

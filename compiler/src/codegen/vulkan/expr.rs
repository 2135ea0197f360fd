//! Expressions. Those of type `i64` have two values: the whole, and the low word that addresses and most indices need.

use rooftile_artifact::{DType, Scalar};
use rspirv::spirv::{Op, Word};

use super::super::gpu::range::Fit;
use super::emit::{Binding, Emitter};
use super::int::Int;
use super::types::{carrier_bits, float_bits};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, UnaryOp};

impl Emitter<'_> {
    /// The value of an expression.
    pub(super) fn value(&mut self, e: ExprId) -> Word {
        if let Some(&v) = self.values.get(&e) {
            return v;
        }
        let v = if self.nest.exprs[e].dtype == DType::I64 { self.index(e) } else { self.compute(e) };
        self.values.insert(e, v);
        v
    }

    /// An `i64` as a whole: extended from 32 bits where those hold it.
    fn index(&mut self, e: ExprId) -> Word {
        if let ExprKind::Const(v) = self.nest.exprs[e].kind {
            return self.code.module.int_const(64, v.as_i64().cast_unsigned());
        }
        let extend = match self.fit(e) {
            Some(Fit::Signed) if self.ranges.of(e).lo < 0 => Op::SConvert,
            Some(_) => Op::UConvert,
            None => return self.compute(e),
        };
        let (low, ty) = (self.low(e), self.code.module.u64());
        self.code.value(extend, ty, &[low])
    }

    /// The low word of an `i64`.
    pub(super) fn low(&mut self, e: ExprId) -> Word {
        if let Some(&v) = self.lows.get(&e) {
            return v;
        }
        let v = self.compute_low(e).unwrap_or_else(|| {
            let whole = self.values.get(&e).copied();
            let whole = whole.unwrap_or_else(|| self.compute(e));
            let ty = self.code.module.u32();
            self.code.value(Op::UConvert, ty, &[whole])
        });
        self.lows.insert(e, v);
        v
    }

    /// The low word of an `i64` without the high one, where that can be.
    fn compute_low(&mut self, e: ExprId) -> Option<Word> {
        let word = Int::index32(Fit::Signed);
        Some(match self.nest.exprs[e].kind {
            ExprKind::Const(v) => self.code.module.int_const(32, v.as_i64().cast_unsigned()),
            ExprKind::Size(n) => self.size(n),
            ExprKind::Param(n) => {
                // The cell's low word comes first.
                let whole = self.param(n);
                let ty = self.code.module.u32();
                self.code.value(Op::UConvert, ty, &[whole])
            }
            ExprKind::Var(v) => match self.bindings[v.index()] {
                Binding::Const(c) => self.code.module.int_const(32, c.cast_unsigned()),
                Binding::Narrow(v) => v,
                Binding::Same(same) => self.low(same),
                Binding::Value(_) | Binding::Unbound => return None,
            },
            ExprKind::Select(c, a, b) => {
                let (a, b, c) = (self.low(a), self.low(b), self.value(c));
                let ty = self.code.module.u32();
                self.code.value(Op::Select, ty, &[c, a, b])
            }
            ExprKind::Cast(a) => match self.nest.exprs[a].dtype {
                DType::Bool | DType::Int { bits: 8 | 16 | 32, .. } => {
                    let v = self.value(a);
                    self.cast(v, self.nest.exprs[a].dtype, DType::U32)
                }
                _ => return None,
            },
            ExprKind::Unary(op @ (UnaryOp::Neg | UnaryOp::Not), a) => {
                let a = self.low(a);
                self.int_unary(op, a, word)
            }
            ExprKind::Binary(op, a, b) => {
                use BinaryOp as B;
                let ty = match op {
                    // Their low word comes of the low words of their operands.
                    B::Add | B::Sub | B::Mul | B::And | B::Or | B::Xor => word,
                    B::Shl if self.nest.const_int(b).is_some_and(|c| (0..32).contains(&c)) => word,
                    B::Div | B::Rem | B::DivNonNeg | B::RemNonNeg | B::Min | B::Max | B::Shr => {
                        Int::index32(self.fit_both(a, b)?)
                    }
                    _ => return None,
                };
                let op = self.without_signs(op, a, b);
                if op == B::Shr && !self.nest.const_int(b).is_some_and(|c| (0..32).contains(&c)) {
                    return None;
                }
                let (a, b) = (self.low(a), self.low(b));
                self.int_binary(op, a, b, ty)
            }
            ExprKind::Load { .. } | ExprKind::Unary(..) | ExprKind::Math(..) | ExprKind::Fma(..) => {
                return None;
            }
        })
    }

    /// Division that need not mind signs, where the operands have none.
    fn without_signs(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> BinaryOp {
        // The divisor is not zero.
        let natural = self.ranges.of(a).lo >= 0 && self.ranges.of(b).lo >= 0;
        match op {
            BinaryOp::Div if natural => BinaryOp::DivNonNeg,
            BinaryOp::Rem if natural => BinaryOp::RemNonNeg,
            _ => op,
        }
    }

    /// The value as its kind says; of an `i64` the whole.
    fn compute(&mut self, e: ExprId) -> Word {
        let nest = self.nest;
        let expr = &nest.exprs[e];
        let t = expr.dtype;
        match &expr.kind {
            ExprKind::Const(v) => self.literal(*v, t),
            ExprKind::Size(n) => {
                let (low, ty) = (self.size(*n), self.code.module.u64());
                self.code.value(Op::UConvert, ty, &[low])
            }
            ExprKind::Param(n) => self.param(*n),
            ExprKind::Var(v) => match self.bindings[v.index()] {
                Binding::Const(c) => self.code.module.int_const(64, c.cast_unsigned()),
                Binding::Value(v) => v,
                Binding::Same(same) => self.value(same),
                // Only of variables whose range 32 bits hold, which are extended before.
                Binding::Narrow(v) => {
                    let ty = self.code.module.u64();
                    self.code.value(Op::UConvert, ty, &[v])
                }
                // Verified nests bind before use.
                Binding::Unbound => self.literal(Scalar::Int(0), t),
            },
            ExprKind::Load { buffer, index } => self.load(*buffer, index),
            ExprKind::Unary(op, a) => {
                let v = self.value(*a);
                match t {
                    DType::Bool => {
                        let ty = self.code.module.bool();
                        self.code.value(Op::LogicalNot, ty, &[v])
                    }
                    DType::F32 | DType::F64 => self.float_unary(*op, v, float_bits(t)),
                    _ => self.int_unary(*op, v, Int::of(t)),
                }
            }
            ExprKind::Math(f, a) => {
                let v = self.value(*a);
                self.math(*f, v, float_bits(t))
            }
            ExprKind::Binary(op, a, b) => self.binary(*op, *a, *b),
            ExprKind::Fma(a, b, c) => {
                let (a, b, c) = (self.value(*a), self.value(*b), self.value(*c));
                self.fused(a, b, c, float_bits(t))
            }
            ExprKind::Select(c, a, b) => {
                let (a, b, c) = (self.value(*a), self.value(*b), self.value(*c));
                let ty = self.carrier(t);
                self.code.value(Op::Select, ty, &[c, a, b])
            }
            ExprKind::Cast(a) => {
                let from = nest.exprs[*a].dtype;
                // What is narrower than the index needs no more than its low word.
                let narrower = matches!(t, DType::Int { bits: 8 | 16 | 32, .. });
                let fits = self.fit(*a).is_some_and(|_| self.ranges.of(*a).hi <= i64::from(i32::MAX));
                if from == DType::I64 && (narrower || (fits && t != DType::U64)) {
                    let low = self.low(*a);
                    return self.cast(low, DType::I32, t);
                }
                let v = self.value(*a);
                self.cast(v, from, t)
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> Word {
        match self.nest.exprs[a].dtype {
            DType::Bool => {
                let (a, b) = (self.value(a), self.value(b));
                self.bool_binary(op, a, b)
            }
            t @ (DType::F32 | DType::F64) => {
                let (a, b) = (self.value(a), self.value(b));
                self.float_binary(op, a, b, float_bits(t))
            }
            DType::I64 => {
                let narrow = self.fit_both(a, b).filter(|_| op.is_comparison());
                let op = self.without_signs(op, a, b);
                if let Some(fit) = narrow {
                    let (a, b) = (self.low(a), self.low(b));
                    return self.int_binary(op, a, b, Int::index32(fit));
                }
                let (a, b) = (self.value(a), self.value(b));
                self.int_binary(op, a, b, Int::of(DType::I64))
            }
            t => {
                let (a, b) = (self.value(a), self.value(b));
                self.int_term(op, a, b, Int::of(t))
            }
        }
    }

    fn bool_binary(&mut self, op: BinaryOp, a: Word, b: Word) -> Word {
        let ty = self.code.module.bool();
        let op = match op {
            BinaryOp::And => Op::LogicalAnd,
            BinaryOp::Or => Op::LogicalOr,
            BinaryOp::Eq => Op::LogicalEqual,
            // Exclusive or, and inequality.
            _ => Op::LogicalNotEqual,
        };
        self.code.value(op, ty, &[a, b])
    }

    fn literal(&mut self, v: Scalar, t: DType) -> Word {
        let module = &mut self.code.module;
        match t {
            DType::Bool => module.bool_const(v.is_true()),
            DType::F32 | DType::F64 => module.float_const(float_bits(t), v.as_f64()),
            DType::F16 => module.int_const(32, half::f16::from_f64(v.as_f64()).to_bits().into()),
            DType::Bf16 => module.int_const(32, half::bf16::from_f64(v.as_f64()).to_bits().into()),
            _ => module.int_const(carrier_bits(t), v.as_i64().cast_unsigned()),
        }
    }
}

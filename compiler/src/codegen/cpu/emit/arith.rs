//! Operators of one, two and three operands.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use rooftile_artifact::DType;

use super::Emitter;
use super::lanes::{Lanes, Val, as_int, scalar_type};
use crate::nest::ir::{BinaryOp, UnaryOp};

impl Emitter<'_> {
    /// `op(a)` of operands of type `t`.
    pub(super) fn unary(&mut self, op: UnaryOp, a: &Val, t: DType) -> Val {
        match a {
            Val::Uniform(v) => Val::Uniform(self.unary_value(op, *v, t)),
            Val::Lanes(lanes) => {
                if matches!(op, UnaryOp::Popcount | UnaryOp::LeadingZeros | UnaryOp::ReverseBits) {
                    let n = self.lane_count().unwrap_or(1);
                    return Val::Lanes(self.lane_by_lane(&[(a, t)], t, n, |e, v| e.unary_value(op, v[0], t)));
                }
                Val::Lanes(self.map1(lanes, lanes.ty, |e, v| e.unary_value(op, v, t)))
            }
        }
    }

    /// One scalar or vector.
    fn unary_value(&mut self, op: UnaryOp, v: Value, t: DType) -> Value {
        let ty = self.b.func.dfg.value_type(v);
        if t == DType::Bool {
            return match op {
                UnaryOp::Not if ty.is_vector() => self.b.ins().bnot(v),
                UnaryOp::Not => self.b.ins().bxor_imm_s(v, 1),
                _ => v,
            };
        }
        let float = t.is_float();
        let ins = self.b.ins();
        match op {
            UnaryOp::Neg if float => ins.fneg(v),
            UnaryOp::Neg => ins.ineg(v),
            UnaryOp::Not => ins.bnot(v),
            UnaryOp::Abs if float => ins.fabs(v),
            UnaryOp::Abs if t.is_signed_int() => ins.iabs(v),
            UnaryOp::Abs => v,
            UnaryOp::Floor => ins.floor(v),
            UnaryOp::Ceil => ins.ceil(v),
            UnaryOp::Round => ins.nearest(v),
            UnaryOp::Trunc => ins.trunc(v),
            UnaryOp::Sqrt => ins.sqrt(v),
            UnaryOp::Popcount => ins.popcnt(v),
            UnaryOp::LeadingZeros => ins.clz(v),
            UnaryOp::ReverseBits => ins.bitrev(v),
        }
    }

    /// `op(a, b)` of operands of type `t`.
    pub(super) fn binary(&mut self, op: BinaryOp, a: &Val, b: &Val, t: DType) -> Val {
        if op == BinaryOp::Pow {
            return self.power(a, b, t);
        }
        if let (Val::Uniform(a), Val::Uniform(b)) = (a, b) {
            return Val::Uniform(self.binary_scalar(op, *a, *b, t));
        }
        let n = self.lane_count().unwrap_or(1);
        if let (BinaryOp::Shl | BinaryOp::Shr, Val::Lanes(lanes), Val::Uniform(count)) = (op, a, b) {
            return Val::Lanes(self.map1(lanes, lanes.ty, |e, v| e.shift(op, v, *count, t)));
        }
        if !has_vector_form(op, t) {
            let result = if op.is_comparison() { DType::Bool } else { t };
            let done =
                self.lane_by_lane(&[(a, t), (b, t)], result, n, |e, v| e.binary_scalar(op, v[0], v[1], t));
            return Val::Lanes(done);
        }
        let ty = match (t, a, b) {
            (DType::Bool, Val::Lanes(l), _) | (DType::Bool, _, Val::Lanes(l)) => l.ty,
            _ => scalar_type(t),
        };
        let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
        let result = if op.is_comparison() { as_int(ty) } else { ty };
        Val::Lanes(self.map2(&a, &b, result, |e, a, b| e.binary_vector(op, a, b, t)))
    }

    fn binary_vector(&mut self, op: BinaryOp, a: Value, b: Value, t: DType) -> Value {
        match (op, t) {
            (BinaryOp::Eq, DType::Bool) => {
                let differ = self.b.ins().bxor(a, b);
                self.b.ins().bnot(differ)
            }
            (BinaryOp::Ne, DType::Bool) => self.b.ins().bxor(a, b),
            (BinaryOp::Min | BinaryOp::Max, _) if t.is_float() => {
                let (x, y) = if op == BinaryOp::Min { (b, a) } else { (a, b) };
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                // Min is b < a ? b : a, Max is a < b ? b : a.
                self.blend(less, b, a)
            }
            (BinaryOp::Min | BinaryOp::Max, _) if scalar_type(t) == types::I64 => {
                let less = if t.is_signed_int() { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
                let less = self.b.ins().icmp(less, a, b);
                let (x, y) = if op == BinaryOp::Min { (a, b) } else { (b, a) };
                self.b.ins().bitselect(less, x, y)
            }
            _ => self.simple(op, a, b, t),
        }
    }

    fn binary_scalar(&mut self, op: BinaryOp, a: Value, b: Value, t: DType) -> Value {
        use BinaryOp as B;
        match op {
            B::Div | B::Rem | B::DivNonNeg | B::RemNonNeg if t.is_int() => self.divide(op, a, b, t),
            B::Shl | B::Shr => self.shift(op, a, b, t),
            B::Min | B::Max if t.is_float() => {
                let (x, y) = if op == B::Min { (b, a) } else { (a, b) };
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                self.b.ins().select(less, b, a)
            }
            B::Min | B::Max => {
                let less = if t.is_signed_int() { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
                let less = self.b.ins().icmp(less, a, b);
                let (x, y) = if op == B::Min { (a, b) } else { (b, a) };
                self.b.ins().select(less, x, y)
            }
            _ => self.simple(op, a, b, t),
        }
    }

    /// What is one instruction on scalars and vectors alike.
    fn simple(&mut self, op: BinaryOp, a: Value, b: Value, t: DType) -> Value {
        use BinaryOp as B;
        let signed = t.is_signed_int();
        let ins = self.b.ins();
        if t.is_float() {
            return match op {
                B::Add => ins.fadd(a, b),
                B::Sub => ins.fsub(a, b),
                B::Mul => ins.fmul(a, b),
                B::Div => ins.fdiv(a, b),
                B::Eq => ins.fcmp(FloatCC::Equal, a, b),
                B::Ne => ins.fcmp(FloatCC::NotEqual, a, b),
                B::Lt => ins.fcmp(FloatCC::LessThan, a, b),
                B::Le => ins.fcmp(FloatCC::LessThanOrEqual, a, b),
                // No other operator takes floats.
                _ => a,
            };
        }
        match op {
            B::Add => ins.iadd(a, b),
            B::Sub => ins.isub(a, b),
            B::Mul => ins.imul(a, b),
            B::And => ins.band(a, b),
            B::Or => ins.bor(a, b),
            B::Xor => ins.bxor(a, b),
            B::Min if signed => ins.smin(a, b),
            B::Min => ins.umin(a, b),
            B::Max if signed => ins.smax(a, b),
            B::Max => ins.umax(a, b),
            B::Eq => ins.icmp(IntCC::Equal, a, b),
            B::Ne => ins.icmp(IntCC::NotEqual, a, b),
            B::Lt if signed => ins.icmp(IntCC::SignedLessThan, a, b),
            B::Lt => ins.icmp(IntCC::UnsignedLessThan, a, b),
            B::Le if signed => ins.icmp(IntCC::SignedLessThanOrEqual, a, b),
            B::Le => ins.icmp(IntCC::UnsignedLessThanOrEqual, a, b),
            // Handled by the callers.
            B::Div | B::Rem | B::DivNonNeg | B::RemNonNeg | B::Pow | B::Shl | B::Shr => a,
        }
    }

    fn shift(&mut self, op: BinaryOp, v: Value, count: Value, t: DType) -> Value {
        match op {
            BinaryOp::Shl => self.b.ins().ishl(v, count),
            _ if t.is_signed_int() => self.b.ins().sshr(v, count),
            _ => self.b.ins().ushr(v, count),
        }
    }

    /// Quotients and remainders of scalar integers. A divisor of zero, which the rules forbid, gives any value but
    /// does not trap; neither does the least integer divided by -1.
    fn divide(&mut self, op: BinaryOp, a: Value, b: Value, t: DType) -> Value {
        let ty = scalar_type(t);
        if ty.bits() < 32 {
            let signed = t.is_signed_int();
            let (a, b) = (self.extend(a, types::I32, signed), self.extend(b, types::I32, signed));
            let wide = if signed { DType::I32 } else { DType::U32 };
            let result = self.divide(op, a, b, wide);
            return self.b.ins().ireduce(ty, result);
        }
        let known = self.known_int(b);
        let quotient = matches!(op, BinaryOp::Div | BinaryOp::DivNonNeg);
        if !t.is_signed_int() || matches!(op, BinaryOp::DivNonNeg | BinaryOp::RemNonNeg) {
            let b = if known.is_some_and(|k| k != 0) { b } else { self.one_instead_of(b, ty, 0) };
            return if quotient { self.b.ins().udiv(a, b) } else { self.b.ins().urem(a, b) };
        }
        if let Some(k) = known
            && k > 0
            && k.count_ones() == 1
        {
            // Rounding toward negative infinity is what shifts and masks do.
            return if quotient {
                self.b.ins().sshr_imm_u(a, i64::from(k.trailing_zeros()))
            } else {
                self.b.ins().band_imm_s(a, k - 1)
            };
        }
        let safe = match known {
            Some(k) if k != 0 && k != -1 => b,
            _ => {
                let nonzero = self.one_instead_of(b, ty, 0);
                self.one_instead_of(nonzero, ty, -1)
            }
        };
        let q = self.b.ins().sdiv(a, safe);
        let product = self.b.ins().imul(q, safe);
        let r = self.b.ins().isub(a, product);
        // The remainder takes the divisor's sign.
        let zero = self.int_const(ty, 0);
        let signs = self.b.ins().bxor(r, safe);
        let differ = self.b.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let inexact = self.b.ins().icmp(IntCC::NotEqual, r, zero);
        let adjust = self.b.ins().band(differ, inexact);
        if !quotient {
            // Divided by 1 instead of -1 the remainder is 0 as well.
            let shifted = self.b.ins().iadd(r, safe);
            return self.b.ins().select(adjust, shifted, r);
        }
        let less = self.b.ins().iadd_imm_s(q, -1);
        let q = self.b.ins().select(adjust, less, q);
        if known.is_some_and(|k| k != -1) {
            return q;
        }
        let minus = self.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
        let negated = self.b.ins().ineg(a);
        self.b.ins().select(minus, negated, q)
    }

    fn one_instead_of(&mut self, v: Value, ty: Type, bad: i64) -> Value {
        let is_bad = self.b.ins().icmp_imm_s(IntCC::Equal, v, bad);
        let one = self.int_const(ty, 1);
        self.b.ins().select(is_bad, one, v)
    }

    /// The value of an integer constant.
    fn known_int(&self, v: Value) -> Option<i64> {
        use cranelift_codegen::ir::{InstructionData, Opcode};
        let inst = self.b.func.dfg.value_def(v).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                let bits = self.b.func.dfg.value_type(v).bits();
                Some(rooftile_artifact::scalar::wrap(imm.bits(), true, bits as u8))
            }
            _ => None,
        }
    }

    /// `a * b + c` with one rounding.
    pub(super) fn fused(&mut self, a: &Val, b: &Val, c: &Val, t: DType) -> Val {
        if let (Val::Uniform(a), Val::Uniform(b), Val::Uniform(c)) = (a, b, c) {
            return Val::Uniform(self.b.ins().fma(*a, *b, *c));
        }
        let n = self.lane_count().unwrap_or(1);
        let ty = scalar_type(t);
        let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
        let c = self.per_lane(c, t, ty, n);
        let chunks =
            (0..a.chunks.len()).map(|i| self.b.ins().fma(a.chunks[i], b.chunks[i], c.chunks[i])).collect();
        Val::Lanes(Lanes { ty, chunks })
    }
}

/// Whether an operator has an instruction on vectors of a type.
fn has_vector_form(op: BinaryOp, t: DType) -> bool {
    use BinaryOp as B;
    match op {
        B::Div => t.is_float(),
        B::Rem | B::DivNonNeg | B::RemNonNeg | B::Pow | B::Shl | B::Shr => false,
        B::Mul => t.is_float() || scalar_type(t) != types::I8,
        _ => true,
    }
}

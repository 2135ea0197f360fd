//! Operators of one, two and three operands.

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Cmp, Lane, Ssa, Ty, Un};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of};
use crate::nest::ir::{BinaryOp, UnaryOp};

impl<B: Ssa> Emitter<'_, B> {
    /// `op(a)` of operands of type `t`.
    pub(super) fn unary(&mut self, op: UnaryOp, a: &Val<B::Value>, t: DType) -> Val<B::Value> {
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
    fn unary_value(&mut self, op: UnaryOp, v: B::Value, t: DType) -> B::Value {
        let ty = self.b.ty(v);
        if t == DType::Bool {
            return match op {
                UnaryOp::Not if ty.is_vector() => self.b.unary(Un::Not, v),
                UnaryOp::Not => self.op_const(Bin::Xor, v, 1),
                _ => v,
            };
        }
        let op = match op {
            UnaryOp::Neg => Un::Neg,
            UnaryOp::Not => Un::Not,
            UnaryOp::Abs if t.is_float() || t.is_signed_int() => Un::Abs,
            UnaryOp::Abs => return v,
            UnaryOp::Floor => Un::Floor,
            UnaryOp::Ceil => Un::Ceil,
            UnaryOp::Round => Un::Nearest,
            UnaryOp::Trunc => Un::Trunc,
            UnaryOp::Sqrt => Un::Sqrt,
            UnaryOp::Popcount => Un::Popcount,
            UnaryOp::LeadingZeros => Un::LeadingZeros,
            UnaryOp::ReverseBits => Un::ReverseBits,
        };
        self.b.unary(op, v)
    }

    /// `op(a, b)` of operands of type `t`.
    pub(super) fn binary(
        &mut self,
        op: BinaryOp,
        a: &Val<B::Value>,
        b: &Val<B::Value>,
        t: DType,
    ) -> Val<B::Value> {
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
        if let (Val::Lanes(lanes), Val::Uniform(by)) = (a, b)
            && let Some(by) = self.by_power_of_two(op, *by, t)
        {
            return Val::Lanes(self.map1(lanes, lanes.ty, |e, v| e.divided(v, by)));
        }
        if let (BinaryOp::Div, DType::F32, Val::Lanes(lanes), Val::Uniform(by)) = (op, t, a, b)
            && let Some(quotients) = self.quotients(lanes, *by)
        {
            return Val::Lanes(quotients);
        }
        if !has_vector_form(op, t) {
            let result = if op.is_comparison() { DType::Bool } else { t };
            let done =
                self.lane_by_lane(&[(a, t), (b, t)], result, n, |e, v| e.binary_scalar(op, v[0], v[1], t));
            return Val::Lanes(done);
        }
        let ty = match (t, a, b) {
            (DType::Bool, Val::Lanes(l), _) | (DType::Bool, _, Val::Lanes(l)) => l.ty,
            _ => lane_of(t),
        };
        let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
        let result = if op.is_comparison() { ty.as_int() } else { ty };
        Val::Lanes(self.map2(&a, &b, result, |e, a, b| e.binary_vector(op, a, b, t)))
    }

    pub(super) fn binary_vector(&mut self, op: BinaryOp, a: B::Value, b: B::Value, t: DType) -> B::Value {
        match (op, t) {
            (BinaryOp::Eq, DType::Bool) => {
                let differ = self.b.binary(Bin::Xor, a, b);
                self.b.unary(Un::Not, differ)
            }
            (BinaryOp::Ne, DType::Bool) => self.b.binary(Bin::Xor, a, b),
            (BinaryOp::Min | BinaryOp::Max, _) if t.is_float() => {
                let (x, y) = if op == BinaryOp::Min { (b, a) } else { (a, b) };
                let less = self.b.compare(Cmp::Lt, x, y);
                // Min is b < a ? b : a, Max is a < b ? b : a.
                self.b.blend(less, b, a)
            }
            (BinaryOp::Min | BinaryOp::Max, _) if lane_of(t) == Lane::I64 => {
                let less = if t.is_signed_int() { Cmp::Lt } else { Cmp::ULt };
                let less = self.b.compare(less, a, b);
                let (x, y) = if op == BinaryOp::Min { (a, b) } else { (b, a) };
                self.b.blend(less, x, y)
            }
            _ => self.simple(op, a, b, t),
        }
    }

    fn binary_scalar(&mut self, op: BinaryOp, a: B::Value, b: B::Value, t: DType) -> B::Value {
        use BinaryOp as O;
        match op {
            O::Div | O::Rem | O::DivNonNeg | O::RemNonNeg if t.is_int() => self.divide(op, a, b, t),
            O::Shl | O::Shr => self.shift(op, a, b, t),
            O::Min | O::Max if t.is_float() => {
                let (x, y) = if op == O::Min { (b, a) } else { (a, b) };
                let less = self.b.compare(Cmp::Lt, x, y);
                self.b.select(less, b, a)
            }
            O::Min | O::Max => {
                let less = if t.is_signed_int() { Cmp::Lt } else { Cmp::ULt };
                let less = self.b.compare(less, a, b);
                let (x, y) = if op == O::Min { (a, b) } else { (b, a) };
                self.b.select(less, x, y)
            }
            _ => self.simple(op, a, b, t),
        }
    }

    /// What is one instruction on scalars and vectors alike.
    fn simple(&mut self, op: BinaryOp, a: B::Value, b: B::Value, t: DType) -> B::Value {
        use BinaryOp as O;
        // Signs matter to integers only.
        let signed = t.is_float() || t.is_signed_int();
        let op = match op {
            O::Add => Bin::Add,
            O::Sub => Bin::Sub,
            O::Mul => Bin::Mul,
            // Of floats: the callers divide integers.
            O::Div => Bin::Div,
            O::And => Bin::And,
            O::Or => Bin::Or,
            O::Xor => Bin::Xor,
            O::Min if signed => Bin::SMin,
            O::Min => Bin::UMin,
            O::Max if signed => Bin::SMax,
            O::Max => Bin::UMax,
            O::Eq => return self.b.compare(Cmp::Eq, a, b),
            O::Ne => return self.b.compare(Cmp::Ne, a, b),
            O::Lt if signed => return self.b.compare(Cmp::Lt, a, b),
            O::Lt => return self.b.compare(Cmp::ULt, a, b),
            O::Le if signed => return self.b.compare(Cmp::Le, a, b),
            O::Le => return self.b.compare(Cmp::ULe, a, b),
            // Handled by the callers.
            O::Rem | O::DivNonNeg | O::RemNonNeg | O::Pow | O::Shl | O::Shr => return a,
        };
        self.b.binary(op, a, b)
    }

    fn shift(&mut self, op: BinaryOp, v: B::Value, count: B::Value, t: DType) -> B::Value {
        let op = match op {
            BinaryOp::Shl => Bin::Shl,
            _ if t.is_signed_int() => Bin::SShr,
            _ => Bin::UShr,
        };
        self.b.binary(op, v, count)
    }

    /// Quotients and remainders of scalar integers. A divisor of zero, which the rules forbid, gives any value but
    /// does not trap; neither does the least integer divided by -1.
    fn divide(&mut self, op: BinaryOp, a: B::Value, b: B::Value, t: DType) -> B::Value {
        if let Some(by) = self.by_power_of_two(op, b, t) {
            return self.divided(a, by);
        }
        let lane = lane_of(t);
        if lane.bits() < 32 {
            let signed = t.is_signed_int();
            let (a, b) = (self.extend(a, Lane::I32, signed), self.extend(b, Lane::I32, signed));
            let wide = if signed { DType::I32 } else { DType::U32 };
            let result = self.divide(op, a, b, wide);
            return self.b.reduce(lane, result);
        }
        let ty = Ty::scalar(lane);
        let known = self.b.known_int(b);
        let quotient = matches!(op, BinaryOp::Div | BinaryOp::DivNonNeg);
        if !t.is_signed_int() || matches!(op, BinaryOp::DivNonNeg | BinaryOp::RemNonNeg) {
            let b = if known.is_some_and(|k| k != 0) { b } else { self.one_instead_of(b, ty, 0) };
            return if quotient { self.b.binary(Bin::UDiv, a, b) } else { self.b.binary(Bin::URem, a, b) };
        }
        let safe = match known {
            Some(k) if k != 0 && k != -1 => b,
            _ => {
                let nonzero = self.one_instead_of(b, ty, 0);
                self.one_instead_of(nonzero, ty, -1)
            }
        };
        let q = self.b.binary(Bin::SDiv, a, safe);
        let product = self.b.binary(Bin::Mul, q, safe);
        let r = self.b.binary(Bin::Sub, a, product);
        // The remainder takes the divisor's sign.
        let zero = self.b.int(ty, 0);
        let signs = self.b.binary(Bin::Xor, r, safe);
        let differ = self.b.compare(Cmp::Lt, signs, zero);
        let inexact = self.b.compare(Cmp::Ne, r, zero);
        let adjust = self.b.binary(Bin::And, differ, inexact);
        if !quotient {
            // Divided by 1 instead of -1 the remainder is 0 as well.
            let shifted = self.b.binary(Bin::Add, r, safe);
            return self.b.select(adjust, shifted, r);
        }
        let less = self.op_const(Bin::Add, q, -1);
        let q = self.b.select(adjust, less, q);
        if known.is_some_and(|k| k != -1) {
            return q;
        }
        let minus = self.compare_const(Cmp::Eq, b, -1);
        let negated = self.b.unary(Un::Neg, a);
        self.b.select(minus, negated, q)
    }

    fn one_instead_of(&mut self, v: B::Value, ty: Ty, bad: i64) -> B::Value {
        let is_bad = self.compare_const(Cmp::Eq, v, bad);
        let one = self.b.int(ty, 1);
        self.b.select(is_bad, one, v)
    }

    /// The instruction that divides integers, scalars or vectors, by a power of two, with its constant; `None` where it is not
    /// one. Quotients are rounded toward negative infinity, as shifts and masks do.
    fn by_power_of_two(&self, op: BinaryOp, by: B::Value, t: DType) -> Option<(Bin, i64)> {
        use BinaryOp as O;
        let by = self.b.known_int(by).filter(|k| t.is_int() && *k > 0 && k.count_ones() == 1)?;
        match op {
            O::Div if t.is_signed_int() => Some((Bin::SShr, i64::from(by.trailing_zeros()))),
            O::Div | O::DivNonNeg => Some((Bin::UShr, i64::from(by.trailing_zeros()))),
            O::Rem | O::RemNonNeg => Some((Bin::And, by - 1)),
            _ => None,
        }
    }

    /// A scalar or vector by such an instruction.
    fn divided(&mut self, v: B::Value, (op, n): (Bin, i64)) -> B::Value {
        match op {
            Bin::And => self.op_const(op, v, n),
            _ => self.shift_const(op, v, n as u32),
        }
    }

    /// `a * b + c` with one rounding.
    pub(super) fn fused(
        &mut self,
        a: &Val<B::Value>,
        b: &Val<B::Value>,
        c: &Val<B::Value>,
        t: DType,
    ) -> Val<B::Value> {
        if let (Val::Uniform(a), Val::Uniform(b), Val::Uniform(c)) = (a, b, c) {
            return Val::Uniform(self.b.fma(*a, *b, *c));
        }
        let n = self.lane_count().unwrap_or(1);
        let ty = lane_of(t);
        let (a, b) = (self.per_lane(a, t, ty, n), self.per_lane(b, t, ty, n));
        let c = self.per_lane(c, t, ty, n);
        let chunks = (0..a.chunks.len()).map(|i| self.b.fma(a.chunks[i], b.chunks[i], c.chunks[i])).collect();
        Val::Lanes(Lanes { ty, chunks })
    }
}

/// Whether an operator has an instruction on vectors of a type.
fn has_vector_form(op: BinaryOp, t: DType) -> bool {
    use BinaryOp as O;
    match op {
        O::Div => t.is_float(),
        O::Rem | O::DivNonNeg | O::RemNonNeg | O::Pow | O::Shl | O::Shr => false,
        O::Mul => t.is_float() || lane_of(t) != Lane::I8,
        _ => true,
    }
}

//! Statements by which threads combine what each of them has.

use super::{Emitter, Val, monoid};
use crate::diag::Diagnostic;
use crate::hir::ir::{AxisId, ExprId, ReduceOp, ValueId};
use crate::nest::ir::{self as nest, BinaryOp, LoopKind};
use crate::schedule::form::Action;
use rooftile_artifact::DType;

impl Emitter<'_> {
    /// Writes an element of a scan, an exchange or a carry.
    pub(in crate::schedule) fn by_threads(&mut self, action: &Action) -> Result<(), Diagnostic> {
        match *action {
            Action::Element { value, expr, none, axis, .. } => self.element_or(value, expr, none, axis),
            Action::Exchange { value, from, op, axis, bit, upto } => {
                let dtype = self.form.func.values[value].dtype;
                let mine = self.read_value(from, None)?;
                let mut other = self.of_other_thread(axis, bit, |e| e.read_value(from, None))?;
                if let Some((to, of)) = upto {
                    // One exchange serves both.
                    other = self.bind("other", other);
                    let less = self.read_value(of, None)?;
                    let more = self.combine(monoid(op), other, less, dtype);
                    let (thread, bit, zero) = (self.thread(axis), self.b.int(bit), self.b.int(0));
                    let has = self.b.binary(BinaryOp::And, thread, bit);
                    let has = self.b.binary(BinaryOp::Ne, has, zero);
                    let new = self.choose(has, more, less);
                    self.write_value(to, None, new)?;
                }
                let both = self.combine(monoid(op), mine, other, dtype);
                self.write_value(value, None, both)
            }
            Action::Carry { .. } => self.carry(action),
            _ => Ok(()),
        }
    }

    /// `value = expr` where a thread has a point, else `none`.
    fn element_or(
        &mut self,
        value: ValueId,
        expr: ExprId,
        none: ExprId,
        axis: AxisId,
    ) -> Result<(), Diagnostic> {
        let Some(cond) = self.has_point(axis)? else {
            let v = self.lower(expr)?;
            return self.write_value(value, None, v);
        };
        let none = self.lower(none)?;
        self.write_value(value, None, none)?;
        let then = self.collect(|e| {
            e.begin(&[expr]);
            let v = e.lower(expr)?;
            e.write_value(value, None, v)
        })?;
        self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
        Ok(())
    }

    fn carry(&mut self, action: &Action) -> Result<(), Diagnostic> {
        let Action::Carry { value, carry, before, upto, total, op, axis, width, groups } = *action else {
            return Ok(());
        };
        let dtype = self.form.func.values[value].dtype;
        let start = self.at_first_unit(axis, |e| e.read_value(carry, None))?;
        let start = self.bind("start", start);
        let first = if groups == 1 {
            let total = self.read_value(total, None)?;
            let next = self.combine(monoid(op), start, total, dtype);
            self.at_first_unit(axis, |e| e.write_value(carry, None, next))?;
            start
        } else {
            let (zero, all) = (self.b.int(0), self.b.int(groups));
            let (thread, width) = (self.thread(axis), self.b.int(width));
            let own = self.b.binary(BinaryOp::DivNonNeg, thread, width);
            let own = self.named(own);
            self.write_value(before, None, start)?;
            self.add_up(before, false, (zero, own), (total, op, axis, width))?;
            let first = self.read_value(before, None)?;
            let first = self.bind("before", first);
            self.at_first_unit(axis, |e| e.write_value(carry, None, first))?;
            self.add_up(carry, true, (own, all), (total, op, axis, width))?;
            first
        };
        let mine = self.read_value(upto, None)?;
        let new = self.combine(monoid(op), first, mine, dtype);
        let Some(cond) = self.has_point(axis)? else { return self.write_value(value, None, new) };
        let then = self.collect(|e| e.write_value(value, None, new))?;
        self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
        Ok(())
    }

    /// `sum = op(sum, total)` over groups of `width` threads, in order.
    fn add_up(
        &mut self,
        sum: ValueId,
        first_unit: bool,
        (lo, hi): (nest::ExprId, nest::ExprId),
        (total, op, axis, width): (ValueId, ReduceOp, AxisId, nest::ExprId),
    ) -> Result<(), Diagnostic> {
        let dtype = self.form.func.values[sum].dtype;
        let var = self.b.add_var("g", DType::I64);
        let group = self.b.var(var);
        let thread = self.b.mul(group, width);
        let body = self.collect(|e| {
            let v = e.of_thread(axis, thread, |e| e.read_value(total, None))?;
            let update = |e: &mut Self| {
                let old = e.read_value(sum, None)?;
                let new = e.combine(monoid(op), old, v, dtype);
                e.write_value(sum, None, new)
            };
            if first_unit { e.at_first_unit(axis, update) } else { update(e) }
        })?;
        self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Serial, body });
        Ok(())
    }

    pub(in crate::schedule) fn choose(&mut self, cond: nest::ExprId, a: Val, b: Val) -> Val {
        match (a, b) {
            (Val::Complex(a, b), Val::Complex(c, d)) => {
                Val::Complex(self.b.select(cond, a, c), self.b.select(cond, b, d))
            }
            (Val::Real(a) | Val::Complex(a, _), Val::Real(b) | Val::Complex(b, _)) => {
                Val::Real(self.b.select(cond, a, b))
            }
        }
    }
}

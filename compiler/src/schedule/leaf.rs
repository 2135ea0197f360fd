//! Statements at a point.

use rooftile_artifact::DType;
use rooftile_artifact::abi::status;

use super::emit::{Emitter, Val, machine_type, monoid};
use super::form::{Action, Stmt, StmtId};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AssignOp, ExprId, ReduceOp, TensorId, ValueId};
use crate::nest::ir::{self as nest, BinaryOp};

impl Emitter<'_> {
    /// Writes a statement at the current point.
    pub(super) fn leaf(&mut self, id: StmtId) -> Result<(), Diagnostic> {
        let stmt = self.form.stmts[id].clone();
        let first = stmt.every.and_then(|(axis, n)| self.is_first_of(axis, n));
        let only = self.only_where(&stmt)?;
        let (cond, only) = match (only, &stmt.action) {
            (Some(cond), Action::Store { .. }) => (Some(first.map_or(cond, |f| self.b.and(f, cond))), None),
            (only, _) => (first, only),
        };
        self.only = only;
        let result = match cond {
            None => self.at_point(stmt),
            Some(cond) => self.collect(|e| e.at_point(stmt)).map(|then| {
                self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
            }),
        };
        self.only = None;
        result
    }

    fn at_point(&mut self, stmt: Stmt) -> Result<(), Diagnostic> {
        let span = stmt.span;
        self.begin(&stmt.action.exprs());
        match stmt.action {
            Action::Set { value, index, expr } => {
                let v = self.lower(expr)?;
                let at = match index {
                    Some(index) => Some(self.value_at(value, &index)?),
                    None => None,
                };
                let mut v = self.fit(v, expr, value, span)?;
                if let Some(only) = self.only {
                    let old = self.read_value(value, at.as_deref())?;
                    v = self.choose(only, v, old);
                }
                self.write_value(value, at.as_deref(), v)
            }
            Action::Accumulate { value, op, args, guard } => match guard {
                None => self.accumulate(value, op, &args, stmt.atomic, span),
                Some(guard) => {
                    let cond = self.real(guard)?;
                    let then = self.collect(|e| {
                        e.begin(&args);
                        e.accumulate(value, op, &args, stmt.atomic, span)
                    })?;
                    self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
                    Ok(())
                }
            },
            Action::Element { .. } | Action::Exchange { .. } | Action::Carry { .. } => {
                self.by_threads(&stmt.action)
            }
            Action::Matrix { product, step } => self.matrix_step(product, step, span),
            Action::Best { best, at, op, axis, expr } => {
                let x = self.real(expr)?;
                let (Val::Real(old) | Val::Complex(old, _)) = self.read_value(best, None)?;
                let better = self.compare(op, old, x);
                let index = self.axis(axis)?;
                let cond = self.bind("better", Val::Real(better));
                let (Val::Real(cond) | Val::Complex(cond, _)) = cond;
                let then = self.collect(|e| {
                    e.write_value(best, None, Val::Real(x))?;
                    e.write_value(at, None, Val::Real(index))
                })?;
                self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
                Ok(())
            }
            Action::Scan { value, run, op, expr, .. } => {
                let x = self.lower(expr)?;
                let old = self.read_value(run, None)?;
                let dtype = self.form.func.values[run].dtype;
                let new = self.combine(monoid(op), old, x, dtype);
                let new = self.bind("run", new);
                self.write_value(run, None, new)?;
                self.write_value(value, None, new)
            }
            Action::Store { tensor, index, op, expr, .. } => {
                let v = self.lower(expr)?;
                let at = self.reals(&index)?;
                if stmt.atomic {
                    self.atomic_update(tensor, &at, op, v);
                    return Ok(());
                }
                self.store(tensor, &at, op, v, span)
            }
            Action::Scatter { value, index, op, expr } => {
                let v = self.lower(expr)?;
                let at = self.value_at(value, &index)?;
                let dtype = self.form.func.values[value].dtype;
                let old = self.read_value(value, Some(&at))?;
                let new = self.assign(op, old, v, dtype);
                self.write_value(value, Some(&at), new)
            }
            Action::Append { list, count, key, value, pred } => {
                let Some(pred) = pred else { return self.append(list, count, &key, value, span) };
                let cond = self.real(pred)?;
                let then = self.collect(|e| {
                    let exprs: Vec<ExprId> = key.iter().copied().chain([value]).collect();
                    e.begin(&exprs);
                    e.append(list, count, &key, value, span)
                })?;
                self.out.push(nest::Stmt::If { cond, then, otherwise: Vec::new() });
                Ok(())
            }
        }
    }

    /// `v`, of the expression's type, as the value's type.
    fn fit(&mut self, v: Val, expr: ExprId, value: ValueId, span: Span) -> Result<Val, Diagnostic> {
        let (from, to) = (self.form.func.exprs[expr].dtype, self.form.func.values[value].dtype);
        self.cast(v, from, to, span)
    }

    fn compare(&mut self, op: ReduceOp, old: nest::ExprId, new: nest::ExprId) -> nest::ExprId {
        let (mut old, mut new) = (old, new);
        if matches!(self.b.dtype(old), DType::F16 | DType::Bf16) {
            old = self.b.cast(DType::F32, old);
            new = self.b.cast(DType::F32, new);
        }
        if op == ReduceOp::Argmax { self.b.lt(old, new) } else { self.b.lt(new, old) }
    }

    fn accumulate(
        &mut self,
        value: ValueId,
        op: ReduceOp,
        args: &[ExprId],
        atomic: bool,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let dtype = self.form.func.values[value].dtype;
        let mut x = self.lower(args[0])?;
        let from = self.form.func.exprs[args[0]].dtype;
        x = self.cast(x, from, dtype, span)?;
        if op == ReduceOp::Dot {
            let y = self.lower(args[1])?;
            let from = self.form.func.exprs[args[1]].dtype;
            let y = self.cast(y, from, dtype, span)?;
            x = self.combine(BinaryOp::Mul, x, y, dtype);
        }
        self.add_to(value, op, x, atomic)
    }

    /// `value = op(value, x)`.
    pub(super) fn add_to(
        &mut self,
        value: ValueId,
        op: ReduceOp,
        x: Val,
        atomic: bool,
    ) -> Result<(), Diagnostic> {
        let dtype = self.form.func.values[value].dtype;
        if atomic && self.is_seen_by_all(value)? {
            return self.atomic_accumulate(value, monoid(op), x);
        }
        let old = self.read_value(value, None)?;
        let mut new = self.combine(monoid(op), old, x, dtype);
        if let Some(only) = self.only {
            new = self.choose(only, new, old);
        }
        self.write_value(value, None, new)
    }

    fn assign(&mut self, op: AssignOp, old: Val, v: Val, dtype: DType) -> Val {
        let op = match op {
            AssignOp::Set => return v,
            AssignOp::Add => BinaryOp::Add,
            AssignOp::Sub => BinaryOp::Sub,
            AssignOp::Mul => BinaryOp::Mul,
            AssignOp::Max => BinaryOp::Max,
            AssignOp::Min => BinaryOp::Min,
        };
        self.combine(op, old, v, dtype)
    }

    fn store(
        &mut self,
        tensor: TensorId,
        at: &[nest::ExprId],
        op: AssignOp,
        v: Val,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let dtype = self.form.func.tensors[tensor].dtype;
        machine_type(dtype.real(), span)?;
        if self.tensors[tensor.index()].packed.is_some() {
            return Err(Diagnostic::error(
                Code::Backend,
                span,
                "writing a packed tensor is not supported on the CPU",
            )
            .help("store whole bytes, or declare the tensor without `packed`"));
        }
        let new = if op == AssignOp::Set {
            v
        } else {
            let old = self.element(tensor, at, span)?;
            self.assign(op, old, v, dtype)
        };
        let mut index = self.buffer_index(tensor, at);
        let buffer = self.tensors[tensor.index()].buffer;
        match new {
            Val::Real(x) => {
                let stmt = self.b.store(buffer, &index, x);
                self.out.push(stmt);
            }
            Val::Complex(re, im) => {
                let (zero, one) = (self.b.int(0), self.b.int(1));
                // Both parts are computed before either is stored.
                let bound = self.bind("c", Val::Complex(re, im));
                let (re, im) = match bound {
                    Val::Complex(re, im) => (re, im),
                    Val::Real(re) => (re, im),
                };
                index.push(zero);
                let stmt = self.b.store(buffer, &index, re);
                self.out.push(stmt);
                index.pop();
                index.push(one);
                let stmt = self.b.store(buffer, &index, im);
                self.out.push(stmt);
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        list: TensorId,
        count: TensorId,
        key: &[ExprId],
        value: ExprId,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let key = self.reals(key)?;
        let v = self.lower(value)?;
        let (from, to) = (self.form.func.exprs[value].dtype, self.form.func.tensors[list].dtype);
        let v = self.cast(v, from, to, span)?;
        let counter = self.form.func.tensors[count].dtype;
        let (Val::Real(n) | Val::Complex(n, _)) = self.element(count, &key, span)?;
        let n = match self.bind("n", Val::Real(n)) {
            Val::Real(n) | Val::Complex(n, _) => n,
        };
        let place = self.b.cast(DType::I64, n);
        let rank = self.form.func.tensors[list].shape.len();
        let capacity = self.form.func.tensors[list].shape[rank - 1];
        let capacity = self.real(capacity)?;
        let fits = self.b.lt(place, capacity);
        let then = self.collect(|e| {
            let mut at = key.clone();
            at.push(place);
            e.store(list, &at, AssignOp::Set, v, span)?;
            let one = e.b.constant(rooftile_artifact::Scalar::Int(1), counter);
            let next = e.b.add(n, one);
            e.store(count, &key, AssignOp::Set, Val::Real(next), span)
        })?;
        let full = vec![nest::Stmt::SetStatus(status::APPEND_OVERFLOW)];
        self.out.push(nest::Stmt::If { cond: fits, then, otherwise: full });
        Ok(())
    }
}

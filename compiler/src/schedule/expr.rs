//! Expressions: complex values as pairs, sub-byte elements as shifts and masks, half precision by way of `f32`, edge
//! rules as index arithmetic. Both arms of a `select` are computed, so indices in an arm are made safe where the arm is
//! not chosen.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::{DType, Scalar};

use super::bounds;
use super::emit::{BindingDim, Emitter, Val, machine_type};
use super::form::operands;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AxisId, BinaryOp as HirOp, Edge, ExprId, ExprKind, Function, TensorId, UnaryOp as HirUnary,
};
use crate::nest::ir::{self as nest, BinaryOp, MathFn, Space, UnaryOp};

/// Tables up to this size are chains of selects where their index is not a literal.
const SMALL_TABLE: usize = 16;

impl Emitter<'_> {
    /// Starts a statement: expressions met more than once in these will be bound to names.
    pub(super) fn begin(&mut self, exprs: &[ExprId]) {
        self.memo.clear();
        self.shared.clear();
        self.guard = None;
        let mut seen = BTreeSet::new();
        let mut work: Vec<ExprId> = exprs.to_vec();
        while let Some(e) = work.pop() {
            if !seen.insert(e) {
                self.shared.insert(e);
                continue;
            }
            work.extend(operands(&self.form.func.exprs[e].kind));
        }
    }

    /// An expression that may stand anywhere: nothing is bound to names.
    pub(super) fn pure(&mut self, e: ExprId) -> Result<nest::ExprId, Diagnostic> {
        let memo = std::mem::take(&mut self.memo);
        let shared = std::mem::take(&mut self.shared);
        let guard = self.guard.take();
        let result = self.real(e);
        self.memo = memo;
        self.shared = shared;
        self.guard = guard;
        result
    }

    /// A number.
    pub(super) fn real(&mut self, e: ExprId) -> Result<nest::ExprId, Diagnostic> {
        match self.lower(e)? {
            Val::Real(v) | Val::Complex(v, _) => Ok(v),
        }
    }

    /// Several numbers.
    pub(super) fn reals(&mut self, es: &[ExprId]) -> Result<Vec<nest::ExprId>, Diagnostic> {
        es.iter().map(|e| self.real(*e)).collect()
    }

    /// An expression of any type.
    pub(super) fn lower(&mut self, e: ExprId) -> Result<Val, Diagnostic> {
        let key = (e, self.guard);
        if let Some(v) = self.memo.get(&key) {
            return Ok(*v);
        }
        let mut v = self.fresh(e)?;
        let trivial = matches!(
            self.form.func.exprs[e].kind,
            ExprKind::Const(_)
                | ExprKind::Size(_)
                | ExprKind::Scalar(_)
                | ExprKind::Axis(_)
                | ExprKind::Value(_)
        );
        let plain = |x: nest::ExprId| {
            matches!(
                self.b.nest().exprs[x].kind,
                nest::ExprKind::Const(_)
                    | nest::ExprKind::Var(_)
                    | nest::ExprKind::Size(_)
                    | nest::ExprKind::Param(_)
            )
        };
        let named = match v {
            Val::Real(x) => plain(x),
            Val::Complex(x, y) => plain(x) && plain(y),
        };
        if self.shared.contains(&e) && !trivial && !named {
            v = self.bind("t", v);
        }
        self.memo.insert(key, v);
        Ok(v)
    }

    fn span(&self, e: ExprId) -> Span {
        self.form.func.exprs[e].span
    }

    fn unsupported(&self, e: ExprId, what: &str) -> Diagnostic {
        Diagnostic::error(Code::Backend, self.span(e), format!("{what} is not supported on the CPU"))
    }

    fn fresh(&mut self, e: ExprId) -> Result<Val, Diagnostic> {
        let expr = self.form.func.exprs[e].clone();
        let dtype = expr.dtype;
        match expr.kind {
            ExprKind::Const(Scalar::Complex(re, im)) => {
                let part = dtype.real();
                Ok(Val::Complex(
                    self.b.constant(Scalar::Float(re), part),
                    self.b.constant(Scalar::Float(im), part),
                ))
            }
            ExprKind::Const(v) => self.literal(v, dtype, expr.span),
            ExprKind::Size(s) => Ok(Val::Real(self.b.size(s.index()))),
            ExprKind::Scalar(s) => Ok(Val::Real(self.b.param(s.index()))),
            ExprKind::Axis(a) => Ok(Val::Real(self.axis(a)?)),
            ExprKind::Value(v) => self.read_value(v, None),
            ExprKind::ValueAt(v, index) => {
                let index = self.value_at(v, &index)?;
                self.read_value(v, Some(&index))
            }
            ExprKind::Load { tensor, index, leaves } => self.load(e, tensor, &index, &leaves),
            ExprKind::Table { table, index } => self.table(e, table, &index),
            ExprKind::Unary(op, a) => {
                let v = self.lower(a)?;
                self.unary(op, v, dtype, expr.span)
            }
            ExprKind::Binary(op, a, b) => match (self.unwrapped(e), self.decided(e)) {
                (Some(axis), _) => Ok(Val::Real(self.axis(axis)?)),
                (_, Some(known)) => self.literal(Scalar::Bool(known), dtype, expr.span),
                (None, None) => self.binary(op, a, b, dtype, expr.span),
            },
            ExprKind::Call(f, args) => self.call(e, f, &args, dtype),
            ExprKind::Select(c, a, b) => {
                let cond = self.real(c)?;
                let guard = self.guard;
                self.guard = Some(self.both(guard, cond));
                let x = self.lower(a);
                let not = self.b.unary(UnaryOp::Not, cond);
                self.guard = Some(self.both(guard, not));
                let y = self.lower(b);
                self.guard = guard;
                Ok(match (x?, y?) {
                    (Val::Complex(xr, xi), Val::Complex(yr, yi)) => {
                        Val::Complex(self.b.select(cond, xr, yr), self.b.select(cond, xi, yi))
                    }
                    (Val::Real(x) | Val::Complex(x, _), Val::Real(y) | Val::Complex(y, _)) => {
                        Val::Real(self.b.select(cond, x, y))
                    }
                })
            }
            ExprKind::Cast(a) => {
                let from = self.form.func.exprs[a].dtype;
                let v = self.lower(a)?;
                self.cast(v, from, dtype, expr.span)
            }
            ExprKind::Reduce { .. } | ExprKind::Scan { .. } => Err(self.unsupported(e, "a reduction here")),
        }
    }

    /// The axis whose index an expression brings back from beyond its end, where it is not beyond.
    fn unwrapped(&self, e: ExprId) -> Option<AxisId> {
        let wraps = |a: &&AxisId| self.form.cuts.get(a).is_some_and(|c| c.wrapped == Some(e));
        self.form.func.exprs[e].axes.iter().find(wraps).copied().filter(|a| self.is_interior(*a))
    }

    fn both(&mut self, a: Option<nest::ExprId>, b: nest::ExprId) -> nest::ExprId {
        match a {
            Some(a) => self.b.and(a, b),
            None => b,
        }
    }

    pub(super) fn literal(&mut self, v: Scalar, dtype: DType, span: Span) -> Result<Val, Diagnostic> {
        if dtype.is_complex() {
            let part = dtype.real();
            let zero = self.b.constant(Scalar::Float(0.0), part);
            return Ok(Val::Complex(self.b.constant(v, part), zero));
        }
        let machine = machine_type(dtype, span)?;
        Ok(Val::Real(self.b.constant(v.cast(dtype), machine)))
    }

    // ---- memory ----

    fn load(
        &mut self,
        e: ExprId,
        tensor: TensorId,
        index: &[ExprId],
        leaves: &[bool],
    ) -> Result<Val, Diagnostic> {
        let t = self.form.func.tensors[tensor].clone();
        let zero = self.b.int(0);
        let mut at = Vec::with_capacity(index.len());
        let mut outside: Vec<(nest::ExprId, Scalar)> = Vec::new();
        for (d, ix) in index.iter().enumerate() {
            let i = self.real(*ix)?;
            let first = self.first(tensor, d)?.unwrap_or(zero);
            let axes = self.form.func.exprs[*ix].axes.clone();
            let near =
                axes.iter().any(|a| self.is_interior(*a) && bounds::offset(self.form, *ix, *a).is_some());
            if leaves[d] && !near {
                let n = self.real(t.shape[d])?;
                match t.edges[d] {
                    Some(Edge::Const(v)) => {
                        let (low, high) = (self.b.le(zero, i), self.b.lt(i, n));
                        let inside = self.b.and(low, high);
                        let safe = self.b.select(inside, i, first);
                        outside.push((inside, v));
                        at.push(safe);
                    }
                    Some(edge) => {
                        // An axis that goes on beyond its end may be further away.
                        let within = |a: &&AxisId| self.form.cuts.get(a).is_none_or(|c| c.wrapped.is_none());
                        let step =
                            axes.iter().filter(within).find_map(|a| self.distance_from_inside(*ix, *a));
                        at.push(self.edge(edge, i, n, step));
                    }
                    None => at.push(i),
                }
            } else if self.guard.is_some() && !near && !bounds::is_inside(self.form, tensor, d, *ix) {
                at.push(self.or_first(i, first));
            } else {
                at.push(i);
            }
        }
        let mut v = self.element(tensor, &at, self.span(e))?;
        for (inside, fill) in outside {
            let fill = self.literal(fill, t.dtype, t.span)?;
            v = match (v, fill) {
                (Val::Complex(a, b), Val::Complex(c, d)) => {
                    Val::Complex(self.b.select(inside, a, c), self.b.select(inside, b, d))
                }
                (Val::Real(a) | Val::Complex(a, _), Val::Real(c) | Val::Complex(c, _)) => {
                    Val::Real(self.b.select(inside, a, c))
                }
            };
        }
        Ok(v)
    }

    /// How far an index lies from the points of an axis; if that has a halo, of the one that it is around.
    fn distance_from_inside(&self, index: ExprId, axis: AxisId) -> Option<(i64, i64)> {
        let (lo, hi) = bounds::offset(self.form, index, axis)?;
        match self.form.halos.get(&axis) {
            None => Some((lo, hi)),
            // Multiples of its points may be anywhere.
            Some(halo) => (halo.stride == 1).then_some((lo + halo.before, hi + halo.after)),
        }
    }

    /// An index that is in memory along a dimension of a window; `None` for other tensors, where 0 is.
    fn first(&mut self, tensor: TensorId, d: usize) -> Result<Option<nest::ExprId>, Diagnostic> {
        let Some(Some(axis)) = self.form.windows.get(&tensor).and_then(|dims| dims.get(d)) else {
            return Ok(None);
        };
        self.pure(self.form.func.axes[*axis].lo).map(Some)
    }

    /// An index brought back inside `0..n` by an edge rule. `step` bounds how far it lies from an axis of the extent.
    fn edge(
        &mut self,
        edge: Edge,
        i: nest::ExprId,
        n: nest::ExprId,
        step: Option<(i64, i64)>,
    ) -> nest::ExprId {
        let zero = self.b.int(0);
        let last = self.b.add_int(n, -1);
        match edge {
            Edge::Clamp | Edge::Const(_) => {
                let low = self.b.max(i, zero);
                self.b.min(low, last)
            }
            Edge::Wrap => {
                if step.is_some_and(|(lo, hi)| lo >= -1 && hi <= 1) {
                    let (below, above) = (self.b.lt(i, zero), self.b.le(n, i));
                    let (up, down) = (self.b.add(i, n), self.b.sub(i, n));
                    let rest = self.b.select(above, down, i);
                    return self.b.select(below, up, rest);
                }
                self.b.binary(BinaryOp::Rem, i, n)
            }
            Edge::Reflect => {
                // The period is 2(n - 1); a single sample repeats itself.
                let period = self.b.mul_int(last, 2);
                let one = self.b.int(1);
                let period = self.b.max(period, one);
                let r = self.b.binary(BinaryOp::Rem, i, period);
                let mirrored = self.b.sub(period, r);
                let folded = self.b.min(r, mirrored);
                self.b.min(folded, last)
            }
            Edge::Symmetric => {
                let period = self.b.mul_int(n, 2);
                let r = self.b.binary(BinaryOp::Rem, i, period);
                let top = self.b.add_int(period, -1);
                let mirrored = self.b.sub(top, r);
                self.b.min(r, mirrored)
            }
        }
    }

    /// The buffer's indices for indices of a tensor.
    pub(in crate::schedule) fn buffer_index(
        &mut self,
        tensor: TensorId,
        at: &[nest::ExprId],
    ) -> Vec<nest::ExprId> {
        let binding = self.tensors[tensor.index()].clone();
        binding
            .dims
            .iter()
            .map(|d| match d {
                BindingDim::View(n, None) => at[*n],
                BindingDim::View(n, Some(lo)) => self.b.add(at[*n], *lo),
                BindingDim::Fixed(i) => *i,
                BindingDim::Panel(n, by) => self.divided(BinaryOp::DivNonNeg, at[*n], *by),
                BindingDim::InPanel(n, by) => self.divided(BinaryOp::RemNonNeg, at[*n], *by),
            })
            .collect()
    }

    /// A quotient or remainder by the length of panels, to be taken apart where the loops around are known.
    fn divided(&mut self, op: BinaryOp, index: nest::ExprId, by: i64) -> nest::ExprId {
        let by = self.b.int(by);
        let e = self.b.binary(op, index, by);
        self.divisions.push(e);
        e
    }

    /// The element of a tensor at indices that are inside.
    pub(super) fn element(
        &mut self,
        tensor: TensorId,
        at: &[nest::ExprId],
        span: Span,
    ) -> Result<Val, Diagnostic> {
        let dtype = self.form.func.tensors[tensor].dtype;
        machine_type(dtype.real(), span)?;
        let binding = self.tensors[tensor.index()].clone();
        let mut index = self.buffer_index(tensor, at);
        if dtype.is_complex() {
            let (zero, one) = (self.b.int(0), self.b.int(1));
            index.push(zero);
            let re = self.b.load(binding.buffer, &index);
            index.pop();
            index.push(one);
            let im = self.b.load(binding.buffer, &index);
            return Ok(Val::Complex(re, im));
        }
        let (Some(dim), DType::Int { bits, .. }) = (binding.packed, dtype) else {
            return Ok(Val::Real(self.b.load(binding.buffer, &index)));
        };
        let per = self.b.int(i64::try_from(dtype.per_byte()).unwrap_or(1));
        let place = self.b.binary(BinaryOp::RemNonNeg, index[dim], per);
        index[dim] = self.b.binary(BinaryOp::DivNonNeg, index[dim], per);
        let byte = self.b.load(binding.buffer, &index);
        let shift = self.b.mul_int(place, i64::from(bits));
        let shift = self.b.cast(DType::U8, shift);
        let low = self.b.binary(BinaryOp::Shr, byte, shift);
        Ok(Val::Real(self.narrow(low, dtype)))
    }

    /// The low bits of a byte as a sub-byte integer.
    fn narrow(&mut self, v: nest::ExprId, dtype: DType) -> nest::ExprId {
        let DType::Int { signed, bits } = dtype else { return v };
        if bits >= 8 {
            return v;
        }
        if !signed {
            let v = self.b.cast(DType::U8, v);
            let mask = self.b.constant(Scalar::Int((1 << bits) - 1), DType::U8);
            return self.b.binary(BinaryOp::And, v, mask);
        }
        let v = self.b.cast(DType::I8, v);
        let by = self.b.constant(Scalar::Int(i64::from(8 - bits)), DType::I8);
        let up = self.b.binary(BinaryOp::Shl, v, by);
        self.b.binary(BinaryOp::Shr, up, by)
    }

    fn table(&mut self, e: ExprId, table: usize, index: &[ExprId]) -> Result<Val, Diagnostic> {
        let (dtype, shape, data) = {
            let t = &self.form.tables[table];
            (t.dtype, t.shape.clone(), t.data.clone())
        };
        let mut flat = self.b.int(0);
        for (ix, extent) in index.iter().zip(&shape) {
            let i = self.real(*ix)?;
            let scaled = self.b.mul_int(flat, i64::try_from(*extent).unwrap_or(1));
            flat = self.b.add(scaled, i);
        }
        if let Some(n) = self.b.const_int(flat) {
            let v = usize::try_from(n).ok().and_then(|n| data.get(n)).copied();
            return match v {
                Some(v) => self.literal(v, dtype, self.span(e)),
                None => Err(self.unsupported(e, "an index outside its table")),
            };
        }
        if dtype.is_complex() {
            return Err(self.unsupported(e, "a table of complex numbers"));
        }
        let machine = machine_type(dtype, self.span(e))?;
        if data.len() <= SMALL_TABLE {
            let mut v = self.b.constant(data.last().copied().unwrap_or(Scalar::Int(0)), machine);
            for (n, x) in data.iter().enumerate().rev().skip(1) {
                let n = self.b.int(i64::try_from(n).unwrap_or(0));
                let (hit, x) = (self.b.eq(flat, n), self.b.constant(*x, machine));
                v = self.b.select(hit, x, v);
            }
            return Ok(Val::Real(v));
        }
        let buffer = match self.tables.get(&table) {
            Some(b) => *b,
            None => {
                let extent = self.b.int(i64::try_from(data.len()).unwrap_or(i64::MAX));
                let name = self.form.tables[table].name.clone();
                let buffer = self.b.add_buffer(&name, machine, &[extent], Space::Local);
                self.tables.insert(table, buffer);
                buffer
            }
        };
        let zero = self.b.int(0);
        let at = self.or_first(flat, zero);
        Ok(Val::Real(self.b.load(buffer, &[at])))
    }

    // ---- operators ----

    /// `f32` for half precision, the type itself otherwise: what arithmetic is done in.
    fn wide(dtype: DType) -> DType {
        match dtype {
            DType::F16 | DType::Bf16 => DType::F32,
            other => other,
        }
    }

    /// `v`, computed in a wider type, as the machine's `dtype`.
    fn settle(&mut self, v: nest::ExprId, dtype: DType) -> nest::ExprId {
        match dtype {
            DType::F16 | DType::Bf16 => self.b.cast(dtype, v),
            DType::Int { bits, .. } if bits < 8 => self.narrow(v, dtype),
            _ => v,
        }
    }

    fn unary(&mut self, op: HirUnary, v: Val, dtype: DType, span: Span) -> Result<Val, Diagnostic> {
        let op = match op {
            HirUnary::Neg => UnaryOp::Neg,
            HirUnary::Not | HirUnary::BitNot => UnaryOp::Not,
        };
        self.plain_unary(op, v, dtype, span)
    }

    fn plain_unary(&mut self, op: UnaryOp, v: Val, dtype: DType, span: Span) -> Result<Val, Diagnostic> {
        Ok(match v {
            Val::Complex(re, im) => Val::Complex(self.b.unary(op, re), self.b.unary(op, im)),
            Val::Real(x) => {
                let machine = machine_type(Self::wide(dtype), span)?;
                let x = self.b.cast(machine, x);
                let r = self.b.unary(op, x);
                Val::Real(self.settle(r, dtype))
            }
        })
    }

    fn binary(
        &mut self,
        op: HirOp,
        a: ExprId,
        b: ExprId,
        dtype: DType,
        span: Span,
    ) -> Result<Val, Diagnostic> {
        let operand = self.form.func.exprs[a].dtype;
        if operand == DType::Bool && matches!(op, HirOp::And | HirOp::Or) {
            let x = self.real(a)?;
            let guard = self.guard;
            let needed = if op == HirOp::And { x } else { self.b.unary(UnaryOp::Not, x) };
            self.guard = Some(self.both(guard, needed));
            let y = self.real(b);
            self.guard = guard;
            let op = if op == HirOp::And { BinaryOp::And } else { BinaryOp::Or };
            let y = y?;
            return Ok(Val::Real(self.b.binary(op, x, y)));
        }
        let (x, y) = (self.lower(a)?, self.lower(b)?);
        if let (Val::Complex(..), Val::Complex(..)) = (x, y) {
            return self.complex_binary(op, x, y, a);
        }
        let (Val::Real(x) | Val::Complex(x, _), Val::Real(y) | Val::Complex(y, _)) = (x, y);
        let machine = machine_type(Self::wide(operand), span)?;
        let (x, mut y) = (self.b.cast(machine, x), self.b.cast(machine, y));
        let signs = || bounds::non_negative(self.form, a) && bounds::non_negative(self.form, b);
        let int = operand.is_int();
        if int
            && matches!(op, HirOp::Div | HirOp::Rem)
            && let Some(guard) = self.guard
            && bounds::literal(self.form, b).is_none_or(|v| v == 0)
        {
            let one = self.b.constant(Scalar::Int(1), machine);
            y = self.b.select(guard, y, one);
        }
        let (op, x, y) = match op {
            HirOp::Add => (BinaryOp::Add, x, y),
            HirOp::Sub => (BinaryOp::Sub, x, y),
            HirOp::Mul => (BinaryOp::Mul, x, y),
            HirOp::Div if int && signs() => (BinaryOp::DivNonNeg, x, y),
            HirOp::Div => (BinaryOp::Div, x, y),
            HirOp::Rem if int && signs() => (BinaryOp::RemNonNeg, x, y),
            HirOp::Rem => (BinaryOp::Rem, x, y),
            HirOp::And => (BinaryOp::And, x, y),
            HirOp::Or => (BinaryOp::Or, x, y),
            HirOp::Xor => (BinaryOp::Xor, x, y),
            HirOp::Shl => (BinaryOp::Shl, x, y),
            HirOp::Shr => (BinaryOp::Shr, x, y),
            HirOp::Eq if machine == DType::Bool => {
                let differ = self.b.binary(BinaryOp::Xor, x, y);
                return Ok(Val::Real(self.b.unary(UnaryOp::Not, differ)));
            }
            HirOp::Ne if machine == DType::Bool => (BinaryOp::Xor, x, y),
            HirOp::Eq => (BinaryOp::Eq, x, y),
            HirOp::Ne => (BinaryOp::Ne, x, y),
            HirOp::Lt => (BinaryOp::Lt, x, y),
            HirOp::Le => (BinaryOp::Le, x, y),
            HirOp::Gt => (BinaryOp::Lt, y, x),
            HirOp::Ge => (BinaryOp::Le, y, x),
        };
        let r = self.b.binary(op, x, y);
        Ok(Val::Real(self.settle(r, dtype)))
    }

    fn complex_binary(&mut self, op: HirOp, x: Val, y: Val, at: ExprId) -> Result<Val, Diagnostic> {
        let (Val::Complex(a, b), Val::Complex(c, d)) = (x, y) else { return Ok(x) };
        Ok(match op {
            HirOp::Add => Val::Complex(self.b.add(a, c), self.b.add(b, d)),
            HirOp::Sub => Val::Complex(self.b.sub(a, c), self.b.sub(b, d)),
            HirOp::Mul => {
                let (ac, bd) = (self.b.mul(a, c), self.b.mul(b, d));
                let (ad, bc) = (self.b.mul(a, d), self.b.mul(b, c));
                Val::Complex(self.b.sub(ac, bd), self.b.add(ad, bc))
            }
            HirOp::Div => {
                let (cc, dd) = (self.b.mul(c, c), self.b.mul(d, d));
                let norm = self.b.add(cc, dd);
                let (ac, bd) = (self.b.mul(a, c), self.b.mul(b, d));
                let (bc, ad) = (self.b.mul(b, c), self.b.mul(a, d));
                let (re, im) = (self.b.add(ac, bd), self.b.sub(bc, ad));
                Val::Complex(self.b.div(re, norm), self.b.div(im, norm))
            }
            HirOp::Eq | HirOp::Ne => {
                let (re, im) = (self.b.eq(a, c), self.b.eq(b, d));
                let same = self.b.and(re, im);
                Val::Real(if op == HirOp::Eq { same } else { self.b.unary(UnaryOp::Not, same) })
            }
            _ => return Err(self.unsupported(at, "this operator on complex numbers")),
        })
    }

    /// `op(acc, v)` of a reduction, in the accumulator's type.
    pub(super) fn combine(&mut self, op: BinaryOp, acc: Val, v: Val, dtype: DType) -> Val {
        match (acc, v) {
            (Val::Complex(a, b), Val::Complex(c, d)) => match op {
                BinaryOp::Mul => {
                    let (ac, bd) = (self.b.mul(a, c), self.b.mul(b, d));
                    let (ad, bc) = (self.b.mul(a, d), self.b.mul(b, c));
                    Val::Complex(self.b.sub(ac, bd), self.b.add(ad, bc))
                }
                _ => Val::Complex(self.b.binary(op, a, c), self.b.binary(op, b, d)),
            },
            (Val::Real(a) | Val::Complex(a, _), Val::Real(c) | Val::Complex(c, _)) => {
                if matches!(dtype, DType::F16 | DType::Bf16) {
                    let (a, c) = (self.b.cast(DType::F32, a), self.b.cast(DType::F32, c));
                    let r = self.b.binary(op, a, c);
                    return Val::Real(self.b.cast(dtype, r));
                }
                let r = self.b.binary(op, a, c);
                Val::Real(self.settle(r, dtype))
            }
        }
    }

    /// `v` of type `from` as `to`.
    pub(super) fn cast(&mut self, v: Val, from: DType, to: DType, span: Span) -> Result<Val, Diagnostic> {
        if from == to {
            return Ok(v);
        }
        if to.is_complex() {
            let part = to.real();
            return Ok(match v {
                Val::Complex(re, im) => Val::Complex(self.b.cast(part, re), self.b.cast(part, im)),
                Val::Real(x) => {
                    let Val::Real(re) = self.cast(Val::Real(x), from, part, span)? else { return Ok(v) };
                    let zero = self.b.constant(Scalar::Float(0.0), part);
                    Val::Complex(re, zero)
                }
            });
        }
        let (Val::Real(x) | Val::Complex(x, _)) = v;
        let mut x = x;
        let machine = machine_type(to, span)?;
        let source = self.b.dtype(x);
        if source == DType::Bool && machine != DType::Bool {
            let (one, zero) =
                (self.b.constant(Scalar::Int(1), machine), self.b.constant(Scalar::Int(0), machine));
            return Ok(Val::Real(self.b.select(x, one, zero)));
        }
        if matches!(source, DType::F16 | DType::Bf16) && machine != source {
            x = self.b.cast(DType::F32, x);
        }
        if machine == DType::Bool {
            let dtype = self.b.dtype(x);
            let zero = self.b.constant(Scalar::Int(0), dtype);
            return Ok(Val::Real(self.b.binary(BinaryOp::Ne, x, zero)));
        }
        if let (DType::Int { bits, .. }, true) = (to, from.is_float())
            && bits < 8
            && let Some((lo, hi)) = to.int_range()
        {
            #[expect(clippy::cast_precision_loss, reason = "fewer than 8 bits")]
            let (lo, hi) = (Scalar::Float(lo as f64), Scalar::Float(hi as f64));
            let dtype = self.b.dtype(x);
            let (lo, hi) = (self.b.constant(lo, dtype), self.b.constant(hi, dtype));
            let low = self.b.max(x, lo);
            x = self.b.min(low, hi);
        }
        if matches!(machine, DType::F16 | DType::Bf16) && self.b.dtype(x).is_int() {
            x = self.b.cast(DType::F32, x);
        }
        let r = self.b.cast(machine, x);
        Ok(Val::Real(if to.is_int() { self.settle(r, to) } else { r }))
    }

    // ---- functions ----

    fn call(&mut self, e: ExprId, f: Function, args: &[ExprId], dtype: DType) -> Result<Val, Diagnostic> {
        let span = self.span(e);
        let mut vals = Vec::new();
        for a in args {
            vals.push(self.lower(*a)?);
        }
        let operand = self.form.func.exprs[args[0]].dtype;
        if let Val::Complex(re, im) = vals[0] {
            return self.complex_call(e, f, re, im);
        }
        match f {
            Function::Complex => {
                let (Val::Real(re) | Val::Complex(re, _), Val::Real(im) | Val::Complex(im, _)) =
                    (vals[0], vals[1]);
                let part = dtype.real();
                return Ok(Val::Complex(self.b.cast(part, re), self.b.cast(part, im)));
            }
            Function::Cis => {
                let (Val::Real(x) | Val::Complex(x, _)) = vals[0];
                let x = self.b.cast(dtype.real(), x);
                return Ok(Val::Complex(self.b.math(MathFn::Cos, x), self.b.math(MathFn::Sin, x)));
            }
            _ => {}
        }
        // In the operands' wider type.
        let machine = machine_type(Self::wide(operand), span)?;
        let mut xs = Vec::new();
        for v in &vals {
            let (Val::Real(x) | Val::Complex(x, _)) = *v;
            xs.push(if f == Function::Bitrev { x } else { self.b.cast(machine, x) });
        }
        let x = xs[0];
        let float = machine.is_float();
        let r = match f {
            Function::Abs if !float && !operand.is_signed_int() => x,
            Function::Abs => self.b.unary(UnaryOp::Abs, x),
            Function::Min => self.b.min(x, xs[1]),
            Function::Max => self.b.max(x, xs[1]),
            Function::Floor | Function::Ceil | Function::Round | Function::Trunc if !float => x,
            Function::Floor => self.b.unary(UnaryOp::Floor, x),
            Function::Ceil => self.b.unary(UnaryOp::Ceil, x),
            Function::Round => self.b.unary(UnaryOp::Round, x),
            Function::Trunc => self.b.unary(UnaryOp::Trunc, x),
            Function::Pow if float => self.b.binary(BinaryOp::Pow, x, xs[1]),
            Function::Fma if float => self.b.fma(x, xs[1], xs[2]),
            Function::Fma => {
                let p = self.b.mul(x, xs[1]);
                self.b.add(p, xs[2])
            }
            Function::Clamp => {
                let low = self.b.max(x, xs[1]);
                self.b.min(low, xs[2])
            }
            Function::Sign => {
                let literal = |e: &mut Self, v: i64| e.b.constant(Scalar::Int(v), machine);
                let (zero, one) = (literal(self, 0), literal(self, 1));
                let above = self.b.lt(zero, x);
                let rest = if operand.is_signed_int() || float {
                    let minus = literal(self, -1);
                    let below = self.b.lt(x, zero);
                    // A NaN stays one; zeros keep their sign.
                    self.b.select(below, minus, if float { x } else { zero })
                } else {
                    zero
                };
                self.b.select(above, one, rest)
            }
            Function::Popcount => self.b.unary(UnaryOp::Popcount, x),
            Function::Ilog2 => {
                let zeros = self.b.unary(UnaryOp::LeadingZeros, x);
                let top = self.b.constant(Scalar::Int(bits_of(machine) - 1), machine);
                self.b.sub(top, zeros)
            }
            Function::Bitrev => self.bitrev(x, xs[1], machine),
            Function::IsPow2 => {
                let (zero, one) =
                    (self.b.constant(Scalar::Int(0), machine), self.b.constant(Scalar::Int(1), machine));
                let less = self.b.sub(x, one);
                let common = self.b.and(x, less);
                let (single, positive) = (self.b.eq(common, zero), self.b.lt(zero, x));
                return Ok(Val::Real(self.b.and(single, positive)));
            }
            Function::Re => x,
            Function::Im => self.b.constant(Scalar::Int(0), machine),
            Function::Conj => x,
            Function::Sqrt if float => self.b.unary(UnaryOp::Sqrt, x),
            _ => match math(f) {
                Some(m) if float => self.b.math(m, x),
                _ => return Err(self.unsupported(e, "this function of integers")),
            },
        };
        Ok(Val::Real(self.settle(r, dtype)))
    }

    /// The low `n` bits of `x` reversed.
    fn bitrev(&mut self, x: nest::ExprId, n: nest::ExprId, machine: DType) -> nest::ExprId {
        let width = bits_of(machine);
        let DType::Int { bits, .. } = machine else { return x };
        let unsigned = DType::Int { signed: false, bits };
        let u = self.b.cast(unsigned, x);
        let reversed = self.b.unary(UnaryOp::ReverseBits, u);
        let n = self.b.cast(unsigned, n);
        let full = self.b.constant(Scalar::Int(width), unsigned);
        let rest = self.b.sub(full, n);
        let mask = self.b.constant(Scalar::Int(width - 1), unsigned);
        let shift = self.b.binary(BinaryOp::And, rest, mask);
        let moved = self.b.binary(BinaryOp::Shr, reversed, shift);
        let zero = self.b.constant(Scalar::Int(0), unsigned);
        let none = self.b.eq(n, zero);
        let r = self.b.select(none, zero, moved);
        self.b.cast(machine, r)
    }

    fn complex_call(
        &mut self,
        e: ExprId,
        f: Function,
        re: nest::ExprId,
        im: nest::ExprId,
    ) -> Result<Val, Diagnostic> {
        Ok(match f {
            Function::Re => Val::Real(re),
            Function::Im => Val::Real(im),
            Function::Conj => Val::Complex(re, self.b.unary(UnaryOp::Neg, im)),
            Function::Abs => {
                let (a, b) = (self.b.mul(re, re), self.b.mul(im, im));
                let norm = self.b.add(a, b);
                Val::Real(self.b.unary(UnaryOp::Sqrt, norm))
            }
            Function::Exp => {
                let size = self.b.math(MathFn::Exp, re);
                let (c, s) = (self.b.math(MathFn::Cos, im), self.b.math(MathFn::Sin, im));
                Val::Complex(self.b.mul(size, c), self.b.mul(size, s))
            }
            _ => return Err(self.unsupported(e, "this function of a complex number")),
        })
    }
}

fn bits_of(dtype: DType) -> i64 {
    i64::try_from(dtype.size() * 8).unwrap_or(64)
}

fn math(f: Function) -> Option<MathFn> {
    Some(match f {
        Function::Rsqrt => MathFn::Rsqrt,
        Function::Exp => MathFn::Exp,
        Function::Exp2 => MathFn::Exp2,
        Function::Log => MathFn::Log,
        Function::Log2 => MathFn::Log2,
        Function::Log1p => MathFn::Log1p,
        Function::Expm1 => MathFn::Expm1,
        Function::Sin => MathFn::Sin,
        Function::Cos => MathFn::Cos,
        Function::Tan => MathFn::Tan,
        Function::Tanh => MathFn::Tanh,
        Function::Sigmoid => MathFn::Sigmoid,
        Function::Erf => MathFn::Erf,
        Function::Erfc => MathFn::Erfc,
        _ => return None,
    })
}

/// For lookup of expressions that were lowered under a condition.
pub(super) type Memo = BTreeMap<(ExprId, Option<nest::ExprId>), Val>;

//! Expressions at a point. An expression that is used more than once is computed once per point: its value is kept
//! with the time it was computed at, and is good until an axis it varies along moves or the statement ends.

use rooftile_artifact::Scalar;

use super::arith::Arith;
use super::memory::MAX_RANK;
use super::{Exec, R};
use crate::diag::Span;
use crate::hir::ir::{
    AxisId, BinaryOp, Expr, ExprId, ExprKind, Func, ReduceOp, StmtKind, ValueId, ValueKind,
};
use crate::hir::walk::operands;
use crate::oracle::error::ErrorKind;

/// Which expressions are worth keeping.
pub(super) fn shared(func: &Func) -> Vec<bool> {
    let mut uses = vec![0u32; func.exprs.len()];
    for (_, e) in func.exprs.iter() {
        operands(&e.kind, |o| uses[o.index()] += 1);
    }
    let worth = |e: &Expr, uses: u32| match e.kind {
        ExprKind::Const(_)
        | ExprKind::Size(_)
        | ExprKind::Scalar(_)
        | ExprKind::Axis(_)
        | ExprKind::Value(_) => false,
        ExprKind::Reduce { .. } | ExprKind::Scan { .. } => true,
        _ => uses > 1,
    };
    func.exprs.iter().map(|(id, e)| worth(e, uses[id.index()])).collect()
}

impl Exec<'_, '_> {
    /// The value of an expression at the current point.
    pub(super) fn eval(&mut self, id: ExprId) -> R<Scalar> {
        let func = self.func;
        let e = &func.exprs[id];
        match &e.kind {
            ExprKind::Const(v) => return Ok(self.m.arith.fit(*v, e.dtype)),
            ExprKind::Size(s) => {
                return match self.sizes.get(s.index()) {
                    Some(&v) => Ok(Scalar::Int(v)),
                    None => self.fail(ErrorKind::Internal("an unbound size"), e.span),
                };
            }
            ExprKind::Scalar(s) => {
                return match self.scalars.get(s.index()) {
                    Some(&v) => Ok(v),
                    None => self.fail(ErrorKind::Internal("an unbound scalar"), e.span),
                };
            }
            ExprKind::Axis(a) => return Ok(Scalar::Int(self.axis[a.index()])),
            _ => {}
        }
        self.m.steps += 1;
        if self.m.steps > self.m.options.budget {
            return self.fail(ErrorKind::Budget(self.m.options.budget), e.span);
        }
        if !self.shared[id.index()] {
            return self.compute(e);
        }
        let (at, v) = self.memo[id.index()];
        if at >= self.base && e.axes.iter().all(|a| at >= self.stamp[a.index()]) {
            return Ok(v);
        }
        let v = self.compute(e)?;
        self.memo[id.index()] = (self.m.clock, v);
        Ok(v)
    }

    fn compute(&mut self, e: &Expr) -> R<Scalar> {
        let func = self.func;
        let arith = self.m.arith;
        match &e.kind {
            ExprKind::Const(_) | ExprKind::Size(_) | ExprKind::Scalar(_) | ExprKind::Axis(_) => {
                self.fail(ErrorKind::Internal("a leaf out of place"), e.span)
            }
            ExprKind::Value(v) => self.value(*v, e.span),
            ExprKind::ValueAt(v, index) => {
                let mut point = [0; MAX_RANK];
                for (x, &i) in point.iter_mut().zip(index) {
                    *x = self.eval(i)?.as_i64();
                }
                self.value_at(*v, &point[..index.len().min(MAX_RANK)], e.span)
            }
            ExprKind::Load { tensor, index, .. } => self.load(*tensor, index, e.span),
            ExprKind::Table { table, index } => self.table(*table, index, e.span),
            ExprKind::Unary(op, a) => {
                let v = self.eval(*a)?;
                let result = arith.unary(*op, v, func.exprs[*a].dtype);
                self.done(result, e.span)
            }
            ExprKind::Binary(op, a, b) => {
                let x = self.eval(*a)?;
                if let (Scalar::Bool(x), BinaryOp::And | BinaryOp::Or) = (x, op) {
                    return if x == (*op == BinaryOp::Or) { Ok(Scalar::Bool(x)) } else { self.eval(*b) };
                }
                let y = self.eval(*b)?;
                let result = arith.binary(*op, x, y, func.exprs[*a].dtype);
                self.done(result, e.span)
            }
            ExprKind::Call(f, args) => {
                let mut values = [Scalar::Int(0); 3];
                if args.len() > values.len() {
                    return self.fail(ErrorKind::Internal("too many operands"), e.span);
                }
                for (v, &a) in values.iter_mut().zip(args) {
                    *v = self.eval(a)?;
                }
                let of = args.first().map_or(e.dtype, |&a| func.exprs[a].dtype);
                let result = arith.call(*f, &values[..args.len()], of, e.dtype);
                self.done(result, e.span)
            }
            ExprKind::Select(c, a, b) => {
                let chosen = if self.eval(*c)?.is_true() { a } else { b };
                self.eval(*chosen)
            }
            ExprKind::Cast(a) => {
                let v = self.eval(*a)?;
                Ok(arith.cast(v, func.exprs[*a].dtype, e.dtype))
            }
            ExprKind::Reduce { op, axes, args } => self.reduce(*op, axes, args, e),
            ExprKind::Scan { op, axis, arg } => self.scan(*op, *axis, *arg, e),
        }
    }

    fn value(&mut self, value: ValueId, span: Span) -> R<Scalar> {
        let Some(cells) = &self.values[value.index()] else {
            return self.fail(ErrorKind::Internal("a tile value before its definition"), span);
        };
        if let Some(v) = cells.position(self.here(value)).and_then(|at| cells.cells[at]) {
            return Ok(v);
        }
        if self.scanning > 0
            && let Some(init) = self.lets[value.index()]
        {
            return self.eval(init);
        }
        let index = self.here(value).collect();
        self.fail(ErrorKind::NoPoint { value: self.func.values[value].name.clone(), index }, span)
    }

    fn value_at(&mut self, value: ValueId, point: &[i64], span: Span) -> R<Scalar> {
        let Some(cells) = &self.values[value.index()] else {
            return self.fail(ErrorKind::Internal("a tile value before its definition"), span);
        };
        match cells.position(point.iter().copied()).and_then(|at| cells.cells[at]) {
            Some(v) => Ok(v),
            None => {
                let value = self.func.values[value].name.clone();
                self.fail(ErrorKind::NoPoint { value, index: point.to_vec() }, span)
            }
        }
    }

    fn table(&mut self, number: usize, index: &[ExprId], span: Span) -> R<Scalar> {
        let Some(table) = self.m.file.tables.get(number) else {
            return self.fail(ErrorKind::Internal("a table that is not there"), span);
        };
        let mut at = Vec::new();
        for &i in index {
            at.push(self.eval(i)?.as_i64());
        }
        let mut flat = Some(0usize);
        for (&i, &n) in at.iter().zip(&table.shape) {
            let inside = usize::try_from(i).ok().filter(|&i| i < n);
            flat = flat.zip(inside).map(|(flat, i)| flat * n + i);
        }
        match flat.and_then(|flat| table.data.get(flat)) {
            Some(v) => Ok(self.m.arith.fit(*v, table.dtype)),
            None => {
                let shape = table.shape.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
                self.fail(ErrorKind::ReadOutside { tensor: table.name.clone(), index: at, shape }, span)
            }
        }
    }

    /// A reduction over the current tile of `axes`, ascending.
    fn reduce(&mut self, op: ReduceOp, axes: &[AxisId], args: &[ExprId], e: &Expr) -> R<Scalar> {
        let func = self.func;
        let saved: Vec<i64> = axes.iter().map(|a| self.axis[a.index()]).collect();
        let arith = self.m.arith;
        let Some(&arg) = args.first() else {
            return self.fail(ErrorKind::Internal("a reduction of nothing"), e.span);
        };
        let of = func.exprs[arg].dtype;
        let result = if matches!(op, ReduceOp::Argmax | ReduceOp::Argmin) {
            let Some(&axis) = axes.first() else {
                return self.fail(ErrorKind::Internal("a reduction over nothing"), e.span);
            };
            let mut best: Option<(Scalar, i64)> = None;
            self.for_points(axes, &mut |exec| {
                let v = exec.eval(arg)?;
                let better = match best {
                    None => true,
                    Some((b, _)) if op == ReduceOp::Argmax => {
                        exec.done(arith.binary(BinaryOp::Lt, b, v, of), e.span)?.is_true()
                    }
                    Some((b, _)) => exec.done(arith.binary(BinaryOp::Lt, v, b, of), e.span)?.is_true(),
                };
                if better {
                    best = Some((v, exec.axis[axis.index()]));
                }
                Ok(())
            })?;
            match best {
                Some((_, at)) => Scalar::Int(at),
                None => {
                    return self.fail(ErrorKind::Undefined("the index of the best of no elements"), e.span);
                }
            }
        } else {
            let mut acc = self.done(Arith::identity(op, e.dtype), e.span)?;
            let second = args.get(1).copied();
            self.for_points(axes, &mut |exec| {
                let mut v = exec.eval(arg)?;
                if let Some(second) = second {
                    let w = exec.eval(second)?;
                    let w = arith.cast(w, func.exprs[second].dtype, e.dtype);
                    v = arith.cast(v, of, e.dtype);
                    v = exec.done(arith.binary(BinaryOp::Mul, v, w, e.dtype), e.span)?;
                }
                acc = exec.done(arith.combine(op, acc, v, e.dtype), e.span)?;
                Ok(())
            })?;
            acc
        };
        for (&axis, x) in axes.iter().zip(saved) {
            self.set(axis, x);
        }
        Ok(result)
    }

    /// The running reduction along the whole axis up to the current point.
    fn scan(&mut self, op: ReduceOp, axis: AxisId, arg: ExprId, e: &Expr) -> R<Scalar> {
        let here = self.axis[axis.index()];
        let (lo, _) = self.whole(axis)?;
        let mut acc = self.done(Arith::identity(op, e.dtype), e.span)?;
        self.scanning += 1;
        for x in lo..=here {
            self.set(axis, x);
            let v = self.eval(arg)?;
            acc = self.done(self.m.arith.combine(op, acc, v, e.dtype), e.span)?;
        }
        self.scanning -= 1;
        self.set(axis, here);
        Ok(acc)
    }

    /// Remembers what a `let` is, for scans that look beyond the tile.
    pub(super) fn remember(&mut self, kind: &StmtKind) {
        if let StmtKind::Define { value, init } = kind
            && self.func.values[*value].kind == ValueKind::Let
        {
            self.lets[value.index()] = Some(*init);
        }
    }
}

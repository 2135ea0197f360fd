//! From the typed program to the normal form: reductions and scans leave expressions, `next` becomes plain
//! statements, tiles are forgotten.
//!
//! ```text
//! Y[i,j] = e / sum[j](e)     =>   s[i] = 0;  s[i] += e[i,j];  Y[i,j] = e[i,j] / s[i]
//! next a[lo] = u, a[hi] = v  =>   t = u;  w = v;  a[lo] = t;  a[hi] = w
//! ```

use std::collections::BTreeMap;

use rooftile_artifact::DType;

use super::form::{Action, Form, Item, ValueInfo};
use crate::arena::Arena;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AssignOp, AxisId, BinaryOp, ExprId, ExprKind, Func, NextItem, ReduceOp, Stmt, StmtKind, Table, UnaryOp,
    ValueId,
};

/// The normal form of a kernel.
///
/// # Errors
/// A diagnostic when the body holds statements that only pipelines may have.
pub(crate) fn normalise(func: &Func, tables: &[Table]) -> Result<Form, Diagnostic> {
    let mut order = Vec::new();
    nest_order(func, &func.body, &mut order);
    let mut form = Form {
        func: func.clone(),
        stmts: Arena::default(),
        items: Vec::new(),
        order,
        info: vec![ValueInfo::default(); func.values.len()],
        partitions: BTreeMap::new(),
        tables: tables.to_vec(),
        maps: BTreeMap::new(),
        products: Vec::new(),
        cuts: BTreeMap::new(),
        windows: BTreeMap::new(),
        halos: BTreeMap::new(),
    };
    for v in func.values.handles() {
        let axes = func.values[v].axes.clone();
        form.info[v.index()].private =
            form.sorted(axes.clone()).into_iter().filter(|a| !axes.contains(a)).collect();
    }
    let items = Lower { form: &mut form }.block(&func.body)?;
    form.items = items;
    Ok(form)
}

/// Axes in order of nesting: `for` axes, then `with` axes, then those of reductions where they are bound.
fn nest_order(func: &Func, body: &[Stmt], out: &mut Vec<AxisId>) {
    let mut add = |a: AxisId| {
        if !out.contains(&a) {
            out.push(a);
        }
    };
    for stmt in body {
        match &stmt.kind {
            StmtKind::For { axes, with, .. } => axes.iter().chain(with).for_each(|a| add(*a)),
            StmtKind::Fold { axis, .. } => add(*axis),
            _ => {}
        }
    }
    for stmt in body {
        match &stmt.kind {
            StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } => {
                nest_order(func, body, out);
            }
            StmtKind::If { then, otherwise, .. } => {
                nest_order(func, then, out);
                nest_order(func, otherwise, out);
            }
            _ => {}
        }
    }
    // Axes that only expressions bind come last, in order of creation.
    let bound =
        func.axes.iter().filter(|(_, a)| matches!(a.kind, crate::hir::ir::AxisKind::Bind)).map(|(id, _)| id);
    let missing: Vec<AxisId> = bound.filter(|a| !out.contains(a)).collect();
    if std::ptr::eq(body, func.body.as_slice()) {
        out.extend(missing);
    }
}

struct Lower<'a> {
    form: &'a mut Form,
}

impl Lower<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<Vec<Item>, Diagnostic> {
        let mut out = Vec::new();
        for stmt in body {
            self.stmt(stmt, &mut out)?;
        }
        Ok(out)
    }

    fn push(&mut self, action: Action, extra: &[AxisId], span: Span, out: &mut Vec<Item>) {
        let mut axes = extra.to_vec();
        for e in action.exprs() {
            axes.extend(&self.form.func.exprs[e].axes);
        }
        let id = self.form.stmt(action, axes, span);
        out.push(Item::Stmt(id));
    }

    fn axes_of(&self, value: ValueId) -> Vec<AxisId> {
        self.form.func.values[value].axes.clone()
    }

    fn set(&mut self, value: ValueId, expr: ExprId, span: Span, out: &mut Vec<Item>) {
        let axes = self.axes_of(value);
        self.push(Action::Set { value, index: None, expr }, &axes, span, out);
    }

    fn stmt(&mut self, stmt: &Stmt, out: &mut Vec<Item>) -> Result<(), Diagnostic> {
        let span = stmt.span;
        match &stmt.kind {
            StmtKind::Define { value, init } => {
                let expr = self.flat(*init, out);
                self.set(*value, expr, span, out);
            }
            StmtKind::Update { value, op, expr } => self.update(*value, *op, *expr, span, out),
            StmtKind::Store { tensor, index, op, expr, kind } => {
                let index = index.iter().map(|e| self.flat(*e, out)).collect();
                let expr = self.flat(*expr, out);
                let action = Action::Store { tensor: *tensor, index, op: *op, expr, kind: *kind };
                self.push(action, &[], span, out);
            }
            StmtKind::Append { list, count, key, value, pred } => {
                let key = key.iter().map(|e| self.flat(*e, out)).collect();
                let value = self.flat(*value, out);
                let pred = pred.map(|e| self.flat(e, out));
                let action = Action::Append { list: *list, count: *count, key, value, pred };
                self.push(action, &[], span, out);
            }
            StmtKind::For { body, .. } => out.extend(self.block(body)?),
            StmtKind::Seq { axis, carry, body } | StmtKind::Fold { axis, carry, body } => {
                for (value, init) in carry {
                    let expr = self.flat(*init, out);
                    self.set(*value, expr, span, out);
                }
                let body = self.block(body)?;
                out.push(Item::Seq { axis: *axis, fold: matches!(stmt.kind, StmtKind::Fold { .. }), body });
            }
            StmtKind::Next(items) => self.next(items, span, out),
            StmtKind::If { cond, then, otherwise } => {
                let cond = self.flat(*cond, out);
                let (then, otherwise) = (self.block(then)?, self.block(otherwise)?);
                out.push(Item::If { cond, then, otherwise });
            }
            StmtKind::Call { .. }
            | StmtKind::Repeat { .. }
            | StmtKind::Fill { .. }
            | StmtKind::Copy { .. } => {
                return Err(Diagnostic::error(Code::Misplaced, span, "this may stand in a pipeline only"));
            }
        }
        Ok(())
    }

    /// `v += sum[k](e)` accumulates straight into `v`; anything else is an accumulation without reduced axes.
    fn update(&mut self, value: ValueId, op: AssignOp, expr: ExprId, span: Span, out: &mut Vec<Item>) {
        let axes = self.axes_of(value);
        let dtype = self.form.func.values[value].dtype;
        let monoid = match op {
            AssignOp::Set => {
                let expr = self.flat(expr, out);
                return self.set(value, expr, span, out);
            }
            AssignOp::Add | AssignOp::Sub => ReduceOp::Sum,
            AssignOp::Mul => ReduceOp::Prod,
            AssignOp::Max => ReduceOp::Max,
            AssignOp::Min => ReduceOp::Min,
        };
        if let ExprKind::Reduce { op: inner, args, .. } = self.form.func.exprs[expr].kind.clone()
            && (inner == monoid || (inner == ReduceOp::Dot && monoid == ReduceOp::Sum))
            && self.form.func.exprs[expr].dtype == dtype
            && !matches!(dtype, DType::F16 | DType::Bf16)
        {
            let mut args: Vec<ExprId> = args.iter().map(|e| self.flat(*e, out)).collect();
            if inner == ReduceOp::Dot {
                self.widen(&mut args, dtype);
            }
            if op == AssignOp::Sub {
                let d = self.form.func.exprs[args[0]].dtype;
                args[0] = self.form.expr(ExprKind::Unary(UnaryOp::Neg, args[0]), d, span);
            }
            return self.push(Action::Accumulate { value, op: inner, args, guard: None }, &axes, span, out);
        }
        let mut arg = self.flat(expr, out);
        if op == AssignOp::Sub {
            arg = self.form.expr(ExprKind::Unary(UnaryOp::Neg, arg), dtype, span);
        }
        self.push(Action::Accumulate { value, op: monoid, args: vec![arg], guard: None }, &axes, span, out);
    }

    /// Operands in the accumulator's type, so that the conversion moves with what it converts.
    fn widen(&mut self, args: &mut [ExprId], dtype: DType) {
        for a in args {
            let expr = &self.form.func.exprs[*a];
            if expr.dtype != dtype {
                let span = expr.span;
                *a = self.form.expr(ExprKind::Cast(*a), dtype, span);
            }
        }
    }

    fn next(&mut self, items: &[NextItem], span: Span, out: &mut Vec<Item>) {
        let mut writes = Vec::new();
        for item in items {
            let expr = self.flat(item.expr, out);
            let index: Option<Vec<ExprId>> =
                item.index.as_ref().map(|ix| ix.iter().map(|e| self.flat(*e, out)).collect());
            let mut axes = match &index {
                None => self.axes_of(item.value),
                Some(index) => index.iter().flat_map(|e| self.form.func.exprs[*e].axes.clone()).collect(),
            };
            axes.extend(&self.form.func.exprs[expr].axes);
            let axes = self.form.sorted(axes);
            let (name, dtype) = {
                let v = &self.form.func.values[item.value];
                (format!("{}.next", v.name), v.dtype)
            };
            let temp = self.form.value(&name, dtype, axes.clone(), span);
            self.push(Action::Set { value: temp, index: None, expr }, &axes, span, out);
            if let Some(index) = &index {
                self.form.maps.entry(item.value).or_default().push(index.clone());
            }
            writes.push((item.value, index, temp, axes));
        }
        for (value, index, temp, axes) in writes {
            let expr = self.form.read(temp, span);
            self.push(Action::Set { value, index, expr }, &axes, span, out);
        }
    }

    /// `e` without reductions and scans: their statements go to `out` first.
    fn flat(&mut self, e: ExprId, out: &mut Vec<Item>) -> ExprId {
        let mut memo = BTreeMap::new();
        self.pull(e, None, &mut memo, out)
    }

    fn pull(
        &mut self,
        e: ExprId,
        guard: Option<ExprId>,
        memo: &mut BTreeMap<(ExprId, Option<ExprId>), ExprId>,
        out: &mut Vec<Item>,
    ) -> ExprId {
        if let Some(done) = memo.get(&(e, guard)) {
            return *done;
        }
        let expr = self.form.func.exprs[e].clone();
        let new = match expr.kind {
            ExprKind::Reduce { op, axes, args } => {
                let args: Vec<ExprId> = args.iter().map(|a| self.pull(*a, guard, memo, out)).collect();
                let own = guard.filter(|g| self.form.func.exprs[*g].axes.iter().all(|a| !axes.contains(a)));
                self.reduce(op, &axes, args, own, expr.dtype, expr.span, out)
            }
            ExprKind::Scan { op, axis, arg } => {
                let arg = self.pull(arg, guard, memo, out);
                self.scan(op, axis, arg, expr.dtype, expr.span, out)
            }
            ExprKind::Select(c, a, b) => {
                let c = self.pull(c, guard, memo, out);
                let a = if self.has_reduce(a) { self.under(c, true, guard, a, memo, out) } else { a };
                let b = if self.has_reduce(b) { self.under(c, false, guard, b, memo, out) } else { b };
                self.form.expr(ExprKind::Select(c, a, b), expr.dtype, expr.span)
            }
            mut kind => {
                let mut changed = false;
                super::form::map_operands(&mut kind, |x| {
                    let y = self.pull(x, guard, memo, out);
                    changed |= x != y;
                    y
                });
                if changed { self.form.expr(kind, expr.dtype, expr.span) } else { e }
            }
        };
        memo.insert((e, guard), new);
        new
    }

    fn has_reduce(&self, e: ExprId) -> bool {
        let reduces = |e: ExprId| {
            matches!(self.form.func.exprs[e].kind, ExprKind::Reduce { .. } | ExprKind::Scan { .. })
        };
        self.form.below(vec![e]).any(reduces)
    }

    /// `e`, an arm of a select, whose reductions run only where the arm is chosen.
    fn under(
        &mut self,
        cond: ExprId,
        holds: bool,
        guard: Option<ExprId>,
        e: ExprId,
        memo: &mut BTreeMap<(ExprId, Option<ExprId>), ExprId>,
        out: &mut Vec<Item>,
    ) -> ExprId {
        let own = if holds { cond } else { self.form.not(cond) };
        let both = guard.map_or(own, |g| self.form.binary(BinaryOp::And, g, own));
        self.pull(e, Some(both), memo, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one expression")]
    fn reduce(
        &mut self,
        op: ReduceOp,
        gone: &[AxisId],
        args: Vec<ExprId>,
        guard: Option<ExprId>,
        dtype: DType,
        span: Span,
        out: &mut Vec<Item>,
    ) -> ExprId {
        let mut axes: Vec<AxisId> = args
            .iter()
            .chain(&guard)
            .flat_map(|e| self.form.func.exprs[*e].axes.clone())
            .filter(|a| !gone.contains(a))
            .collect();
        axes.sort_unstable();
        axes.dedup();
        let axes: Vec<AxisId> = self.form.sorted(axes).into_iter().filter(|a| !gone.contains(a)).collect();
        if matches!(op, ReduceOp::Argmax | ReduceOp::Argmin) {
            return self.best(op, gone[0], args[0], axes, span, out);
        }
        // Half-precision sums are kept in f32 and rounded once.
        let wide = if matches!(dtype, DType::F16 | DType::Bf16) { DType::F32 } else { dtype };
        let value = self.form.value(reduce_name(op), wide, axes.clone(), span);
        let first = self.form.identity(op, wide, span);
        self.set(value, first, span, out);
        let mut args = args;
        if op == ReduceOp::Dot || wide != dtype {
            self.widen(&mut args, wide);
        }
        let all: Vec<AxisId> = axes.iter().chain(gone).copied().collect();
        self.push(Action::Accumulate { value, op, args, guard }, &all, span, out);
        let read = self.form.read(value, span);
        if wide == dtype { read } else { self.form.expr(ExprKind::Cast(read), dtype, span) }
    }

    fn best(
        &mut self,
        op: ReduceOp,
        axis: AxisId,
        expr: ExprId,
        axes: Vec<AxisId>,
        span: Span,
        out: &mut Vec<Item>,
    ) -> ExprId {
        let dtype = self.form.func.exprs[expr].dtype;
        let best = self.form.value("best", dtype, axes.clone(), span);
        let at = self.form.value(reduce_name(op), DType::I64, axes.clone(), span);
        let first = self.form.identity(op, dtype, span);
        self.set(best, first, span, out);
        let lo = self.form.func.axes[axis].lo;
        self.set(at, lo, span, out);
        let all: Vec<AxisId> = axes.iter().copied().chain([axis]).collect();
        self.push(Action::Best { best, at, op, axis, expr }, &all, span, out);
        self.form.read(at, span)
    }

    fn scan(
        &mut self,
        op: ReduceOp,
        axis: AxisId,
        arg: ExprId,
        dtype: DType,
        span: Span,
        out: &mut Vec<Item>,
    ) -> ExprId {
        let mut axes = self.form.func.exprs[arg].axes.clone();
        axes.push(axis);
        let all = self.form.sorted(axes);
        let outer: Vec<AxisId> = all.iter().copied().filter(|a| *a != axis).collect();
        let run = self.form.value("run", dtype, outer, span);
        let value = self.form.value("scan", dtype, all.clone(), span);
        let first = self.form.identity(op, dtype, span);
        self.set(run, first, span, out);
        self.push(Action::Scan { value, run, op, axis, expr: arg }, &all, span, out);
        self.form.read(value, span)
    }
}

/// Whether a value is a sum inside an expression, which has no name in the text.
pub(crate) fn is_unnamed_sum(name: &str) -> bool {
    [ReduceOp::Dot, ReduceOp::Sum].map(reduce_name).contains(&name)
}

fn reduce_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::Any => "any",
        ReduceOp::All => "all",
        ReduceOp::Argmax => "argmax",
        ReduceOp::Argmin => "argmin",
        ReduceOp::Dot => "dot",
    }
}

//! Rule: every index lies inside, or the tensor says what a read outside gives.
//!
//! An index is proven for all sizes ([`super::prove`]) or tried at all points of small sizes and some of larger ones. What data decide lies
//! anywhere in the declared `range` of the data.

use std::ops::ControlFlow;

use super::abs::{Abs, Eval};
use super::prove::Prover;
use super::space::Space;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AxisKind, BinaryOp, CallArg, ExprId, ExprKind, Func, Stmt, StmtKind, Table, TensorId, ValueId, View,
};
use crate::hir::{print, walk};

/// Expressions evaluated for one index before it is let pass.
const BUDGET: usize = 60_000;

/// What is indexed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Load(ExprId, TensorId),
    Store(TensorId),
    Key(TensorId),
    View(TensorId),
    Table(usize),
    Value(ValueId),
    Next(ValueId),
}

/// One index that must lie in `lo..hi`.
struct Duty {
    what: What,
    dim: usize,
    index: ExprId,
    /// `None` for 0.
    lo: Option<ExprId>,
    hi: Extent,
    /// Added to `hi`: 1 for an end that is excluded.
    slack: i64,
    /// Conditions under which it is evaluated.
    conds: Vec<(ExprId, bool)>,
    span: Span,
}

#[derive(Clone, Copy)]
enum Extent {
    Expr(ExprId),
    Const(i64),
}

enum Verdict {
    /// For all sizes.
    Proven,
    /// At all small sizes that were tried.
    Tried,
    /// An index outside, and when.
    Outside(i64, i64, String),
    /// Data that may be anything, or too much.
    Data(Option<TensorId>),
}

/// Checks all indices of the function, and marks the dimensions of reads whose edge rule applies.
pub(super) fn check(func: &mut Func, tables: &[Table], diags: &mut Vec<Diagnostic>) {
    let mut leaves: Vec<(ExprId, usize)> = Vec::new();
    {
        let space = Space::new(func, tables);
        let mut prover = Prover::new(&space);
        let mut reported: Vec<(Span, usize)> = Vec::new();
        for duty in duties(func, tables) {
            let verdict = judge(&space, &mut prover, &duty);
            let edge = match duty.what {
                What::Load(_, t) => func.tensors[t].edges[duty.dim].is_some(),
                _ => false,
            };
            match (&duty.what, verdict) {
                (_, Verdict::Proven) => {}
                (&What::Load(e, _), _) if edge => leaves.push((e, duty.dim)),
                (_, Verdict::Tried) => {}
                (_, verdict) => {
                    if !reported.contains(&(duty.span, duty.dim)) {
                        reported.push((duty.span, duty.dim));
                        diags.push(describe(func, tables, &duty, verdict));
                    }
                }
            }
        }
    }
    for e in func.exprs.handles() {
        if let ExprKind::Load { leaves, .. } = &mut func.exprs[e].kind {
            leaves.fill(false);
        }
    }
    for (e, dim) in leaves {
        if let ExprKind::Load { leaves, .. } = &mut func.exprs[e].kind {
            leaves[dim] = true;
        }
    }
}

fn judge(space: &Space<'_>, prover: &mut Prover<'_>, duty: &Duty) -> Verdict {
    let hi = match duty.hi {
        Extent::Expr(e) => Ok(e),
        Extent::Const(n) => Err(n),
    };
    if prover.inside(duty.index, duty.lo, hi, duty.slack, &duty.conds) {
        return Verdict::Proven;
    }

    let mut roots = vec![duty.index];
    roots.extend(duty.lo);
    if let Extent::Expr(e) = duty.hi {
        roots.push(e);
    }
    let of_index = space.relevant(&roots);
    // Conditions that share nothing with the index cannot help.
    let conds: Vec<(ExprId, bool)> = duty
        .conds
        .iter()
        .copied()
        .filter(|&(c, _)| {
            let of_cond = space.relevant(&[c]);
            of_cond.axes.iter().any(|a| of_index.axes.contains(a))
                || of_cond.sizes.iter().any(|s| of_index.sizes.contains(s))
                || of_cond.scalars.iter().any(|s| of_index.scalars.contains(s))
        })
        .collect();
    roots.extend(conds.iter().map(|&(c, _)| c));
    let relevant = space.relevant(&roots);
    let mut verdict = Verdict::Tried;
    let mut look = |eval: &mut Eval<'_>| {
        space.each_point(eval, &relevant.axes, BUDGET, &mut |eval| {
            let excluded =
                conds.iter().any(|&(c, want)| matches!(eval.eval(c), Abs::Bool(Some(b)) if b != want));
            if excluded {
                return ControlFlow::Continue(());
            }
            let lo = duty.lo.map_or(Abs::Int(0, 0), |e| eval.eval(e));
            let hi = match duty.hi {
                Extent::Expr(e) => eval.eval(e),
                Extent::Const(n) => Abs::Int(n, n),
            };
            let (Abs::Int(_, lo), Abs::Int(hi, _), Abs::Int(a, b)) = (lo, hi, eval.eval(duty.index)) else {
                verdict = Verdict::Data(None);
                return ControlFlow::Break(());
            };
            let hi = hi.saturating_add(duty.slack);
            if a >= lo && b < hi {
                return ControlFlow::Continue(());
            }
            verdict = if a == b {
                Verdict::Outside(a, hi, space.place_text(eval, &relevant))
            } else {
                Verdict::Data(culprit(space, duty.index))
            };
            ControlFlow::Break(())
        })
    };
    if space.each_setting(&relevant, BUDGET, &mut look) && !relevant.sizes.is_empty() {
        space.each_larger_setting(&relevant, BUDGET, &mut look);
    }
    verdict
}

/// A tensor of integers without a declared range that the index reads.
fn culprit(space: &Space<'_>, index: ExprId) -> Option<TensorId> {
    let mut found = None;
    let mut stack = vec![index];
    let mut seen = Vec::new();
    while let Some(e) = stack.pop() {
        if seen.contains(&e) {
            continue;
        }
        seen.push(e);
        match &space.func.exprs[e].kind {
            ExprKind::Load { tensor, .. } => {
                let t = &space.func.tensors[*tensor];
                if t.dtype.is_int() && (t.range.is_none() || found.is_none()) {
                    found = Some(*tensor);
                }
            }
            ExprKind::Value(v) => stack.extend(space.defs[v.index()]),
            ExprKind::Axis(a) => stack.extend([space.func.axes[*a].lo, space.func.axes[*a].hi]),
            kind => walk::operands(kind, |e| stack.push(e)),
        }
    }
    found
}

fn describe(func: &Func, tables: &[Table], duty: &Duty, verdict: Verdict) -> Diagnostic {
    let text = |e: ExprId| print::user_text(func, tables, e);
    let (name, rank, declared) = match duty.what {
        What::Load(_, t) | What::Store(t) | What::Key(t) | What::View(t) => {
            (func.tensors[t].name.clone(), func.tensors[t].shape.len(), Some(func.tensors[t].span))
        }
        What::Table(n) => (tables[n].name.clone(), tables[n].shape.len(), None),
        What::Value(v) | What::Next(v) => {
            (func.values[v].name.clone(), func.values[v].axes.len(), Some(func.values[v].span))
        }
    };
    let writes = matches!(duty.what, What::Store(_) | What::Key(_) | What::Next(_));
    let verb = if writes { "writes" } else { "reads" };
    let code = if writes { Code::OutOfBounds } else { Code::NoEdge };
    let word = match (rank, duty.dim) {
        (1, _) => "element".to_owned(),
        (2, 0) => "row".to_owned(),
        (2, _) => "column".to_owned(),
        (_, dim) => format!("index (dimension {dim})"),
    };
    let extent = match duty.hi {
        Extent::Expr(e) => text(e),
        Extent::Const(n) => n.to_string(),
    };
    let mut diagnostic = match &verdict {
        Verdict::Outside(at, hi, place) => {
            let of = if *at < 0 { String::new() } else { format!(" of {hi}") };
            let mut d = Diagnostic::error(code, duty.span, format!("this {verb} {word} {at}{of} {place}"));
            let edge = matches!(duty.what, What::Load(..));
            if edge {
                let how = if *at < 0 {
                    format!("start the loop at {}", at.unsigned_abs())
                } else {
                    "end the loop earlier".to_owned()
                };
                d = d.help(format!(
                    "declare `edge clamp` (or `wrap`, `reflect`, `const(v)`) on `{name}`, or {how}"
                ));
            } else {
                d = d.help(format!("keep the index below `{extent}`, with `clamp` or a smaller domain"));
            }
            d
        }
        Verdict::Data(source) => {
            let index = text(duty.index);
            let message = format!("this {verb} `{name}` at `{index}`, which data may put anywhere");
            let d = Diagnostic::error(code, duty.span, message);
            match source {
                Some(t) => {
                    let tensor = &func.tensors[*t];
                    let direct = direct_load(func, duty.index) == Some(*t);
                    let help = if direct {
                        format!("declare `range 0..{extent}` on `{}`", tensor.name)
                    } else if tensor.range.is_none() {
                        format!(
                            "declare a `range` on `{}`, or write `clamp({index}, 0, {extent} - 1)`",
                            tensor.name
                        )
                    } else {
                        format!("write `clamp({index}, 0, {extent} - 1)`")
                    };
                    d.cause(tensor.span, "the data").help(help)
                }
                None => d.help(format!("write `clamp({index}, 0, {extent} - 1)`")),
            }
        }
        Verdict::Proven | Verdict::Tried => Diagnostic::error(code, duty.span, "an index may lie outside"),
    };
    if let Some(span) = declared {
        diagnostic = diagnostic.cause(span, format!("`{name}` has `{extent}` there"));
    }
    diagnostic
}

/// The tensor, where the index is an element of it and nothing else.
fn direct_load(func: &Func, e: ExprId) -> Option<TensorId> {
    match &func.exprs[e].kind {
        ExprKind::Cast(inner) => direct_load(func, *inner),
        ExprKind::Load { tensor, .. } => Some(*tensor),
        _ => None,
    }
}

/// Every index of the function with the conditions under which it is evaluated.
fn duties(func: &Func, tables: &[Table]) -> Vec<Duty> {
    let mut indexes = vec![false; func.exprs.len()];
    for (e, expr) in func.exprs.iter() {
        let mut has =
            matches!(expr.kind, ExprKind::Load { .. } | ExprKind::Table { .. } | ExprKind::ValueAt(..));
        walk::operands(&expr.kind, |o| has |= indexes[o.index()]);
        indexes[e.index()] = has;
    }
    let mut collector =
        Collector { func, tables, indexes, out: Vec::new(), conds: Vec::new(), seen: Vec::new() };
    for &w in &func.wheres {
        collector.expr(w);
    }
    collector.body(&func.body);
    collector.out
}

struct Collector<'a> {
    func: &'a Func,
    tables: &'a [Table],
    /// Whether an expression indexes anything, by expression.
    indexes: Vec<bool>,
    out: Vec<Duty>,
    conds: Vec<(ExprId, bool)>,
    /// Expressions already seen under these conditions.
    seen: Vec<(ExprId, Vec<(ExprId, bool)>)>,
}

impl Collector<'_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        for axis in walk::declared_axes(stmt) {
            let axis = &self.func.axes[axis];
            self.expr(axis.lo);
            self.expr(axis.hi);
        }
        match &stmt.kind {
            StmtKind::Store { tensor, index, expr, .. } => {
                self.expr(*expr);
                for (dim, &e) in index.iter().enumerate() {
                    self.expr(e);
                    let hi = Extent::Expr(self.func.tensors[*tensor].shape[dim]);
                    self.duty(What::Store(*tensor), dim, e, None, hi, stmt.span);
                }
            }
            StmtKind::Append { count, key, value, pred, .. } => {
                let depth = self.conds.len();
                if let Some(pred) = pred {
                    self.expr(*pred);
                    self.conds.push((*pred, true));
                }
                for (dim, &e) in key.iter().enumerate() {
                    self.expr(e);
                    let hi = Extent::Expr(self.func.tensors[*count].shape[dim]);
                    self.duty(What::Key(*count), dim, e, None, hi, stmt.span);
                }
                self.expr(*value);
                self.conds.truncate(depth);
            }
            StmtKind::Next(items) => {
                for item in items {
                    self.expr(item.expr);
                    for (dim, &e) in item.index.iter().flatten().enumerate() {
                        self.expr(e);
                        let axis = &self.func.axes[self.func.values[item.value].axes[dim]];
                        let (lo, hi) = (axis.lo, Extent::Expr(axis.hi));
                        self.duty(What::Next(item.value), dim, e, Some(lo), hi, stmt.span);
                    }
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                self.expr(*cond);
                self.conds.push((*cond, true));
                self.body(then);
                self.conds.pop();
                self.conds.push((*cond, false));
                self.body(otherwise);
                self.conds.pop();
            }
            StmtKind::Call { args, .. } => {
                walk::stmt_exprs(stmt, |e| self.expr(e));
                for arg in args {
                    if let CallArg::Tensor(view) = arg {
                        self.view(view, stmt.span);
                    }
                }
            }
            StmtKind::For { body, .. } | StmtKind::Repeat { body, .. } => self.body(body),
            StmtKind::Seq { carry, body, .. } | StmtKind::Fold { carry, body, .. } => {
                carry.iter().for_each(|&(_, e)| self.expr(e));
                self.body(body);
            }
            _ => walk::stmt_exprs(stmt, |e| self.expr(e)),
        }
    }

    /// A view lies inside its tensor.
    fn view(&mut self, view: &View, span: Span) {
        let shape = &self.func.tensors[view.tensor].shape;
        for &(dim, at) in &view.fixed {
            self.duty(What::View(view.tensor), dim, at, None, Extent::Expr(shape[dim]), span);
        }
        for dim in &view.dims {
            // A slice's extent is made as `hi - lo`.
            let hi = dim.extent.and_then(|e| match self.func.exprs[e].kind {
                ExprKind::Binary(BinaryOp::Sub, hi, _) => Some(hi),
                _ => None,
            });
            for end in dim.lo.into_iter().chain(hi) {
                self.duty(
                    What::View(view.tensor),
                    dim.source,
                    end,
                    None,
                    Extent::Expr(shape[dim.source]),
                    span,
                );
                if let Some(duty) = self.out.last_mut() {
                    duty.slack = 1;
                }
            }
        }
    }

    fn duty(&mut self, what: What, dim: usize, index: ExprId, lo: Option<ExprId>, hi: Extent, span: Span) {
        let conds = self.conds.clone();
        self.out.push(Duty { what, dim, index, lo, hi, slack: 0, conds, span });
    }

    fn expr(&mut self, e: ExprId) {
        if !self.indexes[e.index()] {
            return;
        }
        if self.seen.iter().any(|(s, conds)| *s == e && *conds == self.conds) {
            return;
        }
        self.seen.push((e, self.conds.clone()));
        let expr = &self.func.exprs[e];
        match &expr.kind {
            ExprKind::Load { tensor, index, .. } => {
                for (dim, &i) in index.iter().enumerate() {
                    self.expr(i);
                    let hi = Extent::Expr(self.func.tensors[*tensor].shape[dim]);
                    self.duty(What::Load(e, *tensor), dim, i, None, hi, expr.span);
                }
            }
            ExprKind::Table { table, index } => {
                for (dim, &i) in index.iter().enumerate() {
                    self.expr(i);
                    let extent = self.tables.get(*table).and_then(|t| t.shape.get(dim)).copied().unwrap_or(0);
                    let hi = Extent::Const(i64::try_from(extent).unwrap_or(i64::MAX));
                    self.duty(What::Table(*table), dim, i, None, hi, expr.span);
                }
            }
            ExprKind::ValueAt(v, index) => {
                for (dim, &i) in index.iter().enumerate() {
                    self.expr(i);
                    let axis = &self.func.axes[self.func.values[*v].axes[dim]];
                    self.duty(What::Value(*v), dim, i, Some(axis.lo), Extent::Expr(axis.hi), expr.span);
                }
            }
            ExprKind::Select(c, a, b) => {
                self.expr(*c);
                self.under(*c, true, *a);
                self.under(*c, false, *b);
            }
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b)
                if expr.dtype == rooftile_artifact::DType::Bool =>
            {
                self.expr(*a);
                self.under(*a, *op == BinaryOp::And, *b);
            }
            ExprKind::Reduce { axes, args, .. } => {
                for &a in axes {
                    if self.func.axes[a].kind == AxisKind::Bind {
                        self.expr(self.func.axes[a].lo);
                        self.expr(self.func.axes[a].hi);
                    }
                }
                args.iter().for_each(|&a| self.expr(a));
            }
            kind => walk::operands(kind, |o| self.expr(o)),
        }
    }

    fn under(&mut self, cond: ExprId, want: bool, e: ExprId) {
        self.conds.push((cond, want));
        self.expr(e);
        self.conds.pop();
    }
}

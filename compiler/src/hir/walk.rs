//! Visitors over expressions and statements.

use super::ir::{
    Axis, AxisId, AxisKind, CallArg, Expr, ExprId, ExprKind, Func, Stmt, StmtKind, TensorId, ValueId, View,
};

/// Calls `f` with each direct operand of an expression, in order of evaluation.
pub fn operands(kind: &ExprKind, mut f: impl FnMut(ExprId)) {
    match kind {
        ExprKind::Const(_)
        | ExprKind::Size(_)
        | ExprKind::Scalar(_)
        | ExprKind::Axis(_)
        | ExprKind::Value(_) => {}
        ExprKind::ValueAt(_, list)
        | ExprKind::Call(_, list)
        | ExprKind::Load { index: list, .. }
        | ExprKind::Table { index: list, .. }
        | ExprKind::Reduce { args: list, .. } => list.iter().copied().for_each(f),
        ExprKind::Unary(_, a) | ExprKind::Cast(a) | ExprKind::Scan { arg: a, .. } => f(*a),
        ExprKind::Binary(_, a, b) => {
            f(*a);
            f(*b);
        }
        ExprKind::Select(c, a, b) => {
            f(*c);
            f(*a);
            f(*b);
        }
    }
}

/// Calls `f` once for every expression that `root` is made of, operands before their users. Bounds of axes and the
/// content of tile values are not part of it.
pub fn for_each_expr(func: &Func, root: ExprId, mut f: impl FnMut(ExprId, &Expr)) {
    let mut seen = std::collections::BTreeSet::new();
    let mut stack = vec![(root, false)];
    while let Some((id, ready)) = stack.pop() {
        let expr = &func.exprs[id];
        if ready {
            f(id, expr);
            continue;
        }
        if !seen.insert(id) {
            continue;
        }
        stack.push((id, true));
        let at = stack.len();
        operands(&expr.kind, |e| stack.push((e, false)));
        stack[at..].reverse();
    }
}

/// Whether an expression is made of one like `kind`, or is it.
#[must_use]
pub fn mentions(func: &Func, root: ExprId, kind: &ExprKind) -> bool {
    let mut found = false;
    for_each_expr(func, root, |_, x| found |= x.kind == *kind);
    found
}

/// Calls `f` with every statement, outer before inner, in order of the text.
pub fn for_each_stmt<'a>(body: &'a [Stmt], f: &mut impl FnMut(&'a Stmt)) {
    for stmt in body {
        f(stmt);
        match &stmt.kind {
            StmtKind::For { body, .. }
            | StmtKind::Seq { body, .. }
            | StmtKind::Fold { body, .. }
            | StmtKind::Repeat { body, .. } => for_each_stmt(body, f),
            StmtKind::If { then, otherwise, .. } => {
                for_each_stmt(then, f);
                for_each_stmt(otherwise, f);
            }
            _ => {}
        }
    }
}

/// Calls `f` with the expressions that stand directly in a statement (not those of statements inside it), in order of
/// evaluation. Bounds of the axes that it declares are not among them.
pub fn stmt_exprs(stmt: &Stmt, mut f: impl FnMut(ExprId)) {
    let view = |view: &View, f: &mut dyn FnMut(ExprId)| {
        for dim in &view.dims {
            dim.lo.into_iter().chain(dim.extent).for_each(&mut *f);
        }
        view.fixed.iter().for_each(|&(_, e)| f(e));
    };
    match &stmt.kind {
        StmtKind::Define { init, .. } => f(*init),
        StmtKind::Update { expr, .. } => f(*expr),
        StmtKind::Store { index, expr, .. } => {
            f(*expr);
            index.iter().copied().for_each(f);
        }
        StmtKind::Append { key, value, pred, .. } => {
            pred.iter().copied().for_each(&mut f);
            key.iter().copied().for_each(&mut f);
            f(*value);
        }
        StmtKind::Seq { carry, .. } | StmtKind::Fold { carry, .. } => carry.iter().for_each(|&(_, e)| f(e)),
        StmtKind::Next(items) => {
            for item in items {
                f(item.expr);
                item.index.iter().flatten().copied().for_each(&mut f);
            }
        }
        StmtKind::If { cond, .. } => f(*cond),
        StmtKind::Call { args, sizes, .. } => {
            for arg in args {
                match arg {
                    CallArg::Tensor(v) => view(v, &mut f),
                    CallArg::Scalar(e) => f(*e),
                }
            }
            sizes.iter().copied().for_each(f);
        }
        StmtKind::Fill { value, .. } => f(*value),
        StmtKind::For { .. } | StmtKind::Repeat { .. } | StmtKind::Copy { .. } => {}
    }
}

/// The tensors that a statement of a pipeline hands to a kernel, copies or fills; statements inside it do so for themselves.
pub fn tensors_named(stmt: &Stmt) -> Vec<TensorId> {
    match &stmt.kind {
        StmtKind::Call { args, .. } => args
            .iter()
            .filter_map(|a| match a {
                CallArg::Tensor(view) => Some(view.tensor),
                CallArg::Scalar(_) => None,
            })
            .collect(),
        StmtKind::Copy { from, to } => vec![*from, *to],
        StmtKind::Fill { tensor, .. } => vec![*tensor],
        _ => Vec::new(),
    }
}

/// The axes and counters that a statement declares.
#[must_use]
pub fn declared_axes(stmt: &Stmt) -> Vec<AxisId> {
    match &stmt.kind {
        StmtKind::For { axes, with, .. } => axes.iter().chain(with).copied().collect(),
        StmtKind::Seq { axis, .. } | StmtKind::Fold { axis, .. } | StmtKind::Repeat { axis, .. } => {
            vec![*axis]
        }
        _ => Vec::new(),
    }
}

/// Tile values that an expression reads, each once, in order of first read.
#[must_use]
pub fn values_read(func: &Func, root: ExprId) -> Vec<ValueId> {
    let mut out = Vec::new();
    for_each_expr(func, root, |_, e| match e.kind {
        ExprKind::Value(v) | ExprKind::ValueAt(v, _) if !out.contains(&v) => out.push(v),
        _ => {}
    });
    out
}

/// Tensors that an expression reads, each once, in order of first read. Reads by the bounds of axes are not counted.
#[must_use]
pub fn tensors_read(func: &Func, root: ExprId) -> Vec<TensorId> {
    let mut out = Vec::new();
    for_each_expr(func, root, |_, e| match e.kind {
        ExprKind::Load { tensor, .. } if !out.contains(&tensor) => out.push(tensor),
        _ => {}
    });
    out
}

/// Whether the axis is a counter rather than a dimension of tile values.
#[must_use]
pub fn is_counter(axis: &Axis) -> bool {
    matches!(axis.kind, AxisKind::Seq | AxisKind::Repeat)
}

/// The axis and, in turn, those that its bounds vary along, without counters.
#[must_use]
pub fn closure(func: &Func, axis: AxisId) -> Vec<AxisId> {
    let a = &func.axes[axis];
    let mut all: Vec<AxisId> = Vec::new();
    if !is_counter(a) {
        all.push(axis);
    }
    all.extend(a.parents.iter().copied().filter(|&p| !is_counter(&func.axes[p])));
    all
}

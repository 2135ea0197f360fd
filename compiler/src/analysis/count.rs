//! Operations of a kernel or reference: each expression once for every point of its own axes.

use rooftile_artifact::DType;
use rooftile_artifact::work::{OpClass, Work};

use super::domain::Domain;
use crate::hir::ir::{
    AssignOp, AxisId, BinaryOp, Expr, ExprId, ExprKind, Func, Function, ReduceOp, Stmt, StmtKind, UnaryOp,
};
use crate::hir::walk::operands;

/// Calls `visit` on every expression that `id` is made of, each once.
pub(super) fn walk<'a>(func: &'a Func, id: ExprId, visit: &mut dyn FnMut(&'a ExprKind)) {
    let mut seen = vec![false; func.exprs.len()];
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if !std::mem::replace(&mut seen[id.index()], true) {
            visit(&func.exprs[id].kind);
            operands(&func.exprs[id].kind, |o| stack.push(o));
        }
    }
}

/// Adds the operations of a function.
pub(super) fn operations(domain: &Domain<'_>, out: &mut Work) {
    visit(domain, &domain.func.body, &mut Vec::new(), &mut |item| match item {
        Item::Expr(e, times, indexing) => {
            if !indexing {
                for (class, dtype, count) in classes(domain.func, e) {
                    out.add_ops(class, dtype, count * times);
                }
            }
        }
        Item::Assign(op, dtype, times) => {
            if op != AssignOp::Set {
                let (class, parts) = arithmetic(dtype);
                out.add_ops(class, dtype.real(), parts * times);
            }
        }
    });
}

/// Rough nanoseconds of the compiled evaluator on one thread.
pub(super) fn evaluation(domain: &Domain<'_>) -> f64 {
    let mut total = 0.0;
    visit(domain, &domain.func.body, &mut Vec::new(), &mut |item| {
        total += match item {
            Item::Expr(e, times, _) => times * nanoseconds(domain.func, e),
            Item::Assign(_, _, times) => times,
        };
    });
    total
}

fn nanoseconds(func: &Func, e: &Expr) -> f64 {
    match &e.kind {
        ExprKind::Const(_)
        | ExprKind::Size(_)
        | ExprKind::Scalar(_)
        | ExprKind::Axis(_)
        | ExprKind::Value(_) => 0.0,
        ExprKind::Load { index, .. } => 0.5 + 0.3 * index.len() as f64,
        ExprKind::Table { .. } | ExprKind::ValueAt(..) => 1.0,
        _ => {
            let parts = |(class, _, n): (OpClass, DType, f64)| {
                n * match class {
                    OpClass::Fma | OpClass::Int | OpClass::Product => 0.5,
                    OpClass::Div | OpClass::Sqrt => 4.0,
                    OpClass::Special => 12.0,
                }
            };
            let counted: f64 = classes(func, e).into_iter().map(parts).sum();
            let chain = if matches!(e.kind, ExprKind::Reduce { .. }) { 0.7 } else { 0.1 };
            counted + chain
        }
    }
}

/// What a statement does.
enum Item<'a> {
    /// An expression, evaluated that often; whether it is part of an index.
    Expr(&'a Expr, f64, bool),
    /// An assignment to elements of a type, done that often.
    Assign(AssignOp, DType, f64),
}

type Visit<'f, 'a> = &'f mut dyn FnMut(Item<'a>);

fn visit<'a>(domain: &Domain<'a>, body: &'a [Stmt], counters: &mut Vec<AxisId>, f: Visit<'_, 'a>) {
    let func = domain.func;
    for stmt in body {
        match &stmt.kind {
            StmtKind::Define { init, .. } => roots(domain, &[*init], &[], counters, f),
            StmtKind::Update { value, op, expr } => {
                roots(domain, &[*expr], &[], counters, f);
                let value = &func.values[*value];
                f(Item::Assign(*op, value.dtype, times(domain, &value.axes, counters)));
            }
            StmtKind::Store { tensor, index, op, expr, .. } => {
                roots(domain, &[*expr], index, counters, f);
                let axes = axes_of(func, index.iter().copied().chain([*expr]));
                f(Item::Assign(*op, func.tensors[*tensor].dtype, times(domain, &axes, counters)));
            }
            StmtKind::Append { list, key, value, pred, .. } => {
                let pred: Vec<ExprId> = pred.iter().copied().collect();
                let index: Vec<ExprId> = key.iter().copied().chain([*value]).collect();
                roots(domain, &pred, &index, counters, f);
                let axes = axes_of(func, index.iter().copied().chain(pred));
                f(Item::Assign(AssignOp::Set, func.tensors[*list].dtype, times(domain, &axes, counters)));
            }
            StmtKind::For { body, .. } => visit(domain, body, counters, f),
            StmtKind::Seq { axis, carry, body } => {
                for (_, init) in carry {
                    roots(domain, &[*init], &[], counters, f);
                }
                counters.push(*axis);
                visit(domain, body, counters, f);
                counters.pop();
            }
            // Not once per tile: one tile may be the whole axis.
            StmtKind::Fold { carry, body, .. } => {
                for (_, init) in carry {
                    roots(domain, &[*init], &[], counters, f);
                }
                visit(domain, body, counters, f);
            }
            StmtKind::Next(items) => {
                for item in items {
                    roots(domain, &[item.expr], item.index.as_deref().unwrap_or(&[]), counters, f);
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                roots(domain, &[], &[*cond], counters, f);
                visit(domain, then, counters, f);
                visit(domain, otherwise, counters, f);
            }
            StmtKind::Call { .. }
            | StmtKind::Repeat { .. }
            | StmtKind::Fill { .. }
            | StmtKind::Copy { .. } => {}
        }
    }
}

fn axes_of(func: &Func, exprs: impl Iterator<Item = ExprId>) -> Vec<AxisId> {
    let mut axes: Vec<AxisId> = exprs.flat_map(|e| func.exprs[e].axes.iter().copied()).collect();
    axes.sort();
    axes.dedup();
    axes
}

fn times(domain: &Domain<'_>, axes: &[AxisId], counters: &[AxisId]) -> f64 {
    let mut all: Vec<AxisId> = counters.iter().chain(axes).copied().collect();
    all.sort();
    all.dedup();
    domain.points(&all)
}

/// Visits the expressions of a statement, each once; those that only make up indices are marked.
fn roots<'a>(
    domain: &Domain<'a>,
    values: &[ExprId],
    indices: &[ExprId],
    counters: &[AxisId],
    f: Visit<'_, 'a>,
) {
    let func = domain.func;
    let mut seen = vec![false; func.exprs.len()];
    let mut later: Vec<ExprId> = indices.to_vec();
    let mut stack: Vec<(ExprId, bool)> = values.iter().map(|&e| (e, false)).collect();
    loop {
        let Some((id, indexing)) = stack.pop() else {
            let Some(id) = later.pop() else { return };
            stack.push((id, true));
            continue;
        };
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let e = &func.exprs[id];
        let mut axes = e.axes.clone();
        match &e.kind {
            ExprKind::Reduce { axes: reduced, .. } => axes.extend(reduced),
            ExprKind::Scan { axis, .. } => axes.push(*axis),
            _ => {}
        }
        f(Item::Expr(e, times(domain, &axes, counters), indexing));
        match &e.kind {
            ExprKind::Load { index, .. } | ExprKind::Table { index, .. } | ExprKind::ValueAt(_, index) => {
                later.extend(index);
            }
            kind => operands(kind, |o| stack.push((o, indexing))),
        }
    }
}

/// The class of additions on a type, and how many an addition takes.
fn arithmetic(dtype: DType) -> (OpClass, f64) {
    match dtype {
        d if d.is_complex() => (OpClass::Fma, 2.0),
        d if d.is_float() => (OpClass::Fma, 1.0),
        _ => (OpClass::Int, 1.0),
    }
}

/// Whether products of one type that are summed in another are [`OpClass::Product`].
fn is_narrow(factor: DType, sum: DType) -> bool {
    let alike = factor.is_float() && sum.is_float() || factor.is_int() && sum.is_int();
    alike && factor.size() <= 2 && sum.size() == 4
}

/// The type of two factors that are only widened to be multiplied.
fn narrow_factors(func: &Func, factors: [ExprId; 2]) -> Option<DType> {
    let narrow = |e: ExprId| match func.exprs[e].kind {
        ExprKind::Cast(inner) => {
            let (from, to) = (func.exprs[inner].dtype, func.exprs[e].dtype);
            is_narrow(from, to).then_some(from)
        }
        _ => None,
    };
    let [a, b] = factors.map(narrow);
    a.zip(b).filter(|(a, b)| are_alike(*a, *b)).map(|(a, _)| a)
}

/// Whether the units that multiply two numbers of one of these types multiply one of each: integers may have signs or not.
fn are_alike(a: DType, b: DType) -> bool {
    a == b || a.is_int() && b.is_int() && a.size() == b.size()
}

/// As [`narrow_factors`], of a sum of products.
fn narrow_product(func: &Func, args: &[ExprId]) -> Option<DType> {
    match args.first().map(|e| &func.exprs[*e].kind) {
        Some(ExprKind::Binary(BinaryOp::Mul, a, b)) => narrow_factors(func, [*a, *b]),
        _ => None,
    }
}

/// As [`narrow_factors`], of a dot product in a type.
fn narrow_dot(func: &Func, args: &[ExprId], sum: DType) -> Option<DType> {
    let &[a, b] = args else { return None };
    let [x, y] = [a, b].map(|e| func.exprs[e].dtype);
    if are_alike(x, y) && is_narrow(x, sum) { Some(x) } else { narrow_factors(func, [a, b]) }
}

/// The operations of one evaluation of an expression, its operands not counted.
fn classes(func: &Func, e: &Expr) -> Vec<(OpClass, DType, f64)> {
    use OpClass::{Div, Fma, Product, Special, Sqrt};
    let of = |id: &ExprId| func.exprs[*id].dtype;
    let add = |dtype: DType| {
        let (class, n) = arithmetic(dtype);
        vec![(class, dtype.real(), n)]
    };
    match &e.kind {
        ExprKind::Unary(UnaryOp::BitNot, _) => add(e.dtype),
        ExprKind::Binary(op, a, b) => match (op, of(a)) {
            (_, DType::Bool) => Vec::new(),
            (BinaryOp::Mul, _) if let Some(t) = narrow_factors(func, [*a, *b]) => vec![(Product, t, 1.0)],
            (BinaryOp::Mul, d) if d.is_complex() => vec![(Fma, d.real(), 6.0)],
            (BinaryOp::Div, d) if d.is_complex() => vec![(Fma, d.real(), 9.0), (Div, d.real(), 2.0)],
            (BinaryOp::Div, d) if d.is_float() => vec![(Div, d, 1.0)],
            (_, d) => add(d),
        },
        ExprKind::Call(f, args) => {
            let d = args.first().map_or(e.dtype, of);
            match f {
                Function::Abs if d.is_complex() => vec![(Fma, d.real(), 3.0), (Sqrt, d.real(), 1.0)],
                Function::Min | Function::Max => add(d),
                Function::Clamp => vec![(arithmetic(d).0, d, 2.0)],
                Function::Sqrt | Function::Rsqrt => vec![(Sqrt, d, 1.0)],
                Function::Exp
                | Function::Exp2
                | Function::Log
                | Function::Log2
                | Function::Log1p
                | Function::Expm1
                | Function::Sin
                | Function::Cos
                | Function::Tan
                | Function::Tanh
                | Function::Erf
                | Function::Erfc => vec![(Special, d, 1.0)],
                Function::Sigmoid => vec![(Special, d, 1.0), (Div, d, 1.0)],
                Function::Pow | Function::Cis => vec![(Special, d, 2.0)],
                Function::Fma => vec![(arithmetic(d).0, d, 2.0)],
                Function::Floor | Function::Ceil | Function::Round | Function::Trunc if d.is_float() => {
                    vec![(Fma, d, 1.0)]
                }
                Function::Popcount | Function::Ilog2 | Function::Bitrev => add(d),
                _ => Vec::new(),
            }
        }
        ExprKind::Reduce { op, args, .. } => {
            let d = if matches!(op, ReduceOp::Argmax | ReduceOp::Argmin) {
                args.first().map_or(e.dtype, of)
            } else {
                e.dtype
            };
            match op {
                ReduceOp::Any | ReduceOp::All => Vec::new(),
                ReduceOp::Dot if d.is_complex() => vec![(Fma, d.real(), 8.0)],
                ReduceOp::Dot => match narrow_dot(func, args, d) {
                    Some(t) => vec![(Product, t, 2.0)],
                    None => vec![(arithmetic(d).0, d, 2.0)],
                },
                ReduceOp::Sum if let Some(t) = narrow_product(func, args) => vec![(Product, t, 1.0)],
                ReduceOp::Prod if d.is_complex() => vec![(Fma, d.real(), 6.0)],
                _ => add(d),
            }
        }
        ExprKind::Scan { .. } => add(e.dtype),
        _ => Vec::new(),
    }
}

//! Expressions that the host evaluates: of hir (over a function's sizes and scalars) and of nests (extents of scratch).

use std::collections::BTreeMap;

use rooftile_artifact::host_expr::HostExpr;
use rooftile_artifact::{DType, Scalar};

use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, Func, Function, UnaryOp};
use crate::hir::size_eval::to_host_expr_with;
use crate::nest::host::host_expr;
use crate::nest::ir as nest;

/// An expression of a pipeline, or over sizes and scalars, for the host. `steps` numbers the counters of repeats.
///
/// # Errors
/// E0701 for an expression that only a device can compute.
pub(crate) fn of_hir(
    func: &Func,
    e: ExprId,
    steps: &BTreeMap<AxisId, usize>,
) -> Result<HostExpr, Diagnostic> {
    to_host_expr_with(func, e, &|a| steps.get(&a).copied().map(HostExpr::Step)).ok_or_else(|| {
        let span = func.exprs[e].span;
        Diagnostic::error(Code::Backend, span, "the host cannot compute this between launches")
    })
}

/// An extent of a nest for the host, over the launch's sizes and scalars.
///
/// # Errors
/// E0402 when the extent depends on data.
pub(crate) fn of_nest(
    nest: &nest::Nest,
    e: nest::ExprId,
    sizes: &[HostExpr],
    scalars: &[HostExpr],
    span: Span,
) -> Result<HostExpr, Diagnostic> {
    host_expr(nest, e)
        .and_then(|e| substitute(e, sizes, scalars))
        .ok_or_else(|| Diagnostic::error(Code::Space, span, "a scratch buffer's extent depends on data"))
}

/// The expression with a kernel's sizes and scalars replaced by those of a launch.
pub(crate) fn substitute(e: HostExpr, sizes: &[HostExpr], scalars: &[HostExpr]) -> Option<HostExpr> {
    map_leaves(e, &|leaf| match leaf {
        HostExpr::Size(n) => sizes.get(n).cloned(),
        HostExpr::Scalar(n) => scalars.get(n).cloned(),
        other => Some(other),
    })
}

/// The expression with what has no operands replaced; `None` where one of them has no replacement.
pub(crate) fn map_leaves(e: HostExpr, f: &dyn Fn(HostExpr) -> Option<HostExpr>) -> Option<HostExpr> {
    let go = |e: Box<HostExpr>| map_leaves(*e, f);
    Some(match e {
        HostExpr::Size(_)
        | HostExpr::Scalar(_)
        | HostExpr::Const(_)
        | HostExpr::Step(_)
        | HostExpr::Threads => f(e)?,
        HostExpr::Cast(dtype, a) => HostExpr::Cast(dtype, Box::new(go(a)?)),
        HostExpr::Unary(op, a) => HostExpr::Unary(op, Box::new(go(a)?)),
        HostExpr::Binary(op, a, b) => HostExpr::binary(op, go(a)?, go(b)?),
        HostExpr::Select(c, a, b) => HostExpr::Select(Box::new(go(c)?), Box::new(go(a)?), Box::new(go(b)?)),
    })
}

/// A condition over sizes and scalars as text.
pub(crate) fn text(func: &Func, e: ExprId) -> String {
    let expr = &func.exprs[e];
    let go = |e: ExprId| text(func, e);
    match &expr.kind {
        ExprKind::Const(Scalar::Int(v)) => v.to_string(),
        ExprKind::Const(Scalar::Float(v)) => v.to_string(),
        ExprKind::Const(Scalar::Bool(v)) => v.to_string(),
        ExprKind::Size(s) => func.sizes[*s].name.clone(),
        ExprKind::Scalar(s) => func.scalars[*s].name.clone(),
        ExprKind::Axis(a) => func.axes[*a].name.clone(),
        ExprKind::Unary(UnaryOp::Neg, a) => format!("-{}", go(*a)),
        ExprKind::Unary(_, a) => format!("!{}", go(*a)),
        ExprKind::Cast(a) => go(*a),
        ExprKind::Call(f, args) => {
            let args: Vec<String> = args.iter().map(|a| go(*a)).collect();
            let name =
                if *f == Function::IsPow2 { "pow2".to_owned() } else { format!("{f:?}").to_lowercase() };
            format!("{name}({})", args.join(", "))
        }
        ExprKind::Binary(op, a, b) => {
            let boolean = func.exprs[*a].dtype == DType::Bool;
            let sign = match op {
                BinaryOp::And if boolean => "&&",
                BinaryOp::Or if boolean => "||",
                _ => op.symbol(),
            };
            let side = |e: ExprId| match func.exprs[e].kind {
                ExprKind::Binary(inner, ..) if binds_looser(inner, *op) => format!("({})", go(e)),
                _ => go(e),
            };
            format!("{} {sign} {}", side(*a), side(*b))
        }
        _ => "..".to_owned(),
    }
}

fn binds_looser(inner: BinaryOp, outer: BinaryOp) -> bool {
    let rank = |op: BinaryOp| match op {
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 0,
        BinaryOp::Add | BinaryOp::Sub => 1,
        BinaryOp::Shl | BinaryOp::Shr => 2,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => 3,
        _ => 4,
    };
    rank(inner) > rank(outer) || (rank(inner) == rank(outer) && rank(outer) != 1)
}

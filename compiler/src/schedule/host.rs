//! Expressions that the host evaluates: of hir (over a function's sizes and scalars) and of nests (extents of scratch).

use std::collections::BTreeMap;

use rooftile_artifact::host_expr::{HostBinary, HostExpr, HostUnary};
use rooftile_artifact::{DType, Scalar};

use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, Func, Function, UnaryOp};
use crate::nest::ir as nest;

fn op1(op: HostUnary, a: HostExpr) -> HostExpr {
    HostExpr::Unary(op, Box::new(a))
}

fn op2(op: HostBinary, a: HostExpr, b: HostExpr) -> HostExpr {
    HostExpr::binary(op, a, b)
}

/// An expression of a pipeline, or over sizes and scalars, for the host. `steps` numbers the counters of repeats.
///
/// # Errors
/// E0701 for an expression that only a device can compute.
pub(crate) fn of_hir(
    func: &Func,
    e: ExprId,
    steps: &BTreeMap<AxisId, usize>,
) -> Result<HostExpr, Diagnostic> {
    let expr = &func.exprs[e];
    let go = |e: ExprId| of_hir(func, e, steps);
    let refuse =
        || Diagnostic::error(Code::Backend, expr.span, "the host cannot compute this between launches");
    Ok(match &expr.kind {
        ExprKind::Const(v) => HostExpr::Const(*v),
        ExprKind::Size(s) => HostExpr::Size(s.index()),
        ExprKind::Scalar(s) => HostExpr::Scalar(s.index()),
        ExprKind::Axis(a) => HostExpr::Step(*steps.get(a).ok_or_else(refuse)?),
        ExprKind::Unary(UnaryOp::Neg, a) => op1(HostUnary::Neg, go(*a)?),
        ExprKind::Unary(UnaryOp::Not | UnaryOp::BitNot, a) => op1(HostUnary::Not, go(*a)?),
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (go(*a)?, go(*b)?);
            let (op, a, b) = match op {
                BinaryOp::Add => (HostBinary::Add, a, b),
                BinaryOp::Sub => (HostBinary::Sub, a, b),
                BinaryOp::Mul => (HostBinary::Mul, a, b),
                BinaryOp::Div => (HostBinary::Div, a, b),
                BinaryOp::Rem => (HostBinary::Rem, a, b),
                BinaryOp::And => (HostBinary::And, a, b),
                BinaryOp::Or => (HostBinary::Or, a, b),
                BinaryOp::Xor => (HostBinary::Xor, a, b),
                BinaryOp::Shl => (HostBinary::Shl, a, b),
                BinaryOp::Shr => (HostBinary::Shr, a, b),
                BinaryOp::Eq => (HostBinary::Eq, a, b),
                BinaryOp::Ne => (HostBinary::Ne, a, b),
                BinaryOp::Lt => (HostBinary::Lt, a, b),
                BinaryOp::Le => (HostBinary::Le, a, b),
                BinaryOp::Gt => (HostBinary::Lt, b, a),
                BinaryOp::Ge => (HostBinary::Le, b, a),
            };
            wrapped(op2(op, a, b), expr.dtype)
        }
        ExprKind::Select(c, a, b) => {
            HostExpr::Select(Box::new(go(*c)?), Box::new(go(*a)?), Box::new(go(*b)?))
        }
        ExprKind::Cast(a) => HostExpr::Cast(expr.dtype, Box::new(go(*a)?)),
        ExprKind::Call(f, args) => {
            let x = go(args[0])?;
            match f {
                Function::Min => op2(HostBinary::Min, x, go(args[1])?),
                Function::Max => op2(HostBinary::Max, x, go(args[1])?),
                Function::Clamp => op2(HostBinary::Min, op2(HostBinary::Max, x, go(args[1])?), go(args[2])?),
                Function::Abs => op2(HostBinary::Max, x.clone(), op1(HostUnary::Neg, x)),
                Function::Floor => op1(HostUnary::Floor, x),
                Function::Sqrt => op1(HostUnary::Sqrt, x),
                Function::Exp => op1(HostUnary::Exp, x),
                Function::Log => op1(HostUnary::Log, x),
                Function::Ilog2 => op1(HostUnary::Ilog2, x),
                Function::IsPow2 => {
                    let less = op2(HostBinary::Sub, x.clone(), 1.into());
                    let common = op2(HostBinary::And, x.clone(), less);
                    let single = op2(HostBinary::Eq, common, 0.into());
                    op2(HostBinary::And, op2(HostBinary::Lt, 0.into(), x), single)
                }
                _ => return Err(refuse()),
            }
        }
        _ => return Err(refuse()),
    })
}

/// The result of arithmetic in a type that `HostExpr` does not have: wrapped or rounded to it.
fn wrapped(e: HostExpr, dtype: DType) -> HostExpr {
    match dtype {
        DType::I64 | DType::F64 | DType::Bool => e,
        other => HostExpr::Cast(other, Box::new(e)),
    }
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
    span: crate::diag::Span,
) -> Result<HostExpr, Diagnostic> {
    use nest::ExprKind as K;
    let go = |e| of_nest(nest, e, sizes, scalars, span);
    let refuse = || Diagnostic::error(Code::Space, span, "a scratch buffer's extent depends on data");
    let expr = &nest.exprs[e];
    Ok(match &expr.kind {
        K::Const(v) => HostExpr::Const(*v),
        K::Size(n) => sizes.get(*n).cloned().ok_or_else(refuse)?,
        K::Param(n) => scalars.get(*n).cloned().ok_or_else(refuse)?,
        K::Cast(a) => HostExpr::Cast(expr.dtype, Box::new(go(*a)?)),
        K::Unary(nest::UnaryOp::Neg, a) => op1(HostUnary::Neg, go(*a)?),
        K::Unary(nest::UnaryOp::Not, a) => op1(HostUnary::Not, go(*a)?),
        K::Select(c, a, b) => HostExpr::Select(Box::new(go(*c)?), Box::new(go(*a)?), Box::new(go(*b)?)),
        K::Binary(op, a, b) => {
            use nest::BinaryOp as B;
            let op = match op {
                B::Add => HostBinary::Add,
                B::Sub => HostBinary::Sub,
                B::Mul => HostBinary::Mul,
                B::Div | B::DivNonNeg => HostBinary::Div,
                B::Rem | B::RemNonNeg => HostBinary::Rem,
                B::Min => HostBinary::Min,
                B::Max => HostBinary::Max,
                B::And => HostBinary::And,
                B::Or => HostBinary::Or,
                B::Xor => HostBinary::Xor,
                B::Shl => HostBinary::Shl,
                B::Shr => HostBinary::Shr,
                B::Eq => HostBinary::Eq,
                B::Ne => HostBinary::Ne,
                B::Lt => HostBinary::Lt,
                B::Le => HostBinary::Le,
                B::Pow => return Err(refuse()),
            };
            op2(op, go(*a)?, go(*b)?)
        }
        _ => return Err(refuse()),
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
                BinaryOp::Add => "+",
                BinaryOp::Sub => "-",
                BinaryOp::Mul => "*",
                BinaryOp::Div => "/",
                BinaryOp::Rem => "%",
                BinaryOp::And if boolean => "&&",
                BinaryOp::Or if boolean => "||",
                BinaryOp::And => "&",
                BinaryOp::Or => "|",
                BinaryOp::Xor => "^",
                BinaryOp::Shl => "<<",
                BinaryOp::Shr => ">>",
                BinaryOp::Eq => "==",
                BinaryOp::Ne => "!=",
                BinaryOp::Lt => "<",
                BinaryOp::Le => "<=",
                BinaryOp::Gt => ">",
                BinaryOp::Ge => ">=",
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

//! Short text of syntax, for messages and mends.

use crate::syntax::ast::{Arg, Domain, Expr, ExprKind, ReduceAxis, UnaryOp};

/// The expression on one line, spaced as the canonical printer spaces it.
pub(super) fn expr_text(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Int { value, hex: true } => format!("0x{value:X}"),
        ExprKind::Int { value, .. } => value.to_string(),
        ExprKind::Float { text, .. } => text.clone(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Name(n) => n.clone(),
        ExprKind::Field(base, field) => format!("{}.{}", expr_text(base), field.name),
        ExprKind::Unary(op, a) => format!("{}{}", unary_text(*op), expr_text(a)),
        ExprKind::Binary(op, a, b) => format!("{} {} {}", expr_text(a), op.symbol(), expr_text(b)),
        ExprKind::Index(base, index) => format!("{}[{}]", expr_text(base), list(index, ",")),
        ExprKind::Reduce { op, axes, args } => {
            let axes: Vec<String> = axes
                .iter()
                .map(|axis| match axis {
                    ReduceAxis::Name(n) => n.name.clone(),
                    ReduceAxis::Bind(d) => format!("{} in {}", d.name.name, domain_text(&d.domain)),
                })
                .collect();
            format!("{}[{}]({})", op.name, axes.join(", "), list(args, ", "))
        }
        ExprKind::Call(f, args) => {
            let args: Vec<String> = args.iter().map(arg_text).collect();
            format!("{}({})", f.name, args.join(", "))
        }
        ExprKind::Cast(dtype, a) => format!("{dtype}({})", expr_text(a)),
        ExprKind::DType(dtype) => dtype.to_string(),
        ExprKind::Array(items) => format!("[{}]", list(items, ", ")),
        ExprKind::Paren(a) => format!("({})", expr_text(a)),
        ExprKind::Error => "..".to_owned(),
    }
}

fn list(items: &[Expr], separator: &str) -> String {
    items.iter().map(expr_text).collect::<Vec<_>>().join(separator)
}

fn arg_text(arg: &Arg) -> String {
    match arg {
        Arg::Expr(e) => expr_text(e),
        Arg::Range(a, b) => format!("{}..{}", expr_text(a), expr_text(b)),
        Arg::Named(n, e) => format!("{} = {}", n.name, expr_text(e)),
    }
}

/// The domain as written.
pub(super) fn domain_text(domain: &Domain) -> String {
    match domain {
        Domain::Extent(e) => expr_text(e),
        Domain::Range(a, b) => format!("{}..{}", expr_text(a), expr_text(b)),
    }
}

fn unary_text(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "-",
        UnaryOp::Not => "!",
        UnaryOp::BitNot => "~",
    }
}

/// The expression without the brackets around it.
pub(super) fn strip(e: &Expr) -> &Expr {
    match &e.kind {
        ExprKind::Paren(inner) => strip(inner),
        _ => e,
    }
}

//! Layout of expressions, types and arguments.

use rooftile_artifact::DType;

use super::doc::{Doc, concat, fill, group, nest, text};
use crate::syntax::ast::*;

/// How operators are set: with spaces, or without them inside `[..]` and at the bounds of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Loose,
    Tight,
}

/// An element type as the lexer reads it: `u4` and `i8`, but `u<3>`.
pub(super) fn dtype(d: DType) -> String {
    match d {
        DType::Int { signed, bits } if !matches!(bits, 4 | 8 | 16 | 32 | 64) => {
            format!("{}<{bits}>", if signed { 'i' } else { 'u' })
        }
        other => other.to_string(),
    }
}

/// `f32[M,N]`
pub(super) fn ty(t: &Type) -> Doc {
    if t.shape.is_empty() { text(dtype(t.dtype)) } else { concat([text(dtype(t.dtype)), brackets(&t.shape)]) }
}

/// `[a,b+1]`
pub(super) fn brackets(indices: &[Expr]) -> Doc {
    let mut docs = vec![text("[")];
    for (i, e) in indices.iter().enumerate() {
        if i > 0 {
            docs.push(text(","));
        }
        docs.push(expr(e, Set::Tight));
    }
    docs.push(text("]"));
    Doc::Concat(docs)
}

/// `lo..hi`
pub(super) fn range(lo: &Expr, hi: &Expr) -> Doc {
    concat([expr(lo, Set::Tight), text(".."), expr(hi, Set::Tight)])
}

/// `hi` or `lo..hi`
pub(super) fn domain(d: &Domain) -> Doc {
    match d {
        Domain::Extent(hi) => expr(hi, Set::Tight),
        Domain::Range(lo, hi) => range(lo, hi),
    }
}

/// `k in dom`
pub(super) fn axis(a: &AxisDecl) -> Doc {
    concat([text(format!("{} in ", a.name.name)), domain(&a.domain)])
}

/// `e`, `a..b` or `key = e`
pub(super) fn arg(a: &Arg) -> Doc {
    match a {
        Arg::Expr(e) => expr(e, Set::Loose),
        Arg::Range(lo, hi) => range(lo, hi),
        Arg::Named(key, e) => concat([text(format!("{} = ", key.name)), expr(e, Set::Loose)]),
    }
}

/// `f(a, b)`
pub(super) fn call(name: &str, args: &[Arg]) -> Doc {
    concat([text(format!("{name}(")), fill(args.iter().map(arg)), text(")")])
}

/// An expression.
pub(super) fn expr(e: &Expr, set: Set) -> Doc {
    match &e.kind {
        ExprKind::Int { value, hex: false } => text(value.to_string()),
        ExprKind::Int { value, hex: true } => text(format!("0x{value:X}")),
        ExprKind::Float { text: t, .. } => text(t.as_str()),
        ExprKind::Bool(v) => text(v.to_string()),
        ExprKind::Name(n) => text(n.as_str()),
        ExprKind::Field(base, field) => concat([postfix(base, set), text(format!(".{}", field.name))]),
        ExprKind::Unary(op, inner) => {
            let inner_doc = expr(inner, set);
            let binary = matches!(inner.kind, ExprKind::Binary(..));
            concat([text(unary(*op)), if binary { parens(inner_doc) } else { inner_doc }])
        }
        ExprKind::Binary(op, ..) => chain(e, *op, set),
        ExprKind::Index(base, indices) => concat([postfix(base, set), brackets(indices)]),
        ExprKind::Reduce { op, axes, args } => {
            let wide = axes.iter().any(|a| matches!(a, ReduceAxis::Bind(_)));
            let mut docs = vec![text(format!("{}[", op.name))];
            for (i, a) in axes.iter().enumerate() {
                if i > 0 {
                    docs.push(text(if wide { ", " } else { "," }));
                }
                docs.push(match a {
                    ReduceAxis::Name(n) => text(n.name.as_str()),
                    ReduceAxis::Bind(a) => axis(a),
                });
            }
            docs.extend([text("]("), fill(args.iter().map(|a| expr(a, Set::Loose))), text(")")]);
            Doc::Concat(docs)
        }
        ExprKind::Call(callee, args) => call(&callee.name, args),
        ExprKind::Cast(d, inner) => {
            concat([text(format!("{}(", dtype(*d))), nest(4, expr(inner, Set::Loose)), text(")")])
        }
        ExprKind::DType(d) => text(dtype(*d)),
        ExprKind::Array(values) => {
            let values = fill(values.iter().map(|v| expr(v, Set::Loose)));
            concat([text("["), values, text("]")])
        }
        ExprKind::Paren(inner) => parens(expr(inner, set)),
        ExprKind::Error => text("<error>"),
    }
}

fn parens(doc: Doc) -> Doc {
    concat([text("("), doc, text(")")])
}

/// What stands before `.`, `[` or `(`.
fn postfix(base: &Expr, set: Set) -> Doc {
    match base.kind {
        ExprKind::Unary(..) | ExprKind::Binary(..) => parens(expr(base, set)),
        _ => expr(base, set),
    }
}

/// `a + b - c`: operators of one precedence, broken before the operators.
fn chain(e: &Expr, op: BinaryOp, set: Set) -> Doc {
    let tier = precedence(op);
    let mut links = Vec::new();
    let mut first = e;
    while let ExprKind::Binary(op, l, r) = &first.kind {
        if precedence(*op) != tier || (tier == COMPARE && !links.is_empty()) {
            break;
        }
        links.push((*op, r));
        first = l;
    }
    let mut docs = Vec::with_capacity(links.len());
    for (op, r) in links.into_iter().rev() {
        let operand = operand(r, tier + 1, set);
        docs.push(if set == Set::Tight && tier > COMPARE {
            concat([text(op.symbol()), operand])
        } else {
            concat([Doc::Line, text(format!("{} ", op.symbol())), operand])
        });
    }
    let least = if tier == COMPARE { tier + 1 } else { tier };
    group(concat([operand(first, least, set), nest(4, Doc::Concat(docs))]))
}

/// An operand, in parentheses where its operator binds less than `least`. A tree that was parsed has them already.
fn operand(e: &Expr, least: u8, set: Set) -> Doc {
    match &e.kind {
        ExprKind::Binary(op, ..) if precedence(*op) < least => parens(expr(e, set)),
        _ => expr(e, set),
    }
}

const COMPARE: u8 = 2;

fn precedence(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => 0,
        And => 1,
        Eq | Ne | Lt | Le | Gt | Ge => COMPARE,
        BitOr => 3,
        BitXor => 4,
        BitAnd => 5,
        Shl | Shr => 6,
        Add | Sub => 7,
        Mul | Div | Rem => 8,
    }
}

fn unary(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "-",
        UnaryOp::Not => "!",
        UnaryOp::BitNot => "~",
    }
}

//! Constant tables.

use rooftile_artifact::{DType, Scalar};

use super::text::strip;
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::Table;
use crate::syntax::ast::{Const, Expr, ExprKind, UnaryOp};

/// Most elements of a table.
const MAX_ELEMENTS: usize = 1 << 20;

/// Checks a constant; `None` where it is wrong.
pub(super) fn table(item: &Const, diags: &mut Vec<Diagnostic>) -> Option<Table> {
    let dtype = item.ty.dtype;
    let mut shape = Vec::new();
    for extent in &item.ty.shape {
        match &strip(extent).kind {
            ExprKind::Int { value, .. } if *value > 0 => shape.push(usize::try_from(*value).ok()?),
            _ => {
                diags.push(Diagnostic::error(
                    Code::Size,
                    extent.span,
                    "the extents of a constant are positive integer literals",
                ));
                return None;
            }
        }
    }
    let count = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    if count.is_none_or(|n| n > MAX_ELEMENTS) {
        diags.push(Diagnostic::error(
            Code::Size,
            item.ty.span,
            format!("a constant has at most {MAX_ELEMENTS} elements"),
        ));
        return None;
    }
    let mut data = Vec::new();
    fill(&item.value, &shape, dtype, &mut data, diags)?;
    Some(Table { name: item.name.name.clone(), dtype, shape, data })
}

fn fill(
    e: &Expr,
    shape: &[usize],
    dtype: DType,
    data: &mut Vec<Scalar>,
    diags: &mut Vec<Diagnostic>,
) -> Option<()> {
    let e = strip(e);
    let Some((&extent, inner)) = shape.split_first() else {
        let value = literal(e, dtype, diags)?;
        data.push(value);
        return Some(());
    };
    let ExprKind::Array(items) = &e.kind else {
        if !matches!(e.kind, ExprKind::Error) {
            diags.push(Diagnostic::error(Code::Arguments, e.span, format!("a list of {extent} is needed")));
        }
        return None;
    };
    if items.len() != extent {
        diags.push(Diagnostic::error(
            Code::Arguments,
            e.span,
            format!("{} elements, where the type says {extent}", items.len()),
        ));
        return None;
    }
    let mut good = true;
    for item in items {
        good &= fill(item, inner, dtype, data, diags).is_some();
    }
    good.then_some(())
}

fn literal(e: &Expr, dtype: DType, diags: &mut Vec<Diagnostic>) -> Option<Scalar> {
    let (negative, inner) = match &e.kind {
        ExprKind::Unary(UnaryOp::Neg, inner) => (true, strip(inner)),
        _ => (false, e),
    };
    let mut wrong = |message: String, help: Option<String>| {
        let mut diagnostic = Diagnostic::error(Code::TypeMismatch, e.span, message);
        diagnostic.help = help;
        diags.push(diagnostic);
        None
    };
    match &inner.kind {
        ExprKind::Int { value, .. } => {
            let wide = if negative { -i128::from(*value) } else { i128::from(*value) };
            let Some((lo, hi)) = dtype.int_range() else {
                return wrong(
                    format!("an integer, where `{dtype}` is needed"),
                    dtype.is_float().then(|| format!("write `{wide}.0`")),
                );
            };
            if !(lo..=hi).contains(&wide) {
                return wrong(format!("{wide} does not fit `{dtype}`"), None);
            }
            #[expect(clippy::cast_possible_truncation, reason = "u64 keeps its two's complement bits")]
            Some(Scalar::Int(wide as i64).cast(dtype))
        }
        ExprKind::Float { value, .. } if dtype.is_float() || dtype.is_complex() => {
            Some(Scalar::Float(if negative { -value } else { *value }).cast(dtype))
        }
        ExprKind::Name(n) if n == "inf" && dtype.is_float() => {
            Some(Scalar::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }).cast(dtype))
        }
        ExprKind::Bool(b) if dtype == DType::Bool && !negative => Some(Scalar::Bool(*b)),
        ExprKind::Cast(to, a) if !negative && *to == dtype => {
            // `u32(0x85EBCA6B)`: the type said twice.
            literal(strip(a), dtype, diags)
        }
        ExprKind::Error => None,
        _ => wrong(format!("a literal of type `{dtype}` is needed"), None),
    }
}

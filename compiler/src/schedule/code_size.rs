//! How much code a nest becomes: blocks are written out, so a few large ones multiply.

use std::collections::BTreeSet;

use super::form::Form;
use crate::diag::{Code, Diagnostic, Span};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, LoopKind, Nest, Stmt};
use crate::nest::verify::threads;

/// Most operations that the blocks of a kernel may become. Generous: what runs fast has some thousands.
const MOST: u64 = 16_000;

/// Operations of a function like `exp`.
const FUNCTION: u64 = 30;

/// Operations of an exchange between threads, where the device has no instruction for it.
const EXCHANGE: u64 = 50;

/// Refuses a nest whose blocks become more code than anybody wants to wait for, where one instruction serves so many
/// lanes.
///
/// # Errors
/// E0504.
pub(crate) fn check(form: &Form, nest: &Nest, lanes: u64) -> Result<(), Diagnostic> {
    check_nest(&form.func.name, form.func.span, nest, lanes)
}

/// As [`check`], of a nest of that name.
///
/// # Errors
/// E0504.
pub(crate) fn check_nest(name: &str, span: Span, nest: &Nest, lanes: u64) -> Result<(), Diagnostic> {
    let operations = nest.phases.iter().map(|p| block(nest, &p.body, 1, lanes)).fold(0, u64::saturating_add);
    if operations <= MOST {
        return Ok(());
    }
    let message = format!("the blocks of `{name}` become {operations} operations, of at most {MOST}");
    Err(Diagnostic::error(Code::Illegal, span, message)
        .help("use smaller `unroll` and `vector` counts, or along fewer axes"))
}

/// What the blocks of a list add, if it is written out `times` over: every copy of a statement but the first.
fn block(nest: &Nest, stmts: &[Stmt], times: u64, lanes: u64) -> u64 {
    let mut added = 0u64;
    for stmt in stmts {
        let (mut seen, mut own) = (BTreeSet::new(), 1);
        stmt.for_each_expr(|e| own += operators(nest, e, &mut seen));
        added = added.saturating_add(own.saturating_mul(times - 1));
        let times = times.saturating_mul(copies(nest, stmt, lanes));
        for inner in stmt.blocks() {
            added = added.saturating_add(block(nest, inner, times, lanes));
        }
    }
    added
}

/// How many times over the body of a statement is written out.
fn copies(nest: &Nest, stmt: &Stmt, lanes: u64) -> u64 {
    let Stmt::Loop { lo, hi, step, kind, .. } = stmt else { return 1 };
    if !kind.is_written_out() {
        return 1;
    }
    let (Some(lo), Some(hi)) = (nest.const_int(*lo), nest.const_int(*hi)) else { return 1 };
    let passes = u64::try_from(hi.saturating_sub(lo)).unwrap_or(0).div_ceil(step.unsigned_abs().max(1));
    if *kind == LoopKind::Lanes { passes.div_ceil(lanes.max(1)) } else { passes }.max(1)
}

/// Operations of an expression, those that were seen before not counted again.
fn operators(nest: &Nest, e: ExprId, seen: &mut BTreeSet<ExprId>) -> u64 {
    let expr = &nest.exprs[e];
    let own = match expr.kind {
        ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::Size(_) | ExprKind::Param(_) => return 0,
        ExprKind::Math(..) | ExprKind::Binary(BinaryOp::Pow, ..) => FUNCTION,
        ExprKind::Load { buffer, ref index } if threads::is_exchange(nest, buffer, index) => EXCHANGE,
        _ => 1,
    };
    if !seen.insert(e) {
        return 0;
    }
    let mut total = own;
    expr.for_each_operand(|x| total += operators(nest, x, seen));
    total
}

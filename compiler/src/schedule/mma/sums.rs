//! Sums of products, and the names that they go by.

use rooftile_artifact::DType;

use crate::hir::ir::{BinaryOp, ExprId, ExprKind, ReduceOp, ValueId};
use crate::schedule::access::{Object, reads_of};
use crate::schedule::form::{Action, Form, Item, StmtId};
use crate::schedule::normal;
use crate::schedule::split::PART;

/// Values and tensors that are sums of products: what `mma` may name.
pub(crate) fn names(form: &Form) -> Vec<String> {
    let live = live(form);
    let mut out: Vec<String> = Vec::new();
    for sum in live.iter().copied().filter(|s| factors(form, *s).is_some()) {
        let Some(value) = form.stmts[sum].action.written_value() else { continue };
        let own = &form.func.values[value].name;
        let name = if normal::is_unnamed_sum(own) {
            let reads = |s: &&StmtId| sums_read(form, &form.stmts[**s].action).contains(&value);
            live.iter().find(reads).and_then(|s| target(form, &form.stmts[*s].action))
        } else {
            Some(own.strip_suffix(PART).unwrap_or(own))
        };
        if let Some(name) = name.filter(|n| !out.iter().any(|o| o == n)) {
            out.push(name.to_owned());
        }
    }
    out
}

/// The statements that add up what a name stands for: a value, or what a value or tensor is set to.
pub(super) fn sums_of(form: &Form, name: &str) -> Vec<StmtId> {
    let live = live(form);
    let mut values: Vec<ValueId> = Vec::new();
    for action in live.iter().map(|s| &form.stmts[*s].action) {
        if target(form, action) == Some(name) {
            values.extend(sums_read(form, action));
        }
    }
    let is_named = |v: ValueId| {
        let own = &form.func.values[v].name;
        own == name || own.strip_suffix(PART) == Some(name) || values.contains(&v)
    };
    let sums = |s: &StmtId| form.stmts[*s].action.written_value().is_some_and(is_named);
    live.into_iter().filter(|s| sums(s) && factors(form, *s).is_some()).collect()
}

/// What a statement sets, by its name.
fn target<'a>(form: &'a Form, action: &Action) -> Option<&'a str> {
    match action {
        Action::Set { value, index: None, .. } => Some(&form.func.values[*value].name),
        Action::Store { tensor, .. } => Some(&form.func.tensors[*tensor].name),
        _ => None,
    }
}

/// The sums without a name of their own that a statement reads.
fn sums_read(form: &Form, action: &Action) -> Vec<ValueId> {
    let sum = |object: &Object| match object {
        Object::Value(v) if normal::is_unnamed_sum(&form.func.values[*v].name) => Some(*v),
        _ => None,
    };
    reads_of(form, action).iter().filter_map(|a| sum(&a.object)).collect()
}

/// The statements that run; others were rewritten.
pub(super) fn live(form: &Form) -> Vec<StmtId> {
    form.items.iter().flat_map(Item::stmts).collect()
}

/// The two factors of a sum of products.
pub(crate) fn factors(form: &Form, sum: StmtId) -> Option<[ExprId; 2]> {
    let Action::Accumulate { op, args, guard: None, .. } = &form.stmts[sum].action else { return None };
    match (op, &args[..]) {
        (ReduceOp::Dot, [a, b]) => Some([*a, *b]),
        (ReduceOp::Sum, [e]) => match form.func.exprs[*e].kind {
            ExprKind::Binary(BinaryOp::Mul, a, b) => Some([a, b]),
            _ => None,
        },
        _ => None,
    }
}

/// A factor as it was before it was widened.
pub(super) fn narrow(form: &Form, mut e: ExprId) -> ExprId {
    while let ExprKind::Cast(inner) = form.func.exprs[e].kind
        && widens(form.func.exprs[inner].dtype, form.func.exprs[e].dtype)
    {
        e = inner;
    }
    e
}

/// Whether every number of a type is one of the other.
fn widens(from: DType, to: DType) -> bool {
    match (from.is_int(), to.is_int()) {
        (true, true) => (to.is_signed_int() || !from.is_signed_int()) && from.size() < to.size(),
        (false, false) => from.is_float() && to.is_float() && from.size() < to.size(),
        _ => false,
    }
}

//! `table(f)`: calls of a function whose operands depend on nothing but counters and axes that the host knows are made
//! once for all their values, ahead of everything, and read from memory.
//!
//! ```text
//! for r { seq s { for q { .. cis(e(s, q)) .. } } }
//!   =>  for s' { for q' { t[s', q'] = cis(e(s', q')) } }  for r { seq s { for q { .. t[s, q] .. } } }
//! ```

use std::collections::BTreeMap;

use super::bounds;
use super::form::{Action, Form, Item, StmtId, operands};
use super::inline::single_set;
use crate::hir::ir::{Axis, AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Function, UnaryOp, ValueId};
use crate::hir::print::function_name;
use rooftile_artifact::DType;

/// What takes much longer to compute than to read.
pub(crate) const DEAR: [Function; 17] = [
    Function::Exp,
    Function::Exp2,
    Function::Log,
    Function::Log2,
    Function::Log1p,
    Function::Expm1,
    Function::Sin,
    Function::Cos,
    Function::Tan,
    Function::Tanh,
    Function::Pow,
    Function::Cis,
    Function::Sigmoid,
    Function::Erf,
    Function::Erfc,
    Function::Rsqrt,
    Function::Bitrev,
];

/// Calls that tables can stand for, in a kernel.
pub(crate) struct Calls {
    /// Each with the axes and counters that it depends on, from the outside in.
    found: BTreeMap<ExprId, (Call, StmtId)>,
}

/// A call with everything that it reads written into it.
struct Call {
    function: Function,
    expr: ExprId,
    axes: Vec<AxisId>,
}

impl Calls {
    /// Those of one function, or of all.
    pub(crate) fn of(form: &mut Form, function: Option<&str>) -> Calls {
        let mut finder = Finder { function, around: Vec::new(), calls: Calls { found: BTreeMap::new() } };
        let items = form.items.clone();
        finder.items(form, &items);
        finder.calls
    }

    /// The functions that are called.
    pub(crate) fn functions(&self) -> Vec<&'static str> {
        let mut all: Vec<_> = self.found.values().map(|(c, _)| function_name(c.function)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Dear functions that are called again and again for the same operands, along a long axis.
    pub(crate) fn repeated(&self, form: &Form, is_long: impl Fn(AxisId) -> bool) -> Vec<&'static str> {
        let again = |(call, s): &&(Call, StmtId)| {
            DEAR.contains(&call.function)
                && form.stmts[*s].axes.iter().any(|a| is_long(*a) && !call.axes.contains(a))
        };
        let mut all: Vec<_> =
            self.found.values().filter(again).map(|(c, _)| function_name(c.function)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Makes the tables of a function's calls, as far as they can stand for them. Gives the innermost axis of each.
pub(crate) fn tables(form: &mut Form, function: &str) -> Vec<AxisId> {
    let calls = Calls::of(form, Some(function));
    let mut made: Vec<(ExprId, ValueId)> = Vec::new();
    let mut reads: BTreeMap<ExprId, ExprId> = BTreeMap::new();
    let mut inner = Vec::new();
    let mut fills = Vec::new();
    for (at, (call, _)) in &calls.found {
        let span = form.func.exprs[*at].span;
        let known = made.iter().find(|(e, _)| bounds::same(form, *e, call.expr)).map(|(_, v)| *v);
        let table = known.unwrap_or_else(|| {
            let own: Vec<AxisId> = call.axes.iter().map(|a| own_axis(form, *a)).collect();
            let expr = renamed(form, call.expr, &call.axes, &own);
            let dtype = form.func.exprs[expr].dtype;
            let table = form.value(&format!("{function}.table"), dtype, own.clone(), span);
            inner.extend(own.last());
            fills.push(form.stmt(Action::Set { value: table, index: None, expr }, own, span));
            made.push((call.expr, table));
            table
        });
        let index = call.axes.iter().map(|a| form.expr(ExprKind::Axis(*a), DType::I64, span)).collect();
        let dtype = form.func.exprs[*at].dtype;
        let read = form.expr(ExprKind::ValueAt(table, index), dtype, span);
        reads.insert(*at, read);
    }
    let stmts: Vec<StmtId> = form.items.iter().flat_map(Item::stmts).collect();
    for s in stmts {
        let mut action = form.stmts[s].action.clone();
        let mut memo = reads.clone();
        action.map_exprs(|e| form.rewrite(e, &mut memo, &mut |_, _| None));
        form.stmts[s].action = action;
    }
    form.items.splice(0..0, fills.into_iter().map(Item::Stmt));
    inner
}

/// An axis with the values of another, or of a counter.
fn own_axis(form: &mut Form, of: AxisId) -> AxisId {
    let Axis { name, lo, hi, span, .. } = form.func.axes[of].clone();
    let kind = AxisKind::With;
    let axis =
        form.func.axes.push(Axis { name: format!("{name}.all"), kind, lo, hi, parents: Vec::new(), span });
    form.order.push(axis);
    axis
}

fn renamed(form: &mut Form, e: ExprId, from: &[AxisId], to: &[AxisId]) -> ExprId {
    let mut memo = BTreeMap::new();
    form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| {
        let ExprKind::Axis(a) = f.func.exprs[x].kind else { return None };
        let n = from.iter().position(|b| *b == a)?;
        let span = f.func.exprs[x].span;
        Some(f.expr(ExprKind::Axis(to[n]), DType::I64, span))
    })
}

struct Finder<'a> {
    function: Option<&'a str>,
    /// Counters of the sequences around.
    around: Vec<AxisId>,
    calls: Calls,
}

impl Finder<'_> {
    fn items(&mut self, form: &mut Form, items: &[Item]) {
        for item in items {
            match item {
                Item::Stmt(s) => {
                    let action = form.stmts[*s].action.clone();
                    if !matches!(action, Action::Accumulate { guard: Some(_), .. } | Action::Append { .. }) {
                        action.exprs().into_iter().for_each(|e| self.calls_in(form, *s, e));
                    }
                }
                Item::Seq { axis, body, .. } => {
                    self.around.push(*axis);
                    self.items(form, body);
                    self.around.pop();
                }
                // Only what is evaluated at every point.
                Item::If { .. } => {}
            }
        }
    }

    /// The outermost calls below an expression.
    fn calls_in(&mut self, form: &mut Form, s: StmtId, e: ExprId) {
        if let ExprKind::Call(function, _) = form.func.exprs[e].kind
            && self.function.is_none_or(|name| function_name(function) == name)
            && let Some(expr) = self.whole(form, e)
        {
            let mut axes = Vec::new();
            if known_axes(form, expr, &mut axes) && !axes.is_empty() {
                let counters = |a: &AxisId| form.is_dimension(*a) || self.around.contains(a);
                if axes.iter().all(counters) {
                    let place = |a: &AxisId| {
                        let counter = self.around.iter().position(|x| x == a);
                        let nest = form.order.iter().position(|o| o == a);
                        (form.is_dimension(*a), counter.or(nest).unwrap_or(usize::MAX), *a)
                    };
                    axes.sort_by_key(place);
                    self.calls.found.insert(e, (Call { function, expr, axes }, s));
                    return;
                }
            }
        }
        let inside = match &form.func.exprs[e].kind {
            ExprKind::Select(c, ..) => vec![*c],
            ExprKind::Binary(BinaryOp::And | BinaryOp::Or, a, _) => vec![*a],
            kind => operands(kind),
        };
        inside.into_iter().for_each(|x| self.calls_in(form, s, x));
    }

    /// An expression with values that are set once in its place.
    fn whole(&self, form: &mut Form, e: ExprId) -> Option<ExprId> {
        let mut memo = BTreeMap::new();
        let mut e = e;
        // Each turn writes out one layer of values.
        for _ in 0..8 {
            let new = form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| match f.func.exprs[x].kind {
                ExprKind::Value(v) => single_set(f, v).map(|(_, expr)| expr),
                _ => None,
            });
            if new == e {
                return Some(e);
            }
            e = new;
            memo.clear();
        }
        None
    }
}

/// Collects the axes and counters below an expression. `false` where it depends on anything else but sizes, scalars and
/// literals, where the host does not know the axes' ends, or where it may be without meaning at points that nobody asks for.
fn known_axes(form: &Form, e: ExprId, out: &mut Vec<AxisId>) -> bool {
    let expr = &form.func.exprs[e];
    let own = match &expr.kind {
        ExprKind::Axis(a) => {
            let axis = &form.func.axes[*a];
            let known = !matches!(axis.kind, AxisKind::Repeat)
                && is_size(form, axis.lo)
                && is_size(form, axis.hi)
                && !form.cuts.contains_key(a);
            if !out.contains(a) {
                out.push(*a);
            }
            known
        }
        ExprKind::Const(_) | ExprKind::Size(_) | ExprKind::Scalar(_) => true,
        ExprKind::Binary(BinaryOp::Div | BinaryOp::Rem, _, b) if expr.dtype.is_int() => {
            bounds::literal(form, *b).is_some_and(|n| n > 0)
        }
        ExprKind::Unary(..)
        | ExprKind::Binary(..)
        | ExprKind::Select(..)
        | ExprKind::Cast(_)
        | ExprKind::Call(..) => true,
        ExprKind::Value(_)
        | ExprKind::ValueAt(..)
        | ExprKind::Load { .. }
        | ExprKind::Table { .. }
        | ExprKind::Reduce { .. }
        | ExprKind::Scan { .. } => false,
    };
    own && operands(&expr.kind).into_iter().all(|x| known_axes(form, x, out))
}

/// Whether an expression is made of sizes and scalars by what the host knows of a nest.
fn is_size(form: &Form, e: ExprId) -> bool {
    let kind = &form.func.exprs[e].kind;
    let own = match kind {
        ExprKind::Const(_) | ExprKind::Size(_) | ExprKind::Scalar(_) | ExprKind::Cast(_) => true,
        ExprKind::Unary(UnaryOp::Neg, _) | ExprKind::Binary(..) | ExprKind::Select(..) => true,
        ExprKind::Call(f, _) => matches!(f, Function::Min | Function::Max | Function::Ilog2),
        _ => false,
    };
    own && form.func.exprs[e].dtype == DType::I64 && operands(kind).into_iter().all(|x| is_size(form, x))
}

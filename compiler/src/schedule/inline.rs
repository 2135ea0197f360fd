//! `recompute(x)`: a value's expression stands at each use instead of the value.
//!
//! ```text
//! let x = e;  .. x .. x ..   =>   .. e .. e ..
//! ```

use std::collections::BTreeMap;

use super::access::{Accesses, Object};
use super::form::{Action, Form, Item, StmtId};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{ExprId, ExprKind, ValueId};

/// Writes a value's expression at each of its uses.
///
/// # Errors
/// E0504 when the value is written more than once, used at other points, or reads what changes later.
pub(crate) fn recompute(form: &mut Form, name: &str) -> Result<(), Diagnostic> {
    let values: Vec<ValueId> =
        form.func.values.handles().filter(|v| form.func.values[*v].name == name).collect();
    for v in values {
        let span = form.func.values[v].span;
        let refuse = |why: &str| {
            Diagnostic::error(Code::Illegal, span, format!("`{name}` cannot be computed again: {why}"))
        };
        let Some((at, expr)) = single_set(form, v) else {
            return Err(refuse("it is accumulated or written more than once"));
        };
        let accesses = Accesses::new(form);
        let all: Vec<StmtId> = form.items.iter().flat_map(Item::stmts).collect();
        let position = all.iter().position(|s| *s == at).unwrap_or(0);
        let inputs: Vec<Object> = accesses.of(at).iter().filter(|a| !a.write).map(|a| a.object).collect();
        let in_seq = form.items.iter().any(|i| !matches!(i, Item::Stmt(_)) && i.stmts().contains(&at));
        let changes = all.iter().enumerate().any(|(n, s)| {
            (n > position || in_seq) && accesses.of(*s).iter().any(|a| a.write && inputs.contains(&a.object))
        });
        if changes {
            return Err(refuse("what it reads changes later"));
        }
        let elsewhere =
            form.func.exprs.iter().any(|(_, e)| matches!(&e.kind, ExprKind::ValueAt(x, _) if *x == v));
        let bound = form.func.axes.iter().any(|(_, a)| {
            let mut found = Vec::new();
            let mut seen = std::collections::BTreeSet::new();
            super::access::reads(form, a.lo, &mut seen, &mut found);
            super::access::reads(form, a.hi, &mut seen, &mut found);
            found.iter().any(|x| x.object == Object::Value(v))
        });
        if bound {
            return Err(refuse("the extent of an axis depends on it"));
        }
        if elsewhere {
            return Err(refuse("it is used at other points than its own"));
        }
        let users: Vec<StmtId> = form.stmts.handles().filter(|s| *s != at).collect();
        for s in users {
            let mut action = form.stmts[s].action.clone();
            let mut memo = BTreeMap::new();
            action.map_exprs(|e| {
                form.rewrite(e, &mut memo, &mut |f: &mut Form, x: ExprId| match f.func.exprs[x].kind {
                    ExprKind::Value(y) if y == v => Some(expr),
                    _ => None,
                })
            });
            form.stmts[s].action = action;
        }
        form.replace_stmts(&mut |_, s| (s == at).then(Vec::new));
    }
    Ok(())
}

/// The statement that sets a value, and to what, where it is the only one that writes it.
pub(super) fn single_set(form: &Form, v: ValueId) -> Option<(StmtId, ExprId)> {
    let mut found = None;
    for (id, s) in form.stmts.iter() {
        let also = matches!(&s.action, Action::Best { at, .. } if *at == v)
            || matches!(&s.action, Action::Scan { run, .. } if *run == v);
        if also || s.action.written_value() == Some(v) {
            match &s.action {
                Action::Set { index: None, expr, .. } if found.is_none() => found = Some((id, *expr)),
                _ => return None,
            }
        }
    }
    found
}

//! Rule: an `out` is written whole.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::abs::Abs;
use super::prove::Prover;
use super::space::{Relevant, Space};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AssignOp, AxisId, ExprId, ExprKind, Func, FuncKind, Role, Stmt, StmtKind, TensorId};
use crate::hir::walk;

const BUDGET: usize = 60_000;

struct Write {
    tensor: TensorId,
    index: Vec<ExprId>,
    op: AssignOp,
    /// Conditions around it.
    conds: Vec<(ExprId, bool)>,
}

/// Checks every `out` of a kernel.
pub(super) fn check(space: &Space<'_>, diags: &mut Vec<Diagnostic>) {
    let func = space.func;
    if func.kind != FuncKind::Kernel {
        return;
    }
    let mut early = Early { func, written: Vec::new(), found: Vec::new() };
    early.body(&func.body);
    for (t, span) in early.found {
        let tensor = &func.tensors[t];
        let message = format!("`{}` is `out`, and nothing has written it yet", tensor.name);
        diags.push(
            Diagnostic::error(Code::PartlyWritten, span, message)
                .cause(tensor.span, "declared here")
                .help("declare it `inout` to read what was there"),
        );
    }
    let mut writes = Vec::new();
    let mut appended = Vec::new();
    gather(&func.body, &mut Vec::new(), &mut writes, &mut appended);
    for (t, tensor) in func.tensors.iter() {
        if tensor.role != Role::Out || appended.contains(&t) {
            continue;
        }
        let sets: Vec<&Write> = writes.iter().filter(|w| w.tensor == t && w.op == AssignOp::Set).collect();
        let name = &tensor.name;
        if sets.is_empty() {
            let accumulated = writes.iter().any(|w| w.tensor == t);
            let message = if accumulated {
                format!("`{name}` is `out`, so it has no first value to accumulate into")
            } else {
                format!("`{name}` is `out`, but nothing writes it")
            };
            diags.push(
                Diagnostic::error(Code::PartlyWritten, tensor.span, message)
                    .help("declare it `inout`, or write every element with `=`"),
            );
            continue;
        }
        let mut prover = Prover::new(space);
        if sets.iter().any(|w| whole(space, &mut prover, w)) {
            continue;
        }
        if let Some((at, place)) = hole(space, t, &sets) {
            let at: Vec<String> = at.iter().map(ToString::to_string).collect();
            diags.push(
                Diagnostic::error(
                    Code::PartlyWritten,
                    tensor.span,
                    format!("`{name}` is `out`, but `{name}[{}]` is not written {place}", at.join(",")),
                )
                .help("write it whole, or declare it `inout`"),
            );
        }
    }
}

/// Finds reads of an `out` before its first write, in order of the text.
struct Early<'a> {
    func: &'a Func,
    written: Vec<TensorId>,
    found: Vec<(TensorId, Span)>,
}

impl Early<'_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            walk::stmt_exprs(stmt, |root| {
                walk::for_each_expr(self.func, root, |_, e| {
                    if let ExprKind::Load { tensor, .. } = e.kind
                        && self.func.tensors[tensor].role == Role::Out
                        && !self.written.contains(&tensor)
                        && self.found.iter().all(|(t, _)| *t != tensor)
                    {
                        self.found.push((tensor, e.span));
                    }
                });
            });
            match &stmt.kind {
                StmtKind::Store { tensor, .. } => self.written.push(*tensor),
                StmtKind::Append { list, .. } => self.written.push(*list),
                StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } => {
                    self.body(body);
                }
                StmtKind::If { then, otherwise, .. } => {
                    self.body(then);
                    self.body(otherwise);
                }
                _ => {}
            }
        }
    }
}

fn gather(
    body: &[Stmt],
    conds: &mut Vec<(ExprId, bool)>,
    writes: &mut Vec<Write>,
    appended: &mut Vec<TensorId>,
) {
    for stmt in body {
        match &stmt.kind {
            StmtKind::Store { tensor, index, op, .. } => {
                writes.push(Write { tensor: *tensor, index: index.clone(), op: *op, conds: conds.clone() });
            }
            StmtKind::Append { list, .. } => appended.push(*list),
            StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } => {
                gather(body, conds, writes, appended);
            }
            StmtKind::If { cond, then, otherwise } => {
                conds.push((*cond, true));
                gather(then, conds, writes, appended);
                conds.pop();
                conds.push((*cond, false));
                gather(otherwise, conds, writes, appended);
                conds.pop();
            }
            _ => {}
        }
    }
}

/// Whether a store writes every element, for all sizes: each dimension is an axis of its own that runs over it.
fn whole(space: &Space<'_>, prover: &mut Prover<'_>, write: &Write) -> bool {
    let func = space.func;
    let mut seen: Vec<AxisId> = Vec::new();
    write.conds.is_empty()
        && write.index.iter().enumerate().all(|(dim, &e)| {
            let ExprKind::Axis(a) = func.exprs[e].kind else { return false };
            if seen.contains(&a) {
                return false;
            }
            seen.push(a);
            let axis = &func.axes[a];
            let from_zero = func.exprs[axis.lo].kind == ExprKind::Const(rooftile_artifact::Scalar::Int(0));
            from_zero
                && axis.parents.is_empty()
                && prover.equal(axis.hi, func.tensors[write.tensor].shape[dim])
        })
}

/// An element that no store writes at some small size.
fn hole(space: &Space<'_>, t: TensorId, writes: &[&Write]) -> Option<(Vec<i64>, String)> {
    let func = space.func;
    let shape = &func.tensors[t].shape;
    let mut roots: Vec<ExprId> = shape.clone();
    let mut each: Vec<Relevant> = Vec::new();
    for write in writes {
        let mut own: Vec<ExprId> = write.index.clone();
        own.extend(write.conds.iter().map(|&(c, _)| c));
        each.push(space.relevant(&own));
        roots.extend(own);
    }
    let all = space.relevant(&roots);
    let mut found = None;
    space.each_setting(&all, BUDGET, &mut |eval| {
        let extents: Option<Vec<i64>> = shape.iter().map(|&e| eval.eval(e).exact()).collect();
        let Some(extents) = extents else { return ControlFlow::Break(()) };
        let count = extents.iter().try_fold(1i64, |n, &e| n.checked_mul(e)).unwrap_or(i64::MAX);
        if count > 20_000 || extents.iter().any(|&e| e < 0) {
            return ControlFlow::Continue(());
        }
        let mut written: BTreeSet<Vec<i64>> = BTreeSet::new();
        let mut unknown = false;
        for (write, relevant) in writes.iter().zip(&each) {
            let _ = space.each_point(eval, &relevant.axes, BUDGET, &mut |eval| {
                let runs = write.conds.iter().all(|&(c, want)| eval.eval(c) == Abs::Bool(Some(want)));
                let at: Option<Vec<i64>> = write.index.iter().map(|&e| eval.eval(e).exact()).collect();
                match at {
                    Some(at) if runs => {
                        written.insert(at);
                    }
                    Some(_) => {}
                    // Data say where: what they cover is not known before they are.
                    None => unknown = true,
                }
                ControlFlow::Continue(())
            });
        }
        if unknown || eval.work > BUDGET {
            return ControlFlow::Break(());
        }
        let mut at = vec![0i64; extents.len()];
        for _ in 0..count {
            if !written.contains(&at) {
                let place = space.place_text(eval, &Relevant { axes: Vec::new(), ..all.clone() });
                found = Some((at.clone(), place));
                return ControlFlow::Break(());
            }
            for d in (0..at.len()).rev() {
                at[d] += 1;
                if at[d] < extents[d] {
                    break;
                }
                at[d] = 0;
            }
        }
        ControlFlow::Continue(())
    });
    found
}

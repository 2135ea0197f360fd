//! Which axes become loops around statements.
//!
//! Results do not depend on tile sizes, so `for` and `fold` axes run one point at a time, as loops around their
//! bodies. A `with` axis joins them where every statement of the body works on its own point of it; the others stay
//! whole, and a tile value over them lives in memory.

use rooftile_artifact::HostExpr;
use rooftile_artifact::host_expr::HostBinary;

use super::facts::Facts;
use super::host::Host;
use super::{R, unsupported};
use crate::diag::Span;
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, ExprId, ExprKind, File, Func, ReduceOp, Stmt, StmtKind, StoreKind, TensorId,
};
use crate::hir::walk::operands;

/// A set of axes.
pub(super) type Axes = u128;

/// A phase: some statements of the top level.
pub(super) struct PhasePlan {
    /// Range of statements of the body.
    pub(super) from: usize,
    pub(super) to: usize,
    /// The axis whose points are the chunks; none where the phase is one chunk.
    pub(super) parallel: Option<AxisId>,
    pub(super) chunks: HostExpr,
}

/// The decisions for one function.
pub(super) struct Plan {
    /// By axis: whether it is a loop around statements.
    pub(super) point: Vec<bool>,
    /// By expression: axes, among those that stay whole, that it varies along.
    pub(super) deps: Vec<Axes>,
    /// By expression: whether it reads data, so that an index made of it is to be checked.
    pub(super) data: Vec<bool>,
    /// By axis: whether a store along it keeps a row of running reductions, see [`row_reductions`].
    pub(super) row: Vec<bool>,
    pub(super) phases: Vec<PhasePlan>,
}

/// The set of one axis.
pub(super) fn bit(axis: AxisId) -> Axes {
    1 << axis.index()
}

/// The set of some axes.
pub(super) fn set(axes: &[AxisId]) -> Axes {
    axes.iter().fold(0, |s, &a| s | bit(a))
}

impl Plan {
    pub(super) fn new(file: &File, func: &Func) -> R<Plan> {
        if func.axes.len() > 128 {
            return unsupported("more than 128 axes", func.span);
        }
        let looped = |k: &AxisKind| {
            matches!(k, AxisKind::For(_) | AxisKind::Fold(_) | AxisKind::Seq | AxisKind::Repeat)
        };
        let point = func.axes.iter().map(|(_, a)| looped(&a.kind)).collect();
        let mut plan = Plan {
            point,
            deps: vec![0; func.exprs.len()],
            data: Vec::new(),
            row: vec![false; func.axes.len()],
            phases: Vec::new(),
        };
        plan.promote_in(file, func, &func.body);
        let mut known = vec![false; func.exprs.len()];
        for id in func.exprs.handles() {
            plan.dependencies(func, id, &mut known);
        }
        plan.data = data(func);
        plan.phases = phases(file, func, &plan)?;
        Ok(plan)
    }

    fn dependencies(&mut self, func: &Func, id: ExprId, known: &mut [bool]) -> Axes {
        if known[id.index()] {
            return self.deps[id.index()];
        }
        known[id.index()] = true;
        let mut deps = 0;
        let kind = &func.exprs[id].kind;
        operands(kind, |o| deps |= self.dependencies(func, o, known));
        match kind {
            ExprKind::Axis(a) => deps |= bit(*a),
            ExprKind::Value(v) => deps |= set(&func.values[*v].axes),
            ExprKind::ValueAt(..) => {}
            ExprKind::Scan { axis, .. } => deps |= bit(*axis) | self.bounds_of(func, *axis, known),
            ExprKind::Reduce { axes, .. } => {
                for &a in axes {
                    deps |= self.bounds_of(func, a, known);
                }
                deps &= !set(axes);
            }
            _ => {}
        }
        for (a, _) in func.axes.iter().filter(|(a, _)| self.point[a.index()]) {
            deps &= !bit(a);
        }
        self.deps[id.index()] = deps;
        deps
    }

    fn bounds_of(&mut self, func: &Func, axis: AxisId, known: &mut [bool]) -> Axes {
        let a = &func.axes[axis];
        self.dependencies(func, a.lo, known) | self.dependencies(func, a.hi, known)
    }

    /// Decides about the `with` axes of every loop in `body`.
    fn promote_in(&mut self, file: &File, func: &Func, body: &[Stmt]) {
        for stmt in body {
            match &stmt.kind {
                StmtKind::For { with, body, .. } => {
                    let mut facts = Facts { func, blocked: 0, loads: Vec::new(), stores: Vec::new() };
                    facts.body(body, set(with));
                    let clash = facts.stores.iter().any(|(t, index)| {
                        facts.loads.iter().any(|(u, other)| t == u && !same_index(func, index, other))
                    });
                    if !clash {
                        for a in with.iter().filter(|&&a| facts.blocked & bit(a) == 0) {
                            // Its bounds must be known where the loop starts.
                            let parents = &func.axes[*a].parents;
                            self.point[a.index()] = parents.iter().all(|p| self.point[p.index()]);
                        }
                        self.keep_row(file, func, with, body);
                    }
                    self.promote_in(file, func, body);
                }
                StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } | StmtKind::Repeat { body, .. } => {
                    self.promote_in(file, func, body);
                }
                StmtKind::If { then, otherwise, .. } => {
                    self.promote_in(file, func, then);
                    self.promote_in(file, func, otherwise);
                }
                _ => {}
            }
        }
    }
}

impl Plan {
    /// Takes the last promoted axis back where a single store reduces columns along it: the reduction then runs
    /// outside, over rows that lie together in memory.
    fn keep_row(&mut self, file: &File, func: &Func, with: &[AxisId], body: &[Stmt]) {
        let host = Host { file, func, steps: Vec::new() };
        let Some(&axis) = with.iter().rfind(|a| self.point[a.index()]) else { return };
        let [Stmt { kind: StmtKind::Store { index, op: AssignOp::Set, expr, tensor, .. }, .. }] = body else {
            return;
        };
        let a = &func.axes[axis];
        let needed = with.iter().any(|w| func.axes[*w].parents.contains(&axis));
        let known = host.bounds(a.lo).is_some() && host.bounds(a.hi).is_some();
        let staged = reads_elsewhere(func, *tensor, index, *expr, AssignOp::Set);
        if !needed && known && !staged && !row_reductions(func, *expr, axis).is_empty() {
            self.point[axis.index()] = false;
            self.row[axis.index()] = true;
        }
    }
}

/// Reductions that every point needs and that read along `axis` what lies together in memory, while their own axes
/// jump: one for all points of `axis` at a time touches each line of memory once.
pub(super) fn row_reductions(func: &Func, expr: ExprId, axis: AxisId) -> Vec<ExprId> {
    let uses = |e: ExprId, a: AxisId| func.exprs[e].axes.contains(&a);
    let mut out = Vec::new();
    let mut stack = vec![expr];
    while let Some(id) = stack.pop() {
        match &func.exprs[id].kind {
            ExprKind::Select(c, ..) => stack.push(*c),
            ExprKind::Binary(_, a, _) if func.exprs[*a].dtype == rooftile_artifact::DType::Bool => {
                stack.push(*a)
            }
            ExprKind::Reduce { op, axes, args } => {
                let fixed = |&r: &AxisId| {
                    let b = &func.axes[r];
                    let whole = matches!(b.kind, AxisKind::Bind | AxisKind::With);
                    whole && !uses(b.lo, axis) && !uses(b.hi, axis)
                };
                let steps = !matches!(op, ReduceOp::Argmax | ReduceOp::Argmin);
                let mut together = false;
                for &arg in args {
                    walk(func, arg, &mut |_, kind| {
                        let ExprKind::Load { index, .. } = kind else { return };
                        let Some((&last, outer)) = index.split_last() else { return };
                        let jumps = outer.iter().any(|&e| axes.iter().any(|&r| uses(e, r)));
                        together |= jumps && uses(last, axis) && !axes.iter().any(|&r| uses(last, r));
                    });
                }
                if steps && together && axes.iter().all(fixed) && !out.contains(&id) {
                    out.push(id);
                }
            }
            ExprKind::Scan { .. } => {}
            kind => operands(kind, |o| stack.push(o)),
        }
    }
    out
}

/// Whether the expression is that axis.
pub(super) fn is_axis(func: &Func, e: ExprId, axis: AxisId) -> bool {
    matches!(func.exprs[e].kind, ExprKind::Axis(a) if a == axis)
}

/// Calls `visit` on every expression that `id` is made of, bounds of reduced axes included, each once.
pub(super) fn walk<'a>(func: &'a Func, id: ExprId, visit: &mut dyn FnMut(ExprId, &'a ExprKind)) {
    let mut seen = vec![false; func.exprs.len()];
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let kind = &func.exprs[id].kind;
        visit(id, kind);
        operands(kind, |o| stack.push(o));
        let axes: &[AxisId] = match kind {
            ExprKind::Reduce { axes, .. } => axes,
            ExprKind::Scan { axis, .. } => std::slice::from_ref(axis),
            _ => &[],
        };
        for &a in axes {
            stack.extend([func.axes[a].lo, func.axes[a].hi]);
        }
    }
}

pub(super) fn reduces(func: &Func, id: ExprId) -> bool {
    let mut found = false;
    walk(func, id, &mut |_, kind| found |= matches!(kind, ExprKind::Reduce { .. } | ExprKind::Scan { .. }));
    found
}

/// Whether two index lists are written the same.
pub(super) fn same_index(func: &Func, a: &[ExprId], b: &[ExprId]) -> bool {
    a.len() == b.len() && !a.is_empty() && a.iter().zip(b).all(|(&a, &b)| same(func, a, b, 12))
}

fn same(func: &Func, a: ExprId, b: ExprId, depth: u32) -> bool {
    if a == b {
        return true;
    }
    if depth == 0 {
        return false;
    }
    match (&func.exprs[a].kind, &func.exprs[b].kind) {
        (ExprKind::Binary(p, a, b), ExprKind::Binary(q, c, d)) => {
            p == q && same(func, *a, *c, depth - 1) && same(func, *b, *d, depth - 1)
        }
        (ExprKind::Cast(p), ExprKind::Cast(q)) => {
            func.exprs[a].dtype == func.exprs[b].dtype && same(func, *p, *q, depth - 1)
        }
        (
            p @ (ExprKind::Const(_)
            | ExprKind::Size(_)
            | ExprKind::Scalar(_)
            | ExprKind::Axis(_)
            | ExprKind::Value(_)),
            q,
        ) => p == q,
        _ => false,
    }
}

fn data(func: &Func) -> Vec<bool> {
    let mut data = vec![false; func.exprs.len()];
    // Operands precede their users.
    for (id, e) in func.exprs.iter() {
        let mut reads = matches!(
            e.kind,
            ExprKind::Load { .. } | ExprKind::Table { .. } | ExprKind::Value(_) | ExprKind::ValueAt(..)
        );
        operands(&e.kind, |o| reads |= data[o.index()] || func.exprs[o].dtype.is_float());
        data[id.index()] = reads;
    }
    data
}

fn phases(file: &File, func: &Func, plan: &Plan) -> R<Vec<PhasePlan>> {
    let one = |from, to| PhasePlan { from, to, parallel: None, chunks: 1.into() };
    let loops_only = func.body.iter().all(|s| matches!(s.kind, StmtKind::For { .. }));
    if !loops_only || func.body.is_empty() {
        return Ok(vec![one(0, func.body.len())]);
    }
    let host = Host { file, func, steps: Vec::new() };
    let phases = func.body.iter().enumerate().map(|(n, stmt)| {
        let StmtKind::For { axes, with, body } = &stmt.kind else { return one(n, n + 1) };
        let promoted = with.iter().filter(|a| plan.point[a.index()]);
        for &axis in axes.iter().chain(promoted) {
            let a = &func.axes[axis];
            if !a.parents.is_empty() || !independent(func, body, axis) {
                continue;
            }
            if let (Some(lo), Some(hi)) = (host.expr(a.lo), host.expr(a.hi)) {
                let chunks = HostExpr::binary(HostBinary::Sub, hi, lo);
                let chunks = HostExpr::binary(HostBinary::Max, chunks, 0.into());
                return PhasePlan { from: n, to: n + 1, parallel: Some(axis), chunks };
            }
        }
        one(n, n + 1)
    });
    Ok(phases.collect())
}

/// Whether points of an axis write different elements and no statement runs along it.
fn independent(func: &Func, body: &[Stmt], axis: AxisId) -> bool {
    let uses = |e: ExprId| func.exprs[e].axes.contains(&axis);
    let scans = |e: ExprId| {
        let mut found = false;
        walk(func, e, &mut |_, k| found |= matches!(k, ExprKind::Scan { axis: a, .. } if *a == axis));
        found
    };
    body.iter().all(|stmt| match &stmt.kind {
        StmtKind::Store { index, expr, kind, .. } => {
            *kind == StoreKind::Injective && index.iter().any(|&e| uses(e)) && !scans(*expr)
        }
        StmtKind::Append { .. } => false,
        StmtKind::Define { init, .. } => !scans(*init),
        StmtKind::Update { expr, .. } => !scans(*expr),
        StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } => {
            independent(func, body, axis)
        }
        StmtKind::If { then, otherwise, .. } => {
            independent(func, then, axis) && independent(func, otherwise, axis)
        }
        StmtKind::Next(_) => true,
        StmtKind::Call { .. } | StmtKind::Repeat { .. } | StmtKind::Fill { .. } | StmtKind::Copy { .. } => {
            false
        }
    })
}

/// An assignment that reads what it writes.
pub(super) fn reads_elsewhere(
    func: &Func,
    tensor: TensorId,
    index: &[ExprId],
    expr: ExprId,
    op: AssignOp,
) -> bool {
    let mut found = false;
    for &root in index.iter().chain([&expr]) {
        walk(func, root, &mut |_, kind| {
            if let ExprKind::Load { tensor: t, index: other, .. } = kind {
                found |= *t == tensor && (op != AssignOp::Set || !same_index(func, index, other));
            }
        });
    }
    found
}

/// Refuses an axis whose bounds vary along axes that are not loops around the statement.
pub(super) fn check_parents(plan: &Plan, func: &Func, axis: AxisId, span: Span) -> R<()> {
    let a = &func.axes[axis];
    if (plan.deps[a.lo.index()] | plan.deps[a.hi.index()]) == 0 {
        return Ok(());
    }
    unsupported(format!("a loop over `{}` whose bounds vary along a whole axis", a.name), span)
}

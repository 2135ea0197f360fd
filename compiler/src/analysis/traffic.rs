//! Bytes: what must be read and written at least once.

use rooftile_artifact::work::Work;

use super::domain::Domain;
use crate::hir::ir::{AssignOp, AxisId, CallArg, ExprId, ExprKind, Func, Role, Stmt, StmtKind, TensorId};

/// Bytes of a function's tensors.
#[derive(Default)]
pub(super) struct Bytes {
    pub(super) read: f64,
    pub(super) written: f64,
    /// All tensors that are used, whole.
    pub(super) touched: f64,
}

/// Bytes of a whole tensor.
pub(super) fn bytes(domain: &Domain<'_>, tensor: TensorId) -> f64 {
    domain.elements(tensor) * element(domain.func, tensor)
}

/// Bytes of one element; a part of one where elements share bytes.
fn element(func: &Func, tensor: TensorId) -> f64 {
    let tensor = &func.tensors[tensor];
    let size = tensor.dtype.size() as f64;
    if tensor.packed.is_some() { size / tensor.dtype.per_byte() as f64 } else { size }
}

/// The bytes of a kernel or reference. An element counts once, however often it is used; a tensor that is used
/// through data counts at most as many elements as there are accesses.
pub(super) fn kernel(domain: &Domain<'_>) -> Bytes {
    let func = domain.func;
    let mut uses =
        Uses { domain, read: vec![0.0; func.tensors.len()], written: vec![0.0; func.tensors.len()] };
    uses.block(&func.body);
    let mut out = Bytes::default();
    for (id, tensor) in func.tensors.iter() {
        let all = domain.elements(id);
        let (read, written) = (uses.read[id.index()].min(all), uses.written[id.index()].min(all));
        if read + written > 0.0 {
            out.touched += bytes(domain, id);
        }
        if tensor.role != Role::Buf {
            out.read += if tensor.role == Role::Out { 0.0 } else { read * element(func, id) };
            out.written += written * element(func, id);
        }
    }
    out
}

/// The bytes of a pipeline: its inputs and outputs once.
pub(super) fn pipeline(domain: &Domain<'_>, work: &mut Work) {
    let func = domain.func;
    let mut used = vec![false; func.tensors.len()];
    tensors(&func.body, &mut used);
    for (id, tensor) in func.tensors.iter().filter(|(id, _)| used[id.index()]) {
        let all = bytes(domain, id);
        work.working_set += all;
        if matches!(tensor.role, Role::In | Role::InOut) {
            work.bytes_read += all;
        }
        if matches!(tensor.role, Role::Out | Role::InOut) {
            work.bytes_written += all;
        }
    }
}

fn tensors(body: &[Stmt], used: &mut [bool]) {
    for stmt in body {
        match &stmt.kind {
            StmtKind::Call { args, .. } => {
                for arg in args {
                    if let CallArg::Tensor(view) = arg {
                        used[view.tensor.index()] = true;
                    }
                }
            }
            StmtKind::Fill { tensor, .. } => used[tensor.index()] = true,
            StmtKind::Copy { from, to } => {
                used[from.index()] = true;
                used[to.index()] = true;
            }
            StmtKind::Repeat { body, .. } => tensors(body, used),
            StmtKind::If { then, otherwise, .. } => {
                tensors(then, used);
                tensors(otherwise, used);
            }
            _ => {}
        }
    }
}

struct Uses<'d, 'a> {
    domain: &'d Domain<'a>,
    /// Accesses by tensor.
    read: Vec<f64>,
    written: Vec<f64>,
}

impl Uses<'_, '_> {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Define { init: e, .. } | StmtKind::Update { expr: e, .. } => self.expr(*e),
            StmtKind::Store { tensor, index, op, expr, .. } => {
                index.iter().chain([expr]).for_each(|&e| self.expr(e));
                let n = self.accesses(index);
                self.written[tensor.index()] += n;
                if *op != AssignOp::Set {
                    self.read[tensor.index()] += n;
                }
            }
            StmtKind::Append { list, count, key, value, pred } => {
                key.iter().chain([value]).chain(pred).for_each(|&e| self.expr(e));
                let items: Vec<ExprId> = key.iter().chain([value]).chain(pred).copied().collect();
                let n = self.accesses(&items);
                self.written[list.index()] += n;
                self.written[count.index()] += n;
                self.read[count.index()] += n;
            }
            StmtKind::For { axes, with, body } => {
                axes.iter().chain(with).for_each(|&a| self.bounds(a));
                self.block(body);
            }
            StmtKind::Seq { axis, carry, body } | StmtKind::Fold { axis, carry, body } => {
                self.bounds(*axis);
                carry.iter().for_each(|&(_, e)| self.expr(e));
                self.domain.set(*axis, None);
                self.block(body);
            }
            StmtKind::Next(items) => {
                for item in items {
                    self.expr(item.expr);
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                self.expr(*cond);
                self.block(then);
                self.block(otherwise);
            }
            StmtKind::Call { .. }
            | StmtKind::Repeat { .. }
            | StmtKind::Fill { .. }
            | StmtKind::Copy { .. } => {}
        }
    }

    fn bounds(&mut self, axis: AxisId) {
        let a = &self.domain.func.axes[axis];
        self.expr(a.lo);
        self.expr(a.hi);
    }

    /// Points of the axes of an index; counters count as axes.
    fn accesses(&self, index: &[ExprId]) -> f64 {
        let func = self.domain.func;
        let mut axes: Vec<AxisId> = index.iter().flat_map(|&e| func.exprs[e].axes.iter().copied()).collect();
        for &e in index {
            super::count::walk(func, e, &mut |kind| {
                if let ExprKind::Axis(a) = kind {
                    axes.push(*a);
                }
            });
        }
        axes.sort();
        axes.dedup();
        self.domain.points(&axes)
    }

    fn expr(&mut self, id: ExprId) {
        let func = self.domain.func;
        let mut loads = Vec::new();
        let mut axes = Vec::new();
        super::count::walk(func, id, &mut |kind| match kind {
            ExprKind::Load { tensor, index, .. } => loads.push((*tensor, index)),
            ExprKind::Reduce { axes: reduced, .. } => axes.extend(reduced),
            _ => {}
        });
        for (tensor, index) in loads {
            self.read[tensor.index()] += self.accesses(index);
        }
        for axis in axes {
            let a = &func.axes[axis];
            if matches!(a.kind, crate::hir::ir::AxisKind::Bind) {
                self.expr(a.lo);
                self.expr(a.hi);
            }
        }
    }
}

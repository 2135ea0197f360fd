//! Updates of memory by atomic operations, so that passes that meet there can be shared out.
//!
//! ```text
//! scatter(h, via = atomic):       h[b] += e over i   =>  atomic h[b] += e
//! split(k, n, merge = atomic):    s += p[part]       =>  atomic s += p[part]
//! ```
//!
//! Only operations whose result is the same in whatever order they come: sums, minima and maxima of integers.

use rooftile_artifact::{DType, GpuTarget};

use super::Allow;
use super::form::{Action, Form, StmtId, reduction};
use super::split::Parts;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{ReduceOp, StoreKind, TensorId};

/// `scatter(h, via = atomic)`: every update of the tensor is an atomic one.
///
/// # Errors
/// E0504 where nothing scatters into the tensor, or what does has no atomic operation that is right in any order; then
/// the form is as it was.
pub(crate) fn scatter(
    form: &mut Form,
    tensor: TensorId,
    allow: Allow,
    gpu: Option<&GpuTarget>,
) -> Result<(), Diagnostic> {
    let t = form.func.tensors[tensor].clone();
    let mut scatters = false;
    let mut updates: Vec<(StmtId, ReduceOp)> = Vec::new();
    for (s, stmt) in form.stmts.iter() {
        if let Action::Store { tensor: x, op, kind, .. } = &stmt.action
            && *x == tensor
            && let Some(op) = reduction(*op)
        {
            scatters |= *kind == StoreKind::Scatter;
            updates.push((s, op));
        }
    }
    if !scatters {
        let message = format!("nothing scatters into `{}`", t.name);
        return Err(Diagnostic::error(Code::Illegal, t.span, message));
    }
    for (s, op) in &updates {
        check(t.dtype, *op, form.stmts[*s].span, allow, gpu)?;
    }
    updates.iter().for_each(|(s, _)| form.stmts[*s].atomic = true);
    Ok(())
}

/// `split(k, n, merge = atomic)`: what the parts give goes to the result by atomic operations.
///
/// # Errors
/// E0504 where there is no such operation that is right in any order.
pub(crate) fn merges(
    form: &mut Form,
    made: &[Parts],
    allow: Allow,
    gpu: Option<&GpuTarget>,
) -> Result<(), Diagnostic> {
    for s in form.stmts.handles() {
        let stmt = &form.stmts[s];
        let Action::Accumulate { value, op, .. } = &stmt.action else { continue };
        let v = &form.func.values[*value];
        let over_parts = |p: &Parts| stmt.axes.contains(&p.part) && !v.axes.contains(&p.part);
        if made.iter().any(over_parts) {
            check(v.dtype, *op, stmt.span, allow, gpu)?;
            form.stmts[s].atomic = true;
        }
    }
    Ok(())
}

/// Whether there is an atomic operation for such an update that is right in any order; on the `gpu`, if it is for one.
///
/// # Errors
/// E0504 with the reason.
fn check(
    dtype: DType,
    op: ReduceOp,
    span: Span,
    allow: Allow,
    gpu: Option<&GpuTarget>,
) -> Result<(), Diagnostic> {
    let refuse = |message: String| Err(Diagnostic::error(Code::Illegal, span, message));
    if dtype.is_float() || dtype.is_complex() {
        if !allow.atomics {
            return Err(Diagnostic::error(
                Code::Illegal,
                span,
                "atomic updates of floats come in another order from run to run",
            )
            .help("the task must `allow atomics`"));
        }
        return refuse(format!("there are no atomic updates of `{dtype}` yet"));
    }
    let bits = match dtype {
        DType::Int { bits: bits @ (32 | 64), .. } => bits,
        _ => {
            return refuse(format!(
                "there are no atomic updates of `{dtype}`, only of 32- and 64-bit integers"
            ));
        }
    };
    if !matches!(op, ReduceOp::Sum | ReduceOp::Dot | ReduceOp::Max | ReduceOp::Min) {
        return refuse("there are atomic sums, minima and maxima, but no products".to_owned());
    }
    match gpu {
        Some(gpu) if bits == 64 && !gpu.features.atomics64 => {
            refuse(format!("the device has no atomic updates of `{dtype}`"))
        }
        _ => Ok(()),
    }
}

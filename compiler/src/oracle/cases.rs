//! Small random inputs that satisfy a signature: `where`, `range`, `monotone`, `injective`.

use rooftile_artifact::{DType, HostTensor, Scalar};

use super::interp::{Shape, signature};
use super::rng::SplitMix;
use super::values::Inputs;
use crate::hir::ir::{File, Func, FuncId, FuncKind, ParamRef, Role, Stmt, StmtKind, Tensor, TensorId};

/// Attempts to find sizes that satisfy every condition.
const ATTEMPTS: usize = 4000;

/// Elements that a tensor of a small case may have.
const MOST_ELEMENTS: i64 = 1 << 16;

/// Random inputs with sizes in `1..=largest`; `None` if none were found that satisfy the conditions.
#[must_use]
pub fn small_inputs(file: &File, func: FuncId, seed: u64, largest: i64) -> Option<Inputs> {
    let body = file.funcs.get(func)?;
    let mut rng = SplitMix::new(seed);
    for _ in 0..ATTEMPTS {
        let sizes: Vec<i64> = body.sizes.iter().map(|_| rng.below(1, largest + 1)).collect();
        let scalars: Vec<Scalar> = body.scalars.iter().map(|(_, s)| scalar(&mut rng, s.dtype)).collect();
        let Some(shapes) = signature(file, func, &sizes, &scalars) else { continue };
        if let Some(tensors) = tensors(body, &shapes, &mut rng) {
            return Some(Inputs { sizes, scalars, tensors });
        }
    }
    None
}

/// Random inputs at given sizes; `None` if the conditions do not hold there.
#[must_use]
pub fn inputs_at(file: &File, func: FuncId, sizes: &[i64], seed: u64) -> Option<Inputs> {
    let body = file.funcs.get(func)?;
    let mut rng = SplitMix::new(seed);
    let scalars: Vec<Scalar> = body.scalars.iter().map(|(_, s)| scalar(&mut rng, s.dtype)).collect();
    let shapes = signature(file, func, sizes, &scalars)?;
    let tensors = tensors(body, &shapes, &mut rng)?;
    Some(Inputs { sizes: sizes.to_vec(), scalars, tensors })
}

fn scalar(rng: &mut SplitMix, dtype: DType) -> Scalar {
    match dtype {
        DType::Bool => Scalar::Bool(rng.below(0, 2) == 1),
        DType::Int { .. } => Scalar::Int(rng.below(1, 5)),
        _ => Scalar::Float(0.1 + 0.9 * rng.unit()),
    }
    .cast(dtype)
}

fn tensors(func: &Func, shapes: &[Shape], rng: &mut SplitMix) -> Option<Vec<Option<HostTensor>>> {
    let counters = counters(func);
    let params = func.params.iter().filter_map(|p| match p {
        ParamRef::Tensor(id) => Some(*id),
        ParamRef::Scalar(_) => None,
    });
    params
        .zip(shapes)
        .map(|(id, shape)| {
            let tensor = &func.tensors[id];
            if tensor.role == Role::Out {
                return Some(None);
            }
            if shape.extents.iter().try_fold(1i64, |n, &e| n.checked_mul(e)).is_none_or(|n| n > MOST_ELEMENTS)
            {
                return None;
            }
            content(tensor, shape, counters.contains(&id), rng).map(Some)
        })
        .collect()
}

fn content(tensor: &Tensor, shape: &Shape, counter: bool, rng: &mut SplitMix) -> Option<HostTensor> {
    let extents: Vec<usize> =
        shape.extents.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
    let total: usize = extents.iter().product();
    let mut elements: Vec<Scalar> = match tensor.dtype {
        _ if counter => vec![Scalar::Int(0); total],
        DType::Bool => (0..total).map(|_| Scalar::Bool(rng.below(0, 2) == 1)).collect(),
        DType::C64 | DType::C128 => (0..total).map(|_| Scalar::Complex(rng.normal(), rng.normal())).collect(),
        DType::Int { signed, bits } => {
            let (lo, hi) = shape.range.unwrap_or(if signed { (-1, 2) } else { (0, 1 << bits.min(4)) });
            if total > 0 && lo >= hi {
                return None;
            }
            if tensor.injective {
                let mut all: Vec<i64> = (lo..hi.min(lo.saturating_add(MOST_ELEMENTS))).collect();
                rng.shuffle(&mut all);
                all.truncate(total);
                if all.len() < total {
                    return None;
                }
                all.into_iter().map(Scalar::Int).collect()
            } else {
                (0..total).map(|_| Scalar::Int(rng.below(lo, hi))).collect()
            }
        }
        _ => (0..total).map(|_| Scalar::Float(rng.normal())).collect(),
    };
    if tensor.monotone {
        elements.sort_by_key(|v| v.as_i64());
    }
    HostTensor::from_fn(tensor.dtype, &extents, |i| elements[i]).ok()
}

/// Tensors of `func` that `append` counts in: they start at zero.
fn counters(func: &Func) -> Vec<TensorId> {
    fn walk(body: &[Stmt], out: &mut Vec<TensorId>) {
        for stmt in body {
            match &stmt.kind {
                StmtKind::Append { count, .. } => out.push(*count),
                StmtKind::For { body, .. }
                | StmtKind::Seq { body, .. }
                | StmtKind::Fold { body, .. }
                | StmtKind::Repeat { body, .. } => walk(body, out),
                StmtKind::If { then, otherwise, .. } => {
                    walk(then, out);
                    walk(otherwise, out);
                }
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    if func.kind == FuncKind::Kernel {
        walk(&func.body, &mut out);
    }
    out
}

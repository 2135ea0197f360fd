//! `layout(P, soa)`: a tensor that lies in another order of its dimensions.
//!
//! ```text
//! buf P: f32[N,3]  .. P[i,c] ..   =>   buf P: f32[3,N]  .. P[c,i] ..
//! ```
//!
//! A buffer of a pipeline is simply made in that order. The order of a parameter is its caller's, so it is copied to a
//! buffer of its own before everything else, and copied back after everything else if it was written.

use std::collections::BTreeMap;

use super::emit::machine_type;
use super::plan::{Plan, TensorLayout, Verb};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{Func, Role, StmtKind, Tensor};
use crate::hir::walk::for_each_stmt;
use crate::nest::build::Builder;
use crate::nest::ir::{ExprId, LoopKind, Nest, Space, Stmt};

/// The dimensions of a tensor, from the outermost to the innermost of its buffer.
pub(crate) type Order = Vec<usize>;

/// The orders that a plan asks for, by the numbers of a kernel's or pipeline's tensors. A tensor that takes the place of
/// another (`pingpong`, `copy`) follows it. Names that the function lacks are those of other kernels.
///
/// # Errors
/// E0504 for a tensor of one dimension, for one that is packed, and for a list in the caller's storage.
pub(crate) fn orders(func: &Func, plan: &Plan) -> Result<BTreeMap<usize, Order>, Diagnostic> {
    let mut orders = BTreeMap::new();
    for verb in &plan.verbs {
        let Verb::Layout { tensor: name, layout } = verb else { continue };
        let Some((id, tensor)) = func.tensors.iter().find(|(_, t)| t.name == *name) else { continue };
        let rank = tensor.shape.len();
        if rank < 2 {
            return Err(refuse(tensor, "it has one dimension"));
        }
        let mut order: Order = (0..rank).collect();
        match layout {
            TensorLayout::Soa => order.rotate_right(1),
            TensorLayout::Transpose => order.swap(rank - 2, rank - 1),
        }
        orders.insert(id.index(), order);
    }
    let pairs = exchanged(func);
    let follow = |orders: &BTreeMap<usize, Order>| {
        let mut either = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        either.find_map(|(a, b)| orders.get(&a).filter(|_| !orders.contains_key(&b)).map(|o| (b, o.clone())))
    };
    while let Some((tensor, order)) = follow(&orders) {
        orders.insert(tensor, order);
    }
    for (_, tensor) in func.tensors.iter().filter(|(id, _)| orders.contains_key(&id.index())) {
        if tensor.packed.is_some() {
            return Err(refuse(tensor, "it is packed"));
        }
        if tensor.bag && tensor.role == Role::Out {
            return Err(refuse(tensor, "it is a list, of which only the filled part could be copied back"));
        }
    }
    Ok(orders)
}

fn refuse(tensor: &Tensor, why: &str) -> Diagnostic {
    let message = format!("`{}` cannot be stored in another order: {why}", tensor.name);
    Diagnostic::error(Code::Illegal, tensor.span, message)
}

/// Pairs of tensors of which one takes the other's place; they are of one shape.
fn exchanged(func: &Func) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for_each_stmt(&func.body, &mut |stmt| match &stmt.kind {
        StmtKind::Repeat { pingpong, .. } => {
            pairs.extend(pingpong.iter().map(|(a, b)| (a.index(), b.index())));
        }
        StmtKind::Copy { from, to } => pairs.push((from.index(), to.index())),
        _ => {}
    });
    pairs
}

/// A kernel that copies a tensor from its buffer in one order (slot 0) to another (slot 1); its sizes are the tensor's
/// extents. `None` stands for the order of the signature.
///
/// # Errors
/// E0701 for a type that the CPU lacks.
pub(crate) fn copy(tensor: &Tensor, from: Option<&Order>, to: Option<&Order>) -> Result<Nest, Diagnostic> {
    let plain: Order = (0..tensor.shape.len()).collect();
    let (from, to) = (from.unwrap_or(&plain), to.unwrap_or(&plain));
    let mut b = Builder::new(&format!("{}.layout", tensor.name));
    let extents: Vec<_> = plain.iter().map(|d| b.add_size(&format!("n{d}"))).collect();
    // A complex element is two floats.
    let parts = tensor.dtype.is_complex().then(|| b.int(2));
    let dtype = machine_type(tensor.dtype, tensor.span)?;
    let buffer = |b: &mut Builder, order: &Order, slot| {
        let shape: Vec<_> = order.iter().map(|d| extents[*d]).chain(parts).collect();
        b.add_buffer(&tensor.name, dtype, &shape, Space::Global(slot))
    };
    let (source, target) = (buffer(&mut b, from, 0), buffer(&mut b, to, 1));
    let zero = b.int(0);
    let (core, first) = b.core_loop("i0", (zero, extents[to[0]], 1));
    let mut index = vec![first; plain.len()];
    let element = |b: &mut Builder, index: &[ExprId]| {
        let copy = |part: Option<i64>| {
            let part = part.map(|p| b.int(p));
            let at = |order: &Order| order.iter().map(|d| index[*d]).chain(part).collect::<Vec<_>>();
            let value = b.load(source, &at(from));
            b.store(target, &at(to), value)
        };
        let wanted = if parts.is_some() { vec![Some(0), Some(1)] } else { vec![None] };
        wanted.into_iter().map(copy).collect()
    };
    let body = loops(&mut b, &to[1..], &extents, &mut index, &element);
    b.add_phase(vec![core], body);
    Ok(b.finish())
}

/// Loops over some dimensions, from the outside in, around what `element` writes at an index.
fn loops(
    b: &mut Builder,
    dims: &[usize],
    extents: &[ExprId],
    index: &mut [ExprId],
    element: &dyn Fn(&mut Builder, &[ExprId]) -> Vec<Stmt>,
) -> Vec<Stmt> {
    let [dim, rest @ ..] = dims else { return element(b, index) };
    let zero = b.int(0);
    let range = (zero, extents[*dim], 1);
    vec![b.for_loop(LoopKind::Serial, &format!("i{dim}"), range, |b, counter| {
        index[*dim] = counter;
        loops(b, rest, extents, index, element)
    })]
}

//! `layout(P, soa)`, `prepack(W, panel(n))`: a tensor that lies in another order of its dimensions.
//!
//! ```text
//! buf P: f32[N,3]          .. P[i,c] ..   =>   buf P: f32[3,N]              .. P[c,i] ..
//! W: in f32[K,N] const_    .. W[k,j] ..   =>   buf W: f32[(N+31)/32,K,32]   .. W[j/32,k,j%32] ..
//! ```
//!
//! A buffer of a pipeline is simply made in that order. The order of a parameter is its caller's, so it is copied to a
//! buffer of its own before everything else, and copied back after everything else if it was written. What is packed
//! beforehand is copied once for all runs on the same content.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, HostExpr};

use super::emit::machine_type;
use super::kernel::ViewShapeDim;
use super::plan::{Assignment, Plan, TensorLayout, Verb};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{Func, Role, StmtKind, Tensor, TensorId};
use crate::hir::walk::for_each_stmt;
use crate::nest::build::Builder;
use crate::nest::ir::{BinaryOp, ExprId, LoopKind, Nest, Space, Stmt};

/// The order in which a tensor lies in its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The buffer's dimensions from the outermost to the innermost.
    pub(crate) dims: Vec<OrderDim>,
    /// Whether it is put so once for all runs on the same content.
    pub(crate) once: bool,
}

/// A dimension of a buffer, by what it is to the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderDim {
    /// A dimension.
    Whole(usize),
    /// The numbers of panels of so many elements along a dimension.
    Panel(usize, i64),
    /// The place within such a panel.
    InPanel(usize, i64),
}

impl Order {
    /// The signature's.
    pub(crate) fn plain(rank: usize) -> Order {
        Order { dims: (0..rank).map(OrderDim::Whole).collect(), once: false }
    }

    /// With some dimensions exchanged, and the last one cut into panels.
    fn new(rank: usize, layout: Option<TensorLayout>, panel: Option<i64>, once: bool) -> Order {
        let mut order: Vec<usize> = (0..rank).collect();
        match layout {
            Some(TensorLayout::Soa) => order.rotate_right(1),
            Some(TensorLayout::Transpose) => order.swap(rank - 2, rank - 1),
            None => {}
        }
        let mut dims: Vec<OrderDim> = order.into_iter().map(OrderDim::Whole).collect();
        if let (Some(n), Some(&OrderDim::Whole(last))) = (panel, dims.last()) {
            dims.pop();
            dims.insert(0, OrderDim::Panel(last, n));
            dims.push(OrderDim::InPanel(last, n));
        }
        Order { dims, once }
    }

    /// The buffer's dimension along which elements share bytes, if they do along one of the tensor's.
    pub(crate) fn packed(&self, tensor: Option<usize>) -> Option<usize> {
        let along = |dim: &OrderDim| matches!(*dim, OrderDim::Whole(d) | OrderDim::InPanel(d, _) if Some(d) == tensor);
        self.dims.iter().position(along)
    }

    /// The buffer's extents for those of the tensor.
    pub(crate) fn extents(&self, shape: &[HostExpr]) -> Vec<HostExpr> {
        let extent = |dim: &OrderDim| match *dim {
            OrderDim::Whole(d) => shape[d].clone(),
            OrderDim::Panel(d, n) => HostExpr::ceil_div(shape[d].clone(), n.into()),
            OrderDim::InPanel(_, n) => n.into(),
        };
        self.dims.iter().map(extent).collect()
    }

    /// Counts bytes in place of the elements of which so many share one along a dimension.
    fn in_bytes(&mut self, packed: usize, per: i64) {
        for dim in &mut self.dims {
            if let OrderDim::Panel(d, n) | OrderDim::InPanel(d, n) = dim
                && *d == packed
            {
                *n /= per;
            }
        }
    }

    /// The buffer's dimensions to a kernel that is handed all of the tensor.
    pub(crate) fn view(&self) -> Vec<ViewShapeDim> {
        let dim = |dim: &OrderDim| match *dim {
            OrderDim::Whole(d) => ViewShapeDim::Whole(d),
            OrderDim::Panel(d, n) => ViewShapeDim::Panel(d, n),
            OrderDim::InPanel(d, n) => ViewShapeDim::InPanel(d, n),
        };
        self.dims.iter().map(dim).collect()
    }
}

/// The orders that a plan asks for, by the numbers of a kernel's or pipeline's tensors. A tensor that takes the place of
/// another (`pingpong`, `copy`) follows it. Names that the function lacks are those of other kernels.
///
/// # Errors
/// E0504 for a tensor of one dimension (but for panels), for panels that begin inside a byte, for a list in the caller's storage, and for
/// what is to be packed once though its content is not `const_`.
pub(crate) fn orders(
    func: &Func,
    plan: &Plan,
    assignment: &Assignment,
) -> Result<BTreeMap<usize, Order>, Diagnostic> {
    let mut orders = BTreeMap::new();
    for verb in &plan.verbs {
        let (name, layout, panel, once) = match verb {
            Verb::Layout { tensor, layout } => (tensor, Some(*layout), None, false),
            Verb::Prepack { tensor, layout, panel } => {
                let panel = panel.as_ref().and_then(|n| n.value(assignment)).filter(|n| *n > 1);
                (tensor, *layout, panel, true)
            }
            _ => continue,
        };
        let Some((id, tensor)) = func.tensors.iter().find(|(_, t)| t.name == *name) else { continue };
        let rank = tensor.shape.len();
        if once && !(tensor.constant && tensor.role == Role::In) {
            let why = "its content may change with each run";
            return Err(refuse(tensor, why).help(format!(
                "where many runs share it, say so: `{name}: in .. const_`; else `layout` or `stage` copy it in each run"
            )));
        }
        if rank < 2 && (layout.is_some() || rank == 0) {
            return Err(refuse(tensor, if rank == 1 { "it has one dimension" } else { "it is one number" }));
        }
        if layout.is_some() || panel.is_some() {
            orders.insert(id.index(), Order::new(rank, layout, panel, once));
        }
    }
    let pairs = exchanged(func);
    let once = |t: usize| orders.get(&t).is_some_and(|order: &Order| order.once);
    if let Some(t) = pairs.iter().flat_map(|&(a, b)| [a, b]).find(|t| once(*t)) {
        return Err(refuse(&func.tensors[TensorId::from_index(t)], "another tensor takes its place"));
    }
    let follow = |orders: &BTreeMap<usize, Order>| {
        let mut either = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        either.find_map(|(a, b)| orders.get(&a).filter(|_| !orders.contains_key(&b)).map(|o| (b, o.clone())))
    };
    while let Some((tensor, order)) = follow(&orders) {
        orders.insert(tensor, order);
    }
    for (id, tensor) in func.tensors.iter().filter(|(id, _)| orders.contains_key(&id.index())) {
        let per = i64::try_from(tensor.dtype.per_byte()).unwrap_or(1);
        let cut =
            |d: &OrderDim| matches!(*d, OrderDim::InPanel(p, n) if tensor.packed == Some(p) && n % per != 0);
        if orders.get(&id.index()).is_some_and(|order| order.dims.iter().any(cut)) {
            return Err(refuse(tensor, "a panel would begin inside a byte"));
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
/// extents. Elements that share a byte stay together. Places of panels that lie past the end of the tensor are left alone.
///
/// # Errors
/// E0701 for a type that the CPU lacks.
pub(crate) fn copy(tensor: &Tensor, from: &Order, to: &Order) -> Result<Nest, Diagnostic> {
    let rank = tensor.shape.len();
    let mut b = Builder::new(&format!("{}.layout", tensor.name));
    let mut extents: Vec<_> = (0..rank).map(|d| b.add_size(&format!("n{d}"))).collect();
    // A complex element is two floats.
    let parts = tensor.dtype.is_complex().then(|| b.int(2));
    let mut dtype = machine_type(tensor.dtype, tensor.span)?;
    let (mut from, mut to) = (from.clone(), to.clone());
    if let Some(p) = tensor.packed {
        let per = i64::try_from(tensor.dtype.per_byte()).unwrap_or(1);
        dtype = DType::U8;
        extents[p] = b.ceil_div(extents[p], per);
        [&mut from, &mut to].into_iter().for_each(|order| order.in_bytes(p, per));
    }
    let (from, to) = (&from, &to);
    let buffer = |b: &mut Builder, order: &Order, slot| {
        let shape: Vec<_> = order.dims.iter().map(|d| extent(b, *d, &extents)).collect();
        let shape: Vec<_> = shape.into_iter().chain(parts).collect();
        b.add_buffer(&tensor.name, dtype, &shape, Space::Global(slot))
    };
    let (source, target) = (buffer(&mut b, from, 0), buffer(&mut b, to, 1));
    let zero = b.int(0);
    let hi = extent(&mut b, to.dims[0], &extents);
    let (core, first) = b.core_loop("i0", (zero, hi, 1));
    let mut index = vec![zero; rank];
    enter(&mut b, to.dims[0], first, &mut index);
    let element = |b: &mut Builder, index: &[ExprId]| {
        let copy = |part: Option<i64>| {
            let part = part.map(|p| b.int(p));
            let mut at = |order: &Order| -> Vec<ExprId> {
                order.dims.iter().map(|d| place(b, *d, index)).chain(part).collect()
            };
            let (from, to) = (at(from), at(to));
            let value = b.load(source, &from);
            b.store(target, &to, value)
        };
        let wanted = if parts.is_some() { vec![Some(0), Some(1)] } else { vec![None] };
        wanted.into_iter().map(copy).collect()
    };
    let body = loops(&mut b, &to.dims[1..], &extents, &mut index, &element);
    b.add_phase(vec![core], body);
    Ok(b.finish())
}

/// The extent of a dimension of a buffer for those of the tensor.
fn extent(b: &mut Builder, dim: OrderDim, extents: &[ExprId]) -> ExprId {
    match dim {
        OrderDim::Whole(d) => extents[d],
        OrderDim::Panel(d, n) => b.ceil_div(extents[d], n),
        OrderDim::InPanel(_, n) => b.int(n),
    }
}

/// The index into a dimension of a buffer for an element.
fn place(b: &mut Builder, dim: OrderDim, index: &[ExprId]) -> ExprId {
    match dim {
        OrderDim::Whole(d) => index[d],
        OrderDim::Panel(d, n) => {
            let n = b.int(n);
            b.binary(BinaryOp::DivNonNeg, index[d], n)
        }
        OrderDim::InPanel(d, n) => {
            let n = b.int(n);
            b.binary(BinaryOp::RemNonNeg, index[d], n)
        }
    }
}

/// What a counter of a dimension of the buffer says of the tensor's index. Panels are entered before what lies in them.
fn enter(b: &mut Builder, dim: OrderDim, counter: ExprId, index: &mut [ExprId]) {
    match dim {
        OrderDim::Whole(d) => index[d] = counter,
        OrderDim::Panel(d, n) => index[d] = b.mul_int(counter, n),
        OrderDim::InPanel(d, _) => index[d] = counter,
    }
}

/// Loops over some dimensions of a buffer, from the outside in, around what `element` writes at an index.
fn loops(
    b: &mut Builder,
    dims: &[OrderDim],
    extents: &[ExprId],
    index: &mut [ExprId],
    element: &dyn Fn(&mut Builder, &[ExprId]) -> Vec<Stmt>,
) -> Vec<Stmt> {
    let [dim, rest @ ..] = dims else { return element(b, index) };
    let zero = b.int(0);
    let (d, range) = match *dim {
        OrderDim::Whole(d) | OrderDim::Panel(d, _) => (d, (zero, extent(b, *dim, extents), 1)),
        // From the panel's first element to its last, or the tensor's.
        OrderDim::InPanel(d, n) => {
            let end = b.add_int(index[d], n);
            (d, (index[d], b.min(end, extents[d]), 1))
        }
    };
    vec![b.for_loop(LoopKind::Serial, &format!("i{d}"), range, |b, counter| {
        enter(b, *dim, counter, index);
        loops(b, rest, extents, index, element)
    })]
}

//! What `stage` copies: the reads of a tensor that one copy stands for, and the part of the tensor that they see.
//!
//! A read is *plain* along a dimension whose index is an axis or a number. Where it is an axis moved by a bounded distance,
//! `x + s - 1`, or a multiple of it, `2 * x + s - 1`, the copy holds a *window*: what all points of the loops around read, with a
//! halo at both ends, and what lies between them. The edge rules apply in the copy, once, and reads of the copy have none.
//!
//! ```text
//! for y.0 step 8 { .. X[c, y + r - 1] .. }
//!   =>  for y.0 step 8 { for c { for y' in y.0 - 1 .. y.0 + 9 { x[c, y' - y.0 + 1] = X[c, y'] } }  .. x[c, y + r - y.0] .. }
//! ```

use super::bounds;
use super::form::{Form, Item};
use super::levels::{LevelId, LevelKind, Levels};
use crate::hir::ir::{Axis, AxisId, AxisKind, BinaryOp, ExprId, ExprKind, TensorId};
use rooftile_artifact::DType;

/// An axis that runs over the points of another, or multiples of them, and those around them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halo {
    /// The other axis.
    pub(crate) of: AxisId,
    /// How many of its points a point of the other goes on.
    pub(crate) stride: i64,
    /// Where it begins, seen from the first point of the other.
    pub(crate) before: i64,
    /// Where it ends, seen from the last point of the other.
    pub(crate) after: i64,
}

impl Halo {
    /// Its points around so many of the other axis, one or more.
    pub(crate) fn points(&self, of: i64) -> i64 {
        (of - 1).saturating_mul(self.stride).saturating_add(1 + self.after - self.before)
    }

    /// Where it ends, seen from `stride` times the end of the other axis.
    pub(crate) fn end(&self) -> i64 {
        self.after + 1 - self.stride
    }
}

/// An index of a read along one dimension.
#[derive(Clone, Copy, Debug)]
enum Index {
    /// A number.
    At(ExprId),
    /// An axis whose points are inside the tensor.
    Axis(AxisId),
    /// From the first to the second distance away from so many times an axis.
    Near(AxisId, i64, (i64, i64)),
}

impl Index {
    /// How far it may lie from its axis.
    fn distance(self) -> (i64, i64) {
        match self {
            Index::Near(.., distance) => distance,
            _ => (0, 0),
        }
    }

    fn stride(self) -> i64 {
        match self {
            Index::Near(_, stride, _) => stride,
            _ => 1,
        }
    }

    fn axis(self) -> Option<AxisId> {
        match self {
            Index::At(_) => None,
            Index::Axis(a) | Index::Near(a, ..) => Some(a),
        }
    }
}

/// Along what reads of a tensor lie that a copy with windows stands for, by dimension.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    dims: Vec<Dim<AxisId>>,
    /// Dimensions along which a read may leave the tensor.
    leaves: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Dim<T> {
    At(ExprId),
    Axis(AxisId),
    /// An axis, and what the copy has in its place.
    Around(AxisId, T),
}

impl Window {
    /// The axes of the copy.
    pub(crate) fn axes(&self) -> Vec<AxisId> {
        let own = |d: &Dim<AxisId>| match d {
            Dim::At(_) => None,
            Dim::Axis(a) | Dim::Around(_, a) => Some(*a),
        };
        self.dims.iter().filter_map(own).collect()
    }

    /// The axes that reads lie along, or around.
    pub(crate) fn along(&self) -> Vec<AxisId> {
        let along = |d: &Dim<AxisId>| match d {
            Dim::At(_) => None,
            Dim::Axis(a) | Dim::Around(a, _) => Some(*a),
        };
        self.dims.iter().filter_map(along).collect()
    }

    /// The axis of the copy along which the tensor's elements lie side by side, if the copy made it.
    pub(crate) fn last(&self) -> Option<AxisId> {
        match self.dims.last() {
            Some(Dim::Around(_, a)) => Some(*a),
            _ => None,
        }
    }

    /// The element that a point of the copy holds: `load` at the copy's own axes.
    pub(crate) fn content(&self, form: &mut Form, load: ExprId) -> ExprId {
        let expr = form.func.exprs[load].clone();
        let ExprKind::Load { tensor, .. } = expr.kind else { return load };
        let mut index = Vec::new();
        for dim in &self.dims {
            index.push(match *dim {
                Dim::At(e) => e,
                Dim::Axis(a) | Dim::Around(_, a) => form.expr(ExprKind::Axis(a), DType::I64, expr.span),
            });
        }
        let leaves = self.leaves.clone();
        form.expr(ExprKind::Load { tensor, index, leaves }, expr.dtype, expr.span)
    }

    /// Where in the copy a read finds its element, if the copy stands for it.
    pub(crate) fn index(&self, form: &Form, tensor: TensorId, read: ExprId) -> Option<Vec<ExprId>> {
        let ExprKind::Load { tensor: of, index, .. } = &form.func.exprs[read].kind else { return None };
        let found = if *of == tensor { indices(form, read)? } else { return None };
        if !self.covers(form, &found) {
            return None;
        }
        Some(
            index.iter().zip(&self.dims).filter(|(_, d)| !matches!(d, Dim::At(_))).map(|(e, _)| *e).collect(),
        )
    }

    fn covers(&self, form: &Form, read: &[Index]) -> bool {
        self.dims.iter().zip(read).all(|(dim, index)| match (*dim, *index) {
            (Dim::At(a), Index::At(b)) => bounds::same(form, a, b),
            (Dim::Axis(a), Index::Axis(b)) => a == b,
            (Dim::Around(a, own), index) => {
                let (lo, hi) = index.distance();
                let inside = |h: &Halo| h.stride == index.stride() && h.before <= lo && hi <= h.after;
                index.axis() == Some(a) && form.halos.get(&own).is_some_and(inside)
            }
            _ => false,
        })
    }
}

/// What a copy of a tensor has to hold for those of its reads that are not plain, and along the same axes; with new axes for
/// its windows. `None` where all reads are plain, or none of the others has windows.
pub(crate) fn window(form: &mut Form, tensor: TensorId) -> Option<Window> {
    let reads = reads(form, tensor);
    let is_window = |r: &&Read| r.index.iter().any(|i| matches!(i, Index::Near(..)));
    let first = reads.iter().find(is_window)?;
    let alike = |r: &&Read| {
        r.index.iter().zip(&first.index).all(|(x, y)| match (x, y) {
            (Index::At(a), Index::At(b)) => bounds::same(form, *a, *b),
            _ => x.axis().is_some() && x.axis() == y.axis() && x.stride() == y.stride(),
        })
    };
    let alike: Vec<&Read> = reads.iter().filter(alike).collect();
    let leaves: Vec<bool> = (0..first.index.len()).map(|d| alike.iter().any(|r| r.leaves[d])).collect();
    let mut dims = Vec::new();
    for (d, index) in first.index.iter().enumerate() {
        let around = alike.iter().any(|r| matches!(r.index[d], Index::Near(..)));
        let distances = || alike.iter().map(|r| r.index[d].distance());
        dims.push(match (*index, around) {
            (Index::At(e), _) => Dim::At(e),
            (Index::Axis(a) | Index::Near(a, ..), false) => Dim::Axis(a),
            (Index::Axis(of) | Index::Near(of, ..), true) => {
                let before = distances().map(|(lo, _)| lo).min()?;
                let after = distances().map(|(_, hi)| hi).max()?;
                let halo = Halo { of, stride: index.stride(), before, after };
                if !leaves[d] && !fits(form, (tensor, d), halo) {
                    return None;
                }
                Dim::Around(of, halo)
            }
        });
    }
    let mut made = Vec::new();
    for dim in dims {
        made.push(match dim {
            Dim::Around(of, halo) => Dim::Around(of, around(form, halo)),
            Dim::At(e) => Dim::At(e),
            Dim::Axis(a) => Dim::Axis(a),
        });
    }
    Some(Window { dims: made, leaves })
}

/// A read that a copy could stand for.
struct Read {
    index: Vec<Index>,
    leaves: Vec<bool>,
}

/// The reads of a tensor that a copy could stand for.
fn reads(form: &Form, tensor: TensorId) -> Vec<Read> {
    let roots = form.items.iter().flat_map(Item::stmts).flat_map(|s| form.stmts[s].action.exprs()).collect();
    let read = |e: ExprId| match &form.func.exprs[e].kind {
        ExprKind::Load { tensor: t, leaves, .. } if *t == tensor => {
            Some(Read { index: indices(form, e)?, leaves: leaves.clone() })
        }
        _ => None,
    };
    form.below(roots).filter_map(read).collect()
}

/// A new axis with the points of another and a halo.
fn around(form: &mut Form, halo: Halo) -> AxisId {
    let Axis { name, lo, hi, span, .. } = form.func.axes[halo.of].clone();
    let [lo, hi] = [(lo, halo.before), (hi, halo.end())].map(|(end, distance)| {
        let end = if halo.stride == 1 {
            end
        } else {
            let stride = form.int(halo.stride, span);
            form.binary(BinaryOp::Mul, end, stride)
        };
        let distance = form.int(distance, span);
        form.binary(BinaryOp::Add, end, distance)
    });
    let kind = AxisKind::With;
    let axis = Axis { name: format!("{name}.around"), kind, lo, hi, parents: Vec::new(), span };
    let axis = form.func.axes.push(axis);
    form.order.push(axis);
    form.halos.insert(axis, halo);
    axis
}

/// The indices of a read that a copy could stand for.
fn indices(form: &Form, load: ExprId) -> Option<Vec<Index>> {
    let ExprKind::Load { tensor, index, leaves } = &form.func.exprs[load].kind else { return None };
    if form.windows.contains_key(tensor) {
        return None;
    }
    let mut out: Vec<Index> = Vec::new();
    for (d, (e, leaves)) in index.iter().zip(leaves).enumerate() {
        let found = match form.func.exprs[*e].kind {
            ExprKind::Axis(a) if form.is_dimension(a) && !leaves => Index::Axis(a),
            ExprKind::Const(_) if !leaves => Index::At(*e),
            _ => near(form, (*tensor, d), *e, *leaves)?,
        };
        if found.axis().is_some() && out.iter().any(|o| o.axis() == found.axis()) {
            return None;
        }
        out.push(found);
    }
    Some(out)
}

/// An index near an axis that has all its points at all times, the longest if there are several.
fn near(form: &Form, (tensor, d): (TensorId, usize), e: ExprId, leaves: bool) -> Option<Index> {
    let plain = |a: &&AxisId| {
        let axis = &form.func.axes[**a];
        matches!(axis.kind, AxisKind::For(_) | AxisKind::With)
            && axis.parents.is_empty()
            && !form.cuts.contains_key(*a)
            && bounds::is_host(form, axis.lo)
            && bounds::is_host(form, axis.hi)
    };
    let axes = form.func.exprs[e].axes.iter().filter(plain);
    let candidates = axes.filter_map(|a| {
        bounds::strided(form, e, *a).map(|(stride, distance)| Index::Near(*a, stride, distance))
    });
    let extent = |i: &Index| i.axis().and_then(|a| bounds::extent(form, a)).unwrap_or(i64::MAX);
    let found = candidates.max_by_key(extent)?;
    let Index::Near(of, stride, (before, after)) = found else { return None };
    let known = if leaves {
        form.func.tensors[tensor].edges[d].is_some()
    } else {
        fits(form, (tensor, d), Halo { of, stride, before, after })
    };
    known.then_some(found)
}

/// Whether a dimension of a tensor has all points of an axis with a halo, whatever the sizes.
fn fits(form: &Form, (tensor, d): (TensorId, usize), halo: Halo) -> bool {
    let axis = &form.func.axes[halo.of];
    let first =
        bounds::literal(form, axis.lo).and_then(|lo| lo.checked_mul(halo.stride)?.checked_add(halo.before));
    let room = bounds::distance_from_multiple(form, form.func.tensors[tensor].shape[d], halo.stride, axis.hi);
    first.is_some_and(|first| first >= 0) && room.is_some_and(|room| halo.end() <= room)
}

/// The innermost loop over an axis among some, and its step.
pub(crate) fn innermost(
    levels: &Levels,
    axis: AxisId,
    open: impl Fn(LevelId) -> bool,
) -> Option<(LevelId, i64)> {
    let level = levels.steps(axis).filter(|l| open(*l)).last()?;
    match levels.all[level].kind {
        LevelKind::Step(step) => Some((level, step)),
        _ => None,
    }
}

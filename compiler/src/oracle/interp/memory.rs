//! Tensors and tile values of a run.

use rooftile_artifact::{HostTensor, Scalar};

use super::race::{Access, Marks};
use super::{Exec, R};
use crate::diag::Span;
use crate::hir::ir::{Edge, ExprId, Tensor, TensorId};
use crate::oracle::error::ErrorKind;

/// Dimensions that a tensor or tile value may have.
pub(super) const MAX_RANK: usize = 16;

/// The elements of a tensor; `None` where nothing was written.
pub(super) struct Storage {
    pub(super) cells: Vec<Option<Scalar>>,
    marks: Vec<Marks>,
}

/// What a function sees of a storage.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) storage: usize,
    pub(super) offset: i64,
    pub(super) extents: Vec<i64>,
    pub(super) strides: Vec<i64>,
}

impl Binding {
    /// The position of an index that lies inside.
    pub(super) fn position(&self, index: &[i64]) -> usize {
        let at = self.offset + index.iter().zip(&self.strides).map(|(i, s)| i * s).sum::<i64>();
        usize::try_from(at).unwrap_or(usize::MAX)
    }

    /// Every index in row-major order, with its position.
    pub(super) fn positions(&self) -> impl Iterator<Item = (Vec<i64>, usize)> + '_ {
        let total: i64 = self.extents.iter().product();
        (0..total).map(|flat| {
            let mut index = vec![0; self.extents.len()];
            let mut rest = flat;
            for (i, &extent) in index.iter_mut().zip(&self.extents).rev() {
                *i = rest % extent;
                rest /= extent;
            }
            let at = self.position(&index);
            (index, at)
        })
    }
}

/// The elements of a tile value: a box that holds all of its points, `None` where it has no point.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) lo: Vec<i64>,
    pub(super) extents: Vec<i64>,
    pub(super) cells: Vec<Option<Scalar>>,
}

impl Cells {
    /// A box of `lo..hi` per axis; `None` when it is too large.
    pub(super) fn new(bounds: &[(i64, i64)]) -> Option<Cells> {
        let extents: Vec<i64> = bounds.iter().map(|&(lo, hi)| (hi - lo).max(0)).collect();
        let total = extents.iter().try_fold(1i64, |n, &e| n.checked_mul(e))?;
        let total = usize::try_from(total).ok().filter(|&n| n <= 1 << 28)?;
        Some(Cells { lo: bounds.iter().map(|b| b.0).collect(), extents, cells: vec![None; total] })
    }

    /// The position of a point, if the box has it.
    pub(super) fn position(&self, point: impl Iterator<Item = i64>) -> Option<usize> {
        let mut at = 0i64;
        for ((x, &lo), &extent) in point.zip(&self.lo).zip(&self.extents) {
            let offset = x - lo;
            if !(0..extent).contains(&offset) {
                return None;
            }
            at = at * extent + offset;
        }
        usize::try_from(at).ok()
    }

    /// The point of a position.
    pub(super) fn point(&self, at: usize) -> Vec<i64> {
        let mut rest = i64::try_from(at).unwrap_or(0);
        let mut point = self.lo.clone();
        for (x, &extent) in point.iter_mut().zip(&self.extents).rev() {
            *x += rest % extent;
            rest /= extent;
        }
        point
    }
}

/// The index inside `0..n` that an edge rule gives for `i`; `None` for a constant. `n` is positive.
pub(super) fn edge_index(edge: Edge, i: i64, n: i64) -> Option<i64> {
    Some(match edge {
        Edge::Clamp => i.clamp(0, n - 1),
        Edge::Wrap => i.rem_euclid(n),
        Edge::Reflect if n == 1 => 0,
        Edge::Reflect => {
            let m = i.rem_euclid(2 * (n - 1));
            if m < n { m } else { 2 * (n - 1) - m }
        }
        Edge::Symmetric => {
            let m = i.rem_euclid(2 * n);
            if m < n { m } else { 2 * n - 1 - m }
        }
        Edge::Const(_) => return None,
    })
}

impl Exec<'_, '_> {
    /// Extents of a tensor at the current sizes.
    pub(super) fn extents(&mut self, tensor: &Tensor) -> R<Vec<i64>> {
        if tensor.shape.len() > MAX_RANK {
            return self.fail(ErrorKind::Internal("a tensor with too many dimensions"), tensor.span);
        }
        let extents: Vec<i64> = tensor.shape.iter().map(|&e| Ok(self.eval(e)?.as_i64())).collect::<R<_>>()?;
        let total = extents.iter().try_fold(1i64, |n, &e| if e < 0 { None } else { n.checked_mul(e) });
        if total.is_none_or(|n| n > 1 << 30) {
            let what = format!("`{}` cannot have extents {extents:?}", tensor.name);
            return self.fail(ErrorKind::BadInput(what), tensor.span);
        }
        Ok(extents)
    }

    fn store_new(&mut self, id: TensorId, extents: Vec<i64>, cells: Vec<Option<Scalar>>) {
        let marks = if self.m.options.check_races { vec![Marks::default(); cells.len()] } else { Vec::new() };
        self.m.storages.push(Storage { cells, marks });
        let mut strides = vec![1; extents.len()];
        for d in (1..extents.len()).rev() {
            strides[d - 1] = strides[d] * extents[d];
        }
        let storage = self.m.storages.len() - 1;
        self.bindings[id.index()] = Some(Binding { storage, offset: 0, extents, strides });
    }

    /// Gives a buffer its storage.
    pub(super) fn allocate(&mut self, id: TensorId) -> R<()> {
        let tensor = &self.func.tensors[id];
        let extents = self.extents(tensor)?;
        let total = usize::try_from(extents.iter().product::<i64>()).unwrap_or(0);
        self.store_new(id, extents, vec![None; total]);
        Ok(())
    }

    /// Gives a parameter of the outermost function its content.
    pub(super) fn bind(&mut self, id: TensorId, content: Option<&HostTensor>) -> R<()> {
        let tensor = &self.func.tensors[id];
        let Some(content) = content else {
            if tensor.role != crate::hir::ir::Role::Out {
                return self.bad(format!("`{}` has no content", tensor.name));
            }
            return self.allocate(id);
        };
        let extents = self.extents(tensor)?;
        let given = content.shape().iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX));
        if !given.eq(extents.iter().copied()) {
            let what = format!("`{}` has extents {:?}, not {extents:?}", tensor.name, content.shape());
            return self.bad(what);
        }
        let fits = |a: rooftile_artifact::DType| (a.is_float(), a.is_complex(), a.is_int());
        if fits(content.dtype()) != fits(tensor.dtype) {
            return self.bad(format!("`{}` is {}, not {}", tensor.name, tensor.dtype, content.dtype()));
        }
        // What an `out` holds before the run is not to be read.
        let unread = tensor.role == crate::hir::ir::Role::Out;
        let cells = (0..content.len()).map(|i| if unread { None } else { Some(content.get(i)) }).collect();
        self.store_new(id, extents, cells);
        Ok(())
    }

    /// Checks `range`, `monotone` and `injective` on what was written so far.
    pub(super) fn check_contract(&mut self, id: TensorId) -> R<()> {
        let tensor = &self.func.tensors[id];
        let range = match tensor.range {
            Some((lo, hi)) => Some((self.eval(lo)?.as_i64(), self.eval(hi)?.as_i64())),
            None => None,
        };
        if range.is_none() && !tensor.monotone && !tensor.injective {
            return Ok(());
        }
        let Some(binding) = &self.bindings[id.index()] else { return Ok(()) };
        let cells = &self.m.storages[binding.storage].cells;
        let mut seen = std::collections::BTreeSet::new();
        let mut last = i64::MIN;
        let mut broken = None;
        for (index, at) in binding.positions() {
            let Some(v) = cells[at].map(Scalar::as_i64) else { continue };
            let promise = if range.is_some_and(|(lo, hi)| v < lo || v >= hi) {
                "range"
            } else if tensor.monotone && v < last {
                "monotone"
            } else if tensor.injective && !seen.insert(v) {
                "injective"
            } else {
                last = v;
                continue;
            };
            broken = Some((index, promise));
            break;
        }
        match broken {
            Some((index, promise)) => {
                self.fail(ErrorKind::Contract { tensor: tensor.name.clone(), index, promise }, tensor.span)
            }
            None => Ok(()),
        }
    }

    /// An element of a tensor, by the edge rule where the index lies outside.
    pub(super) fn load(&mut self, id: TensorId, index: &[ExprId], span: Span) -> R<Scalar> {
        let mut at = [0; MAX_RANK];
        for (d, &e) in index.iter().enumerate().take(MAX_RANK) {
            at[d] = self.eval(e)?.as_i64();
        }
        let at = &mut at[..index.len().min(MAX_RANK)];
        let tensor = &self.func.tensors[id];
        let Some(binding) = &self.bindings[id.index()] else {
            return self.fail(ErrorKind::Internal("an unbound tensor"), span);
        };
        for d in 0..at.len() {
            let n = binding.extents[d];
            if (0..n).contains(&at[d]) {
                continue;
            }
            let edge = tensor.edges.get(d).copied().flatten().filter(|_| n > 0);
            match edge {
                Some(Edge::Const(v)) => return Ok(v.cast(tensor.dtype)),
                Some(edge) => at[d] = edge_index(edge, at[d], n).unwrap_or(0),
                None => {
                    let kind = ErrorKind::ReadOutside {
                        tensor: tensor.name.clone(),
                        index: at.to_vec(),
                        shape: binding.extents.clone(),
                    };
                    return self.fail(kind, span);
                }
            }
        }
        let (storage, position) = (binding.storage, binding.position(at));
        let at = at.to_vec();
        self.mark(storage, position, Access::Read, span, id, &at)?;
        match self.m.storages[storage].cells[position] {
            Some(v) => Ok(v),
            None => self.fail(ErrorKind::Unwritten { tensor: self.tensor_name(id), index: at }, span),
        }
    }

    /// The position of an element that is to be written.
    pub(super) fn place(&self, id: TensorId, index: &[i64], span: Span) -> R<(usize, usize)> {
        let Some(binding) = &self.bindings[id.index()] else {
            return self.fail(ErrorKind::Internal("an unbound tensor"), span);
        };
        if index.iter().zip(&binding.extents).any(|(i, n)| !(0..*n).contains(i)) {
            let kind = ErrorKind::WriteOutside {
                tensor: self.tensor_name(id),
                index: index.to_vec(),
                shape: binding.extents.clone(),
            };
            return self.fail(kind, span);
        }
        Ok((binding.storage, binding.position(index)))
    }

    /// Notes an access for the check of races.
    pub(super) fn mark(
        &mut self,
        storage: usize,
        at: usize,
        access: Access,
        span: Span,
        id: TensorId,
        index: &[i64],
    ) -> R<()> {
        if !self.m.options.check_races {
            return Ok(());
        }
        let launch = self.m.launch;
        let marks = &mut self.m.storages[storage].marks[at];
        match self.m.races.note(marks, launch, access, span) {
            None => Ok(()),
            Some((other, both_write)) => {
                let (tensor, index) = (self.tensor_name(id), index.to_vec());
                self.fail(ErrorKind::Race { tensor, index, other, both_write }, span)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        let along = |edge| (-4..8).map(|i| edge_index(edge, i, 4).unwrap_or(-1)).collect::<Vec<i64>>();
        assert_eq!(along(Edge::Clamp), [0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3]);
        assert_eq!(along(Edge::Wrap), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(along(Edge::Reflect), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(along(Edge::Symmetric), [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]);
        assert_eq!(edge_index(Edge::Reflect, 5, 1), Some(0));
        assert_eq!(edge_index(Edge::Const(Scalar::Int(3)), 5, 1), None);
    }
}

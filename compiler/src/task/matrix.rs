//! Sparse matrices as parameters: row pointers, columns and values that belong together, and the sizes that they bind.

use rooftile_artifact::{HostTensor, Scalar};

use crate::hir::ir::Tensor;

use super::bind::{Unbound, sizes_in};
use super::dist::Csr;
use super::elements::fill;
use super::error::TaskError;
use super::hash::Stream;
use super::inputs::{Maker, Stop, unbound};
use super::sparse::{self, Family, Pattern};

impl Maker<'_> {
    /// The pattern whose elements a one-dimensional tensor holds one of each.
    pub(super) fn pattern_of(&self, tensor: &Tensor) -> Option<&Pattern> {
        let [extent] = tensor.shape.as_slice() else { return None };
        let sizes = sizes_in(self.func, *extent);
        let [size] = sizes.as_slice() else { return None };
        let name = &self.func.sizes[*size].name;
        let of = |(size, _): &&(Option<String>, Pattern)| size.as_ref() == Some(name);
        self.patterns.iter().find(of).map(|(_, p)| p)
    }

    /// A part of a sparse matrix: pointers for a tensor that is `monotone`, columns for other integers, values for floats.
    pub(super) fn sparse(&mut self, tensor: &Tensor, csr: Option<&Csr>) -> Result<HostTensor, Stop> {
        if tensor.monotone
            && let Some(csr) = csr
        {
            let name = tensor.name.as_str();
            let family = match csr {
                Csr::Laplacian5 => Family::Laplacian5,
                Csr::Random(mean) => Family::Random(self.eval(name, mean)?.as_f64()),
                Csr::PowerLaw(mean) => Family::PowerLaw(self.eval(name, mean)?.as_f64()),
            };
            return self.pointers(tensor, family);
        }
        let Some(pattern) = self.pattern_of(tensor) else {
            // The pointers come first; where there are none, nothing ever binds the number of elements.
            let size = tensor
                .shape
                .first()
                .and_then(|e| sizes_in(self.func, *e).first().map(|s| self.func.sizes[*s].name.clone()));
            return Err(Stop::Wait(size.unwrap_or_else(|| tensor.name.clone())));
        };
        let shape = self.shape(tensor)?;
        let too_few = || {
            let reason = "the sparse matrix has no such part".to_owned();
            Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason })
        };
        let count: usize = shape.iter().product();
        if tensor.dtype.is_int() {
            if pattern.columns.len() != count {
                return Err(too_few());
            }
            return fill(tensor, &shape, |i| Scalar::Int(pattern.columns[i]));
        }
        if pattern.values.len() == count {
            return fill(tensor, &shape, |i| Scalar::Float(pattern.values[i]));
        }
        let stream = Stream::new(self.seed, &tensor.name);
        fill(tensor, &shape, |i| Scalar::Float(stream.normal(i as u64)))
    }

    /// Row pointers; binds the number of elements, and the number of columns if nothing else does.
    pub(super) fn pointers(&mut self, tensor: &Tensor, family: Family) -> Result<HostTensor, Stop> {
        let shape = self.shape(tensor)?;
        let fail = |reason: &str| {
            Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason: reason.to_owned() })
        };
        let (Some((_, hi)), [length]) = (tensor.range, shape.as_slice()) else {
            return Err(fail("row pointers are a vector with `range 0..E+1`"));
        };
        let rows = length.checked_sub(1).ok_or_else(|| fail("row pointers have at least one element"))?;
        let elements = sizes_in(self.func, hi);
        // The range of the column indices is the number of columns.
        let columns_of = self.func.tensors.iter().find_map(|(_, t)| {
            let same = |e| sizes_in(self.func, e) == elements;
            let vector = t.shape.len() == 1 && t.name != tensor.name && same(t.shape[0]);
            if vector { t.range.map(|(_, hi)| hi) } else { None }
        });
        let source_of = format!("init `{}`", tensor.name);
        let square = i64::try_from(rows).unwrap_or(i64::MAX);
        if let Some(e) = columns_of
            && let Some((size, v)) = self.binder().solve(e, square)
        {
            self.bind(&size, v, &source_of)?;
        }
        let columns = columns_of.and_then(|e| self.binder().int(e).ok()).unwrap_or(square);
        if family == Family::Laplacian5 && columns != square {
            return Err(fail("the Laplacian is square, and there are not as many columns as rows"));
        }
        self.has_room(sparse::bytes(family, rows as u64)).map_err(Stop::Fail)?;
        let stream = Stream::new(self.seed, &tensor.name);
        let pattern = sparse::pattern(family, rows as u64, u64::try_from(columns).unwrap_or(0), stream);
        let count = pattern.pointers.last().copied().unwrap_or(0);
        if let Some((size, v)) = self.binder().solve(hi, count.saturating_add(1)) {
            self.bind(&size, v, &source_of)?;
        }
        match self.binder().int(hi) {
            Ok(v) if v == count + 1 => {}
            Ok(v) => {
                let name = elements.first().map(|s| self.func.sizes[*s].name.clone()).unwrap_or_default();
                return Err(Stop::Fail(TaskError::Conflict { name, given: v - 1, source_of, needed: count }));
            }
            Err(Unbound::Name(name)) => return Err(Stop::Wait(name)),
            Err(other) => return Err(Stop::Fail(unbound(other, &tensor.name))),
        }
        let out = fill(tensor, &shape, |i| Scalar::Int(pattern.pointers[i]))?;
        let size = elements.first().map(|s| self.func.sizes[*s].name.clone());
        self.patterns.push((size.filter(|_| !matches!(family, Family::Ragged(_))), pattern));
        Ok(out)
    }
}

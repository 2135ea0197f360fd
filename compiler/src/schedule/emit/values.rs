//! Buffers of values: their extents, their indices, reads and writes.

use rooftile_artifact::DType;

use super::{Emitter, Val, ValueBuffer, machine_type};
use crate::diag::{Diagnostic, Span};
use crate::hir::ir::{ExprId, ExprKind, ValueId};
use crate::nest::ir::{self as nest, BinaryOp, BufferId, Space};
use crate::schedule::form::Panel;
use crate::schedule::storage::{Base, Dim, Home, HomeSpace};

/// Bytes of a buffer beyond which its extents follow the sizes in every dimension.
pub(in crate::schedule) const LARGE: i64 = 1 << 20;

impl Emitter<'_> {
    /// An index where the current arm is chosen, else the first that a buffer has: that of a copy is rarely 0.
    pub(in crate::schedule) fn or_first(&mut self, at: nest::ExprId, first: nest::ExprId) -> nest::ExprId {
        match self.guard {
            Some(guard) => self.b.select(guard, at, first),
            None => at,
        }
    }

    /// The index into a dimension of a value's buffer for the current point, or for an index of the axis.
    fn dim_index(
        &mut self,
        dim: &Dim,
        space: HomeSpace,
        at: Option<nest::ExprId>,
    ) -> Result<Vec<nest::ExprId>, Diagnostic> {
        let state = self.axes[dim.axis.index()];
        let zero = self.b.int(0);
        let block = self.in_block(dim.axis).unwrap_or(zero);
        let origin = match dim.base {
            Base::Block => {
                return match at {
                    // Each thread has registers of its own.
                    None if space == HomeSpace::Register && self.levels.threads(dim.axis) > 1 => {
                        let unit = (self.levels.unit_count(dim.axis) > 1).then(|| state.unit.unwrap_or(zero));
                        Ok(unit.into_iter().chain([state.thread.unwrap_or(zero)]).collect())
                    }
                    None if state.dealt.is_some() => Ok(vec![state.unit.unwrap_or(zero)]),
                    None => Ok(vec![block]),
                    // Another point of a block: the block is the whole axis.
                    Some(at) => {
                        let lo = self.form.func.axes[dim.axis].lo;
                        let lo = self.pure(lo)?;
                        let at = self.or_first(at, lo);
                        Ok(vec![self.b.sub(at, lo)])
                    }
                };
            }
            Base::Level(level, ..) => self.level_base[&level],
            Base::Hull(lo, _) => self.pure(lo)?,
            Base::Around(level, _, halo, _) => {
                let first = self.level_base[&level];
                let first = self.b.mul_int(first, halo.stride);
                self.b.add_int(first, halo.before)
            }
        };
        let base = match state.base {
            Some(base) => base,
            None => {
                let lo = self.form.func.axes[dim.axis].lo;
                self.pure(lo)?
            }
        };
        let (start, rest) = match at {
            Some(at) => (self.or_first(at, origin), zero),
            None => (base, block),
        };
        let offset = self.b.sub(start, origin);
        let Some(panel) = dim.panel else { return Ok(vec![self.b.add(offset, rest)]) };
        let n = self.b.int(panel.elements);
        let outer = self.b.binary(BinaryOp::DivNonNeg, offset, n);
        let full = at.is_none()
            && state.unit.is_some()
            && !state.single
            && state.narrow.is_none()
            && self.levels.block_count(dim.axis) == panel.elements;
        let inner = if full {
            rest
        } else {
            let r = self.b.binary(BinaryOp::RemNonNeg, offset, n);
            self.b.add(r, rest)
        };
        Ok(vec![outer, inner])
    }

    /// The extents of a dimension. The part of an axis that one pass of a loop runs over is as long as the loop's step, or
    /// where it should be `tight`, no longer than the axis at the sizes at hand.
    fn dim_extent(
        &mut self,
        dim: &Dim,
        space: HomeSpace,
        tight: bool,
    ) -> Result<Vec<nest::ExprId>, Diagnostic> {
        let threads = self.levels.threads(dim.axis);
        if space == HomeSpace::Register && threads > 1 {
            let unit = self.levels.unit_count(dim.axis);
            let unit = (unit > 1).then(|| self.b.int(unit));
            return Ok(unit.into_iter().chain([self.b.int(threads)]).collect());
        }
        let extent = match dim.base {
            Base::Block => self.b.int(self.levels.block_count(dim.axis)),
            Base::Level(_, step, Some((lo, hi))) if tight => {
                let (step, whole) = (self.b.int(step), self.hull_extent(lo, hi)?);
                self.b.min(step, whole)
            }
            Base::Level(_, step, _) => self.b.int(step),
            Base::Hull(lo, hi) => self.hull_extent(lo, hi)?,
            Base::Around(_, step, halo, hull) => {
                let step = self.b.int(halo.points(step));
                match hull {
                    Some((lo, hi)) if tight => {
                        let whole = self.hull_extent(lo, hi)?;
                        self.b.min(step, whole)
                    }
                    _ => step,
                }
            }
        };
        Ok(match dim.panel {
            None => vec![extent],
            Some(Panel { elements: n, .. }) => {
                let zero = self.b.int(0);
                let extent = if self.is_size(extent) { extent } else { self.b.max(extent, zero) };
                vec![self.b.ceil_div(extent, n), self.b.int(n)]
            }
        })
    }

    fn hull_extent(&mut self, lo: ExprId, hi: ExprId) -> Result<nest::ExprId, Diagnostic> {
        let (lo, hi) = (self.pure(lo)?, self.pure(hi)?);
        let extent = self.b.sub(hi, lo);
        let zero = self.b.int(0);
        Ok(if self.is_size(extent) { extent } else { self.b.max(extent, zero) })
    }

    /// Which dimensions are to be no longer than their axes. The outermost always is, since no stride depends on it, and
    /// so is what lies outside a dimension whose length sizes tell. Others have constant extents, for the sake of constant
    /// strides, unless the buffer would be large.
    fn tight(&self, dims: &[Dim], dtype: DType) -> Vec<bool> {
        let points = |d: &Dim| match d.base {
            Base::Block => self.levels.block_count(d.axis),
            Base::Level(_, step, _) => step,
            Base::Hull(..) => 1,
            Base::Around(_, step, halo, _) => halo.points(step),
        };
        let elements = dims.iter().map(points).fold(1, i64::saturating_mul);
        let large = elements.saturating_mul(dtype.size() as i64) > LARGE;
        // As `arrange` puts them: the numbers of panels come first.
        let mut inward: Vec<usize> = (0..dims.len()).collect();
        inward.sort_by_key(|n| dims[*n].panel.is_none_or(|p| p.deep));
        let mut tight = vec![large; dims.len()];
        let mut varies = false;
        for n in inward.iter().rev() {
            tight[*n] |= varies;
            varies |= matches!(dims[*n].base, Base::Hull(..));
        }
        if let Some(outermost) = inward.first() {
            tight[*outermost] = true;
        }
        tight
    }

    fn is_size(&self, e: nest::ExprId) -> bool {
        matches!(self.b.nest().exprs[e].kind, nest::ExprKind::Size(_) | nest::ExprKind::Const(_))
    }

    /// Puts panels together: the panel number outermost, the place in the panel innermost. Of deep ones, the number stays
    /// where the dimension is, and the place comes last of all.
    fn arrange(dims: &[Dim], parts: Vec<Vec<nest::ExprId>>) -> Vec<nest::ExprId> {
        let [mut front, mut middle, mut back, mut last] = [const { Vec::new() }; 4];
        for (dim, mut part) in dims.iter().zip(parts) {
            let Some(panel) = dim.panel.filter(|_| part.len() == 2) else {
                middle.append(&mut part);
                continue;
            };
            let (numbers, places) =
                if panel.deep { (&mut middle, &mut last) } else { (&mut front, &mut back) };
            places.extend(part.pop());
            numbers.extend(part.pop());
        }
        [front, middle, back, last].concat()
    }

    pub(super) fn value_buffer(&mut self, value: ValueId) -> Result<ValueBuffer, Diagnostic> {
        if let Some(found) = self.buffers.get(&value) {
            return Ok(found.clone());
        }
        if let Some((tensor, axes)) = self.in_place.homes.get(&value) {
            let parts = vec![self.tensors[tensor.index()].buffer];
            let tensor = Some((*tensor, axes.clone()));
            return Ok(ValueBuffer { parts, dims: Vec::new(), space: HomeSpace::Local, tensor });
        }
        let v = &self.form.func.values[value];
        let (space, dims) = match &self.homes[value.index()] {
            Some(Home::Buffer { space, dims }) => (*space, dims.clone()),
            _ => (HomeSpace::Register, Vec::new()),
        };
        let buffer = self.make_buffer(&v.name, v.dtype, space, dims, v.span)?;
        self.buffers.insert(value, buffer.clone());
        Ok(buffer)
    }

    pub(super) fn make_buffer(
        &mut self,
        name: &str,
        dtype: DType,
        space: HomeSpace,
        dims: Vec<Dim>,
        span: Span,
    ) -> Result<ValueBuffer, Diagnostic> {
        let element = machine_type(dtype.real(), span)?;
        let mut tight = self.tight(&dims, element);
        if space == HomeSpace::Shared {
            // Near memory is shared out before the launch.
            tight.fill(false);
        }
        let mut shape = Vec::new();
        for (d, tight) in dims.iter().zip(tight) {
            let extent = self.dim_extent(d, space, tight)?;
            shape.push(extent);
        }
        let shape = Self::arrange(&dims, shape);
        let count = if dtype.is_complex() { 2 } else { 1 };
        let mut parts = Vec::new();
        for n in 0..count {
            let name = match (count, n) {
                (2, 0) => format!("{name}.re"),
                (2, _) => format!("{name}.im"),
                _ => name.to_owned(),
            };
            let place = match space {
                HomeSpace::Register => Space::Register,
                HomeSpace::Local => Space::Local,
                HomeSpace::Shared => Space::Shared,
                HomeSpace::Global => {
                    self.next_slot += 1;
                    Space::Global(self.next_slot - 1)
                }
            };
            let buffer = self.b.add_buffer(&name, element, &shape, place);
            if space == HomeSpace::Global {
                self.scratch.push((buffer, element));
            }
            parts.push(buffer);
        }
        Ok(ValueBuffer { parts, dims, space, tensor: None })
    }

    pub(super) fn value_index(
        &mut self,
        buffer: &ValueBuffer,
        at: Option<&[Option<nest::ExprId>]>,
    ) -> Result<Vec<nest::ExprId>, Diagnostic> {
        if let Some((tensor, axes)) = &buffer.tensor {
            let at: Vec<nest::ExprId> = axes.iter().map(|a| self.axis(*a)).collect::<Result<_, _>>()?;
            return Ok(self.buffer_index(*tensor, &at));
        }
        let mut parts = Vec::new();
        for dim in &buffer.dims {
            let at = at.and_then(|ix| ix[dim.position]);
            let part = self.dim_index(dim, buffer.space, at)?;
            parts.push(part);
        }
        Ok(Self::arrange(&buffer.dims, parts))
    }

    /// The indices of an access to a value: `None` where an index is the value's own axis.
    pub(in crate::schedule) fn value_at(
        &mut self,
        value: ValueId,
        index: &[ExprId],
    ) -> Result<Vec<Option<nest::ExprId>>, Diagnostic> {
        let axes = &self.form.func.values[value].axes;
        let mut out = Vec::new();
        for (e, axis) in index.iter().zip(axes) {
            let own = matches!(self.form.func.exprs[*e].kind, ExprKind::Axis(a) if a == *axis);
            out.push(if own { None } else { Some(self.real(*e)?) });
        }
        Ok(out)
    }

    /// Reads a value at the current point or at indices of its axes.
    pub(in crate::schedule) fn read_value(
        &mut self,
        value: ValueId,
        at: Option<&[Option<nest::ExprId>]>,
    ) -> Result<Val, Diagnostic> {
        if let Some(v) = self.lets.get(&value) {
            return Ok(*v);
        }
        let buffer = self.value_buffer(value)?;
        let index = self.value_index(&buffer, at)?;
        Ok(self.read_parts(&buffer.parts, &index))
    }

    /// An element of a buffer, or of one for each part of a complex number.
    pub(super) fn read_parts(&mut self, parts: &[BufferId], index: &[nest::ExprId]) -> Val {
        match *parts {
            [re, im] => Val::Complex(self.b.load(re, index), self.b.load(im, index)),
            _ => Val::Real(self.b.load(parts[0], index)),
        }
    }

    /// Writes a value at the current point or at indices of its axes.
    pub(in crate::schedule) fn write_value(
        &mut self,
        value: ValueId,
        at: Option<&[Option<nest::ExprId>]>,
        v: Val,
    ) -> Result<(), Diagnostic> {
        if matches!(self.homes[value.index()], Some(Home::Let)) {
            let name = self.form.func.values[value].name.clone();
            let bound = self.bind(&name, v);
            self.lets.insert(value, bound);
            return Ok(());
        }
        let buffer = self.value_buffer(value)?;
        let index = self.value_index(&buffer, at)?;
        self.write_parts(&buffer.parts, &index, v);
        Ok(())
    }

    /// As [`Emitter::read_parts`], written.
    pub(super) fn write_parts(&mut self, parts: &[BufferId], index: &[nest::ExprId], v: Val) {
        let values = match v {
            Val::Real(x) => vec![x],
            // The second part is computed before the first one that it reads is written.
            Val::Complex(re, im)
                if parts.first().is_some_and(|b| self.b.nest().loads_from(im, |from| from == *b)) =>
            {
                let (stmt, im) = self.b.bind("im", im);
                self.out.push(stmt);
                vec![re, im]
            }
            Val::Complex(re, im) => vec![re, im],
        };
        for (buffer, value) in parts.iter().zip(values) {
            let stmt = self.b.store(*buffer, index, value);
            self.out.push(stmt);
        }
    }

    /// Binds a value to names.
    pub(in crate::schedule) fn bind(&mut self, name: &str, v: Val) -> Val {
        let one = |e: &mut Self, x: nest::ExprId| {
            let (stmt, var) = e.b.bind(name, x);
            e.out.push(stmt);
            var
        };
        match v {
            Val::Real(x) => Val::Real(one(self, x)),
            Val::Complex(re, im) => Val::Complex(one(self, re), one(self, im)),
        }
    }
}

//! From the tree of loops to a nest. Loops with a block below them are peeled: full blocks, then single points; where
//! reads leave a tensor at its edges, blocks of the interior read without the edge rule and the ends are single points.
//!
//! ```text
//! for j in lo..hi step 16 { b }  =>  for j in lo..mid step 16 { b, 16 points }  for j in mid..hi { b, 1 point }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::DType;

use super::bounds;
use super::form::{Action, Form, StmtId, operands};
use super::fuse::Tree;
use super::levels::{LevelId, LevelKind, Levels};
use super::storage::{Base, Dim, Home, HomeSpace};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, ExprId, ExprKind, ReduceOp, TensorId, ValueId};
use crate::nest::build::Builder;
use crate::nest::ir::{self as nest, BinaryOp, BufferId, LoopKind, Space};

/// A value of any type: a number, or a complex pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Val {
    /// Anything but complex.
    Real(nest::ExprId),
    /// Real and imaginary part.
    Complex(nest::ExprId, nest::ExprId),
}

/// How a tensor of the kernel is found in memory.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// The buffer.
    pub(crate) buffer: BufferId,
    /// For each dimension of the buffer: the tensor's dimension and what its index 0 stands for, or a fixed index.
    pub(crate) dims: Vec<BindingDim>,
    /// Dimension of the buffer along which sub-byte elements share bytes.
    pub(crate) packed: Option<usize>,
}

/// A dimension of a buffer as a tensor sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BindingDim {
    /// Dimension of the tensor, and the index of the buffer where it starts.
    View(usize, Option<nest::ExprId>),
    /// Held at an index.
    Fixed(nest::ExprId),
}

/// The state of an axis while its loops are written.
#[derive(Clone, Copy, Debug, Default)]
struct AxisState {
    /// First point of the current pass of the innermost open step level.
    base: Option<nest::ExprId>,
    /// Point within the block.
    block: Option<nest::ExprId>,
    /// Blocks have one point.
    single: bool,
    /// No read leaves its tensor along the axis.
    interior: bool,
}

/// A buffer of a value: two for complex values.
#[derive(Clone, Debug)]
struct ValueBuffer {
    parts: Vec<BufferId>,
    dims: Vec<Dim>,
    space: HomeSpace,
}

/// Writes a nest.
pub(crate) struct Emitter<'a> {
    /// The kernel.
    pub(crate) form: &'a Form,
    /// Its loops.
    pub(crate) levels: &'a Levels,
    /// The nest.
    pub(crate) b: Builder,
    /// Where tensors are.
    pub(crate) tensors: Vec<Binding>,
    /// Where values live.
    homes: &'a [Option<Home>],
    axes: Vec<AxisState>,
    level_base: BTreeMap<LevelId, nest::ExprId>,
    counters: BTreeMap<AxisId, nest::ExprId>,
    lets: BTreeMap<ValueId, Val>,
    buffers: BTreeMap<ValueId, ValueBuffer>,
    /// Scratch buffers that all phases see, in order of slots.
    pub(crate) scratch: Vec<(BufferId, DType)>,
    pub(super) out: Vec<nest::Stmt>,
    pub(super) memo: super::expr::Memo,
    pub(super) shared: BTreeSet<ExprId>,
    pub(super) guard: Option<nest::ExprId>,
    pub(super) tables: BTreeMap<usize, BufferId>,
    next_slot: u32,
}

impl<'a> Emitter<'a> {
    /// An emitter into `b`, whose sizes, scalars and tensor buffers are there.
    pub(crate) fn new(
        form: &'a Form,
        levels: &'a Levels,
        homes: &'a [Option<Home>],
        b: Builder,
        tensors: Vec<Binding>,
        next_slot: u32,
    ) -> Emitter<'a> {
        Emitter {
            form,
            levels,
            b,
            tensors,
            homes,
            axes: vec![AxisState::default(); form.func.axes.len()],
            level_base: BTreeMap::new(),
            counters: BTreeMap::new(),
            lets: BTreeMap::new(),
            buffers: BTreeMap::new(),
            scratch: Vec::new(),
            out: Vec::new(),
            memo: BTreeMap::new(),
            shared: BTreeSet::new(),
            guard: None,
            tables: BTreeMap::new(),
            next_slot,
        }
    }

    /// Writes a phase whose passes over the outermost `cores` loops are shared out.
    ///
    /// # Errors
    /// A diagnostic for a construct that the processor cannot run.
    pub(crate) fn phase(&mut self, trees: &[Tree], cores: usize) -> Result<(), Diagnostic> {
        let mut loops = Vec::new();
        let mut body: &[Tree] = trees;
        for _ in 0..cores {
            let [Tree::Loop { level, body: inner, .. }] = body else { break };
            let (lo, hi) = self.bounds(*level)?;
            let LevelKind::Step(step) = self.levels.all[*level].kind else { break };
            let (core, var) = self.b.core_loop(&self.levels.all[*level].name, (lo, hi, step));
            loops.push(core);
            self.enter(*level, var);
            body = inner;
        }
        let stmts = self.collect(|e| e.trees(body))?;
        let mut all = Vec::new();
        for (table, buffer) in std::mem::take(&mut self.tables) {
            all.extend(self.fill_table(table, buffer));
        }
        all.extend(stmts);
        self.b.add_phase(loops, all);
        self.lets.clear();
        self.level_base.clear();
        self.axes.fill(AxisState::default());
        Ok(())
    }

    fn fill_table(&mut self, table: usize, buffer: BufferId) -> Vec<nest::Stmt> {
        let data = self.form.tables[table].data.clone();
        let dtype = self.b.nest().buffers[buffer].dtype;
        let mut out = Vec::new();
        for (n, v) in data.iter().enumerate() {
            let index = self.b.int(i64::try_from(n).unwrap_or(0));
            let value = self.b.constant(*v, dtype);
            out.push(self.b.store(buffer, &[index], value));
        }
        out
    }

    /// The statements that `f` writes.
    pub(super) fn collect(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<Vec<nest::Stmt>, Diagnostic> {
        // Names bound inside a list are not seen outside it, and guards do not reach in.
        let before = std::mem::take(&mut self.out);
        let memo = std::mem::take(&mut self.memo);
        let shared = std::mem::take(&mut self.shared);
        let result = f(self);
        let stmts = std::mem::replace(&mut self.out, before);
        self.memo = memo;
        self.shared = shared;
        result.map(|()| stmts)
    }

    fn trees(&mut self, trees: &[Tree]) -> Result<(), Diagnostic> {
        trees.iter().try_for_each(|t| self.tree(t))
    }

    fn tree(&mut self, tree: &Tree) -> Result<(), Diagnostic> {
        match tree {
            Tree::Leaf(s) => self.leaf(*s),
            Tree::Loop { level, lanes, body, .. } => match self.levels.all[*level].kind {
                LevelKind::Block { count, .. } => self.block(*level, count, *lanes, body),
                LevelKind::Step(step) => self.step(*level, step, body),
            },
            Tree::Seq { axis, level, body, .. } => self.seq(*axis, *level, body),
            Tree::If { cond, then, otherwise, .. } => {
                self.begin(&[*cond]);
                let cond = self.real(*cond)?;
                let then = self.collect(|e| e.trees(then))?;
                let otherwise = self.collect(|e| e.trees(otherwise))?;
                self.out.push(nest::Stmt::If { cond, then, otherwise });
                Ok(())
            }
        }
    }

    fn enter(&mut self, level: LevelId, var: nest::ExprId) {
        self.level_base.insert(level, var);
        let axis = self.levels.all[level].axis;
        self.axes[axis.index()].base = Some(var);
    }

    /// The range of a step level where it stands.
    fn bounds(&mut self, level: LevelId) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let (lo, hi) = (self.form.func.axes[axis].lo, self.form.func.axes[axis].hi);
        self.begin(&[lo, hi]);
        let outer: Vec<LevelId> =
            self.levels.chain(axis).iter().copied().take_while(|l| *l != level).collect();
        let hi = self.real(hi)?;
        let Some(nearest) = outer.last() else { return Ok((self.real(lo)?, hi)) };
        let base = self.level_base[nearest];
        let (mut end, mut inner) = (hi, 0);
        for level in outer.iter().rev() {
            let LevelKind::Step(step) = self.levels.all[*level].kind else { break };
            // A tile that its inner tiles do not divide cuts the last of them short.
            if inner == 0 || step % inner != 0 {
                let tile = self.b.add_int(self.level_base[level], step);
                end = self.b.min(tile, end);
            }
            inner = step;
        }
        Ok((base, end))
    }

    /// A loop of `f`'s statements over `lo..hi`.
    fn serial(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        if let (Some(a), Some(b)) = (self.b.const_int(lo), self.b.const_int(hi))
            && a >= b
        {
            return Ok(());
        }
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
        let counter = self.b.var(var);
        self.enter(level, counter);
        let body = self.collect(|e| e.trees(body))?;
        self.axes[axis.index()].base = saved.base;
        self.level_base.remove(&level);
        self.out.push(nest::Stmt::Loop { var, lo, hi, step, kind: LoopKind::Serial, body });
        Ok(())
    }

    fn step(&mut self, level: LevelId, step: i64, body: &[Tree]) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let (lo, hi) = self.bounds(level)?;
        let lo = self.named(lo);
        let hi = self.named(hi);
        let promoted = self.promote(level, body)?;
        let innermost = self.levels.steps(axis).last() == Some(level);
        let result = if step > 1 && innermost && self.levels.block(axis).is_some() {
            self.peeled(level, (lo, hi, step), body)
        } else {
            self.serial(level, (lo, hi, step), body)
        };
        result?;
        self.demote(promoted)
    }

    /// Binds an expression to a name unless it is a literal or a name already.
    fn named(&mut self, e: nest::ExprId) -> nest::ExprId {
        use nest::ExprKind as K;
        if matches!(self.b.nest().exprs[e].kind, K::Const(_) | K::Var(_) | K::Size(_) | K::Param(_)) {
            return e;
        }
        let (stmt, var) = self.b.bind("t", e);
        self.out.push(stmt);
        var
    }

    fn peeled(
        &mut self,
        level: LevelId,
        (lo, hi, step): (nest::ExprId, nest::ExprId, i64),
        body: &[Tree],
    ) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        let inner = self.interior(axis, body, (lo, hi))?;
        let (first, last) = match inner {
            Some((a, z)) => {
                let a = self.named(a);
                let head = self.b.min(a, hi);
                self.axes[axis.index()].single = true;
                self.serial(level, (lo, head, 1), body)?;
                let z = self.b.max(a, z);
                (a, z)
            }
            None => (lo, self.b.max(lo, hi)),
        };
        let length = self.b.sub(last, first);
        let whole = {
            let n = self.b.int(step);
            let blocks = self.b.binary(BinaryOp::DivNonNeg, length, n);
            self.b.mul(blocks, n)
        };
        let middle = self.b.add(first, whole);
        let middle = self.named(middle);
        self.axes[axis.index()].single = false;
        self.axes[axis.index()].interior = inner.is_some();
        self.serial(level, (first, middle, step), body)?;
        self.axes[axis.index()].interior = false;
        self.axes[axis.index()].single = true;
        self.serial(level, (middle, hi, 1), body)?;
        self.axes[axis.index()] = saved;
        Ok(())
    }

    /// The part of a range where no read below leaves its tensor along the axis; `None` if no read ever does.
    fn interior(
        &mut self,
        axis: AxisId,
        body: &[Tree],
        (lo, hi): (nest::ExprId, nest::ExprId),
    ) -> Result<Option<(nest::ExprId, nest::ExprId)>, Diagnostic> {
        let mut stmts = Vec::new();
        body.iter().for_each(|t| t.stmts(&mut stmts));
        let mut edges: Vec<(i64, i64, TensorId, usize)> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut work: Vec<ExprId> = stmts.iter().flat_map(|s| self.form.stmts[*s].action.exprs()).collect();
        while let Some(e) = work.pop() {
            if !seen.insert(e) {
                continue;
            }
            let kind = &self.form.func.exprs[e].kind;
            if let ExprKind::Load { tensor, index, leaves } = kind {
                for (d, (ix, leaves)) in index.iter().zip(leaves).enumerate() {
                    if *leaves && let Some((a, z)) = bounds::offset(self.form, *ix, axis) {
                        edges.push((a, z, *tensor, d));
                    }
                }
            }
            work.extend(operands(kind));
        }
        if edges.is_empty() || self.form.info.iter().any(|i| i.panel.is_some_and(|(a, _)| a == axis)) {
            return Ok(None);
        }
        let (mut first, mut last) = (lo, hi);
        for (a, z, tensor, d) in edges {
            let least = self.b.int(-a);
            first = self.b.max(first, least);
            let extent = self.pure(self.form.func.tensors[tensor].shape[d])?;
            let most = self.b.add_int(extent, -z);
            last = self.b.min(last, most);
        }
        Ok(Some((first, last)))
    }

    fn block(&mut self, level: LevelId, count: i64, lanes: bool, body: &[Tree]) -> Result<(), Diagnostic> {
        let axis = self.levels.all[level].axis;
        let saved = self.axes[axis.index()];
        if saved.single {
            self.axes[axis.index()].block = Some(self.b.int(0));
            self.trees(body)?;
        } else if !lanes && self.selects_table(axis, body) {
            for n in 0..count {
                self.axes[axis.index()].block = Some(self.b.int(n));
                self.trees(body)?;
            }
        } else {
            let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
            self.axes[axis.index()].block = Some(self.b.var(var));
            let body = self.collect(|e| e.trees(body))?;
            let (lo, hi) = (self.b.int(0), self.b.int(count));
            let kind = if lanes { LoopKind::Lanes } else { LoopKind::Unrolled };
            self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind, body });
        }
        self.axes[axis.index()] = saved;
        Ok(())
    }

    /// Whether an axis picks elements of constant tables, so that writing its points out makes them literals.
    fn selects_table(&self, axis: AxisId, body: &[Tree]) -> bool {
        let mut stmts = Vec::new();
        body.iter().for_each(|t| t.stmts(&mut stmts));
        let mut seen = BTreeSet::new();
        let mut work: Vec<ExprId> = stmts.iter().flat_map(|s| self.form.stmts[*s].action.exprs()).collect();
        while let Some(e) = work.pop() {
            if !seen.insert(e) {
                continue;
            }
            let expr = &self.form.func.exprs[e];
            if matches!(expr.kind, ExprKind::Table { .. }) && expr.axes.contains(&axis) {
                return true;
            }
            work.extend(operands(&expr.kind));
        }
        false
    }

    fn seq(&mut self, axis: AxisId, level: Option<LevelId>, body: &[Tree]) -> Result<(), Diagnostic> {
        if let Some(level) = level {
            let LevelKind::Step(step) = self.levels.all[level].kind else { return self.trees(body) };
            let (lo, hi) = self.bounds(level)?;
            let hi = self.named(hi);
            return self.serial(level, (lo, hi, step), body);
        }
        let (lo, hi) = (self.form.func.axes[axis].lo, self.form.func.axes[axis].hi);
        self.begin(&[lo, hi]);
        let (lo, hi) = (self.real(lo)?, self.real(hi)?);
        let hi = self.named(hi);
        let var = self.b.add_var(&self.form.func.axes[axis].name, DType::I64);
        let counter = self.b.var(var);
        self.counters.insert(axis, counter);
        let body = self.collect(|e| e.trees(body))?;
        self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Serial, body });
        Ok(())
    }

    /// The logical index of an axis or counter.
    pub(super) fn axis(&mut self, axis: AxisId) -> Result<nest::ExprId, Diagnostic> {
        if let Some(counter) = self.counters.get(&axis) {
            return Ok(*counter);
        }
        let state = self.axes[axis.index()];
        let base = match state.base {
            Some(base) => base,
            None => {
                let lo = self.form.func.axes[axis].lo;
                self.pure(lo)?
            }
        };
        Ok(match state.block {
            Some(block) => self.b.add(base, block),
            None => base,
        })
    }

    /// Whether no read leaves its tensor by an index near this axis.
    pub(super) fn is_interior(&self, axis: AxisId) -> bool {
        self.axes[axis.index()].interior
    }

    /// The index into a dimension of a value's buffer for the current point, or for an index of the axis.
    fn dim_index(&mut self, dim: &Dim, at: Option<nest::ExprId>) -> Result<Vec<nest::ExprId>, Diagnostic> {
        let state = self.axes[dim.axis.index()];
        let zero = self.b.int(0);
        let block = state.block.unwrap_or(zero);
        let origin = match dim.base {
            Base::Block => {
                return match at {
                    None => Ok(vec![block]),
                    // Another point of a block: the block is the whole axis.
                    Some(at) => {
                        let lo = self.form.func.axes[dim.axis].lo;
                        let lo = self.pure(lo)?;
                        Ok(vec![self.b.sub(at, lo)])
                    }
                };
            }
            Base::Level(level, _) => self.level_base[&level],
            Base::Hull(lo, _) => self.pure(lo)?,
        };
        let base = match state.base {
            Some(base) => base,
            None => {
                let lo = self.form.func.axes[dim.axis].lo;
                self.pure(lo)?
            }
        };
        let (start, rest) = match at {
            Some(at) => (at, zero),
            None => (base, block),
        };
        let offset = self.b.sub(start, origin);
        let Some(panel) = dim.panel else { return Ok(vec![self.b.add(offset, rest)]) };
        let n = self.b.int(panel);
        let outer = self.b.binary(BinaryOp::DivNonNeg, offset, n);
        let full = at.is_none() && !state.single && self.levels.block_count(dim.axis) == panel;
        let inner = if full {
            rest
        } else {
            let r = self.b.binary(BinaryOp::RemNonNeg, offset, n);
            self.b.add(r, rest)
        };
        Ok(vec![outer, inner])
    }

    fn dim_extent(&mut self, dim: &Dim) -> Result<Vec<nest::ExprId>, Diagnostic> {
        let extent = match dim.base {
            Base::Block => self.b.int(self.levels.block_count(dim.axis)),
            Base::Level(_, step) => self.b.int(step),
            Base::Hull(lo, hi) => {
                let (lo, hi) = (self.pure(lo)?, self.pure(hi)?);
                let extent = self.b.sub(hi, lo);
                let zero = self.b.int(0);
                if self.is_size(extent) { extent } else { self.b.max(extent, zero) }
            }
        };
        Ok(match dim.panel {
            None => vec![extent],
            Some(n) => {
                let zero = self.b.int(0);
                let extent = if self.is_size(extent) { extent } else { self.b.max(extent, zero) };
                vec![self.b.ceil_div(extent, n), self.b.int(n)]
            }
        })
    }

    fn is_size(&self, e: nest::ExprId) -> bool {
        matches!(self.b.nest().exprs[e].kind, nest::ExprKind::Size(_) | nest::ExprKind::Const(_))
    }

    /// Puts panels together: the panel number outermost, the place in the panel innermost.
    fn arrange(dims: &[Dim], parts: Vec<Vec<nest::ExprId>>) -> Vec<nest::ExprId> {
        let mut front = Vec::new();
        let mut middle = Vec::new();
        let mut back = Vec::new();
        for (dim, mut part) in dims.iter().zip(parts) {
            if dim.panel.is_some() && part.len() == 2 {
                back.extend(part.pop());
                front.extend(part.pop());
            } else {
                middle.append(&mut part);
            }
        }
        front.into_iter().chain(middle).chain(back).collect()
    }

    fn value_buffer(&mut self, value: ValueId) -> Result<ValueBuffer, Diagnostic> {
        if let Some(found) = self.buffers.get(&value) {
            return Ok(found.clone());
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

    fn make_buffer(
        &mut self,
        name: &str,
        dtype: DType,
        space: HomeSpace,
        dims: Vec<Dim>,
        span: Span,
    ) -> Result<ValueBuffer, Diagnostic> {
        let element = machine_type(dtype.real(), span)?;
        let mut shape = Vec::new();
        for d in &dims {
            let extent = self.dim_extent(d)?;
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
        Ok(ValueBuffer { parts, dims, space })
    }

    fn value_index(
        &mut self,
        buffer: &ValueBuffer,
        at: Option<&[Option<nest::ExprId>]>,
    ) -> Result<Vec<nest::ExprId>, Diagnostic> {
        let mut parts = Vec::new();
        for dim in &buffer.dims {
            let at = at.and_then(|ix| ix[dim.position]);
            let part = self.dim_index(dim, at)?;
            parts.push(part);
        }
        Ok(Self::arrange(&buffer.dims, parts))
    }

    /// The indices of an access to a value: `None` where an index is the value's own axis.
    pub(super) fn value_at(
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
    pub(super) fn read_value(
        &mut self,
        value: ValueId,
        at: Option<&[Option<nest::ExprId>]>,
    ) -> Result<Val, Diagnostic> {
        if let Some(v) = self.lets.get(&value) {
            return Ok(*v);
        }
        let buffer = self.value_buffer(value)?;
        let index = self.value_index(&buffer, at)?;
        Ok(match buffer.parts[..] {
            [re, im] => Val::Complex(self.b.load(re, &index), self.b.load(im, &index)),
            _ => Val::Real(self.b.load(buffer.parts[0], &index)),
        })
    }

    /// Writes a value at the current point or at indices of its axes.
    pub(super) fn write_value(
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

    fn write_parts(&mut self, parts: &[BufferId], index: &[nest::ExprId], v: Val) {
        let values = match v {
            Val::Real(x) => vec![x],
            Val::Complex(re, im) => vec![re, im],
        };
        for (buffer, value) in parts.iter().zip(values) {
            let stmt = self.b.store(*buffer, index, value);
            self.out.push(stmt);
        }
    }

    /// Binds a value to names.
    pub(super) fn bind(&mut self, name: &str, v: Val) -> Val {
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

    /// Accumulators in memory that a reduced loop only adds to live in registers for its time.
    ///
    /// ```text
    /// for k { acc[i,j] += e }  =>  r = acc[i,j];  for k { r += e };  acc[i,j] = r
    /// ```
    fn promote(&mut self, level: LevelId, body: &[Tree]) -> Result<Vec<Promotion>, Diagnostic> {
        let mut stmts = Vec::new();
        body.iter().for_each(|t| t.stmts(&mut stmts));
        let axis = self.levels.all[level].axis;
        let mut out = Vec::new();
        for s in &stmts {
            let Action::Accumulate { value, .. } = &self.form.stmts[*s].action else { continue };
            let axes = self.form.func.values[*value].axes.clone();
            if axes.contains(&axis) || self.touched_elsewhere(*value, *s, &stmts) {
                continue;
            }
            let Some(Home::Buffer { space, .. }) = &self.homes[value.index()] else { continue };
            let fixed = axes.iter().all(|a| {
                self.levels.steps(*a).all(|l| self.level_base.contains_key(&l) && !loops_inside(body, l))
            });
            let held = self.buffers.get(value).is_some_and(|b| b.space == HomeSpace::Register);
            let size: i64 = axes.iter().map(|a| self.levels.block_count(*a)).product();
            let lanes = axes.iter().filter(|a| self.levels.has_lanes(**a)).count();
            if *space == HomeSpace::Register || held || !fixed || size > 256 || lanes > 1 {
                continue;
            }
            let memory = self.value_buffer(*value)?;
            let mut dims: Vec<Dim> = axes
                .iter()
                .enumerate()
                .filter(|(_, a)| self.levels.block(**a).is_some())
                .map(|(position, a)| Dim { axis: *a, position, base: Base::Block, panel: None })
                .collect();
            dims.sort_by_key(|d| self.levels.has_lanes(d.axis));
            let v = &self.form.func.values[*value];
            let registers = self.make_buffer(&v.name, v.dtype, HomeSpace::Register, dims, v.span)?;
            let promotion = Promotion { value: *value, memory, registers };
            self.exchange(&promotion, true)?;
            self.buffers.insert(*value, promotion.registers.clone());
            out.push(promotion);
        }
        Ok(out)
    }

    fn touched_elsewhere(&self, value: ValueId, stmt: StmtId, stmts: &[StmtId]) -> bool {
        stmts.iter().any(|s| {
            if *s == stmt {
                return false;
            }
            let action = &self.form.stmts[*s].action;
            let mut found = Vec::new();
            let mut seen = BTreeSet::new();
            for e in action.exprs() {
                super::access::reads(self.form, e, &mut seen, &mut found);
            }
            action.written_value() == Some(value)
                || matches!(action, Action::Scan { run, .. } if *run == value)
                || found.iter().any(|a| a.object == super::access::Object::Value(value))
        })
    }

    fn demote(&mut self, promotions: Vec<Promotion>) -> Result<(), Diagnostic> {
        for p in promotions {
            self.exchange(&p, false)?;
            self.buffers.insert(p.value, p.memory);
        }
        Ok(())
    }

    /// Copies a promoted accumulator between memory and registers, block by block.
    fn exchange(&mut self, p: &Promotion, load: bool) -> Result<(), Diagnostic> {
        let axes: Vec<AxisId> = p.registers.dims.iter().map(|d| d.axis).collect();
        self.over_blocks(&axes, &mut |e: &mut Self| {
            let (from, to) = if load { (&p.memory, &p.registers) } else { (&p.registers, &p.memory) };
            let source = e.value_index(from, None)?;
            let target = e.value_index(to, None)?;
            for (a, b) in from.parts.iter().zip(&to.parts) {
                let v = e.b.load(*a, &source);
                let stmt = e.b.store(*b, &target, v);
                e.out.push(stmt);
            }
            Ok(())
        })
    }

    fn over_blocks(
        &mut self,
        axes: &[AxisId],
        f: &mut dyn FnMut(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some((axis, rest)) = axes.split_first() else { return f(self) };
        let saved = self.axes[axis.index()];
        let Some(level) = self.levels.block(*axis) else { return self.over_blocks(rest, f) };
        if saved.single {
            self.axes[axis.index()].block = Some(self.b.int(0));
            self.over_blocks(rest, f)?;
        } else {
            let lanes = self.levels.has_lanes(*axis);
            let var = self.b.add_var(&self.levels.all[level].name, DType::I64);
            self.axes[axis.index()].block = Some(self.b.var(var));
            let body = self.collect(|e| e.over_blocks(rest, f))?;
            let (lo, hi) = (self.b.int(0), self.b.int(self.levels.block_count(*axis)));
            let kind = if lanes { LoopKind::Lanes } else { LoopKind::Unrolled };
            self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind, body });
        }
        self.axes[axis.index()] = saved;
        Ok(())
    }
}

/// An accumulator that lives in registers during a loop.
struct Promotion {
    value: ValueId,
    memory: ValueBuffer,
    registers: ValueBuffer,
}

fn loops_inside(trees: &[Tree], wanted: LevelId) -> bool {
    trees.iter().any(|t| match t {
        Tree::Leaf(_) => false,
        Tree::Loop { level, body, .. } => *level == wanted || loops_inside(body, wanted),
        Tree::Seq { level, body, .. } => *level == Some(wanted) || loops_inside(body, wanted),
        Tree::If { then, otherwise, .. } => loops_inside(then, wanted) || loops_inside(otherwise, wanted),
    })
}

/// The type that a processor holds an element in.
///
/// # Errors
/// E0701 for the 8-bit floats.
pub(crate) fn machine_type(dtype: DType, span: Span) -> Result<DType, Diagnostic> {
    Ok(match dtype {
        DType::Tf32 => DType::F32,
        DType::Int { signed, bits } if bits < 8 => DType::Int { signed, bits: 8 },
        DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0 => {
            return Err(Diagnostic::error(
                Code::Backend,
                span,
                format!("`{dtype}` is not supported on the CPU"),
            ));
        }
        other => other.real(),
    })
}

/// The operator of two numbers that a reduction repeats.
pub(crate) fn monoid(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum | ReduceOp::Dot => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max | ReduceOp::Argmax => BinaryOp::Max,
        ReduceOp::Min | ReduceOp::Argmin => BinaryOp::Min,
        ReduceOp::Any => BinaryOp::Or,
        ReduceOp::All => BinaryOp::And,
    }
}

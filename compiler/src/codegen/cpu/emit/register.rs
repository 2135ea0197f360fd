//! Register buffers: a variable per element, or per vector of the last dimension where lanes access it.

use std::collections::BTreeSet;

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Lane, Ssa, Ty};
use super::Emitter;
use super::lanes::{Lanes, Val, lane_of, scalar_of};
use super::scope::{Dep, Life};
use crate::nest::affine::Affine;
use crate::nest::ir::{BufferId, ExprId, ExprKind, LoopKind, Phase, Space, Stmt, VarId};
use crate::nest::walk::for_each_stmt;

/// The variables of a register buffer.
#[derive(Clone, Debug)]
pub(super) struct RegisterFile<R> {
    /// Type of one element; of truth values in chunks, a mask of 8 bits.
    ty: Lane,
    /// Extents; the last one padded to whole chunks in `row`.
    extents: Vec<usize>,
    /// Elements of a row of the last dimension, padding included.
    row: usize,
    /// Elements per variable: 1, or those of a chunk.
    per: usize,
    variables: Vec<R>,
}

impl<B: Ssa> Emitter<'_, B> {
    /// Makes the variables of every register buffer that a phase uses.
    pub(super) fn declare_registers(&mut self, phase: &Phase) {
        let in_lanes = self.buffers_in_lanes(&phase.body);
        let nest = self.nest;
        self.registers = nest
            .buffers
            .iter()
            .map(|(id, buffer)| {
                if buffer.space != Space::Register {
                    return None;
                }
                let extents: Vec<usize> = buffer
                    .shape
                    .iter()
                    .map(|&e| usize::try_from(nest.const_int(e).unwrap_or(0)).unwrap_or(0))
                    .collect();
                let ty = lane_of(buffer.dtype);
                let per = if in_lanes[id.index()] { self.per_chunk(ty) } else { 1 };
                let last = extents.last().copied().unwrap_or(1);
                let row = last.div_ceil(per) * per;
                let rows: usize = extents.iter().rev().skip(1).product();
                let var_ty = self.variable_type(ty, per);
                let variables = (0..rows * row / per).map(|_| self.b.variable(var_ty)).collect();
                Some(RegisterFile { ty, extents, row, per, variables })
            })
            .collect();
    }

    fn variable_type(&self, lane: Lane, per: usize) -> Ty {
        if per == 1 { Ty::scalar(lane) } else { self.vector_of(lane) }
    }

    /// The register buffers that are indexed by a lane counter.
    fn buffers_in_lanes(&self, body: &[Stmt]) -> Vec<bool> {
        let mut found = vec![false; self.nest.buffers.len()];
        self.find_in_lanes(body, None, &mut found);
        found
    }

    fn find_in_lanes(&self, body: &[Stmt], lane: Option<VarId>, found: &mut [bool]) {
        let uses = |index: &[ExprId], lane: VarId| {
            index.last().and_then(|&i| Affine::of(self.nest, i)).is_some_and(|a| a.terms.contains_key(&lane))
        };
        for stmt in body {
            let mut inner = lane;
            if let Stmt::Loop { var, kind: LoopKind::Lanes, .. } = stmt {
                inner = Some(*var);
            }
            if let Some(lane) = lane {
                if let Stmt::Store { buffer, index, .. } = stmt {
                    found[buffer.index()] |= uses(index, lane);
                }
                let mut stack = Vec::new();
                stmt.for_each_expr(|e| stack.push(e));
                let mut seen = std::collections::BTreeSet::new();
                while let Some(e) = stack.pop() {
                    if !seen.insert(e) {
                        continue;
                    }
                    let expr = &self.nest.exprs[e];
                    if let ExprKind::Load { buffer, index } = &expr.kind {
                        found[buffer.index()] |= uses(index, lane);
                    }
                    expr.for_each_operand(|o| stack.push(o));
                }
            }
            for block in stmt.blocks() {
                self.find_in_lanes(block, inner, found);
            }
        }
    }

    /// The registers that a loop's body reads and does not write, with what they hold: what is computed of them can be
    /// computed outside, before it is known where else the loop is jumped to from.
    pub(super) fn steady_registers(&mut self, body: &[Stmt]) -> Vec<(B::Variable, B::Value)> {
        let nest = self.nest;
        let (mut read, mut written, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for_each_stmt(body, &mut |s| {
            written.extend(s.written());
            s.for_each_expr(|e| nest.for_each_load(e, &mut seen, &mut |b, _| _ = read.insert(b)));
        });
        let steady = read.difference(&written).filter_map(|b| self.registers.get(b.index())?.clone());
        let variables: Vec<B::Variable> = steady.flat_map(|file| file.variables).collect();
        variables.into_iter().map(|var| (var, self.b.use_var(var))).collect()
    }

    /// Starts a chunk: nothing is carried over from the one before.
    pub(super) fn clear_registers(&mut self) {
        let files: Vec<RegisterFile<B::Variable>> = self.registers.iter().flatten().cloned().collect();
        for file in files {
            let ty = self.variable_type(file.ty, file.per);
            if !file.variables.is_empty() {
                let zero = self.zero(ty);
                for v in file.variables {
                    self.b.def_var(v, zero);
                }
            }
        }
    }

    /// Position of an access in the padded buffer, and whether it moves with the lane counter.
    fn register_place(
        &self,
        buffer: BufferId,
        index: &[ExprId],
    ) -> Option<(RegisterFile<B::Variable>, usize, bool)> {
        let file = self.registers.get(buffer.index())?.clone()?;
        let mut position = 0i64;
        let mut moves = false;
        for (d, &i) in index.iter().enumerate() {
            let last = d + 1 == index.len();
            let linear = self.linear(i);
            let extent = if last { file.row } else { file.extents[d] };
            let mut at = linear.constant;
            if linear.lane != 0 {
                moves = true;
                at += linear.lane * self.lanes.as_ref().map_or(0, |l| l.values[0]);
            }
            position = position * extent as i64 + at;
        }
        Some((file, usize::try_from(position).ok()?, moves))
    }

    /// Reads a register buffer.
    pub(super) fn load_register(&mut self, buffer: BufferId, index: &[ExprId]) -> (Val<B::Value>, Dep) {
        let dtype = self.nest.buffers[buffer].dtype;
        let dep = Dep { scope: self.scopes.innermost(), level: self.scopes.level, life: Life::Statement };
        let Some((file, at, moves)) = self.register_place(buffer, index) else {
            let zero = self.zero(scalar_of(dtype));
            return (Val::Uniform(zero), dep);
        };
        let steps = self.lane_steps();
        let value = match self.lane_count().filter(|_| moves) {
            None => Val::Uniform(self.read_element(&file, at, dtype)),
            Some(n) if file.per > 1 && at % file.per == 0 && steps == 1 => {
                let first = at / file.per;
                let chunks = (first..first + n.div_ceil(file.per))
                    .map(|c| self.b.use_var(file.variables[c]))
                    .collect();
                Val::Lanes(Lanes { ty: file.ty, chunks })
            }
            Some(n) if file.per > 1 && steps == 1 => {
                let chunks = (0..n.div_ceil(file.per)).map(|c| {
                    let (first, from) = (at / file.per + c, at % file.per);
                    let used = file.per.min(n - c * file.per);
                    let low = self.b.use_var(file.variables[first]);
                    let across = from + used > file.per;
                    let high = across.then(|| self.b.use_var(file.variables[first + 1]));
                    self.b.window(low, high, from, used)
                });
                Val::Lanes(Lanes { ty: file.ty, chunks: chunks.collect() })
            }
            Some(n) => {
                let scalars: Vec<B::Value> =
                    (0..n).map(|l| self.read_element(&file, at + l * steps, dtype)).collect();
                Val::Lanes(self.build(dtype, &scalars))
            }
        };
        (value, dep)
    }

    fn lane_steps(&self) -> usize {
        match &self.lanes {
            Some(l) if l.values.len() > 1 => usize::try_from(l.values[1] - l.values[0]).unwrap_or(1),
            _ => 1,
        }
    }

    fn read_element(&mut self, file: &RegisterFile<B::Variable>, at: usize, dtype: DType) -> B::Value {
        let v = self.b.use_var(file.variables[at / file.per]);
        if file.per == 1 {
            return v;
        }
        let lane = self.b.extract(v, at % file.per);
        // Truth values in chunks are masks.
        if dtype == DType::Bool { self.op_const(Bin::And, lane, 1) } else { lane }
    }

    fn write_element(&mut self, file: &RegisterFile<B::Variable>, at: usize, v: B::Value, dtype: DType) {
        let variable = file.variables[at / file.per];
        if file.per == 1 {
            return self.b.def_var(variable, v);
        }
        let v = if dtype == DType::Bool { self.b.mask(Lane::I8, v) } else { v };
        let chunk = self.b.use_var(variable);
        let chunk = self.b.insert(chunk, v, at % file.per);
        self.b.def_var(variable, chunk);
    }

    /// Writes a register buffer.
    pub(super) fn store_register(&mut self, buffer: BufferId, index: &[ExprId], value: &Val<B::Value>) {
        let dtype = self.nest.buffers[buffer].dtype;
        let Some((file, at, moves)) = self.register_place(buffer, index) else { return };
        let value = &self.in_running(value, dtype, |e| e.load_register(buffer, index).0);
        let steps = self.lane_steps();
        match self.lane_count().filter(|_| moves) {
            None => {
                let v = match self.lane_count() {
                    // One element for all lanes: the last one's value stays.
                    Some(n) => self.extract(value, dtype, n - 1),
                    None => self.extract_current(value, dtype),
                };
                self.write_element(&file, at, v, dtype);
            }
            Some(n) if file.per > 1 && at % file.per == 0 && steps == 1 => {
                let lanes = self.per_lane(value, dtype, file.ty, n);
                let extent = file.extents.last().copied().unwrap_or(1);
                for (c, &chunk) in lanes.chunks.iter().enumerate() {
                    let variable = file.variables[at / file.per + c];
                    let used = (n - c * file.per).min(file.per);
                    // What lies past the lanes may be overwritten only where it is padding.
                    let column = at % file.row + c * file.per;
                    let whole = used == file.per || column + used >= extent;
                    let chunk = if whole {
                        chunk
                    } else {
                        let before = self.b.use_var(variable);
                        let mask = self.lane_mask(file.ty, |l| l < used);
                        self.b.blend(mask, chunk, before)
                    };
                    self.b.def_var(variable, chunk);
                }
            }
            Some(n) => {
                for l in 0..n {
                    let v = self.extract(value, dtype, l);
                    self.write_element(&file, at + l * steps, v, dtype);
                }
            }
        }
    }
}

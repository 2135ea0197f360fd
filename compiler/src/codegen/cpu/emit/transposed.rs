//! Accesses whose lanes are far apart while points that are written out lie side by side: whole vectors along those, and
//! transposed in registers.
//!
//! ```text
//! unrolled u of 8 { lanes l of 8 { Y[l, u] = x } }  =>  x of each u; transposed; lane by lane 8 elements at once
//! unrolled u of 8 { lanes l of 8 { .. X[l, u] .. } }  =>  8 elements of each lane; transposed; the vector of each u
//! ```
//!
//! Points that are records of a few fields, as complex numbers are, are so many elements each: `Y[l, u, 0] = x; Y[l, u, 1] = y`.

use std::rc::Rc;

use rooftile_artifact::DType;

use super::super::ssa::{At, Bin, Ssa};
use super::Emitter;
use super::address::{LaneStep, Linear, Place};
use super::lanes::{Lanes, lane_of};
use super::memory::Walk;
use super::scope::Binding;
use crate::nest::ir::{BufferId, ExprId, ExprKind, LoopKind, Space, Stmt, VarId};

/// A pass of a loop that is written out.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    var: VarId,
    /// The counter in each pass.
    values: Rc<[i64]>,
    /// Which one it is.
    at: usize,
    /// Index of its scope.
    scope: usize,
    /// Branches and real loops around it.
    controls: usize,
}

/// A store that is made of several passes together.
pub(super) struct Block<'s> {
    lane: VarId,
    pub(super) lanes: Vec<i64>,
    pub(super) before: &'s [Stmt],
    pub(super) buffer: BufferId,
    pub(super) index: &'s [ExprId],
    /// Of each field.
    pub(super) values: Vec<ExprId>,
}

impl<B: Ssa> Emitter<'_, B> {
    /// The pass of a loop that begins here, in a scope of its own.
    pub(super) fn pass(&self, var: VarId, values: &Rc<[i64]>, at: usize) -> Pass {
        let (scope, controls) = (self.scopes.innermost(), self.scopes.controls());
        Pass { var, values: Rc::clone(values), at, scope, controls }
    }

    /// Loads lanes that are far apart, where the next passes of a loop that is written out read what lies beside them.
    pub(super) fn load_transposed(
        &mut self,
        buffer: BufferId,
        index: &[ExprId],
        n: usize,
        place: (B::Value, i32, LaneStep<B::Value>),
    ) -> Option<Lanes<B::Value>> {
        let dtype = self.nest.buffers[buffer].dtype;
        let lane = lane_of(dtype);
        if dtype == DType::Bool || !self.b.can_transpose(lane) {
            return None;
        }
        let (ty, per) = (self.vector_of(lane), self.per_chunk(lane));
        let (controls, passes) = (self.scopes.controls(), self.passes_around.clone());
        let record =
            self.field(buffer, index).filter(|(_, fields)| per.is_multiple_of(*fields) && index.len() > 1);
        let (field, fields) = record.unwrap_or((0, 1));
        let points = per / fields;
        let whole = |p: &&Pass| {
            n.is_multiple_of(per) && p.values.len().is_multiple_of(points) && p.controls == controls
        };
        let moved = &index[..index.len() - usize::from(record.is_some())];
        let pass = passes.iter().rev().filter(whole).find(|p| self.is_beside(p, moved))?;
        let (row, (base, displacement, step)) = (pass.at % points * fields + field, place);
        let offset = i64::from(displacement) - (row * lane.bytes()) as i64;
        let mut walk = Walk { base, offset, step };
        let rows: Vec<B::Value> = (0..n)
            .map(|l| {
                let at = self.walk(buffer, &mut walk, l);
                self.b.load(ty, at)
            })
            .collect();
        let chunks = rows.chunks(per).map(|rows| self.b.transpose(rows)[row]).collect();
        Some(Lanes { ty: lane, chunks })
    }

    /// Whether an access moves to the next element from one pass to the next, and by nothing else.
    pub(super) fn is_beside(&mut self, pass: &Pass, index: &[ExprId]) -> bool {
        let lane_is_last = index.last().is_some_and(|last| self.linear(*last).lane != 0);
        !lane_is_last && self.moves(pass, index) == Some(1)
    }

    /// By how many elements an access moves from each pass to the next, along the last dimension and no other; `None`
    /// where it may be anything else.
    pub(super) fn moves(&mut self, pass: &Pass, index: &[ExprId]) -> Option<i64> {
        let [first, second, ..] = pass.values[..] else { return None };
        let before = std::mem::replace(&mut self.bindings[pass.var.index()].0, Binding::Unbound);
        let all: Vec<Linear> = index.iter().map(|i| self.linear(*i)).collect();
        self.bindings[pass.var.index()].0 = before;
        let nest = self.nest;
        let is_counter = |e: ExprId| matches!(nest.exprs[e].kind, ExprKind::Var(v) if v == pass.var);
        // What else the index is made of is the same in all passes.
        let mut others = all.iter().flat_map(|l| l.terms.keys()).filter(|e| !is_counter(**e));
        if !others.all(|e| self.eval_dep(*e).1.scope < pass.scope) {
            return None;
        }
        let each = |l: &Linear| l.terms.iter().find(|(e, _)| is_counter(**e)).map_or(0, |(_, c)| *c);
        let (last, leading) = all.split_last()?;
        leading.iter().all(|l| each(l) == 0).then(|| each(last) * (second - first))
    }

    /// Writes all passes of a loop whose lanes store to places far apart, side by side from pass to pass. `false`, and
    /// nothing is stored, where it is not that.
    pub(super) fn store_transposed(&mut self, var: VarId, values: &Rc<[i64]>, body: &[Stmt]) -> bool {
        let Some(block) = self.store_alone(body).filter(|b| self.is_transposable(values, b)) else {
            return false;
        };
        let dtype = self.nest.buffers[block.buffer].dtype;
        let lane = lane_of(dtype);
        let (per, n) = (self.per_chunk(lane), block.lanes.len());
        let fields = block.values.len();
        let moved = &block.index[..block.index.len() - usize::from(fields > 1)];
        let mut rows: Vec<Lanes<B::Value>> = Vec::with_capacity(values.len() * fields);
        for at in 0..values.len() {
            let row = self.in_block(var, (values, at), &block, |e| {
                // What the index is made of must be bound before it is looked at.
                e.block(block.before);
                let pass = e.passes_around.last().cloned();
                if at == 0 && !pass.is_some_and(|p| e.is_beside(&p, moved)) {
                    return None;
                }
                let values = block.values.iter().map(|value| {
                    let v = e.eval(*value);
                    e.per_lane(&v, dtype, lane, n)
                });
                Some(values.collect::<Vec<_>>())
            });
            match row {
                Some(row) => rows.extend(row),
                None => return false,
            }
        }
        for (group, rows) in rows.chunks(per).enumerate() {
            self.in_block(var, (values, group * per / fields), &block, |e| {
                let Place::Strided { base, displacement, step } = e.place(block.buffer, block.index).0 else {
                    return;
                };
                let mut walk = Walk { base, offset: displacement.into(), step };
                let mut stores = Vec::with_capacity(n);
                for c in 0..n / per {
                    let chunks: Vec<B::Value> = rows.iter().map(|r| r.chunks[c]).collect();
                    for (l, column) in e.b.transpose(&chunks).into_iter().enumerate() {
                        stores.push((column, e.walk(block.buffer, &mut walk, c * per + l)));
                    }
                }
                e.store_vectors(block.buffer, &stores, step);
            });
        }
        self.scopes.memory_written();
        true
    }

    /// What `f` writes in one pass of the loop that is written out, within the lane loop inside.
    pub(super) fn in_block<R>(
        &mut self,
        var: VarId,
        pass: (&Rc<[i64]>, usize),
        block: &Block<'_>,
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.in_pass(var, pass, |e| {
            e.scopes.next_statement();
            e.in_lanes(block.lane, block.lanes.clone(), f)
        })
    }

    /// Whether lanes and passes make whole vectors.
    fn is_transposable(&self, values: &[i64], block: &Block<'_>) -> bool {
        let element = lane_of(self.nest.buffers[block.buffer].dtype);
        let (per, fields) = (self.per_chunk(element), block.values.len());
        let whole = |n: usize| n >= per && n.is_multiple_of(per);
        self.b.can_transpose(element)
            && whole(block.lanes.len())
            && per.is_multiple_of(fields)
            && (fields == 1 || block.index.len() > 1)
            && whole(values.len() * fields)
    }

    /// A lane loop alone that ends in its only store, or in those of all fields of a record, to memory that it does not
    /// read.
    pub(super) fn store_alone<'s>(&self, body: &'s [Stmt]) -> Option<Block<'s>> {
        let [Stmt::Loop { var: lane, lo, hi, step, kind: LoopKind::Lanes, body }] = body else { return None };
        let is_store = |s: &&Stmt| matches!(s, Stmt::Store { .. });
        let (before, stores) = body.split_at(body.len() - body.iter().rev().take_while(is_store).count());
        let Stmt::Store { buffer, index, .. } = stores.first()? else { return None };
        let fields = stores.len();
        let mut stored = Vec::with_capacity(fields);
        for (n, store) in stores.iter().enumerate() {
            let Stmt::Store { buffer: same, index: at, value } = store else { return None };
            let record = fields == 1 || self.field(*same, at) == Some((n, fields));
            let (leading, first) = (at.len().checked_sub(1)?, index.len().checked_sub(1)?);
            if same != buffer || !record || (fields > 1 && at[..leading] != index[..first]) {
                return None;
            }
            stored.push(*value);
        }
        let lanes = self.constant_passes((*lo, *hi, *step))?;
        let place = &self.nest.buffers[*buffer];
        let fits = self.lanes.is_none()
            && place.dtype != DType::Bool
            && matches!(place.space, Space::Global(_) | Space::Local)
            && before.iter().all(|s| matches!(s, Stmt::Let { .. }));
        let reads = |e: ExprId| self.nest.loads_from(e, |b| self.nest.buffers[b].space == place.space);
        let lets = before.iter().filter_map(|s| match s {
            Stmt::Let { value, .. } => Some(*value),
            _ => None,
        });
        let apart = !lets.chain(stored.iter().copied()).chain(index.iter().copied()).any(reads);
        (fits && apart).then(|| Block { lane: *lane, lanes, before, buffer: *buffer, index, values: stored })
    }

    /// Whole vectors, `step` bytes apart: past the caches where the buffer is for that.
    fn store_vectors(
        &mut self,
        buffer: BufferId,
        stores: &[(B::Value, At<B::Value>)],
        step: LaneStep<B::Value>,
    ) {
        let (Some(small), Some((_, first))) = (self.small[buffer.index()], stores.first()) else {
            stores.iter().for_each(|(v, at)| self.b.store(*v, *at));
            return;
        };
        let apart = match step {
            LaneStep::Const(c) => self.int64(c),
            LaneStep::Value(v) => v,
        };
        let refused = self.b.binary(Bin::Or, small, apart);
        self.store_past_caches(stores, *first, refused);
    }
}

//! Statements.

use std::rc::Rc;

use rooftile_artifact::DType;

use super::super::ssa::{At, AtomicOp, Bin, Cmp, Lane, Region, Ssa, Ty};
use super::lanes::{Lanes, Val};
use super::scope::{Binding, Life};
use super::settle::Watch;
use super::{Emitter, LaneLoop};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt, VarId};
use crate::nest::settle::settling;
use crate::nest::walk::for_each_stmt;

impl<B: Ssa> Emitter<'_, B> {
    pub(super) fn block(&mut self, block: &[Stmt]) {
        let mut rest = block;
        while let [stmt, after @ ..] = rest {
            self.scopes.next_statement();
            rest = match after {
                [next, after @ ..] if self.store_pair(stmt, next) => after,
                _ => {
                    self.stmt(stmt);
                    after
                }
            };
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => match kind {
                // Nests with threads or subgroups are refused before.
                LoopKind::Serial | LoopKind::Threads { .. } | LoopKind::Subgroups { .. } => {
                    self.serial(*var, (*lo, *hi, *step), body);
                }
                LoopKind::Unrolled => {
                    self.in_forms(stmt, |e| e.unrolled(*var, (*lo, *hi, *step), body));
                }
                LoopKind::Lanes => self.in_forms(stmt, |e| e.lane_loop(*var, (*lo, *hi, *step), body)),
            },
            Stmt::Let { var, value } => {
                let (v, mut dep) = self.eval_dep(*value);
                if dep.life == Life::Scope {
                    let is_index = self.nest.exprs[*value].dtype == DType::I64;
                    self.definitions[var.index()] = is_index.then_some(*value);
                } else {
                    // The value was read now and is not read again.
                    self.definitions[var.index()] = None;
                    dep.life = Life::Scope;
                    dep.scope = self.scopes.innermost();
                    dep.level = self.scopes.level;
                }
                self.bindings[var.index()] = (Binding::Value(v), dep);
            }
            Stmt::Store { buffer, index, value } => {
                self.watch(*value);
                let v = self.eval(*value);
                self.store_value(*buffer, index, &v);
            }
            Stmt::Atomic { op, buffer, index, value, old } => self.atomic(*op, *buffer, index, *value, *old),
            Stmt::Prefetch { buffer, index } => self.prefetch(*buffer, index),
            Stmt::If { cond, then, otherwise } => match self.eval(*cond) {
                Val::Uniform(c) => self.branch(c, then, otherwise),
                Val::Lanes(mask) if self.masked(*cond, &mask, then, otherwise) => {}
                Val::Lanes(mask) => self.lane_branch(&mask, then, otherwise),
            },
            Stmt::SetStatus(bits) => {
                if let Some(status) = self.status {
                    let bits = self.b.int(Ty::scalar(Lane::I32), i64::from(*bits));
                    // Next to the numbers of the buffers: [`Emitter::region`].
                    let region = Region::Numbered(u32::MAX - self.nest.buffers.len() as u32);
                    self.b.atomic(AtomicOp::Or, bits, At { base: status, displacement: 0, region });
                }
            }
            // As above.
            Stmt::Matrix(_) => {}
        }
    }

    pub(super) fn store_value(&mut self, buffer: BufferId, index: &[ExprId], v: &Val<B::Value>) {
        if self.nest.buffers[buffer].space == Space::Register {
            self.store_register(buffer, index, v);
        } else {
            self.store_memory(buffer, index, v);
            self.scopes.memory_written();
        }
    }

    pub(super) fn constant_passes(&self, (lo, hi, step): (ExprId, ExprId, i64)) -> Option<Vec<i64>> {
        let (lo, hi) = (self.nest.const_int(lo)?, self.nest.const_int(hi)?);
        // Verified loops that are written out make at most 64 passes; longer serial ones are not asked for.
        let count = hi.saturating_sub(lo).max(0).saturating_add(step - 1) / step;
        (count <= 64).then(|| (0..count).map(|i| lo + i * step).collect())
    }

    fn unrolled(&mut self, var: VarId, range: (ExprId, ExprId, i64), body: &[Stmt]) {
        let values: Rc<[i64]> = self.constant_passes(range).unwrap_or_default().into();
        let together = self.running.is_none()
            && (self.store_transposed(var, &values, body)
                || self.store_words(var, &values, body)
                || self.dots(var, &values, body));
        if together {
            return;
        }
        for at in 0..values.len() {
            self.in_pass(var, (&values, at), |e| e.block(body));
        }
    }

    /// What `f` gives in one pass of a loop that is written out.
    pub(super) fn in_pass<R>(
        &mut self,
        var: VarId,
        (values, at): (&Rc<[i64]>, usize),
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.bound(var, Binding::Const(values[at]), |e| {
            let pass = e.pass(var, values, at);
            e.passes_around.push(pass);
            let result = f(e);
            e.passes_around.pop();
            result
        })
    }

    /// What `f` gives where a counter is bound, in a scope of its own.
    pub(super) fn bound<R>(
        &mut self,
        var: VarId,
        to: Binding<B::Value>,
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.scopes.push(false);
        self.bind(var, to);
        let result = f(self);
        self.scopes.pop();
        result
    }

    /// What `f` gives in the lanes of a counter.
    pub(super) fn in_lanes<R>(&mut self, var: VarId, values: Vec<i64>, f: impl FnOnce(&mut Self) -> R) -> R {
        self.bound(var, Binding::Lane, |e| {
            e.lanes = Some(LaneLoop { var, values, only: None });
            let result = f(e);
            e.lanes = None;
            result
        })
    }

    fn serial(&mut self, var: VarId, range: (ExprId, ExprId, i64), body: &[Stmt]) {
        let passes = self.constant_passes(range);
        if passes.as_ref().is_some_and(|p| p.len() < 2) {
            return self.unrolled(var, range, body);
        }
        let (lo, hi, step) = range;
        let (first, end) = (self.uniform(lo), self.uniform(hi));
        let steady = self.steady_registers(body);
        self.counted((first, end, step), passes.is_some(), |e, counter| {
            steady.iter().for_each(|(var, v)| e.b.def_var(*var, *v));
            if e.writes_memory(body) {
                e.scopes.memory_written();
            }
            e.bind_counter(var, (lo, step), counter);
            let outer = std::mem::replace(&mut e.watch, settling(e.nest, var, body).map(Watch::new));
            e.loops_around.push((var, hi));
            e.block(body);
            e.loops_around.pop();
            let own = std::mem::replace(&mut e.watch, outer);
            own.and_then(|watch| e.watched(watch))
        });
    }

    /// A loop that runs: `f` writes its body for a counter from `first` by `step`, below `end`, and may give a truth value
    /// without which no further pass is wanted. `some` says that there are passes in any case.
    pub(super) fn counted(
        &mut self,
        (first, end, step): (B::Value, B::Value, i64),
        some: bool,
        f: impl FnOnce(&mut Self, B::Value) -> Option<B::Value>,
    ) {
        let (inside, exit) = (self.b.block(), self.b.block());
        let counter = self.b.block_param(inside, Ty::scalar(Lane::I64));
        if some {
            self.b.jump(inside, &[first]);
        } else {
            let any = self.b.compare(Cmp::Lt, first, end);
            self.b.branch(any, (inside, &[first]), (exit, &[]));
        }
        self.b.switch_to_loop(inside);
        self.scopes.push(true);
        self.scopes.level += 1;
        let outer = std::mem::take(&mut self.streams);
        let wanted = f(self, counter);
        self.streams = outer;
        if let Some(wanted) = wanted {
            let on = self.b.block();
            self.b.branch(wanted, (on, &[]), (exit, &[]));
            self.go_on(on);
        }
        let next = self.op_const(Bin::Add, counter, step);
        let more = self.b.compare(Cmp::Lt, next, end);
        self.b.branch(more, (inside, &[next]), (exit, &[]));
        self.scopes.level -= 1;
        self.scopes.pop();
        self.b.seal(inside);
        self.go_on(exit);
    }

    fn writes_memory(&self, body: &[Stmt]) -> bool {
        let mut writes = false;
        for_each_stmt(body, &mut |s| match s {
            Stmt::Store { buffer, .. } => writes |= self.nest.buffers[*buffer].space != Space::Register,
            Stmt::Atomic { .. } => writes = true,
            _ => {}
        });
        writes
    }

    fn lane_loop(&mut self, var: VarId, range: (ExprId, ExprId, i64), body: &[Stmt]) {
        let values = self.constant_passes(range).unwrap_or_default();
        if values.len() < 2 {
            return self.unrolled(var, range, body);
        }
        self.in_lanes(var, values, |e| e.block(body));
        if self.calls_functions(body) {
            let streams = std::mem::take(&mut self.streams);
            self.ask_ahead(&streams);
        }
    }

    /// Runs `f` as lane `l` alone: the lane counter is a constant, values per lane are taken apart.
    pub(super) fn in_lane<R>(&mut self, l: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let Some((var, value)) = self.lanes.as_ref().map(|lanes| (lanes.var, lanes.values[l])) else {
            return f(self);
        };
        let before = self.bindings[var.index()].clone();
        let result = self.bound(var, Binding::Const(value), |e| {
            e.set_only(Some(l));
            let result = f(e);
            e.set_only(None);
            result
        });
        self.bindings[var.index()] = before;
        result
    }

    fn set_only(&mut self, only: Option<usize>) {
        if let Some(lanes) = &mut self.lanes {
            lanes.only = only;
        }
    }

    pub(super) fn branch(&mut self, cond: B::Value, then: &[Stmt], otherwise: &[Stmt]) {
        let (yes, no, join) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch(cond, (yes, &[]), (no, &[]));
        self.arm(yes, join, |e| e.block(then));
        self.arm(no, join, |e| e.block(otherwise));
        self.go_on(join);
    }

    /// Goes on in a block that nothing jumps to but what is written already.
    pub(super) fn go_on(&mut self, block: B::Block) {
        self.b.switch_to(block);
        self.b.seal(block);
    }

    /// What `f` writes, in a block of its own that leads to `join`.
    pub(super) fn arm(&mut self, block: B::Block, join: B::Block, f: impl FnOnce(&mut Self)) {
        self.go_on(block);
        self.scopes.push(true);
        let streams = self.streams.len();
        f(self);
        self.streams.truncate(streams);
        self.scopes.pop();
        self.b.jump(join, &[]);
    }

    /// A condition of its own per lane: all lanes together where it holds for all, else one after the other.
    fn lane_branch(&mut self, mask: &Lanes<B::Value>, then: &[Stmt], otherwise: &[Stmt]) {
        let n = self.lane_count().unwrap_or(1);
        let all = self.all_lanes(mask, n);
        let (together, apart, join) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch(all, (together, &[]), (apart, &[]));
        self.arm(together, join, |e| e.block(then));
        self.arm(apart, join, |e| {
            let mask = Val::Lanes(mask.clone());
            for l in 0..n {
                let cond = e.extract(&mask, DType::Bool, l);
                e.in_lane(l, |e| e.branch(cond, then, otherwise));
            }
        });
        self.go_on(join);
    }

    /// Whether a mask is set in each of `n` lanes.
    fn all_lanes(&mut self, mask: &Lanes<B::Value>, n: usize) -> B::Value {
        let per = self.per_chunk(mask.ty);
        let mut all: Option<B::Value> = None;
        for (c, &chunk) in mask.chunks.iter().enumerate() {
            let used = n - c * per;
            let chunk = if used < per {
                let unused = self.lane_mask(mask.ty, |l| l >= used);
                self.b.binary(Bin::Or, chunk, unused)
            } else {
                chunk
            };
            all = Some(match all {
                None => chunk,
                Some(all) => self.b.binary(Bin::And, all, chunk),
            });
        }
        let all = all.unwrap_or_else(|| self.b.int(self.vector_of(Lane::I32), -1));
        self.b.all_true(all)
    }

    fn atomic(
        &mut self,
        op: BinaryOp,
        buffer: BufferId,
        index: &[ExprId],
        value: ExprId,
        old: Option<VarId>,
    ) {
        let dtype = self.nest.buffers[buffer].dtype;
        let result = match self.lane_count() {
            None => Val::Uniform(self.atomic_scalar(op, buffer, index, value)),
            Some(n) => {
                let found: Vec<B::Value> =
                    (0..n).map(|l| self.in_lane(l, |e| e.atomic_scalar(op, buffer, index, value))).collect();
                match old {
                    Some(_) => Val::Lanes(self.build(dtype, &found)),
                    None => Val::Uniform(found[0]),
                }
            }
        };
        self.scopes.memory_written();
        if let Some(old) = old {
            self.bind(old, Binding::Value(result));
        }
    }

    fn atomic_scalar(&mut self, op: BinaryOp, buffer: BufferId, index: &[ExprId], value: ExprId) -> B::Value {
        let dtype = self.nest.buffers[buffer].dtype;
        let operand = self.uniform(value);
        let at = self.element(buffer, index);
        let op = match (op, dtype.is_signed_int()) {
            (BinaryOp::Min, true) => AtomicOp::SMin,
            (BinaryOp::Min, false) => AtomicOp::UMin,
            (BinaryOp::Max, true) => AtomicOp::SMax,
            (BinaryOp::Max, false) => AtomicOp::UMax,
            (BinaryOp::And, _) => AtomicOp::And,
            (BinaryOp::Or, _) => AtomicOp::Or,
            (BinaryOp::Xor, _) => AtomicOp::Xor,
            _ => AtomicOp::Add,
        };
        let found = self.b.atomic(op, operand, at);
        self.scopes.memory_written();
        found
    }
}

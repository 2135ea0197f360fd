//! Statements.

use rooftile_artifact::DType;
use rooftile_artifact::gpu_abi::cell;
use rspirv::dr::Operand;
use rspirv::spirv::{MemorySemantics, Op, Scope, StorageClass, Word};

use super::super::gpu::range::{Fit, Range};
use super::super::gpu::threads::Chain;
use super::code::{Branch, Region};
use super::emit::{Binding, Emitter, Failure};
use super::types::carrier_bits;
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Space, Stmt, VarId};
use crate::nest::walk::for_each_stmt;

/// Bounds and step of a loop.
pub(super) type Bounds = (ExprId, ExprId, i64);

impl Emitter<'_> {
    pub(super) fn block(&mut self, block: &[Stmt]) {
        for stmt in block {
            self.stmt(stmt);
        }
    }

    /// A statement that holds no barrier.
    pub(super) fn stmt(&mut self, stmt: &Stmt) {
        self.forget();
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => match kind {
                LoopKind::Serial => {
                    self.serial(*var, (*lo, *hi, *step), body, &mut |e| e.block(body));
                }
                LoopKind::Unrolled | LoopKind::Lanes => {
                    self.unrolled(*var, (*lo, *hi, *step), &mut |e| e.block(body));
                }
                LoopKind::Threads { .. } => {
                    if let Some(chain) = Chain::of(stmt) {
                        self.threads(&chain);
                    }
                }
                LoopKind::Subgroups { count } => self.subgroups(*var, *count, body),
            },
            Stmt::If { cond, then, otherwise } => {
                self.branch(*cond, &mut |e| e.block(then), otherwise.is_empty(), &mut |e| e.block(otherwise));
            }
            Stmt::Let { var, value } => self.let_(*var, *value),
            Stmt::Store { buffer, index, value } => {
                let v = self.value(*value);
                let place = self.place(*buffer, index);
                let t = self.nest.buffers[*buffer].dtype;
                if self.nest.buffers[*buffer].space == Space::Register {
                    self.store(place, v, t);
                } else {
                    self.dots.keep(v);
                    self.by_one(|e| e.store(place, v, t));
                    // Where one thread alone stored, no other one knows what is there.
                    if self.uniform {
                        let region = self.region(*buffer);
                        self.code.touch(region);
                    }
                }
            }
            Stmt::Atomic { op, buffer, index, value, old } => self.atomic(*op, *buffer, index, *value, *old),
            // There is nothing to say it with.
            Stmt::Prefetch { .. } => {}
            Stmt::SetStatus(bits) => {
                let m = &mut self.code.module;
                let (word, address) = (m.u32(), m.u64());
                let pointer = m.pointer(StorageClass::PhysicalStorageBuffer, word);
                let bits = m.int_const(32, u64::from(*bits));
                let at = self.cell(cell::STATUS, address);
                let at = self.code.value(Op::ConvertUToPtr, pointer, &[at]);
                self.by_one(|e| {
                    e.atomic_op(Op::AtomicOr, word, at, bits);
                });
            }
            Stmt::Matrix(op) => self.matrix(op),
        }
    }

    /// What one thread does for all where the statement is the same for all.
    fn by_one(&mut self, f: impl FnOnce(&mut Self)) {
        if !self.uniform {
            return f(self);
        }
        let (bool, zero) = (self.code.module.bool(), self.code.module.int_const(32, 0));
        let first = self.code.value(Op::IEqual, bool, &[self.thread, zero]);
        let branch = self.code.begin_if(first);
        f(self);
        self.code.end_then(&branch);
    }

    fn let_(&mut self, var: VarId, value: ExprId) {
        let range = self.ranges.of(value);
        let index = self.nest.exprs[value].dtype == DType::I64;
        let binding = if index && !self.nest.has_load(value) {
            // Which of its two words is needed is seen where it is used.
            Binding::Same(value)
        } else if index && range.fit().is_some() {
            Binding::Narrow(self.low(value))
        } else {
            Binding::Value(self.value(value))
        };
        self.ranges.set(var, range);
        self.bind(var, binding);
    }

    /// The counters of a loop whose bounds are constant.
    fn constant_passes(&self, (lo, hi, step): Bounds) -> Option<Vec<i64>> {
        let (lo, hi) = (self.nest.const_int(lo)?, self.nest.const_int(hi)?);
        let count = hi.saturating_sub(lo).max(0).saturating_add(step - 1) / step;
        (count <= 64).then(|| (0..count).map(|i| lo + i * step).collect())
    }

    pub(super) fn unrolled(&mut self, var: VarId, bounds: Bounds, body: &mut dyn FnMut(&mut Self)) {
        for v in self.constant_passes(bounds).unwrap_or_default() {
            self.ranges.set(var, Range::exactly(v));
            self.bind(var, Binding::Const(v));
            body(self);
        }
    }

    /// A loop whose passes follow each other. `stmts` are its statements, which `body` writes.
    pub(super) fn serial(
        &mut self,
        var: VarId,
        bounds: Bounds,
        stmts: &[Stmt],
        body: &mut dyn FnMut(&mut Self),
    ) {
        let passes = self.constant_passes(bounds);
        if passes.as_ref().is_some_and(|p| p.len() < 2) {
            return self.unrolled(var, bounds, body);
        }
        let (lo, hi, step) = bounds;
        let (first, end) = (self.ranges.of(lo), self.ranges.of(hi));
        let counter = Range { lo: first.lo, hi: end.hi.saturating_sub(1) };
        // The counter runs past its end by less than a step.
        let past = Range { lo: first.lo, hi: counter.hi.saturating_add(step) };
        let fit = past.union(end).fit();
        let (ty, first, end, less) = match fit {
            Some(fit) => {
                let less = if fit == Fit::Signed { Op::SLessThan } else { Op::ULessThan };
                (self.code.module.u32(), self.low(lo), self.low(hi), less)
            }
            None => (self.code.module.u64(), self.value(lo), self.value(hi), Op::SLessThan),
        };
        let bits = if fit.is_some() { 32 } else { 64 };
        let bool = self.code.module.bool();
        for region in self.written(stmts) {
            self.code.touch(region);
        }
        let known = passes.is_some_and(|p| !p.is_empty());
        let branch = (!known).then(|| {
            let any = self.code.value(less, bool, &[first, end]);
            self.code.begin_if(any)
        });
        let l = self.code.begin_loop(ty, first);
        self.ranges.set(var, if counter.lo <= counter.hi { counter } else { Range::FULL });
        self.bind(var, if fit.is_some() { Binding::Narrow(l.counter) } else { Binding::Value(l.counter) });
        body(self);
        self.code.loop_continue(&l);
        let step = self.code.module.int_const(bits, step.cast_unsigned());
        let next = self.code.value(Op::IAdd, ty, &[l.counter, step]);
        let again = self.code.value(less, bool, &[next, end]);
        self.code.end_loop(&l, next, again);
        if let Some(branch) = branch {
            self.code.end_then(&branch);
        }
        self.forget();
    }

    /// What statements write.
    pub(super) fn written(&self, stmts: &[Stmt]) -> Vec<Region> {
        let mut out = Vec::new();
        for_each_stmt(stmts, &mut |s| {
            let region = s.written().map(|b| self.region(b));
            out.extend(region.filter(|r| !out.contains(r)));
        });
        out
    }

    pub(super) fn branch(
        &mut self,
        cond: ExprId,
        then: &mut dyn FnMut(&mut Self),
        short: bool,
        otherwise: &mut dyn FnMut(&mut Self),
    ) {
        if let ExprKind::Const(v) = self.nest.exprs[cond].kind {
            return if v.is_true() { then(self) } else { otherwise(self) };
        }
        let cond = self.value(cond);
        let branch = self.code.begin_if(cond);
        then(self);
        if short {
            self.code.end_then(&branch);
        } else {
            self.code.begin_else(&branch);
            otherwise(self);
            self.code.end_if(&branch);
        }
        self.forget();
    }

    /// The threads of a chain of loops at work.
    pub(super) fn threads(&mut self, chain: &Chain<'_>) {
        let (word, bool) = (self.code.module.u32(), self.code.module.bool());
        let mut active: Option<Word> = None;
        let mut only = |e: &mut Self, condition: Word| {
            active = Some(match active {
                None => condition,
                Some(others) => e.code.value(Op::LogicalAnd, bool, &[others, condition]),
            });
        };
        if chain.threads() < u64::from(self.shape.group) {
            let count = self.code.module.int_const(32, chain.threads());
            let inside = self.code.value(Op::ULessThan, bool, &[self.thread, count]);
            only(self, inside);
        }
        for (n, l) in chain.loops.iter().enumerate() {
            let [stride, count] = [l.stride, l.count].map(|v| self.code.module.int_const(32, v.into()));
            let mut counter = self.thread;
            if l.stride > 1 {
                counter = self.code.value(Op::UDiv, word, &[counter, stride]);
            }
            if n > 0 || chain.threads() < u64::from(self.shape.group) {
                counter = self.code.value(Op::UMod, word, &[counter, count]);
            }
            if !l.is_whole(self.nest) {
                // The end is at most the count, so that its low word decides unless it is negative.
                let end = match self.ranges.of(l.hi).fit() {
                    Some(Fit::Signed) => {
                        let end = self.low(l.hi);
                        self.code.value(Op::SLessThan, bool, &[counter, end])
                    }
                    Some(Fit::Unsigned) => {
                        let end = self.low(l.hi);
                        self.code.value(Op::ULessThan, bool, &[counter, end])
                    }
                    None => {
                        let (wide, end) = (self.code.module.u64(), self.value(l.hi));
                        let counter = self.code.value(Op::UConvert, wide, &[counter]);
                        self.code.value(Op::SLessThan, bool, &[counter, end])
                    }
                };
                only(self, end);
            }
            self.ranges.set(l.var, Range { lo: 0, hi: i64::from(l.count) - 1 });
            self.bindings[l.var.index()] = Binding::Narrow(counter);
            self.strides.insert(l.var, l.stride);
        }
        self.forget();
        let uniform = std::mem::replace(&mut self.uniform, false);
        let branch: Option<Branch> = active.map(|a| self.code.begin_if(a));
        self.block(chain.body);
        if let Some(branch) = branch {
            self.code.end_then(&branch);
        }
        self.uniform = uniform;
        self.forget();
    }

    /// Waits for all threads of the group; what they wrote before is seen by all after.
    pub(super) fn barrier(&mut self) {
        // A group that is one subgroup waits without help of the rest of the device.
        let alone = self.shape.group == self.target.subgroup && self.target.features.whole_subgroups;
        self.code.module.features.whole_subgroups |= alone;
        let m = &mut self.code.module;
        let mut semantics = MemorySemantics::ACQUIRE_RELEASE
            | MemorySemantics::UNIFORM_MEMORY
            | MemorySemantics::WORKGROUP_MEMORY;
        if m.vulkan_memory {
            semantics |= MemorySemantics::MAKE_AVAILABLE | MemorySemantics::MAKE_VISIBLE;
        }
        let scope = m.int_const(32, if alone { Scope::Subgroup as u64 } else { Scope::Workgroup as u64 });
        let semantics = m.int_const(32, u64::from(semantics.bits()));
        self.code.effect(Op::ControlBarrier, [scope, scope, semantics].map(Operand::IdRef).to_vec());
        let nest = self.nest;
        for (id, buffer) in nest.buffers.iter() {
            if !matches!(buffer.space, Space::Register | Space::Matrix) {
                let region = self.region(id);
                self.code.touch(region);
            }
        }
    }

    fn atomic_op(&mut self, op: Op, ty: Word, at: Word, value: Word) -> Word {
        let m = &mut self.code.module;
        let (scope, relaxed) = (m.int_const(32, Scope::Device as u64), m.int_const(32, 0));
        self.code.fresh(op, ty, [at, scope, relaxed, value].map(Operand::IdRef).to_vec())
    }

    fn atomic(
        &mut self,
        op: BinaryOp,
        buffer: BufferId,
        index: &[ExprId],
        value: ExprId,
        old: Option<VarId>,
    ) {
        let t = self.nest.buffers[buffer].dtype;
        let operand = self.value(value);
        let place = self.place(buffer, index);
        let ty = self.carrier(t);
        if carrier_bits(t) == 64 {
            self.code.module.features.atomics64 = true;
            self.code.module.capability(rspirv::spirv::Capability::Int64Atomics);
        }
        let op = match (op, t.is_signed_int()) {
            (BinaryOp::Add, _) => Op::AtomicIAdd,
            (BinaryOp::And, _) => Op::AtomicAnd,
            (BinaryOp::Or, _) => Op::AtomicOr,
            (BinaryOp::Xor, _) => Op::AtomicXor,
            (BinaryOp::Min, true) => Op::AtomicSMin,
            (BinaryOp::Min, false) => Op::AtomicUMin,
            (BinaryOp::Max, true) => Op::AtomicSMax,
            (BinaryOp::Max, false) => Op::AtomicUMax,
            _ => return self.fail(Failure::Unsupported(format!("{op:?} as an atomic operation"))),
        };
        let region = self.region(buffer);
        match old {
            Some(old) if self.uniform => {
                let found = self.told_to_all(ty, |e| e.atomic_op(op, ty, place.pointer, operand));
                self.code.touch(region);
                self.bind(old, Binding::Value(found));
            }
            Some(old) => {
                let found = self.atomic_op(op, ty, place.pointer, operand);
                self.code.touch(region);
                self.ranges.set(old, Range::FULL);
                self.bind(old, Binding::Value(found));
            }
            None => {
                self.by_one(|e| {
                    e.atomic_op(op, ty, place.pointer, operand);
                });
                self.code.touch(region);
            }
        }
    }

    /// What one thread finds, for all threads of the group.
    fn told_to_all(&mut self, ty: Word, find: impl FnOnce(&mut Self) -> Word) -> Word {
        self.shared_bytes = self.shared_bytes.saturating_add(8);
        let slot = self.code.module.variable(StorageClass::Workgroup, ty);
        // Whoever still reads what was there before has done so.
        self.barrier();
        self.by_one(|e| {
            let found = find(e);
            e.code.effect(Op::Store, vec![Operand::IdRef(slot), Operand::IdRef(found)]);
        });
        self.barrier();
        self.code.fresh(Op::Load, ty, vec![Operand::IdRef(slot)])
    }
}

//! Rules 3 to 10: loops, registers, and where accesses go; of rule 13, the indices of matrices.

use std::collections::{BTreeMap, BTreeSet};

use super::super::affine::Affine;
use super::super::ir::{
    Block, BufferId, ExprId, ExprKind, LoopKind, MatrixOp, Nest, Phase, Space, Stmt, VarId,
};
use super::own::is_own;
use super::{Report, matrices, threads};

/// Most elements of a register buffer.
const REGISTERS: i64 = 1024;
/// Most passes of an unrolled or lane loop.
const PASSES: i64 = 64;
/// Most threads of a group.
const THREADS: u32 = 1024;

pub(super) fn check(nest: &Nest, report: &mut Report<'_>) {
    let thread_dims = threads::dims(nest);
    threads::check(nest, &thread_dims, report);
    let subgroup_dims = matrices::dims(nest);
    matrices::check(nest, &subgroup_dims, report);
    for (id, buffer) in nest.buffers.iter() {
        if let Some(&e) = buffer.shape.iter().find(|&&e| !is_host(nest, e)) {
            report.add(8, format_args!("an extent of `{}` depends on {:?}", buffer.name, nest.exprs[e].kind));
        }
        if buffer.space == Space::Shared && buffer.shape.iter().any(|&e| nest.const_int(e).is_none()) {
            report.add(12, format_args!("an extent of shared buffer `{}` is not constant", buffer.name));
        }
        if buffer.space == Space::Register {
            let extents: Option<Vec<i64>> = buffer.shape.iter().map(|&e| nest.const_int(e)).collect();
            let fits = extents.is_some_and(|extents| {
                let per_thread = extents.iter().enumerate().filter(|(d, _)| !is_own(&thread_dims, id, *d));
                extents.iter().all(|&e| e >= 0)
                    && per_thread
                        .map(|(_, &e)| e)
                        .try_fold(1i64, i64::checked_mul)
                        .is_some_and(|n| n <= REGISTERS)
            });
            if !fits {
                report.add(
                    6,
                    format_args!(
                        "register buffer `{}` has no constant extents of at most {REGISTERS} elements",
                        buffer.name
                    ),
                );
            }
        }
    }
    for phase in &nest.phases {
        for core in &phase.cores {
            if !is_host(nest, core.lo) || !is_host(nest, core.hi) {
                let name = &nest.vars[core.var].name;
                report.add(
                    8,
                    format_args!("a bound of core loop `{name}` depends on more than sizes and scalars"),
                );
            }
        }
        let mut checker = Checker {
            nest,
            report,
            loops: BTreeMap::new(),
            in_lanes: false,
            conditions: 0,
            written: BTreeSet::new(),
            depends: BTreeMap::new(),
            guards: BTreeSet::new(),
            shared: shared_counters(nest, phase),
            thread_dims: &thread_dims,
            subgroup_dims: &subgroup_dims,
        };
        for core in &phase.cores {
            checker.depends.insert(core.var, BTreeSet::from([core.var]));
        }
        checker.block(&phase.body);
    }
}

/// Whether an expression can be computed by the host before the launch.
fn is_host(nest: &Nest, e: ExprId) -> bool {
    super::super::host::host_expr(nest, e).is_some()
}

/// The counters of core loops that may make more than one pass.
fn shared_counters(nest: &Nest, phase: &Phase) -> Vec<VarId> {
    let single = |lo, hi, step: i64| match (nest.const_int(lo), nest.const_int(hi)) {
        (Some(lo), Some(hi)) => hi.saturating_sub(lo) <= step,
        _ => false,
    };
    phase.cores.iter().filter(|c| !single(c.lo, c.hi, c.step)).map(|c| c.var).collect()
}

#[derive(Clone, Copy)]
struct LoopInfo {
    kind: LoopKind,
    /// Values of the counter, inclusive, where the bounds are constant.
    range: Option<(i64, i64)>,
}

struct Checker<'a, 'r, 'n> {
    nest: &'a Nest,
    report: &'r mut Report<'n>,
    /// Loops around the current statement.
    loops: BTreeMap<VarId, LoopInfo>,
    in_lanes: bool,
    /// Number of conditions around the current statement.
    conditions: usize,
    /// Buffers of the chunk that something above has written.
    written: BTreeSet<BufferId>,
    /// The core counters that each variable depends on.
    depends: BTreeMap<VarId, BTreeSet<VarId>>,
    /// The core counters that the conditions around the current statement depend on.
    guards: BTreeSet<VarId>,
    /// Core counters of more than one pass.
    shared: Vec<VarId>,
    /// Dimensions of register buffers that belong to the threads.
    thread_dims: &'a threads::Dims,
    /// Dimensions of matrix buffers that belong to the subgroups.
    subgroup_dims: &'a matrices::Dims,
}

impl Checker<'_, '_, '_> {
    fn block(&mut self, block: &[Stmt]) {
        for stmt in block {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let mut exprs = Vec::new();
        stmt.for_each_expr(|e| exprs.push(e));
        let mut seen = BTreeSet::new();
        for e in exprs {
            self.loads(e, &mut seen);
        }
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => self.loop_(*var, (*lo, *hi, *step), *kind, body),
            Stmt::Let { var, value } => {
                let on = self.dependence(*value);
                self.depends.insert(*var, on);
            }
            Stmt::Store { buffer, index, .. } => {
                self.element(*buffer, index);
                self.written.insert(*buffer);
                self.race(*buffer, index);
            }
            Stmt::Atomic { buffer, index, old, .. } => {
                self.element(*buffer, index);
                if let Some(old) = old {
                    // What an atomic finds differs from chunk to chunk.
                    self.depends.insert(*old, self.shared.iter().copied().collect());
                }
            }
            Stmt::If { cond, then, otherwise } => {
                let on = self.dependence(*cond);
                let outer = self.guards.clone();
                self.guards.extend(on);
                self.conditions += 1;
                self.block(then);
                self.block(otherwise);
                self.conditions -= 1;
                self.guards = outer;
            }
            Stmt::Prefetch { buffer, index } => self.prefetch(*buffer, index),
            Stmt::SetStatus(_) => {}
            Stmt::Matrix(op) => self.matrix_op(op),
        }
    }

    /// What the indices of a prefetch read.
    fn prefetch(&mut self, buffer: BufferId, index: &[ExprId]) {
        let b = &self.nest.buffers[buffer];
        if index.len() != b.shape.len() {
            let (name, given, extents) = (&b.name, index.len(), b.shape.len());
            self.report.add(3, format_args!("`{name}` has {extents} extents, and {given} indices"));
        }
        let mut read = Vec::new();
        let mut seen = BTreeSet::new();
        index.iter().for_each(|i| self.nest.for_each_load(*i, &mut seen, &mut |b, _| read.push(b)));
        for id in read {
            let space = self.nest.buffers[id].space;
            if !matches!(space, Space::Global(_)) || self.nest.writes_to(space) {
                let name = &self.nest.buffers[id].name;
                self.report.add(16, format_args!("an element is prefetched at indices of `{name}`"));
            }
        }
    }

    fn matrix_op(&mut self, op: &MatrixOp) {
        let nest = self.nest;
        let mut sides = [0, 0];
        for m in op.matrices() {
            self.access(m.buffer, &m.index, |_| 1);
            if let &[.., rows, columns] = &nest.buffers[m.buffer].shape[..] {
                sides = [rows, columns].map(|e| nest.const_int(e).unwrap_or(1));
            }
        }
        let read: Vec<BufferId> = match op {
            MatrixOp::Fill { .. } => Vec::new(),
            MatrixOp::Load { from, .. } => vec![from.buffer],
            MatrixOp::MultiplyAdd { .. } => op.matrices().map(|m| m.buffer).collect(),
            MatrixOp::Store { from, .. } => vec![from.buffer],
        };
        read.into_iter().for_each(|id| self.read(id));
        if let Some(Block { buffer, at, rows, columns }) = op.block() {
            let [row_span, column_span] = sides;
            self.access(*buffer, at, |d| match d {
                _ if d == *rows => row_span,
                _ if d == *columns => column_span,
                _ => 1,
            });
        }
        if let MatrixOp::Store { to, .. } = op {
            self.race(to.buffer, &to.at);
        }
        self.written.insert(op.written());
    }

    fn loop_(&mut self, var: VarId, (lo, hi, step): (ExprId, ExprId, i64), kind: LoopKind, body: &[Stmt]) {
        let name = &self.nest.vars[var].name;
        let bounds = self.nest.const_int(lo).zip(self.nest.const_int(hi));
        let passes = bounds.map(|(lo, hi)| hi.saturating_sub(lo).max(0).saturating_add(step - 1) / step);
        if kind.is_written_out() && !passes.is_some_and(|n| (1..=PASSES).contains(&n)) {
            self.report.add(
                4,
                format_args!("loop `{name}` does not have a constant number of 1 to {PASSES} passes"),
            );
        }
        if self.in_lanes && kind != LoopKind::Unrolled {
            self.report.add(5, format_args!("loop `{name}` of kind {kind:?} inside a lane loop"));
        }
        let mut range =
            bounds.zip(passes).filter(|(_, n)| *n > 0).map(|((lo, _), n)| (lo, lo + (n - 1) * step));
        let unsure = usize::from(range.is_none());
        if let LoopKind::Threads { count } | LoopKind::Subgroups { count } = kind {
            if !(1..=THREADS).contains(&count) || step != 1 || self.nest.const_int(lo) != Some(0) {
                self.report
                    .add(4, format_args!("threads `{name}` are not counted from 0 to at most {THREADS}"));
            }
            let whole = matches!(kind, LoopKind::Subgroups { .. });
            if whole && self.nest.const_int(hi) != Some(count.into()) {
                self.report.add(4, format_args!("subgroups `{name}` are not {count}"));
            } else if !threads::ends_at(self.nest, hi, count) {
                self.report.add(4, format_args!("threads `{name}` may be more than {count}"));
            }
            range = Some((0, i64::from(count) - 1));
        }
        let mut on = self.dependence(lo);
        on.extend(self.dependence(hi));
        self.depends.insert(var, on);
        self.loops.insert(var, LoopInfo { kind, range });
        let was = self.in_lanes;
        self.in_lanes |= kind == LoopKind::Lanes;
        // A loop that may make no pass is like a condition.
        self.conditions += unsure;
        self.block(body);
        self.conditions -= unsure;
        self.in_lanes = was;
        self.loops.remove(&var);
    }

    /// Checks every load under an expression.
    fn loads(&mut self, e: ExprId, seen: &mut BTreeSet<ExprId>) {
        if !seen.insert(e) {
            return;
        }
        let nest = self.nest;
        let expr = &nest.exprs[e];
        expr.for_each_operand(|o| self.loads(o, seen));
        if let ExprKind::Load { buffer, index } = &expr.kind {
            self.element(*buffer, index);
            self.read(*buffer);
        }
    }

    fn read(&mut self, id: BufferId) {
        let b = &self.nest.buffers[id];
        if !matches!(b.space, Space::Global(_)) && !self.written.contains(&id) {
            self.report.add(7, format_args!("`{}` is read before anything is written to it", b.name));
        }
    }

    /// Checks an access to one element.
    fn element(&mut self, id: BufferId, index: &[ExprId]) {
        let buffer = &self.nest.buffers[id];
        if buffer.space == Space::Matrix {
            return self
                .report
                .add(13, format_args!("an element of the matrices `{}` on its own", buffer.name));
        }
        self.access(id, index, |_| 1);
    }

    /// Checks an access that spans so many elements by dimension.
    fn access(&mut self, id: BufferId, index: &[ExprId], span: impl Fn(usize) -> i64) {
        let nest = self.nest;
        let buffer = &nest.buffers[id];
        let (sides, rule) = if buffer.space == Space::Matrix { (2, 13) } else { (0, 6) };
        if index.len() + sides != buffer.shape.len() {
            let (got, want) = (index.len(), buffer.shape.len().saturating_sub(sides));
            return self
                .report
                .add(3, format_args!("`{}` of rank {want} is given {got} indices", buffer.name));
        }
        for (n, (&i, &extent)) in index.iter().zip(&buffer.shape).enumerate() {
            let last = n + 1 == index.len();
            let affine = Affine::of(nest, i);
            let bounds = affine.as_ref().and_then(|a| a.bounds(|v| self.loops.get(&v)?.range));
            let bounds = bounds.map(|(lo, hi)| (lo, hi + i128::from(span(n) - 1)));
            let extent = nest.const_int(extent).map(i128::from);
            if matches!(buffer.space, Space::Register | Space::Matrix) {
                let own = is_own(self.thread_dims, id, n) || is_own(self.subgroup_dims, id, n);
                let form = own || affine.as_ref().is_some_and(|a| self.is_register_index(a, last));
                if !form {
                    self.report.add(
                        rule,
                        format_args!(
                            "index {n} of register buffer `{}` is not a sum of unrolled and lane counters",
                            buffer.name
                        ),
                    );
                } else if let (Some((lo, hi)), Some(extent)) = (bounds, extent)
                    && (lo < 0 || hi >= extent)
                {
                    self.report.add(
                        rule,
                        format_args!(
                            "index {n} of register buffer `{}` spans {lo}..={hi}, the extent is {extent}",
                            buffer.name
                        ),
                    );
                }
            } else if let Some((lo, hi)) = bounds
                && self.conditions == 0
                && (hi < 0 || lo < 0 || extent.is_some_and(|e| hi >= e))
            {
                self.report.add(
                    10,
                    format_args!("index {n} of `{}` spans {lo}..={hi}, outside its extent", buffer.name),
                );
            }
        }
    }

    fn is_register_index(&self, a: &Affine, last: bool) -> bool {
        a.terms.iter().all(|(v, &c)| match self.loops.get(v).map(|l| l.kind) {
            Some(LoopKind::Unrolled) => true,
            Some(LoopKind::Lanes) => last && c == 1,
            _ => false,
        })
    }

    /// The core counters that an expression's value depends on; a load may depend on all.
    fn dependence(&self, e: ExprId) -> BTreeSet<VarId> {
        let mut on = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![e];
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            let expr = &self.nest.exprs[e];
            match &expr.kind {
                ExprKind::Var(v) => on.extend(self.depends.get(v).into_iter().flatten()),
                ExprKind::Load { .. } => on.extend(&self.shared),
                _ => {}
            }
            expr.for_each_operand(|o| stack.push(o));
        }
        on
    }

    /// A store to memory of the launch whose place does not depend on a core counter is made by many chunks.
    fn race(&mut self, id: BufferId, index: &[ExprId]) {
        let buffer = &self.nest.buffers[id];
        if !matches!(buffer.space, Space::Global(_)) {
            return;
        }
        let mut on = self.guards.clone();
        for &i in index {
            on.extend(self.dependence(i));
        }
        for var in &self.shared {
            if !on.contains(var) {
                let name = &self.nest.vars[*var].name;
                self.report.add(
                    9,
                    format_args!(
                        "all passes of core loop `{name}` store to one element of `{}`",
                        buffer.name
                    ),
                );
            }
        }
    }
}

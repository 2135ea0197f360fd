//! What a lowered module tells without running it: its place in the archive, and a rough estimate of its time.
//!
//! The estimate counts, for every statement, loads, stores and floating-point operations, times the passes of the loops
//! around it, with lanes sharing an instruction and cores sharing chunks. It ranks schedules well enough for a search
//! that must not look at a clock; it is no roof and decides nothing else.

use std::collections::BTreeSet;

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::Step;
use rooftile_artifact::{Program, Scalar, Target};
use rooftile_compiler::nest::ir::{
    BinaryOp, BufferId, ExprId, ExprKind, LoopKind, MathFn, MatrixOp, Nest, Space, Stmt, VarId,
};

use crate::archive::Descriptor;

/// Seconds of one instruction of one lane group: a guess that only scales the estimate.
const INSTRUCTION_S: f64 = 0.15e-9;
/// Passes of a loop whose bounds depend on data.
const UNKNOWN_PASSES: f64 = 8.0;
/// Instructions that a launch costs.
const LAUNCH: f64 = 2000.0;

/// Where a module belongs in the archive. Sizes that are needed for extents are those of `sizes`.
#[must_use]
pub fn descriptor(nests: &[&Nest], program: &Program, sizes: &[i64], target: &Target) -> Descriptor {
    let mut d = Descriptor::default();
    let launches = launches(program, sizes, &[], target);
    for (n, nest) in nests.iter().enumerate() {
        let own = launches.iter().find(|l| l.kernel == n).map(|l| l.sizes.clone()).unwrap_or_default();
        let view = View { nest, sizes: &own, target };
        let mut local = 0.0;
        let mut registers: f64 = 0.0;
        for (_, buffer) in nest.buffers.iter() {
            let elements: f64 = buffer.shape.iter().map(|e| view.value(*e, &[])).product();
            match buffer.space {
                #[expect(clippy::cast_precision_loss, reason = "bytes of an element")]
                Space::Local | Space::Shared => local += elements * buffer.dtype.size() as f64,
                Space::Register | Space::Matrix => registers += elements,
                Space::Global(_) => {}
            }
        }
        let levels = near_memories(target);
        let level = levels.iter().filter(|l| local > **l).count();
        d.level = d.level.max(u8::try_from(level).unwrap_or(4));
        let cores = nest.phases.iter().map(|p| p.cores.len()).max().unwrap_or(0).min(3);
        let phases = if nest.phases.len() > 1 { 4 } else { 0 };
        d.parallel = d.parallel.max(u8::try_from(cores + phases).unwrap_or(7));
        let lanes = nest.phases.iter().map(|p| widest(nest, &p.body)).max().unwrap_or(1);
        d.form = d.form.max(log2(lanes));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most some thousands")]
        let blocks = (registers / lanes as f64) as u64;
        d.registers = d.registers.max(log2(blocks));
    }
    d
}

/// Bytes that scratch memory may take before it leaves one level of memory for the next.
#[expect(clippy::cast_precision_loss, reason = "sizes of caches")]
fn near_memories(target: &Target) -> [f64; 4] {
    match target {
        Target::Cpu(t) => [0.0, t.l1d as f64, t.l2 as f64, t.l3 as f64],
        // Near memory in quarters: what a group takes decides how many run beside it.
        Target::Vulkan(t) => [0.0, 0.25, 0.5, 1.0].map(|part| part * f64::from(t.shared_bytes)),
    }
}

/// Bytes that one instruction works on.
fn vector_bytes(target: &Target) -> usize {
    match target {
        Target::Cpu(t) => t.vector_bytes,
        Target::Vulkan(t) => t.subgroup as usize * 4,
    }
}

fn log2(v: u64) -> u8 {
    u8::try_from(v.max(1).ilog2().min(7)).unwrap_or(7)
}

/// The widest vector of a module in bytes (of 4-byte lanes), and whether any part runs on several cores.
#[must_use]
pub fn width(nests: &[&Nest]) -> (usize, bool) {
    let lanes = nests.iter().flat_map(|n| n.phases.iter().map(|p| widest(n, &p.body))).max().unwrap_or(1);
    let parallel = nests.iter().any(|n| n.phases.iter().any(|p| !p.cores.is_empty()));
    (if lanes > 1 { usize::try_from(lanes * 4).unwrap_or(usize::MAX) } else { 0 }, parallel)
}

fn widest(nest: &Nest, body: &[Stmt]) -> u64 {
    body.iter()
        .map(|stmt| match stmt {
            Stmt::Loop { lo, hi, step, kind, body, .. } => {
                let inner = widest(nest, body);
                let constant = |e: &ExprId| match nest.exprs[*e].kind {
                    ExprKind::Const(Scalar::Int(v)) => Some(v),
                    _ => None,
                };
                match (kind, constant(lo), constant(hi)) {
                    (LoopKind::Lanes, Some(lo), Some(hi)) => {
                        inner.max(u64::try_from((hi - lo) / (*step).max(1)).unwrap_or(1))
                    }
                    _ => inner,
                }
            }
            Stmt::If { then, otherwise, .. } => widest(nest, then).max(widest(nest, otherwise)),
            _ => 1,
        })
        .max()
        .unwrap_or(1)
}

/// The estimated seconds of a module at the given sizes and scalars.
#[must_use]
pub fn estimate(
    nests: &[&Nest],
    program: &Program,
    sizes: &[i64],
    scalars: &[Scalar],
    target: &Target,
) -> f64 {
    launches(program, sizes, scalars, target)
        .iter()
        .filter_map(|launch| {
            let nest = nests.get(launch.kernel)?;
            let view = View { nest, sizes: &launch.sizes, target };
            Some(launch.times * (view.nest_cost() + LAUNCH))
        })
        .sum::<f64>()
        * INSTRUCTION_S
}

struct Launch {
    kernel: usize,
    times: f64,
    sizes: Vec<i64>,
}

fn launches(program: &Program, sizes: &[i64], scalars: &[Scalar], target: &Target) -> Vec<Launch> {
    let mut out = Vec::new();
    let steps = vec![0; program.step_vars];
    let scalars: Vec<Scalar> =
        if scalars.is_empty() { vec![Scalar::Int(1); program.scalars.len()] } else { scalars.to_vec() };
    let env = HostEnv { sizes, scalars: &scalars, steps: &steps, threads: target.threads() };
    walk_steps(&program.steps, &env, 1.0, &mut out);
    out
}

fn walk_steps(steps: &[Step], env: &HostEnv<'_>, times: f64, out: &mut Vec<Launch>) {
    for step in steps {
        match step {
            Step::Launch { kernel, sizes, .. } => {
                let sizes = sizes.iter().map(|s| s.eval_int(env).unwrap_or(1)).collect();
                out.push(Launch { kernel: *kernel, times, sizes });
            }
            Step::Repeat { lo, hi, body, .. } => {
                let ends = lo.eval_int(env).ok().zip(hi.eval_int(env).ok());
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let passes = ends.map_or(UNKNOWN_PASSES, |(lo, hi)| (hi - lo).max(0) as f64);
                walk_steps(body, env, times * passes, out);
            }
            Step::If { cond, then, otherwise } => {
                let taken = cond.eval(env).map_or(true, Scalar::is_true);
                walk_steps(if taken { then } else { otherwise }, env, times, out);
            }
            Step::Fill { .. } | Step::Copy { .. } => {}
        }
    }
}

struct View<'a> {
    nest: &'a Nest,
    sizes: &'a [i64],
    target: &'a Target,
}

/// A loop variable and the value that stands for all of its passes.
type Around = (VarId, f64);

impl View<'_> {
    fn nest_cost(&self) -> f64 {
        let mut total = 0.0;
        for phase in &self.nest.phases {
            let mut around: Vec<Around> = Vec::new();
            let mut chunks = 1.0;
            for core in &phase.cores {
                let (lo, hi) = (self.value(core.lo, &around), self.value(core.hi, &around));
                #[expect(clippy::cast_precision_loss, reason = "a step")]
                let step = core.step.max(1) as f64;
                chunks *= ((hi - lo) / step).ceil().max(0.0);
                around.push((core.var, f64::midpoint(lo, hi)));
            }
            #[expect(clippy::cast_precision_loss, reason = "a few threads")]
            let threads = self.target.threads().max(1) as f64;
            // Chunks are shared out whole: two threads need as long for three chunks as for four.
            let rounds = (chunks / threads).ceil();
            total +=
                rounds * self.body(&phase.body, &mut around, None) + if chunks > 1.0 { LAUNCH } else { 0.0 };
        }
        total
    }

    fn body(&self, body: &[Stmt], around: &mut Vec<Around>, lane: Option<VarId>) -> f64 {
        let mut total = 0.0;
        for stmt in body {
            total += match stmt {
                Stmt::Loop { var, lo, hi, step, kind, body } => {
                    let (lo, hi) = (self.value(*lo, around), self.value(*hi, around));
                    #[expect(clippy::cast_precision_loss, reason = "a step")]
                    let passes = ((hi - lo) / (*step).max(1) as f64).ceil().max(0.0);
                    around.push((*var, f64::midpoint(lo, hi)));
                    let cost = match kind {
                        LoopKind::Serial => passes * (self.body(body, around, lane) + 2.0),
                        LoopKind::Unrolled | LoopKind::Threads { .. } | LoopKind::Subgroups { .. } => {
                            passes * self.body(body, around, lane)
                        }
                        LoopKind::Lanes => {
                            #[expect(clippy::cast_precision_loss, reason = "bytes of a vector")]
                            let per = (vector_bytes(self.target) as f64 / 4.0).max(1.0);
                            (passes / per).ceil() * self.body(body, around, Some(*var))
                        }
                    };
                    around.pop();
                    cost
                }
                Stmt::Let { value, .. } => self.expr(*value, lane),
                Stmt::Store { buffer, index, value } => {
                    self.access(*buffer, index, lane) + self.expr(*value, lane)
                }
                Stmt::Atomic { buffer, index, value, .. } => {
                    20.0 + self.access(*buffer, index, lane) + self.expr(*value, lane)
                }
                Stmt::If { cond, then, otherwise } => {
                    let then = self.body(then, around, lane);
                    1.0 + self.expr(*cond, lane) + then.max(self.body(otherwise, around, lane))
                }
                Stmt::Prefetch { .. } => 1.0,
                Stmt::SetStatus(_) => 0.0,
                Stmt::Matrix(op) => self.matrix_op(op),
            };
        }
        total
    }

    /// What a subgroup does with whole matrices: a product is one instruction for each row of the accumulator.
    fn matrix_op(&self, op: &MatrixOp) -> f64 {
        let rows = op.matrices().next().and_then(|m| self.nest.buffers[m.buffer].shape.iter().nth_back(1));
        let rows = rows.map_or(1.0, |e| self.value(*e, &[]));
        rows * op.block().map_or(1.0, |b| self.access(b.buffer, &b.at, None))
    }

    /// An access: free in registers, one instruction where the lanes are neighbours, one per lane where they are not.
    fn access(&self, buffer: BufferId, index: &[ExprId], lane: Option<VarId>) -> f64 {
        let near = match self.nest.buffers[buffer].space {
            Space::Register | Space::Matrix => return 0.0,
            Space::Local | Space::Shared => 1.0,
            Space::Global(_) => 1.5,
        };
        let Some(lane) = lane else { return near };
        let last = index.len().saturating_sub(1);
        let scattered = index[..last].iter().any(|e| self.mentions(*e, lane));
        #[expect(clippy::cast_precision_loss, reason = "lanes")]
        let lanes = (vector_bytes(self.target) as f64 / 4.0).max(1.0);
        if scattered { near * lanes * 2.0 } else { near }
    }

    /// Whether an index depends on a variable. Shared operands are looked at once.
    fn mentions(&self, e: ExprId, var: VarId) -> bool {
        let mut found = false;
        self.each(e, |kind| found |= matches!(kind, ExprKind::Var(v) if *v == var));
        found
    }

    /// Calls `f` with every expression below and at `root`, once each. Indices of loads count as below.
    fn each(&self, root: ExprId, mut f: impl FnMut(&ExprKind)) {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![root]);
        while let Some(e) = stack.pop() {
            if seen.insert(e) {
                let kind = &self.nest.exprs[e].kind;
                f(kind);
                stack.extend(operands(kind));
            }
        }
    }

    /// Instructions of an expression, shared parts once; index arithmetic is taken to vanish into addressing.
    fn expr(&self, root: ExprId, lane: Option<VarId>) -> f64 {
        let (mut seen, mut stack, mut total) = (BTreeSet::new(), vec![root], 0.0);
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            let expr = &self.nest.exprs[e];
            total += match &expr.kind {
                ExprKind::Load { buffer, index } => {
                    total += self.access(*buffer, index, lane);
                    continue;
                }
                ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::Size(_) | ExprKind::Param(_) => 0.0,
                _ if !expr.dtype.is_float() => 0.5,
                ExprKind::Math(MathFn::Rsqrt, _) => 8.0,
                ExprKind::Math(..) => 20.0,
                ExprKind::Binary(BinaryOp::Div, ..) => 6.0,
                ExprKind::Binary(BinaryOp::Pow, ..) => 40.0,
                _ => 1.0,
            };
            stack.extend(operands(&expr.kind));
        }
        total
    }

    /// The value of an index expression, with the middle of its range for each variable.
    fn value(&self, e: ExprId, around: &[Around]) -> f64 {
        let get = |e: ExprId| self.value(e, around);
        match &self.nest.exprs[e].kind {
            ExprKind::Const(v) => v.as_f64(),
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            ExprKind::Size(n) => self.sizes.get(*n).map_or(UNKNOWN_PASSES, |v| *v as f64),
            ExprKind::Var(v) => around.iter().rev().find(|(w, _)| w == v).map_or(0.0, |(_, value)| *value),
            ExprKind::Cast(a) => get(*a),
            ExprKind::Unary(_, a) => -get(*a),
            ExprKind::Select(_, a, b) => f64::midpoint(get(*a), get(*b)),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (get(*a), get(*b));
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div | BinaryOp::DivNonNeg => (a / b.max(1.0)).floor(),
                    BinaryOp::Rem | BinaryOp::RemNonNeg => a % b.max(1.0),
                    BinaryOp::Min => a.min(b),
                    BinaryOp::Max => a.max(b),
                    BinaryOp::Shl => a * b.exp2(),
                    BinaryOp::Shr => (a / b.exp2()).floor(),
                    _ => UNKNOWN_PASSES,
                }
            }
            // Rows of data: neighbours in a list of offsets are a few apart.
            ExprKind::Load { index, .. } => UNKNOWN_PASSES * index.first().map_or(0.0, |e| get(*e)),
            _ => UNKNOWN_PASSES,
        }
    }
}

fn operands(kind: &ExprKind) -> Vec<ExprId> {
    match kind {
        ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::Size(_) | ExprKind::Param(_) => Vec::new(),
        ExprKind::Load { index, .. } => index.clone(),
        ExprKind::Unary(_, a) | ExprKind::Math(_, a) | ExprKind::Cast(a) => vec![*a],
        ExprKind::Binary(_, a, b) => vec![*a, *b],
        ExprKind::Fma(a, b, c) | ExprKind::Select(a, b, c) => vec![*a, *b, *c],
    }
}

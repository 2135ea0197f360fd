//! Who runs a chunk: one thread, or a group of them.

use rooftile_artifact::GpuTarget;

use super::layout::touched;
use crate::nest::ir::{CoreLoop, ExprId, ExprKind, LoopKind, Nest, Phase, Space, Stmt, VarId};
use crate::nest::verify::matrices;
use crate::nest::verify::threads::{exchanges, has_threads};
use crate::nest::walk::for_each_stmt;

/// Threads of a group where each runs a chunk of its own.
const GROUP: u32 = 64;

/// How a phase is spread over threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Threads of a group.
    pub group: u32,
    /// Whether the threads of a group run a chunk together; else each has chunks of its own.
    pub together: bool,
    /// Whether threads of a subgroup read each other's registers.
    pub exchanges: bool,
    /// Whether threads of a subgroup hold matrices together.
    pub matrices: bool,
}

impl Shape {
    /// How a phase is run on a target.
    ///
    /// # Errors
    /// What the target lacks, in words.
    pub fn of(nest: &Nest, phase: &Phase, target: &GpuTarget) -> Result<Shape, String> {
        let subgroups = matrices::most(&phase.body);
        if !has_threads(phase.body.iter()) && subgroups == 0 && !touches_shared(nest, phase) {
            let chunks = constant_chunks(nest, phase).unwrap_or(u64::MAX).max(1);
            let most = u64::from(GROUP.min(target.group_threads).max(1));
            // Below GROUP.
            let group = u32::try_from(chunks.min(most)).unwrap_or(GROUP);
            return Ok(Shape { group, together: false, exchanges: false, matrices: false });
        }
        let subgroup = u64::from(target.subgroup.max(1));
        let mut threads = (u64::from(subgroups) * subgroup).max(1);
        for_each_stmt(&phase.body, &mut |s| {
            if let Some(chain) = Chain::of(s) {
                threads = threads.max(chain.threads());
            }
        });
        if threads > u64::from(target.group_threads) {
            let most = target.group_threads;
            return Err(format!("a group of {threads} threads, where {most} are the most"));
        }
        let whole = threads.next_multiple_of(subgroup);
        let group = if threads > 1 && whole <= u64::from(target.group_threads) { whole } else { threads };
        let exchanges = exchanges(nest, &phase.body);
        let matrices = subgroups > 0;
        if (exchanges || matrices) && !group.is_multiple_of(subgroup) {
            return Err(format!("a group of {group} threads in whole subgroups of {subgroup}"));
        }
        let group = u32::try_from(group).unwrap_or(target.group_threads);
        Ok(Shape { group, together: true, exchanges, matrices })
    }

    /// Chunks that a group runs at once.
    #[must_use]
    pub fn chunks(self) -> u32 {
        if self.together { 1 } else { self.group }
    }
}

fn touches_shared(nest: &Nest, phase: &Phase) -> bool {
    touched(nest, &phase.body).iter().any(|b| nest.buffers[*b].space == Space::Shared)
}

/// Chunks of a phase, if that is a constant.
fn constant_chunks(nest: &Nest, phase: &Phase) -> Option<u64> {
    phase.cores.iter().try_fold(1u64, |n, c| n.checked_mul(constant_passes(nest, c)?))
}

/// Passes of a core loop of constant bounds.
fn constant_passes(nest: &Nest, core: &CoreLoop) -> Option<u64> {
    let span = nest.const_int(core.hi)?.checked_sub(nest.const_int(core.lo)?)?.max(0);
    Some(u64::try_from(span).ok()?.div_ceil(u64::try_from(core.step).ok()?))
}

/// Loops over threads that are nested in each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain<'a> {
    /// From the outside in.
    pub loops: Vec<ThreadLoop>,
    /// What each thread does.
    pub body: &'a [Stmt],
}

/// A loop over threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLoop {
    /// The counter.
    pub var: VarId,
    /// Most passes.
    pub count: u32,
    /// Upper end, not reached: the same for all threads, at most `count`.
    pub hi: ExprId,
    /// Threads from one pass to the next: the product of the counts inside.
    pub stride: u32,
}

impl<'a> Chain<'a> {
    /// The chain that starts with a statement.
    #[must_use]
    pub fn of(stmt: &'a Stmt) -> Option<Chain<'a>> {
        let Stmt::Loop { var, hi, kind: LoopKind::Threads { count }, body, .. } = stmt else { return None };
        let this = ThreadLoop { var: *var, count: *count, hi: *hi, stride: 1 };
        let mut chain = match &body[..] {
            [only] => Chain::of(only),
            _ => None,
        }
        .unwrap_or(Chain { loops: Vec::new(), body });
        let stride = chain.loops.first().map_or(1, |l| l.stride.saturating_mul(l.count));
        chain.loops.insert(0, ThreadLoop { stride, ..this });
        Some(chain)
    }

    /// Threads that it takes.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.loops.iter().map(|l| u64::from(l.count)).product()
    }
}

impl ThreadLoop {
    /// Whether every thread makes a pass.
    #[must_use]
    pub fn is_whole(&self, nest: &Nest) -> bool {
        matches!(nest.exprs[self.hi].kind, ExprKind::Const(v) if v.as_i64() == i64::from(self.count))
    }
}

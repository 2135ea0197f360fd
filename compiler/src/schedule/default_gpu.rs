//! The cost model's choice for GPUs. Where a processor has lanes a GPU has threads; what a processor shares out over its
//! cores goes to groups.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::{DType, GpuTarget};

use super::apply::{in_flight, tile_specs};
use super::default::{Model, fold_specs, in_parts};
use super::form::{Action, Form, StmtId};
use super::levels::is_reduced;
use super::say::{Wishes, plan_of};
use super::split::reassociates;
use super::{Allow, bounds, inline, mma};
use crate::hir::ir::{AxisId, ExprId, ExprKind, ReduceOp};
use crate::schedule::plan::{Assignment, Plan};

/// Rows of a register block of a contraction.
const ROWS: i64 = 16;

/// Points of a scan that a thread has in a step.
const SCANNED: i64 = 4;

/// Most axes that are shared out over groups.
const GRID: usize = 3;

/// Plans from the boldest proposal to plain loops.
pub(super) fn proposals(form: &Form, allow: Allow, target: &GpuTarget) -> Vec<Plan> {
    let mut out: Vec<Plan> = matrices(form, allow, target).map(|w| plan_of(form, w)).into_iter().collect();
    out.extend(
        [(true, true), (true, false), (false, false)]
            .map(|(threads, blocks)| plan_of(form, propose(form, allow, target, threads, blocks))),
    );
    let specs = tile_specs(form, &Assignment::new());
    out.push(plan_of(form, Wishes { specs, groups: true, ..Wishes::default() }));
    out.dedup();
    out
}

/// Matrix units, where they do all that runs over the most axes. A driver in software has none that are quicker than its
/// plain arithmetic.
fn matrices(form: &Form, allow: Allow, target: &GpuTarget) -> Option<Wishes> {
    if target.matrices.is_empty() || target.software {
        return None;
    }
    let model = Model::new(form, allow);
    let deepest = model.deepest();
    let products = deepest.iter().all(|s| mma::factors(form, *s).is_some()).then(|| mma::names(form))?;
    let mut specs = fold_specs(form);
    for a in model.apart().into_iter().take(GRID) {
        specs[a.index()].parallel = true;
    }
    Some(Wishes { specs, products, groups: true, ..Wishes::default() })
}

fn propose(form: &Form, allow: Allow, target: &GpuTarget, threads: bool, blocks: bool) -> Wishes {
    let mut specs = fold_specs(form);
    let model = Model::new(form, allow);
    let apart = model.apart();
    let mut side_by_side = if threads {
        shared_reads(&model, &apart).map_or_else(|| model.lanes(), |axis| BTreeSet::from([axis]))
    } else {
        BTreeSet::new()
    };
    side_by_side.retain(|a| scans(form, *a).all(|(dtype, op)| reassociates(dtype, op, allow)));
    if !reaches_all_work(&model, &side_by_side) {
        side_by_side.clear();
    }
    for a in &side_by_side {
        // What is summed over or scanned is handed over between threads: a subgroup needs no barrier for that.
        let together = is_reduced(form, *a) || scans(form, *a).next().is_some();
        let n = if together { target.subgroup.clamp(1, 64) } else { threads_along(target) };
        specs[a.index()].threads = Some(i64::from(n).max(2));
    }
    if blocks {
        model.write_out(&side_by_side, &mut specs);
        for a in side_by_side.iter().filter(|a| scans(form, **a).next().is_some()) {
            specs[a.index()].unroll = Some(SCANNED);
        }
        if let Some(c) = model.contraction(&side_by_side) {
            specs[c.rows.index()].unroll = Some(ROWS);
        }
    }
    // Of what is shared out, axes with threads come first.
    let (with, without): (Vec<AxisId>, Vec<AxisId>) = apart.iter().partition(|a| side_by_side.contains(a));
    for a in with.iter().chain(&without).take(GRID) {
        specs[a.index()].parallel = true;
    }
    let again = if threads { plain_reads(form) } else { Vec::new() };
    let mut wishes = Wishes { specs, again, groups: true, ..Wishes::default() };
    if apart.is_empty() {
        in_parts(form, allow, in_flight(target), &mut wishes);
    }
    wishes
}

/// Types and operators of the scans along an axis.
fn scans(form: &Form, axis: AxisId) -> impl Iterator<Item = (DType, ReduceOp)> {
    form.stmts.iter().filter_map(move |(_, s)| match s.action {
        Action::Scan { run, op, axis: along, .. } if along == axis => Some((form.func.values[run].dtype, op)),
        _ => None,
    })
}

/// Values that hold what a tensor holds: reading it again costs less than writing it to scratch memory and reading that.
fn plain_reads(form: &Form) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (_, stmt) in form.stmts.iter() {
        let Action::Set { value, index: None, expr } = &stmt.action else { continue };
        let mut e = *expr;
        while let ExprKind::Cast(inner) = form.func.exprs[e].kind {
            e = inner;
        }
        let name = &form.func.values[*value].name;
        if matches!(form.func.exprs[e].kind, ExprKind::Load { .. })
            && !out.contains(name)
            && inline::recompute(&mut form.clone(), name).is_ok()
        {
            out.push(name.clone());
        }
    }
    out
}

/// Whether every statement that runs over as many long axes as any has an axis with threads: else a whole group would wait
/// for what one thread does alone, and a chunk for each thread is better.
fn reaches_all_work(model: &Model<'_>, threads: &BTreeSet<AxisId>) -> bool {
    let has_threads = |s: &StmtId| model.form.stmts[*s].axes.iter().any(|a| threads.contains(a));
    model.deepest().iter().all(has_threads)
}

/// The axis of a sum's results along which terms are read that do not depend on it: its threads share those reads, and
/// each sums on its own. Of several the one that lies side by side in memory.
fn shared_reads(model: &Model<'_>, apart: &[AxisId]) -> Option<AxisId> {
    let form = model.form;
    let mut best: Option<(i64, AxisId)> = None;
    for (_, stmt) in form.stmts.iter() {
        let Action::Accumulate { value, args, .. } = &stmt.action else { continue };
        let own = &form.func.values[*value].axes;
        let reduced = stmt.axes.iter().any(|a| !own.contains(a) && bounds::extent(form, *a).is_none());
        let loads = loads(form, args);
        let mut scores = BTreeMap::new();
        for (e, _) in &loads {
            if let ExprKind::Load { tensor, index, .. } = &form.func.exprs[*e].kind {
                model.score(*tensor, index, 1, &mut scores);
            }
        }
        for a in own.iter().filter(|a| reduced && apart.contains(a) && !model.bounding.contains(a)) {
            if loads.iter().all(|(_, axes)| axes.contains(a)) {
                continue;
            }
            let score = scores.get(a).copied().unwrap_or(0);
            if best.is_none_or(|(s, _)| score > s) {
                best = Some((score, *a));
            }
        }
    }
    best.map(|(_, a)| a)
}

/// The reads of tensors below expressions, each with the axes that it depends on.
fn loads<'a>(form: &'a Form, roots: &[ExprId]) -> Vec<(ExprId, &'a [AxisId])> {
    let is_read = |e: &ExprId| matches!(form.func.exprs[*e].kind, ExprKind::Load { .. } | ExprKind::Value(_));
    let reads = form.below(roots.to_vec()).filter(is_read);
    reads.map(|e| (e, &form.func.exprs[e].axes[..])).collect()
}

/// Threads of a group along the axis that lies side by side in memory.
fn threads_along(target: &GpuTarget) -> u32 {
    (target.subgroup.max(1) * 2).clamp(64, 256).min(target.group_threads)
}

//! The cost model's choice for GPUs. Where a processor has lanes a GPU has threads; what a processor shares out over its
//! cores goes to groups.

use std::collections::BTreeSet;

use rooftile_artifact::GpuTarget;

use super::apply::tile_specs;
use super::default::{FOLD_TILE, Model, in_parts};
use super::form::Form;
use super::levels::AxisSpec;
use super::say::{Wishes, plan_of};
use super::{Allow, bounds};
use crate::hir::ir::{AxisId, AxisKind, TileSize};
use crate::schedule::plan::{Assignment, Plan};

/// Rows of a register block of a contraction.
const ROWS: i64 = 8;

/// Most axes that are shared out over groups.
const GRID: usize = 3;

/// Plans from the boldest proposal to plain loops.
pub(super) fn proposals(form: &Form, allow: Allow, target: &GpuTarget) -> Vec<Plan> {
    let mut out: Vec<Plan> = [(true, true), (true, false), (false, false)]
        .into_iter()
        .map(|(threads, blocks)| plan_of(form, propose(form, allow, target, threads, blocks)))
        .collect();
    let specs = tile_specs(form, &Assignment::new());
    out.push(plan_of(form, Wishes { specs, groups: true, ..Wishes::default() }));
    out.dedup();
    out
}

fn propose(form: &Form, allow: Allow, target: &GpuTarget, threads: bool, blocks: bool) -> Wishes {
    let mut specs = vec![AxisSpec::default(); form.func.axes.len()];
    for (id, axis) in form.func.axes.iter() {
        if let AxisKind::Fold(size) = &axis.kind {
            specs[id.index()].tiles.push(if let TileSize::Int(n) = size { *n } else { FOLD_TILE });
        }
    }
    let bounding: BTreeSet<AxisId> = form.func.axes.iter().flat_map(|(_, a)| a.parents.clone()).collect();
    let model = Model { form, bounding: &bounding, allow };
    let side_by_side = if threads { model.lanes() } else { BTreeSet::new() };
    for a in &side_by_side {
        specs[a.index()].threads = Some(threads_along(target));
    }
    if blocks {
        for a in form.func.axes.handles() {
            if model.writes_out(a) && !side_by_side.contains(&a) {
                specs[a.index()].unroll = bounds::extent(form, a);
            }
        }
        if let Some(c) = model.contraction(&side_by_side) {
            specs[c.rows.index()].unroll = Some(ROWS);
        }
    }
    let apart = model.apart();
    // Of what is shared out, axes with threads come first.
    let (with, without): (Vec<AxisId>, Vec<AxisId>) = apart.iter().partition(|a| side_by_side.contains(a));
    for a in with.iter().chain(&without).take(GRID) {
        specs[a.index()].parallel = true;
    }
    let mut wishes = Wishes { specs, groups: true, ..Wishes::default() };
    if apart.is_empty() {
        in_parts(form, allow, i64::from(target.units) * 64, &mut wishes);
    }
    wishes
}

/// Threads of a group along the axis that lies side by side in memory.
fn threads_along(target: &GpuTarget) -> i64 {
    let few = target.subgroup.max(1) * 2;
    i64::from(few.clamp(64, 256).min(target.group_threads))
}

//! The default of a fold over tiles of keys with two products, as attention has them: rows of scores are a product whose
//! lanes are keys, and what the fold carries is a product whose lanes are columns.
//!
//! ```text
//! for rows, 8 at a time { fold keys, 256 at a time { for keys, 32 lanes { for k { s += q * K } }  ..
//!                                                     for columns, 32 lanes { for keys { o += p * V } } } }
//! ```

use rooftile_artifact::CpuTarget;

use super::default::{Model, lane_count, rows_of, vectors_of};
use super::form::{Action, Form};
use super::say::Wishes;
use super::stage::Stage;
use super::{Allow, bounds, default, kernel, slant};
use crate::hir::ir::{AxisId, AxisKind, ExprId, ExprKind, ReduceOp, TensorId, TileSize};
use crate::schedule::plan::{AxisRef, Place};

/// Keys of a tile: long enough that what the fold carries is seldom read and written, short enough that a block of rows has
/// its scores in the first-level cache.
const KEYS: i64 = 256;

/// Most rows of a block, from plan to plan: twice as many would keep the adders no busier, and run beyond the ends of more
/// rows where those differ.
pub(super) const MOST_ROWS: [i64; 3] = [8, 4, 2];

/// Rows that share a copy of the keys where rows are shared out over the cores, and where they are not.
const ROWS: (i64, i64) = (224, 1024);

/// The axes of the two products.
struct Products {
    rows: AxisId,
    keys: AxisId,
    /// What the first product sums over.
    inner: AxisId,
    columns: AxisId,
    /// The factor of the first product that rows share: its keys lie far apart.
    panel: TensorId,
    /// What each point of is a fold of its own.
    apart: Vec<AxisId>,
}

/// The plan of such a kernel with blocks of at most so many rows.
pub(super) fn propose(form: &Form, allow: Allow, target: &CpuTarget, most: i64) -> Option<Wishes> {
    let model = Model::new(form, allow);
    let p = allow.reassoc.then(|| products(&model)).flatten()?;
    let mut setup = Wishes { specs: default::fold_specs(form), ..Wishes::default() };
    let chosen = [p.keys, p.columns].into_iter().collect();
    model.write_out(&chosen, &mut setup.specs);
    let lanes = lane_count(form, target, p.columns, true);
    let rows = rows_of(target, vectors_of(target, lanes), kernel::contracts(allow, target), most);
    let cores = target.threads > 1;
    let keys = match form.func.axes[p.keys].kind {
        AxisKind::Fold(TileSize::Int(n)) if n > 1 => n,
        _ => KEYS,
    };
    let chunk = if cores { ROWS.0 } else { ROWS.1 };
    for (axis, tile) in [(p.rows, chunk / rows * rows), (p.keys, keys)] {
        setup.specs[axis.index()].tiles = vec![tile];
    }
    setup.specs[p.rows.index()].unroll = Some(rows);
    // Two points a pass share the cost of counting and of addresses.
    setup.specs[p.inner.index()].unroll = Some(2);
    for axis in [p.keys, p.columns] {
        setup.specs[axis.index()].lanes = Some(lanes);
    }
    if cores {
        let shared = p.apart.iter().take(1).chain([&p.rows]);
        shared.for_each(|a| setup.specs[a.index()].parallel = true);
    }
    let mut order: Vec<AxisRef> = p.apart.iter().map(|a| form.level(*a, 0)).collect();
    order.extend([
        form.level(p.rows, 0),
        form.level(p.rows, 1),
        form.level(p.keys, 0),
        form.level(p.columns, 0),
    ]);
    order.extend([form.level(p.keys, 1), form.level(p.inner, 0)]);
    setup.order = order;
    let at = form.level(p.rows, 0);
    let (place, panel) = (Place::Local, Some(lanes));
    setup.stages.push(Stage { tensor: p.panel, at, place, panel, deep: None, window: None });
    if target.vector_bytes >= 32 {
        setup.past_caches = model.written_once(&chosen);
    }
    Some(setup)
}

fn products(model: &Model<'_>) -> Option<Products> {
    let form = model.form;
    let folded = |a: &AxisId| matches!(form.func.axes[*a].kind, AxisKind::Fold(_));
    let long = |a: AxisId| bounds::extent(form, a).is_none();
    let sums = || {
        form.stmts.iter().filter_map(|(_, s)| match &s.action {
            Action::Accumulate { value, op: ReduceOp::Dot | ReduceOp::Sum, args, guard: None } => {
                Some((s, &form.func.values[*value].axes, model.factors(args)?))
            }
            _ => None,
        })
    };
    let load = |e: ExprId| match &model.without_casts(e).kind {
        ExprKind::Load { tensor, index, .. } => {
            let axis = |e: &ExprId| match form.func.exprs[*e].kind {
                ExprKind::Axis(a) => Some(a),
                _ => None,
            };
            let axes: Vec<AxisId> = index.iter().filter_map(axis).collect();
            (axes.len() == index.len()).then(|| (*tensor, model.along(index), axes))
        }
        _ => None,
    };
    for (stmt, axes, factors) in sums() {
        let Some(keys) = axes.iter().copied().find(folded) else { continue };
        let Some(inner) = stmt.axes.iter().copied().find(|a| !axes.contains(a) && long(*a)) else { continue };
        let [Some(a), Some(b)] = factors.map(load) else { continue };
        let ((panel, _, of_keys), (_, _, of_rows)) = if a.2.contains(&keys) { (a, b) } else { (b, a) };
        let rows = of_rows.iter().copied().find(|a| axes.contains(a) && !of_keys.contains(a));
        let Some(rows) = rows.filter(|r| !of_rows.contains(&keys) && of_keys.contains(&inner) && long(*r))
        else {
            continue;
        };
        let bounds_others = form.func.axes.iter().filter(|(_, a)| a.parents.contains(&rows)).map(|(a, _)| a);
        let follows = bounds_others.into_iter().all(|a| a == keys && slant::of(form, keys).is_some());
        if !follows || !matches!(form.func.axes[rows].kind, AxisKind::For(_)) {
            continue;
        }
        for (stmt, axes, factors) in sums() {
            let along = factors
                .into_iter()
                .filter_map(load)
                .find_map(|(_, along, of)| along.filter(|_| of.contains(&keys) && !of.contains(&rows)));
            let Some(columns) = along else { continue };
            let second = stmt.axes.contains(&keys) && !axes.contains(&keys) && axes.contains(&rows);
            if second
                && axes.contains(&columns)
                && model.blockable(columns)
                && columns != inner
                && long(columns)
            {
                let outer = |a: &&AxisId| {
                    matches!(form.func.axes[**a].kind, AxisKind::For(_)) && **a != rows && axes.contains(a)
                };
                let apart = form.order.iter().filter(outer).copied().collect();
                return Some(Products { rows, keys, inner, columns, panel, apart });
            }
        }
    }
    None
}

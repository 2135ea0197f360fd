//! The default of sums by groups over a constant input whose elements share bytes: weights that are scaled group by group. Lanes
//! are rows, of which the input is packed beforehand.
//!
//! ```text
//! acc[i] += S[i,g] * sum[k in G]((W[i, g*G + k] - 8) * x[g*G + k])
//!   =>  for i step 64 { for g { for k step 2 { sum[64 lanes] += (W'[i / 64, (g*G + k) / 2, 64 lanes] - 8) * x[g*G + k] }
//!                                acc[64 lanes] += S'[i / 64, g, 64 lanes] * sum[64 lanes] } }
//! ```
//!
//! Along the groups lanes would lie far apart; along a group, each would end in a sum of its lanes.

use rooftile_artifact::CpuTarget;

use super::default::{self, Model};
use super::form::{Action, Form, Stmt};
use super::plan::{Amount, Plan, TensorLayout, Verb};
use super::say::{Wishes, plan_of};
use super::{Allow, bounds};
use crate::hir::ir::{AxisId, Expr, ExprKind, Role, Tensor, TensorId};

/// Vectors of a block of rows: as many sums as keep the adders busy.
const VECTORS: i64 = 4;

/// The plan of such a kernel.
pub(super) fn propose(form: &Form, allow: Allow, target: &CpuTarget) -> Option<Plan> {
    if target.vector_bytes < 32 {
        return None;
    }
    let model = Model::new(form, allow);
    let sums = sums(&model)?;
    let lanes = VECTORS * i64::try_from(target.vector_bytes / 4).ok()?;
    let mut setup = Wishes { specs: default::fold_specs(form), ..Wishes::default() };
    let rows = &mut setup.specs[sums.rows.index()];
    rows.lanes = Some(lanes);
    if target.threads > 1 && model.apart().contains(&sums.rows) {
        (rows.parallel, rows.tiles) = (true, vec![lanes]);
    }
    setup.specs[sums.terms.index()].unroll = Some(sums.per_byte);
    let mut plan = plan_of(form, setup);
    plan.verbs.extend(sums.packed.into_iter().map(|t| Verb::Prepack {
        tensor: form.func.tensors[t].name.clone(),
        layout: Some(TensorLayout::Transpose),
        panel: Some(Amount::Int(lanes)),
    }));
    Some(plan)
}

/// Sums by groups.
struct Sums {
    rows: AxisId,
    /// The terms of a group.
    terms: AxisId,
    /// Elements of a byte.
    per_byte: i64,
    /// The constant inputs that have such rows.
    packed: Vec<TensorId>,
}

fn sums(model: &Model<'_>) -> Option<Sums> {
    let form = model.form;
    let long = |a: &AxisId| bounds::extent(form, *a).is_none();
    let stmts: Vec<&Stmt> = form.stmts.iter().map(|(_, s)| s).collect();
    model.deepest().into_iter().find_map(|s| {
        let stmt = &form.stmts[s];
        let Action::Accumulate { value, guard: None, .. } = &stmt.action else { return None };
        let of_group = &form.func.values[*value].axes;
        let terms = stmt.axes.iter().copied().find(|a| !of_group.contains(a))?;
        let (weights, rows) = model.loads(&[stmt]).into_iter().find_map(|e| {
            let (t, rows) = row_of(form, e)?;
            let packed = form.func.tensors[t].packed == Some(1);
            (packed && e.axes.contains(&terms) && of_group.contains(&rows)).then_some((t, rows))
        })?;
        let groups = of_group.iter().any(|a| *a != rows && long(a));
        if !groups || !model.blockable(rows) || !long(&rows) {
            return None;
        }
        let mut packed = vec![weights];
        for e in model.loads(&stmts) {
            match (row_of(form, e), &e.kind) {
                (Some((t, of)), _) if of == rows => packed.extend((!packed.contains(&t)).then_some(t)),
                // Side by side already, or the same for all lanes.
                (_, ExprKind::Load { index, .. }) if index.len() < 2 || !e.axes.contains(&rows) => {}
                _ => return None,
            }
        }
        let per_byte = i64::try_from(form.func.tensors[weights].dtype.per_byte()).ok()?;
        Some(Sums { rows, terms, per_byte, packed })
    })
}

/// A matrix and the axis of its rows, where it is a constant input that is read by a row as a whole.
fn row_of(form: &Form, load: &Expr) -> Option<(TensorId, AxisId)> {
    let ExprKind::Load { tensor, index, .. } = &load.kind else { return None };
    let Tensor { role, constant, .. } = form.func.tensors[*tensor];
    let [row, column] = index[..] else { return None };
    let ExprKind::Axis(rows) = form.func.exprs[row].kind else { return None };
    let apart = !form.func.exprs[column].axes.contains(&rows);
    (role == Role::In && constant && apart).then_some((*tensor, rows))
}

//! Tensors that a default schedule asks for ahead: those of which the processor's own prefetching does not come far enough.

use std::collections::BTreeSet;

use super::access::reads;
use super::apply;
use super::default::Model;
use super::form::{Action, Form};
use super::levels::AxisSpec;
use crate::hir::ir::{AxisId, ExprId, ExprKind, TensorId};

/// How far ahead elements are asked for that share bytes.
const BYTES_AHEAD: i64 = 16 << 10;

/// Points of a row whose length is data that are written out, and how far ahead the row is asked for: rows are short, and
/// follow each other.
pub(super) const POINTS_OF_ROW: i64 = 2;
const BYTES_AHEAD_OF_ROW: i64 = 2 << 10;

/// Terms of the sums of a product that is one of many that are written out.
pub(super) const PRODUCTS_OF_MANY: i64 = 4;

/// How far ahead the factors of such products are asked for: bytes of the one whose rows share the lanes, rows of the other.
/// That is another product where they are small, and none of them is a stream that the processor would follow.
const BYTES_AHEAD_OF_LEFT: i64 = 8 << 10;
const ROWS_AHEAD_OF_RIGHT: i64 = 64;

/// The factors of many products, and passes of [`PRODUCTS_OF_MANY`] terms.
pub(super) fn of_many(form: &Form, right: TensorId, left: Option<TensorId>) -> Vec<(TensorId, i64)> {
    let mut out = vec![(right, ROWS_AHEAD_OF_RIGHT / PRODUCTS_OF_MANY)];
    if let Some(left) = left.filter(|left| *left != right) {
        let element = i64::try_from(form.func.tensors[left].dtype.size()).unwrap_or(1);
        out.push((left, (BYTES_AHEAD_OF_LEFT / (element * PRODUCTS_OF_MANY)).min(apply::AHEAD)));
    }
    out
}

impl Model<'_> {
    /// Tensors whose elements share bytes along lanes, and the passes of those lanes in [`BYTES_AHEAD`]. Taking the elements of a
    /// line apart takes so long that the processor does not look far ahead of it.
    pub(super) fn packed_along(&self, lanes: &BTreeSet<AxisId>, specs: &[AxisSpec]) -> Vec<(TensorId, i64)> {
        let func = &self.form.func;
        let mut out = Vec::new();
        for (_, e) in func.exprs.iter() {
            let ExprKind::Load { tensor, index, .. } = &e.kind else { continue };
            let packed = func.tensors[*tensor].packed.is_some_and(|d| d + 1 == index.len());
            let along = self.along(index).filter(|a| packed && lanes.contains(a));
            let Some(n) = along.and_then(|a| specs[a.index()].lanes) else { continue };
            let per_byte = i64::try_from(func.tensors[*tensor].dtype.per_byte()).unwrap_or(1);
            let passes = (BYTES_AHEAD * per_byte / n).clamp(1, apply::AHEAD);
            if !out.iter().any(|(t, _)| t == tensor) {
                out.push((*tensor, passes));
            }
        }
        out
    }

    /// An axis without lanes, of sums, both of whose bounds are data: a row of a compressed matrix, where another one ended.
    pub(super) fn row_of_data(&self, lanes: &BTreeSet<AxisId>) -> Option<AxisId> {
        let is_data = |e: ExprId| {
            let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
            reads(self.form, e, &mut seen, &mut found);
            !found.is_empty()
        };
        self.deepest().into_iter().find_map(|s| {
            let stmt = &self.form.stmts[s];
            let axis = *stmt.axes.last()?;
            let of_data =
                [self.form.func.axes[axis].lo, self.form.func.axes[axis].hi].into_iter().all(is_data);
            let sums = matches!(stmt.action, Action::Accumulate { .. });
            (sums && of_data && !lanes.contains(&axis) && self.blockable(axis)).then_some(axis)
        })
    }

    /// Tensors that are read side by side along an axis, and its passes in [`BYTES_AHEAD_OF_ROW`].
    pub(super) fn read_along(&self, axis: AxisId) -> Vec<(TensorId, i64)> {
        let func = &self.form.func;
        let mut out = Vec::new();
        for (_, e) in func.exprs.iter() {
            let ExprKind::Load { tensor, index, .. } = &e.kind else { continue };
            let element = i64::try_from(func.tensors[*tensor].dtype.size()).unwrap_or(1);
            if self.along(index) == Some(axis) && !out.iter().any(|(t, _)| t == tensor) {
                out.push((*tensor, BYTES_AHEAD_OF_ROW / (element * POINTS_OF_ROW)));
            }
        }
        out
    }
}

//! Tensors that a default schedule asks for ahead: those of which the processor's own prefetching does not come far enough.

use std::collections::BTreeSet;

use super::access::is_data;
use super::apply;
use super::default::Model;
use super::form::{Action, Form};
use super::levels::AxisSpec;
use crate::hir::ir::{AxisId, ExprKind, TensorId};

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

/// The passes in which a tensor's elements, so many a pass, are so many bytes.
fn passes(form: &Form, tensor: TensorId, bytes: i64, a_pass: i64) -> i64 {
    let dtype = form.func.tensors[tensor].dtype;
    let [size, per_byte] = [dtype.size(), dtype.per_byte()].map(|n| i64::try_from(n).unwrap_or(1));
    (bytes * per_byte / (size * a_pass)).clamp(1, apply::AHEAD)
}

/// The factors of many products, and passes of [`PRODUCTS_OF_MANY`] terms.
pub(super) fn of_many(form: &Form, right: TensorId, left: Option<TensorId>) -> Vec<(TensorId, i64)> {
    let mut out = vec![(right, ROWS_AHEAD_OF_RIGHT / PRODUCTS_OF_MANY)];
    if let Some(left) = left.filter(|left| *left != right) {
        out.push((left, passes(form, left, BYTES_AHEAD_OF_LEFT, PRODUCTS_OF_MANY)));
    }
    out
}

impl Model<'_> {
    /// Tensors whose elements share bytes along lanes, and the passes of those lanes in [`BYTES_AHEAD`]. Taking the elements of a
    /// line apart takes so long that the processor does not look far ahead of it.
    pub(super) fn packed_along(&self, lanes: &BTreeSet<AxisId>, specs: &[AxisSpec]) -> Vec<(TensorId, i64)> {
        self.read_side_by_side(|tensor, along| {
            let t = &self.form.func.tensors[tensor];
            let packed = t.packed.is_some_and(|d| d + 1 == t.shape.len());
            let n = specs[along.index()].lanes.filter(|_| packed && lanes.contains(&along))?;
            Some(passes(self.form, tensor, BYTES_AHEAD, n))
        })
    }

    /// An axis without lanes, of sums, both of whose bounds are data: a row of a compressed matrix, where another one ended.
    pub(super) fn row_of_data(&self, lanes: &BTreeSet<AxisId>) -> Option<AxisId> {
        self.deepest().into_iter().find_map(|s| {
            let stmt = &self.form.stmts[s];
            let axis = *stmt.axes.last()?;
            let a = &self.form.func.axes[axis];
            let of_data = is_data(self.form, a.lo) && is_data(self.form, a.hi);
            let sums = matches!(stmt.action, Action::Accumulate { .. });
            (sums && of_data && !lanes.contains(&axis) && self.blockable(axis)).then_some(axis)
        })
    }

    /// Tensors that are read side by side along an axis, and its passes in [`BYTES_AHEAD_OF_ROW`].
    pub(super) fn read_along(&self, axis: AxisId) -> Vec<(TensorId, i64)> {
        self.read_side_by_side(|tensor, along| {
            (along == axis).then(|| passes(self.form, tensor, BYTES_AHEAD_OF_ROW, POINTS_OF_ROW))
        })
    }

    /// Tensors that are read side by side along an axis, each once, with the passes that `passes` gives for both.
    fn read_side_by_side(&self, passes: impl Fn(TensorId, AxisId) -> Option<i64>) -> Vec<(TensorId, i64)> {
        let mut out: Vec<(TensorId, i64)> = Vec::new();
        for (_, e) in self.form.func.exprs.iter() {
            let ExprKind::Load { tensor, index, .. } = &e.kind else { continue };
            let asked = self.along(index).and_then(|along| passes(*tensor, along));
            if let Some(n) = asked.filter(|_| !out.iter().any(|(t, _)| t == tensor)) {
                out.push((*tensor, n));
            }
        }
        out
    }
}

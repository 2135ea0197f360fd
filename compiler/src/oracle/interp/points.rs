//! Walking axes: the range of an axis at a point, and all points of a set of axes.

use super::memory::{Cells, MAX_RANK};
use super::{Exec, R};
use crate::diag::Span;
use crate::hir::ir::{AxisId, AxisKind, ValueId};
use crate::oracle::error::ErrorKind;

impl<'a> Exec<'_, 'a> {
    /// Sets the index of an axis.
    pub(super) fn set(&mut self, axis: AxisId, x: i64) {
        self.m.clock += 1;
        self.axis[axis.index()] = x;
        self.stamp[axis.index()] = self.m.clock;
    }

    /// The range that an axis has at the current point of its parents, the tile notwithstanding.
    pub(super) fn whole(&mut self, axis: AxisId) -> R<(i64, i64)> {
        let a = &self.func.axes[axis];
        let lo = self.eval(a.lo)?.as_i64();
        let hi = self.eval(a.hi)?.as_i64();
        if i128::from(hi) - i128::from(lo) > 1 << 40 {
            return self.fail(ErrorKind::BadInput(format!("axis `{}` is too long", a.name)), a.span);
        }
        Ok((lo, hi))
    }

    /// The range of an axis in the current tile, at the current point of its parents.
    pub(super) fn range(&mut self, axis: AxisId) -> R<(i64, i64)> {
        let (lo, hi) = self.whole(axis)?;
        Ok(match self.window[axis.index()] {
            None => (lo, hi),
            Some((from, to)) => (lo.saturating_add(from).min(hi), lo.saturating_add(to).min(hi)),
        })
    }

    /// The axes and the axes that their bounds mention, parents first; counters, which are always set, left out.
    pub(super) fn order(&self, axes: impl IntoIterator<Item = AxisId>) -> Vec<AxisId> {
        fn add(exec: &Exec<'_, '_>, axis: AxisId, out: &mut Vec<AxisId>) {
            let a = &exec.func.axes[axis];
            if matches!(a.kind, AxisKind::Seq | AxisKind::Repeat) || out.contains(&axis) {
                return;
            }
            for &parent in &a.parents {
                add(exec, parent, out);
            }
            out.push(axis);
        }
        let mut out = Vec::new();
        for axis in axes {
            add(self, axis, &mut out);
        }
        out
    }

    /// Runs `visit` at every point of the current tile, ascending, the last axis fastest. `axes` as from
    /// [`Exec::order`].
    pub(super) fn for_points(&mut self, axes: &[AxisId], visit: &mut dyn FnMut(&mut Self) -> R<()>) -> R<()> {
        let Some((&axis, inner)) = axes.split_first() else {
            return visit(self);
        };
        let (lo, hi) = self.range(axis)?;
        for x in lo..hi {
            self.set(axis, x);
            self.for_points(inner, visit)?;
        }
        Ok(())
    }

    /// A box that holds every point of a tile value in the current tile.
    pub(super) fn new_cells(&mut self, value: ValueId, span: Span) -> R<Cells> {
        let axes = &self.func.values[value].axes;
        if axes.len() > MAX_RANK {
            return self.fail(ErrorKind::Internal("a tile value with too many axes"), span);
        }
        let mut bounds = Vec::new();
        for &axis in axes {
            bounds.push(self.hull(axis)?);
        }
        match Cells::new(&bounds) {
            Some(cells) => Ok(cells),
            None => {
                let name = &self.func.values[value].name;
                self.fail(ErrorKind::BadInput(format!("tile value `{name}` is too large")), span)
            }
        }
    }

    /// The smallest range that holds an axis' ranges at all points of its parents, in the current tile.
    pub(super) fn hull(&mut self, axis: AxisId) -> R<(i64, i64)> {
        let parents = self.order(self.func.axes[axis].parents.iter().copied());
        let mut hull: Option<(i64, i64)> = None;
        self.for_points(&parents, &mut |exec| {
            let (lo, hi) = exec.range(axis)?;
            if lo < hi {
                hull = Some(hull.map_or((lo, hi), |(a, b)| (a.min(lo), b.max(hi))));
            }
            Ok(())
        })?;
        Ok(hull.unwrap_or((0, 0)))
    }

    /// The greatest number of points that an axis has at any point of its parents, the tile notwithstanding.
    pub(super) fn longest(&mut self, axis: AxisId) -> R<i64> {
        let parents = self.order(self.func.axes[axis].parents.iter().copied());
        let mut longest = 0;
        self.for_points(&parents, &mut |exec| {
            let (lo, hi) = exec.whole(axis)?;
            longest = longest.max(hi - lo);
            Ok(())
        })?;
        Ok(longest)
    }

    /// The current point of a tile value.
    pub(super) fn here(&self, value: ValueId) -> impl Iterator<Item = i64> + use<'_, 'a> {
        self.func.values[value].axes.iter().map(|a| self.axis[a.index()])
    }
}

//! In the default schedule: sums of products in which one factor is read at shifted places, as in a convolution.
//!
//! ```text
//! acc[k,y,x] += Wt[k,c,r,s] * X[c, y + r - 1, x + s - 1]
//! ```
//!
//! With lanes along `x` a vector of `X` begins anywhere, so that it lies in two lines of a cache, each shift needs another, and
//! those at the border choose between elements and what the edge rule gives. `k` is in the other factor only: with lanes along
//! it that factor lies in panels of whole vectors, and each element of `X` is one number for all lanes, loaded once for all
//! shifts that use it. Edge rules apply once, when the window that a block of rows reads is copied. The results are then far
//! apart for neighbouring lanes, which counts for little after a long sum.

use std::collections::BTreeSet;

use rooftile_artifact::CpuTarget;

use super::access::bounded_by_data;
use super::default::{Model, SMALL, registers};
use super::form::Action;
use super::levels::AxisSpec;
use super::say::Wishes;
use super::stage::Stage;
use super::{Allow, bounds, kernel, window};
use crate::hir::ir::{AxisId, AxisKind, ExprKind, ReduceOp, TensorId};
use crate::schedule::plan::{AxisRef, Place};

/// Vectors of a block.
const VECTORS: i64 = 2;

/// Products that are written out for one pass of the long sum, at most.
const MOST_PRODUCTS: i64 = 256;

/// Rows of the image that one copy is for, and columns: with the channels of a deep layer the window still fits the second-level
/// cache, and its halo is small against it.
const IMAGE_ROWS: i64 = 8;
const IMAGE_COLUMNS: i64 = 128;

/// A sum of products of which one factor is read at shifted places.
pub(super) struct Shifted {
    /// The axis of the results that only the other factor has: that of the lanes.
    pub(super) lanes: AxisId,
    /// The axis along which the shifted factor lies side by side.
    pub(super) points: AxisId,
    /// Further axes of the results along which it is shifted.
    lines: Vec<AxisId>,
    /// What the results run over besides, from the outside in.
    apart: Vec<AxisId>,
    /// Short axes that are summed over, those that shift `points` first.
    short: Vec<AxisId>,
    /// How far shifts go along `points`.
    span: i64,
    /// The other factor.
    panel: TensorId,
    /// The shifted one, if windows of it can be copied.
    image: Option<TensorId>,
}

impl Model<'_> {
    /// Where lanes lie along an axis by which a factor is shifted, and another axis would do better.
    pub(super) fn shifted(&self, lanes: &BTreeSet<AxisId>) -> Option<Shifted> {
        self.form.stmts.handles().find_map(|s| {
            let stmt = &self.form.stmts[s];
            let Action::Accumulate { value, op: ReduceOp::Dot | ReduceOp::Sum, args, guard: None } =
                &stmt.action
            else {
                return None;
            };
            let results = &self.form.func.values[*value].axes;
            let points = results.iter().copied().find(|a| lanes.contains(a))?;
            let [a, b] = self.factors(args)?.map(|e| self.without_casts(e));
            let (image, panel) = if a.axes.contains(&points) { (a, b) } else { (b, a) };
            let ExprKind::Load { tensor: image_of, index, leaves } = &image.kind else { return None };
            let ExprKind::Load { tensor: panel_of, index: panel_index, leaves: panel_leaves } = &panel.kind
            else {
                return None;
            };
            let is_axis = |e: &_| matches!(self.form.func.exprs[*e].kind, ExprKind::Axis(_));
            if !panel_index.iter().all(is_axis) || panel_leaves.contains(&true) {
                return None;
            }
            let last = *index.last()?;
            let (stride, (lo, hi)) = bounds::strided(self.form, last, points)?;
            if lo == hi && stride == 1 && leaves.last() != Some(&true) {
                return None;
            }
            let extent = |a: AxisId| bounds::extent(self.form, a);
            let plain = |a: AxisId| {
                let axis = &self.form.func.axes[a];
                matches!(axis.kind, AxisKind::For(_)) && axis.parents.is_empty() && self.blockable(a)
            };
            let is_free = |a: &AxisId| {
                panel.axes.contains(a)
                    && !image.axes.contains(a)
                    && plain(*a)
                    && extent(*a).is_none_or(|n| n > SMALL)
            };
            let free = results.iter().copied().find(is_free)?;
            let summed: Vec<AxisId> = stmt.axes.iter().copied().filter(|a| !results.contains(a)).collect();
            let is_long = |a: &AxisId| extent(*a).is_none_or(|n| n > SMALL);
            let ragged = summed.iter().any(|a| bounded_by_data(self.form, *a) || !self.blockable(*a));
            // Whatever has lanes along the one axis must be able to have them along the other.
            let everywhere =
                self.form.stmts.iter().all(|(_, s)| !s.axes.contains(&points) || s.axes.contains(&free));
            if !summed.iter().any(is_long)
                || ragged
                || !everywhere
                || panel.axes.contains(&points)
                || !plain(points)
            {
                return None;
            }
            let shifts = |a: &AxisId| self.form.func.exprs[last].axes.contains(a);
            let mut short: Vec<AxisId> = summed.iter().copied().filter(|a| !is_long(a)).collect();
            short.sort_by_key(|a| !shifts(a));
            let moves = |a: &AxisId| {
                let moved = |e: &&_| {
                    let found = bounds::strided(self.form, **e, *a);
                    found.is_some_and(|(stride, (lo, hi))| lo < hi || stride > 1)
                };
                *a != points && plain(*a) && index.iter().any(|e| moved(&e))
            };
            let lines: Vec<AxisId> = results.iter().copied().filter(moves).collect();
            let other = |a: &AxisId| ![free, points].contains(a) && !lines.contains(a);
            let apart = self.form.order.iter().copied().filter(|a| results.contains(a) && other(a)).collect();
            let image = window::window(&mut self.form.clone(), *image_of).map(|_| *image_of);
            Some(Shifted { lanes: free, points, lines, apart, short, span: hi - lo, panel: *panel_of, image })
        })
    }
}

impl Shifted {
    /// Axes to share out over the cores.
    pub(super) fn shared(&self, apart: &[AxisId]) -> Vec<AxisId> {
        let outer = self.apart.iter().copied().filter(|a| apart.contains(a)).take(1);
        outer.chain(apart.contains(&self.lanes).then_some(self.lanes)).collect()
    }

    /// Register blocks, tiles and copies; `most` points are written out.
    pub(super) fn block(
        &self,
        model: &Model<'_>,
        (target, allow): (&CpuTarget, Allow),
        (shared, most): (&[AxisId], i64),
        specs: &mut [AxisSpec],
        setup: &mut Wishes,
    ) {
        // Besides the sums, what all shifts use of the image, and a row of the panel; products where they are not fused.
        let products = if kernel::contracts(allow, target) { 0 } else { VECTORS };
        let room = (registers(target) - VECTORS - products - self.span) / (VECTORS + 1);
        // Results are put together four at a time.
        let points = if room >= 4 { room & !3 } else { room }.clamp(1, most);
        let form = model.form;
        specs[self.points.index()].unroll = Some(points);
        let mut products = points * VECTORS;
        for a in &self.short {
            let n = bounds::extent(form, *a).unwrap_or(1).max(1);
            let fits = products * n <= MOST_PRODUCTS;
            specs[a.index()].unroll = fits.then_some(n);
            products *= if fits { n } else { 1 };
        }
        let lanes = specs[self.lanes.index()].lanes.unwrap_or(8);
        // Fewer copies of the image for each core that works alone.
        let panels = if shared.contains(&self.lanes) { 1 } else { 2 };
        specs[self.lanes.index()].tiles = vec![panels * lanes];
        specs[self.points.index()].tiles = vec![IMAGE_COLUMNS / points * points];
        for line in &self.lines {
            specs[line.index()].tiles = vec![IMAGE_ROWS];
        }
        let inside = |n: u32| {
            let lines = self.lines.iter().map(move |a| form.level(*a, n));
            lines.chain([form.level(self.points, n)])
        };
        let mut order: Vec<AxisRef> = self.apart.iter().map(|a| form.level(*a, 0)).collect();
        order.push(form.level(self.lanes, 0));
        order.extend(inside(0));
        order.push(form.level(self.lanes, 1));
        order.extend(inside(1));
        setup.order = order;
        let stage =
            |tensor, at, panel| Stage { tensor, at, place: Place::Local, panel, deep: None, window: None };
        setup.stages.push(stage(self.panel, form.level(self.lanes, 0), Some(lanes)));
        setup.stages.extend(self.image.map(|image| stage(image, form.level(self.points, 0), None)));
    }
}

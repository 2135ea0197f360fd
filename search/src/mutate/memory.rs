//! Moves of data: staged copies, places of values, storage orders.

use rooftile_compiler::schedule::plan::{Amount, AxisRef, Place, Plan, TensorLayout, Verb};

use super::Mutator;
use super::tune::{AHEAD, PANELS};
use crate::candidate::Class;
use crate::rng::Rng;

impl Mutator {
    /// Adds, changes or drops the copy of a tensor into near memory.
    pub(super) fn stage(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let tensors: Vec<&str> =
            self.anchors.tensors.iter().filter(|t| t.read).map(|t| t.name.as_str()).collect();
        let tensor = (*rng.pick(&tensors)?).to_owned();
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Stage { tensor: t, .. } if *t == tensor));
        if had && rng.chance(0.35) {
            plan.verbs.retain(|v| !matches!(v, Verb::Stage { tensor: t, .. } if *t == tensor));
            return Some(Class::X);
        }
        // A copy is made inside a loop that the tensor's reads follow; the compiler knows which those are.
        // Windows of what is read at shifted places have no panels.
        let mut window = false;
        let name = match self.plausible_tensor(&tensor) {
            Some(t) => {
                window = !t.windows_by.is_empty() && (t.staged_by.is_empty() || rng.chance(0.5));
                rng.pick(if window { &t.windows_by } else { &t.staged_by })?.clone()
            }
            None => (*rng.pick(&self.anchors.axes_where(|a| a.tiled || a.whole || a.ordered))?).to_owned(),
        };
        let tiles = plan.verbs.iter().find_map(|v| match v {
            Verb::Tile { axis, sizes } if *axis == name => Some(sizes.len()),
            _ => None,
        });
        let depth =
            tiles.unwrap_or_else(|| usize::from(self.anchors.axis(&name).is_some_and(|a| a.tile.is_some())));
        let level = if depth > 0 && rng.chance(0.7) { u32::try_from(rng.below(depth)).ok() } else { None };
        // A panel as wide as the vectors (or a multiple) is what makes the copy's rows be read with full lanes.
        let lanes = plan.verbs.iter().find_map(|v| match v {
            Verb::Vector { lanes: Amount::Int(n), .. } => Some(*n),
            _ => None,
        });
        let panel = if !window && rng.chance(0.6) {
            let n = lanes.unwrap_or(8) * if rng.chance(0.25) { 2 } else { 1 };
            Some(Amount::Int(n))
        } else {
            None
        };
        // Four bytes side by side are what one instruction multiplies.
        let deep = if panel.is_some() && rng.chance(0.25) { rng.pick(&[4, 2]).copied() } else { None };
        let at = AxisRef { name, level };
        plan.verbs.push(Verb::Stage { tensor, at, place: Place::Local, panel, deep });
        Some(Class::X)
    }

    /// Makes panels as wide as the vectors that read them, where a plan has vectors along one axis only, and no deeper than
    /// the points that are written out allow: a panel that no whole number of vectors fills is refused, and so is a depth
    /// that no whole number of points does.
    pub(super) fn fit_panels(plan: &mut Plan) {
        let written_out: Vec<(String, Option<Amount>)> = plan
            .verbs
            .iter()
            .filter_map(|v| match v {
                Verb::Unroll { axis, count } => Some((axis.clone(), count.clone())),
                _ => None,
            })
            .collect();
        for verb in &mut plan.verbs {
            let Verb::Stage { at, deep, .. } = verb else { continue };
            let fits = |q: i64| {
                written_out.iter().filter(|(axis, _)| *axis == at.name).all(
                    |(_, count)| matches!(count, Some(Amount::Int(points)) if *points > 0 && q % points == 0),
                )
            };
            *deep = deep.filter(|q| fits(*q));
        }
        let mut vectors = plan.verbs.iter().filter_map(|v| match v {
            Verb::Vector { lanes, .. } => Some(lanes.clone()),
            _ => None,
        });
        let (Some(lanes), None) = (vectors.next(), vectors.next()) else { return };
        for verb in &mut plan.verbs {
            let Verb::Stage { panel: Some(panel), .. } = verb else { continue };
            let fits = match (&*panel, &lanes) {
                (Amount::Int(p), Amount::Int(l)) => *l > 0 && p % l == 0,
                (p, l) => p == l,
            };
            if !fits {
                *panel = lanes.clone();
            }
        }
    }

    /// Sets or drops where a tile value lives.
    pub(super) fn keep(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let value = rng.pick(&self.anchors.values)?.clone();
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Keep { value: x, .. } if *x == value));
        if had && rng.chance(0.4) {
            plan.verbs.retain(|v| !matches!(v, Verb::Keep { value: x, .. } if *x == value));
        } else {
            let place = *rng.pick(&[Place::Reg, Place::Local])?;
            plan.verbs.retain(|v| !matches!(v, Verb::Recompute(x) if *x == value));
            plan.verbs.push(Verb::Keep { value, place });
        }
        Some(Class::X)
    }

    /// Sets or drops computing a value again at each use.
    pub(super) fn recompute(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let value = rng.pick(&self.anchors.lets)?.clone();
        if plan.verbs.iter().any(|v| matches!(v, Verb::Recompute(x) if *x == value)) {
            plan.verbs.retain(|v| !matches!(v, Verb::Recompute(x) if *x == value));
        } else {
            plan.verbs.retain(|v| !matches!(v, Verb::Keep { value: x, .. } if *x == value));
            plan.verbs.push(Verb::Recompute(value));
        }
        Some(Class::X)
    }

    /// Sets or drops the storage order of a tensor whose storage is the program's own, or of an input of constant content.
    pub(super) fn layout(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        const ORDERS: [TensorLayout; 2] = [TensorLayout::Soa, TensorLayout::Transpose];
        let own: Vec<_> = self.anchors.tensors.iter().filter(|t| t.constant || t.own && t.rank > 1).collect();
        let anchor = rng.pick(&own)?;
        let before = plan.verbs.len();
        plan.verbs.retain(|v| {
            !matches!(v, Verb::Layout { tensor: t, .. } | Verb::Prepack { tensor: t, .. } if *t == anchor.name)
        });
        if plan.verbs.len() == before {
            let tensor = anchor.name.clone();
            plan.verbs.push(if anchor.constant {
                let layout =
                    if anchor.rank > 1 && rng.chance(0.6) { rng.pick(&ORDERS).copied() } else { None };
                let panel = if layout.is_none() || rng.chance(0.5) { rng.pick(&PANELS) } else { None };
                Verb::Prepack { tensor, layout, panel: panel.map(|n| Amount::Int(*n)) }
            } else {
                Verb::Layout { tensor, layout: *rng.pick(&ORDERS)? }
            });
        }
        Some(Class::X)
    }

    /// Sets or drops writing a tensor past the caches.
    pub(super) fn past_caches(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let written: Vec<&str> =
            self.anchors.tensors.iter().filter(|t| t.written).map(|t| t.name.as_str()).collect();
        let tensor = (*rng.pick(&written)?).to_owned();
        let before = plan.verbs.len();
        plan.verbs.retain(|v| !matches!(v, Verb::Nontemporal(t) if *t == tensor));
        if plan.verbs.len() == before {
            plan.verbs.push(Verb::Nontemporal(tensor));
        }
        Some(Class::X)
    }

    /// Sets, changes or drops how far ahead a tensor is fetched.
    pub(super) fn prefetch(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let read: Vec<&str> =
            self.anchors.tensors.iter().filter(|t| t.read).map(|t| t.name.as_str()).collect();
        let tensor = (*rng.pick(&read)?).to_owned();
        let before = plan.verbs.len();
        plan.verbs.retain(|v| !matches!(v, Verb::Prefetch { tensor: t, .. } if *t == tensor));
        if plan.verbs.len() == before || rng.chance(0.6) {
            // 0 is nothing at all, where the default may do something.
            let passes = Amount::Int(*rng.pick(&AHEAD)?);
            plan.verbs.push(Verb::Prefetch { tensor, passes });
        }
        Some(Class::X)
    }

    /// Sets or drops that two kernels of a pipeline are one.
    pub(super) fn fuse(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let pair = rng.pick(&self.plausible.as_ref()?.joinable)?;
        let before = plan.verbs.len();
        plan.verbs.retain(|v| !matches!(v, Verb::Fuse(kernels) if kernels.iter().any(|k| pair.contains(k))));
        if plan.verbs.len() == before {
            plan.verbs.push(Verb::Fuse(pair.to_vec()));
        }
        Some(Class::X)
    }
}

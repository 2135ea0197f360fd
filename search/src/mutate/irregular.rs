//! Moves of reductions and irregular work. Most change the order in which floats are combined.

use rooftile_compiler::schedule::plan::{
    Amount, AppendVia, Merge, Plan, RaggedVia, ScanVia, ScatterVia, Verb,
};

use super::Mutator;
use crate::candidate::Class;
use crate::rng::Rng;

/// Parts of a reduction.
pub(super) const PARTS: [i64; 5] = [2, 4, 8, 16, 32];
/// Parts or copies for each core.
pub(super) const SHARES: [i64; 5] = [1, 2, 4, 8, 16];

impl Mutator {
    /// Sets or drops partial reductions along an axis.
    pub(super) fn split(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = (*rng.pick(&self.anchors.axes_where(|a| a.reduced && !a.ordered))?).to_owned();
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Split { axis: a, .. } if *a == axis));
        if had && rng.chance(0.5) {
            plan.verbs.retain(|v| !matches!(v, Verb::Split { axis: a, .. } if *a == axis));
            return Some(Class::R);
        }
        let parts = Amount::Int(*rng.pick(&PARTS)?);
        let atomic = self.plausible_axis(&axis).is_some_and(|a| a.atomic_merge) && rng.chance(0.5);
        let merge = if atomic { Merge::Atomic } else { Merge::TwoPass };
        plan.verbs.push(Verb::Split { axis, parts, merge });
        Some(Class::R)
    }

    /// Sets how a scan runs.
    pub(super) fn scan(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let target = rng.pick(&self.anchors.scans)?.clone();
        let via = *rng.pick(&[ScanVia::Serial, ScanVia::TwoPass, ScanVia::TwoPass])?;
        let items = Some(Amount::Int(*rng.pick(&SHARES)?)).filter(|_| via != ScanVia::Serial);
        plan.verbs.push(Verb::Scan { target, via, items });
        Some(Class::R)
    }

    /// Sets how a scatter-reduction runs. Which class that is depends on the type of what is added; without leave to
    /// reassociate, lowering refuses what would.
    pub(super) fn scatter(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let target = rng.pick(&self.anchors.scatters)?.clone();
        let mut ways = vec![ScatterVia::Global, ScatterVia::Privatize, ScatterVia::Privatize];
        if self.plausible_tensor(&target).is_some_and(|t| t.atomic) {
            ways.extend([ScatterVia::Atomic; 2]);
        }
        let via = *rng.pick(&ways)?;
        if via == ScatterVia::Atomic {
            self.share_by_atomics(plan, rng);
        }
        let copies = Some(Amount::Int(*rng.pick(&SHARES)?)).filter(|_| via == ScatterVia::Privatize);
        plan.verbs.push(Verb::Scatter { target, via, copies, place: None });
        Some(if self.allowed.reassoc { Class::R } else { Class::X })
    }

    /// Atomic updates are for passes that run at the same time: shares them out where no axis is.
    fn share_by_atomics(&self, plan: &mut Plan, rng: &mut Rng) {
        let axes = self.plausible.iter().flat_map(|p| &p.axes);
        let some: Vec<&str> = axes.filter(|a| a.apart_by_atomics).map(|a| a.name.as_str()).collect();
        if let (false, Some(axis)) = (plan.shares_out(), rng.pick(&some)) {
            plan.verbs.push(Verb::Parallel { axes: vec![(*axis).to_owned()], balance: None });
        }
    }

    /// Sets how an axis of varying extent runs.
    pub(super) fn ragged(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = (*rng.pick(&self.anchors.axes_where(|a| a.ragged))?).to_owned();
        let had = plan.verbs.iter().any(|v| matches!(v, Verb::Ragged { axis: a, .. } if *a == axis));
        if had && rng.chance(0.3) {
            plan.verbs.retain(|v| !matches!(v, Verb::Ragged { axis: a, .. } if *a == axis));
        } else {
            plan.verbs.push(Verb::Ragged { axis, via: RaggedVia::Lane });
        }
        Some(Class::R)
    }

    /// Sets how lists are built; their order has no meaning.
    pub(super) fn append(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let target = rng.pick(&self.anchors.lists)?.clone();
        let via = *rng.pick(&[AppendVia::Atomic, AppendVia::Owner, AppendVia::Sort])?;
        plan.verbs.push(Verb::Append { target, via });
        Some(Class::X)
    }

    /// Turns online rescaling of a row operation on or off.
    pub(super) fn fuse_online(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let value = rng.pick(&self.anchors.online)?.clone();
        if plan.verbs.iter().any(|v| matches!(v, Verb::FuseOnline(x) if *x == value)) {
            plan.verbs.retain(|v| !matches!(v, Verb::FuseOnline(x) if *x == value));
        } else {
            plan.verbs.push(Verb::FuseOnline(value));
        }
        Some(Class::R)
    }
}

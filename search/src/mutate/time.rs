//! Moves in time: several steps of a repeat at once.

use rooftile_compiler::schedule::plan::{Amount, Plan, TimeStyle, Verb};

use super::Mutator;
use crate::candidate::Class;
use crate::rng::Rng;

/// Steps that are taken at once.
pub(super) const STEPS: [i64; 9] = [1, 2, 3, 4, 6, 8, 12, 16, 24];

impl Mutator {
    /// Sets, changes or drops how many steps of a repeat are taken at once, and how. Tiles, lanes and cores stay as they are: they
    /// cut the blocks that are taken through the steps.
    pub(super) fn time_tile(&self, plan: &mut Plan, rng: &mut Rng) -> Option<Class> {
        let axis = rng.pick(&self.plausible.as_ref()?.repeats)?.clone();
        let own = |v: &Verb| matches!(v, Verb::TimeTile { axis: a, .. } if *a == axis);
        let had = plan.verbs.iter().any(own);
        plan.verbs.retain(|v| !own(v));
        if !had || rng.chance(0.7) {
            let steps = Amount::Int(*rng.pick(&STEPS[1..])?);
            let style = match rng.chance(0.5) {
                true => TimeStyle::Wavefront,
                false => *rng.pick(&[TimeStyle::Overlapped, TimeStyle::Trapezoid])?,
            };
            plan.verbs.push(Verb::TimeTile { axis, steps, style });
        }
        Some(Class::X)
    }
}

//! Threads are the lanes of a GPU, and its groups the cores: moves speak of lanes and cores, and what they make is said
//! in the device's verbs.

use rooftile_compiler::schedule::plan::{Place, Plan, Verb};

/// A GPU's plan in terms of lanes and cores.
pub(super) fn to_lanes(plan: &mut Plan) {
    for verb in &mut plan.verbs {
        *verb = match std::mem::replace(verb, Verb::Order(Vec::new())) {
            Verb::Thread { axis, count: Some(lanes) } => Verb::Vector { axis, lanes },
            Verb::Grid { axes, group: None } => Verb::Parallel { axes, balance: None },
            other => other,
        };
    }
}

/// A plan of lanes and cores in a GPU's verbs. Copies are made where all threads of a group see them.
pub(super) fn to_threads(plan: &mut Plan) {
    for verb in &mut plan.verbs {
        *verb = match std::mem::replace(verb, Verb::Order(Vec::new())) {
            Verb::Vector { axis, lanes } => Verb::Thread { axis, count: Some(lanes) },
            Verb::Parallel { axes, .. } => Verb::Grid { axes, group: None },
            Verb::Stage { tensor, at, place: Place::Local, panel, deep } => {
                Verb::Stage { tensor, at, place: Place::Shared, panel, deep }
            }
            other => other,
        };
    }
}

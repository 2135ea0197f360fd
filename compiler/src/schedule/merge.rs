//! One plan from those of several kernels: verbs name axes and tensors, whichever kernel has them.

use super::plan::{Plan, Verb};

/// The plans of a pipeline's kernels as one. Of verbs that speak of the same thing the first kernel's stays; what makes
/// `legal` fail is left out.
pub(crate) fn merge(plans: &[Plan], legal: &dyn Fn(&Plan) -> bool) -> Plan {
    let all = plans.iter().flat_map(|p| &p.verbs).fold(Plan::default(), |mut all, verb| {
        add(&mut all, verb);
        all
    });
    if plans.len() < 2 || legal(&all) {
        return all;
    }
    let mut merged = Plan::default();
    for plan in plans {
        let mut whole = merged.clone();
        plan.verbs.iter().for_each(|verb| add(&mut whole, verb));
        if legal(&whole) {
            merged = whole;
            continue;
        }
        for verb in plan.verbs.iter().flat_map(single) {
            let mut more = merged.clone();
            add(&mut more, &verb);
            if more != merged && legal(&more) {
                merged = more;
            }
        }
    }
    merged
}

/// A verb of several axes that do not need each other, one at a time.
fn single(verb: &Verb) -> Vec<Verb> {
    match verb {
        Verb::Parallel { axes, balance } => {
            axes.iter().map(|a| Verb::Parallel { axes: vec![a.clone()], balance: balance.clone() }).collect()
        }
        Verb::Grid { axes, group } => {
            axes.iter().map(|a| Verb::Grid { axes: vec![a.clone()], group: group.clone() }).collect()
        }
        _ => vec![verb.clone()],
    }
}

/// Adds a verb, unless one that is there says something else of the same thing.
fn add(plan: &mut Plan, verb: &Verb) {
    match verb {
        Verb::Parallel { axes, .. } | Verb::Grid { axes, .. } => {
            if let Some(Verb::Parallel { axes: there, .. } | Verb::Grid { axes: there, .. }) =
                plan.verbs.iter_mut().find(|v| v.shares_out())
            {
                let more: Vec<String> = axes.iter().filter(|a| !there.contains(a)).cloned().collect();
                there.extend(more);
                return;
            }
        }
        Verb::Order(levels) => {
            if let Some(Verb::Order(there)) = plan.verbs.iter_mut().find(|v| matches!(v, Verb::Order(_))) {
                if !levels.iter().any(|l| there.iter().any(|t| t.name == l.name)) {
                    there.extend(levels.iter().cloned());
                }
                return;
            }
        }
        _ if plan.verbs.iter().any(|v| same_subject(v, verb)) => return,
        _ => {}
    }
    plan.verbs.push(verb.clone());
}

fn same_subject(a: &Verb, b: &Verb) -> bool {
    match (a, b) {
        (Verb::Tile { axis: x, .. }, Verb::Tile { axis: y, .. })
        | (Verb::Vector { axis: x, .. }, Verb::Vector { axis: y, .. })
        | (Verb::Thread { axis: x, .. }, Verb::Thread { axis: y, .. })
        | (Verb::Unroll { axis: x, .. }, Verb::Unroll { axis: y, .. })
        | (Verb::Split { axis: x, .. }, Verb::Split { axis: y, .. })
        | (Verb::Stage { tensor: x, .. }, Verb::Stage { tensor: y, .. })
        | (Verb::Scan { target: x, .. }, Verb::Scan { target: y, .. })
        | (Verb::Scatter { target: x, .. }, Verb::Scatter { target: y, .. }) => x == y,
        (Verb::Warps(_), Verb::Warps(_)) => true,
        _ => a == b,
    }
}

//! The normal form of a plan: one verb for each thing it speaks of, in a fixed order of kinds. Two sets of moves that
//! end in the same schedule then end in the same recipe.

use rooftile_compiler::schedule::plan::{Plan, Verb};

/// What a verb speaks of: two verbs with equal subjects contradict or repeat each other.
#[must_use]
pub(crate) fn subject(verb: &Verb) -> (u8, &str) {
    match verb {
        Verb::Layout { tensor, .. } | Verb::Prepack { tensor, .. } => (0, tensor),
        Verb::Inplace { replaced, .. } => (1, replaced),
        Verb::Specialize(size) => (2, size),
        Verb::FuseOnline(value) => (3, value),
        Verb::Tile { axis, .. } => (4, axis),
        Verb::Roll { axis, .. } => (5, axis),
        Verb::Split { axis, .. } => (6, axis),
        Verb::Order(_) => (7, ""),
        Verb::Parallel { .. } | Verb::Grid { .. } => (8, ""),
        Verb::Stage { tensor, .. } => (9, tensor),
        Verb::Keep { value, .. } => (10, value),
        Verb::Recompute(value) => (11, value),
        Verb::Vector { axis, .. } | Verb::Thread { axis, .. } => (12, axis),
        Verb::Unroll { axis, .. } => (13, axis),
        Verb::Scan { target, .. } => (14, target),
        Verb::Scatter { target, .. } => (15, target),
        Verb::Ragged { axis, .. } => (16, axis),
        Verb::Append { target, .. } => (17, target),
        Verb::Tail { .. } => (18, ""),
        Verb::Math { function, .. } => (19, function),
        Verb::Mma(value) => (20, value),
        Verb::Warps(_) => (21, ""),
        Verb::Graph => (22, ""),
        Verb::Nontemporal(tensor) => (23, tensor),
        Verb::TimeTile { axis, .. } => (24, axis),
        Verb::Table(function) => (25, function),
        Verb::Prefetch { tensor, .. } => (26, tensor),
        Verb::Fuse(kernels) => (27, kernels.first().map_or("", String::as_str)),
        Verb::Other { text, .. } => (28, text),
    }
}

/// Brings a plan into normal form. Of verbs with one subject the last stays; `tail` may speak of different axes, so
/// all of them stay.
pub(crate) fn normalise(plan: &mut Plan) {
    let mut out: Vec<Verb> = Vec::new();
    for verb in plan.verbs.drain(..) {
        let same = out.iter().position(|v| match (v, &verb) {
            (Verb::Tail { axes: a, .. }, Verb::Tail { axes: b, .. }) => a == b,
            _ => subject(v) == subject(&verb),
        });
        match same {
            Some(at) => out[at] = verb,
            None => out.push(verb),
        }
    }
    out.retain(|v| match v {
        Verb::Parallel { axes, .. } | Verb::Grid { axes, .. } | Verb::Tail { axes, .. } => !axes.is_empty(),
        Verb::Order(axes) => !axes.is_empty(),
        Verb::Tile { sizes, .. } => !sizes.is_empty(),
        _ => true,
    });
    out.sort_by(|a, b| subject(a).cmp(&subject(b)));
    plan.verbs = out;
}

//! Plausible verbs and plans, drawn at random from what a kernel or pipeline can name. A plausible verb may still be
//! refused; [`super::lower`] decides.

use crate::schedule::anchors::{Anchors, AxisAnchor, AxisRole, TensorAnchor, ValueAnchor};
use crate::schedule::plan::{
    Amount, AppendVia, AxisRef, Merge, Place, Plan, ScanVia, ScatterVia, TensorLayout, TimeStyle, Verb,
};

/// A source of choices: a number below its argument, which is not zero.
pub type Pick<'a> = dyn FnMut(usize) -> usize + 'a;

const LANES: &[i64] = &[4, 8, 16, 32];
const THREADS: &[i64] = &[3, 4, 8, 16, 32, 64, 128];
const POINTS: &[i64] = &[2, 3, 4, 6, 8];
const TILES: &[i64] = &[4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512];
const INNER_TILES: &[i64] = &[8, 16, 32];
const SUBGROUPS: &[i64] = &[1, 2, 4, 8];
const PARTS: &[i64] = &[2, 4, 8, 16];
const STEPS: &[i64] = &[2, 3, 4, 8];
/// Passes that something is fetched ahead.
const PASSES: &[i64] = &[0, 1, 2, 4, 8, 16];

fn one_of<T: Clone>(items: &[T], pick: &mut Pick<'_>) -> Option<T> {
    (!items.is_empty()).then(|| items[pick(items.len())].clone())
}

fn amount(items: &[i64], pick: &mut Pick<'_>) -> Amount {
    Amount::Int(items[pick(items.len())])
}

/// A plausible verb beside those of a plan; `None` if the kind drawn has no anchor here.
#[must_use]
pub fn random_verb(anchors: &Anchors, plan: &Plan, pick: &mut Pick<'_>) -> Option<Verb> {
    let axes = |f: &dyn Fn(&AxisAnchor) -> bool| -> Vec<&AxisAnchor> {
        anchors.axes.iter().filter(|a| a.role != AxisRole::Counter && f(a)).collect()
    };
    let blockable = |a: &AxisAnchor| !a.bounds_others && a.constant != Some(1);
    // Steps of a repeat are taken at once rather often: much of what else is drawn then applies to them.
    let kinds = if anchors.repeats.is_empty() { 15 } else { 18 };
    if !anchors.joinable.is_empty() && pick(6) == 0 {
        return Some(Verb::Fuse(one_of(&anchors.joinable, pick)?.to_vec()));
    }
    Some(match pick(kinds) {
        0 | 1 => {
            let a = one_of(&axes(&blockable), pick)?;
            let axis = a.name.clone();
            if anchors.gpu {
                Verb::Thread { axis, count: Some(amount(THREADS, pick)) }
            } else {
                Verb::Vector { axis, lanes: amount(LANES, pick) }
            }
        }
        2 if anchors.matrices && pick(2) == 0 => {
            let verb = Verb::Mma(one_of(&anchors.products, pick)?);
            if plan.verbs.contains(&verb) { Verb::Warps(amount(SUBGROUPS, pick)) } else { verb }
        }
        2 | 3 => {
            let a = one_of(&axes(&blockable), pick)?;
            let whole = a.constant.is_some_and(|n| (2..=16).contains(&n));
            let count = if whole { None } else { Some(amount(POINTS, pick)) };
            Verb::Unroll { axis: a.name.clone(), count }
        }
        4 | 5 => {
            let a = one_of(&axes(&|a| a.constant.is_none()), pick)?;
            let mut sizes = vec![amount(TILES, pick)];
            if pick(4) == 0 {
                sizes.push(amount(INNER_TILES, pick));
            }
            Verb::Tile { axis: a.name.clone(), sizes }
        }
        6 => {
            let atomic = scatters_by_atomics(plan);
            let some = axes(&|a| {
                let apart = a.apart || (atomic && a.apart_by_atomics);
                matches!(a.role, AxisRole::For | AxisRole::With) && apart
            });
            let first = one_of(&some, pick)?;
            let mut names = vec![first.name.clone()];
            let second = one_of(&some, pick)?;
            if pick(3) == 0 && second.name != first.name {
                names.push(second.name.clone());
            }
            if anchors.gpu {
                let third = one_of(&some, pick)?;
                if pick(2) == 0 && !names.contains(&third.name) {
                    names.push(third.name.clone());
                }
            }
            share(anchors, names)
        }
        7 | 8 => order(anchors, plan, pick)?,
        9 => stage(anchors, plan, pick)?,
        10 if !anchors.gpu && pick(3) == 0 => {
            let read: Vec<&TensorAnchor> = anchors.tensors.iter().filter(|t| t.read).collect();
            let tensor = one_of(&read, pick)?.name.clone();
            Verb::Prefetch { tensor, passes: amount(PASSES, pick) }
        }
        10 if !anchors.constants.is_empty() && pick(2) == 0 => prepack(anchors, pick)?,
        10 => {
            let v = one_of(&anchors.values, pick)?;
            let place = if pick(2) == 0 { Place::Reg } else { near(anchors, pick) };
            Verb::Keep { value: v.name, place }
        }
        11 if !anchors.functions.is_empty() && pick(2) == 0 => Verb::Table(one_of(&anchors.functions, pick)?),
        11 => {
            let lets: Vec<&ValueAnchor> = anchors.values.iter().filter(|v| v.again).collect();
            Verb::Recompute(one_of(&lets, pick)?.name.clone())
        }
        12 => {
            let a = one_of(&axes(&|a| a.role == AxisRole::With), pick)?;
            Verb::Roll { axis: a.name.clone(), tile: amount(TILES, pick), passes: None }
        }
        13 => {
            let a = one_of(&axes(&|a| a.splits), pick)?;
            let merge = if a.atomic_merge && pick(2) == 0 { Merge::Atomic } else { Merge::TwoPass };
            Verb::Split { axis: a.name.clone(), parts: amount(PARTS, pick), merge }
        }
        15.. => {
            let axis = one_of(&anchors.repeats, pick)?;
            let steps = amount(STEPS, pick);
            Verb::TimeTile {
                axis,
                steps,
                style: [TimeStyle::Overlapped, TimeStyle::Wavefront, TimeStyle::Trapezoid][pick(3)],
            }
        }
        _ => {
            let special: Vec<&TensorAnchor> = anchors
                .tensors
                .iter()
                .filter(|t| t.scanned || t.scattered || t.atomic || t.appended)
                .collect();
            let t = one_of(&special, pick)?;
            let target = t.name.clone();
            if t.scanned {
                let items = Some(amount(&[1, 2, 4, 8], pick));
                Verb::Scan { target, via: ScanVia::TwoPass, items }
            } else if t.atomic && (!t.scattered || pick(2) == 0) {
                Verb::Scatter { target, via: ScatterVia::Atomic, copies: None, place: None }
            } else if t.scattered {
                let copies = Some(amount(&[1, 2, 4], pick));
                Verb::Scatter { target, via: ScatterVia::Privatize, copies, place: Some(Place::Local) }
            } else {
                Verb::Append { target, via: AppendVia::Sort }
            }
        }
    })
}

/// Axes shared out over what the device has.
fn share(anchors: &Anchors, axes: Vec<String>) -> Verb {
    if anchors.gpu { Verb::Grid { axes, group: None } } else { Verb::Parallel { axes, balance: None } }
}

fn scatters_by_atomics(plan: &Plan) -> bool {
    plan.verbs.iter().any(|v| matches!(v, Verb::Scatter { via: ScatterVia::Atomic, .. }))
}

/// The levels that an axis has under a plan, from the outside in: `None` for an axis of one level.
fn levels(plan: &Plan, axis: &str) -> Vec<Option<u32>> {
    let tiles = plan.verbs.iter().find_map(|v| match v {
        Verb::Tile { axis: a, sizes } if a == axis => {
            let (mut last, mut count) = (i64::MAX, 0);
            for size in sizes {
                match size {
                    // Sizes that do not shrink are left out.
                    Amount::Int(n) if *n < 2 || *n >= last => continue,
                    Amount::Int(n) => last = *n,
                    Amount::Name(_) => {}
                }
                count += 1;
            }
            Some(count)
        }
        Verb::Roll { axis: a, .. } if a == axis => Some(1),
        _ => None,
    });
    match tiles {
        None | Some(0) => vec![None],
        Some(n) => (0..=n).map(Some).collect(),
    }
}

/// An order of all loops, or of the outermost few, that keeps levels inside outer ones and axes inside those that bound
/// them.
fn order(anchors: &Anchors, plan: &Plan, pick: &mut Pick<'_>) -> Option<Verb> {
    let axes = anchors.axes.iter().filter(|a| a.role != AxisRole::Counter);
    let mut left: Vec<(&AxisAnchor, Vec<Option<u32>>)> = axes.map(|a| (a, levels(plan, &a.name))).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free: Vec<usize> = (0..left.len())
            .filter(|n| left[*n].0.parents.iter().all(|p| left.iter().all(|(a, _)| a.name != *p)))
            .collect();
        let at = one_of(&free, pick)?;
        let level = left[at].1.remove(0);
        order.push(AxisRef { name: left[at].0.name.clone(), level });
        if left[at].1.is_empty() {
            left.remove(at);
        }
    }
    if order.len() > 1 && pick(3) == 0 {
        order.truncate(1 + pick(order.len()));
    }
    (!order.is_empty()).then_some(Verb::Order(order))
}

/// A copy at some level of a loop that reads the tensor, in panels that the points worked on at once fill; or of a window of it.
fn stage(anchors: &Anchors, plan: &Plan, pick: &mut Pick<'_>) -> Option<Verb> {
    let any = |t: &&TensorAnchor| !t.staged_in.is_empty() || !t.windows_in.is_empty();
    let staged: Vec<&TensorAnchor> = anchors.tensors.iter().filter(any).collect();
    let t = one_of(&staged, pick)?;
    let window = !t.windows_in.is_empty() && (t.staged_in.is_empty() || pick(2) == 0);
    let (by, inside) = if window { (&t.windows_by, &t.windows_in) } else { (&t.staged_by, &t.staged_in) };
    let name = one_of(if pick(2) == 0 { by } else { inside }, pick)?;
    let level = one_of(&levels(plan, &name), pick)?;
    let panel = if !window && pick(2) == 0 { Some(panel(anchors, t, plan, pick)) } else { None };
    let place = near(anchors, pick);
    let deep = (panel.is_some() && pick(3) == 0).then(|| [2, 4][pick(2)]);
    Some(Verb::Stage { tensor: t.name.clone(), at: AxisRef { name, level }, place, panel, deep })
}

/// An input of constant content in another order.
fn prepack(anchors: &Anchors, pick: &mut Pick<'_>) -> Option<Verb> {
    let (tensor, rank) = one_of(&anchors.constants, pick)?;
    let orders = [None, Some(TensorLayout::Soa), Some(TensorLayout::Transpose)];
    let layout = orders[pick(if rank > 1 { orders.len() } else { 1 })];
    let panel = (layout.is_none() || pick(2) == 0).then(|| amount(LANES, pick));
    Some(Verb::Prepack { tensor, layout, panel })
}

/// Memory for a copy or a value.
fn near(anchors: &Anchors, pick: &mut Pick<'_>) -> Place {
    if anchors.gpu && pick(3) > 0 { Place::Shared } else { Place::Local }
}

/// A panel for a copy: a multiple of the points of its axis that run at once.
fn panel(anchors: &Anchors, t: &TensorAnchor, plan: &Plan, pick: &mut Pick<'_>) -> Amount {
    let lanes = |axis: &str| {
        plan.verbs.iter().find_map(|v| match v {
            Verb::Vector { axis: a, lanes: Amount::Int(n) }
            | Verb::Thread { axis: a, count: Some(Amount::Int(n)) }
                if a == axis =>
            {
                Some(*n)
            }
            _ => None,
        })
    };
    let points = |axis: &str| {
        plan.verbs.iter().find_map(|v| match v {
            Verb::Unroll { axis: a, count: Some(Amount::Int(n)) } if a == axis => Some(*n),
            Verb::Unroll { axis: a, count: None } if a == axis => {
                anchors.axes.iter().find(|x| x.name == *a).and_then(|x| x.constant)
            }
            _ => None,
        })
    };
    let axis = t.staged_by.iter().find(|a| lanes(a).is_some()).or(t.staged_by.last());
    let most = if anchors.gpu { 1024 } else { 64 };
    let at_once = axis.map_or(1, |a| lanes(a).unwrap_or(1) * points(a).unwrap_or(1)).clamp(1, most);
    Amount::Int(if at_once > 1 { at_once * [1, 1, 2][pick(3)] } else { LANES[pick(LANES.len())] })
}

/// A plausible plan of up to eight verbs, none of a kind and anchor twice.
#[must_use]
pub fn random_plan(anchors: &Anchors, pick: &mut Pick<'_>) -> Plan {
    let mut plan = Plan::default();
    let count = 1 + pick(8);
    let mut late = 0;
    for _ in 0..count {
        let Some(verb) = random_verb(anchors, &plan, pick) else { continue };
        // What depends on levels and lanes is drawn when those are settled.
        if matches!(verb, Verb::Order(_) | Verb::Stage { .. }) {
            late += 1;
        } else if !plan.verbs.iter().any(|v| clashes(v, &verb)) {
            plan.verbs.push(verb);
        }
    }
    // Atomic updates are for passes that run at the same time.
    if scatters_by_atomics(&plan) && !plan.shares_out() {
        let some: Vec<&AxisAnchor> = anchors.axes.iter().filter(|a| a.apart_by_atomics).collect();
        plan.verbs.extend(one_of(&some, pick).map(|a| share(anchors, vec![a.name.clone()])));
    }
    for n in 0..late {
        let verb = if n % 2 == 0 { stage(anchors, &plan, pick) } else { order(anchors, &plan, pick) };
        let verb = if verb.is_none() { order(anchors, &plan, pick) } else { verb };
        plan.verbs.extend(verb.filter(|verb| !plan.verbs.iter().any(|v| clashes(v, verb))));
    }
    plan
}

/// Whether two verbs say the same thing of the same anchor.
#[must_use]
pub fn clashes(a: &Verb, b: &Verb) -> bool {
    match (a, b) {
        (
            Verb::Tile { axis: x, .. } | Verb::Roll { axis: x, .. },
            Verb::Tile { axis: y, .. } | Verb::Roll { axis: y, .. },
        )
        | (Verb::Vector { axis: x, .. }, Verb::Vector { axis: y, .. })
        | (Verb::Thread { axis: x, .. }, Verb::Thread { axis: y, .. })
        | (Verb::Unroll { axis: x, .. }, Verb::Unroll { axis: y, .. })
        | (Verb::Split { axis: x, .. }, Verb::Split { axis: y, .. })
        | (Verb::Stage { tensor: x, .. }, Verb::Stage { tensor: y, .. })
        | (
            Verb::Keep { value: x, .. } | Verb::Recompute(x),
            Verb::Keep { value: y, .. } | Verb::Recompute(y),
        )
        | (Verb::Scan { target: x, .. }, Verb::Scan { target: y, .. })
        | (Verb::Scatter { target: x, .. }, Verb::Scatter { target: y, .. })
        | (Verb::Append { target: x, .. }, Verb::Append { target: y, .. }) => x == y,
        (Verb::Mma(x), Verb::Mma(y)) | (Verb::Table(x), Verb::Table(y)) => x == y,
        (Verb::Prefetch { tensor: x, .. }, Verb::Prefetch { tensor: y, .. })
        | (Verb::Prepack { tensor: x, .. }, Verb::Prepack { tensor: y, .. }) => x == y,
        (Verb::TimeTile { axis: x, .. }, Verb::TimeTile { axis: y, .. }) => x == y,
        // Joined kernels have another name.
        (Verb::Fuse(x), Verb::Fuse(y)) => x.iter().any(|k| y.contains(k)),
        (Verb::Order(_), Verb::Order(_))
        | (Verb::Warps(_), Verb::Warps(_))
        | (Verb::Parallel { .. }, Verb::Parallel { .. })
        | (Verb::Grid { .. }, Verb::Grid { .. }) => true,
        _ => false,
    }
}

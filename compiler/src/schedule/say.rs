//! What is wanted of each axis of a kernel, said in verbs.

use std::collections::BTreeSet;

use super::form::Form;
use super::levels::AxisSpec;
use super::stage::Stage;
use crate::hir::ir::{AxisId, AxisKind, TensorId, TileSize};
use crate::schedule::plan::{Amount, AxisRef, Plan, Verb};

/// What is wanted of a kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// What is wanted of each axis, by its position in the arena.
    pub(crate) specs: Vec<AxisSpec>,
    /// Loops from the outside in.
    pub(crate) order: Vec<AxisRef>,
    /// Tensors to copy near.
    pub(crate) stages: Vec<Stage>,
    /// Tensors that are written past the caches.
    pub(crate) past_caches: Vec<TensorId>,
    /// Tensors that are asked for so many passes ahead.
    pub(crate) ahead: Vec<(TensorId, i64)>,
    /// Values that are computed again at each use.
    pub(crate) again: Vec<String>,
    /// Sums for the matrix units.
    pub(crate) products: Vec<String>,
    /// Functions whose values are read from tables.
    pub(crate) tables: Vec<String>,
    /// Work in parts.
    pub(crate) parts: Option<Verb>,
    /// For a GPU: axes that are shared out go to its groups.
    pub(crate) groups: bool,
}

/// The plan that asks for it. Verbs speak of names, so axes of one name get the same.
pub(crate) fn plan_of(form: &Form, wishes: Wishes) -> Plan {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let (mut tiles, mut shared) = (Vec::new(), Vec::new());
    let (mut threads, mut vectors, mut unrolls) = (Vec::new(), Vec::new(), Vec::new());
    for (_, a) in form.func.axes.iter() {
        if !seen.insert(&a.name) {
            continue;
        }
        let axis = || a.name.clone();
        let named: Vec<AxisId> = form
            .func
            .axes
            .handles()
            .filter(|x| form.func.axes[*x].name == a.name && form.is_dimension(*x))
            .collect();
        let specs = || named.iter().filter_map(|x| wishes.specs.get(x.index()));
        let sizes = specs().map(|s| &s.tiles).find(|t| !t.is_empty()).cloned().unwrap_or_default();
        if named.iter().any(|x| !says(form, *x, &sizes)) {
            // A size of one is no tile: it takes back what the text says.
            let sizes = if sizes.is_empty() { vec![1] } else { sizes };
            tiles.push(Verb::Tile { axis: axis(), sizes: sizes.into_iter().map(Amount::Int).collect() });
        }
        if specs().any(|s| s.parallel) {
            shared.push(axis());
        }
        if let Some(n) = specs().find_map(|s| s.threads) {
            threads.push(Verb::Thread { axis: axis(), count: Some(Amount::Int(n)) });
        }
        if let Some(n) = specs().find_map(|s| s.lanes) {
            vectors.push(Verb::Vector { axis: axis(), lanes: Amount::Int(n) });
        }
        if let Some(n) = specs().find_map(|s| s.unroll) {
            unrolls.push(Verb::Unroll { axis: axis(), count: Some(Amount::Int(n)) });
        }
    }
    let mut verbs = tiles;
    verbs.extend((!wishes.order.is_empty()).then_some(Verb::Order(wishes.order)));
    let share = match wishes.groups {
        true => Verb::Grid { axes: shared.clone(), group: None },
        false => Verb::Parallel { axes: shared.clone(), balance: None },
    };
    verbs.extend((!shared.is_empty()).then_some(share));
    verbs.extend(wishes.stages.into_iter().map(|s| Verb::Stage {
        tensor: form.func.tensors[s.tensor].name.clone(),
        at: s.at,
        place: s.place,
        panel: s.panel.map(Amount::Int),
        deep: s.deep,
    }));
    verbs.extend(threads);
    verbs.extend(vectors);
    verbs.extend(unrolls);
    verbs.extend(wishes.products.into_iter().map(Verb::Mma));
    let past = wishes.past_caches.iter().map(|t| Verb::Nontemporal(form.func.tensors[*t].name.clone()));
    verbs.extend(past);
    verbs.extend(wishes.ahead.into_iter().map(|(t, passes)| Verb::Prefetch {
        tensor: form.func.tensors[t].name.clone(),
        passes: Amount::Int(passes),
    }));
    verbs.extend(wishes.again.into_iter().map(Verb::Recompute));
    verbs.extend(wishes.tables.into_iter().map(Verb::Table));
    verbs.extend(wishes.parts);
    Plan { verbs }
}

/// Whether an axis has these tiles when no verb speaks of it, whatever values tunables have.
fn says(form: &Form, axis: AxisId, sizes: &[i64]) -> bool {
    match &form.func.axes[axis].kind {
        AxisKind::For(TileSize::Name(_)) | AxisKind::Fold(TileSize::Name(_)) => false,
        AxisKind::For(TileSize::Int(n)) | AxisKind::Fold(TileSize::Int(n)) if *n > 1 => sizes == [*n],
        _ => sizes.is_empty(),
    }
}

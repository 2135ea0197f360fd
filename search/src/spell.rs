//! A recipe as a schedule that stands alone: a file's tunables have one value each, so of several schedules in one file
//! at most one can leave its numbers to them.

use rooftile_artifact::Target;
use rooftile_compiler::hir::ir::{AxisKind, File, FuncId, TileSize};
use rooftile_compiler::nest::canonical_hash;
use rooftile_compiler::schedule::plan::{Amount, Assignment, Plan, Verb};
use rooftile_compiler::schedule::{Allow, Choice, lower};

use crate::candidate::{Base, Recipe, amounts_mut};

/// The recipe with every number written out, its assignment empty. `None` where no such plan gives the same loops: for
/// the schedules that are not plans, and where axes of one name have tiles of different names.
#[must_use]
pub fn spelled_out(
    file: &File,
    entry: FuncId,
    recipe: &Recipe,
    allow: Allow,
    target: &Target,
) -> Option<Recipe> {
    if recipe.base != Base::Planned {
        return None;
    }
    let mut plan = recipe.plan.clone();
    for amount in plan.verbs.iter_mut().flat_map(amounts_mut) {
        if let Amount::Name(name) = amount
            && let Some(value) = recipe.assignment.get(name)
        {
            *amount = Amount::Int(*value);
        }
    }
    let mut tiles: Vec<Verb> = Vec::new();
    for (axis, name) in tile_names(file, entry) {
        let speaks =
            |v: &Verb| matches!(v, Verb::Tile { axis: a, .. } | Verb::Roll { axis: a, .. } if *a == axis);
        let Some(value) = recipe.assignment.get(name) else { continue };
        if !plan.verbs.iter().chain(&tiles).any(speaks) {
            tiles.push(Verb::Tile { axis: axis.to_owned(), sizes: vec![Amount::Int(*value)] });
        }
    }
    plan.verbs.splice(0..0, tiles);
    let hash = |plan: &Plan, assignment: &Assignment| {
        let (plan, assignment) = (plan.clone(), assignment.clone());
        lower(file, entry, &Choice::Planned { plan, assignment, allow }, target)
            .ok()
            .map(|m| canonical_hash(&m))
    };
    let same = hash(&plan, &Assignment::new())? == hash(&recipe.plan, &recipe.assignment)?;
    same.then(|| Recipe { plan, assignment: Assignment::new(), ..recipe.clone() })
}

/// Axes whose tiles the algorithm's text names, with those names.
fn tile_names(file: &File, entry: FuncId) -> Vec<(&str, &str)> {
    let axes = file.kernels_of(entry).into_iter().flat_map(|kernel| file.funcs[kernel].axes.iter());
    axes.filter_map(|(_, axis)| match &axis.kind {
        AxisKind::For(TileSize::Name(name)) | AxisKind::Fold(TileSize::Name(name)) => {
            Some((axis.name.as_str(), name.as_str()))
        }
        _ => None,
    })
    .collect()
}

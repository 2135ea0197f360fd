//! A plan applied to hir gives a nest: [`plan`] is the schedule as data, [`parse`] reads it and [`print`](mod@print) writes it, [`verbs`] is
//! the table of verbs.
//!
//! The way of a kernel: the *normal form* (`normal`, `form`) is a list of statements
//! with explicit axes and no reduction inside an expression; `levels` cuts axes into loops and orders them; `fuse`
//! gathers statements into a tree of loops, as far as dependences (`access`) allow; `storage` decides where values
//! live; `emit`, `leaf` and `expr` write the nest. `program` turns calls, repeats and copies of a pipeline into steps;
//! `time` makes several steps of a repeat one.
//! `docs/schedules.md` documents every verb.

mod access;
pub mod anchors;
mod apply;
mod atomic;
mod bounds;
mod code_size;
mod deal;
mod default;
mod default_fold;
mod default_gpu;
mod default_packed;
pub mod draw;
mod emit;
mod expr;
mod form;
mod fuse;
mod hoist;
mod host;
mod in_place;
mod inline;
mod join;
mod kernel;
mod layout;
mod leaf;
mod levels;
mod lines;
mod merge;
mod mma;
mod normal;
mod pairwise;
pub mod parse;
mod partial;
pub mod plan;
mod point_copies;
pub mod print;
mod program;
mod say;
mod scans;
mod shifted;
mod slant;
mod split;
mod stage;
mod steps;
mod storage;
mod streams;
mod table;
mod time;
pub mod verbs;
mod window;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rooftile_artifact::Target;
use serde::{Deserialize, Serialize};

use crate::diag::Diagnostic;
use crate::hir::ir::{File, FuncId, FuncKind};
use crate::nest::ir::Module;
use crate::task;
use fuse::Policy;
use kernel::{GroupLimits, KernelNest, Setup, ViewShape};
use plan::{Assignment, Plan};

/// Rewrites that a task allows beyond those that keep every bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allow {
    /// Fused multiply-add.
    pub contract: bool,
    /// Another association of float reductions: partial results per lane, part or core.
    pub reassoc: bool,
    /// Online rescaling.
    pub online: bool,
    /// Atomic float updates, whose order varies from run to run.
    pub atomics: bool,
}

impl From<&task::Allow> for Allow {
    fn from(allow: &task::Allow) -> Allow {
        let task::Allow { contract, reassoc, online, atomics, approx: _, lower: _ } = *allow;
        Allow { contract, reassoc, online, atomics }
    }
}

/// Which schedule a kernel or pipeline gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// Plain loops on one core, or on a GPU a thread for each pass of the outer loops: the fixed definition of
    /// `docs/schedules.md`.
    Naive,
    /// The cost model's choice.
    Default {
        /// What the task allows.
        allow: Allow,
    },
    /// A written or searched schedule.
    Planned {
        /// The verbs.
        plan: Plan,
        /// Values of tunables and tile names; names that it lacks are left to the defaults of the verbs.
        assignment: Assignment,
        /// What the task allows.
        allow: Allow,
    },
}

/// The program and nests of a kernel or pipeline.
///
/// # Errors
/// E0501 for anchors that no kernel has, E0504 for verbs that may not be applied here, E0402 for buffers that nothing
/// bounds, E0701 for what the target cannot run.
pub fn lower(
    file: &File,
    entry: FuncId,
    choice: &Choice,
    target: &Target,
) -> Result<Module, Vec<Diagnostic>> {
    if let Choice::Default { allow } = choice
        && let Some((_, module)) = default_packed(file, entry, *allow, target)
    {
        return Ok(module);
    }
    let joined = match choice {
        Choice::Planned { plan, .. } => join::joined(file, entry, plan).map_err(|d| vec![d])?,
        Choice::Naive | Choice::Default { .. } => Cow::Borrowed(file),
    };
    let file = &*joined;
    let mut prefetches: Vec<(String, Option<Diagnostic>)> = Vec::new();
    let mut kernels = |id: FuncId, views: &[Option<ViewShape>]| -> Result<KernelNest, Diagnostic> {
        let mut form = normal::normalise(&file.funcs[id], &file.tables)?;
        let setup = match choice {
            Choice::Naive => Setup {
                specs: Vec::new(),
                order: Vec::new(),
                policy: Policy::Naive,
                stages: Vec::new(),
                past_caches: Vec::new(),
                prefetches: Vec::new(),
                products: Vec::new(),
                allow: Allow::default(),
                contract: false,
                vector_lanes: 1,
                masked_bytes: 0,
                group: GroupLimits::default(),
                spread: target.gpu().is_some(),
            },
            Choice::Default { allow } => {
                return default::choose(&form, *allow, target, views).map(|(_, nest)| nest);
            }
            Choice::Planned { plan, assignment, allow } => {
                apply::apply(&mut form, plan, assignment, *allow, target)?
            }
        };
        let nest = kernel::lower_form(form, &setup, views)?;
        prefetches.extend(nest.prefetches.iter().cloned());
        Ok(nest)
    };
    let orders = match choice {
        Choice::Planned { plan, assignment, .. } => {
            layout::orders(&file.funcs[entry], plan, assignment).map_err(|d| vec![d])?
        }
        Choice::Naive | Choice::Default { .. } => BTreeMap::new(),
    };
    let none = Assignment::new();
    let timed = match choice {
        Choice::Default { allow } => default_in_time(file, entry, *allow, target),
        _ => None,
    };
    let time = match choice {
        Choice::Planned { plan, assignment, allow } => {
            Some(time::TimePlan { plan, assignment, allow: *allow, target })
        }
        Choice::Default { allow } => {
            timed.as_ref().map(|plan| time::TimePlan { plan, assignment: &none, allow: *allow, target })
        }
        Choice::Naive => None,
    };
    let module = program::program(file, entry, &orders, time, &mut kernels).map_err(|d| vec![d])?;
    // Some kernels of a pipeline may not read what others do.
    let fetched = |name: &String| prefetches.iter().any(|(n, missed)| n == name && missed.is_none());
    match prefetches.iter().find_map(|(name, missed)| missed.clone().filter(|_| !fetched(name))) {
        Some(missed) => Err(vec![missed]),
        None => Ok(module),
    }
}

/// The cost model's choice as a plan. A kernel's plan gives the loops of [`Choice::Default`] whatever values tunables
/// have. That of a pipeline says once what its kernels' plans say of each name; what clashes is left out, so its loops
/// may differ. `None` when the default cannot be lowered.
#[must_use]
pub fn default_plan(file: &File, entry: FuncId, allow: Allow, target: &Target) -> Option<Plan> {
    default_in_time(file, entry, allow, target)
        .or_else(|| default_packed(file, entry, allow, target).map(|(plan, _)| plan))
        .or_else(|| default_in_space(file, entry, allow, target))
}

fn planned(plan: Plan, allow: Allow) -> Choice {
    Choice::Planned { plan, assignment: Assignment::new(), allow }
}

/// The default of a kernel whose constant inputs are packed beforehand, lowered.
fn default_packed(file: &File, entry: FuncId, allow: Allow, target: &Target) -> Option<(Plan, Module)> {
    let func = &file.funcs[entry];
    let cpu = target.cpu().filter(|_| func.kind == FuncKind::Kernel)?;
    if !func.tensors.iter().any(|(_, t)| t.constant && t.packed.is_some()) {
        return None;
    }
    let form = normal::normalise(func, &file.tables).ok()?;
    let plan = default_packed::propose(&form, allow, cpu)?;
    let module = lower(file, entry, &planned(plan.clone(), allow), target).ok()?;
    Some((plan, module))
}

/// The default of a pipeline with a repeat of which several steps can be taken at once.
fn default_in_time(file: &File, entry: FuncId, allow: Allow, target: &Target) -> Option<Plan> {
    let func = &file.funcs[entry];
    if func.kind != FuncKind::Pipeline {
        return None;
    }
    let cpu = target.cpu()?;
    let legal = |plan: &Plan| lower(file, entry, &planned(plan.clone(), allow), target).is_ok();
    if !time::has_steps(file, func) {
        return None;
    }
    let plan = default_in_space(file, entry, allow, target)?;
    time::proposals(file, func, &plan, cpu).into_iter().find(legal)
}

/// The default where each step of a repeat is taken alone.
fn default_in_space(file: &File, entry: FuncId, allow: Allow, target: &Target) -> Option<Plan> {
    let mut plans = Vec::new();
    let mut kernels = |id: FuncId, views: &[Option<ViewShape>]| -> Result<KernelNest, Diagnostic> {
        let form = normal::normalise(&file.funcs[id], &file.tables)?;
        let (plan, nest) = default::choose(&form, allow, target, views)?;
        plans.push(plan);
        Ok(nest)
    };
    program::program(file, entry, &BTreeMap::new(), None, &mut kernels).ok()?;
    Some(merge::merge(&plans, &|plan| lower(file, entry, &planned(plan.clone(), allow), target).is_ok()))
}

//! Moves: typed edits of a recipe. A move names only anchors that exist and gives the class of what it may change, so
//! that most of what is proposed is legal; whether it is, lowering decides, and whether the result is right, the
//! evaluation.

pub mod anchors;
mod crossover;
mod device;
mod irregular;
mod loops;
mod memory;
mod normal;
pub mod space;
mod time;
mod tune;

use rooftile_compiler::schedule::anchors as plausible;
use rooftile_compiler::schedule::draw;
use rooftile_compiler::schedule::plan::Verb;

use crate::candidate::{Allowed, Base, Class, Recipe};
use crate::rng::Rng;
use anchors::Anchors;
pub(crate) use normal::normalise;
use space::TuneSpace;

/// A kind of move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// One tunable or free tile size to a neighbouring value.
    Tune,
    /// One tunable to any value.
    TuneAny,
    /// All tunables anew.
    Sample,
    /// Any amount written in the plan, up or down.
    Amount,
    /// Tile sizes of an axis.
    Tile,
    /// Order of loops.
    Order,
    /// Which axes are shared out over the cores.
    Parallel,
    /// The axis and width of vectors.
    Vector,
    /// Register blocking.
    Unroll,
    /// Lanes and register block together, with the tiles and panels that must fit them.
    Block,
    /// Ragged ends.
    Tail,
    /// Rolling of a whole axis.
    Roll,
    /// A sensible combination of vectors, register blocks and cores at once.
    Template,
    /// Copies into near memory.
    Stage,
    /// Where a tile value lives.
    Keep,
    /// Computing a value again instead of keeping it.
    Recompute,
    /// Storage order of a tensor.
    Layout,
    /// Writing a tensor past the caches.
    PastCaches,
    /// How far ahead a tensor is fetched.
    Prefetch,
    /// Kernels of a pipeline as one.
    Fuse,
    /// Partial reductions.
    Split,
    /// How a scan runs.
    Scan,
    /// How a scatter-reduction runs.
    Scatter,
    /// How an axis of varying extent runs.
    Ragged,
    /// How lists are built.
    Append,
    /// Steps of a repeat that are taken at once.
    TimeTile,
    /// Online rescaling.
    FuseOnline,
    /// One verb that the compiler finds plausible.
    Plausible,
    /// A whole plan that the compiler finds plausible.
    Fresh,
    /// One verb less.
    Drop,
}

impl Operator {
    /// All operators.
    pub const ALL: [Operator; 30] = [
        Operator::Tune,
        Operator::TuneAny,
        Operator::Sample,
        Operator::Amount,
        Operator::Tile,
        Operator::Order,
        Operator::Parallel,
        Operator::Vector,
        Operator::Unroll,
        Operator::Block,
        Operator::Tail,
        Operator::Roll,
        Operator::Template,
        Operator::Stage,
        Operator::Keep,
        Operator::Recompute,
        Operator::Layout,
        Operator::PastCaches,
        Operator::Prefetch,
        Operator::Fuse,
        Operator::Split,
        Operator::Scan,
        Operator::Scatter,
        Operator::Ragged,
        Operator::Append,
        Operator::TimeTile,
        Operator::FuseOnline,
        Operator::Plausible,
        Operator::Fresh,
        Operator::Drop,
    ];

    /// Its name, as stores and reports give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operator::Tune => "tune",
            Operator::TuneAny => "tune_any",
            Operator::Sample => "sample",
            Operator::Amount => "amount",
            Operator::Tile => "tile",
            Operator::Order => "order",
            Operator::Parallel => "parallel",
            Operator::Vector => "vector",
            Operator::Unroll => "unroll",
            Operator::Block => "block",
            Operator::Tail => "tail",
            Operator::Roll => "roll",
            Operator::Template => "template",
            Operator::Stage => "stage",
            Operator::Keep => "keep",
            Operator::Recompute => "recompute",
            Operator::Layout => "layout",
            Operator::PastCaches => "past_caches",
            Operator::Prefetch => "prefetch",
            Operator::Fuse => "fuse",
            Operator::Split => "split",
            Operator::Scan => "scan",
            Operator::Scatter => "scatter",
            Operator::Ragged => "ragged",
            Operator::Append => "append",
            Operator::TimeTile => "time_tile",
            Operator::FuseOnline => "fuse_online",
            Operator::Plausible => "plausible",
            Operator::Fresh => "fresh",
            Operator::Drop => "drop",
        }
    }
}

/// Makes moves for one task.
pub struct Mutator {
    anchors: Anchors,
    space: Box<dyn TuneSpace>,
    allowed: Allowed,
    operators: Vec<Operator>,
    plausible: Option<plausible::Anchors>,
}

impl Mutator {
    /// Moves over these names and tunables, of the classes that the task allows.
    #[must_use]
    pub fn new(anchors: Anchors, space: Box<dyn TuneSpace>, allowed: Allowed) -> Mutator {
        let mut mutator = Mutator { anchors, space, allowed, operators: Vec::new(), plausible: None };
        mutator.operators = Operator::ALL.into_iter().filter(|o| mutator.applies(*o)).collect();
        mutator
    }

    /// Moves also of verbs that the compiler draws from its own view of the names.
    #[must_use]
    pub fn with_plausible(mut self, anchors: plausible::Anchors) -> Mutator {
        self.plausible = Some(anchors);
        self.operators = Operator::ALL.into_iter().filter(|o| self.applies(*o)).collect();
        self
    }

    /// What the compiler knows of an axis.
    fn plausible_axis(&self, name: &str) -> Option<&plausible::AxisAnchor> {
        self.plausible.as_ref()?.axes.iter().find(|a| a.name == name)
    }

    /// What the compiler knows of a tensor.
    fn plausible_tensor(&self, name: &str) -> Option<&plausible::TensorAnchor> {
        self.plausible.as_ref()?.tensors.iter().find(|t| t.name == name)
    }

    /// Whether plans are for a GPU.
    fn gpu(&self) -> bool {
        self.plausible.as_ref().is_some_and(|p| p.gpu)
    }

    /// How often an operator is worth a try before anything is known of it: small steps from what works, most.
    #[must_use]
    pub fn prior(operator: Operator) -> f64 {
        match operator {
            Operator::Amount | Operator::Block | Operator::Tune => 1.0,
            Operator::Tile
            | Operator::Vector
            | Operator::Unroll
            | Operator::Parallel
            | Operator::Template => 0.6,
            Operator::Fresh | Operator::Keep | Operator::Sample => 0.15,
            _ => 0.35,
        }
    }

    /// Operators that have anything to act on.
    #[must_use]
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// Names that plans can use.
    #[must_use]
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The tunables.
    #[must_use]
    pub fn space(&self) -> &dyn TuneSpace {
        &*self.space
    }

    /// Applies one operator; `None` when it finds nothing to change, or nothing that is allowed.
    #[must_use]
    pub fn apply(&self, operator: Operator, parent: &Recipe, rng: &mut Rng) -> Option<(Recipe, Class)> {
        let mut child = parent.clone();
        if self.gpu() {
            device::to_lanes(&mut child.plan);
        }
        let class = match operator {
            Operator::Tune => self.tune_step(&mut child, rng),
            Operator::TuneAny => self.tune_any(&mut child, rng),
            Operator::Sample => self.tune_sample(&mut child, rng),
            Operator::Amount => self.amount(&mut child.plan, rng),
            Operator::Tile => self.tile(&mut child.plan, rng),
            Operator::Order => self.order(&mut child.plan, rng),
            Operator::Parallel => self.parallel(&mut child.plan, rng),
            Operator::Vector => self.vector(&mut child.plan, rng),
            Operator::Unroll => self.unroll(&mut child.plan, rng),
            Operator::Block => self.block(&mut child.plan, rng),
            Operator::Tail => self.tail(&mut child.plan, rng),
            Operator::Roll => self.roll(&mut child.plan, rng),
            Operator::Template => self.template(&mut child.plan, rng),
            Operator::Stage => self.stage(&mut child.plan, rng),
            Operator::Keep => self.keep(&mut child.plan, rng),
            Operator::Recompute => self.recompute(&mut child.plan, rng),
            Operator::Layout => self.layout(&mut child.plan, rng),
            Operator::PastCaches => self.past_caches(&mut child.plan, rng),
            Operator::Prefetch => self.prefetch(&mut child.plan, rng),
            Operator::Fuse => self.fuse(&mut child.plan, rng),
            Operator::Split => self.split(&mut child.plan, rng),
            Operator::Scan => self.scan(&mut child.plan, rng),
            Operator::Scatter => self.scatter(&mut child.plan, rng),
            Operator::Ragged => self.ragged(&mut child.plan, rng),
            Operator::Append => self.append(&mut child.plan, rng),
            Operator::TimeTile => self.time_tile(&mut child.plan, rng),
            Operator::FuseOnline => self.fuse_online(&mut child.plan, rng),
            Operator::Plausible => self.plausible_verb(&mut child.plan, rng),
            Operator::Fresh => self.fresh(&mut child.plan, rng),
            Operator::Drop => self.drop_verb(&mut child.plan, rng),
        }?;
        self.finish(child, parent, class, rng)
    }

    /// Crosses two recipes: verbs of both, each subject from one of them, tunables from both, repaired.
    #[must_use]
    pub fn cross(&self, a: &Recipe, b: &Recipe, rng: &mut Rng) -> Option<(Recipe, Class)> {
        let child = crossover::cross(a, b, rng);
        // Its parts were allowed where they came from.
        self.finish(child, a, Class::X, rng).filter(|(child, _)| child != b)
    }

    /// Normal form and legal tunables; `None` if nothing is left of the change or its class is not allowed.
    fn finish(
        &self,
        mut child: Recipe,
        parent: &Recipe,
        class: Class,
        rng: &mut Rng,
    ) -> Option<(Recipe, Class)> {
        if !self.allowed.permits(class) {
            return None;
        }
        child.base = Base::Planned;
        if self.gpu() {
            device::to_lanes(&mut child.plan);
        }
        self.trim_order(&mut child.plan);
        normal::normalise(&mut child.plan);
        Mutator::fit_panels(&mut child.plan);
        if self.gpu() {
            device::to_threads(&mut child.plan);
        }
        child.assignment = self.repair(&child.assignment, rng)?;
        (child != *parent).then_some((child, class))
    }

    /// Legal values for all tunables, free tile names kept.
    fn repair(
        &self,
        point: &rooftile_compiler::schedule::plan::Assignment,
        rng: &mut Rng,
    ) -> Option<rooftile_compiler::schedule::plan::Assignment> {
        let names = self.space.names();
        let inside = point.iter().filter(|(n, _)| names.contains(n)).map(|(n, v)| (n.clone(), *v)).collect();
        let mut repaired = if names.is_empty() { inside } else { self.space.repair(&inside, rng)? };
        for (name, value) in point {
            if !names.contains(name) {
                repaired.insert(name.clone(), *value);
            }
        }
        Some(repaired)
    }

    fn applies(&self, operator: Operator) -> bool {
        let a = &self.anchors;
        let allowed = self.allowed;
        match operator {
            Operator::Tune | Operator::TuneAny => {
                !self.space.names().is_empty() || !a.tile_names().is_empty()
            }
            Operator::Sample => !self.space.names().is_empty(),
            Operator::Amount | Operator::Drop | Operator::Template => true,
            Operator::Plausible | Operator::Fresh => self.plausible.is_some(),
            Operator::Fuse => self.plausible.as_ref().is_some_and(|p| !p.joinable.is_empty()),
            Operator::TimeTile => self.plausible.as_ref().is_some_and(|p| !p.repeats.is_empty()),
            Operator::Tile | Operator::Order => a.axes.iter().any(|x| x.tiled || x.whole),
            Operator::Parallel | Operator::Vector | Operator::Unroll | Operator::Block => !a.axes.is_empty(),
            // On the CPU these change no loop, or none that `tile` does not change as well.
            Operator::Tail | Operator::Roll | Operator::FuseOnline => false,
            Operator::Layout => a.tensors.iter().any(|t| t.constant || t.own && t.rank > 1),
            Operator::PastCaches => !self.gpu() && a.tensors.iter().any(|t| t.written),
            Operator::Prefetch => !self.gpu() && a.tensors.iter().any(|t| t.read),
            Operator::Stage => a.tensors.iter().any(|t| t.read),
            Operator::Keep => !a.values.is_empty(),
            Operator::Recompute => !a.lets.is_empty(),
            Operator::Split => allowed.reassoc && a.axes.iter().any(|x| x.reduced),
            Operator::Scan => allowed.reassoc && !a.scans.is_empty(),
            Operator::Scatter => !a.scatters.is_empty(),
            Operator::Ragged => allowed.reassoc && a.axes.iter().any(|x| x.ragged),
            Operator::Append => !a.lists.is_empty(),
        }
    }

    fn plausible_verb(
        &self,
        plan: &mut rooftile_compiler::schedule::plan::Plan,
        rng: &mut Rng,
    ) -> Option<Class> {
        let verb = draw::random_verb(self.plausible.as_ref()?, plan, &mut |n| rng.below(n))?;
        let class = self.class_of_verb(&verb);
        plan.verbs.retain(|v| !draw::clashes(v, &verb));
        plan.verbs.push(verb);
        Some(class)
    }

    fn fresh(&self, plan: &mut rooftile_compiler::schedule::plan::Plan, rng: &mut Rng) -> Option<Class> {
        *plan = draw::random_plan(self.plausible.as_ref()?, &mut |n| rng.below(n));
        plan.verbs.iter().map(|v| self.class_of_verb(v)).max()
    }

    /// The class of a verb that was not there before.
    fn class_of_verb(&self, verb: &Verb) -> Class {
        match verb {
            // Atomic merges and updates are drawn for integers only.
            Verb::Split { .. }
            | Verb::Scan { .. }
            | Verb::Ragged { .. }
            | Verb::FuseOnline(_)
            | Verb::Mma(_) => Class::R,
            Verb::Scatter { .. } if self.allowed.reassoc => Class::R,
            Verb::Tile { axis, .. }
            | Verb::Vector { axis, .. }
            | Verb::Thread { axis, .. }
            | Verb::Roll { axis, .. } => self.cut(axis),
            _ => Class::X,
        }
    }

    fn drop_verb(&self, plan: &mut rooftile_compiler::schedule::plan::Plan, rng: &mut Rng) -> Option<Class> {
        if plan.verbs.is_empty() {
            return None;
        }
        let verb = plan.verbs.remove(rng.below(plan.verbs.len()));
        // Without its verb a reduction falls back to the written order.
        let class = match verb {
            Verb::Split { .. }
            | Verb::Scan { .. }
            | Verb::Scatter { .. }
            | Verb::Ragged { .. }
            | Verb::Mma(_) => Class::R,
            _ => Class::X,
        };
        Some(if self.allowed.permits(class) { class } else { Class::X })
    }
}

#[cfg(test)]
pub(crate) mod tests;

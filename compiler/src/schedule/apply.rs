//! A plan for one kernel: verbs whose anchors the kernel has become the setup of its loops, or rewrites of its normal
//! form. Anchors that a kernel lacks belong to another kernel of the pipeline.

use rooftile_artifact::{GpuTarget, Target};

use super::Allow;
use super::form::Form;
use super::fuse::Policy;
use super::kernel::{GroupLimits, Setup, contracts};
use super::levels::AxisSpec;
use super::split::{self, Parts};
use super::stage::Stage;
use super::window::{self, Window};
use super::{atomic, bounds, inline, mma, table};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, AxisKind, Tensor, TensorId, TileSize};
use crate::schedule::plan::{
    AppendVia, Assignment, Merge, Place, Plan, RaggedVia, ScanVia, ScatterVia, Verb,
};

/// Lanes of `ragged(e, via = lane)`.
const RAGGED_LANES: i64 = 8;

/// Threads of `thread(i)`.
const THREADS: i64 = 64;

/// Most passes of `prefetch`.
pub(super) const AHEAD: i64 = 1024;

struct Apply<'a> {
    form: &'a mut Form,
    setup: Setup,
    assignment: &'a Assignment,
    allow: Allow,
    target: &'a Target,
}

/// The setup of a kernel under a plan; the form is rewritten where verbs ask for it.
///
/// # Errors
/// E0504 for verbs that are illegal here, E0505 for those that the target does not have.
pub(crate) fn apply(
    form: &mut Form,
    plan: &Plan,
    assignment: &Assignment,
    allow: Allow,
    target: &Target,
) -> Result<Setup, Diagnostic> {
    let setup = Setup {
        specs: tile_specs(form, assignment),
        order: Vec::new(),
        policy: Policy::Greedy,
        stages: Vec::new(),
        past_caches: Vec::new(),
        prefetches: Vec::new(),
        products: Vec::new(),
        allow,
        contract: target.cpu().is_some_and(|cpu| contracts(allow, cpu)),
        vector_lanes: target.cpu().map_or(4, |cpu| cpu.vector_bytes as u64 / 4),
        masked_bytes: target.cpu().map_or(0, |cpu| cpu.masked_bytes() as i64),
        group: GroupLimits::of(target),
        spread: false,
    };
    let mut a = Apply { form, setup, assignment, allow, target };
    // Rewrites that make axes come last: what is asked of an axis goes to its parts.
    for verb in &plan.verbs {
        a.loops(verb)?;
    }
    for verb in &plan.verbs {
        a.rewrite(verb)?;
    }
    a.products(plan)?;
    Ok(a.setup)
}

/// Tile sizes that the algorithm's tile names have under an assignment.
pub(crate) fn tile_specs(form: &Form, assignment: &Assignment) -> Vec<AxisSpec> {
    let mut specs = vec![AxisSpec::default(); form.func.axes.len()];
    for (id, axis) in form.func.axes.iter() {
        let size = match &axis.kind {
            AxisKind::For(TileSize::Name(n)) | AxisKind::Fold(TileSize::Name(n)) => {
                assignment.get(n).copied()
            }
            AxisKind::For(TileSize::Int(n)) | AxisKind::Fold(TileSize::Int(n)) => Some(*n),
            _ => None,
        };
        specs[id.index()].tiles.extend(size.filter(|n| *n > 1));
    }
    specs
}

/// What runs parts at the same time: the threads of a processor; of a GPU, enough threads to keep it busy, or groups where
/// a part has several `threads`.
fn workers(target: &Target, threads: i64) -> i64 {
    let n = match target {
        Target::Cpu(cpu) => i64::try_from(cpu.threads).unwrap_or(1),
        Target::Vulkan(gpu) => (in_flight(gpu) / threads.max(1)).max(gpu.units.into()),
    };
    n.max(1)
}

/// Threads that keep a GPU busy, at least.
pub(crate) fn in_flight(gpu: &GpuTarget) -> i64 {
    /// Those of each unit.
    const OF_UNIT: i64 = 64;
    i64::from(gpu.units) * OF_UNIT
}

/// An axis that is cut in parts hands its wishes on: the parts go over the cores, the rest to the loop inside.
pub(crate) fn hand_on(specs: &mut Vec<AxisSpec>, parts: &Parts) {
    let all = [parts.part, parts.inner].into_iter().chain(parts.over);
    let most = all.map(AxisId::index).max().unwrap_or(0) + 1;
    if specs.len() < most {
        specs.resize(most, AxisSpec::default());
    }
    let mut spec = specs[parts.whole.index()].clone();
    spec.parallel = false;
    if let Some(over) = parts.over {
        specs[over.index()].threads = spec.threads;
    }
    specs[parts.inner.index()] = spec;
    specs[parts.part.index()].parallel = true;
    specs[parts.whole.index()].parallel = false;
}

impl Apply<'_> {
    fn axes(&self, name: &str) -> Vec<AxisId> {
        let f = &self.form.func;
        f.axes.handles().filter(|a| f.axes[*a].name == name && self.form.is_dimension(*a)).collect()
    }

    /// Private copies of a tensor are cleared and merged by whole vectors, where they have as much side by side.
    fn merge_by_lanes(&mut self, tensor: TensorId, parts: &Parts) {
        let (Target::Cpu(cpu), Some(axis)) = (self.target, parts.beside) else { return };
        let lanes =
            i64::try_from(cpu.vector_bytes / self.form.func.tensors[tensor].dtype.size()).unwrap_or(1);
        if lanes > 1 && bounds::extent(self.form, axis).is_some_and(|n| n >= lanes) {
            let specs = &mut self.setup.specs;
            specs.resize(specs.len().max(axis.index() + 1), AxisSpec::default());
            specs[axis.index()].lanes = Some(lanes);
        }
    }

    fn tensor(&self, name: &str) -> Option<TensorId> {
        let f = &self.form.func;
        f.tensors.handles().find(|t| f.tensors[*t].name == name)
    }

    /// Where the target has what is asked to be at a place: the threads of a processor share no near memory.
    fn near(&self, place: Place) -> Place {
        if place == Place::Shared && self.target.gpu().is_none() { Place::Local } else { place }
    }

    fn refuse(&self, axis: AxisId, why: &str) -> Diagnostic {
        let a = &self.form.func.axes[axis];
        Diagnostic::error(Code::Illegal, a.span, format!("`{}` {why}", a.name))
    }

    fn unsupported(&self, what: &str) -> Diagnostic {
        Diagnostic::error(
            Code::Unsupported,
            self.form.func.span,
            format!("{what} is not supported on {}", self.target.name()),
        )
    }

    fn loops(&mut self, verb: &Verb) -> Result<(), Diagnostic> {
        match verb {
            Verb::Tile { axis, sizes } => {
                let sizes: Vec<i64> =
                    sizes.iter().filter_map(|s| s.value(self.assignment)).filter(|n| *n > 1).collect();
                for a in self.axes(axis) {
                    self.setup.specs[a.index()].tiles.clone_from(&sizes);
                }
            }
            Verb::Roll { axis, tile, .. } => {
                for a in self.axes(axis) {
                    let n = tile.value(self.assignment).filter(|n| *n > 1);
                    self.setup.specs[a.index()].tiles = n.into_iter().collect();
                }
            }
            Verb::Order(order) => self.setup.order.extend(order.iter().cloned()),
            Verb::Grid { .. } | Verb::Thread { .. } if self.target.gpu().is_none() => {}
            Verb::Thread { axis, count } => {
                let most = self.setup.group.threads;
                for a in self.axes(axis) {
                    let n = match count {
                        Some(n) => n.value(self.assignment),
                        None => Some(THREADS),
                    };
                    let Some(n) = n.filter(|n| (1..=most).contains(n)) else {
                        return Err(self.refuse(a, &format!("takes 1 to {most} threads")));
                    };
                    self.setup.specs[a.index()].threads = Some(n);
                }
            }
            Verb::Parallel { axes, .. } | Verb::Grid { axes, .. } => {
                for name in axes {
                    // Of several axes of one name those are meant that can be shared out.
                    let named = self.axes(name);
                    let unordered = |a: &&AxisId| {
                        matches!(self.form.func.axes[**a].kind, AxisKind::For(_) | AxisKind::With)
                    };
                    let some: Vec<AxisId> = named.iter().filter(unordered).copied().collect();
                    if let (true, Some(a)) = (some.is_empty(), named.first()) {
                        return Err(self.refuse(*a, "is ordered or reduced: it cannot be shared out"));
                    }
                    for a in some {
                        self.setup.specs[a.index()].parallel = true;
                    }
                }
            }
            Verb::Vector { axis, lanes } => {
                for a in self.axes(axis) {
                    if self.target.gpu().is_some() {
                        // Threads are the lanes of a GPU; side by side, their points are neighbours anyway.
                        continue;
                    }
                    let n = lanes.value(self.assignment).unwrap_or(RAGGED_LANES);
                    if !(1..=64).contains(&n) {
                        return Err(self.refuse(a, "takes 1 to 64 lanes"));
                    }
                    self.setup.specs[a.index()].lanes = Some(n);
                }
            }
            Verb::Unroll { axis, count } => {
                for a in self.axes(axis) {
                    let n = match count {
                        Some(n) => n.value(self.assignment),
                        None => bounds::extent(self.form, a),
                    };
                    let Some(n) = n.filter(|n| (1..=64).contains(n)) else {
                        return Err(self.refuse(
                            a,
                            "is written out 1 to 64 times, or whole if its extent is a small number",
                        ));
                    };
                    self.setup.specs[a.index()].unroll = Some(n);
                }
            }
            Verb::Ragged { axis, via } => match via {
                RaggedVia::Lane if self.target.gpu().is_some() => {}
                RaggedVia::Lane => {
                    for a in self.axes(axis) {
                        self.setup.specs[a.index()].lanes.get_or_insert(RAGGED_LANES);
                    }
                }
                RaggedVia::Warp | RaggedVia::Merge if self.axes(axis).is_empty() => {}
                RaggedVia::Warp if self.target.gpu().is_some() => {
                    let threads = self.setup.group.subgroup.clamp(1, self.setup.group.threads.max(1));
                    for a in self.axes(axis) {
                        self.setup.specs[a.index()].threads.get_or_insert(threads);
                    }
                }
                RaggedVia::Warp => return Err(self.unsupported("ragged(.., via = warp)")),
                RaggedVia::Merge => return Err(self.unsupported("ragged(.., via = merge)")),
            },
            _ => {}
        }
        Ok(())
    }

    /// Sums for the matrix units, when all axes are there.
    fn products(&mut self, plan: &Plan) -> Result<(), Diagnostic> {
        let Some(gpu) = self.target.gpu() else { return Ok(()) };
        let subgroups = plan.verbs.iter().rev().find_map(|v| match v {
            Verb::Warps(n) => n.value(self.assignment),
            _ => None,
        });
        for verb in &plan.verbs {
            let Verb::Mma(name) = verb else { continue };
            let wanted = mma::Wanted { name, subgroups };
            let found = mma::products(self.form, &wanted, &mut self.setup.specs, self.allow, gpu)?;
            self.setup.products.extend(found);
        }
        if self.setup.order.is_empty() {
            let specs = &self.setup.specs;
            self.setup.order = self.setup.products.iter().flat_map(|p| p.loops(self.form, specs)).collect();
        }
        Ok(())
    }

    /// The windows of a copy, whose elements are copied side by side.
    fn window(&mut self, tensor: TensorId, vector_bytes: usize) -> Option<Window> {
        let window = window::window(self.form, tensor)?;
        self.setup.specs.resize(self.form.func.axes.len(), AxisSpec::default());
        if let Some(last) = window.last() {
            let lanes = vector_bytes / self.form.func.tensors[tensor].dtype.size().max(1);
            self.setup.specs[last.index()].lanes = i64::try_from(lanes).ok();
        }
        Some(window)
    }

    fn rewrite(&mut self, verb: &Verb) -> Result<(), Diagnostic> {
        match verb {
            Verb::Stage { tensor, at, place, panel, deep } => {
                let Some(tensor) = self.tensor(tensor) else { return Ok(()) };
                if self.axes(&at.name).is_empty() {
                    return Ok(());
                }
                let panel = panel.as_ref().and_then(|p| p.value(self.assignment)).filter(|n| *n > 1);
                let place = self.near(*place);
                let deep = deep.filter(|n| *n > 1 && panel.is_some());
                let window = match self.target.cpu() {
                    Some(cpu) if panel.is_none() => self.window(tensor, cpu.vector_bytes),
                    _ => None,
                };
                self.setup.stages.push(Stage { tensor, at: at.clone(), place, panel, deep, window });
            }
            Verb::Keep { value, place } => {
                for v in self.form.func.values.handles() {
                    if self.form.func.values[v].name == *value {
                        self.form.info[v.index()].place = Some(self.near(*place));
                    }
                }
            }
            Verb::Nontemporal(name) => {
                // Nothing tells the code of a GPU to do so.
                if let (Some(tensor), Some(cpu)) = (self.tensor(name), self.target.cpu()) {
                    self.setup.past_caches.push((tensor, i64::try_from(cpu.past_caches).unwrap_or(i64::MAX)));
                }
            }
            Verb::Prefetch { tensor, passes } if self.target.cpu().is_some() => {
                let Some(tensor) = self.tensor(tensor) else { return Ok(()) };
                let passes = passes.value(self.assignment).filter(|n| (0..=AHEAD).contains(n));
                let Some(passes) = passes else {
                    let Tensor { span, name, .. } = &self.form.func.tensors[tensor];
                    let message = format!("`{name}` is fetched 0 to {AHEAD} passes ahead");
                    return Err(Diagnostic::error(Code::Illegal, *span, message));
                };
                self.setup.prefetches.push((tensor, passes));
            }
            Verb::Table(function) if self.target.cpu().is_some() => {
                for axis in table::tables(self.form, function) {
                    self.setup.specs.resize(self.form.func.axes.len(), AxisSpec::default());
                    self.setup.specs[axis.index()].lanes = i64::try_from(self.setup.vector_lanes).ok();
                }
            }
            Verb::Recompute(value) => inline::recompute(self.form, value)?,
            Verb::Split { axis, parts, merge } => {
                let n = parts.value(self.assignment).unwrap_or(1);
                for a in self.axes(axis).into_iter().filter(|_| n > 1) {
                    let made = split::split(self.form, a, n, self.allow)?;
                    if *merge == Merge::Atomic {
                        atomic::merges(self.form, &made, self.allow, self.target.gpu())?;
                    }
                    made.iter().for_each(|p| hand_on(&mut self.setup.specs, p));
                }
            }
            Verb::Scan { target, via, items } => {
                let here = self.tensor(target).is_some()
                    || self.form.func.values.iter().any(|(_, v)| v.name == *target);
                match via {
                    ScanVia::TwoPass | ScanVia::ThreePass if here => {
                        let n = items.as_ref().and_then(|i| i.value(self.assignment)).unwrap_or(1).max(1);
                        let axis = split::scan_of(self.form, target).map(|(_, axis)| axis);
                        let spec = axis.and_then(|a| self.setup.specs.get(a.index()));
                        let threads = workers(self.target, spec.and_then(|s| s.threads).unwrap_or(1));
                        let p = split::scan(self.form, target, (threads * n).min(4096), self.allow)?;
                        hand_on(&mut self.setup.specs, &p);
                    }
                    ScanVia::Lookback if here => return Err(self.unsupported("scan(.., via = lookback)")),
                    _ => {}
                }
            }
            Verb::Scatter { target, via, copies, .. } => {
                let Some(tensor) = self.tensor(target) else { return Ok(()) };
                match via {
                    ScatterVia::Privatize => {
                        let n = copies.as_ref().and_then(|c| c.value(self.assignment)).unwrap_or(1).max(1);
                        let threads = workers(self.target, 1);
                        let p = split::privatize(self.form, tensor, (threads * n).min(1024), self.allow)?;
                        hand_on(&mut self.setup.specs, &p);
                        self.merge_by_lanes(tensor, &p);
                    }
                    ScatterVia::Sort => return Err(self.unsupported("scatter(.., via = sort)")),
                    ScatterVia::Atomic => {
                        atomic::scatter(self.form, tensor, self.allow, self.target.gpu())?;
                    }
                    ScatterVia::Global => {}
                }
            }
            Verb::Append { target, via } => {
                // Lists keep the order of a serial run: the kernel that fills them runs on one core.
                let fills = self.form.stmts.iter().any(|(_, s)| match &s.action {
                    super::form::Action::Append { list, .. } => self.form.func.tensors[*list].name == *target,
                    _ => false,
                });
                match via {
                    AppendVia::Sort if fills => self.setup.specs.iter_mut().for_each(|s| s.parallel = false),
                    AppendVia::Atomic if fills => return Err(self.unsupported("append(.., via = atomic)")),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

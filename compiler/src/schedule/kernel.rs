//! One kernel: normal form, levels, tree, storage, nest.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::{CpuTarget, DType, Target};

use super::access::{Accesses, Object, agree_on_axis};
use super::emit::{Binding, BindingDim, Emitter, machine_type};
use super::form::{Action, Form, StmtId};
use super::fuse::{Fuser, Policy, Tree, group_of};
use super::in_place::{self, InPlace};
use super::levels::{AxisSpec, LevelId, LevelKind, Levels};
use super::{
    Allow, bounds, code_size, deal, hoist, mma, partial, point_copies, scans, slant, stage, storage,
};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ExprId, Tensor, TensorId, ValueId};
use crate::nest::aligned::take_apart;
use crate::nest::build::Builder;
use crate::nest::ir::{self as nest, Space};
use crate::nest::prefetch::{Missed, prefetch};
use crate::schedule::plan::AxisRef;

/// How a kernel is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What is asked for each axis, by its position in the arena.
    pub(crate) specs: Vec<AxisSpec>,
    /// Loops asked for, from the outside in.
    pub(crate) order: Vec<AxisRef>,
    /// Which statements share loops.
    pub(crate) policy: Policy,
    /// Tensors to copy near.
    pub(crate) stages: Vec<stage::Stage>,
    /// Tensors that are written past the caches from so many bytes on.
    pub(crate) past_caches: Vec<(TensorId, i64)>,
    /// Tensors of which a loop fetches what so many passes later are read.
    pub(crate) prefetches: Vec<(TensorId, i64)>,
    /// Sums that matrix units compute.
    pub(crate) products: Vec<mma::Product>,
    /// What the task allows.
    pub(crate) allow: Allow,
    /// Sums of products are rounded once.
    pub(crate) contract: bool,
    /// Lanes of 32 bits that one instruction serves.
    pub(crate) vector_lanes: u64,
    /// Bytes of vectors that have masks; 0 where none have.
    pub(crate) masked_bytes: i64,
    /// What a group of threads may have; nothing on a processor.
    pub(crate) group: GroupLimits,
    /// Every outermost loop whose passes are independent is shared out.
    pub(crate) spread: bool,
}

/// Whether sums of products are rounded once: where the task allows it, and the generator of the target's vectors has an
/// instruction that adds in place.
pub(crate) fn contracts(allow: Allow, target: &CpuTarget) -> bool {
    allow.contract && target.features.fma && target.vector_bytes >= 32
}

/// What a group of threads may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupLimits {
    /// Threads.
    pub(crate) threads: i64,
    /// Bytes of near memory.
    pub(crate) shared_bytes: i64,
    /// Neighbouring threads that can see each other's registers.
    pub(crate) exchange: i64,
    /// Threads of a subgroup.
    pub(crate) subgroup: i64,
}

impl GroupLimits {
    /// Those of a target.
    pub(crate) fn of(target: &Target) -> GroupLimits {
        target.gpu().map_or_else(GroupLimits::default, |gpu| GroupLimits {
            threads: i64::from(gpu.group_threads),
            shared_bytes: i64::from(gpu.shared_bytes),
            subgroup: i64::from(gpu.subgroup),
            exchange: if gpu.features.subgroup_shuffle && gpu.features.whole_subgroups {
                i64::from(gpu.subgroup)
            } else {
                1
            },
        })
    }
}

/// How a parameter's tensor lies in a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ViewShape {
    /// For each dimension of the buffer: what it is to the tensor.
    pub(crate) dims: Vec<ViewShapeDim>,
}

/// A dimension of a buffer behind a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewShapeDim {
    /// All of the tensor's dimension.
    Whole(usize),
    /// A part: two sizes follow the kernel's own, the first index and the buffer's extent.
    Part(usize),
    /// Held at an index: two sizes follow, the index and the buffer's extent.
    Fixed,
    /// The numbers of panels of so many elements along the tensor's dimension.
    Panel(usize, i64),
    /// The place within such a panel.
    InPanel(usize, i64),
}

impl ViewShapeDim {
    /// Sizes that follow the kernel's own.
    pub(crate) fn sizes(self) -> usize {
        match self {
            ViewShapeDim::Part(_) | ViewShapeDim::Fixed => 2,
            ViewShapeDim::Whole(_) | ViewShapeDim::Panel(..) | ViewShapeDim::InPanel(..) => 0,
        }
    }
}

/// A scratch buffer of a kernel: element type, and extents with panels.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// Element type.
    pub(crate) dtype: DType,
    /// The buffer's extents in the nest, over sizes and scalars.
    pub(crate) shape: Vec<nest::ExprId>,
}

/// A kernel as loops, and the scratch that it wants in its last slots.
#[derive(Clone, Debug)]
pub(crate) struct KernelNest {
    /// The loops.
    pub(crate) nest: nest::Nest,
    /// Scratch buffers.
    pub(crate) scratch: Vec<Scratch>,
    /// Tensors that are to be fetched ahead, each with what was in the way.
    pub(crate) prefetches: Vec<(String, Option<Diagnostic>)>,
}

/// The loops of a kernel in normal form.
///
/// # Errors
/// A diagnostic when the setup is illegal here, or the target lacks something.
pub(crate) fn lower_form(
    form: Form,
    setup: &Setup,
    views: &[Option<ViewShape>],
) -> Result<KernelNest, Diagnostic> {
    let stages = !setup.stages.is_empty() || !setup.products.is_empty();
    let every = [Copies::Shared, Copies::Own, Copies::Fewest];
    for copies in every.into_iter().filter(|c| stages || *c != Copies::Own) {
        if let (nest, true) = lower_copied(form.clone(), setup, views, copies)? {
            return Ok(nest);
        }
    }
    let name = setup.stages.first().map_or("", |s| &form.func.tensors[s.tensor].name);
    let message = format!("`{name}` cannot be staged: the copy would be used by another phase than makes it");
    Err(Diagnostic::error(Code::Illegal, form.func.span, message))
}

/// Who uses the copies of what tensors hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    /// Statements that read the same share one.
    Shared,
    /// Each statement has its own.
    Own,
    /// As `Own`, and only those that are asked for.
    Fewest,
}

/// The loops, and whether no phase uses a copy that another one makes.
fn lower_copied(
    mut form: Form,
    setup: &Setup,
    views: &[Option<ViewShape>],
    copies: Copies,
) -> Result<(KernelNest, bool), Diagnostic> {
    split_self_conflicts(&mut form);
    let mut levels = Levels::new(&form, &setup.specs, &setup.order, form.func.span)?;
    for axis in form.func.axes.handles().filter(|a| form.is_dimension(*a)) {
        let blocked = form.func.axes[axis].parents.iter().find(|p| levels.is_blocked(**p));
        // The threads of a group share what they load.
        let may_exceed = || setup.group.threads == 0 && slant::may_exceed(&form, &levels, axis);
        if let Some(p) = blocked.filter(|_| !may_exceed()) {
            let (name, parent) = (&form.func.axes[axis].name, &form.func.axes[*p].name);
            return Err(Diagnostic::error(
                Code::Illegal,
                form.func.axes[axis].span,
                format!(
                    "the bounds of `{name}` depend on `{parent}`, of which several points would run at once"
                ),
            )
            .help(format!("do not block `{parent}`; block `{name}` or another axis")));
        }
    }
    if setup.policy == Policy::Greedy {
        for product in &setup.products {
            mma::rewrite(&mut form, &levels, product)?;
        }
        for stage in &setup.stages {
            stage::stage(&mut form, &levels, stage, copies != Copies::Shared)?;
        }
        partial::lane_partials(&mut form, &levels, setup);
        point_copies::point_copies(&mut form, &levels, setup);
        scans::by_threads(&mut form, &levels, setup);
        deal::deal(&form, &mut levels, setup);
        if copies != Copies::Fewest {
            hoist::hoist(&mut form, &levels);
        }
    }
    let stmt_levels: Vec<Vec<LevelId>> = form.stmts.handles().map(|s| levels_of(&form, &levels, s)).collect();
    let accesses = Accesses::new(&form);
    let trees = Fuser::new(&form, &levels, &accesses, &stmt_levels, setup.policy).tree()?;
    let mut phases = phases(&form, &levels, &accesses, trees, setup.spread)?;
    let bodies: Vec<Vec<Tree>> = phases.iter().map(|p| p.0.clone()).collect();
    let group =
        |body: &Vec<Tree>| group_of(&levels, body).max(mma::threads(&form, body, setup.group.subgroup));
    let groups: Vec<i64> = bodies.iter().map(group).collect();
    if let Some(group) = groups.iter().find(|g| **g > setup.group.threads) {
        let message = format!("groups of {group} threads, {} are available", setup.group.threads);
        let help = "the threads of axes that a statement has together are multiplied";
        return Err(Diagnostic::error(Code::Space, form.func.span, message).help(help));
    }
    let homes = storage::homes(&mut form, &levels, &accesses, (&bodies, &groups), setup.group.shared_bytes)?;

    // The threads of a group share what they load.
    let in_place = if setup.group.threads == 0 {
        in_place::find(&mut form, &levels, &accesses, (&mut phases, &homes), views)
    } else {
        InPlace::default()
    };
    let mut b = Builder::new(&form.func.name);
    b.contract(setup.contract);
    for (_, size) in form.func.sizes.iter() {
        b.add_size(&size.name);
    }
    for (_, scalar) in form.func.scalars.iter() {
        b.add_scalar(&scalar.name, machine_type(scalar.dtype, scalar.span)?);
    }
    let slots = u32::try_from(form.func.tensors.len()).unwrap_or(u32::MAX);
    let mut emitter = Emitter::new(&form, &levels, (&homes, &in_place), b, Vec::new(), slots);
    emitter.masked_bytes = setup.masked_bytes;
    for (n, (_, tensor)) in form.func.tensors.iter().enumerate() {
        let view = views.get(n).and_then(Option::as_ref);
        let binding = bind_tensor(&mut emitter, n, tensor, view)?;
        let revisited = in_place.homes.values().any(|(t, _)| t.index() == n);
        let past_caches = setup.past_caches.iter().find(|(t, _)| t.index() == n && !revisited);
        if let Some((_, bytes)) = past_caches {
            emitter.b.store_past_caches(binding.buffer, *bytes);
        }
        emitter.tensors.push(binding);
    }
    for ((body, cores), group) in phases.iter().zip(&groups) {
        emitter.phase(body, *cores, *group)?;
    }
    let scratch = emitter
        .scratch
        .iter()
        .map(|(buffer, dtype)| Scratch {
            dtype: *dtype,
            shape: emitter.b.nest().buffers[*buffer].shape.clone(),
        })
        .collect();
    let wanted = setup.prefetches.iter().map(|(t, passes)| (*t, emitter.tensors[t.index()].buffer, *passes));
    let wanted: Vec<_> = wanted.collect();
    let divisions = std::mem::take(&mut emitter.divisions);
    let mut nest = emitter.b.finish();
    if !divisions.is_empty() {
        nest = take_apart(nest, &divisions);
    }
    let prefetches = wanted
        .into_iter()
        .map(|(tensor, buffer, passes)| {
            let missed = prefetch(&mut nest, buffer, passes).err();
            let tensor = &form.func.tensors[tensor];
            (tensor.name.clone(), missed.map(|why| not_fetched(tensor, why)))
        })
        .collect();
    code_size::check(&form, &nest, setup.vector_lanes)?;
    Ok((KernelNest { nest, scratch, prefetches }, copies_stay(&form, &accesses, &bodies)))
}

/// The error of a tensor that cannot be fetched ahead.
fn not_fetched(tensor: &Tensor, why: Missed) -> Diagnostic {
    let (why, help) = match why {
        Missed::NotRead => ("nothing reads it", "name a tensor that the kernel reads from memory"),
        Missed::NoLoop => (
            "no loop on one core moves along it in a way that can be told ahead",
            "name a tensor whose indices follow a loop, and are not made of what the loop computes",
        ),
        Missed::TooManyLines => (
            "a pass of the loop along it reads too many lines",
            "give the loop smaller `vector` and `unroll` counts",
        ),
    };
    let message = format!("`{}` cannot be fetched ahead: {why}", tensor.name);
    Diagnostic::error(Code::Illegal, tensor.span, message).help(help)
}

/// Whether every copy is used only by the phase that makes it.
fn copies_stay(form: &Form, accesses: &Accesses, phases: &[Vec<Tree>]) -> bool {
    let mut users: BTreeMap<ValueId, BTreeSet<usize>> = BTreeMap::new();
    for (n, body) in phases.iter().enumerate() {
        let stmts = Tree::stmts(body);
        for access in stmts.iter().flat_map(|s| accesses.of(*s)) {
            if let Object::Value(v) = access.object {
                users.entry(v).or_default().insert(n);
            }
        }
    }
    form.stmts
        .iter()
        .filter(|(_, s)| s.copies)
        .filter_map(|(_, s)| s.action.written_value())
        .all(|v| users.get(&v).is_none_or(|phases| phases.len() < 2))
}

/// The levels of each statement.
pub(crate) fn levels_of(form: &Form, levels: &Levels, stmt: StmtId) -> Vec<LevelId> {
    let s = &form.stmts[stmt];
    match &s.levels {
        Some(own) => own.clone(),
        None => s
            .axes
            .iter()
            .flat_map(|a| match levels.points(*a) {
                Some(points) if sums_by_points(form, levels, &s.action, *a) => {
                    [levels.outside(points), vec![points]].concat()
                }
                _ => levels.chain(*a).to_vec(),
            })
            .collect(),
    }
}

/// Whether a reduction has its lanes along another axis than the reduced one, which has lanes in other statements.
fn sums_by_points(form: &Form, levels: &Levels, action: &Action, axis: AxisId) -> bool {
    let Action::Accumulate { value, .. } = action else { return false };
    let axes = &form.func.values[*value].axes;
    !axes.contains(&axis) && axes.iter().any(|a| levels.has_lanes(*a))
}

/// A phase for every loop that is shared out over the cores, and one for what lies between two of them.
fn phases(
    form: &Form,
    levels: &Levels,
    accesses: &Accesses,
    trees: Vec<Tree>,
    spread: bool,
) -> Result<Vec<(Vec<Tree>, usize)>, Diagnostic> {
    let mut out: Vec<(Vec<Tree>, usize)> = Vec::new();
    for tree in trees {
        let mut cores = 0;
        let mut inner = &tree;
        while let Tree::Loop { level, body, lanes, .. } = inner {
            let asked = levels.parallel.contains(level);
            let step = matches!(levels.all[*level].kind, LevelKind::Step(_));
            if !(asked && *lanes || spread && step) {
                break;
            }
            // The host shares out the passes, so it must know how many there are.
            let axis = &form.func.axes[levels.all[*level].axis];
            if !bounds::is_host(form, axis.lo) || !bounds::is_host(form, axis.hi) {
                break;
            }
            match check_parallel(form, levels, accesses, inner, *level) {
                Err(_) if spread => break,
                other => other?,
            }
            cores += 1;
            match &body[..] {
                [only] => inner = only,
                _ => break,
            }
        }
        match out.last_mut() {
            Some((serial, 0)) if cores == 0 => serial.push(tree),
            _ => out.push((vec![tree], cores)),
        }
    }
    // Parts are shared out where they can be; nobody asked for it.
    let asked = |l: &LevelId| !form.partitions.values().any(|part| *part == levels.all[*l].axis);
    if !spread && levels.parallel.iter().any(asked) && out.iter().all(|(_, cores)| *cores == 0) {
        return Err(nothing_shared(form, levels, accesses));
    }
    Ok(out)
}

/// No loop could be shared out: says what stands in the way.
fn nothing_shared(form: &Form, levels: &Levels, accesses: &Accesses) -> Diagnostic {
    let all: Vec<StmtId> = form.stmts.handles().collect();
    for level in &levels.parallel {
        for s in &all {
            if form.stmts[*s].axes.contains(&levels.all[*level].axis)
                && let Some((a, b, object)) =
                    accesses.dependence(form, levels, &[*s], *level, &BTreeSet::new())
            {
                return meets(form, levels, *level, a, b, object);
            }
        }
    }
    let axis = &form.func.axes[levels.all[levels.parallel[0]].axis];
    Diagnostic::error(
        Code::Illegal,
        axis.span,
        format!("`{}` cannot be shared out over the cores: its loop lies inside another", axis.name),
    )
}

fn check_parallel(
    form: &Form,
    levels: &Levels,
    accesses: &Accesses,
    tree: &Tree,
    level: LevelId,
) -> Result<(), Diagnostic> {
    let stmts = Tree::stmts(std::slice::from_ref(tree));
    let inside: BTreeSet<StmtId> = stmts.iter().copied().collect();
    // What only this loop touches is scratch of one pass.
    let outside: BTreeSet<Object> = form
        .stmts
        .handles()
        .filter(|s| !inside.contains(s))
        .flat_map(|s| accesses.of(s).iter().map(|a| a.object))
        .collect();
    let own: BTreeSet<Object> = stmts
        .iter()
        .flat_map(|s| accesses.of(*s).iter().map(|a| a.object))
        .filter(|o| matches!(o, Object::Value(_)) && !outside.contains(o))
        .collect();
    let Some((a, b, object)) = accesses.dependence(form, levels, &stmts, level, &own) else { return Ok(()) };
    Err(meets(form, levels, level, a, b, object))
}

fn meets(form: &Form, levels: &Levels, level: LevelId, a: StmtId, b: StmtId, object: Object) -> Diagnostic {
    let axis = &form.func.axes[levels.all[level].axis];
    let name = match object {
        Object::Tensor(t) => &form.func.tensors[t].name,
        Object::Value(v) => &form.func.values[v].name,
    };
    let help = match form.stmts[a].action {
        Action::Scan { .. } => format!("scan({name}, via = two_pass) makes the passes independent"),
        Action::Append { .. } => format!("append({name}, via = sort), or run it on one core"),
        _ => format!(
            "`scatter({name}, via = privatize)` or `split({}, n)` make the passes independent",
            axis.name
        ),
    };
    Diagnostic::error(
        Code::Illegal,
        axis.span,
        format!("`{}` cannot be shared out over the cores: its passes meet in `{name}`", axis.name),
    )
    .cause(form.stmts[a].span, "touched here")
    .cause(form.stmts[b].span, "and here by another pass")
    .help(help)
}

/// `A[j] = e(A[other])` evaluates all points before it stores: the elements go by way of a temporary.
fn split_self_conflicts(form: &mut Form) {
    let accesses = Accesses::new(form);
    form.replace_stmts(&mut |form, s| split_stmt(form, &accesses, s).map(|first| vec![first, s]));
}

fn split_stmt(form: &mut Form, accesses: &Accesses, s: StmtId) -> Option<StmtId> {
    let Action::Store { tensor, expr, .. } = form.stmts[s].action else { return None };
    let (axes, span) = (form.stmts[s].axes.clone(), form.stmts[s].span);
    let object = Object::Tensor(tensor);
    let write = accesses.of(s).iter().find(|a| a.write && a.object == object)?;
    let apart = accesses
        .of(s)
        .iter()
        .filter(|a| !a.write && a.object == object)
        .all(|r| axes.iter().all(|axis| agree_on_axis(form, r, write, *axis)));
    if apart {
        return None;
    }
    let dtype = form.func.exprs[expr].dtype;
    let name = format!("{}.new", form.func.tensors[tensor].name);
    let temp = form.value(&name, dtype, axes.clone(), span);
    let first = form.stmt(Action::Set { value: temp, index: None, expr }, axes, span);
    let read: ExprId = form.read(temp, span);
    if let Action::Store { expr, .. } = &mut form.stmts[s].action {
        *expr = read;
    }
    Some(first)
}

fn bind_tensor(
    e: &mut Emitter<'_>,
    n: usize,
    tensor: &Tensor,
    view: Option<&ViewShape>,
) -> Result<Binding, Diagnostic> {
    let mut shape = Vec::new();
    let mut dims = Vec::new();
    match view {
        None => {
            for (d, extent) in tensor.shape.iter().enumerate() {
                shape.push(e.pure(*extent)?);
                dims.push(BindingDim::View(d, None));
            }
        }
        Some(view) => {
            for (s, dim) in view.dims.iter().enumerate() {
                match dim {
                    ViewShapeDim::Whole(d) => {
                        shape.push(e.pure(tensor.shape[*d])?);
                        dims.push(BindingDim::View(*d, None));
                    }
                    ViewShapeDim::Part(d) => {
                        let lo = e.b.add_size(&format!("{}.{s}.lo", tensor.name));
                        shape.push(e.b.add_size(&format!("{}.{s}.extent", tensor.name)));
                        dims.push(BindingDim::View(*d, Some(lo)));
                    }
                    ViewShapeDim::Fixed => {
                        let at = e.b.add_size(&format!("{}.{s}.at", tensor.name));
                        shape.push(e.b.add_size(&format!("{}.{s}.extent", tensor.name)));
                        dims.push(BindingDim::Fixed(at));
                    }
                    ViewShapeDim::Panel(d, n) => {
                        let extent = e.pure(tensor.shape[*d])?;
                        shape.push(e.b.ceil_div(extent, *n));
                        dims.push(BindingDim::Panel(*d, *n));
                    }
                    ViewShapeDim::InPanel(d, n) => {
                        shape.push(e.b.int(*n));
                        dims.push(BindingDim::InPanel(*d, *n));
                    }
                }
            }
        }
    }
    // Packing belongs to the tensor's dimension; the buffer's may stand elsewhere.
    let along =
        |d: &BindingDim, p| matches!(d, BindingDim::View(n, _) | BindingDim::InPanel(n, _) if *n == p);
    let packed = tensor.packed.and_then(|p| dims.iter().position(|d| along(d, p)));
    let mut dtype = machine_type(tensor.dtype.real(), tensor.span)?;
    if let Some(p) = packed {
        dtype = DType::U8;
        let per = i64::try_from(tensor.dtype.per_byte()).unwrap_or(1);
        shape[p] = e.b.ceil_div(shape[p], per);
    }
    if tensor.dtype.is_complex() {
        shape.push(e.b.int(2));
    }
    let slot = u32::try_from(n).unwrap_or(u32::MAX);
    let buffer = e.b.add_buffer(&tensor.name, dtype, &shape, Space::Global(slot));
    Ok(Binding { buffer, dims, packed })
}

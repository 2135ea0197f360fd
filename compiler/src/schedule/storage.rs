//! Where tile values live. A value needs a dimension for each axis that is not fixed by the loops around all its
//! accesses: none for a value that is made and used in one pass, the points of a block for a register tile, the
//! extent of the loops in between for anything that outlives its loop.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{Access, Accesses, Ix, Object, reads};
use super::form::{Action, Form, Panel, StmtId};
use super::fuse::{NodeId, Tree};
use super::levels::{LevelId, LevelKind, Levels};
use super::window::{self, Halo};
use super::{bounds, mma};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{AxisId, ExprId, ValueId};
use crate::schedule::plan::Place;

/// Most elements of a register tile.
const REGISTERS: i64 = 1024;

/// Where a value lives.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// Bound once where it is computed.
    Let,
    /// In matrices of the subgroups of a group, which have a tile of it together.
    Matrices,
    /// In a buffer.
    Buffer {
        /// Which memory.
        space: HomeSpace,
        /// Its dimensions.
        dims: Vec<Dim>,
    },
}

/// Which memory a buffer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HomeSpace {
    /// Registers.
    Register,
    /// Scratch memory of a chunk.
    Local,
    /// Near memory of the threads of a group.
    Shared,
    /// Memory that all phases see.
    Global,
}

/// A dimension of a value's buffer.
#[derive(Clone, Debug)]
pub(crate) struct Dim {
    /// The axis.
    pub(crate) axis: AxisId,
    /// Position of the axis in the value's axes.
    pub(crate) position: usize,
    /// What index 0 stands for.
    pub(crate) base: Base,
    /// How it is cut.
    pub(crate) panel: Option<Panel>,
}

/// What index 0 of a dimension stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// The first point of the block.
    Block,
    /// The first point of a pass of a loop with this step; also the ends of the axis anywhere, if sizes tell them.
    Level(LevelId, i64, Option<(ExprId, ExprId)>),
    /// The first value of the axis anywhere; also one past the last.
    Hull(ExprId, ExprId),
    /// The first point around a pass of a loop with this step over another axis; also the ends of the halo and, if sizes
    /// tell them, of the axis with it anywhere.
    Around(LevelId, i64, Halo, Option<(ExprId, ExprId)>),
}

/// Where a statement stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    phase: usize,
    nodes: Vec<(NodeId, Option<LevelId>)>,
    /// Levels that run by threads.
    threads: Vec<LevelId>,
}

/// Decides where every value lives. `phases` are the trees of each phase, `groups` the threads
/// of its groups. Of near memory there are `shared` bytes.
///
/// # Errors
/// E0402 when an axis has no bound that a buffer could be sized by, or what is asked for does not fit near memory.
pub(crate) fn homes(
    form: &mut Form,
    levels: &Levels,
    accesses: &Accesses,
    (phases, groups): (&[Vec<Tree>], &[i64]),
    shared: i64,
) -> Result<Vec<Option<Home>>, Diagnostic> {
    let mut finder = Finder { form, levels, accesses, uses: BTreeMap::new() };
    for (phase, trees) in phases.iter().enumerate() {
        finder.walk(trees, &Path { phase, nodes: Vec::new(), threads: Vec::new() });
    }
    let uses = finder.uses;
    let mut out = vec![None; form.func.values.len()];
    let mut left = shared;
    // What is asked to be near comes first, and before that what cannot be anywhere else.
    let mut order: Vec<(ValueId, Vec<Use>)> = uses.into_iter().collect();
    order.sort_by_key(|(v, _)| {
        let info = &form.info[v.index()];
        (!info.matrices, info.place != Some(Place::Shared))
    });
    for (value, uses) in order {
        let together = groups[uses[0].path.phase] > 0;
        let mut found = home(form, levels, value, &uses)?;
        if let (Home::Buffer { space, dims }, true) = (&mut found, together)
            && *space == HomeSpace::Local
        {
            let v = &form.func.values[value];
            let parts = if v.dtype.is_complex() { 2 } else { 1 };
            let element = i64::try_from(v.dtype.real().size()).unwrap_or(8) * parts;
            let bytes = constant_elements(form, levels, dims).and_then(|n| n.checked_mul(element));
            match bytes {
                Some(bytes) if bytes <= left => {
                    left -= bytes;
                    *space = HomeSpace::Shared;
                }
                _ if form.info[value.index()].place == Some(Place::Shared) => {
                    return Err(too_large(form, value, bytes, left));
                }
                _ => {}
            }
        }
        out[value.index()] = Some(found);
    }
    Ok(out)
}

fn too_large(form: &Form, value: ValueId, bytes: Option<i64>, left: i64) -> Diagnostic {
    let v = &form.func.values[value];
    let message = match bytes {
        Some(bytes) => format!("`{}` needs {bytes} bytes of shared memory, {left} are available", v.name),
        None => format!("`{}` cannot be in shared memory: its extent is not constant", v.name),
    };
    Diagnostic::error(Code::Space, v.span, message).help("use smaller tiles, or leave it in local memory")
}

/// Elements of a buffer, if they are the same at all sizes.
fn constant_elements(form: &Form, levels: &Levels, dims: &[Dim]) -> Option<i64> {
    dims.iter()
        .map(|d| match d.base {
            Base::Block => Some(levels.block_count(d.axis)),
            Base::Level(_, step, _) => Some(step),
            Base::Hull(..) => bounds::extent(form, d.axis),
            Base::Around(_, step, halo, _) => Some(halo.points(step)),
        })
        .try_fold(1i64, |n, d| n.checked_mul(d?))
}

struct Use {
    path: Path,
    stmt: Option<StmtId>,
    access: Access,
}

struct Finder<'a> {
    form: &'a Form,
    levels: &'a Levels,
    accesses: &'a Accesses,
    uses: BTreeMap<ValueId, Vec<Use>>,
}

impl Finder<'_> {
    fn walk(&mut self, trees: &[Tree], path: &Path) {
        for tree in trees {
            match tree {
                Tree::Leaf(s) => {
                    for access in self.accesses.of(*s) {
                        self.add(path, Some(*s), access.clone());
                    }
                }
                Tree::Loop { node, level, body, lanes: true } if self.levels.is_threads(*level) => {
                    let mut path = path.clone();
                    path.threads.push(*level);
                    self.inside(body, &path, *node, Some(*level));
                }
                Tree::Loop { node, level, body, .. } => self.inside(body, path, *node, Some(*level)),
                Tree::Seq { node, level, body, .. } => self.inside(body, path, *node, *level),
                Tree::If { nodes, cond, then, otherwise } => {
                    let mut found = Vec::new();
                    reads(self.form, *cond, &mut BTreeSet::new(), &mut found);
                    for access in found {
                        self.add(path, None, access);
                    }
                    self.inside(then, path, nodes.0, None);
                    self.inside(otherwise, path, nodes.1, None);
                }
            }
        }
    }

    fn inside(&mut self, body: &[Tree], path: &Path, node: NodeId, level: Option<LevelId>) {
        let mut path = path.clone();
        path.nodes.push((node, level));
        self.walk(body, &path);
    }

    fn add(&mut self, path: &Path, stmt: Option<StmtId>, access: Access) {
        if let Object::Value(v) = access.object {
            self.uses.entry(v).or_default().push(Use { path: path.clone(), stmt, access });
        }
    }
}

fn home(form: &mut Form, levels: &Levels, value: ValueId, uses: &[Use]) -> Result<Home, Diagnostic> {
    let one_phase = uses.iter().all(|u| u.path.phase == uses[0].path.phase);
    let mut common = if one_phase { uses[0].path.nodes.clone() } else { Vec::new() };
    for u in uses {
        let shared = common.iter().zip(&u.path.nodes).take_while(|(a, b)| a == b).count();
        common.truncate(shared);
    }
    let bound: Vec<LevelId> = common.iter().filter_map(|(_, l)| *l).collect();
    let info = form.info[value.index()].clone();
    let axes = form.func.values[value].axes.clone();
    let own = uses.iter().all(|u| is_own(&u.access, &axes));
    let mut dims = Vec::new();
    for (position, axis) in axes.iter().enumerate() {
        let panel = info.panels.get(axis).copied();
        if let Some(base) = base(form, levels, *axis, &bound, info.lanes_of == Some(*axis), value)? {
            // One block is one panel; blocks that start anywhere would lie across panels.
            let anywhere = !bounds::is_host(form, form.func.axes[*axis].lo);
            let panel = panel.filter(|_| match base {
                Base::Block | Base::Around(..) => false,
                Base::Level(..) => in_step(levels, *axis, &bound),
                Base::Hull(..) => !anywhere && in_step(levels, *axis, &bound),
            });
            dims.push(Dim { axis: *axis, position, base, panel });
        }
    }
    if info.matrices {
        return matrices(form, levels, value, &dims);
    }
    // The lanes come last, so that they lie side by side.
    dims.sort_by_key(|d| levels.has_lanes(d.axis));
    let writers: Vec<&Use> = uses.iter().filter(|u| u.access.write).collect();
    let bound_once = writers.len() == 1
        && writers[0].path.nodes == common
        && writers[0].stmt.is_some_and(|s| matches!(form.stmts[s].action, Action::Set { index: None, .. }));
    if one_phase && own && dims.is_empty() && bound_once && !in_memory(info.place) {
        return Ok(Home::Let);
    }
    // Lanes around all accesses: each has an element of its own.
    for (position, axis) in axes.iter().enumerate() {
        let at_once = |b: LevelId| {
            matches!(levels.all[b].kind, LevelKind::Threads { .. } | LevelKind::Block { lanes: true, .. })
        };
        let shared = levels.blocks(*axis).any(|b| at_once(b) && bound.contains(&b));
        if shared && !dims.iter().any(|d| d.axis == *axis) {
            dims.push(Dim { axis: *axis, position, base: Base::Block, panel: None });
        }
    }
    if !one_phase {
        return Ok(Home::Buffer { space: HomeSpace::Global, dims });
    }
    let elements: i64 = dims.iter().map(|d| levels.unit_count(d.axis)).product();
    // Threads see only their own registers: all accesses must be made by the same ones.
    let same_threads = dims.iter().filter(|d| levels.threads(d.axis) > 1).all(|d| {
        let level = levels.blocks(d.axis).find(|l| levels.is_threads(*l));
        level.is_some_and(|l| uses[0].path.threads.contains(&l))
            && uses.iter().all(|u| u.path.threads == uses[0].path.threads)
    });
    let in_registers = own
        && dims.iter().all(|d| matches!(d.base, Base::Block) && d.panel.is_none())
        && dims.iter().filter(|d| levels.has_lanes(d.axis)).count() <= 1
        && elements <= REGISTERS
        && same_threads
        && !in_memory(info.place);
    let space = if in_registers { HomeSpace::Register } else { HomeSpace::Local };
    Ok(Home::Buffer { space, dims })
}

/// Matrices hold one tile: the loops around all that is done with them are those over tiles.
fn matrices(form: &Form, levels: &Levels, value: ValueId, dims: &[Dim]) -> Result<Home, Diagnostic> {
    let tile = |d: &Dim| match d.base {
        Base::Level(level, ..) => mma::tiles(levels, d.axis).last() == Some(&level),
        _ => false,
    };
    if dims.len() == 2 && dims.iter().all(tile) {
        return Ok(Home::Matrices);
    }
    let v = &form.func.values[value];
    let message = format!("`{}` cannot stay in matrices: a loop over its tiles is inside the sum", v.name);
    Err(Diagnostic::error(Code::Illegal, v.span, message)
        .help("order the loops so that the summed axis comes after rows and columns"))
}

/// Whether memory is asked for.
fn in_memory(place: Option<Place>) -> bool {
    matches!(place, Some(Place::Local | Place::Shared))
}

/// Whether blocks start at multiples of their length in the part of an axis that the loops around leave open: each tile
/// that is open holds whole blocks.
fn in_step(levels: &Levels, axis: AxisId, bound: &[LevelId]) -> bool {
    let count = levels.block_count(axis);
    let mut open = levels.steps(axis).skip_while(|l| bound.contains(l));
    open.all(|l| matches!(levels.all[l].kind, LevelKind::Step(step) if step % count == 0))
}

fn is_own(access: &Access, axes: &[AxisId]) -> bool {
    // Threads can be asked for what is in their registers.
    let at = |ix: &Ix, a: AxisId| *ix == Ix::Axis(a) || *ix == Ix::Exchange(a);
    access.index.len() == axes.len() && access.index.iter().zip(axes).all(|(ix, a)| at(ix, *a))
}

/// The base of the dimension that an axis needs, `None` where the loops around fix the axis.
fn base(
    form: &mut Form,
    levels: &Levels,
    axis: AxisId,
    bound: &[LevelId],
    lanes_of: bool,
    value: ValueId,
) -> Result<Option<Base>, Diagnostic> {
    if levels.points(axis).is_some_and(|l| bound.contains(&l)) {
        return Ok(None);
    }
    let block_open = levels.blocks(axis).any(|b| !bound.contains(&b));
    if lanes_of {
        return Ok(block_open.then_some(Base::Block));
    }
    if let Some(halo) = form.halos.get(&axis).copied()
        && let Some((level, step)) = window::innermost(levels, halo.of, |l| bound.contains(&l))
    {
        return Ok(Some(Base::Around(level, step, halo, bounds::hull(form, axis))));
    }
    let steps: Vec<LevelId> = levels.steps(axis).collect();
    let fixed = steps.iter().take_while(|l| bound.contains(l)).count();
    if fixed == steps.len() {
        return Ok(block_open.then_some(Base::Block));
    }
    if fixed > 0 {
        let level = steps[fixed - 1];
        let LevelKind::Step(step) = levels.all[level].kind else { return Ok(None) };
        return Ok(Some(Base::Level(level, step, bounds::hull(form, axis))));
    }
    match bounds::hull(form, axis) {
        Some((lo, hi)) => Ok(Some(Base::Hull(lo, hi))),
        None => {
            let (value, name) = (&form.func.values[value], &form.func.axes[axis].name);
            Err(Diagnostic::error(
                Code::Space,
                value.span,
                format!("`{}` must be kept for all of `{name}`, whose extent nothing bounds", value.name),
            )
            .cause(form.func.axes[axis].span, "the extent depends on data without a `range`"))
        }
    }
}

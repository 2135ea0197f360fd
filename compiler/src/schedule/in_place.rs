//! Sums in memory, made where they end up.
//!
//! ```text
//! acc = 0;  for k { acc += e };  C[i,j] = acc
//!   =>  for k { r = k is the first ? 0 : C[i,j];  r += e;  C[i,j] = r }
//! ```
//!
//! An accumulator that lives in memory between two parts of its sum starts in registers, with the first of them, and not by
//! a pass of its own over memory. Where all that happens to it in the end is that a tensor takes it as it is, it lives in the tensor.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::DType;

use super::access::{Accesses, Object, reads_of};
use super::emit::{MOST_HELD, machine_type};
use super::form::{Action, Form, StmtId};
use super::fuse::Tree;
use super::kernel::{ViewShape, ViewShapeDim};
use super::levels::{LevelKind, Levels};
use super::storage::{Home, HomeSpace};
use crate::hir::ir::{AssignOp, AxisId, BinaryOp, ExprId, ExprKind, Role, TensorId, ValueId};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct InPlace {
    /// Accumulators that live in a tensor, and the axis of each of its dimensions.
    pub(crate) homes: BTreeMap<ValueId, (TensorId, Vec<AxisId>)>,
    /// Accumulators that start with the first part of their sum.
    pub(crate) starts: BTreeMap<ValueId, Start>,
}

/// How an accumulator starts.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The statement that sets it.
    pub(crate) set: StmtId,
    /// The axes that are summed over.
    pub(crate) reduced: Vec<AxisId>,
}

/// The trees of a phase, and how many loops, the outermost, are shared out over the cores.
type Phase = (Vec<Tree>, usize);

/// The statements that an accumulator is used by.
struct Life {
    value: ValueId,
    set: StmtId,
    sum: StmtId,
    readers: Vec<StmtId>,
    /// The only one that reads it, if there is only one.
    store: Option<StmtId>,
}

/// Finds them, and takes what is no longer needed out of the trees of the phases.
pub(crate) fn find(
    form: &mut Form,
    levels: &Levels,
    accesses: &Accesses,
    (phases, homes): (&mut [Phase], &[Option<Home>]),
    views: &[Option<ViewShape>],
) -> InPlace {
    let mut out = InPlace::default();
    for value in form.func.values.handles() {
        let Some(Home::Buffer { space: HomeSpace::Local, .. }) = &homes[value.index()] else { continue };
        let Some(life) = life(form, accesses, value) else { continue };
        let Some((trees, cores)) =
            phases.iter_mut().find(|(trees, _)| Tree::stmts(trees).contains(&life.sum))
        else {
            continue;
        };
        let all = Tree::stmts(trees);
        let together = all.contains(&life.set) && life.readers.iter().all(|s| all.contains(s));
        let Some(reduced) = reduced(form, levels, &life, trees).filter(|_| together) else { continue };
        // The loops that are shared out have to stay the outermost.
        let body = inside(trees, *cores);
        let set = BTreeSet::from([life.set]);
        let empty = is_empty(form, &reduced);
        *body = std::mem::take(body).into_iter().flat_map(|t| only_if(t, &set, Some(empty))).collect();
        out.starts.insert(value, Start { set: life.set, reduced });
        let home =
            life.store.and_then(|store| Some((store, place(form, levels, accesses, &life, store, views)?)));
        if let Some((store, home)) = home {
            let store = BTreeSet::from([store]);
            let body = inside(trees, *cores);
            *body = std::mem::take(body).into_iter().flat_map(|t| only_if(t, &store, None)).collect();
            out.homes.insert(value, home);
        }
    }
    out
}

/// What runs inside so many loops, each of which is alone.
fn inside(trees: &mut Vec<Tree>, loops: usize) -> &mut Vec<Tree> {
    if loops == 0 {
        return trees;
    }
    match trees.first_mut() {
        Some(Tree::Loop { body, .. }) => inside(body, loops - 1),
        _ => unreachable!("phases count the loops that they begin with"),
    }
}

/// The statements of an accumulator that is set once, summed by one statement, and read by others after.
fn life(form: &Form, accesses: &Accesses, value: ValueId) -> Option<Life> {
    let (mut set, mut sum, mut readers) = (None, None, Vec::new());
    for s in form.stmts.handles() {
        if !accesses.of(s).iter().any(|a| a.object == Object::Value(value)) {
            continue;
        }
        let once = match &form.stmts[s].action {
            Action::Set { value: v, index: None, .. } if *v == value => set.replace(s).is_none(),
            Action::Accumulate { value: v, guard: None, .. } if *v == value => sum.replace(s).is_none(),
            action if action.written_value() == Some(value) => false,
            _ => {
                readers.push(s);
                true
            }
        };
        if !once {
            return None;
        }
    }
    let (set, sum) = (set?, sum?);
    let reads = |s: StmtId| reads_of(form, &form.stmts[s].action);
    // What it starts from is the same at any time.
    let steady = reads(set).iter().all(|a| match a.object {
        Object::Value(_) => false,
        Object::Tensor(t) => form.func.tensors[t].role == Role::In,
    });
    let apart = reads(sum).iter().all(|a| a.object != Object::Value(value));
    let alike = !form.stmts[sum].atomic && form.stmts[set].axes == form.func.values[value].axes;
    // A sum of each lane starts again at no step of the axis that the lanes are of.
    let plain = alike && form.info[value.index()].lanes_of.is_none();
    let store = if let [only] = readers[..] { Some(only) } else { None };
    (steady && apart && plain).then_some(Life { value, set, sum, readers, store })
}

/// The axes that are summed over, where the sum will be held in registers during its innermost loops, while at least one
/// loop over them is outside.
fn reduced(form: &Form, levels: &Levels, life: &Life, trees: &[Tree]) -> Option<Vec<AxisId>> {
    let own = &form.func.values[life.value].axes;
    let reduced: Vec<AxisId> =
        form.stmts[life.sum].axes.iter().copied().filter(|a| !own.contains(a)).collect();
    let size: i64 = own.iter().map(|a| levels.unit_count(*a)).product();
    let lanes = own.iter().filter(|a| levels.has_lanes(**a)).count();
    if size > MOST_HELD || lanes > 1 || reduced.iter().any(|a| !form.func.axes[*a].parents.is_empty()) {
        return None;
    }
    // Blocks may take in points beyond the bounds of an axis, whose elements the tensor does not have.
    let beyond = |a: &AxisId| form.func.axes[*a].parents.iter().any(|p| levels.is_blocked(*p));
    if own.iter().any(beyond) {
        return None;
    }
    let mut path = Vec::new();
    if !path_to(trees, life.sum, &mut path) {
        return None;
    }
    let mut steps = Vec::new();
    for tree in path {
        if let Tree::Loop { level, body, .. } = tree
            && matches!(levels.all[*level].kind, LevelKind::Step(_))
        {
            steps.push((levels.all[*level].axis, body));
        }
    }
    let last = steps.iter().rposition(|(axis, ..)| own.contains(axis))?;
    let held = steps[last + 1..].iter().find(|(axis, ..)| reduced.contains(axis))?;
    let alone = Tree::stmts(held.1).iter().all(|s| *s != life.set && !life.readers.contains(s));
    let outside = steps[..last].iter().any(|(axis, ..)| reduced.contains(axis));
    (alone && outside).then_some(reduced)
}

/// The loops around a statement, from the outside in; `false` where there are others than loops.
fn path_to<'t>(trees: &'t [Tree], stmt: StmtId, path: &mut Vec<&'t Tree>) -> bool {
    trees.iter().any(|tree| match tree {
        Tree::Leaf(s) => *s == stmt,
        Tree::Loop { body, .. } => {
            path.push(tree);
            let found = path_to(body, stmt, path);
            if !found {
                path.pop();
            }
            found
        }
        Tree::Seq { .. } | Tree::If { .. } => false,
    })
}

/// Whether one of some axes has no points.
fn is_empty(form: &mut Form, axes: &[AxisId]) -> ExprId {
    let mut any = None;
    for a in axes {
        let (lo, hi, span) = (form.func.axes[*a].lo, form.func.axes[*a].hi, form.func.axes[*a].span);
        let empty = form.expr(ExprKind::Binary(BinaryOp::Le, hi, lo), DType::Bool, span);
        any = Some(match any {
            None => empty,
            Some(any) => form.expr(ExprKind::Binary(BinaryOp::Or, any, empty), DType::Bool, span),
        });
    }
    any.unwrap_or_else(|| unreachable!("a sum has an axis"))
}

/// A tree whose given statements run only where a condition holds, or never; what else is in it stays.
fn only_if(tree: Tree, stmts: &BTreeSet<StmtId>, cond: Option<ExprId>) -> Option<Tree> {
    let below = Tree::stmts(std::slice::from_ref(&tree));
    if below.iter().all(|s| stmts.contains(s)) {
        return cond.map(|cond| Tree::If { nodes: (0, 0), cond, then: vec![tree], otherwise: Vec::new() });
    }
    if !below.iter().any(|s| stmts.contains(s)) {
        return Some(tree);
    }
    let within = |body: Vec<Tree>| body.into_iter().filter_map(|t| only_if(t, stmts, cond)).collect();
    Some(match tree {
        Tree::Leaf(_) => tree,
        Tree::Loop { node, level, lanes, body } => Tree::Loop { node, level, lanes, body: within(body) },
        Tree::Seq { node, axis, level, body } => Tree::Seq { node, axis, level, body: within(body) },
        Tree::If { nodes, cond, then, otherwise } => {
            Tree::If { nodes, cond, then: within(then), otherwise: within(otherwise) }
        }
    })
}

/// The tensor that takes an accumulator as it is, element by element, and nothing else; its lanes side by side.
fn place(
    form: &Form,
    levels: &Levels,
    accesses: &Accesses,
    life: &Life,
    store: StmtId,
    views: &[Option<ViewShape>],
) -> Option<(TensorId, Vec<AxisId>)> {
    let value = &form.func.values[life.value];
    let Action::Store { tensor, index, op: AssignOp::Set, expr, .. } = &form.stmts[store].action else {
        return None;
    };
    let t = &form.func.tensors[*tensor];
    let same = machine_type(t.dtype, t.span).ok()? == machine_type(value.dtype, t.span).ok()?;
    let read = reads_of(form, &form.stmts[store].action);
    let own = matches!(form.func.exprs[*expr].kind, ExprKind::Value(v) if v == life.value);
    let object = Object::Tensor(*tensor);
    let alone = form.stmts.handles().all(|s| s == store || accesses.of(s).iter().all(|a| a.object != object));
    let plain = t.role == Role::Out && t.packed.is_none() && !t.bag && !t.dtype.is_complex();
    if !(same && own && alone && plain && read.len() == 1) || form.stmts[store].atomic {
        return None;
    }
    let mut axes = Vec::new();
    for e in index {
        match form.func.exprs[*e].kind {
            ExprKind::Axis(a) if value.axes.contains(&a) && !axes.contains(&a) => axes.push(a),
            _ => return None,
        }
    }
    let last = match views.get(tensor.index()).and_then(Option::as_ref) {
        None => axes.last().copied(),
        Some(view) => view.dims.last().and_then(|d| match d {
            ViewShapeDim::Whole(d) | ViewShapeDim::Part(d) => axes.get(*d).copied(),
            ViewShapeDim::Fixed | ViewShapeDim::Panel(..) | ViewShapeDim::InPanel(..) => None,
        }),
    };
    let beside = value.axes.iter().all(|a| !levels.has_lanes(*a) || last == Some(*a));
    (beside && axes.len() == value.axes.len()).then_some((*tensor, axes))
}

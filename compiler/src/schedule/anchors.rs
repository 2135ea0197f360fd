//! What verbs can be applied to: the names of an algorithm with what a search needs to know of them. Whether a rewrite
//! applies to a name is found out by trying it.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::{HostExpr, Target};

use super::access::{Accesses, Object, agree_on_axis, bounded_by_data, combine_alike};
use super::form::{Action, Form, Item, StmtId};
use super::verbs::FUNCTIONS;
use super::{
    Allow, atomic, bounds, host, inline, join, mma, normal, slant, split, stage, table, time, window,
};
use crate::hir::ir::{AxisId, AxisKind, ExprKind, File, FuncId, StmtKind, TensorId, ValueKind};
use crate::hir::walk::for_each_stmt;

/// What a task may allow at most: anchors say what is possible, tasks what is permitted.
const ALL: Allow = Allow { contract: true, reassoc: true, online: true, atomics: true };

/// The names that verbs of a kernel or pipeline may use, each once, in order of appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    /// Whether the schedule is for a GPU: threads in place of lanes, groups in place of cores.
    pub gpu: bool,
    /// Whether it has matrix units.
    pub matrices: bool,
    /// Axes.
    pub axes: Vec<AxisAnchor>,
    /// `let`s and `var`s.
    pub values: Vec<ValueAnchor>,
    /// Tensors.
    pub tensors: Vec<TensorAnchor>,
    /// Values and tensors that are sums of products.
    pub products: Vec<String>,
    /// Functions whose values can be read from tables.
    pub functions: Vec<String>,
    /// Counters of repeats of which several steps can be taken at once.
    pub repeats: Vec<String>,
    /// Inputs of constant content that can be put in another order once, each with its dimensions.
    pub constants: Vec<(String, usize)>,
    /// Kernels that a pipeline calls one after the other, and that can be one.
    pub joinable: Vec<[String; 2]>,
}

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AxisRole {
    /// `for`: a tile at a time, unordered.
    For,
    /// `with`: seen whole.
    With,
    /// `fold`: a tile at a time, ordered.
    Fold,
    /// Bound by a reduction.
    Bind,
    /// A counter of `seq` or `repeat`.
    Counter,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisAnchor {
    /// Its name.
    pub name: String,
    /// How it runs.
    pub role: AxisRole,
    /// Whether something is reduced over it.
    pub reduced: bool,
    /// Whether something is scanned along it.
    pub scanned: bool,
    /// Whether a reduction over it can be split.
    pub splits: bool,
    /// Whether the parts of such a reduction can be merged by atomic operations.
    pub atomic_merge: bool,
    /// Whether passes of some statement's loop over it never meet.
    pub apart: bool,
    /// Whether they meet at most where updates can be atomic.
    pub apart_by_atomics: bool,
    /// Whether bounds of other axes depend on it in a way that keeps it from being blocked.
    pub bounds_others: bool,
    /// The axes that its own bounds depend on.
    pub parents: Vec<String>,
    /// Whether elements side by side in memory follow it in some access.
    pub contiguous: bool,
    /// Its extent over the sizes and scalars of the entry's kernel, where it is such.
    pub extent: Option<HostExpr>,
    /// Its extent, where it is a number.
    pub constant: Option<i64>,
}

/// A tile value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueAnchor {
    /// Its name.
    pub name: String,
    /// Whether it may be computed again at each use.
    pub again: bool,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorAnchor {
    /// Its name.
    pub name: String,
    /// Axes that index it plainly, by which it can be staged; empty if it is written or read otherwise only.
    pub staged_by: Vec<String>,
    /// Axes of the statements that read it so: it can be staged inside their loops.
    pub staged_in: Vec<String>,
    /// Axes that it is read near, by which windows of it can be staged, without panels; empty on a GPU.
    pub windows_by: Vec<String>,
    /// Axes of the statements that read it so.
    pub windows_in: Vec<String>,
    /// Whether it is read.
    pub read: bool,
    /// Whether a scatter writes it that can go to private copies.
    pub scattered: bool,
    /// Whether all scatters into it can be by atomic updates.
    pub atomic: bool,
    /// Whether a scan gives it that can run in parts.
    pub scanned: bool,
    /// Whether it is a list that `append` fills.
    pub appended: bool,
}

impl Anchors {
    /// For a target.
    #[must_use]
    pub fn on(self, target: &Target) -> Anchors {
        let gpu = target.gpu();
        let repeats = if gpu.is_some() { Vec::new() } else { self.repeats };
        let functions = if gpu.is_some() { Vec::new() } else { self.functions };
        let mut tensors = self.tensors;
        for t in tensors.iter_mut().filter(|_| gpu.is_some()) {
            t.windows_by.clear();
            t.windows_in.clear();
        }
        Anchors {
            gpu: gpu.is_some(),
            tensors,
            functions,
            matrices: gpu.is_some_and(|t| !t.matrices.is_empty()),
            repeats,
            ..self
        }
    }
}

/// The anchors of a kernel, or of all kernels of a pipeline together, for a CPU.
#[must_use]
pub fn anchors(file: &File, entry: FuncId) -> Anchors {
    let mut out = Anchors::default();
    let mut written = Vec::new();
    for kernel in file.kernels_of(entry) {
        if let Ok(form) = normal::normalise(&file.funcs[kernel], &file.tables) {
            collect(&form, &mut written, &mut out);
        }
    }
    // A tensor that one kernel of a pipeline writes is staged in none.
    for t in out.tensors.iter_mut().filter(|t| written.contains(&t.name)) {
        for list in [&mut t.staged_by, &mut t.staged_in, &mut t.windows_by, &mut t.windows_in] {
            list.clear();
        }
    }
    out.joinable = join::joinable(file, entry);
    let func = &file.funcs[entry];
    let constants = func.tensors.iter().map(|(_, t)| t).filter(|t| t.constant);
    out.constants = constants.map(|t| (t.name.clone(), t.shape.len())).collect();
    for_each_stmt(&func.body, &mut |stmt| {
        if let StmtKind::Repeat { axis, pingpong, body } = &stmt.kind {
            let repeat = time::Repeat { axis: *axis, pingpong, body, span: stmt.span };
            if time::is_legal(file, func, &repeat) {
                add(&mut out.repeats, vec![func.axes[*axis].name.clone()]);
            }
        }
    });
    out
}

fn collect(form: &Form, written: &mut Vec<String>, out: &mut Anchors) {
    let func = &form.func;
    let none = BTreeMap::new();
    let mut by_atomics = form.clone();
    let mut by_atomic = |t: &TensorId| atomic::scatter(&mut by_atomics, *t, ALL, None).is_ok();
    let updated: BTreeSet<TensorId> = func.tensors.handles().filter(|t| by_atomic(t)).collect();
    for (id, axis) in func.axes.iter() {
        let role = match axis.kind {
            AxisKind::For(_) => AxisRole::For,
            AxisKind::With => AxisRole::With,
            AxisKind::Fold(_) => AxisRole::Fold,
            AxisKind::Bind => AxisRole::Bind,
            AxisKind::Seq | AxisKind::Repeat => AxisRole::Counter,
        };
        let constant = bounds::extent(form, id);
        let extent = (bounds::is_host(form, axis.lo) && bounds::is_host(form, axis.hi))
            .then(|| {
                let (lo, hi) =
                    (host::of_hir(func, axis.lo, &none).ok()?, host::of_hir(func, axis.hi, &none).ok()?);
                Some(HostExpr::binary(rooftile_artifact::host_expr::HostBinary::Sub, hi, lo))
            })
            .flatten();
        let mut in_parts = form.clone();
        let parts = split::split(&mut in_parts, id, 2, ALL);
        let merged = parts.as_ref().map(|p| atomic::merges(&mut in_parts, p, ALL, None));
        let new = AxisAnchor {
            name: axis.name.clone(),
            role,
            reduced: false,
            scanned: false,
            splits: parts.is_ok(),
            atomic_merge: merged.is_ok_and(|m| m.is_ok()),
            apart: false,
            apart_by_atomics: false,
            bounds_others: func
                .axes
                .iter()
                .any(|(follower, a)| a.parents.contains(&id) && slant::of(form, follower).is_none()),
            parents: axis.parents.iter().map(|p| func.axes[*p].name.clone()).collect(),
            contiguous: false,
            extent,
            constant,
        };
        match out.axes.iter_mut().find(|a| a.name == new.name) {
            Some(old) => {
                old.splits |= new.splits;
                old.atomic_merge |= new.atomic_merge;
                old.bounds_others |= new.bounds_others;
                add(&mut old.parents, new.parents);
            }
            None => out.axes.push(new),
        }
    }
    for (_, v) in func.values.iter() {
        // Values that the normal form made have no name in the algorithm.
        if v.name.contains('.') || out.values.iter().any(|x| x.name == v.name) {
            continue;
        }
        let named = matches!(v.kind, ValueKind::Let);
        let again = named && inline::recompute(&mut form.clone(), &v.name).is_ok();
        out.values.push(ValueAnchor { name: v.name.clone(), again });
    }
    add(&mut out.products, mma::names(form));
    let functions = table::Calls::of(&mut form.clone(), None).functions();
    add(
        &mut out.functions,
        functions.into_iter().filter(|f| FUNCTIONS.contains(f)).map(str::to_owned).collect(),
    );
    for (id, t) in func.tensors.iter() {
        let scattered = split::privatize(&mut form.clone(), id, 2, ALL).is_ok();
        let atomic = updated.contains(&id);
        let scanned = split::scan(&mut form.clone(), &t.name, 2, ALL).is_ok();
        match out.tensors.iter_mut().find(|x| x.name == t.name) {
            Some(old) => {
                old.scattered |= scattered;
                old.atomic |= atomic;
                old.scanned |= scanned;
            }
            None => out.tensors.push(TensorAnchor {
                name: t.name.clone(),
                staged_by: Vec::new(),
                staged_in: Vec::new(),
                windows_by: Vec::new(),
                windows_in: Vec::new(),
                read: false,
                scattered,
                atomic,
                scanned,
                appended: false,
            }),
        }
    }
    for tensor in func.tensors.handles() {
        windows(form, tensor, out);
    }
    let accesses = Accesses::new(form);
    for access in form.stmts.handles().flat_map(|s| accesses.of(s)).filter(|a| a.write) {
        if let Object::Tensor(t) = access.object {
            add(written, vec![func.tensors[t].name.clone()]);
        }
    }
    for s in form.items.iter().flat_map(Item::stmts) {
        actions(form, s, out);
        apart(&by_atomics, &accesses, s, out);
        reads(form, s, out);
    }
}

/// What is reduced, scanned and appended.
fn actions(form: &Form, s: StmtId, out: &mut Anchors) {
    let func = &form.func;
    let stmt = &form.stmts[s];
    let name = |a: AxisId| func.axes[a].name.as_str();
    match &stmt.action {
        Action::Accumulate { value, .. } => {
            for a in stmt.axes.iter().filter(|a| !func.values[*value].axes.contains(a)) {
                mark(out, name(*a), |x| x.reduced = true);
            }
        }
        Action::Best { axis, .. } => mark(out, name(*axis), |x| x.reduced = true),
        Action::Scan { axis, .. } => mark(out, name(*axis), |x| x.scanned = true),
        Action::Append { list, .. } => tensor_mark(out, &func.tensors[*list].name, |t| t.appended = true),
        _ => {}
    }
}

/// The axes along which a statement's passes touch elements of their own, or meet in atomic updates at most.
fn apart(form: &Form, accesses: &Accesses, s: StmtId, out: &mut Anchors) {
    let own = accesses.of(s);
    for axis in &form.stmts[s].axes {
        let pairs = (0..own.len()).flat_map(|x| (x..own.len()).map(move |y| (&own[x], &own[y])));
        let meet: Vec<_> = pairs
            .filter(|(x, y)| x.object == y.object && (x.write || y.write))
            .filter(|(x, y)| !agree_on_axis(form, x, y, *axis))
            .collect();
        let by_atomics = form.stmts[s].atomic && meet.iter().all(|(x, y)| combine_alike(x, y));
        mark(out, &form.func.axes[*axis].name, |x| {
            x.apart |= meet.is_empty();
            x.apart_by_atomics |= by_atomics;
        });
    }
}

/// What windows of a tensor can be staged by.
fn windows(form: &Form, tensor: TensorId, out: &mut Anchors) {
    let mut with_axes = form.clone();
    let Some(window) = window::window(&mut with_axes, tensor) else { return };
    let name = |a: &AxisId| form.func.axes[*a].name.clone();
    let along = window.along();
    let ragged = along.iter().any(|a| bounded_by_data(form, *a));
    for s in form.items.iter().flat_map(Item::stmts).filter(|_| !ragged) {
        if stage::window_read(&with_axes, tensor, &window, s).is_some() {
            tensor_mark(out, &form.func.tensors[tensor].name, |t| {
                add(&mut t.windows_by, along.iter().map(name).collect());
                add(&mut t.windows_in, form.stmts[s].axes.iter().map(name).collect());
            });
        }
    }
}

/// The tensors that a statement reads, with what they can be staged by.
fn reads(form: &Form, s: StmtId, out: &mut Anchors) {
    let func = &form.func;
    let name = |a: &AxisId| func.axes[*a].name.clone();
    for e in form.below(form.stmts[s].action.exprs()) {
        let ExprKind::Load { tensor, index, .. } = &func.exprs[e].kind else { continue };
        if let Some(last) = index.last() {
            for a in &func.exprs[*last].axes {
                if bounds::offset(form, *last, *a).is_some() {
                    mark(out, &func.axes[*a].name, |x| x.contiguous = true);
                }
            }
        }
        tensor_mark(out, &func.tensors[*tensor].name, |t| t.read = true);
        let Some(axes) = stage::plain_axes(form, e) else { continue };
        if axes.iter().any(|a| bounded_by_data(form, *a)) {
            continue;
        }
        tensor_mark(out, &func.tensors[*tensor].name, |t| {
            add(&mut t.staged_by, axes.iter().map(name).collect());
            add(&mut t.staged_in, form.stmts[s].axes.iter().map(name).collect());
        });
    }
}

fn add(list: &mut Vec<String>, names: Vec<String>) {
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
}

fn mark(out: &mut Anchors, name: &str, f: impl Fn(&mut AxisAnchor)) {
    out.axes.iter_mut().filter(|a| a.name == name).for_each(f);
}

fn tensor_mark(out: &mut Anchors, name: &str, f: impl Fn(&mut TensorAnchor)) {
    out.tensors.iter_mut().filter(|t| t.name == name).for_each(f);
}

//! What verbs can be applied to: the names of an algorithm with what a search needs to know of them, and plausible
//! verbs drawn from them. A plausible verb may still be refused; [`super::lower`] decides.

use std::collections::BTreeMap;

use rooftile_artifact::HostExpr;

use super::form::{Action, Form};
use super::{bounds, host, normal};
use crate::hir::ir::{AxisKind, ExprKind, File, FuncId, StoreKind};
use crate::schedule::plan::{Amount, AppendVia, AxisRef, Merge, Place, Plan, ScanVia, ScatterVia, Verb};

/// The names that verbs of a kernel or pipeline may use, each once, in order of appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    /// Axes.
    pub axes: Vec<AxisAnchor>,
    /// `let`s and `var`s.
    pub values: Vec<ValueAnchor>,
    /// Tensors.
    pub tensors: Vec<TensorAnchor>,
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
    /// Whether bounds of other axes depend on it: it cannot be blocked.
    pub bounds_others: bool,
    /// Whether its own bounds depend on another axis.
    pub dependent: bool,
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
    /// Whether it is a `let`, which may be computed again.
    pub is_let: bool,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorAnchor {
    /// Its name.
    pub name: String,
    /// Axes that index it plainly, by which it can be staged; empty if it is written or read otherwise only.
    pub staged_by: Vec<String>,
    /// Whether a scatter writes it.
    pub scattered: bool,
    /// Whether a scan gives it.
    pub scanned: bool,
    /// Whether it is a list that `append` fills.
    pub appended: bool,
}

/// The anchors of a kernel, or of all kernels of a pipeline together.
#[must_use]
pub fn anchors(file: &File, entry: FuncId) -> Anchors {
    let mut out = Anchors::default();
    for kernel in file.kernels_of(entry) {
        if let Ok(form) = normal::normalise(&file.funcs[kernel], &file.tables) {
            collect(&form, &mut out);
        }
    }
    out
}

fn collect(form: &Form, out: &mut Anchors) {
    let func = &form.func;
    let none = BTreeMap::new();
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
        let new = AxisAnchor {
            name: axis.name.clone(),
            role,
            reduced: false,
            scanned: false,
            bounds_others: func.axes.iter().any(|(_, a)| a.parents.contains(&id)),
            dependent: !axis.parents.is_empty(),
            contiguous: false,
            extent,
            constant,
        };
        match out.axes.iter_mut().find(|a| a.name == new.name) {
            Some(old) => {
                old.bounds_others |= new.bounds_others;
                old.dependent |= new.dependent;
            }
            None => out.axes.push(new),
        }
    }
    for (_, v) in func.values.iter().take(form.info.len()) {
        // Values that the normal form made have no name in the algorithm.
        if v.name.contains('.') || out.values.iter().any(|x| x.name == v.name) {
            continue;
        }
        let named = matches!(v.kind, crate::hir::ir::ValueKind::Let);
        out.values.push(ValueAnchor { name: v.name.clone(), is_let: named });
    }
    for (_, t) in func.tensors.iter() {
        if !out.tensors.iter().any(|x| x.name == t.name) {
            out.tensors.push(TensorAnchor {
                name: t.name.clone(),
                staged_by: Vec::new(),
                scattered: false,
                scanned: false,
                appended: false,
            });
        }
    }
    statements(form, out);
}

fn statements(form: &Form, out: &mut Anchors) {
    let func = &form.func;
    let name = |a: crate::hir::ir::AxisId| func.axes[a].name.as_str();
    for (_, s) in form.stmts.iter() {
        match &s.action {
            Action::Accumulate { value, .. } => {
                for a in s.axes.iter().filter(|a| !func.values[*value].axes.contains(a)) {
                    mark(out, name(*a), |x| x.reduced = true);
                }
            }
            Action::Best { axis, .. } => mark(out, name(*axis), |x| x.reduced = true),
            Action::Scan { axis, value, .. } => {
                mark(out, name(*axis), |x| x.scanned = true);
                for (_, user) in form.stmts.iter() {
                    if let Action::Store { tensor, expr, .. } = &user.action
                        && matches!(func.exprs[*expr].kind, ExprKind::Value(v) if v == *value)
                    {
                        tensor_mark(out, &func.tensors[*tensor].name, |t| t.scanned = true);
                    }
                }
            }
            Action::Store { tensor, kind: StoreKind::Scatter, .. } => {
                tensor_mark(out, &func.tensors[*tensor].name, |t| t.scattered = true);
            }
            Action::Append { list, .. } => {
                tensor_mark(out, &func.tensors[*list].name, |t| t.appended = true);
            }
            _ => {}
        }
    }
    let written: Vec<_> = form
        .stmts
        .iter()
        .filter_map(|(_, s)| match &s.action {
            Action::Store { tensor, .. } => Some(*tensor),
            Action::Append { list, .. } => Some(*list),
            _ => None,
        })
        .collect();
    for (_, e) in func.exprs.iter() {
        let ExprKind::Load { tensor, index, leaves } = &e.kind else { continue };
        let plain: Vec<_> = index
            .iter()
            .filter_map(|i| match func.exprs[*i].kind {
                ExprKind::Axis(a) if form.is_dimension(a) => Some(a),
                _ => None,
            })
            .collect();
        if let Some(last) = index.last() {
            for a in &func.exprs[*last].axes {
                if bounds::offset(form, *last, *a).is_some() {
                    mark(out, name(*a), |x| x.contiguous = true);
                }
            }
        }
        if plain.len() == index.len() && !leaves.contains(&true) && !written.contains(tensor) {
            for a in plain {
                let axis = name(a).to_owned();
                tensor_mark(out, &func.tensors[*tensor].name, |t| {
                    if !t.staged_by.contains(&axis) {
                        t.staged_by.push(axis.clone());
                    }
                });
            }
        }
    }
}

fn mark(out: &mut Anchors, name: &str, f: impl Fn(&mut AxisAnchor)) {
    out.axes.iter_mut().filter(|a| a.name == name).for_each(f);
}

fn tensor_mark(out: &mut Anchors, name: &str, f: impl Fn(&mut TensorAnchor)) {
    out.tensors.iter_mut().filter(|t| t.name == name).for_each(f);
}

/// A source of choices: a number below its argument, which is not zero.
pub type Pick<'a> = dyn FnMut(usize) -> usize + 'a;

const LANES: &[i64] = &[4, 8, 16, 32];
const POINTS: &[i64] = &[2, 3, 4, 6, 8];
const TILES: &[i64] = &[8, 16, 32, 64, 128, 256, 512];
const PARTS: &[i64] = &[2, 4, 8, 16];

fn one_of<T: Clone>(items: &[T], pick: &mut Pick<'_>) -> Option<T> {
    (!items.is_empty()).then(|| items[pick(items.len())].clone())
}

fn amount(items: &[i64], pick: &mut Pick<'_>) -> Amount {
    Amount::Int(items[pick(items.len())])
}

/// A plausible verb; `None` if the kind drawn has no anchor here.
#[must_use]
pub fn random_verb(anchors: &Anchors, pick: &mut Pick<'_>) -> Option<Verb> {
    let axes = |f: &dyn Fn(&AxisAnchor) -> bool| -> Vec<&AxisAnchor> {
        anchors.axes.iter().filter(|a| a.role != AxisRole::Counter && f(a)).collect()
    };
    let blockable = |a: &AxisAnchor| !a.bounds_others;
    Some(match pick(14) {
        0 | 1 => {
            let a = one_of(&axes(&blockable), pick)?;
            Verb::Vector { axis: a.name.clone(), lanes: amount(LANES, pick) }
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
                sizes.push(amount(&[8, 16, 32], pick));
            }
            Verb::Tile { axis: a.name.clone(), sizes }
        }
        6 => {
            let some = axes(&|a| matches!(a.role, AxisRole::For | AxisRole::With));
            let first = one_of(&some, pick)?;
            let mut names = vec![first.name.clone()];
            let second = one_of(&some, pick)?;
            if pick(3) == 0 && second.name != first.name {
                names.push(second.name.clone());
            }
            Verb::Parallel { axes: names, balance: None }
        }
        7 => {
            let mut left = axes(&|_| true);
            let mut order = Vec::new();
            while !left.is_empty() {
                let a = left.remove(pick(left.len()));
                order.push(AxisRef { name: a.name.clone(), level: None });
            }
            Verb::Order(order)
        }
        8 => {
            let staged: Vec<&TensorAnchor> =
                anchors.tensors.iter().filter(|t| !t.staged_by.is_empty()).collect();
            let t = one_of(&staged, pick)?;
            let at = AxisRef { name: one_of(&t.staged_by, pick)?, level: None };
            let panel = (pick(2) == 0).then(|| amount(LANES, pick));
            Verb::Stage { tensor: t.name.clone(), at, place: Place::Local, panel }
        }
        9 => {
            let v = one_of(&anchors.values, pick)?;
            let place = if pick(2) == 0 { Place::Reg } else { Place::Local };
            Verb::Keep { value: v.name, place }
        }
        10 => {
            let lets: Vec<&ValueAnchor> = anchors.values.iter().filter(|v| v.is_let).collect();
            Verb::Recompute(one_of(&lets, pick)?.name.clone())
        }
        11 => {
            let a = one_of(&axes(&|a| a.role == AxisRole::With), pick)?;
            Verb::Roll { axis: a.name.clone(), tile: amount(TILES, pick), passes: None }
        }
        12 => {
            let a = one_of(&axes(&|a| a.reduced && !a.dependent), pick)?;
            Verb::Split { axis: a.name.clone(), parts: amount(PARTS, pick), merge: Merge::TwoPass }
        }
        _ => {
            let special: Vec<&TensorAnchor> =
                anchors.tensors.iter().filter(|t| t.scanned || t.scattered || t.appended).collect();
            let t = one_of(&special, pick)?;
            let target = t.name.clone();
            if t.scanned {
                let items = Some(amount(&[1, 2, 4, 8], pick));
                Verb::Scan { target, via: ScanVia::TwoPass, items }
            } else if t.scattered {
                let copies = Some(amount(&[1, 2, 4], pick));
                Verb::Scatter { target, via: ScatterVia::Privatize, copies, place: Some(Place::Local) }
            } else {
                Verb::Append { target, via: AppendVia::Sort }
            }
        }
    })
}

/// A plausible plan of up to six verbs, none of a kind and anchor twice.
#[must_use]
pub fn random_plan(anchors: &Anchors, pick: &mut Pick<'_>) -> Plan {
    let mut verbs: Vec<Verb> = Vec::new();
    let count = 1 + pick(6);
    for _ in 0..count {
        let Some(verb) = random_verb(anchors, pick) else { continue };
        if !verbs.iter().any(|v| clashes(v, &verb)) {
            verbs.push(verb);
        }
    }
    Plan { verbs }
}

/// Whether two verbs say the same thing of the same anchor, or never stand together.
#[must_use]
pub fn clashes(a: &Verb, b: &Verb) -> bool {
    match (a, b) {
        (
            Verb::Tile { axis: x, .. } | Verb::Roll { axis: x, .. },
            Verb::Tile { axis: y, .. } | Verb::Roll { axis: y, .. },
        )
        | (Verb::Vector { axis: x, .. }, Verb::Vector { axis: y, .. })
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
        (Verb::Order(_), Verb::Order(_))
        | (Verb::Parallel { .. }, Verb::Parallel { .. })
        | (Verb::Split { .. }, Verb::Stage { .. })
        | (Verb::Stage { .. }, Verb::Split { .. }) => true,
        _ => false,
    }
}

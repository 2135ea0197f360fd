//! What statements read and write, and whether two accesses stay apart along an axis.

use std::collections::BTreeSet;

use super::bounds;
use super::form::{Action, Form, MatrixStep, StmtId, operands, reduction};
use super::levels::{LevelId, Levels};
use crate::hir::ir::{AxisId, ExprId, ExprKind, ReduceOp, TensorId, ValueId};

/// A thing that is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    /// A tensor.
    Tensor(TensorId),
    /// A value.
    Value(ValueId),
}

/// An index of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ix {
    /// The axis itself.
    Axis(AxisId),
    /// The axis at the point of another thread.
    Exchange(AxisId),
    /// An expression.
    Expr(ExprId),
    /// Anything.
    Any,
}

/// An access of a statement.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// What is accessed.
    pub(crate) object: Object,
    /// Whether it is written.
    pub(crate) write: bool,
    /// Where.
    pub(crate) index: Vec<Ix>,
    /// The write combines by this operator, so that its order among others of its kind does not matter.
    pub(crate) combines: Option<ReduceOp>,
}

/// The accesses of every statement.
#[derive(Debug)]
pub(crate) struct Accesses {
    by_stmt: Vec<Vec<Access>>,
}

impl Accesses {
    /// Collects the accesses of all statements.
    pub(crate) fn new(form: &Form) -> Accesses {
        Accesses { by_stmt: form.stmts.handles().map(|s| of_stmt(form, s)).collect() }
    }

    /// The accesses of a statement.
    pub(crate) fn of(&self, stmt: StmtId) -> &[Access] {
        &self.by_stmt[stmt.index()]
    }

    /// Whether two statements touch one object, one of them writing.
    pub(crate) fn conflict(&self, a: StmtId, b: StmtId) -> bool {
        self.pairs(a, b).next().is_some()
    }

    fn pairs(&self, a: StmtId, b: StmtId) -> impl Iterator<Item = (&Access, &Access)> {
        self.of(a)
            .iter()
            .flat_map(move |x| self.of(b).iter().map(move |y| (x, y)))
            .filter(|(x, y)| x.object == y.object && (x.write || y.write))
    }

    /// Whether all conflicts of two statements stay within one pass of a loop.
    pub(crate) fn apart(&self, form: &Form, levels: &Levels, a: StmtId, b: StmtId, level: LevelId) -> bool {
        self.pairs(a, b).all(|(x, y)| agree(form, levels, x, y, level) || (combine_alike(x, y) && a != b))
    }

    /// As [`Accesses::apart`], for passes that run at the same time; `own` holds the objects that each pass has to
    /// itself.
    pub(crate) fn independent(
        &self,
        form: &Form,
        levels: &Levels,
        stmts: &[StmtId],
        level: LevelId,
        own: &BTreeSet<Object>,
    ) -> bool {
        self.dependence(form, levels, stmts, level, own).is_none()
    }

    /// Whether a loop may go outside a `seq` of these statements: their conflicts agree along it also between
    /// different steps of the counter, on which other indices may depend.
    pub(crate) fn interchange(
        &self,
        form: &Form,
        levels: &Levels,
        stmts: &[StmtId],
        level: LevelId,
        own: &BTreeSet<Object>,
    ) -> bool {
        let axis = levels.all[level].axis;
        let strict = |x: &Access, y: &Access| {
            let private =
                matches!(x.object, Object::Value(v) if form.info[v.index()].private.contains(&axis));
            let plain = |a: &Access, n: usize| a.index.get(n) == Some(&Ix::Axis(axis));
            private || (0..x.index.len()).any(|n| plain(x, n) && plain(y, n))
        };
        stmts.iter().enumerate().all(|(n, a)| {
            stmts[n..].iter().all(|b| {
                let atomic = both_atomic(form, *a, *b);
                self.pairs(*a, *b)
                    .all(|(x, y)| own.contains(&x.object) || strict(x, y) || (atomic && combine_alike(x, y)))
            })
        })
    }

    /// A pair of statements that passes of a loop may not run at the same time.
    pub(crate) fn dependence(
        &self,
        form: &Form,
        levels: &Levels,
        stmts: &[StmtId],
        level: LevelId,
        own: &BTreeSet<Object>,
    ) -> Option<(StmtId, StmtId, Object)> {
        for (n, a) in stmts.iter().enumerate() {
            for b in &stmts[n..] {
                let atomic = both_atomic(form, *a, *b);
                for (x, y) in self.pairs(*a, *b) {
                    let apart = agree(form, levels, x, y, level) || (atomic && combine_alike(x, y));
                    if !apart && !own.contains(&x.object) {
                        return Some((*a, *b, x.object));
                    }
                }
            }
        }
        None
    }
}

/// Whether two writes combine by one operator, so that their order does not matter.
pub(crate) fn combine_alike(x: &Access, y: &Access) -> bool {
    x.combines.is_some() && x.combines == y.combines
}

/// Whether what two statements combine with memory they combine in indivisible steps.
fn both_atomic(form: &Form, a: StmtId, b: StmtId) -> bool {
    form.stmts[a].atomic && form.stmts[b].atomic
}

/// Whether accesses of one object at different passes of a level touch different elements.
pub(crate) fn agree(form: &Form, levels: &Levels, x: &Access, y: &Access, level: LevelId) -> bool {
    let axis = levels.all[level].axis;
    let exchange = x.index.iter().chain(&y.index).any(|ix| matches!(ix, Ix::Exchange(_)));
    if let Object::Value(v) = x.object {
        let info = &form.info[v.index()];
        if info.lanes_of == Some(axis) {
            return levels.all[level].kind.is_block() && !exchange;
        }
    }
    if exchange {
        // The other thread runs at the same time: its point belongs to the same pass. But loops over threads nest without
        // anything in between, so that none of them goes around both accesses.
        return !levels.is_threads(level) && agree_on_axis(form, &in_pass(x), &in_pass(y), axis);
    }
    agree_on_axis(form, x, y, axis)
}

/// An access as passes of a loop outside the threads see it.
fn in_pass(access: &Access) -> Access {
    let index = access.index.iter().map(|ix| if let Ix::Exchange(a) = ix { Ix::Axis(*a) } else { *ix });
    Access { index: index.collect(), ..access.clone() }
}

/// As [`agree`], for all levels of an axis.
pub(crate) fn agree_on_axis(form: &Form, x: &Access, y: &Access, axis: AxisId) -> bool {
    if let Object::Value(v) = x.object {
        if form.info[v.index()].private.contains(&axis) {
            return true;
        }
        if let Some(maps) = form.maps.get(&v)
            && is_map(form, &x.index, maps, axis)
            && is_map(form, &y.index, maps, axis)
        {
            return true;
        }
    }
    x.index.iter().zip(&y.index).any(|(p, q)| match (*p, *q) {
        (Ix::Axis(a), Ix::Axis(b)) => a == b && (a == axis || form.partitions.get(&a) == Some(&axis)),
        (Ix::Expr(a), Ix::Expr(b)) => bounds::same(form, a, b) && bounds::is_affine_in(form, a, axis),
        _ => false,
    })
}

/// Whether an index is one of the maps of a carry's `next`, which together are a bijection, and moves with the axis.
fn is_map(form: &Form, index: &[Ix], maps: &[Vec<ExprId>], axis: AxisId) -> bool {
    maps.iter().any(|map| {
        map.len() == index.len()
            && map.iter().any(|e| form.func.exprs[*e].axes.contains(&axis))
            && map.iter().zip(index).all(|(e, ix)| match *ix {
                Ix::Axis(a) => matches!(form.func.exprs[*e].kind, ExprKind::Axis(b) if a == b),
                Ix::Expr(x) => bounds::same(form, *e, x),
                Ix::Exchange(_) | Ix::Any => false,
            })
    })
}

/// The accesses of a statement.
pub(crate) fn of_stmt(form: &Form, id: StmtId) -> Vec<Access> {
    let stmt = &form.stmts[id];
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    stmt.action.exprs().iter().for_each(|e| reads(form, *e, &mut seen, &mut out));
    for axis in &stmt.axes {
        reads(form, form.func.axes[*axis].lo, &mut seen, &mut out);
        reads(form, form.func.axes[*axis].hi, &mut seen, &mut out);
    }
    match &stmt.action {
        Action::Set { value, index: None, .. } => out.push(own(form, *value, None)),
        Action::Set { value, index: Some(index), .. } => {
            let index = index.iter().map(|e| ix(form, *e)).collect();
            out.push(Access { object: Object::Value(*value), write: true, index, combines: None });
        }
        Action::Accumulate { value, op, .. } => {
            let op = if *op == ReduceOp::Dot { ReduceOp::Sum } else { *op };
            out.push(own(form, *value, Some(op)));
        }
        Action::Element { value, run, .. } => out.extend([read_own(form, *run), own(form, *value, None)]),
        Action::Exchange { value, from, axis, upto, .. } => {
            out.extend([read_own(form, *from), read_other(form, *from, *axis), own(form, *value, None)]);
            out.extend(upto.iter().flat_map(|(to, of)| [read_own(form, *of), own(form, *to, None)]));
        }
        Action::Carry { value, carry, before, upto, total, axis, groups, .. } => {
            out.extend([read_own(form, *upto), read_own(form, *total)]);
            out.extend((*groups > 1).then(|| read_other(form, *total, *axis)));
            out.extend([*carry, *before, *value].map(|v| own(form, v, None)));
        }
        Action::Matrix { step, .. } => match *step {
            MatrixStep::Start { matrices: value, .. } | MatrixStep::Copy { tile: value, .. } => {
                out.push(own(form, value, None));
            }
            MatrixStep::Multiply { matrices, a, b } => {
                out.extend([read_own(form, a), read_own(form, b), own(form, matrices, Some(ReduceOp::Sum))]);
            }
            MatrixStep::Finish { tile, matrices } => {
                out.extend([read_own(form, matrices), own(form, tile, None)]);
            }
        },
        Action::Best { best, at, .. } => out.extend([own(form, *best, None), own(form, *at, None)]),
        Action::Scan { value, run, .. } => out.extend([own(form, *value, None), own(form, *run, None)]),
        Action::Store { tensor, index, op, .. } => {
            let index = index.iter().map(|e| ix(form, *e)).collect();
            let combines = reduction(*op);
            out.push(Access { object: Object::Tensor(*tensor), write: true, index, combines });
        }
        Action::Scatter { value, index, .. } => {
            let index = index.iter().map(|e| ix(form, *e)).collect();
            out.push(Access { object: Object::Value(*value), write: true, index, combines: None });
        }
        Action::Append { list, count, key, .. } => {
            let key: Vec<Ix> = key.iter().map(|e| ix(form, *e)).collect();
            let mut row = key.clone();
            row.push(Ix::Any);
            out.push(Access { object: Object::Tensor(*count), write: true, index: key, combines: None });
            out.push(Access { object: Object::Tensor(*list), write: true, index: row, combines: None });
        }
    }
    out
}

fn own(form: &Form, value: ValueId, combines: Option<ReduceOp>) -> Access {
    let index = form.func.values[value].axes.iter().map(|a| Ix::Axis(*a)).collect();
    Access { object: Object::Value(value), write: true, index, combines }
}

fn read_own(form: &Form, value: ValueId) -> Access {
    Access { write: false, ..own(form, value, None) }
}

/// A read of what another thread along an axis has.
fn read_other(form: &Form, value: ValueId, axis: AxisId) -> Access {
    let mine = read_own(form, value);
    let other = |ix: &Ix| if *ix == Ix::Axis(axis) { Ix::Exchange(axis) } else { *ix };
    Access { index: mine.index.iter().map(other).collect(), ..mine }
}

fn ix(form: &Form, e: ExprId) -> Ix {
    match form.func.exprs[e].kind {
        ExprKind::Axis(a) if form.is_dimension(a) => Ix::Axis(a),
        _ => Ix::Expr(e),
    }
}

/// Whether the bounds of an axis are data, as those of CSR rows.
pub(crate) fn bounded_by_data(form: &Form, axis: AxisId) -> bool {
    let a = &form.func.axes[axis];
    is_data(form, a.lo) || is_data(form, a.hi)
}

/// Whether an expression reads something.
pub(crate) fn is_data(form: &Form, e: ExprId) -> bool {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    reads(form, e, &mut seen, &mut found);
    !found.is_empty()
}

/// The reads below the expressions of an action.
pub(crate) fn reads_of(form: &Form, action: &Action) -> Vec<Access> {
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    action.exprs().iter().for_each(|e| reads(form, *e, &mut seen, &mut out));
    out
}

/// The reads below an expression.
pub(crate) fn reads(form: &Form, e: ExprId, seen: &mut BTreeSet<ExprId>, out: &mut Vec<Access>) {
    if !seen.insert(e) {
        return;
    }
    let kind = &form.func.exprs[e].kind;
    match kind {
        ExprKind::Value(v) => out.push(read_own(form, *v)),
        ExprKind::ValueAt(v, index) => out.push(Access {
            object: Object::Value(*v),
            write: false,
            index: index.iter().map(|e| ix(form, *e)).collect(),
            combines: None,
        }),
        ExprKind::Load { tensor, index, leaves } => out.push(Access {
            object: Object::Tensor(*tensor),
            write: false,
            index: index.iter().zip(leaves).map(|(e, l)| if *l { Ix::Any } else { ix(form, *e) }).collect(),
            combines: None,
        }),
        ExprKind::Axis(a) if !form.is_dimension(*a) => {}
        ExprKind::Axis(a) => {
            reads(form, form.func.axes[*a].lo, seen, out);
            reads(form, form.func.axes[*a].hi, seen, out);
        }
        _ => {}
    }
    for x in operands(kind) {
        reads(form, x, seen, out);
    }
}

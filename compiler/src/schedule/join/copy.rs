//! Writing two kernels into one.

use std::collections::BTreeMap;

use super::pairs::{Call, Calls, Pairs};
use crate::arena::Arena;
use crate::hir::ir::{
    Axis, AxisId, AxisKind, CallArg, Expr, ExprId, ExprKind, Func, FuncKind, NextItem, ParamRef, Role,
    ScalarId, ScalarParam, Size, SizeId, Stmt, StmtKind, Tensor, TensorId, Value, ValueId, ValueKind,
};
use crate::schedule::form::map_operands;

/// The joined kernel.
#[derive(Debug)]
pub(super) struct Joined {
    /// The kernel.
    pub(super) func: Func,
    /// What its parameters are given.
    pub(super) args: Vec<CallArg>,
    /// What its sizes are given.
    pub(super) sizes: Vec<ExprId>,
    /// The axes that both had.
    pub(super) axes: Vec<AxisId>,
    /// The tensors that both touch and one writes.
    pub(super) shared: Vec<TensorId>,
}

/// What a tensor of a kernel is in the joined one.
#[derive(Clone, Copy, Debug)]
enum Place {
    Tensor(TensorId),
    Value(ValueId),
}

/// What the names of a kernel are in the joined one.
#[derive(Debug, Default)]
struct Names {
    sizes: BTreeMap<SizeId, SizeId>,
    scalars: BTreeMap<ScalarId, ScalarId>,
    tensors: BTreeMap<TensorId, Place>,
    axes: BTreeMap<AxisId, AxisId>,
    values: BTreeMap<ValueId, ValueId>,
    exprs: Vec<ExprId>,
}

impl Joined {
    /// The kernel that does what two calls do.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn new(calls: &Calls<'_>, pairs: &Pairs, name: &str) -> Result<Joined, String> {
        let Calls { first, second, .. } = calls;
        let func = Func {
            name: name.to_owned(),
            kind: FuncKind::Kernel,
            span: first.func.span,
            sizes: Arena::default(),
            scalars: Arena::default(),
            tensors: Arena::default(),
            params: Vec::new(),
            axes: Arena::default(),
            values: Arena::default(),
            exprs: Arena::default(),
            wheres: Vec::new(),
            body: Vec::new(),
        };
        let (args, sizes, axes, shared) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut joined = Joined { func, args, sizes, axes, shared };
        let mine = joined.names(first, Names::default(), &pairs.values);
        let mut known = Names::default();
        known.sizes.extend(pairs.sizes.iter().map(|(b, a)| (*b, mine.sizes[a])));
        known.scalars.extend(pairs.scalars.iter().map(|(b, a)| (*b, mine.scalars[a])));
        known.tensors.extend(pairs.tensors.iter().map(|(b, a)| (*b, mine.tensors[a])));
        known.axes.extend(pairs.axes.iter().map(|(b, a)| (*b, mine.axes[a])));
        joined.axes = known.axes.values().copied().collect();
        let theirs = joined.names(second, known, &BTreeMap::new());
        joined.merge(calls, pairs, &mine);
        let mut body = Vec::new();
        let (mut tiled, mut whole) = (Vec::new(), Vec::new());
        for (call, names) in [(first, &mine), (second, &theirs)] {
            let (axes, stmts) = call.whole()?;
            let axes: Vec<AxisId> = axes.iter().map(|a| names.axes[a]).collect();
            let stmts = joined.block(call.func, names, stmts);
            let (rest_tiled, rest_whole) = joined.split(axes.iter().filter(|a| !joined.axes.contains(a)));
            if rest_tiled.is_empty() && rest_whole.is_empty() {
                body.extend(stmts);
            } else {
                let kind = StmtKind::For { axes: rest_tiled, with: rest_whole, body: stmts };
                body.push(Stmt { kind, span: call.func.body[0].span });
            }
            if tiled.is_empty() && whole.is_empty() {
                (tiled, whole) = joined.split(axes.iter().filter(|a| joined.axes.contains(a)));
            }
        }
        let kind = StmtKind::For { axes: tiled, with: whole, body };
        joined.func.body = vec![Stmt { kind, span: first.func.body[0].span }];
        Ok(joined)
    }

    /// Axes seen a tile at a time, and those seen whole.
    fn split<'a>(&self, axes: impl Iterator<Item = &'a AxisId>) -> (Vec<AxisId>, Vec<AxisId>) {
        axes.copied().partition(|a| matches!(self.func.axes[*a].kind, AxisKind::For(_)))
    }

    /// Adds what a kernel names, but for what is `known`. Tensors that become values have the axes given for them.
    fn names(&mut self, call: &Call<'_>, known: Names, values: &BTreeMap<TensorId, Vec<AxisId>>) -> Names {
        let from = call.func;
        let mut names = known;
        for (id, size) in from.sizes.iter() {
            names.sizes.entry(id).or_insert_with(|| {
                let name = fresh(&size.name, self.func.sizes.iter().map(|(_, s)| s.name.as_str()));
                self.sizes.push(call.sizes[id.index()]);
                self.func.sizes.push(Size { name, ..size.clone() })
            });
        }
        for (id, axis) in from.axes.iter() {
            names.axes.entry(id).or_insert_with(|| {
                let shared = self.axes.iter().map(|a| self.func.axes[*a].name.as_str());
                let name = fresh(&axis.name, shared);
                // Bounds follow with the expressions.
                self.func.axes.push(Axis { name, parents: Vec::new(), ..axis.clone() })
            });
        }
        for (id, value) in from.values.iter() {
            let axes = value.axes.iter().map(|a| names.axes[a]).collect();
            names.values.insert(id, self.func.values.push(Value { axes, ..value.clone() }));
        }
        for (param, arg) in from.params.iter().zip(call.args) {
            let new = match param {
                ParamRef::Scalar(s) if names.scalars.contains_key(s) => continue,
                ParamRef::Scalar(s) => {
                    let scalar = &from.scalars[*s];
                    let name = fresh(&scalar.name, self.func.scalars.iter().map(|(_, s)| s.name.as_str()));
                    let new = self.func.scalars.push(ScalarParam { name, ..scalar.clone() });
                    names.scalars.insert(*s, new);
                    ParamRef::Scalar(new)
                }
                ParamRef::Tensor(t) if names.tensors.contains_key(t) => continue,
                ParamRef::Tensor(t) => {
                    let Tensor { name, dtype, span, .. } = &from.tensors[*t];
                    if let Some(axes) = values.get(t) {
                        let axes = axes.iter().map(|a| names.axes[a]).collect();
                        let (name, dtype, span) = (name.clone(), *dtype, *span);
                        let value = Value { name, dtype, axes, kind: ValueKind::Let, span };
                        names.tensors.insert(*t, Place::Value(self.func.values.push(value)));
                        continue;
                    }
                    let name = fresh(name, self.func.tensors.iter().map(|(_, t)| t.name.as_str()));
                    let tensor = Tensor { name, shape: Vec::new(), range: None, ..from.tensors[*t].clone() };
                    let new = self.func.tensors.push(tensor);
                    names.tensors.insert(*t, Place::Tensor(new));
                    ParamRef::Tensor(new)
                }
            };
            self.func.params.push(new);
            self.args.push(arg.clone());
        }
        self.exprs(from, &mut names);
        names
    }

    /// Copies all expressions, then what is made of them.
    fn exprs(&mut self, from: &Func, names: &mut Names) {
        for (_, expr) in from.exprs.iter() {
            let mut kind = expr.kind.clone();
            map_operands(&mut kind, |e| names.exprs[e.index()]);
            let axis = |a: &mut AxisId| *a = names.axes[a];
            match &mut kind {
                ExprKind::Size(s) => *s = names.sizes[s],
                ExprKind::Scalar(s) => *s = names.scalars[s],
                ExprKind::Axis(a) | ExprKind::Scan { axis: a, .. } => axis(a),
                ExprKind::Value(v) | ExprKind::ValueAt(v, _) => *v = names.values[v],
                ExprKind::Reduce { axes, .. } => axes.iter_mut().for_each(axis),
                ExprKind::Load { tensor, .. } => match names.tensors[tensor] {
                    Place::Tensor(t) => *tensor = t,
                    Place::Value(v) => kind = ExprKind::Value(v),
                },
                _ => {}
            }
            let mut axes: Vec<AxisId> = expr.axes.iter().map(|a| names.axes[a]).collect();
            axes.sort_unstable();
            axes.dedup();
            names.exprs.push(self.func.exprs.push(Expr { kind, axes, ..expr.clone() }));
        }
        for (id, axis) in from.axes.iter() {
            let new = names.axes[&id];
            if self.axes.contains(&new) {
                continue;
            }
            let [lo, hi] = [axis.lo, axis.hi].map(|e| names.exprs[e.index()]);
            let parents = axis.parents.iter().map(|p| names.axes[p]).collect();
            let target = &mut self.func.axes[new];
            (target.lo, target.hi, target.parents) = (lo, hi, parents);
        }
        for (id, tensor) in from.tensors.iter() {
            let Place::Tensor(new) = names.tensors[&id] else { continue };
            let target = &mut self.func.tensors[new];
            if target.shape.is_empty() {
                target.shape = tensor.shape.iter().map(|e| names.exprs[e.index()]).collect();
            }
            target.range = target
                .range
                .or(tensor.range.map(|(lo, hi)| (names.exprs[lo.index()], names.exprs[hi.index()])));
        }
        self.func.wheres.extend(from.wheres.iter().map(|e| names.exprs[e.index()]));
    }

    /// What tensors and axes are of which both kernels say something.
    fn merge(&mut self, calls: &Calls<'_>, pairs: &Pairs, mine: &Names) {
        let (f, g) = (calls.first.func, calls.second.func);
        for (b, a) in &pairs.tensors {
            let Place::Tensor(new) = mine.tensors[a] else { continue };
            let (x, y, target) = (&f.tensors[*a], &g.tensors[*b], &mut self.func.tensors[new]);
            target.role = if x.role == Role::In && y.role == Role::In { Role::In } else { Role::InOut };
            target.monotone |= y.monotone;
            target.injective |= y.injective;
            target.constant &= y.constant;
            if pairs.written.contains(b) {
                self.shared.push(new);
            }
        }
        for (b, a) in &pairs.axes {
            // What one of them sees whole is seen whole.
            if matches!(g.axes[*b].kind, AxisKind::With) {
                self.func.axes[mine.axes[a]].kind = AxisKind::With;
            }
        }
    }

    fn block(&self, from: &Func, names: &Names, body: &[Stmt]) -> Vec<Stmt> {
        body.iter().map(|s| Stmt { kind: self.stmt(from, names, &s.kind), span: s.span }).collect()
    }

    fn stmt(&self, from: &Func, names: &Names, kind: &StmtKind) -> StmtKind {
        let e = |e: &ExprId| names.exprs[e.index()];
        let all = |list: &[ExprId]| list.iter().map(e).collect::<Vec<_>>();
        let axes = |list: &[AxisId]| list.iter().map(|a| names.axes[a]).collect::<Vec<_>>();
        let carries =
            |list: &[(ValueId, ExprId)]| list.iter().map(|(v, x)| (names.values[v], e(x))).collect();
        let tensor = |t: &TensorId| match names.tensors[t] {
            Place::Tensor(t) => t,
            // Only plain stores go to values.
            Place::Value(_) => *t,
        };
        match kind {
            StmtKind::Define { value, init } => {
                StmtKind::Define { value: names.values[value], init: e(init) }
            }
            StmtKind::Update { value, op, expr } => {
                StmtKind::Update { value: names.values[value], op: *op, expr: e(expr) }
            }
            StmtKind::Store { tensor: t, expr, .. } if let Place::Value(value) = names.tensors[t] => {
                StmtKind::Define { value, init: e(expr) }
            }
            StmtKind::Store { tensor: t, index, op, expr, kind } => {
                StmtKind::Store { tensor: tensor(t), index: all(index), op: *op, expr: e(expr), kind: *kind }
            }
            StmtKind::Append { list, count, key, value, pred } => StmtKind::Append {
                list: tensor(list),
                count: tensor(count),
                key: all(key),
                value: e(value),
                pred: pred.as_ref().map(e),
            },
            StmtKind::For { axes: tiled, with, body } => {
                StmtKind::For { axes: axes(tiled), with: axes(with), body: self.block(from, names, body) }
            }
            StmtKind::Seq { axis, carry, body } => StmtKind::Seq {
                axis: names.axes[axis],
                carry: carries(carry),
                body: self.block(from, names, body),
            },
            StmtKind::Fold { axis, carry, body } => StmtKind::Fold {
                axis: names.axes[axis],
                carry: carries(carry),
                body: self.block(from, names, body),
            },
            StmtKind::Next(items) => StmtKind::Next(
                items
                    .iter()
                    .map(|i| NextItem {
                        value: names.values[&i.value],
                        index: i.index.as_deref().map(all),
                        expr: e(&i.expr),
                    })
                    .collect(),
            ),
            StmtKind::If { cond, then, otherwise } => StmtKind::If {
                cond: e(cond),
                then: self.block(from, names, then),
                otherwise: self.block(from, names, otherwise),
            },
            // Kernels have no others.
            other => other.clone(),
        }
    }
}

/// The name, or one like it that is not taken.
fn fresh<'a>(name: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let taken: Vec<&str> = taken.collect();
    let mut name = name.to_owned();
    while taken.contains(&name.as_str()) {
        name.push('\'');
    }
    name
}

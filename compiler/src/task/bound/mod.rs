//! How far rounding can carry a result: a bound derived from the operations, the types, the lengths of reductions and the
//! magnitudes of the data.
//!
//! Every value is followed as an interval that holds it and a bound on its absolute error: what rounding, in any
//! association of the sums, can make of it against exact arithmetic on the same inputs. An operation rounds by the unit roundoff
//! of its declared type times the largest magnitude of its result; functions by eight such roundings; a sum of `n` terms by `n`
//! of them. Where an error can flip a comparison, the spread of the arms is the error. So the bound is a worst case, usually
//! far above the errors seen; no right result exceeds it. Where nothing finite can be said (division by what may be zero,
//! recurrences that amplify without limit) there is no bound.

mod known;

use std::collections::BTreeMap;

use rooftile_artifact::Scalar;

use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, BinaryOp, CallArg, Edge, ExprId, ExprKind, File, Func, FuncId, FuncKind,
    ParamRef, Role, Stmt, StmtKind, TensorId, UnaryOp, ValueId,
};

use self::known::{Known, binary, function, of_data, of_scalar, reduce, update};
use super::inputs::InputSet;

/// Expressions evaluated before the derivation gives up.
const WORK: usize = 2_000_000;

/// Rewrites that a task may allow (another order, online rescaling) round a few times more.
const SAFETY: f64 = 4.0;

/// A bound on the absolute error of each tensor parameter after a run, in signature order; `None` for parameters that are
/// only read, and where no bound can be derived.
#[must_use]
pub fn derive(file: &File, entry: FuncId, inputs: &InputSet) -> Vec<Option<f64>> {
    let func = &file.funcs[entry];
    let mut tensors = BTreeMap::new();
    let mut given = inputs.inputs.tensors.iter();
    for param in &func.params {
        if let ParamRef::Tensor(id) = param
            && let Some(Some(data)) = given.next()
        {
            tensors.insert(*id, of_data(data));
        }
    }
    let sizes: Vec<f64> = inputs.inputs.sizes.iter().map(|v| Scalar::Int(*v).as_f64()).collect();
    let scalars: Vec<Known> = inputs.inputs.scalars.iter().map(|v| of_scalar(*v)).collect();
    let mut work = WORK;
    let mut run = Run {
        file,
        func,
        sizes,
        scalars,
        tensors,
        values: BTreeMap::new(),
        axes: BTreeMap::new(),
        work: &mut work,
    };
    let done = run.body(&func.body, &[]);
    let result = |id: &TensorId| {
        let written = !matches!(func.tensors[*id].role, Role::In);
        let known = run.tensors.get(id).filter(|_| done && written)?;
        let bound = SAFETY * known.err;
        // An error as large as the values bounds nothing.
        (bound.is_finite() && known.magnitude().is_finite()).then_some(bound)
    };
    let params = func.params.iter();
    params
        .filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(result(id)),
            ParamRef::Scalar(_) => None,
        })
        .collect()
}

struct Run<'a> {
    file: &'a File,
    func: &'a Func,
    sizes: Vec<f64>,
    scalars: Vec<Known>,
    tensors: BTreeMap<TensorId, Known>,
    values: BTreeMap<ValueId, Known>,
    /// Counters at their present value.
    axes: BTreeMap<AxisId, f64>,
    work: &'a mut usize,
}

/// Loops of more passes than this have no bound.
const MOST_PASSES: f64 = 4096.0;

impl Run<'_> {
    /// Runs statements; false when the derivation gives up.
    fn body(&mut self, body: &[Stmt], around: &[AxisId]) -> bool {
        body.iter().all(|stmt| self.stmt(stmt, around))
    }

    fn stmt(&mut self, stmt: &Stmt, around: &[AxisId]) -> bool {
        if *self.work == 0 {
            return false;
        }
        match &stmt.kind {
            StmtKind::Define { value, init } => {
                let v = self.eval(*init);
                self.values.insert(*value, v);
            }
            StmtKind::Update { value, op, expr } => {
                let (old, new) = (self.value(*value), self.eval(*expr));
                let own = &self.func.values[*value];
                // Axes that the value lacks: each point of them adds once, unless the expression sums over it itself.
                let reduced = self.reduced(*expr);
                let mut most = 1.0;
                for axis in around.iter().filter(|a| !own.axes.contains(a) && !reduced.contains(a)) {
                    most *= self.extent(*axis).1;
                }
                let next = update(*op, old, new, most, own.dtype);
                self.values.insert(*value, next);
            }
            StmtKind::Store { tensor, index, op, expr, .. } => {
                let new = self.eval(*expr);
                let astray = index.iter().any(|e| self.eval(*e).err > 0.0);
                let old = self.tensors.get(tensor).copied();
                let dtype = self.func.tensors[*tensor].dtype;
                let next = match op {
                    AssignOp::Set => old.map_or(new, |old| old.join(new)),
                    _ => {
                        let mut most = 1.0;
                        for axis in around {
                            most *= self.extent(*axis).1;
                        }
                        let old = old.unwrap_or(Known::UNKNOWN);
                        old.join(update(*op, old, new, most, dtype))
                    }
                };
                let next = if astray { next.misplaced() } else { next };
                self.tensors.insert(*tensor, next);
            }
            StmtKind::Append { list, count, .. } => {
                // Order and membership follow from the data; what is in a list is bounded by its range alone.
                self.tensors.insert(*list, Known::UNKNOWN);
                self.tensors.insert(*count, Known::UNKNOWN);
            }
            StmtKind::For { axes, with, body } => {
                let inside: Vec<AxisId> = around.iter().chain(axes).chain(with).copied().collect();
                return self.body(body, &inside);
            }
            StmtKind::Seq { axis, carry, body } => {
                for (value, init) in carry {
                    let v = self.eval(*init);
                    self.values.insert(*value, v);
                }
                return self.passes(*axis, &mut |run| run.body(body, around));
            }
            StmtKind::Fold { carry, .. } => {
                // Carries of a fold rescale each other; intervals say nothing of them.
                for (value, _) in carry {
                    self.values.insert(*value, Known::UNKNOWN);
                }
            }
            StmtKind::Next(items) => {
                let new: Vec<(ValueId, Known)> = items.iter().map(|i| (i.value, self.eval(i.expr))).collect();
                let mut seen: Vec<ValueId> = Vec::new();
                for (value, v) in new {
                    // Several items of one carry each write a part of it.
                    let v = if seen.contains(&value) { v.join(self.value(value)) } else { v };
                    let partial = items.iter().any(|i| i.value == value && i.index.is_some());
                    let v = if partial && !seen.contains(&value) { v.join(self.value(value)) } else { v };
                    seen.push(value);
                    self.values.insert(value, v);
                }
            }
            StmtKind::If { cond, then, otherwise } => {
                let cond = self.eval(*cond);
                if cond.err > 0.0 {
                    return false;
                }
                match (cond.lo, cond.hi) {
                    (1.0, 1.0) => return self.body(then, around),
                    (0.0, 0.0) => return self.body(otherwise, around),
                    _ => {
                        let (tensors, values) = (self.tensors.clone(), self.values.clone());
                        if !self.body(then, around) {
                            return false;
                        }
                        let after = std::mem::replace(&mut self.tensors, tensors);
                        let after_values = std::mem::replace(&mut self.values, values);
                        if !self.body(otherwise, around) {
                            return false;
                        }
                        join_all(&mut self.tensors, after);
                        join_all(&mut self.values, after_values);
                    }
                }
            }
            StmtKind::Call { callee, args, sizes } => return self.call(*callee, args, sizes),
            StmtKind::Repeat { axis, pingpong, body } => {
                return self.passes(*axis, &mut |run| {
                    let done = run.body(body, around);
                    for (a, b) in pingpong {
                        let (old_a, old_b) = (run.tensors.remove(a), run.tensors.remove(b));
                        run.tensors.extend(old_b.map(|v| (*a, v)));
                        run.tensors.extend(old_a.map(|v| (*b, v)));
                    }
                    done
                });
            }
            StmtKind::Fill { tensor, value } => {
                let v = self.eval(*value);
                self.tensors.insert(*tensor, v);
            }
            StmtKind::Copy { from, to } => {
                let v = self.tensors.get(from).copied().unwrap_or(Known::UNKNOWN);
                self.tensors.insert(*to, v);
            }
        }
        true
    }

    fn passes(&mut self, axis: AxisId, pass: &mut dyn FnMut(&mut Self) -> bool) -> bool {
        let (lo, hi) = (self.eval(self.func.axes[axis].lo), self.eval(self.func.axes[axis].hi));
        if lo.lo != lo.hi || hi.lo != hi.hi || hi.hi - lo.lo > MOST_PASSES {
            return false;
        }
        let mut at = lo.lo;
        while at < hi.hi {
            self.axes.insert(axis, at);
            if !pass(self) {
                return false;
            }
            at += 1.0;
        }
        self.axes.remove(&axis);
        true
    }

    fn call(&mut self, callee: FuncId, args: &[CallArg], sizes: &[ExprId]) -> bool {
        let func = &self.file.funcs[callee];
        let sizes = sizes.iter().map(|e| self.eval(*e).hi).collect();
        let (mut tensors, mut scalars, mut back) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (param, arg) in func.params.iter().zip(args) {
            match (param, arg) {
                (ParamRef::Tensor(id), CallArg::Tensor(view)) => {
                    let tensor = &func.tensors[*id];
                    let old = self.tensors.get(&view.tensor).copied();
                    if tensor.role != Role::Out {
                        tensors.insert(*id, old.unwrap_or(Known::UNKNOWN));
                    }
                    if tensor.role != Role::In {
                        let whole = view.fixed.is_empty() && view.dims.iter().all(|d| d.extent.is_none());
                        back.push((*id, view.tensor, old.filter(|_| !whole)));
                    }
                }
                (ParamRef::Scalar(_), CallArg::Scalar(e)) => scalars.push(self.eval(*e)),
                _ => return false,
            }
        }
        let empty = || (BTreeMap::new(), BTreeMap::new());
        let (values, axes) = empty();
        let mut inner =
            Run { file: self.file, func, sizes, scalars, tensors, values, axes, work: &mut *self.work };
        if func.kind == FuncKind::Reference || !inner.body(&func.body, &[]) {
            return false;
        }
        let after: Vec<_> = back
            .iter()
            .map(|(id, tensor, old)| {
                let new = inner.tensors.get(id).copied().unwrap_or(Known::UNKNOWN);
                (*tensor, old.map_or(new, |old| old.join(new)))
            })
            .collect();
        self.tensors.extend(after);
        true
    }

    fn value(&self, v: ValueId) -> Known {
        self.values.get(&v).copied().unwrap_or(Known::UNKNOWN)
    }

    /// Axes that reductions in an expression remove.
    fn reduced(&self, root: ExprId) -> Vec<AxisId> {
        let mut out = Vec::new();
        crate::hir::walk::for_each_expr(self.func, root, |_, e| {
            if let ExprKind::Reduce { axes, .. } = &e.kind {
                out.extend(axes.iter().copied());
            }
        });
        out
    }

    /// The values that an axis takes.
    fn axis(&mut self, axis: AxisId) -> Known {
        if let Some(v) = self.axes.get(&axis) {
            return Known::exact(*v);
        }
        let (lo, hi) = (self.func.axes[axis].lo, self.func.axes[axis].hi);
        let (lo, hi) = (self.eval(lo), self.eval(hi));
        Known::new(lo.lo, (hi.hi - 1.0).max(lo.lo), 0.0)
    }

    /// The fewest and the most points of an axis.
    fn extent(&mut self, axis: AxisId) -> (f64, f64) {
        if matches!(self.func.axes[axis].kind, AxisKind::Seq | AxisKind::Repeat) {
            return (1.0, 1.0);
        }
        let (lo, hi) = (self.func.axes[axis].lo, self.func.axes[axis].hi);
        let (lo, hi) = (self.eval(lo), self.eval(hi));
        ((hi.lo - lo.hi).max(0.0), (hi.hi - lo.lo).max(0.0))
    }

    fn eval(&mut self, e: ExprId) -> Known {
        self.eval_with(e, &mut BTreeMap::new())
    }

    fn eval_with(&mut self, e: ExprId, memo: &mut BTreeMap<ExprId, Known>) -> Known {
        if let Some(v) = memo.get(&e) {
            return *v;
        }
        *self.work = self.work.saturating_sub(1);
        if *self.work == 0 {
            return Known::UNKNOWN;
        }
        let func = self.func;
        let expr = &func.exprs[e];
        let dtype = expr.dtype;
        let v = match &expr.kind {
            ExprKind::Const(v) => of_scalar(*v).rounded(dtype, 1.0),
            ExprKind::Size(id) => self.sizes.get(id.index()).map_or(Known::UNKNOWN, |v| Known::exact(*v)),
            ExprKind::Scalar(id) => self.scalars.get(id.index()).copied().unwrap_or(Known::UNKNOWN),
            ExprKind::Axis(axis) => self.axis(*axis),
            ExprKind::Value(v) => self.value(*v),
            ExprKind::ValueAt(v, index) => {
                let astray = index.iter().any(|i| self.eval_with(*i, memo).err > 0.0);
                let v = self.value(*v);
                if astray { v.misplaced() } else { v }
            }
            ExprKind::Load { tensor, index, leaves } => {
                let astray = index.iter().any(|i| self.eval_with(*i, memo).err > 0.0);
                let t = &func.tensors[*tensor];
                let mut v = self.tensors.get(tensor).copied().unwrap_or(Known::UNKNOWN);
                for edge in t.edges.iter().zip(leaves).filter(|(_, l)| **l).filter_map(|(e, _)| e.as_ref()) {
                    if let Edge::Const(c) = edge {
                        v = v.join(of_scalar(*c));
                    }
                }
                if astray { v.misplaced() } else { v }
            }
            ExprKind::Table { table, .. } => {
                let all = self.file.tables.get(*table).map(|t| &t.data);
                let all = all.into_iter().flatten().map(|v| of_scalar(*v)).reduce(Known::join);
                all.unwrap_or(Known::UNKNOWN).rounded(dtype, 1.0)
            }
            ExprKind::Unary(op, a) => {
                let a = self.eval_with(*a, memo);
                match op {
                    UnaryOp::Neg => Known::new(-a.hi, -a.lo, a.err),
                    UnaryOp::Not => Known::new(1.0 - a.hi, 1.0 - a.lo, a.err),
                    UnaryOp::BitNot => Known::new(-1.0 - a.hi, -1.0 - a.lo, a.err),
                }
            }
            ExprKind::Binary(op, a, b) => {
                let square = a == b || func.exprs[*a].kind == func.exprs[*b].kind;
                let float = !func.exprs[*a].dtype.is_int();
                let (a, b) = (self.eval_with(*a, memo), self.eval_with(*b, memo));
                let square = square && *op == BinaryOp::Mul && !dtype.is_complex();
                let v = binary(*op, a, b, dtype, float);
                if square { Known::new(v.lo.max(a.least().powi(2)), v.hi, v.err) } else { v }
            }
            ExprKind::Call(f, args) => {
                let args: Vec<Known> = args.iter().map(|a| self.eval_with(*a, memo)).collect();
                function(*f, &args, dtype)
            }
            ExprKind::Select(c, a, b) => {
                let c = self.eval_with(*c, memo);
                let (a, b) = (self.eval_with(*a, memo), self.eval_with(*b, memo));
                match (c.lo, c.hi) {
                    _ if c.err > 0.0 => a.join(b).misplaced(),
                    (1.0, 1.0) => a,
                    (0.0, 0.0) => b,
                    _ => a.join(b),
                }
            }
            ExprKind::Cast(a) => {
                let from = func.exprs[*a].dtype;
                let a = self.eval_with(*a, memo);
                if dtype.is_int() && !from.is_int() {
                    let astray = if a.err > 0.0 { a.err + 1.0 } else { 0.0 };
                    Known::new(a.lo.trunc(), a.hi.trunc(), astray)
                } else {
                    // Narrowing rounds; values beyond the type's range are not followed.
                    a.rounded(dtype, 1.0)
                }
            }
            ExprKind::Reduce { op, axes, args } => {
                let args: Vec<Known> = args.iter().map(|a| self.eval_with(*a, memo)).collect();
                let (mut least, mut most) = (1.0, 1.0);
                for axis in axes {
                    let (a, b) = self.extent(*axis);
                    (least, most) = (least * a, most * b);
                }
                reduce(*op, &args, least, most, dtype)
            }
            ExprKind::Scan { op, axis, arg } => {
                let a = self.eval_with(*arg, memo);
                let most = self.extent(*axis).1;
                reduce(*op, &[a], 0.0, most, dtype).join(a)
            }
        };
        let v = v.wrapped(dtype);
        memo.insert(e, v);
        v
    }
}

fn join_all<K: Ord>(into: &mut BTreeMap<K, Known>, other: BTreeMap<K, Known>) {
    for (k, v) in other {
        let joined = into.get(&k).map_or(v, |old| old.join(v));
        into.insert(k, joined);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::driver::check;
    use crate::oracle::{Mode, Options, Values, run};
    use crate::task::{Sizes, generate};

    /// The largest error of rounding as the types declare, against exact arithmetic.
    fn error(got: &Values, want: &Values) -> f64 {
        let apart = |i| match (got.get(i), want.get(i)) {
            (Scalar::Complex(a, b), Scalar::Complex(c, d)) => (a - c).hypot(b - d),
            (a, b) => (a.as_f64() - b.as_f64()).abs(),
        };
        (0..want.len()).map(apart).fold(0.0, f64::max)
    }

    #[test]
    fn no_example_rounds_further_than_its_bound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples");
        let mut bounded = Vec::new();
        for file in std::fs::read_dir(folder).expect("examples") {
            let path = file.expect("an entry").path();
            if path.extension().is_none_or(|e| e != "tile") {
                continue;
            }
            let c = check(&std::fs::read_to_string(&path).expect("text"));
            for task in &c.tasks {
                let mut sizes: Sizes = c.resolve_sizes(task.entry, &BTreeMap::new()).expect("sizes");
                // A power of two that every condition accepts.
                sizes.values_mut().for_each(|v| *v = (*v).min(4));
                let Ok(inputs) = generate(&c.hir, Some(task), task.entry, &sizes, 3) else { continue };
                let bounds = derive(&c.hir, task.entry, &inputs);
                let eval = |mode| {
                    let options = Options { mode, ..Options::default() };
                    run(&c.hir, task.entry, &inputs.inputs, &options).expect("runs")
                };
                let (exact, rounded) = (eval(Mode::Exact), eval(Mode::Rounded));
                for (n, bound) in bounds.iter().enumerate() {
                    let Some(bound) = bound else { continue };
                    let seen = error(&rounded.tensors[n], &exact.tensors[n]);
                    assert!(seen <= *bound, "{} tensor {n}: {seen} beyond {bound}", task.name);
                    bounded.push(task.name.clone());
                }
            }
        }
        for name in ["matmul", "saxpy", "gemv", "transpose", "heat2d", "scan1", "hist"] {
            assert!(bounded.iter().any(|b| b == name), "{name} has no bound, only {bounded:?}");
        }
    }

    #[test]
    fn a_matrix_product_is_bounded_usefully() {
        let c = check(
            "kernel matmul(A: in f32[M,K], B: in f32[K,N], C: out f32[M,N]) {
               for (i, j) in tiles(M, N; bm, bn) {
                 var acc: f32[i,j] = 0.0
                 for k in tiles(K; bk) { acc += dot[k](A[i,k], B[k,j]) }
                 C[i,j] = acc
               }
             }
             task matmul { search {M=8, N=8, K=64} init A ~ uniform(0.0, 1.0) init B ~ uniform(0.0, 1.0) }",
        );
        let task = &c.tasks[0];
        let inputs = generate(&c.hir, Some(task), task.entry, &task.search[0].values, 1).expect("data");
        let bounds = derive(&c.hir, task.entry, &inputs);
        assert_eq!(bounds[..2], [None, None]);
        let bound = bounds[2].expect("a bound");
        // Dropping one of the 64 terms is off by about 0.25.
        assert!(bound > 64.0 * 2f64.powi(-24) && bound < 0.01, "{bound}");
    }
}

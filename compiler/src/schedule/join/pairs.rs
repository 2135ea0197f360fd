//! Which axes and arguments of two calls are one.

use std::collections::BTreeMap;

use crate::hir::ir::{
    AxisId, AxisKind, CallArg, Expr, ExprId, ExprKind, File, Func, FuncId, ParamRef, Role, ScalarId, SizeId,
    Stmt, StmtKind, TensorId, View,
};
use crate::hir::walk::{for_each_stmt, tensors_named, tensors_read};
use crate::schedule::bounds::same_in;
use crate::schedule::form::operands;

/// A call of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// The kernel.
    pub(super) func: &'a Func,
    /// Its name, as the plan has it.
    pub(super) name: &'a str,
    /// One per parameter.
    pub(super) args: &'a [CallArg],
    /// The value of each of the kernel's sizes.
    pub(super) sizes: &'a [ExprId],
}

impl<'a> Call<'a> {
    /// The tensors of the kernel, with what is handed on for them.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (TensorId, &'a View)> {
        self.func.params.iter().zip(self.args).filter_map(|(param, arg)| match (param, arg) {
            (ParamRef::Tensor(t), CallArg::Tensor(view)) => Some((*t, view)),
            _ => None,
        })
    }

    /// The scalars of the kernel, with what is handed on for them.
    pub(super) fn scalars(&self) -> impl Iterator<Item = (ScalarId, ExprId)> {
        self.func.params.iter().zip(self.args).filter_map(|(param, arg)| match (param, arg) {
            (ParamRef::Scalar(s), CallArg::Scalar(e)) => Some((*s, *e)),
            _ => None,
        })
    }

    /// The axes that its statement runs over, and what is in it.
    ///
    /// # Errors
    /// For a kernel that is more than one `for`.
    pub(super) fn whole(&self) -> Result<(Vec<AxisId>, &'a [Stmt]), String> {
        match &self.func.body[..] {
            [Stmt { kind: StmtKind::For { axes, with, body }, .. }] => {
                Ok((axes.iter().chain(with).copied().collect(), body))
            }
            _ => Err(format!("`{}` is more than one `for`", self.name)),
        }
    }
}

/// Two calls, one right behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'a> {
    /// The pipeline.
    pub(super) pipeline: &'a Func,
    /// The earlier one.
    pub(super) first: Call<'a>,
    /// The later one.
    pub(super) second: Call<'a>,
}

impl<'a> Calls<'a> {
    /// The two statements that a list begins with, where they call these kernels.
    pub(super) fn of(
        file: &'a File,
        pipeline: FuncId,
        body: &'a [Stmt],
        names: [&'a str; 2],
    ) -> Option<Calls<'a>> {
        let call = |stmt: &'a Stmt, name: &'a str| match &stmt.kind {
            StmtKind::Call { callee, args, sizes } if file.funcs[*callee].name == name => {
                Some(Call { func: &file.funcs[*callee], name, args, sizes })
            }
            _ => None,
        };
        let [a, b, ..] = body else { return None };
        let (first, second) = (call(a, names[0])?, call(b, names[1])?);
        Some(Calls { pipeline: &file.funcs[pipeline], first, second })
    }
}

/// What of the later kernel is one with what of the earlier one.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Sizes, by those of the later kernel.
    pub(super) sizes: BTreeMap<SizeId, SizeId>,
    /// Scalars.
    pub(super) scalars: BTreeMap<ScalarId, ScalarId>,
    /// Tensors.
    pub(super) tensors: BTreeMap<TensorId, TensorId>,
    /// Those of them that one of the kernels writes.
    pub(super) written: Vec<TensorId>,
    /// Axes.
    pub(super) axes: BTreeMap<AxisId, AxisId>,
    /// The tensor of the earlier kernel that becomes a value, with the axes of its dimensions; of several the rest too.
    pub(super) values: BTreeMap<TensorId, Vec<AxisId>>,
}

impl Pairs {
    /// The pairs of two calls.
    ///
    /// # Errors
    /// Why the kernels cannot be one.
    pub(super) fn of(calls: &Calls<'_>) -> Result<Pairs, String> {
        let mut pairs = Pairs::default();
        let Calls { pipeline, first, second } = calls;
        for (n, e) in second.sizes.iter().enumerate() {
            if let Some(m) = first.sizes.iter().position(|x| same_in(pipeline, *x, *e)) {
                pairs.sizes.insert(SizeId::from_index(n), SizeId::from_index(m));
            }
        }
        for (s, e) in second.scalars() {
            let alike = |(x, value): &(ScalarId, ExprId)| {
                first.func.scalars[*x].dtype == second.func.scalars[s].dtype && same_in(pipeline, *value, e)
            };
            pairs.scalars.extend(first.scalars().find(alike).map(|(x, _)| (s, x)));
        }
        pairs.find_tensors(calls)?;
        pairs.find_axes(calls)?;
        pairs.find_values(calls);
        Ok(pairs)
    }

    fn find_tensors(&mut self, calls: &Calls<'_>) -> Result<(), String> {
        let Calls { pipeline, first, second } = calls;
        for (t, view) in second.tensors() {
            for (x, other) in first.tensors().filter(|(_, other)| other.tensor == view.tensor) {
                let (a, b) = (&first.func.tensors[x], &second.func.tensors[t]);
                let read = a.role == Role::In && b.role == Role::In;
                let rank = pipeline.tensors[view.tensor].shape.len();
                let whole = view.is_whole(rank) && other.is_whole(rank);
                let alike = a.edges == b.edges && a.packed == b.packed && a.dtype == b.dtype;
                if read && !(whole && alike) {
                    // Two names for what nobody writes.
                    continue;
                }
                let name = &pipeline.tensors[view.tensor].name;
                if !whole {
                    return Err(format!("they see `{name}` by different views"));
                }
                if !alike || a.bag || b.bag {
                    return Err(format!("they declare `{name}` in different ways, or as a list"));
                }
                if self.tensors.insert(t, x).is_some() {
                    return Err(format!("`{name}` is handed on twice"));
                }
                if !read {
                    self.written.push(t);
                }
            }
        }
        Ok(())
    }

    fn find_axes(&mut self, calls: &Calls<'_>) -> Result<(), String> {
        let Calls { first, second, .. } = calls;
        let ((mine, _), (theirs, _)) = (first.whole()?, second.whole()?);
        for t in self.written.clone() {
            let x = self.tensors[&t];
            for d in 0..first.func.tensors[x].shape.len() {
                let [p, q] = [(first, x, &mine), (second, t, &theirs)]
                    .map(|(c, tensor, axes)| along(c.func, tensor, d).filter(|a| axes.contains(a)));
                let (Some(p), Some(q)) = (p, q) else { continue };
                let clash = self.axes.iter().any(|(b, a)| (*b == q) != (*a == p));
                if clash {
                    continue;
                }
                self.axes.insert(q, p);
                let [f, g] = [&first.func.axes[p], &second.func.axes[q]];
                if !self.alike(calls, f.lo, g.lo) || !self.alike(calls, f.hi, g.hi) {
                    return Err(format!("`{}` and `{}` do not run over the same points", f.name, g.name));
                }
            }
        }
        if self.axes.is_empty() {
            return Err(
                "no axis is the same in a tensor that one of them writes and the other touches".to_owned()
            );
        }
        for (_, axis) in second.func.axes.iter() {
            let bounds = [axis.lo, axis.hi].into_iter();
            let read = bounds.flat_map(|e| tensors_read(second.func, e)).find(|t| self.written.contains(t));
            if let Some(t) = read {
                let (axis, name) = (&axis.name, &second.func.tensors[t].name);
                return Err(format!(
                    "the bounds of `{axis}` are read from `{name}`, which the other one writes"
                ));
            }
        }
        // An axis can be outside only together with those that its bounds depend on.
        let parents = |func: &Func, axis: AxisId, shared: &dyn Fn(AxisId) -> bool| {
            func.axes[axis].parents.iter().all(|p| shared(*p))
        };
        for (q, p) in &self.axes {
            let inside = parents(first.func, *p, &|x| self.axes.values().any(|a| *a == x))
                && parents(second.func, *q, &|x| self.axes.contains_key(&x));
            if !inside {
                let name = &first.func.axes[*p].name;
                return Err(format!("the bounds of `{name}` depend on an axis that is not the same in both"));
            }
        }
        Ok(())
    }

    /// Whether an expression of the earlier kernel and one of the later have the same value.
    fn alike(&self, calls: &Calls<'_>, a: ExprId, b: ExprId) -> bool {
        let (f, g) = (calls.first.func, calls.second.func);
        let (Expr { kind: x, dtype, .. }, Expr { kind: y, dtype: other, .. }) = (&f.exprs[a], &g.exprs[b]);
        if dtype != other {
            return false;
        }
        let own = match (x, y) {
            (ExprKind::Const(x), ExprKind::Const(y)) => x == y,
            (ExprKind::Size(x), ExprKind::Size(y)) => self.sizes.get(y) == Some(x),
            (ExprKind::Scalar(x), ExprKind::Scalar(y)) => self.scalars.get(y) == Some(x),
            (ExprKind::Axis(x), ExprKind::Axis(y)) => self.axes.get(y) == Some(x),
            (ExprKind::Unary(x, _), ExprKind::Unary(y, _)) => x == y,
            (ExprKind::Binary(x, ..), ExprKind::Binary(y, ..)) => x == y,
            (ExprKind::Call(x, _), ExprKind::Call(y, _)) => x == y,
            (ExprKind::Table { table: x, .. }, ExprKind::Table { table: y, .. }) => x == y,
            (ExprKind::Select(..), ExprKind::Select(..)) | (ExprKind::Cast(_), ExprKind::Cast(_)) => true,
            // What is read may be of a tensor that one of them writes.
            _ => false,
        };
        let (x, y) = (operands(x), operands(y));
        own && x.len() == y.len() && x.iter().zip(&y).all(|(x, y)| self.alike(calls, *x, *y))
    }

    /// Buffers that only the two kernels touch, each whole at its own points.
    fn find_values(&mut self, calls: &Calls<'_>) {
        let Calls { pipeline, first, second } = calls;
        for t in self.written.clone() {
            let x = self.tensors[&t];
            let Some((_, view)) = first.tensors().find(|(tensor, _)| *tensor == x) else { continue };
            let buffer = pipeline.tensors[view.tensor].role == Role::Buf && uses(pipeline, view.tensor) == 2;
            let roles = (first.func.tensors[x].role, second.func.tensors[t].role);
            if !buffer || roles != (Role::Out, Role::In) || first.func.tensors[x].packed.is_some() {
                continue;
            }
            let rank = first.func.tensors[x].shape.len();
            let dims =
                |func: &Func, tensor| (0..rank).map(|d| along(func, tensor, d)).collect::<Option<Vec<_>>>();
            let (Some(mine), Some(theirs)) = (dims(first.func, x), dims(second.func, t)) else { continue };
            let paired = mine.iter().zip(&theirs).all(|(p, q)| self.axes.get(q) == Some(p));
            let distinct = mine.iter().enumerate().all(|(n, a)| !mine[..n].contains(a));
            let Ok((_, body)) = first.whole() else { continue };
            let mut stores = 0;
            for_each_stmt(body, &mut |s| stores += usize::from(stores_to(s, x)));
            // One store of all points, which no condition or step of a loop repeats.
            let plain = |s: &Stmt| match &s.kind {
                StmtKind::Store { op: crate::hir::ir::AssignOp::Set, .. } => stores_to(s, x),
                _ => false,
            };
            let loads = |e: (_, &Expr)| matches!(e.1.kind, ExprKind::Load { tensor, .. } if tensor == x);
            let read = first.func.exprs.iter().any(loads);
            if paired && distinct && stores == 1 && body.iter().any(plain) && !read && rank > 0 {
                self.values.insert(x, mine);
            }
        }
    }
}

fn stores_to(stmt: &Stmt, tensor: TensorId) -> bool {
    match &stmt.kind {
        StmtKind::Store { tensor: t, .. } => *t == tensor,
        StmtKind::Append { list, count, .. } => *list == tensor || *count == tensor,
        _ => false,
    }
}

/// The axis that all accesses of a tensor have as their index in a dimension.
fn along(func: &Func, tensor: TensorId, dim: usize) -> Option<AxisId> {
    let mut all: Vec<Option<AxisId>> = Vec::new();
    let axis = |e: ExprId| match func.exprs[e].kind {
        ExprKind::Axis(a) if matches!(func.axes[a].kind, AxisKind::For(_) | AxisKind::With) => Some(a),
        _ => None,
    };
    for (_, e) in func.exprs.iter() {
        if let ExprKind::Load { tensor: t, index, leaves } = &e.kind
            && *t == tensor
        {
            all.push(axis(index[dim]).filter(|_| !leaves[dim]));
        }
    }
    for_each_stmt(&func.body, &mut |s| match &s.kind {
        StmtKind::Store { tensor: t, index, .. } if *t == tensor => all.push(axis(index[dim])),
        StmtKind::Append { list, count, .. } if *list == tensor || *count == tensor => all.push(None),
        _ => {}
    });
    let first = (*all.first()?)?;
    all.iter().all(|a| *a == Some(first)).then_some(first)
}

/// How often a pipeline names a tensor in what it does.
fn uses(pipeline: &Func, tensor: TensorId) -> usize {
    let mut found = 0;
    for_each_stmt(&pipeline.body, &mut |s| {
        let mut named = tensors_named(s);
        if let StmtKind::Repeat { pingpong, .. } = &s.kind {
            named.extend(pingpong.iter().flat_map(|(a, b)| [*a, *b]));
        }
        found += named.iter().filter(|t| **t == tensor).count();
    });
    found
}

//! Whether a kernel is a stencil: it gives every point of a grid, each from points of the state at most so far away.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AssignOp, AxisId, Edge, ExprId, ExprKind, Role, StmtKind, StoreKind, TensorId, ValueId,
};
use crate::schedule::access::{self, Object};
use crate::schedule::bounds;
use crate::schedule::form::{Action, Form, Item, StmtId, operands};

/// How far reads go before and after a point along each axis; neither is negative.
pub(super) type Reach = Vec<(i64, i64)>;

/// A kernel that steps a state on a grid.
#[derive(Clone, Debug)]
pub(crate) struct Stencil {
    /// The axes of the grid: those of the kernel's `for`.
    pub(super) axes: Vec<AxisId>,
    /// Whether reads that leave the state along an axis come back in at its other end.
    pub(super) wraps: Vec<bool>,
    /// Whether reads leave the state along an axis by another edge rule.
    pub(super) leaves: Vec<bool>,
    /// The tensors of the state that the kernel touches.
    pub(super) state: BTreeMap<TensorId, Field>,
}

/// A tensor of the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    /// The axis, by its number, that each dimension lies along.
    pub(super) dims: Vec<Option<usize>>,
    /// How far reads go; `None` where there are none.
    pub(super) reads: Option<Reach>,
    /// Whether the kernel writes it.
    pub(super) written: bool,
}

/// The kernel as a stencil on the tensors that `is_state` says; those that it writes are such in any case.
///
/// # Errors
/// E0504 with the place that is in the way.
pub(super) fn stencil(form: &Form, is_state: &dyn Fn(TensorId) -> bool) -> Result<Stencil, Diagnostic> {
    let axes = grid(form)?;
    let none = vec![false; axes.len()];
    let stencil = Stencil { axes, wraps: none.clone(), leaves: none, state: BTreeMap::new() };
    let state = form.func.tensors.handles().filter(|t| is_state(*t)).collect();
    let mut finder = Finder { form, stencil, state, inside: BTreeMap::new() };
    finder.axes_are_whole()?;
    for s in form.items.iter().flat_map(Item::stmts) {
        finder.write(s)?;
    }
    let mut seen = BTreeSet::new();
    for s in form.items.iter().flat_map(Item::stmts) {
        let exprs = form.stmts[s].action.exprs();
        exprs.into_iter().try_for_each(|e| finder.read(e, &mut seen))?;
    }
    let conditions = form.items.iter().flat_map(conditions);
    conditions.into_iter().try_for_each(|e| finder.read(e, &mut seen))?;
    finder.edges()?;
    finder.written_tensors()?;
    Ok(finder.stencil)
}

/// The axes of the kernel's only `for`.
fn grid(form: &Form) -> Result<Vec<AxisId>, Diagnostic> {
    match &form.func.body[..] {
        [stmt] => match &stmt.kind {
            StmtKind::For { axes, .. } if !axes.is_empty() => Ok(axes.clone()),
            _ => Err(refuse(stmt.span, "this is not a loop over the tiles of a grid")),
        },
        _ => {
            let message = format!("`{}` is not one loop over the tiles of a grid", form.func.name);
            Err(refuse(form.func.span, &message))
        }
    }
    .map_err(|d| d.help("with `time_tile` the kernel of a step is one `for (..) in tiles(..) { .. }`"))
}

/// What may not be tiled in time.
pub(super) fn refuse(span: Span, why: &str) -> Diagnostic {
    Diagnostic::error(Code::Illegal, span, format!("`time_tile`: {why}"))
}

/// The conditions below an item.
fn conditions(item: &Item) -> Vec<ExprId> {
    match item {
        Item::Stmt(_) => Vec::new(),
        Item::Seq { body, .. } => body.iter().flat_map(conditions).collect(),
        Item::If { cond, then, otherwise } => {
            std::iter::once(*cond).chain(then.iter().chain(otherwise).flat_map(conditions)).collect()
        }
    }
}

struct Finder<'a> {
    form: &'a Form,
    stencil: Stencil,
    state: BTreeSet<TensorId>,
    /// Reads by an edge rule other than `wrap`: the axis, and the read.
    inside: BTreeMap<usize, ExprId>,
}

impl Finder<'_> {
    fn number(&self, axis: AxisId) -> Option<usize> {
        self.stencil.axes.iter().position(|a| *a == axis)
    }

    fn name(&self, number: usize) -> &str {
        &self.form.func.axes[self.stencil.axes[number]].name
    }

    /// Grid axes start at 0, and nothing else depends on where they are.
    fn axes_are_whole(&self) -> Result<(), Diagnostic> {
        let form = self.form;
        for (id, axis) in form.func.axes.iter() {
            let whole = bounds::literal(form, axis.lo) == Some(0) && bounds::is_host(form, axis.hi);
            if self.number(id).is_some() && !whole {
                let message = format!("`{}` does not run over all of the grid", axis.name);
                return Err(refuse(axis.span, &message)
                    .help("let the loop start at 0, and select what the border gets in its body"));
            }
            if let Some(parent) = axis.parents.iter().find_map(|p| self.number(*p)) {
                let message = format!("the bounds of `{}` depend on `{}`", axis.name, self.name(parent));
                return Err(refuse(axis.span, &message)
                    .help("let it run over all values, and select those that count"));
            }
            let mut work = vec![axis.lo, axis.hi];
            while let Some(e) = work.pop() {
                let kind = &form.func.exprs[e].kind;
                if matches!(kind, ExprKind::Load { tensor, .. } if self.state.contains(tensor)) {
                    return Err(refuse(
                        axis.span,
                        &format!("the bounds of `{}` change with the steps", axis.name),
                    )
                    .help("compute them from tensors that the repeat does not write"));
                }
                work.extend(operands(kind));
            }
        }
        Ok(())
    }

    /// What a statement stores: a point gives its own element, once.
    fn write(&mut self, s: StmtId) -> Result<(), Diagnostic> {
        let form = self.form;
        let stmt = &form.stmts[s];
        let (tensor, index, op, kind) = match &stmt.action {
            Action::Store { tensor, index, op, kind, .. } => (*tensor, index, *op, *kind),
            Action::Append { list, .. } => {
                let message = format!("`{}` is a list", form.func.tensors[*list].name);
                return Err(
                    refuse(stmt.span, &message).help("lists are filled by kernels outside of the repeat")
                );
            }
            Action::Set { value, index: Some(index), .. } | Action::Scatter { value, index, .. } => {
                return self.at_own_point(*value, index, stmt.span);
            }
            _ => return Ok(()),
        };
        let t = &form.func.tensors[tensor];
        if kind == StoreKind::Scatter || op != AssignOp::Set {
            let help = format!("gather instead: `{}[..] = ..`, once for each point of the grid", t.name);
            return Err(refuse(stmt.span, &format!("`{}` is updated, not set", t.name)).help(help));
        }
        if t.packed.is_some() {
            let message = format!("elements of `{}` share bytes", t.name);
            return Err(refuse(stmt.span, &message).help("use an `i8` or `u8` tensor for the steps"));
        }
        let mut dims = vec![None; index.len()];
        for (d, ix) in index.iter().enumerate() {
            let Some(n) = form.func.exprs[*ix].axes.iter().find_map(|a| self.number(*a)) else { continue };
            let a = self.stencil.axes[n];
            let own = matches!(form.func.exprs[*ix].kind, ExprKind::Axis(x) if x == a);
            if !own || dims.contains(&Some(n)) || !bounds::same(form, form.func.axes[a].hi, t.shape[d]) {
                return Err(self.not_whole(tensor, n, stmt.span));
            }
            dims[d] = Some(n);
        }
        if let Some(n) = (0..self.stencil.axes.len()).find(|n| !dims.contains(&Some(*n))) {
            return Err(self.not_whole(tensor, n, stmt.span));
        }
        self.state.insert(tensor);
        self.field(tensor, dims, stmt.span)?.written = true;
        Ok(())
    }

    fn not_whole(&self, tensor: TensorId, n: usize, span: Span) -> Diagnostic {
        let (t, axis) = (&self.form.func.tensors[tensor].name, self.name(n));
        refuse(span, &format!("a point of `{axis}` does not give its own elements of `{t}`"))
            .help(format!("store to `{t}` by `{axis}` itself, along a dimension of the same extent"))
    }

    /// The tensor's field; its dimensions lie along the same axes everywhere.
    fn field(
        &mut self,
        tensor: TensorId,
        dims: Vec<Option<usize>>,
        span: Span,
    ) -> Result<&mut Field, Diagnostic> {
        let name = &self.form.func.tensors[tensor].name;
        let field = self
            .stencil
            .state
            .entry(tensor)
            .or_insert_with(|| Field { dims: dims.clone(), ..Field::default() });
        if field.dims != dims {
            let message = format!("`{name}` is indexed by the axes of the grid in two ways");
            return Err(refuse(span, &message).help("index it in one order everywhere"));
        }
        Ok(field)
    }

    /// Reads below an expression: of the state each is near the point.
    fn read(&mut self, e: ExprId, seen: &mut BTreeSet<ExprId>) -> Result<(), Diagnostic> {
        if !seen.insert(e) {
            return Ok(());
        }
        let form = self.form;
        let expr = &form.func.exprs[e];
        match &expr.kind {
            ExprKind::Load { tensor, index, leaves } if self.state.contains(tensor) => {
                self.near(e, *tensor, index, leaves)?;
            }
            ExprKind::ValueAt(v, index) => {
                self.at_own_point(*v, index, expr.span)?;
            }
            _ => {}
        }
        operands(&expr.kind).into_iter().try_for_each(|x| self.read(x, seen))
    }

    /// Values are used at their own points of the grid.
    fn at_own_point(&self, value: ValueId, index: &[ExprId], span: Span) -> Result<(), Diagnostic> {
        let form = self.form;
        let value = &form.func.values[value];
        for (ix, axis) in index.iter().zip(&value.axes) {
            let own = matches!(form.func.exprs[*ix].kind, ExprKind::Axis(a) if a == *axis);
            let moves = form.func.exprs[*ix].axes.iter().any(|a| self.number(*a).is_some());
            if !own && (self.number(*axis).is_some() || moves) {
                let message = format!("`{}` is used at another point of the grid", value.name);
                return Err(refuse(span, &message).help("read the tensors there, and compute it again"));
            }
        }
        Ok(())
    }

    fn near(
        &mut self,
        e: ExprId,
        tensor: TensorId,
        index: &[ExprId],
        leaves: &[bool],
    ) -> Result<(), Diagnostic> {
        let form = self.form;
        let (t, span) = (&form.func.tensors[tensor], form.func.exprs[e].span);
        let mut dims = vec![None; index.len()];
        let mut reach = vec![(0, 0); self.stencil.axes.len()];
        for (d, ix) in index.iter().enumerate() {
            let of_grid: Vec<usize> =
                form.func.exprs[*ix].axes.iter().filter_map(|a| self.number(*a)).collect();
            let Some(&n) = of_grid.first() else { continue };
            let axis = self.stencil.axes[n];
            let Some((lo, hi)) = bounds::offset(form, *ix, axis).filter(|_| of_grid.len() == 1) else {
                let message = format!(
                    "this read of `{}` is not within a constant distance of `{}`",
                    t.name,
                    self.name(n)
                );
                return Err(refuse(form.func.exprs[*ix].span, &message)
                    .cause(t.span, "part of the state")
                    .help(format!(
                        "index it by `{}` plus a number or an element of a constant table",
                        self.name(n)
                    )));
            };
            if dims.contains(&Some(n)) || !bounds::same(form, form.func.axes[axis].hi, t.shape[d]) {
                let message = format!("`{}` is not a grid of the extent of `{}`", t.name, self.name(n));
                return Err(refuse(span, &message)
                    .help("tensors of the state have the extents that the loop runs over"));
            }
            dims[d] = Some(n);
            reach[n] = ((-lo).max(0), hi.max(0));
            if leaves[d] && matches!(t.edges[d], Some(Edge::Reflect | Edge::Symmetric)) {
                // What lies beyond an end is mirrored there.
                let far = reach[n].0.max(reach[n].1);
                reach[n] = (far, far);
            }
            if leaves[d] {
                match t.edges[d] {
                    Some(Edge::Wrap) => self.stencil.wraps[n] = true,
                    _ => {
                        self.stencil.leaves[n] = true;
                        self.inside.entry(n).or_insert(e);
                    }
                }
            }
        }
        if let Some(n) = (0..reach.len()).find(|n| !dims.contains(&Some(*n))) {
            let axis = self.name(n).to_owned();
            let message = format!("this read of `{}` does not move with `{axis}`", t.name);
            return Err(refuse(span, &message).cause(t.span, "part of the state").help(
                "what is the same for all points has to come from a tensor that the repeat does not write",
            ));
        }
        let field = self.field(tensor, dims, span)?;
        let all = field.reads.get_or_insert_with(|| vec![(0, 0); reach.len()]);
        for (all, new) in all.iter_mut().zip(&reach) {
            *all = (all.0.max(new.0), all.1.max(new.1));
        }
        Ok(())
    }

    /// Along an axis that wraps, all reads that leave the state come back at the other end.
    fn edges(&self) -> Result<(), Diagnostic> {
        for (n, e) in &self.inside {
            if self.stencil.wraps[*n] {
                let ExprKind::Load { tensor, .. } = &self.form.func.exprs[*e].kind else { continue };
                let (t, axis) = (&self.form.func.tensors[*tensor], self.name(*n));
                let message =
                    format!("`{}` does not wrap along `{axis}` as other tensors of the state do", t.name);
                return Err(refuse(self.form.func.exprs[*e].span, &message)
                    .cause(t.span, "its edge rule")
                    .help(format!("give all of them the same `edge` along `{axis}`")));
            }
        }
        Ok(())
    }

    /// A tensor that is read and written is written whole, after all reads of it.
    fn written_tensors(&self) -> Result<(), Diagnostic> {
        let form = self.form;
        for (&tensor, field) in self.stencil.state.iter().filter(|(_, f)| f.written) {
            let t = &form.func.tensors[tensor];
            if field.reads.is_none() && t.role == Role::Out {
                continue;
            }
            if !form.items.iter().any(|i| self.gives_all(i, tensor)) {
                let message = format!("`{}` is not written whole", t.name);
                return Err(refuse(t.span, &message).help(format!(
                    "store to every element of `{}`, outside of conditions and `seq`",
                    t.name
                )));
            }
            let stmts: Vec<StmtId> = form.items.iter().flat_map(Item::stmts).collect();
            let stores =
                |s: &StmtId| matches!(form.stmts[*s].action, Action::Store { tensor: x, .. } if x == tensor);
            let first = stmts.iter().position(stores).unwrap_or(stmts.len());
            let late = stmts.iter().skip(first + 1).find(|s| stores(s) || self.reads(**s, tensor));
            if let Some(late) = late {
                let message = format!("`{}` is used after it was written", t.name);
                return Err(refuse(form.stmts[*late].span, &message)
                    .cause(form.stmts[stmts[first]].span, "written here")
                    .help("keep the new value in a `let`, and store it last"));
            }
        }
        Ok(())
    }

    /// Whether an item is a store to every element of a tensor.
    fn gives_all(&self, item: &Item, tensor: TensorId) -> bool {
        let Item::Stmt(s) = item else { return false };
        let Action::Store { tensor: x, index, .. } = &self.form.stmts[*s].action else { return false };
        let shape = &self.form.func.tensors[tensor].shape;
        let mut axes = BTreeSet::new();
        *x == tensor
            && index.iter().zip(shape).all(|(ix, extent)| match self.form.func.exprs[*ix].kind {
                ExprKind::Axis(a) if self.form.is_dimension(a) => {
                    let axis = &self.form.func.axes[a];
                    axes.insert(a)
                        && bounds::literal(self.form, axis.lo) == Some(0)
                        && bounds::same(self.form, axis.hi, *extent)
                }
                _ => false,
            })
    }

    fn reads(&self, s: StmtId, tensor: TensorId) -> bool {
        let reads = access::reads_of(self.form, &self.form.stmts[s].action);
        reads.iter().any(|a| a.object == Object::Tensor(tensor))
    }
}

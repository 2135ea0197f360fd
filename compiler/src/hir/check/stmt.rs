//! Statements of kernels and references, apart from loops.

use super::cx::{Bound, Cx, Flex};
use super::text::{expr_text, strip};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AssignOp, AxisId, ExprId, FuncKind, Role, Stmt, StmtKind, StoreKind, TensorId, ValueId, ValueKind,
};
use crate::syntax::ast;

impl Cx<'_> {
    /// Checks statements one after another, in the current scope.
    pub(super) fn body(&mut self, body: &[ast::Stmt]) -> Vec<Stmt> {
        let mut out = Vec::new();
        for (n, stmt) in body.iter().enumerate() {
            if matches!(stmt.kind, ast::StmtKind::Next(_)) && n + 1 < body.len() {
                self.report(
                    Diagnostic::error(Code::Misplaced, stmt.span, "`next` is the last statement of its loop")
                        .cause(body[n + 1].span, "this comes after it"),
                );
            }
            if let ast::StmtKind::Buf { name, ty } = &stmt.kind
                && self.func.kind != FuncKind::Kernel
            {
                self.tensor(name, ty, Role::Buf, &[]);
                continue;
            }
            let span = stmt.span;
            let kind = match self.func.kind {
                FuncKind::Pipeline => self.pipeline_stmt(stmt),
                FuncKind::Kernel | FuncKind::Reference => self.stmt(stmt),
            };
            match kind {
                Some(kind) => out.push(Stmt { kind, span }),
                None => self.bad = true,
            }
        }
        out
    }

    fn stmt(&mut self, stmt: &ast::Stmt) -> Option<StmtKind> {
        match &stmt.kind {
            ast::StmtKind::Let { name, ty, value } => self.let_stmt(name, ty.as_ref(), value),
            ast::StmtKind::Var { name, ty, value } => self.var_stmt(name, ty, value),
            ast::StmtKind::Assign { target, op, value } => self.assign(target, *op, value, stmt.span),
            ast::StmtKind::For { axes, domains, tiles, with, body } => {
                self.for_stmt(axes, domains, tiles, with, body, stmt.span)
            }
            ast::StmtKind::With { axes, body } => self.with_stmt(axes, body),
            ast::StmtKind::Seq { name, lo, hi, carry, body } => {
                self.seq(name, lo, hi, carry, body, stmt.span)
            }
            ast::StmtKind::Fold { name, domain, tile, carry, body } => {
                self.fold(name, domain, tile.as_ref(), carry, body, stmt.span)
            }
            ast::StmtKind::Next(items) => self.next(items, stmt.span),
            ast::StmtKind::If { cond, then, otherwise } => self.if_stmt(cond, then, otherwise),
            ast::StmtKind::Call { callee, args } => self.kernel_call(callee, args, stmt.span),
            ast::StmtKind::Buf { .. } => {
                self.misplaced(stmt.span, "`buf` stands in pipelines and references")
            }
            ast::StmtKind::Repeat { .. } => {
                self.misplaced(stmt.span, "`repeat` stands in pipelines; a kernel repeats with `seq`")
            }
            ast::StmtKind::Error => None,
        }
    }

    pub(super) fn misplaced(&mut self, span: Span, message: &str) -> Option<StmtKind> {
        self.error(Code::Misplaced, span, message);
        None
    }

    /// `if c { .. } else { .. }`, in kernels and pipelines.
    pub(super) fn if_stmt(
        &mut self,
        cond: &ast::Expr,
        then: &[ast::Stmt],
        otherwise: &[ast::Stmt],
    ) -> Option<StmtKind> {
        let id = self.condition(cond);
        let then = self.scoped(|cx| cx.body(then));
        let otherwise = self.scoped(|cx| cx.body(otherwise));
        let id = id?;
        if let Some(&axis) = self.axes(id).first() {
            let name = self.axis_name(axis).to_owned();
            let message = format!("the condition varies along `{name}`");
            self.report(
                Diagnostic::error(Code::LiveAxis, cond.span, message)
                    .cause(self.func.axes[axis].span, format!("`{name}` is declared here"))
                    .help("choose between values with `select(condition, a, b)`"),
            );
            return None;
        }
        self.whole(id, "a condition")?;
        Some(StmtKind::If { cond: id, then, otherwise })
    }

    /// Refuses a partial result where there is nothing that it could be combined into.
    pub(super) fn whole(&mut self, id: ExprId, what: &str) -> Option<()> {
        let Some(taint) = self.taints[id.index()].clone() else { return Some(()) };
        let axes = self.axis_list(&taint.axes);
        let noun = super::partial::reduction_noun(taint.op);
        self.report(
            Diagnostic::error(
                Code::Partial,
                self.span(id),
                format!("the {noun} over one tile of {axes} changes with the tile size, and {what} may not"),
            )
            .cause(taint.span, format!("the {noun} over one tile")),
        );
        None
    }

    // Definitions

    fn let_stmt(&mut self, name: &ast::Ident, ty: Option<&ast::Type>, value: &ast::Expr) -> Option<StmtKind> {
        let val = self.expr(value);
        let declared = ty.map(|ty| (self.mapped(ty.dtype), self.declared_axes(ty), ty));
        let result = val.and_then(|val| {
            let (id, flex, dtype, axes) = match declared {
                Some((dtype, axes, ty)) => {
                    let id = self.coerce(val, dtype)?;
                    let axes = axes?;
                    self.check_live(&name.name, id, &axes, dtype, ty.span, value, None)?;
                    (id, Flex::Fixed, dtype, axes)
                }
                None => {
                    let id = self.settle(val);
                    let flex = if val.flex == Flex::Int { Flex::Int } else { Flex::Fixed };
                    (id, flex, self.dtype(id), self.axes(id).to_vec())
                }
            };
            let v = self.add_value(name, dtype, axes, ValueKind::Let, ty.is_some());
            self.infos[v.index()].flex = flex;
            self.infos[v.index()].taint = self.taints[id.index()].clone();
            Some((v, id))
        });
        let bound = result.map_or(Bound::Poison, |(v, _)| Bound::Value(v));
        self.bind(&name.name, name.span, bound);
        result.map(|(value, init)| StmtKind::Define { value, init })
    }

    fn var_stmt(&mut self, name: &ast::Ident, ty: &ast::Type, value: &ast::Expr) -> Option<StmtKind> {
        let dtype = self.mapped(ty.dtype);
        let result = self.initial(name, ty, dtype, value, ValueKind::Var);
        let bound = result.map_or(Bound::Poison, |(v, _)| Bound::Value(v));
        self.bind(&name.name, name.span, bound);
        result.map(|(value, init)| StmtKind::Define { value, init })
    }

    /// A value with a declared type and its first content.
    pub(super) fn initial(
        &mut self,
        name: &ast::Ident,
        ty: &ast::Type,
        dtype: rooftile_artifact::DType,
        init: &ast::Expr,
        kind: ValueKind,
    ) -> Option<(ValueId, ExprId)> {
        let val = self.expr(init);
        let axes = self.declared_axes(ty);
        let id = self.coerce(val?, dtype)?;
        let axes = axes?;
        self.whole(id, "a first value")?;
        self.check_live(&name.name, id, &axes, dtype, ty.span, init, None)?;
        Some((self.add_value(name, dtype, axes, kind, true), id))
    }

    /// The axes that a declared type names.
    fn declared_axes(&mut self, ty: &ast::Type) -> Option<Vec<AxisId>> {
        let mut axes: Option<Vec<AxisId>> = Some(Vec::new());
        for e in &ty.shape {
            let found = match &strip(e).kind {
                ast::ExprKind::Name(name) => match self.lookup(name) {
                    Some((Bound::Axis(a), _)) if !crate::hir::walk::is_counter(&self.func.axes[a]) => Some(a),
                    Some((Bound::Poison, _)) => None,
                    _ => {
                        let message = format!("`{name}` is not an axis that is alive here");
                        self.report(
                            Diagnostic::error(Code::MissingAxis, e.span, message)
                                .help("the type of a tile value lists axes of the loops around it"),
                        );
                        None
                    }
                },
                ast::ExprKind::Error => None,
                _ => {
                    self.report(
                        Diagnostic::error(
                            Code::MissingAxis,
                            e.span,
                            "a tile value's type lists axes by name",
                        )
                        .help("for example `f32[i,j]`"),
                    );
                    None
                }
            };
            match (found, &mut axes) {
                (Some(a), Some(list)) if list.contains(&a) => {
                    let name = self.axis_name(a).to_owned();
                    self.error(Code::Duplicate, e.span, format!("`{name}` is listed twice"));
                    axes = None;
                }
                (Some(a), Some(list)) => list.push(a),
                _ => axes = None,
            }
        }
        let list = axes.as_ref()?;
        let missing = list
            .iter()
            .find_map(|&a| self.closure(a).into_iter().find(|p| !list.contains(p)).map(|parent| (a, parent)));
        if let Some((axis, parent)) = missing {
            let (axis, parent) = (self.axis_name(axis).to_owned(), self.axis_name(parent).to_owned());
            self.error(
                Code::MissingAxis,
                ty.span,
                format!("the bounds of `{axis}` vary along `{parent}`, so the type must list `{parent}` too"),
            );
            return None;
        }
        axes
    }

    /// Refuses axes of `id` that the target lacks. `op` is how it is assigned; `None` for a definition.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one message")]
    pub(super) fn check_live(
        &mut self,
        target: &str,
        id: ExprId,
        axes: &[AxisId],
        dtype: rooftile_artifact::DType,
        declared: Span,
        value: &ast::Expr,
        op: Option<(&str, ast::AssignOp)>,
    ) -> Option<()> {
        let live: Vec<AxisId> = self.axes(id).iter().copied().filter(|a| !axes.contains(a)).collect();
        let Some(&first) = live.first() else { return Some(()) };
        let ty = self.type_text(dtype, axes);
        let names: Vec<String> = live.iter().map(|&a| self.axis_name(a).to_owned()).collect();
        let names = names.join(",");
        let be = if live.len() == 1 { "is not an axis" } else { "are not axes" };
        let list = self.axis_list(&live);
        let mut diagnostic =
            Diagnostic::error(Code::LiveAxis, value.span, format!("{list} {be} of `{target}: {ty}`"))
                .cause(declared, format!("`{target}` is declared here"))
                .cause(self.func.axes[first].span, format!("`{}` is declared here", self.axis_name(first)));
        let reduced = reduced_text(value, &names, dtype);
        diagnostic = diagnostic.help(match op {
            Some((left, op)) => format!("{left} {} {reduced}", assign_text(op)),
            None => format!("reduce it: {reduced}"),
        });
        self.report(diagnostic);
        None
    }

    // Assignments

    fn assign(
        &mut self,
        target: &ast::LValue,
        op: ast::AssignOp,
        value: &ast::Expr,
        span: Span,
    ) -> Option<StmtKind> {
        let name = &target.name;
        match self.lookup(&name.name) {
            Some((Bound::Value(v), declared)) => self.update(v, target, op, value, span, declared),
            Some((Bound::Tensor(t), _)) => self.store(t, target, op, value, span),
            Some((Bound::Poison, _)) => {
                self.expr(value);
                None
            }
            Some((_, declared)) => {
                self.expr(value);
                let message = format!("`{}` cannot be assigned to", name.name);
                self.report(
                    Diagnostic::error(Code::NotA, name.span, message).cause(declared, "declared here"),
                );
                None
            }
            None => {
                self.expr(value);
                if self.globals.consts.contains_key(name.name.as_str()) {
                    self.error(Code::NotA, name.span, format!("`{}` is a constant", name.name));
                } else {
                    self.unknown(&name.name, name.span);
                }
                None
            }
        }
    }

    fn update(
        &mut self,
        v: ValueId,
        target: &ast::LValue,
        op: ast::AssignOp,
        value: &ast::Expr,
        span: Span,
        declared: Span,
    ) -> Option<StmtKind> {
        let val = self.expr(value);
        let def = self.func.values[v].clone();
        let wrong = match def.kind {
            ValueKind::Var => None,
            ValueKind::Let => Some(("is a `let`, which has one value", "declare it with `var`")),
            ValueKind::Carry => Some(("is a carry", "give it a new value with `next`")),
        };
        if let Some((what, help)) = wrong {
            self.report(
                Diagnostic::error(Code::NotA, target.span, format!("`{}` {what}", def.name))
                    .cause(declared, "declared here")
                    .help(help),
            );
            return None;
        }
        if let Some(index) = &target.indices {
            let own = index.len() == def.axes.len()
                && index.iter().zip(&def.axes).all(
                    |(e, &a)| matches!(&strip(e).kind, ast::ExprKind::Name(n) if n == self.axis_name(a)),
                );
            if !own {
                self.report(
                    Diagnostic::error(Code::Misplaced, target.span, "a `var` is updated at its own point")
                        .help(def.name.clone()),
                );
                return None;
            }
        }
        let id = self.coerce(val?, def.dtype)?;
        let left = def.name.clone();
        self.check_live(&def.name, id, &def.axes, def.dtype, declared, value, Some((&left, op)))?;
        let outside = self.infos[v.index()].fors.clone();
        let good = self.check_combine(&left, op, value, id, &outside, &[], span);
        good.then_some(StmtKind::Update { value: v, op: lower_op(op), expr: id })
    }

    fn store(
        &mut self,
        t: TensorId,
        target: &ast::LValue,
        op: ast::AssignOp,
        value: &ast::Expr,
        span: Span,
    ) -> Option<StmtKind> {
        let val = self.expr(value);
        let index = self.indices(target.indices.as_deref().unwrap_or(&[]));
        let tensor = self.func.tensors[t].clone();
        if tensor.role == Role::In {
            self.report(
                Diagnostic::error(
                    Code::Misplaced,
                    target.span,
                    format!("`{}` is `in`, so it is only read", tensor.name),
                )
                .cause(tensor.span, "declared here")
                .help("declare it `inout` or `out`"),
            );
            return None;
        }
        let (val, index) = (val?, index?);
        self.check_rank(&tensor.name, tensor.shape.len(), index.len(), target.span, Some(tensor.span))?;
        let id = self.coerce(val, self.mapped(tensor.dtype))?;
        let mut axes: Vec<AxisId> = index.iter().flat_map(|&e| self.axes(e).to_vec()).collect();
        axes.sort_unstable();
        axes.dedup();
        for &e in &index {
            self.whole(e, "an index")?;
        }
        let left = match &target.indices {
            Some(list) => {
                let list: Vec<String> = list.iter().map(expr_text).collect();
                format!("{}[{}]", tensor.name, list.join(","))
            }
            None => tensor.name.clone(),
        };
        let live: Vec<AxisId> = self.axes(id).iter().copied().filter(|a| !axes.contains(a)).collect();
        if let Some(&first) = live.first() {
            let names: Vec<String> = live.iter().map(|&a| self.axis_name(a).to_owned()).collect();
            let list = self.axis_list(&live);
            let be = if live.len() == 1 { "is" } else { "are" };
            let reduced = reduced_text(value, &names.join(","), tensor.dtype);
            self.report(
                Diagnostic::error(
                    Code::LiveAxis,
                    value.span,
                    format!("{list} {be} not among the indices of `{left}`"),
                )
                .cause(target.span, "stored here")
                .cause(self.func.axes[first].span, format!("`{}` is declared here", self.axis_name(first)))
                .help(format!("{left} {} {reduced}", assign_text(op))),
            );
            return None;
        }
        let tainted = self.taints[id.index()].is_some();
        if (op != ast::AssignOp::Set || tainted)
            && !self.check_combine(&left, op, value, id, &[], &axes, span)
        {
            return None;
        }
        // Legality settles it; a scatter is what needs no proof.
        let kind = if op == ast::AssignOp::Set { StoreKind::Injective } else { StoreKind::Scatter };
        Some(StmtKind::Store { tensor: t, index, op: lower_op(op), expr: id, kind })
    }

    // Calls

    fn kernel_call(&mut self, callee: &ast::Ident, args: &[ast::Arg], span: Span) -> Option<StmtKind> {
        if callee.name != "append" {
            let message = if self.globals.kernels.contains(callee.name.as_str())
                || matches!(callee.name.as_str(), "fill" | "copy")
            {
                format!("`{}` can only be called in a pipeline", callee.name)
            } else {
                format!("there is no statement `{}`", callee.name)
            };
            let known = self.globals.kernels.contains(callee.name.as_str()) || message.contains("pipeline");
            let code = if known { Code::Misplaced } else { Code::UnknownName };
            self.error(code, callee.span, message);
            return None;
        }
        let mut exprs = Vec::new();
        for arg in args {
            match arg {
                ast::Arg::Expr(e) => exprs.push(e),
                ast::Arg::Range(e, _) | ast::Arg::Named(_, e) => {
                    self.error(Code::Arguments, e.span, "`append` takes plain values");
                    return None;
                }
            }
        }
        if exprs.len() < 4 {
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    span,
                    "`append` takes a list, its counters, a key and a value",
                )
                .help("append(list, count, key, value) or append(list, count, key, value, condition)"),
            );
            return None;
        }
        let list = self.written_tensor(exprs[0]);
        let count = self.written_tensor(exprs[1]);
        let (list, count) = (list?, count?);
        let (list_def, count_def) = (self.func.tensors[list].clone(), self.func.tensors[count].clone());
        let keys = count_def.shape.len();
        if list_def.shape.len() != keys + 1 || !count_def.dtype.is_int() {
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    span,
                    format!(
                        "`{}` needs the dimensions of `{}` and one more, its capacity",
                        list_def.name, count_def.name
                    ),
                )
                .cause(list_def.span, "the list")
                .cause(count_def.span, "its counters, which are integers"),
            );
            return None;
        }
        let rest = &exprs[2..];
        if rest.len() != keys + 1 && rest.len() != keys + 2 {
            self.error(
                Code::Arguments,
                span,
                format!(
                    "{keys} key{}, a value and perhaps a condition follow `{}`",
                    if keys == 1 { "" } else { "s" },
                    count_def.name
                ),
            );
            return None;
        }
        let mut key = Some(Vec::new());
        for e in &rest[..keys] {
            match self.index(e) {
                Some(id) => key.iter_mut().for_each(|k: &mut Vec<ExprId>| k.push(id)),
                None => key = None,
            }
        }
        let value = self.expr(rest[keys]);
        let pred = match rest.get(keys + 1) {
            Some(e) => Some(self.condition(e)?),
            None => None,
        };
        let value = self.coerce(value?, self.mapped(list_def.dtype))?;
        let key = key?;
        let all = key.iter().copied().chain([value]).chain(pred);
        let mut axes: Vec<AxisId> = Vec::new();
        for e in all {
            self.whole(e, "what is appended")?;
            axes.extend_from_slice(self.axes(e));
        }
        let missing: Vec<AxisId> = self.fors.iter().copied().filter(|a| !axes.contains(a)).collect();
        if !missing.is_empty() {
            let axes = self.axis_list(&missing);
            self.error(
                Code::Partial,
                span,
                format!(
                    "this runs once for every tile of {axes}, so what is appended changes with the tile size"
                ),
            );
            return None;
        }
        Some(StmtKind::Append { list, count, key, value, pred })
    }

    /// The tensor of that name, which must be writable.
    pub(super) fn written_tensor(&mut self, e: &ast::Expr) -> Option<TensorId> {
        let t = self.named_tensor(e)?;
        let tensor = self.func.tensors[t].clone();
        if tensor.role == Role::In {
            self.report(
                Diagnostic::error(
                    Code::Misplaced,
                    e.span,
                    format!("`{}` is `in`, so it is only read", tensor.name),
                )
                .cause(tensor.span, "declared here")
                .help("declare it `inout` or `out`"),
            );
            return None;
        }
        Some(t)
    }

    /// The tensor of that name.
    pub(super) fn named_tensor(&mut self, e: &ast::Expr) -> Option<TensorId> {
        let ast::ExprKind::Name(name) = &strip(e).kind else {
            self.error(Code::Arguments, e.span, "the name of a tensor is needed");
            return None;
        };
        match self.lookup(name) {
            Some((Bound::Tensor(t), _)) => Some(t),
            Some((Bound::Poison, _)) => None,
            Some((_, declared)) => {
                let message = format!("`{name}` is not a tensor");
                self.report(Diagnostic::error(Code::NotA, e.span, message).cause(declared, "declared here"));
                None
            }
            None => {
                self.unknown(name, e.span);
                None
            }
        }
    }
}

/// `dot[k](a, b)` for a product that `dot` takes, `sum[k](e)` otherwise.
fn reduced_text(value: &ast::Expr, axes: &str, dtype: rooftile_artifact::DType) -> String {
    match &strip(value).kind {
        ast::ExprKind::Binary(ast::BinaryOp::Mul, a, b) if dtype.is_float() => {
            format!("dot[{axes}]({}, {})", expr_text(strip(a)), expr_text(strip(b)))
        }
        _ => format!("sum[{axes}]({})", expr_text(strip(value))),
    }
}

fn assign_text(op: ast::AssignOp) -> &'static str {
    match op {
        ast::AssignOp::Set => "=",
        ast::AssignOp::Add => "+=",
        ast::AssignOp::Sub => "-=",
        ast::AssignOp::Mul => "*=",
        ast::AssignOp::Max => "max=",
        ast::AssignOp::Min => "min=",
    }
}

fn lower_op(op: ast::AssignOp) -> AssignOp {
    match op {
        ast::AssignOp::Set => AssignOp::Set,
        ast::AssignOp::Add => AssignOp::Add,
        ast::AssignOp::Sub => AssignOp::Sub,
        ast::AssignOp::Mul => AssignOp::Mul,
        ast::AssignOp::Max => AssignOp::Max,
        ast::AssignOp::Min => AssignOp::Min,
    }
}

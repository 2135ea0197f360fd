//! Statements of pipelines: calls of kernels on tensors and views, fills, copies, repeats.

use rooftile_artifact::DType;

use super::cx::{Bound, Cx};
use super::text::{expr_text, strip};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AxisKind, BinaryOp, CallArg, ExprId, ExprKind, Func, ParamRef, Role, SizeId, StmtKind, TensorId, View,
    ViewDim,
};
use crate::hir::walk;
use crate::syntax::ast;

impl Cx<'_> {
    pub(super) fn pipeline_stmt(&mut self, stmt: &ast::Stmt) -> Option<StmtKind> {
        match &stmt.kind {
            ast::StmtKind::Call { callee, args } => match callee.name.as_str() {
                "fill" => self.fill(args, stmt.span),
                "copy" => self.copy(args, stmt.span),
                _ => self.launch(callee, args, stmt.span),
            },
            ast::StmtKind::Repeat { name, lo, hi, pingpong, body } => {
                self.repeat(name, lo, hi, pingpong, body)
            }
            ast::StmtKind::If { cond, then, otherwise } => self.if_stmt(cond, then, otherwise),
            ast::StmtKind::Error => None,
            ast::StmtKind::Let { .. }
            | ast::StmtKind::Var { .. }
            | ast::StmtKind::Assign { .. }
            | ast::StmtKind::For { .. }
            | ast::StmtKind::With { .. }
            | ast::StmtKind::Fold { .. }
            | ast::StmtKind::Next(_) => {
                self.misplaced(stmt.span, "a pipeline calls kernels; this belongs into a kernel")
            }
            ast::StmtKind::Seq { .. } => {
                self.misplaced(stmt.span, "a pipeline repeats with `repeat`; `seq` belongs into a kernel")
            }
            ast::StmtKind::Buf { .. } => None,
        }
    }

    fn plain_args<'e>(&mut self, name: &str, args: &'e [ast::Arg]) -> Option<Vec<&'e ast::Expr>> {
        let mut out = Vec::new();
        for arg in args {
            match arg {
                ast::Arg::Expr(e) => out.push(e),
                ast::Arg::Range(e, _) | ast::Arg::Named(_, e) => {
                    self.error(Code::Arguments, e.span, format!("`{name}` takes plain arguments"));
                    return None;
                }
            }
        }
        Some(out)
    }

    fn fill(&mut self, args: &[ast::Arg], span: Span) -> Option<StmtKind> {
        let args = self.plain_args("fill", args)?;
        let [tensor, value] = args[..] else {
            self.report(
                Diagnostic::error(Code::Arguments, span, "`fill` takes a tensor and a value")
                    .help("fill(T, 0.0)"),
            );
            return None;
        };
        let tensor = self.written_tensor(tensor);
        let val = self.expr(value);
        let tensor = tensor?;
        let value = self.coerce(val?, self.func.tensors[tensor].dtype)?;
        Some(StmtKind::Fill { tensor, value })
    }

    fn copy(&mut self, args: &[ast::Arg], span: Span) -> Option<StmtKind> {
        let args = self.plain_args("copy", args)?;
        let [from, to] = args[..] else {
            self.report(
                Diagnostic::error(Code::Arguments, span, "`copy` takes two tensors: from, to")
                    .help("copy(A, B)"),
            );
            return None;
        };
        let (from_id, to_id) = (self.named_tensor(from), self.written_tensor(to));
        let (from_id, to_id) = (from_id?, to_id?);
        if from_id == to_id {
            self.error(Code::Arguments, span, "a tensor is copied onto itself");
            return None;
        }
        self.same_storage(from_id, to_id, span)?;
        Some(StmtKind::Copy { from: from_id, to: to_id })
    }

    /// Refuses two tensors that are not of one type and shape.
    fn same_storage(&mut self, a: TensorId, b: TensorId, span: Span) -> Option<()> {
        let (ta, tb) = (self.func.tensors[a].clone(), self.func.tensors[b].clone());
        let report = |cx: &mut Self, code, what: &str| {
            cx.report(
                Diagnostic::error(code, span, format!("`{}` and `{}` differ in {what}", ta.name, tb.name))
                    .cause(ta.span, "one")
                    .cause(tb.span, "the other"),
            );
        };
        if ta.dtype != tb.dtype {
            report(self, Code::TypeMismatch, "element type");
            return None;
        }
        let same = ta.shape.len() == tb.shape.len()
            && ta.shape.iter().zip(&tb.shape).all(|(&x, &y)| self.extents_agree(x, y));
        if !same {
            report(self, Code::Size, "shape");
            return None;
        }
        Some(())
    }

    fn repeat(
        &mut self,
        name: &ast::Ident,
        lo: &ast::Expr,
        hi: &ast::Expr,
        written: &[(ast::Ident, ast::Ident)],
        body: &[ast::Stmt],
    ) -> Option<StmtKind> {
        let bounds = self.counter_bounds(lo, hi);
        let pairs: Vec<Option<(TensorId, TensorId)>> = written.iter().map(|pair| self.pair(pair)).collect();
        self.scoped(|cx| {
            let axis = match bounds {
                Some((lo, hi)) => Some(cx.add_axis(name, AxisKind::Repeat, lo, hi)),
                None => {
                    cx.bind(&name.name, name.span, Bound::Poison);
                    None
                }
            };
            let body = cx.body(body);
            let pingpong: Option<Vec<_>> = pairs.into_iter().collect();
            cx.exchanged_once(pingpong.as_deref()?, written)?;
            Some(StmtKind::Repeat { axis: axis?, pingpong: pingpong?, body })
        })
    }

    /// A buffer may take part in one exchange only.
    fn exchanged_once(
        &mut self,
        pairs: &[(TensorId, TensorId)],
        written: &[(ast::Ident, ast::Ident)],
    ) -> Option<()> {
        let mut seen: Vec<TensorId> = Vec::new();
        for (&(a, b), (name, other)) in pairs.iter().zip(written) {
            if a == b || seen.contains(&a) || seen.contains(&b) {
                self.error(
                    Code::Duplicate,
                    name.span.to(other.span),
                    "a buffer takes part in one exchange only",
                );
                return None;
            }
            seen.extend([a, b]);
        }
        Some(())
    }

    fn pair(&mut self, (a, b): &(ast::Ident, ast::Ident)) -> Option<(TensorId, TensorId)> {
        let expr =
            |name: &ast::Ident| ast::Expr { kind: ast::ExprKind::Name(name.name.clone()), span: name.span };
        let (x, y) = (self.written_tensor(&expr(a)), self.written_tensor(&expr(b)));
        let (x, y) = (x?, y?);
        self.same_storage(x, y, a.span.to(b.span))?;
        Some((x, y))
    }

    // Calls

    fn launch(&mut self, callee: &ast::Ident, args: &[ast::Arg], span: Span) -> Option<StmtKind> {
        let name = callee.name.as_str();
        let Some(&id) = self.globals.funcs.get(name) else {
            if self.globals.kernels.contains(name) {
                // It has errors of its own.
                return None;
            }
            let mut diagnostic =
                Diagnostic::error(Code::UnknownName, callee.span, format!("there is no kernel `{name}`"));
            if self.globals.pipelines.contains(name) {
                diagnostic = Diagnostic::error(
                    Code::NotA,
                    callee.span,
                    format!("`{name}` is a pipeline; only kernels can be called"),
                );
            } else if name == "append" {
                diagnostic = Diagnostic::error(Code::Misplaced, callee.span, "`append` stands in kernels");
            } else {
                let known = self.globals.kernels.iter().copied().chain(["fill", "copy"]);
                if let Some(near) = crate::diag::suggest(name, known) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
            }
            self.report(diagnostic);
            return None;
        };
        let kernel = &self.globals.done[id];
        if args.len() != kernel.params.len() {
            let want = kernel.params.len();
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    span,
                    format!(
                        "`{name}` takes {want} argument{}, not {}",
                        if want == 1 { "" } else { "s" },
                        args.len()
                    ),
                )
                .cause(kernel.span, "defined here"),
            );
            return None;
        }
        let mut lowered = Vec::new();
        let mut good = true;
        for (arg, &param) in args.iter().zip(&kernel.params) {
            let made = match param {
                ParamRef::Tensor(t) => self.tensor_arg(arg, kernel, t).map(CallArg::Tensor),
                ParamRef::Scalar(s) => self.scalar_arg(arg, kernel.scalars[s].dtype).map(CallArg::Scalar),
            };
            good &= made.is_some();
            lowered.extend(made);
        }
        if !good {
            return None;
        }
        self.check_aliases(kernel, &lowered, args, span)?;
        let sizes = self.bind_sizes(kernel, &lowered, callee.span)?;
        Some(StmtKind::Call { callee: id, args: lowered, sizes })
    }

    fn scalar_arg(&mut self, arg: &ast::Arg, dtype: DType) -> Option<ExprId> {
        let ast::Arg::Expr(e) = arg else {
            let span = arg_span(arg);
            self.error(Code::Arguments, span, "a plain value is needed");
            return None;
        };
        let val = self.expr(e)?;
        self.coerce(val, dtype)
    }

    fn tensor_arg(&mut self, arg: &ast::Arg, kernel: &Func, param: TensorId) -> Option<View> {
        let ast::Arg::Expr(e) = arg else {
            self.error(Code::Arguments, arg_span(arg), "a tensor is needed");
            return None;
        };
        let view = self.view(e)?;
        let (formal, actual) = (&kernel.tensors[param], self.func.tensors[view.tensor].clone());
        if formal.dtype != actual.dtype {
            self.report(
                Diagnostic::error(
                    Code::TypeMismatch,
                    e.span,
                    format!(
                        "`{}` has elements of `{}`, `{}` of `{}`",
                        actual.name, actual.dtype, formal.name, formal.dtype
                    ),
                )
                .cause(formal.span, "the parameter")
                .cause(actual.span, "the argument"),
            );
            return None;
        }
        if formal.shape.len() != view.dims.len() {
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    e.span,
                    format!(
                        "{} dimensions, where `{}` has {}",
                        view.dims.len(),
                        formal.name,
                        formal.shape.len()
                    ),
                )
                .cause(formal.span, "the parameter"),
            );
            return None;
        }
        if formal.role != Role::In && actual.role == Role::In {
            self.report(
                Diagnostic::error(
                    Code::Arguments,
                    e.span,
                    format!("`{}` is `in`, but the kernel writes it", actual.name),
                )
                .cause(actual.span, "declared here")
                .cause(formal.span, "written as this parameter")
                .help("declare it `inout`"),
            );
            return None;
        }
        Some(view)
    }

    /// A tensor by name, `permute(T, 0, 2, 1)`, `T[i]` (leading dimensions held), `slice(T, d, lo..hi)`.
    fn view(&mut self, e: &ast::Expr) -> Option<View> {
        match &strip(e).kind {
            ast::ExprKind::Name(_) => {
                let tensor = self.named_tensor(e)?;
                let rank = self.func.tensors[tensor].shape.len();
                let dims = (0..rank).map(|source| ViewDim { source, lo: None, extent: None }).collect();
                Some(View { tensor, dims, fixed: Vec::new() })
            }
            ast::ExprKind::Index(base, index) => {
                let mut view = self.view(base)?;
                let ids = self.indices(index)?;
                if ids.len() >= view.dims.len() {
                    self.error(Code::Arguments, e.span, "a view keeps at least one dimension");
                    return None;
                }
                for (dim, id) in view.dims.drain(..ids.len()).collect::<Vec<_>>().into_iter().zip(ids) {
                    let at = match dim.lo {
                        Some(lo) => self.make(ExprKind::Binary(BinaryOp::Add, lo, id), DType::I64, e.span),
                        None => id,
                    };
                    view.fixed.push((dim.source, at));
                }
                view.fixed.sort_by_key(|&(dim, _)| dim);
                Some(view)
            }
            ast::ExprKind::Call(f, args) if f.name == "permute" => self.permute(args, e.span),
            ast::ExprKind::Call(f, args) if f.name == "slice" => self.slice(args, e.span),
            ast::ExprKind::Error => None,
            _ => {
                self.report(
                    Diagnostic::error(
                        Code::Arguments,
                        e.span,
                        format!("`{}` is not a tensor or a view of one", expr_text(strip(e))),
                    )
                    .help("views are `permute(T, 1, 0)`, `slice(T, 0, a..b)` and `T[i]`"),
                );
                None
            }
        }
    }

    fn permute(&mut self, args: &[ast::Arg], span: Span) -> Option<View> {
        let args = self.plain_args("permute", args)?;
        let Some((tensor, order)) = args.split_first() else {
            self.error(Code::Arguments, span, "`permute` takes a tensor and its dimensions in a new order");
            return None;
        };
        let view = self.view(tensor)?;
        let mut dims = Vec::new();
        let mut seen = vec![false; view.dims.len()];
        for e in order {
            let dim = match &strip(e).kind {
                ast::ExprKind::Int { value, .. } => usize::try_from(*value).ok(),
                _ => None,
            };
            match dim {
                Some(d) if d < seen.len() && !seen[d] => {
                    seen[d] = true;
                    dims.push(view.dims[d].clone());
                }
                _ => {
                    let rank = seen.len();
                    let message =
                        format!("`permute` takes each dimension from 0 to {} once", rank.saturating_sub(1));
                    self.error(Code::Arguments, e.span, message);
                    return None;
                }
            }
        }
        if dims.len() != view.dims.len() {
            let (want, got) = (view.dims.len(), dims.len());
            self.error(Code::Arguments, span, format!("{got} dimensions for a tensor of {want}"));
            return None;
        }
        Some(View { dims, ..view })
    }

    fn slice(&mut self, args: &[ast::Arg], span: Span) -> Option<View> {
        let [ast::Arg::Expr(tensor), ast::Arg::Expr(dim), ast::Arg::Range(lo, hi)] = args else {
            self.report(
                Diagnostic::error(Code::Arguments, span, "`slice` takes a tensor, a dimension and a range")
                    .help("slice(T, 0, a..b)"),
            );
            return None;
        };
        let mut view = self.view(tensor)?;
        let which = match &strip(dim).kind {
            ast::ExprKind::Int { value, .. } => usize::try_from(*value).ok().filter(|&d| d < view.dims.len()),
            _ => None,
        };
        let Some(which) = which else {
            let message = format!("a dimension below {} is needed", view.dims.len());
            self.error(Code::Arguments, dim.span, message);
            return None;
        };
        let (lo, hi) = (self.index(lo), self.index(hi));
        let (lo, hi) = (lo?, hi?);
        let extent = self.make(ExprKind::Binary(BinaryOp::Sub, hi, lo), DType::I64, span);
        let start = match view.dims[which].lo {
            Some(old) => self.make(ExprKind::Binary(BinaryOp::Add, old, lo), DType::I64, span),
            None => lo,
        };
        view.dims[which] = ViewDim { lo: Some(start), extent: Some(extent), ..view.dims[which].clone() };
        Some(view)
    }

    /// One tensor in two places, one of them written, is a race.
    fn check_aliases(
        &mut self,
        kernel: &Func,
        lowered: &[CallArg],
        args: &[ast::Arg],
        span: Span,
    ) -> Option<()> {
        let mut seen: Vec<(TensorId, bool, Span)> = Vec::new();
        for ((arg, &param), written) in lowered.iter().zip(&kernel.params).zip(args) {
            let (CallArg::Tensor(view), ParamRef::Tensor(p)) = (arg, param) else { continue };
            let writes = kernel.tensors[p].role != Role::In;
            let at = arg_span(written);
            if let Some(&(_, _, other)) = seen.iter().find(|(t, w, _)| *t == view.tensor && (*w || writes)) {
                let name = self.func.tensors[view.tensor].name.clone();
                self.report(
                    Diagnostic::error(
                        Code::Race,
                        span,
                        format!("`{name}` is given twice, and the kernel writes it"),
                    )
                    .cause(other, "here")
                    .cause(at, "and here"),
                );
                return None;
            }
            seen.push((view.tensor, writes, at));
        }
        Some(())
    }

    // Sizes

    /// The value of each of the kernel's sizes in this pipeline's terms.
    fn bind_sizes(&mut self, kernel: &Func, args: &[CallArg], span: Span) -> Option<Vec<ExprId>> {
        let mut known: Vec<Option<ExprId>> = vec![None; kernel.sizes.len()];
        let mut extents: Vec<(ExprId, ExprId)> = Vec::new();
        let mut scalars: Vec<Option<ExprId>> = vec![None; kernel.scalars.len()];
        for (arg, &param) in args.iter().zip(&kernel.params) {
            match (arg, param) {
                (CallArg::Tensor(view), ParamRef::Tensor(p)) => {
                    for (dim, &formal) in view.dims.iter().zip(&kernel.tensors[p].shape) {
                        let whole = self.func.tensors[view.tensor].shape[dim.source];
                        extents.push((formal, dim.extent.unwrap_or(whole)));
                    }
                }
                (CallArg::Scalar(e), ParamRef::Scalar(s)) => scalars[s.index()] = Some(*e),
                _ => {}
            }
        }
        for &(formal, actual) in &extents {
            if let ExprKind::Size(s) = kernel.exprs[formal].kind {
                known[s.index()].get_or_insert(actual);
            }
        }
        // Shapes that are linear in one unknown; each round may make another one so.
        loop {
            let before = known.iter().flatten().count();
            for &(formal, actual) in &extents {
                if let Some(size) = one_unknown(kernel, formal, &known)
                    && let Some(value) = self.isolate(kernel, formal, size, actual, &known, &scalars, span)
                {
                    known[size.index()] = Some(value);
                }
            }
            if known.iter().flatten().count() == before {
                break;
            }
        }
        for (n, size) in kernel.sizes.iter() {
            if known[n.index()].is_none()
                && let Some((Bound::Size(same), _)) = self.lookup(&size.name)
            {
                known[n.index()] = Some(self.make(ExprKind::Size(same), DType::I64, span));
            }
        }
        let missing: Vec<&str> = kernel
            .sizes
            .iter()
            .filter(|(n, _)| known[n.index()].is_none())
            .map(|(_, size)| size.name.as_str())
            .collect();
        if !missing.is_empty() {
            let list = missing.join("`, `");
            self.report(
                Diagnostic::error(
                    Code::Size,
                    span,
                    format!("nothing here says what `{list}` of `{}` is", kernel.name),
                )
                .cause(
                    kernel
                        .sizes
                        .iter()
                        .find(|(_, s)| s.name == missing[0])
                        .map_or(kernel.span, |(_, s)| s.span),
                    "the size",
                )
                .help("a size binds from an argument's shape, or is the pipeline's size of the same name"),
            );
            return None;
        }
        for &(formal, actual) in &extents {
            let Some(formal_here) = self.import(kernel, formal, &known, &scalars, span) else { continue };
            if !self.extents_agree(formal_here, actual) {
                let formal_text = crate::hir::print::user_text(kernel, &self.globals.tables, formal);
                let here = crate::hir::print::user_text(&self.func, &self.globals.tables, actual);
                self.report(
                    Diagnostic::error(
                        Code::Size,
                        span,
                        format!("an extent is `{here}` here, where `{}` needs `{formal_text}`", kernel.name),
                    )
                    .cause(kernel.span, "defined here"),
                );
                return None;
            }
        }
        known.into_iter().collect()
    }

    /// Whether two extents agree at all small sizes that the conditions allow.
    fn extents_agree(&self, a: ExprId, b: ExprId) -> bool {
        a == b || super::super::size_eval::agree(&self.func, a, b)
    }

    /// Copies a size expression of a kernel into this function.
    fn import(
        &mut self,
        kernel: &Func,
        e: ExprId,
        sizes: &[Option<ExprId>],
        scalars: &[Option<ExprId>],
        span: Span,
    ) -> Option<ExprId> {
        if self.exhausted() {
            return None;
        }
        let expr = &kernel.exprs[e];
        let kind = match &expr.kind {
            ExprKind::Size(s) => return sizes[s.index()],
            ExprKind::Scalar(s) => return scalars[s.index()],
            ExprKind::Const(_) => expr.kind.clone(),
            ExprKind::Unary(op, a) => ExprKind::Unary(*op, self.import(kernel, *a, sizes, scalars, span)?),
            ExprKind::Cast(a) => ExprKind::Cast(self.import(kernel, *a, sizes, scalars, span)?),
            ExprKind::Binary(op, a, b) => {
                let a = self.import(kernel, *a, sizes, scalars, span)?;
                ExprKind::Binary(*op, a, self.import(kernel, *b, sizes, scalars, span)?)
            }
            ExprKind::Call(f, args) => {
                let args: Option<Vec<ExprId>> =
                    args.iter().map(|&a| self.import(kernel, a, sizes, scalars, span)).collect();
                ExprKind::Call(*f, args?)
            }
            _ => return None,
        };
        Some(self.make(kind, expr.dtype, span))
    }

    /// Solves `formal == actual` for the one size that is not known.
    #[expect(clippy::too_many_arguments, reason = "the two functions' terms are all needed")]
    fn isolate(
        &mut self,
        kernel: &Func,
        formal: ExprId,
        unknown: SizeId,
        actual: ExprId,
        sizes: &[Option<ExprId>],
        scalars: &[Option<ExprId>],
        span: Span,
    ) -> Option<ExprId> {
        let (op, a, b) = match kernel.exprs[formal].kind {
            ExprKind::Size(s) if s == unknown => return Some(actual),
            ExprKind::Binary(op, a, b) => (op, a, b),
            _ => return None,
        };
        let has = |e| walk::mentions(kernel, e, &ExprKind::Size(unknown));
        let (inner, other, left) = match (has(a), has(b)) {
            (true, false) => (a, b, true),
            (false, true) => (b, a, false),
            _ => return None,
        };
        let other = self.import(kernel, other, sizes, scalars, span)?;
        let kind = match (op, left) {
            (BinaryOp::Add, _) => ExprKind::Binary(BinaryOp::Sub, actual, other),
            (BinaryOp::Sub, true) => ExprKind::Binary(BinaryOp::Add, actual, other),
            (BinaryOp::Sub, false) => ExprKind::Binary(BinaryOp::Sub, other, actual),
            (BinaryOp::Mul, _) => ExprKind::Binary(BinaryOp::Div, actual, other),
            _ => return None,
        };
        let rest = self.make(kind, DType::I64, span);
        self.isolate(kernel, inner, unknown, rest, sizes, scalars, span)
    }
}

/// The only size of the expression that is not known, where there is one.
fn one_unknown(func: &Func, e: ExprId, known: &[Option<ExprId>]) -> Option<SizeId> {
    let mut unknown: Vec<SizeId> = Vec::new();
    walk::for_each_expr(func, e, |_, x| {
        if let ExprKind::Size(s) = x.kind
            && known[s.index()].is_none()
            && !unknown.contains(&s)
        {
            unknown.push(s);
        }
    });
    match unknown[..] {
        [one] => Some(one),
        _ => None,
    }
}

fn arg_span(arg: &ast::Arg) -> Span {
    match arg {
        ast::Arg::Expr(e) | ast::Arg::Named(_, e) => e.span,
        ast::Arg::Range(a, b) => a.span.to(b.span),
    }
}

//! The rule of partial results: what a reduction over a tiled axis gives inside one tile changes with the tile size,
//! so it may only be combined, by the same operator, into something declared outside the loop.

use rooftile_artifact::{DType, Scalar};

use super::cx::Cx;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Func, Function, ReduceOp, Stmt, StmtKind, UnaryOp, ValueId,
};
use crate::hir::walk;

/// A value is a partial result: which axes were reduced in one tile only, and by what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taint {
    /// `for` axes, in order of handles.
    pub(super) axes: Vec<AxisId>,
    /// The operator; `Dot` counts as `Sum`.
    pub(super) op: ReduceOp,
    /// The reduction.
    pub(super) span: Span,
}

/// The noun for what a reduction gives.
pub(super) fn reduction_noun(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum | ReduceOp::Dot => "sum",
        ReduceOp::Prod => "product",
        ReduceOp::Max => "maximum",
        ReduceOp::Min => "minimum",
        ReduceOp::Any => "`any`",
        ReduceOp::All => "`all`",
        ReduceOp::Argmax => "`argmax`",
        ReduceOp::Argmin => "`argmin`",
    }
}

impl Cx<'_> {
    /// The dependence on tiles of an expression from that of its operands; a use that breaks the rule is reported,
    /// once, and the result counts as whole.
    pub(super) fn taint_of(&mut self, kind: &ExprKind, dtype: DType, span: Span) -> Option<Taint> {
        if let ExprKind::Value(v) = kind {
            return self.infos[v.index()].taint.clone();
        }
        let mut found: Option<(ExprId, Taint)> = None;
        let mut count = 0;
        walk::operands(kind, |e| {
            if let Some(taint) = &self.taints[e.index()] {
                count += 1;
                found.get_or_insert((e, taint.clone()));
            }
        });
        let Some((at, taint)) = found else { return self.reduced_in_tile(kind, span) };
        if self.keeps_partial(kind, dtype, &taint) {
            return Some(taint);
        }
        self.report_partial_use(&taint, self.span(at), span);
        None
    }

    fn reduced_in_tile(&self, kind: &ExprKind, span: Span) -> Option<Taint> {
        let ExprKind::Reduce { op, axes, .. } = kind else { return None };
        let tiled: Vec<AxisId> =
            axes.iter().copied().filter(|&a| matches!(self.func.axes[a].kind, AxisKind::For(_))).collect();
        let op = if *op == ReduceOp::Dot { ReduceOp::Sum } else { *op };
        (!tiled.is_empty()).then_some(Taint { axes: tiled, op, span })
    }

    /// Whether the operation distributes over the operator, so that its result is a partial result too.
    fn keeps_partial(&self, kind: &ExprKind, dtype: DType, taint: &Taint) -> bool {
        let of = |e: &ExprId| self.taints[e.index()].as_ref();
        let same = |e: &ExprId| of(e).is_some_and(|t| t.axes == taint.axes && t.op == taint.op);
        let zero = |e: &ExprId| {
            matches!(
                self.func.exprs[*e].kind,
                ExprKind::Const(Scalar::Int(0) | Scalar::Float(0.0) | Scalar::Complex(0.0, 0.0))
            )
        };
        let sum = taint.op == ReduceOp::Sum;
        match kind {
            ExprKind::Unary(UnaryOp::Neg, _) => sum,
            ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => sum && same(a) && same(b),
            ExprKind::Binary(BinaryOp::Mul, a, b) => sum && (of(a).is_none() || of(b).is_none()),
            ExprKind::Binary(BinaryOp::Div, a, b) => {
                sum && of(b).is_none() && !self.func.exprs[*a].dtype.is_int()
            }
            ExprKind::Cast(a) => widens(self.func.exprs[*a].dtype, dtype),
            ExprKind::Select(c, a, b) => {
                of(c).is_none()
                    && ((same(a) && same(b)) || (sum && ((same(a) && zero(b)) || (zero(a) && same(b)))))
            }
            ExprKind::Call(Function::Max, args) => taint.op == ReduceOp::Max && args.iter().all(same),
            ExprKind::Call(Function::Min, args) => taint.op == ReduceOp::Min && args.iter().all(same),
            ExprKind::Call(Function::Complex, args) => sum && args.iter().all(|e| same(e) || zero(e)),
            ExprKind::Call(Function::Re | Function::Im | Function::Conj, _) => sum,
            _ => false,
        }
    }

    fn report_partial_use(&mut self, taint: &Taint, at: Span, user: Span) {
        let axes = self.axis_list(&taint.axes);
        let noun = reduction_noun(taint.op);
        let first = taint.axes.first().map(|&a| self.axis_name(a).to_owned()).unwrap_or_default();
        let mut diagnostic = Diagnostic::error(
            Code::Partial,
            user,
            format!("the {noun} over one tile of {axes} changes with the tile size, and so would this"),
        )
        .cause(taint.span, format!("the {noun} over one tile"));
        if at != taint.span {
            diagnostic = diagnostic.cause(at, "used here");
        }
        self.report(diagnostic.help(format!(
            "make the axis whole (`with {first} in ..`), accumulate into a `var` outside the loop over `{first}`, \
             or write a `fold`"
        )));
    }

    /// `` `i`, `j` ``
    pub(super) fn axis_list(&self, axes: &[AxisId]) -> String {
        let names: Vec<String> = axes.iter().map(|&a| format!("`{}`", self.axis_name(a))).collect();
        names.join(", ")
    }

    /// Refuses reads of an accumulator inside the loop that accumulates into it: what they see depends on the tiles
    /// that ran before.
    pub(super) fn check_accumulator_reads(&mut self, body: &[Stmt]) {
        let mut loops = Vec::new();
        walk::for_each_stmt(body, &mut |stmt| {
            if let StmtKind::For { axes, body, .. } = &stmt.kind
                && !axes.is_empty()
            {
                loops.push((axes.clone(), body.clone()));
            }
        });
        for (axes, body) in loops {
            let mut updated: Vec<(ValueId, Span)> = Vec::new();
            walk::for_each_stmt(&body, &mut |stmt| {
                if let StmtKind::Update { value, .. } = stmt.kind
                    && axes.iter().any(|a| !self.infos[value.index()].fors.contains(a))
                {
                    updated.push((value, stmt.span));
                }
            });
            for (value, update) in updated {
                if let Some(read) = first_read(&self.func, &body, value) {
                    let name = self.func.values[value].name.clone();
                    let axes = self.axis_list(&axes);
                    self.report(
                        Diagnostic::error(
                            Code::Partial,
                            read,
                            format!("`{name}` is still being accumulated over the tiles of {axes}"),
                        )
                        .cause(update, "accumulated here")
                        .help(format!("read `{name}` after the loop")),
                    );
                }
            }
        }
    }

    /// Checks `target op= e` against the rule. `outside` are the `for` axes around the target's declaration, `covered`
    /// those that the statement has points along. Says whether it may stand.
    #[expect(clippy::too_many_arguments, reason = "the parts of a statement, and where it stands")]
    pub(super) fn check_combine(
        &mut self,
        target: &str,
        op: crate::syntax::ast::AssignOp,
        value: &crate::syntax::ast::Expr,
        id: ExprId,
        outside: &[AxisId],
        covered: &[AxisId],
        span: Span,
    ) -> bool {
        use crate::syntax::ast::AssignOp;
        let taint = self.taints[id.index()].clone();
        let want = match op {
            AssignOp::Set => None,
            AssignOp::Add | AssignOp::Sub => Some(ReduceOp::Sum),
            AssignOp::Mul => Some(ReduceOp::Prod),
            AssignOp::Max => Some(ReduceOp::Max),
            AssignOp::Min => Some(ReduceOp::Min),
        };
        if let Some(taint) = &taint {
            let noun = reduction_noun(taint.op);
            let axes = self.axis_list(&taint.axes);
            let Some(want) = want else {
                let dtype = self.dtype(id);
                let ty = self.type_text(dtype, self.axes(id));
                let init = initial_text(taint.op, dtype);
                let sign = op_text(taint.op);
                self.report(
                    Diagnostic::error(
                        Code::Partial,
                        span,
                        format!("the {noun} over one tile of {axes} changes with the tile size"),
                    )
                    .cause(taint.span, format!("the {noun} over one tile"))
                    .help(format!("declare `var s: {ty} = {init}` outside the loop, `s {sign} ..` inside")),
                );
                return false;
            };
            if want != taint.op {
                let sign = op_text(taint.op);
                let written = op_text(want);
                let mut diagnostic = Diagnostic::error(
                    Code::WrongMonoid,
                    span,
                    format!("`{written}` does not combine what is a {noun} over each tile of {axes}"),
                )
                .cause(taint.span, format!("the {noun} over one tile"));
                if sign != "=" {
                    let text = super::text::expr_text(value);
                    diagnostic = diagnostic.help(format!("{target} {sign} {text}"));
                }
                self.report(diagnostic);
                return false;
            }
            if let Some(&axis) = taint.axes.iter().find(|a| outside.contains(a)) {
                let axis = self.axis_name(axis).to_owned();
                self.report(
                    Diagnostic::error(
                        Code::Partial,
                        span,
                        format!("`{target}` is declared inside the loop over `{axis}`, so it holds one tile's {noun}"),
                    )
                    .cause(taint.span, format!("the {noun} over one tile"))
                    .help(format!("declare `{target}` outside the loop over `{axis}`")),
                );
                return false;
            }
        }
        let reduced = taint.map(|t| t.axes).unwrap_or_default();
        let idempotent = matches!(want, Some(ReduceOp::Max | ReduceOp::Min));
        let missing: Vec<AxisId> = self
            .fors
            .iter()
            .copied()
            .filter(|a| !outside.contains(a) && !reduced.contains(a) && !covered.contains(a))
            .collect();
        if missing.is_empty() || idempotent {
            return true;
        }
        let axes = self.axis_list(&missing);
        self.report(
            Diagnostic::error(
                Code::Partial,
                span,
                format!("this runs once for every tile of {axes}, so the result changes with the tile size"),
            )
            .help("move it out of the loop, or reduce over the axis"),
        );
        false
    }
}

/// Whether converting loses nothing, so that it may be done to each tile's part.
fn widens(from: DType, to: DType) -> bool {
    if let (Some((a, b)), Some((c, d))) = (from.int_range(), to.int_range()) {
        return c <= a && b <= d;
    }
    let float = |d: DType| d.is_float() || d.is_complex();
    match (from.real().unit_roundoff(), to.real().unit_roundoff()) {
        (Some(a), Some(b)) => float(from) && float(to) && b <= a && from.size() <= to.size(),
        _ => false,
    }
}

fn op_text(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum | ReduceOp::Dot => "+=",
        ReduceOp::Prod => "*=",
        ReduceOp::Max => "max=",
        ReduceOp::Min => "min=",
        _ => "=",
    }
}

fn initial_text(op: ReduceOp, dtype: DType) -> String {
    match (op, dtype.is_float()) {
        (ReduceOp::Prod, true) => "1.0".to_owned(),
        (ReduceOp::Prod, false) => "1".to_owned(),
        (ReduceOp::Max, true) => "-inf".to_owned(),
        (ReduceOp::Min, true) => "inf".to_owned(),
        (_, false) if dtype.is_int() => "0".to_owned(),
        _ => "0.0".to_owned(),
    }
}

/// The first expression in the statements that reads the value.
fn first_read(func: &Func, body: &[Stmt], value: ValueId) -> Option<Span> {
    let mut found = None;
    let look = |root: ExprId, found: &mut Option<Span>| {
        walk::for_each_expr(func, root, |_, e| match e.kind {
            ExprKind::Value(v) | ExprKind::ValueAt(v, _) if v == value && found.is_none() => {
                *found = Some(e.span)
            }
            _ => {}
        });
    };
    walk::for_each_stmt(body, &mut |stmt| {
        walk::stmt_exprs(stmt, |e| look(e, &mut found));
        for axis in walk::declared_axes(stmt) {
            look(func.axes[axis].lo, &mut found);
            look(func.axes[axis].hi, &mut found);
        }
    });
    found
}

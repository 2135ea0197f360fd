//! Expressions: names, operators, elements.

use rooftile_artifact::{DType, Scalar};

use super::cx::{Bound, Cx, Flex, Val};
use super::text::strip;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisKind, BinaryOp, ExprId, ExprKind, TensorId, UnaryOp, ValueId};
use crate::syntax::ast;

/// Deepest nesting of syntax, inlined functions included.
const MAX_NESTING: usize = 600;

fn fixed(id: ExprId) -> Val {
    Val { id, flex: Flex::Fixed }
}

impl Cx<'_> {
    /// Checks an expression. `None` where something is wrong, which has been reported.
    pub(super) fn expr(&mut self, e: &ast::Expr) -> Option<Val> {
        if self.nesting >= MAX_NESTING || self.exhausted() {
            self.error(Code::TooDeep, e.span, "this expression is nested too deeply");
            return None;
        }
        let in_index = self.in_index;
        self.in_index &= self.is_arithmetic(e);
        self.nesting += 1;
        let val = self.expr_inner(e);
        self.nesting -= 1;
        self.in_index = in_index;
        self.bad |= val.is_none();
        val
    }

    fn expr_inner(&mut self, e: &ast::Expr) -> Option<Val> {
        let span = e.span;
        match &e.kind {
            ast::ExprKind::Int { value, .. } => Some(match i64::try_from(*value) {
                Ok(v) => Val { id: self.int(v, span), flex: Flex::Int },
                #[expect(clippy::cast_possible_wrap, reason = "u64 keeps its two's complement bits")]
                Err(_) => fixed(self.constant(Scalar::Int(*value as i64), DType::U64, span)),
            }),
            ast::ExprKind::Float { value, .. } => Some(self.real(*value, span)),
            ast::ExprKind::Bool(b) => Some(fixed(self.constant(Scalar::Bool(*b), DType::Bool, span))),
            ast::ExprKind::Name(name) => self.name(name, span),
            ast::ExprKind::Field(base, _) => {
                let hw = matches!(&base.kind, ast::ExprKind::Name(n) if n == "hw");
                let message = if hw {
                    "properties of the machine are not visible to the algorithm, only to `tune`"
                } else {
                    "values have no parts with names"
                };
                self.error(Code::Misplaced, span, message);
                None
            }
            ast::ExprKind::Unary(op, a) => self.unary(*op, a, span),
            ast::ExprKind::Binary(op, a, b) => self.binary(*op, a, b, span),
            ast::ExprKind::Index(base, index) => self.element(base, index, span),
            ast::ExprKind::Reduce { op, axes, args } => self.reduce(op, axes, args, span),
            ast::ExprKind::Call(f, args) => self.call(f, args, span),
            ast::ExprKind::Cast(dtype, a) => {
                let val = self.expr(a)?;
                self.explicit_cast(val, *dtype, span).map(fixed)
            }
            ast::ExprKind::DType(d) => {
                self.report(
                    Diagnostic::error(Code::Misplaced, span, format!("`{d}` is a type, not a value"))
                        .help(format!("a conversion is written `{d}(..)`")),
                );
                None
            }
            ast::ExprKind::Array(_) => {
                self.error(Code::Misplaced, span, "a list may only stand in a `const`");
                None
            }
            ast::ExprKind::Paren(inner) => self.expr(inner),
            ast::ExprKind::Error => None,
        }
    }

    fn real(&mut self, value: f64, span: Span) -> Val {
        Val { id: self.constant(Scalar::Float(value), DType::F64, span), flex: Flex::Float }
    }

    /// Several expressions; all are checked before the first error gives up.
    pub(super) fn exprs<'e>(&mut self, list: impl IntoIterator<Item = &'e ast::Expr>) -> Option<Vec<Val>> {
        let vals: Vec<Option<Val>> = list.into_iter().map(|e| self.expr(e)).collect();
        vals.into_iter().collect()
    }

    /// An index or bound: `i64`.
    pub(super) fn index(&mut self, e: &ast::Expr) -> Option<ExprId> {
        let in_index = std::mem::replace(&mut self.in_index, true);
        let val = self.expr(e);
        self.in_index = in_index;
        self.as_index(val?)
    }

    /// Whether the operands of a term of an index are such terms.
    fn is_arithmetic(&self, e: &ast::Expr) -> bool {
        use ast::BinaryOp as B;
        match &e.kind {
            ast::ExprKind::Paren(_) | ast::ExprKind::Unary(ast::UnaryOp::Neg, _) => true,
            ast::ExprKind::Binary(op, ..) => matches!(op, B::Add | B::Sub | B::Mul | B::Div | B::Rem),
            ast::ExprKind::Call(f, _) => {
                let known = matches!(f.name.as_str(), "min" | "max" | "clamp" | "abs" | "select");
                known && !self.globals.fns.contains_key(f.name.as_str())
            }
            _ => false,
        }
    }

    /// Indices; all are checked before the first error gives up.
    pub(super) fn indices(&mut self, list: &[ast::Expr]) -> Option<Vec<ExprId>> {
        let ids: Vec<Option<ExprId>> = list.iter().map(|e| self.index(e)).collect();
        ids.into_iter().collect()
    }

    /// A `bool`.
    pub(super) fn condition(&mut self, e: &ast::Expr) -> Option<ExprId> {
        let val = self.expr(e)?;
        self.coerce(val, DType::Bool)
    }

    /// Floats of inputs widen by themselves in a reference.
    pub(super) fn widened(&mut self, id: ExprId) -> ExprId {
        let to = self.mapped(self.dtype(id));
        let span = self.span(id);
        self.cast(id, to, span)
    }

    fn name(&mut self, name: &str, span: Span) -> Option<Val> {
        let Some((bound, declared)) = self.lookup(name) else {
            return self.global(name, span);
        };
        match bound {
            Bound::Size(s) => {
                Some(Val { id: self.make(ExprKind::Size(s), DType::I64, span), flex: Flex::Int })
            }
            Bound::Scalar(s) => {
                let dtype = self.func.scalars[s].dtype;
                let id = self.make(ExprKind::Scalar(s), dtype, span);
                Some(fixed(self.widened(id)))
            }
            Bound::Axis(a) => {
                Some(Val { id: self.make(ExprKind::Axis(a), DType::I64, span), flex: Flex::Int })
            }
            Bound::Value(v) => {
                let (dtype, flex) = (self.func.values[v].dtype, self.infos[v.index()].flex);
                Some(Val { id: self.make(ExprKind::Value(v), dtype, span), flex })
            }
            Bound::Expr(val) => Some(val),
            Bound::Tensor(t) => {
                if self.func.tensors[t].shape.is_empty() {
                    return self.load(t, Vec::new(), span);
                }
                let dots = vec![".."; self.func.tensors[t].shape.len()].join(", ");
                self.report(
                    Diagnostic::error(
                        Code::Arguments,
                        span,
                        format!("`{name}` is a tensor; an element is needed"),
                    )
                    .cause(declared, "declared here")
                    .help(format!("{name}[{dots}]")),
                );
                None
            }
            Bound::Poison => None,
        }
    }

    fn global(&mut self, name: &str, span: Span) -> Option<Val> {
        if let Some(entry) = self.globals.consts.get(name) {
            let table = (*entry)?;
            let data = &self.globals.tables[table];
            if !data.shape.is_empty() {
                let message = format!("`{name}` is a table; an element is needed");
                self.report(Diagnostic::error(Code::Arguments, span, message).help(format!("{name}[..]")));
                return None;
            }
            let (dtype, value) = (data.dtype, data.data.first().copied()?);
            let dtype = self.mapped(dtype);
            return Some(fixed(self.constant(value, dtype, span)));
        }
        match name {
            "inf" => Some(self.real(f64::INFINITY, span)),
            "nan" => Some(self.real(f64::NAN, span)),
            "pi" => Some(self.real(std::f64::consts::PI, span)),
            _ => {
                self.unknown(name, span);
                None
            }
        }
    }

    fn unary(&mut self, op: ast::UnaryOp, a: &ast::Expr, span: Span) -> Option<Val> {
        let val = self.expr(a)?;
        let dtype = self.dtype(val.id);
        let (op, good) = match op {
            ast::UnaryOp::Neg => (UnaryOp::Neg, dtype != DType::Bool),
            ast::UnaryOp::Not => (UnaryOp::Not, dtype == DType::Bool),
            ast::UnaryOp::BitNot => (UnaryOp::BitNot, dtype.is_int()),
        };
        if !good {
            let what = match op {
                UnaryOp::Neg => "`-` needs a number",
                UnaryOp::Not => "`!` needs a `bool`",
                UnaryOp::BitNot => "`~` needs an integer",
            };
            self.error(Code::TypeMismatch, span, format!("{what}, not `{dtype}`"));
            return None;
        }
        if let (UnaryOp::Neg, ExprKind::Const(v)) = (op, &self.expr_of(val.id).kind) {
            let negated = match *v {
                Scalar::Int(v) => Scalar::Int(v.wrapping_neg()),
                Scalar::Float(v) => Scalar::Float(-v),
                Scalar::Complex(re, im) => Scalar::Complex(-re, -im),
                Scalar::Bool(v) => Scalar::Bool(v),
            };
            return Some(Val { id: self.constant(negated, dtype, span), flex: val.flex });
        }
        Some(Val { id: self.make(ExprKind::Unary(op, val.id), dtype, span), flex: val.flex })
    }

    fn binary(&mut self, op: ast::BinaryOp, a: &ast::Expr, b: &ast::Expr, span: Span) -> Option<Val> {
        let (a, b) = (self.expr(a), self.expr(b));
        let (a, b) = (a?, b?);
        use ast::BinaryOp as B;
        if matches!(op, B::Shl | B::Shr) {
            return self.shift(if op == B::Shl { BinaryOp::Shl } else { BinaryOp::Shr }, a, b, span);
        }
        let (ids, dtype, flex) = self.unify(&[a, b], span)?;
        let number = dtype != DType::Bool;
        let ordered = number && !dtype.is_complex();
        let (hir_op, good, compares) = match op {
            B::Or => (BinaryOp::Or, !number, false),
            B::And => (BinaryOp::And, !number, false),
            B::BitOr => (BinaryOp::Or, dtype.is_int() || !number, false),
            B::BitAnd => (BinaryOp::And, dtype.is_int() || !number, false),
            B::BitXor => (BinaryOp::Xor, dtype.is_int() || !number, false),
            B::Eq => (BinaryOp::Eq, true, true),
            B::Ne => (BinaryOp::Ne, true, true),
            B::Lt => (BinaryOp::Lt, ordered, true),
            B::Le => (BinaryOp::Le, ordered, true),
            B::Gt => (BinaryOp::Gt, ordered, true),
            B::Ge => (BinaryOp::Ge, ordered, true),
            B::Add => (BinaryOp::Add, number, false),
            B::Sub => (BinaryOp::Sub, number, false),
            B::Mul => (BinaryOp::Mul, number, false),
            B::Div => (BinaryOp::Div, number, false),
            B::Rem => (BinaryOp::Rem, dtype.is_int(), false),
            B::Shl | B::Shr => return None,
        };
        if !good {
            let sign = op.symbol();
            self.error(Code::TypeMismatch, span, format!("`{sign}` does not take `{dtype}`"));
            return None;
        }
        let kind = ExprKind::Binary(hir_op, ids[0], ids[1]);
        if compares {
            // Literals on both sides are compared as `f64`, integers as `i64`.
            return Some(fixed(self.make(kind, DType::Bool, span)));
        }
        Some(Val { id: self.make(kind, dtype, span), flex })
    }

    fn shift(&mut self, op: BinaryOp, a: Val, b: Val, span: Span) -> Option<Val> {
        for val in [a, b] {
            let dtype = self.dtype(val.id);
            if !dtype.is_int() {
                self.error(
                    Code::TypeMismatch,
                    self.span(val.id),
                    format!("a shift needs integers, not `{dtype}`"),
                );
                return None;
            }
        }
        // A literal or index takes the type of a typed count; a count takes the type of what is shifted.
        let (a_id, flex) = match (a.flex, b.flex) {
            (Flex::Int, Flex::Fixed) => (self.coerce(a, self.dtype(b.id))?, Flex::Fixed),
            _ => (a.id, a.flex),
        };
        let dtype = self.dtype(a_id);
        let count_span = self.span(b.id);
        let count = self.cast(b.id, dtype, count_span);
        Some(Val { id: self.make(ExprKind::Binary(op, a_id, count), dtype, span), flex })
    }

    /// `f32(e)`.
    pub(super) fn explicit_cast(&mut self, val: Val, dtype: DType, span: Span) -> Option<ExprId> {
        let to = self.mapped(dtype);
        let from = self.dtype(val.id);
        if from.is_complex() && !to.is_complex() {
            self.report(
                Diagnostic::error(Code::TypeMismatch, span, format!("`{from}` does not convert to `{to}`"))
                    .help("take a part of it with `re(..)` or `im(..)`"),
            );
            return None;
        }
        if val.flex == Flex::Float && (to.is_float() || to.is_complex()) {
            return self.coerce(val, to);
        }
        Some(self.cast(val.id, to, span))
    }

    fn element(&mut self, base: &ast::Expr, index: &[ast::Expr], span: Span) -> Option<Val> {
        let ast::ExprKind::Name(name) = &strip(base).kind else {
            self.error(Code::NotA, base.span, "only a tensor, table or tile value can be indexed");
            return None;
        };
        let index_ids = self.indices(index);
        match self.lookup(name) {
            Some((Bound::Tensor(t), declared)) => {
                let ids = index_ids?;
                self.check_rank(name, self.func.tensors[t].shape.len(), ids.len(), span, Some(declared))?;
                self.load(t, ids, span)
            }
            Some((Bound::Value(v), declared)) => self.value_at(v, index_ids?, span, declared),
            Some((Bound::Poison, _)) => None,
            Some((_, declared)) => {
                self.report(
                    Diagnostic::error(Code::NotA, base.span, format!("`{name}` has no elements"))
                        .cause(declared, "declared here"),
                );
                None
            }
            None => {
                let Some(entry) = self.globals.consts.get(name.as_str()).copied() else {
                    self.unknown(name, base.span);
                    return None;
                };
                let (table, index) = (entry?, index_ids?);
                let data = &self.globals.tables[table];
                let (rank, dtype) = (data.shape.len(), data.dtype);
                self.check_rank(name, rank, index.len(), span, None)?;
                let id = self.make(ExprKind::Table { table, index }, dtype, span);
                Some(fixed(self.widened(id)))
            }
        }
    }

    pub(super) fn check_rank(
        &mut self,
        name: &str,
        rank: usize,
        given: usize,
        span: Span,
        declared: Option<Span>,
    ) -> Option<()> {
        if rank == given {
            return Some(());
        }
        let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
        let message = format!(
            "`{name}` has {}, but {} given",
            plural(rank, "dimension"),
            match given {
                1 => "1 index is".to_owned(),
                n => format!("{n} indices are"),
            }
        );
        let mut diagnostic = Diagnostic::error(Code::Arguments, span, message);
        if let Some(at) = declared {
            diagnostic = diagnostic.cause(at, "declared here");
        }
        self.report(diagnostic);
        None
    }

    pub(super) fn load(&mut self, tensor: TensorId, index: Vec<ExprId>, span: Span) -> Option<Val> {
        let dtype = self.func.tensors[tensor].dtype;
        let leaves = vec![false; index.len()];
        let id = self.make(ExprKind::Load { tensor, index, leaves }, dtype, span);
        Some(fixed(self.widened(id)))
    }

    /// A tile value at another point.
    fn value_at(&mut self, v: ValueId, index: Vec<ExprId>, span: Span, declared: Span) -> Option<Val> {
        let value = self.func.values[v].clone();
        let info = self.infos[v.index()].clone();
        self.check_rank(&value.name, value.axes.len(), index.len(), span, Some(declared))?;
        if !info.ordered && value.axes.len() > 1 {
            let ty = self.type_text(value.dtype, &value.axes);
            self.report(
                Diagnostic::error(
                    Code::MissingAxis,
                    span,
                    format!("`{}` has no declared order of axes, so it cannot be indexed", value.name),
                )
                .cause(declared, "declared here")
                .help(format!("let {}: {ty} = ..", value.name)),
            );
            return None;
        }
        let own: Vec<bool> =
            index.iter().zip(&value.axes).map(|(&e, &a)| self.expr_of(e).kind == ExprKind::Axis(a)).collect();
        if own.iter().all(|&own| own) {
            return Some(Val { id: self.make(ExprKind::Value(v), value.dtype, span), flex: info.flex });
        }
        for (k, &e) in index.iter().enumerate() {
            let axis = &self.func.axes[value.axes[k]];
            let seen_whole = !matches!(axis.kind, AxisKind::For(_) | AxisKind::Fold(_));
            if !seen_whole && !own[k] {
                let (axis_name, at, cause) = (axis.name.clone(), self.span(e), axis.span);
                self.report(
                    Diagnostic::error(
                        Code::Misplaced,
                        at,
                        format!("`{}` is known for one tile of `{axis_name}` only, so it cannot be read elsewhere", value.name),
                    )
                    .cause(cause, format!("`{axis_name}` is cut into tiles here"))
                    .help(format!("index it with `{axis_name}` itself, or make the axis whole (`with`)")),
                );
                return None;
            }
        }
        Some(Val { id: self.make(ExprKind::ValueAt(v, index), value.dtype, span), flex: info.flex })
    }
}

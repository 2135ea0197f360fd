//! How types meet. Literals take the type they meet; sizes, axes and integer literals become any integer type;
//! everything else converts only by a written cast. In an index it is the other way round: what sizes and axes meet widens.

use rooftile_artifact::{DType, Scalar};

use super::cx::{Cx, Flex, Val};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{ExprId, ExprKind, Function};

/// The complex type over a real one, where there is one.
pub(super) fn complex_over(real: DType) -> Option<DType> {
    match real {
        DType::F32 => Some(DType::C64),
        DType::F64 => Some(DType::C128),
        _ => None,
    }
}

impl Cx<'_> {
    /// A literal.
    pub(super) fn constant(&mut self, value: Scalar, dtype: DType, span: Span) -> ExprId {
        self.make(ExprKind::Const(value.cast(dtype)), dtype, span)
    }

    /// A literal index.
    pub(super) fn int(&mut self, value: i64, span: Span) -> ExprId {
        self.constant(Scalar::Int(value), DType::I64, span)
    }

    /// An explicit conversion. Literals convert now; a conversion to the same type is nothing.
    pub(super) fn cast(&mut self, id: ExprId, dtype: DType, span: Span) -> ExprId {
        if self.dtype(id) == dtype {
            return id;
        }
        if let ExprKind::Const(value) = self.expr_of(id).kind {
            return self.constant(value, dtype, span);
        }
        self.make(ExprKind::Cast(id), dtype, span)
    }

    /// How a type is spoken of in messages.
    fn type_word(&self, val: Val) -> String {
        match (val.flex, &self.expr_of(val.id).kind) {
            (Flex::Int, ExprKind::Const(v)) => format!("the integer `{}`", v.as_i64()),
            (Flex::Int, _) => "an integer".to_owned(),
            (Flex::Float, _) => "a real number".to_owned(),
            _ => format!("`{}`", self.dtype(val.id)),
        }
    }

    /// `val` as `dtype` without a written cast, or an error at `val`.
    pub(super) fn coerce(&mut self, val: Val, dtype: DType) -> Option<ExprId> {
        let (from, span) = (self.dtype(val.id), self.span(val.id));
        match val.flex {
            _ if from == dtype => return Some(val.id),
            Flex::Int if dtype.is_int() => {
                let literal = match self.expr_of(val.id).kind {
                    ExprKind::Const(v) => Some(v.as_i64()),
                    _ => None,
                };
                if let (Some(v), Some((lo, hi))) = (literal, dtype.int_range())
                    && !(lo..=hi).contains(&i128::from(v))
                {
                    self.report(
                        Diagnostic::error(Code::TypeMismatch, span, format!("{v} does not fit `{dtype}`"))
                            .help(format!("`{dtype}` holds {lo} to {hi}")),
                    );
                    return None;
                }
                return Some(self.cast(val.id, dtype, span));
            }
            Flex::Float if dtype.is_float() || dtype.is_complex() => return Some(self.retype(val.id, dtype)),
            _ => {}
        }
        if dtype.is_complex() && from == dtype.real() && val.flex == Flex::Fixed {
            return Some(self.real_to_complex(val.id, dtype));
        }
        let mut diagnostic = Diagnostic::error(
            Code::TypeMismatch,
            span,
            format!("this is {}, where `{dtype}` is needed", self.type_word(val)),
        );
        if let Some(help) = self.conversion_help(val, dtype) {
            diagnostic = diagnostic.help(help);
        }
        self.report(diagnostic);
        None
    }

    /// `val` as a value of its own: literals that met no type get the default one.
    pub(super) fn settle(&mut self, val: Val) -> ExprId {
        match val.flex {
            Flex::Float => self.retype(val.id, self.default_float()),
            _ => val.id,
        }
    }

    fn conversion_help(&self, val: Val, to: DType) -> Option<String> {
        if let (Flex::Int, ExprKind::Const(v)) = (val.flex, &self.expr_of(val.id).kind)
            && (to.is_float() || to.is_complex())
        {
            return Some(format!("write `{}.0`", v.as_i64()));
        }
        let from = self.dtype(val.id);
        if to == DType::Bool {
            return Some("write a comparison".to_owned());
        }
        if from.is_complex() && !to.is_complex() {
            return Some("take a part of it with `re(..)` or `im(..)`".to_owned());
        }
        Some(format!("convert it with `{to}(..)`"))
    }

    /// Rebuilds an expression of literals at another floating-point or complex type.
    fn retype(&mut self, id: ExprId, dtype: DType) -> ExprId {
        let expr = self.expr_of(id).clone();
        let mut each =
            |list: Vec<ExprId>| -> Vec<ExprId> { list.into_iter().map(|e| self.retype(e, dtype)).collect() };
        if expr.dtype == dtype {
            return id;
        }
        let kind = match expr.kind {
            ExprKind::Const(v) => return self.constant(v, dtype, expr.span),
            ExprKind::Unary(op, a) => ExprKind::Unary(op, each(vec![a])[0]),
            ExprKind::Binary(op, a, b) => {
                let ab = each(vec![a, b]);
                ExprKind::Binary(op, ab[0], ab[1])
            }
            // Functions of complex numbers are few: those of literals are computed as reals.
            ExprKind::Call(f, args) if !dtype.is_complex() => ExprKind::Call(f, each(args)),
            ExprKind::Select(c, a, b) => {
                let ab = each(vec![a, b]);
                ExprKind::Select(c, ab[0], ab[1])
            }
            ExprKind::Reduce { op, axes, args } if !dtype.is_complex() => {
                ExprKind::Reduce { op, axes, args: each(args) }
            }
            _ if dtype.is_complex() => {
                let real = self.retype(id, dtype.real());
                return self.real_to_complex(real, dtype);
            }
            _ => ExprKind::Cast(id),
        };
        self.make(kind, dtype, expr.span)
    }

    fn real_to_complex(&mut self, id: ExprId, dtype: DType) -> ExprId {
        let span = self.span(id);
        if let ExprKind::Const(v) = self.expr_of(id).kind {
            return self.constant(v, dtype, span);
        }
        let zero = self.constant(Scalar::Float(0.0), dtype.real(), span);
        self.make(ExprKind::Call(Function::Complex, vec![id, zero]), dtype, span)
    }

    /// Brings operands of one operation to one type. `span` is that of the operation.
    pub(super) fn unify(&mut self, vals: &[Val], span: Span) -> Option<(Vec<ExprId>, DType, Flex)> {
        let vals = &self.widened_by_names(vals)[..];
        let mut target: Option<Val> = None;
        for &val in vals {
            target = Some(match target {
                None => val,
                Some(old) => self.wider(old, val).unwrap_or(old),
            });
        }
        let target = target?;
        let dtype = self.dtype(target.id);
        let mut ids = Vec::with_capacity(vals.len());
        let before = self.diags.len();
        for &val in vals {
            if self.fits(val, target) {
                ids.push(self.coerce(val, dtype)?);
                continue;
            }
            let (a, b) = (self.type_word(target), self.type_word(val));
            let mut diagnostic =
                Diagnostic::error(Code::TypeMismatch, span, format!("{a} and {b} do not go together"))
                    .cause(self.span(target.id), a)
                    .cause(self.span(val.id), b);
            let (which, to) = self.mend(target, val);
            if let Some(help) = self.conversion_help(which, to) {
                diagnostic = diagnostic.help(help);
            }
            self.report(diagnostic);
            return None;
        }
        (self.diags.len() == before).then_some((ids, dtype, target.flex))
    }

    /// Operands of a term of an index: integers are `i64` where they meet a size, an axis or a counter.
    fn widened_by_names(&mut self, vals: &[Val]) -> Vec<Val> {
        let is_name = |v: &Val| v.flex == Flex::Int && !matches!(self.expr_of(v.id).kind, ExprKind::Const(_));
        if !(self.in_index && vals.iter().any(is_name)) {
            return vals.to_vec();
        }
        let widened = |val: &Val| {
            let (dtype, span) = (self.dtype(val.id), self.span(val.id));
            if val.flex == Flex::Fixed && dtype.is_int() {
                Val { id: self.cast(val.id, DType::I64, span), flex: Flex::Int }
            } else {
                *val
            }
        };
        vals.iter().map(widened).collect()
    }

    /// Which of two operands to convert, and to what: the one that loses least.
    fn mend(&self, a: Val, b: Val) -> (Val, DType) {
        let (x, y) = (self.dtype(a.id), self.dtype(b.id));
        let rank = |v: Val, d: DType| match d {
            DType::Bool => (4, 0),
            _ if d.is_complex() => (3, d.size()),
            _ if v.flex == Flex::Float => (1, 0),
            _ if d.is_float() => (2, d.size()),
            _ => (0, d.size()),
        };
        if rank(a, x) < rank(b, y) { (a, y) } else { (b, x) }
    }

    /// Which of two operands says the type, if the other can follow.
    fn wider(&self, a: Val, b: Val) -> Option<Val> {
        if self.fits(b, a) {
            Some(a)
        } else if self.fits(a, b) {
            Some(b)
        } else {
            None
        }
    }

    fn fits(&self, val: Val, target: Val) -> bool {
        let (from, to) = (self.dtype(val.id), self.dtype(target.id));
        match (val.flex, target.flex) {
            (Flex::Int, Flex::Int) | (Flex::Float, Flex::Float) => true,
            (Flex::Int, Flex::Fixed) => to.is_int(),
            (Flex::Float, Flex::Fixed) => to.is_float() || to.is_complex(),
            (Flex::Fixed, Flex::Fixed) => from == to || (to.is_complex() && from == to.real()),
            _ => false,
        }
    }

    /// `val` as an index: `i64`.
    pub(super) fn as_index(&mut self, val: Val) -> Option<ExprId> {
        let (dtype, span) = (self.dtype(val.id), self.span(val.id));
        if dtype.is_int() {
            return Some(self.cast(val.id, DType::I64, span));
        }
        self.report(
            Diagnostic::error(Code::TypeMismatch, span, format!("an index is an integer, not `{dtype}`"))
                .help("convert it with `i32(floor(..))`, and say where it may lie with `clamp`"),
        );
        None
    }
}

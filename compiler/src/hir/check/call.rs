//! Functions of the vocabulary, functions of the file (inlined), reductions and scans.

use rooftile_artifact::DType;

use super::cx::{Bound, Cx, Flex, Val};
use super::text::{expr_text, strip};
use super::types::complex_over;
use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir::{AxisId, AxisKind, ExprKind, Function, ReduceOp};
use crate::syntax::ast;

/// What a function of the vocabulary takes and gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Real numbers of one type, integers included.
    Number(usize),
    /// Floats of one type.
    Float(usize),
    /// One integer.
    Int,
    /// `bitrev(x, n)`.
    Bitrev,
    /// `pow2(n)`.
    IsPow2,
    /// Two reals to a complex.
    MakeComplex,
    /// A complex to a real.
    Part,
    /// A complex to a complex.
    Conj,
    /// A real to a complex.
    Cis,
}

const VOCABULARY: &[(&str, Function, Shape)] = &[
    ("abs", Function::Abs, Shape::Number(1)),
    ("min", Function::Min, Shape::Number(2)),
    ("max", Function::Max, Shape::Number(2)),
    ("clamp", Function::Clamp, Shape::Number(3)),
    ("sign", Function::Sign, Shape::Number(1)),
    ("floor", Function::Floor, Shape::Float(1)),
    ("ceil", Function::Ceil, Shape::Float(1)),
    ("round", Function::Round, Shape::Float(1)),
    ("trunc", Function::Trunc, Shape::Float(1)),
    ("sqrt", Function::Sqrt, Shape::Float(1)),
    ("rsqrt", Function::Rsqrt, Shape::Float(1)),
    ("exp", Function::Exp, Shape::Float(1)),
    ("exp2", Function::Exp2, Shape::Float(1)),
    ("log", Function::Log, Shape::Float(1)),
    ("log2", Function::Log2, Shape::Float(1)),
    ("log1p", Function::Log1p, Shape::Float(1)),
    ("expm1", Function::Expm1, Shape::Float(1)),
    ("sin", Function::Sin, Shape::Float(1)),
    ("cos", Function::Cos, Shape::Float(1)),
    ("tan", Function::Tan, Shape::Float(1)),
    ("tanh", Function::Tanh, Shape::Float(1)),
    ("sigmoid", Function::Sigmoid, Shape::Float(1)),
    ("erf", Function::Erf, Shape::Float(1)),
    ("erfc", Function::Erfc, Shape::Float(1)),
    ("pow", Function::Pow, Shape::Float(2)),
    ("fma", Function::Fma, Shape::Float(3)),
    ("popcount", Function::Popcount, Shape::Int),
    ("ilog2", Function::Ilog2, Shape::Int),
    ("bitrev", Function::Bitrev, Shape::Bitrev),
    ("pow2", Function::IsPow2, Shape::IsPow2),
    ("complex", Function::Complex, Shape::MakeComplex),
    ("re", Function::Re, Shape::Part),
    ("im", Function::Im, Shape::Part),
    ("conj", Function::Conj, Shape::Conj),
    ("cis", Function::Cis, Shape::Cis),
];

const REDUCTIONS: &[(&str, ReduceOp)] = &[
    ("sum", ReduceOp::Sum),
    ("prod", ReduceOp::Prod),
    ("max", ReduceOp::Max),
    ("min", ReduceOp::Min),
    ("any", ReduceOp::Any),
    ("all", ReduceOp::All),
    ("argmax", ReduceOp::Argmax),
    ("argmin", ReduceOp::Argmin),
    ("dot", ReduceOp::Dot),
];

impl Shape {
    fn arity(self) -> usize {
        match self {
            Shape::Number(n) | Shape::Float(n) => n,
            Shape::Bitrev | Shape::MakeComplex => 2,
            Shape::Int | Shape::IsPow2 | Shape::Part | Shape::Conj | Shape::Cis => 1,
        }
    }
}

impl Cx<'_> {
    pub(super) fn call(&mut self, f: &ast::Ident, args: &[ast::Arg], span: Span) -> Option<Val> {
        let mut exprs: Vec<&ast::Expr> = Vec::new();
        for arg in args {
            match arg {
                ast::Arg::Expr(e) => exprs.push(e),
                ast::Arg::Range(e, _) | ast::Arg::Named(_, e) => {
                    self.error(Code::Arguments, e.span, "a function takes plain values");
                    return None;
                }
            }
        }
        if f.name == "select" {
            return self.select(&exprs, span);
        }
        if let Some(&item) = self.globals.fns.get(f.name.as_str()) {
            return self.inline(item, f, &exprs, span);
        }
        let Some(&(_, function, shape)) = VOCABULARY.iter().find(|(name, ..)| *name == f.name) else {
            self.unknown_function(f, &exprs);
            return None;
        };
        let vals = self.exprs(exprs.iter().copied())?;
        self.check_arity(&f.name, shape.arity(), vals.len(), span)?;
        self.apply(function, shape, &f.name, &vals, span)
    }

    fn unknown_function(&mut self, f: &ast::Ident, args: &[&ast::Expr]) {
        let mut diagnostic =
            Diagnostic::error(Code::UnknownName, f.span, format!("there is no function `{}`", f.name));
        let reduction = REDUCTIONS.iter().any(|(name, _)| *name == f.name) || f.name == "scan";
        if reduction {
            let arg = args.first().map(|e| expr_text(e)).unwrap_or_default();
            diagnostic = diagnostic.help(format!("a reduction names its axis: `{}[k]({arg})`", f.name));
        } else {
            let known: Vec<&str> = VOCABULARY
                .iter()
                .map(|(name, ..)| *name)
                .chain(["select"])
                .chain(self.globals.fns.keys().copied())
                .collect();
            if let Some(near) = suggest(&f.name, known) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
        }
        self.report(diagnostic);
    }

    fn check_arity(&mut self, name: &str, want: usize, got: usize, span: Span) -> Option<()> {
        if want == got {
            return Some(());
        }
        let plural = if want == 1 { "" } else { "s" };
        self.error(Code::Arguments, span, format!("`{name}` takes {want} argument{plural}, not {got}"));
        None
    }

    fn select(&mut self, args: &[&ast::Expr], span: Span) -> Option<Val> {
        if args.len() != 3 {
            return self.check_arity("select", 3, args.len(), span).and(None);
        }
        let cond = self.condition(args[0]);
        let arms = self.exprs(args[1..].iter().copied());
        let (cond, arms) = (cond?, arms?);
        let (ids, dtype, flex) = self.unify(&arms, span)?;
        Some(Val { id: self.make(ExprKind::Select(cond, ids[0], ids[1]), dtype, span), flex })
    }

    fn apply(&mut self, f: Function, shape: Shape, name: &str, vals: &[Val], span: Span) -> Option<Val> {
        let fixed = |id| Some(Val { id, flex: Flex::Fixed });
        if shape == Shape::Bitrev {
            let dtype = self.need(vals[0], DType::is_int, name, "an integer")?;
            self.need(vals[1], DType::is_int, name, "an integer")?;
            let count_span = self.span(vals[1].id);
            let count = self.cast(vals[1].id, dtype, count_span);
            let id = self.make(ExprKind::Call(f, vec![vals[0].id, count]), dtype, span);
            return Some(Val { id, flex: vals[0].flex });
        }
        let (ids, dtype, flex) = self.unify(vals, span)?;
        let unified = Val { id: ids[0], flex };
        let real = |d: DType| d.is_float() || d.is_int();
        match shape {
            Shape::Number(_) => {
                self.need(unified, real, name, "a real number")?;
            }
            Shape::Float(_) => {
                self.need(unified, DType::is_float, name, "a float")?;
            }
            Shape::Int | Shape::IsPow2 => {
                self.need(unified, DType::is_int, name, "an integer")?;
            }
            Shape::Part | Shape::Conj => {
                self.need(unified, DType::is_complex, name, "a complex number")?;
            }
            Shape::MakeComplex | Shape::Cis => {
                let parts: Vec<_> = match flex {
                    Flex::Float => {
                        let to = self.default_float();
                        let each: Option<Vec<_>> =
                            ids.iter().map(|&id| self.coerce(Val { id, flex: Flex::Float }, to)).collect();
                        each?
                    }
                    _ => ids,
                };
                let from = self.dtype(parts[0]);
                let Some(complex) = complex_over(from) else {
                    let message = format!("`{name}` takes `f32` or `f64`, not `{from}`");
                    self.report(
                        Diagnostic::error(Code::TypeMismatch, span, message)
                            .help("convert it with `f32(..)`"),
                    );
                    return None;
                };
                return fixed(self.make(ExprKind::Call(f, parts), complex, span));
            }
            Shape::Bitrev => return None,
        }
        let result = match shape {
            Shape::IsPow2 => return fixed(self.make(ExprKind::Call(f, ids), DType::Bool, span)),
            Shape::Part => dtype.real(),
            _ => dtype,
        };
        Some(Val { id: self.make(ExprKind::Call(f, ids), result, span), flex })
    }

    /// Refuses an operand of the wrong kind.
    fn need(&mut self, val: Val, is: impl Fn(DType) -> bool, name: &str, what: &str) -> Option<DType> {
        let dtype = self.dtype(val.id);
        if is(dtype) {
            return Some(dtype);
        }
        let mut diagnostic = Diagnostic::error(
            Code::TypeMismatch,
            self.span(val.id),
            format!("`{name}` takes {what}, not `{dtype}`"),
        );
        if dtype.is_int() && is(DType::F32) {
            diagnostic = diagnostic.help("convert it with `f32(..)`");
        }
        self.report(diagnostic);
        None
    }

    /// Replaces a call by the function's body. Arguments are shared, not copied.
    fn inline(&mut self, item: &ast::Fn, f: &ast::Ident, args: &[&ast::Expr], span: Span) -> Option<Val> {
        let vals = self.exprs(args.iter().copied())?;
        self.check_arity(&f.name, item.params.len(), vals.len(), span)?;
        if self.inlining.contains(&item.name.name) {
            self.report(
                Diagnostic::error(Code::Misplaced, f.span, format!("`{}` calls itself", item.name.name))
                    .cause(item.name.span, "defined here")
                    .help("functions are inlined; use a `seq` with a carry to repeat"),
            );
            return None;
        }
        let mut scope = Vec::new();
        for (&val, (param, dtype)) in vals.iter().zip(&item.params) {
            let dtype = self.mapped(*dtype);
            let id = self.coerce(val, dtype)?;
            scope.push((param, Bound::Expr(Val { id, flex: Flex::Fixed })));
        }
        // A body sees its parameters and the constants, nothing of the caller.
        let outer = std::mem::replace(&mut self.scopes, vec![Default::default()]);
        self.inlining.push(item.name.name.clone());
        for (param, bound) in scope {
            self.bind(&param.name, param.span, bound);
        }
        let result = self.fn_body(item);
        self.inlining.pop();
        self.scopes = outer;
        result
    }

    /// The result of a function whose parameters are bound.
    pub(super) fn fn_body(&mut self, item: &ast::Fn) -> Option<Val> {
        for (name, value) in &item.lets {
            let bound = match self.expr(value) {
                Some(val) if val.flex == Flex::Float => {
                    Bound::Expr(Val { id: self.settle(val), flex: Flex::Fixed })
                }
                Some(val) => Bound::Expr(val),
                None => Bound::Poison,
            };
            self.bind(&name.name, name.span, bound);
        }
        let val = self.expr(&item.body)?;
        let ret = self.mapped(item.ret);
        Some(Val { id: self.coerce(val, ret)?, flex: Flex::Fixed })
    }

    // Reductions

    pub(super) fn reduce(
        &mut self,
        op: &ast::Ident,
        axes: &[ast::ReduceAxis],
        args: &[ast::Expr],
        span: Span,
    ) -> Option<Val> {
        if op.name == "scan" {
            return self.scan(axes, args, span);
        }
        let Some(&(_, reduce_op)) = REDUCTIONS.iter().find(|(name, _)| *name == op.name) else {
            let mut diagnostic =
                Diagnostic::error(Code::UnknownName, op.span, format!("there is no reduction `{}`", op.name));
            if let Some(near) = suggest(&op.name, REDUCTIONS.iter().map(|(name, _)| *name).chain(["scan"])) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.report(diagnostic);
            return None;
        };
        self.scoped(|cx| {
            let mut ids = Some(Vec::new());
            for axis in axes {
                match cx.reduce_axis(axis) {
                    Some(id) => ids.iter_mut().for_each(|list: &mut Vec<AxisId>| list.push(id)),
                    None => ids = None,
                }
            }
            let vals = cx.exprs(args);
            let (ids, vals) = (ids?, vals?);
            cx.finish_reduce(reduce_op, &op.name, ids, &vals, args, span)
        })
    }

    fn reduce_axis(&mut self, axis: &ast::ReduceAxis) -> Option<AxisId> {
        match axis {
            ast::ReduceAxis::Bind(decl) => {
                let (lo, hi) = self.domain(&decl.domain)?;
                Some(self.add_axis(&decl.name, AxisKind::Bind, lo, hi))
            }
            ast::ReduceAxis::Name(name) => match self.lookup(&name.name) {
                Some((Bound::Axis(a), declared)) => {
                    if crate::hir::walk::is_counter(&self.func.axes[a]) {
                        self.report(
                            Diagnostic::error(
                                Code::NotA,
                                name.span,
                                format!(
                                    "`{}` counts steps one at a time; it is not an axis to reduce",
                                    name.name
                                ),
                            )
                            .cause(declared, "declared here"),
                        );
                        return None;
                    }
                    Some(a)
                }
                Some((Bound::Poison, _)) => None,
                Some((_, declared)) => {
                    self.report(
                        Diagnostic::error(Code::NotA, name.span, format!("`{}` is not an axis", name.name))
                            .cause(declared, "declared here")
                            .help(format!("a reduction may bring its own axis: `{0} in ..`", name.name)),
                    );
                    None
                }
                None => {
                    self.unknown(&name.name, name.span);
                    None
                }
            },
        }
    }

    fn finish_reduce(
        &mut self,
        op: ReduceOp,
        name: &str,
        axes: Vec<AxisId>,
        vals: &[Val],
        args: &[ast::Expr],
        span: Span,
    ) -> Option<Val> {
        self.check_arity(name, if op == ReduceOp::Dot { 2 } else { 1 }, vals.len(), span)?;
        let mut alive: Vec<AxisId> = vals.iter().flat_map(|v| self.axes(v.id).to_vec()).collect();
        alive.sort_unstable();
        alive.dedup();
        for (n, &axis) in axes.iter().enumerate() {
            let axis_name = self.axis_name(axis).to_owned();
            if axes[..n].contains(&axis) {
                self.error(Code::Duplicate, span, format!("`{axis_name}` is reduced twice"));
                return None;
            }
            if !alive.contains(&axis) {
                let text: Vec<String> = args.iter().map(|e| expr_text(strip(e))).collect();
                let has = if alive.is_empty() { "no axis".to_owned() } else { self.axis_list(&alive) };
                self.report(
                    Diagnostic::error(
                        Code::UselessReduce,
                        span,
                        format!("`{}` does not vary along `{axis_name}`, it has {has}", text.join(", ")),
                    )
                    .cause(self.func.axes[axis].span, format!("`{axis_name}` is declared here"))
                    .help(format!("drop the reduction over `{axis_name}`, or index something with it")),
                );
                return None;
            }
            let dependent = alive
                .iter()
                .copied()
                .find(|&a| !axes.contains(&a) && self.func.axes[a].parents.contains(&axis));
            if let Some(other) = dependent {
                let other_name = self.axis_name(other).to_owned();
                self.report(
                    Diagnostic::error(
                        Code::LiveAxis,
                        span,
                        format!("`{other_name}` is still alive, and its bounds vary along `{axis_name}`"),
                    )
                    .cause(self.func.axes[other].span, format!("`{other_name}` is declared here"))
                    .help(format!("reduce `{other_name}` too, or first")),
                );
                return None;
            }
        }
        let (ids, dtype, flex) = self.unify(vals, span)?;
        let operand = Val { id: ids[0], flex };
        let ordered = |d: DType| d.is_float() || d.is_int();
        let number = |d: DType| d != DType::Bool;
        let (result, flex) = match op {
            ReduceOp::Sum | ReduceOp::Prod => (self.need(operand, number, name, "a number")?, flex),
            ReduceOp::Max | ReduceOp::Min => (self.need(operand, ordered, name, "a real number")?, flex),
            ReduceOp::Any | ReduceOp::All => {
                (self.need(operand, |d| d == DType::Bool, name, "a `bool`")?, Flex::Fixed)
            }
            ReduceOp::Argmax | ReduceOp::Argmin => {
                self.need(operand, ordered, name, "a real number")?;
                if axes.len() != 1 {
                    self.error(Code::Arguments, span, format!("`{name}` reduces one axis"));
                    return None;
                }
                (DType::I64, Flex::Int)
            }
            ReduceOp::Dot => {
                self.need(operand, number, name, "a number")?;
                let settled = match flex {
                    Flex::Float => self.default_float(),
                    _ => dtype,
                };
                let ids: Option<Vec<_>> =
                    ids.iter().map(|&id| self.coerce(Val { id, flex }, settled)).collect();
                let result = accumulator(settled);
                let kind = ExprKind::Reduce { op, axes, args: ids? };
                return Some(Val { id: self.make(kind, result, span), flex: Flex::Fixed });
            }
        };
        let ids = match (op, flex) {
            (ReduceOp::Argmax | ReduceOp::Argmin, _) => {
                vec![self.settle(Val { id: ids[0], flex: vals[0].flex })]
            }
            _ => ids,
        };
        Some(Val { id: self.make(ExprKind::Reduce { op, axes, args: ids }, result, span), flex })
    }

    fn scan(&mut self, axes: &[ast::ReduceAxis], args: &[ast::Expr], span: Span) -> Option<Val> {
        let [ast::ReduceAxis::Name(_)] = axes else {
            self.report(
                Diagnostic::error(Code::Arguments, span, "a scan runs along one axis in scope")
                    .help("scan[i](x, add)"),
            );
            return None;
        };
        let axis = self.reduce_axis(&axes[0]);
        if args.len() != 2 {
            self.check_arity("scan", 2, args.len(), span)?;
        }
        let op = match &strip(&args[1]).kind {
            ast::ExprKind::Name(n) => match n.as_str() {
                "add" => Some(ReduceOp::Sum),
                "mul" => Some(ReduceOp::Prod),
                "max" => Some(ReduceOp::Max),
                "min" => Some(ReduceOp::Min),
                _ => None,
            },
            _ => None,
        };
        let Some(op) = op else {
            self.error(
                Code::Arguments,
                args[1].span,
                "the operator of a scan is `add`, `mul`, `max` or `min`",
            );
            return None;
        };
        let val = self.expr(&args[0])?;
        let axis = axis?;
        let arg = self.settle(val);
        let val = Val { id: arg, flex: val.flex };
        if !self.axes(arg).contains(&axis) {
            let axis_name = self.axis_name(axis).to_owned();
            let message = format!("`{}` does not vary along `{axis_name}`", expr_text(strip(&args[0])));
            self.report(
                Diagnostic::error(Code::UselessReduce, span, message)
                    .cause(self.func.axes[axis].span, format!("`{axis_name}` is declared here")),
            );
            return None;
        }
        let number =
            |d: DType| d != DType::Bool && (!d.is_complex() || matches!(op, ReduceOp::Sum | ReduceOp::Prod));
        let dtype = self.need(val, number, "scan", "a number")?;
        let flex = if val.flex == Flex::Float { Flex::Fixed } else { val.flex };
        Some(Val { id: self.make(ExprKind::Scan { op, axis, arg }, dtype, span), flex })
    }
}

/// The type that a dot product accumulates in.
fn accumulator(operand: DType) -> DType {
    match operand {
        DType::F64 => DType::F64,
        d if d.is_float() => DType::F32,
        DType::Int { bits: ..=8, .. } => DType::I32,
        d => d,
    }
}

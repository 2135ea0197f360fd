//! The function under construction: its arenas, the names in scope, and the one place where expressions are made.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use rooftile_artifact::DType;

use super::Globals;
use super::partial::Taint;
use crate::diag::{Code, Diagnostic, Span, suggest};
use crate::hir::ir::{
    Axis, AxisId, AxisKind, Expr, ExprId, ExprKind, Func, FuncKind, ScalarId, SizeId, TensorId, ValueId,
    ValueKind,
};
use crate::hir::walk;

/// More expressions than this in one function are refused, so that inlining cannot run away.
const MAX_EXPRS: usize = 1 << 17;
/// Expressions deeper than this are refused, so that no walk over them can exhaust the stack.
const MAX_EXPR_DEPTH: u32 = 1000;

/// How freely an expression takes on the type that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flex {
    /// Not at all.
    Fixed,
    /// An `i64` of sizes, axes and integer literals: becomes any integer type.
    Int,
    /// A real number of literals only, held as `f64`: becomes any floating-point or complex type.
    Float,
}

/// A checked expression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Val {
    pub(super) id: ExprId,
    pub(super) flex: Flex,
}

/// What a name in scope stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    Size(SizeId),
    Scalar(ScalarId),
    Tensor(TensorId),
    Axis(AxisId),
    Value(ValueId),
    /// A parameter or `let` of a function that is being inlined.
    Expr(Val),
    /// Its definition was wrong; uses are silent.
    Poison,
}

/// What the checker knows of a tile value beyond its hir.
#[derive(Clone, Debug)]
pub(super) struct ValueInfo {
    /// Whether its order of axes was declared.
    pub(super) ordered: bool,
    /// How freely it takes on a type.
    pub(super) flex: Flex,
    /// On which tiles its content depends.
    pub(super) taint: Option<Taint>,
    /// `for` axes around its declaration.
    pub(super) fors: Vec<AxisId>,
}

/// The `seq` or `fold` around a statement.
#[derive(Clone, Debug)]
pub(super) struct CarryLoop {
    pub(super) carries: Vec<ValueId>,
    pub(super) has_next: bool,
}

/// One function under construction.
#[derive(Clone)]
pub(super) struct Cx<'a> {
    pub(super) globals: &'a Globals<'a>,
    pub(super) func: Func,
    pub(super) scopes: Vec<IndexMap<String, (Bound, Span)>>,
    pub(super) diags: Vec<Diagnostic>,
    /// Something is wrong, reported or not.
    pub(super) bad: bool,
    /// By expression.
    pub(super) taints: Vec<Option<Taint>>,
    depths: Vec<u32>,
    /// By value.
    pub(super) infos: Vec<ValueInfo>,
    /// Names of tile sizes and tunables, which the algorithm must not read.
    pub(super) hidden: BTreeSet<String>,
    /// `for` axes around the current statement.
    pub(super) fors: Vec<AxisId>,
    pub(super) loops: Vec<CarryLoop>,
    /// Functions being inlined, outermost first.
    pub(super) inlining: Vec<String>,
    /// Nesting of syntax on the stack.
    pub(super) nesting: usize,
    /// Whether what is being checked is a term of an index.
    pub(super) in_index: bool,
}

impl<'a> Cx<'a> {
    pub(super) fn new(globals: &'a Globals<'a>, name: &str, kind: FuncKind, span: Span) -> Cx<'a> {
        let func = Func {
            name: name.to_owned(),
            kind,
            span,
            sizes: Default::default(),
            scalars: Default::default(),
            tensors: Default::default(),
            params: Vec::new(),
            axes: Default::default(),
            values: Default::default(),
            exprs: Default::default(),
            wheres: Vec::new(),
            body: Vec::new(),
        };
        Cx {
            globals,
            func,
            scopes: vec![IndexMap::new()],
            diags: Vec::new(),
            bad: false,
            taints: Vec::new(),
            depths: Vec::new(),
            infos: Vec::new(),
            hidden: BTreeSet::new(),
            fors: Vec::new(),
            loops: Vec::new(),
            inlining: Vec::new(),
            nesting: 0,
            in_index: false,
        }
    }

    // Reporting

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.bad = true;
        self.diags.push(diagnostic);
    }

    pub(super) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span, message));
    }

    // Names

    /// Binds a name in the innermost scope; a name that is alive already is refused, and keeps its meaning.
    pub(super) fn bind(&mut self, name: &str, span: Span, bound: Bound) {
        let alive = self.scopes.iter().find_map(|scope| scope.get(name)).map(|&(b, s)| (b, s));
        if let Some((old, first)) = alive {
            if !matches!(old, Bound::Poison) {
                self.report(
                    Diagnostic::error(Code::Duplicate, span, format!("`{name}` is defined twice"))
                        .cause(first, "first defined here"),
                );
            }
            return;
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), (bound, span));
        }
    }

    pub(super) fn lookup(&self, name: &str) -> Option<(Bound, Span)> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    /// Runs `f` in a scope of its own.
    pub(super) fn scoped<R>(&mut self, f: impl FnOnce(&mut Cx<'a>) -> R) -> R {
        self.scopes.push(IndexMap::new());
        let result = f(self);
        self.scopes.pop();
        result
    }

    /// Reports a name that nothing defines, with the nearest one that something does.
    pub(super) fn unknown(&mut self, name: &str, span: Span) {
        if self.hidden.contains(name) {
            self.report(
                Diagnostic::error(
                    Code::TileSizeRead,
                    span,
                    format!("`{name}` is a tile size or tunable, which the algorithm cannot read"),
                )
                .help("the result must not depend on how an axis is cut into tiles"),
            );
            return;
        }
        let known = self.scopes.iter().flat_map(|scope| scope.keys().map(String::as_str));
        let known: Vec<&str> = known.chain(self.globals.consts.keys().copied()).collect();
        let mut diagnostic =
            Diagnostic::error(Code::UnknownName, span, format!("nothing here is named `{name}`"));
        if let Some(near) = suggest(name, known) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.report(diagnostic);
    }

    pub(super) fn is_reference(&self) -> bool {
        self.func.kind == FuncKind::Reference
    }

    /// The type that a declared type means here: in a reference all floats are `f64`.
    pub(super) fn mapped(&self, dtype: DType) -> DType {
        match dtype {
            _ if !self.is_reference() => dtype,
            DType::C64 => DType::C128,
            d if d.is_float() => DType::F64,
            d => d,
        }
    }

    /// The type of a literal that meets no type.
    pub(super) fn default_float(&self) -> DType {
        if self.is_reference() { DType::F64 } else { DType::F32 }
    }

    // Expressions

    pub(super) fn expr_of(&self, id: ExprId) -> &Expr {
        &self.func.exprs[id]
    }

    pub(super) fn dtype(&self, id: ExprId) -> DType {
        self.func.exprs[id].dtype
    }

    pub(super) fn axes(&self, id: ExprId) -> &[AxisId] {
        &self.func.exprs[id].axes
    }

    pub(super) fn span(&self, id: ExprId) -> Span {
        self.func.exprs[id].span
    }

    /// Adds an expression. Its axes and its dependence on tiles follow from its operands.
    pub(super) fn make(&mut self, kind: ExprKind, dtype: DType, span: Span) -> ExprId {
        let axes = self.axes_of(&kind);
        let taint = self.taint_of(&kind, dtype, span);
        let mut depth = 0;
        walk::operands(&kind, |e| depth = depth.max(self.depths[e.index()]));
        let (depth, count) = (depth + 1, self.func.exprs.len());
        if depth == MAX_EXPR_DEPTH || count == MAX_EXPRS {
            self.error(Code::TooDeep, span, "after inlining, this expression is too large");
        }
        self.taints.push(taint);
        self.depths.push(depth);
        self.func.exprs.push(Expr { kind, dtype, axes, span })
    }

    /// Whether nothing more should be added.
    pub(super) fn exhausted(&self) -> bool {
        self.func.exprs.len() >= MAX_EXPRS || self.depths.last().is_some_and(|&d| d >= MAX_EXPR_DEPTH)
    }

    /// The axis and, in turn, those that its bounds vary along. Counters are not dimensions.
    pub(super) fn closure(&self, axis: AxisId) -> Vec<AxisId> {
        walk::closure(&self.func, axis)
    }

    fn axes_of(&self, kind: &ExprKind) -> Vec<AxisId> {
        let mut axes: Vec<AxisId> = Vec::new();
        match kind {
            ExprKind::Axis(a) => axes = self.closure(*a),
            ExprKind::Value(v) => axes.clone_from(&self.func.values[*v].axes),
            _ => {}
        }
        walk::operands(kind, |e| axes.extend_from_slice(&self.func.exprs[e].axes));
        if let ExprKind::Reduce { axes: gone, .. } = kind {
            axes.retain(|a| !gone.contains(a));
            for &a in gone {
                axes.extend(self.closure(a).into_iter().filter(|p| !gone.contains(p)));
            }
        }
        axes.sort_unstable();
        axes.dedup();
        axes
    }

    /// Adds an axis and gives it its name in the innermost scope.
    pub(super) fn add_axis(
        &mut self,
        name: &crate::syntax::ast::Ident,
        kind: AxisKind,
        lo: ExprId,
        hi: ExprId,
    ) -> AxisId {
        let mut parents: Vec<AxisId> = Vec::new();
        for bound in [lo, hi] {
            parents.extend_from_slice(self.axes(bound));
            walk::for_each_expr(&self.func, bound, |_, e| {
                if let ExprKind::Axis(a) = e.kind
                    && walk::is_counter(&self.func.axes[a])
                {
                    parents.push(a);
                }
            });
        }
        parents.sort_unstable();
        parents.dedup();
        let axis =
            self.func.axes.push(Axis { name: name.name.clone(), kind, lo, hi, parents, span: name.span });
        self.bind(&name.name, name.span, Bound::Axis(axis));
        axis
    }

    /// Adds a tile value; the name is bound by the caller, when it comes alive.
    pub(super) fn add_value(
        &mut self,
        name: &crate::syntax::ast::Ident,
        dtype: DType,
        axes: Vec<AxisId>,
        kind: ValueKind,
        ordered: bool,
    ) -> ValueId {
        let (name, span) = (name.name.clone(), name.span);
        self.infos.push(ValueInfo { ordered, flex: Flex::Fixed, taint: None, fors: self.fors.clone() });
        self.func.values.push(crate::hir::ir::Value { name, dtype, axes, kind, span })
    }

    /// The axis's name for messages.
    pub(super) fn axis_name(&self, axis: AxisId) -> &str {
        &self.func.axes[axis].name
    }

    /// `f32[i,j]`
    pub(super) fn type_text(&self, dtype: DType, axes: &[AxisId]) -> String {
        let names: Vec<&str> = axes.iter().map(|&a| self.axis_name(a)).collect();
        if names.is_empty() { dtype.to_string() } else { format!("{dtype}[{}]", names.join(",")) }
    }
}

//! Trees without places: for comparing them, and for putting a part of one file into another.

use super::ast::*;
use crate::diag::Span;

/// Forgets where things stand in a source text.
pub trait ClearSpans {
    /// Makes every span inside empty.
    fn clear_spans(&mut self);
}

/// Clears the named fields.
macro_rules! clear {
    ($($place:expr),* $(,)?) => {{ $($place.clear_spans();)* }};
}

impl ClearSpans for Span {
    fn clear_spans(&mut self) {
        *self = Span::default();
    }
}

impl<T: ClearSpans> ClearSpans for Vec<T> {
    fn clear_spans(&mut self) {
        self.iter_mut().for_each(T::clear_spans);
    }
}

impl<T: ClearSpans> ClearSpans for Option<T> {
    fn clear_spans(&mut self) {
        self.iter_mut().for_each(T::clear_spans);
    }
}

impl<T: ClearSpans> ClearSpans for Box<T> {
    fn clear_spans(&mut self) {
        T::clear_spans(self);
    }
}

impl<A: ClearSpans, B: ClearSpans> ClearSpans for (A, B) {
    fn clear_spans(&mut self) {
        clear!(self.0, self.1);
    }
}

/// Nothing inside has a place.
macro_rules! placeless {
    ($($ty:ty),*) => { $(impl ClearSpans for $ty { fn clear_spans(&mut self) {} })* };
}
placeless!(rooftile_artifact::DType, i64);

/// All these fields may have places inside.
macro_rules! fields {
    ($($ty:ident { $($field:ident),* })*) => {
        $(impl ClearSpans for $ty {
            fn clear_spans(&mut self) {
                clear!($(self.$field),*);
            }
        })*
    };
}
fields! {
    Ident { span }
    File { version, items }
    Item { kind, span }
    Const { name, ty, value }
    Fn { name, params, lets, body }
    Kernel { name, params, wheres, body }
    Param { name, ty, attrs }
    Type { shape, span }
    Attr { kind, span }
    AxisDecl { name, domain }
    CarryDecl { name, ty, init }
    Stmt { kind, span }
    LValue { name, indices, span }
    Expr { kind, span }
    Reference { name, body }
    Variant { name, of }
    Tune { name, target, items }
    Schedule { name, target, when, verbs }
    Verb { name, args, span }
    Task { name, items }
    SizeSet { entries, span }
    TaskItem { kind, span }
}

impl ClearSpans for ItemKind {
    fn clear_spans(&mut self) {
        match self {
            ItemKind::Const(x) => x.clear_spans(),
            ItemKind::Fn(x) => x.clear_spans(),
            ItemKind::Kernel(x) | ItemKind::Pipeline(x) => x.clear_spans(),
            ItemKind::Reference(x) => x.clear_spans(),
            ItemKind::Tune(x) => x.clear_spans(),
            ItemKind::Variant(x) => x.clear_spans(),
            ItemKind::Schedule(x) => x.clear_spans(),
            ItemKind::Task(x) => x.clear_spans(),
        }
    }
}

impl ClearSpans for AttrKind {
    fn clear_spans(&mut self) {
        match self {
            AttrKind::Edge(e) => e.clear_spans(),
            AttrKind::EdgePerAxis(edges) => edges.clear_spans(),
            AttrKind::Packed(e) => e.clear_spans(),
            AttrKind::Range(lo, hi) => clear!(lo, hi),
            AttrKind::Flag(n) => n.clear_spans(),
        }
    }
}

impl ClearSpans for Edge {
    fn clear_spans(&mut self) {
        match self {
            Edge::Const(e) => e.clear_spans(),
            Edge::Clamp | Edge::Wrap | Edge::Reflect | Edge::Symmetric => {}
        }
    }
}

impl ClearSpans for Domain {
    fn clear_spans(&mut self) {
        match self {
            Domain::Extent(hi) => hi.clear_spans(),
            Domain::Range(lo, hi) => clear!(lo, hi),
        }
    }
}

impl ClearSpans for TileSize {
    fn clear_spans(&mut self) {
        match self {
            TileSize::Name(n) => n.clear_spans(),
            TileSize::Int(_, span) => span.clear_spans(),
        }
    }
}

impl ClearSpans for StmtKind {
    fn clear_spans(&mut self) {
        match self {
            StmtKind::Let { name, ty, value } => clear!(name, ty, value),
            StmtKind::Var { name, ty, value } => clear!(name, ty, value),
            StmtKind::Assign { target, op: _, value } => clear!(target, value),
            StmtKind::For { axes, domains, tiles, with, body } => clear!(axes, domains, tiles, with, body),
            StmtKind::With { axes, body } => clear!(axes, body),
            StmtKind::Seq { name, lo, hi, carry, body } => clear!(name, lo, hi, carry, body),
            StmtKind::Fold { name, domain, tile, carry, body } => clear!(name, domain, tile, carry, body),
            StmtKind::Next(items) => items.clear_spans(),
            StmtKind::If { cond, then, otherwise } => clear!(cond, then, otherwise),
            StmtKind::Call { callee, args } => clear!(callee, args),
            StmtKind::Repeat { name, lo, hi, pingpong, body } => clear!(name, lo, hi, pingpong, body),
            StmtKind::Buf { name, ty } => clear!(name, ty),
            StmtKind::Error => {}
        }
    }
}

impl ClearSpans for Arg {
    fn clear_spans(&mut self) {
        match self {
            Arg::Expr(e) => e.clear_spans(),
            Arg::Range(lo, hi) => clear!(lo, hi),
            Arg::Named(name, e) => clear!(name, e),
        }
    }
}

impl ClearSpans for ExprKind {
    fn clear_spans(&mut self) {
        match self {
            ExprKind::Int { .. }
            | ExprKind::Float { .. }
            | ExprKind::Bool(_)
            | ExprKind::Name(_)
            | ExprKind::DType(_)
            | ExprKind::Error => {}
            ExprKind::Field(base, field) => clear!(base, field),
            ExprKind::Unary(_, e) | ExprKind::Cast(_, e) | ExprKind::Paren(e) => e.clear_spans(),
            ExprKind::Binary(_, l, r) => clear!(l, r),
            ExprKind::Index(base, indices) => clear!(base, indices),
            ExprKind::Reduce { op, axes, args } => clear!(op, axes, args),
            ExprKind::Call(callee, args) => clear!(callee, args),
            ExprKind::Array(values) => values.clear_spans(),
        }
    }
}

impl ClearSpans for ReduceAxis {
    fn clear_spans(&mut self) {
        match self {
            ReduceAxis::Name(n) => n.clear_spans(),
            ReduceAxis::Bind(a) => a.clear_spans(),
        }
    }
}

impl ClearSpans for TuneItem {
    fn clear_spans(&mut self) {
        match self {
            TuneItem::Var { name, domain, value } => clear!(name, domain, value),
            TuneItem::Require(e) => e.clear_spans(),
        }
    }
}

impl ClearSpans for TuneDomain {
    fn clear_spans(&mut self) {
        match self {
            TuneDomain::Set(values) => values.clear_spans(),
            TuneDomain::Range(lo, hi) | TuneDomain::Pow2(lo, hi) => clear!(lo, hi),
        }
    }
}

impl ClearSpans for TaskItemKind {
    fn clear_spans(&mut self) {
        match self {
            TaskItemKind::Search(v) | TaskItemKind::Heldout(v) | TaskItemKind::Sealed(v) => v.clear_spans(),
            TaskItemKind::Sizes { name, lo, hi, multiple } => clear!(name, lo, hi, multiple),
            TaskItemKind::Init { name, dist } => clear!(name, dist),
            TaskItemKind::Tol { name, bounds } => clear!(name, bounds),
            TaskItemKind::Cost { name, value } => clear!(name, value),
            TaskItemKind::Allow(v) => v.clear_spans(),
            TaskItemKind::Check(e) => e.clear_spans(),
        }
    }
}

impl ClearSpans for Init {
    fn clear_spans(&mut self) {
        match self {
            Init::Dist(e) | Init::Value(e) => e.clear_spans(),
            Init::Range(lo, hi) => clear!(lo, hi),
        }
    }
}

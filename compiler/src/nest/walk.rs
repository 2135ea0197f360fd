//! Visiting the parts of a nest.

use super::ir::{Expr, ExprId, ExprKind, Nest, Stmt};

impl Expr {
    /// Calls `f` on every operand, in order.
    pub fn for_each_operand(&self, mut f: impl FnMut(ExprId)) {
        match &self.kind {
            ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::Size(_) | ExprKind::Param(_) => {}
            ExprKind::Load { index, .. } => index.iter().copied().for_each(f),
            ExprKind::Unary(_, a) | ExprKind::Math(_, a) | ExprKind::Cast(a) => f(*a),
            ExprKind::Binary(_, a, b) => [*a, *b].into_iter().for_each(f),
            ExprKind::Fma(a, b, c) | ExprKind::Select(a, b, c) => [*a, *b, *c].into_iter().for_each(f),
        }
    }
}

impl Stmt {
    /// Calls `f` on every expression that the statement itself evaluates, in order; not on those of nested
    /// statements.
    pub fn for_each_expr(&self, mut f: impl FnMut(ExprId)) {
        match self {
            Stmt::Loop { lo, hi, .. } => [*lo, *hi].into_iter().for_each(f),
            Stmt::Let { value, .. } => f(*value),
            Stmt::Store { index, value, .. } | Stmt::Atomic { index, value, .. } => {
                index.iter().copied().for_each(&mut f);
                f(*value);
            }
            Stmt::If { cond, .. } => f(*cond),
            Stmt::SetStatus(_) => {}
        }
    }

    /// The statement lists inside.
    pub fn blocks(&self) -> impl Iterator<Item = &Vec<Stmt>> {
        let (first, second) = match self {
            Stmt::Loop { body, .. } => (Some(body), None),
            Stmt::If { then, otherwise, .. } => (Some(then), Some(otherwise)),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// Calls `f` on every statement of a list, outer before inner.
pub fn for_each_stmt(block: &[Stmt], f: &mut impl FnMut(&Stmt)) {
    for stmt in block {
        f(stmt);
        for inner in stmt.blocks() {
            for_each_stmt(inner, f);
        }
    }
}

impl Nest {
    /// The value of an expression that is an integer literal.
    #[must_use]
    pub fn const_int(&self, e: ExprId) -> Option<i64> {
        match self.exprs[e].kind {
            ExprKind::Const(rooftile_artifact::Scalar::Int(v)) => Some(v),
            _ => None,
        }
    }
}

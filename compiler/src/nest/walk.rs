//! Visiting the parts of a nest.

use std::collections::BTreeSet;

use super::ir::{BufferId, Expr, ExprId, ExprKind, MatrixOp, Nest, Space, Stmt, VarId};

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

    /// Every operand, in order.
    #[must_use]
    pub fn operands(&self) -> Vec<ExprId> {
        let mut all = Vec::new();
        self.for_each_operand(|o| all.push(o));
        all
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
            Stmt::Prefetch { index, .. } => index.iter().copied().for_each(f),
            Stmt::If { cond, .. } => f(*cond),
            Stmt::SetStatus(_) => {}
            Stmt::Matrix(op) => {
                op.indices().for_each(&mut f);
                if let MatrixOp::Fill { value, .. } = op {
                    f(*value);
                }
            }
        }
    }

    /// The buffer that the statement itself writes to.
    #[must_use]
    pub fn written(&self) -> Option<BufferId> {
        match self {
            Stmt::Store { buffer, .. } | Stmt::Atomic { buffer, .. } => Some(*buffer),
            Stmt::Matrix(op) => Some(op.written()),
            Stmt::Loop { .. }
            | Stmt::Let { .. }
            | Stmt::If { .. }
            | Stmt::Prefetch { .. }
            | Stmt::SetStatus(_) => None,
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

    /// Whether an expression, or anything that it is made of, is as `f` says. Each is asked once.
    pub fn any(&self, root: ExprId, mut f: impl FnMut(&ExprKind) -> bool) -> bool {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![root]);
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            if f(&self.exprs[e].kind) {
                return true;
            }
            self.exprs[e].for_each_operand(|o| stack.push(o));
        }
        false
    }

    /// Whether an expression names any of the variables.
    #[must_use]
    pub fn mentions(&self, e: ExprId, vars: &BTreeSet<VarId>) -> bool {
        self.any(e, |kind| matches!(kind, ExprKind::Var(v) if vars.contains(v)))
    }

    /// Whether an expression reads memory, or registers.
    #[must_use]
    pub fn has_load(&self, e: ExprId) -> bool {
        self.any(e, |kind| matches!(kind, ExprKind::Load { .. }))
    }

    /// Calls `f` with every access to a buffer in lists of statements: a statement's store before its loads, and each
    /// load once. A matrix statement accesses its matrices, by their indices without rows and columns, and then the first
    /// element of its block.
    pub fn for_each_access<'a>(
        &self,
        blocks: impl IntoIterator<Item = &'a Vec<Stmt>>,
        f: &mut impl FnMut(BufferId, &[ExprId]),
    ) {
        let mut seen = BTreeSet::new();
        for block in blocks {
            for_each_stmt(block, &mut |s| {
                if let Stmt::Store { buffer, index, .. } | Stmt::Atomic { buffer, index, .. } = s {
                    f(*buffer, index);
                }
                if let Stmt::Matrix(op) = s {
                    op.matrices().for_each(|m| f(m.buffer, &m.index));
                    op.block().into_iter().for_each(|b| f(b.buffer, &b.at));
                }
                s.for_each_expr(|e| self.for_each_load(e, &mut seen, f));
            });
        }
    }

    /// The slots that its statements write to.
    #[must_use]
    pub fn written_slots(&self) -> BTreeSet<usize> {
        let mut slots = BTreeSet::new();
        for phase in &self.phases {
            for_each_stmt(&phase.body, &mut |s| {
                if let Some(Space::Global(slot)) = s.written().map(|b| self.buffers[b].space) {
                    slots.insert(slot as usize);
                }
            });
        }
        slots
    }

    /// Whether some statement writes to a buffer in this space.
    #[must_use]
    pub fn writes_to(&self, space: Space) -> bool {
        let mut writes = false;
        for phase in &self.phases {
            for_each_stmt(&phase.body, &mut |s| {
                writes |= s.written().is_some_and(|b| self.buffers[b].space == space);
            });
        }
        writes
    }

    /// Whether an expression loads from such a buffer.
    pub fn loads_from(&self, e: ExprId, is: impl Fn(BufferId) -> bool) -> bool {
        self.any(e, |kind| matches!(kind, ExprKind::Load { buffer, .. } if is(*buffer)))
    }

    /// Calls `f` with every load below an expression, but for what was `seen` before.
    pub fn for_each_load(
        &self,
        e: ExprId,
        seen: &mut BTreeSet<ExprId>,
        f: &mut impl FnMut(BufferId, &[ExprId]),
    ) {
        if !seen.insert(e) {
            return;
        }
        if let ExprKind::Load { buffer, index } = &self.exprs[e].kind {
            f(*buffer, index);
        }
        self.exprs[e].for_each_operand(|o| self.for_each_load(o, seen, f));
    }
}

//! Writing a nest's statements into another nest: sizes and parameters become expressions, buffers other buffers, and
//! every variable a new one.

use std::collections::BTreeMap;

use super::build::Builder;
use super::ir::{Block, BufferId, ExprId, ExprKind, Matrix, MatrixOp, Nest, Space, Stmt, VarId};

/// What the names of a nest stand for in the nest that is written to.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// Each of the nest's sizes.
    pub sizes: &'a [ExprId],
    /// Each of its parameters.
    pub params: &'a [ExprId],
}

/// What stands for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The buffer.
    pub buffer: BufferId,
    /// A dimension whose indices go round in an extent that is a power of two.
    pub ring: Option<(usize, i64)>,
}

impl From<BufferId> for Place {
    fn from(buffer: BufferId) -> Place {
        Place { buffer, ring: None }
    }
}

/// Finds what stands for one of the nest's buffers.
pub type Buffers<'a> = dyn FnMut(&mut Builder, BufferId) -> Place + 'a;

/// Copies of statements of `from`, in `b`. `buffers` is asked once for each buffer that they touch.
#[must_use]
pub fn inline(
    b: &mut Builder,
    from: &Nest,
    bound: &Bound<'_>,
    stmts: &[Stmt],
    buffers: &mut Buffers<'_>,
) -> Vec<Stmt> {
    Inliner::new(b, from, bound, buffers).block(stmts)
}

/// A copy of an expression of `from` without variables and loads, in `b`.
#[must_use]
pub fn inline_expr(b: &mut Builder, from: &Nest, bound: &Bound<'_>, e: ExprId) -> ExprId {
    // An expression of the host touches no buffer.
    Inliner::new(b, from, bound, &mut |_, buffer| buffer.into()).expr(e)
}

struct Inliner<'a, 'b, 'c> {
    b: &'a mut Builder,
    from: &'a Nest,
    bound: &'a Bound<'a>,
    buffers: &'b mut Buffers<'c>,
    known: BTreeMap<BufferId, Place>,
    vars: BTreeMap<VarId, VarId>,
    exprs: BTreeMap<ExprId, ExprId>,
}

impl<'a, 'b, 'c> Inliner<'a, 'b, 'c> {
    fn new(
        b: &'a mut Builder,
        from: &'a Nest,
        bound: &'a Bound<'a>,
        buffers: &'b mut Buffers<'c>,
    ) -> Inliner<'a, 'b, 'c> {
        let (known, vars, exprs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Inliner { b, from, bound, buffers, known, vars, exprs }
    }

    /// The buffer that stands for another, and where an element is in it.
    fn element(&mut self, id: BufferId, index: &[ExprId]) -> (BufferId, Vec<ExprId>) {
        let mut index = self.all(index);
        let place = self.place(id);
        if let Some((dim, extent)) = place.ring {
            index[dim] = self.b.around(index[dim], extent);
        }
        (place.buffer, index)
    }

    fn buffer(&mut self, id: BufferId) -> BufferId {
        self.place(id).buffer
    }

    fn place(&mut self, id: BufferId) -> Place {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let new = (self.buffers)(self.b, id);
        self.known.insert(id, new);
        new
    }

    fn var(&mut self, id: VarId) -> VarId {
        if let Some(known) = self.vars.get(&id) {
            return *known;
        }
        let var = &self.from.vars[id];
        let new = self.b.add_var(&var.name, var.dtype);
        self.vars.insert(id, new);
        new
    }

    fn all(&mut self, es: &[ExprId]) -> Vec<ExprId> {
        es.iter().map(|e| self.expr(*e)).collect()
    }

    fn expr(&mut self, e: ExprId) -> ExprId {
        if let Some(known) = self.exprs.get(&e) {
            return *known;
        }
        let expr = &self.from.exprs[e];
        let new = match &expr.kind {
            ExprKind::Const(v) => self.b.constant(*v, expr.dtype),
            ExprKind::Var(v) => {
                let var = self.var(*v);
                self.b.var(var)
            }
            ExprKind::Size(n) => self.bound.sizes[*n],
            ExprKind::Param(n) => self.bound.params[*n],
            ExprKind::Load { buffer, index } => {
                let (buffer, index) = self.element(*buffer, index);
                self.b.load(buffer, &index)
            }
            _ => {
                let operands = self.all(&expr.operands());
                self.b.again(expr, &operands)
            }
        };
        self.exprs.insert(e, new);
        new
    }

    fn block(&mut self, stmts: &[Stmt]) -> Vec<Stmt> {
        stmts.iter().filter_map(|s| self.stmt(s)).collect()
    }

    /// The copy of a statement; `None` where there is nothing left for it to do.
    fn stmt(&mut self, stmt: &Stmt) -> Option<Stmt> {
        Some(match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => {
                let (lo, hi) = (self.expr(*lo), self.expr(*hi));
                let (var, body) = (self.var(*var), self.block(body));
                Stmt::Loop { var, lo, hi, step: *step, kind: *kind, body }
            }
            Stmt::Let { var, value } => {
                let value = self.expr(*value);
                Stmt::Let { var: self.var(*var), value }
            }
            Stmt::Store { buffer, index, value } => {
                let (buffer, index) = self.element(*buffer, index);
                Stmt::Store { buffer, index, value: self.expr(*value) }
            }
            Stmt::Atomic { op, buffer, index, value, old } => {
                let ((buffer, index), value) = (self.element(*buffer, index), self.expr(*value));
                let old = old.map(|v| self.var(v));
                Stmt::Atomic { op: *op, buffer, index, value, old }
            }
            Stmt::If { cond, then, otherwise } => {
                let cond = self.expr(*cond);
                Stmt::If { cond, then: self.block(then), otherwise: self.block(otherwise) }
            }
            Stmt::Prefetch { buffer, index } => {
                // What stands for it may be near already, and what its indices are read from may be written here.
                let (buffer, index) = self.element(*buffer, index);
                let nest = self.b.nest();
                let near = !matches!(nest.buffers[buffer].space, Space::Global(_));
                if near || index.iter().any(|i| nest.has_load(*i)) {
                    return None;
                }
                Stmt::Prefetch { buffer, index }
            }
            Stmt::SetStatus(bits) => Stmt::SetStatus(*bits),
            Stmt::Matrix(op) => Stmt::Matrix(self.matrix_op(op)),
        })
    }

    fn matrix_op(&mut self, op: &MatrixOp) -> MatrixOp {
        match op {
            MatrixOp::Fill { to, value } => MatrixOp::Fill { to: self.matrix(to), value: self.expr(*value) },
            MatrixOp::Load { to, from } => MatrixOp::Load { to: self.matrix(to), from: self.memory(from) },
            MatrixOp::MultiplyAdd { acc, a, b } => {
                MatrixOp::MultiplyAdd { acc: self.matrix(acc), a: self.matrix(a), b: self.matrix(b) }
            }
            MatrixOp::Store { from, to } => MatrixOp::Store { from: self.matrix(from), to: self.memory(to) },
        }
    }

    fn matrix(&mut self, m: &Matrix) -> Matrix {
        Matrix { buffer: self.buffer(m.buffer), index: self.all(&m.index) }
    }

    fn memory(&mut self, block: &Block) -> Block {
        Block { buffer: self.buffer(block.buffer), at: self.all(&block.at), ..*block }
    }
}

#[cfg(test)]
mod tests {
    use rooftile_artifact::DType;

    use super::*;
    use crate::nest::ir::LoopKind;

    #[test]
    fn sizes_and_buffers_are_bound_and_variables_are_new() {
        let mut b = Builder::new("copy");
        let (lo, hi) = (b.add_size("lo"), b.add_size("hi"));
        let u = b.add_buffer("u", DType::F32, &[hi], Space::Global(0));
        let v = b.add_buffer("v", DType::F32, &[hi], Space::Global(1));
        let pass = b.for_loop(LoopKind::Serial, "i", (lo, hi, 1), |b, i| {
            let next = b.add_int(i, 1);
            let value = b.load(u, &[next]);
            vec![b.store(v, &[i], value)]
        });
        b.add_phase(Vec::new(), vec![pass]);
        let from = b.finish();

        let mut b = Builder::new("twice");
        let n = b.add_size("n");
        let w = b.add_buffer("w", DType::F32, &[n], Space::Global(0));
        let t = b.add_buffer("t", DType::F32, &[n], Space::Local);
        let (one, two) = (b.int(1), b.int(2));
        let sizes = [one, two];
        let bound = Bound { sizes: &sizes, params: &[] };
        let mut all = Vec::new();
        for (read, written) in [(w, t), (t, w)] {
            let mut buffers = |_: &mut Builder, id| if id == u { read } else { written }.into();
            all.extend(inline(&mut b, &from, &bound, &from.phases[0].body, &mut buffers));
        }
        b.add_phase(Vec::new(), all);
        let text = b.finish().to_string();
        insta::assert_snapshot!(text, @r"
        nest twice(n)
          global 0 w: f32[n]
          local t: f32[n]
        phase 0
          for i in 1..2
            t[i] = w[(i + 1)]
          for i'2 in 1..2
            w[i'2] = t[(i'2 + 1)]
        ");
    }
}

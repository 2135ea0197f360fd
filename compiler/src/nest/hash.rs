//! The identity of a module: equal for modules that differ in names only, so that two ways to the same loops are
//! one candidate.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, Program, Scalar};

use super::ir::{
    Block, BufferId, Expr, ExprId, ExprKind, LoopKind, Matrix, MatrixOp, Module, Nest, Space, Stmt, VarId,
};
use super::print::{binary_name, math_name, unary_name};

/// A digest of what the module does: steps, buffers and loops. Names, the numbering of variables and buffers, and
/// expressions that nothing uses have no part in it.
#[must_use]
pub fn canonical_hash(module: &Module) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let anonymous = without_names(&module.program);
    hasher.update(&serde_json::to_vec(&anonymous).unwrap_or_default());
    for nest in &module.nests {
        hasher.update(&nest_hash(nest));
    }
    hasher.finalize().into()
}

fn without_names(program: &Program) -> Program {
    let mut p = program.clone();
    p.name.clear();
    p.kernels.clear();
    p.sizes.iter_mut().for_each(String::clear);
    p.scalars.iter_mut().for_each(|s| s.name.clear());
    p.params.iter_mut().for_each(|t| t.name.clear());
    p.buffers.iter_mut().for_each(|b| b.name.clear());
    p.requires.iter_mut().for_each(|(_, text)| text.clear());
    p
}

fn nest_hash(nest: &Nest) -> [u8; 32] {
    let mut walk = Walk {
        nest,
        vars: BTreeMap::new(),
        buffers: BTreeMap::new(),
        order: Vec::new(),
        exprs: BTreeMap::new(),
        out: Vec::new(),
    };
    walk.number(nest.sizes.len());
    walk.number(nest.scalars.len());
    nest.scalars.iter().for_each(|(_, t)| walk.dtype(*t));
    for phase in &nest.phases {
        walk.text("phase");
        walk.number(phase.cores.len());
        for core in &phase.cores {
            walk.expr(core.lo);
            walk.expr(core.hi);
            walk.int(core.step);
            walk.bind(core.var);
        }
        walk.block(&phase.body);
    }
    walk.describe_buffers();
    blake3::hash(&walk.out).into()
}

struct Walk<'a> {
    nest: &'a Nest,
    /// Number of each variable in order of binding.
    vars: BTreeMap<VarId, usize>,
    /// Number of each buffer in order of first use.
    buffers: BTreeMap<BufferId, usize>,
    order: Vec<BufferId>,
    /// Digest of each expression; variables are bound once, so it holds everywhere.
    exprs: BTreeMap<ExprId, [u8; 32]>,
    out: Vec<u8>,
}

impl Walk<'_> {
    fn number(&mut self, n: usize) {
        self.out.extend((n as u64).to_le_bytes());
    }

    fn int(&mut self, v: i64) {
        self.out.extend(v.to_le_bytes());
    }

    /// Texts end in a byte that no text holds, so that two never run together.
    fn text(&mut self, s: &str) {
        self.out.extend(s.as_bytes());
        self.out.push(0xFF);
    }

    fn dtype(&mut self, t: DType) {
        self.text(&t.to_string());
    }

    fn bind(&mut self, v: VarId) {
        let n = self.vars.len();
        self.vars.insert(v, n);
        self.dtype(self.nest.vars[v].dtype);
    }

    fn buffer(&mut self, id: BufferId) {
        let fresh = self.buffers.len();
        let n = *self.buffers.entry(id).or_insert_with(|| {
            self.order.push(id);
            fresh
        });
        self.number(n);
    }

    /// What the buffers are, in order of first use.
    fn describe_buffers(&mut self) {
        let nest = self.nest;
        for id in std::mem::take(&mut self.order) {
            let buffer = &nest.buffers[id];
            match buffer.space {
                Space::Global(slot) => {
                    self.text("global");
                    self.int(slot.into());
                }
                Space::Local => self.text("local"),
                Space::Shared => self.text("shared"),
                Space::Register => self.text("register"),
                Space::Matrix => self.text("matrix"),
            }
            self.dtype(buffer.dtype);
            if let Some(bytes) = buffer.past_caches {
                self.text("past");
                self.int(bytes);
            }
            if buffer.own_prefetch {
                self.text("prefetched");
            }
            self.number(buffer.shape.len());
            buffer.shape.iter().for_each(|&e| self.expr(e));
        }
    }

    fn block(&mut self, block: &[Stmt]) {
        self.number(block.len());
        for stmt in block {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => {
                self.text(match kind {
                    LoopKind::Serial => "for",
                    LoopKind::Unrolled => "unrolled",
                    LoopKind::Lanes => "lanes",
                    LoopKind::Threads { .. } => "threads",
                    LoopKind::Subgroups { .. } => "subgroups",
                });
                self.expr(*lo);
                self.expr(*hi);
                self.int(*step);
                self.bind(*var);
                self.block(body);
            }
            Stmt::Let { var, value } => {
                self.text("let");
                self.expr(*value);
                self.bind(*var);
            }
            Stmt::Store { buffer, index, value } => {
                self.text("store");
                self.buffer(*buffer);
                index.iter().for_each(|&e| self.expr(e));
                self.expr(*value);
            }
            Stmt::Atomic { op, buffer, index, value, old } => {
                self.text("atomic");
                self.text(binary_name(*op));
                self.buffer(*buffer);
                index.iter().for_each(|&e| self.expr(e));
                self.expr(*value);
                self.number(usize::from(old.is_some()));
                if let Some(old) = old {
                    self.bind(*old);
                }
            }
            Stmt::Prefetch { buffer, index } => {
                self.text("prefetch");
                self.buffer(*buffer);
                index.iter().for_each(|&e| self.expr(e));
            }
            Stmt::If { cond, then, otherwise } => {
                self.text("if");
                self.expr(*cond);
                self.block(then);
                self.block(otherwise);
            }
            Stmt::SetStatus(bits) => {
                self.text("status");
                self.int((*bits).into());
            }
            Stmt::Matrix(op) => self.matrix_op(op),
        }
    }

    fn matrix_op(&mut self, op: &MatrixOp) {
        self.text(match op {
            MatrixOp::Fill { .. } => "fill",
            MatrixOp::Load { .. } => "load matrix",
            MatrixOp::MultiplyAdd { .. } => "multiply",
            MatrixOp::Store { .. } => "store matrix",
        });
        for Matrix { buffer, index } in op.matrices() {
            self.buffer(*buffer);
            index.iter().for_each(|&e| self.expr(e));
        }
        if let Some(Block { buffer, at, rows, columns }) = op.block() {
            self.buffer(*buffer);
            at.iter().for_each(|&e| self.expr(e));
            self.number(*rows);
            self.number(*columns);
        }
        if let MatrixOp::Fill { value, .. } = op {
            self.expr(*value);
        }
    }

    fn expr(&mut self, id: ExprId) {
        let digest = self.digest(id);
        self.out.extend(digest);
    }

    fn digest(&mut self, id: ExprId) -> [u8; 32] {
        if let Some(done) = self.exprs.get(&id) {
            return *done;
        }
        let outer = std::mem::take(&mut self.out);
        let nest = self.nest;
        let expr = &nest.exprs[id];
        self.dtype(expr.dtype);
        self.head(expr);
        expr.for_each_operand(|o| self.expr(o));
        let digest = blake3::hash(&self.out).into();
        self.out = outer;
        self.exprs.insert(id, digest);
        digest
    }

    /// What distinguishes an expression besides its type and its operands.
    fn head(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Const(v) => {
                self.text("const");
                match *v {
                    Scalar::Int(v) => self.int(v),
                    Scalar::Float(v) => self.out.extend(v.to_bits().to_le_bytes()),
                    Scalar::Complex(re, im) => {
                        self.out.extend(re.to_bits().to_le_bytes());
                        self.out.extend(im.to_bits().to_le_bytes());
                    }
                    Scalar::Bool(v) => self.int(v.into()),
                }
            }
            ExprKind::Var(v) => {
                self.text("var");
                let n = self.vars.get(v).copied().unwrap_or(usize::MAX);
                self.number(n);
            }
            ExprKind::Size(n) => {
                self.text("size");
                self.number(*n);
            }
            ExprKind::Param(n) => {
                self.text("param");
                self.number(*n);
            }
            ExprKind::Load { buffer, .. } => {
                self.text("load");
                self.buffer(*buffer);
            }
            ExprKind::Unary(op, _) => self.text(unary_name(*op)),
            ExprKind::Math(m, _) => self.text(math_name(*m)),
            ExprKind::Binary(op, ..) => self.text(binary_name(*op)),
            ExprKind::Fma(..) => self.text("fma"),
            ExprKind::Select(..) => self.text("select"),
            ExprKind::Cast(_) => self.text("cast"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Builder;
    use super::super::ir::Space;
    use super::*;

    /// `out[i] = in[i] * factor`, with the index expression built `extra` times over.
    fn scale(name: &str, kind: LoopKind, factor: f64, waste: bool) -> Nest {
        let mut b = Builder::new(name);
        let n = b.add_size(name);
        let unused = b.add_var("unused", DType::I64);
        if waste {
            b.var(unused);
        }
        let (x, y) = (
            b.add_buffer(name, DType::F32, &[n], Space::Global(0)),
            b.add_buffer("y", DType::F32, &[n], Space::Global(1)),
        );
        let (lo, hi) = (b.int(0), b.int(8));
        let body = b.for_loop(kind, name, (lo, hi, 1), |b, i| {
            let v = b.load(x, &[i]);
            let f = b.constant(Scalar::Float(factor), DType::F32);
            let v = b.mul(v, f);
            vec![b.store(y, &[i], v)]
        });
        b.add_phase(Vec::new(), vec![body]);
        b.finish()
    }

    #[test]
    fn names_do_not_matter_and_all_else_does() {
        let same = nest_hash(&scale("a", LoopKind::Serial, 2.0, false));
        assert_eq!(same, nest_hash(&scale("b", LoopKind::Serial, 2.0, true)));
        assert_ne!(same, nest_hash(&scale("a", LoopKind::Lanes, 2.0, false)));
        assert_ne!(same, nest_hash(&scale("a", LoopKind::Serial, 2.5, false)));
    }

    #[test]
    fn text_of_a_nest() {
        let text = scale("k", LoopKind::Lanes, 2.0, false).to_string();
        let want = "nest k(k)\n  global 0 k: f32[k]\n  global 1 y: f32[k]\nphase 0\n  lanes k in 0..8\n    y[k] = (k[k] * 2.0)\n";
        assert_eq!(text, want);
    }
}

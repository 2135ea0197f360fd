//! A nest as text for people. The same nest always gives the same text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use rooftile_artifact::{DType, Scalar};

use super::ir::{
    BinaryOp, Block, BufferId, ExprId, ExprKind, LoopKind, MathFn, Matrix, MatrixOp, Module, Nest, Space,
    Stmt, UnaryOp, VarId,
};

/// Expressions that would print longer than this many nodes are shown once, under a number of their own.
const LARGEST: usize = 48;

impl fmt::Display for Nest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Printer::new(self).print()?)
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, nest) in self.nests.iter().enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            nest.fmt(f)?;
        }
        Ok(())
    }
}

struct Printer<'a> {
    nest: &'a Nest,
    out: String,
    /// Node count of every expression as a tree, saturating; shared ones count as 1.
    sizes: Vec<usize>,
    names: Vec<String>,
    buffers: Vec<String>,
    /// Large expressions that were referred to, to be listed at the end.
    pending: BTreeMap<ExprId, bool>,
}

/// Names, made different by a number where two would be equal.
fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    names
        .map(|name| {
            let uses = seen.entry(name.to_owned()).or_insert(0);
            *uses += 1;
            if *uses == 1 { name.to_owned() } else { format!("{name}'{uses}") }
        })
        .collect()
}

impl<'a> Printer<'a> {
    fn new(nest: &'a Nest) -> Printer<'a> {
        let mut sizes: Vec<usize> = Vec::with_capacity(nest.exprs.len());
        for (_, e) in nest.exprs.iter() {
            let mut size = 1;
            e.for_each_operand(|o| {
                let inner = sizes.get(o.index()).copied().unwrap_or(1);
                size += if inner > LARGEST { 1 } else { inner };
            });
            sizes.push(size);
        }
        Printer {
            nest,
            out: String::new(),
            sizes,
            names: distinct(nest.vars.iter().map(|(_, v)| v.name.as_str())),
            buffers: distinct(nest.buffers.iter().map(|(_, b)| b.name.as_str())),
            pending: BTreeMap::new(),
        }
    }

    fn print(mut self) -> Result<String, fmt::Error> {
        let nest = self.nest;
        let scalars: Vec<String> = nest.scalars.iter().map(|(n, t)| format!("{n}: {t}")).collect();
        let params = [nest.sizes.join(", "), scalars.join(", ")];
        writeln!(self.out, "nest {}({})", nest.name, params.join("; ").trim_end_matches("; "))?;
        for (id, buffer) in nest.buffers.iter() {
            let space = match buffer.space {
                Space::Global(slot) => format!("global {slot}"),
                Space::Local => "local".to_owned(),
                Space::Shared => "shared".to_owned(),
                Space::Register => "register".to_owned(),
                Space::Matrix => "matrix".to_owned(),
            };
            write!(self.out, "  {space} {}: {}", self.buffer(id), buffer.dtype)?;
            self.index(&buffer.shape)?;
            if let Some(bytes) = buffer.past_caches {
                write!(self.out, " past the caches from {bytes} bytes")?;
            }
            if buffer.own_prefetch {
                self.out.push_str(" prefetched as said");
            }
            self.out.push('\n');
        }
        for (n, phase) in nest.phases.iter().enumerate() {
            write!(self.out, "phase {n}")?;
            for core in &phase.cores {
                write!(self.out, " cores {}", self.var(core.var))?;
                self.range(core.lo, core.hi, core.step)?;
            }
            self.out.push('\n');
            self.block(&phase.body, 1)?;
        }
        let mut heading = true;
        while let Some(id) = self.pending.iter().find(|(_, done)| !**done).map(|(id, _)| *id) {
            if heading {
                self.out.push_str("where\n");
                heading = false;
            }
            self.pending.insert(id, true);
            write!(self.out, "  e{} = ", id.index())?;
            self.node(id)?;
            self.out.push('\n');
        }
        Ok(self.out)
    }

    fn var(&self, v: VarId) -> String {
        self.names.get(v.index()).cloned().unwrap_or_else(|| format!("?{}", v.index()))
    }

    fn buffer(&self, b: BufferId) -> String {
        self.buffers.get(b.index()).cloned().unwrap_or_else(|| format!("?{}", b.index()))
    }

    fn block(&mut self, block: &[Stmt], depth: usize) -> fmt::Result {
        block.iter().try_for_each(|s| self.stmt(s, depth))
    }

    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) -> fmt::Result {
        self.indent(depth);
        match stmt {
            Stmt::Loop { var, lo, hi, step, kind, body } => {
                let kind = match kind {
                    LoopKind::Serial => "for",
                    LoopKind::Unrolled => "unrolled",
                    LoopKind::Lanes => "lanes",
                    LoopKind::Threads { .. } => "threads",
                    LoopKind::Subgroups { .. } => "subgroups",
                };
                write!(self.out, "{kind} {}", self.var(*var))?;
                self.range(*lo, *hi, *step)?;
                self.out.push('\n');
                self.block(body, depth + 1)?;
            }
            Stmt::Let { var, value } => {
                let dtype = self.nest.vars.get(*var).map_or(DType::I64, |v| v.dtype);
                write!(self.out, "let {}: {dtype} = ", self.var(*var))?;
                self.expr(*value)?;
                self.out.push('\n');
            }
            Stmt::Store { buffer, index, value } => {
                self.out += &self.buffer(*buffer);
                self.index(index)?;
                self.out.push_str(" = ");
                self.expr(*value)?;
                self.out.push('\n');
            }
            Stmt::Atomic { op, buffer, index, value, old } => {
                if let Some(old) = old {
                    write!(self.out, "let {} = ", self.var(*old))?;
                }
                write!(self.out, "atomic {} ", binary_name(*op))?;
                self.out += &self.buffer(*buffer);
                self.index(index)?;
                self.out.push_str(", ");
                self.expr(*value)?;
                self.out.push('\n');
            }
            Stmt::Prefetch { buffer, index } => {
                self.out.push_str("prefetch ");
                self.out += &self.buffer(*buffer);
                self.index(index)?;
                self.out.push('\n');
            }
            Stmt::If { cond, then, otherwise } => {
                self.out.push_str("if ");
                self.expr(*cond)?;
                self.out.push('\n');
                self.block(then, depth + 1)?;
                if !otherwise.is_empty() {
                    self.indent(depth);
                    self.out.push_str("else\n");
                    self.block(otherwise, depth + 1)?;
                }
            }
            Stmt::SetStatus(bits) => writeln!(self.out, "status {bits:#x}")?,
            Stmt::Matrix(op) => self.matrix_op(op)?,
        }
        Ok(())
    }

    fn matrix_op(&mut self, op: &MatrixOp) -> fmt::Result {
        match op {
            MatrixOp::Fill { to, value } => {
                self.matrix("fill ", to)?;
                self.out.push_str(", ");
                self.expr(*value)?;
            }
            MatrixOp::Load { to, from } => {
                self.matrix("load ", to)?;
                self.place_of(from)?;
            }
            MatrixOp::MultiplyAdd { acc, a, b } => {
                for (name, m) in [("multiply ", acc), (" += ", a), (" * ", b)] {
                    self.matrix(name, m)?;
                }
            }
            MatrixOp::Store { from, to } => {
                self.matrix("store ", from)?;
                self.place_of(to)?;
            }
        }
        self.out.push('\n');
        Ok(())
    }

    fn matrix(&mut self, before: &str, m: &Matrix) -> fmt::Result {
        self.out.push_str(before);
        self.out += &self.buffer(m.buffer);
        self.index(&m.index)
    }

    fn place_of(&mut self, block: &Block) -> fmt::Result {
        self.out.push_str(", ");
        self.out += &self.buffer(block.buffer);
        self.index(&block.at)?;
        write!(self.out, " rows {} columns {}", block.rows, block.columns)
    }

    fn range(&mut self, lo: ExprId, hi: ExprId, step: i64) -> fmt::Result {
        self.out.push_str(" in ");
        self.expr(lo)?;
        self.out.push_str("..");
        self.expr(hi)?;
        if step != 1 {
            write!(self.out, " step {step}")?;
        }
        Ok(())
    }

    fn index(&mut self, index: &[ExprId]) -> fmt::Result {
        self.out.push('[');
        self.list(index)?;
        self.out.push(']');
        Ok(())
    }

    fn list(&mut self, items: &[ExprId]) -> fmt::Result {
        for (n, e) in items.iter().enumerate() {
            if n > 0 {
                self.out.push_str(", ");
            }
            self.expr(*e)?;
        }
        Ok(())
    }

    fn call(&mut self, name: &str, operands: &[ExprId]) -> fmt::Result {
        write!(self.out, "{name}(")?;
        self.list(operands)?;
        self.out.push(')');
        Ok(())
    }

    fn expr(&mut self, id: ExprId) -> fmt::Result {
        if self.sizes.get(id.index()).is_none_or(|&n| n > LARGEST) {
            self.pending.entry(id).or_insert(false);
            return write!(self.out, "e{}", id.index());
        }
        self.node(id)
    }

    fn node(&mut self, id: ExprId) -> fmt::Result {
        let Some(expr) = self.nest.exprs.get(id) else {
            return write!(self.out, "?{}", id.index());
        };
        match &expr.kind {
            ExprKind::Const(v) => constant(&mut self.out, *v, expr.dtype),
            ExprKind::Var(v) => {
                self.out += &self.var(*v);
                Ok(())
            }
            ExprKind::Size(n) => {
                self.out.push_str(self.nest.sizes.get(*n).map_or("?size", String::as_str));
                Ok(())
            }
            ExprKind::Param(n) => {
                self.out.push_str(self.nest.scalars.get(*n).map_or("?scalar", |(name, _)| name));
                Ok(())
            }
            ExprKind::Load { buffer, index } => {
                self.out += &self.buffer(*buffer);
                self.index(index)
            }
            ExprKind::Unary(op, a) => self.call(unary_name(*op), &[*a]),
            ExprKind::Math(m, a) => self.call(math_name(*m), &[*a]),
            ExprKind::Fma(a, b, c) => self.call("fma", &[*a, *b, *c]),
            ExprKind::Select(c, a, b) => self.call("select", &[*c, *a, *b]),
            ExprKind::Cast(a) => self.call(&expr.dtype.to_string(), &[*a]),
            ExprKind::Binary(op, a, b) => {
                let name = binary_name(*op);
                if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    return self.call(name, &[*a, *b]);
                }
                self.out.push('(');
                self.expr(*a)?;
                write!(self.out, " {name} ")?;
                self.expr(*b)?;
                self.out.push(')');
                Ok(())
            }
        }
    }
}

fn constant(out: &mut String, v: Scalar, dtype: DType) -> fmt::Result {
    match v {
        Scalar::Int(v) if dtype == DType::I64 => write!(out, "{v}"),
        Scalar::Int(v) => write!(out, "{v}{dtype}"),
        Scalar::Float(v) if dtype == DType::F32 => write!(out, "{v:?}"),
        Scalar::Float(v) => write!(out, "{v:?}{dtype}"),
        Scalar::Complex(re, im) => write!(out, "({re:?}, {im:?})"),
        Scalar::Bool(v) => write!(out, "{v}"),
    }
}

pub(super) fn unary_name(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Not => "not",
        UnaryOp::Abs => "abs",
        UnaryOp::Floor => "floor",
        UnaryOp::Ceil => "ceil",
        UnaryOp::Round => "round",
        UnaryOp::Trunc => "trunc",
        UnaryOp::Sqrt => "sqrt",
        UnaryOp::Popcount => "popcount",
        UnaryOp::LeadingZeros => "lzcnt",
        UnaryOp::ReverseBits => "bitrev",
    }
}

impl fmt::Display for MathFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(math_name(*self))
    }
}

pub(super) fn math_name(f: MathFn) -> &'static str {
    match f {
        MathFn::Exp => "exp",
        MathFn::Exp2 => "exp2",
        MathFn::Expm1 => "expm1",
        MathFn::Log => "log",
        MathFn::Log2 => "log2",
        MathFn::Log1p => "log1p",
        MathFn::Sin => "sin",
        MathFn::Cos => "cos",
        MathFn::Tan => "tan",
        MathFn::Tanh => "tanh",
        MathFn::Sigmoid => "sigmoid",
        MathFn::Erf => "erf",
        MathFn::Erfc => "erfc",
        MathFn::Rsqrt => "rsqrt",
    }
}

pub(super) fn binary_name(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Rem => "%",
        BinaryOp::DivNonNeg => "/+",
        BinaryOp::RemNonNeg => "%+",
        BinaryOp::Min => "min",
        BinaryOp::Max => "max",
        BinaryOp::Pow => "pow",
        BinaryOp::And => "&",
        BinaryOp::Or => "|",
        BinaryOp::Xor => "^",
        BinaryOp::Shl => "<<",
        BinaryOp::Shr => ">>",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
    }
}

//! Rules 1 and 2: variables are bound before use, and types fit.

use rooftile_artifact::DType;

use super::super::ir::{
    BinaryOp, Block, Buffer, BufferId, Expr, ExprId, ExprKind, Matrix, MatrixOp, Nest, Space, Stmt, UnaryOp,
    VarId,
};
use super::super::print::{binary_name, unary_name};
use super::Report;

pub(super) fn check(nest: &Nest, report: &mut Report<'_>) {
    let mut checker = Checker {
        nest,
        report,
        in_scope: vec![false; nest.vars.len()],
        bound: vec![false; nest.vars.len()],
        typed: vec![false; nest.exprs.len()],
        seen: vec![0; nest.exprs.len()],
        stamp: 0,
    };
    for (_, buffer) in nest.buffers.iter() {
        if !is_storage(buffer.dtype) {
            checker.report.add(2, format_args!("buffer `{}` is of type {}", buffer.name, buffer.dtype));
        }
        for &extent in &buffer.shape {
            checker.expect(extent, DType::I64, "an extent");
        }
    }
    for phase in &nest.phases {
        for core in &phase.cores {
            checker.expect(core.lo, DType::I64, "a bound of a core loop");
            checker.expect(core.hi, DType::I64, "a bound of a core loop");
            checker.step(core.step);
        }
        for core in &phase.cores {
            checker.bind(core.var, DType::I64);
        }
        checker.block(&phase.body);
        for core in &phase.cores {
            checker.unbind(core.var);
        }
    }
}

fn is_machine(t: DType) -> bool {
    matches!(t, DType::F64 | DType::F32 | DType::Bool | DType::Int { bits: 8 | 16 | 32 | 64, .. })
}

fn is_storage(t: DType) -> bool {
    is_machine(t) || matches!(t, DType::F16 | DType::Bf16)
}

fn is_arithmetic_float(t: DType) -> bool {
    matches!(t, DType::F32 | DType::F64)
}

struct Checker<'a, 'r, 'n> {
    nest: &'a Nest,
    report: &'r mut Report<'n>,
    in_scope: Vec<bool>,
    bound: Vec<bool>,
    /// Expressions whose own type has been checked; it is the same at every use.
    typed: Vec<bool>,
    /// Stamp of the last statement at which an expression's variables were checked.
    seen: Vec<u32>,
    stamp: u32,
}

impl<'a> Checker<'a, '_, '_> {
    fn block(&mut self, block: &[Stmt]) {
        let mut bound_here = Vec::new();
        for stmt in block {
            self.stmt(stmt, &mut bound_here);
        }
        for var in bound_here {
            self.unbind(var);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, bound_here: &mut Vec<VarId>) {
        match stmt {
            Stmt::Loop { var, lo, hi, step, body, .. } => {
                self.expect(*lo, DType::I64, "a loop's bound");
                self.expect(*hi, DType::I64, "a loop's bound");
                self.step(*step);
                self.bind(*var, DType::I64);
                self.block(body);
                self.unbind(*var);
            }
            Stmt::Let { var, value } => {
                if let Some(dtype) = self.expr(*value) {
                    self.bind(*var, dtype);
                    bound_here.push(*var);
                }
            }
            Stmt::Store { buffer, index, value } => {
                let Some(buffer) = self.nest.buffers.get(*buffer) else {
                    return self.report.add(2, format_args!("a store to a buffer that is not there"));
                };
                index.iter().for_each(|&i| self.expect(i, DType::I64, "an index"));
                self.expect(*value, buffer.dtype, "a stored value");
            }
            Stmt::Atomic { op, buffer, index, value, old } => {
                let Some(buffer) = self.nest.buffers.get(*buffer) else {
                    return self.report.add(2, format_args!("an atomic on a buffer that is not there"));
                };
                index.iter().for_each(|&i| self.expect(i, DType::I64, "an index"));
                self.expect(*value, buffer.dtype, "an atomic's operand");
                use BinaryOp as B;
                let op_fits = matches!(op, B::Add | B::Min | B::Max | B::And | B::Or | B::Xor);
                let type_fits = matches!(buffer.dtype, DType::Int { bits: 32 | 64, .. });
                if !op_fits || !type_fits || !matches!(buffer.space, Space::Global(_)) {
                    let (op, name, dtype) = (binary_name(*op), &buffer.name, buffer.dtype);
                    self.report.add(2, format_args!("an atomic {op} on `{name}` of type {dtype}"));
                }
                if let Some(old) = old {
                    self.bind(*old, buffer.dtype);
                    bound_here.push(*old);
                }
            }
            Stmt::Prefetch { buffer, index } => {
                let space = self.nest.buffers.get(*buffer).map(|b| b.space);
                if !matches!(space, Some(Space::Global(_))) {
                    return self
                        .report
                        .add(16, format_args!("a prefetch from what is not memory of the launch"));
                }
                index.iter().for_each(|&i| self.expect(i, DType::I64, "an index"));
            }
            Stmt::If { cond, then, otherwise } => {
                self.expect(*cond, DType::Bool, "a condition");
                self.block(then);
                self.block(otherwise);
            }
            Stmt::SetStatus(_) => {}
            Stmt::Matrix(op) => self.matrix_op(op),
        }
    }

    fn matrix_op(&mut self, op: &MatrixOp) {
        op.indices().for_each(|i| self.expect(i, DType::I64, "an index"));
        let types: Vec<Option<DType>> = op.matrices().map(|m| self.matrix(m)).collect();
        let memory = op.block().map(|b| self.memory(b));
        match (op, &types[..], memory) {
            (MatrixOp::Fill { value, .. }, &[Some(t)], _) => self.expect(*value, t, "a matrix's element"),
            (_, &[Some(t)], Some(Some(other))) if other != t => {
                self.report.add(2, format_args!("a matrix of type {t} in memory of type {other}"));
            }
            _ => {}
        }
    }

    /// The type of a matrix, if there is one.
    fn matrix(&mut self, m: &Matrix) -> Option<DType> {
        let buffer = self.buffer(m.buffer)?;
        if buffer.space != Space::Matrix {
            self.report.add(2, format_args!("`{}` is not made of matrices", buffer.name));
            return None;
        }
        Some(buffer.dtype)
    }

    /// The type of the memory of a block, if it is memory.
    fn memory(&mut self, block: &Block) -> Option<DType> {
        let buffer = self.buffer(block.buffer)?;
        let rank = buffer.shape.len();
        if matches!(buffer.space, Space::Register | Space::Matrix) {
            self.report.add(2, format_args!("`{}` is not in memory", buffer.name));
            return None;
        }
        if block.rows >= rank || block.columns >= rank || block.rows == block.columns {
            self.report.add(2, format_args!("rows and columns are not two dimensions of `{}`", buffer.name));
            return None;
        }
        Some(buffer.dtype)
    }

    fn buffer(&mut self, id: BufferId) -> Option<&'a Buffer> {
        let found = self.nest.buffers.get(id);
        if found.is_none() {
            self.report.add(2, format_args!("a matrix in a buffer that is not there"));
        }
        found
    }

    fn step(&mut self, step: i64) {
        if step < 1 {
            self.report.add(2, format_args!("a loop's step is {step}"));
        }
    }

    fn bind(&mut self, var: VarId, dtype: DType) {
        let Some(v) = self.nest.vars.get(var) else {
            return self.report.add(1, format_args!("variable {} is not there", var.index()));
        };
        if std::mem::replace(&mut self.bound[var.index()], true) {
            self.report.add(1, format_args!("`{}` is bound twice", v.name));
        }
        if v.dtype != dtype {
            self.report
                .add(2, format_args!("`{}` of type {} is bound to a value of type {dtype}", v.name, v.dtype));
        }
        self.in_scope[var.index()] = true;
    }

    fn unbind(&mut self, var: VarId) {
        if let Some(slot) = self.in_scope.get_mut(var.index()) {
            *slot = false;
        }
    }

    fn expect(&mut self, id: ExprId, dtype: DType, what: &str) {
        if let Some(got) = self.expr(id)
            && got != dtype
        {
            self.report.add(2, format_args!("{what} is of type {got}, not {dtype}"));
        }
    }

    /// Checks an expression that a statement evaluates; gives its type if the expression exists.
    fn expr(&mut self, id: ExprId) -> Option<DType> {
        self.stamp += 1;
        self.visit(id, id.index() + 1)
    }

    fn visit(&mut self, id: ExprId, below: usize) -> Option<DType> {
        let nest = self.nest;
        let Some(expr) = nest.exprs.get(id).filter(|_| id.index() < below) else {
            self.report.add(1, format_args!("expression {} is not there before its use", id.index()));
            return None;
        };
        if std::mem::replace(&mut self.seen[id.index()], self.stamp) == self.stamp {
            return Some(expr.dtype);
        }
        if let ExprKind::Var(v) = expr.kind
            && !self.in_scope.get(v.index()).copied().unwrap_or(false)
        {
            let name = nest.vars.get(v).map_or("?", |v| v.name.as_str());
            self.report.add(1, format_args!("`{name}` is used where it is not bound"));
        }
        let mut operands = Vec::new();
        expr.for_each_operand(|o| operands.push(o));
        let types: Option<Vec<DType>> = operands.into_iter().map(|o| self.visit(o, id.index())).collect();
        let types = types?;
        if !std::mem::replace(&mut self.typed[id.index()], true)
            && let Some(problem) = type_problem(nest, expr, &types)
        {
            self.report.add(2, format_args!("{problem}"));
        }
        Some(expr.dtype)
    }
}

/// What is wrong with the type of an expression whose operands have the given types.
fn type_problem(nest: &Nest, expr: &Expr, operands: &[DType]) -> Option<String> {
    let t = expr.dtype;
    let fits = match &expr.kind {
        ExprKind::Const(v) => v.cast(t) == *v || v.as_f64().is_nan(),
        ExprKind::Var(v) => nest.vars.get(*v).is_some_and(|v| v.dtype == t),
        ExprKind::Size(n) => *n < nest.sizes.len() && t == DType::I64,
        ExprKind::Param(n) => nest.scalars.get(*n).is_some_and(|s| s.1 == t),
        ExprKind::Load { buffer, .. } => {
            if operands.iter().any(|&o| o != DType::I64) {
                return Some("an index that is not of type i64".to_owned());
            }
            nest.buffers.get(*buffer).is_some_and(|b| b.dtype == t)
        }
        ExprKind::Unary(op, _) => operands[0] == t && unary_takes(*op, t),
        ExprKind::Math(..) => operands[0] == t && is_arithmetic_float(t),
        ExprKind::Binary(op, ..) => {
            let result = if op.is_comparison() { DType::Bool } else { operands[0] };
            operands[0] == operands[1] && result == t && binary_takes(*op, operands[0])
        }
        ExprKind::Fma(..) => operands.iter().all(|&o| o == t) && is_arithmetic_float(t),
        ExprKind::Select(..) => operands[0] == DType::Bool && operands[1] == t && operands[2] == t,
        ExprKind::Cast(_) => true,
    };
    if fits && is_storage(t) {
        return None;
    }
    let name = match &expr.kind {
        ExprKind::Const(v) => format!("constant {v:?}"),
        ExprKind::Unary(op, _) => unary_name(*op).to_owned(),
        ExprKind::Binary(op, ..) => binary_name(*op).to_owned(),
        ExprKind::Load { buffer, .. } => {
            format!("load of `{}`", nest.buffers.get(*buffer).map_or("?", |b| b.name.as_str()))
        }
        other => format!("{other:?}"),
    };
    let operands: Vec<String> = operands.iter().map(DType::to_string).collect();
    Some(format!("{name} of type {t} does not take ({})", operands.join(", ")))
}

fn unary_takes(op: UnaryOp, t: DType) -> bool {
    match op {
        UnaryOp::Neg | UnaryOp::Abs => is_arithmetic_float(t) || t.is_int(),
        UnaryOp::Not => t == DType::Bool || t.is_int(),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc | UnaryOp::Sqrt => {
            is_arithmetic_float(t)
        }
        UnaryOp::Popcount | UnaryOp::LeadingZeros | UnaryOp::ReverseBits => t.is_int(),
    }
}

fn binary_takes(op: BinaryOp, t: DType) -> bool {
    use BinaryOp as B;
    match op {
        B::Add | B::Sub | B::Mul | B::Div | B::Min | B::Max | B::Lt | B::Le => {
            is_arithmetic_float(t) || t.is_int()
        }
        B::Rem | B::DivNonNeg | B::RemNonNeg | B::Shl | B::Shr => t.is_int(),
        B::Pow => is_arithmetic_float(t),
        B::And | B::Or | B::Xor => t == DType::Bool || t.is_int(),
        B::Eq | B::Ne => is_machine(t),
    }
}

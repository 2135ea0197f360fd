//! Making nests: typed constructors that fold constants and apply the identities of integer arithmetic, so that the
//! lowering can write index formulas down plainly. Equal expressions get one handle.

use rooftile_artifact::{DType, Scalar};
use rustc_hash::FxHashMap;

use super::eval;
use super::ir::{
    BinaryOp, Block, Buffer, BufferId, CoreLoop, Expr, ExprId, ExprKind, LoopKind, MathFn, Matrix, MatrixOp,
    Nest, Phase, Space, Stmt, UnaryOp, Var, VarId,
};

/// A nest in the making.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    nest: Nest,
    /// For lookup only; never iterated.
    interned: FxHashMap<Key, ExprId>,
    /// Float products that are added to something are rounded with the sum.
    contracts: bool,
}

/// An expression as a key: constants by their bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Const(DType, u8, u64, u64),
    Var(VarId),
    Size(usize),
    Param(usize),
    Load(BufferId, Vec<ExprId>),
    Unary(UnaryOp, ExprId),
    Math(MathFn, ExprId),
    Binary(BinaryOp, ExprId, ExprId),
    Fma(ExprId, ExprId, ExprId),
    Select(ExprId, ExprId, ExprId),
    Cast(DType, ExprId),
}

impl Key {
    fn of(kind: &ExprKind, dtype: DType) -> Key {
        match kind {
            ExprKind::Const(v) => {
                #[expect(clippy::cast_sign_loss, reason = "bit pattern")]
                let (tag, a, b) = match *v {
                    Scalar::Int(v) => (0, v as u64, 0),
                    Scalar::Float(v) => (1, v.to_bits(), 0),
                    Scalar::Complex(re, im) => (2, re.to_bits(), im.to_bits()),
                    Scalar::Bool(v) => (3, u64::from(v), 0),
                };
                Key::Const(dtype, tag, a, b)
            }
            ExprKind::Var(v) => Key::Var(*v),
            ExprKind::Size(n) => Key::Size(*n),
            ExprKind::Param(n) => Key::Param(*n),
            ExprKind::Load { buffer, index } => Key::Load(*buffer, index.clone()),
            ExprKind::Unary(op, a) => Key::Unary(*op, *a),
            ExprKind::Math(f, a) => Key::Math(*f, *a),
            ExprKind::Binary(op, a, b) => Key::Binary(*op, *a, *b),
            ExprKind::Fma(a, b, c) => Key::Fma(*a, *b, *c),
            ExprKind::Select(a, b, c) => Key::Select(*a, *b, *c),
            ExprKind::Cast(a) => Key::Cast(dtype, *a),
        }
    }
}

impl Builder {
    /// An empty nest.
    #[must_use]
    pub fn new(name: &str) -> Builder {
        Builder { nest: Nest { name: name.to_owned(), ..Nest::default() }, ..Builder::default() }
    }

    /// Goes on with a nest that exists.
    #[must_use]
    pub fn from_nest(nest: Nest) -> Builder {
        let interned = nest.exprs.iter().map(|(id, e)| (Key::of(&e.kind, e.dtype), id)).collect();
        Builder { nest, interned, contracts: false }
    }

    /// From now on a sum of a float product and something is one operation with one rounding, if `contracts` is set.
    pub fn contract(&mut self, contracts: bool) {
        self.contracts = contracts;
    }

    /// The nest so far.
    #[must_use]
    pub fn nest(&self) -> &Nest {
        &self.nest
    }

    /// The nest.
    #[must_use]
    pub fn finish(self) -> Nest {
        self.nest
    }

    /// Adds a size name; gives its expression.
    pub fn add_size(&mut self, name: &str) -> ExprId {
        self.nest.sizes.push(name.to_owned());
        self.size(self.nest.sizes.len() - 1)
    }

    /// Adds a scalar parameter; gives its expression.
    pub fn add_scalar(&mut self, name: &str, dtype: DType) -> ExprId {
        self.nest.scalars.push((name.to_owned(), dtype));
        self.param(self.nest.scalars.len() - 1)
    }

    /// Adds a buffer.
    pub fn add_buffer(&mut self, name: &str, dtype: DType, shape: &[ExprId], space: Space) -> BufferId {
        self.nest.buffers.push(Buffer {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            space,
            past_caches: None,
            own_prefetch: false,
        })
    }

    /// Has stores to a global buffer go past the caches where it has at least so many bytes.
    pub fn store_past_caches(&mut self, buffer: BufferId, bytes: i64) {
        self.nest.buffers[buffer].past_caches = Some(bytes);
    }

    /// Has [`Stmt::Prefetch`] alone say what of a global buffer is fetched ahead.
    pub fn prefetch_as_said(&mut self, buffer: BufferId) {
        self.nest.buffers[buffer].own_prefetch = true;
    }

    /// Adds a variable. Read it by [`Builder::var`].
    pub fn add_var(&mut self, name: &str, dtype: DType) -> VarId {
        self.nest.vars.push(Var { name: name.to_owned(), dtype })
    }

    /// Adds a phase.
    pub fn add_phase(&mut self, cores: Vec<CoreLoop>, body: Vec<Stmt>) {
        self.nest.phases.push(Phase { cores, body });
    }

    /// The type of an expression.
    #[must_use]
    pub fn dtype(&self, e: ExprId) -> DType {
        self.nest.exprs[e].dtype
    }

    /// The value of an integer literal.
    #[must_use]
    pub fn const_int(&self, e: ExprId) -> Option<i64> {
        self.nest.const_int(e)
    }

    /// The expression of this kind and type, as it is: nothing is folded.
    pub fn raw(&mut self, kind: ExprKind, dtype: DType) -> ExprId {
        let key = Key::of(&kind, dtype);
        *self.interned.entry(key).or_insert_with(|| self.nest.exprs.push(Expr { kind, dtype }))
    }

    /// An index literal.
    pub fn int(&mut self, v: i64) -> ExprId {
        self.raw(ExprKind::Const(Scalar::Int(v)), DType::I64)
    }

    /// A literal of any type, cast to it.
    pub fn constant(&mut self, v: Scalar, dtype: DType) -> ExprId {
        self.raw(ExprKind::Const(v.cast(dtype)), dtype)
    }

    /// A variable's value.
    pub fn var(&mut self, var: VarId) -> ExprId {
        let dtype = self.nest.vars[var].dtype;
        self.raw(ExprKind::Var(var), dtype)
    }

    /// A size's value.
    pub fn size(&mut self, n: usize) -> ExprId {
        self.raw(ExprKind::Size(n), DType::I64)
    }

    /// A scalar parameter's value.
    pub fn param(&mut self, n: usize) -> ExprId {
        let dtype = self.nest.scalars[n].1;
        self.raw(ExprKind::Param(n), dtype)
    }

    /// An element of a buffer.
    pub fn load(&mut self, buffer: BufferId, index: &[ExprId]) -> ExprId {
        let dtype = self.nest.buffers[buffer].dtype;
        self.raw(ExprKind::Load { buffer, index: index.to_vec() }, dtype)
    }

    /// `op(a)`.
    pub fn unary(&mut self, op: UnaryOp, a: ExprId) -> ExprId {
        let dtype = self.dtype(a);
        match self.nest.exprs[a].kind {
            ExprKind::Const(v) if !dtype.is_float() || op == UnaryOp::Neg => {
                return self.constant(eval::unary(op, v, dtype), dtype);
            }
            ExprKind::Unary(UnaryOp::Not, inner) if op == UnaryOp::Not => return inner,
            _ => {}
        }
        self.raw(ExprKind::Unary(op, a), dtype)
    }

    /// `f(a)`.
    pub fn math(&mut self, f: MathFn, a: ExprId) -> ExprId {
        let dtype = self.dtype(a);
        self.raw(ExprKind::Math(f, a), dtype)
    }

    /// `a * b + c` with one rounding.
    pub fn fma(&mut self, a: ExprId, b: ExprId, c: ExprId) -> ExprId {
        let dtype = self.dtype(a);
        self.raw(ExprKind::Fma(a, b, c), dtype)
    }

    /// `a` where `c` holds, else `b`.
    pub fn select(&mut self, c: ExprId, a: ExprId, b: ExprId) -> ExprId {
        if a == b {
            return a;
        }
        match self.nest.exprs[c].kind {
            ExprKind::Const(v) if v.is_true() => a,
            ExprKind::Const(_) => b,
            _ => {
                let dtype = self.dtype(a);
                self.raw(ExprKind::Select(c, a, b), dtype)
            }
        }
    }

    /// `a` converted to `dtype`.
    pub fn cast(&mut self, dtype: DType, a: ExprId) -> ExprId {
        let from = self.dtype(a);
        if from == dtype {
            return a;
        }
        if let ExprKind::Const(v) = self.nest.exprs[a].kind {
            return self.constant(eval::cast(v, from, dtype), dtype);
        }
        self.raw(ExprKind::Cast(a), dtype)
    }

    /// An operator or a load with other operands, as many as it has; what has none stays as it is.
    pub fn again(&mut self, expr: &Expr, operands: &[ExprId]) -> ExprId {
        match (&expr.kind, operands) {
            (ExprKind::Load { buffer, .. }, index) => self.load(*buffer, index),
            (ExprKind::Unary(op, _), &[a]) => self.unary(*op, a),
            (ExprKind::Math(f, _), &[a]) => self.math(*f, a),
            (ExprKind::Cast(_), &[a]) => self.cast(expr.dtype, a),
            (ExprKind::Binary(op, ..), &[a, b]) => self.binary(*op, a, b),
            (ExprKind::Fma(..), &[a, b, c]) => self.fma(a, b, c),
            (ExprKind::Select(..), &[c, a, b]) => self.select(c, a, b),
            (leaf, _) => self.raw(leaf.clone(), expr.dtype),
        }
    }

    /// `op(a, b)`; the operands have one type.
    pub fn binary(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> ExprId {
        let dtype = self.dtype(a);
        let result = if op.is_comparison() { DType::Bool } else { dtype };
        let simpler = match dtype {
            DType::Bool => self.simplify_bool(op, a, b),
            DType::Int { .. } => self.simplify_int(op, a, b, dtype),
            _ => self.contracted(op, a, b, dtype),
        };
        simpler.unwrap_or_else(|| self.raw(ExprKind::Binary(op, a, b), result))
    }

    /// A sum or difference one of whose operands is a product.
    fn contracted(&mut self, op: BinaryOp, a: ExprId, b: ExprId, dtype: DType) -> Option<ExprId> {
        if !self.contracts || !matches!(dtype, DType::F32 | DType::F64) {
            return None;
        }
        match op {
            BinaryOp::Add => {}
            BinaryOp::Sub => return self.difference(a, b, dtype),
            _ => return None,
        }
        let ((x, y), rest) = match (self.factors(a), self.factors(b)) {
            (_, Some(factors)) => (factors, a),
            (Some(factors), None) => (factors, b),
            (None, None) => return None,
        };
        Some(self.fma(x, y, rest))
    }

    /// The factors of a product.
    fn factors(&self, e: ExprId) -> Option<(ExprId, ExprId)> {
        match self.nest.exprs[e].kind {
            ExprKind::Binary(BinaryOp::Mul, x, y) => Some((x, y)),
            _ => None,
        }
    }

    /// `a - x * y` as `(-x) * y + a`, or `x * y - b` as `x * y + (-b)`.
    fn difference(&mut self, a: ExprId, b: ExprId, dtype: DType) -> Option<ExprId> {
        let literal = |e: ExprId| match self.nest.exprs[e].kind {
            ExprKind::Const(v) => Some(v),
            _ => None,
        };
        match (self.factors(a), self.factors(b)) {
            (_, Some((x, y))) => {
                // A literal takes the sign.
                let (x, y) = if literal(y).is_some() { (y, x) } else { (x, y) };
                let negated = match literal(x) {
                    Some(c) => self.constant(eval::unary(UnaryOp::Neg, c, dtype), dtype),
                    None => self.unary(UnaryOp::Neg, x),
                };
                Some(self.fma(negated, y, a))
            }
            (Some((x, y)), None) => {
                let negated = self.unary(UnaryOp::Neg, b);
                Some(self.fma(x, y, negated))
            }
            (None, None) => None,
        }
    }

    fn simplify_bool(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> Option<ExprId> {
        let literal = |e: ExprId| match self.nest.exprs[e].kind {
            ExprKind::Const(v) => Some(v.is_true()),
            _ => None,
        };
        match (op, literal(a), literal(b)) {
            (_, Some(x), Some(y)) => {
                let v = eval::binary(op, Scalar::Bool(x), Scalar::Bool(y), DType::Bool)?;
                Some(self.constant(v, DType::Bool))
            }
            (BinaryOp::And, Some(true), _) | (BinaryOp::Or, Some(false), _) => Some(b),
            (BinaryOp::And, _, Some(true)) | (BinaryOp::Or, _, Some(false)) => Some(a),
            (BinaryOp::And, Some(false), _) | (BinaryOp::Or, Some(true), _) => Some(a),
            (BinaryOp::And, _, Some(false)) | (BinaryOp::Or, _, Some(true)) => Some(b),
            (BinaryOp::And | BinaryOp::Or, ..) if a == b => Some(a),
            _ => None,
        }
    }

    fn simplify_int(&mut self, op: BinaryOp, a: ExprId, b: ExprId, dtype: DType) -> Option<ExprId> {
        use BinaryOp as B;
        let literal = |e: ExprId| self.nest.const_int(e);
        if let (Some(x), Some(y)) = (literal(a), literal(b)) {
            let v = eval::binary(op, Scalar::Int(x), Scalar::Int(y), dtype)?;
            let result = if op.is_comparison() { DType::Bool } else { dtype };
            return Some(self.constant(v, result));
        }
        // Literals go to the right of commuting operators.
        if literal(a).is_some() && matches!(op, B::Add | B::Mul | B::Min | B::Max | B::And | B::Or | B::Xor) {
            return Some(self.binary(op, b, a));
        }
        if a == b {
            match op {
                B::Sub | B::Xor => return Some(self.constant(Scalar::Int(0), dtype)),
                B::Min | B::Max | B::And | B::Or => return Some(a),
                B::Eq | B::Le => return Some(self.constant(Scalar::Bool(true), DType::Bool)),
                B::Ne | B::Lt => return Some(self.constant(Scalar::Bool(false), DType::Bool)),
                _ => {}
            }
        }
        let y = literal(b)?;
        match (op, y) {
            (B::Add | B::Sub | B::Or | B::Xor | B::Shl | B::Shr, 0) | (B::Mul | B::Div | B::DivNonNeg, 1) => {
                Some(a)
            }
            (B::Mul | B::And, 0) | (B::Rem | B::RemNonNeg, 1) => Some(self.constant(Scalar::Int(0), dtype)),
            // x - c is x + (-c), so that sums of literals meet.
            (B::Sub, _) => {
                let negated = eval::unary(UnaryOp::Neg, Scalar::Int(y), dtype);
                let negated = self.constant(negated, dtype);
                Some(self.binary(B::Add, a, negated))
            }
            (B::Add, _) => self.reassociate(B::Add, a, b),
            // (x + c) * y is x * y + c * y: literals travel outward, where they become displacements.
            (B::Mul, _) => match self.nest.exprs[a].kind {
                ExprKind::Binary(B::Add, x, c) if literal(c).is_some() && dtype == DType::I64 => {
                    let scaled = self.binary(B::Mul, x, b);
                    let constant = self.binary(B::Mul, c, b);
                    Some(self.binary(B::Add, scaled, constant))
                }
                _ => self.reassociate(B::Mul, a, b),
            },
            _ => None,
        }
    }

    /// `(x op c) op b` as `x op (c op b)`, of literals `c` and `b`.
    fn reassociate(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> Option<ExprId> {
        match self.nest.exprs[a].kind {
            ExprKind::Binary(inner, x, c) if inner == op && self.nest.const_int(c).is_some() => {
                let folded = self.binary(op, c, b);
                Some(self.binary(op, x, folded))
            }
            _ => None,
        }
    }

    /// `a + b`.
    pub fn add(&mut self, a: ExprId, b: ExprId) -> ExprId {
        // A literal inside the right operand travels outward: a + (x + c) is (a + x) + c.
        if self.dtype(a) == DType::I64
            && let ExprKind::Binary(BinaryOp::Add, x, c) = self.nest.exprs[b].kind
            && self.nest.const_int(c).is_some()
        {
            let sum = self.add(a, x);
            return self.binary(BinaryOp::Add, sum, c);
        }
        self.binary(BinaryOp::Add, a, b)
    }

    /// `a + v` of an index.
    pub fn add_int(&mut self, a: ExprId, v: i64) -> ExprId {
        let v = self.int(v);
        self.binary(BinaryOp::Add, a, v)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Sub, a, b)
    }

    /// `a * b`.
    pub fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Mul, a, b)
    }

    /// `a * v` of an index.
    pub fn mul_int(&mut self, a: ExprId, v: i64) -> ExprId {
        let v = self.int(v);
        self.binary(BinaryOp::Mul, a, v)
    }

    /// `a / b`; of integers, rounded toward negative infinity.
    pub fn div(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Div, a, b)
    }

    /// The smaller of two.
    pub fn min(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Min, a, b)
    }

    /// The larger of two.
    pub fn max(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Max, a, b)
    }

    /// `a < b`.
    pub fn lt(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Lt, a, b)
    }

    /// `a <= b`.
    pub fn le(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Le, a, b)
    }

    /// `a == b`.
    pub fn eq(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::Eq, a, b)
    }

    /// `a & b`.
    pub fn and(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(BinaryOp::And, a, b)
    }

    /// An index that goes round in an extent that is a power of two.
    pub fn around(&mut self, index: ExprId, extent: i64) -> ExprId {
        debug_assert!(extent > 0 && extent & (extent - 1) == 0, "{extent} is no power of two");
        let last = self.int(extent - 1);
        self.and(index, last)
    }

    /// `ceil(a / b)` of a non-negative `a` and a positive literal `b`.
    pub fn ceil_div(&mut self, a: ExprId, b: i64) -> ExprId {
        let padded = self.add_int(a, b - 1);
        let b = self.int(b);
        self.binary(BinaryOp::DivNonNeg, padded, b)
    }

    /// A loop; `body` gets the counter's value.
    pub fn for_loop(
        &mut self,
        kind: LoopKind,
        name: &str,
        (lo, hi, step): (ExprId, ExprId, i64),
        body: impl FnOnce(&mut Builder, ExprId) -> Vec<Stmt>,
    ) -> Stmt {
        let var = self.add_var(name, DType::I64);
        let counter = self.var(var);
        let body = body(self, counter);
        Stmt::Loop { var, lo, hi, step, kind, body }
    }

    /// A core loop and its counter's value.
    pub fn core_loop(&mut self, name: &str, (lo, hi, step): (ExprId, ExprId, i64)) -> (CoreLoop, ExprId) {
        let var = self.add_var(name, DType::I64);
        (CoreLoop { var, lo, hi, step }, self.var(var))
    }

    /// Binds a value; gives the statement and the variable's value.
    pub fn bind(&mut self, name: &str, value: ExprId) -> (Stmt, ExprId) {
        let dtype = self.dtype(value);
        let var = self.add_var(name, dtype);
        (Stmt::Let { var, value }, self.var(var))
    }

    /// A store.
    #[must_use]
    pub fn store(&self, buffer: BufferId, index: &[ExprId], value: ExprId) -> Stmt {
        Stmt::Store { buffer, index: index.to_vec(), value }
    }

    /// A loop over subgroups; `body` gets the counter's value.
    pub fn subgroups(
        &mut self,
        count: u32,
        name: &str,
        body: impl FnOnce(&mut Builder, ExprId) -> Vec<Stmt>,
    ) -> Stmt {
        let (zero, hi) = (self.int(0), self.int(count.into()));
        self.for_loop(LoopKind::Subgroups { count }, name, (zero, hi, 1), body)
    }

    /// A matrix with all elements alike.
    #[must_use]
    pub fn fill_matrix(&self, to: (BufferId, &[ExprId]), value: ExprId) -> Stmt {
        Stmt::Matrix(MatrixOp::Fill { to: matrix(to), value })
    }

    /// A matrix from memory: `dims` are the dimensions of the rows and of the columns.
    #[must_use]
    pub fn load_matrix(
        &self,
        to: (BufferId, &[ExprId]),
        from: (BufferId, &[ExprId]),
        dims: (usize, usize),
    ) -> Stmt {
        Stmt::Matrix(MatrixOp::Load { to: matrix(to), from: block(from, dims) })
    }

    /// `acc += a * b`, a product of matrices.
    #[must_use]
    pub fn multiply_add(
        &self,
        acc: (BufferId, &[ExprId]),
        a: (BufferId, &[ExprId]),
        b: (BufferId, &[ExprId]),
    ) -> Stmt {
        Stmt::Matrix(MatrixOp::MultiplyAdd { acc: matrix(acc), a: matrix(a), b: matrix(b) })
    }

    /// A matrix to memory, as [`Builder::load_matrix`].
    #[must_use]
    pub fn store_matrix(
        &self,
        from: (BufferId, &[ExprId]),
        to: (BufferId, &[ExprId]),
        dims: (usize, usize),
    ) -> Stmt {
        Stmt::Matrix(MatrixOp::Store { from: matrix(from), to: block(to, dims) })
    }
}

fn matrix((buffer, index): (BufferId, &[ExprId])) -> Matrix {
    Matrix { buffer, index: index.to_vec() }
}

fn block((buffer, at): (BufferId, &[ExprId]), (rows, columns): (usize, usize)) -> Block {
    Block { buffer, at: at.to_vec(), rows, columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_arithmetic_folds() {
        let mut b = Builder::new("t");
        let n = b.add_size("n");
        let (four, zero) = (b.int(4), b.int(0));
        assert_eq!(b.add(n, zero), n);
        assert_eq!(b.mul(n, zero), zero);
        assert_eq!(b.sub(n, n), zero);
        // ((n + 4) * 4 - 16) is n * 4.
        let shifted = b.add(n, four);
        let scaled = b.mul(shifted, four);
        let sixteen = b.int(16);
        let back = b.sub(scaled, sixteen);
        assert_eq!(back, b.mul(n, four));
        // 4 + (n + 4) is n + 8.
        let sum = b.add(four, shifted);
        assert_eq!(sum, b.add_int(n, 8));
        let always = b.le(n, n);
        assert_eq!(b.select(always, n, zero), n);
        // A division by a literal zero is left alone.
        let bad = b.div(four, zero);
        assert!(b.const_int(bad).is_none());
    }

    #[test]
    fn equal_expressions_share_a_handle() {
        let mut b = Builder::new("t");
        let x = b.add_scalar("x", DType::F32);
        let two = b.constant(Scalar::Float(2.0), DType::F32);
        assert_eq!(b.mul(x, two), b.mul(x, two));
        let before = b.nest().exprs.len();
        let mut again = Builder::from_nest(b.finish());
        again.mul(x, two);
        assert_eq!(again.nest().exprs.len(), before);
        // Zeros of two signs are two constants.
        let zero = again.constant(Scalar::Float(0.0), DType::F32);
        assert_ne!(again.constant(Scalar::Float(-0.0), DType::F32), zero);
    }
}

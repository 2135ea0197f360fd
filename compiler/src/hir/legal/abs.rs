//! Integer expressions at given sizes, as intervals: what is not known (data) is everything that it may be.

use rooftile_artifact::host_expr::{floor_div, floor_rem};
use rooftile_artifact::{DType, Scalar};

use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, Func, Function, ReduceOp, Table, UnaryOp};

/// Expressions nested deeper than this, tile values included, count as unknown.
const MAX_DEPTH: usize = 600;

/// What an expression may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Abs {
    /// An integer between two bounds, both included.
    Int(i64, i64),
    /// A truth value, if known.
    Bool(Option<bool>),
    /// Anything else.
    Other,
}

impl Abs {
    /// The only integer that it may be.
    pub(super) fn exact(self) -> Option<i64> {
        match self {
            Abs::Int(lo, hi) if lo == hi => Some(lo),
            _ => None,
        }
    }

    fn hull(self, other: Abs) -> Abs {
        match (self, other) {
            (Abs::Int(a, b), Abs::Int(c, d)) => Abs::Int(a.min(c), b.max(d)),
            (Abs::Bool(a), Abs::Bool(b)) => Abs::Bool(if a == b { a } else { None }),
            _ => Abs::Other,
        }
    }
}

/// All values of a type.
fn full(dtype: DType) -> Abs {
    match dtype {
        DType::Bool => Abs::Bool(None),
        DType::Int { bits: 64, .. } => Abs::Int(i64::MIN, i64::MAX),
        _ => match dtype.int_range() {
            Some((lo, hi)) => fit(dtype, lo, hi),
            None => Abs::Other,
        },
    }
}

/// The interval, or all values of the type where it may wrap.
fn fit(dtype: DType, lo: i128, hi: i128) -> Abs {
    let (min, max) = match dtype {
        DType::Int { bits: 64, .. } => (i128::from(i64::MIN), i128::from(i64::MAX)),
        _ => match dtype.int_range() {
            Some(range) => range,
            None => return Abs::Other,
        },
    };
    let (a, b) = if lo >= min && hi <= max { (lo, hi) } else { (min, max) };
    match (i64::try_from(a), i64::try_from(b)) {
        (Ok(a), Ok(b)) => Abs::Int(a, b),
        _ => Abs::Int(i64::MIN, i64::MAX),
    }
}

/// Evaluates expressions of one function at given sizes.
pub(super) struct Eval<'a> {
    func: &'a Func,
    tables: &'a [Table],
    /// What each `let` stands for, by value.
    defs: &'a [Option<ExprId>],
    /// Values of the sizes.
    pub(super) sizes: Vec<i64>,
    /// Values of the scalars, where they are integers and known.
    pub(super) scalars: Vec<Option<i64>>,
    axes: Vec<Option<(i64, i64)>>,
    memo: Vec<(u32, Abs)>,
    stamp: u32,
    depth: usize,
    /// Expressions evaluated so far.
    pub(super) work: usize,
}

impl<'a> Eval<'a> {
    pub(super) fn new(func: &'a Func, tables: &'a [Table], defs: &'a [Option<ExprId>]) -> Eval<'a> {
        Eval {
            func,
            tables,
            defs,
            sizes: vec![1; func.sizes.len()],
            scalars: vec![None; func.scalars.len()],
            axes: vec![None; func.axes.len()],
            memo: vec![(0, Abs::Other); func.exprs.len()],
            stamp: 1,
            depth: 0,
            work: 0,
        }
    }

    /// Puts an axis somewhere in an interval; `None` for anywhere in its bounds.
    pub(super) fn place(&mut self, axis: AxisId, at: Option<(i64, i64)>) {
        self.axes[axis.index()] = at;
        self.changed();
    }

    /// Where an axis is.
    pub(super) fn placed(&self, axis: AxisId) -> Option<(i64, i64)> {
        self.axes[axis.index()]
    }

    /// Must be called after sizes or scalars were changed.
    pub(super) fn changed(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.memo.fill((0, Abs::Other));
            self.stamp = 1;
        }
    }

    /// What the expression may be.
    pub(super) fn eval(&mut self, e: ExprId) -> Abs {
        let (stamp, known) = self.memo[e.index()];
        if stamp == self.stamp {
            return known;
        }
        let dtype = self.func.exprs[e].dtype;
        if self.depth >= MAX_DEPTH {
            return full(dtype);
        }
        self.depth += 1;
        self.work += 1;
        let value = self.eval_kind(e, dtype);
        self.depth -= 1;
        self.memo[e.index()] = (self.stamp, value);
        value
    }

    fn eval_kind(&mut self, e: ExprId, dtype: DType) -> Abs {
        let func = self.func;
        match &func.exprs[e].kind {
            ExprKind::Const(v) => constant(*v),
            ExprKind::Size(s) => point(self.sizes[s.index()]),
            ExprKind::Scalar(s) => self.scalars[s.index()].map_or(full(dtype), point),
            ExprKind::Axis(a) => self.axis(*a),
            ExprKind::Value(v) => match self.defs[v.index()] {
                Some(def) => self.eval(def),
                None => full(dtype),
            },
            ExprKind::ValueAt(..) => full(dtype),
            ExprKind::Load { tensor, .. } => match func.tensors[*tensor].range {
                Some((lo, hi)) => match (self.eval(lo), self.eval(hi)) {
                    (Abs::Int(lo, _), Abs::Int(_, hi)) if hi > lo => Abs::Int(lo, hi - 1),
                    _ => full(dtype),
                },
                None => full(dtype),
            },
            ExprKind::Table { table, index } => self.table(*table, index),
            ExprKind::Unary(op, a) => {
                let a = self.eval(*a);
                match (op, a) {
                    (UnaryOp::Neg, Abs::Int(lo, hi)) => fit(dtype, -i128::from(hi), -i128::from(lo)),
                    (UnaryOp::BitNot, Abs::Int(lo, hi)) if dtype.is_signed_int() => Abs::Int(!hi, !lo),
                    (UnaryOp::Not, Abs::Bool(b)) => Abs::Bool(b.map(|b| !b)),
                    _ => full(dtype),
                }
            }
            ExprKind::Binary(op, a, b) => {
                let (op, a, b) = (*op, self.eval(*a), self.eval(*b));
                match (a, b) {
                    (Abs::Int(a, b), Abs::Int(c, d)) => int_binary(op, dtype, (a, b), (c, d)),
                    (Abs::Bool(a), Abs::Bool(b)) => Abs::Bool(bool_binary(op, a, b)),
                    _ => full(dtype),
                }
            }
            ExprKind::Call(f, args) => {
                let args: Vec<Abs> = args.iter().map(|&a| self.eval(a)).collect();
                call(*f, dtype, &args)
            }
            ExprKind::Select(c, a, b) => match self.eval(*c) {
                Abs::Bool(Some(true)) => self.eval(*a),
                Abs::Bool(Some(false)) => self.eval(*b),
                _ => {
                    let a = self.eval(*a);
                    a.hull(self.eval(*b))
                }
            },
            ExprKind::Cast(a) => match self.eval(*a) {
                Abs::Int(lo, hi) if dtype.is_int() => fit(dtype, lo.into(), hi.into()),
                Abs::Bool(b) if dtype.is_int() => match b {
                    Some(b) => point(b.into()),
                    None => Abs::Int(0, 1),
                },
                Abs::Int(lo, hi) if dtype == DType::Bool => {
                    Abs::Bool(if lo > 0 || hi < 0 { Some(true) } else { (lo == hi).then_some(false) })
                }
                _ => full(dtype),
            },
            ExprKind::Reduce { op, axes, args } => match op {
                ReduceOp::Argmax | ReduceOp::Argmin => axes.first().map_or(full(dtype), |&a| self.span_of(a)),
                ReduceOp::Max | ReduceOp::Min => args.first().map_or(full(dtype), |&a| self.eval(a)),
                _ => full(dtype),
            },
            ExprKind::Scan { op: ReduceOp::Max | ReduceOp::Min, arg, .. } => self.eval(*arg),
            ExprKind::Scan { .. } => full(dtype),
        }
    }

    fn axis(&mut self, axis: AxisId) -> Abs {
        match self.axes[axis.index()] {
            Some((lo, hi)) => Abs::Int(lo, hi),
            None => self.span_of(axis),
        }
    }

    /// All values of an axis.
    fn span_of(&mut self, axis: AxisId) -> Abs {
        let (lo, hi) = (self.func.axes[axis].lo, self.func.axes[axis].hi);
        match (self.eval(lo), self.eval(hi)) {
            (Abs::Int(lo, _), Abs::Int(_, hi)) => Abs::Int(lo, hi.saturating_sub(1).max(lo)),
            _ => full(DType::I64),
        }
    }

    fn table(&mut self, table: usize, index: &[ExprId]) -> Abs {
        let Some(table) = self.tables.get(table) else { return Abs::Other };
        let mut flat = Some(0usize);
        for (&e, &extent) in index.iter().zip(&table.shape) {
            let at = self.eval(e).exact().and_then(|v| usize::try_from(v).ok()).filter(|&v| v < extent);
            flat = flat.zip(at).map(|(flat, at)| flat * extent + at);
        }
        if let Some(v) = flat.and_then(|flat| table.data.get(flat)) {
            return constant(*v);
        }
        table.data.iter().map(|&v| constant(v)).reduce(Abs::hull).unwrap_or(Abs::Other)
    }
}

fn point(v: i64) -> Abs {
    Abs::Int(v, v)
}

fn constant(v: Scalar) -> Abs {
    match v {
        Scalar::Int(v) => point(v),
        Scalar::Bool(b) => Abs::Bool(Some(b)),
        Scalar::Float(_) | Scalar::Complex(..) => Abs::Other,
    }
}

fn bool_binary(op: BinaryOp, a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (op, a, b) {
        (BinaryOp::And, Some(false), _) | (BinaryOp::And, _, Some(false)) => Some(false),
        (BinaryOp::Or, Some(true), _) | (BinaryOp::Or, _, Some(true)) => Some(true),
        (BinaryOp::And, Some(a), Some(b)) => Some(a && b),
        (BinaryOp::Or, Some(a), Some(b)) => Some(a || b),
        (BinaryOp::Xor | BinaryOp::Ne, Some(a), Some(b)) => Some(a != b),
        (BinaryOp::Eq, Some(a), Some(b)) => Some(a == b),
        _ => None,
    }
}

fn int_binary(op: BinaryOp, dtype: DType, (a, b): (i64, i64), (c, d): (i64, i64)) -> Abs {
    let wide = |v: i64| i128::from(v);
    let corners = |f: &dyn Fn(i64, i64) -> i128| {
        let all = [f(a, c), f(a, d), f(b, c), f(b, d)];
        let lo = all.iter().copied().fold(i128::MAX, i128::min);
        let hi = all.iter().copied().fold(i128::MIN, i128::max);
        fit(dtype, lo, hi)
    };
    let exact = a == b && c == d;
    match op {
        BinaryOp::Add => fit(dtype, wide(a) + wide(c), wide(b) + wide(d)),
        BinaryOp::Sub => fit(dtype, wide(a) - wide(d), wide(b) - wide(c)),
        BinaryOp::Mul => corners(&|x, y| wide(x) * wide(y)),
        BinaryOp::Div if c > 0 || d < 0 => corners(&|x, y| floor_div(x, y).into()),
        BinaryOp::Rem if exact && c != 0 => point(floor_rem(a, c)),
        BinaryOp::Rem if c > 0 && a >= 0 && b < c => Abs::Int(a, b),
        BinaryOp::Rem if c > 0 => Abs::Int(0, d - 1),
        BinaryOp::And if exact => point(a & c),
        BinaryOp::Or if exact => point(a | c),
        BinaryOp::Xor if exact => point(a ^ c),
        BinaryOp::And if a >= 0 && c >= 0 => Abs::Int(0, b.min(d)),
        BinaryOp::And if a >= 0 => Abs::Int(0, b),
        BinaryOp::And if c >= 0 => Abs::Int(0, d),
        BinaryOp::Or | BinaryOp::Xor if a >= 0 && c >= 0 => {
            let bits = 64 - b.max(d).leading_zeros();
            let lo = if op == BinaryOp::Or { a.max(c) } else { 0 };
            Abs::Int(lo, if bits >= 63 { i64::MAX } else { (1 << bits) - 1 })
        }
        BinaryOp::Shl if (0..64).contains(&c) && d < 64 => corners(&|x, y| wide(x) << y),
        BinaryOp::Shr if (0..64).contains(&c) && d < 64 => corners(&|x, y| (x >> y).into()),
        BinaryOp::Eq | BinaryOp::Ne => {
            let equal = if exact { Some(a == c) } else { (b < c || d < a).then_some(false) };
            Abs::Bool(equal.map(|equal| equal == (op == BinaryOp::Eq)))
        }
        BinaryOp::Lt => Abs::Bool(less(b < c, a >= d)),
        BinaryOp::Le => Abs::Bool(less(b <= c, a > d)),
        BinaryOp::Gt => Abs::Bool(less(a > d, b <= c)),
        BinaryOp::Ge => Abs::Bool(less(a >= d, b < c)),
        _ => full(dtype),
    }
}

fn less(yes: bool, no: bool) -> Option<bool> {
    if yes { Some(true) } else { no.then_some(false) }
}

fn call(f: Function, dtype: DType, args: &[Abs]) -> Abs {
    match (f, args) {
        (Function::Min, &[Abs::Int(a, b), Abs::Int(c, d)]) => Abs::Int(a.min(c), b.min(d)),
        (Function::Max, &[Abs::Int(a, b), Abs::Int(c, d)]) => Abs::Int(a.max(c), b.max(d)),
        (Function::Clamp, &[Abs::Int(a, b), Abs::Int(c, d), Abs::Int(e, f)]) => {
            Abs::Int(a.max(c).min(e), b.max(d).min(f))
        }
        (Function::Abs, &[Abs::Int(a, b)]) if a > i64::MIN => {
            let lo = if a <= 0 && b >= 0 { 0 } else { a.abs().min(b.abs()) };
            fit(dtype, lo.into(), a.abs().max(b.abs()).into())
        }
        (Function::Sign, &[Abs::Int(a, b)]) => Abs::Int(a.signum(), b.signum()),
        (Function::Popcount, _) => Abs::Int(0, 64),
        (Function::Ilog2, &[Abs::Int(a, b)]) if a > 0 => Abs::Int(a.ilog2().into(), b.ilog2().into()),
        (Function::IsPow2, &[Abs::Int(a, b)]) if a == b => Abs::Bool(Some(a > 0 && a & (a - 1) == 0)),
        (Function::Bitrev, &[Abs::Int(a, b), Abs::Int(n, m)]) if (0..=62).contains(&n) && m <= 62 => {
            if a == b && n == m {
                return point(bitrev(a, n));
            }
            Abs::Int(0, (1 << m) - 1)
        }
        _ => full(dtype),
    }
}

/// The low `n` bits of `x` in reverse order; `n` is at most 62.
fn bitrev(x: i64, n: i64) -> i64 {
    (0..n).fold(0, |r, k| (r << 1) | ((x >> k) & 1))
}

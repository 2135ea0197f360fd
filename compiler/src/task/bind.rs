//! Values of size expressions: shapes, ranges and conditions of a signature under given sizes and scalars.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, Scalar};

use crate::hir::ir::{BinaryOp, ExprId, ExprKind, Func, Function, SizeId, Table, UnaryOp};

use crate::oracle::interp::arith::Arith;

use super::error::TaskError;

/// Sizes and integer parameters by name.
pub type Sizes = BTreeMap<String, i64>;

/// Values of the scalar parameters by name.
pub type Scalars = BTreeMap<String, Scalar>;

/// Evaluates expressions of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Binder<'a> {
    /// The kernel, pipeline or reference.
    pub func: &'a Func,
    /// The file's tables.
    pub tables: &'a [Table],
    /// Sizes that are known.
    pub sizes: &'a Sizes,
    /// Scalars that are known.
    pub scalars: &'a Scalars,
}

/// Why a size expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// A name without a value.
    Name(String),
    /// An operation without a result, or one that does not belong into a size expression.
    Undefined,
}

impl Binder<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// [`Unbound`] where a name has no value or an operation no result.
    pub fn eval(&self, e: ExprId) -> Result<Scalar, Unbound> {
        let expr = &self.func.exprs[e];
        let missing = |name: &str| Unbound::Name(name.to_owned());
        Ok(match &expr.kind {
            ExprKind::Const(v) => *v,
            ExprKind::Size(id) => {
                let name = &self.func.sizes[*id].name;
                Scalar::Int(*self.sizes.get(name).ok_or_else(|| missing(name))?)
            }
            ExprKind::Scalar(id) => {
                let scalar = &self.func.scalars[*id];
                let size = || self.sizes.get(&scalar.name).map(|v| Scalar::Int(*v));
                let value = self.scalars.get(&scalar.name).copied().or_else(size);
                value.ok_or_else(|| missing(&scalar.name))?.cast(scalar.dtype)
            }
            ExprKind::Table { table, index } => {
                let table = self.tables.get(*table).ok_or(Unbound::Undefined)?;
                let mut flat = 0usize;
                for (e, extent) in index.iter().zip(&table.shape) {
                    let i = usize::try_from(self.eval(*e)?.as_i64()).map_err(|_| Unbound::Undefined)?;
                    flat = flat * extent + i;
                }
                *table.data.get(flat).ok_or(Unbound::Undefined)?
            }
            ExprKind::Unary(op, a) => match (op, self.eval(*a)?) {
                (UnaryOp::Neg, Scalar::Int(v)) => Scalar::Int(v.wrapping_neg()),
                (UnaryOp::Neg, v) => Scalar::Float(-v.as_f64()),
                (UnaryOp::Not, v) => Scalar::Bool(!v.is_true()),
                (UnaryOp::BitNot, v) => Scalar::Int(!v.as_i64()),
            },
            ExprKind::Binary(BinaryOp::And, a, b) if expr.dtype == rooftile_artifact::DType::Bool => {
                if self.eval(*a)?.is_true() { self.eval(*b)? } else { Scalar::Bool(false) }
            }
            ExprKind::Binary(BinaryOp::Or, a, b) if expr.dtype == rooftile_artifact::DType::Bool => {
                if self.eval(*a)?.is_true() { Scalar::Bool(true) } else { self.eval(*b)? }
            }
            ExprKind::Binary(op, a, b) => {
                binary(*op, self.eval(*a)?, self.eval(*b)?).ok_or(Unbound::Undefined)?
            }
            ExprKind::Select(c, a, b) => self.eval(if self.eval(*c)?.is_true() { *a } else { *b })?,
            ExprKind::Cast(a) => self.eval(*a)?.cast(expr.dtype),
            ExprKind::Call(f, args) => {
                let args = args.iter().map(|a| self.eval(*a)).collect::<Result<Vec<_>, _>>()?;
                call(*f, &args).ok_or(Unbound::Undefined)?
            }
            _ => return Err(Unbound::Undefined),
        })
    }

    /// The value as an integer.
    ///
    /// # Errors
    /// As [`Binder::eval`].
    pub fn int(&self, e: ExprId) -> Result<i64, Unbound> {
        self.eval(e).map(Scalar::as_i64)
    }

    /// Extents of a tensor.
    ///
    /// # Errors
    /// [`Unbound`], also for a negative extent.
    pub fn shape(&self, shape: &[ExprId]) -> Result<Vec<usize>, Unbound> {
        let extent = |e: &ExprId| usize::try_from(self.int(*e)?).map_err(|_| Unbound::Undefined);
        shape.iter().map(extent).collect()
    }

    /// The one size without a value for which `e` has the value `target`, where `e` is linear in it. `None` where `e`
    /// mentions no unknown size, or more than one, or is not linear in it, or no integer fits.
    #[must_use]
    pub fn solve(&self, e: ExprId, target: i64) -> Option<(String, i64)> {
        let unknown: Vec<SizeId> = sizes_in(self.func, e)
            .into_iter()
            .filter(|id| !self.sizes.contains_key(&self.func.sizes[*id].name))
            .collect();
        let [id] = unknown.as_slice() else { return None };
        let name = &self.func.sizes[*id].name;
        let at = |v: i64| {
            let mut sizes = self.sizes.clone();
            sizes.insert(name.clone(), v);
            Binder { sizes: &sizes, ..*self }.int(e).ok()
        };
        let (zero, one) = (at(0)?, at(1)?);
        let slope = one.checked_sub(zero)?;
        let rest = target.checked_sub(zero)?;
        if slope == 0 || rest % slope != 0 {
            return None;
        }
        let v = rest / slope;
        (at(v)? == target).then(|| (name.clone(), v))
    }

    /// Checks the conditions of `where`. Conditions over scalars that have no value yet are left for later.
    ///
    /// # Errors
    /// [`TaskError::Where`] for the first that does not hold.
    pub fn check_wheres(&self) -> Result<(), TaskError> {
        for (n, &e) in self.func.wheres.iter().enumerate() {
            if let Ok(v) = self.eval(e)
                && !v.is_true()
            {
                let names = names_in(self.func, e);
                let value = |name: &String| self.sizes.get(name).map(|v| format!("{name} = {v}"));
                let values: Vec<String> = names.iter().filter_map(value).collect();
                return Err(TaskError::Where {
                    number: n,
                    span: self.func.exprs[e].span,
                    values: values.join(", "),
                });
            }
        }
        Ok(())
    }
}

/// Sizes that an expression mentions, each once.
#[must_use]
pub fn sizes_in(func: &Func, e: ExprId) -> Vec<SizeId> {
    let mut out = Vec::new();
    walk(func, e, &mut |kind| {
        if let ExprKind::Size(id) = kind
            && !out.contains(id)
        {
            out.push(*id);
        }
    });
    out
}

/// Names of sizes and scalars that an expression mentions, each once.
fn names_in(func: &Func, e: ExprId) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    walk(func, e, &mut |kind| {
        let name = match kind {
            ExprKind::Size(id) => &func.sizes[*id].name,
            ExprKind::Scalar(id) => &func.scalars[*id].name,
            _ => return,
        };
        if !out.contains(name) {
            out.push(name.clone());
        }
    });
    out
}

fn walk(func: &Func, e: ExprId, visit: &mut dyn FnMut(&ExprKind)) {
    let kind = &func.exprs[e].kind;
    visit(kind);
    match kind {
        ExprKind::Unary(_, a) | ExprKind::Cast(a) => walk(func, *a, visit),
        ExprKind::Binary(_, a, b) => {
            walk(func, *a, visit);
            walk(func, *b, visit);
        }
        ExprKind::Select(a, b, c) => [a, b, c].into_iter().for_each(|e| walk(func, *e, visit)),
        ExprKind::Call(_, args) | ExprKind::Table { index: args, .. } => {
            args.iter().for_each(|e| walk(func, *e, visit));
        }
        _ => {}
    }
}

/// Integer operations round toward negative infinity; anything with a float is a float.
pub(super) fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Option<Scalar> {
    let truth = |v: bool| Some(Scalar::Bool(v));
    if let (Scalar::Int(a), Scalar::Int(b)) = (a, b) {
        let shift = u32::try_from(b).ok().filter(|n| *n < 64);
        let v = match op {
            BinaryOp::Add => a.checked_add(b)?,
            BinaryOp::Sub => a.checked_sub(b)?,
            BinaryOp::Mul => a.checked_mul(b)?,
            BinaryOp::Div => {
                let q = a.checked_div(b)?;
                q - i64::from(a % b != 0 && (a < 0) != (b < 0))
            }
            BinaryOp::Rem => {
                let r = a.checked_rem(b)?;
                if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
            }
            BinaryOp::And => a & b,
            BinaryOp::Or => a | b,
            BinaryOp::Xor => a ^ b,
            BinaryOp::Shl => i64::try_from(i128::from(a) << shift?).ok()?,
            BinaryOp::Shr => a >> shift?,
            BinaryOp::Eq => return truth(a == b),
            BinaryOp::Ne => return truth(a != b),
            BinaryOp::Lt => return truth(a < b),
            BinaryOp::Le => return truth(a <= b),
            BinaryOp::Gt => return truth(a > b),
            BinaryOp::Ge => return truth(a >= b),
        };
        return Some(Scalar::Int(v));
    }
    if let (Scalar::Bool(a), Scalar::Bool(b)) = (a, b) {
        return match op {
            BinaryOp::And => truth(a && b),
            BinaryOp::Or => truth(a || b),
            BinaryOp::Xor | BinaryOp::Ne => truth(a != b),
            BinaryOp::Eq => truth(a == b),
            _ => None,
        };
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    Some(Scalar::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Eq => return truth(a == b),
        BinaryOp::Ne => return truth(a != b),
        BinaryOp::Lt => return truth(a < b),
        BinaryOp::Le => return truth(a <= b),
        BinaryOp::Gt => return truth(a > b),
        BinaryOp::Ge => return truth(a >= b),
        _ => return None,
    }))
}

/// Functions that size expressions and tasks use; `None` for others.
pub(super) fn call(f: Function, args: &[Scalar]) -> Option<Scalar> {
    let first = *args.first()?;
    if let Scalar::Int(v) = first {
        let second = args.get(1).map(|b| b.as_i64());
        let v = match (f, second) {
            (Function::Abs, _) => v.checked_abs()?,
            (Function::Min, Some(b)) if matches!(args[1], Scalar::Int(_)) => v.min(b),
            (Function::Max, Some(b)) if matches!(args[1], Scalar::Int(_)) => v.max(b),
            (Function::Clamp, Some(lo)) => v.max(lo).min(args.get(2)?.as_i64()),
            (Function::Ilog2, _) => i64::from(v.checked_ilog2()?),
            (Function::Popcount, _) => i64::from(v.count_ones()),
            (Function::Sign, _) => v.signum(),
            (Function::IsPow2, _) => return Some(Scalar::Bool(v > 0 && v & (v - 1) == 0)),
            _ => return float_call(f, args),
        };
        return Some(Scalar::Int(v));
    }
    float_call(f, args)
}

/// As the oracle evaluates them on exact floats.
fn float_call(f: Function, args: &[Scalar]) -> Option<Scalar> {
    let floats: Vec<Scalar> = args.iter().map(|x| Scalar::Float(x.as_f64())).collect();
    Arith { rounded: false }.call(f, &floats, DType::F64, DType::F64).ok()
}

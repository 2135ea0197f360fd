//! Values of the expressions of a task: constants, sizes, scalars, tables, and inputs made before.

use std::collections::BTreeMap;

use rooftile_artifact::{HostTensor, Scalar};

use crate::hir::ir::{BinaryOp as HirOp, Function, Table};
use crate::syntax::ast::{self, Arg, BinaryOp, Expr, ExprKind, UnaryOp};

use super::bind;

/// What an expression may mention.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Sizes and scalars.
    pub names: &'a BTreeMap<String, Scalar>,
    /// Constant tables.
    pub tables: &'a [Table],
    /// The file's functions.
    pub fns: &'a [ast::Fn],
    /// Inputs that exist already.
    pub tensors: &'a BTreeMap<String, HostTensor>,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A name that has no value (yet).
    #[error("`{0}` has no value")]
    Missing(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Wrong(String),
}

const NO_NAMES: &BTreeMap<String, Scalar> = &BTreeMap::new();
const NO_TENSORS: &BTreeMap<String, HostTensor> = &BTreeMap::new();

/// The value of an expression without names.
///
/// # Errors
/// [`ValueError`] where it has none.
pub fn constant(e: &Expr) -> Result<Scalar, ValueError> {
    Values { names: NO_NAMES, tables: &[], fns: &[], tensors: NO_TENSORS }.eval(e)
}

fn wrong<T>(message: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError::Wrong(message.into()))
}

impl Values<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// [`ValueError`] where it has none.
    pub fn eval(&self, e: &Expr) -> Result<Scalar, ValueError> {
        self.at(e, &BTreeMap::new(), 0)
    }

    /// The elements that an expression stands for: of an array literal or table, else its one value.
    ///
    /// # Errors
    /// As [`Values::eval`].
    pub fn elements(&self, e: &Expr) -> Result<Vec<Scalar>, ValueError> {
        match &e.kind {
            ExprKind::Array(items) => {
                let lists = items.iter().map(|i| self.elements(i)).collect::<Result<Vec<_>, _>>()?;
                Ok(lists.concat())
            }
            ExprKind::Paren(e) => self.elements(e),
            ExprKind::Name(name) if !self.names.contains_key(name) => {
                match self.tables.iter().find(|t| t.name == *name) {
                    Some(table) => Ok(table.data.clone()),
                    None => self.eval(e).map(|v| vec![v]),
                }
            }
            _ => self.eval(e).map(|v| vec![v]),
        }
    }

    fn at(&self, e: &Expr, locals: &BTreeMap<String, Scalar>, depth: usize) -> Result<Scalar, ValueError> {
        if depth > 64 {
            return wrong("functions call each other too deeply");
        }
        let eval = |e: &Expr| self.at(e, locals, depth);
        Ok(match &e.kind {
            ExprKind::Int { value, .. } => match i64::try_from(*value) {
                Ok(v) => Scalar::Int(v),
                Err(_) => Scalar::Int(i64::from_ne_bytes(value.to_ne_bytes())),
            },
            ExprKind::Float { value, .. } => Scalar::Float(*value),
            ExprKind::Bool(v) => Scalar::Bool(*v),
            ExprKind::Paren(e) => eval(e)?,
            ExprKind::Name(name) => {
                let own = locals.get(name).or_else(|| self.names.get(name)).copied();
                let table = || self.tables.iter().find(|t| t.name == *name && t.data.len() == 1);
                match own.or_else(|| table().map(|t| t.data[0])) {
                    Some(v) => v,
                    None if name == "inf" => Scalar::Float(f64::INFINITY),
                    None if name == "nan" => Scalar::Float(f64::NAN),
                    None => return Err(ValueError::Missing(name.clone())),
                }
            }
            ExprKind::Unary(op, a) => match (op, eval(a)?) {
                (UnaryOp::Neg, Scalar::Int(v)) => Scalar::Int(v.wrapping_neg()),
                (UnaryOp::Neg, Scalar::Complex(re, im)) => Scalar::Complex(-re, -im),
                (UnaryOp::Neg, v) => Scalar::Float(-v.as_f64()),
                (UnaryOp::Not, v) => Scalar::Bool(!v.is_true()),
                (UnaryOp::BitNot, v) => Scalar::Int(!v.as_i64()),
            },
            ExprKind::Binary(BinaryOp::And, a, b) => {
                if eval(a)?.is_true() {
                    eval(b)?
                } else {
                    Scalar::Bool(false)
                }
            }
            ExprKind::Binary(BinaryOp::Or, a, b) => {
                if eval(a)?.is_true() {
                    Scalar::Bool(true)
                } else {
                    eval(b)?
                }
            }
            ExprKind::Binary(op, a, b) => match bind::binary(operator(*op), eval(a)?, eval(b)?) {
                Some(v) => v,
                None => {
                    return wrong(
                        "an operation has no result (division by zero, overflow, or wrong operands)",
                    );
                }
            },
            ExprKind::Cast(dtype, a) => eval(a)?.cast(*dtype),
            ExprKind::Index(base, index) => {
                let index =
                    index.iter().map(|i| eval(i).map(Scalar::as_i64)).collect::<Result<Vec<_>, _>>()?;
                self.element(base, &index)?
            }
            ExprKind::Call(name, args) => self.call(name, args, locals, depth)?,
            _ => return wrong("not an expression that a task may use"),
        })
    }

    fn element(&self, base: &Expr, index: &[i64]) -> Result<Scalar, ValueError> {
        let ExprKind::Name(name) = &base.kind else { return wrong("only a name can be indexed") };
        let flat = |shape: &[usize]| -> Option<usize> {
            if shape.len() != index.len() {
                return None;
            }
            shape.iter().zip(index).try_fold(0usize, |flat, (extent, i)| {
                let i = usize::try_from(*i).ok().filter(|i| i < extent)?;
                flat.checked_mul(*extent)?.checked_add(i)
            })
        };
        let outside = || ValueError::Wrong(format!("`{name}` has no element {index:?}"));
        if let Some(tensor) = self.tensors.get(name) {
            return flat(tensor.shape()).map(|i| tensor.get(i)).ok_or_else(outside);
        }
        match self.tables.iter().find(|t| t.name == *name) {
            Some(table) => flat(&table.shape).and_then(|i| table.data.get(i).copied()).ok_or_else(outside),
            None => Err(ValueError::Missing(name.clone())),
        }
    }

    fn call(
        &self,
        name: &ast::Ident,
        args: &[Arg],
        locals: &BTreeMap<String, Scalar>,
        depth: usize,
    ) -> Result<Scalar, ValueError> {
        let mut operands = Vec::new();
        for arg in args {
            match arg {
                Arg::Expr(e) => operands.push(e),
                _ => return wrong(format!("`{}` takes plain operands", name.name)),
            }
        }
        // Reductions of a whole input: sum(x), max(x), ..
        if let [Expr { kind: ExprKind::Name(tensor), .. }] = operands.as_slice()
            && !self.names.contains_key(tensor)
            && matches!(name.name.as_str(), "sum" | "max" | "min" | "mean" | "len")
        {
            let Some(tensor) = self.tensors.get(tensor) else {
                return Err(ValueError::Missing(tensor.clone()));
            };
            return reduce(&name.name, tensor);
        }
        if name.name == "select"
            && let [c, a, b] = operands.as_slice()
        {
            let chosen = if self.at(c, locals, depth)?.is_true() { a } else { b };
            return self.at(chosen, locals, depth);
        }
        let values = operands.iter().map(|e| self.at(e, locals, depth)).collect::<Result<Vec<_>, _>>()?;
        if let Some(f) = self.fns.iter().find(|f| f.name.name == name.name) {
            if f.params.len() != values.len() {
                return wrong(format!("`{}` takes {} operands", name.name, f.params.len()));
            }
            let mut own: BTreeMap<String, Scalar> = BTreeMap::new();
            for ((param, dtype), v) in f.params.iter().zip(values) {
                own.insert(param.name.clone(), v.cast(*dtype));
            }
            for (local, e) in &f.lets {
                let v = self.at(e, &own, depth + 1)?;
                own.insert(local.name.clone(), v);
            }
            return self.at(&f.body, &own, depth + 1).map(|v| v.cast(f.ret));
        }
        let f = match name.name.as_str() {
            "abs" => Function::Abs,
            "min" => Function::Min,
            "max" => Function::Max,
            "floor" => Function::Floor,
            "ceil" => Function::Ceil,
            "round" => Function::Round,
            "trunc" => Function::Trunc,
            "sqrt" => Function::Sqrt,
            "rsqrt" => Function::Rsqrt,
            "exp" => Function::Exp,
            "exp2" => Function::Exp2,
            "log" => Function::Log,
            "log2" => Function::Log2,
            "log1p" => Function::Log1p,
            "expm1" => Function::Expm1,
            "sin" => Function::Sin,
            "cos" => Function::Cos,
            "tan" => Function::Tan,
            "tanh" => Function::Tanh,
            "sigmoid" => Function::Sigmoid,
            "pow" => Function::Pow,
            "clamp" => Function::Clamp,
            "sign" => Function::Sign,
            "ilog2" => Function::Ilog2,
            "pow2" => Function::IsPow2,
            "popcount" => Function::Popcount,
            other => return wrong(format!("no function `{other}` in a task")),
        };
        bind::call(f, &values).ok_or_else(|| ValueError::Wrong(format!("`{}` has no result here", name.name)))
    }
}

fn reduce(op: &str, tensor: &HostTensor) -> Result<Scalar, ValueError> {
    let all = (0..tensor.len()).map(|i| tensor.get(i));
    if op == "len" {
        return Ok(Scalar::Int(i64::try_from(tensor.len()).unwrap_or(i64::MAX)));
    }
    if tensor.is_empty() {
        return wrong(format!("`{op}` of an empty tensor"));
    }
    if tensor.dtype().is_int() && op != "mean" {
        let all = all.map(Scalar::as_i64);
        let v = match op {
            "max" => all.max(),
            "min" => all.min(),
            _ => Some(all.fold(0, i64::wrapping_add)),
        };
        return Ok(Scalar::Int(v.unwrap_or(0)));
    }
    let all = all.map(Scalar::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Ok(Scalar::Float(match op {
        "max" => all.fold(f64::NEG_INFINITY, f64::max),
        "min" => all.fold(f64::INFINITY, f64::min),
        "mean" => all.sum::<f64>() / tensor.len() as f64,
        _ => all.sum(),
    }))
}

fn operator(op: BinaryOp) -> HirOp {
    match op {
        BinaryOp::Or | BinaryOp::BitOr => HirOp::Or,
        BinaryOp::And | BinaryOp::BitAnd => HirOp::And,
        BinaryOp::BitXor => HirOp::Xor,
        BinaryOp::Eq => HirOp::Eq,
        BinaryOp::Ne => HirOp::Ne,
        BinaryOp::Lt => HirOp::Lt,
        BinaryOp::Le => HirOp::Le,
        BinaryOp::Gt => HirOp::Gt,
        BinaryOp::Ge => HirOp::Ge,
        BinaryOp::Shl => HirOp::Shl,
        BinaryOp::Shr => HirOp::Shr,
        BinaryOp::Add => HirOp::Add,
        BinaryOp::Sub => HirOp::Sub,
        BinaryOp::Mul => HirOp::Mul,
        BinaryOp::Div => HirOp::Div,
        BinaryOp::Rem => HirOp::Rem,
    }
}

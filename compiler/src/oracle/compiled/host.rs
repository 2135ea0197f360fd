//! Expressions that the host computes, and bounds of those that it cannot.

use rooftile_artifact::host_expr::{HostBinary, HostUnary};
use rooftile_artifact::{DType, HostExpr, Scalar};

use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, File, Func, Function, UnaryOp};

/// Turns expressions of a function into host expressions.
pub(super) struct Host<'a> {
    pub(super) file: &'a File,
    pub(super) func: &'a Func,
    /// Counters of enclosing repeats and their step variables.
    pub(super) steps: Vec<(AxisId, usize)>,
}

fn bin(op: HostBinary, a: HostExpr, b: HostExpr) -> HostExpr {
    HostExpr::binary(op, a, b)
}

impl Host<'_> {
    /// The expression over sizes, scalars and counters; `None` if it is not one. Floats are not rounded.
    pub(super) fn expr(&self, id: ExprId) -> Option<HostExpr> {
        let e = &self.func.exprs[id];
        Some(match &e.kind {
            ExprKind::Const(v) => HostExpr::Const(*v),
            ExprKind::Size(s) => HostExpr::Size(s.index()),
            ExprKind::Scalar(s) => HostExpr::Scalar(s.index()),
            ExprKind::Axis(a) => HostExpr::Step(self.steps.iter().rev().find(|(axis, _)| axis == a)?.1),
            ExprKind::Table { table, index } => {
                let table = self.file.tables.get(*table)?;
                let mut flat = 0;
                for (&i, &n) in index.iter().zip(&table.shape) {
                    let HostExpr::Const(i) = self.expr(i)? else { return None };
                    flat = flat * n + usize::try_from(i.as_i64()).ok().filter(|&i| i < n)?;
                }
                HostExpr::Const(*table.data.get(flat)?)
            }
            ExprKind::Unary(op, a) => {
                let op = if *op == UnaryOp::Neg { HostUnary::Neg } else { HostUnary::Not };
                HostExpr::Unary(op, Box::new(self.expr(*a)?))
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(*a)?, self.expr(*b)?);
                let plain = |op| Some(bin(op, a.clone(), b.clone()));
                return match op {
                    BinaryOp::Add => plain(HostBinary::Add),
                    BinaryOp::Sub => plain(HostBinary::Sub),
                    BinaryOp::Mul => plain(HostBinary::Mul),
                    BinaryOp::Div => plain(HostBinary::Div),
                    BinaryOp::Rem => plain(HostBinary::Rem),
                    BinaryOp::And => plain(HostBinary::And),
                    BinaryOp::Or => plain(HostBinary::Or),
                    BinaryOp::Xor => plain(HostBinary::Xor),
                    BinaryOp::Shl => plain(HostBinary::Shl),
                    BinaryOp::Shr => plain(HostBinary::Shr),
                    BinaryOp::Eq => plain(HostBinary::Eq),
                    BinaryOp::Ne => plain(HostBinary::Ne),
                    BinaryOp::Lt => plain(HostBinary::Lt),
                    BinaryOp::Le => plain(HostBinary::Le),
                    BinaryOp::Gt => Some(bin(HostBinary::Lt, b, a)),
                    BinaryOp::Ge => Some(bin(HostBinary::Le, b, a)),
                };
            }
            ExprKind::Call(f, args) => {
                let args: Vec<HostExpr> = args.iter().map(|&a| self.expr(a)).collect::<Option<_>>()?;
                call(*f, &args)?
            }
            ExprKind::Select(c, a, b) => {
                let (c, a, b) = (self.expr(*c)?, self.expr(*a)?, self.expr(*b)?);
                HostExpr::Select(Box::new(c), Box::new(a), Box::new(b))
            }
            ExprKind::Cast(a) => {
                let of = self.func.exprs[*a].dtype;
                let a = self.expr(*a)?;
                match e.dtype {
                    d if d.is_complex() => return None,
                    d if d.is_float() && of.is_float() => a,
                    d if d.is_float() => HostExpr::Cast(DType::F64, Box::new(a)),
                    d if d == of => a,
                    d => HostExpr::Cast(d, Box::new(a)),
                }
            }
            _ => return None,
        })
    }

    /// Smallest and largest value that an integer expression takes inside its loops, as the host can tell.
    pub(super) fn bounds(&self, id: ExprId) -> Option<(HostExpr, HostExpr)> {
        if let Some(exact) = self.expr(id) {
            return Some((exact.clone(), exact));
        }
        let e = &self.func.exprs[id];
        match &e.kind {
            ExprKind::Axis(a) => {
                let axis = &self.func.axes[*a];
                let (lo, _) = self.bounds(axis.lo)?;
                let (_, hi) = self.bounds(axis.hi)?;
                Some((lo, bin(HostBinary::Sub, hi, 1.into())))
            }
            ExprKind::Load { tensor, .. } => {
                let (lo, hi) = self.func.tensors[*tensor].range?;
                let (lo, _) = self.bounds(lo)?;
                let (_, hi) = self.bounds(hi)?;
                Some((lo, bin(HostBinary::Sub, hi, 1.into())))
            }
            ExprKind::Cast(a) if e.dtype.is_int() && self.func.exprs[*a].dtype.is_int() => self.bounds(*a),
            ExprKind::Select(_, a, b) => {
                let (a, b) = (self.bounds(*a)?, self.bounds(*b)?);
                Some((bin(HostBinary::Min, a.0, b.0), bin(HostBinary::Max, a.1, b.1)))
            }
            ExprKind::Call(f @ (Function::Min | Function::Max), args) => {
                let op = if *f == Function::Min { HostBinary::Min } else { HostBinary::Max };
                let (a, b) = (self.bounds(*args.first()?)?, self.bounds(*args.get(1)?)?);
                Some((bin(op, a.0, b.0), bin(op, a.1, b.1)))
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.bounds(*a)?, self.bounds(*b)?);
                binary_bounds(*op, a, b)
            }
            _ => None,
        }
    }
}

type Range = (HostExpr, HostExpr);

fn binary_bounds(op: BinaryOp, a: Range, b: Range) -> Option<Range> {
    let positive = |e: &HostExpr| match e {
        HostExpr::Size(_) => true,
        HostExpr::Const(Scalar::Int(v)) => *v > 0,
        _ => false,
    };
    let corners = |op: HostBinary| {
        let all = [(&a.0, &b.0), (&a.0, &b.1), (&a.1, &b.0), (&a.1, &b.1)];
        let all = all.map(|(x, y)| bin(op, x.clone(), y.clone()));
        let fold = |m: HostBinary| all.iter().cloned().reduce(|x, y| bin(m, x, y));
        Some((fold(HostBinary::Min)?, fold(HostBinary::Max)?))
    };
    match op {
        BinaryOp::Add => Some((bin(HostBinary::Add, a.0, b.0), bin(HostBinary::Add, a.1, b.1))),
        BinaryOp::Sub => Some((bin(HostBinary::Sub, a.0, b.1), bin(HostBinary::Sub, a.1, b.0))),
        BinaryOp::Mul => corners(HostBinary::Mul),
        BinaryOp::Div if b.0 == b.1 && positive(&b.0) => {
            Some((bin(HostBinary::Div, a.0, b.0), bin(HostBinary::Div, a.1, b.1)))
        }
        BinaryOp::Rem if b.0 == b.1 && positive(&b.0) => {
            Some((0.into(), bin(HostBinary::Sub, b.1, 1.into())))
        }
        _ => None,
    }
}

fn call(f: Function, args: &[HostExpr]) -> Option<HostExpr> {
    let unary = |op, a: &HostExpr| Some(HostExpr::Unary(op, Box::new(a.clone())));
    match (f, args) {
        (Function::Min, [a, b]) => Some(bin(HostBinary::Min, a.clone(), b.clone())),
        (Function::Max, [a, b]) => Some(bin(HostBinary::Max, a.clone(), b.clone())),
        (Function::Clamp, [x, lo, hi]) => {
            Some(bin(HostBinary::Min, bin(HostBinary::Max, x.clone(), lo.clone()), hi.clone()))
        }
        (Function::Ilog2, [a]) => unary(HostUnary::Ilog2, a),
        (Function::Sqrt, [a]) => unary(HostUnary::Sqrt, a),
        (Function::Exp, [a]) => unary(HostUnary::Exp, a),
        (Function::Log, [a]) => unary(HostUnary::Log, a),
        (Function::Floor, [a]) => unary(HostUnary::Floor, a),
        (Function::Abs, [a]) => {
            let negative = bin(HostBinary::Lt, a.clone(), 0.into());
            let negated = HostExpr::Unary(HostUnary::Neg, Box::new(a.clone()));
            Some(HostExpr::Select(Box::new(negative), Box::new(negated), Box::new(a.clone())))
        }
        (Function::IsPow2, [a]) => {
            let less = bin(HostBinary::Sub, a.clone(), 1.into());
            let single = bin(HostBinary::Eq, bin(HostBinary::And, a.clone(), less), 0.into());
            Some(bin(HostBinary::And, bin(HostBinary::Lt, 0.into(), a.clone()), single))
        }
        _ => None,
    }
}

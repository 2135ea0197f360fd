//! Expressions at a point.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use rooftile_artifact::{DType, Scalar};

use super::emit::{Emitter, V};
use super::{R, internal};
use crate::hir::ir::{BinaryOp, Expr, ExprId, ExprKind, Function};

impl Emitter<'_, '_> {
    /// An expression that is an integer.
    pub(super) fn int(&mut self, id: ExprId) -> R<Value> {
        self.expr(id)?.int()
    }

    /// A literal.
    pub(super) fn constant(&mut self, v: Scalar, dtype: DType) -> R<V> {
        Ok(match dtype {
            DType::Bool => V::B(self.b.ins().iconst(types::I8, i64::from(v.is_true()))),
            DType::Int { .. } => V::I(self.b.ins().iconst(types::I64, v.as_i64())),
            DType::C64 | DType::C128 => {
                let Scalar::Complex(re, im) = v.cast(DType::C128) else {
                    return Err(internal("a complex literal"));
                };
                V::C(self.b.ins().f64const(re), self.b.ins().f64const(im))
            }
            _ => V::F(self.b.ins().f64const(v.as_f64())),
        })
    }

    /// The value of an expression at the current point.
    pub(super) fn expr(&mut self, id: ExprId) -> R<V> {
        if let Some(v) = self.cached(id) {
            return Ok(v);
        }
        let func = self.func;
        let e = &func.exprs[id];
        let v = self.compute(id, e)?;
        self.remember(id, v);
        Ok(v)
    }

    fn compute(&mut self, id: ExprId, e: &Expr) -> R<V> {
        let func = self.func;
        Ok(match &e.kind {
            ExprKind::Const(v) => self.constant(*v, e.dtype)?,
            ExprKind::Size(s) => V::I(*self.sizes.get(s.index()).ok_or_else(|| internal("a size"))?),
            ExprKind::Scalar(s) => *self.scalars.get(s.index()).ok_or_else(|| internal("a scalar"))?,
            ExprKind::Axis(a) => match self.axis[a.index()] {
                Some(v) => V::I(v),
                None => return self.stop(format!("`{}` here", func.axes[*a].name), e.span),
            },
            ExprKind::Value(v) => self.value(*v)?,
            ExprKind::ValueAt(v, index) => {
                let at: Vec<Value> = index.iter().map(|&i| self.int(i)).collect::<R<_>>()?;
                for (n, &axis) in func.values[*v].axes.iter().enumerate() {
                    if self.plan.point[axis.index()] && !super::plan::is_axis(func, index[n], axis) {
                        return self.stop("another point of an axis that is cut into tiles", e.span);
                    }
                }
                match self.value_address(*v, false, Some(&at))? {
                    Some(address) => self.get(address, e.dtype)?,
                    None => self.register(*v)?,
                }
            }
            ExprKind::Load { tensor, index, .. } => self.load(*tensor, index)?,
            ExprKind::Table { table, index } => self.table(*table, index)?,
            ExprKind::Unary(op, a) => {
                let v = self.expr(*a)?;
                self.unary(*op, v, e.dtype)?
            }
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) if e.dtype == DType::Bool => {
                self.logic(*op, *a, *b)?
            }
            ExprKind::Binary(op, a, b) => {
                let (x, y) = (self.expr(*a)?, self.expr(*b)?);
                if let (BinaryOp::Div | BinaryOp::Rem, V::I(x), ExprKind::Const(Scalar::Int(d))) =
                    (op, x, &func.exprs[*b].kind)
                    && *d > 0
                {
                    return Ok(V::I(self.constant_div(x, *d, *op, func.exprs[*a].dtype)));
                }
                self.binary(*op, x, y, func.exprs[*a].dtype)?
            }
            ExprKind::Call(f, args) => {
                let of = args.first().map_or(e.dtype, |&a| func.exprs[a].dtype);
                let args: Vec<V> = args.iter().map(|&a| self.expr(a)).collect::<R<_>>()?;
                self.call(*f, &args, of, e)?
            }
            ExprKind::Select(c, a, b) => {
                let c = self.expr(*c)?.truth()?;
                if self.is_cheap(*a, 16) && self.is_cheap(*b, 16) {
                    let (x, y) = (self.expr(*a)?, self.expr(*b)?);
                    self.choose(c, x, y)?
                } else {
                    self.branch(c, e.dtype, &mut |s| s.expr(*a), &mut |s| s.expr(*b))?
                }
            }
            ExprKind::Cast(a) => {
                let v = self.expr(*a)?;
                self.cast(v, func.exprs[*a].dtype, e.dtype)?
            }
            ExprKind::Reduce { op, axes, args } => self.reduce(*op, axes, args, e)?,
            ExprKind::Scan { op, axis, arg } => self.scan(id, *op, *axis, *arg, e)?,
        })
    }

    /// `c ? x : y`, both at hand.
    pub(super) fn choose(&mut self, c: Value, x: V, y: V) -> R<V> {
        let mut pick = |x, y| self.b.ins().select(c, x, y);
        Ok(match (x, y) {
            (V::I(x), V::I(y)) => V::I(pick(x, y)),
            (V::F(x), V::F(y)) => V::F(pick(x, y)),
            (V::B(x), V::B(y)) => V::B(pick(x, y)),
            (V::C(a, b), V::C(c, d)) => V::C(pick(a, c), pick(b, d)),
            _ => return Err(internal("a choice between kinds")),
        })
    }

    /// Whether an expression may be computed where it is not needed: it is short and touches no memory.
    fn is_cheap(&self, id: ExprId, depth: u32) -> bool {
        if self.cached(id).is_some() {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let cheap = |e: &ExprId| self.is_cheap(*e, depth);
        match &self.func.exprs[id].kind {
            ExprKind::Const(_) | ExprKind::Size(_) | ExprKind::Scalar(_) | ExprKind::Axis(_) => true,
            ExprKind::Value(v) => !self.func.values[*v].dtype.is_complex(),
            ExprKind::Unary(_, a) | ExprKind::Cast(a) => cheap(a),
            ExprKind::Binary(op, a, b) => {
                let slow = matches!(op, BinaryOp::Div | BinaryOp::Rem) && self.func.exprs[*a].dtype.is_int();
                !slow && self.is_cheap(*a, depth / 2) && self.is_cheap(*b, depth / 2)
            }
            ExprKind::Call(
                Function::Min | Function::Max | Function::Abs | Function::Re | Function::Im,
                args,
            ) => args.iter().all(cheap),
            _ => false,
        }
    }

    /// `a && b` or `a || b`, `b` computed only if needed.
    fn logic(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> R<V> {
        let x = self.expr(a)?.truth()?;
        let or = op == BinaryOp::Or;
        if self.is_cheap(b, 16) {
            let y = self.expr(b)?.truth()?;
            return Ok(V::B(if or { self.b.ins().bor(x, y) } else { self.b.ins().band(x, y) }));
        }
        let mut known = |s: &mut Self| s.constant(Scalar::Bool(or), DType::Bool);
        let mut rest = |s: &mut Self| s.expr(b);
        if or {
            self.branch(x, DType::Bool, &mut known, &mut rest)
        } else {
            self.branch(x, DType::Bool, &mut rest, &mut known)
        }
    }

    fn table(&mut self, number: usize, index: &[ExprId]) -> R<V> {
        let file = self.file;
        let table = file.tables.get(number).ok_or_else(|| internal("a table"))?;
        let base = self.tables[number].ok_or_else(|| internal("a table without memory"))?;
        let mut at = self.b.ins().iconst(types::I64, 0);
        for (&e, &n) in index.iter().zip(&table.shape) {
            let n = i64::try_from(n).map_err(internal)?;
            let i = self.int(e)?;
            let extent = self.b.ins().iconst(types::I64, n);
            let i = self.checked(i, extent);
            at = self.b.ins().imul_imm_s(at, n);
            at = self.b.ins().iadd(at, i);
        }
        let bytes = self.b.ins().imul_imm_s(at, super::emit::slot_bytes(table.dtype));
        let address = self.b.ins().iadd(base, bytes);
        self.get(address, table.dtype)
    }

    fn call(&mut self, f: Function, args: &[V], of: DType, e: &Expr) -> R<V> {
        Ok(match (f, args) {
            (Function::Min, &[a, b]) => self.smaller(a, b, of)?,
            (Function::Max, &[a, b]) => self.larger(a, b, of)?,
            (Function::Clamp, &[x, lo, hi]) => {
                let x = self.larger(x, lo, of)?;
                self.smaller(x, hi, of)?
            }
            (Function::Complex, &[V::F(a), V::F(b)]) => V::C(a, b),
            (Function::Re, &[V::C(re, _)]) => V::F(re),
            (Function::Im, &[V::C(_, im)]) => V::F(im),
            (Function::Conj, &[V::C(re, im)]) => V::C(re, self.b.ins().fneg(im)),
            (Function::Abs, &[V::C(re, im)]) => {
                let (a, b) = (self.b.ins().fmul(re, re), self.b.ins().fmul(im, im));
                let sum = self.b.ins().fadd(a, b);
                V::F(self.b.ins().sqrt(sum))
            }
            (Function::Cis, &[V::F(x)]) => {
                let (sin, cos) = self.sin_cos(x);
                V::C(cos, sin)
            }
            (Function::Fma, &[a, b, c]) => {
                let product = self.binary(BinaryOp::Mul, a, b, e.dtype)?;
                self.binary(BinaryOp::Add, product, c, e.dtype)?
            }
            (Function::Pow, &[V::F(a), V::F(b)]) => V::F(self.pow(a, b)),
            (Function::Bitrev, &[V::I(x), V::I(n)]) => {
                let reversed = self.b.ins().bitrev(x);
                let width = self.b.ins().iconst(types::I64, 64);
                let back = self.b.ins().isub(width, n);
                let v = self.b.ins().ushr(reversed, back);
                // A shift by 64 is a shift by none.
                let none = self.b.ins().icmp_imm_s(IntCC::Equal, n, 0);
                let zero = self.b.ins().iconst(types::I64, 0);
                V::I(self.b.ins().select(none, zero, v))
            }
            (_, &[V::I(x)]) => self.integer_function(f, x, of, e)?,
            (_, &[V::F(x)]) => match self.real_function(f, x) {
                Some(v) => V::F(v),
                None => return self.stop(format!("`{f:?}` of floats"), e.span),
            },
            _ => return self.stop(format!("`{f:?}` of these operands"), e.span),
        })
    }

    fn integer_function(&mut self, f: Function, x: Value, of: DType, e: &Expr) -> R<V> {
        let v = match f {
            Function::Abs => {
                let negated = self.b.ins().ineg(x);
                if of == DType::U64 { x } else { self.b.ins().smax(x, negated) }
            }
            Function::Sign => {
                let nonzero = self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0);
                let nonzero = self.b.ins().uextend(types::I64, nonzero);
                if of == DType::U64 {
                    nonzero
                } else {
                    let negative = self.b.ins().sshr_imm_s(x, 63);
                    self.b.ins().bor(negative, nonzero)
                }
            }
            Function::Popcount => {
                let width = of.int_range().map_or(64, |_| match of {
                    DType::Int { bits, .. } => i64::from(bits),
                    _ => 64,
                });
                let kept = self.b.ins().ishl_imm_s(x, 64 - width);
                self.b.ins().popcnt(kept)
            }
            Function::Ilog2 => self.ilog2(x),
            Function::IsPow2 => {
                let less = self.b.ins().iadd_imm_s(x, -1);
                let common = self.b.ins().band(x, less);
                let single = self.b.ins().icmp_imm_s(IntCC::Equal, common, 0);
                let code = if of == DType::U64 { IntCC::NotEqual } else { IntCC::SignedGreaterThan };
                let positive = self.b.ins().icmp_imm_s(code, x, 0);
                return Ok(V::B(self.b.ins().band(single, positive)));
            }
            Function::Floor | Function::Ceil | Function::Round | Function::Trunc => x,
            _ => return self.stop(format!("`{f:?}` of integers"), e.span),
        };
        Ok(V::I(self.wrap(v, e.dtype)))
    }

    /// Floor of the base-2 logarithm; -1 for zero.
    pub(super) fn ilog2(&mut self, x: Value) -> Value {
        let zeros = self.b.ins().clz(x);
        let top = self.b.ins().iconst(types::I64, 63);
        self.b.ins().isub(top, zeros)
    }
}

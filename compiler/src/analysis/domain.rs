//! How many points axes have at given sizes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rooftile_artifact::host_expr::{floor_div, floor_rem};
use rooftile_artifact::{HostTensor, Scalar};

use crate::hir::ir::{AxisId, BinaryOp, ExprId, ExprKind, File, Func, Function, ParamRef, TensorId, UnaryOp};

/// Values of an axis that are looked at where the bounds of others depend on it; more are sampled evenly.
const SAMPLES: i64 = 512;

/// A function at given sizes.
pub(super) struct Domain<'a> {
    file: &'a File,
    pub(super) func: &'a Func,
    sizes: &'a [i64],
    scalars: &'a [Scalar],
    /// By tensor.
    data: Vec<Option<&'a HostTensor>>,
    axis: RefCell<Vec<Option<i64>>>,
    counted: RefCell<BTreeMap<Vec<AxisId>, f64>>,
}

impl<'a> Domain<'a> {
    pub(super) fn new(
        file: &'a File,
        func: &'a Func,
        sizes: &'a [i64],
        scalars: &'a [Scalar],
        tensors: &'a [Option<HostTensor>],
    ) -> Domain<'a> {
        let mut data = vec![None; func.tensors.len()];
        let params = func.params.iter().filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(*id),
            ParamRef::Scalar(_) => None,
        });
        for (id, tensor) in params.zip(tensors) {
            data[id.index()] = tensor.as_ref();
        }
        let axis = RefCell::new(vec![None; func.axes.len()]);
        Domain { file, func, sizes, scalars, data, axis, counted: RefCell::default() }
    }

    /// Sets an axis or counter to a value, or to none.
    pub(super) fn set(&self, axis: AxisId, x: Option<i64>) {
        self.axis.borrow_mut()[axis.index()] = x;
    }

    /// The value of an integer expression or condition, if it is known.
    pub(super) fn value(&self, id: ExprId) -> Option<i64> {
        let e = &self.func.exprs[id];
        Some(match &e.kind {
            ExprKind::Const(v @ (Scalar::Int(_) | Scalar::Bool(_))) => v.as_i64(),
            ExprKind::Size(s) => *self.sizes.get(s.index())?,
            ExprKind::Scalar(s) => match self.scalars.get(s.index())? {
                v @ (Scalar::Int(_) | Scalar::Bool(_)) => v.as_i64(),
                _ => return None,
            },
            ExprKind::Axis(a) => self.axis.borrow()[a.index()]?,
            ExprKind::Load { tensor, index, .. } => self.element(*tensor, index)?,
            ExprKind::Table { table, index } => {
                let table = self.file.tables.get(*table)?;
                let mut flat = 0;
                for (&i, &n) in index.iter().zip(&table.shape) {
                    flat = flat * n + usize::try_from(self.value(i)?).ok().filter(|&i| i < n)?;
                }
                table.data.get(flat)?.as_i64()
            }
            ExprKind::Unary(UnaryOp::Neg, a) => self.value(*a)?.wrapping_neg(),
            ExprKind::Unary(UnaryOp::Not, a) => i64::from(self.value(*a)? == 0),
            ExprKind::Unary(UnaryOp::BitNot, a) => !self.value(*a)?,
            ExprKind::Binary(op, a, b) => binary(*op, self.value(*a)?, self.value(*b)?)?,
            ExprKind::Call(f, args) => {
                let args: Vec<i64> = args.iter().map(|&a| self.value(a)).collect::<Option<_>>()?;
                match (f, args.as_slice()) {
                    (Function::Min, &[a, b]) => a.min(b),
                    (Function::Max, &[a, b]) => a.max(b),
                    (Function::Abs, &[a]) => a.checked_abs()?,
                    (Function::Ilog2, &[a]) => i64::from(a.checked_ilog2()?),
                    (Function::IsPow2, &[a]) => i64::from(a > 0 && a & (a - 1) == 0),
                    _ => return None,
                }
            }
            ExprKind::Select(c, a, b) => self.value(if self.value(*c)? == 0 { *b } else { *a })?,
            ExprKind::Cast(a) if e.dtype.is_int() => Scalar::Int(self.value(*a)?).cast(e.dtype).as_i64(),
            _ => return None,
        })
    }

    fn element(&self, tensor: TensorId, index: &[ExprId]) -> Option<i64> {
        let data = self.data[tensor.index()]?;
        let mut flat = 0;
        for (&i, &n) in index.iter().zip(data.shape()) {
            flat = flat * n + usize::try_from(self.value(i)?).ok().filter(|&i| i < n)?;
        }
        match data.get(flat) {
            Scalar::Int(v) => Some(v),
            _ => None,
        }
    }

    /// Number of elements of a tensor.
    pub(super) fn elements(&self, tensor: TensorId) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let extent = |&e: &ExprId| self.value(e).map_or(0.0, |n| n.max(0) as f64);
        self.func.tensors[tensor].shape.iter().map(extent).product()
    }

    /// Points that an axis has at the current point of its parents.
    fn extent(&self, axis: AxisId) -> f64 {
        let a = &self.func.axes[axis];
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        match (self.value(a.lo), self.value(a.hi)) {
            (Some(lo), Some(hi)) => (hi - lo).max(0) as f64,
            (lo, _) => self.promised(a.lo, a.hi, lo.unwrap_or(0)),
        }
    }

    /// The mean length of a domain whose bounds are data.
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    fn promised(&self, lo: ExprId, hi: ExprId, from: i64) -> f64 {
        let Some((tensor, top)) = self.loaded(hi) else { return 1.0 };
        if let Some((other, _)) = self.loaded(lo)
            && other == tensor
            && self.func.tensors[tensor].monotone
        {
            // All rows together are the range.
            return top / (self.elements(tensor) - 1.0).max(1.0);
        }
        ((top - from as f64) / 2.0).max(0.0)
    }

    /// The tensor that an expression reads, and the greatest value that it promises.
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    fn loaded(&self, id: ExprId) -> Option<(TensorId, f64)> {
        match &self.func.exprs[id].kind {
            ExprKind::Load { tensor, .. } => {
                let (_, hi) = self.func.tensors[*tensor].range?;
                Some((*tensor, (self.value(hi)? - 1) as f64))
            }
            ExprKind::Cast(a) => self.loaded(*a),
            _ => None,
        }
    }

    /// Points of a set of axes and of the axes that their bounds depend on.
    pub(super) fn points(&self, axes: &[AxisId]) -> f64 {
        let mut order = Vec::new();
        for &a in axes {
            self.add(a, &mut order);
        }
        let key = order.clone();
        if let Some(&n) = self.counted.borrow().get(&key) {
            return n;
        }
        let n = self.sum(&order);
        self.counted.borrow_mut().insert(key, n);
        n
    }

    fn add(&self, axis: AxisId, order: &mut Vec<AxisId>) {
        if order.contains(&axis) {
            return;
        }
        for &p in &self.func.axes[axis].parents {
            self.add(p, order);
        }
        order.push(axis);
    }

    fn sum(&self, order: &[AxisId]) -> f64 {
        let Some((&axis, rest)) = order.split_first() else { return 1.0 };
        let matters = |&b: &AxisId| self.func.axes[b].parents.contains(&axis);
        let a = &self.func.axes[axis];
        let bounds = self.value(a.lo).zip(self.value(a.hi));
        let (Some((lo, hi)), true) = (bounds, rest.iter().any(matters)) else {
            return self.extent(axis) * self.sum(rest);
        };
        let n = (hi - lo).max(0);
        // With the content of tensors at hand every value counts, since rows differ.
        let most = if self.data.iter().any(Option::is_some) { 1 << 22 } else { SAMPLES };
        let samples = n.min(most);
        let mut total = 0.0;
        for s in 0..samples {
            let x = if samples == n { lo + s } else { lo + middle(s, samples, n) };
            self.set(axis, Some(x));
            total += self.sum(rest);
        }
        self.set(axis, None);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let scale = if samples == 0 { 0.0 } else { n as f64 / samples as f64 };
        total * scale
    }
}

/// The middle of part `s` of `parts` equal parts of `0..n`.
fn middle(s: i64, parts: i64, n: i64) -> i64 {
    let at = (2 * i128::from(s) + 1) * i128::from(n) / (2 * i128::from(parts));
    i64::try_from(at).unwrap_or(0)
}

fn binary(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    let shift = || u32::try_from(b).ok().filter(|&s| s < 64);
    Some(match op {
        BinaryOp::Add => a.checked_add(b)?,
        BinaryOp::Sub => a.checked_sub(b)?,
        BinaryOp::Mul => a.checked_mul(b)?,
        BinaryOp::Div if b != 0 => floor_div(a, b),
        BinaryOp::Rem if b != 0 => floor_rem(a, b),
        BinaryOp::Div | BinaryOp::Rem => return None,
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        BinaryOp::Shl => a.checked_shl(shift()?)?,
        BinaryOp::Shr => a >> shift()?,
        BinaryOp::Eq => i64::from(a == b),
        BinaryOp::Ne => i64::from(a != b),
        BinaryOp::Lt => i64::from(a < b),
        BinaryOp::Le => i64::from(a <= b),
        BinaryOp::Gt => i64::from(a > b),
        BinaryOp::Ge => i64::from(a >= b),
    })
}

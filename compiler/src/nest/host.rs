//! Expressions that the host computes before a launch.

use rooftile_artifact::host_expr::{HostBinary, HostUnary};
use rooftile_artifact::{DType, HostExpr, Scalar};

use super::ir::{BinaryOp, Buffer, BufferId, ExprId, ExprKind, Nest, Phase, Space, UnaryOp};

/// The expression over the kernel's sizes and scalars, if it depends on nothing else and the host has its operators.
#[must_use]
pub fn host_expr(nest: &Nest, e: ExprId) -> Option<HostExpr> {
    let expr = &nest.exprs[e];
    Some(match &expr.kind {
        ExprKind::Const(v) => HostExpr::Const(*v),
        ExprKind::Size(n) => HostExpr::Size(*n),
        ExprKind::Param(n) => HostExpr::Scalar(*n),
        ExprKind::Cast(a) => HostExpr::Cast(expr.dtype, Box::new(host_expr(nest, *a)?)),
        ExprKind::Select(c, a, b) => HostExpr::Select(
            Box::new(host_expr(nest, *c)?),
            Box::new(host_expr(nest, *a)?),
            Box::new(host_expr(nest, *b)?),
        ),
        ExprKind::Unary(UnaryOp::LeadingZeros, a) => {
            let DType::Int { bits, .. } = expr.dtype else { return None };
            leading_zeros(host_expr(nest, *a)?, bits.into())
        }
        ExprKind::Unary(op, a) => {
            let op = match op {
                UnaryOp::Neg => HostUnary::Neg,
                UnaryOp::Not => HostUnary::Not,
                UnaryOp::Sqrt => HostUnary::Sqrt,
                UnaryOp::Floor => HostUnary::Floor,
                _ => return None,
            };
            in_type(HostExpr::Unary(op, Box::new(host_expr(nest, *a)?)), expr.dtype)
        }
        ExprKind::Binary(op, a, b) => {
            let dtype = nest.exprs[*a].dtype;
            let value = HostExpr::binary(host_operator(*op)?, host_expr(nest, *a)?, host_expr(nest, *b)?);
            // The host computes in i64 and f64.
            if dtype == DType::U64 && !matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) {
                return None;
            }
            if op.is_comparison() { value } else { in_type(value, dtype) }
        }
        ExprKind::Var(_) | ExprKind::Load { .. } | ExprKind::Math(..) | ExprKind::Fma(..) => return None,
    })
}

/// Zero bits above the highest set bit of an integer of so many bits; u64 is seen with its sign, like any value of the host.
fn leading_zeros(x: HostExpr, bits: i64) -> HostExpr {
    let is = |op, y: i64| Box::new(HostExpr::binary(op, x.clone(), y.into()));
    let log = HostExpr::Unary(HostUnary::Ilog2, Box::new(x.clone()));
    let some = Box::new(HostExpr::binary(HostBinary::Sub, (bits - 1).into(), log));
    let negative = HostExpr::Select(is(HostBinary::Lt, 0), Box::new(0.into()), some);
    HostExpr::Select(is(HostBinary::Eq, 0), Box::new(bits.into()), Box::new(negative))
}

/// Wraps or rounds a value that was computed in i64 or f64.
fn in_type(e: HostExpr, dtype: DType) -> HostExpr {
    if matches!(dtype, DType::I64 | DType::F64 | DType::Bool) {
        e
    } else {
        HostExpr::Cast(dtype, Box::new(e))
    }
}

fn host_operator(op: BinaryOp) -> Option<HostBinary> {
    use BinaryOp as B;
    Some(match op {
        B::Add => HostBinary::Add,
        B::Sub => HostBinary::Sub,
        B::Mul => HostBinary::Mul,
        B::Div | B::DivNonNeg => HostBinary::Div,
        B::Rem | B::RemNonNeg => HostBinary::Rem,
        B::Min => HostBinary::Min,
        B::Max => HostBinary::Max,
        B::And => HostBinary::And,
        B::Or => HostBinary::Or,
        B::Xor => HostBinary::Xor,
        B::Shl => HostBinary::Shl,
        B::Shr => HostBinary::Shr,
        B::Eq => HostBinary::Eq,
        B::Ne => HostBinary::Ne,
        B::Lt => HostBinary::Lt,
        B::Le => HostBinary::Le,
        B::Pow => return None,
    })
}

/// Number of chunks of a phase.
#[must_use]
pub fn chunks(nest: &Nest, phase: &Phase) -> Option<HostExpr> {
    let zero: HostExpr = 0.into();
    let mut product: HostExpr = 1.into();
    for core in &phase.cores {
        let span = HostExpr::binary(HostBinary::Sub, host_expr(nest, core.hi)?, host_expr(nest, core.lo)?);
        let span = HostExpr::binary(HostBinary::Max, span, zero.clone());
        let passes = if core.step == 1 { span } else { HostExpr::ceil_div(span, core.step.into()) };
        product = match &product {
            HostExpr::Const(Scalar::Int(1)) => passes,
            _ => HostExpr::binary(HostBinary::Mul, product, passes),
        };
    }
    Some(product)
}

/// Bytes of scratch memory for the local buffers, each aligned to `align`: `None` when an extent is not the host's.
#[must_use]
pub fn local_bytes(nest: &Nest, align: i64) -> Option<HostExpr> {
    local_bytes_of(nest, align, |_| true)
}

/// As [`local_bytes`], of those buffers that `counts` says.
#[must_use]
pub fn local_bytes_of(nest: &Nest, align: i64, counts: impl Fn(BufferId) -> bool) -> Option<HostExpr> {
    let mut total: HostExpr = 0.into();
    let local = |(id, b): &(BufferId, &Buffer)| b.space == Space::Local && counts(*id);
    for (_, buffer) in nest.buffers.iter().filter(local) {
        let mut bytes: HostExpr = (buffer.dtype.size() as i64).into();
        for &extent in &buffer.shape {
            let extent = HostExpr::binary(HostBinary::Max, host_expr(nest, extent)?, 0.into());
            bytes = HostExpr::binary(HostBinary::Mul, bytes, extent);
        }
        let lines = HostExpr::ceil_div(bytes, align.into());
        let bytes = HostExpr::binary(HostBinary::Mul, lines, align.into());
        total = HostExpr::binary(HostBinary::Add, total, bytes);
    }
    Some(total)
}

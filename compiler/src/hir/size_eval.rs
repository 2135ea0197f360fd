//! Integer expressions over sizes and scalars: their values, their form for the host, and the sizes that given
//! shapes imply.

use rooftile_artifact::host_expr::{HostBinary, HostEnv, HostExpr, HostExprError, HostUnary};
use rooftile_artifact::{DType, Scalar};

use super::ir::{AxisId, BinaryOp, Expr, ExprId, ExprKind, Func, Function, SizeId, TensorId, UnaryOp};
use super::walk;

/// Host expressions with more nodes than this are not made.
const MAX_NODES: usize = 4096;

/// The expression as the host computes it, with `step` saying what a counter is there. `None` where it reads tensors,
/// tables, tile values or axes, or uses a function that the host lacks.
#[must_use]
pub fn to_host_expr_with(
    func: &Func,
    e: ExprId,
    step: &dyn Fn(AxisId) -> Option<HostExpr>,
) -> Option<HostExpr> {
    let mut nodes = 0;
    host(func, e, step, &mut nodes)
}

/// The expression as the host computes it: one over sizes and scalars only.
#[must_use]
pub fn to_host_expr(func: &Func, e: ExprId) -> Option<HostExpr> {
    to_host_expr_with(func, e, &|_| None)
}

fn host(
    func: &Func,
    e: ExprId,
    step: &dyn Fn(AxisId) -> Option<HostExpr>,
    nodes: &mut usize,
) -> Option<HostExpr> {
    *nodes += 1;
    if *nodes > MAX_NODES {
        return None;
    }
    let expr = &func.exprs[e];
    let mut sub = |e: ExprId| host(func, e, step, nodes);
    let value = match &expr.kind {
        ExprKind::Const(v) => return Some(HostExpr::Const(*v)),
        ExprKind::Size(s) => return Some(HostExpr::Size(s.index())),
        ExprKind::Scalar(s) => return Some(HostExpr::Scalar(s.index())),
        ExprKind::Axis(a) => return step(*a),
        ExprKind::Unary(op, a) => {
            let op = match op {
                UnaryOp::Neg => HostUnary::Neg,
                UnaryOp::Not | UnaryOp::BitNot => HostUnary::Not,
            };
            HostExpr::Unary(op, Box::new(sub(*a)?))
        }
        ExprKind::Binary(op, a, b) => binary(*op, sub(*a)?, sub(*b)?),
        ExprKind::Select(c, a, b) => {
            HostExpr::Select(Box::new(sub(*c)?), Box::new(sub(*a)?), Box::new(sub(*b)?))
        }
        ExprKind::Cast(a) => return Some(HostExpr::Cast(expr.dtype, Box::new(sub(*a)?))),
        ExprKind::Call(f, args) => {
            let args: Option<Vec<HostExpr>> = args.iter().map(|&a| sub(a)).collect();
            call(*f, args?)?
        }
        ExprKind::Value(_)
        | ExprKind::ValueAt(..)
        | ExprKind::Load { .. }
        | ExprKind::Table { .. }
        | ExprKind::Reduce { .. }
        | ExprKind::Scan { .. } => return None,
    };
    Some(rounded(expr, value))
}

/// The host computes in `i64` and `f64`; narrower types round after each operation.
fn rounded(expr: &Expr, value: HostExpr) -> HostExpr {
    match expr.dtype {
        DType::I64 | DType::F64 | DType::Bool => value,
        dtype => HostExpr::Cast(dtype, Box::new(value)),
    }
}

fn binary(op: BinaryOp, a: HostExpr, b: HostExpr) -> HostExpr {
    let (op, a, b) = match op {
        BinaryOp::Add => (HostBinary::Add, a, b),
        BinaryOp::Sub => (HostBinary::Sub, a, b),
        BinaryOp::Mul => (HostBinary::Mul, a, b),
        BinaryOp::Div => (HostBinary::Div, a, b),
        BinaryOp::Rem => (HostBinary::Rem, a, b),
        BinaryOp::And => (HostBinary::And, a, b),
        BinaryOp::Or => (HostBinary::Or, a, b),
        BinaryOp::Xor => (HostBinary::Xor, a, b),
        BinaryOp::Shl => (HostBinary::Shl, a, b),
        BinaryOp::Shr => (HostBinary::Shr, a, b),
        BinaryOp::Eq => (HostBinary::Eq, a, b),
        BinaryOp::Ne => (HostBinary::Ne, a, b),
        BinaryOp::Lt => (HostBinary::Lt, a, b),
        BinaryOp::Le => (HostBinary::Le, a, b),
        BinaryOp::Gt => (HostBinary::Lt, b, a),
        BinaryOp::Ge => (HostBinary::Le, b, a),
    };
    HostExpr::binary(op, a, b)
}

fn call(f: Function, args: Vec<HostExpr>) -> Option<HostExpr> {
    let unary = |op| Some(HostExpr::Unary(op, Box::new(args.first()?.clone())));
    let two = |op| Some(HostExpr::binary(op, args.first()?.clone(), args.get(1)?.clone()));
    match f {
        Function::Min => two(HostBinary::Min),
        Function::Max => two(HostBinary::Max),
        Function::Clamp => {
            let low = HostExpr::binary(HostBinary::Max, args.first()?.clone(), args.get(1)?.clone());
            Some(HostExpr::binary(HostBinary::Min, low, args.get(2)?.clone()))
        }
        Function::Abs => {
            let a = args.first()?;
            let negated = HostExpr::Unary(HostUnary::Neg, Box::new(a.clone()));
            Some(HostExpr::binary(HostBinary::Max, a.clone(), negated))
        }
        Function::Ilog2 => unary(HostUnary::Ilog2),
        Function::Sqrt => unary(HostUnary::Sqrt),
        Function::Exp => unary(HostUnary::Exp),
        Function::Log => unary(HostUnary::Log),
        Function::Floor => unary(HostUnary::Floor),
        Function::IsPow2 => {
            let a = args.first()?;
            let below = HostExpr::binary(HostBinary::Sub, a.clone(), 1.into());
            let bits = HostExpr::binary(HostBinary::And, a.clone(), below);
            let single = HostExpr::binary(HostBinary::Eq, bits, 0.into());
            let positive = HostExpr::binary(HostBinary::Lt, 0.into(), a.clone());
            Some(HostExpr::Binary(HostBinary::And, Box::new(positive), Box::new(single)))
        }
        _ => None,
    }
}

/// Why a size expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// An operation has no result.
    #[error(transparent)]
    Host(#[from] HostExprError),
    /// The expression reads something that is not known before a launch.
    #[error("the expression is not one over sizes and scalars")]
    NotHost,
    /// A shape has another number of dimensions than declared.
    #[error("`{tensor}` has {want} dimensions, but the shape given has {got}")]
    Rank {
        /// Name of the tensor.
        tensor: String,
        /// Dimensions declared.
        want: usize,
        /// Dimensions given.
        got: usize,
    },
    /// An extent is not what the sizes say.
    #[error("dimension {dim} of `{tensor}` is {got}, but must be {want}")]
    Extent {
        /// Name of the tensor.
        tensor: String,
        /// The dimension.
        dim: usize,
        /// What the sizes say.
        want: i64,
        /// What was given.
        got: i64,
    },
    /// No integer makes the declared extent what was given.
    #[error("dimension {dim} of `{tensor}` is {got}, which no `{size}` gives")]
    NoSolution {
        /// Name of the tensor.
        tensor: String,
        /// The dimension.
        dim: usize,
        /// The size that it should bind.
        size: String,
        /// What was given.
        got: i64,
    },
    /// Sizes that nothing binds.
    #[error("nothing says what {} is", names(.0))]
    Unbound(Vec<String>),
    /// The conditions of the signature do not hold.
    #[error("condition {0} of `where` does not hold")]
    Where(usize),
}

fn names(list: &[String]) -> String {
    list.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// The value of an integer expression over sizes and scalars.
///
/// # Errors
/// [`SizeError`] when an operation has no result, or the expression reads anything else.
pub fn eval_int(func: &Func, e: ExprId, sizes: &[i64], scalars: &[Scalar]) -> Result<i64, SizeError> {
    eval(func, e, sizes, scalars).map(Scalar::as_i64)
}

/// The value of an expression over sizes and scalars.
///
/// # Errors
/// As [`eval_int`].
pub fn eval(func: &Func, e: ExprId, sizes: &[i64], scalars: &[Scalar]) -> Result<Scalar, SizeError> {
    let host = to_host_expr(func, e).ok_or(SizeError::NotHost)?;
    Ok(host.eval(&HostEnv { sizes, scalars, steps: &[], threads: 1 })?)
}

/// The extents of a tensor.
///
/// # Errors
/// As [`eval_int`].
pub fn shape_of(
    func: &Func,
    tensor: TensorId,
    sizes: &[i64],
    scalars: &[Scalar],
) -> Result<Vec<i64>, SizeError> {
    func.tensors[tensor].shape.iter().map(|&e| eval_int(func, e, sizes, scalars)).collect()
}

/// Checks the conditions of the signature.
///
/// # Errors
/// [`SizeError::Where`] with the number of the first condition that does not hold.
pub fn check_wheres(func: &Func, sizes: &[i64], scalars: &[Scalar]) -> Result<(), SizeError> {
    for (n, &cond) in func.wheres.iter().enumerate() {
        if !eval(func, cond, sizes, scalars)?.is_true() {
            return Err(SizeError::Where(n));
        }
    }
    Ok(())
}

/// Finds the sizes from shapes of tensors (`None` where a tensor is not given) and sizes already known by name
/// (`given`, one entry per size). An extent binds a size where it is linear in that one unknown; all given extents are
/// then checked, and so are the conditions of the signature.
///
/// # Errors
/// [`SizeError`] when shapes disagree, when a size is left unbound, or a condition does not hold.
pub fn infer_sizes(
    func: &Func,
    shapes: &[(TensorId, Vec<i64>)],
    given: &[Option<i64>],
    scalars: &[Scalar],
) -> Result<Vec<i64>, SizeError> {
    let mut known: Vec<Option<i64>> = given.to_vec();
    known.resize(func.sizes.len(), None);
    let mut extents: Vec<(TensorId, usize, ExprId, i64)> = Vec::new();
    for (tensor, shape) in shapes {
        let declared = &func.tensors[*tensor];
        if declared.shape.len() != shape.len() {
            let (want, got) = (declared.shape.len(), shape.len());
            return Err(SizeError::Rank { tensor: declared.name.clone(), want, got });
        }
        extents.extend(declared.shape.iter().zip(shape).enumerate().map(|(d, (&e, &n))| (*tensor, d, e, n)));
    }
    loop {
        let before = known.iter().flatten().count();
        for &(tensor, dim, e, got) in &extents {
            if let Some(size) = one_unknown(func, e, &known) {
                match solve(func, e, size, got, &known, scalars) {
                    Solved::Value(v) => known[size.index()] = Some(v),
                    Solved::None => {
                        return Err(SizeError::NoSolution {
                            tensor: func.tensors[tensor].name.clone(),
                            dim,
                            size: func.sizes[size].name.clone(),
                            got,
                        });
                    }
                    Solved::NotLinear => {}
                }
            }
        }
        if known.iter().flatten().count() == before {
            break;
        }
    }
    let unbound: Vec<String> = func
        .sizes
        .iter()
        .filter(|(n, _)| known[n.index()].is_none())
        .map(|(_, size)| size.name.clone())
        .collect();
    if !unbound.is_empty() {
        return Err(SizeError::Unbound(unbound));
    }
    let sizes: Vec<i64> = known.into_iter().flatten().collect();
    for &(tensor, dim, e, got) in &extents {
        let want = eval_int(func, e, &sizes, scalars)?;
        if want != got {
            return Err(SizeError::Extent { tensor: func.tensors[tensor].name.clone(), dim, want, got });
        }
    }
    check_wheres(func, &sizes, scalars)?;
    Ok(sizes)
}

enum Solved {
    Value(i64),
    None,
    NotLinear,
}

/// The size that makes a linear extent `target`: two values of the line say where it is, a third that it is one.
fn solve(
    func: &Func,
    e: ExprId,
    size: SizeId,
    target: i64,
    known: &[Option<i64>],
    scalars: &[Scalar],
) -> Solved {
    let at = |v: i64| {
        let mut sizes: Vec<i64> = known.iter().map(|k| k.unwrap_or(1)).collect();
        sizes[size.index()] = v;
        eval_int(func, e, &sizes, scalars).ok()
    };
    let line = [at(1), at(2), at(3), at(64), at(1001)];
    let [Some(one), Some(two), ..] = line else { return Solved::NotLinear };
    let slope = two.wrapping_sub(one);
    let straight = [(3, line[2]), (64, line[3]), (1001, line[4])]
        .into_iter()
        .all(|(v, y)| y == Some(one.wrapping_add(slope.wrapping_mul(v - 1))));
    if !straight || slope == 0 {
        return Solved::NotLinear;
    }
    let rise = target.wrapping_sub(one);
    let value = rise.wrapping_div(slope).wrapping_add(1);
    // Data may leave an extent empty, but no size is negative.
    if rise.wrapping_rem(slope) != 0 || value < 0 { Solved::None } else { Solved::Value(value) }
}

fn one_unknown(func: &Func, e: ExprId, known: &[Option<i64>]) -> Option<SizeId> {
    let mut unknown: Vec<SizeId> = Vec::new();
    walk::for_each_expr(func, e, |_, x| {
        if let ExprKind::Size(s) = x.kind
            && known[s.index()].is_none()
            && !unknown.contains(&s)
        {
            unknown.push(s);
        }
    });
    match unknown[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// Whether two extents agree at every small choice of sizes and integer scalars that the conditions allow. Extents
/// without a value there count as agreeing.
pub(crate) fn agree(func: &Func, a: ExprId, b: ExprId) -> bool {
    let (Some(x), Some(y)) = (to_host_expr(func, a), to_host_expr(func, b)) else { return true };
    if x == y {
        return true;
    }
    let wheres: Vec<HostExpr> = func.wheres.iter().filter_map(|&w| to_host_expr(func, w)).collect();
    let mut used = Vec::new();
    for e in [a, b].into_iter().chain(func.wheres.iter().copied()) {
        walk::for_each_expr(func, e, |_, x| match x.kind {
            ExprKind::Size(s) if !used.contains(&Slot::Size(s.index())) => used.push(Slot::Size(s.index())),
            ExprKind::Scalar(s) if !used.contains(&Slot::Scalar(s.index())) => {
                used.push(Slot::Scalar(s.index()));
            }
            _ => {}
        });
    }
    const VALUES: [i64; 5] = [1, 2, 3, 4, 7];
    const MOST: usize = 2000;
    let mut sizes = vec![1i64; func.sizes.len()];
    let mut scalars: Vec<Scalar> = func.scalars.iter().map(|(_, s)| Scalar::Int(1).cast(s.dtype)).collect();
    let mut digits = vec![0usize; used.len()];
    for _ in 0..MOST {
        for (slot, &d) in used.iter().zip(&digits) {
            match *slot {
                Slot::Size(n) => sizes[n] = VALUES[d],
                Slot::Scalar(n) => {
                    let dtype = func.scalars.iter().nth(n).map_or(DType::I64, |(_, s)| s.dtype);
                    scalars[n] = Scalar::Int(VALUES[d]).cast(dtype);
                }
            }
        }
        let env = HostEnv { sizes: &sizes, scalars: &scalars, steps: &[], threads: 1 };
        let allowed = wheres.iter().all(|w| w.eval(&env).is_ok_and(Scalar::is_true));
        if allowed
            && let (Ok(x), Ok(y)) = (x.eval_int(&env), y.eval_int(&env))
            && x != y
        {
            return false;
        }
        let Some(next) = digits.iter().position(|&d| d + 1 < VALUES.len()) else { return true };
        digits[next] += 1;
        digits[..next].fill(0);
    }
    true
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Size(usize),
    Scalar(usize),
}

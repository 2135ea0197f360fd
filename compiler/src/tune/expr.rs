//! Integer and truth-value expressions over tunables, size names and `hw.*`, with Rust's precedences.

use std::collections::BTreeMap;
use std::fmt;

use crate::diag::{Code, Diagnostic};
use crate::syntax::ast::{self, BinaryOp, UnaryOp};

/// An expression of a `tune` or of a schedule's `when`. Integers are `i64`; truth values are 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TuneExpr {
    /// An integer literal.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A tunable, size name or integer parameter.
    Name(String),
    /// `hw.key`
    Hw(String),
    /// Prefix operator.
    Unary(UnaryOp, Box<TuneExpr>),
    /// Infix operator; integer division and remainder round toward negative infinity.
    Binary(BinaryOp, Box<TuneExpr>, Box<TuneExpr>),
    /// A function.
    Call(Function, Vec<TuneExpr>),
}

/// Functions of tune expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `min(a, b, ..)`
    Min,
    /// `max(a, b, ..)`
    Max,
    /// `abs(a)`
    Abs,
    /// `ilog2(a)`: floor of the base-2 logarithm of a positive integer.
    Ilog2,
    /// `pow2(a)`: whether `a` is a power of two.
    Pow2,
    /// `select(c, a, b)`
    Select,
}

impl Function {
    const ALL: [(&'static str, Function); 6] = [
        ("min", Function::Min),
        ("max", Function::Max),
        ("abs", Function::Abs),
        ("ilog2", Function::Ilog2),
        ("pow2", Function::Pow2),
        ("select", Function::Select),
    ];

    fn name(self) -> &'static str {
        Function::ALL.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }

    fn takes(self, n: usize) -> bool {
        match self {
            Function::Min | Function::Max => n >= 2,
            Function::Abs | Function::Ilog2 | Function::Pow2 => n == 1,
            Function::Select => n == 3,
        }
    }
}

/// Whether an expression is a number or a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Int,
    /// A truth value.
    Bool,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A name without a value.
    #[error("`{0}` has no value")]
    Missing(String),
    /// A division or remainder by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A result outside 64 bits, a shift by a count outside 0..64, or a logarithm of a number below 1.
    #[error("arithmetic overflow")]
    Overflow,
}

/// Values for the names of an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Sizes, integer parameters, tunables.
    pub names: BTreeMap<String, i64>,
    /// `hw.*`
    pub hw: BTreeMap<String, i64>,
}

impl TuneExpr {
    /// The expression of a syntax tree.
    ///
    /// # Errors
    /// A diagnostic with `code` when it uses what such expressions lack, or mixes numbers with conditions.
    pub fn from_ast(expr: &ast::Expr, code: Code) -> Result<TuneExpr, Box<Diagnostic>> {
        let converted = convert(expr, code)?;
        converted.kind().map_err(|message| Box::new(Diagnostic::error(code, expr.span, message)))?;
        Ok(converted)
    }

    /// Number or condition.
    ///
    /// # Errors
    /// A sentence that says what does not go together.
    pub fn kind(&self) -> Result<Kind, String> {
        let want = |e: &TuneExpr, kind: Kind, op: &str| {
            if e.kind()? == kind {
                return Ok(());
            }
            let noun = if kind == Kind::Int { "a number" } else { "a condition" };
            Err(format!("`{op}` takes {noun}, and `{e}` is not one"))
        };
        Ok(match self {
            TuneExpr::Int(_) | TuneExpr::Name(_) | TuneExpr::Hw(_) => Kind::Int,
            TuneExpr::Bool(_) => Kind::Bool,
            TuneExpr::Unary(UnaryOp::Not, e) => {
                want(e, Kind::Bool, "!")?;
                Kind::Bool
            }
            TuneExpr::Unary(_, e) => {
                want(e, Kind::Int, "-")?;
                Kind::Int
            }
            TuneExpr::Binary(op, a, b) => {
                let (operand, result) = match op {
                    BinaryOp::Or | BinaryOp::And => (Kind::Bool, Kind::Bool),
                    _ if comparison(*op) => (Kind::Int, Kind::Bool),
                    _ => (Kind::Int, Kind::Int),
                };
                want(a, operand, op.symbol())?;
                want(b, operand, op.symbol())?;
                result
            }
            TuneExpr::Call(Function::Select, args) => {
                let [c, a, b] = args.as_slice() else { return Err("`select` takes three operands".into()) };
                want(c, Kind::Bool, "select")?;
                let kind = a.kind()?;
                want(b, kind, "select")?;
                kind
            }
            TuneExpr::Call(f, args) => {
                for arg in args {
                    want(arg, Kind::Int, f.name())?;
                }
                if *f == Function::Pow2 { Kind::Bool } else { Kind::Int }
            }
        })
    }

    /// The value; truth values are 0 and 1. The right operands of `&&` and `||`, and the arms of `select`, are
    /// evaluated only where they matter.
    ///
    /// # Errors
    /// [`EvalError`] when a name or an operation has no value.
    pub fn eval(&self, env: &Env) -> Result<i64, EvalError> {
        let missing = |name: &str| EvalError::Missing(name.to_owned());
        Ok(match self {
            TuneExpr::Int(v) => *v,
            TuneExpr::Bool(v) => i64::from(*v),
            TuneExpr::Name(name) => *env.names.get(name).ok_or_else(|| missing(name))?,
            TuneExpr::Hw(key) => *env.hw.get(key).ok_or_else(|| missing(&format!("hw.{key}")))?,
            TuneExpr::Unary(op, e) => unary(*op, e.eval(env)?)?,
            TuneExpr::Binary(BinaryOp::And, a, b) => {
                if a.eval(env)? == 0 {
                    0
                } else {
                    b.eval(env)?
                }
            }
            TuneExpr::Binary(BinaryOp::Or, a, b) => {
                if a.eval(env)? != 0 {
                    1
                } else {
                    b.eval(env)?
                }
            }
            TuneExpr::Binary(op, a, b) => binary(*op, a.eval(env)?, b.eval(env)?)?,
            TuneExpr::Call(Function::Select, args) => match args.as_slice() {
                [c, a, b] => if c.eval(env)? != 0 { a } else { b }.eval(env)?,
                _ => return Err(EvalError::Overflow),
            },
            TuneExpr::Call(f, args) => {
                let values = args.iter().map(|a| a.eval(env)).collect::<Result<Vec<_>, _>>()?;
                call(*f, &values)?
            }
        })
    }

    /// Names and `hw.` keys that occur, in order of appearance, each once.
    #[must_use]
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        fn walk<'a>(e: &'a TuneExpr, names: &mut Vec<&'a str>, hw: &mut Vec<&'a str>) {
            match e {
                TuneExpr::Int(_) | TuneExpr::Bool(_) => {}
                TuneExpr::Name(n) if !names.contains(&n.as_str()) => names.push(n),
                TuneExpr::Hw(k) if !hw.contains(&k.as_str()) => hw.push(k),
                TuneExpr::Name(_) | TuneExpr::Hw(_) => {}
                TuneExpr::Unary(_, e) => walk(e, names, hw),
                TuneExpr::Binary(_, a, b) => {
                    walk(a, names, hw);
                    walk(b, names, hw);
                }
                TuneExpr::Call(_, args) => args.iter().for_each(|a| walk(a, names, hw)),
            }
        }
        let (mut names, mut hw) = (Vec::new(), Vec::new());
        walk(self, &mut names, &mut hw);
        (names, hw)
    }
}

fn convert(expr: &ast::Expr, code: Code) -> Result<TuneExpr, Box<Diagnostic>> {
    let fail = |message: &str| Err(Box::new(Diagnostic::error(code, expr.span, message)));
    Ok(match &expr.kind {
        ast::ExprKind::Int { value, .. } => match i64::try_from(*value) {
            Ok(v) => TuneExpr::Int(v),
            Err(_) => return fail("the number does not fit in 64 bits"),
        },
        ast::ExprKind::Bool(v) => TuneExpr::Bool(*v),
        ast::ExprKind::Name(name) => TuneExpr::Name(name.clone()),
        ast::ExprKind::Field(base, key) => match &base.kind {
            ast::ExprKind::Name(name) if name == "hw" => TuneExpr::Hw(key.name.clone()),
            _ => return fail("only `hw` has fields, as in `hw.l2`"),
        },
        ast::ExprKind::Unary(op, e) => match (*op, convert(e, code)?) {
            (UnaryOp::Neg, TuneExpr::Int(v)) => TuneExpr::Int(v.wrapping_neg()),
            (op, e) => TuneExpr::Unary(op, Box::new(e)),
        },
        ast::ExprKind::Binary(op, a, b) => {
            TuneExpr::Binary(*op, Box::new(convert(a, code)?), Box::new(convert(b, code)?))
        }
        ast::ExprKind::Paren(e) => convert(e, code)?,
        ast::ExprKind::Call(name, args) => {
            let Some((_, f)) = Function::ALL.iter().find(|(n, _)| *n == name.name) else {
                let known = Function::ALL.iter().map(|(n, _)| *n);
                let mut d = Diagnostic::error(code, name.span, format!("no function `{}` here", name.name));
                d.help = crate::diag::suggest(&name.name, known).map(|n| format!("did you mean `{n}`?"));
                return Err(Box::new(d));
            };
            let mut operands = Vec::new();
            for arg in args {
                match arg {
                    ast::Arg::Expr(e) => operands.push(convert(e, code)?),
                    _ => return fail("the function takes plain operands"),
                }
            }
            if !f.takes(operands.len()) {
                return fail(&format!("`{}` does not take {} operands", name.name, operands.len()));
            }
            TuneExpr::Call(*f, operands)
        }
        ast::ExprKind::Float { .. } => return fail("a float stands where only integers may"),
        _ => return fail("not an integer expression over tunables, sizes and `hw.*`"),
    })
}

pub(super) fn comparison(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge)
}

pub(super) fn unary(op: UnaryOp, v: i64) -> Result<i64, EvalError> {
    match op {
        UnaryOp::Neg => v.checked_neg().ok_or(EvalError::Overflow),
        UnaryOp::Not => Ok(i64::from(v == 0)),
        UnaryOp::BitNot => Ok(!v),
    }
}

/// Both operands known; `&&` and `||` included.
pub(super) fn binary(op: BinaryOp, a: i64, b: i64) -> Result<i64, EvalError> {
    let shift = |b: i64| u32::try_from(b).ok().filter(|&n| n < 64).ok_or(EvalError::Overflow);
    let overflow = EvalError::Overflow;
    match op {
        BinaryOp::Or => Ok(i64::from(a != 0 || b != 0)),
        BinaryOp::And => Ok(i64::from(a != 0 && b != 0)),
        BinaryOp::Eq => Ok(i64::from(a == b)),
        BinaryOp::Ne => Ok(i64::from(a != b)),
        BinaryOp::Lt => Ok(i64::from(a < b)),
        BinaryOp::Le => Ok(i64::from(a <= b)),
        BinaryOp::Gt => Ok(i64::from(a > b)),
        BinaryOp::Ge => Ok(i64::from(a >= b)),
        BinaryOp::BitOr => Ok(a | b),
        BinaryOp::BitXor => Ok(a ^ b),
        BinaryOp::BitAnd => Ok(a & b),
        BinaryOp::Shl => {
            let wide = i128::from(a) << shift(b)?;
            i64::try_from(wide).map_err(|_| overflow)
        }
        BinaryOp::Shr => Ok(a >> shift(b)?),
        BinaryOp::Add => a.checked_add(b).ok_or(overflow),
        BinaryOp::Sub => a.checked_sub(b).ok_or(overflow),
        BinaryOp::Mul => a.checked_mul(b).ok_or(overflow),
        BinaryOp::Div | BinaryOp::Rem if b == 0 => Err(EvalError::DivisionByZero),
        BinaryOp::Div => {
            a.checked_div(b).map(|q| q - i64::from(a % b != 0 && (a < 0) != (b < 0))).ok_or(overflow)
        }
        BinaryOp::Rem => {
            let r = a.checked_rem(b).ok_or(overflow)?;
            Ok(if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
        }
    }
}

pub(super) fn call(f: Function, args: &[i64]) -> Result<i64, EvalError> {
    let first = args.first().copied().ok_or(EvalError::Overflow)?;
    match f {
        Function::Min => Ok(args.iter().copied().fold(first, i64::min)),
        Function::Max => Ok(args.iter().copied().fold(first, i64::max)),
        Function::Abs => first.checked_abs().ok_or(EvalError::Overflow),
        Function::Ilog2 => first.checked_ilog2().map(i64::from).ok_or(EvalError::Overflow),
        Function::Pow2 => Ok(i64::from(first > 0 && first & (first - 1) == 0)),
        Function::Select => match args {
            [c, a, b] => Ok(if *c != 0 { *a } else { *b }),
            _ => Err(EvalError::Overflow),
        },
    }
}

/// How tightly an operator binds; higher is tighter.
fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And => 2,
        _ if comparison(op) => 3,
        BinaryOp::BitOr => 4,
        BinaryOp::BitXor => 5,
        BinaryOp::BitAnd => 6,
        BinaryOp::Shl | BinaryOp::Shr => 7,
        BinaryOp::Add | BinaryOp::Sub => 8,
        _ => 9,
    }
}

impl fmt::Display for TuneExpr {
    /// As it would be written, with no more parentheses than needed; products stand close.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn child(f: &mut fmt::Formatter<'_>, e: &TuneExpr, least: u8) -> fmt::Result {
            let own = match e {
                TuneExpr::Binary(op, ..) => precedence(*op),
                _ => 10,
            };
            if own < least { write!(f, "({e})") } else { write!(f, "{e}") }
        }
        match self {
            TuneExpr::Int(v) => write!(f, "{v}"),
            TuneExpr::Bool(v) => write!(f, "{v}"),
            TuneExpr::Name(name) => f.write_str(name),
            TuneExpr::Hw(key) => write!(f, "hw.{key}"),
            TuneExpr::Unary(op, e) => {
                f.write_str(match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::Not => "!",
                    UnaryOp::BitNot => "~",
                })?;
                child(f, e, 10)
            }
            TuneExpr::Binary(op, a, b) => {
                let own = precedence(*op);
                // Comparisons do not chain; everything else groups to the left.
                child(f, a, if own == 3 { 4 } else { own })?;
                if own == 9 {
                    f.write_str(op.symbol())?;
                } else {
                    write!(f, " {} ", op.symbol())?;
                }
                child(f, b, own + 1)
            }
            TuneExpr::Call(function, args) => {
                write!(f, "{}(", function.name())?;
                for (i, arg) in args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{arg}")?;
                }
                f.write_str(")")
            }
        }
    }
}

//! What is known of an expression before its tunables have values: an interval and a residue class.

use crate::syntax::ast::{BinaryOp, UnaryOp};

use super::expr::{self, Function};

/// An expression compiled against a table of tunables; everything else in it is a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Const(i64),
    Var(usize),
    Unary(UnaryOp, Box<Node>),
    Binary(BinaryOp, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

impl Node {
    /// The value at a point; `None` where an operation has none, which no constraint accepts.
    pub(super) fn eval(&self, point: &[i64]) -> Option<i64> {
        match self {
            Node::Const(v) => Some(*v),
            Node::Var(n) => point.get(*n).copied(),
            Node::Unary(op, e) => expr::unary(*op, e.eval(point)?).ok(),
            Node::Binary(BinaryOp::And, a, b) => {
                if a.eval(point)? == 0 {
                    Some(0)
                } else {
                    b.eval(point)
                }
            }
            Node::Binary(BinaryOp::Or, a, b) => {
                if a.eval(point)? != 0 {
                    Some(1)
                } else {
                    b.eval(point)
                }
            }
            Node::Binary(op, a, b) => expr::binary(*op, a.eval(point)?, b.eval(point)?).ok(),
            Node::Call(Function::Select, args) => match args.as_slice() {
                [c, a, b] => if c.eval(point)? != 0 { a } else { b }.eval(point),
                _ => None,
            },
            Node::Call(f, args) => {
                let values = args.iter().map(|a| a.eval(point)).collect::<Option<Vec<_>>>()?;
                expr::call(*f, &values).ok()
            }
        }
    }

    /// Numbers of the tunables that occur.
    pub(super) fn vars(&self, out: &mut Vec<usize>) {
        match self {
            Node::Const(_) => {}
            Node::Var(n) => {
                if !out.contains(n) {
                    out.push(*n);
                }
            }
            Node::Unary(_, e) => e.vars(out),
            Node::Binary(_, a, b) => {
                a.vars(out);
                b.vars(out);
            }
            Node::Call(_, args) => args.iter().for_each(|a| a.vars(out)),
        }
    }

    /// What every defined value of the expression has in common, when each tunable is known to be in its `Known`.
    pub(super) fn known(&self, vars: &[Known]) -> Known {
        match self {
            Node::Const(v) => Known::exactly(*v),
            Node::Var(n) => vars.get(*n).copied().unwrap_or(Known::ANY),
            Node::Unary(op, e) => {
                let e = e.known(vars);
                match op {
                    UnaryOp::Neg => Known::exactly(0).sub(e),
                    UnaryOp::Not => match e.truth() {
                        Some(v) => Known::exactly(i64::from(!v)),
                        None => Known::TRUTH,
                    },
                    UnaryOp::BitNot => Known::exactly(-1).sub(e),
                }
            }
            Node::Binary(op, a, b) => binary(*op, a.known(vars), b.known(vars)),
            Node::Call(f, args) => {
                let args: Vec<Known> = args.iter().map(|a| a.known(vars)).collect();
                call(*f, &args)
            }
        }
    }
}

/// All that is known of an integer: `lo <= v <= hi` and `v = residue (mod modulus)`. Ends at [`Known::FAR`] mean
/// "unbounded".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) lo: i128,
    pub(super) hi: i128,
    modulus: i128,
    residue: i128,
}

impl Known {
    /// Beyond every 64-bit number, and small enough that products of two fit in 128 bits.
    pub(super) const FAR: i128 = 1 << 63;
    pub(super) const ANY: Known = Known { lo: -Known::FAR, hi: Known::FAR, modulus: 1, residue: 0 };
    pub(super) const TRUTH: Known = Known { lo: 0, hi: 1, modulus: 1, residue: 0 };

    pub(super) fn exactly(v: i64) -> Known {
        Known::range(v.into(), v.into())
    }

    pub(super) fn range(lo: i128, hi: i128) -> Known {
        let far = -Known::FAR..=Known::FAR;
        Known {
            lo: lo.clamp(*far.start(), *far.end()),
            hi: hi.clamp(*far.start(), *far.end()),
            modulus: 1,
            residue: 0,
        }
    }

    /// The hull of values.
    pub(super) fn of(values: &[i64]) -> Known {
        let (Some(&first), Some(lo), Some(hi)) = (values.first(), values.iter().min(), values.iter().max())
        else {
            return Known::ANY;
        };
        let step = values.iter().fold(0i128, |g, &v| gcd(g, i128::from(v) - i128::from(first)));
        Known::range((*lo).into(), (*hi).into()).congruent(step, first.into())
    }

    fn congruent(self, modulus: i128, residue: i128) -> Known {
        // A modulus of 0 is a single value, which the interval says already.
        let modulus = if modulus == 0 { 1 } else { modulus.abs() };
        Known { modulus, residue: residue.rem_euclid(modulus), ..self }
    }

    pub(super) fn value(self) -> Option<i128> {
        (self.lo == self.hi).then_some(self.lo)
    }

    /// Whether the value, as a condition, is known.
    pub(super) fn truth(self) -> Option<bool> {
        if self.lo == 0 && self.hi == 0 {
            Some(false)
        } else if self.lo > 0 || self.hi < 0 {
            Some(true)
        } else {
            None
        }
    }

    /// As modulus and residue, a single value having modulus 0.
    fn class(self) -> (i128, i128) {
        match self.value() {
            Some(v) => (0, v),
            None => (self.modulus, self.residue),
        }
    }

    fn add(self, b: Known) -> Known {
        let ((m, r), (n, s)) = (self.class(), b.class());
        Known::range(self.lo + b.lo, self.hi + b.hi).congruent(gcd(m, n), r + s)
    }

    fn sub(self, b: Known) -> Known {
        let ((m, r), (n, s)) = (self.class(), b.class());
        Known::range(self.lo - b.hi, self.hi - b.lo).congruent(gcd(m, n), r - s)
    }

    fn mul(self, b: Known) -> Known {
        let ends = [self.lo * b.lo, self.lo * b.hi, self.hi * b.lo, self.hi * b.hi];
        let range = Known::hull(&ends);
        let ((m, r), (n, s)) = (self.class(), b.class());
        // Residue classes of far values would not fit; their interval says little anyway.
        let small = |v: i128| v.abs() < 1 << 40;
        if [m, r, n, s].into_iter().all(small) {
            range.congruent(gcd(m * n, gcd(m * s, n * r)), r * s)
        } else {
            range
        }
    }

    fn hull(ends: &[i128]) -> Known {
        let lo = ends.iter().copied().min().unwrap_or(-Known::FAR);
        let hi = ends.iter().copied().max().unwrap_or(Known::FAR);
        Known::range(lo, hi)
    }

    fn join(self, b: Known) -> Known {
        let ((m, r), (n, s)) = (self.class(), b.class());
        Known::range(self.lo.min(b.lo), self.hi.max(b.hi)).congruent(gcd(gcd(m, n), r - s), r)
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn truth(known: Option<bool>) -> Known {
    known.map_or(Known::TRUTH, |v| Known::exactly(i64::from(v)))
}

fn binary(op: BinaryOp, a: Known, b: Known) -> Known {
    match op {
        BinaryOp::And => truth(match (a.truth(), b.truth()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        BinaryOp::Or => truth(match (a.truth(), b.truth()) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }),
        BinaryOp::Eq => truth(equal(a, b)),
        BinaryOp::Ne => truth(equal(a, b).map(|v| !v)),
        BinaryOp::Lt => truth(less(a, b)),
        BinaryOp::Ge => truth(less(a, b).map(|v| !v)),
        BinaryOp::Gt => truth(less(b, a)),
        BinaryOp::Le => truth(less(b, a).map(|v| !v)),
        BinaryOp::Add => a.add(b),
        BinaryOp::Sub => a.sub(b),
        BinaryOp::Mul => a.mul(b),
        BinaryOp::Div if b.lo > 0 || b.hi < 0 => {
            // Floor division is monotone in the dividend, and in the divisor on either side of zero.
            let ends: Vec<i128> = [a.lo, a.hi]
                .iter()
                .flat_map(|&x| {
                    [b.lo, b.hi].map(|y| x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0))
                })
                .collect();
            Known::hull(&ends)
        }
        BinaryOp::Rem => match b.value() {
            Some(n) if n > 0 && a.modulus % n == 0 && a.value().is_none() => {
                Known::exactly(i64::try_from(a.residue.rem_euclid(n)).unwrap_or(0))
            }
            Some(n) if n > 0 => match a.value() {
                Some(v) => Known::exactly(i64::try_from(v.rem_euclid(n)).unwrap_or(0)),
                None if a.lo >= 0 && a.hi < n => a,
                None => Known::range(0, n - 1).congruent(gcd(a.modulus, n), a.residue),
            },
            _ if b.lo > 0 => Known::range(0, b.hi - 1),
            _ => Known::ANY,
        },
        BinaryOp::Shl
        | BinaryOp::Shr
        | BinaryOp::BitAnd
        | BinaryOp::BitOr
        | BinaryOp::BitXor
        | BinaryOp::Div => {
            let exact = |k: Known| k.value().and_then(|v| i64::try_from(v).ok());
            match (exact(a), exact(b)) {
                (Some(x), Some(y)) => expr::binary(op, x, y).map_or(Known::ANY, Known::exactly),
                _ => Known::ANY,
            }
        }
    }
}

fn equal(a: Known, b: Known) -> Option<bool> {
    if a.value().is_some() && a.value() == b.value() {
        return Some(true);
    }
    if a.hi < b.lo || b.hi < a.lo {
        return Some(false);
    }
    let ((m, r), (n, s)) = (a.class(), b.class());
    let g = gcd(m, n);
    (g != 0 && (r - s) % g != 0).then_some(false)
}

fn less(a: Known, b: Known) -> Option<bool> {
    if a.hi < b.lo && a.hi < Known::FAR {
        Some(true)
    } else if a.lo >= b.hi && b.hi < Known::FAR {
        Some(false)
    } else {
        None
    }
}

fn call(f: Function, args: &[Known]) -> Known {
    let all = |pick: fn(Known, Known) -> Known| args.iter().copied().reduce(pick).unwrap_or(Known::ANY);
    match f {
        Function::Min => all(|a, b| Known::range(a.lo.min(b.lo), a.hi.min(b.hi))),
        Function::Max => all(|a, b| Known::range(a.lo.max(b.lo), a.hi.max(b.hi))),
        Function::Select => match args {
            [c, a, b] => match c.truth() {
                Some(true) => *a,
                Some(false) => *b,
                None => a.join(*b),
            },
            _ => Known::ANY,
        },
        Function::Abs | Function::Ilog2 | Function::Pow2 => {
            let exact = args.first().and_then(|a| a.value()).and_then(|v| i64::try_from(v).ok());
            match exact.map(|v| expr::call(f, &[v])) {
                Some(Ok(v)) => Known::exactly(v),
                _ if f == Function::Pow2 => Known::TRUTH,
                _ => Known::range(0, Known::FAR),
            }
        }
    }
}

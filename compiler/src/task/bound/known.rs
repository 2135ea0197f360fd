//! Intervals with errors, and what operations make of them.

use rooftile_artifact::{DType, HostTensor, Scalar};

use crate::hir::ir::{AssignOp, BinaryOp, Function, ReduceOp};

/// What is known of a value: exact arithmetic gives something in `lo..=hi`, and what is computed is off by at most `err`. Of
/// complex values the interval is that of the modulus, with both signs. Truth values are 0 and 1; an error says that
/// they may be flipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) lo: f64,
    pub(super) hi: f64,
    pub(super) err: f64,
}

impl Known {
    pub(super) const UNKNOWN: Known = Known { lo: f64::NEG_INFINITY, hi: f64::INFINITY, err: f64::INFINITY };

    pub(super) fn exact(v: f64) -> Known {
        Known { lo: v, hi: v, err: 0.0 }
    }

    pub(super) fn new(lo: f64, hi: f64, err: f64) -> Known {
        if lo.is_nan() || hi.is_nan() || err.is_nan() { Known::UNKNOWN } else { Known { lo, hi, err } }
    }

    pub(super) fn magnitude(self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    /// Distance of the interval from zero.
    pub(super) fn least(self) -> f64 {
        if self.lo > 0.0 {
            self.lo
        } else if self.hi < 0.0 {
            -self.hi
        } else {
            0.0
        }
    }

    pub(super) fn join(self, b: Known) -> Known {
        Known::new(self.lo.min(b.lo), self.hi.max(b.hi), self.err.max(b.err))
    }

    /// With `times` roundings to a type.
    pub(super) fn rounded(self, dtype: DType, times: f64) -> Known {
        let u = dtype.unit_roundoff().unwrap_or(0.0);
        if u == 0.0 {
            return self;
        }
        Known::new(self.lo, self.hi, self.err + times * u * (self.magnitude() + self.err))
    }

    /// The sum of `least..=most` such values, in any order.
    pub(super) fn summed(self, least: f64, most: f64, dtype: DType) -> Known {
        let end = |v: f64, toward: f64| if v * toward > 0.0 { v * most } else { v * least };
        let sum = Known::new(end(self.lo, -1.0), end(self.hi, 1.0), most * self.err);
        let u = dtype.unit_roundoff().unwrap_or(0.0);
        let terms = most * (self.magnitude() + self.err);
        Known::new(sum.lo, sum.hi, sum.err + u * most * terms)
    }

    /// As an element of an integer type holds it: what may not fit may be anything.
    pub(super) fn wrapped(self, dtype: DType) -> Known {
        let Some((lo, hi)) = dtype.int_range() else { return self };
        #[expect(clippy::cast_precision_loss, reason = "a hull")]
        let (lo, hi) = (lo as f64, hi as f64);
        if self.lo >= lo && self.hi <= hi {
            self
        } else {
            Known::new(lo, hi, if self.err > 0.0 { hi - lo } else { 0.0 })
        }
    }

    /// An element that may be another one than it should be.
    pub(super) fn misplaced(self) -> Known {
        Known::new(self.lo, self.hi, self.err + self.hi - self.lo)
    }
}

pub(super) fn of_scalar(v: Scalar) -> Known {
    match v {
        Scalar::Complex(re, im) => {
            let m = re.hypot(im);
            Known::new(-m, m, 0.0)
        }
        v => Known::exact(v.as_f64()),
    }
}

pub(super) fn of_data(data: &HostTensor) -> Known {
    let all = (0..data.len()).map(|i| of_scalar(data.get(i)));
    all.reduce(Known::join).unwrap_or(Known::exact(0.0))
}

pub(super) fn update(op: AssignOp, old: Known, new: Known, most: f64, dtype: DType) -> Known {
    match op {
        AssignOp::Set => new,
        AssignOp::Add => binary(BinaryOp::Add, old, new.summed(0.0, most, dtype), dtype, true),
        AssignOp::Sub => binary(BinaryOp::Sub, old, new.summed(0.0, most, dtype), dtype, true),
        AssignOp::Max => Known::new(old.lo.max(new.lo), old.hi.max(new.hi), old.err.max(new.err)),
        AssignOp::Min => Known::new(old.lo.min(new.lo), old.hi.min(new.hi), old.err.max(new.err)),
        AssignOp::Mul if most <= 1.0 => binary(BinaryOp::Mul, old, new, dtype, true),
        AssignOp::Mul => Known::UNKNOWN,
    }
}

pub(super) fn binary(op: BinaryOp, a: Known, b: Known, dtype: DType, float: bool) -> Known {
    let compare = |sure: Option<bool>| match sure {
        Some(v) => Known::exact(f64::from(u8::from(v))),
        None => Known::new(0.0, 1.0, if a.err + b.err > 0.0 { 1.0 } else { 0.0 }),
    };
    let slack = a.err + b.err;
    match op {
        BinaryOp::Add => Known::new(a.lo + b.lo, a.hi + b.hi, slack).rounded(dtype, 1.0),
        BinaryOp::Sub => Known::new(a.lo - b.hi, a.hi - b.lo, slack).rounded(dtype, 1.0),
        BinaryOp::Mul => {
            let ends = [a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi];
            let err = a.magnitude() * b.err + b.magnitude() * a.err + a.err * b.err;
            // Zero times an unbounded end is zero here: what is unbounded stays so by the other ends.
            let ends = ends.map(|v| if v.is_nan() { 0.0 } else { v });
            let lo = ends.into_iter().fold(f64::INFINITY, f64::min);
            let hi = ends.into_iter().fold(f64::NEG_INFINITY, f64::max);
            // Complex products round a few times.
            Known::new(lo, hi, err).rounded(dtype, if dtype.is_complex() { 4.0 } else { 1.0 })
        }
        BinaryOp::Div if float => {
            let least = b.least() - b.err;
            if least <= 0.0 || dtype.is_complex() {
                return Known::UNKNOWN;
            }
            let ends = [a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi];
            let lo = ends.into_iter().fold(f64::INFINITY, f64::min);
            let hi = ends.into_iter().fold(f64::NEG_INFINITY, f64::max);
            let quotient = lo.abs().max(hi.abs());
            Known::new(lo, hi, (a.err + quotient * b.err) / least).rounded(dtype, 2.0)
        }
        BinaryOp::Lt | BinaryOp::Ge => {
            let less = if a.hi + slack < b.lo {
                Some(true)
            } else if a.lo >= b.hi + slack && (slack == 0.0 || a.lo > b.hi + slack) {
                Some(false)
            } else {
                None
            };
            compare(if op == BinaryOp::Lt { less } else { less.map(|v| !v) })
        }
        BinaryOp::Gt | BinaryOp::Le => {
            let flipped = if op == BinaryOp::Gt { BinaryOp::Lt } else { BinaryOp::Ge };
            binary(flipped, b, a, dtype, float)
        }
        BinaryOp::Eq | BinaryOp::Ne => {
            let apart = a.hi + slack < b.lo || b.hi + slack < a.lo;
            let same = slack == 0.0 && a.lo == a.hi && b.lo == b.hi && a.lo == b.lo;
            let equal = if apart { Some(false) } else { same.then_some(true) };
            compare(if op == BinaryOp::Eq { equal } else { equal.map(|v| !v) })
        }
        BinaryOp::And if dtype == DType::Bool => Known::new(a.lo.min(b.lo), a.hi.min(b.hi), a.err.max(b.err)),
        BinaryOp::Or if dtype == DType::Bool => Known::new(a.lo.max(b.lo), a.hi.max(b.hi), a.err.max(b.err)),
        BinaryOp::Rem if slack == 0.0 && b.lo > 0.0 => {
            if a.lo >= 0.0 && a.hi < b.lo {
                a
            } else {
                Known::new(0.0, b.hi - 1.0, 0.0)
            }
        }
        BinaryOp::Div if slack == 0.0 && b.lo > 0.0 => {
            let ends = [a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi].map(f64::floor);
            Known::new(
                ends.into_iter().fold(f64::INFINITY, f64::min),
                ends.into_iter().fold(f64::NEG_INFINITY, f64::max),
                0.0,
            )
        }
        BinaryOp::Shl if slack == 0.0 && a.lo >= 0.0 && b.lo >= 0.0 && b.hi < 63.0 => {
            Known::new(a.lo * b.lo.exp2(), a.hi * b.hi.exp2(), 0.0)
        }
        BinaryOp::Shr if slack == 0.0 && a.lo >= 0.0 && b.lo >= 0.0 => {
            Known::new((a.lo / b.hi.exp2()).floor(), (a.hi / b.lo.exp2()).floor(), 0.0)
        }
        // The bits of an exact integer: within its type.
        _ if slack == 0.0 => {
            let (lo, hi) = dtype.int_range().unwrap_or((0, 1));
            #[expect(clippy::cast_precision_loss, reason = "a hull")]
            Known::new(lo as f64, hi as f64, 0.0)
        }
        _ => Known::UNKNOWN,
    }
}

pub(super) fn function(f: Function, args: &[Known], dtype: DType) -> Known {
    const ROUNDINGS: f64 = 8.0;
    let Some(&a) = args.first() else { return Known::UNKNOWN };
    // A monotone function and the largest slope on the interval, errors included.
    let monotone = |f: fn(f64) -> f64, slope: f64| {
        let err = if a.err == 0.0 { 0.0 } else { slope * a.err };
        Known::new(f(a.lo), f(a.hi), err).rounded(dtype, ROUNDINGS)
    };
    let within = |lo: f64, hi: f64, slope: f64| Known::new(lo, hi, slope * a.err).rounded(dtype, ROUNDINGS);
    let least = a.lo - a.err;
    match f {
        Function::Abs => {
            let lo = if dtype.is_complex() { 0.0 } else { a.least() };
            Known::new(lo, a.magnitude(), a.err)
        }
        Function::Min | Function::Max => match args.get(1) {
            Some(b) if f == Function::Min => Known::new(a.lo.min(b.lo), a.hi.min(b.hi), a.err.max(b.err)),
            Some(b) => Known::new(a.lo.max(b.lo), a.hi.max(b.hi), a.err.max(b.err)),
            None => Known::UNKNOWN,
        },
        Function::Clamp => match args {
            [_, lo, hi] => {
                let err = a.err.max(lo.err).max(hi.err);
                Known::new(a.lo.max(lo.lo).min(hi.hi), a.hi.min(hi.hi).max(lo.lo), err)
            }
            _ => Known::UNKNOWN,
        },
        Function::Floor | Function::Ceil | Function::Round | Function::Trunc => {
            let astray = if a.err > 0.0 { a.err + 1.0 } else { 0.0 };
            Known::new(a.lo.floor(), a.hi.ceil(), astray)
        }
        Function::Sign => Known::new(-1.0, 1.0, if a.err > 0.0 && a.least() <= a.err { 2.0 } else { 0.0 }),
        Function::Sqrt if a.lo >= 0.0 => {
            let slope = if least > 0.0 { 0.5 / least.sqrt() } else { f64::INFINITY };
            let err = (slope * a.err).min(a.err.sqrt());
            Known::new(a.lo.sqrt(), a.hi.sqrt(), if a.err == 0.0 { 0.0 } else { err }).rounded(dtype, 1.0)
        }
        Function::Rsqrt if least > 0.0 => {
            let v = Known::new(1.0 / a.hi.sqrt(), 1.0 / a.lo.sqrt(), 0.5 * a.err * least.powf(-1.5));
            v.rounded(dtype, ROUNDINGS)
        }
        Function::Exp => monotone(f64::exp, (a.hi + a.err).exp()),
        Function::Exp2 => monotone(f64::exp2, (a.hi + a.err).exp2()),
        Function::Expm1 => monotone(f64::exp_m1, (a.hi + a.err).exp()),
        Function::Log if least > 0.0 => monotone(f64::ln, 1.0 / least),
        Function::Log2 if least > 0.0 => monotone(f64::log2, std::f64::consts::LOG2_E / least),
        Function::Log1p if least > -1.0 => monotone(f64::ln_1p, 1.0 / (1.0 + least)),
        Function::Sin | Function::Cos => within(-1.0, 1.0, 1.0),
        Function::Tanh => within(-1.0, 1.0, 1.0),
        Function::Erf => within(-1.0, 1.0, 1.2),
        Function::Erfc => within(0.0, 2.0, 1.2),
        Function::Sigmoid => within(0.0, 1.0, 0.25),
        Function::Fma => match args {
            [a, b, c] => binary(BinaryOp::Add, binary(BinaryOp::Mul, *a, *b, dtype, true), *c, dtype, true),
            _ => Known::UNKNOWN,
        },
        Function::Complex => match args {
            [re, im] => {
                let m = re.magnitude().hypot(im.magnitude());
                Known::new(-m, m, re.err + im.err)
            }
            _ => Known::UNKNOWN,
        },
        Function::Re | Function::Im | Function::Conj => Known::new(-a.magnitude(), a.magnitude(), a.err),
        Function::Cis => Known::new(-1.0, 1.0, a.err).rounded(dtype, ROUNDINGS),
        Function::Ilog2 | Function::Popcount if a.err == 0.0 => Known::new(0.0, 64.0, 0.0),
        Function::Bitrev if a.err == 0.0 => match args.get(1) {
            Some(n) => Known::new(0.0, n.hi.exp2(), 0.0),
            None => Known::UNKNOWN,
        },
        Function::IsPow2 => Known::new(0.0, 1.0, if a.err > 0.0 { 1.0 } else { 0.0 }),
        _ => Known::UNKNOWN,
    }
}

pub(super) fn reduce(op: ReduceOp, args: &[Known], least: f64, most: f64, dtype: DType) -> Known {
    let Some(&a) = args.first() else { return Known::UNKNOWN };
    match (op, args.get(1)) {
        (ReduceOp::Sum, _) => a.summed(least, most, dtype),
        (ReduceOp::Dot, Some(b)) => binary(BinaryOp::Mul, a, *b, dtype, true).summed(least, most, dtype),
        (ReduceOp::Max | ReduceOp::Min, _) => a,
        (ReduceOp::Any | ReduceOp::All, _) => Known::new(0.0, 1.0, a.err),
        (ReduceOp::Argmax | ReduceOp::Argmin, _) => {
            Known::new(0.0, most, if a.err > 0.0 { most } else { 0.0 })
        }
        (ReduceOp::Prod, _) if most <= 1.0 => a,
        _ => Known::UNKNOWN,
    }
}

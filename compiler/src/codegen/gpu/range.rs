//! Which indices fit in 32 bits.
//!
//! A GPU computes 64-bit integers slowly. Sizes are somewhat below 2^31 ([`rooftile_artifact::gpu_abi::LIMIT`]) and loop counters
//! lie between bounds made of sizes and constants, so intervals decide most cases. Addition, subtraction and
//! multiplication may always be done modulo 2^32 where only the low word is wanted; comparisons, quotients, remainders,
//! minima, maxima and conversions need true values, which 32 bits hold where the interval of each operand says so.

use std::collections::HashMap;

use rooftile_artifact::{DType, gpu_abi::LIMIT};

use crate::nest::ir::{BinaryOp, ExprId, ExprKind, Nest, UnaryOp, VarId};

/// Values that an `i64` may take, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The smallest.
    pub lo: i64,
    /// The largest.
    pub hi: i64,
}

/// How a 32-bit word holds every value of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As a two's complement number.
    Signed,
    /// As an unsigned number.
    Unsigned,
}

impl Range {
    /// Nothing is known.
    pub const FULL: Range = Range { lo: i64::MIN, hi: i64::MAX };

    /// One value.
    #[must_use]
    pub fn exactly(v: i64) -> Range {
        Range { lo: v, hi: v }
    }

    /// From `lo` to `hi` if `i64` holds both; else the values wrap and may be anything.
    fn checked(lo: i128, hi: i128) -> Range {
        match (i64::try_from(lo), i64::try_from(hi)) {
            (Ok(lo), Ok(hi)) => Range { lo, hi },
            _ => Range::FULL,
        }
    }

    /// The least range with all values of both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// How 32 bits hold it, if they do.
    #[must_use]
    pub fn fit(self) -> Option<Fit> {
        if self.lo >= i64::from(i32::MIN) && self.hi <= i64::from(i32::MAX) {
            Some(Fit::Signed)
        } else if self.lo >= 0 && self.hi <= i64::from(u32::MAX) {
            Some(Fit::Unsigned)
        } else {
            None
        }
    }

    /// How 32 bits hold it and `other` in the same way.
    #[must_use]
    pub fn fit_with(self, other: Range) -> Option<Fit> {
        self.union(other).fit()
    }

    fn at_least(self, lo: i64) -> Range {
        Range { lo: self.lo.max(lo), hi: self.hi.max(lo) }
    }

    fn corners(self, other: Range, f: impl Fn(i128, i128) -> i128) -> Range {
        let [a, b, c, d] = [self.lo, self.hi, other.lo, other.hi].map(i128::from);
        let all = [f(a, c), f(a, d), f(b, c), f(b, d)];
        let lo = all.into_iter().fold(i128::MAX, i128::min);
        let hi = all.into_iter().fold(i128::MIN, i128::max);
        Range::checked(lo, hi)
    }
}

/// Ranges of the expressions of a nest, given those of its variables.
#[derive(Debug)]
pub struct Ranges<'a> {
    nest: &'a Nest,
    vars: Vec<Range>,
    /// Good until a variable changes.
    known: HashMap<ExprId, Range>,
}

impl<'a> Ranges<'a> {
    /// Nothing is known of any variable.
    #[must_use]
    pub fn new(nest: &'a Nest) -> Ranges<'a> {
        Ranges { nest, vars: vec![Range::FULL; nest.vars.len()], known: HashMap::new() }
    }

    /// From here on a variable lies in a range.
    pub fn set(&mut self, var: VarId, range: Range) {
        self.vars[var.index()] = range;
        self.known.clear();
    }

    /// The range of an expression of type `i64`; [`Range::FULL`] for any other.
    pub fn of(&mut self, e: ExprId) -> Range {
        if let Some(known) = self.known.get(&e) {
            return *known;
        }
        let range = if self.nest.exprs[e].dtype == DType::I64 { self.compute(e) } else { Range::FULL };
        self.known.insert(e, range);
        range
    }

    fn compute(&mut self, e: ExprId) -> Range {
        match self.nest.exprs[e].kind {
            ExprKind::Const(v) => Range::exactly(v.as_i64()),
            ExprKind::Var(v) => self.vars[v.index()],
            ExprKind::Size(_) => Range { lo: -LIMIT, hi: LIMIT - 1 },
            ExprKind::Select(_, a, b) => self.of(a).union(self.of(b)),
            ExprKind::Unary(op, a) => {
                let a = self.of(a);
                let (lo, hi) = (i128::from(a.lo), i128::from(a.hi));
                match op {
                    UnaryOp::Neg => Range::checked(-hi, -lo),
                    UnaryOp::Not => Range { lo: !a.hi, hi: !a.lo },
                    UnaryOp::Abs if a.lo >= 0 => a,
                    UnaryOp::Abs => Range::checked(0, hi.max(-lo)),
                    UnaryOp::Popcount | UnaryOp::LeadingZeros => Range { lo: 0, hi: 64 },
                    _ => Range::FULL,
                }
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.of(a), self.of(b));
                binary(op, a, b)
            }
            ExprKind::Cast(a) => match self.nest.exprs[a].dtype {
                DType::Bool => Range { lo: 0, hi: 1 },
                t => match t.int_range() {
                    Some((lo, hi)) => Range::checked(lo, hi),
                    None => Range::FULL,
                },
            },
            ExprKind::Param(_) | ExprKind::Load { .. } | ExprKind::Math(..) | ExprKind::Fma(..) => {
                Range::FULL
            }
        }
    }
}

fn binary(op: BinaryOp, a: Range, b: Range) -> Range {
    use BinaryOp as B;
    // Of these operators the rules say what the operands are.
    let natural = matches!(op, B::DivNonNeg | B::RemNonNeg);
    let a = if natural { a.at_least(0) } else { a };
    let b = match op {
        B::DivNonNeg | B::RemNonNeg => b.at_least(1),
        B::Div | B::Rem if b.lo == 0 => b.at_least(1),
        _ => b,
    };
    match op {
        B::Add => a.corners(b, |x, y| x + y),
        B::Sub => a.corners(b, |x, y| x - y),
        B::Mul => a.corners(b, |x, y| x * y),
        B::Min => Range { lo: a.lo.min(b.lo), hi: a.hi.min(b.hi) },
        B::Max => Range { lo: a.lo.max(b.lo), hi: a.hi.max(b.hi) },
        // Rounding toward negative infinity is monotonic in the dividend, and for each sign of it in the divisor.
        B::Div | B::DivNonNeg if b.lo >= 1 => a.corners(b, i128::div_euclid),
        B::Rem | B::RemNonNeg if b.lo >= 1 => {
            if a.lo >= 0 {
                Range { lo: 0, hi: a.hi.min(b.hi - 1) }
            } else {
                Range { lo: 0, hi: b.hi - 1 }
            }
        }
        B::And => match (a.lo >= 0, b.lo >= 0) {
            (true, true) => Range { lo: 0, hi: a.hi.min(b.hi) },
            (true, false) => Range { lo: 0, hi: a.hi },
            (false, true) => Range { lo: 0, hi: b.hi },
            (false, false) => Range::FULL,
        },
        B::Shl if b.lo == b.hi && (0..63).contains(&b.lo) => a.corners(b, |x, y| x << y),
        B::Shr if b.lo == b.hi && (0..64).contains(&b.lo) => a.corners(b, |x, y| x >> y),
        _ => Range::FULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Builder;

    #[test]
    fn counters_of_sizes_fit() {
        let mut b = Builder::new("t");
        let n = b.add_size("n");
        let var = b.add_var("i", DType::I64);
        let i = b.var(var);
        let next = b.add_int(i, 8);
        let last = b.min(next, n);
        let eight = b.int(8);
        let block = b.binary(BinaryOp::DivNonNeg, i, eight);
        let area = b.mul(n, n);
        let rest = b.binary(BinaryOp::RemNonNeg, area, eight);
        let column = b.binary(BinaryOp::RemNonNeg, i, n);
        let nest = b.finish();
        let mut ranges = Ranges::new(&nest);
        assert_eq!(ranges.of(i), Range::FULL);
        ranges.set(var, Range { lo: 0, hi: LIMIT - 2 });
        assert_eq!(ranges.of(i).fit(), Some(Fit::Signed));
        // Eight further on is within the room above the limit.
        let n_range = ranges.of(n);
        assert_eq!(ranges.of(next).fit_with(n_range), Some(Fit::Signed));
        assert_eq!(ranges.of(last), Range { lo: -LIMIT, hi: LIMIT - 1 });
        assert_eq!(ranges.of(block), Range { lo: 0, hi: (LIMIT - 2) / 8 });
        assert_eq!(ranges.of(area).fit(), None);
        assert_eq!(ranges.of(rest), Range { lo: 0, hi: 7 });
        assert_eq!(ranges.of(column), Range { lo: 0, hi: LIMIT - 2 });
        assert_eq!(Range { lo: 0, hi: 1 << 31 }.fit(), Some(Fit::Unsigned));
    }

    #[test]
    fn what_wraps_may_be_anything() {
        let mut b = Builder::new("t");
        let n = b.add_size("n");
        let square = b.mul(n, n);
        let cube = b.mul(square, n);
        let minus = b.unary(UnaryOp::Neg, n);
        let nest = b.finish();
        let mut ranges = Ranges::new(&nest);
        assert_eq!(ranges.of(cube), Range::FULL);
        assert_eq!(ranges.of(minus).fit(), Some(Fit::Signed));
        assert_eq!(Range { lo: -1, hi: 1 << 31 }.fit(), None);
    }
}

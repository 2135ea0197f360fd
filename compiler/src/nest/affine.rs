//! Index formulas as a constant plus multiples of variables.

use std::collections::BTreeMap;

use super::ir::{BinaryOp, ExprId, ExprKind, Nest, UnaryOp, VarId};

/// `constant + sum of coefficient * variable`; no coefficient is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affine {
    /// The part without variables.
    pub constant: i64,
    /// Coefficients.
    pub terms: BTreeMap<VarId, i64>,
}

impl Affine {
    /// The formula of an integer expression that is made of literals, variables, sums and multiples; `None` for any
    /// other, or when a number overflows.
    #[must_use]
    pub fn of(nest: &Nest, e: ExprId) -> Option<Affine> {
        match &nest.exprs[e].kind {
            ExprKind::Const(v) => Some(Affine { constant: v.as_i64(), ..Affine::default() }),
            ExprKind::Var(v) => Some(Affine { constant: 0, terms: BTreeMap::from([(*v, 1)]) }),
            ExprKind::Unary(UnaryOp::Neg, a) => Affine::of(nest, *a)?.scaled(-1),
            ExprKind::Binary(BinaryOp::Add, a, b) => Affine::of(nest, *a)?.plus(&Affine::of(nest, *b)?),
            ExprKind::Binary(BinaryOp::Sub, a, b) => {
                Affine::of(nest, *a)?.plus(&Affine::of(nest, *b)?.scaled(-1)?)
            }
            ExprKind::Binary(BinaryOp::Mul, a, b) => {
                let (a, b) = (Affine::of(nest, *a)?, Affine::of(nest, *b)?);
                if b.terms.is_empty() {
                    a.scaled(b.constant)
                } else if a.terms.is_empty() {
                    b.scaled(a.constant)
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    fn scaled(mut self, factor: i64) -> Option<Affine> {
        self.constant = self.constant.checked_mul(factor)?;
        for c in self.terms.values_mut() {
            *c = c.checked_mul(factor)?;
        }
        self.terms.retain(|_, c| *c != 0);
        Some(self)
    }

    fn plus(mut self, other: &Affine) -> Option<Affine> {
        self.constant = self.constant.checked_add(other.constant)?;
        for (&v, &c) in &other.terms {
            let mine = self.terms.entry(v).or_insert(0);
            *mine = mine.checked_add(c)?;
        }
        self.terms.retain(|_, c| *c != 0);
        Some(self)
    }

    /// Smallest and largest value when each variable lies in the inclusive range that `range` gives; `None` when
    /// one has no range.
    #[must_use]
    pub fn bounds(&self, mut range: impl FnMut(VarId) -> Option<(i64, i64)>) -> Option<(i128, i128)> {
        let (mut lo, mut hi) = (i128::from(self.constant), i128::from(self.constant));
        for (&v, &c) in &self.terms {
            let (a, b) = range(v)?;
            let (x, y) = (i128::from(a) * i128::from(c), i128::from(b) * i128::from(c));
            lo += x.min(y);
            hi += x.max(y);
        }
        Some((lo, hi))
    }
}

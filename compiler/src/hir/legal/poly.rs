//! Polynomials with integer coefficients over sizes, scalars, axes and what is opaque.

use std::collections::BTreeMap;

use crate::hir::ir::{AxisId, ExprId};

/// Products of more factors than this are not expanded.
const MAX_DEGREE: usize = 8;
/// Polynomials of more terms than this are not kept.
const MAX_TERMS: usize = 200;

/// An unknown. The order is the one in which unknowns are eliminated, last first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// A size, at least 1.
    Size(usize),
    /// A scalar of any value.
    Scalar(usize),
    /// An axis within its bounds.
    Axis(AxisId),
    /// An expression that is not a polynomial.
    Opaque(ExprId),
}

/// A sum of products. The zero polynomial has no terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Poly {
    /// Coefficient by product; factors sorted, repeated for powers.
    terms: BTreeMap<Vec<Atom>, i128>,
}

impl Poly {
    pub(super) fn constant(v: i128) -> Poly {
        let mut p = Poly::default();
        p.add_term(Vec::new(), v);
        p
    }

    pub(super) fn atom(a: Atom) -> Poly {
        let mut p = Poly::default();
        p.add_term(vec![a], 1);
        p
    }

    fn add_term(&mut self, product: Vec<Atom>, v: i128) {
        let sum = self.terms.get(&product).copied().unwrap_or(0).saturating_add(v);
        if sum == 0 {
            self.terms.remove(&product);
        } else {
            self.terms.insert(product, sum);
        }
    }

    /// `self + k * other`
    pub(super) fn plus(&self, k: i128, other: &Poly) -> Poly {
        let mut out = self.clone();
        for (product, &v) in &other.terms {
            out.add_term(product.clone(), v.saturating_mul(k));
        }
        out
    }

    /// `self * other`; `None` where it grows too large.
    pub(super) fn times(&self, other: &Poly) -> Option<Poly> {
        let mut out = Poly::default();
        for (a, &x) in &self.terms {
            for (b, &y) in &other.terms {
                let mut product = [a.clone(), b.clone()].concat();
                if product.len() > MAX_DEGREE {
                    return None;
                }
                product.sort_unstable();
                out.add_term(product, x.checked_mul(y)?);
            }
        }
        (out.terms.len() <= MAX_TERMS).then_some(out)
    }

    /// The value, where it is a number.
    pub(super) fn as_constant(&self) -> Option<i128> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// The last unknown that is neither a size nor a scalar.
    pub(super) fn last_unknown(&self) -> Option<Atom> {
        self.terms.keys().flatten().copied().filter(|a| matches!(a, Atom::Axis(_) | Atom::Opaque(_))).max()
    }

    /// `(c1, c0)` with `self = c1 * a + c0`; `None` where `a` has a higher power.
    pub(super) fn split(&self, a: Atom) -> Option<(Poly, Poly)> {
        let (mut c1, mut c0) = (Poly::default(), Poly::default());
        for (product, &v) in &self.terms {
            match product.iter().filter(|&&x| x == a).count() {
                0 => c0.add_term(product.clone(), v),
                1 => c1.add_term(product.iter().copied().filter(|&x| x != a).collect(), v),
                _ => return None,
            }
        }
        Some((c1, c0))
    }

    /// Whether a polynomial over sizes is nowhere negative, because with every size written as 1 plus something
    /// non-negative no coefficient is negative.
    pub(super) fn plainly_nonneg(&self) -> bool {
        let mut shifted: BTreeMap<Vec<Atom>, i128> = BTreeMap::new();
        for (product, &v) in &self.terms {
            if product.iter().any(|a| !matches!(a, Atom::Size(_))) {
                return false;
            }
            // The product of (1 + s) over the factors: every subset of them.
            for subset in 0..1u32 << product.len().min(MAX_DEGREE) {
                let part: Vec<Atom> = product
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| subset >> n & 1 == 1)
                    .map(|(_, &a)| a)
                    .collect();
                let sum = shifted.entry(part).or_insert(0);
                *sum = sum.saturating_add(v);
            }
        }
        shifted.values().all(|&v| v >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic() {
        let n = Poly::atom(Atom::Size(0));
        let m = Poly::atom(Atom::Size(1));
        let square = n.plus(1, &m).times(&n.plus(-1, &m)).expect("small");
        let want = n.times(&n).expect("small").plus(-1, &m.times(&m).expect("small"));
        assert_eq!(square, want);
        assert_eq!(n.plus(-1, &n).as_constant(), Some(0));
        assert!(n.plus(-1, &Poly::constant(1)).plainly_nonneg());
        assert!(!n.plus(-1, &Poly::constant(2)).plainly_nonneg());
        assert!(n.times(&m).expect("small").plus(-1, &n).plainly_nonneg());
        assert!(!n.plus(-1, &m).plainly_nonneg());
    }
}

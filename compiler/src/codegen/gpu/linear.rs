//! Where an element is: index formulas taken apart into a constant and terms, so that what a loop does not change is
//! computed outside it, and neighbouring elements share all but a constant.

use std::collections::BTreeMap;

use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, Nest, UnaryOp, VarId};

/// What a variable stands for at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A constant, in a loop that is written out.
    Const(i64),
    /// An expression that has the same value here.
    Expr(ExprId),
    /// A value of its own.
    Value,
}

/// A product: extents of a buffer, and at most one other factor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Extents that are not constant, in order of their handles.
    pub extents: Vec<ExprId>,
    /// What is multiplied by them.
    pub factor: Option<ExprId>,
}

/// `constant + sum of coefficient * term`, exact modulo 2^64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linear {
    /// The part without terms.
    pub constant: i64,
    /// Coefficients, none of them zero.
    pub terms: BTreeMap<Term, i64>,
}

impl Linear {
    fn constant(constant: i64) -> Linear {
        Linear { constant, ..Linear::default() }
    }

    fn add_scaled(&mut self, other: &Linear, factor: i64) {
        self.constant = self.constant.wrapping_add(other.constant.wrapping_mul(factor));
        for (term, c) in &other.terms {
            self.add_term(term.clone(), c.wrapping_mul(factor));
        }
    }

    fn add_term(&mut self, term: Term, c: i64) {
        let mine = self.terms.entry(term).or_insert(0);
        *mine = mine.wrapping_add(c);
        self.terms.retain(|_, c| *c != 0);
    }

    /// The formula of an `i64` expression.
    #[must_use]
    pub fn of(nest: &Nest, e: ExprId, meaning: &impl Fn(VarId) -> Meaning) -> Linear {
        let atom = || {
            let term = Term { extents: Vec::new(), factor: Some(e) };
            Linear { constant: 0, terms: BTreeMap::from([(term, 1)]) }
        };
        match &nest.exprs[e].kind {
            ExprKind::Const(v) => Linear::constant(v.as_i64()),
            ExprKind::Var(v) => match meaning(*v) {
                Meaning::Const(c) => Linear::constant(c),
                Meaning::Expr(same) => Linear::of(nest, same, meaning),
                Meaning::Value => atom(),
            },
            ExprKind::Unary(UnaryOp::Neg, a) => {
                let mut out = Linear::default();
                out.add_scaled(&Linear::of(nest, *a, meaning), -1);
                out
            }
            ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
                let mut out = Linear::of(nest, *a, meaning);
                let sign = if *op == BinaryOp::Add { 1 } else { -1 };
                out.add_scaled(&Linear::of(nest, *b, meaning), sign);
                out
            }
            ExprKind::Binary(BinaryOp::Mul, a, b) => {
                let (a, b) = (Linear::of(nest, *a, meaning), Linear::of(nest, *b, meaning));
                let (many, one) = if b.terms.is_empty() { (a, b) } else { (b, a) };
                if !one.terms.is_empty() {
                    return atom();
                }
                let mut out = Linear::default();
                out.add_scaled(&many, one.constant);
                out
            }
            _ => atom(),
        }
    }

    /// The number of an element of a buffer, row-major. `dims` says which dimensions count; the others are dropped.
    #[must_use]
    pub fn of_element(
        nest: &Nest,
        buffer: BufferId,
        index: &[ExprId],
        dims: impl Fn(usize) -> bool,
        meaning: &impl Fn(VarId) -> Meaning,
    ) -> Linear {
        let mut out = Linear::default();
        let (mut stride, mut extents) = (1i64, Vec::new());
        for (d, (&i, &extent)) in index.iter().zip(&nest.buffers[buffer].shape).enumerate().rev() {
            if !dims(d) {
                continue;
            }
            let formula = Linear::of(nest, i, meaning);
            if extents.is_empty() {
                out.constant = out.constant.wrapping_add(formula.constant.wrapping_mul(stride));
            } else if formula.constant != 0 {
                let term = Term { extents: extents.clone(), factor: None };
                out.add_term(term, formula.constant.wrapping_mul(stride));
            }
            for (term, c) in formula.terms {
                let term = Term { extents: extents.clone(), ..term };
                out.add_term(term, c.wrapping_mul(stride));
            }
            match nest.const_int(extent) {
                Some(e) => stride = stride.wrapping_mul(e),
                None => {
                    extents.push(extent);
                    extents.sort_unstable();
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Builder;
    use crate::nest::ir::Space;
    use rooftile_artifact::DType;

    #[test]
    fn neighbours_share_their_terms() {
        let mut b = Builder::new("t");
        let (m, n) = (b.add_size("m"), b.add_size("n"));
        let four = b.int(4);
        let x = b.add_buffer("x", DType::F32, &[m, n, four], Space::Global(0));
        let (i, j) = (b.add_var("i", DType::I64), b.add_var("j", DType::I64));
        let (iv, jv) = (b.var(i), b.var(j));
        let three = b.int(3);
        let shifted = b.add_int(jv, 2);
        let nest = b.finish();
        let meaning = |v: VarId| if v == i { Meaning::Const(5) } else { Meaning::Value };
        let element = |index: &[ExprId]| Linear::of_element(&nest, x, index, |_| true, &meaning);
        let (a, c) = (element(&[iv, jv, three]), element(&[iv, shifted, three]));
        assert_eq!(a.terms, c.terms);
        assert_eq!((a.constant, c.constant), (3, 11));
        // i is known, so that its term is 5 * 4 * n.
        let row = Term { extents: vec![n], factor: None };
        let column = Term { extents: Vec::new(), factor: Some(jv) };
        assert_eq!(a.terms, BTreeMap::from([(row, 20), (column, 4)]));
    }
}

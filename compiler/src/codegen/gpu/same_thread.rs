//! Whether two accesses to one element are by the same thread.
//!
//! An index that is `sum of coefficient * counter + rest`, with counters of loops over threads, tells the thread from the
//! element when each coefficient is at least as large as all that smaller ones and the rest span: like digits of a
//! number. If two accesses have such an index in the same dimension, with the same coefficients and rests within one
//! such span, then an element that both touch has the same counters in both.

use std::collections::{BTreeMap, BTreeSet};

use super::linear::{Linear, Meaning};
use super::threads::Chain;
use crate::nest::ir::{BufferId, ExprId, ExprKind, Nest, VarId};

/// What is known of the variables around an access inside loops over threads.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// Bounds, both included, of counters of loops that each thread runs.
    pub spans: BTreeMap<VarId, (i64, i64)>,
    /// What each thread bound to expressions.
    pub lets: BTreeMap<VarId, ExprId>,
    /// Everything that differs from thread to thread, or within one.
    pub varying: BTreeSet<VarId>,
}

/// How the element of an access tells the thread that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    buffer: BufferId,
    /// Counts of the loops over threads.
    counts: Vec<u32>,
    /// By dimension of the buffer.
    dims: Vec<Option<Digits>>,
}

/// An index taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digits {
    /// Coefficients of counters, by their place in the chain.
    counters: BTreeMap<usize, i64>,
    /// Coefficients of what is the same for all threads.
    uniform: BTreeMap<ExprId, i64>,
    /// The rest lies between these, both included.
    rest: (i64, i64),
}

impl Owner {
    /// What an access by the threads of a chain tells.
    #[must_use]
    pub fn of(nest: &Nest, chain: &Chain<'_>, inside: &Inside, buffer: BufferId, index: &[ExprId]) -> Owner {
        let counts = chain.loops.iter().map(|l| l.count).collect();
        let dims = index.iter().map(|&e| Digits::of(nest, chain, inside, e)).collect();
        Owner { buffer, counts, dims }
    }

    /// Whether an element that both touch is touched by one thread.
    #[must_use]
    pub fn agrees(&self, other: &Owner) -> bool {
        if self.buffer != other.buffer || self.counts != other.counts {
            return false;
        }
        let mut told: BTreeSet<usize> = BTreeSet::new();
        for (a, b) in self.dims.iter().zip(&other.dims) {
            if let (Some(a), Some(b)) = (a, b)
                && a.counters == b.counters
                && a.uniform == b.uniform
                && a.tells_with(b, &self.counts)
            {
                told.extend(a.counters.keys());
            }
        }
        (0..self.counts.len()).all(|n| self.counts[n] <= 1 || told.contains(&n))
    }

    /// How far the element moves from one pass of a loop to the next, by dimension, where the counter alone moves it.
    #[must_use]
    pub fn strides(
        &self,
        nest: &Nest,
        var: VarId,
        step: i64,
        changing: &BTreeSet<VarId>,
    ) -> Vec<Option<i64>> {
        let stride = |d: &Digits| {
            let mut own = None;
            for (&e, &c) in &d.uniform {
                if matches!(nest.exprs[e].kind, ExprKind::Var(v) if v == var) {
                    own = c.checked_mul(step);
                } else if nest.mentions(e, changing) {
                    return None;
                }
            }
            own
        };
        self.dims.iter().map(|d| d.as_ref().and_then(stride)).collect()
    }

    /// Whether accesses of different passes of a loop, whose elements move so far, touch different elements.
    #[must_use]
    pub fn apart(&self, other: &Owner, strides: &[Option<i64>]) -> bool {
        let same = self.buffer == other.buffer && self.counts == other.counts;
        let dims = self.dims.iter().zip(&other.dims).zip(strides);
        let mut dims = dims.filter_map(|((a, b), stride)| Some((a.as_ref()?, b.as_ref()?, (*stride)?)));
        same && dims.any(|(a, b, stride)| {
            let alike = a.counters == b.counters && a.uniform == b.uniform;
            alike && i128::from(stride).abs() >= a.span_with(b, &self.counts)
        })
    }

    /// Whether it rests on a variable.
    #[must_use]
    pub fn mentions(&self, nest: &Nest, vars: &BTreeSet<VarId>) -> bool {
        self.dims.iter().flatten().flat_map(|d| d.uniform.keys()).any(|&e| nest.mentions(e, vars))
    }
}

impl Digits {
    fn of(nest: &Nest, chain: &Chain<'_>, inside: &Inside, e: ExprId) -> Option<Digits> {
        let meaning = |v: VarId| match inside.lets.get(&v) {
            Some(&e) => Meaning::Expr(e),
            None => Meaning::Value,
        };
        let formula = Linear::of(nest, e, &meaning);
        let mut out = Digits {
            counters: BTreeMap::new(),
            uniform: BTreeMap::new(),
            rest: (formula.constant, formula.constant),
        };
        for (term, c) in formula.terms {
            let factor = term.factor?;
            if let ExprKind::Var(v) = nest.exprs[factor].kind {
                if let Some(n) = chain.loops.iter().position(|l| l.var == v) {
                    out.counters.insert(n, c);
                    continue;
                }
                if let Some(&(lo, hi)) = inside.spans.get(&v) {
                    let (a, b) = (lo.checked_mul(c)?, hi.checked_mul(c)?);
                    out.rest = (out.rest.0.checked_add(a.min(b))?, out.rest.1.checked_add(a.max(b))?);
                    continue;
                }
            }
            if nest.mentions(factor, &inside.varying) || nest.has_load(factor) {
                return None;
            }
            out.uniform.insert(factor, c);
        }
        Some(out)
    }

    /// How many places the counters and the rests of both reach.
    fn span_with(&self, other: &Digits, counts: &[u32]) -> i128 {
        let rest = i128::from(self.rest.1.max(other.rest.1)) - i128::from(self.rest.0.min(other.rest.0)) + 1;
        self.counters.iter().fold(rest, |span, (&n, &c)| {
            let count = i128::from(counts.get(n).copied().unwrap_or(u32::MAX));
            span.saturating_add(i128::from(c).abs().saturating_mul(count - 1))
        })
    }

    /// Whether the counters follow from the index, whichever of the two it is.
    fn tells_with(&self, other: &Digits, counts: &[u32]) -> bool {
        let lowest = i128::from(self.rest.0.min(other.rest.0));
        let mut span = i128::from(self.rest.1.max(other.rest.1)) - lowest + 1;
        let mut digits: Vec<(i128, i128)> = self
            .counters
            .iter()
            .map(|(&n, &c)| (i128::from(c), i128::from(counts.get(n).copied().unwrap_or(u32::MAX))))
            .collect();
        digits.sort_unstable();
        for (coefficient, count) in digits {
            if coefficient < span {
                return false;
            }
            span = span.saturating_add(coefficient.saturating_mul(count - 1));
        }
        true
    }
}

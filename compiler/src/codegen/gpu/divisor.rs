//! Numbers that divide an index, whatever the sizes: units that move several elements at once want them aligned.

use std::collections::HashMap;

use super::linear::{Linear, Term};
use crate::nest::ir::{BinaryOp, ExprId, ExprKind, Nest, Stmt, UnaryOp, VarId};
use crate::nest::walk::for_each_stmt;

/// What a variable is made of.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A counter: from here in such steps.
    Counter(ExprId, i64),
    Same(ExprId),
}

/// Divisors of the expressions of a nest. Powers of two hold where numbers wrap, too.
#[derive(Debug)]
pub struct Divisors<'a> {
    nest: &'a Nest,
    /// For lookup only.
    sources: HashMap<VarId, Source>,
}

impl<'a> Divisors<'a> {
    /// Looks at where the variables of a nest come from.
    #[must_use]
    pub fn new(nest: &'a Nest) -> Divisors<'a> {
        let mut sources = HashMap::new();
        for phase in &nest.phases {
            sources.extend(phase.cores.iter().map(|c| (c.var, Source::Counter(c.lo, c.step))));
            for_each_stmt(&phase.body, &mut |s| {
                let source = match s {
                    Stmt::Loop { var, lo, step, .. } => Some((*var, Source::Counter(*lo, *step))),
                    Stmt::Let { var, value } => Some((*var, Source::Same(*value))),
                    _ => None,
                };
                sources.extend(source);
            });
        }
        Divisors { nest, sources }
    }

    /// A number that divides an expression; 0 divides zero only.
    #[must_use]
    pub fn of(&self, e: ExprId) -> u64 {
        match self.nest.exprs[e].kind {
            ExprKind::Const(v) => v.as_i64().unsigned_abs(),
            ExprKind::Var(v) => match self.sources.get(&v) {
                Some(Source::Counter(lo, step)) => gcd(self.of(*lo), step.unsigned_abs()),
                Some(Source::Same(value)) => self.of(*value),
                None => 1,
            },
            ExprKind::Unary(UnaryOp::Neg, a) => self.of(a),
            ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b)
            | ExprKind::Select(_, a, b) => gcd(self.of(a), self.of(b)),
            ExprKind::Binary(BinaryOp::Mul, a, b) => product(self.of(a), self.of(b)),
            _ => 1,
        }
    }

    /// A number that divides an index formula.
    #[must_use]
    pub fn of_linear(&self, formula: &Linear) -> u64 {
        formula.terms.iter().fold(formula.constant.unsigned_abs(), |d, (Term { extents, factor }, c)| {
            let own = extents.iter().chain(factor).fold(c.unsigned_abs(), |d, &e| product(d, self.of(e)));
            gcd(d, own)
        })
    }
}

/// The greatest common divisor; 0 has every one.
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A divisor of the product; both have one.
fn product(a: u64, b: u64) -> u64 {
    a.checked_mul(b).unwrap_or(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Builder;
    use crate::nest::ir::LoopKind;

    #[test]
    fn counters_keep_their_steps() {
        let mut b = Builder::new("t");
        let n = b.add_size("n");
        let zero = b.int(0);
        let (core, i) = b.core_loop("i", (zero, n, 48));
        let mut seen = Vec::new();
        let body = b.for_loop(LoopKind::Serial, "j", (i, n, 32), |b, j| {
            let next = b.add_int(j, 8);
            let (bind, same) = b.bind("same", next);
            let (scaled, size) = (b.mul_int(same, 4), b.mul(n, next));
            let least = b.min(j, n);
            seen = vec![(zero, 0), (i, 48), (j, 16), (same, 8), (scaled, 32), (size, 8), (least, 1)];
            vec![bind]
        });
        b.add_phase(vec![core], vec![body]);
        let nest = b.finish();
        let divisors = Divisors::new(&nest);
        for (e, want) in seen {
            assert_eq!(divisors.of(e), want, "{:?}", nest.exprs[e]);
        }
    }
}

//! Quotients and remainders by a number, where what is divided is a multiple of it and something smaller: counters of loops
//! whose steps are such multiples, and points within a step.
//!
//! ```text
//! for j in 0..n step 32 { lanes v in 0..16 { w[(j + v) /+ 32, k, (j + v) %+ 32] } }  =>  w[j /+ 32, k, v]
//! ```

use std::collections::BTreeMap;

use super::build::Builder;
use super::ir::{BinaryOp, ExprId, ExprKind, LoopKind, Nest, Phase, Stmt, VarId};

/// Rewrites those of the expressions that are quotients or remainders of natural numbers, as far as they can be taken apart,
/// wherever a statement uses them, but for those of matrices, which move what was copied.
#[must_use]
pub fn take_apart(mut nest: Nest, divisions: &[ExprId]) -> Nest {
    let vars = Vars::of(&nest);
    let mut phases = std::mem::take(&mut nest.phases);
    let mut apart = Apart { b: Builder::from_nest(nest), known: BTreeMap::new() };
    for &e in divisions {
        if let Some(new) = apart.division(&vars, e) {
            apart.known.insert(e, new);
        }
    }
    if !apart.known.is_empty() {
        phases.iter_mut().for_each(|phase| apart.block(&mut phase.body));
    }
    Nest { phases, ..apart.b.finish() }
}

/// Writes expressions with others in place of some.
struct Apart {
    b: Builder,
    known: BTreeMap<ExprId, ExprId>,
}

impl Apart {
    /// What a division is, where it can be taken apart.
    fn division(&mut self, vars: &Vars, e: ExprId) -> Option<ExprId> {
        let nest = self.b.nest();
        let ExprKind::Binary(op @ (BinaryOp::DivNonNeg | BinaryOp::RemNonNeg), x, by) = nest.exprs[e].kind
        else {
            return None;
        };
        let n = nest.const_int(by).filter(|n| *n > 0)?;
        let mut terms = Vec::new();
        terms_of(nest, x, &mut terms);
        // What is left over from multiples of a part of the number does not reach the next of them.
        let parts = std::iter::successors(Some(n), |part| (part % 2 == 0).then_some(part / 2));
        let (part, whole, rest) = parts.filter(|part| *part > 1).find_map(|part| {
            let (whole, rest): (Vec<_>, Vec<_>) =
                terms.iter().copied().partition(|t| vars.factor(nest, *t) % part == 0);
            let most = rest.iter().try_fold(0i64, |sum, t| sum.checked_add(vars.most(nest, *t)?))?;
            (most < part).then_some((part, whole, rest))
        })?;
        let [whole, rest] = [whole, rest].map(|terms| {
            let zero = self.b.int(0);
            terms.into_iter().fold(zero, |sum, term| self.b.add(sum, term))
        });
        Some(match op {
            BinaryOp::DivNonNeg => self.b.binary(op, whole, by),
            _ if part == n => rest,
            _ => {
                let whole = self.b.binary(op, whole, by);
                self.b.add(whole, rest)
            }
        })
    }

    fn block(&mut self, body: &mut [Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Loop { lo, hi, body, .. } => {
                    [lo, hi].into_iter().for_each(|e| *e = self.expr(*e));
                    self.block(body);
                }
                Stmt::Let { value, .. } => *value = self.expr(*value),
                Stmt::Store { index, value, .. } | Stmt::Atomic { index, value, .. } => {
                    index.iter_mut().chain([value]).for_each(|e| *e = self.expr(*e));
                }
                Stmt::Prefetch { index, .. } => index.iter_mut().for_each(|e| *e = self.expr(*e)),
                Stmt::If { cond, then, otherwise } => {
                    *cond = self.expr(*cond);
                    self.block(then);
                    self.block(otherwise);
                }
                Stmt::SetStatus(_) | Stmt::Matrix(_) => {}
            }
        }
    }

    fn expr(&mut self, e: ExprId) -> ExprId {
        if let Some(known) = self.known.get(&e) {
            return *known;
        }
        let expr = self.b.nest().exprs[e].clone();
        let operands = expr.operands();
        let others: Vec<ExprId> = operands.iter().map(|o| self.expr(*o)).collect();
        let new = if others == operands { e } else { self.b.again(&expr, &others) };
        self.known.insert(e, new);
        new
    }
}

/// What is added up.
fn terms_of(nest: &Nest, e: ExprId, terms: &mut Vec<ExprId>) {
    match nest.exprs[e].kind {
        ExprKind::Binary(BinaryOp::Add, a, b) => {
            terms_of(nest, a, terms);
            terms_of(nest, b, terms);
        }
        _ => terms.push(e),
    }
}

/// What is known of the variables of a nest.
#[derive(Default)]
struct Vars {
    /// The greatest known number of which all values are multiples; 0 of what is always 0.
    factors: BTreeMap<VarId, i64>,
    /// The largest value of points within a step, which begin at 0.
    most: BTreeMap<VarId, i64>,
}

impl Vars {
    fn of(nest: &Nest) -> Vars {
        let mut vars = Vars::default();
        for Phase { cores, body, .. } in &nest.phases {
            for core in cores {
                let factor = gcd(vars.factor(nest, core.lo), core.step);
                vars.factors.insert(core.var, factor);
            }
            vars.block(nest, body);
        }
        vars
    }

    fn block(&mut self, nest: &Nest, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let { var, value } => {
                    let factor = self.factor(nest, *value);
                    self.factors.insert(*var, factor);
                }
                Stmt::Loop { var, lo, hi, step, kind, .. } => {
                    let factor = gcd(self.factor(nest, *lo), *step);
                    self.factors.insert(*var, factor);
                    if let (LoopKind::Lanes | LoopKind::Unrolled, Some(0..), Some(hi @ 1..)) =
                        (kind, nest.const_int(*lo), nest.const_int(*hi))
                    {
                        self.most.insert(*var, hi - 1);
                    }
                }
                _ => {}
            }
            stmt.blocks().for_each(|inner| self.block(nest, inner));
        }
    }

    /// A number of which all values are multiples.
    fn factor(&self, nest: &Nest, e: ExprId) -> i64 {
        let of = |e| self.factor(nest, e);
        match nest.exprs[e].kind {
            ExprKind::Const(v) => v.as_i64().checked_abs().unwrap_or(1),
            ExprKind::Var(v) => self.factors.get(&v).copied().unwrap_or(1),
            ExprKind::Binary(BinaryOp::Mul, a, b) => of(a).checked_mul(of(b)).unwrap_or(1),
            ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b)
            | ExprKind::Select(_, a, b) => gcd(of(a), of(b)),
            _ => 1,
        }
    }

    /// The largest value; `None` where it is not known, or may be less than 0.
    fn most(&self, nest: &Nest, e: ExprId) -> Option<i64> {
        match nest.exprs[e].kind {
            ExprKind::Const(v) => Some(v.as_i64()).filter(|v| *v >= 0),
            ExprKind::Var(v) => self.most.get(&v).copied(),
            ExprKind::Binary(BinaryOp::Add, a, b) => self.most(nest, a)?.checked_add(self.most(nest, b)?),
            ExprKind::Binary(BinaryOp::Mul, a, b) => self.most(nest, a)?.checked_mul(self.most(nest, b)?),
            _ => None,
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rooftile_artifact::DType;

    use super::*;
    use crate::nest::ir::Space;

    /// A nest that reads `w` in panels of `n`, in steps of `step` of which `points` are lanes.
    fn panels(n: i64, step: i64, points: i64) -> String {
        let mut b = Builder::new("k");
        let size = b.add_size("N");
        let (panels, within, zero) = (b.ceil_div(size, n), b.int(n), b.int(0));
        let w = b.add_buffer("w", DType::F32, &[panels, within], Space::Global(0));
        let y = b.add_buffer("y", DType::F32, &[size], Space::Global(1));
        let (core, j) = b.core_loop("j", (zero, size, step));
        let hi = b.int(points);
        let mut made = Vec::new();
        let lanes = b.for_loop(LoopKind::Lanes, "v", (zero, hi, 1), |b, v| {
            let at = b.add(j, v);
            let by = b.int(n);
            let index = [BinaryOp::DivNonNeg, BinaryOp::RemNonNeg].map(|op| b.binary(op, at, by));
            made.extend(index);
            let x = b.load(w, &index);
            vec![b.store(y, &[at], x)]
        });
        b.add_phase(vec![core], vec![lanes]);
        let text = take_apart(b.finish(), &made).to_string();
        text.lines().find(|l| l.contains("y[")).unwrap_or_default().trim().to_owned()
    }

    #[test]
    fn what_is_known_to_be_aligned_is_taken_apart() {
        assert_eq!(panels(32, 32, 16), "y[(j + v)] = w[(j /+ 32), v]");
        assert_eq!(panels(16, 32, 16), "y[(j + v)] = w[(j /+ 16), v]");
    }

    #[test]
    fn what_may_lie_across_panels_is_divided() {
        let divided = "y[(j + v)] = w[((j + v) /+ 16), ((j + v) %+ 16)]";
        assert_eq!(panels(16, 32, 32), divided);
        assert_eq!(panels(16, 24, 16), divided);
        // Parts of panels are enough.
        assert_eq!(panels(16, 24, 8), "y[(j + v)] = w[(j /+ 16), ((j %+ 16) + v)]");
    }
}

//! Which 8-bit integers come four at a time: side by side in memory, the first one where a word of 32 bits may start.

use std::collections::{BTreeSet, HashMap};

use rooftile_artifact::DType;

use super::divisor::Divisors;
use super::linear::{Linear, Meaning, Term};
use crate::nest::ir::{BufferId, ExprId, ExprKind, LoopKind, Nest, Space, Stmt, VarId};
use crate::nest::walk::for_each_stmt;

/// Elements of a word.
pub const BYTES: usize = 4;

/// Whether elements of one buffer, by their numbers, are a whole word.
#[must_use]
pub fn is_word(elements: [&Linear; BYTES], divisors: &Divisors<'_>) -> bool {
    let first = elements[0];
    let side_by_side = (0..).zip(elements).all(|(n, e)| {
        e.terms == first.terms && e.constant.checked_sub(n).is_some_and(|c| c == first.constant)
    });
    side_by_side && starts_word(first, divisors)
}

/// Whether an element is the first one of a word.
#[must_use]
pub fn starts_word(element: &Linear, divisors: &Divisors<'_>) -> bool {
    divisors.of_linear(element).is_multiple_of(BYTES as u64)
}

/// Buffers of 8-bit integers, shared by the threads of a group, of which a loop that is written out reads whole words.
#[must_use]
pub fn shared_words(nest: &Nest, divisors: &Divisors<'_>) -> BTreeSet<BufferId> {
    let mut finder = Finder { nest, divisors, lets: HashMap::new(), found: BTreeSet::new() };
    let mut in_blocks = BTreeSet::new();
    for phase in &nest.phases {
        for_each_stmt(&phase.body, &mut |s| match s {
            Stmt::Let { var, value } if !nest.has_load(*value) => {
                finder.lets.insert(*var, *value);
            }
            // A matrix unit wants elements one by one.
            Stmt::Matrix(op) => in_blocks.extend(op.block().map(|b| b.buffer)),
            _ => {}
        });
    }
    for phase in &nest.phases {
        finder.block(&phase.body, &mut Vec::new());
    }
    finder.found.difference(&in_blocks).copied().collect()
}

/// A counter of a loop that is written out, with its first value.
type Counter = (VarId, i64);

struct Finder<'a> {
    nest: &'a Nest,
    divisors: &'a Divisors<'a>,
    /// For lookup only.
    lets: HashMap<VarId, ExprId>,
    found: BTreeSet<BufferId>,
}

impl Finder<'_> {
    fn block(&mut self, block: &[Stmt], counters: &mut Vec<Counter>) {
        let nest = self.nest;
        for stmt in block {
            stmt.for_each_expr(|e| {
                nest.for_each_load(e, &mut BTreeSet::new(), &mut |buffer, index| {
                    if counters.iter().any(|&c| self.reads_words(buffer, index, c)) {
                        self.found.insert(buffer);
                    }
                });
            });
            let counter = self.counter(stmt);
            counters.extend(counter);
            stmt.blocks().for_each(|b| self.block(b, counters));
            if counter.is_some() {
                counters.pop();
            }
        }
    }

    /// The counter of a loop with enough passes for a word.
    fn counter(&self, stmt: &Stmt) -> Option<Counter> {
        let Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Unrolled, .. } = stmt else { return None };
        let (lo, hi) = (self.nest.const_int(*lo)?, self.nest.const_int(*hi)?);
        (hi.checked_sub(lo)? >= BYTES as i64).then_some((*var, lo))
    }

    /// Whether the passes of a loop read elements side by side, from the first one of a word on.
    fn reads_words(&self, buffer: BufferId, index: &[ExprId], (counter, lo): Counter) -> bool {
        let b = &self.nest.buffers[buffer];
        if b.space != Space::Shared || !matches!(b.dtype, DType::Int { bits: 8, .. }) {
            return false;
        }
        let meaning = |v: VarId| self.lets.get(&v).map_or(Meaning::Value, |&e| Meaning::Expr(e));
        let mut formula = Linear::of_element(self.nest, buffer, index, |_| true, &meaning);
        let is_counter = |t: &Term| {
            let factor = t.factor.map(|e| &self.nest.exprs[e].kind);
            t.extents.is_empty() && matches!(factor, Some(ExprKind::Var(v)) if *v == counter)
        };
        let Some(own) = formula.terms.keys().find(|t| is_counter(t)).cloned() else { return false };
        let unit = formula.terms.remove(&own) == Some(1);
        formula.constant = formula.constant.wrapping_add(lo);
        unit && starts_word(&formula, self.divisors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::Builder;

    /// Whether a loop of four passes over the last index, and over the first, finds words of a shared buffer.
    fn finds(dtype: DType, columns: i64, step: i64, by_rows: bool) -> bool {
        let mut b = Builder::new("t");
        let n = b.add_size("n");
        let (zero, four, rows, width) = (b.int(0), b.int(4), b.int(8), b.int(columns));
        let x = b.add_buffer("x", dtype, &[rows, width], Space::Shared);
        let y = b.add_buffer("y", dtype, &[n], Space::Global(0));
        let body = b.for_loop(LoopKind::Serial, "k", (zero, width, step), |b, k| {
            vec![b.for_loop(LoopKind::Unrolled, "u", (zero, four, 1), |b, u| {
                let (bind, at) = {
                    let sum = b.add(k, u);
                    b.bind("at", sum)
                };
                let v = if by_rows { b.load(x, &[at, zero]) } else { b.load(x, &[zero, at]) };
                vec![bind, b.store(y, &[zero], v)]
            })]
        });
        b.add_phase(Vec::new(), vec![body]);
        let nest = b.finish();
        !shared_words(&nest, &Divisors::new(&nest)).is_empty()
    }

    #[test]
    fn loops_that_are_written_out_read_words() {
        assert!(finds(DType::I8, 32, 4, false) && finds(DType::U8, 6, 8, false));
        assert!(!finds(DType::I8, 32, 2, false) && !finds(DType::I8, 32, 4, true));
        assert!(!finds(DType::I16, 32, 4, false));
    }

    #[test]
    fn neighbours_are_a_word_where_one_may_start() {
        let mut b = Builder::new("t");
        let (zero, n) = (b.int(0), b.add_size("n"));
        let (core, i) = b.core_loop("i", (zero, n, 8));
        b.add_phase(vec![core], Vec::new());
        let nest = b.finish();
        let divisors = Divisors::new(&nest);
        let at = |factor: ExprId, constant: i64| Linear {
            constant,
            terms: [(Term { extents: Vec::new(), factor: Some(factor) }, 1)].into(),
        };
        let word = |e: ExprId, constants: [i64; 4]| {
            let [a, b, c, d] = constants.map(|v| at(e, v));
            is_word([&a, &b, &c, &d], &divisors)
        };
        assert!(word(i, [4, 5, 6, 7]) && word(i, [-4, -3, -2, -1]));
        assert!(!word(i, [1, 2, 3, 4]) && !word(i, [4, 6, 5, 7]) && !word(n, [0, 1, 2, 3]));
    }
}

//! Sums of products of bytes in 32 bits, four products an instruction: points that are written out, whose bytes lie side
//! by side, in a word for all lanes or in one for each. Such sums wrap, so that their order keeps every bit.
//!
//! ```text
//! unrolled u of 4 { lanes l of 16 { s[l] += A[u] * B[l, u] } }  =>  s += dot(word of A, words of B)
//! ```

use std::collections::HashMap;
use std::rc::Rc;

use rooftile_artifact::DType;

use super::super::ssa::{Bin, Lane, Ssa, Ty};
use super::Emitter;
use super::address::{LaneStep, Place};
use super::lanes::{Lanes, Val};
use super::scope::Binding;
use super::transposed::Pass;
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Space, Stmt, VarId};

/// Bytes of a word.
const BYTES: usize = 4;

/// Names of bytes, widened or not.
type Lets = HashMap<VarId, ExprId>;

/// A factor: a byte in memory.
#[derive(Clone, Copy)]
struct Byte<'a> {
    buffer: BufferId,
    index: &'a [ExprId],
    signed: bool,
}

/// `sum[index] = before + a * b`, where `before` is `sum[index]`.
struct Term<'a> {
    sum: BufferId,
    index: &'a [ExprId],
    before: ExprId,
    factors: [Byte<'a>; 2],
}

/// The loop whose passes are taken four at a time.
struct Four {
    /// The first of them.
    pass: Pass,
    /// Whether code is written, or only looked whether it can be.
    write: bool,
}

/// Words of four bytes, one for all lanes or one for each.
struct Words<V> {
    chunks: Rc<[V]>,
    signed: bool,
    uniform: bool,
}

impl<'a, B: Ssa> Emitter<'a, B> {
    /// Writes all passes of a loop that does nothing but sum products of bytes. `false`, and nothing is written, where it is
    /// not that.
    pub(super) fn dots(&mut self, var: VarId, values: &Rc<[i64]>, body: &[Stmt]) -> bool {
        let whole = !values.is_empty() && values.len().is_multiple_of(BYTES);
        if self.lanes.is_some() || !self.b.has_dots() || !whole {
            return false;
        }
        let mut all = |write: bool| {
            (0..values.len()).step_by(BYTES).all(|at| {
                self.bound(var, Binding::Const(values[at]), |e| {
                    let four = Four { pass: e.pass(var, values, at), write };
                    e.dot_block(&four, body, &mut Lets::new())
                })
            })
        };
        all(false) && all(true)
    }

    fn dot_block(&mut self, four: &Four, body: &[Stmt], lets: &mut Lets) -> bool {
        body.iter().all(|stmt| {
            self.scopes.next_statement();
            match stmt {
                Stmt::Let { var, value } => {
                    lets.insert(*var, *value);
                    self.byte(*value, lets).is_some()
                }
                Stmt::Loop { var, lo, hi, step, kind: LoopKind::Unrolled, body } => {
                    let passes = self.constant_passes((*lo, *hi, *step));
                    passes.is_some_and(|passes| {
                        let mut passes = passes.into_iter();
                        passes.all(|n| self.bound(*var, Binding::Const(n), |e| e.dot_block(four, body, lets)))
                    })
                }
                Stmt::Loop { var, lo, hi, step, kind: LoopKind::Lanes, body } => {
                    let passes = self.constant_passes((*lo, *hi, *step));
                    let Some(values) = passes.filter(|p| p.len() > 1) else { return false };
                    self.in_lanes(*var, values, |e| e.dot_block(four, body, lets))
                }
                Stmt::Store { buffer, index, value } => {
                    let Some(term) = self.term(*buffer, index, *value, lets) else { return false };
                    match four.write {
                        true => self.add_dot(&term),
                        false => self.is_dot(&four.pass, &term, lets),
                    }
                }
                _ => false,
            }
        })
    }

    fn term<'t>(&self, sum: BufferId, index: &'t [ExprId], value: ExprId, lets: &Lets) -> Option<Term<'t>>
    where
        'a: 't,
    {
        let nest = self.nest;
        let DType::Int { bits: 32, .. } = nest.buffers[sum].dtype else { return None };
        let ExprKind::Binary(BinaryOp::Add, a, b) = nest.exprs[value].kind else { return None };
        let is_before = |e: ExprId| matches!(&nest.exprs[e].kind, ExprKind::Load { buffer, index: at } if *buffer == sum && at[..] == *index);
        let (before, product) = if is_before(a) { (a, b) } else { (b, a) };
        let ExprKind::Binary(BinaryOp::Mul, x, y) = nest.exprs[product].kind else { return None };
        let factors = [self.byte(x, lets)?, self.byte(y, lets)?];
        is_before(before).then_some(Term { sum, index, before, factors })
    }

    /// A byte that is read from memory, behind its names and what widens it.
    fn byte(&self, mut e: ExprId, lets: &Lets) -> Option<Byte<'a>> {
        let nest = self.nest;
        loop {
            match &nest.exprs[e].kind {
                ExprKind::Var(v) => e = *lets.get(v)?,
                ExprKind::Cast(a) if matches!(nest.exprs[*a].dtype, DType::Int { bits: 8, .. }) => e = *a,
                ExprKind::Load { buffer, index } => {
                    let place = &nest.buffers[*buffer];
                    let DType::Int { signed, bits: 8 } = place.dtype else { return None };
                    let memory = matches!(place.space, Space::Global(_) | Space::Local);
                    return memory.then_some(Byte { buffer: *buffer, index, signed });
                }
                _ => return None,
            }
        }
    }

    /// Whether the bytes of four passes lie side by side, and are summed in one place that is not among them.
    fn is_dot(&mut self, pass: &Pass, term: &Term<'_>, lets: &Lets) -> bool {
        let nest = self.nest;
        let sum = nest.buffers[term.sum].space;
        let apart = |b: &Byte<'_>| {
            b.buffer != term.sum && (nest.buffers[b.buffer].space != sum || sum == Space::Local)
        };
        // An index needs no memory, nor what was read of it.
        let reads = |kind: &ExprKind| match kind {
            ExprKind::Load { .. } => true,
            ExprKind::Var(v) => lets.contains_key(v),
            _ => false,
        };
        let [a, b] = term.factors.map(|byte| byte.index);
        let plain = ![term.index, a, b].iter().copied().flatten().any(|e| nest.any(*e, reads));
        if !plain || !term.factors.iter().all(apart) {
            return false;
        }
        let beside = [a, b].into_iter().all(|index| self.moves(pass, index) == Some(1));
        if !beside || self.moves(pass, term.index) != Some(0) {
            return false;
        }
        let steps = term.factors.map(|byte| match self.place(byte.buffer, byte.index).0 {
            Place::Strided { step: LaneStep::Const(step), .. } => step,
            _ => -1,
        });
        let word = BYTES as i64;
        let alone = self.lane_count().is_none();
        alone || steps.iter().all(|s| [0, word].contains(s)) && steps.contains(&word)
    }

    /// Adds four products to each lane's sum, or to the only one.
    fn add_dot(&mut self, term: &Term<'_>) -> bool {
        let dtype = self.nest.buffers[term.sum].dtype;
        let before = self.eval(term.before);
        let words = term.factors.map(|byte| self.words_of(byte));
        let sums = match self.lane_count() {
            Some(n) => {
                let before = self.per_lane(&before, dtype, Lane::I32, n);
                let chunks = before.chunks.iter().enumerate();
                let sums = chunks.map(|(c, before)| self.dot(*before, &words, c));
                Val::Lanes(Lanes { ty: Lane::I32, chunks: sums.collect() })
            }
            None => {
                let before = self.extract_current(&before, dtype);
                let before = self.b.lane_zero(before);
                let sum = self.dot(before, &words, 0);
                Val::Uniform(self.b.extract(sum, 0))
            }
        };
        self.store_value(term.sum, term.index, &sums);
        true
    }

    /// The words of four bytes, by chunks.
    fn words_of(&mut self, byte: Byte<'_>) -> Words<B::Value> {
        let signed = byte.signed;
        let (at, apart) = match self.place(byte.buffer, byte.index).0 {
            Place::Strided { base, displacement, step } => {
                (self.at(byte.buffer, base, displacement), !matches!(step, LaneStep::Const(0)))
            }
            // Looked at before.
            Place::Scattered => (self.element(byte.buffer, byte.index), false),
        };
        match self.lane_count() {
            Some(n) if apart => {
                let chunks = self.load_lanes(Lane::I32, n, at).chunks;
                Words { chunks, signed, uniform: false }
            }
            lanes => {
                let word = self.b.load(Ty::scalar(Lane::I32), at);
                let word = if lanes.is_some() { self.b.splat(word) } else { self.b.lane_zero(word) };
                let chunks = lanes.map_or(1, |n| n.div_ceil(self.per_chunk(Lane::I32)));
                Words { chunks: std::iter::repeat_n(word, chunks).collect(), signed, uniform: true }
            }
        }
    }

    /// `sum + dot(a, b)`. Of two factors that both have a sign, or neither, one becomes the other kind, 128 away, and what
    /// that adds is taken off.
    fn dot(&mut self, sum: B::Value, [of_a, of_b]: &[Words<B::Value>; 2], chunk: usize) -> B::Value {
        let (a, b) = (of_a.chunks[chunk], of_b.chunks[chunk]);
        if of_a.signed != of_b.signed {
            let (unsigned, signed) = if of_a.signed { (b, a) } else { (a, b) };
            return self.b.dot(sum, unsigned, signed).unwrap_or(sum);
        }
        // What is the same for all lanes is shared by more sums as it is.
        let (moved, other) = if of_a.uniform { (b, a) } else { (a, b) };
        let ty = self.vector_of(Lane::I32);
        let (tops, zero) = (self.b.int(ty, 0x8080_8080), self.b.int(ty, 0));
        let moved = self.b.binary(Bin::Xor, moved, tops);
        let (whole, added) = if of_a.signed {
            (self.b.dot(sum, moved, other), self.b.dot(zero, tops, other))
        } else {
            (self.b.dot(sum, other, moved), self.b.dot(zero, other, tops))
        };
        self.b.binary(Bin::Sub, whole.unwrap_or(sum), added.unwrap_or(zero))
    }
}

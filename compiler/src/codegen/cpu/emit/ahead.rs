//! What is read side by side is asked for ahead, where there is time meanwhile: where stores go past the caches, and where
//! functions of many steps are computed.
//!
//! ```text
//! for i { for j { s += exp(X[i,j]) } }   =>   for i { for j { s += exp(X[i,j]); ask for X[i+1,j] } }
//! ```
//!
//! So it is for buffers of which the nest does not say itself what is fetched ahead.
//!
//! The processor's own prefetching ends with each page of 4 KiB, and does not know while a row is read a second time that the
//! next one follows.

use super::super::ssa::{At, Bin, Cmp, Ssa, Ty};
use super::memory::chunk_at;
use super::{Emitter, Stride};
use crate::nest::ir::{BufferId, ExprId, ExprKind, Space, Stmt};
use crate::nest::walk::for_each_stmt;

/// How many bytes ahead, where rows are shorter or longer than these.
const AHEAD: i64 = 16 << 10;
const SHORT_ROW: i64 = 2 << 10;
const LONG_ROW: i64 = 256 << 10;

/// Bytes of a line of the caches.
const LINE: u32 = 64;

/// Something that is read from memory line by line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream<V> {
    buffer: BufferId,
    at: At<V>,
}

impl<B: Ssa> Emitter<'_, B> {
    /// How many bytes ahead a buffer is asked for, by what lies between rows: the next row.
    pub(super) fn row_ahead(&mut self, row: Option<Stride<B::Value>>, bytes: usize) -> B::Value {
        let ahead = self.int64(AHEAD);
        let Some(row) = row else { return ahead };
        let scale = row.factor.wrapping_mul(bytes as i64);
        let Some((_, symbol)) = row.symbol else {
            return if (SHORT_ROW..=LONG_ROW).contains(&scale) { self.int64(scale) } else { ahead };
        };
        let row = self.op_const(Bin::Mul, symbol, scale);
        let long = self.greater_const(row, LONG_ROW);
        let row_or_less = self.b.select(long, ahead, row);
        let short = self.compare_const(Cmp::Lt, row, SHORT_ROW);
        self.b.select(short, ahead, row_or_less)
    }

    /// Notes lines that whole vectors are read from, each once.
    pub(super) fn note_stream(&mut self, buffer: BufferId, ty: Ty, n: usize, at: At<B::Value>) {
        if !matches!(self.nest.buffers[buffer].space, Space::Global(_)) {
            return;
        }
        for c in 0..n / usize::from(ty.count) {
            let at = chunk_at(at, ty, c);
            let near = |s: &Stream<B::Value>| {
                s.at.base == at.base && s.at.displacement.abs_diff(at.displacement) < LINE
            };
            if !self.streams.iter().any(near) {
                self.streams.push(Stream { buffer, at });
            }
        }
    }

    /// Asks for what follows streams.
    pub(super) fn ask_ahead(&mut self, streams: &[Stream<B::Value>]) {
        for Stream { buffer, at } in streams {
            if let Some(ahead) = self.ahead[buffer.index()] {
                let base = self.b.binary(Bin::Add, at.base, ahead);
                self.b.prefetch(At { base, ..*at });
            }
        }
    }

    /// Asks for an element, or that of each lane, where there is an instruction for it.
    pub(super) fn prefetch(&mut self, buffer: BufferId, index: &[ExprId]) {
        if !self.b.can_prefetch() {
            return;
        }
        for l in 0..self.lane_count().unwrap_or(1) {
            let at = self.in_lane(l, |e| e.element(buffer, index));
            self.b.prefetch(at);
        }
    }

    /// Whether functions of many steps are computed.
    pub(super) fn calls_functions(&self, body: &[Stmt]) -> bool {
        let mut calls = false;
        for_each_stmt(body, &mut |s| {
            if let Stmt::Store { value, .. } | Stmt::Let { value, .. } = s {
                calls = calls || self.nest.any(*value, |kind| matches!(kind, ExprKind::Math(..)));
            }
        });
        calls
    }
}

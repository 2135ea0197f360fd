//! Stores of bytes and half words whose lanes are a word apart while points that are written out lie side by side: the
//! points of a lane are put together to its word.
//!
//! ```text
//! unrolled u of 4 { lanes l of 16 { Y[l, u] = x } }  =>  x of each u; 16 words at once
//! ```

use std::rc::Rc;

use super::super::ssa::{Bin, Lane, Ssa};
use super::Emitter;
use super::address::{LaneStep, Place};
use super::lanes::{Lanes, lane_of};
use super::transposed::Block;
use crate::nest::ir::{Stmt, VarId};

/// Bytes of a word.
const WORD: usize = 4;

impl<B: Ssa> Emitter<'_, B> {
    /// Writes all passes of a loop whose lanes store parts of their words. `false`, and nothing is stored, where it is not
    /// that.
    pub(super) fn store_words(&mut self, var: VarId, values: &Rc<[i64]>, body: &[Stmt]) -> bool {
        let Some(block) = self.store_alone(body).filter(|b| b.values.len() == 1) else { return false };
        let lane = lane_of(self.nest.buffers[block.buffer].dtype);
        let parts = WORD / lane.bytes();
        if parts < 2 || values.is_empty() || !values.len().is_multiple_of(parts) || block.lanes.len() < 2 {
            return false;
        }
        for first in (0..values.len()).step_by(parts) {
            let Some(words) = self.words(var, (values, first), &block, parts) else { return false };
            self.in_block(var, (values, first), &block, |e| {
                e.block(block.before);
                if let Place::Strided { base, displacement, .. } = e.place(block.buffer, block.index).0 {
                    let at = e.at(block.buffer, base, displacement);
                    e.store_lanes(&words, block.lanes.len(), at);
                }
            });
            self.scopes.memory_written();
        }
        true
    }

    /// What some passes from the first on store, put together; `None` where they do not lie side by side.
    fn words(
        &mut self,
        var: VarId,
        (values, first): (&Rc<[i64]>, usize),
        block: &Block<'_>,
        parts: usize,
    ) -> Option<Lanes<B::Value>> {
        let dtype = self.nest.buffers[block.buffer].dtype;
        let (lane, n) = (lane_of(dtype), block.lanes.len());
        let mut words: Option<Lanes<B::Value>> = None;
        for part in 0..parts {
            let row = self.in_block(var, (values, first + part), block, |e| {
                e.block(block.before);
                if part == 0 && !e.is_word_apart(block) {
                    return None;
                }
                let v = e.eval(block.values[0]);
                Some(e.per_lane(&v, dtype, lane, n))
            })?;
            let wide = self.resize(&row, Lane::I32, false, n);
            let bits = u32::try_from(part).unwrap_or(0) * lane.bits();
            words = Some(match words {
                None => wide,
                Some(before) => self.map2(&before, &wide, Lane::I32, |e, before, v| {
                    let v = e.shift_const(Bin::Shl, v, bits);
                    e.b.binary(Bin::Or, before, v)
                }),
            });
        }
        words
    }

    /// Whether the pass at hand stores next to the one after it, and its lanes a word apart.
    fn is_word_apart(&mut self, block: &Block<'_>) -> bool {
        let beside = self.passes_around.last().cloned().is_some_and(|p| self.is_beside(&p, block.index));
        beside
            && matches!(
                self.place(block.buffer, block.index).0,
                Place::Strided { step: LaneStep::Const(step), .. } if step == WORD as i64
            )
    }
}

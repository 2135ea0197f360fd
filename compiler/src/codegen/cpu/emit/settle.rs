//! Loops that are left once no pass changes anything any more; which ones those are says [`crate::nest::settle`].

use std::collections::BTreeMap;

use super::super::ssa::{Bin, Lane, Ssa, Un};
use super::Emitter;
use super::lanes::Val;
use crate::nest::ir::ExprId;
use crate::nest::settle::Changes;

/// The loop that is being written, and what it found so far of whether this pass changes anything.
#[derive(Debug)]
pub(super) struct Watch<V> {
    changes: BTreeMap<ExprId, Changes>,
    /// Values that were looked at, and what they must be.
    seen: Vec<(V, bool)>,
    /// Something may change where one of these holds.
    truths: Vec<V>,
    /// And where a lane of one of these does.
    masks: BTreeMap<Lane, V>,
}

impl<V> Watch<V> {
    pub(super) fn new(changes: BTreeMap<ExprId, Changes>) -> Watch<V> {
        Watch { changes, seen: Vec::new(), truths: Vec::new(), masks: BTreeMap::new() }
    }
}

impl<B: Ssa> Emitter<'_, B> {
    /// Notes whether a store that is about to be written changes anything, where the loop around wants to know.
    pub(super) fn watch(&mut self, value: ExprId) {
        let Some(mut watch) = self.watch.take() else { return };
        for (condition, holds) in watch.changes.get(&value).cloned().unwrap_or_default() {
            match self.eval(condition) {
                Val::Uniform(v) => {
                    if !watch.seen.contains(&(v, holds)) {
                        watch.seen.push((v, holds));
                        let truth = if holds { v } else { self.op_const(Bin::Xor, v, 1) };
                        watch.truths.push(truth);
                    }
                }
                Val::Lanes(lanes) => {
                    let (n, per) = (self.lane_count().unwrap_or(1), self.per_chunk(lanes.ty));
                    for (c, &chunk) in lanes.chunks.iter().enumerate() {
                        if watch.seen.contains(&(chunk, holds)) {
                            continue;
                        }
                        watch.seen.push((chunk, holds));
                        let mut mask = if holds { chunk } else { self.b.unary(Un::Not, chunk) };
                        let used = n - c * per;
                        if used < per {
                            let those = self.lane_mask(lanes.ty, |l| l < used);
                            mask = self.b.binary(Bin::And, mask, those);
                        }
                        let before = watch.masks.get(&lanes.ty).copied();
                        let all = before.map_or(mask, |before| self.b.binary(Bin::Or, before, mask));
                        watch.masks.insert(lanes.ty, all);
                    }
                }
            }
        }
        self.watch = Some(watch);
    }

    /// Whether anything may have changed in the pass that was written.
    pub(super) fn watched(&mut self, watch: Watch<B::Value>) -> Option<B::Value> {
        let masks = watch.masks.into_values().map(|mask| self.b.any_true(mask));
        let truths: Vec<B::Value> = masks.collect();
        truths.into_iter().chain(watch.truths).reduce(|a, b| self.b.binary(Bin::Or, a, b))
    }
}

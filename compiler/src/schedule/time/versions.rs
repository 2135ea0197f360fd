//! Which state each stage of several steps reads and gives: tensors that take each other's place are told apart by
//! what made their content.

use std::collections::{BTreeMap, BTreeSet};

use super::stencil::Reach;
use super::step::Step;
use crate::hir::ir::TensorId;

/// The content of a tensor of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// What a tensor of the pipeline held before the first step.
    Old(TensorId),
    /// What a stage stores to a tensor of its kernel.
    New(usize, TensorId),
}

/// A launch of one step.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Number of the call.
    pub(super) call: usize,
    /// Number of the step, from 0.
    pub(super) step: i64,
    /// What each tensor of the kernel that is read holds.
    pub(super) reads: BTreeMap<TensorId, Version>,
    /// What is written.
    pub(super) writes: Vec<Version>,
    /// How far the stage's part of the grid goes beyond the block, along each axis of the step.
    pub(super) growth: Reach,
}

/// Several steps in a row.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    /// From first to last.
    pub(super) all: Vec<Stage>,
    /// The versions that tensors of the pipeline must hold in the end.
    pub(super) results: BTreeMap<TensorId, Version>,
    /// The last stage that reads a version.
    pub(super) last: BTreeMap<Version, usize>,
}

impl Stages {
    /// `steps` steps in a row.
    pub(super) fn new(step: &Step, steps: i64) -> Stages {
        let mut holds: BTreeMap<TensorId, Version> = BTreeMap::new();
        let mut all: Vec<Stage> = Vec::new();
        for s in 0..steps {
            for (c, call) in step.calls.iter().enumerate() {
                let of = |t: &TensorId| call.tensors[t.index()];
                let reads = call.stencil.state.iter().filter(|(_, f)| f.reads.is_some());
                let reads = reads
                    .map(|(t, _)| (*t, holds.get(&of(t)).copied().unwrap_or(Version::Old(of(t)))))
                    .collect();
                let written = call.stencil.state.iter().filter(|(_, f)| f.written).map(|(t, _)| *t);
                let written: Vec<TensorId> = written.collect();
                let writes: Vec<Version> = written.iter().map(|t| Version::New(all.len(), *t)).collect();
                holds.extend(written.iter().map(of).zip(writes.iter().copied()));
                all.push(Stage { call: c, step: s, reads, writes, growth: vec![(0, 0); step.axes] });
            }
            for (a, b) in &step.swaps {
                let [x, y] = [a, b].map(|t| holds.get(t).copied().unwrap_or(Version::Old(*t)));
                holds.extend([(*a, y), (*b, x)]);
            }
        }
        let mut last = BTreeMap::new();
        for (n, stage) in all.iter().enumerate() {
            last.extend(stage.reads.values().map(|v| (*v, n)));
        }
        // What is read before it is written is the state that one block of steps hands on to the next.
        let handed: BTreeSet<TensorId> =
            last.keys().filter_map(|v| if let Version::Old(t) = v { Some(*t) } else { None }).collect();
        let results = holds
            .into_iter()
            .filter(|(t, v)| (handed.contains(t) || step.seen.contains(t)) && *v != Version::Old(*t))
            .collect();
        let mut stages = Stages { all, results, last };
        stages.grow(step);
        stages
    }

    /// What a stage gives has to reach as far as later stages read.
    fn grow(&mut self, step: &Step) {
        for n in (0..self.all.len()).rev() {
            let reader = self.all[n].clone();
            let call = &step.calls[reader.call];
            for (tensor, version) in &reader.reads {
                let (Version::New(writer, _), Some(reach)) = (version, &call.stencil.state[tensor].reads)
                else {
                    continue;
                };
                for (own, axis) in call.axes.iter().enumerate() {
                    let (before, after) = reader.growth[*axis];
                    let needed = (before + reach[own].0, after + reach[own].1);
                    let growth = &mut self.all[*writer].growth[*axis];
                    *growth = (growth.0.max(needed.0), growth.1.max(needed.1));
                }
            }
        }
    }

    /// The most that any stage goes beyond the block.
    pub(super) fn halo(&self) -> Reach {
        let mut halo = self.all.first().map(|s| s.growth.clone()).unwrap_or_default();
        for stage in &self.all {
            for (most, own) in halo.iter_mut().zip(&stage.growth) {
                *most = (most.0.max(own.0), most.1.max(own.1));
            }
        }
        halo
    }

    /// Whether a version goes to memory of the chunk: a later stage reads it, or nobody ever does.
    pub(super) fn needs_window(&self, version: Version) -> bool {
        self.last.contains_key(&version) || self.results_of(version).next().is_none()
    }

    /// The tensors of the pipeline that hold a version in the end.
    pub(super) fn results_of(&self, version: Version) -> impl Iterator<Item = TensorId> {
        self.results.iter().filter(move |(_, v)| **v == version).map(|(t, _)| *t)
    }
}

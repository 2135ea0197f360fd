//! The state of a search: a function of the records so far and of nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Archive, Elite, Offer};
use crate::candidate::{CandidateId, Recipe};
use crate::record::{Outcome, Record};

/// Everything that the loop and the strategies look at.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Candidates in order of number.
    pub records: Vec<Record>,
    /// Best of each kind.
    pub archive: Archive,
    /// The candidate to beat.
    pub incumbent: Option<CandidateId>,
    /// Its seconds at each search size, as measured last.
    pub incumbent_s: Vec<Option<f64>>,
    /// What the archive said to the last candidate.
    pub last_offer: Option<Offer>,
    /// Numbers of each kind.
    pub counts: Counts,
    keys: BTreeSet<String>,
    nests: BTreeMap<String, CandidateId>,
}

/// Totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Candidates measured or rejected: everything but duplicates.
    pub evaluations: u64,
    /// Candidates timed.
    pub measured: u64,
    /// Candidates for which code was made.
    pub compiled: u64,
    /// Candidates with the nest of an earlier one.
    pub duplicates: u64,
    /// Candidates rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Changes of the incumbent.
    pub promotions: u64,
    /// Challenges of the incumbent.
    pub challenges: u64,
}

impl State {
    /// Takes in the next record.
    pub fn apply(&mut self, record: Record) {
        self.keys.insert(record.proposal.recipe.key());
        self.last_offer = None;
        self.counts.compiled += u64::from(record.compiled);
        match &record.outcome {
            Outcome::Duplicate { .. } => self.counts.duplicates += 1,
            Outcome::Failed { reason, .. } => {
                self.counts.evaluations += 1;
                *self.counts.rejected.entry(reason.name().to_owned()).or_default() += 1;
            }
            Outcome::Measured => {
                self.counts.evaluations += 1;
                self.counts.measured += 1;
            }
        }
        if let Some(nest) = &record.nest {
            self.nests.entry(nest.clone()).or_insert(record.id);
        }
        if let (Outcome::Measured, Some(descriptor), Some(score)) =
            (&record.outcome, record.descriptor, record.score)
        {
            let recipe = record.proposal.recipe.clone();
            self.last_offer = Some(self.archive.offer(Elite {
                id: record.id,
                recipe,
                descriptor,
                score,
                full: record.full(),
            }));
        }
        if record.challenge.is_some() {
            self.counts.challenges += 1;
        }
        self.counts.promotions += u64::from(record.promoted());
        if record.promoted() || (self.incumbent.is_none() && record.full()) {
            self.incumbent = Some(record.id);
            self.incumbent_s.clone_from(&record.times);
        } else if let Some(challenge) = &record.challenge {
            self.incumbent_s = challenge.incumbent_s.iter().copied().map(Some).collect();
        }
        self.records.push(record);
    }

    /// The number that the next candidate gets.
    #[must_use]
    pub fn next_id(&self) -> CandidateId {
        self.records.len() as CandidateId
    }

    /// A candidate by number.
    #[must_use]
    pub fn record(&self, id: CandidateId) -> Option<&Record> {
        usize::try_from(id).ok().and_then(|n| self.records.get(n))
    }

    /// The candidate to beat.
    #[must_use]
    pub fn incumbent(&self) -> Option<&Record> {
        self.incumbent.and_then(|id| self.record(id))
    }

    /// Whether a recipe was proposed before.
    #[must_use]
    pub fn seen(&self, recipe: &Recipe) -> bool {
        self.keys.contains(&recipe.key())
    }

    /// The first candidate with that nest.
    #[must_use]
    pub fn same_nest(&self, nest: &str) -> Option<CandidateId> {
        self.nests.get(nest).copied()
    }

    /// The best score of any right candidate.
    #[must_use]
    pub fn best_score(&self) -> Option<f64> {
        self.archive.iter().map(|e| e.score).max_by(f64::total_cmp)
    }

    /// From a seed to a candidate, by first parents.
    #[must_use]
    pub fn lineage(&self, id: CandidateId) -> Vec<&Record> {
        let mut out = Vec::new();
        let mut next = self.record(id);
        while let Some(record) = next {
            out.push(record);
            // Parents are older than their children, so this ends.
            next = record.proposal.parents.first().filter(|p| **p < record.id).and_then(|p| self.record(*p));
        }
        out.reverse();
        out
    }
}

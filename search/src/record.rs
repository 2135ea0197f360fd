//! What a run remembers of each candidate: everything that later decisions depend on, so that reading the records
//! back rebuilds the state of the search exactly.

use serde::{Deserialize, Serialize};

use crate::archive::Descriptor;
use crate::bench::{Failure, Reason};
use crate::candidate::{CandidateId, Proposal};
use crate::promote::Verdict;

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It was found right and timed.
    Measured,
    /// It lowers to the same nest as an earlier one, and was not run.
    Duplicate {
        /// The earlier one.
        of: CandidateId,
    },
    /// It was rejected.
    Failed {
        /// Why.
        reason: Reason,
        /// What exactly.
        detail: String,
    },
}

impl From<Failure> for Outcome {
    fn from(f: Failure) -> Outcome {
        Outcome::Failed { reason: f.reason, detail: f.detail }
    }
}

/// A challenge of the incumbent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// Who was challenged.
    pub incumbent: CandidateId,
    /// log(t_incumbent / t_challenger) of each round, the mean over the search sizes.
    pub logs: Vec<f64>,
    /// Median seconds of the incumbent in these pairs at each search size: the newest word on how fast it is, on a machine
    /// that drifts.
    #[serde(default)]
    pub incumbent_s: Vec<f64>,
    /// What the lower limit had to clear.
    pub threshold: f64,
    /// The decision.
    pub verdict: Verdict,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub id: CandidateId,
    /// What was tried.
    pub proposal: Proposal,
    /// Canonical hash of its nest, if it was legal.
    pub nest: Option<String>,
    /// Its place in the archive, if it was legal.
    pub descriptor: Option<Descriptor>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether code was made.
    pub compiled: bool,
    /// Seconds of code generation.
    pub compile_s: Option<f64>,
    /// Median seconds at each search size that was measured.
    pub times: Vec<Option<f64>>,
    /// Raw samples at each search size.
    pub samples: Vec<Vec<f64>>,
    /// Fitness over all search sizes; an estimate where not all were measured.
    pub score: Option<f64>,
    /// Whether it challenged the incumbent, and how that ended.
    pub challenge: Option<Challenge>,
    /// Seconds into the search when it was done.
    pub at_s: f64,
}

impl Record {
    /// Whether it took the incumbent's place (the first right candidate does so unchallenged).
    #[must_use]
    pub fn promoted(&self) -> bool {
        self.challenge.as_ref().is_some_and(|c| c.verdict == Verdict::Faster)
    }

    /// Whether every search size was measured.
    #[must_use]
    pub fn full(&self) -> bool {
        self.outcome == Outcome::Measured && self.times.iter().all(Option::is_some)
    }

    /// The outcome's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match &self.outcome {
            Outcome::Measured => "measured",
            Outcome::Duplicate { .. } => "duplicate",
            Outcome::Failed { reason, .. } => reason.name(),
        }
    }
}

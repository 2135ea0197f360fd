//! What the search asks of whatever runs candidates: a trait, so that a worker process, the process itself, a cost
//! model and a made-up landscape in a test all look the same to the loop.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::archive::Descriptor;
use crate::candidate::Recipe;

/// Values of size names (and of integer parameters that a task lists among its sizes).
pub type Sizes = BTreeMap<String, i64>;

/// `M=64,N=32`
#[must_use]
pub fn size_text(sizes: &Sizes) -> String {
    sizes.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
}

/// Why a candidate was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A verb does not apply, or a rule of the schedule is broken.
    Illegal,
    /// The target cannot run it.
    Unsupported,
    /// Even at the roof it would be slower than the incumbent.
    Bound,
    /// Code generation failed.
    Compile,
    /// An element differs from the oracle by more than its bounds.
    WrongResult,
    /// An element was not written.
    Unwritten,
    /// Something beside a buffer was overwritten, or a kernel reported an index out of bounds.
    OutOfBounds,
    /// An input was changed.
    InputModified,
    /// The process died.
    Crash,
    /// The time limit was reached.
    Timeout,
    /// The memory limit was reached.
    Memory,
    /// The task, or the machine, cannot run this size at all.
    Size,
    /// A bug of ours.
    Internal,
}

impl Reason {
    /// Its name, as stores, reports and `--json` give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Illegal => "illegal",
            Reason::Unsupported => "unsupported",
            Reason::Bound => "bound",
            Reason::Compile => "compile",
            Reason::WrongResult => "wrong_result",
            Reason::Unwritten => "unwritten",
            Reason::OutOfBounds => "out_of_bounds",
            Reason::InputModified => "input_modified",
            Reason::Crash => "crash",
            Reason::Timeout => "timeout",
            Reason::Memory => "memory",
            Reason::Size => "size",
            Reason::Internal => "internal",
        }
    }
}

/// A labelled failure of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Failure {
    /// Which kind.
    pub reason: Reason,
    /// What exactly, for people.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

impl Failure {
    /// A failure with its detail.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Failure {
        Failure { reason, detail: detail.into() }
    }
}

/// What is known of a size before anything runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SizeInfo {
    /// Seconds at the roof.
    pub roof_s: f64,
    /// What bounds it.
    pub bound: String,
    /// Floating-point operations, as the task counts them.
    pub flops: f64,
    /// Least bytes moved.
    pub bytes: f64,
}

/// A lowered candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Canonical hash of the lowered nest.
    pub nest: String,
    /// Its place in the archive.
    pub descriptor: Descriptor,
    /// For each size asked about, seconds that no run of this candidate can fall below; 0 where nothing is known.
    pub bound_s: Vec<f64>,
}

/// A candidate that passed every check at small sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Seconds of code generation.
    pub compile_s: f64,
    /// Bytes of code.
    pub code_bytes: usize,
}

/// How much timing a measurement may do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// A first run longer than this ends the measurement after one sample.
    pub cut_s: Option<f64>,
    /// No more than `min_samples` are taken of what is slower than this.
    pub beyond_s: Option<f64>,
    /// Fewest samples.
    pub min_samples: usize,
    /// Most samples.
    pub max_samples: usize,
    /// Seconds after which no further sample is begun.
    pub budget_s: f64,
}

impl Effort {
    /// The first look at a candidate: one run for what takes longer than `cut_s`, few for what takes longer than `beyond_s`.
    #[must_use]
    pub fn short(cut_s: Option<f64>, beyond_s: Option<f64>) -> Effort {
        Effort { cut_s, beyond_s, min_samples: 3, max_samples: 7, budget_s: 0.006 }
    }

    /// Survivors, and what is reported.
    #[must_use]
    pub fn full() -> Effort {
        Effort { cut_s: None, beyond_s: None, min_samples: 7, max_samples: 31, budget_s: 0.5 }
    }
}

/// A timing at one size, every element compared before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds per run, in the order in which they were taken; at least one.
    pub samples: Vec<f64>,
    /// Largest error relative to the oracle, as the task's tolerance measures it.
    pub max_rel_err: f64,
}

/// A candidate whose turn is near.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    /// What is to be run.
    pub recipe: &'a Recipe,
    /// The number of its random inputs, as [`Bench::verify`] will be given it.
    pub draw: u64,
}

/// Runs candidates.
pub trait Bench {
    /// Roof and work of a size.
    ///
    /// # Errors
    /// [`Failure`] when the size cannot be run or judged at all.
    fn size_info(&mut self, sizes: &Sizes) -> Result<SizeInfo, Failure>;

    /// Told which candidates come next, so that they can be lowered and checked side by side. Whoever does so answers
    /// [`Bench::prepare`] and [`Bench::verify`] exactly as if it did not. `seen` says whether a nest was evaluated before.
    fn ahead(&mut self, _sizes: &[Sizes], _upcoming: &[Upcoming<'_>], _seen: &(dyn Fn(&str) -> bool + Sync)) {
    }

    /// Lowers a candidate; makes no code.
    ///
    /// # Errors
    /// [`Failure`] when it is not legal on the target.
    fn prepare(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Prepared, Failure>;

    /// Compiles a candidate and checks it at small sizes. `draw` numbers the random inputs, so that every candidate
    /// meets some of its own.
    ///
    /// # Errors
    /// [`Failure`] with the first check that it failed.
    fn verify(&mut self, recipe: &Recipe, draw: u64) -> Result<Verified, Failure>;

    /// Compares every element at one size with the oracle, then times.
    ///
    /// # Errors
    /// [`Failure`] when the result is wrong or there is none.
    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, effort: Effort) -> Result<Measured, Failure>;

    /// Times two candidates in turns: seconds of each, `rounds` times. Both have been measured at the size before.
    ///
    /// # Errors
    /// [`Failure`] when one of them fails now.
    fn pair(
        &mut self,
        a: &Recipe,
        b: &Recipe,
        sizes: &Sizes,
        rounds: usize,
    ) -> Result<Vec<(f64, f64)>, Failure>;
}

/// Seconds since a run began. The library itself reads no clock.
pub trait Clock {
    /// Seconds since the start.
    fn seconds(&self) -> f64;
}

/// A clock that stands still, for runs that must repeat bit for bit.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClock;

impl Clock for NoClock {
    fn seconds(&self) -> f64 {
        0.0
    }
}

//! What a finished run has to say, as data: the command line prints it, the HTML report draws it, the store keeps it.

use std::collections::BTreeMap;

use rooftile_artifact::Profile;
use serde::{Deserialize, Serialize};

use crate::archive::Elite;
use crate::bench::Sizes;
use crate::candidate::{CandidateId, Class, Recipe};
use crate::finale::{Finalist, Set, SizeResult, Variant};
use crate::fitness::geometric_mean;
use crate::promote::{Ratio, combine};

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The time was used up.
    Time,
    /// The evaluations were used up.
    Evaluations,
    /// The user asked for it.
    Interrupted,
    /// The incumbent is so close to the roof that little is left to gain.
    Headroom,
    /// The strategy had nothing left to try.
    Exhausted,
    /// No candidate works: every seed failed.
    NoSeed,
}

/// Figures of the three sets of sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerSet<T> {
    /// Sizes that drove the search.
    pub search: Option<T>,
    /// Sizes that selected the winner.
    pub heldout: Option<T>,
    /// Sizes read once.
    pub sealed: Option<T>,
}

impl<T> PerSet<T> {
    /// The figure of each set.
    pub fn of(mut f: impl FnMut(Set) -> Option<T>) -> PerSet<T> {
        PerSet { search: f(Set::Search), heldout: f(Set::Heldout), sealed: f(Set::Sealed) }
    }
}

/// A step from the seed to the winner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The candidate.
    pub id: CandidateId,
    /// What made it.
    pub operator: String,
    /// The class of that move.
    pub class: Class,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its fitness.
    pub score: Option<f64>,
}

/// A period of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Seconds since the search began.
    pub at_s: f64,
    /// Evaluations so far.
    pub evaluations: u64,
    /// Fitness of the incumbent.
    pub incumbent: Option<f64>,
    /// Best score of any candidate.
    pub best: Option<f64>,
    /// Cells of the archive that are filled.
    pub cells: usize,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The file's name.
    pub file: String,
    /// Kernel or pipeline.
    pub task: String,
    /// Device.
    pub device: String,
    /// Threads of the kernels.
    pub threads: usize,
    /// The run's seed.
    pub seed: u64,
    /// The strategy's name.
    pub strategy: String,
    /// Why it ended.
    pub stop: Stop,
    /// Seconds from the first candidate to the end of the search; checks and pairs at the end not counted.
    pub search_s: f64,
    /// Candidates measured or rejected, duplicates not counted.
    pub evaluations: u64,
    /// Of those, per second.
    pub evaluations_per_s: Option<f64>,
    /// Candidates compiled, compared whole with the oracle and timed.
    pub measured: u64,
    /// Of those, per second.
    pub measured_per_s: Option<f64>,
    /// Candidates for which code was made.
    pub compiled: u64,
    /// Median seconds of code generation.
    pub compile_s: Option<f64>,
    /// Candidates with the nest of an earlier one.
    pub duplicates: u64,
    /// Rejected candidates by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Changes of the incumbent.
    pub promotions: u64,
    /// Challenges of the incumbent.
    pub challenges: u64,
    /// What a gain in log time had to exceed.
    pub noise: f64,
    /// The winner; `None` when nothing was right.
    pub winner: Option<CandidateId>,
    /// The winner's recipe.
    pub recipe: Option<Recipe>,
    /// Schedules that run instead of the winner's where their conditions hold, the first of them that does.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// The seed: the file's schedule, or the default where it has none.
    pub seed_candidate: Option<CandidateId>,
    /// From the seed to the winner.
    pub lineage: Vec<Ancestor>,
    /// How each finalist did on the held-out sizes.
    pub finalists: Vec<Finalist>,
    /// The winner at every size.
    pub results: Vec<SizeResult>,
    /// The map of elites.
    pub archive: Vec<Elite>,
    /// The course of the search.
    pub progress: Vec<Generation>,
    /// For each search size, in the order of `results`, the time of every right candidate.
    pub candidate_times: Vec<Vec<f64>>,
    /// The machine as it was measured.
    pub profile: Option<Profile>,
    /// Things that the reader must see.
    pub warnings: Vec<String>,
}

impl RunReport {
    /// Results of one set.
    pub fn of(&self, set: Set) -> impl Iterator<Item = &SizeResult> {
        self.results.iter().filter(move |r| r.set == set)
    }

    /// Whether the winner was right at every size.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.winner.is_some() && self.results.iter().all(|r| r.failure.is_none())
    }

    /// Geometric mean of the fractions of the roof of a set; `None` when one is missing.
    #[must_use]
    pub fn fraction(&self, set: Set) -> Option<f64> {
        let fractions: Option<Vec<f64>> = self.of(set).map(|r| r.fraction).collect();
        geometric_mean(&fractions?)
    }

    /// Geometric mean of a ratio over a set; `None` when one is missing.
    #[must_use]
    pub fn speedup(&self, set: Set, over: impl Fn(&SizeResult) -> Option<Ratio>) -> Option<Ratio> {
        let ratios: Option<Vec<Ratio>> = self.of(set).map(over).collect();
        combine(&ratios?)
    }

    /// The sizes of a set.
    #[must_use]
    pub fn sizes(&self, set: Set) -> Vec<Sizes> {
        self.of(set).map(|r| r.sizes.clone()).collect()
    }

    /// The line that `search --json` ends with.
    #[must_use]
    pub fn summary(&self, best: &str) -> serde_json::Value {
        let fractions = PerSet::of(|set| self.fraction(set));
        let speedup = |over: fn(&SizeResult) -> Option<Ratio>, name: &str| {
            serde_json::json!({
                "search": self.speedup(Set::Search, over).map(|r| r.median),
                "heldout": self.speedup(Set::Heldout, over).map(|r| r.median),
                "sealed": self.speedup(Set::Sealed, over).map(|r| r.median),
                "limits": PerSet::of(|set| self.speedup(set, over).map(|r| (r.lo, r.hi))),
                "over": name,
            })
        };
        let column =
            |f: fn(&SizeResult) -> Option<f64>| -> Vec<Option<f64>> { self.of(Set::Search).map(f).collect() };
        let variants: Vec<serde_json::Value> = self
            .variants
            .iter()
            .map(|v| {
                serde_json::json!({
                    "when": v.when.to_string(),
                    "candidate": v.candidate,
                    "over_winner": [v.over_winner.median, v.over_winner.lo, v.over_winner.hi],
                })
            })
            .collect();
        serde_json::json!({
            "file": self.file,
            "task": self.task,
            "device": self.device,
            "threads": self.threads,
            "seed": self.seed,
            "strategy": self.strategy,
            "verified": self.verified(),
            "seed_time_s": column(|r| r.seed_s),
            "best_time_s": column(|r| r.time_s.map(|t| t.0)),
            "fraction": fractions,
            "speedup": speedup(|r| r.over_naive, "naive"),
            "speedup_over_default": speedup(|r| r.over_default, "default"),
            "speedup_over_seed": speedup(|r| r.over_seed, "seed"),
            "evaluations": self.evaluations,
            "evaluations_per_s": self.evaluations_per_s,
            "measured": self.measured,
            "measured_per_s": self.measured_per_s,
            "compiled": self.compiled,
            "compile_s": self.compile_s,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "promotions": self.promotions,
            "challenges": self.challenges,
            "noise": self.noise,
            "search_s": self.search_s,
            "stop": self.stop,
            "warnings": self.warnings,
            "variants": variants,
            "best": best,
        })
    }
}

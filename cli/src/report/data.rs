//! What a report shows. Times are seconds; `fraction` is the roof's time over the measured time.

/// Everything on the page.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The task: kernel or pipeline.
    pub task: String,
    /// The file's name.
    pub file: String,
    /// Facts about run and machine: name and value.
    pub facts: Vec<(String, String)>,
    /// Figures at the top: name, value, and a word about it.
    pub headlines: Vec<(String, String, String)>,
    /// Sizes with their roofs, and what was measured there.
    pub roofline: Vec<SizePoints>,
    /// Bandwidths: name and bytes per second.
    pub bandwidths: Vec<(String, f64)>,
    /// Rates: name and operations per second.
    pub rates: Vec<(String, f64)>,
    /// Best fitness so far: seconds since the start, evaluations, fitness.
    pub progress: Vec<(f64, u64, f64)>,
    /// Where other schedules than the winner's run, and what that gains.
    pub by_size: Vec<String>,
    /// From the seed to the winner.
    pub lineage: Vec<Ancestor>,
    /// The winner against the seed as a unified diff.
    pub diff: String,
    /// The winner's file.
    pub winner: String,
    /// Rejected candidates by reason.
    pub rejections: Vec<(String, u64)>,
    /// Cells of the archive: descriptor by descriptor, fitness.
    pub archive: Vec<(Vec<String>, f64, u64)>,
    /// Results on sizes that the search did not see, and on those it did.
    pub results: Vec<ResultRow>,
    /// Warnings that the reader must see.
    pub warnings: Vec<String>,
}

/// One problem size on the roofline plot.
#[derive(Clone, Debug, Default)]
pub struct SizePoints {
    /// Size as text.
    pub size: String,
    /// Operations per byte.
    pub intensity: f64,
    /// Operations.
    pub flops: f64,
    /// The roof's time.
    pub roof_s: f64,
    /// Times of all correct candidates.
    pub candidates_s: Vec<f64>,
    /// Time of the naive schedule.
    pub naive_s: Option<f64>,
    /// Time of the default schedule.
    pub default_s: Option<f64>,
    /// Time of the winner.
    pub winner_s: Option<f64>,
}

/// A step of the winner's lineage.
#[derive(Clone, Debug, Default)]
pub struct Ancestor {
    /// Number of the candidate.
    pub id: u64,
    /// What made it from its parent.
    pub operator: String,
    /// Geometric mean of fractions.
    pub fitness: Option<f64>,
    /// Diff of its schedule from its parent's.
    pub diff: String,
}

/// How many times as fast, with 95 % limits where there were pairs enough for them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speedup {
    /// Median ratio.
    pub median: f64,
    /// Its limits.
    pub limits: Option<(f64, f64)>,
}

/// A row of the table of results.
#[derive(Clone, Debug, Default)]
pub struct ResultRow {
    /// `search`, `heldout` or `sealed`.
    pub set: String,
    /// Size as text.
    pub size: String,
    /// Why the result is not right; `None` where every element agreed with the oracle.
    pub failure: Option<String>,
    /// Median time of the winner, with its 95 % limits.
    pub time_s: Option<(f64, f64, f64)>,
    /// Fraction of the roof.
    pub fraction: Option<f64>,
    /// What bounds the roof.
    pub bound: String,
    /// Against the naive schedule.
    pub over_naive: Option<Speedup>,
    /// Against the default schedule.
    pub over_default: Option<Speedup>,
}

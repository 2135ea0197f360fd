//! Shared pieces of the suites that span crates. The suites are data: [`subject`] loads files, [`inputs`] makes cases ([`prepared`]: all of them),
//! [`schedules`] names ways to run them, [`backends`] runs them, [`judge`] compares every element with the oracle,
//! [`tally`] counts and says what was skipped. [`text`] damages texts, [`launch`] makes programs of nests.

pub mod backends;
pub mod inputs;
pub mod judge;
pub mod launch;
pub mod prepared;
pub mod schedules;
pub mod subject;
pub mod tally;
pub mod text;
pub mod vulkan;

use std::path::PathBuf;
use std::time::Duration;

/// The repository's root folder.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// How long a random suite may run: `ROOFTILE_FUZZ_SECONDS` (default 3).
#[must_use]
pub fn fuzz_time() -> Duration {
    let seconds = std::env::var("ROOFTILE_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    Duration::from_secs_f64(seconds)
}

/// A seed for a random suite: `ROOFTILE_FUZZ_SEED`, else fresh from the clock. It is printed, so that a failure can be
/// repeated.
#[must_use]
pub fn fuzz_seed(suite: &str) -> u64 {
    let fresh = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
    };
    let seed = std::env::var("ROOFTILE_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(fresh);
    println!("{suite}: ROOFTILE_FUZZ_SEED={seed}");
    seed
}

/// The examples, sorted by name.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn examples() -> Vec<PathBuf> {
    let folder = root().join("dsl-examples");
    let entries = std::fs::read_dir(&folder).expect("dsl-examples is part of the repository");
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "tile"))
        .collect();
    files.sort();
    files
}

/// Notes what a suite is about to do in `target/tmp/SUITE.last`: machine code that is wrong may end the process.
pub fn mark(suite: &str, what: &str) {
    let folder = root().join("target/tmp");
    // Only a help for people; a folder that cannot be written is no failure of the suite.
    let _ = std::fs::create_dir_all(&folder);
    let _ = std::fs::write(folder.join(format!("{suite}.last")), what);
}

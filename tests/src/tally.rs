//! Counts of a suite: what was compared, what failed, what was skipped. A skip is printed as a line that
//! `scripts/test` counts, never silent.

use std::collections::BTreeMap;

/// What a suite did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Comparisons that held.
    pub held: usize,
    /// What failed, with the first reason.
    pub failures: BTreeMap<String, String>,
    /// How often each failed.
    counts: BTreeMap<String, usize>,
    /// What was skipped, with the reason.
    pub skips: BTreeMap<String, String>,
}

impl Tally {
    /// Notes a comparison under a name; a name's first failure is printed at once, since a suite may run for hours.
    pub fn note(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.held += 1,
            Err(e) => {
                self.failures.entry(name.to_owned()).or_insert_with(|| {
                    println!("FAILED: {name}: {e}");
                    e
                });
                *self.counts.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    /// Notes that something was not tried.
    pub fn skip(&mut self, name: &str, why: impl Into<String>) {
        self.skips.entry(name.to_owned()).or_insert_with(|| why.into());
    }

    /// Prints the skips and the count.
    ///
    /// # Panics
    /// If anything failed that `known` does not name, or if fewer than `least` comparisons were made. What `known` names
    /// and no longer fails is printed, so that it is taken from the table.
    pub fn finish(self, suite: &str, known: &[(&str, &str)], least: usize) {
        for (what, why) in &self.skips {
            println!("SKIPPED: {suite}: {what} ({why})");
        }
        let is_known = |name: &str| known.iter().find(|(k, _)| *k == name);
        for (name, why) in known.iter().filter(|(k, _)| self.failures.contains_key(*k)) {
            println!("SKIPPED: {suite}: {name} (known to fail: {why})");
        }
        let shown: Vec<String> = self
            .failures
            .iter()
            .filter(|(name, _)| is_known(name).is_none())
            .map(|(name, e)| format!("{name} ({} times): {e}", self.counts[name]))
            .collect();
        println!("{suite}: {} comparisons, {} failures", self.held, self.failures.len());
        assert!(shown.is_empty(), "{}", shown.join("\n"));
        let filtered = std::env::var_os("ROOFTILE_ONLY").is_some();
        if !filtered {
            for (name, _) in known.iter().filter(|(k, _)| !self.failures.contains_key(*k)) {
                println!("{suite}: {name} no longer fails: take it from the table");
            }
            assert!(self.held >= least, "only {} comparisons", self.held);
        }
    }
}

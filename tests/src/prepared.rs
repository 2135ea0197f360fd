//! Every kernel and pipeline of every sample and example with cases at tiny, prime, odd and ragged sizes, and what each
//! must compute.

use std::sync::OnceLock;

use crate::inputs::{Case, cases};
use crate::judge::{Expected, expected};
use crate::subject::{Entry, entries};

/// An entry with its cases and what each must compute.
pub struct Prepared {
    /// The kernel or pipeline.
    pub entry: Entry,
    /// Inputs and results.
    pub cases: Vec<(Case, Expected)>,
}

/// All of them, made once.
///
/// # Panics
/// If the oracle fails at a case.
pub fn prepared() -> &'static [Prepared] {
    static PREPARED: OnceLock<Vec<Prepared>> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let prepare = |entry: Entry| {
            let judged = |case: Case| {
                let want = expected(entry, &case)
                    .unwrap_or_else(|e| panic!("{} at {}: {e}", entry.label(), case.what));
                (case, want)
            };
            Prepared { entry, cases: cases(entry, 1).into_iter().map(judged).collect() }
        };
        entries().into_iter().map(prepare).collect()
    })
}

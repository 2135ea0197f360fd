//! `rooftile worker`: evaluates candidates for a search, over standard input and output.

use crate::failure::Outcome;
use crate::interrupt;

/// Answers requests until the input ends.
///
/// # Errors
/// None; a failure is an answer.
pub fn run() -> Outcome {
    interrupt::ignore();
    rooftile_search::session::worker();
    Ok(())
}

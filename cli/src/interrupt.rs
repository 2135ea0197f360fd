//! Ctrl-C: the first asks a search to end with what it has, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a program that was interrupted, as shells give it.
const INTERRUPTED: i32 = 130;

/// A flag that the first Ctrl-C sets. Worker processes notice the end of the program by themselves: their input ends.
#[must_use]
pub fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    // Where no handler can be installed, Ctrl-C ends the program, and `resume` goes on.
    let _ = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            eprintln!("\nleft at once; `rooftile resume` goes on");
            std::process::exit(INTERRUPTED);
        }
        eprintln!("\nstopping; the winner so far is checked and written (Ctrl-C again leaves at once)");
    });
    flag
}

/// Lets Ctrl-C pass by: it reaches every process of a terminal, and a worker's end is for its search to decide.
pub fn ignore() {
    let _ = ctrlc::set_handler(|| ());
}

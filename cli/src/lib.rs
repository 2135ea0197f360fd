//! The `rooftile` command line: [`args`] says what may be asked, [`commands`] holds one file a subcommand.

use std::process::ExitCode;

use clap::Parser;

pub mod args;
pub mod commands;
pub mod engine;
pub mod failure;
pub mod interrupt;
pub mod judge;
pub mod npy;
pub mod output;
pub mod progress;
pub mod report;

/// Parses the command line, runs the command, and says with the exit code how it went. Diagnostics and failures go to
/// standard error. A panic is our bug: it is reported as one, with its own exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are successes; everything else is a usage error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::run(cli.command)));
    let failure = match outcome {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => failure,
        Err(_) => failure::Failure::Bug("a check of ours failed; see the message above".to_owned()),
    };
    let text = failure.to_string();
    if !text.is_empty() {
        eprintln!("{text}");
    }
    failure.exit_code()
}

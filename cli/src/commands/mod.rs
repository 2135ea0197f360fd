//! One file a subcommand.

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::failure::Outcome;

pub mod bench;
pub mod check;
pub mod compare;
pub mod devices;
pub mod emit;
pub mod explain;
mod explain_memory;
pub mod export_run;
pub mod fmt;
pub mod machine;
pub mod report;
pub mod resume;
pub mod run;
pub mod run_folder;
pub mod sample;
pub mod search;
pub mod worker;

/// Runs a command.
///
/// # Errors
/// [`crate::failure::Failure`], whose kind is the exit code.
pub fn run(command: Command) -> Outcome {
    match command {
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Emit(args) => emit::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Machine(args) => machine::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::ExportRun(args) => export_run::run(&args),
        Command::Worker => worker::run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rooftile", &mut script);
            crate::output::print(&String::from_utf8_lossy(&script))
        }
    }
}

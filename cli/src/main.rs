//! The `rooftile` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    rooftile_cli::main()
}

//! The `rooftile` command line: one file a subcommand under `commands`, and what they share.

pub mod failure;
pub mod npy;
pub mod report;

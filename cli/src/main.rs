//! The `rooftile` binary.

fn main() {}

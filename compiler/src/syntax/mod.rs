//! Text to syntax tree and back: [`parse`] gives an [`ast`].

pub mod ast;
mod build;
pub mod edit;
mod expected;
mod layout;
mod parse;
mod print;
mod spans;
mod token;

pub use build::VERSION;
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_ERRORS, parse};
pub use print::{hash, print, print_canonical, print_expr, print_item};
pub use spans::ClearSpans;

//! Text to syntax tree and back: [`parse`] gives an [`ast`].

pub mod ast;
mod build;
mod expected;
mod parse;
mod token;

pub use build::VERSION;
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_ERRORS, parse};

//! Text to syntax tree and back: [`ast`].

pub mod ast;

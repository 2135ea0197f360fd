//! The typed tile program: [`ir`], made from the syntax tree by [`check()`].

pub mod check;
pub mod ir;
pub mod print;
pub mod size_eval;
pub mod walk;

pub use check::check;

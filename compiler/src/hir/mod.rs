//! The typed tile program: [`ir`], made from the syntax tree by [`check()`], which also proves it legal.

pub mod check;
pub mod ir;
mod legal;
pub mod print;
pub mod size_eval;
pub mod walk;

pub use check::{check, resolve};

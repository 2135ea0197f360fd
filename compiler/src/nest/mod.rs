//! Explicit loops: [`ir`] says what a nest is, [`build`] makes one, [`print`] shows it, [`hash`] names it, [`eval`]
//! says what its operators mean.

pub mod build;
pub mod eval;
pub mod hash;
pub mod ir;
pub mod print;
pub mod special;
pub mod walk;

pub use build::Builder;
pub use hash::canonical_hash;

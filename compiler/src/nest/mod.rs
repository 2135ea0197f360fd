//! Explicit loops: [`ir`] says what a nest is and which rules it keeps, [`build`] makes one, [`verify`](mod@verify) checks it,
//! [`print`](mod@print) shows it, [`hash`] names it, [`inline`](mod@inline) writes it into another, [`eval`] says what its operators mean, [`interp`] runs it, [`settle`] finds loops that
//! may be left early, [`traffic`] says what it moves, [`masks`] statements that some lanes can run alone, [`prefetch`] fetches
//! ahead what loops read, [`aligned`] takes divisions apart.

pub mod affine;
pub mod aligned;
pub mod build;
pub mod eval;
pub mod hash;
pub mod host;
pub mod inline;
pub mod interp;
pub mod ir;
pub mod masks;
pub mod prefetch;
pub mod print;
pub mod settle;
pub mod special;
pub mod traffic;
pub mod verify;
pub mod walk;

pub use build::Builder;
pub use hash::canonical_hash;
pub use verify::{Verified, VerifiedModule, verify, verify_module};

//! The Rooftile language and its compiler.
//!
//! Data flows in one direction, one module a stage: [`syntax`] (text to [`syntax::ast`]), [`hir`] (names, axes and
//! types resolved; legality), [`oracle`] (evaluates hir, slowly and obviously right), [`schedule`] (a plan applied to
//! hir gives a [`nest`]), [`nest`] (explicit loops, verified), [`codegen`] (nest to machine code).
//! [`diag`] holds the diagnostics that every stage reports.

pub mod analysis;
pub mod arena;
pub mod codegen;
pub mod diag;
pub mod driver;
pub mod hir;
pub mod nest;
pub mod oracle;
pub mod schedule;
pub mod syntax;
pub mod task;
pub mod tune;

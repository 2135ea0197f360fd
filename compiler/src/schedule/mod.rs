//! A plan applied to hir gives a nest: [`plan`] is the schedule as data, [`parse`] reads and writes it, [`verbs`] is the
//! table of verbs.

pub mod parse;
pub mod plan;
pub mod verbs;

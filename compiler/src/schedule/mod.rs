//! A plan applied to hir gives a nest: [`plan`].

pub mod plan;

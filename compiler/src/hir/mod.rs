//! The typed tile program: [`ir`].

pub mod ir;

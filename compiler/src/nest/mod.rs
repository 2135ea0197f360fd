//! Explicit loops: [`ir`].

pub mod ir;

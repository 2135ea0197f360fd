//! Evaluation: whether a candidate is right, and how fast.

pub mod funnel;

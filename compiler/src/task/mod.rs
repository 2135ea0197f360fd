//! What a kernel is judged on.

pub mod hash;

//! Machine code from nests: [`cpu`].

pub mod cpu;

//! Devices, buffers, launch, timing and machine profiles.
//!
//! The runtime runs a [`rooftile_artifact::Program`] and measures it. It never sees source text or a compiler's data.

pub mod buffer;
mod event;
pub mod exec;
pub mod pool;
pub mod topology;

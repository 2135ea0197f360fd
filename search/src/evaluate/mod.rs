//! Evaluation: whether a candidate is right, and how fast.
//!
//! [`funnel`] orders the checks; [`local`] carries them out in this process, for a task seen as a [`workload`];
//! [`remote`] has them carried out by a worker process that runs [`serve`], speaking [`protocol`]; a [`crew`] is several
//! of those; [`cache`] keeps what the oracle said.

pub mod cache;
pub mod crew;
pub mod funnel;
pub mod local;
pub mod protocol;
pub mod remote;
pub mod serve;
pub mod tile;
pub mod workload;

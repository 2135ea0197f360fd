//! The search of Rooftile: from a task to a winner that can be trusted.
//!
//! Reading order: [`candidate`] (what is varied), [`mutate`] (moves), [`bandit`] and [`archive`] (which moves, which
//! parents), [`fitness`] and [`promote`] (what is better, and when that is believed).

pub mod archive;
pub mod bandit;
pub mod candidate;
pub mod fitness;
pub mod mutate;
pub mod promote;
pub mod rng;

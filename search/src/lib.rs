//! The search of Rooftile: from a task to a winner that can be trusted.
//!
//! Reading order: [`candidate`] (what is varied), [`mutate`] (moves), [`strategy`] (what to try next, with [`bandit`]
//! and [`archive`]), [`bench`](mod@bench) (what runs candidates), [`evaluate`] (the funnel), [`fitness`] and
//! [`promote`] (what is better, and when that is believed), [`record`], [`state`] and [`store`] (what is remembered),
//! [`run`](mod@run) (the loop), [`finale`], [`spell`] and [`report`] (the winner).

pub mod archive;
pub mod bandit;
pub mod bench;
pub mod bench_device;
pub mod candidate;
pub mod evaluate;
#[cfg(test)]
mod fake;
pub mod finale;
pub mod fitness;
pub mod mutate;
pub mod nest_look;
pub mod promote;
pub mod record;
pub mod report;
pub mod rng;
pub mod run;
pub mod session;
pub mod spell;
pub mod state;
pub mod store;
pub mod strategy;

//! What kernels for GPUs have in common, whatever they are written in: who runs a chunk ([`threads`]), where barriers
//! stand ([`barriers`]), which indices fit in 32 bits ([`range`]), how elements are found ([`linear`]) and aligned
//! ([`divisor`]), which bytes come in words ([`words`]), where the memory of a chunk is ([`layout`]), and what a matrix unit is asked
//! for ([`matrices`]).

pub mod barriers;
pub mod divisor;
pub mod layout;
pub mod linear;
pub mod matrices;
pub mod range;
pub mod same_thread;
pub mod threads;
pub mod words;

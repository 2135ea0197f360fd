//! What kernels for GPUs have in common, whatever they are written in: who runs a chunk ([`threads`]), where barriers
//! stand ([`barriers`]), which indices fit in 32 bits ([`range`]), how elements are found ([`linear`]), and where the
//! memory of a chunk is ([`layout`]).

pub mod barriers;
pub mod layout;
pub mod linear;
pub mod range;
pub mod same_thread;
pub mod threads;

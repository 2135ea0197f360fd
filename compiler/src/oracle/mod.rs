//! Evaluates the typed tile program: the judge of everything that is compiled.
//!
//! * [`interp`] walks hir directly, slowly and obviously right: in `f64`, or rounding as the types declare; at any
//!   tile sizes and tile order; with every access checked.
//! * [`deep`] uses it to test what the checker cannot prove: that results do not depend on how axes are cut into
//!   tiles, that tiles do not race, that a kernel agrees with its reference.
//! * [`cases`] makes the small inputs for that.
//! * [`compiled`] is the same meaning as machine code in `f64`, for sizes that the interpreter is too slow for.
//! * [`values`] holds what evaluation takes and gives, [`error`] why it stopped.

pub mod cases;
pub mod compiled;
pub mod deep;
pub mod error;
pub mod interp;
pub mod values;

mod rng;

pub use error::{ErrorKind, OracleError};
pub use interp::{Mode, Options, TileDefault, Tiles, run};
pub use rng::SplitMix;
pub use values::{Data, Inputs, Outputs, Values};

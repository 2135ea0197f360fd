//! The seam between the compiler and the runtime: data that both understand and neither owns.
//!
//! Reading order: [`dtype`] and [`scalar`] (element types and values), [`tensor`] (values on the host),
//! [`host_expr`] (what the host computes before a launch), [`program`] (what a kernel or pipeline compiles to),
//! [`abi`] and [`gpu_abi`] (how code is entered), [`work`] (counted operations and bytes), [`room`] (how much of them
//! fits), [`target`] and [`profile`] (what a machine is and what it was measured to do).

pub mod abi;
pub mod dtype;
pub mod gpu_abi;
pub mod host_expr;
pub mod profile;
pub mod program;
pub mod room;
pub mod scalar;
pub mod target;
pub mod tensor;
pub mod work;

pub use dtype::DType;
pub use host_expr::HostExpr;
pub use profile::Profile;
pub use program::Program;
pub use room::Room;
pub use scalar::Scalar;
pub use target::{CpuTarget, GpuTarget, Target};
pub use tensor::HostTensor;

//! Devices, buffers, launch, timing and machine profiles.
//!
//! The runtime runs a [`rooftile_artifact::Program`] and measures it. It never sees source text or a compiler's data.
//!
//! Reading order:
//! * [`device`]: what can run programs ([`Device`], [`open`], [`devices`]); [`cpu`] and [`null`] are the two so far.
//! * [`instance`]: a loaded program at fixed sizes ([`Instance`]): inputs, runs, outputs, checks.
//! * [`mod@error`]: the three kinds of failure.
//! * Below these: [`pool`] (threads), [`buffer`] (memory), [`exec`] (executable memory), [`packing`] (sub-byte
//!   elements), [`memory`] (what the machine has left), [`topology`] (processors), [`mod@fingerprint`].

mod content;
mod contract;
pub mod cpu;
pub mod device;
pub mod error;
mod event;
pub mod exec;
pub mod fingerprint;
pub mod instance;
mod interpret;
mod launch;
mod layout;
pub mod memory;
pub mod null;
pub mod packing;
pub mod pool;
mod prepared;
pub mod topology;
mod validate;

pub mod buffer;

pub use cpu::CpuDevice;
pub use device::{Device, DeviceInfo, Loaded, devices, open};
pub use error::{DeviceError, Error, InputError, InternalError};
pub use fingerprint::fingerprint;
pub use instance::{Instance, InstanceOptions};
pub use null::NullDevice;

//! Devices, buffers, launch, timing and machine profiles.
//!
//! The runtime runs a [`rooftile_artifact::Program`] and measures it. It never sees source text or a compiler's data.
//!
//! Reading order:
//! * [`device`]: what can run programs ([`Device`], [`open`], [`devices`]); [`cpu`], [`vulkan`] and [`null`].
//! * [`instance`]: a loaded program at fixed sizes ([`Instance`]): inputs, runs, outputs, checks.
//! * [`mod@foreign`]: the user's own kernel on the same memory ([`Foreign`]).
//! * [`timing`]: how long runs take ([`measure`], [`measure_paired`]); [`stats`] and [`timer`] are what it is made of.
//! * [`machine`]: what this machine and its devices can do, measured by hand-written probes ([`machine_profile`],
//!   [`device_profile`]); [`roof`]: the least
//!   time of counted work ([`roof_time`]).
//! * [`mod@error`]: the three kinds of failure.
//! * Below these: [`pool`] (threads), [`buffer`] (memory), [`exec`] (executable memory), [`packing`] (sub-byte
//!   elements), [`memory`] (what the machine has left), [`topology`] (processors), [`mod@fingerprint`].

mod backend;
pub mod buffer;
mod content;
mod contract;
pub mod cpu;
pub mod device;
pub mod error;
mod event;
pub mod exec;
pub mod fingerprint;
pub mod foreign;
pub mod instance;
mod interpret;
mod launch;
mod layout;
pub mod machine;
pub mod memory;
pub mod null;
pub mod packing;
pub mod pool;
mod prepared;
mod probe;
pub mod roof;
mod setting;
pub mod stats;
pub mod timer;
pub mod timing;
pub mod topology;
mod validate;
pub mod vulkan;

pub use cpu::CpuDevice;
pub use device::{Device, DeviceInfo, Loaded, devices, open};
pub use error::{DeviceError, Error, InputError, InternalError};
pub use fingerprint::fingerprint;
pub use foreign::Foreign;
pub use instance::{Instance, InstanceOptions};
pub use machine::{ProfileError, device_profile, machine_profile, measure_profile};
pub use null::NullDevice;
pub use roof::{Bound, RoofTime, roof_time};
pub use timing::{MeasureOptions, Measurement, PairedMeasurement, measure, measure_paired};
pub use vulkan::VulkanDevice;

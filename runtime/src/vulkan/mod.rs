//! GPUs by Vulkan 1.3: code is SPIR-V, entered as [`rooftile_artifact::gpu_abi`] says.
//!
//! The loader is opened at run time; without one, or without a device that has buffer addresses, Vulkan is listed as
//! missing. At fixed sizes a program's steps are recorded once into command buffers; a run submits them and waits.
//!
//! Reading order:
//! * `driver`: the system's loader and its devices; `probe`: what a device is; `context`: a device in use.
//! * `memory`: storages with an address; `scratch`: memory of the chunks in flight; `kernels`: pipelines.
//! * `plan`: from steps to commands; `tape`: recorded commands; `backend`: what an instance is made of.
//! * `probes`: what the device can do, measured.

mod backend;
mod context;
mod driver;
mod kernels;
mod memory;
mod plan;
mod probe;
mod probes;
mod scratch;
mod tape;

use std::sync::Arc;
use std::time::Duration;

use rooftile_artifact::gpu_abi::LIMIT;
use rooftile_artifact::profile::Fingerprint;
use rooftile_artifact::{Profile, Program, Room, Target};

use crate::device::{Device, DeviceInfo, Loaded, LoadedCode, LoadedProgram};
use crate::error::{DeviceError, Error};
use crate::fingerprint::fingerprint;
use crate::{memory as host, validate};

pub(crate) use backend::VulkanBackend;
pub use driver::{VALIDATION_VARIABLE, is_validated, validation_messages};

use context::Context;
use kernels::GpuKernel;

/// Names of the devices in their order; further ones cannot be opened.
const NAMES: [&str; 8] =
    ["vulkan", "vulkan:1", "vulkan:2", "vulkan:3", "vulkan:4", "vulkan:5", "vulkan:6", "vulkan:7"];

/// How long a submission may run.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A GPU that Vulkan finds, or Vulkan's software device.
#[derive(Debug)]
pub struct VulkanDevice {
    name: &'static str,
    target: Target,
    context: Arc<Context>,
}

impl VulkanDevice {
    /// The device with a number, from 0: discrete devices come first, then integrated ones, then those in software.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] with the reason; [`DeviceError::Driver`] when the driver gives no device after all.
    pub fn open(index: usize) -> Result<VulkanDevice, DeviceError> {
        VulkanDevice::with_timeout(index, TIMEOUT)
    }

    /// As [`VulkanDevice::open`], with another time after which a submission is taken to hang; by default 30 seconds.
    /// Work that hangs cannot be stopped: the device is of no further use to this process, which keeps all memory that
    /// the work may still use. A software device's threads go on until the process ends.
    ///
    /// # Errors
    /// As [`VulkanDevice::open`].
    pub fn with_timeout(index: usize, timeout: Duration) -> Result<VulkanDevice, DeviceError> {
        let name = NAMES.get(index).copied().unwrap_or("vulkan");
        let unavailable = |why| DeviceError::Unavailable { device: name.to_owned(), why };
        if index >= NAMES.len() {
            return Err(unavailable(format!("only {} devices are counted", NAMES.len())));
        }
        let (driver, found) = driver::found(index).map_err(unavailable)?;
        let context = Arc::new(Context::new(driver, found, timeout)?);
        Ok(VulkanDevice { name, target: found.target.clone().into(), context })
    }
}

impl VulkanDevice {
    /// The machine's fingerprint with the device's and its driver's names for themselves, and the driver's version.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let found = self.context.found;
        Fingerprint { device: format!("{}, {}", found.target.name, found.driver), ..fingerprint() }
    }

    /// Measures the device's roofs, during which nothing else should run. The passes over the probes take about as long as
    /// `budget` says, but there are at least two; what the driver takes to compile comes on top.
    ///
    /// # Errors
    /// [`DeviceError`] when the device lacks 64-bit integers, has no memory for it, or fails.
    pub fn measure_profile(&self, budget: Duration) -> Result<Profile, Error> {
        probes::measure(self, budget)
    }
}

impl Device for VulkanDevice {
    fn name(&self) -> &'static str {
        self.name
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn room(&self) -> Room {
        let found = self.context.found;
        let host = host::available().map_or(u64::MAX, |host| if found.unified { host / 2 } else { host });
        Room {
            bytes: host.min(found.memory).into(),
            tensor_bytes: found.target.buffer_bytes.into(),
            tensor_elements: u128::from(LIMIT.unsigned_abs()) - 1,
        }
    }

    fn load(&self, program: &Program) -> Result<Loaded, Error> {
        validate::program(program)?;
        let messages = driver::messages_so_far();
        let kernels = program.kernels.iter().map(|k| GpuKernel::new(&self.context, k));
        let kernels = kernels.collect::<Result<Vec<_>, _>>()?;
        valid_since(messages)?;
        let code = LoadedCode::Vulkan(VulkanProgram { kernels, context: Arc::clone(&self.context) });
        let inner = LoadedProgram { program: program.clone(), target: self.target.clone(), code };
        Ok(Loaded { inner: Arc::new(inner) })
    }
}

/// A program's kernels on a device.
#[derive(Debug)]
pub(crate) struct VulkanProgram {
    /// One for each kernel of the program.
    pub(crate) kernels: Vec<GpuKernel>,
    pub(crate) context: Arc<Context>,
}

/// The devices as a list shows them; one line with the reason where there is none.
pub(crate) fn list() -> Vec<DeviceInfo> {
    let missing = |why: String| DeviceInfo {
        name: NAMES[0],
        description: "GPU with Vulkan".to_owned(),
        missing: Some(why),
    };
    match driver::found(0) {
        Err(why) => vec![missing(why)],
        Ok((driver, _)) => NAMES
            .iter()
            .zip(&driver.devices)
            .map(|(name, found)| DeviceInfo { name, description: found.description(), missing: None })
            .collect(),
    }
}

/// The number of the device that a name like `vulkan` or `vulkan:1` means.
pub(crate) fn index_of(name: &str) -> Option<usize> {
    if name == "vulkan:0" { Some(0) } else { NAMES.iter().position(|&n| n == name) }
}

/// Whether the validation layer found no error since there were so many messages.
fn valid_since(messages: usize) -> Result<(), DeviceError> {
    driver::error_since(messages).map_or(Ok(()), |message| Err(DeviceError::Validation { message }))
}

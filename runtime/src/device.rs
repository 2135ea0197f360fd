//! Devices: what can take a program and run it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rooftile_artifact::{Program, Room, Target};

use crate::cpu::CpuDevice;
use crate::error::{DeviceError, Error};
use crate::launch::CpuKernel;
use crate::memory;
use crate::null::NullDevice;
use crate::pool::Pool;
use crate::vulkan::{self, VulkanDevice, VulkanProgram};

/// What can take a program and run it.
pub trait Device: Send + Sync + std::fmt::Debug {
    /// The name that the command line knows it by.
    fn name(&self) -> &'static str;

    /// What code for it may use, and the sizes that decide which code is good.
    fn target(&self) -> &Target;

    /// What the tensors of a kernel can take at most where the host makes them and the device has a copy of each, as far
    /// as can be said before any is made. More may turn out to be needed.
    fn room(&self) -> Room {
        // Both copies are the host's.
        Room::of_bytes(memory::available().map(|bytes| bytes / 2))
    }

    /// Takes a program, ready to be instantiated at any sizes.
    ///
    /// # Errors
    /// [`DeviceError`] when the device cannot run the code; [`crate::InternalError`] when the program is malformed.
    fn load(&self, program: &Program) -> Result<Loaded, Error>;
}

/// A program on a device. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(crate) inner: Arc<LoadedProgram>,
}

#[derive(Debug)]
pub(crate) struct LoadedProgram {
    pub(crate) program: Program,
    pub(crate) target: Target,
    pub(crate) code: LoadedCode,
}

/// A program's kernels, ready to be launched.
#[derive(Debug)]
pub(crate) enum LoadedCode {
    /// On the processor.
    Cpu {
        /// One per kernel; `None` on a device that runs nothing.
        kernels: Vec<Option<CpuKernel>>,
        /// The device's threads.
        pools: Arc<Pools>,
    },
    /// On a GPU.
    Vulkan(VulkanProgram),
}

impl Loaded {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.inner.program
    }

    /// The target of the device that it is on.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.inner.target
    }
}

/// A device's thread pools, one per number of threads. Instances share them, so that no idle pool spins beside the
/// one that is timed.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: Mutex<BTreeMap<(usize, bool), SharedPool>>,
}

/// A pool that runs one instance at a time.
pub(crate) type SharedPool = Arc<Mutex<Pool>>;

impl Pools {
    /// The pool of `threads` threads, pinned or not.
    pub(crate) fn get(&self, threads: usize, pin: bool) -> Result<SharedPool, DeviceError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&(threads, pin)) {
            return Ok(Arc::clone(pool));
        }
        let pool =
            Pool::new(threads, pin).map_err(|source| DeviceError::Threads { count: threads, source })?;
        let pool = Arc::new(Mutex::new(pool));
        pools.insert((threads, pin), Arc::clone(&pool));
        Ok(pool)
    }
}

/// A device as a list of devices shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name that the command line knows it by.
    pub name: &'static str,
    /// What it is.
    pub description: String,
    /// Why it cannot be used here; `None` when it can.
    pub missing: Option<String>,
}

/// All devices that this library knows, present or not, in a fixed order.
#[must_use]
pub fn devices() -> Vec<DeviceInfo> {
    let absent = |name, description: &str, why: &str| DeviceInfo {
        name,
        description: description.to_owned(),
        missing: Some(why.to_owned()),
    };
    let cpu = crate::fingerprint::fingerprint();
    let mut all = vec![
        DeviceInfo {
            name: "cpu",
            description: format!("{}, {} processors", cpu.cpu, cpu.cores),
            missing: cpu_missing(),
        },
        DeviceInfo {
            name: "null",
            description: "takes every program and runs nothing".to_owned(),
            missing: None,
        },
        absent("cuda", "NVIDIA GPU", "this build has no CUDA driver"),
    ];
    all.extend(vulkan::list());
    all
}

/// Opens a device by its name. `avx2` is the processor for code with vectors of 32 bytes and no wider ones, `cranelift` for
/// such of 16 bytes, which is what that generator makes.
///
/// # Errors
/// [`DeviceError::Unavailable`] with the reason.
pub fn open(name: &str) -> Result<Box<dyn Device>, DeviceError> {
    let unavailable = |why: String| DeviceError::Unavailable { device: name.to_owned(), why };
    match name {
        "cpu" | "avx2" | "cranelift" => {
            if let Some(why) = cpu_missing() {
                return Err(unavailable(why));
            }
            let device = match name {
                "avx2" => CpuDevice::with_vectors(32),
                "cranelift" => CpuDevice::with_vectors(16),
                _ => CpuDevice::new(),
            };
            match device.cpu().vector_bytes {
                ..32 if name == "avx2" => Err(unavailable("this processor lacks AVX2 or FMA".to_owned())),
                _ => Ok(Box::new(device)),
            }
        }
        "null" => Ok(Box::new(NullDevice::new())),
        // `vulkan:1` is the second of its kind.
        _ if vulkan::index_of(name).is_some() => {
            Ok(Box::new(VulkanDevice::open(vulkan::index_of(name).unwrap_or(0))?))
        }
        _ => {
            let kind = name.split(':').next().unwrap_or(name);
            let known = devices().into_iter().find(|d| d.name == kind).and_then(|d| d.missing);
            Err(unavailable(known.unwrap_or_else(|| "there is no device of that name".to_owned())))
        }
    }
}

fn cpu_missing() -> Option<String> {
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    (!known).then(|| "no code can be generated for this processor".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_device_opens_or_says_why_not() {
        for info in devices() {
            match (open(info.name), info.missing) {
                (Ok(device), None) => assert_eq!(device.name(), info.name),
                (Err(DeviceError::Unavailable { why, .. }), Some(missing)) => assert_eq!(why, missing),
                (outcome, missing) => panic!("{}: {outcome:?}, {missing:?}", info.name),
            }
        }
        assert!(open("abacus").is_err());
        for (name, vector_bytes) in [("cranelift", 16), ("avx2", 32)] {
            match open(name) {
                Ok(device) => {
                    assert_eq!(device.target().cpu().map(|cpu| cpu.vector_bytes), Some(vector_bytes));
                }
                Err(DeviceError::Unavailable { why, .. }) => assert!(why.contains("processor"), "{why}"),
                Err(e) => panic!("{name}: {e}"),
            }
        }
        assert!(open("cuda:1").is_err_and(|e| e.to_string().contains("CUDA")));
    }
}

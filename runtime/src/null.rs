//! A device that takes every program and runs nothing: for tests of whatever stands around a device.

use std::sync::Arc;

use rooftile_artifact::{CpuTarget, Program};

use crate::device::{Device, Loaded, LoadedProgram, Pools};
use crate::error::Error;
use crate::validate;

/// A device whose launches do nothing. Fills, copies and swaps, which are the host's, are done.
#[derive(Debug, Default)]
pub struct NullDevice {
    target: CpuTarget,
    pools: Arc<Pools>,
}

impl NullDevice {
    /// A null device that poses as a plain two-core machine.
    #[must_use]
    pub fn new() -> NullDevice {
        NullDevice::default()
    }
}

impl Device for NullDevice {
    fn name(&self) -> &'static str {
        "null"
    }

    fn target(&self) -> &CpuTarget {
        &self.target
    }

    fn load(&self, program: &Program) -> Result<Loaded, Error> {
        validate::program(program)?;
        let inner = LoadedProgram {
            program: program.clone(),
            target: self.target.clone(),
            kernels: program.kernels.iter().map(|_| None).collect(),
            pools: Arc::clone(&self.pools),
        };
        Ok(Loaded { inner: Arc::new(inner) })
    }
}

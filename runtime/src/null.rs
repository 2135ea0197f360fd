//! A device that takes every program and runs nothing: for tests of whatever stands around a device.

use std::sync::Arc;

use rooftile_artifact::{CpuTarget, Program, Target};

use crate::device::{Device, Loaded, LoadedCode, LoadedProgram, Pools};
use crate::error::Error;
use crate::validate;

/// A device whose launches do nothing. Fills, copies and swaps, which are the host's, are done.
#[derive(Debug)]
pub struct NullDevice {
    target: Target,
    pools: Arc<Pools>,
}

impl NullDevice {
    /// A null device that poses as a plain two-core machine.
    #[must_use]
    pub fn new() -> NullDevice {
        NullDevice { target: CpuTarget::default().into(), pools: Arc::default() }
    }
}

impl Default for NullDevice {
    fn default() -> NullDevice {
        NullDevice::new()
    }
}

impl Device for NullDevice {
    fn name(&self) -> &'static str {
        "null"
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, program: &Program) -> Result<Loaded, Error> {
        validate::program(program)?;
        let inner = LoadedProgram {
            program: program.clone(),
            target: self.target.clone(),
            code: LoadedCode::Cpu {
                kernels: program.kernels.iter().map(|_| None).collect(),
                pools: Arc::clone(&self.pools),
            },
        };
        Ok(Loaded { inner: Arc::new(inner) })
    }
}

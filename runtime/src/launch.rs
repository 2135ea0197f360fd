//! Launches: the only place that enters compiled code.
#![allow(unsafe_code, reason = "calls machine code")]

use std::sync::atomic::AtomicU32;

use rooftile_artifact::abi::LaunchArgs;

use crate::exec::ExecutableCode;
use crate::pool::{Panicked, Phase, Pool};

/// A compiled kernel that this processor can run.
#[derive(Debug)]
pub(crate) struct CpuKernel {
    code: ExecutableCode,
}

/// What one launch passes. The pointers are to live buffers that nothing else uses during the launch.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// One per buffer slot.
    pub(crate) buffers: &'a [*mut u8],
    /// The kernel's sizes.
    pub(crate) sizes: &'a [i64],
    /// The kernel's scalars, encoded as the launch interface says.
    pub(crate) scalars: &'a [u64],
    /// Scratch memory, one per thread.
    pub(crate) locals: &'a [*mut u8],
    /// Gathers what went wrong.
    pub(crate) status: &'a AtomicU32,
    /// The kernel's phases.
    pub(crate) phases: &'a [Phase],
}

/// Room for the pointers of a launch, kept from launch to launch so that none allocates.
#[derive(Debug, Default)]
pub(crate) struct Pointers {
    pub(crate) buffers: Vec<*mut u8>,
    pub(crate) locals: Vec<*mut u8>,
}

// SAFETY: the pointers are used only during the launch that they were collected for; between launches they are dead.
unsafe impl Send for Pointers {}
// SAFETY: as above; a shared reference gives access to nothing.
unsafe impl Sync for Pointers {}

// SAFETY: the pointers are only handed on to compiled code, whose threads write disjoint parts of the buffers (the
// compiler proves it), and each its own scratch memory.
unsafe impl Sync for Launch<'_> {}

impl Launch<'_> {
    fn args(&self, thread: usize) -> LaunchArgs {
        LaunchArgs {
            buffers: self.buffers.as_ptr(),
            sizes: self.sizes.as_ptr(),
            scalars: self.scalars.as_ptr(),
            local: self.locals[thread],
            status: self.status.as_ptr(),
        }
    }
}

impl CpuKernel {
    /// A kernel of code that keeps to [`rooftile_artifact::abi`] and uses only what this processor has.
    pub(crate) fn new(code: ExecutableCode) -> CpuKernel {
        CpuKernel { code }
    }

    /// Runs all phases; on the calling thread alone without a pool.
    pub(crate) fn launch(&self, launch: &Launch<'_>, pool: Option<&mut Pool>) -> Result<(), Panicked> {
        let entry = self.code.entry();
        let number = |phase: usize| i64::try_from(phase).unwrap_or(i64::MAX);
        let Some(pool) = pool else {
            let args = launch.args(0);
            for (n, phase) in launch.phases.iter().enumerate() {
                if phase.chunks > 0 {
                    // SAFETY: `args` names live memory of the extents that the program declared; the code is the
                    // compiler's, which keeps to the interface and within those extents.
                    unsafe { entry(&raw const args, number(n), 0, phase.chunks) };
                }
            }
            return Ok(());
        };
        pool.run(launch.phases, &|thread, phase, begin, end| {
            let args = launch.args(thread);
            // SAFETY: as above; the scratch memory is this thread's own.
            unsafe { entry(&raw const args, number(phase), begin, end) };
        })
    }
}

//! The two kinds of memory and launches behind an [`crate::Instance`]: the processor's, and a GPU's.

mod cpu;

use std::fmt::Debug;

use crate::buffer::CanaryDied;
use crate::device::{Loaded, LoadedCode};
use crate::error::Error;
use crate::instance::InstanceOptions;
use crate::memory;
use crate::prepared::{Op, prepare};
use crate::setting::Setting;
use crate::timer::Clock;
use crate::timing::Flusher;
use crate::topology::Pin;
use crate::vulkan::VulkanBackend;

use cpu::CpuBackend;

/// A program's memory at fixed sizes on one kind of device, and what runs its steps there. Buffers are numbered as in
/// the program; after a run that swaps, a number names the newest data.
pub(crate) trait Backend: Debug + Send + Sync {
    /// Runs every step of a part of the program once.
    fn run(&mut self, setting: &Setting, part: Part) -> Result<(), Error>;

    /// Shows all bytes of a buffer.
    fn read(&self, buffer: usize, look: &mut dyn FnMut(&[u8])) -> Result<(), Error>;

    /// Replaces all bytes of a buffer by those that `make` leaves; what it finds there is not said.
    fn write(&mut self, buffer: usize, make: &mut dyn FnMut(&mut [u8])) -> Result<(), Error>;

    /// Fills a buffer with a repeated pattern, the last copy cut short where the buffer ends.
    fn fill(&mut self, buffer: usize, pattern: &[u8]) -> Result<(), Error>;

    /// Fills scratch memory likewise.
    fn fill_scratch(&mut self, pattern: &[u8]) -> Result<(), Error>;

    /// The first overwritten byte beside a guarded buffer.
    fn dead_canary(&self) -> Result<Option<(Place, CanaryDied)>, Error>;

    /// Keeps a copy of buffers, in place of those kept before.
    fn save(&mut self, buffers: &[usize]) -> Result<(), Error>;

    /// Puts back what was kept of the same buffers, if anything was.
    fn restore(&mut self, buffers: &[usize]) -> Result<(), Error>;

    /// Lets go what was kept.
    fn forget_saved(&mut self);

    /// Replaces the content of the caches that launches use.
    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error>;

    /// Where a buffer lies, if the processor reaches it.
    fn pointer(&mut self, buffer: usize) -> Option<*mut u8>;

    /// Keeps the calling thread where it is to be while it times runs.
    fn pin_caller(&self) -> Option<Pin>;

    /// The host's clock that tells how long a run takes.
    fn clock(&self) -> Clock;

    /// Seconds that the last run took by the device's own clock; `None` where the device has none.
    fn device_seconds(&self) -> Option<f64>;
}

/// A part of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What all runs on the same inputs share.
    Once,
    /// A run.
    Run,
}

/// The steps of a program, ready to run.
#[derive(Debug)]
pub(crate) struct Ops {
    once: Vec<Op>,
    run: Vec<Op>,
}

impl Ops {
    /// Those of a part.
    pub(crate) fn of(&mut self, part: Part) -> &mut [Op] {
        match part {
            Part::Once => &mut self.once,
            Part::Run => &mut self.run,
        }
    }

    /// The most scratch memory that a part asks for.
    pub(crate) fn most<T: Ord>(&self, of: impl Fn(&[Op]) -> T) -> T {
        of(&self.once).max(of(&self.run))
    }
}

/// A part of a program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The buffer of this number.
    Buffer(usize),
    /// Memory that the chunks of a launch use for themselves.
    Scratch,
}

/// Bytes that are left for a program's buffers, if that is known.
pub(crate) fn available(loaded: &Loaded) -> Option<u64> {
    match &loaded.inner.code {
        LoadedCode::Cpu { .. } => memory::available(),
        LoadedCode::Vulkan(program) => Some(program.context.available()),
    }
}

/// Allocates a program's memory, zeroed, on the device that it is loaded on.
pub(crate) fn new(setting: &Setting, options: &InstanceOptions) -> Result<Box<dyn Backend>, Error> {
    // A counter that no step has set yet reads as missing, so only what cannot change is computed here.
    let program = setting.program();
    let ops = |steps| prepare(program, steps, &setting.env(&[]));
    let ops = Ops { once: ops(&program.prepare)?, run: ops(&program.steps)? };
    Ok(match &setting.loaded.inner.code {
        LoadedCode::Cpu { pools, .. } => Box::new(CpuBackend::new(setting, ops, pools, options)?),
        LoadedCode::Vulkan(program) => Box::new(VulkanBackend::new(setting, ops, program, options)?),
    })
}

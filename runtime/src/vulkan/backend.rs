//! A program's memory and steps on a Vulkan device.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::collections::HashMap;
use std::sync::Arc;

use ash::vk;
use rooftile_artifact::gpu_abi::LIMIT;

use crate::backend::{Backend, Ops, Part, Place};
use crate::buffer::CanaryDied;
use crate::device::LoadedCode;
use crate::error::{Error, InputError, malformed};
use crate::instance::InstanceOptions;
use crate::interpret::fault;
use crate::prepared::Op;
use crate::setting::Setting;
use crate::timer::{Clock, Stopwatch};
use crate::timing::Flusher;
use crate::topology::Pin;
use crate::vulkan::context::Context;
use crate::vulkan::memory::{Storage, Use};
use crate::vulkan::plan::{Stretch, Walk};
use crate::vulkan::scratch::{Scratch, fill, share};
use crate::vulkan::tape::{Around, Tape};
use crate::vulkan::{VulkanProgram, driver, valid_since};

/// Tapes that are kept; a program that needs more is recorded anew in every run, a part at a time.
const MOST_TAPES: usize = 64;
/// Recordings that are kept, one for each way in which buffers name storages at the start of a run.
const MOST_RECORDINGS: usize = 8;

/// Storages of a device, and the commands that run on them.
#[derive(Debug)]
pub(crate) struct VulkanBackend {
    // Before the storages: tapes refer to them.
    recordings: HashMap<Vec<usize>, Recording>,
    context: Arc<Context>,
    fence: vk::Fence,
    storages: Vec<Storage>,
    /// The storage that each buffer names now.
    binding: Vec<usize>,
    scratch: Scratch,
    /// One word a kernel.
    status: Storage,
    readback: Storage,
    ops: Ops,
    saved: Vec<Storage>,
    flushed: Option<Storage>,
    seconds: Option<f64>,
}

/// All tapes of a program, good for one binding.
#[derive(Debug)]
struct Recording {
    tapes: Vec<Tape>,
    /// The binding after a run.
    after: Vec<usize>,
}

/// When a run began and ended, by the device's ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    first: Option<u64>,
    last: Option<u64>,
}

impl VulkanBackend {
    /// Counts and allocates the memory.
    pub(crate) fn new(
        setting: &Setting,
        ops: Ops,
        program: &VulkanProgram,
        options: &InstanceOptions,
    ) -> Result<VulkanBackend, Error> {
        let context = &program.context;
        check_limits(setting, context)?;
        setting.check_memory(ops.most(|ops| known_scratch(program, ops)))?;
        let make = |len, purpose, guarded| Storage::new(context, len, purpose, guarded);
        let storages = setting.layouts.iter().map(|l| make(l.bytes, Use::Device, options.guarded));
        let storages = storages.collect::<Result<Vec<_>, _>>()?;
        let words = size_of::<u32>() * program.kernels.len().max(1);
        Ok(VulkanBackend {
            recordings: HashMap::new(),
            binding: (0..storages.len()).collect(),
            storages,
            scratch: Scratch::new(context, options.guarded),
            status: make(words, Use::Device, false)?,
            readback: make(words, Use::Download, false)?,
            ops,
            saved: Vec::new(),
            flushed: None,
            seconds: None,
            fence: context.fence()?,
            context: Arc::clone(context),
        })
    }

    fn storage(&self, buffer: usize) -> &Storage {
        &self.storages[self.binding[buffer]]
    }

    fn storage_mut(&mut self, buffer: usize) -> &mut Storage {
        &mut self.storages[self.binding[buffer]]
    }

    /// Submits what was recorded for this binding.
    fn replay(&mut self) -> Option<Result<Ticks, Error>> {
        let recording = self.recordings.get(&self.binding)?;
        let mut ticks = Ticks::default();
        let outcome = play(&self.context, self.fence, &recording.tapes, &mut ticks);
        self.binding.clone_from(&recording.after);
        Some(outcome.map(|()| ticks))
    }

    /// Records what is not recorded yet, and submits it. What is done once is not kept.
    fn record(&mut self, setting: &Setting, program: &VulkanProgram, part: Part) -> Result<Ticks, Error> {
        let (storages, status, readback) = (&self.storages, &self.status, &self.readback);
        let (context, fence) = (&self.context, self.fence);
        let mut ticks = Ticks::default();
        let mut tapes: Vec<Tape> = Vec::new();
        // Whether a part was run and let go.
        let mut long = false;
        let mut take = |stretch: &Stretch, last: bool| -> Result<(), Error> {
            if tapes.len() == MOST_TAPES {
                play(context, fence, &tapes, &mut ticks)?;
                tapes.clear();
                long = true;
            }
            let around = Around { status, readback, first: tapes.is_empty() && !long, last };
            tapes.push(Tape::record(program, storages, stretch, &around)?);
            Ok(())
        };
        let addresses: Vec<u64> = storages.iter().map(Storage::address).collect();
        let mut walk = Walk {
            setting,
            program,
            addresses: &addresses,
            status: status.address(),
            scratch: &mut self.scratch,
            binding: self.binding.clone(),
            steps: vec![0; setting.program().step_vars],
            stretch: Stretch::default(),
            sink: &mut |stretch| take(&stretch, false),
        };
        walk.walk(self.ops.of(part))?;
        let (rest, after) = (walk.stretch, walk.binding);
        take(&rest, true)?;
        play(context, fence, &tapes, &mut ticks)?;
        let before = std::mem::replace(&mut self.binding, after.clone());
        if !long && part == Part::Run {
            if self.recordings.len() == MOST_RECORDINGS {
                self.recordings.clear();
            }
            self.recordings.insert(before, Recording { tapes, after });
        }
        Ok(ticks)
    }

    /// What kernels reported in the last run.
    fn status(&self, setting: &Setting) -> Result<(), Error> {
        let mut outcome = Ok(());
        self.readback.read(&mut |bytes| {
            for (bytes, kernel) in bytes.chunks_exact(size_of::<u32>()).zip(&setting.program().kernels) {
                let word = u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
                if word != 0 && outcome.is_ok() {
                    outcome = Err(fault(word, &kernel.name));
                }
            }
        })?;
        outcome
    }
}

impl Backend for VulkanBackend {
    fn run(&mut self, setting: &Setting, part: Part) -> Result<(), Error> {
        let LoadedCode::Vulkan(program) = &setting.loaded.inner.code else {
            return Err(malformed("the program is loaded on another device"));
        };
        let messages = driver::messages_so_far();
        self.seconds = None;
        let watch = Stopwatch::start(Clock::Wall);
        let replayed = if part == Part::Run { self.replay() } else { None };
        let ticks = match replayed {
            Some(outcome) => outcome?,
            None => self.record(setting, program, part)?,
        };
        let wall = watch.seconds();
        self.seconds = match (ticks.first, ticks.last) {
            (Some(first), Some(last)) => trusted(self.context.found.seconds(first, last), wall),
            _ => None,
        };
        valid_since(messages)?;
        self.status(setting)
    }

    fn read(&self, buffer: usize, look: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        Ok(self.storage(buffer).read(look)?)
    }

    fn write(&mut self, buffer: usize, make: &mut dyn FnMut(&mut [u8])) -> Result<(), Error> {
        Ok(self.storage_mut(buffer).write(make)?)
    }

    fn fill(&mut self, buffer: usize, pattern: &[u8]) -> Result<(), Error> {
        Ok(fill(self.storage_mut(buffer), pattern)?)
    }

    fn fill_scratch(&mut self, pattern: &[u8]) -> Result<(), Error> {
        Ok(self.scratch.fill(pattern)?)
    }

    fn dead_canary(&self) -> Result<Option<(Place, CanaryDied)>, Error> {
        for b in 0..self.binding.len() {
            if let Some(died) = self.storage(b).dead_canary()? {
                return Ok(Some((Place::Buffer(b), died)));
            }
        }
        Ok(self.scratch.dead_canary()?.map(|died| (Place::Scratch, died)))
    }

    fn save(&mut self, buffers: &[usize]) -> Result<(), Error> {
        self.saved.clear();
        for &b in buffers {
            let mut copy = Storage::new(&self.context, self.storage(b).len(), Use::Device, false)?;
            copy.copy_from(self.storage(b))?;
            self.saved.push(copy);
        }
        Ok(())
    }

    fn restore(&mut self, buffers: &[usize]) -> Result<(), Error> {
        for (&b, saved) in buffers.iter().zip(&self.saved) {
            self.storages[self.binding[b]].copy_from(saved)?;
        }
        Ok(())
    }

    fn forget_saved(&mut self) {
        self.saved.clear();
    }

    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        let bytes = flusher.bytes();
        if self.flushed.as_ref().is_none_or(|s| s.len() != bytes) {
            self.flushed = Some(Storage::new(&self.context, bytes, Use::Device, false)?);
        }
        let Some(storage) = &self.flushed else { return Ok(()) };
        let (buffer, offset) = storage.buffer();
        let size = bytes as u64 & !3;
        if size == 0 {
            return Ok(());
        }
        self.context.once(|commands| {
            // SAFETY: the range is inside the live buffer, its limits multiples of 4.
            unsafe { self.context.device.cmd_fill_buffer(commands, buffer, offset, size, 1) };
        })?;
        Ok(())
    }

    fn pointer(&mut self, _buffer: usize) -> Option<*mut u8> {
        None
    }

    fn pin_caller(&self) -> Option<Pin> {
        // The caller only waits; on a software device it would wait where a thread of the driver could run.
        None
    }

    fn clock(&self) -> Clock {
        Clock::Wall
    }

    fn device_seconds(&self) -> Option<f64> {
        self.seconds
    }
}

impl Drop for VulkanBackend {
    fn drop(&mut self) {
        if !self.context.hangs() {
            // SAFETY: every submission was waited for.
            unsafe { self.context.device.destroy_fence(self.fence, None) };
        }
    }
}

/// Submits tapes, waits, and reads the clock.
fn play(context: &Context, fence: vk::Fence, tapes: &[Tape], ticks: &mut Ticks) -> Result<(), Error> {
    let commands: Vec<vk::CommandBuffer> = tapes.iter().map(|tape| tape.commands).collect();
    context.submit(&commands, fence)?;
    if let (Some(first), Some(last)) = (tapes.first(), tapes.last()) {
        ticks.first = ticks.first.or(first.ticks().map(|(begin, _)| begin));
        ticks.last = last.ticks().map(|(_, end)| end);
    }
    Ok(())
}

/// The device's time, unless it cannot be true: it lies inside the host's time for the same run, so it is not longer, but
/// for what the two clocks' rates may differ. Software devices read the host's own clock on the thread that runs the
/// commands; what they leave out is the way to that thread and back.
fn trusted(device: f64, wall: f64) -> Option<f64> {
    const RATE: f64 = 1.03;
    (device > 0.0 && device <= wall * RATE).then_some(device)
}

/// Whether the device can count what it is to work on.
fn check_limits(setting: &Setting, context: &Context) -> Result<(), Error> {
    let most = context.found.target.buffer_bytes;
    for (layout, decl) in setting.layouts.iter().zip(&setting.program().buffers) {
        let elements = layout.shape.iter().try_fold(1i128, |n, &e| n.checked_mul(e as i128));
        let beyond = |what: &str, value: i128, limit: i128| {
            Error::from(InputError::BeyondLimit {
                what: format!("the number of {what} of {}", decl.name),
                value,
                limit,
            })
        };
        match elements {
            Some(n) if n < i128::from(LIMIT) => {}
            n => return Err(beyond("elements", n.unwrap_or(i128::MAX), i128::from(LIMIT))),
        }
        if layout.bytes as u64 > most {
            return Err(beyond("bytes", layout.bytes as i128, i128::from(most) + 1));
        }
    }
    Ok(())
}

/// The most scratch memory that any launch known now asks for, bytes.
fn known_scratch(program: &VulkanProgram, ops: &[Op]) -> u64 {
    let most_groups = u64::from(program.context.found.target.max_groups);
    let of = |op: &Op| match op {
        Op::Launch(l) => {
            let phases = l.values.phases.iter().zip(&program.kernels[l.kernel].phases);
            let bytes = phases.map(|(phase, code)| {
                let per_group = u64::from(code.chunks_per_group);
                let groups = u64::try_from(phase.chunks).unwrap_or(0).div_ceil(per_group).min(most_groups);
                let (groups, bytes) = share(groups, per_group, l.values.local_bytes);
                groups.saturating_mul(per_group).saturating_mul(bytes)
            });
            bytes.max().unwrap_or(0)
        }
        Op::Repeat { body, .. } => known_scratch(program, body),
        Op::If { then, otherwise, .. } => known_scratch(program, then).max(known_scratch(program, otherwise)),
        Op::Fill { .. } | Op::Copy { .. } => 0,
    };
    ops.iter().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_takes_longer_than_the_host_waits_is_not_believed() {
        assert_eq!(trusted(1.0, 1.1), Some(1.0));
        assert_eq!(trusted(1.02, 1.0), Some(1.02));
        assert_eq!(trusted(1.1, 1.0), None);
        assert_eq!(trusted(0.0, 1.0), None);
    }
}

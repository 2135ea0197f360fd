//! Runs probes in interleaved passes and turns their times into figures.
#![allow(unsafe_code, reason = "lends disjoint parts of one buffer to threads")]

use std::time::Duration;

use rooftile_artifact::CpuTarget;
use rooftile_artifact::profile::{Figure, Level};

use super::{ComputeProbe, MemoryProbe};
use crate::buffer::AlignedBuffer;
use crate::error::{DeviceError, Error};
use crate::memory;
use crate::pool::{Division, Panicked, Phase, Pool};
use crate::stats;
use crate::timer::{Clock, Stopwatch};

/// What one entry of a bench runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A loop of operations; its rate is in operations per second.
    Compute(ComputeProbe),
    /// Sweeps over memory of which each thread has `share` bytes; its rate is in bytes per second.
    Memory { probe: MemoryProbe, level: Level, share: usize },
    /// Empty kernels of two phases; its rate is in launches per second.
    Launch,
}

/// A probe, the threads that it runs on, and what it reached in each pass.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) work: Work,
    pub(crate) threads: usize,
    /// Rate of the fast samples of each pass, all threads together.
    pub(crate) rates: Vec<f64>,
    /// Iterations of a sample; found in the first pass.
    iterations: u64,
}

/// Threads and memory for probes.
#[derive(Debug)]
pub(crate) struct Bench {
    pool: Pool,
    memory: AlignedBuffer,
}

/// Arrays of one sweep start this far apart beyond their length, so that no two agree in the low bits of their
/// addresses, which some processors mistake for a dependence.
const ARRAY_GAP: usize = 192;

impl Bench {
    /// Memory for the largest share of any entry, and a pinned pool.
    ///
    /// # Errors
    /// [`DeviceError`] without memory or threads.
    pub(crate) fn new(threads: usize, entries: &[Entry]) -> Result<Bench, Error> {
        let bytes = entries.iter().map(|e| match e.work {
            Work::Memory { share, .. } => share * e.threads,
            Work::Compute(_) | Work::Launch => 0,
        });
        let memory = AlignedBuffer::new(bytes.max().unwrap_or(0))?;
        let pool =
            Pool::new(threads, true).map_err(|source| DeviceError::Threads { count: threads, source })?;
        Ok(Bench { pool, memory })
    }

    /// Runs all entries pass by pass, so that a disturbance meets all alike: at least two passes, then as many of
    /// `passes` as fit the budget.
    pub(crate) fn run(
        &mut self,
        entries: &mut [Entry],
        passes: u32,
        budget: Duration,
    ) -> Result<(), Panicked> {
        let _pin = self.pool.pin_caller();
        let watch = Stopwatch::start(Clock::Wall);
        for pass in 0..passes {
            // As long as the mean pass so far, another must fit.
            if pass >= 2 && watch.elapsed() * (pass + 1) / pass > budget {
                break;
            }
            for entry in &mut *entries {
                self.pass(entry)?;
            }
        }
        Ok(())
    }

    /// Times of `count` samples of an entry in seconds, after a pass.
    pub(crate) fn samples(&mut self, entry: &Entry, count: usize) -> Result<Vec<f64>, Panicked> {
        let _pin = self.pool.pin_caller();
        (0..count).map(|_| self.sample(entry, entry.iterations)).collect()
    }

    fn pass(&mut self, entry: &mut Entry) -> Result<(), Panicked> {
        if entry.rates.is_empty() {
            self.calibrate(entry)?;
        }
        let mut times = vec![self.sample(entry, entry.iterations)?];
        // Sweeps over main memory are long and bring no cache to warm.
        let more = if times[0] > 4e-3 { 2 } else { 7 };
        for _ in 0..more {
            times.push(self.sample(entry, entry.iterations)?);
        }
        // What else the machine does makes samples slower; but the very fastest may be an error of the processor-time
        // account, which happens when a thread is moved or interrupted.
        let fast = stats::quantile(&stats::sorted(&times), 0.2);
        entry.rates.push(entry.amount() / fast);
        Ok(())
    }

    /// Doubles the iterations of a sample until the faster of two is long enough: one alone may be a slow accident.
    fn calibrate(&mut self, entry: &mut Entry) -> Result<(), Panicked> {
        const SAMPLE: f64 = 0.3e-3;
        loop {
            let first = self.sample(entry, entry.iterations)?;
            if first >= SAMPLE && self.sample(entry, entry.iterations)? >= SAMPLE {
                return Ok(());
            }
            entry.iterations *= 2;
        }
    }

    /// Seconds of so many iterations on every thread of the entry.
    fn sample(&mut self, entry: &Entry, iterations: u64) -> Result<f64, Panicked> {
        let threads = entry.threads;
        match entry.work {
            Work::Compute(probe) => self.time(threads, &|_| probe.run(iterations)),
            Work::Memory { probe, share, .. } => {
                let memory = Base(self.memory.as_mut_ptr());
                let bytes = share / probe.arrays - ARRAY_GAP;
                let bytes = bytes / super::SWEEP_STEP * super::SWEEP_STEP;
                self.time(threads, &|thread| {
                    let mut parts = [memory.at(thread * share); 3];
                    for (n, part) in parts.iter_mut().enumerate().take(probe.arrays) {
                        *part = memory.at(thread * share + n * (bytes + ARRAY_GAP));
                    }
                    for _ in 0..iterations {
                        // SAFETY: the memory holds a share for each thread, and each share the arrays of the probe;
                        // the memory is borrowed by this function.
                        unsafe { probe.run(parts, bytes) };
                    }
                })
            }
            Work::Launch => {
                let chunks = i64::try_from(threads).unwrap_or(i64::MAX);
                let phases = [Phase { chunks, division: Division::Static }; 2];
                let watch = Stopwatch::start(Clock::Wall);
                for _ in 0..iterations {
                    self.pool.run(&phases, &|_, _, begin, _| {
                        std::hint::black_box(begin);
                    })?;
                }
                Ok(watch.seconds())
            }
        }
    }

    /// Seconds of `body` on one thread, by its own time, or on all, by the wall clock.
    fn time(&mut self, threads: usize, body: &(dyn Fn(usize) + Sync)) -> Result<f64, Panicked> {
        let watch = Stopwatch::start(Clock::for_threads(threads));
        if threads == 1 {
            body(0);
        } else {
            let chunks = i64::try_from(threads).unwrap_or(i64::MAX);
            self.pool
                .run(&[Phase { chunks, division: Division::Static }], &|thread, _, _, _| body(thread))?;
        }
        Ok(watch.seconds().max(1e-9))
    }
}

/// The start of memory that all threads use, each its own share.
struct Base(*mut u8);

// SAFETY: threads use disjoint shares.
unsafe impl Sync for Base {}

impl Base {
    fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}

impl Entry {
    pub(crate) fn new(work: Work, threads: usize) -> Entry {
        Entry { work, threads, rates: Vec::new(), iterations: 1 }
    }

    /// Operations, bytes or launches of a sample.
    fn amount(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let (iterations, threads) = (self.iterations as f64, self.threads as f64);
        match self.work {
            Work::Compute(probe) => probe.operations * iterations * threads,
            Work::Memory { probe, share, .. } => {
                let bytes = (share / probe.arrays - ARRAY_GAP) / super::SWEEP_STEP * super::SWEEP_STEP;
                #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
                let moved = (bytes * probe.moves) as f64;
                moved * iterations * threads
            }
            Work::Launch => iterations,
        }
    }

    /// What the passes tell: their median with its limits, stable when these lie within `tolerance` of each other.
    pub(crate) fn figure(&self, tolerance: f64) -> Figure {
        figure(&self.rates, tolerance)
    }
}

/// The median of values with its limits, stable when these lie within `tolerance` of each other, relative to it.
pub(crate) fn figure(values: &[f64], tolerance: f64) -> Figure {
    let sorted = stats::sorted(values);
    let (lo, hi) = stats::median_limits(&sorted, 0.95);
    let median = stats::quantile(&sorted, 0.5);
    Figure { median, lo, hi, stable: hi - lo <= tolerance * median }
}

/// Levels of memory with the bytes that each of `threads` threads sweeps to stay inside the level.
pub(crate) fn levels(target: &CpuTarget, threads: usize, main_memory: usize) -> Vec<(Level, usize)> {
    let mut levels = vec![(Level::L1, target.l1d / 2), (Level::L2, (target.l2 / 2).max(target.l1d * 2))];
    if target.l3 > target.l2 {
        // Beyond what the second levels hold, though the threads share the third.
        levels.push((Level::L3, (target.l3 / 2 / threads).max(target.l2 * 2)));
    }
    levels.push((Level::Dram, main_memory / threads));
    // Whole pages, and never too little for three arrays.
    levels.into_iter().map(|(level, share)| (level, share.next_multiple_of(4096).max(8192))).collect()
}

/// Bytes to sweep so that nearly all come from main memory: eight times the last-level cache, at least 256 MiB,
/// at most a quarter of what is available.
pub(crate) fn main_memory_bytes(target: &CpuTarget) -> usize {
    let wanted = (target.l3 * 8).max(256 << 20);
    let available = memory::available().and_then(|n| usize::try_from(n / 4).ok()).unwrap_or(wanted);
    wanted.min(available).max(64 << 20)
}

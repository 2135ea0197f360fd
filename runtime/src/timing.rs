//! Timing of instances: samples until their median is known well enough, alone or interleaved with a rival.
//!
//! A sample is the mean of a batch of runs, long enough for the clock. Before the first there is a warm-up; flushing
//! caches and restoring inputs happen between samples, never inside one.

use std::time::Duration;

use crate::buffer::{AlignedBuffer, OutOfMemory};
use crate::content;
use crate::error::Error;
use crate::instance::Instance;
use crate::pool::{Panicked, Pool};
use crate::stats;
use crate::timer::{Clock, Stopwatch};
use crate::topology::Pin;

/// The state of the caches before a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As the previous run left them.
    Warm,
    /// Filled with other data; each sample is one run.
    Cold,
}

/// How something is timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasureOptions {
    /// Fewest samples; below 6 the limits of the median are not 95 % limits.
    pub min_samples: usize,
    /// Most samples.
    pub max_samples: usize,
    /// Time after which no further sample is begun, once there are `min_samples`; after four times as long, none is
    /// begun in any case. A measurement has at least one sample.
    pub budget: Duration,
    /// Done when half the width of the confidence limits, relative to the median, is at most this. Of pairs: half
    /// the width of the limits of the log ratio.
    pub target_rel_ci: f64,
    /// Of one subject: done once there are `min_samples` and their median exceeds so many seconds.
    pub enough_beyond: Option<f64>,
    /// Of pairs: done when the 99 % limits of the log ratio clear zero by this much on either side.
    pub decide_beyond: Option<f64>,
    /// State of the caches.
    pub cache: Cache,
    /// Whether inputs that a run changes are put back between samples. Inside a batch they go on changing.
    pub restore: bool,
    /// Whether the calling thread is kept on one processor.
    pub pin: bool,
}

impl Default for MeasureOptions {
    /// Warm, restored, pinned; 7 to 101 samples, at most a second, limits within 2 %.
    fn default() -> MeasureOptions {
        MeasureOptions {
            min_samples: 7,
            max_samples: 101,
            budget: Duration::from_secs(1),
            target_rel_ci: 0.02,
            enough_beyond: None,
            decide_beyond: None,
            cache: Cache::Warm,
            restore: true,
            pin: true,
        }
    }
}

/// A timing.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Seconds per run, in the order in which they were taken.
    pub samples: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Lower 95 % confidence limit of the median.
    pub lo: f64,
    /// Upper 95 % confidence limit of the median.
    pub hi: f64,
    /// Runs per sample.
    pub batch: u32,
    /// The host's clock.
    pub clock: Clock,
    /// Whether the samples are by the device's clock instead.
    pub device_clock: bool,
    /// State of the caches.
    pub cache: Cache,
}

/// Timings of two things, taken in turns.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedMeasurement {
    /// Of the first.
    pub a: Measurement,
    /// Of the second.
    pub b: Measurement,
    /// For each pair of neighbouring samples, the logarithm of the first's time over the second's: positive where
    /// the second is faster.
    pub log_ratios: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Lower 95 % confidence limit of the median.
    pub lo: f64,
    /// Upper 95 % confidence limit of the median.
    pub hi: f64,
}

/// What can be timed.
pub trait Subject {
    /// What is timed.
    ///
    /// # Errors
    /// Whatever goes wrong; it ends the measurement.
    fn run(&mut self) -> Result<(), Error>;

    /// Threads that [`Subject::run`] uses.
    fn threads(&self) -> usize {
        1
    }

    /// The host's clock that tells how long a run takes: one thread is timed by its processor time, more by the wall
    /// clock.
    fn clock(&self) -> Clock {
        Clock::for_threads(self.threads())
    }

    /// Seconds that the last run took by the clock of the device that it ran on, if that has one that can be trusted. It
    /// leaves out the way to the device and back.
    fn device_seconds(&self) -> Option<f64> {
        None
    }

    /// Bytes of the last-level cache, for [`Cache::Cold`].
    fn last_level_cache(&self) -> usize;

    /// Keeps what a run changes, once before the first run.
    fn save(&mut self) {}

    /// Puts back what a run changed, before each sample.
    fn restore(&mut self) {}

    /// Replaces the content of the caches of all threads.
    ///
    /// # Errors
    /// When a thread panicked.
    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        Ok(flusher.flush(None)?)
    }

    /// Keeps the calling thread on the processor where it is to run.
    fn pin(&self) -> Option<Pin> {
        Some(Pin::current(None))
    }
}

impl Subject for Instance {
    fn run(&mut self) -> Result<(), Error> {
        Instance::run(self)
    }

    fn threads(&self) -> usize {
        Instance::threads(self)
    }

    fn clock(&self) -> Clock {
        self.backend().clock()
    }

    fn device_seconds(&self) -> Option<f64> {
        self.backend().device_seconds()
    }

    fn last_level_cache(&self) -> usize {
        // No interface tells a GPU's; more than those of the largest in use.
        const GPU: usize = 64 << 20;
        self.target().cpu().map_or(GPU, |target| target.l3)
    }

    fn save(&mut self) {
        if self.consumes_inputs() {
            self.save_inputs();
        }
    }

    fn restore(&mut self) {
        self.restore_inputs();
    }

    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        self.flush_caches(flusher)
    }

    fn pin(&self) -> Option<Pin> {
        self.pin_caller()
    }
}

/// Memory of twice the last-level cache; writing it replaces the content of all caches.
#[derive(Debug)]
pub struct Flusher {
    memory: AlignedBuffer,
}

impl Flusher {
    /// A flusher for a last-level cache of so many bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`] when there is no memory for twice as many.
    pub fn new(last_level_cache: usize) -> Result<Flusher, OutOfMemory> {
        Ok(Flusher { memory: AlignedBuffer::new(last_level_cache.saturating_mul(2))? })
    }

    /// Bytes of the memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Reads and writes all of the memory, each thread of the pool its share.
    ///
    /// # Errors
    /// [`Panicked`] when a thread did.
    pub fn flush(&mut self, pool: Option<&mut Pool>) -> Result<(), Panicked> {
        content::touch(self.memory.as_mut_slice(), pool)
    }
}

/// Times one subject.
///
/// # Errors
/// What a run returns; [`crate::DeviceError`] without memory to flush the caches.
pub fn measure<S: Subject + ?Sized>(subject: &mut S, options: &MeasureOptions) -> Result<Measurement, Error> {
    let _pin = options.pin.then(|| subject.pin());
    let mut sampler = Sampler::new(subject, subject.clock(), options)?;
    let watch = Stopwatch::start(Clock::Wall);
    loop {
        sampler.take()?;
        let samples = sampler.samples(sampler.has_device_clock());
        let done = || {
            let sorted = stats::sorted(&samples);
            let (lo, hi) = stats::median_limits(&sorted, 0.95);
            let median = stats::quantile(&sorted, 0.5);
            (hi - lo) / 2.0 <= options.target_rel_ci * median
                || options.enough_beyond.is_some_and(|most| median > most)
        };
        if finished(samples.len(), &watch, options, done) {
            break;
        }
    }
    let device = sampler.has_device_clock();
    Ok(sampler.finish(device))
}

/// Times two subjects in turns, A B B A, so that whatever drifts meets both alike.
///
/// # Errors
/// As [`measure`].
pub fn measure_paired<A: Subject + ?Sized, B: Subject + ?Sized>(
    a: &mut A,
    b: &mut B,
    options: &MeasureOptions,
) -> Result<PairedMeasurement, Error> {
    let _pin = options.pin.then(|| if a.threads() >= b.threads() { a.pin() } else { b.pin() });
    let clock = if a.clock() == b.clock() { a.clock() } else { Clock::Wall };
    let (mut a, mut b) = (Sampler::new(a, clock, options)?, Sampler::new(b, clock, options)?);
    let watch = Stopwatch::start(Clock::Wall);
    let (log_ratios, device) = loop {
        if a.taken.len() % 2 == 0 {
            a.take()?;
            b.take()?;
        } else {
            b.take()?;
            a.take()?;
        }
        let device = a.has_device_clock() && b.has_device_clock();
        let pairs = a.samples(device).into_iter().zip(b.samples(device));
        let log_ratios: Vec<f64> = pairs.map(|(a, b)| (a / b).ln()).collect();
        let done = || {
            let sorted = stats::sorted(&log_ratios);
            let (lo, hi) = stats::median_limits(&sorted, 0.95);
            // Looking again and again makes chance findings likelier, hence the wider limits for a decision.
            let (wide_lo, wide_hi) = stats::median_limits(&sorted, 0.99);
            let decided = |margin: f64| sorted.len() >= 8 && (wide_lo > margin || wide_hi < -margin);
            (hi - lo) / 2.0 <= options.target_rel_ci || options.decide_beyond.is_some_and(decided)
        };
        if finished(log_ratios.len(), &watch, options, done) {
            break (log_ratios, device);
        }
    };
    let sorted = stats::sorted(&log_ratios);
    let (lo, hi) = stats::median_limits(&sorted, 0.95);
    let median = stats::quantile(&sorted, 0.5);
    Ok(PairedMeasurement { a: a.finish(device), b: b.finish(device), log_ratios, median, lo, hi })
}

fn finished(
    count: usize,
    watch: &Stopwatch,
    options: &MeasureOptions,
    precise: impl FnOnce() -> bool,
) -> bool {
    let elapsed = watch.elapsed();
    if count < options.min_samples {
        return count >= options.max_samples || elapsed > options.budget.saturating_mul(4);
    }
    count >= options.max_samples || elapsed > options.budget || precise()
}

/// Takes samples of one subject.
struct Sampler<'a, S: Subject + ?Sized> {
    subject: &'a mut S,
    clock: Clock,
    batch: u32,
    cache: Cache,
    flusher: Option<Flusher>,
    restore: bool,
    taken: Vec<Sample>,
}

/// Seconds per run, of one batch.
#[derive(Clone, Copy, Debug)]
struct Sample {
    host: f64,
    /// By the device's clock, if that told every run of the batch.
    device: Option<f64>,
}

impl<'a, S: Subject + ?Sized> Sampler<'a, S> {
    /// Runs the subject to warm it up, and finds how many runs make a sample.
    fn new(subject: &'a mut S, clock: Clock, options: &MeasureOptions) -> Result<Sampler<'a, S>, Error> {
        let flusher = match options.cache {
            Cache::Warm => None,
            Cache::Cold => Some(Flusher::new(subject.last_level_cache())?),
        };
        if options.restore {
            subject.save();
        }
        let (cache, restore) = (options.cache, options.restore);
        let mut sampler = Sampler { subject, clock, batch: 1, cache, flusher, restore, taken: Vec::new() };
        let first = sampler.sample()?.host;
        if cache == Cache::Warm {
            sampler.calibrate(first)?;
        }
        Ok(sampler)
    }

    /// Doubles the batch until a sample is long beside the reading of the clock. A first run that is much longer than that
    /// would be long enough with warm caches too.
    fn calibrate(&mut self, first: f64) -> Result<(), Error> {
        const READINGS: f64 = 200.0;
        const SHORTEST: f64 = 20e-6;
        const LARGEST: u32 = 1 << 20;
        const COLD: f64 = 8.0;
        let enough = (READINGS * self.clock.cost()).max(SHORTEST);
        if first > COLD * enough {
            return Ok(());
        }
        while self.batch < LARGEST && self.sample()?.host * f64::from(self.batch) < enough {
            self.batch *= 2;
        }
        Ok(())
    }

    /// Takes a sample to be kept.
    fn take(&mut self) -> Result<(), Error> {
        let sample = self.sample()?;
        self.taken.push(sample);
        Ok(())
    }

    /// Whether the device's clock told every sample so far: one measurement is by one clock.
    fn has_device_clock(&self) -> bool {
        self.taken.iter().all(|sample| sample.device.is_some())
    }

    /// Seconds of the samples so far, by the device's clock or the host's.
    fn samples(&self, device: bool) -> Vec<f64> {
        let seconds = |s: &Sample| s.device.filter(|_| device).unwrap_or(s.host);
        self.taken.iter().map(seconds).collect()
    }

    /// Runs one batch.
    fn sample(&mut self) -> Result<Sample, Error> {
        if self.restore {
            self.subject.restore();
        }
        if let Some(flusher) = &mut self.flusher {
            self.subject.flush(flusher)?;
        }
        let watch = Stopwatch::start(self.clock);
        let mut device = Some(0.0);
        for _ in 0..self.batch {
            self.subject.run()?;
            device = device.zip(self.subject.device_seconds()).map(|(sum, run)| sum + run);
        }
        // A subject faster than the clock can tell is not infinitely fast: ratios stay finite.
        let per_run = |seconds: f64| seconds.max(1e-9) / f64::from(self.batch);
        Ok(Sample { host: per_run(watch.seconds()), device: device.map(per_run) })
    }

    fn finish(self, device: bool) -> Measurement {
        let samples = self.samples(device);
        if self.restore {
            self.subject.restore();
        }
        let sorted = stats::sorted(&samples);
        let (lo, hi) = stats::median_limits(&sorted, 0.95);
        let median = stats::quantile(&sorted, 0.5);
        Measurement {
            samples,
            median,
            lo,
            hi,
            batch: self.batch,
            clock: self.clock,
            device_clock: device,
            cache: self.cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spins for a number of additions, and counts what is asked of it.
    #[derive(Default)]
    struct Spin {
        additions: u64,
        runs: usize,
        restores: usize,
        flushes: usize,
        fail_at: Option<usize>,
    }

    impl Subject for Spin {
        fn run(&mut self) -> Result<(), Error> {
            self.runs += 1;
            if self.fail_at == Some(self.runs) {
                return Err(Panicked.into());
            }
            for n in 0..self.additions {
                std::hint::black_box(n);
            }
            Ok(())
        }

        fn last_level_cache(&self) -> usize {
            1 << 16
        }

        fn restore(&mut self) {
            self.restores += 1;
        }

        fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
            self.flushes += 1;
            Ok(flusher.flush(None)?)
        }
    }

    fn options() -> MeasureOptions {
        MeasureOptions { max_samples: 21, ..MeasureOptions::default() }
    }

    #[test]
    fn short_runs_are_batched_and_limits_enclose_the_median() {
        let mut spin = Spin { additions: 100, ..Spin::default() };
        let m = measure(&mut spin, &options()).expect("runs");
        assert!(m.batch > 1 && m.clock == Clock::ThreadCpu, "{m:?}");
        assert!((7..=21).contains(&m.samples.len()));
        assert!(0.0 < m.lo && m.lo <= m.median && m.median <= m.hi);
        assert!(spin.restores >= m.samples.len() && spin.flushes == 0);
    }

    #[test]
    fn cold_samples_are_single_runs_after_a_flush() {
        let mut spin = Spin { additions: 100, ..Spin::default() };
        let m = measure(&mut spin, &MeasureOptions { cache: Cache::Cold, ..options() }).expect("runs");
        assert_eq!((m.batch, spin.flushes), (1, m.samples.len() + 1));
        assert_eq!(spin.runs, spin.flushes);
    }

    #[test]
    fn pairs_tell_fast_from_slow() {
        let mut slow = Spin { additions: 300_000, ..Spin::default() };
        let mut fast = Spin { additions: 100_000, ..Spin::default() };
        let options = MeasureOptions { decide_beyond: Some(0.1), ..options() };
        let m = measure_paired(&mut slow, &mut fast, &options).expect("runs");
        assert!(m.lo > 0.0, "{}", m.lo);
        assert_eq!(m.log_ratios.len(), m.a.samples.len());
        let back = measure_paired(&mut fast, &mut slow, &options).expect("runs");
        assert!(back.hi < 0.0, "{}", back.hi);
    }

    #[test]
    fn a_failing_run_ends_the_measurement() {
        let mut spin = Spin { fail_at: Some(3), ..Spin::default() };
        assert!(measure(&mut spin, &options()).is_err());
    }

    #[test]
    fn the_budget_is_kept() {
        let mut spin = Spin { additions: 3_000_000, ..Spin::default() };
        let options = MeasureOptions { budget: Duration::ZERO, ..options() };
        assert_eq!(measure(&mut spin, &options).expect("runs").samples.len(), 1);
    }
}

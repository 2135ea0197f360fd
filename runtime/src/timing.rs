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
    /// The clock.
    pub clock: Clock,
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

    /// Threads that [`Subject::run`] uses: one is timed by its processor time, more by the wall clock.
    fn threads(&self) -> usize {
        1
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

    fn last_level_cache(&self) -> usize {
        self.target().l3
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
        self.with_pool(|pool| flusher.flush(pool))?;
        Ok(())
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
    let mut sampler = Sampler::new(subject, Clock::for_threads(subject.threads()), options)?;
    let watch = Stopwatch::start(Clock::Wall);
    let mut samples = Vec::new();
    loop {
        samples.push(sampler.sample()?);
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
    Ok(sampler.finish(samples))
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
    let clock = Clock::for_threads(a.threads().max(b.threads()));
    let (mut a, mut b) = (Sampler::new(a, clock, options)?, Sampler::new(b, clock, options)?);
    let watch = Stopwatch::start(Clock::Wall);
    let (mut of_a, mut of_b, mut log_ratios) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let (time_a, time_b) = if log_ratios.len() % 2 == 0 {
            let first = a.sample()?;
            (first, b.sample()?)
        } else {
            let first = b.sample()?;
            (a.sample()?, first)
        };
        of_a.push(time_a);
        of_b.push(time_b);
        log_ratios.push((time_a / time_b).ln());
        let done = || {
            let sorted = stats::sorted(&log_ratios);
            let (lo, hi) = stats::median_limits(&sorted, 0.95);
            // Looking again and again makes chance findings likelier, hence the wider limits for a decision.
            let (wide_lo, wide_hi) = stats::median_limits(&sorted, 0.99);
            let decided = |margin: f64| sorted.len() >= 8 && (wide_lo > margin || wide_hi < -margin);
            (hi - lo) / 2.0 <= options.target_rel_ci || options.decide_beyond.is_some_and(decided)
        };
        if finished(log_ratios.len(), &watch, options, done) {
            break;
        }
    }
    let sorted = stats::sorted(&log_ratios);
    let (lo, hi) = stats::median_limits(&sorted, 0.95);
    let median = stats::quantile(&sorted, 0.5);
    Ok(PairedMeasurement { a: a.finish(of_a), b: b.finish(of_b), log_ratios, median, lo, hi })
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
        let mut sampler = Sampler { subject, clock, batch: 1, cache, flusher, restore };
        let first = sampler.sample()?;
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
        while self.batch < LARGEST && self.sample()? * f64::from(self.batch) < enough {
            self.batch *= 2;
        }
        Ok(())
    }

    /// Seconds per run, of one batch.
    fn sample(&mut self) -> Result<f64, Error> {
        if self.restore {
            self.subject.restore();
        }
        if let Some(flusher) = &mut self.flusher {
            self.subject.flush(flusher)?;
        }
        let watch = Stopwatch::start(self.clock);
        for _ in 0..self.batch {
            self.subject.run()?;
        }
        // A subject faster than the clock can tell is not infinitely fast: ratios stay finite.
        Ok(watch.seconds().max(1e-9) / f64::from(self.batch))
    }

    fn finish(self, samples: Vec<f64>) -> Measurement {
        if self.restore {
            self.subject.restore();
        }
        let sorted = stats::sorted(&samples);
        let (lo, hi) = stats::median_limits(&sorted, 0.95);
        let median = stats::quantile(&sorted, 0.5);
        Measurement { samples, median, lo, hi, batch: self.batch, clock: self.clock, cache: self.cache }
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
        assert!(m.lo > 0.3 && m.median < 2.5, "{} {}", m.lo, m.median);
        assert_eq!(m.log_ratios.len(), m.a.samples.len());
        let back = measure_paired(&mut fast, &mut slow, &options).expect("runs");
        assert!(back.hi < -0.3, "{}", back.hi);
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

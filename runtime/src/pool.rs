//! A persistent thread pool that runs the phases of a kernel with a barrier after each.
#![allow(unsafe_code, reason = "lends the caller's closure to threads that outlive the borrow")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::event::Event;
use crate::topology::{Pin, processors};

/// Looks at a changing word before a thread goes to sleep: some 20 microseconds, longer than the gap between two
/// launches of a pipeline and shorter than a time slice.
const SPIN: u32 = 1500;

/// A phase as the pool sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Chunks `0..chunks` are run, each once.
    pub chunks: i64,
    /// How they are divided.
    pub division: Division,
}

/// How a phase's chunks are divided among the threads. Every thread begins with a share of its own, of neighbouring
/// chunks, the same in every run, so that it finds its data in its caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// Each thread runs its share in one call, and nothing else.
    Static,
    /// Each thread takes `grain` chunks at a time, from its share first, then from those of threads that are behind.
    Dynamic {
        /// Chunks per call, at least 1.
        grain: i64,
    },
}

impl Phase {
    /// A phase whose chunks are balanced with a few calls per thread.
    #[must_use]
    pub fn balanced(chunks: i64, threads: usize) -> Phase {
        let calls = i64::try_from(threads).unwrap_or(i64::MAX).saturating_mul(8);
        Phase { chunks, division: Division::Dynamic { grain: (chunks / calls).max(1) } }
    }
}

/// What the pool runs: `body(thread, phase, begin, end)`.
pub type Body<'a> = dyn Fn(usize, usize, i64, i64) + Sync + 'a;

/// The body panicked on some thread; all phases were ended nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a thread of the pool panicked")]
pub struct Panicked;

/// Threads that wait for work. The caller of [`Pool::run`] is one of them.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    pinned: Option<usize>,
}

#[derive(Debug)]
struct Shared {
    threads: usize,
    spin: u32,
    /// Counts jobs; workers wait on it.
    start: Event,
    /// Counts passed barriers.
    release: Event,
    arrived: AtomicUsize,
    grain: AtomicI64,
    shares: Box<[Share]>,
    /// The job under way; valid from the advance of `start` to the last barrier of the job.
    job: AtomicPtr<Job<'static>>,
    stop: AtomicBool,
    panicked: AtomicBool,
}

/// What is left of a thread's share of a phase, on a cache line pair of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Share {
    next: AtomicI64,
    end: AtomicI64,
}

#[derive(Clone, Copy)]
struct Job<'a> {
    phases: &'a [Phase],
    body: &'a Body<'a>,
}

impl Pool {
    /// A pool of `threads` threads, the caller included, hence one less to be started. With `pin`, each thread is
    /// kept on a processor of its own, the caller only while it runs a [`Pool::pin_caller`] guard.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(threads: usize, pin: bool) -> io::Result<Pool> {
        let threads = threads.max(1);
        let processors = processors();
        let shared = Arc::new(Shared {
            threads,
            // With more threads than processors, whoever spins keeps another from its work.
            spin: if threads <= processors.len() { SPIN } else { 0 },
            start: Event::default(),
            release: Event::default(),
            arrived: AtomicUsize::new(0),
            grain: AtomicI64::new(1),
            shares: (0..threads).map(|_| Share::default()).collect(),
            job: AtomicPtr::new(std::ptr::null_mut()),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let cpu = |thread: usize| if pin { processors.get(thread % processors.len()).copied() } else { None };
        let mut pool = Pool { shared, workers: Vec::new(), pinned: cpu(0) };
        for thread in 1..threads {
            let (shared, cpu) = (Arc::clone(&pool.shared), cpu(thread));
            // When one is refused, dropping `pool` ends those that started.
            let worker = std::thread::Builder::new()
                .name(format!("kernel-{thread}"))
                .spawn(move || worker(&shared, thread, cpu))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Keeps the calling thread on the caller's processor of a pinned pool; `None` for other pools.
    #[must_use]
    pub fn pin_caller(&self) -> Option<Pin> {
        self.pinned.map(|cpu| Pin::current(Some(cpu)))
    }

    /// Runs the phases in order, all chunks of one before the first of the next. Chunks of one call ascend; calls
    /// of one phase may run at the same time. A job without two chunks in any phase runs on the caller alone.
    ///
    /// # Errors
    /// [`Panicked`] when the body did, on any thread.
    pub fn run(&mut self, phases: &[Phase], body: &Body<'_>) -> Result<(), Panicked> {
        if self.shared.threads == 1 || phases.iter().all(|p| p.chunks <= 1) {
            return serial(phases, body);
        }
        let shared = &*self.shared;
        let job = Job { phases, body };
        shared.prepare(&phases[0]);
        shared.job.store((&raw const job).cast_mut().cast(), Ordering::Release);
        shared.start.advance();
        // SAFETY: `job` lives to the end of this function, which is after the last barrier.
        unsafe { shared.work(0, &raw const job) };
        shared.job.store(std::ptr::null_mut(), Ordering::Relaxed);
        if shared.panicked.swap(false, Ordering::Relaxed) { Err(Panicked) } else { Ok(()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.start.advance();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of bodies, so joining cannot fail in a way to be reported.
            let _ = worker.join();
        }
    }
}

/// The phases on the calling thread, without any synchronisation.
fn serial(phases: &[Phase], body: &Body<'_>) -> Result<(), Panicked> {
    catch_unwind(AssertUnwindSafe(|| {
        for (n, phase) in phases.iter().enumerate() {
            if phase.chunks > 0 {
                body(0, n, 0, phase.chunks);
            }
        }
    }))
    .map_err(|_| Panicked)
}

fn worker(shared: &Shared, thread: usize, cpu: Option<usize>) {
    let _pin = cpu.map(|cpu| Pin::current(Some(cpu)));
    let mut seen = 0;
    loop {
        seen = shared.start.wait_past(seen, shared.spin);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let job = shared.job.load(Ordering::Acquire);
        // SAFETY: the caller published the job before it advanced `start`, and keeps it until the last barrier.
        unsafe { shared.work(thread, job) };
    }
}

impl Shared {
    /// Runs one thread's part of a job.
    ///
    /// # Safety
    /// `job` points at a job that lives until its last barrier is passed.
    unsafe fn work(&self, thread: usize, job: *const Job<'_>) {
        // SAFETY: valid by the caller's promise. The references are copied out, so that none to the job itself is
        // alive when the last barrier ends its life; what they refer to is not used behind that barrier either.
        let Job { phases, body } = unsafe { *job };
        for n in 0..phases.len() {
            let run = || self.run_phase(thread, n, phases[n], body);
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.barrier(phases.get(n + 1).copied());
        }
    }

    fn run_phase(&self, thread: usize, n: usize, phase: Phase, body: &Body<'_>) {
        if phase.division == Division::Static {
            let share = &self.shares[thread];
            let (begin, end) = (share.next.load(Ordering::Relaxed), share.end.load(Ordering::Relaxed));
            if begin < end {
                body(thread, n, begin, end);
            }
            return;
        }
        let grain = self.grain.load(Ordering::Relaxed);
        for helped in 0..self.threads {
            let share = &self.shares[(thread + helped) % self.threads];
            let end = share.end.load(Ordering::Relaxed);
            while share.next.load(Ordering::Relaxed) < end {
                let begin = share.next.fetch_add(grain, Ordering::Relaxed);
                if begin >= end {
                    break;
                }
                body(thread, n, begin, end.min(begin.saturating_add(grain)));
            }
        }
    }

    /// Divides a phase's chunks. Only called when no thread is in a phase.
    fn prepare(&self, phase: &Phase) {
        let chunks = phase.chunks.max(0);
        let grain = match phase.division {
            Division::Static => 1,
            Division::Dynamic { grain } => grain.clamp(1, chunks.max(1)),
        };
        self.grain.store(grain, Ordering::Relaxed);
        let threads = i64::try_from(self.threads).unwrap_or(i64::MAX);
        let (each, more) = (chunks / threads, chunks % threads);
        let mut begin = 0;
        for (share, t) in self.shares.iter().zip(0i64..) {
            let end = begin + each + i64::from(t < more);
            share.next.store(begin, Ordering::Relaxed);
            share.end.store(end, Ordering::Relaxed);
            begin = end;
        }
    }

    /// Waits for all threads; the last to arrive divides the next phase and releases the others.
    fn barrier(&self, next: Option<Phase>) {
        let passed = self.release.count();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            if let Some(next) = next {
                self.prepare(&next);
            }
            self.release.advance();
        } else {
            self.release.wait_past(passed, self.spin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(chunks: i64, grain: i64) -> Phase {
        let division = if grain == 0 { Division::Static } else { Division::Dynamic { grain } };
        Phase { chunks, division }
    }

    /// Many tiny jobs: every chunk runs once, and no phase begins before its predecessor ended.
    #[test]
    fn stress() {
        for threads in 1..=4 {
            let mut pool = Pool::new(threads, false).expect("threads");
            for round in 0..400i64 {
                let phases = [
                    phase(round % 7, 1),
                    phase(0, 1),
                    phase(1 + round % 13, 0),
                    phase(64, 1 + round % 5),
                    phase(1, 1),
                ];
                let counts: Vec<Vec<AtomicI64>> =
                    phases.iter().map(|p| (0..p.chunks).map(|_| AtomicI64::new(0)).collect()).collect();
                let done = AtomicI64::new(0);
                let before: Vec<i64> =
                    (0..phases.len()).map(|n| phases[..n].iter().map(|p| p.chunks).sum()).collect();
                pool.run(&phases, &|thread, n, begin, end| {
                    assert!(thread < threads);
                    assert!(done.load(Ordering::SeqCst) >= before[n], "phase {n} began early");
                    for chunk in begin..end {
                        counts[n][usize::try_from(chunk).expect("not negative")]
                            .fetch_add(1, Ordering::Relaxed);
                    }
                    done.fetch_add(end - begin, Ordering::SeqCst);
                })
                .expect("no panic");
                assert!(counts.iter().flatten().all(|c| c.load(Ordering::Relaxed) == 1), "round {round}");
            }
        }
    }

    #[test]
    fn a_panic_is_reported_and_the_pool_goes_on() {
        for threads in [1, 2, 3] {
            let mut pool = Pool::new(threads, false).expect("threads");
            for bad in 0..8 {
                let outcome = pool.run(&[phase(8, 1), phase(4, 1)], &|_, n, begin, _| {
                    // `resume_unwind` unwinds without the message of a panic.
                    if n == 0 && (threads == 1 || begin == bad) {
                        std::panic::resume_unwind(Box::new("on purpose"));
                    }
                });
                assert_eq!(outcome, Err(Panicked));
                assert_eq!(pool.run(&[phase(8, 1)], &|_, _, _, _| {}), Ok(()));
            }
        }
    }

    #[test]
    fn pinned_pools_work_too() {
        let mut pool = Pool::new(2, true).expect("threads");
        let _pin = pool.pin_caller();
        let sum = AtomicI64::new(0);
        pool.run(&[Phase::balanced(1000, 2)], &|_, _, begin, end| {
            sum.fetch_add((begin..end).sum(), Ordering::Relaxed);
        })
        .expect("no panic");
        assert_eq!(sum.load(Ordering::Relaxed), 499_500);
    }
}

//! The clock: the only place of the libraries that reads one.
#![allow(unsafe_code, reason = "asks the system for the time")]

use std::time::Duration;

use crate::stats;

/// What time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Time as it passes, never set back.
    Wall,
    /// Time that the calling thread spent on a processor: not disturbed by whatever else the machine runs.
    ThreadCpu,
}

impl Clock {
    /// The clock for work of so many threads.
    #[must_use]
    pub fn for_threads(threads: usize) -> Clock {
        if threads == 1 { Clock::ThreadCpu } else { Clock::Wall }
    }

    /// Seconds that one reading takes, and so the least that two readings lie apart; measured.
    #[must_use]
    pub fn cost(self) -> f64 {
        const READINGS: usize = 101;
        let gaps: Vec<f64> = (0..READINGS).map(|_| Stopwatch::start(self).seconds()).collect();
        stats::median(&gaps)
    }

    fn now(self) -> Duration {
        let id = match self {
            Clock::Wall => libc::CLOCK_MONOTONIC,
            Clock::ThreadCpu => libc::CLOCK_THREAD_CPUTIME_ID,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the result is written to a live `timespec`. Both clocks exist wherever the call does.
        unsafe { libc::clock_gettime(id, &raw mut time) };
        #[expect(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "below 10^9, not negative"
        )]
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Time since a moment.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    clock: Clock,
    start: Duration,
}

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start(clock: Clock) -> Stopwatch {
        Stopwatch { clock, start: clock.now() }
    }

    /// Time since the start. Of [`Clock::ThreadCpu`], only meaningful on the thread that started it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_on_and_sleep_costs_no_processor_time() {
        let (wall, cpu) = (Stopwatch::start(Clock::Wall), Stopwatch::start(Clock::ThreadCpu));
        std::thread::sleep(Duration::from_millis(20));
        assert!(wall.elapsed() >= Duration::from_millis(20));
        assert!(cpu.elapsed() < Duration::from_millis(15));
        for clock in [Clock::Wall, Clock::ThreadCpu] {
            assert!((1e-10..1e-4).contains(&clock.cost()), "{}", clock.cost());
        }
    }
}

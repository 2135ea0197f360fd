//! A counter that threads wait on: a bounded spin, then sleep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// A counter that only goes up, by one at a time, and wakes whoever waits for it to change.
#[derive(Debug, Default)]
pub(crate) struct Event {
    count: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Event {
    /// The count now.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Counts one up. What was written before is visible to whoever sees the new count.
    pub(crate) fn advance(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        // A waiter counts itself a sleeper before it looks at the count for the last time; the total order of the
        // two stores and two loads means that either it sees the new count or we see it asleep.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Holding the lock, no waiter is between its last look and its sleep.
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.changed.notify_all();
        }
    }

    /// Waits until the count is not `old`: `spin` looks at most, then asleep. Returns the new count.
    pub(crate) fn wait_past(&self, old: u32, spin: u32) -> u32 {
        for _ in 0..spin {
            let now = self.count();
            if now != old {
                return now;
            }
            std::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = loop {
            let now = self.count.load(Ordering::SeqCst);
            if now != old {
                break now;
            }
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        now
    }
}

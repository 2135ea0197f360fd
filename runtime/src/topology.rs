//! Which processors this process may use, which of them are cores of their own, and how a thread is kept on one.
#![allow(unsafe_code, reason = "asks the system for, and sets, a thread's processors")]

/// Logical processors that this process may run on, one of each physical core first.
#[must_use]
pub fn processors() -> Vec<usize> {
    let allowed = allowed();
    let mut seen = Vec::new();
    let (first, rest): (Vec<usize>, Vec<usize>) = allowed.into_iter().partition(|&cpu| {
        let core = core_of(cpu);
        let new = !seen.contains(&core);
        seen.push(core);
        new
    });
    first.into_iter().chain(rest).collect()
}

/// Physical cores that this process may use, and no more than its share of processor time allows: the default
/// number of threads of a kernel.
#[must_use]
pub fn physical_cores() -> usize {
    let mut cores: Vec<usize> = allowed().into_iter().map(core_of).collect();
    cores.sort_unstable();
    cores.dedup();
    let share = std::thread::available_parallelism().map_or(1, usize::from);
    cores.len().clamp(1, share)
}

/// Keeps the calling thread on one processor until dropped.
#[derive(Debug)]
pub struct Pin {
    #[cfg(target_os = "linux")]
    before: Option<libc::cpu_set_t>,
    // Restores the thread that it was made on, so it must not leave it.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Pin {
    /// Pins the calling thread to a processor, by default the one that it is on. A system that cannot do so leaves
    /// the thread as it was.
    #[must_use]
    pub fn current(cpu: Option<usize>) -> Pin {
        #[cfg(target_os = "linux")]
        {
            let before = affinity();
            // SAFETY: a query without effect.
            let here = usize::try_from(unsafe { libc::sched_getcpu() }).ok();
            let before = before.filter(|_| cpu.or(here).is_some_and(|cpu| set_affinity(&only(cpu))));
            Pin { before, _not_send: std::marker::PhantomData }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = cpu;
            Pin { _not_send: std::marker::PhantomData }
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(before) = &self.before {
            set_affinity(before);
        }
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    let Some(set) = affinity() else { return vec![0] };
    let bits = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below the size of the set.
    (0..bits).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// The lowest-numbered logical processor of the same physical core.
fn core_of(cpu: usize) -> usize {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let Ok(list) = std::fs::read_to_string(path) else { return cpu };
    let first: String = list.chars().take_while(char::is_ascii_digit).collect();
    first.parse().unwrap_or(cpu)
}

#[cfg(target_os = "linux")]
fn affinity() -> Option<libc::cpu_set_t> {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as said; 0 is the calling thread.
    let got = unsafe { libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) };
    (got == 0).then_some(set)
}

#[cfg(target_os = "linux")]
fn set_affinity(set: &libc::cpu_set_t) -> bool {
    // SAFETY: the set is as large as said; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(set), set) == 0 }
}

#[cfg(target_os = "linux")]
fn only(cpu: usize) -> libc::cpu_set_t {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu < usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
        // SAFETY: the index is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_undone() {
        let before = processors();
        assert!((1..=before.len()).contains(&physical_cores()));
        {
            let _pin = Pin::current(before.last().copied());
            if cfg!(target_os = "linux") {
                assert_eq!(processors(), [before[before.len() - 1]]);
            }
        }
        assert_eq!(processors(), before);
    }
}

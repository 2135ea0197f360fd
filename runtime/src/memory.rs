//! How much memory the machine has left.

use std::fs;

use rooftile_artifact::room::ASK_FROM;

use crate::buffer::OutOfMemory;

/// Bytes that can be allocated without swapping, as far as the system says: what the kernel calls available, less
/// where a control group, or the limit on the process's addresses, allows less. `None` where the system does not say.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    [machine, group_available(), addresses_available()].into_iter().flatten().min()
}

/// Whether so many bytes more can be had. A system that hands out memory before it has any ends the process, or another
/// one, when the memory is written: so large amounts are counted first.
///
/// # Errors
/// [`OutOfMemory`] when the machine has not so many left.
pub fn ask(bytes: u64) -> Result<(), OutOfMemory> {
    if bytes < ASK_FROM || available().is_none_or(|available| bytes <= available) {
        return Ok(());
    }
    Err(OutOfMemory { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) })
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let kib = field(meminfo, "MemAvailable:")?;
    kib.checked_mul(1024)
}

/// What the control group's limit leaves; its page cache counts as free, since it can be dropped.
fn group_available() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let cached = read("memory.stat").and_then(|text| field(&text, "inactive_file")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// What the limit on the process's addresses leaves, where there is one.
fn addresses_available() -> Option<u64> {
    let limit = address_limit(&fs::read_to_string("/proc/self/limits").ok()?)?;
    let used = field(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?.checked_mul(1024)?;
    Some(limit.saturating_sub(used))
}

/// The soft limit; `None` for `unlimited`.
fn address_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The number that follows `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().map(str::split_ascii_whitespace);
    words.find_map(|mut w| (w.next()? == name).then(|| w.next()?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_understood() {
        assert_eq!(mem_available("MemTotal: 10 kB\nMemAvailable:    7 kB\n"), Some(7 * 1024));
        assert_eq!(mem_available("MemTotal: 10 kB\n"), None);
        let limits = |n: &str| {
            format!("Limit   Soft Limit  Hard Limit  Units\nMax address space {n} unlimited bytes\n")
        };
        assert_eq!(address_limit(&limits("4096000")), Some(4_096_000));
        assert_eq!(address_limit(&limits("unlimited")), None);
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|n| n > 1 << 20));
            assert_eq!(ask(1 << 60), Err(OutOfMemory { bytes: 1 << 60 }));
        }
        assert_eq!(ask(1 << 20), Ok(()));
    }
}

//! How much memory the machine has left.

use std::fs;

/// Bytes that can be allocated without swapping, as far as the system says: what the kernel calls available, less
/// where a control group allows less. `None` where the system does not say.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    match (machine, group_available()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
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
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|n| n > 1 << 20));
        }
    }
}

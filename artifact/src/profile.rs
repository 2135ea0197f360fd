//! A machine profile: roofs as measured, never taken from a table of names.

use serde::{Deserialize, Serialize};

use crate::DType;
use crate::target::{CpuTarget, Target};
use crate::work::OpClass;

/// What was measured on one device of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// What the machine is; a profile is used only where this matches.
    pub fingerprint: Fingerprint,
    /// The device as the compiler sees it.
    pub target: Target,
    /// Throughputs of operations.
    pub compute: Vec<ComputeRoof>,
    /// Bandwidths of the levels of memory.
    pub memory: Vec<MemoryRoof>,
    /// Seconds to launch an empty kernel: one of two phases on all threads of a processor; on a GPU one of one phase among
    /// others of the same submission, which is the least that a kernel takes there.
    pub launch: Figure,
    /// Relative spread of repeated timings of one kernel: half the width of the central 95 %.
    pub noise: f64,
}

impl Profile {
    /// The target with what the roofs say of it: where stores past the caches copy faster even what the last-level cache
    /// could hold, as where many cores share it, they are for all that the second-level cache cannot hold some times over.
    #[must_use]
    pub fn refine(&self, target: Target) -> Target {
        /// How much faster, so that noise decides nothing.
        const FASTER: f64 = 1.2;
        let rate = |pattern| {
            let mut of_l3 = self.memory.iter().filter(|r| r.level == Level::L3 && r.threads == 1);
            of_l3.find(|r| r.pattern == pattern).map(|r| r.rate)
        };
        match (target, rate(Pattern::Copy), rate(Pattern::CopyNonTemporal)) {
            (Target::Cpu(cpu), Some(plain), Some(past)) if past.lo > FASTER * plain.hi => {
                Target::Cpu(CpuTarget { past_caches: cpu.past_caches.min(4 * cpu.l2), ..cpu })
            }
            (target, ..) => target,
        }
    }
}

/// What identifies a machine and how it was set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Processor model as it names itself.
    pub cpu: String,
    /// Family, model and stepping, since virtual machines hide names.
    pub cpu_id: String,
    /// Logical processors.
    pub cores: usize,
    /// Operating system and kernel version.
    pub os: String,
    /// How large pages are handed out: `always`, `madvise`, `never`.
    pub huge_pages: String,
    /// A device of its own, with its driver and the version of that; empty for the processor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
}

/// A measured figure with its 95 % confidence limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Median.
    pub median: f64,
    /// Lower limit.
    pub lo: f64,
    /// Upper limit.
    pub hi: f64,
    /// Whether two passes agreed; an unstable figure is shown as such and never blocks a claim.
    pub stable: bool,
}

/// Operations per second of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputeRoof {
    /// The class.
    pub class: OpClass,
    /// Element type.
    pub dtype: DType,
    /// Vector width in bytes.
    pub vector_bytes: usize,
    /// Threads that ran it.
    pub threads: usize,
    /// Operations per second, all threads together; a fused multiply-add is two.
    pub rate: Figure,
}

/// A level of the memory hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// First-level cache.
    L1,
    /// Second-level cache.
    L2,
    /// Last-level cache.
    L3,
    /// Main memory.
    Dram,
}

/// A mix of reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Reads only.
    Read,
    /// One read, one write elsewhere.
    Copy,
    /// Two reads, one write to a third place.
    Triad,
    /// Two reads, one write over one of them.
    Axpy,
    /// As `Copy`, with stores that go past the caches.
    CopyNonTemporal,
    /// As `Triad`, with stores that go past the caches.
    TriadNonTemporal,
}

/// Bytes per second of one level and pattern: bytes that the program names, fills of written lines not counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryRoof {
    /// The level.
    pub level: Level,
    /// The pattern.
    pub pattern: Pattern,
    /// Threads that ran it.
    pub threads: usize,
    /// Bytes per second, all threads together.
    pub rate: Figure,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(plain: f64, past: f64) -> Profile {
        let figure = |rate: f64| Figure { median: rate, lo: 0.99 * rate, hi: 1.01 * rate, stable: true };
        let roof = |pattern, rate| MemoryRoof { level: Level::L3, pattern, threads: 1, rate: figure(rate) };
        Profile {
            fingerprint: Fingerprint::default(),
            target: Target::Cpu(CpuTarget::default()),
            compute: Vec::new(),
            memory: vec![roof(Pattern::Copy, plain), roof(Pattern::CopyNonTemporal, past)],
            launch: Figure::default(),
            noise: 0.0,
        }
    }

    #[test]
    fn stores_pass_the_caches_early_where_that_is_faster() {
        let plain = CpuTarget::default();
        let refined = |profile: Profile| match profile.refine(plain.clone().into()) {
            Target::Cpu(cpu) => cpu.past_caches,
            Target::Vulkan(_) => 0,
        };
        assert_eq!(refined(profile(12e9, 23e9)), 4 * plain.l2);
        // Within the noise, and where the cache is fast, the last-level cache decides.
        assert_eq!(refined(profile(12e9, 13e9)), plain.past_caches);
        assert_eq!(refined(profile(70e9, 35e9)), plain.past_caches);
    }
}

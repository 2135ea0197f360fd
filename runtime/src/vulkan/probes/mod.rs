//! Probes of a Vulkan device: hand-written kernels that do nothing but one class of operations, or move nothing but
//! bytes, run as any program is. What they reach is the roof.
//!
//! Reading order: `bench` runs them, `compute`, `products` and `memory` are what it runs, `asm` is what those are written with.

mod asm;
mod bench;
mod compute;
mod memory;
mod products;

use std::time::Duration;

use rooftile_artifact::profile::{ComputeRoof, Level, MemoryRoof, Pattern};
use rooftile_artifact::{Profile, Target};

use crate::error::Error;
use crate::probe::bench::figure;
use crate::stats;
use crate::vulkan::VulkanDevice;

use bench::{Bench, Entry, Work};

/// Passes over all probes if the budget allows.
const PASSES: u32 = 11;
/// Largest distance of the limits, relative to the median, of a stable figure.
const COMPUTE_TOLERANCE: f64 = 0.10;
const MEMORY_TOLERANCE: f64 = 0.25;
/// Samples that tell how far repeated timings lie apart.
const NOISE_SAMPLES: usize = 51;

/// Measures a device, during which nothing else should run. The passes over the probes take about as long as `budget`
/// says, but there are at least two; the driver's compiling comes on top.
///
/// # Errors
/// [`crate::DeviceError`] when the device lacks 64-bit integers, or fails.
pub(crate) fn measure(device: &VulkanDevice, budget: Duration) -> Result<Profile, Error> {
    let mut bench = Bench::new(device)?;
    bench.run(PASSES, budget)?;
    let triad = |e: &&Entry| matches!(e.work, Work::Memory { level: Level::L2, pattern: Pattern::Triad, .. });
    let noise = match bench.entries.iter().find(triad) {
        Some(entry) => stats::relative_spread(&bench.samples(entry, NOISE_SAMPLES)?),
        None => 0.0,
    };
    let target = &device.context.found.target;
    let launches = bench.entries.iter().filter(|e| e.work == Work::Launch).flat_map(|e| &e.rates);
    let launches: Vec<f64> = launches.map(|rate| 1.0 / rate).collect();
    Ok(Profile {
        fingerprint: device.fingerprint(),
        compute: compute_roofs(&bench.entries, target.subgroup as usize * size_of::<f32>()),
        memory: memory_roofs(&bench.entries),
        launch: figure(&launches, MEMORY_TOLERANCE),
        noise,
        target: Target::Vulkan(target.clone()),
    })
}

/// One roof per class and type: the fastest probe's.
fn compute_roofs(entries: &[Entry], vector_bytes: usize) -> Vec<ComputeRoof> {
    let mut roofs: Vec<ComputeRoof> = Vec::new();
    for entry in entries {
        let Work::Compute { class, dtype, .. } = entry.work else { continue };
        let rate = figure(&entry.rates, COMPUTE_TOLERANCE);
        match roofs.iter_mut().find(|r| (r.class, r.dtype) == (class, dtype)) {
            Some(roof) if roof.rate.median < rate.median => roof.rate = rate,
            Some(_) => {}
            None => roofs.push(ComputeRoof { class, dtype, vector_bytes, threads: 1, rate }),
        }
    }
    roofs
}

/// One roof per level and pattern: the fastest probe's, of this level or one farther away.
fn memory_roofs(entries: &[Entry]) -> Vec<MemoryRoof> {
    let mut roofs: Vec<MemoryRoof> = Vec::new();
    for entry in entries {
        let Work::Memory { level, pattern, .. } = entry.work else { continue };
        let rate = figure(&entry.rates, MEMORY_TOLERANCE);
        match roofs.iter_mut().find(|r| (r.level, r.pattern) == (level, pattern)) {
            Some(roof) if roof.rate.median < rate.median => roof.rate = rate,
            Some(_) => {}
            None => roofs.push(MemoryRoof { level, pattern, threads: 1, rate }),
        }
    }
    // What a device reaches far away it reaches nearby: small sweeps only spend more of their time on counting.
    roofs.sort_by_key(|r| std::cmp::Reverse(r.level));
    for at in 0..roofs.len() {
        let (farther, rest) = roofs.split_at_mut(at);
        let same = farther.iter().filter(|f| f.pattern == rest[0].pattern).map(|f| f.rate);
        let fastest = same.chain([rest[0].rate]).max_by(|a, b| a.median.total_cmp(&b.median));
        rest[0].rate = fastest.unwrap_or(rest[0].rate);
    }
    roofs.sort_by_key(|r| r.level);
    roofs
}

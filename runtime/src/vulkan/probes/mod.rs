//! Probes of a Vulkan device: hand-written kernels that do nothing but one class of operations, or move nothing but
//! bytes, run as any program is. What they reach is the roof.
//!
//! Reading order: `bench` runs them, `compute` and `memory` are what it runs, `asm` is what those are written with.

mod asm;
mod bench;
mod compute;
mod memory;

use std::time::Duration;

use rooftile_artifact::profile::{ComputeRoof, Fingerprint, Level, MemoryRoof, Pattern};
use rooftile_artifact::{Profile, Target};

use crate::error::Error;
use crate::probe::bench::figure;
use crate::stats;
use crate::vulkan::VulkanDevice;

use bench::{Bench, Entry, Work};

/// How long the probes run, beside what the driver takes to compile them; at most about twice.
const BUDGET: Duration = Duration::from_secs(10);
/// Passes over all probes if the budget allows.
const PASSES: u32 = 11;
/// Largest distance of the limits, relative to the median, of a stable figure.
const COMPUTE_TOLERANCE: f64 = 0.10;
const MEMORY_TOLERANCE: f64 = 0.25;
/// Samples that tell how far repeated timings lie apart.
const NOISE_SAMPLES: usize = 51;

/// Measures a device, during which nothing else should run.
///
/// # Errors
/// [`crate::DeviceError`] when the device lacks 64-bit integers, or fails.
pub(crate) fn measure(device: &VulkanDevice, fingerprint: Fingerprint) -> Result<Profile, Error> {
    measure_within(device, fingerprint, PASSES, BUDGET)
}

fn measure_within(
    device: &VulkanDevice,
    fingerprint: Fingerprint,
    passes: u32,
    budget: Duration,
) -> Result<Profile, Error> {
    let mut bench = Bench::new(device)?;
    bench.run(passes, budget)?;
    let triad = |e: &&Entry| matches!(e.work, Work::Memory { level: Level::L2, pattern: Pattern::Triad, .. });
    for e in &bench.entries { eprintln!("DBG {:?} {} {:?}", e.work, e.loaded.program().name, e.rates); }
    let noise = match bench.entries.iter().find(triad) {
        Some(entry) => stats::relative_spread(&bench.samples(entry, NOISE_SAMPLES)?),
        None => 0.0,
    };
    let target = &device.context.found.target;
    let launches = bench.entries.iter().filter(|e| e.work == Work::Launch).flat_map(|e| &e.rates);
    let launches: Vec<f64> = launches.map(|rate| 1.0 / rate).collect();
    Ok(Profile {
        fingerprint,
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

/// One roof per level and pattern: the fastest probe's.
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
    roofs.sort_by_key(|r| r.level);
    roofs
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::DType;
    use rooftile_artifact::work::OpClass;
    use std::io::Write as _;

    #[test]
    fn a_hasty_profile_is_whole() {
        let device = match VulkanDevice::open(0) {
            Ok(device) => device,
            Err(why) => {
                // Past the test harness, which keeps what a passing test prints.
                let _ = writeln!(std::io::stdout(), "\nSKIPPED: roofs of vulkan ({why})");
                return;
            }
        };
        let profile = measure_within(&device, Fingerprint::default(), 2, Duration::ZERO).expect("measured");
        let features = device.context.found.target.features;
        let rate = |class, dtype| {
            let found = profile.compute.iter().find(|r| (r.class, r.dtype) == (class, dtype));
            let roof = found.unwrap_or_else(|| panic!("no roof of {class:?} {dtype}"));
            assert!(roof.rate.lo > 1e6 && roof.rate.lo <= roof.rate.hi && roof.threads == 1, "{roof:?}");
            roof.rate.median
        };
        let floats = [(DType::F32, true), (DType::F64, features.f64)];
        for (dtype, _) in floats.into_iter().filter(|(_, has)| *has) {
            let [fma, div, ..] =
                [OpClass::Fma, OpClass::Div, OpClass::Sqrt, OpClass::Special].map(|c| rate(c, dtype));
            assert!(fma >= div, "{fma} {div}");
        }
        if features.f16 {
            rate(OpClass::Fma, DType::F16);
        }
        rate(OpClass::Int, DType::I32);
        for level in [Level::L1, Level::L2, Level::L3, Level::Dram] {
            for pattern in [Pattern::Read, Pattern::Copy, Pattern::Triad, Pattern::Axpy] {
                let found = profile.memory.iter().find(|r| (r.level, r.pattern) == (level, pattern));
                let roof = found.unwrap_or_else(|| panic!("no roof of {level:?} {pattern:?}"));
                assert!(roof.rate.lo > 1e6 && roof.rate.lo <= roof.rate.hi && roof.threads == 1, "{roof:?}");
            }
        }
        assert!(profile.launch.lo > 0.0 && profile.launch.median < 1e-2, "{:?}", profile.launch);
        assert!(profile.noise >= 0.0);
    }
}

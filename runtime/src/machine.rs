//! The profiles of this machine and of its devices: measured, stored, and loaded again where the machine is the same.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rooftile_artifact::profile::{ComputeRoof, Figure, Fingerprint, Level, MemoryRoof, Pattern};
use rooftile_artifact::{CpuTarget, Profile, Target};

use crate::content;
use crate::cpu::CpuDevice;
use crate::device::Device;
use crate::error::Error;
use crate::fingerprint::fingerprint;
use crate::probe::bench::{Bench, Entry, Work, figure, levels, main_memory_bytes};
use crate::vulkan::VulkanDevice;
use crate::{probe, stats};

/// How long the probes run, at most about twice.
const BUDGET: Duration = Duration::from_secs(8);
/// Passes over all probes if the budget allows.
const PASSES: u32 = 11;
/// Largest distance of the limits, relative to the median, of a stable figure.
const COMPUTE_TOLERANCE: f64 = 0.10;
const MEMORY_TOLERANCE: f64 = 0.25;

/// Measures this machine with one thread and with `threads`; takes some ten seconds, during which nothing else should
/// run.
///
/// # Errors
/// [`crate::DeviceError`] without memory or threads for it.
pub fn measure_profile(threads: usize) -> Result<Profile, Error> {
    let target = CpuTarget { threads: threads.max(1), ..CpuDevice::new().cpu().clone() };
    let main_memory = main_memory_bytes(&target);
    measure(target, main_memory, PASSES, BUDGET)
}

fn measure(target: CpuTarget, main_memory: usize, passes: u32, budget: Duration) -> Result<Profile, Error> {
    let mut entries = entries(&target, main_memory);
    let mut bench = Bench::new(target.threads, &entries)?;
    bench.run(&mut entries, passes, budget)?;
    let noise = noise(&mut bench, &entries)?;
    Ok(Profile {
        fingerprint: fingerprint(),
        compute: compute_roofs(&entries),
        memory: memory_roofs(&entries),
        launch: launch(&entries),
        noise,
        target: target.into(),
    })
}

/// Every probe with every number of threads.
fn entries(target: &CpuTarget, main_memory: usize) -> Vec<Entry> {
    let mut counts = vec![1, target.threads];
    counts.dedup();
    let mut entries = vec![Entry::new(Work::Launch, target.threads)];
    for &threads in &counts {
        entries.extend(
            probe::compute(target.features).into_iter().map(|p| Entry::new(Work::Compute(p), threads)),
        );
        for (level, share) in levels(target, threads, main_memory) {
            for probe in probe::memory(target.features) {
                let past = matches!(probe.pattern, Pattern::CopyNonTemporal | Pattern::TriadNonTemporal);
                // Stores that go past the caches are of no use to data that is to stay in a near one.
                if !past || matches!(level, Level::L3 | Level::Dram) {
                    entries.push(Entry::new(Work::Memory { probe, level, share }, threads));
                }
            }
        }
    }
    entries
}

/// One roof per class, type, width and number of threads: the fastest probe's.
fn compute_roofs(entries: &[Entry]) -> Vec<ComputeRoof> {
    let mut roofs: Vec<ComputeRoof> = Vec::new();
    for entry in entries {
        let Work::Compute(probe) = entry.work else { continue };
        let rate = entry.figure(COMPUTE_TOLERANCE);
        let key = (probe.class, probe.dtype, probe.vector_bytes, entry.threads);
        match roofs.iter_mut().find(|r| (r.class, r.dtype, r.vector_bytes, r.threads) == key) {
            Some(roof) if roof.rate.median < rate.median => roof.rate = rate,
            Some(_) => {}
            None => roofs.push(ComputeRoof {
                class: probe.class,
                dtype: probe.dtype,
                vector_bytes: probe.vector_bytes,
                threads: entry.threads,
                rate,
            }),
        }
    }
    roofs
}

fn memory_roofs(entries: &[Entry]) -> Vec<MemoryRoof> {
    let roof = |entry: &Entry| match entry.work {
        Work::Memory { probe, level, .. } => Some(MemoryRoof {
            level,
            pattern: probe.pattern,
            threads: entry.threads,
            rate: entry.figure(MEMORY_TOLERANCE),
        }),
        Work::Compute(_) | Work::Launch => None,
    };
    entries.iter().filter_map(roof).collect()
}

/// Seconds per launch, from launches per second.
fn launch(entries: &[Entry]) -> Figure {
    let found = entries.iter().find(|e| matches!(e.work, Work::Launch));
    let seconds: Vec<f64> = found.map_or(Vec::new(), |e| e.rates.iter().map(|rate| 1.0 / rate).collect());
    figure(&seconds, MEMORY_TOLERANCE)
}

/// The spread of samples of one probe against itself: a sweep that computes, in the second-level cache.
fn noise(bench: &mut Bench, entries: &[Entry]) -> Result<f64, Error> {
    const SAMPLES: usize = 101;
    let steady = |e: &&Entry| matches!(e.work, Work::Memory { probe, level: Level::L2, .. } if probe.pattern == Pattern::Triad);
    match entries.iter().find(steady) {
        Some(entry) => Ok(stats::relative_spread(&bench.samples(entry, SAMPLES)?)),
        None => Ok(0.0),
    }
}

/// Why a profile could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a profile.
    #[error("{path} is not a machine profile: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Where it is not.
        source: serde_json::Error,
    },
    /// The machine could not be measured.
    #[error(transparent)]
    Measurement(#[from] Error),
}

/// Where the profile of a machine is kept: `rooftile/profile-HASH.json` in the user's cache folder. `None` when the
/// user has no such folder.
#[must_use]
pub fn profile_path(fingerprint: &Fingerprint) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    let text = serde_json::to_vec(fingerprint).ok()?;
    Some(cache.join("rooftile").join(format!("profile-{:016x}.json", content::hash(&text))))
}

/// Reads a profile.
///
/// # Errors
/// [`ProfileError`] when there is no such file or it is not a profile.
pub fn load_profile(path: &Path) -> Result<Profile, ProfileError> {
    let text = fs::read(path).map_err(|source| ProfileError::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| ProfileError::Format { path: path.to_owned(), source })
}

/// Writes a profile; whoever reads the file meanwhile sees the old one or the new one, never a part.
///
/// # Errors
/// [`ProfileError::File`] when the file cannot be written.
pub fn store_profile(profile: &Profile, path: &Path) -> Result<(), ProfileError> {
    let failed = |source| ProfileError::File { path: path.to_owned(), source };
    let text = serde_json::to_string_pretty(profile)
        .map_err(|source| ProfileError::Format { path: path.to_owned(), source })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::File::create(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&fresh, path)).map_err(|e| {
        // The half-written file is of no use; that it may be gone already is no second error.
        let _ = fs::remove_file(&fresh);
        failed(e)
    })
}

/// The target of the processor with what its stored profile says of it; as it is where there is none.
#[must_use]
pub fn refined(target: Target) -> Target {
    match target.cpu().and_then(|_| stored(&fingerprint(), CpuDevice::new().target())) {
        Some(profile) => profile.refine(target),
        None => target,
    }
}

/// Whether a profile is of this machine's processor as it is set up now.
#[must_use]
pub fn is_current(profile: &Profile) -> bool {
    profile.fingerprint == fingerprint() && profile.target == *CpuDevice::new().target()
}

/// How long the passes over the probes of a GPU take, about.
const DEVICE_BUDGET: Duration = Duration::from_secs(14);

/// The profile of this machine: the stored one, or with `refresh`, or when none is stored or it is of another machine,
/// one measured now and stored. One that cannot be stored is used nevertheless.
///
/// # Errors
/// [`ProfileError::Measurement`] when the machine could not be measured.
pub fn machine_profile(refresh: bool) -> Result<Profile, ProfileError> {
    if let Some(profile) = (!refresh).then(|| stored(&fingerprint(), CpuDevice::new().target())).flatten() {
        return Ok(profile);
    }
    Ok(keep(measure_profile(CpuDevice::new().cpu().threads)?))
}

/// The profile of a device by its name, found as [`machine_profile`] finds that of the processor, which every name stands
/// for that is no GPU's. Each device has its own beside the processor's; another version of its driver is another device.
///
/// # Errors
/// [`ProfileError::Measurement`] when the device is not here or could not be measured.
pub fn device_profile(name: &str, refresh: bool) -> Result<Profile, ProfileError> {
    let Some(device) = vulkan_device(name)? else { return machine_profile(refresh) };
    let fingerprint = device.fingerprint();
    if let Some(profile) = (!refresh).then(|| stored(&fingerprint, device.target())).flatten() {
        return Ok(profile);
    }
    Ok(keep(device.measure_profile(DEVICE_BUDGET)?))
}

/// Whether [`device_profile`] finds a stored profile, so that nothing is to be measured.
///
/// # Errors
/// [`ProfileError::Measurement`] when the device is not here.
pub fn has_profile(name: &str) -> Result<bool, ProfileError> {
    Ok(match vulkan_device(name)? {
        Some(device) => stored(&device.fingerprint(), device.target()).is_some(),
        None => stored(&fingerprint(), CpuDevice::new().target()).is_some(),
    })
}

/// The GPU that a name means; `None` when it means the processor.
fn vulkan_device(name: &str) -> Result<Option<VulkanDevice>, ProfileError> {
    let index = crate::vulkan::index_of(name);
    Ok(index.map(VulkanDevice::open).transpose().map_err(Error::from)?)
}

/// The stored profile of a device, if it is of the device as it is now, with every roof that is measured.
fn stored(fingerprint: &Fingerprint, target: &Target) -> Option<Profile> {
    let profile = load_profile(&profile_path(fingerprint)?).ok()?;
    let probes = target.cpu().map_or_else(Vec::new, |cpu| probe::compute(cpu.features));
    let has = |p: &probe::ComputeProbe| {
        let mut roofs = profile.compute.iter();
        roofs.any(|r| (r.class, r.dtype, r.vector_bytes) == (p.class, p.dtype, p.vector_bytes))
    };
    let whole = probes.iter().all(has);
    (whole && profile.fingerprint == *fingerprint && profile.target == *target).then_some(profile)
}

/// Stores a profile.
fn keep(profile: Profile) -> Profile {
    if let Some(path) = profile_path(&profile.fingerprint) {
        // A read-only cache folder costs a measurement next time, and is no reason to fail now.
        let _ = store_profile(&profile, &path);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::DType;
    use rooftile_artifact::work::OpClass;

    #[test]
    fn a_hasty_profile_is_whole_and_survives_storage() {
        let target = CpuTarget { threads: 2, ..CpuDevice::new().cpu().clone() };
        let profile = measure(target.clone(), 8 << 20, 2, Duration::ZERO).expect("measured");
        // How large a figure is depends on what else the machine does; a hasty one may be off by any factor.
        let ordered = |f: Figure| 0.0 < f.lo && f.lo <= f.median && f.median <= f.hi && f.hi.is_finite();
        for threads in [1, 2] {
            for class in [OpClass::Fma, OpClass::Div, OpClass::Sqrt, OpClass::Special] {
                for dtype in [DType::F32, DType::F64] {
                    let found = |r: &&ComputeRoof| (r.class, r.dtype, r.threads) == (class, dtype, threads);
                    let roof = profile.compute.iter().find(found).expect("a roof");
                    assert!(ordered(roof.rate), "{roof:?}");
                }
            }
            let read = |r: &&MemoryRoof| (r.pattern, r.threads) == (Pattern::Read, threads);
            assert!(profile.memory.iter().filter(read).all(|r| ordered(r.rate)));
            assert_eq!(profile.memory.iter().filter(read).count(), levels(&target, threads, 8 << 20).len());
        }
        assert!(ordered(profile.launch), "{:?}", profile.launch);
        assert!(profile.noise >= 0.0);

        let folder = std::env::temp_dir().join(format!("rooftile-profile-{}", std::process::id()));
        let path = folder.join("deep").join("profile.json");
        store_profile(&profile, &path).expect("written");
        let back = load_profile(&path).expect("read");
        assert_eq!(back.fingerprint, profile.fingerprint);
        assert_eq!(back.compute.len(), profile.compute.len());
        fs::write(&path, "{").expect("written");
        assert!(matches!(load_profile(&path), Err(ProfileError::Format { .. })));
        fs::remove_dir_all(&folder).expect("removed");
        assert!(matches!(load_profile(&path), Err(ProfileError::File { .. })));
    }

    #[test]
    fn another_machine_has_another_file() {
        let mut other = fingerprint();
        let here = profile_path(&other);
        other.huge_pages.push('x');
        let device = Fingerprint { device: "a GPU".to_owned(), ..fingerprint() };
        if let (Some(here), Some(other), Some(device)) = (here, profile_path(&other), profile_path(&device)) {
            assert!(here != other && here != device && other != device);
        }
        // What was stored before devices had profiles is found again.
        let text = serde_json::to_string(&fingerprint()).expect("plain");
        assert!(!text.contains("device"));
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).expect("plain"), fingerprint());
    }
}

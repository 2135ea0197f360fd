//! The processor that this program runs on, as a device.

use std::fs;
use std::sync::Arc;

use rooftile_artifact::program::Code;
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{CpuTarget, Program, Target};

use crate::device::{Device, Loaded, LoadedCode, LoadedProgram, Pools};
use crate::error::{DeviceError, Error};
use crate::exec::ExecutableCode;
use crate::launch::CpuKernel;
use crate::topology::physical_cores;
use crate::validate;

/// This machine's processor.
#[derive(Debug)]
pub struct CpuDevice {
    target: Target,
    cpu: CpuTarget,
    pools: Arc<Pools>,
}

impl CpuDevice {
    /// The device, with one thread per physical core as the default of its target.
    #[must_use]
    pub fn new() -> CpuDevice {
        CpuDevice::with_vectors(usize::MAX)
    }

    /// The device for code with vectors of `bytes` bytes and no wider ones.
    #[must_use]
    pub fn with_vectors(bytes: usize) -> CpuDevice {
        let cpu = detect();
        let cpu = CpuTarget { vector_bytes: cpu.vector_bytes.min(bytes), ..cpu };
        CpuDevice { target: cpu.clone().into(), cpu, pools: Arc::default() }
    }

    /// What code for it may use, as [`Device::target`], of the type that only a processor has.
    #[must_use]
    pub fn cpu(&self) -> &CpuTarget {
        &self.cpu
    }
}

impl Default for CpuDevice {
    fn default() -> CpuDevice {
        CpuDevice::new()
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, program: &Program) -> Result<Loaded, Error> {
        validate::program(program)?;
        let mut kernels = Vec::with_capacity(program.kernels.len());
        for kernel in &program.kernels {
            let Code::Cpu { bytes, align, features } = &kernel.code else {
                return Err(crate::error::malformed(format!("{} is code for another device", kernel.name)));
            };
            if !self.cpu.features.covers(*features) {
                let missing = missing(self.cpu.features, *features);
                return Err(DeviceError::MissingFeatures { kernel: kernel.name.clone(), missing }.into());
            }
            let code = ExecutableCode::new(bytes, *align)
                .map_err(|source| DeviceError::Code { kernel: kernel.name.clone(), source })?;
            kernels.push(Some(CpuKernel::new(code)));
        }
        let inner = LoadedProgram {
            program: program.clone(),
            target: self.target.clone(),
            code: LoadedCode::Cpu { kernels, pools: Arc::clone(&self.pools) },
        };
        Ok(Loaded { inner: Arc::new(inner) })
    }
}

/// Names of the features in `needed` that are not in `has`.
fn missing(has: CpuFeatures, needed: CpuFeatures) -> String {
    let all = [
        ("AVX", has.avx, needed.avx),
        ("AVX2", has.avx2, needed.avx2),
        ("FMA", has.fma, needed.fma),
        ("F16C", has.f16c, needed.f16c),
        ("AVX-512", has.avx512, needed.avx512),
        ("AVX-512 BF16", has.avx512_bf16, needed.avx512_bf16),
        ("AVX-512 VNNI", has.avx512_vnni, needed.avx512_vnni),
        ("AVX-512 VBMI", has.avx512_vbmi, needed.avx512_vbmi),
    ];
    let names: Vec<&str> =
        all.iter().filter(|(_, has, needs)| *needs && !has).map(|(name, ..)| *name).collect();
    names.join(", ")
}

/// What this processor is.
fn detect() -> CpuTarget {
    let plain = CpuTarget::default();
    let [l1d, l2, l3] = [1, 2, 3].map(cache);
    let l1 = l1d.unwrap_or(Cache { bytes: plain.l1d, line: plain.line });
    let l2 = l2.map_or(plain.l2, |c| c.bytes);
    let features = features();
    // Without a third level, the second is the last.
    let last = l3.map_or(if cache(2).is_some() { l2 } else { plain.l3 }, |c| c.bytes);
    CpuTarget {
        features,
        threads: physical_cores(),
        l1d: l1.bytes,
        l2,
        l3: last,
        past_caches: last,
        line: l1.line,
        vector_bytes: features.vector_bytes(),
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> CpuFeatures {
    use std::arch::is_x86_feature_detected as has;
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("bmi2");
    CpuFeatures {
        avx: has!("avx"),
        avx2: has!("avx2"),
        fma: has!("fma"),
        f16c: has!("f16c"),
        avx512,
        avx512_bf16: avx512 && has!("avx512bf16"),
        avx512_vnni: avx512 && has!("avx512vnni"),
        avx512_vbmi: avx512 && has!("avx512vbmi"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> CpuFeatures {
    CpuFeatures::default()
}

#[derive(Clone, Copy, Debug)]
struct Cache {
    bytes: usize,
    line: usize,
}

/// The data or unified cache of a level, from the system or else from the processor.
fn cache(level: u32) -> Option<Cache> {
    cache_from_system(level).or_else(|| cache_from_processor(level))
}

fn cache_from_system(level: u32) -> Option<Cache> {
    (0..8).find_map(|index| {
        let read = |name: &str| {
            fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}")).ok()
        };
        let found: u32 = read("level")?.trim().parse().ok()?;
        if found != level || read("type")?.trim() == "Instruction" {
            return None;
        }
        let bytes = parse_size(read("size")?.trim())?;
        let line = read("coherency_line_size").and_then(|v| v.trim().parse().ok()).unwrap_or(64);
        Some(Cache { bytes, line })
    })
}

/// `512K` and the like in bytes.
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let unit = match text.get(digits.len()..)? {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => 1,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// Reads the leaves of the CPUID instruction that describe caches: 4 on Intel's processors, 0x8000001D on AMD's.
#[cfg(target_arch = "x86_64")]
fn cache_from_processor(level: u32) -> Option<Cache> {
    use std::arch::x86_64::__cpuid_count;
    const EXTENDED: u32 = 0x8000_0000;
    for (base, leaf) in [(0, 4), (EXTENDED, EXTENDED + 0x1D)] {
        if __cpuid_count(base, 0).eax < leaf {
            continue;
        }
        for index in 0..8 {
            let r = __cpuid_count(leaf, index);
            // 0 ends the list, 2 is an instruction cache.
            let kind = r.eax & 0x1F;
            if kind == 0 {
                break;
            }
            if kind == 2 || r.eax >> 5 & 7 != level {
                continue;
            }
            let line = (r.ebx & 0xFFF) as usize + 1;
            let partitions = (r.ebx >> 12 & 0x3FF) as usize + 1;
            let ways = (r.ebx >> 22) as usize + 1;
            let sets = r.ecx as usize + 1;
            return Some(Cache { bytes: ways * partitions * line * sets, line });
        }
    }
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn cache_from_processor(_level: u32) -> Option<Cache> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_plausible() {
        let device = CpuDevice::new();
        let t = device.cpu();
        assert!(t.threads >= 1 && t.line.is_power_of_two());
        assert!(t.l1d >= 8 << 10 && t.l2 >= t.l1d && t.l3 >= t.l2, "{t:?}");
    }

    #[test]
    fn cache_sizes_are_read() {
        assert_eq!(parse_size("32768K"), Some(32 << 20));
        assert_eq!(parse_size("2M"), Some(2 << 20));
        assert_eq!(parse_size("x"), None);
        #[cfg(target_arch = "x86_64")]
        for level in 1..=3 {
            // Virtual machines may hide either source; where both speak, they agree.
            if let (Some(a), Some(b)) = (cache_from_system(level), cache_from_processor(level)) {
                assert_eq!((a.bytes, a.line), (b.bytes, b.line), "level {level}");
            }
        }
    }

    #[test]
    fn missing_features_are_named() {
        let needed = CpuFeatures { avx2: true, fma: true, ..CpuFeatures::default() };
        assert_eq!(missing(CpuFeatures { fma: true, ..CpuFeatures::default() }, needed), "AVX2");
    }
}

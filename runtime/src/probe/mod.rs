//! Hand-written probes: loops that do nothing but one class of operations, or move nothing but bytes, as fast as the
//! machine can. What they reach is the roof.
#![allow(unsafe_code, reason = "calls functions compiled for the features that were found")]

pub(crate) mod bench;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_memory;

use rooftile_artifact::DType;
use rooftile_artifact::profile::Pattern;
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::work::OpClass;

/// A loop of one class of operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComputeProbe {
    pub(crate) class: OpClass,
    pub(crate) dtype: DType,
    /// Bytes of the vectors that it works on.
    pub(crate) vector_bytes: usize,
    /// Operations of one iteration.
    pub(crate) operations: f64,
    /// Needs features that were found when the probe was listed.
    iterate: unsafe fn(u64),
}

impl ComputeProbe {
    /// Runs the loop.
    pub(crate) fn run(&self, iterations: u64) {
        // SAFETY: only probes of features that this processor has are listed.
        unsafe { (self.iterate)(iterations) }
    }
}

/// A sweep over arrays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryProbe {
    pub(crate) pattern: Pattern,
    /// Arrays that it sweeps: 1 to 3, the last one written unless it only reads.
    pub(crate) arrays: usize,
    /// How often it moves each byte of an array, summed over the arrays.
    pub(crate) moves: usize,
    /// Sweeps arrays that start at the given addresses. Needs features that were found when the probe was listed.
    sweep: unsafe fn([*mut f32; 3], usize),
}

/// What the length in bytes of a swept array is a multiple of.
pub(crate) const SWEEP_STEP: usize = 512;

impl MemoryProbe {
    /// Sweeps once over the first `arrays` of `parts`, which are disjoint.
    ///
    /// # Safety
    /// Each part points at `bytes` initialised bytes, aligned to 64, that nothing else accesses during the call.
    pub(crate) unsafe fn run(&self, parts: [*mut u8; 3], bytes: usize) {
        let bytes = bytes / SWEEP_STEP * SWEEP_STEP;
        // SAFETY: the caller's promise; only probes of features that this processor has are listed.
        unsafe { (self.sweep)(std::hint::black_box(parts.map(<*mut u8>::cast)), bytes / size_of::<f32>()) }
    }
}

/// Every compute probe that a processor with these features can run; several may share class, type and width, of
/// which the fastest counts.
pub(crate) fn compute(features: CpuFeatures) -> Vec<ComputeProbe> {
    #[cfg(target_arch = "x86_64")]
    return x86::compute(features);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = features;
        portable::compute()
    }
}

/// Every memory probe, with the widest vectors that a processor with these features has.
pub(crate) fn memory(features: CpuFeatures) -> Vec<MemoryProbe> {
    #[cfg(target_arch = "x86_64")]
    return x86_memory::memory(features);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = features;
        portable::memory()
    }
}

/// Coefficients of the Taylor series of the exponential, highest power first: for a probe, the number of terms
/// matters, and it is what float accuracy takes on the interval of half a binade around zero.
pub(crate) const EXP_F32: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// As [`EXP_F32`], for double precision.
pub(crate) const EXP_F64: [f64; 12] = [
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::AlignedBuffer;

    fn features() -> CpuFeatures {
        crate::CpuDevice::new().cpu().features
    }

    #[test]
    fn all_probes_run() {
        let all = compute(features()).into_iter().chain(portable::compute());
        for probe in all {
            probe.run(3);
            assert!(probe.operations > 0.0);
        }
        for class in [OpClass::Fma, OpClass::Div, OpClass::Sqrt, OpClass::Special, OpClass::Int] {
            assert!(compute(features()).iter().any(|p| p.class == class), "{class:?}");
        }
    }

    /// After a sweep, the written array holds what the pattern says, to its last element.
    #[test]
    fn sweeps_reach_every_element() {
        let bytes = 3 * SWEEP_STEP;
        for probe in memory(features()).into_iter().chain(portable::memory()) {
            let mut buffers: Vec<AlignedBuffer> =
                (0..3).map(|_| AlignedBuffer::guarded(bytes).expect("small")).collect();
            for (buffer, value) in buffers.iter_mut().zip([1.0f32, 2.0, 4.0]) {
                for word in buffer.as_mut_slice().chunks_exact_mut(4) {
                    word.copy_from_slice(&value.to_ne_bytes());
                }
            }
            let parts = std::array::from_fn(|i| buffers[i].as_mut_ptr());
            // SAFETY: three live buffers of that many bytes each.
            unsafe { probe.run(parts, bytes) };
            let first = |i: usize| -> Vec<f32> {
                let words = buffers[i].as_slice().chunks_exact(4);
                words.map(|w| f32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect()
            };
            let (written, want) = match probe.pattern {
                Pattern::Read => (0, 1.0),
                Pattern::Copy | Pattern::CopyNonTemporal => (1, 1.0),
                Pattern::Axpy => (1, 2.0 + 0.5),
                Pattern::Triad | Pattern::TriadNonTemporal => (2, 1.0 + 0.5 * 2.0),
            };
            assert!(first(written).iter().all(|&v| v == want), "{probe:?}: {:?}", first(written));
            for buffer in &buffers {
                buffer.check_canaries().expect("alive");
            }
        }
    }
}

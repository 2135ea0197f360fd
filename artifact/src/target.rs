//! What a target is: features that decide which code may be made, and sizes that decide which code is good.

use serde::{Deserialize, Serialize};

/// Instruction-set extensions of an x86-64 or aarch64 processor that generated code may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CpuFeatures {
    /// VEX-encoded 256-bit floating-point instructions.
    pub avx: bool,
    /// 256-bit integer instructions.
    pub avx2: bool,
    /// Fused multiply-add.
    pub fma: bool,
    /// Conversion between binary16 and binary32.
    pub f16c: bool,
    /// 512-bit instructions: F, BW, DQ and VL together.
    pub avx512: bool,
    /// Dot products of bf16 pairs.
    pub avx512_bf16: bool,
    /// Dot products of 8-bit integers.
    pub avx512_vnni: bool,
}

impl CpuFeatures {
    /// Whether a processor with features `self` can run code that uses `needed`.
    #[must_use]
    pub fn covers(self, needed: CpuFeatures) -> bool {
        let pairs = [
            (self.avx, needed.avx),
            (self.avx2, needed.avx2),
            (self.fma, needed.fma),
            (self.f16c, needed.f16c),
            (self.avx512, needed.avx512),
            (self.avx512_bf16, needed.avx512_bf16),
            (self.avx512_vnni, needed.avx512_vnni),
        ];
        pairs.iter().all(|&(has, needs)| has || !needs)
    }
}

/// A CPU as the compiler sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTarget {
    /// Features that code may use.
    pub features: CpuFeatures,
    /// Threads that kernels are launched with.
    pub threads: usize,
    /// First-level data cache of one core, bytes.
    pub l1d: usize,
    /// Second-level cache of one core, bytes.
    pub l2: usize,
    /// Last-level cache, bytes.
    pub l3: usize,
    /// Cache line, bytes.
    pub line: usize,
    /// Widest vector that the code generator in use makes, bytes.
    pub vector_bytes: usize,
}

impl Default for CpuTarget {
    /// A plain two-core machine without extensions; for tests and for compiling without a device.
    fn default() -> CpuTarget {
        CpuTarget {
            features: CpuFeatures::default(),
            threads: 2,
            l1d: 32 << 10,
            l2: 512 << 10,
            l3: 16 << 20,
            line: 64,
            vector_bytes: 16,
        }
    }
}

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
    /// 512-bit instructions: F, BW, DQ and VL together, and BMI2, which every processor with them has.
    pub avx512: bool,
    /// Dot products of bf16 pairs.
    pub avx512_bf16: bool,
    /// Dot products of 8-bit integers.
    pub avx512_vnni: bool,
    /// Bytes from any bit of a word.
    #[serde(default)]
    pub avx512_vbmi: bool,
}

impl CpuFeatures {
    /// Bytes of the widest vectors that the compiler makes code with for such a processor: where it keeps the System V
    /// convention, 64 with AVX-512, else 32 with AVX2 and fused multiply-add; 16 on all others.
    #[must_use]
    pub fn vector_bytes(self) -> usize {
        let wide = cfg!(all(target_arch = "x86_64", unix)) && self.avx && self.avx2 && self.fma;
        match (wide, self.avx512 && self.f16c) {
            (true, true) => 64,
            (true, false) => 32,
            _ => 16,
        }
    }

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
            (self.avx512_vbmi, needed.avx512_vbmi),
        ];
        pairs.iter().all(|&(has, needs)| has || !needs)
    }
}

/// What code is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A processor.
    Cpu(CpuTarget),
    /// A GPU that takes SPIR-V.
    Vulkan(GpuTarget),
}

impl Target {
    /// What the name of a device, as `cpu` or `vulkan:1`, tells of it: its kind, with plain sizes.
    #[must_use]
    pub fn plain(device: &str) -> Target {
        match device.split(':').next() {
            Some("vulkan") => Target::Vulkan(GpuTarget::default()),
            _ => Target::Cpu(CpuTarget::default()),
        }
    }

    /// The name that schedules and the command line know it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Target::Cpu(_) => "cpu",
            Target::Vulkan(_) => "vulkan",
        }
    }

    /// The processor, if it is one.
    #[must_use]
    pub fn cpu(&self) -> Option<&CpuTarget> {
        match self {
            Target::Cpu(t) => Some(t),
            Target::Vulkan(_) => None,
        }
    }

    /// The GPU, if it is one.
    #[must_use]
    pub fn gpu(&self) -> Option<&GpuTarget> {
        match self {
            Target::Vulkan(t) => Some(t),
            Target::Cpu(_) => None,
        }
    }

    /// Threads of the host that kernels are launched with.
    #[must_use]
    pub fn host_threads(&self) -> usize {
        self.cpu().map_or(1, |t| t.threads)
    }

    /// The target with so many threads, if it is a processor.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Target {
        match self {
            Target::Cpu(t) => Target::Cpu(CpuTarget { threads: threads.max(1), ..t }),
            other => other,
        }
    }

    /// What runs chunks at the same time: threads of a processor, units of a GPU.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self {
            Target::Cpu(t) => t.threads,
            Target::Vulkan(t) => t.units as usize,
        }
    }
}

impl From<CpuTarget> for Target {
    fn from(t: CpuTarget) -> Target {
        Target::Cpu(t)
    }
}

impl From<GpuTarget> for Target {
    fn from(t: GpuTarget) -> Target {
        Target::Vulkan(t)
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
    /// What is written once and has more bytes than this is better stored past the caches.
    #[serde(default)]
    pub past_caches: usize,
    /// Cache line, bytes.
    pub line: usize,
    /// Widest vector that the code generator in use makes, bytes.
    pub vector_bytes: usize,
}

impl CpuTarget {
    /// Bytes of vectors of which some lanes may be loaded and stored alone, by masks; 0 without any.
    #[must_use]
    pub fn masked_bytes(&self) -> usize {
        match self.vector_bytes.min(self.features.vector_bytes()) {
            bytes @ 64.. => bytes,
            _ => 0,
        }
    }

    /// Whether its vectors have dot products of bytes.
    #[must_use]
    pub fn has_dots(&self) -> bool {
        self.vector_bytes.min(self.features.vector_bytes()) >= 64 && self.features.avx512_vnni
    }
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
            past_caches: 16 << 20,
            line: 64,
            vector_bytes: 16,
        }
    }
}

/// Optional abilities of a GPU, each asked from the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of its own")]
pub struct GpuFeatures {
    /// Arithmetic on binary16.
    pub f16: bool,
    /// Arithmetic on binary64.
    pub f64: bool,
    /// Arithmetic on 8-bit integers.
    pub i8: bool,
    /// Arithmetic on 16-bit integers.
    pub i16: bool,
    /// Arithmetic on 64-bit integers.
    pub i64: bool,
    /// Loads and stores of 8-bit elements.
    pub storage8: bool,
    /// Loads and stores of 16-bit elements.
    pub storage16: bool,
    /// Atomic operations on 64-bit integers in memory of the launch.
    pub atomics64: bool,
    /// Atomic additions of binary32 in memory of the launch.
    pub atomic_add_f32: bool,
    /// Reductions and scans over a subgroup.
    pub subgroup_arithmetic: bool,
    /// Exchange of values within a subgroup.
    pub subgroup_shuffle: bool,
    /// Dot products of 8-bit integers.
    pub dot8: bool,
    /// Signed zeros, infinities and NaN are kept in arithmetic on binary32, and on binary64 where there is any.
    pub special_values: bool,
    /// Subnormal numbers are kept in arithmetic on binary32, and on binary64 where there is any.
    pub subnormals: bool,
    /// Subnormal numbers are kept where binary16 is taken apart.
    pub half_subnormals: bool,
    /// A group of as many threads as a subgroup has is one subgroup.
    pub whole_subgroups: bool,
    /// Products of small matrices by the threads of a subgroup; [`GpuTarget::matrices`] says which.
    pub matrix: bool,
}

impl GpuFeatures {
    /// Every feature with its name.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 17] {
        [
            ("arithmetic on f16", self.f16),
            ("arithmetic on f64", self.f64),
            ("arithmetic on 8-bit integers", self.i8),
            ("arithmetic on 16-bit integers", self.i16),
            ("arithmetic on 64-bit integers", self.i64),
            ("8-bit storage", self.storage8),
            ("16-bit storage", self.storage16),
            ("atomics on 64-bit integers", self.atomics64),
            ("atomic additions of f32", self.atomic_add_f32),
            ("subgroup arithmetic", self.subgroup_arithmetic),
            ("subgroup shuffles", self.subgroup_shuffle),
            ("8-bit dot products", self.dot8),
            ("signed zeros and NaN kept", self.special_values),
            ("subnormal numbers kept", self.subnormals),
            ("subnormal numbers of f16 kept", self.half_subnormals),
            ("whole subgroups", self.whole_subgroups),
            ("a matrix unit", self.matrix),
        ]
    }

    /// Names of the features of `needed` that are not here, joined by commas; empty when all are.
    #[must_use]
    pub fn missing(self, needed: GpuFeatures) -> String {
        let pairs = self.named().into_iter().zip(needed.named());
        let names: Vec<&str> =
            pairs.filter(|((_, has), (_, needs))| *needs && !has).map(|((name, _), _)| name).collect();
        names.join(", ")
    }
}

/// A product of small matrices that a GPU's matrix unit computes: `m x k` by `k x n`, added to `m x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatrixShape {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Terms of each sum.
    pub k: u32,
    /// Element type of the factors.
    pub factor: crate::DType,
    /// Element type of the result.
    pub result: crate::DType,
}

/// A GPU as the compiler sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTarget {
    /// What the device calls itself.
    pub name: String,
    /// Threads of a subgroup.
    pub subgroup: u32,
    /// Most threads of a group.
    pub group_threads: u32,
    /// Most groups of a launch.
    pub max_groups: u32,
    /// Bytes of memory that the threads of a group share.
    pub shared_bytes: u32,
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Groups that keep the device busy, as far as known: compute units, or cores of a software device.
    pub units: u32,
    /// Whether a processor plays the part of the device.
    pub software: bool,
    /// Optional abilities.
    pub features: GpuFeatures,
    /// Shapes of the matrix unit; empty without one.
    pub matrices: Vec<MatrixShape>,
}

impl Default for GpuTarget {
    /// What every device with Vulkan 1.3 has, with common sizes; for tests and for compiling without a device.
    fn default() -> GpuTarget {
        GpuTarget {
            name: "a plain device".to_owned(),
            subgroup: 32,
            group_threads: 256,
            max_groups: 65535,
            shared_bytes: 16 << 10,
            buffer_bytes: 1 << 30,
            units: 16,
            software: false,
            features: GpuFeatures {
                i64: true,
                f64: true,
                i8: true,
                i16: true,
                f16: true,
                storage8: true,
                storage16: true,
                subgroup_arithmetic: true,
                subgroup_shuffle: true,
                dot8: true,
                ..GpuFeatures::default()
            },
            matrices: Vec::new(),
        }
    }
}

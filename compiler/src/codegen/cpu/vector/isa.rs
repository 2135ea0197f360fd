//! The instruction sets that code is made for.

use rooftile_artifact::CpuTarget;
use rooftile_artifact::target::CpuFeatures;

use super::ir::{Function, Op};

/// Vector instructions, one set including the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// 16 registers of 256 bits, AVX2 and FMA; masks are vectors.
    Avx2 {
        /// Conversions of f16.
        f16c: bool,
    },
    /// 32 registers of 512 bits, AVX-512 F, BW, DQ and VL; masks are a bit per lane in registers of their own.
    Avx512,
}

impl Isa {
    /// The widest set that a target has and wants; `None` where it has none.
    pub(super) fn of(target: &CpuTarget) -> Option<Isa> {
        match target.features.vector_bytes() {
            64.. if target.vector_bytes >= 64 => Some(Isa::Avx512),
            32.. => Some(Isa::Avx2 { f16c: target.features.f16c }),
            _ => None,
        }
    }

    /// Bytes of a vector.
    pub(super) fn vector_bytes(self) -> usize {
        match self {
            Isa::Avx2 { .. } => 32,
            Isa::Avx512 => 64,
        }
    }

    /// Vector registers.
    pub(super) fn vectors(self) -> usize {
        match self {
            Isa::Avx2 { .. } => 16,
            Isa::Avx512 => 32,
        }
    }

    /// Whether f16 is converted by an instruction.
    pub(super) fn has_f16(self) -> bool {
        self != Isa::Avx2 { f16c: false }
    }

    /// What a processor must have for it.
    pub(super) fn features(self) -> CpuFeatures {
        let base = CpuFeatures { avx: true, avx2: true, fma: true, ..CpuFeatures::default() };
        match self {
            Isa::Avx2 { f16c } => CpuFeatures { f16c, ..base },
            Isa::Avx512 => CpuFeatures { f16c: true, avx512: true, ..base },
        }
    }
}

/// Instructions that not every processor of a set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    /// Dot products of bytes.
    pub(super) dots: bool,
    /// Bytes from any bit of a word.
    pub(super) multishift: bool,
}

impl Extras {
    /// Those that a target has.
    pub(super) fn of(target: &CpuTarget, isa: Isa) -> Extras {
        Extras { dots: target.has_dots(), multishift: isa == Isa::Avx512 && target.features.avx512_vbmi }
    }

    /// Those that a function uses.
    pub(super) fn used(f: &Function) -> Extras {
        let has = |op: Op| f.insts.iter().any(|i| i.op == op);
        Extras { dots: has(Op::Dot), multishift: has(Op::Multishift) }
    }

    /// What a processor must have for them besides those of the set.
    pub(super) fn features(self, isa: Isa) -> CpuFeatures {
        CpuFeatures { avx512_vnni: self.dots, avx512_vbmi: self.multishift, ..isa.features() }
    }
}

//! Memory probes for x86-64, with the widest vectors that the processor has.

use rooftile_artifact::profile::Pattern;
use rooftile_artifact::target::CpuFeatures;

use super::{MemoryProbe, SWEEP_STEP};

/// The scale of the sweeps that compute.
const SCALE: f32 = 0.5;

/// The sweeps of one width. All pointers are aligned to the widest vector, and lengths are multiples of
/// [`SWEEP_STEP`], so each loop runs whole.
macro_rules! sweeps {
    (
        $module:ident, $features:literal, $vector:ident, $splat:ident, $load:ident, $store:ident, $stream:ident,
        $or:ident, $add:ident, $mul:ident
    ) => {
        mod $module {
            use super::{SCALE, SWEEP_STEP};
            use std::arch::x86_64::*;
            use std::hint::black_box;

            /// Elements of a vector, and vectors handled per iteration.
            const LANES: usize = size_of::<$vector>() / size_of::<f32>();
            const UNROLL: usize = 8;
            const _: () = assert!(SWEEP_STEP % (UNROLL * size_of::<$vector>()) == 0);

            /// # Safety
            /// As [`crate::probe::MemoryProbe::run`], on a processor with the features.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn read([a, ..]: [*mut f32; 3], len: usize) {
                let mut all = [$splat(0.0); UNROLL];
                for i in (0..len).step_by(UNROLL * LANES) {
                    for (n, all) in all.iter_mut().enumerate() {
                        // SAFETY: inside the array by the caller's promise.
                        *all = $or(*all, unsafe { $load(a.add(i + n * LANES)) });
                    }
                }
                black_box(all);
            }

            sweeps!(@two copy, $features, $load, $store, |a, _b| a);
            sweeps!(@two copy_past, $features, $load, $stream, |a, _b| a);
            sweeps!(@two axpy, $features, $load, $store, |x, y| $add(y, $mul($splat(SCALE), x)));
            sweeps!(@three triad, $features, $load, $store, |a, b| $add(a, $mul($splat(SCALE), b)));
            sweeps!(@three triad_past, $features, $load, $stream, |a, b| $add(a, $mul($splat(SCALE), b)));
        }
    };
    (@two $name:ident, $features:literal, $load:ident, $store:ident, |$a:ident, $b:ident| $value:expr) => {
        /// # Safety
        /// As [`crate::probe::MemoryProbe::run`], on a processor with the features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name([a, b, _]: [*mut f32; 3], len: usize) {
            for i in (0..len).step_by(UNROLL * LANES) {
                for n in 0..UNROLL {
                    // SAFETY: inside the arrays by the caller's promise.
                    unsafe {
                        let at = i + n * LANES;
                        let ($a, $b) = ($load(a.add(at)), $load(b.add(at)));
                        $store(b.add(at), $value);
                    }
                }
            }
            // Stores past the caches are weakly ordered.
            _mm_sfence();
        }
    };
    (@three $name:ident, $features:literal, $load:ident, $store:ident, |$a:ident, $b:ident| $value:expr) => {
        /// # Safety
        /// As [`crate::probe::MemoryProbe::run`], on a processor with the features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name([a, b, c]: [*mut f32; 3], len: usize) {
            for i in (0..len).step_by(UNROLL * LANES) {
                for n in 0..UNROLL {
                    // SAFETY: inside the arrays by the caller's promise.
                    unsafe {
                        let at = i + n * LANES;
                        let ($a, $b) = ($load(a.add(at)), $load(b.add(at)));
                        $store(c.add(at), $value);
                    }
                }
            }
            // Stores past the caches are weakly ordered.
            _mm_sfence();
        }
    };
}

sweeps!(
    by_128,
    "sse2",
    __m128,
    _mm_set1_ps,
    _mm_load_ps,
    _mm_store_ps,
    _mm_stream_ps,
    _mm_or_ps,
    _mm_add_ps,
    _mm_mul_ps
);
sweeps!(
    by_256,
    "avx",
    __m256,
    _mm256_set1_ps,
    _mm256_load_ps,
    _mm256_store_ps,
    _mm256_stream_ps,
    _mm256_or_ps,
    _mm256_add_ps,
    _mm256_mul_ps
);
sweeps!(
    by_512,
    "avx512f,avx512dq",
    __m512,
    _mm512_set1_ps,
    _mm512_load_ps,
    _mm512_store_ps,
    _mm512_stream_ps,
    _mm512_or_ps,
    _mm512_add_ps,
    _mm512_mul_ps
);

macro_rules! list {
    ($module:ident) => {
        vec![
            probe(Pattern::Read, 1, 1, $module::read),
            probe(Pattern::Copy, 2, 2, $module::copy),
            probe(Pattern::Triad, 3, 3, $module::triad),
            probe(Pattern::Axpy, 2, 3, $module::axpy),
            probe(Pattern::CopyNonTemporal, 2, 2, $module::copy_past),
            probe(Pattern::TriadNonTemporal, 3, 3, $module::triad_past),
        ]
    };
}

fn probe(
    pattern: Pattern,
    arrays: usize,
    moves: usize,
    sweep: unsafe fn([*mut f32; 3], usize),
) -> MemoryProbe {
    MemoryProbe { pattern, arrays, moves, sweep }
}

/// Every memory probe.
pub(super) fn memory(features: CpuFeatures) -> Vec<MemoryProbe> {
    if features.avx512 {
        list!(by_512)
    } else if features.avx {
        list!(by_256)
    } else {
        list!(by_128)
    }
}

//! Probes as plain loops that the compiler vectorises, for processors without probes of their own.

use std::hint::black_box;

use rooftile_artifact::DType;
use rooftile_artifact::profile::Pattern;
use rooftile_artifact::work::OpClass;

use super::{ComputeProbe, EXP_F32, EXP_F64, MemoryProbe};

/// Bytes of the vectors that the compiler makes unless told otherwise.
const VECTOR_BYTES: usize = 16;
/// Independent chains: more than latency times throughput of any operation.
const CHAINS: usize = 64;

/// The scale of the sweeps that compute.
const SCALE: f32 = 0.5;

macro_rules! float_probes {
    ($module:ident, $float:ty, $coefficients:expr) => {
        mod $module {
            use super::{CHAINS, black_box};

            fn chains(start: $float) -> [$float; CHAINS] {
                std::array::from_fn(|_| black_box(start))
            }

            fn multiply_add(x: $float, a: $float, b: $float) -> $float {
                // Elsewhere a fused operation may be a call to a library.
                if cfg!(target_arch = "aarch64") { x.mul_add(a, b) } else { x * a + b }
            }

            pub(super) fn fma(iterations: u64) {
                let (a, b) = (black_box(0.5), black_box(0.5));
                let mut x = chains(1.0);
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = multiply_add(*v, a, b);
                    }
                }
                black_box(x);
            }

            pub(super) fn div(iterations: u64) {
                let a = black_box(2.5);
                let mut x = chains(1.7);
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = a / *v;
                    }
                }
                black_box(x);
            }

            pub(super) fn sqrt(iterations: u64) {
                let a = black_box(1.7);
                let mut x = chains(1.3);
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = (*v * a).sqrt();
                    }
                }
                black_box(x);
            }

            pub(super) fn exp(iterations: u64) {
                let mut x = chains(0.5);
                for _ in 0..iterations {
                    for v in &mut x {
                        let mut sum = $coefficients[0];
                        for &c in &$coefficients[1..] {
                            sum = multiply_add(sum, -*v, c);
                        }
                        *v = sum;
                    }
                }
                black_box(x);
            }
        }
    };
}

float_probes!(single, f32, super::EXP_F32);
float_probes!(double, f64, super::EXP_F64);

macro_rules! int_probe {
    ($name:ident, $int:ty) => {
        fn $name(iterations: u64) {
            let (a, b): ($int, $int) = (black_box(3), black_box(5));
            let mut x: [$int; CHAINS] = std::array::from_fn(|_| black_box(1));
            for _ in 0..iterations {
                for v in &mut x {
                    *v = v.wrapping_add(a) ^ b;
                }
            }
            black_box(x);
        }
    };
}

int_probe!(int32, i32);
int_probe!(int8, i8);

/// Every compute probe.
pub(super) fn compute() -> Vec<ComputeProbe> {
    let probe = |class, dtype, per_chain: f64, iterate: unsafe fn(u64)| ComputeProbe {
        class,
        dtype,
        vector_bytes: VECTOR_BYTES,
        operations: per_chain * 64.0,
        iterate,
    };
    vec![
        probe(OpClass::Fma, DType::F32, 2.0, single::fma),
        probe(OpClass::Fma, DType::F64, 2.0, double::fma),
        probe(OpClass::Div, DType::F32, 1.0, single::div),
        probe(OpClass::Div, DType::F64, 1.0, double::div),
        probe(OpClass::Sqrt, DType::F32, 1.0, single::sqrt),
        probe(OpClass::Sqrt, DType::F64, 1.0, double::sqrt),
        probe(OpClass::Special, DType::F32, 1.0, single::exp),
        probe(OpClass::Special, DType::F64, 1.0, double::exp),
        probe(OpClass::Int, DType::I32, 2.0, int32),
        probe(OpClass::Int, DType::I8, 2.0, int8),
    ]
}

/// Every memory probe; there are no stores past the caches in plain code.
pub(super) fn memory() -> Vec<MemoryProbe> {
    let probe = |pattern, arrays, moves, sweep: unsafe fn([*mut f32; 3], usize)| MemoryProbe {
        pattern,
        arrays,
        moves,
        sweep,
    };
    vec![
        probe(Pattern::Read, 1, 1, read),
        probe(Pattern::Copy, 2, 2, copy),
        probe(Pattern::Triad, 3, 3, triad),
        probe(Pattern::Axpy, 2, 3, axpy),
    ]
}

/// # Safety
/// As [`MemoryProbe::run`].
unsafe fn read([a, ..]: [*mut f32; 3], len: usize) {
    // SAFETY: the caller's promise.
    let a = unsafe { std::slice::from_raw_parts(a.cast::<u32>(), len) };
    let mut all = [0u32; 32];
    for piece in a.chunks_exact(all.len()) {
        for (all, v) in all.iter_mut().zip(piece) {
            *all |= v;
        }
    }
    black_box(all);
}

/// # Safety
/// As [`MemoryProbe::run`].
unsafe fn copy([a, b, _]: [*mut f32; 3], len: usize) {
    // SAFETY: the caller's promise; the arrays are disjoint.
    let (a, b) = unsafe { (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts_mut(b, len)) };
    b.copy_from_slice(a);
    black_box(b);
}

/// # Safety
/// As [`MemoryProbe::run`].
unsafe fn triad([a, b, c]: [*mut f32; 3], len: usize) {
    // SAFETY: the caller's promise; the arrays are disjoint.
    let (a, b) = unsafe { (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts(b, len)) };
    // SAFETY: as above.
    let c = unsafe { std::slice::from_raw_parts_mut(c, len) };
    for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
        *c = a + SCALE * b;
    }
    black_box(c);
}

/// # Safety
/// As [`MemoryProbe::run`].
unsafe fn axpy([x, y, _]: [*mut f32; 3], len: usize) {
    // SAFETY: the caller's promise; the arrays are disjoint.
    let (x, y) = unsafe { (std::slice::from_raw_parts(x, len), std::slice::from_raw_parts_mut(y, len)) };
    for (y, x) in y.iter_mut().zip(x) {
        *y += SCALE * x;
    }
    black_box(y);
}

//! Compute probes for x86-64, for each width of vectors that the processor has.
//!
//! Each loop keeps a dozen independent chains in registers, more than latency times throughput of the operation.

use rooftile_artifact::DType;
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::work::OpClass;

use super::ComputeProbe;

/// Chains of a loop.
const CHAINS: usize = 12;

/// The float probes of one width and type. `fma` is the fused operation where the features have one, else a product
/// and a sum; `scale` multiplies by the power of two whose exponent stands in the low bits of its first operand.
macro_rules! float_probes {
    (
        $module:ident, $features:literal, $float:ty, $vector:ident, $coefficients:ident, $magic:expr,
        $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $sqrt:ident,
        fma = |$x:ident, $y:ident, $z:ident| $fma:expr,
        scale = |$n:ident, $v:ident| $scale:expr
    ) => {
        mod $module {
            use super::CHAINS;
            use crate::probe::$coefficients as COEFFICIENTS;
            use std::arch::x86_64::*;
            use std::hint::black_box;

            #[target_feature(enable = $features)]
            #[inline]
            fn splat(v: $float) -> $vector {
                $splat(v)
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn multiply_add($x: $vector, $y: $vector, $z: $vector) -> $vector {
                $fma
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn scale($n: $vector, $v: $vector) -> $vector {
                $scale
            }

            /// Fused products and sums that settle at 1.
            #[target_feature(enable = $features)]
            pub(super) fn fma(iterations: u64) {
                let (a, b) = (splat(black_box(0.5)), splat(black_box(0.5)));
                let mut x = [splat(black_box(0.7)); CHAINS];
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = multiply_add(*v, a, b);
                    }
                }
                black_box(x);
            }

            /// As many products as sums, independent of each other: some processors have units for each.
            #[target_feature(enable = $features)]
            pub(super) fn mul_and_add(iterations: u64) {
                let (a, b) = (splat(black_box(1.0)), splat(black_box(1e-9)));
                let mut x = [splat(black_box(0.7)); CHAINS / 2];
                let mut y = [splat(black_box(0.7)); CHAINS / 2];
                for _ in 0..iterations {
                    for (x, y) in x.iter_mut().zip(&mut y) {
                        *x = $mul(*x, a);
                        *y = $add(*y, b);
                    }
                }
                black_box((x, y));
            }

            /// Quotients that go back and forth between two values, neither of them a power of two.
            #[target_feature(enable = $features)]
            pub(super) fn div(iterations: u64) {
                let a = splat(black_box(2.9));
                let mut x = [splat(black_box(1.7)); CHAINS];
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = $div(a, *v);
                    }
                }
                black_box(x);
            }

            /// Square roots of numbers that settle at 1.7 squared; the product keeps them off 1, an easy case.
            #[target_feature(enable = $features)]
            pub(super) fn sqrt(iterations: u64) {
                let a = splat(black_box(1.7));
                let mut x = [splat(black_box(1.3)); CHAINS];
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = $sqrt($mul(*v, a));
                    }
                }
                black_box(x);
            }

            /// Exponentials of negatives, which settle where exp(-x) is x.
            #[target_feature(enable = $features)]
            pub(super) fn exp(iterations: u64) {
                let mut x = [splat(black_box(0.4)); CHAINS];
                for _ in 0..iterations {
                    for v in &mut x {
                        *v = exp_of_negative(*v);
                    }
                }
                black_box(x);
            }

            /// The exponential as math libraries compute it: reduction to half a binade, a polynomial, scaling.
            #[target_feature(enable = $features)]
            #[inline]
            fn exp_of_negative(v: $vector) -> $vector {
                const PER_BINADE: $float = -std::f64::consts::LOG2_E as $float;
                // The logarithm of 2 in two parts, so that no product with the first is rounded.
                const LN2_HIGH: $float = 0.693_145_75;
                const LN2_LOW: $float = 1.428_606_8e-6;
                // The integer nearest to -v / ln 2 stands in the low bits of n.
                let n = multiply_add(v, splat(PER_BINADE), splat($magic));
                let whole = $sub(n, splat($magic));
                let high = multiply_add(whole, splat(-LN2_HIGH), $sub(splat(0.0), v));
                let rest = multiply_add(whole, splat(-LN2_LOW), high);
                let mut sum = splat(COEFFICIENTS[0]);
                for &c in &COEFFICIENTS[1..] {
                    sum = multiply_add(sum, rest, splat(c));
                }
                scale(n, sum)
            }

            /// One lane of the exponential, for the test of the formula.
            #[cfg(test)]
            #[target_feature(enable = $features)]
            pub(super) fn exp_lane(v: $float) -> $float {
                let lanes = exp_of_negative(splat(v));
                // SAFETY: a vector is at least one element long and has no invalid bits.
                unsafe { *(&raw const lanes).cast() }
            }
        }
    };
}

/// Adding this leaves the nearest integer in the low bits: one and a half times two to the mantissa's width.
const MAGIC_F32: f32 = 12_582_912.0;
const MAGIC_F64: f64 = 6_755_399_441_055_744.0;

float_probes!(
    single_128,
    "sse2",
    f32,
    __m128,
    EXP_F32,
    super::MAGIC_F32,
    _mm_set1_ps,
    _mm_add_ps,
    _mm_sub_ps,
    _mm_mul_ps,
    _mm_div_ps,
    _mm_sqrt_ps,
    fma = |x, y, z| _mm_add_ps(_mm_mul_ps(x, y), z),
    scale = |n, v| _mm_castsi128_ps(_mm_add_epi32(
        _mm_slli_epi32::<23>(_mm_castps_si128(n)),
        _mm_castps_si128(v)
    ))
);
float_probes!(
    double_128,
    "sse2",
    f64,
    __m128d,
    EXP_F64,
    super::MAGIC_F64,
    _mm_set1_pd,
    _mm_add_pd,
    _mm_sub_pd,
    _mm_mul_pd,
    _mm_div_pd,
    _mm_sqrt_pd,
    fma = |x, y, z| _mm_add_pd(_mm_mul_pd(x, y), z),
    scale = |n, v| _mm_castsi128_pd(_mm_add_epi64(
        _mm_slli_epi64::<52>(_mm_castpd_si128(n)),
        _mm_castpd_si128(v)
    ))
);
float_probes!(
    fused_single_128,
    "avx2,fma",
    f32,
    __m128,
    EXP_F32,
    super::MAGIC_F32,
    _mm_set1_ps,
    _mm_add_ps,
    _mm_sub_ps,
    _mm_mul_ps,
    _mm_div_ps,
    _mm_sqrt_ps,
    fma = |x, y, z| _mm_fmadd_ps(x, y, z),
    scale = |n, v| _mm_castsi128_ps(_mm_add_epi32(
        _mm_slli_epi32::<23>(_mm_castps_si128(n)),
        _mm_castps_si128(v)
    ))
);
float_probes!(
    fused_double_128,
    "avx2,fma",
    f64,
    __m128d,
    EXP_F64,
    super::MAGIC_F64,
    _mm_set1_pd,
    _mm_add_pd,
    _mm_sub_pd,
    _mm_mul_pd,
    _mm_div_pd,
    _mm_sqrt_pd,
    fma = |x, y, z| _mm_fmadd_pd(x, y, z),
    scale = |n, v| _mm_castsi128_pd(_mm_add_epi64(
        _mm_slli_epi64::<52>(_mm_castpd_si128(n)),
        _mm_castpd_si128(v)
    ))
);
float_probes!(
    single_256,
    "avx2,fma",
    f32,
    __m256,
    EXP_F32,
    super::MAGIC_F32,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_sqrt_ps,
    fma = |x, y, z| _mm256_fmadd_ps(x, y, z),
    scale = |n, v| _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_slli_epi32::<23>(_mm256_castps_si256(n)),
        _mm256_castps_si256(v)
    ))
);
float_probes!(
    double_256,
    "avx2,fma",
    f64,
    __m256d,
    EXP_F64,
    super::MAGIC_F64,
    _mm256_set1_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_sqrt_pd,
    fma = |x, y, z| _mm256_fmadd_pd(x, y, z),
    scale = |n, v| _mm256_castsi256_pd(_mm256_add_epi64(
        _mm256_slli_epi64::<52>(_mm256_castpd_si256(n)),
        _mm256_castpd_si256(v)
    ))
);
float_probes!(
    single_512,
    "avx512f",
    f32,
    __m512,
    EXP_F32,
    super::MAGIC_F32,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_sqrt_ps,
    fma = |x, y, z| _mm512_fmadd_ps(x, y, z),
    scale = |n, v| _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_slli_epi32::<23>(_mm512_castps_si512(n)),
        _mm512_castps_si512(v)
    ))
);
float_probes!(
    double_512,
    "avx512f",
    f64,
    __m512d,
    EXP_F64,
    super::MAGIC_F64,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_sqrt_pd,
    fma = |x, y, z| _mm512_fmadd_pd(x, y, z),
    scale = |n, v| _mm512_castsi512_pd(_mm512_add_epi64(
        _mm512_slli_epi64::<52>(_mm512_castpd_si512(n)),
        _mm512_castpd_si512(v)
    ))
);

/// Two integer operations per chain: a sum or product, and another operation that keeps the compiler from merging
/// successive iterations.
macro_rules! int_probe {
    ($name:ident, $features:literal, $splat:ident, $int:ty, $first:ident, $second:ident) => {
        #[target_feature(enable = $features)]
        fn $name(iterations: u64) {
            use std::arch::x86_64::*;
            use std::hint::black_box;
            let (a, b) = ($splat(black_box::<$int>(3)), $splat(black_box::<$int>(5)));
            let mut x = [$splat(black_box::<$int>(1)); CHAINS];
            for _ in 0..iterations {
                for v in &mut x {
                    *v = $second($first(*v, a), b);
                }
            }
            black_box(x);
        }
    };
}

int_probe!(int32_128, "sse2", _mm_set1_epi32, i32, _mm_add_epi32, _mm_xor_si128);
int_probe!(int32_256, "avx2", _mm256_set1_epi32, i32, _mm256_add_epi32, _mm256_xor_si256);
int_probe!(int32_512, "avx512f", _mm512_set1_epi32, i32, _mm512_add_epi32, _mm512_xor_si512);
int_probe!(mul32_128, "avx2", _mm_set1_epi32, i32, _mm_mullo_epi32, _mm_add_epi32);
int_probe!(mul32_256, "avx2", _mm256_set1_epi32, i32, _mm256_mullo_epi32, _mm256_add_epi32);
int_probe!(mul32_512, "avx512f", _mm512_set1_epi32, i32, _mm512_mullo_epi32, _mm512_add_epi32);
int_probe!(int8_128, "sse2", _mm_set1_epi8, i8, _mm_add_epi8, _mm_xor_si128);
int_probe!(int8_256, "avx2", _mm256_set1_epi8, i8, _mm256_add_epi8, _mm256_xor_si256);
int_probe!(int8_512, "avx512f,avx512bw", _mm512_set1_epi8, i8, _mm512_add_epi8, _mm512_xor_si512);

/// Dot products of bytes: of each chain 64 products, and as many sums.
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot8_512(iterations: u64) {
    use std::arch::x86_64::*;
    use std::hint::black_box;
    let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
    let mut x = [_mm512_set1_epi32(black_box(1)); CHAINS];
    for _ in 0..iterations {
        for v in &mut x {
            *v = _mm512_dpbusd_epi32(*v, a, b);
        }
    }
    black_box(x);
}

/// Lists the probes of a module of [`float_probes`].
macro_rules! list_floats {
    ($list:ident, $module:ident, $dtype:expr, $bytes:literal) => {
        let chains = CHAINS as f64 * $bytes as f64 / $dtype.size() as f64;
        let mut add = |class, per_chain: f64, iterate: unsafe fn(u64)| {
            $list.push(ComputeProbe {
                class,
                dtype: $dtype,
                vector_bytes: $bytes,
                operations: per_chain * chains,
                iterate,
            });
        };
        add(OpClass::Fma, 2.0, $module::fma);
        // Half of the chains multiply, half add.
        add(OpClass::Fma, 1.0, $module::mul_and_add);
        add(OpClass::Div, 1.0, $module::div);
        add(OpClass::Sqrt, 1.0, $module::sqrt);
        add(OpClass::Special, 1.0, $module::exp);
    };
}

/// An integer probe: type, vector width in bytes, loop.
type IntProbe = (DType, usize, unsafe fn(u64));

/// Every compute probe that a processor with these features can run.
pub(super) fn compute(features: CpuFeatures) -> Vec<ComputeProbe> {
    let mut list = Vec::new();
    let mut ints: Vec<IntProbe> = vec![(DType::I32, 16, int32_128), (DType::I8, 16, int8_128)];
    let wide = features.avx2 && features.fma;
    if wide {
        list_floats!(list, fused_single_128, DType::F32, 16);
        list_floats!(list, fused_double_128, DType::F64, 16);
        list_floats!(list, single_256, DType::F32, 32);
        list_floats!(list, double_256, DType::F64, 32);
        ints.extend([
            (DType::I32, 16, mul32_128 as unsafe fn(u64)),
            (DType::I32, 32, int32_256),
            (DType::I32, 32, mul32_256),
            (DType::I8, 32, int8_256),
        ]);
    } else {
        list_floats!(list, single_128, DType::F32, 16);
        list_floats!(list, double_128, DType::F64, 16);
    }
    if features.avx512 {
        list_floats!(list, single_512, DType::F32, 64);
        list_floats!(list, double_512, DType::F64, 64);
        ints.extend([
            (DType::I32, 64, int32_512 as unsafe fn(u64)),
            (DType::I32, 64, mul32_512),
            (DType::I8, 64, int8_512),
        ]);
    }
    for (dtype, vector_bytes, iterate) in ints {
        let lanes = vector_bytes as f64 / dtype.size() as f64;
        let operations = 2.0 * CHAINS as f64 * lanes;
        list.push(ComputeProbe { class: OpClass::Int, dtype, vector_bytes, operations, iterate });
    }
    if features.avx512 && features.avx512_vnni {
        list.push(ComputeProbe {
            class: OpClass::Product,
            dtype: DType::I8,
            vector_bytes: 64,
            operations: 128.0 * CHAINS as f64,
            iterate: dot8_512,
        });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The special-function probe computes what it claims: otherwise its rate would mean nothing.
    #[test]
    fn the_exponential_is_one() {
        use std::arch::is_x86_feature_detected as has;
        let mut single: Vec<unsafe fn(f32) -> f32> = vec![single_128::exp_lane];
        let mut double: Vec<unsafe fn(f64) -> f64> = vec![double_128::exp_lane];
        if has!("avx2") && has!("fma") {
            single.extend([fused_single_128::exp_lane as unsafe fn(f32) -> f32, single_256::exp_lane]);
            double.extend([fused_double_128::exp_lane as unsafe fn(f64) -> f64, double_256::exp_lane]);
        }
        if has!("avx512f") {
            single.push(single_512::exp_lane);
            double.push(double_512::exp_lane);
        }
        for v in [0.0f32, 0.1, 0.567, 1.0, 3.3, -2.0] {
            let exact = (-f64::from(v)).exp();
            for f in &single {
                // SAFETY: the features were found.
                let got = f64::from(unsafe { f(v) });
                assert!((got / exact - 1.0).abs() < 1e-6, "{v}: {got}");
            }
            for f in &double {
                // SAFETY: the features were found.
                let got = unsafe { f(v.into()) };
                assert!((got / exact - 1.0).abs() < 1e-7, "{v}: {got}");
            }
        }
    }
}

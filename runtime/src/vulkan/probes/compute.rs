//! Loops that do nothing but one class of operations, on many independent chains of each of many threads.

use rooftile_artifact::DType;
use rooftile_artifact::program::Kernel;
use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::work::OpClass;
use rspirv::dr::Builder;
use rspirv::spirv::{GlslStd450Op as Glsl, Word};

use super::asm::{Asm, Binary, Made, Type};
use crate::probe::{EXP_F32, EXP_F64};

/// Threads of a group.
pub(super) const GROUP: u32 = 64;
/// Steps of each chain in a round of the loop, so that counting rounds costs nothing.
pub(super) const STEPS: u32 = 8;

/// A kernel of one class of operations. Its buffers are the number of rounds, four bytes for each thread, and
/// memory for matrices, its only size the number of threads.
#[derive(Clone, Debug)]
pub(super) struct ComputeProbe {
    pub(super) class: OpClass,
    pub(super) dtype: DType,
    /// Operations of one thread in one round.
    pub(super) operations: f64,
    pub(super) kernel: Kernel,
    /// Four-byte elements of its third buffer for each thread, and beside those; it has none where both are 0.
    pub(super) array: [u32; 2],
}

/// One step of a chain.
type Step<'a> = &'a dyn Fn(&mut Asm, Word) -> Made<Word>;

/// What a loop computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Fused products and sums.
    Fused,
    /// As many products as sums, each rounded: devices in software may have no fused operation.
    Separate,
    Div,
    Sqrt,
    /// Reciprocal square roots, for which GPUs have an instruction.
    InverseSqrt,
    /// The driver's exponential.
    Exp,
    /// The exponential as math libraries compute it: reduction to half a binade, a polynomial, scaling.
    ExpSeries,
}

/// Every compute probe that a device with these features can run; several may share class and type, of which the fastest
/// counts.
pub(super) fn probes(features: GpuFeatures) -> Made<Vec<ComputeProbe>> {
    use Kind::{Div, Exp, ExpSeries, Fused, InverseSqrt, Separate, Sqrt};
    let mut all = vec![sums()?, products()?];
    for kind in [Fused, Separate, Div, Sqrt, InverseSqrt, Exp, ExpSeries] {
        all.push(floats(kind, DType::F32, 1)?);
    }
    if features.f64 {
        for kind in [Fused, Separate, Div, Sqrt, InverseSqrt, ExpSeries] {
            all.push(floats(kind, DType::F64, 1)?);
        }
    }
    if features.f16 {
        // Two lanes fill a register.
        all.push(floats(Fused, DType::F16, 2)?);
        all.push(floats(Separate, DType::F16, 2)?);
    }
    Ok(all)
}

/// A loop over floats. Values settle, and none becomes infinite, subnormal or an easy case such as 1.
fn floats(kind: Kind, dtype: DType, lanes: u32) -> Made<ComputeProbe> {
    let chains: u32 = match (kind, dtype) {
        // As many as the registers of a software device hold.
        (Kind::Exp | Kind::ExpSeries, DType::F64) => 2,
        (_, DType::F64) | (Kind::Exp | Kind::ExpSeries, _) => 4,
        _ => 8,
    };
    let (class, per_step) = match kind {
        Kind::Fused | Kind::Separate => (OpClass::Fma, 2.0),
        Kind::Div => (OpClass::Div, 1.0),
        Kind::Sqrt | Kind::InverseSqrt => (OpClass::Sqrt, 1.0),
        Kind::Exp | Kind::ExpSeries => (OpClass::Special, 1.0),
    };
    let mut a = Asm::new(GROUP, &[dtype])?;
    let ty = a.float(dtype, lanes);
    let c = |a: &mut Asm, v| a.constant(ty, v);
    let (half, more, twice, per_binade) = (c(&mut a, 0.5), c(&mut a, 1.7), c(&mut a, 2.9), c(&mut a, 1e-3));
    let step: Step<'_> = &|a, v| match kind {
        Kind::Fused => a.glsl(Glsl::Fma, ty, &[v, half, half]),
        Kind::Separate => {
            let v = a.exact(Builder::f_mul, ty, v, half)?;
            a.exact(Builder::f_add, ty, v, half)
        }
        Kind::Div => a.exact(Builder::f_div, ty, twice, v),
        Kind::Sqrt | Kind::InverseSqrt => {
            let v = a.exact(Builder::f_mul, ty, v, more)?;
            a.glsl(if kind == Kind::Sqrt { Glsl::Sqrt } else { Glsl::InverseSqrt }, ty, &[v])
        }
        Kind::Exp => {
            let zero = a.constant(ty, 0.0);
            let v = a.exact(Builder::f_sub, ty, zero, v)?;
            a.glsl(Glsl::Exp, ty, &[v])
        }
        Kind::ExpSeries => exp_of_negative(a, ty, v),
    };
    // Every chain and every thread has a value of its own, lest the driver computes once what is the same.
    let thread = a.local;
    let thread = a.float_of(ty, thread)?;
    let offset = a.exact(Builder::f_mul, ty, thread, per_binade)?;
    let mut first = Vec::new();
    for chain in 0..chains {
        let start = a.constant(ty, 0.6 + 0.01 * f64::from(chain));
        first.push((ty, a.exact(Builder::f_add, ty, start, offset)?));
    }
    rounds(a, &first, &format!("{kind:?} {dtype}"), step).map(|kernel| ComputeProbe {
        class,
        dtype,
        operations: per_step * f64::from(chains * STEPS * lanes),
        kernel,
        array: [0; 2],
    })
}

/// The exponential of a negated value, by fused operations.
fn exp_of_negative(a: &mut Asm, ty: Type, v: Word) -> Made<Word> {
    let bits = a.bits_of(ty);
    let double = ty.bytes() == 8;
    // Adding it leaves the nearest integer in the low bits: one and a half times two to the mantissa's width.
    let magic = a.constant(ty, if double { 6_755_399_441_055_744.0 } else { 12_582_912.0 });
    let per_binade = a.constant(ty, -std::f64::consts::LOG2_E);
    let (high, low) = (a.constant(ty, -0.693_145_75), a.constant(ty, -1.428_606_8e-6));
    let zero = a.constant(ty, 0.0);
    let n = a.glsl(Glsl::Fma, ty, &[v, per_binade, magic])?;
    let whole = a.exact(Builder::f_sub, ty, n, magic)?;
    let negated = a.exact(Builder::f_sub, ty, zero, v)?;
    let rest = a.glsl(Glsl::Fma, ty, &[whole, high, negated])?;
    let rest = a.glsl(Glsl::Fma, ty, &[whole, low, rest])?;
    let series: Vec<f64> = if double { EXP_F64.to_vec() } else { EXP_F32.map(f64::from).to_vec() };
    let mut sum = zero;
    for (n, c) in series.into_iter().enumerate() {
        let c = a.constant(ty, c);
        sum = if n == 0 { c } else { a.glsl(Glsl::Fma, ty, &[sum, rest, c])? };
    }
    let shift = a.constant(bits, if double { 52.0 } else { 23.0 });
    let n = a.bitcast(bits, n)?;
    let n = a.with(Builder::shift_left_logical, bits, n, shift)?;
    let sum = a.bitcast(bits, sum)?;
    let scaled = a.with(Builder::i_add, bits, sum, n)?;
    a.bitcast(ty, scaled)
}

/// Sums of integers, each followed by an exclusive or that keeps the driver from merging them.
fn sums() -> Made<ComputeProbe> {
    ints("sums", Builder::i_add, Builder::bitwise_xor)
}

/// Products and sums of integers.
fn products() -> Made<ComputeProbe> {
    ints("products", Builder::i_mul, Builder::i_add)
}

fn ints(name: &str, op: Binary, then: Binary) -> Made<ComputeProbe> {
    const CHAINS: u32 = 8;
    let mut a = Asm::new(GROUP, &[])?;
    let ty = a.u32;
    // No constants, with which successive steps could be merged.
    let (three, five) = (a.int(3), a.int(5));
    let local = a.local;
    let x = a.with(Builder::i_mul, ty, local, three)?;
    let y = a.with(Builder::bitwise_xor, ty, local, five)?;
    let step: Step<'_> = &|a, v| {
        let v = a.with(op, ty, v, x)?;
        a.with(then, ty, v, y)
    };
    let mut first = Vec::new();
    for chain in 0..CHAINS {
        let start = a.int(chain);
        first.push((ty, a.with(Builder::i_add, ty, local, start)?));
    }
    rounds(a, &first, name, step).map(|kernel| ComputeProbe {
        class: OpClass::Int,
        dtype: DType::I32,
        operations: 2.0 * f64::from(CHAINS * STEPS),
        kernel,
        array: [0; 2],
    })
}

/// Repeats steps on every chain as often as the first buffer says, and keeps what comes of them.
pub(super) fn rounds(mut a: Asm, first: &[(Type, Word)], name: &str, step: Step<'_>) -> Made<Kernel> {
    let (count, out) = (a.buffer(0)?, a.buffer(1)?);
    let ty = a.u32;
    let count = a.load(ty, count, 4)?;
    let last = a.repeat(count, first, |a, _, values| {
        let mut values = values.to_vec();
        for _ in 0..STEPS {
            for v in &mut values {
                *v = step(a, *v)?;
            }
        }
        Ok(values)
    })?;
    if let Some(&(ty, _)) = first.first() {
        a.keep(ty, &last, out)?;
    }
    a.finish(name, 2, 1)
}

//! Loops of products of narrow factors that are summed in a wider type: by matrix units, and by packed dot products.

use rooftile_artifact::target::{GpuTarget, MatrixShape};
use rooftile_artifact::work::OpClass;
use rooftile_artifact::{DType, program::Kernel};
use rspirv::dr::Builder;
use rspirv::spirv::{CooperativeMatrixUse as Use, Word};

use super::asm::{Asm, Made, Type};
use super::compute::{ComputeProbe, GROUP, STEPS, looped};

/// Sums that do not wait for each other.
const CHAINS: u32 = 4;

/// The products that a device has units for.
pub(super) fn probes(target: &GpuTarget) -> Made<Vec<ComputeProbe>> {
    let mut all = Vec::new();
    if target.features.dot8 {
        all.push(dots()?);
    }
    let narrow = |s: &&MatrixShape| s.factor.size() < s.result.size();
    for shape in target.matrices.iter().filter(narrow).filter(|_| GROUP.is_multiple_of(target.subgroup)) {
        all.push(matrices(*shape, target.subgroup)?);
    }
    Ok(all)
}

/// Products of small matrices, added to others.
fn matrices(shape: MatrixShape, subgroup: u32) -> Made<ComputeProbe> {
    let MatrixShape { m, n, k, factor, result } = shape;
    let mut a = Asm::new(GROUP, &[factor, result])?;
    let left = a.matrix(factor, [m, k], Use::MatrixAKHR);
    let right = a.matrix(factor, [k, n], Use::MatrixBKHR);
    let sums = a.matrix(result, [m, n], Use::MatrixAccumulatorKHR);
    let local = a.local;
    let (x, y) = (a.filled(left, local)?, a.filled(right, local)?);
    let mut first = Vec::new();
    for chain in 0..CHAINS {
        let (start, ty) = (a.int(chain), a.u32);
        let start = a.with(Builder::i_add, ty, local, start)?;
        first.push((sums, a.filled(sums, start)?));
    }
    let kernel = looped(
        a,
        &first,
        &format!("matrices {m}x{n}x{k} {factor} {result}"),
        &|a, v| a.multiply_add(sums, [x, y, v]),
        &|a, v| a.element_of(sums, v),
    )?;
    let each = 2.0 * f64::from(m) * f64::from(n) * f64::from(k) / f64::from(subgroup);
    Ok(probe(factor, each, kernel))
}

/// Dot products of four bytes.
fn dots() -> Made<ComputeProbe> {
    let mut a = Asm::new(GROUP, &[])?;
    let (ty, local, odd) = (a.u32, a.local, a.int(0x0103_0507));
    let x = a.with(Builder::i_mul, ty, local, odd)?;
    let mut first: Vec<(Type, Word)> = Vec::new();
    for chain in 0..CHAINS {
        let start = a.int(chain);
        first.push((ty, a.with(Builder::i_add, ty, local, start)?));
    }
    // A factor changes each time, lest the product be computed once.
    let step = |a: &mut Asm, v: Word| {
        let product = a.dot(x, v)?;
        a.with(Builder::i_add, ty, v, product)
    };
    let kernel = looped(a, &first, "dots", &step, &|_, v| Ok((ty, v)))?;
    Ok(probe(DType::I8, 8.0, kernel))
}

/// A probe that does so many operations in each step of each chain.
fn probe(dtype: DType, each: f64, kernel: Kernel) -> ComputeProbe {
    let dtype = if dtype == DType::U8 { DType::I8 } else { dtype };
    ComputeProbe { class: OpClass::Product, dtype, operations: each * f64::from(CHAINS * STEPS), kernel }
}

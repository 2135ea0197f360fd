//! Loops of products of narrow factors that are summed in a wider type: by matrix units, and by packed dot products.

use rooftile_artifact::target::{GpuTarget, MatrixShape};
use rooftile_artifact::work::OpClass;
use rooftile_artifact::{DType, program::Kernel};
use rspirv::dr::Builder;
use rspirv::spirv::{CooperativeMatrixUse as Use, Word};

use super::asm::{Asm, Made, Type};
use super::compute::{ComputeProbe, GROUP, STEPS, rounds};

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

/// Products of small matrices, added to others. The factors come from memory, and all sums go there: else a device in
/// software computes an element or two.
fn matrices(shape: MatrixShape, subgroup: u32) -> Made<ComputeProbe> {
    let MatrixShape { m, n, k, factor, result } = shape;
    let mut a = Asm::new(GROUP, &[factor, result])?;
    let left = a.matrix(factor, [m, k], Use::MatrixAKHR);
    let right = a.matrix(factor, [k, n], Use::MatrixBKHR);
    let sums = a.matrix(result, [m, n], Use::MatrixAccumulatorKHR);
    let (memory, word) = (a.buffer(2)?, a.u32);
    let behind = a.further(memory, m * k * left.bytes())?;
    let (x, y) = (a.load_matrix(left, memory, k)?, a.load_matrix(right, behind, n)?);
    let mut first = vec![(left, x)];
    for chain in 0..CHAINS {
        let (start, local) = (a.int(chain), a.local);
        let start = a.with(Builder::i_add, word, local, start)?;
        first.push((sums, a.filled(sums, start)?));
    }
    let count = a.buffer(0)?;
    let count = a.load(word, count, 4)?;
    let last = a.repeat(count, &first, |a, _, values| {
        let mut values = values.to_vec();
        for _ in 0..STEPS {
            // Another factor each time, lest the products be computed once.
            values[0] = a.sum(left, values[0], x)?;
            let factor = values[0];
            for v in &mut values[1..] {
                *v = a.multiply_add(sums, [factor, y, *v])?;
            }
        }
        Ok(values)
    })?;
    let mut all = last[1];
    for v in &last[2..] {
        all = a.sum(sums, all, *v)?;
    }
    // Each subgroup has a place of its own, behind the factors.
    let (thread, threads) = (a.thread()?, a.int(subgroup));
    let number = a.with(Builder::u_div, word, thread, threads)?;
    let factors = (m * k + k * n) * left.bytes();
    let results = a.further(memory, factors)?;
    let place = a.element(results, number, m * n * sums.bytes())?;
    a.store_matrix(sums, place, all, n)?;
    let kernel = a.finish(&format!("matrices {m}x{n}x{k} {factor} {result}"), 3, 1)?;
    let each = 2.0 * f64::from(m) * f64::from(n) * f64::from(k) / f64::from(subgroup);
    let words = (m * n * sums.bytes()).div_ceil(4);
    Ok(probe(factor, each, kernel, [words.div_ceil(subgroup), factors.div_ceil(4)]))
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
    Ok(probe(DType::I8, 8.0, rounds(a, &first, "dots", &step)?, [0; 2]))
}

/// A probe that does so many operations in each step of each chain.
fn probe(dtype: DType, each: f64, kernel: Kernel, array: [u32; 2]) -> ComputeProbe {
    let dtype = if dtype == DType::U8 { DType::I8 } else { dtype };
    ComputeProbe {
        class: OpClass::Product,
        dtype,
        operations: each * f64::from(CHAINS * STEPS),
        kernel,
        array,
    }
}

//! Sweeps over arrays that do nothing but move bytes, again and again inside one launch.

use rooftile_artifact::DType;
use rooftile_artifact::profile::Pattern;
use rooftile_artifact::program::Kernel;
use rooftile_artifact::target::GpuFeatures;
use rspirv::dr::Builder;
use rspirv::spirv::Word;

use super::asm::{Asm, Made, Type};

/// Threads of a group.
pub(super) const GROUP: u32 = 64;
/// Elements of each array that a thread moves in one step, independent of each other.
const UNROLLED: u32 = 8;

/// Buffers before the arrays: the number of passes, and four bytes for each thread.
pub(super) const BEFORE: u32 = 2;

/// A sweep. Behind [`BEFORE`] its buffers are its arrays; its sizes are threads, groups, blocks of each group, and how many
/// groups further on the blocks of a group lie in the next pass.
#[derive(Clone, Debug)]
pub(super) struct MemoryProbe {
    pub(super) pattern: Pattern,
    /// Arrays that it sweeps.
    pub(super) arrays: u32,
    /// How often it moves each byte of an array, summed over the arrays.
    pub(super) moves: u32,
    /// Bytes of an array that a group moves in one step.
    pub(super) block: u32,
    pub(super) kernel: Kernel,
}

/// Every sweep that a device with these features can run: of vectors of 16 bytes, of f32 and, where there is arithmetic
/// on it, of f64. Of those that share a pattern the fastest counts.
pub(super) fn probes(features: GpuFeatures) -> Made<Vec<MemoryProbe>> {
    let mut forms = vec![(DType::F32, 4)];
    if features.f64 {
        forms.push((DType::F64, 2));
    }
    let mut all = Vec::new();
    for (dtype, lanes) in forms {
        for pattern in [Pattern::Read, Pattern::Copy, Pattern::Triad, Pattern::Axpy] {
            all.push(sweep(pattern, dtype, lanes)?);
        }
    }
    Ok(all)
}

fn sweep(pattern: Pattern, dtype: DType, lanes: u32) -> Made<MemoryProbe> {
    let (arrays, moves) = match pattern {
        Pattern::Read => (1, 1),
        Pattern::Copy | Pattern::CopyNonTemporal => (2, 2),
        Pattern::Axpy => (2, 3),
        Pattern::Triad | Pattern::TriadNonTemporal => (3, 3),
    };
    let mut a = Asm::new(GROUP, &[dtype])?;
    let ty = a.float(dtype, lanes);
    let ints = a.u32;
    let buffers = BEFORE + arrays;
    let (passes, out) = (a.buffer(0)?, a.buffer(1)?);
    let passes = a.load(ints, passes, 4)?;
    let bases = (0..arrays).map(|n| a.buffer(BEFORE + n)).collect::<Made<Vec<Word>>>()?;
    let [groups, blocks, turn] = [a.size(buffers, 1)?, a.size(buffers, 2)?, a.size(buffers, 3)?];
    let block_elements = a.int(GROUP * UNROLLED);
    let (zero, factor) = (a.constant(ty, 0.0), a.constant(ty, 0.5));
    // Sums of what is read, several so that none waits for another; and the group's first block.
    let mut first = vec![(ty, zero); 4];
    first.push((ints, a.group));
    let local = a.local;
    let sums = a.repeat(passes, &first, |a, _, values| {
        let (sums, begin) = values.split_at(4);
        let begin = begin[0];
        let first: Vec<(Type, Word)> = sums.iter().map(|&s| (ty, s)).chain([(ints, begin)]).collect();
        let mut after = a.repeat(blocks, &first, |a, _, values| {
            let mut values = values.to_vec();
            let block = values[4];
            let element = a.with(Builder::i_mul, ints, block, block_elements)?;
            let element = a.with(Builder::i_add, ints, element, local)?;
            let at = bases.iter().map(|&b| a.element(b, element, ty.bytes())).collect::<Made<Vec<Word>>>()?;
            for n in 0..UNROLLED {
                let at =
                    at.iter().map(|&x| a.further(x, n * GROUP * ty.bytes())).collect::<Made<Vec<Word>>>()?;
                let x = a.load(ty, at[0], ty.bytes())?;
                match pattern {
                    Pattern::Read => {
                        let sum = &mut values[n as usize % 4];
                        *sum = a.exact(Builder::f_add, ty, *sum, x)?;
                    }
                    Pattern::Copy | Pattern::CopyNonTemporal => a.store(ty, at[1], x, ty.bytes())?,
                    Pattern::Axpy | Pattern::Triad | Pattern::TriadNonTemporal => {
                        let y = a.load(ty, at[1], ty.bytes())?;
                        let x = a.exact(Builder::f_mul, ty, x, factor)?;
                        let sum = a.exact(Builder::f_add, ty, x, y)?;
                        let to = if pattern == Pattern::Axpy { at[1] } else { at[2] };
                        a.store(ty, to, sum, ty.bytes())?;
                    }
                }
            }
            values[4] = a.with(Builder::i_add, ints, block, groups)?;
            Ok(values)
        })?;
        let begin = a.with(Builder::i_add, ints, begin, turn)?;
        after[4] = a.wrapped(begin, groups)?;
        Ok(after)
    })?;
    a.keep(ty, &sums[..4], out)?;
    let block = GROUP * UNROLLED * ty.bytes();
    let name = format!("{pattern:?} {dtype} x {lanes}");
    Ok(MemoryProbe { pattern, arrays, moves, block, kernel: a.finish(&name, buffers as usize, 4)? })
}

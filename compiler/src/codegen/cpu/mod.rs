//! Code for CPUs. Every generator takes verified nests and gives [`rooftile_artifact::program::Kernel`]s of
//! relocation-free bytes that are entered as [`rooftile_artifact::abi`] says.

mod cranelift;
mod emit;
mod kernel;
mod ssa;
mod vector;

use rooftile_artifact::program::Kernel;
use rooftile_artifact::{CpuTarget, Program};

pub use self::vector::{LoopPressure, Pressure};
pub use super::CodegenError;
use crate::nest::{Verified, VerifiedModule};

/// Which code generator makes the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Generator {
    /// The one that makes vectors of the target's width.
    #[default]
    Best,
    /// Our own: 256-bit vectors, x86-64 with AVX2 and FMA; where the target's vectors are as wide, 512 bits by AVX-512.
    Vector,
    /// Cranelift: 128-bit vectors, x86-64 (v2 and later) and aarch64.
    Cranelift,
}

impl Generator {
    /// The generator that is meant for a target.
    fn resolve(self, target: &CpuTarget) -> Generator {
        match self {
            Generator::Best if vector::is_for(target) => Generator::Vector,
            Generator::Best => Generator::Cranelift,
            other => other,
        }
    }
}

/// Generates the code of every kernel of a module.
///
/// # Errors
/// [`CodegenError`], of the first kernel that has one.
pub fn compile(
    module: &VerifiedModule,
    target: &CpuTarget,
    generator: Generator,
) -> Result<Program, CodegenError> {
    let mut program = module.program().clone();
    program.kernels = Vec::with_capacity(module.nests().len());
    for (nest, buffers) in module.nests().iter().zip(super::slots(module)) {
        let kernel = compile_nest(nest, target, generator)?;
        program.kernels.push(Kernel { buffers, ..kernel });
    }
    Ok(program)
}

/// Generates the code of one kernel.
///
/// # Errors
/// [`CodegenError`].
pub fn compile_nest(
    nest: &Verified,
    target: &CpuTarget,
    generator: Generator,
) -> Result<Kernel, CodegenError> {
    match generator.resolve(target) {
        Generator::Vector => vector::compile(nest, target),
        _ => cranelift::compile(nest, target),
    }
}

/// The nest in Cranelift's intermediate form, before its optimisations.
///
/// # Errors
/// [`CodegenError`].
pub fn emit_clif(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    cranelift::clif(nest, target)
}

/// The nest's machine code as a listing.
///
/// # Errors
/// [`CodegenError`].
pub fn emit_asm(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    match Generator::Best.resolve(target) {
        Generator::Vector => vector::asm(nest, target),
        _ => cranelift::asm(nest, target),
    }
}

/// What the nest's machine code asks of the processor; `None` where Cranelift makes it.
///
/// # Errors
/// [`CodegenError`].
pub fn pressure(nest: &Verified, target: &CpuTarget) -> Result<Option<Pressure>, CodegenError> {
    match Generator::Best.resolve(target) {
        Generator::Vector => vector::pressure(nest, target).map(Some),
        _ => Ok(None),
    }
}

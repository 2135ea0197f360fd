//! Code for CPUs. Every generator takes verified nests and gives [`rooftile_artifact::program::Kernel`]s of
//! relocation-free bytes that are entered as [`rooftile_artifact::abi`] says.

mod cranelift;
pub mod math;

use rooftile_artifact::program::{Kernel, Step};
use rooftile_artifact::{CpuTarget, Program};

use crate::nest::{Verified, VerifiedModule};

/// Which code generator makes the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Generator {
    /// Cranelift: 128-bit vectors, x86-64 (v2 and later) and aarch64.
    #[default]
    Cranelift,
}

pub use super::CodegenError;

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
    for nest in module.nests() {
        program.kernels.push(compile_nest(nest, target, generator)?);
    }
    // A launch may pass more buffers than the nest touches.
    let Program { kernels, steps, .. } = &mut program;
    widen_slots(kernels, steps);
    Ok(program)
}

fn widen_slots(kernels: &mut [Kernel], steps: &[Step]) {
    for step in steps {
        match step {
            Step::Launch { kernel, buffers, .. } => {
                if let Some(kernel) = kernels.get_mut(*kernel) {
                    kernel.buffers = kernel.buffers.max(buffers.len());
                }
            }
            Step::Repeat { body, .. } => widen_slots(kernels, body),
            Step::If { then, otherwise, .. } => {
                widen_slots(kernels, then);
                widen_slots(kernels, otherwise);
            }
            Step::Fill { .. } | Step::Copy { .. } => {}
        }
    }
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
    match generator {
        Generator::Cranelift => cranelift::compile(nest, target),
    }
}

/// The nest in Cranelift's intermediate form, before its optimisations.
///
/// # Errors
/// [`CodegenError`].
pub fn emit_clif(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    cranelift::clif(nest, target)
}

/// The nest's machine code as Cranelift lists it.
///
/// # Errors
/// [`CodegenError`].
pub fn emit_asm(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    cranelift::asm(nest, target)
}

//! SPIR-V 1.6 for Vulkan 1.3: one module a kernel, one entry point a phase, entered as [`rooftile_artifact::gpu_abi`]
//! says.
//!
//! Memory is reached by address, without descriptors. Registers of a nest are variables of the function, one an element,
//! which drivers keep in registers. Addresses and most indices are computed in 32 bits. Barriers stand where
//! [`super::gpu::barriers`] puts them.

mod code;
mod convert;
mod dot;
#[cfg(test)]
mod dot_tests;
mod emit;
mod expr;
mod float;
mod int;
mod matrix;
mod memory;
mod memory_model;
mod module;
mod phase;
mod stmt;
mod sweep;
#[cfg(test)]
mod tests;
mod types;

use rooftile_artifact::program::{Code, Kernel, Phase, SpirvCode, SpirvPhase};
use rooftile_artifact::{GpuTarget, Program};
use rspirv::binary::Disassemble;

use super::CodegenError;
use super::gpu::layout::Layout;
use super::gpu::matrices;
use super::gpu::threads::Shape;
use crate::nest::{Verified, VerifiedModule, host, verify};
use emit::{Emitter, Failure};

/// Generates the code of every kernel of a module.
///
/// # Errors
/// [`CodegenError`], of the first kernel that has one.
pub fn compile(module: &VerifiedModule, target: &GpuTarget) -> Result<Program, CodegenError> {
    let mut program = module.program().clone();
    program.kernels = Vec::with_capacity(module.nests().len());
    for (nest, slots) in module.nests().iter().zip(super::slots(module)) {
        program.kernels.push(kernel(nest, target, slots)?);
    }
    Ok(program)
}

/// Generates the code of one kernel, for launches that pass the buffers which it touches and no others.
///
/// # Errors
/// [`CodegenError`].
pub fn compile_nest(nest: &Verified, target: &GpuTarget) -> Result<Kernel, CodegenError> {
    kernel(nest, target, verify::slots(nest))
}

/// Where sizes lie in the parameter block depends on the number of slots.
fn kernel(nest: &Verified, target: &GpuTarget, slots: usize) -> Result<Kernel, CodegenError> {
    let unsupported = |what| CodegenError::Unsupported { nest: nest.name.clone(), what };
    let internal = |what: &str| CodegenError::Internal { nest: nest.name.clone(), what: what.to_owned() };
    let shapes: Vec<Shape> = nest
        .phases
        .iter()
        .map(|p| Shape::of(nest, p, target))
        .collect::<Result<_, String>>()
        .map_err(unsupported)?;
    let roles = matrices::roles(nest, target).map_err(unsupported)?;
    let layout = Layout::of(nest, &shapes);
    let mut emitter = Emitter::new(nest, target, &layout, roles, slots);
    let mut phases = Vec::with_capacity(shapes.len());
    for (n, (phase, &shape)) in nest.phases.iter().zip(&shapes).enumerate() {
        let entry = format!("phase{n}");
        emitter.phase(&entry, phase, shape);
        let shared_bytes = u32::try_from(emitter.shared_bytes).unwrap_or(u32::MAX);
        phases.push(SpirvPhase { entry, group: shape.group, chunks_per_group: shape.chunks(), shared_bytes });
    }
    match emitter.failure() {
        Some(Failure::Unsupported(what)) => return Err(unsupported(what)),
        Some(Failure::Internal(what)) => return Err(internal(&what)),
        None => {}
    }
    let (words, features) = emitter.code.module.finish();
    let missing = target.features.missing(features);
    if !missing.is_empty() {
        return Err(unsupported(format!("it lacks {missing}")));
    }
    let host_only = || internal("a bound or extent that the host cannot compute");
    let chunks: Option<Vec<Phase>> =
        nest.phases.iter().map(|p| host::chunks(nest, p).map(|chunks| Phase { chunks })).collect();
    Ok(Kernel {
        name: nest.name.clone(),
        buffers: slots,
        sizes: nest.sizes.len(),
        scalars: nest.scalars.iter().map(|(_, t)| *t).collect(),
        local_bytes: layout.bytes(nest).ok_or_else(host_only)?,
        phases: chunks.ok_or_else(host_only)?,
        code: Code::Spirv(SpirvCode { words, phases, features }),
    })
}

/// A kernel's SPIR-V as text; empty for a kernel of another kind.
#[must_use]
pub fn disassemble(kernel: &Kernel) -> String {
    let Code::Spirv(code) = &kernel.code else { return String::new() };
    match rspirv::dr::load_words(&code.words) {
        Ok(module) => module.disassemble(),
        Err(e) => format!("; not a module: {e}\n"),
    }
}

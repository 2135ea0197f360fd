//! The Cranelift generator: 128-bit vectors, no calls, constants after the code.
//!
//! On x86-64 the code needs SSE4.2 and POPCNT (x86-64-v2); it uses AVX, AVX2 and FMA only where the target says so.

mod build;
mod order;
mod ssa;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserFuncName, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CompiledCode, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use rooftile_artifact::CpuTarget;
use rooftile_artifact::program::Kernel;
use rooftile_artifact::target::CpuFeatures;

use super::kernel::{check_supported, internal, kernel};
use super::{CodegenError, emit};
use crate::nest::Verified;
use crate::nest::ir::Nest;

/// Compiles a nest to a kernel.
pub(super) fn compile(nest: &Verified, target: &CpuTarget) -> Result<Kernel, CodegenError> {
    let isa = host_isa(nest, target)?;
    let code = machine_code(nest, target, &isa, false)?;
    if !code.buffer.relocs().is_empty() {
        return Err(internal(nest, format!("{} relocations", code.buffer.relocs().len())));
    }
    let align = code.buffer.alignment as usize;
    kernel(nest, code.buffer.data().to_vec(), align, used_features(target))
}

/// The nest as Cranelift IR.
pub(super) fn clif(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    let isa = host_isa(nest, target)?;
    Ok(build(nest, target, &isa)?.0.display().to_string())
}

/// The nest as machine instructions.
pub(super) fn asm(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    let isa = host_isa(nest, target)?;
    Ok(machine_code(nest, target, &isa, true)?.vcode.unwrap_or_default())
}

/// The optimiser, our order of instructions, then machine code.
fn machine_code(
    nest: &Verified,
    target: &CpuTarget,
    isa: &OwnedTargetIsa,
    listing: bool,
) -> Result<CompiledCode, CodegenError> {
    let (function, written) = build(nest, target, isa)?;
    let mut context = Context::for_function(function);
    let control = &mut ControlPlane::default();
    let failed = |e: &dyn std::fmt::Display| internal(nest, e.to_string());
    context.optimize(&**isa, control).map_err(|e| failed(&e))?;
    order::arrange(&mut context, &written);
    context.verify_if(&**isa).map_err(|e| failed(&e))?;
    let code = isa
        .compile_function(&context.func, &context.domtree, &mut Default::default(), listing, control)
        .map_err(|e| failed(&e))?;
    Ok(code.apply_params(&context.func.params))
}

/// The features that the code may contain: those of the target that this generator knows.
fn used_features(target: &CpuTarget) -> CpuFeatures {
    let f = target.features;
    CpuFeatures { avx: f.avx, avx2: f.avx2, fma: f.fma, ..CpuFeatures::default() }
}

/// The host's instruction set with the target's features and no others.
fn host_isa(nest: &Nest, target: &CpuTarget) -> Result<OwnedTargetIsa, CodegenError> {
    let mut flags = settings::builder();
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    let common = [
        ("opt_level", "speed"),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", verify),
        ("preserve_frame_pointers", "false"),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
    ];
    let failed = |e: &dyn std::fmt::Display| internal(nest, format!("settings: {e}"));
    for (name, value) in common {
        flags.set(name, value).map_err(|e| failed(&e))?;
    }
    let mut builder = cranelift_native::builder_with_options(false)
        .map_err(|what| CodegenError::Unsupported { nest: nest.name.clone(), what: what.to_owned() })?;
    if cfg!(target_arch = "x86_64") {
        let f = target.features;
        let features = [
            ("has_sse3", true),
            ("has_ssse3", true),
            ("has_sse41", true),
            ("has_sse42", true),
            ("has_popcnt", true),
            ("has_avx", f.avx),
            ("has_avx2", f.avx && f.avx2),
            ("has_fma", f.avx && f.fma),
        ];
        for (name, on) in features {
            builder.set(name, if on { "true" } else { "false" }).map_err(|e| failed(&e))?;
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| failed(&e))
}

/// Whether `Fma` nodes have an instruction.
fn has_fma(target: &CpuTarget) -> bool {
    cfg!(target_arch = "aarch64") || (target.features.avx && target.features.fma)
}

fn build(
    nest: &Verified,
    target: &CpuTarget,
    isa: &OwnedTargetIsa,
) -> Result<(Function, order::Written), CodegenError> {
    check_supported(nest, has_fma(target))?;
    let call_conv = CallConv::triple_default(isa.triple());
    let mut signature = Signature::new(call_conv);
    signature.params.extend([AbiParam::new(types::I64); 4]);
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut frontend);
    let unaligned = !cfg!(target_arch = "x86_64") || target.features.avx;
    let builder = emit::write(nest, build::Builder::new(builder, has_fma(target), unaligned));
    let mut written = builder.finish(isa.frontend_config());
    written.note_homes(&function);
    Ok((function, written))
}

//! The vector generator: 256-bit vectors on x86-64 with AVX2 and FMA, whole kernels in machine code of our own.
//!
//! Four steps, one type each: the writer makes a [`ir::Function`] through [`build::Builder`], [`needs`] says what of it is
//! computed where, [`select`] makes machine instructions, [`encode`] chooses registers and writes bytes.

mod build;
mod codes;
mod encode;
mod expand;
mod ir;
mod mach;
mod needs;
mod select;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use rooftile_artifact::CpuTarget;
use rooftile_artifact::program::Kernel;
use rooftile_artifact::target::CpuFeatures;

use super::{CodegenError, emit, kernel};
use crate::nest::Verified;
use crate::nest::ir::Nest;

/// Bytes of a vector.
pub(super) const VECTOR_BYTES: usize = 32;

/// Vector registers.
const VECTOR_REGISTERS: usize = 16;

/// Whether the target can run what this generator makes.
pub(super) fn is_for(target: &CpuTarget) -> bool {
    target.features.vector_bytes() >= VECTOR_BYTES
}

/// Compiles a nest to a kernel.
pub(super) fn compile(nest: &Verified, target: &CpuTarget) -> Result<Kernel, CodegenError> {
    check(nest, target)?;
    let encoded = code(nest, target)?;
    let f16c = target.features.f16c;
    let features = CpuFeatures { avx: true, avx2: true, fma: true, f16c, ..CpuFeatures::default() };
    kernel::kernel(nest, encoded.bytes, VECTOR_BYTES, features)
}

/// The nest as machine instructions.
pub(super) fn asm(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    check(nest, target)?;
    let encoded = code(nest, target)?;
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    for instruction in Decoder::with_ip(64, &encoded.bytes[..encoded.code], 0, DecoderOptions::NONE) {
        text.push_str(&format!("{:6x}  ", instruction.ip()));
        formatter.format(&instruction, &mut text);
        text.push('\n');
    }
    Ok(text)
}

fn check(nest: &Nest, target: &CpuTarget) -> Result<(), CodegenError> {
    if !is_for(target) {
        let what = "the vector generator needs AVX2 and FMA".to_owned();
        return Err(CodegenError::Unsupported { nest: nest.name.clone(), what });
    }
    kernel::check_supported(nest, true)
}

fn code(nest: &Nest, target: &CpuTarget) -> Result<encode::Encoded, CodegenError> {
    let builder = emit::write(nest, build::Builder::new(VECTOR_BYTES, true, target.features.f16c));
    let selected = select::select(builder.finish(), VECTOR_BYTES);
    encode::encode(&selected, VECTOR_REGISTERS).map_err(|what| kernel::internal(nest, what))
}

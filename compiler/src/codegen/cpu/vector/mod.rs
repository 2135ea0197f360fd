//! The vector generator: x86-64 with AVX2 and FMA, or with AVX-512; whole kernels in machine code of our own.
//!
//! Four steps, one type each: the writer makes a [`ir::Function`] through [`build::Builder`], [`needs`] says what of it is
//! computed where, [`select`] makes machine instructions, [`encode`] chooses registers and writes bytes.

mod build;
mod codes;
mod encode;
mod evex;
mod expand;
mod instruction;
mod ir;
mod isa;
mod mach;
mod masks;
mod moves;
mod needs;
mod pressure;
mod select;
mod verify;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use rooftile_artifact::CpuTarget;
use rooftile_artifact::program::Kernel;

use self::isa::{Extras, Isa};
pub use self::pressure::{LoopPressure, Pressure};
use self::verify::Set;
use super::{CodegenError, emit, kernel};
use crate::nest::Verified;
use crate::nest::ir::Nest;

/// Whether the target can run what this generator makes, and wants vectors as wide.
pub(super) fn is_for(target: &CpuTarget) -> bool {
    Isa::of(target).is_some_and(|isa| target.vector_bytes >= isa.vector_bytes())
}

/// Compiles a nest to a kernel.
pub(super) fn compile(nest: &Verified, target: &CpuTarget) -> Result<Kernel, CodegenError> {
    let isa = check(nest, target)?;
    let (encoded, extras) = code(nest, isa, target)?;
    kernel::kernel(nest, encoded.bytes, isa.vector_bytes(), extras.features(isa))
}

/// The nest as machine instructions.
pub(super) fn asm(nest: &Verified, target: &CpuTarget) -> Result<String, CodegenError> {
    let isa = check(nest, target)?;
    let (encoded, _) = code(nest, isa, target)?;
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

/// What the nest's machine code asks of the processor.
pub(super) fn pressure(nest: &Verified, target: &CpuTarget) -> Result<Pressure, CodegenError> {
    let isa = check(nest, target)?;
    let (encoded, _) = code(nest, isa, target)?;
    Ok(pressure::of(&encoded.bytes[..encoded.code], encoded.frame))
}

fn check(nest: &Nest, target: &CpuTarget) -> Result<Isa, CodegenError> {
    let Some(isa) = Isa::of(target) else {
        let what = "the vector generator needs AVX2 and FMA".to_owned();
        return Err(CodegenError::Unsupported { nest: nest.name.clone(), what });
    };
    kernel::check_supported(nest, true)?;
    Ok(isa)
}

/// Also what of the target's extras it uses.
fn code(nest: &Nest, isa: Isa, target: &CpuTarget) -> Result<(encode::Encoded, Extras), CodegenError> {
    /// Whether each step's work is checked.
    const CHECKED: bool = cfg!(debug_assertions);
    let broken = |e: verify::Broken| kernel::internal(nest, e.to_string());
    let extras = Extras::of(target, isa);
    let function = emit::write(nest, build::Builder::new(isa, extras)).finish();
    let used = Extras::used(&function);
    let set = Set { isa, extras };
    if CHECKED {
        verify::function(&function, set).map_err(broken)?;
    }
    let needs = needs::Needs::of(&function);
    if CHECKED {
        verify::needs(&function, &needs).map_err(broken)?;
    }
    let selected = select::select(function, &needs, isa);
    if CHECKED {
        verify::machine(&selected, set).map_err(broken)?;
    }
    let encoded = encode::encode(&selected).map_err(|what| kernel::internal(nest, what))?;
    if CHECKED {
        // The kernel says what it needs of a processor.
        verify::bytes(&encoded, Set { extras: used, ..set }).map_err(broken)?;
    }
    Ok((encoded, used))
}

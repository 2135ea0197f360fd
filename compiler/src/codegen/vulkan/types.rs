//! Types: how values are carried in registers, and how they lie in memory.
//!
//! Values of integers up to 32 bits are carried in words of 32 bits, extended by their sign or by zeros; `f16` and `bf16`
//! as their bits in the low half of such a word; truth values as `OpTypeBool`.

use rooftile_artifact::DType;
use rspirv::spirv::{Capability, Word};

use super::emit::Emitter;

/// How elements lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Their type there.
    pub(super) ty: Word,
    /// Bytes of one.
    pub(super) size: u32,
    /// What becomes of them.
    pub(super) form: Form,
}

/// How a value in memory relates to the value that is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The same.
    Carried,
    /// The low 8 or 16 bits.
    Narrow,
    /// A truth value as the number 0 or 1, of less than 32 bits.
    NarrowBool,
    /// A truth value as the number 0 or 1, of 32 bits.
    WordBool,
}

/// Bits of the word that carries integers of a type.
pub(super) fn carrier_bits(t: DType) -> u32 {
    match t {
        DType::Int { bits: 64, .. } => 64,
        _ => 32,
    }
}

/// Bits of a float type.
pub(super) fn float_bits(t: DType) -> u32 {
    if t == DType::F64 { 64 } else { 32 }
}

impl Emitter<'_> {
    /// The type that carries values of a type.
    pub(super) fn carrier(&mut self, t: DType) -> Word {
        let module = &mut self.code.module;
        match t {
            DType::Bool => module.bool(),
            DType::F32 | DType::F64 => module.float(float_bits(t)),
            _ => module.int(carrier_bits(t)),
        }
    }

    /// How elements of a type lie in the launch's memory.
    pub(super) fn stored_far(&mut self, t: DType) -> Stored {
        let form = match t {
            DType::Bool => Form::NarrowBool,
            DType::F16 | DType::Bf16 | DType::Int { bits: 8 | 16, .. } => Form::Narrow,
            _ => Form::Carried,
        };
        let size = t.size() as u32;
        let ty = match (form, size) {
            (Form::Carried, _) => self.carrier(t),
            (_, 1) => {
                self.code.module.capability(Capability::StorageBuffer8BitAccess);
                self.code.module.features.storage8 = true;
                self.code.module.int(8)
            }
            _ => {
                self.code.module.capability(Capability::StorageBuffer16BitAccess);
                self.code.module.features.storage16 = true;
                self.code.module.int(16)
            }
        };
        Stored { ty, size, form }
    }

    /// How elements of a type lie in memory that a group shares: as elsewhere where the device has arithmetic of that
    /// width, else in words.
    pub(super) fn stored_shared(&mut self, t: DType) -> Stored {
        let size = t.size() as u32;
        let module = &mut self.code.module;
        let narrow = match size {
            1 if self.target.features.i8 => Some((8, Capability::Int8)),
            2 if self.target.features.i16 => Some((16, Capability::Int16)),
            _ => None,
        };
        if let Some((bits, capability)) = narrow {
            module.capability(capability);
            module.features.i8 |= bits == 8;
            module.features.i16 |= bits == 16;
            let form = if t == DType::Bool { Form::NarrowBool } else { Form::Narrow };
            return Stored { ty: module.int(bits), size, form };
        }
        let form = if t == DType::Bool { Form::WordBool } else { Form::Carried };
        let ty = if t == DType::Bool { module.u32() } else { self.carrier(t) };
        Stored { ty, size: size.max(4), form }
    }

    /// How elements of a type lie in a variable of the thread.
    pub(super) fn stored_near(&mut self, t: DType) -> Stored {
        Stored { ty: self.carrier(t), size: t.size().max(4) as u32, form: Form::Carried }
    }
}

//! Loads and stores: where elements are, and how they lie there.

use rooftile_artifact::DType;
use rooftile_artifact::abi::BUFFER_ALIGN;
use rooftile_artifact::gpu_abi::cell;
use rspirv::dr::Operand;
use rspirv::spirv::{Op, Scope, StorageClass, Word};

use super::super::gpu::layout;
use super::super::gpu::linear::{Linear, Term};
use super::super::gpu::words::{self, BYTES};
use super::code::Region;
use super::emit::{Emitter, Failure};
use super::types::{Form, Stored, carrier_bits};
use crate::nest::ir::{BufferId, ExprId, Space};
use crate::nest::verify;
use crate::nest::verify::own::is_own;

/// An element of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pointer: Word,
    pub(super) stored: Stored,
    /// Bytes, in the launch's memory.
    align: Option<u32>,
    /// What a write to the buffer may change.
    all: Region,
    /// What a write to this element changes.
    own: Region,
}

impl Emitter<'_> {
    /// What does not overlap with other buffers.
    pub(super) fn region(&self, buffer: BufferId) -> Region {
        match self.nest.buffers[buffer].space {
            Space::Global(slot) => Region::Slot(slot),
            _ => Region::Buffer(buffer.index()),
        }
    }

    /// An element's value.
    pub(super) fn load(&mut self, buffer: BufferId, index: &[ExprId]) -> Word {
        let place = self.place(buffer, index);
        let t = self.nest.buffers[buffer].dtype;
        let raw = self.code.load(place.stored.ty, place.pointer, place.align, &[place.all, place.own]);
        let v = self.decode(raw, t, place.stored);
        if let Some(lanes) = self.partner(buffer, index) {
            return self.of_other_lane(v, t, lanes);
        }
        let raw = (place.stored.form == Form::Narrow).then_some(raw);
        let element = self.element(buffer, index);
        self.note_byte(v, raw, buffer, element);
        v
    }

    /// In which bits the number of the thread differs whose register is read, if it is another's.
    fn partner(&mut self, buffer: BufferId, index: &[ExprId]) -> Option<u32> {
        let own = self.thread_dims.get(&buffer)?;
        let (var, bits) = own
            .iter()
            .zip(index)
            .filter(|(place, _)| place.is_some())
            .find_map(|(_, e)| verify::threads::partner(self.nest, *e))?;
        let stride = self.strides.get(&var).copied().unwrap_or(1);
        let lanes = bits.saturating_mul(stride);
        if !stride.is_power_of_two() || lanes >= self.target.subgroup {
            let most = self.target.subgroup;
            let what = format!("threads that see each other's registers further apart than {most}");
            self.fail(Failure::Unsupported(what));
        }
        Some(lanes)
    }

    /// What another thread of the subgroup has in place of `v`.
    fn of_other_lane(&mut self, v: Word, t: DType, lanes: u32) -> Word {
        let m = &mut self.code.module;
        let (word, scope) = (m.u32(), m.int_const(32, Scope::Subgroup as u64));
        let lanes = m.int_const(32, lanes.into());
        let ask = |e: &mut Self, ty: Word, v: Word| {
            let operands = vec![Operand::IdScope(scope), Operand::IdRef(v), Operand::IdRef(lanes)];
            e.code.fresh(Op::GroupNonUniformShuffleXor, ty, operands)
        };
        match (t, self.carrier(t)) {
            (DType::Bool, _) => {
                let v = self.cast(v, DType::Bool, DType::U32);
                let v = ask(self, word, v);
                self.cast(v, DType::U32, DType::Bool)
            }
            // Not every device exchanges 64-bit integers.
            (_, ty) if t.is_int() && carrier_bits(t) == 64 => {
                let shift = self.code.module.int_const(64, 32);
                let upper = self.code.value(Op::ShiftRightLogical, ty, &[v, shift]);
                let [lower, upper] = [v, upper].map(|v| {
                    let v = self.code.value(Op::UConvert, word, &[v]);
                    let v = ask(self, word, v);
                    self.code.value(Op::UConvert, ty, &[v])
                });
                let upper = self.code.value(Op::ShiftLeftLogical, ty, &[upper, shift]);
                self.code.value(Op::BitwiseOr, ty, &[lower, upper])
            }
            (_, ty) => ask(self, ty, v),
        }
    }

    /// Writes a value to a place.
    pub(super) fn store(&mut self, place: Place, v: Word, t: DType) {
        let v = self.encode(v, t, place.stored);
        self.code.store(place.pointer, v, place.align, place.own);
    }

    fn decode(&mut self, v: Word, t: DType, stored: Stored) -> Word {
        let (word, bool) = (self.code.module.u32(), self.code.module.bool());
        let zero = self.code.module.int_const(32, 0);
        match stored.form {
            Form::Carried => v,
            Form::WordBool => self.code.value(Op::INotEqual, bool, &[v, zero]),
            Form::NarrowBool => {
                let v = self.code.value(Op::UConvert, word, &[v]);
                self.code.value(Op::INotEqual, bool, &[v, zero])
            }
            Form::Narrow => {
                let op = if t.is_signed_int() { Op::SConvert } else { Op::UConvert };
                self.code.value(op, word, &[v])
            }
        }
    }

    fn encode(&mut self, v: Word, t: DType, stored: Stored) -> Word {
        let v = match stored.form {
            Form::Carried => return v,
            Form::WordBool | Form::NarrowBool => self.cast(v, DType::Bool, DType::U32),
            Form::Narrow => v,
        };
        debug_assert!(t.size() <= 4);
        match stored.form {
            Form::WordBool => v,
            _ => self.code.value(Op::UConvert, stored.ty, &[v]),
        }
    }

    /// The place of an element.
    pub(super) fn place(&mut self, buffer: BufferId, index: &[ExprId]) -> Place {
        let t = self.nest.buffers[buffer].dtype;
        let all = self.region(buffer);
        let formula = self.element(buffer, index);
        match self.nest.buffers[buffer].space {
            // Matrices have no elements of their own.
            Space::Register | Space::Matrix => {
                let pointer = self.register(buffer, &formula);
                let stored = self.stored_near(t);
                Place { pointer, stored, align: None, all, own: Region::Register(pointer) }
            }
            Space::Shared => self.array_place(buffer, &formula, StorageClass::Workgroup),
            Space::Local if !self.layout.is_far(self.nest, buffer) => {
                self.array_place(buffer, &formula, StorageClass::Function)
            }
            Space::Global(_) | Space::Local => {
                let stored = self.stored_far(t);
                let address = self.address(buffer, &formula, stored.size);
                let ty = self.code.module.pointer(StorageClass::PhysicalStorageBuffer, stored.ty);
                let pointer = self.code.value(Op::ConvertUToPtr, ty, &[address]);
                Place { pointer, stored, align: Some(stored.size), all, own: all }
            }
        }
    }

    pub(super) fn element(&self, buffer: BufferId, index: &[ExprId]) -> Linear {
        let counts = |d: usize| !is_own(&self.thread_dims, buffer, d);
        Linear::of_element(self.nest, buffer, index, counts, &|v| self.meaning(v))
    }

    /// The variable of a register.
    fn register(&mut self, buffer: BufferId, formula: &Linear) -> Word {
        if !formula.terms.is_empty() {
            let name = &self.nest.buffers[buffer].name;
            self.fail(Failure::Internal(format!("a register of `{name}` is not known")));
        }
        let key = (buffer, usize::try_from(formula.constant).unwrap_or(0));
        if let Some(&v) = self.registers.get(&key) {
            return v;
        }
        let ty = self.carrier(self.nest.buffers[buffer].dtype);
        let v = self.code.variable(ty);
        self.registers.insert(key, v);
        v
    }

    fn array_place(&mut self, buffer: BufferId, formula: &Linear, class: StorageClass) -> Place {
        let (array, stored) = self.array(buffer, class);
        let at = if self.words.contains(&buffer) {
            let (word, byte) = self.word_and_byte(formula);
            vec![array, word, byte]
        } else {
            vec![array, self.array_index(formula)]
        };
        let pointer = self.code.module.pointer(class, stored.ty);
        let pointer = self.code.value(Op::AccessChain, pointer, &at);
        let all = self.region(buffer);
        Place { pointer, stored, align: None, all, own: all }
    }

    /// The number of an element, in 32 bits.
    fn array_index(&mut self, formula: &Linear) -> Word {
        let word = self.code.module.u32();
        let mut at = self.low_sum(&formula.terms.iter().map(|(t, c)| (t.clone(), *c)).collect::<Vec<_>>());
        if formula.constant != 0 || at.is_none() {
            let c = self.code.module.int_const(32, formula.constant.cast_unsigned());
            at = Some(match at {
                Some(sum) => self.code.value(Op::IAdd, word, &[sum, c]),
                None => c,
            });
        }
        at.unwrap_or(0)
    }

    /// The number of the word that holds a byte, and of the byte in it.
    fn word_and_byte(&mut self, formula: &Linear) -> (Word, Word) {
        let (ty, bytes) = (self.code.module.u32(), BYTES as i64);
        let [mask, shift] = [3, 2].map(|v| self.code.module.int_const(32, v));
        let place = formula.constant.rem_euclid(bytes);
        let mut first = formula.clone();
        first.constant = formula.constant.wrapping_sub(place);
        if words::starts_word(&first, &self.divisors) {
            // Neighbours share the word's number.
            let at = self.array_index(&first);
            let byte = self.code.module.int_const(32, place.cast_unsigned());
            return (self.code.value(Op::ShiftRightLogical, ty, &[at, shift]), byte);
        }
        let at = self.array_index(formula);
        let word = self.code.value(Op::ShiftRightLogical, ty, &[at, shift]);
        (word, self.code.value(Op::BitwiseAnd, ty, &[at, mask]))
    }

    /// The word of shared memory that starts with a byte.
    pub(super) fn shared_word(&mut self, buffer: BufferId, first: &Linear) -> Word {
        let (array, stored) = self.array(buffer, StorageClass::Workgroup);
        let (word, _) = self.word_and_byte(first);
        let four = self.code.module.vector(stored.ty, BYTES as u32);
        let pointer = self.code.module.pointer(StorageClass::Workgroup, four);
        self.code.value(Op::AccessChain, pointer, &[array, word])
    }

    fn array(&mut self, buffer: BufferId, class: StorageClass) -> (Word, Stored) {
        if let Some(&known) = self.arrays.get(&buffer) {
            return known;
        }
        let t = self.nest.buffers[buffer].dtype;
        let shared = class == StorageClass::Workgroup;
        let stored = if shared { self.stored_shared(t) } else { self.stored_near(t) };
        let mut count = layout::elements(self.nest, buffer).unwrap_or(0).max(1);
        let (mut element, mut size) = (stored.ty, u64::from(stored.size));
        if self.words.contains(&buffer) {
            count = count.div_ceil(BYTES as u64);
            element = self.code.module.vector(element, BYTES as u32);
            size = BYTES as u64;
        }
        if shared {
            self.shared_bytes = self.shared_bytes.saturating_add(count.saturating_mul(size));
        }
        let array = match u32::try_from(count) {
            Ok(count) if self.shared_bytes <= u64::from(self.target.shared_bytes) => {
                let ty = self.code.module.array(element, count);
                if shared { self.code.module.variable(class, ty) } else { self.code.variable(ty) }
            }
            _ => {
                let most = self.target.shared_bytes;
                let what = format!("more than {most} bytes of memory that the threads of a group share");
                self.fail(Failure::Unsupported(what));
                0
            }
        };
        self.arrays.insert(buffer, (array, stored));
        (array, stored)
    }

    /// The address of an element in the launch's memory.
    ///
    /// Its number is below 2^31, so that 32 bits are enough for the sum of all terms. The constant part stays apart: then
    /// neighbours differ by a constant that instructions have room for. The rest is the number less the constant `c`:
    /// from `-c` up to `2^31 - c`, a signed number where `c` is not negative, an unsigned one where it is.
    pub(super) fn address(&mut self, buffer: BufferId, formula: &Linear, size: u32) -> Word {
        let (word, wide) = (self.code.module.u32(), self.code.module.u64());
        let base = self.base(buffer);
        let terms: Vec<(Term, i64)> = formula.terms.iter().map(|(t, c)| (t.clone(), *c)).collect();
        let mut constant = formula.constant;
        let mut sum = self.low_sum(&terms);
        if let Some(rest) = sum
            && constant.unsigned_abs() > 1 << 31
        {
            // Only a part of a sum that comes out right.
            let c = self.code.module.int_const(32, constant.cast_unsigned());
            sum = Some(self.code.value(Op::IAdd, word, &[rest, c]));
            constant = 0;
        }
        let mut address = base;
        if let Some(sum) = sum {
            let extend = if constant >= 0 { Op::SConvert } else { Op::UConvert };
            let sum = self.code.value(extend, wide, &[sum]);
            let size = self.code.module.int_const(64, size.into());
            let bytes = self.code.value(Op::IMul, wide, &[sum, size]);
            address = self.code.value(Op::IAdd, wide, &[base, bytes]);
        }
        if constant != 0 {
            let bytes = constant.wrapping_mul(size.into());
            let bytes = self.code.module.int_const(64, bytes.cast_unsigned());
            address = self.code.value(Op::IAdd, wide, &[address, bytes]);
        }
        address
    }

    /// The sum of terms modulo 2^32, of those that change least first.
    fn low_sum(&mut self, terms: &[(Term, i64)]) -> Option<Word> {
        let word = self.code.module.u32();
        let mut parts = Vec::with_capacity(terms.len());
        for (term, coefficient) in terms {
            let mut product = None;
            let mut factors: Vec<Word> = term.extents.iter().map(|&e| self.low(e)).collect();
            if *coefficient != 1 || (factors.is_empty() && term.factor.is_none()) {
                factors.push(self.code.module.int_const(32, coefficient.cast_unsigned()));
            }
            factors.extend(term.factor.map(|e| self.low(e)));
            for f in factors {
                product = Some(match product {
                    None => f,
                    Some(p) => self.code.value(Op::IMul, word, &[p, f]),
                });
            }
            parts.extend(product);
        }
        parts.sort_by_key(|&p| self.code.depth(p));
        parts.into_iter().reduce(|sum, p| self.code.value(Op::IAdd, word, &[sum, p]))
    }

    /// The first byte of a buffer in the launch's memory.
    fn base(&mut self, buffer: BufferId) -> Word {
        match self.nest.buffers[buffer].space {
            Space::Global(slot) => self.slot(slot),
            _ => self.bases.get(&buffer).copied().unwrap_or(0),
        }
    }

    /// Finds the scratch memory of the chunks that run at `place` of those in flight. Called where nothing but the
    /// entry's own values are around.
    pub(super) fn find_scratch(&mut self, place: Word, used: &[BufferId]) {
        let wide = self.code.module.u64();
        let Some(&last) = used.last() else { return };
        let (local, bytes) = (self.cell(cell::LOCAL, wide), self.cell(cell::LOCAL_BYTES, wide));
        let place = self.code.value(Op::UConvert, wide, &[place]);
        let offset = self.code.value(Op::IMul, wide, &[place, bytes]);
        let mut next = self.code.value(Op::IAdd, wide, &[local, offset]);
        let nest = self.nest;
        // One after the other, each aligned, as the layout counts them.
        for (id, buffer) in nest.buffers.iter() {
            if !self.layout.is_far(nest, id) {
                continue;
            }
            self.bases.insert(id, next);
            if id == last {
                break;
            }
            let mut bytes = self.code.module.int_const(64, buffer.dtype.size() as u64);
            for &extent in &buffer.shape {
                let zero = self.code.module.int_const(64, 0);
                let extent = self.value(extent);
                let t = super::int::Int::of(DType::I64);
                let extent = self.int_binary(crate::nest::ir::BinaryOp::Max, extent, zero, t);
                bytes = self.code.value(Op::IMul, wide, &[bytes, extent]);
            }
            let align = BUFFER_ALIGN as u64;
            let [up, mask] = [align - 1, !(align - 1)].map(|v| self.code.module.int_const(64, v));
            let bytes = self.code.value(Op::IAdd, wide, &[bytes, up]);
            let bytes = self.code.value(Op::BitwiseAnd, wide, &[bytes, mask]);
            next = self.code.value(Op::IAdd, wide, &[next, bytes]);
        }
    }
}

//! Sums of products of 8-bit integers in 32 bits, four products an instruction. Such sums wrap, so that their order keeps
//! every bit.
//!
//! They are found among values, as they come: `(((s + a*b) + c*d) + e*f) + g*h` becomes `s + dot(aceg, bdfh)`, whatever
//! statements, registers and loops that are written out it came by. What it needed before is swept away at the end of the
//! function ([`super::sweep`]). A sum that goes to memory on its way starts anew: it is needed as it is.
//!
//! Four bytes are one operand: a word of memory, where they lie there side by side and nothing was written since they were
//! read ([`super::super::gpu::words`]); else they are packed. Packing both costs as much as it saves, so one of them is a
//! word, or is packed outside the loop.

use std::collections::HashMap;

use rooftile_artifact::DType;
use rspirv::dr::Operand;
use rspirv::spirv::{Capability, Op, PackedVectorFormat, StorageClass, Word};

use super::super::gpu::linear::Linear;
use super::super::gpu::words::{BYTES, is_word};
use super::code::Region;
use super::emit::Emitter;
use super::int::Int;
use crate::nest::ir::{BinaryOp, BufferId, Space};

/// A value that 8 bits hold.
#[derive(Clone, Debug)]
struct Byte {
    /// The 8 bits themselves, if they are at hand.
    raw: Option<Word>,
    signed: bool,
    /// Loops around the place where it was read.
    loops: usize,
    /// Where it was read; `None` of registers, and of memory that has no words.
    source: Option<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    buffer: BufferId,
    element: Linear,
    /// When it was read.
    time: u64,
}

/// A product that a sum ends with.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// The sum before.
    before: Option<Word>,
    factors: [Word; 2],
}

/// What is known of values of the function. For lookup only.
#[derive(Debug, Default)]
pub(super) struct Dots {
    bytes: HashMap<Word, Byte>,
    products: HashMap<Word, [Word; 2]>,
    sums: HashMap<Word, Vec<Term>>,
}

impl Dots {
    /// A sum is needed as it is.
    pub(super) fn keep(&mut self, sum: Word) {
        self.sums.remove(&sum);
    }
}

/// One side of four products.
#[derive(Debug)]
struct Side {
    bytes: [Word; BYTES],
    signed: bool,
    /// The word in memory.
    word: Option<(BufferId, Linear)>,
    /// Whether the loop does not change it.
    outside: bool,
}

impl Emitter<'_> {
    /// Whether the device has such products, and bytes to pack.
    pub(super) fn has_dots(&self) -> bool {
        self.target.features.dot8 && self.target.features.i8
    }

    /// Notes that an 8-bit integer was read.
    pub(super) fn note_byte(&mut self, v: Word, raw: Option<Word>, buffer: BufferId, element: Linear) {
        let DType::Int { signed, bits: 8 } = self.nest.buffers[buffer].dtype else { return };
        if !self.has_dots() {
            return;
        }
        let words = match self.nest.buffers[buffer].space {
            Space::Global(_) => true,
            Space::Shared => self.words.contains(&buffer),
            Space::Local => self.layout.is_far(self.nest, buffer),
            Space::Register | Space::Matrix => false,
        };
        let source = words.then(|| Source { buffer, element, time: self.code.now() });
        let byte = Byte { raw, signed, loops: self.code.loops(), source };
        // What is read again is what it was.
        self.dots.bytes.entry(v).or_insert(byte);
    }

    /// `op(a, b)` of integers, which may end a sum of products.
    pub(super) fn int_term(&mut self, op: BinaryOp, a: Word, b: Word, t: Int) -> Word {
        if !self.has_dots() || t.bits != 32 {
            return self.int_binary(op, a, b, t);
        }
        match op {
            BinaryOp::Add => self.sum_of_products(a, b, t),
            BinaryOp::Mul => {
                let v = self.int_binary(op, a, b, t);
                if [a, b].iter().all(|f| self.dots.bytes.contains_key(f)) {
                    self.dots.products.insert(v, [a, b]);
                }
                v
            }
            _ => self.int_binary(op, a, b, t),
        }
    }

    fn sum_of_products(&mut self, a: Word, b: Word, t: Int) -> Word {
        let known = [a, b].map(|v| self.dots.products.get(&v).copied());
        let (sum, factors) = match known {
            [_, Some(factors)] => (a, factors),
            [Some(factors), None] => (b, factors),
            [None, None] => return self.int_binary(BinaryOp::Add, a, b, t),
        };
        let first = self.dots.products.get(&sum).map(|&factors| Term { before: None, factors });
        let mut terms = match first {
            Some(first) => vec![first],
            None => self.dots.sums.get(&sum).cloned().unwrap_or_default(),
        };
        terms.push(Term { before: Some(sum), factors });
        if let Ok(four) = <[Term; BYTES]>::try_from(&terms[..]) {
            if let Some(dot) = self.dot(four) {
                return match four[0].before {
                    Some(before) => self.int_binary(BinaryOp::Add, before, dot, t),
                    None => dot,
                };
            }
            terms.remove(0);
        }
        let v = self.int_binary(BinaryOp::Add, a, b, t);
        self.dots.sums.insert(v, terms);
        v
    }

    /// The sum of four products, if that is worth it.
    fn dot(&mut self, terms: [Term; BYTES]) -> Option<Word> {
        let [x, y] = [0, 1].map(|n| self.side(terms.map(|t| t.factors[n])));
        let (x, y) = (x?, y?);
        if ![&x, &y].iter().any(|s| s.word.is_some() || s.outside) {
            return None;
        }
        let op = match (x.signed, y.signed) {
            (true, true) => Op::SDot,
            (false, false) => Op::UDot,
            (true, false) | (false, true) => Op::SUDot,
        };
        // The operand with a sign comes first.
        let sides = if y.signed && !x.signed { [&y, &x] } else { [&x, &y] };
        let operands = sides.map(|s| self.operand(s));
        let m = &mut self.code.module;
        m.features.dot8 = true;
        m.capability(Capability::DotProduct);
        m.capability(Capability::DotProductInput4x8BitPacked);
        let word = m.u32();
        let format = Operand::PackedVectorFormat(PackedVectorFormat::PackedVectorFormat4x8Bit);
        self.code.leaves_dead_code();
        Some(self.code.value_with(op, word, &operands, format))
    }

    fn side(&self, bytes: [Word; BYTES]) -> Option<Side> {
        let [a, b, c, d] = bytes.map(|v| self.dots.bytes.get(&v));
        let all = [a?, b?, c?, d?];
        let signed = all[0].signed;
        if all.iter().any(|byte| byte.signed != signed) {
            return None;
        }
        let loops = self.code.loops();
        let outside = all.iter().all(|byte| byte.loops < loops);
        Some(Side { bytes, signed, word: self.word_of(all), outside })
    }

    /// The word of memory that four bytes are, still.
    fn word_of(&self, bytes: [&Byte; BYTES]) -> Option<(BufferId, Linear)> {
        let [a, b, c, d] = bytes.map(|byte| byte.source.as_ref());
        let all = [a?, b?, c?, d?];
        let buffer = all[0].buffer;
        let region: Region = self.region(buffer);
        let still = all.iter().all(|s| s.buffer == buffer && self.code.is_unchanged(region, s.time));
        // Where they were read outside the loop, a word would be read in each pass.
        let here = bytes.iter().all(|byte| byte.loops == self.code.loops());
        let whole = still && here && is_word(all.map(|s| &s.element), &self.divisors);
        whole.then(|| (buffer, all[0].element.clone()))
    }

    /// Four bytes in a word, the first one lowest.
    fn operand(&mut self, side: &Side) -> Word {
        let m = &mut self.code.module;
        m.features.i8 = true;
        m.capability(Capability::Int8);
        let (word, byte) = (m.u32(), m.int(8));
        let four = m.vector(byte, BYTES as u32);
        let vector = match &side.word {
            Some((buffer, first)) if self.nest.buffers[*buffer].space == Space::Shared => {
                let region = self.region(*buffer);
                let pointer = self.shared_word(*buffer, first);
                self.code.load(four, pointer, None, &[region])
            }
            Some((buffer, first)) => {
                let region = self.region(*buffer);
                let address = self.address(*buffer, first, 1);
                let pointer = self.code.module.pointer(StorageClass::PhysicalStorageBuffer, word);
                let pointer = self.code.value(Op::ConvertUToPtr, pointer, &[address]);
                return self.code.load(word, pointer, Some(BYTES as u32), &[region]);
            }
            None => {
                let parts = side.bytes.map(|v| match self.dots.bytes.get(&v).and_then(|b| b.raw) {
                    Some(raw) => raw,
                    None => self.code.value(Op::UConvert, byte, &[v]),
                });
                self.code.composite(four, &parts)
            }
        };
        self.code.value(Op::Bitcast, word, &[vector])
    }
}

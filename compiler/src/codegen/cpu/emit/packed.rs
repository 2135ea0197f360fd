//! Elements of fewer bits than a byte, as lanes: neighbours are loaded as words and moved to their places.
//!
//! A nest says `byte[x / per] >> (x % per * width) & mask`, or of signed ones shifts up and down. Where `x` of the first lane
//! is a multiple of `per`, known when the code is made or assumed ([`super::assume`]), all lanes' bits lie in few words.

use rooftile_artifact::DType;

use super::super::ssa::{At, Bin, Lane, Ssa, Ty};
use super::Emitter;
use super::address::{LaneStep, Linear, Place};
use super::lanes::{Lanes, Val};
use super::scope::{Binding, Dep, Life};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, Nest, Space, UnaryOp};

/// The largest divisor that is asked for.
const MOST: i64 = 64;

/// An element that shares its byte with neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'n> {
    buffer: BufferId,
    pub(super) index: &'n [ExprId],
    /// The byte's index along the dimension in which bytes are shared.
    quotient: ExprId,
    /// Index of the element along that dimension, of `per` elements a byte.
    pub(super) x: ExprId,
    pub(super) per: i64,
    /// Bits from one element of a byte to the next.
    width: i64,
    pub(super) bits: u32,
    pub(super) signed: bool,
}

impl<'n> Packed<'n> {
    /// What an expression says of such an element.
    pub(super) fn of(nest: &'n Nest, e: ExprId) -> Option<Packed<'n>> {
        let kind = |e: ExprId| &nest.exprs[e].kind;
        let (shifted, bits, signed) = match *kind(e) {
            ExprKind::Binary(BinaryOp::And, a, mask) => {
                let ones = nest.const_int(mask).filter(|m| (1..0x80).contains(m) && (m & (m + 1)) == 0)?;
                (a, ones.trailing_ones(), false)
            }
            ExprKind::Binary(BinaryOp::Shr, a, down) if nest.exprs[e].dtype == DType::I8 => {
                let &ExprKind::Binary(BinaryOp::Shl, cast, up) = kind(a) else { return None };
                let &ExprKind::Cast(byte) = kind(cast) else { return None };
                let by = nest.const_int(down).filter(|by| (1..8).contains(by) && up == down)?;
                (byte, 8 - by as u32, true)
            }
            _ => return None,
        };
        let &ExprKind::Binary(BinaryOp::Shr, byte, count) = kind(shifted) else { return None };
        let ExprKind::Load { buffer, index } = kind(byte) else { return None };
        let &ExprKind::Cast(count) = kind(count) else { return None };
        let (place, width) = match *kind(count) {
            ExprKind::Binary(BinaryOp::Mul, place, width) => (place, nest.const_int(width)?),
            _ => (count, 1),
        };
        let &ExprKind::Binary(BinaryOp::RemNonNeg, x, per) = kind(place) else { return None };
        let of_byte = |e: ExprId| *kind(e) == ExprKind::Binary(BinaryOp::DivNonNeg, x, per);
        let quotient = index.iter().copied().find(|e| of_byte(*e))?;
        let per = nest.const_int(per).filter(|p| matches!(p, 2 | 4 | 8))?;
        let fits = width > 0 && (per - 1) * width + i64::from(bits) <= 8;
        let bytes = nest.buffers[*buffer].dtype == DType::U8 && nest.exprs[byte].dtype == DType::U8;
        let memory = !matches!(nest.buffers[*buffer].space, Space::Register | Space::Matrix);
        (fits && bytes && memory).then_some(Packed {
            buffer: *buffer,
            index,
            quotient,
            x,
            per,
            width,
            bits,
            signed,
        })
    }
}

impl<'a, B: Ssa> Emitter<'a, B> {
    /// The lanes of an element that shares its byte, in 32 bits; `None` where they do not lie side by side from the first
    /// bit of a byte on.
    pub(super) fn packed_words(&mut self, e: ExprId) -> Option<Words<'a, B::Value>> {
        let n = self.lane_count()?;
        let packed = Packed::of(self.nest, e)?;
        let x = self.linear(packed.x);
        let values = self.lanes.as_ref()?.values.clone();
        if x.lane == 0 {
            return self.words_across(&x, packed);
        }
        let side_by_side = x.lane == 1 && values.windows(2).all(|v| v[1] - v[0] == 1);
        let of_bytes = x.lane == packed.per && values.windows(2).all(|v| v[1] - v[0] == 1);
        if !of_bytes && (!side_by_side || !self.begins_byte(&x, values[0], packed)) {
            return None;
        }
        let mut dep = Dep { life: Life::Memory, scope: self.lane_scope(), ..Dep::default() };
        let (last, rows) = packed.index.split_last()?;
        if *last != packed.quotient {
            return None;
        }
        for e in rows.iter().copied().chain(x.terms.keys().copied()) {
            let (v, d) = self.eval_dep(e);
            if matches!(v, Val::Lanes(_)) {
                return None;
            }
            dep = dep.and(d);
        }
        if of_bytes {
            return Some((self.words_of_bytes(&x, packed)?, packed, dep));
        }
        let at = self.in_lane(0, |e| e.element(packed.buffer, packed.index));
        let (per, lanes) = (packed.per as usize, self.per_chunk(Lane::I32));
        let in_word = 4 * per;
        let words = (0..n.div_ceil(lanes)).map(|chunk| {
            let (first, count) = (chunk * lanes, (n - chunk * lanes).min(lanes));
            let within = first % per;
            let bytes = (within + count).div_ceil(per);
            let bits = |l: usize| {
                let place = within + l;
                (place / per * 8) as i64 + (place % per) as i64 * packed.width
            };
            let at = At { displacement: at.displacement + (first / per) as i32, ..at };
            if bytes == 8 && self.b.has_bytes_from_bits() {
                return Word { value: self.bytes_of_eight(at, lanes, bits), bits: vec![0; lanes] };
            }
            let mut word: Option<B::Value> = None;
            for (w, start) in (0..bytes).step_by(4).enumerate() {
                let displacement = at.displacement + start as i32;
                let loaded = self.load_bytes((bytes - start).min(4), At { displacement, ..at });
                let all = self.b.splat(loaded);
                word = Some(match word {
                    None => all,
                    Some(before) => {
                        let mask = self.lane_mask(Lane::I32, |l| (within + l) / in_word >= w);
                        self.b.blend(mask, all, before)
                    }
                });
            }
            let bits = (0..lanes).map(|l| (bits(l) % 32) as u8).collect();
            let zero = self.b.int(Ty::scalar(Lane::I32), 0);
            let value = word.unwrap_or_else(|| self.b.splat(zero));
            Word { value, bits }
        });
        Some((words.collect(), packed, dep))
    }

    /// The lanes' bytes, where those of neighbours are neighbours and all have their element at the same place.
    fn words_of_bytes(&mut self, x: &Linear, packed: Packed<'a>) -> Option<Vec<Word<B::Value>>> {
        let (byte, place) = self.first_byte(x, packed)?;
        let at = self
            .at_quotient(packed.quotient, byte, |e| e.in_lane(0, |e| e.element(packed.buffer, packed.index)));
        self.widened_bytes(at, place)
    }

    /// The lanes' bytes, where those are neighbours along another dimension than that in which bytes are shared: all lanes
    /// have the element of the same number, of bytes of their own.
    fn words_across(&mut self, x: &Linear, packed: Packed<'a>) -> Option<Words<'a, B::Value>> {
        let (byte, place) = self.first_byte(x, packed)?;
        let (lanes, dep) = self.at_quotient(packed.quotient, byte, |e| e.place(packed.buffer, packed.index));
        let Place::Strided { base, displacement, step: LaneStep::Const(1) } = lanes else { return None };
        let words = self.widened_bytes(self.at(packed.buffer, base, displacement), place)?;
        let dep = dep.and(Dep { life: Life::Memory, scope: self.lane_scope(), ..Dep::default() });
        Some((words, packed, dep))
    }

    /// The first lane's byte along the dimension in which bytes are shared, and the bit at which the elements of all lanes
    /// begin in theirs; `None` where that is not known. The byte is the same whatever element of it is wanted.
    fn first_byte(&mut self, x: &Linear, packed: Packed<'_>) -> Option<(B::Value, u8)> {
        let terms = Linear { constant: 0, lane: 0, ..x.clone() };
        if !self.begins_byte(&terms, 0, packed) {
            return None;
        }
        let place = x.constant.rem_euclid(packed.per);
        let first = *self.lanes.as_ref()?.values.first()?;
        let constant = x.constant - place + x.lane * first;
        let sum = self.sum(&Linear { constant, ..terms })?;
        let byte = self.shift_const(Bin::UShr, sum, packed.per.trailing_zeros());
        Some((byte, (place * packed.width) as u8))
    }

    /// Neighbouring bytes as words, of which all lanes want the same bits.
    fn widened_bytes(&mut self, at: At<B::Value>, bit: u8) -> Option<Vec<Word<B::Value>>> {
        let (n, per) = (self.lane_count()?, self.per_chunk(Lane::I32));
        // Bytes become words on their way from memory, but where not all lanes run: there is one mask for all.
        let a_load = if self.running.is_some() { n } else { per };
        let mut words = Vec::with_capacity(n.div_ceil(per));
        for first in (0..n).step_by(a_load) {
            let (at, count) =
                (At { displacement: at.displacement + first as i32, ..at }, a_load.min(n - first));
            let bytes = self.load_lanes(Lane::I8, count, at);
            let wide = self.resize(&bytes, Lane::I32, false, count);
            words.extend(wide.chunks.iter().map(|value| Word { value: *value, bits: vec![bit; per] }));
        }
        Some(words)
    }

    /// Of eight bytes of memory, in each lane of 32 bits, those from a bit of its own on; only the lowest byte of a lane
    /// counts.
    fn bytes_of_eight(&mut self, at: At<B::Value>, lanes: usize, bit: impl Fn(usize) -> i64) -> B::Value {
        let from: Vec<u8> = (0..4 * lanes).map(|byte| bit(byte / 4) as u8 % 64).collect();
        let loaded = self.b.load(Ty::scalar(Lane::I64), at);
        let words = self.b.splat(loaded);
        let bytes = self.b.bytes_from_bits(words, &from);
        self.b.bitcast(self.vector_of(Lane::I32), bytes)
    }

    /// One to four bytes as an integer.
    fn load_bytes(&mut self, count: usize, at: At<B::Value>) -> B::Value {
        let part = |e: &mut Self, lane: Lane, from: i32| {
            let v = e.b.load(Ty::scalar(lane), At { displacement: at.displacement + from, ..at });
            e.extend(v, Lane::I32, false)
        };
        match count {
            4.. => part(self, Lane::I32, 0),
            3 => {
                let (low, high) = (part(self, Lane::I16, 0), part(self, Lane::I8, 2));
                let high = self.op_const(Bin::Shl, high, 16);
                self.b.binary(Bin::Or, low, high)
            }
            2 => part(self, Lane::I16, 0),
            _ => part(self, Lane::I8, 0),
        }
    }

    /// Lanes moved by bits of their own.
    pub(super) fn shift_lanes(&mut self, op: Bin, v: B::Value, by: &[u8]) -> B::Value {
        match by.split_first() {
            Some((0, rest)) if rest.iter().all(|b| *b == 0) => v,
            Some((first, rest)) if rest.iter().all(|b| b == first) => {
                self.shift_const(op, v, u32::from(*first))
            }
            _ => self.b.shift_each(op, v, by),
        }
    }

    /// An element that shares its byte, as lanes of 32 bits.
    pub(super) fn packed_lanes(&mut self, e: ExprId) -> Option<(Lanes<B::Value>, Dep)> {
        let (words, packed, dep) = self.packed_words(e)?;
        let above = 32 - packed.bits;
        let down = if packed.signed { Bin::SShr } else { Bin::UShr };
        let chunks = words.into_iter().map(|word| {
            let up: Vec<u8> = word.bits.iter().map(|b| above as u8 - b).collect();
            let top = self.shift_lanes(Bin::Shl, word.value, &up);
            self.shift_const(down, top, above)
        });
        Some((Lanes { ty: Lane::I32, chunks: chunks.collect() }, dep))
    }

    /// What an element that shares its byte is converted to.
    pub(super) fn packed_cast(&mut self, e: ExprId, to: DType) -> Option<(Val<B::Value>, Dep)> {
        let (lanes, dep) = self.packed_lanes(e)?;
        let wide = Val::Lanes(lanes);
        let value = match to {
            // Exact in between.
            DType::F16 | DType::Bf16 => {
                let float = self.cast(&wide, DType::I32, DType::F32);
                self.cast(&float, DType::F32, to)
            }
            _ => self.cast(&wide, DType::I32, to),
        };
        Some((value, dep))
    }

    /// Whether the element of the first lane is the first one of its byte.
    fn begins_byte(&self, x: &Linear, first: i64, packed: Packed<'_>) -> bool {
        self.assumed.begin_bytes.contains(&packed.x) || self.multiple_of_sum(x, first) % packed.per == 0
    }

    /// A power of two that the value of a sum is a multiple of, its lane counter being `lane`.
    pub(super) fn multiple_of_sum(&self, sum: &Linear, lane: i64) -> i64 {
        let constant = sum.constant.wrapping_add(sum.lane.wrapping_mul(lane));
        let term = |(e, c): (&ExprId, &i64)| power_of_two(self.multiple(*e).saturating_mul(power_of_two(*c)));
        sum.terms.iter().map(term).fold(power_of_two(constant), i64::min)
    }

    /// A power of two that an index is a multiple of.
    pub(super) fn multiple(&self, e: ExprId) -> i64 {
        match self.nest.exprs[e].kind {
            ExprKind::Const(v) => power_of_two(v.as_i64()),
            ExprKind::Var(v) => match (&self.bindings[v.index()].0, self.definitions[v.index()]) {
                (Binding::Const(c), _) => power_of_two(*c),
                (Binding::Value(_), Some(definition)) => self.multiple(definition),
                (Binding::Value(_), None) => self.multiples[v.index()],
                _ => 1,
            },
            ExprKind::Unary(UnaryOp::Neg, a) => self.multiple(a),
            ExprKind::Binary(BinaryOp::Mul, a, b) => power_of_two(self.multiple(a) * self.multiple(b)),
            ExprKind::Select(_, a, b)
            | ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, a, b) => {
                self.multiple(a).min(self.multiple(b))
            }
            _ => 1,
        }
    }
}

/// The words of all lanes, the element that they are of, and what it depends on.
pub(super) type Words<'n, V> = (Vec<Word<V>>, Packed<'n>, Dep);

/// Words with the lanes' bits, and the bit at which each lane's begin.
pub(super) struct Word<V> {
    pub(super) value: V,
    pub(super) bits: Vec<u8>,
}

/// The largest power of two that divides a number, as far as it is asked for.
pub(super) fn power_of_two(v: i64) -> i64 {
    if v == 0 { MOST } else { (v & v.wrapping_neg()).clamp(1, MOST) }
}

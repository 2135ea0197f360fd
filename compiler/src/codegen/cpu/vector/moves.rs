//! What moves lanes: within vectors, between them, and parts of them to and from memory.

use super::super::ssa::{At, Bin, Lane, Ssa, Stretch, Ty};
use super::build::Builder;
use super::ir::{Op, Value};
use super::isa::Isa;

impl Builder {
    /// A lane beyond the lower 128 bits is one of those after its 128 bits are moved down.
    pub(super) fn write_extract(&mut self, v: Value, l: usize) -> Value {
        let ty = self.f.ty(v);
        let per = 16 / ty.lane.bytes();
        let v = self.piece(v, l / per);
        self.inst(Op::Extract((l % per) as u8), Ty::scalar(ty.lane), &[v])
    }

    /// 128 bits moved down, counted so.
    fn piece(&mut self, v: Value, n: usize) -> Value {
        if n == 0 { v } else { self.inst(Op::Piece(n as u8), self.f.ty(v), &[v]) }
    }

    /// The vector with one lane replaced.
    pub(super) fn write_insert(&mut self, v: Value, s: Value, l: usize) -> Value {
        let ty = self.f.ty(v);
        if !self.has_bits() {
            return self.inst(Op::Insert(l as u8), ty, &[v, s]);
        }
        let all = self.splat(s);
        let bit = self.known_bits(ty, 1 << l);
        self.inst(Op::BlendBits, ty, &[bit, all, v])
    }

    /// Lanes of a vector followed by another.
    pub(super) fn write_window(&mut self, low: Value, high: Option<Value>, from: usize, n: usize) -> Value {
        let ty = self.f.ty(low);
        let (start, end) = (from * ty.lane.bytes(), (from + n) * ty.lane.bytes());
        match self.isa {
            Isa::Avx512 => self.window_of_lanes(low, high.unwrap_or(low), start),
            Isa::Avx2 { .. } => self.window_of_halves(low, high, start, end),
        }
    }

    /// Whole words move anywhere; bytes of two neighbours are put together in each word.
    fn window_of_lanes(&mut self, low: Value, high: Value, start: usize) -> Value {
        let ty = self.f.ty(low);
        let words = if ty.lane.bytes() == 8 { 8 } else { 4 };
        let words_ty = Ty::vector(Lane::int(words), self.vector_bytes());
        let (low, high) = (self.bitcast(words_ty, low), self.bitcast(words_ty, high));
        let moved = |b: &mut Builder, n: usize| match n {
            0 => low,
            n => b.inst(Op::AlignLanes(n as u8), words_ty, &[low, high]),
        };
        let mut window = moved(self, start / words);
        let bits = 8 * (start % words) as i64;
        if bits > 0 {
            let next = match start / words + 1 {
                n if n * words == self.vector_bytes() => high,
                n => moved(self, n),
            };
            let count = |b: &mut Builder, n: i64| b.int(Ty::scalar(Lane::I32), n);
            let (down, up) = (count(self, bits), count(self, 32 - bits));
            let own = self.write_binary(Bin::UShr, window, down);
            let others = self.write_binary(Bin::Shl, next, up);
            window = self.write_binary(Bin::Or, own, others);
        }
        self.bitcast(ty, window)
    }

    /// Bytes move within halves of 128 bits only: what comes over from the neighbour is put beside them first.
    fn window_of_halves(&mut self, low: Value, high: Option<Value>, start: usize, end: usize) -> Value {
        let ty = self.f.ty(low);
        let down = |b: &mut Builder, v: Value, bytes: usize| match bytes {
            0 => v,
            bytes => b.inst(Op::BytesDown(bytes as u8), ty, &[v]),
        };
        if end <= 16 {
            return down(self, low, start);
        }
        if start >= 16 && end <= 32 {
            let upper = self.piece(low, 1);
            return down(self, upper, start - 16);
        }
        let high = high.unwrap_or(low);
        let upper = self.piece(low, 1);
        let middle = self.inst(Op::Join, ty, &[upper, high]);
        match start {
            0 => low,
            16 => middle,
            1..16 => self.inst(Op::Align(start as u8), ty, &[middle, low]),
            _ => self.inst(Op::Align((start - 16) as u8), ty, &[high, middle]),
        }
    }

    /// As many rows as they have lanes of 32 or 64 bits: columns of 128 bits by pairs of rows, and pairs of those, then
    /// those of all rows side by side.
    pub(super) fn write_transpose(&mut self, rows: &[Value]) -> Vec<Value> {
        let ty = self.f.ty(rows[0]);
        let wide = Ty::vector(Lane::F64, self.vector_bytes());
        let mut parts = Vec::with_capacity(rows.len());
        if ty.lane.bytes() == 4 {
            let narrow = Ty { lane: Lane::F32, ..ty };
            for four in rows.chunks(4) {
                // Of rows 0 and 1, and 2 and 3: columns 0 and 1, and 2 and 3; of the upper halves 4 and 5, and 6 and 7.
                let [a, b] = self.unpack(narrow, four[0], four[1]);
                let [c, d] = self.unpack(narrow, four[2], four[3]);
                parts.extend(self.unpack(wide, a, c));
                parts.extend(self.unpack(wide, b, d));
            }
        } else {
            for two in rows.chunks(2) {
                parts.extend(self.unpack(wide, two[0], two[1]));
            }
        }
        let columns = match self.isa {
            Isa::Avx512 => self.join_four(wide, &parts),
            Isa::Avx2 { .. } => self.join_two(wide, &parts),
        };
        columns.into_iter().map(|v| self.bitcast(ty, v)).collect()
    }

    /// Vectors of halves of 128 bits, in two groups: the lower halves of each two side by side, then the upper ones.
    fn join_two(&mut self, wide: Ty, parts: &[Value]) -> Vec<Value> {
        let (first, last) = parts.split_at(parts.len() / 2);
        let upper: Vec<u8> = (0..self.vector_bytes()).map(|i| if i < 16 { 0xFF } else { 0 }).collect();
        let upper = self.bytes(wide.as_int(), &upper);
        let (mut low, mut high) = (Vec::with_capacity(parts.len()), Vec::new());
        for (&a, &b) in first.iter().zip(last) {
            low.push(self.inst(Op::Join, wide, &[a, b]));
            let moved = self.piece(a, 1);
            high.push(self.blend(upper, moved, b));
        }
        low.append(&mut high);
        low
    }

    /// Vectors of four pieces of 128 bits, in four groups: the first pieces of each four side by side, and so on.
    fn join_four(&mut self, wide: Ty, parts: &[Value]) -> Vec<Value> {
        // Two pieces of each of two vectors.
        let [first, last, even, odd] = [0x44, 0xEE, 0x88, 0xDD];
        let quarter = parts.len() / 4;
        let mut columns = vec![Vec::new(); 4];
        for n in 0..quarter {
            let [a, b, c, d] = [0, 1, 2, 3].map(|group| parts[group * quarter + n]);
            let mut pieces = |how, x, y| self.inst(Op::Pieces(how), wide, &[x, y]);
            for (pair, how) in [first, last].into_iter().enumerate() {
                let (x, y) = (pieces(how, a, b), pieces(how, c, d));
                columns[2 * pair].push(pieces(even, x, y));
                columns[2 * pair + 1].push(pieces(odd, x, y));
            }
        }
        columns.concat()
    }

    /// Lanes of two vectors in turn, from the lower and from the upper half of each 128 bits.
    fn unpack(&mut self, ty: Ty, a: Value, b: Value) -> [Value; 2] {
        let (a, b) = (self.bitcast(ty, a), self.bitcast(ty, b));
        [false, true].map(|upper| self.inst(Op::Unpack { upper }, ty, &[a, b]))
    }

    /// Each 128 bits on their own.
    pub(super) fn write_build(&mut self, scalars: &[Value]) -> Value {
        let ty = Ty::vector(self.f.ty(scalars[0]).lane, self.vector_bytes());
        if scalars.iter().all(|s| *s == scalars[0]) {
            return self.splat(scalars[0]);
        }
        let pieces: Vec<Value> = scalars
            .chunks(16 / ty.lane.bytes())
            .map(|piece| {
                let mut vector = self.lane_zero(piece[0]);
                for (l, &s) in piece.iter().enumerate().skip(1) {
                    vector = self.inst(Op::InsertLow(l as u8), ty, &[vector, s]);
                }
                vector
            })
            .collect();
        let mut vector = pieces[0];
        for (n, &piece) in pieces.iter().enumerate().skip(1) {
            vector = self.inst(Op::PutPiece(n as u8), ty, &[vector, piece]);
        }
        vector
    }

    pub(super) fn write_load_part(&mut self, ty: Ty, n: usize, at: At<Value>) -> Value {
        let At { base, displacement, region } = at;
        let size = ty.lane.bytes();
        let word = match n * size {
            bytes @ (16 | 32) => {
                return self.inst(Op::LoadLow { displacement, region, bytes: bytes as u8 }, ty, &[base]);
            }
            8 => Some(Lane::F64),
            4 => Some(Lane::F32),
            _ => None,
        };
        if let Some(lane) = word {
            let loaded = self.load(Ty::scalar(lane), at);
            let vector = self.lane_zero(loaded);
            return self.bitcast(ty, vector);
        }
        if self.has_bits() {
            let bits = self.first_bits(ty, n);
            return self.inst(Op::LoadBits { displacement, region }, ty, &[base, bits]);
        }
        if size >= 4 {
            let bytes = (0..ty.bytes()).map(|i| if i < n * size { 0xFF } else { 0 }).collect();
            let mask = self.f.constant(bytes);
            return self.inst(Op::LoadMasked { displacement, region, mask }, ty, &[base]);
        }
        let mut vector = self.int(ty, 0);
        for l in 0..n {
            let displacement = displacement + (l * size) as i32;
            let lane = self.load(Ty::scalar(ty.lane), At { displacement, ..at });
            vector = self.insert(vector, lane, l);
        }
        vector
    }

    /// The lanes of two vectors in turn.
    pub(super) fn write_interleave(&mut self, a: Value, b: Value) -> [Value; 2] {
        let ty = self.f.ty(a);
        if self.isa == Isa::Avx512 {
            let per = usize::from(ty.count);
            return [0, per / 2].map(|from| {
                let numbers = self.lane_numbers(ty, |l| from + l / 2 + per * (l % 2));
                self.inst(Op::Permute, ty, &[a, numbers, b])
            });
        }
        let narrow = Ty { lane: if ty.lane.bytes() == 4 { Lane::F32 } else { Lane::F64 }, ..ty };
        let wide = Ty::vector(Lane::F64, self.vector_bytes());
        let parts = self.unpack(narrow, a, b).map(|v| self.bitcast(wide, v));
        let halves = self.join_two(wide, &parts);
        [0, 1].map(|n| self.bitcast(ty, halves[n]))
    }

    /// All of a stretch of memory, and of that the lanes.
    pub(super) fn write_load_strided(
        &mut self,
        ty: Ty,
        n: usize,
        Stretch { step, first, len }: Stretch,
        at: At<Value>,
    ) -> Option<Value> {
        /// Most vectors that are loaded for one.
        const MOST: usize = 4;
        let (per, count) = (usize::from(ty.count), len.div_ceil(usize::from(ty.count)));
        if ty.lane.bytes() < 4 || count > MOST || n < per / 2 {
            return None;
        }
        let load = |b: &mut Builder, v: usize| {
            let at = At { displacement: at.displacement + (v * ty.bytes()) as i32, ..at };
            let used = (len - v * per).min(per);
            if used < per { b.load_part(ty, used, at) } else { b.load(ty, at) }
        };
        if self.isa != Isa::Avx512 {
            let pairs = step == 2 && count == 2;
            return pairs.then(|| {
                let vectors = [0, 1].map(|v| load(self, v));
                self.write_every_other(vectors, first)
            });
        }
        let mut lanes: Option<Value> = None;
        for v in 0..count {
            let next = load(self, v);
            let (Some(found), false) = (lanes, count == 1) else {
                lanes = Some(next);
                continue;
            };
            // Before the second vector is there, the first one's lanes are in their old places. Lanes that do not count are
            // those of the first vector.
            let place = |l: usize| match ((first + l * step) / per, v) {
                (from, v) if from == v => per + (first + l * step) % per,
                (0, 1) => first + l * step,
                _ => l,
            };
            let numbers = self.lane_numbers(ty, place);
            lanes = Some(self.inst(Op::Permute, ty, &[found, numbers, next]));
        }
        match (lanes, count) {
            (Some(only), 1) => {
                let numbers = self.lane_numbers(ty, |l| (first + l * step) % per);
                Some(self.inst(Op::Permute, ty, &[only, numbers, only]))
            }
            (lanes, _) => lanes,
        }
    }

    /// Of two vectors the lanes with even numbers, or with `odd` 1 the others.
    pub(super) fn write_every_other(&mut self, vectors: [Value; 2], odd: usize) -> Value {
        let ty = self.f.ty(vectors[0]);
        if self.isa == Isa::Avx512 {
            let numbers = self.lane_numbers(ty, |l| 2 * l + odd);
            return self.inst(Op::Permute, ty, &[vectors[0], numbers, vectors[1]]);
        }
        let wide = Ty::vector(Lane::F64, self.vector_bytes());
        let vectors = vectors.map(|v| self.bitcast(wide, v));
        let halves = self.join_two(wide, &vectors);
        let lanes = if ty.lane.bytes() == 8 {
            self.unpack(wide, halves[0], halves[1])
        } else {
            let narrow = Ty { lane: Lane::F32, ..ty };
            let [even, odd] = self.unpack(narrow, halves[0], halves[1]);
            self.unpack(narrow, even, odd)
        };
        self.bitcast(ty, lanes[odd % 2])
    }

    /// A number in each lane, as integers of its width.
    fn lane_numbers(&mut self, ty: Ty, f: impl Fn(usize) -> usize) -> Value {
        let size = ty.lane.bytes();
        let numbers = (0..usize::from(ty.count)).map(f);
        let bytes: Vec<u8> = numbers.flat_map(|n| (n as u64).to_le_bytes().into_iter().take(size)).collect();
        self.bytes(ty.as_int(), &bytes)
    }

    /// Lanes that lie anywhere.
    pub(super) fn write_gather(
        &mut self,
        ty: Ty,
        n: usize,
        numbers: &[Value],
        scale: u8,
        at: At<Value>,
    ) -> Option<Value> {
        if !self.has_bits() || ty.lane.bytes() < 4 {
            return None;
        }
        let per = usize::from(self.f.ty(*numbers.first()?).count);
        let At { base, displacement, region } = at;
        let parts: Vec<Value> = numbers
            .iter()
            .enumerate()
            .map(|(part, &numbers)| {
                let bits = self.first_bits(self.f.ty(numbers), (n - part * per).min(per));
                self.inst(Op::Gather { displacement, region, scale }, ty, &[base, numbers, bits])
            })
            .collect();
        match parts[..] {
            [one] => Some(one),
            [low, high] => Some(self.inst(Op::Join, ty, &[low, high])),
            _ => None,
        }
    }

    pub(super) fn write_store_part(&mut self, v: Value, n: usize, at: At<Value>) {
        let At { base, displacement, region } = at;
        let (ty, bytes) = (self.f.ty(v), n * self.f.ty(v).lane.bytes());
        if self.has_bits() && ![1, 2, 4, 8, 16, 32].contains(&bytes) {
            let bits = self.first_bits(ty, n);
            self.inst(Op::StoreBits { displacement, region }, ty, &[base, v, bits]);
            return;
        }
        let int = Ty::vector(Lane::I8, self.vector_bytes());
        let mut rest = self.bitcast(int, v);
        let mut done = 0;
        while done < bytes {
            let step = [32, 16, 8, 4, 2, 1].into_iter().find(|s| *s <= bytes - done).unwrap_or(1);
            let displacement = displacement + done as i32;
            let op = Op::StoreLow { displacement, region, bytes: step as u8 };
            self.inst(op, int, &[base, rest]);
            done += step;
            if done < bytes {
                rest = match step {
                    16 => self.piece(rest, 1),
                    _ => self.inst(Op::BytesDown(step as u8), int, &[rest]),
                };
            }
        }
    }
}

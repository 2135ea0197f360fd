//! Loads and stores.

use std::ops::Range;

use rooftile_artifact::DType;

use super::super::ssa::{At, Bin, Cmp, Lane, Region, Ssa, Stretch, Ty};
use super::Emitter;
use super::address::{LaneStep, Linear, Place};
use super::lanes::{Lanes, Val, lane_of, scalar_of};
use super::scope::{Dep, Life};
use crate::nest::ir::{Buffer, BufferId, ExprId, Space, Stmt};

/// A strided access, lane after lane.
pub(super) struct Walk<V> {
    pub(super) base: V,
    /// Bytes from `base` to the lane at hand.
    pub(super) offset: i64,
    pub(super) step: LaneStep<V>,
}

impl<B: Ssa> Emitter<'_, B> {
    /// Loads an element, or one per lane, of a buffer in memory.
    pub(super) fn load_memory(&mut self, buffer: BufferId, index: &[ExprId]) -> (Val<B::Value>, Dep) {
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = scalar_of(dtype);
        let (place, dep) = self.place(buffer, index);
        let dep = dep.and(Dep { life: Life::Memory, ..Dep::default() });
        let dep = match self.lane_count() {
            // A value per lane lives no longer than the lane loop.
            Some(_) => dep.and(Dep { scope: self.lane_scope(), ..Dep::default() }),
            None => dep,
        };
        let Some(n) = self.lane_count() else {
            let v = match place {
                Place::Strided { base, displacement, .. } => {
                    self.b.load(ty, self.at(buffer, base, displacement))
                }
                // Only lanes scatter.
                Place::Scattered => self.zero(ty),
            };
            return (Val::Uniform(v), dep);
        };
        let value = match place {
            Place::Strided { base, displacement, step: LaneStep::Const(0) } => {
                Val::Uniform(self.b.load(ty, self.at(buffer, base, displacement)))
            }
            Place::Strided { base, displacement, step: LaneStep::Const(step) }
                if step == ty.bytes() as i64 =>
            {
                let at = self.at(buffer, base, displacement);
                self.note_stream(buffer, self.vector_of(ty.lane), n, at);
                let lanes = self.load_lanes(ty.lane, n, at);
                Val::Lanes(self.loaded(lanes, dtype))
            }
            Place::Strided { base, displacement, step: LaneStep::Const(step) }
                if let Some(lanes) =
                    self.load_strided((buffer, index), n, step, self.at(buffer, base, displacement)) =>
            {
                Val::Lanes(self.loaded(lanes, dtype))
            }
            Place::Strided { base, displacement, step }
                if let Some(lanes) = self.load_transposed(buffer, index, n, (base, displacement, step)) =>
            {
                Val::Lanes(lanes)
            }
            Place::Strided { base, displacement, step }
                if let Some(lanes) = self.load_records((buffer, index), n, (base, displacement, step)) =>
            {
                Val::Lanes(lanes)
            }
            Place::Strided { base, displacement, step } => {
                let mut walk = Walk { base, offset: displacement.into(), step };
                let mut scalars = Vec::with_capacity(n);
                for l in 0..n {
                    let at = self.walk(buffer, &mut walk, l);
                    scalars.push(self.b.load(ty, at));
                }
                Val::Lanes(self.build(dtype, &scalars))
            }
            Place::Scattered => {
                let found =
                    self.load_steps(buffer, index, n).or_else(|| self.load_gathered(buffer, index, n));
                Val::Lanes(found.unwrap_or_else(|| {
                    let scalars = self.load_scattered(buffer, index, 0..n);
                    self.build(dtype, &scalars)
                }))
            }
        };
        (value, dep)
    }

    /// Elements of some lanes, each at an index of its own.
    pub(super) fn load_scattered(
        &mut self,
        buffer: BufferId,
        index: &[ExprId],
        lanes: Range<usize>,
    ) -> Vec<B::Value> {
        let ty = scalar_of(self.nest.buffers[buffer].dtype);
        let load = |e: &mut Self| {
            let at = e.element(buffer, index);
            e.b.load(ty, at)
        };
        lanes.map(|l| self.in_lane(l, load)).collect()
    }

    /// Index of the scope in which the lane counter is bound.
    pub(super) fn lane_scope(&self) -> usize {
        self.lanes.as_ref().map_or(0, |l| self.bindings[l.var.index()].1.scope)
    }

    /// An address in a buffer.
    pub(super) fn at(&self, buffer: BufferId, base: B::Value, displacement: i32) -> At<B::Value> {
        // Buffers of different slots overlap only if nobody writes them.
        let number = match self.nest.buffers[buffer].space {
            Space::Global(slot) => slot,
            _ => u32::MAX - buffer.index() as u32,
        };
        At { base, displacement, region: Region::Numbered(number) }
    }

    /// The address of lane `l`, where that of the lane before was the last.
    pub(super) fn walk(&mut self, buffer: BufferId, walk: &mut Walk<B::Value>, l: usize) -> At<B::Value> {
        if l > 0 {
            match walk.step {
                LaneStep::Const(c) => walk.offset += c,
                LaneStep::Value(v) => walk.base = self.b.binary(Bin::Add, walk.base, v),
            }
        }
        let displacement = i32::try_from(walk.offset).unwrap_or_else(|_| {
            walk.base = self.op_const(Bin::Add, walk.base, walk.offset);
            walk.offset = 0;
            0
        });
        self.at(buffer, walk.base, displacement)
    }

    /// Bytes 0 and 1 become masks.
    fn loaded(&mut self, lanes: Lanes<B::Value>, dtype: DType) -> Lanes<B::Value> {
        if dtype != DType::Bool {
            return lanes;
        }
        self.map1(&lanes, Lane::I8, |e, v| e.compare_const(Cmp::Ne, v, 0))
    }

    /// Neighbouring elements, of which only the `n` wanted are touched, and only those of lanes that run.
    pub(super) fn load_lanes(&mut self, lane: Lane, n: usize, at: At<B::Value>) -> Lanes<B::Value> {
        let (ty, per) = (self.vector_of(lane), self.per_chunk(lane));
        let running = self.running_lanes(lane, n);
        let chunks = (0..n.div_ceil(per))
            .map(|c| {
                let at = chunk_at(at, ty, c);
                let used = n - c * per;
                match &running {
                    Some(running) => self.b.load_masked(ty, running[c], at),
                    None if used < per => self.b.load_part(ty, used, at),
                    None => self.b.load(ty, at),
                }
            })
            .collect();
        Lanes { ty: lane, chunks }
    }

    /// Elements a few apart, `step` bytes; `None` where they are loaded one by one.
    fn load_strided(
        &mut self,
        (buffer, index): (BufferId, &[ExprId]),
        n: usize,
        step: i64,
        at: At<B::Value>,
    ) -> Option<Lanes<B::Value>> {
        let ty = self.vector_of(lane_of(self.nest.buffers[buffer].dtype));
        let (per, size) = (self.per_chunk(ty.lane), ty.lane.bytes());
        let step = usize::try_from(step).ok().filter(|s| s.is_multiple_of(size))? / size;
        // Of records that lie side by side all may be touched; other fields of them are often loaded too.
        let record = self.field(buffer, index).filter(|(_, fields)| *fields == step);
        let first = record.map_or(0, |(field, _)| field);
        let chunks: Option<_> = (0..n.div_ceil(per))
            .map(|c| {
                let lanes = i32::try_from((c * per).checked_mul(step)?.checked_mul(size)?).ok()?;
                // The other fields of the first record may lie before.
                let before = i32::try_from(first * size).ok()?;
                let displacement = at.displacement.checked_add(lanes)?.checked_sub(before)?;
                let n = (n - c * per).min(per);
                let len = if record.is_some() { n * step } else { (n - 1) * step + 1 };
                self.b.load_strided(ty, n, Stretch { step, first, len }, At { displacement, ..at })
            })
            .collect();
        Some(Lanes { ty: ty.lane, chunks: chunks? })
    }

    /// One field of records of two that lie far apart: each is loaded whole, since the other field is mostly wanted too.
    fn load_records(
        &mut self,
        (buffer, index): (BufferId, &[ExprId]),
        n: usize,
        (base, displacement, step): (B::Value, i32, LaneStep<B::Value>),
    ) -> Option<Lanes<B::Value>> {
        let lane = lane_of(self.nest.buffers[buffer].dtype);
        let (ty, per) = (self.vector_of(lane), self.per_chunk(lane));
        let (field, 2) = self.field(buffer, index)? else { return None };
        if lane.bytes() != 4 || !self.b.can_interleave(lane) || !n.is_multiple_of(per) {
            return None;
        }
        let offset = i64::from(displacement) - (field * lane.bytes()) as i64;
        let mut walk = Walk { base, offset, step };
        let records: Vec<B::Value> = (0..n)
            .map(|l| {
                let at = self.walk(buffer, &mut walk, l);
                self.b.load(Ty::scalar(Lane::F64), at)
            })
            .collect();
        let vectors: Vec<B::Value> = records
            .chunks(per / 2)
            .map(|records| {
                let vector = self.b.build(records);
                self.b.bitcast(ty, vector)
            })
            .collect();
        let chunks = vectors.chunks(2).map(|v| self.b.every_other([v[0], v[1]], field)).collect();
        Some(Lanes { ty: lane, chunks })
    }

    /// Which of how many fields of a record an access is of: the last index is a number, and the last extent.
    pub(super) fn field(&self, buffer: BufferId, index: &[ExprId]) -> Option<(usize, usize)> {
        let (&last, &extent) = (index.last()?, self.nest.buffers[buffer].shape.last()?);
        let (at, fields) = (self.linear(last), self.nest.const_int(extent)?);
        let number = at.terms.is_empty() && at.lane == 0 && (0..fields).contains(&at.constant);
        number.then_some((usize::try_from(at.constant).ok()?, usize::try_from(fields).ok()?))
    }

    /// Two neighbouring elements of each lane that two stores write one after the other, where the lanes lie side by side.
    /// `false`, and nothing is stored, where it is not that.
    pub(super) fn store_pair(&mut self, first: &Stmt, second: &Stmt) -> bool {
        let (
            Stmt::Store { buffer, index, value },
            Stmt::Store { buffer: same, index: next, value: next_value },
        ) = (first, second)
        else {
            return false;
        };
        let Buffer { dtype, space, .. } = self.nest.buffers[*buffer];
        let (lane, Some(n), None) = (lane_of(dtype), self.lane_count(), &self.running) else { return false };
        let (Some((at, all)), Some((b, others))) = (index.split_last(), next.split_last()) else {
            return false;
        };
        let in_memory = matches!(space, Space::Global(_) | Space::Local);
        if buffer != same
            || all != others
            || !in_memory
            || dtype == DType::Bool
            || !self.b.can_interleave(lane)
        {
            return false;
        }
        let neighbours = self.linear(*b) == self.linear(*at).plus(&Linear::number(1), 1);
        if !neighbours || self.nest.loads_from(*next_value, |b| self.nest.buffers[b].space == space) {
            return false;
        }
        let Place::Strided { base, displacement, step: LaneStep::Const(step) } = self.place(*buffer, index).0
        else {
            return false;
        };
        if step != 2 * lane.bytes() as i64 {
            return false;
        }
        let [a, b] = [*value, *next_value].map(|value| {
            let v = self.eval(value);
            self.per_lane(&v, dtype, lane, n)
        });
        let mut chunks: Vec<B::Value> = Vec::with_capacity(2 * a.chunks.len());
        for (a, b) in a.chunks.iter().zip(b.chunks.iter()) {
            chunks.extend(self.b.interleave(*a, *b));
        }
        chunks.truncate((2 * n).div_ceil(self.per_chunk(lane)));
        let pairs = Lanes { ty: lane, chunks: chunks.into() };
        self.store_side_by_side(*buffer, &pairs, 2 * n, (base, displacement));
        self.scopes.memory_written();
        true
    }

    /// Stores an element, or one per lane, to a buffer in memory.
    pub(super) fn store_memory(&mut self, buffer: BufferId, index: &[ExprId], value: &Val<B::Value>) {
        let dtype = self.nest.buffers[buffer].dtype;
        let lane = lane_of(dtype);
        let Some(n) = self.lane_count() else {
            let v = self.extract_current(value, dtype);
            if let Place::Strided { base, displacement, .. } = self.place(buffer, index).0 {
                self.b.store(v, self.at(buffer, base, displacement));
            }
            return;
        };
        match self.place(buffer, index).0 {
            // One element for all lanes: the last one's value stays.
            Place::Strided { base, displacement, step: LaneStep::Const(0) } => {
                let v = self.extract(value, dtype, n - 1);
                self.b.store(v, self.at(buffer, base, displacement));
            }
            Place::Strided { base, displacement, step: LaneStep::Const(step) }
                if step == lane.bytes() as i64 =>
            {
                let lanes = self.per_lane(value, dtype, lane, n);
                let lanes = self.bytes_of(lanes, dtype);
                self.store_side_by_side(buffer, &lanes, n, (base, displacement));
            }
            Place::Strided { base, displacement, step } => {
                let mut walk = Walk { base, offset: displacement.into(), step };
                for l in 0..n {
                    let v = self.extract(value, dtype, l);
                    let at = self.walk(buffer, &mut walk, l);
                    self.b.store(v, at);
                }
            }
            Place::Scattered => {
                for l in 0..n {
                    let v = self.extract(value, dtype, l);
                    let at = self.in_lane(l, |e| e.element(buffer, index));
                    self.b.store(v, at);
                }
            }
        }
    }

    /// Masks become bytes 0 and 1.
    fn bytes_of(&mut self, lanes: Lanes<B::Value>, dtype: DType) -> Lanes<B::Value> {
        if dtype != DType::Bool {
            return lanes;
        }
        self.map1(&lanes, Lane::I8, |e, v| e.op_const(Bin::And, v, 1))
    }

    /// Neighbouring elements, past the caches where the buffer is for that; only those of lanes that run.
    fn store_side_by_side(
        &mut self,
        buffer: BufferId,
        lanes: &Lanes<B::Value>,
        n: usize,
        (base, displacement): (B::Value, i32),
    ) {
        let at = self.at(buffer, base, displacement);
        if let Some(running) = self.running_lanes(lanes.ty, n) {
            let ty = self.vector_of(lanes.ty);
            for (c, (v, mask)) in lanes.chunks.iter().zip(running.iter()).enumerate() {
                self.b.store_masked(*v, *mask, chunk_at(at, ty, c));
            }
            return;
        }
        match self.small[buffer.index()] {
            Some(small) if n.is_multiple_of(self.per_chunk(lanes.ty)) => {
                let ty = self.vector_of(lanes.ty);
                let chunks = lanes.chunks.iter().enumerate();
                let stores: Vec<_> = chunks.map(|(c, v)| (*v, chunk_at(at, ty, c))).collect();
                self.store_past_caches(&stores, at, small);
            }
            _ => self.store_lanes(lanes, n, at),
        }
    }

    /// Neighbouring elements, of which only the first `n` are touched.
    pub(super) fn store_lanes(&mut self, lanes: &Lanes<B::Value>, n: usize, at: At<B::Value>) {
        let (ty, per) = (self.vector_of(lanes.ty), self.per_chunk(lanes.ty));
        for (c, &chunk) in lanes.chunks.iter().enumerate() {
            let at = chunk_at(at, ty, c);
            let used = n - c * per;
            if used < per {
                self.b.store_part(chunk, used, at);
            } else {
                self.b.store(chunk, at);
            }
        }
    }

    /// Whole vectors whose addresses differ by multiples of a vector's bytes: past the caches where the first one is such a
    /// multiple too, and so is `small`, which is 0 where the buffer is large.
    pub(super) fn store_past_caches(
        &mut self,
        stores: &[(B::Value, At<B::Value>)],
        first: At<B::Value>,
        small: B::Value,
    ) {
        let address = self.op_const(Bin::Add, first.base, first.displacement.into());
        let bits = self.b.binary(Bin::Or, address, small);
        let odd = self.op_const(Bin::And, bits, self.b.vector_bytes() as i64 - 1);
        let passes = self.compare_const(Cmp::Eq, odd, 0);
        let (past, plain, join) = (self.b.block(), self.b.block(), self.b.block());
        let streams = std::mem::take(&mut self.streams);
        self.b.branch(passes, (past, &[]), (plain, &[]));
        self.arm(past, join, |e| {
            stores.iter().for_each(|(v, at)| e.b.store_past_caches(*v, *at));
            // Where there are more, it is not reads that such a loop waits for.
            if streams.len() <= 2 * stores.len() {
                e.ask_ahead(&streams);
            }
        });
        self.arm(plain, join, |e| stores.iter().for_each(|(v, at)| e.b.store(*v, *at)));
        self.go_on(join);
    }

    /// The scalar in the lane that is written out alone, or the value for all.
    pub(super) fn extract_current(&mut self, v: &Val<B::Value>, dtype: DType) -> B::Value {
        let l = self.lanes.as_ref().and_then(|l| l.only).unwrap_or(0);
        self.extract(v, dtype, l)
    }
}

/// The address of the chunk after `c` others.
pub(super) fn chunk_at<V>(at: At<V>, ty: Ty, c: usize) -> At<V> {
    At { displacement: at.displacement + (c * ty.bytes()) as i32, ..at }
}

//! Loads and stores.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use rooftile_artifact::DType;

use super::Emitter;
use super::address::{LaneStep, Place};
use super::lanes::{Lanes, Val, per_chunk, scalar_type, vector_of};
use super::scope::{Dep, Life};
use crate::nest::ir::{BufferId, ExprId, Space};

/// Flags of ordinary accesses: rule 10 says that they do not trap; vectors need not be aligned.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Emitter<'_> {
    /// Loads an element, or one per lane, of a buffer in memory.
    pub(super) fn load_memory(&mut self, buffer: BufferId, index: &[ExprId]) -> (Val, Dep) {
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = scalar_type(dtype);
        let size = i64::from(ty.bytes());
        let (place, dep) = self.place(buffer, index);
        let dep = dep.and(Dep { life: Life::Memory, ..Dep::default() });
        let dep = match self.lane_count() {
            // A value per lane lives no longer than the lane loop.
            Some(_) => dep.and(Dep { scope: self.lane_scope(), ..Dep::default() }),
            None => dep,
        };
        let Some(n) = self.lane_count() else {
            let v = match place {
                Place::Strided { base, displacement, .. } => self.load_at(ty, buffer, base, displacement),
                // Only lanes scatter.
                Place::Scattered => self.zero(ty),
            };
            return (Val::Uniform(v), dep);
        };
        let value = match place {
            Place::Strided { base, displacement, step: LaneStep::Const(0) } => {
                Val::Uniform(self.load_at(ty, buffer, base, displacement))
            }
            Place::Strided { base, displacement, step: LaneStep::Const(step) } if step == size => {
                let lanes = self.load_lanes(ty, buffer, n, base, displacement);
                Val::Lanes(self.loaded(lanes, dtype))
            }
            Place::Strided { base, displacement, step } => {
                let mut at = base;
                let mut offset = i64::from(displacement);
                let mut scalars = Vec::with_capacity(n);
                for _ in 0..n {
                    let small = i32::try_from(offset).unwrap_or(0);
                    if i64::from(small) != offset {
                        at = self.b.ins().iadd_imm_s(at, offset);
                        offset = 0;
                    }
                    scalars.push(self.load_at(ty, buffer, at, if offset == 0 { 0 } else { small }));
                    match step {
                        LaneStep::Const(c) => offset += c,
                        LaneStep::Value(v) => at = self.b.ins().iadd(at, v),
                    }
                }
                Val::Lanes(self.build(dtype, &scalars))
            }
            Place::Scattered => {
                let scalars: Vec<Value> = (0..n)
                    .map(|l| {
                        self.in_lane(l, |e| {
                            let at = e.scalar_address(buffer, index);
                            e.load_at(ty, buffer, at, 0)
                        })
                    })
                    .collect();
                Val::Lanes(self.build(dtype, &scalars))
            }
        };
        (value, dep)
    }

    /// Index of the scope in which the lane counter is bound.
    pub(super) fn lane_scope(&self) -> usize {
        self.lanes.as_ref().map_or(0, |l| self.bindings[l.var.index()].1.scope)
    }

    fn load_at(&mut self, ty: Type, buffer: BufferId, base: Value, displacement: i32) -> Value {
        // Cranelift folds loads into `cmpps` and `cmppd` without a look at their alignment, but not through a cast.
        let hidden = !self.unaligned && ty.is_vector() && ty.lane_type().is_float();
        let loaded = if hidden { ty.as_int() } else { ty };
        let v = self.b.ins().load(loaded, flags(), base, displacement);
        if let Some(inst) = self.b.func.dfg.value_def(v).inst() {
            self.written.touches(inst, self.memory_place(buffer));
        }
        self.cast_bits(ty, v)
    }

    fn store_at(&mut self, v: Value, buffer: BufferId, base: Value, displacement: i32) {
        let inst = self.b.ins().store(flags(), v, base, displacement);
        self.written.touches(inst, self.memory_place(buffer));
    }

    /// A number for the memory that a buffer is in. Buffers of different slots overlap only if nobody writes them.
    fn memory_place(&self, buffer: BufferId) -> u32 {
        match self.nest.buffers[buffer].space {
            Space::Global(slot) => slot,
            _ => u32::MAX - buffer.index() as u32,
        }
    }

    /// Bytes 0 and 1 become masks.
    fn loaded(&mut self, lanes: Lanes, dtype: DType) -> Lanes {
        if dtype != DType::Bool {
            return lanes;
        }
        self.map1(&lanes, types::I8, |e, v| {
            let zero = e.int_const(types::I8X16, 0);
            e.b.ins().icmp(IntCC::NotEqual, v, zero)
        })
    }

    /// Neighbouring elements, of which only the `n` wanted are touched.
    fn load_lanes(&mut self, ty: Type, buffer: BufferId, n: usize, base: Value, displacement: i32) -> Lanes {
        let per = per_chunk(ty);
        let chunks = (0..n.div_ceil(per))
            .map(|c| {
                let at = displacement + 16 * c as i32;
                self.load_part(ty, buffer, (n - c * per).min(per), base, at)
            })
            .collect();
        Lanes { ty, chunks }
    }

    fn load_part(&mut self, ty: Type, buffer: BufferId, n: usize, base: Value, at: i32) -> Value {
        let vector = vector_of(ty);
        let wide = match n * ty.bytes() as usize {
            16 => return self.load_at(vector, buffer, base, at),
            8 => types::F64,
            4 => types::F32,
            _ => {
                let mut chunk = self.zero(vector);
                for i in 0..n {
                    let lane = self.load_at(ty, buffer, base, at + (i as i32) * ty.bytes() as i32);
                    chunk = self.b.ins().insertlane(chunk, lane, i as u8);
                }
                return chunk;
            }
        };
        let part = self.load_at(wide, buffer, base, at);
        let part = self.b.ins().scalar_to_vector(vector_of(wide), part);
        self.cast_bits(vector, part)
    }

    /// A vector or scalar of zero bits.
    pub(super) fn zero(&mut self, ty: Type) -> Value {
        if ty.lane_type().is_float() { self.float_const(ty, 0.0) } else { self.int_const(ty, 0) }
    }

    /// Stores an element, or one per lane, to a buffer in memory.
    pub(super) fn store_memory(&mut self, buffer: BufferId, index: &[ExprId], value: &Val) {
        let dtype = self.nest.buffers[buffer].dtype;
        let ty = scalar_type(dtype);
        let Some(n) = self.lane_count() else {
            let v = self.extract_current(value, dtype);
            if let Place::Strided { base, displacement, .. } = self.place(buffer, index).0 {
                self.store_at(v, buffer, base, displacement);
            }
            return;
        };
        match self.place(buffer, index).0 {
            // One element for all lanes: the last one's value stays.
            Place::Strided { base, displacement, step: LaneStep::Const(0) } => {
                let v = self.extract(value, dtype, n - 1);
                self.store_at(v, buffer, base, displacement);
            }
            Place::Strided { base, displacement, step: LaneStep::Const(step) }
                if step == i64::from(ty.bytes()) =>
            {
                let lanes = self.per_lane(value, dtype, ty, n);
                let lanes = self.bytes_of(lanes, dtype);
                self.store_lanes(&lanes, buffer, n, base, displacement);
            }
            Place::Strided { base, displacement, step } => {
                let mut at = self.b.ins().iadd_imm_s(base, i64::from(displacement));
                for l in 0..n {
                    let v = self.extract(value, dtype, l);
                    self.store_at(v, buffer, at, 0);
                    at = match step {
                        LaneStep::Const(c) => self.b.ins().iadd_imm_s(at, c),
                        LaneStep::Value(v) => self.b.ins().iadd(at, v),
                    };
                }
            }
            Place::Scattered => {
                for l in 0..n {
                    let v = self.extract(value, dtype, l);
                    let at = self.in_lane(l, |e| e.scalar_address(buffer, index));
                    self.store_at(v, buffer, at, 0);
                }
            }
        }
    }

    /// Masks become bytes 0 and 1.
    fn bytes_of(&mut self, lanes: Lanes, dtype: DType) -> Lanes {
        if dtype != DType::Bool {
            return lanes;
        }
        self.map1(&lanes, types::I8, |e, v| {
            let one = e.int_const(types::I8X16, 1);
            e.b.ins().band(v, one)
        })
    }

    fn store_lanes(&mut self, lanes: &Lanes, buffer: BufferId, n: usize, base: Value, displacement: i32) {
        let per = per_chunk(lanes.ty);
        for (c, &chunk) in lanes.chunks.iter().enumerate() {
            let at = displacement + 16 * c as i32;
            let used = (n - c * per).min(per);
            let wide = match used * lanes.ty.bytes() as usize {
                16 => {
                    self.store_at(chunk, buffer, base, at);
                    continue;
                }
                8 => types::F64,
                4 => types::F32,
                _ => {
                    for i in 0..used {
                        let lane = self.b.ins().extractlane(chunk, i as u8);
                        let at = at + (i as i32) * lanes.ty.bytes() as i32;
                        self.store_at(lane, buffer, base, at);
                    }
                    continue;
                }
            };
            let part = self.cast_bits(vector_of(wide), chunk);
            let part = self.b.ins().extractlane(part, 0);
            self.store_at(part, buffer, base, at);
        }
    }

    /// The scalar in the lane that is written out alone, or the value for all.
    pub(super) fn extract_current(&mut self, v: &Val, dtype: DType) -> Value {
        let l = self.lanes.as_ref().and_then(|l| l.only).unwrap_or(0);
        self.extract(v, dtype, l)
    }
}

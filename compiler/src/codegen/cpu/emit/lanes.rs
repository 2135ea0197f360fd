//! Values: one for all lanes, or one per lane in 128-bit chunks.

use std::rc::Rc;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use rooftile_artifact::DType;

use super::Emitter;

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Val {
    /// The same for all lanes: a scalar. Truth values are `i8`, 0 or 1.
    Uniform(Value),
    /// One per lane of the lane loop.
    Lanes(Lanes),
}

/// Lane `l` is lane `l % per_chunk` of chunk `l / per_chunk`. Lanes of the last chunk past the loop's count hold
/// anything. Truth values are integer lanes, all bits set or none.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// Type of one lane.
    pub(super) ty: Type,
    /// 128-bit vectors.
    pub(super) chunks: Rc<[Value]>,
}

/// The scalar type that holds an element.
pub(super) fn scalar_type(dtype: DType) -> Type {
    match dtype {
        DType::F64 => types::F64,
        DType::F32 => types::F32,
        DType::F16 | DType::Bf16 => types::I16,
        DType::Int { bits: 16, .. } => types::I16,
        DType::Int { bits: 32, .. } => types::I32,
        DType::Int { bits: 64, .. } => types::I64,
        _ => types::I8,
    }
}

/// The 128-bit vector of a lane type.
pub(super) fn vector_of(lane: Type) -> Type {
    lane.by(128 / lane.bits()).unwrap_or(types::I8X16)
}

/// The integer type of a type's width, lane by lane.
pub(super) fn as_int(ty: Type) -> Type {
    let lane = match ty.lane_bits() {
        8 => types::I8,
        16 => types::I16,
        32 => types::I32,
        _ => types::I64,
    };
    if ty.is_vector() { vector_of(lane) } else { lane }
}

/// Lanes of one chunk.
pub(super) fn per_chunk(lane: Type) -> usize {
    (128 / lane.bits()) as usize
}

impl Emitter<'_> {
    /// A bit cast.
    pub(super) fn cast_bits(&mut self, ty: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            return v;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, v)
    }

    /// A vector of 16 given bytes.
    pub(super) fn vector_const(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let constant = self.b.func.dfg.constants.insert(bytes.to_vec().into());
        self.b.ins().vconst(ty, constant)
    }

    /// An integer constant of a scalar or vector type, in every lane.
    pub(super) fn int_const(&mut self, ty: Type, v: i64) -> Value {
        if !ty.is_vector() {
            // Cranelift wants the bits above the type's width to be zero.
            let bits = ty.bits();
            let v = if bits < 64 { v & ((1 << bits) - 1) } else { v };
            return self.b.ins().iconst(ty, v);
        }
        let size = ty.lane_bits() as usize / 8;
        let bytes = std::array::from_fn(|i| v.to_le_bytes()[i % size]);
        self.vector_const(ty, bytes)
    }

    /// A float constant of a scalar or vector type, in every lane.
    pub(super) fn float_const(&mut self, ty: Type, v: f64) -> Value {
        let f32_bits = (v as f32).to_le_bytes();
        let f64_bits = v.to_le_bytes();
        match ty {
            types::F32 => self.b.ins().f32const(v as f32),
            types::F64 => self.b.ins().f64const(v),
            _ if ty.lane_type() == types::F32 => {
                self.vector_const(ty, std::array::from_fn(|i| f32_bits[i % 4]))
            }
            _ => self.vector_const(ty, std::array::from_fn(|i| f64_bits[i % 8])),
        }
    }

    /// An integer vector whose chunks hold `f(lane)`.
    pub(super) fn iota(&mut self, ty: Type, n: usize, f: impl Fn(usize) -> i64) -> Lanes {
        let (per, size) = (per_chunk(ty), ty.bits() as usize / 8);
        let chunks = (0..n.div_ceil(per))
            .map(|c| {
                let bytes = std::array::from_fn(|i| f(c * per + i / size).to_le_bytes()[i % size]);
                self.vector_const(vector_of(ty), bytes)
            })
            .collect();
        Lanes { ty, chunks }
    }

    /// The value as lanes of type `ty`. `bool` of one value for all lanes becomes a mask of that width.
    pub(super) fn per_lane(&mut self, v: &Val, dtype: DType, ty: Type, n: usize) -> Lanes {
        match v {
            Val::Lanes(l) if dtype == DType::Bool => self.mask_to(l, ty, n),
            Val::Lanes(l) => l.clone(),
            Val::Uniform(v) => {
                let v = if dtype == DType::Bool { self.b.ins().bmask(ty, *v) } else { *v };
                let chunk = self.b.ins().splat(vector_of(ty), v);
                Lanes { ty, chunks: std::iter::repeat_n(chunk, n.div_ceil(per_chunk(ty))).collect() }
            }
        }
    }

    /// Lane `l` as a scalar; a truth value as 0 or 1.
    pub(super) fn extract(&mut self, v: &Val, dtype: DType, l: usize) -> Value {
        match v {
            Val::Uniform(v) => *v,
            Val::Lanes(lanes) => {
                let per = per_chunk(lanes.ty);
                let lane = self.b.ins().extractlane(lanes.chunks[l / per], (l % per) as u8);
                if dtype == DType::Bool {
                    let zero = self.int_const(lanes.ty, 0);
                    return self.b.ins().icmp(IntCC::NotEqual, lane, zero);
                }
                lane
            }
        }
    }

    /// Scalars as lanes; truth values become masks of 32 bits.
    pub(super) fn build(&mut self, dtype: DType, scalars: &[Value]) -> Lanes {
        let ty = if dtype == DType::Bool { types::I32 } else { scalar_type(dtype) };
        let per = per_chunk(ty);
        let chunks = scalars
            .chunks(per)
            .map(|group| {
                let mut chunk = None;
                for (i, &v) in group.iter().enumerate() {
                    let v = if dtype == DType::Bool { self.b.ins().bmask(ty, v) } else { v };
                    chunk = Some(match chunk {
                        None if ty.bits() >= 32 => self.b.ins().scalar_to_vector(vector_of(ty), v),
                        None => {
                            let zero = self.int_const(vector_of(ty), 0);
                            self.b.ins().insertlane(zero, v, i as u8)
                        }
                        Some(chunk) => self.b.ins().insertlane(chunk, v, i as u8),
                    });
                }
                chunk.unwrap_or_else(|| self.int_const(vector_of(ty), 0))
            })
            .collect();
        Lanes { ty, chunks }
    }

    /// Does an operation lane by lane, for what has no vector form.
    pub(super) fn lane_by_lane(
        &mut self,
        operands: &[(&Val, DType)],
        result: DType,
        n: usize,
        mut f: impl FnMut(&mut Self, &[Value]) -> Value,
    ) -> Lanes {
        let mut results = Vec::with_capacity(n);
        for l in 0..n {
            let scalars: Vec<Value> = operands.iter().map(|(v, t)| self.extract(v, *t, l)).collect();
            results.push(f(self, &scalars));
        }
        self.build(result, &results)
    }

    /// Does an operation chunk by chunk.
    pub(super) fn map1(
        &mut self,
        a: &Lanes,
        ty: Type,
        mut f: impl FnMut(&mut Self, Value) -> Value,
    ) -> Lanes {
        Lanes { ty, chunks: a.chunks.iter().map(|&a| f(self, a)).collect() }
    }

    /// Does an operation chunk by chunk.
    pub(super) fn map2(
        &mut self,
        a: &Lanes,
        b: &Lanes,
        ty: Type,
        mut f: impl FnMut(&mut Self, Value, Value) -> Value,
    ) -> Lanes {
        Lanes { ty, chunks: a.chunks.iter().zip(b.chunks.iter()).map(|(&a, &b)| f(self, a, b)).collect() }
    }

    /// A mask with lanes of another width.
    pub(super) fn mask_to(&mut self, mask: &Lanes, ty: Type, n: usize) -> Lanes {
        self.resize(mask, ty, true, n)
    }

    /// Integer lanes widened (by sign or zero) or narrowed (wrapping) to the integer type `ty`.
    pub(super) fn resize(&mut self, v: &Lanes, ty: Type, signed: bool, n: usize) -> Lanes {
        let mut v = v.clone();
        while v.ty.bits() < ty.bits() {
            v = self.widen(&v, signed, n);
        }
        while v.ty.bits() > ty.bits() {
            v = self.narrow(&v);
        }
        v
    }

    fn widen(&mut self, v: &Lanes, signed: bool, n: usize) -> Lanes {
        let ty = v.ty.double_width().unwrap_or(types::I64);
        let wanted = n.div_ceil(per_chunk(ty));
        let mut chunks = Vec::with_capacity(wanted);
        for &chunk in v.chunks.iter() {
            for high in [false, true] {
                if chunks.len() == wanted {
                    break;
                }
                let ins = self.b.ins();
                chunks.push(match (signed, high) {
                    (true, false) => ins.swiden_low(chunk),
                    (true, true) => ins.swiden_high(chunk),
                    (false, false) => ins.uwiden_low(chunk),
                    (false, true) => ins.uwiden_high(chunk),
                });
            }
        }
        Lanes { ty, chunks: chunks.into() }
    }

    fn narrow(&mut self, v: &Lanes) -> Lanes {
        let ty = v.ty.half_width().unwrap_or(types::I8);
        let keep = ty.bits() as usize / 8;
        let chunks = v
            .chunks
            .chunks(2)
            .map(|pair| {
                let (low, high) = (pair[0], pair[pair.len() - 1]);
                let low = self.cast_bits(types::I8X16, low);
                let high = self.cast_bits(types::I8X16, high);
                // The low half of each lane: of `low` in the first eight bytes, of `high` in the others.
                let mask: [u8; 16] = std::array::from_fn(|i| {
                    let (half, i) = (i / 8, i % 8);
                    (half * 16 + i / keep * (2 * keep) + i % keep) as u8
                });
                let packed = self.shuffle(low, high, mask);
                self.cast_bits(vector_of(ty), packed)
            })
            .collect();
        Lanes { ty, chunks }
    }

    /// Bytes of two vectors by position.
    pub(super) fn shuffle(&mut self, a: Value, b: Value, mask: [u8; 16]) -> Value {
        let mask = self.b.func.dfg.immediates.push(mask.to_vec().into());
        self.b.ins().shuffle(a, b, mask)
    }
}

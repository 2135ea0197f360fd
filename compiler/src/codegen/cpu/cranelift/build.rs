//! Around Cranelift's builder of functions: its names for our types, and what is noted of memory.

use cranelift_codegen::ir::{BlockArg, Endianness, InstBuilder, MemFlagsData, Opcode, Type, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::FunctionBuilder;

use super::super::ssa::{At, Lane, Region, Ty};
use super::order::Written;

/// Bytes of a vector.
pub(super) const BYTES: usize = 16;

/// A function that is being built.
pub(super) struct Builder<'a> {
    pub(super) b: FunctionBuilder<'a>,
    /// Whether there is an instruction for fused products and sums.
    pub(super) fma: bool,
    /// Vector operands in memory may lie anywhere: all but those of SSE, before AVX.
    unaligned: bool,
    /// What was written so far, for the choice of an order.
    pub(super) written: Written,
}

impl<'a> Builder<'a> {
    pub(super) fn new(b: FunctionBuilder<'a>, fma: bool, unaligned: bool) -> Builder<'a> {
        Builder { b, fma, unaligned, written: Written::default() }
    }

    /// Ends the function; what is known of its instructions.
    pub(super) fn finish(self, config: TargetFrontendConfig) -> Written {
        self.b.finalize(config);
        self.written
    }

    /// The type of a value.
    pub(super) fn type_of(&self, v: Value) -> Type {
        self.b.func.dfg.value_type(v)
    }

    /// Whether a value is of floats.
    pub(super) fn is_float(&self, v: Value) -> bool {
        self.type_of(v).lane_type().is_float()
    }

    /// Whether a value is a constant.
    pub(super) fn is_constant(&self, v: Value) -> bool {
        let inst = self.b.func.dfg.value_def(v).inst();
        inst.is_some_and(|i| matches!(self.b.func.dfg.insts[i].opcode(), Opcode::Iconst | Opcode::Vconst))
    }

    /// The same bits as another type.
    pub(super) fn cast(&mut self, ty: Type, v: Value) -> Value {
        if self.type_of(v) == ty {
            return v;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, v)
    }

    /// A vector of given bytes.
    pub(super) fn vector_const(&mut self, ty: Type, bytes: Vec<u8>) -> Value {
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(ty, constant)
    }

    /// Bytes of two vectors by position.
    pub(super) fn shuffle(&mut self, a: Value, b: Value, from: impl Fn(usize) -> usize) -> Value {
        let (a, b) = (self.cast(types::I8X16, a), self.cast(types::I8X16, b));
        let mask: Vec<u8> = (0..BYTES).map(|i| from(i) as u8).collect();
        let mask = self.b.func.dfg.immediates.push(mask.into());
        self.b.ins().shuffle(a, b, mask)
    }

    /// A scalar or vector from memory.
    pub(super) fn load_type(&mut self, ty: Type, at: At<Value>) -> Value {
        let Region::Numbered(place) = at.region else {
            let flags = flags().with_aligned().with_readonly().with_can_move();
            return self.b.ins().load(ty, flags, at.base, at.displacement);
        };
        // Cranelift folds loads into `cmpps` and `cmppd` without a look at their alignment, but not through a cast.
        let hidden = !self.unaligned && ty.is_vector() && ty.lane_type().is_float();
        let loaded = if hidden { ty.as_int() } else { ty };
        let v = self.b.ins().load(loaded, flags(), at.base, at.displacement);
        if let Some(inst) = self.b.func.dfg.value_def(v).inst() {
            self.written.touches(inst, place);
        }
        self.cast(ty, v)
    }
}

/// Flags of ordinary accesses: rule 10 says that they do not trap; vectors need not be aligned.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// The scalar of a lane.
pub(super) fn lane_type(lane: Lane) -> Type {
    match lane {
        Lane::I8 => types::I8,
        Lane::I16 => types::I16,
        Lane::I32 => types::I32,
        Lane::I64 => types::I64,
        Lane::F32 => types::F32,
        Lane::F64 => types::F64,
    }
}

/// The name that Cranelift has for a type.
pub(super) fn clif_type(ty: Ty) -> Type {
    let lane = lane_type(ty.lane);
    if ty.is_vector() { vector_of(lane) } else { lane }
}

/// The vector of a lane type.
pub(super) fn vector_of(lane: Type) -> Type {
    lane.by(8 * BYTES as u32 / lane.bits()).unwrap_or(types::I8X16)
}

/// The address `bytes` further.
pub(super) fn further(at: At<Value>, bytes: usize) -> At<Value> {
    At { displacement: at.displacement + bytes as i32, ..at }
}

/// The scalar type of so many bytes, by which the first lanes of a vector are moved at once.
pub(super) fn whole_part(bytes: usize) -> Option<Type> {
    match bytes {
        8 => Some(types::F64),
        4 => Some(types::F32),
        _ => None,
    }
}

/// What is handed to a block.
pub(super) fn block_args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|v| BlockArg::Value(*v)).collect()
}

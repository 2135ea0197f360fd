//! [`Ssa`] in Cranelift's terms: vectors of 128 bits.

use cranelift_codegen::ir::condcodes::{CondCode, FloatCC, IntCC};
use cranelift_codegen::ir::{AtomicRmwOp, Block, InstBuilder, InstructionData, Opcode, Value, types};
use cranelift_frontend::Variable;

use super::super::ssa::{At, AtomicOp, Bin, Cmp, Lane, Region, Ssa, Ty, Un};
use super::build::{BYTES, Builder, block_args, clif_type, flags, further, lane_type, vector_of, whole_part};

impl Ssa for Builder<'_> {
    type Value = Value;
    type Block = Block;
    type Variable = Variable;

    fn vector_bytes(&self) -> usize {
        BYTES
    }

    fn has_fma(&self) -> bool {
        self.fma
    }

    fn ty(&self, v: Value) -> Ty {
        let ty = self.type_of(v);
        let lane = match ty.lane_type() {
            types::F32 => Lane::F32,
            types::F64 => Lane::F64,
            lane => Lane::int(lane.bytes() as usize),
        };
        Ty { lane, count: ty.lane_count() as u8 }
    }

    fn known_int(&self, v: Value) -> Option<i64> {
        let inst = self.b.func.dfg.value_def(v).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                let bits = self.type_of(v).bits();
                Some(rooftile_artifact::scalar::wrap(imm.bits(), true, bits as u8))
            }
            _ => None,
        }
    }

    fn entry(&mut self) -> [Value; 4] {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        let p = self.b.block_params(entry);
        [p[0], p[1], p[2], p[3]]
    }

    fn block(&mut self) -> Block {
        self.b.create_block()
    }

    fn block_param(&mut self, block: Block, ty: Ty) -> Value {
        self.b.append_block_param(block, clif_type(ty))
    }

    fn switch_to(&mut self, block: Block) {
        self.b.switch_to_block(block);
    }

    fn seal(&mut self, block: Block) {
        self.b.seal_block(block);
    }

    fn jump(&mut self, to: Block, args: &[Value]) {
        self.b.ins().jump(to, &block_args(args));
    }

    fn branch(&mut self, cond: Value, then: (Block, &[Value]), otherwise: (Block, &[Value])) {
        let (yes, no) = (block_args(then.1), block_args(otherwise.1));
        self.b.ins().brif(cond, then.0, &yes, otherwise.0, &no);
    }

    fn ret(&mut self) {
        self.b.ins().return_(&[]);
    }

    fn variable(&mut self, ty: Ty) -> Variable {
        self.b.declare_var(clif_type(ty))
    }

    fn def_var(&mut self, var: Variable, v: Value) {
        self.b.def_var(var, v);
    }

    fn use_var(&mut self, var: Variable) -> Value {
        self.b.use_var(var)
    }

    fn int(&mut self, ty: Ty, v: i64) -> Value {
        if ty.is_vector() {
            let size = ty.lane.bytes();
            let bytes = (0..BYTES).map(|i| v.to_le_bytes()[i % size]).collect();
            return self.vector_const(clif_type(ty), bytes);
        }
        // Cranelift wants the bits above the type's width to be zero.
        let bits = ty.lane.bits();
        let v = if bits < 64 { v & ((1 << bits) - 1) } else { v };
        self.b.ins().iconst(clif_type(ty), v)
    }

    fn float(&mut self, ty: Ty, v: f64) -> Value {
        let single = ty.lane == Lane::F32;
        match ty.is_vector() {
            false if single => self.b.ins().f32const(v as f32),
            false => self.b.ins().f64const(v),
            true if single => {
                let lane = (v as f32).to_le_bytes();
                self.vector_const(types::F32X4, (0..BYTES).map(|i| lane[i % 4]).collect())
            }
            true => {
                let lane = v.to_le_bytes();
                self.vector_const(types::F64X2, (0..BYTES).map(|i| lane[i % 8]).collect())
            }
        }
    }

    fn bytes(&mut self, ty: Ty, bytes: &[u8]) -> Value {
        self.vector_const(clif_type(ty), bytes.to_vec())
    }

    fn unary(&mut self, op: Un, a: Value) -> Value {
        let float = self.is_float(a);
        let ins = self.b.ins();
        match op {
            Un::Neg if float => ins.fneg(a),
            Un::Neg => ins.ineg(a),
            Un::Not => ins.bnot(a),
            Un::Abs if float => ins.fabs(a),
            Un::Abs => ins.iabs(a),
            Un::Floor => ins.floor(a),
            Un::Ceil => ins.ceil(a),
            Un::Nearest => ins.nearest(a),
            Un::Trunc => ins.trunc(a),
            Un::Sqrt => ins.sqrt(a),
            Un::Popcount => ins.popcnt(a),
            Un::LeadingZeros => ins.clz(a),
            Un::ReverseBits => ins.bitrev(a),
        }
    }

    fn binary(&mut self, op: Bin, a: Value, b: Value) -> Value {
        let float = self.is_float(a);
        let ins = self.b.ins();
        match op {
            Bin::Add if float => ins.fadd(a, b),
            Bin::Add => ins.iadd(a, b),
            Bin::Sub if float => ins.fsub(a, b),
            Bin::Sub => ins.isub(a, b),
            Bin::Mul if float => ins.fmul(a, b),
            Bin::Mul => ins.imul(a, b),
            Bin::Div => ins.fdiv(a, b),
            Bin::UDiv => ins.udiv(a, b),
            Bin::URem => ins.urem(a, b),
            Bin::SDiv => ins.sdiv(a, b),
            Bin::And => ins.band(a, b),
            Bin::Or => ins.bor(a, b),
            Bin::Xor => ins.bxor(a, b),
            Bin::SMin => ins.smin(a, b),
            Bin::SMax => ins.smax(a, b),
            Bin::UMin => ins.umin(a, b),
            Bin::UMax => ins.umax(a, b),
            Bin::Shl => ins.ishl(a, b),
            Bin::SShr => ins.sshr(a, b),
            Bin::UShr => ins.ushr(a, b),
        }
    }

    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.b.ins().fma(a, b, c)
    }

    fn compare(&mut self, cmp: Cmp, a: Value, b: Value) -> Value {
        if self.is_float(a) {
            let cc = match cmp {
                Cmp::Eq => FloatCC::Equal,
                Cmp::Ne => FloatCC::NotEqual,
                Cmp::Lt | Cmp::ULt => FloatCC::LessThan,
                Cmp::Le | Cmp::ULe => FloatCC::LessThanOrEqual,
                Cmp::OrderedNe => FloatCC::OrderedNotEqual,
            };
            return self.b.ins().fcmp(cc, a, b);
        }
        let cc = match cmp {
            Cmp::Eq => IntCC::Equal,
            Cmp::Ne | Cmp::OrderedNe => IntCC::NotEqual,
            Cmp::Lt => IntCC::SignedLessThan,
            Cmp::Le => IntCC::SignedLessThanOrEqual,
            Cmp::ULt => IntCC::UnsignedLessThan,
            Cmp::ULe => IntCC::UnsignedLessThanOrEqual,
        };
        // Constants on the right, where instructions take them.
        if self.is_constant(a) && !self.is_constant(b) {
            return self.b.ins().icmp(cc.swap_args(), b, a);
        }
        self.b.ins().icmp(cc, a, b)
    }

    fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        self.b.ins().select(cond, a, b)
    }

    fn blend(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let mask = self.cast(self.type_of(a), mask);
        self.b.ins().bitselect(mask, a, b)
    }

    fn bitcast(&mut self, ty: Ty, v: Value) -> Value {
        self.cast(clif_type(ty), v)
    }

    fn extend(&mut self, lane: Lane, v: Value, signed: bool) -> Value {
        let ty = lane_type(lane);
        if signed { self.b.ins().sextend(ty, v) } else { self.b.ins().uextend(ty, v) }
    }

    fn reduce(&mut self, lane: Lane, v: Value) -> Value {
        self.b.ins().ireduce(lane_type(lane), v)
    }

    fn mask(&mut self, lane: Lane, v: Value) -> Value {
        self.b.ins().bmask(lane_type(lane), v)
    }

    fn to_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        let ty = if self.type_of(v).is_vector() { vector_of(lane_type(lane)) } else { lane_type(lane) };
        if signed { self.b.ins().fcvt_to_sint_sat(ty, v) } else { self.b.ins().fcvt_to_uint_sat(ty, v) }
    }

    fn from_int(&mut self, lane: Lane, signed: bool, v: Value) -> Value {
        let ty = if self.type_of(v).is_vector() { vector_of(lane_type(lane)) } else { lane_type(lane) };
        if signed { self.b.ins().fcvt_from_sint(ty, v) } else { self.b.ins().fcvt_from_uint(ty, v) }
    }

    fn promote(&mut self, v: Value) -> Value {
        self.b.ins().fpromote(types::F64, v)
    }

    fn demote(&mut self, v: Value) -> Value {
        self.b.ins().fdemote(types::F32, v)
    }

    fn splat(&mut self, v: Value) -> Value {
        let ty = vector_of(self.type_of(v));
        self.b.ins().splat(ty, v)
    }

    fn lane_zero(&mut self, v: Value) -> Value {
        let (lane, ty) = (self.type_of(v), vector_of(self.type_of(v)));
        if lane.bits() >= 32 {
            return self.b.ins().scalar_to_vector(ty, v);
        }
        let zero = self.vector_const(ty, vec![0; BYTES]);
        self.b.ins().insertlane(zero, v, 0)
    }

    fn extract(&mut self, v: Value, l: usize) -> Value {
        self.b.ins().extractlane(v, l as u8)
    }

    fn insert(&mut self, v: Value, s: Value, l: usize) -> Value {
        self.b.ins().insertlane(v, s, l as u8)
    }

    fn widen(&mut self, v: Value, signed: bool, upper: bool) -> Value {
        let ins = self.b.ins();
        match (signed, upper) {
            (true, false) => ins.swiden_low(v),
            (true, true) => ins.swiden_high(v),
            (false, false) => ins.uwiden_low(v),
            (false, true) => ins.uwiden_high(v),
        }
    }

    fn narrow(&mut self, low: Value, high: Value) -> Value {
        let keep = self.ty(low).lane.bytes() / 2;
        // The low half of each lane: of `low` in the first eight bytes, of `high` in the others.
        let packed = self.shuffle(low, high, |i| {
            let (half, i) = (i / 8, i % 8);
            half * BYTES + i / keep * (2 * keep) + i % keep
        });
        self.cast(vector_of(lane_type(Lane::int(keep))), packed)
    }

    fn widen_to_f64(&mut self, v: Value, upper: bool) -> Value {
        let low = if upper {
            let moved = self.shuffle(v, v, |i| 8 + i % 8);
            self.cast(self.type_of(v), moved)
        } else {
            v
        };
        if self.is_float(v) {
            return self.b.ins().fvpromote_low(low);
        }
        let wide = self.b.ins().swiden_low(low);
        self.b.ins().fcvt_from_sint(types::F64X2, wide)
    }

    fn narrow_f64(&mut self, low: Value, high: Option<Value>) -> Value {
        let low = self.b.ins().fvdemote(low);
        let Some(high) = high else { return low };
        let high = self.b.ins().fvdemote(high);
        let both = self.shuffle(low, high, |i| if i < 8 { i } else { i + 8 });
        self.cast(types::F32X4, both)
    }

    fn all_true(&mut self, v: Value) -> Value {
        self.b.ins().vall_true(v)
    }

    fn any_true(&mut self, v: Value) -> Value {
        self.b.ins().vany_true(v)
    }

    fn load(&mut self, ty: Ty, at: At<Value>) -> Value {
        self.load_type(clif_type(ty), at)
    }

    fn load_part(&mut self, ty: Ty, n: usize, at: At<Value>) -> Value {
        let (vector, lane, size) = (clif_type(ty), lane_type(ty.lane), ty.lane.bytes());
        if let Some(wide) = whole_part(n * size) {
            let part = self.load_type(wide, at);
            let part = self.b.ins().scalar_to_vector(vector_of(wide), part);
            return self.cast(vector, part);
        }
        let mut chunk = self.vector_const(vector, vec![0; BYTES]);
        for l in 0..n {
            let v = self.load_type(lane, further(at, l * size));
            chunk = self.insert(chunk, v, l);
        }
        chunk
    }

    fn store(&mut self, v: Value, at: At<Value>) {
        let inst = self.b.ins().store(flags(), v, at.base, at.displacement);
        if let Region::Numbered(place) = at.region {
            self.written.touches(inst, place);
        }
    }

    fn store_part(&mut self, v: Value, n: usize, at: At<Value>) {
        let size = self.ty(v).lane.bytes();
        if let Some(wide) = whole_part(n * size) {
            let part = self.cast(vector_of(wide), v);
            let part = self.extract(part, 0);
            return self.store(part, at);
        }
        for l in 0..n {
            let lane = self.extract(v, l);
            self.store(lane, further(at, l * size));
        }
    }

    fn atomic(&mut self, op: AtomicOp, v: Value, at: At<Value>) -> Value {
        let op = match op {
            AtomicOp::Add => AtomicRmwOp::Add,
            AtomicOp::And => AtomicRmwOp::And,
            AtomicOp::Or => AtomicRmwOp::Or,
            AtomicOp::Xor => AtomicRmwOp::Xor,
            AtomicOp::SMin => AtomicRmwOp::Smin,
            AtomicOp::SMax => AtomicRmwOp::Smax,
            AtomicOp::UMin => AtomicRmwOp::Umin,
            AtomicOp::UMax => AtomicRmwOp::Umax,
        };
        let place = match at.displacement {
            0 => at.base,
            d => self.b.ins().iadd_imm_s(at.base, i64::from(d)),
        };
        // No place is noted: in the order of instructions it stands against every other access.
        let ty = self.type_of(v);
        self.b.ins().atomic_rmw(ty, flags().with_aligned(), op, place, v)
    }
}

//! What the writer of kernels writes with: values in single assignment, vectors of one width, blocks with parameters.
//! Each code generator implements [`Ssa`]; what a nest means is said once, by the writer.

/// The type of one lane. Integers have no sign; operators have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lane {
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Lane {
    /// Bytes.
    pub(super) fn bytes(self) -> usize {
        match self {
            Lane::I8 => 1,
            Lane::I16 => 2,
            Lane::I32 | Lane::F32 => 4,
            Lane::I64 | Lane::F64 => 8,
        }
    }

    /// Bits.
    pub(super) fn bits(self) -> u32 {
        8 * self.bytes() as u32
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Lane::F32 | Lane::F64)
    }

    /// The integer of its width.
    pub(super) fn as_int(self) -> Lane {
        Lane::int(self.bytes())
    }

    /// The integer of so many bytes: 1, 2, 4 or 8.
    pub(super) fn int(bytes: usize) -> Lane {
        match bytes {
            1 => Lane::I8,
            2 => Lane::I16,
            4 => Lane::I32,
            _ => Lane::I64,
        }
    }
}

/// A scalar, or a vector of the writer's width: `count` lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ty {
    pub(super) lane: Lane,
    /// 1 for a scalar.
    pub(super) count: u8,
}

impl Ty {
    /// The scalar type of a lane.
    pub(super) const fn scalar(lane: Lane) -> Ty {
        Ty { lane, count: 1 }
    }

    /// Vectors of `bytes` bytes.
    pub(super) fn vector(lane: Lane, bytes: usize) -> Ty {
        Ty { lane, count: (bytes / lane.bytes()) as u8 }
    }

    pub(super) fn is_vector(self) -> bool {
        self.count > 1
    }

    /// The same shape of integers of the lanes' width.
    pub(super) fn as_int(self) -> Ty {
        Ty { lane: self.lane.as_int(), ..self }
    }

    pub(super) fn bytes(self) -> usize {
        self.lane.bytes() * usize::from(self.count)
    }
}

/// Operators of one operand, on scalars; on vectors all but the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Un {
    /// Integers and floats; of floats, the sign bit.
    Neg,
    /// Complement of integers.
    Not,
    /// Integers (wrapping) and floats.
    Abs,
    Floor,
    Ceil,
    /// To nearest, ties to even.
    Nearest,
    Trunc,
    Sqrt,
    /// Number of set bits.
    Popcount,
    /// The width for zero.
    LeadingZeros,
    ReverseBits,
}

/// Operators of two operands of one type, which is the result's. Those marked *scalar* take no vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bin {
    /// Integers wrap.
    Add,
    Sub,
    /// Of integers, vectors of 16 to 64 bits.
    Mul,
    /// Floats.
    Div,
    /// *Scalar*; 32 and 64 bits; the divisor is not zero.
    UDiv,
    /// As `UDiv`.
    URem,
    /// As `UDiv`; nor -1 where the dividend may be the least integer.
    SDiv,
    And,
    Or,
    Xor,
    /// Integers of 8 to 32 bits; scalars of 64 too.
    SMin,
    SMax,
    UMin,
    UMax,
    /// The count is a scalar integer of any type, below the width, for all lanes.
    Shl,
    /// As `Shl`; the sign comes in.
    SShr,
    /// As `Shl`; zeros come in.
    UShr,
}

impl Bin {
    /// Whether the operands may change places.
    pub(super) fn commutes(self) -> bool {
        use Bin as B;
        matches!(self, B::Add | B::Mul | B::And | B::Or | B::Xor | B::SMin | B::SMax | B::UMin | B::UMax)
    }
}

/// Comparisons. Floats are compared ordered but for `Ne`, which holds of NaN; they know no `U..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    /// Unsigned.
    ULt,
    /// Unsigned.
    ULe,
    /// Floats: both numbers, and different.
    OrderedNe,
}

/// What is done to a word of memory in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AtomicOp {
    Add,
    And,
    Or,
    Xor,
    SMin,
    SMax,
    UMin,
    UMax,
}

/// The memory that an access is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Region {
    /// Never written during the call; naturally aligned; may be read at any time.
    Constant,
    /// Memory with a number; different numbers do not overlap where one of them is written.
    Numbered(u32),
}

/// An address: a 64-bit integer and a displacement in bytes. Accesses need not be aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<V> {
    pub(super) base: V,
    pub(super) displacement: i32,
    pub(super) region: Region,
}

/// Lanes that lie some elements apart, in memory that is there as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// From one lane to the next.
    pub(super) step: usize,
    /// The first lane.
    pub(super) first: usize,
    /// Elements that may be touched.
    pub(super) len: usize,
}

/// A function that is being written. Truth values of scalars are `I8`, 0 or 1; those of vectors are integer lanes, all
/// bits set or none.
pub(super) trait Ssa {
    /// A value.
    type Value: Copy + PartialEq + std::fmt::Debug;
    /// A block of instructions.
    type Block: Copy;
    /// Something that is assigned several times.
    type Variable: Copy + std::fmt::Debug;

    /// Bytes of a vector.
    fn vector_bytes(&self) -> usize;
    /// Whether [`Ssa::fma`] has an instruction.
    fn has_fma(&self) -> bool;
    /// A value's type.
    fn ty(&self, v: Self::Value) -> Ty;
    /// The value of a scalar integer constant, with its sign.
    fn known_int(&self, v: Self::Value) -> Option<i64>;

    /// The function's parameters `args`, `phase`, `begin` and `end`, 64-bit integers. Called first, once; writing then
    /// goes on in the first block.
    fn entry(&mut self) -> [Self::Value; 4];
    /// A block of its own.
    fn block(&mut self) -> Self::Block;
    /// A parameter of a block that nothing jumps to yet.
    fn block_param(&mut self, block: Self::Block, ty: Ty) -> Self::Value;
    /// Writing goes on in a block, after those that jump to it forward were written.
    fn switch_to(&mut self, block: Self::Block);
    /// As [`Ssa::switch_to`], of a block that is jumped to from its own end: a loop.
    fn switch_to_loop(&mut self, block: Self::Block) {
        self.switch_to(block);
    }
    /// All jumps to a block are written.
    fn seal(&mut self, block: Self::Block);
    /// Ends the current block.
    fn jump(&mut self, to: Self::Block, args: &[Self::Value]);
    /// Ends the current block: where `cond` is not 0, goes to the first block, else to the second.
    fn branch(
        &mut self,
        cond: Self::Value,
        then: (Self::Block, &[Self::Value]),
        otherwise: (Self::Block, &[Self::Value]),
    );
    /// Ends the current block and the function.
    fn ret(&mut self);

    /// Something that is assigned several times.
    fn variable(&mut self, ty: Ty) -> Self::Variable;
    /// Assigns.
    fn def_var(&mut self, var: Self::Variable, v: Self::Value);
    /// The value last assigned, on whatever way.
    fn use_var(&mut self, var: Self::Variable) -> Self::Value;

    /// An integer in every lane, wrapped to the type's width.
    fn int(&mut self, ty: Ty, v: i64) -> Self::Value;
    /// A float in every lane, rounded to the type.
    fn float(&mut self, ty: Ty, v: f64) -> Self::Value;
    /// A vector of given bytes.
    fn bytes(&mut self, ty: Ty, bytes: &[u8]) -> Self::Value;
    /// One operand.
    fn unary(&mut self, op: Un, a: Self::Value) -> Self::Value;
    /// Two operands.
    fn binary(&mut self, op: Bin, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a * b + c` with one rounding.
    fn fma(&mut self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// A float of the same magnitude, and whether it has the other sign, so that a float and its negation give the same one
    /// where they are known to be that.
    fn signs_apart(&mut self, a: Self::Value) -> (Self::Value, bool) {
        (a, false)
    }
    /// Whether [`Ssa::dot`] has an instruction.
    fn has_dots(&self) -> bool {
        false
    }
    /// To each 32-bit lane of a sum the products of its four bytes in two other vectors, whose bytes are without sign in one
    /// and with sign in the other. `None` where that is no instruction.
    fn dot(
        &mut self,
        _sum: Self::Value,
        _unsigned: Self::Value,
        _signed: Self::Value,
    ) -> Option<Self::Value> {
        None
    }
    /// `a * 2^k` of an integer `k`, both floats of one type, rounded once. `None` where that is no instruction.
    fn scaled(&mut self, _a: Self::Value, _k: Self::Value) -> Option<Self::Value> {
        None
    }
    /// Whether [`Ssa::scaled`] and [`Ssa::within`] are instructions.
    fn has_within(&self) -> bool {
        false
    }
    /// `a` where its magnitude is at most that of `limit`, else `limit` with the sign of `a`, also where `a` is NaN. Asked for
    /// where there [is](Ssa::has_within) such an instruction.
    fn within(&mut self, a: Self::Value, _limit: Self::Value) -> Self::Value {
        a
    }
    /// `1 / a`, or with `root` `1 / sqrt(a)`, of f32 to 14 bits, exact at zero and infinity. `None` where that is no
    /// instruction.
    fn estimate(&mut self, _root: bool, _a: Self::Value) -> Option<Self::Value> {
        None
    }
    /// `k` and `m` of `a = 2^k m` with `m` from 3/4 to 3/2, both floats of its type; of zero and infinity `m` is 1 and `k`
    /// infinite, of NaN and of what is less than zero `m` is NaN. `None` where that is no instruction.
    fn parts(&mut self, _a: Self::Value) -> Option<(Self::Value, Self::Value)> {
        None
    }
    /// A truth value, or one per lane.
    fn compare(&mut self, cmp: Cmp, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a` where the scalar truth value holds, else `b`: scalars or vectors.
    fn select(&mut self, cond: Self::Value, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a` in lanes where the mask, of the lanes' width, is set, else `b`.
    fn blend(&mut self, mask: Self::Value, a: Self::Value, b: Self::Value) -> Self::Value;
    /// The same bits as another type of the same width.
    fn bitcast(&mut self, ty: Ty, v: Self::Value) -> Self::Value;
    /// A scalar integer as a wider one.
    fn extend(&mut self, lane: Lane, v: Self::Value, signed: bool) -> Self::Value;
    /// A scalar integer as a narrower one.
    fn reduce(&mut self, lane: Lane, v: Self::Value) -> Self::Value;
    /// A truth value as an integer of all bits or none.
    fn mask(&mut self, lane: Lane, v: Self::Value) -> Self::Value;
    /// A float truncated toward zero and clamped, NaN as 0: scalars to 32 or 64 bits, vectors of f32 to 32.
    fn to_int(&mut self, lane: Lane, signed: bool, v: Self::Value) -> Self::Value;
    /// Rounded: scalars of 32 and 64 bits to any float, vectors of 32 bits to f32.
    #[expect(clippy::wrong_self_convention, reason = "the builder is no integer")]
    fn from_int(&mut self, lane: Lane, signed: bool, v: Self::Value) -> Self::Value;
    /// A scalar f32 as f64.
    fn promote(&mut self, v: Self::Value) -> Self::Value;
    /// A scalar f64 as f32.
    fn demote(&mut self, v: Self::Value) -> Self::Value;
    /// A scalar in every lane.
    fn splat(&mut self, v: Self::Value) -> Self::Value;
    /// A scalar in lane 0, anything in the others.
    fn lane_zero(&mut self, v: Self::Value) -> Self::Value;
    /// Lane `l` of a vector.
    fn extract(&mut self, v: Self::Value, l: usize) -> Self::Value;
    /// Scalars, one or more, as the first lanes of a vector; the other lanes are anything.
    fn build(&mut self, scalars: &[Self::Value]) -> Self::Value {
        let mut vector = self.lane_zero(scalars[0]);
        for (l, &s) in scalars.iter().enumerate().skip(1) {
            vector = self.insert(vector, s, l);
        }
        vector
    }
    /// Lanes `from..from + n` of a vector followed by another, at most a vector of them, as the first lanes; without
    /// `high` those beyond `low` are not among them. The other lanes are anything.
    fn window(&mut self, low: Self::Value, high: Option<Self::Value>, from: usize, n: usize) -> Self::Value {
        let per = usize::from(self.ty(low).count);
        let lanes: Vec<Self::Value> = (from..from + n)
            .map(|l| match high {
                Some(high) if l >= per => self.extract(high, l - per),
                _ => self.extract(low, l % per),
            })
            .collect();
        self.build(&lanes)
    }
    /// Whether [`Ssa::transpose`] is better than lane by lane for such lanes.
    fn can_transpose(&self, _lane: Lane) -> bool {
        false
    }
    /// As many vectors as they have lanes: lane `r` of result `c` is lane `c` of vector `r`.
    fn transpose(&mut self, rows: &[Self::Value]) -> Vec<Self::Value> {
        let columns = 0..rows.len();
        columns
            .map(|c| {
                let lanes: Vec<Self::Value> = rows.iter().map(|v| self.extract(*v, c)).collect();
                self.build(&lanes)
            })
            .collect()
    }
    /// The vector with lane `l` replaced.
    fn insert(&mut self, v: Self::Value, s: Self::Value, l: usize) -> Self::Value;
    /// The lower or upper half of the integer lanes, at twice the width.
    fn widen(&mut self, v: Self::Value, signed: bool, upper: bool) -> Self::Value;
    /// The integer lanes of two vectors, wrapped to half the width.
    fn narrow(&mut self, low: Self::Value, high: Self::Value) -> Self::Value;
    /// The lower or upper half of the lanes, f32 or signed 32-bit integers, as f64.
    fn widen_to_f64(&mut self, v: Self::Value, upper: bool) -> Self::Value;
    /// The f64 lanes of two vectors as f32; without `high` the upper half is anything.
    fn narrow_f64(&mut self, low: Self::Value, high: Option<Self::Value>) -> Self::Value;
    /// f16 as f32: a scalar, or the lower or upper half of the lanes. `None` where that is no instruction.
    fn widen_f16(&mut self, _v: Self::Value, _upper: bool) -> Option<Self::Value> {
        None
    }
    /// f32 as f16, rounded to nearest even: a scalar, or the lanes of two vectors; without `high` the upper half is
    /// anything. `None` where that is no instruction.
    fn narrow_f16(&mut self, _low: Self::Value, _high: Option<Self::Value>) -> Option<Self::Value> {
        None
    }
    /// Lanes of 32 bits shifted by `Shl` or `UShr`, each by a count of its own below 32.
    fn shift_each(&mut self, op: Bin, v: Self::Value, counts: &[u8]) -> Self::Value {
        if op == Bin::Shl {
            let ty = self.ty(v);
            let powers: Vec<u8> = counts.iter().flat_map(|c| (1u32 << c).to_le_bytes()).collect();
            let powers = self.bytes(ty, &powers);
            return self.binary(Bin::Mul, v, powers);
        }
        let lanes: Vec<Self::Value> = counts
            .iter()
            .enumerate()
            .map(|(l, c)| {
                let (lane, count) = (self.extract(v, l), self.int(Ty::scalar(Lane::I32), i64::from(*c)));
                self.binary(op, lane, count)
            })
            .collect();
        self.build(&lanes)
    }
    /// Whether [`Ssa::bytes_from_bits`] is an instruction.
    fn has_bytes_from_bits(&self) -> bool {
        false
    }
    /// Of each 64-bit lane of a vector eight bytes, each of which begins at a bit of its own, counted from the lane's lowest.
    /// Asked for where there [is](Ssa::has_bytes_from_bits) such an instruction.
    fn bytes_from_bits(&mut self, words: Self::Value, _from: &[u8]) -> Self::Value {
        words
    }
    /// How many lanes of 32 bits [`Ssa::look_up`] knows; 0 where there is no instruction.
    fn looked_up(&self) -> usize {
        0
    }
    /// Lanes of a table of 32-bit lanes, by the low bits of numbers: as many as count the table's.
    fn look_up(&mut self, table: Self::Value, _numbers: Self::Value) -> Self::Value {
        table
    }
    /// Whether every bit of an integer vector of masks is set, as a truth value.
    fn all_true(&mut self, v: Self::Value) -> Self::Value;
    /// Whether any bit of an integer vector of masks is set, as a truth value.
    fn any_true(&mut self, v: Self::Value) -> Self::Value;

    /// A scalar or a whole vector.
    fn load(&mut self, ty: Ty, at: At<Self::Value>) -> Self::Value;
    /// The first `n` lanes, fewer than all, of a vector; nothing past them is touched. The other lanes are anything.
    fn load_part(&mut self, ty: Ty, n: usize, at: At<Self::Value>) -> Self::Value;
    /// Whether [`Ssa::interleave`] is better than lane by lane for such lanes.
    fn can_interleave(&self, _lane: Lane) -> bool {
        false
    }
    /// The lanes of two vectors in turn, as two vectors.
    fn interleave(&mut self, a: Self::Value, b: Self::Value) -> [Self::Value; 2] {
        let per = usize::from(self.ty(a).count);
        [0, per / 2].map(|from| {
            let lanes: Vec<Self::Value> = (2 * from..2 * from + per)
                .map(|l| self.extract(if l % 2 == 0 { a } else { b }, l / 2))
                .collect();
            self.build(&lanes)
        })
    }
    /// Of two vectors the lanes with even numbers, or with `odd` 1 the others; as good as [`Ssa::interleave`].
    fn every_other(&mut self, [a, b]: [Self::Value; 2], odd: usize) -> Self::Value {
        let per = usize::from(self.ty(a).count);
        let of = |l: usize| (if l < per { a } else { b }, l % per);
        let lanes: Vec<Self::Value> = (0..per)
            .map(|l| {
                let (v, l) = of(2 * l + odd);
                self.extract(v, l)
            })
            .collect();
        self.build(&lanes)
    }
    /// The first `n` lanes of a vector, from a stretch of memory that begins at an address. The other lanes are anything.
    /// `None` where nothing is better than lane by lane.
    fn load_strided(
        &mut self,
        _ty: Ty,
        _n: usize,
        _stretch: Stretch,
        _at: At<Self::Value>,
    ) -> Option<Self::Value> {
        None
    }
    /// A scalar or a whole vector.
    fn store(&mut self, v: Self::Value, at: At<Self::Value>);
    /// The first `n` lanes, fewer than all, of a vector; nothing past them is touched.
    fn store_part(&mut self, v: Self::Value, n: usize, at: At<Self::Value>);
    /// Whether [`Ssa::load_masked`] and [`Ssa::store_masked`] have instructions.
    fn has_masks(&self) -> bool {
        false
    }
    /// The lanes of a vector whose masks are set; memory of others is not touched, and they are zero.
    fn load_masked(&mut self, ty: Ty, _mask: Self::Value, at: At<Self::Value>) -> Self::Value {
        self.load(ty, at)
    }
    /// The first `n` lanes, of 32 or 64 bits, each `scale` (1, 2, 4 or 8) times its number from an address: numbers of 32
    /// bits with their signs, or one vector or two of 64. The other lanes are anything. `None` where that is no instruction.
    fn gather(
        &mut self,
        _ty: Ty,
        _n: usize,
        _numbers: &[Self::Value],
        _scale: u8,
        _at: At<Self::Value>,
    ) -> Option<Self::Value> {
        None
    }
    /// The lanes of a vector whose masks are set; memory of others is not touched.
    fn store_masked(&mut self, v: Self::Value, _mask: Self::Value, at: At<Self::Value>) {
        self.store(v, at);
    }
    /// Whether [`Ssa::store_past_caches`] has an instruction.
    fn can_pass_caches(&self) -> bool {
        false
    }
    /// A whole vector to an address that is a multiple of its bytes, past the caches: others see it after a fence.
    fn store_past_caches(&mut self, v: Self::Value, at: At<Self::Value>) {
        self.store(v, at);
    }
    /// Whether [`Ssa::prefetch`] has an instruction.
    fn can_prefetch(&self) -> bool {
        false
    }
    /// What lies at an address is soon read: it may be brought to the second-level cache. Any address will do.
    fn prefetch(&mut self, _at: At<Self::Value>) {}
    /// All stores before it are seen by others before those after it.
    fn fence(&mut self) {}
    /// Changes a 32- or 64-bit word in one step; the value before.
    fn atomic(&mut self, op: AtomicOp, v: Self::Value, at: At<Self::Value>) -> Self::Value;
}

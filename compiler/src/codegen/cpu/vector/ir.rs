//! The function between the writer and the machine: instructions in single assignment, in blocks.

use indexmap::IndexSet;

use super::super::ssa::{AtomicOp, Bin, Cmp, Region, Ty, Un};

/// An instruction and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct Value(pub(super) u32);

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct Block(pub(super) u32);

impl Value {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Block {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an instruction does; operands are in [`Inst::args`], types in [`Inst::ty`] and in the operands'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// A parameter of a block.
    Param(Block),
    /// A parameter of the function.
    Arg(u8),
    /// An integer in every lane, sign-extended from the lane.
    Int(i64),
    /// The bits of a float in every lane.
    Float(u64),
    /// A vector of the pool of constants.
    Bytes(u32),
    Un(Un),
    Bin(Bin),
    /// A product and a sum with one rounding, `negated` each before they are added up.
    Fma {
        negated: Negated,
    },
    /// To each 32-bit lane of the first operand the products of its four bytes, without sign in the second and with sign in
    /// the third. AVX-512 VNNI.
    Dot,
    /// `a < b ? a : b` of floats, as the instruction has it.
    Lesser,
    /// `b < a ? a : b` of floats, as the instruction has it.
    Greater,
    /// `a * 2^k` of an integer `k`. AVX-512.
    Scale,
    /// `a` where its magnitude is at most that of `b`, else, also of NaN, `b` with the sign of `a`. AVX-512.
    Within,
    /// `1 / a`, or `1 / sqrt(a)`, to 14 bits, of f32. AVX-512.
    Estimate {
        root: bool,
    },
    /// `k` of `2^k m` with `m` from 1 to 2, as a float; of zero and infinity, infinite. AVX-512.
    Exponent,
    /// `m` of `2^k m` with `m` from 3/4 to 3/2; 1 of zero and infinity, NaN of numbers less than zero. AVX-512.
    Significand,
    Cmp(Cmp),
    Select,
    Blend,
    Bitcast,
    Extend {
        signed: bool,
    },
    Reduce,
    Mask,
    /// Truncation to integers; out of range, the least integer, without sign the greatest. Without sign: AVX-512.
    Truncate {
        signed: bool,
    },
    /// From integers; without sign: AVX-512.
    FromInt {
        signed: bool,
    },
    Promote,
    Demote,
    Splat,
    LaneZero,
    Extract(u8),
    Insert(u8),
    /// As `Insert`, of a lane of the lower 128 bits; the upper ones are anything.
    InsertLow(u8),
    /// The lower halves of two vectors.
    Join,
    /// The first vector with 128 bits, counted so, replaced by the lower ones of the second.
    PutPiece(u8),
    Widen {
        signed: bool,
        upper: bool,
    },
    /// The first quarter of a vector of bytes, as 32 bits.
    WidenBytes {
        signed: bool,
    },
    Narrow,
    WidenToF64 {
        upper: bool,
    },
    /// One operand or two.
    NarrowF64,
    /// f16 as f32: a scalar, or half of the lanes.
    WidenF16 {
        upper: bool,
    },
    /// f32 as f16: a scalar, or the lanes of one vector or two.
    NarrowF16,
    AllTrue,
    /// Whether any bit is set.
    AnyTrue,
    /// Products of the even 32-bit lanes, without sign, in 64 bits.
    MulEven,
    /// All bytes moved down by so many within each half of 128 bits, zeros coming in.
    BytesDown(u8),
    /// 128 bits, counted so, moved down; the others are anything.
    Piece(u8),
    /// In each 128 bits the lanes of the lower or upper 64, of two vectors in turn.
    Unpack {
        upper: bool,
    },
    /// In each 128 bits the bytes of the second operand from there on, then those of the first.
    Align(u8),
    /// Lanes of 32 or 64 bits of the second operand from there on, then those of the first. 512 bits.
    AlignLanes(u8),
    /// Two pieces of 128 bits of the first operand, then two of the second, chosen by 2 bits each. 512 bits.
    Pieces(u8),
    /// Lanes of 32 or 64 bits of the first operand and then of the third, chosen by the numbers in the second. 512 bits.
    Permute,
    /// Lanes of 32 bits, `Shl` or `UShr` by the counts in the second operand.
    ShiftEach(Bin),
    /// Bytes of each 64-bit word of the second operand, which begin at the bits that the first one's bytes say.
    Multishift,
    /// Lanes of 32 bits of the second operand, by the low bits of the numbers in the first.
    LookUp,
    /// A bit per lane: an all-ones lane of the vector is 1, one of zeros 0. These and all others of bits: AVX-512.
    BitsOf,
    /// Bits that are known.
    Bits(u64),
    /// A comparison of lanes.
    CmpBits(Cmp),
    /// `And`, `Or`, `Xor` of bits.
    BinBits(Bin),
    NotBits,
    /// The lower or upper half of the bits.
    HalfBits {
        upper: bool,
    },
    /// Bits of as many lanes as both operands have.
    JoinBits,
    /// Whether all are set.
    AllBits,
    /// Whether any is set.
    AnyBits,
    /// A lane of all ones for each bit that is set.
    Spread,
    /// By the first operand's bits, lanes of the second or of the third.
    BlendBits,
    /// `args[0]` is the address's base.
    Load {
        displacement: i32,
        region: Region,
    },
    /// The first lanes, by a mask of the pool of constants; the others are zero.
    LoadMasked {
        displacement: i32,
        region: Region,
        mask: u32,
    },
    /// The first bytes: 16 or 32, fewer than all; the others are zero.
    LoadLow {
        displacement: i32,
        region: Region,
        bytes: u8,
    },
    /// The lanes whose bits, `args[1]`, are set; the others are zero.
    LoadBits {
        displacement: i32,
        region: Region,
    },
    /// Lanes of 32 or 64 bits, each `scale` times its number in `args[1]` from the base: of those whose bits, `args[2]`, are
    /// set; the others are zero. Of 32 bits by numbers of 64 the lower half; the upper one is anything. AVX-512.
    Gather {
        displacement: i32,
        region: Region,
        scale: u8,
    },
    /// `args[0]` is the base, `args[1]` what is stored.
    Store {
        displacement: i32,
        region: Region,
    },
    /// As `Store`, of a vector, past the caches.
    StorePast {
        displacement: i32,
        region: Region,
    },
    /// What lies at an address, whether or not there is memory, is to be brought to the second-level cache.
    Prefetch {
        displacement: i32,
        region: Region,
    },
    /// Stores before it are seen by others before those after it.
    Fence,
    /// As `Store`, of the lanes whose bits, `args[2]`, are set.
    StoreBits {
        displacement: i32,
        region: Region,
    },
    /// The first bytes of a vector: 1, 2, 4, 8, 16 or 32.
    StoreLow {
        displacement: i32,
        region: Region,
        bytes: u8,
    },
    /// As `Store`.
    Atomic {
        op: AtomicOp,
        displacement: i32,
        region: Region,
    },
}

/// Which parts of a fused multiply-add change their sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Negated {
    pub(super) product: bool,
    pub(super) sum: bool,
}

/// How an instruction touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// Bytes from the base.
    pub(super) displacement: i32,
    pub(super) region: Region,
    pub(super) writes: bool,
}

impl Op {
    /// The memory that an instruction reads or writes; `args[0]` is the address's base.
    pub(super) fn memory(self) -> Option<Access> {
        match self {
            Op::Load { displacement, region }
            | Op::LoadMasked { displacement, region, .. }
            | Op::LoadBits { displacement, region }
            | Op::Gather { displacement, region, .. }
            | Op::Prefetch { displacement, region }
            | Op::LoadLow { displacement, region, .. } => {
                Some(Access { displacement, region, writes: false })
            }
            Op::Store { displacement, region }
            | Op::StorePast { displacement, region }
            | Op::StoreBits { displacement, region }
            | Op::StoreLow { displacement, region, .. }
            | Op::Atomic { displacement, region, .. } => Some(Access { displacement, region, writes: true }),
            _ => None,
        }
    }

    /// Whether it changes memory, or when others see that.
    pub(super) fn writes(self) -> bool {
        self == Op::Fence || self.memory().is_some_and(|access| access.writes)
    }

    /// Whether it is done though nobody uses its value.
    pub(super) fn acts(self) -> bool {
        self.writes() || matches!(self, Op::Prefetch { .. })
    }

    /// Whether it may be done anywhere, any number of times.
    pub(super) fn is_pure(self) -> bool {
        match self {
            Op::Param(_) | Op::Arg(_) | Op::Fence => false,
            _ => self.memory().is_none_or(|a| a.region == Region::Constant && !a.writes),
        }
    }

    /// Whether its value is a bit per lane, whatever the type says of the lanes.
    pub(super) fn makes_bits(self) -> bool {
        matches!(
            self,
            Op::BitsOf
                | Op::Bits(_)
                | Op::CmpBits(_)
                | Op::BinBits(_)
                | Op::NotBits
                | Op::HalfBits { .. }
                | Op::JoinBits
        )
    }

    /// Whether it makes or takes a bit per lane.
    pub(super) fn is_of_bits(self) -> bool {
        self.makes_bits() || matches!(self, Op::AllBits | Op::AnyBits | Op::Spread | Op::BlendBits)
    }

    /// Whether it asks lanes for a truth value that flags tell.
    pub(super) fn is_test(self) -> bool {
        matches!(self, Op::AnyTrue | Op::AnyBits | Op::AllBits)
    }

    /// Whether it is made where it is used.
    pub(super) fn is_constant(self) -> bool {
        matches!(self, Op::Int(_) | Op::Float(_) | Op::Bytes(_))
    }
}

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inst {
    pub(super) op: Op,
    /// Of its value; of a store, of what is stored.
    pub(super) ty: Ty,
    args: [Value; 3],
    count: u8,
}

impl Inst {
    pub(super) fn new(op: Op, ty: Ty, args: &[Value]) -> Inst {
        let mut all = [Value(u32::MAX); 3];
        all[..args.len()].copy_from_slice(args);
        Inst { op, ty, args: all, count: args.len() as u8 }
    }

    pub(super) fn args(&self) -> &[Value] {
        &self.args[..usize::from(self.count)]
    }

    pub(super) fn args_mut(&mut self) -> &mut [Value] {
        &mut self.args[..usize::from(self.count)]
    }
}

/// A jump's target and what its parameters become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) to: Block,
    pub(super) args: Vec<Value>,
}

/// How a block ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing was written yet.
    #[default]
    Open,
    Jump(Edge),
    /// To the first where the truth value is not 0.
    Branch(Value, Edge, Edge),
    Return,
}

impl End {
    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge> {
        let [a, b] = match self {
            End::Open | End::Return => [None, None],
            End::Jump(edge) => [Some(edge), None],
            End::Branch(_, a, b) => [Some(a), Some(b)],
        };
        a.into_iter().chain(b)
    }

    pub(super) fn edges_mut(&mut self) -> impl Iterator<Item = &mut Edge> {
        let [a, b] = match self {
            End::Open | End::Return => [None, None],
            End::Jump(edge) => [Some(edge), None],
            End::Branch(_, a, b) => [Some(a), Some(b)],
        };
        a.into_iter().chain(b)
    }
}

/// Instructions that run one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockData {
    pub(super) params: Vec<Value>,
    pub(super) insts: Vec<Value>,
    pub(super) end: End,
    pub(super) preds: Vec<Block>,
    /// The nearest block that every way here goes through.
    pub(super) dominator: Option<Block>,
    /// Blocks that every way here goes through.
    pub(super) depth: u32,
    /// Loops around it.
    pub(super) loops: u32,
}

/// A whole function.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) insts: Vec<Inst>,
    /// The block of each instruction; of constants, the first one.
    pub(super) home: Vec<Block>,
    pub(super) blocks: Vec<BlockData>,
    /// Blocks in the order of the code.
    pub(super) order: Vec<Block>,
    /// Constant vectors.
    pub(super) pool: IndexSet<Vec<u8>>,
}

impl Function {
    pub(super) fn inst(&self, v: Value) -> &Inst {
        &self.insts[v.index()]
    }

    pub(super) fn ty(&self, v: Value) -> Ty {
        self.insts[v.index()].ty
    }

    pub(super) fn block(&self, b: Block) -> &BlockData {
        &self.blocks[b.index()]
    }

    /// Whether every way to `b` goes through `a`.
    pub(super) fn dominates(&self, a: Block, b: Block) -> bool {
        let depth = self.block(a).depth;
        let mut at = b;
        while self.block(at).depth > depth {
            match self.block(at).dominator {
                Some(up) => at = up,
                None => return false,
            }
        }
        at == a
    }

    /// The number of a constant vector.
    pub(super) fn constant(&mut self, bytes: Vec<u8>) -> u32 {
        self.pool.insert_full(bytes).0 as u32
    }
}

//! The nest: structured loops over buffers, scalar expressions in an arena. Names, axes and tiles are gone; what is
//! left is what a processor does.
//!
//! Types of expressions are machine types: `f64`, `f32`, `bool` and integers of 8, 16, 32 and 64 bits. `f16` and
//! `bf16` are *storage* types: an expression of theirs may only be loaded, stored, selected, bound, or cast.
//! Complex values are pairs of buffers' elements (a trailing extent of 2), sub-byte values are shifts and masks of
//! `u8`: lowering writes them out. Indices are `i64`.
//!
//! # Rules (checked by `verify`)
//! 1. A variable is bound once, before its uses, in an enclosing block.
//! 2. Operand types fit their operator as [`ExprKind`] says; indices are `i64`; a store has its buffer's type.
//! 3. An index list has one entry per extent of its buffer.
//! 4. `Unrolled` and `Lanes` loops have constant bounds; their trip count is 1 to 64. A `Threads` loop starts at 0, has
//!    step 1, and ends at its count, or at the smaller of its count and something that is the same for all threads. A
//!    `Subgroups` loop starts at 0, has step 1, and ends at its count.
//! 5. A `Lanes` loop contains no loop but `Unrolled` ones, and none of kind `Lanes`; it sits in no other `Lanes` loop.
//!    The body of a `Threads` loop is one `Threads` loop, or contains none; no `Threads` loop sits in a `Lanes` loop.
//!    A `Subgroups` loop contains matrix statements, `Let`, conditions, and `Serial` and `Unrolled` loops, nothing
//!    else; it sits in no `Lanes`, `Threads` or other `Subgroups` loop.
//! 6. A `Register` buffer has constant extents, at most 1024 elements, and its indices are constants, or sums and
//!    constant multiples of variables of enclosing `Unrolled` and `Lanes` loops, within its extents. A `Lanes`
//!    variable appears in the last index only, with coefficient 1. A dimension may also belong to the threads: then
//!    each of its indices is the variable of a `Threads` loop of the same place in loops of the same counts, and each
//!    thread has registers of its own; it does not count towards the 1024 elements. A thread may read what another one
//!    has: at its variable `^` a constant, below a power of two that divides the count. Then all threads of that
//!    loop do so, outside of conditions and loops that are not written out, and none of them writes the buffer.
//! 7. All buffers but `Global` ones are written before they are read, on every path; they do not outlive a chunk.
//! 8. Extents of `Local` buffers, bounds of core loops and conditions of phases depend on sizes and scalars only.
//! 9. No two chunks of a phase touch one element of a `Global` buffer unless both only read, or both use `Atomic`.
//! 10. Every access is within its buffer's extents.
//! 11. `Global` buffers of different slots overlap only if nobody writes them.
//! 12. Extents of `Shared` buffers are constant.
//! 13. A `Matrix` buffer has constant extents: those of its dimensions, and last the rows and columns of each matrix.
//!     Matrix statements alone access it. Indices are constants, or sums and constant multiples of variables of
//!     enclosing `Unrolled` loops, within the extents. A dimension may also belong to the subgroups: then each of its
//!     indices is the variable of a `Subgroups` loop, all of one count, and each subgroup has matrices of its own; it
//!     does not count towards the 64 matrices that a buffer may have. Without such a dimension all loops around are
//!     of one subgroup.
//! 14. Matrix statements stand in `Subgroups` loops. Both factors of a product have one type, the accumulator one that
//!     is as wide or wider: all floats, or all integers with a sign, or all without. Rows and columns fit, and the
//!     accumulator is in another buffer than the factors.
//! 15. A `Subgroups` loop reads no memory that it writes: not the same buffer, nor one of the same slot. It writes no
//!     element twice.
//! 16. What is prefetched is of a `Global` buffer. The element may lie beyond its extents; what its indices read is within
//!     theirs, and of `Global` buffers that the nest does not write.
//!
//! # Threads
//! A chunk with a `Threads` loop is run by a group of threads. What stands outside those loops is the same for all of
//! them: each computes it, one makes the stores. Loops and statements keep the order in which they are written; who
//! makes code puts barriers where one thread needs what another one wrote. Nested `Threads` loops of counts `c0, c1, ..`
//! number the threads with the innermost counter varying fastest.
//!
//! # Matrices
//! A pass of a `Subgroups` loop is run by the threads of one subgroup together, which hold small matrices in their
//! registers, each a part that nobody knows. A matrix is moved as a whole: an element of memory that one statement of the
//! loop writes is not for another one of it. Products are sums in the accumulator's type, in order of the inner dimension;
//! a device may add in any other order, and round floats otherwise.

use rooftile_artifact::{DType, Scalar};

use crate::arena::{Arena, Handle};

/// Handle of an expression.
pub type ExprId = Handle<Expr>;
/// Handle of a buffer.
pub type BufferId = Handle<Buffer>;
/// Handle of a variable.
pub type VarId = Handle<Var>;

/// One kernel as loops: phases with a barrier between neighbours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nest {
    /// The kernel's name.
    pub name: String,
    /// Size names; [`ExprKind::Size`] indexes them.
    pub sizes: Vec<String>,
    /// Scalar parameters; [`ExprKind::Param`] indexes them.
    pub scalars: Vec<(String, DType)>,
    /// All buffers.
    pub buffers: Arena<Buffer>,
    /// All variables.
    pub vars: Arena<Var>,
    /// All expressions; operands precede their users.
    pub exprs: Arena<Expr>,
    /// Run in order.
    pub phases: Vec<Phase>,
}

/// A region of memory, dense and row-major over its extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// For people.
    pub name: String,
    /// Element type; never complex or sub-byte.
    pub dtype: DType,
    /// Extents, `i64` expressions.
    pub shape: Vec<ExprId>,
    /// Where it lives.
    pub space: Space,
    /// Of a global buffer: where it has at least so many bytes, whole vectors go to memory past the caches.
    pub past_caches: Option<i64>,
    /// Of a global buffer: [`Stmt::Prefetch`] alone says what of it is fetched ahead. Else who makes code may choose.
    pub own_prefetch: bool,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Memory of the launch: slot number of [`rooftile_artifact::abi::LaunchArgs::buffers`].
    Global(u32),
    /// Scratch memory of the chunk, for the time that it runs.
    Local,
    /// Near memory of the threads that run a chunk together, for the time that it runs.
    Shared,
    /// Registers: every element is a value of its own.
    Register,
    /// Registers of the threads of a subgroup, which hold a matrix together. The last two extents are its rows and columns.
    Matrix,
}

/// A loop counter or a bound value.
#[derive(Clone, Debug, PartialEq)]
pub struct Var {
    /// For people.
    pub name: String,
    /// Its type; counters are `i64`.
    pub dtype: DType,
}

/// Chunks that may run in any order and at the same time, then a barrier. The chunks are the points of `cores`,
/// the last varying fastest; with no core loop there is one chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Core loops from the outside in.
    pub cores: Vec<CoreLoop>,
    /// What each chunk does.
    pub body: Vec<Stmt>,
}

/// A loop whose passes are shared out over the cores: `var = lo, lo + step, ..` below `hi`.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreLoop {
    /// The counter.
    pub var: VarId,
    /// First value.
    pub lo: ExprId,
    /// Upper end, not reached.
    pub hi: ExprId,
    /// Distance of neighbours, positive.
    pub step: i64,
}

/// How the passes of a loop are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopKind {
    /// In order.
    Serial,
    /// In order, written out.
    Unrolled,
    /// At once, as the lanes of vectors. Passes are independent but for stores to elements that no other lane touches.
    Lanes,
    /// At once, by the threads of a group. Passes are independent as those of `Lanes`.
    Threads {
        /// Most passes.
        count: u32,
    },
    /// At once, each by the threads of one subgroup together. Passes are independent as those of `Lanes`.
    Subgroups {
        /// Passes.
        count: u32,
    },
}

impl LoopKind {
    /// Whether each pass has code of its own.
    #[must_use]
    pub fn is_written_out(self) -> bool {
        matches!(self, LoopKind::Unrolled | LoopKind::Lanes)
    }

    /// Whether its passes are shared out over threads of a group.
    #[must_use]
    pub fn is_by_threads(self) -> bool {
        matches!(self, LoopKind::Threads { .. } | LoopKind::Subgroups { .. })
    }
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `for var in lo..hi step step`.
    Loop {
        /// The counter.
        var: VarId,
        /// First value.
        lo: ExprId,
        /// Upper end, not reached.
        hi: ExprId,
        /// Distance of neighbours, positive.
        step: i64,
        /// How the passes are run.
        kind: LoopKind,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// Binds a value once.
    Let {
        /// The variable.
        var: VarId,
        /// Its value.
        value: ExprId,
    },
    /// Writes an element.
    Store {
        /// The buffer.
        buffer: BufferId,
        /// One index per extent.
        index: Vec<ExprId>,
        /// The value.
        value: ExprId,
    },
    /// `old = buffer[index]; buffer[index] = op(old, value)` as one indivisible step. Integers of 32 and 64 bits.
    Atomic {
        /// `Add`, `Min`, `Max`, `And`, `Or` or `Xor`.
        op: BinaryOp,
        /// A global buffer.
        buffer: BufferId,
        /// One index per extent.
        index: Vec<ExprId>,
        /// The operand.
        value: ExprId,
        /// Bound to the element's value before.
        old: Option<VarId>,
    },
    /// Brings the line of the caches with an element near. It changes nothing, and the element need not exist.
    Prefetch {
        /// A global buffer.
        buffer: BufferId,
        /// One index per extent.
        index: Vec<ExprId>,
    },
    /// Runs one of two lists.
    If {
        /// The condition.
        cond: ExprId,
        /// Run when true.
        then: Vec<Stmt>,
        /// Run when false.
        otherwise: Vec<Stmt>,
    },
    /// Sets bits of the launch's status word; see [`rooftile_artifact::abi::status`].
    SetStatus(u32),
    /// What a subgroup does with whole matrices.
    Matrix(MatrixOp),
}

/// One matrix of a buffer in [`Space::Matrix`].
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The buffer.
    pub buffer: BufferId,
    /// One index per extent but the last two.
    pub index: Vec<ExprId>,
}

/// Where a matrix lies in memory: its element `(r, c)` is at `at` with `r` added to the index of dimension `rows` and
/// `c` to that of `columns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// A buffer in memory of the launch, of the chunk or of the group.
    pub buffer: BufferId,
    /// One index per extent.
    pub at: Vec<ExprId>,
    /// The dimension of the rows.
    pub rows: usize,
    /// The dimension of the columns, another one.
    pub columns: usize,
}

/// What the threads of a subgroup do together with matrices in their registers.
#[derive(Clone, Debug, PartialEq)]
pub enum MatrixOp {
    /// Every element becomes `value`.
    Fill {
        /// What is written.
        to: Matrix,
        /// Of the matrix's type.
        value: ExprId,
    },
    /// Reads a matrix from memory.
    Load {
        /// What is written.
        to: Matrix,
        /// Elements of the matrix's type.
        from: Block,
    },
    /// `acc[i, j] += sum over k of a[i, k] * b[k, j]`, in the type of `acc`, `k` ascending.
    MultiplyAdd {
        /// Accumulator of `m` rows and `n` columns.
        acc: Matrix,
        /// Factor of `m` rows and `k` columns.
        a: Matrix,
        /// Factor of `k` rows and `n` columns.
        b: Matrix,
    },
    /// Writes a matrix to memory.
    Store {
        /// What is read.
        from: Matrix,
        /// Elements of the matrix's type.
        to: Block,
    },
}

impl MatrixOp {
    /// The matrices that it touches, the one that is written, if any, first.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let [first, a, b] = match self {
            MatrixOp::Fill { to, .. } | MatrixOp::Load { to, .. } => [Some(to), None, None],
            MatrixOp::MultiplyAdd { acc, a, b } => [Some(acc), Some(a), Some(b)],
            MatrixOp::Store { from, .. } => [Some(from), None, None],
        };
        [first, a, b].into_iter().flatten()
    }

    /// Indices of its matrices, and of its memory.
    pub fn indices(&self) -> impl Iterator<Item = ExprId> {
        let own = self.matrices().flat_map(|m| &m.index);
        own.chain(self.block().into_iter().flat_map(|b| &b.at)).copied()
    }

    /// The memory that it touches.
    #[must_use]
    pub fn block(&self) -> Option<&Block> {
        match self {
            MatrixOp::Load { from: block, .. } | MatrixOp::Store { to: block, .. } => Some(block),
            MatrixOp::Fill { .. } | MatrixOp::MultiplyAdd { .. } => None,
        }
    }

    /// The buffer that it writes to.
    #[must_use]
    pub fn written(&self) -> BufferId {
        match self {
            MatrixOp::Fill { to, .. } | MatrixOp::Load { to, .. } => to.buffer,
            MatrixOp::MultiplyAdd { acc, .. } => acc.buffer,
            MatrixOp::Store { to, .. } => to.buffer,
        }
    }
}

/// An expression with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub dtype: DType,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A literal of the expression's type.
    Const(Scalar),
    /// A variable.
    Var(VarId),
    /// A size, `i64`.
    Size(usize),
    /// A scalar parameter.
    Param(usize),
    /// An element of a buffer.
    Load {
        /// The buffer.
        buffer: BufferId,
        /// One index per extent.
        index: Vec<ExprId>,
    },
    /// One operand, of the result's type.
    Unary(UnaryOp, ExprId),
    /// A function of one float operand, of the result's type (`f32` or `f64`), within the stated error.
    Math(MathFn, ExprId),
    /// Two operands of one type; comparisons give `bool`, all else the operands' type. Shift counts have the type
    /// of the shifted value and are in range.
    Binary(BinaryOp, ExprId, ExprId),
    /// `a * b + c` with one rounding.
    Fma(ExprId, ExprId, ExprId),
    /// `Select(c, a, b)`: `a` where the bool `c` holds, else `b`. Both may be evaluated.
    Select(ExprId, ExprId, ExprId),
    /// Conversion to the expression's type, as [`Scalar::cast`] says.
    Cast(ExprId),
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// Negation of floats and integers (wraps).
    Neg,
    /// Logical not of `bool`, complement of integers.
    Not,
    /// Absolute value of floats and integers.
    Abs,
    /// Toward negative infinity, floats.
    Floor,
    /// Toward positive infinity, floats.
    Ceil,
    /// To nearest, ties to even, floats.
    Round,
    /// Toward zero, floats.
    Trunc,
    /// Square root, correctly rounded, floats.
    Sqrt,
    /// Number of set bits, integers.
    Popcount,
    /// Number of zero bits above the highest set bit; the width for zero. Integers.
    LeadingZeros,
    /// Bits in reverse order, integers.
    ReverseBits,
}

/// Functions of one float operand. Their errors are listed in `docs/math.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MathFn {
    /// e to the operand.
    Exp,
    /// 2 to the operand.
    Exp2,
    /// e to the operand, less 1.
    Expm1,
    /// Natural logarithm.
    Log,
    /// Logarithm to base 2.
    Log2,
    /// Natural logarithm of 1 plus the operand.
    Log1p,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// Tangent of radians.
    Tan,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Error function.
    Erf,
    /// 1 less the error function.
    Erfc,
    /// Reciprocal square root.
    Rsqrt,
}

impl MathFn {
    /// Every function.
    pub const ALL: [MathFn; 14] = [
        MathFn::Exp,
        MathFn::Exp2,
        MathFn::Expm1,
        MathFn::Log,
        MathFn::Log2,
        MathFn::Log1p,
        MathFn::Sin,
        MathFn::Cos,
        MathFn::Tan,
        MathFn::Tanh,
        MathFn::Sigmoid,
        MathFn::Erf,
        MathFn::Erfc,
        MathFn::Rsqrt,
    ];
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BinaryOp {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers wrap.
    Mul,
    /// Quotient of floats; of integers, rounded toward negative infinity. The divisor of integers is not zero.
    Div,
    /// Remainder of integers, with the divisor's sign. The divisor is not zero.
    Rem,
    /// As `Div`, of integers known to be non-negative and positive.
    DivNonNeg,
    /// As `Rem`, of integers known to be non-negative and positive.
    RemNonNeg,
    /// `Select(b < a, b, a)`.
    Min,
    /// `Select(a < b, b, a)`.
    Max,
    /// Power of floats.
    Pow,
    /// Bitwise and; logical of `bool`.
    And,
    /// Bitwise or; logical of `bool`.
    Or,
    /// Bitwise exclusive or; logical of `bool`.
    Xor,
    /// Shift left.
    Shl,
    /// Shift right, arithmetic for signed and logical for unsigned types.
    Shr,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

impl BinaryOp {
    /// Whether the result is a `bool` whatever the operands.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le)
    }
}

/// What a kernel or pipeline lowers to: the program's buffers and steps with its kernels still as nests.
/// `Launch::kernel` indexes `nests`; `program.kernels` is empty until code is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Buffers, parameters and steps.
    pub program: rooftile_artifact::Program,
    /// One nest per kernel of the program.
    pub nests: Vec<Nest>,
}

//! The typed tile program. Names are resolved to handles, every expression has an element type and a set of axes,
//! every axis an explicit domain, functions are inlined, and implicit conversions are written out as casts.
//!
//! A [`Func`] (kernel, pipeline or reference) owns its arenas. Expressions form a directed acyclic graph: inlined
//! functions share operands, so evaluators memoise per point. Index arithmetic is `i64`.
//!
//! # Meaning in brief
//! * A *tile value* ([`Value`]) has one element for every point of its axes. Statements run one at a time: all points,
//!   then the next statement.
//! * The rules of the language make results independent of tile sizes, except inside a `Fold`, whose body sees one
//!   tile of its axis at a time, in order.
//! * Integer `/` and `%` round toward negative infinity. Integers wrap at their width. `max(a, b)` is
//!   `select(a < b, b, a)`.

use rooftile_artifact::{DType, Scalar};

use crate::arena::{Arena, Handle};
use crate::diag::Span;

/// Handle of a function of the file.
pub type FuncId = Handle<Func>;
/// Handle of a size name.
pub type SizeId = Handle<Size>;
/// Handle of a scalar parameter.
pub type ScalarId = Handle<ScalarParam>;
/// Handle of a tensor.
pub type TensorId = Handle<Tensor>;
/// Handle of an axis.
pub type AxisId = Handle<Axis>;
/// Handle of a tile value.
pub type ValueId = Handle<Value>;
/// Handle of an expression.
pub type ExprId = Handle<Expr>;

/// A checked file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Kernels, pipelines and references.
    pub funcs: Arena<Func>,
    /// Constant tables.
    pub tables: Vec<Table>,
    /// `variant a = b`, as pairs of kernels (a, b).
    pub variants: Vec<(FuncId, FuncId)>,
}

impl File {
    /// The kernel or pipeline of that name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<FuncId> {
        self.funcs.iter().find(|(_, f)| f.kind != FuncKind::Reference && f.name == name).map(|(id, _)| id)
    }

    /// The reference of the kernel or pipeline of that name.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<FuncId> {
        self.funcs.iter().find(|(_, f)| f.kind == FuncKind::Reference && f.name == name).map(|(id, _)| id)
    }

    /// Kernels that `func` launches, itself if it is a kernel; in order of first launch, each once.
    #[must_use]
    pub fn kernels_of(&self, func: FuncId) -> Vec<FuncId> {
        fn walk(body: &[Stmt], out: &mut Vec<FuncId>) {
            for stmt in body {
                match &stmt.kind {
                    StmtKind::Call { callee, .. } if !out.contains(callee) => out.push(*callee),
                    StmtKind::Repeat { body, .. } => walk(body, out),
                    StmtKind::If { then, otherwise, .. } => {
                        walk(then, out);
                        walk(otherwise, out);
                    }
                    _ => {}
                }
            }
        }
        if self.funcs[func].kind != FuncKind::Pipeline {
            return vec![func];
        }
        let mut out = Vec::new();
        walk(&self.funcs[func].body, &mut out);
        out
    }
}

/// A constant table, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents; empty for a scalar constant.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<Scalar>,
}

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FuncKind {
    /// A kernel: tile statements.
    Kernel,
    /// A pipeline: calls, repeats, fills, copies.
    Pipeline,
    /// The reference of the kernel or pipeline of the same name; same sizes, scalars and tensor parameters in the
    /// same order (handles included), then tensors of its own. All floats are `f64`.
    Reference,
}

/// A kernel, pipeline or reference.
#[derive(Clone, Debug)]
pub struct Func {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: FuncKind,
    /// Where it is named.
    pub span: Span,
    /// Size names in order of first use in the signature, then those used only elsewhere.
    pub sizes: Arena<Size>,
    /// Scalar parameters in signature order.
    pub scalars: Arena<ScalarParam>,
    /// Tensor parameters in signature order, then `buf`s in order of appearance.
    pub tensors: Arena<Tensor>,
    /// All parameters in signature order.
    pub params: Vec<ParamRef>,
    /// Axes.
    pub axes: Arena<Axis>,
    /// Tile values.
    pub values: Arena<Value>,
    /// Expressions; operands precede their users.
    pub exprs: Arena<Expr>,
    /// Conditions of `where`, `bool` over sizes and scalars.
    pub wheres: Vec<ExprId>,
    /// Statements.
    pub body: Vec<Stmt>,
}

/// A parameter in signature order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamRef {
    /// A tensor.
    Tensor(TensorId),
    /// A scalar.
    Scalar(ScalarId),
}

/// A size name: a positive integer (an extent may be zero only where data says so).
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// Its name.
    pub name: String,
    /// First use.
    pub span: Span,
}

/// A scalar parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarParam {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: DType,
    /// Where it is declared.
    pub span: Span,
}

/// Where a tensor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A parameter that is only read.
    In,
    /// A parameter that is written whole.
    Out,
    /// A parameter that is read and written.
    InOut,
    /// A buffer of the pipeline or reference; uninitialised at first.
    Buf,
}

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents: `i64` expressions over sizes and scalars.
    pub shape: Vec<ExprId>,
    /// Where it comes from.
    pub role: Role,
    /// What a read outside gives, one per dimension.
    pub edges: Vec<Option<Edge>>,
    /// Dimension along which sub-byte elements share bytes.
    pub packed: Option<usize>,
    /// Every element is in `lo..hi`.
    pub range: Option<(ExprId, ExprId)>,
    /// Elements never decrease in storage order.
    pub monotone: bool,
    /// No two elements are equal.
    pub injective: bool,
    /// The same content is used by many runs, so preparing it does not count.
    pub constant: bool,
    /// The order of elements along the last dimension has no meaning.
    pub bag: bool,
    /// Where it is declared.
    pub span: Span,
}

/// What a read outside a tensor gives, along one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The nearest element.
    Clamp,
    /// The element at the index modulo the extent.
    Wrap,
    /// Mirrored, the end sample not repeated.
    Reflect,
    /// Mirrored, the end sample repeated.
    Symmetric,
    /// A value of the tensor's type.
    Const(Scalar),
}

/// An axis: an integer that runs over `lo..hi`.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name, unique among axes that are alive together.
    pub name: String,
    /// How it runs.
    pub kind: AxisKind,
    /// First value: an `i64` expression over sizes, scalars, tables, tensors and the axes `parents`.
    pub lo: ExprId,
    /// One past the last value; the axis has no points where `hi <= lo`.
    pub hi: ExprId,
    /// Axes that `lo` and `hi` mention, outermost first, without repetition.
    pub parents: Vec<AxisId>,
    /// Where it is declared.
    pub span: Span,
}

/// How an axis runs.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisKind {
    /// Unordered, seen a tile at a time.
    For(TileSize),
    /// Unordered, seen whole.
    With,
    /// The counter of a `seq`: ordered, one value at a time; a scalar, not a dimension of tile values.
    Seq,
    /// Ordered, seen a tile at a time.
    Fold(TileSize),
    /// Bound by a reduction: `sum[k in K]`.
    Bind,
    /// The counter of a pipeline's `repeat`.
    Repeat,
}

/// The size of a tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TileSize {
    /// A tunable, or a free name.
    Name(String),
    /// A literal.
    Int(i64),
    /// Not written: any size.
    Free,
}

/// What made a tile value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// `let`: written once.
    Let,
    /// `var`: accumulated into.
    Var,
    /// A carry of a `seq` or `fold`.
    Carry,
}

/// A tile value: an element for every point of its axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Its axes: in declared order, or in order of nesting where none is declared.
    pub axes: Vec<AxisId>,
    /// What made it.
    pub kind: ValueKind,
    /// Where it is declared.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// Its place.
    pub span: Span,
}

/// What a statement is.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// Gives a `let` or `var` its (first) value, at every point of the value's axes.
    Define {
        /// The value.
        value: ValueId,
        /// Its content; axes are a subset of the value's.
        init: ExprId,
    },
    /// `v op= e` on a `var`. `e`'s axes are a subset of the value's. Inside `for` axes that the value lacks, `e` may be
    /// a partial result and `op` its monoid (`Sub` accumulates as `Add` of the negation).
    Update {
        /// The value.
        value: ValueId,
        /// How.
        op: AssignOp,
        /// With what.
        expr: ExprId,
    },
    /// `T[..] op= e`, at every point of the axes of the indices and `e`. With [`StoreKind::Scatter`] several points
    /// may name one element.
    Store {
        /// The tensor.
        tensor: TensorId,
        /// One `i64` index per dimension.
        index: Vec<ExprId>,
        /// How.
        op: AssignOp,
        /// With what.
        expr: ExprId,
        /// Whether points may collide.
        kind: StoreKind,
    },
    /// `append(list, count, key, value, pred)`: where `pred` holds, adds `value` to the list number `key`:
    /// `list[key, count[key]] = value; count[key] += 1`. Past the list's capacity the run fails; keys are proven to be
    /// inside.
    Append {
        /// Lists: keys first, the capacity last.
        list: TensorId,
        /// One counter per key.
        count: TensorId,
        /// One index per dimension of `count`.
        key: Vec<ExprId>,
        /// What is added.
        value: ExprId,
        /// Condition.
        pred: Option<ExprId>,
    },
    /// `for axes in tiles(..) with whole { body }`; a bare `with` has no `axes`.
    For {
        /// Axes seen a tile at a time.
        axes: Vec<AxisId>,
        /// Axes seen whole.
        with: Vec<AxisId>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `seq`: the carries get their first values, then `body` runs for each value of `axis`.
    Seq {
        /// The counter.
        axis: AxisId,
        /// Carries with first values.
        carry: Vec<(ValueId, ExprId)>,
        /// Statements; a `Next` comes last.
        body: Vec<Stmt>,
    },
    /// `fold`: as `Seq`, over tiles of `axis`. A point whose domain has no value in a tile keeps its carries.
    Fold {
        /// The axis.
        axis: AxisId,
        /// Carries with first values.
        carry: Vec<(ValueId, ExprId)>,
        /// Statements; a `Next` comes last.
        body: Vec<Stmt>,
    },
    /// New values of carries, all computed from the old ones.
    Next(Vec<NextItem>),
    /// Runs one of two lists; in kernels the condition has no axes but counters.
    If {
        /// A `bool`.
        cond: ExprId,
        /// Run when true.
        then: Vec<Stmt>,
        /// Run when false.
        otherwise: Vec<Stmt>,
    },
    /// Pipelines: launches a kernel.
    Call {
        /// The kernel.
        callee: FuncId,
        /// One per parameter of the callee.
        args: Vec<CallArg>,
        /// The value of each of the callee's sizes, in the caller's terms.
        sizes: Vec<ExprId>,
    },
    /// Pipelines: repeats, exchanging the storages of each pair after every pass.
    Repeat {
        /// The counter.
        axis: AxisId,
        /// Pairs of tensors of one type and shape.
        pingpong: Vec<(TensorId, TensorId)>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// Pipelines: sets every element.
    Fill {
        /// The tensor.
        tensor: TensorId,
        /// The value, without axes.
        value: ExprId,
    },
    /// Pipelines: copies a whole tensor.
    Copy {
        /// Read.
        from: TensorId,
        /// Written.
        to: TensorId,
    },
}

/// One item of a `next`.
#[derive(Clone, Debug, PartialEq)]
pub struct NextItem {
    /// The carry.
    pub value: ValueId,
    /// Where it is written, one index per axis of the carry; `None` for its own point. The maps of all items of one
    /// carry together are a bijection onto its points.
    pub index: Option<Vec<ExprId>>,
    /// The new value.
    pub expr: ExprId,
}

/// Whether the points of a store may collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// Every point has an element of its own.
    Injective,
    /// Elements are named by data; `op` is a reduction.
    Scatter,
}

/// How an assignment combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignOp {
    /// Replaces.
    Set,
    /// Adds.
    Add,
    /// Subtracts.
    Sub,
    /// Multiplies.
    Mul,
    /// Keeps the larger.
    Max,
    /// Keeps the smaller.
    Min,
}

/// An argument of a pipeline's call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallArg {
    /// A tensor or a view of one.
    Tensor(View),
    /// A scalar, cast to the parameter's type.
    Scalar(ExprId),
}

/// A tensor seen otherwise: dimension `d` of the view is `dims[d]` of the tensor; the tensor's other dimensions are
/// held at an index.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The tensor.
    pub tensor: TensorId,
    /// One per dimension of the view.
    pub dims: Vec<ViewDim>,
    /// Dimensions of the tensor that the view lacks, with the index they are held at.
    pub fixed: Vec<(usize, ExprId)>,
}

impl View {
    /// Whether it is the tensor itself, of so many dimensions.
    #[must_use]
    pub fn is_whole(&self, rank: usize) -> bool {
        let own = |(n, d): (usize, &ViewDim)| d.source == n && d.lo.is_none() && d.extent.is_none();
        self.fixed.is_empty() && self.dims.len() == rank && self.dims.iter().enumerate().all(own)
    }
}

/// A dimension of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDim {
    /// Dimension of the tensor.
    pub source: usize,
    /// Index that the view's 0 stands for; `None` for 0.
    pub lo: Option<ExprId>,
    /// Extent; `None` for all of it.
    pub extent: Option<ExprId>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Element type.
    pub dtype: DType,
    /// Axes that it varies along, in order of handles. Counters of `seq` and `repeat` are not among them.
    pub axes: Vec<AxisId>,
    /// Its place.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A literal of the expression's type.
    Const(Scalar),
    /// A size, `i64`.
    Size(SizeId),
    /// A scalar parameter.
    Scalar(ScalarId),
    /// The logical index of an axis or counter, `i64`.
    Axis(AxisId),
    /// A tile value at the current point.
    Value(ValueId),
    /// A tile value at another point: one `i64` index per axis of the value, in its order.
    ValueAt(ValueId, Vec<ExprId>),
    /// An element of a tensor.
    Load {
        /// The tensor.
        tensor: TensorId,
        /// One `i64` index per dimension.
        index: Vec<ExprId>,
        /// Dimensions whose index may leave the tensor, so that its edge rule applies there.
        leaves: Vec<bool>,
    },
    /// An element of `File::tables[n]`.
    Table {
        /// Number of the table.
        table: usize,
        /// One `i64` index per dimension.
        index: Vec<ExprId>,
    },
    /// One operand of the result's type.
    Unary(UnaryOp, ExprId),
    /// Two operands of one type; comparisons give `bool`, all else the operands' type. A shift's count has the type of
    /// the shifted value.
    Binary(BinaryOp, ExprId, ExprId),
    /// A function of the vocabulary; operands have the result's type unless the function says otherwise.
    Call(Function, Vec<ExprId>),
    /// `select(c, a, b)`: evaluates only the chosen arm.
    Select(ExprId, ExprId, ExprId),
    /// Conversion to the expression's type.
    Cast(ExprId),
    /// A reduction over axes that its operand has. One operand; `Dot` two.
    Reduce {
        /// The operator.
        op: ReduceOp,
        /// The axes that it removes.
        axes: Vec<AxisId>,
        /// Operands.
        args: Vec<ExprId>,
    },
    /// The inclusive running reduction along the whole of `axis`, in ascending order.
    Scan {
        /// The operator: `Sum`, `Prod`, `Max` or `Min`.
        op: ReduceOp,
        /// The axis.
        axis: AxisId,
        /// Operand.
        arg: ExprId,
    },
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// Negation.
    Neg,
    /// Logical not.
    Not,
    /// Complement of integers.
    BitNot,
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; of integers rounded toward negative infinity.
    Div,
    /// Remainder of integers, with the divisor's sign.
    Rem,
    /// Bitwise and of integers; logical of `bool`, the right operand evaluated only if needed.
    And,
    /// Bitwise or of integers; logical of `bool`, the right operand evaluated only if needed.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left.
    Shl,
    /// Shift right.
    Shr,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

impl BinaryOp {
    /// The operator as written, of numbers: `&&` and `||` are `And` and `Or` of truth values.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::And => "&",
            BinaryOp::Or => "|",
            BinaryOp::Xor => "^",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
        }
    }
}

/// Functions of the vocabulary that are not reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the function of its name; docs/language.md lists them")]
pub enum Function {
    Abs,
    Min,
    Max,
    Floor,
    Ceil,
    /// To nearest, ties to even.
    Round,
    Trunc,
    Sqrt,
    Rsqrt,
    Exp,
    Exp2,
    Log,
    Log2,
    Log1p,
    Expm1,
    Sin,
    Cos,
    Tan,
    Tanh,
    Sigmoid,
    Erf,
    Erfc,
    Pow,
    /// `fma(a, b, c)` is `a * b + c`, rounded once.
    Fma,
    /// `clamp(x, lo, hi)`.
    Clamp,
    Sign,
    Popcount,
    /// Floor of the base-2 logarithm of a positive integer.
    Ilog2,
    /// `bitrev(x, n)`: the low `n` bits of `x` in reverse order.
    Bitrev,
    /// `pow2(n)`: whether a positive integer is a power of two.
    IsPow2,
    /// Complex from real and imaginary part.
    Complex,
    /// Real part; the result is real.
    Re,
    /// Imaginary part; the result is real.
    Im,
    Conj,
    /// `cos(x) + i sin(x)` of a real operand; the result is complex.
    Cis,
}

/// Reduction operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceOp {
    /// Sum; identity 0.
    Sum,
    /// Product; identity 1.
    Prod,
    /// Largest; identity the type's lowest value (minus infinity).
    Max,
    /// Smallest; identity the type's highest value (infinity).
    Min,
    /// Logical or.
    Any,
    /// Logical and.
    All,
    /// Index of the first largest element, `i64`; one reduced axis.
    Argmax,
    /// Index of the first smallest element, `i64`; one reduced axis.
    Argmin,
    /// Sum of products of two operands, accumulated in `f32` (float operands), `i32` (integers of 8 bits or fewer), or
    /// their own type (`f64`, wider integers, complex). The expression's type is the accumulator's.
    Dot,
}

//! The syntax tree: a file as written, with spans. Nothing is resolved here.

use rooftile_artifact::DType;

use crate::diag::Span;

/// A name with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// A whole `.tile` file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// The number behind `rooftile` on the first line.
    pub version: Option<(i64, Span)>,
    /// Items in order of appearance.
    pub items: Vec<Item>,
}

/// A top-level item.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// From its first to its last token.
    pub span: Span,
}

/// What a top-level item is.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `const CX: i32[9] = [..]`
    Const(Const),
    /// `fn f(x: f32) -> f32 = e` or with a block of `let`s and a `return`.
    Fn(Fn),
    /// `kernel k(..) where .. { .. }`
    Kernel(Kernel),
    /// `pipeline p(..) where .. { .. }`; the same shape as a kernel, other statements.
    Pipeline(Kernel),
    /// `reference k { .. }`
    Reference(Reference),
    /// `tune k { .. }`
    Tune(Tune),
    /// `variant a = b`
    Variant(Variant),
    /// `schedule k for cpu when .. { .. }`
    Schedule(Schedule),
    /// `task k { .. }`
    Task(Task),
}

/// A table or scalar constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub ty: Type,
    /// A literal or (nested) array of literals.
    pub value: Expr,
}

/// A scalar function.
#[derive(Clone, Debug, PartialEq)]
pub struct Fn {
    /// Its name.
    pub name: Ident,
    /// Names and types of the parameters.
    pub params: Vec<(Ident, DType)>,
    /// Type of the result.
    pub ret: DType,
    /// `let`s before the result; empty for the `= e` form.
    pub lets: Vec<(Ident, Expr)>,
    /// The result.
    pub body: Expr,
}

/// A kernel or pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Its name.
    pub name: Ident,
    /// Parameters.
    pub params: Vec<Param>,
    /// Conditions behind `where`.
    pub wheres: Vec<Expr>,
    /// Statements.
    pub body: Vec<Stmt>,
}

/// Direction of a tensor parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `in`
    In,
    /// `out`
    Out,
    /// `inout`
    InOut,
}

/// A parameter. A tensor has a mode; a scalar has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Ident,
    /// Direction, for tensors.
    pub mode: Option<Mode>,
    /// Element type and extents.
    pub ty: Type,
    /// Attributes in order.
    pub attrs: Vec<Attr>,
}

/// Element type, and extents (of tensors) or axis names (of tile values).
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Extents or axis names; empty for scalars.
    pub shape: Vec<Expr>,
    /// Its place.
    pub span: Span,
}

/// An attribute of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Attr {
    /// What it is.
    pub kind: AttrKind,
    /// Its place.
    pub span: Span,
}

/// What an attribute is.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrKind {
    /// `edge clamp`: one rule for every axis.
    Edge(Edge),
    /// `edge (y clamp, x wrap)`: by axis; the names are those of the size or a position.
    EdgePerAxis(Vec<(Ident, Edge)>),
    /// `packed(d)`
    Packed(Expr),
    /// `range a..b`
    Range(Expr, Expr),
    /// `monotone`, `injective`, `const_`, `bag`
    Flag(Ident),
}

/// What a read outside the tensor gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Edge {
    /// The nearest element.
    Clamp,
    /// The element modulo the extent.
    Wrap,
    /// Mirrored, the end sample not repeated.
    Reflect,
    /// Mirrored, the end sample repeated.
    Symmetric,
    /// A value.
    Const(Box<Expr>),
}

/// The values that an axis runs over.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// `0..hi`, written `hi`.
    Extent(Expr),
    /// `lo..hi`
    Range(Expr, Expr),
}

/// `k in dom`
#[derive(Clone, Debug, PartialEq)]
pub struct AxisDecl {
    /// The axis.
    pub name: Ident,
    /// Its values.
    pub domain: Domain,
}

/// A tile size in `tiles(.. ; bm, 16)`.
#[derive(Clone, Debug, PartialEq)]
pub enum TileSize {
    /// A tunable or free name.
    Name(Ident),
    /// A literal.
    Int(i64, Span),
}

/// `x: T = e` of a `carry`.
#[derive(Clone, Debug, PartialEq)]
pub struct CarryDecl {
    /// Its name.
    pub name: Ident,
    /// Element type and axes.
    pub ty: Type,
    /// Initial value.
    pub init: Expr,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// Its place.
    pub span: Span,
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let x: T = e`
    Let {
        /// Name bound.
        name: Ident,
        /// Declared type, which also fixes the order of axes.
        ty: Option<Type>,
        /// Value.
        value: Expr,
    },
    /// `var x: T = e`
    Var {
        /// Name bound.
        name: Ident,
        /// Type.
        ty: Type,
        /// Initial value.
        value: Expr,
    },
    /// `lv op e`
    Assign {
        /// What is written.
        target: LValue,
        /// How.
        op: AssignOp,
        /// With what.
        value: Expr,
    },
    /// `for (i, j) in tiles(dom, dom; bm, bn) with k in dom { .. }`
    For {
        /// Axis names.
        axes: Vec<Ident>,
        /// One domain per axis.
        domains: Vec<Domain>,
        /// Tile sizes: one per axis, or none.
        tiles: Vec<TileSize>,
        /// Axes seen whole.
        with: Vec<AxisDecl>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `with k in dom { .. }`
    With {
        /// Axes.
        axes: Vec<AxisDecl>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `seq t in a..b carry (..) { .. }`
    Seq {
        /// The counter.
        name: Ident,
        /// First value.
        lo: Expr,
        /// One past the last value.
        hi: Expr,
        /// Carried values.
        carry: Vec<CarryDecl>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `fold j in tiles(dom; bj) carry (..) { .. }`
    Fold {
        /// The axis.
        name: Ident,
        /// Its values.
        domain: Domain,
        /// Tile size.
        tile: Option<TileSize>,
        /// Carried values.
        carry: Vec<CarryDecl>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `next a[lo] = e, b = e`
    Next(Vec<(LValue, Expr)>),
    /// `if c { .. } else { .. }`
    If {
        /// Condition.
        cond: Expr,
        /// Run when true.
        then: Vec<Stmt>,
        /// Run when false.
        otherwise: Vec<Stmt>,
    },
    /// `f(args)`: a kernel, `fill`, `copy`, `append`, `sort`.
    Call {
        /// Callee.
        callee: Ident,
        /// Arguments.
        args: Vec<Arg>,
    },
    /// `repeat t in a..b pingpong (x, y) { .. }`
    Repeat {
        /// The counter.
        name: Ident,
        /// First value.
        lo: Expr,
        /// One past the last value.
        hi: Expr,
        /// Pairs of buffers that change places after each pass.
        pingpong: Vec<(Ident, Ident)>,
        /// Statements.
        body: Vec<Stmt>,
    },
    /// `buf x: T`
    Buf {
        /// Its name.
        name: Ident,
        /// Element type and extents.
        ty: Type,
    },
    /// Stands where the text could not be parsed; an error has been reported.
    Error,
}

/// What is assigned to: `x` or `x[..]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LValue {
    /// A tensor, `var` or carry.
    pub name: Ident,
    /// Indices, if any are written.
    pub indices: Option<Vec<Expr>>,
    /// Its place.
    pub span: Span,
}

/// `=`, `+=`, ..
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignOp {
    /// `=`
    Set,
    /// `+=`
    Add,
    /// `-=`
    Sub,
    /// `*=`
    Mul,
    /// `max=`
    Max,
    /// `min=`
    Min,
}

/// An argument of a call, a verb or a distribution.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// `e`
    Expr(Expr),
    /// `a..b`
    Range(Expr, Expr),
    /// `key = e`
    Named(Ident, Expr),
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its place.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// An integer literal; `hex` says that it was written `0x..`.
    Int {
        /// Value; literals up to `u64::MAX` are accepted.
        value: u64,
        /// Written in hexadecimal.
        hex: bool,
    },
    /// A float literal; the text is kept so that printing is the identity.
    Float {
        /// Value.
        value: f64,
        /// As written.
        text: String,
    },
    /// `true`, `false`
    Bool(bool),
    /// A name.
    Name(String),
    /// `hw.shared`
    Field(Box<Expr>, Ident),
    /// `-e`, `!e`, `~e`
    Unary(UnaryOp, Box<Expr>),
    /// `a op b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `A[i, k]`
    Index(Box<Expr>, Vec<Expr>),
    /// `sum[k](e)`, `sum[k in 0..K, j](e)`, `dot[k](a, b)`, `scan[i](e, add)`
    Reduce {
        /// The operator's name.
        op: Ident,
        /// Axes named or bound.
        axes: Vec<ReduceAxis>,
        /// Operands.
        args: Vec<Expr>,
    },
    /// `f(args)`; arguments may be named or ranges in distributions, checks and verbs.
    Call(Ident, Vec<Arg>),
    /// `f32(e)`
    Cast(DType, Box<Expr>),
    /// `f16` where a type is an argument, as in `lower(x, f16)`.
    DType(DType),
    /// `[a, b]`
    Array(Vec<Expr>),
    /// `(e)`; kept so that printing is the identity.
    Paren(Box<Expr>),
    /// Stands where the text could not be parsed.
    Error,
}

/// An axis of a reduction.
#[derive(Clone, Debug, PartialEq)]
pub enum ReduceAxis {
    /// An axis in scope.
    Name(Ident),
    /// An axis of the reduction's own: `k in 0..K`.
    Bind(AxisDecl),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `!`
    Not,
    /// `~`
    BitNot,
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `&`
    BitAnd,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
}

impl BinaryOp {
    /// The operator as written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "||",
            BinaryOp::And => "&&",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::BitOr => "|",
            BinaryOp::BitXor => "^",
            BinaryOp::BitAnd => "&",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
        }
    }
}

/// The plain statement of what a kernel computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The kernel or pipeline.
    pub name: Ident,
    /// Statements.
    pub body: Vec<Stmt>,
}

/// `variant name = of`: `name` computes the same as `of`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The kernel that may stand in.
    pub name: Ident,
    /// The kernel that it stands in for.
    pub of: Ident,
}

/// The space of ways to run a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Tune {
    /// The kernel or pipeline.
    pub name: Ident,
    /// The only target that it is for.
    pub target: Option<Ident>,
    /// Tunables and constraints in order.
    pub items: Vec<TuneItem>,
}

/// An item of a `tune`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all items are the large one")]
pub enum TuneItem {
    /// `bm in pow2(16..256) = 64`
    Var {
        /// The tunable.
        name: Ident,
        /// Its values.
        domain: TuneDomain,
        /// Used without a search.
        value: Option<Expr>,
    },
    /// `require e`
    Require(Expr),
}

/// The values of a tunable.
#[derive(Clone, Debug, PartialEq)]
pub enum TuneDomain {
    /// `{1, 2, 4}`
    Set(Vec<Expr>),
    /// `a..b`, the end excluded
    Range(Expr, Expr),
    /// `pow2(a..b)`: powers of two, both ends included
    Pow2(Expr, Expr),
}

/// A named list of verbs for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The kernel or pipeline.
    pub name: Ident,
    /// The target.
    pub target: Ident,
    /// Sizes that it is for.
    pub when: Option<Expr>,
    /// Verbs in order.
    pub verbs: Vec<Verb>,
}

/// `stage(A, at = k, in = shared)`
#[derive(Clone, Debug, PartialEq)]
pub struct Verb {
    /// The verb.
    pub name: Ident,
    /// Anchors and options.
    pub args: Vec<Arg>,
    /// Its place.
    pub span: Span,
}

/// What a kernel or pipeline is judged on.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The kernel or pipeline.
    pub name: Ident,
    /// Items in order.
    pub items: Vec<TaskItem>,
}

/// `{M=64, N=32}`
#[derive(Clone, Debug, PartialEq)]
pub struct SizeSet {
    /// Names and values in order.
    pub entries: Vec<(Ident, Expr)>,
    /// Its place.
    pub span: Span,
}

/// An item of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskItem {
    /// What it is.
    pub kind: TaskItemKind,
    /// Its place.
    pub span: Span,
}

/// What an item of a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskItemKind {
    /// Sizes that drive the search.
    Search(Vec<SizeSet>),
    /// Sizes that select the winner.
    Heldout(Vec<SizeSet>),
    /// Sizes read once, for the report.
    Sealed(Vec<SizeSet>),
    /// `sizes N in a..b multiple of m`
    Sizes {
        /// The size.
        name: Ident,
        /// First value.
        lo: Expr,
        /// One past the last value.
        hi: Expr,
        /// Every value is a multiple of this.
        multiple: Option<Expr>,
    },
    /// `init X ~ normal(0.0, 1.0)`, `init al in 0.05..0.24`, `init T = 3`
    Init {
        /// The parameter.
        name: Ident,
        /// Where its values come from.
        dist: Init,
    },
    /// `tol X: nrmse <= 1e-3, maxrel <= 1e-2` or `tol X: exact`
    Tol {
        /// The parameter.
        name: Ident,
        /// The bounds.
        bounds: Vec<Expr>,
    },
    /// `cost flops = e`
    Cost {
        /// `flops` or `bytes`.
        name: Ident,
        /// The count.
        value: Expr,
    },
    /// `allow reassoc, lower(acc, f16)`
    Allow(Vec<Expr>),
    /// `check conserved(sum(f), 1e-5)`
    Check(Expr),
}

/// Where the values of an input come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// `~ normal(0.0, 1.0)`
    Dist(Expr),
    /// `in a..b`
    Range(Expr, Expr),
    /// `= e`
    Value(Expr),
}

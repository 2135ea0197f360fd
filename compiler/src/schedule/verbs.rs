//! The table of schedule verbs: what exists, how it is written, and where it has an effect.

use crate::diag::suggest;

/// What an anchor may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// An axis or counter.
    Axis,
    /// A `let`, `var` or carry.
    Value,
    /// A tensor: parameter or `buf`.
    Tensor,
    /// A value or a tensor.
    ValueOrTensor,
    /// A size name.
    Size,
    /// A function of the vocabulary.
    Function,
    /// A kernel that the pipeline calls.
    Kernel,
}

impl Anchor {
    /// In a message: "no {noun} `x`".
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Anchor::Axis => "axis",
            Anchor::Value => "let, var or carry",
            Anchor::Tensor => "tensor",
            Anchor::ValueOrTensor => "let, var or tensor",
            Anchor::Size => "size",
            Anchor::Function => "function",
            Anchor::Kernel => "kernel",
        }
    }
}

/// How much of a verb's positional arguments are anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchors {
    /// None.
    None,
    /// The first.
    First(Anchor),
    /// All of them.
    All(Anchor),
}

/// Whether a verb changes CPU code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCpu {
    /// It is a typed [`super::plan::Verb`].
    Yes,
    /// Its mechanism exists only on GPUs.
    GpuOnly,
    /// Known and checked, without an effect yet.
    NotYet,
}

/// A verb.
#[derive(Clone, Copy, Debug)]
pub struct VerbInfo {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// Where its anchors stand.
    pub anchors: Anchors,
    /// Whether it changes CPU code.
    pub cpu: OnCpu,
}

const fn verb(name: &'static str, usage: &'static str, anchors: Anchors, cpu: OnCpu) -> VerbInfo {
    VerbInfo { name, usage, anchors, cpu }
}

/// Every verb.
#[rustfmt::skip]
pub const VERBS: &[VerbInfo] = {
    use Anchor::{Axis, Function, Kernel, Size, Tensor, Value, ValueOrTensor};
    use Anchors::{All, First, None};
    use OnCpu::{GpuOnly, NotYet, Yes};
    &[
        verb("tile", "tile(i, n, ..)", First(Axis), Yes),
        verb("order", "order(i.0, j.0, k, ..)", All(Axis), Yes),
        verb("parallel", "parallel(i, ..) or parallel(i, balance = nnz)", All(Axis), Yes),
        verb("grid", "grid(i, j, .., group = g, order = heavy_first)", All(Axis), GpuOnly),
        verb("thread", "thread(i) or thread(i, n)", First(Axis), GpuOnly),
        verb("warps", "warps(n)", None, GpuOnly),
        verb("vector", "vector(j, n)", First(Axis), Yes),
        verb("unroll", "unroll(i) or unroll(i, n)", First(Axis), Yes),
        verb("stage", "stage(T, at = k, in = local or shared, layout = panel(n), depth = d, async, pad(p), swizzle(b))", First(Tensor), Yes),
        verb("keep", "keep(x, in = reg or local or shared)", First(ValueOrTensor), Yes),
        verb("recompute", "recompute(x)", First(Value), Yes),
        verb("mma", "mma(acc)", First(Value), GpuOnly),
        verb("micro", "micro(acc)", First(Value), GpuOnly),
        verb("split", "split(k, n, merge = two_pass or atomic)", First(Axis), Yes),
        verb("roll", "roll(j, n, passes = p)", First(Axis), Yes),
        verb("fuse_online", "fuse_online(e)", First(Value), Yes),
        verb("tail", "tail(i, .., predicate or peel or pad or shift)", All(Axis), Yes),
        verb("peel", "peel(j, diagonal or border)", First(Axis), NotYet),
        verb("scan", "scan(y, via = serial or two_pass or three_pass or lookback, items = n)", First(ValueOrTensor), Yes),
        verb("scatter", "scatter(h, via = global or privatize or sort, in = local or shared, copies = n)", First(Tensor), Yes),
        verb("ragged", "ragged(e, via = lane or warp or merge)", First(Axis), Yes),
        verb("append", "append(l, via = atomic or owner or sort)", First(Tensor), Yes),
        verb("time_tile", "time_tile(t, n, style = overlapped or trapezoid)", First(Axis), NotYet),
        verb("graph", "graph(on)", None, GpuOnly),
        verb("inplace", "inplace(a, b)", All(Tensor), Yes),
        verb("fuse", "fuse(k1, k2)", All(Kernel), NotYet),
        verb("layout", "layout(P, soa or transpose)", First(Tensor), Yes),
        verb("prepack", "prepack(W, layout)", First(Tensor), NotYet),
        verb("nontemporal", "nontemporal(C)", First(Tensor), NotYet),
        verb("prefetch", "prefetch(A, n)", First(Tensor), NotYet),
        verb("table", "table(f)", First(Function), NotYet),
        verb("fuse_stages", "fuse_stages(s, radix)", First(Axis), NotYet),
        verb("exchange", "exchange(a, via = shuffle or shared, pad = n)", First(Value), GpuOnly),
        verb("convert", "convert(w, at = reg or local, via = shift or lut)", First(Value), NotYet),
        verb("spread", "spread(d, n, sync = s)", First(Axis), GpuOnly),
        verb("specialize", "specialize(D)", First(Size), Yes),
        verb("math", "math(exp, ulp = n)", First(Function), Yes),
    ]
};

/// Functions that `math` and `table` may name.
pub const FUNCTIONS: &[&str] = &[
    "sqrt", "rsqrt", "exp", "exp2", "log", "log2", "log1p", "expm1", "sin", "cos", "tan", "tanh", "sigmoid",
    "erf", "erfc", "pow", "cis", "div",
];

/// The verb of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static VerbInfo> {
    VERBS.iter().find(|v| v.name == name)
}

/// The verb whose name is nearest.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    suggest(name, VERBS.iter().map(|v| v.name))
}

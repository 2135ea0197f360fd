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

/// Where a verb has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// On every device.
    Everywhere,
    /// On processors; elsewhere not yet.
    Cpu,
    /// On GPUs, whose mechanism it names.
    Gpu,
    /// Its mechanism exists only on GPUs, and is not used yet.
    GpuNotYet,
    /// Nowhere yet: known and checked.
    NotYet,
}

impl Effect {
    /// Whether the verb is a typed [`super::plan::Verb`].
    #[must_use]
    pub fn is_typed(self) -> bool {
        matches!(self, Effect::Everywhere | Effect::Cpu | Effect::Gpu)
    }
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
    /// Where it has an effect.
    pub effect: Effect,
}

const fn verb(name: &'static str, usage: &'static str, anchors: Anchors, effect: Effect) -> VerbInfo {
    VerbInfo { name, usage, anchors, effect }
}

/// Every verb.
#[rustfmt::skip]
pub const VERBS: &[VerbInfo] = {
    use Anchor::{Axis, Function, Kernel, Size, Tensor, Value, ValueOrTensor};
    use Anchors::{All, First, None};
    use Effect::{Cpu, Everywhere, Gpu, GpuNotYet, NotYet};
    &[
        verb("tile", "tile(i, n, ..)", First(Axis), Everywhere),
        verb("order", "order(i.0, j.0, k, ..)", All(Axis), Everywhere),
        verb("parallel", "parallel(i, ..) or parallel(i, balance = nnz)", All(Axis), Everywhere),
        verb("grid", "grid(i, j, .., group = g, order = heavy_first)", All(Axis), Gpu),
        verb("thread", "thread(i) or thread(i, n)", First(Axis), Gpu),
        verb("warps", "warps(n)", None, Gpu),
        verb("vector", "vector(j, n)", First(Axis), Everywhere),
        verb("unroll", "unroll(i) or unroll(i, n)", First(Axis), Everywhere),
        verb("stage", "stage(T, at = k, in = local or shared, layout = panel(n) or panel(n, q), depth = d, async, pad(p), swizzle(b))", First(Tensor), Everywhere),
        verb("keep", "keep(x, in = reg or local or shared)", First(ValueOrTensor), Everywhere),
        verb("recompute", "recompute(x)", First(Value), Everywhere),
        verb("mma", "mma(acc)", First(ValueOrTensor), Gpu),
        verb("micro", "micro(acc)", First(Value), GpuNotYet),
        verb("split", "split(k, n, merge = two_pass or atomic)", First(Axis), Everywhere),
        verb("roll", "roll(j, n, passes = p)", First(Axis), Everywhere),
        verb("fuse_online", "fuse_online(e)", First(Value), Everywhere),
        verb("tail", "tail(i, .., predicate or peel or pad or shift)", All(Axis), Everywhere),
        verb("peel", "peel(j, diagonal or border)", First(Axis), NotYet),
        verb("scan", "scan(y, via = serial or two_pass or three_pass or lookback, items = n)", First(ValueOrTensor), Everywhere),
        verb("scatter", "scatter(h, via = global or atomic or privatize or sort, in = local or shared, copies = n)", First(Tensor), Everywhere),
        verb("ragged", "ragged(e, via = lane or warp or merge)", First(Axis), Everywhere),
        verb("append", "append(l, via = atomic or owner or sort)", First(Tensor), Everywhere),
        verb("time_tile", "time_tile(t, n, style = overlapped or wavefront or trapezoid)", First(Axis), Cpu),
        verb("graph", "graph(on)", None, Gpu),
        verb("inplace", "inplace(a, b)", All(Tensor), Everywhere),
        verb("fuse", "fuse(k1, k2, ..)", All(Kernel), Everywhere),
        verb("layout", "layout(P, soa or transpose)", First(Tensor), Everywhere),
        verb("prepack", "prepack(W, soa or transpose, panel(n)) with one of both or both", First(Tensor), Everywhere),
        verb("nontemporal", "nontemporal(C)", First(Tensor), Everywhere),
        verb("prefetch", "prefetch(A, n)", First(Tensor), Cpu),
        verb("table", "table(f)", First(Function), Cpu),
        verb("fuse_stages", "fuse_stages(s, radix)", First(Axis), NotYet),
        verb("exchange", "exchange(a, via = shuffle or shared, pad = n)", First(Value), GpuNotYet),
        verb("convert", "convert(w, at = reg or local, via = shift or lut)", First(Value), NotYet),
        verb("spread", "spread(d, n, sync = s)", First(Axis), GpuNotYet),
        verb("specialize", "specialize(D)", First(Size), Everywhere),
        verb("math", "math(exp, ulp = n)", First(Function), Everywhere),
    ]
};

/// Functions that `math` and `table` may name.
pub const FUNCTIONS: &[&str] = &[
    "sqrt", "rsqrt", "exp", "exp2", "log", "log2", "log1p", "expm1", "sin", "cos", "tan", "tanh", "sigmoid",
    "erf", "erfc", "pow", "cis", "bitrev", "div",
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

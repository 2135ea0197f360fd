//! A schedule as data: a flat list of typed verbs. Anchors are names of the algorithm, so that a plan survives edits of
//! the text and applies to every kernel of a pipeline where its anchors resolve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values of tunables and of free tile names.
pub type Assignment = BTreeMap<String, i64>;

/// A schedule: verbs in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The verbs.
    pub verbs: Vec<Verb>,
}

impl Plan {
    /// Whether a verb shares axes out over cores or groups.
    #[must_use]
    pub fn shares_out(&self) -> bool {
        self.verbs.iter().any(Verb::shares_out)
    }
}

/// A count in a verb: a literal or a tunable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Amount {
    /// A literal.
    Int(i64),
    /// A tunable.
    Name(String),
}

impl Amount {
    /// The amount's value under an assignment; `None` for a name that it lacks.
    #[must_use]
    pub fn value(&self, assignment: &Assignment) -> Option<i64> {
        match self {
            Amount::Int(v) => Some(*v),
            Amount::Name(name) => assignment.get(name).copied(),
        }
    }
}

/// An axis, or one level of a tiled axis: `i.0` is the outermost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AxisRef {
    /// The axis.
    pub name: String,
    /// The level, counted from the outside in.
    pub level: Option<u32>,
}

/// Where a value or a staged copy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// Registers.
    Reg,
    /// Memory of one thread.
    Local,
    /// Memory of the threads that work together.
    Shared,
}

/// A verb with its anchors and options.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// `tile(i, 256, 16)`: the tile sizes of `i`, from the outside in; levels `i.0`, `i.1`, .., the last the points.
    Tile {
        /// The axis.
        axis: String,
        /// Sizes.
        sizes: Vec<Amount>,
    },
    /// `order(i.0, j.0, k.0, i.1, j.1)`: loops from the outside in; axes not named come after, in their own order.
    Order(Vec<AxisRef>),
    /// `parallel(i, j)`: shared out over the cores.
    Parallel {
        /// The axes.
        axes: Vec<String>,
        /// `balance = nnz`: chunks of equal work rather than equal length.
        balance: Option<String>,
    },
    /// `grid(i, j, group = g)`: shared out over the groups of a GPU.
    Grid {
        /// The axes.
        axes: Vec<String>,
        /// Groups that lie near each other in memory run near each other in time, in bands of so many.
        group: Option<Amount>,
    },
    /// `thread(i, n)`: `n` points of `i` at once, by as many threads of a group.
    Thread {
        /// The axis.
        axis: String,
        /// Threads.
        count: Option<Amount>,
    },
    /// `mma(acc)`: a sum of products, or what a value or tensor is set to, by the matrix units of a GPU.
    Mma(String),
    /// `warps(n)`: `n` subgroups of a group share out what matrix units do.
    Warps(Amount),
    /// `vector(j, n)`: `n` lanes along `j`.
    Vector {
        /// The axis.
        axis: String,
        /// Lanes.
        lanes: Amount,
    },
    /// `unroll(i, n)`: `n` points of `i` at once, jammed into the innermost loop; without `n` the whole axis, whose
    /// extent must be constant.
    Unroll {
        /// The axis.
        axis: String,
        /// Points.
        count: Option<Amount>,
    },
    /// `stage(B, at = k, in = local, layout = panel(16))`: copies the part of a tensor that one pass of a loop reads.
    Stage {
        /// The tensor.
        tensor: String,
        /// The loop inside which the copy is made.
        at: AxisRef,
        /// Where the copy lives.
        place: Place,
        /// `layout = panel(n)`: the vectorised dimension cut into panels of `n`, each contiguous.
        panel: Option<Amount>,
        /// `layout = panel(n, q)`: `q` neighbours along the axis of `at` lie side by side for each element of a panel.
        deep: Option<i64>,
    },
    /// `keep(acc, in = reg)`: where a tile value lives.
    Keep {
        /// The value.
        value: String,
        /// Where.
        place: Place,
    },
    /// `recompute(x)`: computes a value again at each use instead of storing it.
    Recompute(String),
    /// `roll(j, n, passes = p)`: rolls a whole axis in tiles of `n`.
    Roll {
        /// The axis.
        axis: String,
        /// Tile.
        tile: Amount,
        /// Passes over the axis, where fewer than statements need is asked for.
        passes: Option<Amount>,
    },
    /// `split(k, n, merge = two_pass)`: `n` partial reductions, merged.
    Split {
        /// The reduced axis.
        axis: String,
        /// Parts.
        parts: Amount,
        /// `two_pass` or `atomic`.
        merge: Merge,
    },
    /// `tail(i, j, peel)`: how ragged ends are run.
    Tail {
        /// The axes.
        axes: Vec<String>,
        /// How.
        style: TailStyle,
    },
    /// `scan(y, via = two_pass)`: how a running reduction runs.
    Scan {
        /// The tensor or value that receives it.
        target: String,
        /// How.
        via: ScanVia,
        /// Elements a thread handles at once.
        items: Option<Amount>,
    },
    /// `scatter(h, via = privatize, copies = 4)`: how a scatter-reduction runs.
    Scatter {
        /// The tensor.
        target: String,
        /// How.
        via: ScatterVia,
        /// Private copies.
        copies: Option<Amount>,
        /// Where private copies live.
        place: Option<Place>,
    },
    /// `ragged(e, via = lane)`: how an axis of varying extent runs.
    Ragged {
        /// The axis.
        axis: String,
        /// How.
        via: RaggedVia,
    },
    /// `append(l, via = sort)`: how lists are built.
    Append {
        /// The list.
        target: String,
        /// How.
        via: AppendVia,
    },
    /// `layout(P, soa)`: how a tensor of a pipeline, or a `const_` input, is stored.
    Layout {
        /// The tensor.
        tensor: String,
        /// How.
        layout: TensorLayout,
    },
    /// `prepack(W, transpose, panel(32))`: a `const_` input is copied to another order once for all runs on its content. With
    /// neither, the order of matrix units is meant, and nothing is done.
    Prepack {
        /// The tensor.
        tensor: String,
        /// The order of its dimensions, where it is not the signature's.
        layout: Option<TensorLayout>,
        /// `panel(n)`: the dimension that is then the last is cut into panels of `n`, each contiguous.
        panel: Option<Amount>,
    },
    /// `inplace(a, b)`: one storage for two tensors of a pipeline.
    Inplace {
        /// Kept.
        kept: String,
        /// Replaced by `kept`.
        replaced: String,
    },
    /// `fuse(k1, k2)`: kernels that a pipeline calls one after the other become one.
    Fuse(Vec<String>),
    /// `nontemporal(C)`: what is written to a tensor goes past the caches, where it has more bytes than they hold.
    Nontemporal(String),
    /// `prefetch(A, n)`: what a loop reads of a tensor is fetched so many passes ahead; with 0, nothing of it.
    Prefetch {
        /// The tensor.
        tensor: String,
        /// Passes of the innermost loop along which its address moves.
        passes: Amount,
    },
    /// `fuse_online(e)`: online rescaling of a row operation.
    FuseOnline(String),
    /// `specialize(D)`: a size fixed at compile time.
    Specialize(String),
    /// `math(exp, ulp = n)`: which approximation is used.
    Math {
        /// The function.
        function: String,
        /// Error accepted, in units in the last place.
        ulp: Amount,
    },
    /// `table(cis)`: calls whose operands are counters and axes are made once for all values, and read from memory.
    Table(String),
    /// `time_tile(t, n, style = overlapped or wavefront)`: `n` steps of a repeat at once, block by block.
    TimeTile {
        /// The counter of the repeat.
        axis: String,
        /// Steps; 1 leaves the repeat as it is.
        steps: Amount,
        /// How blocks meet.
        style: TimeStyle,
    },
    /// `graph(on)`: all commands of a program are recorded once, and a run submits them. This is what always happens.
    Graph,
    /// A verb that is known and checked for its anchors but has no effect, kept as written.
    Other {
        /// The verb.
        name: String,
        /// Anchors that must resolve.
        anchors: Vec<String>,
        /// The arguments as canonical text.
        text: String,
    },
}

impl Verb {
    /// Whether it shares axes out over cores or groups.
    #[must_use]
    pub fn shares_out(&self) -> bool {
        matches!(self, Verb::Parallel { .. } | Verb::Grid { .. })
    }
}

/// How blocks of the grid that are taken through several steps meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimeStyle {
    /// Each computes what it needs around it for itself.
    Overlapped,
    /// Rows of all steps in turn, each step some rows behind the one before, which stay in cache for it.
    Wavefront,
    /// Blocks that shrink with the steps, then those between them that grow.
    Trapezoid,
}

/// How partial reductions are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Merge {
    /// Parts in scratch memory, then a pass that adds them in order.
    TwoPass,
    /// Each part by an atomic operation on the result.
    Atomic,
}

/// How ragged ends are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TailStyle {
    /// Under a mask.
    Predicate,
    /// By a loop of single points after the full blocks.
    Peel,
    /// By padding.
    Pad,
    /// By a last full block that overlaps its neighbour.
    Shift,
}

/// How a running reduction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScanVia {
    /// By one core in order.
    Serial,
    /// Sums of parts, then each part again from its offset.
    TwoPass,
    /// Parts scanned, sums scanned, offsets added.
    ThreePass,
    /// Decoupled look-back (GPU).
    Lookback,
}

/// How a scatter-reduction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ScatterVia {
    /// Straight to the tensor, by one core.
    Global,
    /// Straight to the tensor, each update an atomic one: its passes may be shared out.
    Atomic,
    /// Into private copies, merged at the end.
    Privatize,
    /// By sorting.
    Sort,
}

/// How an axis of varying extent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RaggedVia {
    /// Vector lanes along the axis.
    Lane,
    /// One warp a row (GPU).
    Warp,
    /// Equal parts of all elements together.
    Merge,
}

/// How lists are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AppendVia {
    /// Atomic counters.
    Atomic,
    /// Each list by the core that owns its key.
    Owner,
    /// Counted, then placed: the order of a serial run.
    Sort,
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TensorLayout {
    /// The last, short dimension outermost.
    Soa,
    /// The last two dimensions exchanged.
    Transpose,
}

//! From the tree of loops to a nest. Loops with a block below them are peeled: full blocks, narrower ones of lanes or of
//! rows that add up, then single points; where reads leave a tensor at its edges, blocks of the interior read without the edge rule and the ends are single points.
//!
//! ```text
//! for j in lo..hi step 16 { b }  =>  for j in lo..mid step 16 { b, 16 points }  for j in mid..hi { b, 1 point }
//! ```

mod atomic;
mod copies;
mod ends;
mod loops;
mod masked;
mod matrix;
mod pairs;
mod promote;
mod scans;
mod slanted;
mod tails;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::DType;

pub(super) use self::pairs::MOST_SCANNED;
pub(super) use self::promote::MOST_HELD;
pub(super) use self::values::LARGE;
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, ExprId, ReduceOp, TensorId, ValueId};
use crate::nest::build::Builder;
use crate::nest::ir::{self as nest, BinaryOp, BufferId, LoopKind};
use crate::schedule::form::Form;
use crate::schedule::fuse::Tree;
use crate::schedule::in_place::InPlace;
use crate::schedule::levels::{LevelId, LevelKind, Levels};
use crate::schedule::storage::{Dim, Home, HomeSpace};

/// A value of any type: a number, or a complex pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Val {
    /// Anything but complex.
    Real(nest::ExprId),
    /// Real and imaginary part.
    Complex(nest::ExprId, nest::ExprId),
}

/// How a tensor of the kernel is found in memory.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// The buffer.
    pub(crate) buffer: BufferId,
    /// For each dimension of the buffer: the tensor's dimension and what its index 0 stands for, or a fixed index.
    pub(crate) dims: Vec<BindingDim>,
    /// Dimension of the buffer along which sub-byte elements share bytes.
    pub(crate) packed: Option<usize>,
}

/// A dimension of a buffer as a tensor sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BindingDim {
    /// Dimension of the tensor, and the index of the buffer where it starts.
    View(usize, Option<nest::ExprId>),
    /// Held at an index.
    Fixed(nest::ExprId),
    /// The numbers of panels of so many elements along the tensor's dimension.
    Panel(usize, i64),
    /// The place within such a panel.
    InPanel(usize, i64),
}

/// The state of an axis while its loops are written.
#[derive(Clone, Copy, Debug, Default)]
struct AxisState {
    /// First point of the current pass of the innermost open step level.
    base: Option<nest::ExprId>,
    /// Point within the block, of one thread; of lanes that are dealt, its place in registers.
    unit: Option<nest::ExprId>,
    /// Point within a block whose lanes are dealt.
    dealt: Option<nest::ExprId>,
    /// Number of the thread.
    thread: Option<nest::ExprId>,
    /// Step of the loop over threads, where it runs; else 0.
    every: i64,
    /// Blocks have one point; one for each thread, below the end of the axis.
    single: bool,
    /// Points of a block that has fewer than its level says, since the range ends before.
    narrow: Option<i64>,
    /// Which points of a block run, where not all do.
    mask: Option<masked::Mask>,
    /// Where single points end.
    end: Option<nest::ExprId>,
    /// No read leaves its tensor along the axis, and comparisons with its ends are decided.
    interior: bool,
    /// Points may lie beyond the bounds of the axis, which follow another: statements ask.
    asks: bool,
    /// Tiles of a fold may lie beyond its bounds.
    late: bool,
    /// All points lie beyond this bound of those.
    beyond: Option<ends::Between>,
}

/// A buffer of a value: two for complex values.
#[derive(Clone, Debug)]
struct ValueBuffer {
    parts: Vec<BufferId>,
    dims: Vec<Dim>,
    space: HomeSpace,
    /// It is a tensor, whose dimensions are these axes.
    tensor: Option<(TensorId, Vec<AxisId>)>,
}

/// Writes a nest.
pub(crate) struct Emitter<'a> {
    /// The kernel.
    pub(crate) form: &'a Form,
    /// Its loops.
    pub(crate) levels: &'a Levels,
    /// The nest.
    pub(crate) b: Builder,
    /// Where tensors are.
    pub(crate) tensors: Vec<Binding>,
    /// Where values live.
    homes: &'a [Option<Home>],
    /// Sums that are made where they end up.
    in_place: &'a InPlace,
    axes: Vec<AxisState>,
    level_base: BTreeMap<LevelId, nest::ExprId>,
    counters: BTreeMap<AxisId, nest::ExprId>,
    lets: BTreeMap<ValueId, Val>,
    buffers: BTreeMap<ValueId, ValueBuffer>,
    matrices: BTreeMap<usize, matrix::Matrices>,
    /// Scratch buffers that all phases see, in order of slots.
    pub(crate) scratch: Vec<(BufferId, DType)>,
    pub(in crate::schedule) out: Vec<nest::Stmt>,
    pub(in crate::schedule) memo: crate::schedule::expr::Memo,
    pub(in crate::schedule) shared: BTreeSet<ExprId>,
    pub(in crate::schedule) guard: Option<nest::ExprId>,
    /// Where the statement that is being written changes what it writes.
    pub(in crate::schedule) only: Option<nest::ExprId>,
    pub(in crate::schedule) tables: BTreeMap<usize, BufferId>,
    next_slot: u32,
    /// Threads of the groups that run the phase; 0 where each chunk is one thread's.
    group: i64,
    /// Bytes of vectors that have masks; 0 where none have.
    pub(in crate::schedule) masked_bytes: i64,
    /// Quotients and remainders by the lengths of panels.
    pub(in crate::schedule) divisions: Vec<nest::ExprId>,
    /// Registers that each pass of a block under a mask begins anew, so that nobody sees what lies beyond the mask.
    begun: BTreeSet<BufferId>,
}

impl<'a> Emitter<'a> {
    /// An emitter into `b`, whose sizes, scalars and tensor buffers are there.
    pub(crate) fn new(
        form: &'a Form,
        levels: &'a Levels,
        (homes, in_place): (&'a [Option<Home>], &'a InPlace),
        b: Builder,
        tensors: Vec<Binding>,
        next_slot: u32,
    ) -> Emitter<'a> {
        Emitter {
            form,
            levels,
            b,
            tensors,
            homes,
            in_place,
            axes: vec![AxisState::default(); form.func.axes.len()],
            level_base: BTreeMap::new(),
            counters: BTreeMap::new(),
            lets: BTreeMap::new(),
            buffers: BTreeMap::new(),
            matrices: BTreeMap::new(),
            scratch: Vec::new(),
            out: Vec::new(),
            memo: BTreeMap::new(),
            shared: BTreeSet::new(),
            guard: None,
            only: None,
            tables: BTreeMap::new(),
            next_slot,
            group: 0,
            masked_bytes: 0,
            divisions: Vec::new(),
            begun: BTreeSet::new(),
        }
    }

    /// Writes a phase whose passes over the outermost `cores` loops are shared out, each by a `group` of threads; 0
    /// where it is one thread's.
    ///
    /// # Errors
    /// A diagnostic for a construct that the processor cannot run.
    pub(crate) fn phase(&mut self, trees: &[Tree], cores: usize, group: i64) -> Result<(), Diagnostic> {
        let mut loops = Vec::new();
        let mut body: &[Tree] = trees;
        for _ in 0..cores {
            let [Tree::Loop { level, body: inner, .. }] = body else { break };
            let (lo, hi) = self.bounds(*level)?;
            let LevelKind::Step(step) = self.levels.all[*level].kind else { break };
            let (core, var) = self.b.core_loop(&self.levels.all[*level].name, (lo, hi, step));
            loops.push(core);
            self.enter(*level, var);
            body = inner;
        }
        self.group = group;
        let stmts = self.collect(|e| e.trees(body))?;
        let mut all = Vec::new();
        for (table, buffer) in std::mem::take(&mut self.tables) {
            all.extend(self.fill_table(table, buffer));
        }
        all.extend(stmts);
        self.b.add_phase(loops, all);
        self.lets.clear();
        self.level_base.clear();
        self.axes.fill(AxisState::default());
        Ok(())
    }

    fn fill_table(&mut self, table: usize, buffer: BufferId) -> Vec<nest::Stmt> {
        let data = self.form.tables[table].data.clone();
        let dtype = self.b.nest().buffers[buffer].dtype;
        let mut out = Vec::new();
        for (n, v) in data.iter().enumerate() {
            let index = self.b.int(i64::try_from(n).unwrap_or(0));
            let value = self.b.constant(*v, dtype);
            out.push(self.b.store(buffer, &[index], value));
        }
        out
    }

    /// The statements that `f` writes.
    pub(in crate::schedule) fn collect(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<(), Diagnostic>,
    ) -> Result<Vec<nest::Stmt>, Diagnostic> {
        // Names bound inside a list are not seen outside it, and guards do not reach in.
        let before = std::mem::take(&mut self.out);
        let memo = std::mem::take(&mut self.memo);
        let shared = std::mem::take(&mut self.shared);
        let result = f(self);
        let stmts = std::mem::replace(&mut self.out, before);
        self.memo = memo;
        self.shared = shared;
        result.map(|()| stmts)
    }

    fn trees(&mut self, trees: &[Tree]) -> Result<(), Diagnostic> {
        trees.iter().try_for_each(|t| self.tree(t))
    }

    fn tree(&mut self, tree: &Tree) -> Result<(), Diagnostic> {
        match tree {
            Tree::Leaf(s) => self.leaf(*s),
            Tree::Loop { .. } if self.cooperative(tree)? => Ok(()),
            Tree::Loop { level, lanes, body, .. } => match self.levels.all[*level].kind {
                LevelKind::Block { count, .. } if !lanes && self.adds_pairs(body) => {
                    body.iter().try_for_each(|t| self.pairs(*level, count, t))
                }
                LevelKind::Block { count, .. } if !lanes && self.scans_lanes(*level, count, body) => {
                    self.scanned(*level, count, body)
                }
                LevelKind::Block { count, .. } => self.block(*level, count, *lanes, body),
                LevelKind::Threads { count } => {
                    let run_by = (self.every(*level, body), self.whole(*level, body));
                    self.in_threads(*level, count, *lanes, run_by, |e| e.trees(body))
                }
                LevelKind::Step(step) => self.step(*level, step, body),
            },
            Tree::Seq { axis, level, body, .. } => self.seq(*axis, *level, body),
            Tree::If { cond, then, otherwise, .. } => {
                self.begin(&[*cond]);
                let cond = self.real(*cond)?;
                let then = self.collect(|e| e.trees(then))?;
                let otherwise = self.collect(|e| e.trees(otherwise))?;
                self.out.push(nest::Stmt::If { cond, then, otherwise });
                Ok(())
            }
        }
    }

    fn enter(&mut self, level: LevelId, var: nest::ExprId) {
        self.level_base.insert(level, var);
        let axis = self.levels.all[level].axis;
        self.axes[axis.index()].base = Some(var);
    }

    fn seq(&mut self, axis: AxisId, level: Option<LevelId>, body: &[Tree]) -> Result<(), Diagnostic> {
        if let Some(level) = level {
            let LevelKind::Step(step) = self.levels.all[level].kind else { return self.trees(body) };
            let (lo, hi) = self.bounds(level)?;
            let hi = self.named(hi);
            if self.is_slanted(axis) {
                let lo = self.named(lo);
                return self.fold_beyond(level, (lo, hi, step), body);
            }
            return self.serial(level, (lo, hi, step), body);
        }
        let (lo, hi) = (self.form.func.axes[axis].lo, self.form.func.axes[axis].hi);
        self.begin(&[lo, hi]);
        let (lo, hi) = (self.real(lo)?, self.real(hi)?);
        let hi = self.named(hi);
        let var = self.b.add_var(&self.form.func.axes[axis].name, DType::I64);
        let counter = self.b.var(var);
        self.counters.insert(axis, counter);
        let body = self.collect(|e| e.trees(body))?;
        self.out.push(nest::Stmt::Loop { var, lo, hi, step: 1, kind: LoopKind::Serial, body });
        Ok(())
    }

    /// The logical index of an axis or counter.
    pub(in crate::schedule) fn axis(&mut self, axis: AxisId) -> Result<nest::ExprId, Diagnostic> {
        if let Some(counter) = self.counters.get(&axis) {
            return Ok(*counter);
        }
        let state = self.axes[axis.index()];
        let base = match state.base {
            Some(base) => base,
            None => {
                let lo = self.form.func.axes[axis].lo;
                self.pure(lo)?
            }
        };
        Ok(match self.in_block(axis) {
            Some(point) => self.b.add(base, point),
            None => base,
        })
    }

    /// The point within the block of an axis: neighbouring threads have neighbouring points.
    fn in_block(&mut self, axis: AxisId) -> Option<nest::ExprId> {
        let AxisState { unit, thread, dealt, .. } = self.axes[axis.index()];
        if dealt.is_some() {
            return dealt;
        }
        let Some(thread) = thread else { return unit };
        Some(match unit {
            Some(unit) => {
                let first = self.b.mul_int(unit, self.levels.threads(axis));
                self.b.add(first, thread)
            }
            None => thread,
        })
    }

    /// The result of a comparison that is the same at all points where its loops stand.
    pub(in crate::schedule) fn decided(&self, e: ExprId) -> Option<bool> {
        let axes = || self.form.func.exprs[e].axes.iter();
        let inside = axes().filter(|a| self.is_interior(**a) && self.levels.has_lanes(**a));
        let inside = inside.filter_map(|a| ends::decided(self.form, e, *a)).map(|d| d.value).next();
        inside.or_else(|| axes().find_map(|a| self.decided_beyond(e, *a)))
    }

    /// Whether no read leaves its tensor by an index near this axis.
    pub(in crate::schedule) fn is_interior(&self, axis: AxisId) -> bool {
        self.axes[axis.index()].interior
    }
}

/// The type that a processor holds an element in.
///
/// # Errors
/// E0701 for the 8-bit floats.
pub(crate) fn machine_type(dtype: DType, span: Span) -> Result<DType, Diagnostic> {
    Ok(match dtype {
        DType::Tf32 => DType::F32,
        DType::Int { signed, bits } if bits < 8 => DType::Int { signed, bits: 8 },
        DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0 => {
            return Err(Diagnostic::error(
                Code::Backend,
                span,
                format!("`{dtype}` is not supported on the CPU"),
            ));
        }
        other => other.real(),
    })
}

/// The operator of two numbers that a reduction repeats.
pub(crate) fn monoid(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum | ReduceOp::Dot => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max | ReduceOp::Argmax => BinaryOp::Max,
        ReduceOp::Min | ReduceOp::Argmin => BinaryOp::Min,
        ReduceOp::Any => BinaryOp::Or,
        ReduceOp::All => BinaryOp::And,
    }
}

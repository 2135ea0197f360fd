//! The normal form of a kernel: a list of statements, each with all the axes that it runs over and without a
//! reduction inside an expression. Tiles are gone: the rules of the language make a statement's meaning that of one
//! tile as large as the axis, and loops come back when statements are fused.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::{Arena, Handle};
use crate::diag::Span;
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, BinaryOp, Expr, ExprId, ExprKind, Func, Function, ReduceOp, StoreKind, Table,
    TensorId, UnaryOp, Value, ValueId, ValueKind,
};
use crate::schedule::levels::LevelId;
use crate::schedule::mma::Product;
use crate::schedule::plan::{AxisRef, Place};
use crate::schedule::window::Halo;
use rooftile_artifact::{DType, Scalar};

/// Handle of a statement of the normal form.
pub(crate) type StmtId = Handle<Stmt>;

/// A kernel in normal form.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// The kernel; its arenas grow as statements are taken apart. Its body is not used.
    pub(crate) func: Func,
    /// The statements.
    pub(crate) stmts: Arena<Stmt>,
    /// The tree of statements.
    pub(crate) items: Vec<Item>,
    /// All axes that statements run over, in order of nesting.
    pub(crate) order: Vec<AxisId>,
    /// Facts about values, by position in the arena.
    pub(crate) info: Vec<ValueInfo>,
    /// Axes that run over one part of another axis, with the axis that counts the parts: different parts have no point
    /// in common.
    pub(crate) partitions: BTreeMap<AxisId, AxisId>,
    /// The file's constant tables.
    pub(crate) tables: Vec<Table>,
    /// Maps of the `next` items of a carry: together a bijection.
    pub(crate) maps: BTreeMap<ValueId, Vec<Vec<ExprId>>>,
    /// Sums of products by matrix units.
    pub(crate) products: Vec<Product>,
    /// Axes that run over a part of what they were to run over.
    pub(crate) cuts: BTreeMap<AxisId, Cut>,
    /// Tensors of which only elements near the points that the loops visit are in memory, or theirs to read, with the axis that
    /// each dimension lies along.
    pub(crate) windows: BTreeMap<TensorId, Vec<Option<AxisId>>>,
    /// Axes of copies that run over the points of other axes and those around them.
    pub(crate) halos: BTreeMap<AxisId, Halo>,
}

/// The whole of an axis of which a part is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// First value.
    pub(crate) lo: ExprId,
    /// One past the last.
    pub(crate) hi: ExprId,
    /// The part may go on beyond the whole: what its index comes back to.
    pub(crate) wrapped: Option<ExprId>,
}

/// Elements of a dimension that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    /// How many.
    pub(crate) elements: i64,
    /// Whether they are so for each element of panels that are not deep.
    pub(crate) deep: bool,
}

/// What is known of a value besides its type and axes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValueInfo {
    /// Axes along which every pass has the value to itself.
    pub(crate) private: Vec<AxisId>,
    /// The value holds one partial result for each lane of this axis, which is among its axes.
    pub(crate) lanes_of: Option<AxisId>,
    /// Where it lives, if that was asked for.
    pub(crate) place: Option<Place>,
    /// How its storage is cut along axes.
    pub(crate) panels: BTreeMap<AxisId, Panel>,
    /// Subgroups hold it as matrices.
    pub(crate) matrices: bool,
}

/// A node of the tree of statements.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A statement.
    Stmt(StmtId),
    /// `seq` or `fold`.
    Seq {
        /// The counter, or the folded axis.
        axis: AxisId,
        /// Whether it is a `fold`: the body sees a tile of the axis.
        fold: bool,
        /// Statements.
        body: Vec<Item>,
    },
    /// One of two lists.
    If {
        /// A `bool` without axes.
        cond: ExprId,
        /// Run when true.
        then: Vec<Item>,
        /// Run when false.
        otherwise: Vec<Item>,
    },
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) struct Stmt {
    /// What it does at each point.
    pub(crate) action: Action,
    /// The axes that it runs over.
    pub(crate) axes: Vec<AxisId>,
    /// The loops that it runs inside, where they are not all loops of its axes.
    pub(crate) levels: Option<Vec<LevelId>>,
    /// It copies what tensors hold for the statements after it, and goes into the loop of the first of them.
    pub(crate) copies: bool,
    /// Along an axis whose points run by threads, it runs for the first of each so many.
    pub(crate) every: Option<(AxisId, i64)>,
    /// Along an axis whose points run by threads, all of them run it, also those beyond the end.
    pub(crate) whole: Option<AxisId>,
    /// It adds up the lanes that this value has in a block, two at a time; of a scan, the value itself.
    pub(crate) pairs: Option<ValueId>,
    /// What it adds to memory that several chunks see is added by atomic operations: passes may meet there.
    pub(crate) atomic: bool,
    /// Its place in the source.
    pub(crate) span: Span,
}

/// What a statement does at each point of its axes.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// `value[index] = expr`; without an index at the value's own point.
    Set {
        /// The value.
        value: ValueId,
        /// Where, one index per axis of the value.
        index: Option<Vec<ExprId>>,
        /// With what.
        expr: ExprId,
    },
    /// `value = op(value, args)`, over the axes that the value lacks.
    Accumulate {
        /// The value.
        value: ValueId,
        /// The operator; two operands for `Dot`.
        op: ReduceOp,
        /// Operands.
        args: Vec<ExprId>,
        /// Only where this holds.
        guard: Option<ExprId>,
    },
    /// `value = expr` at the points of `axis`, `none` for threads beyond its end: the elements of a scan from `run` on.
    Element {
        /// The value.
        value: ValueId,
        /// With what.
        expr: ExprId,
        /// What changes no result.
        none: ExprId,
        /// What the running result begins with; what carries it on shares loops with the elements.
        run: ValueId,
        /// The axis, whose points run by threads.
        axis: AxisId,
    },
    /// `value = op(from, from of another thread)`: of the one along `axis` whose number differs in one bit.
    Exchange {
        /// The value.
        value: ValueId,
        /// What is combined; both have the axis.
        from: ValueId,
        /// The operator, of one operand.
        op: ReduceOp,
        /// The axis, whose points run by threads.
        axis: AxisId,
        /// The bit.
        bit: i64,
        /// `Some((to, of))`: `to = op(from of the other thread, of)` for threads that have the bit; for others `to = of`.
        upto: Option<(ValueId, ValueId)>,
    },
    /// Of `groups` of `width` neighbouring threads along `axis`: `before = op(carry, totals of the groups before)`,
    /// `value = op(before, upto)` at the points of the axis, `carry = op(carry, all totals)`.
    Carry {
        /// Receives every partial result.
        value: ValueId,
        /// The running result; each thread has it.
        carry: ValueId,
        /// What comes before a group.
        before: ValueId,
        /// The partial result of a thread in its group.
        upto: ValueId,
        /// The result of a group; each of its threads has it.
        total: ValueId,
        /// The operator.
        op: ReduceOp,
        /// The axis, whose points run by threads.
        axis: AxisId,
        /// Threads of a group.
        width: i64,
        /// Groups.
        groups: i64,
    },
    /// Keeps the first largest (smallest) element seen in `best` and its index in `at`.
    Best {
        /// The element.
        best: ValueId,
        /// Its index.
        at: ValueId,
        /// `Argmax` or `Argmin`.
        op: ReduceOp,
        /// The axis whose index is kept.
        axis: AxisId,
        /// The elements.
        expr: ExprId,
    },
    /// `run = op(run, expr); value = run`, in ascending order of `axis`.
    Scan {
        /// Receives every partial result.
        value: ValueId,
        /// The running result.
        run: ValueId,
        /// The operator.
        op: ReduceOp,
        /// The axis.
        axis: AxisId,
        /// The elements.
        expr: ExprId,
    },
    /// `tensor[index] op= expr`.
    Store {
        /// The tensor.
        tensor: TensorId,
        /// One index per dimension.
        index: Vec<ExprId>,
        /// How.
        op: AssignOp,
        /// With what.
        expr: ExprId,
        /// Whether points may collide.
        kind: StoreKind,
    },
    /// `value[index] op= expr` where points may collide.
    Scatter {
        /// The value.
        value: ValueId,
        /// One index per axis of the value.
        index: Vec<ExprId>,
        /// How.
        op: AssignOp,
        /// With what.
        expr: ExprId,
    },
    /// A step of a sum of products by matrix units, for a whole tile at once.
    Matrix {
        /// Which of the form's products.
        product: usize,
        /// The step.
        step: MatrixStep,
    },
    /// Adds to a list.
    Append {
        /// Lists.
        list: TensorId,
        /// Counters.
        count: TensorId,
        /// Which list.
        key: Vec<ExprId>,
        /// What.
        value: ExprId,
        /// Where this holds.
        pred: Option<ExprId>,
    },
}

/// What is done with a whole tile of a sum of products.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MatrixStep {
    /// `matrices = with` everywhere.
    Start {
        /// The sums, as matrices of the subgroups.
        matrices: ValueId,
        /// A number.
        with: ExprId,
    },
    /// `tile = expr`, by all threads of a group, and zero beyond the ends of the axes.
    Copy {
        /// A factor in near memory.
        tile: ValueId,
        /// The factor.
        expr: ExprId,
    },
    /// `matrices += a * b`, each subgroup its own.
    Multiply {
        /// The sums.
        matrices: ValueId,
        /// Of the rows and the inner axis.
        a: ValueId,
        /// Of the inner axis and the columns.
        b: ValueId,
    },
    /// `tile = matrices`; beyond the ends of the axes it holds anything.
    Finish {
        /// The results in near memory.
        tile: ValueId,
        /// The sums.
        matrices: ValueId,
    },
}

impl MatrixStep {
    /// What it writes or adds to.
    pub(crate) fn written(self) -> ValueId {
        match self {
            MatrixStep::Start { matrices: value, .. }
            | MatrixStep::Multiply { matrices: value, .. }
            | MatrixStep::Copy { tile: value, .. }
            | MatrixStep::Finish { tile: value, .. } => value,
        }
    }
}

impl Action {
    /// The value that a statement writes whole or accumulates into.
    pub(crate) fn written_value(&self) -> Option<ValueId> {
        match self {
            Action::Set { value, .. }
            | Action::Accumulate { value, .. }
            | Action::Element { value, .. }
            | Action::Exchange { value, .. }
            | Action::Carry { value, .. }
            | Action::Scan { value, .. }
            | Action::Scatter { value, .. } => Some(*value),
            Action::Best { best, .. } => Some(*best),
            Action::Matrix { step, .. } => Some(step.written()),
            Action::Store { .. } | Action::Append { .. } => None,
        }
    }

    /// Every expression that the statement evaluates.
    pub(crate) fn exprs(&self) -> Vec<ExprId> {
        match self {
            Action::Set { index, expr, .. } => index.iter().flatten().copied().chain([*expr]).collect(),
            Action::Accumulate { args, guard, .. } => args.iter().copied().chain(*guard).collect(),
            Action::Matrix {
                step: MatrixStep::Start { with: e, .. } | MatrixStep::Copy { expr: e, .. },
                ..
            } => {
                vec![*e]
            }
            Action::Exchange { .. } | Action::Carry { .. } | Action::Matrix { .. } => Vec::new(),
            Action::Best { expr, .. } | Action::Scan { expr, .. } => vec![*expr],
            Action::Element { expr, none, .. } => vec![*expr, *none],
            Action::Store { index, expr, .. } | Action::Scatter { index, expr, .. } => {
                index.iter().copied().chain([*expr]).collect()
            }
            Action::Append { key, value, pred, .. } => {
                key.iter().copied().chain([*value]).chain(*pred).collect()
            }
        }
    }

    /// Replaces every expression by what `f` makes of it.
    pub(crate) fn map_exprs(&mut self, mut f: impl FnMut(ExprId) -> ExprId) {
        match self {
            Action::Set { index, expr, .. } => {
                index.iter_mut().flatten().for_each(|e| *e = f(*e));
                *expr = f(*expr);
            }
            Action::Accumulate { args, guard, .. } => {
                args.iter_mut().for_each(|e| *e = f(*e));
                guard.iter_mut().for_each(|e| *e = f(*e));
            }
            Action::Matrix {
                step: MatrixStep::Start { with: e, .. } | MatrixStep::Copy { expr: e, .. },
                ..
            } => {
                *e = f(*e);
            }
            Action::Exchange { .. } | Action::Carry { .. } | Action::Matrix { .. } => {}
            Action::Best { expr, .. } | Action::Scan { expr, .. } => *expr = f(*expr),
            Action::Element { expr, none, .. } => {
                *expr = f(*expr);
                *none = f(*none);
            }
            Action::Store { index, expr, .. } | Action::Scatter { index, expr, .. } => {
                index.iter_mut().for_each(|e| *e = f(*e));
                *expr = f(*expr);
            }
            Action::Append { key, value, pred, .. } => {
                key.iter_mut().for_each(|e| *e = f(*e));
                *value = f(*value);
                pred.iter_mut().for_each(|e| *e = f(*e));
            }
        }
    }
}

impl Item {
    /// Every statement below, in order.
    pub(crate) fn stmts(&self) -> Vec<StmtId> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    fn collect(&self, out: &mut Vec<StmtId>) {
        match self {
            Item::Stmt(s) => out.push(*s),
            Item::Seq { body, .. } => body.iter().for_each(|i| i.collect(out)),
            Item::If { then, otherwise, .. } => then.iter().chain(otherwise).for_each(|i| i.collect(out)),
        }
    }
}

impl Form {
    /// Puts what `f` gives for a statement, if anything, in its place.
    pub(crate) fn replace_stmts(&mut self, f: &mut dyn FnMut(&mut Form, StmtId) -> Option<Vec<StmtId>>) {
        let items = std::mem::take(&mut self.items);
        self.items = self.replaced(items, f);
    }

    fn replaced(
        &mut self,
        items: Vec<Item>,
        f: &mut dyn FnMut(&mut Form, StmtId) -> Option<Vec<StmtId>>,
    ) -> Vec<Item> {
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Stmt(s) => {
                    out.extend(f(self, s).unwrap_or_else(|| vec![s]).into_iter().map(Item::Stmt))
                }
                Item::Seq { axis, fold, body } => {
                    let body = self.replaced(body, f);
                    out.push(Item::Seq { axis, fold, body });
                }
                Item::If { cond, then, otherwise } => {
                    let then = self.replaced(then, f);
                    let otherwise = self.replaced(otherwise, f);
                    out.push(Item::If { cond, then, otherwise });
                }
            }
        }
        out
    }

    /// A new value.
    pub(crate) fn value(&mut self, name: &str, dtype: DType, axes: Vec<AxisId>, span: Span) -> ValueId {
        self.info.push(ValueInfo::default());
        self.func.values.push(Value { name: name.to_owned(), dtype, axes, kind: ValueKind::Let, span })
    }

    /// A new statement.
    pub(crate) fn stmt(&mut self, action: Action, axes: Vec<AxisId>, span: Span) -> StmtId {
        let axes = self.sorted(axes);
        let stmt = Stmt {
            action,
            axes,
            levels: None,
            copies: false,
            every: None,
            whole: None,
            pairs: None,
            atomic: false,
            span,
        };
        self.stmts.push(stmt)
    }

    /// A new statement that copies what tensors hold into a value, inside loops that its own axes do not ask for.
    pub(crate) fn copy(
        &mut self,
        value: ValueId,
        expr: ExprId,
        levels: Vec<LevelId>,
        axes: &[AxisId],
    ) -> StmtId {
        let span = self.func.values[value].span;
        // Loops read what bounds them, also for statements that do not vary along them.
        let all = axes.iter().chain(&self.func.values[value].axes).copied().collect();
        let set = self.stmt(Action::Set { value, index: None, expr }, all, span);
        self.stmts[set].levels = Some(levels);
        self.stmts[set].copies = true;
        set
    }

    /// Axes in order of nesting, each once; axes that they depend on are added.
    pub(crate) fn sorted(&self, axes: Vec<AxisId>) -> Vec<AxisId> {
        let mut all: Vec<AxisId> = Vec::new();
        let mut work = axes;
        while let Some(a) = work.pop() {
            if !all.contains(&a) {
                all.push(a);
                work.extend(self.func.axes[a].parents.iter().copied().filter(|p| self.is_dimension(*p)));
            }
        }
        all.sort_by_key(|a| (self.order.iter().position(|o| o == a).unwrap_or(usize::MAX), *a));
        all
    }

    /// Whether an axis is a dimension of values, not a counter.
    pub(crate) fn is_dimension(&self, axis: AxisId) -> bool {
        !matches!(self.func.axes[axis].kind, AxisKind::Seq | AxisKind::Repeat)
    }

    /// A new expression; its axes follow from its operands.
    pub(crate) fn expr(&mut self, kind: ExprKind, dtype: DType, span: Span) -> ExprId {
        let mut axes: Vec<AxisId> = Vec::new();
        match &kind {
            ExprKind::Axis(a) if self.is_dimension(*a) => axes.push(*a),
            ExprKind::Value(v) => axes.extend(&self.func.values[*v].axes),
            _ => {
                for e in operands(&kind) {
                    axes.extend(&self.func.exprs[e].axes);
                }
            }
        }
        if let ExprKind::Reduce { axes: gone, .. } = &kind {
            axes.retain(|a| !gone.contains(a));
        }
        axes.sort_unstable();
        axes.dedup();
        self.func.exprs.push(Expr { kind, dtype, axes, span })
    }

    /// A literal.
    pub(crate) fn constant(&mut self, v: Scalar, dtype: DType, span: Span) -> ExprId {
        self.expr(ExprKind::Const(v), dtype, span)
    }

    /// An index literal.
    pub(crate) fn int(&mut self, v: i64, span: Span) -> ExprId {
        self.constant(Scalar::Int(v), DType::I64, span)
    }

    /// A value at its own point.
    pub(crate) fn read(&mut self, value: ValueId, span: Span) -> ExprId {
        let dtype = self.func.values[value].dtype;
        self.expr(ExprKind::Value(value), dtype, span)
    }

    /// `op(a, b)` of operands of one type; not a comparison.
    pub(crate) fn binary(&mut self, op: BinaryOp, a: ExprId, b: ExprId) -> ExprId {
        let (dtype, span) = (self.func.exprs[a].dtype, self.func.exprs[a].span);
        self.expr(ExprKind::Binary(op, a, b), dtype, span)
    }

    /// `not a`.
    pub(crate) fn not(&mut self, a: ExprId) -> ExprId {
        let span = self.func.exprs[a].span;
        self.expr(ExprKind::Unary(UnaryOp::Not, a), DType::Bool, span)
    }

    /// The smaller or larger of two indices.
    pub(crate) fn call2(&mut self, f: Function, a: ExprId, b: ExprId) -> ExprId {
        let (dtype, span) = (self.func.exprs[a].dtype, self.func.exprs[a].span);
        self.expr(ExprKind::Call(f, vec![a, b]), dtype, span)
    }

    /// `e` with operands replaced: where `f` gives an expression that one is taken, elsewhere operands are rebuilt.
    pub(crate) fn rewrite(
        &mut self,
        e: ExprId,
        memo: &mut BTreeMap<ExprId, ExprId>,
        f: &mut dyn FnMut(&mut Form, ExprId) -> Option<ExprId>,
    ) -> ExprId {
        if let Some(done) = memo.get(&e) {
            return *done;
        }
        let new = if let Some(new) = f(self, e) {
            new
        } else {
            let Expr { mut kind, dtype, span, .. } = self.func.exprs[e].clone();
            let mut changed = false;
            map_operands(&mut kind, |x| {
                let y = self.rewrite(x, memo, f);
                changed |= x != y;
                y
            });
            if changed { self.expr(kind, dtype, span) } else { e }
        };
        memo.insert(e, new);
        new
    }

    /// The first value of an accumulator.
    pub(crate) fn identity(&mut self, op: ReduceOp, dtype: DType, span: Span) -> ExprId {
        self.constant(identity(op, dtype), dtype, span)
    }
}

/// What an operator leaves everything as it is with.
pub(crate) fn identity(op: ReduceOp, dtype: DType) -> Scalar {
    let v = match op {
        ReduceOp::Sum | ReduceOp::Dot => Scalar::Int(0),
        ReduceOp::Prod => Scalar::Int(1),
        ReduceOp::Any => Scalar::Bool(false),
        ReduceOp::All => Scalar::Bool(true),
        ReduceOp::Max | ReduceOp::Argmax => extreme(dtype, false),
        ReduceOp::Min | ReduceOp::Argmin => extreme(dtype, true),
    };
    v.cast(dtype)
}

/// The reduction that an update is a step of; a plain store is none.
pub(crate) fn reduction(op: AssignOp) -> Option<ReduceOp> {
    Some(match op {
        AssignOp::Set => return None,
        AssignOp::Add | AssignOp::Sub => ReduceOp::Sum,
        AssignOp::Mul => ReduceOp::Prod,
        AssignOp::Max => ReduceOp::Max,
        AssignOp::Min => ReduceOp::Min,
    })
}

/// The lowest or highest value of a type.
fn extreme(dtype: DType, highest: bool) -> Scalar {
    match dtype.int_range() {
        Some((lo, hi)) => {
            let v = if highest { hi } else { lo };
            #[expect(clippy::cast_possible_truncation, reason = "u64 keeps its two's complement bits")]
            Scalar::Int(v as i64)
        }
        None if dtype == DType::Bool => Scalar::Bool(highest),
        None => Scalar::Float(if highest { f64::INFINITY } else { f64::NEG_INFINITY }),
    }
}

/// The operands of an expression, in order.
pub(crate) fn operands(kind: &ExprKind) -> Vec<ExprId> {
    let mut out = Vec::new();
    let mut kind = kind.clone();
    map_operands(&mut kind, |e| {
        out.push(e);
        e
    });
    out
}

/// Expressions and all that they are made of, each once.
pub(crate) struct Below<'a> {
    form: &'a Form,
    work: Vec<ExprId>,
    seen: BTreeSet<ExprId>,
}

impl Form {
    /// How a plan names a loop over an axis: the `n`th from the outside in.
    pub(crate) fn level(&self, axis: AxisId, n: u32) -> AxisRef {
        AxisRef { name: self.func.axes[axis].name.clone(), level: Some(n) }
    }

    /// Expressions and all that they are made of, each once.
    pub(crate) fn below(&self, roots: Vec<ExprId>) -> Below<'_> {
        Below { form: self, work: roots, seen: BTreeSet::new() }
    }
}

impl Iterator for Below<'_> {
    type Item = ExprId;

    fn next(&mut self) -> Option<ExprId> {
        loop {
            let e = self.work.pop()?;
            if self.seen.insert(e) {
                self.work.extend(operands(&self.form.func.exprs[e].kind));
                return Some(e);
            }
        }
    }
}

/// Replaces each operand by what `f` makes of it.
pub(crate) fn map_operands(kind: &mut ExprKind, mut f: impl FnMut(ExprId) -> ExprId) {
    match kind {
        ExprKind::Const(_)
        | ExprKind::Size(_)
        | ExprKind::Scalar(_)
        | ExprKind::Axis(_)
        | ExprKind::Value(_) => {}
        ExprKind::ValueAt(_, index) | ExprKind::Load { index, .. } | ExprKind::Table { index, .. } => {
            index.iter_mut().for_each(|e| *e = f(*e));
        }
        ExprKind::Unary(_, a) | ExprKind::Cast(a) => *a = f(*a),
        ExprKind::Binary(_, a, b) => {
            *a = f(*a);
            *b = f(*b);
        }
        ExprKind::Call(_, args) | ExprKind::Reduce { args, .. } => args.iter_mut().for_each(|e| *e = f(*e)),
        ExprKind::Select(c, a, b) => {
            *c = f(*c);
            *a = f(*a);
            *b = f(*b);
        }
        ExprKind::Scan { arg, .. } => *arg = f(*arg),
    }
}

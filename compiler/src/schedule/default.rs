//! The cost model's choice, from the target: see `docs/schedules.md` for the rules. It proposes plans from bold to
//! plain, and the first that is legal is taken.

use std::collections::{BTreeMap, BTreeSet};

use rooftile_artifact::{CpuTarget, DType, Target};

use super::access::{Accesses, Ix, Object, agree_on_axis, bounded_by_data};
use super::apply::{self, tile_specs};
use super::emit::MOST_SCANNED;
use super::form::{Action, Form, Stmt, StmtId};
use super::kernel::{self, KernelNest, ViewShape};
use super::levels::AxisSpec;
use super::lines::CHAINS;
use super::say::{Wishes, plan_of};
use super::stage::Stage;
use super::streams::{self, POINTS_OF_ROW, PRODUCTS_OF_MANY};
use super::{Allow, bounds, default_fold, default_gpu, inline, point_copies, split, table};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, BinaryOp, Expr, ExprId, ExprKind, ReduceOp, Role, StoreKind, TensorId,
    TileSize, Value,
};
use crate::schedule::plan::{Amount, Assignment, AxisRef, Merge, Place, Plan, ScanVia, ScatterVia, Verb};

/// Extent up to which a constant axis is written out whole.
pub(super) const SMALL: i64 = 16;

/// Rows and columns of a tile that is transposed: its lines of both tensors stay in the first-level cache, and its rows are
/// long enough to be fetched ahead.
const TRANSPOSED_TILE: i64 = 64;

/// Most rows of a register block that are written out, from plan to plan.
const MOST_ROWS: [i64; 4] = [14, 6, 2, 1];

/// Rows that a core computes at a time where they are shared out.
const ROWS_OF_CORES: i64 = 258;
/// Rows of a register block of a product that is one of many: few points are left over at its ends where it is small.
const ROWS_OF_MANY: i64 = 8;

/// Products that one instruction sums where it takes bytes.
const BYTES_OF_A_DOT: i64 = 4;

/// Rows that are summed along lanes at once: what they share is loaded once, and no sum waits for itself.
const ROWS_OF_SUMS: i64 = 4;

/// Vectors of a block, where several sums are made together.
const MOST_VECTORS: i64 = 4;

/// Blocks of rows that go through the steps of a sequence together.
const ROWS_OF_STEPS: i64 = 8;

/// Points whose updates, each at an index of its own, share the cost of counting.
const SCATTERED: i64 = 16;

/// Points of a fold's tile.
const FOLD_TILE: i64 = 64;

/// The first proposal that the kernel takes, with its loops.
///
/// # Errors
/// What stands in the way of the plainest proposal.
pub(crate) fn choose(
    form: &Form,
    allow: Allow,
    target: &Target,
    views: &[Option<ViewShape>],
) -> Result<(Plan, KernelNest), Diagnostic> {
    let (mut tried, mut last) = (None, None);
    let plans: Box<dyn Iterator<Item = Plan>> = match target {
        Target::Cpu(cpu) => Box::new(proposals(form, allow, cpu)),
        Target::Vulkan(gpu) => Box::new(default_gpu::proposals(form, allow, gpu).into_iter()),
    };
    for plan in plans {
        // A kernel that has nothing of what is left out is proposed the same again.
        if tried.replace(plan.clone()).as_ref() == Some(&plan) {
            continue;
        }
        let mut form = form.clone();
        let lowered = apply::apply(&mut form, &plan, &Assignment::new(), allow, target)
            .and_then(|setup| kernel::lower_form(form, &setup, views));
        match lowered {
            Ok(nest) => return Ok((plan, nest)),
            Err(e) => last = Some(e),
        }
    }
    Err(last
        .unwrap_or_else(|| Diagnostic::error(Code::Backend, form.func.span, "no schedule fits this kernel")))
}

/// Plans from the boldest proposal to plain loops; made as they are asked for, since the first one will mostly do.
fn proposals(form: &Form, allow: Allow, target: &CpuTarget) -> impl Iterator<Item = Plan> {
    // Each with less code than the one before.
    let written = MOST_ROWS.map(|rows| (true, true, Some(rows)));
    let others = [(true, true, None), (false, true, Some(MOST_ROWS[0])), (true, false, None)];
    let folds = default_fold::MOST_ROWS.into_iter();
    let folds = folds.filter_map(move |rows| default_fold::propose(form, allow, target, rows));
    let bold = written.into_iter().chain(others);
    let bold = bold.map(move |(parallel, lanes, rows)| propose(form, allow, target, parallel, lanes, rows));
    let plain = || Wishes { specs: tile_specs(form, &Assignment::new()), ..Wishes::default() };
    let all = folds.chain(bold).chain(std::iter::once_with(plain));
    // What cannot be asked for ahead is no reason for a plainer plan.
    all.flat_map(|wishes| [wishes.clone(), Wishes { ahead: Vec::new(), ..wishes }])
        .map(|wishes| plan_of(form, wishes))
}

fn propose(
    form: &Form,
    allow: Allow,
    target: &CpuTarget,
    parallel: bool,
    lanes: bool,
    rows: Option<i64>,
) -> Wishes {
    let mut specs = fold_specs(form);
    let mut setup = Wishes::default();
    let model = Model::new(form, allow);
    let mut chosen = if lanes { model.lanes() } else { BTreeSet::new() };
    if let Some((summed, of_sums)) = model.pairwise(&chosen) {
        chosen.remove(&summed);
        chosen.insert(of_sums);
    }
    let line = if lanes { model.line(&chosen) } else { None };
    chosen.extend(line);
    let unroll = rows.is_some();
    let most = rows.unwrap_or(1);
    let shifted = if most > 1 { model.shifted(&chosen) } else { None };
    if let Some(s) = &shifted {
        chosen.remove(&s.points);
        chosen.insert(s.lanes);
    }
    let contraction = if most > 1 && shifted.is_none() { model.contraction(&chosen) } else { None };
    for a in &chosen {
        specs[a.index()].lanes =
            Some(lane_count(form, target, *a, contraction.is_some() || shifted.is_some()));
    }
    if unroll {
        let mut except = chosen.clone();
        // Each of their points would have a block of its own in the registers.
        except.extend(contraction.iter().filter(|c| c.panel.is_some()).flat_map(|c| c.apart.clone()));
        model.write_out(&except, &mut specs);
    }
    if let (true, Some(line)) = (unroll && target.vector_bytes >= 32, line) {
        for (axis, element) in model.across(line) {
            specs[axis.index()].unroll = i64::try_from(target.vector_bytes / element).ok();
        }
    }
    if let (true, Some(axis)) = (unroll, model.scattered()) {
        specs[axis.index()].unroll.get_or_insert(SCATTERED);
    }
    if let (true, None, Some(rows)) = (most > 1, &contraction, model.rows_of_sums(&chosen)) {
        specs[rows.index()].unroll.get_or_insert(ROWS_OF_SUMS);
        if target.vector_bytes >= 32 {
            setup.ahead = model.packed_along(&chosen, &specs);
        }
    }
    if let (true, Some(axis)) = (unroll, model.row_of_data(&chosen)) {
        specs[axis.index()].unroll.get_or_insert(POINTS_OF_ROW);
        setup.ahead.extend(model.read_along(axis));
    }
    if let (true, Some(t)) = (unroll && target.vector_bytes >= 32, model.transposition(&chosen)) {
        // Vectors along what is read, transposed in registers; a line of what is written at once.
        let per = i64::try_from(target.vector_bytes / t.element).unwrap_or(8);
        let tiles = vec![TRANSPOSED_TILE];
        specs[t.read.index()] = AxisSpec { lanes: Some(per), tiles: tiles.clone(), ..AxisSpec::default() };
        specs[t.written.index()] = AxisSpec { unroll: Some(2 * per), tiles, ..AxisSpec::default() };
    }
    let mut shared = match &shifted {
        _ if !parallel || target.threads < 2 => Vec::new(),
        Some(s) => s.shared(&model.apart()),
        None => model.shared(&chosen),
    };
    if let Some(s) = &shifted {
        s.block(&model, (target, allow), (&shared, most), &mut specs, &mut setup);
    }
    if let Some(c) = &contraction {
        block_contraction(form, (target, allow), c, (&shared, most), &mut specs, &mut setup);
        // Blocks of columns are packed for each block of rows anyway; in more parts no core waits long for another's last.
        let cut = !specs[c.columns.index()].tiles.is_empty();
        if shared == [c.rows] && cut && model.apart().contains(&c.columns) {
            shared.push(c.columns);
        }
    }
    for a in &shared {
        let spec = &mut specs[a.index()];
        spec.parallel = true;
        if let (true, Some(lanes)) = (spec.tiles.is_empty(), spec.lanes) {
            // Enough to be worth a call; where each point is a row of work, as many points as run at once.
            spec.tiles.push(if model.has_rows(*a) { lanes.max(32) } else { 8192 });
        } else if spec.tiles.is_empty() && shared.len() == 1 && spec.unroll.is_none() {
            spec.tiles.push(16);
        }
    }
    let lanes = chosen.iter().filter_map(|a| specs[a.index()].lanes).max().unwrap_or(1);
    let vectors = vectors_of(target, lanes);
    if let (true, Some(axis)) = (unroll, model.chain(&chosen, registers(target), vectors)) {
        specs[axis.index()].unroll.get_or_insert(CHAINS);
    }
    setup.specs = specs;
    let calls = table::Calls::of(&mut form.clone(), None);
    let is_long = |a| bounds::extent(form, a).is_none_or(|n| n > SMALL);
    setup.tables = calls.repeated(form, is_long).into_iter().map(str::to_owned).collect();
    if target.vector_bytes >= 32 {
        setup.past_caches = model.written_once(&chosen);
    }
    setup.again = model.plain_reads(&chosen);
    if parallel && shared.is_empty() {
        in_parts(form, allow, i64::try_from(target.threads).unwrap_or(1), &mut setup);
    }
    setup
}

/// Nothing but the tiles of folds.
pub(super) fn fold_specs(form: &Form) -> Vec<AxisSpec> {
    let mut specs = vec![AxisSpec::default(); form.func.axes.len()];
    for (id, axis) in form.func.axes.iter() {
        if let AxisKind::Fold(size) = &axis.kind {
            specs[id.index()].tiles.push(if let TileSize::Int(n) = size { *n } else { FOLD_TILE });
        }
    }
    specs
}

/// The only statement over two axes stores along one of them what it reads along the other.
struct Transposition {
    written: AxisId,
    read: AxisId,
    /// Bytes of an element.
    element: usize,
}

/// `acc[u,v] += A[u,k] * B[k,v]`: the axis to write out, that of the lanes, the reduced one, and `B`.
pub(super) struct Contraction {
    pub(super) rows: AxisId,
    columns: AxisId,
    reduced: AxisId,
    /// What the result runs over besides: each point is a contraction of its own.
    apart: Vec<AxisId>,
    panel: Option<TensorId>,
    /// `A`, where it is a tensor.
    left: Option<TensorId>,
    /// Each point of some axis has factors of its own: there are many products.
    many: bool,
    /// Both factors are bytes, whose products are summed in 32 bits.
    bytes: bool,
    /// Sums over the same axes, which are made together.
    sums: i64,
    /// What every step of a `seq` reads anew along columns and reduced axis.
    repeated: Option<TensorId>,
}

/// Register blocks and cache tiles: `B` in panels that stay in the second-level cache, rows of `A` in the first.
fn block_contraction(
    form: &Form,
    (target, allow): (&CpuTarget, Allow),
    c: &Contraction,
    (shared, most): (&[AxisId], i64),
    specs: &mut [AxisSpec],
    setup: &mut Wishes,
) {
    let mut lanes = specs[c.columns.index()].lanes.unwrap_or(8);
    if registers(target) == 32 && c.panel.is_some() && c.apart.is_empty() {
        // Half as many rows by twice as many columns: fewer reads a product, and fewer rows to keep the addresses of.
        lanes *= 2;
        specs[c.columns.index()].lanes = Some(lanes);
    }
    if c.sums > 1 {
        // Side by side in registers, all of them.
        let per = i64::try_from(target.vector_bytes / 4).unwrap_or(4).max(1);
        lanes = lanes.min((MOST_VECTORS / c.sums).max(1) * per);
        specs[c.columns.index()].lanes = Some(lanes);
    }
    let vectors = vectors_of(target, lanes) * c.sums;
    // Four products of bytes are one instruction, of neighbours along the sum that lie side by side.
    let deep = (c.bytes && c.panel.is_some() && target.has_dots()).then_some(BYTES_OF_A_DOT);
    let rows = rows_of(target, vectors, deep.is_some() || kernel::contracts(allow, target), most);
    specs[c.rows.index()].unroll = Some(rows);
    if let Some(tensor) = c.repeated {
        // Made once for all steps. In a step each panel meets all rows while it is in the second-level cache.
        if !shared.contains(&c.rows) {
            specs[c.rows.index()].tiles = vec![ROWS_OF_STEPS * rows];
        }
        setup.order = vec![
            form.level(c.rows, 0),
            form.level(c.columns, 0),
            form.level(c.rows, 1),
            form.level(c.reduced, 0),
        ];
        let at = form.level(c.rows, 0);
        let panel = Some(lanes);
        setup.stages.push(Stage { tensor, at, place: Place::Local, panel, deep: None, window: None });
        return;
    }
    let Some(panel) = c.panel else { return };
    // Longer sums where blocks are wider, since the rows in the first-level cache are fewer: the results are read and written
    // less often.
    let (kc, bytes, part) = match (deep.is_some(), vectors > 2) {
        (true, _) => (1024, 1, 2),
        (false, true) => (512, 4, 4),
        (false, false) => (256, 4, 2),
    };
    let part = i64::try_from(target.l2 / part).unwrap_or(1 << 17);
    let alone = !shared.contains(&c.rows);
    // Half as many where cores share them out: of 256 by 256, each of two gets half.
    let cores = if alone { 1 } else { 2 };
    let columns = ((part / (kc * bytes)).min(512) / cores / lanes * lanes).max(lanes);
    let plain = |a: AxisId| {
        matches!(form.func.axes[a].kind, AxisKind::For(_)) && form.func.axes[a].parents.is_empty()
    };
    if !plain(c.rows) || !plain(c.columns) || !plain(c.reduced) {
        return;
    }
    let mut outer: Vec<AxisId> =
        shared.iter().copied().filter(|a| ![c.rows, c.columns].contains(a)).collect();
    for a in &c.apart {
        if !outer.contains(a) {
            outer.push(*a);
        }
    }
    let mut order: Vec<AxisRef> = outer.into_iter().map(|a| form.level(a, 0)).collect();
    if c.many && deep.is_none() {
        // The sums stay in registers to their end, and each result is written once. `B` is read where it lies: a copy costs
        // more than it saves where rows are few, and next to nothing is saved where they are not.
        specs[c.rows.index()].unroll = Some(rows.min(ROWS_OF_MANY));
        specs[c.reduced.index()].unroll = Some(PRODUCTS_OF_MANY);
        order.extend([c.rows, c.columns, c.reduced].map(|a| form.level(a, 0)));
        setup.order = order;
        if target.vector_bytes >= 32 {
            setup.ahead = streams::of_many(form, panel, c.left);
        }
        return;
    }
    specs[c.columns.index()].tiles = vec![columns];
    specs[c.reduced.index()].tiles = vec![kc];
    // Two points a pass share the cost of counting and of addresses.
    specs[c.reduced.index()].unroll = Some(deep.unwrap_or(2));
    // The rows stay in the first-level cache, and panels, which lie in one piece, come in from the second.
    let loops = [c.rows, c.columns, c.reduced];
    order.extend([0, 1].into_iter().flat_map(|n| loops.map(|a| form.level(a, n))));
    // Long enough that packing costs little; short enough that every core gets some where they are shared out.
    let most = if alone { 1024 } else { ROWS_OF_CORES };
    specs[c.rows.index()].tiles = vec![most / rows * rows];
    specs[c.rows.index()].unroll = Some(rows);
    setup.order = order;
    let at = form.level(c.reduced, 0);
    let (place, window) = (Place::Local, None);
    setup.stages.push(Stage { tensor: panel, at, place, panel: Some(lanes), deep, window });
}

/// Where no axis can be shared out as it is: scans, scatters and reductions in parts.
pub(super) fn in_parts(form: &Form, allow: Allow, threads: i64, setup: &mut Wishes) {
    /// Parts for each core.
    const PARTS: i64 = 4;
    let scatter = form.stmts.iter().find_map(|(_, s)| match &s.action {
        Action::Store { tensor, kind: StoreKind::Scatter, .. } => Some((*tensor, s)),
        _ => None,
    });
    // One core has a use for copies where each of several points has its own.
    let written_out = |s: &Stmt| s.axes.iter().filter_map(|a| setup.specs[a.index()].unroll).max();
    let apart = |(t, s): (TensorId, &Stmt)| {
        let t = &form.func.tensors[t];
        let extents: Option<Vec<i64>> = t.shape.iter().map(|e| bounds::literal(form, *e)).collect();
        written_out(s).zip(extents).is_some_and(|(n, extents)| point_copies::fit(t.dtype, &extents, n))
    };
    if threads < 2 && !scatter.is_some_and(apart) {
        return;
    }
    let target_of_scan = split::scan_target(form);
    let reduced = form.stmts.iter().find_map(|(_, s)| match &s.action {
        Action::Accumulate { value, .. } => {
            let own = &form.func.values[*value].axes;
            s.axes.iter().copied().find(|a| !own.contains(a) && bounds::extent(form, *a).is_none())
        }
        _ => None,
    });
    let mut trial = form.clone();
    let (legal, verb) = if let Some((t, _)) = scatter {
        let target = form.func.tensors[t].name.clone();
        let verb = Verb::Scatter { target, via: ScatterVia::Privatize, copies: None, place: None };
        (split::privatize(&mut trial, t, threads, allow).is_ok(), verb)
    } else if let Some(target) = target_of_scan {
        let legal = split::scan(&mut trial, &target, threads * PARTS, allow).is_ok();
        (legal, Verb::Scan { target, via: ScanVia::TwoPass, items: Some(Amount::Int(PARTS)) })
    } else if let Some(axis) = reduced {
        let axis = form.func.axes[axis].name.clone();
        let named = form.func.axes.handles().filter(|a| form.func.axes[*a].name == axis);
        let legal = named.into_iter().all(|a| split::split(&mut trial, a, threads * PARTS, allow).is_ok());
        (legal, Verb::Split { axis, parts: Amount::Int(threads * PARTS), merge: Merge::TwoPass })
    } else {
        return;
    };
    setup.parts = legal.then_some(verb);
}

/// Vectors that hold so many elements of 32 bits.
pub(super) fn vectors_of(target: &CpuTarget, lanes: i64) -> i64 {
    let per = i64::try_from(target.vector_bytes / 4).unwrap_or(4).max(1);
    (lanes / per).max(1)
}

/// Rows of a block of sums, of that many vectors each, that the registers hold; at most so many.
pub(super) fn rows_of(target: &CpuTarget, vectors: i64, contracts: bool, most: i64) -> i64 {
    let registers = registers(target);
    if contracts {
        // Room for the columns and a broadcast; products have no registers of their own.
        ((registers - vectors - 1) / vectors).clamp(2, most)
    } else {
        // Room for the columns, as many products, and a broadcast.
        (((registers - 2 * vectors - 2) / vectors) & !1).clamp(2, most & !1)
    }
}

/// Whether functions of many steps are called at each point of an axis.
fn calls_functions(form: &Form, axis: AxisId) -> bool {
    let own = form.stmts.iter().filter(|(_, s)| s.axes.contains(&axis));
    form.below(own.flat_map(|(_, s)| s.action.exprs()).collect()).any(|e| {
        let expr = &form.func.exprs[e];
        matches!(expr.kind, ExprKind::Call(f, _) if table::DEAR.contains(&f)) && expr.axes.contains(&axis)
    })
}

/// Vector registers.
pub(super) fn registers(target: &CpuTarget) -> i64 {
    if target.vector_bytes >= 64 { 32 } else { 16 }
}

pub(super) fn lane_count(form: &Form, target: &CpuTarget, axis: AxisId, contraction: bool) -> i64 {
    let mut widest = 4;
    for (_, s) in form.stmts.iter().filter(|(_, s)| s.axes.contains(&axis)) {
        if let Action::Store { tensor, .. } = &s.action {
            widest = widest.max(form.func.tensors[*tensor].dtype.size());
        }
    }
    let per = target.vector_bytes.max(16) / widest;
    // What does not fill a block runs point by point: wide vectors make shorter blocks, unless there are functions, whose
    // steps wait for each other.
    let short = target.vector_bytes >= 32 && !calls_functions(form, axis);
    let n = if contraction || short { 2 * per } else { 4 * per };
    let n = i64::try_from(n).unwrap_or(8).clamp(2, 64);
    let scans = |s: &StmtId| matches!(form.stmts[*s].action, Action::Scan { .. });
    let scanned = form.stmts.handles().filter(scans).any(|s| form.stmts[s].axes.contains(&axis));
    if scanned { n.min(MOST_SCANNED) } else { n }
}

/// What a kernel's statements tell, whatever the target.
pub(super) struct Model<'a> {
    pub(super) form: &'a Form,
    /// Axes on which the bounds of others depend.
    pub(super) bounding: BTreeSet<AxisId>,
    pub(super) allow: Allow,
}

impl<'a> Model<'a> {
    pub(super) fn new(form: &'a Form, allow: Allow) -> Model<'a> {
        let bounding = form.func.axes.iter().flat_map(|(_, a)| a.parents.clone()).collect();
        Model { form, bounding, allow }
    }

    pub(super) fn blockable(&self, axis: AxisId) -> bool {
        self.form.is_dimension(axis) && !self.bounding.contains(&axis)
    }

    /// The best axis for lanes of each statement: elements side by side in what it stores and reads. Those that run most
    /// often choose first, and what they run over besides is not given lanes by another: theirs would fill the registers.
    pub(super) fn lanes(&self) -> BTreeSet<AxisId> {
        let mut out = BTreeSet::new();
        let mut taken: Vec<(usize, AxisId, &[AxisId])> = Vec::new();
        let mut stmts: Vec<_> = self.form.stmts.iter().map(|(_, s)| (self.depth(&s.axes), s)).collect();
        stmts.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        for (depth, stmt) in stmts {
            let mut scores: BTreeMap<AxisId, i64> = BTreeMap::new();
            for e in self.form.below(stmt.action.exprs()) {
                if let ExprKind::Load { tensor, index, .. } = &self.form.func.exprs[e].kind {
                    self.score(*tensor, index, 2, &mut scores);
                }
            }
            match &stmt.action {
                Action::Store { tensor, index, .. } => self.score(*tensor, index, 3, &mut scores),
                Action::Accumulate { value, op, .. } => {
                    let v = &self.form.func.values[*value];
                    let exact = !v.dtype.is_float() || matches!(op, ReduceOp::Max | ReduceOp::Min);
                    for a in stmt.axes.iter().filter(|a| !v.axes.contains(a)) {
                        // A sum in order gains little from lanes.
                        if !(exact || self.allow.reassoc) {
                            scores.insert(*a, -10);
                        }
                    }
                }
                Action::Scan { .. }
                | Action::Append { .. }
                | Action::Matrix { .. }
                | Action::Scatter { .. }
                | Action::Element { .. }
                | Action::Exchange { .. }
                | Action::Carry { .. }
                | Action::Best { .. } => {
                    continue;
                }
                Action::Set { .. } => {}
            }
            let best =
                scores.into_iter().filter(|(a, s)| *s > 0 && self.blockable(*a)).max_by_key(|(_, s)| *s);
            if let Some((a, _)) = best
                && bounds::extent(self.form, a).is_none_or(|n| n > SMALL)
                // Rows whose extent is data are often too short for lanes.
                && !bounded_by_data(self.form, a)
                && !taken.iter().any(|(deep, lanes, axes)| *deep > depth && *lanes != a && axes.contains(&a))
            {
                taken.push((depth, a, &stmt.axes));
                out.insert(a);
            }
        }
        out
    }

    /// The statements that run over as many long axes as any.
    pub(super) fn deepest(&self) -> Vec<StmtId> {
        let depths: Vec<(usize, StmtId)> =
            self.form.stmts.iter().map(|(id, s)| (self.depth(&s.axes), id)).collect();
        let most = depths.iter().map(|(depth, _)| *depth).max();
        depths.into_iter().filter(|(depth, _)| Some(*depth) == most).map(|(_, s)| s).collect()
    }

    /// How many of the axes are long.
    pub(super) fn depth(&self, axes: &[AxisId]) -> usize {
        axes.iter().filter(|a| bounds::extent(self.form, **a).is_none_or(|n| n > SMALL)).count()
    }

    /// Whether something runs over another long axis at each point of this one.
    fn has_rows(&self, axis: AxisId) -> bool {
        self.form.stmts.iter().any(|(_, s)| s.axes.contains(&axis) && self.depth(&s.axes) > 1)
    }

    pub(super) fn score(
        &self,
        tensor: TensorId,
        index: &[crate::hir::ir::ExprId],
        weight: i64,
        scores: &mut BTreeMap<AxisId, i64>,
    ) {
        let t = &self.form.func.tensors[tensor];
        let last = index.len().saturating_sub(1);
        for (d, e) in index.iter().enumerate() {
            for a in &self.form.func.exprs[*e].axes {
                let near = bounds::offset(self.form, *e, *a).is_some();
                let side_by_side = d == last && near && t.packed != Some(d) && !t.dtype.is_complex();
                *scores.entry(*a).or_default() += if side_by_side { weight } else { -weight };
            }
        }
    }

    /// The axis along which elements lie side by side.
    pub(super) fn along(&self, index: &[ExprId]) -> Option<AxisId> {
        match self.form.func.exprs[*index.last()?].kind {
            ExprKind::Axis(a) => Some(a),
            _ => None,
        }
    }

    /// Values that hold what a tensor holds side by side along lanes, or the sum, difference or product of that and of what the
    /// lanes share: computing it again costs less than writing it to scratch memory and reading that.
    fn plain_reads(&self, lanes: &BTreeSet<AxisId>) -> Vec<String> {
        let func = &self.form.func;
        let value_of = |e: ExprId| match func.exprs[e].kind {
            ExprKind::Value(v) => Some(&func.values[v]),
            _ => None,
        };
        let mut out: Vec<String> = Vec::new();
        for (_, stmt) in self.form.stmts.iter() {
            let Action::Set { value, index: None, expr } = &stmt.action else { continue };
            let again = match &func.exprs[*expr].kind {
                ExprKind::Load { index, .. } => self.along(index).is_some_and(|a| lanes.contains(&a)),
                ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, a, b) => {
                    let [a, b] = [*a, *b].map(value_of);
                    let is_again = |v: Option<&Value>| v.is_some_and(|v| out.contains(&v.name));
                    let is_shared =
                        |v: Option<&Value>| v.is_some_and(|v| !v.axes.iter().any(|a| lanes.contains(a)));
                    (is_again(a) && is_shared(b)) || (is_shared(a) && is_again(b))
                }
                _ => false,
            };
            let name = &func.values[*value].name;
            if again && !out.contains(name) && inline::recompute(&mut self.form.clone(), name).is_ok() {
                out.push(name.clone());
            }
        }
        out
    }

    /// The axis of updates of a tensor at indices that data give, which run one after the other.
    fn scattered(&self) -> Option<AxisId> {
        self.deepest().into_iter().find_map(|s| {
            let stmt = &self.form.stmts[s];
            let update = matches!(
                stmt.action,
                Action::Store { kind: StoreKind::Scatter, op, .. } if op != AssignOp::Set
            );
            let axis = *stmt.axes.last()?;
            let alone = self.form.stmts.iter().filter(|(_, s)| s.axes.contains(&axis)).count() == 1;
            let long = self.blockable(axis) && bounds::extent(self.form, axis).is_none();
            (update && alone && long && !bounded_by_data(self.form, axis)).then_some(axis)
        })
    }

    /// A store alone, along the lanes, of what is side by side along another axis.
    fn transposition(&self, lanes: &BTreeSet<AxisId>) -> Option<Transposition> {
        let mut deepest = self.deepest().into_iter();
        let (Some(s), None) = (deepest.next(), deepest.next()) else { return None };
        let Action::Store { tensor, index, op: AssignOp::Set, expr, .. } = &self.form.stmts[s].action else {
            return None;
        };
        let written = self.along(index).filter(|a| lanes.contains(a))?;
        let ExprKind::Load { tensor: from, index: at, .. } = &self.form.func.exprs[*expr].kind else {
            return None;
        };
        let read = self.along(at).filter(|a| *a != written && self.blockable(*a))?;
        let apart = self.apart();
        let dtype = |t: TensorId| self.form.func.tensors[t].dtype;
        let element = dtype(*tensor).size();
        let alike = element == dtype(*from).size() && matches!(element, 4 | 8) && !dtype(*from).is_complex();
        (alike && apart.contains(&written) && apart.contains(&read)).then_some(Transposition {
            written,
            read,
            element,
        })
    }

    /// Outputs that are only written, side by side along lanes, by one store a point: each store asks whether it goes past the
    /// caches, which many side by side feel where they do not.
    pub(super) fn written_once(&self, lanes: &BTreeSet<AxisId>) -> Vec<TensorId> {
        let form = self.form;
        let side_by_side = |index: &[ExprId]| self.along(index).is_some_and(|a| lanes.contains(&a));
        let stores = |tensor: TensorId| {
            let mut stores = form.stmts.iter().filter_map(move |(_, s)| match &s.action {
                Action::Store { tensor: t, index, op, .. } if *t == tensor => Some((s, index, *op)),
                _ => None,
            });
            stores.all(|(s, index, op)| {
                let once = !s.axes.iter().any(|a| self.writes_out(*a));
                op == AssignOp::Set && side_by_side(index) && once
            })
        };
        let outputs = form.func.tensors.iter().filter(|(_, t)| t.role == Role::Out);
        outputs.map(|(t, _)| t).filter(|t| stores(*t)).collect()
    }

    /// Small constant axes are written out whole, except some.
    pub(super) fn write_out(&self, except: &BTreeSet<AxisId>, specs: &mut [AxisSpec]) {
        for a in self.form.func.axes.handles() {
            if self.writes_out(a) && !except.contains(&a) {
                specs[a.index()].unroll = bounds::extent(self.form, a);
            }
        }
    }

    /// Whether a small constant axis is written out whole.
    fn writes_out(&self, axis: AxisId) -> bool {
        self.blockable(axis)
            && !matches!(self.form.func.axes[axis].kind, AxisKind::Fold(_))
            && self.form.func.axes[axis].parents.is_empty()
            && bounds::extent(self.form, axis).is_some_and(|n| (2..=SMALL).contains(&n))
    }

    /// A sum of products over a long axis, into a value with lanes and with another axis.
    pub(super) fn contraction(&self, lanes: &BTreeSet<AxisId>) -> Option<Contraction> {
        for (id, stmt) in self.form.stmts.iter() {
            let Action::Accumulate { value, op: ReduceOp::Dot | ReduceOp::Sum, args, guard: None } =
                &stmt.action
            else {
                continue;
            };
            let v = &self.form.func.values[*value];
            let columns = v.axes.iter().copied().find(|a| lanes.contains(a));
            let reduced =
                stmt.axes.iter().copied().find(|a| !v.axes.contains(a) && !self.bounding.contains(a));
            let (Some(columns), Some(reduced)) = (columns, reduced) else { continue };
            let Some(factors) = self.factors(args) else { continue };
            let sides = factors.map(|e| &self.form.func.exprs[e].axes);
            let lacks = |a: &AxisId, vectors: bool| {
                let mut of_interest = sides.iter().filter(|s| !vectors || s.contains(&columns));
                *a != columns
                    && self.blockable(*a)
                    && of_interest.any(|s| !s.contains(a))
                    && bounds::extent(self.form, *a).is_none()
            };
            // Rows that share the vectors, rather than what is the same in all lanes.
            let rows = v.axes.iter().copied().find(|a| lacks(a, true));
            let rows = rows.or_else(|| v.axes.iter().copied().find(|a| lacks(a, false)));
            let Some(rows) = rows else { continue };
            let loads = factors.map(|e| self.without_casts(e));
            let panel = loads.iter().find_map(|e| match &e.kind {
                ExprKind::Load { tensor, index, .. }
                    if e.axes.contains(&columns)
                        && e.axes.contains(&reduced)
                        && !e.axes.contains(&rows)
                        && index
                            .iter()
                            .all(|i| matches!(self.form.func.exprs[*i].kind, ExprKind::Axis(_))) =>
                {
                    Some(*tensor)
                }
                _ => None,
            });
            let left = loads.iter().find_map(|e| match e.kind {
                ExprKind::Load { tensor, .. } if e.axes.contains(&reduced) && !e.axes.contains(&columns) => {
                    Some(tensor)
                }
                _ => None,
            });
            let other = |a: &&AxisId| ![rows, columns].contains(a) && v.axes.contains(a);
            let apart: Vec<AxisId> = self.form.order.iter().filter(other).copied().collect();
            let many = apart.iter().any(|a| sides.iter().all(|s| s.contains(a)));
            let of_bits = |t: DType, n: u8| matches!(t, DType::Int { bits, .. } if bits == n);
            let bytes = of_bits(v.dtype, 32) && loads.iter().all(|e| of_bits(e.dtype, 8));
            let (sums, repeated) = match panel {
                Some(_) => (1, None),
                None => self.in_steps(id, rows, (columns, reduced)),
            };
            return Some(Contraction {
                rows,
                columns,
                reduced,
                apart,
                panel,
                left,
                many,
                bytes,
                sums,
                repeated,
            });
        }
        None
    }

    pub(super) fn without_casts(&self, e: ExprId) -> &Expr {
        let mut e = &self.form.func.exprs[e];
        while let ExprKind::Cast(inner) = e.kind {
            e = &self.form.func.exprs[inner];
        }
        e
    }

    /// An axis of rows that are summed along lanes, where one of the factors is the same for all rows.
    fn rows_of_sums(&self, lanes: &BTreeSet<AxisId>) -> Option<AxisId> {
        self.deepest().into_iter().find_map(|s| {
            let stmt = &self.form.stmts[s];
            let Action::Accumulate { value, op: ReduceOp::Dot | ReduceOp::Sum, args, guard: None } =
                &stmt.action
            else {
                return None;
            };
            let of_result = &self.form.func.values[*value].axes;
            let along = stmt.axes.iter().any(|a| lanes.contains(a) && !of_result.contains(a));
            if !along || of_result.iter().any(|a| lanes.contains(a)) {
                return None;
            }
            let factors = self.factors(args)?.map(|e| &self.form.func.exprs[e].axes);
            let shares = |a: &AxisId| factors.iter().filter(|f| f.contains(a)).count() == 1;
            let long = |a: &AxisId| bounds::extent(self.form, *a).is_none() && self.blockable(*a);
            of_result.iter().copied().find(|a| shares(a) && long(a))
        })
    }

    /// The factors of a sum's terms.
    pub(super) fn factors(&self, args: &[ExprId]) -> Option<[ExprId; 2]> {
        match *args {
            [a, b] => Some([a, b]),
            [e] => match self.form.func.exprs[e].kind {
                ExprKind::Binary(BinaryOp::Mul, a, b) => Some([a, b]),
                _ => None,
            },
            _ => None,
        }
    }

    /// Long axes whose passes never meet in what is stored or scanned, from the outside in.
    pub(super) fn apart(&self) -> Vec<AxisId> {
        let accesses = Accesses::new(self.form);
        let long = |axis: &&AxisId| {
            let a = &self.form.func.axes[**axis];
            matches!(a.kind, AxisKind::For(_) | AxisKind::With)
                && a.parents.is_empty()
                && bounds::extent(self.form, **axis).is_none_or(|n| n > SMALL)
        };
        let apart = |axis: &&AxisId| {
            self.form.stmts.handles().all(|s| {
                if matches!(self.form.stmts[s].action, Action::Scan { axis: along, .. } if along == **axis) {
                    return false;
                }
                let mut writes =
                    accesses.of(s).iter().filter(|x| x.write && matches!(x.object, Object::Tensor(_)));
                writes.all(|x| agree_on_axis(self.form, x, x, **axis) && x.index.contains(&Ix::Axis(**axis)))
            })
        };
        self.form.order.iter().filter(long).filter(apart).copied().collect()
    }

    /// Axes to share out over the cores: the outermost whose passes never meet.
    fn shared(&self, lanes: &BTreeSet<AxisId>) -> Vec<AxisId> {
        let (mut out, deepest) = (Vec::new(), self.deepest());
        for axis in &self.apart() {
            // A second one is of use where most of the work has it.
            let idle = || !deepest.iter().all(|s| self.form.stmts[*s].axes.contains(axis));
            if !out.is_empty() && (lanes.contains(axis) || idle()) {
                continue;
            }
            out.push(*axis);
            if out.len() == 2 || lanes.contains(axis) {
                break;
            }
        }
        if out.len() == 2 && lanes.contains(&out[1]) {
            out.pop();
        }
        out
    }
}

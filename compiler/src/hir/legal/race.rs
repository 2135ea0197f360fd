//! Rules: `=` gives every point an element of its own; what one tile writes no other tile touches, unless all combine
//! by one operator.
//!
//! Proven where an axis stands alone in a dimension; otherwise tried at all points of small sizes with tiles of one
//! point.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::abs::Abs;
use super::space::{Relevant, Space};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, BinaryOp, ExprId, ExprKind, Func, Stmt, StmtKind, StoreKind, TensorId,
};
use crate::hir::walk::closure;
use crate::hir::{print, walk};

const BUDGET: usize = 60_000;
/// Elements that one access may touch before it counts as touching anything.
const MAX_BOX: i64 = 64;

/// One way in which a kernel touches a tensor.
struct Access {
    tensor: TensorId,
    /// `None` where anything may be touched.
    index: Option<Vec<ExprId>>,
    /// `None` for a read.
    write: Option<AssignOp>,
    /// Loops around it: the axes of each `for`, outermost first, with the number of the loop.
    fors: Vec<(usize, Vec<AxisId>)>,
    /// Counters of loops around the outermost `for`.
    outer: Vec<AxisId>,
    /// Axes whose points the statement runs over.
    points: Vec<AxisId>,
    span: Span,
}

/// Checks stores and tiles; gives the spans of the stores whose points may collide.
pub(super) fn check(space: &Space<'_>, diags: &mut Vec<Diagnostic>) -> Vec<Span> {
    let accesses = accesses(space.func);
    let mut collide = Vec::new();
    let mut bad: Vec<TensorId> = Vec::new();
    for access in &accesses {
        let Some(op) = access.write else { continue };
        if op == AssignOp::Set {
            if let Some(diagnostic) = collision(space, access) {
                diags.push(diagnostic);
                bad.push(access.tensor);
            }
        } else if !determined(space.func, access) {
            collide.push(access.span);
        }
    }
    for (n, a) in accesses.iter().enumerate() {
        for b in &accesses[n..] {
            let same = a.tensor == b.tensor && !bad.contains(&a.tensor);
            let writes = a.write.is_some() || b.write.is_some();
            if same
                && writes
                && !combine(a.write, b.write)
                && let Some(diagnostic) = tile_race(space, a, b)
            {
                diags.push(diagnostic);
                bad.push(a.tensor);
            }
        }
    }
    collide
}

/// Sets the kind of every store.
pub(super) fn mark_stores(body: &mut [Stmt], collide: &[Span]) {
    for stmt in body {
        match &mut stmt.kind {
            StmtKind::Store { kind, op, .. } => {
                let scatter = *op != AssignOp::Set && collide.contains(&stmt.span);
                *kind = if scatter { StoreKind::Scatter } else { StoreKind::Injective };
            }
            StmtKind::For { body, .. }
            | StmtKind::Seq { body, .. }
            | StmtKind::Fold { body, .. }
            | StmtKind::Repeat { body, .. } => mark_stores(body, collide),
            StmtKind::If { then, otherwise, .. } => {
                mark_stores(then, collide);
                mark_stores(otherwise, collide);
            }
            _ => {}
        }
    }
}

/// Whether two accesses combine, so that their order has no meaning.
fn combine(a: Option<AssignOp>, b: Option<AssignOp>) -> bool {
    let class = |op: AssignOp| match op {
        AssignOp::Set => None,
        AssignOp::Add | AssignOp::Sub => Some(0),
        AssignOp::Mul => Some(1),
        AssignOp::Max => Some(2),
        AssignOp::Min => Some(3),
    };
    match (a.and_then(class), b.and_then(class)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

// Gathering

fn accesses(func: &Func) -> Vec<Access> {
    let mut gather = Gather { func, fors: Vec::new(), outer: Vec::new(), loops: 0, out: Vec::new() };
    gather.body(&func.body);
    gather.out
}

struct Gather<'a> {
    func: &'a Func,
    fors: Vec<(usize, Vec<AxisId>)>,
    outer: Vec<AxisId>,
    loops: usize,
    out: Vec<Access>,
}

impl Gather<'_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        walk::stmt_exprs(stmt, |e| self.reads(e));
        for axis in walk::declared_axes(stmt) {
            self.reads(self.func.axes[axis].lo);
            self.reads(self.func.axes[axis].hi);
        }
        match &stmt.kind {
            StmtKind::Store { tensor, index, op, expr, .. } => {
                let roots: Vec<ExprId> = index.iter().copied().chain([*expr]).collect();
                self.access(*tensor, Some(index.clone()), Some(*op), &roots, stmt.span);
            }
            StmtKind::Append { list, count, .. } => {
                self.access(*list, None, Some(AssignOp::Add), &[], stmt.span);
                self.access(*count, None, Some(AssignOp::Add), &[], stmt.span);
            }
            StmtKind::For { axes, body, .. } => {
                self.loops += 1;
                if axes.is_empty() {
                    self.body(body);
                } else {
                    self.fors.push((self.loops, axes.clone()));
                    self.body(body);
                    self.fors.pop();
                }
            }
            StmtKind::Seq { axis, body, .. } | StmtKind::Fold { axis, body, .. } => {
                let outer = self.fors.is_empty();
                if outer {
                    self.outer.push(*axis);
                }
                self.body(body);
                if outer {
                    self.outer.pop();
                }
            }
            StmtKind::If { then, otherwise, .. } => {
                self.body(then);
                self.body(otherwise);
            }
            _ => {}
        }
    }

    fn reads(&mut self, root: ExprId) {
        let func = self.func;
        let mut found = Vec::new();
        walk::for_each_expr(func, root, |_, e| {
            if let ExprKind::Load { tensor, index, .. } = &e.kind {
                found.push((*tensor, index.clone(), e.span));
            }
            if let ExprKind::Reduce { axes, .. } = &e.kind {
                for &a in axes.iter().filter(|&&a| func.axes[a].kind == AxisKind::Bind) {
                    for bound in [func.axes[a].lo, func.axes[a].hi] {
                        for t in walk::tensors_read(func, bound) {
                            found.push((t, Vec::new(), e.span));
                        }
                    }
                }
            }
        });
        for (tensor, index, span) in found {
            let whole = index.len() != func.tensors[tensor].shape.len();
            let roots = index.clone();
            self.access(tensor, (!whole).then_some(index), None, &roots, span);
        }
    }

    fn access(
        &mut self,
        tensor: TensorId,
        index: Option<Vec<ExprId>>,
        write: Option<AssignOp>,
        roots: &[ExprId],
        span: Span,
    ) {
        let mut points: Vec<AxisId> =
            roots.iter().flat_map(|&e| self.func.exprs[e].axes.iter().copied()).collect();
        points.extend(self.fors.iter().flat_map(|(_, axes)| axes));
        let parents: Vec<AxisId> = points.iter().flat_map(|&a| closure(self.func, a)).collect();
        points.extend(parents);
        points.sort_unstable();
        points.dedup();
        let (fors, outer) = (self.fors.clone(), self.outer.clone());
        self.out.push(Access { tensor, index, write, fors, outer, points, span });
    }
}

// Symbolic part

/// Axes whose value the element's place gives away.
fn determined_axes(func: &Func, access: &Access) -> Vec<AxisId> {
    let Some(index) = &access.index else { return Vec::new() };
    let mut known: Vec<AxisId> = Vec::new();
    for &e in index {
        known.extend(anchor(func, e));
        // Elements of an injective tensor give away where they come from.
        if let ExprKind::Load { tensor, index, .. } = &func.exprs[strip_casts(func, e)].kind
            && func.tensors[*tensor].injective
        {
            known.extend(index.iter().flat_map(|&i| anchor(func, i)));
        }
    }
    // Neighbouring rows of a monotone tensor are apart: the element gives away the row.
    let rows: Vec<AxisId> = known.iter().filter_map(|&a| row_of(func, a)).collect();
    known.extend(rows);
    known
}

/// The integer without conversions that keep indices apart: those to 32 bits and more.
fn strip_casts(func: &Func, e: ExprId) -> ExprId {
    let expr = &func.exprs[e];
    match expr.kind {
        ExprKind::Cast(inner) if func.exprs[inner].dtype.is_int() && expr.dtype.size() >= 4 => {
            strip_casts(func, inner)
        }
        _ => e,
    }
}

/// The axis, where the index is that axis plus or minus something that no axis changes.
fn anchor(func: &Func, e: ExprId) -> Option<AxisId> {
    let e = strip_casts(func, e);
    let fixed = |e: ExprId| {
        let mut fixed = func.exprs[e].axes.is_empty();
        walk::for_each_expr(func, e, |_, x| {
            fixed &= !matches!(x.kind, ExprKind::Axis(_) | ExprKind::Load { .. } | ExprKind::Value(_));
        });
        fixed
    };
    match func.exprs[e].kind {
        ExprKind::Axis(a) => Some(a),
        ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) if fixed(b) => anchor(func, a),
        ExprKind::Binary(BinaryOp::Add, a, b) if fixed(a) => anchor(func, b),
        _ => None,
    }
}

/// `r`, for an axis that runs over `p[r]..p[r+1]` of a monotone `p`.
fn row_of(func: &Func, a: AxisId) -> Option<AxisId> {
    let load = |e: ExprId| match &func.exprs[strip_casts(func, e)].kind {
        ExprKind::Load { tensor, index, .. } => Some((*tensor, index.clone())),
        _ => None,
    };
    let ((lo, at), (hi, next)) = (load(func.axes[a].lo)?, load(func.axes[a].hi)?);
    let ([at], [next]) = (&at[..], &next[..]) else { return None };
    let row = match func.exprs[strip_casts(func, *at)].kind {
        ExprKind::Axis(r) => r,
        _ => return None,
    };
    let follows = match func.exprs[strip_casts(func, *next)].kind {
        ExprKind::Binary(BinaryOp::Add, x, y) => {
            func.exprs[strip_casts(func, x)].kind == ExprKind::Axis(row)
                && func.exprs[y].kind == ExprKind::Const(rooftile_artifact::Scalar::Int(1))
        }
        _ => false,
    };
    (lo == hi && follows && func.tensors[lo].monotone).then_some(row)
}

/// Whether every point of a store has an element of its own, for all sizes.
fn determined(func: &Func, access: &Access) -> bool {
    let known = determined_axes(func, access);
    access.points.iter().all(|a| known.contains(a))
}

/// Whether two accesses to one element happen in one tile, for all sizes.
fn same_tile(func: &Func, a: &Access, b: &Access) -> bool {
    let (Some(x), Some(y)) = (&a.index, &b.index) else { return false };
    common_fors(a, b).iter().all(|&axis| {
        let plain = |e: ExprId| func.exprs[strip_casts(func, e)].kind == ExprKind::Axis(axis);
        x.iter().zip(y).any(|(&p, &q)| plain(p) && plain(q))
            || (determined_axes(func, a).contains(&axis) && same_index(func, x, y))
    })
}

fn same_index(func: &Func, x: &[ExprId], y: &[ExprId]) -> bool {
    let mut left = 500;
    x.iter().zip(y).all(|(&p, &q)| same_expr(func, p, q, &mut left))
}

/// Whether two expressions are the same by structure. `left` bounds the work; without it they count as different.
fn same_expr(func: &Func, p: ExprId, q: ExprId, left: &mut usize) -> bool {
    if p == q {
        return true;
    }
    if *left == 0 {
        return false;
    }
    *left -= 1;
    let (a, b) = (&func.exprs[p], &func.exprs[q]);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    walk::operands(&a.kind, |e| x.push(e));
    walk::operands(&b.kind, |e| y.push(e));
    let head = match (&a.kind, &b.kind) {
        (ExprKind::Load { tensor: s, .. }, ExprKind::Load { tensor: t, .. }) => s == t,
        (ExprKind::Binary(s, ..), ExprKind::Binary(t, ..)) => s == t,
        (ExprKind::Cast(_), ExprKind::Cast(_)) => a.dtype == b.dtype,
        (s, t) => s == t,
    };
    head && x.len() == y.len() && x.iter().zip(&y).all(|(&p, &q)| same_expr(func, p, q, left))
}

/// Axes of the `for` loops around both.
fn common_fors(a: &Access, b: &Access) -> Vec<AxisId> {
    a.fors
        .iter()
        .zip(&b.fors)
        .take_while(|((x, _), (y, _))| x == y)
        .flat_map(|((_, axes), _)| axes.iter().copied())
        .collect()
}

// Concrete part

/// The elements that an index may name: an interval for each dimension.
type Place = Vec<(i64, i64)>;

fn relevant(space: &Space<'_>, access: &Access) -> Relevant {
    let mut roots: Vec<ExprId> = access.index.clone().unwrap_or_default();
    for &a in access.points.iter().chain(&access.outer) {
        roots.extend([space.func.axes[a].lo, space.func.axes[a].hi]);
    }
    let mut relevant = space.relevant(&roots);
    relevant.axes.extend(access.points.iter().chain(&access.outer));
    relevant.axes.sort_unstable();
    relevant.axes.dedup();
    relevant
}

/// Two points of one store that name one element.
fn collision(space: &Space<'_>, access: &Access) -> Option<Diagnostic> {
    let func = space.func;
    let index = access.index.as_ref()?;
    if determined(func, access) {
        return None;
    }
    let tensor = &func.tensors[access.tensor];
    let index_text: Vec<String> = index.iter().map(|&e| print::user_text(func, space.tables, e)).collect();
    let target = format!("{}[{}]", tensor.name, index_text.join(", "));
    // A tile axis that no index mentions: every tile writes the same.
    let mut mentioned: Vec<AxisId> = index.iter().flat_map(|&e| func.exprs[e].axes.clone()).collect();
    mentioned.extend(determined_axes(func, access));
    if let Some(&axis) = access.fors.iter().flat_map(|(_, axes)| axes).find(|a| !mentioned.contains(a)) {
        let name = &func.axes[axis].name;
        return Some(
            Diagnostic::error(
                Code::Race,
                access.span,
                format!("every tile of `{name}` writes `{target}`, which does not depend on `{name}`"),
            )
            .cause(func.axes[axis].span, format!("`{name}` is cut into tiles here"))
            .help(format!("index with `{name}`, or move the store out of the loop")),
        );
    }
    let relevant = relevant(space, access);
    let mut found: Option<(String, String, Vec<i64>)> = None;
    let mut data = false;
    space.each_setting(&relevant, BUDGET, &mut |eval| {
        let mut seen: BTreeMap<(Vec<i64>, Vec<i64>), String> = BTreeMap::new();
        let counters: Vec<AxisId> =
            relevant.axes.iter().copied().filter(|a| !access.points.contains(a)).collect();
        space.each_point(eval, &relevant.axes, BUDGET, &mut |eval| {
            let at: Option<Vec<i64>> = index.iter().map(|&e| eval.eval(e).exact()).collect();
            let Some(at) = at else {
                data = true;
                return ControlFlow::Break(());
            };
            let context: Vec<i64> =
                counters.iter().map(|&c| eval.placed(c).map_or(0, |(lo, _)| lo)).collect();
            let place = space.place_text(eval, &relevant);
            if let Some(before) = seen.insert((context, at.clone()), place.clone()) {
                found = Some((before, place, at));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
    });
    if let Some((first, second, at)) = found {
        let at: Vec<String> = at.iter().map(ToString::to_string).collect();
        let at = at.join(",");
        return Some(
            Diagnostic::error(
                Code::Race,
                access.span,
                format!("`{}[{at}]` is written twice: {first}, and {second}", tensor.name),
            )
            .help("give every point an element of its own, or combine with `+=`"),
        );
    }
    if data {
        let source = index.iter().find_map(|&e| walk::tensors_read(func, e).first().copied());
        let mut diagnostic = Diagnostic::error(
            Code::DuplicateWrite,
            access.span,
            format!("data say where `{target}` is, and may name one element twice"),
        );
        if let Some(t) = source {
            let name = &func.tensors[t].name;
            diagnostic = diagnostic
                .cause(func.tensors[t].span, format!("`{name}` is data"))
                .help(format!("declare `{name}` `injective`, or combine with `+=`"));
        } else {
            diagnostic = diagnostic.help("combine with `+=`");
        }
        return Some(diagnostic);
    }
    None
}

/// An element that two tiles touch, one of them writing.
fn tile_race(space: &Space<'_>, a: &Access, b: &Access) -> Option<Diagnostic> {
    let func = space.func;
    let tiled = common_fors(a, b);
    if tiled.is_empty() || same_tile(func, a, b) {
        return None;
    }
    // A store against itself is the rule before.
    if std::ptr::eq(a, b) {
        return None;
    }
    let (writer, other) = if a.write.is_some() { (a, b) } else { (b, a) };
    let (ra, rb) = (relevant(space, writer), relevant(space, other));
    let both = ra.with(&rb);
    let mut found: Option<String> = None;
    space.each_setting(&both, BUDGET, &mut |eval| {
        let mut written: BTreeMap<(Vec<i64>, Place), Vec<i64>> = BTreeMap::new();
        let mut wide: Vec<(Vec<i64>, Place, Vec<i64>)> = Vec::new();
        let outer = writer.outer.clone();
        let key = |eval: &super::abs::Eval<'_>, axes: &[AxisId]| -> Vec<i64> {
            axes.iter().map(|&x| eval.placed(x).map_or(0, |(lo, _)| lo)).collect()
        };
        let _ = space.each_point(eval, &ra.axes, BUDGET, &mut |eval| {
            let (context, tile) = (key(eval, &outer), key(eval, &tiled));
            let place = place_of(space, eval, writer);
            if place.iter().all(|(lo, hi)| lo == hi) {
                written.entry((context, place)).or_insert(tile);
            } else {
                wide.push((context, place, tile));
            }
            ControlFlow::Continue(())
        });
        let _ = space.each_point(eval, &rb.axes, BUDGET, &mut |eval| {
            let (context, tile) = (key(eval, &outer), key(eval, &tiled));
            let place = place_of(space, eval, other);
            let exact = place.iter().all(|(lo, hi)| lo == hi);
            let clash = if exact {
                written
                    .get(&(context.clone(), place.clone()))
                    .filter(|t| **t != tile)
                    .map(|t| (place.clone(), t.clone()))
            } else {
                written
                    .iter()
                    .find(|((c, w), t)| *c == context && **t != tile && overlap(w, &place))
                    .map(|((_, w), t)| (w.clone(), t.clone()))
            };
            let clash = clash.or_else(|| {
                wide.iter()
                    .find(|(c, w, t)| *c == context && *t != tile && overlap(w, &place))
                    .map(|(_, w, t)| (w.clone(), t.clone()))
            });
            if let Some((place, writer_tile)) = clash {
                found = Some(race_text(space, &tiled, &place, &writer_tile, &tile, writer, other));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let tensor = &func.tensors[a.tensor];
    let verb = if other.write.is_some() { "written" } else { "read" };
    found.map(|text| {
        Diagnostic::error(Code::Race, other.span, text)
            .cause(writer.span, format!("`{}` is written here", tensor.name))
            .label(format!("{verb} here"))
            .help("write to another tensor than the one that is read, or touch an element in one tile only")
    })
}

fn place_of(space: &Space<'_>, eval: &mut super::abs::Eval<'_>, access: &Access) -> Place {
    match &access.index {
        Some(index) => index
            .iter()
            .enumerate()
            .map(|(dim, &e)| match eval.eval(e) {
                Abs::Int(lo, hi) if hi.saturating_sub(lo) <= MAX_BOX => {
                    inside(space, eval, access, dim, lo, hi)
                }
                _ => (i64::MIN, i64::MAX),
            })
            .collect(),
        None => vec![(i64::MIN, i64::MAX); space.func.tensors[access.tensor].shape.len()],
    }
}

/// A read outside touches the element that the edge rule names: the nearest, the opposite, or none. Anything along the
/// dimension is assumed.
fn inside(
    space: &Space<'_>,
    eval: &mut super::abs::Eval<'_>,
    access: &Access,
    dim: usize,
    lo: i64,
    hi: i64,
) -> (i64, i64) {
    let extent = eval.eval(space.func.tensors[access.tensor].shape[dim]);
    match extent {
        Abs::Int(_, n) if lo >= 0 && hi < n => (lo, hi),
        _ => (i64::MIN, i64::MAX),
    }
}

fn overlap(a: &Place, b: &Place) -> bool {
    a.iter().zip(b).all(|(&(a, b), &(c, d))| a <= d && c <= b)
}

fn race_text(
    space: &Space<'_>,
    tiled: &[AxisId],
    place: &Place,
    writer_tile: &[i64],
    tile: &[i64],
    writer: &Access,
    other: &Access,
) -> String {
    let func = space.func;
    let names: Vec<&str> = tiled.iter().map(|&a| func.axes[a].name.as_str()).collect();
    let at = |tile: &[i64]| {
        let parts: Vec<String> = names.iter().zip(tile).map(|(n, v)| format!("{n} = {v}")).collect();
        parts.join(", ")
    };
    let name = &func.tensors[writer.tensor].name;
    let element: Vec<String> =
        place.iter().map(|&(lo, hi)| if lo == hi { lo.to_string() } else { "..".to_owned() }).collect();
    let verb = if other.write.is_some() { "writes" } else { "reads" };
    format!(
        "the tile at {} {verb} `{name}[{}]`, which the tile at {} writes; tiles run in any order",
        at(tile),
        element.join(","),
        at(writer_tile)
    )
}

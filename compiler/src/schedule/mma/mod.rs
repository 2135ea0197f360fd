//! `mma(acc)`: sums of products by matrix units. Each subgroup of a group has a block of small matrices, in which it keeps
//! its part of a tile of the result.
//!
//! ```text
//! acc[i,j] = 0;  for k { acc[i,j] += A[i,k] * B[k,j] }
//!   =>  subgroups { matrices = 0 }
//!       for k.0 { a[i,k] = A[i,k], b[k,j] = B[k,j] of a tile, by all threads;  subgroups { matrices += a * b } }
//!       subgroups { t[i,j] = matrices };  acc[i,j] = t[i,j]
//! ```
//!
//! `a`, `b` and `t` are in near memory, and as large as a whole tile: beyond the ends of the axes `a` and `b` hold zeros,
//! so that nothing is added there, and of `t` nothing is read. What is done with `acc` afterwards is done by threads.
//!
//! Matrix units add in an order of their own: float sums need `allow reassoc`. Products are exact in the type of the sum.

mod rewrite;
mod sums;

use rooftile_artifact::target::MatrixShape;
use rooftile_artifact::{DType, GpuTarget};

use super::access::{Object, reads_of};
use super::form::{Action, Form, Item, StmtId};
use super::fuse::Tree;
use super::levels::{AxisSpec, LevelId, Levels};
use super::{Allow, bounds};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, ExprId, ExprKind, ValueId};
use crate::schedule::plan::AxisRef;
pub(crate) use rewrite::rewrite;
pub(crate) use sums::{factors, names};
use sums::{live, narrow, sums_of};

/// Subgroups of a group, where nobody says how many.
const SUBGROUPS: i64 = 4;

/// Most matrices of a subgroup's block.
const MATRICES: i64 = 64;

/// A sum of products that matrix units compute.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// Sets the sum to its first value.
    start: StmtId,
    /// Adds the products.
    sum: StmtId,
    /// The factors, of the type that is multiplied: of `rows` and `inner`, and of `inner` and `columns`.
    factors: [ExprId; 2],
    /// Axes of the result's rows and columns, and the one that is summed over.
    pub(crate) rows: AxisId,
    pub(crate) columns: AxisId,
    pub(crate) inner: AxisId,
    /// One product of the matrix unit.
    pub(crate) shape: MatrixShape,
    /// Subgroups of a group along the rows, and along the columns.
    pub(crate) subgroups: [i64; 2],
    /// Points of a tile along rows, columns and the inner axis.
    pub(crate) tile: [i64; 3],
}

impl Product {
    /// Points of a tile along one of the three axes.
    pub(crate) fn side(&self, axis: AxisId) -> i64 {
        let three = [self.rows, self.columns, self.inner];
        three.iter().position(|a| *a == axis).map_or(1, |n| self.tile[n])
    }

    /// Matrices of a subgroup's block, along rows and columns.
    pub(crate) fn block(&self) -> [i64; 2] {
        let [m, n] = [self.shape.m, self.shape.n].map(i64::from);
        [self.tile[0] / self.subgroups[0] / m, self.tile[1] / self.subgroups[1] / n]
    }

    /// The loops that the sum is inside of, those that are shared out first: matrices stay where they are meanwhile.
    pub(crate) fn loops(&self, form: &Form, specs: &[AxisSpec]) -> Vec<AxisRef> {
        let Some(value) = form.stmts[self.sum].action.written_value() else { return Vec::new() };
        let mut levels = Vec::new();
        for axis in form.sorted(form.func.values[value].axes.clone()) {
            let spec = &specs[axis.index()];
            let tiled = axis == self.rows || axis == self.columns;
            let count = if tiled { spec.steps().len() } else { 1 };
            for n in 0..count {
                let level = if tiled { u32::try_from(n).ok() } else { None };
                let name = form.func.axes[axis].name.clone();
                levels.push((!(spec.parallel && n == 0), AxisRef { name, level }));
            }
        }
        levels.sort_by_key(|(inside, _)| *inside);
        levels.into_iter().map(|(_, level)| level).collect()
    }

    /// Subgroups of a group.
    pub(crate) fn all_subgroups(&self) -> i64 {
        self.subgroups.iter().product()
    }
}

/// What `mma` and `warps` ask for.
pub(crate) struct Wanted<'a> {
    /// The name of the sum, or of what is set to it.
    pub(crate) name: &'a str,
    /// Subgroups of a group.
    pub(crate) subgroups: Option<i64>,
}

/// Finds the sums of a name, and how the device multiplies them. Axes without tiles get some; where none of the sum's axes
/// has threads, the threads that multiply go on with the results.
///
/// # Errors
/// E0504 for what is not a sum of products, or cannot be cut into matrices; E0505 where the device has none for its types.
pub(crate) fn products(
    form: &Form,
    wanted: &Wanted<'_>,
    specs: &mut [AxisSpec],
    allow: Allow,
    gpu: &GpuTarget,
) -> Result<Vec<Product>, Diagnostic> {
    let sums = sums_of(form, wanted.name);
    if sums.is_empty() {
        let values = form.func.values.iter().map(|(_, v)| (&v.name, v.span));
        let tensors = form.func.tensors.iter().map(|(_, t)| (&t.name, t.span));
        let Some((_, span)) = values.chain(tensors).find(|(name, _)| *name == wanted.name) else {
            return Ok(Vec::new());
        };
        let message = format!("`{}` is not a sum of products: matrix units cannot compute it", wanted.name);
        return Err(Diagnostic::error(Code::Illegal, span, message));
    }
    let mut out = Vec::new();
    for sum in sums {
        let finder = Finder { form, name: wanted.name, span: form.stmts[sum].span };
        out.push(finder.product(sum, wanted.subgroups, specs, allow, gpu)?);
    }
    Ok(out)
}

struct Finder<'a> {
    form: &'a Form,
    name: &'a str,
    span: Span,
}

impl Finder<'_> {
    fn refuse(&self, why: &str) -> Diagnostic {
        Diagnostic::error(Code::Illegal, self.span, format!("mma({}): {why}", self.name))
    }

    fn axis(&self, a: AxisId) -> &str {
        &self.form.func.axes[a].name
    }

    fn product(
        &self,
        sum: StmtId,
        subgroups: Option<i64>,
        specs: &mut [AxisSpec],
        allow: Allow,
        gpu: &GpuTarget,
    ) -> Result<Product, Diagnostic> {
        let form = self.form;
        let (Action::Accumulate { value, .. }, Some(wide)) = (&form.stmts[sum].action, factors(form, sum))
        else {
            return Err(self.refuse("it is not a sum of products"));
        };
        let start = self.start(*value, sum)?;
        let result = form.func.values[*value].dtype;
        if result.is_float() && !allow.reassoc {
            return Err(self
                .refuse("matrix units change the order of a float sum")
                .help("the task must `allow reassoc`"));
        }
        let factors = wide.map(|e| narrow(form, e));
        let [rows, columns, inner] = self.axes(*value, factors, specs)?;
        let factors =
            if form.func.exprs[factors[0]].axes.contains(&rows) { factors } else { [factors[1], factors[0]] };
        let types = factors.map(|e| form.func.exprs[e].dtype);
        let last = |a: AxisId| specs[a.index()].last_tile();
        let sides = |s: &MatrixShape| [(rows, s.m), (columns, s.n), (inner, s.k)];
        // Sums of integers wrap: with a sign or without they have the same bits.
        let same_bits = |t: DType| t == result || t.is_int() && result.is_int() && t.size() == result.size();
        let alike = |s: &&MatrixShape| types == [s.factor; 2] && same_bits(s.result);
        let fits = |s: &&MatrixShape| {
            sides(s).iter().all(|(a, side)| last(*a).is_none_or(|n| n % i64::from(*side) == 0))
        };
        let shapes: Vec<&MatrixShape> = gpu.matrices.iter().filter(alike).collect();
        let Some(first) = shapes.first() else {
            let [a, b] = types;
            let message =
                format!("mma({}): the device has no matrices of {a} and {b} in {result}", self.name);
            return Err(Diagnostic::error(Code::Unsupported, self.span, message));
        };
        // The most work at once; of those that do as much the device's first.
        let work = |s: &MatrixShape| u64::from(s.m) * u64::from(s.n) * u64::from(s.k);
        let best = shapes.iter().copied().filter(fits).reduce(|a, b| if work(b) > work(a) { b } else { a });
        let Some(shape) = best else {
            let wrong =
                sides(first).into_iter().find(|(a, s)| last(*a).is_some_and(|n| n % i64::from(*s) != 0));
            let (a, side) = wrong.unwrap_or((rows, first.m));
            let why = format!("tiles of `{}` must be multiples of {side}", self.axis(a));
            return Err(self.refuse(&why).help(format!("tile({}, {})", self.axis(a), 4 * side)));
        };
        let (subgroups, tile) = self.share([rows, columns, inner], shape, subgroups, specs, gpu)?;
        let product = Product { start, sum, factors, rows, columns, inner, shape: *shape, subgroups, tile };
        if product.block().iter().product::<i64>() > MATRICES {
            let why = format!("a subgroup would have more than {MATRICES} matrices");
            return Err(self.refuse(&why).help("smaller tiles, or more subgroups by `warps`"));
        }
        // What is done with the results is done by the threads that multiplied.
        if !form.func.values[*value].axes.iter().any(|a| specs[a.index()].threads.is_some()) {
            let threads = (product.all_subgroups() * i64::from(gpu.subgroup)).max(1);
            let across = threads.min(product.tile[1]);
            specs[columns.index()].threads = Some(across).filter(|n| *n > 1);
            specs[rows.index()].threads = Some(threads / across).filter(|n| *n > 1);
        }
        Ok(product)
    }

    /// The statement that gives the sum its first value, one for all points. What reads the sum comes after it is done.
    fn start(&self, value: ValueId, sum: StmtId) -> Result<StmtId, Diagnostic> {
        let form = self.form;
        let list = list_of(&form.items, sum).unwrap_or_default();
        let place = |s: StmtId| list.iter().position(|i| matches!(i, Item::Stmt(x) if *x == s));
        let writes = |a: &Action| a.written_value() == Some(value);
        let writers: Vec<StmtId> =
            live(form).into_iter().filter(|s| *s != sum && writes(&form.stmts[*s].action)).collect();
        let constant = |s: StmtId| match form.stmts[s].action {
            Action::Set { index: None, expr, .. } => matches!(form.func.exprs[expr].kind, ExprKind::Const(_)),
            _ => false,
        };
        let (&[start], Some(end)) = (&writers[..], place(sum)) else {
            return Err(self.refuse("nothing but one sum may change it"));
        };
        if !constant(start) {
            return Err(self
                .refuse("its first value must be a number")
                .help("start from zero, and add the rest afterwards"));
        }
        let Some(from) = place(start).filter(|from| *from < end) else {
            return Err(
                self.refuse("it must be set where it is summed up, not outside of a `seq`, `fold` or `if`")
            );
        };
        let read_early = list[from..end]
            .iter()
            .flat_map(Item::stmts)
            .any(|s| reads_of(form, &form.stmts[s].action).iter().any(|a| a.object == Object::Value(value)));
        if read_early {
            return Err(self.refuse("it is read before it is complete"));
        }
        Ok(start)
    }

    /// The axes of rows and columns, and the one that is summed over: of several the one with tiles, else the last long one.
    fn axes(
        &self,
        value: ValueId,
        factors: [ExprId; 2],
        specs: &[AxisSpec],
    ) -> Result<[AxisId; 3], Diagnostic> {
        let form = self.form;
        let [a, b] = factors.map(|e| &form.func.exprs[e].axes);
        let result = &form.func.values[value].axes;
        let choose = |some: Vec<AxisId>| {
            let tiled = some.iter().rfind(|x| specs[x.index()].last_tile().is_some());
            let long = some.iter().rfind(|x| bounds::extent(form, **x).is_none());
            tiled.or(long).or(some.last()).copied()
        };
        let of_one = |own: &[AxisId], other: &[AxisId]| {
            choose(result.iter().copied().filter(|x| own.contains(x) && !other.contains(x)).collect())
        };
        let both = a.iter().copied().filter(|x| b.contains(x) && !result.contains(x)).collect();
        let (Some(first), Some(second), Some(inner)) = (of_one(a, b), of_one(b, a), choose(both)) else {
            let bounded = |x: &&AxisId| form.func.axes[**x].parents.iter().any(|p| result.contains(p));
            if let Some(x) = a.iter().find(bounded) {
                let why = format!("the bounds of `{}` depend on another axis of it", self.axis(*x));
                return Err(self.refuse(&why));
            }
            return Err(self.refuse(
                "one factor must have the rows, the other the columns, and both what is summed over",
            ));
        };
        let place = |x: AxisId| result.iter().position(|r| *r == x);
        let [rows, columns] = if place(first) < place(second) { [first, second] } else { [second, first] };
        let three = [rows, columns, inner];
        let bounds = |x: &AxisId| form.func.axes.iter().any(|(_, y)| y.parents.contains(x));
        if let Some(x) = three.iter().find(|x| bounds(x)) {
            let why = format!("the bounds of another axis depend on `{}`", self.axis(*x));
            return Err(self.refuse(&why));
        }
        Ok(three)
    }

    /// Subgroups along rows and columns, and the points of a tile.
    fn share(
        &self,
        axes: [AxisId; 3],
        shape: &MatrixShape,
        subgroups: Option<i64>,
        specs: &mut [AxisSpec],
        gpu: &GpuTarget,
    ) -> Result<([i64; 2], [i64; 3]), Diagnostic> {
        let sides = [shape.m, shape.n, shape.k].map(i64::from);
        let tile =
            |n: usize, matrices: i64| specs[axes[n].index()].last_tile().unwrap_or(sides[n] * matrices);
        let tile = [tile(0, 4), tile(1, 4), tile(2, 2)];
        let matrices = [tile[0] / sides[0], tile[1] / sides[1]];
        let most = (gpu.group_threads / gpu.subgroup.max(1)).into();
        let share = |n: i64| {
            // As square as it goes: the fewer reads for each product.
            let ways = (1..=n).filter(|w| n % w == 0).map(|w| [w, n / w]);
            ways.filter(|w| matrices[0] % w[0] == 0 && matrices[1] % w[1] == 0)
                .min_by_key(|w| (matrices[0] / w[0] - matrices[1] / w[1]).abs())
        };
        let found = match subgroups {
            Some(n) if n > most => {
                let why = format!("{n} subgroups are more than the {most} of the largest group");
                return Err(self.refuse(&why));
            }
            Some(n) => share(n),
            None => (1..=SUBGROUPS.min(most)).rev().find_map(share),
        };
        let Some(subgroups) = found else {
            let why = format!(
                "{} subgroups cannot share out {} x {} matrices",
                subgroups.unwrap_or(1),
                matrices[0],
                matrices[1]
            );
            return Err(self.refuse(&why).help("other tiles, or another count in `warps`"));
        };
        for (axis, n) in axes.iter().zip(tile) {
            let tiles = &mut specs[axis.index()].tiles;
            if tiles.iter().all(|t| *t < 2) {
                *tiles = vec![n];
            }
        }
        Ok((subgroups, tile))
    }
}

/// The loops over tiles of an axis, from the outside in.
pub(crate) fn tiles(levels: &Levels, axis: AxisId) -> Vec<LevelId> {
    let mut steps: Vec<LevelId> = levels.steps(axis).collect();
    steps.pop();
    steps
}

/// The threads that the matrices of some trees need.
pub(crate) fn threads(form: &Form, trees: &[Tree], subgroup: i64) -> i64 {
    let stmts = Tree::stmts(trees);
    let products = stmts.iter().filter_map(|s| match form.stmts[*s].action {
        Action::Matrix { product, .. } => Some(&form.products[product]),
        _ => None,
    });
    products.map(|p| p.all_subgroups() * subgroup).max().unwrap_or(0)
}

/// The list of items that has a statement.
fn list_of(items: &[Item], stmt: StmtId) -> Option<&[Item]> {
    if items.iter().any(|i| matches!(i, Item::Stmt(s) if *s == stmt)) {
        return Some(items);
    }
    items.iter().find_map(|i| match i {
        Item::Stmt(_) => None,
        Item::Seq { body, .. } => list_of(body, stmt),
        Item::If { then, otherwise, .. } => list_of(then, stmt).or_else(|| list_of(otherwise, stmt)),
    })
}

//! Sums of products by matrix units: what `compiler/src/schedule/mma` makes of a sum, as loops over subgroups.

use rooftile_artifact::Scalar;

use super::{AxisState, Emitter, ValueBuffer};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{AxisId, ExprId, ValueId};
use crate::nest::build::Builder;
use crate::nest::ir::{self as nest, BinaryOp, BufferId, LoopKind, Space, Stmt};
use crate::schedule::form::MatrixStep;
use crate::schedule::mma::{self, Product};
use crate::schedule::storage::{Base, HomeSpace};

/// The matrices of a product: of each subgroup, along rows and columns of its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrices {
    sums: BufferId,
    left: BufferId,
    right: BufferId,
}

/// What is done with one matrix of a subgroup's block, at its place in the block.
type OfEach<'a> = dyn FnMut(&mut Builder, [nest::ExprId; 2]) -> Stmt + 'a;

impl Emitter<'_> {
    /// Writes a step of a product.
    pub(in crate::schedule) fn matrix_step(
        &mut self,
        product: usize,
        step: MatrixStep,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let form = self.form;
        let p = &form.products[product];
        match step {
            MatrixStep::Start { matrices, with } => {
                let dtype = form.func.values[matrices].dtype;
                let value = self.real(with)?;
                let value = self.b.cast(dtype, value);
                let sums = self.matrices(product).sums;
                self.by_subgroups(p, |b, g, [i, j]| b.fill_matrix((sums, &[g, i, j]), value));
                Ok(())
            }
            MatrixStep::Copy { tile, expr } => self.copy_tile(p, tile, expr, span),
            MatrixStep::Multiply { a, b, .. } => {
                let matrices = self.matrices(product);
                let a = self.tile_buffer(a, [p.rows, p.inner], span)?;
                let b = self.tile_buffer(b, [p.inner, p.columns], span)?;
                self.multiply(p, matrices, a, b);
                Ok(())
            }
            MatrixStep::Finish { tile, .. } => {
                let sums = self.matrices(product).sums;
                let (buffer, dims) = self.tile_buffer(tile, [p.rows, p.columns], span)?;
                self.by_subgroups(p, |b, g, [i, j]| {
                    let at = corner(b, p, g, [i, j]);
                    b.store_matrix((sums, &[g, i, j]), (buffer, &ordered(at, dims)), dims)
                });
                Ok(())
            }
        }
    }

    fn matrices(&mut self, product: usize) -> Matrices {
        if let Some(found) = self.matrices.get(&product) {
            return *found;
        }
        let p = &self.form.products[product];
        let [m, n, k] = [p.shape.m, p.shape.n, p.shape.k].map(i64::from);
        let ([rows, columns], own) = (p.block(), p.all_subgroups());
        let b = &mut self.b;
        let mut buffer = |name: &str, dtype, extents: &[i64]| {
            let extents: Vec<nest::ExprId> = extents.iter().map(|e| b.int(*e)).collect();
            b.add_buffer(name, dtype, &extents, Space::Matrix)
        };
        let made = Matrices {
            sums: buffer("sums", p.shape.result, &[own, rows, columns, m, n]),
            left: buffer("left", p.shape.factor, &[own, rows, m, k]),
            right: buffer("right", p.shape.factor, &[own, columns, k, n]),
        };
        self.matrices.insert(product, made);
        made
    }

    /// A tile in near memory, whole, and the dimensions of its two axes.
    fn tile_buffer(
        &mut self,
        value: ValueId,
        axes: [AxisId; 2],
        span: Span,
    ) -> Result<(BufferId, (usize, usize)), Diagnostic> {
        let ValueBuffer { parts, dims, space, .. } = self.value_buffer(value)?;
        let whole = |axis: AxisId| {
            let tile = mma::tiles(self.levels, axis).last().copied();
            dims.iter().position(|d| {
                d.axis == axis && matches!(d.base, Base::Level(level, ..) if Some(level) == tile)
            })
        };
        if let (HomeSpace::Shared, &[buffer], 2, [Some(x), Some(y)]) =
            (space, &parts[..], dims.len(), axes.map(whole))
        {
            return Ok((buffer, (x, y)));
        }
        let [x, y] = axes.map(|a| &self.form.func.axes[a].name);
        let message = format!("a tile of `{x}` and `{y}` for the matrix units is used by several loops");
        Err(Diagnostic::error(Code::Illegal, span, message).help("leave the order of loops to the default"))
    }

    /// What `f` does with each matrix of each subgroup's block.
    fn by_subgroups(
        &mut self,
        p: &Product,
        f: impl Fn(&mut Builder, nest::ExprId, [nest::ExprId; 2]) -> Stmt,
    ) {
        let subgroups = count(p);
        let stmt =
            self.b.subgroups(subgroups, "g", |b, g| vec![each(b, p.block(), &mut |b, at| f(b, g, at))]);
        self.out.push(stmt);
    }

    /// `sums += a * b`, over a tile of the inner axis.
    fn multiply(
        &mut self,
        p: &Product,
        Matrices { sums, left, right }: Matrices,
        (a, a_dims): (BufferId, (usize, usize)),
        (b, b_dims): (BufferId, (usize, usize)),
    ) {
        let [rows, columns] = p.block();
        let stmt = self.b.subgroups(count(p), "g", |nest, g| {
            let (zero, depth) = (nest.int(0), nest.int(p.tile[2]));
            let side = i64::from(p.shape.k);
            vec![nest.for_loop(LoopKind::Serial, "k", (zero, depth, side), |nest, k| {
                let (rows_end, columns_end) = (nest.int(rows), nest.int(columns));
                let lefts = nest.for_loop(LoopKind::Unrolled, "i", (zero, rows_end, 1), |nest, i| {
                    let [row, _] = corner(nest, p, g, [i, zero]);
                    vec![nest.load_matrix((left, &[g, i]), (a, &ordered([row, k], a_dims)), a_dims)]
                });
                let rights = nest.for_loop(LoopKind::Unrolled, "j", (zero, columns_end, 1), |nest, j| {
                    let [_, column] = corner(nest, p, g, [zero, j]);
                    vec![nest.load_matrix((right, &[g, j]), (b, &ordered([k, column], b_dims)), b_dims)]
                });
                let products = each(nest, [rows, columns], &mut |nest, [i, j]| {
                    nest.multiply_add((sums, &[g, i, j]), (left, &[g, i]), (right, &[g, j]))
                });
                vec![lefts, rights, products]
            })]
        });
        self.out.push(stmt);
    }

    /// A factor to near memory: a whole tile, by all threads of the group, zero beyond the ends of the axes.
    ///
    /// ```text
    /// for q in 0..16*32 step 128 { threads t: a[(q+t) / 32, (q+t) % 32] = inside ? A[i0 + .., k0 + ..] : 0 }
    /// ```
    fn copy_tile(&mut self, p: &Product, tile: ValueId, expr: ExprId, span: Span) -> Result<(), Diagnostic> {
        let [x, y] = self.form.func.values[tile].axes[..] else { return Ok(()) };
        let (buffer, dims) = self.tile_buffer(tile, [x, y], span)?;
        let (first_row, rows_end) = self.tile_range(x)?;
        let (first_column, columns_end) = self.tile_range(y)?;
        let total = p.side(x) * p.side(y);
        let (all, width) = (self.b.int(total), self.b.int(p.side(y)));
        self.by_all_threads(all, self.group.min(total).max(1), |e, element| {
            let row = e.b.binary(BinaryOp::DivNonNeg, element, width);
            let column = e.b.binary(BinaryOp::RemNonNeg, element, width);
            let (row, column) = (e.named(row), e.named(column));
            let (at_row, at_column) = (e.b.add(first_row, row), e.b.add(first_column, column));
            let (below, left) = (e.b.lt(at_row, rows_end), e.b.lt(at_column, columns_end));
            let cond = e.b.and(below, left);
            for (axis, base) in [(x, at_row), (y, at_column)] {
                e.axes[axis.index()] = AxisState { base: Some(base), single: true, ..AxisState::default() };
            }
            let index = ordered([row, column], dims);
            let dtype = e.b.nest().buffers[buffer].dtype;
            let then = e.collect(|e| {
                e.begin(&[expr]);
                let v = e.real(expr)?;
                let v = e.b.cast(dtype, v);
                let stmt = e.b.store(buffer, &index, v);
                e.out.push(stmt);
                Ok(())
            })?;
            let nothing = e.b.constant(Scalar::Int(0).cast(dtype), dtype);
            let otherwise = vec![e.b.store(buffer, &index, nothing)];
            e.out.push(Stmt::If { cond, then, otherwise });
            Ok(())
        })
    }

    /// The first point of the tile of an axis that is open, and the end of those that the axis has there.
    fn tile_range(&mut self, axis: AxisId) -> Result<(nest::ExprId, nest::ExprId), Diagnostic> {
        let inner = self.levels.steps(axis).last().unwrap_or_default();
        let (first, end) = self.bounds(inner)?;
        Ok((first, self.named(end)))
    }
}

fn count(p: &Product) -> u32 {
    u32::try_from(p.all_subgroups()).unwrap_or(u32::MAX)
}

/// Two indices in the order of a buffer's dimensions: the first belongs to dimension `dims.0`.
fn ordered([a, b]: [nest::ExprId; 2], dims: (usize, usize)) -> [nest::ExprId; 2] {
    if dims.0 < dims.1 { [a, b] } else { [b, a] }
}

/// Loops that are written out around each matrix of a block.
fn each(b: &mut Builder, [rows, columns]: [i64; 2], f: &mut OfEach<'_>) -> Stmt {
    let (zero, rows, columns) = (b.int(0), b.int(rows), b.int(columns));
    b.for_loop(LoopKind::Unrolled, "i", (zero, rows, 1), |b, i| {
        vec![b.for_loop(LoopKind::Unrolled, "j", (zero, columns, 1), |b, j| vec![f(b, [i, j])])]
    })
}

/// The first row and column, in the tile, of a matrix of a subgroup's block.
fn corner(b: &mut Builder, p: &Product, g: nest::ExprId, at: [nest::ExprId; 2]) -> [nest::ExprId; 2] {
    let across = b.int(p.subgroups[1]);
    let places = [b.binary(BinaryOp::DivNonNeg, g, across), b.binary(BinaryOp::RemNonNeg, g, across)];
    let (block, sides) = (p.block(), [p.shape.m, p.shape.n].map(i64::from));
    [0, 1].map(|d| {
        let first = b.mul_int(places[d], block[d]);
        let matrix = b.add(first, at[d]);
        b.mul_int(matrix, sides[d])
    })
}

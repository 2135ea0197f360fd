//! Nests of subgroups that multiply small matrices. Values are small, so that no sum is rounded, whatever its order.

use rooftile_artifact::target::MatrixShape;
use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt};

use crate::nests::{Case, case_of, threads};

/// Threads that copy tiles.
const COPIERS: u32 = 32;

/// Every nest of products of a shape, with a name.
pub(crate) fn cases(shape: MatrixShape) -> Vec<(String, Case)> {
    let mut all = Vec::new();
    for size in [1, 9, 33] {
        for (grid, block) in [([1, 1], [1, 1]), ([1, 1], [2, 3]), ([2, 1], [1, 2]), ([2, 2], [1, 1])] {
            all.push((format!("product {grid:?} {block:?} {size}"), product(shape, grid, block, size)));
        }
        all.push((format!("packed {size}"), packed(shape, size)));
    }
    all
}

/// A number as one from -3 to 4; of integers, itself.
fn small(b: &mut Builder, v: ExprId) -> ExprId {
    let t = b.dtype(v);
    if t.is_int() {
        return v;
    }
    let word = b.cast(DType::I32, v);
    let [mask, least] = [7, -3].map(|c| b.constant(Scalar::Int(c), DType::I32));
    let word = b.binary(BinaryOp::And, word, mask);
    let word = b.add(word, least);
    b.cast(t, word)
}

/// Each element of `rows x columns`, by threads; `f` is given its row and column.
fn each(
    b: &mut Builder,
    [rows, columns]: [i64; 2],
    mut f: impl FnMut(&mut Builder, ExprId, ExprId) -> Vec<Stmt>,
) -> Stmt {
    threads(b, COPIERS, None, |b, t| {
        let all = b.int(rows * columns);
        vec![b.for_loop(LoopKind::Serial, "e", (t, all, i64::from(COPIERS)), |b, e| {
            let width = b.int(columns);
            let row = b.binary(BinaryOp::DivNonNeg, e, width);
            let column = b.binary(BinaryOp::RemNonNeg, e, width);
            f(b, row, column)
        })]
    })
}

/// Loops that are written out around a matrix of a block.
fn written_out(
    b: &mut Builder,
    [rows, columns]: [i64; 2],
    f: &mut dyn FnMut(&mut Builder, ExprId, ExprId) -> Stmt,
) -> Stmt {
    let (zero, rows, columns) = (b.int(0), b.int(rows), b.int(columns));
    b.for_loop(LoopKind::Unrolled, "i", (zero, rows, 1), |b, i| {
        vec![b.for_loop(LoopKind::Unrolled, "j", (zero, columns, 1), |b, j| vec![f(b, i, j)])]
    })
}

/// `z = x * y` of `n x n` elements, by a grid of subgroups with a block of matrices each. Tiles are in shared memory, filled
/// up with zeros at the ends.
fn product(shape: MatrixShape, grid: [u32; 2], block: [i64; 2], size: i64) -> Case {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(i64::from);
    let count = grid[0] * grid[1];
    let (height, width) = (i64::from(grid[0]) * block[0] * m, i64::from(grid[1]) * block[1] * n);
    let depth = 2 * k;

    let mut b = Builder::new("product");
    let size_name = b.add_size("n");
    let types = [shape.factor, shape.factor, shape.result];
    let mut slot = 0;
    let [x, y, z] = types.map(|t| {
        slot += 1;
        b.add_buffer("g", t, &[size_name, size_name], Space::Global(slot - 1))
    });
    let buffer = |b: &mut Builder, name: &str, t: DType, extents: &[i64], space: Space| {
        let extents: Vec<ExprId> = extents.iter().map(|&e| b.int(e)).collect();
        b.add_buffer(name, t, &extents, space)
    };
    let xs = buffer(&mut b, "xs", shape.factor, &[height, depth], Space::Shared);
    let ys = buffer(&mut b, "ys", shape.factor, &[depth, width], Space::Shared);
    let out = buffer(&mut b, "out", shape.result, &[height, width], Space::Shared);
    let own = i64::from(count);
    let left = buffer(&mut b, "left", shape.factor, &[own, block[0], m, k], Space::Matrix);
    let right = buffer(&mut b, "right", shape.factor, &[own, block[1], k, n], Space::Matrix);
    let acc = buffer(&mut b, "acc", shape.result, &[own, block[0], block[1], m, n], Space::Matrix);

    let zero = b.int(0);
    let (ci, i0) = b.core_loop("i0", (zero, size_name, height));
    let (cj, j0) = b.core_loop("j0", (zero, size_name, width));
    // The first row and column of a subgroup's matrix.
    let corner = |b: &mut Builder, g: ExprId, i: ExprId, j: ExprId| {
        let across = b.int(grid[1].into());
        let row = b.binary(BinaryOp::DivNonNeg, g, across);
        let column = b.binary(BinaryOp::RemNonNeg, g, across);
        let [row, column] = [(row, block[0], i, m), (column, block[1], j, n)].map(|(g, per, i, side)| {
            let first = b.mul_int(g, per);
            let at = b.add(first, i);
            b.mul_int(at, side)
        });
        [row, column]
    };
    let start = b.subgroups(count, "g", |b, g| {
        // Not the same for all.
        let one = b.add_int(g, 1);
        let v = b.cast(shape.result, one);
        vec![written_out(b, block, &mut |b, i, j| b.fill_matrix((acc, &[g, i, j]), v))]
    });
    let steps = b.for_loop(LoopKind::Serial, "k0", (zero, size_name, depth), |b, k0| {
        let copies = [(xs, x, [i0, k0], [height, depth]), (ys, y, [k0, j0], [depth, width])];
        let mut body: Vec<Stmt> = copies
            .into_iter()
            .map(|(tile, from, first, sides)| fill_tile(b, (tile, sides), from, first, size_name))
            .collect();
        body.push(b.subgroups(count, "g", |b, g| {
            let (depth, rows, columns) = (b.int(depth), b.int(block[0]), b.int(block[1]));
            vec![b.for_loop(LoopKind::Serial, "k", (zero, depth, k), |b, kk| {
                let a = b.for_loop(LoopKind::Unrolled, "i", (zero, rows, 1), |b, i| {
                    let [row, _] = corner(b, g, i, zero);
                    vec![b.load_matrix((left, &[g, i]), (xs, &[row, kk]), (0, 1))]
                });
                let c = b.for_loop(LoopKind::Unrolled, "j", (zero, columns, 1), |b, j| {
                    let [_, column] = corner(b, g, zero, j);
                    vec![b.load_matrix((right, &[g, j]), (ys, &[kk, column]), (0, 1))]
                });
                let multiply = written_out(b, block, &mut |b, i, j| {
                    b.multiply_add((acc, &[g, i, j]), (left, &[g, i]), (right, &[g, j]))
                });
                vec![a, c, multiply]
            })]
        }));
        body
    });
    let hand_over = b.subgroups(count, "g", |b, g| {
        vec![written_out(b, block, &mut |b, i, j| {
            let at = corner(b, g, i, j);
            b.store_matrix((acc, &[g, i, j]), (out, &at), (0, 1))
        })]
    });
    let write = each(&mut b, [height, width], |b, row, column| {
        let (gr, gc) = (b.add(i0, row), b.add(j0, column));
        let (rows, columns) = (b.lt(gr, size_name), b.lt(gc, size_name));
        let cond = b.and(rows, columns);
        let v = b.load(out, &[row, column]);
        vec![Stmt::If { cond, then: vec![b.store(z, &[gr, gc], v)], otherwise: Vec::new() }]
    });
    b.add_phase(vec![ci, cj], vec![start, steps, hand_over, write]);
    let extents = types.map(|t| (t, vec![HostExpr::Size(0); 2]));
    case_of(b, &extents, size)
}

/// A tile of a square of `n`, zero outside of it.
fn fill_tile(
    b: &mut Builder,
    (tile, sides): (BufferId, [i64; 2]),
    from: BufferId,
    [r0, c0]: [ExprId; 2],
    n: ExprId,
) -> Stmt {
    each(b, sides, |b, row, column| {
        let (gr, gc) = (b.add(r0, row), b.add(c0, column));
        let (rows, columns) = (b.lt(gr, n), b.lt(gc, n));
        let cond = b.and(rows, columns);
        let v = b.load(from, &[gr, gc]);
        let v = small(b, v);
        let nothing = b.constant(Scalar::Int(0), b.dtype(v));
        let (some, none) = (b.store(tile, &[row, column], v), b.store(tile, &[row, column], nothing));
        vec![Stmt::If { cond, then: vec![some], otherwise: vec![none] }]
    })
}

/// `z[i] = x[i] * y[i]` of `n` matrices in memory of the launch, `y` and `z` in columns; two subgroups have every other one.
fn packed(shape: MatrixShape, size: i64) -> Case {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(i64::from);
    let mut b = Builder::new("packed");
    let count = b.add_size("n");
    let sides = [(shape.factor, [m, k]), (shape.factor, [n, k]), (shape.result, [n, m])];
    let mut slot = 0;
    let [x, y, z] = sides.map(|(t, sides)| {
        let [rows, columns] = sides.map(|e| b.int(e));
        slot += 1;
        b.add_buffer("g", t, &[count, rows, columns], Space::Global(slot - 1))
    });
    let zero = b.int(0);
    // Small values first, where the matrices are.
    let (core, i) = b.core_loop("i", (zero, count, 1));
    let body = [(x, [m, k]), (y, [n, k])].map(|(g, sides)| {
        each(&mut b, sides, |b, row, column| {
            let v = b.load(g, &[i, row, column]);
            let v = small(b, v);
            vec![b.store(g, &[i, row, column], v)]
        })
    });
    b.add_phase(vec![core], body.to_vec());

    let own = b.int(2);
    let mut matrix = |name: &str, t: DType, sides: [i64; 2]| {
        let [rows, columns] = sides.map(|e| b.int(e));
        b.add_buffer(name, t, &[own, rows, columns], Space::Matrix)
    };
    let left = matrix("left", shape.factor, [m, k]);
    let right = matrix("right", shape.factor, [k, n]);
    let acc = matrix("acc", shape.result, [m, n]);
    let nothing = b.constant(Scalar::Int(0), shape.result);
    let (core, i0) = b.core_loop("i0", (zero, count, 2));
    let work = b.subgroups(2, "g", |b, g| {
        let at = b.add(i0, g);
        let cond = b.lt(at, count);
        let then = vec![
            b.fill_matrix((acc, &[g]), nothing),
            b.load_matrix((left, &[g]), (x, &[at, zero, zero]), (1, 2)),
            b.load_matrix((right, &[g]), (y, &[at, zero, zero]), (2, 1)),
            b.multiply_add((acc, &[g]), (left, &[g]), (right, &[g])),
            b.store_matrix((acc, &[g]), (z, &[at, zero, zero]), (2, 1)),
        ];
        vec![Stmt::If { cond, then, otherwise: Vec::new() }]
    });
    b.add_phase(vec![core], vec![work]);
    let extents = sides.map(|(t, [rows, columns])| (t, vec![HostExpr::Size(0), rows.into(), columns.into()]));
    case_of(b, &extents, size)
}

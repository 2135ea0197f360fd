//! Nests that sum products of 8-bit integers, four and more next to each other: as words, packed, and as they may not be.

use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::program::BufferDecl;
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, BufferId, ExprId, LoopKind, Space, Stmt};

use crate::nests::compare::extents;
use crate::nests::{Case, case_of, threads};

/// Values of integers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    Random,
    /// -128 of those with a sign, 255 of those without.
    Extreme,
    /// One end of the range or the other.
    Mixed,
}

impl Fill {
    pub(crate) const ALL: [Fill; 3] = [Fill::Random, Fill::Extreme, Fill::Mixed];

    pub(crate) fn tensor(self, rng: &mut StdRng, b: &BufferDecl, size: i64) -> HostTensor {
        let shape = extents(b, size);
        let far = if b.dtype.is_signed_int() { -128 } else { 255 };
        let near = if b.dtype.is_signed_int() { 127 } else { 0 };
        HostTensor::from_fn(b.dtype, &shape, |_| {
            Scalar::Int(match self {
                Fill::Random => rng.random::<i64>(),
                Fill::Mixed if rng.random() => near,
                Fill::Extreme | Fill::Mixed => far,
            })
        })
        .expect("small")
    }
}

/// Types of the factors and of the sum.
type Types = [DType; 3];

/// Every nest with a name, at sizes that fill groups and that do not.
pub(crate) fn cases() -> Vec<(String, Case)> {
    let mut all = Vec::new();
    for types in types() {
        let mut note = |what: &str, case: Case| all.push((format!("{what} {types:?}"), case));
        for width in [3, 6, 8, 13] {
            note(&format!("rows {width}"), rows(types, width, 0));
            note(&format!("steps {width}"), steps(types, width));
            note(&format!("columns {width}"), columns(types, width));
        }
        for width in [1, 3, 16, 20, 32] {
            note(&format!("lanes {width}"), lanes(types, width));
        }
        note("rows 64", rows(types, 64, 0));
        note("from 1", rows(types, 12, 1));
        note("gap", gap(types));
        for kept in [Kept::Memory, Kept::Output, Kept::Input] {
            note(&format!("{kept:?}"), kept_on_the_way(types, kept));
        }
        note("formula", formula(types));
        note("outside", outside(types));
        for size in [5, 33] {
            for by_rows in [true, false] {
                note(&format!("tiles {by_rows} {size}"), tiles(types, by_rows, size));
            }
        }
    }
    all
}

fn types() -> Vec<Types> {
    let bytes = [DType::I8, DType::U8];
    let pairs = bytes.into_iter().flat_map(|a| bytes.map(|b| (a, b)));
    let mut all: Vec<Types> = pairs.flat_map(|(a, b)| [DType::I32, DType::U32].map(|t| [a, b, t])).collect();
    // Wider sums are none that wrap.
    all.push([DType::I8, DType::I8, DType::I64]);
    all
}

/// A nest over `n` rows of each buffer, of so many columns.
struct Rows {
    b: Builder,
    buffers: [BufferId; 3],
    declared: Vec<(DType, Vec<HostExpr>)>,
    n: ExprId,
}

fn over(types: Types, widths: [i64; 3]) -> Rows {
    let mut b = Builder::new("dots");
    let n = b.add_size("n");
    let mut slot = 0;
    let buffers = [0, 1, 2].map(|s| {
        let width = b.int(widths[s]);
        slot += 1;
        b.add_buffer("g", types[s], &[n, width], Space::Global(slot - 1))
    });
    let declared = types.iter().zip(widths).map(|(&t, w)| (t, vec![HostExpr::Size(0), w.into()])).collect();
    Rows { b, buffers, declared, n }
}

/// One pass a row.
fn each_row(r: Rows, f: impl FnOnce(&mut Builder, [BufferId; 3], ExprId) -> Vec<Stmt>) -> Case {
    each_of(r, 7, f)
}

/// One pass for each of so many rows.
fn each_of(mut r: Rows, size: i64, f: impl FnOnce(&mut Builder, [BufferId; 3], ExprId) -> Vec<Stmt>) -> Case {
    let zero = r.b.int(0);
    let (core, i) = r.b.core_loop("i", (zero, r.n, 1));
    let body = f(&mut r.b, r.buffers, i);
    r.b.add_phase(vec![core], body);
    case_of(r.b, &r.declared, size)
}

/// `a * b` in a type.
fn product(b: &mut Builder, t: DType, x: ExprId, y: ExprId) -> ExprId {
    let [x, y] = [x, y].map(|v| b.cast(t, v));
    b.mul(x, y)
}

/// `to[at] += x * y`.
fn add_to(b: &mut Builder, to: BufferId, at: &[ExprId], x: ExprId, y: ExprId) -> Stmt {
    let old = b.load(to, at);
    let p = product(b, b.dtype(old), x, y);
    let sum = b.add(old, p);
    b.store(to, at, sum)
}

/// A register that starts next to the largest number.
fn register(b: &mut Builder, t: DType) -> (BufferId, Stmt) {
    let acc = b.add_buffer("acc", t, &[], Space::Register);
    let start = b.constant(Scalar::Int(i64::from(i32::MAX) - 5), t);
    let start = b.store(acc, &[], start);
    (acc, start)
}

fn unrolled(b: &mut Builder, lo: i64, hi: i64, f: impl FnOnce(&mut Builder, ExprId) -> Vec<Stmt>) -> Stmt {
    let (lo, hi) = (b.int(lo), b.int(hi));
    b.for_loop(LoopKind::Unrolled, "u", (lo, hi, 1), f)
}

/// Rows of two buffers, written out from a column on.
fn rows(types: Types, width: i64, first: i64) -> Case {
    each_row(over(types, [width, width, 1]), |b, [x, y, z], i| {
        let (acc, start) = register(b, types[2]);
        let sum = unrolled(b, first, width, |b, k| {
            let (p, q) = (b.load(x, &[i, k]), b.load(y, &[i, k]));
            vec![add_to(b, acc, &[], p, q)]
        });
        let (zero, v) = (b.int(0), b.load(acc, &[]));
        vec![start, sum, b.store(z, &[i, zero], v)]
    })
}

/// Bytes 0, 1, 3 and 4 of a row, by bytes 0 to 3 of another.
fn gap(types: Types) -> Case {
    each_row(over(types, [8, 8, 1]), |b, [x, y, z], i| {
        let (acc, start) = register(b, types[2]);
        let two = b.int(2);
        let sum = unrolled(b, 0, 4, |b, k| {
            let half = b.binary(BinaryOp::DivNonNeg, k, two);
            let at = b.add(k, half);
            let (p, q) = (b.load(x, &[i, at]), b.load(y, &[i, k]));
            vec![add_to(b, acc, &[], p, q)]
        });
        let (zero, v) = (b.int(0), b.load(acc, &[]));
        vec![start, sum, b.store(z, &[i, zero], v)]
    })
}

/// Rows in steps of eight, and what is left one by one.
fn steps(types: Types, width: i64) -> Case {
    each_row(over(types, [width, width, 1]), |b, [x, y, z], i| {
        let (acc, start) = register(b, types[2]);
        let (zero, end, whole) = (b.int(0), b.int(width), b.int(width / 8 * 8));
        let term = |b: &mut Builder, k: ExprId| {
            let (p, q) = (b.load(x, &[i, k]), b.load(y, &[i, k]));
            vec![add_to(b, acc, &[], p, q)]
        };
        let sum = b.for_loop(LoopKind::Serial, "k", (zero, whole, 8), |b, k| {
            vec![unrolled(b, 0, 8, |b, u| {
                let at = b.add(k, u);
                term(b, at)
            })]
        });
        let rest = b.for_loop(LoopKind::Serial, "k", (whole, end, 1), term);
        let v = b.load(acc, &[]);
        vec![start, sum, rest, b.store(z, &[i, zero], v)]
    })
}

/// A row by a column: the bytes of the second factor lie apart.
fn columns(types: Types, width: i64) -> Case {
    // As many rows as terms.
    each_of(over(types, [width, 1, 1]), width, |b, [x, y, z], i| {
        let (acc, start) = register(b, types[2]);
        let zero = b.int(0);
        let sum = unrolled(b, 0, width, |b, k| {
            let (p, q) = (b.load(x, &[i, k]), b.load(y, &[k, zero]));
            vec![add_to(b, acc, &[], p, q)]
        });
        let v = b.load(acc, &[]);
        vec![start, sum, b.store(z, &[i, zero], v)]
    })
}

/// Rows of eight by columns that are lanes, of which four neighbours were put side by side before.
fn lanes(types: Types, width: i64) -> Case {
    // As many rows as terms, and one more.
    each_of(over(types, [8, width, width]), 9, |b, [x, y, z], i| {
        let [zero, two, four, all] = [0, 2, 4, width].map(|v| b.int(v));
        let words = b.add_buffer("words", types[1], &[two, all, four], Space::Local);
        let acc = b.add_buffer("acc", types[2], &[all], Space::Register);
        let each = |b: &mut Builder, f: &mut dyn FnMut(&mut Builder, ExprId) -> Stmt| {
            b.for_loop(LoopKind::Lanes, "l", (zero, all, 1), |b, l| vec![f(b, l)])
        };
        let start = b.constant(Scalar::Int(i64::from(i32::MAX) - 5), types[2]);
        let clear = each(b, &mut |b, l| b.store(acc, &[l], start));
        let by_fours = |b: &mut Builder, f: &mut dyn FnMut(&mut Builder, [ExprId; 3], ExprId) -> Stmt| {
            b.for_loop(LoopKind::Serial, "g", (zero, two, 1), |b, g| {
                let first = b.mul_int(g, 4);
                vec![unrolled(b, 0, 4, |b, u| {
                    let row = b.add(first, u);
                    vec![each(b, &mut |b, l| f(b, [g, l, u], row))]
                })]
            })
        };
        let copy = by_fours(b, &mut |b, at, row| {
            let v = b.load(y, &[row, at[1]]);
            b.store(words, &at, v)
        });
        let sum = by_fours(b, &mut |b, at, row| {
            let (p, q) = (b.load(x, &[i, row]), b.load(words, &at));
            add_to(b, acc, &[at[1]], p, q)
        });
        let write = each(b, &mut |b, l| {
            let v = b.load(acc, &[l]);
            b.store(z, &[i, l], v)
        });
        vec![clear, copy, sum, write]
    })
}

/// What happens between two terms.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// The sum itself is in memory.
    Memory,
    /// The sum so far is written.
    Output,
    /// Factors are written once they are read.
    Input,
}

fn kept_on_the_way(types: Types, kept: Kept) -> Case {
    each_row(over(types, [8, 8, 8]), |b, [x, y, z], i| {
        let (acc, start) = register(b, types[2]);
        let zero = b.int(0);
        let sum = unrolled(b, 0, 8, |b, k| {
            let (p, q) = (b.load(x, &[i, k]), b.load(y, &[i, k]));
            if matches!(kept, Kept::Memory) {
                return vec![add_to(b, z, &[i, zero], p, q)];
            }
            let mut body = vec![add_to(b, acc, &[], p, q)];
            let v = b.load(acc, &[]);
            body.push(match kept {
                Kept::Input => {
                    let v = b.cast(types[0], v);
                    b.store(x, &[i, k], v)
                }
                _ => b.store(z, &[i, k], v),
            });
            body
        });
        let v = b.load(acc, &[]);
        let mut body = vec![start, sum];
        if matches!(kept, Kept::Input) {
            body.push(b.store(z, &[i, zero], v));
        }
        body
    })
}

/// Five products in one formula.
fn formula(types: Types) -> Case {
    each_row(over(types, [8, 8, 1]), |b, [x, y, z], i| {
        let terms: Vec<ExprId> = (0..5)
            .map(|k| {
                let k = b.int(k);
                let (p, q) = (b.load(x, &[i, k]), b.load(y, &[i, k]));
                product(b, types[2], p, q)
            })
            .collect();
        let sum = terms.into_iter().reduce(|sum, p| b.add(sum, p)).expect("five");
        let zero = b.int(0);
        let old = b.load(z, &[i, zero]);
        let v = b.add(old, sum);
        vec![b.store(z, &[i, zero], v)]
    })
}

/// Four bytes of a row stay in registers, while all rows of the other buffer pass; neither has whole words.
fn outside(types: Types) -> Case {
    let r = over(types, [5, 7, 1]);
    let n = r.n;
    each_row(r, |b, [x, y, z], i| {
        let (zero, four) = (b.int(0), b.int(4));
        let own = b.add_buffer("own", types[0], &[four], Space::Register);
        let (acc, start) = register(b, types[2]);
        let read = unrolled(b, 0, 4, |b, k| {
            let v = b.load(x, &[i, k]);
            vec![b.store(own, &[k], v)]
        });
        let sum = b.for_loop(LoopKind::Serial, "j", (zero, n, 1), |b, j| {
            vec![unrolled(b, 0, 4, |b, k| {
                let column = b.add_int(k, 1);
                let (p, q) = (b.load(own, &[k]), b.load(y, &[j, column]));
                vec![add_to(b, acc, &[], p, q)]
            })]
        });
        let v = b.load(acc, &[]);
        vec![read, start, sum, b.store(z, &[i, zero], v)]
    })
}

/// `z = x * y` of squares by groups of `4 x 8` threads, of two results each; tiles of `8 x 16` are in shared memory, the
/// second one by rows (then `y` is taken transposed) or by columns.
fn tiles(types: Types, by_rows: bool, size: i64) -> Case {
    let mut b = Builder::new("tiles");
    let n = b.add_size("n");
    let mut slot = 0;
    let [x, y, z] = types.map(|t| {
        slot += 1;
        b.add_buffer("g", t, &[n, n], Space::Global(slot - 1))
    });
    let [zero, two, four, eight, depth] = [0, 2, 4, 8, 16].map(|v| b.int(v));
    let xs = b.add_buffer("xs", types[0], &[eight, depth], Space::Shared);
    let shape = if by_rows { [eight, depth] } else { [depth, eight] };
    let ys = b.add_buffer("ys", types[1], &shape, Space::Shared);
    let acc = b.add_buffer("acc", types[2], &[two, four, eight], Space::Register);
    let start = b.constant(Scalar::Int(-3), types[2]);
    let (ci, i0) = b.core_loop("i0", (zero, n, 8));
    let (cj, j0) = b.core_loop("j0", (zero, n, 8));
    type Own<'a> = &'a mut dyn FnMut(&mut Builder, [ExprId; 2]) -> Vec<Stmt>;
    let left = b.sub(n, j0);
    // Threads that have no column do nothing.
    let each = |b: &mut Builder, f: Own<'_>| {
        threads(b, 4, None, |b, ty| vec![threads(b, 8, Some(left), |b, tx| f(b, [ty, tx]))])
    };
    let row_of = |b: &mut Builder, p: ExprId, ty: ExprId| {
        let first = b.mul_int(p, 4);
        let row = b.add(first, ty);
        let at = b.add(i0, row);
        (row, at)
    };
    let clear = each(&mut b, &mut |b, [ty, tx]| {
        vec![unrolled(b, 0, 2, |b, p| vec![b.store(acc, &[p, ty, tx], start)])]
    });
    let steps = b.for_loop(LoopKind::Serial, "k0", (zero, n, 16), |b, k0| {
        let left = b.sub(n, k0);
        let deep = b.min(left, depth);
        let mut body = vec![threads(b, 32, None, |b, t| {
            let all = b.int(8 * 16);
            vec![b.for_loop(LoopKind::Serial, "e", (t, all, 32), |b, e| {
                let (r, c) =
                    (b.binary(BinaryOp::DivNonNeg, e, depth), b.binary(BinaryOp::RemNonNeg, e, depth));
                let (i, j, k) = (b.add(i0, r), b.add(j0, r), b.add(k0, c));
                let inside = b.lt(k, n);
                [(xs, x, i, true), (ys, y, j, by_rows)]
                    .into_iter()
                    .map(|(tile, from, at, rows)| {
                        let has = b.lt(at, n);
                        let cond = b.and(has, inside);
                        let v = if rows { b.load(from, &[at, k]) } else { b.load(from, &[k, at]) };
                        let to = if rows { [r, c] } else { [c, r] };
                        let nothing = b.constant(Scalar::Int(9), b.dtype(v));
                        let (then, otherwise) = (b.store(tile, &to, v), b.store(tile, &to, nothing));
                        Stmt::If { cond, then: vec![then], otherwise: vec![otherwise] }
                    })
                    .collect()
            })]
        })];
        let whole = b.binary(BinaryOp::DivNonNeg, deep, four);
        let whole = b.mul_int(whole, 4);
        let term = |b: &mut Builder, p: ExprId, [ty, tx]: [ExprId; 2], k: ExprId| {
            let (row, _) = row_of(b, p, ty);
            let v = b.load(xs, &[row, k]);
            let w = if by_rows { b.load(ys, &[tx, k]) } else { b.load(ys, &[k, tx]) };
            add_to(b, acc, &[p, ty, tx], v, w)
        };
        body.push(b.for_loop(LoopKind::Serial, "k", (zero, whole, 4), |b, k| {
            vec![each(b, &mut |b, own| {
                vec![unrolled(b, 0, 4, |b, u| {
                    vec![unrolled(b, 0, 2, |b, p| {
                        let at = b.add(k, u);
                        vec![term(b, p, own, at)]
                    })]
                })]
            })]
        }));
        body.push(b.for_loop(LoopKind::Serial, "k", (whole, deep, 1), |b, k| {
            vec![each(b, &mut |b, own| vec![unrolled(b, 0, 2, |b, p| vec![term(b, p, own, k)])])]
        }));
        body
    });
    let write = each(&mut b, &mut |b, [ty, tx]| {
        vec![unrolled(b, 0, 2, |b, p| {
            let (_, i) = row_of(b, p, ty);
            let (j, cond) = (b.add(j0, tx), b.lt(i, n));
            let v = b.load(acc, &[p, ty, tx]);
            vec![Stmt::If { cond, then: vec![b.store(z, &[i, j], v)], otherwise: Vec::new() }]
        })]
    });
    b.add_phase(vec![ci, cj], vec![clear, steps, write]);
    let square = types.map(|t| (t, vec![HostExpr::Size(0); 2]));
    case_of(b, &square, size)
}

//! Nests of groups of threads, made by hand: what needs barriers, and what must not have them in the wrong place.

use rooftile_artifact::{DType, HostExpr, Scalar};
use rooftile_compiler::nest::Builder;
use rooftile_compiler::nest::ir::{BinaryOp, ExprId, LoopKind, Space, Stmt};

use crate::nests::{Case, case_of, threads};

/// Every nest with a name, at sizes that fill groups and that do not.
pub(crate) fn cases() -> Vec<(String, Case)> {
    let mut all = Vec::new();
    for size in [1, 5, 16, 33, 70] {
        for (name, make) in [
            ("matmul", matmul as fn() -> (Builder, Vec<(DType, usize)>)),
            ("reversed", reversed),
            ("tree", tree),
            ("scan", scan),
            ("scratch", scratch),
            ("tickets", tickets),
            ("uniform", uniform),
            ("bytes", bytes),
        ] {
            let (b, buffers) = make();
            all.push((format!("{name} {size}"), case(b, &buffers, size)));
        }
        for t in TYPES {
            for (rows, columns) in [(1, 4), (1, 2), (3, 4), (20, 2)] {
                let (b, buffers) = pairs(t, rows, columns);
                all.push((format!("pairs {t} {rows}x{columns} {size}"), case(b, &buffers, size)));
            }
        }
    }
    all
}

/// Types that threads exchange.
const TYPES: [DType; 11] = [
    DType::Bool,
    DType::F16,
    DType::Bf16,
    DType::F32,
    DType::F64,
    DType::I8,
    DType::U8,
    DType::U16,
    DType::I32,
    DType::I64,
    DType::U64,
];

/// `rows x columns` threads, of which those of a row give each other their elements, by way of registers.
fn pairs(t: DType, rows: u32, columns: u32) -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("pairs");
    let n = b.add_size("n");
    let [x, y] = [0, 1].map(|s| b.add_buffer("g", t, &[n], Space::Global(s)));
    let (zero, r, c) = (b.int(0), b.int(rows.into()), b.int(columns.into()));
    let (core, i0) = b.core_loop("i0", (zero, n, i64::from(rows * columns)));
    let registers = [0, 1, 2].map(|_| b.add_buffer("own", t, &[r, c], Space::Register));
    let nothing = b.constant(if t.is_float() { Scalar::Float(0.0) } else { Scalar::Int(0) }, DType::F32);
    let nothing = b.cast(t, nothing);
    type Element<'a> = &'a mut dyn FnMut(&mut Builder, [ExprId; 2], ExprId) -> Vec<Stmt>;
    let each = |b: &mut Builder, f: Element<'_>| {
        threads(b, rows, None, |b, ty| {
            vec![threads(b, columns, None, |b, tx| {
                let row = b.mul_int(ty, columns.into());
                let at = b.add(row, tx);
                let at = b.add(i0, at);
                f(b, [ty, tx], at)
            })]
        })
    };
    let mut body = vec![each(&mut b, &mut |b, own, at| {
        let (inside, v) = (b.lt(at, n), b.load(x, &[at]));
        let (some, none) = (b.store(registers[0], &own, v), b.store(registers[0], &own, nothing));
        vec![Stmt::If { cond: inside, then: vec![some], otherwise: vec![none] }]
    })];
    for (n, bit) in [(0, 1), (1, columns - 1)] {
        body.push(each(&mut b, &mut |b, [ty, tx], _| {
            let bit = b.int(bit.into());
            let other = b.binary(BinaryOp::Xor, tx, bit);
            let v = b.load(registers[n], &[ty, other]);
            vec![b.store(registers[n + 1], &[ty, tx], v)]
        }));
    }
    body.push(each(&mut b, &mut |b, own, at| {
        let (inside, v) = (b.lt(at, n), b.load(registers[2], &own));
        let store = b.store(y, &[at], v);
        vec![Stmt::If { cond: inside, then: vec![store], otherwise: Vec::new() }]
    }));
    b.add_phase(vec![core], body);
    (b, vec![(t, 1), (t, 1)])
}

/// Every half there is, as f32: the first buffer holds them.
pub(crate) fn halves() -> Case {
    let mut b = Builder::new("halves");
    let n = b.add_size("n");
    let x = b.add_buffer("g", DType::F16, &[n], Space::Global(0));
    let y = b.add_buffer("g", DType::F32, &[n], Space::Global(1));
    let zero = b.int(0);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let v = b.load(x, &[i]);
    let v = b.cast(DType::F32, v);
    let body = vec![b.store(y, &[i], v)];
    b.add_phase(vec![core], body);
    case(b, &[(DType::F16, 1), (DType::F32, 1)], 1 << 16)
}

/// Buffers of `n` or `n * n` elements.
fn case(b: Builder, buffers: &[(DType, usize)], size: i64) -> Case {
    let extents = |&(dtype, rank): &(DType, usize)| (dtype, vec![HostExpr::Size(0); rank]);
    case_of(b, &buffers.iter().map(extents).collect::<Vec<_>>(), size)
}

/// `4 x 4` threads of `2 x 2` results, tiles of 8 in shared memory, ragged everywhere.
fn matmul() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("matmul");
    let n = b.add_size("n");
    let [x, y, z] = [0, 1, 2].map(|s| b.add_buffer("g", DType::F32, &[n, n], Space::Global(s)));
    let (zero, two, four, eight) = (b.int(0), b.int(2), b.int(4), b.int(8));
    let [xs, ys] = [0, 1].map(|_| b.add_buffer("tile", DType::F32, &[eight, eight], Space::Shared));
    let acc = b.add_buffer("acc", DType::F32, &[four, four, two, two], Space::Register);
    let nothing = b.constant(Scalar::Float(0.0), DType::F32);
    let (ci, i0) = b.core_loop("i0", (zero, n, 8));
    let (cj, j0) = b.core_loop("j0", (zero, n, 8));
    type Element<'a> = &'a mut dyn FnMut(&mut Builder, [ExprId; 4]) -> Vec<Stmt>;
    let each = |b: &mut Builder, f: Element<'_>| {
        threads(b, 4, None, |b, ty| {
            vec![threads(b, 4, None, |b, tx| {
                vec![b.for_loop(LoopKind::Unrolled, "u", (zero, two, 1), |b, u| {
                    vec![b.for_loop(LoopKind::Lanes, "l", (zero, two, 1), |b, l| f(b, [ty, tx, u, l]))]
                })]
            })]
        })
    };
    let clear = each(&mut b, &mut |b, index| vec![b.store(acc, &index, nothing)]);
    let inner = b.for_loop(LoopKind::Serial, "k0", (zero, n, 8), |b, k0| {
        let load = each(b, &mut |b, [ty, tx, u, l]| {
            let (r, c) = (b.mul_int(ty, 2), b.mul_int(tx, 2));
            let (r, c) = (b.add(r, u), b.add(c, l));
            let mut out = Vec::new();
            for (tile, from, r0, c0) in [(xs, x, i0, k0), (ys, y, k0, j0)] {
                let (gr, gc) = (b.add(r0, r), b.add(c0, c));
                let (rows, columns) = (b.lt(gr, n), b.lt(gc, n));
                let inside = b.and(rows, columns);
                let v = b.load(from, &[gr, gc]);
                let (some, none) = (b.store(tile, &[r, c], v), b.store(tile, &[r, c], nothing));
                out.push(Stmt::If { cond: inside, then: vec![some], otherwise: vec![none] });
            }
            out
        });
        let multiply = threads(b, 4, None, |b, ty| {
            vec![threads(b, 4, None, |b, tx| {
                vec![b.for_loop(LoopKind::Serial, "k", (zero, eight, 1), |b, k| {
                    vec![b.for_loop(LoopKind::Unrolled, "u", (zero, two, 1), |b, u| {
                        vec![b.for_loop(LoopKind::Lanes, "l", (zero, two, 1), |b, l| {
                            let (r, c) = (b.mul_int(ty, 2), b.mul_int(tx, 2));
                            let (r, c) = (b.add(r, u), b.add(c, l));
                            let (p, q) = (b.load(xs, &[r, k]), b.load(ys, &[k, c]));
                            let old = b.load(acc, &[ty, tx, u, l]);
                            let product = b.mul(p, q);
                            let sum = b.add(old, product);
                            vec![b.store(acc, &[ty, tx, u, l], sum)]
                        })]
                    })]
                })]
            })]
        });
        vec![load, multiply]
    });
    let write = each(&mut b, &mut |b, [ty, tx, u, l]| {
        let (r, c) = (b.mul_int(ty, 2), b.mul_int(tx, 2));
        let (r, c) = (b.add(r, u), b.add(c, l));
        let (gr, gc) = (b.add(i0, r), b.add(j0, c));
        let (rows, columns) = (b.lt(gr, n), b.lt(gc, n));
        let inside = b.and(rows, columns);
        let v = b.load(acc, &[ty, tx, u, l]);
        let store = b.store(z, &[gr, gc], v);
        vec![Stmt::If { cond: inside, then: vec![store], otherwise: Vec::new() }]
    });
    b.add_phase(vec![ci, cj], vec![clear, inner, write]);
    (b, vec![(DType::F32, 2); 3])
}

/// Blocks of 16 backwards, by way of shared memory, in place.
fn reversed() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("reversed");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::I32, &[n], Space::Global(0));
    let (zero, sixteen) = (b.int(0), b.int(16));
    let s = b.add_buffer("s", DType::I32, &[sixteen], Space::Shared);
    let (core, i0) = b.core_loop("i0", (zero, n, 16));
    let left = b.sub(n, i0);
    let count = b.min(left, sixteen);
    let load = threads(&mut b, 16, Some(left), |b, t| {
        let i = b.add(i0, t);
        let v = b.load(x, &[i]);
        vec![b.store(s, &[t], v)]
    });
    let store = threads(&mut b, 16, Some(left), |b, t| {
        let i = b.add(i0, t);
        let from = b.sub(count, t);
        let from = b.add_int(from, -1);
        let v = b.load(s, &[from]);
        vec![b.store(x, &[i], v)]
    });
    b.add_phase(vec![core], vec![load, store]);
    (b, vec![(DType::I32, 1)])
}

/// The sum of each row by halves.
fn tree() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("tree");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::I64, &[n, n], Space::Global(0));
    let y = b.add_buffer("y", DType::I64, &[n], Space::Global(1));
    let (zero, width) = (b.int(0), b.int(32));
    let s = b.add_buffer("s", DType::I64, &[width], Space::Shared);
    let r = b.add_buffer("r", DType::I64, &[width], Space::Register);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let partial = threads(&mut b, 32, None, |b, t| {
        let clear = b.store(r, &[t], zero);
        let sum = b.for_loop(LoopKind::Serial, "j", (t, n, 32), |b, j| {
            let (v, old) = (b.load(x, &[i, j]), b.load(r, &[t]));
            let sum = b.add(old, v);
            vec![b.store(r, &[t], sum)]
        });
        let v = b.load(r, &[t]);
        vec![clear, sum, b.store(s, &[t], v)]
    });
    let mut body = vec![partial];
    for half in [16u32, 8, 4, 2, 1] {
        body.push(threads(&mut b, half, None, |b, t| {
            let other = b.add_int(t, half.into());
            let (p, q) = (b.load(s, &[t]), b.load(s, &[other]));
            let sum = b.add(p, q);
            vec![b.store(s, &[t], sum)]
        }));
    }
    // Outside the threads: one of them stores.
    let total = b.load(s, &[zero]);
    body.push(b.store(y, &[i], total));
    b.add_phase(vec![core], body);
    (b, vec![(DType::I64, 2), (DType::I64, 1)])
}

/// Sums of all before, by doubling distances: two rows of shared memory in turn.
fn scan() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("scan");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::U32, &[n], Space::Global(0));
    let (zero, one, two, width) = (b.int(0), b.int(1), b.int(2), b.int(16));
    let s = b.add_buffer("s", DType::U32, &[two, width], Space::Shared);
    let (core, i0) = b.core_loop("i0", (zero, n, 16));
    let left = b.sub(n, i0);
    let load = threads(&mut b, 16, None, |b, t| {
        let i = b.add(i0, t);
        let nothing = b.constant(Scalar::Int(0), DType::U32);
        let inside = b.lt(i, n);
        let v = b.load(x, &[i]);
        let (some, none) = (b.store(s, &[zero, t], v), b.store(s, &[zero, t], nothing));
        vec![Stmt::If { cond: inside, then: vec![some], otherwise: vec![none] }]
    });
    let four = b.int(4);
    let steps = b.for_loop(LoopKind::Serial, "step", (zero, four, 1), |b, step| {
        let from = b.binary(BinaryOp::And, step, one);
        let to = b.sub(one, from);
        let distance = b.binary(BinaryOp::Shl, one, step);
        vec![threads(b, 16, None, |b, t| {
            let v = b.load(s, &[from, t]);
            let whole = b.le(distance, t);
            let other = b.sub(t, distance);
            let other = b.max(other, zero);
            let before = b.load(s, &[from, other]);
            let sum = b.add(v, before);
            let v = b.select(whole, sum, v);
            vec![b.store(s, &[to, t], v)]
        })]
    });
    let write = threads(&mut b, 16, Some(left), |b, t| {
        let i = b.add(i0, t);
        let v = b.load(s, &[zero, t]);
        vec![b.store(x, &[i], v)]
    });
    b.add_phase(vec![core], vec![load, steps, write]);
    (b, vec![(DType::U32, 1)])
}

/// Scratch memory of the chunk that all threads of the group share; chunks follow each other in it.
fn scratch() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("scratch");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::F64, &[n, n], Space::Global(0));
    let (zero, eight) = (b.int(0), b.int(8));
    let padded = b.add_int(n, 8);
    let first = b.add_buffer("first", DType::U8, &[padded], Space::Local);
    let l = b.add_buffer("l", DType::F64, &[n], Space::Local);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let copy = b.for_loop(LoopKind::Serial, "j0", (zero, n, 8), |b, j0| {
        let left = b.sub(n, j0);
        vec![threads(b, 8, Some(left), |b, t| {
            let j = b.add(j0, t);
            let v = b.load(x, &[i, j]);
            let last = b.add_int(n, -1);
            let place = b.sub(last, j);
            let mark = b.constant(Scalar::Int(3), DType::U8);
            vec![b.store(l, &[place], v), b.store(first, &[j], mark)]
        })]
    });
    let back = b.for_loop(LoopKind::Serial, "j0", (zero, n, 8), |b, j0| {
        let left = b.sub(n, j0);
        vec![threads(b, 8, Some(left), |b, t| {
            let j = b.add(j0, t);
            let (v, m) = (b.load(l, &[j]), b.load(first, &[j]));
            let m = b.cast(DType::F64, m);
            let v = b.add(v, m);
            vec![b.store(x, &[i, j], v)]
        })]
    });
    let _ = eight;
    b.add_phase(vec![core], vec![copy, back]);
    (b, vec![(DType::F64, 2)])
}

/// What one atomic outside the threads finds is known to all of them.
fn tickets() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("tickets");
    let n = b.add_size("n");
    let count = b.add_buffer("count", DType::I32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::I32, &[n, n], Space::Global(1));
    let zero = b.int(0);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let old = b.add_var("old", DType::I32);
    let found = b.var(old);
    let seven = b.constant(Scalar::Int(7), DType::I32);
    let atomic =
        Stmt::Atomic { op: BinaryOp::Add, buffer: count, index: vec![i], value: seven, old: Some(old) };
    let write = threads(&mut b, 128, Some(n), |b, t| {
        let own = b.cast(DType::I32, t);
        let v = b.add(found, own);
        vec![b.store(y, &[i, t], v)]
    });
    b.add_phase(vec![core], vec![atomic, write]);
    (b, vec![(DType::I32, 1), (DType::I32, 2)])
}

/// Values outside the threads that follow what the threads wrote, and decide what they do next.
fn uniform() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("uniform");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::I32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::I32, &[n, n], Space::Global(1));
    let (zero, sixteen) = (b.int(0), b.int(16));
    let s = b.add_buffer("s", DType::I32, &[sixteen], Space::Shared);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let base = b.load(x, &[i]);
    let three = b.int(3);
    let rounds = b.for_loop(LoopKind::Serial, "round", (zero, three, 1), |b, round| {
        let r = b.cast(DType::I32, round);
        let fill = threads(b, 16, None, |b, t| {
            let t32 = b.cast(DType::I32, t);
            let v = b.mul(base, t32);
            let v = b.add(v, r);
            vec![b.store(s, &[t], v)]
        });
        let third = b.load(s, &[three]);
        let (bind, third) = b.bind("third", third);
        let nothing = b.constant(Scalar::Int(0), DType::I32);
        let positive = b.lt(nothing, third);
        // One thread changes what all read after.
        let change = b.store(s, &[zero], third);
        let use_ = threads(b, 16, Some(n), |b, t| {
            let first = b.load(s, &[zero]);
            let mine = b.load(s, &[t]);
            let old = b.load(y, &[i, t]);
            let v = b.add(first, mine);
            let v = b.add(v, old);
            vec![b.store(y, &[i, t], v)]
        });
        vec![fill, bind, Stmt::If { cond: positive, then: vec![change], otherwise: Vec::new() }, use_]
    });
    b.add_phase(vec![core], vec![rounds]);
    (b, vec![(DType::I32, 1), (DType::I32, 2)])
}

/// Narrow types in shared memory.
fn bytes() -> (Builder, Vec<(DType, usize)>) {
    let mut b = Builder::new("bytes");
    let n = b.add_size("n");
    let types = [DType::I8, DType::U16, DType::F16, DType::Bf16, DType::Bool];
    let zero = b.int(0);
    let width = b.int(33);
    let (core, i0) = b.core_loop("i0", (zero, n, 33));
    let left = b.sub(n, i0);
    let whole = b.min(left, width);
    let (mut load, mut store) = (Vec::new(), Vec::new());
    for (slot, &t) in types.iter().enumerate() {
        let x = b.add_buffer("x", t, &[n], Space::Global(slot as u32));
        let s = b.add_buffer("s", t, &[width], Space::Shared);
        load.push(threads(&mut b, 33, Some(left), |b, t| {
            let i = b.add(i0, t);
            let v = b.load(x, &[i]);
            vec![b.store(s, &[t], v)]
        }));
        store.push(threads(&mut b, 33, Some(left), |b, t| {
            let i = b.add(i0, t);
            let from = b.sub(whole, t);
            let from = b.add_int(from, -1);
            let v = b.load(s, &[from]);
            vec![b.store(x, &[i], v)]
        }));
    }
    b.add_phase(vec![core], load.into_iter().chain(store).collect());
    (b, types.iter().map(|&t| (t, 1)).collect())
}

use rooftile_artifact::{DType, Scalar};

use super::super::build::Builder;
use super::super::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Space, Stmt};
use super::verify;

/// The rules that the nest breaks.
fn broken(b: Builder) -> Vec<u8> {
    match verify(b.finish()) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|v| v.rule).collect(),
    }
}

/// A builder with a size `n`, literals 0 and 8, and an output `y` of `n` floats.
fn start() -> (Builder, ExprId, ExprId, ExprId, super::super::ir::BufferId) {
    let mut b = Builder::new("t");
    let n = b.add_size("n");
    let (zero, eight) = (b.int(0), b.int(8));
    let y = b.add_buffer("y", DType::F32, &[n], Space::Global(0));
    (b, n, zero, eight, y)
}

#[test]
fn a_good_nest_passes() {
    let (mut b, n, zero, eight, y) = start();
    let acc = b.add_buffer("acc", DType::F32, &[eight], Space::Register);
    let (core, i) = b.core_loop("i", (zero, n, 8));
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let init = b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| vec![b.store(acc, &[l], one)]);
    let store = b.for_loop(LoopKind::Unrolled, "u", (zero, eight, 1), |b, u| {
        let at = b.add(i, u);
        let v = b.load(acc, &[u]);
        let inside = b.lt(at, n);
        let then = vec![b.store(y, &[at], v)];
        vec![Stmt::If { cond: inside, then, otherwise: Vec::new() }]
    });
    b.add_phase(vec![core], vec![init, store]);
    assert_eq!(broken(b), [0u8; 0]);
}

#[test]
fn variables_out_of_scope() {
    let (mut b, _, zero, eight, y) = start();
    let mut leaked = zero;
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let body = b.for_loop(LoopKind::Serial, "i", (zero, eight, 1), |_, i| {
        leaked = i;
        Vec::new()
    });
    let store = b.store(y, &[leaked], one);
    b.add_phase(Vec::new(), vec![body.clone(), store, body]);
    assert_eq!(broken(b), [1, 1]);
}

#[test]
fn types_that_do_not_fit() {
    let (mut b, n, zero, _, y) = start();
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let mixed = b.raw(ExprKind::Binary(BinaryOp::Add, n, one), DType::I64);
    let half = b.constant(Scalar::Float(1.0), DType::Bf16);
    let sum = b.raw(ExprKind::Binary(BinaryOp::Add, half, half), DType::Bf16);
    let stores = vec![
        b.store(y, &[mixed], one),
        b.store(y, &[zero], n),
        Stmt::Atomic { op: BinaryOp::Add, buffer: y, index: vec![zero], value: one, old: None },
        Stmt::If { cond: n, then: Vec::new(), otherwise: Vec::new() },
        b.bind("h", sum).0,
    ];
    b.add_phase(Vec::new(), stores);
    assert_eq!(broken(b), [2, 2, 2, 2, 2]);
}

#[test]
fn shapes_and_loops() {
    let (mut b, n, zero, eight, y) = start();
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let rank = b.store(y, &[zero, zero], one);
    let open = b.for_loop(LoopKind::Unrolled, "u", (zero, n, 1), |_, _| Vec::new());
    let nested = b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, _| {
        vec![b.for_loop(LoopKind::Serial, "s", (zero, eight, 1), |_, _| Vec::new())]
    });
    b.add_phase(Vec::new(), vec![rank, open, nested]);
    assert_eq!(broken(b), [3, 4, 5]);
}

#[test]
fn registers() {
    let (mut b, n, zero, eight, _) = start();
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    b.add_buffer("big", DType::F32, &[n], Space::Register);
    let r = b.add_buffer("r", DType::F32, &[eight, eight], Space::Register);
    let over = b.int(9);
    let bad = vec![
        b.for_loop(LoopKind::Serial, "s", (zero, eight, 1), |b, s| vec![b.store(r, &[s, zero], one)]),
        b.for_loop(LoopKind::Unrolled, "u", (zero, over, 1), |b, u| vec![b.store(r, &[u, zero], one)]),
        b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| vec![b.store(r, &[l, zero], one)]),
    ];
    b.add_phase(Vec::new(), bad);
    assert_eq!(broken(b), [6, 6, 6, 6]);
}

#[test]
fn reads_races_and_bounds() {
    let (mut b, n, zero, _, y) = start();
    let local = b.add_buffer("tmp", DType::F32, &[n], Space::Local);
    let v = b.load(local, &[zero]);
    let minus = b.int(-1);
    let (core, _) = b.core_loop("i", (zero, n, 1));
    let race = b.store(y, &[zero], v);
    b.add_phase(vec![core], vec![race]);
    let out = b.constant(Scalar::Float(0.0), DType::F32);
    let outside = b.store(y, &[minus], out);
    b.add_phase(Vec::new(), vec![outside]);
    let dynamic = b.load(y, &[zero]);
    let dynamic = b.cast(DType::I64, dynamic);
    b.add_buffer("dyn", DType::F32, &[dynamic], Space::Local);
    assert_eq!(broken(b), [8, 7, 9, 10]);
}

const BY_THREADS: LoopKind = LoopKind::Threads { count: 8 };

#[test]
fn threads_have_registers_of_their_own() {
    let (mut b, n, zero, eight, y) = start();
    let two = b.int(2);
    let acc = b.add_buffer("acc", DType::F32, &[two, eight], Space::Register);
    let (core, i) = b.core_loop("i", (zero, n, 8));
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let init = b.for_loop(BY_THREADS, "t", (zero, eight, 1), |b, t| vec![b.store(acc, &[zero, t], one)]);
    let left = b.sub(n, i);
    let rest = b.min(left, eight);
    let store = b.for_loop(BY_THREADS, "t", (zero, rest, 1), |b, t| {
        let at = b.add(i, t);
        let v = b.load(acc, &[zero, t]);
        vec![b.store(y, &[at], v)]
    });
    b.add_phase(vec![core], vec![init, store]);
    assert_eq!(broken(b), [0u8; 0]);
}

#[test]
fn a_thread_does_not_see_registers_of_another() {
    let (mut b, n, zero, eight, y) = start();
    let acc = b.add_buffer("acc", DType::F32, &[eight], Space::Register);
    let (core, i) = b.core_loop("i", (zero, n, 8));
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let init = b.for_loop(BY_THREADS, "t", (zero, eight, 1), |b, t| vec![b.store(acc, &[t], one)]);
    let v = b.load(acc, &[zero]);
    let store = b.store(y, &[i], v);
    b.add_phase(vec![core], vec![init, store]);
    assert_eq!(broken(b), [6]);
}

#[test]
fn threads_may_ask_others_all_together() {
    // `t ^ bits` in a loop of 8 threads that ends at `hi`; in a condition, or written meanwhile.
    let rules = |bits: i64, ragged: bool, inside: bool, written: bool| {
        let (mut b, n, zero, eight, y) = start();
        let acc = b.add_buffer("acc", DType::F32, &[eight], Space::Register);
        let (core, i) = b.core_loop("i", (zero, n, 8));
        let one = b.constant(Scalar::Float(1.0), DType::F32);
        let init = b.for_loop(BY_THREADS, "t", (zero, eight, 1), |b, t| vec![b.store(acc, &[t], one)]);
        let left = b.sub(n, i);
        let hi = if ragged { b.min(left, eight) } else { eight };
        let ask = b.for_loop(BY_THREADS, "t", (zero, hi, 1), |b, t| {
            let (at, bits) = (b.add(i, t), b.int(bits));
            let other = b.binary(BinaryOp::Xor, t, bits);
            let v = b.load(acc, &[other]);
            let store = b.store(y, &[at], v);
            let cond = b.lt(at, n);
            let mut body = match inside {
                true => vec![Stmt::If { cond, then: vec![store], otherwise: Vec::new() }],
                false => vec![store],
            };
            if written {
                body.push(b.store(acc, &[t], one));
            }
            body
        });
        b.add_phase(vec![core], vec![init, ask]);
        broken(b)
    };
    for bits in [1, 2, 4, 7] {
        assert_eq!(rules(bits, false, false, false), [0u8; 0]);
    }
    assert_eq!(rules(8, false, false, false), [6]);
    assert_eq!(rules(1, true, false, false), [6]);
    assert_eq!(rules(1, false, true, false), [6]);
    assert_eq!(rules(1, false, false, true), [6]);
}

#[test]
fn threads_are_counted_and_nest() {
    let (mut b, n, zero, eight, y) = start();
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let uncounted = b.for_loop(BY_THREADS, "t", (zero, n, 1), |b, t| vec![b.store(y, &[t], one)]);
    let beside = b.for_loop(BY_THREADS, "t", (zero, eight, 1), |b, t| {
        let inner = b.for_loop(BY_THREADS, "u", (zero, eight, 1), |_, _| Vec::new());
        vec![b.store(y, &[t], one), inner]
    });
    let ragged = b.for_loop(BY_THREADS, "t", (zero, eight, 1), |b, t| {
        let end = b.min(t, eight);
        vec![b.for_loop(BY_THREADS, "u", (zero, end, 1), |b, u| vec![b.store(y, &[u], one)])]
    });
    let shared = b.add_buffer("s", DType::F32, &[n], Space::Shared);
    let fill = b.store(shared, &[zero], one);
    b.add_phase(Vec::new(), vec![uncounted, beside, ragged, fill]);
    let mut rules = broken(b);
    rules.sort_unstable();
    assert_eq!(rules, [4, 4, 5, 12]);
}

/// Tiles `s` of `8 x 16` bytes and `t` of `8 x 8` words in shared memory; matrices of `8 x 8`, of each of two subgroups:
/// factors `x` and `y`, and three of `acc`.
#[derive(Clone, Copy)]
struct Tiles {
    s: BufferId,
    t: BufferId,
    x: BufferId,
    y: BufferId,
    acc: BufferId,
}

/// What a loop over subgroups contains, given the number of the subgroup.
type Inside<'a> = &'a mut dyn FnMut(&mut Builder, ExprId) -> Vec<Stmt>;

/// The rules that a loop around statements of subgroups breaks, where all that they may read is written before.
fn broken_around(
    around: impl FnOnce(&mut Builder, Inside<'_>) -> Stmt,
    mut inside: impl FnMut(&mut Builder, Tiles, ExprId) -> Vec<Stmt>,
) -> Vec<u8> {
    let mut b = Builder::new("t");
    let (zero, two, three, eight, sixteen) = (b.int(0), b.int(2), b.int(3), b.int(8), b.int(16));
    let s = b.add_buffer("s", DType::I8, &[eight, sixteen], Space::Shared);
    let t = b.add_buffer("t", DType::I32, &[eight, eight], Space::Shared);
    let [x, y] = ["x", "y"].map(|n| b.add_buffer(n, DType::I8, &[two, eight, eight], Space::Matrix));
    let acc = b.add_buffer("acc", DType::I32, &[two, three, eight, eight], Space::Matrix);
    let [byte, word] = [DType::I8, DType::I32].map(|t| b.constant(Scalar::Int(1), t));
    let near = b.for_loop(BY_THREADS, "r", (zero, eight, 1), |b, r| {
        let range = |end| (zero, end, 1);
        let serial = LoopKind::Serial;
        let bytes = b.for_loop(serial, "c", range(sixteen), |b, c| vec![b.store(s, &[r, c], byte)]);
        let words = b.for_loop(serial, "c", range(eight), |b, c| vec![b.store(t, &[r, c], word)]);
        vec![bytes, words]
    });
    let fill = b.subgroups(2, "g", |b, g| {
        let sums = b.for_loop(LoopKind::Unrolled, "u", (zero, three, 1), |b, u| {
            vec![b.fill_matrix((acc, &[g, u]), word)]
        });
        vec![b.fill_matrix((x, &[g]), byte), b.fill_matrix((y, &[g]), byte), sums]
    });
    let stmt = around(&mut b, &mut |b, g| inside(b, Tiles { s, t, x, y, acc }, g));
    b.add_phase(Vec::new(), vec![near, fill, stmt]);
    broken(b)
}

/// The rules that statements of two subgroups break.
fn broken_by(inside: impl FnMut(&mut Builder, Tiles, ExprId) -> Vec<Stmt>) -> Vec<u8> {
    broken_around(|b, inside| b.subgroups(2, "g", inside), inside)
}

#[test]
fn matrices_of_subgroups() {
    let rules = broken_by(|b, t, g| {
        let (zero, eight, three) = (b.int(0), b.int(8), b.int(3));
        let column = b.mul(g, eight);
        let load = b.load_matrix((t.x, &[g]), (t.s, &[zero, column]), (0, 1));
        let turned = b.load_matrix((t.y, &[g]), (t.s, &[zero, column]), (1, 0));
        let (acc, x, y, near) = (t.acc, t.x, t.y, t.t);
        let multiply = b.for_loop(LoopKind::Serial, "k", (zero, eight, 1), |b, _| {
            vec![b.for_loop(LoopKind::Unrolled, "u", (zero, three, 1), |b, u| {
                vec![b.multiply_add((acc, &[g, u]), (x, &[g]), (y, &[g]))]
            })]
        });
        let one = b.int(1);
        let first = b.lt(g, one);
        let store = b.store_matrix((acc, &[g, zero]), (near, &[zero, zero]), (0, 1));
        vec![load, turned, multiply, Stmt::If { cond: first, then: vec![store], otherwise: Vec::new() }]
    });
    assert_eq!(rules, [0u8; 0]);
}

#[test]
fn subgroups_are_counted_and_hold_matrices_only() {
    // More than the count; in threads; with a store; around threads.
    let ends = |b: &mut Builder, f: Inside<'_>| {
        let (zero, three) = (b.int(0), b.int(3));
        b.for_loop(LoopKind::Subgroups { count: 2 }, "g", (zero, three, 1), f)
    };
    let multiply = |b: &mut Builder, t: Tiles, g: ExprId| {
        let zero = b.int(0);
        vec![b.multiply_add((t.acc, &[g, zero]), (t.x, &[g]), (t.y, &[g]))]
    };
    assert_eq!(broken_around(ends, multiply), [4]);
    let inside = |b: &mut Builder, f: Inside<'_>| {
        let (zero, eight) = (b.int(0), b.int(8));
        b.for_loop(BY_THREADS, "i", (zero, eight, 1), |b, _| vec![b.subgroups(2, "g", f)])
    };
    assert_eq!(broken_around(inside, multiply), [5]);
    let store = |b: &mut Builder, t: Tiles, g: ExprId| {
        let (zero, one) = (b.int(0), b.constant(Scalar::Int(1), DType::I32));
        vec![b.store(t.t, &[g, zero], one)]
    };
    assert_eq!(broken_by(store), [5]);
    let threads = |b: &mut Builder, _: Tiles, _: ExprId| {
        let (zero, eight) = (b.int(0), b.int(8));
        vec![b.for_loop(BY_THREADS, "i", (zero, eight, 1), |_, _| Vec::new())]
    };
    assert_eq!(broken_by(threads), [5]);
    // Without a loop over subgroups.
    let serial = |b: &mut Builder, f: Inside<'_>| {
        let (zero, two) = (b.int(0), b.int(2));
        b.for_loop(LoopKind::Serial, "g", (zero, two, 1), f)
    };
    assert_eq!(broken_around(serial, multiply), [14]);
}

#[test]
fn types_and_places_of_matrices() {
    // A fill of another type, memory of another type, rows that are columns, memory for a matrix and the reverse.
    let rules = broken_by(|b, t, g| {
        let zero = b.int(0);
        let word = b.constant(Scalar::Int(1), DType::I32);
        vec![
            b.fill_matrix((t.x, &[g]), word),
            b.load_matrix((t.x, &[g]), (t.t, &[zero, zero]), (0, 1)),
            b.load_matrix((t.x, &[g]), (t.s, &[zero, zero]), (1, 1)),
            b.load_matrix((t.x, &[g]), (t.y, &[g, zero, zero]), (1, 2)),
            b.multiply_add((t.t, &[]), (t.x, &[g]), (t.y, &[g])),
        ]
    });
    assert_eq!(rules, [2, 2, 2, 2, 2]);
}

#[test]
fn matrices_are_whole_and_their_subgroups_own() {
    // An element on its own; an index too few; another subgroup's; out of the extents; not written out.
    let rules = broken_by(|b, t, g| {
        let (zero, one, three, eight) = (b.int(0), b.int(1), b.int(3), b.int(8));
        let v = b.load(t.acc, &[g, zero, zero, zero]);
        let (acc, x, y) = (t.acc, t.x, t.y);
        vec![
            b.bind("v", v).0,
            b.multiply_add((acc, &[g]), (x, &[g]), (y, &[g])),
            b.multiply_add((acc, &[g, zero]), (x, &[one]), (y, &[g])),
            b.multiply_add((acc, &[g, three]), (x, &[g]), (y, &[g])),
            b.for_loop(LoopKind::Serial, "k", (zero, three, 1), |b, k| {
                vec![b.multiply_add((acc, &[g, k]), (x, &[g]), (y, &[g]))]
            }),
            b.load_matrix((x, &[g]), (t.s, &[zero, eight]), (0, 1)),
        ]
    });
    assert_eq!(rules, [13, 13, 3, 13, 13]);
    // Extents that are not constant, too many, and matrices that all subgroups share.
    let rules = broken_by(|b, _, _| {
        let n = b.add_size("n");
        let (eight, many) = (b.int(8), b.int(65));
        b.add_buffer("open", DType::I8, &[eight, n], Space::Matrix);
        b.add_buffer("many", DType::I8, &[many, eight, eight], Space::Matrix);
        let all = b.add_buffer("all", DType::I8, &[eight, eight], Space::Matrix);
        let zero = b.constant(Scalar::Int(0), DType::I8);
        vec![b.fill_matrix((all, &[]), zero)]
    });
    assert_eq!(rules, [13, 13, 13]);
    // Outside of the tile.
    let rules = broken_by(|b, t, g| {
        let (zero, nine) = (b.int(0), b.int(9));
        vec![b.load_matrix((t.x, &[g]), (t.s, &[zero, nine]), (0, 1))]
    });
    assert_eq!(rules, [10]);
}

#[test]
fn products_fit() {
    let product = |types: [DType; 3], sides: [i64; 6]| {
        broken_by(|b, _, g| {
            let two = b.int(2);
            let sides = sides.map(|n| b.int(n));
            let pairs = [[sides[0], sides[1]], [sides[2], sides[3]], [sides[4], sides[5]]];
            let mut all = Vec::new();
            for (dtype, [rows, columns]) in types.into_iter().zip(pairs) {
                all.push(b.add_buffer("m", dtype, &[two, rows, columns], Space::Matrix));
            }
            let mut out = Vec::new();
            for (&m, dtype) in all.iter().zip(types) {
                let zero = b.constant(Scalar::Int(0), dtype);
                out.push(b.fill_matrix((m, &[g]), zero));
            }
            out.push(b.multiply_add((all[0], &[g]), (all[1], &[g]), (all[2], &[g])));
            out
        })
    };
    let fitting = [8, 4, 8, 16, 16, 4];
    assert_eq!(product([DType::F32, DType::F16, DType::F16], fitting), [0u8; 0]);
    assert_eq!(product([DType::U32, DType::U8, DType::U8], fitting), [0u8; 0]);
    assert_eq!(product([DType::F16, DType::F16, DType::F16], [8, 4, 8, 16, 8, 4]), [14]);
    for types in [
        [DType::F16, DType::F32, DType::F32],
        [DType::F32, DType::F16, DType::F32],
        [DType::I32, DType::U8, DType::U8],
        [DType::F32, DType::I8, DType::I8],
    ] {
        assert_eq!(product(types, fitting), [14], "{types:?}");
    }
    let squared = broken_by(|b, t, g| {
        let one = b.constant(Scalar::Int(1), DType::I8);
        vec![b.fill_matrix((t.x, &[g]), one), b.multiply_add((t.x, &[g]), (t.x, &[g]), (t.y, &[g]))]
    });
    assert_eq!(squared, [14]);
}

#[test]
fn subgroups_do_not_read_what_they_write() {
    let rules = broken_by(|b, t, g| {
        let zero = b.int(0);
        let store = b.store_matrix((t.acc, &[g, zero]), (t.t, &[zero, zero]), (0, 1));
        let v = b.load(t.t, &[g, zero]);
        let bind = b.bind("v", v).0;
        vec![bind, store]
    });
    assert_eq!(rules, [15]);
}

#[test]
fn prefetches_of_what_is_no_memory_of_the_launch() {
    let (mut b, _, zero, eight, y) = start();
    let own = b.add_buffer("own", DType::F32, &[eight], Space::Register);
    let near = Stmt::Prefetch { buffer: own, index: vec![zero] };
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let odd = Stmt::Prefetch { buffer: y, index: vec![one] };
    b.add_phase(Vec::new(), vec![near, odd]);
    assert_eq!(broken(b), [16, 2]);
}

#[test]
fn prefetches_at_indices_that_are_not_settled() {
    let (mut b, n, zero, eight, y) = start();
    let own = b.add_buffer("own", DType::I64, &[eight], Space::Register);
    let ix = b.add_buffer("ix", DType::I64, &[n], Space::Global(1));
    let far = b.add_int(n, 1000);
    let start = b.store(own, &[zero], zero);
    // Beyond the end is fine; an index of registers is not, nor one that the nest writes.
    let (read, written) = (b.load(own, &[zero]), b.load(ix, &[zero]));
    let [beyond, by_register, by_written] =
        [far, read, written].map(|at| Stmt::Prefetch { buffer: y, index: vec![at] });
    let short = Stmt::Prefetch { buffer: y, index: Vec::new() };
    let change = b.store(ix, &[zero], zero);
    b.add_phase(Vec::new(), vec![start, change, beyond, by_register, by_written, short]);
    assert_eq!(broken(b), [16, 16, 3]);
}

use rooftile_artifact::{DType, Scalar};

use super::super::build::Builder;
use super::super::ir::{BinaryOp, ExprId, ExprKind, LoopKind, Space, Stmt};
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

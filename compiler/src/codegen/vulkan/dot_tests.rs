//! Where four products become one instruction, and where they may not.

use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::{DType, GpuTarget, Scalar};
use rspirv::dr;
use rspirv::spirv::{Capability, Op};

use super::tests::{code, count, full, module};
use crate::nest::Builder;
use crate::nest::ir::{BufferId, ExprId, LoopKind, Nest, Space, Stmt};

const DOTS: [Op; 3] = [Op::SDot, Op::UDot, Op::SUDot];

fn dots(m: &dr::Module) -> usize {
    DOTS.iter().map(|&op| count(m, op)).sum()
}

/// A sum in a register, and two tables of bytes.
struct Sum {
    b: Builder,
    i: ExprId,
    x: BufferId,
    y: BufferId,
    z: BufferId,
    acc: BufferId,
}

/// What is written between two terms.
type Between<'a> = &'a dyn Fn(&mut Builder, &Sum, ExprId) -> Vec<Stmt>;

/// `z[i] = sum of x[i, k] * y[i, k]` for `terms` of `lo..`, of rows of some width.
fn sum(types: [DType; 3], width: i64, [lo, hi]: [i64; 2], between: Between<'_>) -> Nest {
    let mut b = Builder::new("sum");
    let n = b.add_size("n");
    let (zero, columns) = (b.int(0), b.int(width));
    let [x, y] = [0, 1].map(|s| b.add_buffer("x", types[s], &[n, columns], Space::Global(s as u32)));
    let z = b.add_buffer("z", types[2], &[n], Space::Global(2));
    let acc = b.add_buffer("acc", types[2], &[], Space::Register);
    let nothing = b.constant(Scalar::Int(0), types[2]);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let mut s = Sum { b, i, x, y, z, acc };
    let clear = s.b.store(acc, &[], nothing);
    let (lo, hi) = (s.b.int(lo), s.b.int(hi));
    let mut b = std::mem::replace(&mut s.b, Builder::new(""));
    let work = b.for_loop(LoopKind::Unrolled, "k", (lo, hi, 1), |b, k| {
        let factors = [x, y].map(|g| {
            let v = b.load(g, &[i, k]);
            b.cast(types[2], v)
        });
        let p = b.mul(factors[0], factors[1]);
        let old = b.load(acc, &[]);
        let next = b.add(old, p);
        let mut body = vec![b.store(acc, &[], next)];
        body.extend(between(b, &s, k));
        body
    });
    let v = b.load(acc, &[]);
    let store = b.store(z, &[i], v);
    b.add_phase(vec![core], vec![clear, work, store]);
    b.finish()
}

fn plain(_: &mut Builder, _: &Sum, _: ExprId) -> Vec<Stmt> {
    Vec::new()
}

const SIGNED: [DType; 3] = [DType::I8, DType::I8, DType::I32];

#[test]
fn four_products_are_one_instruction() {
    for (a, b, op) in [
        (DType::I8, DType::I8, Op::SDot),
        (DType::U8, DType::U8, Op::UDot),
        (DType::I8, DType::U8, Op::SUDot),
        (DType::U8, DType::I8, Op::SUDot),
    ] {
        for acc in [DType::I32, DType::U32] {
            let code = code(sum([a, b, acc], 8, [0, 8], &plain), &full());
            let m = module(&code);
            assert!(code.features.dot8, "{a} {b}");
            assert_eq!((count(&m, op), dots(&m)), (2, 2), "{a} {b}");
            // Products of bytes are gone; those of addresses are few.
            assert!(count(&m, Op::IMul) < 8, "{a} {b}");
        }
        let wide = code(sum([a, b, DType::I64], 8, [0, 8], &plain), &full());
        assert_eq!((dots(&module(&wide)), wide.features.dot8), (0, false));
    }
}

#[test]
fn what_is_left_stays_plain() {
    for (width, range, want) in [
        (8, [0, 7], 1),
        (8, [0, 3], 0),
        (12, [1, 12], 2),
        // Rows of 6 start within words: packing both factors is not worth it.
        (6, [0, 4], 0),
        (64, [0, 64], 16),
    ] {
        let m = module(&code(sum(SIGNED, width, range, &plain), &full()));
        assert_eq!(dots(&m), want, "{width} {range:?}");
    }
}

#[test]
fn a_device_without_multiplies() {
    for features in
        [GpuFeatures { dot8: false, ..full().features }, GpuFeatures { i8: false, ..full().features }]
    {
        let target = GpuTarget { features, ..full() };
        let code = code(sum(SIGNED, 8, [0, 8], &plain), &target);
        let m = module(&code);
        assert_eq!((dots(&m), code.features.dot8), (0, false));
        let capability = dr::Operand::Capability(Capability::DotProduct);
        assert!(!m.capabilities.iter().any(|c| c.operands.contains(&capability)));
    }
}

#[test]
fn sums_that_are_seen_on_the_way_stay() {
    let seen = |b: &mut Builder, s: &Sum, _: ExprId| {
        let v = b.load(s.acc, &[]);
        vec![b.store(s.z, &[s.i], v)]
    };
    assert_eq!(dots(&module(&code(sum(SIGNED, 8, [0, 8], &seen), &full()))), 0);
}

#[test]
fn what_is_written_again_is_packed() {
    // The row of x is no word any more when the four are there; that of y is.
    let written = |b: &mut Builder, s: &Sum, k: ExprId| {
        let v = b.constant(Scalar::Int(1), DType::I8);
        vec![b.store(s.x, &[s.i, k], v)]
    };
    let m = module(&code(sum(SIGNED, 8, [0, 8], &written), &full()));
    assert_eq!((dots(&m), count(&m, Op::CompositeConstruct)), (2, 2));
    let both = |b: &mut Builder, s: &Sum, k: ExprId| {
        let v = b.constant(Scalar::Int(1), DType::I8);
        vec![b.store(s.x, &[s.i, k], v), b.store(s.y, &[s.i, k], v)]
    };
    assert_eq!(dots(&module(&code(sum(SIGNED, 8, [0, 8], &both), &full()))), 0);
}

#[test]
fn tiles_in_near_memory_lie_in_words() {
    // Each thread fills a row and sums it up with that of its neighbour.
    let tiles = |depth: i64| {
        let mut b = Builder::new("tiles");
        let n = b.add_size("n");
        let (zero, rows, columns) = (b.int(0), b.int(32), b.int(depth));
        let x = b.add_buffer("x", DType::U8, &[n, columns], Space::Global(0));
        let z = b.add_buffer("z", DType::U32, &[n], Space::Global(1));
        let tile = b.add_buffer("tile", DType::U8, &[rows, columns], Space::Shared);
        let acc = b.add_buffer("acc", DType::U32, &[rows], Space::Register);
        let nothing = b.constant(Scalar::Int(0), DType::U32);
        let (core, i0) = b.core_loop("i0", (zero, n, 32));
        let left = b.sub(n, i0);
        let hi = b.min(left, rows);
        let by_threads = LoopKind::Threads { count: 32 };
        let fill = b.for_loop(by_threads, "t", (zero, rows, 1), |b, t| {
            vec![b.for_loop(LoopKind::Serial, "k", (zero, columns, 1), |b, k| {
                let v = b.load(x, &[zero, k]);
                vec![b.store(tile, &[t, k], v)]
            })]
        });
        let work = b.for_loop(by_threads, "t", (zero, hi, 1), |b, t| {
            let mut body = vec![b.store(acc, &[t], nothing)];
            body.push(b.for_loop(LoopKind::Serial, "k", (zero, columns, 4), |b, k| {
                let four = b.int(4);
                vec![b.for_loop(LoopKind::Unrolled, "u", (zero, four, 1), |b, u| {
                    let at = b.add(k, u);
                    let last = b.int(31);
                    let other = b.sub(last, t);
                    let factors = [t, other].map(|row| {
                        let v = b.load(tile, &[row, at]);
                        b.cast(DType::U32, v)
                    });
                    let p = b.mul(factors[0], factors[1]);
                    let old = b.load(acc, &[t]);
                    let next = b.add(old, p);
                    vec![b.store(acc, &[t], next)]
                })]
            }));
            let (at, v) = (b.add(i0, t), b.load(acc, &[t]));
            body.push(b.store(z, &[at], v));
            body
        });
        b.add_phase(vec![core], vec![fill, work]);
        b.finish()
    };
    let code_of = |depth: i64| code(tiles(depth), &full());
    let (words, bytes) = (code_of(16), code_of(6));
    assert_eq!((dots(&module(&words)), words.phases[0].shared_bytes), (1, 32 * 16));
    assert_eq!((dots(&module(&bytes)), bytes.phases[0].shared_bytes), (0, 32 * 6));
}

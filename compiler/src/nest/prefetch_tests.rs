//! What is fetched ahead, and what cannot be.

use rooftile_artifact::DType;

use super::*;
use crate::nest::verify::verify;

/// A nest over `m` and `n` with a buffer `a[m, n]` and a body of one phase.
fn nest(body: impl FnOnce(&mut Builder, BufferId, [ExprId; 3]) -> Vec<Stmt>) -> (Nest, BufferId) {
    let mut b = Builder::new("t");
    let (m, n, zero) = (b.add_size("m"), b.add_size("n"), b.int(0));
    let a = b.add_buffer("a", DType::F32, &[m, n], Space::Global(0));
    let body = body(&mut b, a, [zero, m, n]);
    b.add_phase(Vec::new(), body);
    (b.finish(), a)
}

fn text(nest: Nest) -> String {
    assert!(verify(nest.clone()).is_ok(), "{nest}");
    nest.to_string()
}

#[test]
fn lines_of_a_later_pass_are_fetched_once_each() {
    let (mut nest, a) = nest(|b, a, [zero, m, n]| {
        let y = b.add_buffer("y", DType::F32, &[m], Space::Global(1));
        let s = b.int(32);
        let two = b.int(2);
        let sums = b.add_buffer("s", DType::F32, &[two, s], Space::Register);
        vec![b.for_loop(LoopKind::Serial, "i", (zero, m, 2), |b, i| {
            let row = b.for_loop(LoopKind::Serial, "k", (zero, n, 32), |b, k| {
                vec![b.for_loop(LoopKind::Unrolled, "u", (zero, two, 1), |b, u| {
                    let i = b.add(i, u);
                    vec![b.for_loop(LoopKind::Lanes, "v", (zero, s, 1), |b, v| {
                        let (at, here) = b.bind("at", k);
                        let here = b.add(here, v);
                        let value = b.load(a, &[i, here]);
                        vec![at, b.store(sums, &[u, v], value)]
                    })]
                })]
            });
            // What is left over behind the loop is not fetched.
            let last = b.load(a, &[i, zero]);
            vec![row, b.store(y, &[i], last)]
        })]
    });
    let before = nest.clone();
    prefetch(&mut nest, a, 3).expect("a loop");
    insta::assert_snapshot!(text(nest), @r"
    nest t(m, n)
      global 0 a: f32[m, n] prefetched as said
      global 1 y: f32[m]
      register s: f32[2, 32]
    phase 0
      for i in 0..m step 2
        for k in 0..n step 32
          prefetch a[i, (k + 96)]
          prefetch a[i, (k + 112)]
          prefetch a[(i + 1), (k + 96)]
          prefetch a[(i + 1), (k + 112)]
          unrolled u in 0..2
            lanes v in 0..32
              let at: i64 = k
              s[u, v] = a[(i + u), (at + v)]
        y[i] = a[i, 0]
    ");
    let mut none = before.clone();
    prefetch(&mut none, a, 0).expect("a read");
    assert_eq!((none.phases, before.buffers[a].own_prefetch), (before.phases, false));
    assert!(none.buffers[a].own_prefetch);
}

#[test]
fn indices_that_are_read_are_those_of_passes_that_there_are() {
    let (mut nest, a) = nest(|b, a, [zero, m, n]| {
        let ix = b.add_buffer("ix", DType::I64, &[n], Space::Global(1));
        let y = b.add_buffer("y", DType::F32, &[n], Space::Global(2));
        let _ = m;
        vec![b.for_loop(LoopKind::Serial, "k", (zero, n, 1), |b, k| {
            let at = b.load(ix, &[k]);
            let (at, here) = b.bind("at", at);
            let value = b.load(a, &[zero, here]);
            vec![at, b.store(y, &[k], value)]
        })]
    });
    prefetch(&mut nest, a, 8).expect("a loop");
    insta::assert_snapshot!(text(nest), @r"
    nest t(m, n)
      global 0 a: f32[m, n] prefetched as said
      global 1 ix: i64[n]
      global 2 y: f32[n]
    phase 0
      for k in 0..n
        prefetch a[0, ix[select(((k + 8) < n), (k + 8), k)]]
        let at: i64 = ix[k]
        y[k] = a[0, at]
    ");
}

/// 256 elements, two a byte, lie in two lines.
#[test]
fn elements_that_share_a_byte_are_of_one_line() {
    let (mut nest, _) = nest(|b, _, [zero, m, n]| {
        let two = b.int(2);
        let bytes = b.binary(BinaryOp::DivNonNeg, n, two);
        let w = b.add_buffer("w", DType::U8, &[m, bytes], Space::Global(1));
        let lanes = b.int(64);
        let sums = b.add_buffer("s", DType::I32, &[lanes], Space::Register);
        vec![b.for_loop(LoopKind::Serial, "i", (zero, m, 1), |b, i| {
            vec![b.for_loop(LoopKind::Serial, "k", (zero, n, 256), |b, k| {
                let four = b.int(4);
                vec![b.for_loop(LoopKind::Unrolled, "u", (zero, four, 1), |b, u| {
                    vec![b.for_loop(LoopKind::Lanes, "v", (zero, lanes, 1), |b, v| {
                        let (here, past) = (b.add(k, v), b.mul(u, lanes));
                        let here = b.add(here, past);
                        let byte = b.binary(BinaryOp::DivNonNeg, here, two);
                        let value = b.load(w, &[i, byte]);
                        let value = b.cast(DType::I32, value);
                        vec![b.store(sums, &[v], value)]
                    })]
                })]
            })]
        })]
    });
    let w = nest.buffers.handles().nth(1).expect("two buffers");
    prefetch(&mut nest, w, 4).expect("a loop");
    insta::assert_snapshot!(text(nest), @r"
    nest t(m, n)
      global 0 a: f32[m, n]
      global 1 w: u8[m, (n /+ 2)] prefetched as said
      register s: i32[64]
    phase 0
      for i in 0..m
        for k in 0..n step 256
          prefetch w[i, ((k + 1024) /+ 2)]
          prefetch w[i, ((k + 1152) /+ 2)]
          unrolled u in 0..4
            lanes v in 0..64
              s[v] = i32(w[i, (((k + v) + (u * 64)) /+ 2)])
    ");
}

#[test]
fn what_cannot_be_told_ahead_is_refused() {
    // Nothing reads it.
    let (mut unread, a) = nest(|_, _, _| Vec::new());
    assert_eq!(prefetch(&mut unread, a, 1), Err(Missed::NotRead));
    // One element; one at an index that the loop computes; one at an index in memory that the nest writes.
    type Case = fn(&mut Builder, ExprId, BufferId, BufferId) -> ExprId;
    let cases: [Case; 3] = [
        |b, _, _, _| b.int(0),
        |b, _, own, _| {
            let zero = b.int(0);
            b.load(own, &[zero])
        },
        |b, k, _, ix| b.load(ix, &[k]),
    ];
    for case in cases {
        let (mut nest, a) = nest(|b, a, [zero, _, n]| {
            let one = b.int(1);
            let own = b.add_buffer("own", DType::I64, &[one], Space::Register);
            let ix = b.add_buffer("ix", DType::I64, &[n], Space::Global(1));
            let y = b.add_buffer("y", DType::F32, &[n], Space::Global(2));
            let start = b.store(own, &[zero], zero);
            vec![
                start,
                b.for_loop(LoopKind::Serial, "k", (zero, n, 1), |b, k| {
                    let at = case(b, k, own, ix);
                    let value = b.load(a, &[zero, at]);
                    let next = b.load(own, &[zero]);
                    let next = b.add_int(next, 1);
                    vec![b.store(y, &[k], value), b.store(own, &[zero], next), b.store(ix, &[k], k)]
                }),
            ]
        });
        let before = nest.clone();
        assert_eq!(prefetch(&mut nest, a, 1), Err(Missed::NoLoop), "{nest}");
        assert_eq!(nest, before);
    }
    // More lines than a pass should ask for.
    let (mut wide, a) = nest(|b, a, [zero, m, n]| {
        let y = b.add_buffer("y", DType::F32, &[m], Space::Global(1));
        vec![b.for_loop(LoopKind::Serial, "k", (zero, n, 1), |b, k| {
            let (many, three) = (b.int(64), b.int(3));
            vec![b.for_loop(LoopKind::Unrolled, "u", (zero, many, 1), |b, u| {
                vec![b.for_loop(LoopKind::Unrolled, "w", (zero, three, 1), |b, w| {
                    let row = b.mul(u, w);
                    let value = b.load(a, &[row, k]);
                    vec![b.store(y, &[u], value)]
                })]
            })]
        })]
    });
    assert_eq!(prefetch(&mut wide, a, 1), Err(Missed::TooManyLines));
}

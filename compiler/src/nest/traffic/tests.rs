//! Figures that follow from the loops by hand.

use rooftile_artifact::program::Bindings;
use rooftile_artifact::{CpuTarget, HostTensor, Scalar};

use super::*;
use crate::driver::check;
use crate::nest::verify_module;
use crate::schedule::plan::Assignment;
use crate::schedule::{Allow, Choice, lower};

/// 32 KiB, 512 KiB and 16 MiB.
const ROOM: [f64; CACHES] = [32768.0, 524_288.0, 16_777_216.0];
const MIB: f64 = 1_048_576.0;

enum With<'a> {
    Naive,
    Default,
    Verbs(&'a str),
}

/// What the kernel or pipeline `t` of a text moves on one thread, all of its kernels together.
fn moved(
    text: &str,
    with: With<'_>,
    sizes: &[i64],
    scalars: &[Scalar],
    tensors: &[Option<HostTensor>],
) -> Traffic {
    let text = match with {
        With::Verbs(verbs) => format!("rooftile 1\n{text}\nschedule t for cpu {{ {verbs} }}\n"),
        _ => format!("rooftile 1\n{text}\n"),
    };
    let checked = check(&text);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    let entry = checked.entry(Some("t")).expect("t");
    let allow = Allow { reassoc: true, contract: true, ..Allow::default() };
    let choice = match with {
        With::Naive => Choice::Naive,
        With::Default => Choice::Default { allow },
        With::Verbs(_) => Choice::Planned {
            plan: checked.schedules[0].plan.clone(),
            assignment: Assignment::default(),
            allow,
        },
    };
    let cpu = CpuTarget { threads: 1, ..CpuTarget::default() };
    let module = lower(&checked.hir, entry, &choice, &cpu.clone().into()).expect("a legal schedule");
    let module = verify_module(module).expect("loops that keep the rules");
    let caches = Caches { chunk: ROOM, launch: ROOM, vector_bytes: cpu.vector_bytes };
    let bindings = Bindings { sizes: sizes.to_vec(), scalars: scalars.to_vec() };
    let mut all = Traffic::default();
    for kernel in of_module(&module, &bindings, tensors, &caches) {
        let one = kernel.traffic.expect("loops that can be followed");
        all.loads += one.loads;
        all.stores += one.stores;
        all.past += one.past;
        for (sum, more) in all.levels.iter_mut().zip(one.levels) {
            *sum = sum.plus(more, 1.0);
        }
        all.guessed |= one.guessed;
        all.gathered.extend(one.gathered);
    }
    all
}

fn of(text: &str, with: With<'_>, sizes: &[i64]) -> Traffic {
    moved(text, with, sizes, &[], &[])
}

fn bytes(read: f64, filled: f64, written: f64) -> Bytes {
    Bytes { read, filled, written }
}

const SAXPY: &str = "kernel t(x: in f32[N], y: inout f32[N], a: f32) {
  for i in tiles(N; b) { y[i] = a * x[i] + y[i] }
}";

#[test]
fn what_is_touched_once_comes_once() {
    let n = 1 << 20;
    for (with, instructions) in [(With::Naive, 1.0), (With::Verbs("tile(i, 4096) vector(i, 4)"), 0.25)] {
        let t = moved(SAXPY, with, &[n], &[Scalar::Float(2.0)], &[]);
        assert_eq!((t.loads, t.stores), (2.0 * n as f64 * instructions, n as f64 * instructions));
        // Each of both lies in 4 MiB; all of it fits the third level.
        let all = bytes(8.0 * MIB, 0.0, 4.0 * MIB);
        assert_eq!(t.levels, [all, all, all, Bytes::default()]);
    }
    let small = moved(SAXPY, With::Naive, &[1000], &[Scalar::Float(2.0)], &[]);
    assert_eq!(small.levels[1..], [Bytes::default(); CACHES]);
    // Stores that read nothing fill lines, but not past the caches, where 32 MiB are too many for them.
    let copy = "kernel t(x: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i] } }";
    let plain = of(copy, With::Verbs("vector(i, 4)"), &[8 << 20]);
    assert_eq!(plain.levels[CACHES], bytes(32.0 * MIB, 32.0 * MIB, 32.0 * MIB));
    let past = of(copy, With::Verbs("vector(i, 8) nontemporal(y)"), &[8 << 20]);
    if past.past > 0.0 {
        assert_eq!(past.levels[CACHES], bytes(32.0 * MIB, 0.0, 32.0 * MIB));
    }
}

const MATMUL: &str = "kernel t(A: in f32[M,K], B: in f32[K,N], C: out f32[M,N]) {
  for (i, j) in tiles(M, N; bm, bn) {
    var acc: f32[i,j] = 0.0
    for k in tiles(K; bk) { acc += dot[k](A[i,k], B[k,j]) }
    C[i,j] = acc
  }
}
task t { search {M=8, K=8, N=8}  allow reassoc, contract }";

#[test]
fn products_read_a_factor_again_unless_it_is_tiled() {
    let naive = of(MATMUL, With::Naive, &[256, 256, 256]);
    // For each row of A, 16 lines, all of B, of which a column and its neighbour fit the first level.
    let (rows, line) = (256.0, 64.0);
    assert_eq!(naive.levels[1], bytes(rows * (16.0 + 4096.0) * line, rows * 16.0 * line, rows * 16.0 * line));
    // B fits the second.
    assert_eq!(naive.levels[2], bytes(8192.0 * line, 4096.0 * line, 4096.0 * line));
    assert_eq!(naive.levels[3], Bytes::default());
    assert_eq!((naive.loads, naive.stores), (2.0 * 256f64.powi(3), 65536.0));
    // Eight columns of 512 elements no longer fit the first level: each is read anew.
    let long = of(MATMUL, With::Naive, &[16, 1024, 16]);
    assert!(long.levels[1].read >= 16.0 * 16.0 * 1024.0 * line, "{long:?}");
    let tiled = of(MATMUL, With::Default, &[1024, 1024, 1024]);
    let plain = of(MATMUL, With::Naive, &[1024, 1024, 1024]);
    for level in 0..=2 {
        assert!(4.0 * tiled.levels[level].total() < plain.levels[level].total(), "{tiled:?} {plain:?}");
    }
}

const TRANSPOSE: &str = "kernel t(X: in f32[M,N], Y: out f32[N,M]) {
  for (i, j) in tiles(M, N; bm, bn) { Y[j,i] = X[i,j] }
}";

#[test]
fn transposes_fill_each_line_once_where_tiles_fit() {
    let lines = 65536.0 * 64.0;
    let naive = of(TRANSPOSE, With::Naive, &[1024, 1024]);
    // A column of Y is 64 KiB, so that its lines are gone when the next row comes.
    assert_eq!(naive.levels[1], bytes(lines, 16.0 * lines, 16.0 * lines));
    assert_eq!(naive.levels[2], bytes(lines, lines, lines));
    let tiled =
        of(TRANSPOSE, With::Verbs("tile(i, 16) tile(j, 64) order(i.0, j.0, i.1, j.1)"), &[1024, 1024]);
    assert_eq!(tiled.levels[1], bytes(lines, lines, lines));
    // The same with ends that fill no tile.
    let ragged =
        of(TRANSPOSE, With::Verbs("tile(i, 16) tile(j, 64) order(i.0, j.0, i.1, j.1)"), &[1000, 1008]);
    let all = 1000.0 * 63.0 * 64.0;
    assert!((ragged.levels[1].read - all).abs() < 0.02 * all, "{ragged:?}");
    assert!(ragged.levels[1].written < 1.1 * all, "{ragged:?}");
}

const HEAT: &str = "kernel step(u: in f32[H,W] edge clamp, v: out f32[H,W]) {
  for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y-1,x] + u[y+1,x] + u[y,x-1] + u[y,x+1] }
}
pipeline t(u: inout f32[H,W], T: i32) {
  buf v: f32[H,W]
  repeat s in 0..T pingpong (u, v) { step(u, v) }
}";

#[test]
fn rows_of_a_stencil_are_read_once_and_time_tiles_do_with_less() {
    let (h, w) = (4096, 1024);
    let grid = (h * w * 4) as f64;
    let at = |with| moved(HEAT, with, &[h, w], &[Scalar::Int(8)], &[]);
    let naive = at(With::Naive);
    // Three rows of 4 KiB, and one that is written, fit the first level with those of the next pass.
    for level in 1..=CACHES {
        let want = 8.0 * grid;
        let found = naive.levels[level];
        for b in [found.read, found.filled, found.written] {
            assert!((b - want).abs() < 0.01 * want, "level {level}: {found:?}, and not {want}");
        }
    }
    let tiled = at(With::Verbs("tile(y, 64) tile(x, 512) time_tile(s, 4)"));
    assert!(tiled.levels[CACHES].total() < 0.4 * naive.levels[CACHES].total(), "{tiled:?}");
    assert!(tiled.levels[1].total() > tiled.levels[CACHES].total());
}

#[test]
fn bounds_and_indices_of_data_are_followed_as_far_as_they_are_known() {
    let text = "kernel t(rp: in i32[N+1] monotone range 0..E+1, ci: in i32[E] range 0..M, v: in f32[E], x: in f32[M], y: out f32[N]) {
  for i in tiles(N; b) with e in rp[i]..rp[i+1] { y[i] = sum[e](v[e] * x[ci[e]]) }
}";
    let (n, each, m) = (4096, 16, 1 << 22);
    let rp = HostTensor::from_fn(rooftile_artifact::DType::I32, &[n + 1], |i| {
        Scalar::Int(i64::try_from(i * each).unwrap_or(0))
    });
    let mut tensors = vec![None; 5];
    tensors[0] = rp.ok();
    let sizes = [n as i64, (n * each) as i64, m];
    let t = moved(text, With::Naive, &sizes, &[], &tensors);
    let elements = (n * each) as f64;
    assert!(!t.guessed && t.gathered == ["x"], "{t:?}");
    // A line for each element of x, a line for sixteen of v and of ci.
    let want = elements * 64.0 + 2.0 * elements * 4.0;
    assert!((t.levels[1].read - want).abs() < 0.02 * want, "{t:?}, and not {want}");
    let blind = moved(text, With::Naive, &sizes, &[], &[]);
    assert!(blind.guessed);
}

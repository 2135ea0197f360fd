//! Sums of products by matrix units: right at all sizes, and refused where they cannot be.

use rooftile_artifact::DType;
use rooftile_artifact::target::{GpuFeatures, MatrixShape};

use super::*;
use crate::diag::Code;
use crate::nest::ir::{LoopKind, MatrixOp};

/// A GPU with small subgroups, whose matrices have three different sides.
pub(super) fn unit() -> Target {
    let shape = |factor, result| MatrixShape { m: 4, n: 8, k: 2, factor, result };
    let gpu = GpuTarget { subgroup: 4, group_threads: 64, units: 2, ..GpuTarget::default() };
    let features = GpuFeatures { matrix: true, whole_subgroups: true, ..gpu.features };
    let matrices = vec![
        shape(DType::F16, DType::F32),
        shape(DType::I8, DType::I32),
        shape(DType::U8, DType::U32),
        MatrixShape { m: 8, n: 8, k: 4, factor: DType::F16, result: DType::F32 },
    ];
    GpuTarget { features, matrices, ..gpu }.into()
}

const PLAIN: &str = "kernel k(A: in f16[M,K], B: in f16[K,N], C: out f32[M,N]) {
  for (i, j) in tiles(M, N; bm, bn) {
    var acc: f32[i,j] = 0.5
    for k in tiles(K; bk) { acc += dot[k](A[i,k], B[k,j]) }
    C[i,j] = acc
  }
}";

/// Both factors lie across, and something is done with the result.
const ACROSS: &str = "kernel k(A: in f16[K,M], B: in f16[N,K], b: in f32[N], C: out f16[N,M]) {
  for (i, j) in tiles(M, N; bm, bn) with k in K {
    let y = dot[k](A[k,i], B[j,k])
    C[j,i] = f16(max(y + b[j], 0.0))
  }
}";

const BATCH: &str = "kernel k(A: in i8[H,M,K], B: in i8[H,K,N], C: out i32[H,M,N]) {
  for (h, i, j) in tiles(H, M, N; bh, bm, bn) {
    var acc: i32[h,i,j] = 0
    for k in tiles(K; bk) { acc += sum[k](i32(A[h,i,k]) * i32(B[h,k,j])) }
    C[h,i,j] = acc
  }
}";

/// Rows of the result are a whole axis; factors are computed, and summed over another axis as well.
const WINDOW: &str = "kernel k(X: in f16[C,N] edge const(0.0), W: in f16[M,C,3], Y: out f32[M,N]) {
  for j in tiles(N; bn) with i in M, c in C, d in 3 {
    Y[i,j] = dot[c,d](W[i,c,d], X[c,j+d-1] * f16(2.0))
  }
}";

/// A product in each step of a recurrence.
const STEPS: &str = "kernel k(A: in f16[T,M,K], B: in f16[K,N], C: out f32[M,N], D: out f32[T,M,N]) {
  for (i, j) in tiles(M, N; bm, bn) with k in K {
    seq t in 0..T carry(s: f32[i,j] = 0.0) {
      let y = dot[k](A[t,i,k], B[k,j])
      D[t,i,j] = y
      next s = s * 0.5 + y
    }
    C[i,j] = s
  }
}";

#[test]
fn matrix_units_multiply_at_all_sizes() {
    // The device has unsigned sums of those.
    let bytes = BATCH.replace("in i8[", "in u8[");
    let cases = [
        (PLAIN, "mma(acc)"),
        (PLAIN, "grid(i, j) tile(i, 8) tile(j, 16) tile(k, 6) warps(2) mma(acc)"),
        (
            PLAIN,
            "grid(i, j) tile(i, 24, 8) tile(j, 24, 8) tile(k, 12, 4) order(i.0, j.0, i.1, j.1, k) warps(1) mma(acc) thread(j, 8) thread(i, 2)",
        ),
        (PLAIN, "grid(i) tile(i, 4) mma(acc) stage(A, at = k, in = shared) stage(B, at = k, in = shared)"),
        (PLAIN, "grid(i, j) split(k, 3) mma(acc)"),
        (PLAIN, "grid(i, j) mma(acc) unroll(i, 2) keep(acc, in = reg)"),
        (ACROSS, "grid(i, j) mma(y)"),
        (ACROSS, "grid(j) tile(j, 16) mma(y) warps(4) keep(y, in = shared)"),
        (BATCH, "grid(h, i, j) mma(acc)"),
        (BATCH, "mma(acc) tile(k, 8)"),
        (&bytes, "grid(h, i, j) mma(acc)"),
        (WINDOW, "grid(j) mma(Y)"),
        (STEPS, "grid(i, j) mma(y)"),
        (STEPS, "mma(y) tile(k, 4)"),
    ];
    let target = unit();
    for (text, verbs) in cases {
        let (file, id) = kernel(text);
        let choice = written(verbs, &target);
        let module = agrees(&target, (&file, id), &choice, &[9, 9, 9, 9, 40, 40]);
        let product = |s: &Stmt| matches!(s, Stmt::Matrix(MatrixOp::MultiplyAdd { .. }));
        let phases = module.nests.iter().flat_map(|n| &n.phases);
        assert!(count(phases, product) > 0, "{verbs}\n{}", module.nests[0]);
    }
}

/// On a GPU a row whose length is data is a subgroup's.
#[test]
fn rows_by_subgroups() {
    let (_, file) = samples().into_iter().find(|(_, f)| f.entry("spmv").is_some()).expect("a sample");
    let (id, target) = (file.entry("spmv").expect("found before"), unit());
    let choice = written("grid(r) ragged(e, via = warp)", &target);
    let module = agrees(&target, (&file, id), &choice, &[20; 6]);
    let four = |s: &Stmt| matches!(s, Stmt::Loop { kind: LoopKind::Threads { count: 4 }, .. });
    assert!(count(&module.nests[0].phases[..1], four) > 0, "{}", module.nests[0]);
}

#[test]
fn what_matrix_units_cannot_compute_is_refused() {
    let some = Allow { reassoc: true, ..Allow::default() };
    let twice = PLAIN.replace("C[i,j] = acc", "acc *= 2.0\n    C[i,j] = acc");
    let biased = PLAIN.replace("= 0.5", "= f32(i)");
    let early = PLAIN.replace("for k in", "C[i,j] = acc\n    for k in");
    let wide = PLAIN.replace("in f16[", "in f32[");
    let lower = PLAIN.replace("tiles(K; bk)", "tiles(min(i, K); bk)");
    let cases = [
        (some, PLAIN, "mma(C)", Code::Illegal, "`C` is not a sum of products"),
        (some, &twice, "mma(acc)", Code::Illegal, "nothing but one sum may change it"),
        (some, &biased, "mma(acc)", Code::Illegal, "its first value must be a number"),
        (some, &early, "mma(acc)", Code::Illegal, "it is read before it is complete"),
        (some, &wide, "mma(acc)", Code::Unsupported, "no matrices of f32 and f32 in f32"),
        (some, &lower, "mma(acc)", Code::Illegal, "the bounds of `k` depend on another axis of it"),
        (Allow::default(), PLAIN, "mma(acc)", Code::Illegal, "change the order of a float sum"),
        (some, PLAIN, "mma(acc) tile(i, 18)", Code::Illegal, "tiles of `i` must be multiples of 4"),
        (some, PLAIN, "mma(acc) warps(3)", Code::Illegal, "3 subgroups cannot share out 4 x 4 matrices"),
        (some, PLAIN, "mma(acc) warps(64)", Code::Illegal, "64 subgroups are more than the 16"),
        (some, PLAIN, "mma(acc) tile(i, 64) tile(j, 128) warps(1)", Code::Illegal, "more than 64 matrices"),
        (some, PLAIN, "mma(acc) tile(i, 64) tile(j, 64) tile(k, 64)", Code::Space, "bytes of shared memory"),
        (some, PLAIN, "mma(acc) order(k.0, i, j)", Code::Illegal, "cannot stay in matrices"),
        (some, WINDOW, "mma(Y) unroll(d)", Code::Illegal, "several points of `d` would run at once"),
    ];
    let target = unit();
    for (allow, text, verbs, code, why) in cases {
        let (file, id) = kernel(text);
        let Choice::Planned { plan, assignment, .. } = written(verbs, &target) else { panic!("a plan") };
        let choice = Choice::Planned { plan, assignment, allow };
        let refused = super::lower(&file, id, &choice, &target).expect_err(why);
        assert!(refused[0].message.contains(why), "{verbs}: {refused:?}");
        assert_eq!(refused[0].code, code, "{verbs}: {refused:?}");
    }
}

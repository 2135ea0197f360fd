//! Ragged ends under masks, and what runs in smaller blocks instead.

use rooftile_artifact::target::CpuFeatures;

use super::*;
use crate::nest::ir::LoopKind;

/// A processor whose vectors have masks.
fn masking() -> Target {
    let features =
        CpuFeatures { avx: true, avx2: true, fma: true, f16c: true, avx512: true, ..CpuFeatures::default() };
    CpuTarget { features, vector_bytes: 64, ..CpuTarget::default() }.into()
}

/// Conditions in loops of lanes.
fn guards(module: &Module) -> usize {
    count(module.nests.iter().flat_map(|n| &n.phases), |s| {
        let Stmt::Loop { kind: LoopKind::Lanes, body, .. } = s else { return false };
        matches!(&body[..], [Stmt::If { .. }])
    })
}

const STENCIL: &str = "kernel smooth(u: in f32[H,W] edge clamp, v: out f32[H,W]) {
  for (y, x) in tiles(H, W; by, bx) {
    v[y,x] = select(x > 0 && x < W - 1, u[y,x-1] + u[y,x+1], u[y,x])
  }
}";

const SUMS: &str = "kernel sums(x: in u8[M,N], y: out i32[M]) {
  for i in tiles(M; bi) {
    y[i] = sum[j in N](i32(x[i,j]))
  }
}";

const PRODUCT: &str = "kernel product(a: in f32[M,K], b: in f32[K,N], c: out f32[M,N]) {
  for (i, j) in tiles(M, N; bi, bj) {
    c[i,j] = sum[k in K](a[i,k] * b[k,j])
  }
}";

const FAR: &str = "kernel far(w: in f32[K,C], x: in f32[C,N], y: out f32[K,N]) {
  for (k, n) in tiles(K, N; bk, bn) {
    y[k,n] = sum[c in C](w[k,c] * x[c,n])
  }
}";

const COLUMNS: &str = "kernel columns(x: in f64[M,N], y: out f64[N], z: out f32[N]) {
  for j in tiles(N; bj) {
    y[j] = max[i in M](x[i,j])
    z[j] = f32(x[0,j]) + 1.0
  }
}";

#[test]
fn ragged_ends_run_under_masks() {
    let target = masking();
    for (text, verbs, least) in [
        (STENCIL, "vector(x, 16)", 2),
        (STENCIL, "vector(x, 64) unroll(y, 2)", 2),
        (SUMS, "vector(j, 64)", 1),
        (PRODUCT, "vector(j, 16) unroll(i, 4)", 2),
        (PRODUCT, "vector(j, 32) unroll(i, 2) tile(k, 4) stage(b, at = k.0, layout = panel(32))", 2),
        (COLUMNS, "vector(j, 16)", 1),
        // Results are far apart, which counts for little after a sum.
        (
            FAR,
            "tile(k, 64) tile(n, 8) order(k.0, n.0, k.1, n.1) vector(k, 32) unroll(n, 2) stage(w, at = k.0, layout = panel(32))",
            4,
        ),
    ] {
        let (file, id) = kernel(text);
        let module = agrees(&target, (&file, id), &written(verbs, &target), &[5, 19, 40]);
        let text = module.nests[0].to_string();
        assert!(guards(&module) >= least, "{verbs}\n{text}");
        let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[5, 19]);
        assert_eq!(guards(&module), 0, "{verbs}\n{}", module.nests[0]);
    }
}

/// The ends of rows are points of which more is known than of others.
#[test]
fn comparisons_are_decided_beyond_the_interior() {
    let target = masking();
    let (file, id) = kernel(STENCIL);
    let module = agrees(&target, (&file, id), &written("vector(x, 16)", &target), &[1, 2, 3, 5, 19, 40]);
    let text = module.nests[0].to_string();
    let stored = text.lines().filter(|l| l.trim_start().starts_with("v["));
    assert_eq!(stored.filter(|l| l.contains("select")).count(), 0, "{text}");
}

const GATHERED: &str = "kernel gathered(x: in f32[N], at: in i32[N] range 0..N, y: out f32[N]) {
  for j in tiles(N; bj) {
    y[j] = x[at[j]]
  }
}";

const DIVIDED: &str = "kernel divided(x: in i32[N], d: in i32[N] range 1..9, y: out i32[N]) {
  for j in tiles(N; bj) {
    y[j] = x[j] / d[j]
  }
}";

const COUNTED: &str = "kernel counted(c: in f32[N], n: out i32[N], T: i32) {
  for j in tiles(N; bj) {
    seq t in 0..T carry (z: f32[j] = 0.0, k: i32[j] = 0) {
      let on = z * z <= 4.0
      next z = select(on, z * z + c[j], z),
          k = select(on, k + 1, k)
    }
    n[j] = k
  }
}";

#[test]
fn what_cannot_be_masked_runs_in_smaller_blocks() {
    let target = masking();
    for text in [GATHERED, DIVIDED, COUNTED] {
        let (file, id) = kernel(text);
        let module = agrees(&target, (&file, id), &written("vector(j, 16)", &target), &[5, 19, 40]);
        assert_eq!(guards(&module), 0, "{}", module.nests[0]);
    }
}

//! Lanes and points that are written out by default.

use super::*;
use crate::nest::ir::LoopKind;

/// The default's verbs for a kernel of an example, with vectors of so many bytes.
fn verbs(example: &str, kernel: &str, vector_bytes: usize, allow: Allow) -> Vec<String> {
    let (_, file) = samples().into_iter().find(|(n, _)| n == example).expect("an example");
    let id = file.entry(kernel).expect("a kernel");
    let target: Target = CpuTarget { vector_bytes, ..CpuTarget::default() }.into();
    let plan = default_plan(&file, id, allow, &target).expect("a plan");
    plan.verbs.iter().map(print::verb_text).collect()
}

/// A pass waits for the one before: two rows run side by side.
#[test]
fn steps_that_wait_for_each_other_run_for_two_points() {
    for (bytes, rows) in [(64, true), (32, true), (16, false)] {
        let verbs = verbs("mandelbrot.tile", "mandelbrot", bytes, Allow::default());
        assert_eq!(verbs.iter().any(|v| v == "unroll(y, 2)"), rows, "{bytes}: {verbs:?}");
    }
}

/// Records of the other body are the same in all lanes, whether or not sums may be taken apart.
#[test]
fn sums_over_pairs_have_lanes_along_their_results() {
    for reassoc in [true, false] {
        let allow = Allow { reassoc, ..Allow::default() };
        let verbs = verbs("nbody.tile", "nbody_step", 32, allow);
        assert!(verbs.iter().any(|v| v.starts_with("vector(i,")), "{reassoc}: {verbs:?}");
        assert!(!verbs.iter().any(|v| v.starts_with("vector(j")), "{reassoc}: {verbs:?}");
    }
}

/// What lies side by side along the sum stays there where it may be taken apart, and so does what depends on both axes.
#[test]
fn other_sums_keep_their_lanes() {
    let text = |term: &str| {
        format!(
            "kernel k(A: in f32[M,N], x: in f32[N], z: in f32[M], y: out f32[M]) {{
  for i in tiles(M; bi) {{
    var s: f32[i] = 0.0
    for j in tiles(N; bj) {{ s += sum[j]({term}) }}
    y[i] = s
  }}
}}"
        )
    };
    let target: Target = CpuTarget { vector_bytes: 32, ..CpuTarget::default() }.into();
    let along = |term: &str, reassoc: bool, axis: &str| {
        let (file, id) = kernel(&text(term));
        let allow = Allow { reassoc, ..Allow::default() };
        let plan = default_plan(&file, id, allow, &target).expect("a plan");
        let verbs: Vec<String> = plan.verbs.iter().map(print::verb_text).collect();
        let found = verbs.iter().find(|v| v.starts_with("vector("));
        assert!(found.is_some_and(|v| v.starts_with(&format!("vector({axis},"))), "{term}: {verbs:?}");
        agrees(&target, (&file, id), &Choice::Default { allow }, &[3, 9, 40]);
    };
    along("exp(x[j] - z[i])", true, "j");
    along("exp(x[j] - z[i])", false, "i");
    along("exp(A[i,j] - x[j])", true, "j");
}

/// Neighbours of which several share a byte are lanes of as many vectors, where they are only summed and what else is read of
/// them can be taken apart as well.
#[test]
fn elements_that_share_bytes_are_dealt_to_vectors() {
    let text = |dtype: &str, of_x: &str, more: &str| {
        let z = if more.is_empty() { "" } else { ", z: out f32[M,N]" };
        format!(
            "kernel k(W: in {dtype}[M,N] packed(1), S: in f32[M,N/G], x: in {of_x}[N], y: out f32[M]{z}) where N % G == 0 {{
  for i in tiles(M; bi) {{
    var s: f32[i] = 0.0
    for j in tiles(N; bj) {{
      let w = (f32(W[i,j]) - 1.0) * S[i,j/G]
      s += dot[j](w, f32(x[j]))
      {more}
    }}
    y[i] = s
  }}
}}"
        )
    };
    let dealt = |text: &str, lanes: i64, reassoc: bool| {
        let (file, id) = kernel(text);
        let target = cpu();
        let mut choice = written(&format!("vector(j, {lanes})"), &target);
        if let Choice::Planned { allow, .. } = &mut choice {
            allow.reassoc = reassoc;
        }
        let module = agrees(&target, (&file, id), &choice, &[9, 30, 40]);
        let mut found = false;
        for_each_stmt(&module.nests[0].phases[0].body, &mut |s| {
            let Stmt::Loop { kind: LoopKind::Unrolled, body, .. } = s else { return };
            let inside = |s: &Stmt| matches!(s, Stmt::Loop { kind: LoopKind::Lanes, .. });
            found |= body.iter().any(inside);
        });
        found
    };
    assert!(dealt(&text("u4", "f32", ""), 8, true));
    assert!(dealt(&text("i4", "f32", ""), 8, true));
    // In order; too few for whole vectors; of bytes; stored.
    assert!(!dealt(&text("u4", "f32", ""), 8, false));
    assert!(!dealt(&text("u4", "f32", ""), 4, true));
    assert!(!dealt(&text("u4", "u8", ""), 8, true));
    assert!(!dealt(&text("u4", "f32", "z[i,j] = w"), 8, true));
}

/// What is one of many products has its sums in registers to their end.
#[test]
fn results_of_many_products_are_written_once() {
    let many = "kernel k(A: in f32[Q,M,K], B: in f32[Q,K,N], C: out f32[Q,M,N]) {
  for (q, i, j) in tiles(Q, M, N; bq, bm, bn) {
    var s: f32[q,i,j] = 0.0
    for k in tiles(K; bk) { s += dot[k](A[q,i,k], B[q,k,j]) }
    C[q,i,j] = s
  }
}";
    let one = many.replace("B: in f32[Q,K,N]", "B: in f32[K,N]").replace("B[q,k,j]", "B[k,j]");
    let allow = Allow { reassoc: true, contract: true, ..Allow::default() };
    let mut target = CpuTarget { vector_bytes: 64, ..CpuTarget::default() };
    target.features.fma = true;
    let target: Target = target.into();
    for (text, whole) in [(many, true), (&one, false)] {
        let (file, id) = kernel(text);
        let plan = default_plan(&file, id, allow, &target).expect("a plan");
        let verbs: Vec<String> = plan.verbs.iter().map(print::verb_text).collect();
        let cut = verbs.iter().any(|v| v.starts_with("tile(k,") && v != "tile(k, 1)");
        assert_eq!(cut, !whole, "{verbs:?}");
        assert_eq!(verbs.iter().any(|v| v == "unroll(i, 8)"), whole, "{verbs:?}");
        agrees(&target, (&file, id), &Choice::Default { allow }, &[3, 9, 40]);
    }
}

//! Blocks of an axis that the bounds of another one follow.

use super::*;

/// A kernel of triangles whose rows are as wide as `bounds` says.
fn triangle(bounds: &str, body: &str) -> (File, FuncId) {
    kernel(&format!(
        "kernel triangle(A: in f32[M,M], x: in f32[M], y: out f32[M], C: inout f32[M,M]) {{
          for i in tiles(M; 1) with j in {bounds} {{ {body} }}
        }}"
    ))
}

const SUMS: &str = "y[i] = sum[j](A[i,j] * x[j]) + max[j](A[j,i])";
const STORES: &str = "y[i] = x[i]  C[i,j] = A[i,j] * x[i]";
const BOTH: &str = "let s = A[i,j] + x[j]  y[i] = sum[j](s)  C[i,j] = s * s";

#[test]
fn blocks_of_rows_of_different_lengths() {
    let verbs = [
        "unroll(i, 4)",
        "unroll(i, 3) vector(j, 8)",
        "unroll(i, 4) tile(j, 8) vector(j, 4)",
        "unroll(i, 4) tile(j, 6) vector(j, 4)",
        "tile(i, 8) unroll(i, 4) unroll(j, 2)",
        "vector(i, 4)",
        "vector(i, 4) unroll(j, 2)",
        "parallel(i) tile(i, 6) unroll(i, 3) vector(j, 4)",
    ];
    let bounds = ["0..i+1", "i..M", "0..M-i", "M-1-i..M", "0..(i+1)/2", "0..min(2*i, M)", "max(i-3, 0)..M"];
    for bounds in bounds {
        for body in [SUMS, STORES, BOTH] {
            let (file, id) = triangle(bounds, body);
            for verbs in verbs {
                agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[1, 5, 9, 13, 30, 41]);
            }
        }
    }
}

/// Nothing is read outside of a tensor, divided by zero, or written twice.
#[test]
fn what_may_not_run_beyond_a_row_is_refused() {
    let refused = [
        // Bounds on both sides.
        ("max(i-3, 0)..i+1", SUMS),
        // Elements that only points of the row have.
        ("0..i+1", "y[i] = sum[j](x[i-j])"),
        ("0..i", "y[i] = f32(sum[j](i / (i - j)))"),
    ];
    for (bounds, body) in refused {
        let (file, id) = triangle(bounds, body);
        let found = lower(&file, id, &written("unroll(i, 4)", &cpu()), &cpu());
        let said = found.err().map(|d| d.iter().map(|d| d.message.clone()).collect::<String>());
        assert!(said.as_ref().is_some_and(|s| s.contains("would run at once")), "{bounds} {body}: {said:?}");
        agrees(&cpu(), (&file, id), &written("vector(j, 4)", &cpu()), &[9, 13]);
    }
}

const CAUSAL: &str =
    "kernel causal(Q: in f32[B,S,D], K: in f32[B,S,D], V: in f32[B,S,D], O: out f32[B,S,D]) {
  for (b, i) in tiles(B, S; 1, bi) with d in D, e in D {
    fold j in tiles(0..i+1; bj) carry (m: f32[b,i] = -inf, l: f32[b,i] = 0.0, o: f32[b,i,e] = 0.0) {
      let s = dot[d](Q[b,i,d], K[b,j,d])
      let m2 = max(m, max[j](s))
      let p = exp(s - m2)
      let a = exp(m - m2)
      next m = m2, l = l * a + sum[j](p), o = o * a + dot[j](p, V[b,j,e])
    }
    O[b,i,e] = o / l
  }
}";

#[test]
fn rows_of_a_fold_end_in_different_tiles() {
    let (file, id) = kernel(CAUSAL);
    for verbs in [
        "tile(i, 1) unroll(i, 4) tile(j, 8) vector(j, 4) vector(e, 4)",
        "tile(i, 1) unroll(i, 4) tile(j, 2)",
        "tile(i, 1) unroll(i, 3) tile(j, 8) vector(j, 8) vector(e, 8) stage(K, at = b, layout = panel(8)) order(b, i, j.0, e, j.1, d)",
        "tile(i, 6) unroll(i, 3) tile(j, 8) vector(j, 4) vector(e, 8) stage(K, at = i.0, layout = panel(4)) order(b, i.0, i.1, j.0, e, j.1, d)",
        "parallel(b, i) tile(i, 6) unroll(i, 3) tile(j, 6) vector(j, 4) stage(V, at = i.0) order(b, i.0, i.1, j.0, j.1, e, d)",
    ] {
        agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[1, 5, 9, 13, 21, 35]);
    }
}

/// A copy that all rows use is made once, ahead of the fold.
#[test]
fn copies_for_a_fold_are_made_before_it() {
    let (file, id) = kernel(CAUSAL);
    let verbs = "tile(i, 1) vector(j, 4) stage(K, at = b) order(b, i, j.0, e, j.1, d)";
    let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[5, 13]);
    let text = module.nests[0].to_string();
    let (copy, rows) = (text.find(" = K[b"), text.find("for i"));
    assert!(copy.is_some() && rows.is_some() && copy < rows, "{text}");
}

/// Attention is two products, each of which has vectors of its own.
#[test]
fn attention_has_rows_of_vectors_by_default() {
    let (file, id) = kernel(CAUSAL);
    let allow = Allow { reassoc: true, online: true, contract: true, ..Allow::default() };
    for threads in [1, 2] {
        let features = rooftile_artifact::target::CpuFeatures { fma: true, ..Default::default() };
        let wide = CpuTarget { vector_bytes: 64, features, ..CpuTarget::default() };
        let target = Target::from(wide).with_threads(threads);
        let plan = default_plan(&file, id, allow, &target).expect("a plan");
        let rows = Verb::Unroll { axis: "i".to_owned(), count: Some(Amount::Int(8)) };
        let lanes = |a: &str| Verb::Vector { axis: a.to_owned(), lanes: Amount::Int(32) };
        let copied = |v: &Verb| matches!(v, Verb::Stage { tensor, .. } if tensor == "K");
        for verb in [rows, lanes("j"), lanes("e")] {
            assert!(plan.verbs.contains(&verb), "{plan:?}");
        }
        assert!(plan.verbs.iter().any(copied), "{plan:?}");
        let choice = Choice::Default { allow };
        agrees(&target, (&file, id), &choice, &[1, 5, 9, 40]);
    }
}

/// A copy inside the loop over single points of an axis that has lanes elsewhere would write beyond itself.
#[test]
fn nothing_is_copied_inside_single_points() {
    let (file, id) = kernel(
        "kernel product(A: in f32[M,K], B: in f32[K,N], C: out f32[M,N]) {
          for (i, j) in tiles(M, N; bi, bj) {
            var acc: f32[i,j] = 0.0
            for k in tiles(K; 4) { acc += dot[k](A[i,k], B[k,j]) }
            C[i,j] = acc
          }
        }",
    );
    let verbs = "tile(k, 32, 4) split(k, 3, merge = two_pass) order(k.0, k.1, k.2) stage(A, at = j, in = local) vector(j, 4) vector(k, 8)";
    let choice = written(verbs, &cpu());
    // Where it is not refused, it has to be right.
    if let Err(errors) = lower(&file, id, &choice, &cpu()) {
        assert!(format!("{errors:?}").contains("single points"), "{errors:?}");
        return;
    }
    agrees(&cpu(), (&file, id), &choice, &[9, 33, 40]);
}

//! Lanes and points that are written out by default.

use super::*;

/// The default's verbs for a kernel of an example, with vectors of so many bytes.
fn verbs(example: &str, kernel: &str, vector_bytes: usize, allow: Allow) -> Vec<String> {
    let (_, file) = samples().into_iter().find(|(n, _)| n == example).expect("an example");
    let id = file.entry(kernel).expect("a kernel");
    let target: Target = CpuTarget { vector_bytes, ..CpuTarget::default() }.into();
    let plan = default_plan(&file, id, allow, &target).expect("a plan");
    plan.verbs.iter().map(parse::verb_text).collect()
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
        let verbs: Vec<String> = plan.verbs.iter().map(parse::verb_text).collect();
        let found = verbs.iter().find(|v| v.starts_with("vector("));
        assert!(found.is_some_and(|v| v.starts_with(&format!("vector({axis},"))), "{term}: {verbs:?}");
        agrees(&target, (&file, id), &Choice::Default { allow }, &[3, 9, 40]);
    };
    along("exp(x[j] - z[i])", true, "j");
    along("exp(x[j] - z[i])", false, "i");
    along("exp(A[i,j] - x[j])", true, "j");
}

//! Sums over an axis with threads next to another one with threads.

use super::*;

const ROWS: &str = "kernel rows(x: in i32[M,N], y: out i32[M]) {
  for i in tiles(M; bi) {
    y[i] = sum[j in N](x[i,j])
  }
}";

/// A GPU whose threads see each other's registers.
fn exchanging(subgroup: u32) -> Target {
    let gpu = GpuTarget { subgroup, ..GpuTarget::default() };
    let features = rooftile_artifact::target::GpuFeatures { whole_subgroups: true, ..gpu.features };
    GpuTarget { features, ..gpu }.into()
}

#[test]
fn threads_of_two_axes_add_pairwise() {
    for subgroup in [4, 32] {
        let target = exchanging(subgroup);
        for verbs in [
            "thread(i, 3) thread(j, 16)",
            "grid(i) thread(i, 4) thread(j, 8)",
            "grid(i) thread(i, 2) unroll(i, 2) thread(j, 4) unroll(j, 2)",
        ] {
            let (file, id) = kernel(ROWS);
            let choice = written(verbs, &target);
            let module = agrees(&target, (&file, id), &choice, &[9, 9, 9]);
            let text = module.nests[0].to_string();
            assert!(text.contains(" ^ 1"), "{verbs}\n{text}");
        }
    }
}

const FORCES: &str = "kernel forces(x: in i32[M,3], y: out i32[M,3]) {
  for i in tiles(M; bi) with c in 3 {
    var a: i32[i,c] = 0
    for j in tiles(M; bj) {
      let d = x[j,c] - x[i,c]
      let r = sum[c](d * d)
      a += sum[j](r * d)
    }
    y[i,c] = a
  }
}";

/// One statement sums, in order, over an axis that others have threads along: threads on both sides of it do not nest.
#[test]
fn threads_with_a_loop_in_order_between_them_are_refused() {
    let target = GpuTarget::default().into();
    let (file, id) = kernel(FORCES);
    for verbs in ["thread(i, 3) thread(c, 4)", "thread(c, 4) thread(i, 3)", "thread(i, 3) thread(j, 4)"] {
        agrees(&target, (&file, id), &written(verbs, &target), &[9, 9, 9]);
    }
    let choice = written("thread(i, 3) thread(c, 4) thread(j, 4)", &target);
    let found = lower(&file, id, &choice, &target);
    let said = found.err().map(|d| d.iter().map(|d| d.message.clone()).collect::<String>());
    assert!(said.as_ref().is_some_and(|s| s.contains("in order between them")), "{said:?}");
}

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

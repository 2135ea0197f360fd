//! Functions whose values are read from tables.

use super::*;

/// Calls in a sequence, of what a `let` gives, twice; of a reduced axis; under a condition, of data, and of nothing.
const WAVES: &str = "kernel waves(x: in f32[M,N], y: out f32[M,N], z: out c64[M,N]) {
  for (i, j) in tiles(M, N; bi, bj) {
    seq s in 0..5 carry (a: f32[i,j] = x[i,j]) {
      let k = s * j + 1
      let c = cos(f32(k) / 8.0)
      next a[i,j] = a[i,j] * c + cos(f32(k) / 8.0) + cos(a[i,j]) + cos(0.5)
    }
    let t = sum[n in M](x[n,j] * cos(f32(n)))
    y[i,j] = a + t + select(j < 3, cos(f32(j)), 0.25)
    z[i,j] = cis(f32(j + M)) * complex(x[i,j], 1.0)
  }
}";

#[test]
fn tables_stand_for_calls_of_what_the_host_counts() {
    let cases = [
        ("table(cos)", 2, 0),
        ("table(cis)", 0, 2),
        ("table(cos) table(cis) vector(i, 4) unroll(j, 2)", 2, 2),
        ("table(cos) table(cis) parallel(i) vector(j, 8)", 2, 2),
        ("table(cis) tile(j, 4) order(j, i) keep(c, in = local) table(cos)", 2, 2),
        ("table(exp)", 0, 0),
    ];
    for (verbs, cosines, circles) in cases {
        let (file, id) = kernel(WAVES);
        let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[9, 9, 9, 20]);
        let tables = |name: &str| {
            let of = |(_, b): &(_, &crate::nest::ir::Buffer)| b.name.starts_with(name);
            module.nests[0].buffers.iter().filter(of).count()
        };
        assert_eq!(
            (tables("cos.table"), tables("cis.table")),
            (cosines, circles),
            "{verbs}\n{}",
            module.nests[0]
        );
    }
    // A GPU does without.
    let (file, id) = kernel(WAVES);
    agrees(&gpu(), (&file, id), &written("table(cos) grid(i)", &gpu()), &[9]);
    let names = anchors::anchors(&file, id);
    assert_eq!(names.functions, ["cis", "cos"]);
    assert!(names.on(&gpu()).functions.is_empty());
}

/// Lines of a transform lie side by side, and what is the same for all of them is made once.
#[test]
fn steps_without_lanes_get_those_of_a_line() {
    let (_, file) = samples().into_iter().find(|(n, _)| n == "fft3d.tile").expect("an example");
    let id = file.entry("fft_line").expect("a kernel");
    let target: Target = CpuTarget { vector_bytes: 32, ..CpuTarget::default() }.into();
    let plan = default_plan(&file, id, Allow::default(), &target).expect("a plan");
    let verbs: Vec<String> = plan.verbs.iter().map(print::verb_text).collect();
    for verb in ["vector(t, 8)", "unroll(p, 4)", "table(bitrev)", "table(cis)"] {
        assert!(verbs.iter().any(|v| v == verb), "{verb}: {verbs:?}");
    }
}

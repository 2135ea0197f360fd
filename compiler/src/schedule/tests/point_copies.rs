//! Copies of a table for each of the points that update it.

use super::*;

/// Sums, differences and maxima, of one and of two dimensions, by several types.
const TALLY: &str = "kernel tally(x: in u8[N], w: in i32[N], s: inout i32[40], d: inout i64[5,8], hi: inout i32[40], f: inout f32[40]) {
  for i in tiles(N; bi) { s[i32(x[i]) % 40] += w[i] }
  for j in tiles(N; bj) { d[i32(x[j]) % 5, i32(x[j]) % 8] -= i64(w[j]) }
  for k in tiles(N; bk) { hi[i32(x[k]) % 40] max= w[k] }
  for m in tiles(N; bm) { f[i32(x[m]) % 40] += f32(w[m]) }
}";

fn copies(module: &Module) -> Vec<&str> {
    let named = |b: &crate::nest::ir::Buffer| b.name.ends_with(".points");
    module.nests[0].buffers.iter().filter(|(_, b)| named(b)).map(|(_, b)| b.name.as_str()).collect()
}

#[test]
fn written_out_points_have_copies_of_their_own() {
    let (file, id) = kernel(TALLY);
    let target: Target = CpuTarget { vector_bytes: 32, threads: 2, ..CpuTarget::default() }.into();
    let private = "scatter(s, via = privatize) scatter(d, via = privatize) scatter(hi, via = privatize) \
        scatter(f, via = privatize)";
    for (rest, expected) in [
        ("unroll(i, 4) unroll(j, 3) unroll(k, 8) unroll(m, 2)", 4),
        ("tile(i, 16) unroll(i, 8) vector(k, 4)", 1),
        ("parallel(i, j)", 0),
        // Too many bytes for the first-level cache.
        ("unroll(j, 64)", 0),
    ] {
        let choice = written(&format!("{private} {rest}"), &target);
        let module = agrees(&target, (&file, id), &choice, &[1, 7, 40, 300]);
        assert_eq!(copies(&module).len(), expected, "{rest}: {:?}", copies(&module));
    }
    // Sums of floats keep their order.
    let Choice::Planned { plan, assignment, .. } = written("unroll(m, 4)", &target) else { panic!("a plan") };
    let choice = Choice::Planned { plan, assignment, allow: Allow::default() };
    let module = agrees(&target, (&file, id), &choice, &[40, 300]);
    assert!(copies(&module).is_empty());
}

/// By default, on one core as well, but only where that core has a table that is small.
#[test]
fn small_tables_have_copies_by_default() {
    for (rows, threads, expected) in [(256, 1, true), (256, 2, true), (4096, 1, false)] {
        let text = format!(
            "kernel tally(x: in u8[N], h: inout i32[{rows}]) {{ for i in tiles(N; bi) {{ h[i32(x[i])] += 1 }} }}"
        );
        let (file, id) = kernel(&text);
        let target: Target = CpuTarget { vector_bytes: 64, threads, ..CpuTarget::default() }.into();
        let plan = default_plan(&file, id, Allow::default(), &target).expect("a plan");
        let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow: Allow::default() };
        let module = agrees(&target, (&file, id), &choice, &[3, 100]);
        assert_eq!(!copies(&module).is_empty(), expected, "{rows} {threads}");
    }
}

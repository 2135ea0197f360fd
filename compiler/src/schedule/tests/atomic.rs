//! Atomic updates: what they share out, and what is refused.

use super::*;

/// Sums, minima and maxima of integers; what is summed is small enough for every type.
const TALLY: &str =
    "kernel tally(x: in u8[N], w: in i32[N], s: inout i32[256], hi: inout i64[256], lo: inout u32[256]) {
  for i in tiles(N; bi) {
    s[i32(x[i])] -= w[i]
    hi[i32(x[i])] max= i64(w[i])
    lo[i32(x[i])] min= u32(x[i])
  }
}";

/// What is updated is read before and after, updated by a plain axis, and as a maximum.
const READ: &str = "kernel read(x: in u8[N], h: inout i32[256], y: out i32[N]) {
  for a in tiles(N; ba) { y[a] = h[i32(x[a])] }
  for i in tiles(N; bi) { h[i32(x[i])] += 1 }
  for b in tiles(256; bb) { h[b] += i32(b) }
  for k in tiles(N; bk) { h[i32(x[k])] max= 3 }
  for c in tiles(N; bc) { y[c] += h[i32(x[c])] }
}";

const ROWS: &str = "kernel rows(x: in i32[M,N], y: out i32[M], z: out i64) {
  for i in tiles(M; bi) {
    y[i] = sum[j in N](x[i,j])
  }
  z = max[i in M](max[j in N](i64(x[i,j])))
}";

/// A GPU with atomics of 64 bits.
fn wide() -> Target {
    let gpu = GpuTarget { units: 2, ..GpuTarget::default() };
    let features = rooftile_artifact::target::GpuFeatures { atomics64: true, ..gpu.features };
    GpuTarget { features, ..gpu }.into()
}

#[test]
fn atomic_updates_are_shared_out_and_right() {
    let scatters = "scatter(s, via = atomic) scatter(hi, via = atomic) scatter(lo, via = atomic)";
    let cases = [
        (cpu(), TALLY, format!("tile(i, 4) parallel(i) {scatters}"), 3),
        (cpu(), TALLY, format!("parallel(i) unroll(i, 3) {scatters}"), 6),
        (wide(), TALLY, format!("grid(i) thread(i, 8) {scatters}"), 3),
        (wide(), TALLY, format!("grid(i) {scatters}"), 3),
        (cpu(), READ, "tile(i, 4) parallel(a, i, b, k, c) scatter(h, via = atomic)".to_owned(), 3),
        (wide(), READ, "grid(a, i, b, k, c) thread(i, 4) scatter(h, via = atomic)".to_owned(), 3),
        (cpu(), ROWS, "split(j, 3, merge = atomic)".to_owned(), 2),
        (cpu(), ROWS, "parallel(i) vector(i, 4) split(j, 3, merge = atomic)".to_owned(), 2),
        (wide(), ROWS, "thread(i, 4) split(j, 3, merge = atomic)".to_owned(), 2),
    ];
    for (target, text, verbs, atomics) in cases {
        let (file, id) = kernel(text);
        let choice = written(&verbs, &target);
        let module = agrees(&target, (&file, id), &choice, &[9, 9, 9, 40]);
        // In the phases whose chunks are shared out.
        let shared = module.nests.iter().flat_map(|n| &n.phases).filter(|p| !p.cores.is_empty());
        let found = count(shared, |s| matches!(s, Stmt::Atomic { .. }));
        assert!(found >= atomics, "{verbs}: {found}\n{}", module.nests[0]);
    }
}

#[test]
fn what_has_no_atomic_update_is_refused() {
    let scatter = |dtype: &str, op: &str, one: &str| {
        format!(
            "kernel k(x: in u8[N], h: inout {dtype}[256]) {{ for i in tiles(N; bi) {{ h[i32(x[i])] {op} {one} }} }}"
        )
    };
    let via = "parallel(i) scatter(h, via = atomic)";
    let sum = |dtype: &str| format!("kernel k(x: in {dtype}[N], y: out {dtype}) {{ y = sum[j in N](x[j]) }}");
    let merge = "split(j, 4, merge = atomic)";
    let (some, all) = (
        Allow { reassoc: true, ..Allow::default() },
        Allow { reassoc: true, atomics: true, ..Allow::default() },
    );
    let cases = [
        (cpu(), some, scatter("f32", "+=", "1.0"), via, "another order from run to run"),
        (cpu(), all, scatter("f32", "+=", "1.0"), via, "no atomic updates of `f32`"),
        (cpu(), some, scatter("i16", "+=", "i16(1)"), via, "only of 32- and 64-bit integers"),
        (cpu(), some, scatter("u8", "+=", "u8(1)"), via, "only of 32- and 64-bit integers"),
        (cpu(), some, scatter("i32", "*=", "3"), via, "no products"),
        (gpu(), some, scatter("i64", "+=", "i64(1)"), via, "the device has no atomic updates of `i64`"),
        (cpu(), some, scatter("i32", "+=", "1"), "scatter(x, via = atomic)", "nothing scatters into `x`"),
        (cpu(), some, sum("f32"), merge, "another order from run to run"),
        (cpu(), all, sum("f64"), merge, "no atomic updates of `f64`"),
        (cpu(), Allow::default(), sum("f32"), merge, "changes the order of a float sum"),
        (gpu(), some, sum("i64"), merge, "the device has no atomic updates of `i64`"),
    ];
    for (target, allow, text, verbs, why) in cases {
        let (file, id) = kernel(&text);
        let Choice::Planned { plan, assignment, .. } = written(verbs, &target) else { panic!("a plan") };
        let choice = Choice::Planned { plan, assignment, allow };
        let refused = lower(&file, id, &choice, &target).expect_err(why);
        assert_eq!(refused[0].code, crate::diag::Code::Illegal, "{text}");
        assert!(refused[0].message.contains(why), "{text}: {refused:?}");
    }
}

/// Passes that meet in plain updates, or in a read of what is updated, are not shared out.
#[test]
fn plain_updates_and_reads_still_meet() {
    let (file, id) = kernel(READ);
    let lowered = |verbs: &str| lower(&file, id, &written(verbs, &cpu()), &cpu());
    let refused = lowered("parallel(i)").expect_err("passes meet");
    assert!(refused[0].message.contains("its passes meet in `h`"), "{refused:?}");
    // Every statement meets another one in `h`: each has a phase of its own.
    let module = lowered("parallel(a, i, b, k, c) scatter(h, via = atomic)").expect("legal");
    assert_eq!(module.nests[0].phases.len(), 5, "{}", module.nests[0]);
}

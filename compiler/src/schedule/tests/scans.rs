//! Scans by the threads of a group.

use rooftile_artifact::target::GpuFeatures;

use super::*;
use crate::nest::verify::threads::exchanges;

/// Rows that are scanned, and what is scanned used besides.
fn rows(t: &str, op: &str) -> String {
    format!(
        "kernel k(x: in {t}[R,N], y: out {t}[R,N], z: out {t}[R,N]) {{
  for r in tiles(R; br) with i in N {{
    let s = scan[i](x[r,i], {op})
    y[r,i] = s
    z[r,i] = s - x[r,i]
  }}
}}"
    )
}

fn flat(t: &str, op: &str) -> String {
    format!(
        "kernel k(x: in {t}[N], y: out {t}[N]) {{ for i in tiles(N; bi) {{ y[i] = scan[i](x[i], {op}) }} }}"
    )
}

/// A scan of a scan, twice over, and a sum along the axis before.
const DEEP: &str = "kernel k(x: in i64[N], y: inout i64[N], T: i32) {
  with i in N {
    seq t in 0..T {
      let m = max[i](y[i])
      let a = scan[i](min(x[i], m), add)
      y[i] = scan[i](a, max) - x[i]
    }
  }
}";

/// A scan of itself, again and again.
const AGAIN: &str = "kernel k(x: inout i32[N], T: i32) {
  with i in N { seq t in 0..T { x[i] = scan[i](x[i], add) } }
}";

/// A device with subgroups of so many threads that see each other's registers; none with one.
fn device(subgroup: u32) -> Target {
    let gpu = GpuTarget { units: 2, subgroup, ..GpuTarget::default() };
    let features = GpuFeatures { whole_subgroups: subgroup > 1, ..gpu.features };
    GpuTarget { features, ..gpu }.into()
}

/// Whether threads of a module exchange registers.
fn exchange(module: &Module) -> bool {
    module.nests.iter().any(|n| n.phases.iter().any(|p| exchanges(n, &p.body)))
}

fn scan_agrees(text: &str, verbs: &str, subgroup: u32, sizes: &[i64]) {
    let target = device(subgroup);
    let (file, id) = kernel(text);
    let choice = written(verbs, &target);
    let module = lower(&file, id, &choice, &target).unwrap_or_else(|e| panic!("{verbs}: {e:?}"));
    for &n in sizes {
        let all = match file.funcs[id].sizes.len() {
            1 => vec![n],
            _ => vec![3, n],
        };
        let inputs = cases::inputs_at(&file, id, &all, n.unsigned_abs()).expect("inputs");
        let verdict = judge_on(&target, &file, id, &choice, &inputs);
        assert_eq!(verdict, Ok(()), "{text} {verbs} {subgroup} {n}\n{}", module.nests[0]);
    }
}

const SIZES: &[i64] = &[1, 2, 7, 8, 13, 16, 17, 31, 48, 64, 65];

#[test]
fn every_operator_and_type() {
    for t in ["i8", "u16", "i32", "i64", "f32", "f64", "f16"] {
        for op in ["add", "mul", "max", "min"] {
            if t == "f16" && op == "mul" {
                // Products of halves leave their range.
                continue;
            }
            scan_agrees(&flat(t, op), "thread(i, 16)", 8, &[1, 2, 13, 32, 37]);
        }
    }
    for op in ["add", "mul"] {
        scan_agrees(&flat("c64", op), "thread(i, 8)", 4, &[1, 5, 8, 19]);
    }
}

#[test]
fn every_number_of_threads() {
    for subgroup in [1, 4, 8, 16, 32] {
        for n in [2, 3, 4, 6, 8, 12, 16, 32] {
            scan_agrees(&flat("i32", "add"), &format!("thread(i, {n})"), subgroup, SIZES);
        }
    }
    for subgroup in [1, 8] {
        for n in [24, 64, 67, 256] {
            scan_agrees(&flat("i64", "max"), &format!("thread(i, {n})"), subgroup, &[1, 63, 256, 300, 521]);
        }
    }
}

#[test]
fn loops_of_every_kind() {
    let sum = rows("i32", "add");
    for subgroup in [1, 4, 8] {
        for verbs in [
            "grid(r) thread(i, 8)",
            "grid(r) thread(i, 8) unroll(i, 3)",
            "grid(r) thread(i, 16) unroll(i, 2) tile(i, 64)",
            "grid(r) thread(i, 8) tile(i, 8)",
            "grid(r) thread(i, 4) unroll(i, 2) tile(i, 8)",
            "thread(r, 2) thread(i, 8)",
            "thread(r, 4) thread(i, 4) unroll(r, 2) unroll(i, 2)",
            "grid(r) tile(i, 24, 8) thread(i, 4)",
            "thread(i, 8) order(i, r)",
            "grid(r) thread(i, 8) recompute(s)",
            "grid(r) thread(i, 8) keep(s, in = shared) tile(i, 16)",
            "grid(r) thread(i, 8) keep(s, in = local)",
            "grid(r) tile(i, 32) thread(i, 8) stage(x, at = i.0, in = shared)",
            "grid(r) thread(i, 8) stage(x, at = r, in = local)",
        ] {
            scan_agrees(&sum, verbs, subgroup, SIZES);
        }
        for verbs in [
            "scan(y, via = two_pass, items = 1) thread(i, 8)",
            "scan(y, via = two_pass, items = 2) thread(i, 8) unroll(i, 2)",
            "grid(i) thread(i, 8)",
        ] {
            scan_agrees(&flat("i32", "add"), verbs, subgroup, SIZES);
            scan_agrees(&flat("f32", "add"), verbs, subgroup, SIZES);
        }
        for verbs in ["thread(i, 8)", "thread(i, 4) unroll(i, 2)", "tile(i, 16) thread(i, 8)"] {
            scan_agrees(DEEP, verbs, subgroup, &[1, 8, 23]);
        }
    }
}

/// Without leave to change the association float sums are scanned in order; maxima and integers are not.
#[test]
fn the_association_is_kept_where_it_must_be() {
    let target = device(8);
    for (t, op, reassoc, expected) in [
        ("f32", "add", false, false),
        ("f32", "add", true, true),
        ("f32", "max", false, true),
        ("i32", "mul", false, true),
    ] {
        let (file, id) = kernel(&flat(t, op));
        let Choice::Planned { plan, assignment, .. } = written("thread(i, 8)", &target) else { return };
        let choice = Choice::Planned { plan, assignment, allow: Allow { reassoc, ..Allow::default() } };
        let module = lower(&file, id, &choice, &target).expect("legal");
        assert_eq!(exchange(&module), expected, "{t} {op} {reassoc}");
        let inputs = cases::inputs_at(&file, id, &[29], 1).expect("inputs");
        assert_eq!(judge_on(&target, &file, id, &choice, &inputs), Ok(()));
    }
}

/// Threads of several axes: loops over threads nest without anything in between, in reductions by threads as well.
#[test]
fn exchanges_among_threads_of_several_axes() {
    let sums =
        "kernel k(x: in i32[R,N], y: out i32[R]) { for r in tiles(R; br) { y[r] = sum[i in N](x[r,i]) } }";
    for subgroup in [4, 16] {
        for verbs in ["thread(r, 2) thread(i, 8)", "thread(r, 4) thread(i, 4) unroll(i, 2)"] {
            scan_agrees(sums, verbs, subgroup, &[1, 8, 21]);
        }
    }
}

/// Both parts of a complex product are computed before either is written.
#[test]
fn products_of_complex_numbers() {
    let text = "kernel k(x: in c64[N], y: out c64) { y = prod[i in N](x[i]) }";
    for verbs in ["thread(i, 4)", "unroll(i, 2)", ""] {
        scan_agrees(text, verbs, 8, &[1, 4, 9]);
    }
}

/// A scan in a `seq` starts anew in each pass.
#[test]
fn scans_in_order() {
    for verbs in ["thread(i, 8)", "tile(i, 8)", ""] {
        scan_agrees(AGAIN, verbs, 8, &[1, 8, 23]);
    }
}

/// By default the threads of a subgroup scan a row, or a part of a whole tensor, where the task allows that.
#[test]
fn the_default_scans_by_subgroups() {
    for (text, reassoc, expected) in [
        (rows("f32", "add"), true, "tile(r, 1) grid(r) thread(i, 8) unroll(i, 4)"),
        (rows("f32", "add"), false, "tile(r, 1) grid(r)"),
        (rows("f32", "max"), false, "tile(r, 1) grid(r) thread(i, 8) unroll(i, 4)"),
        (
            flat("i32", "add"),
            false,
            "tile(i, 1) thread(i, 8) unroll(i, 4) scan(y, via = two_pass, items = 4)",
        ),
        (flat("f32", "add"), false, "tile(i, 1)"),
    ] {
        let (target, (file, id)) = (device(8), kernel(&text));
        let allow = Allow { reassoc, ..Allow::default() };
        let plan = default_plan(&file, id, allow, &target).expect("a default");
        let shown: Vec<String> = plan.verbs.iter().map(crate::schedule::print::verb_text).collect();
        assert_eq!(shown.join(" "), expected, "{text}");
        for n in [1, 5, 32, 70, 300] {
            let sizes = if file.funcs[id].sizes.len() == 1 { vec![n] } else { vec![3, n] };
            let inputs = cases::inputs_at(&file, id, &sizes, 7).expect("inputs");
            assert_eq!(
                judge_on(&target, &file, id, &Choice::Default { allow }, &inputs),
                Ok(()),
                "{text} {n}"
            );
        }
    }
}

/// A running sum that is a value, read at all points by another scan, is in no part.
#[test]
fn scans_whose_values_are_kept_stay_whole() {
    let (file, id) = kernel(
        "kernel drift(x: in f32[R,N], y: out f32[R,N], top: out f32[R,N]) {
          for r in tiles(R; 4) with i in N {
            let s = scan[i](x[r,i], add)
            y[r,i] = s - x[r,i]
            top[r,i] = scan[i](s, max)
          }
        }",
    );
    let refused = lower(&file, id, &written("scan(s, via = two_pass, items = 4)", &cpu()), &cpu());
    let said = format!("{:?}", refused.expect_err("it is kept"));
    assert!(said.contains("its values are kept"), "{said}");
    let whole = written("scan(top, via = two_pass, items = 4)", &cpu());
    if lower(&file, id, &whole, &cpu()).is_ok() {
        agrees(&cpu(), (&file, id), &whole, &[3, 9, 40]);
    }
}

//! The solver against brute force, and the texts of its diagnostics.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::expr::Env;
use super::solve::{Count, Space, SpaceError};
use super::{Tune, build, cpu_keys, for_target};
use crate::diag::{Code, Diagnostic};
use crate::hir::ir::File;
use crate::schedule::plan::Assignment;
use crate::syntax::parse;

fn tunes(body: &str) -> (Vec<Tune>, Vec<Diagnostic>) {
    let (file, errors) = parse(&format!("kernel k(A: inout f32[N]) {{ }}\n{body}"));
    assert!(errors.is_empty(), "{errors:?}");
    build(&file, &File::default())
}

fn tune(items: &str) -> Tune {
    let (tunes, errors) = tunes(&format!("tune k {{ {items} }}"));
    assert!(errors.is_empty(), "{errors:?}");
    for_target(&tunes, "k", "cpu")
}

fn env(names: &[(&str, i64)], hw: &[(&str, i64)]) -> Env {
    let map = |v: &[(&str, i64)]| v.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    Env { names: map(names), hw: map(hw) }
}

const MATMUL: &str = "bm in pow2(16..256) bn in pow2(16..256) bk in {16, 32, 64, 128} st in 1..5
    w in {1, 2, 4, 8} g in {1, 2, 4, 8, 16} sk in {1, 2, 4, 8}
    require (bm*bk + bk*bn) * 2 * st <= hw.shared
    require bm * bn <= w * hw.warp * 128
    require sk == 1 || K / sk >= 4 * bk";

#[test]
fn matmul_on_a_gpu_and_on_a_cpu() {
    let t = tune(MATMUL);
    let gpu = Space::new(&t, &[env(&[("K", 1024)], &[("shared", 49152), ("warp", 32)])]).expect("space");
    assert_eq!(gpu.total(), 32_000);
    let Count::Exact(n) = gpu.count() else { panic!("small enough") };
    assert!(n > 1000 && n < 32_000, "{n}");
    assert_eq!(gpu.enumerate().expect("small enough").count() as u64, n);
    let hw = cpu_keys(&rooftile_artifact::CpuTarget::default());
    let cpu = Space::new(&t, &[Env { names: BTreeMap::from([("K".into(), 1024)]), hw }]).expect("space");
    let dropped: Vec<&str> = cpu.dropped().iter().map(|d| d.key.as_str()).collect();
    assert_eq!(dropped, ["shared", "warp"]);
    // Only `sk` and `bk` are constrained; the whole product is too small to be sampled.
    assert!(matches!(cpu.count(), Count::Exact(n) if n % (5 * 5 * 4 * 4 * 5) == 0));
}

#[test]
fn an_empty_space_names_what_conflicts() {
    let t = tune(
        "bm in pow2(128..256) bn in pow2(128..256) w in {1} g in {1, 2, 4}
         require g <= 8
         require bm * bn <= w * hw.warp * 128",
    );
    let space = Space::new(&t, &[env(&[], &[("warp", 32)])]).expect("space");
    assert_eq!(space.count(), Count::Exact(0));
    let d = space.conflict().expect("empty").diagnostic();
    assert_eq!(d.code, Code::EmptySpace);
    assert_eq!(
        d.message,
        "`tune k` has 0 of 12 points: `bm*bn <= w*hw.warp*128` with bm >= 128, bn >= 128, w in {1}"
    );
    assert_eq!(d.notes, ["hw.warp = 32"]);
}

#[test]
fn a_conflict_of_several_constraints_is_minimal() {
    let t = tune(
        "a in 1..9 b in 1..9 c in 1..9
         require a + b == 7
         require c > 2
         require a % 2 == 0
         require b % 2 == 0",
    );
    let space = Space::new(&t, &[Env::default()]).expect("space");
    let conflict = space.conflict().expect("empty");
    let texts: Vec<&str> = conflict.requires.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(texts, ["a + b == 7", "a % 2 == 0", "b % 2 == 0"].map(|s| s.replace(" % ", "%")));
}

#[test]
fn sizes_may_stand_in_domains_and_every_size_counts() {
    let t = tune("b in pow2(1..N) require N % b == 0");
    let at = |n: &[i64]| {
        let envs: Vec<Env> = n.iter().map(|n| env(&[("N", *n)], &[])).collect();
        Space::new(&t, &envs).expect("space").enumerate().expect("few").map(|a| a["b"]).collect::<Vec<_>>()
    };
    assert_eq!(at(&[48]), [1, 2, 4, 8, 16]);
    assert_eq!(at(&[48, 36]), [1, 2, 4]);
    assert!(matches!(Space::new(&t, &[Env::default()]), Err(SpaceError::Domain { .. })));
    let t = tune("b in 1..4 require N >= b");
    assert!(
        matches!(Space::new(&t, &[Env::default()]), Err(SpaceError::Missing { name, .. }) if name == "N")
    );
}

#[test]
fn declared_values_are_the_default_and_are_repaired() {
    let t = tune("a in pow2(1..64) = 32 b in pow2(1..64) = 8 c in 1..9 require a * b <= 256");
    let space = Space::new(&t, &[Env::default()]).expect("space");
    let a = space.default(None).expect("a point");
    assert_eq!((a["a"], a["b"]), (32, 8));
    let a = space.default(Some(&mut |a| (a["c"] - 7).abs() as f64)).expect("a point");
    assert_eq!((a["a"], a["b"], a["c"]), (32, 8, 7));
    let t = tune("a in pow2(1..64) = 64 b in pow2(1..64) = 8 require a * b <= 256");
    let space = Space::new(&t, &[Env::default()]).expect("space");
    let a = space.default(None).expect("a point");
    assert_eq!(a["a"] * a["b"], 256);
}

#[test]
fn neighbours_differ_in_one_tunable() {
    let t = tune("a in {1, 2, 4, 8} b in 1..5 require a != 2 require a * b < 20");
    let space = Space::new(&t, &[Env::default()]).expect("space");
    let at = Assignment::from([("a".into(), 4), ("b".into(), 4), ("free".into(), 9)]);
    let near: Vec<(i64, i64)> = space.neighbours(&at).iter().map(|n| (n["a"], n["b"])).collect();
    assert_eq!(near, [(1, 4), (4, 3)]);
    assert!(space.neighbours(&at).iter().all(|n| n["free"] == 9));
}

/// Eight tunables of 16 values: 2^32 points, so sampling and repair must search.
const LARGE: &str = "a in 1..17 b in 1..17 c in 1..17 d in 1..17 e in 1..17 f in 1..17 g in 1..17 h in 1..17
    require a * b == 48 require c + d + e == 20 require (f * g) % 7 == 0 require h < a || h > c";

#[test]
fn a_large_space_is_sampled() {
    let space = Space::new(&tune(LARGE), &[Env::default()]).expect("space");
    assert!(matches!(space.count(), Count::AtMost(n) if n >= 1_000_000));
    assert!(space.enumerate().is_none() && space.conflict().is_none());
    let mut rng = StdRng::seed_from_u64(7);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let a = space.sample(&mut rng).expect("a point");
        assert!(space.contains(&a), "{a:?}");
        seen.insert(a);
    }
    assert!(seen.len() > 40, "only {} different points", seen.len());
    let wild: Assignment = [("a", 5), ("b", 99), ("c", -1)].map(|(n, v)| (n.to_owned(), v)).into();
    assert!(space.contains(&space.repair(&wild, &mut rng).expect("a point")));
    let point = space.sample(&mut rng).expect("a point");
    let mut off = point.clone();
    off.insert("h".into(), point["a"].max(point["c"]).min(16));
    assert!(space.contains(&space.repair(&off, &mut rng).expect("a point")));
}

#[test]
fn mistakes_in_a_tune_are_reported() {
    let (_, errors) = tunes(
        "tune k { a in {} b in 4..2 b in 1..2 c in {1, 2} = 3 d in 1..x.y
           require c require c + true == 1 require c < hw.l4 require min(c) == 1 require c < 1.5 }
         tune q { a in 1..2 }
         tune k for cpo { z in 1..2 }",
    );
    let text: Vec<String> = errors.iter().map(|d| format!("{} {}", d.code, d.message)).collect();
    insta::assert_snapshot!(text.join("\n"), @"
    E0401 `a` has no values
    E0401 `b` has no values
    E0401 3 is not a value of `c`
    E0401 only `hw` has fields, as in `hw.l2`
    E0401 `c` is a number; `require` takes a condition
    E0401 `+` takes a number, and `true` is not one
    E0401 `min` does not take 1 operands
    E0401 a float stands where only integers may
    E0401 no key `hw.l4`; there are l1, l2, l3, line, cores, vector, registers, shared, warp, regbytes, threads, sms, l2
    E0201 no kernel or pipeline `q`
    E0201 no target `cpo`; there are cpu, cuda, vulkan
    ");
}

/// Small random tunes with the tunables a, b, c.
fn random_tune() -> impl Strategy<Value = String> {
    let domain = prop_oneof![
        prop::collection::vec(-3i64..20, 1..6).prop_map(|v| format!(
            "{{{}}}",
            v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )),
        (0i64..8, 1i64..9).prop_map(|(a, n)| format!("{a}..{}", a + n)),
        (0u32..3, 0u32..5).prop_map(|(a, n)| format!("pow2({}..{})", 1 << a, 1 << (a + n))),
    ];
    let leaf = prop_oneof![
        prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        (0i64..12).prop_map(|v| v.to_string()),
        Just("N".to_owned()),
    ];
    let number = leaf.prop_recursive(3, 12, 3, |e| {
        prop_oneof![
            (e.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%"]), e.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (e.clone(), e.clone()).prop_map(|(a, b)| format!("max({a}, {b})")),
            (e.clone(), e).prop_map(|(a, b)| format!("select({a} < {b}, {a}, -{b})")),
        ]
    });
    let compare = (number.clone(), prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]), number)
        .prop_map(|(a, op, b)| format!("{a} {op} {b}"));
    let require = prop_oneof![
        compare.clone(),
        (compare.clone(), compare.clone()).prop_map(|(a, b)| format!("{a} || {b}")),
        (compare.clone(), compare).prop_map(|(a, b)| format!("!({a}) && {b}")),
    ];
    (prop::array::uniform3(domain), prop::collection::vec(require, 0..4)).prop_map(|([a, b, c], requires)| {
        let requires: String = requires.iter().map(|r| format!(" require {r}")).collect();
        format!("a in {a} b in {b} c in {c}{requires}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn enumeration_is_brute_force(text in random_tune(), n in 1i64..40, seed in 0u64..1000) {
        let t = tune(&text);
        let env = env(&[("N", n)], &[]);
        let space = Space::new(&t, std::slice::from_ref(&env)).expect("space");
        let values: Vec<Vec<i64>> = t.vars.iter().map(|v| v.domain.values(&env).expect("values")).collect();
        let mut brute = Vec::new();
        for &a in &values[0] {
            for &b in &values[1] {
                for &c in &values[2] {
                    let mut at = env.clone();
                    at.names.extend([("a".to_owned(), a), ("b".to_owned(), b), ("c".to_owned(), c)]);
                    if t.requires.iter().all(|r| r.expr.eval(&at).is_ok_and(|v| v != 0)) {
                        brute.push((a, b, c));
                    }
                }
            }
        }
        let found: Vec<(i64, i64, i64)> =
            space.enumerate().expect("few").map(|p| (p["a"], p["b"], p["c"])).collect();
        prop_assert_eq!(&found, &brute);
        prop_assert_eq!(space.conflict().is_some(), brute.is_empty());
        let mut rng = StdRng::seed_from_u64(seed);
        let sample = space.sample(&mut rng);
        prop_assert_eq!(sample.is_none(), brute.is_empty());
        if let Some(sample) = sample {
            prop_assert!(space.contains(&sample));
            let wild = Assignment::from([("a".into(), seed as i64 % 23 - 3), ("b".into(), 5), ("c".into(), n)]);
            let repaired = space.repair(&wild, &mut rng).expect("not empty");
            prop_assert!(space.contains(&repaired));
            for neighbour in space.neighbours(&sample) {
                prop_assert!(space.contains(&neighbour));
            }
            // A search with pruning finds a point whenever there is one.
            let order = [0, 1, 2];
            prop_assert!(space.search(&order, &values, usize::MAX).is_some());
        }
    }

    #[test]
    fn printing_keeps_the_meaning(text in random_tune(), n in 1i64..40) {
        let t = tune(&text);
        for require in &t.requires {
            let again = tune(&format!("a in 0..1 b in 0..1 c in 0..1 require {}", require.expr));
            prop_assert_eq!(again.requires[0].expr.to_string(), require.expr.to_string());
            let at = env(&[("N", n), ("a", n % 7), ("b", n % 5), ("c", n % 3)], &[]);
            prop_assert_eq!(again.requires[0].expr.eval(&at), require.expr.eval(&at));
        }
    }
}

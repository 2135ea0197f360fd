use super::*;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tile"));
    paths.sort();
    let read = |p: &PathBuf| {
        let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        (name, std::fs::read_to_string(p).expect("text"))
    };
    paths.iter().map(read).collect()
}

fn lines(source: &str) -> String {
    let checked = check(source);
    let line = |d: &Diagnostic| {
        let at = source[..d.primary.span.range().start].matches('\n').count() + 1;
        let help = d.help.as_ref().map(|h| format!("  help: {h}")).unwrap_or_default();
        format!("{at}: {:?} {} {}{help}", d.severity, d.code, d.message)
    };
    checked.diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn samples_and_examples_have_no_errors_and_their_data_can_be_made() {
    for (name, source) in files("dsl-examples").into_iter().chain(files("tests/samples")) {
        let checked = check(&source);
        let errors: Vec<_> = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        for task in &checked.tasks {
            let mut sizes = checked.resolve_sizes(task.entry, &BTreeMap::new()).expect(&name);
            // Small, so that this takes no time; what data bind stays away.
            for (size, v) in &mut sizes {
                if !["G", "K", "N", "M"].contains(&size.as_str()) || *v > 600 {
                    *v = (*v).min(16);
                }
                // Few cells, since few particles are left to fill them.
                if size == "M" && *v <= 16 {
                    *v = (*v).min(3);
                }
            }
            let made = task::generate(&checked.hir, Some(task), task.entry, &sizes, 1);
            assert!(made.is_ok(), "{name} at {sizes:?}: {:?}", made.err());
        }
    }
}

const TWO: &str = "\
// Scales.
kernel scale(x: in f32[N], y: out f32[N], a: f32) {
  for i in tiles(N; bi) { y[i] = a * x[i] }
}
pipeline twice(x: in f32[N], y: out f32[N], T: i32, a: f32) where N % 2 == 0 {
  buf z: f32[N]
  scale(x, z, a)
  scale(z, y, a)
}
tune twice { v in {4, 8} = 4 }
// By hand.
schedule twice for cpu { parallel(i) vector(i, v) }
schedule twice for cpu when N >= 1024 { parallel(i) }
task twice {
  search {N=64, T=1} {N=2048, T=2}
  heldout {N=62, T=1}
  init a in 0.5..2.0
  tol y: nrmse <= 1e-6
  cost flops = 2*N
}
";

#[test]
fn entries_and_sizes_are_found() {
    let c = check(TWO);
    assert_eq!(
        lines(TWO),
        "14: Warning E0601 `twice` has no reference; its own algorithm in f64 is the judge"
    );
    let entry = c.entry(None).expect("the task names it");
    assert_eq!(c.hir.funcs[entry].name, "twice");
    assert!(c.entry(Some("scale")).is_ok());
    let unknown = c.entry(Some("scael")).expect_err("unknown").to_string();
    assert_eq!(unknown, "no kernel or pipeline `scael`; there are `scale`, `twice`");
    let sizes = c.resolve_sizes(entry, &BTreeMap::from([("N".into(), 8)])).expect("sizes");
    assert_eq!(sizes, BTreeMap::from([("N".into(), 8), ("T".into(), 1)]));
    let scale = c.entry(Some("scale")).expect("a kernel");
    assert_eq!(c.resolve_sizes(scale, &BTreeMap::new()), Err(EntryError::MissingSize("N".into())));
    let wrong = c.resolve_sizes(entry, &BTreeMap::from([("n".into(), 8)])).expect_err("unknown size");
    assert_eq!(wrong.to_string(), "`twice` has no size `n`; there are N, T (did you mean `N`?)");
    assert_eq!(c.task(entry).and_then(|t| t.flops(&sizes)), Some(16.0));
}

#[test]
fn schedules_are_chosen_by_size() {
    let c = check(TWO);
    let entry = c.entry(None).expect("an entry");
    let verbs = |n| {
        let sizes = BTreeMap::from([("N".to_owned(), n), ("T".to_owned(), 1)]);
        c.schedule(entry, "cpu", &sizes).map(|s| s.plan.verbs.len())
    };
    assert_eq!((verbs(64), verbs(4096)), (Some(2), Some(1)));
    assert!(c.schedule(entry, "cuda", &Sizes::new()).is_none());
}

#[test]
fn a_winner_is_written_back_and_read_again() {
    let c = check(TWO);
    let entry = c.entry(None).expect("an entry");
    let plan = Plan {
        verbs: vec![
            Verb::Tile { axis: "i".into(), sizes: vec![Amount::Int(256), Amount::Name("v".into())] },
            Verb::Unroll { axis: "i".into(), count: Some(Amount::Name("u".into())) },
        ],
    };
    let values = Assignment::from([("v".into(), 8), ("bi".into(), 512), ("u".into(), 2)]);
    let text = c.with_winner(entry, "cpu", None, &plan, &values);
    let again = check(&text);
    assert!(!again.has_errors(), "{text}\n{:?}", again.diagnostics);
    let entry = again.entry(None).expect("an entry");
    assert_eq!(again.schedule(entry, "cpu", &Sizes::new()).map(|s| &s.plan), Some(&plan));
    let space = again.space(entry, "cpu", &BTreeMap::new(), &[]).expect("space");
    assert_eq!(space.default(None), Some(values.clone()));
    assert!(text.contains("// Scales.") && text.contains("// By hand."), "{text}");
    assert_eq!(again.task_hash(entry), c.task_hash(entry));
    // Written twice, nothing changes.
    assert_eq!(again.with_winner(entry, "cpu", None, &plan, &values), text);
    assert_eq!(
        with_values(&plan, &values).verbs[1],
        Verb::Unroll { axis: "i".into(), count: Some(Amount::Int(2)) }
    );
    let gpu = Plan {
        verbs: vec![
            Verb::Thread { axis: "i".into(), count: Some(Amount::Name("v".into())) },
            Verb::Grid { axes: vec!["i".into()], group: Some(Amount::Name("u".into())) },
        ],
    };
    let fixed = with_values(&gpu, &values).verbs;
    assert_eq!(fixed[0], Verb::Thread { axis: "i".into(), count: Some(Amount::Int(8)) });
    assert_eq!(fixed[1], Verb::Grid { axes: vec!["i".into()], group: Some(Amount::Int(2)) });
}

#[test]
fn the_frozen_hash_follows_what_judges_and_nothing_else() {
    let hash = |text: &str| {
        let c = check(text);
        c.task_hash(c.entry(Some("twice")).expect("an entry"))
    };
    let seed = hash(TWO);
    for (from, to) in
        [("// Scales.", "// Other."), ("vector(i, v)", "vector(i, 8)"), ("v in {4, 8}", "v in {4}")]
    {
        assert_eq!(hash(&TWO.replace(from, to)), seed, "{from}");
    }
    for (from, to) in [
        ("nrmse <= 1e-6", "nrmse <= 1e-5"),
        ("N % 2 == 0", "N % 4 == 0"),
        ("N=62", "N=66"),
        ("a * x[i]", "x[i] * a"),
        ("y: out f32[N], T", "y: inout f32[N], T"),
    ] {
        assert_ne!(hash(&TWO.replace(from, to)), seed, "{from}");
    }
    // With a reference the algorithm is free; the functions that the reference reaches are not.
    let reference = "fn half(x: f64) -> f64 = x * 0.5\nfn spare(x: f64) -> f64 = x
        reference twice { with i in N { y[i] = half(4.0 * a * a * x[i]) * 0.5 } }";
    let with = format!("{TWO}{reference}");
    assert_eq!(hash(&with.replace("a * x[i] }\n}", "x[i] * a }\n}")), hash(&with));
    assert_ne!(hash(&with.replace("x * 0.5", "0.5 * x")), hash(&with));
    assert_eq!(hash(&with.replace("-> f64 = x\n", "-> f64 = x + 0.0\n")), hash(&with));
}

#[test]
fn mistakes_around_a_kernel_are_reported_together() {
    let text = "\
kernel scale(x: in f32[N], y: out f32[N], a: f32) where N % 2 == 0 {
  for i in tiles(N; bi) { y[i] = a * x[i] }
}
reference scale { with i in N { y[i] = a * x[i] } }
tune scale { v in {64, 128} require v * N <= 1000 }
schedule scale for cpu { vectr(i, v) keep(xx, in = reg) vector(i, w) }
schedule scale for cpu when N { parallel(i) }
schedule scale for gpu { parallel(i) }
schedule other for cpu { }
task scale {
  search {N=64} {N=63} {M=64}
  heldout {N=64, N=2}
  sizes Q in 1..2
  sizes N in 5..5
  init x ~ gaussian(0.0, 1.0)
  init x ~ normal(1.0)
  init y ~ zeros
  init z = 1.0
  init a in 0.5..2.0
  init a = 2.0
  tol y: nrmse < 1e-3
  tol x: exact
  tol y: exact, nrmse <= 1e-3
  cost flop = N
  allow contract, reasoc, approx, lower(x), lower(x, f16), approx(2)
  check conserved(sum(y), 1e-3)
  check positive(y)
}
task scael { }
";
    insta::assert_snapshot!(lines(text), @"
        6: Error E0502 no verb `vectr`  help: did you mean `vector`?
        6: Error E0501 no let, var or tensor `xx`  help: did you mean `x`?
        6: Error E0503 `vector`: no tunable `w`  help: it is written vector(j, n)
        7: Error E0503 `N` is a number; `when` takes a condition
        8: Error E0201 no target `gpu`; there are cpu, cuda, vulkan  help: did you mean `cpu`?
        9: Error E0201 no kernel or pipeline `other`
        11: Error E0603 the sizes N = 63 violate the `where` condition number 1
        11: Error E0603 no value for `N`
        11: Error E0603 `scale` has no size or integer parameter `M`  help: did you mean `N`?
        12: Error E0202 `N` is given twice
        13: Error E0603 `scale` has no size or integer parameter `Q`  help: did you mean `N`?
        14: Error E0601 `N` has no value from 5 to below 5
        15: Error E0601 no distribution `gaussian`
        16: Error E0601 `normal` does not take 1 operands  help: it is written normal(mean, deviation)
        17: Error E0601 `y` is an `out`, which is written whole before it is read
        18: Error E0601 `scale` has no parameter `z`  help: did you mean `x`?
        20: Error E0202 `a` has two inits
        21: Error E0601 a tolerance is `exact`, `nrmse <= a` or `maxrel <= b`
        22: Error E0601 `x` is not written, so it has no tolerance
        23: Error E0601 `exact` stands alone
        24: Error E0601 `scale` has no cost `flop`  help: did you mean `flops`?
        25: Error E0601 nothing allows `reasoc`  help: did you mean `reassoc`?
        25: Error E0601 it is written `approx(ulp)`
        25: Error E0601 it is `approx(ulp)` or `lower(name, dtype)`
        26: Error E0601 `y` is no `inout` parameter, so nothing of it can be conserved
        27: Error E0601 a check is written `conserved(sum(x), relative)`
        29: Error E0201 no kernel or pipeline `scael`  help: did you mean `scale`?
        ");
}

#[test]
fn a_fold_that_sees_its_tiles_is_refused_by_a_plain_check() {
    let checked = check(include_str!("../../tests/samples/wrong/fold_not_invariant.tile"));
    let partial = checked.diagnostics.iter().find(|d| d.code == crate::diag::Code::Partial).expect("refused");
    assert!(partial.message.contains("fold"), "{}", partial.message);
}

use std::sync::atomic::AtomicBool;

use rooftile_compiler::schedule::plan::{Amount, Plan, Verb};

use super::*;
use crate::bench::Sizes;
use crate::candidate::{Base, Recipe};
use crate::finale::{Condition, Variant};
use crate::promote::Ratio;

const TEXT: &str = "\
rooftile 1
kernel scale(x: in f32[N, M], y: out f32[N, M]) {
  for (i, j) in tiles(N, M; bn, bm) {
    y[i, j] = 2.0 * x[i, j]
  }
}
reference scale { with i in N, j in M { y[i, j] = 2.0 * f64(x[i, j]) } }
tune scale { bn in {8, 16} = 8  bm in {8, 16} = 16  v in {4, 8} = 4 }
schedule scale for cpu when N < 32 { parallel(i) }
// what is written for most sizes
schedule scale for cpu { vector(j, v) }
task scale {
  search {N=16, M=40} {N=50, M=33}
  heldout {N=21, M=27}
  tol y: nrmse <= 1e-6
}
";

/// What wins on one side of a size stands beside the winner with its own numbers, and both say what was measured.
#[test]
fn a_file_holds_winners_by_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        file: "scale.tile".into(),
        text: TEXT.into(),
        entry: None,
        device: "cpu".into(),
        threads: 1,
        seed: 1,
        strategy: StrategyKind::Random,
        budget_s: None,
        evals: Some(6),
        cost: Cost::Model,
        from: None,
        profile: None,
        worker: None,
        workers: 1,
        cache: None,
    };
    let finished = start(&options, folder.path(), &AtomicBool::new(false), &mut |_| {}).expect("a search");
    let ground = Ground::new(TEXT, None, &Target::plain("cpu")).expect("a task");
    let seeds = ground.seeds(None);
    assert_eq!(seeds.iter().filter(|(name, _)| name == "file").count(), 2, "{seeds:?}");

    let job = ground.job(&Store::open(&folder.path().join(STORE)).expect("a run").header().expect("read"));
    let lanes = Verb::Vector { axis: "j".into(), lanes: Amount::Name("v".into()) };
    let recipe = |v: i64, bm: i64| Recipe {
        plan: Plan { verbs: vec![lanes.clone()] },
        assignment: [("v", v), ("bn", 8), ("bm", bm)].map(|(n, v)| (n.to_owned(), v)).into(),
        ..Recipe::default()
    };
    let variant = Variant {
        when: Condition { size: "N".into(), from: true, than: 24 },
        candidate: 5,
        recipe: (job.expect("a job").spell)(&recipe(8, 8)).expect("a plan of its own"),
        over_winner: Ratio { median: 1.1, lo: Some(1.05), hi: Some(1.15), pairs: 24 },
    };
    let tile = |axis: &str| Verb::Tile { axis: axis.into(), sizes: vec![Amount::Int(8)] };
    let eight = Verb::Vector { axis: "j".into(), lanes: Amount::Int(8) };
    let alone = Plan { verbs: vec![tile("i"), tile("j"), eight] };
    assert_eq!((&variant.recipe.plan, variant.recipe.assignment.len()), (&alone, 0));

    let mut report = finished.report;
    (report.recipe, report.variants) = (Some(recipe(4, 16)), vec![variant.clone()]);
    let text = ground.winner(&report).expect("a winner");
    let file = check(&text);
    assert!(file.diagnostics.is_empty(), "{:?}\n{text}", file.diagnostics);
    let entry = file.entry(None).expect("one");
    let plan = |n: i64| {
        let sizes = Sizes::from([("N".to_owned(), n), ("M".to_owned(), 9)]);
        file.schedule(entry, "cpu", &sizes).map(|s| s.plan.clone())
    };
    assert_eq!(plan(23), Some(Plan { verbs: vec![lanes] }), "{text}");
    assert_eq!(plan(24), Some(alone.clone()), "{text}");
    assert!(text.contains("// what is written for most sizes"), "{text}");
    assert_eq!(text.matches("schedule scale").count(), 2, "the one that lost is gone:\n{text}");

    // Where the compiler's choice won, no schedule stands for the rest.
    report.recipe = Some(Recipe { base: Base::Default, ..Recipe::default() });
    let text = ground.winner(&report).expect("a winner");
    let file = check(&text);
    let entry = file.entry(None).expect("one");
    let plan =
        |n: i64| file.schedule(entry, "cpu", &Sizes::from([("N".to_owned(), n)])).map(|s| s.plan.clone());
    assert_eq!((plan(23), plan(24)), (None, Some(alone)), "{text}");
}

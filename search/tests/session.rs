//! Searches of real files, in this process, with the cost model in place of the clock where the outcome must repeat.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rooftile_search::candidate::Base;
use rooftile_search::evaluate::local::Cost;
use rooftile_search::finale::Set;
use rooftile_search::record::Outcome;
use rooftile_search::report::Stop;
use rooftile_search::run::RunError;
use rooftile_search::session::{Finished, How, Options, SearchError, read, resume, start};
use rooftile_search::store::Store;
use rooftile_search::strategy::StrategyKind;

const MATMUL: &str = "rooftile 1
kernel matmul(A: in f32[M,K], B: in f32[K,N], C: out f32[M,N]) {
  for (i, j) in tiles(M, N; bm, bn) {
    var acc: f32[i,j] = 0.0
    for k in tiles(K; bk) {
      acc += dot[k](A[i,k], B[k,j])
    }
    C[i,j] = acc
  }
}
tune matmul {
  bm in pow2(8..64)
  bn in pow2(8..64)
  bk in pow2(8..64)
}
schedule matmul for cpu { parallel(i) }
task matmul {
  search {M=24, N=40, K=16} {M=48, N=16, K=32}
  heldout {M=33, N=17, K=21}
  sizes M in 1..64
  sizes N in 1..64
  sizes K in 1..64
  init A ~ normal(0.0, 1.0)
  init B ~ normal(0.0, 1.0)
  tol C: nrmse <= 1e-5, maxrel <= 1e-2
  allow reassoc, contract
}
";

fn options(text: &str, cost: Cost, evals: u64) -> Options {
    Options {
        file: "matmul.tile".into(),
        text: text.into(),
        entry: None,
        device: "cpu".into(),
        threads: 1,
        seed: 3,
        strategy: StrategyKind::Evolution,
        budget_s: None,
        evals: Some(evals),
        cost,
        from: None,
        // Roofs are nominal: these tests do not measure the machine.
        profile: None,
        worker: None,
        workers: 1,
        cache: None,
    }
}

fn go(options: &Options, out: &Path) -> Result<Finished, SearchError> {
    start(options, out, &AtomicBool::new(false), &mut |_| ())
}

/// With the cost model a search repeats bit for bit, interrupted or not, and its winner is right on sizes that it
/// never saw.
#[test]
fn a_search_by_model_repeats_and_resumes() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let whole = go(&options(MATMUL, Cost::Model, 24), &at("a")).expect("searches");
    assert_eq!(whole.report.stop, Stop::Evaluations);
    assert!(whole.report.verified(), "{:?}", whole.report.results);
    assert!(whole.report.of(Set::Sealed).count() > 0 && whole.report.of(Set::Heldout).count() == 1);
    let again = go(&options(MATMUL, Cost::Model, 24), &at("b")).expect("searches");
    assert_eq!(whole.report.archive, again.report.archive);
    go(&options(MATMUL, Cost::Model, 10), &at("c")).expect("searches");
    let resumed = resume(&at("c"), &How::default(), None, Some(24), &AtomicBool::new(false), &mut |_| ())
        .expect("goes on");
    assert_eq!(resumed.report.archive, whole.report.archive);
    let records = |name: &str| Store::open(&at(name).join("run.sqlite")).and_then(|s| s.records());
    assert_eq!(records("a").expect("read"), records("c").expect("read"));
    // The winner's file is one that can be searched again.
    let text = whole.winner_text.expect("a winner");
    assert_eq!(std::fs::read_to_string(&whole.best).expect("written"), text);
    let warm = Options { from: Some(text), ..options(MATMUL, Cost::Model, 8) };
    assert!(go(&warm, &at("d")).expect("searches").report.verified());
    assert_eq!(read(&at("a")).expect("ended").report, whole.report);
    assert!(matches!(go(&options(MATMUL, Cost::Model, 3), &at("a")), Err(SearchError::Store(_))));
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let cut = MATMUL.split("task matmul").next().expect("text");
    assert!(matches!(go(&options(cut, Cost::Model, 1), &at("a")), Err(SearchError::NoTask(_))));
    let broken = MATMUL.replace("dot[k]", "dot[q]");
    assert!(matches!(go(&options(&broken, Cost::Model, 1), &at("b")), Err(SearchError::File(_))));
    // A tolerance that zeros pass judges nothing.
    let loose = MATMUL.replace("nrmse <= 1e-5, maxrel <= 1e-2", "nrmse <= 2.0");
    match go(&options(&loose, Cost::Model, 1), &at("c")) {
        Err(SearchError::Run(RunError::Size { source, .. })) => {
            assert!(source.detail.contains("zeros"), "{source}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(read(&at("nowhere")), Err(SearchError::Store(_))));
    let other = Options { device: "abacus".into(), ..options(MATMUL, Cost::Model, 1) };
    assert!(matches!(go(&other, &at("d")), Err(SearchError::Device(_))));
}

/// A size that no machine has memory for is said to be left out, with its bytes; a search of nothing else is refused.
#[test]
fn sizes_that_do_not_fit_are_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let huge = "{M=1000000, N=1000000, K=16}";
    let with = MATMUL.replace("{M=33, N=17, K=21}", &format!("{{M=33, N=17, K=21}} {huge}"));
    let with = with.replace("{M=48, N=16, K=32}", huge);
    let done = go(&options(&with, Cost::Model, 6), &folder.path().join("a")).expect("searches");
    assert!(done.report.verified() && done.report.of(Set::Search).count() == 1);
    for set in ["search", "heldout"] {
        let start = format!("{set} size K=16,M=1000000,N=1000000 is left out: memory: ");
        let said = done.report.warnings.iter().find(|w| w.starts_with(&start));
        // The matrices of a million by a million, by 16, and by 16.
        assert!(said.is_some_and(|w| w.contains("4000128000000 bytes")), "{:?}", done.report.warnings);
    }
    let only = with.replace("{M=24, N=40, K=16}", "");
    match go(&options(&only, Cost::Model, 6), &folder.path().join("b")) {
        Err(SearchError::Run(RunError::Size { source, .. })) => {
            assert!(source.to_string().contains("4000128000000 bytes"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}

/// The search starts from the compiler's choice written out as verbs: it is what children are made of, and where nothing
/// beats it, what the winner's file says.
#[test]
fn a_search_starts_from_the_default_as_a_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("a");
    let text = MATMUL.replace("schedule matmul for cpu { parallel(i) }\n", "");
    let done = go(&options(&text, Cost::Model, 2), &out).expect("searches");
    let records = Store::open(&out.join("run.sqlite")).and_then(|s| s.records()).expect("read");
    let planned = &records[0].proposal.recipe;
    assert!(planned.base == Base::Planned && !planned.plan.verbs.is_empty(), "{planned:?}");
    assert_eq!((records[0].label(), &records[1].outcome), ("measured", &Outcome::Duplicate { of: 0 }));
    assert_eq!(done.report.winner, Some(0));
    assert!(done.winner_text.expect("a winner").contains("schedule matmul for cpu"));
    let over_default: Vec<f64> =
        done.report.results.iter().filter_map(|r| r.over_default).map(|r| r.median).collect();
    assert!(!over_default.is_empty() && over_default.iter().all(|r| *r == 1.0), "{over_default:?}");
}

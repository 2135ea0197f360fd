use std::sync::atomic::AtomicBool;

use super::*;
use crate::bench::NoClock;
use crate::evaluate::crew::{Crew, Member};
use crate::fake::{Fake, Ticks, header, job, optimum};

struct Done {
    report: RunReport,
    store: Store,
    notes: Vec<Progress>,
}

fn go(job: &Job, bench: &mut dyn Bench, store: Store, clock: &dyn Clock, stop: &AtomicBool) -> Done {
    let (mut store, mut notes) = (store, Vec::new());
    let mut progress = |p| notes.push(p);
    let report = run(job, &mut Hands { bench, store: &mut store, clock, stop, progress: &mut progress })
        .expect("no size fails");
    Done { report, store, notes }
}

fn fresh(job: &Job, bench: &mut dyn Bench) -> Done {
    let store = Store::in_memory(&header(job)).expect("memory");
    go(job, bench, store, &NoClock, &AtomicBool::new(false))
}

/// Evolution comes within a few per cent of the optimum of the landscape; every strategy beats its seeds.
#[test]
fn strategies_find_better_schedules() {
    for strategy in StrategyKind::ALL {
        let job = job(strategy, 5, 400);
        let out = fresh(&job, &mut Fake::new(0.0));
        let r = &out.report;
        let fraction = r.fraction(Set::Heldout).expect("verified");
        let floor = match strategy {
            StrategyKind::Evolution => 0.95,
            StrategyKind::OnePlusOne => 0.6,
            StrategyKind::Pattern | StrategyKind::Random => 0.3,
            StrategyKind::Exhaustive => 0.01,
        };
        assert!(fraction > floor, "{strategy}: {fraction}");
        assert!(r.speedup(Set::Sealed, |s| s.over_naive).expect("paired").median > 1.0, "{strategy}");
        assert!(r.verified() && r.winner.is_some());
        let want = if strategy == StrategyKind::Exhaustive { Stop::Exhausted } else { Stop::Evaluations };
        assert_eq!(r.stop, want, "{strategy}");
        assert!((r.results[0].info.roof_s - optimum(&r.results[0].sizes)).abs() < 1e-15);
    }
}

/// The same seed gives the same run, and another seed another.
#[test]
fn runs_repeat() {
    let records = |seed| fresh(&job(StrategyKind::Evolution, seed, 120), &mut Fake::new(0.0)).store.records();
    let (a, b, c) = (records(1), records(1), records(2));
    assert_eq!(a.as_ref().expect("read"), b.as_ref().expect("read"));
    assert_ne!(a.expect("read"), c.expect("read"));
}

/// How many evaluators share the work changes nothing but the time that it takes.
#[test]
fn a_crew_finds_what_one_evaluator_does() {
    for strategy in [StrategyKind::Evolution, StrategyKind::Pattern] {
        let job = job(strategy, 4, 150);
        let fake = || Fake { wrong_lanes: Some(16), ..Fake::new(0.0) };
        let want = fresh(&job, &mut fake()).store.records().expect("read");
        for members in [1, 3] {
            let crew: Vec<Member> = (0..members).map(|_| Box::new(fake()) as Member).collect();
            let got = fresh(&job, &mut Crew::new(crew).expect("members")).store.records().expect("read");
            assert_eq!(got, want, "{strategy} with {members}");
        }
    }
}

/// A run that was cut off anywhere and resumed ends as one that was not, noise-free timings given: for every
/// strategy, since each keeps a memory of its own.
#[test]
fn a_resumed_run_ends_as_an_uninterrupted_one() {
    for strategy in StrategyKind::ALL {
        let whole = job(strategy, 9, 90);
        let want = fresh(&whole, &mut Fake::new(0.0));
        let all = want.store.records().expect("read");
        for cut in [1, 2, 17, 60] {
            let mut store = Store::in_memory(&header(&whole)).expect("memory");
            for record in &all[..cut.min(all.len())] {
                store.commit(record).expect("write");
            }
            if let Some(noise) = want.store.get::<f64>("noise").expect("read").filter(|_| cut > 2) {
                store.put("noise", &noise).expect("write");
            }
            let got = go(&whole, &mut Fake::new(0.0), store, &NoClock, &AtomicBool::new(false));
            assert_eq!(got.store.records().expect("read"), all, "{strategy} cut at {cut}");
            assert_eq!(got.report.winner, want.report.winner);
            assert_eq!(got.report.archive, want.report.archive);
        }
    }
}

/// With a noisy clock the incumbent does not walk: nearly every promotion is a real gain.
#[test]
fn promotions_are_real() {
    let out = fresh(&job(StrategyKind::Evolution, 3, 300), &mut Fake::new(0.2));
    let records = out.store.records().expect("read");
    let exact = Fake::new(0.0);
    let time = |r: &Record| {
        let f = |m| exact_time(&exact, r, m);
        (f(256) * f(512) * f(1024)).cbrt()
    };
    let promoted: Vec<&Record> = records.iter().filter(|r| r.promoted()).collect();
    let gains = promoted
        .iter()
        .filter(|r| {
            let old = r.challenge.as_ref().map_or(0, |c| c.incumbent);
            time(r) < time(&records[usize::try_from(old).expect("small")])
        })
        .count();
    assert!(promoted.len() >= 3 && gains * 10 >= promoted.len() * 9, "{gains} of {}", promoted.len());
    assert!(out.notes.iter().any(|p| matches!(p, Progress::Promotion { .. })));
}

fn exact_time(fake: &Fake, record: &Record, m: i64) -> f64 {
    let mut fake = Fake { stage_penalty: fake.stage_penalty, ..Fake::new(0.0) };
    let effort = crate::bench::Effort::short(None, None);
    fake.measure(&record.proposal.recipe, &crate::fake::sizes(m), effort).expect("runs").samples[0]
}

/// Whoever is wrong, illegal or a duplicate is labelled, and never gets into the archive.
#[test]
fn failures_are_labelled_and_the_search_goes_on() {
    let mut fake = Fake { wrong_lanes: Some(16), ..Fake::new(0.0) };
    let out = fresh(&job(StrategyKind::Evolution, 4, 200), &mut fake);
    let r = &out.report;
    assert!(r.rejected["wrong_result"] > 0 && r.rejected["illegal"] > 0 && r.duplicates > 0, "{r:?}");
    assert_eq!(r.evaluations, 200);
    assert_eq!(fake.verified, r.evaluations - r.rejected["illegal"]);
    let lanes = |recipe: &Recipe| format!("{:?}", recipe.plan).contains("Int(16)");
    for elite in &r.archive {
        let vector = elite.recipe.plan.verbs.iter().any(|v| {
            matches!(v, rooftile_compiler::schedule::plan::Verb::Vector { axis, .. } if axis == "j")
                && lanes(&Recipe {
                    plan: rooftile_compiler::schedule::plan::Plan { verbs: vec![v.clone()] },
                    ..Recipe::default()
                })
        });
        assert!(!vector, "{elite:?}");
    }
}

/// A candidate that is the best on the search sizes and loses to the seed on held-out ones does not win.
#[test]
fn held_out_sizes_veto() {
    let mut fake = Fake { stage_penalty: 100.0, ..Fake::new(0.0) };
    let out = fresh(&job(StrategyKind::Evolution, 5, 300), &mut fake);
    let r = &out.report;
    let staged = |id: u64| {
        let verbs =
            &out.store.records().expect("read")[usize::try_from(id).expect("small")].proposal.recipe.plan;
        verbs.verbs.iter().any(|v| {
            matches!(v, rooftile_compiler::schedule::plan::Verb::Stage { tensor, place, .. }
                if tensor == "B" && *place == rooftile_compiler::schedule::plan::Place::Local)
        })
    };
    assert!(r.finalists.iter().any(|f| f.veto.is_some() && staged(f.id)), "{:?}", r.finalists);
    assert!(!staged(r.winner.expect("one that does not stage")));
    assert!(r.speedup(Set::Heldout, |s| s.over_seed).expect("paired").median >= 1.0);
}

/// Sizes without memory are left out, and stay out when the run is resumed with more of it: records hold a time for each
/// size. Without any size left there is no search.
#[test]
fn sizes_without_memory_are_left_out() {
    let mut job = job(StrategyKind::Evolution, 5, 60);
    let large = |sizes: &[Sizes]| {
        let first = sizes[0].keys().map(|name| (name.clone(), 1 << 40)).collect();
        [sizes, &[first]].concat()
    };
    let want = fresh(&job, &mut Fake::new(0.0));
    (job.search, job.heldout) = (large(&job.search), large(&job.heldout));
    let mut fake = Fake { largest: 1 << 20, ..Fake::new(0.0) };
    let first = fresh(&job, &mut fake);
    assert_eq!(first.report.winner, want.report.winner);
    for set in [Set::Search, Set::Heldout] {
        assert_eq!(first.report.of(set).count(), want.report.of(set).count());
        let said = |w: &&String| w.starts_with(set.name()) && w.contains("memory: 9 bytes");
        assert_eq!(first.report.warnings.iter().filter(said).count(), 1, "{:?}", first.report.warnings);
    }
    job.limits.evaluations = Some(90);
    let more = go(&job, &mut Fake::new(0.0), first.store, &NoClock, &AtomicBool::new(false));
    assert!(more.report.verified() && more.report.evaluations == 90);
    assert_eq!(more.report.of(Set::Search).count(), want.report.of(Set::Search).count());

    let mut none = Fake { largest: 0, ..Fake::new(0.0) };
    let mut store = Store::in_memory(&header(&job)).expect("memory");
    let stop = AtomicBool::new(false);
    let mut hands =
        Hands { bench: &mut none, store: &mut store, clock: &NoClock, stop: &stop, progress: &mut |_| () };
    match run(&job, &mut hands) {
        Err(RunError::Size { source, .. }) => assert_eq!(source.reason, Reason::Memory),
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_end_a_search() {
    let mut timed = job(StrategyKind::Evolution, 1, 100_000);
    timed.limits = Limits { seconds: Some(0.2), ..Limits::default() };
    let store = Store::in_memory(&header(&timed)).expect("memory");
    let out = go(&timed, &mut Fake::new(0.0), store, &Ticks::default(), &AtomicBool::new(false));
    assert_eq!(out.report.stop, Stop::Time);
    assert!(out.report.evaluations_per_s.is_some_and(|r| r > 0.0));

    let mut near = job(StrategyKind::Evolution, 1, 100_000);
    near.limits.fraction = Some(0.5);
    assert_eq!(fresh(&near, &mut Fake::new(0.0)).report.stop, Stop::Headroom);

    let stopped = job(StrategyKind::Random, 1, 100);
    let store = Store::in_memory(&header(&stopped)).expect("memory");
    let out = go(&stopped, &mut Fake::new(0.0), store, &NoClock, &AtomicBool::new(true));
    assert_eq!((out.report.stop, out.report.winner), (Stop::Interrupted, None));
}

/// When every seed is wrong there is nothing to search from, and the report says so.
#[test]
fn without_a_right_seed_there_is_no_winner() {
    let mut fake = Fake { wrong_lanes: Some(4), ..Fake::new(0.0) };
    let mut job = job(StrategyKind::Evolution, 1, 50);
    job.seeds.truncate(1);
    let r = fresh(&job, &mut fake).report;
    assert_eq!((r.stop, r.winner, r.verified()), (Stop::NoSeed, None, false));
    assert_eq!(r.summary("-")["verified"], false);
}

/// The report and the header come back from the store as they were written.
#[test]
fn the_store_keeps_everything() {
    let job = job(StrategyKind::Evolution, 6, 130);
    let out = fresh(&job, &mut Fake::new(0.1));
    assert_eq!(out.store.report().expect("read"), Some(out.report.clone()));
    assert_eq!(out.store.header().expect("read"), header(&job));
    assert!(out.store.generations().expect("read").len() >= 2);
    let everything = crate::store::export::export(&out.store).expect("read");
    let mut table = Vec::new();
    crate::store::export::csv(&mut table, &everything.candidates).expect("memory");
    let lines = String::from_utf8(table).expect("text").lines().count();
    assert_eq!(lines, everything.candidates.len() + 1);
    let summary = out.report.summary("out/best.tile");
    assert!(summary["speedup"]["sealed"].as_f64().is_some_and(|v| v > 1.0), "{summary}");
}

//! Random legal schedules of every kernel and pipeline: the nests keep their rules, and nests and CPU code agree with
//! the oracle. A short dose by default, `ROOFTILE_SCHEDULES=1000` legal schedules per entry on demand. A failure is
//! shrunk by leaving verbs out, and shown with its seed, its plan and its sizes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rooftile_compiler::schedule::anchors::anchors as plausible;
use rooftile_compiler::schedule::draw::random_plan;
use rooftile_compiler::schedule::plan::Assignment;
use rooftile_compiler::schedule::print::verb_text;
use rooftile_compiler::schedule::{Allow, Choice};
use rooftile_runtime::Device;
use rooftile_search::candidate::{Allowed, Recipe};
use rooftile_search::mutate::Mutator;
use rooftile_search::mutate::anchors::Anchors;
use rooftile_search::mutate::space::{Product, TuneSpace};
use rooftile_search::rng::Rng;
use rooftile_tests::backends::{compiled, cpu, on_cpu, on_nests};
use rooftile_tests::inputs::{Case, cases};
use rooftile_tests::judge::{Expected, compare, expected};
use rooftile_tests::schedules::{allowed, continuous, lowered, space};
use rooftile_tests::subject::{Entry, entries};
use rooftile_tests::tally::Tally;
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Legal schedules per entry, where a count is asked for.
fn asked() -> Option<usize> {
    std::env::var("ROOFTILE_SCHEDULES").ok().and_then(|s| s.parse().ok())
}

/// What became of a schedule at one case.
enum Outcome {
    /// Lowering refuses it.
    Refused(String),
    /// It computes what it must.
    Held,
    /// It does not.
    Wrong(String),
}

/// Lowers, verifies, interprets, compiles, runs and compares.
fn outcome(entry: Entry, recipe: &Recipe, allow: Allow, case: &(Case, Expected), threads: usize) -> Outcome {
    let choice = Choice::Planned { plan: recipe.plan.clone(), assignment: recipe.assignment.clone(), allow };
    let (case, want) = case;
    mark("random_schedules", &format!("{} at {}: {}", entry.label(), case.what, shown(recipe)));
    let judged = || -> Result<(), String> {
        let module = lowered(entry, &choice, cpu().target())?;
        let nests = on_nests(&module, &case.inputs, threads).map_err(|e| format!("nests: {e}"))?;
        compare(entry.func(), want, &nests).map_err(|e| format!("nests: {e}"))?;
        let code = compiled(&module, cpu().target())?;
        let got = on_cpu(&code, &case.inputs, threads).map_err(|e| format!("cpu: {e}"))?;
        compare(entry.func(), want, &got).map_err(|e| format!("cpu with {threads} threads: {e}"))
    };
    match catch_unwind(AssertUnwindSafe(judged)) {
        Ok(Ok(())) => Outcome::Held,
        Ok(Err(e)) if e.starts_with("refused") => Outcome::Refused(e),
        Ok(Err(e)) => Outcome::Wrong(e),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Outcome::Wrong(format!("panics: {}", text.unwrap_or_default()))
        }
    }
}

/// Leaves verbs out as long as what is left is still wrong.
fn shrunk(
    mut recipe: Recipe,
    mut why: String,
    wrong: impl Fn(&Recipe) -> Option<String>,
) -> (Recipe, String) {
    let mut at = 0;
    while at < recipe.plan.verbs.len() {
        let mut smaller = recipe.clone();
        smaller.plan.verbs.remove(at);
        match wrong(&smaller) {
            Some(e) => (recipe, why) = (smaller, e),
            None => at += 1,
        }
    }
    (recipe, why)
}

fn shown(recipe: &Recipe) -> String {
    let verbs: Vec<String> = recipe.plan.verbs.iter().map(verb_text).collect();
    let used: Assignment = recipe.assignment.clone();
    format!("{{ {} }} with {used:?}", verbs.join(" "))
}

/// How many schedules were tried, and what became of them.
#[derive(Default)]
struct Count {
    legal: usize,
    refused: usize,
    reasons: BTreeMap<String, usize>,
}

/// A refusal without its names.
fn reason(refusal: &str) -> String {
    refusal.split('`').step_by(2).collect::<Vec<_>>().join("..").chars().take(90).collect()
}

/// Walks from schedule to schedule until `enough`; the first wrong one ends the walk.
fn walk(entry: Entry, seed: u64, count: &mut Count, enough: impl Fn(&Count) -> bool) -> Result<(), String> {
    let allow = if continuous(entry) {
        Allow { contract: true, reassoc: true, online: true, atomics: false }
    } else {
        allowed(entry)
    };
    let values: BTreeMap<String, Vec<i64>> =
        space(entry, cpu().target()).map_or_else(BTreeMap::new, |space| {
            space
                .names()
                .map(|n| (n.to_owned(), space.values(n).map(<[i64]>::to_vec).unwrap_or_default()))
                .collect()
        });
    let tunables = Product(values);
    let mut rng = Rng::for_step(seed, 0);
    let start =
        |rng: &mut Rng| Recipe { assignment: tunables.sample(rng).unwrap_or_default(), ..Recipe::default() };
    let mut recipe = start(&mut rng);
    let anchors = Anchors::of(entry.subject.file(), entry.id);
    let mutator = Mutator::new(
        anchors,
        Box::new(tunables.clone()),
        Allowed { reassoc: allow.reassoc, online: allow.online, atomics: allow.atomics },
    );
    let plausible = plausible(entry.subject.file(), entry.id);
    let mutator = mutator.with_plausible(plausible.clone());
    let judged: Vec<(Case, Expected)> = cases(entry, 1)
        .into_iter()
        .map(|case| expected(entry, &case).map(|want| (case, want)).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    for step in 1.. {
        if enough(count) {
            break;
        }
        let mut rng = Rng::for_step(seed, step);
        if rng.below(12) == 0 {
            recipe = start(&mut rng);
        }
        let mut child = recipe.clone();
        if rng.below(3) == 0 {
            // As drawn: moves bring plans into a normal form that not every written plan has.
            child.plan = random_plan(&plausible, &mut |n| rng.below(n));
        } else {
            for _ in 0..1 + rng.below(3) {
                let Some(operator) = rng.pick(mutator.operators()).copied() else { return Ok(()) };
                if let Some((next, _)) = mutator.apply(operator, &child, &mut rng) {
                    child = next;
                }
            }
        }
        let Some(case) = rng.pick(&judged) else { return Ok(()) };
        let threads = 1 + rng.below(2);
        match outcome(entry, &child, allow, case, threads) {
            Outcome::Held => {
                count.legal += 1;
                recipe = child;
            }
            Outcome::Refused(why) => {
                count.refused += 1;
                *count.reasons.entry(reason(&why)).or_default() += 1;
            }
            Outcome::Wrong(why) => {
                let again = |r: &Recipe| match outcome(entry, r, allow, case, threads) {
                    Outcome::Wrong(e) => Some(e),
                    _ => None,
                };
                let (small, why) = shrunk(child, why, again);
                return Err(format!("at {}, step {step}: {}\n    {why}", case.0.what, shown(&small)));
            }
        }
    }
    Ok(())
}

#[test]
fn random_schedules_agree_with_the_oracle() {
    let seed = fuzz_seed("random_schedules");
    let entries = entries();
    let share = fuzz_time() / u32::try_from(entries.len().max(1)).unwrap_or(1);
    let mut tally = Tally::default();
    let (mut legal, mut refused) = (0, 0);
    let mut reasons = BTreeMap::new();
    for entry in entries {
        let begin = Instant::now();
        let enough = |count: &Count| match asked() {
            Some(n) => count.legal >= n || count.refused >= 50 * n,
            // A busy machine must not reduce the dose to nothing, nor a kernel that refuses all draw it out.
            None => {
                let tried = count.legal + count.refused;
                begin.elapsed() >= share.max(Duration::from_millis(20)) && tried >= 4
            }
        };
        let mut count = Count::default();
        let result = walk(entry, seed, &mut count, enough);
        if asked().is_some() {
            let seconds = begin.elapsed().as_secs();
            println!("{}: {} legal, {} refused, {seconds} s", entry.label(), count.legal, count.refused);
            if let Err(wrong) = &result {
                println!("WRONG: {wrong}");
            }
        }
        for (reason, n) in count.reasons {
            *reasons.entry(reason).or_insert(0) += n;
        }
        if count.legal == 0 && result.is_ok() {
            tally.skip(&entry.label(), format!("none of {} schedules was legal", count.refused));
        }
        legal += count.legal;
        refused += count.refused;
        tally.note(&entry.label(), result);
    }
    println!("random_schedules: {legal} legal, {refused} refused: {reasons:#?}");
    tally.finish("random_schedules", &[], 1);
}

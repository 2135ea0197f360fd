//! From the data of a run to what its page shows.

use rooftile_artifact::profile::{Level, Pattern};
use rooftile_artifact::work::OpClass;
use rooftile_artifact::{DType, Profile};
use rooftile_compiler::schedule::plan::Verb;
use rooftile_compiler::schedule::print::plan_to_ast;
use rooftile_compiler::syntax;
use rooftile_search::candidate::Recipe;
use rooftile_search::finale::{Set, SizeResult};
use rooftile_search::promote::Ratio;
use rooftile_search::report::RunReport;
use rooftile_search::{archive::Descriptor, bench::size_text};
use similar::TextDiff;

use super::charts::si;
use super::data::{Ancestor, Report, ResultRow, SizePoints, Speedup};
use crate::commands::run_folder;

/// The page's data. `seed` and `winner` are the texts of the task's file and of the winner's.
#[must_use]
pub fn from_run(run: &RunReport, seed: &str, winner: &str) -> Report {
    let profile = run.profile.as_ref();
    Report {
        task: run.task.clone(),
        file: run.file.clone(),
        facts: facts(run),
        headlines: headlines(run),
        roofline: roofline(run),
        bandwidths: profile.map(|p| bandwidths(p, run.threads)).unwrap_or_default(),
        rates: profile.map(|p| rates(p, run.threads)).unwrap_or_default(),
        progress: run.progress.iter().filter_map(|g| Some((g.at_s, g.evaluations, g.incumbent?))).collect(),
        by_size: run.variants.iter().map(run_folder::variant_line).collect(),
        lineage: lineage(run),
        diff: if winner.is_empty() { String::new() } else { unified(seed, winner) },
        winner: winner.to_owned(),
        rejections: rejections(run),
        archive: run.archive.iter().map(|e| (cell(e.descriptor), e.score, e.id)).collect(),
        results: run.results.iter().map(row).collect(),
        warnings: run.warnings.clone(),
    }
}

fn headlines(run: &RunReport) -> Vec<(String, String, String)> {
    let times = |r: Option<Ratio>| r.map_or_else(|| "–".to_owned(), |r| format!("{:.2}×", r.median));
    let percent = |f: Option<f64>| f.map_or_else(|| "–".to_owned(), |f| format!("{:.1} %", f * 100.0));
    let tile = |name: &str, value: String, word: &str| (name.to_owned(), value, word.to_owned());
    vec![
        tile("over naive", times(run.speedup(Set::Sealed, |r| r.over_naive)), "sealed sizes, geometric mean"),
        tile(
            "over default",
            times(run.speedup(Set::Sealed, |r| r.over_default)),
            "sealed sizes, geometric mean",
        ),
        tile("of the roof", percent(run.fraction(Set::Sealed)), "sealed sizes, geometric mean"),
        tile("candidates", run.evaluations.to_string(), "distinct ones evaluated"),
    ]
}

fn roofline(run: &RunReport) -> Vec<SizePoints> {
    run.of(Set::Search)
        .enumerate()
        .map(|(i, r)| SizePoints {
            size: size_text(&r.sizes),
            intensity: if r.info.bytes > 0.0 { r.info.flops / r.info.bytes } else { 0.0 },
            flops: r.info.flops,
            roof_s: r.info.roof_s,
            candidates_s: run.candidate_times.get(i).cloned().unwrap_or_default(),
            naive_s: r.naive_s,
            default_s: r.default_s,
            winner_s: r.time_s.map(|t| t.0),
        })
        .collect()
}

fn row(r: &SizeResult) -> ResultRow {
    ResultRow {
        set: r.set.name().to_owned(),
        size: size_text(&r.sizes),
        failure: r.failure.clone(),
        time_s: r.time_s,
        fraction: r.fraction,
        bound: r.info.bound.clone(),
        over_naive: r.over_naive.map(speedup),
        over_default: r.over_default.map(speedup),
    }
}

fn speedup(ratio: Ratio) -> Speedup {
    Speedup { median: ratio.median, limits: ratio.lo.zip(ratio.hi) }
}

/// Bandwidths of all levels, reads alone, with the threads of the run: as roofs do, their upper limits, and no less than
/// what one thread reaches.
fn bandwidths(profile: &Profile, threads: usize) -> Vec<(String, f64)> {
    let threads = measured_threads(profile, threads);
    [(Level::L1, "L1"), (Level::L2, "L2"), (Level::L3, "L3"), (Level::Dram, "DRAM")]
        .into_iter()
        .filter_map(|(level, name)| {
            let of = |t: usize| t == 1 || t == threads;
            let reads = profile.memory.iter().filter(|r| r.level == level && r.pattern == Pattern::Read);
            let rate = reads.filter(|r| of(r.threads)).map(|r| r.rate.hi).max_by(f64::total_cmp)?;
            Some((name.to_owned(), rate))
        })
        .collect()
}

/// The rate of multiply-adds of `f32` at the widest vectors, likewise.
fn rates(profile: &Profile, threads: usize) -> Vec<(String, f64)> {
    let threads = measured_threads(profile, threads);
    let rates = profile
        .compute
        .iter()
        .filter(|r| r.class == OpClass::Fma && r.dtype == DType::F32)
        .filter(|r| r.threads == 1 || r.threads == threads)
        .map(|r| r.rate.hi);
    rates.max_by(f64::total_cmp).map(|rate| ("f32 multiply-add".to_owned(), rate)).into_iter().collect()
}

/// The largest measured number of threads that is not above the run's.
fn measured_threads(profile: &Profile, threads: usize) -> usize {
    profile.memory.iter().map(|r| r.threads).filter(|&t| t <= threads).max().unwrap_or(1)
}

fn lineage(run: &RunReport) -> Vec<Ancestor> {
    let mut before = String::new();
    run.lineage
        .iter()
        .map(|step| {
            let text = recipe_text(&run.task, &step.recipe);
            let diff = if before.is_empty() { String::new() } else { unified(&before, &text) };
            before = text;
            let operator = format!("{} ({})", step.operator, step.class);
            Ancestor { id: step.id, operator, fitness: step.score, diff }
        })
        .collect()
}

/// A recipe as text: one verb a line, then the values.
fn recipe_text(task: &str, recipe: &Recipe) -> String {
    let mut text = String::new();
    for verb in plan_to_ast(&recipe.plan, task, "cpu", None).verbs {
        let single = syntax::ast::Schedule {
            name: syntax::ast::Ident { name: task.to_owned(), span: verb.span },
            target: syntax::ast::Ident { name: "cpu".to_owned(), span: verb.span },
            when: None,
            verbs: vec![verb],
        };
        let span = single.verbs[0].span;
        let item = syntax::ast::Item { kind: syntax::ast::ItemKind::Schedule(single), span };
        let printed = syntax::print_item(&item);
        let inner =
            printed.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(body, _)| body);
        text.push_str(inner.trim());
        text.push('\n');
    }
    for (name, value) in &recipe.assignment {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

fn unified(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(1).to_string();
    // The lines that number the hunks say nothing to a reader of a short file.
    text.lines().filter(|l| !l.starts_with("@@")).map(|l| format!("{l}\n")).collect()
}

fn rejections(run: &RunReport) -> Vec<(String, u64)> {
    let mut rows: Vec<(String, u64)> = run.rejected.iter().map(|(r, n)| (r.replace('_', " "), *n)).collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows
}

fn cell(d: Descriptor) -> Vec<String> {
    let level = ["nothing staged", "staged in L1", "staged in L2", "staged in L3", "staged beyond"];
    let parallel = match (d.parallel & 3, d.parallel >= 4) {
        (0, _) => "serial".to_owned(),
        (n, false) => count(n, "parallel loop"),
        (n, true) => count(n, "parallel loop") + ", several phases",
    };
    vec![
        level.get(usize::from(d.level)).copied().unwrap_or("staged beyond").to_owned(),
        parallel,
        count(1u32 << d.registers, "register"),
        count(1u32 << d.form, "lane"),
    ]
}

fn count(n: impl Into<u32>, what: &str) -> String {
    let n = n.into();
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn facts(run: &RunReport) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![
        fact("device", format!("{}, {} threads", run.device, run.threads)),
        fact("strategy", format!("{}, seed {}", run.strategy, run.seed)),
        fact("stopped by", run_folder::stop_name(run).to_owned()),
        fact("search time", format!("{:.1} s", run.search_s)),
        fact(
            "candidates",
            format!(
                "{} evaluated, {} compiled, {} duplicates",
                run.evaluations, run.compiled, run.duplicates
            ),
        ),
        fact(
            "promotions",
            format!(
                "{} of {} challenges; a gain had to exceed {:.2} %",
                run.promotions,
                run.challenges,
                run.noise * 100.0
            ),
        ),
    ];
    if let Some(rate) = run.measured_per_s {
        facts.push(fact("throughput", format!("{rate:.1} compiled, compared and timed per second")));
    }
    if let Some(t) = run.compile_s {
        facts.push(fact("compile time", format!("{}s, median", si(t))));
    }
    let verbs = run.recipe.iter().flat_map(|recipe| &recipe.plan.verbs);
    let packed: Vec<&str> = verbs
        .filter_map(|v| if let Verb::Prepack { tensor, .. } = v { Some(tensor.as_str()) } else { None })
        .collect();
    if !packed.is_empty() {
        let all = packed.join(", ");
        facts.push(fact("packed once", format!("{all}, before the first run and in none of the times")));
    }
    if let Some(profile) = &run.profile {
        let f = &profile.fingerprint;
        facts.push(fact(
            "machine",
            format!("{} ({}), {} cores, {}, huge pages {}", f.cpu, f.cpu_id, f.cores, f.os, f.huge_pages),
        ));
        facts.push(fact("launch", format!("{}s", si(profile.launch.median))));
    }
    facts
}

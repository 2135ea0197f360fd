//! What the commands about runs share: the run's folder, its files, and what is printed at its end.

use std::path::{Path, PathBuf};

use rooftile_compiler::diag;
use rooftile_compiler::driver::Checked;
use rooftile_runtime::machine;
use rooftile_search::bench::{Reason, size_text};
use rooftile_search::evaluate::remote::Launch;
use rooftile_search::finale::{Set, Variant};
use rooftile_search::promote::Ratio;
use rooftile_search::report::RunReport;
use rooftile_search::run::RunError;
use rooftile_search::session::{Finished, SearchError};
use rooftile_search::store::Store;

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::report::{self, charts::si};

/// The run's database.
pub const STORE: &str = "run.sqlite";
/// The winner.
pub const BEST: &str = "best.tile";
/// The report.
pub const REPORT: &str = "report.html";

/// The folder of a new run: the one asked for, which must not hold a run, or a fresh `runs/NAME-N`.
///
/// # Errors
/// [`Failure::Input`] when there is a run already, or the folder cannot be made.
pub fn create(out: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let refused = |path: &Path, e: std::io::Error| Failure::Input(format!("{}: {e}", path.display()));
    if let Some(out) = out {
        if out.join(STORE).exists() {
            return Err(Failure::Input(format!(
                "{0} holds a run already; go on with it (`rooftile resume {0}`) or give another --out",
                out.display()
            )));
        }
        std::fs::create_dir_all(out).map_err(|e| refused(out, e))?;
        return Ok(out.to_owned());
    }
    let parent = Path::new("runs");
    std::fs::create_dir_all(parent).map_err(|e| refused(parent, e))?;
    for n in 1u32.. {
        let folder = parent.join(format!("{name}-{n}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(refused(&folder, e)),
        }
    }
    Err(Failure::Input("runs/ is full".to_owned()))
}

/// Takes back the folder of a run that failed before any candidate was evaluated, so that the same command can be
/// given again. Anything else in it stays.
pub fn discard(folder: &Path) {
    let path = folder.join(STORE);
    if Store::open(&path).and_then(|s| s.records()).is_ok_and(|r| r.is_empty()) {
        for end in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            let _ = std::fs::remove_file(file);
        }
    }
    // Only an empty folder goes.
    let _ = std::fs::remove_dir(folder);
}

/// How workers are started: this program again.
///
/// # Errors
/// [`Failure::Bug`] when the program does not know where it is.
pub fn launch() -> Result<Launch, Failure> {
    let program = std::env::current_exe().map_err(Failure::bug)?;
    Ok(Launch { program, args: vec!["worker".to_owned()], memory: None })
}

/// The user's folder for results of the oracle.
#[must_use]
pub fn oracle_cache() -> Option<PathBuf> {
    Some(machine::profile_path(&rooftile_runtime::fingerprint())?.parent()?.join("oracle"))
}

/// Shows a file's diagnostics on standard error; whether it is refused.
pub fn show_diagnostics(checked: &Checked, file: &str) -> bool {
    let text = diag::render(&checked.diagnostics, file, &checked.source, output::colour());
    eprint!("{text}");
    checked.has_errors()
}

/// The failure that a search error is.
#[must_use]
pub fn failure(error: SearchError, file: &str) -> Failure {
    match error {
        SearchError::File(checked) => {
            show_diagnostics(&checked, file);
            Failure::Reported
        }
        SearchError::Entry(_) | SearchError::Strategy(_) => Failure::Usage(error.to_string()),
        SearchError::Device(f) if f.reason == Reason::Unsupported => Failure::Device(f.detail),
        SearchError::Device(f) | SearchError::Run(RunError::Size { source: f, .. })
            if f.reason == Reason::Internal =>
        {
            Failure::Bug(f.to_string())
        }
        SearchError::Device(f) => Failure::Input(format!("{file}: {}", f.detail)),
        SearchError::Run(RunError::Size { size, source }) => {
            let detail = match source.reason {
                Reason::Timeout => format!("[{}] the oracle gave no answer in time", diag::Code::SlowOracle),
                _ => source.detail,
            };
            Failure::Input(format!("{file}, size {size}: {detail}"))
        }
        other => Failure::Input(other.to_string()),
    }
}

/// Writes the report into the folder.
///
/// # Errors
/// [`Failure::Input`] when it cannot be written.
pub fn write_report(folder: &Path, finished: &Finished) -> Outcome {
    output::write_file(&folder.join(REPORT), report::render(&page(finished)).as_bytes())
}

/// What the page of a run shows.
#[must_use]
pub fn page(finished: &Finished) -> report::Report {
    let winner = finished.winner_text.as_deref().unwrap_or_default();
    report::from_run(&finished.report, &finished.seed_text, winner)
}

/// Writes the report, prints the result, and says with the failure whether it can be trusted.
///
/// # Errors
/// [`Failure::NotVerified`] when there is no winner or it was wrong at some size.
pub fn conclude(folder: &Path, finished: &Finished, json: bool) -> Outcome {
    write_report(folder, finished)?;
    let report = &finished.report;
    if json {
        output::print_json_line(&report.summary(&finished.best.display().to_string()))?;
    } else {
        output::print(&summary(report, folder))?;
    }
    if report.winner.is_none() {
        return Err(Failure::NotVerified("no candidate was right".to_owned()));
    }
    if !report.verified() {
        let wrong: Vec<String> = report
            .results
            .iter()
            .filter_map(|r| Some(format!("{}: {}", size_text(&r.sizes), r.failure.as_deref()?)))
            .collect();
        return Err(Failure::NotVerified(wrong.join("; ")));
    }
    Ok(())
}

/// The result for people.
#[must_use]
pub fn summary(report: &RunReport, folder: &Path) -> String {
    let mut out = format!(
        "{}: {} candidates in {:.1} s{}, {} promotions, seed {}; stopped by {}\n",
        report.task,
        report.evaluations,
        report.search_s,
        report.evaluations_per_s.map(|r| format!(" ({r:.1}/s)")).unwrap_or_default(),
        report.promotions,
        report.seed,
        stop_name(report),
    );
    if !report.rejected.is_empty() {
        let reasons: Vec<String> =
            report.rejected.iter().map(|(r, n)| format!("{n} {}", r.replace('_', " "))).collect();
        out += &format!("rejected: {}\n", reasons.join(", "));
    }
    if !report.results.is_empty() {
        out.push('\n');
        out += &output::table(&rows(report));
    }
    for variant in &report.variants {
        out += &format!("\n{}\n", variant_line(variant));
    }
    for warning in &report.warnings {
        out += &format!("warning: {warning}\n");
    }
    let file = |name: &str| folder.join(name).display().to_string();
    if report.winner.is_some() {
        out += &format!("\nwinner  {}\nreport  {}\n", file(BEST), file(REPORT));
    } else {
        out += &format!("\nreport  {}\n", file(REPORT));
    }
    out
}

/// Where another schedule than the winner's runs, and what that gains.
#[must_use]
pub fn variant_line(variant: &Variant) -> String {
    format!(
        "when {}: candidate {}, {} as fast as the winner there",
        variant.when,
        variant.candidate,
        times(variant.over_winner)
    )
}

/// Why the search ended, in words.
#[must_use]
pub fn stop_name(report: &RunReport) -> &'static str {
    use rooftile_search::report::Stop;
    match report.stop {
        Stop::Time => "time",
        Stop::Evaluations => "the number of candidates",
        Stop::Interrupted => "the user",
        Stop::Headroom => "the roof, which is nearly reached",
        Stop::Exhausted => "want of further candidates",
        Stop::NoSeed => "want of a first candidate that works",
    }
}

fn rows(report: &RunReport) -> Vec<Vec<String>> {
    let head = ["set", "size", "time", "of roof", "bound", "over naive", "over default", "verified"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for r in &report.results {
        rows.push(vec![
            r.set.name().to_owned(),
            size_text(&r.sizes),
            r.time_s.map_or_else(dash, |t| format!("{}s", si(t.0))),
            r.fraction.map_or_else(dash, |f| format!("{:.1} %", f * 100.0)),
            r.info.bound.clone(),
            r.over_naive.map_or_else(dash, times),
            r.over_default.map_or_else(dash, times),
            if r.failure.is_none() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    for set in [Set::Search, Set::Heldout, Set::Sealed] {
        if report.of(set).count() > 1 {
            rows.push(vec![
                set.name().to_owned(),
                "geometric mean".to_owned(),
                String::new(),
                report.fraction(set).map_or_else(dash, |f| format!("{:.1} %", f * 100.0)),
                String::new(),
                report.speedup(set, |r| r.over_naive).map_or_else(dash, times),
                report.speedup(set, |r| r.over_default).map_or_else(dash, times),
                String::new(),
            ]);
        }
    }
    rows
}

fn dash() -> String {
    "–".to_owned()
}

/// `8.31x [8.20, 8.44]`, the 95 % limits in brackets.
#[must_use]
pub fn times(r: Ratio) -> String {
    match (r.lo, r.hi) {
        (Some(lo), Some(hi)) => format!("{:.2}x [{lo:.2}, {hi:.2}]", r.median),
        _ => format!("{:.2}x", r.median),
    }
}

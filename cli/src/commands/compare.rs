//! `rooftile compare`: several runs side by side: devices, machines, strategies, seeds.

use std::collections::BTreeMap;
use std::path::Path;

use rooftile_search::finale::Set;
use rooftile_search::report::RunReport;
use serde_json::{Value, json};

use super::report::finished;
use super::run_folder::{BEST, times};
use crate::args::CompareArgs;
use crate::failure::Outcome;
use crate::output;

/// Prints the comparison.
///
/// # Errors
/// [`crate::failure::Failure::Input`] when a folder holds no finished run.
pub fn run(args: &CompareArgs) -> Outcome {
    let mut runs = Vec::new();
    for dir in &args.dirs {
        runs.push((dir.display().to_string(), finished(dir)?.report));
    }
    if args.json {
        return output::print_json(&document(&runs));
    }
    output::print(&text(&runs))
}

/// The portability score of each task: the harmonic mean of the fractions that its runs reach on the sizes that nothing
/// had seen, 0 when one of them has no right winner.
#[must_use]
pub fn portability(runs: &[(String, RunReport)]) -> BTreeMap<String, f64> {
    let mut fractions: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (_, report) in runs {
        let reached = report.fraction(Set::Sealed).or_else(|| report.fraction(Set::Heldout));
        let reached = reached.filter(|_| report.verified()).unwrap_or(0.0);
        fractions.entry(report.task.clone()).or_default().push(reached);
    }
    fractions.into_iter().map(|(task, f)| (task, harmonic_mean(&f))).collect()
}

/// 0 when a value is not positive.
fn harmonic_mean(values: &[f64]) -> f64 {
    if values.iter().any(|v| *v <= 0.0) {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
    let n = values.len() as f64;
    n / values.iter().map(|v| 1.0 / v).sum::<f64>()
}

fn document(runs: &[(String, RunReport)]) -> Value {
    let all: Vec<Value> = runs
        .iter()
        .map(|(dir, report)| {
            let mut run = report.summary(&Path::new(dir).join(BEST).display().to_string());
            if let Value::Object(fields) = &mut run {
                fields.insert("dir".to_owned(), json!(dir));
                let profile = report.profile.as_ref();
                fields.insert("fingerprint".to_owned(), json!(profile.map(|p| &p.fingerprint)));
                fields.insert("target".to_owned(), json!(profile.map(|p| &p.target)));
            }
            run
        })
        .collect();
    json!({ "runs": all, "portability": portability(runs) })
}

fn text(runs: &[(String, RunReport)]) -> String {
    let dash = || "–".to_owned();
    let percent = |f: Option<f64>| f.map_or_else(dash, |f| format!("{:.1} %", f * 100.0));
    let head = [
        "run",
        "task",
        "device",
        "threads",
        "candidates",
        "held out",
        "sealed",
        "over naive",
        "over default",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows[0].push("verified".to_owned());
    for (dir, r) in runs {
        rows.push(vec![
            dir.clone(),
            r.task.clone(),
            r.device.clone(),
            r.threads.to_string(),
            r.evaluations.to_string(),
            percent(r.fraction(Set::Heldout)),
            percent(r.fraction(Set::Sealed)),
            r.speedup(Set::Sealed, |s| s.over_naive).map_or_else(dash, times),
            r.speedup(Set::Sealed, |s| s.over_default).map_or_else(dash, times),
            if r.verified() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    let mut out = output::table(&rows);
    out += "held out, sealed: fraction of the roof; ratios are of the sealed sizes, with 95 % limits\n\n";
    for (dir, r) in runs {
        let machine = r.profile.as_ref().map_or_else(
            || "no machine: times are those of the model".to_owned(),
            |p| {
                let f = &p.fingerprint;
                // A device of its own is named before the machine that it is in.
                let device = if f.device.is_empty() { String::new() } else { format!("{}; ", f.device) };
                format!(
                    "{device}{} ({}), {} cores, {}, huge pages {}",
                    f.cpu, f.cpu_id, f.cores, f.os, f.huge_pages
                )
            },
        );
        out += &format!("{dir}: {machine}; {}, seed {}\n", r.strategy, r.seed);
    }
    for (task, score) in portability(runs) {
        out += &format!("portability of {task}: {:.1} % (harmonic mean of the fractions)\n", score * 100.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::harmonic_mean;

    #[test]
    fn the_slowest_platform_counts_most() {
        assert!((harmonic_mean(&[0.5, 0.25]) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(harmonic_mean(&[0.5, 0.0]), 0.0);
    }
}

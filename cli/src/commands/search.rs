//! `rooftile search`: from a task to a winner that can be trusted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rooftile_compiler::diag::{self, Code, Diagnostic};
use rooftile_compiler::driver::{Checked, check};
use rooftile_compiler::task::Task;
use rooftile_search::bench::size_text;
use rooftile_search::evaluate::local::Cost;
use rooftile_search::session::{self, Finished, Options};
use rooftile_search::strategy::StrategyKind;
use serde_json::json;

use super::{machine, run_folder};
use crate::args::SearchArgs;
use crate::failure::{Failure, Outcome};
use crate::progress::{Budget, Display};
use crate::{interrupt, output};

/// Seconds of search where nothing else is said.
const BUDGET_S: f64 = 60.0;
/// Candidates where time is not counted and nothing else is said.
const EVALUATIONS: u64 = 1000;
/// Seconds that the oracle may take at one size.
const ORACLE_S: f64 = 20.0;
/// Operations per second that no oracle reaches: a size that needs more than this lets the oracle do in time is refused
/// before anything runs.
const ORACLE_RATE: f64 = 1e11;

/// Searches a file, or all files of a folder.
///
/// # Errors
/// [`Failure`] for bad input or usage, for a missing device, and where no candidate, or a wrong one, won.
pub fn run(args: &SearchArgs) -> Outcome {
    let settings = Settings::new(args)?;
    if args.file.is_dir() {
        return folder(args, &settings);
    }
    let (folder, finished) = one(args, &settings, &args.file, args.out.as_deref())?;
    run_folder::conclude(&folder, &finished, args.json)
}

/// What the command line says, read and judged.
struct Settings {
    strategy: StrategyKind,
    cost: Cost,
    budget: Budget,
    from: Option<String>,
    stop: std::sync::Arc<AtomicBool>,
}

impl Settings {
    fn new(args: &SearchArgs) -> Result<Settings, Failure> {
        let strategy = args.strategy.parse::<StrategyKind>().map_err(|e| Failure::Usage(e.to_string()))?;
        let cost = match args.cost.as_str() {
            "clock" => Cost::Clock,
            "model" => Cost::Model,
            other => return Err(Failure::Usage(format!("--cost is clock or model, not `{other}`"))),
        };
        let budget = match (cost, args.budget, args.evals) {
            (Cost::Model, Some(_), _) => {
                return Err(Failure::Usage(
                    "--cost model reads no clock, so --budget means nothing to it; give --evals".to_owned(),
                ));
            }
            (Cost::Model, None, None) => Budget { seconds: None, evaluations: Some(EVALUATIONS) },
            (Cost::Clock, None, None) => Budget { seconds: Some(BUDGET_S), evaluations: None },
            (_, seconds, evaluations) => Budget { seconds, evaluations },
        };
        rooftile_runtime::open(&args.device).map_err(|e| Failure::Device(e.to_string()))?;
        let from = match &args.from {
            None => None,
            Some(path) => {
                let text = output::read_source(path)?;
                let checked = check(&text);
                if run_folder::show_diagnostics(&checked, &path.display().to_string()) {
                    return Err(Failure::Reported);
                }
                Some(text)
            }
        };
        Ok(Settings { strategy, cost, budget, from, stop: interrupt::stop_flag() })
    }

    /// The settings of one of `n` tasks that share the budget.
    fn share(&self, n: usize) -> Settings {
        #[expect(clippy::cast_precision_loss, reason = "a number of files")]
        let seconds = self.budget.seconds.map(|s| s / n.max(1) as f64);
        let evaluations = self.budget.evaluations.map(|e| (e / n.max(1) as u64).max(1));
        Settings {
            strategy: self.strategy,
            cost: self.cost,
            budget: Budget { seconds, evaluations },
            from: self.from.clone(),
            stop: std::sync::Arc::clone(&self.stop),
        }
    }
}

/// Searches one file.
fn one(
    args: &SearchArgs,
    settings: &Settings,
    file: &Path,
    out: Option<&Path>,
) -> Result<(PathBuf, Finished), Failure> {
    let name = file.display().to_string();
    let text = output::read_source(file)?;
    let checked = check(&text);
    if run_folder::show_diagnostics(&checked, &name) {
        return Err(Failure::Reported);
    }
    let entry = checked.entry(args.name.as_deref()).map_err(|e| Failure::Usage(format!("{name}: {e}")))?;
    let entry_name = checked.hir.funcs[entry].name.clone();
    let Some(task) = checked.task(entry).filter(|t| !t.search.is_empty()) else {
        return Err(Failure::Input(format!(
            "{name}: `{entry_name}` has no task with search sizes; a search needs one to know what is right"
        )));
    };
    refuse_slow_oracles(&checked, task, &name)?;
    let folder = run_folder::create(out, &entry_name)?;
    let profile = match (&args.profile, settings.cost) {
        (Some(path), _) => Some(machine::profile(&args.device, Some(path), false)?),
        (None, Cost::Clock) => Some(machine::profile(&args.device, None, false)?),
        (None, Cost::Model) => None,
    };
    let options = Options {
        file: name.clone(),
        text,
        entry: Some(entry_name.clone()),
        device: args.device.clone(),
        threads: args.threads.unwrap_or(0),
        seed: args.seed.unwrap_or(0),
        strategy: settings.strategy,
        budget_s: settings.budget.seconds,
        evals: settings.budget.evaluations,
        cost: settings.cost,
        from: settings.from.clone(),
        profile,
        worker: Some(run_folder::launch()?),
        workers: args.workers.workers.get(),
        cache: run_folder::oracle_cache(),
    };
    let mut display = Display::new(&entry_name, settings.budget, args.json);
    let outcome = session::start(&options, &folder, &settings.stop, &mut |event| display.tell(event));
    display.finish();
    match outcome {
        Ok(finished) => Ok((folder, finished)),
        Err(error) => {
            run_folder::discard(&folder);
            Err(run_folder::failure(error, &name))
        }
    }
}

/// Refuses sizes at which no oracle could judge in time, by the operations that the task states.
fn refuse_slow_oracles(checked: &Checked, task: &Task, file: &str) -> Outcome {
    let sets = [&task.search, &task.heldout, &task.sealed].into_iter().flatten();
    let slow: Vec<Diagnostic> = sets
        .filter_map(|set| {
            let seconds = task.flops(&set.values)? / ORACLE_RATE;
            (seconds > ORACLE_S).then(|| {
                let message = format!(
                    "at {} the oracle would take more than {seconds:.0} s; {ORACLE_S:.0} s are allowed",
                    size_text(&set.values)
                );
                Diagnostic::error(Code::SlowOracle, set.span, message).help("choose a smaller size")
            })
        })
        .collect();
    if slow.is_empty() {
        return Ok(());
    }
    eprint!("{}", diag::render(&slow, file, &checked.source, output::colour()));
    Err(Failure::Reported)
}

/// Searches every file of a folder; they share the budget. The first failure is the command's, after all have been tried.
fn folder(args: &SearchArgs, settings: &Settings) -> Outcome {
    let shown = args.file.display();
    if args.name.is_some() {
        return Err(Failure::Usage(format!("{shown} is a folder; a NAME chooses within one file")));
    }
    let entries = std::fs::read_dir(&args.file).map_err(|e| Failure::Input(format!("{shown}: {e}")))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "tile") && p.is_file())
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::Input(format!("{shown} holds no .tile file")));
    }
    let settings = settings.share(files.len());
    let (mut worst, mut summaries) = (None, Vec::new());
    for file in &files {
        if settings.stop.load(Ordering::Relaxed) {
            eprintln!("{}: left out, interrupted", file.display());
            continue;
        }
        let stem = file.file_stem().unwrap_or_default();
        let out = args.out.as_ref().map(|out| out.join(stem));
        let result = one(args, &settings, file, out.as_deref()).and_then(|(folder, finished)| {
            summaries.push(finished.report.summary(&finished.best.display().to_string()));
            run_folder::conclude(&folder, &finished, args.json)
        });
        if let Err(failure) = result {
            eprintln!("{}: {failure}", file.display());
            worst.get_or_insert(failure);
        }
    }
    if args.json {
        output::print_json_line(&json!({ "runs": summaries }))?;
    }
    match worst {
        None => Ok(()),
        // Its text has been shown; the exit code is left to say.
        Some(Failure::Input(_)) => Err(Failure::Reported),
        Some(failure) => Err(failure),
    }
}

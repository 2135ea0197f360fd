//! From a file to a finished search: what the command line calls. `start` begins a run in a folder, `resume` goes on
//! with one, `worker` is what the worker process runs.

mod ground;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rooftile_artifact::{Profile, Target};
use rooftile_compiler::driver::{Checked, EntryError, check};

use crate::bench::{Bench, Clock, Failure, NoClock};
use crate::bench_device::{Machine, WallClock, available_memory, device_profile};
use crate::evaluate::cache::OracleCache;
use crate::evaluate::crew::{Crew, Member};
use crate::evaluate::local::{Cost, Local, Setup};
use crate::evaluate::protocol;
use crate::evaluate::remote::{Launch, Remote, Timeouts};
use crate::evaluate::serve::serve;
use crate::evaluate::tile::TileTask;
use crate::report::RunReport;
use crate::run::{Hands, Progress, RunError, run};
use crate::store::{Header, Store, StoreError};
use crate::strategy::{StrategyKind, UnknownStrategy};

use ground::Ground;

/// Part of the memory that a worker may have.
const MEMORY_PART: f64 = 0.8;
const STORE: &str = "run.sqlite";
const BEST: &str = "best.tile";

/// How a search is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file's name, for messages and the report.
    pub file: String,
    /// The file's text.
    pub text: String,
    /// Kernel or pipeline; by default the one that the file's task names.
    pub entry: Option<String>,
    /// Device.
    pub device: String,
    /// Threads of the kernels; 0 for the device's default.
    pub threads: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// How candidates are chosen.
    pub strategy: StrategyKind,
    /// Seconds of search.
    pub budget_s: Option<f64>,
    /// Candidates evaluated.
    pub evals: Option<u64>,
    /// What a candidate's time is.
    pub cost: Cost,
    /// Text of another file with the same kernel, whose schedule and values are a further start.
    pub from: Option<String>,
    /// The machine as measured; by default the stored profile, else it is measured now.
    pub profile: Option<Profile>,
    /// How worker processes are started; without, candidates run in this process.
    pub worker: Option<Launch>,
    /// Worker processes.
    pub workers: usize,
    /// Folder for results of the oracle.
    pub cache: Option<PathBuf>,
}

/// A search that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it found.
    pub report: RunReport,
    /// The file that it started from.
    pub seed_text: String,
    /// The winner's file; `None` when nothing was right.
    pub winner_text: Option<String>,
    /// Where the winner was written.
    pub best: PathBuf,
}

/// Why a search could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The file has errors; its diagnostics say which.
    #[error("the file has errors")]
    File(Box<Checked>),
    /// It is not clear what to search.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// There is nothing to judge by.
    #[error("`{0}` has no task with search sizes; a search needs one")]
    NoTask(String),
    /// The tunables have no values at the task's sizes.
    #[error("{0}")]
    Space(String),
    /// No such strategy.
    #[error(transparent)]
    Strategy(#[from] UnknownStrategy),
    /// The device or the worker failed before any candidate did.
    #[error("{0}")]
    Device(Failure),
    /// The machine could not be measured.
    #[error("the machine's roofs are not known: {0}")]
    Profile(String),
    /// A size, or the store.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Begins a search whose store and winner are written to the folder `out`.
///
/// # Errors
/// [`SearchError`]; a candidate's failure is none.
pub fn start(
    options: &Options,
    out: &Path,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Finished, SearchError> {
    let machine = Machine::open(&options.device, options.threads).map_err(SearchError::Device)?;
    let target = machine.target();
    let ground = Ground::new(&options.text, options.entry.as_deref(), &target)?;
    let profile = match (&options.profile, options.cost) {
        (Some(profile), _) => Some(profile.clone()),
        (None, Cost::Model) => None,
        (None, Cost::Clock) => Some(device_profile(&options.device).map_err(SearchError::Profile)?),
    };
    let seeds = ground.seeds(options.from.as_deref());
    let header = Header {
        file: options.file.clone(),
        text: options.text.clone(),
        entry: ground.task.name.clone(),
        task_hash: ground.hash(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: options.device.clone(),
        threads: machine.threads(),
        seed: options.seed,
        strategy: options.strategy.to_string(),
        cost: cost_name(options.cost).to_owned(),
        budget_s: options.budget_s,
        evals: options.evals,
        seeds,
        profile,
    };
    std::fs::create_dir_all(out).map_err(|source| SearchError::Write { path: out.to_owned(), source })?;
    let store = Store::create(&out.join(STORE), &header)?;
    let how = How { worker: options.worker.clone(), workers: options.workers, cache: options.cache.clone() };
    carry_out(ground, &header, store, &how, out, stop, progress)
}

/// How an interrupted search goes on: what its store does not say.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// How worker processes are started; without, candidates run in this process.
    pub worker: Option<Launch>,
    /// Worker processes; the search's course does not depend on how many.
    pub workers: usize,
    /// Folder for results of the oracle.
    pub cache: Option<PathBuf>,
}

/// Goes on with the search in a folder, to its limits or to others given now.
///
/// # Errors
/// [`SearchError`]; a candidate's failure is none.
pub fn resume(
    out: &Path,
    how: &How,
    budget_s: Option<f64>,
    evals: Option<u64>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Finished, SearchError> {
    let store = Store::open(&out.join(STORE))?;
    let mut header = store.header()?;
    if budget_s.is_some() || evals.is_some() {
        (header.budget_s, header.evals) = (budget_s, evals);
    }
    let machine = Machine::open(&header.device, header.threads).map_err(SearchError::Device)?;
    let ground = Ground::new(&header.text, Some(&header.entry), &machine.target())?;
    carry_out(ground, &header, store, how, out, stop, progress)
}

/// A finished search read back from its folder.
///
/// # Errors
/// [`SearchError`] when there is none, or it has not ended.
pub fn read(out: &Path) -> Result<Finished, SearchError> {
    let store = Store::open(&out.join(STORE))?;
    let header = store.header()?;
    let report = store.report()?.ok_or_else(|| {
        StoreError::Damaged("the run has not ended; `rooftile resume` goes on with it".to_owned())
    })?;
    // The text is written for the device's kind, whatever it was exactly.
    let ground = Ground::new(&header.text, Some(&header.entry), &Target::plain(&header.device))?;
    let winner_text = ground.winner(&report);
    Ok(Finished { report, seed_text: header.text, winner_text, best: out.join(BEST) })
}

fn cost_name(cost: Cost) -> &'static str {
    match cost {
        Cost::Clock => "clock",
        Cost::Model => "model",
    }
}

fn carry_out(
    ground: Ground,
    header: &Header,
    mut store: Store,
    how: &How,
    out: &Path,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Finished, SearchError> {
    let cost = if header.cost == "model" { Cost::Model } else { Cost::Clock };
    let task = protocol::Task {
        file: header.file.clone(),
        text: header.text.clone(),
        entry: Some(header.entry.clone()),
        device: header.device.clone(),
        threads: header.threads,
        profile: header.profile.clone(),
        seed: header.seed,
        cost,
        cache: how.cache.clone(),
    };
    let mut bench: Box<dyn Bench> = match &how.worker {
        Some(launch) => {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of the memory"
            )]
            let part =
                available_memory().map(|b| (b as f64 * MEMORY_PART / how.workers.max(1) as f64) as u64);
            let launch = Launch { memory: launch.memory.or(part), ..launch.clone() };
            let member = || -> Result<Member, Failure> {
                Ok(Box::new(Remote::start(launch.clone(), task.clone(), Timeouts::default())?))
            };
            let members = (0..how.workers.max(1)).map(|_| member()).collect::<Result<_, _>>();
            Box::new(members.and_then(Crew::new).map_err(SearchError::Device)?)
        }
        None => open(&task).map_err(SearchError::Device)?,
    };
    let job = ground.job(header)?;
    // The clock starts when everything is ready.
    let clock: Box<dyn Clock> = match cost {
        Cost::Clock => Box::new(WallClock::start()),
        Cost::Model => Box::new(NoClock),
    };
    let mut hands = Hands { bench: &mut *bench, store: &mut store, clock: &*clock, stop, progress };
    let report = run(&job, &mut hands)?;
    let winner_text = ground.winner(&report);
    let best = out.join(BEST);
    if let Some(text) = &winner_text {
        write_whole(&best, text).map_err(|source| SearchError::Write { path: best.clone(), source })?;
    }
    Ok(Finished { report, seed_text: header.text.clone(), winner_text, best })
}

/// Writes a file so that it appears whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, text)?;
    std::fs::rename(&part, path)
}

/// What the worker process runs: requests on standard input, answers on standard output, until the input ends.
pub fn worker() {
    serve(std::io::stdin(), &mut std::io::stdout(), &open);
}

/// Makes the evaluation of a task in this process.
///
/// # Errors
/// [`Failure`] when the file, the device or the task are not usable.
pub fn open(task: &protocol::Task) -> Result<Box<dyn Bench>, Failure> {
    use crate::bench::Reason;
    let machine = Machine::open(&task.device, task.threads)?;
    let checked = check(&task.text);
    if checked.has_errors() {
        return Err(Failure::new(Reason::Size, "the file has errors"));
    }
    let entry =
        checked.entry(task.entry.as_deref()).map_err(|e| Failure::new(Reason::Size, e.to_string()))?;
    let own = Machine::open(&task.device, task.threads)?;
    let workload = TileTask::new(checked, entry, own, task.cost == Cost::Model)?;
    let setup = Setup {
        profile: task.profile.clone(),
        seed: task.seed,
        cost: task.cost,
        cache: task.cache.as_deref().and_then(OracleCache::open),
    };
    Ok(Box::new(Local::new(workload, machine, setup)))
}

#[cfg(test)]
mod tests;

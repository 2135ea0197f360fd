//! From a file to a finished search: what the command line calls. `start` begins a run in a folder, `resume` goes on
//! with one, `worker` is what the worker process runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rooftile_artifact::{CpuTarget, Profile};
use rooftile_compiler::diag::Span;
use rooftile_compiler::driver::{Checked, EntryError, check};
use rooftile_compiler::hir::ir::FuncId;
use rooftile_compiler::schedule::anchors::anchors as plausible;
use rooftile_compiler::schedule::plan::{Assignment, Plan};
use rooftile_compiler::schedule::{Allow, default_plan};
use rooftile_compiler::syntax::ast::{BinaryOp, Expr, ExprKind, ItemKind};
use rooftile_compiler::syntax::edit;
use rooftile_compiler::task::{Task, sealed};
use rooftile_compiler::tune::cpu_keys;
use rooftile_compiler::tune::solve::Space;

use crate::bench::{Bench, Clock, Failure, NoClock, Sizes};
use crate::bench_device::{Machine, WallClock, available_memory, machine_profile};
use crate::candidate::{Allowed, Base, Class, Proposal, Recipe};
use crate::evaluate::cache::OracleCache;
use crate::evaluate::crew::{Crew, Member};
use crate::evaluate::local::{Cost, Local, Setup};
use crate::evaluate::protocol;
use crate::evaluate::remote::{Launch, Remote, Timeouts};
use crate::evaluate::serve::serve;
use crate::evaluate::tile::TileTask;
use crate::finale::Condition;
use crate::mutate::anchors::Anchors;
use crate::mutate::space::TuneSpace;
use crate::mutate::{Mutator, normalise};
use crate::report::RunReport;
use crate::rng::Rng;
use crate::run::{Hands, Job, Limits, Progress, RunError, run};
use crate::spell::spelled_out;
use crate::store::{Header, Store, StoreError};
use crate::strategy::{StrategyKind, UnknownStrategy};

/// Sealed sizes that are drawn where a task writes none.
const SEALED: usize = 2;
/// Part of the memory that a worker may have.
const MEMORY_PART: f64 = 0.8;
/// A fitness beyond which there is nothing left to gain.
const ROOF: f64 = 0.97;
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
        (None, Cost::Clock) => Some(machine_profile().map_err(SearchError::Profile)?),
    };
    let seeds = ground.seeds(options.from.as_deref());
    let header = Header {
        file: options.file.clone(),
        text: options.text.clone(),
        entry: ground.task.name.clone(),
        task_hash: ground.hash(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: options.device.clone(),
        threads: target.threads,
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
    let ground = Ground::new(&header.text, Some(&header.entry), &CpuTarget::default())?;
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

/// A checked file with the task that is searched.
struct Ground {
    checked: Checked,
    entry: FuncId,
    task: Task,
    target: CpuTarget,
}

impl Ground {
    fn new(text: &str, entry: Option<&str>, target: &CpuTarget) -> Result<Ground, SearchError> {
        let checked = check(text);
        if checked.has_errors() {
            return Err(SearchError::File(Box::new(checked)));
        }
        let entry = checked.entry(entry)?;
        let name = checked.hir.funcs[entry].name.clone();
        match checked.task(entry).cloned() {
            Some(task) if !task.search.is_empty() => {
                Ok(Ground { checked, entry, task, target: target.clone() })
            }
            _ => Err(SearchError::NoTask(name)),
        }
    }

    fn hash(&self) -> String {
        blake3::Hash::from(self.checked.task_hash(self.entry)).to_hex().to_string()
    }

    fn sets(sets: &[rooftile_compiler::task::SizeSet]) -> Vec<Sizes> {
        sets.iter().map(|s| s.values.clone()).collect()
    }

    fn space(&self) -> Result<Space, SearchError> {
        let sizes = Ground::sets(&self.task.search);
        self.checked
            .space(self.entry, "cpu", &cpu_keys(&self.target), &sizes)
            .map_err(|e| SearchError::Space(e.to_string()))
    }

    /// The values used without a search.
    fn assignment(&self) -> Assignment {
        self.space().ok().and_then(|s| s.default(None)).unwrap_or_default()
    }

    /// The file's schedule, a warm start, the compiler's choice and plain loops; the first that is right is what a
    /// winner may not lose to.
    fn seeds(&self, from: Option<&str>) -> Vec<(String, Proposal)> {
        let assignment = self.assignment();
        let mut seeds = Vec::new();
        let mut add = |name: &str, base: Base, plan: Plan, assignment: &Assignment| {
            let recipe = Recipe { base, plan, assignment: assignment.clone(), ..Recipe::default() };
            let operator = name.to_owned();
            seeds
                .push((name.to_owned(), Proposal { recipe, parents: Vec::new(), operator, class: Class::X }));
        };
        let first = self.task.search.first().map(|s| s.values.clone()).unwrap_or_default();
        let own = self.checked.schedule(self.entry, "cpu", &first);
        if let Some(written) = own {
            add("file", Base::Planned, written.plan.clone(), &assignment);
        }
        // Written out the default comes first: it is what moves start from, and what a file can hold. Where its loops
        // are those of the default itself (those of a pipeline may differ), that is not tried again.
        let allow = Allow::from(&self.task.allow);
        if let Some(mut plan) = default_plan(&self.checked.hir, self.entry, allow, &self.target) {
            normalise(&mut plan);
            add("default_plan", Base::Planned, plan, &assignment);
        }
        add("default", Base::Default, Plan::default(), &assignment);
        add("naive", Base::Naive, Plan::default(), &assignment);
        // What the file says of other sizes.
        for other in self.checked.schedules.iter().filter(|s| s.name == self.task.name && s.target == "cpu") {
            if own.is_none_or(|own| own.when != other.when) {
                add("file", Base::Planned, other.plan.clone(), &assignment);
            }
        }
        if let Some(other) = from.and_then(|text| Ground::new(text, Some(&self.task.name), &self.target).ok())
            && let Some(written) = other.checked.schedule(other.entry, "cpu", &first)
        {
            add("from", Base::Planned, written.plan.clone(), &other.assignment());
        }
        seeds
    }

    fn job(&self, header: &Header) -> Result<Job, SearchError> {
        let allow = &self.task.allow;
        let allowed = Allowed { reassoc: allow.reassoc, online: allow.online, atomics: allow.atomics };
        let anchors = Anchors::of(&self.checked.hir, self.entry);
        let (file, task) = (self.checked.hir.clone(), self.task.clone());
        let written = Ground::sets(&self.task.sealed);
        Ok(Job {
            file: header.file.clone(),
            task: header.entry.clone(),
            device: header.device.clone(),
            threads: header.threads,
            seed: header.seed,
            strategy: header.strategy.parse::<StrategyKind>()?,
            limits: Limits {
                seconds: header.budget_s,
                evaluations: header.evals,
                // Nominal roofs say nothing about what is left to gain.
                fraction: header.profile.as_ref().map(|_| ROOF),
            },
            mutator: Mutator::new(anchors, Box::new(Solved(self.space()?)), allowed)
                .with_plausible(plausible(&self.checked.hir, self.entry)),
            seeds: header.seeds.clone(),
            search: Ground::sets(&self.task.search),
            heldout: Ground::sets(&self.task.heldout),
            sealed: Box::new(move |rng| {
                if written.is_empty() {
                    Ground::sets(&sealed::draw(&file, &task, SEALED, rng.bits()))
                } else {
                    written.clone()
                }
            }),
            spell: {
                let (file, entry, target) = (self.checked.hir.clone(), self.entry, self.target.clone());
                let allow = Allow::from(allow);
                Box::new(move |recipe| spelled_out(&file, entry, recipe, allow, &target))
            },
            profile: header.profile.clone(),
        })
    }

    /// The file with the winner written in, and with it those that are better on one side of a size. The schedules that
    /// lost to them go; where the compiler's own choice won, no schedule takes their place.
    fn winner(&self, report: &RunReport) -> Option<String> {
        let recipe = report.recipe.as_ref()?;
        let mut text = self.without_schedules(recipe.base == Base::Planned);
        let mut write = |when: Option<Expr>, recipe: &Recipe| {
            let file = check(&text);
            let entry = file.hir.entry(&self.task.name)?;
            text = file.with_winner(entry, "cpu", when, &recipe.plan, &recipe.assignment);
            Some(())
        };
        if recipe.base == Base::Planned {
            write(None, recipe)?;
        }
        for variant in &report.variants {
            write(Some(condition(&variant.when)), &variant.recipe)?;
        }
        Some(text)
    }

    /// The file without the task's schedules for this device; `keep` says whether the one without a condition stays.
    fn without_schedules(&self, keep: bool) -> String {
        let mut text = self.checked.source.clone();
        for item in self.checked.ast.items.iter().rev() {
            if let ItemKind::Schedule(schedule) = &item.kind
                && schedule.name.name == self.task.name
                && schedule.target.name == "cpu"
                && !(keep && schedule.when.is_none())
            {
                let (start, end) = (item.span.start as usize, item.span.end as usize);
                let end = end + usize::from(text[end..].starts_with('\n'));
                text.replace_range(start..end, "");
            }
        }
        text
    }
}

/// A condition as a file writes it.
fn condition(when: &Condition) -> Expr {
    let op = if when.from { BinaryOp::Ge } else { BinaryOp::Lt };
    let (size, than) = (Box::new(edit::name(&when.size)), Box::new(edit::int(when.than)));
    Expr { kind: ExprKind::Binary(op, size, than), span: Span::default() }
}

/// The solver's space, as moves see it.
struct Solved(Space);

impl TuneSpace for Solved {
    fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }

    fn values(&self, name: &str) -> Vec<i64> {
        self.0.values(name).map(<[i64]>::to_vec).unwrap_or_default()
    }

    fn sample(&self, rng: &mut Rng) -> Option<Assignment> {
        self.0.sample(rng.inner())
    }

    fn repair(&self, point: &Assignment, rng: &mut Rng) -> Option<Assignment> {
        self.0.repair(point, rng.inner())
    }

    fn neighbours(&self, point: &Assignment) -> Vec<Assignment> {
        self.0.neighbours(point)
    }

    fn enumerate(&self, limit: usize) -> Option<Vec<Assignment>> {
        let mut points = self.0.enumerate()?;
        let first: Vec<Assignment> = points.by_ref().take(limit).collect();
        points.next().is_none().then_some(first)
    }
}

#[cfg(test)]
mod tests;

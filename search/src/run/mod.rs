//! The loop: propose, evaluate, commit, learn, until a limit is reached; then selection and the report.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use rooftile_artifact::Profile;

use crate::bench::{Bench, Clock, Failure, Reason, SizeInfo, Sizes, Upcoming, size_text};
use crate::candidate::{CandidateId, Proposal, Recipe};
use crate::evaluate::funnel::{Course, calibrate, evaluate};
use crate::finale::{Baselines, Grounds, Rivals, Selected, Set, choose, report_size, select};
use crate::mutate::Mutator;
use crate::promote::median;
use crate::record::{Outcome, Record};
use crate::report::{Ancestor, Generation, RunReport, Stop};
use crate::rng::Rng;
use crate::state::State;
use crate::store::{Store, StoreError};
use crate::strategy::{Context, Strategy, StrategyKind};

/// Evaluations between two records of the course.
const GENERATION: u64 = 50;
/// Proposals made for one step before the strategy counts as exhausted.
const TRIES: usize = 200;
/// A step's stream of random numbers for anything but proposals.
const EVALUATION_STREAM: u64 = 1 << 63;

/// Limits of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Seconds from the first candidate.
    pub seconds: Option<f64>,
    /// Candidates evaluated, duplicates not counted.
    pub evaluations: Option<u64>,
    /// Ends the search when the incumbent's fitness exceeds this.
    pub fraction: Option<f64>,
}

/// Draws sizes at random.
pub type DrawSizes = Box<dyn Fn(&mut Rng) -> Vec<Sizes>>;

/// Writes a recipe as a schedule that stands alone, where there is one.
pub type SpellOut = Box<dyn Fn(&Recipe) -> Option<Recipe>>;

/// What a run works on.
pub struct Job {
    /// Names for the report.
    pub file: String,
    /// Kernel or pipeline.
    pub task: String,
    /// Device.
    pub device: String,
    /// Threads of the kernels.
    pub threads: usize,
    /// The run's seed.
    pub seed: u64,
    /// How candidates are chosen.
    pub strategy: StrategyKind,
    /// Limits.
    pub limits: Limits,
    /// Moves.
    pub mutator: Mutator,
    /// The first candidates by name: `file`, `default_plan`, `default`, `naive`, and what a warm start brings. The first
    /// that works is the seed; a winner may lose neither to it nor to `default`.
    pub seeds: Vec<(String, Proposal)>,
    /// Sizes that drive the search.
    pub search: Vec<Sizes>,
    /// Sizes that select the winner.
    pub heldout: Vec<Sizes>,
    /// Draws the sizes of the report, after the search.
    pub sealed: DrawSizes,
    /// Writes what wins on one side of a size so that it can stand in a file beside the winner.
    pub spell: SpellOut,
    /// The machine, for the report.
    pub profile: Option<Profile>,
}

/// What the loop tells while it runs.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Sizes are known and the search begins; seconds that earlier parts of a resumed run took.
    Started {
        /// Candidates read back from the store.
        resumed: usize,
    },
    /// A candidate was evaluated.
    Candidate {
        /// Its number.
        id: CandidateId,
        /// Its label.
        label: &'static str,
        /// Seconds into the search.
        at_s: f64,
        /// Evaluations so far.
        evaluations: u64,
        /// Fitness of the incumbent.
        incumbent: Option<f64>,
    },
    /// The incumbent changed.
    Promotion {
        /// The new one.
        id: CandidateId,
        /// Seconds into the search.
        at_s: f64,
        /// Its fitness.
        score: Option<f64>,
        /// What made it.
        operator: String,
    },
    /// The search has ended and something else begins: `selection`, or a set of sizes.
    Stage(&'static str),
    /// Something worth a line.
    Note(String),
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A size of the task cannot be run or judged.
    #[error("{size}: {source}")]
    Size {
        /// The size.
        size: String,
        /// Why.
        source: Failure,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hands and eyes of a run.
pub struct Hands<'a> {
    /// Runs candidates.
    pub bench: &'a mut dyn Bench,
    /// Remembers.
    pub store: &'a mut Store,
    /// Time since the search began, or since it was resumed.
    pub clock: &'a dyn Clock,
    /// Set to end the search after the candidate in flight.
    pub stop: &'a AtomicBool,
    /// Told what happens.
    pub progress: &'a mut dyn FnMut(Progress),
}

/// Runs a search to its end, going on from whatever the store holds.
///
/// # Errors
/// [`RunError`]; a candidate's failure is none.
pub fn run(job: &Job, hands: &mut Hands<'_>) -> Result<RunReport, RunError> {
    let mut warnings = Vec::new();
    let (sizes, infos) = usable(hands, Set::Search, &job.search, &mut warnings)?.into_iter().unzip();
    let mut search = Search {
        job,
        course: Course::new(sizes, infos),
        state: State::default(),
        strategy: job.strategy.start(&job.mutator),
        queue: VecDeque::new(),
        before_s: 0.0,
        start_s: 0.0,
    };
    let records = hands.store.records()?;
    search.before_s = records.last().map_or(0.0, |r| r.at_s);
    let resumed = records.len();
    for record in records {
        search.replay(record);
    }
    (hands.progress)(Progress::Started { resumed });
    search.start_s = hands.clock.seconds();
    let stop = search.steps(hands)?;
    let searched_s = search.now(hands);
    if search.course.noise >= 0.05 {
        warnings.push("the machine is noisy: a candidate timed against itself differs by 5 % or more".into());
    }
    let report = search.finish(hands, stop, searched_s, warnings)?;
    hands.store.finish(&report)?;
    Ok(report)
}

/// What is known of each size of a set, without those that need more memory than there is: a search does without them, and
/// its report says so. What was left out once stays out, since records of candidates hold a time for each size.
fn usable(
    hands: &mut Hands<'_>,
    set: Set,
    sizes: &[Sizes],
    warnings: &mut Vec<String>,
) -> Result<Vec<(Sizes, SizeInfo)>, RunError> {
    let key = format!("left_out_{}", set.name());
    let before: Option<Vec<(Sizes, Failure)>> = hands.store.get(&key)?;
    let mut left_out = before.clone().unwrap_or_default();
    let mut known = Vec::new();
    for sizes in sizes {
        if left_out.iter().any(|(out, _)| out == sizes) {
            continue;
        }
        match hands.bench.size_info(sizes) {
            Ok(info) => known.push((sizes.clone(), info)),
            Err(failure) if before.is_none() && failure.reason == Reason::Memory => {
                left_out.push((sizes.clone(), failure));
            }
            Err(source) => return Err(RunError::Size { size: size_text(sizes), source }),
        }
    }
    for (sizes, failure) in &left_out {
        warnings.push(format!("{} size {} is left out: {failure}", set.name(), size_text(sizes)));
    }
    if before.is_none() {
        hands.store.put(&key, &left_out)?;
    }
    match (known.is_empty(), left_out.into_iter().next()) {
        // Nothing is left to search, or to choose by.
        (true, Some((sizes, source))) => Err(RunError::Size { size: size_text(&sizes), source }),
        _ => Ok(known),
    }
}

fn interrupted(hands: &Hands<'_>) -> Option<Stop> {
    hands.stop.load(Ordering::Relaxed).then_some(Stop::Interrupted)
}

struct Search<'a> {
    job: &'a Job,
    course: Course,
    state: State,
    strategy: Box<dyn Strategy>,
    /// Chosen, and not evaluated yet.
    queue: VecDeque<Proposal>,
    /// Seconds of the earlier parts of a resumed run.
    before_s: f64,
    /// The clock when the first candidate of this part began: inputs and oracle are no part of the budget.
    start_s: f64,
}

impl Search<'_> {
    fn now(&self, hands: &Hands<'_>) -> f64 {
        self.before_s + (hands.clock.seconds() - self.start_s)
    }

    /// Takes in a candidate that was evaluated before. The strategy is asked all the same, so that its own memory
    /// ends up as if it had never been interrupted.
    fn replay(&mut self, record: Record) {
        if record.id as usize >= self.job.seeds.len() {
            let _ = self.propose();
        }
        self.take(record);
    }

    fn take(&mut self, record: Record) {
        self.state.apply(record);
        self.strategy.learn(Context { mutator: &self.job.mutator, state: &self.state });
    }

    /// The next candidate of the batch, or of a new one.
    fn propose(&mut self) -> Option<Proposal> {
        if self.queue.is_empty() {
            for step in (self.state.next_id()..).take(self.strategy.batch()) {
                let Some(proposal) = self.choose(step) else { break };
                self.queue.push_back(proposal);
            }
        }
        self.queue.pop_front()
    }

    /// A candidate that was neither tried nor chosen before.
    fn choose(&mut self, step: CandidateId) -> Option<Proposal> {
        let mut rng = Rng::for_step(self.job.seed, step);
        for _ in 0..TRIES {
            let cx = Context { mutator: &self.job.mutator, state: &self.state };
            let proposal = self.strategy.propose(cx, &mut rng)?;
            let chosen = self.queue.iter().any(|p| p.recipe.key() == proposal.recipe.key());
            if !chosen && !self.state.seen(&proposal.recipe) {
                return Some(proposal);
            }
        }
        None
    }

    /// Lets whoever evaluates look at a batch before its first candidate has its turn.
    fn look_ahead(&self, first: &Proposal, hands: &mut Hands<'_>) {
        let recipes = [first].into_iter().chain(&self.queue).map(|p| &p.recipe);
        let upcoming: Vec<Upcoming<'_>> =
            (self.state.next_id()..).zip(recipes).map(|(draw, recipe)| Upcoming { recipe, draw }).collect();
        let state = &self.state;
        hands.bench.ahead(&self.course.sizes, &upcoming, &|nest| state.same_nest(nest).is_some());
    }

    fn steps(&mut self, hands: &mut Hands<'_>) -> Result<Stop, RunError> {
        if let Some(noise) = hands.store.get("noise")? {
            self.course.noise = noise;
        }
        loop {
            let n = usize::try_from(self.state.next_id()).unwrap_or(usize::MAX);
            let seeding = n < self.job.seeds.len();
            if !seeding {
                if self.state.incumbent.is_none() {
                    return Ok(Stop::NoSeed);
                }
                self.calibrate_once(hands)?;
            }
            // The seeds are always tried: without them a short budget would end with nothing.
            let stop = if seeding { interrupted(hands) } else { self.limit(hands) };
            if let Some(stop) = stop {
                return Ok(stop);
            }
            let proposal = match self.job.seeds.get(n) {
                Some((_, seed)) => seed.clone(),
                None => {
                    let fresh = self.queue.is_empty();
                    let Some(proposal) = self.propose() else { return Ok(Stop::Exhausted) };
                    if fresh {
                        self.look_ahead(&proposal, hands);
                    }
                    proposal
                }
            };
            let mut rng = Rng::for_step(self.job.seed, self.state.next_id() | EVALUATION_STREAM);
            let mut record = evaluate(hands.bench, &self.course, &self.state, proposal, &mut rng);
            record.at_s = self.now(hands);
            hands.store.commit(&record)?;
            self.tell(hands, record)?;
        }
    }

    /// Takes a fresh record in and reports it.
    fn tell(&mut self, hands: &mut Hands<'_>, record: Record) -> Result<(), RunError> {
        let (id, label, at_s) = (record.id, record.label(), record.at_s);
        let duplicate = matches!(record.outcome, Outcome::Duplicate { .. });
        let promoted = record.promoted().then(|| (record.score, record.proposal.operator.clone()));
        self.take(record);
        let incumbent = self.state.incumbent().and_then(|r| r.score);
        let evaluations = self.state.counts.evaluations;
        (hands.progress)(Progress::Candidate { id, label, at_s, evaluations, incumbent });
        if let Some((score, operator)) = promoted {
            (hands.progress)(Progress::Promotion { id, at_s, score, operator });
        }
        if !duplicate && evaluations.is_multiple_of(GENERATION) {
            hands.store.generation(&self.generation(at_s))?;
        }
        Ok(())
    }

    fn generation(&self, at_s: f64) -> Generation {
        Generation {
            at_s,
            evaluations: self.state.counts.evaluations,
            incumbent: self.state.incumbent().and_then(|r| r.score),
            best: self.state.best_score(),
            cells: self.state.archive.len(),
        }
    }

    /// Measures the noise once the seeds are in; a resumed run keeps what was measured.
    fn calibrate_once(&mut self, hands: &mut Hands<'_>) -> Result<(), RunError> {
        if self.course.noise > 0.0 {
            return Ok(());
        }
        let Some(recipe) = self.state.incumbent().map(|r| r.proposal.recipe.clone()) else { return Ok(()) };
        match calibrate(hands.bench, &self.course, &recipe) {
            Ok(noise) => self.course.noise = noise,
            Err(failure) => {
                self.course.noise = 0.02;
                (hands.progress)(Progress::Note(format!("the noise could not be measured: {failure}")));
            }
        }
        hands.store.put("noise", &self.course.noise)?;
        Ok(())
    }

    fn limit(&self, hands: &Hands<'_>) -> Option<Stop> {
        let limits = &self.job.limits;
        if let Some(stop) = interrupted(hands) {
            return Some(stop);
        }
        if limits.evaluations.is_some_and(|n| self.state.counts.evaluations >= n) {
            return Some(Stop::Evaluations);
        }
        if limits.seconds.is_some_and(|s| self.now(hands) >= s) {
            return Some(Stop::Time);
        }
        let reached = self.state.incumbent().and_then(|r| r.score);
        if let (Some(limit), Some(reached)) = (limits.fraction, reached)
            && reached > limit
        {
            return Some(Stop::Headroom);
        }
        None
    }

    /// The first seed that was right, in the order given.
    fn seed(&self) -> Option<&Record> {
        let seeds = self.state.records.iter().take(self.job.seeds.len());
        // A duplicate of an earlier seed is that seed.
        seeds.into_iter().find(|r| r.full())
    }

    /// The record of a named seed, or of the earlier one that has the same loops.
    fn named(&self, name: &str) -> Option<&Record> {
        let at = self.job.seeds.iter().position(|(n, _)| n == name)?;
        let record = self.state.records.get(at)?;
        match record.outcome {
            Outcome::Duplicate { of } => self.state.record(of),
            _ => Some(record),
        }
    }

    /// The file's schedules for other sizes than the seed's, those that are right.
    fn others(&self) -> Vec<CandidateId> {
        let seeds = self.job.seeds.iter().zip(&self.state.records);
        let file = seeds.filter(|((name, _), _)| name == "file").map(|(_, record)| record);
        file.filter(|r| r.full()).map(|r| r.id).collect()
    }

    fn recipe_of(&self, name: &str) -> Option<Recipe> {
        self.named(name).map(|r| r.proposal.recipe.clone())
    }

    fn finish(
        &self,
        hands: &mut Hands<'_>,
        stop: Stop,
        search_s: f64,
        mut warnings: Vec<String>,
    ) -> Result<RunReport, RunError> {
        let job = self.job;
        let state = &self.state;
        let (mut selected, mut results) = (Selected::default(), Vec::new());
        if let Some(seed) = self.seed() {
            (hands.progress)(Progress::Stage("selection"));
            let heldout = usable(hands, Set::Heldout, &job.heldout, &mut warnings)?;
            let default = self.named("default").filter(|r| r.full()).map(|r| r.id);
            let others = self.others();
            let rivals = Rivals { seed: seed.id, default, others: &others };
            let grounds = Grounds { search: &self.course.sizes, heldout: &heldout };
            selected = select(hands.bench, state, rivals, grounds, self.course.noise, &job.spell);
            if let Some(record) = selected.winner.and_then(|id| state.record(id)) {
                let recipe = &record.proposal.recipe;
                let baselines = Baselines {
                    naive: self.recipe_of("naive"),
                    default: self.recipe_of("default"),
                    seed: Some(seed.proposal.recipe.clone()),
                };
                let known = self.course.sizes.iter().cloned().zip(self.course.infos.iter().cloned());
                let mut all: Vec<_> = known.map(|(s, i)| (Set::Search, s, i)).collect();
                all.extend(heldout.into_iter().map(|(s, i)| (Set::Heldout, s, i)));
                let mut rng = Rng::for_step(job.seed, u64::MAX);
                for sizes in (job.sealed)(&mut rng) {
                    match hands.bench.size_info(&sizes) {
                        Ok(info) => all.push((Set::Sealed, sizes, info)),
                        Err(f) => warnings.push(format!("sealed size {}: {f}", size_text(&sizes))),
                    }
                }
                let mut stage = None;
                for (set, sizes, info) in all {
                    if stage != Some(set) {
                        (hands.progress)(Progress::Stage(set.name()));
                        stage = Some(set);
                    }
                    let recipe = choose(&selected.variants, recipe, &sizes);
                    results.push(report_size(hands.bench, recipe, &baselines, set, &sizes, info));
                }
            }
        }
        for r in &results {
            if r.fraction.is_some_and(|f| f > 1.05) {
                let text = size_text(&r.sizes);
                warnings.push(format!("{text}: above the roof, so roof or timing is wrong there"));
            }
        }
        let compile: Vec<f64> = state.records.iter().filter_map(|r| r.compile_s).collect();
        #[expect(clippy::cast_precision_loss, reason = "counts of candidates")]
        let per_second = |n: u64| (search_s > 0.0).then(|| n as f64 / search_s);
        let mut progress = hands.store.generations()?;
        progress.push(self.generation(search_s));
        let candidate_times = (0..self.course.sizes.len())
            .map(|s| {
                let right = state.records.iter().filter(|r| r.outcome == Outcome::Measured);
                right.filter_map(|r| r.times.get(s).copied().flatten()).collect()
            })
            .collect();
        let Selected { winner, variants, finalists } = selected;
        let lineage = winner.map(|id| state.lineage(id)).unwrap_or_default();
        Ok(RunReport {
            file: job.file.clone(),
            task: job.task.clone(),
            device: job.device.clone(),
            threads: job.threads,
            seed: job.seed,
            strategy: job.strategy.to_string(),
            stop,
            search_s,
            evaluations: state.counts.evaluations,
            evaluations_per_s: per_second(state.counts.evaluations),
            measured: state.counts.measured,
            measured_per_s: per_second(state.counts.measured),
            compiled: state.counts.compiled,
            compile_s: median(&compile),
            duplicates: state.counts.duplicates,
            rejected: state.counts.rejected.clone(),
            promotions: state.counts.promotions,
            challenges: state.counts.challenges,
            noise: self.course.noise,
            winner,
            recipe: winner.and_then(|id| state.record(id)).map(|r| r.proposal.recipe.clone()),
            variants,
            seed_candidate: self.seed().map(|r| r.id),
            lineage: lineage
                .into_iter()
                .map(|r| Ancestor {
                    id: r.id,
                    operator: r.proposal.operator.clone(),
                    class: r.proposal.class,
                    recipe: r.proposal.recipe.clone(),
                    score: r.score,
                })
                .collect(),
            finalists,
            results,
            archive: state.archive.iter().cloned().collect(),
            progress,
            candidate_times,
            profile: job.profile.clone(),
            warnings,
        })
    }
}

#[cfg(test)]
mod tests;

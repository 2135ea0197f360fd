//! A made-up machine for tests of the loop: the time of a matrix product as a formula of its recipe, with a known
//! optimum, failures on purpose, and noise that is drawn from a seed.

use std::cell::Cell;

use rooftile_compiler::schedule::plan::{Amount, Assignment, Place, Plan, Verb};

use crate::archive::Descriptor;
use crate::bench::{Bench, Clock, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes, Verified};
use crate::candidate::{Allowed, Class, Proposal, Recipe};
use crate::mutate::Mutator;
use crate::mutate::tests::{matmul_anchors, matmul_space};
use crate::rng::Rng;
use crate::run::{Job, Limits};
use crate::strategy::StrategyKind;

/// The machine.
pub(crate) struct Fake {
    pub(crate) rng: Rng,
    /// Relative spread of its timings.
    pub(crate) noise: f64,
    /// Calls to `verify` so far.
    pub(crate) verified: u64,
    /// Recipes whose lanes are this wide give wrong results.
    pub(crate) wrong_lanes: Option<i64>,
    /// Held-out sizes (any `M` that is odd) are this much slower with staged copies.
    pub(crate) stage_penalty: f64,
    /// There is no memory for sizes of which one is larger.
    pub(crate) largest: i64,
}

impl Fake {
    pub(crate) fn new(noise: f64) -> Fake {
        let rng = Rng::for_step(77, 0);
        Fake { rng, noise, verified: 0, wrong_lanes: None, stage_penalty: 1.0, largest: i64::MAX }
    }

    fn sample(&mut self, seconds: f64) -> f64 {
        seconds * (1.0 + self.noise * self.rng.unit())
    }

    fn time(&self, recipe: &Recipe, sizes: &Sizes) -> f64 {
        let f = Features::of(recipe);
        let work: f64 = sizes.values().map(|&v| v as f64 / 1000.0).product();
        let off = |value: i64, best: f64| ((value.max(1) as f64 / best).ln()).abs();
        let lanes = 1.0 + 3.0 * off(f.lanes, 16.0);
        let block = 1.0 + 1.5 * off(f.block, 6.0);
        let tile = 1.0 + 0.2 * off(f.bm, 64.0) + 0.2 * off(f.bn, 32.0);
        let stage = if f.staged { 0.7 } else { 1.0 };
        let cores = if f.parallel { 0.5 } else { 1.0 };
        let odd = sizes.values().any(|v| v % 2 == 1);
        let penalty = if odd && f.staged { self.stage_penalty } else { 1.0 };
        work * lanes * block * tile * stage * cores * penalty
    }
}

struct Features {
    lanes: i64,
    block: i64,
    bm: i64,
    bn: i64,
    staged: bool,
    parallel: bool,
}

impl Features {
    fn of(recipe: &Recipe) -> Features {
        let mut f = Features {
            lanes: 1,
            block: 1,
            bm: *recipe.assignment.get("bm").unwrap_or(&16),
            bn: *recipe.assignment.get("bn").unwrap_or(&16),
            staged: false,
            parallel: false,
        };
        for verb in &recipe.plan.verbs {
            match verb {
                Verb::Vector { axis, lanes: Amount::Int(n) } if axis == "j" => f.lanes = *n,
                Verb::Unroll { axis, count: Some(Amount::Int(n)) } if axis == "i" => f.block = *n,
                Verb::Stage { tensor, place: Place::Local, .. } if tensor == "B" => f.staged = true,
                Verb::Parallel { axes, .. } if axes.iter().any(|a| a == "i") => f.parallel = true,
                _ => {}
            }
        }
        f
    }
}

/// The shortest time of any recipe at a size.
pub(crate) fn optimum(sizes: &Sizes) -> f64 {
    let work: f64 = sizes.values().map(|&v| v as f64 / 1000.0).product();
    work * 0.35
}

impl Bench for Fake {
    fn size_info(&mut self, sizes: &Sizes) -> Result<SizeInfo, Failure> {
        if sizes.values().any(|v| *v > self.largest) {
            return Err(Failure::new(Reason::Memory, "9 bytes, of which there are 8"));
        }
        Ok(SizeInfo { roof_s: optimum(sizes), bound: "fma".into(), flops: 1.0, bytes: 1.0 })
    }

    fn prepare(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Prepared, Failure> {
        let f = Features::of(recipe);
        if recipe.plan.verbs.iter().any(|v| matches!(v, Verb::Recompute(_))) {
            return Err(Failure::new(Reason::Illegal, "nothing to recompute"));
        }
        let nest = format!("{} {} {} {} {} {}", f.lanes, f.block, f.bm, f.bn, f.staged, f.parallel);
        let log = |v: i64| u8::try_from(v.max(1).ilog2().min(7)).unwrap_or(7);
        let descriptor = Descriptor {
            level: u8::from(f.staged),
            parallel: u8::from(f.parallel),
            registers: log(f.block),
            form: log(f.lanes),
        };
        Ok(Prepared { nest, descriptor, bound_s: vec![0.0; sizes.len()] })
    }

    fn verify(&mut self, recipe: &Recipe, _draw: u64) -> Result<Verified, Failure> {
        self.verified += 1;
        if self.wrong_lanes.is_some_and(|n| Features::of(recipe).lanes == n) {
            return Err(Failure::new(Reason::WrongResult, "C[0, 0] differs"));
        }
        Ok(Verified { compile_s: 1e-3, code_bytes: 100 })
    }

    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, effort: Effort) -> Result<Measured, Failure> {
        let time = self.time(recipe, sizes);
        let n = if effort.cut_s.is_some_and(|c| time > c) { 1 } else { effort.min_samples };
        Ok(Measured { samples: (0..n).map(|_| self.sample(time)).collect(), max_rel_err: 0.0 })
    }

    fn pair(
        &mut self,
        a: &Recipe,
        b: &Recipe,
        sizes: &Sizes,
        rounds: usize,
    ) -> Result<Vec<(f64, f64)>, Failure> {
        let (ta, tb) = (self.time(a, sizes), self.time(b, sizes));
        Ok((0..rounds).map(|_| (self.sample(ta), self.sample(tb))).collect())
    }
}

/// A clock that moves on by a step at every look.
#[derive(Default)]
pub(crate) struct Ticks(pub(crate) Cell<f64>);

impl Clock for Ticks {
    fn seconds(&self) -> f64 {
        self.0.set(self.0.get() + 0.001);
        self.0.get()
    }
}

pub(crate) fn sizes(m: i64) -> Sizes {
    Sizes::from([("M".to_owned(), m), ("N".to_owned(), m)])
}

/// A matrix product with three sizes that drive and one that selects.
pub(crate) fn job(strategy: StrategyKind, seed: u64, evaluations: u64) -> Job {
    let allowed = Allowed { reassoc: true, ..Allowed::default() };
    let mutator = Mutator::new(matmul_anchors(), Box::new(matmul_space()), allowed);
    let assignment: Assignment =
        [("bm", 16), ("bn", 16), ("bk", 32), ("gpu_only", 1)].map(|(n, v)| (n.to_owned(), v)).into();
    let proposal = |verbs: Vec<Verb>, name: &str| Proposal {
        recipe: Recipe { plan: Plan { verbs }, assignment: assignment.clone(), ..Recipe::default() },
        parents: Vec::new(),
        operator: name.to_owned(),
        class: Class::X,
    };
    let vector = Verb::Vector { axis: "j".into(), lanes: Amount::Int(4) };
    Job {
        file: "matmul.tile".into(),
        task: "matmul".into(),
        device: "fake".into(),
        threads: 1,
        seed,
        strategy,
        limits: Limits { evaluations: Some(evaluations), ..Limits::default() },
        mutator,
        seeds: vec![
            ("default".into(), proposal(vec![vector], "default")),
            ("naive".into(), proposal(Vec::new(), "naive")),
        ],
        search: vec![sizes(256), sizes(1024), sizes(512)],
        heldout: vec![sizes(777)],
        sealed: Box::new(|rng| vec![sizes(100 + i64::try_from(rng.below(900)).unwrap_or(0))]),
        spell: Box::new(|recipe| Some(recipe.clone())),
        profile: None,
    }
}

/// A header for a store.
pub(crate) fn header(job: &Job) -> crate::store::Header {
    crate::store::Header {
        file: job.file.clone(),
        text: String::new(),
        entry: job.task.clone(),
        task_hash: "hash".into(),
        version: "test".into(),
        device: job.device.clone(),
        threads: job.threads,
        seed: job.seed,
        strategy: job.strategy.to_string(),
        cost: "clock".into(),
        budget_s: None,
        evals: job.limits.evaluations,
        seeds: job.seeds.clone(),
        profile: None,
    }
}

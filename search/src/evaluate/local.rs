//! Evaluation in this process: the checks of one candidate, and its timings. A worker process wraps this; a search
//! with a cost model, and tests, use it directly.

use std::collections::BTreeMap;

use rooftile_artifact::program::{Bindings, Mode};
use rooftile_artifact::{HostTensor, Profile};
use rooftile_compiler::diag;
use rooftile_compiler::oracle::Outputs;
use serde::{Deserialize, Serialize};

use super::cache::OracleCache;
use super::workload::{Case, Draw, Judged, Look, Workload};
use crate::bench::{
    Bench, Clock as _, Effort, Failure, Measured, Prepared, Reason, SizeInfo, Sizes, Verified, size_text,
};
use crate::bench_device::{Code, Machine, Run, WallClock, roof};
use crate::candidate::Recipe;
use crate::rng::Rng;

/// Programs that are kept loaded.
const PROGRAMS: usize = 8;
/// Bytes of inputs of programs that are kept bound to sizes.
const BOUND_BYTES: usize = 1 << 30;
/// Of an adversarial case, the part of the tolerance that the baseline may use up.
const FAIR: f64 = 0.25;
/// Random inputs per small size that candidates are spread over.
const FRESH: u64 = 16;
/// Seconds that the oracle may take at one size.
const ORACLE_S: f64 = 20.0;
/// Results that took longer are kept on disk.
const WORTH_KEEPING_S: f64 = 0.05;
/// The stream of poisons of measurements.
const POISON: u64 = 0x5851_f42d_4c95_7f2d;
/// Roofs of a machine that nobody measured, for searches with a cost model: operations and bytes per second.
const NOMINAL: (f64, f64) = (1e11, 2e10);

/// What a candidate's time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Measured.
    Clock,
    /// Estimated from the nest: for runs that must repeat bit for bit.
    Model,
}

/// How an evaluation is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine as measured; without, roofs are nominal.
    pub profile: Option<Profile>,
    /// The run's seed.
    pub seed: u64,
    /// What a candidate's time is.
    pub cost: Cost,
    /// Where results of the oracle are kept.
    pub cache: Option<OracleCache>,
}

/// Evaluates candidates of one task on one device.
pub struct Local<W> {
    workload: W,
    machine: Machine,
    setup: Setup,
    small: BTreeMap<(usize, u64, Draw), Option<(Case, Outputs)>>,
    sizes: BTreeMap<Sizes, Known>,
    /// Most recently used last.
    programs: Vec<(String, Code)>,
    bound: Vec<Bound>,
    /// Measurements so far: each has a poison of its own.
    measured: u64,
}

struct Known {
    case: Case,
    expected: Outputs,
    info: SizeInfo,
}

struct Bound {
    key: String,
    sizes: Sizes,
    bytes: usize,
    run: Run,
}

impl<W: Workload> Local<W> {
    /// An evaluation of a task.
    #[must_use]
    pub fn new(workload: W, machine: Machine, setup: Setup) -> Local<W> {
        Local {
            workload,
            machine,
            setup,
            small: BTreeMap::new(),
            sizes: BTreeMap::new(),
            programs: Vec::new(),
            bound: Vec::new(),
            measured: 0,
        }
    }

    /// The task.
    pub fn workload(&self) -> &W {
        &self.workload
    }

    /// Code of a recipe: kept, or made now, with the seconds that it took.
    fn code(&mut self, recipe: &Recipe) -> Result<(Code, f64), Failure> {
        let key = recipe.key();
        if let Some(at) = self.programs.iter().position(|(k, _)| *k == key) {
            let entry = self.programs.remove(at);
            let code = entry.1.clone();
            self.programs.push(entry);
            return Ok((code, 0.0));
        }
        let watch = WallClock::start();
        let program = self.workload.compile(recipe)?;
        let seconds = watch.seconds();
        let code = self.machine.load(&program)?;
        if self.programs.len() >= PROGRAMS {
            let (old, _) = self.programs.remove(0);
            self.bound.retain(|b| b.key != old);
        }
        self.programs.push((key, code.clone()));
        Ok((code, seconds))
    }

    /// The inputs of a size with what the oracle says of them.
    fn known(&mut self, sizes: &Sizes) -> Result<&Known, Failure> {
        if !self.sizes.contains_key(sizes) {
            let mut case = self.workload.case(sizes, self.setup.seed, Draw::Task)?;
            case.bounds = self.workload.bounds(&case);
            let expected = self.expect(sizes, &case)?;
            if let Some(model) = self.workload.null_model(&case, &expected) {
                return Err(Failure::new(Reason::Size, format!("[{}] {model}", diag::Code::LooseTolerance)));
            }
            let info = self.info(sizes)?;
            self.sizes.insert(sizes.clone(), Known { case, expected, info });
        }
        self.sizes.get(sizes).ok_or_else(|| Failure::new(Reason::Internal, "a size vanished"))
    }

    fn expect(&self, sizes: &Sizes, case: &Case) -> Result<Outputs, Failure> {
        let key = format!("{} {} {}", self.workload.hash(), size_text(sizes), self.setup.seed);
        if let Some(found) = self.setup.cache.as_ref().and_then(|c| c.get(&key)) {
            return Ok(found);
        }
        let watch = WallClock::start();
        let outputs = self.workload.expect(sizes, case)?;
        let seconds = watch.seconds();
        if seconds > ORACLE_S {
            let code = diag::Code::SlowOracle;
            let detail = format!("[{code}] the oracle takes {seconds:.0} s, more than {ORACLE_S:.0} s");
            return Err(Failure::new(Reason::Size, detail));
        }
        if seconds > WORTH_KEEPING_S
            && let Some(cache) = &self.setup.cache
        {
            cache.put(&key, &outputs);
        }
        Ok(outputs)
    }

    fn info(&self, sizes: &Sizes) -> Result<SizeInfo, Failure> {
        let work = self.workload.work(sizes)?;
        let bytes = work.bytes_read + work.bytes_written;
        let (roof_s, bound) = match &self.setup.profile {
            Some(profile) => roof(profile, &work, self.machine.threads()),
            None => ((work.flops / NOMINAL.0).max(bytes / NOMINAL.1), "nominal".to_owned()),
        };
        // Work that is not counted at all still takes a call.
        Ok(SizeInfo { roof_s: roof_s.max(1e-9), bound, flops: work.flops, bytes })
    }

    /// Seconds that no run of a candidate falls below: the roof without the vectors and cores that it does not use.
    fn bound_s(&self, look: &Look, sizes: &Sizes) -> f64 {
        let Some(profile) = &self.setup.profile else { return 0.0 };
        let Ok(work) = self.workload.work(sizes) else { return 0.0 };
        let mut own = profile.clone();
        let threads = if look.parallel { self.machine.threads() } else { 1 };
        let narrow = own.compute.iter().any(|r| r.vector_bytes <= look.vector_bytes.max(8));
        if narrow {
            own.compute.retain(|r| r.vector_bytes <= look.vector_bytes.max(8));
        }
        roof(&own, &work, threads).0
    }

    /// A program bound to a size with its inputs, taken out of the cache; give it back with [`Local::keep`].
    fn bind(&mut self, recipe: &Recipe, sizes: &Sizes) -> Result<Bound, Failure> {
        let key = recipe.key();
        if let Some(at) = self.bound.iter().position(|b| b.key == key && b.sizes == *sizes) {
            return Ok(self.bound.remove(at));
        }
        let (code, _) = self.code(recipe)?;
        let known = self.known(sizes)?;
        let mut run = code.bind(&known.case.bindings, false)?;
        write(&mut run, &known.case)?;
        run.save();
        let bytes = known.case.bytes();
        Ok(Bound { key, sizes: sizes.clone(), bytes, run })
    }

    fn keep(&mut self, bound: Bound) {
        self.bound.push(bound);
        while self.bound.iter().map(|b| b.bytes).sum::<usize>() > BOUND_BYTES && self.bound.len() > 1 {
            self.bound.remove(0);
        }
        while self.bound.len() > 4 * PROGRAMS {
            self.bound.remove(0);
        }
    }

    /// One small case; `None` where the draw does not suit the task or the oracle has no opinion.
    fn small_case(
        &mut self,
        at: usize,
        sizes: &Sizes,
        seed: u64,
        draw: Draw,
    ) -> Result<Option<&(Case, Outputs)>, Failure> {
        let key = (at, seed, draw);
        if !self.small.contains_key(&key) {
            let made = self.make_small(sizes, seed, draw);
            let made = match made {
                Ok(made) => Some(made),
                // Without the task's own inputs there is nothing to judge by; other draws may not suit it.
                Err(failure) if draw == Draw::Task => return Err(failure),
                Err(_) => None,
            };
            self.small.insert(key, made);
        }
        Ok(self.small.get(&key).and_then(Option::as_ref))
    }

    fn make_small(&mut self, sizes: &Sizes, seed: u64, draw: Draw) -> Result<(Case, Outputs), Failure> {
        let mut case = self.workload.case(sizes, seed, draw)?;
        case.bounds = self.workload.bounds(&case);
        let expected = self.workload.expect(sizes, &case)?;
        if draw != Draw::Task {
            let (code, _) = self.code(&self.workload.baseline())?;
            if self.check_small(&code, &case, &expected, seed, &mut None)?.used > FAIR {
                return Err(Failure::new(Reason::Size, "the baseline itself is nearly wrong there"));
            }
        }
        Ok((case, expected))
    }

    /// Runs code on a small case between guards and compares every element. `kept` holds the memory of the last run of this
    /// code, which serves again where sizes and scalars are the same: all of it is written or poisoned anew.
    fn check_small(
        &self,
        code: &Code,
        case: &Case,
        expected: &Outputs,
        payload: u64,
        kept: &mut Option<(Bindings, Run)>,
    ) -> Result<Judged, Failure> {
        let mut run = match kept.take() {
            Some((bindings, run)) if bindings == case.bindings => run,
            _ => code.bind(&case.bindings, true)?,
        };
        write(&mut run, case)?;
        run.poison(payload);
        let before = hashes(&run, code)?;
        run.run()?;
        run.check_canaries()?;
        same_inputs(&run, code, &before)?;
        let judged = self.judge(&mut run, code, case, expected, payload)?;
        *kept = Some((case.bindings.clone(), run));
        Ok(judged)
    }

    /// Compares every element; an output that still holds the poison is reported as not written.
    fn judge(
        &self,
        run: &mut Run,
        code: &Code,
        case: &Case,
        expected: &Outputs,
        payload: u64,
    ) -> Result<Judged, Failure> {
        let params = &code.program().params;
        let got = (0..params.len()).map(|p| run.read(p)).collect::<Result<Vec<HostTensor>, _>>()?;
        self.workload.judge(case, expected, &got).map_err(|failure| {
            run.poison(payload);
            for (p, param) in params.iter().enumerate().filter(|(_, p)| p.mode == Mode::Out) {
                let size = got[p].dtype().size();
                let Ok(poisoned) = run.read(p) else { continue };
                let telling = size >= 4 && poisoned.bytes().len() >= size;
                if telling && got[p].bytes().chunks(size).any(|e| *e == poisoned.bytes()[..size]) {
                    let detail = format!("an element of {} was not written", param.name);
                    return Failure::new(Reason::Unwritten, detail);
                }
            }
            failure
        })
    }
}

fn write(run: &mut Run, case: &Case) -> Result<(), Failure> {
    for (param, tensor) in case.tensors.iter().enumerate() {
        if let Some(tensor) = tensor {
            run.write(param, tensor)?;
        }
    }
    Ok(())
}

/// Hashes of the parameters that must not change.
fn hashes(run: &Run, code: &Code) -> Result<Vec<Option<u64>>, Failure> {
    let params = code.program().params.iter().enumerate();
    params.map(|(p, param)| (param.mode == Mode::In).then(|| run.hash(p)).transpose()).collect()
}

fn same_inputs(run: &Run, code: &Code, before: &[Option<u64>]) -> Result<(), Failure> {
    for (p, (after, before)) in hashes(run, code)?.iter().zip(before).enumerate() {
        if after != before {
            let name = &code.program().params[p].name;
            return Err(Failure::new(Reason::InputModified, format!("input {name} was changed")));
        }
    }
    Ok(())
}

impl<W: Workload> Bench for Local<W> {
    fn size_info(&mut self, sizes: &Sizes) -> Result<SizeInfo, Failure> {
        Ok(self.known(sizes)?.info.clone())
    }

    fn prepare(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Prepared, Failure> {
        let look = self.workload.look(recipe, sizes)?;
        let bound_s = sizes.iter().map(|s| self.bound_s(&look, s)).collect();
        Ok(Prepared { nest: look.nest, descriptor: look.descriptor, bound_s })
    }

    fn verify(&mut self, recipe: &Recipe, draw: u64) -> Result<Verified, Failure> {
        let (code, compile_s) = self.code(recipe)?;
        let code_bytes = code.program().kernels.iter().map(|k| k.code.bytes()).sum();
        let mut rng = Rng::for_step(self.setup.seed ^ 0x9e37_79b9, draw);
        let small = self.workload.small_sizes();
        let mut cases: Vec<(usize, u64, Draw)> = (0..small.len()).map(|s| (s, 0, Draw::Task)).collect();
        // Of the adversarial values every candidate meets all, at a size that changes from one to the next; of the
        // fresh inputs one at each small size.
        if !small.is_empty() {
            cases.extend(Draw::ADVERSARIAL.map(|d| (rng.below(small.len()), 0, d)));
            cases.extend((0..small.len()).map(|s| (s, 1 + draw % FRESH, Draw::Task)));
        }
        // Size by size, so that memory serves again.
        cases.sort_by_key(|(at, ..)| *at);
        let mut kept = None;
        for (at, seed, draw) in cases {
            let payload = rng.bits();
            let seed = seed.wrapping_add(self.setup.seed);
            let Some((case, expected)) = self.small_case(at, &small[at], seed, draw)?.cloned() else {
                continue;
            };
            self.check_small(&code, &case, &expected, payload, &mut kept).map_err(|f| {
                Failure::new(f.reason, format!("{} ({draw:?}): {}", size_text(&small[at]), f.detail))
            })?;
        }
        let compile_s = if self.setup.cost == Cost::Model { 0.0 } else { compile_s };
        Ok(Verified { compile_s, code_bytes })
    }

    fn measure(&mut self, recipe: &Recipe, sizes: &Sizes, effort: Effort) -> Result<Measured, Failure> {
        let mut bound = self.bind(recipe, sizes)?;
        let (code, _) = self.code(recipe)?;
        // What an earlier run left behind must not pass for a result, so every run starts from another poison.
        self.measured += 1;
        let payload = Rng::for_step(self.setup.seed ^ POISON, self.measured).bits();
        self.known(sizes)?;
        let known = self.sizes.get(sizes).ok_or_else(|| Failure::new(Reason::Internal, "a size vanished"))?;
        let run = &mut bound.run;
        run.restore();
        run.poison(payload);
        let before = hashes(run, &code)?;
        let first_s = run.run()?;
        same_inputs(run, &code, &before)?;
        let judge = |run: &mut Run| {
            self.judge(run, &code, &known.case, &known.expected, payload)
                .map_err(|f| Failure::new(f.reason, format!("{}: {}", size_text(sizes), f.detail)))
        };
        let max_rel_err = judge(run)?.max_rel_err;
        let samples = match self.setup.cost {
            Cost::Clock => {
                run.restore();
                let samples = run.time(first_s, effort)?;
                // What was timed is judged too, on one candidate in eight, and never on what is cut short.
                if samples.len() > 1 && bound.key.as_bytes().first().is_some_and(|b| b.is_multiple_of(8)) {
                    run.restore();
                    run.poison(payload);
                    run.run()?;
                    same_inputs(run, &code, &before)?;
                    judge(run)?;
                }
                samples
            }
            Cost::Model => {
                let look = self.workload.look(recipe, std::slice::from_ref(sizes))?;
                vec![look.model_s.first().copied().unwrap_or(f64::NAN)]
            }
        };
        self.keep(bound);
        Ok(Measured { samples, max_rel_err })
    }

    fn pair(
        &mut self,
        a: &Recipe,
        b: &Recipe,
        sizes: &Sizes,
        rounds: usize,
    ) -> Result<Vec<(f64, f64)>, Failure> {
        if self.setup.cost == Cost::Model {
            let mut time = |recipe: &Recipe| -> Result<f64, Failure> {
                let look = self.workload.look(recipe, std::slice::from_ref(sizes))?;
                Ok(look.model_s.first().copied().unwrap_or(f64::NAN))
            };
            let pair = (time(a)?, time(b)?);
            return Ok(vec![pair; rounds]);
        }
        let mut first = self.bind(a, sizes)?;
        // Of one recipe against itself the second is an instance of its own, with memory of its own.
        let mut second = self.bind(b, sizes)?;
        first.run.restore();
        second.run.restore();
        let pairs = first.run.pair(&mut second.run, rounds)?;
        self.keep(first);
        if a != b {
            self.keep(second);
        }
        Ok(pairs)
    }
}

//! A task of a `.tile` file as the evaluation sees it: lowering and code by the compiler, inputs by the task, and the
//! oracle as judge.
//!
//! Small sizes are judged by the interpreter, larger ones by the evaluator compiled from the typed program, which the
//! interpreter backs up where a construct is not compiled. Outputs that must be exact though floats decide them are
//! judged by the interpreter that rounds as the types declare; beyond its reach, by the plain schedule, which has been
//! held against it at the small sizes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rooftile_artifact::program::Bindings;
use rooftile_artifact::work::Work;
use rooftile_artifact::{DType, HostTensor, Program, Scalar, Target};
use rooftile_compiler::analysis::{estimate_operations, work_on};
use rooftile_compiler::codegen::compile;
use rooftile_compiler::diag::Diagnostic;
use rooftile_compiler::driver::Checked;
use rooftile_compiler::hir::ir::{FuncId, ParamRef, Role, Tensor, TensorId};
use rooftile_compiler::nest::{VerifiedModule, canonical_hash, verify_module};
use rooftile_compiler::oracle::{self, Mode, Outputs, Values, values::widen};
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::task::{self, Task, TaskError};

use super::workload::{Case, Draw, Judged, Look, Workload};
use crate::bench::{Failure, Reason, Sizes};
use crate::bench_device::{Code, Machine};
use crate::candidate::{Base, Recipe};
use crate::nest_look::{descriptor, estimate, width};

/// Small sizes that candidates are checked at.
const SMALL: usize = 4;
/// Largest small size, and what is tried when the interpreter takes too long.
const LARGEST: [i64; 4] = [32, 17, 9, 5];
/// Steps of the interpreter at a small size.
const SMALL_STEPS: u64 = 3_000_000;
/// Steps of the interpreter where it stands in for the compiled evaluator.
const LARGE_STEPS: u64 = 2_000_000_000;
/// Seconds estimated for the compiled evaluator beyond which it is not even begun; the estimate is rough.
const HOPELESS_S: f64 = 80.0;
/// Modules that are kept between lowering and code generation.
const MODULES: usize = 4;

/// A kernel or pipeline with its task.
pub struct TileTask {
    checked: Checked,
    entry: FuncId,
    task: Task,
    hash: String,
    target: Target,
    /// The device that runs the candidates.
    machine: Machine,
    /// The processor: it judges, whatever runs the candidates.
    host: Machine,
    estimates: bool,
    evaluator: Option<Code>,
    small: Vec<Sizes>,
    /// Whether bounds derived from the algorithm hold for what the judge says is right.
    bounded: bool,
    modules: Vec<(String, VerifiedModule, String)>,
    bindings: RefCell<BTreeMap<Sizes, Bindings>>,
    work: RefCell<BTreeMap<Sizes, Work>>,
}

impl TileTask {
    /// The task of an entry on a device. `estimates` says whether the static model's times are wanted.
    ///
    /// # Errors
    /// [`Failure`] when the file has no task for the entry.
    pub fn new(
        checked: Checked,
        entry: FuncId,
        machine: Machine,
        estimates: bool,
    ) -> Result<TileTask, Failure> {
        let name = checked.hir.funcs[entry].name.clone();
        let task = checked
            .task(entry)
            .cloned()
            .ok_or_else(|| Failure::new(Reason::Size, format!("`{name}` has no task")))?;
        let target = machine.target();
        let host = Machine::open("cpu", machine.threads())?;
        let hash = blake3::Hash::from(checked.task_hash(entry)).to_hex().to_string();
        let mut this = TileTask {
            checked,
            entry,
            task,
            hash,
            target,
            machine,
            host,
            estimates,
            evaluator: None,
            small: Vec::new(),
            bounded: false,
            modules: Vec::new(),
            bindings: RefCell::default(),
            work: RefCell::default(),
        };
        this.small = this.find_small();
        this.bounded = this.bounds_hold();
        let oracle = this.judge_func();
        // What is not compiled is interpreted.
        this.evaluator = oracle::compiled::compile(&this.checked.hir, oracle)
            .ok()
            .and_then(|program| this.host.load(&program).ok());
        Ok(this)
    }

    /// The function that states what is right: the reference, else the algorithm itself.
    fn judge_func(&self) -> FuncId {
        self.checked.hir.reference(&self.task.name).unwrap_or(self.entry)
    }

    /// Whether the algorithm itself, rounded as its types declare, is the judge.
    fn by_rounding(&self) -> bool {
        self.task.judged_by_rounding(&self.checked.hir)
    }

    fn allow(&self) -> Allow {
        Allow::from(&self.task.allow)
    }

    fn choice(&self, recipe: &Recipe) -> Choice {
        match recipe.base {
            Base::Naive => Choice::Naive,
            Base::Default => Choice::Default { allow: self.allow() },
            Base::Planned => Choice::Planned {
                plan: recipe.plan.clone(),
                assignment: recipe.assignment.clone(),
                allow: self.allow(),
            },
        }
    }

    /// The module of a recipe, kept between lowering and code generation.
    fn module(&mut self, recipe: &Recipe) -> Result<&(String, VerifiedModule, String), Failure> {
        let key = recipe.key();
        if let Some(at) = self.modules.iter().position(|m| m.0 == key) {
            return Ok(&self.modules[at]);
        }
        let module = lower(&self.checked.hir, self.entry, &self.choice(recipe), &self.target)
            .map_err(|ds| refusal(&ds))?;
        let hash = blake3::Hash::from(canonical_hash(&module)).to_hex().to_string();
        let module = verify_module(module).map_err(|violations| {
            let first = violations.first().map(ToString::to_string).unwrap_or_default();
            Failure::new(Reason::Internal, format!("lowering broke a rule of nests: {first}"))
        })?;
        if self.modules.len() >= MODULES {
            self.modules.remove(0);
        }
        self.modules.push((key, module, hash));
        self.modules.last().ok_or_else(|| Failure::new(Reason::Internal, "a module vanished"))
    }

    /// Sizes and scalars in the program's order; made with the task's own data, which bind some.
    fn bindings(&self, sizes: &Sizes) -> Result<Bindings, Failure> {
        if let Some(known) = self.bindings.borrow().get(sizes) {
            return Ok(known.clone());
        }
        Ok(self.case(sizes, 0, Draw::Task)?.bindings)
    }

    /// Small sizes that satisfy the conditions and that the interpreter is quick at, no two alike.
    fn find_small(&self) -> Vec<Sizes> {
        let hir = &self.checked.hir;
        let mut found: Vec<Sizes> = Vec::new();
        let consider = |sizes: Sizes, found: &mut Vec<Sizes>| {
            if found.len() < SMALL
                && !found.contains(&sizes)
                && self
                    .case(&sizes, 1, Draw::Task)
                    .is_ok_and(|case| self.interpret(&case, SMALL_STEPS).is_ok())
            {
                found.push(sizes);
            }
        };
        for largest in LARGEST {
            for seed in 0..8 {
                let Some((sizes, _)) = task::small_case(hir, &self.task, seed, largest) else { continue };
                consider(sizes, &mut found);
            }
        }
        // Conditions that random sizes do not meet: the task's smallest sizes, each shrunk as far as it goes.
        if found.is_empty()
            && let Some(first) = self.task.search.first()
        {
            let mut sizes = first.values.clone();
            for name in first.values.keys() {
                for small in [1, 2, 3, 4, 5, 7, 8, 16, 32, 64] {
                    let mut smaller = sizes.clone();
                    smaller.insert(name.clone(), small);
                    if small < sizes[name] && self.case(&smaller, 1, Draw::Task).is_ok() {
                        sizes = smaller;
                        break;
                    }
                }
            }
            consider(sizes, &mut found);
        }
        found
    }

    fn interpret(&self, case: &Case, budget: u64) -> Result<Outputs, Failure> {
        let (func, mode) =
            if self.by_rounding() { (self.entry, Mode::Rounded) } else { (self.judge_func(), Mode::Exact) };
        let inputs = inputs_of(case);
        let options = oracle::Options { mode, budget, check_races: false, ..oracle::Options::default() };
        oracle::run(&self.checked.hir, func, &inputs, &options)
            .map_err(|e| Failure::new(Reason::Size, format!("the oracle: {}", e.diagnostic().message)))
    }

    /// A reference may state something that the algorithm comes near to only by approximation. Then what rounding explains
    /// is no bound, and the algorithm rounded as declared shows it at the small sizes.
    fn bounds_hold(&self) -> bool {
        let holds = |sizes: &Sizes| -> Option<bool> {
            let case = self.case(sizes, 1, Draw::Task).ok()?;
            let want = self.interpret(&case, SMALL_STEPS).ok()?;
            let options =
                oracle::Options { mode: Mode::Rounded, check_races: false, ..oracle::Options::default() };
            let got = oracle::run(&self.checked.hir, self.entry, &inputs_of(&case), &options).ok()?;
            Some(self.derive_bounds(&case).iter().zip(want.tensors.iter().zip(&got.tensors)).all(
                |(bound, (want, got))| {
                    let near = |b: f64, i: usize| {
                        let (w, g) = (want.get(i).as_f64(), got.get(i).as_f64());
                        (w - g).abs() <= b || w == g || w.is_nan() && g.is_nan()
                    };
                    bound.is_none_or(|b| want.len() == got.len() && (0..want.len()).all(|i| near(b, i)))
                },
            ))
        };
        !self.by_rounding() && !self.small.is_empty() && self.small.iter().all(|s| holds(s) == Some(true))
    }

    fn derive_bounds(&self, case: &Case) -> Vec<Option<f64>> {
        let set = task::InputSet { sizes: Sizes::new(), inputs: inputs_of(case) };
        task::bound::derive(&self.checked.hir, self.entry, &set)
    }

    /// What is compared of an output: of lists their content.
    fn comparable(
        &self,
        tensor: TensorId,
        want: &Values,
        got: &HostTensor,
        expected: &Outputs,
    ) -> Result<Option<(Values, HostTensor)>, Failure> {
        let func = &self.checked.hir.funcs[self.entry];
        if !func.tensors[tensor].bag {
            return Ok(None);
        }
        let count = task::bags::counter_of(&self.checked.hir, self.entry, tensor);
        let at = func
            .params
            .iter()
            .filter_map(|p| match p {
                ParamRef::Tensor(id) => Some(*id),
                ParamRef::Scalar(_) => None,
            })
            .position(|id| Some(id) == count);
        let counts = at.and_then(|p| expected.tensors.get(p));
        counts.and_then(|counts| task::bags::filled(want, got, counts)).map(Some).ok_or_else(|| {
            let name = &func.tensors[tensor].name;
            Failure::new(Reason::WrongResult, format!("the lists of {name} cannot be compared"))
        })
    }

    /// The compiled evaluator's opinion.
    fn evaluate(&self, code: &Code, case: &Case) -> Result<Outputs, Failure> {
        let mut run = code.bind(&case.bindings, false)?;
        for (param, tensor) in case.tensors.iter().enumerate() {
            if let Some(tensor) = tensor {
                let wide = widen(tensor).map_err(|e| Failure::new(Reason::Memory, e.to_string()))?;
                run.write(param, &wide)?;
            }
        }
        run.run()?;
        self.outputs(code, &run)
    }

    /// Parameters after a run, with the types that the file declares.
    fn outputs(&self, code: &Code, run: &crate::bench_device::Run) -> Result<Outputs, Failure> {
        let types = self.param_types();
        let tensors = (0..code.program().params.len())
            .map(|p| {
                let tensor = run.read(p)?;
                let values = Values::from_host(&tensor);
                Ok(Values { dtype: types.get(p).copied().unwrap_or(values.dtype), ..values })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Outputs { tensors })
    }

    fn param_types(&self) -> Vec<DType> {
        let func = &self.checked.hir.funcs[self.entry];
        func.params
            .iter()
            .filter_map(|p| match p {
                ParamRef::Tensor(id) => Some(func.tensors[*id].dtype),
                ParamRef::Scalar(_) => None,
            })
            .collect()
    }

    /// The plain schedule's opinion, where nothing better reaches.
    fn by_naive(&self, case: &Case) -> Result<Outputs, Failure> {
        let target = self.host.target();
        let module =
            lower(&self.checked.hir, self.entry, &Choice::Naive, &target).map_err(|ds| refusal(&ds))?;
        let module = verify_module(module)
            .map_err(|_| Failure::new(Reason::Internal, "the plain schedule breaks a rule of nests"))?;
        let program =
            compile(&module, &target).map_err(|e| Failure::new(Reason::Unsupported, e.to_string()))?;
        let code = self.host.load(&program)?;
        let mut run = code.bind(&case.bindings, false)?;
        for (param, tensor) in case.tensors.iter().enumerate() {
            if let Some(tensor) = tensor {
                run.write(param, tensor)?;
            }
        }
        run.run()?;
        self.outputs(&code, &run)
    }
}

fn inputs_of(case: &Case) -> oracle::Inputs {
    oracle::Inputs {
        sizes: case.bindings.sizes.clone(),
        scalars: case.bindings.scalars.clone(),
        tensors: case.tensors.clone(),
    }
}

/// The label of a lowering's refusal.
fn refusal(diagnostics: &[Diagnostic]) -> Failure {
    let text = diagnostics.first().map(|d| d.message.clone()).unwrap_or_default();
    Failure::new(Reason::Illegal, text)
}

impl Workload for TileTask {
    fn hash(&self) -> &str {
        &self.hash
    }

    fn look(&mut self, recipe: &Recipe, sizes: &[Sizes]) -> Result<Look, Failure> {
        let bindings = sizes.iter().map(|s| self.bindings(s)).collect::<Result<Vec<_>, _>>()?;
        let (target, estimates) = (self.target.clone(), self.estimates);
        let (_, module, hash) = self.module(recipe)?;
        let nests: Vec<_> = module.nests().iter().map(|n| &**n).collect();
        let program = module.program();
        let first = bindings.first().map(|b| b.sizes.as_slice()).unwrap_or_default();
        let (vector_bytes, parallel) = width(&nests);
        let model_s = if estimates {
            bindings.iter().map(|b| estimate(&nests, program, &b.sizes, &b.scalars, &target)).collect()
        } else {
            Vec::new()
        };
        Ok(Look {
            nest: hash.clone(),
            descriptor: descriptor(&nests, program, first, &target),
            vector_bytes,
            parallel,
            model_s,
        })
    }

    fn compile(&mut self, recipe: &Recipe) -> Result<Program, Failure> {
        let target = self.target.clone();
        let (_, module, _) = self.module(recipe)?;
        compile(module, &target).map_err(|e| Failure::new(Reason::Compile, e.to_string()))
    }

    fn work(&self, sizes: &Sizes) -> Result<Work, Failure> {
        if let Some(work) = self.work.borrow().get(sizes) {
            return Ok(work.clone());
        }
        let case = self.case(sizes, 0, Draw::Task)?;
        let Bindings { sizes: values, scalars } = &case.bindings;
        let mut work = work_on(&self.checked.hir, self.entry, values, scalars, &case.tensors);
        if let Some(bytes) = self.task.bytes(sizes) {
            // What the user counts, shared out as derived.
            let derived = work.bytes_read + work.bytes_written;
            let factor = if derived > 0.0 { bytes / derived } else { 0.0 };
            (work.bytes_read, work.bytes_written) = (work.bytes_read * factor, work.bytes_written * factor);
        }
        if let Some(flops) = self.task.flops(sizes) {
            work.flops = flops;
        }
        self.work.borrow_mut().insert(sizes.clone(), work.clone());
        Ok(work)
    }

    fn small_sizes(&self) -> Vec<Sizes> {
        self.small.clone()
    }

    fn case(&self, sizes: &Sizes, seed: u64, draw: Draw) -> Result<Case, Failure> {
        let given = task::Given { room: self.machine.room(), ..task::Given::default() };
        let made = task::generate_given(&self.checked.hir, Some(&self.task), self.entry, sizes, seed, &given)
            .map_err(|e| match e {
                TaskError::TooLarge { .. } | TaskError::TensorTooLarge { .. } => {
                    Failure::new(Reason::Memory, e.to_string())
                }
                e => Failure::new(Reason::Size, e.to_string()),
            })?;
        let mut tensors = made.inputs.tensors;
        if draw != Draw::Task {
            // Every tensor is rescaled, whether or not an earlier one could be.
            let rescaled = tensors.iter_mut().flatten().map(|t| usize::from(rescale(t, draw))).sum::<usize>();
            if rescaled == 0 {
                return Err(Failure::new(Reason::Size, "no input of floats to rescale"));
            }
        }
        let bindings = Bindings { sizes: made.inputs.sizes, scalars: made.inputs.scalars };
        if draw == Draw::Task {
            self.bindings.borrow_mut().entry(sizes.clone()).or_insert_with(|| bindings.clone());
        }
        Ok(Case { bindings, tensors, bounds: Vec::new() })
    }

    fn bounds(&self, case: &Case) -> Vec<Option<f64>> {
        if self.bounded { self.derive_bounds(case) } else { Vec::new() }
    }

    fn expect(&self, sizes: &Sizes, case: &Case) -> Result<Outputs, Failure> {
        if self.small.contains(sizes) {
            return self.interpret(case, LARGE_STEPS);
        }
        let Bindings { sizes: values, scalars } = &case.bindings;
        let seconds = estimate_operations(&self.checked.hir, self.judge_func(), values, scalars) * 1e-9;
        if seconds > HOPELESS_S {
            let detail = format!("the oracle would take about {seconds:.0} s");
            return Err(Failure::new(Reason::Size, detail));
        }
        if self.by_rounding() {
            return self.by_naive(case);
        }
        match &self.evaluator {
            Some(code) => self.evaluate(code, case),
            None => self.interpret(case, LARGE_STEPS),
        }
    }

    fn judge(&self, case: &Case, expected: &Outputs, got: &[HostTensor]) -> Result<Judged, Failure> {
        let func = &self.checked.hir.funcs[self.entry];
        let tensors = func.params.iter().filter_map(|p| match p {
            ParamRef::Tensor(id) => Some((*id, &func.tensors[*id])),
            ParamRef::Scalar(_) => None,
        });
        let mut judged = Judged::default();
        for (p, (id, tensor)) in tensors.enumerate() {
            if tensor.role == Role::In {
                continue;
            }
            let (Some(want), Some(got)) = (expected.tensors.get(p), got.get(p)) else {
                return Err(Failure::new(Reason::Internal, format!("no result for {}", tensor.name)));
            };
            let tolerance = self.task.tolerance(&tensor.name, tensor.dtype);
            let lists = self.comparable(id, want, got, expected)?;
            let (want, got) = lists.as_ref().map_or((want, got), |(w, g)| (w, g));
            let bound = case.bounds.get(p).copied().flatten();
            let verdict = task::tolerance::judge_within(want, got, &tolerance, bound);
            if !verdict.pass {
                return Err(wrong(&tensor.name, &verdict, want, got));
            }
            judged.max_rel_err = judged.max_rel_err.max(verdict.maxrel);
            let part =
                |value: f64, bound: Option<f64>| bound.map_or(0.0, |b| value / b.max(f64::MIN_POSITIVE));
            judged.used = judged
                .used
                .max(part(verdict.nrmse, tolerance.nrmse))
                .max(part(verdict.maxrel, tolerance.maxrel));
        }
        for check in &self.task.checks {
            let task::Check::Conserved { tensor, relative } = check;
            let at = func
                .params
                .iter()
                .filter_map(|p| match p {
                    ParamRef::Tensor(id) => Some(&func.tensors[*id].name),
                    ParamRef::Scalar(_) => None,
                })
                .position(|n| n == tensor);
            let pair = at.and_then(|p| Some((case.tensors.get(p)?.as_ref()?, got.get(p)?)));
            if let Some((before, after)) = pair {
                let change = task::tolerance::sum_change(before, after);
                // A change that is NaN conserves nothing.
                if change.is_nan() || change > *relative {
                    let detail =
                        format!("the sum of {tensor} changes by {change:.1e}, more than {relative:.1e}");
                    return Err(Failure::new(Reason::WrongResult, detail));
                }
            }
        }
        Ok(judged)
    }

    fn null_model(&self, case: &Case, expected: &Outputs) -> Option<String> {
        let func = &self.checked.hir.funcs[self.entry];
        let tensors: Vec<_> = func
            .params
            .iter()
            .filter_map(|p| match p {
                ParamRef::Tensor(id) => Some(&func.tensors[*id]),
                ParamRef::Scalar(_) => None,
            })
            .collect();
        let inputs: Vec<(&str, &HostTensor)> = tensors
            .iter()
            .zip(&case.tensors)
            .filter_map(|(t, content)| Some((t.name.as_str(), content.as_ref()?)))
            .collect();
        let written = |t: &Tensor| t.role != Role::In && !t.bag;
        tensors.iter().zip(&expected.tensors).filter(|(t, _)| written(t)).find_map(|(t, want)| {
            let tolerance = self.task.tolerance(&t.name, t.dtype);
            let model = task::null_models::passes_null_model(want, &inputs, None, &tolerance)?;
            Some(format!("the tolerance of `{}` accepts {model}", t.name))
        })
    }

    fn baseline(&self) -> Recipe {
        Recipe { base: Base::Naive, ..Recipe::default() }
    }
}

fn wrong(name: &str, verdict: &task::Verdict, want: &Values, got: &HostTensor) -> Failure {
    let place = verdict.worst.filter(|&at| at < got.len() && at < want.len());
    let element = place.map_or_else(String::new, |at| {
        format!(", worst at element {at}: {:?} in place of {:?}", got.get(at), want.get(at))
    });
    let nan = match verdict.nan_mismatch {
        0 => String::new(),
        n => format!(", {n} NaN on one side only"),
    };
    let detail = format!("{name}: nrmse {:.1e}, maxrel {:.1e}{nan}{element}", verdict.nrmse, verdict.maxrel);
    Failure::new(Reason::WrongResult, detail)
}

/// Rescales the floats of a tensor; false where it has none. Powers of two leave every significant digit.
fn rescale(tensor: &mut HostTensor, draw: Draw) -> bool {
    if !tensor.dtype().is_float() && !tensor.dtype().is_complex() {
        return false;
    }
    for i in 0..tensor.len() {
        let scale = match draw {
            Draw::Task => 1.0,
            Draw::Zeros => 0.0,
            Draw::Large => 1024.0,
            Draw::Small => 1.0 / 1024.0,
            // Scales from 2^-8 to 2^7, spread without pattern.
            Draw::Mixed => f64::from(((i as u32).wrapping_mul(2_654_435_761) >> 28) as i32 - 8).exp2(),
        };
        let value = match tensor.get(i) {
            Scalar::Float(v) => Scalar::Float(v * scale),
            Scalar::Complex(re, im) => Scalar::Complex(re * scale, im * scale),
            other => other,
        };
        tensor.set(i, value);
    }
    true
}

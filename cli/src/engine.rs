//! From a file and a size to something that runs: what `run`, `bench`, `explain` and `emit` share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rooftile_artifact::program::Bindings;
use rooftile_artifact::{HostTensor, Program, Room, Scalar, Target};
use rooftile_compiler::codegen::{self, CodegenError};
use rooftile_compiler::diag::{self, Diagnostic};
use rooftile_compiler::driver::{self, Checked, EntryError};
use rooftile_compiler::hir::ir::{Func, FuncId, ParamRef, Role, TensorId};
use rooftile_compiler::nest::{self, VerifiedModule};
use rooftile_compiler::schedule::plan::Assignment;
use rooftile_compiler::schedule::{self, Allow, Choice};
use rooftile_compiler::task::{self, Given, InputSet, Sizes, Task, TaskError};
use rooftile_compiler::tune;
use rooftile_runtime::{Device, Instance, InstanceOptions, machine};

use crate::args::{Pairs, ScheduleChoice};
use crate::failure::{Failure, Outcome};
use crate::{npy, output};

/// A checked file with the kernel or pipeline that is asked for.
pub struct Subject {
    /// The file.
    pub path: PathBuf,
    /// Everything that checking it gave.
    pub checked: Checked,
    /// The kernel or pipeline.
    pub entry: FuncId,
}

/// Writes diagnostics to standard error.
pub fn show(path: &Path, source: &str, diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        eprint!("{}", diag::render(diagnostics, &path.display().to_string(), source, output::colour()));
    }
}

/// Reads and checks a file; its errors are shown, and refuse it.
///
/// # Errors
/// [`Failure::Input`] when it cannot be read, [`Failure::Reported`] when it has errors.
pub fn load(path: &Path) -> Result<Checked, Failure> {
    let source = output::read_source(path)?;
    let checked = driver::check(&source);
    if checked.has_errors() {
        show(path, &source, &checked.diagnostics);
        return Err(Failure::Reported);
    }
    Ok(checked)
}

impl Subject {
    /// Opens a file and finds the kernel or pipeline in it.
    ///
    /// # Errors
    /// As [`load`]; [`Failure::Usage`] when the name is not there, or none is given where one is needed.
    pub fn open(path: &Path, name: Option<&str>) -> Result<Subject, Failure> {
        let checked = load(path)?;
        let entry = checked.entry(name).map_err(|e| Failure::Usage(e.to_string()))?;
        Ok(Subject { path: path.to_owned(), checked, entry })
    }

    /// The kernel or pipeline.
    #[must_use]
    pub fn func(&self) -> &Func {
        &self.checked.hir.funcs[self.entry]
    }

    /// Its task.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.checked.task(self.entry)
    }

    /// What its task allows a schedule to change.
    #[must_use]
    pub fn allow(&self) -> Allow {
        self.task().map_or_else(Allow::default, |t| Allow::from(&t.allow))
    }

    /// The schedule that is asked for, at sizes.
    #[must_use]
    pub fn choice(&self, which: ScheduleChoice, sizes: &Sizes, target: &Target) -> Choice {
        let allow = self.allow();
        match (which, self.checked.schedule(self.entry, target.name(), sizes)) {
            (ScheduleChoice::Naive, _) => Choice::Naive,
            (ScheduleChoice::File, Some(written)) => Choice::Planned {
                plan: written.plan.clone(),
                assignment: self.assignment(sizes, target),
                allow,
            },
            (ScheduleChoice::Default | ScheduleChoice::File, _) => Choice::Default { allow },
        }
    }

    /// Values of the tunables: those that the file gives, for others a point of the space.
    fn assignment(&self, sizes: &Sizes, target: &Target) -> Assignment {
        let hardware = tune::keys(target);
        let space = self.checked.space(self.entry, target.name(), &hardware, std::slice::from_ref(sizes));
        space.ok().and_then(|s| s.default(None)).unwrap_or_default()
    }

    /// Lowers under a schedule and checks the loops.
    ///
    /// # Errors
    /// [`Failure::Reported`] when the schedule is not legal, [`Failure::Bug`] when the loops break a rule.
    pub fn module(&self, choice: &Choice, target: &Target) -> Result<VerifiedModule, Failure> {
        let module =
            schedule::lower(&self.checked.hir, self.entry, choice, target).map_err(|diagnostics| {
                show(&self.path, &self.checked.source, &diagnostics);
                Failure::Reported
            })?;
        nest::verify_module(module).map_err(|violations| {
            let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
            Failure::Bug(text.join("; "))
        })
    }

    /// Sizes, scalars and tensors for a run: given ones, and for the rest what the task says, or random data. What there
    /// is no room for is refused before any is made.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a size that is missing or unknown, [`Failure::Input`] for sizes that disagree or data
    /// that do not fit.
    pub fn inputs(
        &self,
        sizes: &BTreeMap<String, i64>,
        scalars: &BTreeMap<String, Scalar>,
        tensors: BTreeMap<String, HostTensor>,
        seed: u64,
        room: Room,
    ) -> Result<InputSet, Failure> {
        match self.checked.resolve_sizes(self.entry, sizes) {
            Err(e @ EntryError::UnknownSize { .. }) => return Err(Failure::Usage(e.to_string())),
            Err(e) if tensors.is_empty() => return Err(Failure::Usage(e.to_string())),
            _ => {}
        }
        let fallback =
            self.task().and_then(|t| t.search.first()).map(|s| s.values.clone()).unwrap_or_default();
        let given = Given { tensors, scalars: scalars.clone(), room };
        let mut sizes: Sizes = sizes.clone();
        if given.tensors.is_empty() {
            for (name, value) in &fallback {
                sizes.entry(name.clone()).or_insert(*value);
            }
        }
        loop {
            let made = task::generate_given(&self.checked.hir, self.task(), self.entry, &sizes, seed, &given);
            // A size that neither the user nor a tensor binds is the task's.
            match made {
                Err(TaskError::Missing(name))
                    if fallback.contains_key(&name) && !sizes.contains_key(&name) =>
                {
                    sizes.insert(name.clone(), fallback[&name]);
                }
                Err(e @ TaskError::Missing(_)) => return Err(Failure::Usage(e.to_string())),
                Err(TaskError::TooLarge { bytes, limit }) => {
                    return Err(Failure::Input(format!(
                        "the tensors take {bytes} bytes at these sizes, and there is memory for {limit}"
                    )));
                }
                other => return other.map_err(Failure::input),
            }
        }
    }

    /// The tensor parameter of that name.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming those that there are.
    pub fn tensor(&self, name: &str) -> Result<TensorId, Failure> {
        let func = self.func();
        let params = func.params.iter().filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(*id),
            ParamRef::Scalar(_) => None,
        });
        let mut known = Vec::new();
        for id in params {
            if func.tensors[id].name == name {
                return Ok(id);
            }
            known.push(format!("`{}`", func.tensors[id].name));
        }
        Err(Failure::Usage(format!("`{}` has no tensor `{name}`; there are {}", func.name, known.join(", "))))
    }

    /// Names of the tensor parameters, in the order of the signature.
    #[must_use]
    pub fn tensor_names(&self) -> Vec<String> {
        let func = self.func();
        let names = func.params.iter().filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(func.tensors[*id].name.clone()),
            ParamRef::Scalar(_) => None,
        });
        names.collect()
    }

    /// Inputs from NumPy files, by `--in` pairs. `X:bf16=file` says the type aloud; it must be the parameter's.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no input, [`Failure::Input`] for a file that does not hold such a tensor.
    pub fn read_inputs(&self, pairs: &[Pairs]) -> Result<BTreeMap<String, HostTensor>, Failure> {
        let mut tensors = BTreeMap::new();
        for (name, file) in pairs.iter().flat_map(|p| &p.0) {
            let (name, said) = name.split_once(':').map_or((name.as_str(), None), |(n, t)| (n, Some(t)));
            let tensor = &self.func().tensors[self.tensor(name)?];
            if tensor.role == Role::Out {
                return Err(Failure::Usage(format!("`{name}` is an output; it takes no --in")));
            }
            if said.is_some_and(|t| t.parse() != Ok(tensor.dtype)) {
                return Err(Failure::Usage(format!(
                    "`{name}` is {}, not {}",
                    tensor.dtype,
                    said.unwrap_or_default()
                )));
            }
            tensors.insert(name.to_owned(), npy::read(Path::new(file), tensor.dtype)?);
        }
        Ok(tensors)
    }

    /// Numbers, among the tensor parameters, of those that a run writes.
    #[must_use]
    pub fn written(&self) -> Vec<usize> {
        let func = self.func();
        let tensors = func.params.iter().filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(func.tensors[*id].role),
            ParamRef::Scalar(_) => None,
        });
        tensors.enumerate().filter(|(_, role)| *role != Role::In).map(|(n, _)| n).collect()
    }
}

/// Code for a device.
///
/// # Errors
/// [`Failure::Input`] for a construct that the target does not have, [`Failure::Bug`] for one of ours.
pub fn compile(module: &VerifiedModule, target: &Target) -> Result<Program, Failure> {
    codegen::compile(module, target).map_err(codegen_failure)
}

/// A code generator's failure as the user sees it.
#[must_use]
pub fn codegen_failure(error: CodegenError) -> Failure {
    match error {
        CodegenError::Unsupported { .. } => Failure::Input(error.to_string()),
        CodegenError::Internal { .. } => Failure::Bug(error.to_string()),
    }
}

/// Opens a device that runs machine code.
///
/// # Errors
/// [`Failure::Device`] when it is not here.
pub fn open_device(name: &str) -> Result<Box<dyn Device>, Failure> {
    rooftile_runtime::open(name).map_err(|e| Failure::Device(e.to_string()))
}

/// Bytes of an element to an interpreter: some words, whatever its type.
pub const INTERPRETED_ELEMENT: u64 = 64;

/// What there is room for where an interpreter runs.
#[must_use]
pub fn interpreter_room() -> Room {
    let available = rooftile_runtime::memory::available();
    let elements = available.map_or(u128::MAX, |bytes| u128::from(bytes / INTERPRETED_ELEMENT));
    Room { tensor_elements: elements, ..Room::of_bytes(available.map(|bytes| bytes / 2)) }
}

/// What code for a device may use, with the kernel's threads.
#[must_use]
pub fn target(device: &dyn Device, threads: Option<usize>) -> Target {
    let target = machine::refined(device.target().clone());
    match threads {
        Some(n) => target.with_threads(n),
        None => target,
    }
}

/// The sizes and scalars of inputs in a program's order.
///
/// # Errors
/// [`Failure::Bug`] when the program has a size that the function lacks.
pub fn bindings(func: &Func, program: &Program, set: &InputSet) -> Result<Bindings, Failure> {
    let size = |name: &String| {
        let found = func.sizes.iter().zip(&set.inputs.sizes).find(|((_, s), _)| s.name == *name);
        found
            .map(|(_, v)| *v)
            .ok_or_else(|| Failure::Bug(format!("the program has a size {name} of its own")))
    };
    let sizes = program.sizes.iter().map(size).collect::<Result<_, _>>()?;
    Ok(Bindings { sizes, scalars: set.inputs.scalars.clone() })
}

/// A program ready to run on its inputs.
///
/// # Errors
/// [`Failure`] of the runtime: inputs that do not fit, memory, the device.
pub fn instance(
    device: &dyn Device,
    func: &Func,
    program: &Program,
    set: &InputSet,
    threads: Option<usize>,
) -> Result<Instance, Failure> {
    let loaded = device.load(program)?;
    let threads = threads.unwrap_or(device.target().host_threads()).max(1);
    let options = InstanceOptions { threads, pin: threads > 1, ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings(func, program, set)?, options)?;
    for (n, tensor) in set.inputs.tensors.iter().enumerate() {
        if let Some(tensor) = tensor {
            instance.write_input(n, tensor)?;
        }
    }
    Ok(instance)
}

/// Integers from `--size` pairs; a later value of a name replaces an earlier one.
///
/// # Errors
/// [`Failure::Usage`] for a value that is no positive integer.
pub fn sizes<'a>(pairs: impl IntoIterator<Item = &'a Pairs>) -> Result<BTreeMap<String, i64>, Failure> {
    let mut sizes = BTreeMap::new();
    for (name, value) in pairs.into_iter().flat_map(|p| &p.0) {
        match value.parse::<i64>() {
            Ok(v) if v >= 0 => sizes.insert(name.clone(), v),
            _ => return Err(Failure::Usage(format!("--size {name}={value}: a size is a positive integer"))),
        };
    }
    Ok(sizes)
}

/// Scalars from `--set` pairs, as the parameters' types read them.
///
/// # Errors
/// [`Failure::Usage`] for an unknown name or a value that is no number.
pub fn scalars(func: &Func, pairs: &[Pairs]) -> Result<BTreeMap<String, Scalar>, Failure> {
    let mut scalars = BTreeMap::new();
    for (name, text) in pairs.iter().flat_map(|p| &p.0) {
        let Some((_, param)) = func.scalars.iter().find(|(_, s)| s.name == *name) else {
            let known: Vec<String> = func.scalars.iter().map(|(_, s)| format!("`{}`", s.name)).collect();
            return Err(Failure::Usage(format!(
                "`{}` has no scalar `{name}`; there are {}",
                func.name,
                known.join(", ")
            )));
        };
        let value = if param.dtype.is_int() {
            text.parse().ok().map(Scalar::Int)
        } else {
            text.parse().ok().map(Scalar::Float)
        };
        let value = value.ok_or_else(|| {
            Failure::Usage(format!("--set {name}={text}: not a value of type {}", param.dtype))
        })?;
        scalars.insert(name.clone(), value);
    }
    Ok(scalars)
}

/// A size set as text: `K=3,M=4`.
#[must_use]
pub fn size_text(sizes: &Sizes) -> String {
    sizes.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
}

/// An outcome that carries on: for commands whose last step may fail.
///
/// # Errors
/// `failure`, where there is one.
pub fn finish(failure: Option<Failure>) -> Outcome {
    failure.map_or(Ok(()), Err)
}

//! What a result must be: the oracle's values, and the comparison of every element with them.

use rooftile_artifact::HostTensor;
use rooftile_artifact::program::Bindings;
use rooftile_compiler::diag::Diagnostic;
use rooftile_compiler::hir::ir::{Func, FuncId, ParamRef, TensorId};
use rooftile_compiler::oracle::interp::{self, Mode, Options};
use rooftile_compiler::oracle::values::widen;
use rooftile_compiler::oracle::{ErrorKind, OracleError, Outputs, Values, compiled};
use rooftile_compiler::task::null_models::{self, passes_null_model};
use rooftile_compiler::task::{InputSet, Tolerance, bags, judge};
use rooftile_runtime::{Instance, InstanceOptions, memory};

use crate::engine::{self, Subject, bindings, open_device};
use crate::failure::Failure;

/// Steps that the interpreter is given before the compiled evaluator takes over.
const INTERPRETED: u64 = 3_000_000;

/// The oracle's values of every tensor parameter: of the reference, where there is one. An output that must be exact, in a
/// task without a reference, is judged with the roundings that the kernel declares.
///
/// # Errors
/// [`Failure::Input`] when the oracle refuses the inputs or is too slow for them.
pub fn expected(subject: &Subject, set: &InputSet) -> Result<Outputs, Failure> {
    let file = &subject.checked.hir;
    let reference = file.reference(&subject.func().name);
    let rounded = subject.task().is_some_and(|t| t.judged_by_rounding(file));
    let mode = if rounded { Mode::Rounded } else { Mode::Exact };
    let options = Options { mode, check_races: false, budget: INTERPRETED, ..Options::default() };
    let func = reference.unwrap_or(subject.entry);
    // To the evaluator an element is a number, no more.
    let elements: usize = set.inputs.tensors.iter().flatten().map(HostTensor::len).sum();
    match memory::ask(engine::INTERPRETED_ELEMENT * elements as u64) {
        Err(_) if mode == Mode::Exact => return evaluate(subject, func, set),
        enough => enough.map_err(Failure::input)?,
    }
    match interp::run(file, func, &set.inputs, &options) {
        Ok(outputs) => Ok(outputs),
        Err(e) if too_long(&e) && mode == Mode::Exact => evaluate(subject, func, set),
        Err(e) if too_long(&e) => {
            let options = Options { budget: Options::default().budget, ..options };
            interp::run(file, func, &set.inputs, &options).map_err(Failure::input)
        }
        Err(e) => Err(Failure::input(e)),
    }
}

fn too_long(error: &OracleError) -> bool {
    matches!(*error.kind, ErrorKind::Budget(_))
}

/// The values by the compiled f64 evaluator, on all cores.
fn evaluate(subject: &Subject, func: FuncId, set: &InputSet) -> Result<Outputs, Failure> {
    let device = open_device("cpu")?;
    let file = &subject.checked.hir;
    let program = compiled::compile(file, func).map_err(Failure::input)?;
    let body = &file.funcs[func];
    let Bindings { sizes, scalars } = bindings(body, &program, set)?;
    let options = InstanceOptions { threads: device.target().host_threads(), ..InstanceOptions::default() };
    let mut instance = Instance::new(&device.load(&program)?, &Bindings { sizes, scalars }, options)?;
    for (n, tensor) in set.inputs.tensors.iter().enumerate() {
        if let Some(tensor) = tensor {
            // As f64, or as pairs of them.
            memory::ask(16 * tensor.len() as u64).map_err(Failure::input)?;
            instance.write_input(n, &widen(tensor).map_err(Failure::input)?)?;
        }
    }
    instance.run()?;
    let tensors = declared(subject.func())
        .into_iter()
        .enumerate()
        .map(|(n, dtype)| {
            let values = Values::from_host(&instance.read_output(n)?);
            Ok(Values { dtype, ..values })
        })
        .collect::<Result<_, Failure>>()?;
    Ok(Outputs { tensors })
}

/// Declared element types of the tensor parameters.
fn declared(func: &Func) -> Vec<rooftile_artifact::DType> {
    let tensors = func.params.iter().filter_map(|p| match p {
        ParamRef::Tensor(id) => Some(func.tensors[*id].dtype),
        ParamRef::Scalar(_) => None,
    });
    tensors.collect()
}

/// Compares every written tensor with the oracle's values.
///
/// # Errors
/// [`Failure::NotVerified`] naming tensor, element and error.
///
/// On success, the largest relative error.
pub fn compare(subject: &Subject, want: &Outputs, got: &[(usize, HostTensor)]) -> Result<f64, Failure> {
    let func = subject.func();
    let ids: Vec<TensorId> = func
        .params
        .iter()
        .filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(*id),
            ParamRef::Scalar(_) => None,
        })
        .collect();
    let mut largest = 0.0f64;
    for (n, tensor) in got {
        let name = &func.tensors[ids[*n]].name;
        let lists =
            if func.tensors[ids[*n]].bag {
                // Of lists what they hold is compared, in any order.
                let counter = bags::counter_of(&subject.checked.hir, subject.entry, ids[*n]);
                let at = ids.iter().position(|id| Some(*id) == counter);
                let lists = at.and_then(|at| bags::filled(&want.tensors[*n], tensor, &want.tensors[at]));
                Some(lists.ok_or_else(|| {
                    Failure::NotVerified(format!("the lists of `{name}` cannot be compared"))
                })?)
            } else {
                None
            };
        let (want, tensor) = lists.as_ref().map_or((&want.tensors[*n], tensor), |(w, g)| (w, g));
        let tolerance = match subject.task() {
            Some(task) => task.tolerance(name, tensor.dtype()),
            None => Tolerance::default_for(tensor.dtype()),
        };
        let verdict = judge(want, tensor, &tolerance);
        if !verdict.pass {
            let at = verdict.worst.map_or_else(String::new, |i| {
                format!(
                    "; element {:?} is {:?}, the oracle says {:?}",
                    unflatten(i, tensor.shape()),
                    tensor.get(i),
                    want.get(i)
                )
            });
            return Err(Failure::NotVerified(format!(
                "`{name}` is off by nrmse {:.2e}, maxrel {:.2e}; {} of {} elements differ{at}",
                verdict.nrmse,
                verdict.maxrel,
                verdict.different,
                tensor.len(),
            )));
        }
        largest = largest.max(verdict.maxrel);
    }
    Ok(largest)
}

/// The index of a flat position, outermost first.
fn unflatten(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let i = flat % extent.max(1);
            flat /= extent.max(1);
            i
        })
        .collect();
    index.reverse();
    index
}

/// Tolerances of the task that a null model passes, tried at the smallest search size.
///
/// # Errors
/// As [`expected`], and [`Failure::Input`] when the task's data cannot be made.
pub fn null_models(subject: &Subject) -> Result<Vec<Diagnostic>, Failure> {
    let Some(task) = subject.task() else { return Ok(Vec::new()) };
    let volume = |set: &&rooftile_compiler::task::SizeSet| -> i128 {
        set.values.values().map(|&v| i128::from(v.max(1))).fold(1, |a, b| a.saturating_mul(b))
    };
    let Some(sizes) = task.search.iter().min_by_key(volume) else { return Ok(Vec::new()) };
    let none = std::collections::BTreeMap::new();
    let make =
        |seed| subject.inputs(&sizes.values, &none, Default::default(), seed, engine::interpreter_room());
    let (first, second) = (make(1)?, make(2)?);
    let (want, stale) = (expected(subject, &first)?, expected(subject, &second)?);
    let func = subject.func();
    let names: Vec<&str> = func
        .params
        .iter()
        .filter_map(|p| match p {
            ParamRef::Tensor(id) => Some(func.tensors[*id].name.as_str()),
            ParamRef::Scalar(_) => None,
        })
        .collect();
    let inputs: Vec<(&str, &HostTensor)> =
        names.iter().zip(&first.inputs.tensors).filter_map(|(n, t)| Some((*n, t.as_ref()?))).collect();
    let mut found = Vec::new();
    for n in subject.written() {
        let tolerance = task.tolerance(names[n], want.tensors[n].dtype);
        if let Some(model) = passes_null_model(&want.tensors[n], &inputs, Some(&stale.tensors[n]), &tolerance)
        {
            found.push(null_models::diagnostic(names[n], &model, task.span));
        }
    }
    Ok(found)
}

//! Data for a run: every scalar and every tensor that is read, from sizes and a seed.
//!
//! Every element is a function of the seed, the parameter's name and the element's flat index alone (see
//! [`super::hash`]), so data do not depend on order, threads or platform, and any part can be made again by itself.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, HostTensor, Room, Scalar};

use crate::hir::ir::{File, Func, FuncId, ParamRef, Role, ScalarParam, Tensor, TensorId};
use crate::oracle::Inputs;
use crate::oracle::cases::small_inputs;
use crate::syntax::ast;

use super::bind::{Binder, Scalars, Sizes, Unbound};
use super::dist::Dist;
use super::elements::{fill, uniform};
use super::error::TaskError;
use super::hash::Stream;
use super::sparse::{Family, Pattern};
use super::value::{ValueError, Values};
use super::{Source, Task, required_sizes};

/// What a run starts from.
#[derive(Clone, Debug, Default)]
pub struct InputSet {
    /// Every size and integer parameter by name, those that the data bound included.
    pub sizes: Sizes,
    /// Sizes, scalars and tensors in the order of the function. Of an `out` there is no tensor.
    pub inputs: Inputs,
}

/// What the user gives instead of generated data.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Tensors by parameter; their extents bind sizes.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Scalars by parameter.
    pub scalars: Scalars,
    /// What all tensors, outputs included, may take.
    pub room: Room,
}

/// Data for a kernel or pipeline. Without a task, or without an `init`, a parameter has the data of its type: floats are
/// standard normal, integers lie in their `range`, signed ones without a range in -100..=100, unsigned ones below 256 (or what
/// their type holds); `monotone` and `injective` are respected; float scalars lie in 0.5..1.5.
///
/// # Errors
/// [`TaskError`] when a size is missing, sizes disagree, a `where` is violated, or an `init` does not fit.
pub fn generate(
    file: &File,
    task: Option<&Task>,
    entry: FuncId,
    sizes: &Sizes,
    seed: u64,
) -> Result<InputSet, TaskError> {
    generate_given(file, task, entry, sizes, seed, &Given::default())
}

/// The task's data at random sizes from 1 to `largest`, at which its conditions hold, and those sizes. Where the task
/// declares what values a size takes and none drawn is among them, it is one of the first `largest` of them: what is true
/// of the kernel elsewhere, its tolerances above all, is not promised. `None` where no such sizes were found or the data
/// cannot be made there.
#[must_use]
pub fn small_case(file: &File, task: &Task, seed: u64, largest: i64) -> Option<(Sizes, InputSet)> {
    let func = &file.funcs[task.entry];
    let wanted = required_sizes(func, &task.init);
    let made = small_inputs(file, task.entry, seed, largest)?;
    let sizes = func.sizes.iter().map(|(_, s)| &s.name).zip(made.sizes.iter().copied());
    let scalars = func.scalars.iter().zip(&made.scalars);
    let counts = scalars.filter(|((_, s), _)| s.dtype.is_int()).map(|((_, s), v)| (&s.name, v.as_i64()));
    let sizes: Sizes = sizes
        .chain(counts)
        .filter(|(n, _)| wanted.contains(n))
        .map(|(n, v)| {
            let domain = task.domains.iter().find(|d| d.name == *n);
            (n.clone(), domain.map_or(v, |d| d.nearby(v)))
        })
        .collect();
    let set = generate(file, Some(task), task.entry, &sizes, seed).ok()?;
    Some((sizes, set))
}

/// One small case a seed, with the task's data where `entry` has a task and they can be made, otherwise with random data.
#[must_use]
pub fn small_cases(
    file: &File,
    task: Option<&Task>,
    entry: FuncId,
    seeds: std::ops::Range<u64>,
    largest: i64,
) -> Vec<Inputs> {
    let case = |seed| match task.and_then(|t| small_case(file, t, seed, largest)) {
        Some((_, set)) => Some(set.inputs),
        None => small_inputs(file, entry, seed, largest),
    };
    seeds.filter_map(case).collect()
}

/// As [`generate`], with tensors and scalars of the user's in place of generated ones.
///
/// # Errors
/// As [`generate`]; also when a given tensor has another type or shape than its parameter, or the data exceed the room;
/// that is said before any tensor is made whose extents are known by then.
pub fn generate_given(
    file: &File,
    task: Option<&Task>,
    entry: FuncId,
    sizes: &Sizes,
    seed: u64,
    given: &Given,
) -> Result<InputSet, TaskError> {
    let func = &file.funcs[entry];
    let mut maker = Maker {
        file,
        entry,
        func,
        fns: task.map_or(&[], |t| &t.fns),
        seed,
        sizes: sizes.clone(),
        names: BTreeMap::new(),
        scalars: Scalars::new(),
        tensors: BTreeMap::new(),
        patterns: Vec::new(),
        room: given.room,
    };
    maker.start(given)?;
    let mut work: Vec<Work<'_>> = Vec::new();
    let listed = task.map_or(&[][..], |t| &t.init);
    for item in listed {
        if let Some(param) = param(func, &item.name) {
            work.push(Work { param, source: Some(&item.source) });
        }
    }
    // Parameters without an init come last: scalars, then tensors, in signature order.
    for scalars in [true, false] {
        for &param in &func.params {
            let name = match param {
                ParamRef::Scalar(id) => &func.scalars[id].name,
                ParamRef::Tensor(id) => &func.tensors[id].name,
            };
            if matches!(param, ParamRef::Scalar(_)) == scalars && !listed.iter().any(|i| i.name == *name) {
                work.push(Work { param, source: None });
            }
        }
    }
    maker.run(work)?;
    maker.finish()
}

/// Bytes of all tensor parameters, and of the buffers of a pipeline, at given sizes; sizes that data bind must be known.
///
/// # Errors
/// [`TaskError`] when an extent has no value.
pub fn bytes_needed(file: &File, entry: FuncId, sizes: &Sizes, scalars: &Scalars) -> Result<u128, TaskError> {
    let func = &file.funcs[entry];
    let binder = Binder { func, tables: &file.tables, sizes, scalars };
    func.tensors.iter().try_fold(0u128, |sum, (_, t)| {
        let shape = binder.shape(&t.shape).map_err(|why| unbound(why, &t.name))?;
        let elements = shape.iter().fold(1u128, |n, e| n.saturating_mul(*e as u128));
        Ok(sum.saturating_add(elements.saturating_mul(t.dtype.size() as u128)))
    })
}

pub(super) fn unbound(why: Unbound, tensor: &str) -> TaskError {
    match why {
        Unbound::Name(name) => TaskError::Missing(name),
        Unbound::Undefined => {
            TaskError::Size(format!("the extents of `{tensor}` have no value at these sizes"))
        }
    }
}

fn param(func: &Func, name: &str) -> Option<ParamRef> {
    func.params.iter().copied().find(|p| match p {
        ParamRef::Tensor(id) => func.tensors[*id].name == name,
        ParamRef::Scalar(id) => func.scalars[*id].name == name,
    })
}

#[derive(Clone, Copy, Debug)]
struct Work<'a> {
    param: ParamRef,
    source: Option<&'a Source>,
}

/// Why a parameter cannot be made yet, or at all.
pub(super) enum Stop {
    /// Something it needs does not exist yet.
    Wait(String),
    Fail(TaskError),
}

impl From<TaskError> for Stop {
    fn from(e: TaskError) -> Stop {
        Stop::Fail(e)
    }
}

pub(super) struct Maker<'a> {
    pub(super) file: &'a File,
    pub(super) entry: FuncId,
    pub(super) func: &'a Func,
    pub(super) fns: &'a [ast::Fn],
    pub(super) seed: u64,
    pub(super) sizes: Sizes,
    /// Sizes and scalars, for expressions.
    pub(super) names: BTreeMap<String, Scalar>,
    pub(super) scalars: Scalars,
    pub(super) tensors: BTreeMap<String, HostTensor>,
    /// Sparse patterns by the name of the size that counts their elements.
    pub(super) patterns: Vec<(Option<String>, Pattern)>,
    pub(super) room: Room,
}

impl Maker<'_> {
    pub(super) fn binder(&self) -> Binder<'_> {
        Binder { func: self.func, tables: &self.file.tables, sizes: &self.sizes, scalars: &self.scalars }
    }

    /// Takes what is given: sizes, scalars, tensors and what their extents bind.
    fn start(&mut self, given: &Given) -> Result<(), TaskError> {
        let known = crate::tune::size_names(self.func);
        for (name, v) in &self.sizes {
            if !known.contains(&name.as_str()) {
                let near = crate::diag::suggest(name, known.iter().copied());
                let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                return Err(TaskError::Size(format!("`{}` has no size `{name}`{hint}", self.func.name)));
            }
            if *v <= 0 && self.func.sizes.iter().any(|(_, s)| s.name == *name) {
                return Err(TaskError::Size(format!("`{name}` = {v} must be positive")));
            }
        }
        self.names = self.sizes.iter().map(|(n, v)| (n.clone(), Scalar::Int(*v))).collect();
        for (name, v) in &given.scalars {
            match param(self.func, name) {
                Some(ParamRef::Scalar(id)) => self.put_scalar(&self.func.scalars[id].clone(), *v),
                _ => {
                    let reason = format!("`{}` has no such scalar", self.func.name);
                    return Err(TaskError::Given { name: name.clone(), reason });
                }
            }
        }
        for (name, tensor) in &given.tensors {
            let wrong = |reason: String| TaskError::Given { name: name.clone(), reason };
            let Some(ParamRef::Tensor(id)) = param(self.func, name) else {
                return Err(wrong(format!("`{}` has no such tensor", self.func.name)));
            };
            let declared = &self.func.tensors[id];
            if tensor.dtype() != declared.dtype {
                return Err(wrong(format!("its elements are {}, not {}", declared.dtype, tensor.dtype())));
            }
            if tensor.shape().len() != declared.shape.len() {
                let (want, got) = (declared.shape.len(), tensor.shape().len());
                return Err(wrong(format!("it has {want} dimensions, not {got}")));
            }
            for (n, (&e, &extent)) in declared.shape.iter().zip(tensor.shape()).enumerate() {
                let extent = i64::try_from(extent).unwrap_or(i64::MAX);
                if let Some((size, v)) = self.binder().solve(e, extent) {
                    self.bind(&size, v, &format!("the array for `{name}`"))?;
                }
                match self.binder().int(e) {
                    Ok(v) if v != extent => {
                        return Err(wrong(format!("dimension {n} is {v} at these sizes, not {extent}")));
                    }
                    _ => {}
                }
            }
            self.tensors.insert(name.clone(), tensor.clone());
        }
        Ok(())
    }

    pub(super) fn bind(&mut self, name: &str, v: i64, source_of: &str) -> Result<(), TaskError> {
        match self.sizes.get(name) {
            Some(&given) if given != v => Err(TaskError::Conflict {
                name: name.to_owned(),
                given,
                source_of: source_of.to_owned(),
                needed: v,
            }),
            Some(_) => Ok(()),
            None => {
                self.sizes.insert(name.to_owned(), v);
                self.names.insert(name.to_owned(), Scalar::Int(v));
                Ok(())
            }
        }
    }

    fn put_scalar(&mut self, scalar: &ScalarParam, v: Scalar) {
        let v = v.cast(scalar.dtype);
        self.scalars.insert(scalar.name.clone(), v);
        self.names.insert(scalar.name.clone(), v);
        if scalar.dtype.is_int() {
            self.sizes.insert(scalar.name.clone(), v.as_i64());
        }
    }

    /// Makes every parameter, each as soon as what it mentions exists.
    fn run(&mut self, mut work: Vec<Work<'_>>) -> Result<(), TaskError> {
        while !work.is_empty() {
            let mut waits_for = None;
            let mut made = None;
            for (n, item) in work.iter().enumerate() {
                match self.make(*item) {
                    Ok(()) => {
                        made = Some(n);
                        break;
                    }
                    Err(Stop::Wait(name)) => {
                        waits_for.get_or_insert(name);
                    }
                    Err(Stop::Fail(e)) => return Err(e),
                }
            }
            match made {
                Some(n) => {
                    work.remove(n);
                }
                None => return Err(TaskError::Missing(waits_for.unwrap_or_default())),
            }
        }
        Ok(())
    }

    fn make(&mut self, work: Work<'_>) -> Result<(), Stop> {
        match work.param {
            ParamRef::Scalar(id) => {
                let scalar = self.func.scalars[id].clone();
                if self.scalars.contains_key(&scalar.name) {
                    return Ok(());
                }
                // A size set or `--size` wins over an init.
                let v = match self.sizes.get(&scalar.name) {
                    Some(v) => Scalar::Int(*v),
                    None => self.scalar(&scalar, work.source)?,
                };
                self.put_scalar(&scalar, v);
                Ok(())
            }
            ParamRef::Tensor(id) => {
                let tensor = self.func.tensors[id].clone();
                if tensor.role == Role::Out || self.tensors.contains_key(&tensor.name) {
                    return Ok(());
                }
                let data = self.tensor(id, &tensor, work.source)?;
                self.tensors.insert(tensor.name, data);
                Ok(())
            }
        }
    }

    pub(super) fn values(&self) -> Values<'_> {
        Values { names: &self.names, tables: &self.file.tables, fns: self.fns, tensors: &self.tensors }
    }

    /// Whether a name is a parameter or size of the function, which may come to exist later.
    fn pending(&self, name: &str) -> bool {
        param(self.func, name).is_some() || self.func.sizes.iter().any(|(_, s)| s.name == name)
    }

    pub(super) fn stop(&self, param: &str, why: ValueError) -> Stop {
        match why {
            ValueError::Missing(name) if self.pending(&name) => Stop::Wait(name),
            other => Stop::Fail(TaskError::Init { name: param.to_owned(), reason: other.to_string() }),
        }
    }

    pub(super) fn eval(&self, param: &str, e: &ast::Expr) -> Result<Scalar, Stop> {
        self.values().eval(e).map_err(|why| self.stop(param, why))
    }

    fn scalar(&self, scalar: &ScalarParam, source: Option<&Source>) -> Result<Scalar, Stop> {
        let stream = Stream::new(self.seed, &scalar.name);
        let name = &scalar.name;
        match source {
            Some(Source::Value(e)) => self.eval(name, e),
            Some(Source::Range(a, b)) => {
                let (a, b) = (self.eval(name, a)?, self.eval(name, b)?);
                Ok(uniform(scalar.dtype, a, b, stream, 0))
            }
            Some(Source::Dist(dist)) => self.element_of(scalar.dtype, name, dist)?(0).map_err(Stop::Fail),
            None if scalar.dtype.is_signed_int() => Err(Stop::Fail(TaskError::Missing(name.clone()))),
            None => Ok(match scalar.dtype {
                DType::Bool => Scalar::Bool(stream.below(0, 2) == 1),
                DType::Int { bits, .. } => {
                    Scalar::Int(i64::try_from(stream.below(0, 1 << bits.min(31))).unwrap_or(0))
                }
                d if d.is_complex() => Scalar::Complex(stream.unit(0) + 0.5, stream.unit(1) - 0.5),
                _ => Scalar::Float(stream.unit(0) + 0.5),
            }),
        }
    }

    fn tensor(&mut self, id: TensorId, tensor: &Tensor, source: Option<&Source>) -> Result<HostTensor, Stop> {
        let name = tensor.name.as_str();
        match source {
            Some(Source::Dist(Dist::Csr(csr))) => return self.sparse(tensor, Some(csr)),
            Some(Source::Dist(Dist::Ragged(mean))) => {
                let mean = self.eval(name, mean)?.as_f64();
                return self.pointers(tensor, Family::Ragged(mean));
            }
            None if self.pattern_of(tensor).is_some() && tensor.dtype.is_int() => {
                return self.sparse(tensor, None);
            }
            _ => {}
        }
        let shape = self.shape(tensor)?;
        match source {
            None => self.default(id, tensor, &shape),
            Some(Source::Range(a, b)) => {
                let dist = Dist::Uniform(a.clone(), b.clone());
                self.filled(tensor, &shape, &dist)
            }
            Some(Source::Dist(dist)) => self.filled(tensor, &shape, dist),
            Some(Source::Value(e)) => {
                let elements = self.values().elements(e).map_err(|why| self.stop(name, why))?;
                let count: usize = shape.iter().product();
                if elements.len() != 1 && elements.len() != count {
                    let reason = format!("{} values for {count} elements", elements.len());
                    return Err(Stop::Fail(TaskError::Init { name: name.to_owned(), reason }));
                }
                fill(tensor, &shape, |i| elements[if elements.len() == 1 { 0 } else { i }])
            }
        }
    }

    /// Extents, once all that they mention is bound.
    pub(super) fn shape(&self, tensor: &Tensor) -> Result<Vec<usize>, Stop> {
        let shape = self.binder().shape(&tensor.shape).map_err(|why| match why {
            Unbound::Name(name) => Stop::Wait(name),
            other => Stop::Fail(unbound(other, &tensor.name)),
        })?;
        self.check_room().map_err(Stop::Fail)?;
        Ok(shape)
    }

    /// Whether there is room for every tensor whose extents are known by now, so that none is made where one of them
    /// does not fit.
    fn check_room(&self) -> Result<(), TaskError> {
        let (mut bytes, mut outcome) = (0u128, Ok(()));
        for (_, tensor) in self.func.tensors.iter() {
            let Ok(shape) = self.binder().shape(&tensor.shape) else { continue };
            let elements = shape.iter().fold(1u128, |n, e| n.saturating_mul(*e as u128));
            let own = elements.saturating_mul(tensor.dtype.size() as u128);
            let limits =
                [("elements", elements, self.room.tensor_elements), ("bytes", own, self.room.tensor_bytes)];
            if let Some((unit, count, limit)) = limits.into_iter().find(|(_, count, limit)| count > limit) {
                outcome = Err(TaskError::TensorTooLarge { name: tensor.name.clone(), count, unit, limit });
            }
            bytes = bytes.saturating_add(own);
        }
        self.has_room(bytes).and(outcome)
    }

    /// Whether there is room for so many bytes.
    pub(super) fn has_room(&self, bytes: u128) -> Result<(), TaskError> {
        let limit = self.room.bytes;
        if bytes > limit { Err(TaskError::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    /// Checks what is known only at the end, and puts all in order.
    fn finish(self) -> Result<InputSet, TaskError> {
        for (_, size) in self.func.sizes.iter() {
            if !self.sizes.contains_key(&size.name) {
                return Err(TaskError::Missing(size.name.clone()));
            }
        }
        self.binder().check_wheres()?;
        self.has_room(bytes_needed(self.file, self.entry, &self.sizes, &self.scalars)?)?;
        self.check_room()?;
        for (_, tensor) in self.func.tensors.iter() {
            let (Some((lo, hi)), Some(data)) = (tensor.range, self.tensors.get(&tensor.name)) else {
                continue;
            };
            let (Ok(lo), Ok(hi)) = (self.binder().int(lo), self.binder().int(hi)) else { continue };
            let outside = (0..data.len()).map(|i| data.get(i).as_i64()).find(|v| !(lo..hi).contains(v));
            if let Some(v) = outside {
                let reason = format!("the element {v} is outside of its range {lo}..{hi}");
                return Err(TaskError::Init { name: tensor.name.clone(), reason });
            }
        }
        let mut tensors = self.tensors;
        let params = self.func.params.iter();
        let inputs = Inputs {
            sizes: self.func.sizes.iter().map(|(_, s)| self.sizes[&s.name]).collect(),
            scalars: self.func.scalars.iter().map(|(_, s)| self.scalars[&s.name]).collect(),
            tensors: params
                .filter_map(|p| match p {
                    ParamRef::Tensor(id) => Some(tensors.remove(&self.func.tensors[*id].name)),
                    ParamRef::Scalar(_) => None,
                })
                .collect(),
        };
        Ok(InputSet { sizes: self.sizes, inputs })
    }
}

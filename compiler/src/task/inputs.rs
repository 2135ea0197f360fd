//! Data for a run: every scalar and every tensor that is read, from sizes and a seed.
//!
//! Every element is a function of the seed, the parameter's name and the element's flat index alone (see
//! [`super::hash`]), so data do not depend on order, threads or platform, and any part can be made again by itself.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, HostTensor, Scalar};

use crate::hir::ir::{File, Func, FuncId, ParamRef, Role, ScalarParam, Tensor, TensorId};
use crate::oracle::Inputs;
use crate::syntax::ast;

use super::bind::{Binder, Scalars, Sizes, Unbound};
use super::dist::{Csr, Dist};
use super::error::TaskError;
use super::hash::Stream;
use super::sparse::{self, Family, Pattern};
use super::value::{ValueError, Values};
use super::{Source, Task};

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
    /// Largest number of bytes that all tensors, outputs included, may take; `None` for no limit.
    pub max_bytes: Option<u128>,
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

/// As [`generate`], with tensors and scalars of the user's in place of generated ones.
///
/// # Errors
/// As [`generate`]; also when a given tensor has another type or shape than its parameter, or the data exceed `max_bytes`.
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
        func,
        fns: task.map_or(&[], |t| &t.fns),
        seed,
        sizes: sizes.clone(),
        names: BTreeMap::new(),
        scalars: Scalars::new(),
        tensors: BTreeMap::new(),
        patterns: Vec::new(),
        max_bytes: given.max_bytes,
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

fn unbound(why: Unbound, tensor: &str) -> TaskError {
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
enum Stop {
    /// Something it needs does not exist yet.
    Wait(String),
    Fail(TaskError),
}

impl From<TaskError> for Stop {
    fn from(e: TaskError) -> Stop {
        Stop::Fail(e)
    }
}

struct Maker<'a> {
    file: &'a File,
    func: &'a Func,
    fns: &'a [ast::Fn],
    seed: u64,
    sizes: Sizes,
    /// Sizes and scalars, for expressions.
    names: BTreeMap<String, Scalar>,
    scalars: Scalars,
    tensors: BTreeMap<String, HostTensor>,
    /// Sparse patterns by the name of the size that counts their elements.
    patterns: Vec<(Option<String>, Pattern)>,
    max_bytes: Option<u128>,
}

impl Maker<'_> {
    fn binder(&self) -> Binder<'_> {
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

    fn bind(&mut self, name: &str, v: i64, source_of: &str) -> Result<(), TaskError> {
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

    fn values(&self) -> Values<'_> {
        Values { names: &self.names, tables: &self.file.tables, fns: self.fns, tensors: &self.tensors }
    }

    /// Whether a name is a parameter or size of the function, which may come to exist later.
    fn pending(&self, name: &str) -> bool {
        param(self.func, name).is_some() || self.func.sizes.iter().any(|(_, s)| s.name == name)
    }

    fn stop(&self, param: &str, why: ValueError) -> Stop {
        match why {
            ValueError::Missing(name) if self.pending(&name) => Stop::Wait(name),
            other => Stop::Fail(TaskError::Init { name: param.to_owned(), reason: other.to_string() }),
        }
    }

    fn eval(&self, param: &str, e: &ast::Expr) -> Result<Scalar, Stop> {
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
    fn shape(&self, tensor: &Tensor) -> Result<Vec<usize>, Stop> {
        let shape = self.binder().shape(&tensor.shape).map_err(|why| match why {
            Unbound::Name(name) => Stop::Wait(name),
            other => Stop::Fail(unbound(other, &tensor.name)),
        })?;
        let bytes = shape.iter().fold(tensor.dtype.size() as u128, |n, e| n.saturating_mul(*e as u128));
        match self.max_bytes {
            Some(limit) if bytes > limit => Err(Stop::Fail(TaskError::TooLarge { bytes, limit })),
            _ => Ok(shape),
        }
    }

    /// An element of a distribution by flat index, for distributions that need no shape.
    #[expect(clippy::type_complexity, reason = "a closure over evaluated operands")]
    fn element_of(
        &self,
        dtype: DType,
        name: &str,
        dist: &Dist,
    ) -> Result<Box<dyn Fn(u64) -> Result<Scalar, TaskError>>, Stop> {
        let stream = Stream::new(self.seed, name);
        let eval = |e: &ast::Expr| self.eval(name, e);
        Ok(match dist {
            Dist::Uniform(a, b) => {
                let (a, b) = (eval(a)?, eval(b)?);
                Box::new(move |i| Ok(uniform(dtype, a, b, stream, i)))
            }
            Dist::Normal(mean, deviation) => {
                let (mean, deviation) = (eval(mean)?.as_f64(), eval(deviation)?.as_f64());
                Box::new(move |i| {
                    let v = mean + deviation * stream.normal(i);
                    Ok(Scalar::Float(if dtype.is_int() { v.round_ties_even() } else { v }))
                })
            }
            Dist::Cnormal(mean, deviation) => {
                let (mean, deviation) = (eval(mean)?.as_f64(), eval(deviation)?.as_f64());
                let part = move |i| mean + deviation * stream.normal(i);
                Box::new(move |i| Ok(Scalar::Complex(part(2 * i), part(2 * i + 1))))
            }
            Dist::Choice(values) => {
                let values = values.iter().map(eval).collect::<Result<Vec<_>, _>>()?;
                Box::new(move |i| {
                    let at = usize::try_from(stream.below(i, values.len() as u64)).unwrap_or(0);
                    Ok(values[at])
                })
            }
            Dist::Zeros => Box::new(|_| Ok(Scalar::Int(0))),
            Dist::Ones => Box::new(|_| Ok(Scalar::Int(1))),
            Dist::Iota => Box::new(|i| Ok(Scalar::Int(i64::try_from(i).unwrap_or(i64::MAX)))),
            _ => {
                let reason = "the distribution fills a tensor".to_owned();
                return Err(Stop::Fail(TaskError::Init { name: name.to_owned(), reason }));
            }
        })
    }

    fn filled(&self, tensor: &Tensor, shape: &[usize], dist: &Dist) -> Result<HostTensor, Stop> {
        let name = tensor.name.as_str();
        let stream = Stream::new(self.seed, name);
        let count: usize = shape.iter().product();
        let eval = |e: &ast::Expr| self.eval(name, e);
        match dist {
            Dist::Bump(base, amplitude) => {
                let base = self.values().elements(base).map_err(|why| self.stop(name, why))?;
                let base: Vec<f64> = base.into_iter().map(Scalar::as_f64).collect();
                let amplitude = eval(amplitude)?.as_f64();
                let table = base.len() > 1;
                if table && shape.first() != Some(&base.len()) {
                    let reason = format!("a table of {} for extents {shape:?}", base.len());
                    return Err(Stop::Fail(TaskError::Init { name: name.to_owned(), reason }));
                }
                fill(tensor, shape, |i| {
                    let mut rest = i;
                    let mut height = 1.0;
                    for (d, &n) in shape.iter().enumerate().rev() {
                        let at = rest % n;
                        rest /= n;
                        if d > 0 || !table {
                            #[expect(clippy::cast_precision_loss, reason = "extents are far below 2^52")]
                            let x = (at as f64 + 0.5) / n as f64;
                            height *= 16.0 * x * x * (1.0 - x) * (1.0 - x) * (0.5 + x);
                        }
                    }
                    let base = if table { base[i / (count / base.len()).max(1)] } else { base[0] };
                    let noise = 0.25 * (2.0 * stream.unit(i as u64) - 1.0);
                    Scalar::Float(base * (1.0 + amplitude * (height + noise)))
                })
            }
            Dist::Sorted(ends) => {
                let (a, b) = match ends {
                    Some((a, b)) => (eval(a)?, eval(b)?),
                    None => (Scalar::Float(0.0), Scalar::Float(1.0)),
                };
                fill(tensor, shape, |i| sorted(tensor.dtype, a, b, stream, i, count))
            }
            Dist::Permutation => fill(tensor, shape, |i| Scalar::Int(permuted(stream, i, count))),
            Dist::Lattice(edge, jitter) => {
                let edge = eval(edge)?.as_f64();
                let jitter = jitter.as_ref().map(|j| eval(j)).transpose()?.map_or(0.2, Scalar::as_f64);
                let dims = shape.last().copied().unwrap_or(1).max(1);
                let points = (count / dims).max(1);
                let fits =
                    |n: &usize| n.checked_pow(u32::try_from(dims).unwrap_or(1)).is_none_or(|s| s >= points);
                let side = (1..).find(fits).unwrap_or(1);
                let sites = side.pow(u32::try_from(dims).unwrap_or(1));
                fill(tensor, shape, |i| {
                    let (point, d) = (i / dims, i % dims);
                    // Where sites are more than points, empty ones are spread evenly.
                    let site = (point as u128 * sites as u128 / points as u128) as usize;
                    let at = site / side.pow(u32::try_from(dims - 1 - d).unwrap_or(0)) % side;
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                    let cell = (at as f64 + 0.5 + jitter * (stream.unit(i as u64) - 0.5)) / side as f64;
                    Scalar::Float(edge * cell)
                })
            }
            other => {
                let element = self.element_of(tensor.dtype, name, other)?;
                fill(tensor, shape, |i| element(i as u64).unwrap_or(Scalar::Int(0)))
            }
        }
    }

    /// The data of a type, see [`generate`].
    fn default(&self, id: TensorId, tensor: &Tensor, shape: &[usize]) -> Result<HostTensor, Stop> {
        let stream = Stream::new(self.seed, &tensor.name);
        let count: usize = shape.iter().product();
        let range = match self.func.tensors[id].range {
            Some((lo, hi)) => {
                let int = |e| {
                    self.binder().int(e).map_err(|why| match why {
                        Unbound::Name(name) => Stop::Wait(name),
                        other => Stop::Fail(unbound(other, &tensor.name)),
                    })
                };
                Some((int(lo)?, int(hi)?))
            }
            None => None,
        };
        match tensor.dtype {
            DType::Int { signed, bits } => {
                let (lo, hi) = range.unwrap_or(match (signed, bits) {
                    (false, ..=8) => (0, 1 << bits),
                    (false, _) => (0, 256),
                    (true, ..=7) => (-(1 << (bits - 1)), 1 << (bits - 1)),
                    (true, _) => (-100, 101),
                });
                if lo >= hi && count > 0 {
                    let reason = format!("its range {lo}..{hi} is empty");
                    return Err(Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason }));
                }
                let (a, b) = (Scalar::Int(lo), Scalar::Int(hi));
                if tensor.monotone {
                    // The whole range is covered, ends included: row pointers leave no element out.
                    fill(tensor, shape, |i| match i {
                        0 => a,
                        _ if i + 1 == count => Scalar::Int(hi - 1),
                        _ => sorted(tensor.dtype, a, b, stream, i, count),
                    })
                } else if tensor.injective {
                    // A stride through the range, in random order.
                    let span = usize::try_from(hi - lo).unwrap_or(0);
                    if span < count {
                        let reason = format!("{count} different elements do not fit in {lo}..{hi}");
                        return Err(Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason }));
                    }
                    fill(tensor, shape, |i| Scalar::Int(lo + permuted(stream, i, span)))
                } else {
                    fill(tensor, shape, |i| uniform(tensor.dtype, a, b, stream, i as u64))
                }
            }
            DType::Bool => fill(tensor, shape, |i| Scalar::Bool(stream.below(i as u64, 2) == 1)),
            DType::E8m0 => fill(tensor, shape, |i| Scalar::Float(0.5 + 1.5 * stream.unit(i as u64))),
            d if d.is_complex() => fill(tensor, shape, |i| {
                Scalar::Complex(stream.normal(2 * i as u64), stream.normal(2 * i as u64 + 1))
            }),
            _ => fill(tensor, shape, |i| Scalar::Float(stream.normal(i as u64))),
        }
    }

    /// The pattern whose elements a one-dimensional tensor holds one of each.
    fn pattern_of(&self, tensor: &Tensor) -> Option<&Pattern> {
        let [extent] = tensor.shape.as_slice() else { return None };
        let sizes = super::bind::sizes_in(self.func, *extent);
        let [size] = sizes.as_slice() else { return None };
        let name = &self.func.sizes[*size].name;
        let of = |(size, _): &&(Option<String>, Pattern)| size.as_ref() == Some(name);
        self.patterns.iter().find(of).map(|(_, p)| p)
    }

    /// A part of a sparse matrix: pointers for a tensor that is `monotone`, columns for other integers, values for floats.
    fn sparse(&mut self, tensor: &Tensor, csr: Option<&Csr>) -> Result<HostTensor, Stop> {
        if tensor.monotone
            && let Some(csr) = csr
        {
            let name = tensor.name.as_str();
            let family = match csr {
                Csr::Laplacian5 => Family::Laplacian5,
                Csr::Random(mean) => Family::Random(self.eval(name, mean)?.as_f64()),
                Csr::PowerLaw(mean) => Family::PowerLaw(self.eval(name, mean)?.as_f64()),
            };
            return self.pointers(tensor, family);
        }
        let Some(pattern) = self.pattern_of(tensor) else {
            // The pointers come first; where there are none, nothing ever binds the number of elements.
            let size = tensor.shape.first().and_then(|e| {
                super::bind::sizes_in(self.func, *e).first().map(|s| self.func.sizes[*s].name.clone())
            });
            return Err(Stop::Wait(size.unwrap_or_else(|| tensor.name.clone())));
        };
        let shape = self.shape(tensor)?;
        let too_few = || {
            let reason = "the sparse matrix has no such part".to_owned();
            Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason })
        };
        let count: usize = shape.iter().product();
        if tensor.dtype.is_int() {
            if pattern.columns.len() != count {
                return Err(too_few());
            }
            return fill(tensor, &shape, |i| Scalar::Int(pattern.columns[i]));
        }
        if pattern.values.len() == count {
            return fill(tensor, &shape, |i| Scalar::Float(pattern.values[i]));
        }
        let stream = Stream::new(self.seed, &tensor.name);
        fill(tensor, &shape, |i| Scalar::Float(stream.normal(i as u64)))
    }

    /// Row pointers; binds the number of elements, and the number of columns if nothing else does.
    fn pointers(&mut self, tensor: &Tensor, family: Family) -> Result<HostTensor, Stop> {
        let shape = self.shape(tensor)?;
        let fail = |reason: &str| {
            Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason: reason.to_owned() })
        };
        let (Some((_, hi)), [length]) = (tensor.range, shape.as_slice()) else {
            return Err(fail("row pointers are a vector with `range 0..E+1`"));
        };
        let rows = length.checked_sub(1).ok_or_else(|| fail("row pointers have at least one element"))?;
        let elements = super::bind::sizes_in(self.func, hi);
        // The range of the column indices is the number of columns.
        let columns_of = self.func.tensors.iter().find_map(|(_, t)| {
            let same = |e| super::bind::sizes_in(self.func, e) == elements;
            let vector = t.shape.len() == 1 && t.name != tensor.name && same(t.shape[0]);
            if vector { t.range.map(|(_, hi)| hi) } else { None }
        });
        let source_of = format!("init `{}`", tensor.name);
        let square = i64::try_from(rows).unwrap_or(i64::MAX);
        if let Some(e) = columns_of
            && let Some((size, v)) = self.binder().solve(e, square)
        {
            self.bind(&size, v, &source_of)?;
        }
        let columns = columns_of.and_then(|e| self.binder().int(e).ok()).unwrap_or(square);
        if family == Family::Laplacian5 && columns != square {
            return Err(fail("the Laplacian is square, and there are not as many columns as rows"));
        }
        let stream = Stream::new(self.seed, &tensor.name);
        let pattern = sparse::pattern(family, rows as u64, u64::try_from(columns).unwrap_or(0), stream);
        let count = pattern.pointers.last().copied().unwrap_or(0);
        if let Some((size, v)) = self.binder().solve(hi, count.saturating_add(1)) {
            self.bind(&size, v, &source_of)?;
        }
        match self.binder().int(hi) {
            Ok(v) if v == count + 1 => {}
            Ok(v) => {
                let name = elements.first().map(|s| self.func.sizes[*s].name.clone()).unwrap_or_default();
                return Err(Stop::Fail(TaskError::Conflict { name, given: v - 1, source_of, needed: count }));
            }
            Err(Unbound::Name(name)) => return Err(Stop::Wait(name)),
            Err(other) => return Err(Stop::Fail(unbound(other, &tensor.name))),
        }
        let out = fill(tensor, &shape, |i| Scalar::Int(pattern.pointers[i]))?;
        let size = elements.first().map(|s| self.func.sizes[*s].name.clone());
        self.patterns.push((size.filter(|_| !matches!(family, Family::Ragged(_))), pattern));
        Ok(out)
    }

    /// Checks what is known only at the end, and puts all in order.
    fn finish(self) -> Result<InputSet, TaskError> {
        for (_, size) in self.func.sizes.iter() {
            if !self.sizes.contains_key(&size.name) {
                return Err(TaskError::Missing(size.name.clone()));
            }
        }
        self.binder().check_wheres()?;
        let needed = bytes_needed(self.file, self.func_id(), &self.sizes, &self.scalars)?;
        if let Some(limit) = self.max_bytes
            && needed > limit
        {
            return Err(TaskError::TooLarge { bytes: needed, limit });
        }
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

    fn func_id(&self) -> FuncId {
        let same = |(_, f): &(FuncId, &Func)| std::ptr::eq(*f, self.func);
        self.file.funcs.iter().find(same).map_or(FuncId::from_index(0), |(id, _)| id)
    }
}

fn fill(tensor: &Tensor, shape: &[usize], f: impl FnMut(usize) -> Scalar) -> Result<HostTensor, Stop> {
    HostTensor::from_fn(tensor.dtype, shape, f)
        .map_err(|e| Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason: e.to_string() }))
}

/// Uniform from `a` to below `b`.
fn uniform(dtype: DType, a: Scalar, b: Scalar, stream: Stream, i: u64) -> Scalar {
    if dtype.is_int() {
        let (a, b) = (a.as_i64(), b.as_i64());
        let span = u64::try_from(i128::from(b) - i128::from(a)).unwrap_or(0);
        return Scalar::Int(a.wrapping_add_unsigned(stream.below(i, span)));
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    Scalar::Float(a + (b - a) * stream.unit(i))
}

/// The `i`-th of `n` values from `a` to below `b`, ascending: each has a part of the range to itself.
fn sorted(dtype: DType, a: Scalar, b: Scalar, stream: Stream, i: usize, n: usize) -> Scalar {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let at = (i as f64 + stream.unit(i as u64)) / n.max(1) as f64;
    let v = a.as_f64() + (b.as_f64() - a.as_f64()) * at;
    if dtype.is_int() { Scalar::Float(v.floor()) } else { Scalar::Float(v) }
}

/// Where `i` goes in a random permutation of `0..n`: a Feistel network of four rounds over the least even number of bits
/// that holds `n`, walked until it lands inside.
fn permuted(stream: Stream, i: usize, n: usize) -> i64 {
    let bits = (usize::BITS - n.saturating_sub(1).leading_zeros()).max(2).div_ceil(2);
    let mask = (1u64 << bits) - 1;
    let mut v = i as u64;
    loop {
        let (mut left, mut right) = (v >> bits, v & mask);
        for round in 0..4u64 {
            let mixed = stream.bits(round << 56 | right) & mask;
            (left, right) = (right, left ^ mixed);
        }
        v = left << bits | right;
        if v < n.max(1) as u64 {
            return i64::try_from(v).unwrap_or(i64::MAX);
        }
    }
}

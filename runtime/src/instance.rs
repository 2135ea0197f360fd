//! A program at fixed sizes, with its memory.

use std::sync::{MutexGuard, PoisonError};

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::{Bindings, Mode, TensorParam};
use rooftile_artifact::{CpuTarget, DType, HostTensor, Program, Scalar};

use crate::content;
use crate::device::{Loaded, SharedPool};
use crate::error::{Error, InputError, InternalError, expression, malformed};
use crate::interpret::{Memory, Run, allocate};
use crate::launch::Pointers;
use crate::layout::Layout;
use crate::pool::Pool;
use crate::prepared::{Op, local_bytes, prepare};
use crate::topology::Pin;
use crate::{contract, memory, packing, validate};

/// How an instance is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Threads that launches use; 0 for the target's default.
    pub threads: usize,
    /// Whether each thread of the pool is kept on a processor of its own. One thread is pinned by the timing alone.
    pub pin: bool,
    /// Whether buffers end at inaccessible pages and stand between canaries, to catch accesses outside.
    pub guarded: bool,
    /// Fills outputs and temporaries with this payload at the start, as [`Instance::poison`] does.
    pub poison: Option<u64>,
    /// Bytes that the buffers may take in all; by default what the machine has available.
    pub memory_limit: Option<u64>,
}

impl Default for InstanceOptions {
    /// One thread, no guards, no poison.
    fn default() -> InstanceOptions {
        InstanceOptions { threads: 1, pin: false, guarded: false, poison: None, memory_limit: None }
    }
}

/// A program at fixed sizes, with its memory: give the inputs, run, take the outputs.
#[derive(Debug)]
pub struct Instance {
    loaded: Loaded,
    sizes: Vec<i64>,
    scalars: Vec<Scalar>,
    threads: usize,
    pool: Option<SharedPool>,
    memory: Memory,
    ops: Vec<Op>,
    steps: Vec<i64>,
    pointers: Pointers,
    /// Which parameters were given their content.
    given: Vec<bool>,
    /// Parameters whose content a run changes, and which it also reads.
    consumed: Vec<usize>,
    /// Content of the consumed parameters, if saved.
    saved: Vec<Vec<u8>>,
}

impl Instance {
    /// Allocates every buffer of a program at the given sizes and scalars. Buffers are zero unless poisoned.
    ///
    /// # Errors
    /// [`InputError`] when a `where` condition is false (the first, with its text), an argument is not a value of its
    /// type, an extent is negative, or more memory is needed than there is; the memory is counted before any is
    /// allocated. [`crate::DeviceError`] when the system gives no memory or threads.
    pub fn new(loaded: &Loaded, bindings: &Bindings, options: InstanceOptions) -> Result<Instance, Error> {
        let program = loaded.program();
        let scalars = check_bindings(program, bindings)?;
        let sizes = bindings.sizes.clone();
        let threads = if options.threads == 0 { loaded.target().threads } else { options.threads }.max(1);
        let env = HostEnv { sizes: &sizes, scalars: &scalars, steps: &[], threads };
        for (condition, text) in &program.requires {
            let holds = condition.eval(&env).map_err(|e| expression(format!("`{text}`"), e))?;
            if !holds.is_true() {
                return Err(InputError::Requires(text.clone()).into());
            }
        }
        let layouts: Option<Vec<Layout>> =
            program.buffers.iter().map(|decl| Layout::new(decl, &env)).collect::<Result<_, _>>()?;
        // A counter that no step has set yet reads as missing, so only what cannot change is computed here.
        let ops = prepare(program, &program.steps, &env)?;
        let local = local_bytes(&ops);
        let available = options.memory_limit.or_else(memory::available).unwrap_or(u64::MAX);
        let too_large = |needed| Error::from(InputError::TooLarge { needed, available });
        let layouts = layouts.ok_or_else(|| too_large(u64::MAX))?;
        let needed = layouts
            .iter()
            .map(|l| l.bytes)
            .chain(std::iter::repeat_n(local, threads))
            .try_fold(0u64, |sum, bytes| sum.checked_add(bytes as u64))
            .unwrap_or(u64::MAX);
        if needed > available {
            return Err(too_large(needed));
        }
        let consumed = consumed(program, &layouts)?;
        let guarded = options.guarded;
        let storages = layouts.iter().map(|l| allocate(l.bytes, guarded)).collect::<Result<Vec<_>, _>>()?;
        let locals = (0..threads).map(|_| allocate(local, guarded)).collect::<Result<Vec<_>, _>>()?;
        let pool = if threads > 1 { Some(loaded.inner.pools.get(threads, options.pin)?) } else { None };
        let mut instance = Instance {
            loaded: loaded.clone(),
            scalars,
            threads,
            pool,
            memory: Memory { storage_of: (0..layouts.len()).collect(), layouts, storages, locals, guarded },
            ops,
            steps: vec![0; program.step_vars],
            pointers: Pointers::default(),
            given: program.params.iter().map(|p| p.mode == Mode::Out).collect(),
            consumed,
            saved: Vec::new(),
            sizes,
        };
        if let Some(payload) = options.poison {
            instance.poison(payload);
        }
        Ok(instance)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.loaded.program()
    }

    /// The target of the device that it runs on.
    #[must_use]
    pub fn target(&self) -> &CpuTarget {
        self.loaded.target()
    }

    /// Threads that launches use.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Sizes in the program's order.
    pub(crate) fn sizes(&self) -> &[i64] {
        &self.sizes
    }

    /// Scalars in the program's order, as their types hold them.
    pub(crate) fn scalars(&self) -> &[Scalar] {
        &self.scalars
    }

    /// Where the parameters lie now, in order.
    pub(crate) fn param_pointers(&mut self) -> Vec<*mut u8> {
        (0..self.program().params.len()).map(|p| self.memory.storage_mut(p).as_mut_ptr()).collect()
    }

    /// Extents of a parameter at these sizes.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] when there is no such parameter.
    pub fn shape(&self, param: usize) -> Result<&[usize], Error> {
        self.param(param)?;
        Ok(&self.memory.layouts[param].shape)
    }

    /// Gives a parameter its content, after checking what the caller promised of it.
    ///
    /// # Errors
    /// [`InputError`] when type or shape are not the parameter's, or an element breaks a promise.
    pub fn write_input(&mut self, param: usize, tensor: &HostTensor) -> Result<(), Error> {
        let decl = self.param(param)?;
        if decl.mode == Mode::Out {
            return Err(malformed(format!("{} is an output and takes no input", decl.name)));
        }
        let (want, got) = (self.program().buffers[param].dtype, tensor.dtype());
        if want != got {
            return Err(InputError::WrongDType { param: decl.name.clone(), want, got }.into());
        }
        let layout = &self.memory.layouts[param];
        if layout.shape != tensor.shape() {
            let (want, got) = (layout.shape.clone(), tensor.shape().to_vec());
            return Err(InputError::WrongShape { param: decl.name.clone(), want, got }.into());
        }
        let env = HostEnv { sizes: &self.sizes, scalars: &self.scalars, steps: &[], threads: self.threads };
        contract::check(decl, tensor, &env)?;
        let packing = layout.packing;
        packing::store(tensor, packing, self.memory.storage_mut(param).as_mut_slice());
        self.given[param] = true;
        self.saved.clear();
        Ok(())
    }

    /// Runs the program once on whatever the buffers hold; a program with `inout` parameters goes on from its last
    /// result unless [`Instance::restore_inputs`] was called in between.
    ///
    /// # Errors
    /// [`InputError`] when an input is missing, an expression has no value, or a kernel reports that a list was too
    /// short or an index out of bounds; [`crate::DeviceError`] when scratch memory is not to be had.
    pub fn run(&mut self) -> Result<(), Error> {
        if let Some(param) = self.given.iter().position(|given| !given) {
            return Err(InputError::MissingInput(self.program().params[param].name.clone()).into());
        }
        let mut pool: Option<MutexGuard<'_, Pool>> =
            self.pool.as_ref().map(|pool| pool.lock().unwrap_or_else(PoisonError::into_inner));
        let mut run = Run {
            loaded: &self.loaded.inner,
            sizes: &self.sizes,
            scalars: &self.scalars,
            threads: self.threads,
            memory: &mut self.memory,
            pool: pool.as_deref_mut(),
            steps: &mut self.steps,
            pointers: &mut self.pointers,
        };
        run.run(&mut self.ops)
    }

    /// A parameter's content. After a run, the newest data of a parameter whose storage was swapped.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] when there is no such parameter.
    pub fn read_output(&self, param: usize) -> Result<HostTensor, Error> {
        self.param(param)?;
        let layout = &self.memory.layouts[param];
        let dtype = self.program().buffers[param].dtype;
        let storage = self.memory.storage(param).as_slice();
        let mut tensor = HostTensor::zeros(dtype, &layout.shape).map_err(|e| malformed(e.to_string()))?;
        match layout.packing {
            Some(packing) => packing.unpack(storage, tensor.bytes_mut()),
            None => tensor.bytes_mut().copy_from_slice(storage),
        }
        Ok(tensor)
    }

    /// A hash of a parameter's content, to see whether a run changed it.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] when there is no such parameter.
    pub fn input_hash(&self, param: usize) -> Result<u64, Error> {
        self.param(param)?;
        Ok(content::hash(self.memory.storage(param).as_slice()))
    }

    /// Fills outputs, temporaries and scratch memory with what no right kernel computes: NaNs with the given payload,
    /// or the payload's bits where the type has no NaN. Draw the payload anew for each check.
    pub fn poison(&mut self, payload: u64) {
        let program = self.loaded.program();
        for (b, decl) in program.buffers.iter().enumerate() {
            if program.params.get(b).is_some_and(|p| p.mode != Mode::Out) {
                continue;
            }
            let pattern = content::poison(decl.dtype, payload);
            fill(self.memory.storage_mut(b).as_mut_slice(), &pattern);
        }
        let pattern = content::poison(DType::F64, payload);
        for local in &mut self.memory.locals {
            fill(local.as_mut_slice(), &pattern);
        }
    }

    /// Whether the bytes around every buffer are as they were made; always so without
    /// [`InstanceOptions::guarded`].
    ///
    /// # Errors
    /// [`InternalError::Canary`] naming the first buffer beside which something was overwritten.
    pub fn check_canaries(&self) -> Result<(), Error> {
        let died = |buffer: &str, source| InternalError::Canary { buffer: buffer.to_owned(), source };
        for (b, decl) in self.program().buffers.iter().enumerate() {
            self.memory.storage(b).check_canaries().map_err(|e| died(&decl.name, e))?;
        }
        for local in &self.memory.locals {
            local.check_canaries().map_err(|e| died("scratch memory", e))?;
        }
        Ok(())
    }

    /// Whether a run changes data that the next run reads, so that repeated runs differ unless it is restored.
    #[must_use]
    pub fn consumes_inputs(&self) -> bool {
        !self.consumed.is_empty()
    }

    /// Keeps a copy of the inputs that a run changes.
    pub fn save_inputs(&mut self) {
        self.saved = self.consumed.iter().map(|&b| self.memory.storage(b).as_slice().to_vec()).collect();
    }

    /// Puts back the inputs kept by the last [`Instance::save_inputs`]; does nothing when none were kept since the
    /// last [`Instance::write_input`].
    pub fn restore_inputs(&mut self) {
        for (&b, saved) in self.consumed.iter().zip(&self.saved) {
            self.memory.storage_mut(b).as_mut_slice().copy_from_slice(saved);
        }
    }

    /// Keeps the calling thread on one processor while it times this instance.
    pub(crate) fn pin_caller(&self) -> Option<Pin> {
        match &self.pool {
            Some(pool) => pool.lock().unwrap_or_else(PoisonError::into_inner).pin_caller(),
            None => Some(Pin::current(None)),
        }
    }

    /// Calls `f` with the pool, if there is one.
    pub(crate) fn with_pool<T>(&self, f: impl FnOnce(Option<&mut Pool>) -> T) -> T {
        let mut pool = self.pool.as_ref().map(|pool| pool.lock().unwrap_or_else(PoisonError::into_inner));
        f(pool.as_deref_mut())
    }

    fn param(&self, param: usize) -> Result<&TensorParam, Error> {
        self.program().params.get(param).ok_or_else(|| malformed(format!("there is no parameter {param}")))
    }
}

/// Fills with a repeated pattern, the last copy cut short where the storage ends.
fn fill(storage: &mut [u8], pattern: &[u8]) {
    for piece in storage.chunks_mut(pattern.len().max(1)) {
        piece.copy_from_slice(&pattern[..piece.len()]);
    }
}

/// Checks sizes and scalars; gives the scalars as their types hold them.
fn check_bindings(program: &Program, bindings: &Bindings) -> Result<Vec<Scalar>, Error> {
    let given = (bindings.sizes.len(), bindings.scalars.len());
    if given != (program.sizes.len(), program.scalars.len()) {
        return Err(malformed(format!(
            "{} takes {} sizes and {} scalars, but {} and {} were given",
            program.name,
            program.sizes.len(),
            program.scalars.len(),
            given.0,
            given.1
        )));
    }
    for (name, &value) in program.sizes.iter().zip(&bindings.sizes) {
        if value < 0 {
            return Err(InputError::NegativeSize { name: name.clone(), value }.into());
        }
    }
    let mut scalars = Vec::with_capacity(bindings.scalars.len());
    for (param, &value) in program.scalars.iter().zip(&bindings.scalars) {
        let cast = value.cast(param.dtype);
        // Floats are rounded to their type; whatever is exact must stay what it is.
        let fits = match (value, cast) {
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            #[expect(clippy::cast_precision_loss, reason = "compared with a float that was truncated")]
            (Scalar::Float(a), Scalar::Int(b)) => a == b as f64,
            (Scalar::Bool(_), Scalar::Bool(_)) | (Scalar::Complex(..), Scalar::Complex(..)) => true,
            (Scalar::Int(_) | Scalar::Float(_), Scalar::Float(_) | Scalar::Complex(..)) => true,
            (Scalar::Int(v), Scalar::Bool(_)) => v == 0 || v == 1,
            _ => false,
        };
        if !fits {
            let value = match value {
                Scalar::Int(v) => v.to_string(),
                Scalar::Float(v) => v.to_string(),
                Scalar::Bool(v) => v.to_string(),
                Scalar::Complex(re, im) => format!("{re}+{im}i"),
            };
            return Err(
                InputError::ScalarValue { name: param.name.clone(), value, dtype: param.dtype }.into()
            );
        }
        scalars.push(cast);
    }
    Ok(scalars)
}

/// Parameters that a run both reads and changes: `inout` ones, and inputs whose storage is swapped away.
fn consumed(program: &Program, layouts: &[Layout]) -> Result<Vec<usize>, Error> {
    let mut pairs = Vec::new();
    validate::swaps(&program.steps, &mut pairs);
    for &(a, b) in &pairs {
        if layouts[a].bytes != layouts[b].bytes {
            let (a, b) = (&program.buffers[a].name, &program.buffers[b].name);
            return Err(malformed(format!("{a} and {b} are swapped but differ in size")));
        }
    }
    let swapped = |b: usize| pairs.iter().any(|&(x, y)| x == b || y == b);
    let changes = |b: usize, p: &TensorParam| p.mode == Mode::InOut || p.mode == Mode::In && swapped(b);
    Ok(program.params.iter().enumerate().filter(|(b, p)| changes(*b, p)).map(|(b, _)| b).collect())
}

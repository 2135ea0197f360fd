//! A program at fixed sizes, with its memory.

use rooftile_artifact::program::{Bindings, Mode, TensorParam};
use rooftile_artifact::tensor::TensorError;
use rooftile_artifact::{DType, HostTensor, Program, Scalar, Target};

use crate::backend::{self, Backend, Part, Place};
use crate::buffer::OutOfMemory;
use crate::device::Loaded;
use crate::error::{Error, InputError, InternalError, malformed};
use crate::setting::Setting;
use crate::timer::{Clock, Stopwatch};
use crate::timing::Flusher;
use crate::topology::Pin;
use crate::{content, contract, memory, packing};

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
    setting: Setting,
    backend: Box<dyn Backend>,
    /// Which parameters were given their content.
    given: Vec<bool>,
    /// Seconds that preparing the inputs took; `None` where it is to be done, or done again.
    prepared: Option<f64>,
    /// What went wrong in a call that does not say; the next run does.
    failed: Option<Error>,
}

impl Instance {
    /// Allocates every buffer of a program at the given sizes and scalars. Buffers are zero unless poisoned.
    ///
    /// # Errors
    /// [`InputError`] when a `where` condition is false (the first, with its text), an argument is not a value of its
    /// type, an extent is negative, more memory is needed than there is, or something is larger than the device can
    /// count; the memory is counted before any is allocated. [`crate::DeviceError`] when the system gives no memory or
    /// threads.
    pub fn new(loaded: &Loaded, bindings: &Bindings, options: InstanceOptions) -> Result<Instance, Error> {
        let threads = if options.threads == 0 { loaded.target().threads() } else { options.threads }.max(1);
        let available = options.memory_limit.or_else(|| backend::available(loaded)).unwrap_or(u64::MAX);
        let setting = Setting::new(loaded, bindings, threads, available)?;
        let backend = backend::new(&setting, &options)?;
        let given = loaded.program().params.iter().map(|p| p.mode == Mode::Out).collect();
        let mut instance = Instance { setting, backend, given, prepared: None, failed: None };
        if let Some(payload) = options.poison {
            instance.poison(payload);
        }
        Ok(instance)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.setting.program()
    }

    /// The target of the device that it runs on.
    #[must_use]
    pub fn target(&self) -> &Target {
        self.setting.loaded.target()
    }

    /// Threads that launches use.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.setting.threads
    }

    /// Sizes in the program's order.
    pub(crate) fn sizes(&self) -> &[i64] {
        &self.setting.sizes
    }

    /// Scalars in the program's order, as their types hold them.
    pub(crate) fn scalars(&self) -> &[Scalar] {
        &self.setting.scalars
    }

    /// The memory and the launches.
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Where the parameters lie now, in order; `None` where the processor does not reach them.
    pub(crate) fn param_pointers(&mut self) -> Option<Vec<*mut u8>> {
        let params = self.program().params.len();
        (0..params).map(|p| self.backend.pointer(p)).collect()
    }

    /// Extents of a parameter at these sizes.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] when there is no such parameter.
    pub fn shape(&self, param: usize) -> Result<&[usize], Error> {
        self.param(param)?;
        Ok(&self.setting.layouts[param].shape)
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
        let layout = &self.setting.layouts[param];
        if layout.shape != tensor.shape() {
            let (want, got) = (layout.shape.clone(), tensor.shape().to_vec());
            return Err(InputError::WrongShape { param: decl.name.clone(), want, got }.into());
        }
        contract::check(decl, tensor, &self.setting.env(&[]))?;
        let packing = layout.packing;
        self.backend.write(param, &mut |storage| packing::store(tensor, packing, storage))?;
        self.given[param] = true;
        self.prepared = None;
        self.backend.forget_saved();
        Ok(())
    }

    /// Wall seconds that it took to prepare the inputs that it has now (`prepack`), which is no part of a run; `None`
    /// where a program prepares none, or before the first run.
    #[must_use]
    pub fn prepare_seconds(&self) -> Option<f64> {
        self.prepared
    }

    /// Runs the program once on whatever the buffers hold, the first time on new inputs after preparing them; a program
    /// with `inout` parameters goes on from its last result unless [`Instance::restore_inputs`] was called in between.
    ///
    /// # Errors
    /// [`InputError`] when an input is missing, an expression has no value, or a kernel reports that a list was too
    /// short or an index out of bounds; [`crate::DeviceError`] when scratch memory is not to be had, or the device
    /// fails or does not answer.
    pub fn run(&mut self) -> Result<(), Error> {
        if let Some(param) = self.given.iter().position(|given| !given) {
            return Err(InputError::MissingInput(self.program().params[param].name.clone()).into());
        }
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        if self.prepared.is_none() && !self.setting.program().prepare.is_empty() {
            let watch = Stopwatch::start(Clock::Wall);
            self.backend.run(&self.setting, Part::Once)?;
            self.prepared = Some(watch.seconds());
        }
        self.backend.run(&self.setting, Part::Run)
    }

    /// A parameter's content. After a run, the newest data of a parameter whose storage was swapped.
    ///
    /// # Errors
    /// [`crate::DeviceError::OutOfMemory`] when the host has no memory for it, [`InternalError::Malformed`] when there is
    /// no such parameter.
    pub fn read_output(&self, param: usize) -> Result<HostTensor, Error> {
        self.param(param)?;
        let layout = &self.setting.layouts[param];
        let dtype = self.program().buffers[param].dtype;
        memory::ask(layout.bytes as u64)?;
        let mut tensor = HostTensor::zeros(dtype, &layout.shape).map_err(|e| match e {
            TensorError::OutOfMemory { bytes, .. } => OutOfMemory { bytes }.into(),
            e => malformed(e.to_string()),
        })?;
        self.backend.read(param, &mut |storage| match layout.packing {
            Some(packing) => packing.unpack(storage, tensor.bytes_mut()),
            None => tensor.bytes_mut().copy_from_slice(storage),
        })?;
        Ok(tensor)
    }

    /// A hash of a parameter's content, to see whether a run changed it.
    ///
    /// # Errors
    /// [`InternalError::Malformed`] when there is no such parameter.
    pub fn input_hash(&self, param: usize) -> Result<u64, Error> {
        self.param(param)?;
        let mut hash = 0;
        self.backend.read(param, &mut |storage| hash = content::hash(storage))?;
        Ok(hash)
    }

    /// Fills outputs, temporaries and scratch memory with what no right kernel computes: NaNs with the given payload,
    /// or the payload's bits where the type has no NaN. Draw the payload anew for each check. A device that fails at it
    /// says so at the next run.
    pub fn poison(&mut self, payload: u64) {
        let program = self.setting.program();
        // What was prepared lies in temporaries.
        self.prepared = None;
        let mut outcome = Ok(());
        for (b, decl) in program.buffers.iter().enumerate() {
            if program.params.get(b).is_none_or(|p| p.mode == Mode::Out) {
                let pattern = content::poison(decl.dtype, payload);
                outcome = outcome.and_then(|()| self.backend.fill(b, &pattern));
            }
        }
        let pattern = content::poison(DType::F64, payload);
        let outcome = outcome.and_then(|()| self.backend.fill_scratch(&pattern));
        self.note(outcome);
    }

    /// Whether the bytes around every buffer are as they were made; always so without
    /// [`InstanceOptions::guarded`].
    ///
    /// # Errors
    /// [`InternalError::Canary`] naming the first buffer beside which something was overwritten; [`crate::DeviceError`]
    /// when a device does not give its memory to be read.
    pub fn check_canaries(&self) -> Result<(), Error> {
        let Some((place, source)) = self.backend.dead_canary()? else { return Ok(()) };
        let buffer = match place {
            Place::Buffer(b) => self.program().buffers[b].name.clone(),
            Place::Scratch => "scratch memory".to_owned(),
        };
        Err(InternalError::Canary { buffer, source }.into())
    }

    /// Whether a run changes data that the next run reads, so that repeated runs differ unless it is restored.
    #[must_use]
    pub fn consumes_inputs(&self) -> bool {
        !self.setting.consumed.is_empty()
    }

    /// Keeps a copy of the inputs that a run changes. A device that fails at it says so at the next run.
    pub fn save_inputs(&mut self) {
        let outcome = self.backend.save(&self.setting.consumed);
        self.note(outcome);
    }

    /// Puts back the inputs kept by the last [`Instance::save_inputs`]; does nothing when none were kept since the
    /// last [`Instance::write_input`]. A device that fails at it says so at the next run.
    pub fn restore_inputs(&mut self) {
        let outcome = self.backend.restore(&self.setting.consumed);
        self.note(outcome);
    }

    /// Keeps the calling thread on a processor that no other thread of the launches has, as long as what is returned lives:
    /// for who times runs. `None` where launches do not run on the host.
    #[must_use]
    pub fn pin_caller(&self) -> Option<Pin> {
        self.backend.pin_caller()
    }

    /// Replaces the content of the caches that launches use.
    pub(crate) fn flush_caches(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        self.backend.flush(flusher)
    }

    /// Keeps the first failure for the next run.
    fn note(&mut self, outcome: Result<(), Error>) {
        if let Err(e) = outcome {
            self.failed.get_or_insert(e);
        }
    }

    fn param(&self, param: usize) -> Result<&TensorParam, Error> {
        self.program().params.get(param).ok_or_else(|| malformed(format!("there is no parameter {param}")))
    }
}

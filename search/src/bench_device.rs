//! The only file of the search that names the runtime: programs on a device, the clock, roofs.

use std::time::Duration;

use rooftile_artifact::program::Bindings;
use rooftile_artifact::work::Work;
use rooftile_artifact::{HostTensor, Profile, Program, Room, Target};
use rooftile_runtime as runtime;
use runtime::timer::{Clock as Time, Stopwatch};
use runtime::{DeviceError, Error, InputError, InternalError, MeasureOptions};

use crate::bench::{Clock, Effort, Failure, Reason};

/// A device with the number of threads that kernels are to use.
#[derive(Debug)]
pub struct Machine {
    device: Box<dyn runtime::Device>,
    target: Target,
    threads: usize,
}

impl Machine {
    /// Opens a device by its name; 0 threads stand for its default.
    ///
    /// # Errors
    /// [`Reason::Unsupported`] when it is not here.
    pub fn open(name: &str, threads: usize) -> Result<Machine, Failure> {
        let device = runtime::open(name).map_err(|e| failure(e.into()))?;
        let target = runtime::machine::refined(device.target().clone());
        let own = target.host_threads();
        let threads = if threads == 0 || target.gpu().is_some() { own } else { threads }.max(1);
        Ok(Machine { device, target: target.with_threads(threads), threads })
    }

    /// What code for it may use, with the threads that kernels are to use.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Threads of the host that kernels are launched with.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// What the tensors of a task can take at most.
    #[must_use]
    pub fn room(&self) -> Room {
        self.device.room()
    }

    /// Takes a program.
    ///
    /// # Errors
    /// [`Failure`] when the device cannot run the code.
    pub fn load(&self, program: &Program) -> Result<Code, Failure> {
        Ok(Code { loaded: self.device.load(program).map_err(failure)?, threads: self.threads })
    }
}

/// A program on a device.
#[derive(Clone, Debug)]
pub struct Code {
    loaded: runtime::Loaded,
    threads: usize,
}

impl Code {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.loaded.program()
    }

    /// The program at fixed sizes. Guarded buffers end at inaccessible pages and stand between canaries.
    ///
    /// # Errors
    /// [`Failure`] when the sizes do not suit the program or the machine.
    pub fn bind(&self, bindings: &Bindings, guarded: bool) -> Result<Run, Failure> {
        // With one thread the timing pins; pool threads stay on cores of their own.
        let options = runtime::InstanceOptions {
            threads: self.threads,
            pin: self.threads > 1,
            guarded,
            ..runtime::InstanceOptions::default()
        };
        Ok(Run { instance: runtime::Instance::new(&self.loaded, bindings, options).map_err(failure)? })
    }
}

/// A program at fixed sizes, with its memory.
#[derive(Debug)]
pub struct Run {
    instance: runtime::Instance,
}

impl Run {
    /// Gives a parameter its content.
    ///
    /// # Errors
    /// [`Failure`] when the tensor does not suit the parameter.
    pub fn write(&mut self, param: usize, tensor: &HostTensor) -> Result<(), Failure> {
        self.instance.write_input(param, tensor).map_err(failure)
    }

    /// A parameter's content.
    ///
    /// # Errors
    /// [`Failure`] when there is no such parameter.
    pub fn read(&self, param: usize) -> Result<HostTensor, Failure> {
        self.instance.read_output(param).map_err(failure)
    }

    /// A hash of a parameter's content.
    ///
    /// # Errors
    /// [`Failure`] when there is no such parameter.
    pub fn hash(&self, param: usize) -> Result<u64, Failure> {
        self.instance.input_hash(param).map_err(failure)
    }

    /// Fills outputs, temporaries and scratch memory with what no right kernel computes.
    pub fn poison(&mut self, payload: u64) {
        self.instance.poison(payload);
    }

    /// Whether the bytes around all buffers are as they were made.
    ///
    /// # Errors
    /// [`Reason::OutOfBounds`] naming the buffer.
    pub fn check_canaries(&self) -> Result<(), Failure> {
        self.instance.check_canaries().map_err(failure)
    }

    /// Keeps inputs that a run changes; [`Run::restore`] puts them back.
    pub fn save(&mut self) {
        if self.instance.consumes_inputs() {
            self.instance.save_inputs();
        }
    }

    /// Puts back inputs that runs have changed.
    pub fn restore(&mut self) {
        self.instance.restore_inputs();
    }

    /// Runs once; seconds that it took.
    ///
    /// # Errors
    /// [`Failure`] when a kernel reports one.
    pub fn run(&mut self) -> Result<f64, Failure> {
        // A device works on threads that are not the caller's: its runs take wall time.
        let watch = Stopwatch::start(runtime::timing::Subject::clock(&self.instance));
        self.instance.run().map_err(failure)?;
        Ok(watch.seconds().max(1e-9))
    }

    /// Samples of the time of a run, whose first took `first_s`.
    ///
    /// # Errors
    /// [`Failure`] when a kernel reports one.
    pub fn time(&mut self, first_s: f64, effort: Effort) -> Result<Vec<f64>, Failure> {
        if effort.cut_s.is_some_and(|cut| first_s > cut) {
            return Ok(vec![first_s]);
        }
        // Long runs need neither batches nor a second warm-up.
        if first_s >= 5e-3 {
            let watch = Stopwatch::start(Time::Wall);
            let mut samples = Vec::new();
            while samples.len() < effort.min_samples.max(1)
                || (samples.len() < effort.max_samples && watch.seconds() < effort.budget_s)
            {
                self.restore();
                samples.push(self.run()?);
            }
            self.restore();
            return Ok(samples);
        }
        let options = MeasureOptions {
            min_samples: effort.min_samples,
            max_samples: effort.max_samples,
            enough_beyond: effort.beyond_s,
            budget: Duration::from_secs_f64(effort.budget_s.clamp(0.0, 1e6)),
            ..MeasureOptions::default()
        };
        Ok(runtime::measure(&mut self.instance, &options).map_err(failure)?.samples)
    }

    /// Seconds of this and of another program, in turns.
    ///
    /// # Errors
    /// [`Failure`] when a kernel reports one.
    pub fn pair(&mut self, other: &mut Run, rounds: usize) -> Result<Vec<(f64, f64)>, Failure> {
        let options = MeasureOptions {
            min_samples: rounds,
            max_samples: rounds,
            // Both were timed before, and the caller chose the rounds by that.
            budget: Duration::from_secs(3600),
            target_rel_ci: 0.0,
            ..MeasureOptions::default()
        };
        let paired =
            runtime::measure_paired(&mut self.instance, &mut other.instance, &options).map_err(failure)?;
        Ok(paired.a.samples.into_iter().zip(paired.b.samples).collect())
    }
}

/// Seconds at the roof, and what bounds it.
#[must_use]
pub fn roof(profile: &Profile, work: &Work, threads: usize) -> (f64, String) {
    let roof = runtime::roof::roof_time(profile, work, threads);
    (roof.seconds, roof.bound.to_string())
}

/// The profile of a device of this machine: the stored one, else one measured now.
///
/// # Errors
/// A sentence.
pub fn device_profile(device: &str) -> Result<Profile, String> {
    runtime::machine::device_profile(device, false).map_err(|e| e.to_string())
}

/// Bytes of memory that the machine can still give.
#[must_use]
pub fn available_memory() -> Option<u64> {
    runtime::memory::available()
}

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct WallClock(Stopwatch);

impl WallClock {
    /// Starts now.
    #[must_use]
    pub fn start() -> WallClock {
        WallClock(Stopwatch::start(Time::Wall))
    }
}

impl Clock for WallClock {
    fn seconds(&self) -> f64 {
        self.0.seconds()
    }
}

/// The label of a runtime's failure.
fn failure(error: Error) -> Failure {
    let reason = match &error {
        Error::Input(InputError::OutOfBounds { .. }) => Reason::OutOfBounds,
        Error::Input(InputError::TooLarge { .. }) => Reason::Memory,
        Error::Input(_) => Reason::Size,
        Error::Device(e) => device_reason(e),
        Error::Internal(InternalError::Canary { .. }) => Reason::OutOfBounds,
        Error::Internal(_) => Reason::Internal,
    };
    Failure::new(reason, error.to_string())
}

fn device_reason(error: &DeviceError) -> Reason {
    match error {
        DeviceError::OutOfMemory(_) => Reason::Memory,
        DeviceError::Unavailable { .. }
        | DeviceError::MissingFeatures { .. }
        | DeviceError::GroupTooLarge { .. }
        | DeviceError::Threads { .. } => Reason::Unsupported,
        DeviceError::Code { .. } | DeviceError::Compile { .. } => Reason::Compile,
        // These two leave a device that this process cannot use any more: whoever asked starts another.
        DeviceError::TimedOut { .. } => Reason::Timeout,
        DeviceError::Lost { .. } => Reason::Crash,
        // What a driver refuses for no reason of ours it may refuse from then on.
        DeviceError::Driver { .. } => Reason::Crash,
        DeviceError::Validation { .. } => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_does_has_a_label() {
        let text = String::new;
        let cases = [
            (DeviceError::Lost { device: text() }, Reason::Crash),
            (DeviceError::TimedOut { device: text(), seconds: 30.0 }, Reason::Timeout),
            (DeviceError::Driver { what: text(), why: text() }, Reason::Crash),
            (DeviceError::Compile { kernel: text(), why: text() }, Reason::Compile),
            (DeviceError::Validation { message: text() }, Reason::Internal),
            (DeviceError::MissingFeatures { kernel: text(), missing: text() }, Reason::Unsupported),
            (DeviceError::Unavailable { device: text(), why: text() }, Reason::Unsupported),
            (
                DeviceError::GroupTooLarge { kernel: text(), what: "threads", needed: 2, most: 1 },
                Reason::Unsupported,
            ),
        ];
        for (error, reason) in cases {
            let shown = error.to_string();
            let failure = failure(error.into());
            assert_eq!((failure.reason, failure.detail), (reason, shown));
        }
        let beyond = InputError::BeyondLimit { what: text(), value: 2, limit: 1 };
        assert_eq!(failure(beyond.into()).reason, Reason::Size);
        let too_large = InputError::TooLarge { needed: 2, available: 1 };
        assert_eq!(failure(too_large.into()).reason, Reason::Memory);
        let none = runtime::buffer::OutOfMemory { bytes: 1 };
        assert_eq!(failure(none.into()).reason, Reason::Memory);
    }
}

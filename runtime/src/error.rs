//! The three kinds of failure, which stay apart: what the user gave, what the device could not do, and our bugs.

use rooftile_artifact::DType;
use rooftile_artifact::host_expr::HostExprError;

use crate::buffer::{CanaryDied, OutOfMemory};
use crate::exec::ExecError;
use crate::pool::Panicked;

/// Why the runtime could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sizes, scalars or tensors are wrong, or the program met data that it cannot handle.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The device lacks something, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A bug of ours: in the compiler that made the program, or here.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

/// The user's input is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// A `where` condition does not hold.
    #[error("the sizes do not satisfy `{0}`")]
    Requires(String),
    /// A size is negative.
    #[error("size {name} is {value}; sizes are not negative")]
    NegativeSize {
        /// The size.
        name: String,
        /// Its value.
        value: i64,
    },
    /// A scalar argument is not a value of its type.
    #[error("{name} = {value} is not a value of type {dtype}")]
    ScalarValue {
        /// The parameter.
        name: String,
        /// The argument as text.
        value: String,
        /// The parameter's type.
        dtype: DType,
    },
    /// An extent of a tensor is negative at these sizes.
    #[error("dimension {dim} of {buffer} has the extent {extent} at these sizes")]
    NegativeExtent {
        /// The tensor.
        buffer: String,
        /// Which dimension, from 0.
        dim: usize,
        /// The extent.
        extent: i64,
    },
    /// An expression over the sizes has no value.
    #[error("{what}: {source}")]
    Expression {
        /// What was computed.
        what: String,
        /// Why it has no value.
        source: HostExprError,
    },
    /// The program needs more memory than the machine has left.
    #[error("these sizes need {} of memory, and {} are available", Bytes(*needed), Bytes(*available))]
    TooLarge {
        /// Bytes needed; `u64::MAX` when the count overflows.
        needed: u64,
        /// Bytes that are available.
        available: u64,
    },
    /// The device cannot count so far.
    #[error("{what} is {value} at these sizes; on this device it must be below {limit}")]
    BeyondLimit {
        /// What was counted.
        what: String,
        /// The count.
        value: i128,
        /// One more than the largest count.
        limit: i128,
    },
    /// A tensor has the wrong element type.
    #[error("{param} is a tensor of {want}, but {got} was given")]
    WrongDType {
        /// The parameter.
        param: String,
        /// Its type.
        want: DType,
        /// The given type.
        got: DType,
    },
    /// A tensor has the wrong shape.
    #[error("{param} has shape {want:?} at these sizes, but shape {got:?} was given")]
    WrongShape {
        /// The parameter.
        param: String,
        /// Its shape.
        want: Vec<usize>,
        /// The given shape.
        got: Vec<usize>,
    },
    /// An input was not given.
    #[error("no tensor was given for {0}")]
    MissingInput(String),
    /// An element is outside the range that the parameter promises.
    #[error("element {index} of {param} is {value}, which is not in {lo}..{hi}")]
    OutOfRange {
        /// The parameter.
        param: String,
        /// Flat index of the element.
        index: usize,
        /// Its value.
        value: i128,
        /// Smallest value allowed.
        lo: i64,
        /// One past the largest value allowed.
        hi: i64,
    },
    /// An element is smaller than its predecessor, though the parameter promises that elements never decrease.
    #[error(
        "element {index} of {param} is {value}, below its predecessor {previous}; {param} must not decrease"
    )]
    NotMonotone {
        /// The parameter.
        param: String,
        /// Flat index of the element.
        index: usize,
        /// Its value.
        value: i128,
        /// The value before it.
        previous: i128,
    },
    /// Two elements are equal, though the parameter promises that all differ.
    #[error("elements {first} and {index} of {param} are both {value}; elements of {param} must differ")]
    NotInjective {
        /// The parameter.
        param: String,
        /// Flat index of the first of the two.
        first: usize,
        /// Flat index of the second.
        index: usize,
        /// Their value.
        value: i128,
    },
    /// An `append` met a full list.
    #[error("{kernel}: a list is too short for what is appended to it")]
    AppendOverflow {
        /// The kernel.
        kernel: String,
    },
    /// A shared library cannot be loaded, or lacks the function.
    #[error("{}: {why}", path.display())]
    Library {
        /// The library.
        path: std::path::PathBuf,
        /// What the system's loader says.
        why: String,
    },
    /// A function of a shared library did not return 0.
    #[error("`{symbol}` returned {status}; 0 is success")]
    ForeignStatus {
        /// The function.
        symbol: String,
        /// What it returned.
        status: i32,
    },
    /// An index that was computed from data lies outside its tensor.
    #[error("{kernel}: an index computed from data is out of bounds")]
    OutOfBounds {
        /// The kernel.
        kernel: String,
    },
}

/// The device lacks something, or failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device here.
    #[error("device `{device}` is not available: {why}")]
    Unavailable {
        /// The device asked for.
        device: String,
        /// Why it is missing.
        why: String,
    },
    /// The code uses abilities that the device does not have.
    #[error("{kernel} needs {missing}, which this device does not have")]
    MissingFeatures {
        /// The kernel.
        kernel: String,
        /// The missing extensions, separated by commas.
        missing: String,
    },
    /// The code could not be made executable.
    #[error("{kernel}: {source}")]
    Code {
        /// The kernel.
        kernel: String,
        /// Why.
        source: ExecError,
    },
    /// A group of the code is larger than the device takes.
    #[error("a group of {kernel} needs {needed} {what}; this device has {most}")]
    GroupTooLarge {
        /// The kernel.
        kernel: String,
        /// What it needs.
        what: &'static str,
        /// How much of it.
        needed: u32,
        /// How much there is.
        most: u32,
    },
    /// The driver did not compile the code.
    #[error("the driver does not take the code of {kernel}: {why}")]
    Compile {
        /// The kernel.
        kernel: String,
        /// What the driver says.
        why: String,
    },
    /// The device is lost to this process: it crashed, was reset, or was taken away.
    #[error("the device {device} is lost")]
    Lost {
        /// What it calls itself.
        device: String,
    },
    /// Work did not end in time; the device is of no further use to this process.
    #[error("the device {device} does not answer; it had {seconds} s")]
    TimedOut {
        /// What it calls itself.
        device: String,
        /// Seconds that a submission has.
        seconds: f64,
    },
    /// The driver refused something.
    #[error("{what}: the driver says: {why}")]
    Driver {
        /// What it was asked for.
        what: String,
        /// What it says.
        why: String,
    },
    /// The validation layer, which was asked for, found a fault.
    #[error("Vulkan's validation: {message}")]
    Validation {
        /// What it says.
        message: String,
    },
    /// The system gave no memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The system gave no threads.
    #[error("no {count} threads: {source}")]
    Threads {
        /// Threads asked for.
        count: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A bug of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InternalError {
    /// The program contradicts itself, or a call contradicts the program.
    #[error("malformed program: {0}")]
    Malformed(String),
    /// A kernel wrote outside a buffer.
    #[error("{buffer}: {source}")]
    Canary {
        /// The buffer.
        buffer: String,
        /// Where.
        source: CanaryDied,
    },
    /// A thread of the pool panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl From<OutOfMemory> for Error {
    fn from(e: OutOfMemory) -> Error {
        DeviceError::from(e).into()
    }
}

impl From<Panicked> for Error {
    fn from(e: Panicked) -> Error {
        InternalError::from(e).into()
    }
}

pub(crate) fn malformed(what: impl Into<String>) -> Error {
    InternalError::Malformed(what.into()).into()
}

/// An expression over sizes failed: the user's doing, unless it refers to something that is not there.
pub(crate) fn expression(what: impl Into<String>, source: HostExprError) -> Error {
    match source {
        HostExprError::Missing(_) => malformed(format!("{}: {source}", what.into())),
        source => InputError::Expression { what: what.into(), source }.into(),
    }
}

/// A count of bytes, shown with a binary unit.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let count = self.0 as f64;
        match self.0 {
            u64::MAX => f.write_str("more than 16 EiB"),
            n if n >= 1 << 30 => write!(f, "{:.1} GiB", count / f64::from(1u32 << 30)),
            n if n >= 1 << 20 => write!(f, "{:.1} MiB", count / f64::from(1u32 << 20)),
            n => write!(f, "{n} bytes"),
        }
    }
}

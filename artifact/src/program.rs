//! What a kernel or pipeline compiles to: buffers, compiled kernels, and the steps that launch them.

use serde::{Deserialize, Serialize};

use crate::target::{CpuFeatures, GpuFeatures};
use crate::{DType, HostExpr, Scalar};

/// A compiled kernel or pipeline, good for every size that it was not specialised against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The kernel's or pipeline's name.
    pub name: String,
    /// Names of the sizes; [`HostExpr::Size`] indexes this table.
    pub sizes: Vec<String>,
    /// Scalar parameters in signature order; [`HostExpr::Scalar`] indexes this table.
    pub scalars: Vec<ScalarParam>,
    /// Tensor parameters in signature order. Parameter `n` owns buffer `n`.
    pub params: Vec<TensorParam>,
    /// All buffers: first one for each tensor parameter, then the temporaries, uninitialised at the start.
    pub buffers: Vec<BufferDecl>,
    /// Conditions on sizes and scalars (`where` clauses) that must hold, with the text to show when one does not.
    pub requires: Vec<(HostExpr, String)>,
    /// The compiled kernels.
    pub kernels: Vec<Kernel>,
    /// Number of step variables; [`HostExpr::Step`] is below it.
    pub step_vars: usize,
    /// What to do before the first run that sees an input's content, in order: `prepack`. It reads parameters and writes
    /// temporaries, which no step of a run changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<Step>,
    /// What to do in each run, in order.
    pub steps: Vec<Step>,
}

impl Program {
    /// Names of the parameters whose content is put in another form once for all runs that see it.
    #[must_use]
    pub fn prepared(&self) -> Vec<&str> {
        let read = |b: &usize| self.prepare.iter().any(|step| step.buffers().contains(b));
        let params = self.params.iter().enumerate();
        params.filter(|(b, _)| read(b)).map(|(_, p)| p.name.as_str()).collect()
    }
}

/// A scalar parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalarParam {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: DType,
}

/// Whether a program reads or writes a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Read only.
    In,
    /// Written whole; its previous content is not read.
    Out,
    /// Read and written.
    InOut,
}

/// A tensor parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorParam {
    /// Its name.
    pub name: String,
    /// Direction.
    pub mode: Mode,
    /// What the caller promises of the content; the runtime checks it once per input.
    pub contracts: Vec<Contract>,
}

/// A promise about an integer input, checked on the host before the first launch that sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Contract {
    /// Every element `v` has `lo <= v < hi`.
    Range(HostExpr, HostExpr),
    /// The elements, in storage order, never decrease.
    Monotone,
    /// No two elements are equal.
    Injective,
}

/// A buffer of a program, dense and row-major over `shape`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BufferDecl {
    /// Its name, for messages.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents over the program's sizes.
    pub shape: Vec<HostExpr>,
    /// For sub-byte types: the dimension along which [`DType::per_byte`] consecutive elements share a byte, lowest
    /// bits first. The last byte along the dimension is padded.
    pub packed: Option<usize>,
}

/// An instruction of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Runs every phase of a kernel.
    Launch {
        /// Index into [`Program::kernels`].
        kernel: usize,
        /// The buffer bound to each of the kernel's buffer slots.
        buffers: Vec<usize>,
        /// The value of each of the kernel's sizes.
        sizes: Vec<HostExpr>,
        /// The value of each of the kernel's scalars.
        scalars: Vec<HostExpr>,
    },
    /// Runs `body` for the step variable `var` in `lo..hi`. After each pass the storages of every pair in `swaps`
    /// change places, so that the first of each pair names the newest data when the loop ends.
    Repeat {
        /// Step variable.
        var: usize,
        /// First value.
        lo: HostExpr,
        /// One past the last value.
        hi: HostExpr,
        /// Buffers whose storage is exchanged after each pass.
        swaps: Vec<(usize, usize)>,
        /// What is repeated.
        body: Vec<Step>,
    },
    /// Runs one of two lists.
    If {
        /// The condition.
        cond: HostExpr,
        /// Run when it is true.
        then: Vec<Step>,
        /// Run when it is false.
        otherwise: Vec<Step>,
    },
    /// Sets every element of a buffer.
    Fill {
        /// The buffer.
        buffer: usize,
        /// The value, cast to the buffer's type.
        value: HostExpr,
    },
    /// Copies a whole buffer to one of the same type and extents.
    Copy {
        /// Read.
        from: usize,
        /// Written.
        to: usize,
    },
}

impl Step {
    /// The buffers that it names, those of the steps inside too.
    #[must_use]
    pub fn buffers(&self) -> Vec<usize> {
        match self {
            Step::Launch { buffers, .. } => buffers.clone(),
            Step::Repeat { swaps, body, .. } => {
                let own = swaps.iter().flat_map(|&(a, b)| [a, b]);
                own.chain(body.iter().flat_map(Step::buffers)).collect()
            }
            Step::If { then, otherwise, .. } => {
                then.iter().chain(otherwise).flat_map(Step::buffers).collect()
            }
            Step::Fill { buffer, .. } => vec![*buffer],
            Step::Copy { from, to } => vec![*from, *to],
        }
    }
}

/// A compiled kernel: code, and how to launch it. Expressions refer to the kernel's own sizes and scalars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its name, for messages and exported symbols.
    pub name: String,
    /// Number of buffer slots.
    pub buffers: usize,
    /// Number of sizes.
    pub sizes: usize,
    /// Types of the scalars, in order.
    pub scalars: Vec<DType>,
    /// Bytes of scratch memory for each chunk that runs: a thread of a processor, a chunk in flight on a GPU.
    pub local_bytes: HostExpr,
    /// Run in order, with a barrier between neighbours.
    pub phases: Vec<Phase>,
    /// The code.
    pub code: Code,
}

/// A part of a kernel whose chunks may run in any order, at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Number of chunks; 1 for a serial phase.
    pub chunks: HostExpr,
}

/// Machine code or source of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Code {
    /// Relocation-free machine code, entered at its first byte; see [`crate::abi`].
    Cpu {
        /// The code. Its constants follow its instructions.
        bytes: Vec<u8>,
        /// Alignment that the first byte needs, a power of two.
        align: usize,
        /// Instruction-set extensions that the code uses.
        features: CpuFeatures,
    },
    /// A SPIR-V module; see [`crate::gpu_abi`].
    Spirv(SpirvCode),
}

impl Code {
    /// Length of the code in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Code::Cpu { bytes, .. } => bytes.len(),
            Code::Spirv(code) => code.words.len() * size_of::<u32>(),
        }
    }
}

/// A SPIR-V module with one entry point a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpirvCode {
    /// The module's words.
    pub words: Vec<u32>,
    /// One for each of the kernel's phases.
    pub phases: Vec<SpirvPhase>,
    /// Abilities that the code needs.
    pub features: GpuFeatures,
}

/// How a phase is dispatched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpirvPhase {
    /// Name of the entry point.
    pub entry: String,
    /// Threads of a group; the module says the same.
    pub group: u32,
    /// Chunks that a group runs at once: 1 where its threads work together on a chunk, `group` where each thread has a
    /// chunk of its own.
    pub chunks_per_group: u32,
    /// Bytes of memory that the threads of a group share.
    pub shared_bytes: u32,
}

/// The values that a program is run on, besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bindings {
    /// The value of each of [`Program::sizes`].
    pub sizes: Vec<i64>,
    /// The value of each of [`Program::scalars`].
    pub scalars: Vec<Scalar>,
}

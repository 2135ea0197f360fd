//! Runs the prepared steps of a program.

use std::sync::atomic::AtomicU32;

use rooftile_artifact::abi::status;
use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::{HostExpr, HostTensor};

use crate::buffer::AlignedBuffer;
use crate::content;
use crate::error::{Error, InputError, expression, malformed};
use crate::launch::{CpuKernel, Launch, Pointers};
use crate::pool::Pool;
use crate::prepared::{LaunchOp, Op};
use crate::setting::Setting;

/// A program's memory at fixed sizes.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The storages.
    pub(crate) storages: Vec<AlignedBuffer>,
    /// The storage that each buffer names now; swaps change it.
    pub(crate) storage_of: Vec<usize>,
    /// Scratch memory, one per thread.
    pub(crate) locals: Vec<AlignedBuffer>,
    /// Whether new scratch memory is to be guarded.
    pub(crate) guarded: bool,
}

impl Memory {
    /// The storage that a buffer names now.
    pub(crate) fn storage(&self, buffer: usize) -> &AlignedBuffer {
        &self.storages[self.storage_of[buffer]]
    }

    /// The storage that a buffer names now, to be written.
    pub(crate) fn storage_mut(&mut self, buffer: usize) -> &mut AlignedBuffer {
        &mut self.storages[self.storage_of[buffer]]
    }

    /// Sees to it that each thread has scratch memory of `bytes`.
    pub(crate) fn reserve_locals(&mut self, bytes: usize) -> Result<(), Error> {
        for local in &mut self.locals {
            if local.len() < bytes {
                *local = allocate(bytes, self.guarded)?;
            }
        }
        Ok(())
    }
}

/// A buffer, guarded or not.
pub(crate) fn allocate(bytes: usize, guarded: bool) -> Result<AlignedBuffer, Error> {
    Ok(if guarded { AlignedBuffer::guarded(bytes)? } else { AlignedBuffer::new(bytes)? })
}

/// All that a run works on.
pub(crate) struct Run<'a> {
    pub(crate) setting: &'a Setting,
    /// One per kernel; `None` on a device that runs nothing.
    pub(crate) kernels: &'a [Option<CpuKernel>],
    pub(crate) memory: &'a mut Memory,
    pub(crate) pool: Option<&'a mut Pool>,
    pub(crate) steps: &'a mut [i64],
    /// Room for the pointers of a launch: buffers and scratch memory.
    pub(crate) pointers: &'a mut Pointers,
}

impl Run<'_> {
    /// Runs steps in order.
    pub(crate) fn run(&mut self, ops: &mut [Op]) -> Result<(), Error> {
        ops.iter_mut().try_for_each(|op| self.step(op))
    }

    fn env(&self) -> HostEnv<'_> {
        self.setting.env(self.steps)
    }

    fn step(&mut self, op: &mut Op) -> Result<(), Error> {
        match op {
            Op::Launch(launch) => self.launch(launch),
            Op::Repeat { var, lo, hi, swaps, body } => {
                let (lo, hi) = (lo.get(&self.env())?, hi.get(&self.env())?);
                for counter in lo..hi {
                    self.steps[*var] = counter;
                    self.run(body)?;
                    for &(a, b) in swaps.iter() {
                        self.memory.storage_of.swap(a, b);
                    }
                }
                Ok(())
            }
            Op::If { cond, then, otherwise } => {
                let cond = cond.eval(&self.env()).map_err(|e| expression("a condition", e))?;
                self.run(if cond.is_true() { then } else { otherwise })
            }
            Op::Fill { buffer, value } => self.fill(*buffer, value),
            Op::Copy { from, to } => self.copy(*from, *to),
        }
    }

    fn launch(&mut self, op: &mut LaunchOp) -> Result<(), Error> {
        let kernel = &self.setting.program().kernels[op.kernel];
        op.refresh(kernel, &self.env())?;
        let Some(code) = &self.kernels[op.kernel] else { return Ok(()) };
        self.memory.reserve_locals(op.values.local_bytes)?;
        let Pointers { buffers, locals } = &mut *self.pointers;
        buffers.clear();
        for &b in &op.buffers {
            buffers.push(self.memory.storage_mut(b).as_mut_ptr());
        }
        locals.clear();
        locals.extend(self.memory.locals.iter_mut().map(AlignedBuffer::as_mut_ptr));
        let word = AtomicU32::new(0);
        let launch = Launch {
            buffers,
            sizes: &op.values.sizes,
            scalars: &op.values.cells,
            locals,
            status: &word,
            phases: &op.values.phases,
        };
        code.launch(&launch, self.pool.as_deref_mut())?;
        let word = word.into_inner();
        if word == 0 { Ok(()) } else { Err(fault(word, &kernel.name)) }
    }

    fn fill(&mut self, buffer: usize, value: &HostExpr) -> Result<(), Error> {
        let pattern = fill_pattern(self.setting, buffer, value, &self.env())?;
        content::fill(self.memory.storage_mut(buffer).as_mut_slice(), &pattern, self.pool.as_deref_mut())?;
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<(), Error> {
        let pair = [self.memory.storage_of[from], self.memory.storage_of[to]];
        let [from, to] = self
            .memory
            .storages
            .get_disjoint_mut(pair)
            .map_err(|_| malformed("a buffer is copied to itself"))?;
        if from.len() != to.len() {
            return Err(malformed("a buffer is copied to one of another size"));
        }
        content::copy(from.as_slice(), to.as_mut_slice(), self.pool.as_deref_mut())?;
        Ok(())
    }
}

/// The bytes that a buffer repeats when every element has the value.
pub(crate) fn fill_pattern(
    setting: &Setting,
    buffer: usize,
    value: &HostExpr,
    env: &HostEnv<'_>,
) -> Result<Vec<u8>, Error> {
    let decl = &setting.program().buffers[buffer];
    let value = value.eval(env).map_err(|e| expression(format!("the filling of {}", decl.name), e))?;
    let element = HostTensor::from_fn(decl.dtype, &[], |_| value).map_err(|e| malformed(e.to_string()))?;
    let splat = setting.layouts[buffer].packing.map(|p| vec![p.splat(element.bytes()[0])]);
    Ok(splat.unwrap_or_else(|| element.bytes().to_vec()))
}

/// What a kernel reports by its status word.
pub(crate) fn fault(word: u32, kernel: &str) -> Error {
    let kernel = kernel.to_owned();
    if word & status::OUT_OF_BOUNDS != 0 {
        InputError::OutOfBounds { kernel }.into()
    } else if word & status::APPEND_OVERFLOW != 0 {
        InputError::AppendOverflow { kernel }.into()
    } else {
        malformed(format!("{kernel} reports the unknown status {word:#x}"))
    }
}

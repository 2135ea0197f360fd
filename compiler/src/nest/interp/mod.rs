//! Runs a module on host tensors, slowly, in the declared machine types, and catches what compiled code would do in
//! silence: accesses out of bounds, reads of what nothing wrote, chunks and lanes that race.

mod exec;
mod memory;
#[cfg(test)]
mod tests;

use rooftile_artifact::host_expr::{HostEnv, HostExprError};
use rooftile_artifact::program::{Bindings, Mode, Step};
use rooftile_artifact::{DType, HostExpr, HostTensor, Program, Scalar};

use super::verify::VerifiedModule;
use memory::Storage;

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InterpError {
    /// The arguments do not fit the program.
    #[error("argument `{name}`: {what}")]
    Argument {
        /// The parameter.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// A `where` condition is false.
    #[error("a condition does not hold: {0}")]
    Requires(String),
    /// A size expression has no value.
    #[error(transparent)]
    Host(#[from] HostExprError),
    /// An index outside its buffer.
    #[error("nest {nest}: index {index:?} of `{buffer}` is outside {extents:?}")]
    OutOfBounds {
        /// The nest.
        nest: String,
        /// The buffer.
        buffer: String,
        /// The index.
        index: Vec<i64>,
        /// The buffer's extents.
        extents: Vec<i64>,
    },
    /// A buffer of the nest is larger than the memory that it is bound to.
    #[error("nest {nest}: `{buffer}` of extents {extents:?} does not fit its memory of {bytes} bytes")]
    Memory {
        /// The nest.
        nest: String,
        /// The buffer.
        buffer: String,
        /// The extents that the nest gives it.
        extents: Vec<i64>,
        /// Bytes that there are.
        bytes: usize,
    },
    /// A value that nothing wrote, or that an operator does not have, was stored to memory, used as an index, a
    /// bound, a condition or an atomic's operand.
    #[error("nest {nest}: {what} depends on a value that is not defined ({cause})")]
    Undefined {
        /// The nest.
        nest: String,
        /// What it was used for.
        what: String,
        /// Where the value came from.
        cause: String,
    },
    /// Two chunks, or two lanes, touch one element and at least one writes.
    #[error("nest {nest}: {who} race for an element of `{buffer}`")]
    Race {
        /// The nest.
        nest: String,
        /// The buffer.
        buffer: String,
        /// Which passes.
        who: String,
    },
    /// The code raised bits of [`rooftile_artifact::abi::status`].
    #[error("the status word is {0:#x} at the end")]
    Status(u32),
}

/// Runs a module. `inputs` has an entry per parameter in signature order, `None` for `out`; the contents of all
/// parameters come back in the same order.
///
/// # Errors
/// [`InterpError`]: the first thing that went wrong.
pub fn run(
    module: &VerifiedModule,
    bindings: &Bindings,
    inputs: &[Option<HostTensor>],
) -> Result<Vec<HostTensor>, InterpError> {
    run_for_threads(module, bindings, inputs, 1)
}

/// As [`run`], with [`HostExpr::Threads`] of the given value; chunks still run one after the other.
///
/// # Errors
/// As [`run`].
pub fn run_for_threads(
    module: &VerifiedModule,
    bindings: &Bindings,
    inputs: &[Option<HostTensor>],
    threads: usize,
) -> Result<Vec<HostTensor>, InterpError> {
    let program = module.program();
    let mut machine =
        Machine { module, bindings, threads, storages: Vec::new(), bound: Vec::new(), status: 0 };
    machine.allocate(inputs)?;
    let mut steps = vec![0; program.step_vars];
    machine.steps(&program.prepare, &mut steps)?;
    machine.steps(&program.steps, &mut steps)?;
    if machine.status != 0 {
        return Err(InterpError::Status(machine.status));
    }
    (0..program.params.len()).map(|n| machine.output(n)).collect()
}

struct Machine<'a> {
    module: &'a VerifiedModule,
    bindings: &'a Bindings,
    threads: usize,
    storages: Vec<Storage>,
    /// The storage that each buffer names now.
    bound: Vec<usize>,
    status: u32,
}

impl Machine<'_> {
    fn program(&self) -> &Program {
        self.module.program()
    }

    fn env<'e>(&'e self, steps: &'e [i64]) -> HostEnv<'e> {
        HostEnv { sizes: &self.bindings.sizes, scalars: &self.bindings.scalars, steps, threads: self.threads }
    }

    fn allocate(&mut self, inputs: &[Option<HostTensor>]) -> Result<(), InterpError> {
        let program = self.module.program();
        let argument = |name: &str, what: String| InterpError::Argument { name: name.to_owned(), what };
        let counts = [
            ("sizes", self.bindings.sizes.len(), program.sizes.len()),
            ("scalars", self.bindings.scalars.len(), program.scalars.len()),
            ("tensors", inputs.len(), program.params.len()),
        ];
        for (name, got, want) in counts {
            if got != want {
                return Err(argument(name, format!("{got} given, {want} wanted")));
            }
        }
        for (condition, text) in &program.requires {
            if !condition.eval(&self.env(&[]))?.is_true() {
                return Err(InterpError::Requires(text.clone()));
            }
        }
        for (n, decl) in program.buffers.iter().enumerate() {
            let mut shape = Vec::with_capacity(decl.shape.len());
            for e in &decl.shape {
                let extent = e.eval_int(&self.env(&[]))?;
                let extent = usize::try_from(extent)
                    .map_err(|_| argument(&decl.name, format!("an extent of {extent}")))?;
                shape.push(extent);
            }
            let mut storage = Storage::new(decl.dtype, shape, decl.packed);
            if let (Some(param), Some(input)) = (program.params.get(n), inputs.get(n)) {
                match (param.mode, input) {
                    (Mode::Out, None) => {}
                    (Mode::Out, Some(_)) => {
                        return Err(argument(&param.name, "is an output, a value was given".to_owned()));
                    }
                    (_, None) => return Err(argument(&param.name, "no value was given".to_owned())),
                    (_, Some(tensor)) => {
                        storage.fill_from(tensor).map_err(|what| argument(&param.name, what))?;
                    }
                }
            }
            self.storages.push(storage);
        }
        self.bound = (0..self.storages.len()).collect();
        Ok(())
    }

    fn output(&self, n: usize) -> Result<HostTensor, InterpError> {
        let name = || self.program().params[n].name.clone();
        self.storages[self.bound[n]].to_tensor().map_err(|what| InterpError::Argument { name: name(), what })
    }

    fn steps(&mut self, steps: &[Step], vars: &mut Vec<i64>) -> Result<(), InterpError> {
        for step in steps {
            self.step(step, vars)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, vars: &mut Vec<i64>) -> Result<(), InterpError> {
        match step {
            Step::Launch { kernel, buffers, sizes, scalars } => {
                let module = self.module;
                let nest = &module.nests()[*kernel];
                let env = self.env(vars);
                let int = |e: &HostExpr| e.eval_int(&env);
                let sizes: Vec<i64> = sizes.iter().map(int).collect::<Result<_, _>>()?;
                let value = |(e, (_, t)): (&HostExpr, &(String, DType))| Ok(e.eval(&env)?.cast(*t));
                let scalars: Vec<Scalar> =
                    scalars.iter().zip(&nest.scalars).map(value).collect::<Result<_, HostExprError>>()?;
                let bound: Vec<usize> = buffers.iter().map(|&b| self.bound[b]).collect();
                let launch = exec::Launch { nest, sizes: &sizes, scalars: &scalars, bound: &bound };
                self.status |= exec::launch(&launch, &mut self.storages)?;
            }
            Step::Repeat { var, lo, hi, swaps, body } => {
                let (lo, hi) = (lo.eval_int(&self.env(vars))?, hi.eval_int(&self.env(vars))?);
                for i in lo..hi {
                    vars[*var] = i;
                    self.steps(body, vars)?;
                    for &(a, b) in swaps {
                        self.bound.swap(a, b);
                    }
                }
            }
            Step::If { cond, then, otherwise } => {
                let chosen = if cond.eval(&self.env(vars))?.is_true() { then } else { otherwise };
                self.steps(chosen, vars)?;
            }
            Step::Fill { buffer, value } => {
                let value = value.eval(&self.env(vars))?;
                let storage = self.bound[*buffer];
                self.storages[storage].fill(value);
            }
            Step::Copy { from, to } => {
                let source = self.storages[self.bound[*from]].clone();
                self.storages[self.bound[*to]].copy_from(&source);
            }
        }
        Ok(())
    }
}

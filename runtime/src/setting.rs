//! A program at fixed sizes, without its memory: what every kind of device starts from.

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::{Bindings, Mode, TensorParam};
use rooftile_artifact::{Program, Scalar};

use crate::device::Loaded;
use crate::error::{Error, InputError, expression, malformed};
use crate::layout::Layout;
use crate::validate;

/// A program at fixed sizes.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The program on its device.
    pub(crate) loaded: Loaded,
    /// Sizes in the program's order.
    pub(crate) sizes: Vec<i64>,
    /// Scalars in the program's order, as their types hold them.
    pub(crate) scalars: Vec<Scalar>,
    /// Threads that launches use.
    pub(crate) threads: usize,
    /// Each buffer at these sizes.
    pub(crate) layouts: Vec<Layout>,
    /// Parameters whose content a run changes, and which it also reads.
    pub(crate) consumed: Vec<usize>,
    /// Bytes that buffers and scratch memory may take in all.
    available: u64,
}

impl Setting {
    /// The program at the given sizes and scalars, with `available` bytes of memory for its buffers.
    ///
    /// # Errors
    /// As [`crate::Instance::new`], but for the memory.
    pub(crate) fn new(
        loaded: &Loaded,
        bindings: &Bindings,
        threads: usize,
        available: u64,
    ) -> Result<Setting, Error> {
        let program = loaded.program();
        let scalars = check_bindings(program, bindings)?;
        let sizes = bindings.sizes.clone();
        let env = HostEnv { sizes: &sizes, scalars: &scalars, steps: &[], threads };
        for (condition, text) in &program.requires {
            let holds = condition.eval(&env).map_err(|e| expression(format!("`{text}`"), e))?;
            if !holds.is_true() {
                return Err(InputError::Requires(text.clone()).into());
            }
        }
        let layouts: Option<Vec<Layout>> =
            program.buffers.iter().map(|decl| Layout::new(decl, &env)).collect::<Result<_, _>>()?;
        let layouts = layouts.ok_or(InputError::TooLarge { needed: u64::MAX, available })?;
        let consumed = consumed(program, &layouts)?;
        Ok(Setting { loaded: loaded.clone(), sizes, scalars, threads, layouts, consumed, available })
    }

    /// The program.
    pub(crate) fn program(&self) -> &Program {
        self.loaded.program()
    }

    /// What expressions may refer to, under the given step counters.
    pub(crate) fn env<'a>(&'a self, steps: &'a [i64]) -> HostEnv<'a> {
        HostEnv { sizes: &self.sizes, scalars: &self.scalars, steps, threads: self.threads }
    }

    /// Whether there is memory for all buffers and so many bytes of scratch memory.
    ///
    /// # Errors
    /// [`InputError::TooLarge`] when there is not.
    pub(crate) fn check_memory(&self, scratch: u64) -> Result<(), Error> {
        let needed = self
            .layouts
            .iter()
            .try_fold(scratch, |sum, layout| sum.checked_add(layout.bytes as u64))
            .unwrap_or(u64::MAX);
        if needed > self.available {
            return Err(InputError::TooLarge { needed, available: self.available }.into());
        }
        Ok(())
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

//! A program's steps at fixed sizes: whatever does not depend on a step counter is computed once, since timing runs
//! the steps many times.

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::{Kernel, Step};
use rooftile_artifact::{DType, HostExpr, Program, Scalar};

use crate::error::{Error, expression, malformed};
use crate::pool::Phase;

/// A step, ready to run.
#[derive(Debug)]
pub(crate) enum Op {
    Launch(LaunchOp),
    Repeat { var: usize, lo: Int, hi: Int, swaps: Vec<(usize, usize)>, body: Vec<Op> },
    If { cond: HostExpr, then: Vec<Op>, otherwise: Vec<Op> },
    Fill { buffer: usize, value: HostExpr },
    Copy { from: usize, to: usize },
}

/// An integer, computed as early as possible.
#[derive(Debug)]
pub(crate) enum Int {
    Known(i64),
    Later(HostExpr),
}

/// A launch, ready to run but for what depends on step counters.
#[derive(Debug)]
pub(crate) struct LaunchOp {
    pub(crate) kernel: usize,
    pub(crate) buffers: Vec<usize>,
    pub(crate) values: LaunchValues,
    /// Expressions of sizes and scalars to be evaluated before each launch.
    later: Option<(Vec<HostExpr>, Vec<HostExpr>)>,
}

/// What a launch passes besides buffers.
#[derive(Debug, Default)]
pub(crate) struct LaunchValues {
    pub(crate) sizes: Vec<i64>,
    pub(crate) cells: Vec<u64>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) local_bytes: usize,
    scalars: Vec<Scalar>,
}

/// Prepares steps at the sizes and scalars of `env`.
///
/// # Errors
/// When the program is malformed. An expression without a value is an error only when its step is run.
pub(crate) fn prepare(program: &Program, steps: &[Step], env: &HostEnv<'_>) -> Result<Vec<Op>, Error> {
    steps.iter().map(|step| prepare_step(program, step, env)).collect()
}

fn prepare_step(program: &Program, step: &Step, env: &HostEnv<'_>) -> Result<Op, Error> {
    Ok(match step {
        Step::Launch { kernel, buffers, sizes, scalars } => {
            let mut values = LaunchValues::default();
            let steady = !sizes.iter().chain(scalars).any(uses_step);
            let known =
                steady && values.compute(&program.kernels[*kernel], (sizes.as_slice(), scalars), env).is_ok();
            let later = (!known).then(|| (sizes.clone(), scalars.clone()));
            Op::Launch(LaunchOp { kernel: *kernel, buffers: buffers.clone(), values, later })
        }
        Step::Repeat { var, lo, hi, swaps, body } => Op::Repeat {
            var: *var,
            lo: Int::new(lo, env),
            hi: Int::new(hi, env),
            swaps: swaps.clone(),
            body: prepare(program, body, env)?,
        },
        Step::If { cond, then, otherwise } => Op::If {
            cond: cond.clone(),
            then: prepare(program, then, env)?,
            otherwise: prepare(program, otherwise, env)?,
        },
        Step::Fill { buffer, value } => Op::Fill { buffer: *buffer, value: value.clone() },
        Step::Copy { from, to } if from == to => {
            return Err(malformed(format!("buffer {from} is copied to itself")));
        }
        Step::Copy { from, to } => Op::Copy { from: *from, to: *to },
    })
}

impl Int {
    fn new(e: &HostExpr, env: &HostEnv<'_>) -> Int {
        match e.eval_int(env) {
            Ok(v) if !uses_step(e) => Int::Known(v),
            _ => Int::Later(e.clone()),
        }
    }

    /// The value under the step counters of `env`.
    pub(crate) fn get(&self, env: &HostEnv<'_>) -> Result<i64, Error> {
        match self {
            Int::Known(v) => Ok(*v),
            Int::Later(e) => e.eval_int(env).map_err(|e| expression("the bounds of a repeat", e)),
        }
    }
}

impl LaunchOp {
    /// Brings the values up to date with the step counters.
    pub(crate) fn refresh(&mut self, kernel: &Kernel, env: &HostEnv<'_>) -> Result<(), Error> {
        match &self.later {
            None => Ok(()),
            Some((sizes, scalars)) => self.values.compute(kernel, (sizes, scalars), env),
        }
    }
}

impl LaunchValues {
    fn compute(
        &mut self,
        kernel: &Kernel,
        (sizes, scalars): (&[HostExpr], &[HostExpr]),
        env: &HostEnv<'_>,
    ) -> Result<(), Error> {
        let failed = |e| expression(format!("an argument of {}", kernel.name), e);
        self.sizes.clear();
        for e in sizes {
            self.sizes.push(e.eval_int(env).map_err(failed)?);
        }
        self.scalars.clear();
        self.cells.clear();
        for (e, dtype) in scalars.iter().zip(&kernel.scalars) {
            let v = e.eval(env).map_err(failed)?.cast(*dtype);
            self.scalars.push(v);
            self.cells.push(cell(v, *dtype));
        }
        let own = HostEnv { sizes: &self.sizes, scalars: &self.scalars, steps: &[], threads: env.threads };
        self.phases.clear();
        for phase in &kernel.phases {
            let chunks = phase.chunks.eval_int(&own).map_err(failed)?;
            self.phases.push(Phase::balanced(chunks, env.threads));
        }
        let local = kernel.local_bytes.eval_int(&own).map_err(failed)?;
        self.local_bytes = usize::try_from(local)
            .map_err(|_| malformed(format!("{} asks for {local} bytes of scratch memory", kernel.name)))?;
        Ok(())
    }
}

/// A scalar as a launch passes it; see [`rooftile_artifact::abi::LaunchArgs::scalars`].
pub(crate) fn cell(v: Scalar, dtype: DType) -> u64 {
    match dtype {
        DType::Bool => u64::from(v.is_true()),
        #[expect(clippy::cast_sign_loss, reason = "the cell holds the sign-extended bits")]
        DType::Int { .. } => v.as_i64() as u64,
        DType::F64 => v.as_f64().to_bits(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "exact: the value was rounded to a narrower type"
        )]
        _ => u64::from((v.as_f64() as f32).to_bits()),
    }
}

/// Whether the value depends on a step counter.
fn uses_step(e: &HostExpr) -> bool {
    match e {
        HostExpr::Step(_) => true,
        HostExpr::Const(_) | HostExpr::Size(_) | HostExpr::Scalar(_) | HostExpr::Threads => false,
        HostExpr::Cast(_, a) | HostExpr::Unary(_, a) => uses_step(a),
        HostExpr::Binary(_, a, b) => uses_step(a) || uses_step(b),
        HostExpr::Select(c, a, b) => uses_step(c) || uses_step(a) || uses_step(b),
    }
}

/// The most scratch memory that any launch known now asks for.
pub(crate) fn local_bytes(ops: &[Op]) -> usize {
    let of = |op: &Op| match op {
        Op::Launch(l) => l.values.local_bytes,
        Op::Repeat { body, .. } => local_bytes(body),
        Op::If { then, otherwise, .. } => local_bytes(then).max(local_bytes(otherwise)),
        Op::Fill { .. } | Op::Copy { .. } => 0,
    };
    ops.iter().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_encoded_as_the_interface_says() {
        assert_eq!(cell(Scalar::Int(-1), DType::I8), u64::MAX);
        assert_eq!(cell(Scalar::Int(-1).cast(DType::U8), DType::U8), 255);
        assert_eq!(cell(Scalar::Float(1.0), DType::F16), 0x3F80_0000);
        assert_eq!(cell(Scalar::Float(1.0), DType::F64), 0x3FF0_0000_0000_0000);
        assert_eq!(cell(Scalar::Bool(true), DType::Bool), 1);
    }
}

//! Checks that a program is whole before anything of it is run: every index refers to something.

use rooftile_artifact::Program;
use rooftile_artifact::program::{Kernel, Step};

use crate::error::{Error, malformed};

/// Checks every index of a program, and what the launch interface cannot carry.
///
/// # Errors
/// [`crate::InternalError::Malformed`] with the first fault: the compiler made a wrong program.
pub(crate) fn program(p: &Program) -> Result<(), Error> {
    if p.params.len() > p.buffers.len() {
        return Err(malformed("there are more tensor parameters than buffers"));
    }
    for b in &p.buffers {
        if b.packed.is_some_and(|dim| dim >= b.shape.len()) {
            return Err(malformed(format!("{} is packed along a dimension that it does not have", b.name)));
        }
    }
    p.kernels.iter().try_for_each(kernel)?;
    steps(p, &p.prepare)?;
    steps(p, &p.steps)
}

fn kernel(k: &Kernel) -> Result<(), Error> {
    match k.scalars.iter().find(|s| s.is_complex()) {
        Some(s) => Err(malformed(format!("{} takes a {s} scalar, which no launch can pass", k.name))),
        None => Ok(()),
    }
}

fn steps(p: &Program, list: &[Step]) -> Result<(), Error> {
    let buffer = |b: usize| {
        p.buffers.get(b).map(|_| ()).ok_or_else(|| malformed(format!("a step refers to buffer {b}")))
    };
    list.iter().try_for_each(|step| match step {
        Step::Launch { kernel, buffers, sizes, scalars } => {
            let k = p
                .kernels
                .get(*kernel)
                .ok_or_else(|| malformed(format!("a step launches kernel {kernel}")))?;
            let given = (buffers.len(), sizes.len(), scalars.len());
            if given != (k.buffers, k.sizes, k.scalars.len()) {
                return Err(malformed(format!("a launch of {} has the wrong number of arguments", k.name)));
            }
            buffers.iter().copied().try_for_each(buffer)
        }
        Step::Repeat { var, swaps, body, .. } => {
            if *var >= p.step_vars {
                return Err(malformed(format!("a repeat counts with step variable {var}")));
            }
            swaps.iter().try_for_each(|&(a, b)| buffer(a).and_then(|()| buffer(b)))?;
            steps(p, body)
        }
        Step::If { then, otherwise, .. } => steps(p, then).and_then(|()| steps(p, otherwise)),
        Step::Fill { buffer: b, .. } => buffer(*b),
        Step::Copy { from, to } => buffer(*from).and_then(|()| buffer(*to)),
    })
}

/// Every pair of buffers that exchange their storage somewhere in the steps.
pub(crate) fn swaps(list: &[Step], found: &mut Vec<(usize, usize)>) {
    for step in list {
        match step {
            Step::Repeat { swaps: pairs, body, .. } => {
                found.extend(pairs);
                swaps(body, found);
            }
            Step::If { then, otherwise, .. } => {
                swaps(then, found);
                swaps(otherwise, found);
            }
            Step::Launch { .. } | Step::Fill { .. } | Step::Copy { .. } => {}
        }
    }
}

//! Checks a nest against the rules that [`super::ir`] lists. Generators take only what passed.
//!
//! Rules 1 to 6, 8 and 12 to 14 are decided exactly. Of rules 7, 9, 10 and 15 this finds what is wrong for all sizes; what depends
//! on sizes and data is found by the interpreter.

pub mod matrices;
pub mod own;
mod places;
pub mod threads;
mod types;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use super::ir::{Module, Nest};
use rooftile_artifact::program::Step;
use rooftile_artifact::{HostExpr, Program};

/// A nest that keeps the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified(Nest);

impl Verified {
    /// The nest, which may then be changed and is no longer known to keep the rules.
    #[must_use]
    pub fn into_nest(self) -> Nest {
        self.0
    }
}

impl Deref for Verified {
    type Target = Nest;

    fn deref(&self) -> &Nest {
        &self.0
    }
}

/// A module whose nests keep the rules and whose steps refer to things that exist.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedModule {
    program: Program,
    nests: Vec<Verified>,
}

impl VerifiedModule {
    /// Buffers and steps.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The kernels.
    #[must_use]
    pub fn nests(&self) -> &[Verified] {
        &self.nests
    }
}

/// A rule that a nest breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nest {nest}, rule {rule}: {message}")]
pub struct Violation {
    /// Name of the nest, or of the program.
    pub nest: String,
    /// Number of the rule; 0 for the steps of a program.
    pub rule: u8,
    /// What is wrong, and where.
    pub message: String,
}

/// Collects violations.
struct Report<'a> {
    nest: &'a str,
    found: Vec<Violation>,
}

impl Report<'_> {
    fn add(&mut self, rule: u8, message: fmt::Arguments<'_>) {
        self.found.push(Violation { nest: self.nest.to_owned(), rule, message: message.to_string() });
    }
}

/// Checks a nest.
///
/// # Errors
/// Every violation that was found, in order of appearance; those of the other rules only when rules 1 and 2 hold.
pub fn verify(nest: Nest) -> Result<Verified, Vec<Violation>> {
    let mut report = Report { nest: &nest.name, found: Vec::new() };
    types::check(&nest, &mut report);
    if report.found.is_empty() {
        places::check(&nest, &mut report);
    }
    let found = report.found;
    if found.is_empty() { Ok(Verified(nest)) } else { Err(found) }
}

/// Checks every nest of a module, and that its steps name kernels, buffers and counts that fit.
///
/// # Errors
/// Every violation that was found.
pub fn verify_module(module: Module) -> Result<VerifiedModule, Vec<Violation>> {
    let Module { program, nests } = module;
    let name = program.name.clone();
    let mut report = Report { nest: &name, found: Vec::new() };
    for steps in [&program.prepare, &program.steps] {
        check_steps(&program, &nests, steps, &mut report);
    }
    check_prepared(&program, &nests, &mut report);
    let mut found = report.found;
    let mut verified = Vec::with_capacity(nests.len());
    for nest in nests {
        match verify(nest) {
            Ok(v) => verified.push(v),
            Err(mut more) => found.append(&mut more),
        }
    }
    if found.is_empty() { Ok(VerifiedModule { program, nests: verified }) } else { Err(found) }
}

/// Number of buffer slots that a nest uses: one above the highest.
#[must_use]
pub fn slots(nest: &Nest) -> usize {
    let slot = |space| match space {
        super::ir::Space::Global(n) => n as usize + 1,
        _ => 0,
    };
    nest.buffers.iter().map(|(_, b)| slot(b.space)).max().unwrap_or(0)
}

fn check_steps(program: &Program, nests: &[Nest], steps: &[Step], report: &mut Report<'_>) {
    let known = |b: usize| b < program.buffers.len();
    for step in steps {
        match step {
            Step::Launch { kernel, buffers, sizes, scalars } => {
                let Some(nest) = nests.get(*kernel) else {
                    report.add(0, format_args!("a launch of kernel {kernel}, which is not there"));
                    continue;
                };
                let fits = buffers.len() >= slots(nest)
                    && sizes.len() == nest.sizes.len()
                    && scalars.len() == nest.scalars.len();
                if !fits || !buffers.iter().all(|&b| known(b)) {
                    report.add(0, format_args!("a launch of `{}` with arguments that do not fit", nest.name));
                }
                sizes.iter().chain(scalars).for_each(|e| check_host(program, e, report));
            }
            Step::Repeat { var, swaps, body, lo, hi } => {
                if *var >= program.step_vars || !swaps.iter().all(|&(a, b)| known(a) && known(b)) {
                    report.add(0, format_args!("a repeat over a variable or buffers that are not there"));
                }
                [lo, hi].into_iter().for_each(|e| check_host(program, e, report));
                check_steps(program, nests, body, report);
            }
            Step::If { cond, then, otherwise } => {
                check_host(program, cond, report);
                check_steps(program, nests, then, report);
                check_steps(program, nests, otherwise, report);
            }
            Step::Fill { buffer, value } => {
                if !known(*buffer) {
                    report.add(0, format_args!("a fill of a buffer that is not there"));
                }
                check_host(program, value, report);
            }
            Step::Copy { from, to } => {
                if !known(*from) || !known(*to) {
                    report.add(0, format_args!("a copy of a buffer that is not there"));
                }
            }
        }
    }
}

/// What is prepared once stays as it is: no run writes it, and to prepare it changes no parameter.
fn check_prepared(program: &Program, nests: &[Nest], report: &mut Report<'_>) {
    let (mut once, mut runs) = (BTreeSet::new(), BTreeSet::new());
    written(nests, &program.prepare, &mut once);
    written(nests, &program.steps, &mut runs);
    if once.iter().any(|b| *b < program.params.len() || runs.contains(b)) {
        report.add(0, format_args!("a buffer that is prepared once is written elsewhere, or is a parameter"));
    }
}

/// The buffers that steps write or exchange.
fn written(nests: &[Nest], steps: &[Step], found: &mut BTreeSet<usize>) {
    for step in steps {
        match step {
            Step::Launch { kernel, buffers, .. } => {
                let slots = nests.get(*kernel).map(Nest::written_slots).unwrap_or_default();
                found.extend(slots.iter().filter_map(|slot| buffers.get(*slot)));
            }
            Step::Repeat { swaps, body, .. } => {
                found.extend(swaps.iter().flat_map(|&(a, b)| [a, b]));
                written(nests, body, found);
            }
            Step::If { then, otherwise, .. } => {
                written(nests, then, found);
                written(nests, otherwise, found);
            }
            Step::Fill { buffer, .. } => _ = found.insert(*buffer),
            Step::Copy { to, .. } => _ = found.insert(*to),
        }
    }
}

fn check_host(program: &Program, e: &HostExpr, report: &mut Report<'_>) {
    let fits = match e {
        HostExpr::Size(n) => *n < program.sizes.len(),
        HostExpr::Scalar(n) => *n < program.scalars.len(),
        HostExpr::Step(n) => *n < program.step_vars,
        HostExpr::Const(_) | HostExpr::Threads => true,
        HostExpr::Cast(_, a) | HostExpr::Unary(_, a) => {
            check_host(program, a, report);
            true
        }
        HostExpr::Binary(_, a, b) => {
            check_host(program, a, report);
            check_host(program, b, report);
            true
        }
        HostExpr::Select(c, a, b) => {
            [c, a, b].into_iter().for_each(|e| check_host(program, e, report));
            true
        }
    };
    if !fits {
        report.add(0, format_args!("a step refers to {e:?}, which is not there"));
    }
}

#[cfg(test)]
mod tests;

//! `time_tile(t, n)`: blocks of the grid are taken through `n` steps at once, while they are in cache.
//!
//! ```text
//! repeat t in 0..T pingpong (u, v) { k(u, v) }
//!   =>  repeat T / n { k.timeN(u, v) } pingpong (u, v)     each block: n steps of `k` on the block and what is around it
//!       repeat T % n / m { k.timeM(u, v) } pingpong (u, v) m steps, the root of n: the rest goes over memory less often
//!       repeat T % n % m { k(u, v) } pingpong (u, v)
//! ```
//!
//! [`step`] checks that one pass of the repeat is a list of stencils ([`stencil`]), [`versions`] finds out what each
//! stage of `n` passes reads and gives, [`part`] makes the loops of a stage by the ordinary lowering of its kernel, over a
//! part of the grid, and [`compose`] puts them together, with windows of the state in [`memory`] of the chunk, or, as
//! [`trapezoid`]s, in that of the tensors themselves.
//! [`repeat`] makes the steps of the program.

mod compose;
mod memory;
mod part;
mod propose;
mod repeat;
mod stencil;
mod step;
mod trapezoid;
mod versions;

pub(crate) use propose::{has_steps, proposals};
pub(crate) use repeat::Repeat;
use rooftile_artifact::Target;

use super::form::Form;
use super::kernel::Setup;
use super::plan::{Assignment, Plan, TimeStyle, Verb};
use super::{Allow, apply, normal};
use crate::diag::{Code, Diagnostic, Span};
use crate::hir::ir::{File, Func, FuncId};

/// Most steps that are taken at once.
const MOST: i64 = 64;

/// The plan of a program whose repeats may be tiled in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimePlan<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// Values of its names.
    pub(crate) assignment: &'a Assignment,
    /// What the task allows.
    pub(crate) allow: Allow,
    /// Where it runs.
    pub(crate) target: &'a Target,
}

impl TimePlan<'_> {
    /// How many steps of a repeat are taken at once, and how; 1 where that was not asked for.
    ///
    /// # Errors
    /// E0504 for a number that is too large.
    pub(crate) fn steps(&self, name: &str, span: Span) -> Result<(i64, TimeStyle), Diagnostic> {
        let mut steps = (1, TimeStyle::Overlapped);
        for verb in &self.plan.verbs {
            let Verb::TimeTile { axis, steps: n, style } = verb else { continue };
            if axis != name || self.target.cpu().is_none() {
                continue;
            }
            let n = n.value(self.assignment).unwrap_or(1);
            steps = (n, *style);
            if !(1..=MOST).contains(&n) {
                let message = format!("`time_tile`: {n} steps of `{name}` at once, of 1 to {MOST}");
                return Err(Diagnostic::error(Code::Illegal, span, message).help("take fewer steps"));
            }
        }
        Ok(steps)
    }

    /// A kernel in normal form and the setup of its loops.
    fn setup(&self, file: &File, id: FuncId) -> Result<(Form, Setup), Diagnostic> {
        let mut form = normal::normalise(&file.funcs[id], &file.tables)?;
        let setup = apply::apply(&mut form, self.plan, self.assignment, self.allow, self.target)?;
        Ok((form, setup))
    }
}

/// Whether steps of a repeat can be taken at once.
pub(crate) fn is_legal(file: &File, func: &Func, repeat: &Repeat<'_>) -> bool {
    step::step(file, func, (repeat.axis, repeat.span), repeat.pingpong, repeat.body)
        .is_ok_and(|step| repeat::results(func, &step, &versions::Stages::new(&step, 2)).is_ok())
}

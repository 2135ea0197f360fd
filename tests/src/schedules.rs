//! The schedules that suites run every kernel and pipeline with.

use rooftile_artifact::Target;
use rooftile_compiler::diag;
use rooftile_compiler::hir::ir::{Role, StmtKind};
use rooftile_compiler::hir::walk::for_each_stmt;
use rooftile_compiler::nest::{VerifiedModule, verify_module};
use rooftile_compiler::schedule::plan::Assignment;
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::task::Sizes;
use rooftile_compiler::tune::{self, solve::Space};

use crate::subject::Entry;

/// What the task of an entry allows; nothing where it has none.
#[must_use]
pub fn allowed(entry: Entry) -> Allow {
    let task = entry.subject.checked.task(entry.id);
    task.map_or(Allow::default(), |task| Allow::from(&task.allow))
}

/// The space of the tunables at the sizes of the task's search; `None` where it cannot be known.
#[must_use]
pub fn space(entry: Entry, target: &Target) -> Option<Space> {
    let checked = &entry.subject.checked;
    let task = checked.task(entry.id);
    let sizes: Vec<Sizes> =
        task.map_or_else(Vec::new, |t| t.search.iter().map(|s| s.values.clone()).collect());
    checked.space(entry.id, target.name(), &tune::keys(target), &sizes).ok()
}

/// The values of the tunables that are used without a search.
#[must_use]
pub fn assignment(entry: Entry, target: &Target) -> Assignment {
    space(entry, target).and_then(|space| space.default(None)).unwrap_or_default()
}

/// The file's schedule of the entry for the target, if it has one.
#[must_use]
pub fn written(entry: Entry, target: &Target) -> Option<Choice> {
    let schedule = entry.subject.checked.schedule(entry.id, target.name(), &Sizes::new())?;
    let plan = schedule.plan.clone();
    let allow = match entry.subject.checked.task(entry.id) {
        // What is written needs some permission or other, and there is no task that could give it. Another rounding may
        // change which particles are in a list.
        None => Allow { contract: continuous(entry), reassoc: true, online: true, atomics: false },
        Some(_) => allowed(entry),
    };
    Some(Choice::Planned { plan, assignment: assignment(entry, target), allow })
}

/// Lowers and verifies.
///
/// # Errors
/// Diagnostics of lowering, or the rules that the nest breaks, in words. Refusals (the schedule or the target forbids
/// it) begin with `refused`.
pub fn lowered(entry: Entry, choice: &Choice, target: &Target) -> Result<VerifiedModule, String> {
    let module = lower(entry.subject.file(), entry.id, choice, target)
        .map_err(|d| format!("refused: {}", shown(&d)))?;
    verify_module(module).map_err(|violations| {
        let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
        format!("the nest breaks its rules: {}", shown.join("; "))
    })
}

/// Whether a function's results are floats only, so that another association cannot change them by more than rounding.
#[must_use]
pub fn continuous(entry: Entry) -> bool {
    let func = entry.func();
    let mut written = func.tensors.iter().filter(|(_, t)| t.role != Role::In);
    let appends = |body| {
        let mut found = false;
        for_each_stmt(body, &mut |stmt| {
            found |= matches!(stmt.kind, StmtKind::Append { .. });
        });
        found
    };
    let kernels = entry.subject.file().kernels_of(entry.id);
    written.all(|(_, t)| t.dtype.is_float() || t.dtype.is_complex())
        && !kernels.iter().any(|&k| appends(&entry.subject.file().funcs[k].body))
}

fn shown(diagnostics: &[diag::Diagnostic]) -> String {
    let lines: Vec<String> =
        diagnostics.iter().map(|d| format!("{} {} {}", d.code, d.message, d.notes.join("; "))).collect();
    lines.join("\n")
}

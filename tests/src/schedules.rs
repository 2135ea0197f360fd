//! The schedules that suites run every kernel and pipeline with.

use rooftile_artifact::CpuTarget;
use rooftile_compiler::diag;
use rooftile_compiler::hir::ir::StmtKind;
use rooftile_compiler::nest::{VerifiedModule, verify_module};
use rooftile_compiler::schedule::parse::{self, Scope};
use rooftile_compiler::schedule::plan::Assignment;
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::syntax::ast::{ExprKind, ItemKind, TaskItemKind};
use rooftile_compiler::tune::{self, Env, solve::Space};

use crate::subject::Entry;

/// What the task of an entry allows; nothing where it has none.
#[must_use]
pub fn allowed(entry: Entry) -> Allow {
    let mut allow = Allow::default();
    for item in &entry.subject.ast.items {
        let ItemKind::Task(task) = &item.kind else { continue };
        let items = task.items.iter().filter(|_| task.name.name == entry.name());
        for item in items {
            let TaskItemKind::Allow(words) = &item.kind else { continue };
            for word in words {
                match &word.kind {
                    ExprKind::Name(name) if name == "contract" => allow.contract = true,
                    ExprKind::Name(name) if name == "reassoc" => allow.reassoc = true,
                    ExprKind::Name(name) if name == "online" => allow.online = true,
                    ExprKind::Name(name) if name == "atomics" => allow.atomics = true,
                    _ => {}
                }
            }
        }
    }
    allow
}

/// Values of the tunables: those that are used without a search.
///
/// # Panics
/// If the space is empty at no sizes at all.
#[must_use]
pub fn assignment(entry: Entry, target: &CpuTarget) -> Assignment {
    space(entry, target).and_then(|space| space.default(None)).unwrap_or_default()
}

/// The space of the tunables, whatever the sizes; `None` where it depends on them.
#[must_use]
pub fn space(entry: Entry, target: &CpuTarget) -> Option<Space> {
    let (tunes, _) = tune::build(&entry.subject.ast, &entry.subject.file);
    let tune = tune::for_target(&tunes, entry.name(), "cpu");
    let env = Env { hw: tune::cpu_keys(target), ..Env::default() };
    Space::new(&tune, &[env]).ok()
}

/// The file's schedule of the entry for the CPU, if it has one. The errors of its verbs are an `Err`.
#[must_use]
pub fn written(entry: Entry, target: &CpuTarget) -> Option<Result<Choice, String>> {
    let items = entry.subject.ast.items.iter();
    let schedule = items
        .filter_map(|item| match &item.kind {
            ItemKind::Schedule(s) if s.name.name == entry.name() && s.target.name == "cpu" => Some(s),
            _ => None,
        })
        .find(|s| s.when.is_none())?;
    let assignment = assignment(entry, target);
    let scope = Scope::new(&entry.subject.file, entry.id, assignment.keys().map(String::as_str));
    let (plan, diagnostics) = parse::parse(schedule, &scope);
    if diag::has_errors(&diagnostics) {
        return Some(Err(shown(&diagnostics)));
    }
    Some(Ok(Choice::Planned { plan, assignment, allow: allowed(entry) }))
}

/// Lowers and verifies.
///
/// # Errors
/// Diagnostics of lowering, or the rules that the nest breaks, in words. Refusals (the schedule or the target forbids
/// it) begin with `refused`.
pub fn lowered(entry: Entry, choice: &Choice, target: &CpuTarget) -> Result<VerifiedModule, String> {
    let module = lower(&entry.subject.file, entry.id, choice, target)
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
    let mut written = func.tensors.iter().filter(|(_, t)| t.role != rooftile_compiler::hir::ir::Role::In);
    let appends = |body| {
        let mut found = false;
        rooftile_compiler::hir::walk::for_each_stmt(body, &mut |stmt| {
            found |= matches!(stmt.kind, StmtKind::Append { .. });
        });
        found
    };
    let kernels = entry.subject.file.kernels_of(entry.id);
    written.all(|(_, t)| t.dtype.is_float() || t.dtype.is_complex())
        && !kernels.iter().any(|&k| appends(&entry.subject.file.funcs[k].body))
}

fn shown(diagnostics: &[diag::Diagnostic]) -> String {
    let lines: Vec<String> =
        diagnostics.iter().map(|d| format!("{} {} {}", d.code, d.message, d.notes.join("; "))).collect();
    lines.join("\n")
}

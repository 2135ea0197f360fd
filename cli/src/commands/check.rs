//! `rooftile check`: everything that can be said of a file without running it on a device.

use std::path::Path;

use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{CpuTarget, GpuTarget, Target};
use rooftile_compiler::diag::{self, Diagnostic};
use rooftile_compiler::driver::{self, Checked};
use rooftile_compiler::oracle::deep;
use rooftile_compiler::schedule::{self, Allow, Choice};
use rooftile_compiler::{task, tune};
use serde_json::Value;

use crate::args::{CheckArgs, MessageFormat};
use crate::engine::Subject;
use crate::failure::{Failure, Outcome};
use crate::{judge, output};

/// Checks files.
///
/// # Errors
/// [`Failure::Reported`] when one has errors; [`Failure::Input`] when one cannot be read.
pub fn run(args: &CheckArgs) -> Outcome {
    let mut good = true;
    let mut documents = Vec::new();
    for path in &args.files {
        let source = output::read_source(path)?;
        let diagnostics = diagnose(path, &source, args.deep);
        good &= !diag::has_errors(&diagnostics);
        match args.message_format {
            MessageFormat::Human => crate::engine::show(path, &source, &diagnostics),
            MessageFormat::Json => documents.extend(as_list(path, &source, &diagnostics)),
        }
    }
    if args.message_format == MessageFormat::Json {
        output::print_json(&Value::Array(documents))?;
    }
    if good { Ok(()) } else { Err(Failure::Reported) }
}

fn as_list(path: &Path, source: &str, diagnostics: &[Diagnostic]) -> Vec<Value> {
    match diag::to_json(diagnostics, &path.display().to_string(), source) {
        Value::Array(list) => list,
        other => vec![other],
    }
}

/// All diagnostics of a file: those of the driver, of its schedules, of folds at a tiny size and, if asked, of the
/// obligations.
#[must_use]
pub fn diagnose(path: &Path, source: &str, deep: bool) -> Vec<Diagnostic> {
    let checked = driver::check(source);
    let mut diagnostics = checked.diagnostics.clone();
    if checked.has_errors() {
        return diagnostics;
    }
    diagnostics.extend(deep::quick(&checked.hir));
    diagnostics.extend(schedules(&checked));
    if deep && !diag::has_errors(&diagnostics) {
        diagnostics.extend(obligations(path, &checked));
    }
    diagnostics.sort_by_key(|d| (d.primary.span, d.code));
    diagnostics.dedup();
    diagnostics
}

/// Targets whose code can be made. Blocks that are few wide vectors are too much code of narrow ones, so a processor with the
/// widest is asked first, and what any target of a kind takes is good.
fn targets() -> [Target; 3] {
    let features =
        CpuFeatures { avx: true, avx2: true, fma: true, f16c: true, avx512: true, ..CpuFeatures::default() };
    let plain = CpuTarget::default();
    let widest = CpuTarget { features, vector_bytes: 64, ..plain.clone() };
    [widest.into(), plain.into(), GpuTarget::default().into()]
}

/// Lowers every schedule that is written for a target whose code can be made.
fn schedules(checked: &Checked) -> Vec<Diagnostic> {
    let targets = targets();
    let mut out = Vec::new();
    for written in &checked.schedules {
        let Some(entry) = checked.hir.entry(&written.name) else { continue };
        let allow = checked.task(entry).map_or_else(Allow::default, |t| Allow::from(&t.allow));
        let sizes: Vec<_> = checked
            .task(entry)
            .map_or_else(Vec::new, |t| t.search.iter().map(|s| s.values.clone()).collect());
        let refused = |target: &Target| {
            let space = checked.space(entry, target.name(), &tune::keys(target), &sizes);
            let assignment = space.ok().and_then(|s| s.default(None)).unwrap_or_default();
            let choice = Choice::Planned { plan: written.plan.clone(), assignment, allow };
            schedule::lower(&checked.hir, entry, &choice, target).err()
        };
        let of_kind = targets.iter().filter(|t| t.name() == written.target);
        let all: Option<Vec<_>> = of_kind.map(refused).collect();
        if let Some(mut diagnostics) = all.and_then(|all| all.into_iter().next()) {
            for d in &mut diagnostics {
                // A verb has no place of its own in a plan; the schedule has.
                if d.primary.span == diag::Span::default() {
                    d.primary.span = written.span;
                }
                // What a target lacks is an error only where that target is asked for; the device at hand may have it.
                if d.code == diag::Code::Unsupported {
                    d.severity = diag::Severity::Warning;
                }
            }
            out.extend(diagnostics);
        }
    }
    out
}

/// What `--deep` adds: tile-size invariance, races, agreement with the reference, null models.
fn obligations(path: &Path, checked: &Checked) -> Vec<Diagnostic> {
    const SEED: u64 = 1;
    const CASES: u64 = 3;
    const LARGEST: i64 = 6;
    let mut out = Vec::new();
    for name in checked.entries() {
        let Some(entry) = checked.hir.entry(name) else { continue };
        let task = checked.task(entry);
        let cases = task::small_cases(&checked.hir, task, entry, SEED..SEED + CASES, LARGEST);
        out.extend(deep::check_invariance(&checked.hir, entry, &cases, SEED));
        out.extend(deep::check_agreement(&checked.hir, entry, &cases));
    }
    for task in &checked.tasks {
        let subject = Subject { path: path.to_owned(), checked: checked.clone(), entry: task.entry };
        match judge::null_models(&subject) {
            Ok(more) => out.extend(more),
            Err(failure) => {
                out.push(Diagnostic::error(diag::Code::BadTask, task.span, failure.to_string()));
            }
        }
    }
    out
}

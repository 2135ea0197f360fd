//! From a source text to everything that the later stages start from.

use std::collections::BTreeMap;

use rooftile_artifact::CpuTarget;

use crate::diag::Span;
use crate::diag::{Code, Diagnostic, Severity, has_errors, suggest};
use crate::hir as hir_stage;
use crate::hir::ir::{self as hir, FuncId, FuncKind};
use crate::schedule::parse::{Scope, parse as parse_schedule};
use crate::schedule::plan::{Amount, Assignment, Plan, Verb};
use crate::schedule::print::plan_to_ast;
use crate::syntax::{ast, edit, parse, print};
use crate::task::{self, Sizes, Task};
use crate::tune::solve::{Dropped, Space, SpaceError};
use crate::tune::{self, Env, Tune, TuneExpr};

/// A file that was read and judged, errors and all.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The text.
    pub source: String,
    /// The file as written.
    pub ast: ast::File,
    /// The typed tile program.
    pub hir: hir::File,
    /// `tune` blocks.
    pub tunes: Vec<Tune>,
    /// Schedules, in order of writing.
    pub schedules: Vec<Scheduled>,
    /// Tasks, in order of writing.
    pub tasks: Vec<Task>,
    /// All that is to be said about the text, by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// A schedule as a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// The kernel or pipeline.
    pub name: String,
    /// The target.
    pub target: String,
    /// Sizes that it is for.
    pub when: Option<TuneExpr>,
    /// What it does.
    pub plan: Plan,
    /// Where it is written.
    pub span: Span,
}

/// Why a file does not say what to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No kernel or pipeline of that name.
    #[error("no kernel or pipeline `{name}`; there are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// Several could be meant.
    #[error("name one of {0}")]
    Ambiguous(String),
    /// The file has no kernel.
    #[error("the file has no kernel")]
    Nothing,
    /// A size that nothing binds.
    #[error("no value for the size `{0}`; give it with --size {0}=..")]
    MissingSize(String),
    /// A size that does not exist.
    #[error("`{entry}` has no size `{name}`; there are {known}")]
    UnknownSize {
        /// The kernel or pipeline.
        entry: String,
        /// The name given.
        name: String,
        /// Names that exist.
        known: String,
    },
}

/// Reads and judges a text.
#[must_use]
pub fn check(source: &str) -> Checked {
    let (ast, mut diagnostics) = parse(source);
    let (hir, more) = hir_stage::check(&ast);
    diagnostics.extend(more);
    let sound = !has_errors(&diagnostics);
    let (tunes, more) = tune::build(&ast, &hir);
    diagnostics.extend(more);
    let (schedules, more) = schedules(&ast, &hir, sound);
    diagnostics.extend(more);
    let (tasks, more) = task::build(&ast, &hir);
    diagnostics.extend(more);
    let mut checked = Checked { source: source.to_owned(), ast, hir, tunes, schedules, tasks, diagnostics };
    if sound {
        let more = checked.spaces();
        checked.diagnostics.extend(more);
        // What the rules cannot prove of a `fold` is tried at tiny sizes.
        checked.diagnostics.extend(crate::oracle::deep::quick(&checked.hir));
    }
    checked.diagnostics.sort_by_key(|d| (d.primary.span, d.code));
    checked.diagnostics.dedup();
    checked
}

/// Every schedule of the file. Where the algorithm has errors its names are not all known, so anchors pass.
fn schedules(file: &ast::File, checked: &hir::File, sound: bool) -> (Vec<Scheduled>, Vec<Diagnostic>) {
    let (mut out, mut diagnostics) = (Vec::<Scheduled>::new(), Vec::new());
    for item in &file.items {
        let ast::ItemKind::Schedule(schedule) = &item.kind else { continue };
        if !tune::has_entry(file, &schedule.name.name) {
            diagnostics.push(tune::unknown_entry(file, &schedule.name));
            continue;
        }
        diagnostics.extend(tune::unknown_target(&schedule.target));
        let entry = checked.entry(&schedule.name.name).filter(|_| sound);
        let scope = match entry {
            Some(entry) => Scope::new(checked, entry, tunables(file, &schedule.name.name)),
            None => Scope::open(),
        };
        let (plan, more) = parse_schedule(schedule, &scope);
        diagnostics.extend(more);
        let when = match schedule.when.as_ref().map(|e| TuneExpr::from_ast(e, Code::VerbArguments)) {
            None => None,
            Some(Ok(when)) => {
                let span = schedule.when.as_ref().map_or(item.span, |e| e.span);
                if let Some(entry) = entry {
                    let known = tune::size_names(&checked.funcs[entry]);
                    tune::unknown_names(&when, span, &known, &mut diagnostics);
                }
                tune::unknown_keys(&when, span, &mut diagnostics);
                if when.kind() != Ok(tune::expr::Kind::Bool) {
                    let message = format!("`{when}` is a number; `when` takes a condition");
                    diagnostics.push(Diagnostic::error(Code::VerbArguments, span, message));
                }
                Some(when)
            }
            Some(Err(d)) => {
                diagnostics.push(*d);
                continue;
            }
        };
        let (name, target) = (schedule.name.name.clone(), schedule.target.name.clone());
        if let Some(other) = out.iter().find(|s| s.name == name && s.target == target && s.when == when) {
            let message = format!("`{name}` has two schedules for {target} and the same sizes");
            diagnostics.push(
                Diagnostic::error(Code::Duplicate, schedule.name.span, message)
                    .cause(other.span, "the first"),
            );
        }
        out.push(Scheduled { name, target, when, plan, span: item.span });
    }
    (out, diagnostics)
}

/// Names that the `tune`s of a kernel declare, for whatever target.
fn tunables<'a>(file: &'a ast::File, name: &'a str) -> impl Iterator<Item = &'a str> {
    let items = file.items.iter().filter_map(move |i| match &i.kind {
        ast::ItemKind::Tune(t) if t.name.name == name => Some(&t.items),
        _ => None,
    });
    items.flatten().filter_map(|i| match i {
        ast::TuneItem::Var { name, .. } => Some(name.name.as_str()),
        ast::TuneItem::Require(_) => None,
    })
}

impl Checked {
    /// Whether the text is refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// Names of the kernels and pipelines, in order of writing.
    #[must_use]
    pub fn entries(&self) -> Vec<&str> {
        let funcs = self.hir.funcs.iter().filter(|(_, f)| f.kind != FuncKind::Reference);
        funcs.map(|(_, f)| f.name.as_str()).collect()
    }

    /// The kernel or pipeline of that name; without a name the one that the file's only task names, else the file's
    /// only kernel.
    ///
    /// # Errors
    /// [`EntryError`] when there is none, or several could be meant.
    pub fn entry(&self, name: Option<&str>) -> Result<FuncId, EntryError> {
        let list = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let all = self.entries();
        let find = |name: &str| {
            let unknown = || EntryError::Unknown { name: name.to_owned(), known: list(&all) };
            self.hir.entry(name).ok_or_else(unknown)
        };
        if let Some(name) = name {
            return find(name);
        }
        let tasks: Vec<&str> = self.tasks.iter().map(|t| t.name.as_str()).collect();
        match (tasks.as_slice(), all.as_slice()) {
            (_, []) => Err(EntryError::Nothing),
            ([name], _) | ([], [name]) => find(name),
            ([], names) => {
                // The only pipeline is meant rather than its kernels.
                let pipelines: Vec<&str> = self
                    .hir
                    .funcs
                    .iter()
                    .filter(|(_, f)| f.kind == FuncKind::Pipeline)
                    .map(|(_, f)| f.name.as_str())
                    .collect();
                match pipelines.as_slice() {
                    [name] => find(name),
                    _ => Err(EntryError::Ambiguous(list(names))),
                }
            }
            (names, _) => Err(EntryError::Ambiguous(list(names))),
        }
    }

    /// The task of a kernel or pipeline.
    #[must_use]
    pub fn task(&self, entry: FuncId) -> Option<&Task> {
        self.tasks.iter().find(|t| t.entry == entry)
    }

    /// Values of the sizes and integer parameters of an entry: those given, then those of the task's first search set.
    /// Sizes that the task's data bind are left out unless given.
    ///
    /// # Errors
    /// [`EntryError`] that names a size without a value, or one that does not exist.
    pub fn resolve_sizes(&self, entry: FuncId, given: &BTreeMap<String, i64>) -> Result<Sizes, EntryError> {
        let func = &self.hir.funcs[entry];
        let known = tune::size_names(func);
        if let Some(name) = given.keys().find(|n| !known.contains(&n.as_str())) {
            let near = suggest(name, known.iter().copied()).map(|n| format!(" (did you mean `{n}`?)"));
            return Err(EntryError::UnknownSize {
                entry: func.name.clone(),
                name: name.clone(),
                known: known.join(", ") + &near.unwrap_or_default(),
            });
        }
        let task = self.task(entry);
        let mut sizes = task.and_then(|t| t.search.first()).map(|s| s.values.clone()).unwrap_or_default();
        sizes.extend(given.iter().map(|(n, v)| (n.clone(), *v)));
        let init = task.map_or(&[][..], |t| &t.init);
        match task::required_sizes(func, init).into_iter().find(|n| !sizes.contains_key(n)) {
            Some(missing) => Err(EntryError::MissingSize(missing)),
            None => Ok(sizes),
        }
    }

    /// The tunables of an entry on a target.
    #[must_use]
    pub fn tune(&self, entry: FuncId, target: &str) -> Tune {
        tune::for_target(&self.tunes, &self.hir.funcs[entry].name, target)
    }

    /// The points of an entry's tunables on a target, feasible at all of the given sizes; `hw` as of
    /// [`tune::cpu_keys`].
    ///
    /// # Errors
    /// [`SpaceError`] when a domain or constraint cannot be evaluated.
    pub fn space(
        &self,
        entry: FuncId,
        target: &str,
        hw: &BTreeMap<String, i64>,
        sizes: &[Sizes],
    ) -> Result<Space, SpaceError> {
        let envs: Vec<Env> = sizes.iter().map(|s| Env { names: s.clone(), hw: hw.clone() }).collect();
        let envs = if envs.is_empty() { vec![Env { hw: hw.clone(), ..Env::default() }] } else { envs };
        Space::new(&self.tune(entry, target), &envs)
    }

    /// The written schedule of an entry for a target and sizes: the first whose `when` holds, else one without `when`.
    #[must_use]
    pub fn schedule(&self, entry: FuncId, target: &str, sizes: &Sizes) -> Option<&Scheduled> {
        let name = &self.hir.funcs[entry].name;
        let own = || self.schedules.iter().filter(|s| s.name == *name && s.target == target);
        let env = Env { names: sizes.clone(), ..Env::default() };
        let holds = |s: &&Scheduled| s.when.as_ref().is_some_and(|w| w.eval(&env).is_ok_and(|v| v != 0));
        own().find(holds).or_else(|| own().find(|s| s.when.is_none()))
    }

    /// The hash of what is frozen with an entry's task, see [`task::frozen`].
    #[must_use]
    pub fn task_hash(&self, entry: FuncId) -> [u8; 32] {
        task::frozen::hash(&self.ast, &self.hir.funcs[entry].name)
    }

    /// The text with a search's result written in: the plan in place of the entry's schedule for the target (and `when`, if
    /// given), and the assignment as values of its tunables. Names of the assignment that no `tune` declares get a
    /// domain of that one value. Comments stay.
    #[must_use]
    pub fn with_winner(
        &self,
        entry: FuncId,
        target: &str,
        when: Option<ast::Expr>,
        plan: &Plan,
        assignment: &Assignment,
    ) -> String {
        let name = &self.hir.funcs[entry].name;
        let mut file = self.ast.clone();
        edit::replace_schedule(&mut file, plan_to_ast(plan, name, target, when));
        let mut free = Vec::new();
        for (tunable, &value) in assignment {
            if !edit::set_tune_value(&mut file, name, Some(target), tunable, value) {
                let domain = ast::TuneDomain::Set(vec![edit::int(value)]);
                let ident = ast::Ident { name: tunable.clone(), span: Span::default() };
                free.push(ast::TuneItem::Var { name: ident, domain, value: Some(edit::int(value)) });
            }
        }
        if !free.is_empty() {
            declare(&mut file, name, target, free);
        }
        print(&file, &self.source)
    }

    /// Empty spaces at the task's sizes, and constraints that the CPU drops.
    fn spaces(&self) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        let hw = tune::cpu_keys(&CpuTarget::default());
        let mut seen: Vec<&str> = Vec::new();
        for tune in &self.tunes {
            let Some(entry) = self.hir.entry(&tune.name) else { continue };
            if seen.contains(&tune.name.as_str()) || !matches!(tune.target.as_deref(), None | Some("cpu")) {
                continue;
            }
            seen.push(&tune.name);
            let sizes: Vec<Sizes> =
                self.task(entry).map_or(vec![], |t| t.search.iter().map(|s| s.values.clone()).collect());
            match self.space(entry, "cpu", &hw, &sizes) {
                Ok(space) => {
                    out.extend(space.conflict().map(|c| c.diagnostic()));
                    out.extend(space.dropped().iter().map(dropped));
                }
                // Without a task, or before the data are made, not every size has a value.
                Err(SpaceError::Missing { .. }) => {}
                Err(SpaceError::Domain { .. }) if sizes.is_empty() => {}
                Err(error @ SpaceError::Domain { span, .. }) => {
                    out.push(Diagnostic::error(Code::BadTune, span, error.to_string()));
                }
            }
        }
        out
    }
}

fn dropped(d: &Dropped) -> Diagnostic {
    let message = format!("`{}` does not apply on cpu, which has no `hw.{}`", d.text, d.key);
    Diagnostic { severity: Severity::Note, ..Diagnostic::error(Code::BadTune, d.span, message) }
}

/// Adds tunables to the `tune` of a kernel for a target, which is made before its first schedule if there is none.
fn declare(file: &mut ast::File, name: &str, target: &str, items: Vec<ast::TuneItem>) {
    for item in &mut file.items {
        if let ast::ItemKind::Tune(tune) = &mut item.kind
            && tune.name.name == name
            && tune.target.as_ref().is_some_and(|t| t.name == target)
        {
            tune.items.extend(items);
            return;
        }
    }
    let ident = |name: &str| ast::Ident { name: name.to_owned(), span: Span::default() };
    let tune = ast::Tune { name: ident(name), target: Some(ident(target)), items };
    let schedule = |item: &ast::Item| match &item.kind {
        ast::ItemKind::Schedule(s) => s.name.name == name,
        _ => false,
    };
    let at = file.items.iter().position(schedule).unwrap_or(file.items.len());
    file.items.insert(at, ast::Item { kind: ast::ItemKind::Tune(tune), span: Span::default() });
}

/// The plan with every tunable that the assignment knows replaced by its value: for schedules that apply only `when` sizes are
/// such, which cannot share the tunables' values.
#[must_use]
pub fn with_values(plan: &Plan, assignment: &Assignment) -> Plan {
    let fix = |a: &mut Amount| {
        if let Some(v) = a.value(assignment) {
            *a = Amount::Int(v);
        }
    };
    let mut plan = plan.clone();
    for verb in &mut plan.verbs {
        match verb {
            Verb::Tile { sizes, .. } => sizes.iter_mut().for_each(fix),
            Verb::Vector { lanes: a, .. }
            | Verb::Split { parts: a, .. }
            | Verb::Math { ulp: a, .. }
            | Verb::TimeTile { steps: a, .. }
            | Verb::Prefetch { passes: a, .. }
            | Verb::Warps(a) => fix(a),
            Verb::Unroll { count: a, .. }
            | Verb::Thread { count: a, .. }
            | Verb::Grid { group: a, .. }
            | Verb::Stage { panel: a, .. }
            | Verb::Prepack { panel: a, .. }
            | Verb::Scan { items: a, .. }
            | Verb::Scatter { copies: a, .. } => a.iter_mut().for_each(fix),
            Verb::Roll { tile, passes, .. } => {
                fix(tile);
                passes.iter_mut().for_each(fix);
            }
            _ => {}
        }
    }
    plan
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;

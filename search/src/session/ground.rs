//! What is searched: a checked file with its task, the seeds that a search starts from, and the file that it ends with.

use rooftile_artifact::Target;
use rooftile_compiler::diag::Span;
use rooftile_compiler::driver::{Checked, Scheduled, check};
use rooftile_compiler::hir::ir::FuncId;
use rooftile_compiler::schedule::anchors::anchors as plausible;
use rooftile_compiler::schedule::plan::{Assignment, Plan};
use rooftile_compiler::schedule::{Allow, default_plan};
use rooftile_compiler::syntax::ast::{BinaryOp, Expr, ExprKind, ItemKind};
use rooftile_compiler::syntax::edit;
use rooftile_compiler::task::{Task, sealed};
use rooftile_compiler::tune::keys;
use rooftile_compiler::tune::solve::Space;

use super::SearchError;
use crate::bench::Sizes;
use crate::candidate::{Allowed, Base, Class, Proposal, Recipe};
use crate::finale::Condition;
use crate::mutate::anchors::Anchors;
use crate::mutate::space::TuneSpace;
use crate::mutate::{Mutator, normalise};
use crate::report::RunReport;
use crate::rng::Rng;
use crate::run::{Job, Limits};
use crate::spell::spelled_out;
use crate::store::Header;
use crate::strategy::StrategyKind;

/// Sealed sizes that are drawn where a task writes none.
const SEALED: usize = 2;
/// A fitness beyond which there is nothing left to gain.
const ROOF: f64 = 0.97;

/// A checked file with the task that is searched.
pub(super) struct Ground {
    checked: Checked,
    entry: FuncId,
    /// Its sizes and tolerances.
    pub(super) task: Task,
    target: Target,
}

impl Ground {
    pub(super) fn new(text: &str, entry: Option<&str>, target: &Target) -> Result<Ground, SearchError> {
        let checked = check(text);
        if checked.has_errors() {
            return Err(SearchError::File(Box::new(checked)));
        }
        let entry = checked.entry(entry)?;
        let name = checked.hir.funcs[entry].name.clone();
        match checked.task(entry).cloned() {
            Some(task) if !task.search.is_empty() => {
                Ok(Ground { checked, entry, task, target: target.clone() })
            }
            _ => Err(SearchError::NoTask(name)),
        }
    }

    pub(super) fn hash(&self) -> String {
        blake3::Hash::from(self.checked.task_hash(self.entry)).to_hex().to_string()
    }

    fn sets(sets: &[rooftile_compiler::task::SizeSet]) -> Vec<Sizes> {
        sets.iter().map(|s| s.values.clone()).collect()
    }

    fn space(&self) -> Result<Space, SearchError> {
        let sizes = Ground::sets(&self.task.search);
        self.checked
            .space(self.entry, self.target.name(), &keys(&self.target), &sizes)
            .map_err(|e| SearchError::Space(e.to_string()))
    }

    /// The values used without a search.
    fn assignment(&self) -> Assignment {
        self.space().ok().and_then(|s| s.default(None)).unwrap_or_default()
    }

    /// The file's schedule, a warm start, the compiler's choice and plain loops; the first that is right is what a
    /// winner may not lose to.
    pub(super) fn seeds(&self, from: Option<&str>) -> Vec<(String, Proposal)> {
        let assignment = self.assignment();
        let mut seeds = Vec::new();
        let mut add = |name: &str, base: Base, plan: Plan, assignment: &Assignment| {
            let recipe = Recipe { base, plan, assignment: assignment.clone(), ..Recipe::default() };
            let operator = name.to_owned();
            seeds
                .push((name.to_owned(), Proposal { recipe, parents: Vec::new(), operator, class: Class::X }));
        };
        let first = self.task.search.first().map(|s| s.values.clone()).unwrap_or_default();
        let own = self.checked.schedule(self.entry, self.target.name(), &first);
        if let Some(written) = own {
            add("file", Base::Planned, written.plan.clone(), &assignment);
        }
        // Written out the default comes first: it is what moves start from, and what a file can hold. Where its loops
        // are those of the default itself (those of a pipeline may differ), that is not tried again.
        let allow = Allow::from(&self.task.allow);
        if let Some(mut plan) = default_plan(&self.checked.hir, self.entry, allow, &self.target) {
            normalise(&mut plan);
            add("default_plan", Base::Planned, plan, &assignment);
        }
        add("default", Base::Default, Plan::default(), &assignment);
        add("naive", Base::Naive, Plan::default(), &assignment);
        // What the file says of other sizes.
        let here = |s: &&Scheduled| s.name == self.task.name && s.target == self.target.name();
        for other in self.checked.schedules.iter().filter(here) {
            if own.is_none_or(|own| own.when != other.when) {
                add("file", Base::Planned, other.plan.clone(), &assignment);
            }
        }
        if let Some(other) = from.and_then(|text| Ground::new(text, Some(&self.task.name), &self.target).ok())
            && let Some(written) = other.checked.schedule(other.entry, self.target.name(), &first)
        {
            add("from", Base::Planned, written.plan.clone(), &other.assignment());
        }
        seeds
    }

    pub(super) fn job(&self, header: &Header) -> Result<Job, SearchError> {
        let allow = &self.task.allow;
        let allowed = Allowed { reassoc: allow.reassoc, online: allow.online, atomics: allow.atomics };
        let anchors = Anchors::of(&self.checked.hir, self.entry);
        let (file, task) = (self.checked.hir.clone(), self.task.clone());
        let written = Ground::sets(&self.task.sealed);
        Ok(Job {
            file: header.file.clone(),
            task: header.entry.clone(),
            device: header.device.clone(),
            threads: header.threads,
            seed: header.seed,
            strategy: header.strategy.parse::<StrategyKind>()?,
            limits: Limits {
                seconds: header.budget_s,
                evaluations: header.evals,
                // Nominal roofs say nothing about what is left to gain.
                fraction: header.profile.as_ref().map(|_| ROOF),
            },
            mutator: Mutator::new(anchors, Box::new(Solved(self.space()?)), allowed)
                .with_plausible(plausible(&self.checked.hir, self.entry).on(&self.target)),
            seeds: header.seeds.clone(),
            search: Ground::sets(&self.task.search),
            heldout: Ground::sets(&self.task.heldout),
            sealed: Box::new(move |rng| {
                if written.is_empty() {
                    Ground::sets(&sealed::draw(&file, &task, SEALED, rng.bits()))
                } else {
                    written.clone()
                }
            }),
            spell: {
                let (file, entry, target) = (self.checked.hir.clone(), self.entry, self.target.clone());
                let allow = Allow::from(allow);
                Box::new(move |recipe| spelled_out(&file, entry, recipe, allow, &target))
            },
            profile: header.profile.clone(),
        })
    }

    /// The file with the winner written in, and with it those that are better on one side of a size. The schedules that
    /// lost to them go; where the compiler's own choice won, no schedule takes their place.
    pub(super) fn winner(&self, report: &RunReport) -> Option<String> {
        let recipe = report.recipe.as_ref()?;
        let mut text = self.without_schedules(recipe.base == Base::Planned);
        let mut write = |when: Option<Expr>, recipe: &Recipe| {
            let file = check(&text);
            let entry = file.hir.entry(&self.task.name)?;
            text = file.with_winner(entry, self.target.name(), when, &recipe.plan, &recipe.assignment);
            Some(())
        };
        if recipe.base == Base::Planned {
            write(None, recipe)?;
        }
        for variant in &report.variants {
            write(Some(condition(&variant.when)), &variant.recipe)?;
        }
        Some(text)
    }

    /// The file without the task's schedules for this device; `keep` says whether the one without a condition stays.
    fn without_schedules(&self, keep: bool) -> String {
        let mut text = self.checked.source.clone();
        for item in self.checked.ast.items.iter().rev() {
            if let ItemKind::Schedule(schedule) = &item.kind
                && schedule.name.name == self.task.name
                && schedule.target.name == self.target.name()
                && !(keep && schedule.when.is_none())
            {
                let (start, end) = (item.span.start as usize, item.span.end as usize);
                let end = end + usize::from(text[end..].starts_with('\n'));
                text.replace_range(start..end, "");
            }
        }
        text
    }
}

/// A condition as a file writes it.
fn condition(when: &Condition) -> Expr {
    let op = if when.from { BinaryOp::Ge } else { BinaryOp::Lt };
    let (size, than) = (Box::new(edit::name(&when.size)), Box::new(edit::int(when.than)));
    Expr { kind: ExprKind::Binary(op, size, than), span: Span::default() }
}

/// The solver's space, as moves see it.
struct Solved(Space);

impl TuneSpace for Solved {
    fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }

    fn values(&self, name: &str) -> Vec<i64> {
        self.0.values(name).map(<[i64]>::to_vec).unwrap_or_default()
    }

    fn sample(&self, rng: &mut Rng) -> Option<Assignment> {
        self.0.sample(rng.inner())
    }

    fn repair(&self, point: &Assignment, rng: &mut Rng) -> Option<Assignment> {
        self.0.repair(point, rng.inner())
    }

    fn neighbours(&self, point: &Assignment) -> Vec<Assignment> {
        self.0.neighbours(point)
    }

    fn enumerate(&self, limit: usize) -> Option<Vec<Assignment>> {
        let mut points = self.0.enumerate()?;
        let first: Vec<Assignment> = points.by_ref().take(limit).collect();
        points.next().is_none().then_some(first)
    }
}

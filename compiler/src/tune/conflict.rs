//! Why a space is empty: a minimal set of constraints that no point satisfies, and the ends of domains that matter.

use std::collections::BTreeMap;

use crate::diag::{Code, Diagnostic, Span};

use super::expr::TuneExpr;
use super::interval::Known;
use super::solve::{Constraint, ENUMERATED, Space, Var};

/// Steps of a search that looks for a point of a space too large to enumerate.
const STEPS: usize = 2_000_000;

/// Constraints that no point satisfies together; without any one of them there are points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The kernel or pipeline.
    pub name: String,
    /// Points of the domains.
    pub total: u128,
    /// The constraints, as text with their places.
    pub requires: Vec<(String, Span)>,
    /// What of the domains matters: `w in {1}`, `bm >= 128`.
    pub domains: Vec<String>,
    /// Values of sizes and `hw` keys in the constraints, `K = 64`; several values where the sizes differ.
    pub facts: Vec<String>,
    /// The `tune`.
    pub span: Span,
}

impl Conflict {
    /// As a diagnostic.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let mut parts = self.requires.iter().map(|(text, _)| format!("`{text}`"));
        let first = parts.next().unwrap_or_default();
        let with: Vec<String> = self.domains.iter().cloned().chain(parts).collect();
        let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(", ")) };
        let message = format!("`tune {}` has 0 of {} points: {first}{with}", self.name, self.total);
        let primary = self.requires.first().map_or(self.span, |(_, span)| *span);
        let mut d = Diagnostic::error(Code::EmptySpace, primary, message);
        for (_, span) in self.requires.iter().skip(1) {
            d = d.cause(*span, "conflicts with this");
        }
        if !self.facts.is_empty() {
            d = d.note(self.facts.join(", "));
        }
        d
    }
}

pub(super) fn find(space: &Space) -> Option<Conflict> {
    let all: Vec<usize> = (0..space.requires.len()).collect();
    if !empty(space, &all) {
        return None;
    }
    // Deletion: what the space stays empty without does not belong to the conflict. Later constraints go first, so that
    // the one written first is named first.
    let mut core = all;
    for n in (0..core.len()).rev() {
        let without: Vec<usize> = core.iter().copied().filter(|&r| r != core[n]).collect();
        if empty(space, &without) {
            core = without;
        }
    }
    let requires = core.iter().map(|&r| (space.requires[r].0.to_string(), space.requires[r].1)).collect();
    Some(Conflict {
        name: space.name.clone(),
        total: space.total(),
        requires,
        domains: domains(space, &core),
        facts: facts(space, &core),
        span: space.span,
    })
}

/// Whether a space has no point under some of its constraints. A large space in which the search gives up counts as not
/// empty.
fn empty(space: &Space, requires: &[usize]) -> bool {
    let constraints: Vec<&Constraint> =
        space.constraints.iter().filter(|c| requires.contains(&c.require)).collect();
    // Only tunables that occur matter.
    let used: Vec<usize> =
        (0..space.vars.len()).filter(|n| constraints.iter().any(|c| c.vars.contains(n))).collect();
    let points = used.iter().fold(1, |n: u128, &v| n.saturating_mul(space.vars[v].all.len() as u128));
    let mut steps = if points < ENUMERATED { usize::MAX } else { STEPS };
    let mut known: Vec<Known> = space.vars.iter().map(|v| Known::of(&v.all)).collect();
    let mut point: Vec<i64> = space.vars.iter().map(|v| v.all[0]).collect();
    !visit(&space.vars, &constraints, &used, &mut known, &mut point, &mut steps)
}

fn visit(
    vars: &[Var],
    constraints: &[&Constraint],
    order: &[usize],
    known: &mut [Known],
    point: &mut [i64],
    steps: &mut usize,
) -> bool {
    if constraints.iter().any(|c| c.node.known(known).truth() == Some(false)) {
        return false;
    }
    let Some((&n, rest)) = order.split_first() else {
        return constraints.iter().all(|c| c.node.eval(point).is_some_and(|v| v != 0));
    };
    let hull = known[n];
    for &v in &vars[n].all {
        *steps -= 1;
        if *steps == 0 {
            return true;
        }
        point[n] = v;
        known[n] = Known::exactly(v);
        if visit(vars, constraints, rest, known, point, steps) {
            return true;
        }
    }
    known[n] = hull;
    false
}

/// The part of each domain that the conflict needs, found by letting go of one end at a time as long as intervals
/// still prove it.
fn domains(space: &Space, core: &[usize]) -> Vec<String> {
    let constraints: Vec<&Constraint> =
        space.constraints.iter().filter(|c| core.contains(&c.require)).collect();
    let proven = |known: &[Known]| constraints.iter().any(|c| c.node.known(known).truth() == Some(false));
    let mut known: Vec<Known> = space.vars.iter().map(|v| Known::of(&v.all)).collect();
    let by_interval = proven(&known);
    let mut out = Vec::new();
    for (n, var) in space.vars.iter().enumerate() {
        if !constraints.iter().any(|c| c.vars.contains(&n)) {
            continue;
        }
        let whole = match var.all.as_slice() {
            [v] => format!("{} in {{{v}}}", var.name),
            _ => format!("{} in {}", var.name, var.domain),
        };
        let (Some(&lo), Some(&hi)) = (var.all.first(), var.all.last()) else { continue };
        if !by_interval {
            out.push(whole);
            continue;
        }
        let hull = known[n];
        let mut holds = |k: Known| {
            known[n] = k;
            proven(&known)
        };
        if holds(Known::ANY) {
            continue;
        }
        if holds(Known::range(lo.into(), Known::FAR)) {
            out.push(if lo == hi { whole } else { format!("{} >= {lo}", var.name) });
        } else if holds(Known::range(-Known::FAR, hi.into())) {
            out.push(if lo == hi { whole } else { format!("{} <= {hi}", var.name) });
        } else {
            known[n] = hull;
            out.push(whole);
        }
    }
    out
}

fn facts(space: &Space, core: &[usize]) -> Vec<String> {
    let mut values: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut add = |name: String, v: Option<&i64>| {
        if let Some(&v) = v {
            let list = values.entry(name).or_default();
            if !list.contains(&v) {
                list.push(v);
            }
        }
    };
    for &r in core {
        let expr: &TuneExpr = &space.requires[r].0;
        let (names, keys) = expr.names();
        for env in &space.envs {
            names.iter().for_each(|n| add((*n).to_owned(), env.names.get(*n)));
            keys.iter().for_each(|k| add(format!("hw.{k}"), env.hw.get(*k)));
        }
    }
    let text = |v: Vec<i64>| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    values.into_iter().map(|(name, v)| format!("{name} = {}", text(v))).collect()
}

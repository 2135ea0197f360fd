//! The points of a `tune`: exact enumeration where few, sampling with repair where many.
//!
//! Constraints first prune the domains: a value goes when a constraint is false for every completion, as intervals and
//! residue classes of the other tunables show. Below [`ENUMERATED`] points of what remains, all are visited once and the feasible ones
//! kept; above, points are found by depth-first search with the same pruning at each step.

use std::sync::OnceLock;

use rand::{Rng, RngExt};

use crate::diag::Span;
use crate::schedule::plan::Assignment;

use super::conflict::{self, Conflict};
use super::expr::{Env, TuneExpr};
use super::interval::{Known, Node};
use super::{Domain, Tune};

/// Spaces whose pruned domains have fewer points than this are enumerated.
pub const ENUMERATED: u128 = 1_000_000;

/// Steps of one depth-first search for a point in a space too large to enumerate.
const STEPS: usize = 20_000;

/// Searches, each in another order, before a point is given up.
const TRIES: usize = 8;

/// A space of assignments for given sizes and a given machine.
#[derive(Clone, Debug)]
pub struct Space {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) vars: Vec<Var>,
    pub(super) constraints: Vec<Constraint>,
    pub(super) requires: Vec<(TuneExpr, Span)>,
    pub(super) envs: Vec<Env>,
    /// Mixed-radix ranks of the feasible points, ascending, once asked for; `None` in a space too large.
    points: OnceLock<Option<Vec<u32>>>,
    dropped: Vec<Dropped>,
}

#[derive(Clone, Debug)]
pub(super) struct Var {
    pub(super) name: String,
    pub(super) domain: Domain,
    /// The whole domain, ascending.
    pub(super) all: Vec<i64>,
    /// What pruning left.
    pub(super) live: Vec<i64>,
    value: Option<i64>,
}

/// A `require` under the sizes of one environment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constraint {
    pub(super) node: Node,
    pub(super) vars: Vec<usize>,
    /// Position among the requires.
    pub(super) require: usize,
}

/// A `require` that does not apply, since it uses a key of `hw` that the target lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The constraint, as text.
    pub text: String,
    /// The key.
    pub key: String,
    /// Where it is written.
    pub span: Span,
}

/// How many points a space has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly this many.
    Exact(u64),
    /// Too many to count: at most this many.
    AtMost(u128),
}

/// Why a space cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A domain has no values, too many, or an end without a value.
    #[error("`{name}`: {reason}")]
    Domain {
        /// The tunable.
        name: String,
        /// What is wrong.
        reason: String,
        /// Where it is declared.
        span: Span,
    },
    /// A constraint mentions a size that was not given.
    #[error("`{name}`, which `{text}` needs, has no value")]
    Missing {
        /// The size.
        name: String,
        /// The constraint.
        text: String,
        /// Where it is written.
        span: Span,
    },
}

impl Space {
    /// The points that satisfy every constraint under every one of `envs`: the sizes that a search runs on, each with the
    /// machine's `hw` keys.
    ///
    /// # Errors
    /// [`SpaceError`] when a domain or constraint cannot be evaluated. A space without points is not an error here; see
    /// [`Space::conflict`].
    pub fn new(tune: &Tune, envs: &[Env]) -> Result<Space, SpaceError> {
        let mut vars = Vec::new();
        for var in &tune.vars {
            let wrong =
                |reason: String| SpaceError::Domain { name: var.name.clone(), reason, span: var.span };
            let mut all = var.domain.values(envs.first().unwrap_or(&Env::default())).map_err(wrong)?;
            for env in envs.iter().skip(1) {
                let other = var.domain.values(env).map_err(wrong)?;
                all.retain(|v| other.binary_search(v).is_ok());
            }
            if all.is_empty() {
                return Err(wrong("no value is in its domain at all of the sizes".to_owned()));
            }
            let (name, domain) = (var.name.clone(), var.domain.clone());
            vars.push(Var { name, domain, live: all.clone(), all, value: var.value });
        }
        let mut space = Space {
            name: tune.name.clone(),
            span: tune.span,
            vars,
            constraints: Vec::new(),
            requires: Vec::new(),
            envs: envs.to_vec(),
            points: OnceLock::new(),
            dropped: Vec::new(),
        };
        let none = [Env::default()];
        let envs = if envs.is_empty() { &none[..] } else { envs };
        for require in &tune.requires {
            let lacks = |key: &&str| envs.iter().any(|env| !env.hw.contains_key(*key));
            if let Some(key) = require.expr.names().1.into_iter().find(lacks) {
                let (text, key) = (require.expr.to_string(), key.to_owned());
                space.dropped.push(Dropped { text, key, span: require.span });
                continue;
            }
            for env in envs {
                let node = space.compile(&require.expr, env).map_err(|name| SpaceError::Missing {
                    name,
                    text: require.expr.to_string(),
                    span: require.span,
                })?;
                let mut vars = Vec::new();
                node.vars(&mut vars);
                let constraint = Constraint { node, vars, require: space.requires.len() };
                if !space.constraints.contains(&constraint) {
                    space.constraints.push(constraint);
                }
            }
            space.requires.push((require.expr.clone(), require.span));
        }
        space.prune();
        Ok(space)
    }

    fn compile(&self, e: &TuneExpr, env: &Env) -> Result<Node, String> {
        Ok(match e {
            TuneExpr::Int(v) => Node::Const(*v),
            TuneExpr::Bool(v) => Node::Const(i64::from(*v)),
            TuneExpr::Hw(key) => Node::Const(*env.hw.get(key).ok_or_else(|| format!("hw.{key}"))?),
            TuneExpr::Name(name) => match self.vars.iter().position(|v| v.name == *name) {
                Some(n) => Node::Var(n),
                None => Node::Const(*env.names.get(name).ok_or_else(|| name.clone())?),
            },
            TuneExpr::Unary(op, e) => Node::Unary(*op, Box::new(self.compile(e, env)?)),
            TuneExpr::Binary(op, a, b) => {
                Node::Binary(*op, Box::new(self.compile(a, env)?), Box::new(self.compile(b, env)?))
            }
            TuneExpr::Call(f, args) => {
                Node::Call(*f, args.iter().map(|a| self.compile(a, env)).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Removes values that no constraint allows, until nothing changes.
    fn prune(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for constraint in &self.constraints {
                let mut known: Vec<Known> = self.vars.iter().map(|v| Known::of(&v.live)).collect();
                for &n in &constraint.vars {
                    let hull = known[n];
                    let live = &mut self.vars[n].live;
                    let before = live.len();
                    live.retain(|&v| {
                        known[n] = Known::exactly(v);
                        constraint.node.known(&known).truth() != Some(false)
                    });
                    known[n] = if live.is_empty() { hull } else { Known::of(live) };
                    changed |= live.len() != before;
                }
            }
            if self.vars.iter().any(|v| v.live.is_empty()) {
                return;
            }
        }
    }

    fn points(&self) -> Option<&[u32]> {
        self.points.get_or_init(|| (self.product() < ENUMERATED).then(|| self.feasible())).as_deref()
    }

    fn product(&self) -> u128 {
        self.vars.iter().fold(1, |n: u128, v| n.saturating_mul(v.live.len() as u128))
    }

    /// Ranks of all feasible points.
    fn feasible(&self) -> Vec<u32> {
        // A constraint is checked as soon as the last of its tunables has a value.
        let mut checks: Vec<Vec<&Node>> = vec![Vec::new(); self.vars.len() + 1];
        for c in &self.constraints {
            checks[c.vars.iter().max().map_or(0, |n| n + 1)].push(&c.node);
        }
        let mut point = vec![0i64; self.vars.len()];
        let mut out = Vec::new();
        if checks[0].iter().all(|node| node.eval(&point).is_some_and(|v| v != 0)) {
            self.visit(0, 0, &mut point, &checks, &mut out);
        }
        out
    }

    fn visit(&self, n: usize, rank: u32, point: &mut [i64], checks: &[Vec<&Node>], out: &mut Vec<u32>) {
        let Some(var) = self.vars.get(n) else {
            out.push(rank);
            return;
        };
        let radix = u32::try_from(var.live.len()).unwrap_or(u32::MAX);
        for (i, &v) in (0u32..).zip(&var.live) {
            point[n] = v;
            if checks[n + 1].iter().all(|node| node.eval(point).is_some_and(|v| v != 0)) {
                self.visit(n + 1, rank * radix + i, point, checks, out);
            }
        }
    }

    /// Positions in the live domains of the point of a rank.
    fn decode(&self, mut rank: u32, out: &mut [usize]) {
        for (slot, var) in out.iter_mut().zip(&self.vars).rev() {
            let radix = u32::try_from(var.live.len()).unwrap_or(u32::MAX);
            *slot = (rank % radix) as usize;
            rank /= radix;
        }
    }

    fn at_rank(&self, rank: u32) -> Assignment {
        let mut positions = vec![0; self.vars.len()];
        self.decode(rank, &mut positions);
        self.vars.iter().zip(positions).map(|(var, i)| (var.name.clone(), var.live[i])).collect()
    }

    fn named(&self, point: &[i64]) -> Assignment {
        self.vars.iter().zip(point).map(|(var, v)| (var.name.clone(), *v)).collect()
    }

    fn holds(&self, point: &[i64]) -> bool {
        self.constraints.iter().all(|c| c.node.eval(point).is_some_and(|v| v != 0))
    }

    /// Names of the tunables, in order of declaration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.vars.iter().map(|v| v.name.as_str())
    }

    /// The values that a tunable can take in some feasible point, as far as pruning knows; ascending.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<&[i64]> {
        self.vars.iter().find(|v| v.name == name).map(|v| v.live.as_slice())
    }

    /// Points of the domains, feasible or not.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.vars.iter().fold(1, |n: u128, v| n.saturating_mul(v.all.len() as u128))
    }

    /// Feasible points.
    #[must_use]
    pub fn count(&self) -> Count {
        match self.points() {
            Some(points) => Count::Exact(points.len() as u64),
            None => Count::AtMost(self.product()),
        }
    }

    /// Constraints that do not apply on this machine.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Whether the assignment gives every tunable a value and satisfies every constraint. Other names in it do not
    /// matter.
    #[must_use]
    pub fn contains(&self, assignment: &Assignment) -> bool {
        let point: Option<Vec<i64>> = self
            .vars
            .iter()
            .map(|v| assignment.get(&v.name).copied().filter(|x| v.live.binary_search(x).is_ok()))
            .collect();
        point.is_some_and(|p| self.holds(&p))
    }

    /// Every feasible point in lexicographic order; `None` in a space too large to enumerate.
    pub fn enumerate(&self) -> Option<impl Iterator<Item = Assignment>> {
        self.points().map(|points| points.iter().map(|&rank| self.at_rank(rank)))
    }

    /// A feasible point: uniform where the space is enumerated. `None` where there is none or none was found.
    pub fn sample(&self, rng: &mut dyn Rng) -> Option<Assignment> {
        if let Some(points) = self.points() {
            let n = points.len();
            return (n > 0).then(|| self.at_rank(points[rng.random_range(0..n)]));
        }
        (0..TRIES).find_map(|_| {
            let mut order: Vec<usize> = (0..self.vars.len()).collect();
            shuffle(&mut order, rng);
            let values: Vec<Vec<i64>> = self
                .vars
                .iter()
                .map(|v| {
                    let mut values = v.live.clone();
                    shuffle(&mut values, rng);
                    values
                })
                .collect();
            self.search(&order, &values, STEPS).map(|p| self.named(&p))
        })
    }

    /// The feasible point nearest to an assignment, which may lack tunables, have values outside their domains, and have
    /// other names, which are kept. The distance is the number of steps along the domains; of equally near points
    /// `rng` chooses. In a space too large to enumerate the point is near, not always nearest.
    pub fn repair(&self, assignment: &Assignment, rng: &mut dyn Rng) -> Option<Assignment> {
        if self.contains(assignment) {
            return Some(assignment.clone());
        }
        let wanted: Vec<usize> = self.vars.iter().map(|v| v.wanted(assignment)).collect();
        let found = match self.points() {
            Some(points) => self.nearest(points, &wanted, rng)?,
            None => self.near(&wanted, rng)?,
        };
        let mut out = assignment.clone();
        out.extend(found);
        Some(out)
    }

    fn nearest(&self, points: &[u32], wanted: &[usize], rng: &mut dyn Rng) -> Option<Assignment> {
        let mut positions = vec![0; self.vars.len()];
        let (mut least, mut ties, mut best) = (usize::MAX, 0u64, None);
        for &rank in points {
            self.decode(rank, &mut positions);
            let distance: usize = positions.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b)).sum();
            if distance < least {
                (least, ties, best) = (distance, 1, Some(rank));
            } else if distance == least {
                // The n-th of equal points replaces the one held with probability 1/n.
                ties += 1;
                if rng.random_range(0..ties) == 0 {
                    best = Some(rank);
                }
            }
        }
        best.map(|rank| self.at_rank(rank))
    }

    fn near(&self, wanted: &[usize], rng: &mut dyn Rng) -> Option<Assignment> {
        let values: Vec<Vec<i64>> = self
            .vars
            .iter()
            .zip(wanted)
            .map(|(v, &at)| {
                let mut positions: Vec<usize> = (0..v.live.len()).collect();
                positions.sort_by_key(|i| i.abs_diff(at));
                positions.into_iter().map(|i| v.live[i]).collect()
            })
            .collect();
        let distance = |point: &[i64]| -> usize {
            let at = |v: &Var, x: &i64| v.live.binary_search(x).unwrap_or(0);
            self.vars.iter().zip(point).zip(wanted).map(|((v, x), w)| at(v, x).abs_diff(*w)).sum()
        };
        let mut best: Option<(usize, Vec<i64>)> = None;
        for _ in 0..TRIES {
            let mut order: Vec<usize> = (0..self.vars.len()).collect();
            shuffle(&mut order, rng);
            if let Some(point) = self.search(&order, &values, STEPS) {
                let d = distance(&point);
                if best.as_ref().is_none_or(|(least, _)| d < *least) {
                    best = Some((d, point));
                }
            }
        }
        best.map(|(_, point)| self.named(&point))
    }

    /// The first feasible point in the given order of tunables and of their values, by depth-first search with
    /// pruning; `None` when there is none or the steps ran out.
    pub(super) fn search(&self, order: &[usize], values: &[Vec<i64>], steps: usize) -> Option<Vec<i64>> {
        let mut known: Vec<Known> = self.vars.iter().map(|v| Known::of(&v.live)).collect();
        let mut point = vec![0; self.vars.len()];
        let mut steps = steps;
        if self.constraints.iter().any(|c| c.node.known(&known).truth() == Some(false)) {
            return None;
        }
        self.descend(order, values, &mut known, &mut point, &mut steps).then_some(point)
    }

    fn descend(
        &self,
        order: &[usize],
        values: &[Vec<i64>],
        known: &mut [Known],
        point: &mut [i64],
        steps: &mut usize,
    ) -> bool {
        let Some((&n, rest)) = order.split_first() else {
            return self.holds(point);
        };
        let hull = known[n];
        for &v in &values[n] {
            if *steps == 0 {
                break;
            }
            *steps -= 1;
            point[n] = v;
            known[n] = Known::exactly(v);
            let possible =
                |c: &Constraint| !c.vars.contains(&n) || c.node.known(known).truth() != Some(false);
            if self.constraints.iter().all(possible) && self.descend(rest, values, known, point, steps) {
                return true;
            }
        }
        known[n] = hull;
        false
    }

    /// Feasible points that differ from a feasible one in a single tunable, moved to the next feasible value up or down;
    /// in order of declaration, down first. Other names are kept.
    #[must_use]
    pub fn neighbours(&self, assignment: &Assignment) -> Vec<Assignment> {
        let mut out = Vec::new();
        for var in &self.vars {
            let Some(at) = assignment.get(&var.name) else { continue };
            let below = var.live.iter().rev().filter(|v| *v < at);
            let above = var.live.iter().filter(|v| *v > at);
            let mut moved = assignment.clone();
            let mut first = |candidates: &mut dyn Iterator<Item = &i64>| {
                for &v in candidates {
                    moved.insert(var.name.clone(), v);
                    if self.contains(&moved) {
                        out.push(moved.clone());
                        return;
                    }
                }
            };
            first(&mut below.into_iter());
            first(&mut above.into_iter());
        }
        out
    }

    /// The point used without a search: the declared values, and for tunables without one what `cost` finds cheapest
    /// among at most a few hundred points (or, with no `cost`, the middle of the domain). Where the declared values are not
    /// feasible together, the nearest point. Deterministic.
    pub fn default(&self, cost: Option<&mut dyn FnMut(&Assignment) -> f64>) -> Option<Assignment> {
        let mut rng = Fixed(0x5eed);
        let declared: Assignment =
            self.vars.iter().filter_map(|v| v.value.map(|value| (v.name.clone(), value))).collect();
        let start = self.repair(&declared, &mut rng)?;
        let Some(cost) = cost else { return Some(start) };
        if declared.len() == self.vars.len() {
            return Some(start);
        }
        let keeps = |a: &Assignment| declared.iter().all(|(name, v)| a.get(name) == Some(v));
        let mut best = (cost(&start), start);
        let mut consider = |a: Assignment, best: &mut (f64, Assignment)| {
            let price = cost(&a);
            if price < best.0 {
                *best = (price, a);
            }
        };
        const LOOKS: usize = 512;
        match self.points() {
            Some(points) => {
                // Evenly spread over the points that keep the declared values.
                let kept = points.iter().map(|&r| self.at_rank(r)).filter(|a| keeps(a));
                let kept: Vec<Assignment> = kept.collect();
                let stride = kept.len().div_ceil(LOOKS).max(1);
                kept.into_iter().step_by(stride).for_each(|a| consider(a, &mut best));
            }
            None => {
                for _ in 0..LOOKS / 8 {
                    let Some(mut a) = self.sample(&mut rng) else { break };
                    a.extend(declared.clone());
                    if self.contains(&a) {
                        consider(a, &mut best);
                    }
                }
            }
        }
        // Then downhill, one step at a time.
        loop {
            let before = best.0;
            for a in self.neighbours(&best.1) {
                if keeps(&a) {
                    consider(a, &mut best);
                }
            }
            if best.0 >= before || best.0.is_nan() {
                return Some(best.1);
            }
        }
    }

    /// Why the space has no point, or `None` when it has one, or none can be shown to be missing.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        conflict::find(self)
    }
}

impl Var {
    /// Position in the live domain of the value that is wanted: the one given, else the declared one, else the middle.
    fn wanted(&self, assignment: &Assignment) -> usize {
        match assignment.get(&self.name).copied().or(self.value) {
            None => self.live.len() / 2,
            Some(v) => {
                let closest = |i: &usize| (self.live[*i].abs_diff(v), *i);
                (0..self.live.len()).min_by_key(closest).unwrap_or(0)
            }
        }
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut dyn Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.random_range(0..=i));
    }
}

/// A fixed stream for choices that must not depend on a seed (splitmix64).
struct Fixed(u64);

impl rand::TryRng for Fixed {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|v| (v >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Ok(crate::task::hash::mix(self.0))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in dst.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

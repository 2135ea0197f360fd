//! The values of tunables, as the moves see them.

use std::collections::BTreeMap;

use rooftile_compiler::schedule::plan::Assignment;

use crate::rng::Rng;

/// A finite set of assignments with constraints.
pub trait TuneSpace {
    /// Names of the tunables.
    fn names(&self) -> Vec<String>;
    /// Values that a tunable may take, ascending, constraints aside.
    fn values(&self, name: &str) -> Vec<i64>;
    /// A point, each as likely as its neighbours as far as the constraints let it be; `None` if none was found.
    fn sample(&self, rng: &mut Rng) -> Option<Assignment>;
    /// The point itself if it is legal, else a legal one near it; names that are missing are filled in.
    fn repair(&self, point: &Assignment, rng: &mut Rng) -> Option<Assignment>;
    /// Legal points that differ in one tunable, by one step of its values.
    fn neighbours(&self, point: &Assignment) -> Vec<Assignment>;
    /// All points; `None` if there are more than `limit`.
    fn enumerate(&self, limit: usize) -> Option<Vec<Assignment>>;
}

/// A space without constraints: the product of lists of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product(pub BTreeMap<String, Vec<i64>>);

impl TuneSpace for Product {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn values(&self, name: &str) -> Vec<i64> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn sample(&self, rng: &mut Rng) -> Option<Assignment> {
        self.0.iter().map(|(n, vs)| Some((n.clone(), *rng.pick(vs)?))).collect()
    }

    fn repair(&self, point: &Assignment, rng: &mut Rng) -> Option<Assignment> {
        self.0
            .iter()
            .map(|(n, vs)| {
                let value = match point.get(n) {
                    Some(v) => *vs.iter().min_by_key(|x| x.abs_diff(*v))?,
                    None => *rng.pick(vs)?,
                };
                Some((n.clone(), value))
            })
            .collect()
    }

    fn neighbours(&self, point: &Assignment) -> Vec<Assignment> {
        let mut out = Vec::new();
        for (name, values) in &self.0 {
            let Some(at) = point.get(name).and_then(|v| values.iter().position(|x| x == v)) else { continue };
            for next in [at.checked_sub(1), Some(at + 1)].into_iter().flatten() {
                if let Some(v) = values.get(next) {
                    let mut other = point.clone();
                    other.insert(name.clone(), *v);
                    out.push(other);
                }
            }
        }
        out
    }

    fn enumerate(&self, limit: usize) -> Option<Vec<Assignment>> {
        let mut all = vec![Assignment::new()];
        for (name, values) in &self.0 {
            if all.len().checked_mul(values.len())? > limit {
                return None;
            }
            all = all
                .iter()
                .flat_map(|a| {
                    values.iter().map(|v| {
                        let mut a = a.clone();
                        a.insert(name.clone(), *v);
                        a
                    })
                })
                .collect();
        }
        Some(all)
    }
}

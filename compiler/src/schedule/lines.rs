//! Steps of a `seq` in the default schedule. Those without lanes of their own get them along lines:
//!
//! ```text
//! for r, t { a = X; seq s { for q { a[r, t, f(q)] = .. } } Y = a }
//!   =>  for r { for t step 16 { a = X; seq s { for q { 16 lanes t { a[r, t, f(q)] = .. } } } Y = a } }
//! ```

use std::collections::BTreeSet;

use super::access::{Accesses, Ix, agree_on_axis};
use super::default::Model;
use super::form::{Action, Item, StmtId};
use crate::hir::ir::{AxisId, ValueKind};

/// Points whose steps run side by side.
pub(super) const CHAINS: i64 = 2;

impl Model<'_> {
    /// Where what is done most often is steps of a `seq` that have no lanes: an axis along which all of them are
    /// independent. Each of its points is a line, with all its steps; lines lie side by side in scratch memory.
    pub(super) fn line(&self, lanes: &BTreeSet<AxisId>) -> Option<AxisId> {
        let steps: Vec<StmtId> = self.form.items.iter().flat_map(|item| item_steps(item, false)).collect();
        let deepest = self.deepest();
        let plain = |s: &StmtId| {
            let stmt = &self.form.stmts[*s];
            steps.contains(s)
                && matches!(stmt.action, Action::Set { .. })
                && !stmt.axes.iter().any(|a| lanes.contains(a))
        };
        if !deepest.iter().any(plain) {
            return None;
        }
        self.independent(&steps).rfind(|a| deepest.iter().all(|s| self.form.stmts[*s].axes.contains(a)))
    }

    /// Where what is done most often is steps of a `seq` as lanes, on a few values that they hand on in registers: an axis
    /// of which [`CHAINS`] points are written out. Each step waits for the one before, so those of one point leave most of the
    /// processor idle.
    pub(super) fn chain(&self, lanes: &BTreeSet<AxisId>, registers: i64, vectors: i64) -> Option<AxisId> {
        let steps: Vec<StmtId> = self.form.items.iter().flat_map(|item| item_steps(item, false)).collect();
        let mut deepest = self.deepest();
        deepest.retain(|s| steps.contains(s));
        let mut carried = BTreeSet::new();
        for s in &deepest {
            let stmt = &self.form.stmts[*s];
            let Action::Set { value, index: None, .. } = stmt.action else { return None };
            if !stmt.axes.iter().any(|a| lanes.contains(a)) {
                return None;
            }
            if self.form.func.values[value].kind == ValueKind::Carry {
                carried.insert(value);
            }
        }
        if carried.is_empty() || carried.len() as i64 * vectors * CHAINS > registers {
            return None;
        }
        let is_of_all = |a: &AxisId| deepest.iter().all(|s| self.form.stmts[*s].axes.contains(a));
        self.independent(&steps).rfind(|a| !lanes.contains(a) && is_of_all(a))
    }

    /// Axes whose passes never meet in what is stored, nor in what these statements write.
    fn independent(&self, steps: &[StmtId]) -> impl DoubleEndedIterator<Item = AxisId> {
        let accesses = Accesses::new(self.form);
        let alone = move |axis: &AxisId| {
            let own = steps.iter().filter(|s| self.form.stmts[**s].axes.contains(axis));
            let mut writes = own.flat_map(|s| accesses.of(*s)).filter(|x| x.write);
            writes.all(|x| agree_on_axis(self.form, x, x, *axis) && x.index.contains(&Ix::Axis(*axis)))
        };
        self.apart().into_iter().filter(move |a| self.blockable(*a) && alone(a))
    }

    /// Axes along which tensors lie side by side where lines have their lanes far apart, with the bytes of an element.
    pub(super) fn across(&self, line: AxisId) -> Vec<(AxisId, usize)> {
        let mut out = Vec::new();
        for (_, stmt) in self.form.stmts.iter() {
            if let Action::Store { tensor, index, .. } = &stmt.action
                && let Some(axis) = self.along(index).filter(|a| *a != line && self.blockable(*a))
                && stmt.axes.contains(&line)
            {
                out.push((axis, self.form.func.tensors[*tensor].dtype.size()));
            }
        }
        out
    }
}

/// The statements of sequences.
fn item_steps(item: &Item, inside: bool) -> Vec<StmtId> {
    match item {
        Item::Stmt(s) => inside.then_some(*s).into_iter().collect(),
        Item::Seq { fold, body, .. } => body.iter().flat_map(|i| item_steps(i, inside || !fold)).collect(),
        Item::If { then, otherwise, .. } => {
            then.iter().chain(otherwise).flat_map(|i| item_steps(i, inside)).collect()
        }
    }
}

//! Buffers of which each thread, or each subgroup, has elements of its own: the dimensions that tell whose.

use std::collections::BTreeMap;

use super::super::ir::{BufferId, ExprKind, Nest, Space, VarId};

/// For each buffer that has any: its dimensions that belong to threads or subgroups, by what is known of their loop.
pub type Dims<T> = BTreeMap<BufferId, Vec<Option<T>>>;

/// The dimensions of the buffers in a space of which an index is one of the counters; the first one that is found tells
/// of the loop.
#[must_use]
pub fn dims<T: Clone>(nest: &Nest, space: Space, counters: &BTreeMap<VarId, T>) -> Dims<T> {
    let mut out = Dims::new();
    if counters.is_empty() {
        return out;
    }
    nest.for_each_access(nest.phases.iter().map(|p| &p.body), &mut |buffer, index| {
        if nest.buffers[buffer].space != space {
            return;
        }
        for (d, e) in index.iter().enumerate() {
            if let ExprKind::Var(v) = &nest.exprs[*e].kind
                && let Some(found) = counters.get(v)
            {
                let dims = out.entry(buffer).or_insert_with(|| vec![None; nest.buffers[buffer].shape.len()]);
                if let Some(dim) = dims.get_mut(d) {
                    dim.get_or_insert_with(|| found.clone());
                }
            }
        }
    });
    out
}

/// Whether a dimension of a buffer belongs to threads or subgroups.
#[must_use]
pub fn is_own<T>(dims: &Dims<T>, buffer: BufferId, d: usize) -> bool {
    dims.get(&buffer).and_then(|own| own.get(d)).is_some_and(Option::is_some)
}

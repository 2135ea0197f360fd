//! Where the scratch memory of a chunk is.

use std::collections::BTreeSet;

use rooftile_artifact::HostExpr;
use rooftile_artifact::abi::BUFFER_ALIGN;

use super::threads::Shape;
use crate::nest::host;
use crate::nest::ir::{BufferId, Nest, Space, Stmt};

/// Most bytes of scratch memory that a thread keeps near.
const NEAR: u64 = 4096;

/// The placement of the `Local` buffers of a nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Buffers that each thread keeps for itself, as an array of its own.
    pub near: BTreeSet<BufferId>,
}

impl Layout {
    /// Small buffers of constant extents are near where no phase that touches them runs its chunks by groups.
    #[must_use]
    pub fn of(nest: &Nest, shapes: &[Shape]) -> Layout {
        let mut far = BTreeSet::new();
        for (phase, shape) in nest.phases.iter().zip(shapes) {
            if shape.together {
                far.extend(touched(nest, &phase.body));
            }
        }
        let (mut near, mut bytes) = (BTreeSet::new(), 0u64);
        for (id, buffer) in nest.buffers.iter().filter(|(_, b)| b.space == Space::Local) {
            // A thread keeps narrow elements in whole words.
            let element = buffer.dtype.size().max(4) as u64;
            let size = elements(nest, id).and_then(|n| n.checked_mul(element));
            if let Some(size) = size.filter(|size| !far.contains(&id) && bytes + size <= NEAR) {
                bytes += size;
                near.insert(id);
            }
        }
        Layout { near }
    }

    /// Bytes of scratch memory of a chunk in the launch's memory; `None` when the host cannot compute it.
    #[must_use]
    pub fn bytes(&self, nest: &Nest) -> Option<HostExpr> {
        host::local_bytes_of(nest, BUFFER_ALIGN as i64, |id| !self.near.contains(&id))
    }

    /// Whether a buffer is in the launch's scratch memory.
    #[must_use]
    pub fn is_far(&self, nest: &Nest, id: BufferId) -> bool {
        nest.buffers[id].space == Space::Local && !self.near.contains(&id)
    }
}

/// Elements of a buffer of constant extents.
#[must_use]
pub fn elements(nest: &Nest, id: BufferId) -> Option<u64> {
    nest.buffers[id].shape.iter().try_fold(1u64, |n, &e| {
        let extent = u64::try_from(nest.const_int(e)?.max(0)).ok()?;
        n.checked_mul(extent)
    })
}

/// Buffers that a list of statements reads or writes.
#[must_use]
pub fn touched(nest: &Nest, block: &Vec<Stmt>) -> BTreeSet<BufferId> {
    let mut out = BTreeSet::new();
    nest.for_each_access([block], &mut |buffer, _| {
        out.insert(buffer);
    });
    out
}

//! Scratch memory of the chunks that run at the same time.

use std::sync::Arc;

use rooftile_artifact::abi::BUFFER_ALIGN;

use crate::buffer::CanaryDied;
use crate::content;
use crate::error::{DeviceError, Error, malformed};
use crate::vulkan::context::Context;
use crate::vulkan::memory::{Storage, Use};

/// Bytes that the scratch memory of a launch takes at most, unless one group alone needs more: fewer groups run instead.
const MOST: u64 = 256 << 20;

/// Scratch memory that grows as launches need it.
#[derive(Debug)]
pub(crate) struct Scratch {
    context: Arc<Context>,
    guarded: bool,
    /// The newest is used; recorded launches may still use the older ones.
    storages: Vec<Storage>,
    /// What new memory is filled with.
    pattern: Option<Vec<u8>>,
}

/// What a launch is told of its scratch memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    /// Where it begins; 0 when there is none.
    pub(crate) address: u64,
    /// Bytes of each chunk.
    pub(crate) bytes: u64,
}

impl Scratch {
    /// None yet.
    pub(crate) fn new(context: &Arc<Context>, guarded: bool) -> Scratch {
        Scratch { context: Arc::clone(context), guarded, storages: Vec::new(), pattern: None }
    }

    /// Scratch memory for up to `groups` groups of `per_group` chunks of `bytes` each, and how many groups may run.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub(crate) fn reserve(
        &mut self,
        groups: u64,
        per_group: u64,
        bytes: usize,
    ) -> Result<(u32, Local), Error> {
        let (groups, bytes) = share(groups, per_group, bytes);
        let count = u32::try_from(groups).map_err(|_| malformed("a launch has too many groups"))?;
        let total = groups.saturating_mul(per_group).saturating_mul(bytes);
        if total == 0 {
            return Ok((count, Local { address: 0, bytes }));
        }
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        if self.storages.last().is_none_or(|s| s.len() < total) {
            let mut storage = Storage::new(&self.context, total, Use::Device, self.guarded)?;
            if let Some(pattern) = &self.pattern {
                fill(&mut storage, pattern)?;
            }
            self.storages.push(storage);
        }
        let address = self.storages.last().map_or(0, Storage::address);
        Ok((count, Local { address, bytes }))
    }

    /// Fills what there is, and what will be.
    pub(crate) fn fill(&mut self, pattern: &[u8]) -> Result<(), DeviceError> {
        self.pattern = Some(pattern.to_vec());
        self.storages.iter_mut().try_for_each(|storage| fill(storage, pattern))
    }

    /// The first overwritten byte beside it.
    pub(crate) fn dead_canary(&self) -> Result<Option<CanaryDied>, DeviceError> {
        for storage in &self.storages {
            if let Some(died) = storage.dead_canary()? {
                return Ok(Some(died));
            }
        }
        Ok(None)
    }
}

/// How many of `groups` may run at the same time, and the aligned bytes of a chunk.
pub(crate) fn share(groups: u64, per_group: u64, bytes: usize) -> (u64, u64) {
    let bytes = (bytes as u64).next_multiple_of(BUFFER_ALIGN as u64);
    let group = per_group.saturating_mul(bytes);
    let most = MOST.checked_div(group).unwrap_or(u64::MAX).max(1);
    (groups.min(most), bytes)
}

/// Fills a storage with a repeated pattern, the last copy cut short.
pub(crate) fn fill(storage: &mut Storage, pattern: &[u8]) -> Result<(), DeviceError> {
    storage.write(&mut |bytes| content::repeat(bytes, pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_groups_share_a_lot_of_scratch_memory() {
        assert_eq!(share(1000, 8, 0), (1000, 0));
        assert_eq!(share(1000, 8, 60), (1000, 64));
        assert_eq!(share(1 << 20, 1, 1 << 20), (256, 1 << 20));
        assert_eq!(share(1 << 20, 64, 1 << 30), (1, 1 << 30));
    }
}

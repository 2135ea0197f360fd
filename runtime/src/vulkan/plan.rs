//! From steps to commands: at fixed sizes every expression has a value, and every swap is known beforehand.

use std::collections::HashMap;

use rooftile_artifact::HostExpr;
use rooftile_artifact::gpu_abi::LIMIT;
use rooftile_artifact::host_expr::HostEnv;

use crate::error::{Error, InputError, expression, malformed};
use crate::interpret::fill_pattern;
use crate::prepared::{LaunchOp, Op};
use crate::setting::Setting;
use crate::vulkan::VulkanProgram;
use crate::vulkan::scratch::Scratch;

/// Commands of a stretch.
const STRETCH: usize = 1024;
/// Bytes of a pattern that is copied again and again.
const PATTERN: usize = 64 << 10;

/// A command for the device. Storages are numbered, not buffers: swaps are done.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Runs a phase in so many groups; its parameter block begins at this cell.
    Dispatch { kernel: usize, phase: usize, groups: u32, block: usize },
    /// Fills a storage with a word, but for the bytes behind the last whole word.
    Fill { storage: usize, word: u32 },
    /// Fills a storage from byte `from` on with copies of a piece of the stretch's patterns.
    Spread { storage: usize, from: usize, pattern: usize, len: usize },
    /// Copies a whole storage to another.
    Copy { from: usize, to: usize },
}

/// Some commands, with the data that they need.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    pub(crate) commands: Vec<Command>,
    /// Parameter blocks.
    pub(crate) cells: Vec<u64>,
    /// Patterns for [`Command::Spread`].
    pub(crate) patterns: Vec<u8>,
    /// Where blocks begin that may be used again.
    blocks: HashMap<Box<[u64]>, usize>,
}

/// A walk through the steps.
pub(crate) struct Walk<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) program: &'a VulkanProgram,
    /// The address of each storage.
    pub(crate) addresses: &'a [u64],
    /// The address of the status words, one a kernel.
    pub(crate) status: u64,
    pub(crate) scratch: &'a mut Scratch,
    /// The storage that each buffer names.
    pub(crate) binding: Vec<usize>,
    pub(crate) steps: Vec<i64>,
    pub(crate) stretch: Stretch,
    /// Takes every stretch but the last.
    pub(crate) sink: &'a mut dyn FnMut(Stretch) -> Result<(), Error>,
}

impl Walk<'_> {
    /// Walks through steps in order.
    pub(crate) fn walk(&mut self, ops: &mut [Op]) -> Result<(), Error> {
        ops.iter_mut().try_for_each(|op| self.step(op))
    }

    fn env(&self) -> HostEnv<'_> {
        self.setting.env(&self.steps)
    }

    fn step(&mut self, op: &mut Op) -> Result<(), Error> {
        match op {
            Op::Launch(launch) => self.launch(launch),
            Op::Repeat { var, lo, hi, swaps, body } => {
                let (lo, hi) = (lo.get(&self.env())?, hi.get(&self.env())?);
                for counter in lo..hi {
                    self.steps[*var] = counter;
                    self.walk(body)?;
                    for &(a, b) in swaps.iter() {
                        self.binding.swap(a, b);
                    }
                }
                Ok(())
            }
            Op::If { cond, then, otherwise } => {
                let cond = cond.eval(&self.env()).map_err(|e| expression("a condition", e))?;
                self.walk(if cond.is_true() { then } else { otherwise })
            }
            Op::Fill { buffer, value } => self.fill(*buffer, value),
            Op::Copy { from, to } => {
                let (from, to) = (self.binding[*from], self.binding[*to]);
                if from == to {
                    return Err(malformed("a buffer is copied to itself"));
                }
                self.push(Command::Copy { from, to })
            }
        }
    }

    fn launch(&mut self, op: &mut LaunchOp) -> Result<(), Error> {
        let kernel = &self.setting.program().kernels[op.kernel];
        op.refresh(kernel, &self.setting.env(&self.steps))?;
        for &size in &op.values.sizes {
            limited(|| format!("a size of {}", kernel.name), size)?;
        }
        for n in 0..kernel.phases.len() {
            let chunks = op.values.phases[n].chunks;
            limited(|| format!("the number of chunks of {}", kernel.name), chunks)?;
            let Some(chunks) = u64::try_from(chunks).ok().filter(|&n| n > 0) else { continue };
            let per_group = u64::from(self.program.kernels[op.kernel].phases[n].chunks_per_group);
            let (groups, local) = self.scratch.reserve(
                chunks.div_ceil(per_group).min(u64::from(self.program.context.found.target.max_groups)),
                per_group,
                op.values.local_bytes,
            )?;
            let word = self.status + 4 * op.kernel as u64;
            let mut block = vec![word, local.address, local.bytes, chunks];
            block.extend(op.buffers.iter().map(|&b| self.addresses[self.binding[b]]));
            #[expect(clippy::cast_sign_loss, reason = "a cell holds the sign-extended bits")]
            block.extend(op.values.sizes.iter().map(|&size| size as u64));
            block.extend(&op.values.cells);
            let block = self.stretch.block(block);
            self.push(Command::Dispatch { kernel: op.kernel, phase: n, groups, block })?;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: usize, value: &HostExpr) -> Result<(), Error> {
        let pattern = fill_pattern(self.setting, buffer, value, &self.env())?;
        let (storage, len) = (self.binding[buffer], self.setting.layouts[buffer].bytes);
        if len == 0 {
            return Ok(());
        }
        let whole = len & !3;
        match word(&pattern) {
            Some(word) => {
                if whole > 0 {
                    self.push(Command::Fill { storage, word })?;
                }
                if whole < len {
                    let at = self.stretch.pattern(&word.to_le_bytes(), 4);
                    self.push(Command::Spread { storage, from: whole, pattern: at, len: 4 })?;
                }
                Ok(())
            }
            None => {
                let piece = PATTERN.min(len.next_multiple_of(pattern.len()));
                let at = self.stretch.pattern(&pattern, piece);
                self.push(Command::Spread { storage, from: 0, pattern: at, len: piece })
            }
        }
    }

    fn push(&mut self, command: Command) -> Result<(), Error> {
        self.stretch.commands.push(command);
        if self.stretch.commands.len() < STRETCH {
            return Ok(());
        }
        (self.sink)(std::mem::take(&mut self.stretch))
    }
}

impl Stretch {
    /// Where the cells of a block begin.
    fn block(&mut self, cells: Vec<u64>) -> usize {
        let next = self.cells.len();
        *self.blocks.entry(cells.into_boxed_slice()).or_insert_with_key(|cells| {
            self.cells.extend(cells.iter());
            // Blocks are aligned to 16 bytes.
            if self.cells.len() % 2 == 1 {
                self.cells.push(0);
            }
            next
        })
    }

    /// Where `len` bytes of copies of a pattern begin.
    fn pattern(&mut self, pattern: &[u8], len: usize) -> usize {
        let at = self.patterns.len();
        self.patterns.extend(pattern.iter().cycle().take(len));
        at
    }
}

/// The four bytes that a pattern repeats, if its period divides four.
fn word(pattern: &[u8]) -> Option<u32> {
    let first: Vec<u8> = pattern.iter().cycle().take(4).copied().collect();
    let same = pattern.iter().zip(first.iter().cycle()).all(|(a, b)| a == b);
    let bytes = <[u8; 4]>::try_from(first).ok()?;
    (same && (pattern.len().is_multiple_of(4) || 4usize.is_multiple_of(pattern.len())))
        .then(|| u32::from_le_bytes(bytes))
}

/// Whether GPU code can count so far.
pub(crate) fn limited(what: impl FnOnce() -> String, value: i64) -> Result<(), Error> {
    if (-LIMIT..LIMIT).contains(&value) {
        return Ok(());
    }
    Err(InputError::BeyondLimit { what: what(), value: i128::from(value), limit: i128::from(LIMIT) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_words_where_they_can() {
        assert_eq!(word(&[7]), Some(0x0707_0707));
        assert_eq!(word(&[1, 2]), Some(0x0201_0201));
        assert_eq!(word(&[1, 2, 3, 4]), Some(0x0403_0201));
        assert_eq!(word(&[1, 2, 3, 4, 1, 2, 3, 4]), Some(0x0403_0201));
        assert_eq!(word(&[0; 16]), Some(0));
        assert_eq!(word(&[1, 2, 3, 4, 5, 6, 7, 8]), None);
    }

    #[test]
    fn equal_blocks_are_kept_once() {
        let mut s = Stretch::default();
        assert_eq!([s.block(vec![1, 2, 3]), s.block(vec![4]), s.block(vec![1, 2, 3])], [0, 4, 0]);
        assert_eq!(s.cells, [1, 2, 3, 0, 4, 0]);
    }
}

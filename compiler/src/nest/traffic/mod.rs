//! What a nest moves at given sizes: the instructions that load and store, and the bytes that each level of memory has to
//! deliver to the one before it, and takes back.
//!
//! The *footprint* of a piece of code is the lines that it touches, of each buffer those of a box of indices for each
//! access, overlaps once. A cache keeps what was touched last. So a loop of which two passes fit a cache reads each line of its
//! footprint once; of one that does not fit every pass begins anew:
//!
//! ```text
//! misses(loop) = footprint(loop)                   where two passes fit
//!              = sum of misses(body) over passes   elsewhere
//! ```
//! and neighbouring statements that fit together share what they touch. Whole launches find in a cache what it can hold
//! of them, as those of a kernel that runs again and again.
//!
//! Loops are followed at their first, middle and last pass, which says all of bounds that are affine; conditions are
//! decided where they depend on counters and sizes. Indices that are data touch a line each, and no more than their
//! buffer has. A store reads the line that it writes first (it *fills* it), unless it goes past the caches.

mod footprint;
mod launches;
mod range;
#[cfg(test)]
mod tests;
mod walk;

pub use self::launches::{KernelTraffic, of_module};
use super::ir::{BufferId, Nest};
use range::Env;

/// Levels of caches.
pub const CACHES: usize = 3;

/// Content of a buffer's slot, by element in row-major order, as far as it is known.
pub type Content<'a> = dyn Fn(u32, usize) -> Option<i64> + 'a;

/// The caches that a nest is looked at with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caches {
    /// Bytes of the first, second and third level, for one thread while it works on a chunk.
    pub chunk: [f64; CACHES],
    /// As `chunk`, of all threads together.
    pub launch: [f64; CACHES],
    /// Bytes that one instruction moves at most.
    pub vector_bytes: usize,
}

/// Bytes that go to and fro between two levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bytes {
    /// Delivered because something reads them.
    pub read: f64,
    /// Delivered because a part of their line is written.
    pub filled: f64,
    /// Taken back.
    pub written: f64,
}

impl Bytes {
    /// All of them.
    #[must_use]
    pub fn total(self) -> f64 {
        self.read + self.filled + self.written
    }

    fn plus(self, other: Bytes, times: f64) -> Bytes {
        Bytes {
            read: self.read + times * other.read,
            filled: self.filled + times * other.filled,
            written: self.written + times * other.written,
        }
    }
}

/// What a nest moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Instructions that load; an element that is the same in all passes of a loop is loaded once.
    pub loads: f64,
    /// Instructions that store.
    pub stores: f64,
    /// What each level delivers and takes: the first-level cache what the instructions name, each further level, main memory
    /// last, whole lines of what the level before it lacks.
    pub levels: [Bytes; CACHES + 1],
    /// Of what main memory takes: bytes that went past the caches.
    pub past: f64,
    /// Buffers that are read or written where data say.
    pub gathered: Vec<String>,
    /// Whether bounds or conditions depend on data that are not known: such loops are taken as of [`GUESSED`] passes, and
    /// such conditions as true and false.
    pub guessed: bool,
}

/// Passes of a loop whose bounds nobody knows.
pub const GUESSED: i64 = 16;

/// What one launch of a nest moves; `None` for nests with matrices of subgroups, and for those with too many loops to follow.
#[must_use]
pub fn of_nest(
    nest: &Nest,
    sizes: &[i64],
    scalars: &[rooftile_artifact::Scalar],
    content: &Content<'_>,
    caches: &Caches,
) -> Option<Traffic> {
    walk::Walk::new(Env::new(nest, sizes, scalars, content)?, caches)?.launch()
}

/// Bytes of a line.
const LINE: i64 = 64;

/// Extents of a buffer, and the bytes between neighbours along each.
fn extents(env: &Env<'_>, buffer: BufferId) -> Option<(Vec<i64>, Vec<i64>)> {
    let buffer = &env.nest.buffers[buffer];
    let shape: Option<Vec<i64>> = buffer.shape.iter().map(|e| env.single(*e)).collect();
    let shape = shape?;
    let mut pitches = vec![0; shape.len()];
    let mut pitch = i64::try_from(buffer.dtype.size()).ok()?;
    for (n, extent) in shape.iter().enumerate().rev() {
        pitches[n] = pitch;
        pitch = pitch.saturating_mul((*extent).max(1));
    }
    Some((shape, pitches))
}

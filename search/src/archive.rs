//! The archive: the best candidate of every cell of a map whose axes say *how* a candidate computes. Keeping the best
//! of each kind, not just the best, keeps stepping stones that a single ranking would lose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::candidate::{CandidateId, Recipe};

/// Where a candidate belongs in the map. Read off the lowered nest, so that renaming moves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Descriptor {
    /// Where staged copies live: 0 nothing is staged, 1 to 3 fits that level of cache, 4 beyond.
    pub level: u8,
    /// Parallel structure: core loops of the widest phase (at most 3), plus 4 when there is more than one phase.
    pub parallel: u8,
    /// Register blocking: the base-2 logarithm of the registers that live accumulators and copies take, at most 7.
    pub registers: u8,
    /// Arithmetic form: the base-2 logarithm of the vector lanes, at most 7.
    pub form: u8,
}

/// A candidate that was found right, with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elite {
    /// Its number.
    pub id: CandidateId,
    /// Its recipe.
    pub recipe: Recipe,
    /// Where it belongs.
    pub descriptor: Descriptor,
    /// Fitness over all search sizes; an estimate where not all were measured.
    pub score: f64,
    /// Whether every search size was measured.
    pub full: bool,
}

/// What became of a candidate that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Its cell was empty.
    NewCell,
    /// It took the place of a worse one.
    Better,
    /// Its cell holds a better one, or one as good and simpler.
    Refused,
}

/// The map of elites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    cells: BTreeMap<Descriptor, Elite>,
}

impl Archive {
    /// Offers a candidate to its cell. Scores must be finite; within a relative 1e-9 they count as equal, and the
    /// simpler recipe stays.
    pub fn offer(&mut self, elite: Elite) -> Offer {
        if !elite.score.is_finite() {
            return Offer::Refused;
        }
        match self.cells.get(&elite.descriptor) {
            None => {
                self.cells.insert(elite.descriptor, elite);
                Offer::NewCell
            }
            Some(old) => {
                let tie = (elite.score - old.score).abs() <= 1e-9 * old.score.abs();
                let simpler = elite.recipe.complexity() < old.recipe.complexity();
                if if tie { simpler } else { elite.score > old.score } {
                    self.cells.insert(elite.descriptor, elite);
                    Offer::Better
                } else {
                    Offer::Refused
                }
            }
        }
    }

    /// Elites in order of their cells.
    pub fn iter(&self) -> impl Iterator<Item = &Elite> {
        self.cells.values()
    }

    /// Elites, best first; equal scores in order of number.
    #[must_use]
    pub fn ranked(&self) -> Vec<&Elite> {
        let mut all: Vec<&Elite> = self.cells.values().collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        all
    }

    /// Number of cells filled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no cell is filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elite(id: u64, cell: u8, score: f64) -> Elite {
        Elite {
            id,
            recipe: Recipe::default(),
            descriptor: Descriptor { level: cell, ..Descriptor::default() },
            score,
            full: true,
        }
    }

    proptest! {
        /// A cell holds the best of all that were offered to it, in whatever order they came.
        #[test]
        fn cells_hold_the_best(offers in prop::collection::vec((0u8..4, 0u32..1000), 1..60)) {
            let mut archive = Archive::default();
            for (n, (cell, score)) in offers.iter().enumerate() {
                archive.offer(elite(n as u64, *cell, f64::from(*score) + 1.0));
            }
            for e in archive.iter() {
                let best = offers.iter().filter(|o| o.0 == e.descriptor.level).map(|o| o.1).max();
                prop_assert_eq!(Some(e.score), best.map(|b| f64::from(b) + 1.0));
            }
            let ranked = archive.ranked();
            prop_assert!(ranked.windows(2).all(|w| w[0].score >= w[1].score));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut archive = Archive::default();
        assert_eq!(archive.offer(elite(0, 0, f64::NAN)), Offer::Refused);
        assert_eq!(archive.offer(elite(1, 0, 0.5)), Offer::NewCell);
        assert_eq!(archive.offer(elite(2, 0, 0.5)), Offer::Refused);
        assert_eq!(archive.offer(elite(3, 0, 0.6)), Offer::Better);
        assert_eq!(archive.len(), 1);
    }
}

//! Which tiles touched an element: two accesses race when they lie in different tiles of one run of an unordered
//! loop, and one of them writes without both being the same reduction.

use crate::diag::Span;
use crate::hir::ir::AssignOp;

/// A tile of one run of a loop, inside other tiles.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    depth: u32,
    /// Number of the run of the loop; loops that run one after the other have different numbers.
    run: u32,
}

/// The tree of tiles entered so far.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    nodes: Vec<Node>,
    current: u32,
    runs: u32,
}

/// What was done to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    Read,
    /// Written, or combined with a reduction.
    Write(AssignOp),
    /// Counted up by `append`.
    Append,
}

/// Accesses of one element during one launch.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    launch: u32,
    seen: Vec<(u32, Access, Span)>,
}

impl Tiles {
    pub(super) fn new() -> Tiles {
        Tiles { nodes: vec![Node { parent: 0, depth: 0, run: 0 }], current: 0, runs: 0 }
    }

    /// A number for a run of a loop.
    pub(super) fn start(&mut self) -> u32 {
        self.runs += 1;
        self.runs
    }

    /// Enters a tile of run `run` of a loop.
    pub(super) fn enter(&mut self, run: u32) {
        let depth = self.nodes[self.current as usize].depth + 1;
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { parent: self.current, depth, run });
        self.current = id;
    }

    /// Leaves the current tile.
    pub(super) fn leave(&mut self) {
        self.current = self.nodes[self.current as usize].parent;
    }

    /// Forgets the tiles of earlier launches; only between launches.
    pub(super) fn clear(&mut self) {
        self.nodes.truncate(1);
        self.current = 0;
    }

    /// Whether two tiles are of one run of a loop, or inside such.
    fn unordered(&self, a: u32, b: u32) -> bool {
        let (mut a, mut b) = (a, b);
        let node = |n: u32| self.nodes[n as usize];
        while a != b {
            if node(a).depth > node(b).depth {
                a = node(a).parent;
            } else if node(b).depth > node(a).depth {
                b = node(b).parent;
            } else if node(a).parent == node(b).parent {
                return node(a).run == node(b).run;
            } else {
                (a, b) = (node(a).parent, node(b).parent);
            }
        }
        false
    }

    /// Notes an access; gives the place of an earlier one that it races with, and whether both write.
    pub(super) fn note(
        &self,
        marks: &mut Marks,
        launch: u32,
        access: Access,
        span: Span,
    ) -> Option<(Span, bool)> {
        if marks.launch != launch {
            marks.launch = launch;
            marks.seen.clear();
        }
        let here = self.current;
        let race = marks
            .seen
            .iter()
            .find(|&&(node, other, _)| conflict(access, other) && self.unordered(node, here));
        if let Some(&(_, other, at)) = race {
            return Some((at, access != Access::Read && other != Access::Read));
        }
        if !marks.seen.iter().any(|&(node, other, _)| node == here && other == access) {
            marks.seen.push((here, access, span));
        }
        None
    }
}

/// Whether the order of two accesses matters.
fn conflict(a: Access, b: Access) -> bool {
    use AssignOp::{Add, Set, Sub};
    match (a, b) {
        (Access::Read, Access::Read) | (Access::Append, Access::Append) => false,
        (Access::Write(Add | Sub), Access::Write(Add | Sub)) => false,
        (Access::Write(x), Access::Write(y)) => x != y || x == Set,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_one_run_are_unordered_and_runs_are_ordered() {
        let at = Span::default();
        let write = Access::Write(AssignOp::Set);
        let mut tiles = Tiles::new();
        let mut element = Marks::default();
        let first = tiles.start();
        tiles.enter(first);
        let inner = tiles.start();
        tiles.enter(inner);
        assert_eq!(tiles.note(&mut element, 1, write, at), None);
        tiles.leave();
        // A later loop of the same tile.
        let inner = tiles.start();
        tiles.enter(inner);
        assert_eq!(tiles.note(&mut element, 1, Access::Read, at), None);
        tiles.leave();
        tiles.leave();
        // Another tile of the outer loop.
        tiles.enter(first);
        assert_eq!(tiles.note(&mut element, 1, Access::Read, at), Some((at, false)));
        tiles.leave();
        // A later loop, and a later launch.
        let second = tiles.start();
        tiles.enter(second);
        assert_eq!(tiles.note(&mut element, 1, Access::Read, at), None);
        assert_eq!(tiles.note(&mut element, 2, write, at), None);
    }

    #[test]
    fn one_reduction_does_not_race_with_itself() {
        assert!(!conflict(Access::Write(AssignOp::Add), Access::Write(AssignOp::Sub)));
        assert!(!conflict(Access::Write(AssignOp::Max), Access::Write(AssignOp::Max)));
        assert!(conflict(Access::Write(AssignOp::Max), Access::Write(AssignOp::Add)));
        assert!(conflict(Access::Append, Access::Read));
    }
}

//! Lines that accesses touch.

use std::collections::BTreeMap;

use super::range::gcd;
use super::{Bytes, LINE};
use crate::nest::ir::BufferId;

/// Indices along one dimension: `lo, lo + step, .., hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dim {
    pub(super) lo: i64,
    pub(super) hi: i64,
    /// 0 of a single index.
    pub(super) step: i64,
    /// Whether the indices begin again while counters go on.
    pub(super) cyclic: bool,
}

impl Dim {
    fn count(self) -> i64 {
        (self.hi - self.lo) / self.step.max(1) + 1
    }

    /// What is in either, if neighbours of the other are at least `apart` away.
    fn hull(self, other: Dim, apart: i64) -> Dim {
        let (lo, hi) = (self.lo.min(other.lo), self.hi.max(other.hi));
        let step = if lo == hi { 0 } else { gcd(gcd(self.step, other.step), apart).max(1) };
        Dim { lo, hi, step, cyclic: self.cyclic || other.cyclic }
    }
}

/// What one access does in a piece of code.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Foot {
    pub(super) buffer: BufferId,
    pub(super) write: bool,
    /// Whether it goes past the caches.
    pub(super) past: bool,
    /// Indices by dimension.
    pub(super) dims: Vec<Dim>,
    /// Lines that it touches at most.
    pub(super) most: f64,
    /// Instructions.
    pub(super) count: f64,
    /// Bytes that they move.
    pub(super) bytes: f64,
    /// Counters that the index depends on, a bit each.
    pub(super) deps: u64,
    /// Whether it varies along a loop inside, so that no register holds it for passes of others.
    pub(super) varies: bool,
}

/// Accesses by their places in the nest.
pub(super) type Feet = BTreeMap<usize, Foot>;

/// Extents of a buffer, and bytes between neighbours along each.
pub(super) struct Shape {
    pub(super) extents: Vec<i64>,
    pub(super) pitches: Vec<i64>,
    pub(super) element: i64,
}

impl Shape {
    /// Lines of a box of indices. Rows that lie less than a line apart are one.
    pub(super) fn lines(&self, dims: &[Dim]) -> f64 {
        let (mut span, mut runs, mut start) = (self.element, 1.0, 0i64);
        for (dim, pitch) in dims.iter().zip(&self.pitches).rev() {
            start = start.saturating_add(dim.lo.saturating_mul(*pitch));
            let gap = dim.step.saturating_mul(*pitch);
            if runs == 1.0 && gap.saturating_sub(span) < LINE {
                span = span.saturating_add(gap.saturating_mul(dim.count() - 1));
            } else {
                runs *= dim.count() as f64;
            }
        }
        let end = start.rem_euclid(LINE).saturating_add(span).saturating_add(LINE - 1);
        runs * (end / LINE) as f64
    }

    /// The indices that the buffer has.
    pub(super) fn clip(&self, d: usize, dim: Dim) -> Dim {
        let last = (self.extents[d] - 1).max(0);
        let (lo, hi) = (dim.lo.clamp(0, last), dim.hi.clamp(0, last));
        Dim { lo, hi, step: if lo == hi { 0 } else { dim.step.max(1) }, ..dim }
    }
}

/// The accesses of two pieces of code, one after the other.
pub(super) fn both(a: &Feet, b: &Feet) -> Feet {
    let mut all = a.clone();
    for (place, foot) in b {
        all.entry(*place)
            .and_modify(|f| {
                for (d, other) in f.dims.iter_mut().zip(&foot.dims) {
                    *d = d.hull(*other, (d.lo - other.lo).abs());
                }
                f.most += foot.most;
                f.count += foot.count;
                f.bytes += foot.bytes;
                f.deps |= foot.deps;
                f.varies |= foot.varies;
            })
            .or_insert_with(|| foot.clone());
    }
    all
}

/// A pass of a loop that was followed: its number, how many it stands for, and what it accesses.
pub(super) struct Pass<'a> {
    pub(super) number: i64,
    pub(super) times: f64,
    pub(super) feet: &'a Feet,
}

/// The accesses of a loop whose counter has `bit`, by those of some of its passes.
pub(super) fn repeated(passes: &[Pass<'_>], bit: u64, shapes: &[Shape]) -> Feet {
    let mut all = Feet::new();
    let places: std::collections::BTreeSet<usize> =
        passes.iter().flat_map(|p| p.feet.keys().copied()).collect();
    let written =
        |buffer: BufferId| passes.iter().any(|p| p.feet.values().any(|f| f.write && f.buffer == buffer));
    for place in places {
        let found: Vec<(&Pass<'_>, &Foot)> =
            passes.iter().filter_map(|p| p.feet.get(&place).map(|f| (p, f))).collect();
        let [(first, of), rest @ ..] = found.as_slice() else { continue };
        let shape = &shapes[of.buffer.index()];
        let varies = of.deps & bit != 0;
        let mut foot = (*of).clone();
        for (pass, other) in rest {
            foot.deps |= other.deps;
            foot.varies |= other.varies;
            for (d, dim) in foot.dims.iter_mut().enumerate() {
                let to = other.dims[d];
                // How far neighbouring passes are apart, if they all are as far.
                let (way, passes) = (to.lo - of.dims[d].lo, (pass.number - first.number).max(1));
                let apart = if way % passes == 0 { way / passes } else { 1 };
                *dim = dim.hull(to, apart);
            }
        }
        if varies && first.times + rest.iter().map(|(p, _)| p.times).sum::<f64>() > 1.0 {
            for (d, dim) in foot.dims.iter_mut().enumerate() {
                if dim.cyclic {
                    *dim = shape.clip(d, Dim { lo: 0, hi: i64::MAX, step: 1, cyclic: true });
                }
            }
        }
        let sum = |of: fn(&Foot) -> f64| found.iter().map(|(p, f)| p.times * of(f)).sum::<f64>();
        let most = |of: fn(&Foot) -> f64| found.iter().map(|(_, f)| of(f)).fold(0.0, f64::max);
        foot.most = if varies { sum(|f| f.most) } else { most(|f| f.most) };
        // What is the same in all passes is loaded before them.
        foot.varies |= varies;
        let moves = foot.varies || foot.write || written(foot.buffer);
        let all_of = |of: fn(&Foot) -> f64| if moves { sum(of) } else { most(of) };
        (foot.count, foot.bytes) = (all_of(|f| f.count), all_of(|f| f.bytes));
        all.insert(place, foot);
    }
    all
}

/// Lines of some accesses to one buffer, those that several touch once.
fn lines<'a>(shape: &Shape, feet: impl Iterator<Item = &'a Foot>) -> f64 {
    // Boxes with the lines of each.
    let mut boxes: Vec<(Vec<Dim>, f64)> = Vec::new();
    for foot in feet {
        let mut new = (foot.dims.clone(), shape.lines(&foot.dims).min(foot.most));
        let mut n = 0;
        while n < boxes.len() {
            let hull: Vec<Dim> =
                new.0.iter().zip(&boxes[n].0).map(|(a, b)| a.hull(*b, (a.lo - b.lo).abs())).collect();
            let together = shape.lines(&hull);
            let apart = new.1 + boxes[n].1;
            if together <= apart || hull == boxes[n].0 {
                boxes.swap_remove(n);
                new = (hull, together.min(apart));
                n = 0;
            } else {
                n += 1;
            }
        }
        boxes.push(new);
    }
    boxes.iter().map(|b| b.1).sum()
}

/// Bytes of the lines that accesses touch, and what of it is read and written.
pub(super) fn bytes(feet: &Feet, shapes: &[Shape]) -> Bytes {
    let mut by_buffer: BTreeMap<BufferId, Vec<&Foot>> = BTreeMap::new();
    for foot in feet.values().filter(|f| !f.past) {
        by_buffer.entry(foot.buffer).or_default().push(foot);
    }
    let mut out = Bytes::default();
    for (buffer, feet) in by_buffer {
        let shape = &shapes[buffer.index()];
        let of = |write: bool| lines(shape, feet.iter().copied().filter(|f| f.write == write));
        let (read, written) = (of(false), of(true));
        let all = if read == 0.0 || written == 0.0 {
            read + written
        } else {
            lines(shape, feet.iter().copied()).max(read).max(written)
        };
        let line = LINE as f64;
        out.read += line * read;
        out.filled += line * (all - read);
        out.written += line * written;
    }
    out
}

/// Bytes that a cache needs to hold them.
pub(super) fn held(bytes: Bytes) -> f64 {
    bytes.read + bytes.filled
}

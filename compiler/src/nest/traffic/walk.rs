//! Follows the loops of a nest.

use std::collections::BTreeSet;
use std::rc::Rc;

use rooftile_artifact::DType;

use super::footprint::{self, Dim, Feet, Foot, Pass, Shape};
use super::range::{Env, Range};
use super::{Bytes, CACHES, Caches, GUESSED, Traffic, extents};
use crate::nest::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Nest, Phase, Space, Stmt, VarId};
use crate::nest::walk::for_each_stmt;

/// Accesses in passes that are followed, at most, each once for every loop around.
const MOST_WORK: usize = 600_000;
/// From so many on, loops are followed at their ends alone.
const MUCH_WORK: usize = 200_000;
/// Passes that are followed of a loop around bounds that are data.
const DATA_PASSES: i64 = 24;

/// What a piece of code does.
#[derive(Clone, Default)]
struct Moved {
    feet: Feet,
    /// Bytes of its lines.
    all: Bytes,
    /// What each cache lacks.
    misses: [Bytes; CACHES],
}

/// A loop that is written out.
struct Around {
    bit: u64,
    var: VarId,
    first: i64,
    passes: i64,
    lanes: bool,
}

pub(super) struct Walk<'a> {
    env: Env<'a>,
    caches: &'a Caches,
    shapes: Rc<[Shape]>,
    /// Variables that bounds, conditions and choices among indices depend on.
    control: BTreeSet<VarId>,
    /// Whether bounds or conditions depend on data.
    data: bool,
    /// Serial and written-out loops around.
    depth: u32,
    around: Vec<Around>,
    work: usize,
    gathered: BTreeSet<BufferId>,
    guessed: bool,
}

/// The pieces of a list of statements: loops, and what stands between them.
#[derive(Default)]
struct Pieces {
    done: Vec<Moved>,
    straight: Feet,
    seen: BTreeSet<(BufferId, Vec<ExprId>)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(env: Env<'a>, caches: &'a Caches) -> Option<Walk<'a>> {
        let nest = env.nest;
        let mut shapes = Vec::new();
        for (id, buffer) in nest.buffers.iter() {
            if buffer.space == Space::Matrix {
                return None;
            }
            let (extents, pitches) = extents(&env, id)?;
            shapes.push(Shape { extents, pitches, element: i64::try_from(buffer.dtype.size()).ok()? });
        }
        let (control, data) = control(nest);
        Some(Walk {
            env,
            caches,
            shapes: shapes.into(),
            control,
            data,
            depth: 0,
            around: Vec::new(),
            work: 0,
            gathered: BTreeSet::new(),
            guessed: false,
        })
    }

    /// What one launch moves.
    pub(super) fn launch(mut self) -> Option<Traffic> {
        let nest = self.env.nest;
        let phases: Option<Vec<Moved>> = nest.phases.iter().map(|p| self.phase(p, 0)).collect();
        let mut all = self.in_turn(phases?);
        for (misses, room) in all.misses.iter_mut().zip(self.caches.launch) {
            // The launch before left it there.
            if footprint::held(all.all) <= room {
                *misses = Bytes::default();
            }
        }
        let mut out = Traffic { guessed: self.guessed, ..Traffic::default() };
        for foot in all.feet.values() {
            if foot.write {
                out.stores += foot.count;
                out.levels[0].written += foot.bytes;
            } else {
                out.loads += foot.count;
                out.levels[0].read += foot.bytes;
            }
            out.past += if foot.past { foot.bytes } else { 0.0 };
        }
        out.levels[1..].copy_from_slice(&all.misses);
        out.levels[CACHES].written += out.past;
        out.gathered = self.gathered.iter().map(|b| nest.buffers[*b].name.clone()).collect();
        Some(out)
    }

    /// The chunks of a phase, from its core loop `n` on.
    fn phase(&mut self, phase: &Phase, n: usize) -> Option<Moved> {
        match phase.cores.get(n) {
            Some(core) => self.repeat(core.var, (core.lo, core.hi, core.step), |w| w.phase(phase, n + 1)),
            None => self.block(&phase.body),
        }
    }

    fn block(&mut self, body: &[Stmt]) -> Option<Moved> {
        self.work += 1;
        if self.work > MOST_WORK {
            return None;
        }
        let mut pieces = Pieces::default();
        self.stmts(body, &mut pieces)?;
        self.end_straight(&mut pieces);
        Some(self.in_turn(pieces.done))
    }

    fn end_straight(&self, pieces: &mut Pieces) {
        pieces.seen.clear();
        if !pieces.straight.is_empty() {
            let feet = std::mem::take(&mut pieces.straight);
            let all = footprint::bytes(&feet, &self.shapes);
            pieces.done.push(Moved { feet, all, misses: [all; CACHES] });
        }
    }

    fn stmts(&mut self, body: &[Stmt], pieces: &mut Pieces) -> Option<()> {
        for stmt in body {
            stmt.for_each_expr(|e| self.loads(e, pieces));
            match stmt {
                Stmt::Let { var, value } => {
                    let range = self.env.range(*value);
                    self.env.set(*var, range);
                }
                Stmt::Store { buffer, index, .. } => {
                    self.access(*buffer, index, std::ptr::from_ref(stmt).addr(), true, pieces);
                }
                Stmt::Atomic { buffer, index, old, .. } => {
                    let place = std::ptr::from_ref(stmt).addr();
                    self.access(*buffer, index, place, true, pieces);
                    self.access(*buffer, index, place + 1, false, pieces);
                    if let Some(old) = old {
                        self.env.set(*old, Range::DATA);
                    }
                }
                Stmt::If { cond, then, otherwise } => {
                    let cond = self.env.range(*cond);
                    self.guessed |= !cond.known;
                    if cond.single() != Some(0) {
                        self.stmts(then, pieces)?;
                    }
                    if cond.single().is_none_or(|v| v == 0) {
                        self.stmts(otherwise, pieces)?;
                    }
                }
                Stmt::Loop { var, lo, hi, step, kind, body } => {
                    let ends = self.env.single(*lo).zip(self.env.single(*hi));
                    match ends {
                        Some((lo, hi)) if kind.is_written_out() && hi > lo && !has_loop(body) => {
                            self.written_out(*var, (lo, hi, *step), *kind, body, pieces)?;
                        }
                        _ => {
                            self.end_straight(pieces);
                            let moved = self.repeat(*var, (*lo, *hi, *step), |w| w.block(body))?;
                            pieces.done.push(moved);
                        }
                    }
                }
                // What is fetched ahead is read later, and counted then.
                Stmt::SetStatus(_) | Stmt::Prefetch { .. } => {}
                Stmt::Matrix(_) => return None,
            }
        }
        Some(())
    }

    /// A loop whose points all run before whatever comes next.
    fn written_out(
        &mut self,
        var: VarId,
        (lo, hi, step): (i64, i64, i64),
        kind: LoopKind,
        body: &[Stmt],
        pieces: &mut Pieces,
    ) -> Option<()> {
        let passes = (hi - lo - 1) / step + 1;
        let bit = self.enter()?;
        self.env.set(var, Range { deps: bit, ..Range::new(lo, lo + (passes - 1) * step, step) });
        self.around.push(Around { bit, var, first: lo, passes, lanes: kind == LoopKind::Lanes });
        self.stmts(body, pieces)?;
        self.around.pop();
        self.depth -= 1;
        Some(())
    }

    fn enter(&mut self) -> Option<u64> {
        let bit = 1u64.checked_shl(self.depth)?;
        self.depth += 1;
        Some(bit)
    }

    /// The loads below an expression, each address once in a straight piece of code.
    fn loads(&mut self, e: ExprId, pieces: &mut Pieces) {
        let nest = self.env.nest;
        let mut stack = vec![e];
        let mut seen = BTreeSet::new();
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            let expr = &nest.exprs[e];
            if let ExprKind::Load { buffer, index } = &expr.kind {
                self.access(*buffer, index, std::ptr::from_ref(expr).addr(), false, pieces);
            }
            expr.for_each_operand(|o| stack.push(o));
        }
    }

    fn access(&mut self, buffer: BufferId, index: &[ExprId], place: usize, write: bool, pieces: &mut Pieces) {
        let of = &self.env.nest.buffers[buffer];
        let memory = matches!(of.space, Space::Global(_) | Space::Local | Space::Shared);
        if !memory || (!write && !pieces.seen.insert((buffer, index.to_vec()))) {
            return;
        }
        let shapes = Rc::clone(&self.shapes);
        let shape = &shapes[buffer.index()];
        let ranges: Vec<Range> = index.iter().map(|e| self.env.range(*e)).collect();
        let deps = ranges.iter().fold(0, |all, r| all | r.deps);
        let (mut dims, mut data) = (Vec::new(), false);
        for (d, r) in ranges.iter().enumerate() {
            data |= !r.known;
            let whole = Dim { lo: 0, hi: i64::MAX, step: 1, cyclic: false };
            let dim = Dim { lo: r.lo, hi: r.hi, step: r.step, cyclic: r.cyclic };
            dims.push(shape.clip(d, if r.known { dim } else { whole }));
        }
        if data {
            self.gathered.insert(buffer);
        }
        // Points of the loops that are written out, and instructions for them.
        let (mut points, mut instructions) = (1.0, 1.0);
        for a in &self.around {
            // A store is made at all points, though they be the same.
            if write || deps & a.bit != 0 {
                points *= a.passes as f64;
                if !a.lanes {
                    instructions *= a.passes as f64;
                }
            }
        }
        let size = shape.element as f64;
        if let Some(lanes) = self.around.iter().find(|a| a.lanes && deps & a.bit != 0) {
            let (first, var, n) = (lanes.first, lanes.var, lanes.passes as f64);
            let apart = self.apart(buffer, index, var, first);
            let shortest = self.caches.vector_bytes as f64;
            instructions *= apart.map_or(n, |apart| (apart * n / shortest).ceil().max(1.0).min(n));
        }
        let bytes_of_array =
            of.shape.first().map_or(size, |_| shape.extents[0].max(0) as f64 * shape.pitches[0] as f64);
        let past = write && of.past_caches.is_some_and(|least| bytes_of_array >= least as f64);
        let foot = Foot {
            buffer,
            write,
            past,
            most: shape.lines(&dims).min(points),
            dims,
            count: instructions,
            bytes: points * size,
            deps,
            varies: false,
        };
        let new = Feet::from([(place, foot)]);
        if pieces.straight.contains_key(&place) {
            pieces.straight = footprint::both(&pieces.straight, &new);
        } else {
            pieces.straight.extend(new);
        }
    }

    /// Bytes between the elements of two neighbouring lanes, if it is as much as an element or more.
    fn apart(&mut self, buffer: BufferId, index: &[ExprId], var: VarId, first: i64) -> Option<f64> {
        let kept = self.env.vars[var.index()];
        let at = |walk: &mut Walk<'a>, v: i64| {
            walk.env.set(var, Range::one(v));
            let shape = &walk.shapes[buffer.index()];
            let mut place = 0i64;
            for (e, pitch) in index.iter().zip(&shape.pitches) {
                let r = walk.env.range(*e);
                if !r.known {
                    return None;
                }
                place = place.saturating_add(r.lo.saturating_mul(*pitch));
            }
            Some(place)
        };
        let ends = at(self, first).zip(at(self, first + 1));
        self.env.set(var, kept);
        let (a, b) = ends?;
        let apart = a.abs_diff(b);
        (apart > 0).then_some(apart as f64)
    }

    /// A loop over what `body` does.
    fn repeat(
        &mut self,
        var: VarId,
        (lo, hi, step): (ExprId, ExprId, i64),
        mut body: impl FnMut(&mut Walk<'a>) -> Option<Moved>,
    ) -> Option<Moved> {
        let (lo, hi) = (self.env.range(lo), self.env.range(hi));
        self.guessed |= !lo.known || !hi.known;
        let first = if lo.known { lo.lo } else { 0 };
        let end =
            if lo.known && hi.known { hi.hi } else { first.saturating_add(GUESSED.saturating_mul(step)) };
        if end <= first {
            return Some(Moved::default());
        }
        let passes = (end.saturating_sub(first) - 1) / step + 1;
        let (bit, around) = (self.enter()?, lo.deps | hi.deps);
        let mut followed = Vec::new();
        for (number, times) in
            followed_passes(passes, self.work < MUCH_WORK && self.control.contains(&var), self.data)
        {
            self.env.set(
                var,
                Range { deps: bit | around, ..Range::one(first.saturating_add(number.saturating_mul(step))) },
            );
            followed.push((number, times, body(self)?));
        }
        self.depth -= 1;
        self.work += followed.iter().map(|(_, _, m)| m.feet.len()).sum::<usize>();
        if passes == 1 {
            return followed.pop().map(|(_, _, moved)| moved);
        }
        let parts: Vec<Pass<'_>> = followed
            .iter()
            .map(|(number, times, moved)| Pass { number: *number, times: *times, feet: &moved.feet })
            .collect();
        let feet = footprint::repeated(&parts, bit, &self.shapes);
        let all = footprint::bytes(&feet, &self.shapes);
        let one = followed.iter().map(|(_, _, m)| footprint::held(m.all)).fold(0.0, f64::max);
        let two = one + ((footprint::held(all) - one) / (passes - 1) as f64).max(0.0);
        let mut misses = [Bytes::default(); CACHES];
        for (level, out) in misses.iter_mut().enumerate() {
            for (_, times, moved) in &followed {
                *out = out.plus(moved.misses[level], *times);
            }
            if two <= self.caches.chunk[level] && all.total() < out.total() {
                *out = all;
            }
        }
        Some(Moved { feet, all, misses })
    }

    /// Pieces one after the other; neighbours that a cache can hold together share what they touch.
    fn in_turn(&self, mut pieces: Vec<Moved>) -> Moved {
        pieces.retain(|p| !p.feet.is_empty());
        if pieces.len() < 2 {
            return pieces.pop().unwrap_or_default();
        }
        let mut misses = [Bytes::default(); CACHES];
        for (level, out) in misses.iter_mut().enumerate() {
            let mut group = pieces[0].clone();
            for piece in &pieces[1..] {
                let feet = footprint::both(&group.feet, &piece.feet);
                let all = footprint::bytes(&feet, &self.shapes);
                if footprint::held(all) <= self.caches.chunk[level] {
                    let apart = group.misses[level].plus(piece.misses[level], 1.0);
                    group.misses[level] = if all.total() < apart.total() { all } else { apart };
                    (group.feet, group.all) = (feet, all);
                } else {
                    *out = out.plus(group.misses[level], 1.0);
                    group = piece.clone();
                }
            }
            *out = out.plus(group.misses[level], 1.0);
        }
        let feet =
            pieces.iter().skip(1).fold(pieces[0].feet.clone(), |all, p| footprint::both(&all, &p.feet));
        let all = footprint::bytes(&feet, &self.shapes);
        Moved { feet, all, misses }
    }
}

/// Passes that stand for all: their numbers, and how many each stands for.
fn followed_passes(passes: i64, control: bool, data: bool) -> Vec<(i64, f64)> {
    let n = passes as f64;
    match passes {
        1 => vec![(0, 1.0)],
        2 => vec![(0, 1.0), (1, 1.0)],
        _ if !control => vec![(0, n / 2.0), (passes - 1, n / 2.0)],
        _ if data && passes > 3 => {
            let some = passes.min(DATA_PASSES);
            (0..some).map(|k| (k * (passes - 1) / (some - 1), n / some as f64)).collect()
        }
        _ => vec![(0, 1.0), ((passes - 1) / 2, n - 2.0), (passes - 1, 1.0)],
    }
}

fn has_loop(body: &[Stmt]) -> bool {
    let mut found = false;
    for_each_stmt(body, &mut |s| {
        found |= matches!(s, Stmt::Loop { kind, .. } if !kind.is_written_out());
    });
    found
}

/// Variables that bounds, conditions and choices among indices depend on, and whether bounds or conditions depend on memory.
fn control(nest: &Nest) -> (BTreeSet<VarId>, bool) {
    let mut lets: Vec<(VarId, ExprId)> = Vec::new();
    let mut roots: Vec<ExprId> = Vec::new();
    for phase in &nest.phases {
        roots.extend(phase.cores.iter().flat_map(|c| [c.lo, c.hi]));
        for_each_stmt(&phase.body, &mut |s| match s {
            Stmt::Let { var, value } => lets.push((*var, *value)),
            Stmt::Loop { lo, hi, .. } => roots.extend([*lo, *hi]),
            Stmt::If { cond, .. } => roots.push(*cond),
            _ => {}
        });
    }
    let (mut vars, mut data) = (BTreeSet::new(), false);
    let mut take = |e: ExprId, vars: &mut BTreeSet<VarId>| {
        nest.any(e, |kind| {
            match kind {
                ExprKind::Var(v) => {
                    vars.insert(*v);
                }
                ExprKind::Load { buffer, .. } => {
                    data |= matches!(nest.buffers[*buffer].space, Space::Global(_));
                }
                _ => {}
            }
            false
        });
    };
    roots.iter().for_each(|e| take(*e, &mut vars));
    let chosen = |kind: &ExprKind| {
        matches!(kind, ExprKind::Select(..) | ExprKind::Binary(BinaryOp::Min | BinaryOp::Max, ..))
    };
    for (e, _) in nest.exprs.iter().filter(|(_, e)| e.dtype == DType::I64 && chosen(&e.kind)) {
        nest.any(e, |kind| {
            if let ExprKind::Var(v) = kind {
                vars.insert(*v);
            }
            false
        });
    }
    // A variable is bound before its uses.
    for (var, value) in lets.iter().rev() {
        if vars.contains(var) {
            take(*value, &mut vars);
        }
    }
    (vars, data)
}

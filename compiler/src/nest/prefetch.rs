//! Fetching ahead what a loop reads from a buffer: each pass asks for the lines that the pass `n` later reads.
//!
//! ```text
//! for k in lo..hi step 16 { lanes v in 0..16 { s[v] = s[v] + A[i, k + v] } }
//! =>
//! for k in lo..hi step 16 { prefetch A[i, k + 16 * n]  lanes v in 0..16 { s[v] = s[v] + A[i, k + v] } }
//! ```
//! The loop is the innermost serial one along which the address of a read moves, and inside of which that of no other read
//! of the buffer does: what is left over behind such a loop is fetched by nobody, nor is what is read under a condition. An address may lie beyond the buffer,
//! where nothing is fetched. An index that is read (`x[col[e]]`) must not: it is that of the pass `n` later where there is
//! one, and of this pass at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Builder;
use super::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Nest, Space, Stmt, VarId};

/// Bits of a line of the caches.
const LINE: i64 = 64 * 8;

/// Most lines of one buffer that a pass asks for.
const LINES: usize = 64;

/// Why nothing is fetched ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing reads the buffer.
    NotRead,
    /// No loop on one core moves along it, or where it is read depends on what the loop computes.
    NoLoop,
    /// A pass of the loop reads too many lines.
    TooManyLines,
}

/// Fetches what is read of a buffer `passes` passes ahead, and has nothing else of it fetched. With 0, nothing is.
///
/// # Errors
/// Why nothing can be fetched; the nest is then as it was.
pub fn prefetch(nest: &mut Nest, buffer: BufferId, passes: i64) -> Result<(), Missed> {
    let mut reads = Reads::of(nest, buffer);
    if !reads.any {
        return Err(Missed::NotRead);
    }
    if passes > 0 {
        let outer: BTreeSet<usize> = reads.found.iter().flat_map(|r| r.outside.iter().copied()).collect();
        reads.found.retain(|r| !outer.contains(&r.at.number));
        if reads.found.is_empty() {
            return Err(Missed::NoLoop);
        }
        let (found, lets) = (reads.found, reads.lets);
        let mut b = Builder::from_nest(nest.clone());
        let mut by_loop: BTreeMap<usize, Lines> = BTreeMap::new();
        for read in &found {
            by_loop.entry(read.at.number).or_default().add(&mut b, &lets, read, passes)?;
        }
        *nest = b.finish();
        let mut number = 0;
        for phase in &mut nest.phases {
            prepend(&mut phase.body, &mut number, &mut |n| {
                by_loop.remove(&n).map(|lines| lines.statements(buffer)).unwrap_or_default()
            });
        }
    }
    nest.buffers[buffer].own_prefetch = true;
    Ok(())
}

/// Puts statements at the beginning of loops, by their numbers.
fn prepend(block: &mut [Stmt], number: &mut usize, statements: &mut impl FnMut(usize) -> Vec<Stmt>) {
    for stmt in block {
        match stmt {
            Stmt::Loop { body, .. } => {
                let first = statements(*number);
                *number += 1;
                prepend(body, number, statements);
                body.splice(0..0, first);
            }
            Stmt::If { then, otherwise, .. } => {
                prepend(then, number, statements);
                prepend(otherwise, number, statements);
            }
            _ => {}
        }
    }
}

/// A loop, with its place among all loops of the nest.
#[derive(Clone, Copy, Debug)]
struct Around {
    number: usize,
    var: VarId,
    hi: ExprId,
    step: i64,
}

/// A read of the buffer that a loop moves along.
#[derive(Clone, Debug)]
struct Read {
    buffer: BufferId,
    index: Vec<ExprId>,
    /// The loop.
    at: Around,
    /// Loops in order around that one.
    outside: Vec<usize>,
    /// Loops between that are written out, with their counters' values.
    written_out: Vec<(VarId, Vec<i64>)>,
    /// What is bound inside the loop: its definition is to be written into the index.
    inside: BTreeSet<VarId>,
    /// Whether what the index reads moves with the loop.
    indirect: bool,
}

/// Finds the reads of a buffer.
struct Reads<'a> {
    nest: &'a Nest,
    buffer: BufferId,
    found: Vec<Read>,
    /// Whether there is a read at all.
    any: bool,
    lets: BTreeMap<VarId, ExprId>,
    /// Everything around the current statement that binds variables, from the outside in.
    around: Vec<Scope>,
    loops: usize,
}

#[derive(Clone, Debug)]
enum Scope {
    Serial(Around),
    WrittenOut(VarId, Vec<i64>),
    /// A condition.
    If,
    Let(VarId),
    /// What an atomic found.
    Old(VarId),
}

impl<'a> Reads<'a> {
    fn of(nest: &'a Nest, buffer: BufferId) -> Reads<'a> {
        let (found, around) = (Vec::new(), Vec::new());
        let mut reads = Reads { nest, buffer, found, any: false, lets: BTreeMap::new(), around, loops: 0 };
        for phase in &nest.phases {
            reads.block(&phase.body);
        }
        reads
    }

    fn block(&mut self, block: &'a [Stmt]) {
        let outside = self.around.len();
        for stmt in block {
            let mut loads: BTreeSet<Vec<ExprId>> = BTreeSet::new();
            if !matches!(stmt, Stmt::Prefetch { .. }) {
                let mut seen = BTreeSet::new();
                stmt.for_each_expr(|e| {
                    self.nest.for_each_load(e, &mut seen, &mut |b, index| {
                        if b == self.buffer {
                            loads.insert(index.to_vec());
                        }
                    });
                });
            }
            for index in loads {
                self.any = true;
                self.found.extend(self.read(index));
            }
            match stmt {
                Stmt::Loop { var, lo, hi, step, kind, body } => {
                    let number = self.loops;
                    self.loops += 1;
                    let scope = match kind {
                        LoopKind::Unrolled | LoopKind::Lanes => {
                            let bounds = self.nest.const_int(*lo).zip(self.nest.const_int(*hi));
                            let (lo, hi) = bounds.unwrap_or((0, 0));
                            let step = usize::try_from(*step).unwrap_or(1).max(1);
                            Scope::WrittenOut(*var, (lo..hi).step_by(step).collect())
                        }
                        _ => Scope::Serial(Around { number, var: *var, hi: *hi, step: *step }),
                    };
                    self.around.push(scope);
                    self.block(body);
                    self.around.pop();
                }
                Stmt::If { then, otherwise, .. } => {
                    self.around.push(Scope::If);
                    self.block(then);
                    self.block(otherwise);
                    self.around.pop();
                }
                Stmt::Let { var, value } => {
                    self.lets.insert(*var, *value);
                    self.around.push(Scope::Let(*var));
                }
                Stmt::Atomic { old: Some(old), .. } => self.around.push(Scope::Old(*old)),
                _ => {}
            }
        }
        self.around.truncate(outside);
    }

    /// A read, where some loop moves along it in a way that can be told ahead.
    /// What only some passes read is left out.
    fn read(&self, index: Vec<ExprId>) -> Option<Read> {
        let vars = index.iter().fold(BTreeSet::new(), |mut vars, e| {
            self.vars(*e, &mut vars);
            vars
        });
        let moves = |s: &Scope| matches!(s, Scope::Serial(l) if vars.contains(&l.var));
        let position = self.around.iter().rposition(moves)?;
        let Scope::Serial(at) = self.around[position] else { return None };
        let (mut written_out, mut inside) = (Vec::new(), BTreeSet::new());
        let mut conditional = false;
        for scope in &self.around[position + 1..] {
            match scope {
                Scope::WrittenOut(var, values) => written_out.push((*var, values.clone())),
                Scope::Let(var) => {
                    inside.insert(*var);
                }
                // Nobody knows what it will be.
                Scope::Old(var) if vars.contains(var) => return None,
                // As the rest of a row that fills no vector.
                Scope::If => return None,
                Scope::Serial(_) => conditional = true,
                Scope::Old(_) => {}
            }
        }
        let outside = self.around[..position].iter().filter_map(|s| match s {
            Scope::Serial(l) => Some(l.number),
            _ => None,
        });
        let outside = outside.collect();
        let mut read = Read { buffer: self.buffer, index, at, outside, written_out, inside, indirect: false };
        read.indirect = self.foreseen(&read.index, &read, conditional)?;
        // Whether there is such a pass is then asked in each one.
        (!read.indirect || self.foreseen(&[at.hi], &read, false).is_some()).then_some(read)
    }

    /// The variables that an expression depends on, by definitions too.
    fn vars(&self, e: ExprId, out: &mut BTreeSet<VarId>) {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![e]);
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            if let ExprKind::Var(v) = self.nest.exprs[e].kind
                && out.insert(v)
            {
                stack.extend(self.lets.get(&v));
            }
            self.nest.exprs[e].for_each_operand(|o| stack.push(o));
        }
    }

    /// Whether elements that are read for these expressions move with the loop; `None` where those of a later pass cannot
    /// be computed now, or not without harm.
    fn foreseen(&self, es: &[ExprId], read: &Read, conditional: bool) -> Option<bool> {
        let (mut seen, mut stack) = (BTreeSet::new(), es.to_vec());
        let moves = |e: ExprId| {
            let mut vars = BTreeSet::new();
            self.vars(e, &mut vars);
            vars.contains(&read.at.var)
        };
        let mut indirect = false;
        while let Some(e) = stack.pop() {
            if !seen.insert(e) {
                continue;
            }
            match &self.nest.exprs[e].kind {
                ExprKind::Var(v) if read.inside.contains(v) => stack.extend(self.lets.get(v)),
                ExprKind::Load { buffer, .. } => {
                    let space = self.nest.buffers[*buffer].space;
                    if conditional || !matches!(space, Space::Global(_)) || self.nest.writes_to(space) {
                        return None;
                    }
                    indirect |= moves(e);
                }
                // A divisor of another pass may be 0.
                ExprKind::Binary(op, _, divisor) if divides(*op) && (conditional || moves(*divisor)) => {
                    self.nest.const_int(*divisor)?;
                }
                _ => {}
            }
            self.nest.exprs[e].for_each_operand(|o| stack.push(o));
        }
        Some(indirect)
    }
}

fn divides(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Div | BinaryOp::Rem | BinaryOp::DivNonNeg | BinaryOp::RemNonNeg)
}

/// An index but for a number of bits: multiples of expressions, of the dimensions together that lie a number of bits
/// apart, and of each other one with its number. Elements that share a byte are told apart, near enough for lines.
type Origin = Vec<(BTreeMap<ExprId, i64>, i64)>;

/// Elements of a buffer by their origins and their distances in bits.
#[derive(Default)]
struct Lines {
    all: BTreeMap<Origin, BTreeMap<i64, Vec<ExprId>>>,
}

impl Lines {
    /// What a read touches in the pass that is so many passes later.
    fn add(
        &mut self,
        b: &mut Builder,
        lets: &BTreeMap<VarId, ExprId>,
        read: &Read,
        passes: i64,
    ) -> Result<(), Missed> {
        let ahead = later(b, read, passes);
        let points: usize = read.written_out.iter().map(|(_, values)| values.len()).product();
        for point in 0..points {
            let mut rest = point;
            let mut bound = BTreeMap::from([(read.at.var, ahead)]);
            for (var, values) in read.written_out.iter().rev() {
                bound.insert(*var, b.int(values[rest % values.len()]));
                rest /= values.len();
            }
            let mut written =
                Written { b: &mut *b, lets, inside: &read.inside, bound, known: BTreeMap::new() };
            let index: Vec<ExprId> = read.index.iter().map(|e| written.expr(*e)).collect();
            let (origin, bits) = origin(b.nest(), read.buffer, &index);
            self.all.entry(origin).or_default().insert(bits, index);
            if self.count() > LINES {
                return Err(Missed::TooManyLines);
            }
        }
        Ok(())
    }

    /// Of the elements of one origin those that are a line or more behind the one before.
    fn apart(elements: &BTreeMap<i64, Vec<ExprId>>) -> impl Iterator<Item = &Vec<ExprId>> {
        let mut last: Option<i64> = None;
        elements.iter().filter_map(move |(at, index)| {
            let near = last.is_some_and(|last| at.saturating_sub(last) < LINE);
            (!near).then(|| {
                last = Some(*at);
                index
            })
        })
    }

    fn count(&self) -> usize {
        self.all.values().map(|elements| Lines::apart(elements).count()).sum()
    }

    fn statements(&self, buffer: BufferId) -> Vec<Stmt> {
        let each = self.all.values().flat_map(Lines::apart);
        each.map(|index| Stmt::Prefetch { buffer, index: index.clone() }).collect()
    }
}

/// The loop's counter so many passes later. Where something is read at it, that must be a pass that there is.
fn later(b: &mut Builder, read: &Read, passes: i64) -> ExprId {
    let now = b.var(read.at.var);
    let ahead = b.add_int(now, passes.saturating_mul(read.at.step));
    if !read.indirect {
        return ahead;
    }
    let exists = b.lt(ahead, read.at.hi);
    b.select(exists, ahead, now)
}

/// Where an element is: its origin, and how many bits behind it.
fn origin(nest: &Nest, buffer: BufferId, index: &[ExprId]) -> (Origin, i64) {
    let buffer = &nest.buffers[buffer];
    let mut stride = i64::try_from(8 * buffer.dtype.size()).ok();
    let (mut together, mut bits, mut others) = (BTreeMap::new(), 0i64, Vec::new());
    for (&e, &extent) in index.iter().zip(&buffer.shape).rev() {
        match stride {
            Some(stride) => linear(nest, e, stride, &mut together, &mut bits),
            None => {
                let (mut terms, mut constant) = (BTreeMap::new(), 0);
                linear(nest, e, 1, &mut terms, &mut constant);
                others.push((terms, constant));
            }
        }
        stride = stride.zip(nest.const_int(extent)).and_then(|(s, n)| s.checked_mul(n));
    }
    others.push((together, 0));
    (others, bits)
}

/// Adds a multiple of an index, taken apart into multiples of expressions and a number.
fn linear(nest: &Nest, e: ExprId, factor: i64, terms: &mut BTreeMap<ExprId, i64>, constant: &mut i64) {
    match nest.exprs[e].kind {
        ExprKind::Const(v) => *constant = constant.wrapping_add(v.as_i64().wrapping_mul(factor)),
        ExprKind::Binary(BinaryOp::Add, a, b) => {
            linear(nest, a, factor, terms, constant);
            linear(nest, b, factor, terms, constant);
        }
        ExprKind::Binary(BinaryOp::Sub, a, b) => {
            linear(nest, a, factor, terms, constant);
            linear(nest, b, factor.wrapping_neg(), terms, constant);
        }
        ExprKind::Binary(BinaryOp::Mul, a, b) if let Some(c) = nest.const_int(b) => {
            linear(nest, a, factor.wrapping_mul(c), terms, constant);
        }
        // Of elements that share a byte; what is rounded away is less than one.
        ExprKind::Binary(BinaryOp::DivNonNeg, a, b)
            if let Some(d) = nest.const_int(b)
                && d > 0
                && factor % d == 0 =>
        {
            linear(nest, a, factor / d, terms, constant);
        }
        _ => {
            let mine = terms.entry(e).or_insert(0);
            *mine = mine.wrapping_add(factor);
        }
    }
}

/// Writes expressions with other values of variables, and definitions in place of what is bound where they do not stand.
struct Written<'b, 'a> {
    b: &'b mut Builder,
    lets: &'a BTreeMap<VarId, ExprId>,
    inside: &'a BTreeSet<VarId>,
    bound: BTreeMap<VarId, ExprId>,
    known: BTreeMap<ExprId, ExprId>,
}

impl Written<'_, '_> {
    fn expr(&mut self, e: ExprId) -> ExprId {
        if let Some(known) = self.known.get(&e) {
            return *known;
        }
        let expr = self.b.nest().exprs[e].clone();
        let new = match expr.kind {
            ExprKind::Const(_) | ExprKind::Size(_) | ExprKind::Param(_) => e,
            ExprKind::Var(v) => match (self.bound.get(&v), self.lets.get(&v)) {
                (Some(bound), _) => *bound,
                (None, Some(definition)) if self.inside.contains(&v) => self.expr(*definition),
                _ => e,
            },
            _ => {
                let operands: Vec<ExprId> = expr.operands().into_iter().map(|o| self.expr(o)).collect();
                self.b.again(&expr, &operands)
            }
        };
        self.known.insert(e, new);
        new
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;

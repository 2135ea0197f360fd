//! Loops over the threads of a group: how they nest, where they end, and which registers belong to them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ir::{BinaryOp, BufferId, ExprId, ExprKind, LoopKind, Nest, Space, Stmt, VarId};
use super::super::walk::for_each_stmt;
use super::{Report, own};

/// The place of a loop over threads: the counts of the loops that it is nested with, from the outside in, and which of
/// them it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counts of the chain of loops.
    pub counts: Vec<u32>,
    /// Position in the chain.
    pub depth: usize,
}

/// Dimensions of register buffers that belong to the threads, by the place of their loop.
pub type Dims = own::Dims<Place>;

/// The counters of the loops over threads of a nest, with their places.
#[must_use]
pub fn counters(nest: &Nest) -> BTreeMap<VarId, Place> {
    let mut out = BTreeMap::new();
    for phase in &nest.phases {
        chains(&phase.body, &mut Vec::new(), &mut out);
    }
    out
}

fn chains(block: &[Stmt], around: &mut Vec<(VarId, u32)>, out: &mut BTreeMap<VarId, Place>) {
    for stmt in block {
        let by_threads = match stmt {
            Stmt::Loop { var, kind: LoopKind::Threads { count }, .. } => Some((*var, *count)),
            _ => None,
        };
        around.extend(by_threads);
        if by_threads.is_some() && !has_threads(stmt.blocks().flatten()) {
            let counts: Vec<u32> = around.iter().map(|(_, c)| *c).collect();
            for (depth, (var, _)) in around.iter().enumerate() {
                out.insert(*var, Place { counts: counts.clone(), depth });
            }
        }
        for inner in stmt.blocks() {
            chains(inner, around, out);
        }
        if by_threads.is_some() {
            around.pop();
        }
    }
}

/// Whether any of the statements is, or contains, a loop over threads.
pub fn has_threads<'a>(mut stmts: impl Iterator<Item = &'a Stmt>) -> bool {
    stmts.any(|s| {
        matches!(s, Stmt::Loop { kind: LoopKind::Threads { .. }, .. }) || has_threads(s.blocks().flatten())
    })
}

/// The dimensions of register buffers that belong to the threads: those whose index is, wherever it is not constant or
/// written out, the counter of a loop over threads.
#[must_use]
pub fn dims(nest: &Nest) -> Dims {
    own::dims(nest, Space::Register, &counters(nest))
}

/// The counter and the constant of an index that means another thread: `counter ^ constant`.
#[must_use]
pub fn partner(nest: &Nest, e: ExprId) -> Option<(VarId, u32)> {
    let ExprKind::Binary(BinaryOp::Xor, a, b) = nest.exprs[e].kind else { return None };
    let ExprKind::Var(v) = nest.exprs[a].kind else { return None };
    Some((v, u32::try_from(nest.const_int(b)?).ok()?))
}

/// Whether statements read registers of other threads.
#[must_use]
pub fn exchanges(nest: &Nest, block: &Vec<Stmt>) -> bool {
    let mut found = false;
    nest.for_each_access([block], &mut |buffer, index| {
        found |= is_exchange(nest, buffer, index);
    });
    found
}

/// Whether an access to a buffer reaches for registers of another thread.
#[must_use]
pub fn is_exchange(nest: &Nest, buffer: BufferId, index: &[ExprId]) -> bool {
    nest.buffers[buffer].space == Space::Register && index.iter().any(|e| partner(nest, *e).is_some())
}

/// Whether a loop of at most `count` threads may end here.
pub(super) fn ends_at(nest: &Nest, hi: ExprId, count: u32) -> bool {
    let within = |e: ExprId| nest.const_int(e).is_some_and(|n| n <= i64::from(count));
    match &nest.exprs[hi].kind {
        ExprKind::Binary(BinaryOp::Min, a, b) => within(*a) || within(*b),
        _ => within(hi),
    }
}

/// Rules 4 to 6 as far as they are about threads.
pub(super) fn check(nest: &Nest, dims: &Dims, report: &mut Report<'_>) {
    let counters = counters(nest);
    for phase in &nest.phases {
        together(nest, &phase.body, &BTreeSet::new(), report);
        nesting(nest, &phase.body, false, report);
        let mut varies: BTreeSet<VarId> = counters.keys().copied().collect();
        ends(nest, &phase.body, &mut varies, report);
    }
    nest.for_each_access(nest.phases.iter().map(|p| &p.body), &mut |buffer, index| {
        let Some(own) = dims.get(&buffer) else { return };
        for (place, e) in own.iter().zip(index) {
            let Some(place) = place else { continue };
            let fits = match (&nest.exprs[*e].kind, partner(nest, *e)) {
                (ExprKind::Var(v), _) => counters.get(v) == Some(place),
                // The bits are below a power of two that divides the count.
                (_, Some((v, bits))) => {
                    let count = place.counts.get(place.depth).copied().unwrap_or(1);
                    counters.get(&v) == Some(place)
                        && bits.leading_zeros() + count.trailing_zeros() >= u32::BITS
                }
                _ => false,
            };
            if !fits {
                let name = &nest.buffers[buffer].name;
                report.add(6, format_args!("a thread reaches for registers of another one in `{name}`"));
            }
        }
    });
}

/// Threads that read each other's registers do so all together, and nobody writes them meanwhile. `whole` are the counters
/// of the loops around whose threads are all at work: those of a row of another loop are there together, or not at all.
fn together(nest: &Nest, block: &[Stmt], whole: &BTreeSet<VarId>, report: &mut Report<'_>) {
    for stmt in block {
        let Stmt::Loop { var, hi, kind: LoopKind::Threads { count }, body, .. } = stmt else {
            stmt.blocks().for_each(|inner| together(nest, inner, whole, report));
            continue;
        };
        let mut whole = whole.clone();
        if nest.const_int(*hi) == Some(i64::from(*count)) {
            whole.insert(*var);
        }
        if has_threads(body.iter()) {
            together(nest, body, &whole, report);
            continue;
        }
        let mut read = BTreeSet::new();
        let mut wrong = !take_part(nest, body, &whole, &mut read);
        for_each_stmt(body, &mut |s| {
            wrong |= s.written().is_some_and(|buffer| read.contains(&buffer));
        });
        if wrong {
            report.add(6, format_args!("some threads read registers of others that do not take part"));
        }
    }
}

/// Whether registers of others are read only where all threads of their loops are there; notes whose.
fn take_part(nest: &Nest, block: &[Stmt], whole: &BTreeSet<VarId>, read: &mut BTreeSet<BufferId>) -> bool {
    let mut all = true;
    for stmt in block {
        match stmt {
            Stmt::Loop { kind, body, .. } if kind.is_written_out() => {
                all &= take_part(nest, body, whole, read);
                continue;
            }
            _ => all &= !stmt.blocks().any(|inner| exchanges(nest, inner)),
        }
        stmt.for_each_expr(|e| {
            nest.for_each_load(e, &mut BTreeSet::new(), &mut |buffer, index| {
                if is_exchange(nest, buffer, index) {
                    read.insert(buffer);
                    all &= index.iter().filter_map(|e| partner(nest, *e)).all(|(v, _)| whole.contains(&v));
                }
            });
        });
    }
    all
}

fn nesting(nest: &Nest, block: &[Stmt], in_lanes: bool, report: &mut Report<'_>) {
    for stmt in block {
        let mut lanes = in_lanes;
        if let Stmt::Loop { var, kind, body, .. } = stmt {
            let name = &nest.vars[*var].name;
            match kind {
                LoopKind::Threads { .. } => {
                    let alone = matches!(&body[..], [Stmt::Loop { kind: LoopKind::Threads { .. }, .. }]);
                    if lanes || (!alone && has_threads(body.iter())) {
                        report
                            .add(5, format_args!("threads `{name}` do not nest with other threads or lanes"));
                    }
                }
                LoopKind::Lanes => lanes = true,
                LoopKind::Serial | LoopKind::Unrolled | LoopKind::Subgroups { .. } => {}
            }
        }
        for inner in stmt.blocks() {
            nesting(nest, inner, lanes, report);
        }
    }
}

/// Ends of loops over threads are the same for all threads. `varies` holds what differs from thread to thread.
fn ends(nest: &Nest, block: &[Stmt], varies: &mut BTreeSet<VarId>, report: &mut Report<'_>) {
    for stmt in block {
        match stmt {
            Stmt::Loop { var, hi, kind: LoopKind::Threads { .. }, .. } if nest.mentions(*hi, varies) => {
                let name = &nest.vars[*var].name;
                report.add(4, format_args!("threads `{name}` end at another place for each thread"));
            }
            Stmt::Loop { var, lo, hi, .. } if nest.mentions(*lo, varies) || nest.mentions(*hi, varies) => {
                varies.insert(*var);
            }
            Stmt::Let { var, value } if nest.mentions(*value, varies) => {
                varies.insert(*var);
            }
            _ => {}
        }
        for inner in stmt.blocks() {
            ends(nest, inner, varies, report);
        }
    }
}

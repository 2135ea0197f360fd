//! Loops over subgroups, and the matrices that those have: rules 5 and 13 to 15.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ir::{BufferId, ExprId, ExprKind, LoopKind, MatrixOp, Nest, Space, Stmt, VarId};
use super::super::walk::for_each_stmt;
use super::Report;
use super::own::{self, is_own};

/// Most matrices of a buffer, for each subgroup.
const MATRICES: i64 = 64;

/// Dimensions of matrix buffers that belong to the subgroups, by the count of those.
pub type Dims = own::Dims<u32>;

/// The most subgroups that a loop of a list of statements has; 0 without any.
#[must_use]
pub fn most(block: &[Stmt]) -> u32 {
    let mut most = 0;
    for_each_stmt(block, &mut |s| most = most.max(count(s).unwrap_or(0)));
    most
}

/// Passes of a loop over subgroups.
#[must_use]
pub fn count(stmt: &Stmt) -> Option<u32> {
    match stmt {
        Stmt::Loop { kind: LoopKind::Subgroups { count }, .. } => Some(*count),
        _ => None,
    }
}

/// The dimensions of matrix buffers that belong to the subgroups: those with an index that is the counter of a loop over
/// subgroups.
#[must_use]
pub fn dims(nest: &Nest) -> Dims {
    let mut counters: BTreeMap<VarId, u32> = BTreeMap::new();
    for phase in &nest.phases {
        for_each_stmt(&phase.body, &mut |s| {
            if let (Stmt::Loop { var, .. }, Some(count)) = (s, count(s)) {
                counters.insert(*var, count);
            }
        });
    }
    own::dims(nest, Space::Matrix, &counters)
}

/// Rows and columns of the matrices of a buffer.
#[must_use]
pub fn sides(nest: &Nest, buffer: BufferId) -> Option<(u32, u32)> {
    let &[.., rows, columns] = &nest.buffers[buffer].shape[..] else { return None };
    let side = |e| nest.const_int(e).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    Some((side(rows)?, side(columns)?))
}

/// Rules 5 and 13 to 15 as far as they are about matrices.
pub(super) fn check(nest: &Nest, dims: &Dims, report: &mut Report<'_>) {
    for (id, buffer) in nest.buffers.iter().filter(|(_, b)| b.space == Space::Matrix) {
        let name = &buffer.name;
        if sides(nest, id).is_none() {
            report.add(13, format_args!("matrices `{name}` have no constant rows and columns"));
            continue;
        }
        let leading = buffer.shape.iter().rev().skip(2).rev().enumerate();
        let each = leading.filter(|(d, _)| !is_own(dims, id, *d)).map(|(_, e)| nest.const_int(*e));
        let number = each.into_iter().try_fold(1i64, |n, e| n.checked_mul(e?.max(0)));
        if number.is_none_or(|n| n > MATRICES) {
            report.add(13, format_args!("`{name}` has no constant number of at most {MATRICES} matrices"));
        }
    }
    for phase in &nest.phases {
        block(nest, dims, &phase.body, Around::Nothing, report);
    }
}

/// The loop around that decides what a statement may be.
#[derive(Clone, Copy)]
enum Around {
    Nothing,
    Threads,
    Subgroups(VarId, u32),
}

fn block(nest: &Nest, dims: &Dims, stmts: &[Stmt], around: Around, report: &mut Report<'_>) {
    for stmt in stmts {
        let mut inside = around;
        match (stmt, around) {
            (Stmt::Loop { var, kind: LoopKind::Subgroups { count }, body, .. }, _) => {
                if !matches!(around, Around::Nothing) {
                    let name = &nest.vars[*var].name;
                    report.add(5, format_args!("subgroups `{name}` inside threads or other subgroups"));
                }
                memory(nest, *var, body, report);
                inside = Around::Subgroups(*var, *count);
            }
            (Stmt::Loop { kind: LoopKind::Threads { .. }, .. }, Around::Nothing) => inside = Around::Threads,
            (Stmt::Loop { kind: LoopKind::Threads { .. } | LoopKind::Lanes, .. }, Around::Subgroups(..)) => {
                report.add(5, format_args!("threads or lanes inside subgroups"));
            }
            (
                Stmt::Store { .. } | Stmt::Atomic { .. } | Stmt::Prefetch { .. } | Stmt::SetStatus(_),
                Around::Subgroups(..),
            ) => {
                report.add(5, format_args!("a statement on one element inside subgroups"));
            }
            (Stmt::Matrix(op), Around::Subgroups(var, count)) => {
                owned(nest, dims, op, (var, count), report);
                product(nest, op, report);
            }
            (Stmt::Matrix(_), _) => report.add(14, format_args!("matrices outside of subgroups")),
            _ => {}
        }
        for inner in stmt.blocks() {
            block(nest, dims, inner, inside, report);
        }
    }
}

/// A subgroup uses its own matrices only.
fn owned(nest: &Nest, dims: &Dims, op: &MatrixOp, around: (VarId, u32), report: &mut Report<'_>) {
    let is_counter = |e: &ExprId| matches!(nest.exprs[*e].kind, ExprKind::Var(v) if v == around.0);
    for m in op.matrices() {
        let mut own = m.index.iter().enumerate().filter(|(d, _)| is_own(dims, m.buffer, *d)).peekable();
        let alone = own.peek().is_none();
        let count = |d| dims.get(&m.buffer).and_then(|own| *own.get(d)?);
        if (alone && around.1 != 1) || !own.all(|(d, e)| is_counter(e) && count(d) == Some(around.1)) {
            let name = &nest.buffers[m.buffer].name;
            report.add(13, format_args!("several subgroups share matrices of `{name}`"));
        }
    }
}

/// Rule 14 of a product.
fn product(nest: &Nest, op: &MatrixOp, report: &mut Report<'_>) {
    let MatrixOp::MultiplyAdd { acc, a, b } = op else { return };
    let [result, left, right] = [acc, a, b].map(|m| &nest.buffers[m.buffer]);
    if let [Some((m, n)), Some((rows, k)), Some((terms, columns))] =
        [acc, a, b].map(|m| sides(nest, m.buffer))
        && (rows != m || columns != n || terms != k)
    {
        report.add(14, format_args!("a product of {rows}x{k} and {terms}x{columns} that is {m}x{n}"));
    }
    let (factor, sum) = (left.dtype, result.dtype);
    let alike = match (factor.is_int(), sum.is_int()) {
        (true, true) => factor.is_signed_int() == sum.is_signed_int(),
        (false, false) => factor.is_float() && sum.is_float(),
        _ => false,
    };
    if right.dtype != factor || !alike || sum.size() < factor.size() {
        let other = right.dtype;
        report.add(14, format_args!("a product of {factor} and {other} in {sum}"));
    }
    if acc.buffer == a.buffer || acc.buffer == b.buffer {
        report.add(14, format_args!("`{}` is a factor and the accumulator", result.name));
    }
}

/// Rule 15: what a loop over subgroups writes it does not read.
fn memory(nest: &Nest, var: VarId, body: &[Stmt], report: &mut Report<'_>) {
    let place = |id: BufferId| match nest.buffers[id].space {
        Space::Global(slot) => (Some(slot), None),
        _ => (None, Some(id)),
    };
    let (mut written, mut read) = (BTreeSet::new(), BTreeSet::new());
    for_each_stmt(body, &mut |s| {
        match s {
            Stmt::Matrix(MatrixOp::Store { to, .. }) => written.insert(place(to.buffer)),
            Stmt::Matrix(MatrixOp::Load { from, .. }) => read.insert(place(from.buffer)),
            _ => false,
        };
        s.for_each_expr(|e| {
            nest.for_each_load(e, &mut BTreeSet::new(), &mut |buffer, _| {
                read.insert(place(buffer));
            });
        });
    });
    if !read.is_disjoint(&written) {
        let name = &nest.vars[var].name;
        report.add(15, format_args!("subgroups `{name}` read memory that they write"));
    }
}

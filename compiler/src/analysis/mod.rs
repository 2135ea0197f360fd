//! Counted work: the operations and bytes that every schedule of a kernel or pipeline must spend at given sizes, and
//! how long its evaluation in `f64` takes.
//!
//! [`domain`] counts points of axes, [`count`] operations of one function, [`traffic`] bytes.

mod count;
mod domain;
mod traffic;

use std::collections::BTreeMap;

use rooftile_artifact::work::{OpClass, Ops, Work};
use rooftile_artifact::{HostTensor, Scalar};

use self::domain::Domain;
use crate::hir::ir::{AxisId, CallArg, ExprId, File, Func, FuncId, FuncKind, Stmt, StmtKind};

/// Passes of a pipeline's `repeat` that are gone through one by one where a condition depends on the counter.
const MOST_PASSES: i64 = 100_000;

/// The least work of a kernel, pipeline or reference. Domains whose bounds are data are estimated from what the
/// parameters promise: rows of a monotone array of row pointers hold its range in all, other lists are half full.
///
/// The parts of complex numbers count as operations on reals. Integer operations in indices are not counted. A
/// handle that is not of the file, or too few sizes, give no work.
#[must_use]
pub fn work(file: &File, func: FuncId, sizes: &[i64], scalars: &[Scalar]) -> Work {
    work_on(file, func, sizes, scalars, &[])
}

/// As [`work`], with the content of the tensor parameters (as far as it is given): bounds that are data are read.
#[must_use]
pub fn work_on(
    file: &File,
    func: FuncId,
    sizes: &[i64],
    scalars: &[Scalar],
    tensors: &[Option<HostTensor>],
) -> Work {
    let Some(body) = file.funcs.get(func).filter(|f| f.sizes.len() <= sizes.len()) else {
        return Work::default();
    };
    let mut work = Work::default();
    let domain = Domain::new(file, body, sizes, scalars, tensors);
    if body.kind == FuncKind::Pipeline {
        let mut launches = Launches { file, seen: BTreeMap::new() };
        launches.block(&domain, &body.body, 1.0, &mut Vec::new(), &mut work);
        traffic::pipeline(&domain, &mut work);
    } else {
        count::operations(&domain, &mut work);
        let bytes = traffic::kernel(&domain);
        work.bytes_read = bytes.read;
        work.bytes_written = bytes.written;
        work.untiled_bytes = bytes.read + bytes.written;
        work.working_set = bytes.touched;
        work.launches = 1.0;
    }
    let floats = |o: &&Ops| match o.class {
        OpClass::Int => false,
        OpClass::Product => o.dtype.is_float(),
        _ => true,
    };
    work.flops = work.ops.iter().filter(floats).map(|o| o.count).sum();
    work
}

/// Elementary operations that evaluating a function in compiled `f64` takes: about as many nanoseconds on one thread.
#[must_use]
pub fn estimate_operations(file: &File, func: FuncId, sizes: &[i64], scalars: &[Scalar]) -> f64 {
    let Some(body) = file.funcs.get(func).filter(|f| f.sizes.len() <= sizes.len()) else {
        return 0.0;
    };
    let domain = Domain::new(file, body, sizes, scalars, &[]);
    if body.kind != FuncKind::Pipeline {
        return count::evaluation(&domain);
    }
    let mut calls = Vec::new();
    let mut ignored = Work::default();
    let mut launches = Launches { file, seen: BTreeMap::new() };
    launches.block(&domain, &body.body, 1.0, &mut calls, &mut ignored);
    calls
        .iter()
        .map(|call| {
            let callee = Domain::new(file, &file.funcs[call.callee], &call.sizes, &[], &[]);
            call.times * count::evaluation(&callee)
        })
        .sum()
}

/// A kernel at some sizes, and how often it is launched.
struct Launch {
    callee: FuncId,
    sizes: Vec<i64>,
    times: f64,
}

/// Goes through the launches of a pipeline.
struct Launches<'a> {
    file: &'a File,
    /// Work of one launch, by kernel and sizes.
    seen: BTreeMap<(FuncId, Vec<i64>), Work>,
}

impl Launches<'_> {
    fn block(
        &mut self,
        domain: &Domain<'_>,
        body: &[Stmt],
        times: f64,
        calls: &mut Vec<Launch>,
        out: &mut Work,
    ) {
        for stmt in body {
            match &stmt.kind {
                StmtKind::Call { callee, args, sizes } => {
                    self.call(domain, *callee, (args, sizes), times, calls, out);
                }
                StmtKind::Repeat { axis, body, .. } => self.repeat(domain, *axis, body, times, calls, out),
                StmtKind::If { cond, then, otherwise } => match domain.value(*cond) {
                    Some(c) => self.block(domain, if c == 0 { otherwise } else { then }, times, calls, out),
                    None => {
                        self.block(domain, then, times / 2.0, calls, out);
                        self.block(domain, otherwise, times / 2.0, calls, out);
                    }
                },
                StmtKind::Fill { tensor, .. } => out.untiled_bytes += times * traffic::bytes(domain, *tensor),
                StmtKind::Copy { from, to } => {
                    let bytes = traffic::bytes(domain, *from) + traffic::bytes(domain, *to);
                    out.untiled_bytes += times * bytes;
                }
                _ => {}
            }
        }
    }

    fn repeat(
        &mut self,
        domain: &Domain<'_>,
        axis: AxisId,
        body: &[Stmt],
        times: f64,
        calls: &mut Vec<Launch>,
        out: &mut Work,
    ) {
        let a = &domain.func.axes[axis];
        let (Some(lo), Some(hi)) = (domain.value(a.lo), domain.value(a.hi)) else { return };
        let passes = (hi - lo).max(0);
        if !depends(domain.func, body, axis) || passes > MOST_PASSES {
            domain.set(axis, Some(lo));
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            self.block(domain, body, times * passes as f64, calls, out);
        } else {
            for t in lo..hi {
                domain.set(axis, Some(t));
                self.block(domain, body, times, calls, out);
            }
        }
        domain.set(axis, None);
    }

    fn call(
        &mut self,
        domain: &Domain<'_>,
        callee: FuncId,
        (_args, sizes): (&[CallArg], &[ExprId]),
        times: f64,
        calls: &mut Vec<Launch>,
        out: &mut Work,
    ) {
        let sizes: Option<Vec<i64>> = sizes.iter().map(|&e| domain.value(e)).collect();
        let Some(sizes) = sizes else { return };
        let key = (callee, sizes.clone());
        let file = self.file;
        let one = self.seen.entry(key).or_insert_with(|| work(file, callee, &sizes, &[]));
        for o in &one.ops {
            out.add_ops(o.class, o.dtype, times * o.count);
        }
        out.untiled_bytes += times * one.untiled_bytes;
        out.launches += times;
        calls.push(Launch { callee, sizes, times });
    }
}

/// Whether what a body launches depends on a counter: its conditions and the sizes of its calls.
fn depends(func: &Func, body: &[Stmt], axis: AxisId) -> bool {
    let reads = |e: ExprId| {
        let mut found = false;
        count::walk(func, e, &mut |kind| {
            found |= matches!(kind, crate::hir::ir::ExprKind::Axis(a) if *a == axis);
        });
        found
    };
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Call { sizes, .. } => sizes.iter().any(|&e| reads(e)),
        StmtKind::If { cond, then, otherwise } => {
            reads(*cond) || depends(func, then, axis) || depends(func, otherwise, axis)
        }
        StmtKind::Repeat { axis: inner, body, .. } => {
            let a = &func.axes[*inner];
            reads(a.lo) || reads(a.hi) || depends(func, body, axis)
        }
        _ => false,
    })
}

//! Loops and branches, and what is known inside them.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use rooftile_artifact::DType;
use rooftile_artifact::abi::status;

use super::R;
use super::emit::{Body, Emitter, V, assemble, registers};
use super::plan::{Axes, bit};
use crate::hir::ir::{AssignOp, AxisId, AxisKind, ExprId, ExprKind, Stmt, StmtKind};

impl<'a, 'b> Emitter<'a, 'b> {
    /// Runs `f`; what it computed is forgotten after it.
    pub(super) fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        let mark = self.log.len();
        let result = f(self);
        for id in self.log.drain(mark..) {
            self.cache[id.index()] = None;
        }
        result
    }

    /// Runs `f` with nothing known.
    pub(super) fn forgetting<T>(&mut self, f: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        let cache = std::mem::replace(&mut self.cache, vec![None; self.func.exprs.len()]);
        let log = std::mem::take(&mut self.log);
        let result = f(self);
        self.cache = cache;
        self.log = log;
        result
    }

    pub(super) fn cached(&self, id: ExprId) -> Option<V> {
        self.cache[id.index()]
    }

    pub(super) fn remember(&mut self, id: ExprId, v: V) {
        self.cache[id.index()] = Some(v);
        self.log.push(id);
    }

    /// A loop over `lo..hi`. `before` runs once, if there is at least one point.
    pub(super) fn repeat(
        &mut self,
        lo: Value,
        hi: Value,
        before: Body<'_, 'a, 'b>,
        body: &mut dyn FnMut(&mut Self, Value) -> R<()>,
    ) -> R<()> {
        let (enter, top, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let some = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.b.ins().brif(some, enter, &[], exit, &[]);
        self.b.switch_to_block(enter);
        self.b.seal_block(enter);
        self.scoped(|s| {
            before(s)?;
            s.b.ins().jump(top, &[lo.into()]);
            let i = s.b.append_block_param(top, types::I64);
            s.b.switch_to_block(top);
            s.scoped(|s| body(s, i))?;
            let next = s.b.ins().iadd_imm_s(i, 1);
            let more = s.b.ins().icmp(IntCC::SignedLessThan, next, hi);
            s.b.ins().brif(more, top, &[next.into()], exit, &[]);
            s.b.seal_block(top);
            Ok(())
        })?;
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        Ok(())
    }

    /// Runs `yes` or `no` and joins their values.
    pub(super) fn branch<'f>(
        &mut self,
        cond: Value,
        dtype: DType,
        yes: &'f mut dyn FnMut(&mut Self) -> R<V>,
        no: &'f mut dyn FnMut(&mut Self) -> R<V>,
    ) -> R<V> {
        let (a, b, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        for t in registers(dtype) {
            self.b.append_block_param(join, t);
        }
        self.b.ins().brif(cond, a, &[], b, &[]);
        for (block, arm) in [(a, yes), (b, no)] {
            self.b.switch_to_block(block);
            self.b.seal_block(block);
            let v = self.scoped(|s| arm(s))?;
            let v: Vec<_> = v.values().into_iter().map(Into::into).collect();
            self.b.ins().jump(join, &v);
        }
        self.b.switch_to_block(join);
        self.b.seal_block(join);
        let v = self.b.block_params(join).to_vec();
        assemble(dtype, &v)
    }

    /// Runs `body` where `cond` holds.
    pub(super) fn when(&mut self, cond: Value, body: Body<'_, 'a, 'b>) -> R<()> {
        let (yes, join) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(cond, yes, &[], join, &[]);
        self.b.switch_to_block(yes);
        self.b.seal_block(yes);
        self.scoped(|s| body(s))?;
        self.b.ins().jump(join, &[]);
        self.b.switch_to_block(join);
        self.b.seal_block(join);
        Ok(())
    }

    /// Sets status bits where `cond` holds.
    pub(super) fn report(&mut self, cond: Value, bits: u32) {
        let wide = self.b.ins().uextend(types::I32, cond);
        let bits = self.b.ins().imul_imm_s(wide, i64::from(bits));
        let old = self.b.use_var(self.bad);
        let new = self.b.ins().bor(old, bits);
        self.b.def_var(self.bad, new);
    }

    /// `index` where it is inside `0..extent`, else 0 and a status bit.
    pub(super) fn checked(&mut self, index: Value, extent: Value) -> Value {
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, extent);
        self.report(outside, status::OUT_OF_BOUNDS);
        let zero = self.b.ins().iconst(types::I64, 0);
        self.b.ins().select(outside, zero, index)
    }

    /// Axes that a statement walks: those that its expressions vary along and that are not set; parents first.
    pub(super) fn walked(&self, exprs: impl IntoIterator<Item = ExprId>) -> Vec<AxisId> {
        let axes = exprs.into_iter().fold(0, |s, e| s | self.plan.deps[e.index()]);
        self.walk_order(axes)
    }

    pub(super) fn walk_order(&self, axes: Axes) -> Vec<AxisId> {
        fn add(s: &Emitter<'_, '_>, axis: AxisId, out: &mut Vec<AxisId>) {
            if s.axis[axis.index()].is_some() || s.plan.point[axis.index()] || out.contains(&axis) {
                return;
            }
            for &p in &s.func.axes[axis].parents {
                add(s, p, out);
            }
            out.push(axis);
        }
        let mut out = Vec::new();
        for a in self.func.axes.handles().filter(|&a| axes & bit(a) != 0) {
            add(self, a, &mut out);
        }
        out
    }

    /// Runs `body` at every point of `axes`. What `roots` need is computed as far out as it can be.
    pub(super) fn points(&mut self, axes: &[AxisId], roots: &[ExprId], body: Body<'_, 'a, 'b>) -> R<()> {
        let Some((&axis, rest)) = axes.split_first() else {
            return body(self);
        };
        let (lo, hi) = self.range(axis)?;
        let moving = axes.iter().fold(0, |s, &a| s | bit(a));
        let outer = self.axis[axis.index()];
        let started = if rest.is_empty() { self.start_scans(axis, roots)? } else { Vec::new() };
        self.repeat(lo, hi, &mut |s| roots.iter().try_for_each(|&r| s.hoist(r, moving)), &mut |s, i| {
            s.axis[axis.index()] = Some(i);
            s.points(rest, roots, body)?;
            s.axis[axis.index()] = None;
            Ok(())
        })?;
        for scan in started {
            self.running[scan.index()] = None;
        }
        self.axis[axis.index()] = outer;
        Ok(())
    }

    /// The range of an axis at the current point.
    pub(super) fn range(&mut self, axis: AxisId) -> R<(Value, Value)> {
        let a = &self.func.axes[axis];
        Ok((self.int(a.lo)?, self.int(a.hi)?))
    }

    /// Computes what in `root` is needed at every point and does not move with the axes of `moving`.
    pub(super) fn hoist(&mut self, root: ExprId, moving: Axes) -> R<()> {
        let func = self.func;
        let mut seen = vec![false; func.exprs.len()];
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            if self.plan.deps[id.index()] & (moving | self.later) == 0 {
                self.expr(id)?;
                continue;
            }
            match &func.exprs[id].kind {
                ExprKind::Select(c, ..) => stack.push(*c),
                ExprKind::Binary(_, a, _) if func.exprs[*a].dtype == DType::Bool => stack.push(*a),
                ExprKind::Reduce { .. } | ExprKind::Scan { .. } => {}
                kind => crate::hir::walk::operands(kind, |o| stack.push(o)),
            }
        }
        Ok(())
    }

    /// Loops of a `for`: its axes and those of `with` that run a point at a time, `first` outermost.
    pub(super) fn nest(
        &mut self,
        axes: &[AxisId],
        with: &[AxisId],
        body: &'a [Stmt],
        first: Option<AxisId>,
    ) -> R<()> {
        let promoted = with.iter().copied().filter(|a| self.plan.point[a.index()]);
        let mut order: Vec<AxisId> = axes.iter().copied().chain(promoted).collect();
        order.sort_by_key(|&a| Some(a) != first);
        self.nested(&order, body, first)
    }

    fn nested(&mut self, axes: &[AxisId], body: &'a [Stmt], first: Option<AxisId>) -> R<()> {
        let Some((&axis, rest)) = axes.split_first() else {
            return self.block(body);
        };
        super::plan::check_parents(self.plan, self.func, axis, self.func.axes[axis].span)?;
        let (mut lo, mut hi) = self.scoped(|s| s.range(axis))?;
        if first == Some(axis) {
            (lo, hi) = self.chunk(lo)?;
        }
        let mut started = Vec::new();
        if rest.is_empty() && matches!(self.func.axes[axis].kind, AxisKind::For(_)) {
            for root in roots(body) {
                if self.walked([root]).is_empty() {
                    started.extend(self.start_scans(axis, &[root])?);
                }
            }
        }
        self.repeat(lo, hi, &mut |_| Ok(()), &mut |s, i| {
            s.axis[axis.index()] = Some(i);
            s.nested(rest, body, None)?;
            s.axis[axis.index()] = None;
            Ok(())
        })?;
        for scan in started {
            self.running[scan.index()] = None;
        }
        Ok(())
    }
}

/// The expressions that the statements directly in a body store or define.
fn roots(body: &[Stmt]) -> Vec<ExprId> {
    body.iter()
        .filter_map(|s| match &s.kind {
            StmtKind::Define { init: e, .. } | StmtKind::Store { expr: e, op: AssignOp::Set, .. } => Some(*e),
            _ => None,
        })
        .collect()
}

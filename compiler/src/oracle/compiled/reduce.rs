//! Reductions and scans.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;
use rooftile_artifact::host_expr::HostBinary;
use rooftile_artifact::{DType, HostExpr};

use super::emit::{Emitter, V, assemble, registers, slot_bytes};
use super::plan::walk;
use super::{R, internal};
use crate::hir::ir::{AxisId, AxisKind, BinaryOp, Expr, ExprId, ExprKind, ReduceOp};
use crate::oracle::interp::arith::Arith;

impl Emitter<'_, '_> {
    fn identity(&mut self, op: ReduceOp, dtype: DType) -> R<V> {
        let v = Arith::identity(op, dtype).map_err(|_| internal("a reduction without identity"))?;
        self.constant(v, dtype)
    }

    /// Variables that hold a value.
    fn variables(&mut self, dtype: DType, v: V) -> Vec<Variable> {
        let vars: Vec<Variable> = registers(dtype).into_iter().map(|t| self.b.declare_var(t)).collect();
        self.assign(&vars, v);
        vars
    }

    fn assign(&mut self, vars: &[Variable], v: V) {
        for (&var, v) in vars.iter().zip(v.values()) {
            self.b.def_var(var, v);
        }
    }

    fn read(&mut self, vars: &[Variable], dtype: DType) -> R<V> {
        let v: Vec<Value> = vars.iter().map(|&v| self.b.use_var(v)).collect();
        assemble(dtype, &v)
    }

    /// What a reduction takes in at the current point.
    fn item(&mut self, args: &[ExprId], e: &Expr) -> R<V> {
        let func = self.func;
        let &[first, ..] = args else { return Err(internal("a reduction of nothing")) };
        let v = self.expr(first)?;
        let Some(&second) = args.get(1) else { return Ok(v) };
        let w = self.expr(second)?;
        let v = self.cast(v, func.exprs[first].dtype, e.dtype)?;
        let w = self.cast(w, func.exprs[second].dtype, e.dtype)?;
        self.binary(BinaryOp::Mul, v, w, e.dtype)
    }

    /// A reduction. Axes that run a point at a time contribute that point.
    pub(super) fn reduce(&mut self, op: ReduceOp, axes: &[AxisId], args: &[ExprId], e: &Expr) -> R<V> {
        let loops: Vec<AxisId> = axes.iter().copied().filter(|a| !self.plan.point[a.index()]).collect();
        if matches!(op, ReduceOp::Argmax | ReduceOp::Argmin) {
            return self.best(op, &loops, axes, args, e);
        }
        let saved: Vec<Option<Value>> = loops.iter().map(|a| self.axis[a.index()]).collect();
        let start = self.identity(op, e.dtype)?;
        let acc = self.variables(e.dtype, start);
        self.points(&loops, args, &mut |s| {
            let v = s.item(args, e)?;
            let old = s.read(&acc, e.dtype)?;
            let new = s.combine(op, old, v, e.dtype)?;
            s.assign(&acc, new);
            Ok(())
        })?;
        for (a, old) in loops.iter().zip(saved) {
            self.axis[a.index()] = old;
        }
        self.read(&acc, e.dtype)
    }

    /// Reductions for all points of `axis` at a time, in scratch memory; `use_them` runs at every point with their
    /// values known.
    pub(super) fn reduce_rows(
        &mut self,
        axis: AxisId,
        reductions: &[ExprId],
        roots: &[ExprId],
        use_them: &mut dyn FnMut(&mut Self) -> R<()>,
    ) -> R<()> {
        let func = self.func;
        for &root in roots {
            self.hoist(root, super::plan::bit(axis))?;
        }
        let mut rows = Vec::new();
        for &id in reductions {
            let ExprKind::Reduce { op, axes, args } = &func.exprs[id].kind else {
                return Err(internal("a reduction"));
            };
            rows.push((id, *op, axes, args, self.row(axis, func.exprs[id].dtype)?));
        }
        let outer = std::mem::replace(&mut self.later, super::plan::bit(axis));
        for &(id, op, axes, args, base) in &rows {
            let e = &func.exprs[id];
            self.points(&[axis], &[], &mut |s| {
                let start = s.identity(op, e.dtype)?;
                let address = s.in_row(axis, base, e.dtype)?;
                s.put(address, start);
                Ok(())
            })?;
            self.points(axes, args, &mut |s| {
                let later = std::mem::replace(&mut s.later, outer);
                s.points(&[axis], args, &mut |s| {
                    let v = s.item(args, e)?;
                    let address = s.in_row(axis, base, e.dtype)?;
                    let old = s.get(address, e.dtype)?;
                    let new = s.combine(op, old, v, e.dtype)?;
                    s.put(address, new);
                    Ok(())
                })?;
                s.later = later;
                Ok(())
            })?;
        }
        self.later = outer;
        self.points(&[axis], &[], &mut |s| {
            for &(id, _, _, _, base) in &rows {
                let dtype = func.exprs[id].dtype;
                let address = s.in_row(axis, base, dtype)?;
                let v = s.get(address, dtype)?;
                s.remember(id, v);
            }
            use_them(s)
        })
    }

    /// Scratch memory for one element at each point of an axis.
    fn row(&mut self, axis: AxisId, dtype: DType) -> R<Value> {
        let host = super::host::Host { file: self.file, func: self.func, steps: Vec::new() };
        let a = &self.func.axes[axis];
        let (Some((lo, _)), Some((_, hi))) = (host.bounds(a.lo), host.bounds(a.hi)) else {
            return Err(internal("a row of unknown length"));
        };
        let extent = HostExpr::binary(HostBinary::Sub, hi, lo);
        let extent = HostExpr::binary(HostBinary::Max, extent, 0.into());
        self.scratch(HostExpr::binary(HostBinary::Mul, extent, slot_bytes(dtype).into()))
    }

    /// The address of the current point of an axis in its row.
    fn in_row(&mut self, axis: AxisId, base: Value, dtype: DType) -> R<Value> {
        let (lo, _) = self.range(axis)?;
        let x = self.axis[axis.index()].ok_or_else(|| internal("an axis is not set"))?;
        let offset = self.b.ins().isub(x, lo);
        let bytes = self.b.ins().imul_imm_s(offset, slot_bytes(dtype));
        Ok(self.b.ins().iadd(base, bytes))
    }

    /// The index of the first best element.
    fn best(&mut self, op: ReduceOp, loops: &[AxisId], axes: &[AxisId], args: &[ExprId], e: &Expr) -> R<V> {
        let (&[axis], &[arg]) = (axes, args) else { return Err(internal("the best along several axes")) };
        let of = self.func.exprs[arg].dtype;
        let saved = self.axis[axis.index()];
        let none = self.constant(rooftile_artifact::Scalar::Int(0), of)?;
        let none = self.cast(none, of, of)?;
        let best = self.variables(of, none);
        let zero = self.b.ins().iconst(types::I64, 0);
        let at = self.variables(DType::I64, V::I(zero));
        let no = self.b.ins().iconst(types::I8, 0);
        let any = self.variables(DType::Bool, V::B(no));
        self.points(loops, args, &mut |s| {
            let v = s.expr(arg)?;
            let old = s.read(&best, of)?;
            let seen = s.read(&any, DType::Bool)?.truth()?;
            let (a, b) = if op == ReduceOp::Argmax { (old, v) } else { (v, old) };
            let better = s.binary(BinaryOp::Lt, a, b, of)?.truth()?;
            let first = s.b.ins().bxor_imm_s(seen, 1);
            let better = s.b.ins().bor(better, first);
            let new = s.choose(better, v, old)?;
            s.assign(&best, new);
            let here = s.axis[axis.index()].ok_or_else(|| internal("an axis is not set"))?;
            let old = s.read(&at, DType::I64)?;
            let new = s.choose(better, V::I(here), old)?;
            s.assign(&at, new);
            let yes = s.b.ins().iconst(types::I8, 1);
            s.assign(&any, V::B(yes));
            Ok(())
        })?;
        self.axis[axis.index()] = saved;
        let at = self.read(&at, DType::I64)?;
        self.cast(at, DType::I64, e.dtype)
    }

    /// Scans along `axis` that every point of its loop needs: they advance with the loop. Gives those.
    pub(super) fn start_scans(&mut self, axis: AxisId, roots: &[ExprId]) -> R<Vec<ExprId>> {
        let func = self.func;
        let mut seen = vec![false; func.exprs.len()];
        let mut stack = roots.to_vec();
        let mut started = Vec::new();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            match &func.exprs[id].kind {
                ExprKind::Scan { op, axis: a, .. } => {
                    if *a == axis && self.running[id.index()].is_none() {
                        let dtype = func.exprs[id].dtype;
                        let start = self.identity(*op, dtype)?;
                        self.running[id.index()] = Some(self.variables(dtype, start));
                        started.push(id);
                    }
                }
                ExprKind::Select(c, ..) => stack.push(*c),
                ExprKind::Binary(_, a, _) if func.exprs[*a].dtype == DType::Bool => stack.push(*a),
                ExprKind::Reduce { .. } => {}
                kind => crate::hir::walk::operands(kind, |o| stack.push(o)),
            }
        }
        Ok(started)
    }

    /// The running reduction up to the current point.
    pub(super) fn scan(&mut self, id: ExprId, op: ReduceOp, axis: AxisId, arg: ExprId, e: &Expr) -> R<V> {
        if let Some(vars) = self.running[id.index()].clone() {
            let v = self.expr(arg)?;
            let old = self.read(&vars, e.dtype)?;
            let new = self.combine(op, old, v, e.dtype)?;
            self.assign(&vars, new);
            return Ok(new);
        }
        let func = self.func;
        let tiled = matches!(func.axes[axis].kind, AxisKind::For(_));
        let mut local = false;
        walk(func, arg, &mut |_, kind| {
            if let ExprKind::Value(v) = kind {
                local |= tiled && func.values[*v].axes.contains(&axis);
            }
        });
        if local {
            return self.stop("a scan of a tile value here", e.span);
        }
        let here = self.axis[axis.index()].ok_or_else(|| internal("an axis is not set"))?;
        let start = self.identity(op, e.dtype)?;
        let acc = self.variables(e.dtype, start);
        self.scoped(|s| {
            let (lo, _) = s.range(axis)?;
            let end = s.b.ins().iadd_imm_s(here, 1);
            // What is known at the current point does not hold at earlier ones.
            s.forgetting(|s| {
                s.repeat(lo, end, &mut |_| Ok(()), &mut |s, i| {
                    s.axis[axis.index()] = Some(i);
                    let v = s.expr(arg)?;
                    let old = s.read(&acc, e.dtype)?;
                    let new = s.combine(op, old, v, e.dtype)?;
                    s.assign(&acc, new);
                    Ok(())
                })
            })
        })?;
        self.axis[axis.index()] = Some(here);
        self.read(&acc, e.dtype)
    }
}

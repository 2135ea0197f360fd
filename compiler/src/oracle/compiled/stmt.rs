//! Statements.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use rooftile_artifact::HostExpr;
use rooftile_artifact::abi::status;
use rooftile_artifact::host_expr::HostBinary;

use super::emit::{Emitter, Slot, V, slot_bytes};
use super::host::Host;
use super::plan::{check_parents, reads_elsewhere, row_reductions};
use super::{R, internal};
use crate::diag::Span;
use crate::hir::ir::{
    AssignOp, BinaryOp, ExprId, NextItem, ReduceOp, Stmt, StmtKind, StoreKind, TensorId, ValueId,
};

impl<'a> Emitter<'a, '_> {
    /// Statements one after the other.
    pub(super) fn block(&mut self, body: &'a [Stmt]) -> R<()> {
        body.iter().try_for_each(|stmt| self.scoped(|s| s.stmt(stmt)))
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> R<()> {
        let func = self.func;
        match &stmt.kind {
            StmtKind::Define { value, init } => self.define(*value, *init),
            StmtKind::Update { value, op, expr } => self.update(*value, *op, *expr),
            StmtKind::Store { tensor, index, op, expr, kind } => {
                self.store(*tensor, index, *op, *expr, *kind)
            }
            StmtKind::Append { list, count, key, value, pred } => {
                self.append((*list, *count), key, *value, *pred)
            }
            StmtKind::For { axes, with, body } => self.nest(axes, with, body, None),
            StmtKind::Seq { axis, carry, body } | StmtKind::Fold { axis, carry, body } => {
                for &(value, init) in carry {
                    self.scoped(|s| s.define(value, init))?;
                }
                check_parents(self.plan, func, *axis, stmt.span)?;
                let (lo, hi) = self.scoped(|s| s.range(*axis))?;
                self.repeat(lo, hi, &mut |_| Ok(()), &mut |s, i| {
                    s.axis[axis.index()] = Some(i);
                    s.block(body)?;
                    s.axis[axis.index()] = None;
                    Ok(())
                })
            }
            StmtKind::Next(items) => self.next(items, stmt.span),
            StmtKind::If { cond, then, otherwise } => {
                let cond = self.expr(*cond)?.truth()?;
                let not = self.b.ins().bxor_imm_s(cond, 1);
                self.when(cond, &mut |s| s.block(then))?;
                self.when(not, &mut |s| s.block(otherwise))
            }
            StmtKind::Call { .. }
            | StmtKind::Repeat { .. }
            | StmtKind::Fill { .. }
            | StmtKind::Copy { .. } => self.stop("statements of pipelines in kernels", stmt.span),
        }
    }

    /// The axes of a tile value that a statement walks.
    fn value_axes(&self, value: ValueId) -> Vec<crate::hir::ir::AxisId> {
        self.walk_order(super::plan::set(&self.func.values[value].axes))
    }

    fn define(&mut self, value: ValueId, init: ExprId) -> R<()> {
        let axes = self.value_axes(value);
        self.points(&axes, &[init], &mut |s| {
            let v = s.expr(init)?;
            match s.value_address(value, false, None)? {
                Some(address) => s.put(address, v),
                None => s.set_register(value, v)?,
            }
            Ok(())
        })
    }

    /// `old op v`.
    fn assign_op(&mut self, op: AssignOp, old: V, v: V, dtype: rooftile_artifact::DType) -> R<V> {
        match op {
            AssignOp::Set => Ok(v),
            AssignOp::Add => self.binary(BinaryOp::Add, old, v, dtype),
            AssignOp::Sub => self.binary(BinaryOp::Sub, old, v, dtype),
            AssignOp::Mul => self.binary(BinaryOp::Mul, old, v, dtype),
            AssignOp::Max => self.combine(ReduceOp::Max, old, v, dtype),
            AssignOp::Min => self.combine(ReduceOp::Min, old, v, dtype),
        }
    }

    fn update(&mut self, value: ValueId, op: AssignOp, expr: ExprId) -> R<()> {
        let axes = self.value_axes(value);
        let dtype = self.func.values[value].dtype;
        let two = matches!(&self.values[value.index()], Some(Slot::Mem(m)) if m.next.is_some());
        self.points(&axes, &[expr], &mut |s| {
            let v = s.expr(expr)?;
            let old = s.value(value)?;
            let new = s.assign_op(op, old, v, dtype)?;
            match s.value_address(value, two, None)? {
                Some(address) => s.put(address, new),
                None => s.set_register(value, new)?,
            }
            Ok(())
        })?;
        if two {
            self.exchange(value);
        }
        Ok(())
    }

    fn store(
        &mut self,
        tensor: TensorId,
        index: &[ExprId],
        op: AssignOp,
        expr: ExprId,
        kind: StoreKind,
    ) -> R<()> {
        let func = self.func;
        let axes = self.walked(index.iter().copied().chain([expr]));
        let roots: Vec<ExprId> = index.iter().copied().chain([expr]).collect();
        if let Some((&axis, outer)) = axes.split_last()
            && self.plan.row[axis.index()]
        {
            let reductions = row_reductions(func, expr, axis);
            let inner = std::mem::replace(&mut self.later, super::plan::bit(axis));
            self.points(outer, &roots, &mut |s| {
                let later = std::mem::replace(&mut s.later, inner);
                s.reduce_rows(axis, &reductions, &roots, &mut |s| {
                    let v = s.expr(expr)?;
                    s.write(tensor, index, op, v, kind)
                })?;
                s.later = later;
                Ok(())
            })?;
            self.later = inner;
            return Ok(());
        }
        if axes.is_empty() || !reads_elsewhere(func, tensor, index, expr, op) {
            return self.points(&axes, &roots, &mut |s| {
                let v = s.expr(expr)?;
                s.write(tensor, index, op, v, kind)
            });
        }
        // All points are computed before the first is stored.
        let declared = &func.tensors[tensor];
        let host = Host { file: self.file, func, steps: Vec::new() };
        let mut bytes = HostExpr::from(slot_bytes(declared.dtype));
        for &e in &declared.shape {
            let Some(extent) = host.expr(e) else { return Err(internal("an extent")) };
            bytes = HostExpr::binary(HostBinary::Mul, bytes, extent);
        }
        let base = self.scratch(bytes)?;
        let slot = |s: &mut Self| -> R<Value> {
            let at: Vec<Value> = index.iter().map(|&e| s.int(e)).collect::<R<_>>()?;
            let mut flat = s.b.ins().iconst(types::I64, 0);
            for (d, i) in at.into_iter().enumerate() {
                let n = s.tensor(tensor).extents[d];
                let i = s.checked(i, n);
                flat = s.b.ins().imul(flat, n);
                flat = s.b.ins().iadd(flat, i);
            }
            let bytes = s.b.ins().imul_imm_s(flat, slot_bytes(declared.dtype));
            Ok(s.b.ins().iadd(base, bytes))
        };
        self.scoped(|s| {
            s.points(&axes, &roots, &mut |s| {
                let v = s.expr(expr)?;
                let address = slot(s)?;
                s.put(address, v);
                Ok(())
            })
        })?;
        self.points(&axes, index, &mut |s| {
            let address = slot(s)?;
            let v = s.get(address, declared.dtype)?;
            s.write(tensor, index, op, v, kind)
        })
    }

    /// `T[index] op= v`.
    fn write(&mut self, tensor: TensorId, index: &[ExprId], op: AssignOp, v: V, kind: StoreKind) -> R<()> {
        let dtype = self.func.tensors[tensor].dtype;
        let at: Vec<Value> = index.iter().map(|&e| self.int(e)).collect::<R<_>>()?;
        let position = self.position(tensor, &at);
        let mut put = |s: &mut Self| -> R<()> {
            let new = if op == AssignOp::Set {
                v
            } else {
                let old = s.load_at(tensor, position)?;
                s.assign_op(op, old, v, dtype)?
            };
            let address = s.address(tensor, position);
            s.store_element(address, new, dtype);
            Ok(())
        };
        let from_data = index.iter().any(|e| self.plan.data[e.index()]);
        if kind == StoreKind::Injective && !from_data {
            return put(self);
        }
        let outside = self.outside(tensor, &at);
        self.report(outside, status::OUT_OF_BOUNDS);
        let inside = self.b.ins().bxor_imm_s(outside, 1);
        self.when(inside, &mut put)
    }

    /// Whether an index lies outside a tensor.
    fn outside(&mut self, tensor: TensorId, at: &[Value]) -> Value {
        let mut outside = self.b.ins().iconst(types::I8, 0);
        for (d, &i) in at.iter().enumerate() {
            let n = self.tensor(tensor).extents[d];
            let out = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, i, n);
            outside = self.b.ins().bor(outside, out);
        }
        outside
    }

    fn append(
        &mut self,
        (list, count): (TensorId, TensorId),
        key: &[ExprId],
        value: ExprId,
        pred: Option<ExprId>,
    ) -> R<()> {
        let func = self.func;
        let roots: Vec<ExprId> = key.iter().copied().chain([value]).chain(pred).collect();
        let axes = self.walked(roots.iter().copied());
        let add = |s: &mut Self| -> R<()> {
            let at: Vec<Value> = key.iter().map(|&e| s.int(e)).collect::<R<_>>()?;
            let v = s.expr(value)?;
            let outside = s.outside(count, &at);
            s.report(outside, status::OUT_OF_BOUNDS);
            let inside = s.b.ins().bxor_imm_s(outside, 1);
            s.when(inside, &mut |s| {
                let counter = s.position(count, &at);
                let n = s.load_at(count, counter)?.int()?;
                let slot: Vec<Value> = at.iter().copied().chain([n]).collect();
                let full = s.outside(list, &slot);
                s.report(full, status::APPEND_OVERFLOW);
                let free = s.b.ins().bxor_imm_s(full, 1);
                s.when(free, &mut |s| {
                    let position = s.position(list, &slot);
                    let address = s.address(list, position);
                    s.store_element(address, v, func.tensors[list].dtype);
                    let more = s.b.ins().iadd_imm_s(n, 1);
                    let address = s.address(count, counter);
                    s.store_element(address, V::I(more), func.tensors[count].dtype);
                    Ok(())
                })
            })
        };
        let always: Vec<ExprId> = match pred {
            Some(p) => vec![p],
            None => roots,
        };
        self.points(&axes, &always, &mut |s| match pred {
            None => add(s),
            Some(p) => {
                let holds = s.expr(p)?.truth()?;
                s.when(holds, &mut |s| add(s))
            }
        })
    }

    fn next(&mut self, items: &[NextItem], span: Span) -> R<()> {
        let mut registers = Vec::new();
        let mut memory = Vec::new();
        for item in items {
            let in_memory = matches!(self.values[item.value.index()], Some(Slot::Mem(_)));
            if !in_memory {
                registers.push((item.value, self.expr(item.expr)?));
                continue;
            }
            if !memory.contains(&item.value) {
                memory.push(item.value);
            }
            self.scoped(|s| s.next_in_memory(item, span))?;
        }
        for (value, v) in registers {
            self.set_register(value, v)?;
        }
        for value in memory {
            self.exchange(value);
        }
        Ok(())
    }

    fn next_in_memory(&mut self, item: &NextItem, span: Span) -> R<()> {
        let Some(index) = &item.index else {
            let axes = self.value_axes(item.value);
            return self.points(&axes, &[item.expr], &mut |s| {
                let v = s.expr(item.expr)?;
                let address = s.value_address(item.value, true, None)?;
                s.put(address.ok_or_else(|| internal("no memory"))?, v);
                Ok(())
            });
        };
        for (n, &axis) in self.func.values[item.value].axes.iter().enumerate() {
            if self.plan.point[axis.index()] && !super::plan::is_axis(self.func, index[n], axis) {
                return self.stop("`next` at another point of an axis that is cut into tiles", span);
            }
        }
        let roots: Vec<ExprId> = index.iter().copied().chain([item.expr]).collect();
        let axes = self.walked(roots.iter().copied());
        self.points(&axes, &roots, &mut |s| {
            let at: Vec<Value> = index.iter().map(|&e| s.int(e)).collect::<R<_>>()?;
            let v = s.expr(item.expr)?;
            let address = s.value_address(item.value, true, Some(&at))?;
            s.put(address.ok_or_else(|| internal("no memory"))?, v);
            Ok(())
        })
    }
}

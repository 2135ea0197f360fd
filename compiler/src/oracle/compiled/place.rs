//! Where things lie: the prologue of a function, scratch memory, tile values, extents.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use rooftile_artifact::abi::{BUFFER_ALIGN, offset};
use rooftile_artifact::host_expr::{HostBinary, HostUnary};
use rooftile_artifact::{DType, HostExpr, Scalar};

use super::emit::{Emitter, Mem, Place, Slot, V, element_bytes, registers, slot_bytes};
use super::host::Host;
use super::{R, internal, unsupported};
use crate::hir::ir::{ExprKind, ValueId, ValueKind};

impl Emitter<'_, '_> {
    pub(super) fn prologue(&mut self, args: Value, strided: &[bool]) -> R<()> {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        let pointer = |s: &mut Self, at| s.b.ins().load(types::I64, flags, args, at);
        let (buffers, sizes) = (pointer(self, offset::BUFFERS), pointer(self, offset::SIZES));
        let (scalars, local) = (pointer(self, offset::SCALARS), pointer(self, offset::LOCAL));
        self.local = local;
        let none = self.b.ins().iconst(types::I32, 0);
        self.b.def_var(self.bad, none);
        let cell = |n: usize| i32::try_from(n * 8).map_err(internal);
        let size_count = self.func.sizes.len();
        for n in 0..size_count {
            let v = self.b.ins().load(types::I64, flags, sizes, cell(n)?);
            self.sizes.push(v);
        }
        for (n, (_, scalar)) in self.func.scalars.iter().enumerate() {
            let v = match scalar.dtype {
                DType::Int { .. } => V::I(self.b.ins().load(types::I64, flags, scalars, cell(n)?)),
                DType::Bool => V::B(self.b.ins().load(types::I8, flags, scalars, cell(n)?)),
                d if d.is_float() => V::F(self.b.ins().load(types::F64, flags, scalars, cell(n)?)),
                _ => return unsupported("complex scalars", scalar.span),
            };
            self.scalars.push(v);
        }
        let mut extra = size_count;
        for (n, (_, tensor)) in self.func.tensors.iter().enumerate() {
            let mut base = self.b.ins().load(types::I64, flags, buffers, cell(n)?);
            let extents: Vec<Value> = tensor.shape.iter().map(|&e| self.int(e)).collect::<R<_>>()?;
            let mut strides = vec![self.b.ins().iconst(types::I64, 1); extents.len()];
            if strided.get(n) == Some(&true) {
                let shift = self.b.ins().load(types::I64, flags, sizes, cell(extra)?);
                let bytes = self.b.ins().imul_imm_s(shift, element_bytes(tensor.dtype));
                base = self.b.ins().iadd(base, bytes);
                for (d, stride) in strides.iter_mut().enumerate() {
                    *stride = self.b.ins().load(types::I64, flags, sizes, cell(extra + 1 + d)?);
                }
                extra += 1 + extents.len();
            } else {
                for d in (1..extents.len()).rev() {
                    strides[d - 1] = self.b.ins().imul(strides[d], extents[d]);
                }
            }
            self.tensors.push(Place { base, extents, strides });
        }
        self.tables()?;
        for id in self.func.values.handles() {
            self.slot(id)?;
        }
        Ok(())
    }

    /// Writes the constant tables that the function reads to scratch memory.
    fn tables(&mut self) -> R<()> {
        let file = self.file;
        let used = |n: usize| {
            self.func.exprs.iter().any(|(_, e)| matches!(e.kind, ExprKind::Table { table, .. } if table == n))
        };
        let used: Vec<bool> = (0..file.tables.len()).map(used).collect();
        for (n, table) in file.tables.iter().enumerate().filter(|&(n, _)| used[n]) {
            if table.data.len() > 1 << 14 {
                return unsupported("tables of more than 16384 elements", self.func.span);
            }
            let bytes = slot_bytes(table.dtype) * i64::try_from(table.data.len()).map_err(internal)?;
            let base = self.scratch(bytes.into())?;
            for (i, &v) in table.data.iter().enumerate() {
                let v = self.constant(v, table.dtype)?;
                let at = i64::try_from(i).map_err(internal)? * slot_bytes(table.dtype);
                let address = self.b.ins().iadd_imm_s(base, at);
                self.put(address, v);
            }
            self.tables[n] = Some(base);
        }
        Ok(())
    }

    /// Takes scratch memory of that many bytes.
    pub(super) fn scratch(&mut self, bytes: HostExpr) -> R<Value> {
        let align = i64::try_from(BUFFER_ALIGN).map_err(internal)?;
        let at = self.local_bytes.clone();
        let at = self.host(&at)?.int()?;
        let address = self.b.ins().iadd(self.local, at);
        let blocks = HostExpr::ceil_div(bytes, align.into());
        let bytes = HostExpr::binary(HostBinary::Mul, blocks, align.into());
        let bytes = HostExpr::binary(HostBinary::Max, bytes, 0.into());
        self.local_bytes = HostExpr::binary(HostBinary::Add, self.local_bytes.clone(), bytes);
        Ok(address)
    }

    /// Decides where a tile value lives.
    fn slot(&mut self, id: ValueId) -> R<()> {
        let value = &self.func.values[id];
        let whole: Vec<usize> =
            (0..value.axes.len()).filter(|&n| !self.plan.point[value.axes[n].index()]).collect();
        if whole.is_empty() {
            let vars = registers(value.dtype).into_iter().map(|t| self.b.declare_var(t)).collect();
            self.values[id.index()] = Some(Slot::Reg(vars));
            return Ok(());
        }
        let host = Host { file: self.file, func: self.func, steps: Vec::new() };
        let mut total = HostExpr::from(slot_bytes(value.dtype));
        let mut extents = Vec::new();
        for &n in &whole {
            let axis = &self.func.axes[value.axes[n]];
            let (Some((lo, _)), Some((_, hi))) = (host.bounds(axis.lo), host.bounds(axis.hi)) else {
                let what = format!("a tile value over `{}`, whose length only data tell", axis.name);
                return unsupported(what, value.span);
            };
            let extent = HostExpr::binary(HostBinary::Sub, hi, lo.clone());
            let extent = HostExpr::binary(HostBinary::Max, extent, 0.into());
            total = HostExpr::binary(HostBinary::Mul, total, extent.clone());
            extents.push((n, lo, extent));
        }
        let now = self.b.declare_var(types::I64);
        let address = self.scratch(total.clone())?;
        self.b.def_var(now, address);
        let next = if self.needs_next(id) {
            let next = self.b.declare_var(types::I64);
            let address = self.scratch(total)?;
            self.b.def_var(next, address);
            Some(next)
        } else {
            None
        };
        let mut dims = Vec::new();
        let mut stride = self.b.ins().iconst(types::I64, 1);
        for (n, lo, extent) in extents.into_iter().rev() {
            let (lo, extent) = (self.host(&lo)?.int()?, self.host(&extent)?.int()?);
            dims.push((n, lo, extent, stride));
            stride = self.b.ins().imul(stride, extent);
        }
        self.values[id.index()] = Some(Slot::Mem(Mem { now, next, dims }));
        Ok(())
    }

    /// Whether an assignment to the value may read its old elements at other points.
    fn needs_next(&self, id: ValueId) -> bool {
        if self.func.values[id].kind == ValueKind::Carry {
            return true;
        }
        let at = |e: &ExprKind| matches!(e, ExprKind::ValueAt(v, _) if *v == id);
        self.func.values[id].kind == ValueKind::Var && self.func.exprs.iter().any(|(_, e)| at(&e.kind))
    }

    /// Emits a host expression.
    pub(super) fn host(&mut self, e: &HostExpr) -> R<V> {
        Ok(match e {
            HostExpr::Const(v @ Scalar::Int(_)) => self.constant(*v, DType::I64)?,
            HostExpr::Const(v @ Scalar::Bool(_)) => self.constant(*v, DType::Bool)?,
            HostExpr::Const(v) => self.constant(*v, DType::F64)?,
            HostExpr::Size(n) => V::I(*self.sizes.get(*n).ok_or_else(|| internal("a size"))?),
            HostExpr::Scalar(n) => *self.scalars.get(*n).ok_or_else(|| internal("a scalar"))?,
            HostExpr::Binary(op, a, b) => {
                let (a, b) = (self.host(a)?.int()?, self.host(b)?.int()?);
                let ins = |s: &mut Self, f: fn(&mut Self, Value, Value) -> Value| f(s, a, b);
                V::I(match op {
                    HostBinary::Add => ins(self, |s, a, b| s.b.ins().iadd(a, b)),
                    HostBinary::Sub => ins(self, |s, a, b| s.b.ins().isub(a, b)),
                    HostBinary::Mul => ins(self, |s, a, b| s.b.ins().imul(a, b)),
                    HostBinary::Min => ins(self, |s, a, b| s.b.ins().smin(a, b)),
                    HostBinary::Max => ins(self, |s, a, b| s.b.ins().smax(a, b)),
                    HostBinary::Shl => ins(self, |s, a, b| s.b.ins().ishl(a, b)),
                    HostBinary::Shr => ins(self, |s, a, b| s.b.ins().sshr(a, b)),
                    HostBinary::Div => self.floor_div(a, b).0,
                    HostBinary::Rem => self.floor_div(a, b).1,
                    _ => return Err(internal("an extent with a condition")),
                })
            }
            HostExpr::Unary(HostUnary::Ilog2, a) => {
                let a = self.host(a)?.int()?;
                V::I(self.ilog2(a))
            }
            HostExpr::Cast(d, a) if d.is_int() => {
                let a = self.host(a)?.int()?;
                V::I(self.wrap(a, *d))
            }
            _ => return unsupported("an extent of this form", self.func.span),
        })
    }
}

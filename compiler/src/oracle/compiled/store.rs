//! Elements of tensors, tile values and tables in memory.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use rooftile_artifact::DType;

use super::emit::{Emitter, Slot, V, assemble, element_bytes, slot_bytes};
use super::{R, internal};
use crate::hir::ir::{Edge, ExprId, TensorId, ValueId};

impl Emitter<'_, '_> {
    /// Stores a value to scratch memory.
    pub(super) fn put(&mut self, address: Value, v: V) {
        let flags = MemFlagsData::trusted();
        match v {
            V::I(v) | V::F(v) | V::B(v) => {
                self.b.ins().store(flags, v, address, 0);
            }
            V::C(re, im) => {
                self.b.ins().store(flags, re, address, 0);
                self.b.ins().store(flags, im, address, 8);
            }
        }
    }

    /// Loads a value from scratch memory.
    pub(super) fn get(&mut self, address: Value, dtype: DType) -> R<V> {
        let flags = MemFlagsData::trusted();
        let parts: Vec<Value> = super::emit::registers(dtype)
            .into_iter()
            .zip([0, 8])
            .map(|(t, at)| self.b.ins().load(t, flags, address, at))
            .collect();
        assemble(dtype, &parts)
    }

    /// Loads an element of a tensor.
    fn load_element(&mut self, address: Value, dtype: DType) -> R<V> {
        let flags = MemFlagsData::trusted();
        let DType::Int { signed, bits } = dtype else {
            return self.get(address, dtype);
        };
        let narrow = match bits {
            ..=8 => types::I8,
            16 => types::I16,
            32 => types::I32,
            _ => types::I64,
        };
        let v = self.b.ins().load(narrow, flags, address, 0);
        let v = match (narrow == types::I64, signed && bits >= 8) {
            (true, _) => v,
            (false, true) => self.b.ins().sextend(types::I64, v),
            (false, false) => self.b.ins().uextend(types::I64, v),
        };
        Ok(V::I(if bits < 8 { self.wrap(v, dtype) } else { v }))
    }

    /// Stores an element of a tensor.
    pub(super) fn store_element(&mut self, address: Value, v: V, dtype: DType) {
        let flags = MemFlagsData::trusted();
        match (v, dtype) {
            (V::I(v), DType::Int { bits, .. }) => match bits {
                ..=7 => {
                    let v = self.b.ins().band_imm_s(v, (1 << bits) - 1);
                    self.b.ins().istore8(flags, v, address, 0);
                }
                8 => {
                    self.b.ins().istore8(flags, v, address, 0);
                }
                16 => {
                    self.b.ins().istore16(flags, v, address, 0);
                }
                32 => {
                    self.b.ins().istore32(flags, v, address, 0);
                }
                _ => {
                    self.b.ins().store(flags, v, address, 0);
                }
            },
            (v, _) => self.put(address, v),
        }
    }

    /// Position of an element of a tensor, in elements.
    pub(super) fn position(&mut self, tensor: TensorId, index: &[Value]) -> Value {
        let mut at = self.b.ins().iconst(types::I64, 0);
        for (d, &i) in index.iter().enumerate() {
            let stride = self.tensor(tensor).strides[d];
            let step = self.b.ins().imul(i, stride);
            at = self.b.ins().iadd(at, step);
        }
        at
    }

    pub(super) fn address(&mut self, tensor: TensorId, position: Value) -> Value {
        let bytes = element_bytes(self.func.tensors[tensor].dtype);
        let offset = self.b.ins().imul_imm_s(position, bytes);
        let base = self.tensor(tensor).base;
        self.b.ins().iadd(base, offset)
    }

    /// An element of a tensor, by the edge rule where the index lies outside; whether the checker proved it inside is
    /// not relied on.
    pub(super) fn load(&mut self, tensor: TensorId, index: &[ExprId]) -> R<V> {
        let declared = &self.func.tensors[tensor];
        let mut at = Vec::new();
        let mut outside: Option<Value> = None;
        let mut otherwise = None;
        for (d, &e) in index.iter().enumerate() {
            let mut i = self.int(e)?;
            let n = self.tensor(tensor).extents[d];
            match declared.edges.get(d).copied().flatten() {
                Some(Edge::Const(v)) => {
                    let out = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, i, n);
                    outside = Some(match outside {
                        Some(before) => self.b.ins().bor(before, out),
                        None => out,
                    });
                    otherwise = Some(v.cast(declared.dtype));
                }
                Some(edge) => i = self.inside(edge, i, n)?,
                None if self.plan.data[e.index()] => i = self.checked(i, n),
                None => {}
            }
            at.push(i);
        }
        let dtype = declared.dtype;
        if let (Some(outside), Some(otherwise)) = (outside, otherwise) {
            return self.branch(outside, dtype, &mut |s| s.constant(otherwise, dtype), &mut |s| {
                let position = s.position(tensor, &at);
                let address = s.address(tensor, position);
                s.load_element(address, dtype)
            });
        }
        let position = self.position(tensor, &at);
        let address = self.address(tensor, position);
        self.load_element(address, dtype)
    }

    pub(super) fn load_at(&mut self, tensor: TensorId, position: Value) -> R<V> {
        let address = self.address(tensor, position);
        self.load_element(address, self.func.tensors[tensor].dtype)
    }

    /// The index inside `0..n` that an edge rule gives.
    fn inside(&mut self, edge: Edge, i: Value, n: Value) -> R<Value> {
        if edge == Edge::Clamp {
            let zero = self.b.ins().iconst(types::I64, 0);
            let last = self.b.ins().iadd_imm_s(n, -1);
            let i = self.b.ins().smax(i, zero);
            return Ok(self.b.ins().smin(i, last));
        }
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThan, i, n);
        let v = self.branch(fits, DType::I64, &mut |_| Ok(V::I(i)), &mut |s| {
            Ok(V::I(match edge {
                Edge::Wrap => s.floor_div(i, n).1,
                _ => {
                    // The mirrored line has a period of 2n, or 2n - 2 where its ends are not repeated.
                    let repeated = edge == Edge::Symmetric;
                    let twice = s.b.ins().imul_imm_s(n, 2);
                    let period = s.b.ins().iadd_imm_s(twice, if repeated { 0 } else { -2 });
                    // A line of one element has the period 0 when its end is not repeated.
                    let one = s.b.ins().iconst(types::I64, 1);
                    let period = s.b.ins().smax(period, one);
                    let m = s.floor_div(i, period).1;
                    let last = s.b.ins().iadd_imm_s(period, if repeated { -1 } else { 0 });
                    let mirrored = s.b.ins().isub(last, m);
                    let fits = s.b.ins().icmp(IntCC::SignedLessThan, m, n);
                    s.b.ins().select(fits, m, mirrored)
                }
            }))
        })?;
        v.int()
    }

    /// The address of a tile value's element: at the current point, or at a point of its axes.
    pub(super) fn value_address(
        &mut self,
        value: ValueId,
        next: bool,
        at: Option<&[Value]>,
    ) -> R<Option<Value>> {
        let func = self.func;
        let dims = match &self.values[value.index()] {
            Some(Slot::Mem(m)) => m.dims.clone(),
            Some(Slot::Reg(_)) => return Ok(None),
            None => return Err(internal("a tile value without a place")),
        };
        let mut position = self.b.ins().iconst(types::I64, 0);
        for (n, lo, extent, stride) in dims {
            let i = match at {
                Some(at) => *at.get(n).ok_or_else(|| internal("an index is missing"))?,
                None => {
                    let axis = func.values[value].axes[n];
                    self.axis[axis.index()].ok_or_else(|| internal("an axis is not set"))?
                }
            };
            let mut offset = self.b.ins().isub(i, lo);
            if at.is_some() {
                offset = self.checked(offset, extent);
            }
            let step = self.b.ins().imul(offset, stride);
            position = self.b.ins().iadd(position, step);
        }
        let bytes = self.b.ins().imul_imm_s(position, slot_bytes(func.values[value].dtype));
        let Some(Slot::Mem(m)) = &self.values[value.index()] else {
            return Err(internal("a tile value without memory"));
        };
        let base = if next { m.next.ok_or_else(|| internal("no second buffer"))? } else { m.now };
        let base = self.b.use_var(base);
        Ok(Some(self.b.ins().iadd(base, bytes)))
    }

    /// A tile value at the current point.
    pub(super) fn value(&mut self, value: ValueId) -> R<V> {
        let dtype = self.func.values[value].dtype;
        match self.value_address(value, false, None)? {
            Some(address) => self.get(address, dtype),
            None => self.register(value),
        }
    }

    /// A tile value that lives in registers.
    pub(super) fn register(&mut self, value: ValueId) -> R<V> {
        let Some(Slot::Reg(vars)) = &self.values[value.index()] else {
            return Err(internal("a tile value without registers"));
        };
        let vars = vars.clone();
        let v: Vec<Value> = vars.into_iter().map(|v| self.b.use_var(v)).collect();
        assemble(self.func.values[value].dtype, &v)
    }

    /// Sets a tile value that lives in registers.
    pub(super) fn set_register(&mut self, value: ValueId, v: V) -> R<()> {
        let Some(Slot::Reg(vars)) = &self.values[value.index()] else {
            return Err(internal("a tile value without registers"));
        };
        let vars = vars.clone();
        for (var, v) in vars.into_iter().zip(v.values()) {
            self.b.def_var(var, v);
        }
        Ok(())
    }

    /// The elements written by an assignment become the value's elements.
    pub(super) fn exchange(&mut self, value: ValueId) {
        if let Some(Slot::Mem(m)) = &self.values[value.index()]
            && let Some(next) = m.next
        {
            let now = m.now;
            let (a, b) = (self.b.use_var(now), self.b.use_var(next));
            self.b.def_var(now, b);
            self.b.def_var(next, a);
        }
    }
}

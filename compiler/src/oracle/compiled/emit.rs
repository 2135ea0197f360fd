//! The code of a function: its prologue, loops, and what is known where.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use rooftile_artifact::abi::{BUFFER_ALIGN, offset, status};
use rooftile_artifact::host_expr::{HostBinary, HostUnary};
use rooftile_artifact::{DType, HostExpr, Scalar};

use super::host::Host;
use super::plan::{Axes, Plan, bit};
use super::{EvalError, R, internal, unsupported};
use crate::diag::Span;
use crate::hir::ir::{
    AssignOp, AxisId, AxisKind, ExprId, ExprKind, File, Func, Stmt, StmtKind, TensorId, ValueId, ValueKind,
};

/// A value in registers. Integers of every width are 64 bits, wrapped; truth values one byte, 0 or 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum V {
    I(Value),
    F(Value),
    B(Value),
    C(Value, Value),
}

impl V {
    pub(super) fn int(self) -> R<Value> {
        match self {
            V::I(v) => Ok(v),
            _ => Err(internal("an integer was expected")),
        }
    }

    pub(super) fn truth(self) -> R<Value> {
        match self {
            V::B(v) => Ok(v),
            _ => Err(internal("a truth value was expected")),
        }
    }

    pub(super) fn parts(self) -> R<(Value, Value)> {
        match self {
            V::C(re, im) => Ok((re, im)),
            _ => Err(internal("a complex value was expected")),
        }
    }

    /// The registers.
    pub(super) fn values(self) -> Vec<Value> {
        match self {
            V::I(v) | V::F(v) | V::B(v) => vec![v],
            V::C(a, b) => vec![a, b],
        }
    }
}

/// The types of the registers of a value.
pub(super) fn registers(dtype: DType) -> Vec<Type> {
    match dtype {
        DType::Bool => vec![types::I8],
        DType::Int { .. } => vec![types::I64],
        DType::C64 | DType::C128 => vec![types::F64, types::F64],
        _ => vec![types::F64],
    }
}

/// The value that is in some registers.
pub(super) fn assemble(dtype: DType, v: &[Value]) -> R<V> {
    match (dtype, v) {
        (DType::Bool, &[v]) => Ok(V::B(v)),
        (DType::Int { .. }, &[v]) => Ok(V::I(v)),
        (DType::C64 | DType::C128, &[a, b]) => Ok(V::C(a, b)),
        (_, &[v]) => Ok(V::F(v)),
        _ => Err(internal("a value in the wrong number of registers")),
    }
}

/// Where a tensor lies. Offsets and strides count elements.
pub(super) struct Place {
    pub(super) base: Value,
    pub(super) extents: Vec<Value>,
    pub(super) strides: Vec<Value>,
}

/// Where a tile value lives.
pub(super) enum Slot {
    /// In registers: it has no axis that stays whole.
    Reg(Vec<Variable>),
    /// In memory, over the axes that stay whole.
    Mem(Mem),
}

/// A tile value in memory.
pub(super) struct Mem {
    /// Pointer to the elements.
    pub(super) now: Variable,
    /// Pointer to where an assignment that reads the old ones writes the new ones.
    pub(super) next: Option<Variable>,
    /// Position among the value's axes, smallest index, extent and stride of each axis that stays whole.
    pub(super) dims: Vec<(usize, Value, Value, Value)>,
}

pub(super) struct Emitter<'a, 'b> {
    pub(super) file: &'a File,
    pub(super) func: &'a Func,
    pub(super) plan: &'a Plan,
    pub(super) b: FunctionBuilder<'b>,
    pub(super) sizes: Vec<Value>,
    pub(super) scalars: Vec<V>,
    pub(super) tensors: Vec<Place>,
    /// Current index, where the axis is set.
    pub(super) axis: Vec<Option<Value>>,
    cache: Vec<Option<V>>,
    /// What is in the cache, oldest first.
    log: Vec<ExprId>,
    pub(super) values: Vec<Option<Slot>>,
    pub(super) tables: Vec<Option<Value>>,
    /// Axes that are not set yet although no loop around the current place sets them.
    pub(super) later: Axes,
    /// Running values of scans that advance with their loops.
    pub(super) running: Vec<Option<Vec<Variable>>>,
    /// Bits for the status word.
    pub(super) bad: Variable,
    local: Value,
    /// Bytes of scratch memory handed out so far.
    pub(super) local_bytes: HostExpr,
    bounds: Option<(Value, Value)>,
}

pub(super) type Body<'f, 'a, 'b> = &'f mut dyn FnMut(&mut Emitter<'a, 'b>) -> R<()>;

impl<'a, 'b> Emitter<'a, 'b> {
    pub(super) fn new(
        file: &'a File,
        func: &'a Func,
        plan: &'a Plan,
        mut b: FunctionBuilder<'b>,
    ) -> Emitter<'a, 'b> {
        let bad = b.declare_var(types::I32);
        Emitter {
            file,
            func,
            plan,
            b,
            sizes: Vec::new(),
            scalars: Vec::new(),
            tensors: Vec::new(),
            axis: vec![None; func.axes.len()],
            cache: vec![None; func.exprs.len()],
            log: Vec::new(),
            values: func.values.iter().map(|_| None).collect(),
            tables: vec![None; file.tables.len()],
            later: 0,
            running: vec![None; func.exprs.len()],
            bad,
            local: Value::from_u32(0),
            local_bytes: 0.into(),
            bounds: None,
        }
    }

    /// The whole function.
    pub(super) fn function(&mut self, strided: &[bool]) -> R<()> {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        let params = self.b.block_params(entry).to_vec();
        let &[args, phase, begin, end] = params.as_slice() else {
            return Err(internal("the entry has four parameters"));
        };
        self.prologue(args, strided)?;
        let exit = self.b.create_block();
        for n in 0..self.plan.phases.len() {
            let (run, skip) = (self.b.create_block(), self.b.create_block());
            let number = i64::try_from(n).map_err(internal)?;
            let here = self.b.ins().icmp_imm_s(IntCC::Equal, phase, number);
            self.b.ins().brif(here, run, &[], skip, &[]);
            self.b.switch_to_block(run);
            self.b.seal_block(run);
            self.phase(n, begin, end)?;
            self.b.ins().jump(exit, &[]);
            self.b.switch_to_block(skip);
            self.b.seal_block(skip);
        }
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        let bad = self.b.use_var(self.bad);
        let (report, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(bad, report, &[], done, &[]);
        self.b.switch_to_block(report);
        self.b.seal_block(report);
        let word = self.b.ins().load(types::I64, MemFlagsData::trusted(), args, offset::STATUS);
        self.b.ins().atomic_rmw(types::I32, MemFlagsData::trusted(), AtomicRmwOp::Or, word, bad);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        self.b.ins().return_(&[]);
        Ok(())
    }

    fn phase(&mut self, n: usize, begin: Value, end: Value) -> R<()> {
        let plan = &self.plan.phases[n];
        let body = &self.func.body[plan.from..plan.to];
        self.bounds = Some((begin, end));
        match (plan.parallel, body) {
            (Some(axis), [Stmt { kind: StmtKind::For { axes, with, body }, .. }]) => {
                self.nest(axes, with, body, Some(axis))
            }
            _ => self.block(body),
        }
    }

    /// The range of the chunk of the parallel axis.
    pub(super) fn chunk(&mut self, lo: Value) -> R<(Value, Value)> {
        let (begin, end) = self.bounds.ok_or_else(|| internal("no chunk"))?;
        Ok((self.b.ins().iadd(lo, begin), self.b.ins().iadd(lo, end)))
    }

    fn prologue(&mut self, args: Value, strided: &[bool]) -> R<()> {
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
                kind => crate::oracle::interp::operands(kind, &mut |o| stack.push(o)),
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

    pub(super) fn tensor(&self, id: TensorId) -> &Place {
        &self.tensors[id.index()]
    }

    pub(super) fn stop<T>(&self, what: impl Into<String>, span: Span) -> R<T> {
        Err(EvalError::Unsupported { what: what.into(), span })
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

/// Bytes of an element of a tensor.
pub(super) fn element_bytes(dtype: DType) -> i64 {
    match dtype {
        DType::C64 | DType::C128 => 16,
        d if d.is_float() => 8,
        d => i64::try_from(d.size()).unwrap_or(8),
    }
}

/// Bytes of an element of a tile value or table in scratch memory.
pub(super) fn slot_bytes(dtype: DType) -> i64 {
    if dtype.is_complex() { 16 } else { 8 }
}

//! The code of a function: its prologue, loops, and what is known where.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use rooftile_artifact::abi::offset;
use rooftile_artifact::{DType, HostExpr};

use super::plan::{Axes, Plan};
use super::{EvalError, R, internal};
use crate::diag::Span;
use crate::hir::ir::{ExprId, File, Func, Stmt, StmtKind, TensorId};

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
    pub(super) cache: Vec<Option<V>>,
    /// What is in the cache, oldest first.
    pub(super) log: Vec<ExprId>,
    pub(super) values: Vec<Option<Slot>>,
    pub(super) tables: Vec<Option<Value>>,
    /// Axes that are not set yet although no loop around the current place sets them.
    pub(super) later: Axes,
    /// Running values of scans that advance with their loops.
    pub(super) running: Vec<Option<Vec<Variable>>>,
    /// Bits for the status word.
    pub(super) bad: Variable,
    pub(super) local: Value,
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

    pub(super) fn tensor(&self, id: TensorId) -> &Place {
        &self.tensors[id.index()]
    }

    pub(super) fn stop<T>(&self, what: impl Into<String>, span: Span) -> R<T> {
        Err(EvalError::Unsupported { what: what.into(), span })
    }
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

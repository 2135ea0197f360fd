//! What an entry point is written with: the state of the generator, and the parameters of the launch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rooftile_artifact::gpu_abi::cell;
use rooftile_artifact::{DType, GpuTarget};
use rspirv::spirv::{BuiltIn, Capability, Op, StorageClass, Word};

use super::super::gpu::divisor::Divisors;
use super::super::gpu::layout::Layout;
use super::super::gpu::linear::Meaning;
use super::super::gpu::matrices::Role;
use super::super::gpu::range::{Fit, Ranges};
use super::super::gpu::threads::Shape;
use super::super::gpu::words;
use super::code::Code;
use super::dot::Dots;
use super::module::Module;
use super::types::Stored;
use crate::nest::ir::{BufferId, ExprId, Nest, VarId};
use crate::nest::verify;
use crate::nest::verify::matrices;
use crate::nest::verify::threads::Dims;

/// What a variable stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Binding {
    /// Nothing yet.
    Unbound,
    /// The counter of a pass that is written out.
    Const(i64),
    /// An index in 32 bits, by its range with a sign or without.
    Narrow(Word),
    /// A value of the variable's type.
    Value(Word),
    /// An expression without loads.
    Same(ExprId),
}

/// Why no module comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Unsupported(String),
    Internal(String),
}

/// Writes the entry points of a nest.
#[derive(Debug)]
pub(super) struct Emitter<'a> {
    pub(super) nest: &'a Nest,
    pub(super) target: &'a GpuTarget,
    pub(super) layout: &'a Layout,
    /// Dimensions of register buffers of which each thread has its own index.
    pub(super) thread_dims: Dims,
    pub(super) code: Code,
    pub(super) ranges: Ranges<'a>,
    pub(super) bindings: Vec<Binding>,
    /// Values of the current statement: of indices the low words too.
    pub(super) values: HashMap<ExprId, Word>,
    pub(super) lows: HashMap<ExprId, Word>,
    /// How the current phase is run.
    pub(super) shape: Shape,
    /// Whether the current statement is the same for all threads of a group, of which one makes the stores.
    pub(super) uniform: bool,
    /// Address of the parameter block.
    parameters: Word,
    /// Number of the thread in its group.
    pub(super) thread: Word,
    /// Number of its subgroup, where that matters.
    pub(super) subgroup: Word,
    /// What matrices are in products.
    pub(super) roles: BTreeMap<BufferId, Role>,
    /// Dimensions of matrix buffers of which each subgroup has its own index.
    pub(super) subgroup_dims: matrices::Dims,
    pub(super) divisors: Divisors<'a>,
    /// Shared buffers of bytes that lie in words.
    pub(super) words: BTreeSet<BufferId>,
    pub(super) dots: Dots,
    /// Variables of arrays, near or shared, and how their elements lie there.
    pub(super) arrays: HashMap<BufferId, (Word, Stored)>,
    pub(super) registers: HashMap<(BufferId, usize), Word>,
    /// Threads from one pass of a loop over threads to the next, by its counter.
    pub(super) strides: HashMap<VarId, u32>,
    /// First bytes of the buffers in the launch's memory.
    pub(super) bases: HashMap<BufferId, Word>,
    pub(super) shared_bytes: u64,
    /// Buffer slots of the launch.
    slots: u32,
    failure: Option<Failure>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        nest: &'a Nest,
        target: &'a GpuTarget,
        layout: &'a Layout,
        roles: BTreeMap<BufferId, Role>,
        slots: usize,
    ) -> Emitter<'a> {
        let mut emitter = Emitter {
            nest,
            target,
            layout,
            thread_dims: verify::threads::dims(nest),
            code: Code::new(Module::new(target.features, !roles.is_empty())),
            ranges: Ranges::new(nest),
            bindings: vec![Binding::Unbound; nest.vars.len()],
            values: HashMap::new(),
            lows: HashMap::new(),
            shape: Shape { group: 1, together: false, exchanges: false, matrices: false },
            uniform: false,
            parameters: 0,
            thread: 0,
            subgroup: 0,
            roles,
            subgroup_dims: matrices::dims(nest),
            divisors: Divisors::new(nest),
            words: BTreeSet::new(),
            dots: Dots::default(),
            arrays: HashMap::new(),
            registers: HashMap::new(),
            strides: HashMap::new(),
            bases: HashMap::new(),
            shared_bytes: 0,
            slots: slots as u32,
            failure: None,
        };
        if emitter.has_dots() {
            emitter.words = words::shared_words(nest, &emitter.divisors);
        }
        emitter
    }

    /// Notes why no module comes of it; the first reason stays.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// The first reason why no module comes of it.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.clone()
    }

    /// Starts an entry point: gives the number of the group and of groups.
    pub(super) fn begin_entry(&mut self, shape: Shape) -> (Word, Word) {
        self.shape = shape;
        self.uniform = false;
        self.shared_bytes = 0;
        self.arrays.clear();
        self.registers.clear();
        self.bases.clear();
        self.dots = Dots::default();
        self.forget();
        self.code.begin();
        let m = &mut self.code.module;
        let (word, address) = (m.u32(), m.u64());
        let push = m.push_constants();
        let (vector, pointer) = (m.vector(word, 3), m.pointer(StorageClass::PushConstant, address));
        let inputs = [BuiltIn::LocalInvocationId, BuiltIn::WorkgroupId, BuiltIn::NumWorkgroups]
            .map(|b| m.builtin(b, vector));
        let zero = m.int_const(32, 0);
        let at = self.code.value(Op::AccessChain, pointer, &[push, zero]);
        self.parameters = self.code.load_constant(address, at, None);
        let [thread, group, groups] = inputs.map(|input| {
            let all = self.code.load_constant(vector, input, None);
            self.code.extract(word, all, 0)
        });
        self.thread = thread;
        if shape.exchanges || shape.matrices {
            self.find_subgroup();
        }
        (group, groups)
    }

    /// Numbers the thread by its place in its subgroup. Whoever reads others' registers names them by that, and loops over
    /// subgroups count those; it need not follow the device's own numbers.
    fn find_subgroup(&mut self) {
        let m = &mut self.code.module;
        m.features.whole_subgroups = true;
        m.capability(Capability::GroupNonUniform);
        if self.shape.exchanges {
            m.features.subgroup_shuffle = true;
            m.capability(Capability::GroupNonUniformShuffle);
        }
        let (word, size) = (m.u32(), m.int_const(32, self.target.subgroup.into()));
        let inputs = [BuiltIn::SubgroupId, BuiltIn::SubgroupLocalInvocationId].map(|b| m.builtin(b, word));
        let [subgroup, lane] = inputs.map(|input| self.code.load_constant(word, input, None));
        let first = self.code.value(Op::IMul, word, &[subgroup, size]);
        self.thread = self.code.value(Op::IAdd, word, &[first, lane]);
        self.subgroup = subgroup;
    }

    /// A cell of the parameter block: its low word, or all of it.
    pub(super) fn cell(&mut self, n: u32, ty: Word) -> Word {
        let m = &mut self.code.module;
        let (address, pointer) = (m.u64(), m.pointer(StorageClass::PhysicalStorageBuffer, ty));
        let offset = m.int_const(64, 8 * u64::from(n));
        let at = match n {
            0 => self.parameters,
            _ => self.code.value(Op::IAdd, address, &[self.parameters, offset]),
        };
        let at = self.code.value(Op::ConvertUToPtr, pointer, &[at]);
        self.code.load_constant(ty, at, Some(8))
    }

    /// The address of a buffer slot.
    pub(super) fn slot(&mut self, n: u32) -> Word {
        let ty = self.code.module.u64();
        self.cell(cell::FIRST + n, ty)
    }

    /// A size's value in 32 bits.
    pub(super) fn size(&mut self, n: usize) -> Word {
        let ty = self.code.module.u32();
        self.cell(cell::FIRST + self.slots + n as u32, ty)
    }

    /// A scalar parameter's value.
    pub(super) fn param(&mut self, n: usize) -> Word {
        let t = self.nest.scalars[n].1;
        let at = cell::FIRST + self.slots + (self.nest.sizes.len() + n) as u32;
        match t {
            DType::Bool => {
                let (ty, zero) = (self.code.module.u32(), self.code.module.int_const(32, 0));
                let v = self.cell(at, ty);
                let bool = self.code.module.bool();
                self.code.value(Op::INotEqual, bool, &[v, zero])
            }
            DType::F16 | DType::Bf16 => {
                let ty = self.code.module.float(32);
                let v = self.cell(at, ty);
                self.narrow_half(v, t)
            }
            _ => {
                let ty = self.carrier(t);
                self.cell(at, ty)
            }
        }
    }

    /// Forgets the values of the statement before.
    pub(super) fn forget(&mut self) {
        self.values.clear();
        self.lows.clear();
    }

    /// From here on a variable stands for something.
    pub(super) fn bind(&mut self, var: VarId, binding: Binding) {
        self.bindings[var.index()] = binding;
        self.forget();
    }

    /// What a variable stands for in index formulas.
    pub(super) fn meaning(&self, var: VarId) -> Meaning {
        match self.bindings[var.index()] {
            Binding::Const(c) => Meaning::Const(c),
            Binding::Same(e) => Meaning::Expr(e),
            Binding::Unbound | Binding::Narrow(_) | Binding::Value(_) => Meaning::Value,
        }
    }

    /// How 32 bits hold an index, if they do.
    pub(super) fn fit(&mut self, e: ExprId) -> Option<Fit> {
        self.ranges.of(e).fit()
    }

    /// How 32 bits hold two indices in the same way.
    pub(super) fn fit_both(&mut self, a: ExprId, b: ExprId) -> Option<Fit> {
        let a = self.ranges.of(a);
        a.fit_with(self.ranges.of(b))
    }
}

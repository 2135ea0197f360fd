//! Tiny kernels of hand-made SPIR-V, entered as the interface says.

use rooftile_artifact::gpu_abi::cell;
use rooftile_artifact::program::{Code, Kernel, Phase, SpirvCode, SpirvPhase};
use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::{DType, HostExpr};
use rspirv::binary::Assemble;
use rspirv::dr::{Builder, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, Decoration, ExecutionMode, ExecutionModel, FunctionControl,
    LoopControl, MemoryAccess, MemoryModel, MemorySemantics, Scope, StorageClass, Word,
};

/// Threads of a group, each of which has a chunk of its own.
pub(crate) const GROUP: u32 = 8;

/// A module in the making. Values of chunks, sizes and indices are 64 bits wide.
pub(crate) struct Asm {
    b: Builder,
    void: Word,
    boolean: Word,
    pub(crate) u32: Word,
    pub(crate) u64: Word,
    pub(crate) f32: Word,
    push: Word,
    inputs: [Word; 3],
    /// Of the phase in the making.
    variables: [Word; 3],
    phases: Vec<SpirvPhase>,
    group: u32,
}

/// What the body of a phase sees.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// Address of the parameter block.
    block: Word,
    /// The chunk.
    pub(crate) chunk: Word,
    /// Which of the chunks in flight it is.
    pub(crate) slot: Word,
}

impl Asm {
    pub(crate) fn new() -> Asm {
        let mut b = Builder::new();
        b.set_version(1, 5);
        for c in [Capability::Shader, Capability::Int64, Capability::PhysicalStorageBufferAddresses] {
            b.capability(c);
        }
        b.memory_model(AddressingModel::PhysicalStorageBuffer64, MemoryModel::GLSL450);
        let (void, boolean) = (b.type_void(), b.type_bool());
        let (u32, u64, f32) = (b.type_int(32, 0), b.type_int(64, 0), b.type_float(32, None));
        let v3 = b.type_vector(u32, 3);
        let input = b.type_pointer(None, StorageClass::Input, v3);
        let inputs =
            [BuiltIn::LocalInvocationId, BuiltIn::WorkgroupId, BuiltIn::NumWorkgroups].map(|which| {
                let v = b.variable(input, None, StorageClass::Input, None);
                b.decorate(v, Decoration::BuiltIn, [Operand::BuiltIn(which)]);
                v
            });
        let constants = b.type_struct([u64]);
        b.decorate(constants, Decoration::Block, []);
        b.member_decorate(constants, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
        let pointer = b.type_pointer(None, StorageClass::PushConstant, constants);
        let push = b.variable(pointer, None, StorageClass::PushConstant, None);
        Asm {
            b,
            void,
            boolean,
            u32,
            u64,
            f32,
            push,
            inputs,
            variables: [0; 3],
            phases: Vec::new(),
            group: GROUP,
        }
    }

    /// Says so many threads a group, whatever the program says.
    pub(crate) fn with_group(self, group: u32) -> Asm {
        Asm { group, ..self }
    }

    /// Adds a phase whose threads each run `body` for their chunks.
    pub(crate) fn phase(mut self, body: impl FnOnce(&mut Asm, At)) -> Asm {
        let function = self.b.type_function(self.void, []);
        let main = self.b.begin_function(self.void, None, FunctionControl::NONE, function).expect("begins");
        self.b.begin_block(None).expect("begins");
        let counter = self.b.type_pointer(None, StorageClass::Function, self.u64);
        self.variables =
            std::array::from_fn(|_| self.b.variable(counter, None, StorageClass::Function, None));
        let [counter, ..] = self.variables;
        let pointer = self.b.type_pointer(None, StorageClass::PushConstant, self.u64);
        let zero = self.b.constant_bit32(self.u32, 0);
        let pointer = self.b.access_chain(pointer, None, self.push, [zero]).expect("chains");
        let block = self.b.load(self.u64, None, pointer, None, []).expect("loads");
        let [local, group, groups] = self.inputs.map(|v| self.input(v));
        let threads = self.int(u64::from(GROUP));
        let slot = self.mul(group, threads);
        let slot = self.add(slot, local);
        let stride = self.mul(groups, threads);
        let chunks = self.cell(block, cell::CHUNKS);
        self.counted(counter, (slot, chunks, stride), |a, chunk| body(a, At { block, chunk, slot }));
        self.b.ret().expect("returns");
        self.b.end_function().expect("ends");
        let entry = format!("phase{}", self.phases.len());
        let mut interface = self.inputs.to_vec();
        interface.push(self.push);
        self.b.entry_point(ExecutionModel::GLCompute, main, entry.clone(), interface);
        self.b.execution_mode(main, ExecutionMode::LocalSize, [self.group, 1, 1]);
        self.phases.push(SpirvPhase { entry, group: GROUP, chunks_per_group: GROUP, shared_bytes: 0 });
        self
    }

    /// A kernel of the module, with as many chunks in each phase as its only size.
    pub(crate) fn kernel(self, buffers: usize, scalars: Vec<DType>, local_bytes: i64) -> Kernel {
        let phases = self.phases;
        let words = self.b.module().assemble();
        Kernel {
            name: "k".into(),
            buffers,
            sizes: 1,
            scalars,
            local_bytes: local_bytes.into(),
            phases: phases.iter().map(|_| Phase { chunks: HostExpr::Size(0) }).collect(),
            code: Code::Spirv(SpirvCode {
                words,
                phases,
                features: GpuFeatures { i64: true, ..GpuFeatures::default() },
            }),
        }
    }

    pub(crate) fn int(&mut self, v: u64) -> Word {
        self.b.constant_bit64(self.u64, v)
    }

    pub(crate) fn add(&mut self, a: Word, b: Word) -> Word {
        self.b.i_add(self.u64, None, a, b).expect("adds")
    }

    pub(crate) fn sub(&mut self, a: Word, b: Word) -> Word {
        self.b.i_sub(self.u64, None, a, b).expect("subtracts")
    }

    pub(crate) fn mul(&mut self, a: Word, b: Word) -> Word {
        self.b.i_mul(self.u64, None, a, b).expect("multiplies")
    }

    pub(crate) fn fma(&mut self, a: Word, b: Word, c: Word) -> Word {
        let ab = self.b.f_mul(self.f32, None, a, b).expect("multiplies");
        self.b.f_add(self.f32, None, ab, c).expect("adds")
    }

    /// The low half.
    pub(crate) fn low(&mut self, a: Word) -> Word {
        self.b.u_convert(self.u32, None, a).expect("converts")
    }

    /// A 32-bit sum.
    pub(crate) fn add32(&mut self, a: Word, b: Word) -> Word {
        self.b.i_add(self.u32, None, a, b).expect("adds")
    }

    pub(crate) fn float(&mut self, bits: Word) -> Word {
        self.b.bitcast(self.f32, None, bits).expect("casts")
    }

    /// The number of chunks.
    pub(crate) fn chunks(&mut self, at: At) -> Word {
        self.cell(at.block, cell::CHUNKS)
    }

    /// The address of a buffer.
    pub(crate) fn buffer(&mut self, at: At, slot: u32) -> Word {
        self.cell(at.block, cell::FIRST + slot)
    }

    /// The first scalar, behind so many buffers and one size.
    pub(crate) fn scalar(&mut self, at: At, buffers: u32) -> Word {
        let cell = self.cell(at.block, cell::FIRST + buffers + 1);
        self.low(cell)
    }

    /// The address of the chunk's scratch memory.
    pub(crate) fn local(&mut self, at: At) -> Word {
        let (base, bytes) = (self.cell(at.block, cell::LOCAL), self.cell(at.block, cell::LOCAL_BYTES));
        let offset = self.mul(at.slot, bytes);
        self.add(base, offset)
    }

    /// The address of a 4-byte element.
    pub(crate) fn element(&mut self, base: Word, index: Word) -> Word {
        let four = self.int(4);
        let offset = self.mul(index, four);
        self.add(base, offset)
    }

    pub(crate) fn load(&mut self, ty: Word, address: Word) -> Word {
        let size = if ty == self.u64 { 8 } else { 4 };
        let pointer = self.pointer(ty, address);
        let aligned = [Operand::LiteralBit32(size)];
        self.b.load(ty, None, pointer, Some(MemoryAccess::ALIGNED), aligned).expect("loads")
    }

    pub(crate) fn store(&mut self, ty: Word, address: Word, value: Word) {
        let pointer = self.pointer(ty, address);
        let aligned = [Operand::LiteralBit32(4)];
        self.b.store(pointer, value, Some(MemoryAccess::ALIGNED), aligned).expect("stores");
    }

    /// Sets bits of the status word.
    pub(crate) fn report(&mut self, at: At, bits: u32) {
        let address = self.cell(at.block, cell::STATUS);
        let pointer = self.pointer(self.u32, address);
        let scope = self.b.constant_bit32(self.u32, Scope::Device as u32);
        let relaxed = self.b.constant_bit32(self.u32, MemorySemantics::RELAXED.bits());
        let bits = self.b.constant_bit32(self.u32, bits);
        self.b.atomic_or(self.u32, None, pointer, scope, relaxed, bits).expect("is atomic");
    }

    /// A long chain of steps, each of which needs the one before: the value after `steps` of them.
    pub(crate) fn chain(&mut self, seed: Word, steps: u64) -> Word {
        let [_, count, value] = self.variables;
        let (none, one, most) = (self.int(0), self.int(1), self.int(steps));
        let (a, c) = (self.int(6_364_136_223_846_793_005), self.int(1_442_695_040_888_963_407));
        self.b.store(value, seed, None, []).expect("stores");
        self.counted(count, (none, most, one), |asm, _| {
            let v = asm.b.load(asm.u64, None, value, None, []).expect("loads");
            let v = asm.mul(v, a);
            let v = asm.add(v, c);
            let shift = asm.int(7);
            let high = asm.b.shift_right_logical(asm.u64, None, v, shift).expect("shifts");
            let v = asm.b.bitwise_xor(asm.u64, None, v, high).expect("mixes");
            asm.b.store(value, v, None, []).expect("stores");
        });
        self.b.load(self.u64, None, value, None, []).expect("loads")
    }

    /// Runs `body` with `first`, `first + step` and so on below `end`, kept in the variable `counter`.
    fn counted(
        &mut self,
        counter: Word,
        (first, end, step): (Word, Word, Word),
        body: impl FnOnce(&mut Asm, Word),
    ) {
        self.b.store(counter, first, None, []).expect("stores");
        let [head, check, inner, next, after] = std::array::from_fn(|_| self.b.id());
        self.b.branch(head).expect("branches");
        self.b.begin_block(Some(head)).expect("begins");
        self.b.loop_merge(after, next, LoopControl::NONE, []).expect("merges");
        self.b.branch(check).expect("branches");
        self.b.begin_block(Some(check)).expect("begins");
        let n = self.b.load(self.u64, None, counter, None, []).expect("loads");
        let more = self.b.u_less_than(self.boolean, None, n, end).expect("compares");
        self.b.branch_conditional(more, inner, after, []).expect("branches");
        self.b.begin_block(Some(inner)).expect("begins");
        body(self, n);
        self.b.branch(next).expect("branches");
        self.b.begin_block(Some(next)).expect("begins");
        let n = self.add(n, step);
        self.b.store(counter, n, None, []).expect("stores");
        self.b.branch(head).expect("branches");
        self.b.begin_block(Some(after)).expect("begins");
    }

    fn cell(&mut self, block: Word, cell: u32) -> Word {
        let offset = self.int(8 * u64::from(cell));
        let address = self.add(block, offset);
        self.load(self.u64, address)
    }

    fn pointer(&mut self, ty: Word, address: Word) -> Word {
        let pointer = self.b.type_pointer(None, StorageClass::PhysicalStorageBuffer, ty);
        self.b.convert_u_to_ptr(pointer, None, address).expect("converts")
    }

    fn input(&mut self, variable: Word) -> Word {
        let v3 = self.b.type_vector(self.u32, 3);
        let v = self.b.load(v3, None, variable, None, []).expect("loads");
        let x = self.b.composite_extract(self.u32, None, v, [0]).expect("extracts");
        self.b.u_convert(self.u64, None, x).expect("converts")
    }
}

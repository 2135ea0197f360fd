//! Hand-made SPIR-V of one entry point, entered as [`rooftile_artifact::gpu_abi`] says. Each thread has one chunk.

use rooftile_artifact::gpu_abi::cell;
use rooftile_artifact::program::{Code, Kernel, Phase, SpirvCode, SpirvPhase};
use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::{DType, HostExpr};
use rspirv::binary::Assemble;
use rspirv::dr::{Builder, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, CooperativeMatrixLayout, CooperativeMatrixOperands,
    CooperativeMatrixUse, Decoration, ExecutionMode, ExecutionModel, FunctionControl, GlslStd450Op,
    LoopControl, MemoryAccess, MemoryModel, PackedVectorFormat, Scope, StorageClass, Word,
};

/// What making a module gives; an error is a bug of the probe.
pub(super) type Made<T> = Result<T, rspirv::dr::Error>;

/// A type of values: so many lanes of an element type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    id: Word,
    lane: Word,
    dtype: DType,
    lanes: u32,
}

impl Type {
    /// Bytes in memory.
    pub(super) fn bytes(self) -> u32 {
        u32::try_from(self.dtype.size()).unwrap_or(4) * self.lanes
    }
}

/// A binary operation of the builder.
pub(super) type Binary = fn(&mut Builder, Word, Option<Word>, Word, Word) -> Made<Word>;

/// A module in the making, inside its entry point.
pub(super) struct Asm {
    b: Builder,
    glsl: Word,
    boolean: Word,
    pub(super) u32: Type,
    u64: Word,
    /// Address of the parameter block.
    params: Word,
    /// The block of instructions that is being written.
    label: Word,
    /// Number of the thread in its group, 32 bits.
    pub(super) local: Word,
    /// Number of the group, 32 bits.
    pub(super) group: Word,
    size: u32,
    features: GpuFeatures,
    /// Memory of many elements, by their type.
    arrays: Vec<(Word, Word)>,
}

impl Asm {
    /// Begins the entry point, with so many threads a group. `dtypes` are the element types that it computes with.
    pub(super) fn new(size: u32, dtypes: &[DType]) -> Made<Asm> {
        let mut b = Builder::new();
        b.set_version(1, 5);
        for c in [Capability::Shader, Capability::Int64, Capability::PhysicalStorageBufferAddresses] {
            b.capability(c);
        }
        let mut features = GpuFeatures { i64: true, ..GpuFeatures::default() };
        if dtypes.contains(&DType::F64) {
            b.capability(Capability::Float64);
            features.f64 = true;
        }
        if dtypes.contains(&DType::F16) {
            b.capability(Capability::Float16);
            features.f16 = true;
        }
        let glsl = b.ext_inst_import("GLSL.std.450");
        b.memory_model(AddressingModel::PhysicalStorageBuffer64, MemoryModel::GLSL450);
        let (void, boolean) = (b.type_void(), b.type_bool());
        let (u32, u64) = (b.type_int(32, 0), b.type_int(64, 0));
        let v3 = b.type_vector(u32, 3);
        let input = b.type_pointer(None, StorageClass::Input, v3);
        let inputs = [BuiltIn::LocalInvocationId, BuiltIn::WorkgroupId].map(|which| {
            let v = b.variable(input, None, StorageClass::Input, None);
            b.decorate(v, Decoration::BuiltIn, [Operand::BuiltIn(which)]);
            v
        });
        let constants = b.type_struct([u64]);
        b.decorate(constants, Decoration::Block, []);
        b.member_decorate(constants, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
        let pointer = b.type_pointer(None, StorageClass::PushConstant, constants);
        let push = b.variable(pointer, None, StorageClass::PushConstant, None);
        let function = b.type_function(void, []);
        let main = b.begin_function(void, None, FunctionControl::NONE, function)?;
        let label = b.begin_block(None)?;
        let [local, group] = inputs.map(|v| -> Made<Word> {
            let v = b.load(v3, None, v, None, [])?;
            b.composite_extract(u32, None, v, [0])
        });
        let zero = b.constant_bit32(u32, 0);
        let pointer = b.type_pointer(None, StorageClass::PushConstant, u64);
        let at = b.access_chain(pointer, None, push, [zero])?;
        let params = b.load(u64, None, at, None, [])?;
        b.entry_point(ExecutionModel::GLCompute, main, ENTRY, [inputs[0], inputs[1], push]);
        b.execution_mode(main, ExecutionMode::LocalSize, [size, 1, 1]);
        Ok(Asm {
            b,
            glsl,
            boolean,
            u32: Type { id: u32, lane: u32, dtype: DType::Int { signed: false, bits: 32 }, lanes: 1 },
            u64,
            params,
            label,
            local: local?,
            group: group?,
            size,
            features,
            arrays: Vec::new(),
        })
    }

    /// Ends the entry point: a kernel of one phase, so many buffers and sizes, the first size its number of
    /// threads.
    pub(super) fn finish(mut self, name: &str, buffers: usize, sizes: usize) -> Made<Kernel> {
        self.b.ret()?;
        self.b.end_function()?;
        let code = SpirvPhase {
            entry: ENTRY.to_owned(),
            group: self.size,
            chunks_per_group: self.size,
            shared_bytes: 0,
        };
        Ok(Kernel {
            name: name.to_owned(),
            buffers,
            sizes,
            scalars: Vec::new(),
            local_bytes: 0.into(),
            phases: vec![Phase { chunks: HostExpr::Size(0) }],
            code: Code::Spirv(SpirvCode {
                words: self.b.module().assemble(),
                phases: vec![code],
                features: self.features,
            }),
        })
    }

    /// A type of floats.
    pub(super) fn float(&mut self, dtype: DType, lanes: u32) -> Type {
        let lane = self.b.type_float(u32::try_from(8 * dtype.size()).unwrap_or(32), None);
        let id = if lanes > 1 { self.b.type_vector(lane, lanes) } else { lane };
        Type { id, lane, dtype, lanes }
    }

    /// Matrices of so many rows and columns that a subgroup holds together.
    pub(super) fn matrix(
        &mut self,
        dtype: DType,
        [rows, columns]: [u32; 2],
        role: CooperativeMatrixUse,
    ) -> Type {
        if !self.features.matrix {
            self.b.capability(Capability::CooperativeMatrixKHR);
            self.b.capability(Capability::VulkanMemoryModel);
            self.b.extension("SPV_KHR_cooperative_matrix");
            self.b.memory_model(AddressingModel::PhysicalStorageBuffer64, MemoryModel::Vulkan);
            (self.features.matrix, self.features.whole_subgroups) = (true, true);
        }
        let lane = match dtype {
            DType::Int { bits: 8, .. } => {
                if !self.features.i8 {
                    self.b.capability(Capability::Int8);
                    self.b.capability(Capability::StorageBuffer8BitAccess);
                    (self.features.i8, self.features.storage8) = (true, true);
                }
                self.b.type_int(8, 0)
            }
            t if t.is_int() => self.u32.id,
            DType::F16 => {
                if !self.features.storage16 {
                    self.b.capability(Capability::StorageBuffer16BitAccess);
                    self.features.storage16 = true;
                }
                self.float(dtype, 1).id
            }
            t => self.float(t, 1).id,
        };
        let scope = self.int(Scope::Subgroup as u32);
        let [rows, columns, role] = [rows, columns, role as u32].map(|n| self.int(n));
        let id = self.b.type_cooperative_matrix_khr(lane, scope, rows, columns, role);
        Type { id, lane, dtype, lanes: 1 }
    }

    /// A 32-bit integer as all elements of a matrix.
    pub(super) fn filled(&mut self, ty: Type, value: Word) -> Made<Word> {
        let lane = match ty.dtype {
            t if t.is_float() => self.b.convert_u_to_f(ty.lane, None, value)?,
            _ if ty.lane == self.u32.id => value,
            _ => self.b.u_convert(ty.lane, None, value)?,
        };
        self.b.composite_construct(ty.id, None, [lane])
    }

    /// `x * y + sum` of matrices.
    pub(super) fn multiply_add(&mut self, ty: Type, [x, y, sum]: [Word; 3]) -> Made<Word> {
        use CooperativeMatrixOperands as Of;
        let signed = ty.dtype.is_signed_int().then_some(
            Of::MATRIX_A_SIGNED_COMPONENTS_KHR
                | Of::MATRIX_B_SIGNED_COMPONENTS_KHR
                | Of::MATRIX_C_SIGNED_COMPONENTS_KHR
                | Of::MATRIX_RESULT_SIGNED_COMPONENTS_KHR,
        );
        self.b.cooperative_matrix_mul_add_khr(ty.id, None, x, y, sum, signed)
    }

    /// A matrix from memory, row by row of so many elements.
    pub(super) fn load_matrix(&mut self, ty: Type, address: Word, columns: u32) -> Made<Word> {
        let pointer = self.rows(ty, address)?;
        let (layout, stride) = (self.int(CooperativeMatrixLayout::RowMajorKHR as u32), self.int(columns));
        let align = [Operand::LiteralBit32(ROW_ALIGN)];
        self.b.cooperative_matrix_load_khr(ty.id, None, pointer, layout, Some(stride), SHARED, align)
    }

    /// A matrix to memory, row by row of so many elements.
    pub(super) fn store_matrix(&mut self, ty: Type, address: Word, matrix: Word, columns: u32) -> Made<()> {
        let pointer = self.rows(ty, address)?;
        let (layout, stride) = (self.int(CooperativeMatrixLayout::RowMajorKHR as u32), self.int(columns));
        let align = [Operand::LiteralBit32(ROW_ALIGN)];
        self.b.cooperative_matrix_store_khr(pointer, matrix, layout, Some(stride), SHARED, align)
    }

    /// A pointer to the first of many elements.
    fn rows(&mut self, ty: Type, address: Word) -> Made<Word> {
        let class = StorageClass::PhysicalStorageBuffer;
        let memory = match self.arrays.iter().find(|(lane, _)| *lane == ty.lane) {
            Some((_, memory)) => *memory,
            None => {
                let array = self.b.type_runtime_array(ty.lane);
                self.b.decorate(array, Decoration::ArrayStride, [Operand::LiteralBit32(ty.bytes())]);
                let memory = self.b.type_struct([array]);
                self.b.decorate(memory, Decoration::Block, []);
                self.b.member_decorate(memory, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
                self.arrays.push((ty.lane, memory));
                memory
            }
        };
        let [memory, element] = [memory, ty.lane].map(|t| self.b.type_pointer(None, class, t));
        let (at, zero) = (self.b.convert_u_to_ptr(memory, None, address)?, self.int(0));
        self.b.access_chain(element, None, at, [zero, zero])
    }

    /// The sum of two matrices.
    pub(super) fn sum(&mut self, ty: Type, x: Word, y: Word) -> Made<Word> {
        addition(ty)(&mut self.b, ty.id, None, x, y)
    }

    /// The sum of four products of bytes with signs.
    pub(super) fn dot(&mut self, x: Word, y: Word) -> Made<Word> {
        if !self.features.dot8 {
            self.b.capability(Capability::DotProduct);
            self.b.capability(Capability::DotProductInput4x8BitPacked);
            self.b.extension("SPV_KHR_integer_dot_product");
            self.features.dot8 = true;
        }
        self.b.s_dot(self.u32.id, None, x, y, Some(PackedVectorFormat::PackedVectorFormat4x8Bit))
    }

    /// Unsigned integers as wide as the lanes of a type.
    pub(super) fn bits_of(&self, ty: Type) -> Type {
        let wide = ty.dtype.size() == 8;
        let id = if wide { self.u64 } else { self.u32.id };
        Type { id, lane: id, dtype: DType::Int { signed: false, bits: if wide { 64 } else { 32 } }, lanes: 1 }
    }

    /// A constant, the same in all lanes.
    pub(super) fn constant(&mut self, ty: Type, value: f64) -> Word {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small constants of probes"
        )]
        let lane = match ty.dtype {
            DType::F64 => self.b.constant_bit64(ty.lane, value.to_bits()),
            DType::F16 => self.b.constant_bit32(ty.lane, half::f16::from_f64(value).to_bits().into()),
            DType::F32 => self.b.constant_bit32(ty.lane, (value as f32).to_bits()),
            _ if ty.id == self.u64 => self.b.constant_bit64(ty.lane, value as u64),
            _ => self.b.constant_bit32(ty.lane, value as u32),
        };
        self.splat(ty, lane)
    }

    fn splat(&mut self, ty: Type, lane: Word) -> Word {
        if ty.lanes == 1 { lane } else { self.b.constant_composite(ty.id, vec![lane; ty.lanes as usize]) }
    }

    /// A 32-bit integer.
    pub(super) fn int(&mut self, value: u32) -> Word {
        self.b.constant_bit32(self.u32.id, value)
    }

    /// A 32-bit integer as a float, the same in all lanes.
    pub(super) fn float_of(&mut self, ty: Type, value: Word) -> Made<Word> {
        let lane = self.b.convert_u_to_f(ty.lane, None, value)?;
        if ty.lanes == 1 {
            Ok(lane)
        } else {
            self.b.composite_construct(ty.id, None, vec![lane; ty.lanes as usize])
        }
    }

    /// Applies an operation as it stands: the driver neither contracts nor reorders it.
    pub(super) fn exact(&mut self, op: Binary, ty: Type, a: Word, b: Word) -> Made<Word> {
        let id = op(&mut self.b, ty.id, None, a, b)?;
        self.b.decorate(id, Decoration::NoContraction, []);
        Ok(id)
    }

    /// Applies an integer operation.
    pub(super) fn with(&mut self, op: Binary, ty: Type, a: Word, b: Word) -> Made<Word> {
        op(&mut self.b, ty.id, None, a, b)
    }

    /// Applies a function of the GLSL set.
    pub(super) fn glsl(&mut self, op: GlslStd450Op, ty: Type, args: &[Word]) -> Made<Word> {
        let args = args.iter().map(|&a| Operand::IdRef(a));
        self.b.ext_inst(ty.id, None, self.glsl, op as Word, args)
    }

    /// The same bits as another type.
    pub(super) fn bitcast(&mut self, ty: Type, value: Word) -> Made<Word> {
        self.b.bitcast(ty.id, None, value)
    }

    /// `a` where it is below `limit`, else `a - limit`.
    pub(super) fn wrapped(&mut self, a: Word, limit: Word) -> Made<Word> {
        let below = self.b.u_less_than(self.boolean, None, a, limit)?;
        let less = self.b.i_sub(self.u32.id, None, a, limit)?;
        self.b.select(self.u32.id, None, below, a, less)
    }

    /// A cell of the parameter block.
    pub(super) fn cell(&mut self, cell: u32) -> Made<Word> {
        let offset = self.b.constant_bit64(self.u64, 8 * u64::from(cell));
        let address = self.b.i_add(self.u64, None, self.params, offset)?;
        let ty = Type { id: self.u64, ..self.u32 };
        self.load(ty, address, 8)
    }

    /// The address of a buffer.
    pub(super) fn buffer(&mut self, number: u32) -> Made<Word> {
        self.cell(cell::FIRST + number)
    }

    /// The size with a number, behind so many buffers; 32 bits.
    pub(super) fn size(&mut self, buffers: u32, number: u32) -> Made<Word> {
        let cell = self.cell(cell::FIRST + buffers + number)?;
        self.b.u_convert(self.u32.id, None, cell)
    }

    /// The address of an element of so many bytes, its index 32 bits.
    pub(super) fn element(&mut self, base: Word, index: Word, bytes: u32) -> Made<Word> {
        let index = self.b.u_convert(self.u64, None, index)?;
        let bytes = self.b.constant_bit64(self.u64, bytes.into());
        let offset = self.b.i_mul(self.u64, None, index, bytes)?;
        self.b.i_add(self.u64, None, base, offset)
    }

    /// An address so many bytes further on.
    pub(super) fn further(&mut self, address: Word, bytes: u32) -> Made<Word> {
        let bytes = self.b.constant_bit64(self.u64, bytes.into());
        self.b.i_add(self.u64, None, address, bytes)
    }

    /// Loads from an address that is a multiple of `align`.
    pub(super) fn load(&mut self, ty: Type, address: Word, align: u32) -> Made<Word> {
        let pointer = self.pointer(ty, address)?;
        self.b.load(ty.id, None, pointer, Some(MemoryAccess::ALIGNED), [Operand::LiteralBit32(align)])
    }

    /// Stores to an address that is a multiple of `align`.
    pub(super) fn store(&mut self, ty: Type, address: Word, value: Word, align: u32) -> Made<()> {
        let pointer = self.pointer(ty, address)?;
        self.b.store(pointer, value, Some(MemoryAccess::ALIGNED), [Operand::LiteralBit32(align)])
    }

    fn pointer(&mut self, ty: Type, address: Word) -> Made<Word> {
        let pointer = self.b.type_pointer(None, StorageClass::PhysicalStorageBuffer, ty.id);
        self.b.convert_u_to_ptr(pointer, None, address)
    }

    /// The number of this thread of all.
    pub(super) fn thread(&mut self) -> Made<Word> {
        let size = self.int(self.size);
        let first = self.b.i_mul(self.u32.id, None, self.group, size)?;
        self.b.i_add(self.u32.id, None, first, self.local)
    }

    /// Repeats `body`, which is given the number of the round and turns values into their successors; the values after the
    /// last round.
    pub(super) fn repeat(
        &mut self,
        times: Word,
        first: &[(Type, Word)],
        body: impl FnOnce(&mut Asm, Word, &[Word]) -> Made<Vec<Word>>,
    ) -> Made<Vec<Word>> {
        let [head, inner, next, end] = std::array::from_fn(|_| self.b.id());
        let (zero, one, before) = (self.int(0), self.int(1), self.label);
        self.b.branch(head)?;
        self.b.begin_block(Some(head))?;
        let counter_after = self.b.id();
        let counter = self.b.phi(self.u32.id, None, [(zero, before), (counter_after, next)])?;
        let (mut values, mut after) = (Vec::new(), Vec::new());
        for &(ty, value) in first {
            let id = self.b.id();
            values.push(self.b.phi(ty.id, None, [(value, before), (id, next)])?);
            after.push(id);
        }
        let more = self.b.u_less_than(self.boolean, None, counter, times)?;
        self.b.loop_merge(end, next, LoopControl::NONE, [])?;
        self.b.branch_conditional(more, inner, end, [])?;
        self.b.begin_block(Some(inner))?;
        self.label = inner;
        let made = body(self, counter, &values)?;
        self.b.branch(next)?;
        self.b.begin_block(Some(next))?;
        self.b.i_add(self.u32.id, Some(counter_after), counter, one)?;
        for ((&(ty, _), id), value) in first.iter().zip(after).zip(made) {
            self.b.copy_object(ty.id, Some(id), value)?;
        }
        self.b.branch(head)?;
        self.b.begin_block(Some(end))?;
        self.label = end;
        Ok(values)
    }

    /// Uses values, so that the driver cannot leave out what they are made of: stores four bytes of their sum at this
    /// thread's place in a buffer.
    pub(super) fn keep(&mut self, ty: Type, values: &[Word], buffer: Word) -> Made<()> {
        let float = ty.dtype.is_float();
        let mut lanes = Vec::new();
        for &value in values {
            if ty.lanes == 1 {
                lanes.push(value);
            } else {
                for lane in 0..ty.lanes {
                    lanes.push(self.b.composite_extract(ty.lane, None, value, [lane])?);
                }
            }
        }
        let add = addition(ty);
        let mut sum = None;
        for lane in lanes {
            sum = Some(match sum {
                None => lane,
                Some(sum) => add(&mut self.b, ty.lane, None, sum, lane)?,
            });
        }
        let Some(mut sum) = sum else { return Ok(()) };
        let single = self.float(DType::F32, 1);
        if float && ty.lane != single.id {
            sum = self.b.f_convert(single.id, None, sum)?;
        }
        let stored = if float { single } else { self.u32 };
        let thread = self.thread()?;
        let address = self.element(buffer, thread, 4)?;
        self.store(stored, address, sum, 4)
    }
}

/// The addition of values of a type.
fn addition(ty: Type) -> Binary {
    if ty.dtype.is_float() { Builder::f_add } else { Builder::i_add }
}

const ENTRY: &str = "probe";

/// Bytes that rows of matrices are aligned to.
const ROW_ALIGN: u32 = 16;

/// Other threads may see the memory.
const SHARED: Option<MemoryAccess> = Some(MemoryAccess::from_bits_truncate(
    MemoryAccess::ALIGNED.bits() | MemoryAccess::NON_PRIVATE_POINTER.bits(),
));

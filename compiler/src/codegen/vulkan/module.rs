//! The parts of a module outside functions: types and constants, each once; variables, decorations, capabilities.

use std::collections::{BTreeSet, HashMap};

use rooftile_artifact::target::GpuFeatures;
use rspirv::binary::Assemble;
use rspirv::dr::{self, Instruction, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, CooperativeMatrixUse, Decoration, ExecutionMode, ExecutionModel,
    MemoryModel, Op, Scope, StorageClass, Word,
};

use super::memory_model;

/// An instruction without its result, as a key.
pub(super) type Key = (Op, Word, Vec<Operand>);

/// A module in the making.
#[derive(Debug, Default)]
pub(super) struct Module {
    out: dr::Module,
    bound: Word,
    /// For lookup only.
    globals: HashMap<Key, Word>,
    capabilities: BTreeSet<u32>,
    /// Variables that the next entry point names.
    interface: Vec<Word>,
    push_constants: Option<Word>,
    /// For lookup only: by the type of their elements.
    open_arrays: HashMap<Word, Word>,
    glsl: Word,
    /// Whether it keeps to the memory model of Vulkan, as matrices want.
    pub(super) vulkan_memory: bool,
    /// What the module needs of the device.
    pub(super) features: GpuFeatures,
    /// What the device keeps to of IEEE 754, where it is asked.
    pub(super) special_values: bool,
    /// As `special_values`.
    pub(super) subnormals: bool,
}

impl Module {
    /// A module for a device; with matrices, if it is to have any.
    pub(super) fn new(target: GpuFeatures, matrices: bool) -> Module {
        let mut m = Module { bound: 1, vulkan_memory: matrices, ..Module::default() };
        m.special_values = target.special_values;
        m.subnormals = target.subnormals;
        m.features.i64 = true;
        for capability in [Capability::Shader, Capability::Int64, Capability::PhysicalStorageBufferAddresses]
        {
            m.capability(capability);
        }
        let mut model = MemoryModel::GLSL450;
        if matrices {
            model = MemoryModel::Vulkan;
            m.capability(Capability::VulkanMemoryModel);
            // Atomics are the device's.
            m.capability(Capability::VulkanMemoryModelDeviceScope);
        }
        m.glsl = m.id();
        let set = Operand::LiteralString("GLSL.std.450".to_owned());
        m.out.ext_inst_imports.push(Instruction::new(Op::ExtInstImport, None, Some(m.glsl), vec![set]));
        m.out.memory_model = Some(Instruction::new(
            Op::MemoryModel,
            None,
            None,
            vec![
                Operand::AddressingModel(AddressingModel::PhysicalStorageBuffer64),
                Operand::MemoryModel(model),
            ],
        ));
        m
    }

    /// A new id.
    pub(super) fn id(&mut self) -> Word {
        self.bound += 1;
        self.bound - 1
    }

    /// The extended instructions of GLSL.
    pub(super) fn glsl(&self) -> Word {
        self.glsl
    }

    pub(super) fn capability(&mut self, capability: Capability) {
        if self.capabilities.insert(capability as u32) {
            let operands = vec![Operand::Capability(capability)];
            self.out.capabilities.push(Instruction::new(Op::Capability, None, None, operands));
        }
    }

    /// A type or constant: one id for equal ones.
    fn global(&mut self, op: Op, ty: Word, operands: Vec<Operand>) -> Word {
        let key = (op, ty, operands);
        if let Some(&id) = self.globals.get(&key) {
            return id;
        }
        let id = self.id();
        let result_type = (ty != 0).then_some(ty);
        self.out.types_global_values.push(Instruction::new(op, result_type, Some(id), key.2.clone()));
        self.globals.insert(key, id);
        id
    }

    pub(super) fn void(&mut self) -> Word {
        self.global(Op::TypeVoid, 0, Vec::new())
    }

    pub(super) fn bool(&mut self) -> Word {
        self.global(Op::TypeBool, 0, Vec::new())
    }

    /// An integer type without a sign: operators have one.
    pub(super) fn int(&mut self, bits: u32) -> Word {
        self.global(Op::TypeInt, 0, vec![Operand::LiteralBit32(bits), Operand::LiteralBit32(0)])
    }

    pub(super) fn u32(&mut self) -> Word {
        self.int(32)
    }

    pub(super) fn u64(&mut self) -> Word {
        self.int(64)
    }

    pub(super) fn float(&mut self, bits: u32) -> Word {
        if bits == 64 {
            self.features.f64 = true;
            self.capability(Capability::Float64);
        }
        self.global(Op::TypeFloat, 0, vec![Operand::LiteralBit32(bits)])
    }

    pub(super) fn vector(&mut self, element: Word, n: u32) -> Word {
        self.global(Op::TypeVector, 0, vec![Operand::IdRef(element), Operand::LiteralBit32(n)])
    }

    pub(super) fn array(&mut self, element: Word, length: u32) -> Word {
        let length = self.int_const(32, u64::from(length));
        self.global(Op::TypeArray, 0, vec![Operand::IdRef(element), Operand::IdRef(length)])
    }

    /// Matrices that a subgroup holds.
    pub(super) fn matrix(
        &mut self,
        element: Word,
        (rows, columns): (u32, u32),
        role: CooperativeMatrixUse,
    ) -> Word {
        if !self.features.matrix {
            self.features.matrix = true;
            self.capability(Capability::CooperativeMatrixKHR);
            let name = Operand::LiteralString("SPV_KHR_cooperative_matrix".to_owned());
            self.out.extensions.push(Instruction::new(Op::Extension, None, None, vec![name]));
        }
        let operands =
            [Scope::Subgroup as u32, rows, columns, role as u32].map(|v| self.int_const(32, v.into()));
        let operands = [element].into_iter().chain(operands).map(Operand::IdRef).collect();
        self.global(Op::TypeCooperativeMatrixKHR, 0, operands)
    }

    /// An array of unknown length in memory that is reached by address.
    pub(super) fn open_array(&mut self, element: Word, bytes: u32) -> Word {
        if let Some(&known) = self.open_arrays.get(&element) {
            return known;
        }
        let array = self.global(Op::TypeRuntimeArray, 0, vec![Operand::IdRef(element)]);
        self.decorate(array, Decoration::ArrayStride, Some(Operand::LiteralBit32(bytes)));
        let ty = self.global(Op::TypeStruct, 0, vec![Operand::IdRef(array)]);
        self.block(ty);
        self.open_arrays.insert(element, ty);
        ty
    }

    /// Marks a structure of one member as the layout of memory.
    fn block(&mut self, ty: Word) {
        self.decorate(ty, Decoration::Block, None);
        let offset = [
            Operand::IdRef(ty),
            Operand::LiteralBit32(0),
            Operand::Decoration(Decoration::Offset),
            Operand::LiteralBit32(0),
        ];
        self.out.annotations.push(Instruction::new(Op::MemberDecorate, None, None, offset.to_vec()));
    }

    pub(super) fn pointer(&mut self, class: StorageClass, to: Word) -> Word {
        self.global(Op::TypePointer, 0, vec![Operand::StorageClass(class), Operand::IdRef(to)])
    }

    pub(super) fn bool_const(&mut self, v: bool) -> Word {
        let ty = self.bool();
        let op = if v { Op::ConstantTrue } else { Op::ConstantFalse };
        self.global(op, ty, Vec::new())
    }

    /// The low `bits` of a number.
    pub(super) fn int_const(&mut self, bits: u32, v: u64) -> Word {
        let ty = self.int(bits);
        #[expect(clippy::cast_possible_truncation, reason = "the low word is what is asked")]
        let literal = if bits == 64 { Operand::LiteralBit64(v) } else { Operand::LiteralBit32(v as u32) };
        self.global(Op::Constant, ty, vec![literal])
    }

    /// A number rounded to the type.
    pub(super) fn float_const(&mut self, bits: u32, v: f64) -> Word {
        let ty = self.float(bits);
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked")]
        let literal = if bits == 64 {
            Operand::LiteralBit64(v.to_bits())
        } else {
            Operand::LiteralBit32((v as f32).to_bits())
        };
        self.global(Op::Constant, ty, vec![literal])
    }

    /// A variable outside functions.
    pub(super) fn variable(&mut self, class: StorageClass, ty: Word) -> Word {
        let pointer = self.pointer(class, ty);
        let id = self.id();
        let operands = vec![Operand::StorageClass(class)];
        self.out.types_global_values.push(Instruction::new(Op::Variable, Some(pointer), Some(id), operands));
        self.interface.push(id);
        id
    }

    /// An input that the device sets.
    pub(super) fn builtin(&mut self, which: BuiltIn, ty: Word) -> Word {
        let id = self.variable(StorageClass::Input, ty);
        self.decorate(id, Decoration::BuiltIn, Some(Operand::BuiltIn(which)));
        id
    }

    /// The push constants: one address.
    pub(super) fn push_constants(&mut self) -> Word {
        if let Some(ty) = self.push_constants {
            return self.variable(StorageClass::PushConstant, ty);
        }
        let address = self.u64();
        let ty = self.global(Op::TypeStruct, 0, vec![Operand::IdRef(address)]);
        self.push_constants = Some(ty);
        self.block(ty);
        self.variable(StorageClass::PushConstant, ty)
    }

    pub(super) fn decorate(&mut self, id: Word, decoration: Decoration, operand: Option<Operand>) {
        let mut operands = vec![Operand::IdRef(id), Operand::Decoration(decoration)];
        operands.extend(operand);
        self.out.annotations.push(Instruction::new(Op::Decorate, None, None, operands));
    }

    /// The type of functions without parameters and results.
    pub(super) fn entry_type(&mut self) -> Word {
        let void = self.void();
        self.global(Op::TypeFunction, 0, vec![Operand::IdRef(void)])
    }

    /// Adds a function as an entry point that groups of `threads` run.
    pub(super) fn entry(&mut self, name: &str, function: dr::Function, threads: u32) {
        let Some(id) = function.def_id() else { return };
        let mut entry = vec![
            Operand::ExecutionModel(ExecutionModel::GLCompute),
            Operand::IdRef(id),
            Operand::LiteralString(name.to_owned()),
        ];
        entry.extend(self.interface.drain(..).map(Operand::IdRef));
        self.out.entry_points.push(Instruction::new(Op::EntryPoint, None, None, entry));
        let size = [threads, 1, 1].map(Operand::LiteralBit32);
        self.execution_mode(id, ExecutionMode::LocalSize, &size);
        self.out.functions.push(function);
    }

    fn execution_mode(&mut self, entry: Word, mode: ExecutionMode, operands: &[Operand]) {
        let mut all = vec![Operand::IdRef(entry), Operand::ExecutionMode(mode)];
        all.extend_from_slice(operands);
        self.out.execution_modes.push(Instruction::new(Op::ExecutionMode, None, None, all));
    }

    /// Asks for what of IEEE 754 the device keeps to.
    fn float_controls(&mut self) {
        let widths: Vec<u32> = [(16, self.features.half_subnormals), (32, true), (64, self.features.f64)]
            .into_iter()
            .filter_map(|(bits, used)| used.then_some(bits))
            .collect();
        let entries: Vec<Word> = self.out.functions.iter().filter_map(dr::Function::def_id).collect();
        let modes = [
            (
                self.special_values,
                Capability::SignedZeroInfNanPreserve,
                ExecutionMode::SignedZeroInfNanPreserve,
            ),
            (self.subnormals, Capability::DenormPreserve, ExecutionMode::DenormPreserve),
        ];
        for (_, capability, mode) in modes.into_iter().filter(|(on, ..)| *on) {
            self.capability(capability);
            for &entry in &entries {
                // Of halves only subnormal numbers are asked for.
                let asked = widths.iter().filter(|b| **b > 16 || mode == ExecutionMode::DenormPreserve);
                for &bits in asked {
                    self.execution_mode(entry, mode, &[Operand::LiteralBit32(bits)]);
                }
            }
        }
        self.features.special_values |= self.special_values;
        self.features.subnormals |= self.subnormals;
    }

    /// The module's words, and what it needs of the device.
    pub(super) fn finish(mut self) -> (Vec<u32>, GpuFeatures) {
        self.float_controls();
        let mut header = dr::ModuleHeader::new(self.bound);
        header.set_version(1, 6);
        self.out.header = Some(header);
        if self.vulkan_memory {
            memory_model::share_accesses(&mut self.out);
        }
        (self.out.assemble(), self.features)
    }
}

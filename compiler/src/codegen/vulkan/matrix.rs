//! Matrices that the threads of a subgroup hold together: the cooperative matrices of `VK_KHR_cooperative_matrix`.

use rooftile_artifact::DType;
use rspirv::dr::Operand;
use rspirv::spirv::{
    Capability, CooperativeMatrixLayout, CooperativeMatrixOperands, CooperativeMatrixUse, MemoryAccess, Op,
    StorageClass, Word,
};

use super::super::gpu::linear::Linear;
use super::super::gpu::matrices::Role;
use super::super::gpu::range::Range;
use super::code::Region;
use super::emit::{Binding, Emitter, Failure};
use crate::nest::ir::{Block, BufferId, ExprId, Matrix, MatrixOp, Space, Stmt, VarId};
use crate::nest::verify::matrices::sides;
use crate::nest::verify::own::is_own;

/// Bytes that rows (or columns) of a matrix in memory are aligned to, unless they are shorter.
const ROW_ALIGN: u64 = 16;

impl Emitter<'_> {
    /// The subgroups at work.
    pub(super) fn subgroups(&mut self, var: VarId, count: u32, body: &[Stmt]) {
        let binding = if count == 1 { Binding::Const(0) } else { Binding::Narrow(self.subgroup) };
        self.ranges.set(var, Range { lo: 0, hi: i64::from(count) - 1 });
        self.bind(var, binding);
        let uniform = std::mem::replace(&mut self.uniform, false);
        let rest = u64::from(count) * u64::from(self.target.subgroup) < u64::from(self.shape.group);
        let branch = rest.then(|| {
            let (bool, count) = (self.code.module.bool(), self.code.module.int_const(32, count.into()));
            let inside = self.code.value(Op::ULessThan, bool, &[self.subgroup, count]);
            self.code.begin_if(inside)
        });
        self.block(body);
        if let Some(branch) = branch {
            self.code.end_then(&branch);
        }
        self.uniform = uniform;
        self.forget();
    }

    /// What a subgroup does with matrices.
    pub(super) fn matrix(&mut self, op: &MatrixOp) {
        match op {
            MatrixOp::Fill { to, value } => {
                let (v, ty) = (self.value(*value), self.matrix_type(to.buffer));
                let v = self.component(v, self.nest.buffers[to.buffer].dtype);
                let v = self.code.value(Op::CompositeConstruct, ty, &[v]);
                self.set_matrix(to, v);
            }
            MatrixOp::Load { to, from } => {
                let ty = self.matrix_type(to.buffer);
                let Some((pointer, rest)) = self.block_in_memory(from, to.buffer) else { return };
                let operands = [Operand::IdRef(pointer)].into_iter().chain(rest).collect();
                let v = self.code.fresh(Op::CooperativeMatrixLoadKHR, ty, operands);
                self.set_matrix(to, v);
            }
            MatrixOp::MultiplyAdd { acc, a, b } => {
                let ty = self.matrix_type(acc.buffer);
                let mut operands = [a, b, acc].map(|m| Operand::IdRef(self.get_matrix(m))).to_vec();
                if self.nest.buffers[acc.buffer].dtype.is_signed_int() {
                    use CooperativeMatrixOperands as Of;
                    let factors = Of::MATRIX_A_SIGNED_COMPONENTS_KHR | Of::MATRIX_B_SIGNED_COMPONENTS_KHR;
                    let sums = Of::MATRIX_C_SIGNED_COMPONENTS_KHR | Of::MATRIX_RESULT_SIGNED_COMPONENTS_KHR;
                    operands.push(Operand::CooperativeMatrixOperands(factors | sums));
                }
                let v = self.code.fresh(Op::CooperativeMatrixMulAddKHR, ty, operands);
                self.set_matrix(acc, v);
            }
            MatrixOp::Store { from, to } => {
                let v = self.get_matrix(from);
                let Some((pointer, rest)) = self.block_in_memory(to, from.buffer) else { return };
                let operands = [pointer, v].map(Operand::IdRef).into_iter().chain(rest).collect();
                self.code.effect(Op::CooperativeMatrixStoreKHR, operands);
                let region = self.region(to.buffer);
                self.code.touch(region);
            }
        }
    }

    /// A value as an element of matrices.
    fn component(&mut self, v: Word, t: DType) -> Word {
        let ty = self.component_type(t);
        match t {
            DType::F16 => {
                let pair = self.code.module.vector(ty, 2);
                let pair = self.code.value(Op::Bitcast, pair, &[v]);
                self.code.extract(ty, pair, 0)
            }
            DType::Int { bits: 8 | 16, .. } => self.code.value(Op::UConvert, ty, &[v]),
            _ => v,
        }
    }

    fn component_type(&mut self, t: DType) -> Word {
        let m = &mut self.code.module;
        match t {
            DType::F16 => {
                m.features.f16 = true;
                m.capability(Capability::Float16);
                m.float(16)
            }
            DType::Int { bits: 8, .. } => {
                m.features.i8 = true;
                m.capability(Capability::Int8);
                m.int(8)
            }
            DType::Int { bits: 16, .. } => {
                m.features.i16 = true;
                m.capability(Capability::Int16);
                m.int(16)
            }
            _ => self.carrier(t),
        }
    }

    fn matrix_type(&mut self, buffer: BufferId) -> Word {
        let element = self.component_type(self.nest.buffers[buffer].dtype);
        let role = match self.roles.get(&buffer) {
            Some(Role::A) => CooperativeMatrixUse::MatrixAKHR,
            Some(Role::B) => CooperativeMatrixUse::MatrixBKHR,
            Some(Role::Accumulator) | None => CooperativeMatrixUse::MatrixAccumulatorKHR,
        };
        self.code.module.matrix(element, sides(self.nest, buffer).unwrap_or((1, 1)), role)
    }

    /// The variable of a matrix.
    fn matrix_variable(&mut self, m: &Matrix) -> Word {
        let counts = |d: usize| !is_own(&self.subgroup_dims, m.buffer, d);
        let formula = Linear::of_element(self.nest, m.buffer, &m.index, counts, &|v| self.meaning(v));
        if !formula.terms.is_empty() {
            let name = &self.nest.buffers[m.buffer].name;
            self.fail(Failure::Internal(format!("a matrix of `{name}` is not known")));
        }
        let number = usize::try_from(formula.constant).unwrap_or(0);
        if let Some(&v) = self.registers.get(&(m.buffer, number)) {
            return v;
        }
        let ty = self.matrix_type(m.buffer);
        let v = self.code.variable(ty);
        self.registers.insert((m.buffer, number), v);
        v
    }

    fn get_matrix(&mut self, m: &Matrix) -> Word {
        let (ty, variable) = (self.matrix_type(m.buffer), self.matrix_variable(m));
        let regions = [self.region(m.buffer), Region::Register(variable)];
        self.code.load(ty, variable, None, &regions)
    }

    fn set_matrix(&mut self, m: &Matrix, v: Word) {
        let variable = self.matrix_variable(m);
        self.code.store(variable, v, None, Region::Register(variable));
    }

    /// Where the first element of a block is, and the operands after it: layout, stride, alignment.
    fn block_in_memory(&mut self, block: &Block, matrix: BufferId) -> Option<(Word, Vec<Operand>)> {
        let buffer = &self.nest.buffers[block.buffer];
        let (t, name) = (buffer.dtype, &buffer.name);
        let (rows, columns) = sides(self.nest, matrix)?;
        let last = buffer.shape.len() - 1;
        let (side, apart, layout) = if block.columns == last {
            (columns, block.rows, CooperativeMatrixLayout::RowMajorKHR)
        } else if block.rows == last {
            (rows, block.columns, CooperativeMatrixLayout::ColumnMajorKHR)
        } else {
            let what = format!("matrices in `{name}` of which neither rows nor columns lie side by side");
            self.fail(Failure::Unsupported(what));
            return None;
        };
        let outer = buffer.shape.get(apart + 1..)?;
        let size = t.size() as u64;
        let align = (u64::from(side) * size).min(ROW_ALIGN);
        let formula = self.element(block.buffer, &block.at);
        let stride_divides = outer.iter().try_fold(1u64, |d, &e| d.checked_mul(self.divisors.of(e)));
        let aligned = |d: u64| (d.wrapping_mul(size)).is_multiple_of(align);
        if !aligned(self.divisors.of_linear(&formula)) || !stride_divides.is_some_and(aligned) {
            let what = format!("matrices in `{name}` whose rows may not be aligned to {align} bytes");
            self.fail(Failure::Unsupported(what));
            return None;
        }
        let stride = self.product(outer);
        let layout = self.code.module.int_const(32, (layout as u32).into());
        let mut operands = [layout, stride].map(Operand::IdRef).to_vec();
        if buffer.space == Space::Shared {
            let place = self.place(block.buffer, &block.at);
            if u64::from(place.stored.size) != size {
                let what = format!("memory that a group shares with elements of {size} bytes");
                self.fail(Failure::Unsupported(what));
            }
            return Some((place.pointer, operands));
        }
        let stored = self.stored_far(t);
        let address = self.address(block.buffer, &formula, stored.size);
        let class = StorageClass::PhysicalStorageBuffer;
        let array = self.code.module.open_array(stored.ty, stored.size);
        let [array, element] = [array, stored.ty].map(|ty| self.code.module.pointer(class, ty));
        let zero = self.code.module.int_const(32, 0);
        let array = self.code.value(Op::ConvertUToPtr, array, &[address]);
        let pointer = self.code.value(Op::AccessChain, element, &[array, zero, zero]);
        operands.push(Operand::MemoryAccess(MemoryAccess::ALIGNED));
        operands.push(Operand::LiteralBit32(align as u32));
        Some((pointer, operands))
    }

    /// The product of extents, in 32 bits.
    fn product(&mut self, extents: &[ExprId]) -> Word {
        let constant = extents.iter().try_fold(1i64, |n, &e| n.checked_mul(self.nest.const_int(e)?));
        if let Some(n) = constant {
            return self.code.module.int_const(32, n.cast_unsigned());
        }
        let word = self.code.module.u32();
        let factors: Vec<Word> = extents.iter().map(|&e| self.low(e)).collect();
        let one = self.code.module.int_const(32, 1);
        factors.into_iter().reduce(|a, b| self.code.value(Op::IMul, word, &[a, b])).unwrap_or(one)
    }
}

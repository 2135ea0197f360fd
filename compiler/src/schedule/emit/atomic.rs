//! Updates of memory that other chunks update at the same time.

use super::{Emitter, Val, monoid};
use crate::diag::Diagnostic;
use crate::hir::ir::{AssignOp, TensorId, ValueId};
use crate::nest::ir::{self as nest, BinaryOp, BufferId, UnaryOp};
use crate::schedule::form::reduction;
use crate::schedule::storage::HomeSpace;

impl Emitter<'_> {
    /// `tensor[at] op= v` in one step. The tensor's elements are integers, and `op` is not a plain store or a product.
    pub(in crate::schedule) fn atomic_update(
        &mut self,
        tensor: TensorId,
        at: &[nest::ExprId],
        op: AssignOp,
        v: Val,
    ) {
        let (Val::Real(v) | Val::Complex(v, _)) = v;
        let v = if op == AssignOp::Sub { self.b.unary(UnaryOp::Neg, v) } else { v };
        let op = reduction(op).map_or(BinaryOp::Add, monoid);
        let index = self.buffer_index(tensor, at);
        self.atomic(op, self.tensors[tensor.index()].buffer, index, v);
    }

    /// Whether a value lives where all chunks see it: elsewhere one chunk has it to itself.
    ///
    /// # Errors
    /// As for making its buffer.
    pub(in crate::schedule) fn is_seen_by_all(&mut self, value: ValueId) -> Result<bool, Diagnostic> {
        Ok(self.value_buffer(value)?.space == HomeSpace::Global)
    }

    /// `value = op(value, v)` in one step, of an integer that all chunks see.
    ///
    /// # Errors
    /// As for an access of the value.
    pub(in crate::schedule) fn atomic_accumulate(
        &mut self,
        value: ValueId,
        op: BinaryOp,
        v: Val,
    ) -> Result<(), Diagnostic> {
        let (Val::Real(v) | Val::Complex(v, _)) = v;
        let buffer = self.value_buffer(value)?;
        let index = self.value_index(&buffer, None)?;
        self.atomic(op, buffer.parts[0], index, v);
        Ok(())
    }

    fn atomic(&mut self, op: BinaryOp, buffer: BufferId, index: Vec<nest::ExprId>, value: nest::ExprId) {
        self.out.push(nest::Stmt::Atomic { op, buffer, index, value, old: None });
    }
}

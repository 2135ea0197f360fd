//! Functions of an element that shares its byte, looked up where there is an instruction for that.
//!
//! Of the element and constants alone, the table is known when the code is made. What joins that with a value which all lanes
//! have in common is done to the table, a vector of it: of `(w - 8) * s`, with the same `s` for several vectors of `w`, there is
//! one product instead of several, with the same bits.

use rooftile_artifact::{DType, Scalar};

use super::super::ssa::{Bin, Lane, Ssa};
use super::Emitter;
use super::lanes::{Lanes, Val};
use super::packed::Packed;
use super::scope::Dep;
use crate::nest::eval;
use crate::nest::ir::{BinaryOp, ExprId, ExprKind};

/// Of what an expression is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeOf {
    Constants,
    /// Of an element that shares its byte, and constants.
    Element(ExprId),
    /// Of what is made of such an element, and of others; by arithmetic.
    ElementAndOthers(ExprId),
    Others,
}

impl MadeOf {
    /// Of the operands of an expression, which may be arithmetic on lanes of 32 bits.
    fn join(self, other: MadeOf, arithmetic: bool) -> MadeOf {
        use MadeOf as M;
        match (self, other) {
            (M::Constants, one) | (one, M::Constants) => one,
            (one, other) if one == other => one,
            (M::Element(e) | M::ElementAndOthers(e), M::Others)
            | (M::Others, M::Element(e) | M::ElementAndOthers(e))
                if arithmetic =>
            {
                M::ElementAndOthers(e)
            }
            (M::Element(e), M::ElementAndOthers(other)) | (M::ElementAndOthers(e), M::Element(other))
                if arithmetic && e == other =>
            {
                M::ElementAndOthers(e)
            }
            _ => M::Others,
        }
    }
}

impl<B: Ssa> Emitter<'_, B> {
    /// A value of 32 bits that is made of such an element: looked up.
    pub(super) fn looked_up(&mut self, e: ExprId) -> Option<(Val<B::Value>, Dep)> {
        let dtype = self.nest.exprs[e].dtype;
        if !has_words(dtype) || self.lane_count().is_none() {
            return None;
        }
        let entries = self.b.looked_up();
        let element = match self.made_of(e) {
            MadeOf::Element(element) | MadeOf::ElementAndOthers(element) => element,
            _ => return None,
        };
        if 1 << Packed::of(self.nest, element)?.bits > entries {
            return None;
        }
        let (table, of_table) = self.table(e)?;
        let (words, _, of_words) = self.packed_words(element)?;
        let chunks = words.into_iter().map(|word| {
            let numbers = self.shift_lanes(Bin::UShr, word.value, &word.bits);
            self.b.look_up(table, numbers)
        });
        let lanes = Lanes { ty: lane(dtype), chunks: chunks.collect() };
        Some((Val::Lanes(lanes), of_table.and(of_words)))
    }

    /// The values of an expression for all values of its element, as lanes; of one that has no element, what is common to
    /// all lanes. `None` where lanes differ by more than the element.
    fn table(&mut self, e: ExprId) -> Option<(B::Value, Dep)> {
        let dtype = self.nest.exprs[e].dtype;
        match (self.made_of(e), &self.nest.exprs[e].kind) {
            (MadeOf::Element(element), _) => Some((self.known_table(e, element)?, Dep::default())),
            (MadeOf::ElementAndOthers(_), &ExprKind::Binary(op, a, b)) => {
                let ((a, of_a), (b, of_b)) = (self.table(a)?, self.table(b)?);
                Some((self.binary_vector(op, a, b, dtype), of_a.and(of_b)))
            }
            _ => match self.eval_dep(e) {
                (Val::Uniform(v), dep) => Some((self.b.splat(v), dep)),
                (Val::Lanes(_), _) => None,
            },
        }
    }

    /// The values of what is made of an element and constants.
    fn known_table(&mut self, e: ExprId, element: ExprId) -> Option<B::Value> {
        let Packed { bits, signed, .. } = Packed::of(self.nest, element)?;
        let entries = self.b.looked_up();
        let mut table = Vec::with_capacity(4 * entries);
        for n in 0..entries as i64 {
            // Bits above the element's are those of its neighbours.
            let raw = Scalar::Int(rooftile_artifact::scalar::wrap(n, signed, bits as u8));
            let word = match self.of_element(e, element, raw)? {
                Scalar::Float(v) => (v as f32).to_bits(),
                v => v.as_i64() as u32,
            };
            table.extend(word.to_le_bytes());
        }
        Some(self.b.bytes(self.vector_of(lane(self.nest.exprs[e].dtype)), &table))
    }

    fn made_of(&mut self, e: ExprId) -> MadeOf {
        use BinaryOp as O;
        if let Some(known) = self.made_of[e.index()] {
            return known;
        }
        let expr = &self.nest.exprs[e];
        let made = match expr.kind {
            ExprKind::Const(_) => MadeOf::Constants,
            _ if Packed::of(self.nest, e).is_some() => MadeOf::Element(e),
            ExprKind::Unary(..) | ExprKind::Binary(..) | ExprKind::Cast(_) => {
                let of = |op| matches!(op, O::Add | O::Sub | O::Mul | O::Min | O::Max);
                let arithmetic =
                    has_words(expr.dtype) && matches!(expr.kind, ExprKind::Binary(op, ..) if of(op));
                let mut parts = Vec::new();
                expr.for_each_operand(|o| parts.push(o));
                let made =
                    parts.into_iter().fold(MadeOf::Constants, |all, o| all.join(self.made_of(o), arithmetic));
                match made {
                    MadeOf::ElementAndOthers(_) if !arithmetic => MadeOf::Others,
                    made => made,
                }
            }
            _ => MadeOf::Others,
        };
        self.made_of[e.index()] = Some(made);
        made
    }

    /// The value of an expression where that of the element is known.
    fn of_element(&self, e: ExprId, element: ExprId, v: Scalar) -> Option<Scalar> {
        if e == element {
            return Some(v);
        }
        let dtype = self.nest.exprs[e].dtype;
        let of = |e: ExprId| self.of_element(e, element, v);
        match self.nest.exprs[e].kind {
            ExprKind::Const(c) => Some(c),
            ExprKind::Unary(op, a) => Some(eval::unary(op, of(a)?, dtype)),
            ExprKind::Binary(op, a, b) => eval::binary(op, of(a)?, of(b)?, self.nest.exprs[a].dtype),
            ExprKind::Cast(a) => Some(eval::cast(of(a)?, self.nest.exprs[a].dtype, dtype)),
            _ => None,
        }
    }
}

/// Whether values of a type are looked up.
fn has_words(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// The lanes of such values.
fn lane(dtype: DType) -> Lane {
    if dtype == DType::F32 { Lane::F32 } else { Lane::I32 }
}

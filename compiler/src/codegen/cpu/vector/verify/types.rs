//! What each operation takes, makes, and wants of the instruction set. An operation that is not listed in a form here
//! has no instruction: it had to be written by others.

use super::super::super::ssa::{Bin, Cmp, Lane, Region, Ty, Un};
use super::super::ir::{Function, Inst, Op, Value};
use super::super::isa::Isa;
use super::function::name;
use super::{Broken, Rule, Set, hold};

/// A truth value.
const TRUTH: Ty = Ty::scalar(Lane::I8);
/// An address.
const ADDRESS: Ty = Ty::scalar(Lane::I64);

/// Checks one instruction.
pub(super) fn operation(f: &Function, set: Set, v: Value) -> Result<(), Broken> {
    let inst = *f.inst(v);
    let types = inst.args().iter().map(|a| f.ty(*a)).collect();
    Operation { f, set, v, inst, types }.check()
}

/// Checks a condition.
pub(super) fn truth(f: &Function, v: Value, user: impl Fn() -> String) -> Result<(), Broken> {
    let fits = f.ty(v) == TRUTH && !f.inst(v).op.makes_bits();
    hold(fits, Rule::Types, || format!("{} asks {}", user(), name(f, v)))
}

struct Operation<'f> {
    f: &'f Function,
    set: Set,
    v: Value,
    inst: Inst,
    /// Of the operands.
    types: Vec<Ty>,
}

impl Operation<'_> {
    fn hold(&self, holds: bool, rule: Rule) -> Result<(), Broken> {
        hold(holds, rule, || {
            let types: Vec<String> =
                self.types.iter().map(|t| format!("{:?} x {}", t.lane, t.count)).collect();
            format!("{} of [{}] for {:?}", name(self.f, self.v), types.join(", "), self.set.isa)
        })
    }

    fn types(&self, holds: bool) -> Result<(), Broken> {
        self.hold(holds, Rule::Types)
    }

    fn range(&self, n: usize, end: usize) -> Result<(), Broken> {
        self.hold(n < end, Rule::Range)
    }

    /// With AVX-512 only, where that is so.
    fn wide_set(&self, only: bool) -> Result<(), Broken> {
        self.hold(!only || self.set.isa == Isa::Avx512, Rule::Set)
    }

    /// With AVX2 only, where that is so: AVX-512 has others for it.
    fn narrow_set(&self, only: bool) -> Result<(), Broken> {
        self.hold(!only || self.set.isa != Isa::Avx512, Rule::Set)
    }

    fn is_valid(&self, ty: Ty) -> bool {
        ty.count == 1 || ty.bytes() == self.set.isa.vector_bytes()
    }

    /// All operands have the type of the value.
    fn same(&self) -> bool {
        self.types.iter().all(|t| *t == self.inst.ty)
    }

    fn constant(&self, n: u32) -> Result<(), Broken> {
        self.range(n as usize, self.f.pool.len())?;
        let bytes = self.f.pool[n as usize].len();
        self.hold(bytes == self.set.isa.vector_bytes(), Rule::Range)
    }

    fn check(&self) -> Result<(), Broken> {
        let Inst { op, ty, .. } = self.inst;
        let (least, most) = operands(op);
        self.hold((least..=most).contains(&self.types.len()), Rule::Count)?;
        self.types(self.is_valid(ty) && self.types.iter().all(|t| self.is_valid(*t)))?;
        self.bits()?;
        let vector = ty.is_vector();
        let (size, float) = (ty.lane.bytes(), ty.lane.is_float());
        let first = self.types.first().copied().unwrap_or(ty);
        match op {
            Op::Param(_) => Ok(()),
            Op::Arg(n) => self.types(ty == ADDRESS).and_then(|()| self.range(n.into(), 4)),
            Op::Int(c) => {
                self.types(!float)?;
                let unused = 64 - ty.lane.bits();
                self.hold(c << unused >> unused == c, Rule::Range)
            }
            Op::Float(bits) => {
                self.types(float)?;
                self.hold(ty.lane == Lane::F64 || bits >> 32 == 0, Rule::Range)
            }
            Op::Bytes(n) => self.types(vector).and_then(|()| self.constant(n)),
            Op::Un(op) => self.unary(op),
            Op::Bin(op) => self.binary(op),
            Op::Fma { .. } | Op::Lesser | Op::Greater => self.types(float && self.same()),
            Op::Dot => {
                self.types(vector && ty.lane == Lane::I32 && self.same())?;
                self.hold(self.set.extras.dots, Rule::Set)
            }
            Op::Scale | Op::Within | Op::Exponent | Op::Significand => {
                self.types(float && self.same()).and_then(|()| self.wide_set(true))
            }
            Op::Estimate { .. } => {
                self.types(ty.lane == Lane::F32 && self.same()).and_then(|()| self.wide_set(true))
            }
            Op::Cmp(cmp) => self.compare(cmp),
            Op::CmpBits(cmp) => {
                self.types(first.is_vector() && self.types[1] == first && ty == first.as_int())?;
                self.types(self.compares(cmp, first))
            }
            Op::Select => self.types(!vector && first == TRUTH && self.types[1..] == [ty, ty]),
            Op::Blend => {
                self.types(vector && first == ty.as_int() && self.types[1..] == [ty, ty])?;
                self.narrow_set(true)
            }
            Op::Bitcast => self.types(first.bytes() == ty.bytes() && first.is_vector() == vector),
            Op::Extend { .. } => self.types(is_int(first) && is_int(ty) && first.bytes() < ty.bytes()),
            Op::Reduce => self.types(is_int(first) && is_int(ty) && first.bytes() > ty.bytes()),
            Op::Mask => self.types(first == TRUTH && is_int(ty)),
            Op::Truncate { signed } => {
                self.types(first.lane.is_float() && !float && self.converts(first, ty))?;
                self.converts_unsigned(signed)
            }
            Op::FromInt { signed } => {
                self.types(!first.lane.is_float() && float && self.converts(ty, first))?;
                self.converts_unsigned(signed)
            }
            Op::Promote => self.types(first == Ty::scalar(Lane::F32) && ty == Ty::scalar(Lane::F64)),
            Op::Demote => self.types(first == Ty::scalar(Lane::F64) && ty == Ty::scalar(Lane::F32)),
            Op::Splat | Op::LaneZero => self.types(vector && first == Ty::scalar(ty.lane)),
            Op::Extract(l) => {
                self.types(!vector && first.is_vector() && first.lane == ty.lane)?;
                self.range(l.into(), 16 / size)
            }
            Op::Insert(l) => {
                self.inserts()?;
                self.range(l.into(), ty.count.into())?;
                self.narrow_set(true)
            }
            Op::InsertLow(l) => {
                self.inserts()?;
                // Two f64 are put side by side.
                self.hold(l > 0, Rule::Range).and_then(|()| self.range(l.into(), 16 / size))
            }
            Op::Join | Op::MulEven => {
                self.types(vector && self.same() && (op == Op::Join || ty.lane == Lane::I64))
            }
            Op::PutPiece(n) | Op::Piece(n) => {
                self.types(vector && self.same())?;
                self.range(n.into(), self.set.isa.vector_bytes() / 16)
            }
            Op::Widen { .. } => {
                let narrow = !first.lane.is_float() && 2 * first.lane.bytes() == size;
                self.types(vector && first.is_vector() && !float && narrow)
            }
            Op::Narrow => {
                let wide = !first.lane.is_float() && first.lane.bytes() == 2 * size;
                self.types(vector && self.types[1] == first && first.is_vector() && !float && wide)
            }
            Op::WidenBytes { .. } => {
                self.types(vector && first.is_vector() && (first.lane, ty.lane) == (Lane::I8, Lane::I32))
            }
            Op::WidenToF64 { .. } => {
                let narrow = matches!(first.lane, Lane::F32 | Lane::I32);
                self.types(vector && first.is_vector() && narrow && ty.lane == Lane::F64)
            }
            Op::NarrowF64 => {
                let wide = |t: &Ty| t.is_vector() && t.lane == Lane::F64;
                self.types(vector && ty.lane == Lane::F32 && self.types.iter().all(wide))
            }
            Op::WidenF16 { upper } => {
                self.types((ty.lane, first.lane) == (Lane::F32, Lane::I16) && first.is_vector() == vector)?;
                self.range(upper.into(), if vector { 2 } else { 1 })?;
                self.hold(self.set.isa.has_f16(), Rule::Set)
            }
            Op::NarrowF16 => {
                let wide = |t: &Ty| t.is_vector() == vector && t.lane == Lane::F32;
                self.types(ty.lane == Lane::I16 && self.types.iter().all(wide))?;
                self.hold(vector || self.types.len() == 1, Rule::Count)?;
                self.hold(self.set.isa.has_f16(), Rule::Set)
            }
            Op::AllTrue | Op::AnyTrue => {
                self.types(first.is_vector() && !first.lane.is_float() && ty == TRUTH)?;
                self.narrow_set(true)
            }
            Op::BytesDown(n) | Op::Align(n) => {
                self.types(vector && self.same())?;
                self.range(n.into(), 16)?;
                self.narrow_set(true)
            }
            Op::Unpack { .. } => self.types(vector && self.same() && size >= 4),
            Op::AlignLanes(n) => {
                self.types(vector && self.same() && size >= 4)?;
                self.range(n.into(), ty.count.into())?;
                self.wide_set(true)
            }
            Op::Pieces(_) => self.types(vector && self.same()).and_then(|()| self.wide_set(true)),
            Op::Permute => {
                self.types(vector && size >= 4 && self.types[..] == [ty, ty.as_int(), ty])?;
                self.wide_set(true)
            }
            Op::ShiftEach(op) => {
                let shifts = matches!(op, Bin::Shl | Bin::UShr);
                self.types(vector && ty.lane == Lane::I32 && self.same() && shifts)
            }
            Op::Multishift => {
                self.types(vector && size == 8 && self.same())?;
                self.hold(self.set.extras.multishift, Rule::Set)
            }
            Op::LookUp => self.types(vector && size == 4 && self.types[..] == [ty.as_int(), ty]),
            Op::BitsOf | Op::Spread => {
                self.types(vector && first.is_vector() && first.count == ty.count && !float)
            }
            Op::Bits(bits) => {
                self.types(vector)?;
                self.hold(ty.count == 64 || bits >> ty.count == 0, Rule::Range)
            }
            Op::BinBits(op) => {
                self.types(vector && self.same() && matches!(op, Bin::And | Bin::Or | Bin::Xor))
            }
            Op::NotBits => self.types(vector && self.same()),
            Op::HalfBits { .. } => self.types(vector && first.count == 2 * ty.count),
            Op::JoinBits => self.types(vector && self.types.iter().all(|t| 2 * t.count == ty.count)),
            Op::AllBits | Op::AnyBits => self.types(ty == TRUTH),
            Op::BlendBits => self.types(vector && first.count == ty.count && self.types[1..] == [ty, ty]),
            Op::Fence => Ok(()),
            Op::Load { .. }
            | Op::LoadMasked { .. }
            | Op::LoadLow { .. }
            | Op::LoadBits { .. }
            | Op::Gather { .. }
            | Op::Prefetch { .. }
            | Op::Store { .. }
            | Op::StorePast { .. }
            | Op::StoreBits { .. }
            | Op::StoreLow { .. }
            | Op::Atomic { .. } => self.access(),
        }
    }

    /// Bits are taken where they are meant, and made with AVX-512 only.
    fn bits(&self) -> Result<(), Broken> {
        let op = self.inst.op;
        for (n, &arg) in self.inst.args().iter().enumerate() {
            let meant = match op {
                Op::BinBits(_) | Op::NotBits | Op::HalfBits { .. } | Op::JoinBits => true,
                Op::AllBits | Op::AnyBits | Op::Spread | Op::BlendBits => n == 0,
                Op::LoadBits { .. } => n == 1,
                Op::StoreBits { .. } | Op::Gather { .. } => n == 2,
                _ => false,
            };
            self.hold(self.f.inst(arg).op.makes_bits() == meant, Rule::Class)?;
        }
        self.wide_set(op.is_of_bits())
    }

    fn unary(&self, op: Un) -> Result<(), Broken> {
        let ty = self.inst.ty;
        let (vector, float, size) = (ty.is_vector(), ty.lane.is_float(), ty.lane.bytes());
        self.types(self.same())?;
        self.types(match op {
            Un::Neg => !vector,
            Un::Not => !vector && !float,
            Un::Abs => float && !vector || !float && (vector || size >= 4),
            Un::Floor | Un::Ceil | Un::Nearest | Un::Trunc | Un::Sqrt => float,
            Un::Popcount | Un::LeadingZeros => !float && !vector && size >= 4,
            Un::ReverseBits => false,
        })?;
        self.wide_set(op == Un::Abs && vector && size == 8)
    }

    fn binary(&self, op: Bin) -> Result<(), Broken> {
        let ty = self.inst.ty;
        let (vector, float, size) = (ty.is_vector(), ty.lane.is_float(), ty.lane.bytes());
        if matches!(op, Bin::Shl | Bin::SShr | Bin::UShr) {
            self.types(self.types[0] == ty && !float && is_int(self.types[1]))?;
            self.types(if vector { size >= 2 } else { size >= 4 || op == Bin::Shl })?;
            if let Op::Int(c) = self.f.inst(self.inst.args()[1]).op {
                self.hold((0..i64::from(ty.lane.bits())).contains(&c), Rule::Range)?;
            }
            return self.wide_set(op == Bin::SShr && vector && size == 8);
        }
        self.types(self.same())?;
        self.types(match op {
            Bin::Add | Bin::Sub => true,
            Bin::Mul => float || !vector || size >= 2,
            Bin::Div => float,
            Bin::UDiv | Bin::URem | Bin::SDiv => !float && !vector && size >= 4,
            Bin::And | Bin::Or | Bin::Xor => !float,
            Bin::SMin | Bin::SMax | Bin::UMin | Bin::UMax => {
                !float && if vector { size <= 4 } else { size >= 4 }
            }
            Bin::Shl | Bin::SShr | Bin::UShr => false,
        })?;
        self.wide_set(op == Bin::Mul && vector && !float && size == 8)
    }

    /// Whether there is such a comparison of operands of a type.
    fn compares(&self, cmp: Cmp, ty: Ty) -> bool {
        match cmp {
            Cmp::ULt | Cmp::ULe => !ty.lane.is_float(),
            Cmp::OrderedNe => ty.lane.is_float(),
            Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le => true,
        }
    }

    fn compare(&self, cmp: Cmp) -> Result<(), Broken> {
        let (ty, first) = (self.inst.ty, self.types[0]);
        self.types(self.types[1] == first && self.compares(cmp, first))?;
        if !first.is_vector() {
            return self.types(ty == TRUTH);
        }
        self.types(ty == first.as_int())?;
        self.types(first.lane.is_float() || matches!(cmp, Cmp::Eq | Cmp::Lt))?;
        self.narrow_set(true)
    }

    /// Whether floats are converted to such integers, or back.
    fn converts(&self, float: Ty, int: Ty) -> bool {
        match float.is_vector() {
            true => (float.lane, int.lane) == (Lane::F32, Lane::I32) && int.is_vector(),
            false => !int.is_vector() && int.lane.bytes() >= 4,
        }
    }

    fn converts_unsigned(&self, signed: bool) -> Result<(), Broken> {
        self.types(signed || self.inst.ty.is_vector())?;
        self.wide_set(!signed)
    }

    fn inserts(&self) -> Result<(), Broken> {
        let ty = self.inst.ty;
        self.types(ty.is_vector() && self.types[..] == [ty, Ty::scalar(ty.lane)])
    }

    /// An access to memory.
    fn access(&self) -> Result<(), Broken> {
        let Inst { op, ty, .. } = self.inst;
        let Some(access) = op.memory() else { return Ok(()) };
        self.hold(self.types[0] == ADDRESS, Rule::Memory)?;
        self.hold(!access.writes || access.region != Region::Constant, Rule::Memory)?;
        let vector = ty.is_vector();
        let stored = self.types.get(1).is_none_or(|t| *t == ty);
        let wide = self.set.isa.vector_bytes() > 32;
        match op {
            Op::LoadMasked { mask, .. } => {
                self.types(vector && ty.lane.bytes() >= 4)?;
                self.constant(mask)?;
                self.narrow_set(true)
            }
            Op::LoadLow { bytes, .. } => {
                self.types(vector)?;
                self.hold(bytes == 16 || bytes == 32 && wide, Rule::Range)
            }
            Op::LoadBits { .. } => {
                self.types(vector && self.types[1].count == ty.count)?;
                self.wide_set(true)
            }
            Op::Gather { scale, .. } => {
                let (index, bits) = (self.types[1], self.types[2]);
                let sizes = (ty.lane.bytes(), index.lane.bytes());
                self.types(vector && matches!(sizes, (4, 4) | (4 | 8, 8)) && !index.lane.is_float())?;
                self.types(index.is_vector() && bits.count == index.count)?;
                self.hold(matches!(scale, 1 | 2 | 4 | 8), Rule::Range)?;
                self.wide_set(true)
            }
            Op::StoreBits { .. } => {
                self.types(vector && stored && self.types[2].count == ty.count)?;
                self.wide_set(true)
            }
            Op::StorePast { .. } => self.types(vector && stored),
            Op::Prefetch { .. } => self.types(ty == TRUTH),
            Op::StoreLow { bytes, .. } => {
                self.types(vector && stored)?;
                let known = matches!(bytes, 1 | 2 | 4 | 8 | 16) || bytes == 32 && wide;
                self.hold(known, Rule::Range)
            }
            Op::Atomic { .. } => self.types(is_int(ty) && ty.bytes() >= 4 && stored),
            _ => self.types(stored),
        }
    }
}

/// A scalar integer.
fn is_int(ty: Ty) -> bool {
    !ty.is_vector() && !ty.lane.is_float()
}

/// Fewest and most operands.
fn operands(op: Op) -> (usize, usize) {
    match op {
        Op::Param(_) | Op::Arg(_) | Op::Int(_) | Op::Float(_) | Op::Bytes(_) | Op::Bits(_) | Op::Fence => {
            (0, 0)
        }
        Op::Un(_)
        | Op::Estimate { .. }
        | Op::Exponent
        | Op::Significand
        | Op::Bitcast
        | Op::Extend { .. }
        | Op::Reduce
        | Op::Mask
        | Op::Truncate { .. }
        | Op::FromInt { .. }
        | Op::Promote
        | Op::Demote
        | Op::Splat
        | Op::LaneZero
        | Op::Extract(_)
        | Op::Widen { .. }
        | Op::WidenBytes { .. }
        | Op::WidenToF64 { .. }
        | Op::WidenF16 { .. }
        | Op::AllTrue
        | Op::AnyTrue
        | Op::BytesDown(_)
        | Op::Piece(_)
        | Op::BitsOf
        | Op::NotBits
        | Op::HalfBits { .. }
        | Op::AllBits
        | Op::AnyBits
        | Op::Spread
        | Op::Load { .. }
        | Op::LoadMasked { .. }
        | Op::Prefetch { .. }
        | Op::LoadLow { .. } => (1, 1),
        Op::NarrowF64 | Op::NarrowF16 => (1, 2),
        Op::Bin(_)
        | Op::Lesser
        | Op::Greater
        | Op::Scale
        | Op::Within
        | Op::Cmp(_)
        | Op::Insert(_)
        | Op::InsertLow(_)
        | Op::Join
        | Op::PutPiece(_)
        | Op::Narrow
        | Op::MulEven
        | Op::Unpack { .. }
        | Op::Align(_)
        | Op::AlignLanes(_)
        | Op::Pieces(_)
        | Op::ShiftEach(_)
        | Op::Multishift
        | Op::LookUp
        | Op::CmpBits(_)
        | Op::BinBits(_)
        | Op::JoinBits
        | Op::LoadBits { .. }
        | Op::Store { .. }
        | Op::StorePast { .. }
        | Op::StoreLow { .. }
        | Op::Atomic { .. } => (2, 2),
        Op::Fma { .. }
        | Op::Dot
        | Op::Select
        | Op::Blend
        | Op::Permute
        | Op::BlendBits
        | Op::Gather { .. }
        | Op::StoreBits { .. } => (3, 3),
    }
}

//! Operations on what they do not take.

use super::super::super::super::ssa::{AtomicOp, Bin, Cmp, Lane, Region, Ssa, Ty, Un};
use super::super::super::build::Builder;
use super::super::super::ir::{Function, Negated, Op, Value};
use super::super::super::isa::{Extras, Isa};
use super::super::{Rule, Set, function};
use super::{AVX2, SETS, add, broken};

const I8: Ty = Ty::scalar(Lane::I8);
const I16: Ty = Ty::scalar(Lane::I16);
const I32: Ty = Ty::scalar(Lane::I32);
const I64: Ty = Ty::scalar(Lane::I64);
const F32: Ty = Ty::scalar(Lane::F32);
const F64: Ty = Ty::scalar(Lane::F64);

/// A vector.
fn v(isa: Isa, lane: Lane) -> Ty {
    Ty::vector(lane, isa.vector_bytes())
}

/// An operand: of a type, or bits of its lanes.
#[derive(Clone, Copy)]
enum Given {
    Of(Ty),
    Bits(Ty),
}

use Given::{Bits, Of};

/// What a function with one operation breaks.
fn rule(isa: Isa, op: Op, ty: Ty, given: &[Given]) -> Option<Rule> {
    let mut b = Builder::new(isa, Extras::default());
    let [base, ..] = b.entry();
    b.ret();
    let mut f: Function = b.finish();
    f.constant(vec![0; isa.vector_bytes()]);
    f.constant(vec![0; 8]);
    let args: Vec<Value> = given
        .iter()
        .map(|g| match *g {
            Of(I64) => base,
            Of(ty) => add(&mut f, Op::Load { displacement: 0, region: Region::Numbered(0) }, ty, &[base]),
            Bits(ty) => add(&mut f, Op::Bits(1), ty, &[]),
        })
        .collect();
    add(&mut f, op, ty, &args);
    broken(&f, isa)
}

#[test]
fn operations_take_what_they_are_made_for() {
    let region = Region::Numbered(0);
    for isa in SETS {
        let [f, d, i, l, b] = [Lane::F32, Lane::F64, Lane::I32, Lane::I64, Lane::I8].map(|lane| v(isa, lane));
        let other = Ty::vector(Lane::F32, 96 - isa.vector_bytes());
        // Each with its like that is right.
        let cases: Vec<(Op, Ty, Vec<Given>, Option<Rule>)> = vec![
            (Op::Bin(Bin::Add), I32, vec![Of(I32), Of(I32)], None),
            (Op::Bin(Bin::Add), I32, vec![Of(I32), Of(I64)], Some(Rule::Types)),
            (Op::Bin(Bin::Add), f, vec![Of(f), Of(F32)], Some(Rule::Types)),
            (Op::Bin(Bin::Add), other, vec![Of(other), Of(other)], Some(Rule::Types)),
            (Op::Bin(Bin::Add), I32, vec![Of(I32)], Some(Rule::Count)),
            (Op::Bin(Bin::Div), F64, vec![Of(F64), Of(F64)], None),
            (Op::Bin(Bin::Div), I64, vec![Of(I64), Of(I64)], Some(Rule::Types)),
            (Op::Bin(Bin::SDiv), I64, vec![Of(I64), Of(I64)], None),
            (Op::Bin(Bin::SDiv), I16, vec![Of(I16), Of(I16)], Some(Rule::Types)),
            (Op::Bin(Bin::And), f, vec![Of(f), Of(f)], Some(Rule::Types)),
            (Op::Bin(Bin::Mul), b, vec![Of(b), Of(b)], Some(Rule::Types)),
            (Op::Bin(Bin::UMin), l, vec![Of(l), Of(l)], Some(Rule::Types)),
            (Op::Bin(Bin::SMax), I8, vec![Of(I8), Of(I8)], Some(Rule::Types)),
            (Op::Bin(Bin::Shl), i, vec![Of(i), Of(I32)], None),
            (Op::Bin(Bin::Shl), i, vec![Of(i), Of(i)], Some(Rule::Types)),
            (Op::Bin(Bin::UShr), b, vec![Of(b), Of(I32)], Some(Rule::Types)),
            (Op::Bin(Bin::SShr), I16, vec![Of(I16), Of(I32)], Some(Rule::Types)),
            (Op::Un(Un::Neg), F32, vec![Of(F32)], None),
            (Op::Un(Un::Neg), i, vec![Of(i)], Some(Rule::Types)),
            (Op::Un(Un::Not), i, vec![Of(i)], Some(Rule::Types)),
            (Op::Un(Un::Abs), f, vec![Of(f)], Some(Rule::Types)),
            (Op::Un(Un::Sqrt), I32, vec![Of(I32)], Some(Rule::Types)),
            (Op::Un(Un::Popcount), I8, vec![Of(I8)], Some(Rule::Types)),
            (Op::Un(Un::ReverseBits), I32, vec![Of(I32)], Some(Rule::Types)),
            (Op::Fma { negated: Negated::default() }, f, vec![Of(f), Of(f), Of(f)], None),
            (Op::Fma { negated: Negated::default() }, f, vec![Of(f), Of(f)], Some(Rule::Count)),
            (Op::Fma { negated: Negated::default() }, f, vec![Of(f), Of(f), Of(d)], Some(Rule::Types)),
            (Op::Lesser, i, vec![Of(i), Of(i)], Some(Rule::Types)),
            (Op::Cmp(Cmp::ULt), I8, vec![Of(I32), Of(I32)], None),
            (Op::Cmp(Cmp::ULt), I8, vec![Of(F32), Of(F32)], Some(Rule::Types)),
            (Op::Cmp(Cmp::Lt), I32, vec![Of(F32), Of(F32)], Some(Rule::Types)),
            (Op::Select, F32, vec![Of(I8), Of(F32), Of(F32)], None),
            (Op::Select, F32, vec![Of(I32), Of(F32), Of(F32)], Some(Rule::Types)),
            (Op::Select, f, vec![Of(I8), Of(f), Of(f)], Some(Rule::Types)),
            (Op::Bitcast, I32, vec![Of(F32)], None),
            (Op::Bitcast, I64, vec![Of(F32)], Some(Rule::Types)),
            (Op::Bitcast, I64, vec![Of(f)], Some(Rule::Types)),
            (Op::Extend { signed: true }, I64, vec![Of(I8)], None),
            (Op::Extend { signed: true }, I8, vec![Of(I64)], Some(Rule::Types)),
            (Op::Reduce, I64, vec![Of(I8)], Some(Rule::Types)),
            (Op::Mask, I32, vec![Of(I32)], Some(Rule::Types)),
            (Op::Truncate { signed: true }, I32, vec![Of(F64)], None),
            (Op::Truncate { signed: true }, I16, vec![Of(F32)], Some(Rule::Types)),
            (Op::Truncate { signed: true }, l, vec![Of(d)], Some(Rule::Types)),
            (Op::FromInt { signed: false }, F32, vec![Of(I32)], Some(Rule::Types)),
            (Op::Promote, F64, vec![Of(F64)], Some(Rule::Types)),
            (Op::Demote, F32, vec![Of(F32)], Some(Rule::Types)),
            (Op::Splat, f, vec![Of(F32)], None),
            (Op::Splat, f, vec![Of(F64)], Some(Rule::Types)),
            (Op::Splat, F32, vec![Of(F32)], Some(Rule::Types)),
            (Op::Extract(3), F32, vec![Of(f)], None),
            (Op::Extract(4), F32, vec![Of(f)], Some(Rule::Range)),
            (Op::Extract(0), F64, vec![Of(f)], Some(Rule::Types)),
            (Op::InsertLow(1), d, vec![Of(d), Of(F64)], None),
            (Op::InsertLow(0), d, vec![Of(d), Of(F64)], Some(Rule::Range)),
            (Op::InsertLow(2), d, vec![Of(d), Of(F64)], Some(Rule::Range)),
            (Op::Piece(1), f, vec![Of(f)], None),
            (Op::Piece(4), f, vec![Of(f)], Some(Rule::Range)),
            (Op::Join, f, vec![Of(f), Of(i)], Some(Rule::Types)),
            (Op::MulEven, i, vec![Of(i), Of(i)], Some(Rule::Types)),
            (Op::Widen { signed: true, upper: false }, l, vec![Of(i)], None),
            (Op::Widen { signed: true, upper: false }, l, vec![Of(b)], Some(Rule::Types)),
            (Op::Narrow, i, vec![Of(l), Of(l)], None),
            (Op::Narrow, i, vec![Of(l), Of(i)], Some(Rule::Types)),
            (Op::WidenToF64 { upper: true }, d, vec![Of(l)], Some(Rule::Types)),
            (Op::NarrowF64, f, vec![Of(f)], Some(Rule::Types)),
            (Op::Unpack { upper: true }, b, vec![Of(b), Of(b)], Some(Rule::Types)),
            (Op::Bytes(0), f, vec![], None),
            (Op::Bytes(1), f, vec![], Some(Rule::Range)),
            (Op::Bytes(2), f, vec![], Some(Rule::Range)),
            (Op::Bytes(0), F32, vec![], Some(Rule::Types)),
            (Op::Int(-128), I8, vec![], None),
            (Op::Int(128), I8, vec![], Some(Rule::Range)),
            (Op::Int(1), F32, vec![], Some(Rule::Types)),
            (Op::Float(1 << 40), F32, vec![], Some(Rule::Range)),
            (Op::Load { displacement: 0, region: Region::Constant }, F32, vec![Of(I64)], None),
            (Op::Load { displacement: 0, region }, F32, vec![Of(I32)], Some(Rule::Memory)),
            (Op::Store { displacement: 0, region }, f, vec![Of(I64), Of(f)], None),
            (Op::Store { displacement: 0, region }, f, vec![Of(I64), Of(d)], Some(Rule::Types)),
            (Op::Store { displacement: 0, region }, f, vec![Of(I64)], Some(Rule::Count)),
            (
                Op::Store { displacement: 0, region: Region::Constant },
                f,
                vec![Of(I64), Of(f)],
                Some(Rule::Memory),
            ),
            (Op::StorePast { displacement: 0, region }, F32, vec![Of(I64), Of(F32)], Some(Rule::Types)),
            (Op::Prefetch { displacement: 0, region }, I8, vec![Of(I64)], None),
            (Op::Prefetch { displacement: 0, region }, F32, vec![Of(I64)], Some(Rule::Types)),
            (Op::StoreLow { displacement: 0, region, bytes: 8 }, b, vec![Of(I64), Of(b)], None),
            (Op::StoreLow { displacement: 0, region, bytes: 3 }, b, vec![Of(I64), Of(b)], Some(Rule::Range)),
            (Op::LoadLow { displacement: 0, region, bytes: 16 }, f, vec![Of(I64)], None),
            (Op::LoadLow { displacement: 0, region, bytes: 8 }, f, vec![Of(I64)], Some(Rule::Range)),
            (Op::Atomic { op: AtomicOp::Add, displacement: 0, region }, I32, vec![Of(I64), Of(I32)], None),
            (
                Op::Atomic { op: AtomicOp::Add, displacement: 0, region },
                I16,
                vec![Of(I64), Of(I16)],
                Some(Rule::Types),
            ),
        ];
        for (n, (op, ty, given, want)) in cases.into_iter().enumerate() {
            assert_eq!(rule(isa, op, ty, &given), want, "{isa:?} {n}: {op:?}");
        }
    }
}

#[test]
fn shifts_are_below_the_width() {
    for (count, want) in [(31, None), (32, Some(Rule::Range)), (-1, Some(Rule::Range))] {
        let mut b = Builder::new(AVX2, Extras::default());
        b.entry();
        b.ret();
        let mut f = b.finish();
        let x = add(&mut f, Op::Int(5), I32, &[]);
        let count = add(&mut f, Op::Int(count), I32, &[]);
        add(&mut f, Op::Bin(Bin::Shl), I32, &[x, count]);
        assert_eq!(broken(&f, AVX2), want);
    }
}

#[test]
fn sets_have_the_operations() {
    let region = Region::Numbered(0);
    for isa in SETS {
        let wide = isa == Isa::Avx512;
        let [f, i, l, b, h] = [Lane::F32, Lane::I32, Lane::I64, Lane::I8, Lane::I16].map(|lane| v(isa, lane));
        let only = |has: bool| if has { None } else { Some(Rule::Set) };
        let cases: Vec<(Op, Ty, Vec<Given>, bool)> = vec![
            (Op::Scale, f, vec![Of(f), Of(f)], wide),
            (Op::Within, f, vec![Of(f), Of(f)], wide),
            (Op::Estimate { root: true }, f, vec![Of(f)], wide),
            (Op::Exponent, f, vec![Of(f)], wide),
            (Op::Significand, F32, vec![Of(F32)], wide),
            (Op::CmpBits(Cmp::Lt), i, vec![Of(f), Of(f)], wide),
            (Op::Bits(1), i, vec![], wide),
            (Op::BitsOf, i, vec![Of(i)], wide),
            (Op::AlignLanes(1), i, vec![Of(i), Of(i)], wide),
            (Op::Pieces(0), f, vec![Of(f), Of(f)], wide),
            (Op::Permute, f, vec![Of(f), Of(i), Of(f)], wide),
            (Op::Bin(Bin::Mul), l, vec![Of(l), Of(l)], wide),
            (Op::Bin(Bin::SShr), l, vec![Of(l), Of(I32)], wide),
            (Op::Un(Un::Abs), l, vec![Of(l)], wide),
            (Op::Truncate { signed: false }, i, vec![Of(f)], wide),
            (Op::FromInt { signed: false }, f, vec![Of(i)], wide),
            (Op::Blend, f, vec![Of(i), Of(f), Of(f)], !wide),
            (Op::Cmp(Cmp::Lt), i, vec![Of(f), Of(f)], !wide),
            (Op::Insert(7), f, vec![Of(f), Of(F32)], !wide),
            (Op::AllTrue, I8, vec![Of(i)], !wide),
            (Op::BytesDown(3), b, vec![Of(b)], !wide),
            (Op::Align(3), b, vec![Of(b), Of(b)], !wide),
            (Op::LoadMasked { displacement: 0, region, mask: 0 }, f, vec![Of(I64)], !wide),
            (Op::Dot, i, vec![Of(i), Of(i), Of(i)], false),
            (Op::WidenF16 { upper: false }, F32, vec![Of(I16)], isa.has_f16()),
            (Op::NarrowF16, h, vec![Of(f), Of(f)], isa.has_f16()),
        ];
        for (op, ty, given, has) in cases {
            assert_eq!(rule(isa, op, ty, &given), only(has), "{isa:?}: {op:?}");
        }
        // Comparisons that AVX2 has no instruction for.
        let less_or_equal = rule(isa, Op::Cmp(Cmp::Le), i, &[Of(i), Of(i)]);
        assert_eq!(less_or_equal, Some(Rule::Types));
    }
}

#[test]
fn dot_products_are_of_words() {
    let isa = Isa::Avx512;
    let dots = |of: Lane| {
        let mut b = Builder::new(isa, Extras { dots: true, ..Extras::default() });
        let [base, ..] = b.entry();
        b.ret();
        let mut f = b.finish();
        let load = Op::Load { displacement: 0, region: Region::Numbered(0) };
        let x = add(&mut f, load, v(isa, of), &[base]);
        add(&mut f, Op::Dot, v(isa, of), &[x, x, x]);
        function(&f, Set { isa, extras: Extras { dots: true, ..Extras::default() } }).err().map(|e| e.rule)
    };
    assert_eq!(dots(Lane::I32), None);
    assert_eq!(dots(Lane::I8), Some(Rule::Types));
}

#[test]
fn bytes_from_any_bit_are_an_extra() {
    let isa = Isa::Avx512;
    let shifted = |of: Lane, multishift: bool| {
        let extras = Extras { multishift, ..Extras::default() };
        let mut b = Builder::new(isa, extras);
        let [base, ..] = b.entry();
        b.ret();
        let mut f = b.finish();
        let load = Op::Load { displacement: 0, region: Region::Numbered(0) };
        let x = add(&mut f, load, v(isa, of), &[base]);
        add(&mut f, Op::Multishift, v(isa, of), &[x, x]);
        function(&f, Set { isa, extras }).err().map(|e| e.rule)
    };
    assert_eq!(shifted(Lane::I64, true), None);
    assert_eq!(shifted(Lane::I32, true), Some(Rule::Types));
    assert_eq!(shifted(Lane::I64, false), Some(Rule::Set));
}

#[test]
fn bits_are_where_bits_are_meant() {
    let isa = Isa::Avx512;
    let [f, i, l] = [Lane::F32, Lane::I32, Lane::I64].map(|lane| v(isa, lane));
    let region = Region::Numbered(0);
    let gather = |scale| Op::Gather { displacement: 0, region, scale };
    let cases: Vec<(Op, Ty, Vec<Given>, Option<Rule>)> = vec![
        (Op::BlendBits, f, vec![Bits(i), Of(f), Of(f)], None),
        (Op::BlendBits, f, vec![Of(i), Of(f), Of(f)], Some(Rule::Class)),
        (Op::BlendBits, f, vec![Bits(l), Of(f), Of(f)], Some(Rule::Types)),
        (Op::BlendBits, f, vec![Bits(i), Bits(i), Of(f)], Some(Rule::Class)),
        (Op::BinBits(Bin::And), i, vec![Bits(i), Bits(i)], None),
        (Op::BinBits(Bin::And), i, vec![Bits(i), Of(i)], Some(Rule::Class)),
        (Op::BinBits(Bin::Add), i, vec![Bits(i), Bits(i)], Some(Rule::Types)),
        (Op::Bin(Bin::And), i, vec![Bits(i), Bits(i)], Some(Rule::Class)),
        (Op::HalfBits { upper: true }, l, vec![Bits(i)], None),
        (Op::HalfBits { upper: true }, i, vec![Bits(i)], Some(Rule::Types)),
        (Op::JoinBits, i, vec![Bits(l), Bits(l)], None),
        (Op::JoinBits, i, vec![Bits(i), Bits(i)], Some(Rule::Types)),
        (Op::Spread, i, vec![Bits(i)], None),
        (Op::Spread, l, vec![Bits(i)], Some(Rule::Types)),
        (Op::AllBits, I8, vec![Of(i)], Some(Rule::Class)),
        (Op::Bits(1 << 16), i, vec![], Some(Rule::Range)),
        (Op::LoadBits { displacement: 0, region }, f, vec![Of(I64), Bits(i)], None),
        (Op::LoadBits { displacement: 0, region }, f, vec![Of(I64), Of(i)], Some(Rule::Class)),
        (Op::LoadBits { displacement: 0, region }, f, vec![Of(I64), Bits(l)], Some(Rule::Types)),
        (gather(4), f, vec![Of(I64), Of(i), Bits(i)], None),
        (gather(1), f, vec![Of(I64), Of(l), Bits(l)], None),
        (gather(8), l, vec![Of(I64), Of(l), Bits(l)], None),
        (gather(8), l, vec![Of(I64), Of(i), Bits(i)], Some(Rule::Types)),
        (gather(4), f, vec![Of(I64), Of(i), Bits(l)], Some(Rule::Types)),
        (gather(4), f, vec![Of(I64), Of(f), Bits(i)], Some(Rule::Types)),
        (gather(4), f, vec![Of(I64), Of(i), Of(i)], Some(Rule::Class)),
        (gather(3), f, vec![Of(I64), Of(i), Bits(i)], Some(Rule::Range)),
        (Op::StoreBits { displacement: 0, region }, f, vec![Of(I64), Of(f), Bits(i)], None),
        (Op::StoreBits { displacement: 0, region }, f, vec![Of(I64), Of(f), Of(i)], Some(Rule::Class)),
        (Op::Store { displacement: 0, region }, i, vec![Of(I64), Bits(i)], Some(Rule::Class)),
    ];
    for (op, ty, given, want) in cases {
        assert_eq!(rule(isa, op, ty, &given), want, "{op:?}");
    }
}

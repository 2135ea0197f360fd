//! Machine instructions that are not what they say.

use iced_x86::Code;
use indexmap::IndexSet;
use regalloc2::{Operand, PReg, RegClass, VReg};

use super::super::super::codes::Condition;
use super::super::super::isa::Isa;
use super::super::super::mach::{
    ARGS, Base, Exchange, Form, Kind, Machine, Mem, Part, RAX, RCX, RDX, general,
};
use super::super::super::select::Selected;
use super::super::{Broken, Rule, machine};
use super::{AVX2, SETS, plain};

/// A machine with a pointer in register 0, a vector in 1 and a number in 2.
fn begun(isa: Isa) -> (Machine, VReg, VReg, VReg) {
    let mut m = Machine::new(isa);
    m.start(Vec::new());
    let (base, x, n) = (m.register(RegClass::Int), m.register(RegClass::Float), m.register(RegClass::Int));
    m.push(Kind::Args, &[Operand::reg_fixed_def(base, general(ARGS[0]))]);
    let (bytes, operands) = (isa.vector_bytes() as u8, [Operand::reg_def(x), Operand::reg_use(base)]);
    let load = vec![Part::Reg(0, Form::V), Part::Mem(at(1, bytes))];
    m.push(Kind::Plain(Code::VEX_Vmovups_ymm_ymmm256, load), &operands);
    m.push(
        Kind::Plain(Code::Mov_r32_imm32, vec![Part::Reg(0, Form::R32), Part::Imm32(7, Form::R32)]),
        &[Operand::reg_def(n)],
    );
    (m, base, x, n)
}

fn at(operand: u8, bytes: u8) -> Mem {
    Mem { base: Base::Operand(operand), index: None, by_lanes: false, displacement: 0, bytes }
}

fn checked(mut m: Machine) -> Result<(), Broken> {
    m.connect();
    let pool = IndexSet::from([vec![0; m.isa.vector_bytes()]]);
    let set = plain(m.isa);
    machine(&Selected { machine: m, pool }, set)
}

fn rule(m: Machine) -> Option<Rule> {
    checked(m).err().map(|e| e.rule)
}

fn ended(mut m: Machine) -> Option<Rule> {
    m.push(Kind::Return, &[]);
    m.end(Vec::new());
    rule(m)
}

/// One instruction after the beginning.
fn one(
    isa: Isa,
    code: Code,
    parts: &[Part],
    operands: fn(&mut Machine, [VReg; 3]) -> Vec<Operand>,
) -> Option<Rule> {
    let (mut m, base, x, n) = begun(isa);
    let operands = operands(&mut m, [base, x, n]);
    m.push(Kind::Plain(code, parts.to_vec()), &operands);
    ended(m)
}

fn new_vector(m: &mut Machine) -> Operand {
    Operand::reg_def(m.register(RegClass::Float))
}

/// A new vector of the one that is there, twice.
fn of_two(m: &mut Machine, [_, x, _]: [VReg; 3]) -> Vec<Operand> {
    vec![new_vector(m), Operand::reg_use(x), Operand::reg_use(x)]
}

/// A new vector in the place of the one that is there, which is read again.
fn change(m: &mut Machine, [_, x, _]: [VReg; 3]) -> Vec<Operand> {
    let to = m.register(RegClass::Float);
    vec![Operand::reg_reuse_def(to, 1), Operand::reg_use(x), Operand::reg_use(x), Operand::reg_use(x)]
}

const V3: [Part; 3] = [Part::Reg(0, Form::V), Part::Reg(1, Form::V), Part::Reg(2, Form::V)];
const X3: [Part; 3] = [Part::Reg(0, Form::X), Part::Reg(1, Form::X), Part::Reg(2, Form::X)];

#[test]
fn blocks_end_and_ways_are_those_of_jumps() {
    for isa in SETS {
        assert_eq!(ended(begun(isa).0), None);
    }
    // No end; an end in the middle; a way that the end does not have.
    let (mut m, ..) = begun(AVX2);
    m.end(Vec::new());
    assert_eq!(rule(m), Some(Rule::Blocks));
    let (mut m, ..) = begun(AVX2);
    m.push(Kind::Return, &[]);
    assert_eq!(ended(m), Some(Rule::Blocks));
    let (mut m, ..) = begun(AVX2);
    m.push(Kind::Jump, &[]);
    m.end(Vec::new());
    assert_eq!(rule(m), Some(Rule::Blocks));
    // Back to the first.
    let (mut m, ..) = begun(AVX2);
    m.push(Kind::Jump, &[]);
    m.end(vec![(0, Vec::new())]);
    assert_eq!(rule(m), Some(Rule::Blocks));
    // Ways that are not recorded.
    let (mut m, ..) = begun(AVX2);
    m.push(Kind::Jump, &[]);
    m.end(vec![(1, Vec::new())]);
    m.start(Vec::new());
    m.push(Kind::Return, &[]);
    m.end(Vec::new());
    let pool = IndexSet::new();
    let found = machine(&Selected { machine: m, pool }, plain(AVX2));
    assert_eq!(found.err().map(|e| e.rule), Some(Rule::Ways));
}

/// A comparison of the number with itself, and a branch to blocks 1 and 2.
fn branch(m: &mut Machine, n: VReg, to: [usize; 2]) {
    let parts = vec![Part::Reg(0, Form::R32), Part::Reg(1, Form::R32)];
    m.push(Kind::Plain(Code::Cmp_r32_rm32, parts), &[Operand::reg_use(n), Operand::reg_use(n)]);
    m.push(Kind::Branch(Condition::L), &[]);
    m.end(to.map(|to| (to, Vec::new())).to_vec());
}

fn returns(m: &mut Machine) {
    m.push(Kind::Return, &[]);
    m.end(Vec::new());
}

#[test]
fn ways_that_join_are_split() {
    let (mut m, .., n) = begun(AVX2);
    branch(&mut m, n, [1, 2]);
    m.start(Vec::new());
    m.push(Kind::Jump, &[]);
    m.end(vec![(2, Vec::new())]);
    m.start(Vec::new());
    returns(&mut m);
    assert_eq!(rule(m), Some(Rule::Ways));
}

#[test]
fn registers_are_defined_once_and_before() {
    let add = |m: &mut Machine, to: VReg, x: VReg| {
        let operands = [Operand::reg_def(to), Operand::reg_use(x), Operand::reg_use(x)];
        m.push(Kind::Plain(Code::VEX_Vaddps_ymm_ymm_ymmm256, V3.to_vec()), &operands);
    };
    let (mut m, _, x, _) = begun(AVX2);
    add(&mut m, x, x);
    assert_eq!(ended(m), Some(Rule::DefinedOnce));
    let (mut m, ..) = begun(AVX2);
    let (to, never) = (m.register(RegClass::Float), m.register(RegClass::Float));
    add(&mut m, to, never);
    assert_eq!(ended(m), Some(Rule::DefinedBefore));
    // In one arm, used in the other.
    let (mut m, _, x, n) = begun(AVX2);
    let (one, two) = (m.register(RegClass::Float), m.register(RegClass::Float));
    branch(&mut m, n, [1, 2]);
    m.start(Vec::new());
    add(&mut m, one, x);
    returns(&mut m);
    m.start(Vec::new());
    add(&mut m, two, one);
    returns(&mut m);
    assert_eq!(rule(m), Some(Rule::DefinedBefore));
}

#[test]
fn jumps_pass_registers_of_the_kind() {
    let passed = |given: fn(VReg, VReg) -> Vec<VReg>| {
        let (mut m, _, x, n) = begun(AVX2);
        let param = m.register(RegClass::Float);
        m.push(Kind::Jump, &[]);
        m.end(vec![(1, given(x, n))]);
        m.start(vec![param]);
        returns(&mut m);
        rule(m)
    };
    assert_eq!(passed(|x, _| vec![x]), None);
    assert_eq!(passed(|_, _| vec![]), Some(Rule::Passed));
    assert_eq!(passed(|_, n| vec![n]), Some(Rule::Passed));
}

#[test]
fn registers_are_of_the_kind_that_is_named() {
    let code = Code::VEX_Vaddps_ymm_ymm_ymmm256;
    assert_eq!(one(AVX2, code, &V3, of_two), None);
    let of_number =
        |m: &mut Machine, [_, x, n]: [VReg; 3]| vec![new_vector(m), Operand::reg_use(x), Operand::reg_use(n)];
    assert_eq!(one(AVX2, code, &V3, of_number), Some(Rule::Class));
    // A register that was defined as another kind.
    let other = |m: &mut Machine, [_, x, n]: [VReg; 3]| {
        let n = VReg::new(n.vreg(), RegClass::Float);
        vec![new_vector(m), Operand::reg_use(x), Operand::reg_use(n)]
    };
    assert_eq!(one(AVX2, code, &V3, other), Some(Rule::Class));
}

#[test]
fn sets_have_the_instructions() {
    let only = |has: bool| if has { None } else { Some(Rule::Set) };
    for isa in SETS {
        let wide = isa == Isa::Avx512;
        let code = Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32;
        assert_eq!(one(isa, code, &V3, change), only(wide));
        let half = [Part::Reg(0, Form::V), Part::Reg(1, Form::H)];
        let widen = |m: &mut Machine, [_, x, _]: [VReg; 3]| vec![new_vector(m), Operand::reg_use(x)];
        assert_eq!(one(isa, Code::VEX_Vcvtph2ps_ymm_xmmm128, &half, widen), only(isa.has_f16()));
        let bits = |m: &mut Machine, [.., n]: [VReg; 3]| {
            vec![Operand::reg_def(m.register(RegClass::Vector)), Operand::reg_use(n)]
        };
        let parts = [Part::Reg(0, Form::K), Part::Reg(1, Form::R64)];
        assert_eq!(one(isa, Code::VEX_Kmovq_kr_r64, &parts, bits), only(wide));
        let dot = Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
        assert_eq!(one(isa, dot, &V3, change), Some(Rule::Set));
        // Neither has it.
        let zeros = |m: &mut Machine, [.., n]: [VReg; 3]| {
            vec![Operand::reg_def(m.register(RegClass::Int)), Operand::reg_use(n)]
        };
        let parts = [Part::Reg(0, Form::R32), Part::Reg(1, Form::R32)];
        assert_eq!(one(isa, Code::Lzcnt_r32_rm32, &parts, zeros), Some(Rule::Set));
    }
}

#[test]
fn instructions_take_the_operands_that_they_are_written_with() {
    let add = Code::VEX_Vaddps_ymm_ymm_ymmm256;
    // Halves of registers; scalars; too few; a form that names no register from 16 on; an operand that is not there.
    assert_eq!(one(AVX2, add, &[V3[0], V3[1], Part::Reg(2, Form::H)], of_two), Some(Rule::Form));
    assert_eq!(one(Isa::Avx512, add, &X3, of_two), Some(Rule::Form));
    assert_eq!(one(AVX2, add, &V3[..2], of_two), Some(Rule::Count));
    let blend = [&V3[..], &[Part::Imm8(1)]].concat();
    assert_eq!(one(AVX2, Code::VEX_Vblendps_ymm_ymm_ymmm256_imm8, &blend, of_two), None);
    let wide = one(Isa::Avx512, Code::VEX_Vblendps_ymm_ymm_ymmm256_imm8, &blend, of_two);
    assert_eq!(wide, Some(Rule::Form));
    assert_eq!(one(Isa::Avx512, Code::VEX_Vaddsubps_xmm_xmm_xmmm128, &X3, of_two), Some(Rule::Form));
    assert_eq!(one(AVX2, add, &[V3[0], V3[1], Part::Reg(7, Form::V)], of_two), Some(Rule::Count));
    // Masks.
    let masked = |m: &mut Machine, [_, x, n]: [VReg; 3]| {
        let bits = m.register(RegClass::Vector);
        let parts = vec![Part::Reg(0, Form::K), Part::Reg(1, Form::R64)];
        m.push(Kind::Plain(Code::VEX_Kmovq_kr_r64, parts), &[Operand::reg_def(bits), Operand::reg_use(n)]);
        vec![new_vector(m), Operand::reg_use(x), Operand::reg_use(x), Operand::reg_use(bits)]
    };
    let mask = |zero| [&V3[..], &[Part::Masked { operand: 3, zero }]].concat();
    assert_eq!(one(Isa::Avx512, add, &mask(true), masked), None);
    // Lanes that stay are read.
    assert_eq!(one(Isa::Avx512, add, &mask(false), masked), Some(Rule::Access));
    assert_eq!(
        one(Isa::Avx512, add, &[mask(true), mask(true)[3..].to_vec()].concat(), masked),
        Some(Rule::Form)
    );
    let parts = [&X3[..], &[Part::Masked { operand: 3, zero: true }, Part::Imm8(0)]].concat();
    let insert = one(Isa::Avx512, Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8, &parts, masked);
    assert_eq!(insert, Some(Rule::Form));
}

#[test]
fn the_allocator_knows_what_is_read_and_written() {
    let fma = Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256;
    let parts = [Part::Reg(0, Form::V), Part::Reg(2, Form::V), Part::Reg(3, Form::V)];
    assert_eq!(one(AVX2, fma, &parts, change), None);
    // Its sum is read; the allocator is told that it is only written.
    assert_eq!(one(AVX2, fma, &V3, of_two), Some(Rule::Access));
    // A result where an operand is.
    let read = |_: &mut Machine, [_, x, _]: [VReg; 3]| vec![Operand::reg_use(x); 3];
    assert_eq!(one(AVX2, Code::VEX_Vaddps_ymm_ymm_ymmm256, &V3, read), Some(Rule::Access));
    // A count in cl, which nobody fixed there.
    let shift = |m: &mut Machine, [.., n]: [VReg; 3]| {
        vec![Operand::reg_reuse_def(m.register(RegClass::Int), 1), Operand::reg_use(n)]
    };
    let parts = [Part::Reg(0, Form::R32), Part::Cl];
    assert_eq!(one(AVX2, Code::Shl_rm32_CL, &parts, shift), Some(Rule::Access));
    let fixed = |m: &mut Machine, [base, _, n]: [VReg; 3]| {
        let to = m.register(RegClass::Int);
        vec![Operand::reg_reuse_def(to, 1), Operand::reg_use(n), Operand::reg_fixed_use(base, general(RCX))]
    };
    assert_eq!(one(AVX2, Code::Shl_rm32_CL, &parts, fixed), None);
    // Results in registers that nobody names.
    let product = |_: &mut Machine, [.., n]: [VReg; 3]| vec![Operand::reg_use(n)];
    assert_eq!(one(AVX2, Code::Mul_rm32, &[Part::Reg(0, Form::R32)], product), Some(Rule::Access));
}

#[test]
fn accesses_are_of_the_bytes_that_are_meant() {
    let load = |m: &mut Machine, [base, ..]: [VReg; 3]| vec![new_vector(m), Operand::reg_use(base)];
    let code = Code::VEX_Vmovups_ymm_ymmm256;
    let loaded = |at: Mem| one(AVX2, code, &[Part::Reg(0, Form::V), Part::Mem(at)], load);
    assert_eq!(loaded(at(1, 32)), None);
    assert_eq!(loaded(at(1, 4)), Some(Rule::Memory));
    assert_eq!(loaded(Mem { index: Some((1, 3)), ..at(1, 32) }), Some(Rule::Range));
    let constant =
        |n, bytes| Mem { base: Base::Pool(n), index: None, by_lanes: false, displacement: 0, bytes };
    assert_eq!(loaded(constant(0, 32)), None);
    assert_eq!(loaded(constant(0, 16)), Some(Rule::Memory));
    assert_eq!(loaded(constant(1, 32)), Some(Rule::Range));
    // An address is no access.
    let sum = |m: &mut Machine, [base, ..]: [VReg; 3]| {
        vec![Operand::reg_def(m.register(RegClass::Int)), Operand::reg_use(base)]
    };
    let lea = |bytes| one(AVX2, Code::Lea_r64_m, &[Part::Reg(0, Form::R64), Part::Mem(at(1, bytes))], sum);
    assert_eq!(lea(0), None);
    assert_eq!(lea(8), Some(Rule::Memory));
}

#[test]
fn registers_are_fixed_where_they_must_be() {
    let divided = |change: fn(&mut [Operand; 4], VReg)| {
        let (mut m, base, _, n) = begun(AVX2);
        let (quotient, remainder) = (m.register(RegClass::Int), m.register(RegClass::Int));
        let mut operands = [
            Operand::reg_fixed_def(quotient, general(RAX)),
            Operand::reg_fixed_def(remainder, general(RDX)),
            Operand::reg_use_at_end(n),
            Operand::reg_fixed_use(base, general(RAX)),
        ];
        change(&mut operands, n);
        m.push(Kind::Divide { signed: true, wide: true }, &operands);
        ended(m)
    };
    assert_eq!(divided(|_, _| {}), None);
    // The divisor might be where the dividend's upper half is put.
    assert_eq!(divided(|o, n| o[2] = Operand::reg_use(n)), Some(Rule::Fixed));
    assert_eq!(divided(|o, n| o[3] = Operand::reg_use(n)), Some(Rule::Fixed));
    // The stack's register is not free, and there are 16 vectors.
    assert_eq!(divided(|o, n| o[3] = Operand::reg_fixed_use(n, general(4))), Some(Rule::Fixed));
    let high = |m: &mut Machine, [_, x, _]: [VReg; 3]| {
        let x = Operand::reg_fixed_use(x, PReg::new(17, RegClass::Float));
        vec![new_vector(m), x, x]
    };
    assert_eq!(one(Isa::Avx512, Code::VEX_Vaddps_ymm_ymm_ymmm256, &V3, high), None);
    assert_eq!(one(AVX2, Code::VEX_Vaddps_ymm_ymm_ymmm256, &V3, high), Some(Rule::Fixed));
    // In the place of a result.
    let twice = |m: &mut Machine, [_, x, _]: [VReg; 3]| {
        let to = m.register(RegClass::Float);
        vec![Operand::reg_reuse_def(to, 0), Operand::reg_use(x), Operand::reg_use(x)]
    };
    assert_eq!(one(AVX2, Code::VEX_Vaddps_ymm_ymm_ymmm256, &V3, twice), Some(Rule::Fixed));
}

#[test]
fn an_exchange_reads_its_operands_to_the_end() {
    let exchanged = |late: bool, bytes: u8, op: Code| {
        let (mut m, base, _, n) = begun(AVX2);
        let (found, work) = (m.register(RegClass::Int), m.register(RegClass::Int));
        let operands = [
            Operand::reg_fixed_def(found, general(RAX)),
            Operand::reg_temp(work),
            Operand::reg_use_at_end(n),
            if late { Operand::reg_use_at_end(base) } else { Operand::reg_use(base) },
        ];
        m.push(Kind::Exchange(Exchange { op, cmov: None, wide: false, at: at(3, bytes) }), &operands);
        ended(m)
    };
    assert_eq!(exchanged(true, 4, Code::And_r32_rm32), None);
    assert_eq!(exchanged(false, 4, Code::And_r32_rm32), Some(Rule::Fixed));
    assert_eq!(exchanged(true, 8, Code::And_r32_rm32), Some(Rule::Memory));
    assert_eq!(exchanged(true, 4, Code::And_r64_rm64), Some(Rule::Form));
}

#[test]
fn flags_are_those_of_the_comparison() {
    #[derive(Clone, Copy)]
    enum Step {
        Compare,
        /// Sets a byte by the flags.
        Ask,
        /// Changes the flags.
        Negate,
        /// Leaves all but one undefined.
        Scan,
        Divide,
    }
    let run = |steps: &[Step]| {
        let (mut m, base, _, n) = begun(AVX2);
        for step in steps {
            let to = m.register(RegClass::Int);
            let two = vec![Part::Reg(0, Form::R32), Part::Reg(1, Form::R32)];
            let of_two = [Operand::reg_def(to), Operand::reg_use(n)];
            match step {
                Step::Compare => {
                    let operands = [Operand::reg_use(n), Operand::reg_use(n)];
                    m.push(Kind::Plain(Code::Cmp_r32_rm32, two), &operands);
                }
                Step::Ask => {
                    let parts = vec![Part::Reg(0, Form::R8)];
                    m.push(Kind::Plain(Code::Setl_rm8, parts), &[Operand::reg_def(to)]);
                }
                Step::Negate => {
                    let operands = [Operand::reg_reuse_def(to, 1), Operand::reg_use(n)];
                    m.push(Kind::Plain(Code::Neg_rm32, two[..1].to_vec()), &operands);
                }
                Step::Scan => m.push(Kind::Plain(Code::Bsr_r32_rm32, two), &of_two),
                Step::Divide => {
                    let other = m.register(RegClass::Int);
                    let operands = [
                        Operand::reg_fixed_def(to, general(RAX)),
                        Operand::reg_fixed_def(other, general(RDX)),
                        Operand::reg_use_at_end(n),
                        Operand::reg_fixed_use(base, general(RAX)),
                    ];
                    m.push(Kind::Divide { signed: true, wide: true }, &operands);
                }
            }
        }
        ended(m)
    };
    use Step::{Ask, Compare, Divide, Negate, Scan};
    assert_eq!(run(&[Compare, Ask, Ask]), None);
    assert_eq!(run(&[Negate, Ask]), None);
    assert_eq!(run(&[Ask]), Some(Rule::Flags));
    assert_eq!(run(&[Compare, Negate, Ask]), Some(Rule::Flags));
    assert_eq!(run(&[Compare]), Some(Rule::Flags));
    assert_eq!(run(&[Scan, Ask]), Some(Rule::Flags));
    assert_eq!(run(&[Divide, Ask]), Some(Rule::Flags));
}

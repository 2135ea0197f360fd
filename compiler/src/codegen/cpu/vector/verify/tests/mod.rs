//! Programs that break a rule, each refused for it.

mod machine;
mod operations;

use super::super::super::ssa::{At, Bin, Cmp, Lane, Region, Ssa, Ty};
use super::super::build::Builder;
use super::super::encode::{Encoded, encode};
use super::super::ir::{Block, Edge, End, Function, Inst, Op, Value};
use super::super::isa::{Extras, Isa};
use super::super::needs::Needs;
use super::super::select::select;
use super::{Rule, Set};

const AVX2: Isa = Isa::Avx2 { f16c: true };
const SETS: [Isa; 3] = [Isa::Avx2 { f16c: false }, AVX2, Isa::Avx512];

/// A set without dot products.
fn plain(isa: Isa) -> Set {
    Set { isa, extras: Extras::default() }
}

/// Sums of vectors of f32 in a loop, stored where they are less than a scalar.
fn sums(isa: Isa) -> Function {
    let mut b = Builder::new(isa, Extras::default());
    let ty = Ty::vector(Lane::F32, isa.vector_bytes());
    let [from, to, count, _] = b.entry();
    let (zero, none) = (b.int(Ty::scalar(Lane::I64), 0), b.float(ty, 0.0));
    let (head, out) = (b.block(), b.block());
    let i = b.block_param(head, Ty::scalar(Lane::I64));
    let sum = b.block_param(head, ty);
    b.jump(head, &[zero, none]);
    b.switch_to_loop(head);
    let base = b.binary(Bin::Add, from, i);
    let x = b.load(ty, At { base, displacement: 0, region: Region::Numbered(0) });
    let next = b.binary(Bin::Add, sum, x);
    let step = b.int(Ty::scalar(Lane::I64), isa.vector_bytes() as i64);
    let i_next = b.binary(Bin::Add, i, step);
    let again = b.compare(Cmp::Lt, i_next, count);
    b.branch(again, (head, &[i_next, next]), (out, &[]));
    b.seal(head);
    b.switch_to(out);
    b.seal(out);
    let limit = b.splat(none);
    let less = b.compare(Cmp::Lt, next, limit);
    let kept = b.blend(less, next, none);
    b.store(kept, At { base: to, displacement: 0, region: Region::Numbered(1) });
    b.ret();
    b.finish()
}

/// The rule that a function breaks.
fn broken(f: &Function, isa: Isa) -> Option<Rule> {
    super::function(f, plain(isa)).err().map(|e| e.rule)
}

/// The first value that is made so.
fn find(f: &Function, of: impl Fn(Op) -> bool) -> Value {
    let at = f.insts.iter().position(|i| of(i.op)).expect("such an instruction");
    Value(at as u32)
}

/// Adds an instruction to the first block, before its end.
fn add(f: &mut Function, op: Op, ty: Ty, args: &[Value]) -> Value {
    f.insts.push(Inst::new(op, ty, args));
    f.home.push(Block(0));
    let v = Value(f.insts.len() as u32 - 1);
    if !op.is_constant() {
        f.blocks[0].insts.push(v);
    }
    v
}

#[test]
fn a_good_program_passes_every_step() {
    for isa in SETS {
        let f = sums(isa);
        assert_eq!(broken(&f, isa), None);
        let needs = Needs::of(&f);
        assert_eq!(super::needs(&f, &needs), Ok(()));
        let selected = select(f, &needs, isa);
        assert_eq!(super::machine(&selected, plain(isa)), Ok(()));
        let encoded = encode(&selected).expect("code");
        assert_eq!(super::bytes(&encoded, plain(isa)), Ok(()));
    }
}

#[test]
fn messages_name_the_value_and_the_rule() {
    let mut f = sums(AVX2);
    let sum = find(&f, |op| op == Op::Bin(Bin::Add));
    f.insts[sum.index()].op = Op::Bin(Bin::Div);
    let e = super::function(&f, plain(AVX2)).expect_err("no integers are divided so").to_string();
    assert!(e.contains(&format!("v{} = Bin(Div)", sum.0)), "{e}");
    assert!(e.contains("types are those that the operation takes and makes"), "{e}");
}

#[test]
fn blocks_stand_in_the_code_once_and_end() {
    type Break = fn(&mut Function);
    let breaks: [(Rule, Break); 8] = [
        (Rule::Blocks, |f| f.order.push(Block(1))),
        (Rule::Blocks, |f| f.order.reverse()),
        (Rule::Blocks, |f| f.blocks[2].end = End::Open),
        (Rule::Blocks, |f| {
            f.order.pop();
        }),
        (Rule::Blocks, |f| f.order.push(Block(9))),
        (Rule::Ways, |f| {
            f.blocks[2].preds.pop();
        }),
        (Rule::Ways, |f| f.blocks[2].dominator = Some(Block(0))),
        (Rule::Ways, |f| f.blocks[1].preds.push(Block(2))),
    ];
    for (n, (rule, change)) in breaks.into_iter().enumerate() {
        let mut f = sums(AVX2);
        change(&mut f);
        assert_eq!(broken(&f, AVX2), Some(rule), "{n}");
    }
}

#[test]
fn a_value_is_defined_once() {
    type Break = fn(&mut Function);
    let breaks: [Break; 5] = [
        |f| {
            let again = f.blocks[1].insts[0];
            f.blocks[1].insts.push(again);
        },
        |f| {
            let param = f.blocks[1].params[0];
            f.blocks[2].params.push(param);
        },
        |f| {
            let moved = f.blocks[1].insts[0];
            f.home[moved.index()] = Block(2);
        },
        |f| {
            let constant = find(f, |op| op.is_constant());
            f.blocks[0].insts.push(constant);
        },
        |f| f.blocks[2].insts.insert(0, Value(9999)),
    ];
    for (n, change) in breaks.into_iter().enumerate() {
        let mut f = sums(AVX2);
        change(&mut f);
        assert_eq!(broken(&f, AVX2), Some(Rule::DefinedOnce), "{n}");
    }
}

#[test]
fn a_value_is_defined_before_it_is_used() {
    // Later in its block; in a block that not all ways go through; nowhere.
    let mut f = sums(AVX2);
    f.blocks[1].insts.reverse();
    assert_eq!(broken(&f, AVX2), Some(Rule::DefinedBefore));

    let mut f = sums(AVX2);
    let next = find(&f, |op| matches!(op, Op::Load { .. }));
    let End::Jump(edge) = &mut f.blocks[0].end else { panic!("the first block jumps") };
    edge.args[1] = next;
    assert_eq!(broken(&f, AVX2), Some(Rule::DefinedBefore));

    let mut f = sums(AVX2);
    let load = find(&f, |op| matches!(op, Op::Load { .. }));
    f.blocks[1].insts.retain(|v| *v != load);
    assert_eq!(broken(&f, AVX2), Some(Rule::DefinedBefore));

    let mut f = sums(AVX2);
    let End::Branch(cond, ..) = &mut f.blocks[1].end else { panic!("the loop branches") };
    *cond = Value(9999);
    assert_eq!(broken(&f, AVX2), Some(Rule::DefinedBefore));
}

/// Two arms; the one's value is used where they meet.
#[test]
fn a_value_of_one_arm_is_not_there_after_both() {
    let mut b = Builder::new(AVX2, Extras::default());
    let [x, y, ..] = b.entry();
    let (left, right, join) = (b.block(), b.block(), b.block());
    let less = b.compare(Cmp::Lt, x, y);
    b.branch(less, (left, &[]), (right, &[]));
    let at = At { base: x, displacement: 0, region: Region::Numbered(0) };
    b.switch_to(left);
    let v = b.load(Ty::scalar(Lane::I64), at);
    b.jump(join, &[]);
    b.switch_to(right);
    b.jump(join, &[]);
    b.switch_to(join);
    b.store(v, At { region: Region::Numbered(1), ..at });
    b.ret();
    assert_eq!(broken(&b.finish(), AVX2), Some(Rule::DefinedBefore));
}

#[test]
fn a_jump_passes_what_the_block_takes() {
    let passed = |change: fn(&mut Vec<Value>, &[Value])| {
        let mut f = sums(Isa::Avx512);
        let bits = find(&f, |op| op == Op::Arg(0));
        let lanes = Ty::vector(Lane::F32, 64).as_int();
        let mask = add(&mut f, Op::Bits(1), lanes, &[]);
        let End::Jump(edge) = &mut f.blocks[0].end else { panic!("the first block jumps") };
        change(&mut edge.args, &[bits, mask]);
        broken(&f, Isa::Avx512)
    };
    assert_eq!(passed(|_, _| {}), None);
    assert_eq!(passed(|args, _| args.truncate(1)), Some(Rule::Passed));
    assert_eq!(passed(|args, given| args[1] = given[0]), Some(Rule::Passed));
    assert_eq!(passed(|args, given| args[1] = given[1]), Some(Rule::Passed));

    // Bits of the type of the parameter.
    let mut f = sums(Isa::Avx512);
    let lanes = Ty::vector(Lane::I32, 64);
    let mask = add(&mut f, Op::Bits(1), lanes, &[]);
    let param = Value(f.insts.len() as u32);
    f.insts.push(Inst::new(Op::Param(Block(2)), lanes, &[]));
    f.home.push(Block(2));
    f.blocks[2].params.push(param);
    let End::Branch(_, _, out) = &mut f.blocks[1].end else { panic!("the loop branches") };
    *out = Edge { to: Block(2), args: vec![mask] };
    assert_eq!(broken(&f, Isa::Avx512), Some(Rule::Passed));
}

/// A load, a change of memory, and a sum that would read the load's memory itself.
#[test]
fn no_load_is_moved_past_a_write() {
    let order = |region: u32, atomic: bool, inside: bool| {
        let mut b = Builder::new(AVX2, Extras::default());
        let [x, y, ..] = b.entry();
        let ty = Ty::scalar(Lane::F32);
        let at = |base, region| At { base, displacement: 0, region: Region::Numbered(region) };
        let (a, c) = (b.load(ty, at(y, 9)), b.load(ty, at(x, 0)));
        if atomic {
            let one = b.int(Ty::scalar(Lane::I32), 1);
            b.atomic(super::super::super::ssa::AtomicOp::Add, one, at(y, region));
        } else {
            b.store(a, at(y, region));
        }
        let sum = b.binary(Bin::Add, a, c);
        b.store(sum, at(x, 5));
        b.ret();
        let f = b.finish();
        assert_eq!(broken(&f, AVX2), None);
        let mut needs = Needs::of(&f);
        needs.inside[c.index()] = inside;
        super::needs(&f, &needs).err().map(|e| e.rule)
    };
    assert_eq!(order(0, false, false), None);
    assert_eq!(order(1, false, true), None);
    assert_eq!(order(0, false, true), Some(Rule::Order));
    assert_eq!(order(1, true, true), Some(Rule::Order));

    // Of several instructions, or of one in another block.
    let f = sums(AVX2);
    let mut needs = Needs::of(&f);
    let load = find(&f, |op| matches!(op, Op::Load { .. }));
    needs.uses[load.index()] = 2;
    assert_eq!(super::needs(&f, &needs).err().map(|e| e.rule), Some(Rule::Order));
    let mut needs = Needs::of(&f);
    let sum = find(&f, |op| op == Op::Bin(Bin::Add));
    needs.inside[sum.index()] = true;
    needs.uses[sum.index()] = 1;
    assert_eq!(super::needs(&f, &needs).err().map(|e| e.rule), Some(Rule::Order));
}

/// A load that is part of a sum that is part of a choice is done where the choice is.
#[test]
fn no_load_is_moved_past_a_write_with_what_it_is_part_of() {
    let order = |written: bool| {
        let isa = Isa::Avx512;
        let mut b = Builder::new(isa, Extras::default());
        let [x, y, ..] = b.entry();
        let ty = Ty::vector(Lane::F32, 64);
        let at = |base, region| At { base, displacement: 0, region: Region::Numbered(region) };
        let (a, c) = (b.load(ty, at(x, 0)), b.load(ty, at(y, 9)));
        let mask = b.compare(Cmp::Lt, c, a);
        let d = b.load(ty, At { displacement: 64, ..at(x, 0) });
        let sum = b.binary(Bin::Add, c, d);
        if written {
            b.store(c, at(y, 0));
        }
        let chosen = b.blend(mask, sum, c);
        b.store(chosen, at(x, 5));
        b.ret();
        let f = b.finish();
        assert_eq!(broken(&f, isa), None);
        let mut needs = Needs::of(&f);
        needs.inside[d.index()] = true;
        needs.inside[sum.index()] = true;
        super::needs(&f, &needs).err().map(|e| e.rule)
    };
    assert_eq!(order(false), None);
    assert_eq!(order(true), Some(Rule::Order));
}

#[test]
fn bytes_are_instructions_of_the_set_that_point_to_instructions() {
    let rule = |isa: Isa, code: &[u8], constants: usize| {
        let mut bytes = code.to_vec();
        bytes.resize(code.len() + constants, 0);
        super::bytes(&Encoded { bytes, code: code.len(), frame: 0 }, plain(isa)).err().map(|e| e.rule)
    };
    let ret = 0xC3;
    assert_eq!(rule(AVX2, &[0x90, ret], 0), None);
    // Runs on; half an instruction; a jump between instructions, and out of the code.
    assert_eq!(rule(AVX2, &[0x90], 0), Some(Rule::Bytes));
    assert_eq!(rule(AVX2, &[0x90, 0x48, 0x8B], 0), Some(Rule::Bytes));
    assert_eq!(rule(AVX2, &[0x66, 0x90, 0xEB, 0xFD, ret], 0), Some(Rule::Bytes));
    assert_eq!(rule(AVX2, &[0xEB, 0x7F, ret], 0), Some(Rule::Bytes));
    // vmovups ymm0, [rip + n], of a constant that is there and one that is not.
    let load = [0xC5, 0xFC, 0x10, 0x05, 1, 0, 0, 0, ret];
    assert_eq!(rule(AVX2, &load, 32), None);
    assert_eq!(rule(AVX2, &load, 16), Some(Rule::Bytes));
    // vaddps zmm0, zmm0, zmm0; vcvtph2ps ymm0, xmm0; lzcnt.
    let add = [0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0, ret];
    assert_eq!(rule(Isa::Avx512, &add, 0), None);
    assert_eq!(rule(AVX2, &add, 0), Some(Rule::Set));
    let half = [0xC4, 0xE2, 0x7D, 0x13, 0xC0, ret];
    assert_eq!(rule(AVX2, &half, 0), None);
    assert_eq!(rule(Isa::Avx2 { f16c: false }, &half, 0), Some(Rule::Set));
    assert_eq!(rule(Isa::Avx512, &[0xF3, 0x0F, 0xBD, 0xC0, ret], 0), Some(Rule::Set));
}

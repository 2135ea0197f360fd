//! What of a function is computed, and where: how often each value is used, which loads and comparisons become part of
//! the one instruction that uses them.

use rustc_hash::FxHashMap;

use super::super::ssa::{Bin, Cmp, Lane, Un};
use super::ir::{Block, End, Function, Op, Value};

/// The outcome.
#[derive(Debug)]
pub(super) struct Needs {
    /// Uses of each value by instructions that are made.
    pub(super) uses: Vec<u32>,
    /// Whether a value is part of the instruction that uses it.
    pub(super) inside: Vec<bool>,
}

/// An address as the processor adds it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) base: Value,
    /// Times 1, 2, 4 or 8.
    pub(super) index: Option<(Value, u8)>,
    pub(super) displacement: i32,
}

/// Takes the additions into an address that are made in as many loops as the access.
pub(super) fn address(f: &Function, block: Block, base: Value, displacement: i32) -> Address {
    let mut address = Address { base, index: None, displacement };
    let near = |v: Value| f.block(f.home[v.index()]).loops == f.block(block).loops;
    loop {
        let inst = f.inst(address.base);
        let (Op::Bin(Bin::Add), true) = (inst.op, near(address.base)) else { return address };
        let (a, b) = (inst.args()[0], inst.args()[1]);
        if let Op::Int(c) = f.inst(b).op {
            match i32::try_from(c).ok().and_then(|c| address.displacement.checked_add(c)) {
                Some(sum) => (address.base, address.displacement) = (a, sum),
                None => return address,
            }
        } else if address.index.is_none() && !f.inst(a).op.is_constant() {
            let index = f.inst(b);
            let scaled = match (index.op, index.args()) {
                (Op::Bin(Bin::Shl), &[i, count]) if near(b) => match f.inst(count).op {
                    Op::Int(c @ 1..=3) if !f.inst(i).op.is_constant() => Some((i, 1u8 << c)),
                    _ => None,
                },
                _ => None,
            };
            (address.base, address.index) = (a, Some(scaled.unwrap_or((b, 1))));
        } else {
            return address;
        }
    }
}

/// The value that has the same register: what only changes a type is no instruction.
pub(super) fn root(f: &Function, mut v: Value) -> Value {
    while is_alias(f, v) {
        v = f.inst(v).args()[0];
    }
    v
}

/// Whether a value is in its operand's register as it is.
pub(super) fn is_alias(f: &Function, v: Value) -> bool {
    let inst = f.inst(v);
    match inst.op {
        Op::Reduce => true,
        Op::Bitcast => inst.ty.is_vector() || inst.ty.lane.is_float() == f.ty(inst.args()[0]).lane.is_float(),
        Op::LaneZero => inst.ty.lane.is_float(),
        // Loads of bytes and of 16 bits clear the rest of the register.
        Op::Extend { signed: false } => {
            let from = f.inst(inst.args()[0]);
            matches!(from.op, Op::Load { .. }) && from.ty.bytes() < 4
        }
        Op::Extract(0) => inst.ty.lane.is_float(),
        _ => false,
    }
}

/// The operands that an instruction may take from memory, as whole as they are.
fn from_memory(f: &Function, v: Value) -> Vec<Value> {
    let inst = f.inst(v);
    let args = inst.args();
    let vector = inst.ty.is_vector();
    match inst.op {
        Op::Bin(Bin::Shl | Bin::SShr | Bin::UShr) => Vec::new(),
        Op::Bin(op) if vector || inst.ty.lane.is_float() => match op.commutes() {
            true => vec![args[1], args[0]],
            false => vec![args[1]],
        },
        Op::Fma { .. } => vec![args[2], args[1], args[0]],
        Op::Lesser | Op::Greater | Op::LookUp | Op::Multishift => vec![args[1]],
        Op::Splat => vec![args[0]],
        Op::Insert(_) if inst.ty.lane.is_float() => vec![args[1]],
        Op::InsertLow(_) if inst.ty.lane == Lane::F32 => vec![args[1]],
        Op::Un(Un::Sqrt) if vector => vec![args[0]],
        Op::Cmp(_) | Op::CmpBits(_) if f.ty(args[0]).is_vector() => vec![args[1]],
        Op::BlendBits => vec![args[1]],
        Op::Permute | Op::Dot => vec![args[2]],
        Op::Extend { signed: true } if f.ty(args[0]).lane == Lane::I32 => vec![args[0]],
        _ => Vec::new(),
    }
}

/// Whether an instruction may be done in some lanes only, by bits, where the others are those of `other`: for a product that
/// is added to something, the sum so far. AVX-512.
pub(super) fn is_by_lane(f: &Function, v: Value, other: Value) -> bool {
    let inst = f.inst(v);
    inst.ty.is_vector()
        && match inst.op {
            Op::Bin(Bin::Add | Bin::Sub | Bin::Mul | Bin::Div) => true,
            Op::Fma { .. } => inst.args()[2] == other,
            _ => false,
        }
}

impl Needs {
    pub(super) fn of(f: &Function) -> Needs {
        let mut needs = Needs { uses: vec![0; f.insts.len()], inside: vec![false; f.insts.len()] };
        for &block in f.order.iter().rev() {
            needs.count(f, block);
        }
        for &block in &f.order {
            needs.choose(f, block);
        }
        needs
    }

    fn count(&mut self, f: &Function, block: Block) {
        let data = f.block(block);
        if let End::Branch(cond, ..) = data.end {
            self.uses[cond.index()] += 1;
        }
        for arg in data.end.edges().flat_map(|e| &e.args) {
            self.uses[arg.index()] += 1;
        }
        for &v in data.insts.iter().rev() {
            let inst = f.inst(v);
            if self.uses[v.index()] == 0 && !inst.op.acts() && !matches!(inst.op, Op::Arg(_)) {
                continue;
            }
            match access(f, block, v) {
                Some((at, rest)) => {
                    self.uses[at.base.index()] += 1;
                    if let Some((index, _)) = at.index {
                        self.uses[index.index()] += 1;
                    }
                    for arg in rest {
                        self.uses[arg.index()] += 1;
                    }
                }
                None => inst.args().iter().for_each(|a| self.uses[a.index()] += 1),
            }
        }
    }

    fn choose(&mut self, f: &Function, block: Block) {
        let data = f.block(block);
        let position: FxHashMap<Value, usize> = data.insts.iter().enumerate().map(|(n, v)| (*v, n)).collect();
        for (n, &user) in data.insts.iter().enumerate() {
            if self.uses[user.index()] == 0 {
                continue;
            }
            if let (Op::Select, true) = (f.inst(user).op, !f.inst(user).ty.is_vector()) {
                let cond = f.inst(user).args()[0];
                let float = f.inst(user).ty.lane.is_float();
                self.inside[cond.index()] |= self.is_lone_comparison(f, cond, float);
            }
            let found = from_memory(f, user).into_iter().find(|&v| {
                let load = root(f, v);
                let Op::Load { region, .. } = f.inst(load).op else { return false };
                let (here, loaded) = (f.ty(v), f.ty(load));
                let by_lane = matches!(f.inst(user).op, Op::Splat | Op::Insert(_) | Op::InsertLow(_));
                let fits =
                    here.bytes() == loaded.bytes() && loaded.lane.bytes() >= 4 || by_lane && here == loaded;
                let changes = |w: &Value| {
                    let op = f.inst(*w).op;
                    matches!(op, Op::Atomic { .. })
                        || op.writes() && op.memory().is_some_and(|a| a.region == region)
                };
                let unchanged = |at: &usize| !data.insts[at + 1..n].iter().any(changes);
                fits && self.chain_is_alone(f, v) && position.get(&load).is_some_and(unchanged)
            });
            if let Some(v) = found {
                self.inside[root(f, v).index()] = true;
            }
            if let (Op::BlendBits, &[_, a, other]) = (f.inst(user).op, f.inst(user).args())
                && is_by_lane(f, a, other)
                && self.uses[a.index()] == 1
                && let Some(at) = position.get(&a)
                && !data.insts[at + 1..n].iter().any(|w| f.inst(*w).op.writes())
            {
                self.inside[a.index()] = true;
            }
        }
        if let End::Branch(cond, ..) = data.end {
            let lone_test = f.inst(cond).op.is_test() && self.uses[cond.index()] == 1;
            self.inside[cond.index()] |= lone_test || self.is_lone_comparison(f, cond, false);
        }
    }

    /// Whether a value, and all that it is another name of, are used once.
    fn chain_is_alone(&self, f: &Function, mut v: Value) -> bool {
        while self.uses[v.index()] == 1 {
            if !is_alias(f, v) {
                return true;
            }
            v = f.inst(v).args()[0];
        }
        false
    }

    /// A comparison that only the flags of, or a mask, are wanted of. With `any`, of floats by any operator.
    fn is_lone_comparison(&self, f: &Function, v: Value, any: bool) -> bool {
        let inst = f.inst(v);
        let Op::Cmp(cmp) = inst.op else { return false };
        let lane = f.ty(inst.args()[0]).lane;
        let by_flags = !lane.is_float() || matches!(cmp, Cmp::Lt | Cmp::Le);
        self.uses[v.index()] == 1 && !f.ty(inst.args()[0]).is_vector() && (by_flags || any)
    }
}

/// The address of an access to memory, and its other operands.
pub(super) fn access(f: &Function, block: Block, v: Value) -> Option<(Address, &[Value])> {
    let inst = f.inst(v);
    let displacement = inst.op.memory()?.displacement;
    let (base, rest) = inst.args().split_first()?;
    if let Op::Gather { .. } = inst.op {
        // The index is taken.
        return Some((Address { base: *base, index: None, displacement }, rest));
    }
    Some((address(f, block, *base, displacement), rest))
}

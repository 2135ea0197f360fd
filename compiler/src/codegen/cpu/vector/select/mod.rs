//! From instructions in single assignment to machine instructions.

mod bits;
mod general;
mod memory;
mod pieces;
mod vector;

use iced_x86::Code;
use indexmap::IndexSet;
use regalloc2::{Operand, PReg, RegClass, VReg};

use super::super::ssa::{Cmp, Lane, Ty};
use super::codes::{self, Condition};
use super::ir::{Block, Edge, End, Function, Op, Value};
use super::isa::Isa;
use super::mach::{ARGS, Base, Form, Kind, Machine, Mem, Part, general as general_register};
use super::needs::{Needs, is_alias, root};

/// Machine code in the making, and the constants that it reads.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) machine: Machine,
    /// Constant vectors, [`Base::Pool`] indexes them.
    pub(super) pool: IndexSet<Vec<u8>>,
}

/// Chooses the instructions of a function.
pub(super) fn select(mut f: Function, needs: &Needs, isa: Isa) -> Selected {
    let pool = std::mem::take(&mut f.pool);
    let machine = Machine::new(isa);
    let registers = vec![None; f.insts.len()];
    let mut select = Select {
        f: &f,
        needs,
        machine,
        pool,
        registers,
        block: Block(0),
        next: None,
        kept: Vec::new(),
        keep: Vec::new(),
    };
    select.function();
    Selected { machine: select.machine, pool: select.pool }
}

struct Select<'f> {
    f: &'f Function,
    needs: &'f Needs,
    machine: Machine,
    pool: IndexSet<Vec<u8>>,
    registers: Vec<Option<VReg>>,
    /// The block that is being written.
    block: Block,
    /// The instruction after the one that is being written.
    next: Option<Value>,
    /// Constants that the instruction before read too: one load serves neighbours.
    kept: Vec<(Value, VReg)>,
    /// Those that this instruction reads and so does the next.
    keep: Vec<(Value, VReg)>,
}

/// An instruction in the making.
struct Draft {
    code: Code,
    parts: Vec<Part>,
    operands: Vec<Operand>,
}

impl Draft {
    fn new(code: Code) -> Draft {
        Draft { code, parts: Vec::with_capacity(4), operands: Vec::with_capacity(4) }
    }

    fn operand(&mut self, operand: Operand) -> u8 {
        self.operands.push(operand);
        (self.operands.len() - 1) as u8
    }

    /// Writes a register.
    fn def(mut self, v: VReg, form: Form) -> Draft {
        let n = self.operand(Operand::reg_def(v));
        self.parts.push(Part::Reg(n, form));
        self
    }

    /// Changes a register: reads `from`, writes `v`.
    fn change(mut self, v: VReg, from: VReg, form: Form) -> Draft {
        let n = self.operands.len();
        self.operand(Operand::reg_reuse_def(v, n + 1));
        self.operand(Operand::reg_use(from));
        self.parts.push(Part::Reg(n as u8, form));
        self
    }

    /// Reads a register.
    fn use_(mut self, v: VReg, form: Form) -> Draft {
        let n = self.operand(Operand::reg_use(v));
        self.parts.push(Part::Reg(n, form));
        self
    }

    /// Reads a register that is not written out.
    fn hidden(mut self, operand: Operand) -> Draft {
        self.operand(operand);
        self
    }

    /// Is done in lanes whose bits are set; the others become zero, or what the instruction says.
    fn masked(mut self, bits: VReg, zero: bool) -> Draft {
        let operand = self.operand(Operand::reg_use(bits));
        self.part(Part::Masked { operand, zero })
    }

    fn part(mut self, part: Part) -> Draft {
        self.parts.push(part);
        self
    }

    fn imm8(self, v: u8) -> Draft {
        self.part(Part::Imm8(v))
    }
}

impl Select<'_> {
    fn function(&mut self) {
        let places = self.places();
        for &block in &self.f.order {
            self.block = block;
            let params = self.f.block(block).params.clone();
            let params = params.into_iter().map(|p| self.define(p)).collect();
            self.machine.start(params);
            let insts = &self.f.block(block).insts;
            for (n, &v) in insts.iter().enumerate() {
                self.next = insts[n + 1..].iter().copied().find(|v| self.is_made(*v));
                self.inst(v);
                if self.is_made(v) {
                    self.kept = std::mem::take(&mut self.keep);
                }
            }
            self.kept.clear();
            self.end(block, &places);
        }
        self.machine.connect();
    }

    /// The number of each block among the machine's, which has one more for each way from a block with two to one that
    /// is come to from several.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.f.blocks.len()];
        let mut next = 0;
        for &block in &self.f.order {
            places[block.index()] = next;
            next += 1;
            if let End::Branch(_, a, b) = &self.f.block(block).end {
                next += [a, b].iter().filter(|e| self.is_joined(e)).count();
            }
        }
        places
    }

    fn is_joined(&self, edge: &Edge) -> bool {
        self.f.block(edge.to).preds.len() > 1
    }

    fn end(&mut self, block: Block, places: &[usize]) {
        match &self.f.block(block).end {
            End::Open | End::Return => {
                self.machine.push(Kind::Return, &[]);
                self.machine.end(Vec::new());
            }
            End::Jump(edge) => {
                let args = edge.args.iter().map(|a| self.register(*a)).collect();
                self.machine.push(Kind::Jump, &[]);
                self.machine.end(vec![(places[edge.to.index()], args)]);
            }
            End::Branch(cond, a, b) => {
                let mut between = places[block.index()] + 1;
                let mut succs = Vec::with_capacity(2);
                let mut joins = Vec::new();
                for edge in [a, b] {
                    if self.is_joined(edge) {
                        succs.push((between, Vec::new()));
                        joins.push(edge);
                        between += 1;
                    } else {
                        let args = edge.args.iter().map(|a| self.register(*a)).collect();
                        succs.push((places[edge.to.index()], args));
                    }
                }
                let cc = self.flags_of(*cond);
                self.machine.push(Kind::Branch(cc), &[]);
                self.machine.end(succs);
                for edge in joins {
                    self.machine.start(Vec::new());
                    let args = edge.args.iter().map(|a| self.register(*a)).collect();
                    self.machine.push(Kind::Jump, &[]);
                    self.machine.end(vec![(places[edge.to.index()], args)]);
                }
            }
        }
    }

    fn push(&mut self, draft: Draft) {
        self.machine.push(Kind::Plain(draft.code, draft.parts), &draft.operands);
    }

    fn fresh(&mut self, class: RegClass) -> VReg {
        self.machine.register(class)
    }

    fn fresh_int(&mut self) -> VReg {
        self.fresh(RegClass::Int)
    }

    fn fresh_vector(&mut self) -> VReg {
        self.fresh(RegClass::Float)
    }

    fn fresh_bits(&mut self) -> VReg {
        self.fresh(RegClass::Vector)
    }

    /// The kind of register that holds a value.
    fn class(&self, v: Value) -> RegClass {
        if self.f.inst(v).op.makes_bits() { RegClass::Vector } else { class(self.f.ty(v)) }
    }

    /// The register that an instruction's value is written to.
    fn define(&mut self, v: Value) -> VReg {
        let register = self.fresh(self.class(v));
        self.registers[v.index()] = Some(register);
        register
    }

    /// Whether an instruction is written where it stands.
    fn is_made(&self, v: Value) -> bool {
        let op = self.f.inst(v).op;
        let unused = self.needs.uses[v.index()] == 0 && !op.acts();
        !(unused || self.needs.inside[v.index()] || is_alias(self.f, v))
    }

    /// A constant in a register that the neighbour reads too, where that is so.
    fn shared_constant(&mut self, v: Value) -> Option<VReg> {
        let ty = self.f.ty(v);
        if class(ty) != RegClass::Float {
            return None;
        }
        let before = self.kept.iter().chain(&self.keep).find(|(c, _)| *c == v).map(|(_, r)| *r);
        let again = self.next.is_some_and(|next| {
            let args = self.f.inst(next).args();
            args.iter().any(|a| root(self.f, *a) == v && self.f.ty(*a).bytes() == ty.bytes())
        });
        if before.is_none() && !again {
            return None;
        }
        let register = before.unwrap_or_else(|| self.constant(v));
        if again && !self.keep.iter().any(|(c, _)| *c == v) {
            self.keep.push((v, register));
        }
        Some(register)
    }

    /// A value's register.
    fn register(&mut self, v: Value) -> VReg {
        let v = root(self.f, v);
        if self.f.inst(v).op.is_constant() {
            return match self.shared_constant(v) {
                Some(register) => register,
                None => self.constant(v),
            };
        }
        if self.needs.inside[v.index()] {
            return match self.f.inst(v).op {
                Op::Cmp(_) => self.compared(v),
                _ => self.loaded(v),
            };
        }
        match self.registers[v.index()] {
            Some(register) => register,
            // Operands are written before what uses them.
            None => self.define(v),
        }
    }

    /// How instructions name a value of a type.
    fn form(ty: Ty) -> Form {
        match (ty.is_vector(), ty.lane.is_float(), ty.lane.bytes()) {
            (true, ..) => Form::V,
            (_, true, _) => Form::X,
            (.., 8) => Form::R64,
            _ => Form::R32,
        }
    }

    /// A constant in a new register.
    fn constant(&mut self, v: Value) -> VReg {
        let (op, ty) = (self.f.inst(v).op, self.f.ty(v));
        let register = self.fresh(class(ty));
        match op {
            Op::Int(c) if !ty.is_vector() => self.number(register, c, ty.lane.bytes() == 8),
            _ => {
                let form = Self::form(ty);
                let bytes = self.constant_bytes(v);
                if bytes.iter().all(|b| *b == 0) {
                    self.zero(register);
                } else if bytes.iter().all(|b| *b == 0xFF) && ty.is_vector() {
                    self.ones(register);
                } else {
                    let at = self.pool_place(bytes);
                    let load = Draft::new(codes::moves(ty).0).def(register, form).part(at);
                    self.push(load);
                }
            }
        }
        register
    }

    fn zero(&mut self, register: VReg) {
        let zero = Draft::new(Code::VEX_Vxorps_xmm_xmm_xmmm128).def(register, Form::X);
        self.push(zero.part(Part::Reg(0, Form::X)).part(Part::Reg(0, Form::X)));
    }

    fn ones(&mut self, register: VReg) {
        let of_itself = |code| {
            let itself = Part::Reg(0, Form::V);
            Draft::new(code).def(register, Form::V).part(itself).part(itself)
        };
        self.push(match self.machine.isa {
            Isa::Avx2 { .. } => of_itself(codes::compare_lanes(Lane::I32).0),
            // Every bit, whatever the three are.
            Isa::Avx512 => of_itself(Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8).imm8(0xFF),
        });
    }

    fn number(&mut self, register: VReg, c: i64, wide: bool) {
        let narrow = if wide { u32::try_from(c).ok() } else { Some(c as u32) };
        let draft = match (narrow, i32::try_from(c)) {
            (Some(c), _) => Draft::new(Code::Mov_r32_imm32)
                .def(register, Form::R32)
                .part(Part::Imm32(c as i32, Form::R32)),
            (_, Ok(c)) => {
                Draft::new(Code::Mov_rm64_imm32).def(register, Form::R64).part(Part::Imm32(c, Form::R64))
            }
            _ => Draft::new(Code::Mov_r64_imm64).def(register, Form::R64).part(Part::Imm64(c)),
        };
        self.push(draft);
    }

    /// The bytes of a constant vector; of a scalar, repeated.
    fn constant_bytes(&self, v: Value) -> Vec<u8> {
        let (op, lane) = (self.f.inst(v).op, self.f.ty(v).lane.bytes());
        match op {
            Op::Int(c) => self.repeated(c as u64, lane),
            Op::Float(bits) => self.repeated(bits, lane),
            Op::Bytes(n) => self.pool[n as usize].clone(),
            _ => self.repeated(0, lane),
        }
    }

    /// The low `lane` bytes of a word, over and over.
    fn repeated(&self, word: u64, lane: usize) -> Vec<u8> {
        let word = word.to_le_bytes();
        (0..self.machine.isa.vector_bytes()).map(|i| word[i % lane]).collect()
    }

    fn pool_place(&mut self, bytes: Vec<u8>) -> Part {
        let size = bytes.len() as u8;
        let n = self.pool.insert_full(bytes).0;
        Part::Mem(Mem {
            base: Base::Pool(n as u32),
            index: None,
            by_lanes: false,
            displacement: 0,
            bytes: size,
        })
    }

    /// Reads an operand as the last one of an instruction, from memory where it is there.
    pub(super) fn last(&mut self, mut draft: Draft, v: Value) -> Draft {
        let (source, form) = (root(self.f, v), Self::form(self.f.ty(v)));
        if self.f.inst(source).op.is_constant() {
            let bytes = self.constant_bytes(source);
            if bytes.iter().any(|b| *b != 0) {
                if let Some(register) = self.shared_constant(source) {
                    return draft.use_(register, form);
                }
                let place = self.pool_place(bytes);
                return draft.part(place);
            }
        } else if self.needs.inside[source.index()] && matches!(self.f.inst(source).op, Op::Load { .. }) {
            let place = self.place(&mut draft, source, Operand::reg_use);
            return draft.part(Part::Mem(place));
        }
        let register = self.register(v);
        draft.use_(register, form)
    }

    fn inst(&mut self, v: Value) {
        let op = self.f.inst(v).op;
        if let Op::Arg(n) = op {
            if n == 0 {
                self.args(v);
            }
            return;
        }
        if !self.is_made(v) {
            return;
        }
        if op == Op::Fence {
            self.push(Draft::new(Code::Sfence));
        } else if op.memory().is_some() {
            self.memory(v);
        } else if op.is_of_bits() {
            self.of_bits(v);
        } else if self.f.ty(v).is_vector() || self.f.ty(v).lane.is_float() || self.is_of_vectors(v) {
            self.vector(v);
        } else {
            self.general(v);
        }
    }

    /// Whether the operand is a float or a vector.
    fn is_of_vectors(&self, v: Value) -> bool {
        let inst = self.f.inst(v);
        let skipped = usize::from(inst.op == Op::Select);
        inst.args().get(skipped).is_some_and(|a| class(self.f.ty(*a)) == RegClass::Float)
    }

    /// Defines all parameters of the function.
    fn args(&mut self, first: Value) {
        let insts = &self.f.block(self.block).insts;
        let mut operands = Vec::new();
        for &v in insts.iter().skip_while(|v| **v != first) {
            if let Op::Arg(n) = self.f.inst(v).op {
                let register = self.define(v);
                operands.push(Operand::reg_fixed_def(register, general_register(ARGS[usize::from(n)])));
            }
        }
        self.machine.push(Kind::Args, &operands);
    }

    /// Sets the flags by a truth value: what they say where it holds.
    fn flags_of(&mut self, cond: Value) -> Condition {
        if self.needs.inside[cond.index()] && self.f.inst(cond).op.is_test() {
            return self.test_flags(cond);
        }
        if self.needs.inside[cond.index()]
            && let Op::Cmp(cmp) = self.f.inst(cond).op
            && let Some(cc) = self.compare_flags(cmp, cond)
        {
            return cc;
        }
        let truth = self.register(cond);
        let test = Draft::new(Code::Test_rm8_r8).use_(truth, Form::R8).use_(truth, Form::R8);
        self.push(test);
        Condition::Ne
    }

    /// Tests lanes: what the flags say where it holds.
    fn test_flags(&mut self, v: Value) -> Condition {
        let inst = *self.f.inst(v);
        let lanes = inst.args()[0];
        let (code, form) = match inst.op {
            Op::AnyTrue => (Code::VEX_Vptest_ymm_ymmm256, Form::V),
            _ => (codes::test_bits(self.f.ty(lanes).count), Form::K),
        };
        let from = self.register(lanes);
        self.push(Draft::new(code).use_(from, form).use_(from, form));
        if inst.op == Op::AllBits { Condition::B } else { Condition::Ne }
    }

    /// Tests lanes, for a truth value.
    fn tested(&mut self, v: Value) {
        let cc = self.test_flags(v);
        let to = self.define(v);
        let [set, ..] = codes::conditional(cc);
        self.push(Draft::new(set).def(to, Form::R8));
    }

    /// Compares two scalars; `None`, and nothing is done, where flags do not tell.
    fn compare_flags(&mut self, cmp: Cmp, v: Value) -> Option<Condition> {
        let (a, b) = (self.f.inst(v).args()[0], self.f.inst(v).args()[1]);
        let ty = self.f.ty(a);
        if !ty.lane.is_float() {
            return Some(self.compare_general(cmp, a, b));
        }
        // Of what is not ordered, "below" and "equal" are said.
        let cc = match cmp {
            Cmp::Lt => Condition::A,
            Cmp::Le => Condition::Ae,
            _ => return None,
        };
        let code = match ty.lane.bytes() {
            4 => Code::VEX_Vucomiss_xmm_xmmm32,
            _ => Code::VEX_Vucomisd_xmm_xmmm64,
        };
        let (a, b) = (self.register(a), self.register(b));
        let draft = Draft::new(code).use_(b, Form::X).use_(a, Form::X);
        self.push(draft);
        Some(cc)
    }
}

/// The kind of register that holds a value.
fn class(ty: Ty) -> RegClass {
    if ty.is_vector() || ty.lane.is_float() { RegClass::Float } else { RegClass::Int }
}

/// A use of a register in a fixed place.
fn fixed(v: VReg, number: usize) -> Operand {
    Operand::reg_fixed_use(v, PReg::new(number, RegClass::Int))
}

//! Machine instructions on registers that are not chosen yet, in the form that the register allocator takes.

use iced_x86::Code;
use regalloc2::{Block, Inst, InstRange, Operand, PReg, PRegSet, RegClass, VReg};

use super::codes::Condition;
use super::isa::Isa;

/// How an instruction names one of its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 8 bits of a general register.
    R8,
    R16,
    R32,
    R64,
    /// 128 bits of a vector register.
    X,
    /// A whole vector.
    V,
    /// The lower half of a vector.
    H,
    /// A register of a bit per lane.
    K,
}

/// The base of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// An operand's register.
    Operand(u8),
    /// A constant vector.
    Pool(u32),
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mem {
    pub(super) base: Base,
    /// An operand's register, times 1, 2, 4 or 8.
    pub(super) index: Option<(u8, u8)>,
    /// The index is a vector: each lane has an address of its own.
    pub(super) by_lanes: bool,
    pub(super) displacement: i32,
    /// How many bytes are meant; of a constant vector, at most; 0 where only the address is.
    pub(super) bytes: u8,
}

/// A part of an instruction, in the order of the manuals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An operand's register.
    Reg(u8, Form),
    /// The low byte of `rcx`.
    Cl,
    /// The instruction is done in the lanes whose bits an operand's register has; the others become zero, or stay.
    Masked {
        operand: u8,
        zero: bool,
    },
    Mem(Mem),
    Imm8(u8),
    /// 32 bits, for a register of 32 bits or sign-extended to 64.
    Imm32(i32, Form),
    Imm64(i64),
}

/// What a machine instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One instruction.
    Plain(Code, Vec<Part>),
    /// The function's parameters are defined.
    Args,
    /// Frees the frame and returns.
    Return,
    Jump,
    /// To the first successor where the flags say so.
    Branch(Condition),
    /// `rax / operand 2`: quotient in `rax`, remainder in `rdx`.
    Divide {
        signed: bool,
        wide: bool,
    },
    Exchange(Exchange),
}

/// Operand 0, `rax`, becomes the word at the address; it is replaced by what the instruction makes of it and operand 2.
/// Operand 1 is a register to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) op: Code,
    /// Where `op` compares: what takes operand 2.
    pub(super) cmov: Option<Code>,
    pub(super) wide: bool,
    pub(super) at: Mem,
}

/// An instruction and its operands in [`Machine::operands`].
#[derive(Clone, Debug)]
pub(super) struct MachineInst {
    pub(super) kind: Kind,
    operands: (u32, u32),
}

/// A block: instructions and ways out.
#[derive(Clone, Debug, Default)]
pub(super) struct MachineBlock {
    pub(super) insts: (u32, u32),
    pub(super) succs: Vec<Block>,
    pub(super) preds: Vec<Block>,
    pub(super) params: Vec<VReg>,
    /// What the parameters of each successor become.
    pub(super) args: Vec<Vec<VReg>>,
    /// Whether a later block jumps here.
    pub(super) is_loop: bool,
}

/// A function of machine instructions.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) insts: Vec<MachineInst>,
    operands: Vec<Operand>,
    /// In the order of the code.
    pub(super) blocks: Vec<MachineBlock>,
    registers: usize,
    pub(super) isa: Isa,
}

impl Machine {
    pub(super) fn new(isa: Isa) -> Machine {
        Machine { isa, insts: Vec::new(), operands: Vec::new(), blocks: Vec::new(), registers: 0 }
    }

    pub(super) fn register(&mut self, class: RegClass) -> VReg {
        self.registers += 1;
        VReg::new(self.registers - 1, class)
    }

    pub(super) fn push(&mut self, kind: Kind, operands: &[Operand]) {
        let start = self.operands.len() as u32;
        self.operands.extend_from_slice(operands);
        self.insts.push(MachineInst { kind, operands: (start, self.operands.len() as u32) });
    }

    /// Begins the next block.
    pub(super) fn start(&mut self, params: Vec<VReg>) {
        let first = self.insts.len() as u32;
        self.blocks.push(MachineBlock { insts: (first, first), params, ..MachineBlock::default() });
    }

    /// Ends the current block, after its last instruction.
    pub(super) fn end(&mut self, succs: Vec<(usize, Vec<VReg>)>) {
        let end = self.insts.len() as u32;
        if let Some(block) = self.blocks.last_mut() {
            block.insts.1 = end;
            for (to, args) in succs {
                block.succs.push(Block::new(to));
                block.args.push(args);
            }
        }
    }

    /// Fills in where blocks are come to from, after all were written.
    pub(super) fn connect(&mut self) {
        for n in 0..self.blocks.len() {
            for to in self.blocks[n].succs.clone() {
                let target = &mut self.blocks[to.index()];
                target.preds.push(Block::new(n));
                target.is_loop |= to.index() <= n;
            }
        }
    }
}

impl regalloc2::Function for Machine {
    fn num_insts(&self) -> usize {
        self.insts.len()
    }
    fn num_blocks(&self) -> usize {
        self.blocks.len()
    }
    fn entry_block(&self) -> Block {
        Block::new(0)
    }
    fn block_insns(&self, block: Block) -> InstRange {
        let (first, end) = self.blocks[block.index()].insts;
        InstRange::new(Inst::new(first as usize), Inst::new(end as usize))
    }
    fn block_succs(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].succs
    }
    fn block_preds(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].preds
    }
    fn block_params(&self, block: Block) -> &[VReg] {
        &self.blocks[block.index()].params
    }
    fn is_ret(&self, inst: Inst) -> bool {
        self.insts[inst.index()].kind == Kind::Return
    }
    fn is_branch(&self, inst: Inst) -> bool {
        matches!(self.insts[inst.index()].kind, Kind::Jump | Kind::Branch(_))
    }
    fn branch_blockparams(&self, block: Block, _: Inst, succ: usize) -> &[VReg] {
        &self.blocks[block.index()].args[succ]
    }
    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        let (start, end) = self.insts[inst.index()].operands;
        &self.operands[start as usize..end as usize]
    }
    fn inst_clobbers(&self, _: Inst) -> PRegSet {
        PRegSet::empty()
    }
    fn num_vregs(&self) -> usize {
        self.registers
    }
    fn spillslot_size(&self, class: RegClass) -> usize {
        match class {
            RegClass::Float => self.isa.vector_bytes() / 8,
            RegClass::Int | RegClass::Vector => 1,
        }
    }
}

/// A general register by its number in instructions.
pub(super) fn general(number: usize) -> PReg {
    PReg::new(number, RegClass::Int)
}

pub(super) const RAX: usize = 0;
pub(super) const RCX: usize = 1;
pub(super) const RDX: usize = 2;
/// Where the System V convention passes integers.
pub(super) const ARGS: [usize; 4] = [7, 6, RDX, RCX];
/// What the System V convention wants back as it was, but for `rbp`, which points to the frame.
pub(super) const SAVED: [usize; 5] = [3, 12, 13, 14, 15];

/// The registers that may be used.
pub(super) fn registers(isa: Isa) -> regalloc2::MachineEnv {
    let set = |class, numbers: &mut dyn Iterator<Item = usize>| {
        numbers.fold(PRegSet::empty(), |set, n| set.with(PReg::new(n, class)))
    };
    let free = [RAX, RCX, RDX, 6, 7, 8, 9, 10, 11];
    let none = PRegSet::empty();
    regalloc2::MachineEnv {
        preferred_regs_by_class: [
            set(RegClass::Int, &mut free.into_iter()),
            set(RegClass::Float, &mut (0..isa.vectors())),
            // The first one means all lanes.
            if isa == Isa::Avx512 { set(RegClass::Vector, &mut (1..8)) } else { none },
        ],
        non_preferred_regs_by_class: [set(RegClass::Int, &mut SAVED.into_iter()), none, none],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

//! Registers and bytes.

use std::cell::RefCell;
use std::collections::BTreeSet;

use iced_x86::{Code, Encoder, Instruction, OpKind, Register};
use regalloc2::{Allocation, Edit, InstOrEdit, Output, RegClass, RegallocOptions};

use super::codes;
use super::evex::evex;
use super::instruction::{self, Allocs, memory, plain};
use super::isa::Isa;
use super::mach::{Exchange, Form, Kind, Machine, Part, SAVED, registers};
use super::select::Selected;

/// Loops begin where the processor fetches well.
const LOOP_ALIGN: usize = 32;

/// The bytes of a function: its code, then its constants.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Length of the code.
    pub(super) code: usize,
    /// Bytes of the frame that spilled registers lie in.
    pub(super) frame: usize,
}

/// Chooses registers and encodes.
pub(super) fn encode(selected: &Selected) -> Result<Encoded, String> {
    let machine = &selected.machine;
    let environment = registers(machine.isa);
    let options = RegallocOptions { validate_ssa: cfg!(debug_assertions), ..RegallocOptions::default() };
    CONTEXT.with_borrow_mut(|context| {
        let output = regalloc2::run_with_ctx(machine, &environment, &options, context)
            .map_err(|e| format!("registers: {e}"))?;
        if cfg!(debug_assertions) {
            let mut checker = regalloc2::checker::Checker::new(machine, &environment);
            checker.prepare(output);
            checker.run().map_err(|e| format!("registers: {e:?}"))?;
        }
        let mut writer = Writer::new(selected, output);
        writer.function()?;
        Ok(writer.finish())
    })
}

thread_local! {
    /// Memory of the allocator: some hundred bytes an instruction, which the system would have to clear each time.
    static CONTEXT: RefCell<regalloc2::Ctx> = RefCell::default();
}

struct Writer<'s> {
    selected: &'s Selected,
    output: &'s Output,
    encoder: Encoder,
    bytes: Vec<u8>,
    /// Where each block begins.
    starts: Vec<usize>,
    /// The block that is meant by each: blocks that only jump on are passed over.
    meant: Vec<usize>,
    /// Ends of 32-bit distances to blocks.
    jumps: Vec<(usize, usize)>,
    /// Places of 32-bit distances to constants, and the ends of their instructions.
    constants: Vec<(usize, usize, u32)>,
    saved: Vec<usize>,
}

impl<'s> Writer<'s> {
    fn new(selected: &'s Selected, output: &'s Output) -> Writer<'s> {
        let blocks = selected.machine.blocks.len();
        let mut used = BTreeSet::new();
        let moved = output.edits.iter().flat_map(|(_, Edit::Move { from, to })| [*from, *to]);
        for register in output.allocs.iter().copied().chain(moved).filter_map(Allocation::as_reg) {
            if register.class() == RegClass::Int {
                used.insert(register.hw_enc());
            }
        }
        Writer {
            selected,
            output,
            encoder: Encoder::new(64),
            bytes: Vec::new(),
            starts: vec![0; blocks],
            meant: (0..blocks).collect(),
            jumps: Vec::new(),
            constants: Vec::new(),
            saved: SAVED.into_iter().filter(|n| used.contains(n)).collect(),
        }
    }

    fn machine(&self) -> &'s Machine {
        &self.selected.machine
    }

    fn isa(&self) -> Isa {
        self.machine().isa
    }

    fn function(&mut self) -> Result<(), String> {
        let blocks = self.machine().blocks.len();
        let contents: Vec<Vec<InstOrEdit<'s>>> = (0..blocks)
            .map(|n| {
                let block = regalloc2::Block::new(n);
                self.output.block_insts_and_edits(self.machine(), block).collect()
            })
            .collect();
        for (n, content) in contents.iter().enumerate() {
            if let [InstOrEdit::Inst(i)] = content[..]
                && self.machine().insts[i.index()].kind == Kind::Jump
            {
                self.meant[n] = self.machine().blocks[n].succs[0].index();
            }
        }
        for n in 0..blocks {
            let mut to = self.meant[n];
            // A loop of nothing but jumps means itself.
            for _ in 0..blocks {
                to = self.meant[to];
            }
            self.meant[n] = to;
        }
        self.enter()?;
        for (n, content) in contents.iter().enumerate() {
            // All that would go to a block that only jumps goes on.
            if self.meant[n] != n && n > 0 {
                continue;
            }
            if self.machine().blocks[n].is_loop {
                self.align();
            }
            self.starts[n] = self.bytes.len();
            for item in content {
                match item {
                    InstOrEdit::Edit(Edit::Move { from, to }) => self.copy(*from, *to)?,
                    InstOrEdit::Inst(i) => {
                        self.inst(n, &self.machine().insts[i.index()].kind, self.output.inst_allocs(*i))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Encoded {
        let (code, frame) = (self.bytes.len(), self.frame() as usize);
        let size = self.isa().vector_bytes();
        self.bytes.resize(code.next_multiple_of(size), 0xCC);
        let first = self.bytes.len();
        for constant in &self.selected.pool {
            self.bytes.extend_from_slice(constant);
        }
        for &(end, block) in &self.jumps {
            let distance = self.starts[block] as i64 - end as i64;
            self.bytes[end - 4..end].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        for &(place, end, n) in &self.constants {
            let distance = (first + n as usize * size) as i64 - end as i64;
            self.bytes[place..place + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        Encoded { bytes: self.bytes, code, frame }
    }

    fn put(&mut self, instruction: &Instruction) -> Result<(), String> {
        let at = self.bytes.len() as u64;
        let length =
            self.encoder.encode(instruction, at).map_err(|e| format!("{:?}: {e}", instruction.code()))?;
        let mut bytes = self.encoder.take_buffer();
        self.bytes.append(&mut bytes);
        debug_assert_eq!(self.bytes.len() as u64, at + length as u64);
        Ok(())
    }

    fn put_new(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) -> Result<(), String> {
        let instruction = instruction.map_err(|e| e.to_string())?;
        self.put(&instruction)
    }

    fn jump(&mut self, code: Code, to: usize) -> Result<(), String> {
        self.put_new(Instruction::with_branch(code, 0))?;
        self.jumps.push((self.bytes.len(), to));
        Ok(())
    }

    fn align(&mut self) {
        const NOPS: [&[u8]; 8] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0F, 0x1F, 0x00],
            &[0x0F, 0x1F, 0x40, 0x00],
            &[0x0F, 0x1F, 0x44, 0x00, 0x00],
            &[0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
            &[0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut missing = self.bytes.len().next_multiple_of(LOOP_ALIGN) - self.bytes.len();
        while missing > 0 {
            let step = missing.min(NOPS.len());
            self.bytes.extend_from_slice(NOPS[step - 1]);
            missing -= step;
        }
    }

    /// Bytes of spilled registers.
    fn frame(&self) -> i32 {
        let bytes = 8 * self.output.num_spillslots;
        bytes.next_multiple_of(self.isa().vector_bytes()) as i32
    }

    fn has_frame(&self) -> bool {
        self.frame() > 0 || !self.saved.is_empty()
    }

    fn enter(&mut self) -> Result<(), String> {
        if !self.has_frame() {
            return Ok(());
        }
        use Register::{RBP, RSP};
        self.put_new(Instruction::with1(Code::Push_r64, RBP))?;
        self.put_new(Instruction::with2(Code::Mov_r64_rm64, RBP, RSP))?;
        for n in self.saved.clone() {
            self.put_new(Instruction::with1(Code::Push_r64, self.register(n, Form::R64)))?;
        }
        if self.frame() > 0 {
            let align = -(self.isa().vector_bytes() as i32);
            self.put_new(Instruction::with2(Code::Sub_rm64_imm32, RSP, self.frame()))?;
            self.put_new(Instruction::with2(Code::And_rm64_imm32, RSP, align))?;
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), String> {
        use Register::{RBP, RSP};
        self.put(&Instruction::with(Code::VEX_Vzeroupper))?;
        if self.has_frame() {
            let mut back = plain(Code::Lea_r64_m);
            back.set_op0_register(RSP);
            memory(&mut back, 1, RBP, None, -8 * self.saved.len() as i64);
            self.put(&back)?;
            for n in self.saved.clone().into_iter().rev() {
                self.put_new(Instruction::with1(Code::Pop_r64, self.register(n, Form::R64)))?;
            }
            self.put_new(Instruction::with1(Code::Pop_r64, RBP))?;
        }
        self.put(&Instruction::with(Code::Retnq))
    }

    /// What the register allocator moves.
    fn copy(&mut self, from: Allocation, to: Allocation) -> Result<(), String> {
        let class = [from, to].into_iter().find_map(|a| a.as_reg()).map_or(RegClass::Int, |r| r.class());
        let (load, store, form) = match class {
            RegClass::Int => (Code::Mov_r64_rm64, Code::Mov_rm64_r64, Form::R64),
            RegClass::Float => (Code::VEX_Vmovaps_ymm_ymmm256, Code::VEX_Vmovaps_ymmm256_ymm, Form::V),
            RegClass::Vector => (Code::VEX_Kmovq_kr_km64, Code::VEX_Kmovq_m64_kr, Form::K),
        };
        let (load, store) = match self.isa() {
            Isa::Avx2 { .. } => (load, store),
            Isa::Avx512 => (evex(load), evex(store)),
        };
        let slot = |a: Allocation| a.as_stack().map_or(0, |s| 8 * s.index() as i64);
        match (from.as_reg(), to.as_reg()) {
            (Some(from), Some(to)) => {
                let (from, to) = (self.register(from.hw_enc(), form), self.register(to.hw_enc(), form));
                self.put_new(Instruction::with2(load, to, from))
            }
            (Some(from), None) => {
                let mut instruction = plain(store);
                memory(&mut instruction, 0, Register::RSP, None, slot(to));
                instruction.set_op_kind(1, OpKind::Register);
                instruction.set_op1_register(self.register(from.hw_enc(), form));
                self.put(&instruction)
            }
            (None, Some(to)) => {
                let mut instruction = plain(load);
                instruction.set_op0_register(self.register(to.hw_enc(), form));
                memory(&mut instruction, 1, Register::RSP, None, slot(from));
                self.put(&instruction)
            }
            (None, None) => Err("a move from memory to memory".to_owned()),
        }
    }

    fn inst(&mut self, block: usize, kind: &Kind, allocs: Allocs<'_>) -> Result<(), String> {
        match kind {
            Kind::Args => Ok(()),
            Kind::Return => self.leave(),
            Kind::Plain(code, parts) => self.plain(*code, parts, allocs, false),
            Kind::Jump => {
                let to = self.meant[self.machine().blocks[block].succs[0].index()];
                if to == self.next(block) { Ok(()) } else { self.jump(Code::Jmp_rel32_64, to) }
            }
            Kind::Branch(cc) => {
                let succs = &self.machine().blocks[block].succs;
                let (then, otherwise) = (self.meant[succs[0].index()], self.meant[succs[1].index()]);
                let next = self.next(block);
                if then == next {
                    let [.., jump] = codes::conditional(codes::opposite(*cc));
                    return self.jump(jump, otherwise);
                }
                let [.., jump] = codes::conditional(*cc);
                self.jump(jump, then)?;
                if otherwise == next { Ok(()) } else { self.jump(Code::Jmp_rel32_64, otherwise) }
            }
            Kind::Divide { signed, wide } => {
                use Register::{EDX, RDX};
                let divisor = self.allocated(allocs, 2, if *wide { Form::R64 } else { Form::R32 });
                match (signed, wide) {
                    (true, true) => {
                        self.put(&Instruction::with(Code::Cqo))?;
                        self.put_new(Instruction::with1(Code::Idiv_rm64, divisor))
                    }
                    (true, false) => {
                        self.put(&Instruction::with(Code::Cdq))?;
                        self.put_new(Instruction::with1(Code::Idiv_rm32, divisor))
                    }
                    (false, wide) => {
                        self.put_new(Instruction::with2(Code::Xor_r32_rm32, EDX, EDX))?;
                        debug_assert_eq!(self.allocated(allocs, 1, Form::R64), RDX);
                        let code = if *wide { Code::Div_rm64 } else { Code::Div_rm32 };
                        self.put_new(Instruction::with1(code, divisor))
                    }
                }
            }
            Kind::Exchange(exchange) => self.exchange(*exchange, allocs),
        }
    }

    /// The next block that has code.
    fn next(&self, block: usize) -> usize {
        let blocks = self.machine().blocks.len();
        (block + 1..blocks).find(|n| self.meant[*n] == *n).unwrap_or(blocks)
    }

    fn exchange(&mut self, exchange: Exchange, allocs: Allocs<'_>) -> Result<(), String> {
        let Exchange { op, cmov, wide, at } = exchange;
        let form = if wide { Form::R64 } else { Form::R32 };
        let (found, new, value) = (0, 1, 2);
        let (load, copy, swap) = match wide {
            true => (Code::Mov_r64_rm64, Code::Mov_r64_rm64, Code::Cmpxchg_rm64_r64),
            false => (Code::Mov_r32_rm32, Code::Mov_r32_rm32, Code::Cmpxchg_rm32_r32),
        };
        self.plain(load, &[Part::Reg(found, form), Part::Mem(at)], allocs, false)?;
        let again = self.bytes.len();
        self.plain(copy, &[Part::Reg(new, form), Part::Reg(found, form)], allocs, false)?;
        match cmov {
            None => self.plain(op, &[Part::Reg(new, form), Part::Reg(value, form)], allocs, false)?,
            Some(cmov) => {
                self.plain(op, &[Part::Reg(value, form), Part::Reg(new, form)], allocs, false)?;
                self.plain(cmov, &[Part::Reg(new, form), Part::Reg(value, form)], allocs, false)?;
            }
        }
        self.plain(swap, &[Part::Mem(at), Part::Reg(new, form)], allocs, true)?;
        self.put_new(Instruction::with_branch(Code::Jne_rel8_64, again as u64))
    }

    fn plain(&mut self, code: Code, parts: &[Part], allocs: Allocs<'_>, lock: bool) -> Result<(), String> {
        let (mut instruction, constant) = instruction::of(self.isa(), code, parts, allocs);
        let locked = lock || matches!(code, Code::Xadd_rm32_r32 | Code::Xadd_rm64_r64);
        instruction.set_has_lock_prefix(locked);
        let start = self.bytes.len();
        self.put(&instruction)?;
        if let Some(pool) = constant {
            let place = start + self.encoder.get_constant_offsets().displacement_offset();
            self.constants.push((place, self.bytes.len(), pool));
        }
        Ok(())
    }

    /// An operand's register.
    fn allocated(&self, allocs: Allocs<'_>, operand: u8, form: Form) -> Register {
        instruction::allocated(self.isa(), allocs, operand, form)
    }

    /// A register by its number in instructions.
    fn register(&self, n: usize, form: Form) -> Register {
        instruction::register(self.isa(), n, form)
    }
}

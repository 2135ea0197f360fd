//! One machine instruction on registers to be chosen, against what the encoder knows of it: for registers that could be
//! chosen it is encoded, and its accesses are compared with what the allocator is told.

use iced_x86::{
    Code, Encoder, EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use regalloc2::{Allocation, Operand, OperandConstraint, OperandKind, OperandPos, PReg, RegClass};

use super::super::instruction;
use super::super::isa::Isa;
use super::super::mach::{ARGS, Base, Exchange, Form, Kind, Mem, Part, RAX, RDX, general};
use super::super::select::Selected;
use super::{Broken, Rule, Set, hold};

/// General registers that no instruction has without naming them.
const GENERAL: [usize; 10] = [3, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/// What checks instructions.
pub(super) struct Instructions<'s> {
    selected: &'s Selected,
    set: Set,
    encoder: Encoder,
    info: InstructionInfoFactory,
}

impl<'s> Instructions<'s> {
    pub(super) fn new(selected: &'s Selected, set: Set) -> Instructions<'s> {
        Instructions { selected, set, encoder: Encoder::new(64), info: InstructionInfoFactory::new() }
    }

    fn isa(&self) -> Isa {
        self.selected.machine.isa
    }

    /// Checks an instruction.
    pub(super) fn check(&mut self, kind: &Kind, operands: &[Operand]) -> Result<(), Broken> {
        match kind {
            Kind::Plain(code, parts) => self.plain(*code, parts, operands),
            Kind::Args => {
                let fits = operands.iter().all(|o| {
                    let fixed = ARGS.map(|n| OperandConstraint::FixedReg(general(n)));
                    is_def(o) && fixed.contains(&o.constraint())
                });
                hold(fits, Rule::Fixed, || "parameters are elsewhere".to_owned())
            }
            Kind::Return | Kind::Jump | Kind::Branch(_) => {
                hold(operands.is_empty(), Rule::Count, || "it has no operands".to_owned())
            }
            Kind::Divide { .. } => {
                let fixed = |n| OperandConstraint::FixedReg(general(n));
                let fits = matches!(operands, [quotient, remainder, divisor, dividend]
                    if is_def(quotient) && quotient.constraint() == fixed(RAX)
                    && is_def(remainder) && remainder.constraint() == fixed(RDX)
                    && is_late_use(divisor) && divisor.constraint() == OperandConstraint::Reg
                    && !is_def(dividend) && dividend.constraint() == fixed(RAX));
                hold(fits, Rule::Fixed, || "a division is in rax and rdx".to_owned())
            }
            Kind::Exchange(exchange) => self.exchange(*exchange, operands),
        }
    }

    /// The registers of an instruction, chosen so that they differ; with `high`, those that only AVX-512 has.
    fn chosen(&self, operands: &[Operand], high: bool) -> Vec<Allocation> {
        let mut used = [0; 3];
        let mut chosen: Vec<Option<PReg>> = operands
            .iter()
            .map(|o| {
                let class = o.class();
                let n = &mut used[class as usize];
                *n += 1;
                match o.constraint() {
                    OperandConstraint::FixedReg(fixed) => Some(fixed),
                    OperandConstraint::Reuse(_) => None,
                    _ => Some(PReg::new(
                        match class {
                            RegClass::Int => GENERAL[*n % GENERAL.len()],
                            RegClass::Float if high => 16 + *n,
                            RegClass::Float => *n,
                            RegClass::Vector => 1 + *n % 7,
                        },
                        class,
                    )),
                }
            })
            .collect();
        for (n, o) in operands.iter().enumerate() {
            if let OperandConstraint::Reuse(of) = o.constraint() {
                chosen[n] = chosen.get(of).copied().flatten();
            }
        }
        chosen.into_iter().map(|p| p.map_or(Allocation::none(), Allocation::reg)).collect()
    }

    /// An instruction on such registers.
    pub(super) fn example(&self, code: Code, parts: &[Part], operands: &[Operand]) -> Instruction {
        instruction::of(self.isa(), code, parts, &self.chosen(operands, false)).0
    }

    fn plain(&mut self, code: Code, parts: &[Part], operands: &[Operand]) -> Result<(), Broken> {
        let named = |part: &Part| match *part {
            Part::Reg(n, form) => Some((n, form_class(form))),
            Part::Masked { operand, .. } => Some((operand, RegClass::Vector)),
            _ => None,
        };
        let address = |part: &Part| match *part {
            Part::Mem(Mem { base, index, by_lanes, .. }) => {
                let base = if let Base::Operand(n) = base { Some(n) } else { None };
                let class = if by_lanes { RegClass::Float } else { RegClass::Int };
                [base.map(|n| (n, RegClass::Int)), index.map(|(n, _)| (n, class))]
            }
            _ => [None, None],
        };
        for (n, class) in parts.iter().flat_map(|p| address(p).into_iter().chain([named(p)])).flatten() {
            let operand = operands.get(usize::from(n));
            hold(operand.is_some(), Rule::Count, || format!("it has no operand {n}"))?;
            hold(operand.is_some_and(|o| o.class() == class), Rule::Class, || {
                format!("operand {n} is named as {class:?}")
            })?;
        }
        let count = parts.iter().filter(|p| !matches!(p, Part::Masked { .. })).count();
        let taken = code.op_code().op_count() as usize;
        hold(taken == count, Rule::Count, || format!("{code:?} takes {taken} operands, not {count}"))?;
        for part in parts {
            let Part::Mem(Mem { index: Some((_, scale)), .. }) = part else { continue };
            let known = matches!(scale, 1 | 2 | 4 | 8);
            hold(known, Rule::Range, || format!("{code:?} has an index times {scale}"))?;
        }
        let registers: &[bool] = if self.isa() == Isa::Avx512 { &[false, true] } else { &[false] };
        for &high in registers {
            let allocs = self.chosen(operands, high);
            let (instruction, _) = instruction::of(self.isa(), code, parts, &allocs);
            self.encoded(&instruction, parts)?;
            self.accesses(&instruction, parts, operands, &allocs)?;
        }
        parts.iter().try_for_each(|part| match part {
            Part::Mem(at) => self.memory(code, parts, operands, *at),
            _ => Ok(()),
        })
    }

    /// Whether the set has the instruction and it takes such operands.
    fn encoded(&mut self, instruction: &Instruction, parts: &[Part]) -> Result<(), Broken> {
        let (code, set) = (instruction.code(), self.set);
        let lacking = code.cpuid_features().iter().find(|f| !set.has(**f));
        hold(lacking.is_none(), Rule::Set, || format!("{code:?} is of {lacking:?}, not of {set:?}"))?;
        let known = code.op_code();
        let masks: Vec<bool> = parts
            .iter()
            .filter_map(|p| if let Part::Masked { zero, .. } = p { Some(*zero) } else { None })
            .collect();
        let masked = match masks[..] {
            [] => !known.require_op_mask_register(),
            [zero] => {
                set.isa == Isa::Avx512
                    && known.can_use_op_mask_register()
                    && (!zero
                        || known.can_use_zeroing_masking() && instruction.op0_kind() == OpKind::Register)
            }
            _ => false,
        };
        hold(masked, Rule::Form, || format!("{code:?} is not masked so"))?;
        let encoded = self.encoder.encode(instruction, 0);
        let _ = self.encoder.take_buffer();
        encoded.map_err(|e| Broken { rule: Rule::Form, what: format!("{code:?}: {e}") })?;
        Ok(())
    }

    /// Whether the instruction reads and writes what the allocator is told.
    fn accesses(
        &mut self,
        instruction: &Instruction,
        parts: &[Part],
        operands: &[Operand],
        allocs: &[Allocation],
    ) -> Result<(), Broken> {
        let code = instruction.code();
        let itself = makes_of_nothing(instruction);
        let info = self.info.info(instruction);
        let mut n = 0;
        for part in parts {
            if let Part::Masked { .. } = part {
                continue;
            }
            let access = info.op_access(n);
            n += 1;
            let Part::Reg(operand, _) = *part else { continue };
            let operand = &operands[usize::from(operand)];
            // A bit scan leaves its result as it was where there is no bit; a choice by the flags follows.
            let scan = instruction.mnemonic() == Mnemonic::Bsr && access == OpAccess::CondWrite;
            let reads = !matches!(access, OpAccess::None | OpAccess::Write) && !scan;
            let writes = !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead);
            let changes = matches!(operand.constraint(), OperandConstraint::Reuse(_));
            let (may_read, may_write) = (!is_def(operand) || changes || itself, is_def(operand));
            hold(may_read || !reads, Rule::Access, || format!("{code:?} reads {operand}"))?;
            hold(may_write || !writes, Rule::Access, || format!("{code:?} writes {operand}"))?;
        }
        let names = |register: Register| {
            let full = register.full_register();
            let mut given = allocs.iter().zip(operands).filter_map(|(a, o)| {
                let form = match o.class() {
                    RegClass::Int => Form::R64,
                    RegClass::Float => Form::X,
                    RegClass::Vector => Form::K,
                };
                Some(instruction::register(self.selected.machine.isa, a.as_reg()?.hw_enc(), form))
            });
            given.any(|g| g.full_register() == full)
        };
        let hidden = info.used_registers().iter().map(|u| u.register()).find(|r| !names(*r));
        hold(hidden.is_none(), Rule::Access, || {
            format!("{code:?} has {hidden:?}, of which the allocator does not know")
        })
    }

    /// Whether an access is of the bytes that are meant.
    fn memory(&self, code: Code, parts: &[Part], operands: &[Operand], at: Mem) -> Result<(), Broken> {
        let instruction = self.example(code, parts, operands);
        let size = instruction.memory_size().size();
        let what = || format!("{code:?} is of {size} bytes, not of {}", at.bytes);
        match at.base {
            Base::Pool(n) => {
                let constant = self.selected.pool.get_index(n as usize).map_or(0, Vec::len);
                hold(constant == self.isa().vector_bytes(), Rule::Range, || {
                    format!("constant {n} has {constant} bytes")
                })?;
                let plain = at.index.is_none() && at.displacement == 0;
                hold(plain && size <= at.bytes.into() && size <= constant, Rule::Memory, what)
            }
            Base::Operand(_) => {
                // An address that is only added up has no bytes.
                let lea = instruction.mnemonic() == Mnemonic::Lea;
                hold(if lea { at.bytes == 0 } else { size == usize::from(at.bytes) }, Rule::Memory, what)
            }
        }
    }

    /// An atomic operation in a loop.
    fn exchange(&mut self, exchange: Exchange, operands: &[Operand]) -> Result<(), Broken> {
        let Exchange { op, cmov, wide, at } = exchange;
        let all = |o: &Operand| o.class() == RegClass::Int;
        let fits = matches!(operands, [found, work, rest @ ..]
            if is_def(found) && found.constraint() == OperandConstraint::FixedReg(general(RAX))
            && is_def(work) && work.pos() == OperandPos::Early
            // All are read again after the result's register was written.
            && rest.iter().all(is_late_use) && operands.iter().all(all));
        hold(fits, Rule::Fixed, || "an exchange is in rax".to_owned())?;
        let count = match at.base {
            Base::Operand(_) => 4 + usize::from(at.index.is_some()),
            Base::Pool(_) => usize::MAX,
        };
        hold(operands.len() == count, Rule::Count, || format!("it has {} operands", operands.len()))?;
        let bytes = if wide { 8 } else { 4 };
        hold(at.bytes == bytes, Rule::Memory, || format!("an exchange of {bytes} bytes, not {}", at.bytes))?;
        let form = if wide { Form::R64 } else { Form::R32 };
        let parts = [Part::Reg(0, form), Part::Reg(1, form)];
        let plain = [op].into_iter().chain(cmov).all(|code| {
            let (example, _) = instruction::of(self.isa(), code, &parts, &self.chosen(operands, false));
            let encoded = self.encoder.encode(&example, 0).is_ok();
            let _ = self.encoder.take_buffer();
            encoded && code.op_code().encoding() == EncodingKind::Legacy
        });
        hold(plain, Rule::Form, || format!("{op:?}, {cmov:?} are not of {form:?}"))
    }
}

fn is_def(o: &Operand) -> bool {
    o.kind() == OperandKind::Def
}

fn is_late_use(o: &Operand) -> bool {
    !is_def(o) && o.pos() == OperandPos::Late
}

/// The kind of register that a form names.
fn form_class(form: Form) -> RegClass {
    match form {
        Form::R8 | Form::R16 | Form::R32 | Form::R64 => RegClass::Int,
        Form::X | Form::V | Form::H => RegClass::Float,
        Form::K => RegClass::Vector,
    }
}

/// Whether the result is the same whatever the registers hold: differences of a register with itself, all ones.
fn makes_of_nothing(instruction: &Instruction) -> bool {
    let [a, b, c] = [0, 1, 2].map(|n| (n < instruction.op_count()).then(|| instruction.op_register(n)));
    let same = a == b && b == c;
    match instruction.mnemonic() {
        Mnemonic::Vxorps | Mnemonic::Vpcmpeqd => same,
        Mnemonic::Vpternlogd => same && instruction.immediate8() == 0xFF,
        _ => false,
    }
}

//! What machine code asks of a processor: registers, the frame, and for each innermost loop the instructions of a pass by
//! kind, with the fewest cycles that its busiest part needs for them.
//!
//! The model is that of cores since Ice Lake and Zen 4, in instructions a cycle: 6 begin, 2 load, 2 work on vectors (of 512
//! bits; more on shorter ones, which is not counted), 1 stores, 1 moves elements between the lanes of 512 bits (of fewer, 2).
//! Divisions and roots take the cycles that uops.info measured for them on Ice Lake.

use std::collections::BTreeSet;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};

/// What the code of a kernel asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Bytes of its instructions.
    pub code: usize,
    /// Vector registers that it uses.
    pub vectors: usize,
    /// General registers that it uses, the stack's among them.
    pub general: usize,
    /// Bytes of its frame, which spilled registers lie in.
    pub frame: usize,
    /// Its innermost loops, in the order of their places.
    pub loops: Vec<LoopPressure>,
}

/// What a pass of an innermost loop asks: of all that stands in it, whichever way it takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopPressure {
    /// The place of its first instruction, in bytes.
    pub at: usize,
    /// Instructions.
    pub instructions: usize,
    /// Those that work on vectors or floats, loads and stores apart.
    pub arithmetic: usize,
    /// Those of them that move elements between lanes.
    pub shuffles: usize,
    /// Reads of memory; of a gather, one an element.
    pub loads: usize,
    /// Writes to memory.
    pub stores: usize,
    /// Reads and writes of spilled registers, which are counted above as well.
    pub spills: usize,
    /// Cycles of divisions and roots.
    pub dividing: f64,
    /// The fewest cycles.
    pub cycles: f64,
    /// What takes them.
    pub bound: &'static str,
}

/// Looks at the instructions of a kernel whose frame has so many bytes.
pub(super) fn of(code: &[u8], frame: usize) -> Pressure {
    let all: Vec<Instruction> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().collect();
    let mut info = InstructionInfoFactory::new();
    let mut registers: BTreeSet<Register> = BTreeSet::new();
    for instruction in &all {
        registers
            .extend(info.info(instruction).used_registers().iter().map(|r| r.register().full_register()));
    }
    let count = |is: fn(Register) -> bool| registers.iter().filter(|r| is(**r)).count();
    Pressure {
        code: code.len(),
        vectors: count(Register::is_vector_register),
        general: count(Register::is_gpr),
        frame,
        loops: innermost(&all).into_iter().map(|(a, b)| pass(&all[a..=b], &mut info)).collect(),
    }
}

/// First and last instruction of each loop that has no other inside.
fn innermost(all: &[Instruction]) -> Vec<(usize, usize)> {
    let back = |(n, i): (usize, &Instruction)| {
        let jumps =
            matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
        let to = i.near_branch_target();
        if !jumps || to > i.ip() {
            return None;
        }
        all.binary_search_by_key(&to, Instruction::ip).ok().map(|first| (first, n))
    };
    let mut loops: Vec<(usize, usize)> = all.iter().enumerate().filter_map(back).collect();
    let outer = loops.clone();
    loops.retain(|(a, b)| !outer.iter().any(|(c, d)| (c, d) != (a, b) && a <= c && d <= b));
    loops
}

/// What the instructions of a loop ask.
fn pass(body: &[Instruction], info: &mut InstructionInfoFactory) -> LoopPressure {
    let mut out = LoopPressure {
        at: body.first().map_or(0, |i| i.ip() as usize),
        instructions: body.iter().filter(|i| i.mnemonic() != Mnemonic::Nop).count(),
        ..LoopPressure::default()
    };
    let mut moving = 0.0;
    for instruction in body {
        let used = info.info(instruction);
        for memory in used.used_memory() {
            let elements = if memory.index().is_vector_register() { lanes(instruction) } else { 1 };
            let reads =
                !matches!(memory.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::NoMemAccess);
            let writes =
                !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            out.loads += if reads { elements } else { 0 };
            out.stores += if writes { elements } else { 0 };
            out.spills += usize::from(memory.base() == Register::RSP);
        }
        let name = format!("{:?}", instruction.mnemonic());
        if is_arithmetic(instruction, &name) {
            out.arithmetic += 1;
            out.dividing += dividing(instruction, &name);
            if is_shuffle(instruction, &name) {
                out.shuffles += 1;
                moving += if bits(instruction) == 512 { 1.0 } else { 0.5 };
            }
        }
    }
    let count = |n: usize| n as f64;
    let bounds = [
        (count(out.arithmetic) / 2.0, "vector arithmetic"),
        (count(out.loads) / 2.0, "loads"),
        (count(out.stores), "stores"),
        (moving, "shuffles"),
        (out.dividing, "division"),
        (count(out.instructions) / 6.0, "instructions"),
    ];
    for (cycles, bound) in bounds {
        if cycles > out.cycles {
            (out.cycles, out.bound) = (cycles, bound);
        }
    }
    out
}

/// Bits of the widest vector that an instruction names.
fn bits(instruction: &Instruction) -> usize {
    let registers = (0..instruction.op_count()).map(|n| instruction.op_register(n));
    registers.filter(|r| r.is_vector_register()).map(|r| 8 * r.size()).max().unwrap_or(0)
}

/// Elements of 32 bits, or of 64, that a gather or scatter has an index for.
fn lanes(instruction: &Instruction) -> usize {
    let wide = format!("{:?}", instruction.mnemonic()).contains('q');
    bits(instruction) / if wide { 64 } else { 32 }
}

/// Whether it works on vectors or floats, and not on memory alone.
fn is_arithmetic(instruction: &Instruction, name: &str) -> bool {
    let moves = ["Vmova", "Vmovu", "Vmovdq", "Vmovss", "Vmovsd", "Vmovnt", "Vzeroupper"];
    let of_memory = |what: &str| name.starts_with(what) && has_memory(instruction);
    name.starts_with('V')
        && !moves.iter().any(|m| name.starts_with(m))
        // Loads spread an element by themselves, and put it into one half of a vector.
        && !of_memory("Vbroadcast")
        && !of_memory("Vpbroadcast")
}

fn has_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|n| instruction.op_kind(n) == iced_x86::OpKind::Memory)
}

/// Whether it moves elements from lane to lane.
fn is_shuffle(instruction: &Instruction, name: &str) -> bool {
    const NAMES: [&str; 17] = [
        "Vperm",
        "Vpmultishift",
        "Vpshuf",
        "Vshuf",
        "Vunpck",
        "Vpunpck",
        "Vinsert",
        "Vpinsr",
        "Vextract",
        "Vpextr",
        "Vpalignr",
        "Valign",
        "Vbroadcast",
        "Vpbroadcast",
        "Vpack",
        "Vpcompress",
        "Vpmov",
    ];
    // Masks of lanes are no vectors.
    let of_mask = matches!(instruction.op0_register(), r if r.is_k());
    !of_mask && NAMES.iter().any(|n| name.starts_with(n))
}

/// Cycles between two divisions or roots.
fn dividing(instruction: &Instruction, name: &str) -> f64 {
    let table: [(&str, [f64; 3]); 8] = [
        ("Vdivps", [3.0, 5.0, 10.0]),
        ("Vdivss", [3.0, 3.0, 3.0]),
        ("Vdivpd", [4.0, 8.0, 16.0]),
        ("Vdivsd", [4.0, 4.0, 4.0]),
        ("Vsqrtps", [3.0, 6.0, 12.0]),
        ("Vsqrtss", [3.0, 3.0, 3.0]),
        ("Vsqrtpd", [4.5, 9.0, 18.0]),
        ("Vsqrtsd", [4.5, 4.5, 4.5]),
    ];
    let width = match bits(instruction) {
        512 => 2,
        256 => 1,
        _ => 0,
    };
    table.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, cycles)| cycles[width])
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Encoder, IcedError, MemoryOperand, Register::*};

    use super::*;

    /// A loop inside another, of which only the inner one counts; a spilled register, a division.
    fn encoded() -> Result<Vec<u8>, IcedError> {
        let of = MemoryOperand::with_base;
        let (load, store) = (Code::EVEX_Vmovups_zmm_k1z_zmmm512, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
        let straight = [
            Instruction::with2(load, ZMM0, of(RDI))?,
            Instruction::with2(load, ZMM1, of(RSP))?,
            Instruction::with3(Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, ZMM0, ZMM1, of(RSI))?,
            Instruction::with3(Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32, ZMM2, ZMM3, ZMM0)?,
            Instruction::with3(Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, ZMM2, ZMM2, ZMM0)?,
            Instruction::with2(store, of(RDI), ZMM2)?,
        ];
        let mut encoder = Encoder::new(64);
        let (mut at, mut inner) = (0, 0);
        for (n, instruction) in straight.iter().enumerate() {
            inner = if n == 1 { at } else { inner };
            at += encoder.encode(instruction, at)? as u64;
        }
        for (counter, target) in [(RCX, inner), (RDX, 0)] {
            at += encoder.encode(&Instruction::with1(Code::Dec_rm64, counter)?, at)? as u64;
            at += encoder.encode(&Instruction::with_branch(Code::Jne_rel32_64, target)?, at)? as u64;
        }
        encoder.encode(&Instruction::with(Code::Retnq), at)?;
        Ok(encoder.take_buffer())
    }

    #[test]
    fn a_pass_is_counted() {
        let found = of(&encoded().expect("encodes"), 128);
        assert_eq!((found.vectors, found.frame, found.loops.len()), (4, 128, 1));
        let pass = &found.loops[0];
        assert_eq!((pass.instructions, pass.arithmetic, pass.shuffles), (7, 3, 1));
        assert_eq!((pass.loads, pass.stores, pass.spills), (2, 1, 1));
        assert_eq!((pass.cycles, pass.bound), (10.0, "division"));
    }
}

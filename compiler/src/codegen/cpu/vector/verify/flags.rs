//! Flags within blocks: what asks them must find those of the comparison that was made for it.

use iced_x86::{Mnemonic, RflagsBits};
use regalloc2::{Function as _, Inst};

use super::super::codes;
use super::super::mach::{Form, Kind, Machine, Part};
use super::instruction::Instructions;
use super::machine::{insts, name};
use super::{Broken, Rule, hold};

/// Checks a block; no flags live from one to the next.
pub(super) fn flags(
    machine: &Machine,
    block: usize,
    instructions: &mut Instructions<'_>,
) -> Result<(), Broken> {
    // What last changed them, which of them it defined, and whether they were asked for.
    let mut last: Option<(usize, u32, bool)> = None;
    for i in insts(machine, block) {
        let operands = machine.inst_operands(Inst::new(i));
        let (reads, changes, undefined, compares) = match &machine.insts[i].kind {
            Kind::Plain(code, parts) => {
                let example = instructions.example(*code, parts, operands);
                let compares = compares(example.mnemonic());
                (example.rflags_read(), example.rflags_modified(), example.rflags_undefined(), compares)
            }
            Kind::Branch(cc) => {
                let [set, ..] = codes::conditional(*cc);
                let example = instructions.example(set, &[Part::Reg(0, Form::R8)], operands);
                (example.rflags_read(), 0, 0, false)
            }
            Kind::Divide { .. } | Kind::Exchange(_) => (0, u32::MAX, u32::MAX, false),
            Kind::Args | Kind::Return | Kind::Jump => (0, 0, 0, false),
        };
        if reads != RflagsBits::NONE {
            let Some((by, defined, asked)) = &mut last else {
                return hold(false, Rule::Flags, || {
                    format!("{} asks flags that nothing has set", name(machine, i))
                });
            };
            hold(reads & !*defined == 0, Rule::Flags, || {
                format!("{} asks flags that {} left undefined", name(machine, i), name(machine, *by))
            })?;
            *asked = true;
        }
        if changes != RflagsBits::NONE {
            lost(machine, last)?;
            // Those of a comparison are wanted; those of all others may be.
            last = Some((i, changes & !undefined, !compares));
        }
    }
    lost(machine, last)
}

/// Whether an instruction is there for its flags.
fn compares(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(mnemonic, M::Cmp | M::Test | M::Vucomiss | M::Vucomisd | M::Vptest)
        || matches!(mnemonic, M::Kortestb | M::Kortestw | M::Kortestd | M::Kortestq)
}

/// A comparison whose flags nothing asked for was overtaken by another.
fn lost(machine: &Machine, last: Option<(usize, u32, bool)>) -> Result<(), Broken> {
    match last {
        Some((by, _, false)) => {
            hold(false, Rule::Flags, || format!("nothing asks for the flags of {}", name(machine, by)))
        }
        _ => Ok(()),
    }
}

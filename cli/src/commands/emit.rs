//! `rooftile emit`: any stage of compilation as text.

use rooftile_compiler::codegen::cpu;
use rooftile_compiler::{hir, syntax};

use crate::args::{EmitArgs, Stage};
use crate::engine::{self, Subject, codegen_failure};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Writes a stage to standard output or a file.
///
/// # Errors
/// [`Failure`] of every kind but a missing device: code is made for the CPU that runs this.
pub fn run(args: &EmitArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    let text = match args.stage {
        Stage::Ast => syntax::print(&subject.checked.ast, &subject.checked.source),
        Stage::Hir => hir::print::file_text(&subject.checked.hir),
        Stage::Nest | Stage::Clif | Stage::Asm => lowered(args, &subject)?,
    };
    match &args.output {
        Some(path) => output::write_file(path, text.as_bytes()),
        None => output::print(&text),
    }
}

fn lowered(args: &EmitArgs, subject: &Subject) -> Result<String, Failure> {
    let s = &args.subject;
    let device = engine::open_device(&s.device)?;
    let mut target = device.target().clone();
    target.threads = s.threads.unwrap_or(target.threads).max(1);
    let sizes = engine::sizes(&s.sizes)?;
    let sizes = subject.checked.resolve_sizes(subject.entry, &sizes).unwrap_or(sizes);
    let module = subject.module(&subject.choice(s.schedule, &sizes), &target)?;
    let mut text = String::new();
    for nest in module.nests() {
        text += &match args.stage {
            Stage::Clif => cpu::emit_clif(nest, &target).map_err(codegen_failure)?,
            Stage::Asm => cpu::emit_asm(nest, &target).map_err(codegen_failure)?,
            _ => (**nest).to_string(),
        };
        text.push('\n');
    }
    Ok(text)
}

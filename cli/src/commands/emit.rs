//! `rooftile emit`: any stage of compilation as text.

use rooftile_artifact::{GpuTarget, Target};
use rooftile_compiler::codegen::{cpu, vulkan};
use rooftile_compiler::{hir, syntax};

use crate::args::{EmitArgs, Stage};
use crate::engine::{self, Subject, codegen_failure};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Writes a stage to standard output or a file.
///
/// # Errors
/// [`Failure`] of every kind. Of a device that is not here, a plain one of its kind stands in.
pub fn run(args: &EmitArgs) -> Outcome {
    let s = &args.subject;
    let subject = Subject::open(&s.file, s.name.as_deref())?;
    let text = match args.stage {
        Stage::Ast => syntax::print(&subject.checked.ast, &subject.checked.source),
        Stage::Hir => hir::print::file_text(&subject.checked.hir),
        Stage::Nest | Stage::Clif | Stage::Asm | Stage::Spirv => lowered(args, &subject)?,
    };
    match &args.output {
        Some(path) => output::write_file(path, text.as_bytes()),
        None => output::print(&text),
    }
}

fn lowered(args: &EmitArgs, subject: &Subject) -> Result<String, Failure> {
    let s = &args.subject;
    let wanted = match args.stage {
        Stage::Spirv if s.device == "cpu" => "vulkan",
        _ => s.device.as_str(),
    };
    let target = match engine::open_device(wanted) {
        Ok(device) => engine::target(device.as_ref(), s.threads),
        Err(_) if wanted == "vulkan" => Target::Vulkan(GpuTarget::default()),
        Err(e) => return Err(e),
    };
    let sizes = engine::sizes(&s.sizes)?;
    let sizes = subject.checked.resolve_sizes(subject.entry, &sizes).unwrap_or(sizes);
    let module = subject.module(&subject.choice(s.schedule, &sizes, &target), &target)?;
    let mut text = String::new();
    for nest in module.nests() {
        text += &match (args.stage, &target) {
            (Stage::Nest, _) => (**nest).to_string(),
            (Stage::Clif, Target::Cpu(cpu)) => cpu::emit_clif(nest, cpu).map_err(codegen_failure)?,
            (Stage::Asm, Target::Cpu(cpu)) => cpu::emit_asm(nest, cpu).map_err(codegen_failure)?,
            (Stage::Spirv, Target::Vulkan(gpu)) => {
                vulkan::disassemble(&vulkan::compile_nest(nest, gpu).map_err(codegen_failure)?)
            }
            (stage, target) => {
                let message = format!("{} has no stage {stage:?}", target.name());
                return Err(Failure::Usage(message));
            }
        };
        text.push('\n');
    }
    Ok(text)
}

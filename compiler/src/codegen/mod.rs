//! Code from verified nests: [`cpu`] for processors, [`vulkan`] for GPUs that take SPIR-V. What kernels for GPUs have in common is
//! in [`gpu`], functions such as `exp` are in [`math`]. A generator never sees a schedule.

pub mod cpu;
pub mod gpu;
pub mod math;
pub mod vulkan;

use rooftile_artifact::program::Step;
use rooftile_artifact::{Program, Target};

use crate::nest::{VerifiedModule, verify};

/// Why no code was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodegenError {
    /// The target cannot run the nest.
    #[error("kernel `{nest}` cannot run on this target: {what}")]
    Unsupported {
        /// Name of the nest.
        nest: String,
        /// What is missing.
        what: String,
    },
    /// A bug of the generator.
    #[error("internal error while generating code for `{nest}`: {what}")]
    Internal {
        /// Name of the nest.
        nest: String,
        /// What went wrong.
        what: String,
    },
}

/// Generates the code of every kernel of a module.
///
/// # Errors
/// [`CodegenError`], of the first kernel that has one.
pub fn compile(module: &VerifiedModule, target: &Target) -> Result<Program, CodegenError> {
    match target {
        Target::Cpu(target) => cpu::compile(module, target, cpu::Generator::default()),
        Target::Vulkan(target) => vulkan::compile(module, target),
    }
}

/// Number of buffer slots of each kernel: those that the nest touches, and every one that a launch passes.
fn slots(module: &VerifiedModule) -> Vec<usize> {
    let mut slots: Vec<usize> = module.nests().iter().map(|nest| verify::slots(nest)).collect();
    let program = module.program();
    [&program.prepare, &program.steps].into_iter().for_each(|steps| passed_slots(steps, &mut slots));
    slots
}

fn passed_slots(steps: &[Step], slots: &mut [usize]) {
    for step in steps {
        match step {
            Step::Launch { kernel, buffers, .. } => {
                if let Some(slots) = slots.get_mut(*kernel) {
                    *slots = (*slots).max(buffers.len());
                }
            }
            Step::Repeat { body, .. } => passed_slots(body, slots),
            Step::If { then, otherwise, .. } => {
                passed_slots(then, slots);
                passed_slots(otherwise, slots);
            }
            Step::Fill { .. } | Step::Copy { .. } => {}
        }
    }
}

//! Code from verified nests: [`cpu`]. A generator never sees a schedule.

pub mod cpu;

use rooftile_artifact::{Program, Target};

use crate::nest::VerifiedModule;

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
        Target::Vulkan(_) => Err(CodegenError::Unsupported {
            nest: module.program().name.clone(),
            what: "this build makes no SPIR-V".to_owned(),
        }),
    }
}

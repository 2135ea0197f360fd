//! The `f64` evaluator as machine code: hir lowered in the most direct way that is fast enough to judge every
//! element at real sizes. It shares nothing with the schedules, the nests and the code generators that it judges, and
//! is itself tested against the interpreter.
//!
//! * [`host`] turns sizes, bounds and conditions into what the host computes, and bounds expressions from above.
//! * [`plan`] decides which axes become loops around statements, so that values inside need no memory; [`facts`] says
//!   which cannot.
//! * [`emit`] holds the state of writing code, [`place`] where things lie, [`loops`] control flow, [`stmt`] statements,
//!   [`expr`] expressions, [`ops`] single operations, [`reduce`] reductions and scans, [`store`] memory, [`math`] the
//!   special functions.
//! * [`steps`] turns pipelines into steps.
//!
//! Every float is `f64`, every complex number a pair of them; integers are exact and wrap at their widths.
//! Special functions are precise to about 1e-15, `pow(a, b)` to about `1e-16 * (1 + |b ln a|)`, and sine, cosine and
//! tangent lose precision for arguments above a million.

mod emit;
mod expr;
mod facts;
mod host;
mod loops;
mod math;
mod ops;
mod place;
mod plan;
mod reduce;
mod steps;
mod stmt;
mod store;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserFuncName, types};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use rooftile_artifact::abi::BUFFER_ALIGN;
use rooftile_artifact::program::{Code, Kernel, Phase};
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{DType, Program};

use crate::diag::Span;
use crate::hir::ir::{File, Func, FuncId};

/// Why a function has no compiled evaluator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A construct that only the interpreter evaluates.
    #[error("the compiled evaluator does not support {what}")]
    Unsupported {
        /// The construct.
        what: String,
        /// Where it stands.
        span: Span,
    },
    /// A fault of this compiler.
    #[error("the compiled evaluator failed: {0}")]
    Internal(String),
}

/// Compiles a kernel, pipeline or reference to a program whose float tensors are `f64`, complex ones `c128`, and
/// integer ones as declared but never packed. Parameters, sizes and scalars are in signature order. Inputs are made
/// with [`crate::oracle::values::widen`].
///
/// # Errors
/// [`EvalError`] when a construct is not supported.
pub fn compile(file: &File, func: FuncId) -> Result<Program, EvalError> {
    let body =
        file.funcs.get(func).ok_or_else(|| EvalError::Internal("there is no such function".to_owned()))?;
    steps::program(file, body)
}

type R<T> = Result<T, EvalError>;

fn unsupported<T>(what: impl Into<String>, span: Span) -> R<T> {
    Err(EvalError::Unsupported { what: what.into(), span })
}

fn internal(what: impl std::fmt::Display) -> EvalError {
    EvalError::Internal(what.to_string())
}

/// The type that a scalar of that type is passed as.
fn scalar_type(dtype: DType) -> DType {
    if dtype.is_float() { DType::F64 } else { dtype }
}

/// Compiles a kernel or reference. The tensors marked in `strided` take an offset and one stride per dimension, in
/// elements, as additional sizes.
fn kernel(file: &File, func: &Func, strided: &[bool]) -> R<Kernel> {
    let plan = plan::Plan::new(file, func)?;
    let isa = isa()?;
    let mut signature = Signature::new(CallConv::triple_default(isa.triple()));
    signature.params.extend([AbiParam::new(types::I64); 4]);
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut frontend);
    let mut emitter = emit::Emitter::new(file, func, &plan, builder);
    emitter.function(strided)?;
    let local_bytes = emitter.local_bytes.clone();
    emitter.b.finalize(isa.frontend_config());
    let mut context = Context::for_function(function);
    let code = context
        .compile(&*isa, &mut ControlPlane::default())
        .map_err(|e| internal(format!("{:?}", e.inner)))?;
    if !code.buffer.relocs().is_empty() {
        return Err(internal("the code needs relocations"));
    }
    let extra: usize =
        func.tensors.iter().zip(strided).filter(|&(_, &s)| s).map(|((_, t), _)| 1 + t.shape.len()).sum();
    Ok(Kernel {
        name: func.name.clone(),
        buffers: func.tensors.len(),
        sizes: func.sizes.len() + extra,
        scalars: func.scalars.iter().map(|(_, s)| scalar_type(s.dtype)).collect(),
        local_bytes,
        phases: plan.phases.iter().map(|p| Phase { chunks: p.chunks.clone() }).collect(),
        code: Code::Cpu {
            bytes: code.buffer.data().to_vec(),
            align: (code.buffer.alignment as usize).max(BUFFER_ALIGN),
            features: CpuFeatures::default(),
        },
    })
}

/// The host's instruction set, without extensions that a processor of the last fifteen years may lack.
fn isa() -> R<OwnedTargetIsa> {
    let mut flags = settings::builder();
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    let common = [
        ("opt_level", "speed"),
        ("enable_verifier", verify),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
    ];
    for (name, value) in common {
        flags.set(name, value).map_err(internal)?;
    }
    let mut builder = cranelift_native::builder_with_options(false).map_err(internal)?;
    if cfg!(target_arch = "x86_64") {
        for name in ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"] {
            builder.enable(name).map_err(internal)?;
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(internal)
}

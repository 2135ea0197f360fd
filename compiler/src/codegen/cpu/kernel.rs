//! What all generators share: what a processor cannot run, and the kernel around the code.

use rooftile_artifact::DType;
use rooftile_artifact::abi::BUFFER_ALIGN;
use rooftile_artifact::program::{Code, Kernel, Phase};
use rooftile_artifact::target::CpuFeatures;

use super::CodegenError;
use crate::nest::ir::{ExprId, ExprKind, Nest, Space, Stmt};
use crate::nest::walk::for_each_stmt;
use crate::nest::{Verified, host, verify};

/// The kernel of a nest: `bytes` are its code, which wants to start at a multiple of `align` and uses `features`.
pub(super) fn kernel(
    nest: &Verified,
    bytes: Vec<u8>,
    align: usize,
    features: CpuFeatures,
) -> Result<Kernel, CodegenError> {
    let host_only = || internal(nest, "a bound or extent that the host cannot compute".to_owned());
    let phases: Option<Vec<Phase>> =
        nest.phases.iter().map(|p| host::chunks(nest, p).map(|chunks| Phase { chunks })).collect();
    Ok(Kernel {
        name: nest.name.clone(),
        buffers: verify::slots(nest),
        sizes: nest.sizes.len(),
        scalars: nest.scalars.iter().map(|(_, t)| *t).collect(),
        local_bytes: host::local_bytes(nest, BUFFER_ALIGN as i64).ok_or_else(host_only)?,
        phases: phases.ok_or_else(host_only)?,
        code: Code::Cpu { bytes, align: align.max(BUFFER_ALIGN), features },
    })
}

/// A mistake of ours.
pub(super) fn internal(nest: &Nest, what: String) -> CodegenError {
    CodegenError::Internal { nest: nest.name.clone(), what }
}

/// Refuses what a processor has no instruction for; `has_fma` says whether `Fma` nodes have one.
pub(super) fn check_supported(nest: &Nest, has_fma: bool) -> Result<(), CodegenError> {
    let mut refused: Option<String> = None;
    let mut seen = vec![false; nest.exprs.len()];
    let mut check = |e: ExprId, stack: &mut Vec<ExprId>| {
        stack.push(e);
        while let Some(e) = stack.pop() {
            if std::mem::replace(&mut seen[e.index()], true) {
                continue;
            }
            let expr = &nest.exprs[e];
            expr.for_each_operand(|o| stack.push(o));
            if matches!(expr.kind, ExprKind::Fma(..)) && !has_fma {
                refused = Some("it has no fused multiply-add".to_owned());
            }
            if !is_known(expr.dtype) {
                refused = Some(format!("elements of type {} are not supported", expr.dtype));
            }
        }
    };
    let unit = nest.buffers.iter().any(|(_, b)| b.space == Space::Matrix);
    if unit || nest.phases.iter().any(|p| verify::matrices::most(&p.body) > 0) {
        let what = "a processor has no matrix unit".to_owned();
        return Err(CodegenError::Unsupported { nest: nest.name.clone(), what });
    }
    let shares = nest.buffers.iter().any(|(_, b)| b.space == Space::Shared);
    if shares || nest.phases.iter().any(|p| verify::threads::has_threads(p.body.iter())) {
        let what = "a processor has no groups of threads".to_owned();
        return Err(CodegenError::Unsupported { nest: nest.name.clone(), what });
    }
    let mut stack = Vec::new();
    for phase in &nest.phases {
        for_each_stmt(&phase.body, &mut |s: &Stmt| s.for_each_expr(|e| check(e, &mut stack)));
    }
    match refused {
        Some(what) => Err(CodegenError::Unsupported { nest: nest.name.clone(), what }),
        None => Ok(()),
    }
}

fn is_known(t: DType) -> bool {
    matches!(
        t,
        DType::F64
            | DType::F32
            | DType::F16
            | DType::Bf16
            | DType::Bool
            | DType::Int { bits: 8 | 16 | 32 | 64, .. }
    )
}

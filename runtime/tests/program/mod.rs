//! Programs of one size and one scalar, whatever their kernels are made of.

use rooftile_artifact::program::{BufferDecl, Kernel, Mode, Program, ScalarParam, Step, TensorParam};
use rooftile_artifact::{DType, HostExpr};

/// A program of the size N, the scalar `s` (i32) and tensors of N elements.
pub(crate) fn program(
    params: &[(&str, Mode)],
    temporaries: usize,
    dtype: DType,
    kernels: Vec<Kernel>,
    steps: Vec<Step>,
) -> Program {
    let names = params.iter().map(|(name, _)| (*name).to_owned());
    let names = names.chain((0..temporaries).map(|t| format!("tmp{t}")));
    let decl = |name| BufferDecl { name, dtype, shape: vec![HostExpr::Size(0)], packed: None };
    let param = |&(name, mode): &(&str, Mode)| TensorParam { name: name.into(), mode, contracts: vec![] };
    Program {
        name: "p".into(),
        sizes: vec!["N".into()],
        scalars: vec![ScalarParam { name: "s".into(), dtype: DType::I32 }],
        params: params.iter().map(param).collect(),
        buffers: names.map(decl).collect(),
        requires: vec![],
        kernels,
        step_vars: 1,
        prepare: Vec::new(),
        steps,
    }
}

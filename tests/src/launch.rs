//! Programs around nests that are made by hand.

use rooftile_artifact::program::{BufferDecl, Mode, Step, TensorParam};
use rooftile_artifact::{DType, HostExpr, Program};
use rooftile_compiler::nest::ir::{Module, Nest};

/// A program of one launch: all buffers are parameters, all sizes the kernel's.
#[must_use]
pub fn module(nest: Nest, buffers: &[(&str, DType, Vec<HostExpr>, Mode)], sizes: &[&str]) -> Module {
    let program = Program {
        name: nest.name.clone(),
        sizes: sizes.iter().map(|s| (*s).to_owned()).collect(),
        scalars: Vec::new(),
        params: buffers
            .iter()
            .map(|(name, _, _, mode)| TensorParam {
                name: (*name).to_owned(),
                mode: *mode,
                contracts: Vec::new(),
            })
            .collect(),
        buffers: buffers
            .iter()
            .map(|(name, dtype, shape, _)| BufferDecl {
                name: (*name).to_owned(),
                dtype: *dtype,
                shape: shape.clone(),
                packed: None,
            })
            .collect(),
        requires: Vec::new(),
        kernels: Vec::new(),
        step_vars: 0,
        prepare: Vec::new(),
        steps: vec![Step::Launch {
            kernel: 0,
            buffers: (0..buffers.len()).collect(),
            sizes: (0..sizes.len()).map(HostExpr::Size).collect(),
            scalars: Vec::new(),
        }],
    };
    Module { program, nests: vec![nest] }
}

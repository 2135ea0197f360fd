//! What the matrices of a nest are to a matrix unit.

use std::collections::BTreeMap;

use rooftile_artifact::GpuTarget;
use rooftile_artifact::target::MatrixShape;

use crate::nest::ir::{BufferId, Matrix, MatrixOp, Nest, Space, Stmt};
use crate::nest::verify::matrices::sides;
use crate::nest::walk::for_each_stmt;

/// What a matrix is in a product; threads hold each kind in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The left factor.
    A,
    /// The right factor.
    B,
    /// What the product is added to.
    Accumulator,
}

/// The role of each matrix buffer in the products of a nest.
///
/// # Errors
/// In words, what the target's unit does not do: a product of a shape that it lacks, or a matrix with two roles or none.
pub fn roles(nest: &Nest, target: &GpuTarget) -> Result<BTreeMap<BufferId, Role>, String> {
    let mut roles = BTreeMap::new();
    let mut refused = None;
    for phase in &nest.phases {
        for_each_stmt(&phase.body, &mut |s| {
            let Stmt::Matrix(MatrixOp::MultiplyAdd { acc, a, b }) = s else { return };
            if let Err(what) = check(nest, target, acc, a) {
                refused.get_or_insert(what);
            }
            for (m, role) in [(acc, Role::Accumulator), (a, Role::A), (b, Role::B)] {
                if *roles.entry(m.buffer).or_insert(role) != role {
                    let name = &nest.buffers[m.buffer].name;
                    refused.get_or_insert(format!("a matrix unit where `{name}` has two roles"));
                }
            }
        });
    }
    nest.for_each_access(nest.phases.iter().map(|p| &p.body), &mut |id, _| {
        let buffer = &nest.buffers[id];
        if buffer.space == Space::Matrix && !roles.contains_key(&id) {
            refused.get_or_insert(format!("a matrix unit for `{}`, which no product has", buffer.name));
        }
    });
    refused.map_or(Ok(roles), Err)
}

/// Whether the unit has the product; `b` follows from the others.
fn check(nest: &Nest, target: &GpuTarget, acc: &Matrix, a: &Matrix) -> Result<(), String> {
    let [(m, n), (_, k)] = [acc, a].map(|m| sides(nest, m.buffer).unwrap_or_default());
    let [result, factor] = [acc, a].map(|m| nest.buffers[m.buffer].dtype);
    if target.matrices.contains(&MatrixShape { m, n, k, factor, result }) {
        return Ok(());
    }
    Err(format!("a matrix unit for products of {m}x{k} by {k}x{n} of {factor} in {result}"))
}

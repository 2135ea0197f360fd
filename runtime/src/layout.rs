//! Extents and bytes of a program's buffers at fixed sizes.

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::BufferDecl;
use rooftile_artifact::tensor::byte_len;

use crate::error::{Error, InputError, expression, malformed};
use crate::packing::Packing;

/// A buffer at fixed sizes.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Extents in elements.
    pub(crate) shape: Vec<usize>,
    /// How elements share bytes, if they do.
    pub(crate) packing: Option<Packing>,
    /// Bytes of storage.
    pub(crate) bytes: usize,
}

impl Layout {
    /// The layout of a buffer; `None` when its bytes cannot be counted in an `isize`.
    ///
    /// # Errors
    /// When an extent is negative or has no value.
    pub(crate) fn new(decl: &BufferDecl, env: &HostEnv<'_>) -> Result<Option<Layout>, Error> {
        let mut shape = Vec::with_capacity(decl.shape.len());
        for (dim, e) in decl.shape.iter().enumerate() {
            let extent =
                e.eval_int(env).map_err(|e| expression(format!("dimension {dim} of {}", decl.name), e))?;
            shape.push(usize::try_from(extent).map_err(|_| InputError::NegativeExtent {
                buffer: decl.name.clone(),
                dim,
                extent,
            })?);
        }
        let Ok(loose) = byte_len(decl.dtype, &shape) else { return Ok(None) };
        let packing = match decl.packed {
            None => None,
            Some(dim) if dim >= shape.len() => {
                return Err(malformed(format!("{} is packed along a missing dimension", decl.name)));
            }
            Some(dim) => Packing::new(decl.dtype, &shape, dim),
        };
        let bytes = packing.map_or(loose, |p| p.bytes());
        Ok(Some(Layout { shape, packing, bytes }))
    }
}

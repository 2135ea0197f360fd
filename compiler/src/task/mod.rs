//! What a kernel is judged on: sizes, data, tolerances, and what a schedule may change.
//!
//! [`build`] makes a [`Task`] of a `task` block, [`inputs`] the data for given sizes and a seed, [`tolerance`] judges
//! outputs, [`bound`] derives how far rounding can carry a result, [`null_models`] finds tolerances that accept
//! nonsense, [`frozen`] hashes what a search may never edit, [`sealed`] draws the sizes of the final report.

pub mod bags;
pub mod bind;
pub mod bound;
pub mod dist;
mod elements;
pub mod error;
pub mod frozen;
pub mod hash;
pub mod inputs;
mod matrix;
pub mod null_models;
mod read;
pub mod sealed;
mod sparse;
pub mod tolerance;
pub mod value;

#[cfg(test)]
mod tests;

use rooftile_artifact::DType;

use crate::diag::Span;
use crate::hir::ir::{File, FuncId};
use crate::syntax::ast;

pub use bind::{Scalars, Sizes};
pub use dist::Dist;
pub use error::TaskError;
pub use inputs::{Given, InputSet, generate, generate_given, small_case, small_cases};
pub use read::{build, data_bound, required_sizes};
pub use tolerance::{Tolerance, Verdict, judge};

/// What one kernel or pipeline is judged on.
#[derive(Clone, Debug)]
pub struct Task {
    /// The kernel or pipeline.
    pub name: String,
    /// Its handle.
    pub entry: FuncId,
    /// Sizes that drive a search; the first one is the default of `run`.
    pub search: Vec<SizeSet>,
    /// Sizes that select the winner.
    pub heldout: Vec<SizeSet>,
    /// Sizes read once, for the report. Where none are written, see [`sealed::draw`].
    pub sealed: Vec<SizeSet>,
    /// `sizes N in a..b multiple of m`
    pub domains: Vec<SizeDomain>,
    /// Where data come from, in order.
    pub init: Vec<InitItem>,
    /// Tolerances of outputs, in order of writing.
    pub tolerances: Vec<(String, Tolerance)>,
    /// What the user says a run costs.
    pub cost: Cost,
    /// What a schedule or rewrite may change.
    pub allow: Allow,
    /// Conserved quantities.
    pub checks: Vec<Check>,
    /// Where it is written.
    pub span: Span,
    /// The file's functions, for expressions.
    fns: Vec<ast::Fn>,
}

/// A set of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeSet {
    /// Values of sizes and integer parameters; sizes that the data bind may be missing.
    pub values: Sizes,
    /// Where it is written.
    pub span: Span,
}

/// The values that a size may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeDomain {
    /// The size or integer parameter.
    pub name: String,
    /// First value.
    pub lo: i64,
    /// One past the last value.
    pub hi: i64,
    /// Every value is a multiple of this; 1 where not written.
    pub multiple: i64,
}

/// Where the data of one parameter come from.
#[derive(Clone, Debug, PartialEq)]
pub struct InitItem {
    /// The parameter.
    pub name: String,
    /// Its data.
    pub source: Source,
    /// Where it is written.
    pub span: Span,
}

/// Where data come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `~ dist`
    Dist(Dist),
    /// `in a..b`: drawn anew for every seed.
    Range(ast::Expr, ast::Expr),
    /// `= e`: a value; for a tensor also an array or a table.
    Value(ast::Expr),
}

/// What the user says a run costs; overrides what is derived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Operations.
    pub flops: Option<ast::Expr>,
    /// Bytes moved.
    pub bytes: Option<ast::Expr>,
}

/// What a schedule or rewrite may change about results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allow {
    /// Fused multiply-add.
    pub contract: bool,
    /// Another association of floating-point sums.
    pub reassoc: bool,
    /// Online rescaling.
    pub online: bool,
    /// Atomic accumulation, whose order varies.
    pub atomics: bool,
    /// Functions with up to this error, in units in the last place.
    pub approx: Option<f64>,
    /// Values that may be held in a narrower type.
    pub lower: Vec<(String, DType)>,
}

/// A property of the outputs beside their tolerance.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `conserved(sum(x), relative)`: the sum over the tensor after the run is that before it.
    Conserved {
        /// An `inout` parameter.
        tensor: String,
        /// Largest relative change.
        relative: f64,
    },
}

impl Task {
    /// The tolerance of an output: the one written, else [`Tolerance::default_for`] its type.
    #[must_use]
    pub fn tolerance(&self, name: &str, dtype: DType) -> Tolerance {
        let written = self.tolerances.iter().find(|(n, _)| n == name).map(|(_, t)| *t);
        written.unwrap_or_else(|| Tolerance::default_for(dtype))
    }

    /// Whether the kernel itself, each operation rounded as its types declare, is the judge: an output must be exact,
    /// floats decide it, and no reference states it otherwise.
    #[must_use]
    pub fn judged_by_rounding(&self, file: &File) -> bool {
        let func = &file.funcs[self.entry];
        let floats = func.values.iter().any(|(_, v)| v.dtype.is_float() || v.dtype.is_complex())
            || func.tensors.iter().any(|(_, t)| t.dtype.is_float() || t.dtype.is_complex())
            || func.scalars.iter().any(|(_, s)| s.dtype.is_float() || s.dtype.is_complex());
        let exact = self.tolerances.iter().any(|(_, t)| t.exact);
        exact && floats && file.reference(&self.name).is_none()
    }

    /// A cost at given sizes: `flops` or `bytes`. `None` where none is written or it has no value.
    #[must_use]
    pub fn cost_at(&self, which: fn(&Cost) -> Option<&ast::Expr>, sizes: &Sizes) -> Option<f64> {
        let names = sizes.iter().map(|(n, v)| (n.clone(), rooftile_artifact::Scalar::Int(*v))).collect();
        let tensors = std::collections::BTreeMap::new();
        let values = value::Values { names: &names, tables: &[], fns: &self.fns, tensors: &tensors };
        values.eval(which(&self.cost)?).ok().map(|v| v.as_f64())
    }

    /// `cost flops` at given sizes.
    #[must_use]
    pub fn flops(&self, sizes: &Sizes) -> Option<f64> {
        self.cost_at(|c| c.flops.as_ref(), sizes)
    }

    /// `cost bytes` at given sizes.
    #[must_use]
    pub fn bytes(&self, sizes: &Sizes) -> Option<f64> {
        self.cost_at(|c| c.bytes.as_ref(), sizes)
    }
}

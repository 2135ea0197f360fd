//! Counted work: operations by class, and bytes. The compiler counts it, the fitness divides it by measured roofs.

use serde::{Deserialize, Serialize};

use crate::DType;

/// A class of operations that share a throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OpClass {
    /// Additions, subtractions, multiplications, comparisons, minima of floats; a fused multiply-add counts two.
    Fma,
    /// Divisions of floats.
    Div,
    /// Square roots and reciprocal square roots.
    Sqrt,
    /// exp, log, sin, tanh, erf and the like.
    Special,
    /// Integer arithmetic other than addressing.
    Int,
    /// Products of two factors of 8 or 16 bits that are summed in 32, as matrix units and packed dot products compute
    /// them, and the additions to the sum.
    Product,
}

/// Operations of one class on one element type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ops {
    /// The class.
    pub class: OpClass,
    /// The element type of the operands.
    pub dtype: DType,
    /// How many.
    pub count: f64,
}

/// The least that any schedule of a kernel or pipeline must do at one size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Operations by class and element type, each pair at most once.
    pub ops: Vec<Ops>,
    /// Bytes of inputs that must be read at least once.
    pub bytes_read: f64,
    /// Bytes of outputs that must be written at least once.
    pub bytes_written: f64,
    /// Bytes that the program touches at all: decides which level of memory the data lives in.
    pub working_set: f64,
    /// Bytes that move if nothing is kept between launches: shown beside the roof, never used as one.
    pub untiled_bytes: f64,
    /// Kernel launches.
    pub launches: f64,
    /// Floating-point operations as the task counts them (`cost flops`), else the sum over `ops`.
    pub flops: f64,
}

impl Work {
    /// Adds `count` operations of a class.
    pub fn add_ops(&mut self, class: OpClass, dtype: DType, count: f64) {
        match self.ops.iter_mut().find(|o| o.class == class && o.dtype == dtype) {
            Some(ops) => ops.count += count,
            None => self.ops.push(Ops { class, dtype, count }),
        }
    }
}

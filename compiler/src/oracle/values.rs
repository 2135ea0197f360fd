//! What evaluation takes and gives.

use rooftile_artifact::tensor::TensorError;
use rooftile_artifact::{DType, HostTensor, Scalar};

/// What a function is evaluated on.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The value of each size of the function.
    pub sizes: Vec<i64>,
    /// The value of each scalar parameter; cast to the parameter's type.
    pub scalars: Vec<Scalar>,
    /// The content of each tensor parameter; an `out` may be `None`.
    pub tensors: Vec<Option<HostTensor>>,
}

/// The tensor parameters after a run, in signature order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// One for each tensor parameter.
    pub tensors: Vec<Values>,
}

/// Elements of a tensor, without the rounding of its declared type.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The declared element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Data,
}

/// Elements by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Real floating-point types.
    Float(Vec<f64>),
    /// Complex types: real, imaginary.
    Complex(Vec<(f64, f64)>),
    /// Integers; `u64` as two's complement bits.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Values {
    /// Values of the given elements; the kind follows `dtype`.
    #[must_use]
    pub fn new(dtype: DType, shape: &[usize], elements: impl Iterator<Item = Scalar>) -> Values {
        let complex = |v| match v {
            Scalar::Complex(re, im) => (re, im),
            other => (other.as_f64(), 0.0),
        };
        let data = match dtype {
            DType::Bool => Data::Bool(elements.map(Scalar::is_true).collect()),
            DType::C64 | DType::C128 => Data::Complex(elements.map(complex).collect()),
            DType::Int { .. } => Data::Int(elements.map(Scalar::as_i64).collect()),
            _ => Data::Float(elements.map(Scalar::as_f64).collect()),
        };
        Values { dtype, shape: shape.to_vec(), data }
    }

    /// The content of a host tensor.
    #[must_use]
    pub fn from_host(tensor: &HostTensor) -> Values {
        Values::new(tensor.dtype(), tensor.shape(), (0..tensor.len()).map(|i| tensor.get(i)))
    }

    /// A host tensor of element type `dtype`, each element cast to it.
    ///
    /// # Errors
    /// [`TensorError`] when the tensor does not fit the address space.
    pub fn to_host(&self, dtype: DType) -> Result<HostTensor, TensorError> {
        HostTensor::from_fn(dtype, &self.shape, |i| self.get(i))
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Complex(v) => v.len(),
            Data::Int(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at flat index `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Values::len`].
    #[must_use]
    pub fn get(&self, i: usize) -> Scalar {
        match &self.data {
            Data::Float(v) => Scalar::Float(v[i]),
            Data::Complex(v) => Scalar::Complex(v[i].0, v[i].1),
            Data::Int(v) => Scalar::Int(v[i]),
            Data::Bool(v) => Scalar::Bool(v[i]),
        }
    }
}

/// The tensor with every float as `f64` and every complex element as a pair of `f64`; integers and truth values stay.
///
/// # Errors
/// [`TensorError`] when the wider tensor does not fit the address space.
pub fn widen(tensor: &HostTensor) -> Result<HostTensor, TensorError> {
    let wide = wide_type(tensor.dtype());
    if wide == tensor.dtype() {
        return Ok(tensor.clone());
    }
    HostTensor::from_fn(wide, tensor.shape(), |i| tensor.get(i))
}

/// The element type that [`widen`] gives.
#[must_use]
pub fn wide_type(dtype: DType) -> DType {
    match dtype {
        d if d.is_float() => DType::F64,
        d if d.is_complex() => DType::C128,
        d => d,
    }
}

//! Tensors on the host.

use serde::{Deserialize, Serialize};

use crate::room::ASK_FROM;
use crate::{DType, Scalar};

/// A dense row-major tensor in host memory. Sub-byte elements take one byte each; packing is a device's affair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Why bytes do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The byte count is not `size(dtype) * product(shape)`.
    #[error("{got} bytes do not fill a {dtype} tensor of shape {shape:?}, which takes {want}")]
    Length {
        /// Element type.
        dtype: DType,
        /// Extents.
        shape: Vec<usize>,
        /// Bytes given.
        got: usize,
        /// Bytes needed.
        want: usize,
    },
    /// `product(shape)` elements do not fit the address space.
    #[error("a {dtype} tensor of shape {shape:?} is too large")]
    TooLarge {
        /// Element type.
        dtype: DType,
        /// Extents.
        shape: Vec<usize>,
    },
    /// The system has no memory for it.
    #[error("out of memory: no {dtype} tensor of shape {shape:?}, {bytes} bytes")]
    OutOfMemory {
        /// Element type.
        dtype: DType,
        /// Extents.
        shape: Vec<usize>,
        /// Bytes asked for.
        bytes: usize,
    },
}

impl HostTensor {
    /// A tensor of zero bytes (0, 0.0, false).
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] when the byte count overflows, [`TensorError::OutOfMemory`] when the system does not
    /// give so much.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<HostTensor, TensorError> {
        let len = byte_len(dtype, shape)?;
        // Making memory that the system does not give ends the process. This is given back at once; zeroed memory comes
        // cheaper than memory that is zeroed here.
        if len as u64 >= ASK_FROM && Vec::<u8>::new().try_reserve_exact(len).is_err() {
            return Err(TensorError::OutOfMemory { dtype, shape: shape.to_vec(), bytes: len });
        }
        Ok(HostTensor { dtype, shape: shape.to_vec(), bytes: vec![0; len] })
    }

    /// A tensor of the given bytes, native byte order.
    ///
    /// # Errors
    /// [`TensorError`] when the bytes do not fill the shape exactly.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Result<HostTensor, TensorError> {
        let want = byte_len(dtype, shape)?;
        if bytes.len() != want {
            return Err(TensorError::Length { dtype, shape: shape.to_vec(), got: bytes.len(), want });
        }
        Ok(HostTensor { dtype, shape: shape.to_vec(), bytes })
    }

    /// A tensor whose element at flat index `i` is `f(i)` cast to `dtype`.
    ///
    /// # Errors
    /// As [`HostTensor::zeros`].
    pub fn from_fn(
        dtype: DType,
        shape: &[usize],
        mut f: impl FnMut(usize) -> Scalar,
    ) -> Result<HostTensor, TensorError> {
        let mut tensor = HostTensor::zeros(dtype, shape)?;
        for i in 0..tensor.len() {
            tensor.set(i, f(i));
        }
        Ok(tensor)
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first. Empty for a tensor of one element.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' bytes, native byte order, row-major.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements' bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The element at flat index `i`.
    ///
    /// # Panics
    /// If `i` is not below [`HostTensor::len`].
    #[must_use]
    pub fn get(&self, i: usize) -> Scalar {
        read(self.dtype, &self.bytes[i * self.dtype.size()..])
    }

    /// Sets the element at flat index `i` to `value` cast to the element type.
    ///
    /// # Panics
    /// If `i` is not below [`HostTensor::len`].
    pub fn set(&mut self, i: usize, value: Scalar) {
        let size = self.dtype.size();
        write(self.dtype, &mut self.bytes[i * size..(i + 1) * size], value);
    }
}

/// Bytes of a dense tensor.
///
/// # Errors
/// [`TensorError::TooLarge`] when the product overflows or exceeds `isize::MAX`.
pub fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    shape
        .iter()
        .try_fold(dtype.size(), |n, &extent| n.checked_mul(extent))
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or_else(|| TensorError::TooLarge { dtype, shape: shape.to_vec() })
}

fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

fn read(dtype: DType, b: &[u8]) -> Scalar {
    match dtype {
        DType::F64 => Scalar::Float(f64::from_ne_bytes(take(b))),
        DType::F32 | DType::Tf32 => Scalar::Float(f64::from(f32::from_ne_bytes(take(b)))),
        DType::F16 => Scalar::Float(half::f16::from_ne_bytes(take(b)).to_f64()),
        DType::Bf16 => Scalar::Float(half::bf16::from_ne_bytes(take(b)).to_f64()),
        DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0 => Scalar::Float(small_float(dtype, b[0])),
        DType::C64 => {
            Scalar::Complex(f32::from_ne_bytes(take(b)).into(), f32::from_ne_bytes(take(&b[4..])).into())
        }
        DType::C128 => Scalar::Complex(f64::from_ne_bytes(take(b)), f64::from_ne_bytes(take(&b[8..]))),
        DType::Bool => Scalar::Bool(b[0] != 0),
        DType::Int { signed, bits } => {
            #[expect(clippy::cast_possible_wrap, reason = "u64 keeps its two's complement bits")]
            let raw = match bits {
                ..=8 => i64::from(b[0]),
                16 => i64::from(u16::from_ne_bytes(take(b))),
                32 => i64::from(u32::from_ne_bytes(take(b))),
                _ => u64::from_ne_bytes(take(b)) as i64,
            };
            Scalar::Int(crate::scalar::wrap(raw, signed, bits))
        }
    }
}

fn write(dtype: DType, b: &mut [u8], value: Scalar) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast before made it fit"
    )]
    match (dtype, value.cast(dtype)) {
        (DType::F64, v) => b.copy_from_slice(&v.as_f64().to_ne_bytes()),
        (DType::F32 | DType::Tf32, v) => b.copy_from_slice(&(v.as_f64() as f32).to_ne_bytes()),
        (DType::F16, v) => b.copy_from_slice(&half::f16::from_f64(v.as_f64()).to_ne_bytes()),
        (DType::Bf16, v) => b.copy_from_slice(&half::bf16::from_f64(v.as_f64()).to_ne_bytes()),
        (DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0, v) => {
            b[0] = encode_small_float(dtype, v.as_f64())
        }
        (DType::C64, Scalar::Complex(re, im)) => {
            b[..4].copy_from_slice(&(re as f32).to_ne_bytes());
            b[4..].copy_from_slice(&(im as f32).to_ne_bytes());
        }
        (DType::C128, Scalar::Complex(re, im)) => {
            b[..8].copy_from_slice(&re.to_ne_bytes());
            b[8..].copy_from_slice(&im.to_ne_bytes());
        }
        (DType::C64 | DType::C128, _) => unreachable!("cast to a complex type gives a complex value"),
        (DType::Bool, v) => b[0] = u8::from(v.is_true()),
        (DType::Int { bits, .. }, v) => {
            let raw = v.as_i64() as u64;
            match bits {
                // Sub-byte values sit in the low bits of their byte, zero above.
                ..=7 => b[0] = raw as u8 & ((1 << bits) - 1),
                _ => b.copy_from_slice(&raw.to_ne_bytes()[..b.len()]),
            }
        }
    }
}

/// Decodes an OCP 8-bit or 4-bit float.
fn small_float(dtype: DType, byte: u8) -> f64 {
    let (exponent_bits, mantissa_bits, bias) = match dtype {
        DType::E4m3 => (4, 3, 7),
        DType::E5m2 => (5, 2, 15),
        DType::E2m1 => (2, 1, 1),
        _ => return if byte == 0xFF { f64::NAN } else { (f64::from(byte) - 127.0).exp2() },
    };
    let sign = if byte >> (exponent_bits + mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(byte >> mantissa_bits & ((1 << exponent_bits) - 1));
    let mantissa = f64::from(byte & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
    match dtype {
        DType::E4m3 if byte & 0x7F == 0x7F => f64::NAN,
        DType::E5m2 if exponent == 31 => {
            if mantissa == 0.0 {
                sign * f64::INFINITY
            } else {
                f64::NAN
            }
        }
        _ if exponent == 0 => sign * mantissa * f64::from(1 - bias).exp2(),
        _ => sign * (1.0 + mantissa) * f64::from(exponent - bias).exp2(),
    }
}

/// The code of the value nearest to `v`; there are at most 256, so all are tried.
fn encode_small_float(dtype: DType, v: f64) -> u8 {
    let codes = if dtype == DType::E2m1 { 0..=15u8 } else { 0..=255u8 };
    let distance = |code: u8| {
        let w = small_float(dtype, code);
        if v.is_nan() || w.is_nan() {
            return if v.is_nan() && w.is_nan() { 0.0 } else { f64::INFINITY };
        }
        let apart = if w == v { 0.0 } else { (w - v).abs() };
        // A zero keeps its sign.
        if apart == 0.0 && w.is_sign_negative() != v.is_sign_negative() { f64::MIN_POSITIVE } else { apart }
    };
    codes.min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_round_trip() {
        let cases = [
            (DType::F16, Scalar::Float(1.5)),
            (DType::Bf16, Scalar::Float(-2.0)),
            (DType::C64, Scalar::Complex(1.0, -2.0)),
            (DType::Int { signed: true, bits: 4 }, Scalar::Int(-3)),
            (DType::U64, Scalar::Int(-1)),
            (DType::E4m3, Scalar::Float(-0.4375)),
            (DType::E5m2, Scalar::Float(f64::INFINITY)),
            (DType::Bool, Scalar::Bool(true)),
        ];
        for (dtype, value) in cases {
            let mut t = HostTensor::zeros(dtype, &[2, 3]).expect("small");
            t.set(4, value);
            assert_eq!(t.get(4), value, "{dtype}");
            assert_eq!(t.get(3).as_f64(), if dtype == DType::E8m0 { 1.0 } else { 0.0 });
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert!(HostTensor::zeros(DType::F64, &[usize::MAX, 2]).is_err());
        assert!(HostTensor::from_bytes(DType::F32, &[2], vec![0; 7]).is_err());
    }
}

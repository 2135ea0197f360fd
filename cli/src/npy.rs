//! NumPy's `.npy` files as host tensors.
//!
//! Types without a NumPy counterpart travel in the nearest container: `bf16` as `uint16` (its bits), sub-byte integers
//! as one value per `int8` or `uint8`, complex as NumPy's own complex types.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use npyz::{DType as NpyDType, NpyHeader, Order, WriterBuilder};
use rooftile_artifact::{DType, HostTensor};

use crate::failure::Failure;

/// The NumPy type that holds elements of `dtype`, little-endian.
fn descr(dtype: DType) -> Option<String> {
    Some(match dtype {
        DType::F64 => "<f8".into(),
        DType::F32 | DType::Tf32 => "<f4".into(),
        DType::F16 => "<f2".into(),
        DType::Bf16 => "<u2".into(),
        DType::C64 => "<c8".into(),
        DType::C128 => "<c16".into(),
        DType::Bool => "|b1".into(),
        DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0 => "|u1".into(),
        DType::Int { signed, .. } => {
            let size = dtype.size();
            let order = if size == 1 { '|' } else { '<' };
            format!("{order}{}{size}", if signed { 'i' } else { 'u' })
        }
    })
}

/// Reads a tensor of type `dtype`. The file's type must be the one that holds such elements.
///
/// # Errors
/// [`Failure::Input`] naming the file where it cannot be read, is not an array, or has another type.
pub fn read(path: &Path, dtype: DType) -> Result<HostTensor, Failure> {
    let fail = |what: String| Failure::Input(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut reader = BufReader::new(file);
    let header = NpyHeader::from_reader(&mut reader).map_err(|e| fail(format!("not a .npy file ({e})")))?;
    let got = match header.dtype() {
        NpyDType::Plain(ty) => ty.to_string(),
        other => return Err(fail(format!("holds records ({}), not numbers", other.descr()))),
    };
    let want = descr(dtype).ok_or_else(|| fail(format!("{dtype} has no NumPy type")))?;
    let big_endian = got.strip_prefix('>').map(|rest| format!("<{rest}"));
    if got != want && big_endian.as_deref() != Some(&want) {
        return Err(fail(format!("holds {got}, where {dtype} takes {want}")));
    }
    let shape: Vec<usize> = header
        .shape()
        .iter()
        .map(|&n| usize::try_from(n).map_err(|_| fail("an extent is too large".into())))
        .collect::<Result<_, _>>()?;
    let want_bytes = rooftile_artifact::tensor::byte_len(dtype, &shape).map_err(|e| fail(e.to_string()))?;
    let mut bytes = Vec::new();
    reader.take(want_bytes as u64 + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() != want_bytes {
        return Err(fail(format!("holds {} bytes of data, its header promises {want_bytes}", bytes.len())));
    }
    if big_endian.is_some() {
        for part in bytes.chunks_exact_mut(dtype.real().size()) {
            part.reverse();
        }
    }
    if header.order() == Order::Fortran {
        bytes = to_row_major(&bytes, &shape, dtype.size());
    }
    if let DType::Int { bits: bits @ 1..=7, signed: false } = dtype
        && let Some(at) = bytes.iter().position(|&b| b >> bits != 0)
    {
        return Err(fail(format!("element {at} is {}, which does not fit {dtype}", bytes[at])));
    }
    HostTensor::from_bytes(dtype, &shape, bytes).map_err(|e| fail(e.to_string()))
}

/// Reorders elements from column-major to row-major.
fn to_row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let count: usize = shape.iter().product();
    for flat in 0..count {
        let (mut rest, mut at, mut stride) = (flat, 0, count);
        // Digits of `flat`, last dimension fastest, weighed by column-major strides.
        for &extent in shape.iter().rev() {
            stride /= extent;
            at += rest % extent * stride;
            rest /= extent;
        }
        out.extend_from_slice(&bytes[at * size..(at + 1) * size]);
    }
    out
}

/// Writes a tensor. The file appears whole or not at all.
///
/// # Errors
/// [`Failure::Input`] naming the file when it cannot be written.
pub fn write(path: &Path, tensor: &HostTensor) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::Input(format!("{}: {e}", path.display()));
    let dtype = tensor.dtype();
    let ty = descr(dtype)
        .and_then(|d| d.parse().ok())
        .ok_or_else(|| Failure::Input(format!("{}: {dtype} has no NumPy type", path.display())))?;
    let shape: Vec<u64> = tensor.shape().iter().map(|&n| n as u64).collect();
    let part = path.with_extension("npy.part");
    let file = BufWriter::new(File::create(&part).map_err(fail)?);
    let mut file = npyz::WriteOptions::new_header_only()
        .dtype(NpyDType::Plain(ty))
        .shape(&shape)
        .writer(file)
        .write_header_only()
        .map_err(fail)?;
    file.write_all(tensor.bytes()).and_then(|()| file.flush()).map_err(fail)?;
    std::fs::rename(&part, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::Scalar;

    fn temp(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("rooftile-{}-{name}.npy", std::process::id()))
    }

    #[test]
    fn every_type_round_trips() {
        for name in ["f64", "f32", "f16", "bf16", "c64", "bool", "u4", "i8", "u16", "i32", "u64"] {
            let dtype: DType = name.parse().expect(name);
            #[expect(clippy::cast_possible_wrap, reason = "small")]
            let tensor = HostTensor::from_fn(dtype, &[2, 3], |i| Scalar::Int(i as i64)).expect("small");
            let path = temp(name);
            write(&path, &tensor).expect("written");
            assert_eq!(read(&path, dtype).expect("read"), tensor, "{name}");
            std::fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn column_major_is_reordered() {
        // [[0, 1, 2], [3, 4, 5]] stored column by column.
        assert_eq!(to_row_major(&[0, 3, 1, 4, 2, 5], &[2, 3], 1), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn wrong_type_and_truncation_are_named() {
        let tensor = HostTensor::zeros(DType::F32, &[4]).expect("small");
        let path = temp("wrong");
        write(&path, &tensor).expect("written");
        let error = read(&path, DType::F64).expect_err("another type").to_string();
        assert!(error.contains("<f4") && error.contains("<f8"), "{error}");
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        let error = read(&path, DType::F32).expect_err("truncated").to_string();
        assert!(error.contains("promises"), "{error}");
        std::fs::remove_file(&path).expect("removed");
    }
}

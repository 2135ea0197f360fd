//! Element types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The element type of a tensor, a tile value or a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// IEEE binary64.
    F64,
    /// IEEE binary32.
    F32,
    /// 19-bit float of NVIDIA's matrix units; stored as binary32.
    Tf32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// 8-bit float, 4 exponent and 3 mantissa bits (OCP).
    E4m3,
    /// 8-bit float, 5 exponent and 2 mantissa bits (OCP).
    E5m2,
    /// 4-bit float, 2 exponent bits and 1 mantissa bit (OCP).
    E2m1,
    /// 8-bit power of two (OCP scale).
    E8m0,
    /// Pair of binary32: real, imaginary.
    C64,
    /// Pair of binary64: real, imaginary.
    C128,
    /// Truth value; stored as one byte, 0 or 1.
    Bool,
    /// Two's complement or unsigned integer of 1 to 64 bits. Widths below 8 are *sub-byte*.
    Int {
        /// Whether the integer is two's complement.
        signed: bool,
        /// Width in bits: 1..=8, 16, 32 or 64.
        bits: u8,
    },
}

impl DType {
    /// 8-bit signed integer.
    pub const I8: DType = DType::Int { signed: true, bits: 8 };
    /// 16-bit signed integer.
    pub const I16: DType = DType::Int { signed: true, bits: 16 };
    /// 32-bit signed integer.
    pub const I32: DType = DType::Int { signed: true, bits: 32 };
    /// 64-bit signed integer.
    pub const I64: DType = DType::Int { signed: true, bits: 64 };
    /// 8-bit unsigned integer.
    pub const U8: DType = DType::Int { signed: false, bits: 8 };
    /// 16-bit unsigned integer.
    pub const U16: DType = DType::Int { signed: false, bits: 16 };
    /// 32-bit unsigned integer.
    pub const U32: DType = DType::Int { signed: false, bits: 32 };
    /// 64-bit unsigned integer.
    pub const U64: DType = DType::Int { signed: false, bits: 64 };

    /// Bytes of one element on the host and, unless packed, on a device. Sub-byte elements take one byte.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            DType::C128 => 16,
            DType::F64 | DType::C64 => 8,
            DType::F32 | DType::Tf32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0 | DType::Bool => 1,
            DType::Int { bits, .. } => usize::from(bits).div_ceil(8),
        }
    }

    /// How many elements share a byte in packed storage: `floor(8 / bits)`, 1 for anything not sub-byte.
    #[must_use]
    pub fn per_byte(self) -> usize {
        match self {
            DType::Int { bits, .. } if bits < 8 => 8 / usize::from(bits),
            DType::E2m1 => 2,
            _ => 1,
        }
    }

    /// Whether this is a real floating-point type.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(
            self,
            DType::F64
                | DType::F32
                | DType::Tf32
                | DType::F16
                | DType::Bf16
                | DType::E4m3
                | DType::E5m2
                | DType::E2m1
                | DType::E8m0
        )
    }

    /// Whether this is a complex type.
    #[must_use]
    pub fn is_complex(self) -> bool {
        matches!(self, DType::C64 | DType::C128)
    }

    /// Whether this is an integer type (`bool` is not).
    #[must_use]
    pub fn is_int(self) -> bool {
        matches!(self, DType::Int { .. })
    }

    /// Whether this is a two's complement integer type.
    #[must_use]
    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::Int { signed: true, .. })
    }

    /// The real type of a complex type's parts; any other type itself.
    #[must_use]
    pub fn real(self) -> DType {
        match self {
            DType::C64 => DType::F32,
            DType::C128 => DType::F64,
            other => other,
        }
    }

    /// Smallest and largest value of an integer type, `None` for other types. The upper end of `u64` does not
    /// fit in an `i64`, hence `i128`.
    #[must_use]
    pub fn int_range(self) -> Option<(i128, i128)> {
        match self {
            DType::Int { signed: true, bits } => Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)),
            DType::Int { signed: false, bits } => Some((0, (1i128 << bits) - 1)),
            _ => None,
        }
    }

    /// Half the distance from 1 to the next larger value (the unit roundoff); `None` for exact types.
    #[must_use]
    pub fn unit_roundoff(self) -> Option<f64> {
        let bits = match self {
            DType::F64 | DType::C128 => 53,
            DType::F32 | DType::C64 => 24,
            DType::Tf32 | DType::F16 => 11,
            DType::Bf16 => 8,
            DType::E4m3 => 4,
            DType::E5m2 => 3,
            DType::E2m1 => 2,
            DType::E8m0 => 1,
            DType::Bool | DType::Int { .. } => return None,
        };
        Some((-f64::from(bits)).exp2())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::Tf32 => "tf32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::E4m3 => "e4m3",
            DType::E5m2 => "e5m2",
            DType::E2m1 => "e2m1",
            DType::E8m0 => "e8m0",
            DType::C64 => "c64",
            DType::C128 => "c128",
            DType::Bool => "bool",
            DType::Int { signed, bits } => {
                return write!(f, "{}{bits}", if *signed { 'i' } else { 'u' });
            }
        };
        f.write_str(name)
    }
}

/// The text is not the name of an element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an element type")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(s: &str) -> Result<DType, UnknownDType> {
        Ok(match s {
            "f64" => DType::F64,
            "f32" => DType::F32,
            "tf32" => DType::Tf32,
            "f16" => DType::F16,
            "bf16" => DType::Bf16,
            "e4m3" => DType::E4m3,
            "e5m2" => DType::E5m2,
            "e2m1" => DType::E2m1,
            "e8m0" => DType::E8m0,
            "c64" => DType::C64,
            "c128" => DType::C128,
            "bool" => DType::Bool,
            _ => {
                let unknown = || UnknownDType(s.to_owned());
                let (sign, bits) = s.split_at_checked(1).ok_or_else(unknown)?;
                let bits: u8 = bits.parse().map_err(|_| unknown())?;
                let signed = match sign {
                    "i" => true,
                    "u" => false,
                    _ => return Err(unknown()),
                };
                if !matches!(bits, 1..=8 | 16 | 32 | 64) {
                    return Err(unknown());
                }
                DType::Int { signed, bits }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["f64", "tf32", "bf16", "e4m3", "c64", "bool", "i1", "u3", "i8", "u64"] {
            assert_eq!(name.parse::<DType>().expect(name).to_string(), name);
        }
        for bad in ["", "f", "i0", "u9", "i128", "é"] {
            assert!(bad.parse::<DType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sub_byte_storage() {
        let u4: DType = "u4".parse().expect("u4");
        assert_eq!((u4.size(), u4.per_byte(), u4.int_range()), (1, 2, Some((0, 15))));
        assert_eq!(DType::I32.int_range(), Some((-(1 << 31), (1 << 31) - 1)));
    }
}

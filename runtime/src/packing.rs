//! How elements are stored in buffers: as on the host, or several sub-byte elements to a byte.

use rooftile_artifact::{DType, HostTensor};

/// The storage of a tensor: `outer * bytes_along * inner` bytes, where `along` elements share `bytes_along` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    outer: usize,
    along: usize,
    inner: usize,
    per_byte: usize,
    bits: usize,
}

impl Packing {
    /// The packing of `shape` along dimension `dim`; `None` when elements of the type do not share bytes, or there is
    /// no such dimension.
    #[must_use]
    pub fn new(dtype: DType, shape: &[usize], dim: usize) -> Option<Packing> {
        let bits = match dtype {
            DType::Int { bits, .. } if bits < 8 => usize::from(bits),
            DType::E2m1 => 4,
            _ => return None,
        };
        Some(Packing {
            outer: shape.get(..dim)?.iter().product(),
            along: *shape.get(dim)?,
            inner: shape.get(dim + 1..)?.iter().product(),
            per_byte: dtype.per_byte(),
            bits,
        })
    }

    /// Bytes of storage.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.outer * self.along.div_ceil(self.per_byte) * self.inner
    }

    /// Packs one-byte elements; bits of padding are zero.
    ///
    /// # Panics
    /// If the lengths are not those of the tensor and its storage.
    pub fn pack(&self, elements: &[u8], storage: &mut [u8]) {
        assert_eq!(storage.len(), self.bytes());
        storage.fill(0);
        self.each(elements.len(), |element, byte, shift| {
            storage[byte] |= (elements[element] & self.mask()) << shift;
        });
    }

    /// Unpacks to one-byte elements, zero above their bits.
    ///
    /// # Panics
    /// If the lengths are not those of the storage and the tensor.
    pub fn unpack(&self, storage: &[u8], elements: &mut [u8]) {
        assert_eq!(storage.len(), self.bytes());
        self.each(elements.len(), |element, byte, shift| {
            elements[element] = storage[byte] >> shift & self.mask();
        });
    }

    /// The byte of storage whose elements all have the given low bits.
    #[must_use]
    pub fn splat(&self, element: u8) -> u8 {
        (0..self.per_byte).fold(0, |byte, k| byte | (element & self.mask()) << (k * self.bits))
    }

    fn mask(&self) -> u8 {
        (1 << self.bits) - 1
    }

    /// Calls `f(element, byte, shift)` for every element.
    fn each(&self, len: usize, mut f: impl FnMut(usize, usize, usize)) {
        assert_eq!(len, self.outer * self.along * self.inner);
        let bytes_along = self.along.div_ceil(self.per_byte);
        for outer in 0..self.outer {
            for k in 0..self.along {
                let element = (outer * self.along + k) * self.inner;
                let byte = (outer * bytes_along + k / self.per_byte) * self.inner;
                let shift = k % self.per_byte * self.bits;
                for inner in 0..self.inner {
                    f(element + inner, byte + inner, shift);
                }
            }
        }
    }
}

/// Copies a tensor to its storage. Bytes that no element may have (a truth value above 1, bits above a sub-byte
/// integer's) are brought into the form that kernels rely on.
pub(crate) fn store(tensor: &HostTensor, packing: Option<Packing>, storage: &mut [u8]) {
    let bytes = tensor.bytes();
    match (packing, tensor.dtype()) {
        (Some(packing), _) => packing.pack(bytes, storage),
        (None, DType::Bool) => {
            for (to, from) in storage.iter_mut().zip(bytes) {
                *to = u8::from(*from != 0);
            }
        }
        (None, DType::Int { bits: bits @ ..=7, .. }) => {
            for (to, from) in storage.iter_mut().zip(bytes) {
                *to = from & ((1 << bits) - 1);
            }
        }
        (None, _) => storage.copy_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lowest_bits_come_first() {
        let u4 = DType::Int { signed: false, bits: 4 };
        let p = Packing::new(u4, &[2, 3], 1).expect("sub-byte");
        let mut storage = [0xFF; 4];
        p.pack(&[1, 2, 3, 4, 5, 6], &mut storage);
        assert_eq!(storage, [0x21, 0x03, 0x54, 0x06]);
        let p = Packing::new(u4, &[2, 3], 0).expect("sub-byte");
        let mut storage = [0xFF; 3];
        p.pack(&[1, 2, 3, 4, 5, 6], &mut storage);
        assert_eq!(storage, [0x41, 0x52, 0x63]);
        assert_eq!(p.splat(0xA), 0xAA);
    }

    proptest! {
        #[test]
        fn round_trip(
            bits in 1u8..8, shape in prop::collection::vec(0usize..6, 1..4), dim in 0usize..3, seed: u8
        ) {
            let dtype = DType::Int { signed: false, bits };
            let dim = dim % shape.len();
            let packing = Packing::new(dtype, &shape, dim).expect("sub-byte");
            let len: usize = shape.iter().product();
            let elements: Vec<u8> =
                (0..len).map(|i| (i * 37 + usize::from(seed)).to_le_bytes()[0] & ((1 << bits) - 1)).collect();
            let mut storage = vec![0xEE; packing.bytes()];
            packing.pack(&elements, &mut storage);
            let mut back = vec![0xEE; len];
            packing.unpack(&storage, &mut back);
            prop_assert_eq!(elements, back);
        }
    }
}

//! Memory of a run: bytes with a record of which were written, and of which chunk touched them.

use rooftile_artifact::{DType, HostTensor, Scalar};

/// A program's buffer, stored as a device stores it.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    dtype: DType,
    shape: Vec<usize>,
    packed: Option<usize>,
    pub(super) bytes: Vec<u8>,
    /// Whether each byte was ever written.
    written: Vec<bool>,
    touched: Vec<Touch>,
}

/// Who touched an element, or its first byte, in the phase of number `stamp`; chunks, lanes and threads count from 1, 0
/// is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touch {
    stamp: u64,
    writer: u32,
    reader: u32,
    many_readers: bool,
    atomic: u32,
    many_atomics: bool,
}

/// How an element is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Atomic,
}

impl Storage {
    pub(super) fn new(dtype: DType, shape: Vec<usize>, packed: Option<usize>) -> Storage {
        let packed = packed.filter(|&d| d < shape.len() && dtype.per_byte() > 1);
        let mut stored = shape.clone();
        if let Some(d) = packed {
            stored[d] = stored[d].div_ceil(dtype.per_byte());
        }
        let len = stored.iter().product::<usize>() * dtype.size();
        Storage { dtype, shape, packed, bytes: vec![0; len], written: vec![false; len], touched: Vec::new() }
    }

    /// For each element of a packed tensor, its byte and the bits that it is shifted by.
    fn places(&self, d: usize) -> impl Iterator<Item = (usize, u32)> + use<> {
        let (extent, per) = (self.shape[d], self.dtype.per_byte());
        let bits = 8 / per as u32;
        let bits = match self.dtype {
            DType::Int { bits, .. } => u32::from(bits),
            _ => bits,
        };
        let inner: usize = self.shape[d + 1..].iter().product();
        let outer: usize = self.shape[..d].iter().product();
        let rows = extent.div_ceil(per);
        (0..outer).flat_map(move |o| {
            (0..extent).flat_map(move |i| {
                (0..inner).map(move |n| (((o * rows + i / per) * inner + n), (i % per) as u32 * bits))
            })
        })
    }

    fn element_mask(&self) -> u8 {
        match self.dtype {
            DType::Int { bits, .. } if bits < 8 => (1 << bits) - 1,
            DType::E2m1 => 0xF,
            _ => 0xFF,
        }
    }

    pub(super) fn fill_from(&mut self, tensor: &HostTensor) -> Result<(), String> {
        if tensor.dtype() != self.dtype || tensor.shape() != self.shape {
            let (got, want) = (tensor.dtype(), self.dtype);
            return Err(format!("{got}{:?} given, {want}{:?} wanted", tensor.shape(), self.shape));
        }
        self.written.fill(true);
        let mask = self.element_mask();
        match self.packed {
            None => self.bytes.copy_from_slice(tensor.bytes()),
            Some(d) => {
                self.bytes.fill(0);
                let places: Vec<(usize, u32)> = self.places(d).collect();
                for ((byte, shift), v) in places.into_iter().zip(tensor.bytes()) {
                    self.bytes[byte] |= (v & mask) << shift;
                }
            }
        }
        Ok(())
    }

    pub(super) fn to_tensor(&self) -> Result<HostTensor, String> {
        let bytes = match self.packed {
            None => self.bytes.clone(),
            Some(d) => {
                let mask = self.element_mask();
                self.places(d).map(|(byte, shift)| self.bytes[byte] >> shift & mask).collect()
            }
        };
        HostTensor::from_bytes(self.dtype, &self.shape, bytes).map_err(|e| e.to_string())
    }

    /// Sets every element, by way of a host tensor of one.
    pub(super) fn fill(&mut self, value: Scalar) {
        self.written.fill(true);
        let Ok(one) = HostTensor::from_fn(self.dtype, &[1], |_| value) else { return };
        let mut pattern = one.bytes().to_vec();
        if self.packed.is_some() {
            let bits = 8 / self.dtype.per_byte() as u32;
            let bits = match self.dtype {
                DType::Int { bits, .. } => u32::from(bits),
                _ => bits,
            };
            let element = pattern[0] & self.element_mask();
            pattern[0] = (0..self.dtype.per_byte() as u32).fold(0, |byte, i| byte | element << (i * bits));
        }
        for chunk in self.bytes.chunks_mut(pattern.len()) {
            chunk.copy_from_slice(&pattern[..chunk.len()]);
        }
    }

    pub(super) fn copy_from(&mut self, other: &Storage) {
        let n = self.bytes.len().min(other.bytes.len());
        self.bytes[..n].copy_from_slice(&other.bytes[..n]);
        self.written[..n].copy_from_slice(&other.written[..n]);
    }

    /// The element at a byte offset; `None` if it was never written.
    pub(super) fn read(&self, at: usize, dtype: DType) -> Option<Scalar> {
        let b = &self.bytes[at..at + dtype.size()];
        self.written[at..at + dtype.size()].iter().all(|&w| w).then(|| decode(dtype, b))
    }

    pub(super) fn write(&mut self, at: usize, dtype: DType, value: Scalar) {
        let b = &mut self.bytes[at..at + dtype.size()];
        match (dtype, value) {
            (DType::F32, v) => b.copy_from_slice(&(v.as_f64() as f32).to_ne_bytes()),
            (DType::F64, v) => b.copy_from_slice(&v.as_f64().to_ne_bytes()),
            (DType::I32 | DType::U32, v) => b.copy_from_slice(&(v.as_i64() as u32).to_ne_bytes()),
            _ => {
                if let Ok(one) = HostTensor::from_fn(dtype, &[1], |_| value) {
                    b.copy_from_slice(one.bytes());
                }
            }
        }
        self.written[at..at + dtype.size()].fill(true);
    }

    /// Notes an access by a chunk; whether it races with another chunk of the phase.
    pub(super) fn touch(&mut self, at: usize, stamp: u64, chunk: u32, access: Access) -> bool {
        if self.touched.is_empty() {
            self.touched = vec![Touch::default(); self.bytes.len()];
        }
        let t = &mut self.touched[at];
        if t.stamp != stamp {
            *t = Touch { stamp, ..Touch::default() };
        }
        t.note(chunk, access)
    }
}

impl Touch {
    /// Notes an access; whether it races with one that somebody else made.
    pub(super) fn note(&mut self, who: u32, access: Access) -> bool {
        let other = |before: u32| before != 0 && before != who;
        let others_read = other(self.reader) || self.many_readers;
        let others_atomic = other(self.atomic) || self.many_atomics;
        let race = other(self.writer)
            || match access {
                Access::Read => others_atomic,
                Access::Write => others_read || others_atomic,
                Access::Atomic => others_read,
            };
        match access {
            Access::Read => {
                self.many_readers |= other(self.reader);
                self.reader = who;
            }
            Access::Write => self.writer = who,
            Access::Atomic => {
                self.many_atomics |= other(self.atomic);
                self.atomic = who;
            }
        }
        race
    }
}

fn decode(dtype: DType, b: &[u8]) -> Scalar {
    match (dtype, b) {
        (DType::F32, &[b0, b1, b2, b3]) => Scalar::Float(f32::from_ne_bytes([b0, b1, b2, b3]).into()),
        (DType::I32, &[b0, b1, b2, b3]) => Scalar::Int(i32::from_ne_bytes([b0, b1, b2, b3]).into()),
        (DType::U8, &[b]) => Scalar::Int(b.into()),
        _ => HostTensor::from_bytes(dtype, &[1], b.to_vec()).map_or(Scalar::Int(0), |t| t.get(0)),
    }
}

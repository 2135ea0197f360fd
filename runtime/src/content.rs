//! What is written to whole buffers: repeated elements, copies, poison; and a hash of what is there.

use std::sync::{Mutex, PoisonError};

use rooftile_artifact::DType;

use crate::pool::{Panicked, Phase, Pool};

/// Bytes from which a fill or a copy is shared among threads, and the bytes of each piece.
const SHARE_FROM: usize = 512 << 10;
const PIECE: usize = 64 << 10;

/// Fills `to` with copies of `pattern`, whose length divides both that of `to` and [`PIECE`].
pub(crate) fn fill(to: &mut [u8], pattern: &[u8], pool: Option<&mut Pool>) -> Result<(), Panicked> {
    in_pieces(to, pool, |_, piece| repeat(piece, pattern))
}

/// Copies `from` to `to`, of the same length.
pub(crate) fn copy(from: &[u8], to: &mut [u8], pool: Option<&mut Pool>) -> Result<(), Panicked> {
    in_pieces(to, pool, |n, piece| piece.copy_from_slice(&from[n * PIECE..][..piece.len()]))
}

/// Reads and changes every byte.
pub(crate) fn touch(to: &mut [u8], pool: Option<&mut Pool>) -> Result<(), Panicked> {
    in_pieces(to, pool, |_, piece| {
        for byte in std::hint::black_box(piece) {
            *byte = byte.wrapping_add(1);
        }
    })
}

/// Calls `f(n, piece)` for every piece of `to`, on all threads when it pays.
fn in_pieces(
    to: &mut [u8],
    pool: Option<&mut Pool>,
    f: impl Fn(usize, &mut [u8]) + Sync,
) -> Result<(), Panicked> {
    let pieces = to.chunks_mut(PIECE);
    let Some(pool) = pool.filter(|_| pieces.len() * PIECE >= SHARE_FROM) else {
        pieces.enumerate().for_each(|(n, piece)| f(n, piece));
        return Ok(());
    };
    let pieces: Vec<Mutex<&mut [u8]>> = pieces.map(Mutex::new).collect();
    let chunks = i64::try_from(pieces.len()).unwrap_or(i64::MAX);
    pool.run(&[Phase::balanced(chunks, pool.threads())], &|_, _, begin, end| {
        for n in (begin..end).filter_map(|n| usize::try_from(n).ok()) {
            f(n, &mut pieces[n].lock().unwrap_or_else(PoisonError::into_inner));
        }
    })
}

/// Fills with copies of a pattern, the last one cut short.
pub(crate) fn repeat(piece: &mut [u8], pattern: &[u8]) {
    let Some(&first) = pattern.first() else { return };
    if pattern.iter().all(|&b| b == first) {
        piece.fill(first);
        return;
    }
    // Doubling copies run at the speed of a block move whatever the pattern's length.
    let mut done = pattern.len().min(piece.len());
    piece[..done].copy_from_slice(&pattern[..done]);
    while done < piece.len() {
        let more = done.min(piece.len() - done);
        piece.copy_within(..more, done);
        done += more;
    }
}

/// The bytes of an element that no right kernel computes: a NaN that carries `payload` where the type has one,
/// otherwise the payload's own bits.
pub(crate) fn poison(dtype: DType, payload: u64) -> Vec<u8> {
    let bytes = payload.to_le_bytes();
    let double = (0x7FF8_0000_0000_0000 | payload & 0x0007_FFFF_FFFF_FFFF).to_ne_bytes();
    let single =
        (0x7FC0_0000 | u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) & 0x003F_FFFF).to_ne_bytes();
    let half = u16::from_le_bytes([bytes[0], bytes[1]]);
    match dtype {
        DType::F64 => double.to_vec(),
        DType::C128 => double.repeat(2),
        DType::F32 | DType::Tf32 => single.to_vec(),
        DType::C64 => single.repeat(2),
        DType::F16 => (0x7E00 | half & 0x01FF).to_ne_bytes().to_vec(),
        DType::Bf16 => (0x7FC0 | half & 0x003F).to_ne_bytes().to_vec(),
        DType::E4m3 | DType::E5m2 => vec![0x7F],
        DType::E8m0 => vec![0xFF],
        DType::Bool | DType::E2m1 | DType::Int { .. } => bytes[..dtype.size().min(8)].to_vec(),
    }
}

/// A hash of bytes, the same in every run: not against an adversary, but against accidents.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const LANES: usize = 4;
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |h: u64, v: u64| (h ^ v).wrapping_mul(MULTIPLIER).rotate_left(29);
    let mut lanes: [u64; LANES] = [1, 2, 3, 4];
    // Four chains run side by side, so that large inputs are hashed at the speed of memory.
    let mut blocks = bytes.chunks_exact(LANES * 8);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = mix(*lane, u64::from_le_bytes(std::array::from_fn(|i| word[i])));
        }
    }
    let rest = blocks.remainder().iter().fold(bytes.len() as u64, |h, &b| mix(h, u64::from(b)));
    let all = lanes.iter().fold(rest, |h, &lane| mix(h, lane));
    all ^ all >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::HostTensor;

    #[test]
    fn fills_and_copies_reach_every_byte() {
        let mut pool = Pool::new(2, false).expect("threads");
        for len in [0, 4, 12, PIECE, SHARE_FROM + PIECE + 4] {
            for threads in [1, 2] {
                let mut to = vec![0; len];
                fill(&mut to, &[1, 2, 3, 4], (threads == 2).then_some(&mut pool)).expect("no panic");
                assert!(to.iter().zip([1, 2, 3, 4].iter().cycle()).all(|(a, b)| a == b), "{len}");
                let mut twin = vec![0; len];
                copy(&to, &mut twin, (threads == 2).then_some(&mut pool)).expect("no panic");
                assert_eq!(to, twin);
            }
        }
    }

    #[test]
    fn poison_is_not_a_number() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::E4m3, DType::E5m2, DType::E8m0]
        {
            for payload in [0, 1, u64::MAX] {
                let t = HostTensor::from_bytes(dtype, &[], poison(dtype, payload)).expect("one element");
                assert!(t.get(0).as_f64().is_nan(), "{dtype}");
            }
        }
    }

    #[test]
    fn hashes_differ_where_bytes_do() {
        let bytes: Vec<u8> = (0..100).collect();
        let all = hash(&bytes);
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert_ne!(hash(&other), all, "byte {i}");
        }
        assert_ne!(hash(&[0]), hash(&[0, 0]));
    }
}

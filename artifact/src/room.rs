//! How much there is room for: what is asked of a device before data are made for it.

/// Allocations of this many bytes and more are asked for before they are made; smaller ones are not worth the question.
pub const ASK_FROM: u64 = 64 << 20;

/// The most that the tensors of a kernel may take. By default anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of all tensors together.
    pub bytes: u128,
    /// Bytes of each tensor.
    pub tensor_bytes: u128,
    /// Elements of each tensor.
    pub tensor_elements: u128,
}

impl Room {
    /// Room for so many bytes in all, and no other limit.
    #[must_use]
    pub fn of_bytes(bytes: Option<u64>) -> Room {
        Room { bytes: bytes.map_or(u128::MAX, u128::from), ..Room::default() }
    }
}

impl Default for Room {
    fn default() -> Room {
        Room { bytes: u128::MAX, tensor_bytes: u128::MAX, tensor_elements: u128::MAX }
    }
}

//! How compiled GPU code is entered.
//!
//! Each phase of a kernel is an entry point without descriptors. Its push constants are one 64-bit address, at offset 0:
//! that of a block of 64-bit cells, at least 16-byte aligned, which the code only reads:
//!
//! | cell | content |
//! |---|---|
//! | [`cell::STATUS`] | address of a 32-bit word of [`crate::abi::status`] bits, which the code sets by atomic or |
//! | [`cell::LOCAL`] | address of the scratch memory, aligned to [`crate::abi::BUFFER_ALIGN`] |
//! | [`cell::LOCAL_BYTES`] | bytes of scratch memory for each chunk in flight |
//! | [`cell::CHUNKS`] | number of chunks of this phase |
//! | [`cell::FIRST`] .. | address of each buffer slot, then the sizes, then the scalars as in [`crate::abi::LaunchArgs`] |
//!
//! The dispatch is one-dimensional. With `c` chunks a group ([`crate::program::SpirvPhase::chunks_per_group`]) and `g`
//! groups, the group with number `w` runs the chunks `w * c .. w * c + c`, then those `g * c` further on, and so on below
//! the number of chunks; so any `g` is right. Chunk `x` of a pass has the scratch memory at
//! `LOCAL + (w * c + x) * LOCAL_BYTES`, `x` below `c`. Every buffer has less than [`LIMIT`] elements, there are
//! less chunks than that, and every size is below it and not below `-LIMIT`.

/// Cells of the parameter block.
pub mod cell {
    /// Address of the status word.
    pub const STATUS: u32 = 0;
    /// Address of the scratch memory.
    pub const LOCAL: u32 = 1;
    /// Bytes of scratch memory of a chunk.
    pub const LOCAL_BYTES: u32 = 2;
    /// Number of chunks of the phase.
    pub const CHUNKS: u32 = 3;
    /// The first buffer's address.
    pub const FIRST: u32 = 4;
}

/// Elements of a buffer, sizes and chunks stay below this. It leaves room for blocks at the end: a counter below a size
/// and a few thousand more are still a signed number of 32 bits.
pub const LIMIT: i64 = (1 << 31) - (1 << 16);

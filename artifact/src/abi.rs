//! How compiled CPU code is entered.
//!
//! `entry(args, phase, begin, end)` runs the chunks `begin..end` of one phase in ascending order. It calls nothing,
//! keeps the platform's C calling convention, and touches only the memory that [`LaunchArgs`] names.

/// What a launch passes by pointer to every call of the code; constant during the launch but for `local`, of which
/// each thread has its own.
#[repr(C)]
#[derive(Debug)]
pub struct LaunchArgs {
    /// One base pointer per buffer slot, each aligned to [`BUFFER_ALIGN`].
    pub buffers: *const *mut u8,
    /// The kernel's sizes.
    pub sizes: *const i64,
    /// The kernel's scalars, one 8-byte cell each: an integer sign- or zero-extended to 64 bits, a float of any
    /// width but f64 as binary32 in the low four bytes, f64 as it is, a truth value as 0 or 1.
    pub scalars: *const u64,
    /// Scratch memory of the calling thread, aligned to [`BUFFER_ALIGN`].
    pub local: *mut u8,
    /// A word of [`status`] bits that the code may set and never clears. Shared by all threads.
    pub status: *mut u32,
}

/// Offsets of the fields of [`LaunchArgs`] in bytes, on targets with 8-byte pointers.
pub mod offset {
    /// Of `buffers`.
    pub const BUFFERS: i32 = 0;
    /// Of `sizes`.
    pub const SIZES: i32 = 8;
    /// Of `scalars`.
    pub const SCALARS: i32 = 16;
    /// Of `local`.
    pub const LOCAL: i32 = 24;
    /// Of `status`.
    pub const STATUS: i32 = 32;
}

/// Bits of the status word.
pub mod status {
    /// An `append` met a full list.
    pub const APPEND_OVERFLOW: u32 = 1;
    /// An index computed from data was outside its tensor; the access was not made.
    pub const OUT_OF_BOUNDS: u32 = 2;
}

/// The code's entry point.
pub type Entry = unsafe extern "C" fn(args: *const LaunchArgs, phase: i64, begin: i64, end: i64);

/// Alignment in bytes of every buffer and of the scratch memory.
pub const BUFFER_ALIGN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn offsets_match_the_layout() {
        let real = [
            offset_of!(LaunchArgs, buffers),
            offset_of!(LaunchArgs, sizes),
            offset_of!(LaunchArgs, scalars),
            offset_of!(LaunchArgs, local),
            offset_of!(LaunchArgs, status),
        ];
        let said = [offset::BUFFERS, offset::SIZES, offset::SCALARS, offset::LOCAL, offset::STATUS];
        for (real, said) in real.iter().zip(said) {
            assert_eq!(i32::try_from(*real), Ok(said));
        }
    }
}

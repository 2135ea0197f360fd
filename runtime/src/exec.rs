//! Executable memory: the only place that turns bytes into something callable.
#![allow(unsafe_code, reason = "maps memory and makes it executable")]

use std::io;
use std::ptr::NonNull;

use rooftile_artifact::abi::Entry;

use crate::buffer::page_size;

/// Machine code that can be called. The memory is written once, then readable and executable but never writable.
#[derive(Debug)]
pub struct ExecutableCode {
    base: NonNull<u8>,
    mapped: usize,
}

/// Why code could not be made executable.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no code.
    #[error("the code is empty")]
    Empty,
    /// The alignment is not a power of two, or is more than a page.
    #[error("code cannot be aligned to {0} bytes")]
    Alignment(usize),
    /// The operating system refused.
    #[error("no executable memory for {bytes} bytes of code: {source}")]
    Memory {
        /// Bytes of code.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

// SAFETY: the memory is private to the value and is only read and executed after construction.
unsafe impl Send for ExecutableCode {}
// SAFETY: as for `Send`; nothing writes it.
unsafe impl Sync for ExecutableCode {}

impl ExecutableCode {
    /// Copies `bytes` to executable memory whose first byte is aligned to `align`.
    ///
    /// # Errors
    /// [`ExecError`] when the alignment is impossible or the system gives no such memory.
    pub fn new(bytes: &[u8], align: usize) -> Result<ExecutableCode, ExecError> {
        let page = page_size();
        if bytes.is_empty() {
            return Err(ExecError::Empty);
        }
        if !align.is_power_of_two() || align > page {
            return Err(ExecError::Alignment(align));
        }
        let refused = || ExecError::Memory { bytes: bytes.len(), source: io::Error::last_os_error() };
        let mapped = bytes.len().next_multiple_of(page);
        // SAFETY: an anonymous private mapping at an address of the system's choice affects no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(refused());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else { return Err(refused()) };
        // From here on, dropping `code` unmaps.
        let code = ExecutableCode { base, mapped };
        // SAFETY: the mapping is writable, at least `bytes.len()` long, and overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.as_ptr(), bytes.len()) };
        // SAFETY: the range is exactly the mapping made above.
        let changed =
            unsafe { libc::mprotect(base.as_ptr().cast(), mapped, libc::PROT_READ | libc::PROT_EXEC) };
        if changed != 0 {
            return Err(refused());
        }
        synchronise_instruction_cache(base, bytes.len());
        Ok(code)
    }

    /// The code's first byte as a function. Calling it is sound only if the bytes are code for this machine that
    /// keeps to [`rooftile_artifact::abi`], and only while `self` lives.
    #[must_use]
    pub fn entry(&self) -> Entry {
        // SAFETY: a data pointer and a function pointer have one representation on the platforms with `mmap`.
        unsafe { std::mem::transmute::<*mut u8, Entry>(self.base.as_ptr()) }
    }
}

impl Drop for ExecutableCode {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping made in `new`; whoever called the code has returned, since
        // calls borrow `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// Makes stored bytes visible to instruction fetch, which x86-64 does by itself.
#[cfg(not(target_arch = "aarch64"))]
fn synchronise_instruction_cache(_base: NonNull<u8>, _len: usize) {}

/// Makes stored bytes visible to instruction fetch: clean the data cache and invalidate the instruction cache line
/// by line, in steps no longer than the smallest line of any such processor.
#[cfg(target_arch = "aarch64")]
fn synchronise_instruction_cache(base: NonNull<u8>, len: usize) {
    const STEP: usize = 16;
    let (start, end) = (base.as_ptr() as usize, base.as_ptr() as usize + len);
    // SAFETY: cache maintenance by address inside a live mapping; it changes no memory.
    unsafe {
        for line in (start..end).step_by(STEP) {
            std::arch::asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags));
        }
        std::arch::asm!("dsb ish", options(nostack, preserves_flags));
        for line in (start..end).step_by(STEP) {
            std::arch::asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags));
        }
        std::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn code_runs() {
        let code = ExecutableCode::new(&[0xC3], 16).expect("one page");
        // SAFETY: `ret` touches nothing.
        unsafe { code.entry()(std::ptr::null(), 0, 0, 1) };
    }

    #[test]
    fn impossible_requests_are_refused() {
        assert!(matches!(ExecutableCode::new(&[], 16), Err(ExecError::Empty)));
        assert!(matches!(ExecutableCode::new(&[0xC3], 3), Err(ExecError::Alignment(3))));
        assert!(matches!(ExecutableCode::new(&[0xC3], 1 << 30), Err(ExecError::Alignment(_))));
    }
}

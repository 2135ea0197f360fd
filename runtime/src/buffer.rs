//! Memory for tensors: aligned, in huge pages where they pay, and guarded where errors are to be caught.
#![allow(unsafe_code, reason = "maps memory, and views it as bytes")]

use std::alloc::Layout;
use std::ptr::NonNull;

use rooftile_artifact::abi::BUFFER_ALIGN;

use crate::memory;

/// Buffers of this size and more are put in huge pages: one core reads DRAM about twice as fast from them.
pub const HUGE_FROM: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory whose pages are all present, aligned to [`BUFFER_ALIGN`], or to 2 MiB from [`HUGE_FROM`] on.
#[derive(Debug)]
pub struct AlignedBuffer {
    data: NonNull<u8>,
    len: usize,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    /// From the allocator.
    Heap(Layout),
    /// Whole pages from the system: base and length of the mapping.
    Mapped(NonNull<u8>, usize),
    /// As `Mapped`, with an inaccessible page at each end; canary bytes fill what the data leaves of the pages
    /// between: the counts before and behind the data.
    Guarded { base: NonNull<u8>, mapped: usize, before: usize, behind: usize },
}

/// The system has no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: no buffer of {bytes} bytes")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: usize,
}

/// A byte just outside a guarded buffer was overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a byte at offset {offset} of a buffer of {len} bytes was overwritten")]
pub struct CanaryDied {
    /// Offset of the byte from the start of the data; negative before it, at least `len` behind it.
    pub offset: isize,
    /// Bytes of data.
    pub len: usize,
}

// SAFETY: the memory is owned by the value alone; access follows Rust's borrowing of the value.
unsafe impl Send for AlignedBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// `len` zero bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system has none.
    pub fn new(len: usize) -> Result<AlignedBuffer, OutOfMemory> {
        memory::ask(len as u64)?;
        if len >= HUGE_FROM { AlignedBuffer::mapped(len) } else { AlignedBuffer::heap(len) }
    }

    /// `len` zero bytes that end as close before an inaccessible page as the alignment allows, with another one
    /// before the start: an access outside stops the process, or, in the bytes between, kills a canary.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system has none.
    pub fn guarded(len: usize) -> Result<AlignedBuffer, OutOfMemory> {
        memory::ask(len as u64)?;
        let page = page_size();
        let none = OutOfMemory { bytes: len };
        let inner = len.checked_next_multiple_of(page).ok_or(none)?.max(page);
        let mapped = inner.checked_add(2 * page).ok_or(none)?;
        let base = map(mapped, libc::PROT_NONE).ok_or(none)?;
        let before = (inner - len) / BUFFER_ALIGN * BUFFER_ALIGN;
        let behind = inner - len - before;
        // SAFETY: page + before + len is inside the mapping.
        let data = unsafe { base.add(page + before) };
        let mut buffer =
            AlignedBuffer { data, len, backing: Backing::Guarded { base, mapped, before, behind } };
        // SAFETY: the range is the mapping without its first and last page.
        let changed = unsafe {
            libc::mprotect(base.add(page).as_ptr().cast(), inner, libc::PROT_READ | libc::PROT_WRITE)
        };
        if changed != 0 {
            return Err(none);
        }
        for offset in buffer.canary_offsets() {
            // SAFETY: canary offsets lie in the accessible pages.
            unsafe { data.offset(offset).write(canary(offset)) };
        }
        buffer.touch();
        Ok(buffer)
    }

    /// Bytes of data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `data` points at `len` initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The data, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    /// The first byte; never null, aligned even when there is no data.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_ptr()
    }

    /// The first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.data.as_ptr()
    }

    /// Whether the bytes around the data of a guarded buffer are as they were made; always so for other buffers.
    ///
    /// # Errors
    /// [`CanaryDied`] with the overwritten byte of the lowest address.
    pub fn check_canaries(&self) -> Result<(), CanaryDied> {
        let died = self.canary_offsets().find(|&offset| {
            // SAFETY: canary offsets lie in the accessible pages; code that no Rust reference describes may have
            // written there, hence the volatile read.
            let now = unsafe { self.data.offset(offset).read_volatile() };
            now != canary(offset)
        });
        died.map_or(Ok(()), |offset| Err(CanaryDied { offset, len: self.len }))
    }

    fn heap(len: usize) -> Result<AlignedBuffer, OutOfMemory> {
        let none = OutOfMemory { bytes: len };
        let layout = Layout::from_size_align(len.max(1), BUFFER_ALIGN).map_err(|_| none)?;
        // SAFETY: the layout is not empty.
        let data = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).ok_or(none)?;
        let mut buffer = AlignedBuffer { data, len, backing: Backing::Heap(layout) };
        buffer.touch();
        Ok(buffer)
    }

    fn mapped(len: usize) -> Result<AlignedBuffer, OutOfMemory> {
        let none = OutOfMemory { bytes: len };
        let mapped = len
            .checked_next_multiple_of(HUGE_PAGE)
            .and_then(|n| n.checked_add(HUGE_PAGE))
            .filter(|&n| isize::try_from(n).is_ok())
            .ok_or(none)?;
        let base = map(mapped, libc::PROT_READ | libc::PROT_WRITE).ok_or(none)?;
        let skip = base.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: one huge page was mapped more than needed, so the aligned address is inside.
        let data = unsafe { base.add(skip) };
        let mut buffer = AlignedBuffer { data, len, backing: Backing::Mapped(base, mapped) };
        advise_huge(data, len.next_multiple_of(HUGE_PAGE));
        buffer.touch();
        Ok(buffer)
    }

    /// Writes one byte of every page, so that no timed access meets a page that is not there yet.
    fn touch(&mut self) {
        for offset in (0..self.len).step_by(page_size()) {
            // SAFETY: the offset is inside the data.
            unsafe { self.data.add(offset).write_volatile(0) };
        }
    }

    /// Offsets of the canary bytes from the start of the data, ascending.
    fn canary_offsets(&self) -> impl Iterator<Item = isize> + use<> {
        let (before, behind) = match self.backing {
            Backing::Guarded { before, behind, .. } => (before, behind),
            Backing::Heap(_) | Backing::Mapped(..) => (0, 0),
        };
        #[expect(clippy::cast_possible_wrap, reason = "offsets inside one mapping fit an isize")]
        let (before, behind, len) = (before as isize, behind as isize, self.len as isize);
        (-before..0).chain(len..len + behind)
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        match self.backing {
            // SAFETY: allocated with this layout.
            Backing::Heap(layout) => unsafe { std::alloc::dealloc(self.data.as_ptr(), layout) },
            Backing::Mapped(base, mapped) | Backing::Guarded { base, mapped, .. } => {
                // SAFETY: exactly the mapping that was made for this value.
                unsafe { libc::munmap(base.as_ptr().cast(), mapped) };
            }
        }
    }
}

/// Differs from byte to byte, so that a copy of neighbouring canaries does not pass for the right ones.
pub(crate) fn canary(offset: isize) -> u8 {
    offset.to_le_bytes()[0].wrapping_mul(31) ^ 0xA5
}

fn map(len: usize, protection: i32) -> Option<NonNull<u8>> {
    // SAFETY: an anonymous private mapping at an address of the system's choice affects no other memory.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast()) }
}

/// Asks for huge pages; a system that has none goes on with small ones.
#[cfg(target_os = "linux")]
fn advise_huge(data: NonNull<u8>, len: usize) {
    // SAFETY: the range is inside one mapping of ours, and the advice does not change its content.
    unsafe { libc::madvise(data.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_data: NonNull<u8>, _len: usize) {}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> usize {
    // SAFETY: a query without effect.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).ok().filter(|&p| p > 0).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_and_aligned() {
        for len in [0, 1, 63, 64, 4096, 100_000, HUGE_FROM, HUGE_FROM + 1] {
            let mut b = AlignedBuffer::new(len).expect("small");
            let align = if len >= HUGE_FROM { HUGE_PAGE } else { BUFFER_ALIGN };
            assert_eq!(b.as_ptr().align_offset(align), 0, "{len}");
            assert!(b.as_slice().iter().all(|&v| v == 0));
            b.as_mut_slice().fill(7);
            assert_eq!((b.len(), b.as_slice().len()), (len, len));
            assert_eq!(b.check_canaries(), Ok(()));
        }
    }

    #[test]
    fn guarded_buffers_end_before_the_guard_page() {
        for len in [0, 1, 60, 64, 65, 4095, 4096, 4097, 1 << 20] {
            let mut b = AlignedBuffer::guarded(len).expect("small");
            assert_eq!(b.as_ptr().align_offset(BUFFER_ALIGN), 0);
            let to_guard = (b.as_ptr() as usize + len).next_multiple_of(page_size());
            assert!(to_guard - (b.as_ptr() as usize + len) < BUFFER_ALIGN, "{len}");
            b.as_mut_slice().fill(0xFF);
            assert_eq!(b.check_canaries(), Ok(()), "{len}");
        }
    }

    #[test]
    fn a_dead_canary_is_seen() {
        let mut b = AlignedBuffer::guarded(60).expect("small");
        // SAFETY: the bytes beside the data are accessible canaries.
        unsafe { b.as_mut_ptr().add(60).write(0) };
        assert_eq!(b.check_canaries(), Err(CanaryDied { offset: 60, len: 60 }));
        // SAFETY: as above.
        unsafe { b.as_mut_ptr().sub(1).write(0) };
        assert_eq!(b.check_canaries(), Err(CanaryDied { offset: -1, len: 60 }));
    }

    #[test]
    fn impossible_sizes_are_an_error() {
        assert_eq!(AlignedBuffer::new(usize::MAX).err(), Some(OutOfMemory { bytes: usize::MAX }));
        assert!(AlignedBuffer::guarded(usize::MAX - 5).is_err());
        assert!(AlignedBuffer::new(1 << 60).is_err());
    }
}

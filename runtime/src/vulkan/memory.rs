//! Storages: memory of a device with an address, reached by the host where they are one, else through staging copies.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::mem::ManuallyDrop;
use std::sync::Arc;

use ash::vk;
use gpu_allocator::MemoryLocation;

use crate::buffer::{CanaryDied, canary};
use crate::error::DeviceError;
use crate::memory as host;
use crate::vulkan::context::{Context, RawBuffer};

/// Alignment of every storage, bytes: what drivers are fastest with, and at least
/// [`rooftile_artifact::abi::BUFFER_ALIGN`].
const ALIGN: u64 = 256;
/// Canary bytes on either side of a guarded storage.
const GUARD: u64 = 256;
/// Bytes that are copied at once between the host and memory that it does not reach.
const STAGING: usize = 16 << 20;

/// Who uses a storage most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The device.
    Device,
    /// The host writes it, the device reads it.
    Upload,
    /// The device writes it, the host reads it.
    Download,
}

/// Memory of a device.
#[derive(Debug)]
pub(crate) struct Storage {
    context: Arc<Context>,
    raw: ManuallyDrop<RawBuffer>,
    /// Where the data begins in the buffer.
    offset: u64,
    len: usize,
    guard: u64,
}

impl Storage {
    /// `len` zero bytes; `guarded` ones lie between canaries.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`], or what a failing device says.
    pub(crate) fn new(
        context: &Arc<Context>,
        len: usize,
        purpose: Use,
        guarded: bool,
    ) -> Result<Storage, DeviceError> {
        let guard = if guarded { GUARD } else { 0 };
        let size = (len as u64).next_multiple_of(4) + ALIGN + 2 * guard;
        let location = match purpose {
            // The host reads it through its caches as fast as its own.
            Use::Device if context.found.unified => MemoryLocation::GpuToCpu,
            Use::Device => MemoryLocation::GpuOnly,
            Use::Upload => MemoryLocation::CpuToGpu,
            Use::Download => MemoryLocation::GpuToCpu,
        };
        let raw = context.make(size, location)?;
        let offset = (raw.address + guard).next_multiple_of(ALIGN) - raw.address;
        let mut storage =
            Storage { context: Arc::clone(context), raw: ManuallyDrop::new(raw), offset, len, guard };
        storage.clear()?;
        Ok(storage)
    }

    /// Bytes of data.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The device's address of the data.
    pub(crate) fn address(&self) -> u64 {
        self.raw.address + self.offset
    }

    /// The buffer that commands name, and where the data begins in it.
    pub(crate) fn buffer(&self) -> (vk::Buffer, u64) {
        (self.raw.buffer, self.offset)
    }

    /// Where the host reaches the data, if it does.
    pub(crate) fn mapped(&self) -> Option<&[u8]> {
        let (offset, len) = (self.start(), self.len);
        self.raw.allocation.mapped_slice().and_then(|all| all.get(offset..offset + len))
    }

    /// Where the host reaches the data, if it does, to be written.
    pub(crate) fn mapped_mut(&mut self) -> Option<&mut [u8]> {
        let (offset, len) = (self.start(), self.len);
        self.raw.allocation.mapped_slice_mut().and_then(|all| all.get_mut(offset..offset + len))
    }

    /// Shows all bytes.
    ///
    /// # Errors
    /// When the device does not give them.
    pub(crate) fn read(&self, look: &mut dyn FnMut(&[u8])) -> Result<(), DeviceError> {
        if let Some(bytes) = self.mapped() {
            look(bytes);
            return Ok(());
        }
        look(&self.download(self.offset, self.len)?);
        Ok(())
    }

    /// Replaces all bytes by those that `make` leaves.
    ///
    /// # Errors
    /// When the device does not take them.
    pub(crate) fn write(&mut self, make: &mut dyn FnMut(&mut [u8])) -> Result<(), DeviceError> {
        if let Some(bytes) = self.mapped_mut() {
            make(bytes);
            return Ok(());
        }
        host::ask(self.len as u64)?;
        let mut bytes = vec![0; self.len];
        make(&mut bytes);
        self.upload(self.offset, &bytes)
    }

    /// Copies all bytes of a storage of the same length, on the device.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn copy_from(&mut self, other: &Storage) -> Result<(), DeviceError> {
        if self.len == 0 {
            return Ok(());
        }
        let ((from, from_offset), (to, to_offset)) = (other.buffer(), self.buffer());
        let region = [vk::BufferCopy {
            src_offset: from_offset,
            dst_offset: to_offset,
            size: self.len.min(other.len) as u64,
        }];
        self.context.once(|commands| {
            // SAFETY: both buffers are live, the region is inside both, and nothing else uses them meanwhile.
            unsafe { self.context.device.cmd_copy_buffer(commands, from, to, &region) };
        })
    }

    /// The first overwritten byte beside the data, of a guarded storage.
    ///
    /// # Errors
    /// When the device does not give its memory to be read.
    pub(crate) fn dead_canary(&self) -> Result<Option<CanaryDied>, DeviceError> {
        let len = isize::try_from(self.len).unwrap_or(isize::MAX);
        for (start, first) in self.canaries() {
            let now = match self.all_mapped() {
                Some(all) => all.get(start..start + self.guard_len()).unwrap_or(&[]).to_vec(),
                None => self.download(start as u64, self.guard_len())?,
            };
            let mut pairs = (first..).zip(&now);
            if let Some((offset, _)) = pairs.find(|&(offset, &byte)| byte != canary(offset)) {
                debug_assert!(offset < 0 || offset >= len);
                return Ok(Some(CanaryDied { offset, len: self.len }));
            }
        }
        Ok(None)
    }

    /// Zeroes the data and writes the canaries.
    fn clear(&mut self) -> Result<(), DeviceError> {
        let canaries = self.canaries();
        let guard = self.guard_len();
        let (start, len) = (self.start(), self.len.next_multiple_of(4));
        let line = |first: isize| (first..).take(guard).map(canary);
        if let Some(all) = self.raw.allocation.mapped_slice_mut() {
            all[start..start + len].fill(0);
            for (at, first) in canaries {
                for (byte, value) in all[at..].iter_mut().zip(line(first)) {
                    *byte = value;
                }
            }
            return Ok(());
        }
        if len > 0 {
            let (buffer, offset) = self.buffer();
            self.context.once(|commands| {
                // SAFETY: the buffer is live and larger than the range, whose limits are multiples of 4.
                unsafe { self.context.device.cmd_fill_buffer(commands, buffer, offset, len as u64, 0) };
            })?;
        }
        for (at, first) in canaries {
            let bytes: Vec<u8> = line(first).collect();
            self.upload(at as u64, &bytes)?;
        }
        Ok(())
    }

    /// Where canaries begin in the buffer, with the offset of their first byte from the data; none without guards.
    fn canaries(&self) -> Vec<(usize, isize)> {
        let guard = self.guard_len();
        if guard == 0 {
            return Vec::new();
        }
        let (before, len) = (isize::try_from(guard).unwrap_or(0), isize::try_from(self.len).unwrap_or(0));
        vec![(self.start() - guard, -before), (self.start() + self.len, len)]
    }

    fn guard_len(&self) -> usize {
        usize::try_from(self.guard).unwrap_or(0)
    }

    fn start(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }

    fn all_mapped(&self) -> Option<&[u8]> {
        self.raw.allocation.mapped_slice()
    }

    fn download(&self, offset: u64, len: usize) -> Result<Vec<u8>, DeviceError> {
        host::ask(len as u64)?;
        let mut bytes = Vec::with_capacity(len);
        let staging = Storage::staging(&self.context, len, Use::Download)?;
        while bytes.len() < len {
            let piece = (len - bytes.len()).min(STAGING);
            self.stage(&staging, offset + bytes.len() as u64, piece, true)?;
            bytes.extend_from_slice(&staging.reached()?[..piece]);
        }
        Ok(bytes)
    }

    fn upload(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut staging = Storage::staging(&self.context, bytes.len(), Use::Upload)?;
        let mut at = offset;
        for piece in bytes.chunks(STAGING) {
            match staging.mapped_mut() {
                Some(to) => to[..piece.len()].copy_from_slice(piece),
                None => return Err(unreachable_memory()),
            }
            self.stage(&staging, at, piece.len(), false)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Copies between the staging memory and this one, at an offset of its buffer.
    fn stage(&self, staging: &Storage, at: u64, len: usize, out: bool) -> Result<(), DeviceError> {
        let (other, other_at) = staging.buffer();
        let (own, size) = (self.raw.buffer, len as u64);
        self.context.once(|commands| {
            let device = &self.context.device;
            // SAFETY: both buffers are live, the regions are inside them, and nothing else uses them meanwhile.
            unsafe {
                if out {
                    let region = [vk::BufferCopy { src_offset: at, dst_offset: other_at, size }];
                    device.cmd_copy_buffer(commands, own, other, &region);
                } else {
                    let region = [vk::BufferCopy { src_offset: other_at, dst_offset: at, size }];
                    device.cmd_copy_buffer(commands, other, own, &region);
                }
            }
        })
    }

    fn staging(context: &Arc<Context>, len: usize, purpose: Use) -> Result<Storage, DeviceError> {
        let raw = context.make(
            len.clamp(1, STAGING) as u64,
            match purpose {
                Use::Download => MemoryLocation::GpuToCpu,
                Use::Device | Use::Upload => MemoryLocation::CpuToGpu,
            },
        )?;
        let len = len.min(STAGING);
        Ok(Storage { context: Arc::clone(context), raw: ManuallyDrop::new(raw), offset: 0, len, guard: 0 })
    }

    fn reached(&self) -> Result<&[u8], DeviceError> {
        self.mapped().ok_or_else(unreachable_memory)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // SAFETY: it is taken once, here.
        let raw = unsafe { ManuallyDrop::take(&mut self.raw) };
        self.context.free(raw);
    }
}

fn unreachable_memory() -> DeviceError {
    DeviceError::Driver { what: "the memory".to_owned(), why: "the host does not reach it".to_owned() }
}

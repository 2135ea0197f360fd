//! A Vulkan device in use: its queue, its memory, and what goes wrong with them.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ash::vk;
use gpu_allocator::vulkan::{
    Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc,
};
use gpu_allocator::{AllocationError, AllocationSizes, MemoryLocation};

use crate::buffer::OutOfMemory;
use crate::error::DeviceError;
use crate::memory as host;
use crate::vulkan::driver::Driver;
use crate::vulkan::probe::Found;

/// A device in use. All its objects hold it, and go before it does.
pub(crate) struct Context {
    /// The device's functions.
    pub(crate) device: ash::Device,
    /// What the device is.
    pub(crate) found: &'static Found,
    /// The layout of every pipeline: one address as push constant.
    pub(crate) layout: vk::PipelineLayout,
    /// Compiled code, kept while the device is in use.
    pub(crate) cache: vk::PipelineCache,
    queue: Mutex<vk::Queue>,
    allocator: Mutex<ManuallyDrop<Allocator>>,
    /// For commands that are run once: copies to and from the host, fills.
    once: Mutex<Once>,
    timeout: Duration,
    state: AtomicU8,
}

/// A command buffer with its fence, used by one caller at a time.
#[derive(Debug)]
struct Once {
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    fence: vk::Fence,
}

/// A buffer with its memory; freed by [`Context::free`].
#[derive(Debug)]
pub(crate) struct RawBuffer {
    pub(crate) buffer: vk::Buffer,
    pub(crate) allocation: Allocation,
    pub(crate) address: u64,
}

const WORKS: u8 = 0;
/// The driver says that the device is lost.
const LOST: u8 = 1;
/// Work never ended; whatever it uses must stay.
const HANGS: u8 = 2;

/// The least memory that the allocator asks the driver for at once, bytes; larger buffers get memory of their own.
const BLOCK: u64 = 16 << 20;

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("device", &self.found.target.name).finish_non_exhaustive()
    }
}

impl Context {
    /// Takes a device into use.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] with what the driver says.
    pub(crate) fn new(
        driver: &Driver,
        found: &'static Found,
        timeout: Duration,
    ) -> Result<Context, DeviceError> {
        let device = create_device(driver, found)?;
        let said = |what: &'static str| move |e: vk::Result| driver_said(what, e);
        // SAFETY: the device is live and has one queue of this family; the structures live through each call.
        unsafe {
            let queue = device.get_device_queue(found.family, 0);
            let ranges =
                [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(8)];
            let layout = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges);
            let layout = device.create_pipeline_layout(&layout, None).map_err(said("a pipeline layout"))?;
            let cache = device
                .create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None)
                .map_err(said("a pipeline cache"))?;
            let (pool, commands) = command_buffer(&device, found.family)?;
            let fence =
                device.create_fence(&vk::FenceCreateInfo::default(), None).map_err(said("a fence"))?;
            let allocator = Allocator::new(&AllocatorCreateDesc {
                instance: driver.instance.clone(),
                device: device.clone(),
                physical_device: found.handle,
                debug_settings: Default::default(),
                buffer_device_address: true,
                allocation_sizes: AllocationSizes::new(BLOCK, BLOCK),
            })
            .map_err(|e| DeviceError::Driver { what: "the memory".to_owned(), why: e.to_string() })?;
            Ok(Context {
                device,
                found,
                layout,
                cache,
                queue: Mutex::new(queue),
                allocator: Mutex::new(ManuallyDrop::new(allocator)),
                once: Mutex::new(Once { pool, commands, fence }),
                timeout,
                state: AtomicU8::new(WORKS),
            })
        }
    }

    /// Whether work may still be running that nothing can stop. Then nothing that it may use is to be freed.
    pub(crate) fn hangs(&self) -> bool {
        self.state.load(Ordering::Relaxed) == HANGS
    }

    /// A fence.
    pub(crate) fn fence(&self) -> Result<vk::Fence, DeviceError> {
        // SAFETY: the device is live.
        unsafe { self.device.create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(|e| driver_said("a fence", e))
    }

    /// A pool with one command buffer.
    pub(crate) fn command_buffer(&self) -> Result<(vk::CommandPool, vk::CommandBuffer), DeviceError> {
        command_buffer(&self.device, self.found.family)
    }

    /// Runs command buffers in order, each as a submission of its own, and waits for the last.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] and [`DeviceError::TimedOut`], from then on for every call.
    pub(crate) fn submit(&self, commands: &[vk::CommandBuffer], fence: vk::Fence) -> Result<(), DeviceError> {
        match self.state.load(Ordering::Relaxed) {
            WORKS => {}
            LOST => return Err(self.lost()),
            _ => return Err(self.timed_out()),
        }
        let each: Vec<&[vk::CommandBuffer]> = commands.chunks(1).collect();
        let infos: Vec<_> = each.into_iter().map(|c| vk::SubmitInfo::default().command_buffers(c)).collect();
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let limit = self.timeout.saturating_mul(count.max(1)).as_nanos();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        // SAFETY: the command buffers are recorded and not in use, the fence is unsignaled and this caller's; the
        // queue is locked while it is given work.
        let outcome = unsafe {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let submitted = self.device.queue_submit(*queue, &infos, fence);
            drop(queue);
            submitted
                .and_then(|()| self.device.wait_for_fences(&[fence], true, limit))
                .and_then(|()| self.device.reset_fences(&[fence]))
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(vk::Result::TIMEOUT) => {
                self.state.store(HANGS, Ordering::Relaxed);
                Err(self.timed_out())
            }
            Err(vk::Result::ERROR_DEVICE_LOST) => {
                self.state.store(LOST, Ordering::Relaxed);
                Err(self.lost())
            }
            Err(e) => Err(driver_said("running", e)),
        }
    }

    /// Records commands and runs them once.
    ///
    /// # Errors
    /// As [`Context::submit`].
    pub(crate) fn once(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<(), DeviceError> {
        let once: MutexGuard<'_, Once> = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        if self.hangs() {
            return Err(self.timed_out());
        }
        let said = |e| driver_said("recording", e);
        // SAFETY: the pool and its command buffer are this caller's while the lock is held, and not in use: whoever held
        // it before waited.
        unsafe {
            self.device.reset_command_pool(once.pool, vk::CommandPoolResetFlags::empty()).map_err(said)?;
            self.device.begin_command_buffer(once.commands, &begin_once()).map_err(said)?;
        }
        record(once.commands);
        // SAFETY: as above.
        unsafe {
            self.to_host(once.commands);
            self.device.end_command_buffer(once.commands).map_err(said)?;
        }
        self.submit(&[once.commands], once.fence)
    }

    /// Records that whatever follows sees all writes before.
    ///
    /// # Safety
    /// The command buffer is being recorded.
    pub(crate) unsafe fn barrier(&self, commands: vk::CommandBuffer) {
        use vk::{AccessFlags as Access, PipelineStageFlags as Stage};
        let stages = Stage::COMPUTE_SHADER | Stage::TRANSFER;
        let memory = [vk::MemoryBarrier::default()
            .src_access_mask(Access::SHADER_WRITE | Access::TRANSFER_WRITE)
            .dst_access_mask(
                Access::SHADER_READ | Access::SHADER_WRITE | Access::TRANSFER_READ | Access::TRANSFER_WRITE,
            )];
        let none = vk::DependencyFlags::empty();
        // SAFETY: by the caller.
        unsafe { self.device.cmd_pipeline_barrier(commands, stages, stages, none, &memory, &[], &[]) };
    }

    /// Records that the host, once it has waited, sees all writes.
    ///
    /// # Safety
    /// The command buffer is being recorded.
    pub(crate) unsafe fn to_host(&self, commands: vk::CommandBuffer) {
        use vk::{AccessFlags as Access, PipelineStageFlags as Stage};
        let from = Stage::COMPUTE_SHADER | Stage::TRANSFER;
        let memory = [vk::MemoryBarrier::default()
            .src_access_mask(Access::SHADER_WRITE | Access::TRANSFER_WRITE)
            .dst_access_mask(Access::HOST_READ)];
        let none = vk::DependencyFlags::empty();
        // SAFETY: by the caller.
        unsafe { self.device.cmd_pipeline_barrier(commands, from, Stage::HOST, none, &memory, &[], &[]) };
    }

    /// Bytes that the device can give to buffers, as far as is known: its driver only says what it has in all.
    pub(crate) fn available(&self) -> u64 {
        let host = if self.found.unified { host::available() } else { None };
        host.map_or(self.found.memory, |host| host.min(self.found.memory))
    }

    /// A buffer of so many bytes, whose content is not said.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub(crate) fn make(&self, bytes: u64, location: MemoryLocation) -> Result<RawBuffer, DeviceError> {
        use vk::BufferUsageFlags as Usage;
        let none = OutOfMemory { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) };
        let usage =
            Usage::STORAGE_BUFFER | Usage::TRANSFER_SRC | Usage::TRANSFER_DST | Usage::SHADER_DEVICE_ADDRESS;
        // Asking a driver for more than it says to have breaks a rule of Vulkan; and one that lends the host's memory gives
        // what is not there.
        if bytes > self.found.memory.min(self.found.most_bytes()) {
            return Err(none.into());
        }
        if self.found.unified {
            host::ask(bytes)?;
        }
        let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        // SAFETY: the device is live; the buffer is bound to memory that meets its requirements before its address is
        // asked for, and destroyed when that fails.
        unsafe {
            let buffer = self.device.create_buffer(&info, None).map_err(|_| none)?;
            let destroyed = |e: DeviceError| {
                self.device.destroy_buffer(buffer, None);
                e
            };
            let requirements = self.device.get_buffer_memory_requirements(buffer);
            let allocation = self
                .allocator()
                .allocate(&AllocationCreateDesc {
                    name: "buffer",
                    requirements,
                    location,
                    linear: true,
                    allocation_scheme: AllocationScheme::GpuAllocatorManaged,
                })
                .map_err(|e| {
                    destroyed(match e {
                        AllocationError::OutOfMemory => none.into(),
                        e => DeviceError::Driver { what: "the memory".to_owned(), why: e.to_string() },
                    })
                })?;
            if let Err(e) = self.device.bind_buffer_memory(buffer, allocation.memory(), allocation.offset()) {
                // The first failure is the one to tell.
                let _ = self.allocator().free(allocation);
                return Err(destroyed(driver_said("the memory", e)));
            }
            let info = vk::BufferDeviceAddressInfo::default().buffer(buffer);
            let address = self.device.get_buffer_device_address(&info);
            Ok(RawBuffer { buffer, allocation, address })
        }
    }

    /// Frees a buffer that no work uses. Does nothing on a device that hangs.
    pub(crate) fn free(&self, raw: RawBuffer) {
        if self.hangs() {
            return;
        }
        // SAFETY: by the caller's word that no work uses it; every submission is waited for.
        unsafe { self.device.destroy_buffer(raw.buffer, None) };
        // The allocator only fails at what it did not allocate.
        let _ = self.allocator().free(raw.allocation);
    }

    fn allocator(&self) -> MutexGuard<'_, ManuallyDrop<Allocator>> {
        self.allocator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> DeviceError {
        DeviceError::Lost { device: self.found.target.name.clone() }
    }

    fn timed_out(&self) -> DeviceError {
        DeviceError::TimedOut { device: self.found.target.name.clone(), seconds: self.timeout.as_secs_f64() }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.hangs() {
            // Destroying would wait for the work that never ends.
            return;
        }
        let once = self.once.get_mut().unwrap_or_else(PoisonError::into_inner);
        let allocator = self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing holds the device any more, and all work was waited for; the allocator gives its memory back
        // before the device goes, and is not used again.
        unsafe {
            self.device.destroy_fence(once.fence, None);
            self.device.destroy_command_pool(once.pool, None);
            self.device.destroy_pipeline_cache(self.cache, None);
            self.device.destroy_pipeline_layout(self.layout, None);
            ManuallyDrop::drop(allocator);
            self.device.destroy_device(None);
        }
    }
}

/// What the driver said when it refused something.
pub(crate) fn driver_said(what: &str, e: vk::Result) -> DeviceError {
    DeviceError::Driver { what: what.to_owned(), why: e.to_string() }
}

fn begin_once() -> vk::CommandBufferBeginInfo<'static> {
    vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT)
}

fn command_buffer(
    device: &ash::Device,
    family: u32,
) -> Result<(vk::CommandPool, vk::CommandBuffer), DeviceError> {
    let said = |e| driver_said("a command buffer", e);
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
    // SAFETY: the device is live; the pool is destroyed when it gives no buffer.
    unsafe {
        let pool = device.create_command_pool(&info, None).map_err(said)?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        match device.allocate_command_buffers(&info).map(|buffers| buffers.first().copied()) {
            Ok(Some(buffer)) => Ok((pool, buffer)),
            outcome => {
                device.destroy_command_pool(pool, None);
                Err(said(outcome.err().unwrap_or(vk::Result::ERROR_UNKNOWN)))
            }
        }
    }
}

/// The logical device, with every feature switched on that the target names.
fn create_device(driver: &Driver, found: &Found) -> Result<ash::Device, DeviceError> {
    let (f, x) = (found.target.features, found.extras);
    let priorities = [1.0];
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(found.family).queue_priorities(&priorities)];
    let base =
        vk::PhysicalDeviceFeatures::default().shader_float64(f.f64).shader_int16(f.i16).shader_int64(f.i64);
    let mut f11 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(f.storage16);
    let mut f12 = vk::PhysicalDeviceVulkan12Features::default()
        .buffer_device_address(true)
        .shader_float16(f.f16)
        .shader_int8(f.i8)
        .storage_buffer8_bit_access(f.storage8)
        .shader_buffer_int64_atomics(f.atomics64)
        .shader_shared_int64_atomics(x.shared_atomics64)
        .vulkan_memory_model(x.memory_model)
        .vulkan_memory_model_device_scope(x.memory_model)
        .scalar_block_layout(x.scalar_layout)
        .shader_subgroup_extended_types(x.extended_subgroup_types);
    let mut f13 = vk::PhysicalDeviceVulkan13Features::default()
        .maintenance4(true)
        .shader_integer_dot_product(f.dot8)
        .subgroup_size_control(x.fixed_subgroup)
        .compute_full_subgroups(x.full_subgroups);
    let mut atomic = vk::PhysicalDeviceShaderAtomicFloatFeaturesEXT::default()
        .shader_buffer_float32_atomics(f.atomic_add_f32)
        .shader_buffer_float32_atomic_add(f.atomic_add_f32)
        .shader_shared_float32_atomics(x.shared_atomic_add_f32)
        .shader_shared_float32_atomic_add(x.shared_atomic_add_f32);
    let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
    let mut names = Vec::new();
    let mut info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_features(&base)
        .push_next(&mut f11)
        .push_next(&mut f12)
        .push_next(&mut f13);
    if f.atomic_add_f32 || x.shared_atomic_add_f32 {
        names.push(ash::ext::shader_atomic_float::NAME.as_ptr());
        info = info.push_next(&mut atomic);
    }
    if !found.target.matrices.is_empty() {
        names.push(ash::khr::cooperative_matrix::NAME.as_ptr());
        info = info.push_next(&mut matrix);
    }
    let info = info.enabled_extension_names(&names);
    // SAFETY: the device has every feature and extension that is asked for; the structures live through the call.
    unsafe { driver.instance.create_device(found.handle, &info, None) }
        .map_err(|e| driver_said("the device", e))
}

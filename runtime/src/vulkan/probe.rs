//! What a Vulkan device is: asked from its driver, never looked up by its name.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::ffi::CStr;

use ash::vk;
use rooftile_artifact::DType;
use rooftile_artifact::target::{GpuFeatures, GpuTarget, MatrixShape};

use crate::topology::physical_cores;

/// Groups that keep a device busy when its driver does not tell.
const UNITS_GUESS: u32 = 16;

/// Bytes that a buffer may take besides its data: alignment and canaries.
const AROUND: u64 = 4096;

/// A device that this runtime can use.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The driver's handle.
    pub(crate) handle: vk::PhysicalDevice,
    /// Discrete, integrated, software.
    pub(crate) kind: vk::PhysicalDeviceType,
    /// What the compiler is told.
    pub(crate) target: GpuTarget,
    /// What to switch on besides the target's features.
    pub(crate) extras: Extras,
    /// The queue family that runs all work.
    pub(crate) family: u32,
    /// Nanoseconds of a tick of the device's clock.
    pub(crate) tick_ns: f64,
    /// Bits of a tick count that mean something; 0 without a clock.
    pub(crate) tick_bits: u32,
    /// Bytes of the device's own memory.
    pub(crate) memory: u64,
    /// Whether the device's memory is the host's as well, cached and coherent.
    pub(crate) unified: bool,
    /// The driver with its version.
    pub(crate) driver: String,
}

/// Features that all code profits from, or that go with another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) memory_model: bool,
    pub(crate) scalar_layout: bool,
    pub(crate) extended_subgroup_types: bool,
    pub(crate) shared_atomics64: bool,
    pub(crate) shared_atomic_add_f32: bool,
    /// Whether a pipeline can be bound to the target's subgroup size, which others than it would otherwise share.
    pub(crate) fixed_subgroup: bool,
    pub(crate) full_subgroups: bool,
}

impl Found {
    /// The device as a list shows it.
    pub(crate) fn description(&self) -> String {
        let t = &self.target;
        let kind = match self.kind {
            vk::PhysicalDeviceType::DISCRETE_GPU => "discrete GPU",
            vk::PhysicalDeviceType::INTEGRATED_GPU => "integrated GPU",
            vk::PhysicalDeviceType::VIRTUAL_GPU => "virtual GPU",
            vk::PhysicalDeviceType::CPU => "in software",
            _ => "of another kind",
        };
        #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
        let memory = self.memory as f64 / f64::from(1u32 << 30);
        format!(
            "{}, {kind}, {}, subgroups of {}, {} KiB shared, {memory:.1} GiB",
            t.name,
            self.driver,
            t.subgroup,
            t.shared_bytes >> 10
        )
    }

    /// Bytes of the largest buffer that the driver makes.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.target.buffer_bytes.saturating_add(AROUND)
    }

    /// Seconds from one tick count to a later one.
    pub(crate) fn seconds(&self, from: u64, to: u64) -> f64 {
        let mask = if self.tick_bits >= 64 { u64::MAX } else { (1 << self.tick_bits) - 1 };
        #[expect(clippy::cast_precision_loss, reason = "differences of times are far below 2^52 ticks")]
        let ticks = (to.wrapping_sub(from) & mask) as f64;
        ticks * self.tick_ns * 1e-9
    }
}

/// Looks at a device; says why it cannot be used.
pub(crate) fn probe(
    entry: &ash::Entry,
    instance: &ash::Instance,
    handle: vk::PhysicalDevice,
) -> Result<Found, String> {
    // SAFETY: the handle is one of the instance's, here and in all calls of this file.
    let basic = unsafe { instance.get_physical_device_properties(handle) };
    let name = text(basic.device_name_as_c_str().ok());
    let version = basic.api_version;
    if version < vk::API_VERSION_1_3 {
        let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
        return Err(format!("{name} has Vulkan {major}.{minor}, older than 1.3"));
    }
    // SAFETY: as above.
    let extensions = unsafe { instance.enumerate_device_extension_properties(handle) }.unwrap_or_default();
    let has = |wanted: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(wanted));
    let (features, extras, matrix_unit) = features(instance, handle, &has);
    let Some(features) = features else {
        return Err(format!("{name} has no buffer addresses"));
    };

    let (mut p11, mut p12, mut p13) = (
        vk::PhysicalDeviceVulkan11Properties::default(),
        vk::PhysicalDeviceVulkan12Properties::default(),
        vk::PhysicalDeviceVulkan13Properties::default(),
    );
    let mut nv = vk::PhysicalDeviceShaderSMBuiltinsPropertiesNV::default();
    let mut amd = vk::PhysicalDeviceShaderCorePropertiesAMD::default();
    let mut all =
        vk::PhysicalDeviceProperties2::default().push_next(&mut p11).push_next(&mut p12).push_next(&mut p13);
    if has(ash::nv::shader_sm_builtins::NAME) {
        all = all.push_next(&mut nv);
    }
    if has(ash::amd::shader_core_properties::NAME) {
        all = all.push_next(&mut amd);
    }
    // SAFETY: as above; each structure of the chain is of this version or of an extension that the device has.
    unsafe { instance.get_physical_device_properties2(handle, &mut all) };
    let limits = basic.limits;

    let subgroup_has = |flag: vk::SubgroupFeatureFlags| {
        p11.subgroup_supported_stages.contains(vk::ShaderStageFlags::COMPUTE)
            && p11.subgroup_supported_operations.contains(flag)
    };
    let sized = p13.required_subgroup_size_stages.contains(vk::ShaderStageFlags::COMPUTE)
        && p13.min_subgroup_size < p13.max_subgroup_size
        && (p13.min_subgroup_size..=p13.max_subgroup_size).contains(&p11.subgroup_size);
    let extras = Extras { fixed_subgroup: extras.fixed_subgroup && sized, ..extras };
    let one_size = p13.min_subgroup_size == p13.max_subgroup_size;
    // Mesa's driver in software crashes when it compiles matrices for its widest vectors.
    let works = p12.driver_id != vk::DriverId::MESA_LLVMPIPE || p11.subgroup_size < 16;
    let matrices = if matrix_unit && works { matrices(entry, instance, handle) } else { Vec::new() };
    let features = GpuFeatures {
        matrix: !matrices.is_empty(),
        whole_subgroups: extras.full_subgroups && (extras.fixed_subgroup || one_size),
        subgroup_arithmetic: subgroup_has(vk::SubgroupFeatureFlags::ARITHMETIC),
        subgroup_shuffle: subgroup_has(vk::SubgroupFeatureFlags::SHUFFLE),
        special_values: p12.shader_signed_zero_inf_nan_preserve_float32 == vk::TRUE
            && (!features.f64 || p12.shader_signed_zero_inf_nan_preserve_float64 == vk::TRUE),
        subnormals: p12.shader_denorm_preserve_float32 == vk::TRUE
            && (!features.f64 || p12.shader_denorm_preserve_float64 == vk::TRUE),
        half_subnormals: features.f16 && p12.shader_denorm_preserve_float16 == vk::TRUE,
        ..features
    };

    let amd_units =
        amd.shader_engine_count * amd.shader_arrays_per_engine_count * amd.compute_units_per_shader_array;
    let units = match basic.device_type {
        vk::PhysicalDeviceType::CPU => u32::try_from(physical_cores()).unwrap_or(UNITS_GUESS),
        _ => [nv.shader_sm_count, amd_units].into_iter().find(|&n| n > 0).unwrap_or(UNITS_GUESS),
    };
    let (family, tick_bits) = queue_family(instance, handle).ok_or(format!("{name} has no compute queue"))?;
    let (memory, unified) = memory(instance, handle, basic.device_type);
    let driver = [text(p12.driver_name_as_c_str().ok()), text(p12.driver_info_as_c_str().ok())].join(" ");
    Ok(Found {
        handle,
        kind: basic.device_type,
        target: GpuTarget {
            name,
            subgroup: p11.subgroup_size,
            group_threads: limits
                .max_compute_work_group_invocations
                .min(limits.max_compute_work_group_size[0]),
            max_groups: limits.max_compute_work_group_count[0],
            shared_bytes: limits.max_compute_shared_memory_size,
            buffer_bytes: p13.max_buffer_size.min(p11.max_memory_allocation_size).saturating_sub(AROUND),
            units,
            software: basic.device_type == vk::PhysicalDeviceType::CPU,
            features,
            matrices,
        },
        extras,
        family,
        tick_ns: f64::from(limits.timestamp_period),
        tick_bits,
        memory,
        unified,
        driver: driver.trim().to_owned(),
    })
}

/// The features, but for those of subgroups, floats and matrices; `None` without buffer addresses. And whether there is a matrix unit.
fn features(
    instance: &ash::Instance,
    handle: vk::PhysicalDevice,
    has: &dyn Fn(&CStr) -> bool,
) -> (Option<GpuFeatures>, Extras, bool) {
    let (mut f11, mut f12, mut f13) = (
        vk::PhysicalDeviceVulkan11Features::default(),
        vk::PhysicalDeviceVulkan12Features::default(),
        vk::PhysicalDeviceVulkan13Features::default(),
    );
    let mut atomic = vk::PhysicalDeviceShaderAtomicFloatFeaturesEXT::default();
    let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
    let mut all =
        vk::PhysicalDeviceFeatures2::default().push_next(&mut f11).push_next(&mut f12).push_next(&mut f13);
    if has(ash::ext::shader_atomic_float::NAME) {
        all = all.push_next(&mut atomic);
    }
    if has(ash::khr::cooperative_matrix::NAME) {
        all = all.push_next(&mut matrix);
    }
    // SAFETY: the handle is one of the instance's; each structure is of this version or of an extension that is there.
    unsafe { instance.get_physical_device_features2(handle, &mut all) };
    let base = all.features;
    let yes = |b: vk::Bool32| b == vk::TRUE;
    let features = GpuFeatures {
        f16: yes(f12.shader_float16),
        f64: yes(base.shader_float64),
        i8: yes(f12.shader_int8),
        i16: yes(base.shader_int16),
        i64: yes(base.shader_int64),
        storage8: yes(f12.storage_buffer8_bit_access),
        storage16: yes(f11.storage_buffer16_bit_access),
        atomics64: yes(f12.shader_buffer_int64_atomics),
        atomic_add_f32: yes(atomic.shader_buffer_float32_atomic_add),
        subgroup_arithmetic: false,
        subgroup_shuffle: false,
        dot8: yes(f13.shader_integer_dot_product),
        special_values: false,
        whole_subgroups: false,
        matrix: false,
        subnormals: false,
        half_subnormals: false,
    };
    let extras = Extras {
        memory_model: yes(f12.vulkan_memory_model) && yes(f12.vulkan_memory_model_device_scope),
        scalar_layout: yes(f12.scalar_block_layout),
        extended_subgroup_types: yes(f12.shader_subgroup_extended_types),
        shared_atomics64: yes(f12.shader_shared_int64_atomics),
        shared_atomic_add_f32: yes(atomic.shader_shared_float32_atomic_add),
        fixed_subgroup: yes(f13.subgroup_size_control),
        full_subgroups: yes(f13.compute_full_subgroups),
    };
    let matrix_unit = yes(matrix.cooperative_matrix) && extras.memory_model;
    (yes(f12.buffer_device_address).then_some(features), extras, matrix_unit)
}

/// Shapes that the subgroup's matrix unit takes, without those that saturate or mix types that the compiler does not.
fn matrices(entry: &ash::Entry, instance: &ash::Instance, handle: vk::PhysicalDevice) -> Vec<MatrixShape> {
    let matrix = ash::khr::cooperative_matrix::Instance::new(entry, instance);
    // SAFETY: the device has the extension, and the handle is one of the instance's.
    let shapes = unsafe { matrix.get_physical_device_cooperative_matrix_properties(handle) };
    let mut found = Vec::new();
    for s in shapes.unwrap_or_default() {
        let plain = s.scope == vk::ScopeKHR::SUBGROUP
            && s.saturating_accumulation == vk::FALSE
            && s.a_type == s.b_type
            && s.c_type == s.result_type;
        if let (true, Some(factor), Some(result)) = (plain, dtype(s.a_type), dtype(s.result_type)) {
            let shape = MatrixShape { m: s.m_size, n: s.n_size, k: s.k_size, factor, result };
            if !found.contains(&shape) {
                found.push(shape);
            }
        }
    }
    found
}

fn dtype(component: vk::ComponentTypeKHR) -> Option<DType> {
    let int = |signed, bits| Some(DType::Int { signed, bits });
    match component {
        vk::ComponentTypeKHR::FLOAT16 => Some(DType::F16),
        vk::ComponentTypeKHR::FLOAT32 => Some(DType::F32),
        vk::ComponentTypeKHR::FLOAT64 => Some(DType::F64),
        vk::ComponentTypeKHR::SINT8 => int(true, 8),
        vk::ComponentTypeKHR::SINT16 => int(true, 16),
        vk::ComponentTypeKHR::SINT32 => int(true, 32),
        vk::ComponentTypeKHR::UINT8 => int(false, 8),
        vk::ComponentTypeKHR::UINT16 => int(false, 16),
        vk::ComponentTypeKHR::UINT32 => int(false, 32),
        _ => None,
    }
}

/// The first queue family that computes, one with a clock if there is any; with the bits of its clock.
fn queue_family(instance: &ash::Instance, handle: vk::PhysicalDevice) -> Option<(u32, u32)> {
    // SAFETY: the handle is one of the instance's.
    let families = unsafe { instance.get_physical_device_queue_family_properties(handle) };
    let computing = (0u32..).zip(&families).filter(|(_, f)| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
    let pairs = computing.map(|(n, f)| (n, f.timestamp_valid_bits));
    pairs.min_by_key(|&(n, bits)| (bits == 0, n))
}

/// Bytes of the device's own memory, and whether the host shares it.
fn memory(instance: &ash::Instance, handle: vk::PhysicalDevice, kind: vk::PhysicalDeviceType) -> (u64, bool) {
    use vk::MemoryPropertyFlags as Is;
    // SAFETY: the handle is one of the instance's.
    let properties = unsafe { instance.get_physical_device_memory_properties(handle) };
    let local = |heap: &&vk::MemoryHeap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
    let bytes = properties.memory_heaps_as_slice().iter().filter(local).map(|heap| heap.size).max();
    let shared = Is::DEVICE_LOCAL | Is::HOST_VISIBLE | Is::HOST_COHERENT | Is::HOST_CACHED;
    let unified = kind != vk::PhysicalDeviceType::DISCRETE_GPU
        && properties.memory_types_as_slice().iter().any(|t| t.property_flags.contains(shared));
    (bytes.unwrap_or(0), unified)
}

fn text(c: Option<&CStr>) -> String {
    c.map_or(String::new(), |c| c.to_string_lossy().into_owned())
}

//! Compiled kernels: one pipeline for each phase.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::ffi::CString;
use std::sync::Arc;

use ash::vk;
use rooftile_artifact::program::{Code, Kernel, SpirvCode, SpirvPhase};
use rooftile_artifact::target::GpuTarget;

use crate::error::{DeviceError, Error, malformed};
use crate::vulkan::context::{Context, driver_said};

/// The first word of every SPIR-V module.
const MAGIC: u32 = 0x0723_0203;

/// A kernel that its device can run.
#[derive(Debug)]
pub(crate) struct GpuKernel {
    context: Arc<Context>,
    /// One for each phase.
    pub(crate) phases: Vec<GpuPhase>,
}

/// A phase that its device can run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GpuPhase {
    pub(crate) pipeline: vk::Pipeline,
    pub(crate) chunks_per_group: u32,
}

impl GpuKernel {
    /// Gives a kernel's code to the driver.
    ///
    /// # Errors
    /// [`DeviceError`] when the device lacks something, or the driver does not take the code;
    /// [`crate::InternalError`] when the code is for another device.
    pub(crate) fn new(context: &Arc<Context>, kernel: &Kernel) -> Result<GpuKernel, Error> {
        let Code::Spirv(code) = &kernel.code else {
            return Err(malformed(format!("{} is code for another device", kernel.name)));
        };
        check(&context.found.target, kernel, code)?;
        let refused =
            |e: vk::Result| DeviceError::Compile { kernel: kernel.name.clone(), why: e.to_string() };
        let info = vk::ShaderModuleCreateInfo::default().code(&code.words);
        // SAFETY: the words begin as a module does; that they are one is the compiler's promise.
        let module = unsafe { context.device.create_shader_module(&info, None) }
            .map_err(|e| Error::from(refused(e)))?;
        let mut made = GpuKernel { context: Arc::clone(context), phases: Vec::new() };
        let outcome = code.phases.iter().try_for_each(|phase| {
            let pipeline = pipeline(context, module, phase, &kernel.name)?;
            made.phases.push(GpuPhase { pipeline, chunks_per_group: phase.chunks_per_group });
            Ok(())
        });
        // SAFETY: pipelines outlive the module that they were made of.
        unsafe { context.device.destroy_shader_module(module, None) };
        outcome.map(|()| made)
    }
}

impl Drop for GpuKernel {
    fn drop(&mut self) {
        if self.context.hangs() {
            return;
        }
        for phase in &self.phases {
            // SAFETY: every launch was waited for, and its recordings are not submitted again.
            unsafe { self.context.device.destroy_pipeline(phase.pipeline, None) };
        }
    }
}

/// Whether the device has what the code needs, and the code is whole.
fn check(target: &GpuTarget, kernel: &Kernel, code: &SpirvCode) -> Result<(), Error> {
    let missing = target.features.missing(code.features);
    if !missing.is_empty() {
        return Err(DeviceError::MissingFeatures { kernel: kernel.name.clone(), missing }.into());
    }
    if code.words.first() != Some(&MAGIC) {
        return Err(malformed(format!("the code of {} is no SPIR-V", kernel.name)));
    }
    if code.phases.len() != kernel.phases.len() {
        return Err(malformed(format!("the code of {} has another number of phases", kernel.name)));
    }
    for phase in &code.phases {
        if phase.group == 0 || phase.chunks_per_group == 0 {
            return Err(malformed(format!("a group of {} is empty", kernel.name)));
        }
        let needs = [
            ("threads", phase.group, target.group_threads),
            ("bytes of shared memory", phase.shared_bytes, target.shared_bytes),
        ];
        for (what, needed, most) in needs {
            if needed > most {
                let kernel = kernel.name.clone();
                return Err(DeviceError::GroupTooLarge { kernel, what, needed, most }.into());
            }
        }
    }
    Ok(())
}

fn pipeline(
    context: &Context,
    module: vk::ShaderModule,
    phase: &SpirvPhase,
    kernel: &str,
) -> Result<vk::Pipeline, Error> {
    let (found, device) = (context.found, &context.device);
    let entry = CString::new(phase.entry.as_str())
        .map_err(|_| malformed(format!("an entry point of {kernel} has no name that the driver takes")))?;
    let subgroup = found.target.subgroup;
    let mut size =
        vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default().required_subgroup_size(subgroup);
    let mut stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(&entry);
    // Code is made for this size; a driver that has several would choose another as it likes.
    if found.extras.fixed_subgroup {
        stage = stage.push_next(&mut size);
    }
    if found.extras.full_subgroups && phase.group.is_multiple_of(subgroup) {
        stage = stage.flags(vk::PipelineShaderStageCreateFlags::REQUIRE_FULL_SUBGROUPS);
    }
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(context.layout)];
    // SAFETY: the module is live and has the entry point; the structures live through the call.
    let made = unsafe { device.create_compute_pipelines(context.cache, &info, None) };
    let refused = |e: vk::Result| match e {
        vk::Result::ERROR_DEVICE_LOST => driver_said("compiling", e),
        e => DeviceError::Compile { kernel: kernel.to_owned(), why: e.to_string() },
    };
    match made {
        Ok(pipelines) if !pipelines.is_empty() => Ok(pipelines[0]),
        Ok(_) => Err(refused(vk::Result::ERROR_UNKNOWN).into()),
        Err((_, e)) => Err(refused(e).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::program::Phase;
    use rooftile_artifact::target::GpuFeatures;

    #[test]
    fn what_a_device_lacks_is_named() {
        let target = GpuTarget::default();
        let whole = SpirvCode {
            words: vec![MAGIC],
            phases: vec![SpirvPhase {
                entry: "main".into(),
                group: target.group_threads,
                chunks_per_group: 1,
                shared_bytes: target.shared_bytes,
            }],
            features: target.features,
        };
        let kernel = Kernel {
            name: "k".into(),
            buffers: 0,
            sizes: 0,
            scalars: vec![],
            local_bytes: 0.into(),
            phases: vec![Phase { chunks: 1.into() }],
            code: Code::Spirv(whole.clone()),
        };
        let said = |change: &dyn Fn(&mut SpirvCode)| {
            let mut code = whole.clone();
            change(&mut code);
            check(&target, &kernel, &code).map_err(|e| e.to_string())
        };
        assert_eq!(said(&|_| ()), Ok(()));
        let more = GpuFeatures { atomics64: true, atomic_add_f32: true, ..target.features };
        let e = said(&|code| code.features = more).expect_err("lacks both");
        assert!(e.contains("atomics on 64-bit integers, atomic additions of f32"), "{e}");
        let single = GpuTarget { features: GpuFeatures { f64: false, ..target.features }, ..target.clone() };
        let e = check(&single, &kernel, &whole).expect_err("lacks f64").to_string();
        assert_eq!(e, "k needs arithmetic on f64, which this device does not have");
        let e = said(&|code| code.phases[0].group += 1).expect_err("too many");
        assert!(e.contains("257 threads") && e.contains("has 256"), "{e}");
        let e = said(&|code| code.phases[0].shared_bytes += 1).expect_err("too much");
        assert!(e.contains("bytes of shared memory"), "{e}");
        assert!(said(&|code| code.phases[0].chunks_per_group = 0).is_err());
        assert!(said(&|code| code.phases.clear()).is_err());
        assert!(said(&|code| code.words = vec![7]).is_err());
    }
}

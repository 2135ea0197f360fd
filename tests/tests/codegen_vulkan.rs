//! Nests on a Vulkan device: random ones of threads that run chunks alone, and groups of threads that work together. The
//! interpreter runs loops over threads one after the other, so that a missing barrier shows as a difference.

mod nests;

use std::time::Instant;

use nests::Case;
use nests::compare::{Subject, check, compare};
use nests::groups;
use rooftile_artifact::{GpuTarget, Program};
use rooftile_compiler::codegen::{CodegenError, vulkan};
use rooftile_compiler::nest::VerifiedModule;
use rooftile_runtime::{Device, open};
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Runs `f` with the device; says so and passes where there is none.
fn with_device(what: &str, f: impl FnOnce(&Subject<'_>)) {
    let device: Box<dyn Device> = match open("vulkan") {
        Ok(device) => device,
        Err(e) => return println!("SKIPPED: {what} ({e})"),
    };
    let target = device.target().gpu().expect("a GPU").clone();
    let subject = Subject {
        device: device.as_ref(),
        compile: &|module, _| compile(module, &target),
        listing: &|module| match std::env::var_os("ROOFTILE_FUZZ_SPIRV") {
            Some(_) => vulkan::compile_nest(&module.nests()[0], &target)
                .map(|k| vulkan::disassemble(&k))
                .unwrap_or_default(),
            None => String::new(),
        },
        subnormals: target.features.subnormals,
    };
    f(&subject);
}

fn compile(module: &VerifiedModule, target: &GpuTarget) -> Result<Option<Program>, String> {
    match vulkan::compile(module, target) {
        Ok(program) => Ok(Some(program)),
        // Some devices have no atomics on 64 bits.
        Err(CodegenError::Unsupported { .. }) if !target.features.atomics64 => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn interpreter_and_vulkan_agree() {
    with_device("random nests on Vulkan", |subject| {
        let seed = fuzz_seed("codegen_vulkan");
        let (time, start) = (fuzz_time(), Instant::now());
        let mut ran = 0u32;
        let mut case_seed = seed;
        while start.elapsed() < time || ran < 20 {
            mark("codegen_vulkan", &format!("seed {case_seed}"));
            check(subject, case_seed);
            ran += 1;
            case_seed = case_seed.wrapping_add(1);
        }
        println!("codegen_vulkan: {ran} nests");
    });
}

#[test]
fn groups_work_together() {
    with_device("groups of threads on Vulkan", |subject| {
        for (name, case) in groups::cases() {
            let case: Case = case;
            if let Err(what) = compare(subject, &case, 1) {
                panic!("{name}: {what}\n{}", case.module);
            }
        }
    });
}

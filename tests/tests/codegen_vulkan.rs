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
use rooftile_tests::vulkan::in_children;
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Runs `f` with the device, in processes of their own.
fn with_device(test: &str, f: impl Fn(&Subject<'_>)) {
    in_children(test, |device| {
        let target = device.target().gpu().expect("a GPU").clone();
        f(&Subject {
            device,
            compile: &|module, _| compile(module, &target),
            listing: &|module| match std::env::var_os("ROOFTILE_FUZZ_SPIRV") {
                Some(_) => vulkan::compile_nest(&module.nests()[0], &target)
                    .map(|k| vulkan::disassemble(&k))
                    .unwrap_or_default(),
                None => String::new(),
            },
            subnormals: target.features.subnormals,
        });
    });
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
    with_device("interpreter_and_vulkan_agree", |subject| {
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
    with_device("groups_work_together", |subject| {
        for (name, case) in groups::cases() {
            let case: Case = case;
            if let Err(what) = compare(subject, &case, 1) {
                panic!("{name}: {what}\n{}", case.module);
            }
        }
    });
}

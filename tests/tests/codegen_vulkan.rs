//! Nests on a Vulkan device: random ones of threads that run chunks alone, and groups of threads that work together. The
//! interpreter runs loops over threads one after the other, so that a missing barrier shows as a difference.

#[path = "nests/dots.rs"]
mod dots;
#[path = "nests/groups.rs"]
mod groups;
#[path = "nests/matrices.rs"]
mod matrices;
mod nests;

use std::time::Instant;

use nests::Case;
use nests::compare::{Subject, check, compare, compare_on};
use rand::rngs::StdRng;
use rooftile_artifact::program::BufferDecl;
use rooftile_artifact::target::{GpuFeatures, MatrixShape};
use rooftile_artifact::{DType, GpuTarget, HostTensor, Program};
use rooftile_compiler::codegen::{CodegenError, vulkan};
use rooftile_compiler::nest::{VerifiedModule, verify_module};
use rooftile_tests::vulkan::{WIDTHS, in_children_of};
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Runs `f` with the device, in processes of their own.
fn with_device(test: &str, widths: &[&str], f: impl Fn(&Subject<'_>)) {
    in_children_of(test, widths, |device| {
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
            fused: false,
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
    // With its widest vectors the software driver smashes its stack when it compiles long formulas of f64.
    with_device("interpreter_and_vulkan_agree", &WIDTHS[..2], |subject| {
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
fn every_half_is_taken_apart() {
    with_device("every_half_is_taken_apart", &WIDTHS, |subject| {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let checked = compare_on(subject, &groups::halves(), 1, |_, b| match b.dtype {
            DType::F16 => HostTensor::from_bytes(DType::F16, &[1 << 16], bytes.clone()).expect("as many"),
            t => HostTensor::zeros(t, &[1 << 16]).expect("memory"),
        });
        if let Err(what) = checked {
            panic!("{what}");
        }
    });
}

#[test]
fn groups_work_together() {
    with_device("groups_work_together", &WIDTHS, |subject| {
        for (name, case) in groups::cases() {
            let case: Case = case;
            if let Err(what) = compare(subject, &case, 1) {
                panic!("{name}: {what}\n{}", case.module);
            }
        }
    });
}

#[test]
fn products_of_bytes_are_summed() {
    with_device("products_of_bytes_are_summed", &WIDTHS, |subject| {
        let target = subject.device.target().gpu().expect("a GPU");
        if !target.features.dot8 {
            println!("SKIPPED: 8-bit dot products (the device has none)");
        }
        for (n, (name, case)) in dots::cases().into_iter().enumerate() {
            mark("codegen_vulkan", &name);
            // Each is compiled anew, which takes longest.
            let fill = dots::Fill::ALL[n % dots::Fill::ALL.len()];
            let input = |rng: &mut StdRng, b: &BufferDecl| fill.tensor(rng, b, case.size);
            if let Err(what) = compare_on(subject, &case, 1, input) {
                panic!("{name}, {fill:?}: {what}\n{}", case.module);
            }
        }
    });
}

#[test]
fn subgroups_multiply_matrices() {
    // With its widest vectors the software driver crashes when it compiles matrices, with its narrowest it has none.
    with_device("subgroups_multiply_matrices", &WIDTHS[..2], |subject| {
        let target = subject.device.target().gpu().expect("a GPU").clone();
        let narrow = |t| matches!(t, DType::F16 | DType::I8 | DType::U8);
        let shapes: Vec<MatrixShape> = target.matrices.iter().copied().filter(|s| narrow(s.factor)).collect();
        if shapes.is_empty() {
            refuses_matrices(subject, &target);
            let what = "the device has no matrix unit";
            return println!("SKIPPED: matrices with subgroups of {} ({what})", target.subgroup);
        }
        for shape in shapes {
            for (name, case) in matrices::cases(shape) {
                mark("codegen_vulkan", &format!("{name} {shape:?}"));
                if let Err(what) = compare(subject, &case, 1) {
                    panic!("{name} {shape:?}: {what}\n{}", case.module);
                }
            }
        }
    });
}

/// A program that was made for another device does not come as far as the driver.
fn refuses_matrices(subject: &Subject<'_>, target: &GpuTarget) {
    let shape = MatrixShape { m: 8, n: 8, k: 8, factor: DType::F16, result: DType::F32 };
    let features = GpuFeatures { matrix: true, whole_subgroups: true, f16: true, ..target.features };
    let other = GpuTarget { features, matrices: vec![shape], ..target.clone() };
    let (_, case) = matrices::cases(shape).swap_remove(0);
    let module = verify_module(case.module).expect("keeps the rules");
    let program = vulkan::compile(&module, &other).expect("code for the other device");
    let refused = subject.device.load(&program).err().map(|e| e.to_string());
    assert!(refused.as_ref().is_some_and(|e| e.contains("a matrix unit")), "{refused:?}");
    assert!(vulkan::compile(&module, target).is_err_and(|e| e.to_string().contains("a matrix unit")));
}

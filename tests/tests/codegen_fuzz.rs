//! Random small nests: the interpreter and the machine code must agree, to the bit where no function is involved.

#[path = "nests/dots.rs"]
mod dots;
mod nests;

use std::time::Instant;

use nests::compare::{Subject, check, compare_on};
use rand::RngExt;
use rand::rngs::StdRng;
use rooftile_artifact::CpuTarget;
use rooftile_artifact::program::BufferDecl;
use rooftile_compiler::codegen::cpu::{self, CodegenError, Generator};
use rooftile_runtime::open;
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

#[test]
fn interpreter_and_code_agree() {
    let seed = fuzz_seed("codegen_fuzz");
    let time = fuzz_time();
    let start = Instant::now();
    let device = open("cpu").expect("a CPU");
    let target = device.target().cpu().expect("a CPU").clone();
    let subject = Subject {
        device: device.as_ref(),
        compile: &|module, rng| {
            let mut target = target.clone();
            if rng.random_bool(0.3) {
                target.features = Default::default();
            }
            // The best one makes vectors of the target's width.
            target.vector_bytes = target.vector_bytes.min([16, 32, 64, 64][rng.random_range(0..4)]);
            let generator = if rng.random_bool(0.1) { Generator::Cranelift } else { Generator::Best };
            match cpu::compile(module, &target, generator) {
                Ok(program) => Ok(Some(program)),
                // Fused operations need an instruction.
                Err(CodegenError::Unsupported { .. }) if !target.features.fma => Ok(None),
                Err(e) => Err(e.to_string()),
            }
        },
        listing: &|module| match std::env::var("ROOFTILE_FUZZ_LISTING").as_deref() {
            Ok("clif") => cpu::emit_clif(&module.nests()[0], &target).unwrap_or_default(),
            Ok(_) => cpu::emit_asm(&module.nests()[0], &target).unwrap_or_default(),
            Err(_) => String::new(),
        },
        subnormals: true,
        fused: true,
    };
    let mut ran = 0u32;
    let mut case_seed = seed;
    while start.elapsed() < time || ran < 20 {
        mark("codegen_fuzz", &format!("seed {case_seed}"));
        check(&subject, case_seed);
        ran += 1;
        case_seed = case_seed.wrapping_add(1);
    }
    println!("codegen_fuzz: {ran} nests");
}

#[test]
fn products_of_bytes_are_summed() {
    let device = open("cpu").expect("a CPU");
    let target = device.target().cpu().expect("a CPU").clone();
    if !target.has_dots() {
        println!("SKIPPED: dot products of bytes (the processor has none)");
    }
    let mut ran = 0;
    for bytes in [16, 32, 64].into_iter().filter(|bytes| *bytes <= target.vector_bytes) {
        let target = CpuTarget { vector_bytes: bytes, ..target.clone() };
        let subject = Subject {
            device: device.as_ref(),
            compile: &|module, _| match cpu::compile(module, &target, Generator::Best) {
                Ok(program) => Ok(Some(program)),
                // Threads of a group are a GPU's.
                Err(CodegenError::Unsupported { .. }) => Ok(None),
                Err(e) => Err(e.to_string()),
            },
            listing: &|module| cpu::emit_asm(&module.nests()[0], &target).unwrap_or_default(),
            subnormals: true,
            fused: true,
        };
        for (n, (name, case)) in dots::cases().into_iter().enumerate() {
            mark("codegen_fuzz", &format!("{name}, {bytes} bytes"));
            // Each is compiled anew, which takes longest.
            let fills = dots::Fill::ALL.iter().cycle().skip(n % 3);
            for fill in fills.take(if name.starts_with("lanes") { 3 } else { 1 }) {
                let input = |rng: &mut StdRng, b: &BufferDecl| fill.tensor(rng, b, case.size);
                if let Err(what) = compare_on(&subject, &case, 1, input) {
                    panic!("{name}, {fill:?}, {bytes} bytes: {what}\n{}", case.module);
                }
                ran += 1;
            }
        }
    }
    println!("codegen_fuzz: {ran} sums of products");
}

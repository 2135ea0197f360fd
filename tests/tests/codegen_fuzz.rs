//! Random small nests: the interpreter and the machine code must agree, to the bit where no function is involved.

#[path = "nests/dots.rs"]
mod dots;
#[path = "nests/masked.rs"]
mod masked;
mod nests;
#[path = "nests/packed.rs"]
mod packed;
#[path = "nests/settling.rs"]
mod settling;

use std::time::Instant;

use nests::Case;
use nests::compare::{Subject, check, compare, compare_on};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rooftile_artifact::CpuTarget;
use rooftile_artifact::program::BufferDecl;
use rooftile_compiler::codegen::cpu::{self, CodegenError, Generator};
use rooftile_compiler::nest::ir::{LoopKind, Nest, Stmt};
use rooftile_compiler::nest::settle;
use rooftile_compiler::nest::walk::for_each_stmt;
use rooftile_runtime::open;
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Calls `f` with this processor, whose generator and width of vectors are drawn for each nest.
fn with_subject(f: impl FnOnce(&Subject<'_>)) {
    let device = open("cpu").expect("a CPU");
    let target = device.target().cpu().expect("a CPU").clone();
    f(&Subject {
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
    });
}

/// Calls `f` with seeds, for as long as there is time and `least` times.
fn repeat(name: &str, least: u32, mut f: impl FnMut(u64)) {
    let (seed, time, start) = (fuzz_seed(name), fuzz_time(), Instant::now());
    let mut ran = 0u32;
    while start.elapsed() < time || ran < least {
        let seed = seed.wrapping_add(u64::from(ran));
        mark(name, &format!("seed {seed}"));
        f(seed);
        ran += 1;
    }
    println!("{name}: {ran} nests");
}

/// Runs the nests of one kind.
fn check_all(name: &str, least: u32, subject: &Subject<'_>, mut generate: impl FnMut(&mut StdRng) -> Case) {
    repeat(name, least, |seed| {
        let case = generate(&mut StdRng::seed_from_u64(seed));
        if let Err(what) = compare(subject, &case, seed) {
            panic!("seed {seed}: {what}\n{}", case.module);
        }
    });
}

#[test]
fn interpreter_and_code_agree() {
    with_subject(|subject| repeat("codegen_fuzz", 20, |seed| check(subject, seed)));
}

/// Whether a loop of the nest may be left early.
fn may_be_left(nest: &Nest) -> bool {
    let mut found = false;
    for phase in &nest.phases {
        for_each_stmt(&phase.body, &mut |s| {
            if let Stmt::Loop { var, kind: LoopKind::Serial, body, .. } = s {
                found |= settle::settling(nest, *var, body).is_some();
            }
        });
    }
    found
}

#[test]
fn loops_are_left_when_nothing_changes() {
    let (mut left, mut stayed) = (0, 0);
    with_subject(|subject| {
        check_all("settling", 100, subject, |rng| {
            let case = settling::generate(rng);
            *(if may_be_left(&case.module.nests[0]) { &mut left } else { &mut stayed }) += 1;
            case
        });
    });
    assert!(left > 10 && stayed > 10, "{left} may be left, {stayed} not");
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

#[test]
fn packed_elements_are_lanes() {
    with_subject(|subject| check_all("packed", 30, subject, packed::generate));
}

#[test]
fn lanes_that_are_off_do_nothing() {
    with_subject(|subject| check_all("masked", 100, subject, masked::generate));
}

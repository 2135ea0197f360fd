//! Time from text to machine code, by stage and example; and from nests to machine code and to SPIR-V, by kernel.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rooftile_artifact::{GpuTarget, Target};
use rooftile_benches::{checked, default_choice, examples, module, program};
use rooftile_compiler::codegen::cpu::{self, Generator};
use rooftile_compiler::codegen::vulkan::compile_nest;
use rooftile_compiler::nest::Verified;
use rooftile_compiler::schedule::{Choice, lower};
use rooftile_compiler::{driver, hir, nest, syntax};
use rooftile_runtime::{CpuDevice, Device};

fn stages(c: &mut Criterion) {
    let device = CpuDevice::new();
    let target = device.target();
    for (name, text) in examples() {
        let mut group = c.benchmark_group(format!("compile/{name}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(300));
        let (file, entry) = checked(&text);
        let choice = default_choice(&file, entry);
        let lowered = lower(&file.hir, entry, &choice, target).expect("a legal schedule");
        let verified = module(&file, entry, &choice, target);
        let naive = module(&file, entry, &Choice::Naive, target);
        group.bench_function("parse", |b| b.iter(|| syntax::parse(black_box(&text))));
        group.bench_function("types", |b| b.iter(|| hir::check(black_box(&file.ast))));
        group.bench_function("check", |b| b.iter(|| driver::check(black_box(&text))));
        group.bench_function("lower", |b| {
            b.iter(|| lower(&file.hir, entry, black_box(&choice), target));
        });
        group.bench_function("verify", |b| {
            b.iter_batched(|| lowered.clone(), nest::verify_module, criterion::BatchSize::SmallInput);
        });
        group.bench_function("code", |b| b.iter(|| program(black_box(&verified), target)));
        let cpu_target = device.cpu();
        group.bench_function("code by cranelift", |b| {
            b.iter(|| cpu::compile(black_box(&verified), cpu_target, Generator::Cranelift));
        });
        group.bench_function("code of naive", |b| b.iter(|| program(black_box(&naive), target)));
        group.finish();
    }
}

/// From a verified nest to the words of a SPIR-V module. No device is needed.
fn spirv(c: &mut Criterion) {
    let gpu = GpuTarget::default();
    kernels(c, "spirv", &Target::from(gpu.clone()), |nest| {
        black_box(compile_nest(nest, &gpu).expect("code"));
    });
}

/// From a verified nest to machine code, by the generator that is meant for this machine and by the portable one.
fn code(c: &mut Criterion) {
    let device = CpuDevice::new();
    for (name, generator) in
        [("kernel code", Generator::Best), ("kernel code by cranelift", Generator::Cranelift)]
    {
        kernels(c, name, device.target(), |nest| {
            black_box(cpu::compile_nest(nest, device.cpu(), generator).expect("code"));
        });
    }
}

/// Compiles every kernel that the examples launch, under the target's default schedule, and prints the median over the
/// kernels.
fn kernels(c: &mut Criterion, stage: &str, target: &Target, mut compile: impl FnMut(&Verified)) {
    let mut group = c.benchmark_group(stage);
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(300));
    // Seconds of each kernel that was timed.
    let mut medians: Vec<(f64, String)> = Vec::new();
    for (name, text) in examples() {
        let (file, entry) = checked(&text);
        let verified = module(&file, entry, &default_choice(&file, entry), target);
        for (n, nest) in verified.nests().iter().enumerate() {
            let label = format!("{name}/{n}:{}", nest.name);
            let mut samples = Vec::new();
            group.bench_function(&label, |b| {
                b.iter_custom(|times| {
                    let start = Instant::now();
                    for _ in 0..times {
                        compile(black_box(nest));
                    }
                    let all = start.elapsed();
                    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
                    samples.push(all.as_secs_f64() / times as f64);
                    all
                });
            });
            // The first samples are of the warm-up.
            samples.reverse();
            samples.truncate(10);
            medians.extend(median(&mut samples).map(|s| (s, label)));
        }
    }
    group.finish();
    let slowest = medians.iter().max_by(|a, b| a.0.total_cmp(&b.0)).cloned();
    let mut seconds: Vec<f64> = medians.iter().map(|(s, _)| *s).collect();
    if let (Some(middle), Some((most, label))) = (median(&mut seconds), slowest) {
        println!(
            "{stage}: median over {} kernels {:.2} ms; the longest, {label}, {:.2} ms",
            seconds.len(),
            middle * 1e3,
            most * 1e3
        );
    }
}

/// The value in the middle; `None` where a filter left nothing to be timed.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

criterion_group!(benches, stages, code, spirv);
criterion_main!(benches);

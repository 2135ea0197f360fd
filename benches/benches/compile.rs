//! Time from text to machine code, by stage and example.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rooftile_benches::{checked, default_choice, examples, module, program};
use rooftile_compiler::schedule::{Choice, lower};
use rooftile_compiler::{driver, hir, nest, syntax};
use rooftile_runtime::{CpuDevice, Device};

fn stages(c: &mut Criterion) {
    let device = CpuDevice::new();
    let target = device.target();
    for (name, text) in examples() {
        let mut group = c.benchmark_group(format!("compile/{name}"));
        group.sample_size(10).warm_up_time(std::time::Duration::from_millis(100));
        group.measurement_time(std::time::Duration::from_millis(300));
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
        group.bench_function("code of naive", |b| b.iter(|| program(black_box(&naive), target)));
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);

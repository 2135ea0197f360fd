//! Whole examples under the schedules that always exist.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rooftile_benches::{default_choice, example, instance};
use rooftile_compiler::schedule::Choice;
use rooftile_runtime::{CpuDevice, Device};

/// What is run: example, sizes, and how much there is of what is counted.
type Run = (&'static str, &'static [(&'static str, i64)], Throughput);

const RUNS: [Run; 4] = [
    ("matmul", &[("M", 256), ("N", 256), ("K", 256)], Throughput::Elements(2 * 256 * 256 * 256)),
    ("saxpy", &[("N", 1 << 20)], Throughput::Bytes(12 << 20)),
    ("softmax", &[("M", 512), ("N", 1024)], Throughput::Elements(512 * 1024)),
    ("heat2d", &[("H", 512), ("W", 512), ("T", 10)], Throughput::Elements(512 * 512 * 10)),
];

fn kernels(c: &mut Criterion) {
    let all = CpuDevice::new().target().host_threads();
    for (name, sizes, work) in RUNS {
        let mut group = c.benchmark_group(name);
        group.sample_size(10).measurement_time(std::time::Duration::from_secs(1));
        group.throughput(work);
        let file = example(name);
        let default = default_choice(&file.0, file.1);
        for (label, choice, threads) in
            [("naive", &Choice::Naive, 1), ("default", &default, 1), ("default, all cores", &default, all)]
        {
            let mut instance = instance(&file, choice, sizes, threads);
            group.bench_function(label, |b| b.iter(|| instance.run().expect("a run")));
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);

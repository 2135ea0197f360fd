//! Inlined functions: elements per second on data that stays in the first-level cache, one thread.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rooftile_benches::{checked, default_choice, instance};

/// Elements; two arrays of them fit 32 KiB.
const N: i64 = 2048;

fn functions(c: &mut Criterion) {
    let mut group = c.benchmark_group("math");
    group.sample_size(20).measurement_time(std::time::Duration::from_millis(500));
    group.throughput(Throughput::Elements(N.unsigned_abs()));
    let functions = [
        "abs", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tanh",
        "sigmoid", "erf", "erfc",
    ];
    for name in functions {
        let text = format!(
            "kernel f(x: in f32[N], y: out f32[N]) {{\n  for i in tiles(N; bi) {{ y[i] = {name}(x[i]) }}\n}}\n\
             task f {{\n  search {{N={N}}}\n  heldout {{N=1021}}\n  init x ~ uniform(0.1, 2.0)\n}}\n"
        );
        let file = checked(&text);
        let choice = default_choice(&file.0, file.1);
        let mut instance = instance(&file, &choice, &[("N", N)], 1);
        group.bench_function(name, |b| b.iter(|| instance.run().expect("a run")));
    }
    group.finish();
}

criterion_group!(benches, functions);
criterion_main!(benches);

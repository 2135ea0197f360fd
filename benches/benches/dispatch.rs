//! What a run costs beyond its work: launches of next to nothing.

use criterion::{Criterion, criterion_group, criterion_main};
use rooftile_benches::{default_choice, example, instance};

fn launches(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
    for threads in [1, 2] {
        let saxpy = example("saxpy");
        let choice = default_choice(&saxpy.0, saxpy.1);
        let mut tiny = instance(&saxpy, &choice, &[("N", 1)], threads);
        group.bench_function(format!("one launch, {threads} threads"), |b| {
            b.iter(|| tiny.run().expect("a run"));
        });
        let heat = example("heat2d");
        let choice = default_choice(&heat.0, heat.1);
        let mut steps = instance(&heat, &choice, &[("H", 16), ("W", 16), ("T", 100)], threads);
        group.bench_function(format!("100 steps of a 16 x 16 stencil, {threads} threads"), |b| {
            b.iter(|| steps.run().expect("a run"));
        });
    }
    group.finish();
}

criterion_group!(benches, launches);
criterion_main!(benches);

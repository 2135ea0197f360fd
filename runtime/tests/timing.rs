//! Timing of a program of machine code.
#![cfg(target_arch = "x86_64")]

mod common;
mod program;

use common::{add, kernel, launch, program};
use rooftile_artifact::program::{Bindings, Mode};
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};
use rooftile_runtime::timing::Cache;
use rooftile_runtime::{
    CpuDevice, Device, Instance, InstanceOptions, MeasureOptions, measure, measure_paired,
};

const N: usize = 4096;

/// `times` launches of `x[i] += 1`.
fn adding(times: usize, threads: usize) -> Instance {
    let steps = (0..times).map(|_| launch(0, HostExpr::Size(0), 1.into())).collect();
    let p = program(&[("x", Mode::InOut)], 0, vec![kernel(add())], steps);
    let loaded = CpuDevice::new().load(&p).expect("loads");
    let bindings = Bindings { sizes: vec![4096], scalars: vec![Scalar::Int(0)] };
    let options = InstanceOptions { threads, ..Default::default() };
    let mut instance = Instance::new(&loaded, &bindings, options).expect("small");
    instance.write_input(0, &HostTensor::zeros(DType::I32, &[N]).expect("small")).expect("fits");
    instance
}

#[test]
fn timing_leaves_the_inputs_as_they_were() {
    for (threads, cache) in [(1, Cache::Warm), (2, Cache::Warm), (1, Cache::Cold), (2, Cache::Cold)] {
        let mut x = adding(1, threads);
        let before = x.input_hash(0).expect("a parameter");
        let options = MeasureOptions { cache, max_samples: 9, ..Default::default() };
        let m = measure(&mut x, &options).expect("runs");
        assert!(m.median > 0.0 && m.samples.len() >= 7, "{m:?}");
        assert_eq!(x.input_hash(0).expect("a parameter"), before);
    }
}

#[test]
fn four_times_the_work_takes_longer() {
    let (mut long, mut short) = (adding(4, 1), adding(1, 1));
    let m = measure_paired(&mut long, &mut short, &MeasureOptions::default()).expect("runs");
    assert!(m.median > 0.3, "{}", m.median);
}

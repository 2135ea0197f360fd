//! Programs of hand-made machine code, from inputs to outputs and every failure between.
#![cfg(target_arch = "x86_64")]

mod common;
mod program;

use common::{add, kernel, launch, program, promise, report, store};
use rooftile_artifact::host_expr::HostBinary;
use rooftile_artifact::program::{Bindings, BufferDecl, Code, Contract, Kernel, Mode, Program, Step};
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};
use rooftile_runtime::{
    CpuDevice, Device, DeviceError, Error, InputError, Instance, InstanceOptions, InternalError, NullDevice,
};

fn bindings(n: i64, s: i64) -> Bindings {
    Bindings { sizes: vec![n], scalars: vec![Scalar::Int(s)] }
}

fn ints(values: &[i64]) -> HostTensor {
    HostTensor::from_fn(DType::I32, &[values.len()], |i| Scalar::Int(values[i])).expect("small")
}

fn instance(program: &Program, b: &Bindings, options: InstanceOptions) -> Result<Instance, Error> {
    Instance::new(&CpuDevice::new().load(program)?, b, options)
}

fn read(instance: &Instance, param: usize) -> Vec<i64> {
    let t = instance.read_output(param).expect("a parameter");
    (0..t.len()).map(|i| t.get(i).as_i64()).collect()
}

fn input_error(outcome: Result<impl Sized, Error>) -> InputError {
    match outcome {
        Err(Error::Input(e)) => e,
        Err(other) => panic!("not an input error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

fn storing() -> Program {
    let steps = vec![launch(0, HostExpr::Size(0), HostExpr::Scalar(0))];
    program(&[("x", Mode::Out)], 0, vec![kernel(store())], steps)
}

fn adding() -> Program {
    let steps = vec![launch(0, HostExpr::Size(0), HostExpr::Scalar(0))];
    program(&[("x", Mode::InOut)], 0, vec![kernel(add())], steps)
}

#[test]
fn a_kernel_runs_on_any_number_of_threads() {
    for threads in [1, 2, 3] {
        for n in [0, 1, 2, 1000] {
            let options =
                InstanceOptions { threads, guarded: n == 1000, poison: Some(7), ..Default::default() };
            let mut i = instance(&storing(), &bindings(n, -5), options).expect("small");
            i.run().expect("runs");
            assert_eq!(read(&i, 0), vec![-5; usize::try_from(n).expect("positive")]);
            i.check_canaries().expect("alive");
        }
    }
}

#[test]
fn inputs_are_consumed_and_restored() {
    let mut i = instance(&adding(), &bindings(3, 10), InstanceOptions::default()).expect("small");
    assert_eq!(input_error(i.run()), InputError::MissingInput("x".into()));
    i.write_input(0, &ints(&[1, 2, 3])).expect("fits");
    assert!(i.consumes_inputs());
    i.save_inputs();
    let before = i.input_hash(0).expect("a parameter");
    i.run().expect("runs");
    i.run().expect("runs");
    assert_eq!(read(&i, 0), [21, 22, 23]);
    assert_ne!(i.input_hash(0).expect("a parameter"), before);
    i.restore_inputs();
    assert_eq!(i.input_hash(0).expect("a parameter"), before);
    assert_eq!(read(&i, 0), [1, 2, 3]);
}

#[test]
fn repeats_count_and_swap() {
    // u and tmp0 change places after each pass; pass t stores t + 1 into tmp0, so u ends with the last.
    let body =
        vec![launch(1, HostExpr::Size(0), HostExpr::binary(HostBinary::Add, HostExpr::Step(0), 1.into()))];
    let repeat = Step::Repeat { var: 0, lo: 0.into(), hi: HostExpr::Scalar(0), swaps: vec![(0, 1)], body };
    let p = program(&[("u", Mode::InOut)], 1, vec![kernel(store())], vec![repeat]);
    for passes in [0, 1, 2, 5] {
        let mut i = instance(&p, &bindings(4, passes), InstanceOptions::default()).expect("small");
        i.write_input(0, &ints(&[9, 9, 9, 9])).expect("fits");
        i.save_inputs();
        i.run().expect("runs");
        assert_eq!(read(&i, 0), [if passes == 0 { 9 } else { passes }; 4]);
        i.restore_inputs();
        assert_eq!(read(&i, 0), [9; 4], "after {passes} passes");
    }
}

#[test]
fn conditions_fills_and_copies() {
    let even = HostExpr::binary(
        HostBinary::Eq,
        HostExpr::binary(HostBinary::Rem, HostExpr::Scalar(0), 2.into()),
        0.into(),
    );
    let steps = vec![
        Step::Fill { buffer: 1, value: HostExpr::Scalar(0) },
        Step::If {
            cond: even,
            then: vec![Step::Copy { from: 1, to: 0 }],
            otherwise: vec![Step::Fill { buffer: 0, value: (-1).into() }],
        },
    ];
    let p = program(&[("x", Mode::Out)], 1, vec![], steps);
    for (s, want) in [(6, 6), (7, -1)] {
        let mut i = instance(&p, &bindings(5, s), InstanceOptions::default()).expect("small");
        i.run().expect("runs");
        assert_eq!(read(&i, 0), [want; 5]);
    }
}

/// What is prepared is prepared again for new inputs, and where temporaries were overwritten.
#[test]
fn inputs_are_prepared_once() {
    let steps = vec![Step::Copy { from: 2, to: 1 }];
    let mut p = program(&[("w", Mode::In), ("y", Mode::Out)], 1, vec![], steps);
    p.prepare = vec![Step::Copy { from: 0, to: 2 }];
    let mut i = instance(&p, &bindings(3, 0), InstanceOptions::default()).expect("small");
    assert!(i.prepare_seconds().is_none());
    i.write_input(0, &ints(&[1, 2, 3])).expect("fits");
    for _ in 0..2 {
        i.run().expect("runs");
        assert_eq!(read(&i, 1), [1, 2, 3]);
        assert!(i.prepare_seconds().is_some());
    }
    i.write_input(0, &ints(&[4, 5, 6])).expect("fits");
    assert!(i.prepare_seconds().is_none());
    i.run().expect("runs");
    assert_eq!(read(&i, 1), [4, 5, 6]);
    i.poison(7);
    i.run().expect("runs");
    assert_eq!(read(&i, 1), [4, 5, 6]);
}

#[test]
fn a_write_outside_is_caught() {
    let past = HostExpr::binary(HostBinary::Add, HostExpr::Size(0), 1.into());
    let p = program(&[("x", Mode::Out)], 0, vec![kernel(store())], vec![launch(0, past, 0.into())]);
    let options = InstanceOptions { guarded: true, ..Default::default() };
    let mut i = instance(&p, &bindings(15, 0), options).expect("small");
    i.run().expect("runs");
    match i.check_canaries() {
        Err(Error::Internal(InternalError::Canary { buffer, source })) => {
            assert_eq!((buffer.as_str(), source.offset), ("x", 60));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn kernels_report_by_the_status_word() {
    for (bits, want) in [
        (1, InputError::AppendOverflow { kernel: "k".into() }),
        (2, InputError::OutOfBounds { kernel: "k".into() }),
    ] {
        let steps = vec![launch(0, HostExpr::Size(0), 0.into())];
        let p = program(&[("x", Mode::Out)], 0, vec![kernel(report(bits))], steps);
        for threads in [1, 2] {
            let options = InstanceOptions { threads, ..Default::default() };
            let mut i = instance(&p, &bindings(4, 0), options).expect("small");
            assert_eq!(input_error(i.run()), want);
            assert_eq!(input_error(i.run()), want);
        }
    }
}

#[test]
fn wrong_inputs_are_named() {
    let mut p = adding();
    promise(&mut p, 0, Contract::Range(0.into(), HostExpr::Size(0)));
    let mut i = instance(&p, &bindings(3, 1), InstanceOptions::default()).expect("small");
    assert_eq!(
        input_error(i.write_input(0, &ints(&[1, 2]))),
        InputError::WrongShape { param: "x".into(), want: vec![3], got: vec![2] }
    );
    let floats = HostTensor::zeros(DType::F32, &[3]).expect("small");
    assert_eq!(
        input_error(i.write_input(0, &floats)),
        InputError::WrongDType { param: "x".into(), want: DType::I32, got: DType::F32 }
    );
    assert_eq!(
        input_error(i.write_input(0, &ints(&[0, 3, 1]))),
        InputError::OutOfRange { param: "x".into(), index: 1, value: 3, lo: 0, hi: 3 }
    );
    assert!(matches!(i.write_input(1, &floats), Err(Error::Internal(_))));
    i.write_input(0, &ints(&[0, 2, 1])).expect("keeps its promise");
}

#[test]
fn wrong_bindings_are_named() {
    let options = InstanceOptions::default();
    let mut p = storing();
    let below = HostExpr::binary(HostBinary::Lt, HostExpr::Size(0), 100.into());
    p.requires.push((below, "N < 100".into()));
    let outcome = input_error(instance(&p, &bindings(100, 0), options));
    assert_eq!(outcome, InputError::Requires("N < 100".into()));
    let p = storing();
    assert!(matches!(
        input_error(instance(&p, &bindings(-1, 0), options)),
        InputError::NegativeSize { value: -1, .. }
    ));
    assert!(matches!(
        input_error(instance(&p, &bindings(1, 1 << 40), options)),
        InputError::ScalarValue { dtype: DType::I32, .. }
    ));
    let empty = Bindings::default();
    assert!(matches!(instance(&p, &empty, options), Err(Error::Internal(_))));
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_allocated() {
    for n in [1 << 45, i64::MAX] {
        match input_error(instance(&storing(), &bindings(n, 0), InstanceOptions::default())) {
            InputError::TooLarge { needed, available } => assert!(needed > available && available > 0),
            other => panic!("{other}"),
        }
    }
    let options = InstanceOptions { memory_limit: Some(1000), ..Default::default() };
    assert_eq!(
        input_error(instance(&storing(), &bindings(1000, 0), options)),
        InputError::TooLarge { needed: 4064, available: 1000 }
    );
}

/// Scratch memory that only a step counter tells of is counted when the run comes to it, not taken and found missing.
#[test]
fn scratch_memory_that_does_not_fit_is_refused_in_a_run() {
    let local_bytes = HostExpr::binary(HostBinary::Mul, HostExpr::Size(0), (1i64 << 45).into());
    let large = Kernel { local_bytes, ..kernel(store()) };
    let body = vec![launch(0, HostExpr::Step(0), 0.into())];
    let steps = vec![Step::Repeat { var: 0, lo: 1.into(), hi: 2.into(), swaps: vec![], body }];
    let p = program(&[("x", Mode::Out)], 0, vec![large], steps);
    let mut i = instance(&p, &bindings(4, 0), InstanceOptions::default()).expect("small");
    match i.run() {
        Err(Error::Device(DeviceError::OutOfMemory(e))) => assert_eq!(e.bytes, 1 << 45),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sub_byte_parameters_are_packed() {
    let u4 = DType::Int { signed: false, bits: 4 };
    let shape = vec![HostExpr::Size(0), 2.into()];
    let mut p = program(&[("x", Mode::In), ("y", Mode::Out)], 0, vec![], vec![Step::Copy { from: 0, to: 1 }]);
    for b in &mut p.buffers {
        *b = BufferDecl { name: b.name.clone(), dtype: u4, shape: shape.clone(), packed: Some(0) };
    }
    let mut i = instance(&p, &bindings(3, 0), InstanceOptions::default()).expect("small");
    let x = HostTensor::from_fn(u4, &[3, 2], |i| Scalar::Int(i64::try_from(i).expect("small") + 9))
        .expect("small");
    i.write_input(0, &x).expect("fits");
    i.run().expect("runs");
    assert_eq!(i.read_output(1).expect("a parameter"), x);
}

#[test]
fn code_for_another_processor_is_refused() {
    let mut p = storing();
    let Code::Cpu { features, .. } = &mut p.kernels[0].code else { unreachable!("made above") };
    features.avx512_bf16 = true;
    let device = CpuDevice::new();
    if !device.cpu().features.avx512_bf16 {
        let outcome = device.load(&p);
        assert!(
            matches!(&outcome, Err(Error::Device(DeviceError::MissingFeatures { missing, .. })) if missing == "AVX-512 BF16")
        );
    }
}

#[test]
fn malformed_programs_are_our_bug() {
    let mut unknown = storing();
    unknown.steps.push(launch(9, 1.into(), 1.into()));
    let mut arity = storing();
    arity.kernels[0].scalars.clear();
    let mut kernel = storing();
    kernel.kernels.clear();
    for p in [unknown, arity, kernel] {
        let outcome = CpuDevice::new().load(&p);
        assert!(matches!(outcome, Err(Error::Internal(InternalError::Malformed(_)))), "{outcome:?}");
    }
}

#[test]
fn the_null_device_runs_nothing() {
    let loaded = NullDevice::new().load(&storing()).expect("any program loads");
    let options = InstanceOptions { poison: Some(0x0101_0101), threads: 2, ..Default::default() };
    let mut i = Instance::new(&loaded, &bindings(3, 5), options).expect("small");
    i.run().expect("does nothing");
    assert_eq!(read(&i, 0), [0x0101_0101; 3]);
}

#[test]
fn instances_and_devices_can_change_threads() {
    fn movable<T: Send + Sync>() {}
    movable::<Instance>();
    movable::<CpuDevice>();
    movable::<rooftile_runtime::Loaded>();
    movable::<Box<dyn Device>>();
}

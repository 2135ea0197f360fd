//! Programs of hand-made SPIR-V on a Vulkan device: the interface, every kind of step, and every failure. They run on
//! whatever device there is, in software too; with the validation layer if `ROOFTILE_VULKAN_VALIDATION` is 1.

mod program;
mod spirv;

use std::io::Write;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use program::program;
use rooftile_artifact::host_expr::{HostBinary, HostUnary};
use rooftile_artifact::program::{Bindings, Code, Kernel, Mode, Program, Step};
use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::{DType, HostExpr, HostTensor, Scalar};
use rooftile_runtime::timing::Cache;
use rooftile_runtime::vulkan::{VALIDATION_VARIABLE, is_validated, validation_messages};
use rooftile_runtime::{
    Device, DeviceError, Error, InputError, Instance, InstanceOptions, InternalError, MeasureOptions,
    VulkanDevice, devices, measure, measure_paired, open,
};
use spirv::Asm;

/// The first device; a line that says so where there is none.
fn device() -> Option<&'static VulkanDevice> {
    static DEVICE: OnceLock<Result<VulkanDevice, String>> = OnceLock::new();
    static SKIPPED: Once = Once::new();
    match DEVICE.get_or_init(|| VulkanDevice::open(0).map_err(|e| e.to_string())) {
        Ok(device) => Some(device),
        Err(why) => {
            // Past the test harness, which keeps what a passing test prints.
            SKIPPED.call_once(|| {
                let _ = writeln!(std::io::stdout(), "\nSKIPPED: vulkan ({why})");
            });
            None
        }
    }
}

fn bindings(n: i64, s: i64) -> Bindings {
    Bindings { sizes: vec![n], scalars: vec![Scalar::Int(s)] }
}

fn ints(values: &[i64]) -> HostTensor {
    HostTensor::from_fn(DType::I32, &[values.len()], |i| Scalar::Int(values[i])).expect("small")
}

fn read(instance: &Instance, param: usize) -> Vec<i64> {
    let t = instance.read_output(param).expect("a parameter");
    (0..t.len()).map(|i| t.get(i).as_i64()).collect()
}

fn instance(program: &Program, b: &Bindings, options: InstanceOptions) -> Result<Instance, Error> {
    Instance::new(&device().expect("asked before").load(program)?, b, options)
}

fn input_error(outcome: Result<impl Sized, Error>) -> InputError {
    match outcome {
        Err(Error::Input(e)) => e,
        Err(other) => panic!("not an input error: {other}"),
        Ok(_) => panic!("no error"),
    }
}

fn launch(buffers: Vec<usize>, chunks: HostExpr, scalar: HostExpr) -> Step {
    Step::Launch { kernel: 0, buffers, sizes: vec![chunks], scalars: vec![scalar] }
}

fn plus(a: HostExpr, b: i64) -> HostExpr {
    HostExpr::binary(HostBinary::Add, a, b.into())
}

/// `to[i] = from[i] + s`.
fn adding() -> Kernel {
    let asm = Asm::new().phase(|a, at| {
        let (from, to, s) = (a.buffer(at, 0), a.buffer(at, 1), a.scalar(at, 2));
        let (from, to) = (a.element(from, at.chunk), a.element(to, at.chunk));
        let v = a.load(a.u32, from);
        let v = a.add32(v, s);
        a.store(a.u32, to, v);
    });
    asm.kernel(2, vec![DType::I32], 0)
}

/// `x[i] = s`.
fn storing() -> Kernel {
    let asm = Asm::new().phase(|a, at| {
        let (x, s) = (a.buffer(at, 0), a.scalar(at, 1));
        let x = a.element(x, at.chunk);
        a.store(a.u32, x, s);
    });
    asm.kernel(1, vec![DType::I32], 0)
}

fn nothing_found() {
    assert_eq!(validation_messages(), Vec::<String>::new());
}

#[test]
fn phases_wait_for_each_other() {
    if device().is_none() {
        return;
    }
    // t = a x, then y[i] += t[n - 1 - i]: other threads wrote what a thread reads.
    let asm = Asm::new()
        .phase(|a, at| {
            let (x, t, s) = (a.buffer(at, 0), a.buffer(at, 2), a.scalar(at, 3));
            let (x, t) = (a.element(x, at.chunk), a.element(t, at.chunk));
            let (v, s, zero) = (a.load(a.f32, x), a.float(s), a.int(0));
            let zero = a.low(zero);
            let zero = a.float(zero);
            let v = a.fma(v, s, zero);
            a.store(a.f32, t, v);
        })
        .phase(|a, at| {
            let (y, t) = (a.buffer(at, 1), a.buffer(at, 2));
            let (n, one) = (a.chunks(at), a.int(1));
            let last = a.sub(n, one);
            let mirrored = a.sub(last, at.chunk);
            let (y, t) = (a.element(y, at.chunk), a.element(t, mirrored));
            let (v, w, one) = (a.load(a.f32, y), a.load(a.f32, t), a.int(0x3F80_0000));
            let one = a.low(one);
            let one = a.float(one);
            let v = a.fma(w, one, v);
            a.store(a.f32, y, v);
        });
    let kernel = asm.kernel(3, vec![DType::F32], 0);
    let steps = vec![launch(
        vec![0, 1, 2],
        HostExpr::Size(0),
        HostExpr::Cast(DType::F32, Box::new(HostExpr::Scalar(0))),
    )];
    let p = program(&[("x", Mode::In), ("y", Mode::InOut)], 1, DType::F32, vec![kernel], steps);
    for n in [1usize, 7, 8, 9, 1000, 70_000] {
        let options = InstanceOptions { guarded: true, poison: Some(3), ..Default::default() };
        let mut i = instance(&p, &bindings(n as i64, 3), options).expect("small");
        let x = HostTensor::from_fn(DType::F32, &[n], |k| Scalar::Float(k as f64)).expect("small");
        i.write_input(0, &x).expect("fits");
        i.write_input(1, &x).expect("fits");
        let before = i.input_hash(0).expect("a parameter");
        i.run().expect("runs");
        i.run().expect("runs");
        let y = i.read_output(1).expect("a parameter");
        for k in 0..n {
            assert_eq!(y.get(k).as_f64(), k as f64 + 6.0 * (n - 1 - k) as f64, "{k} of {n}");
        }
        assert_eq!(i.input_hash(0).expect("a parameter"), before);
        i.check_canaries().expect("alive");
    }
    nothing_found();
}

#[test]
fn repeats_count_and_swap() {
    if device().is_none() {
        return;
    }
    // tmp0 = u + t, then they change places.
    let body = vec![launch(vec![0, 1], HostExpr::Size(0), HostExpr::Step(0))];
    let repeat = Step::Repeat { var: 0, lo: 0.into(), hi: HostExpr::Scalar(0), swaps: vec![(0, 1)], body };
    let p = program(&[("u", Mode::InOut)], 1, DType::I32, vec![adding()], vec![repeat]);
    for passes in [0, 1, 2, 5] {
        let mut i = instance(&p, &bindings(40, passes), InstanceOptions::default()).expect("small");
        i.write_input(0, &ints(&[9; 40])).expect("fits");
        i.save_inputs();
        let sum = passes * (passes - 1) / 2;
        for run in 1..=5 {
            i.run().expect("runs");
            assert_eq!(read(&i, 0), [9 + run * sum; 40], "run {run} of {passes} passes");
        }
        i.restore_inputs();
        assert_eq!(read(&i, 0), [9; 40], "after {passes} passes");
        i.run().expect("runs");
        assert_eq!(read(&i, 0), [9 + sum; 40]);
    }
    nothing_found();
}

#[test]
fn very_long_programs_are_recorded_in_parts() {
    if device().is_none() {
        return;
    }
    let body = vec![launch(vec![0, 1], HostExpr::Size(0), 1.into())];
    let repeat = Step::Repeat { var: 0, lo: 0.into(), hi: HostExpr::Scalar(0), swaps: vec![(0, 1)], body };
    let p = program(&[("u", Mode::InOut)], 1, DType::I32, vec![adding()], vec![repeat]);
    let passes = 64 * 1024 + 1025;
    let mut i = instance(&p, &bindings(3, passes), InstanceOptions::default()).expect("small");
    i.write_input(0, &ints(&[1, 2, 3])).expect("fits");
    for run in 1..=2 {
        i.run().expect("runs");
        assert_eq!(read(&i, 0), [1, 2, 3].map(|v| v + run * passes));
    }
    nothing_found();
}

#[test]
fn sizes_may_depend_on_the_counter() {
    if device().is_none() {
        return;
    }
    let body = vec![launch(vec![0], HostExpr::Step(0), HostExpr::Step(0))];
    let repeat = Step::Repeat { var: 0, lo: 0.into(), hi: plus(HostExpr::Size(0), 1), swaps: vec![], body };
    let down = HostExpr::Unary(HostUnary::Neg, Box::new(HostExpr::Step(0)));
    let up = Step::Repeat {
        var: 0,
        lo: HostExpr::Unary(HostUnary::Neg, Box::new(HostExpr::Size(0))),
        hi: (-2).into(),
        swaps: vec![],
        body: vec![launch(vec![0], down.clone(), down)],
    };
    let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![storing()], vec![repeat, up]);
    let mut i = instance(&p, &bindings(20, 0), InstanceOptions::default()).expect("small");
    i.run().expect("runs");
    let want: Vec<i64> = (0..20).map(|k| if k < 3 { 3 } else { k + 1 }).collect();
    assert_eq!(read(&i, 0), want);
    nothing_found();
}

#[test]
fn conditions_fills_and_copies() {
    if device().is_none() {
        return;
    }
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
            otherwise: vec![Step::Fill { buffer: 0, value: 1.into() }],
        },
    ];
    for dtype in [DType::U8, DType::I16, DType::F32, DType::F64, DType::C64, DType::C128, DType::Bool] {
        let p = program(&[("x", Mode::Out)], 1, dtype, vec![], steps.clone());
        for n in [0usize, 1, 2, 5, 1023, 30_000] {
            for (s, want) in [(6, if dtype == DType::Bool { 1.0 } else { 6.0 }), (7, 1.0)] {
                let options = InstanceOptions { guarded: true, ..Default::default() };
                let mut i = instance(&p, &bindings(n as i64, s), options).expect("small");
                i.run().expect("runs");
                let t = i.read_output(0).expect("a parameter");
                assert!((0..n).all(|k| t.get(k) == Scalar::Float(want).cast(dtype)), "{n} of {dtype}");
                i.check_canaries().expect("alive");
            }
        }
    }
    nothing_found();
}

#[test]
fn sub_byte_elements_are_packed() {
    if device().is_none() {
        return;
    }
    let u4 = DType::Int { signed: false, bits: 4 };
    let mut p = program(
        &[("x", Mode::In), ("y", Mode::Out), ("z", Mode::Out)],
        0,
        u4,
        vec![],
        vec![Step::Copy { from: 0, to: 1 }, Step::Fill { buffer: 2, value: 5.into() }],
    );
    for b in &mut p.buffers {
        b.packed = Some(0);
    }
    let mut i = instance(&p, &bindings(7, 0), InstanceOptions::default()).expect("small");
    let x = HostTensor::from_fn(u4, &[7], |k| Scalar::Int(k as i64 + 1)).expect("small");
    i.write_input(0, &x).expect("fits");
    i.run().expect("runs");
    assert_eq!(read(&i, 1), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(read(&i, 2), [5; 7]);
    nothing_found();
}

#[test]
fn chunks_in_flight_have_scratch_memory_of_their_own() {
    if device().is_none() {
        return;
    }
    // The chunk's number goes to its scratch memory and comes back; with 1 MiB a chunk only some groups run at once.
    for (bytes, n) in [(60, 10_000), (1 << 20, 3000)] {
        let asm = Asm::new().phase(|a, at| {
            let (local, x, low) = (a.local(at), a.buffer(at, 0), a.low(at.chunk));
            a.store(a.u32, local, low);
            let v = a.load(a.u32, local);
            let x = a.element(x, at.chunk);
            a.store(a.u32, x, v);
        });
        let kernel = asm.kernel(1, vec![DType::I32], bytes);
        let steps = vec![launch(vec![0], HostExpr::Size(0), 0.into())];
        let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], steps);
        let options = InstanceOptions { guarded: true, poison: Some(1), ..Default::default() };
        let mut i = instance(&p, &bindings(n, 0), options).expect("fits");
        i.run().expect("runs");
        assert_eq!(read(&i, 0), (0..n).collect::<Vec<i64>>());
        i.check_canaries().expect("alive");
    }
    nothing_found();
}

#[test]
fn kernels_report_by_the_status_word() {
    if device().is_none() {
        return;
    }
    for (bits, want) in [
        (1, InputError::AppendOverflow { kernel: "k".into() }),
        (2, InputError::OutOfBounds { kernel: "k".into() }),
        (3, InputError::OutOfBounds { kernel: "k".into() }),
    ] {
        let kernel = Asm::new().phase(|a, at| a.report(at, bits)).kernel(1, vec![DType::I32], 0);
        let steps = vec![launch(vec![0], HostExpr::Scalar(0), 0.into())];
        let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], steps);
        let mut i = instance(&p, &bindings(4, 3), InstanceOptions::default()).expect("small");
        assert_eq!(input_error(i.run()), want);
        assert_eq!(input_error(i.run()), want);
        let mut i = instance(&p, &bindings(4, 0), InstanceOptions::default()).expect("small");
        i.run().expect("no chunk reports");
    }
    nothing_found();
}

#[test]
fn a_write_outside_is_caught() {
    if device().is_none() {
        return;
    }
    let past = plus(HostExpr::Size(0), 1);
    let p =
        program(&[("x", Mode::Out)], 0, DType::I32, vec![storing()], vec![launch(vec![0], past, 0.into())]);
    let options = InstanceOptions { guarded: true, ..Default::default() };
    let mut i = instance(&p, &bindings(15, 0), options).expect("small");
    i.check_canaries().expect("alive");
    i.run().expect("runs");
    match i.check_canaries() {
        Err(Error::Internal(InternalError::Canary { buffer, source })) => {
            assert_eq!((buffer.as_str(), source.offset), ("x", 60));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_device_lacks_is_said() {
    let Some(device) = device() else { return };
    let steps = || vec![launch(vec![0], HostExpr::Size(0), 0.into())];
    let with = |change: &dyn Fn(&mut rooftile_artifact::program::SpirvCode)| {
        let mut kernel = storing();
        if let Code::Spirv(code) = &mut kernel.code {
            change(code);
        }
        let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], steps());
        device.load(&p).map(|_| ()).map_err(|e| e.to_string())
    };
    let gpu = device.target().gpu().expect("a GPU").clone();
    let all = GpuFeatures {
        f16: true,
        f64: true,
        i8: true,
        i16: true,
        i64: true,
        storage8: true,
        storage16: true,
        atomics64: true,
        atomic_add_f32: true,
        subgroup_arithmetic: true,
        subgroup_shuffle: true,
        dot8: true,
        special_values: true,
        whole_subgroups: true,
        matrix: true,
        subnormals: true,
        half_subnormals: true,
    };
    let missing = gpu.features.missing(all);
    match with(&|code| code.features = all) {
        Ok(()) => assert_eq!(missing, ""),
        Err(e) => assert!(!missing.is_empty() && e.contains(&missing), "{e}"),
    }
    let e = with(&|code| code.phases[0].shared_bytes = gpu.shared_bytes + 1).expect_err("too much");
    assert!(e.contains("shared memory"), "{e}");
    let e = with(&|code| code.phases[0].group = gpu.group_threads + 1).expect_err("too many");
    assert!(e.contains("threads"), "{e}");
    assert!(with(&|code| code.words.clear()).is_err());
    assert!(with(&|code| code.phases.clear()).is_err());
    nothing_found();
}

#[test]
fn what_the_device_cannot_count_is_said() {
    if device().is_none() {
        return;
    }
    let steps = vec![launch(vec![0], HostExpr::Scalar(0), 0.into())];
    let p = program(&[("x", Mode::Out)], 0, DType::U8, vec![storing()], steps.clone());
    let made = |n, s| instance(&p, &bindings(n, s), InstanceOptions::default());
    let e = input_error(made(1 << 31, 0));
    assert!(e.to_string().contains("elements of x"), "{e}");
    assert!(matches!(
        input_error(made(1 << 62, 0)),
        InputError::TooLarge { .. } | InputError::BeyondLimit { .. }
    ));
    let options = InstanceOptions { memory_limit: Some(1000), ..Default::default() };
    assert!(matches!(input_error(instance(&p, &bindings(1001, 0), options)), InputError::TooLarge { .. }));
    let far = HostExpr::binary(HostBinary::Shl, 1.into(), 31.into());
    let p = program(&[("x", Mode::Out)], 0, DType::U8, vec![storing()], vec![launch(vec![0], far, 0.into())]);
    let mut i = instance(&p, &bindings(4, 0), InstanceOptions::default()).expect("small");
    assert!(matches!(input_error(i.run()), InputError::BeyondLimit { .. }));
    nothing_found();
}

#[test]
fn more_than_the_device_has_is_refused_before_it_is_asked_for() {
    let Some(device) = device() else { return };
    // Buffers of two billion bytes each, together more than there is.
    let (n, room) = (2_000_000_000, device.room());
    assert!(room.tensor_elements > n && room.bytes > 0 && room.tensor_bytes > 0, "{room:?}");
    let buffers = usize::try_from(2 * room.bytes / n).expect("a device of this world") + 2;
    let p = program(&[("x", Mode::Out)], buffers, DType::U8, vec![], vec![]);
    match input_error(instance(&p, &bindings(n as i64, 0), InstanceOptions::default())) {
        InputError::TooLarge { needed, available } => {
            assert!(needed >= n as u64 * buffers as u64 && available < needed)
        }
        // The driver makes no buffer of this size.
        e @ InputError::BeyondLimit { .. } => assert!(e.to_string().contains("bytes of x"), "{e}"),
        e => panic!("{e}"),
    }
    // Scratch memory that only a step counter tells of: it is counted when the run comes to it.
    let tebibyte = 1i64 << 40;
    let kernel = Kernel {
        local_bytes: HostExpr::binary(HostBinary::Mul, HostExpr::Size(0), tebibyte.into()),
        ..storing()
    };
    let body = vec![launch(vec![0], HostExpr::Step(0), 0.into())];
    let steps = vec![Step::Repeat { var: 0, lo: 1.into(), hi: 2.into(), swaps: vec![], body }];
    let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], steps);
    let mut i = instance(&p, &bindings(4, 0), InstanceOptions::default()).expect("small");
    for _ in 0..2 {
        match i.run() {
            Err(Error::Device(DeviceError::OutOfMemory(e))) => {
                assert!(e.bytes >= 1 << 40 && e.to_string().contains(&e.bytes.to_string()), "{e}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The device goes on.
    let steps = vec![launch(vec![0], HostExpr::Size(0), 7.into())];
    let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![storing()], steps);
    let mut i = instance(&p, &bindings(4, 0), InstanceOptions::default()).expect("small");
    i.run().expect("runs");
    assert_eq!(read(&i, 0), [7; 4]);
    nothing_found();
}

#[test]
fn times_are_measured_and_inputs_restored() {
    if device().is_none() {
        return;
    }
    let adding = |times: usize| {
        let steps = (0..times).map(|_| launch(vec![0, 0], HostExpr::Size(0), 1.into())).collect();
        let p = program(&[("x", Mode::InOut)], 0, DType::I32, vec![adding()], steps);
        let mut i = instance(&p, &bindings(4096, 0), InstanceOptions::default()).expect("small");
        i.write_input(0, &HostTensor::zeros(DType::I32, &[4096]).expect("small")).expect("fits");
        i
    };
    for cache in [Cache::Warm, Cache::Cold] {
        let mut i = adding(1);
        let before = i.input_hash(0).expect("a parameter");
        let options = MeasureOptions { cache, max_samples: 9, ..Default::default() };
        let m = measure(&mut i, &options).expect("runs");
        println!("{cache:?}: {} s, by the device's clock: {}", m.median, m.device_clock);
        assert!(m.median > 0.0 && m.lo <= m.hi, "{m:?}");
        assert_eq!(i.input_hash(0).expect("a parameter"), before);
    }
    let (mut long, mut short) = (adding(40), adding(1));
    let m = measure_paired(&mut long, &mut short, &MeasureOptions::default()).expect("runs");
    assert!(m.median > 0.3, "{}", m.median);
    assert_eq!(m.a.device_clock, m.b.device_clock);
    nothing_found();
}

#[test]
fn a_submission_that_does_not_end_is_given_up() {
    if device().is_none() {
        return;
    }
    // It does end, after the limit: nothing can stop it, and the process is to end in peace.
    let asm = Asm::new().phase(|a, at| {
        let x = a.buffer(at, 0);
        let v = a.chain(at.chunk, 200_000_000);
        let (v, x) = (a.low(v), a.element(x, at.chunk));
        a.store(a.u32, x, v);
    });
    let kernel = asm.kernel(1, vec![DType::I32], 0);
    let p =
        program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], vec![launch(vec![0], 1.into(), 0.into())]);
    let device = VulkanDevice::with_timeout(0, Duration::from_millis(5)).expect("opened before");
    let mut i = Instance::new(&device.load(&p).expect("loads"), &bindings(8, 0), InstanceOptions::default())
        .expect("small");
    for _ in 0..2 {
        match i.run() {
            Err(Error::Device(DeviceError::TimedOut { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(i);
    drop(device);
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
fn the_validation_layer_is_heard() {
    // In a process of its own: what the layer says stays for all tests of a process.
    const CHILD: &str = "ROOFTILE_TEST_VALIDATION_CHILD";
    if device().is_none() {
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "the_validation_layer_is_heard"])
            .env(CHILD, "1")
            .env(VALIDATION_VARIABLE, "1")
            .output()
            .expect("starts");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    if !is_validated() {
        return;
    }
    // More threads than the device takes; the program says another number.
    let kernel = Asm::new().with_group(1 << 20).phase(|_, _| {}).kernel(1, vec![DType::I32], 0);
    let p = program(&[("x", Mode::Out)], 0, DType::I32, vec![kernel], vec![]);
    match device().expect("asked before").load(&p) {
        Err(Error::Device(DeviceError::Validation { message })) => {
            assert!(message.contains("VUID"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    assert!(!validation_messages().is_empty());
}

#[test]
fn the_list_names_what_opens() {
    for info in devices().into_iter().filter(|d| d.name.starts_with("vulkan")) {
        match (open(info.name), info.missing) {
            (Ok(device), None) => {
                assert_eq!(device.name(), info.name);
                let gpu = device.target().gpu().expect("a GPU");
                println!("{}\n{gpu:#?}", info.description);
                assert!(
                    gpu.subgroup >= 1 && gpu.group_threads >= 128 && gpu.shared_bytes >= 16 << 10,
                    "{gpu:?}"
                );
                assert!(info.description.contains(&gpu.name), "{}", info.description);
            }
            (Err(DeviceError::Unavailable { why, .. }), Some(missing)) => assert_eq!(why, missing),
            (outcome, missing) => panic!("{}: {outcome:?}, {missing:?}", info.name),
        }
    }
    assert!(open("vulkan:77").is_err());
    let _ = device();
}

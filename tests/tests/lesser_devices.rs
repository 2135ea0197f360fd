//! GPUs that lack something: what a kernel needs and the device has not is named, and with small groups and little near
//! memory the default schedule still exists and is right.

use rooftile_artifact::program::Code;
use rooftile_artifact::target::GpuFeatures;
use rooftile_artifact::{GpuTarget, Program, Target};
use rooftile_compiler::driver::check;
use rooftile_compiler::schedule::{Allow, Choice, lower};
use rooftile_compiler::{codegen, nest};
use rooftile_runtime::{Device, DeviceError, Error, VulkanDevice};
use rooftile_tests::backends::{compiled, on_device, on_nests};
use rooftile_tests::judge::compare;
use rooftile_tests::prepared::{Prepared, prepared};
use rooftile_tests::schedules::{allowed, lowered, written};
use rooftile_tests::subject::entries;
use rooftile_tests::tally::Tally;
use rooftile_tests::vulkan::in_children_of;

/// A device with everything that code may ask for.
fn full() -> GpuTarget {
    let target = GpuTarget::default();
    let features = GpuFeatures { atomics64: true, special_values: true, subnormals: true, ..target.features };
    GpuTarget { features, ..target }
}

/// A feature, the way to switch it off, and a kernel that cannot do without. The default schedule makes no atomics: those
/// of 64 bits are tested where nests are written by hand.
type Lack = (&'static str, fn(&mut GpuFeatures), &'static str);

const LACKS: [Lack; 4] = [
    (
        "arithmetic on f64",
        |f| f.f64 = false,
        "kernel k(x: in f64[N], y: out f64[N]) { for i in tiles(N; b) { y[i] = x[i] * x[i] } }",
    ),
    (
        "16-bit storage",
        |f| f.storage16 = false,
        "kernel k(x: in f16[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = f32(x[i]) } }",
    ),
    (
        "8-bit storage",
        |f| f.storage8 = false,
        "kernel k(x: in i8[N], y: out i32[N]) { for i in tiles(N; b) { y[i] = i32(x[i]) } }",
    ),
    (
        "arithmetic on 64-bit integers",
        |f| f.i64 = false,
        "kernel k(x: in i64[N], y: out i64[N]) { for i in tiles(N; b) { y[i] = x[i] + x[i] } }",
    ),
];

/// The code of a text's only kernel under the default schedule, or the refusal in the words that a user sees.
fn program(text: &str, target: &GpuTarget) -> Result<Program, String> {
    let checked = check(text);
    assert!(!checked.has_errors(), "{text}: {:#?}", checked.diagnostics);
    let entry = checked.entry(None).expect("one kernel");
    let target = Target::from(target.clone());
    let module = lower(&checked.hir, entry, &Choice::Default { allow: Allow::default() }, &target)
        .map_err(|ds| ds.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; "))?;
    codegen::compile(&nest::verify_module(module).expect("keeps the rules"), &target)
        .map_err(|e| e.to_string())
}

#[test]
fn a_missing_feature_is_named() {
    for (name, switch_off, text) in LACKS {
        let mut target = full();
        program(text, &target).unwrap_or_else(|e| panic!("{name}: {e}"));
        switch_off(&mut target.features);
        match program(text, &target) {
            Ok(_) => panic!("{name}: it does not need it"),
            Err(e) => assert!(e.contains("kernel `k`") && e.contains(name), "{name}: {e}"),
        }
    }
}

/// Code that was made for a device with more is refused by one with less, by the feature's name, and not by its driver.
#[test]
fn code_for_a_better_device_is_refused_by_name() {
    let device = match VulkanDevice::open(0) {
        Ok(device) => device,
        Err(e) => return println!("SKIPPED: code for a better device ({e})"),
    };
    let has = device.target().gpu().expect("a GPU").features;
    for (name, _, text) in LACKS {
        let program = program(text, &full()).expect("compiles");
        let lacks: Vec<String> =
            features(&program).map(|used| has.missing(used)).filter(|m| !m.is_empty()).collect();
        match (device.load(&program), lacks.first()) {
            (Ok(_), None) => {}
            (Err(Error::Device(DeviceError::MissingFeatures { kernel, missing })), Some(lacks)) => {
                assert_eq!((kernel.as_str(), &missing), ("k", lacks));
            }
            (outcome, lacks) => panic!("code with {name}: {outcome:?}, {lacks:?}"),
        }
    }
}

/// Every kernel and pipeline, compiled for devices that lack one feature: either it does without, or the feature is named.
#[test]
fn no_code_uses_what_the_device_lacks() {
    let mut refused = 0;
    for entry in entries() {
        let choice = Choice::Default { allow: allowed(entry) };
        for (name, switch_off, _) in LACKS {
            let mut gpu = full();
            switch_off(&mut gpu.features);
            let target = Target::from(gpu.clone());
            match lowered(entry, &choice, &target).and_then(|module| compiled(&module, &target)) {
                Ok(program) => {
                    for used in features(&program) {
                        assert_eq!(gpu.features.missing(used), "", "{} without {name}", entry.label());
                    }
                }
                Err(e) => {
                    assert!(e.contains(name), "{} without {name}: {e}", entry.label());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0, "some kernel needs some feature");
}

/// Products of bytes are taken four at a time where the device does that, and one by one where it does not.
#[test]
fn products_of_bytes_are_taken_as_the_device_can() {
    let mut seen = 0;
    for entry in entries().into_iter().filter(|e| e.label().contains("17_bytes")) {
        for dot8 in [true, false] {
            let features = GpuFeatures { dot8, ..full().features };
            let target = Target::from(GpuTarget { features, ..full() });
            let choice = written(entry, &target).expect("a schedule for GPUs");
            let program = lowered(entry, &choice, &target).and_then(|module| compiled(&module, &target));
            let program = program.expect("code");
            let label = entry.label();
            assert!(self::features(&program).all(|used| used.dot8 == dot8), "{label} with {dot8}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

fn features(program: &Program) -> impl Iterator<Item = GpuFeatures> {
    program.kernels.iter().map(|kernel| match &kernel.code {
        Code::Spirv(code) => code.features,
        Code::Cpu { .. } => panic!("not SPIR-V"),
    })
}

/// Devices with as little as makes sense, and with less.
fn small() -> [GpuTarget; 4] {
    let with =
        |group_threads, shared_bytes, subgroup| GpuTarget { group_threads, shared_bytes, subgroup, ..full() };
    // Without arithmetic on narrow integers their elements take whole words of near memory.
    let words = GpuFeatures { i8: false, i16: false, ..full().features };
    [
        with(64, 4 << 10, 32),
        GpuTarget { features: words, ..with(64, 1 << 10, 32) },
        with(16, 256, 4),
        with(1, 0, 1),
    ]
}

#[test]
fn the_default_schedule_fits_small_groups() {
    let mut tally = Tally::default();
    for Prepared { entry, cases } in prepared() {
        for gpu in small() {
            let (name, target) = (entry.label(), Target::from(gpu.clone()));
            let what = format!("groups of {}, {} bytes", gpu.group_threads, gpu.shared_bytes);
            let module = lowered(*entry, &Choice::Default { allow: allowed(*entry) }, &target);
            let program = module.as_ref().map_err(Clone::clone).and_then(|m| compiled(m, &target));
            match &program {
                Err(e) => tally.note(&name, Err(format!("{what}: {e}"))),
                Ok(program) => tally.note(&name, fits(program, &gpu).map_err(|e| format!("{what}: {e}"))),
            }
            let Ok(module) = module else { continue };
            for (case, want) in cases.iter().take(2) {
                let got =
                    on_nests(&module, &case.inputs, 2).and_then(|got| compare(entry.func(), want, &got));
                tally.note(&name, got.map_err(|e| format!("{what}, nests at {}: {e}", case.what)));
            }
        }
    }
    tally.finish("lesser devices", &[], 300);
}

/// Whether every phase keeps to the device's groups.
fn fits(program: &Program, gpu: &GpuTarget) -> Result<(), String> {
    for kernel in &program.kernels {
        let Code::Spirv(code) = &kernel.code else { return Err("not SPIR-V".to_owned()) };
        for phase in &code.phases {
            if phase.group > gpu.group_threads || phase.shared_bytes > gpu.shared_bytes {
                return Err(format!("{} threads with {} bytes", phase.group, phase.shared_bytes));
            }
        }
    }
    Ok(())
}

/// What was made for a small device runs on any.
#[test]
fn schedules_for_small_groups_run() {
    in_children_of("schedules_for_small_groups_run", &["256"], |device| {
        let own = device.target().gpu().expect("a GPU");
        let mut tally = Tally::default();
        let few = ["matmul", "softmax", "layernorm", "scan", "histogram"];
        let chosen =
            |p: &&Prepared| few.iter().any(|f| p.entry.label().contains(&format!("dsl-examples/{f}.")));
        for Prepared { entry, cases } in prepared().iter().filter(chosen) {
            let gpu =
                GpuTarget { group_threads: own.group_threads.min(64), shared_bytes: 4 << 10, ..own.clone() };
            let target = Target::from(gpu);
            let module = lowered(*entry, &Choice::Default { allow: allowed(*entry) }, &target);
            let program = module.and_then(|module| compiled(&module, &target));
            for (case, want) in cases {
                let got = program.clone().and_then(|p| on_device(device, &p, &case.inputs, 1));
                let judged = got.and_then(|got| compare(entry.func(), want, &got));
                tally.note(&entry.label(), judged.map_err(|e| format!("at {}: {e}", case.what)));
            }
        }
        tally.finish("small groups on vulkan", &[], 10);
    });
}

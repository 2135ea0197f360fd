//! Random small nests: the interpreter and the machine code must agree, to the bit where no function is involved.

mod nests;

use std::time::Instant;

use nests::{Case, generate};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rooftile_artifact::program::Bindings;
use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::codegen::cpu::{self, CodegenError, Generator};
use rooftile_compiler::nest::interp;
use rooftile_compiler::nest::verify_module;
use rooftile_runtime::{Instance, InstanceOptions, open};

/// Units in the last place that two evaluations of functions may differ by.
const MATH_ULPS: f64 = 8.0;

#[test]
fn interpreter_and_code_agree() {
    let seed = rooftile_tests::fuzz_seed("codegen_fuzz");
    let time = rooftile_tests::fuzz_time();
    let start = Instant::now();
    let mut ran = 0u32;
    let mut case_seed = seed;
    while start.elapsed() < time || ran < 20 {
        check(case_seed);
        ran += 1;
        case_seed = case_seed.wrapping_add(1);
    }
    println!("codegen_fuzz: {ran} nests");
}

/// Makes, runs and compares one nest.
fn check(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let case = generate(&mut rng);
    let Case { module, size, functions } = case;
    let text = module.to_string();
    let module = match verify_module(module) {
        Ok(m) => m,
        Err(found) => panic!("seed {seed}: {found:?}\n{text}"),
    };
    let inputs: Vec<Option<HostTensor>> = module
        .program()
        .buffers
        .iter()
        .map(|b| Some(random_tensor(&mut rng, b.dtype, &extents(b, size))))
        .collect();
    let bindings = Bindings { sizes: vec![size], scalars: Vec::new() };
    let want =
        interp::run(&module, &bindings, &inputs).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
    let device = open("cpu").expect("a CPU");
    let mut target = device.target().clone();
    if rng.random_bool(0.3) {
        target.features = Default::default();
    }
    let program = match cpu::compile(&module, &target, Generator::Cranelift) {
        Ok(p) => p,
        // Fused operations need an instruction.
        Err(CodegenError::Unsupported { .. }) if !target.features.fma => return,
        Err(e) => panic!("seed {seed}: {e}\n{text}"),
    };
    let loaded = device.load(&program).expect("loads");
    let options =
        InstanceOptions { threads: 2, guarded: true, poison: Some(3), ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings, options).expect("memory");
    for (n, input) in inputs.iter().enumerate() {
        if let Some(tensor) = input {
            instance.write_input(n, tensor).expect("fits");
        }
    }
    instance.run().expect("runs");
    for (n, want) in want.iter().enumerate() {
        let got = instance.read_output(n).expect("an output");
        for i in 0..want.len() {
            let (got, want) = (got.get(i), want.get(i));
            assert!(
                agree(got, want, module.program().buffers[n].dtype, functions),
                "seed {seed}: parameter {n}, element {i}: {got:?}, not {want:?}\n{text}"
            );
        }
    }
    instance.check_canaries().unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
}

fn extents(b: &rooftile_artifact::program::BufferDecl, size: i64) -> Vec<usize> {
    let env = rooftile_artifact::host_expr::HostEnv { sizes: &[size], threads: 1, ..Default::default() };
    b.shape.iter().map(|e| usize::try_from(e.eval_int(&env).expect("a size")).expect("positive")).collect()
}

/// Small and large values, zeros of both signs, now and then an infinity or NaN.
fn random_tensor(rng: &mut StdRng, dtype: DType, shape: &[usize]) -> HostTensor {
    HostTensor::from_fn(dtype, shape, |_| {
        if dtype.is_float() {
            return Scalar::Float(match rng.random_range(0..20) {
                0 => 0.0,
                1 => -0.0,
                2 => f64::NAN,
                3 => f64::INFINITY,
                4 => f64::from(rng.random_range(-30i32..30)).exp2(),
                5 => 1e-41,
                6 => f64::from(rng.random_range(-1_000_000i32..1_000_000)),
                _ => rng.random_range(-4.0..4.0),
            });
        }
        Scalar::Int(match rng.random_range(0..8) {
            0 => rng.random(),
            1 => i64::MIN >> rng.random_range(0..60),
            2 => i64::MAX >> rng.random_range(0..60),
            _ => rng.random_range(-5..9),
        })
    })
    .expect("small")
}

fn agree(got: Scalar, want: Scalar, dtype: DType, functions: bool) -> bool {
    match (got, want) {
        (Scalar::Float(got), Scalar::Float(want)) => {
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            let unit = dtype.unit_roundoff().unwrap_or(0.0) * 2.0;
            let smallest = if dtype == DType::F32 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
            same || functions && (got - want).abs() <= MATH_ULPS * unit * want.abs().max(smallest)
        }
        _ => got == want,
    }
}

//! Random small nests: the interpreter and the machine code must agree, to the bit where no function is involved.

mod nests;

use std::time::Instant;

use nests::{Case, generate};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rooftile_artifact::abi::status;
use rooftile_artifact::program::Bindings;
use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::codegen::cpu::{self, CodegenError, Generator};
use rooftile_compiler::nest::interp::{self, InterpError};
use rooftile_compiler::nest::ir::Stmt;
use rooftile_compiler::nest::verify_module;
use rooftile_runtime::{Error, InputError, Instance, InstanceOptions, open};
use rooftile_tests::{fuzz_seed, fuzz_time, mark};

/// Units in the last place that two evaluations of functions may differ by.
const MATH_ULPS: f64 = 8.0;

#[test]
fn interpreter_and_code_agree() {
    let seed = fuzz_seed("codegen_fuzz");
    let time = fuzz_time();
    let start = Instant::now();
    let mut ran = 0u32;
    let mut case_seed = seed;
    while start.elapsed() < time || ran < 20 {
        mark("codegen_fuzz", &format!("seed {case_seed}"));
        check(case_seed);
        ran += 1;
        case_seed = case_seed.wrapping_add(1);
    }
    println!("codegen_fuzz: {ran} nests");
}

/// Makes, runs and compares one nest; a nest that fails is made smaller before it is shown.
fn check(seed: u64) {
    let case = generate(&mut StdRng::seed_from_u64(seed));
    let Err(mut what) = compare(&case, seed) else { return };
    let mut smallest = case;
    let mut n = 0;
    while n < smallest.module.nests[0].phases.iter().map(|p| count(&p.body)).sum() {
        let mut module = smallest.module.clone();
        let mut left = n;
        module.nests[0].phases.iter_mut().any(|p| remove(&mut p.body, &mut left));
        let smaller = Case { module, scalars: smallest.scalars.clone(), ..smallest };
        match compare(&smaller, seed) {
            Err(still) if !still.starts_with("interpreter") => {
                (smallest, what) = (smaller, still);
            }
            _ => n += 1,
        }
    }
    let mut listing = String::new();
    if std::env::var_os("ROOFTILE_FUZZ_CLIF").is_some()
        && let Ok(module) = verify_module(smallest.module.clone())
    {
        let target = open("cpu").expect("a CPU").target().cpu().expect("a CPU").clone();
        listing = cpu::emit_clif(&module.nests()[0], &target).unwrap_or_default();
    }
    panic!("seed {seed}: {what}\n{}\n{listing}", smallest.module);
}

fn count(block: &[Stmt]) -> usize {
    block.iter().map(|s| 1 + s.blocks().map(|b| count(b)).sum::<usize>()).sum()
}

/// Removes the statement of number `n`, outer before inner.
fn remove(block: &mut Vec<Stmt>, n: &mut usize) -> bool {
    for i in 0..block.len() {
        if *n == 0 {
            block.remove(i);
            return true;
        }
        *n -= 1;
        let done = match &mut block[i] {
            Stmt::Loop { body, .. } => remove(body, n),
            Stmt::If { then, otherwise, .. } => remove(then, n) || remove(otherwise, n),
            _ => false,
        };
        if done {
            return true;
        }
    }
    false
}

/// The first difference, if there is one.
fn compare(case: &Case, seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5EED);
    let Case { module, size, functions, scalars } = case;
    let module = verify_module(module.clone()).map_err(|found| format!("interpreter: {found:?}"))?;
    let inputs: Vec<Option<HostTensor>> = module
        .program()
        .buffers
        .iter()
        .map(|b| Some(random_tensor(&mut rng, b.dtype, &extents(b, *size))))
        .collect();
    let scalars = scalars.iter().map(|&t| random_tensor(&mut rng, t, &[1]).get(0)).collect();
    let bindings = Bindings { sizes: vec![*size], scalars };
    let want = match interp::run(&module, &bindings, &inputs) {
        Err(InterpError::Status(bits)) => Err(bits),
        other => Ok(other.map_err(|e| format!("interpreter: {e}"))?),
    };
    let device = open("cpu").expect("a CPU");
    let mut target = device.target().cpu().expect("a CPU").clone();
    if rng.random_bool(0.3) {
        target.features = Default::default();
    }
    let program = match cpu::compile(&module, &target, Generator::Cranelift) {
        Ok(p) => p,
        // Fused operations need an instruction.
        Err(CodegenError::Unsupported { .. }) if !target.features.fma => return Ok(()),
        Err(e) => return Err(e.to_string()),
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
    let want = match (instance.run(), want) {
        (Ok(()), Ok(want)) => want,
        (Err(e), Err(bits)) if reported(&e) == Some(bits) => return Ok(()),
        (Err(e), _) => return Err(e.to_string()),
        (Ok(()), Err(bits)) => return Err(format!("the status {bits:#x} is not reported")),
    };
    for (n, want) in want.iter().enumerate() {
        let got = instance.read_output(n).expect("an output");
        for i in 0..want.len() {
            let (got, want) = (got.get(i), want.get(i));
            if !agree(got, want, module.program().buffers[n].dtype, *functions) {
                return Err(format!("parameter {n}, element {i}: {got:?}, not {want:?}"));
            }
        }
    }
    instance.check_canaries().map_err(|e| e.to_string())
}

/// The bit of the status word that a fault stands for.
fn reported(e: &Error) -> Option<u32> {
    match e {
        Error::Input(InputError::OutOfBounds { .. }) => Some(status::OUT_OF_BOUNDS),
        Error::Input(InputError::AppendOverflow { .. }) => Some(status::APPEND_OVERFLOW),
        _ => None,
    }
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

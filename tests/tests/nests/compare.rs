//! One nest on the interpreter and on a device: every result must agree, to the bit where no function is involved.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rooftile_artifact::abi::status;
use rooftile_artifact::program::{Bindings, BufferDecl};
use rooftile_artifact::{DType, HostTensor, Program, Scalar};
use rooftile_compiler::nest::interp::{self, InterpError};
use rooftile_compiler::nest::ir::Stmt;
use rooftile_compiler::nest::{VerifiedModule, verify_module};
use rooftile_runtime::{Device, Error, InputError, Instance, InstanceOptions};

use super::{Case, generate};

/// Units in the last place that two evaluations of functions may differ by.
const MATH_ULPS: f64 = 8.0;

/// Gives the program for a module.
pub(crate) type Compile<'a> = dyn Fn(&VerifiedModule, &mut StdRng) -> Result<Option<Program>, String> + 'a;

/// What runs a nest.
pub(crate) struct Subject<'a> {
    pub(crate) device: &'a dyn Device,
    /// The program for a module; `Ok(None)` where the target cannot run it, for a good reason.
    pub(crate) compile: &'a Compile<'a>,
    /// The code as text, for messages.
    pub(crate) listing: &'a dyn Fn(&VerifiedModule) -> String,
    /// Whether the device keeps subnormal numbers.
    pub(crate) subnormals: bool,
    /// Whether its fused multiply-add rounds once.
    pub(crate) fused: bool,
}

/// Makes, runs and compares one nest; a nest that fails is made smaller before it is shown.
pub(crate) fn check(subject: &Subject<'_>, seed: u64) {
    let case = generate(&mut StdRng::seed_from_u64(seed), subject.fused);
    let Err(mut what) = compare(subject, &case, seed) else { return };
    let mut smallest = case;
    let mut n = 0;
    while n < smallest.module.nests[0].phases.iter().map(|p| count(&p.body)).sum() {
        let mut module = smallest.module.clone();
        let mut left = n;
        module.nests[0].phases.iter_mut().any(|p| remove(&mut p.body, &mut left));
        let smaller = Case { module, scalars: smallest.scalars.clone(), ..smallest };
        match compare(subject, &smaller, seed) {
            Err(still) if !still.starts_with("interpreter") => {
                (smallest, what) = (smaller, still);
            }
            _ => n += 1,
        }
    }
    let listing = verify_module(smallest.module.clone()).map(|m| (subject.listing)(&m)).unwrap_or_default();
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

/// The first difference on random data, if there is one.
pub(crate) fn compare(subject: &Subject<'_>, case: &Case, seed: u64) -> Result<(), String> {
    compare_on(subject, case, seed, |rng, b| {
        random_tensor(rng, b.dtype, &extents(b, case.size), subject.subnormals)
    })
}

/// The first difference on given data, if there is one.
pub(crate) fn compare_on(
    subject: &Subject<'_>,
    case: &Case,
    seed: u64,
    mut input: impl FnMut(&mut StdRng, &BufferDecl) -> HostTensor,
) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5EED);
    let Case { module, size, functions, scalars } = case;
    let module = verify_module(module.clone()).map_err(|found| format!("interpreter: {found:?}"))?;
    let inputs: Vec<Option<HostTensor>> =
        module.program().buffers.iter().map(|b| Some(input(&mut rng, b))).collect();
    let scalars =
        scalars.iter().map(|&t| random_tensor(&mut rng, t, &[1], subject.subnormals).get(0)).collect();
    let bindings = Bindings { sizes: vec![*size], scalars };
    let want = match interp::run(&module, &bindings, &inputs) {
        Err(InterpError::Status(bits)) => Err(bits),
        other => Ok(other.map_err(|e| format!("interpreter: {e}"))?),
    };
    let Some(program) = (subject.compile)(&module, &mut rng)? else { return Ok(()) };
    let loaded = subject.device.load(&program).map_err(|e| e.to_string())?;
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
            if !agree(got, want, module.program().buffers[n].dtype, *functions, subject.subnormals) {
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

/// Extents of a buffer over one size.
pub(crate) fn extents(b: &BufferDecl, size: i64) -> Vec<usize> {
    let env = rooftile_artifact::host_expr::HostEnv { sizes: &[size], threads: 1, ..Default::default() };
    b.shape.iter().map(|e| usize::try_from(e.eval_int(&env).expect("a size")).expect("positive")).collect()
}

/// Small and large values, zeros of both signs, now and then an infinity or NaN.
fn random_tensor(rng: &mut StdRng, dtype: DType, shape: &[usize], subnormals: bool) -> HostTensor {
    HostTensor::from_fn(dtype, shape, |_| {
        if dtype.is_float() {
            return Scalar::Float(match rng.random_range(0..20) {
                0 => 0.0,
                1 => -0.0,
                2 => f64::NAN,
                3 => f64::INFINITY,
                4 => f64::from(rng.random_range(-30i32..30)).exp2(),
                5 if subnormals => 1e-41,
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

fn agree(got: Scalar, want: Scalar, dtype: DType, functions: bool, subnormals: bool) -> bool {
    match (got, want) {
        (Scalar::Float(got), Scalar::Float(want)) => {
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            let unit = dtype.unit_roundoff().unwrap_or(0.0) * 2.0;
            let smallest = if dtype == DType::F32 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
            let flushed = !subnormals && got.abs() < smallest && want.abs() < smallest;
            same || flushed || functions && (got - want).abs() <= MATH_ULPS * unit * want.abs().max(smallest)
        }
        _ => got == want,
    }
}

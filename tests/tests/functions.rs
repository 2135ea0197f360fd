//! Inlined functions as the generators make them, with vectors of every width, of arguments from all of f32, against the
//! function in f64. The promises are read from `docs/math.md`.
//!
//! Arguments are all bit patterns in an order in which any part of them lies everywhere, and as many more near 1, where
//! functions do the most; how far a run comes is decided by its time, six times `ROOFTILE_FUZZ_SECONDS`. With
//! `ROOFTILE_ALL_ARGUMENTS=1` it goes through all 2^32, with `ROOFTILE_FUNCTION=NAME` of that function only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rooftile_artifact::program::{Bindings, Mode};
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{CpuTarget, DType, HostExpr, HostTensor, Program, Scalar};
use rooftile_compiler::codegen::cpu::{self, Generator};
use rooftile_compiler::nest::ir::{BinaryOp, LoopKind, MathFn, Nest, Space};
use rooftile_compiler::nest::{Builder, eval, verify_module};
use rooftile_runtime::{Instance, InstanceOptions, open};
use rooftile_tests::launch::module;
use rooftile_tests::{fuzz_seed, fuzz_time};

/// Lanes that are worked on at once: with every width some are left for a part of a vector.
const LANES: i64 = 40;
/// Arguments of one launch: what it reads and writes stays in the caches.
const COUNT: usize = 40 << 9;
/// Bit patterns.
const ALL: u64 = 1 << 32;
/// Pairs that the power is tried with in place of all, which are too many.
const PAIRS: u64 = 1 << 28;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Math(MathFn),
    Pow,
}

impl Function {
    const ALL: [Function; 15] = [
        Function::Math(MathFn::Exp),
        Function::Math(MathFn::Exp2),
        Function::Math(MathFn::Expm1),
        Function::Math(MathFn::Log),
        Function::Math(MathFn::Log2),
        Function::Math(MathFn::Log1p),
        Function::Math(MathFn::Sin),
        Function::Math(MathFn::Cos),
        Function::Math(MathFn::Tan),
        Function::Math(MathFn::Tanh),
        Function::Math(MathFn::Sigmoid),
        Function::Math(MathFn::Erf),
        Function::Math(MathFn::Erfc),
        Function::Math(MathFn::Rsqrt),
        Function::Pow,
    ];

    fn name(self) -> String {
        match self {
            Function::Math(f) => f.to_string(),
            Function::Pow => "pow".to_owned(),
        }
    }

    /// The function in f64.
    fn exact(self, x: f64, y: f64) -> f64 {
        match self {
            // Beyond it the promise is that there is no number.
            Function::Math(MathFn::Sin | MathFn::Cos | MathFn::Tan) if x.abs() > 1_048_576.0 => f64::NAN,
            Function::Math(MathFn::Exp) => x.exp(),
            Function::Math(MathFn::Exp2) => x.exp2(),
            Function::Math(MathFn::Expm1) => x.exp_m1(),
            Function::Math(MathFn::Log) => x.ln(),
            Function::Math(MathFn::Log2) => x.log2(),
            Function::Math(MathFn::Log1p) => x.ln_1p(),
            Function::Math(MathFn::Sin) => x.sin(),
            Function::Math(MathFn::Cos) => x.cos(),
            Function::Math(MathFn::Tan) => x.tan(),
            Function::Math(MathFn::Tanh) => x.tanh(),
            Function::Math(MathFn::Rsqrt) => 1.0 / x.sqrt(),
            // Those that the standard library lacks.
            Function::Math(f) => eval::math(f, Scalar::Float(x), DType::F64).as_f64(),
            Function::Pow => x.powf(y),
        }
    }

    /// `z[i] = f(x[i], y[i])`; a function of one operand does not read `y`.
    fn nest(self) -> Nest {
        let mut b = Builder::new("f");
        let n = b.int(COUNT as i64);
        let [x, y, z] = [("x", 0), ("y", 1), ("z", 2)]
            .map(|(name, slot)| b.add_buffer(name, DType::F32, &[n], Space::Global(slot)));
        let (zero, lanes) = (b.int(0), b.int(LANES));
        let (core, i0) = b.core_loop("i0", (zero, n, LANES));
        let body = b.for_loop(LoopKind::Lanes, "l", (zero, lanes, 1), |b, l| {
            let i = b.add(i0, l);
            let v = b.load(x, &[i]);
            let v = match self {
                Function::Math(f) => b.math(f, v),
                Function::Pow => {
                    let exponent = b.load(y, &[i]);
                    b.binary(BinaryOp::Pow, v, exponent)
                }
            };
            vec![b.store(z, &[i], v)]
        });
        b.add_phase(vec![core], vec![body]);
        b.finish()
    }

    fn program(self, target: &CpuTarget) -> Program {
        let extent = || vec![HostExpr::from(COUNT as i64)];
        let buffers = [
            ("x", DType::F32, extent(), Mode::In),
            ("y", DType::F32, extent(), Mode::In),
            ("z", DType::F32, extent(), Mode::Out),
        ];
        let verified = verify_module(module(self.nest(), &buffers, &[])).expect("the nest keeps the rules");
        cpu::compile(&verified, target, Generator::Best).expect("code")
    }

    /// Argument `k` of a run; with `near`, of a magnitude between 2^-10 and 2^8.
    fn arguments(self, seed: u64, k: u64, near: bool) -> (f32, f32) {
        // The ratio of the golden section: neighbours in the order lie far apart.
        let mut bits = (seed as u32).wrapping_add((k as u32).wrapping_mul(0x9E37_79B1));
        if near {
            let magnitude = (u64::from(bits & 0x7FFF_FFFF) * (18 << 23)) >> 31;
            bits = bits & 0x8000_0000 | (magnitude as u32 + (117 << 23));
        }
        let x = f32::from_bits(bits);
        if self != Function::Pow {
            return (x, 0.0);
        }
        let other = mixed(seed ^ k);
        let y = match other % 8 {
            0 => f32::from_bits((other >> 32) as u32),
            // So that the result is a number, mostly.
            n => {
                let exponent = (other >> 32) as f64 / 4_294_967_296.0 * 320.0 - 160.0;
                let y = exponent / f64::from(x).abs().log2();
                if n == 1 { y.round() as f32 } else { y as f32 }
            }
        };
        (x, y)
    }

    fn count(self) -> u64 {
        if self == Function::Pow { PAIRS } else { ALL }
    }
}

/// A number of which every bit depends on every bit of another (SplitMix64).
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}

/// Distance from the exact result in units of the last place, of a result that is not the nearest number.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    // What would come after the greatest number.
    let end = 2f64.powi(128);
    let number = if got.is_infinite() { end.copysign(got.into()) } else { got.into() };
    (number - want.clamp(-end, end)).abs() / unit(want.clamp(-end, end))
}

fn unit(v: f64) -> f64 {
    let exponent = ((v.abs().to_bits() >> 52) as i32 - 1023).clamp(-126, 127);
    f64::from_bits(((exponent - 23 + 1023) as u64) << 52)
}

/// The largest error that was found, and where: half a unit is what the nearest number may have.
#[derive(Clone, Copy, Debug)]
struct Worst {
    ulps: f64,
    at: (f32, f32),
    got: f32,
    want: f64,
}

impl Worst {
    fn none() -> Worst {
        Worst { ulps: 0.5, at: (0.0, 0.0), got: 0.0, want: 0.0 }
    }

    fn take(&mut self, other: Worst) {
        if other.ulps > self.ulps {
            *self = other;
        }
    }
}

/// Special arguments, which a part of all might miss.
const SPECIAL: [f32; 12] =
    [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, -1e-45, 3e38, -3e38, 1.0, -1.0, 0.5];

/// One thread's part of a function.
struct Part<'p> {
    function: Function,
    seed: u64,
    programs: &'p [Program],
    /// The next launch that nobody has taken.
    next: &'p AtomicU64,
    end: Option<Instant>,
}

impl Part<'_> {
    /// The largest error of each program.
    fn run(&self) -> Vec<Worst> {
        let device = open("cpu").expect("a CPU");
        let mut instances: Vec<Instance> = self
            .programs
            .iter()
            .map(|program| {
                let loaded = device.load(program).expect("loads");
                let bindings = Bindings { sizes: Vec::new(), scalars: Vec::new() };
                Instance::new(&loaded, &bindings, InstanceOptions::default()).expect("memory")
            })
            .collect();
        let mut worst = vec![Worst::none(); self.programs.len()];
        let (mut arguments, mut exact) = (vec![(0.0, 0.0); COUNT], vec![0.0; COUNT]);
        let mut nearest = vec![0; COUNT];
        let mut inputs = [0, 1].map(|_| HostTensor::zeros(DType::F32, &[COUNT]).expect("small"));
        loop {
            let launch = self.next.fetch_add(1, Ordering::Relaxed);
            let first = launch * COUNT as u64;
            let late = launch > 1 && self.end.is_some_and(|end| Instant::now() >= end);
            if first >= self.function.count() || late {
                return worst;
            }
            let near = self.end.is_some() && launch % 2 == 1;
            for i in 0..COUNT {
                let (x, y) = match (launch, i / SPECIAL.len()) {
                    (0, second) if second < SPECIAL.len() => (SPECIAL[i % SPECIAL.len()], SPECIAL[second]),
                    _ => self.function.arguments(self.seed, first + i as u64, near),
                };
                arguments[i] = (x, y);
                exact[i] = self.function.exact(x.into(), y.into());
                nearest[i] = (exact[i] as f32).to_bits();
                inputs[0].bytes_mut()[4 * i..][..4].copy_from_slice(&x.to_ne_bytes());
                inputs[1].bytes_mut()[4 * i..][..4].copy_from_slice(&y.to_ne_bytes());
            }
            for (instance, worst) in instances.iter_mut().zip(&mut worst) {
                for (n, input) in inputs.iter().enumerate() {
                    instance.write_input(n, input).expect("fits");
                }
                instance.run().expect("runs");
                let out = instance.read_output(2).expect("an output");
                let results = out.bytes().as_chunks().0;
                for (i, (got, nearest)) in results.iter().zip(&nearest).enumerate() {
                    if u32::from_ne_bytes(*got) != *nearest {
                        let (got, want) = (f32::from_ne_bytes(*got), exact[i]);
                        worst.take(Worst { ulps: ulps(got, want), at: arguments[i], got, want });
                    }
                }
            }
        }
    }
}

/// What `docs/math.md` promises of a function of f32.
fn promise(function: Function) -> f64 {
    let docs = include_str!("../../docs/math.md");
    let name = format!("`{}`", function.name());
    let row = docs.lines().find_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        (cells.next()? == name).then(|| cells.nth(1).map(str::parse))?
    });
    row.expect("a row of the function").expect("a number of units")
}

#[test]
fn functions_of_vectors_keep_their_promise() {
    let seed = fuzz_seed("functions");
    let all = std::env::var("ROOFTILE_ALL_ARGUMENTS").is_ok_and(|v| v != "0");
    let device = open("cpu").expect("a CPU");
    let target = device.target().cpu().expect("a CPU").clone();
    let widest = target.vector_bytes.min(target.features.vector_bytes()).max(16);
    if widest < 64 {
        println!("SKIPPED: functions of vectors of 512 bits (this processor has no AVX-512)");
    }
    let wide = [16, 32, 64].into_iter().filter(|b| *b <= widest);
    let mut targets: Vec<(String, CpuTarget)> = wide
        .map(|bytes| (format!("{} bits", 8 * bytes), CpuTarget { vector_bytes: bytes, ..target.clone() }))
        .collect();
    // Without instructions that round once.
    let features = CpuFeatures::default();
    targets.push(("128 bits, plain".to_owned(), CpuTarget { vector_bytes: 16, features, ..target.clone() }));
    let only = std::env::var("ROOFTILE_FUNCTION").ok();
    let wanted = |f: &Function| only.as_ref().is_none_or(|name| *name == f.name());
    let functions: Vec<Function> = Function::ALL.into_iter().filter(wanted).collect();
    assert!(!functions.is_empty(), "no function is named {only:?}");
    let share = 6 * fuzz_time() / functions.len() as u32;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    let mut broken = Vec::new();
    for function in functions {
        let programs: Vec<Program> = targets.iter().map(|(_, target)| function.program(target)).collect();
        let (next, start) = (AtomicU64::new(0), Instant::now());
        let end = if all { None } else { Some(start + share.max(Duration::from_millis(1))) };
        let part = Part { function, seed, programs: &programs, next: &next, end };
        let mut worst = vec![Worst::none(); programs.len()];
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| part.run())).collect();
            for found in running {
                let found = found.join().expect("no panic");
                worst.iter_mut().zip(found).for_each(|(w, f)| w.take(f));
            }
        });
        let launches = next.load(Ordering::Relaxed).saturating_sub(threads as u64);
        let millions = (launches * COUNT as u64).min(function.count()) / 1_000_000;
        let promised = promise(function);
        for ((name, _), worst) in targets.iter().zip(&worst) {
            let Worst { ulps, at, got, want } = *worst;
            let at = match function {
                Function::Pow => format!("{:e}, {:e}", at.0, at.1),
                Function::Math(_) => format!("{:e}", at.0),
            };
            let function = function.name();
            let line = format!("{function:8} {name:15}: {ulps:.3} ULP at {at}: {got:e}, not {want:e}");
            println!("{line}; {millions} million arguments, promised {promised}");
            if ulps > promised {
                broken.push(line);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

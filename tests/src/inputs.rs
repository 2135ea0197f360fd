//! Cases: sizes that are tiny, prime, odd and ragged, and inputs for them.

use rooftile_artifact::{HostTensor, Scalar};
use rooftile_compiler::oracle::cases::inputs_at;
use rooftile_compiler::oracle::{ErrorKind, Inputs, Options, run};
use rooftile_compiler::task;

use crate::subject::Entry;

/// Steps that the oracle may take for one case; a larger case is made smaller.
const BUDGET: u64 = 1_500_000;

/// Inputs at one choice of sizes.
#[derive(Clone, Debug)]
pub struct Case {
    /// The sizes with their names, for messages.
    pub what: String,
    /// The inputs.
    pub inputs: Inputs,
}

/// Sizes for functions without conditions, in order of their size names (the list repeats where it is too short).
const GENERIC: [&[i64]; 6] =
    [&[1], &[2, 1, 3], &[7, 13, 5, 11, 3], &[9, 15, 21, 25], &[17, 35, 9, 6], &[37, 83, 29, 5]];

/// Functions that need sizes of their own.
const SIZES: [(&str, &[&[i64]]); 8] = [
    // N, A, B
    ("fft_line", &[&[1, 1, 1], &[2, 3, 1], &[3, 5, 8], &[1, 7, 32]]),
    ("fft3d", &[&[1], &[2], &[4], &[8]]),
    // M, K, N, G
    ("w4a16", &[&[1, 1, 1, 1], &[3, 2, 5, 1], &[7, 15, 13, 5], &[17, 66, 35, 33], &[5, 21, 83, 7]]),
    // M, K, G
    ("int4_gemv", &[&[1, 1, 1], &[3, 2, 1], &[7, 15, 5], &[17, 66, 33], &[5, 21, 7]]),
    // H, W
    ("ising", &[&[2, 2], &[2, 6], &[6, 14], &[10, 34], &[38, 22]]),
    // N, M, CAP
    ("lj_bin", &[&[1, 1, 1], &[5, 2, 5], &[29, 3, 29]]),
    // N, M, CAP, NMAX
    ("lj_neigh", &[&[1, 1, 1, 27], &[5, 2, 5, 135], &[13, 3, 13, 351]]),
    // N, M, CAP, NMAX
    ("lj", &[&[1, 1, 1, 27], &[5, 2, 5, 135], &[17, 3, 17, 459]]),
];

/// Entries whose results mean something on their task's own data only: where particles that are too close fly apart,
/// lists are out of date at once.
const BY_TASK: [&str; 1] = ["lj"];

/// Scalars that random values would not serve: entry, parameter, value.
const SCALARS: [(&str, &str, f64); 6] = [
    ("mandelbrot", "T", 40.0),
    ("mandelbrot", "x0", -1.8),
    ("mandelbrot", "y0", -1.1),
    ("mandelbrot", "dx", 0.07),
    ("mandelbrot", "dy", 0.06),
    ("lbm", "omega", 1.2),
];

/// The cases of a kernel or pipeline; the same for the same seed.
///
/// # Panics
/// If no case can be made.
#[must_use]
pub fn cases(entry: Entry, seed: u64) -> Vec<Case> {
    let func = entry.func();
    let names: Vec<&str> = func.sizes.iter().map(|(_, s)| s.name.as_str()).collect();
    let lists: &[&[i64]] = SIZES.iter().find(|(name, _)| *name == func.name).map_or(&GENERIC, |(_, l)| l);
    let mut out: Vec<Case> = Vec::new();
    for (n, list) in lists.iter().enumerate() {
        let sizes: Vec<i64> = list.iter().cycle().take(names.len()).copied().collect();
        let Some(inputs) = affordable(entry, sizes, seed.wrapping_add(n as u64)) else { continue };
        if out.iter().any(|case| case.inputs.sizes == inputs.sizes) {
            continue;
        }
        let parts: Vec<String> =
            names.iter().zip(&inputs.sizes).map(|(name, v)| format!("{name}={v}")).collect();
        out.push(Case { what: format!("{{{}}}", parts.join(", ")), inputs });
    }
    assert!(!out.is_empty(), "no sizes are known for {}", entry.label());
    out
}

/// Inputs at the sizes, or at smaller ones where those take the oracle too long.
fn affordable(entry: Entry, mut sizes: Vec<i64>, seed: u64) -> Option<Inputs> {
    loop {
        let inputs = made(entry, &sizes, seed)?;
        let options = Options { budget: BUDGET, check_races: false, ..Options::default() };
        match run(entry.subject.file(), entry.id, &inputs, &options) {
            Err(e) if matches!(*e.kind, ErrorKind::Budget(_)) => {
                let largest = sizes.iter_mut().max()?;
                if *largest < 4 {
                    return Some(inputs);
                }
                *largest = (*largest / 2) | 1;
            }
            _ => return Some(inputs),
        }
    }
}

fn made(entry: Entry, sizes: &[i64], seed: u64) -> Option<Inputs> {
    let func = entry.func();
    if let Some(task) = entry.subject.checked.task(entry.id).filter(|_| BY_TASK.contains(&entry.name())) {
        let names = func.sizes.iter().map(|(_, s)| s.name.clone()).zip(sizes.iter().copied());
        let counts = func.scalars.iter().filter(|(_, s)| s.dtype.is_int()).map(|(_, s)| (s.name.clone(), 3));
        let sizes = names.chain(counts).collect();
        let set = task::generate(entry.subject.file(), Some(task), entry.id, &sizes, seed).ok()?;
        return Some(set.inputs);
    }
    let mut inputs = inputs_at(entry.subject.file(), entry.id, sizes, seed)?;
    for (value, (_, param)) in inputs.scalars.iter_mut().zip(func.scalars.iter()) {
        if let Some((_, _, v)) = SCALARS.iter().find(|(f, p, _)| *f == func.name && *p == param.name) {
            *value = Scalar::Float(*v).cast(param.dtype);
        }
    }
    let edge = func.scalars.iter().position(|(_, s)| s.name == "L").map(|n| inputs.scalars[n].as_f64());
    for (tensor, (_, param)) in inputs.tensors.iter_mut().zip(func.tensors.iter()) {
        let Some(content) = tensor else { continue };
        match (func.name.as_str(), param.name.as_str(), edge) {
            // Particles lie in the box.
            ("lj" | "lj_bin" | "lj_neigh" | "lj_force" | "lj_move", "P", Some(edge)) => {
                *content = mapped(content, |v| v.abs().fract() * edge * 0.999);
            }
            // Densities are not near zero, so that another order of their sums changes little.
            ("lbm" | "lbm_step", "f", _) => *content = mapped(content, |v| 0.1 + v.abs()),
            // Prices and times are positive.
            ("black_scholes", _, _) => *content = mapped(content, |v| 0.25 + v.abs()),
            _ => {}
        }
    }
    Some(inputs)
}

fn mapped(tensor: &HostTensor, f: impl Fn(f64) -> f64) -> HostTensor {
    HostTensor::from_fn(tensor.dtype(), tensor.shape(), |i| Scalar::Float(f(tensor.get(i).as_f64())))
        .unwrap_or_else(|_| tensor.clone())
}

//! The compiled evaluator against the interpreter, on every sample and example.

use std::path::Path;

use rooftile_artifact::program::Bindings;
use rooftile_artifact::{DType, HostTensor, Program, Scalar};
use rooftile_compiler::diag::has_errors;
use rooftile_compiler::hir::check;
use rooftile_compiler::hir::ir::{File, FuncId, FuncKind, ParamRef};
use rooftile_compiler::oracle::cases::{inputs_at, small_inputs};
use rooftile_compiler::oracle::compiled::{EvalError, compile};
use rooftile_compiler::oracle::deep::first_apart;
use rooftile_compiler::oracle::values::widen;
use rooftile_compiler::oracle::{Inputs, Options, Values, run};
use rooftile_compiler::syntax::parse;
use rooftile_runtime::{CpuDevice, Device, Instance, InstanceOptions};

fn load(source: &str) -> File {
    let (ast, diagnostics) = parse(source);
    assert!(!has_errors(&diagnostics), "{diagnostics:#?}");
    let (file, diagnostics) = check(&ast);
    assert!(!has_errors(&diagnostics), "{diagnostics:#?}");
    file
}

fn sound() -> Vec<(String, File)> {
    let mut out = Vec::new();
    for folder in ["samples", "../dsl-examples"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(&dir).expect("a folder of samples") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "tile") {
                let source = std::fs::read_to_string(&path).expect("a sample");
                out.push((path.display().to_string(), load(&source)));
            }
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// Runs a program of the evaluator, between guard pages.
fn execute(program: &Program, inputs: &Inputs, threads: usize) -> Result<Vec<HostTensor>, String> {
    let device = CpuDevice::new();
    let loaded = device.load(program).map_err(|e| e.to_string())?;
    let bindings = Bindings { sizes: inputs.sizes.clone(), scalars: inputs.scalars.clone() };
    let options =
        InstanceOptions { threads, guarded: true, poison: Some(0x7F1D_5EED), ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings, options).map_err(|e| e.to_string())?;
    for (n, tensor) in inputs.tensors.iter().enumerate() {
        if let Some(tensor) = tensor {
            let wide = widen(tensor).map_err(|e| e.to_string())?;
            instance.write_input(n, &wide).map_err(|e| e.to_string())?;
        }
    }
    instance.run().map_err(|e| e.to_string())?;
    instance.check_canaries().map_err(|e| e.to_string())?;
    (0..program.params.len()).map(|n| instance.read_output(n).map_err(|e| e.to_string())).collect()
}

fn agree(
    file: &File,
    func: FuncId,
    inputs: &Inputs,
    program: &Program,
    threads: usize,
) -> Result<bool, String> {
    let Ok(want) = run(file, func, inputs, &Options { check_races: false, ..Options::default() }) else {
        return Ok(false);
    };
    let body = &file.funcs[func];
    let got = execute(program, inputs, threads)?;
    let params = body.params.iter().filter_map(|p| match p {
        ParamRef::Tensor(id) => Some(&body.tensors[*id]),
        ParamRef::Scalar(_) => None,
    });
    for ((tensor, got), want) in params.zip(&got).zip(&want.tensors) {
        if tensor.bag {
            continue;
        }
        let got = Values::from_host(got);
        if let Some(at) = first_apart(&got, want, 1e-11) {
            return Err(format!("`{}` element {at}: {:?}, not {:?}", tensor.name, got.get(at), want.get(at)));
        }
    }
    Ok(true)
}

#[test]
fn every_sample_agrees_with_the_interpreter() {
    let (mut checked, mut failures, mut unsupported) = (0, Vec::new(), Vec::new());
    for (name, file) in sound() {
        for (func, body) in file.funcs.iter() {
            let kind = if body.kind == FuncKind::Reference { "reference " } else { "" };
            let title = format!("{name}: {kind}{}", body.name);
            let program = match compile(&file, func) {
                Ok(program) => program,
                Err(EvalError::Unsupported { what, .. }) => {
                    unsupported.push(format!("{title}: {what}"));
                    continue;
                }
                Err(e) => panic!("{title}: {e}"),
            };
            for seed in 1..5 {
                // Inputs are those of the kernel: a reference takes the same.
                let entry = file.entry(&body.name).unwrap_or(func);
                let Some(inputs) = small_inputs(&file, entry, seed, 6) else { continue };
                let threads = if seed % 2 == 0 { 2 } else { 1 };
                match agree(&file, func, &inputs, &program, threads) {
                    Ok(ran) => checked += usize::from(ran),
                    Err(e) => failures.push(format!("{title} at {:?}: {e}", inputs.sizes)),
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(unsupported.is_empty(), "{}", unsupported.join("\n"));
    assert!(checked > 150, "only {checked} comparisons");
}

/// Every function of the vocabulary of one real operand, over a wide range of arguments.
#[test]
fn special_functions_are_precise() {
    /// Name, the function, and the ends of what is tried.
    type Function = (&'static str, fn(f64) -> f64, f64, f64);
    let functions: [Function; 20] = [
        ("exp", f64::exp, -750.0, 720.0),
        ("exp2", f64::exp2, -1080.0, 1030.0),
        ("expm1", f64::exp_m1, -40.0, 40.0),
        ("expm1", f64::exp_m1, -1.0, 1.0),
        ("log", f64::ln, 1e-3, 1e3),
        ("log", f64::ln, 0.9, 1.1),
        ("log2", f64::log2, 1e-3, 1e9),
        ("log1p", f64::ln_1p, -0.9, 3.0),
        ("log1p", f64::ln_1p, -1e-3, 1e-3),
        ("sin", f64::sin, -100.0, 100.0),
        ("cos", f64::cos, -100.0, 100.0),
        ("sin", f64::sin, -1e5, 1e5),
        ("tan", f64::tan, -10.0, 10.0),
        ("tanh", f64::tanh, -25.0, 25.0),
        ("tanh", f64::tanh, -0.1, 0.1),
        ("sigmoid", |x| 1.0 / (1.0 + (-x).exp()), -40.0, 40.0),
        ("sqrt", f64::sqrt, 0.0, 1e9),
        ("rsqrt", |x| 1.0 / x.sqrt(), 1e-9, 1e9),
        ("floor", f64::floor, -50.0, 50.0),
        ("round", f64::round_ties_even, -50.0, 50.0),
    ];
    for (name, exact, lo, hi) in functions {
        let n = 4001;
        let x = |i: usize| lo + (hi - lo) * i as f64 / (n - 1) as f64;
        let got = unary(name, n, x);
        for (i, &got) in got.iter().enumerate() {
            let want = exact(x(i));
            // Results below the normal range have fewer digits.
            let close = (got - want).abs() <= 1e-14 * want.abs() + 1e-320;
            assert!(got == want || close, "{name}({:e}) = {got:e}, not {want:e}", x(i));
        }
        let odd = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0];
        let got = unary(name, odd.len(), |i| odd[i]);
        for (&x, got) in odd.iter().zip(got) {
            let want = exact(x);
            assert!(got == want || (got.is_nan() && want.is_nan()), "{name}({x}) = {got}, not {want}");
        }
    }
}

fn unary(name: &str, n: usize, x: impl Fn(usize) -> f64) -> Vec<f64> {
    let source =
        format!("kernel k(x: in f64[N], y: out f64[N]) {{ for i in tiles(N; b) {{ y[i] = {name}(x[i]) }} }}");
    let file = load(&source);
    let func = file.entry("k").expect("the kernel");
    let program = compile(&file, func).expect("compiles");
    let x = HostTensor::from_fn(DType::F64, &[n], |i| Scalar::Float(x(i))).expect("small");
    let size = i64::try_from(n).expect("small");
    let inputs = Inputs { sizes: vec![size], scalars: vec![], tensors: vec![Some(x), None] };
    let out = execute(&program, &inputs, 1).expect("runs");
    (0..n).map(|i| out[1].get(i).as_f64()).collect()
}

/// Against the interpreter's own error function and powers, which come from other formulas.
#[test]
fn error_functions_and_powers_agree_with_the_interpreter() {
    let source = "kernel k(x: in f64[N], a: out f64[N], b: out f64[N], c: out f64[N]) {
        for i in tiles(N; t) { a[i] = erf(x[i])  b[i] = erfc(x[i])  c[i] = pow(abs(x[i]), x[i]) } }";
    let file = load(source);
    let func = file.entry("k").expect("the kernel");
    let program = compile(&file, func).expect("compiles");
    let n = 1201;
    let x = HostTensor::from_fn(DType::F64, &[n], |i| Scalar::Float(-6.0 + 0.01 * i as f64)).expect("small");
    let inputs = Inputs { sizes: vec![1201], scalars: vec![], tensors: vec![Some(x), None, None, None] };
    let want = run(&file, func, &inputs, &Options::default()).expect("runs");
    let got = execute(&program, &inputs, 2).expect("runs");
    for (got, want) in got.iter().zip(&want.tensors) {
        for i in 0..n {
            let (got, want) = (got.get(i).as_f64(), want.get(i).as_f64());
            assert!((got - want).abs() <= 2e-14 * want.abs(), "element {i}: {got:e}, not {want:e}");
        }
    }
}

#[test]
fn larger_sizes_that_span_chunks_agree() {
    let source = include_str!("../samples/01_matmul.tile");
    let file = load(source);
    let reference = file.reference("matmul").expect("the reference");
    let program = compile(&file, reference).expect("compiles");
    let kernel = file.entry("matmul").expect("the kernel");
    let inputs = inputs_at(&file, kernel, &[37, 29, 41], 5).expect("inputs");
    assert_eq!(agree(&file, reference, &inputs, &program, 2), Ok(true));

    // Rows of running reductions, of which some do not move with the row.
    let source = "
kernel k(A: in f32[M,K], B: in f32[K,N], C: out f32[M,N]) {
  for i in tiles(M; b) with j in N, k in K { C[i,j] = sum[k](A[i,k] * B[k,j]) }
}
reference k {
  with i in M, j in N {
    C[i,j] = select(j > i, sum[k in K](A[i,k] * B[k,j]) / sum[k in K](A[i,k] * A[i,k]) + max[k in 0..i+1](B[k%K,j]), 0.0)
             + sum[k in K](A[i,k] * B[k,j]) * max[k in K](B[k,j]) / (1.0 + sum[k in K](A[i,k] * A[i,k]))
  }
}";
    let file = load(source);
    let (kernel, reference) = (file.entry("k").expect("k"), file.reference("k").expect("its reference"));
    for func in [kernel, reference] {
        let program = compile(&file, func).expect("compiles");
        for sizes in [[5, 7, 6], [1, 1, 1], [9, 3, 8]] {
            let inputs = inputs_at(&file, kernel, &sizes, 5).expect("inputs");
            assert_eq!(agree(&file, func, &inputs, &program, 2), Ok(true));
        }
    }
}

/// Edge rules, integers of all widths, searches for the best, and scans, in one file.
#[test]
fn corners_agree_with_the_interpreter() {
    let source = "
kernel wrap(x: in f32[N] edge wrap, y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i-7] + 2.0*x[i+9] } }
kernel reflect(x: in f32[N] edge reflect, y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i-7] + 2.0*x[i+9] } }
kernel symmetric(x: in f32[N] edge symmetric, y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i-7] + 2.0*x[i+9] } }
kernel clamp(x: in f32[N] edge clamp, y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i-7] + 2.0*x[i+9] } }
kernel fixed(x: in f32[M,N] edge const(3.5), y: out f32[M,N]) {
  for (i, j) in tiles(M, N; b, c) { y[i,j] = x[i-1,j+1] + 2.0*x[i+1,j-2] } }
kernel ints(x: in i8[N], u: in u16[N], y: out i8[N], z: out u16[N], w: out i32[N]) {
  for i in tiles(N; b) {
    y[i] = x[i] * x[i] * i8(77) - i8(3)
    z[i] = u[i] * u16(40503) + u16(17)
    w[i] = i32(x[i]) / 3 + i32(x[i]) % 5 + (i32(x[i]) >> 1) + (i32(u[i]) & 12)
  } }
kernel best(x: in f32[M,N], y: out i32[M], z: out i32[M]) {
  for i in tiles(M; b) with j in N { y[i] = i32(argmax[j](x[i,j]))  z[i] = i32(argmin[j](x[i,j])) } }
kernel running(x: in f32[M,N], y: out f32[M,N]) {
  for i in tiles(M; b) with j in N { y[i,j] = scan[j](x[i,j], max) - scan[j](x[i,j], add) } }
";
    let file = load(source);
    let mut ran = 0;
    for (func, body) in file.funcs.iter() {
        let program = compile(&file, func).unwrap_or_else(|e| panic!("{}: {e}", body.name));
        for seed in 0..8 {
            let inputs = small_inputs(&file, func, seed, 7).expect("inputs");
            match agree(&file, func, &inputs, &program, 2) {
                Ok(true) => ran += 1,
                other => panic!("{} at {:?}: {other:?}", body.name, inputs.sizes),
            }
        }
    }
    assert_eq!(ran, 64);
}

/// Not a test of correctness: how long the largest oracle of the samples takes.
#[test]
#[ignore = "takes seconds; prints a time"]
fn the_reference_of_a_large_matmul_is_quick() {
    let file = load(include_str!("../samples/01_matmul.tile"));
    let reference = file.reference("matmul").expect("the reference");
    let program = compile(&file, reference).expect("compiles");
    let kernel = file.entry("matmul").expect("the kernel");
    let n = 1024usize;
    let make = |seed: u64| {
        let mut rng = rooftile_compiler::oracle::SplitMix::new(seed);
        HostTensor::from_fn(DType::F16, &[n, n], |_| Scalar::Float(rng.normal())).expect("fits")
    };
    assert_eq!(file.funcs[kernel].sizes.len(), 3);
    let inputs =
        Inputs { sizes: vec![1024; 3], scalars: vec![], tensors: vec![Some(make(1)), Some(make(2)), None] };
    let start = std::time::Instant::now();
    let out = execute(&program, &inputs, 2).expect("runs");
    println!("{:.2} s for {} elements", start.elapsed().as_secs_f64(), out[2].len());
}

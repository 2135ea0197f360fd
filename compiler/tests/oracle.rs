//! The interpreter on samples and examples: agreement with references, independence of tiles, races, errors.

use std::path::Path;

use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::diag::{Code, Diagnostic, Severity, has_errors};
use rooftile_compiler::driver::{self, Checked};
use rooftile_compiler::hir::ir::{File, FuncId, FuncKind};
use rooftile_compiler::hir::{check, resolve};
use rooftile_compiler::oracle::cases::small_inputs;
use rooftile_compiler::oracle::deep::{check_agreement, check_invariance, first_apart, quick};
use rooftile_compiler::oracle::{
    ErrorKind, Inputs, Mode, Options, OracleError, Outputs, TileDefault, Tiles, run,
};
use rooftile_compiler::syntax::parse;
use rooftile_compiler::task::small_cases;

/// The file, with the errors of the checker.
fn load(source: &str) -> (File, Vec<Diagnostic>) {
    let (file, mut diagnostics) = parse(source);
    let (hir, more) = check(&file);
    diagnostics.extend(more);
    diagnostics.retain(|d| d.severity == Severity::Error);
    (hir, diagnostics)
}

fn good(source: &str) -> File {
    let (file, diagnostics) = load(source);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    file
}

/// All sound samples and examples with their names.
fn sound() -> Vec<(String, Checked)> {
    let mut out = Vec::new();
    for folder in ["../tests/samples", "../dsl-examples"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(&dir).expect("a folder of samples") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "tile") {
                let source = std::fs::read_to_string(&path).expect("a sample");
                let checked = driver::check(&source);
                assert!(!has_errors(&checked.diagnostics), "{:#?}", checked.diagnostics);
                out.push((path.display().to_string(), checked));
            }
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(out.len() >= 30, "samples are missing");
    out
}

fn entries(file: &File) -> Vec<FuncId> {
    file.funcs.iter().filter(|(_, f)| f.kind != FuncKind::Reference).map(|(id, _)| id).collect()
}

/// Kernels that random inputs may break, where there is no task: coordinates lie inside a box, indices name neighbours.
const NEED_DATA: [&str; 4] = ["lj", "lj_bin", "lj_neigh", "ising"];

#[test]
fn samples_run_and_keep_their_obligations() {
    let (mut ran, mut compared) = (0, 0);
    for (name, checked) in sound() {
        let file = &checked.hir;
        for func in entries(file) {
            let title = &file.funcs[func].name;
            let cases = small_cases(file, checked.task(func), func, 1..4, 5);
            assert!(!cases.is_empty(), "{name}: no inputs for {title}");
            for case in &cases {
                match run(file, func, case, &Options::default()) {
                    Ok(_) => ran += 1,
                    Err(e) => assert!(NEED_DATA.contains(&title.as_str()), "{name}: {e}"),
                }
            }
            let diagnostics = check_invariance(file, func, &cases, 7);
            assert!(diagnostics.is_empty(), "{name}: {title}: {diagnostics:#?}");
            let diagnostics = check_agreement(file, func, &cases);
            assert!(diagnostics.is_empty(), "{name}: {title}: {diagnostics:#?}");
            compared += usize::from(file.reference(title).is_some());
        }
        assert_eq!(quick(file), [], "{name}");
    }
    assert!(ran > 100 && compared >= 20, "{ran} runs, {compared} references");
}

fn wrong(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/wrong").join(name);
    let source = std::fs::read_to_string(path).expect("a sample");
    resolve(&parse(&source).0).0
}

#[test]
fn a_fold_that_sees_its_tiles_is_refused() {
    let diagnostics = quick(&wrong("fold_not_invariant.tile"));
    assert!(diagnostics.iter().any(|d| d.code == Code::Partial), "{diagnostics:#?}");
}

fn floats(dtype: DType, shape: &[usize], f: impl Fn(usize) -> f64) -> HostTensor {
    HostTensor::from_fn(dtype, shape, |i| Scalar::Float(f(i))).expect("small")
}

fn only(file: &File, inputs: &Inputs, options: &Options) -> Result<Outputs, OracleError> {
    run(file, entries(file)[0], inputs, options)
}

#[test]
fn rounding_mode_rounds_each_operation() {
    let file =
        good("kernel k(x: in f16[N], y: out f16[N]) { for i in tiles(N; b) { y[i] = x[i] * x[i] + x[i] } }");
    let x = floats(DType::F16, &[1], |_| 1.0 + 0.0009765625);
    let inputs = Inputs { sizes: vec![1], scalars: vec![], tensors: vec![Some(x.clone()), None] };
    let value = |mode| {
        let options = Options { mode, ..Options::default() };
        only(&file, &inputs, &options).expect("runs").tensors[1].get(0).as_f64()
    };
    let x = x.get(0).as_f64();
    assert_eq!(value(Mode::Exact), x * x + x);
    let half = |v: f64| half::f16::from_f64(v).to_f64();
    assert_eq!(value(Mode::Rounded), half(half(x * x) + x));
    assert_ne!(value(Mode::Exact), value(Mode::Rounded));
}

#[test]
fn dot_accumulates_in_its_type_in_ascending_order() {
    let file = good(
        "kernel k(x: in f16[N], y: in f16[N], z: out f32[M]) {
           for m in tiles(M; b) with i in N { z[m] = dot[i](x[i], y[i]) + 0.0 * f32(m) } }",
    );
    let n = 64;
    let x = floats(DType::F16, &[n], |i| if i == 0 { 4096.0 } else { 0.0001 * (i + 1) as f64 });
    let y = floats(DType::F16, &[n], |i| if i == 0 { 4096.0 } else { 1.0 });
    let sizes = file.funcs[entries(&file)[0]].sizes.iter().map(|(_, s)| if s.name == "N" { 64 } else { 1 });
    let inputs = Inputs {
        sizes: sizes.collect(),
        scalars: vec![],
        tensors: vec![Some(x.clone()), Some(y.clone()), None],
    };
    let options = Options { mode: Mode::Rounded, ..Options::default() };
    let got = only(&file, &inputs, &options).expect("runs").tensors[2].get(0).as_f64();
    let mut want = 0f32;
    for i in 0..n {
        want += x.get(i).as_f64() as f32 * y.get(i).as_f64() as f32;
    }
    assert_eq!(got, f64::from(want));
}

#[test]
fn races_are_found_with_their_place() {
    // The checker may already refuse it; the interpreter must find it on its own.
    let file = wrong("inplace_jacobi.tile");
    let inputs = small_inputs(&file, entries(&file)[0], 3, 6).expect("inputs");
    let tiles = Tiles { default: TileDefault::Each(1), ..Tiles::default() };
    let big = Inputs {
        tensors: vec![Some(floats(DType::F32, &[4, 4], |i| i as f64))],
        sizes: vec![4, 4],
        ..inputs
    };
    let error =
        only(&file, &big, &Options { tiles: tiles.clone(), ..Options::default() }).expect_err("a race");
    assert!(matches!(&*error.kind, ErrorKind::Race { tensor, .. } if tensor == "u"), "{error}");
    assert_eq!(error.sizes, [("M".to_owned(), 4), ("N".to_owned(), 4)]);
    assert_eq!(error.diagnostic().code, Code::Race);
    let unchecked = Options { tiles, check_races: false, ..Options::default() };
    assert!(only(&file, &big, &unchecked).is_ok());
}

#[test]
fn reads_outside_and_full_lists_stop_the_run() {
    let file = wrong("no_edge.tile");
    let inputs = Inputs {
        sizes: vec![3, 3],
        scalars: vec![],
        tensors: vec![Some(floats(DType::F32, &[3, 3], |i| i as f64)), None],
    };
    let error = only(&file, &inputs, &Options::default()).expect_err("a read outside");
    let outside = ErrorKind::ReadOutside { tensor: "u".to_owned(), index: vec![3, 0], shape: vec![3, 3] };
    assert_eq!(*error.kind, outside);
    assert_eq!(error.diagnostic().code, Code::NoEdge);

    let file = good(
        "kernel k(x: in i32[N] range 0..K, c: inout i32[K], l: out i32[K,CAP] bag) {
           for i in tiles(N; b) { append(l, c, x[i], i) } }",
    );
    let sizes = file.funcs[entries(&file)[0]].sizes.iter().map(|(_, s)| match s.name.as_str() {
        "N" => 4,
        "K" => 2,
        _ => 3,
    });
    let ints =
        |shape: &[usize], v: i64| HostTensor::from_fn(DType::I32, shape, |_| Scalar::Int(v)).expect("small");
    let mut inputs = Inputs {
        sizes: sizes.collect(),
        scalars: vec![],
        tensors: vec![Some(ints(&[4], 1)), Some(ints(&[2], 0)), None],
    };
    let error = only(&file, &inputs, &Options::default()).expect_err("a full list");
    assert_eq!(*error.kind, ErrorKind::ListFull { list: "l".to_owned(), key: vec![1], capacity: 3 });
    inputs.tensors[0] = Some(ints(&[4], 2));
    let error = only(&file, &inputs, &Options::default()).expect_err("a broken promise");
    assert!(matches!(&*error.kind, ErrorKind::Contract { promise: "range", .. }), "{error}");
}

#[test]
fn a_budget_cuts_a_run_off() {
    let file = good("kernel k(x: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i] * x[i] } }");
    let inputs = Inputs {
        sizes: vec![100],
        scalars: vec![],
        tensors: vec![Some(floats(DType::F32, &[100], |i| i as f64)), None],
    };
    let error = only(&file, &inputs, &Options { budget: 50, ..Options::default() }).expect_err("too long");
    assert_eq!(*error.kind, ErrorKind::Budget(50));
}

#[test]
fn comparison_minds_nan_and_magnitude() {
    let values = |v: &[f64]| {
        let t = floats(DType::F64, &[v.len()], |i| v[i]);
        rooftile_compiler::oracle::Values::from_host(&t)
    };
    assert_eq!(first_apart(&values(&[1.0, f64::NAN]), &values(&[1.0, f64::NAN]), 1e-9), None);
    assert_eq!(first_apart(&values(&[1.0, f64::NAN]), &values(&[1.0, 2.0]), 1e-9), Some(1));
    assert_eq!(first_apart(&values(&[1.0, 1.0]), &values(&[1.0, f64::NAN]), 1e-9), Some(1));
    assert_eq!(first_apart(&values(&[1.0, 1e-12]), &values(&[1.0, 0.0]), 1e-9), None);
    assert_eq!(first_apart(&values(&[1.0]), &values(&[f64::INFINITY]), 1e-9), Some(0));
    assert_eq!(first_apart(&values(&[1.001]), &values(&[1.0]), 1e-9), Some(0));
}

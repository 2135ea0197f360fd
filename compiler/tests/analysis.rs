//! Counted operations and bytes of samples against closed forms.

use std::path::Path;

use rooftile_artifact::work::{OpClass, Ops, Work};
use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::analysis::{estimate_operations, work, work_on};
use rooftile_compiler::hir::check;
use rooftile_compiler::hir::ir::{File, FuncId};
use rooftile_compiler::syntax::parse;

fn sample(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples").join(name);
    let (ast, _) = parse(&std::fs::read_to_string(path).expect("a sample"));
    check(&ast).0
}

/// The entry and its sizes by name.
fn at(file: &File, name: &str, sizes: &[(&str, i64)]) -> (FuncId, Vec<i64>) {
    let func = file.entry(name).expect("the entry");
    let value = |wanted: &str| sizes.iter().find(|(n, _)| *n == wanted).expect("a size").1;
    (func, file.funcs[func].sizes.iter().map(|(_, s)| value(&s.name)).collect())
}

fn counted(file: &File, name: &str, sizes: &[(&str, i64)], scalars: &[Scalar]) -> Work {
    let (func, sizes) = at(file, name, sizes);
    work(file, func, &sizes, scalars)
}

fn ops(work: &Work, class: OpClass) -> f64 {
    work.ops.iter().filter(|o| o.class == class).map(|o| o.count).sum()
}

/// Sums and products of floats, those of narrow factors with them.
fn sums(work: &Work) -> f64 {
    ops(work, OpClass::Fma) + ops(work, OpClass::Product)
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance * want.abs(), "{got}, not {want}");
}

#[test]
fn matmul() {
    let file = sample("01_matmul.tile");
    let w = counted(&file, "matmul", &[("M", 100), ("N", 70), ("K", 50)], &[]);
    assert_eq!(ops(&w, OpClass::Product), 2.0 * 100.0 * 70.0 * 50.0);
    close(w.flops, 2.0 * 100.0 * 70.0 * 50.0, 0.03);
    assert_eq!(w.bytes_read, 2.0 * (100.0 * 50.0 + 50.0 * 70.0));
    assert_eq!(w.bytes_written, 4.0 * 100.0 * 70.0);
    assert_eq!((w.launches, w.working_set), (1.0, w.bytes_read + w.bytes_written));
    let dtype = |o: &Ops| if o.class == OpClass::Product { DType::F16 } else { DType::F32 };
    assert!(w.ops.iter().all(|o| o.dtype == dtype(o)));
}

/// What is summed in 64 bits is computed there, whatever the factors were.
#[test]
fn products_in_wide_sums_are_wide() {
    for (factor, sum, class) in
        [("f32", "f64", OpClass::Fma), ("f16", "f64", OpClass::Fma), ("i32", "i64", OpClass::Int)]
    {
        let text = format!(
            "kernel k(x: in {factor}[N], z: out {sum}) {{ z = sum[i in N]({sum}(x[i]) * {sum}(x[i])) }}"
        );
        let w = counted(&check(&parse(&text).0).0, "k", &[("N", 100)], &[]);
        assert_eq!((ops(&w, OpClass::Product), ops(&w, class)), (0.0, 200.0), "{text}");
        assert!(w.ops.iter().all(|o| o.dtype.size() == 8), "{text}");
    }
}

#[test]
fn softmax_and_causal_attention() {
    let file = sample("02_norms.tile");
    let (m, n) = (64.0, 1000.0);
    let w = counted(&file, "softmax", &[("M", 64), ("N", 1000)], &[]);
    assert_eq!(ops(&w, OpClass::Special), m * n);
    assert_eq!(ops(&w, OpClass::Div), m * n);
    assert_eq!(ops(&w, OpClass::Fma), 3.0 * m * n);
    assert_eq!(w.bytes_read + w.bytes_written, 8.0 * m * n);

    let file = sample("03_attention.tile");
    let sizes = [("BH", 3), ("S", 256), ("D", 32)];
    let (bh, s, d) = (3.0, 256.0, 32.0);
    let pairs = bh * s * (s + 1.0) / 2.0;
    for name in ["attn_plain", "attn"] {
        let w = counted(&file, name, &sizes, &[Scalar::Float(0.1)]);
        // Two products of 2 D operations for every pair, and little else.
        close(sums(&w), 4.0 * d * pairs, 0.06);
        close(ops(&w, OpClass::Special), pairs, 0.02);
        assert_eq!(w.bytes_read, 3.0 * 2.0 * bh * s * d);
    }
}

#[test]
fn steps_of_a_pipeline_count_their_operations_but_not_their_bytes() {
    let file = sample("04_heat2d.tile");
    let w = counted(&file, "heat2d", &[("H", 60), ("W", 50)], &[Scalar::Int(10), Scalar::Float(0.1)]);
    let points = 60.0 * 50.0;
    assert_eq!(w.launches, 10.0);
    assert_eq!((w.bytes_read, w.bytes_written), (4.0 * points, 4.0 * points));
    assert_eq!(w.untiled_bytes, 10.0 * 8.0 * points);
    assert_eq!(w.working_set, 8.0 * points);
    // Four additions and subtractions, two products, one sum.
    assert_eq!(ops(&w, OpClass::Fma), 10.0 * 7.0 * points);
}

#[test]
fn conditions_on_the_step_are_followed() {
    let file = sample("07_lj.tile");
    let sizes = [("N", 40), ("M", 3), ("CAP", 16), ("NMAX", 20)];
    let scalars = [10, 5].map(Scalar::Int).into_iter().chain([9.0, 1.0, 2.0, 0.01].map(Scalar::Float));
    let w = counted(&file, "lj", &sizes, &scalars.collect::<Vec<_>>());
    // Ten passes of two kernels, and two more every fifth pass.
    assert_eq!(w.launches, 10.0 * 2.0 + 2.0 * 2.0);
}

#[test]
fn data_bounds_are_estimated_or_read() {
    let file = sample("11_spmv.tile");
    let (r, e, c) = (100, 700, 100);
    let sizes = [("R", r), ("E", e), ("C", c)];
    let w = counted(&file, "spmv", &sizes, &[]);
    close(ops(&w, OpClass::Fma), 2.0 * e as f64, 0.2);
    // Row pointers, columns and values, the vector once, the result.
    close(w.bytes_read, 4.0 * (r + 1 + 2 * e + c) as f64, 1e-9);
    close(w.bytes_written, 4.0 * r as f64, 1e-9);
    // Rows that hold 300 elements in all.
    let pointers = HostTensor::from_fn(DType::I32, &[101], |i| Scalar::Int(3 * i as i64)).expect("small");
    let (func, sizes) = at(&file, "spmv", &sizes);
    let w = work_on(&file, func, &sizes, &[], &[Some(pointers)]);
    close(ops(&w, OpClass::Fma), 2.0 * 300.0, 0.2);
}

#[test]
fn packed_weights_take_half_bytes_and_scatters_read_what_they_write() {
    let file = sample("10_w4a16.tile");
    let w = counted(&file, "w4a16", &[("M", 8), ("K", 64), ("N", 32), ("G", 16)], &[]);
    let want = 2.0 * 8.0 * 64.0 + 64.0 * 32.0 / 2.0 + 2.0 * 4.0 * 32.0 + 4.0 * 32.0 / 2.0;
    assert_eq!(w.bytes_read, want);
    let file = sample("12_hist.tile");
    let w = counted(&file, "hist", &[("N", 1000)], &[]);
    assert_eq!((w.bytes_read, w.bytes_written), (1000.0 + 4.0 * 256.0, 4.0 * 256.0));
    assert_eq!(ops(&w, OpClass::Int), 1000.0);
}

#[test]
fn a_recurrence_multiplies_by_its_steps() {
    let file = sample("14_rnn.tile");
    let sizes = [("T", 20), ("B", 4), ("DH", 16)];
    let w = counted(&file, "lstm", &sizes, &[]);
    let (t, b, d) = (20.0, 4.0, 16.0);
    close(sums(&w), t * b * d * (4.0 * 2.0 * d + 7.0), 0.02);
    assert_eq!(ops(&w, OpClass::Special), 5.0 * t * b * d);
    assert_eq!(w.bytes_read, 2.0 * (t * 4.0 * b * d + 4.0 * d * d));
}

#[test]
fn the_estimate_follows_the_loops() {
    let file = sample("01_matmul.tile");
    let (_, sizes) = at(&file, "matmul", &[("M", 256), ("N", 256), ("K", 256)]);
    let reference = file.reference("matmul").expect("the reference");
    let small = estimate_operations(&file, reference, &sizes, &[]);
    let large = estimate_operations(&file, reference, &[512, 512, 512], &[]);
    close(large / small, 8.0, 0.1);
    assert!((1e7..2e8).contains(&small), "{small}");
    let file = sample("09_fft3d.tile");
    let reference = file.reference("fft3d").expect("the reference");
    assert!(estimate_operations(&file, reference, &[64], &[]) > 2e11);
}

//! Nests made by hand, compiled, run and compared with what they must compute.

use rooftile_artifact::program::{Bindings, Mode};
use rooftile_artifact::target::CpuFeatures;
use rooftile_artifact::{CpuTarget, DType, HostExpr, HostTensor, Scalar};
use rooftile_compiler::codegen::cpu::{self, Generator};
use rooftile_compiler::nest::ir::{BinaryOp, ExprId, LoopKind, MathFn, Module, Nest, Space, Stmt, UnaryOp};
use rooftile_compiler::nest::{Builder, verify_module};
use rooftile_runtime::{Instance, InstanceOptions, open};
use rooftile_tests::launch::module;

/// Compiles for this machine, runs on the inputs, and gives every parameter's content.
fn run(module: Module, sizes: &[i64], inputs: &[Option<HostTensor>], threads: usize) -> Vec<HostTensor> {
    let target = open("cpu").expect("a CPU").target().cpu().expect("a CPU").clone();
    run_for(&target, module, sizes, inputs, threads)
}

/// As [`run`], for a target that this machine includes, by every generator and with vectors of every width; they agree to
/// the bit.
fn run_for(
    target: &CpuTarget,
    module: Module,
    sizes: &[i64],
    inputs: &[Option<HostTensor>],
    threads: usize,
) -> Vec<HostTensor> {
    let portable = run_by(Generator::Cranelift, target, module.clone(), sizes, inputs, threads);
    let widest = target.vector_bytes.min(target.features.vector_bytes());
    for vector_bytes in [32, 64].into_iter().filter(|bytes| *bytes <= widest) {
        let target = CpuTarget { vector_bytes, ..target.clone() };
        let ours = run_by(Generator::Vector, &target, module.clone(), sizes, inputs, threads);
        assert_eq!(portable, ours, "vectors of {vector_bytes} bytes");
    }
    portable
}

fn run_by(
    generator: Generator,
    target: &CpuTarget,
    module: Module,
    sizes: &[i64],
    inputs: &[Option<HostTensor>],
    threads: usize,
) -> Vec<HostTensor> {
    let verified = verify_module(module).expect("the nest keeps the rules");
    let device = open("cpu").expect("a CPU");
    let program = cpu::compile(&verified, target, generator).expect("code");
    let loaded = device.load(&program).expect("loads");
    let bindings = Bindings { sizes: sizes.to_vec(), scalars: Vec::new() };
    let options = InstanceOptions { threads, guarded: true, poison: Some(7), ..InstanceOptions::default() };
    let mut instance = Instance::new(&loaded, &bindings, options).expect("memory");
    for (n, input) in inputs.iter().enumerate() {
        if let Some(tensor) = input {
            instance.write_input(n, tensor).expect("fits");
        }
    }
    instance.run().expect("runs");
    (0..inputs.len()).map(|n| instance.read_output(n).expect("an output")).collect()
}

fn ramp(shape: &[usize]) -> HostTensor {
    HostTensor::from_fn(DType::F32, shape, |i| Scalar::Float(((i * 37 + 11) % 97) as f64 / 16.0 - 3.0))
        .expect("small")
}

/// `C = A B` with a register block of 4 rows by 8 columns; the ragged edge element by element.
fn matmul() -> Nest {
    let mut b = Builder::new("matmul");
    let (m, n, k) = (b.add_size("M"), b.add_size("N"), b.add_size("K"));
    let a = b.add_buffer("A", DType::F32, &[m, k], Space::Global(0));
    let bb = b.add_buffer("B", DType::F32, &[k, n], Space::Global(1));
    let c = b.add_buffer("C", DType::F32, &[m, n], Space::Global(2));
    let (zero, four, eight, one) = (b.int(0), b.int(4), b.int(8), b.int(1));
    let acc = b.add_buffer("acc", DType::F32, &[four, eight], Space::Register);
    let f0 = b.constant(Scalar::Float(0.0), DType::F32);
    let (ci, i0) = b.core_loop("i0", (zero, m, 4));
    let (cj, j0) = b.core_loop("j0", (zero, n, 8));
    let block = |b: &mut Builder, f: &mut dyn FnMut(&mut Builder, ExprId, ExprId) -> Vec<Stmt>| {
        b.for_loop(LoopKind::Unrolled, "u", (zero, four, 1), |b, u| {
            vec![b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| f(b, u, l))]
        })
    };
    let clear = block(&mut b, &mut |b, u, l| vec![b.store(acc, &[u, l], f0)]);
    let multiply = b.for_loop(LoopKind::Serial, "k", (zero, k, 1), |b, kk| {
        vec![block(b, &mut |b, u, l| {
            let (i, j) = (b.add(i0, u), b.add(j0, l));
            let x = b.load(a, &[i, kk]);
            let y = b.load(bb, &[kk, j]);
            let old = b.load(acc, &[u, l]);
            let product = b.mul(x, y);
            let sum = b.add(old, product);
            vec![b.store(acc, &[u, l], sum)]
        })]
    });
    let write = block(&mut b, &mut |b, u, l| {
        let (i, j) = (b.add(i0, u), b.add(j0, l));
        let v = b.load(acc, &[u, l]);
        vec![b.store(c, &[i, j], v)]
    });
    // The edge: whatever of the block lies inside.
    let row_end = b.add_int(i0, 4);
    let row_end = b.min(row_end, m);
    let col_end = b.add_int(j0, 8);
    let col_end = b.min(col_end, n);
    let cell = b.add_buffer("cell", DType::F32, &[one], Space::Register);
    let edge = b.for_loop(LoopKind::Serial, "i", (i0, row_end, 1), |b, i| {
        vec![b.for_loop(LoopKind::Serial, "j", (j0, col_end, 1), |b, j| {
            let clear = b.store(cell, &[zero], f0);
            let sum = b.for_loop(LoopKind::Serial, "k", (zero, k, 1), |b, kk| {
                let (x, y) = (b.load(a, &[i, kk]), b.load(bb, &[kk, j]));
                let product = b.mul(x, y);
                let old = b.load(cell, &[zero]);
                let sum = b.add(old, product);
                vec![b.store(cell, &[zero], sum)]
            });
            let v = b.load(cell, &[zero]);
            vec![clear, sum, b.store(c, &[i, j], v)]
        })]
    });
    let (last_row, last_col) = (b.add_int(i0, 4), b.add_int(j0, 8));
    let (rows, cols) = (b.le(last_row, m), b.le(last_col, n));
    let whole = b.and(rows, cols);
    let body = Stmt::If { cond: whole, then: vec![clear, multiply, write], otherwise: vec![edge] };
    b.add_phase(vec![ci, cj], vec![body]);
    b.finish()
}

#[test]
fn matmul_on_whole_and_ragged_blocks() {
    for (m, n, k) in [(4, 8, 5), (13, 29, 7), (1, 1, 1), (16, 32, 64), (3, 7, 0)] {
        let size = HostExpr::Size;
        let buffers = [
            ("A", DType::F32, vec![size(0), size(2)], Mode::In),
            ("B", DType::F32, vec![size(2), size(1)], Mode::In),
            ("C", DType::F32, vec![size(0), size(1)], Mode::Out),
        ];
        let (a, b) = (ramp(&[m, k]), ramp(&[k, n]));
        let inputs = [Some(a.clone()), Some(b.clone()), None];
        let sizes = [m as i64, n as i64, k as i64];
        let out = run(module(matmul(), &buffers, &["M", "N", "K"]), &sizes, &inputs, 2);
        for i in 0..m {
            for j in 0..n {
                let mut want = 0f32;
                for kk in 0..k {
                    want += a.get(i * k + kk).as_f64() as f32 * b.get(kk * n + j).as_f64() as f32;
                }
                assert_eq!(out[2].get(i * n + j).as_f64() as f32, want, "{m} {n} {k}: {i} {j}");
            }
        }
    }
}

/// `y[i] = -x[step i]`, forty lanes at once.
fn lanes_apart(n: i64, step: i64) -> Nest {
    let mut b = Builder::new("apart");
    let (n, wide) = (b.int(n), b.int(n * step));
    let x = b.add_buffer("x", DType::F32, &[wide], Space::Global(0));
    let y = b.add_buffer("y", DType::F32, &[n], Space::Global(1));
    let (zero, forty) = (b.int(0), b.int(40));
    let (core, i0) = b.core_loop("i0", (zero, n, 40));
    let body = b.for_loop(LoopKind::Lanes, "l", (zero, forty, 1), |b, l| {
        let i = b.add(i0, l);
        let step = b.int(step);
        let at = b.mul(i, step);
        let v = b.load(x, &[at]);
        let v = b.unary(UnaryOp::Neg, v);
        vec![b.store(y, &[i], v)]
    });
    b.add_phase(vec![core], vec![body]);
    b.finish()
}

#[test]
fn elements_a_few_apart_become_lanes() {
    for step in [1i64, 2, 3, 4, 7] {
        let n = 120;
        let extent = |n: i64| vec![HostExpr::from(n)];
        let buffers =
            [("x", DType::F32, extent(n * step), Mode::In), ("y", DType::F32, extent(n), Mode::Out)];
        let x = HostTensor::from_fn(DType::F32, &[(n * step) as usize], |i| Scalar::Float(i as f64 + 0.5));
        let x = x.expect("small");
        let out = run(module(lanes_apart(n, step), &buffers, &[]), &[], &[Some(x.clone()), None], 1);
        for i in 0..n as usize {
            assert_eq!(out[1].get(i).as_f64(), -x.get(i * step as usize).as_f64(), "step {step}: {i}");
        }
    }
}

/// `y = exp(x - 1)` with eight lanes and a condition per lane at the end.
fn exp_tail() -> Nest {
    let mut b = Builder::new("exp");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::F32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::F32, &[n], Space::Global(1));
    let (zero, eight) = (b.int(0), b.int(8));
    let one = b.constant(Scalar::Float(1.0), DType::F32);
    let (core, i0) = b.core_loop("i0", (zero, n, 8));
    let body = b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| {
        let i = b.add(i0, l);
        let inside = b.lt(i, n);
        let v = b.load(x, &[i]);
        let v = b.sub(v, one);
        let v = b.math(MathFn::Exp, v);
        let store = b.store(y, &[i], v);
        vec![Stmt::If { cond: inside, then: vec![store], otherwise: Vec::new() }]
    });
    b.add_phase(vec![core], vec![body]);
    b.finish()
}

#[test]
fn lanes_with_a_condition() {
    for n in [1usize, 7, 8, 9, 31, 64] {
        let buffers = [
            ("x", DType::F32, vec![HostExpr::Size(0)], Mode::In),
            ("y", DType::F32, vec![HostExpr::Size(0)], Mode::Out),
        ];
        let x = ramp(&[n]);
        let out = run(module(exp_tail(), &buffers, &["n"]), &[n as i64], &[Some(x.clone()), None], 1);
        for i in 0..n {
            let want = (x.get(i).as_f64() - 1.0).exp();
            let got = out[1].get(i).as_f64();
            assert!((got - want).abs() <= want * 2e-7, "{n}: {i}: {got} {want}");
        }
    }
}

/// Counts of the values 0 to 15 by atomics.
/// Without AVX, operands in memory would have to be aligned.
#[test]
fn comparisons_of_elements_anywhere() {
    for dtype in [DType::F32, DType::F64] {
        for op in [BinaryOp::Eq, BinaryOp::Ne, BinaryOp::Lt, BinaryOp::Le] {
            let mut b = Builder::new("compare");
            let (eight, sixteen) = (b.int(8), b.int(16));
            let x = b.add_buffer("x", dtype, &[sixteen], Space::Global(0));
            let y = b.add_buffer("y", DType::I32, &[eight], Space::Global(1));
            let zero = b.int(0);
            let body = b.for_loop(LoopKind::Lanes, "l", (zero, eight, 1), |b, l| {
                let (p, q) = (b.add_int(l, 1), b.add_int(l, 3));
                let (p, q) = (b.load(x, &[p]), b.load(x, &[q]));
                let holds = b.binary(op, p, q);
                let holds = b.cast(DType::I32, holds);
                vec![b.store(y, &[l], holds)]
            });
            b.add_phase(Vec::new(), vec![body]);
            let buffers =
                [("x", dtype, vec![16.into()], Mode::In), ("y", DType::I32, vec![8.into()], Mode::Out)];
            let input = |i: usize| ((i * 5 + 3) % 4) as f64;
            let inputs = [HostTensor::from_fn(dtype, &[16], |i| Scalar::Float(input(i))).ok(), None];
            let device = open("cpu").expect("a CPU");
            let own = device.target().cpu().expect("a CPU");
            let plain = CpuTarget { features: CpuFeatures::default(), ..own.clone() };
            for target in [own, &plain] {
                let got = run_for(target, module(b.nest().clone(), &buffers, &[]), &[], &inputs, 1);
                for l in 0..8 {
                    let (p, q) = (input(l + 1), input(l + 3));
                    let want = match op {
                        BinaryOp::Eq => p == q,
                        BinaryOp::Ne => p != q,
                        BinaryOp::Lt => p < q,
                        _ => p <= q,
                    };
                    assert_eq!(got[1].get(l), Scalar::Int(i64::from(want)), "{dtype} {op:?} {l}");
                }
            }
        }
    }
}

#[test]
fn atomics_count() {
    let mut b = Builder::new("histogram");
    let n = b.add_size("n");
    let (zero, sixteen) = (b.int(0), b.int(16));
    let x = b.add_buffer("x", DType::I32, &[n], Space::Global(0));
    let h = b.add_buffer("h", DType::I32, &[sixteen], Space::Global(1));
    let one = b.constant(Scalar::Int(1), DType::I32);
    let (core, i) = b.core_loop("i", (zero, n, 1));
    let v = b.load(x, &[i]);
    let v = b.cast(DType::I64, v);
    let count = Stmt::Atomic { op: BinaryOp::Add, buffer: h, index: vec![v], value: one, old: None };
    b.add_phase(vec![core], vec![count]);
    let buffers = [
        ("x", DType::I32, vec![HostExpr::Size(0)], Mode::In),
        ("h", DType::I32, vec![16.into()], Mode::InOut),
    ];
    let x = HostTensor::from_fn(DType::I32, &[1000], |i| Scalar::Int((i * i % 16) as i64)).expect("small");
    let h = HostTensor::zeros(DType::I32, &[16]).expect("small");
    let out = run(module(b.finish(), &buffers, &["n"]), &[1000], &[Some(x.clone()), Some(h)], 2);
    for bin in 0..16 {
        let want = (0..1000).filter(|&i| x.get(i) == Scalar::Int(bin)).count();
        assert_eq!(out[1].get(bin as usize), Scalar::Int(want as i64), "{bin}");
    }
}

/// `Y[to[j], i] = X[i, j]`: rows written out, columns as lanes, what is stored side by side from row to row.
fn columns_to_rows(named: bool) -> Nest {
    let mut b = Builder::new("columns");
    let (zero, sixteen) = (b.int(0), b.int(16));
    let x = b.add_buffer("X", DType::F32, &[sixteen, sixteen], Space::Global(0));
    let to = b.add_buffer("to", DType::I64, &[sixteen], Space::Global(1));
    let y = b.add_buffer("Y", DType::F32, &[sixteen, sixteen], Space::Global(2));
    let rows = b.for_loop(LoopKind::Unrolled, "i", (zero, sixteen, 1), |b, i| {
        vec![b.for_loop(LoopKind::Lanes, "j", (zero, sixteen, 1), |b, j| {
            let v = b.load(x, &[i, j]);
            if !named {
                return vec![b.store(y, &[j, i], v)];
            }
            let row = b.load(to, &[j]);
            let (bound, row) = b.bind("row", row);
            vec![bound, b.store(y, &[row, i], v)]
        })]
    });
    b.add_phase(Vec::new(), vec![rows]);
    b.finish()
}

#[test]
fn lanes_that_lie_far_apart_are_stored_where_they_belong() {
    let shape = vec![16.into(), 16.into()];
    let buffers = [
        ("X", DType::F32, shape.clone(), Mode::In),
        ("to", DType::I64, vec![16.into()], Mode::In),
        ("Y", DType::F32, shape, Mode::Out),
    ];
    let x = ramp(&[16, 16]);
    for named in [false, true] {
        let place = |j: usize| if named { (5 * j + 3) % 16 } else { j };
        let to = HostTensor::from_fn(DType::I64, &[16], |j| Scalar::Int(place(j) as i64)).expect("small");
        let inputs = [Some(x.clone()), Some(to), None];
        let out = run(module(columns_to_rows(named), &buffers, &[]), &[], &inputs, 1);
        for (i, j) in (0..16).flat_map(|i| (0..16).map(move |j| (i, j))) {
            assert_eq!(out[2].get(place(j) * 16 + i), x.get(i * 16 + j), "{named}: {i}, {j}");
        }
    }
}

/// `Y[l] = X[at[l], k] + X[k, 2 at[l] + l]` in lanes: elements anywhere, by rows whose length is a size, and by columns.
fn anywhere(dtype: DType, of_index: DType, lanes: i64) -> Nest {
    let mut b = Builder::new("anywhere");
    let rows = b.add_size("N");
    let (zero, count, two, column) = (b.int(0), b.int(lanes), b.int(2), b.int(3));
    let x = b.add_buffer("X", dtype, &[rows, rows], Space::Global(0));
    let at = b.add_buffer("at", of_index, &[count], Space::Global(1));
    let y = b.add_buffer("Y", dtype, &[count], Space::Global(2));
    let all = b.for_loop(LoopKind::Lanes, "l", (zero, count, 1), |b, l| {
        let place = b.load(at, &[l]);
        let place = b.cast(DType::I64, place);
        let by_row = b.load(x, &[place, column]);
        let twice = b.mul(place, two);
        let apart = b.add(twice, l);
        let by_column = b.load(x, &[column, apart]);
        let sum = b.add(by_row, by_column);
        vec![b.store(y, &[l], sum)]
    });
    b.add_phase(Vec::new(), vec![all]);
    b.finish()
}

#[test]
fn elements_anywhere_become_lanes() {
    let extent = 97i64;
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for of_index in [DType::I32, DType::I64, DType::U8, DType::I16, DType::U32] {
            for lanes in [5i64, 8, 13, 16, 21, 32] {
                let square = vec![HostExpr::Size(0), HostExpr::Size(0)];
                let buffers = [
                    ("X", dtype, square, Mode::In),
                    ("at", of_index, vec![lanes.into()], Mode::In),
                    ("Y", dtype, vec![lanes.into()], Mode::Out),
                ];
                let n = extent as usize;
                let value = |i: usize| Scalar::Int((i * 31 % 1009) as i64);
                let x = HostTensor::from_fn(dtype, &[n, n], value).expect("small");
                // The last element that there is is among them.
                let place = |l: usize| (extent as usize - 1 - 7 * l % 97) % 33;
                let at = |l: usize| Scalar::Int(place(l) as i64);
                let at = HostTensor::from_fn(of_index, &[lanes as usize], at).expect("small");
                let inputs = [Some(x.clone()), Some(at), None];
                let nest = module(anywhere(dtype, of_index, lanes), &buffers, &["N"]);
                let out = run(nest, &[extent], &inputs, 1);
                for l in 0..lanes as usize {
                    let want = x.get(place(l) * n + 3).as_f64() + x.get(3 * n + 2 * place(l) + l).as_f64();
                    assert_eq!(out[2].get(l).as_f64(), want, "{dtype} by {of_index}, {lanes} lanes: {l}");
                }
            }
        }
    }
}

/// Quotients and remainders of lanes by powers of two are rounded down.
#[test]
fn lanes_are_divided_by_powers_of_two() {
    for dtype in [DType::I8, DType::U8, DType::I16, DType::I32, DType::U32, DType::I64] {
        let count = 40i64;
        let mut b = Builder::new("halves");
        let (zero, n) = (b.int(0), b.int(count));
        let x = b.add_buffer("x", dtype, &[n], Space::Global(0));
        let outs = ["q", "r"].map(|name| {
            let slot = if name == "q" { 1 } else { 2 };
            b.add_buffer(name, dtype, &[n], Space::Global(slot))
        });
        let all = b.for_loop(LoopKind::Lanes, "l", (zero, n, 1), |b, l| {
            let (v, by) = (b.load(x, &[l]), b.constant(Scalar::Int(8), dtype));
            let parts = [BinaryOp::Div, BinaryOp::Rem].map(|op| b.binary(op, v, by));
            (0..2).map(|n| b.store(outs[n], &[l], parts[n])).collect()
        });
        b.add_phase(Vec::new(), vec![all]);
        let shape = || vec![count.into()];
        let buffers = [
            ("x", dtype, shape(), Mode::In),
            ("q", dtype, shape(), Mode::Out),
            ("r", dtype, shape(), Mode::Out),
        ];
        let first = if dtype.to_string().starts_with('i') { -20 } else { 0 };
        let x = HostTensor::from_fn(dtype, &[count as usize], |i| Scalar::Int(i as i64 * 3 + first));
        let x = x.expect("small");
        let out = run(module(b.finish(), &buffers, &[]), &[], &[Some(x.clone()), None, None], 1);
        for i in 0..count as usize {
            let v = x.get(i).as_i64();
            let want = (v.div_euclid(8), v.rem_euclid(8));
            assert_eq!((out[1].get(i).as_i64(), out[2].get(i).as_i64()), want, "{dtype}: {v}");
        }
    }
}

/// `Y[i, p] = (x - y, x)` where `(x, y)` is `X[i, p]`, or `named` `X[i, to[p]]`: `lanes` of them far apart along `i`, with 16
/// points `p` written out, or side by side along `p`.
fn records(dtype: DType, lanes: i64, apart: bool, named: bool) -> Nest {
    let mut b = Builder::new("records");
    let (zero, sixteen, count, two) = (b.int(0), b.int(16), b.int(lanes), b.int(2));
    let extents = if apart { [count, sixteen, two] } else { [sixteen, count, two] };
    let x = b.add_buffer("X", dtype, &extents, Space::Global(0));
    let to = b.add_buffer("to", DType::I64, &[extents[1]], Space::Global(1));
    let y = b.add_buffer("Y", dtype, &extents, Space::Global(2));
    let both = |b: &mut Builder, i: ExprId, p: ExprId| {
        let from = if named { b.load(to, &[p]) } else { p };
        let fields = [b.int(0), b.int(1)];
        let [first, second] = fields.map(|f| b.load(x, &[i, from, f]));
        let difference = b.sub(first, second);
        vec![b.store(y, &[i, p, fields[0]], difference), b.store(y, &[i, p, fields[1]], first)]
    };
    let (outer, points) = if apart { (LoopKind::Unrolled, "p") } else { (LoopKind::Serial, "i") };
    let all = b.for_loop(outer, points, (zero, sixteen, 1), |b, o| {
        vec![b.for_loop(LoopKind::Lanes, "l", (zero, count, 1), |b, l| {
            if apart { both(b, l, o) } else { both(b, o, l) }
        })]
    });
    b.add_phase(Vec::new(), vec![all]);
    b.finish()
}

#[test]
fn records_of_two_are_taken_apart_and_put_together() {
    let int = |bits| DType::Int { signed: true, bits };
    for dtype in [DType::F32, DType::F64, int(16), int(32), int(64)] {
        for (lanes, apart, named) in [4, 6, 8, 12, 16, 20, 32]
            .into_iter()
            .flat_map(|n| [(n, false, false), (n, true, false), (n, true, true)])
        {
            let (rows, columns) = if apart { (lanes, 16) } else { (16, lanes) };
            let shape: Vec<HostExpr> = vec![rows.into(), columns.into(), 2.into()];
            let buffers = [
                ("X", dtype, shape.clone(), Mode::In),
                ("to", DType::I64, vec![columns.into()], Mode::In),
                ("Y", dtype, shape, Mode::Out),
            ];
            let (rows, columns) = (rows as usize, columns as usize);
            let element = |i: usize| Scalar::Int((i * 37 % 1009) as i64).cast(dtype);
            let x = HostTensor::from_fn(dtype, &[rows, columns, 2], element).expect("small");
            let place = |p: usize| if named { (5 * p + 3) % columns } else { p };
            let to =
                HostTensor::from_fn(DType::I64, &[columns], |p| Scalar::Int(place(p) as i64)).expect("small");
            let inputs = [Some(x.clone()), Some(to), None];
            let out = run(module(records(dtype, lanes, apart, named), &buffers, &[]), &[], &inputs, 1);
            for (i, p) in (0..rows).flat_map(|i| (0..columns).map(move |p| (i, p))) {
                let read = |f: usize| x.get((i * columns + place(p)) * 2 + f).as_f64();
                let wrote = |f: usize| out[2].get((i * columns + p) * 2 + f).as_f64();
                let case = format!("{dtype}, {lanes} lanes, {apart}, {named}: {i}, {p}");
                assert_eq!([wrote(0), wrote(1)], [read(0) - read(1), read(0)], "{case}");
            }
        }
    }
}

/// What becomes of three elements: products and sums of them, and one with a constant, where those whose bits are set in the
/// row's number are negated.
fn negations(dtype: DType, lanes: i64) -> Nest {
    let mut b = Builder::new("negations");
    let [n, rows] = [96, 16].map(|n| b.int(n));
    let [x, y, z] = [("x", 0), ("y", 1), ("z", 2)]
        .map(|(name, slot)| b.add_buffer(name, dtype, &[n], Space::Global(slot)));
    let out = b.add_buffer("out", dtype, &[rows, n], Space::Global(3));
    let (zero, count) = (b.int(0), b.int(lanes));
    let (core, i0) = b.core_loop("i0", (zero, n, lanes));
    let body = b.for_loop(LoopKind::Lanes, "l", (zero, count, 1), |b, l| {
        let i = b.add(i0, l);
        let values = [x, y, z].map(|buffer| b.load(buffer, &[i]));
        let half = b.constant(Scalar::Float(0.5), dtype);
        let rows = (0..16usize).map(|row| {
            let mut signed = values;
            for (n, v) in signed.iter_mut().enumerate().filter(|(n, _)| row >> n & 1 != 0) {
                *v = b.unary(UnaryOp::Neg, *v);
                if n == 2 {
                    let twice = b.unary(UnaryOp::Neg, *v);
                    *v = b.unary(UnaryOp::Neg, twice);
                }
            }
            let [x, y, z] = signed;
            let v = if row < 8 {
                b.fma(x, y, z)
            } else {
                let (product, scaled) = (b.binary(BinaryOp::Mul, x, y), b.binary(BinaryOp::Mul, z, half));
                b.binary(BinaryOp::Add, product, scaled)
            };
            let row = b.int(row as i64);
            b.store(out, &[row, i], v)
        });
        rows.collect()
    });
    b.add_phase(vec![core], vec![body]);
    b.finish()
}

#[test]
fn negations_are_part_of_what_they_go_into() {
    let target = open("cpu").expect("a CPU").target().cpu().expect("a CPU").clone();
    if !target.features.fma {
        println!("SKIPPED: fused multiply-adds (this processor has none)");
        return;
    }
    for (dtype, lanes) in [DType::F32, DType::F64].into_iter().flat_map(|t| [(t, 1), (t, 48)]) {
        let extent = |n: i64| HostExpr::from(n);
        let buffers = [
            ("x", dtype, vec![extent(96)], Mode::In),
            ("y", dtype, vec![extent(96)], Mode::In),
            ("z", dtype, vec![extent(96)], Mode::In),
            ("out", dtype, vec![extent(16), extent(96)], Mode::Out),
        ];
        let inputs = [5, 7, 11].map(|step| {
            let element = |i: usize| Scalar::Float(((i * step + 3) % 97) as f64 / 7.0 - 6.5);
            HostTensor::from_fn(DType::F64, &[96], element).expect("small")
        });
        let inputs =
            inputs.map(|of| HostTensor::from_fn(dtype, &[96], |i| of.get(i).cast(dtype)).expect("small"));
        let [x, y, z] = inputs.clone();
        let given = [Some(x), Some(y), Some(z), None];
        let nest = negations(dtype, lanes);
        let out = run(module(nest.clone(), &buffers, &[]), &[], &given, 1);
        for (row, i) in (0..16).flat_map(|row| (0..96).map(move |i| (row, i))) {
            let [x, y, z] = [0, 1, 2].map(|n| {
                let v = inputs[n].get(i).as_f64();
                if row >> n & 1 != 0 { -v } else { v }
            });
            let want = match (dtype, row < 8) {
                (DType::F64, true) => x.mul_add(y, z),
                (DType::F64, false) => x * y + z * 0.5,
                (_, true) => (x as f32).mul_add(y as f32, z as f32).into(),
                (_, false) => (x as f32 * y as f32 + z as f32 * 0.5).into(),
            };
            assert_eq!(out[3].get(row * 96 + i).as_f64(), want, "{dtype}, {lanes} lanes: {row}, {i}");
        }
        // Only a product that is negated by itself, and is not a constant's, takes an instruction more.
        if target.features.fma && target.vector_bytes >= 32 && lanes > 1 {
            let nest = rooftile_compiler::nest::verify(nest).expect("keeps the rules");
            let asm = cpu::emit_asm(&nest, &target).expect("compiles");
            let negated = asm.lines().filter(|l| l.contains("vpxor")).count();
            let vectors = 48 * dtype.size() / target.vector_bytes;
            assert_eq!(negated, 2 * vectors, "{asm}");
        }
    }
}

#[test]
fn listings_show_the_kernel() {
    let nest = rooftile_compiler::nest::verify(matmul()).expect("keeps the rules");
    let target = CpuTarget::default();
    let clif = cpu::emit_clif(&nest, &target).expect("builds");
    assert!(clif.contains("fmul") && clif.contains("f32x4"), "{clif}");
    let asm = cpu::emit_asm(&nest, &target).expect("compiles");
    assert!(!asm.is_empty());
    if cfg!(target_arch = "x86_64") {
        // Without AVX in the target there is none in the code.
        assert!(asm.contains("mulps") && !asm.contains("vmulps"), "{asm}");
        // One element of `A` for all lanes is repeated by the load itself.
        let features = CpuFeatures { avx: true, avx2: true, ..target.features };
        let asm = cpu::emit_asm(&nest, &CpuTarget { features, ..target.clone() }).expect("compiles");
        assert!(asm.contains("vbroadcastss (") && !asm.contains("vbroadcastss %"), "{asm}");
        // So it is in vectors of 256 bits, whose sums stay in registers: nothing is spilled to the frame.
        let features = CpuFeatures { fma: true, ..features };
        let wide = CpuTarget { features, vector_bytes: 32, ..target.clone() };
        // And of 512 bits, as the target's width has it.
        let features = CpuFeatures { f16c: true, avx512: true, ..features };
        let widest = CpuTarget { features, vector_bytes: 64, ..target };
        for (target, vector) in [(wide, "ymm"), (widest, "zmm")] {
            let asm = cpu::emit_asm(&nest, &target).expect("compiles");
            let has = |what: &str| asm.contains(&format!("{what} {vector}"));
            assert!(has("vbroadcastss") && has("vmulps"), "{asm}");
            let spilled = asm.lines().any(|l| l.contains(vector) && l.contains("[rsp"));
            assert!(!spilled, "{asm}");
        }
    }
}

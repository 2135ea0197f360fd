use rooftile_artifact::program::{Bindings, BufferDecl, Mode, Step, TensorParam};
use rooftile_artifact::{DType, HostExpr, HostTensor, Program, Scalar};

use super::super::build::Builder;
use super::super::ir::{BinaryOp, BufferId, ExprId, LoopKind, Module, Nest, Space, Stmt};
use super::super::verify::verify_module;
use super::{InterpError, run};

/// A nest over a size `n`, an input `x` and an output `y` of `n` floats.
fn over_n(body: impl FnOnce(&mut Builder, ExprId, BufferId, BufferId)) -> Nest {
    let mut b = Builder::new("t");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::F32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::F32, &[n], Space::Global(1));
    body(&mut b, n, x, y);
    b.finish()
}

fn module(nest: Nest, steps: Vec<Step>) -> Module {
    let tensor = |name: &str, mode| TensorParam { name: name.to_owned(), mode, contracts: Vec::new() };
    let decl = |name: &str| BufferDecl {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: vec![HostExpr::Size(0)],
        packed: None,
    };
    let program = Program {
        name: "t".to_owned(),
        sizes: vec!["n".to_owned()],
        scalars: Vec::new(),
        params: vec![tensor("x", Mode::InOut), tensor("y", Mode::Out)],
        buffers: vec![decl("x"), decl("y")],
        requires: Vec::new(),
        kernels: Vec::new(),
        step_vars: 1,
        prepare: Vec::new(),
        steps,
    };
    Module { program, nests: vec![nest] }
}

fn launch() -> Step {
    Step::Launch { kernel: 0, buffers: vec![0, 1], sizes: vec![HostExpr::Size(0)], scalars: Vec::new() }
}

fn result(nest: Nest, steps: Vec<Step>) -> Result<Vec<HostTensor>, InterpError> {
    let module = verify_module(module(nest, steps)).expect("keeps the rules");
    let x = HostTensor::from_fn(DType::F32, &[6], |i| Scalar::Float(i as f64)).expect("small");
    run(&module, &Bindings { sizes: vec![6], scalars: Vec::new() }, &[Some(x), None])
}

/// `y[i] = x[i + shift] + 1` over chunks of one element.
fn shifted(shift: i64) -> Nest {
    over_n(|b, n, x, y| {
        let zero = b.int(0);
        let (core, i) = b.core_loop("i", (zero, n, 1));
        let at = b.add_int(i, shift);
        let v = b.load(x, &[at]);
        let one = b.constant(Scalar::Float(1.0), DType::F32);
        let v = b.add(v, one);
        let store = b.store(y, &[i], v);
        b.add_phase(vec![core], vec![store]);
    })
}

#[test]
fn repeats_and_swaps() {
    let repeat =
        Step::Repeat { var: 0, lo: 0.into(), hi: 3.into(), swaps: vec![(0, 1)], body: vec![launch()] };
    let out = result(shifted(0), vec![repeat]).expect("runs");
    // Three passes: the newest data carries the first name of the pair.
    assert_eq!((out[0].get(2), out[1].get(2)), (Scalar::Float(5.0), Scalar::Float(4.0)));
}

#[test]
fn accesses_outside_are_found() {
    assert!(
        matches!(result(shifted(1), vec![launch()]), Err(InterpError::OutOfBounds { index, .. }) if index == [6])
    );
}

#[test]
fn reads_of_nothing_are_found() {
    let nest = over_n(|b, n, x, y| {
        let zero = b.int(0);
        let local = b.add_buffer("tmp", DType::F32, &[n], Space::Local);
        let first = b.load(x, &[zero]);
        let write = b.store(local, &[zero], first);
        let last = b.add_int(n, -1);
        let v = b.load(local, &[last]);
        let copy = b.store(y, &[zero], v);
        b.add_phase(Vec::new(), vec![write, copy]);
    });
    assert!(
        matches!(result(nest, vec![launch()]), Err(InterpError::Undefined { cause, .. }) if cause.contains("tmp"))
    );
}

#[test]
fn races_of_chunks_are_found() {
    // Chunk i writes x[i] and reads x[i + 1], which chunk i + 1 writes.
    let nest = over_n(|b, n, x, y| {
        let zero = b.int(0);
        let end = b.add_int(n, -1);
        let (core, i) = b.core_loop("i", (zero, end, 1));
        let next = b.add_int(i, 1);
        let v = b.load(x, &[next]);
        let store = b.store(x, &[i], v);
        let copy = b.store(y, &[i], v);
        b.add_phase(vec![core], vec![store, copy]);
    });
    let found = result(nest, vec![launch()]);
    assert!(matches!(found, Err(InterpError::Race { who, .. }) if who == "chunks"));
}

#[test]
fn races_of_lanes_are_found() {
    let nest = over_n(|b, _, x, y| {
        let (zero, four) = (b.int(0), b.int(4));
        let body = b.for_loop(LoopKind::Lanes, "l", (zero, four, 1), |b, l| {
            let v = b.load(x, &[l]);
            vec![b.store(y, &[zero], v)]
        });
        b.add_phase(Vec::new(), vec![body]);
    });
    assert!(
        matches!(result(nest, vec![launch()]), Err(InterpError::Race { who, .. }) if who == "lanes or threads")
    );
}

/// Chunks and threads that update one element by atomics; with `reads` each also reads it.
fn updates(by_threads: bool, reads: bool) -> Result<Vec<HostTensor>, InterpError> {
    let mut b = Builder::new("t");
    let n = b.add_size("n");
    let x = b.add_buffer("x", DType::I32, &[n], Space::Global(0));
    let y = b.add_buffer("y", DType::I32, &[n], Space::Global(1));
    let zero = b.int(0);
    let pass = |b: &mut Builder, i: ExprId| {
        let two = b.constant(Scalar::Int(2), DType::I32);
        let mut body =
            vec![Stmt::Atomic { op: BinaryOp::Add, buffer: x, index: vec![zero], value: two, old: None }];
        if reads {
            let v = b.load(x, &[zero]);
            body.push(b.store(y, &[i], v));
        }
        body
    };
    if by_threads {
        let three = b.int(3);
        let kind = LoopKind::Threads { count: 3 };
        let body = b.for_loop(kind, "t", (zero, three, 1), pass);
        b.add_phase(Vec::new(), vec![body]);
    } else {
        let (core, i) = b.core_loop("i", (zero, n, 1));
        let body = pass(&mut b, i);
        b.add_phase(vec![core], body);
    }
    let mut module = module(b.finish(), vec![launch()]);
    module.program.buffers.iter_mut().for_each(|b| b.dtype = DType::I32);
    let module = verify_module(module).expect("keeps the rules");
    let x = HostTensor::from_fn(DType::I32, &[6], |_| Scalar::Int(1)).expect("small");
    run(&module, &Bindings { sizes: vec![6], scalars: Vec::new() }, &[Some(x), None])
}

#[test]
fn atomic_updates_race_only_with_plain_accesses() {
    for (by_threads, who, sum) in [(true, "lanes or threads", 7), (false, "chunks", 13)] {
        let out = updates(by_threads, false).expect("runs");
        assert_eq!(out[0].get(0), Scalar::Int(sum));
        assert!(
            matches!(updates(by_threads, true), Err(InterpError::Race { who: found, .. }) if found == who)
        );
    }
}

#[test]
fn lanes_of_one_thread_do_not_race_with_themselves() {
    let nest = over_n(|b, _, x, y| {
        let (zero, two, three) = (b.int(0), b.int(2), b.int(3));
        let body = b.for_loop(LoopKind::Threads { count: 2 }, "t", (zero, two, 1), |b, t| {
            vec![b.for_loop(LoopKind::Serial, "k", (zero, three, 1), |b, k| {
                vec![b.for_loop(LoopKind::Lanes, "l", (zero, two, 1), |b, l| {
                    let i = b.mul_int(t, 2);
                    let i = b.add(i, l);
                    let v = b.load(x, &[k]);
                    vec![b.store(y, &[i], v)]
                })]
            })]
        });
        b.add_phase(Vec::new(), vec![body]);
    });
    assert!(result(nest, vec![launch()]).is_ok());
}

#[test]
fn unwritten_arms_of_a_select_do_not_matter() {
    let nest = over_n(|b, _, x, y| {
        let (zero, two) = (b.int(0), b.int(2));
        let r = b.add_buffer("r", DType::F32, &[two], Space::Register);
        let v = b.load(x, &[two]);
        let write = b.store(r, &[zero], v);
        let one = b.int(1);
        let (a, c) = (b.load(r, &[zero]), b.load(r, &[one]));
        let size = b.size(0);
        let always = b.lt(zero, size);
        let v = b.select(always, a, c);
        let copy = b.store(y, &[zero], v);
        b.add_phase(Vec::new(), vec![write, copy]);
    });
    let fill = Step::Fill { buffer: 1, value: 0.into() };
    let out = result(nest, vec![fill, launch()]).expect("runs");
    assert_eq!(out[1].get(0), Scalar::Float(2.0));
}

/// `y` in rows of three is the product of `x` in rows of two and of `x` turned, plus 1, by one subgroup.
fn product(b: &mut Builder, x: BufferId, y: BufferId, shift: i64, twice: bool) {
    let (zero, one, two, three) = (b.int(0), b.int(1), b.int(2), b.int(3));
    let tile = b.add_buffer("tile", DType::F32, &[three, two], Space::Shared);
    let out = b.add_buffer("out", DType::F32, &[three, three], Space::Shared);
    let left = b.add_buffer("left", DType::F32, &[three, two], Space::Matrix);
    let right = b.add_buffer("right", DType::F32, &[two, three], Space::Matrix);
    let acc = b.add_buffer("acc", DType::F32, &[three, three], Space::Matrix);
    let copy = b.for_loop(LoopKind::Serial, "i", (zero, three, 1), |b, i| {
        let row = b.mul_int(i, 2);
        let next = b.add(row, one);
        let [first, second] = [row, next].map(|at| b.load(x, &[at]));
        vec![b.store(tile, &[i, zero], first), b.store(tile, &[i, one], second)]
    });
    let start = b.constant(Scalar::Float(1.0), DType::F32);
    // A corner that the verifier does not know.
    let size = b.size(0);
    let corner = b.add_int(size, shift - 6);
    let work = b.subgroups(1, "g", |b, _| {
        let store = b.store_matrix((acc, &[]), (out, &[zero, zero]), (0, 1));
        let mut body = vec![
            b.fill_matrix((acc, &[]), start),
            b.load_matrix((left, &[]), (tile, &[corner, zero]), (0, 1)),
            b.load_matrix((right, &[]), (tile, &[corner, zero]), (1, 0)),
            b.multiply_add((acc, &[]), (left, &[]), (right, &[])),
            store.clone(),
        ];
        body.extend(twice.then_some(store));
        body
    });
    let [sum, corner] = [[one, two], [zero, zero]].map(|at| b.load(out, &at));
    let back = vec![b.store(y, &[zero], sum), b.store(y, &[one], corner)];
    b.add_phase(Vec::new(), [copy, work].into_iter().chain(back).collect());
}

#[test]
fn products_of_matrices() {
    let fill = || Step::Fill { buffer: 1, value: 0.into() };
    let run = |shift, twice| {
        let nest = over_n(|b, _, x, y| product(b, x, y, shift, twice));
        result(nest, vec![fill(), launch()])
    };
    let out = run(0, false).expect("runs");
    // Rows (2, 3) and (4, 5) of 0, 1, .., 5: 1 + 2 * 4 + 3 * 5; and (0, 1) with itself.
    assert_eq!((out[1].get(0), out[1].get(1)), (Scalar::Float(24.0), Scalar::Float(2.0)));
    assert!(matches!(run(1, false), Err(InterpError::OutOfBounds { index, .. }) if index == [3, 0]));
    // Two statements write one element, each by threads of its own choice.
    assert!(matches!(run(0, true), Err(InterpError::Race { buffer, .. }) if buffer == "out"));
}

#[test]
fn races_of_subgroups_are_found() {
    let nest = over_n(|b, _, _, y| {
        let (zero, two) = (b.int(0), b.int(2));
        let out = b.add_buffer("out", DType::F32, &[two, two], Space::Shared);
        let m = b.add_buffer("m", DType::F32, &[two, two, two], Space::Matrix);
        let work = b.subgroups(2, "g", |b, g| {
            let v = b.cast(DType::F32, g);
            let fill = b.fill_matrix((m, &[g]), v);
            vec![fill, b.store_matrix((m, &[g]), (out, &[zero, zero]), (0, 1))]
        });
        let v = b.load(out, &[zero, zero]);
        let store = b.store(y, &[zero], v);
        b.add_phase(Vec::new(), vec![work, store]);
    });
    let found = result(nest, vec![launch()]);
    assert!(matches!(&found, Err(InterpError::Race { buffer, .. }) if buffer == "out"), "{found:?}");
}

//! What is fetched ahead.

use super::*;

const GATHER: &str = "kernel gather(A: in f32[M,N], ix: in i32[N] range 0..N, y: out f32[M], z: out f32[M]) {
  for i in tiles(M; bi) with k in N {
    y[i] = sum[k](A[i,k] * A[i,ix[k]])
    z[i] = 1.0
  }
}";

fn is_prefetch(s: &Stmt) -> bool {
    matches!(s, Stmt::Prefetch { .. })
}

#[test]
fn what_a_loop_reads_is_fetched_ahead_and_changes_nothing() {
    let plans = [
        ("prefetch(A, 3)", 2),
        ("prefetch(ix, 1024) prefetch(A, 1)", 3),
        ("vector(k, 8) unroll(i, 2) prefetch(A, 2) prefetch(ix, 5)", 20),
        ("tile(k, 16) order(k.0, i, k.1) vector(k, 4) prefetch(A, 2)", 5),
        ("parallel(i) prefetch(A, 0) prefetch(ix, 0)", 0),
    ];
    for (verbs, least) in plans {
        let at = kernel(GATHER);
        let module = agrees(&cpu(), (&at.0, at.1), &written(verbs, &cpu()), &[1, 9, 21]);
        let found = count(&module.nests[0].phases, is_prefetch);
        assert!(found >= least && (least > 0 || found == 0), "{verbs}: {found}\n{}", module.nests[0]);
        let asked = module.nests[0].buffers.iter().filter(|(_, b)| b.own_prefetch).count();
        assert_eq!(asked, verbs.matches("prefetch").count());
    }
}

#[test]
fn what_cannot_be_fetched_ahead_is_refused() {
    let refused_of = |text: &str, verbs: &str| {
        let (file, id) = kernel(text);
        let errors = lower(&file, id, &written(verbs, &cpu()), &cpu()).expect_err("refused");
        let text = |d: &Diagnostic| format!("{} {}\n", d.code, d.message);
        errors.iter().map(text).collect::<String>()
    };
    let refused = |verbs: &str| refused_of(GATHER, verbs);
    insta::assert_snapshot!(refused("prefetch(z, 1)"), @"E0504 `z` cannot be fetched ahead: nothing reads it");
    insta::assert_snapshot!(refused("prefetch(A, 1025)"), @"E0504 `A` is fetched 0 to 1024 passes ahead");
    let copy = "kernel copy(A: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = A[i] } }";
    insta::assert_snapshot!(refused_of(copy, "parallel(i) prefetch(A, 1)"), @"E0504 `A` cannot be fetched ahead: no loop on one core moves along it in a way that can be told ahead");
    insta::assert_snapshot!(refused("unroll(i, 8) vector(k, 64) prefetch(A, 1)"), @"E0504 `A` cannot be fetched ahead: a pass of the loop along it reads too many lines");
}

#[test]
fn kernels_of_a_pipeline_that_do_not_read_a_tensor_leave_it_alone() {
    let text = "
kernel twice(X: in f32[N], T: out f32[N]) { for i in tiles(N; b) { T[i] = X[i] * 2.0 } }
kernel thrice(T: in f32[N], Y: out f32[N]) { for i in tiles(N; b) { Y[i] = T[i] * 3.0 } }
pipeline both(X: in f32[N], Y: out f32[N]) { buf T: f32[N]  twice(X, T)  thrice(T, Y) }";
    let (ast, errors) = crate::syntax::parse(text);
    assert!(errors.is_empty(), "{errors:?}");
    let (file, errors) = check(&ast);
    assert!(!crate::diag::has_errors(&errors), "{errors:?}");
    let id = file.funcs.handles().find(|f| file.funcs[*f].name == "both").expect("a pipeline");
    let module = lower(&file, id, &written("prefetch(T, 2)", &cpu()), &cpu()).expect("one of them reads it");
    let found: Vec<usize> = module.nests.iter().map(|n| count(&n.phases, is_prefetch)).collect();
    assert_eq!(found, [0, 1]);
    assert!(lower(&file, id, &written("prefetch(Y, 2)", &cpu()), &cpu()).is_err());
}

/// Rows of a compressed matrix, weights of four bits and many products by the cost model; `x[ci[e]]` is no stream.
#[test]
fn defaults_ask_ahead_where_the_processor_does_not() {
    let target = Target::from(CpuTarget { vector_bytes: 64, ..CpuTarget::default() });
    let of = |file: &File, id: FuncId| {
        let allow = Allow { reassoc: true, ..Allow::default() };
        let plan = default_plan(file, id, allow, &target).expect("a default");
        let verbs = plan.verbs.into_iter().filter_map(|v| match v {
            Verb::Prefetch { tensor, passes: Amount::Int(n) } => Some((tensor, n)),
            _ => None,
        });
        verbs.collect::<Vec<_>>()
    };
    let asked = |name: &str| {
        let (_, file) = samples().into_iter().find(|(n, _)| n == name).expect("an example");
        of(&file, entries(&file)[0])
    };
    let named = |all: &[(&str, i64)]| all.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(asked("spmv.tile"), named(&[("va", 256), ("ci", 256)]));
    let text = "kernel gemv(W: in u4[M,K] packed(1), S: in f32[M,K/G], x: in f32[K], y: out f32[M]) where K % G == 0 {
      for i in tiles(M; b) {
        var s: f32[i] = 0.0
        for k in tiles(K; c) {
          let w = (f32(W[i,k]) - 8.0) * S[i,k/G]
          s += dot[k](w, x[k])
        }
        y[i] = s
      }
    }";
    let (weights, id) = kernel(text);
    assert_eq!(of(&weights, id), named(&[("W", 1024)]));
    assert_eq!(asked("batched_matmul.tile"), named(&[("B", 16), ("A", 512)]));
    assert_eq!(asked("gemv.tile"), named(&[]));
}

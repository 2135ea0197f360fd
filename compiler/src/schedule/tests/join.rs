//! Kernels of a pipeline that become one.

use super::*;

/// The pipeline of a text.
fn pipeline(text: &str) -> (File, FuncId) {
    let (ast, errors) = crate::syntax::parse(text);
    assert!(errors.is_empty(), "{errors:?}");
    let (file, errors) = check(&ast);
    assert!(!crate::diag::has_errors(&errors), "{errors:?}");
    let id = file.funcs.handles().find(|f| file.funcs[*f].kind == FuncKind::Pipeline).expect("a pipeline");
    (file, id)
}

/// Rows of sums, what is done with them, and a kernel over more axes.
const ROWS: &str = "
kernel squares(X: in f32[M,N], T: out f32[M,N], s: out f32[M], a: f32) {
  for i in tiles(M; bi) with j in N {
    let x = X[i,j] * a
    T[i,j] = x * x
    s[i] = sum[j](x)
  }
}
kernel scaled(T: in f32[R,C], s: in f32[R], X: in f32[R,C], Y: out f32[R,C]) {
  for (r, c) in tiles(R, C; br, bc) { Y[r,c] = T[r,c] / (1.0 + s[r] * s[r]) + X[r,c] }
}
kernel columns(Y: in f32[R,C], W: in f32[C,K], Z: out f32[R,K]) {
  for (r, k) in tiles(R, K; br, bk) { Z[r,k] = sum[c in C](Y[r,c] * W[c,k]) }
}
pipeline rows(X: in f32[M,N], W: in f32[N,K], Y: out f32[M,N], Z: out f32[M,K], a: f32) {
  buf T: f32[M,N]
  buf s: f32[M]
  squares(X, T, s, a)
  scaled(T, s, X, Y)
  columns(Y, W, Z)
}";

/// Two kernels of a repeat, one of them in place, and one that has nothing to do with them.
const STEPS: &str = "
kernel push(x: in f32[N], v: inout f32[N], dt: f32) { for i in tiles(N; b) { v[i] = v[i] - x[i] * dt } }
kernel drift(x: inout f32[P], v: in f32[P], dt: f32) { for p in tiles(P; b) { x[p] = x[p] + v[p] * dt } }
pipeline steps(x: inout f32[N], v: inout f32[N], T: i32, dt: f32) {
  repeat t in 0..T { push(x, v, dt)  drift(x, v, dt * 0.5) }
}";

#[test]
fn joined_kernels_do_what_both_do() {
    let plans = [
        (ROWS, "fuse(squares, scaled)", 2),
        (ROWS, "fuse(squares, scaled) parallel(i) vector(j, 4)", 2),
        (ROWS, "fuse(scaled, columns) tile(c, 4) vector(k, 4)", 2),
        (ROWS, "fuse(squares, scaled, columns) parallel(i)", 1),
        (ROWS, "fuse(squares, scaled) layout(Y, transpose) unroll(i, 2) vector(j, 4)", 3),
        // Other points of a row are no other row.
        (&ROWS.replace("T[r,c] /", "T[r,C-1-c] /"), "fuse(squares, scaled) parallel(i)", 2),
        (STEPS, "fuse(push, drift)", 1),
        (STEPS, "fuse(push, drift) parallel(i) vector(i, 8)", 1),
    ];
    for (text, verbs, kernels) in plans {
        let (file, id) = pipeline(text);
        for target in [cpu(), gpu()] {
            let choice = written(verbs, &target);
            let module = agrees(&target, (&file, id), &choice, &[1, 5, 9, 20]);
            assert_eq!(module.nests.len(), kernels, "{verbs}");
            let joined = module.nests.iter().find(|n| n.name.contains('_')).expect("a joined kernel");
            assert_eq!(joined.phases.len(), 1, "{verbs}\n{joined}");
        }
    }
}

#[test]
fn a_buffer_that_only_they_touch_is_a_value() {
    let (file, id) = pipeline(ROWS);
    let module = lower(&file, id, &written("fuse(squares, scaled)", &cpu()), &cpu()).expect("one kernel");
    insta::assert_snapshot!(module.nests[0].to_string(), @r"
    nest squares_scaled(M, N; a: f32)
      global 0 X: f32[M, N]
      global 1 Y: f32[M, N]
      register sum: f32[]
      local T: f32[N]
    phase 0
      for i in 0..M
        sum[] = 0.0
        for j in 0..N
          let x: f32 = (X[i, j] * a)
          T[j] = (x * x)
          sum[] = (sum[] + x)
        let s: f32 = sum[]
        for j'2 in 0..N
          Y[i, j'2] = ((T[j'2] / (1.0 + (s * s))) + X[i, j'2])
    ");
    // What somebody else reads stays in memory.
    let (file, id) = pipeline(&ROWS.replace("columns(Y, W, Z)", "columns(T, W, Z)"));
    let module = lower(&file, id, &written("fuse(squares, scaled)", &cpu()), &cpu()).expect("one kernel");
    let global = |name: &str| {
        module.nests[0]
            .buffers
            .iter()
            .any(|(_, b)| b.name == name && b.space == crate::nest::ir::Space::Global(1))
    };
    assert!(global("T"), "{}", module.nests[0]);
}

#[test]
fn kernels_that_cannot_be_one_are_refused() {
    let refused = |text: &str, verbs: &str| {
        let (file, id) = pipeline(text);
        let errors = lower(&file, id, &written(verbs, &cpu()), &cpu()).expect_err(verbs);
        let text = |d: &Diagnostic| format!("{} {}\n", d.code, d.message);
        errors.iter().map(text).collect::<String>()
    };
    insta::assert_snapshot!(refused(ROWS, "fuse(squares, columns)"), @"E0504 `squares` and `columns` cannot be fused: they are not called one after the other");
    insta::assert_snapshot!(refused(&ROWS.replace("T[r,c] /", "T[R-1-r,c] /"), "fuse(squares, scaled)"), @"E0504 `squares` and `scaled` cannot be fused: `T` is not read and written at the same points of `i` only");
    insta::assert_snapshot!(refused(&STEPS.replace("- x[i]", "- x[N-1-i]"), "fuse(push, drift)"), @"E0504 `push` and `drift` cannot be fused: `x` is not read and written at the same points of `i` only");
    let other = STEPS
        .replace(
            "kernel drift",
            "kernel other(y: inout f32[N]) { for i in tiles(N; b) { y[i] = y[i] + 1.0 } }\nkernel drift",
        )
        .replace("push(x, v, dt)  drift(x, v, dt * 0.5)", "push(x, v, dt)  other(x)  drift(x, v, dt)");
    insta::assert_snapshot!(refused(&other, "fuse(push, drift)"), @"E0504 `push` and `drift` cannot be fused: they are not called one after the other");
    let turned = "
kernel one(x: in f32[N,N], y: out f32[N,N]) { for (i, j) in tiles(N, N; b, b) { y[i,j] = x[i,j] + 1.0 } }
kernel two(x: in f32[N,N], y: out f32[N,N]) { for (i, j) in tiles(N, N; b, b) { y[i,j] = x[i,j] * 2.0 } }
pipeline turned(x: in f32[N,N], z: out f32[N,N]) {
  buf y: f32[N,N]
  one(x, y)
  two(permute(y, 1, 0), z)
}";
    insta::assert_snapshot!(refused(turned, "fuse(one, two)"), @"E0504 `one` and `two` cannot be fused: they see `y` by different views");
    let shorter = "
kernel one(x: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i] + 1.0 } }
kernel two(x: in f32[N], y: out f32[N-1]) { for i in tiles(N-1; b) { y[i] = x[i] * 2.0 } }
pipeline shorter(x: in f32[N], z: out f32[N-1]) { buf y: f32[N]  one(x, y)  two(y, z) }";
    insta::assert_snapshot!(refused(shorter, "fuse(one, two)"), @"E0504 `one` and `two` cannot be fused: `i` and `i` do not run over the same points");
    let bounds = "
kernel ends(n: in i32[R] range 0..C, e: out i32[R]) { for r in tiles(R; b) { e[r] = n[r] } }
kernel sums(e: in i32[R] range 0..C, x: in f32[R,C], y: out f32[R]) {
  for r in tiles(R; b) { y[r] = sum[c in 0..e[r]](x[r,c]) }
}
pipeline rows(n: in i32[R] range 0..C, x: in f32[R,C], y: out f32[R]) {
  buf e: i32[R]
  ends(n, e)
  sums(e, x, y)
}";
    insta::assert_snapshot!(refused(bounds, "fuse(ends, sums)"), @"E0504 `ends` and `sums` cannot be fused: the bounds of `c` are read from `e`, which the other one writes");
    let apart = "
kernel one(x: in f32[N], y: out f32[N]) { for i in tiles(N; b) { y[i] = x[i] + 1.0 } }
pipeline apart(x: in f32[N], y: out f32[N], z: out f32[N]) { one(x, y)  one(x, z) }";
    insta::assert_snapshot!(refused(apart, "fuse(one, one)"), @"E0504 `one` and `one` cannot be fused: no axis is the same in a tensor that one of them writes and the other touches");
}

#[test]
fn kernels_that_can_be_one_are_found() {
    let (file, id) = pipeline(ROWS);
    let found = anchors::anchors(&file, id).joinable;
    let names: Vec<[&str; 2]> = found.iter().map(|p| [p[0].as_str(), p[1].as_str()]).collect();
    assert_eq!(names, [["squares", "scaled"], ["scaled", "columns"]]);
    let (file, id) = pipeline(STEPS);
    assert_eq!(anchors::anchors(&file, id).joinable.len(), 1);
}

//! Copies of what shifted reads see, and of what is read at numbers.

use super::*;
use crate::nest::ir::Space;

/// A convolution whose image has an edge rule, or room for what lies beyond.
fn convolution(edge: &str, read: &str) -> (File, FuncId) {
    kernel(&format!(
        "kernel convolution(X: in f32[C,{edge}, Wt: in f32[K,C,3,4], Y: out f32[K,H,W]) {{
          for (k, y, x) in tiles(K, H, W; bk, by, bx) with r in 3, s in 4 {{
            var acc: f32[k,y,x] = 0.0
            for c in tiles(C; bc) {{ acc += sum[c,r,s](Wt[k,c,r,s] * {read}) }}
            Y[k,y,x] = acc
          }}
        }}"
    ))
}

/// Whether there is a copy in scratch memory.
fn copied(module: &Module, name: &str) -> usize {
    let copy = |b: &crate::nest::ir::Buffer| b.space == Space::Local && b.name.starts_with(name);
    module.nests[0].buffers.iter().filter(|(_, b)| copy(b)).count()
}

#[test]
fn windows_of_shifted_reads_are_copied_with_their_edges() {
    let shifted = "X[c, y + r - 1, x + s - 1]";
    let images = [
        ("H,W] edge const(0.5)", shifted),
        ("H,W] edge wrap", shifted),
        ("H,W] edge clamp", shifted),
        ("H,W] edge reflect", shifted),
        ("H,W] edge symmetric", shifted),
        ("H,W] edge wrap", "X[c, y - 5 + r, x + 4 - s]"),
        ("H,W] edge const(0.5)", "(X[c, y + r - 1, x + s - 1] - X[c, y, x])"),
        ("H+2,W+4]", "X[c, y + r, x + s]"),
        ("H+2,W+4]", "(X[c, y + r, x + s] + X[c, y + 1, x + 4])"),
        ("H,W] edge const(0.5)", "X[c, 2 * y + r - 1, 3 * x + s - 1]"),
        ("H,W] edge reflect", "X[c, 2 * (y - 1) + r, x + s - 1]"),
        ("H,W] edge wrap", "X[c, y - r, x * 2 + s - 1]"),
        ("H,W] edge clamp", "(X[c, 2 * y + r, 2 * x - s] - X[c, 2 * y, 2 * x + 1])"),
        ("2*H+1,W*3+1]", "X[c, 2 * y + r, 3 * x + s]"),
        ("3*H,4*W]", "X[c, 3 * y + r, x * 4 + s]"),
    ];
    let plans = [
        "tile(y, 3) order(k, y.0, y.1, x, c) stage(X, at = y.0) vector(k, 4) unroll(x, 3) unroll(s)",
        "tile(y, 2) tile(x, 8) order(y.0, x.0, k, y.1, x.1) parallel(y) stage(X, at = x.0) unroll(x, 4)",
        "order(k, y, x) stage(X, at = k) vector(x, 8)",
        "tile(c, 2) order(k, c.0, y, x) stage(X, at = c.0) vector(k, 4)",
        "tile(k, 8) tile(y, 4) order(k.0, y.0, k.1, y.1) stage(X, at = y.0) stage(Wt, at = k.0, layout = panel(8)) vector(k, 8)",
    ];
    for (edge, read) in images {
        for verbs in plans {
            let (file, id) = convolution(edge, read);
            let choice = written(verbs, &cpu());
            let module = agrees(&cpu(), (&file, id), &choice, &[9, 17]);
            assert_eq!(copied(&module, "x"), 1, "{edge} {read} {verbs}\n{}", module.nests[0]);
            // Around no points there is nothing.
            for sizes in [[2, 0, 3, 1], [2, 3, 0, 1], [1, 1, 1, 1], [0, 2, 2, 3]] {
                let inputs = cases::inputs_at(&file, id, &sizes, 1).expect("inputs");
                assert_eq!(judge(&file, id, &choice, &inputs), Ok(()), "{edge} {read} {verbs} {sizes:?}");
            }
        }
    }
}

/// A window has one stride along each axis.
#[test]
fn reads_of_other_strides_see_the_tensor() {
    let (file, id) = convolution("H,W] edge clamp", "(X[c, 2 * y + r, x + s] - X[c, y + r, x + s])");
    let choice = written("order(k, y, x) stage(X, at = k)", &cpu());
    let module = agrees(&cpu(), (&file, id), &choice, &[9]);
    let text = module.nests[0].to_string();
    assert_eq!((copied(&module, "x"), text.contains("(X[c'2, min(max(((y * 2) + r)")), (1, true), "{text}");
}

/// Only the condition says that these reads are inside.
#[test]
fn windows_that_may_leave_their_tensor_are_refused() {
    let (file, id) = convolution("H,W]", "select(x + s < W, X[c, y, x + s], 0.0)");
    let choice = written("order(k, y, x) stage(X, at = k)", &cpu());
    assert!(lower(&file, id, &choice, &cpu()).is_err());
}

const GATES: &str = "kernel gates(R: in f32[2,N,N], x: in f32[M,N], y: out f32[S,M,N]) {
  for i in tiles(M; bi) with d in N, p in N {
    seq t in 0..S carry (h: f32[i,d] = x[i,d]) {
      let a = dot[p](h[i,p], R[0,p,d])
      let b = dot[p](h[i,p], R[1,p,d])
      let n = tanh(0.25 * a) * sigmoid(b)
      y[t,i,d] = n
      next h = n
    }
  }
}";

/// Each number has a copy of its own, made once for all steps; loops that are asked to be inside those of a step are.
#[test]
fn operands_of_all_steps_are_copied_once() {
    let (file, id) = kernel(GATES);
    let plans = [
        (
            "tile(i, 8) order(i.0, d, i.1, p) vector(d, 4) unroll(i, 2) stage(R, at = i.0, layout = panel(4))",
            2,
        ),
        ("tile(i, 4) order(i.0, d, i.1) stage(R, at = i.0)", 2),
        ("stage(R, at = p)", 2),
    ];
    for (verbs, copies) in plans {
        let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[9, 12]);
        assert_eq!(copied(&module, "r"), copies, "{verbs}\n{}", module.nests[0]);
    }
}

/// Channels as lanes, since the image is read at shifted places.
#[test]
fn convolutions_have_lanes_along_what_is_not_shifted() {
    let (_, file) = samples().into_iter().find(|(n, _)| n == "conv2d.tile").expect("an example");
    let id = file.entry("conv2d").expect("a kernel");
    let allow = Allow { reassoc: true, contract: true, ..Allow::default() };
    for (vector_bytes, expected) in
        [(64, ["vector(k, 32)", "unroll(x, 8)"]), (32, ["vector(k, 16)", "unroll(x, 4)"])]
    {
        let mut cpu = CpuTarget { vector_bytes, threads: 2, ..CpuTarget::default() };
        cpu.features.fma = true;
        let plan = default_plan(&file, id, allow, &cpu.into()).expect("a plan");
        let verbs: Vec<String> = plan.verbs.iter().map(print::verb_text).collect();
        let always = ["unroll(s, 3)", "stage(X, at = x.0, in = local)", "parallel(b, k)"];
        for verb in expected.iter().chain(&always) {
            assert!(verbs.iter().any(|v| v == verb), "{verb}: {verbs:?}");
        }
    }
}

/// As the image of a convolution with strides, whose window has more points than the results.
#[test]
fn strided_convolutions_copy_windows() {
    let (file, id) = convolution("H,W] edge const(0.0)", "X[c, 2 * y + r - 1, 2 * x + s - 1]");
    let allow = Allow { reassoc: true, contract: true, ..Allow::default() };
    let plan = default_plan(&file, id, allow, &CpuTarget::default().into()).expect("a plan");
    let verbs: Vec<String> = plan.verbs.iter().map(print::verb_text).collect();
    for verb in ["stage(X, at = x.0, in = local)", "vector(k, 8)"] {
        assert!(verbs.iter().any(|v| v == verb), "{verb}: {verbs:?}");
    }
}

/// Plans that are drawn have windows, on a CPU.
#[test]
fn windows_are_drawn() {
    let (file, id) = convolution("H,W] edge const(0.0)", "X[c, 2 * y + r - 1, x + s - 1]");
    let found = anchors::anchors(&file, id);
    let near = |a: &anchors::Anchors| a.tensors.iter().map(|t| t.windows_by.clone()).collect::<Vec<_>>();
    assert_eq!(near(&found).concat(), ["c", "y", "x"]);
    assert!(near(&found.clone().on(&gpu())).concat().is_empty());
    let (mut rng, mut copies) = (SplitMix::new(5), 0);
    let mut pick = |n: usize| usize::try_from(rng.next_u64() % n as u64).unwrap_or(0);
    for _ in 0..200 {
        let plan = draw::random_plan(&found, &mut pick);
        let allow = Allow { reassoc: true, ..Allow::default() };
        let choice = Choice::Planned { plan, assignment: BTreeMap::new(), allow };
        copies += lower(&file, id, &choice, &cpu()).map_or(0, |module| copied(&module, "x"));
    }
    assert!(copies > 3, "{copies}");
}

/// What stands in an arm that is not chosen reads the copy where it has something, which is rarely at 0.
#[test]
fn arms_that_are_not_chosen_read_inside_of_windows() {
    let (file, id) = kernel(
        "kernel step(u: in f32[H,W] edge clamp, v: out f32[H,W]) {
          for (y, x) in tiles(H, W; by, bx) {
            let c = u[y,x]
            let lap = u[y-1,x] + u[y+1,x] + u[y,x-1] + u[y,x+1] - 4.0 * c
            v[y,x] = select(y > 0 && y < H - 1 && x > 0 && x < W - 1, c + 0.2 * lap, c)
          }
        }",
    );
    for verbs in [
        "tile(y, 4) parallel(y) tile(x, 8) stage(u, at = x.0) recompute(lap) vector(x, 4)",
        "tile(y, 3) stage(u, at = y.0) recompute(lap)",
    ] {
        let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[13, 21]);
        assert_eq!(copied(&module, "u"), 1, "{verbs}");
    }
}

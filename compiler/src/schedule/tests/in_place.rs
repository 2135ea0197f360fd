//! Sums that start with their first part, and that are made in the tensor that takes them.

use super::*;

/// A product whose sums become `end`, and start as `start`.
fn product(start: &str, end: &str) -> (File, FuncId) {
    kernel(&format!(
        "kernel product(A: in f32[M,K], B: in f32[K,N], v: in f32[N], C: out f32[M,N], D: out f32[N,M]) {{
          for (i, j) in tiles(M, N; bi, bj) {{
            var acc: f32[i,j] = {start}
            for k in tiles(K; 4) {{ acc += dot[k](A[i,k], B[k,j]) }}
            {end}
          }}
        }}"
    ))
}

/// Whether there is scratch memory for the sums, and how many of its stores are a literal.
fn made(module: &Module) -> (bool, usize) {
    let nest = &module.nests[0];
    let local = |b: &crate::nest::ir::Buffer| b.space == crate::nest::ir::Space::Local && b.name == "acc";
    let literal = |s: &Stmt| match s {
        Stmt::Store { buffer, value, .. } => {
            let place = &nest.buffers[*buffer];
            place.space != crate::nest::ir::Space::Register
                && matches!(nest.exprs[*value].kind, crate::nest::ir::ExprKind::Const(_))
        }
        _ => false,
    };
    (nest.buffers.iter().any(|(_, b)| local(b)), count(&nest.phases, literal))
}

#[test]
fn sums_are_made_where_they_end_up() {
    let plain = "C[i,j] = acc  D[j,i] = 0.5";
    let verbs = "order(i.0, j.0, k.0, i.1, j.1, k.1) vector(j, 4) unroll(i, 2)";
    let cases = [
        // Start, end, schedule, and whether the sums have memory of their own.
        ("0.0", plain, verbs, false),
        ("v[j]", plain, "order(i.0, j.0, k.0, i.1, j.1, k.1) vector(j, 4)", false),
        // What is read once for several rows is not there later.
        ("v[j]", plain, verbs, true),
        // Never in registers.
        ("0.0", plain, "order(k, i, j) vector(j, 4)", true),
        ("0.0", plain, "order(i.0, k.0, j.0, i.1, j.1, k.1) parallel(i) unroll(i, 2)", false),
        ("0.0", "C[i,j] = acc * 2.0  D[j,i] = 0.5", verbs, true),
        ("0.0", "C[i,j] = acc  D[j,i] = acc", verbs, true),
        // Lanes would lie far apart.
        ("0.0", "C[i,j] = 0.5  D[j,i] = acc", verbs, true),
        // A part that is all of the sum has registers.
        ("0.0", plain, "order(i.0, j.0, i.1, j.1, k) vector(j, 4)", false),
    ];
    for (start, end, verbs, own) in cases {
        let (file, id) = product(start, end);
        let choice = match written(&format!("tile(i, 6) tile(j, 8) {verbs}"), &cpu()) {
            Choice::Planned { plan, allow, .. } => {
                Choice::Planned { plan, assignment: BTreeMap::new(), allow }
            }
            other => other,
        };
        let module = agrees(&cpu(), (&file, id), &choice, &[9, 9, 17, 17, 30]);
        assert_eq!(made(&module).0, own, "{start} {end} {verbs}\n{}", module.nests[0]);
        // Without terms there is still a sum.
        for sizes in [[5, 0, 9], [1, 0, 1]] {
            let names: Vec<&str> = file.funcs[id].sizes.iter().map(|(_, s)| s.name.as_str()).collect();
            assert_eq!(names, ["M", "K", "N"]);
            let inputs = cases::inputs_at(&file, id, &sizes, 1).expect("inputs");
            assert_eq!(
                judge(&file, id, &choice, &inputs),
                Ok(()),
                "{start} {end} {verbs}\n{}",
                module.nests[0]
            );
        }
    }
}

/// What the lanes of a summed axis add up goes on from step to step of that axis, and may have no whole step at all.
#[test]
fn sums_of_lanes_start_once() {
    let (file, id) = kernel(
        "kernel near(A: in f32[M,K,S], B: in f32[K,S,R], C: out f32[M]) {
          for i in tiles(M; 4) with s in S, r in R {
            var acc: f32[i] = 0.0
            for k in tiles(K; 4) { acc += sum[k,s,r](A[i,k,s] * B[k,s,r]) }
            C[i] = acc
          }
        }",
    );
    for verbs in [
        "vector(s, 4)",
        "vector(s, 16) unroll(i, 2)",
        "vector(s, 4) unroll(s, 2)",
        // Where the results are the lanes, the summed points run one by one.
        "order(s, i) vector(i, 4) vector(s, 4)",
    ] {
        let choice = written(verbs, &cpu());
        agrees(&cpu(), (&file, id), &choice, &[5, 3, 9, 13, 4]);
    }
}

//! Inputs of constant content that are put in another order once.

use rooftile_artifact::program::Step;

use super::*;

const MATMUL: &str = "kernel matmul(A: in f32[M,K], B: in f32[K,N] const_, C: out f32[M,N]) {
  for i in tiles(M; bi) with k in K, j in N {
    C[i,j] = sum[k](A[i,k] * B[k,j])
  }
}";

fn refused(text: &str, verbs: &str) -> String {
    let (file, id) = kernel(text);
    let errors = lower(&file, id, &written(verbs, &cpu()), &cpu()).expect_err("refused");
    errors
        .iter()
        .map(|d| format!("{} {}  help: {}\n", d.code, d.message, d.help.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn panels_are_made_once_and_read_side_by_side() {
    let plans = [
        "prepack(B, panel(8)) vector(j, 8) unroll(i, 3) order(j, k, i)",
        "prepack(B, panel(16)) vector(j, 4) unroll(j, 2) tile(k, 5) order(k.0, j, i, k.1)",
        "prepack(B, transpose, panel(4)) vector(j, 8) unroll(k, 2)",
        "prepack(B, soa) vector(j, 4)",
        // Blocks across panels, and such that begin anywhere.
        "prepack(B, panel(3)) vector(j, 8)",
        "prepack(B, panel(8)) tile(j, 5) vector(j, 4)",
        "prepack(B, panel(8)) vector(j, 8) tail(j, shift)",
        "prepack(B, panel(8)) stage(B, at = i, in = local, layout = panel(4)) vector(j, 4) parallel(i)",
    ];
    let (file, id) = kernel(MATMUL);
    for verbs in plans {
        let module = agrees(&cpu(), (&file, id), &written(verbs, &cpu()), &[1, 5, 9, 21, 40]);
        assert!(matches!(module.program.prepare[..], [Step::Launch { .. }]), "{verbs}");
        assert!(matches!(module.program.steps[..], [Step::Launch { .. }]), "{verbs}");
        agrees(&gpu(), (&file, id), &written("prepack(B, panel(8)) thread(j, 8)", &gpu()), &[1, 9, 21]);
    }
    let module = lower(&file, id, &written(plans[0], &cpu()), &cpu()).expect("legal");
    let text = module.nests.last().expect("the product").to_string();
    let full = text.lines().find(|l| l.contains("B[")).expect("a read").trim();
    assert!(full.contains("B[(j /+ 8), k, j.b"), "{full}\n{text}");
}

#[test]
fn every_input_can_be_packed() {
    let orders = [(None, Some(4)), (Some(TensorLayout::Transpose), Some(3)), (Some(TensorLayout::Soa), None)];
    let mut packed = 0;
    for (name, mut file) in samples() {
        for id in entries(&file) {
            let func = &mut file.funcs[id];
            let mut names = Vec::new();
            for t in func.tensors.handles() {
                let tensor = &mut func.tensors[t];
                if tensor.role == Role::In && tensor.shape.len() > 1 {
                    tensor.constant = true;
                    names.push(tensor.name.clone());
                }
            }
            for tensor in names {
                for (seed, (layout, panel)) in (0..).zip(orders) {
                    let verb =
                        Verb::Prepack { tensor: tensor.clone(), layout, panel: panel.map(Amount::Int) };
                    let choice = Choice::Planned {
                        plan: Plan { verbs: vec![verb] },
                        assignment: BTreeMap::new(),
                        allow: Allow::default(),
                    };
                    if let Err(errors) = lower(&file, id, &choice, &cpu()) {
                        let known = ["is handed to a kernel", "takes its place", "inside a byte"];
                        assert!(
                            errors.iter().all(|e| known.iter().any(|k| e.message.contains(k))),
                            "{name}: {errors:?}"
                        );
                        continue;
                    }
                    let Some(inputs) = inputs(&file, id, seed, 9) else { continue };
                    match judge(&file, id, &choice, &inputs) {
                        Err(e) if e.starts_with("oracle:") => {}
                        outcome => {
                            assert_eq!(outcome, Ok(()), "{name} {tensor} {choice:?}");
                            packed += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(packed >= 60, "only {packed}");
}

#[test]
fn rows_of_weights_in_groups_are_lanes_by_default() {
    let text =
        "kernel gemv(W: in u4[M,K] packed(1) const_, S: in f32[M,K/G] const_, x: in f32[K], y: out f32[M])
      where K % G == 0 {
        for i in tiles(M; b) {
          var acc: f32[i] = 0.0
          for g in tiles(K/G; 1) { acc += dot[g](S[i,g], sum[k in G]((f32(W[i,g*G+k]) - 8.0) * x[g*G+k])) }
          y[i] = acc
        }
      }";
    let (file, id) = kernel(text);
    let allow = Allow { reassoc: true, contract: true, ..Allow::default() };
    for (threads, of_rows) in [(1, "vector(i, 32)"), (2, "tile(i, 32) parallel(i)")] {
        let target: Target = CpuTarget { threads, vector_bytes: 32, ..CpuTarget::default() }.into();
        let module = agrees(&target, (&file, id), &Choice::Default { allow }, &[1, 5, 9, 40]);
        assert_eq!(module.program.prepare.len(), 2, "weights and scales");
        let plan = default_plan(&file, id, allow, &target).expect("a plan");
        let plan = plan.verbs.iter().map(print::verb_text).collect::<Vec<_>>().join(" ");
        let of_packing = "prepack(W, transpose, panel(32))";
        for verbs in [of_rows, "unroll(k, 2)", of_packing, "prepack(S, transpose, panel(32))"] {
            assert!(plan.contains(verbs), "{verbs} in {plan}");
        }
    }
    // Without groups lanes are what a row sums, and so they are where the content may change.
    let plain = text.replace("const_", "");
    let (file, id) = kernel(&plain);
    let target: Target = CpuTarget { vector_bytes: 32, ..CpuTarget::default() }.into();
    let module = lower(&file, id, &Choice::Default { allow }, &target).expect("legal");
    assert!(module.program.prepare.is_empty());
}

#[test]
fn what_is_packed_is_read_in_all_steps_of_a_tile_of_time() {
    let text = "kernel step(u: in f32[H,W] edge clamp, c: in f32[H,W] const_, v: out f32[H,W]) {
      for (y, x) in tiles(H, W; by, bx) { v[y,x] = u[y,x] + c[y,x] * (u[y-1,x] + u[y,x+1] - u[y,x]) }
    }
    pipeline steps(u: inout f32[H,W], v: inout f32[H,W], c: in f32[H,W] const_, T: i32) {
      repeat t in 0..T pingpong (u, v) { step(u, c, v) }
    }";
    let (file, _) = kernel(text);
    let id = file.funcs.iter().find(|(_, f)| f.name == "steps").expect("a pipeline").0;
    for style in ["overlapped", "wavefront", "trapezoid"] {
        for shared in ["", " parallel(y)"] {
            let verbs = format!(
                "prepack(c, transpose) time_tile(t, 3, style = {style}) tile(y, 8) vector(x, 4){shared}"
            );
            let module = agrees(&cpu(), (&file, id), &written(&verbs, &cpu()), &[1, 5, 9, 21]);
            assert!(matches!(module.program.prepare[..], [Step::Launch { .. }]), "{verbs}");
        }
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let line = "kernel copy(A: in f32[N] const_, y: out f32[N]) { for i in tiles(N; b) { y[i] = A[i] } }";
    let all =
        [(MATMUL, "prepack(A, panel(8))"), (MATMUL, "prepack(C, soa)"), (line, "prepack(A, transpose)")];
    let all: String = all.iter().map(|(text, verbs)| refused(text, verbs)).collect();
    insta::assert_snapshot!(all, @r"
    E0504 `A` cannot be stored in another order: its content may change with each run  help: where many runs share it, say so: `A: in .. const_`; else `layout` or `stage` copy it in each run
    E0504 `C` cannot be stored in another order: its content may change with each run  help: where many runs share it, say so: `C: in .. const_`; else `layout` or `stage` copy it in each run
    E0504 `A` cannot be stored in another order: it has one dimension  help:
    ");
    let (file, id) = kernel(line);
    agrees(&cpu(), (&file, id), &written("prepack(A, panel(8)) vector(i, 8)", &cpu()), &[1, 9, 40]);
}

//! The checker on whole files: samples, examples, and texts that must be refused, whose reports are pinned word for
//! word. `INSTA_UPDATE=always` accepts a change.

use std::path::{Path, PathBuf};

use rooftile_compiler::diag::{Diagnostic, Severity, has_errors, render};
use rooftile_compiler::hir::ir::{ExprKind, File, StmtKind, StoreKind};
use rooftile_compiler::hir::size_eval::{SizeError, infer_sizes, shape_of};
use rooftile_compiler::hir::{check, print, walk};
use rooftile_compiler::syntax::parse;

fn tiles(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|f| f.extension().is_some_and(|e| e == "tile"))
        .collect();
    files.sort();
    files
}

fn checked(source: &str) -> (File, Vec<Diagnostic>) {
    let (file, mut diagnostics) = parse(source);
    let (hir, more) = check(&file);
    diagnostics.extend(more);
    diagnostics.retain(|d| d.severity == Severity::Error);
    (hir, diagnostics)
}

#[test]
fn samples_and_examples_are_accepted() {
    let files = [tiles("tests/samples"), tiles("dsl-examples")].concat();
    assert!(files.len() >= 30, "samples are missing");
    for path in files {
        let source = std::fs::read_to_string(&path).expect("a sample");
        let (hir, diagnostics) = checked(&source);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:#?}", path.display());
        assert!(!hir.funcs.is_empty(), "{}", path.display());
        if std::env::var_os("ROOFTILE_PRINT_HIR").is_some() {
            println!("=== {}\n{}", path.display(), print::file_text(&hir));
        }
    }
}

/// An index that leaves its tensor only from a size of 16 on.
#[test]
fn larger_sizes_are_tried_where_nothing_is_proven() {
    let source = |mask: &str| {
        format!(
            "rooftile 1
kernel k(w: in f32[N], y: out f32[N]) where pow2(N) {{
  for a in tiles(N; 1) {{
    let low = a & ((1 << (ilog2(N) / 2)) - 1)
    y[a] = w[((low * low) << (ilog2(N) - ilog2(N) / 2)){mask}]
  }}
}}
"
        )
    };
    let (_, diagnostics) = checked(&source(""));
    let messages: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["this reads element 16 of 16 when a = 2 (N = 16)"]);
    assert_eq!(checked(&source(" & (N - 1)")).1, []);
}

/// What is said about a file, with the codes on a line of their own.
fn report(path: &Path) -> String {
    let source = std::fs::read_to_string(path).expect("a sample");
    let (_, diagnostics) = checked(&source);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    render(&diagnostics, &name, &source, false)
}

#[test]
fn wrong_samples_are_refused() {
    insta::glob!("../../tests/samples/wrong", "*.tile", |path| {
        // Independence of the tile size is tested by running, not proven.
        if !path.ends_with("fold_not_invariant.tile") {
            let source = std::fs::read_to_string(path).expect("a sample");
            let (_, diagnostics) = checked(&source);
            assert!(has_errors(&diagnostics), "{}", path.display());
            insta::assert_snapshot!(report(path));
        }
    });
}

#[test]
fn texts_against_each_rule_are_refused() {
    insta::glob!("../../tests/samples/refused", "*.tile", |path| {
        insta::assert_snapshot!(report(path));
    });
}

fn lowered(source: &str) -> File {
    let (hir, diagnostics) = checked(source);
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, "test.tile", source, false));
    hir
}

/// Reads that are proven to stay inside need no edge rule; those that are not keep it.
#[test]
fn edges_apply_where_reads_may_leave() {
    let source = "
        kernel k(u: in f32[M,N] edge clamp, p: in i32[M] range 0..N, Y: out f32[M,N], t: in i32[K] range 0..9) {
          for (i, j) in tiles(M, N) with q in N, c in 27, e in 0..i+1 {
            let inside = select(i > 0 && j < N - 1, u[i-1,j+1], 0.0)
            let rows   = sum[e](u[e,j])
            let data   = u[i,p[i]]
            let held   = u[clamp(i + 5, 0, M - 1),min(j + 1, N - 1)]
            let wraps  = u[(i + 7) % M,j / 2]
            let up     = u[i+1,j]
            let both   = u[i-1,j-1]
            let byte   = u[i,i64(u8(j))]
            Y[i,j] = inside + rows + data + held + wraps + up + both + byte
          }
        }";
    let hir = lowered(source);
    let func = &hir.funcs[hir.entry("k").expect("the kernel")];
    let mut leaves: Vec<(u32, Vec<bool>)> = Vec::new();
    for (_, expr) in func.exprs.iter() {
        if let ExprKind::Load { tensor, leaves: l, .. } = &expr.kind
            && func.tensors[*tensor].name == "u"
        {
            leaves.push((expr.span.start, l.clone()));
        }
    }
    leaves.sort();
    let flags: Vec<(bool, bool)> = leaves.iter().map(|(_, l)| (l[0], l[1])).collect();
    let inside = (false, false);
    let want = [inside, inside, inside, inside, inside, (true, false), (true, true), (false, true)];
    assert_eq!(flags, want);
}

#[test]
fn stores_that_may_collide_are_scatters() {
    let source = "
        kernel k(x: in u8[N], h: inout i32[256], a: inout i32[N], s: inout i32[4]) {
          for i in tiles(N) {
            h[i32(x[i])] += 1
            a[i] += 2
            s[0] += sum[i](i32(x[i]))
          }
        }";
    let hir = lowered(source);
    let mut kinds = Vec::new();
    for (_, func) in hir.funcs.iter() {
        walk::for_each_stmt(&func.body, &mut |stmt| {
            if let StmtKind::Store { kind, .. } = stmt.kind {
                kinds.push(kind);
            }
        });
    }
    assert_eq!(kinds, [StoreKind::Scatter, StoreKind::Injective, StoreKind::Scatter]);
}

#[test]
fn sizes_follow_from_shapes() {
    let source = "
        kernel k(a: in f32[2*N+1,M], b: in f32[M/G,3], c: out f32[N]) where M % G == 0 {
          for i in tiles(N) { c[i] = a[2*i,0] }
        }";
    let hir = lowered(source);
    let func = &hir.funcs[hir.entry("k").expect("the kernel")];
    let names: Vec<&str> = func.sizes.iter().map(|(_, s)| s.name.as_str()).collect();
    assert_eq!(names, ["N", "M", "G"]);
    let ids: Vec<_> = func.tensors.handles().collect();
    let shapes = |n: i64| vec![(ids[0], vec![n, 12]), (ids[1], vec![3, 3])];
    assert_eq!(infer_sizes(func, &shapes(11), &[None, None, Some(4)], &[]), Ok(vec![5, 12, 4]));
    assert_eq!(infer_sizes(func, &shapes(11), &[], &[]), Err(SizeError::Unbound(vec!["G".to_owned()])));
    assert!(matches!(infer_sizes(func, &shapes(10), &[], &[]), Err(SizeError::NoSolution { .. })));
    assert!(matches!(
        infer_sizes(func, &shapes(11), &[None, None, Some(3)], &[]),
        Err(SizeError::Extent { dim: 0, want: 4, got: 3, .. })
    ));
    assert_eq!(
        infer_sizes(func, &[(ids[0], vec![3, 5]), (ids[1], vec![2, 3])], &[None, None, Some(2)], &[]),
        Err(SizeError::Where(0))
    );
    assert_eq!(shape_of(func, ids[0], &[5, 12, 4], &[]), Ok(vec![11, 12]));
}

#[test]
fn literals_take_the_type_they_meet() {
    let source = "
        kernel k(x: in f16[N], z: in c64[N], n: in u8[N], y: out f16[N], w: out c64[N], m: out u8[N]) {
          for i in tiles(N) {
            y[i] = 2.0 * x[i] + select(n[i] == 7, 1.0, -1.0)
            w[i] = z[i] * 0.5 + re(z[i])
            m[i] = n[i] + i
          }
        }";
    let hir = lowered(source);
    let text = print::file_text(&hir);
    assert!(text.contains("y[i] = 2.0 * x[i] + select(n[i] == 7, 1.0, -1.0)"), "{text}");
    assert!(text.contains("w[i] = z[i] * (0.5 + 0.0i) + complex(re(z[i]), 0.0)"), "{text}");
    assert!(text.contains("m[i] = n[i] + u8(i)"), "{text}");
}

#[test]
fn integers_widen_where_they_meet_an_axis_in_an_index() {
    let source = "
        const D: i8[2] = [-1, 1]
        kernel k(x: in f16[N], n: in u8[N], t: in f16[257], y: out f16[2,N], m: out i8[2,N]) {
          for i in tiles(N) with d in 2 {
            y[d,i] = x[clamp((i - D[d]) * 3 + D[d] + 1, 0, N - 1)] + t[n[i] + 1]
            m[d,i] = D[d] + i
          }
        }";
    let text = print::file_text(&lowered(source));
    assert!(text.contains("x[clamp((i - i64(D[d])) * 3 + i64(D[d]) + 1, 0, N - 1)]"), "{text}");
    // Neither a literal nor what is no index.
    assert!(text.contains("t[i64(n[i] + 1)]"), "{text}");
    assert!(text.contains("m[d, i] = D[d] + i8(i)"), "{text}");
}

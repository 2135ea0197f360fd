//! Data, judging and null models, on small files.

use std::collections::BTreeMap;

use rooftile_artifact::{DType, HostTensor, Room, Scalar};

use super::inputs::bytes_needed;
use super::null_models::passes_null_model;
use super::tolerance::{judge_within, sum_change};
use super::*;
use crate::driver::{Checked, check};
use crate::oracle::Values;

fn sizes(list: &[(&str, i64)]) -> Sizes {
    list.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
}

fn checked(text: &str) -> Checked {
    let c = check(text);
    assert!(!c.has_errors(), "{:#?}", c.diagnostics);
    c
}

fn make(c: &Checked, given: &[(&str, i64)], seed: u64) -> Result<InputSet, TaskError> {
    let entry = c.entry(None).expect("an entry");
    generate(&c.hir, c.task(entry), entry, &sizes(given), seed)
}

fn numbers(t: &HostTensor) -> Vec<f64> {
    (0..t.len()).map(|i| t.get(i).as_f64()).collect()
}

const SPMV: &str = "
kernel spmv(rp: in i32[R+1] range 0..E+1 monotone, ci: in i32[E] range 0..C, va: in f32[E], x: in f32[C], y: out f32[R]) {
  for r in tiles(R; br) {
    var acc: f32[r] = 0.0
    for e in tiles(rp[r] .. rp[r+1]; be) { acc += sum[e](va[e] * x[ci[e]]) }
    y[r] = acc
  }
}
task spmv { search {R=12} heldout {R=7} init rp ~ csr(KIND) tol y: nrmse <= 1e-5 }
";

#[test]
fn a_sparse_matrix_binds_its_sizes() {
    let c = checked(&SPMV.replace("KIND", "laplacian5"));
    let made = make(&c, &[("R", 12)], 1).expect("data");
    assert_eq!(made.sizes, sizes(&[("R", 12), ("E", 46), ("C", 12)]));
    let [Some(rp), Some(ci), Some(va), Some(x), None] = made.inputs.tensors.as_slice() else {
        panic!("{made:?}")
    };
    assert_eq!((rp.len(), ci.len(), va.len(), x.len()), (13, 46, 46, 12));
    assert_eq!(rp.get(12), Scalar::Int(46));
    assert!(numbers(va).iter().any(|v| *v != -1.0 && *v != 4.0));
    let c = checked(&SPMV.replace("KIND", "power_law, 3"));
    let made = make(&c, &[("R", 50), ("C", 31)], 1).expect("data");
    assert_eq!(made.sizes["C"], 31);
    let e = made.sizes["E"];
    let wrong = make(&c, &[("R", 50), ("C", 31), ("E", e + 1)], 1).expect_err("sizes that disagree");
    assert!(matches!(wrong, TaskError::Conflict { ref name, .. } if name == "E"), "{wrong}");
    assert_eq!(
        make(
            &checked(
                &SPMV.replace("init rp ~ csr(KIND)", "").replace("{R=12} heldout {R=7}", "{R=12, E=9, C=3}")
            ),
            &[("R", 12), ("C", 3)],
            1
        )
        .expect_err("E is missing"),
        TaskError::Missing("E".into())
    );
    // Given sizes, pointers without an init cover every element.
    let plain = SPMV.replace("init rp ~ csr(KIND)", "").replace("{R=12} heldout {R=7}", "{R=12, E=90, C=3}");
    let made = make(&checked(&plain), &[("R", 12), ("E", 90), ("C", 3)], 4).expect("data");
    let rp = numbers(made.inputs.tensors[0].as_ref().expect("pointers"));
    assert!((rp[0], rp[12]) == (0.0, 90.0) && rp.is_sorted(), "{rp:?}");
}

const MANY: &str = "
const TAB: f32[3] = [1.0, 2.0, 4.0]
fn twice(v: f32) -> f32 = v + v
kernel k(a: in f32[N], b: in i32[N], c: in c64[N], d: in f32[3,N], e: in i32[N] injective, f: in u4[N] packed(0), g: in f32[N],
         h: in f32[N,2], p: in f32[3], s: in f32[N], y: inout f32[N], al: f32, sc: f32, seed: u32, n: i32) {
  for i in tiles(N; bi) {
    y[i] = y[i] + a[i] + f32(b[i]) + re(c[i]) + d[0,i] + f32(e[i]) + f32(f[i]) + g[i] + h[i,0] + p[0] + s[i] + al + sc + f32(seed) + f32(n)
  }
}
task k {
  search {N=100, n=3}
  init sc = twice(1.0 / sqrt(f32(N))) + al
  init al in 0.5..0.75
  init a ~ uniform(-1.0, 1.0)
  init b ~ uniform(5, 8)
  init c ~ cnormal(0.0, 1.0)
  init d ~ bump(TAB, 0.01)
  init e ~ permutation
  init g ~ choice(1.0, al, len(a) * 1.0, a[N-1])
  init h ~ lattice(8.0, 0.1)
  init p = [TAB[2], 0.25, -1.5]
  init s ~ sorted(2.0, 3.0)
  tol y: nrmse <= 1e-5
}
";

#[test]
fn distributions_give_what_they_say() {
    let c = checked(MANY);
    let made = make(&c, &[("N", 100), ("n", 3)], 9).expect("data");
    let [al, sc, seed, n] = made.inputs.scalars.as_slice() else { panic!() };
    let al = al.as_f64();
    assert!((0.5..0.75).contains(&al) && (sc.as_f64() - 0.2 - al).abs() < 1e-6);
    assert!(seed.as_i64() > 0 && *n == Scalar::Int(3));
    let of = |i: usize| numbers(made.inputs.tensors[i].as_ref().expect("a tensor"));
    let (a, b, d, e, f, g, h, p, s) = (of(0), of(1), of(3), of(4), of(5), of(6), of(7), of(8), of(9));
    assert!(a.iter().all(|v| (-1.0..1.0).contains(v)) && a.iter().any(|v| *v < -0.5));
    assert!([5.0, 6.0, 7.0].iter().all(|v| b.contains(v)) && b.iter().all(|v| (5.0..8.0).contains(v)));
    assert!((0..3).all(|q| (0..100).all(|i| (d[100 * q + i] / f64::from(1 << q) - 1.0).abs() < 0.03)));
    let mut sorted = e.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(sorted, (0..100).map(f64::from).collect::<Vec<_>>());
    assert_ne!(e, sorted);
    assert!(f.iter().all(|v| (0.0..16.0).contains(v)) && f.contains(&15.0) && f.contains(&0.0));
    assert!(g.iter().all(|v| [1.0, al, 100.0, a[99]].contains(v)));
    assert!(h.iter().all(|v| (0.0..8.0).contains(v)));
    // No two points of the lattice are closer than its distance less the jitter.
    let apart = |i: usize, j: usize| (h[2 * i] - h[2 * j]).hypot(h[2 * i + 1] - h[2 * j + 1]);
    assert!((0..100).all(|i| (0..i).all(|j| apart(i, j) > 0.8 * 0.85)));
    assert_eq!(p, [4.0, 0.25, -1.5]);
    assert!(s.is_sorted() && s[0] >= 2.0 && s[99] < 3.0 && s[99] > 2.9);
}

#[test]
fn data_follow_from_seed_name_and_index() {
    let c = checked(MANY);
    let at = |n, seed| make(&c, &[("N", n), ("n", 3)], seed).expect("data").inputs;
    let (one, same, other, longer) = (at(100, 1), at(100, 1), at(100, 2), at(101, 1));
    assert_eq!(one.tensors, same.tensors);
    assert_ne!(one.tensors[0], other.tensors[0]);
    assert_ne!(one.scalars[0], other.scalars[0]);
    let (short, long) = (one.tensors[0].as_ref().expect("a"), longer.tensors[0].as_ref().expect("a"));
    assert_eq!(numbers(short), numbers(long)[..100]);
    let (a, y) = (numbers(short), numbers(one.tensors[10].as_ref().expect("y")));
    assert_ne!(a, y);
    // Results that are stored refer to data by these numbers: they may not change.
    assert_eq!(a[0], 0.8142620325088501);
}

#[test]
fn a_given_array_binds_sizes_and_must_fit() {
    let c = checked(MANY);
    let entry = c.entry(None).expect("an entry");
    let with = |name: &str, dtype, shape: &[usize], limit: Option<u64>| {
        let tensor = HostTensor::zeros(dtype, shape).expect("small");
        let given = Given {
            tensors: BTreeMap::from([(name.to_owned(), tensor)]),
            scalars: BTreeMap::from([("al".to_owned(), Scalar::Float(0.125))]),
            room: Room::of_bytes(limit),
        };
        generate_given(&c.hir, c.task(entry), entry, &sizes(&[("n", 1)]), 1, &given)
    };
    let made = with("a", DType::F32, &[17], None).expect("data");
    assert_eq!((made.sizes["N"], made.inputs.scalars[0]), (17, Scalar::Float(0.125)));
    assert_eq!(numbers(made.inputs.tensors[0].as_ref().expect("a")), [0.0; 17]);
    let message = |r: Result<InputSet, TaskError>| r.expect_err("does not fit").to_string();
    assert_eq!(message(with("a", DType::F64, &[17], None)), "`a`: its elements are f32, not f64");
    assert_eq!(message(with("a", DType::F32, &[17, 1], None)), "`a`: it has 1 dimensions, not 2");
    assert_eq!(message(with("d", DType::F32, &[4, 17], None)), "`d`: dimension 0 is 3 at these sizes, not 4");
    assert_eq!(message(with("q", DType::F32, &[4], None)), "`q`: `k` has no such tensor");
    assert!(message(with("a", DType::F32, &[17], Some(100))).contains("more than the 100"));
    let scalars = made.sizes.iter().map(|(n, v)| (n.clone(), Scalar::Int(*v))).collect();
    assert_eq!(
        bytes_needed(&c.hir, entry, &made.sizes, &scalars),
        Ok(17 * (4 * 4 + 8 + 12 + 1 + 4 + 8 + 4) - 17 * 4 + 12 + 17 * 4)
    );
}

/// What no machine holds is refused before anything of it is made: this test would not end otherwise.
#[test]
fn data_without_room_are_refused_before_any_are_made() {
    let c = checked(
        "kernel k(x: in f32[N], y: in f32[N], z: inout f32[2*N]) { for i in tiles(N; b) { z[i] = x[i] + y[i] } }",
    );
    let entry = c.entry(None).expect("an entry");
    let with = |n: i64, room: Room| {
        let given = Given { room, ..Given::default() };
        generate_given(&c.hir, None, entry, &sizes(&[("N", n)]), 1, &given).map(|_| ())
    };
    let trillion = 1_000_000_000_000;
    // Each input alone would fit.
    let room = Room { bytes: 10 * trillion as u128, ..Room::default() };
    let too_large = TaskError::TooLarge { bytes: 16 * trillion as u128, limit: 10 * trillion as u128 };
    assert_eq!(with(trillion, room), Err(too_large));
    let limited =
        |unit, count, limit| Err(TaskError::TensorTooLarge { name: "z".to_owned(), count, unit, limit });
    let room = Room { tensor_elements: trillion as u128, ..Room::default() };
    assert_eq!(with(trillion, room), limited("elements", 2 * trillion as u128, trillion as u128));
    let room = Room { tensor_bytes: 4 * trillion as u128, ..Room::default() };
    assert_eq!(with(trillion, room), limited("bytes", 8 * trillion as u128, 4 * trillion as u128));
    assert_eq!(with(4, Room { bytes: 64, tensor_bytes: 32, tensor_elements: 8 }), Ok(()));
    // Sparse data bind their sizes as they are made: a guess must do.
    let c = checked(
        "kernel s(rp: in i32[R+1] range 0..E+1 monotone, col: in i32[E] range 0..C, x: in f32[C], y: out f32[R]) {
           for r in tiles(R; b) with e in rp[r]..rp[r+1] { y[r] = sum[e](x[col[e]]) }
         }
         task s { search {R=4} init rp ~ csr(random, 1000.0) }",
    );
    let entry = c.entry(None).expect("an entry");
    let given = Given { room: Room::of_bytes(Some(1 << 20)), ..Given::default() };
    let made = generate_given(&c.hir, c.task(entry), entry, &sizes(&[("R", 1000)]), 1, &given);
    let pattern = 8 * 1000 * 1001;
    assert_eq!(made.map(|_| ()), Err(TaskError::TooLarge { bytes: pattern, limit: 1 << 20 }));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let c = checked(
        "kernel k(x: in f32[K/G], y: out f32[K/G]) where K % G == 0 { for i in tiles(K/G; b) { y[i] = x[i] } }",
    );
    let message = |given: &[(&str, i64)]| make(&c, given, 1).expect_err("wrong").to_string();
    assert_eq!(message(&[("K", 8)]), "no value for the size `G`; give it with --size G=..");
    assert_eq!(
        message(&[("K", 8), ("G", 3)]),
        "the sizes K = 8, G = 3 violate the `where` condition number 1"
    );
    assert_eq!(message(&[("K", 8), ("G", 0)]), "`G` = 0 must be positive");
    assert_eq!(message(&[("K", 8), ("g", 2)]), "`k` has no size `g`; did you mean `G`?");
    assert!(make(&c, &[("K", 8), ("G", 2)], 1).is_ok());
}

#[test]
fn sealed_sizes_are_in_the_domain_and_new() {
    let c = checked(
        "kernel k(x: in f32[N], y: out f32[N]) where N % 2 == 0 { for i in tiles(N; b) { y[i] = x[i] } }
         task k { search {N=4} sizes N in 3..12 multiple of 2 }",
    );
    let task = &c.tasks[0];
    let drawn = sealed::draw(&c.hir, task, 10, 5);
    let mut values: Vec<i64> = drawn.iter().map(|s| s.values["N"]).collect();
    values.sort_unstable();
    assert_eq!(values, [6, 8, 10]);
    assert_eq!(drawn, sealed::draw(&c.hir, task, 10, 5));
    assert_eq!(sealed::draw(&c.hir, task, 2, 5), drawn[..2]);
}

#[test]
fn small_sizes_are_in_the_domain() {
    let c = checked(
        "kernel k(x: in f32[N,M], y: out f32[N,M]) { for i in tiles(N; b) { with j in M { y[i,j] = x[i,j] } } }
         task k { search {N=64, M=4} sizes N in 31..100 multiple of 2 }",
    );
    let cases: Vec<_> = (0..8).filter_map(|seed| small_case(&c.hir, &c.tasks[0], seed, 5)).collect();
    assert_eq!(cases.len(), 8);
    for (sizes, set) in &cases {
        assert!([32, 34, 36, 38, 40].contains(&sizes["N"]) && sizes["M"] <= 5, "{sizes:?}");
        assert_eq!(set.inputs.sizes, [sizes["N"], sizes["M"]]);
    }
    let domain = SizeDomain { name: "N".to_owned(), lo: 3, hi: 9, multiple: 2 };
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8, 9].map(|v| domain.nearby(v)), [4, 6, 8, 4, 6, 6, 4, 8, 8]);
}

fn reference(values: &[f64]) -> Values {
    Values::new(DType::F32, &[values.len()], values.iter().map(|v| Scalar::Float(*v)))
}

fn output(values: &[f64]) -> HostTensor {
    HostTensor::from_fn(DType::F32, &[values.len()], |i| Scalar::Float(values[i])).expect("small")
}

#[test]
fn every_element_counts() {
    let tol = Tolerance { nrmse: Some(1e-3), maxrel: Some(1e-2), exact: false };
    let want = [3.0, -4.0, 0.0, 5.0];
    assert!(judge(&reference(&want), &output(&want), &tol).pass);
    let v = judge(&reference(&want), &output(&[3.0, -4.0, 1e-6, 5.0]), &tol);
    assert!(v.pass && v.worst == Some(2) && v.different == 1, "{v:?}");
    // rms is sqrt(50 / 4): the third element is measured against a hundredth of it.
    assert!((v.maxrel - 1e-6 / (0.01 * 12.5f64.sqrt())).abs() < 1e-9, "{v:?}");
    let v = judge(&reference(&want), &output(&[3.0, -4.1, 0.0, 5.0]), &tol);
    assert!(!v.pass && v.worst == Some(1) && (v.maxrel - 0.025).abs() < 1e-6, "{v:?}");
    assert!((v.nrmse - 0.1 / 50f64.sqrt()).abs() < 1e-6);
    // One bound is not enough.
    let loose = Tolerance { maxrel: None, ..tol };
    assert!(!judge(&reference(&want), &output(&[3.0, -4.1, 0.0, 5.0]), &loose).pass);
    let v = judge_within(&reference(&want), &output(&[3.0, -4.0, 1e-6, 5.0]), &tol, Some(1e-7));
    assert!(!v.pass, "{v:?}");
    assert!(!judge(&reference(&want), &output(&[3.0, -4.0, 0.0]), &tol).pass);
    let missing = judge(&reference(&want), &output(&[0.0; 4]), &tol);
    assert!(missing.nrmse == 1.0 && missing.maxrel == 1.0);
    assert!(judge(&reference(&[0.0; 4]), &output(&[0.0, 0.0, 1e-30, 0.0]), &tol).nrmse.is_infinite());
}

#[test]
fn special_values_must_agree() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let tol = Tolerance { nrmse: Some(0.5), maxrel: Some(0.5), exact: false };
    let pass = |want: &[f64], got: &[f64]| judge(&reference(want), &output(got), &tol).pass;
    assert!(pass(&[nan, inf, -inf, 1.0], &[nan, inf, -inf, 1.0]));
    assert!(!pass(&[nan, 1.0], &[1.0, 1.0]));
    assert!(!pass(&[1.0, 1.0], &[nan, 1.0]));
    assert!(!pass(&[inf, 1.0], &[-inf, 1.0]));
    assert!(!pass(&[1.0, 1.0], &[inf, 1.0]));
    // Beyond the type's range the right answer is infinity.
    assert!(pass(&[1e300, 1.0], &[inf, 1.0]));
    assert!(!pass(&[1e300, 1.0], &[f64::from(f32::MAX), 1.0]));
}

#[test]
fn exact_is_exact() {
    let third = 1.0 / 3.0;
    let judge_exact =
        |want: &[f64], got: &[f64]| judge(&reference(want), &output(got), &Tolerance::EXACT).pass;
    assert!(judge_exact(&[third, -0.0], &[third, 0.0]));
    assert!(!judge_exact(&[third], &[f64::from(f32::from_bits((third as f32).to_bits() + 1))]));
    let big = i64::MAX - 1;
    let want = Values::new(DType::I64, &[2], [big, 3].into_iter().map(Scalar::Int));
    let got = |v| {
        HostTensor::from_fn(DType::I64, &[2], |i| Scalar::Int(if i == 0 { v } else { 3 })).expect("small")
    };
    assert!(judge(&want, &got(big), &Tolerance::EXACT).pass);
    let v = judge(&want, &got(big + 1), &Tolerance::EXACT);
    assert!(!v.pass && v.different == 1 && v.worst == Some(0));
    let complex = Values::new(DType::C64, &[1], std::iter::once(Scalar::Complex(3.0, 4.0)));
    let got = |im| HostTensor::from_fn(DType::C64, &[1], |_| Scalar::Complex(3.0, im)).expect("small");
    assert!(judge(&complex, &got(4.0), &Tolerance::EXACT).pass);
    let v = judge(&complex, &got(4.5), &Tolerance::EXACT);
    assert!((v.maxrel - 0.1).abs() < 1e-12 && !v.pass);
}

#[test]
fn null_models_are_found() {
    let tol = |nrmse| Tolerance { nrmse: Some(nrmse), maxrel: None, exact: false };
    let want = reference(&[1.0, 1.1, 0.9, 1.2]);
    let close = output(&[1.0, 1.1, 0.9, 1.21]);
    let model = |t, inputs: &[(&str, &HostTensor)], previous: Option<&Values>| {
        passes_null_model(&want, inputs, previous, &tol(t))
    };
    assert_eq!(model(2.0, &[], None).as_deref(), Some("zeros"));
    assert_eq!(model(0.12, &[], None).as_deref(), Some("ones"));
    assert_eq!(model(0.107, &[], None).as_deref(), Some("its own mean"));
    assert_eq!(model(0.01, &[], None), None);
    assert_eq!(model(0.01, &[("u", &close)], None).as_deref(), Some("a copy of `u`"));
    let stale = reference(&[1.0, 1.1, 0.9, 1.201]);
    assert_eq!(model(0.01, &[], Some(&stale)).as_deref(), Some("the output of another run"));
    let d = null_models::diagnostic("v", "zeros", crate::diag::Span::default());
    assert_eq!(d.message, "the tolerance of `v` accepts zeros");
}

#[test]
fn conservation_is_relative_to_what_is_summed() {
    assert_eq!(sum_change(&output(&[1.0, 3.0]), &output(&[3.0, 1.0])), 0.0);
    assert!((sum_change(&output(&[1.0, 3.0]), &output(&[3.0, 1.5])) - 0.125).abs() < 1e-7);
    assert!(sum_change(&output(&[1.0, -1.0]), &output(&[1.0, -0.9])) > 0.01);
}

/// What is said about the held-out sizes of a kernel over `M` and `N`.
fn said_of_heldout(conditions: &str, heldout: &str) -> Vec<String> {
    let text = format!(
        "kernel k(x: in f32[M,N], y: out f32[M,N]) {conditions} {{
  for (i, j) in tiles(M, N) {{ y[i,j] = x[i,j] }}
}}
reference k {{ with i in M, j in N {{ y[i,j] = x[i,j] }} }}
task k {{ search {{M=64, N=64}} {heldout} }}"
    );
    checked(&text).diagnostics.into_iter().map(|d| d.message).collect()
}

#[test]
fn every_size_is_held_out_ragged() {
    let none: Vec<String> = Vec::new();
    assert_eq!(said_of_heldout("", "heldout {M=33, N=50}"), none);
    assert_eq!(said_of_heldout("", "heldout {M=33, N=64} {M=48, N=21}"), none);
    let tame = |names: &str| {
        vec![format!("every held-out value of {names} is a multiple of 4, so ragged ends are not judged")]
    };
    assert_eq!(said_of_heldout("", "heldout {M=33, N=48} {M=35, N=64}"), tame("`N`"));
    assert_eq!(said_of_heldout("", "heldout {M=32, N=48}"), tame("`M`, `N`"));
    // What conditions and domains forbid is not asked for.
    assert_eq!(said_of_heldout("where N % 4 == 0", "heldout {M=33, N=48}"), none);
    assert_eq!(said_of_heldout("where pow2(N)", "heldout {M=33, N=32}"), none);
    assert_eq!(said_of_heldout("", "heldout {M=33, N=48} sizes N in 16..129 multiple of 8"), none);
    assert_eq!(said_of_heldout("where N > 40", "heldout {M=33, N=48}"), tame("`N`"));
    assert_eq!(
        said_of_heldout("", ""),
        ["the task of `k` has no `heldout` sizes, so nothing vetoes a winner"]
    );
}

#[test]
fn roundings_judge_what_no_reference_can() {
    let text = |reference: &str, tol: &str| {
        format!(
            "kernel k(x: in f32[N], y: out i32[N]) {{ for i in tiles(N) {{ y[i] = i32(x[i] * 3.0) }} }}
{reference}
task k {{ search {{N=64}} heldout {{N=33}} {tol} }}"
        )
    };
    let judged = |reference: &str, tol: &str| {
        let c = checked(&text(reference, tol));
        (c.tasks[0].judged_by_rounding(&c.hir), c.diagnostics.len())
    };
    let reference = "reference k { with i in N { y[i] = i32(x[i] * 3.0) } }";
    assert_eq!(judged("", "tol y: exact"), (true, 0));
    assert_eq!(judged(reference, "tol y: exact"), (false, 0));
    assert_eq!(judged("", "tol y: nrmse <= 1e-3"), (false, 1));
}

//! The judge of real tasks: lists whose order has no meaning, and what rounding cannot explain.

use rooftile_artifact::{HostTensor, Scalar};
use rooftile_compiler::driver::check;
use rooftile_search::bench::{Failure, Reason, Sizes};
use rooftile_search::bench_device::Machine;
use rooftile_search::evaluate::tile::TileTask;
use rooftile_search::evaluate::workload::{Case, Draw, Workload};

const BINS: &str = "rooftile 1
kernel bins(K: in i32[N] range 0..M, cnt: inout i32[M], lst: out i32[M,CAP] bag) {
  for i in tiles(N; bi) {
    append(lst, cnt, K[i], i)
  }
}
task bins {
  search {N=24, M=3, CAP=24}
  init K ~ uniform(0, 3)
  init cnt = 0
}
";

/// The tolerance alone would accept errors of a tenth.
const LOOSE: &str = "rooftile 1
kernel rows(A: in f32[M,K], y: out f32[M]) {
  for i in tiles(M; bi) with k in K {
    y[i] = sum[k](A[i,k])
  }
}
task rows {
  search {M=20, K=30}
  init A ~ uniform(1.0, 2.0)
  tol y: nrmse <= 0.1, maxrel <= 0.1
}
";

fn task(text: &str, sizes: &[(&str, i64)]) -> (TileTask, Case, Vec<HostTensor>) {
    let checked = check(text);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    let entry = checked.entry(None).expect("one kernel");
    let machine = Machine::open("cpu", 1).expect("a processor");
    let task = TileTask::new(checked, entry, machine, false).expect("a task");
    let sizes: Sizes = sizes.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    let mut case = task.case(&sizes, 5, Draw::Task).expect("inputs");
    case.bounds = task.bounds(&case);
    let expected = task.expect(&sizes, &case).expect("an opinion");
    let got = expected
        .tensors
        .iter()
        .map(|v| HostTensor::from_fn(v.dtype, &v.shape, |i| v.get(i).cast(v.dtype)).expect("small"));
    let got = got.collect();
    (task, case, got)
}

fn judged(task: &TileTask, sizes: &[(&str, i64)], case: &Case, got: &[HostTensor]) -> Result<(), Failure> {
    let sizes: Sizes = sizes.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    task.judge(case, &task.expect(&sizes, case)?, got).map(|_| ())
}

#[test]
fn lists_in_any_order_are_right() {
    let sizes = [("N", 24), ("M", 3), ("CAP", 24)];
    let (task, case, mut got) = task(BINS, &sizes);
    assert_eq!(judged(&task, &sizes, &case, &got), Ok(()));
    // The first list has more than one element: another order, and garbage where nothing was added.
    let filled = usize::try_from(got[1].get(0).as_i64()).expect("a count");
    assert!(filled >= 2, "{filled}");
    let (a, b) = (got[2].get(0), got[2].get(1));
    got[2].set(0, b);
    got[2].set(1, a);
    got[2].set(filled, Scalar::Int(-7));
    assert_eq!(judged(&task, &sizes, &case, &got), Ok(()));
    got[2].set(0, a);
    assert_eq!(judged(&task, &sizes, &case, &got).expect_err("twice").reason, Reason::WrongResult);
}

#[test]
fn what_rounding_cannot_explain_is_wrong_whatever_the_tolerance() {
    let sizes = [("M", 20), ("K", 30)];
    let (task, case, mut got) = task(LOOSE, &sizes);
    assert!(case.bounds[1].is_some_and(|b| b < 0.1), "{:?}", case.bounds);
    assert_eq!(judged(&task, &sizes, &case, &got), Ok(()));
    // One of thirty addends is missing in one row.
    let whole = got[1].get(3).as_f64();
    got[1].set(3, Scalar::Float(whole - 1.0));
    assert_eq!(judged(&task, &sizes, &case, &got).expect_err("off").reason, Reason::WrongResult);
}

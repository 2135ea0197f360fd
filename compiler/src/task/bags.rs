//! Lists that `append` fills: their order has no meaning, and what lies beyond their count is no result.

use rooftile_artifact::{HostTensor, Scalar};

use crate::hir::ir::{CallArg, File, FuncId, ParamRef, Stmt, StmtKind, TensorId};
use crate::oracle::Values;

/// The tensor that counts the lists of another, in a kernel that appends to them or in a pipeline that calls one.
#[must_use]
pub fn counter_of(file: &File, func: FuncId, list: TensorId) -> Option<TensorId> {
    find(file, &file.funcs[func].body, list)
}

fn find(file: &File, body: &[Stmt], wanted: TensorId) -> Option<TensorId> {
    body.iter().find_map(|stmt| match &stmt.kind {
        StmtKind::Append { list, count, .. } => (*list == wanted).then_some(*count),
        StmtKind::For { body, .. }
        | StmtKind::Seq { body, .. }
        | StmtKind::Fold { body, .. }
        | StmtKind::Repeat { body, .. } => find(file, body, wanted),
        StmtKind::If { then, otherwise, .. } => {
            find(file, then, wanted).or_else(|| find(file, otherwise, wanted))
        }
        StmtKind::Call { callee, args, .. } => {
            let params = || file.funcs[*callee].params.iter().zip(args);
            let inner = params().find_map(|(param, arg)| match (param, arg) {
                (ParamRef::Tensor(t), CallArg::Tensor(view)) if view.tensor == wanted => Some(*t),
                _ => None,
            })?;
            let count = counter_of(file, *callee, inner)?;
            params().find_map(|(param, arg)| match (param, arg) {
                (ParamRef::Tensor(t), CallArg::Tensor(view)) if *t == count => Some(view.tensor),
                _ => None,
            })
        }
        _ => None,
    })
}

/// The lists as far as they are filled, each in ascending order, one after the other: what two results have in common if
/// they hold the same. `None` where their shapes do not agree.
#[must_use]
pub fn filled(want: &Values, got: &HostTensor, counts: &Values) -> Option<(Values, HostTensor)> {
    let capacity = *want.shape.last()?;
    if want.shape != got.shape() || counts.len().checked_mul(capacity)? != want.len() {
        return None;
    }
    let length = |key: usize| usize::try_from(counts.get(key).as_i64()).unwrap_or(0).min(capacity);
    let sorted = |get: &dyn Fn(usize) -> Scalar| -> Vec<Scalar> {
        let lists = (0..counts.len()).map(|key| {
            let mut items: Vec<Scalar> = (0..length(key)).map(|i| get(key * capacity + i)).collect();
            items.sort_by(|a, b| match (a, b) {
                (Scalar::Int(a), Scalar::Int(b)) => a.cmp(b),
                (a, b) => a.as_f64().total_cmp(&b.as_f64()),
            });
            items
        });
        lists.flatten().collect()
    };
    let (wanted, found) = (sorted(&|i| want.get(i)), sorted(&|i| got.get(i)));
    let shape = [wanted.len()];
    let found = HostTensor::from_fn(got.dtype(), &shape, |i| found[i]).ok()?;
    Some((Values::new(want.dtype, &shape, wanted.into_iter()), found))
}

#[cfg(test)]
mod tests {
    use rooftile_artifact::DType;

    use super::*;

    fn lists(items: &[i64]) -> HostTensor {
        HostTensor::from_fn(DType::I32, &[2, 3], |i| Scalar::Int(items[i])).expect("small")
    }

    #[test]
    fn lists_are_multisets_as_far_as_they_are_filled() {
        let values = |t: &HostTensor| Values::from_host(t);
        let counts = Values::new(DType::I32, &[2], [2, 1].map(Scalar::Int).into_iter());
        let want = values(&lists(&[4, 7, 0, 5, 0, 0]));
        let same = |items: &[i64]| {
            let (want, got) = filled(&want, &lists(items), &counts).expect("shapes agree");
            want == values(&got)
        };
        assert!(same(&[7, 4, 99, 5, 98, 97]));
        assert!(!same(&[7, 7, 0, 5, 0, 0]));
        assert!(!same(&[4, 7, 5, 4, 0, 0]));
        assert_eq!(filled(&want, &lists(&[0; 6]), &want), None);
    }
}

//! Comparison of every element with the oracle.
//!
//! A float may differ from the exact result, or from the result that is rounded as the types declare, by a multiple of
//! how far rounding moved the tensor, and by some units of its type and of the type that sums are kept in. Integers
//! and truth values are those of the rounded evaluation, exactly. Lists whose order has no meaning are compared as
//! multisets, as far as they are filled.

use rooftile_artifact::{DType, HostTensor, Scalar};
use rooftile_compiler::hir::ir::{Func, ParamRef, Stmt, StmtKind, Tensor};
use rooftile_compiler::oracle::{Data, Mode, Options, OracleError, Outputs, Values, run};

use crate::inputs::Case;
use crate::subject::Entry;

/// Units in the last place of the output's type that a result may be off.
const OUTPUT_ULPS: f64 = 2.0;

/// Units, of the type that arithmetic is done in and relative to the tensor's magnitude, that a result may be off.
const ARITHMETIC_ULPS: f64 = 32.0;

/// How many times farther than the rounded evaluation a result may be from the exact one.
const SPREAD: f64 = 8.0;

/// What a case must compute.
#[derive(Clone, Debug)]
pub struct Expected {
    /// With all floats as `f64`.
    pub exact: Outputs,
    /// With every operation rounded as declared.
    pub rounded: Outputs,
}

/// Evaluates a case both ways.
///
/// # Errors
/// The oracle's, when the case is not one that the program can be run on.
pub fn expected(entry: Entry, case: &Case) -> Result<Expected, OracleError> {
    let evaluate = |mode| {
        let options = Options { mode, check_races: false, ..Options::default() };
        run(entry.subject.file(), entry.id, &case.inputs, &options)
    };
    Ok(Expected { exact: evaluate(Mode::Exact)?, rounded: evaluate(Mode::Rounded)? })
}

/// Compares all parameters.
///
/// # Errors
/// The first element that is wrong, in words.
pub fn compare(func: &Func, want: &Expected, got: &[HostTensor]) -> Result<(), String> {
    let tensors: Vec<&Tensor> = parameters(func);
    if got.len() != tensors.len() {
        return Err(format!("{} tensors for {}", got.len(), tensors.len()));
    }
    for (n, tensor) in tensors.iter().enumerate() {
        let (exact, rounded) = (&want.exact.tensors[n], &want.rounded.tensors[n]);
        if got[n].shape() != exact.shape {
            return Err(format!("{} has shape {:?}, not {:?}", tensor.name, got[n].shape(), exact.shape));
        }
        let wrong = if tensor.bag {
            match counter_of(func, n) {
                Some(count) => bag(&got[n], rounded, &want.rounded.tensors[count]),
                None => None,
            }
        } else {
            element(&got[n], exact, rounded)
        };
        if let Some(wrong) = wrong {
            return Err(format!("{}: {wrong}", tensor.name));
        }
    }
    Ok(())
}

/// Compares what the compiled evaluator gives, whose floats are `f64`, with the exact evaluation.
///
/// # Errors
/// The first element that is wrong, in words.
pub fn compare_exact(func: &Func, want: &Expected, got: &[HostTensor]) -> Result<(), String> {
    for (n, tensor) in parameters(func).iter().enumerate() {
        let got = Values::from_host(&got[n]);
        if tensor.bag {
            continue;
        }
        let want = &want.exact.tensors[n];
        if let Some(at) = rooftile_compiler::oracle::deep::first_apart(&got, want, 1e-10) {
            let name = &tensor.name;
            return Err(format!("{name}[{at}] is {:?}, not {:?}", got.get(at), want.get(at)));
        }
    }
    Ok(())
}

/// The tensor parameters in signature order.
#[must_use]
pub fn parameters(func: &Func) -> Vec<&Tensor> {
    let ids = func.params.iter().filter_map(|p| match p {
        ParamRef::Tensor(id) => Some(*id),
        ParamRef::Scalar(_) => None,
    });
    ids.map(|id| &func.tensors[id]).collect()
}

/// The parameter that counts the lists of parameter `list`.
fn counter_of(func: &Func, list: usize) -> Option<usize> {
    fn find(body: &[Stmt], name: usize) -> Option<usize> {
        body.iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Append { list, count, .. } if list.index() == name => Some(count.index()),
            StmtKind::For { body, .. } | StmtKind::Seq { body, .. } | StmtKind::Fold { body, .. } => {
                find(body, name)
            }
            StmtKind::If { then, otherwise, .. } => find(then, name).or_else(|| find(otherwise, name)),
            _ => None,
        })
    }
    find(&func.body, list)
}

/// Lists as multisets, each as long as its count says.
fn bag(got: &HostTensor, want: &Values, count: &Values) -> Option<String> {
    let capacity = *want.shape.last()?;
    for key in 0..count.len() {
        let filled = usize::try_from(count.get(key).as_i64()).unwrap_or(0).min(capacity);
        let sorted = |get: &dyn Fn(usize) -> Scalar| {
            let mut items: Vec<i64> = (0..filled).map(|i| get(key * capacity + i).as_i64()).collect();
            items.sort_unstable();
            items
        };
        let (a, b) = (sorted(&|i| got.get(i)), sorted(&|i| want.get(i)));
        if a != b {
            return Some(format!("list {key} holds {a:?}, not {b:?}"));
        }
    }
    None
}

/// The first element that is wrong.
fn element(got: &HostTensor, exact: &Values, rounded: &Values) -> Option<String> {
    let bound = Bound::of(exact, rounded);
    for i in 0..got.len() {
        let (g, e, r) = (got.get(i), exact.get(i), rounded.get(i));
        let right = match (g, e, r) {
            (Scalar::Complex(a, b), Scalar::Complex(ea, eb), Scalar::Complex(ra, rb)) => {
                bound.holds(a, ea, ra) && bound.holds(b, eb, rb)
            }
            (Scalar::Float(g), _, _) => bound.holds(g, e.as_f64(), r.as_f64()),
            _ => g == r,
        };
        if !right {
            let allowed = bound.at(e.as_f64());
            return Some(format!("element {i} is {g:?}, not {e:?} (rounded {r:?}, allowed {allowed:.3e})"));
        }
    }
    None
}

/// How far floats of one tensor may be off.
struct Bound {
    spread: f64,
    magnitude: f64,
    output: f64,
    arithmetic: f64,
}

impl Bound {
    fn of(exact: &Values, rounded: &Values) -> Bound {
        let (e, r) = (parts(exact), parts(rounded));
        let finite = |v: &f64| v.is_finite();
        let spread = e.iter().zip(&r).map(|(e, r)| (e - r).abs()).filter(finite).fold(0.0, f64::max);
        let magnitude = e.iter().map(|v| v.abs()).filter(finite).fold(0.0, f64::max);
        let real = exact.dtype.real();
        let double = real == DType::F64;
        Bound {
            spread,
            magnitude,
            output: real.unit_roundoff().unwrap_or(0.0),
            arithmetic: if double { f64::EPSILON / 2.0 } else { f64::from(f32::EPSILON) / 2.0 },
        }
    }

    /// The bound of an element whose exact value is `e`.
    fn at(&self, e: f64) -> f64 {
        SPREAD * self.spread
            + OUTPUT_ULPS * 2.0 * self.output * e.abs()
            + ARITHMETIC_ULPS * self.arithmetic * self.magnitude
    }

    fn holds(&self, g: f64, e: f64, r: f64) -> bool {
        if r.is_nan() && e.is_finite() {
            // An overflow underway: in another order of rounding anything may come of it.
            return true;
        }
        if !r.is_finite() || !e.is_finite() {
            // An overflow of the declared types is allowed to happen, or not to.
            return (g.is_nan() && (r.is_nan() || e.is_nan())) || g == r || g == e;
        }
        (g - e).abs().min((g - r).abs()) <= self.at(e)
    }
}

fn parts(values: &Values) -> Vec<f64> {
    match &values.data {
        Data::Float(v) => v.clone(),
        Data::Complex(v) => v.iter().flat_map(|&(re, im)| [re, im]).collect(),
        Data::Int(_) | Data::Bool(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(data: &[f64]) -> Values {
        Values { dtype: DType::F32, shape: vec![data.len()], data: Data::Float(data.to_vec()) }
    }

    fn judged(got: [f64; 3], exact: [f64; 3], rounded: [f64; 3]) -> bool {
        let got = HostTensor::from_fn(DType::F32, &[3], |i| Scalar::Float(got[i])).expect("small");
        element(&got, &outputs(&exact), &outputs(&rounded)).is_none()
    }

    #[test]
    fn one_wrong_element_is_found() {
        let exact = [1.0, -2.0, 0.5];
        assert!(judged(exact, exact, exact));
        assert!(judged([1.0 + 1e-7, -2.0, 0.5], exact, exact));
        assert!(!judged([1.0, -2.0, 0.5001], exact, exact));
        assert!(!judged([1.0, f64::NAN, 0.5], exact, exact));
        assert!(judged([1.0, f64::INFINITY, 0.5], exact, [1.0, f64::INFINITY, 0.5]));
        assert!(judged([1.0, 0.0, 0.5], exact, [1.0, f64::NAN, 0.5]));
        assert!(!judged([1.0, f64::NAN, 0.5], exact, [f64::NAN, -2.0, 0.5]));
    }
}

//! Null models: outputs that know nothing of the computation. A tolerance that accepts one of them judges nothing.

use rooftile_artifact::{HostTensor, Scalar};

use crate::diag::{Code, Diagnostic, Span};
use crate::oracle::values::Values;

use super::tolerance::{Tolerance, judge};

/// The first null model that passes the tolerance, in words: zeros, ones, the mean of the right output, a copy of an
/// input, the output of another run.
///
/// * `expected`: what the oracle gives, and `got_type`, the output's declared type, for the models' elements.
/// * `inputs`: all tensors that the run reads, an `inout`'s old content among them. Only those with the output's extents
///   count.
/// * `previous`: the same output for other data at the same sizes.
#[must_use]
pub fn passes_null_model(
    expected: &Values,
    inputs: &[(&str, &HostTensor)],
    previous: Option<&Values>,
    tolerance: &Tolerance,
) -> Option<String> {
    if expected.is_empty() {
        return None;
    }
    let dtype = expected.dtype;
    let constant = |v: Scalar| HostTensor::from_fn(dtype, &expected.shape, |_| v);
    let passes = |model: &HostTensor| judge(expected, model, tolerance).pass;
    let mean = || {
        let mut sum = (0.0, 0.0);
        for i in 0..expected.len() {
            match expected.get(i) {
                Scalar::Complex(re, im) => sum = (sum.0 + re, sum.1 + im),
                v => sum.0 += v.as_f64(),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let n = expected.len() as f64;
        let (re, im) = (sum.0 / n, sum.1 / n);
        if dtype.is_complex() {
            Scalar::Complex(re, im)
        } else if dtype.is_int() {
            Scalar::Float(re.round())
        } else {
            Scalar::Float(re)
        }
    };
    for (name, v) in [("zeros", Scalar::Int(0)), ("ones", Scalar::Int(1)), ("its own mean", mean())] {
        if constant(v).is_ok_and(|model| passes(&model)) {
            return Some(name.to_owned());
        }
    }
    for (name, input) in inputs {
        if input.shape() == expected.shape.as_slice()
            && HostTensor::from_fn(dtype, input.shape(), |i| input.get(i)).is_ok_and(|model| passes(&model))
        {
            return Some(format!("a copy of `{name}`"));
        }
    }
    let stale = previous.filter(|p| p.shape == expected.shape)?.to_host(dtype).ok()?;
    passes(&stale).then(|| "the output of another run".to_owned())
}

/// The error about an output whose tolerance a null model passes.
#[must_use]
pub fn diagnostic(output: &str, model: &str, span: Span) -> Diagnostic {
    let message = format!("the tolerance of `{output}` accepts {model}");
    Diagnostic::error(Code::LooseTolerance, span, message)
        .help("tighten `tol`, or choose data (`init`) or sizes that tell right from wrong")
}

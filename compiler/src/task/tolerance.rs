//! Judging outputs: every element is compared with the oracle's, under the task's tolerance.

use rooftile_artifact::{DType, HostTensor, Scalar};

use crate::oracle::values::{Data, Values};

/// How far an output may be from the oracle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest root mean square of the errors over that of the reference.
    pub nrmse: Option<f64>,
    /// Largest error of an element over its reference value, the latter taken as at least 1 % of the reference's root
    /// mean square.
    pub maxrel: Option<f64>,
    /// Every element has the reference's value.
    pub exact: bool,
}

impl Tolerance {
    /// Bitwise equal values.
    pub const EXACT: Tolerance = Tolerance { nrmse: None, maxrel: None, exact: true };

    /// What an output without a `tol` is held to: integers exactly; floats to 64 roundings on average, and each to
    /// 8192 (a relative error of 4e-6 and 5e-4 for `f32`).
    #[must_use]
    pub fn default_for(dtype: DType) -> Tolerance {
        match dtype.unit_roundoff() {
            Some(u) => Tolerance { nrmse: Some(64.0 * u), maxrel: Some((8192.0 * u).min(0.5)), exact: false },
            None => Tolerance::EXACT,
        }
    }
}

/// What comparing one output gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Root mean square of the errors over that of the reference; infinite where only the reference is zero.
    pub nrmse: f64,
    /// Largest relative error, see [`Tolerance::maxrel`].
    pub maxrel: f64,
    /// Largest absolute error.
    pub maxabs: f64,
    /// Flat index of the element with the largest relative error; `None` where there is no error.
    pub worst: Option<usize>,
    /// Elements that are NaN on one side only.
    pub nan_mismatch: usize,
    /// Elements whose value differs from the reference rounded to the output's type.
    pub different: usize,
    /// Whether the output is accepted.
    pub pass: bool,
}

impl Verdict {
    /// Of an output whose shape is not the reference's.
    const WRONG_SHAPE: Verdict = Verdict {
        nrmse: f64::INFINITY,
        maxrel: f64::INFINITY,
        maxabs: f64::INFINITY,
        worst: None,
        nan_mismatch: 0,
        different: usize::MAX,
        pass: false,
    };
}

/// Compares an output with the oracle's values.
///
/// NaN must stand where the reference has NaN. An infinity is right where the reference is that infinity, or rounds to it
/// in the output's type.
#[must_use]
pub fn judge(expected: &Values, got: &HostTensor, tolerance: &Tolerance) -> Verdict {
    judge_within(expected, got, tolerance, None)
}

/// As [`judge`], with a second bound that must hold too: no element may be off by more than
/// `bound`, an absolute error as [`super::bound::derive`] gives it.
#[must_use]
pub fn judge_within(
    expected: &Values,
    got: &HostTensor,
    tolerance: &Tolerance,
    bound: Option<f64>,
) -> Verdict {
    if expected.shape != got.shape() {
        return Verdict::WRONG_SHAPE;
    }
    let mut v = match (&expected.data, got.dtype()) {
        (Data::Float(want), dtype) => compare(want.len(), dtype, |i| (want[i], 0.0), &parts(got, false)),
        (Data::Complex(want), dtype) => compare(want.len(), dtype, |i| want[i], &parts(got, true)),
        (Data::Int(want), dtype) => integers(want.len(), dtype, |i| want[i], got),
        (Data::Bool(want), dtype) => integers(want.len(), dtype, |i| i64::from(want[i]), got),
    };
    v.pass = v.nan_mismatch == 0
        && if tolerance.exact {
            v.different == 0
        } else {
            // Not `>`: an error that is NaN passes no bound.
            tolerance.nrmse.is_none_or(|t| v.nrmse <= t)
                && tolerance.maxrel.is_none_or(|t| v.maxrel <= t)
                && bound.is_none_or(|b| v.maxabs <= b)
        };
    v
}

/// The elements as real and imaginary parts; the latter are left out for real tensors.
fn parts(t: &HostTensor, complex: bool) -> Vec<f64> {
    fn read<const N: usize>(t: &HostTensor, value: fn([u8; N]) -> f64) -> Vec<f64> {
        let chunk = |c: &[u8]| value(std::array::from_fn(|i| c[i]));
        t.bytes().chunks_exact(N).map(chunk).collect()
    }
    match (t.dtype(), complex) {
        (DType::F32 | DType::Tf32, false) | (DType::C64, true) => read(t, |b| f32::from_ne_bytes(b).into()),
        (DType::F64, false) | (DType::C128, true) => read(t, f64::from_ne_bytes),
        (_, false) => (0..t.len()).map(|i| t.get(i).as_f64()).collect(),
        (_, true) => (0..t.len())
            .flat_map(|i| match t.get(i) {
                Scalar::Complex(re, im) => [re, im],
                other => [other.as_f64(), 0.0],
            })
            .collect(),
    }
}

fn compare(n: usize, dtype: DType, want: impl Fn(usize) -> (f64, f64), got: &[f64]) -> Verdict {
    let complex = dtype.is_complex() || got.len() == 2 * n && n > 0;
    let at = |i: usize| if complex { (got[2 * i], got[2 * i + 1]) } else { (got[i], 0.0) };
    let mut sum = 0.0;
    let mut counted = 0usize;
    for i in 0..n {
        let (re, im) = want(i);
        let square = re * re + im * im;
        if square.is_finite() {
            sum += square;
            counted += 1;
        }
    }
    let mean = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / count(n) };
    let rms = mean(sum, counted).sqrt();
    let real = dtype.real();
    let round = |v: f64| Scalar::Float(v).cast(real).as_f64();
    let mut v = Verdict {
        nrmse: 0.0,
        maxrel: 0.0,
        maxabs: 0.0,
        worst: None,
        nan_mismatch: 0,
        different: 0,
        pass: false,
    };
    let mut squares = 0.0;
    for i in 0..n {
        let ((wr, wi), (gr, gi)) = (want(i), at(i));
        let nan = (wr.is_nan() || wi.is_nan(), gr.is_nan() || gi.is_nan());
        if nan.0 != nan.1 {
            v.nan_mismatch += 1;
            v.worst.get_or_insert(i);
        }
        if nan.0 || nan.1 {
            continue;
        }
        let same = |w: f64, g: f64| w == g || g == round(w);
        if same(wr, gr) && same(wi, gi) && !(wr == gr && wi == gi) {
            // Rounding alone; an overflow to the same infinity is no error either.
            if gr.is_infinite() || gi.is_infinite() {
                continue;
            }
        } else if !(wr == gr && wi == gi) {
            v.different += 1;
        } else {
            continue;
        }
        let error = if wi == 0.0 && gi == 0.0 { (gr - wr).abs() } else { (gr - wr).hypot(gi - wi) };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        let size = if wi == 0.0 { wr.abs() } else { wr.hypot(wi) };
        let floor = size.max(0.01 * rms);
        let relative = if error == 0.0 {
            0.0
        } else if floor.is_infinite() {
            f64::INFINITY
        } else {
            error / floor
        };
        squares += error * error;
        v.maxabs = v.maxabs.max(error);
        if relative > v.maxrel {
            v.maxrel = relative;
            v.worst = Some(i);
        }
    }
    v.nrmse = match mean(squares, n).sqrt() {
        0.0 => 0.0,
        e => e / rms,
    };
    v
}

fn count(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let v = n as f64;
    v
}

/// Integers as such: 64-bit ones do not fit in a float.
fn integers(n: usize, dtype: DType, want: impl Fn(usize) -> i64, got: &HostTensor) -> Verdict {
    if !dtype.is_int() && dtype != DType::Bool {
        let values: Vec<f64> = (0..n).map(|i| Scalar::Int(want(i)).as_f64()).collect();
        return compare(n, dtype, |i| (values[i], 0.0), &parts(got, false));
    }
    let mut v = compare(
        n,
        DType::F64,
        |i| (Scalar::Int(want(i)).as_f64(), 0.0),
        &(0..n).map(|i| Scalar::Int(got.get(i).as_i64()).as_f64()).collect::<Vec<_>>(),
    );
    v.different = 0;
    for i in 0..n {
        if want(i) != got.get(i).as_i64() {
            v.different += 1;
            v.worst.get_or_insert(i);
        }
    }
    v
}

/// The relative change of the sum over a tensor: what `check conserved(sum(x), r)` bounds. Changes of a sum near zero are
/// measured against the sum of magnitudes.
#[must_use]
pub fn sum_change(before: &HostTensor, after: &HostTensor) -> f64 {
    let (b, a) = (parts(before, false), parts(after, false));
    let (b, a): (f64, f64) = (b.iter().sum(), a.iter().sum::<f64>());
    let magnitude: f64 = parts(before, false).iter().map(|v| v.abs()).sum();
    let change = (a - b).abs();
    if change == 0.0 { 0.0 } else { change / b.abs().max(1e-3 * magnitude) }
}

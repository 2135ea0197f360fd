//! Elements of distributions, and the data of a type where no distribution is written.

use rooftile_artifact::{DType, HostTensor, Scalar};

use crate::hir::ir::{Tensor, TensorId};
use crate::syntax::ast;

use super::bind::Unbound;
use super::dist::Dist;
use super::error::TaskError;
use super::hash::Stream;
use super::inputs::{Maker, Stop, unbound};

impl Maker<'_> {
    /// An element of a distribution by flat index, for distributions that need no shape.
    #[expect(clippy::type_complexity, reason = "a closure over evaluated operands")]
    pub(super) fn element_of(
        &self,
        dtype: DType,
        name: &str,
        dist: &Dist,
    ) -> Result<Box<dyn Fn(u64) -> Result<Scalar, TaskError>>, Stop> {
        let stream = Stream::new(self.seed, name);
        let eval = |e: &ast::Expr| self.eval(name, e);
        Ok(match dist {
            Dist::Uniform(a, b) => {
                let (a, b) = (eval(a)?, eval(b)?);
                Box::new(move |i| Ok(uniform(dtype, a, b, stream, i)))
            }
            Dist::Normal(mean, deviation) => {
                let (mean, deviation) = (eval(mean)?.as_f64(), eval(deviation)?.as_f64());
                Box::new(move |i| {
                    let v = mean + deviation * stream.normal(i);
                    Ok(Scalar::Float(if dtype.is_int() { v.round_ties_even() } else { v }))
                })
            }
            Dist::Cnormal(mean, deviation) => {
                let (mean, deviation) = (eval(mean)?.as_f64(), eval(deviation)?.as_f64());
                let part = move |i| mean + deviation * stream.normal(i);
                Box::new(move |i| Ok(Scalar::Complex(part(2 * i), part(2 * i + 1))))
            }
            Dist::Choice(values) => {
                let values = values.iter().map(eval).collect::<Result<Vec<_>, _>>()?;
                Box::new(move |i| {
                    let at = usize::try_from(stream.below(i, values.len() as u64)).unwrap_or(0);
                    Ok(values[at])
                })
            }
            Dist::Zeros => Box::new(|_| Ok(Scalar::Int(0))),
            Dist::Ones => Box::new(|_| Ok(Scalar::Int(1))),
            Dist::Iota => Box::new(|i| Ok(Scalar::Int(i64::try_from(i).unwrap_or(i64::MAX)))),
            _ => {
                let reason = "the distribution fills a tensor".to_owned();
                return Err(Stop::Fail(TaskError::Init { name: name.to_owned(), reason }));
            }
        })
    }

    pub(super) fn filled(&self, tensor: &Tensor, shape: &[usize], dist: &Dist) -> Result<HostTensor, Stop> {
        let name = tensor.name.as_str();
        let stream = Stream::new(self.seed, name);
        let count: usize = shape.iter().product();
        let eval = |e: &ast::Expr| self.eval(name, e);
        match dist {
            Dist::Bump(base, amplitude) => {
                let base = self.values().elements(base).map_err(|why| self.stop(name, why))?;
                let base: Vec<f64> = base.into_iter().map(Scalar::as_f64).collect();
                let amplitude = eval(amplitude)?.as_f64();
                let table = base.len() > 1;
                if table && shape.first() != Some(&base.len()) {
                    let reason = format!("a table of {} for extents {shape:?}", base.len());
                    return Err(Stop::Fail(TaskError::Init { name: name.to_owned(), reason }));
                }
                fill(tensor, shape, |i| {
                    let mut rest = i;
                    let mut height = 1.0;
                    for (d, &n) in shape.iter().enumerate().rev() {
                        let at = rest % n;
                        rest /= n;
                        if d > 0 || !table {
                            #[expect(clippy::cast_precision_loss, reason = "extents are far below 2^52")]
                            let x = (at as f64 + 0.5) / n as f64;
                            height *= 16.0 * x * x * (1.0 - x) * (1.0 - x) * (0.5 + x);
                        }
                    }
                    let base = if table { base[i / (count / base.len()).max(1)] } else { base[0] };
                    let noise = 0.25 * (2.0 * stream.unit(i as u64) - 1.0);
                    Scalar::Float(base * (1.0 + amplitude * (height + noise)))
                })
            }
            Dist::Sorted(ends) => {
                let (a, b) = match ends {
                    Some((a, b)) => (eval(a)?, eval(b)?),
                    None => (Scalar::Float(0.0), Scalar::Float(1.0)),
                };
                fill(tensor, shape, |i| sorted(tensor.dtype, a, b, stream, i, count))
            }
            Dist::Permutation => fill(tensor, shape, |i| Scalar::Int(permuted(stream, i, count))),
            Dist::Lattice(edge, jitter) => {
                let edge = eval(edge)?.as_f64();
                let jitter = jitter.as_ref().map(eval).transpose()?.map_or(0.2, Scalar::as_f64);
                let dims = shape.last().copied().unwrap_or(1).max(1);
                let points = (count / dims).max(1);
                let fits =
                    |n: &usize| n.checked_pow(u32::try_from(dims).unwrap_or(1)).is_none_or(|s| s >= points);
                let side = (1..).find(fits).unwrap_or(1);
                let sites = side.pow(u32::try_from(dims).unwrap_or(1));
                fill(tensor, shape, |i| {
                    let (point, d) = (i / dims, i % dims);
                    // Where sites are more than points, empty ones are spread evenly.
                    let site = (point as u128 * sites as u128 / points as u128) as usize;
                    let at = site / side.pow(u32::try_from(dims - 1 - d).unwrap_or(0)) % side;
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                    let cell = (at as f64 + 0.5 + jitter * (stream.unit(i as u64) - 0.5)) / side as f64;
                    Scalar::Float(edge * cell)
                })
            }
            other => {
                let element = self.element_of(tensor.dtype, name, other)?;
                fill(tensor, shape, |i| element(i as u64).unwrap_or(Scalar::Int(0)))
            }
        }
    }

    /// The data of a type, see [`generate`].
    pub(super) fn default(&self, id: TensorId, tensor: &Tensor, shape: &[usize]) -> Result<HostTensor, Stop> {
        let stream = Stream::new(self.seed, &tensor.name);
        let count: usize = shape.iter().product();
        let range = match self.func.tensors[id].range {
            Some((lo, hi)) => {
                let int = |e| {
                    self.binder().int(e).map_err(|why| match why {
                        Unbound::Name(name) => Stop::Wait(name),
                        other => Stop::Fail(unbound(other, &tensor.name)),
                    })
                };
                Some((int(lo)?, int(hi)?))
            }
            None => None,
        };
        match tensor.dtype {
            DType::Int { signed, bits } => {
                let (lo, hi) = range.unwrap_or(match (signed, bits) {
                    (false, ..=8) => (0, 1 << bits),
                    (false, _) => (0, 256),
                    (true, ..=7) => (-(1 << (bits - 1)), 1 << (bits - 1)),
                    (true, _) => (-100, 101),
                });
                if lo >= hi && count > 0 {
                    let reason = format!("its range {lo}..{hi} is empty");
                    return Err(Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason }));
                }
                let (a, b) = (Scalar::Int(lo), Scalar::Int(hi));
                if tensor.monotone {
                    // The whole range is covered, ends included: row pointers leave no element out.
                    fill(tensor, shape, |i| match i {
                        0 => a,
                        _ if i + 1 == count => Scalar::Int(hi - 1),
                        _ => sorted(tensor.dtype, a, b, stream, i, count),
                    })
                } else if tensor.injective {
                    // A stride through the range, in random order.
                    let span = usize::try_from(hi - lo).unwrap_or(0);
                    if span < count {
                        let reason = format!("{count} different elements do not fit in {lo}..{hi}");
                        return Err(Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason }));
                    }
                    fill(tensor, shape, |i| Scalar::Int(lo + permuted(stream, i, span)))
                } else {
                    fill(tensor, shape, |i| uniform(tensor.dtype, a, b, stream, i as u64))
                }
            }
            DType::Bool => fill(tensor, shape, |i| Scalar::Bool(stream.below(i as u64, 2) == 1)),
            DType::E8m0 => fill(tensor, shape, |i| Scalar::Float(0.5 + 1.5 * stream.unit(i as u64))),
            d if d.is_complex() => fill(tensor, shape, |i| {
                Scalar::Complex(stream.normal(2 * i as u64), stream.normal(2 * i as u64 + 1))
            }),
            _ => fill(tensor, shape, |i| Scalar::Float(stream.normal(i as u64))),
        }
    }
}

pub(super) fn fill(
    tensor: &Tensor,
    shape: &[usize],
    f: impl FnMut(usize) -> Scalar,
) -> Result<HostTensor, Stop> {
    HostTensor::from_fn(tensor.dtype, shape, f)
        .map_err(|e| Stop::Fail(TaskError::Init { name: tensor.name.clone(), reason: e.to_string() }))
}

/// Uniform from `a` to below `b`.
pub(super) fn uniform(dtype: DType, a: Scalar, b: Scalar, stream: Stream, i: u64) -> Scalar {
    if dtype.is_int() {
        let (a, b) = (a.as_i64(), b.as_i64());
        let span = u64::try_from(i128::from(b) - i128::from(a)).unwrap_or(0);
        return Scalar::Int(a.wrapping_add_unsigned(stream.below(i, span)));
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    Scalar::Float(a + (b - a) * stream.unit(i))
}

/// The `i`-th of `n` values from `a` to below `b`, ascending: each has a part of the range to itself.
fn sorted(dtype: DType, a: Scalar, b: Scalar, stream: Stream, i: usize, n: usize) -> Scalar {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let at = (i as f64 + stream.unit(i as u64)) / n.max(1) as f64;
    let v = a.as_f64() + (b.as_f64() - a.as_f64()) * at;
    if dtype.is_int() { Scalar::Float(v.floor()) } else { Scalar::Float(v) }
}

/// Where `i` goes in a random permutation of `0..n`: a Feistel network of four rounds over the least even number of bits
/// that holds `n`, walked until it lands inside.
fn permuted(stream: Stream, i: usize, n: usize) -> i64 {
    let bits = (usize::BITS - n.saturating_sub(1).leading_zeros()).max(2).div_ceil(2);
    let mask = (1u64 << bits) - 1;
    let mut v = i as u64;
    loop {
        let (mut left, mut right) = (v >> bits, v & mask);
        for round in 0..4u64 {
            let mixed = stream.bits(round << 56 | right) & mask;
            (left, right) = (right, left ^ mixed);
        }
        v = left << bits | right;
        if v < n.max(1) as u64 {
            return i64::try_from(v).unwrap_or(i64::MAX);
        }
    }
}

//! Checks what a caller promises of integer inputs.

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::{Contract, TensorParam};
use rooftile_artifact::{DType, HostTensor};

use crate::error::{Error, InputError, expression, malformed};

/// Checks every promise of a parameter against the tensor given for it.
///
/// # Errors
/// [`InputError`] naming the parameter, the index and the value of the first element that breaks a promise.
pub(crate) fn check(param: &TensorParam, tensor: &HostTensor, env: &HostEnv<'_>) -> Result<(), Error> {
    for contract in &param.contracts {
        if !tensor.dtype().is_int() {
            return Err(malformed(format!("{} has a promise but no integers", param.name)));
        }
        match contract {
            Contract::Range(lo, hi) => {
                let bound = |e: &rooftile_artifact::HostExpr| {
                    e.eval_int(env).map_err(|e| expression(format!("the range of {}", param.name), e))
                };
                range(param, tensor, bound(lo)?, bound(hi)?)?;
            }
            Contract::Monotone => monotone(param, tensor)?,
            Contract::Injective => injective(param, tensor)?,
        }
    }
    Ok(())
}

/// The elements in storage order; a `u64` above `i64::MAX` is given as it is meant, not by its bits.
fn values(tensor: &HostTensor) -> impl Iterator<Item = i128> + '_ {
    let unsigned = tensor.dtype() == DType::U64;
    (0..tensor.len()).map(move |i| {
        let v = tensor.get(i).as_i64();
        #[expect(clippy::cast_sign_loss, reason = "the bits of a u64")]
        if unsigned { i128::from(v as u64) } else { i128::from(v) }
    })
}

fn range(param: &TensorParam, tensor: &HostTensor, lo: i64, hi: i64) -> Result<(), InputError> {
    let allowed = i128::from(lo)..i128::from(hi);
    match values(tensor).enumerate().find(|(_, v)| !allowed.contains(v)) {
        Some((index, value)) => {
            Err(InputError::OutOfRange { param: param.name.clone(), index, value, lo, hi })
        }
        None => Ok(()),
    }
}

fn monotone(param: &TensorParam, tensor: &HostTensor) -> Result<(), InputError> {
    let mut previous = i128::MIN;
    for (index, value) in values(tensor).enumerate() {
        if value < previous {
            return Err(InputError::NotMonotone { param: param.name.clone(), index, value, previous });
        }
        previous = value;
    }
    Ok(())
}

fn injective(param: &TensorParam, tensor: &HostTensor) -> Result<(), InputError> {
    let mut order: Vec<(i128, usize)> = values(tensor).zip(0..).collect();
    order.sort_unstable();
    // Of all equal pairs, the one whose second element comes first in storage.
    let twin = order.windows(2).filter(|w| w[0].0 == w[1].0).min_by_key(|w| w[1].1);
    match twin {
        Some(w) => {
            let (value, first, index) = (w[0].0, w[0].1, w[1].1);
            Err(InputError::NotInjective { param: param.name.clone(), first, index, value })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::program::Mode;
    use rooftile_artifact::{HostExpr, Scalar};

    fn verdict(contract: Contract, values: &[i64]) -> Result<(), InputError> {
        let param = TensorParam { name: "idx".into(), mode: Mode::In, contracts: vec![contract] };
        let tensor =
            HostTensor::from_fn(DType::I32, &[values.len()], |i| Scalar::Int(values[i])).expect("small");
        let env = HostEnv { sizes: &[4], ..HostEnv::default() };
        match check(&param, &tensor, &env) {
            Ok(()) => Ok(()),
            Err(Error::Input(e)) => Err(e),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn promises_are_checked() {
        let range = || Contract::Range(0.into(), HostExpr::Size(0));
        assert_eq!(verdict(range(), &[0, 3, 1]), Ok(()));
        let param = || "idx".to_owned();
        assert_eq!(
            verdict(range(), &[0, 4, -1]),
            Err(InputError::OutOfRange { param: param(), index: 1, value: 4, lo: 0, hi: 4 })
        );
        assert_eq!(verdict(Contract::Monotone, &[-2, 0, 0, 9]), Ok(()));
        assert_eq!(
            verdict(Contract::Monotone, &[0, 2, 1]),
            Err(InputError::NotMonotone { param: param(), index: 2, value: 1, previous: 2 })
        );
        assert_eq!(verdict(Contract::Injective, &[3, 1, 2]), Ok(()));
        assert_eq!(
            verdict(Contract::Injective, &[5, 1, 2, 1, 5]),
            Err(InputError::NotInjective { param: param(), first: 1, index: 3, value: 1 })
        );
        assert_eq!(verdict(Contract::Injective, &[]), Ok(()));
    }
}

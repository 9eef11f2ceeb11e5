//! A bias on every row, and its gradient.

use crate::{Target, Tensor, TensorError};
use mode_kernels::{bias as forward, sum_rows as kernel};

/// x `[.., width]` + b `[width]`.
///
/// # Errors
/// A bias of another width.
pub fn bias(x: &Tensor, b: &Tensor) -> Result<Tensor, TensorError> {
    if b.shape() != [x.width()] {
        return Err(TensorError::shape("bias", "the bias is not as wide as x", x.shape(), b.shape()));
    }
    let y = x.empty_like()?;
    forward::bias(x.device(), x.view(), b.view(), y.view())?;
    Ok(y)
}

/// The sum over the rows of x `[.., width]`, put where `into` says.
///
/// # Errors
/// A target of another width.
pub fn sum_rows(x: &Tensor, into: Target) -> Result<Tensor, TensorError> {
    let (y, accumulate) = match into {
        Target::New => (Tensor::empty(x.device(), &[x.width()])?, false),
        Target::Overwrite(y) => (y.clone(), false),
        Target::Add(y) => (y.clone(), true),
    };
    if y.len() != x.width() {
        return Err(TensorError::shape("sum_rows", "the sum does not fit its target", x.shape(), y.shape()));
    }
    kernel::sum_rows(x.device(), x.view(), y.view(), accumulate)?;
    Ok(y)
}

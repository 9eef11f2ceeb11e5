//! The sum over rows: a bias' gradient.

use crate::{Dtype, Target, Tensor, TensorError};
use mode_kernels::sum_rows as kernel;

/// The sum over the rows of x `[.., width]`, put where `into` says.
///
/// # Errors
/// A target of another width.
pub fn sum_rows(x: &Tensor, into: Target) -> Result<Tensor, TensorError> {
    let (y, accumulate) = into.place(x.device(), Dtype::F32, &[x.width()])?;
    if y.len() != x.width() {
        return Err(TensorError::shape("sum_rows", "the sum does not fit its target", x.shape(), y.shape()));
    }
    kernel::sum_rows(x.device(), x.view(), y.view(), accumulate)?;
    Ok(y)
}

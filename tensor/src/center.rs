//! Rows less their means.

use crate::{Tensor, TensorError};
use mode_kernels::center as kernel;

/// x - mean(x), over the last dim; also its own gradient.
///
/// # Errors
/// What the device reports.
pub fn center(x: &Tensor) -> Result<Tensor, TensorError> {
    let y = Tensor::empty(x.device(), x.shape())?;
    kernel::center(x.device(), x.width(), x.view(), y.view())?;
    Ok(y)
}

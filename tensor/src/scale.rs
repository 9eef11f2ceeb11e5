//! y = alpha x, and y += x.

use crate::{Tensor, TensorError};
use mode_kernels::scale as kernel;

/// alpha x.
///
/// # Errors
/// What the device reports.
pub fn scale(x: &Tensor, alpha: f32) -> Result<Tensor, TensorError> {
    let y = x.empty_like()?;
    kernel::scale(x.device(), alpha, x.view(), y.view(), false)?;
    Ok(y)
}

/// y += x, in place.
///
/// # Errors
/// Shapes that differ.
pub fn accumulate(x: &Tensor, y: &Tensor) -> Result<(), TensorError> {
    x.same_shape(y, "accumulate")?;
    Ok(kernel::scale(x.device(), 1.0, x.view(), y.view(), true)?)
}

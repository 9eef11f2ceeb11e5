//! x = value, everywhere.

use crate::{Tensor, TensorError};

/// Sets every element of `x` to `value`, in place.
///
/// # Errors
/// What the device reports.
pub fn fill(x: &Tensor, value: f32) -> Result<(), TensorError> {
    Ok(mode_kernels::fill::fill(x.device(), value, x.view())?)
}

//! Sum of squares of several tensors.

use crate::{Tensor, TensorError};

/// `factor` times the sum of squares of all elements of all `tensors` `[1]`, which must be at least one.
///
/// # Errors
/// What the device reports.
pub fn sum_of_squares<'a>(
    factor: f32,
    tensors: impl IntoIterator<Item = &'a Tensor>,
    sum: &Tensor,
) -> Result<(), TensorError> {
    for (i, tensor) in tensors.into_iter().enumerate() {
        mode_kernels::sum_of_squares::sum_of_squares(tensor.device(), factor, tensor.view(), sum.view(), i > 0)?;
    }
    Ok(())
}

//! Copies: of a whole tensor, and of rows into a larger one.

use crate::{Tensor, TensorError};
use mode_kernels::{Dtype, View, scale as kernel};

/// y = x, in place; halves are widened, by way of main memory.
///
/// # Errors
/// Shapes that differ.
pub fn copy(x: &Tensor, y: &Tensor) -> Result<(), TensorError> {
    x.same_shape(y, "copy")?;
    if x.dtype() != Dtype::F32 {
        return y.write(&x.to_vec()?);
    }
    Ok(kernel::scale(x.device(), 1.0, x.view(), y.view(), false)?)
}

/// Rows `first` and on of y `[rows, width]` = x `[count, width]`, in place.
///
/// # Errors
/// Another width, or more rows than y has from there on.
pub fn copy_rows(x: &Tensor, y: &Tensor, first: usize) -> Result<(), TensorError> {
    if x.width() != y.width() || first.checked_add(x.rows()).is_none_or(|end| end > y.rows()) {
        return Err(TensorError::shape("copy_rows", "the rows do not fit", x.shape(), y.shape()));
    }
    let to = View { offset: y.view().offset + first * y.width(), len: x.len(), ..y.view().clone() };
    Ok(x.device().copy(x.view(), &to)?)
}

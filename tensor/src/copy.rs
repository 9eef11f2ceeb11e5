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
    copy_block(x, 0, y, first, x.rows())
}

/// `count` rows of y `[rows, width]` from `to` on = those of x from `from` on, in place.
///
/// # Errors
/// Another width, or more rows than there are.
pub fn copy_block(x: &Tensor, from: usize, y: &Tensor, to: usize, count: usize) -> Result<(), TensorError> {
    let fits = |t: &Tensor, first: usize| first.checked_add(count).is_some_and(|end| end <= t.rows());
    if x.width() != y.width() || !fits(x, from) || !fits(y, to) {
        return Err(TensorError::shape("copy_rows", "the rows do not fit", x.shape(), y.shape()));
    }
    let rows = |t: &Tensor, first: usize| {
        let view = t.view();
        View { offset: view.offset + first * t.width(), len: count * t.width(), ..view.clone() }
    };
    Ok(x.device().copy(&rows(x, from), &rows(y, to))?)
}

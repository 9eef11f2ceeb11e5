//! A block of a matrix's columns, and the way back.

use crate::{Tensor, TensorError};
use mode_kernels::columns::{self as kernel, Params};

/// Columns `first` and on of x `[rows, width]`, `count` of them: `[rows, count]`.
///
/// # Errors
/// More columns than there are.
pub fn columns(x: &Tensor, first: usize, count: usize) -> Result<Tensor, TensorError> {
    let y = Tensor::empty_as(x.device(), x.dtype(), &[x.rows(), count])?;
    block([x, &y], [first, 0], count, false)?;
    Ok(y)
}

/// Adds x `[rows, count]` to the columns `first` and on of y `[rows, width]`.
///
/// # Errors
/// More columns than there are, or other rows.
pub fn add_columns(x: &Tensor, y: &Tensor, first: usize) -> Result<(), TensorError> {
    block([x, y], [0, first], x.width(), true)
}

fn block([x, y]: [&Tensor; 2], [x_first, y_first]: [usize; 2], width: usize, add: bool) -> Result<(), TensorError> {
    let fits = |t: &Tensor, first: usize| first.checked_add(width).is_some_and(|end| end <= t.width());
    if !fits(x, x_first) || !fits(y, y_first) || x.rows() != y.rows() {
        return Err(TensorError::shape("columns", "no such block of columns", x.shape(), y.shape()));
    }
    let [rows, width, x_row, y_row, x_first, y_first] =
        [x.rows(), width, x.width(), y.width(), x_first, y_first].map(|v| v as u32);
    let params =
        Params { rows, width, x_row, y_row, x_first, y_first, accumulate: add.into(), dtype: x.dtype().code() };
    Ok(kernel::columns(x.device(), params, x.view(), y.view())?)
}

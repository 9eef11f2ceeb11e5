//! Rows of a table by id, and their gradient.

use crate::{Ids, Tensor, TensorError};
use mode_kernels::{View, embedding as forward, embedding_backward as backward};

/// Rows `ids` of `table` `[rows, width]`: `[tokens, width]`.
///
/// # Errors
/// An id that the table does not have.
pub fn embedding(ids: &Ids, table: &Tensor) -> Result<Tensor, TensorError> {
    ids.check_range(table.rows())?;
    let y = Tensor::empty(table.device(), &[ids.len(), table.width()])?;
    forward::embedding(table.device(), table.width(), ids.view(), table.view(), y.view())?;
    Ok(y)
}

/// Adds dy `[tokens, width]` to the rows `ids` of `dtable`, but for the row of `padding`.
///
/// # Errors
/// An id that the table does not have, or another shape of dy.
pub fn embedding_backward(ids: &Ids, padding: Option<u32>, dy: &Tensor, dtable: &Tensor) -> Result<(), TensorError> {
    ids.check_range(dtable.rows())?;
    if dy.rows() != ids.len() || dy.width() != dtable.width() {
        return Err(TensorError::shape("embedding_backward", "dy does not fit", dy.shape(), dtable.shape()));
    }
    let device = dy.device();
    let sizes = [dtable.width() as u32, padding.unwrap_or(backward::NO_PADDING)];
    let order = View::whole(device.alloc(ids.len())?);
    device.write_ids(&order, &backward::order_by_id(ids.host()))?;
    Ok(backward::embedding_backward(device, sizes, ids.view(), &order, dy.view(), dtable.view())?)
}

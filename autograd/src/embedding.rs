//! Rows of a table by id; the gradient is added to those rows, but for that of the padding id, which learns nothing from being
//! looked up (as torch's `padding_idx`).

use crate::{AutogradError, Var};
use mode_tensor::{Dtype, Ids, embedding_backward};

/// Rows `ids` of `table` `[rows, width]`: `[tokens, width]`.
///
/// # Errors
/// An id that the table does not have.
pub fn embedding(ids: &Ids, table: &Var, padding: Option<u32>) -> Result<Var, AutogradError> {
    let y = mode_tensor::embedding(ids, table.value())?;
    Var::record("embedding", y, &[table], |_| {
        let (ids, shape) = (ids.clone(), table.value().shape().to_vec());
        Box::new(move |g, sink| {
            sink.compute(0, |target| {
                let dtable = target.to_add_to(g.device(), Dtype::F32, &shape)?;
                embedding_backward(&ids, padding, g, &dtable)?;
                Ok(dtable)
            })
        })
    })
}

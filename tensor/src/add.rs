//! c = a + b.

use crate::{Tensor, TensorError};

/// a + b, element by element, stored like a; written to `out` if one is given.
///
/// # Errors
/// Shapes that differ.
pub fn add(a: &Tensor, b: &Tensor, out: Option<&Tensor>) -> Result<Tensor, TensorError> {
    a.same_shape(b, "add")?;
    let c = match out {
        Some(out) => out.clone(),
        None => a.empty_like()?,
    };
    c.same_shape(a, "add")?;
    mode_kernels::add::add(a.device(), a.view(), b.view(), c.view())?;
    Ok(c)
}

//! y = alpha x: dx = alpha dy.

use crate::{AutogradError, Var};

/// alpha x.
///
/// # Errors
/// What the device reports.
pub fn scale(x: &Var, alpha: f32) -> Result<Var, AutogradError> {
    let y = mode_tensor::scale(x.value(), alpha)?;
    Var::record("scale", y, &[x], |_| Box::new(move |g, sink| sink.add(0, mode_tensor::scale(g, alpha)?)))
}

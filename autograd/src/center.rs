//! y = x - mean(x), a projection: dx = dy - mean(dy).

use crate::{AutogradError, Var};

/// Rows less their means.
///
/// # Errors
/// What the device reports.
pub fn center(x: &Var) -> Result<Var, AutogradError> {
    let y = mode_tensor::center(x.value())?;
    Var::record("center", y, &[x], |_| Box::new(|g, sink| sink.add(0, mode_tensor::center(g)?)))
}

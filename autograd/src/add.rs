//! c = a + b: dc goes to both.

use crate::{AutogradError, Var};
use mode_tensor::Tensor;

/// a + b.
///
/// # Errors
/// Shapes that differ.
pub fn add(a: &Var, b: &Var) -> Result<Var, AutogradError> {
    add_at(a, b, None)
}

/// a + b, written to `out` if one is given: a branch of a merge ends in the merge's own memory.
///
/// # Errors
/// Shapes that differ.
pub fn add_at(a: &Var, b: &Var, out: Option<&Tensor>) -> Result<Var, AutogradError> {
    let c = mode_tensor::add(a.value(), b.value(), out)?;
    Var::record("add", c, &[a, b], |_| {
        Box::new(|g, sink| {
            sink.add(0, g.clone())?;
            sink.add(1, g.clone())
        })
    })
}

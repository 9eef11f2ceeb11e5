//! y = x + b: dx = dy, db the sum over dy's rows.

use crate::{AutogradError, Var};
use mode_tensor::sum_rows;

/// x `[.., width]` + b `[width]`.
///
/// # Errors
/// A bias of another width.
pub fn bias(x: &Var, b: &Var) -> Result<Var, AutogradError> {
    let y = mode_tensor::bias(x.value(), b.value())?;
    Var::record("bias", y, &[x, b], |_| {
        Box::new(|g, sink| {
            sink.add(0, g.clone())?;
            sink.compute(1, |target| sum_rows(g, target))
        })
    })
}

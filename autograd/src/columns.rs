//! A block of columns of x `[rows, width]`: its gradient is added to the same columns of dx.

use crate::{AutogradError, Var};
use mode_tensor::add_columns;

/// Columns `first` and on of x, `count` of them.
///
/// # Errors
/// More columns than there are.
pub fn columns(x: &Var, first: usize, count: usize) -> Result<Var, AutogradError> {
    let y = mode_tensor::columns(x.value(), first, count)?;
    Var::record("columns", y, &[x], |_| {
        let shape = x.value().shape().to_vec();
        Box::new(move |g, sink| {
            sink.compute(0, |target| {
                let dx = target.to_add_to(g.device(), g.dtype(), &shape)?;
                add_columns(g, &dx, first)?;
                Ok(dx)
            })
        })
    })
}

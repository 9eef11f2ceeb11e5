//! h = f(x): dx = dh f'(x).

use crate::{AutogradError, Var};
use mode_tensor::{Activation, activation_backward};

/// f(x), element by element.
///
/// # Errors
/// What the device reports.
pub fn activation(activation: Activation, x: &Var) -> Result<Var, AutogradError> {
    let h = mode_tensor::activation(activation, x.value())?;
    Var::record("activation", h, &[x], |_| {
        let x = x.value().clone();
        Box::new(move |g, sink| sink.add(0, activation_backward(activation, &x, g)?))
    })
}

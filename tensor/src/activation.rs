//! h = f(x): activations.

use crate::{Activation, Tensor, TensorError};
use mode_kernels::{activation as forward, activation_backward as backward};

/// f(x).
///
/// # Errors
/// What the device reports.
pub fn activation(activation: Activation, x: &Tensor) -> Result<Tensor, TensorError> {
    let h = x.empty_like()?;
    forward::activation(x.device(), activation, x.view(), h.view())?;
    Ok(h)
}

/// Gradient of x.
///
/// # Errors
/// Shapes that differ.
pub fn activation_backward(activation: Activation, x: &Tensor, dh: &Tensor) -> Result<Tensor, TensorError> {
    x.same_shape(dh, "activation_backward")?;
    let dx = x.empty_like()?;
    backward::activation_backward(x.device(), activation, x.view(), dh.view(), dx.view())?;
    Ok(dx)
}

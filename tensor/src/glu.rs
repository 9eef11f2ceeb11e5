//! h = f(gate) * up: gated linear units.

use crate::{Activation, Tensor, TensorError};
use mode_kernels::{glu as forward, glu_backward as backward};

/// f(gate) * up.
///
/// # Errors
/// Shapes that differ.
pub fn glu(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor, TensorError> {
    gate.same_shape(up, "glu")?;
    let h = gate.empty_like()?;
    forward::glu(gate.device(), activation, gate.view(), up.view(), h.view())?;
    Ok(h)
}

/// Gradients of gate and up.
///
/// # Errors
/// Shapes that differ.
pub fn glu_backward(
    activation: Activation,
    gate: &Tensor,
    up: &Tensor,
    dh: &Tensor,
) -> Result<(Tensor, Tensor), TensorError> {
    gate.same_shape(dh, "glu_backward")?;
    let dgate = gate.empty_like()?;
    let dup = gate.empty_like()?;
    let (inputs, outputs) = ([gate.view(), up.view(), dh.view()], [dgate.view(), dup.view()]);
    backward::glu_backward(gate.device(), activation, inputs, outputs)?;
    Ok((dgate, dup))
}

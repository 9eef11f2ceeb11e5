//! h = silu(gate) * up.

use crate::{Tensor, TensorError};
use mode_kernels::{swiglu as forward, swiglu_backward as backward};

/// silu(gate) * up.
///
/// # Errors
/// Shapes that differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor, TensorError> {
    gate.same_shape(up, "swiglu")?;
    let h = Tensor::empty(gate.device(), gate.shape())?;
    forward::swiglu(gate.device(), gate.view(), up.view(), h.view())?;
    Ok(h)
}

/// Gradients of gate and up.
///
/// # Errors
/// Shapes that differ.
pub fn swiglu_backward(gate: &Tensor, up: &Tensor, dh: &Tensor) -> Result<(Tensor, Tensor), TensorError> {
    gate.same_shape(dh, "swiglu_backward")?;
    let dgate = Tensor::empty(gate.device(), gate.shape())?;
    let dup = Tensor::empty(gate.device(), gate.shape())?;
    backward::swiglu_backward(gate.device(), gate.view(), up.view(), dh.view(), dgate.view(), dup.view())?;
    Ok((dgate, dup))
}

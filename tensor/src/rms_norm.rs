//! RMSNorm over the last dim.

use crate::{Target, Tensor, TensorError};
use mode_kernels::{Dtype, rms_norm as forward, rms_norm_dw as dw_kernel, rms_norm_dx as dx_kernel};

/// y = x r (offset + weight) like x, stored as `dtype`, and the inverse root mean squares `[rows]` that the backward needs.
/// x `[.., width]`, weight `[width]`.
///
/// # Errors
/// A weight of another width.
pub fn rms_norm(
    x: &Tensor,
    weight: &Tensor,
    [epsilon, offset]: [f32; 2],
    dtype: Dtype,
) -> Result<(Tensor, Tensor), TensorError> {
    if weight.shape() != [x.width()] {
        return Err(TensorError::shape("rms_norm", "the weight is not as wide as x", x.shape(), weight.shape()));
    }
    let y = Tensor::empty_as(x.device(), dtype, x.shape())?;
    let r = Tensor::empty(x.device(), &[x.rows()])?;
    forward::rms_norm(x.device(), [epsilon, offset], x.view(), weight.view(), y.view(), r.view())?;
    Ok((y, r))
}

/// Gradient of x.
///
/// # Errors
/// Shapes that differ.
pub fn rms_norm_dx(x: &Tensor, weight: &Tensor, offset: f32, r: &Tensor, dy: &Tensor) -> Result<Tensor, TensorError> {
    x.same_shape(dy, "rms_norm_dx")?;
    let dx = x.empty_like()?;
    dx_kernel::rms_norm_dx(x.device(), offset, x.view(), weight.view(), r.view(), dy.view(), dx.view())?;
    Ok(dx)
}

/// Gradient of the weight, put where `into` says.
///
/// # Errors
/// Shapes that differ.
pub fn rms_norm_dw(x: &Tensor, r: &Tensor, dy: &Tensor, into: Target) -> Result<Tensor, TensorError> {
    x.same_shape(dy, "rms_norm_dw")?;
    let (dw, accumulate) = match into {
        Target::New => (Tensor::empty(x.device(), &[x.width()])?, false),
        Target::Overwrite(dw) => (dw.clone(), false),
        Target::Add(dw) => (dw.clone(), true),
    };
    dw_kernel::rms_norm_dw(x.device(), x.view(), r.view(), dy.view(), dw.view(), accumulate)?;
    Ok(dw)
}

//! Norms over the last dim: RMSNorm, and LayerNorm, which is centered.

use crate::{Target, Tensor, TensorError};
use mode_kernels::{Dtype, rms_norm as forward, rms_norm_dw as dw_kernel, rms_norm_dx as dx_kernel};

/// y = x r (offset + weight) like x, stored as `dtype`, and the scales r `[rows]` that the backward needs. x `[.., width]`, weight
/// `[width]`.
///
/// # Errors
/// A weight of another width.
pub fn rms_norm(
    x: &Tensor,
    weight: &Tensor,
    [epsilon, offset]: [f32; 2],
    dtype: Dtype,
) -> Result<(Tensor, Tensor), TensorError> {
    norm("rms_norm", x, weight, None, [epsilon, offset], dtype)
}

/// y = (x - m) r weight + bias like x, stored as `dtype`, m the means of x's rows, and the scales r and m `[2, rows]` that the backward
/// needs. x `[.., width]`, weight and bias `[width]`.
///
/// # Errors
/// A weight or a bias of another width.
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f32,
    dtype: Dtype,
) -> Result<(Tensor, Tensor), TensorError> {
    norm("layer_norm", x, weight, Some(bias), [epsilon, 0.0], dtype)
}

fn norm(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    settings: [f32; 2],
    dtype: Dtype,
) -> Result<(Tensor, Tensor), TensorError> {
    if let Some(other) = std::iter::once(weight).chain(bias).find(|param| param.shape() != [x.width()]) {
        return Err(TensorError::shape(op, "a parameter is not as wide as x", x.shape(), other.shape()));
    }
    let y = Tensor::empty_as(x.device(), dtype, x.shape())?;
    let shape = [2, x.rows()];
    let scales = Tensor::empty(x.device(), if bias.is_some() { &shape } else { &shape[1..] })?;
    let (inputs, outputs) = ([x.view(), weight.view()], [y.view(), scales.view()]);
    forward::rms_norm(x.device(), settings, inputs, bias.map(Tensor::view), outputs)?;
    Ok((y, scales))
}

/// An error if `scales` are not those of as many rows as x has.
fn check_scales(op: &'static str, x: &Tensor, scales: &Tensor) -> Result<(), TensorError> {
    if scales.shape() == [x.rows()] || scales.shape() == [2, x.rows()] {
        return Ok(());
    }
    Err(TensorError::shape(op, "the scales are not those that the norm of x gave", x.shape(), scales.shape()))
}

/// Gradient of x, of a norm that gave these `scales`; `offset` is 0 for LayerNorm.
///
/// # Errors
/// Shapes that differ.
pub fn rms_norm_dx(
    x: &Tensor,
    weight: &Tensor,
    offset: f32,
    scales: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    x.same_shape(dy, "rms_norm_dx")?;
    check_scales("rms_norm_dx", x, scales)?;
    if weight.shape() != [x.width()] {
        return Err(TensorError::shape("rms_norm_dx", "the weight is not as wide as x", x.shape(), weight.shape()));
    }
    let dx = x.empty_like()?;
    let inputs = [x.view(), weight.view(), scales.view(), dy.view()];
    dx_kernel::rms_norm_dx(x.device(), offset, inputs, dx.view())?;
    Ok(dx)
}

/// Gradient of the weight, put where `into` says.
///
/// # Errors
/// Shapes that differ.
pub fn rms_norm_dw(x: &Tensor, scales: &Tensor, dy: &Tensor, into: Target) -> Result<Tensor, TensorError> {
    x.same_shape(dy, "rms_norm_dw")?;
    check_scales("rms_norm_dw", x, scales)?;
    let (dw, accumulate) = into.place(x.device(), Dtype::F32, &[x.width()])?;
    dw_kernel::rms_norm_dw(x.device(), [x.view(), scales.view(), dy.view()], dw.view(), accumulate)?;
    Ok(dw)
}

//! Causal attention over windows, with grouped queries.

use crate::{Dtype, Tensor, TensorError};
use mode_kernels::attention::{self as forward, Params};
use mode_kernels::attention_backward as backward;
use mode_kernels::matmul::Precision;

/// Sizes that the operands' shapes do not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Tokens a window.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Keys a window that a cache holds, of tokens before its first.
    pub past: usize,
    /// Tokens that a token sees, itself the last of them; all if none.
    pub window: Option<usize>,
    /// Factor of the scores; 1 / sqrt(head width) if none.
    pub scale: Option<f32>,
    /// Scores become cap tanh(score / cap).
    pub cap: Option<f32>,
    /// Whether operands, and the weights of values, may be rounded on the way.
    pub precision: Precision,
}

/// What the forward gives: the output `[tokens, heads * width]` and the log sum exp of each row of scores.
pub struct Attended {
    /// The output.
    pub o: Tensor,
    /// `[tokens, heads]`.
    pub lse: Tensor,
}

impl AttentionShape {
    /// Windows of `length` tokens that hold all their keys.
    pub fn new(length: usize, heads: usize, kv_heads: usize) -> Self {
        Self { length, heads, kv_heads, past: 0, window: None, scale: None, cap: None, precision: Precision::F32 }
    }

    /// Operands that may be rounded to f16, where a GPU multiplies those faster: nothing in them is past 65,504.
    pub fn half(self) -> Self {
        Self { precision: Precision::Half, ..self }
    }

    fn params(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Params, TensorError> {
        let misfit = |what| TensorError::shape("attention", what, q.shape(), k.shape());
        if self.heads == 0
            || self.kv_heads == 0
            || !self.heads.is_multiple_of(self.kv_heads)
            || !q.width().is_multiple_of(self.heads)
        {
            return Err(misfit("the heads do not divide the width, or each other"));
        }
        let width = q.width() / self.heads;
        if k.width() != width * self.kv_heads || k.shape() != v.shape() {
            return Err(misfit("keys or values do not fit the queries"));
        }
        if self.length == 0 || !q.rows().is_multiple_of(self.length) {
            return Err(misfit("the tokens are not whole windows"));
        }
        if k.rows() != q.rows() / self.length * (self.past + self.length) {
            return Err(misfit("keys or values do not fit the queries"));
        }
        Ok(Params {
            batch: (q.rows() / self.length) as u32,
            length: self.length as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            scale: self.scale.unwrap_or(1.0 / (width as f32).sqrt()),
            past: self.past as u32,
            // A window of all keys or more is none.
            window: self.window.filter(|window| *window < self.past + self.length).unwrap_or(0) as u32,
            cap: self.cap.unwrap_or(0.0),
            width: width as u32,
            tier: forward::Tier::Tiled.code(),
            // What is stored as f16 has been rounded to it.
            precision: if q.dtype() == Dtype::F16 { Precision::Half } else { self.precision }.code(),
            dtype: q.dtype().code(),
        })
    }
}

/// Attention of q `[tokens, heads * width]` over k, v `[tokens, kv_heads * width]`, of past + length tokens a window.
///
/// # Errors
/// Shapes that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape) -> Result<Attended, TensorError> {
    let params = shape.params(q, k, v)?;
    let o = q.empty_like()?;
    let lse = Tensor::empty(q.device(), &[q.rows(), shape.heads])?;
    forward::attention(q.device(), params, q.view(), k.view(), v.view(), o.view(), lse.view())?;
    Ok(Attended { o, lse })
}

/// Gradients of q, k and v.
///
/// # Errors
/// Shapes that do not fit, or keys of a cache, which have none.
pub fn attention_backward(
    [q, k, v]: [&Tensor; 3],
    attended: &Attended,
    dout: &Tensor,
    shape: AttentionShape,
) -> Result<[Tensor; 3], TensorError> {
    let params = shape.params(q, k, v)?;
    if shape.past > 0 {
        return Err(TensorError::shape("attention_backward", "a cache has no gradient", q.shape(), k.shape()));
    }
    dout.same_shape(&attended.o, "attention_backward")?;
    let [dq, dk, dv] = [q.empty_like()?, k.empty_like()?, v.empty_like()?];
    let inputs = [q.view(), k.view(), v.view(), attended.o.view(), attended.lse.view(), dout.view()];
    backward::attention_backward(q.device(), params, inputs, [dq.view(), dk.view(), dv.view()])?;
    Ok([dq, dk, dv])
}

//! One AdamW step of one parameter, in place.

use crate::{Tensor, TensorError};
use mode_kernels::adamw::{self as kernel, Params};

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Keeps the step finite where the gradient is zero.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Greatest norm of all gradients together, 0 for any.
    pub clip: f64,
    /// Number of this step, from 1.
    pub step: u64,
}

/// Steps parameter `p` with moments `m` and `v` along gradient `g`; `norm` `[1]` is the sum of squares of all gradients.
///
/// # Errors
/// Shapes that differ.
pub fn adamw(s: &AdamWStep, g: &Tensor, norm: &Tensor, p: &Tensor, m: &Tensor, v: &Tensor) -> Result<(), TensorError> {
    p.same_shape(g, "adamw")?;
    p.same_shape(m, "adamw")?;
    p.same_shape(v, "adamw")?;
    let bias = |beta: f64| (1.0 - beta.powf(s.step as f64)) as f32;
    let params = Params {
        count: p.len() as u32,
        rate: s.rate as f32,
        beta1: s.beta1 as f32,
        beta2: s.beta2 as f32,
        epsilon: s.epsilon as f32,
        decay: s.decay as f32,
        bias1: bias(s.beta1),
        bias2: bias(s.beta2),
        clip: s.clip as f32,
    };
    Ok(kernel::adamw(p.device(), params, g.view(), norm.view(), p.view(), m.view(), v.view())?)
}

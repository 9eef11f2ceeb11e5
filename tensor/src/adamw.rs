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
    /// Factor that undoes the gradients' scale.
    pub unscale: f64,
    /// Number of this step, from 1, of those that were not skipped.
    pub step: u64,
}

/// Steps parameter `p` with moments `m` and `v` along gradient `g`. Of the norms `[1]` the first is the sum of squares of all
/// gradients, unscaled: where it is no finite number, nothing changes. The other is that of the step before, if it is not known
/// yet whether that changed anything (if not, this one's number is one less), else the same.
///
/// # Errors
/// Shapes that differ.
pub fn adamw(
    s: &AdamWStep,
    g: &Tensor,
    [norm, before]: [&Tensor; 2],
    p: &Tensor,
    m: &Tensor,
    v: &Tensor,
) -> Result<(), TensorError> {
    p.same_shape(g, "adamw")?;
    p.same_shape(m, "adamw")?;
    p.same_shape(v, "adamw")?;
    let bias = |beta: f64, step: u64| (1.0 - beta.powf(step as f64)) as f32;
    let late = s.step.saturating_sub(1).max(1);
    let params = Params {
        count: p.len() as u32,
        rate: s.rate as f32,
        beta1: s.beta1 as f32,
        beta2: s.beta2 as f32,
        epsilon: s.epsilon as f32,
        decay: s.decay as f32,
        bias1: bias(s.beta1, s.step),
        bias2: bias(s.beta2, s.step),
        clip: s.clip as f32,
        unscale: s.unscale as f32,
        late1: bias(s.beta1, late),
        late2: bias(s.beta2, late),
    };
    Ok(kernel::adamw(p.device(), params, g.view(), [norm.view(), before.view()], p.view(), m.view(), v.view())?)
}

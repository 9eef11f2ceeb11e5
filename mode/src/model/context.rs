//! What all layers of one forward pass share.

use super::cache::Cache;
use mode_autograd::Tape;
use mode_tensor::Rotation;

/// The tape, the positions and the windows of a forward pass.
pub struct Context<'a> {
    /// Where trained parameters are recorded.
    pub tape: &'a Tape,
    /// Rotary angles, from the first token's position on.
    pub rotation: &'a Rotation,
    /// Tokens a window.
    pub length: usize,
    /// Keep only the input of each layer, and compute the rest again in the backward pass.
    pub recompute: bool,
    /// Keys and values of the tokens before, which want no gradient.
    pub cache: Option<&'a Cache>,
}

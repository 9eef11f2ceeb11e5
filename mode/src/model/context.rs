//! What all layers of one forward pass share.

use super::cache::Span;
use mode_autograd::Tape;
use mode_tensor::{Dtype, Rotation};

/// The tape, the positions and the windows of a forward pass.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where trained parameters are recorded.
    pub tape: &'a Tape,
    /// Rotary angles from position 0 on, one for each kind of layer.
    pub rotations: &'a [Rotation],
    /// Tokens a window, where there is no cache.
    pub length: usize,
    /// How what lies between the stream's norms and what is added to it is stored.
    pub activations: Dtype,
    /// Keep only the input of each layer, and compute the rest again in the backward pass.
    pub recompute: bool,
    /// New tokens of one or several sequences, whose caches hold those before; they want no gradient. Empty in training.
    pub spans: &'a [Span<'a>],
}

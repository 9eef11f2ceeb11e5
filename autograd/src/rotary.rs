//! Rotary position embedding: a rotation, so its gradient turns back.

use crate::{AutogradError, Var};
use mode_tensor::Rotation;

/// x `[tokens, heads * width]` turned by its tokens' angles, in windows of `length` tokens.
///
/// # Errors
/// Heads or positions that do not fit the rotation.
pub fn rotary(x: &Var, rotation: &Rotation, length: usize) -> Result<Var, AutogradError> {
    let y = mode_tensor::rotary(x.value(), rotation, length, false)?;
    Var::record("rotary", y, &[x], |_| {
        let rotation = rotation.clone();
        Box::new(move |g, sink| sink.add(0, mode_tensor::rotary(g, &rotation, length, true)?))
    })
}

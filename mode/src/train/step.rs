//! One optimizer step: losses, gradients, AdamW.

use super::eval::shifted;
use crate::Error;
use crate::model::Model;
use mode_autograd::{AdamW, Gradients, Loss, Tape, cross_entropy};
use mode_tensor::Ids;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stepped {
    /// The loss before it.
    pub loss: f32,
    /// The global gradient norm, before clipping; not finite if the step was skipped, as one may be whose loss is scaled.
    pub gradient_norm: f32,
}

/// One step on windows of equal length, the last of whose ids is only predicted, in `parts` parts one after the other: the
/// gradient is that of all windows, the memory that of one part.
///
/// # Errors
/// Windows that can't be stepped on, a trained parameter that no gradient reaches, or a loss or a gradient norm that is not finite;
/// the norm may be where the loss is scaled, until no scale helps. Nothing has changed after that.
pub fn one_step(
    model: &Model,
    optimizer: &mut AdamW,
    windows: &[Vec<u32>],
    parts: usize,
    rate: f64,
) -> Result<Stepped, Error> {
    let Some(length) = windows.first().map(Vec::len).filter(|&length| length > 1) else {
        return Err(Error::Setting("a step needs at least one window of two tokens".into()));
    };
    if windows.iter().any(|window| window.len() != length) {
        return Err(Error::Setting("the windows of a step are of different lengths; cut them alike".into()));
    }
    let scale = optimizer.scale();
    let mut losses = Vec::new();
    let mut sum: Option<Gradients> = None;
    for part in windows.chunks(windows.len().div_ceil(parts.max(1))) {
        let share = part.len() as f32 / windows.len() as f32;
        let (loss, gradients) = one_part(model, part, length, share * scale, sum)?;
        losses.push((share, loss));
        sum = Some(gradients);
    }
    if let Some(gradients) = sum {
        optimizer.step(&gradients, rate)?;
    }
    // Read last, so that a GPU is waited for once a step.
    let mut loss = 0.0;
    for (share, part) in losses {
        loss += share * part.read()?.0;
    }
    let stepped = Stepped { loss, gradient_norm: optimizer.gradient_norm()? };
    optimizer.learn(stepped.gradient_norm);
    // A scale has nothing to do with the loss itself.
    let may_skip = optimizer.loss_scale().is_some_and(|scale| !scale.is_hopeless());
    let checked = [stepped.loss, if may_skip { 0.0 } else { stepped.gradient_norm }];
    match checked.into_iter().find(|value| !value.is_finite()) {
        None => Ok(stepped),
        Some(value) => Err(Error::NotFinite { step: optimizer.steps(), loss: value }),
    }
}

/// The loss of some of a step's windows, and the gradients of `factor` times that on top of those `before`.
fn one_part(
    model: &Model,
    windows: &[Vec<u32>],
    length: usize,
    factor: f32,
    before: Option<Gradients>,
) -> Result<(Loss, Gradients), Error> {
    let device = model.backbone.device();
    let (inputs, targets) = shifted(windows);
    let tape = Tape::new();
    let output = model.forward(&tape, &Ids::new(device, &inputs)?, length - 1)?;
    let logits = model.logits(&tape, &output.hidden)?;
    device.at(|| "the loss".into());
    let loss = cross_entropy(&logits, &Ids::new(device, &targets)?)?;
    drop((output, logits));
    let gradients = loss.backward_onto(&tape, factor, before)?;
    Ok((loss, gradients))
}

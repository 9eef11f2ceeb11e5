//! One optimizer step: losses, gradients, AdamW. What it finds is a few scalars, which are read behind all that it launches.

use crate::Error;
use crate::data::shifted;
use crate::model::Model;
use mode_autograd::{AdamW, Gradients, Tape};
use mode_kernels::{Arrived, Reading};
use mode_tensor::{CrossEntropy, Ids};
use std::time::Instant;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stepped {
    /// The loss before it.
    pub loss: f32,
    /// The global gradient norm, before clipping; not finite if the step was skipped, as one may be whose loss is scaled.
    pub gradient_norm: f32,
}

impl Stepped {
    /// An error if the loss or the norm is no finite number.
    pub(crate) fn check_finite(self, step: u64) -> Result<Self, Error> {
        match [self.loss, self.gradient_norm].into_iter().find(|value| !value.is_finite()) {
            Some(value) => Err(Error::NotFinite { step, loss: value }),
            None => Ok(self),
        }
    }
}

/// A step that is launched: on a GPU it may not have run yet, and the next can be launched behind it.
#[must_use = "what a step found is read, or its loss may be no number"]
pub struct Launched {
    step: u64,
    /// The share of all windows that each part has, in order.
    shares: Vec<f32>,
    /// Each part's mean nll and mean hit, then the square of the gradient norm.
    found: Reading,
}

impl Launched {
    /// What it found, waited for, and when that was there. `optimizer`, which has made the step, is told of it, so that steps are read in
    /// their order, and each before the next but one is launched.
    ///
    /// # Errors
    /// As [`one_step`] has them of losses and gradients, by the step's number; or what the device reports.
    pub fn read(self, optimizer: &mut AdamW) -> Result<(Stepped, Instant), Error> {
        let Arrived { values, at } = self.found.wait()?;
        let (means, squares) = values.split_at(2 * self.shares.len());
        let loss = self.shares.iter().zip(means.chunks_exact(2)).fold(0.0, |sum, (share, mean)| sum + share * mean[0]);
        let gradient_norm = squares.first().map_or(0.0, |square| square.sqrt());
        optimizer.learn(gradient_norm);
        let (step, stepped) = (self.step, Stepped { loss, gradient_norm });
        // A scale has nothing to do with the loss itself.
        match optimizer.loss_scale() {
            Some(_) if !loss.is_finite() => return Err(Error::NotFiniteHalf { step, loss }),
            Some(scale) if scale.is_hopeless() => return Err(Error::NoScale { step, skipped: scale.skipped }),
            Some(_) => {}
            None => {
                stepped.check_finite(step)?;
            }
        }
        Ok((stepped, at))
    }
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
    Ok(launch_step(model, optimizer, windows, parts, rate)?.read(optimizer)?.0)
}

/// The same, but nothing is waited for.
///
/// # Errors
/// As [`one_step`], but for what [`Launched::read`] reports.
pub fn launch_step(
    model: &Model,
    optimizer: &mut AdamW,
    windows: &[Vec<u32>],
    parts: usize,
    rate: f64,
) -> Result<Launched, Error> {
    let Some(length) = windows.first().map(Vec::len).filter(|&length| length > 1) else {
        return Err(Error::Setting("a step needs at least one window of two tokens".into()));
    };
    if windows.iter().any(|window| window.len() != length) {
        return Err(Error::Setting("the windows of a step are of different lengths; cut them alike".into()));
    }
    let scale = optimizer.scale();
    let (mut shares, mut losses) = (Vec::new(), Vec::new());
    let mut sum: Option<Gradients> = None;
    for part in windows.chunks(windows.len().div_ceil(parts.max(1))) {
        let share = part.len() as f32 / windows.len() as f32;
        let (loss, gradients) = one_part(model, part, length, share * scale, sum)?;
        shares.push(share);
        losses.push(loss);
        sum = Some(gradients);
    }
    if let Some(gradients) = sum {
        optimizer.step(&gradients, rate)?;
    }
    let means = losses.iter().map(|loss| loss.mean.view());
    let views: Vec<_> = means.chain([optimizer.squared_norm().view()]).collect();
    let found = model.backbone.device().read_later(&views)?;
    Ok(Launched { step: optimizer.steps(), shares, found })
}

/// The loss of some of a step's windows, and the gradients of `factor` times that on top of those `before`.
fn one_part(
    model: &Model,
    windows: &[Vec<u32>],
    length: usize,
    factor: f32,
    before: Option<Gradients>,
) -> Result<(CrossEntropy, Gradients), Error> {
    let device = model.backbone.device();
    let (inputs, targets) = shifted(windows);
    let tape = Tape::new();
    let hidden = model.forward(&tape, &Ids::new(device, &inputs)?, length - 1)?.hidden;
    let loss = model.loss(&tape, &hidden, &Ids::new(device, &targets)?);
    drop(hidden);
    Ok(loss.backward_onto(&tape, factor, before)?)
}

//! The loop: batches, losses, gradients, steps.

use super::eval::shifted;
use super::recipe::TrainSettings;
use crate::Error;
use crate::data::Mixture;
use crate::model::Model;
use mode_autograd::{AdamW, Tape, cross_entropy};
use mode_tensor::Ids;

/// A finished loop.
#[derive(Debug, Clone, Default)]
pub struct Fit {
    /// The loss before each step, from step 1.
    pub losses: Vec<f32>,
    /// Tokens predicted.
    pub tokens_seen: u64,
}

/// Trains what is set to be trained; calls `progress` with each step and its loss.
///
/// # Errors
/// Nothing is trained, a trained parameter that no gradient reaches, or a loss that is not finite.
pub fn fit(
    model: &Model,
    settings: &TrainSettings,
    data: &mut Mixture,
    progress: &mut dyn FnMut(u64, f32),
) -> Result<Fit, Error> {
    let mut optimizer = AdamW::new(model.params(), settings.adamw())?;
    let mut done = Fit::default();
    for step in 1..=settings.steps {
        let windows = data.batch(settings.batch);
        let rate = settings.learning_rate * settings.schedule.factor(step, settings.steps, settings.warmup);
        let loss = one_step(model, &mut optimizer, &windows, rate, step)?;
        done.tokens_seen += (settings.batch * settings.length) as u64;
        done.losses.push(loss);
        progress(step, loss);
    }
    // A loss is read before its step, so what the last step did shows only in the weights.
    for param in model.params().filter(|param| param.is_trained()) {
        if let Some(value) = param.value().to_vec()?.into_iter().find(|value| !value.is_finite()) {
            return Err(Error::NotFinite { step: settings.steps, loss: value });
        }
    }
    Ok(done)
}

/// One step on windows of equal length, the last of whose ids is only predicted; the loss before it.
///
/// # Errors
/// As [`fit`].
pub fn one_step(
    model: &Model,
    optimizer: &mut AdamW,
    windows: &[Vec<u32>],
    rate: f64,
    step: u64,
) -> Result<f32, Error> {
    let Some(length) = windows.first().map(Vec::len).filter(|&length| length > 1) else {
        return Err(Error::Setting("a step needs at least one window of two tokens".into()));
    };
    if windows.iter().any(|window| window.len() != length) {
        return Err(Error::Setting("the windows of a step are of different lengths; cut them alike".into()));
    }
    let device = model.backbone.device();
    let (inputs, targets) = shifted(windows);
    let tape = Tape::new();
    let output = model.forward(&tape, &Ids::new(device, &inputs)?, length - 1)?;
    let logits = model.logits(&tape, &output.hidden)?;
    let loss = cross_entropy(&logits, &Ids::new(device, &targets)?)?;
    drop((output, logits));
    let (nll, _) = loss.read()?;
    if !nll.is_finite() {
        return Err(Error::NotFinite { step, loss: nll });
    }
    let gradients = loss.backward(&tape)?;
    optimizer.step(&gradients, rate)?;
    Ok(nll)
}

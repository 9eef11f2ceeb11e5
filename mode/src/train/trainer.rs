//! The loop's state: what is trained, by which optimizer, on which data, and how far it has got.

use super::mixed::LossScaling;
use super::settings::{Precision, TrainSettings};
use super::step::one_step;
use crate::Error;
use crate::data::Mixture;
use crate::model::Model;
use mode_autograd::{AdamW, LossScale};
use mode_kernels::KernelError;
use mode_tensor::TensorError;
use std::time::Instant;

/// A step's report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// Of how many.
    pub steps: u64,
    /// The loss before it.
    pub loss: f32,
    /// The global gradient norm, before clipping; not finite if the step was skipped.
    pub gradient_norm: f32,
    /// The loss scale, in mixed precision.
    pub scaling: Option<LossScaling>,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens predicted so far.
    pub tokens_seen: u64,
    /// Seconds of stepping so far.
    pub seconds: f64,
    /// Tokens predicted in a second of this step.
    pub tokens_per_second: f64,
}

/// A training loop between two steps.
pub(crate) struct Trainer<'a> {
    pub(crate) model: &'a Model,
    pub(crate) optimizer: AdamW,
    pub(crate) data: Mixture,
    settings: &'a TrainSettings,
    /// The loss before each step so far.
    pub(crate) losses: Vec<f32>,
    /// Tokens predicted so far.
    pub(crate) tokens_seen: u64,
    /// Seconds of stepping so far.
    pub(crate) seconds: f64,
}

impl<'a> Trainer<'a> {
    /// Before the first step.
    ///
    /// # Errors
    /// Nothing is trained.
    pub(crate) fn new(model: &'a Model, settings: &'a TrainSettings, data: Mixture) -> Result<Self, Error> {
        let mut optimizer = AdamW::new(model.params(), settings.adamw())?;
        if settings.precision == Precision::Mixed {
            optimizer.set_loss_scale(LossScale::default());
        }
        Ok(Self { model, optimizer, data, settings, losses: Vec::new(), tokens_seen: 0, seconds: 0.0 })
    }

    /// Steps taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// The loss scale of the step to come, in mixed precision.
    pub(crate) fn scaling(&mut self) -> Option<LossScaling> {
        let scale = self.optimizer.scale();
        self.optimizer.loss_scale().map(|known| LossScaling { scale, skipped: known.skipped })
    }

    /// True after the last step.
    pub(crate) fn is_finished(&self) -> bool {
        self.steps() >= self.settings.steps
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// As [`one_step`].
    pub(crate) fn step(&mut self) -> Result<StepReport, Error> {
        let started = Instant::now();
        let TrainSettings { steps, batch, length, learning_rate, warmup, schedule, accumulate, .. } = *self.settings;
        let step = self.steps() + 1;
        let learning_rate = learning_rate * schedule.factor(step, steps, warmup);
        let windows = self.data.batch(batch);
        let scaling = self.scaling();
        let stepped = one_step(self.model, &mut self.optimizer, &windows, accumulate, learning_rate);
        let stepped = stepped.map_err(|error| match error {
            Error::Tensor(TensorError::Kernel(KernelError::NotFinite { .. })) => {
                Error::FirstNotFinite { step, what: error.to_string() }
            }
            other => other,
        })?;
        let tokens = (batch * length) as u64;
        let seconds = started.elapsed().as_secs_f64();
        self.tokens_seen += tokens;
        self.seconds += seconds;
        self.losses.push(stepped.loss);
        Ok(StepReport {
            step,
            steps,
            loss: stepped.loss,
            gradient_norm: stepped.gradient_norm,
            scaling: scaling.map(|before| LossScaling { skipped: self.optimizer.skipped(), ..before }),
            learning_rate,
            tokens_seen: self.tokens_seen,
            seconds: self.seconds,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
        })
    }

    /// An error if a trained weight is no number: a loss is that before its step, so what the last step did shows only here.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        for (param, ..) in self.optimizer.states() {
            if let Some(value) = param.value().to_vec()?.into_iter().find(|value| !value.is_finite()) {
                return Err(Error::NotFinite { step: self.steps(), loss: value });
            }
        }
        Ok(())
    }
}

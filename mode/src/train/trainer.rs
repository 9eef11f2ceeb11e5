//! The loop's state: what is trained, by which optimizer, on which data, and how far it has got.
//!
//! On a GPU the next step is launched before the last one's loss is read, so that the GPU has work while the host prepares it. A step's
//! time is that from the moment at which the step before it was over.

use super::eval::evaluate;
use super::mixed::LossScaling;
use super::settings::{Precision, TrainSettings};
use super::step::{Launched, Stepped, launch_step};
use crate::Error;
use crate::data::Mixture;
use crate::mesh::{Leader, Places};
use crate::model::Model;
use mode_autograd::{AdamW, LossScale};
use mode_kernels::KernelError;
use mode_tensor::TensorError;
use std::collections::VecDeque;
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

/// A step in flight.
struct Flight {
    launched: OnItsWay,
    learning_rate: f64,
    /// What its loss is scaled by.
    scale: f32,
}

/// Where a step is.
enum OnItsWay {
    Launched(Launched),
    /// Devices of a mesh step to the end.
    Over(Stepped, Instant),
}

/// A training loop between two steps.
pub(crate) struct Trainer<'a> {
    pub(crate) model: &'a Model,
    pub(crate) optimizer: AdamW,
    pub(crate) data: Mixture,
    settings: &'a TrainSettings,
    /// The devices that step, if not the model's own.
    mesh: Option<Leader>,
    /// Steps launched and not yet read.
    flights: VecDeque<Flight>,
    /// When the first of those was launched, or the one before it was over.
    since: Instant,
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
        if settings.precision == Precision::F16 {
            optimizer.set_loss_scale(LossScale::default());
        }
        let (flights, since) = (VecDeque::new(), Instant::now());
        let (mesh, losses) = (None, Vec::new());
        Ok(Self { model, optimizer, data, settings, mesh, flights, since, losses, tokens_seen: 0, seconds: 0.0 })
    }

    /// From now on steps on the devices of a mesh, from where it stands.
    ///
    /// # Errors
    /// What a device reports.
    pub(crate) fn put_on(&mut self, places: Places) -> Result<(), Error> {
        self.mesh = Some(Leader::new(places, self.settings.adamw(), self.model, &self.optimizer)?);
        Ok(())
    }

    /// Brings to the model and the optimizer what devices of a mesh have trained.
    ///
    /// # Errors
    /// What a device reports.
    ///
    /// What private experts' owners have trained stays there, where it is saved at the same time if `saved`.
    pub(crate) fn collect(&self, saved: bool) -> Result<(), Error> {
        let saved = saved.then(|| self.steps());
        self.mesh.as_ref().map_or(Ok(()), |mesh| mesh.collect(&self.optimizer, saved))
    }

    /// Ends a run on a mesh: owners of private experts write what they have trained.
    ///
    /// # Errors
    /// A device whose frozen weights are not what they were, or what one reports.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        self.mesh.as_ref().map_or(Ok(()), |mesh| mesh.finish(&self.model.gates))
    }

    /// The mean loss on windows, of which nothing is learned.
    ///
    /// # Errors
    /// As [`evaluate`], or what a device reports.
    pub(crate) fn score(&mut self, windows: &[Vec<u32>]) -> Result<f64, Error> {
        match &mut self.mesh {
            Some(mesh) => mesh.score(windows),
            None => Ok(evaluate(self.model, windows, false)?.mean_nll),
        }
    }

    /// Steps launched so far.
    pub(crate) fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// How many of them have not been read.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many may be in flight at once. In main memory a step is over once it is launched; and whoever looks for the first value that
    /// is no number wants all of the step before.
    pub(crate) fn most_in_flight(&self) -> usize {
        let device = self.model.backbone.device();
        if device.is_gpu() && device.place().is_none() { 2 } else { 1 }
    }

    /// The loss scale of the step to come, in mixed precision, and the steps known to have been skipped.
    pub(crate) fn scaling(&mut self) -> Option<LossScaling> {
        let scale = self.optimizer.scale();
        self.optimizer.loss_scale().map(|known| LossScaling { scale, skipped: known.skipped })
    }

    /// True once the last step is launched.
    pub(crate) fn is_finished(&self) -> bool {
        self.steps() >= self.settings.steps
    }

    /// Takes the next step, and those in flight before it.
    ///
    /// # Errors
    /// As [`Trainer::launch`] and [`Trainer::read`].
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        self.launch()?;
        while self.in_flight() > 0 {
            self.read()?;
        }
        Ok(())
    }

    /// Launches the next step.
    ///
    /// # Errors
    /// As [`launch_step`].
    pub(crate) fn launch(&mut self) -> Result<(), Error> {
        if self.flights.is_empty() {
            self.since = Instant::now();
        }
        let TrainSettings { batch, accumulate, .. } = *self.settings;
        let step = self.steps() + 1;
        let learning_rate = self.settings.rate(step);
        let windows = self.data.batch(batch);
        if let Some(mesh) = &mut self.mesh {
            let stepped = mesh.step(windows, learning_rate)?;
            self.optimizer.resume(step);
            let (found, ended) = (Stepped { loss: stepped.loss, gradient_norm: stepped.gradient_norm }, stepped.ended);
            let launched = OnItsWay::Over(found, ended);
            self.flights.push_back(Flight { launched, learning_rate, scale: 1.0 });
            return Ok(());
        }
        let scale = self.optimizer.scale();
        let launched = launch_step(self.model, &mut self.optimizer, &windows, accumulate, learning_rate);
        let launched = launched.map_err(|error| match error {
            Error::Tensor(TensorError::Kernel(KernelError::NotFinite { .. })) => {
                Error::FirstNotFinite { step, what: error.to_string() }
            }
            other => other,
        })?;
        self.flights.push_back(Flight { launched: OnItsWay::Launched(launched), learning_rate, scale });
        Ok(())
    }

    /// Waits for the first step in flight; none if there is none.
    ///
    /// # Errors
    /// As [`Launched::read`].
    pub(crate) fn read(&mut self) -> Result<Option<StepReport>, Error> {
        let Some(Flight { launched, learning_rate, scale }) = self.flights.pop_front() else { return Ok(None) };
        let (stepped, at) = match launched {
            OnItsWay::Launched(launched) => launched.read(&mut self.optimizer)?,
            OnItsWay::Over(stepped, at) => (stepped.check_finite(self.steps())?, at),
        };
        let TrainSettings { steps, batch, length, .. } = *self.settings;
        let tokens = (batch * length) as u64;
        let seconds = at.saturating_duration_since(std::mem::replace(&mut self.since, at)).as_secs_f64();
        self.tokens_seen += tokens;
        self.seconds += seconds;
        self.losses.push(stepped.loss);
        Ok(Some(StepReport {
            step: self.losses.len() as u64,
            steps,
            loss: stepped.loss,
            gradient_norm: stepped.gradient_norm,
            scaling: self.optimizer.loss_scale().map(|known| LossScaling { scale, skipped: known.skipped }),
            learning_rate,
            tokens_seen: self.tokens_seen,
            seconds: self.seconds,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
        }))
    }

    /// An error if a trained weight is no number: a loss is that before its step, so what the last step did shows only here.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        check_finite(&self.optimizer, self.steps())
    }
}

/// An error if one of an optimizer's weights is no number after so many steps.
pub(super) fn check_finite(optimizer: &AdamW, step: u64) -> Result<(), Error> {
    for (param, ..) in optimizer.states() {
        if let Some(value) = param.value().to_vec()?.into_iter().find(|value| !value.is_finite()) {
            return Err(Error::NotFinite { step, loss: value });
        }
    }
    Ok(())
}

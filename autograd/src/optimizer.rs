//! AdamW over a list of parameters, with clipping of the global gradient norm: one launch for each chunk of the arena in which
//! it keeps them.

use crate::arena::{self, Chunk};
use crate::{AutogradError, Gradients, Param};
use mode_tensor::{AdamWStep, Tensor, adamw, sum_of_squares};

/// What stays the same from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Keeps a step finite where the gradient is zero.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Greatest norm of all gradients together; 0 for any.
    pub clip: f64,
    /// What the decay falls on.
    pub decayed: Decayed,
}

/// The parameters that weight decay falls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decayed {
    /// All that are trained.
    All,
    /// Those of two dims or more: not the norms' weights, nor biases.
    Matrices,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.01, clip: 1.0, decayed: Decayed::All }
    }
}

/// The optimizer and its moments. It moves its parameters' numbers into memory of its own, where they stay.
///
/// ```
/// use mode_autograd::{AdamW, AdamWSettings, Param, Tape};
/// use mode_tensor::{Device, Tensor};
///
/// // Down the slope of L = p: the first step is as long as the rate.
/// let device = Device::cpu();
/// let p = Param::new("p", Tensor::full(&device, &[1], 1.0)?);
/// p.set_trained(true);
/// let mut optimizer = AdamW::new([&p], AdamWSettings { decay: 0.0, ..AdamWSettings::default() })?;
/// let tape = Tape::new();
/// let gradients = tape.backward(&tape.param(&p), Tensor::full(&device, &[1], 1.0)?)?;
/// optimizer.step(&gradients, 0.25)?;
/// assert!((p.value().to_vec()?[0] - 0.75).abs() < 1e-6);
/// # Ok::<(), mode_autograd::AutogradError>(())
/// ```
pub struct AdamW {
    settings: AdamWSettings,
    chunks: Vec<Chunk>,
    norm: Tensor,
    step: u64,
}

impl AdamW {
    /// An optimizer of the trained parameters among `params`, moments zero.
    ///
    /// # Errors
    /// None of them is trained.
    pub fn new<'a>(
        params: impl IntoIterator<Item = &'a Param>,
        settings: AdamWSettings,
    ) -> Result<Self, AutogradError> {
        let params: Vec<Param> = params.into_iter().filter(|param| param.is_trained()).cloned().collect();
        let Some(first) = params.first() else { return Err(AutogradError::NoParameters) };
        let device = first.value().device().clone();
        let chunks = arena::chunks(&params, &device)?;
        Ok(Self { settings, chunks, norm: Tensor::full(&device, &[1], 0.0)?, step: 0 })
    }

    /// Steps every parameter along its gradient at learning rate `rate`.
    ///
    /// # Errors
    /// A parameter that no gradient reached or that another optimizer has taken over, by name; nothing has been changed then.
    pub fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<(), AutogradError> {
        let gathered = self.chunks.iter().map(|chunk| chunk.gather(gradients)).collect::<Result<Vec<_>, _>>()?;
        self.norm.device().at(|| "the gradient norm".into());
        sum_of_squares(&gathered, &self.norm)?;
        self.step += 1;
        let AdamWSettings { beta1, beta2, epsilon, decay, clip, decayed } = self.settings;
        for (chunk, gradients) in self.chunks.iter().zip(&gathered) {
            self.norm.device().at(|| "the optimizer's step".into());
            let decay = if decayed == Decayed::Matrices && !chunk.matrices { 0.0 } else { decay };
            let step = AdamWStep { rate, beta1, beta2, epsilon, decay, clip, step: self.step };
            adamw(&step, gradients, &self.norm, &chunk.values, &chunk.m, &chunk.v)?;
        }
        Ok(())
    }

    /// The square of the last step's global gradient norm `[1]`, before clipping; the next step overwrites it.
    pub fn squared_norm(&self) -> &Tensor {
        &self.norm
    }

    /// The global gradient norm of the last step, before clipping. Waits for the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn gradient_norm(&self) -> Result<f32, AutogradError> {
        Ok(self.norm.to_vec()?.first().map_or(0.0, |sum| sum.sqrt()))
    }

    /// The parameters it trains, each with its first and second moment.
    pub fn states(&self) -> impl Iterator<Item = (&Param, &Tensor, &Tensor)> {
        self.chunks
            .iter()
            .flat_map(|chunk| &chunk.residents)
            .map(|resident| (&resident.param, &resident.m, &resident.v))
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Goes on after `steps` steps, whose parameters and moments have been written to [`AdamW::states`].
    pub fn resume(&mut self, steps: u64) {
        self.step = steps;
    }
}

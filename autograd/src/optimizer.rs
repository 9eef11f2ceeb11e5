//! AdamW over a list of parameters, with clipping of the global gradient norm: one launch for each chunk of the arena in which
//! it keeps them.
//!
//! A step whose gradient norm is no finite number changes nothing, which the device sees to by itself. Of what became of a step the
//! optimizer may be told ([`AdamW::learn`]) after the next one has been launched: two norms are kept.

use crate::arena::{self, Chunk};
use crate::loss_scale::{LossScale, Outcome};
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
    /// Sums of squares of all gradients, of steps of even and of odd number.
    norms: [Tensor; 2],
    /// Steps launched.
    step: u64,
    /// Those of them that are known to have been skipped.
    skipped: u64,
    /// Scales of the steps whose outcome is not known.
    unknown: Vec<f32>,
    loss_scale: Option<LossScale>,
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
        let norm = || Tensor::full(&device, &[1], 0.0);
        let (norms, unknown) = ([norm()?, norm()?], Vec::new());
        Ok(Self { settings, chunks, norms, step: 0, skipped: 0, unknown, loss_scale: None })
    }

    /// From now on takes it that gradients are those of the loss times [`AdamW::scale`].
    pub fn set_loss_scale(&mut self, scale: LossScale) {
        self.skipped = scale.skipped;
        self.loss_scale = Some(scale);
    }

    /// The loss scale's state, if there is one.
    pub fn loss_scale(&self) -> Option<&LossScale> {
        self.loss_scale.as_ref()
    }

    /// What the loss of the next step is scaled by; 1 if nobody has [set](AdamW::set_loss_scale) a scale.
    pub fn scale(&mut self) -> f32 {
        let next = self.step + 1;
        self.loss_scale.as_mut().map_or(1.0, |scale| scale.at(next))
    }

    /// Steps every parameter along its gradient at learning rate `rate`.
    ///
    /// # Errors
    /// A parameter that no gradient reached or that another optimizer has taken over, by name; nothing has been changed then.
    pub fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<(), AutogradError> {
        let gathered = self.gather(gradients)?;
        self.measure(&gathered)?;
        self.apply(&gathered, rate)
    }

    /// The gradients of its parameters, a tensor `[len]` for each chunk of them: the first of a step's three parts, between which
    /// whoever trains on several devices sums them, and then their norm, over those.
    ///
    /// # Errors
    /// As [`AdamW::step`].
    pub fn gather(&self, gradients: &Gradients) -> Result<Vec<Tensor>, AutogradError> {
        self.chunks.iter().map(|chunk| chunk.gather(gradients)).collect()
    }

    /// The second part: writes the square of the norm of what was gathered to [`AdamW::squared_norm`], `[1]`, which may be overwritten
    /// before the third.
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure(&mut self, gathered: &[Tensor]) -> Result<(), AutogradError> {
        let scale = self.scale();
        self.step += 1;
        let norm = self.squared_norm();
        norm.device().at(|| "the gradient norm".into());
        Ok(sum_of_squares(scale.recip().powi(2), gathered, norm)?)
    }

    /// The third part: steps every parameter along the gradient that was gathered and measured.
    ///
    /// # Errors
    /// What the device reports.
    pub fn apply(&mut self, gathered: &[Tensor], rate: f64) -> Result<(), AutogradError> {
        let scale = self.loss_scale.as_mut().map_or(1.0, |scale| scale.at(self.step));
        let [norm, before] = [self.step, self.step - 1].map(|step| &self.norms[step as usize % 2]);
        let before = if self.unknown.is_empty() { norm } else { before };
        // There are no more norms than two; what nobody told of is taken for a good step.
        if self.unknown.len() == 2 {
            self.unknown.remove(0);
        }
        self.unknown.push(scale);
        let AdamWSettings { beta1, beta2, epsilon, decay, clip, decayed } = self.settings;
        let (unscale, step) = (f64::from(scale.recip()), self.step - self.skipped);
        for (chunk, gradients) in self.chunks.iter().zip(gathered) {
            norm.device().at(|| "the optimizer's step".into());
            let decay = if decayed == Decayed::Matrices && !chunk.matrices { 0.0 } else { decay };
            let step = AdamWStep { rate, beta1, beta2, epsilon, decay, clip, unscale, step };
            adamw(&step, gradients, [norm, before], &chunk.values, &chunk.m, &chunk.v)?;
        }
        Ok(())
    }

    /// The square of the last step's global gradient norm `[1]`, before clipping, of unscaled gradients; the step after the next
    /// overwrites it.
    pub fn squared_norm(&self) -> &Tensor {
        &self.norms[self.step as usize % 2]
    }

    /// The global gradient norm of the last step, before clipping. Waits for the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn gradient_norm(&self) -> Result<f32, AutogradError> {
        Ok(self.squared_norm().to_vec()?.first().map_or(0.0, |sum| sum.sqrt()))
    }

    /// Takes note of the gradient norm of the first step that it does not know of yet: not a finite one was skipped. Whoever scales
    /// the loss tells it of each step before the step after the next is launched.
    pub fn learn(&mut self, norm: f32) {
        if self.unknown.is_empty() {
            return;
        }
        let (step, scale) = (self.step + 1 - self.unknown.len() as u64, self.unknown.remove(0));
        self.skipped += u64::from(!norm.is_finite());
        if let Some(known) = &mut self.loss_scale {
            known.learn(Outcome { step, scale, finite: norm.is_finite() });
        }
    }

    /// The parameters it trains, each with its first and second moment.
    pub fn states(&self) -> impl Iterator<Item = (&Param, &Tensor, &Tensor)> {
        self.chunks
            .iter()
            .flat_map(|chunk| &chunk.residents)
            .map(|resident| (&resident.param, &resident.m, &resident.v))
    }

    /// Steps that it knows to have been skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Steps so far, skipped ones among them.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Goes on after `steps` steps, whose parameters and moments have been written to [`AdamW::states`]; where some may have been
    /// skipped, with [`AdamW::set_loss_scale`].
    pub fn resume(&mut self, steps: u64) {
        self.step = steps;
        self.unknown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tape;
    use crate::scale as times;
    use mode_tensor::Device;

    /// Parameter and moments after steps with these gradients, each told of at once or one step late.
    fn after(gradients: &[f32], late: bool) -> Result<(Vec<f32>, u64), AutogradError> {
        let device = Device::cpu();
        let p = Param::new("p", Tensor::full(&device, &[1], 1.0)?);
        p.set_trained(true);
        let mut optimizer = AdamW::new([&p], AdamWSettings::default())?;
        optimizer.set_loss_scale(LossScale::default());
        let mut untold = None;
        for &gradient in gradients {
            let tape = Tape::new();
            let y = times(&tape.param(&p), gradient)?;
            let factor = optimizer.scale();
            optimizer.step(&tape.backward(&y, Tensor::full(&device, &[1], factor)?)?, 0.01)?;
            let norm = optimizer.gradient_norm()?;
            let told = if late { untold.replace(norm) } else { Some(norm) };
            told.into_iter().for_each(|norm| optimizer.learn(norm));
        }
        untold.into_iter().for_each(|norm| optimizer.learn(norm));
        let state = optimizer.states().flat_map(|(p, m, v)| [p.value(), m.clone(), v.clone()]);
        let state = state.map(|tensor| Ok(tensor.to_vec()?[0])).collect::<Result<_, AutogradError>>()?;
        Ok((state, optimizer.skipped()))
    }

    #[test]
    fn a_skipped_step_never_was_even_if_nobody_knows_yet() -> Result<(), AutogradError> {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (skipping, never, skipped) in [
            (&[nan, 1.0, 0.5][..], &[1.0, 0.5][..], 1),
            (&[1.0, inf, inf, 0.5, nan, 0.25], &[1.0, 0.5, 0.25], 3),
            (&[1.0, 0.5, nan], &[1.0, 0.5], 1),
        ] {
            let (expected, _) = after(never, false)?;
            for late in [false, true] {
                assert_eq!(after(skipping, late)?, (expected.clone(), skipped), "{skipping:?}, late: {late}");
            }
        }
        Ok(())
    }
}

//! The loss: mean cross-entropy of the next token; its accuracy rides along without a gradient.

use crate::{AutogradError, Gradients, Tape, Var};
use mode_tensor::{CrossEntropy, Ids, Tensor, cross_entropy_backward};

/// A loss that can be differentiated.
pub struct Loss {
    /// Mean nll and mean hit `[2]`, the first of which is the loss.
    pub mean: Var,
    /// What was computed a row.
    pub rows: std::rc::Rc<CrossEntropy>,
}

/// Loss of logits `[rows, vocabulary]` against targets `[rows]`.
///
/// # Errors
/// Another number of targets than rows, or a target out of range.
pub fn cross_entropy(logits: &Var, targets: &Ids) -> Result<Loss, AutogradError> {
    let rows = std::rc::Rc::new(mode_tensor::cross_entropy(logits.value(), targets)?);
    let mean = Var::record("cross_entropy", rows.mean.clone(), &[logits], |_| {
        let (logits, targets, lse) = (logits.value().clone(), targets.clone(), rows.lse.clone());
        Box::new(move |g, sink| sink.add(0, cross_entropy_backward(&logits, &targets, &lse, g)?))
    })?;
    Ok(Loss { mean, rows })
}

impl Loss {
    /// Gradients of the mean nll.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward(&self, tape: &Tape) -> Result<Gradients, AutogradError> {
        self.backward_onto(tape, 1.0, None)
    }

    /// Gradients of `share` times the mean nll, added to those of the parts of a batch `before`.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_onto(
        &self,
        tape: &Tape,
        share: f32,
        before: Option<Gradients>,
    ) -> Result<Gradients, AutogradError> {
        let seed = Tensor::from_slice(self.mean.value().device(), &[share, 0.0], &[2])?;
        tape.backward_onto(&self.mean, seed, before)
    }

    /// Mean nll in nats, and mean hit. Waits for the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn read(&self) -> Result<(f32, f32), AutogradError> {
        let mean = self.mean.value().to_vec()?;
        Ok((mean.first().copied().unwrap_or(f32::NAN), mean.get(1).copied().unwrap_or(f32::NAN)))
    }
}

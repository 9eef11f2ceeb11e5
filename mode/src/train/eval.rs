//! Evaluation: mean loss, next-token accuracy, mean gate weights and gradient norms over windows of tokens.

use crate::Error;
use crate::data::shifted;
use crate::model::Model;
use mode_autograd::Tape;
use mode_tensor::Ids;
use serde::Serialize;
use std::collections::BTreeMap;

/// Tokens evaluated at once, at the most, unless one window is longer.
const BATCH: usize = 2_048;

/// What an evaluation finds. Means are over all predicted positions: one fewer than tokens a window, pooled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean negative log-likelihood, in nats.
    pub mean_nll: f64,
    /// Share of positions whose next token is the likeliest one.
    pub next_token_accuracy: f64,
    /// Predicted positions.
    pub tokens: usize,
    /// Mean gate weight by block and branch, the backbone first; with experts only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gate_means: Vec<Vec<f64>>,
    /// Positions predicted right, by window.
    #[serde(skip)]
    pub hits: Vec<u32>,
    /// L2 norm of the gradient of `mean_nll` by parameter, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_l2: Option<BTreeMap<String, f64>>,
}

/// Evaluates windows of two tokens or more.
///
/// # Errors
/// No windows, one of fewer than two tokens, an id out of range, or a window of which more tokens are read than the
/// model has positions.
pub fn evaluate(model: &Model, windows: &[Vec<u32>], grad_norms: bool) -> Result<Evaluation, Error> {
    check_windows(model, windows)?;
    let total: usize = windows.iter().map(|window| window.len() - 1).sum();
    let sums = || Sums::of(model, windows, total, grad_norms);
    let sums = if grad_norms { model.while_training(model.adapted(), sums) } else { sums() }?;
    let evaluation = sums.means(total, grad_norms);
    evaluation.check_finite()?;
    Ok(evaluation)
}

/// An error unless there are windows, and each can be predicted and seen by the model.
fn check_windows(model: &Model, windows: &[Vec<u32>]) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::Setting(what));
    if windows.is_empty() {
        return wrong("there are no tokens to evaluate; give at least one window of two".into());
    }
    if let Some(short) = windows.iter().find(|window| window.len() < 2) {
        return wrong(format!("a window of {} tokens predicts nothing; each needs two or more", short.len()));
    }
    // The last token is only predicted.
    windows.iter().try_for_each(|window| model.fits(window.len() - 1))
}

impl Evaluation {
    /// A model whose weights are no numbers evaluates to no numbers, which must not pass for a result.
    fn check_finite(&self) -> Result<(), Error> {
        let norms = self.grad_l2.iter().flatten().map(|(_, norm)| norm);
        let mut numbers = std::iter::once(&self.mean_nll).chain(self.gate_means.iter().flatten()).chain(norms);
        match numbers.find(|number| !number.is_finite()) {
            None => Ok(()),
            Some(number) => Err(Error::NotNumbers(format!("the evaluation found {number}"))),
        }
    }
}

#[derive(Default)]
struct Sums {
    nll: f64,
    /// By window.
    hits: Vec<u32>,
    gates: Vec<Vec<f64>>,
    gradients: BTreeMap<String, Vec<f64>>,
}

impl Sums {
    /// Over all windows, those of one length together.
    fn of(model: &Model, windows: &[Vec<u32>], total: usize, grad_norms: bool) -> Result<Self, Error> {
        let gates = vec![vec![0.0; model.experts.len() + 1]; model.gates.len()];
        let mut sums = Self { gates, ..Self::default() };
        for batch in windows.chunk_by(|a, b| a.len() == b.len()) {
            let length = batch[0].len() - 1;
            for windows in batch.chunks((BATCH / length).max(1)) {
                sums.add(model, windows, total, grad_norms)?;
            }
        }
        Ok(sums)
    }

    fn means(self, total: usize, grad_norms: bool) -> Evaluation {
        let mean = |sum: f64| sum / total as f64;
        let norm = |g: Vec<f64>| g.iter().map(|v| v * v).sum::<f64>().sqrt();
        Evaluation {
            mean_nll: mean(self.nll),
            next_token_accuracy: mean(self.hits.iter().map(|&hits| f64::from(hits)).sum()),
            tokens: total,
            gate_means: self.gates.into_iter().map(|block| block.into_iter().map(mean).collect()).collect(),
            hits: self.hits,
            grad_l2: grad_norms.then(|| self.gradients.into_iter().map(|(name, g)| (name, norm(g))).collect()),
        }
    }

    /// Adds windows of one length.
    fn add(&mut self, model: &Model, windows: &[Vec<u32>], total: usize, grad_norms: bool) -> Result<(), Error> {
        let device = model.backbone.device();
        let length = windows[0].len() - 1;
        let (inputs, targets) = shifted(windows);
        let tape = if grad_norms { Tape::new() } else { Tape::frozen() };
        let output = model.forward(&tape, &Ids::new(device, &inputs)?, length)?;
        let loss = model.loss(&tape, &output.hidden, &Ids::new(device, &targets)?);
        // The mean over all windows is the batches' means, weighed by their share of the positions.
        let share = targets.len() as f32 / total as f32;
        let (loss, gradients) = match grad_norms {
            true => loss.backward_onto(&tape, share, None).map(|(loss, gradients)| (loss, Some(gradients)))?,
            false => (loss.evaluate()?, None),
        };
        let sum = |values: Vec<f32>| values.into_iter().map(f64::from).sum::<f64>();
        self.nll += sum(loss.nll.to_vec()?);
        // A hit is 1, a miss 0.
        let hits = loss.hit.to_vec()?;
        self.hits.extend(hits.chunks(length).map(|window| window.iter().sum::<f32>() as u32));
        for (sums, gate) in self.gates.iter_mut().zip(&output.gates) {
            let branches = sums.len();
            for (i, weight) in gate.to_vec()?.into_iter().enumerate() {
                sums[i % branches] += f64::from(weight);
            }
        }
        if let Some(gradients) = gradients {
            for param in model.params().filter(|param| param.is_trained()) {
                let gradient = gradients.of(param)?.to_vec()?;
                let sums = self.gradients.entry(param.name().into()).or_insert_with(|| vec![0.0; gradient.len()]);
                sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(g));
            }
        }
        Ok(())
    }
}

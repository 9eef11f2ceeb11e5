//! Evaluation: mean loss, next-token accuracy, mean gate weights and gradient norms over windows of tokens.

use crate::Error;
use crate::model::{Model, Trained};
use mode_autograd::{Tape, cross_entropy};
use mode_tensor::{Ids, Tensor};
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
    /// L2 norm of the gradient of `mean_nll` by parameter, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_l2: Option<BTreeMap<String, f64>>,
}

/// Evaluates windows of two tokens or more.
///
/// # Errors
/// No windows, one of fewer than two tokens, an id out of range, or a window longer than the model's positions.
pub fn evaluate(model: &Model, windows: &[Vec<u32>], grad_norms: bool) -> Result<Evaluation, Error> {
    if windows.is_empty() {
        return Err(Error::Setting("there are no tokens to evaluate; give at least one window of two".into()));
    }
    if let Some(short) = windows.iter().find(|window| window.len() < 2) {
        return Err(Error::Setting(format!(
            "a window of {} tokens predicts nothing; each needs two or more",
            short.len()
        )));
    }
    let total: usize = windows.iter().map(|window| window.len() - 1).sum();
    model.set_trained(match (grad_norms, model.experts.is_empty()) {
        (false, _) => Trained::Nothing,
        (true, false) => Trained::Experts,
        (true, true) if model.has_lora() => Trained::Lora,
        (true, true) => Trained::Backbone,
    });
    let mut sums = Sums { gates: vec![vec![0.0; model.experts.len() + 1]; model.gates.len()], ..Default::default() };
    for batch in windows.chunk_by(|a, b| a.len() == b.len()) {
        let length = batch[0].len() - 1;
        for windows in batch.chunks((BATCH / length).max(1)) {
            sums.add(model, windows, total, grad_norms)?;
        }
    }
    let mean = |sum: f64| sum / total as f64;
    let norm = |g: Vec<f64>| g.iter().map(|v| v * v).sum::<f64>().sqrt();
    Ok(Evaluation {
        mean_nll: mean(sums.nll),
        next_token_accuracy: mean(sums.hits),
        tokens: total,
        gate_means: sums.gates.into_iter().map(|block| block.into_iter().map(mean).collect()).collect(),
        grad_l2: grad_norms.then(|| sums.gradients.into_iter().map(|(name, g)| (name, norm(g))).collect()),
    })
}

#[derive(Default)]
struct Sums {
    nll: f64,
    hits: f64,
    gates: Vec<Vec<f64>>,
    gradients: BTreeMap<String, Vec<f64>>,
}

impl Sums {
    /// Adds windows of one length.
    fn add(&mut self, model: &Model, windows: &[Vec<u32>], total: usize, grad_norms: bool) -> Result<(), Error> {
        let device = model.backbone.device();
        let length = windows[0].len() - 1;
        let (inputs, targets) = shifted(windows);
        let tape = Tape::new();
        let output = model.forward(&tape, &Ids::new(device, &inputs)?, length)?;
        let logits = model.logits(&tape, &output.hidden)?;
        let loss = cross_entropy(&logits, &Ids::new(device, &targets)?)?;
        let sum = |values: Vec<f32>| values.into_iter().map(f64::from).sum::<f64>();
        self.nll += sum(loss.rows.nll.to_vec()?);
        self.hits += sum(loss.rows.hit.to_vec()?);
        for (sums, gate) in self.gates.iter_mut().zip(&output.gates) {
            let branches = sums.len();
            for (i, weight) in gate.to_vec()?.into_iter().enumerate() {
                sums[i % branches] += f64::from(weight);
            }
        }
        if grad_norms {
            // The mean over all windows is the batches' means, weighed by their share of the positions.
            let share = targets.len() as f32 / total as f32;
            let seed = Tensor::from_slice(device, &[share, 0.0], &[2])?;
            let gradients = tape.backward(&loss.mean, seed)?;
            for param in model.params().filter(|param| param.is_trained()) {
                let gradient = gradients.of(param)?.to_vec()?;
                let sums = self.gradients.entry(param.name().into()).or_insert_with(|| vec![0.0; gradient.len()]);
                sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += f64::from(g));
            }
        }
        Ok(())
    }
}

/// Windows of n + 1 ids as inputs (all but the last) and targets (all but the first), each joined.
pub(crate) fn shifted(windows: &[Vec<u32>]) -> (Vec<u32>, Vec<u32>) {
    let inputs = windows.iter().flat_map(|window| &window[..window.len() - 1]).copied().collect();
    let targets = windows.iter().flat_map(|window| &window[1..]).copied().collect();
    (inputs, targets)
}

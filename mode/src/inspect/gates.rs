//! Where the gates open on a text: merge weights a_k by token and block, their means, entropies and logarithms.
//!
//! A gate that works has weights that differ between domains and a low entropy on the text of its own; one that has
//! collapsed gives one branch everything, whatever the token: mean log a_k of the others far below zero, entropy near zero.

use crate::Error;
use crate::data::Tokenizer;
use crate::model::Model;
use mode_autograd::Tape;
use mode_tensor::Ids;
use serde::Serialize;

/// One block's gate on a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockGates {
    /// Mean weight of each branch, the backbone first.
    pub mean: Vec<f64>,
    /// Mean of ln a_k of each branch.
    pub mean_log: Vec<f64>,
    /// Mean entropy of the weights, in nats: 0 for one open branch, ln(branches) for all alike.
    pub entropy: f64,
}

/// The gates on a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextGates {
    /// The text's name.
    pub text: String,
    /// What gates choose among: the backbone, then the experts.
    #[serde(skip)]
    pub branches: Vec<String>,
    /// Its tokens, as they read.
    pub tokens: Vec<String>,
    /// By block.
    pub blocks: Vec<BlockGates>,
    /// Weights by token, block and branch.
    pub weights: Vec<Vec<Vec<f32>>>,
}

/// The names of a model's branches: the backbone, then the experts.
pub fn branches(model: &Model) -> Vec<String> {
    std::iter::once("backbone".into()).chain(model.expert_names()).collect()
}

/// The gates of `model` on a text of this name, cut into windows that the model can see.
///
/// # Errors
/// A model without gates, a text without tokens, or one whose tokens the model does not have.
pub fn gates(model: &Model, tokenizer: &Tokenizer, name: &str, text: &str) -> Result<TextGates, Error> {
    if model.gates.is_empty() {
        return Err(Error::Setting("the model has no gates; give a composed model, or --expert".into()));
    }
    let ids = tokenizer.encode(text, true)?;
    if ids.is_empty() {
        return Err(Error::Setting("the text is empty; give at least one token".into()));
    }
    let tokens = ids.iter().map(|&id| Ok(tokenizer.decode(&[id], false)?)).collect::<Result<Vec<_>, Error>>()?;
    let branches = branches(model);
    let mut weights: Vec<Vec<Vec<f32>>> = Vec::new();
    for window in ids.chunks(model.backbone.config.positions) {
        let ids = Ids::new(model.backbone.device(), window)?;
        let output = model.forward(&Tape::frozen(), &ids, window.len())?;
        let first = weights.len();
        weights.resize(first + window.len(), Vec::new());
        for block in &output.gates {
            for (token, of_block) in weights[first..].iter_mut().zip(block.to_vec()?.chunks(branches.len())) {
                token.push(of_block.to_vec());
            }
        }
    }
    let block =
        |block: usize| BlockGates::of(weights.iter().map(|token: &Vec<Vec<f32>>| &token[block][..]), branches.len());
    let blocks = (0..model.gates.len()).map(block).collect();
    let gates = TextGates { text: name.into(), branches, tokens, blocks, weights };
    if gates.blocks.iter().all(|block| block.mean.iter().all(|mean| mean.is_finite())) {
        return Ok(gates);
    }
    Err(Error::NotNumbers("a gate's weight is NaN".into()))
}

impl TextGates {
    /// As `mode inspect` prints it: a line a block, then one for each of the first `shown` tokens, if any, its blocks side by side.
    pub fn lines(&self, shown: usize) -> Vec<String> {
        let list =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| format!("{v:6.3}")).collect::<Vec<_>>().join(" ");
        let count = self.tokens.len();
        let mut lines = vec![format!("{:?}: {count} tokens; branches {}", self.text, self.branches.join(", "))];
        lines.extend(self.blocks.iter().enumerate().map(|(i, block)| {
            let [mean, log] = [&block.mean, &block.mean_log].map(|values| list(&mut values.iter().copied()));
            format!("block {i}  mean {mean}  mean log {log}  entropy {:.3}", block.entropy)
        }));
        lines.extend(self.tokens.iter().zip(&self.weights).take(shown).map(|(token, blocks)| {
            let blocks = blocks.iter().map(|weights| list(&mut weights.iter().map(|&a| f64::from(a))));
            format!("{:>16}  {}", format!("{token:?}"), blocks.collect::<Vec<_>>().join(" | "))
        }));
        if shown > 0 && count > shown {
            lines.push(format!("{:>16}  and {} more; --json has them all", "", count - shown));
        }
        lines
    }
}

impl BlockGates {
    fn of<'a>(tokens: impl Iterator<Item = &'a [f32]> + Clone, branches: usize) -> Self {
        let count = tokens.clone().count().max(1) as f64;
        // 0 ln 0 = 0, the limit; of a branch that is shut the logarithm is cut where f32 ends.
        let log = |a: f32| f64::from(a.max(f32::MIN_POSITIVE)).ln();
        let mean = |of: &dyn Fn(f32) -> f64| -> Vec<f64> {
            (0..branches).map(|k| tokens.clone().map(|token| of(token[k])).sum::<f64>() / count).collect()
        };
        Self {
            mean: mean(&|a| f64::from(a)),
            mean_log: mean(&log),
            entropy: -mean(&|a| f64::from(a) * log(a)).iter().sum::<f64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_zero_for_one_branch_and_greatest_for_all_alike() {
        let tokens: [&[f32]; 2] = [&[1.0, 0.0], &[0.5, 0.5]];
        let block = BlockGates::of(tokens.into_iter(), 2);
        assert_eq!(block.mean, [0.75, 0.25]);
        approx::assert_relative_eq!(block.entropy, 0.5 * 2f64.ln(), epsilon = 1e-12);
        assert!(block.mean_log[1] < -43.0 && block.mean_log[1].is_finite());
    }
}

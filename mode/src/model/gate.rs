//! A block's gate, which merges its branches, and how N two-way gates become one of N + 1 ways.
//!
//! y = a_bb f_bb + sum_j a_j f_j, a = softmax(z), per token; logits z = x W^T + b, row 0 the backbone's (arXiv 2410.10181, section
//! 2). x, y and each branch f `[tokens, width]`, W `[branches, width]`, b `[branches]`.
//! A softmax sees only differences of logits, so stage 1's gate of expert j is
//! the one number u_j(x) = z_j - z_bb. The paper does not say how gates are composed; ours are affine in those numbers and
//! so stay gates. [`GateRule::Relative`] keeps every u_j: the composed gate's rows are 0 and u_1 .. u_N, so experts that
//! were each sure of themselves crowd the backbone out. [`GateRule::Diluted`] takes ln N off every u_j, which keeps the
//! backbone's share as great as it was beside one expert wherever the experts agree. With N = 1 both are the stage-1 gate,
//! to the bit: row 0 is the mean of the backbone's rows, and each expert's row is moved by what row 0 moved.
//! Gates of other kinds, which read more than the token or keep some branches only: `gating.rs`.

use super::context::Context;
use super::family::Family;
use super::gating::{Gating, Reader, sharpened};
use super::init::Random;
use super::weights;
use crate::Error;
use mode_autograd::{AutogradError, Gated, Param, Var, gate_merge_top};
use mode_tensor::{Device, SafeTensors, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How gates of single experts become the gate of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateRule {
    /// Each expert keeps its logit relative to the backbone.
    Relative,
    /// The same, less ln N.
    Diluted,
    /// All zero: every branch weighs 1 / (N + 1) at first. What stage 1 learned of when to open is lost, so stage 2 must
    /// follow, and one expert does not compose to itself.
    Fresh,
}

/// A gate of K = N + 1 ways.
pub struct Gate {
    /// `[branches, width]`.
    pub weight: Param,
    /// `[branches]`.
    pub bias: Param,
    gating: Gating,
    reader: Reader,
}

impl Gate {
    /// A stage-1 gate that gives the expert `share` of every token, whatever the token.
    ///
    /// # Errors
    /// A share outside (0, 1), or what the device reports.
    pub fn with_share(device: &Device, block: usize, width: usize, share: f64) -> Result<Self, Error> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::Setting(format!("expert.share is {share}; it lies between 0 and 1, both excluded")));
        }
        let logit = (share / (1.0 - share)).ln() as f32;
        Self::from_values(device, block, width, &vec![0.0; 2 * width], &[0.0, logit])
    }

    /// A gate of the given weight `[branches, width]` and bias `[branches]`, row-major.
    ///
    /// # Errors
    /// Another number of weights than branches times width.
    pub fn from_values(
        device: &Device,
        block: usize,
        width: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, Error> {
        let [weight_name, bias_name] = Self::names(block);
        let branches = bias.len();
        Ok(Self {
            weight: Param::new(weight_name, Tensor::from_slice(device, weight, &[branches, width])?),
            bias: Param::new(bias_name, Tensor::from_slice(device, bias, &[branches])?),
            gating: Gating::default(),
            reader: Reader::Token,
        })
    }

    /// One of these very parameters that reads the token and weighs all branches.
    pub(crate) fn of_params(weight: Param, bias: Param) -> Self {
        Self { weight, bias, gating: Gating::default(), reader: Reader::Token }
    }

    /// The gate of block `block` as one of another kind, whose own parameters are new.
    ///
    /// # Errors
    /// A kind that gates of so many branches can't be.
    pub(crate) fn with_gating(self, gating: Gating, block: usize, random: &mut Random) -> Result<Self, Error> {
        gating.check(self.branches()).map_err(Error::Setting)?;
        let weight = self.weight.value();
        let reader = Reader::new(gating.reads, weight.device(), block, weight.width(), random)?;
        Ok(Self { gating, reader, ..self })
    }

    /// Its kind.
    pub fn gating(&self) -> Gating {
        self.gating
    }

    /// K, the branches that it weighs.
    pub(crate) fn branches(&self) -> usize {
        self.bias.value().len()
    }

    /// Names of the weight and of the bias of a block's gate, in files and as parameters.
    pub(crate) fn names(block: usize) -> [String; 2] {
        ["weight", "bias"].map(|part| format!("blocks.{block}.gate.{part}"))
    }

    /// Names and shapes of all that a block's gate is written as.
    pub(crate) fn listed(block: usize, branches: usize, width: usize, gating: Gating) -> Vec<(String, Vec<usize>)> {
        let own = Self::names(block).into_iter().zip([vec![branches, width], vec![branches]]);
        own.chain(Reader::listed(gating.reads, block, width)).collect()
    }

    /// Reads the gates of all blocks.
    pub(crate) fn read_all(
        tensors: &SafeTensors,
        blocks: usize,
        [branches, width]: [usize; 2],
        gating: Gating,
        device: &Device,
    ) -> Result<Vec<Self>, Error> {
        // Widened if they are halves: a merge reads f32.
        let gate = |i: usize| {
            let [weight, bias] = Self::names(i);
            let (weight, bias) = (tensors.read(&weight, &[branches, width])?, tensors.read(&bias, &[branches])?);
            let reader = Reader::read(gating.reads, tensors, device, i, width)?;
            Ok(Self { gating, reader, ..Self::from_values(device, i, width, &weight, &bias)? })
        };
        (0..blocks).map(gate).collect()
    }

    /// Writes the gates of all blocks.
    pub(crate) fn write_all(gates: &[Gate], path: &Path) -> Result<(), Error> {
        weights::write(path, gates.iter().flat_map(Gate::params), str::to_string, &Family::LLAMA.names)
    }

    /// The branches merged, with each one's weight `[tokens, branches]`; x is what all of them read.
    pub(crate) fn merge(&self, context: &Context, x: &Var, branches: &[Var]) -> Result<Gated, AutogradError> {
        let own = [&self.weight, &self.bias].map(|param| context.tape.param(param));
        let [weight, bias] = sharpened(own, self.gating.temperature)?;
        let r = self.reader.apply(context, self.weight.name(), x)?;
        let top = self.gating.kept(branches.len());
        gate_merge_top(&r, &weight, &bias, &branches.iter().collect::<Vec<_>>(), top)
    }

    /// Its parameters.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.weight, &self.bias].into_iter().chain(self.reader.params())
    }

    /// The gate over the backbone and some of its experts, by their numbers: the softmax over what is left.
    pub(crate) fn keep(&self, experts: &[usize], block: usize) -> Result<Self, Error> {
        let (weight, bias) = (self.weight.value(), self.bias.value());
        let (width, [weight, bias]) = (weight.width(), [weight.to_vec()?, bias.to_vec()?]);
        let rows = || std::iter::once(0).chain(experts.iter().map(|expert| expert + 1));
        let kept: Vec<f32> = rows().flat_map(|row| &weight[row * width..][..width]).copied().collect();
        let bias: Vec<f32> = rows().map(|row| bias[row]).collect();
        let fewer = Self::from_values(self.bias.value().device(), block, width, &kept, &bias)?;
        Ok(Self { gating: self.gating, reader: self.reader.clone(), ..fewer })
    }

    /// The gate of block `block` for N experts, from the two-way gate of each.
    ///
    /// # Errors
    /// No gates, or what the device reports.
    pub fn compose(gates: &[&Gate], block: usize, rule: GateRule) -> Result<Self, Error> {
        let n = gates.len();
        let Some(first) = gates.first().map(|gate| gate.weight.value()) else {
            return Err(Error::Setting("there is no gate to compose; give one an expert".into()));
        };
        let (device, width) = (first.device(), first.width());
        let read = |pick: fn(&Gate) -> &Param| {
            gates.iter().map(|gate| pick(gate).value().to_vec()).collect::<Result<Vec<_>, _>>()
        };
        let (mut weight, mut bias) = (rows(&read(|g| &g.weight)?), rows(&read(|g| &g.bias)?));
        match rule {
            GateRule::Relative => {}
            GateRule::Diluted => bias[1..].iter_mut().for_each(|logit| *logit -= (n as f32).ln()),
            GateRule::Fresh => {
                weight.fill(0.0);
                bias.fill(0.0);
            }
        }
        Self::from_values(device, block, width, &weight, &bias)
    }
}

/// N + 1 rows out of N pairs of rows (backbone, expert): the mean of the backbones', then each expert's moved by what its
/// own backbone row lacks to that mean. For N = 1 nothing moves.
fn rows(pairs: &[Vec<f32>]) -> Vec<f32> {
    let width = pairs[0].len() / 2;
    let mut all: Vec<f32> =
        (0..width).map(|i| pairs.iter().map(|pair| pair[i]).sum::<f32>() / pairs.len() as f32).collect();
    for pair in pairs {
        let moved: Vec<f32> = (0..width).map(|i| pair[width + i] + (all[i] - pair[i])).collect();
        all.extend(moved);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_rows_keep_each_experts_margin() {
        let all = rows(&[vec![1.0, 5.0], vec![3.0, 4.0]]);
        assert_eq!(all, [2.0, 6.0, 3.0]);
        assert_eq!(rows(&[vec![0.1, 0.7]]), [0.1, 0.7]);
    }

    #[test]
    fn one_gate_composes_to_itself() -> Result<(), Error> {
        let device = Device::cpu();
        let gate = Gate::from_values(&device, 0, 2, &[0.3, -0.2, 0.9, 1e-3], &[0.7, -0.1])?;
        for rule in [GateRule::Relative, GateRule::Diluted] {
            let composed = Gate::compose(&[&gate], 0, rule)?;
            assert_eq!(composed.weight.value().to_vec()?, gate.weight.value().to_vec()?);
            assert_eq!(composed.bias.value().to_vec()?, gate.bias.value().to_vec()?);
        }
        Ok(())
    }

    #[test]
    fn dilution_keeps_the_backbones_share() -> Result<(), Error> {
        // Three experts that each took half beside the backbone take half together.
        let device = Device::cpu();
        let gate = Gate::with_share(&device, 0, 1, 0.5)?;
        let composed = Gate::compose(&[&gate, &gate, &gate], 0, GateRule::Diluted)?;
        let logits = composed.bias.value().to_vec()?;
        let total: f32 = logits.iter().map(|z| z.exp()).sum();
        approx::assert_relative_eq!(logits[0].exp() / total, 0.5, epsilon = 1e-6);
        Ok(())
    }
}

//! The tables of a recipe: `[train]`, `[checkpoint]`, `[[data]]`, and those of single methods, with their defaults.

use super::Schedule;
use crate::model::{Adapted, Config, ExpertInit, GateRule, Gating, Trained};
use mode_autograd::{AdamWSettings, Decayed};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Tokens a step at the most.
const MOST_TOKENS: usize = 1 << 24;

/// Steps at the most: the losses of a run are kept.
const MOST_STEPS: u64 = 1_000_000_000;

/// Devices that a run is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshSettings {
    /// The layout: `spmd-4`, `spmd-2x2`, `4+2+2`, or a `.toml` file's name.
    pub layout: String,
    /// What each device is, as `--device` says it; one for all of them.
    #[serde(default = "cpu_devices")]
    pub devices: Vec<String>,
    /// Threads of each CPU device.
    #[serde(default = "one_part")]
    pub threads: usize,
}

fn cpu_devices() -> Vec<String> {
    vec!["cpu".into()]
}

/// A text to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Its name.
    pub name: String,
    /// A text file, a folder, FILE.jsonl:field, or a file of tokens (`.tokens`).
    pub source: String,
    /// Share of the windows, relative to the other texts' weights.
    #[serde(default = "one_weight")]
    pub weight: f64,
    /// Windows of it that are trained on, drawn by the seed: to see how few are enough. 0 for all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub examples: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// How often a run is saved, and what of that is kept. Ctrl-C saves it at any step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// Steps from one checkpoint to the next; 0 for none.
    pub every: u64,
    /// Checkpoints kept: the last ones. The one of the lowest validation loss is kept besides.
    pub keep: usize,
    /// Windows of validation text that each is measured on; 0 for none.
    pub validation: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: 0, keep: 2, validation: 0 }
    }
}

/// Steps and their size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Optimizer steps.
    pub steps: u64,
    /// Windows a step.
    pub batch: usize,
    /// Predicted tokens a window.
    pub length: usize,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises.
    #[serde(default)]
    pub warmup: u64,
    /// What it does then.
    #[serde(default = "cosine")]
    pub schedule: Schedule,
    /// Decoupled weight decay.
    #[serde(default = "decay")]
    pub decay: f64,
    /// Greatest gradient norm; 0 for any.
    #[serde(default = "clip")]
    pub clip: f64,
    /// AdamW's decay of the first moment.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// Parts that a step's windows are gone through in, one after the other: less memory, the same step.
    #[serde(default = "one_part")]
    pub accumulate: usize,
    /// Keep the input of each layer only, and compute the rest again in the backward pass: less memory, the same step.
    #[serde(default)]
    pub recompute: bool,
    /// What weight decay falls on: all, or matrices only.
    #[serde(default)]
    pub decayed: DecayedSetting,
    /// What is computed in f16.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
}

/// What is computed in f16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Nothing.
    #[default]
    F32,
    /// What lies between the stream's norms and what is added to it, forward and backward; the loss is scaled for it. Weights that
    /// are trained, their gradients and moments, the stream, softmaxes' statistics, merges and the loss are f32.
    F16,
}

impl Precision {
    /// Recipes of before there was another say nothing of it.
    pub(crate) fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

/// What weight decay falls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayedSetting {
    /// All that is trained.
    #[default]
    All,
    /// What has two dims or more: not the norms' weights, nor the gates' biases.
    Matrices,
}

/// Shape of a new model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// A Hugging Face tokenizer.json.
    pub tokenizer: PathBuf,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Longest window.
    pub positions: usize,
    /// True if the head is the embedding.
    #[serde(default = "yes")]
    pub tied: bool,
}

/// A stage-1 expert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertSettings {
    /// Its name, which becomes a folder's.
    pub name: String,
    /// What it is trained on, in a word.
    pub domain: String,
    /// Blocks m that the base is cut into.
    pub blocks: usize,
    /// Layers l of the expert in each block.
    pub layers_per_block: usize,
    /// How its layers start.
    #[serde(default = "expert_init")]
    pub init: ExpertInit,
    /// The weight that its gates give it at first, between 0 and 1.
    #[serde(default = "share")]
    pub share: f64,
    /// Whether its weights stay in its owner's `mode worker`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// A LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank of the factors.
    pub rank: usize,
    /// Factor of their product, times the rank.
    pub alpha: f64,
    /// What they stand beside.
    #[serde(default, skip_serializing_if = "Adapted::is_default")]
    pub adapted: Adapted,
}

/// Bottleneck adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BottleneckSettings {
    /// Width of each.
    pub size: usize,
}

/// What stage 2 trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfrozen {
    /// Experts and gates.
    All,
    /// Gates alone.
    Gates,
    /// Experts, gates and the backbone, which is then another base and is written beside them.
    Everything,
}

impl Unfrozen {
    /// The model's parameters that are trained.
    pub(crate) fn trained(self) -> Trained {
        match self {
            Self::All => Trained::Experts,
            Self::Gates => Trained::Gates,
            Self::Everything => Trained::Everything,
        }
    }
}

/// A stage-2 composition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeSettings {
    /// Expert folders, in gate order.
    pub experts: Vec<PathBuf>,
    /// What is trained.
    #[serde(default = "all")]
    pub train: Unfrozen,
    /// How the gates are composed.
    #[serde(default = "gate_rule")]
    pub gates: GateRule,
    /// The kind of the composed gates.
    #[serde(default, skip_serializing_if = "Gating::is_default")]
    pub gating: Gating,
}

fn one_weight() -> f64 {
    1.0
}
fn one_part() -> usize {
    1
}
fn cosine() -> Schedule {
    Schedule::Cosine
}
fn decay() -> f64 {
    AdamWSettings::default().decay
}
fn clip() -> f64 {
    AdamWSettings::default().clip
}
fn beta1() -> f64 {
    AdamWSettings::default().beta1
}
fn beta2() -> f64 {
    AdamWSettings::default().beta2
}
fn yes() -> bool {
    true
}
fn all() -> Unfrozen {
    Unfrozen::All
}

/// The default start of an expert: the best of three on the demo's validation text.
pub(crate) fn expert_init() -> ExpertInit {
    ExpertInit::Copy
}

/// The default first weight of an expert: on the demo's validation text none of four others is clearly ahead.
pub(crate) fn share() -> f64 {
    0.5
}

/// The default composition of gates: on the demo's validation text the best of those with which one expert composes to
/// itself.
pub(crate) fn gate_rule() -> GateRule {
    GateRule::Diluted
}

impl ModelShape {
    /// The shape as a model's configuration.
    pub(crate) fn config(&self, vocabulary: usize, eos: Option<u32>) -> Config {
        Config {
            vocabulary,
            width: self.width,
            hidden: self.hidden,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            // check() has seen to it that nothing is left over.
            head_width: self.width / self.heads.max(1),
            positions: self.positions,
            tied: self.tied,
            eos: eos.into_iter().collect(),
            ..Config::default()
        }
    }
}

impl TrainSettings {
    /// Steps with AdamW's defaults and a cosine, of whose steps a tenth warm up, 50 at the most.
    pub fn new(steps: u64, batch: usize, length: usize, learning_rate: f64) -> Self {
        let AdamWSettings { decay, clip, beta1, beta2, .. } = AdamWSettings::default();
        let (warmup, schedule) = ((steps / 10).min(50), cosine());
        let (accumulate, recompute, decayed, precision) = (1, false, DecayedSetting::All, Precision::F32);
        Self {
            steps,
            batch,
            length,
            learning_rate,
            warmup,
            schedule,
            decay,
            clip,
            beta1,
            beta2,
            accumulate,
            recompute,
            decayed,
            precision,
        }
    }

    /// The learning rate of a step, from 1.
    pub fn rate(&self, step: u64) -> f64 {
        self.learning_rate * self.schedule.factor(step, self.steps, self.warmup)
    }

    /// The optimizer's share of them.
    pub fn adamw(&self) -> AdamWSettings {
        let Self { decay, clip, beta1, beta2, .. } = *self;
        let decayed = match self.decayed {
            DecayedSetting::All => Decayed::All,
            DecayedSetting::Matrices => Decayed::Matrices,
        };
        AdamWSettings { decay, clip, beta1, beta2, decayed, ..AdamWSettings::default() }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let tokens = self.batch.checked_mul(self.length).filter(|&tokens| tokens > 0 && tokens <= MOST_TOKENS);
        if tokens.is_none() {
            return Err(format!("train.batch times train.length must lie between 1 and {MOST_TOKENS} tokens"));
        }
        let fractions = [(self.beta1, "beta1"), (self.beta2, "beta2")];
        if let Some((beta, name)) = fractions.into_iter().find(|(beta, _)| !(0.0..1.0).contains(beta)) {
            return Err(format!("train.{name} is {beta}; it lies between 0 and 1, 1 excluded"));
        }
        let sizes = [(self.decay, "decay"), (self.clip, "clip"), (self.learning_rate, "learning_rate")];
        if let Some((size, name)) = sizes.into_iter().find(|(size, _)| !(size.is_finite() && *size >= 0.0)) {
            return Err(format!("train.{name} is {size}; 0 or a positive number is wanted"));
        }
        if self.accumulate == 0 || !self.batch.is_multiple_of(self.accumulate) {
            let (parts, batch) = (self.accumulate, self.batch);
            return Err(format!("train.accumulate is {parts}; it divides train.batch, {batch}, into equal parts"));
        }
        if self.steps > MOST_STEPS {
            return Err(format!("train.steps is {}; {MOST_STEPS} are possible", self.steps));
        }
        Ok(())
    }
}

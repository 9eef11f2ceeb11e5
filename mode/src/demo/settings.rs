//! Sizes and steps of the demo, each changed by `--set name=value`.

use crate::Error;
use crate::model::{ExpertInit, GateRule};
use crate::set::{apply, from_table};
use crate::train::{Precision, Size, expert_init, gate_rule, share};
use serde::{Deserialize, Serialize};

/// Steps of a run at the most: a demo is no place for more.
const MOST_STEPS: u64 = 1_000_000;

/// Tokens a window at the most, so that the validation text has one.
const MOST_LENGTH: usize = 4_096;

/// Sizes and steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seed of weights and of the order of the data. The texts do not depend on it.
    pub seed: u64,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers, L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Predicted tokens a window.
    pub length: usize,
    /// Windows a step.
    pub batch: usize,
    /// Steps of pre-training.
    pub pretrain_steps: u64,
    /// Steps of each expert and of each composition; baselines take twice or three times as many.
    pub steps: u64,
    /// Blocks, m.
    pub blocks: usize,
    /// Expert layers a block, l.
    pub layers_per_block: usize,
    /// How experts start.
    pub expert_init: ExpertInit,
    /// What gates give an expert at first.
    pub share: f64,
    /// How gates are composed.
    pub gate_rule: GateRule,
    /// Rank of the LoRA.
    pub rank: usize,
    /// Tokens a domain to test on, at the least.
    pub test_tokens: usize,
    /// What every run computes in f16.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            vocabulary: 1_024,
            width: 128,
            hidden: 352,
            layers: 6,
            heads: 4,
            length: 128,
            batch: 8,
            pretrain_steps: 500,
            steps: 80,
            blocks: 3,
            layers_per_block: 1,
            expert_init: expert_init(),
            share: share(),
            gate_rule: gate_rule(),
            rank: 8,
            test_tokens: 20_000,
            precision: Precision::F32,
        }
    }
}

impl Settings {
    /// A demo of a few steps, which shows that all of it runs and nothing else.
    fn quick() -> Self {
        Self { pretrain_steps: 30, steps: 5, test_tokens: 2_000, ..Self::default() }
    }

    /// The base's sizes.
    pub(super) fn size(&self) -> Size {
        Size { width: self.width, hidden: self.hidden, layers: self.layers, heads: self.heads }
    }

    /// An error for sizes that would stop the demo halfway; what its recipes say of them they check themselves.
    fn check(&self) -> Result<(), String> {
        if self.steps == 0 || self.pretrain_steps == 0 || self.test_tokens == 0 {
            return Err("steps, pretrain_steps and test_tokens are 1 or more".into());
        }
        if self.steps.max(self.pretrain_steps) > MOST_STEPS {
            return Err(format!("steps and pretrain_steps are {MOST_STEPS} at the most"));
        }
        if self.length > MOST_LENGTH {
            return Err(format!("length is {}; {MOST_LENGTH} is possible", self.length));
        }
        self.size().check(self.blocks, self.layers_per_block, self.expert_init == ExpertInit::Copy)?;
        if !(self.share > 0.0 && self.share < 1.0) || self.rank == 0 {
            return Err("share lies between 0 and 1, and rank is 1 or more".into());
        }
        Ok(())
    }

    /// The defaults, or those of `--quick`, with `sets` over them.
    ///
    /// # Errors
    /// An unknown name, or a value that can't be.
    pub fn with(quick: bool, sets: &[String]) -> Result<Self, Error> {
        let start = if quick { Self::quick() } else { Self::default() };
        let mut table = toml::Table::try_from(&start).map_err(|e| Error::Setting(e.to_string()))?;
        for set in sets {
            apply(&mut table, set)?;
        }
        let wrong = |what| Error::Setting(format!("--set: {what}"));
        let settings: Self = from_table(table).map_err(wrong)?;
        settings.check().map_err(wrong)?;
        Ok(settings)
    }
}

//! How large an experiment is: sizes, steps and seeds of a scale, each changed by `--set name=value`.

use crate::Error;
use crate::set::{apply, from_table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seeds at the most.
const MOST_SEEDS: usize = 100;

/// Sizes, steps and texts. What is here decides what is computed, and so belongs to what a result is known by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seeds of each cell: 1, 2, ..
    pub seeds: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream, d.
    pub width: usize,
    /// Width of the feed-forward's hidden layer.
    pub hidden: usize,
    /// Layers, L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Predicted tokens a window: one training example.
    pub length: usize,
    /// Windows a step.
    pub batch: usize,
    /// Steps of pre-training.
    pub pretrain_steps: u64,
    /// Steps of an expert, and of what is trained on the mixture.
    pub steps: u64,
    /// Blocks, m.
    pub blocks: usize,
    /// Expert layers a block, l.
    pub layers_per_block: usize,
    /// Rank of the LoRA.
    pub rank: usize,
    /// Tokens of test text a domain; of a smaller text a fifth.
    pub test_tokens: usize,
    /// Tokens of validation text a domain.
    pub validation_tokens: usize,
    /// Texts in place of the built-in ones, by domain: a file, a folder, or `FILE.jsonl:field,field`; NAME-test is one to test on.
    pub data: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seeds: 5,
            vocabulary: 1_024,
            width: 128,
            hidden: 352,
            layers: 6,
            heads: 4,
            length: 128,
            batch: 8,
            pretrain_steps: 1_000,
            steps: 120,
            blocks: 3,
            layers_per_block: 1,
            rank: 8,
            test_tokens: 60_000,
            validation_tokens: 12_000,
            data: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The tiny scale with `sets` over it.
    ///
    /// # Errors
    /// An unknown name, or a value that can't be.
    pub fn tiny(sets: &[String]) -> Result<Self, Error> {
        let mut table = toml::Table::try_from(Self::default()).map_err(|e| Error::Setting(e.to_string()))?;
        for set in sets {
            apply(&mut table, set)?;
        }
        let wrong = |what| Error::Setting(format!("--set: {what}"));
        let settings: Self = from_table(table).map_err(wrong)?;
        settings.check().map_err(wrong)?;
        Ok(settings)
    }

    /// An error for sizes of which no plan can be made; recipes check what is theirs.
    fn check(&self) -> Result<(), String> {
        if !(2..=MOST_SEEDS).contains(&self.seeds) {
            return Err(format!(
                "seeds is {}; 2 to {MOST_SEEDS} are possible, for of one there is no interval",
                self.seeds
            ));
        }
        if self.steps == 0 || self.pretrain_steps == 0 || self.batch == 0 || self.length == 0 {
            return Err("steps, pretrain_steps, batch and length are 1 or more".into());
        }
        if self.test_tokens <= self.length || self.validation_tokens <= self.length {
            return Err(format!("test_tokens and validation_tokens hold a window of {} at least", self.length + 1));
        }
        if self.heads == 0 || !self.width.is_multiple_of(2 * self.heads) {
            return Err(format!("width {} is no multiple of twice the {} heads", self.width, self.heads));
        }
        if self.blocks == 0 || self.layers == 0 || !self.layers.is_multiple_of(self.blocks) {
            return Err(format!("{} blocks do not divide {} layers", self.blocks, self.layers));
        }
        let per_block = self.layers / self.blocks;
        if self.layers_per_block == 0 || self.layers_per_block > per_block {
            return Err(format!("layers_per_block {}: 1 to {per_block} can be copied", self.layers_per_block));
        }
        Ok(())
    }
}

//! What a report is made of: plain records, filled by whoever measured them.
//!
//! Accuracies and scores are fractions (0..1); the page prints them as percentages. JSON has no NaN: one that was
//! written as `null` reads back as NaN, so that a diverged run does not make its report unreadable.

use super::nullable;
use serde::{Deserialize, Serialize};

/// Everything on the page. A section whose data are empty is left out.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The page's heading.
    pub title: String,
    /// The lead: one sentence or paragraph each.
    pub summary: Vec<String>,
    /// The results table, in the order in which it is shown.
    pub rows: Vec<Row>,
    /// Runs beside each other.
    pub runs: Vec<RunRow>,
    /// The results table's figures over several seeds.
    pub seeds: Vec<SeedRow>,
    /// Training loss of each run.
    pub curves: Vec<Curve>,
    /// Mean gate weights of each model that has gates.
    pub gates: Vec<GateTable>,
    /// What each run trained and what it left alone.
    pub frozen: Vec<FrozenNote>,
    /// The search for each method's learning rate.
    pub grid: Vec<GridScore>,
    /// Defaults that were measured rather than assumed.
    pub defaults: Vec<ChoiceScore>,
    /// What the models write.
    pub samples: Vec<Sample>,
    /// Machine, device, threads, seed, versions, hashes: name and value.
    pub environment: Vec<(String, String)>,
}

/// One method's result; as JSON, one row of `results.json`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Row {
    /// The method, such as `base` or `mode-2x`.
    pub method: String,
    /// Next-token accuracy on English.
    #[serde(deserialize_with = "nullable::number")]
    pub english: f64,
    /// Next-token accuracy on Code.
    #[serde(deserialize_with = "nullable::number")]
    pub code: f64,
    /// Next-token accuracy on Math.
    #[serde(deserialize_with = "nullable::number")]
    pub math: f64,
    /// Mean of the three, the figure that ranks the methods.
    #[serde(deserialize_with = "nullable::number")]
    pub mean: f64,
    /// Parameters in the model.
    pub params_total: u64,
    /// Parameters that the method trained.
    pub params_trained: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Training tokens read, over all stages.
    pub tokens_seen: u64,
    /// Wall time of the training.
    #[serde(deserialize_with = "nullable::number")]
    pub seconds: f64,
    /// Peak learning rate.
    #[serde(deserialize_with = "nullable::number")]
    pub learning_rate: f64,
    /// Where the trained model lies, relative to the folder in which the run was started.
    pub model: String,
}

/// One run among several.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Its folder.
    pub name: String,
    /// The recipe's method.
    pub method: String,
    /// The recipe's seed.
    pub seed: u64,
    /// Steps taken so far.
    pub steps: u64,
    /// Peak learning rate.
    #[serde(deserialize_with = "nullable::number")]
    pub learning_rate: f64,
    /// Parameters trained; 0 while the run goes on.
    pub params_trained: u64,
    /// Mean training loss of the last tenth of the steps.
    #[serde(deserialize_with = "nullable::number")]
    pub loss: f64,
    /// The last validation loss, if any.
    #[serde(deserialize_with = "nullable::number")]
    pub validation: f64,
    /// Tokens predicted a second.
    #[serde(deserialize_with = "nullable::number")]
    pub tokens_per_second: f64,
}

/// A method's accuracies over several seeds: English, Code, Math, mean.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct SeedRow {
    /// The method.
    pub method: String,
    /// How many seeds.
    pub seeds: usize,
    /// Means.
    pub mean: [f64; 4],
    /// Standard deviations of one seed.
    pub deviation: [f64; 4],
}

/// The loss of one run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Curve {
    /// The run; a method's name gives the curve that method's colour, and `base` is the pre-training.
    pub name: String,
    /// Training loss: step and value.
    #[serde(deserialize_with = "nullable::points")]
    pub points: Vec<(u64, f64)>,
    /// Validation loss, where it was measured.
    #[serde(default, deserialize_with = "nullable::points")]
    pub validation: Vec<(u64, f64)>,
}

/// The mean gate weights of one model.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct GateTable {
    /// The model, usually a method's name.
    pub name: String,
    /// The branches the gate chooses among: the backbone, then the experts.
    pub branches: Vec<String>,
    /// One entry for each domain of test text.
    pub domains: Vec<DomainGates>,
}

/// The mean gate weights on the text of one domain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DomainGates {
    /// The domain.
    pub domain: String,
    /// Weights by block and branch.
    #[serde(deserialize_with = "nullable::rows")]
    pub weights: Vec<Vec<f64>>,
}

/// What one run trained and what it left alone, with the proof.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct FrozenNote {
    /// The run.
    pub run: String,
    /// What was trained, in words.
    pub trained: String,
    /// Parameters trained.
    pub trained_parameters: u64,
    /// Bytes of the trained parameters.
    pub trained_bytes: u64,
    /// What was frozen, in words; empty if nothing was.
    pub frozen: String,
    /// Parameters frozen.
    pub frozen_parameters: u64,
    /// Bytes of the frozen parameters.
    pub frozen_bytes: u64,
    /// SHA-256 of the frozen parameters before the run, in hexadecimal.
    pub sha256_before: String,
    /// The same after the run.
    pub sha256_after: String,
}

/// What the two hashes of a [`FrozenNote`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The run froze nothing.
    NothingFrozen,
    /// A hash is missing.
    Unchecked,
    /// The frozen parameters are the same, bit by bit.
    BitIdentical,
    /// The frozen parameters changed, which they must not.
    Changed,
}

impl FrozenNote {
    /// Compares the hashes from before and after the run.
    pub fn verdict(&self) -> Verdict {
        if self.frozen_parameters == 0 {
            Verdict::NothingFrozen
        } else if self.sha256_before.is_empty() || self.sha256_after.is_empty() {
            Verdict::Unchecked
        } else if self.sha256_before.eq_ignore_ascii_case(&self.sha256_after) {
            Verdict::BitIdentical
        } else {
            Verdict::Changed
        }
    }
}

/// One run of the learning-rate grid.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct GridScore {
    /// The method.
    pub method: String,
    /// The learning rate that was tried.
    #[serde(deserialize_with = "nullable::number")]
    pub learning_rate: f64,
    /// Mean accuracy on validation text.
    #[serde(deserialize_with = "nullable::number")]
    pub score: f64,
    /// Whether the method uses it.
    pub chosen: bool,
}

/// One candidate for a default.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ChoiceScore {
    /// The setting, such as `expert init`.
    pub setting: String,
    /// The value that was tried.
    pub candidate: String,
    /// Mean accuracy on validation text.
    #[serde(deserialize_with = "nullable::number")]
    pub score: f64,
    /// Whether it is the default.
    pub chosen: bool,
}

/// One prompt and how the models go on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// One continuation for each model.
    pub continuations: Vec<Continuation>,
}

/// How one model continues a prompt.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The model, usually a method's name.
    pub model: String,
    /// The generated text, without the prompt.
    pub text: String,
}

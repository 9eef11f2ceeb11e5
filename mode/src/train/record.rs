//! What a run leaves in its folder besides what it made: the recipe, and once it has ended a record.

use super::mixed::LossScaling;
use super::recipe::Recipe;
use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The recipe as it was carried out, from the first step on.
pub(super) const RECIPE: &str = "recipe.toml";
/// What is there once a run has ended.
pub(super) const RECORD: &str = "run.json";

/// Where the time of some of its steps went, if that was asked for.
pub(crate) const PROFILE: &str = "profile.json";

/// A finished run; written as `run.json` into its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    /// The method's name.
    pub method: String,
    /// The folder made.
    pub out: PathBuf,
    /// The layout's name and its meshes, of a run on several devices: those that it ended on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// What was trained, in words.
    pub trained: String,
    /// What was not, in words; empty if there is nothing.
    pub frozen: String,
    /// Parameters of the whole model.
    pub params_total: u64,
    /// Parameters trained.
    pub params_trained: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens predicted.
    pub tokens_seen: u64,
    /// Time of the steps.
    pub seconds: f64,
    /// The loss scale at the end, and how many steps were skipped; in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<LossScaling>,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// Hash of the frozen weights before, as the files have them.
    pub frozen_before: String,
    /// The same after, which no run writes down if they have changed on the device.
    pub frozen_after: String,
    /// Loss before each step.
    pub losses: Vec<f32>,
}

/// True for the folder of a run, ended or not.
pub(crate) fn is_run(folder: &Path) -> bool {
    folder.join(RECIPE).exists()
}

/// A run's recipe, and its record if it has ended.
///
/// # Errors
/// A file that is missing or broken.
pub(crate) fn read_run(folder: &Path) -> Result<(Recipe, Option<Finished>), Error> {
    let recipe = Recipe::read(&folder.join(RECIPE), &[])?;
    let record = folder.join(RECORD);
    Ok((recipe, if record.exists() { Some(files::read_json(&record)?) } else { None }))
}

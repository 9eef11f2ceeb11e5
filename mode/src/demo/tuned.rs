//! What `mode demo --tune` measured and chose, committed beside this file as `tuned.json`.

use crate::Error;
use crate::report::{ChoiceScore, GridScore};
use serde::{Deserialize, Serialize};

/// Learning rates tried for each method.
pub(super) const GRID: [f64; 5] = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2];

/// What was measured, and chosen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tuned {
    /// What they were measured with; a measurement under other settings is not gone on with.
    #[serde(default)]
    pub(super) settings: serde_json::Value,
    /// Learning rates by method.
    pub(super) grid: Vec<GridScore>,
    /// Settings.
    pub(super) defaults: Vec<ChoiceScore>,
}

impl Tuned {
    /// The chosen learning rate of a method.
    pub(super) fn rate(&self, method: &str) -> f64 {
        let chosen = self.grid.iter().find(|score| score.chosen && score.method == method);
        chosen.map_or(GRID[0], |score| score.learning_rate)
    }
}

/// What is committed.
pub(super) fn committed() -> Result<Tuned, Error> {
    serde_json::from_str(include_str!("tuned.json")).map_err(|source| Error::Json { path: "tuned.json".into(), source })
}
